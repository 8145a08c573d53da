//! The grpc prober: targets, answers, and endings of the connection.

mod sent;
mod tls;

use std::time::{Duration, Instant};

use crate::support::frames::{
    MAX_FRAME, continuation, data, go_away, header, last_data, last_header, long_header, long_last_header,
    open_header, ping, reset, settings,
};
use crate::support::peers::{Act, HalfOpen, Peer, closed_port, say};
use crate::support::{Probed, probe};

const MODULE: &str = "prober: grpc\ntimeout: 5s";
/// For tests that want to see the deadline pass.
const IMPATIENT: &str = "prober: grpc\ntimeout: 150ms";

const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const CODE: &str = "probe_grpc_status_code";
const SSL: &str = "probe_grpc_ssl";

/// The values of `probe_grpc_healthcheck_response`: which status is 1, `None` for no status. Fails
/// unless the family is there as a whole, and nothing else in it.
fn status(probed: &Probed) -> Option<&'static str> {
    let family = "probe_grpc_healthcheck_response";
    assert_eq!(probed.series(family).len(), STATUSES.len(), "{}", probed.why());
    let value = |name: &str| probed.value(&format!("{family}{{serving_status={name:?}}}")).unwrap();
    assert!(STATUSES.iter().map(|name| value(name)).sum::<f64>() <= 1.0);
    STATUSES.into_iter().find(|name| value(name) == 1.0)
}

/// The phases of `probe_grpc_duration_seconds` that took time.
fn took(probed: &Probed) -> [Option<bool>; 2] {
    let phases = ["resolve", "check"].map(|phase| format!("probe_grpc_duration_seconds{{phase={phase:?}}}"));
    phases.map(|phase| probed.value(&phase).map(|seconds| seconds > 0.0))
}

const TOOK: [Option<bool>; 2] = [Some(true), Some(true)];

const TYPE: (&str, &str) = ("content-type", "application/grpc");
const OK: (&str, &str) = ("grpc-status", "0");

/// A message in its frame.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], u32::try_from(message.len()).unwrap().to_be_bytes().as_slice(), message].concat()
}

fn begin() -> Vec<u8> {
    header(&[(":status", "200"), TYPE])
}

fn end() -> Vec<u8> {
    last_header(&[OK])
}

/// An answer with this body and status OK.
fn answer(body: &[u8]) -> Vec<u8> {
    [begin(), data(body), end()].concat()
}

/// An answer without a body.
fn refusal(fields: &[(&str, &str)]) -> Vec<u8> {
    last_header(fields)
}

fn serving() -> Vec<u8> {
    answer(&framed(b"\x08\x01"))
}

/// A server that hears the call and then says this.
async fn server(frames: Vec<u8>) -> Peer {
    Peer::tcp(vec![Act::Say(settings()), Act::HearCall, Act::Say(frames)]).await
}

#[tokio::test]
async fn the_serving_status_decides() {
    type Case = (&'static str, &'static [u8], Option<&'static str>, Option<&'static str>);
    let cases: [Case; 7] = [
        ("serving", b"\x08\x01", Some("SERVING"), None),
        ("not serving", b"\x08\x02", Some("NOT_SERVING"), Some("check/mismatch")),
        ("service unknown", b"\x08\x03", Some("SERVICE_UNKNOWN"), Some("check/mismatch")),
        ("unknown", b"\x08\x00", Some("UNKNOWN"), Some("check/mismatch")),
        ("the default", b"", Some("UNKNOWN"), Some("check/mismatch")),
        ("no status of the protocol", b"\x08\x63", None, Some("check/mismatch")),
        ("with fields of the future", b"\x12\x01x\x08\x01\x98\x06\x05", Some("SERVING"), None),
    ];
    for (name, message, want, failure) in cases {
        let peer = server(answer(&framed(message))).await;
        let probed = probe(MODULE, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), failure, "{name}: {}", probed.why());
        assert_eq!(status(&probed), want, "{name}");
        assert_eq!(probed.values([CODE, SSL, "probe_ip_protocol"]), [Some(0.0), Some(0.0), Some(4.0)]);
        assert_eq!(took(&probed), TOOK, "{name}");
        assert!(probed.value("probe_tcp_rtt_seconds").is_some(), "{name}");
    }
}

