//! The http prober: what it sends, where redirects lead, and how answers are judged.

use std::io::Write as _;

use crate::support::exporter::Dir;
use crate::support::http_peer::{HttpPeer, Received, redirect, response};
use crate::support::peers::{Act, Peer, closed_port, say};
use crate::support::{Probed, probe, probe_as};

const REGEX: &str = "probe_failed_due_to_regex";
const CEL: &str = "probe_failed_due_to_cel";
const STATUS: &str = "probe_http_status_code";
const REDIRECTS: &str = "probe_http_redirects";
const ANNOUNCED: &str = "probe_http_content_length";
const LENGTH: &str = "probe_http_uncompressed_body_length";

/// A module with these keys in its section, one in each line, that prefers IPv4.
fn http(keys: &str) -> String {
    let keys: String = keys.lines().map(|line| format!("  {line}\n")).collect();
    format!("prober: http\ntimeout: 5s\nhttp:\n  preferred_ip_protocol: ip4\n{keys}")
}

fn ok(_: &Received) -> Vec<u8> {
    response("200 OK", &[], b"fine")
}

fn phases(probed: &Probed) -> Vec<String> {
    let series = probed.series("probe_http_duration_seconds");
    series.iter().map(|series| series.split('"').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_request_has_only_what_is_asked_for() {
    let peer = HttpPeer::start(ok).await;
    let port = peer.address.port();
    let probed = probe(&http(""), &peer.named("/a%2Fb?c=d e#f")).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    probe(&http("method: POST\nbody: x=1"), &peer.url("")).await;
    let dir = Dir::new();
    dir.write("body", "from a file");
    probe(&http(&format!("method: PUT\nbody_file: {}/body", dir.path().display())), &peer.url("/")).await;
    probe_as(&http("headers: {Accept: '*/*', user-agent: ''}"), &peer.named("/"), Some("a.test:8")).await;

    let agent = format!("user-agent: Blackbox-Exporter/{} (heartbeat_exporter)", env!("CARGO_PKG_VERSION"));
    let named = format!("host: localhost:{port}");
    let numbered = format!("host: 127.0.0.1:{port}");
    let close = "connection: close";
    let want: [(&str, Vec<&str>, &[u8]); 4] = [
        ("GET /a%2Fb?c=d%20e HTTP/1.1", vec![close, &named, &agent], b""),
        ("POST / HTTP/1.1", vec![close, "content-length: 3", &numbered, &agent], b"x=1"),
        ("PUT / HTTP/1.1", vec![close, &numbered, "transfer-encoding: chunked", &agent], b"from a file"),
        ("GET / HTTP/1.1", vec!["accept: */*", close, "host: a.test:8"], b""),
    ];
    for (got, (line, headers, body)) in peer.received().iter().zip(want) {
        assert_eq!((got.line.as_str(), got.body.as_slice()), (line, body));
        assert_eq!(got.headers, headers, "{line}");
    }
    assert_eq!(peer.received().len(), 4);
}

#[tokio::test]
async fn redirects_are_counted_also_when_they_are_not_followed() {
    let peer = HttpPeer::start(|request| match request.path().strip_prefix("/loop/") {
        Some(n) => redirect("302 Found", &format!("/loop/{}", n.parse::<u32>().unwrap() + 1)),
        None => match request.path() {
            "/once" => redirect("301 Moved Permanently", "/ok"),
            "/nowhere" => response("302 Found", &[], b"moved"),
            "/refused" => redirect("302 Found", "ftp://a.test/"),
            _ => response("200 OK", &[], b"fine"),
        },
    })
    .await;
    let kept = "follow_redirects: false\nvalid_status_codes: [301, 302]";
    let cases = [
        ("none", "", "/ok", None, 200.0, 0.0, 4.0),
        ("one", "", "/once", None, 200.0, 1.0, 4.0),
        ("too many", "", "/loop/0", Some("check/status"), 302.0, 11.0, 5.0),
        ("not followed", kept, "/once", None, 301.0, 1.0, 5.0),
        ("without a place", kept, "/nowhere", None, 302.0, 0.0, 5.0),
        ("of another scheme", "", "/refused", Some("processing/redirect"), 0.0, 1.0, 0.0),
    ];
    for (name, keys, path, failure, status, redirects, length) in cases {
        let probed = probe(&http(keys), &peer.url(path)).await;
        assert_eq!(probed.failure().as_deref(), failure, "{name}: {}", probed.why());
        let got = probed.values([STATUS, REDIRECTS, LENGTH]);
        assert_eq!(got, [status, redirects, length].map(Some), "{name}");
    }
}

#[tokio::test]
async fn a_redirect_that_is_not_followed_is_checked_like_any_answer() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"moved to /b").unwrap();
    let packed = packed.finish().unwrap();
    let peer = HttpPeer::start(move |_| response("302 Found", &["Location: /b"], &packed)).await;
    let keys = "follow_redirects: false\nvalid_status_codes: [302]\ncompression: gzip\n";
    for (check, failure, flag) in [
        ("fail_if_body_not_matches_regexp: [moved]", None, 0.0),
        ("fail_if_body_matches_regexp: [moved]", Some("check/body"), 1.0),
    ] {
        let probed = probe(&http(&format!("{keys}{check}")), &peer.url("/")).await;
        assert_eq!(probed.failure().as_deref(), failure, "{}", probed.why());
        assert_eq!(probed.values([LENGTH, REGEX]), [Some(11.0), Some(flag)]);
    }
}

