//! The http prober over HTTP/2 against servers made of raw frames (RFC 9113).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use super::http_hostile::{facts, impatient, module, phases};
use crate::support::certificates::{Authority, Validity, with_alpn};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, settings,
};
use crate::support::peers::{Act, Peer};
use crate::support::probe;

/// `:status: 200`, an entry of the static table (RFC 7541 appendix A).
const STATUS_200: &[u8] = &[0x88];

/// Agrees to HTTP/2, then says this.
async fn server(config: &Arc<ServerConfig>, rest: Vec<Act>) -> Peer {
    let mut script = vec![Act::StartTls(config.clone()), Act::HearHello];
    script.extend(rest);
    Peer::tcp(script).await
}

fn all(frames: &[Vec<u8>]) -> Act {
    Act::Say(frames.concat())
}

#[tokio::test]
async fn every_ending() {
    let authority = Authority::new();
    let config = with_alpn(&authority.issue(&["127.0.0.1"], Validity::Now), &["h2"]);
    let ca = format!("tls_config: {{ca: {}}}", authority.yaml());
    let head = || frame(HEADERS, END_HEADERS, 1, STATUS_200);
    let length =
        |text| frame(HEADERS, END_HEADERS, 1, &[STATUS_200, &block(&[("content-length", text)])].concat());
    let nothing = [0.0; 5];
    let begun = |announced, read| [200.0, 2.0, announced, read, 1.0];
    let protocol = Some("processing/protocol");
    let cases = [
        (
            "a response",
            vec![all(&[settings(), head(), frame(DATA, END_STREAM, 1, b"ok")])],
            None,
            begun(-1.0, 2.0),
        ),
        (
            "no body",
            vec![all(&[settings(), frame(HEADERS, END_HEADERS | END_STREAM, 1, STATUS_200)])],
            None,
            begun(0.0, 0.0),
        ),
        (
            "a length",
            vec![all(&[settings(), length("2"), frame(DATA, END_STREAM, 1, b"ok")])],
            None,
            begun(2.0, 2.0),
        ),
        (
            "an interim response",
            vec![all(&[
                settings(),
                frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "103")])),
                head(),
                frame(DATA, END_STREAM, 1, b"ok"),
            ])],
            None,
            begun(-1.0, 2.0),
        ),
        (
            "more than announced",
            vec![all(&[settings(), length("1"), frame(DATA, END_STREAM, 1, b"ok")])],
            Some("transfer/protocol"),
            begun(1.0, 0.0),
        ),
        (
            "less than announced",
            vec![all(&[settings(), length("3"), frame(DATA, END_STREAM, 1, b"ok")])],
            Some("transfer/protocol"),
            begun(3.0, 0.0),
        ),
        ("close at once", vec![Act::Close], Some("processing/closed"), nothing),
        (
            "close after the settings",
            vec![all(&[settings()]), Act::Close],
            Some("processing/closed"),
            nothing,
        ),
        (
            "close in a frame",
            vec![Act::Say(settings()[..5].to_vec()), Act::Close],
            Some("processing/closed"),
            nothing,
        ),
        (
            "close in the body",
            vec![all(&[settings(), head(), frame(DATA, 0, 1, b"abc")]), Act::Close],
            Some("transfer/closed"),
            begun(-1.0, 3.0),
        ),
        ("garbage", vec![Act::SayForever(b"garbage".repeat(999))], protocol, nothing),
        ("HTTP/1.1", vec![Act::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())], protocol, nothing),
        (
            "a frame that is too large",
            vec![all(&[settings(), frame(DATA, 0, 1, &[0; 70_000])])],
            protocol,
            nothing,
        ),
        ("no settings", vec![all(&[head(), frame(DATA, END_STREAM, 1, b"ok")])], None, begun(-1.0, 2.0)),
        ("bad settings", vec![all(&[frame(SETTINGS, 0, 0, &[0; 5])])], protocol, nothing),
        (
            "body before header",
            vec![all(&[settings(), frame(DATA, END_STREAM, 1, b"ok")])],
            protocol,
            nothing,
        ),
        (
            "bad compression",
            vec![all(&[settings(), frame(HEADERS, END_HEADERS, 1, &[0xff; 20])])],
            protocol,
            nothing,
        ),
        (
            "no status",
            vec![all(&[settings(), frame(HEADERS, END_HEADERS, 1, &block(&[("a", "b")]))])],
            protocol,
            nothing,
        ),
        (
            "an unknown stream",
            vec![all(&[settings(), frame(HEADERS, END_HEADERS, 7, STATUS_200)])],
            protocol,
            nothing,
        ),
        (
            "a promise",
            vec![all(&[settings(), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])])],
            protocol,
            nothing,
        ),
        (
            "a window that overflows",
            vec![all(&[settings(), frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])])],
            protocol,
            nothing,
        ),
        (
            "GOAWAY",
            vec![all(&[settings(), frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11])])],
            protocol,
            nothing,
        ),
        (
            "GOAWAY without an error",
            vec![all(&[settings(), frame(GOAWAY, 0, 0, &[0; 8])]), Act::Close],
            protocol,
            nothing,
        ),
        ("RST_STREAM", vec![all(&[settings(), frame(RST_STREAM, 0, 1, &[0, 0, 0, 7])])], protocol, nothing),
        (
            "RST_STREAM in the body",
            vec![all(&[
                settings(),
                head(),
                frame(DATA, 0, 1, b"abc"),
                frame(RST_STREAM, 0, 1, &[0, 0, 0, 2]),
            ])],
            Some("transfer/protocol"),
            begun(-1.0, 3.0),
        ),
    ];
    for (name, script, want, seen) in cases {
        let peer = server(&config, script).await;
        let probed = probe(&module(&ca), &format!("https://{}", peer.target())).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        let mut got = facts(&probed);
        // What came before a broken stream may or may not have been handed over.
        if want == Some("transfer/protocol") {
            got[3] = seen[3];
        }
        assert_eq!(got, seen, "{name}");
        let took =
            if seen == nothing { "resolve connect tls" } else { "resolve connect tls processing transfer" };
        assert_eq!(phases(&probed), took, "{name}");
        assert_eq!(probed.value("probe_tls_verified"), Some(1.0), "{name}");
    }
}