#[tokio::test]
async fn the_answer_may_come_in_any_pieces() {
    let body = framed(b"\x08\x01");
    let pieces: Vec<u8> = body.chunks(1).flat_map(data).collect();
    let split = [begin(), data(b""), pieces, data(b""), end()].concat();
    let early_hints = [header(&[(":status", "103"), ("link", "</a>")]), serving()].concat();
    let cases = [
        ("byte for byte", Act::Drip(serving())),
        ("a frame for each byte", Act::Say(split)),
        ("after an informational answer", Act::Say(early_hints)),
        ("after pings", Act::Say([ping(), ping(), serving()].concat())),
        ("after the announcement that this was the last call", Act::Say([go_away(1, 0), serving()].concat())),
    ];
    for (name, act) in cases {
        let peer = Peer::tcp(vec![Act::Say(settings()), Act::HearCall, act]).await;
        let probed = probe(MODULE, &peer.target()).await;
        assert_eq!(probed.failure(), None, "{name}: {}", probed.why());
    }
}

/// The codes are those of grpc-go, measured with the same frames.
#[tokio::test]
async fn answers_that_are_no_success_have_code_and_reason() {
    let http = |status: &str| refusal(&[(":status", status), ("content-type", "text/html")]);
    let code = |code: &str| refusal(&[(":status", "200"), TYPE, ("grpc-status", code)]);
    let typed = |kind: &str| {
        let begin = header(&[(":status", "200"), ("content-type", kind)]);
        [begin, data(&framed(b"\x08\x01")), end()].concat()
    };
    let trailers =
        |fields: &[(&str, &str)]| [begin(), data(&framed(b"\x08\x01")), last_header(fields)].concat();
    let message = "no%20such %C3%BC%21 50%";
    let explained = refusal(&[(":status", "200"), TYPE, ("grpc-status", "5"), ("grpc-message", message)]);
    let compressed = [
        header(&[(":status", "200"), TYPE, ("grpc-encoding", "gzip")]),
        data(b"\x01\0\0\0\x02\x08\x01"),
        end(),
    ];
    let cases = [
        ("unknown service", explained, 5.0, "check/status", "status 5 (NOT_FOUND): no such ü! 50%"),
        ("no health service", code("12"), 12.0, "check/status", "status 12 (UNIMPLEMENTED)"),
        ("a code nobody has defined", code("99"), 99.0, "check/status", "99 (not a code of gRPC)"),
        ("OK without a message", code("0"), 13.0, "request/protocol", "sent no message"),
        (
            "OK without a message, in two frames",
            [begin(), end()].concat(),
            13.0,
            "request/protocol",
            "no message",
        ),
        ("a code that is no number", code("abc"), 2.0, "request/protocol", "the grpc-status \"abc\""),
        ("an empty code", code(""), 2.0, "request/protocol", "the grpc-status \"\""),
        ("a code that is too large", code("4294967296"), 2.0, "request/protocol", "\"4294967296\""),
        (
            "a message and a code",
            trailers(&[("grpc-status", "8")]),
            8.0,
            "check/status",
            "RESOURCE_EXHAUSTED",
        ),
        ("the last code counts", trailers(&[OK, ("grpc-status", "5")]), 5.0, "check/status", "NOT_FOUND"),
        ("no code", trailers(&[("x", "y")]), 2.0, "request/protocol", "without a grpc-status"),
        (
            "no code, and no message",
            refusal(&[(":status", "200"), TYPE]),
            2.0,
            "request/protocol",
            "without a grpc-status",
        ),
        (
            "no trailers",
            [begin(), last_data(&framed(b"\x08\x01"))].concat(),
            13.0,
            "request/protocol",
            "without trailers",
        ),
        ("a web server", typed("text/html"), 2.0, "request/protocol", "content of the type \"text/html\""),
        ("gRPC for browsers", typed("application/grpc-web"), 2.0, "request/protocol", "application/grpc-web"),
        ("no type", refusal(&[(":status", "200"), OK]), 2.0, "request/protocol", "content without a type"),
        ("HTTP 302", http("302"), 2.0, "check/status", "HTTP status 302 Found"),
        ("HTTP 400", http("400"), 13.0, "check/status", "HTTP status 400"),
        ("HTTP 401", http("401"), 16.0, "check/status", "HTTP status 401"),
        ("HTTP 403", http("403"), 7.0, "check/status", "HTTP status 403"),
        ("HTTP 404", http("404"), 12.0, "check/status", "HTTP status 404"),
        ("HTTP 429", http("429"), 14.0, "check/status", "HTTP status 429"),
        ("HTTP 503", http("503"), 14.0, "check/status", "HTTP status 503"),
        ("compressed", compressed.concat(), 13.0, "request/protocol", "a compressed message"),
        ("an unknown flag", answer(b"\x02\0\0\0\0"), 13.0, "request/protocol", "the flag 2"),
        ("half a prefix", answer(b"\0\0"), 13.0, "request/protocol", "only 2 bytes"),
        ("half a message", answer(b"\0\0\0\0\x02\x08"), 13.0, "request/protocol", "only 6 bytes"),
        ("two messages", answer(&framed(b"\x08\x01").repeat(2)), 13.0, "request/protocol", "more than one"),
        ("no protobuf", answer(&framed(b"\xff\xff\xff")), 13.0, "request/protocol", "no HealthCheckResponse"),
        (
            "too large",
            answer(b"\0\0\x01\0\x01"),
            8.0,
            "request/too_large",
            "of 65537 bytes; 65536 are accepted",
        ),
        (
            "larger than memory",
            answer(b"\0\xff\xff\xff\xff"),
            8.0,
            "request/too_large",
            "of 4294967295 bytes",
        ),
    ];
    for (name, frames, code, failure, why) in cases {
        let peer = server(frames).await;
        let probed = probe(MODULE, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some(failure), "{name}: {}", probed.why());
        assert!(probed.why().contains(why), "{name}: {}", probed.why());
        assert_eq!(probed.value(CODE), Some(code), "{name}");
        assert_eq!((status(&probed), took(&probed)), (None, TOOK), "{name}");
    }
    for kind in ["application/grpc+proto", "application/grpc;charset=utf-8"] {
        let probed = probe(MODULE, &server(typed(kind)).await.target()).await;
        assert_eq!(probed.failure(), None, "{kind}: {}", probed.why());
    }
    // What counts is the status of gRPC, once it is gRPC that answers.
    let proxied = refusal(&[(":status", "503"), TYPE, ("grpc-status", "5")]);
    assert_eq!(probe(MODULE, &server(proxied).await.target()).await.value(CODE), Some(5.0));
}