#[tokio::test]
async fn a_redirect_repeats_the_request_as_its_code_says() {
    let dir = Dir::new();
    dir.write("body", "x");
    let file = format!("body_file: {}/body\nvalid_status_codes: [200, 307, 308]", dir.path().display());
    let cases = [
        ("302 Found", "body: x", 200.0, 1.0, vec!["POST", "GET"], 0),
        ("303 See Other", "body: x", 200.0, 1.0, vec!["POST", "GET"], 0),
        ("307 Temporary Redirect", "body: x", 200.0, 1.0, vec!["POST", "POST"], 1),
        ("308 Permanent Redirect", "body: x", 200.0, 1.0, vec!["POST", "POST"], 1),
        ("302 Found", &file, 200.0, 1.0, vec!["POST", "GET"], 0),
        ("307 Temporary Redirect", &file, 307.0, 0.0, vec!["POST"], 1),
    ];
    for (status, keys, code, redirects, methods, length) in cases {
        let peer = HttpPeer::start(move |request| match request.path() {
            "/ok" => ok(request),
            _ => redirect(status, "/ok"),
        })
        .await;
        let probed = probe(&http(&format!("method: POST\n{keys}")), &peer.url("/")).await;
        assert_eq!(probed.failure(), None, "{status}: {}", probed.why());
        assert_eq!(probed.values([STATUS, REDIRECTS]), [Some(code), Some(redirects)], "{status} {keys}");
        let received = peer.received();
        let got: Vec<&str> = received.iter().map(|request| request.line.split(' ').next().unwrap()).collect();
        assert_eq!(got, methods, "{status} {keys}");
        assert_eq!(received.last().unwrap().body.len(), length, "{status} {keys}");
    }
}

#[tokio::test]
async fn credentials_and_host_follow_the_redirect() {
    let other = HttpPeer::start(ok).await;
    let there = other.address.port();
    let peer = HttpPeer::start(move |request| {
        let port = request.header("host").unwrap().rsplit(':').next().unwrap().to_owned();
        match request.path() {
            "/absolute" => redirect("302 Found", &format!("http://localhost:{port}/ok")),
            "/relative" => redirect("302 Found", "/ok"),
            "/away" => redirect("302 Found", &format!("http://127.0.0.1:{there}/ok")),
            "/scheme-relative" => redirect("302 Found", &format!("//127.0.0.1:{there}/ok")),
            _ => ok(request),
        }
    })
    .await;
    let here = peer.address.port();
    let module = http("basic_auth: {username: a, password: b}\nheaders: {Cookie: c=d}");
    let cases = [
        ("/absolute", &peer, format!("localhost:{here}"), true),
        ("/relative", &peer, format!("localhost:{here}"), true),
        ("/away", &other, format!("127.0.0.1:{there}"), false),
        ("/scheme-relative", &other, format!("127.0.0.1:{there}"), false),
    ];
    for (path, arrives_at, host, keeps) in cases {
        let probed = probe(&module, &peer.named(path)).await;
        assert_eq!(probed.failure(), None, "{path}: {}", probed.why());
        let last = arrives_at.received().pop().unwrap();
        assert_eq!((last.path(), last.header("host")), ("/ok", Some(host.as_str())), "{path}");
        assert_eq!(last.header("authorization"), keeps.then_some("Basic YTpi"), "{path}");
        assert_eq!(last.header("cookie"), keeps.then_some("c=d"), "{path}");
    }
}

#[tokio::test]
async fn a_cookie_comes_back_and_the_referer_has_the_address() {
    let peer = HttpPeer::start(|request| match request.path() {
        "/ok" => ok(request),
        _ => response("302 Found", &["Location: /ok", "Set-Cookie: a=b; Path=/"], b""),
    })
    .await;
    assert_eq!(probe(&http(""), &peer.named("/from?x=1")).await.failure(), None);
    let last = peer.received().pop().unwrap();
    assert_eq!(last.header("cookie"), Some("a=b"));
    assert_eq!(last.header("referer"), Some(peer.url("/from?x=1").as_str()));
}

