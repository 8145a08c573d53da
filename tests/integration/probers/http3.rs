//! The http prober over HTTP/3: what is sent, what is reported, and a reason for each way to fail.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_exporter::logging::Level;
use heartbeat_exporter::net::Net;
use heartbeat_exporter::runner::{self, Request};
use rustls::ServerConfig;

use crate::support::certificates::{Authority, END, Validity};
use crate::support::http3::{Answer, End, Http3Peer};
use crate::support::peers::{Peer, closed_port};
use crate::support::requests::{Recorder, respond};
use crate::support::{Probed, compile, probe, probe_as};

/// An authority and the settings of a server for 127.0.0.1 and a.test.
fn identity() -> (Authority, Arc<ServerConfig>) {
    let authority = Authority::new();
    let server = authority.issue(&["127.0.0.1", "::1", "a.test"], Validity::Now);
    (authority, server)
}

/// An HTTP/3 module that trusts `authority`, with more keys of its `http` section.
fn module(authority: &Authority, more: &str) -> String {
    let ca = authority.yaml();
    let more: String = more.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "prober: http\ntimeout: 5s\nhttp:\n  enable_http2: false\n  enable_http3: true\n  tls_config: {{ca: {ca}}}\n{more}"
    )
}

/// The same with a deadline that the test wants to see pass.
fn impatient(module: &str) -> String {
    module.replace("timeout: 5s", "timeout: 300ms")
}

fn phase(probed: &Probed, phase: &str) -> Option<f64> {
    probed.value(&format!("probe_http_duration_seconds{{phase={phase:?}}}"))
}

#[tokio::test]
async fn a_response_and_its_certificate() {
    let (authority, server) = identity();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut peer =
            Http3Peer::on(address, &server, |_| Answer::new(200, "hello").with("content-length", "5"));
        let checks = "valid_http_versions: [HTTP/3.0]\nfail_if_not_ssl: true\nfail_if_body_not_matches_regexp: ['^hello$']";
        let probed = probe(&module(&authority, checks), &peer.url("/x?y=1")).await;
        assert_eq!(probed.failure(), None, "{}", probed.why());
        let got = probed.values([
            "probe_http_version",
            "probe_http_status_code",
            "probe_http_ssl",
            "probe_http_content_length",
            "probe_http_uncompressed_body_length",
            "probe_http_redirects",
            "probe_ssl_earliest_cert_expiry",
            "probe_tls_version_info{version=\"TLS 1.3\"}",
            "probe_tls_cipher_info{cipher=\"TLS_AES_128_GCM_SHA256\"}",
            "probe_tls_verified",
        ]);
        assert_eq!(got, [3.0, 200.0, 1.0, 5.0, 5.0, 0.0, END, 1.0, 1.0, 1.0].map(Some));
        let [connect, tls, processing, transfer] =
            ["connect", "tls", "processing", "transfer"].map(|name| phase(&probed, name).unwrap());
        assert!(connect > 0.0 && connect == tls, "one handshake: {connect} {tls}");
        assert!(processing > 0.0 && transfer >= 0.0);

        let seen = &peer.seen()[0];
        assert_eq!(seen.line, format!("GET https://{}/x?y=1", peer.address));
        let names: Vec<_> = seen.headers.keys().map(String::as_str).collect();
        assert_eq!(names, ["accept-encoding", "user-agent"]);
        assert_eq!(peer.end().await, "closed by peer: 256", "H3_NO_ERROR");
    }
}