#[tokio::test]
async fn connections_that_end_early_have_code_and_reason() {
    let answered = || [begin(), data(&framed(b"\x08\x01"))].concat();
    let greeted = |after: Vec<Act>| [vec![Act::Say(settings()), Act::HearCall], after].concat();
    let long = "x".repeat(80_000);
    let too_long = long_header(&[(":status", "200"), TYPE, ("x", &long)]);
    let long_trailers = [answered(), long_last_header(&[("x", &long), OK])].concat();
    let two_headers = [answered(), header(&[OK])].concat();
    let http1 = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    let garbage: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let mut cases = vec![
        ("close at once", vec![Act::Close], 14.0, "request/closed"),
        ("close after the settings", vec![Act::Say(settings()), Act::Close], 14.0, "request/closed"),
        ("close after the call", greeted(vec![Act::Close]), 14.0, "request/closed"),
        ("close after the header", greeted(vec![Act::Say(begin()), Act::Close]), 14.0, "request/closed"),
        (
            "close inside a frame",
            greeted(vec![Act::Say(begin()[..5].to_vec()), Act::Close]),
            14.0,
            "request/closed",
        ),
        (
            "close before the trailers",
            greeted(vec![Act::Say(answered()), Act::Close]),
            14.0,
            "request/closed",
        ),
        ("reset of the connection", greeted(vec![Act::Say(begin()), Act::Reset]), 14.0, "request/reset"),
        ("going away before the call", greeted(vec![Act::Say(go_away(0, 0))]), 14.0, "request/closed"),
        ("going away because of us", greeted(vec![Act::Say(go_away(0, 11))]), 14.0, "request/closed"),
        ("a header beyond the limit", greeted(vec![Act::Say(too_long)]), 13.0, "request/protocol"),
        ("trailers beyond the limit", greeted(vec![Act::Say(long_trailers)]), 2.0, "request/protocol"),
        ("HTTP/1.1", vec![say(http1)], 14.0, "request/protocol"),
        ("HTTP/1.1, and closed", vec![say(http1), Act::Close], 14.0, "request/protocol"),
        ("a banner", vec![say("SSH-2.0-OpenSSH_9.2\r\n")], 14.0, "request/protocol"),
        ("garbage", vec![Act::Say(garbage)], 14.0, "request/protocol"),
        (
            "a frame beyond the limit",
            greeted(vec![Act::Say(data(&[0; MAX_FRAME + 1]))]),
            14.0,
            "request/protocol",
        ),
        ("a second header", greeted(vec![Act::Say(two_headers)]), 13.0, "request/protocol"),
        ("no HTTP status", greeted(vec![Act::Say(header(&[TYPE]))]), 13.0, "request/protocol"),
    ];
    let resets = [(0, 13.0), (3, 8.0), (7, 14.0), (8, 1.0), (11, 8.0), (12, 7.0), (99, 2.0)];
    for (error, code) in resets {
        cases.push(("reset of the stream", greeted(vec![Act::Say(reset(error))]), code, "request/reset"));
    }
    let late = [answered(), reset(8)].concat();
    cases.push((
        "reset of the stream before the trailers",
        greeted(vec![Act::Say(late)]),
        1.0,
        "request/reset",
    ));
    for (name, script, code, failure) in cases {
        let peer = Peer::tcp(script).await;
        let probed = probe(MODULE, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some(failure), "{name}: {}", probed.why());
        assert_eq!(probed.value(CODE), Some(code), "{name}");
        assert_eq!((status(&probed), took(&probed)), (None, TOOK), "{name}");
    }
}