#[tokio::test]
async fn floods() {
    let authority = Authority::new();
    let config = with_alpn(&authority.issue(&["127.0.0.1"], Validity::Now), &["h2"]);
    let ca = format!("tls_config: {{ca: {}}}", authority.yaml());
    let head = frame(HEADERS, END_HEADERS, 1, STATUS_200);
    let open = frame(HEADERS, 0, 1, STATUS_200);
    let part = frame(CONTINUATION, 0, 1, &block(&[("a", &"x".repeat(100))]).repeat(100));
    let interim = frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "103")]));
    let many = |frame: Vec<u8>| Act::SayForever(frame.repeat(16 * 1024 / frame.len() + 1));
    let cases = [
        ("settings", vec![settings()], settings(), "processing/"),
        ("pings", vec![settings()], frame(PING, 0, 0, &[0; 8]), "processing/"),
        ("continuations", vec![settings(), open.clone()], part, "processing/"),
        ("empty continuations", vec![settings(), open], frame(CONTINUATION, 0, 1, &[]), "processing/"),
        ("interim responses", vec![settings()], interim, "processing/"),
        ("unknown frames", vec![settings()], frame(0x42, 0, 0, &[0; 50]), "processing/"),
        ("window updates", vec![settings()], frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), "processing/"),
        ("empty data", vec![settings(), head.clone()], frame(DATA, 0, 1, &[]), "transfer/"),
        ("data", vec![settings(), head], frame(DATA, 0, 1, &[0; 16_000]), "transfer/"),
    ];
    for (name, begin, flood, phase) in cases {
        let peer = server(&config, vec![all(&begin), many(flood)]).await;
        let started = Instant::now();
        let probed = probe(&impatient(&module(&ca)), &format!("https://{}", peer.target())).await;
        // Some are recognised, the rest ends with the deadline.
        let failure = probed.failure().unwrap();
        assert!(failure.starts_with(phase), "{name}: {failure}: {}", probed.why());
        assert!(
            ["deadline", "protocol", "too_large"].iter().any(|reason| failure.ends_with(reason)),
            "{name}: {failure}: {}",
            probed.why()
        );
        assert!(started.elapsed() < Duration::from_secs(3), "{name}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_body_may_wait_for_the_servers_word() {
    let authority = Authority::new();
    let config = with_alpn(&authority.issue(&["127.0.0.1"], Validity::Now), &["h2"]);
    let keys = format!(
        "method: POST, body: hello, headers: {{Expect: 100-continue}}, tls_config: {{ca: {}}}",
        authority.yaml()
    );
    let interim = |status| frame(HEADERS, END_HEADERS, 1, &block(&[(":status", status)]));
    let end = frame(HEADERS, END_HEADERS | END_STREAM, 1, STATUS_200);
    let cases = [
        ("asked for", vec![settings(), interim("100"), frame(HEADERS, END_HEADERS, 1, STATUS_200)], 0..900),
        ("a final response at once", vec![settings(), end], 0..900),
        ("another interim response", vec![settings(), interim("103")], 1000..3000),
    ];
    for (name, frames, took) in cases {
        let peer = server(&config, vec![all(&frames)]).await;
        let started = Instant::now();
        let module = module(&keys).replace("timeout: 5s", "timeout: 1500ms");
        let probed = probe(&module, &format!("https://{}", peer.target())).await;
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap();
        let want = match name {
            "asked for" => Some("transfer/deadline"),
            "another interim response" => Some("processing/deadline"),
            _ => None,
        };
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        // The script does not answer the body, so the deadline follows where the body was sent.
        if want.is_none() {
            assert!(took.contains(&elapsed), "{name}: {elapsed} ms");
        }
    }
}