#[tokio::test]
async fn the_request_carries_what_the_module_says() {
    let (authority, server) = identity();
    let peer = Http3Peer::new(&server, |_| Answer::new(200, ""));
    let settings = "method: POST\nbody: data\nbasic_auth: {username: u, password: p}\n\
        headers: {X-Own: a, Host: a.test, Connection: close, Accept-Encoding: br}\n\
        http_headers: {X-More: {values: [b, c], secrets: [d]}}";
    let probed = probe(&module(&authority, settings), &peer.url("/")).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    let seen = &peer.seen()[0];
    assert_eq!((&*seen.line, &*seen.body), ("POST https://a.test/", "data"));
    let cases = [
        ("authorization", Some("Basic dTpw")),
        ("x-own", Some("a")),
        ("x-more", Some("b|c|d")),
        ("content-length", Some("4")),
        ("accept-encoding", Some("br")),
        ("connection", None),
        ("host", None),
        ("transfer-encoding", None),
    ];
    for (name, want) in cases {
        assert_eq!(seen.header(name), want, "{name}");
    }

    let token = "authorization: {credentials: secret}";
    probe_as(&module(&authority, token), &peer.url("/"), Some("a.test")).await;
    let seen = &peer.seen()[1];
    assert_eq!((&*seen.line, seen.header("authorization")), ("GET https://a.test/", Some("Bearer secret")));

    let tokens = Recorder::start(|_| respond("200 OK", "", "{\"access_token\": \"fetched\"}")).await;
    let oauth2 = format!("oauth2: {{client_id: c, token_url: 'http://{}/'}}", tokens.address);
    let probed = probe(&module(&authority, &oauth2), &peer.url("/")).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    assert_eq!(peer.seen()[2].header("authorization"), Some("Bearer fetched"));
}

#[tokio::test]
async fn the_scheme_is_https() {
    let (authority, server) = identity();
    let peer = Http3Peer::new(&server, |_| Answer::new(200, ""));
    let warning = "HTTP/3 needs https, the target's http:// is read as https://";
    for (scheme, is_warned) in [("", false), ("http://", true), ("HTTP://", true), ("https://", false)] {
        let target = format!("{scheme}{}/?url=http://a.test", peer.address);
        let probed = probe(&module(&authority, ""), &target).await;
        assert_eq!(probed.failure(), None, "{scheme}: {}", probed.why());
        let warned = probed.0.report.events().iter().any(|event| event.message == warning);
        assert_eq!(warned, is_warned, "{scheme}");
    }
}

#[tokio::test]
async fn checks_and_limits_are_those_of_other_versions() {
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let plain = Answer::new(200, "hello").with("content-length", "5");
    let packed =
        Answer::new(200, gzip(b"hello")).with("content-encoding", "gzip").with("content-length", "25");
    let cases = [
        ("status", plain.clone(), "valid_status_codes: [204]", Some("check/status"), [5.0, 5.0]),
        ("body", plain.clone(), "fail_if_body_matches_regexp: [ell]", Some("check/body"), [5.0, 5.0]),
        ("limit", plain.clone(), "body_size_limit: 4B", Some("transfer/too_large"), [5.0, 4.0]),
        ("exactly the limit", plain.clone(), "body_size_limit: 5B", None, [5.0, 5.0]),
        ("ssl", plain.clone(), "fail_if_ssl: true", Some("check/tls_present"), [5.0, 5.0]),
        ("not gzip", plain.clone(), "compression: gzip", Some("transfer/decompression"), [5.0, 0.0]),
        (
            "gzip that was asked for",
            packed.clone(),
            "fail_if_body_not_matches_regexp: [^hello$]",
            None,
            [-1.0, 5.0],
        ),
        ("the module's own gzip", packed.clone(), "compression: gzip", None, [25.0, 5.0]),
        ("an own Accept-Encoding", packed, "headers: {Accept-Encoding: gzip}", None, [25.0, 25.0]),
        ("HEAD", Answer::new(200, "").with("content-length", "7"), "method: HEAD", None, [7.0, 0.0]),
        ("no content", Answer::new(204, ""), "", None, [0.0, 0.0]),
        ("after an early hint", Answer { interim: vec![103], ..plain }, "", None, [5.0, 5.0]),
        ("a large body", Answer::new(200, vec![b'x'; 10_000_000]), "", None, [-1.0, 10_000_000.0]),
    ];
    let (authority, server) = identity();
    for (name, answer, settings, want, lengths) in cases {
        let peer = Http3Peer::new(&server, move |_| answer.clone());
        let probed = probe(&module(&authority, settings), &peer.url("/")).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        let got = probed.values(["probe_http_content_length", "probe_http_uncompressed_body_length"]);
        assert_eq!(got, lengths.map(Some), "{name}");
    }
}