/// Defect of the peer: it waits 20 s for a connection, and without end for an answer.
#[tokio::test]
async fn whoever_lets_us_wait_meets_the_deadline() {
    let answered = || [begin(), data(&framed(b"\x08\x01"))].concat();
    let greeted = |act: Act| vec![Act::Say(settings()), Act::HearCall, act];
    let filler = "x".repeat(1000);
    let cases = [
        ("silence", vec![]),
        ("settings only", vec![Act::Say(settings()), Act::HearCall]),
        ("no message", greeted(Act::Say(begin()))),
        ("no trailers", greeted(Act::Say(answered()))),
        ("endless pings", greeted(Act::SayForever(ping()))),
        ("endless settings", greeted(Act::SayForever(settings()))),
        (
            "endless informational answers",
            greeted(Act::SayForever(header(&[(":status", "103"), ("x", &filler)]))),
        ),
    ];
    for (name, script) in cases {
        let peer = Peer::tcp(script).await;
        let started = Instant::now();
        let probed = probe(IMPATIENT, &peer.target()).await;
        assert!(started.elapsed() < Duration::from_secs(3), "{name}: {:?}", started.elapsed());
        assert_eq!(probed.failure().as_deref(), Some("request/deadline"), "{name}: {}", probed.why());
        assert_eq!(probed.value(CODE), Some(4.0), "{name}");
        assert_eq!((status(&probed), took(&probed)), (None, TOOK), "{name}");
    }
    let half_open = HalfOpen::new().await;
    let probed = probe(IMPATIENT, &half_open.address.to_string()).await;
    assert_eq!((probed.failure().as_deref(), probed.value(CODE)), (Some("connect/deadline"), Some(4.0)));
    let peer = Peer::tcp(vec![]).await;
    let probed = probe(&format!("{IMPATIENT}\ngrpc: {{tls: true}}"), &peer.target()).await;
    assert_eq!((probed.failure().as_deref(), probed.value(CODE)), (Some("tls/deadline"), Some(4.0)));
    assert_eq!(status(&probed), None);
}

#[tokio::test]
async fn endless_answers_end_at_a_limit() {
    let greeted = |first: Vec<u8>, then: Vec<u8>| {
        vec![Act::Say(settings()), Act::HearCall, Act::Say(first), Act::SayForever(then)]
    };
    let message = [begin(), data(b"\0\0\x01\0\0")].concat();
    let open = open_header(&[(":status", "200"), TYPE]);
    let cases = [
        ("data", greeted(message, data(&[0x10; 1000])), "request/protocol"),
        ("empty data", greeted(begin(), data(b"")), "request/too_large"),
        ("header", greeted(open, continuation(&[("x", &"x".repeat(1000))])), "request/too_large"),
    ];
    for (name, script, failure) in cases {
        let peer = Peer::tcp(script).await;
        let probed = probe(MODULE, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some(failure), "{name}: {}", probed.why());
        assert_eq!((status(&probed), took(&probed)), (None, TOOK), "{name}");
    }
}