#[tokio::test]
async fn phases_are_there_as_far_as_the_probe_got() {
    let peer = HttpPeer::start(ok).await;
    let closed = closed_port().await;
    let all = ["connect", "processing", "resolve", "tls", "transfer"];
    let cases: [(&str, String, &str, &[&str]); 4] = [
        ("no URL", "http://a b/".to_owned(), "prepare/bad_target", &[]),
        ("no address", "http://[::1]/".to_owned(), "resolve/address_family", &["resolve"]),
        ("refused", format!("http://{closed}/"), "connect/refused", &all),
        ("answered", peer.url("/"), "", &all),
    ];
    for (name, target, failure, want) in cases {
        let probed = probe(&http("ip_protocol_fallback: false"), &target).await;
        assert_eq!(probed.failure().unwrap_or_default(), failure, "{name}: {}", probed.why());
        assert_eq!(phases(&probed), want, "{name}");
        let zero = phases(&probed).iter().all(|phase| {
            let value = probed.value(&format!("probe_http_duration_seconds{{phase=\"{phase}\"}}")).unwrap();
            phase == "resolve" || value == 0.0
        });
        assert_eq!(zero, !failure.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn lengths_are_those_of_the_header_and_of_the_wire() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n";
    let until_close = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcdef";
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef";
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcdef";
    let cases = [
        ("chunked", "", chunked, None, -1.0, 6.0),
        ("until the end", "", until_close, None, -1.0, 6.0),
        ("announced", "", whole, None, 6.0, 6.0),
        ("of a HEAD", "method: HEAD", head, None, 6.0, 0.0),
        ("cut", "", short, Some("transfer/closed"), 9.0, 6.0),
        ("at the limit", "body_size_limit: 6B", whole, None, 6.0, 6.0),
        ("over the limit", "body_size_limit: 5B", whole, Some("transfer/too_large"), 6.0, 5.0),
    ];
    for (name, keys, answer, failure, announced, length) in cases {
        let peer = HttpPeer::start(move |_| answer.into()).await;
        let probed = probe(&http(keys), &peer.url("/")).await;
        assert_eq!(probed.failure().as_deref(), failure, "{name}: {}", probed.why());
        let got = probed.values([STATUS, ANNOUNCED, LENGTH, REGEX]);
        assert_eq!(got, [200.0, announced, length, 0.0].map(Some), "{name}");
    }
}

#[tokio::test]
async fn checks_set_their_flags() {
    let whole = "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 9\r\n\r\n{\"a\": 15}";
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n{\"a\": 15}";
    let on_header = |kind, entry| format!("fail_if_header_{kind}: [{{{entry}}}]");
    let both = "fail_if_body_matches_regexp: [z]\nfail_if_body_json_matches_cel: body.a == ";
    let cases = [
        ("header matches", whole, on_header("matches", "header: x-a, regexp: b"), "check/header", 1.0, None),
        ("no such header", whole, on_header("matches", "header: X-B, regexp: b"), "check/header", 1.0, None),
        (
            "nor that one",
            whole,
            on_header("not_matches", "header: X-B, regexp: b"),
            "check/header",
            1.0,
            None,
        ),
        (
            "may be missing",
            whole,
            on_header("not_matches", "header: X-B, regexp: b, allow_missing: true"),
            "",
            0.0,
            None,
        ),
        ("CEL after a regular expression", whole, format!("{both}16"), "", 0.0, Some(0.0)),
        ("and fails", whole, format!("{both}15"), "check/cel", 0.0, Some(1.0)),
        ("status first", missing, format!("{both}15"), "check/status", 0.0, Some(0.0)),
        (
            "body too long to be matched",
            whole,
            format!("body_size_limit: 5B\n{both}15"),
            "transfer/too_large",
            1.0,
            Some(0.0),
        ),
        (
            "too long even with a bad status",
            missing,
            format!("body_size_limit: 5B\n{both}15"),
            "check/status",
            0.0,
            Some(0.0),
        ),
    ];
    for (name, answer, keys, failure, regex, cel) in cases {
        let peer = HttpPeer::start(move |_| answer.into()).await;
        let probed = probe(&http(&keys), &peer.url("/")).await;
        assert_eq!(probed.failure().unwrap_or_default(), failure, "{name}: {}", probed.why());
        assert_eq!(probed.values([REGEX, CEL]), [Some(regex), cel], "{name}");
    }
}

#[tokio::test]
async fn versions_have_their_full_names() {
    let peer = HttpPeer::start(ok).await;
    for (versions, failure) in [("HTTP/1.1", None), ("HTTP/1", Some("check/http_version"))] {
        let probed = probe(&http(&format!("valid_http_versions: [{versions}]")), &peer.url("/")).await;
        assert_eq!(probed.failure().as_deref(), failure, "{versions}");
        assert_eq!(probed.value("probe_http_version"), Some(1.1));
    }
    let old = Peer::tcp(vec![say("HTTP/1.0 200 OK\r\n\r\n"), Act::Close]).await;
    let probed = probe(&http("valid_http_versions: [HTTP/1.0]"), &old.target()).await;
    assert_eq!((probed.failure(), probed.value("probe_http_version")), (None, Some(1.0)));
}