#[tokio::test]
async fn redirects_stay_on_http3() {
    let (authority, server) = identity();
    let peer = Http3Peer::new(&server, |seen| match seen.line.split_once("/h3/").map(|(_, path)| path) {
        Some("relative") => Answer::new(302, "").with("location", "/h3/end").with("set-cookie", "a=b"),
        Some("absolute") => {
            let here = seen.line.trim_start_matches("GET ").trim_end_matches("absolute");
            Answer::new(301, "").with("location", format!("{here}relative"))
        }
        Some("loop") => Answer::new(302, "").with("location", "/h3/loop"),
        Some("plain") => Answer::new(302, "").with("location", "http://127.0.0.1:1/"),
        _ => Answer::new(200, "end"),
    });
    let cases = [
        ("absolute", "", None, [200.0, 2.0, 3.0]),
        ("loop", "", Some("check/status"), [302.0, 11.0, 3.0]),
        ("plain", "", Some("processing/redirect"), [0.0, 1.0, 0.0]),
        ("plain", "follow_redirects: false\nvalid_status_codes: [302]", None, [302.0, 1.0, 3.0]),
    ];
    for (path, settings, want, values) in cases {
        let probed = probe(&module(&authority, settings), &peer.url(&format!("/h3/{path}"))).await;
        assert_eq!(probed.failure().as_deref(), want, "{path}: {}", probed.why());
        let got = probed.values(["probe_http_status_code", "probe_http_redirects", "probe_http_version"]);
        assert_eq!(got, values.map(Some), "{path}");
    }
    let end = &peer.seen()[2];
    assert!(end.line.ends_with("/h3/end"), "{}", end.line);
    assert_eq!(end.header("cookie"), Some("a=b"));
    assert!(end.header("referer").unwrap().ends_with("/h3/relative"));
}

#[tokio::test]
async fn servers_that_cannot_be_reached() {
    let (authority, server) = identity();
    let silent = Peer::udp(|_| Vec::new()).await;
    // RFC 9000 §17.2.1; a version that only exists to be unknown, and the connection ids turned round.
    let other_version = Peer::udp(|initial| {
        let (to, rest) = initial[6..].split_at(usize::from(initial[5]));
        let from = &rest[1..][..usize::from(rest[0])];
        let ids = [&[from.len() as u8], from, &[to.len() as u8], to].concat();
        vec![[&[0x80, 0, 0, 0, 0][..], &ids, &[0x1a, 0x2a, 0x3a, 0x4a]].concat()]
    })
    .await;
    let refusing = Http3Peer::refusing(&server);
    let other = Http3Peer::other(&server);
    let closed = closed_port().await;
    let cases = [
        ("nobody listens", closed, "connect/refused", None),
        ("nobody answers", silent.address, "connect/deadline", None),
        ("another version of QUIC", other_version.address, "connect/protocol", None),
        ("the server is not willing", refusing.address, "connect/refused", None),
        ("no HTTP/3", other.address, "tls/tls_alert", None),
    ];
    for (name, address, want, version) in cases {
        let started = Instant::now();
        let probed = probe(&impatient(&module(&authority, "")), &format!("https://{address}/")).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.series("probe_tls_version_info").first().map(String::as_str), version, "{name}");
        let got = ["connect", "tls", "processing", "transfer"].map(|name| phase(&probed, name));
        assert_eq!(got, [Some(0.0); 4], "{name}");
        if !want.ends_with("deadline") {
            assert!(started.elapsed() < Duration::from_millis(250), "{name} took {:?}", started.elapsed());
        }
    }
    let probed = probe(&module(&authority, ""), &other.url("/")).await;
    assert!(probed.why().ends_with("alert no_application_protocol"), "{}", probed.why());
}