#[tokio::test]
async fn targets_without_a_connection() {
    let closed = closed_port().await;
    let announced = ["probe_grpc_duration_seconds", "probe_grpc_ssl", CODE];
    let cases = [
        ("not a URL", MODULE.to_owned(), "127.0.0.1:http".to_owned(), "prepare/bad_target", None),
        ("a port out of range", MODULE.to_owned(), "127.0.0.1:70000".to_owned(), "prepare/bad_target", None),
        (
            "no address of the family",
            format!("{MODULE}\ngrpc: {{ip_protocol_fallback: false}}"),
            closed.to_string(),
            "resolve/address_family",
            Some(0.0),
        ),
        ("no such name", MODULE.to_owned(), "[not-an-address]:80".to_owned(), "resolve/not_found", Some(0.0)),
        (
            "a file that is missing",
            format!("{MODULE}\ngrpc: {{tls: true, tls_config: {{ca_file: /nonexistent}}}}"),
            closed.to_string(),
            "prepare/file",
            None,
        ),
        (
            "settings of TLS that cannot work",
            format!("{MODULE}\ngrpc: {{tls: true, tls_config: {{min_version: TLS13, max_version: TLS12}}}}"),
            closed.to_string(),
            "prepare/config",
            None,
        ),
    ];
    for (name, module, target, want, protocol) in cases {
        let probed = probe(&module, &target).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.value("probe_ip_protocol"), protocol, "{name}");
        assert_eq!(took(&probed), [Some(false), None], "{name}");
        assert_eq!(probed.values([SSL, CODE]), [Some(0.0); 2], "{name}");
        let families: Vec<_> = probed
            .series("probe_grpc_")
            .iter()
            .map(|series| series.split('{').next().unwrap().to_owned())
            .collect();
        assert_eq!(families, announced, "{name}: no serving status without a call");
    }
    let probed = probe(MODULE, &closed.to_string()).await;
    assert_eq!(probed.failure().as_deref(), Some("connect/refused"), "{}", probed.why());
    assert_eq!((probed.value(CODE), status(&probed), took(&probed)), (Some(14.0), None, TOOK));
}

/// Defect of the peer: without a section, IPv4 targets fail.
#[tokio::test]
async fn a_missing_section_falls_back_to_the_other_family() {
    let peer = server(serving()).await;
    for module in ["prober: grpc", "prober: grpc\ngrpc:", "prober: grpc\ngrpc: {}"] {
        let probed = probe(module, &peer.target()).await;
        assert_eq!(probed.failure(), None, "{module}: {}", probed.why());
    }
}

/// Defect of the peer: it loses the brackets.
#[tokio::test]
async fn the_target_may_be_an_ipv6_address_or_a_url() {
    let script = || vec![Act::Say(settings()), Act::HearCall, Act::Say(serving())];
    let peer = Peer::tcp_on("[::1]:0", script()).await;
    let port = peer.address.port();
    for target in [format!("[::1]:{port}"), format!("http://[::1]:{port}"), format!("[::1%25lo]:{port}")] {
        let probed = probe(MODULE, &target).await;
        assert_eq!(probed.failure(), None, "{target}: {}", probed.why());
        assert_eq!(probed.value("probe_ip_protocol"), Some(6.0), "{target}");
    }
    let peer = Peer::tcp(script()).await;
    for target in [format!("https://{}/path?x=1", peer.address), format!("http://{}", peer.address)] {
        let probed = probe(MODULE, &target).await;
        assert_eq!(probed.failure(), None, "{target}: {}", probed.why());
        assert_eq!(probed.value(SSL), Some(0.0), "{target}: the scheme does not choose TLS");
    }
}

/// As in the peer: the name is looked up, nothing is sent, and the call fails with INTERNAL.
#[tokio::test]
async fn metadata_that_cannot_be_sent_fails_the_call() {
    let peer = server(serving()).await;
    let cases = [
        ("{A-B: [c]}", "has \"A-B\", which is not a lower-case metadata key"),
        ("{'': [c]}", "has \"\", which is not a lower-case metadata key"),
        ("{connection: [close]}", "has \"connection\", which HTTP/2 does not allow"),
        ("{a-b: [\"hunter2\\n\"]}", "has \"a-b\" with a value that is not printable ASCII"),
    ];
    for (metadata, why) in cases {
        let probed = probe(&format!("{MODULE}\ngrpc: {{metadata: {metadata}}}"), &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some("prepare/config"), "{metadata}");
        assert!(probed.why().ends_with(&format!("grpc.metadata {why}")), "{}", probed.why());
        assert_eq!(probed.values([CODE, "probe_ip_protocol"]), [Some(13.0), Some(4.0)], "{metadata}");
        assert_eq!((status(&probed), took(&probed)), (None, TOOK), "{metadata}");
    }
}
