//! The http prober over HTTP/1 against servers that end, stall or flood the exchange at every point.

use std::time::{Duration, Instant};

use crate::support::certificates::{Authority, END, Validity};
use crate::support::peers::{Act, HalfOpen, Peer, closed_port, say};
use crate::support::{Probed, probe};

/// What every response is told by: status, version, announced and read length, TLS.
const FACTS: [&str; 5] = [
    "probe_http_status_code",
    "probe_http_version",
    "probe_http_content_length",
    "probe_http_uncompressed_body_length",
    "probe_http_ssl",
];
const NOTHING: [f64; 5] = [0.0; 5];

const OK: &str = "HTTP/1.1 200 OK\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A module with these keys of `http`.
pub fn module(keys: &str) -> String {
    format!("prober: http\ntimeout: 5s\nhttp: {{preferred_ip_protocol: ip4, {keys}}}")
}

/// The same with a deadline that the test wants to see pass.
pub fn impatient(module: &str) -> String {
    module.replace("timeout: 5s", "timeout: 150ms")
}

/// A server that reads the request before it goes on.
pub async fn server(mut script: Vec<Act>) -> Peer {
    script.insert(0, Act::Request);
    Peer::tcp(script).await
}

pub fn facts(probed: &Probed) -> [f64; 5] {
    probed.values(FACTS).map(|value| value.expect("always there"))
}

/// Phases that took time; all five are there.
pub fn phases(probed: &Probed) -> String {
    let took = ["resolve", "connect", "tls", "processing", "transfer"].into_iter().filter(|phase| {
        let series = format!("probe_http_duration_seconds{{phase={phase:?}}}");
        probed.value(&series).unwrap_or_else(|| panic!("no {phase}")) > 0.0
    });
    took.collect::<Vec<_>>().join(" ")
}

fn after(head: &str, rest: impl Into<Vec<Act>>) -> Vec<Act> {
    let mut script = vec![say(head)];
    script.extend(rest.into());
    script
}

#[tokio::test]
async fn the_connection_ends_before_the_header_does() {
    let nothing = "resolve connect";
    let begun = "resolve connect processing";
    let cases = [
        ("before anything", vec![Act::Close], "processing/closed", nothing),
        ("reset before anything", vec![Act::Reset], "processing/reset", nothing),
        ("in the version", after("HTT", [Act::Close]), "processing/closed", begun),
        ("in the status", after("HTTP/1.1 20", [Act::Close]), "processing/closed", begun),
        ("after the status line", after(OK, [Act::Close]), "processing/closed", begun),
        ("in a header", after("HTTP/1.1 200 OK\r\nContent-Le", [Act::Close]), "processing/closed", begun),
        (
            "before the empty line",
            after("HTTP/1.1 200 OK\r\nA: b\r\n", [Act::Close]),
            "processing/closed",
            begun,
        ),
        (
            "after an interim response",
            after("HTTP/1.1 103 Early Hints\r\n\r\n", [Act::Close]),
            "processing/closed",
            begun,
        ),
    ];
    for (name, script, want, took) in cases {
        let probed = probe(&module(""), &server(script).await.target()).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(facts(&probed), NOTHING, "{name}");
        assert_eq!(phases(&probed), took, "{name}");
        assert_eq!(probed.value("probe_failed_due_to_regex"), Some(0.0), "{name}");
    }
}