#[tokio::test]
async fn certificates_are_judged_as_over_tcp() {
    let (authority, server) = identity();
    let old = authority.issue(&["127.0.0.1"], Validity::Past);
    let named = authority.issue(&["b.test"], Validity::Now);
    let stranger = Authority::new();
    let cases = [
        ("expired", &old, module(&authority, ""), Some("tls/expired"), 0.0),
        ("another name", &named, module(&authority, ""), Some("tls/name_mismatch"), 0.0),
        ("another authority", &server, module(&stranger, ""), Some("tls/unknown_ca"), 0.0),
        (
            "not enforced",
            &old,
            module(&authority, "").replace("tls_config: {", "tls_config: {insecure_skip_verify: true, "),
            None,
            0.0,
        ),
        (
            "the name of the module",
            &named,
            module(&authority, "").replace("tls_config: {", "tls_config: {server_name: b.test, "),
            None,
            1.0,
        ),
    ];
    for (name, tls, module, want, verified) in cases {
        let peer = Http3Peer::new(tls, |_| Answer::new(200, ""));
        let probed = probe(&module, &peer.url("/")).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        let got = probed.values(["probe_tls_verified", "probe_tls_version_info{version=\"TLS 1.3\"}"]);
        assert_eq!(got, [Some(verified), Some(1.0)], "{name}");
        assert_eq!(probed.series("probe_ssl_last_chain_info").len(), 1, "{name}");
        assert_eq!(probed.series("probe_tls_cipher_info").len(), 1, "{name}");
    }
}

#[tokio::test]
async fn modules_that_cannot_work() {
    let (authority, server) = identity();
    let peer = Http3Peer::new(&server, |_| Answer::new(200, ""));
    let cases = [
        ("a proxy", module(&authority, "proxy_url: http://127.0.0.1:1"), "prepare/config"),
        (
            "TLS 1.2",
            module(&authority, "").replace("tls_config: {", "tls_config: {max_version: TLS12, "),
            "prepare/config",
        ),
    ];
    for (name, module, want) in cases {
        let probed = probe(&module, &peer.url("/")).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.value("probe_ip_protocol"), Some(4.0), "{name}");
    }
    assert_eq!(peer.seen(), []);
}

#[tokio::test]
async fn responses_that_break_off() {
    let begun = Answer::new(200, "hel").with("content-length", "5");
    let cases = [
        ("nothing", Answer::default().ending(End::Stall), "processing/deadline", [0.0, 0.0]),
        ("end without response", Answer::default(), "processing/protocol", [0.0, 0.0]),
        ("reset at once", Answer::default().ending(End::Reset), "processing/reset", [0.0, 0.0]),
        ("closed at once", Answer::default().ending(End::Close), "processing/closed", [0.0, 0.0]),
        ("a body that stops", begun.clone().ending(End::Stall), "transfer/deadline", [200.0, 3.0]),
        ("a body too short", begun.clone(), "transfer/protocol", [200.0, 3.0]),
        (
            "a body too long",
            Answer::new(200, "hello!").with("content-length", "5"),
            "transfer/protocol",
            [200.0, 0.0],
        ),
        ("a body that is reset", begun.clone().ending(End::Reset), "transfer/reset", [200.0, 3.0]),
        ("closed within the body", begun.ending(End::Close), "transfer/closed", [200.0, 3.0]),
        (
            "interim responses only",
            Answer { interim: vec![103; 7], ..Answer::new(200, "") },
            "processing/too_large",
            [0.0, 0.0],
        ),
    ];
    let (authority, server) = identity();
    for (name, answer, want, [status, length]) in cases {
        let mut peer = Http3Peer::new(&server, move |_| answer.clone());
        let probed = probe(&impatient(&module(&authority, "")), &peer.url("/")).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.value("probe_http_status_code"), Some(status), "{name}");
        assert_eq!(probed.value("probe_http_uncompressed_body_length"), Some(length), "{name}");
        // The connection ends with the probe, whatever the server still waits for.
        peer.end().await;
    }
}

