//! The websocket prober: targets, the upgrade, messages, and servers that break the rules.

use std::fs;

use aws_lc_rs::digest;
use data_encoding::BASE64;

use crate::support::certificates::{Authority, END, Validity};
use crate::support::peers::{Act, HalfOpen, Peer, closed_port, say};
use crate::support::{Probed, compile, probe};

const STATUS: &str = "probe_websocket_status_code";
const UPGRADED: &str = "probe_websocket_connection_upgraded";
const FAILED: &str = "probe_websocket_failed_due_to_regex";
const FLAGS: [&str; 3] = [STATUS, UPGRADED, FAILED];

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A module with these `query_response` entries, one for each line.
fn talk(entries: &str) -> String {
    let entries: String = entries.lines().map(|line| format!("    - {}\n", line.trim())).collect();
    format!("prober: websocket\ntimeout: 5s\nwebsocket:\n  query_response:\n{entries}")
}

fn with(settings: &str) -> String {
    format!("prober: websocket\ntimeout: 5s\nwebsocket: {settings}")
}

fn url(peer: &Peer) -> String {
    format!("ws://{}/", peer.target())
}

fn phases(probed: &Probed) -> Vec<String> {
    let series = probed.series("probe_websocket_duration_seconds");
    series.iter().map(|series| series.split('"').nth(1).unwrap().to_owned()).collect()
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn accept(head: &str) -> String {
    let key = header(head, "Sec-WebSocket-Key").unwrap();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

/// The answer of a server that agrees.
fn agree(head: &str) -> Vec<u8> {
    let accept = accept(head);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: keep-alive, upgrade\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    )
    .into()
}

/// A server that agrees and goes on like this.
async fn server(mut script: Vec<Act>) -> Peer {
    script.insert(0, Act::AnswerHead(agree));
    Peer::tcp(script).await
}

/// A frame of a server: first byte, then the payload with its length.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..=125 => frame.push(u8::try_from(length).unwrap()),
        length @ ..=0xffff => {
            frame.push(126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

fn send(first: u8, payload: &[u8]) -> Act {
    Act::Say(frame(first, payload))
}

fn hear(text: &str) -> Act {
    Act::HearFrame(TEXT, text.into())
}

#[tokio::test]
async fn an_upgrade_is_a_success() {
    for (address, protocol) in [("127.0.0.1:0", 4.0), ("[::1]:0", 6.0)] {
        let peer = Peer::tcp_on(address, vec![Act::AnswerHead(agree)]).await;
        let target = format!("ws://{}/chat?room=1#part", peer.target());
        let probed = probe("prober: websocket", &target).await;
        assert_eq!(probed.failure(), None, "{}", probed.why());
        assert_eq!(probed.values(FLAGS), [Some(101.0), Some(1.0), Some(0.0)]);
        assert_eq!(probed.value("probe_ip_protocol"), Some(protocol));
        assert_eq!(phases(&probed), ["connect", "processing", "resolve"]);

        let heard = String::from_utf8(peer.heard()).unwrap();
        let key = header(&heard, "Sec-WebSocket-Key").unwrap();
        assert_eq!(BASE64.decode(key.as_bytes()).unwrap().len(), 16);
        let want = format!(
            "GET /chat?room=1 HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nUser-Agent: {}\r\n\r\n",
            peer.target(),
            heartbeat_exporter::USER_AGENT,
        );
        assert_eq!(heard, want);
    }
}

#[tokio::test]
async fn each_probe_has_a_key_of_its_own() {
    let peer = server(vec![]).await;
    for _ in 0..2 {
        assert_eq!(probe("prober: websocket", &url(&peer)).await.failure(), None);
    }
    let heard = String::from_utf8(peer.heard()).unwrap();
    let keys: Vec<_> = heard.lines().filter(|line| line.starts_with("Sec-WebSocket-Key")).collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn targets_that_cannot_be_used() {
    let closed = closed_port().await;
    let half_open = HalfOpen::new().await;
    let impatient = "prober: websocket\ntimeout: 100ms";
    let only_v6 = "prober: websocket\nwebsocket: {ip_protocol_fallback: false}";
    let plain = "prober: websocket";
    // Target, failure, phases, version of the protocol.
    let dialled = ["connect", "processing", "resolve"].as_slice();
    let resolved = ["processing", "resolve"].as_slice();
    let cases = [
        ("refused", plain, format!("ws://{closed}/"), "connect/refused", dialled, Some(4.0)),
        (
            "half open",
            impatient,
            format!("ws://{}/", half_open.address),
            "connect/deadline",
            dialled,
            Some(4.0),
        ),
        ("family", only_v6, format!("ws://{closed}/"), "resolve/address_family", &["resolve"], Some(0.0)),
        ("another scheme", plain, format!("http://{closed}/"), "prepare/bad_target", resolved, Some(4.0)),
        ("user information", plain, format!("ws://u:p@{closed}/"), "prepare/bad_target", resolved, Some(4.0)),
        ("no host", plain, "ws:///x".to_owned(), "prepare/bad_target", &["resolve"], Some(0.0)),
        ("no scheme", plain, "a.test/x".to_owned(), "prepare/bad_target", &["resolve"], Some(0.0)),
        ("no URL", plain, closed.to_string(), "prepare/bad_target", &[], None),
    ];
    for (name, module, target, want, want_phases, protocol) in cases {
        let probed = probe(module, &target).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(phases(&probed), want_phases, "{name}");
        let flag = protocol.and(Some(0.0));
        assert_eq!(probed.values(FLAGS), [flag, flag, flag], "{name}");
        assert_eq!(probed.value("probe_ip_protocol"), protocol, "{name}");
    }
}

#[tokio::test]
async fn answers_that_are_no_upgrade() {
    fn altered(head: &str, from: &str, to: &str) -> Vec<u8> {
        String::from_utf8(agree(head)).unwrap().replace(from, to).into()
    }
    let lines = |count: usize| {
        let lines: String = (0..count).map(|n| format!("x-{n}: y\r\n")).collect();
        Act::Say(format!("HTTP/1.1 101 x\r\n{lines}\r\n").into())
    };
    let head = |answer| Act::AnswerHead(answer);
    let refusal = |status: &str| say(&format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno"));
    let cases: Vec<(&str, Vec<Act>, &str, f64, &str)> = vec![
        (
            "forbidden",
            vec![refusal("403 Forbidden")],
            "processing/status",
            403.0,
            "answered with status 403, not 101",
        ),
        ("unauthorized", vec![refusal("401 x")], "processing/status", 401.0, "401"),
        ("a redirect", vec![refusal("302 Found\r\nLocation: /x")], "processing/status", 302.0, "302"),
        ("no upgrade", vec![refusal("200 OK")], "processing/status", 200.0, "200"),
        ("an empty body", vec![say("HTTP/1.0 503 x\r\n\r\n"), Act::Close], "processing/status", 503.0, "503"),
        (
            "an answer for another key",
            vec![head(|head| altered(head, &accept(head), &BASE64.encode(&[7; 20])))],
            "processing/protocol",
            101.0,
            "for another key",
        ),
        (
            "the case of the key counts",
            vec![head(|head| altered(head, &accept(head), &accept(head).to_uppercase()))],
            "processing/protocol",
            101.0,
            "for another key",
        ),
        (
            "no answer to the key",
            vec![head(|head| altered(head, "sec-websocket-accept", "x"))],
            "processing/protocol",
            101.0,
            "sent no Sec-WebSocket-Accept",
        ),
        (
            "another protocol",
            vec![head(|head| altered(head, "WebSocket\r", "h2c\r"))],
            "processing/protocol",
            101.0,
            "did not name websocket in Upgrade",
        ),
        (
            "another connection",
            vec![head(|head| altered(head, "keep-alive, upgrade", "close"))],
            "processing/protocol",
            101.0,
            "did not name Upgrade in Connection",
        ),
        ("no HTTP", vec![say("SSH-2.0-x\r\n")], "processing/protocol", 0.0, "did not answer with valid HTTP"),
        (
            "no HTTP, no line",
            vec![say("+PONG")],
            "processing/protocol",
            0.0,
            "did not answer with valid HTTP",
        ),
        ("early close", vec![Act::Close], "processing/closed", 0.0, "before its answer was complete"),
        ("cut", vec![say("HTTP/1.1 101 x\r\nUpgr"), Act::Close], "processing/closed", 0.0, "was complete"),
        ("a reset", vec![Act::Reset], "processing/reset", 0.0, ""),
        ("too many lines", vec![lines(129)], "processing/too_large", 0.0, "more than 128 header lines"),
        (
            "an endless line",
            vec![say("HTTP/1.1 101 x\r\nx: "), Act::Say(vec![b'y'; 1 << 20])],
            "processing/too_large",
            0.0,
            "a header of more than 65536 bytes",
        ),
    ];
    for (name, script, want, status, why) in cases {
        let peer = Peer::tcp(script).await;
        let probed = probe(&talk("expect: x"), &url(&peer)).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert!(probed.why().contains(why), "{name}: {}", probed.why());
        assert_eq!(probed.values(FLAGS), [Some(status), Some(0.0), Some(0.0)], "{name}");
        assert_eq!(phases(&probed), ["connect", "processing", "resolve"], "{name}");
    }
}

#[tokio::test]
async fn answers_may_come_in_any_form_http_allows() {
    fn after_hints(head: &str) -> Vec<u8> {
        [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", agree(head).as_slice()].concat()
    }
    fn with_message(head: &str) -> Vec<u8> {
        [agree(head), frame(TEXT, b"hello")].concat()
    }
    let cases = [
        ("hints", after_hints as fn(&str) -> Vec<u8>, frame(TEXT, b"hello")),
        ("the first message right behind", with_message, vec![]),
    ];
    for (name, answer, rest) in cases {
        let peer = Peer::tcp(vec![Act::AnswerHead(answer), Act::Drip(rest)]).await;
        let probed = probe(&talk("expect: ^hello$"), &url(&peer)).await;
        assert_eq!(probed.failure(), None, "{name}: {}", probed.why());
        assert_eq!(probed.values(FLAGS), [Some(101.0), Some(1.0), Some(0.0)], "{name}");
    }
}

#[tokio::test]
async fn dialogues() {
    let long = "x".repeat(70_000);
    let medium = "y".repeat(200);
    let cases: Vec<(&str, Vec<Act>, String)> = vec![
        ("a greeting", vec![send(TEXT, b"hello")], "expect: ^hello$".into()),
        ("a binary message", vec![send(BINARY, b"\0\xff!")], r"expect: ^\x00.!$".into()),
        ("text that is not UTF-8, as the peer takes it", vec![send(TEXT, b"caf\xe9")], "expect: ^caf.$".into()),
        ("an empty message", vec![send(TEXT, b"")], "expect: ^$".into()),
        ("lines mean nothing", vec![send(TEXT, b"a\nb")], "expect: a\\nb".into()),
        (
            "no line feed is added",
            vec![hear("PING"), send(TEXT, b"PONG")],
            "send: PING\nexpect: ^PONG$".into(),
        ),
        (
            "a template",
            vec![send(TEXT, b"v7 x"), hear("seven is 7$, x"), send(TEXT, b"ok")],
            "{expect: 'v(\\d) (?P<n>\\w)', send: 'seven is ${1}$$, $n'}\nexpect: ok".into(),
        ),
        ("a literal", vec![hear("$1"), send(TEXT, b"ok")], "send: $1\nexpect: ok".into()),
        (
            "an empty template sends nothing",
            vec![send(TEXT, b"a"), hear("b"), send(TEXT, b"c")],
            "{expect: a, send: $9}\nsend: b\nexpect: c".into(),
        ),
        (
            "bytes that are not text",
            vec![hear("\0\u{1}"), send(TEXT, b"ok")],
            "send: !!binary AAE=\nexpect: ok".into(),
        ),
        (
            "messages of all sizes",
            vec![
                hear(&medium),
                hear(&long),
                send(TEXT, medium.as_bytes()),
                send(BINARY, long.as_bytes()),
            ],
            format!("send: {medium}\nsend: {long}\nexpect: ^y+$\nexpect: ^x+$"),
        ),
        (
            "a ping in between, and a pong nobody asked for",
            vec![
                send(PING, b"are you there"),
                Act::HearFrame(PONG, b"are you there".to_vec()),
                send(PONG, b""),
                send(TEXT, b"hello"),
            ],
            "expect: ^hello$".into(),
        ),
        (
            "a message in pieces, with a ping between them",
            vec![
                send(0x01, b"hel"),
                send(0x00, b""),
                send(PING, b""),
                Act::HearFrame(PONG, vec![]),
                send(0x80, b"lo"),
            ],
            "expect: ^hello$".into(),
        ),
        (
            "byte for byte",
            vec![Act::Drip([frame(0x01, b"hel"), frame(0x80, b"lo"), frame(TEXT, b"bye")].concat())],
            "expect: ^hello$\nexpect: ^bye$".into(),
        ),
        ("steps that do nothing", vec![], "{}\nnull\nlabels: []".into()),
        (
            "keys that have no effect",
            vec![send(TEXT, b"a"), hear("b"), send(TEXT, b"c")],
            "{expect: a, labels: [{name: x, value: y}]}\n{expect_bytes: zz, send: b}\nstarttls: true\nexpect: c"
                .into(),
        ),
    ];
    for (name, script, entries) in cases {
        let peer = server(script).await;
        let probed = probe(&talk(&entries), &url(&peer)).await;
        assert_eq!(probed.failure(), None, "{name}: {}", probed.why());
        assert_eq!(probed.values(FLAGS), [Some(101.0), Some(1.0), Some(0.0)], "{name}");
        assert_eq!(phases(&probed), ["connect", "processing", "resolve", "transfer"], "{name}");
        assert_eq!(probed.series("probe_expect_info"), [""; 0], "{name}");
    }
}

#[tokio::test]
async fn exchanges_that_fail() {
    let large_frame = || {
        let mut frame = vec![BINARY, 127];
        frame.extend((16_u64 << 20 | 1).to_be_bytes());
        frame
    };
    let half = vec![b'x'; 8 << 20];
    let cases: Vec<(&str, Vec<Act>, &str, &str)> = vec![
        (
            "another message",
            vec![send(TEXT, b"hello")],
            "mismatch",
            "sent \"hello\", which does not match \"^x\"",
        ),
        ("messages are not skipped", vec![send(TEXT, b"a"), send(TEXT, b"x")], "mismatch", "sent \"a\""),
        (
            "closed with a code",
            vec![send(CLOSE, b"\x03\xe9going away"), Act::HearFrame(CLOSE, vec![0x03, 0xe9])],
            "closed",
            "closed with code 1001, \"going away\"",
        ),
        ("closed with a code alone", vec![send(CLOSE, b"\x03\xe8")], "closed", "closed with code 1000 "),
        ("closed without a code", vec![send(CLOSE, b"")], "closed", "closed without a code"),
        ("closed with half a code", vec![send(CLOSE, b"\x03")], "protocol", "half a code"),
        ("the connection ends", vec![Act::Close], "closed", "without closing the WebSocket"),
        (
            "the connection ends in a message",
            vec![Act::Say(b"\x81\x05he".to_vec()), Act::Close],
            "closed",
            "without closing the WebSocket",
        ),
        ("a reset", vec![Act::Reset], "reset", "step 1 of query_response"),
        ("a masked frame", vec![Act::Say(b"\x81\x81\0\0\0\0x".to_vec())], "protocol", "masked"),
        ("reserved bits", vec![Act::Say(b"\xc1\x01x".to_vec())], "protocol", "reserved bits"),
        ("a reserved opcode", vec![send(0x83, b"x")], "protocol", "reserved opcode"),
        ("a reserved control opcode", vec![send(0x8b, b"")], "protocol", "reserved opcode"),
        ("a ping in pieces", vec![send(0x09, b"")], "protocol", "control frame"),
        ("a ping that is too long", vec![send(PING, &[b'x'; 126])], "protocol", "control frame"),
        ("a continuation of nothing", vec![send(0x80, b"x")], "protocol", "that never began"),
        ("a message inside another", vec![send(0x01, b"x"), send(TEXT, b"x")], "protocol", "inside another"),
        ("a frame that is too large", vec![Act::Say(large_frame())], "too_large", "more than 16777216 bytes"),
        (
            "a frame larger than any memory",
            vec![Act::Say([&[BINARY, 127][..], &[0xff; 8]].concat())],
            "too_large",
            "more than 16777216 bytes",
        ),
        (
            "a message that is too large",
            vec![send(0x02, &half), send(0x00, &half), send(0x80, b"x")],
            "too_large",
            "more than 16777216 bytes",
        ),
    ];
    for (name, script, reason, why) in cases {
        let peer = server(script).await;
        let probed = probe(&talk("expect: ^x"), &url(&peer)).await;
        let want = format!("dialogue/{reason}");
        assert_eq!(probed.failure().as_deref(), Some(want.as_str()), "{name}: {}", probed.why());
        assert!(probed.why().contains(why), "{name}: {}", probed.why());
        assert_eq!(probed.value("probe_failed_step"), Some(1.0), "{name}");
        assert!(probed.value("probe_tcp_rtt_seconds").is_some(), "{name}");
        assert_eq!(probed.values(FLAGS), [Some(101.0), Some(1.0), Some(1.0)], "{name}");
        assert_eq!(phases(&probed), ["connect", "processing", "resolve", "transfer"], "{name}");
    }
}

#[tokio::test]
async fn the_largest_message_is_taken() {
    let half = vec![b'x'; 8 << 20];
    let peer = server(vec![send(0x02, &half), send(0x80, &half)]).await;
    let probed = probe(&talk("expect: ^x"), &url(&peer)).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
}

#[tokio::test]
async fn the_deadline_holds_before_and_after_the_upgrade() {
    let pings = frame(PING, b"x").repeat(20_000);
    let cases = [
        ("silence", vec![], "processing/deadline", [0.0, 0.0, 0.0]),
        ("half an answer", vec![say("HTTP/1.1 101")], "processing/deadline", [0.0, 0.0, 0.0]),
        ("silence afterwards", vec![Act::AnswerHead(agree)], "dialogue/deadline", [101.0, 1.0, 1.0]),
        (
            "half a message",
            vec![Act::AnswerHead(agree), Act::Say(b"\x81\x05he".to_vec())],
            "dialogue/deadline",
            [101.0, 1.0, 1.0],
        ),
        (
            "pings and nothing else",
            vec![Act::AnswerHead(agree), Act::Drip(pings)],
            "dialogue/deadline",
            [101.0, 1.0, 1.0],
        ),
    ];
    for (name, script, want, flags) in cases {
        let peer = Peer::tcp(script).await;
        let probed = probe(&talk("expect: x").replace("5s", "100ms"), &url(&peer)).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.values(FLAGS), flags.map(Some), "{name}");
        assert!(probed.value("probe_duration_seconds").is_some_and(|took| took >= 0.1), "{name}");
        let last = if flags[1] == 1.0 { "transfer" } else { "processing" };
        let cut = probed.value(&format!("probe_websocket_duration_seconds{{phase={last:?}}}"));
        assert!(cut.is_some_and(|cut| cut > 0.0), "{name}: {cut:?}");
    }
}

#[tokio::test]
async fn headers_and_credentials_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let user = file("user", " me\n");
    let password = file("password", "secret\n");
    let token = file("token", "from-file\n\n");
    let basic = |text: &str| format!("Authorization: Basic {}", BASE64.encode(text.as_bytes()));
    let agent = format!("User-Agent: {}", heartbeat_exporter::USER_AGENT);
    let cases: Vec<(String, Vec<String>)> = vec![
        ("{http_config: {basic_auth: {username: u, password: p}}}".into(), vec![agent.clone(), basic("u:p")]),
        (
            format!("{{http_config: {{basic_auth: {{username_file: {user}, password_file: {password}}}}}}}"),
            vec![agent.clone(), basic("me:secret")],
        ),
        (
            "{http_config: {authorization: {credentials: t}}}".into(),
            vec![agent.clone(), "Authorization: Bearer t".into()],
        ),
        ("{http_config: {bearer_token: t}}".into(), vec![agent.clone(), "Authorization: Bearer t".into()]),
        (
            format!("{{http_config: {{authorization: {{type: Token, credentials_file: {token}}}}}}}"),
            vec![agent.clone(), "Authorization: Token from-file".into()],
        ),
        ("{http_config: {authorization: {type: Bearer}}}".into(), vec![agent.clone()]),
        (
            format!("{{headers: {{x-a: {{values: [b, c], secrets: [d], files: [{token}]}}}}}}"),
            vec![agent.clone(), "X-A: b".into(), "X-A: c".into(), "X-A: d".into(), "X-A: from-file".into()],
        ),
        (
            "{headers: {Origin: 'https://a.test'}}".into(),
            vec![agent.clone(), "Origin: https://a.test".into()],
        ),
        (
            "{headers: {sec-websocket-protocol: {values: ['chat, chat.v2']}}}".into(),
            vec![agent.clone(), "Sec-WebSocket-Protocol: chat, chat.v2".into()],
        ),
        ("{headers: {user-agent: {values: [mine, other]}}}".into(), vec!["User-Agent: mine".into()]),
        ("{headers: {User-Agent: {values: ['']}}}".into(), vec![]),
        ("{headers: {Content-Length: '3', Transfer-Encoding: x}}".into(), vec![agent.clone()]),
        ("{headers: {Connection: {values: []}}}".into(), vec![agent.clone()]),
        (
            "{http_config: {basic_auth: {username: u}}, headers: {Authorization: {values: [x]}}}".into(),
            vec![agent.clone(), "Authorization: x".into(), basic("u:")],
        ),
    ];
    for (settings, want) in cases {
        let peer = server(vec![]).await;
        let probed = probe(&with(&settings), &url(&peer)).await;
        assert_eq!(probed.failure(), None, "{settings}: {}", probed.why());
        let heard = String::from_utf8(peer.heard()).unwrap();
        let lines: Vec<&str> = heard.trim_end().split("\r\n").skip(6).collect();
        assert_eq!(lines, want, "{settings}");
    }
    for (settings, host) in [("{headers: {host: b.test}}", "b.test"), ("{headers: {Host: ''}}", "")] {
        let peer = server(vec![]).await;
        let probed = probe(&with(settings), &url(&peer)).await;
        assert_eq!(probed.failure(), None, "{settings}: {}", probed.why());
        let heard = String::from_utf8(peer.heard()).unwrap();
        let want = if host.is_empty() { peer.target() } else { host.to_owned() };
        assert_eq!(header(&heard, "Host"), Some(want.as_str()), "{settings}");
    }
}

#[tokio::test]
async fn headers_that_cannot_be_sent() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken");
    fs::write(&broken, "a\r\nX-Injected: b").unwrap();
    let broken = broken.to_str().unwrap();
    let cases = [
        ("{headers: {X: {files: [/nowhere/x]}}}".to_owned(), "prepare/file", "cannot read /nowhere/x"),
        (
            "{http_config: {basic_auth: {username: u, password_file: /nowhere/p}}}".to_owned(),
            "prepare/file",
            "cannot read /nowhere/p",
        ),
        (
            "{http_config: {authorization: {credentials_file: /nowhere/t}}}".to_owned(),
            "prepare/file",
            "cannot read /nowhere/t",
        ),
        (
            format!("{{headers: {{X: {{files: [{broken}]}}}}}}"),
            "prepare/config",
            "the value of header X has control",
        ),
        ("{headers: {sec-websocket-key: x}}".to_owned(), "prepare/config", "may not set Sec-WebSocket-Key"),
        ("{headers: {Upgrade: x}}".to_owned(), "prepare/config", "may not set Upgrade, which belongs"),
        ("{headers: {X: \"a\\nb\"}}".to_owned(), "prepare/config", "control characters"),
    ];
    let peer = server(vec![]).await;
    for (settings, want, why) in cases {
        let probed = probe(&with(&settings), &url(&peer)).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{settings}: {}", probed.why());
        assert!(probed.why().contains(why), "{settings}: {}", probed.why());
        assert_eq!(probed.values(FLAGS), [Some(0.0); 3], "{settings}");
        assert_eq!(probed.value("probe_ip_protocol"), Some(4.0), "{settings}");
    }
    assert_eq!(peer.heard(), b"", "nothing was sent");
}

#[tokio::test]
async fn secrets_stay_secret() {
    let module = compile(&with(
        "{http_config: {basic_auth: {password: hunter2}}, headers: {X: {secrets: [hunter2]}}}",
    ));
    assert!(!format!("{module:?}").contains("hunter2"));
}

#[tokio::test]
async fn certificates_are_reported_whatever_the_verdict() {
    let authority = Authority::new();
    let good = authority.issue(&["127.0.0.1"], Validity::Now);
    let expired = authority.issue(&["127.0.0.1"], Validity::Past);
    let other = authority.issue(&["other.test"], Validity::Now);
    let ca = authority.yaml();
    let tls = |settings: &str| {
        let module = talk("expect: hello");
        module.replace("websocket:\n", &format!("websocket:\n  http_config: {{tls_config: {settings}}}\n"))
    };
    let trusted = tls(&format!("{{ca: {ca}}}"));
    let named = tls(&format!("{{ca: {ca}, server_name: other.test}}"));
    let skip = tls("{insecure_skip_verify: true}");
    let cases = [
        ("good", &good, &trusted, None, None),
        ("expired", &expired, &trusted, Some("tls/expired"), Some("expired")),
        ("another name", &other, &trusted, Some("tls/name_mismatch"), Some("name_mismatch")),
        ("the module's name", &other, &named, None, None),
        ("verification off", &good, &skip, None, Some("incomplete_chain")),
    ];
    for (name, config, module, want, reason) in cases {
        let script = vec![Act::StartTls(config.clone()), Act::AnswerHead(agree), send(TEXT, b"hello")];
        let peer = Peer::tcp(script).await;
        let probed = probe(module, &format!("wss://{}/", peer.target())).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        let end = if name == "expired" { 1_009_843_200.0 } else { END };
        let verified = f64::from(u8::from(reason.is_none()));
        let got = probed.values(["probe_tls_verified", "probe_ssl_leaf_not_after_timestamp_seconds"]);
        assert_eq!(got, [Some(verified), Some(end)], "{name}");
        let failures: Vec<_> =
            reason.map(|r| format!("probe_tls_verify_failure_info{{reason={r:?}}}")).into_iter().collect();
        assert_eq!(probed.series("probe_tls_verify_failure_info"), failures, "{name}");
        // The peer has no TLS families here, so only ours are there.
        let theirs = [
            "probe_ssl_earliest_cert_expiry",
            "probe_ssl_last",
            "probe_tls_version_info",
            "probe_tls_cipher",
        ];
        assert_eq!(theirs.map(|name| probed.series(name).len()), [0; 4], "{name}");

        let mut want_phases = vec!["connect", "processing", "resolve", "tls", "transfer"];
        if want.is_some() {
            want_phases.pop();
        }
        assert_eq!(phases(&probed), want_phases, "{name}");
        let [processing, tls] = ["processing", "tls"].map(|phase| {
            probed.value(&format!("probe_websocket_duration_seconds{{phase={phase:?}}}")).unwrap()
        });
        assert!(processing >= tls && tls > 0.0, "{name}: {processing} {tls}");
        let spans: Vec<_> = probed.0.report.timeline().iter().map(|span| span.phase.as_str()).collect();
        let all = ["resolve", "connect", "tls", "processing", "dialogue"];
        assert_eq!(spans, all[..if want.is_some() { 3 } else { 5 }], "{name}");
    }
}

#[tokio::test]
async fn peers_that_do_not_speak_tls() {
    let module = "prober: websocket\ntimeout: 5s";
    let cases = [
        ("plaintext", module.to_owned(), vec![say("HTTP/1.1 400 x\r\n\r\n")], "tls/tls_protocol"),
        ("early close", module.to_owned(), vec![Act::Close], "tls/closed"),
        ("silence", module.replace("5s", "100ms"), vec![], "tls/deadline"),
    ];
    for (name, module, script, want) in cases {
        let peer = Peer::tcp(script).await;
        let probed = probe(&module, &format!("wss://{}/", peer.target())).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.values(FLAGS), [Some(0.0); 3], "{name}");
        assert_eq!(phases(&probed), ["connect", "processing", "resolve", "tls"], "{name}");
    }
}