#[tokio::test]
async fn the_connection_ends_in_the_body() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    let cases = [
        ("no byte of it", length.to_owned(), "transfer/closed", 10.0, 0.0),
        ("some bytes", format!("{length}abc"), "transfer/closed", 10.0, 3.0),
        ("before a chunk", CHUNKED.to_owned(), "transfer/closed", -1.0, 0.0),
        ("in the size of a chunk", format!("{CHUNKED}5"), "transfer/closed", -1.0, 0.0),
        ("in a chunk", format!("{CHUNKED}5\r\nab"), "transfer/closed", -1.0, 2.0),
        ("after a chunk", format!("{CHUNKED}5\r\nabcde"), "transfer/closed", -1.0, 5.0),
        ("between chunks", format!("{CHUNKED}5\r\nabcde\r\n"), "transfer/closed", -1.0, 5.0),
        ("in the last chunk", format!("{CHUNKED}5\r\nabcde\r\n0\r\n"), "transfer/closed", -1.0, 5.0),
        ("not a number", format!("{CHUNKED}zz\r\nabc\r\n"), "transfer/protocol", -1.0, 0.0),
        ("a negative size", format!("{CHUNKED}-1\r\nabc\r\n"), "transfer/protocol", -1.0, 0.0),
        ("a size of 68 bits", format!("{CHUNKED}fffffffffffffffff\r\n"), "transfer/protocol", -1.0, 0.0),
        ("a size of 64 bits", format!("{CHUNKED}ffffffffffffffff\r\nabc"), "transfer/closed", -1.0, 3.0),
        (
            "no line end after a chunk",
            format!("{CHUNKED}3\r\nabcXX0\r\n\r\n"),
            "transfer/protocol",
            -1.0,
            3.0,
        ),
        ("no size", format!("{CHUNKED}\r\nabc\r\n0\r\n\r\n"), "transfer/protocol", -1.0, 0.0),
    ];
    for (name, text, want, announced, read) in cases {
        let probed = probe(&module(""), &server(after(&text, [Act::Close])).await.target()).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(facts(&probed), [200.0, 1.1, announced, read, 0.0], "{name}");
        assert_eq!(phases(&probed), "resolve connect processing transfer", "{name}");
    }
    let probed = probe(&module(""), &server(after(length, [say("abc"), Act::Reset])).await.target()).await;
    // What the kernel drops with a reset may or may not have been read before.
    assert!(
        matches!(probed.failure().as_deref(), Some("transfer/reset" | "processing/reset")),
        "{}",
        probed.why()
    );
    // A check of the body cannot pass on a part of it, whatever cut it.
    let regex = "fail_if_body_not_matches_regexp: [abc]";
    let cel = "fail_if_body_json_matches_cel: body.a == 1";
    let both = format!("{regex}, {cel}");
    for (keys, failed) in
        [(regex, [Some(1.0), None]), (cel, [Some(0.0), Some(1.0)]), (&both, [Some(1.0), Some(0.0)])]
    {
        for (ending, want) in [(Some(Act::Close), "transfer/closed"), (None, "transfer/deadline")] {
            let script = [say("abc")].into_iter().chain(ending).collect::<Vec<_>>();
            let module = if want == "transfer/closed" { module(keys) } else { impatient(&module(keys)) };
            let probed = probe(&module, &server(after(length, script)).await.target()).await;
            assert_eq!(probed.failure().as_deref(), Some(want), "{keys}: {}", probed.why());
            let got = probed.values(["probe_failed_due_to_regex", "probe_failed_due_to_cel"]);
            assert_eq!(got, failed, "{keys} {want}");
        }
    }
}