#[tokio::test]
async fn what_is_no_response_is_not_kept() {
    const HEADERS: u8 = 0x01;
    // One field each, of the static table.
    const OK: [u8; 5] = [HEADERS, 3, 0, 0, 0xd9];
    const EARLY_HINT: [u8; 5] = [HEADERS, 3, 0, 0, 0xd8];
    // An unknown frame (RFC 9114 §7.2.8) that claims and delivers 8 MiB.
    let unknown = [&[0x21, 0x80, 0x80, 0, 0][..], &vec![0; 8 << 20]].concat();
    let huge_header = [&[HEADERS, 0x80, 0x80, 0, 0][..], &vec![0; 8 << 20]].concat();
    // One literal field with a value of 600 KiB; the length is an integer with a prefix of 7 bits (RFC 9204 §4.5.6).
    let value = vec![b'v'; 600 << 10];
    let field = [&[0, 0, 0xd9, 0x21, b'x', 0x7f, 0x81, 0xaf, 0x25][..], &value].concat();
    let long = (0x8000_0000_u32 | u32::try_from(field.len()).unwrap()).to_be_bytes();
    let long_header = [&[HEADERS][..], &long, &field].concat();
    let cases = [
        ("a frame nobody knows", unknown.clone(), "processing/too_large", 0.0),
        ("a header without end", huge_header, "processing/too_large", 0.0),
        ("a long header", long_header.clone(), "processing/too_large", 0.0),
        (
            "a long header after an early hint",
            [&EARLY_HINT[..], &long_header].concat(),
            "processing/too_large",
            0.0,
        ),
        ("a frame nobody knows in the body", [&OK[..], &unknown].concat(), "transfer/too_large", 200.0),
        ("a frame of HTTP/2", vec![0x02, 0], "processing/protocol", 0.0),
        ("data before headers", vec![0x00, 1, b'x'], "processing/protocol", 0.0),
        ("a header that cannot be decoded", vec![HEADERS, 3, 0, 0, 0x80], "processing/protocol", 0.0),
    ];
    let (authority, server) = identity();
    for (name, bytes, want, status) in cases {
        let peer = Http3Peer::raw(&server, bytes, false);
        let probed = probe(&module(&authority, ""), &peer.url("/")).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.value("probe_http_status_code"), Some(status), "{name}");
    }
}

#[tokio::test]
async fn a_body_ends_where_its_stream_ends() {
    const OK: [u8; 5] = [0x01, 3, 0, 0, 0xd9];
    let trailers = [0x01, 3, 0, 0, 0xd9];
    let cases = [
        ("an empty part within", [&OK[..], &[0, 2, b'a', b'b', 0, 0, 0, 1, b'c']].concat(), None, 3.0),
        ("trailers", [&OK[..], &[0, 1, b'a'], &trailers].concat(), None, 1.0),
        ("no body", OK.to_vec(), None, 0.0),
        ("cut within a part", [&OK[..], &[0, 9, b'a']].concat(), Some("transfer/protocol"), 1.0),
        ("cut before a part", [&OK[..], &[0, 9]].concat(), Some("transfer/protocol"), 0.0),
        ("data after trailers", [&OK[..], &trailers, &[0, 1, b'a']].concat(), Some("transfer/protocol"), 0.0),
        ("nothing", Vec::new(), Some("processing/protocol"), 0.0),
    ];
    let (authority, server) = identity();
    for (name, bytes, want, length) in cases {
        let peer = Http3Peer::raw(&server, bytes, true);
        let probed = probe(&module(&authority, ""), &peer.url("/")).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        assert_eq!(probed.value("probe_http_uncompressed_body_length"), Some(length), "{name}");
    }
}

#[tokio::test]
async fn every_handshake_is_a_handshake() {
    let (authority, server) = identity();
    let mut peer = Http3Peer::new(&server, |_| Answer::new(200, ""));
    let (module, net, target) = (compile(&module(&authority, "")), Net::new(), peer.url("/"));
    for _ in 0..2 {
        let timeout = Duration::from_secs(5);
        let request =
            Request { module: &module, target: &target, hostname: None, timeout, log_level: Level::Debug };
        let probed = Probed(runner::run(request, &net).await);
        assert_eq!(probed.failure(), None, "{}", probed.why());
        // A resumed session shows no certificate.
        assert_eq!(probed.value("probe_ssl_earliest_cert_expiry"), Some(END));
        assert_eq!(peer.end().await, "closed by peer: 256");
    }
}

#[tokio::test]
async fn a_probe_that_is_given_up_leaves_nothing() {
    let (authority, server) = identity();
    let mut peer = Http3Peer::new(&server, |_| Answer::default().ending(End::Stall));
    let (module, url) = (module(&authority, ""), peer.url("/"));
    let task = tokio::spawn(async move { probe(&module, &url).await.failure() });
    while peer.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert_eq!(peer.end().await, "closed by peer: 256");
}