#[tokio::test]
async fn responses_that_are_complete() {
    let cases = [
        ("a length", format!("{OK}Content-Length: 2\r\n\r\nok"), [200.0, 1.1, 2.0, 2.0, 0.0]),
        (
            "bytes after the end",
            format!("{OK}Content-Length: 2\r\n\r\nokGARBAGE"),
            [200.0, 1.1, 2.0, 2.0, 0.0],
        ),
        ("the end of the connection", format!("{OK}\r\nok"), [200.0, 1.1, -1.0, 2.0, 0.0]),
        ("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nok".to_owned(), [200.0, 1.0, -1.0, 2.0, 0.0]),
        (
            "chunks",
            format!("{CHUNKED}1;a=b\r\no\r\n1\r\nk\r\n0\r\nX: y\r\n\r\n"),
            [200.0, 1.1, -1.0, 2.0, 0.0],
        ),
        ("no reason", "HTTP/1.1 200\r\n\r\nok".to_owned(), [200.0, 1.1, -1.0, 2.0, 0.0]),
        (
            "bare line feeds",
            "HTTP/1.1 200 OK\nContent-Length: 2\n\nok".to_owned(),
            [200.0, 1.1, 2.0, 2.0, 0.0],
        ),
        (
            "a folded header",
            format!("{OK}A: b\r\n c\r\nContent-Length: 2\r\n\r\nok"),
            [200.0, 1.1, 2.0, 2.0, 0.0],
        ),
        (
            "the same length twice",
            format!("{OK}{0}{0}\r\nok", "Content-Length: 2\r\n"),
            [200.0, 1.1, 2.0, 2.0, 0.0],
        ),
        (
            "chunks win over a length",
            format!("{OK}Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            [200.0, 1.1, -1.0, 2.0, 0.0],
        ),
        (
            "interim responses",
            format!("{}{OK}Content-Length: 2\r\n\r\nok", "HTTP/1.1 102 Processing\r\n\r\n".repeat(9)),
            [200.0, 1.1, 2.0, 2.0, 0.0],
        ),
        (
            "500 headers of 1 KB",
            format!("{OK}{}Content-Length: 2\r\n\r\nok", format!("A: {}\r\n", "x".repeat(1000)).repeat(500)),
            [200.0, 1.1, 2.0, 2.0, 0.0],
        ),
        (
            "no content",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
            [204.0, 1.1, 0.0, 0.0, 0.0],
        ),
    ];
    for (name, text, want) in cases {
        for bytewise in [false, true] {
            if bytewise && text.len() > 1000 {
                continue;
            }
            let act = if bytewise { Act::Drip(text.clone().into()) } else { say(&text) };
            let probed = probe(&module(""), &server(vec![act, Act::Close]).await.target()).await;
            assert_eq!(probed.failure(), None, "{name}: {}", probed.why());
            assert_eq!(facts(&probed), want, "{name}");
            assert_eq!(phases(&probed), "resolve connect processing transfer", "{name}");
            assert!(probed.value("probe_tcp_rtt_seconds").is_some_and(|rtt| rtt < 0.5), "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_no_http() {
    let cases = [
        ("HTTP/0.9", "hello world".to_owned()),
        ("another protocol", "220 mail.test ESMTP\r\n".to_owned()),
        ("Shoutcast", "ICY 200 OK\r\n\r\n".to_owned()),
        ("another version", "HTTP/2.0 200 OK\r\n\r\n".to_owned()),
        ("lower case", "http/1.1 200 OK\r\n\r\n".to_owned()),
        ("two digits", "HTTP/1.1 20 OK\r\n\r\n".to_owned()),
        ("four digits", "HTTP/1.1 2000 OK\r\n\r\n".to_owned()),
        ("status 99", "HTTP/1.1 099 OK\r\n\r\n".to_owned()),
        ("no colon", format!("{OK}nonsense\r\n\r\n")),
        ("no name", format!("{OK}: b\r\n\r\n")),
        ("a NUL in a header", format!("{OK}A: b\0c\r\n\r\n")),
        ("a control character in a header", format!("{OK}A: b\u{1}c\r\n\r\n")),
        ("a bare return in a header", format!("{OK}A: b\rc\r\n\r\n")),
        ("a folded first header", format!("{OK} a: b\r\n\r\n")),
        ("two lengths", format!("{OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!")),
        ("two lengths in one", format!("{OK}Content-Length: 2, 3\r\n\r\nok!")),
        ("a negative length", format!("{OK}Content-Length: -2\r\n\r\nok")),
        ("a signed length", format!("{OK}Content-Length: +2\r\n\r\nok")),
        ("a length in words", format!("{OK}Content-Length: two\r\n\r\nok")),
        ("a length of 67 bits", format!("{OK}Content-Length: 99999999999999999999\r\n\r\nok")),
        ("an unknown coding", format!("{OK}Transfer-Encoding: gzip\r\n\r\nok")),
        ("another coding below chunks", format!("{OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
        ("chunked twice", format!("{OK}{0}{0}\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n")),
    ];
    for (name, text) in cases {
        let probed = probe(&module(""), &server(after(&text, [Act::Close])).await.target()).await;
        assert_eq!(probed.failure().as_deref(), Some("processing/protocol"), "{name}: {}", probed.why());
        assert_eq!(facts(&probed), NOTHING, "{name}");
        assert_eq!(phases(&probed), "resolve connect processing", "{name}");
    }
}

#[tokio::test]
async fn peers_that_do_not_stop() {
    let begun = "resolve connect processing";
    let read = "resolve connect processing transfer";
    let endless = |text: &str| Act::SayForever(text.repeat(64 * 1024 / text.len()).into());
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    let slow = |text: &str| Act::Slow(text.repeat(100).into());
    let limited = "body_size_limit: 64KB";
    let large = 65_536.0;
    // The body length matters only where it is exact.
    let cases = [
        ("no line end", "", vec![endless("x")], "processing/protocol", begun, None),
        ("zeros", "", vec![endless("\0")], "processing/protocol", begun, None),
        ("a reason", "", after("HTTP/1.1 200 ", [endless("x")]), "processing/too_large", begun, None),
        (
            "a header line",
            "",
            after("HTTP/1.1 200 OK\r\nA: ", [endless("x")]),
            "processing/too_large",
            begun,
            None,
        ),
        ("header lines", "", after(OK, [endless("A: b\r\n")]), "processing/too_large", begun, None),
        ("interim responses", "", vec![endless(interim)], "processing/too_large", begun, None),
        (
            "chunk extensions",
            "",
            after(CHUNKED, [say("3;"), endless("x")]),
            "transfer/protocol",
            read,
            Some(0.0),
        ),
        (
            "trailers",
            "",
            after(CHUNKED, [say("0\r\n"), endless("A: b\r\n")]),
            "transfer/protocol",
            read,
            Some(0.0),
        ),
        (
            "a body over the limit",
            limited,
            after(OK, [say("\r\n"), endless("x")]),
            "transfer/too_large",
            read,
            Some(large),
        ),
        (
            "chunks over the limit",
            limited,
            after(CHUNKED, [endless("1\r\nx\r\n")]),
            "transfer/too_large",
            read,
            Some(large),
        ),
        ("silence", "", vec![], "processing/deadline", "resolve connect", None),
        ("a slow header", "", vec![slow(OK)], "processing/deadline", begun, None),
        ("silence in the body", "", after(length, [say("abc")]), "transfer/deadline", read, Some(3.0)),
        ("a slow body", "", after(length, [slow("x")]), "transfer/deadline", read, None),
        ("a body", "", after(OK, [say("\r\n"), endless("x")]), "transfer/deadline", read, None),
        ("chunks", "", after(CHUNKED, [endless("1\r\nx\r\n")]), "transfer/deadline", read, None),
    ];
    for (name, keys, script, want, took, length) in cases {
        let module = module(keys);
        let module = if want.ends_with("deadline") { impatient(&module) } else { module };
        let started = Instant::now();
        let probed = probe(&module, &server(script).await.target()).await;
        assert!(started.elapsed() < Duration::from_secs(4), "{name}: {:?}", started.elapsed());
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(phases(&probed), took, "{name}");
        let [status, version, _, body, _] = facts(&probed);
        let seen = if took == read { (200.0, 1.1) } else { (0.0, 0.0) };
        assert_eq!((status, version), seen, "{name}");
        assert!(
            if took == read { length.is_none_or(|length| body == length) } else { body == 0.0 },
            "{name}: {body}"
        );
    }
}

#[tokio::test]
async fn no_connection() {
    let half_open = HalfOpen::new().await;
    let cases = [
        (closed_port().await, "", "connect/refused"),
        (half_open.address, "", "connect/deadline"),
        (
            closed_port().await,
            "preferred_ip_protocol: ip6, ip_protocol_fallback: false",
            "resolve/address_family",
        ),
    ];
    for (address, keys, want) in cases {
        let mut module = impatient(&module(""));
        if !keys.is_empty() {
            module = module.replace("preferred_ip_protocol: ip4", keys);
        }
        let probed = probe(&module, &address.to_string()).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{}", probed.why());
        assert_eq!(facts(&probed), NOTHING);
        assert_eq!(probed.value("probe_tcp_rtt_seconds"), None);
        let resolve = probed.value(r#"probe_http_duration_seconds{phase="resolve"}"#);
        assert!(resolve.is_some_and(|resolve| resolve > 0.0), "also when it fails");
        let all = probed.series("probe_http_duration_seconds").len();
        assert_eq!(all, if want.starts_with("resolve") { 1 } else { 5 }, "{want}");
    }
}

#[tokio::test]
async fn tls_that_is_none() {
    let plain = "HTTP/1.1 400 Bad Request\r\n\r\n";
    let huge = [&b"\x16\x03\x03\x40\0\x02"[..], &[0xff; 16_383]].concat();
    let cases = [
        ("plaintext", vec![say(plain)], "tls/tls_protocol"),
        ("garbage", vec![Act::SayForever(b"garbage".repeat(99))], "tls/tls_protocol"),
        ("an endless message", vec![Act::SayForever(huge)], "tls/tls_protocol"),
        ("close", vec![Act::Close], "tls/closed"),
        ("close after the hello", vec![Act::HearHello, Act::Close], "tls/closed"),
        ("reset", vec![Act::HearHello, Act::Reset], "tls/reset"),
        (
            "handshake_failure",
            vec![Act::HearHello, Act::Say(b"\x15\x03\x03\0\x02\x02\x28".to_vec())],
            "tls/tls_version",
        ),
        (
            "internal_error",
            vec![Act::HearHello, Act::Say(b"\x15\x03\x03\0\x02\x02\x50".to_vec())],
            "tls/tls_alert",
        ),
        ("silence", vec![], "tls/deadline"),
        ("a slow record", vec![Act::Slow(b"\x16\x03\x03\x40\0\x02".to_vec())], "tls/deadline"),
    ];
    for (name, script, want) in cases {
        let module = module("");
        let module = if want == "tls/deadline" { impatient(&module) } else { module };
        let peer = Peer::tcp(script).await;
        let probed = probe(&module, &format!("https://{}", peer.target())).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(facts(&probed), NOTHING, "{name}");
        assert_eq!(phases(&probed), "resolve", "{name}: a hop without a connection counts only so far");
        assert_eq!(probed.series("probe_ssl"), [""; 0], "{name}");
        assert!(probed.value("probe_tcp_rtt_seconds").is_some(), "{name}");
    }
    // A server of TLS answers plaintext with an alert, or closes.
    let config = Authority::new().issue(&["127.0.0.1"], Validity::Now);
    let peer = Peer::tcp(vec![Act::StartTls(config)]).await;
    let probed = probe(&module(""), &peer.target()).await;
    assert!(
        matches!(
            probed.failure().as_deref(),
            Some("processing/protocol" | "processing/closed" | "processing/reset")
        ),
        "{}",
        probed.why()
    );
}

#[tokio::test]
async fn tls_that_ends_at_every_point() {
    let authority = Authority::new();
    let good = authority.issue(&["127.0.0.1"], Validity::Now);
    let expired = authority.issue(&["127.0.0.1"], Validity::Past);
    let other = authority.issue(&["other.test"], Validity::Now);
    let ca = format!("tls_config: {{ca: {}}}", authority.yaml());
    let ok = || say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let done = [200.0, 1.1, 2.0, 2.0, 1.0];
    let cases = [
        ("a response", &good, vec![Act::Request, ok()], None, done),
        ("expired", &expired, vec![Act::Request, ok()], Some("tls/expired"), NOTHING),
        ("another name", &other, vec![Act::Request, ok()], Some("tls/name_mismatch"), NOTHING),
        (
            "close after the handshake",
            &good,
            vec![Act::Request, Act::Close],
            Some("processing/closed"),
            NOTHING,
        ),
        (
            "close in the body",
            &good,
            vec![Act::Request, say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), Act::Close],
            Some("transfer/closed"),
            [200.0, 1.1, 9.0, 3.0, 1.0],
        ),
        ("no HTTP", &good, vec![Act::Request, say("hello world\r\n")], Some("processing/protocol"), NOTHING),
    ];
    for (name, config, mut script, want, seen) in cases {
        script.insert(0, Act::StartTls(config.clone()));
        let peer = Peer::tcp(script).await;
        let probed = probe(&module(&ca), &format!("https://{}/", peer.target())).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        assert_eq!(facts(&probed), seen, "{name}");
        let expiry = if name == "expired" { 1_009_843_200.0 } else { END };
        assert_eq!(probed.value("probe_ssl_earliest_cert_expiry"), Some(expiry), "{name}");
        let verified = !matches!(name, "expired" | "another name");
        assert_eq!(probed.value("probe_tls_verified"), Some(f64::from(u8::from(verified))), "{name}");
    }
}

#[tokio::test]
async fn what_the_module_cannot_do_shows_as_late_as_in_the_peer() {
    let ok = vec![say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")];
    let peer = server(ok).await;
    let cases = [
        ("a CA that is not there", "tls_config: {ca_file: /nonexistent/ca}", "prepare/file", 1),
        ("a body that is not there", "method: POST, body_file: /nonexistent/body", "prepare/file", 1),
        (
            "a password that is not there",
            "basic_auth: {username: u, password_file: /nonexistent/pw}",
            "prepare/file",
            5,
        ),
        ("no method", "method: GET /", "prepare/config", 1),
        ("no header name", "headers: {a b: c}", "prepare/config", 5),
        ("no header value", "http_headers: {X: {secrets: [\"a\\nb\"]}}", "prepare/config", 5),
        ("no compression", "compression: zstd, fail_if_body_matches_regexp: [ok]", "check/config", 5),
    ];
    for (name, keys, want, phases) in cases {
        let probed = probe(&module(keys), &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.series("probe_http_duration_seconds").len(), phases, "{name}");
        let seen = if want == "check/config" { [200.0, 1.1, 2.0, 2.0, 0.0] } else { NOTHING };
        assert_eq!(facts(&probed), seen, "{name}");
        assert_eq!(probed.value("probe_failed_due_to_regex"), Some(0.0), "{name}");
    }
}
