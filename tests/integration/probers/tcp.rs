//! The tcp prober: connecting, dialogues, TLS and STARTTLS.

use crate::support::certificates::{Authority, BEGIN, END, Validity};
use crate::support::peers::{Act, HalfOpen, Peer, closed_port, hear, say};
use crate::support::{Probed, probe, probe_as};

const REGEX: &str = "probe_failed_due_to_regex";
const BYTES: &str = "probe_failed_due_to_bytes";
const STEP: &str = "probe_failed_step";

/// A module with these `query_response` entries, one for each line.
fn talk(entries: &str) -> String {
    let entries: String = entries.lines().map(|line| format!("    - {}\n", line.trim())).collect();
    format!("prober: tcp\ntimeout: 5s\ntcp:\n  query_response:\n{entries}")
}

/// The same with a deadline that the test wants to see pass.
fn impatient(module: &str) -> String {
    module.replace("timeout: 5s", "timeout: 100ms")
}

fn phases(probed: &Probed) -> Vec<String> {
    let series = probed.series("probe_tcp_duration_seconds");
    series.iter().map(|series| series.split('"').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_connection_is_a_success() {
    for (address, protocol) in [("127.0.0.1:0", 4.0), ("[::1]:0", 6.0)] {
        let peer = Peer::tcp_on(address, vec![]).await;
        let probed = probe("prober: tcp", &peer.target()).await;
        assert_eq!(probed.failure(), None, "{}", probed.why());
        let got = probed.values(["probe_ip_protocol", REGEX, BYTES, STEP]);
        assert_eq!(got, [Some(protocol), Some(0.0), Some(0.0), None]);
        let rtt = probed.value("probe_tcp_rtt_seconds");
        assert!(rtt.is_some_and(|rtt| (1e-6..0.5).contains(&rtt)), "{rtt:?}");
        assert_eq!(phases(&probed), ["connect", "resolve"]);
    }
}

#[tokio::test]
async fn targets_without_a_connection() {
    let closed = closed_port().await;
    let half_open = HalfOpen::new().await;
    let cases = [
        ("refused", "prober: tcp", closed.to_string(), "connect/refused", 4.0),
        ("half open", "prober: tcp\ntimeout: 100ms", half_open.address.to_string(), "connect/deadline", 4.0),
        (
            "a source of the other family",
            "prober: tcp\ntcp: {source_ip_address: '::1'}",
            closed.to_string(),
            "connect/source_address",
            4.0,
        ),
        (
            "a source that is not ours",
            "prober: tcp\ntcp: {source_ip_address: 192.0.2.1}",
            closed.to_string(),
            "connect/source_address",
            4.0,
        ),
        (
            "no address of the family",
            "prober: tcp\ntcp: {ip_protocol_fallback: false}",
            closed.to_string(),
            "resolve/address_family",
            0.0,
        ),
        ("unknown service", "prober: tcp", "127.0.0.1:no-such-service".to_owned(), "prepare/bad_target", 4.0),
    ];
    for (name, module, target, want, protocol) in cases {
        let probed = probe(module, &target).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        let got = probed.values(["probe_ip_protocol", REGEX, STEP, "probe_tcp_rtt_seconds"]);
        assert_eq!(got, [Some(protocol), None, None, None], "{name}");
    }
    let probed = probe("prober: tcp", "127.0.0.1").await;
    assert_eq!(probed.failure().as_deref(), Some("prepare/bad_target"));
    assert_eq!(probed.value("probe_ip_protocol"), None, "only the common metrics");
}

#[tokio::test]
async fn dialogues() {
    type Case = (&'static str, Vec<Act>, &'static str, Option<&'static str>, [f64; 2], &'static str);
    let cases: Vec<Case> = vec![
        ("a banner", vec![say("SSH-2.0-x\r\n")], "expect: ^SSH-2.0-x$", None, [0.0, 0.0], ""),
        ("split writes", vec![Act::Drip(b"one\r\ntwo\n".into())], "expect: ^two$", None, [0.0, 0.0], ""),
        ("lines are skipped", vec![say("a\nb\nc\n")], "expect: ^c$", None, [0.0, 0.0], ""),
        ("lines are taken one by one", vec![say("a\nb\n")], "expect: a\nexpect: b", None, [0.0, 0.0], ""),
        (
            "a skipped line is gone",
            vec![say("a\nb\n"), Act::Close],
            "expect: b\nexpect: a",
            Some("dialogue/closed"),
            [1.0, 0.0],
            "",
        ),
        ("only one return is dropped", vec![say("a\r\r\n")], r#"expect: "^a\r$""#, None, [0.0, 0.0], ""),
        ("an empty line", vec![say("\n")], "expect: ^$", None, [0.0, 0.0], ""),
        (
            "another banner",
            vec![say("554 busy\r\n"), Act::Close],
            "expect: ^220",
            Some("dialogue/mismatch"),
            [1.0, 0.0],
            "\"554 busy\" does not match \"^220\"",
        ),
        (
            "early close",
            vec![Act::Close],
            "expect: ^220",
            Some("dialogue/closed"),
            [1.0, 0.0],
            "without a line",
        ),
        (
            "close inside the banner",
            vec![say("22"), Act::Close],
            "expect: ^220",
            Some("dialogue/mismatch"),
            [1.0, 0.0],
            "\"22\"",
        ),
        (
            "an unterminated banner at the end counts",
            vec![say("220 x"), Act::Close],
            "expect: ^220 x$",
            None,
            [0.0, 0.0],
            "",
        ),
        (
            "a reset",
            vec![Act::Reset],
            "expect: ^220",
            Some("dialogue/reset"),
            [0.0, 0.0],
            "step 1 of query_response",
        ),
        (
            "send ends in a line feed",
            vec![hear("QUIT\r\n"), say("bye\n")],
            "send: \"QUIT\\r\"\nexpect: bye",
            None,
            [0.0, 0.0],
            "",
        ),
        ("a literal template", vec![hear("$1\n"), say("ok\n")], "send: $1\nexpect: ok", None, [0.0, 0.0], ""),
        (
            "a template with groups",
            vec![say("a b\n"), hear("$1-b ${x}  $ a\n"), say("ok\n")],
            "{expect: '(?P<n>\\w) (b)', send: '$$1-$2 $${x} $9 $ $n'}\nexpect: ok",
            None,
            [0.0, 0.0],
            "",
        ),
        (
            "a template that comes out empty sends nothing",
            vec![say("a\n"), hear("b\n"), say("ok\n")],
            "{expect: a, send: $9}\nsend: b\nexpect: ok",
            None,
            [0.0, 0.0],
            "",
        ),
        (
            "bytes that are not text",
            vec![Act::Hear(b"\0\0\0\x08\x04\xd2\x16/\n".into()), say("S")],
            "send: !!binary AAAACATSFi8=\nexpect_bytes: S",
            None,
            [0.0, 0.0],
            "",
        ),
        (
            "expected bytes in pieces",
            vec![Act::Drip(b"PONG".into())],
            "expect_bytes: PONG",
            None,
            [0.0, 0.0],
            "",
        ),
        (
            "other bytes",
            vec![say("PING")],
            "expect_bytes: PONG",
            Some("dialogue/mismatch"),
            [0.0, 1.0],
            "sent \"PING\", \"PONG\" was expected",
        ),
        (
            "too few bytes",
            vec![say("PO"), Act::Close],
            "expect_bytes: PONG",
            Some("dialogue/closed"),
            [0.0, 0.0],
            "after 2 of the 4",
        ),
        (
            "bytes that came with a line",
            vec![say("hello\nPONGrest\n")],
            "expect: hello\nexpect_bytes: PONG\nexpect: ^rest$",
            None,
            [0.0, 0.0],
            "",
        ),
        ("the longest line", vec![Act::Say(long_line(65_535))], "expect: ^x+$", None, [0.0, 0.0], ""),
        (
            "a line that is too long",
            vec![Act::Say(long_line(65_536))],
            "expect: ^x+$",
            Some("dialogue/too_large"),
            [0.0, 0.0],
            "more than 65536 bytes",
        ),
        ("steps that do nothing", vec![], "{}\nnull", None, [0.0, 0.0], ""),
    ];
    for (name, script, entries, want, flags, why) in cases {
        let peer = Peer::tcp(script).await;
        let probed = probe(&talk(entries), &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        assert_eq!(probed.values([REGEX, BYTES]), flags.map(Some), "{name}");
        assert_eq!(probed.value(STEP).is_some(), want.is_some(), "{name}");
        assert!(probed.why().contains(why), "{name}: {}", probed.why());
        assert_eq!(phases(&probed), ["connect", "dialogue", "resolve"], "{name}");
    }
}

#[tokio::test]
async fn the_failed_step_has_its_number() {
    let authority = Authority::new();
    let expired = Act::StartTls(authority.issue(&["127.0.0.1"], Validity::Past));
    let tls = |module: String| module + &format!("  tls_config: {{ca: {}}}\n", authority.yaml());
    let three = || talk("send: a\nexpect: b\nexpect_bytes: c");
    let cases = [
        ("none", three(), vec![hear("a\n"), say("b\nc")], None, None),
        ("the first cannot be sent", three(), vec![Act::Reset], Some("dialogue/reset"), None),
        ("the second", three(), vec![hear("a\n"), Act::Close], Some("dialogue/closed"), Some(2.0)),
        ("the third", three(), vec![hear("a\n"), say("b\nx")], Some("dialogue/mismatch"), Some(3.0)),
        (
            "the deadline in the second",
            impatient(&three()),
            vec![hear("a\n")],
            Some("dialogue/deadline"),
            Some(2.0),
        ),
        (
            "the handshake a step asked for",
            tls(talk("expect: go\nstarttls: true\nexpect: b")),
            vec![say("go\n"), expired.clone()],
            Some("tls/expired"),
            Some(2.0),
        ),
        (
            "a handshake before all steps",
            tls(talk("expect: b")) + "  tls: true\n",
            vec![expired],
            Some("tls/expired"),
            None,
        ),
    ];
    for (name, module, script, want, step) in cases {
        let peer = Peer::tcp(script).await;
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        // A reset may be noticed while sending or while waiting for what follows.
        if want != Some("dialogue/reset") {
            assert_eq!(probed.value(STEP), step, "{name}");
        } else {
            assert!(probed.value(STEP).is_some_and(|step| step <= 2.0), "{name}");
        }
    }
}

#[tokio::test]
async fn a_prompt_matches_before_its_line_ends() {
    let login = r#"{expect: "login: $", expect_partial: true, send: me, labels: [{name: all, value: "$0"}]}"#;
    let cases = [
        (
            "a prompt",
            vec![say("hi\r\nlogin: "), hear("me\n"), say("ok\n")],
            format!("{login}\nexpect: ok"),
            None,
        ),
        (
            "byte for byte",
            vec![Act::Drip(b"hi\r\nlogin: ".into()), hear("me\n"), Act::Drip(b"ok\n".into())],
            format!("{login}\nexpect: ^ok$"),
            None,
        ),
        (
            "what has come is taken",
            vec![say("220 mail"), hear("x\n"), say(" rest\n")],
            "{expect: ^220, expect_partial: true, send: x}\nexpect: ^ rest$".to_owned(),
            None,
        ),
        (
            "a whole line matches as ever",
            vec![say("a\r\nb")],
            "{expect: ^a$, expect_partial: true}\nexpect_bytes: b".to_owned(),
            None,
        ),
        (
            "nothing is no match",
            vec![Act::Close],
            r#"{expect: "^", expect_partial: true}"#.to_owned(),
            Some("dialogue/closed"),
        ),
        ("another prompt", vec![say("password: ")], login.to_owned(), Some("dialogue/deadline")),
        (
            "an endless one",
            vec![Act::SayForever(b"x".repeat(4096))],
            login.to_owned(),
            Some("dialogue/too_large"),
        ),
        ("without the option", vec![say("login: ")], "expect: login".to_owned(), Some("dialogue/deadline")),
    ];
    for (name, script, entries, want) in cases {
        let peer = Peer::tcp(script).await;
        let module = talk(&entries);
        let module = if want == Some("dialogue/deadline") { impatient(&module) } else { module };
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        if entries.contains("labels") && want.is_none() {
            assert_eq!(probed.series("probe_expect_info"), [r#"probe_expect_info{all="login: "}"#], "{name}");
        }
    }
}

#[tokio::test]
async fn peers_that_do_not_stop() {
    let line = talk("expect: x");
    let bytes = talk("expect_bytes: x");
    let tls = "prober: tcp\ntimeout: 5s\ntcp: {tls: true}".to_owned();
    let starttls = talk("expect: go\nstarttls: true");
    let cases = [
        ("no line end", line.clone(), vec![Act::SayForever(b"a".repeat(4096))], "dialogue/too_large"),
        ("lines for ever", impatient(&line), vec![Act::SayForever(b"a\n".repeat(4096))], "dialogue/deadline"),
        (
            "empty lines for ever",
            impatient(&line),
            vec![Act::SayForever(b"\n".repeat(4096))],
            "dialogue/deadline",
        ),
        ("a slow line", impatient(&line), vec![Act::Slow(b"a".repeat(1000))], "dialogue/deadline"),
        ("other bytes for ever", bytes, vec![Act::SayForever(b"a".repeat(4096))], "dialogue/mismatch"),
        (
            "garbage instead of TLS",
            tls.clone(),
            vec![Act::SayForever(b"\x16\x03\x01\xff".repeat(999))],
            "tls/tls_protocol",
        ),
        (
            "a slow handshake",
            impatient(&tls),
            vec![Act::Slow(b"\x16\x03\x03\x40\0".to_vec())],
            "tls/deadline",
        ),
        (
            "handshake messages for ever",
            tls,
            vec![Act::SayForever([&b"\x16\x03\x03\x40\0\x02"[..], &[0xff; 16_383]].concat())],
            "tls/tls_protocol",
        ),
        ("closed in STARTTLS", starttls.clone(), vec![say("go\n"), Act::HearHello, Act::Close], "tls/closed"),
        ("reset in STARTTLS", starttls.clone(), vec![say("go\n"), Act::HearHello, Act::Reset], "tls/reset"),
        (
            "garbage in STARTTLS",
            starttls.clone(),
            vec![say("go\n"), Act::HearHello, say("250 what?\r\n")],
            "tls/tls_protocol",
        ),
        ("silence in STARTTLS", impatient(&starttls), vec![say("go\n"), Act::HearHello], "tls/deadline"),
    ];
    for (name, module, script, want) in cases {
        let peer = Peer::tcp(script).await;
        let started = std::time::Instant::now();
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.series("probe_ssl"), [""; 0], "{name}");
        assert!(started.elapsed().as_secs() < 4, "{name}: {:?}", started.elapsed());
    }
}

fn long_line(length: usize) -> Vec<u8> {
    let mut line = vec![b'x'; length];
    line.push(b'\n');
    line
}

#[tokio::test]
async fn the_deadline_ends_a_dialogue_and_changes_no_flag() {
    let cases = [
        ("silence", vec![], "expect: x"),
        ("a matching banner without its end", vec![say("x")], "expect: x"),
        ("other lines", vec![say("a\nb\n")], "expect: x"),
        ("too few bytes", vec![say("PO")], "expect_bytes: PONG"),
    ];
    for (name, script, entries) in cases {
        let peer = Peer::tcp(script).await;
        let probed = probe(&impatient(&talk(entries)), &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some("dialogue/deadline"), "{name}");
        assert_eq!(probed.values([REGEX, BYTES]), [Some(0.0), Some(0.0)], "{name}");
        assert_eq!(phases(&probed), ["connect", "resolve"], "{name}: the dialogue has no end");
    }
}

#[tokio::test]
async fn labels_come_from_the_line() {
    let cases = [
        ("no labels", "expect: ^SSH", vec![]),
        ("an empty list", "{expect: ^SSH, labels: []}", vec!["probe_expect_info"]),
        (
            "groups",
            "{expect: '^SSH-([^-]+)-(?P<sw>\\S+)', \
             labels: [{name: v, value: $1}, {name: all, value: '${sw}x|$swx|$$|$9'}]}",
            vec![r#"probe_expect_info{all="\"q\"x||$|",v="2.0"}"#],
        ),
        (
            "two entries",
            "{expect: ^SSH, labels: [{name: a, value: x}]}\n{expect: next, labels: [{name: b, value: y}]}",
            vec![r#"probe_expect_info{a="x"}"#, r#"probe_expect_info{b="y"}"#],
        ),
        ("a name that repeats", "{expect: ^SSH, labels: [{name: a, value: x}, {name: a, value: y}]}", vec![]),
    ];
    let peer = Peer::tcp(vec![say("SSH-2.0-\"q\"\r\nnext\n")]).await;
    for (name, entries, want) in cases {
        let probed = probe(&talk(entries), &peer.target()).await;
        let failure = (name == "a name that repeats").then(|| "prepare/config".to_owned());
        assert_eq!(probed.failure(), failure, "{name}: {}", probed.why());
        assert_eq!(probed.series("probe_expect_info"), want, "{name}");
    }
}

#[tokio::test]
async fn certificates_are_reported_whatever_the_verdict() {
    let authority = Authority::new();
    let good = authority.issue(&["localhost", "127.0.0.1"], Validity::Now);
    let expired = authority.issue(&["127.0.0.1"], Validity::Past);
    let other = authority.issue(&["other.test"], Validity::Now);
    let ca = authority.yaml();
    let trusted = format!("{{ca: {ca}}}");
    let named = format!("{{ca: {ca}, server_name: other.test}}");
    let skip = "{insecure_skip_verify: true}".to_owned();
    let skip_trusted = format!("{{ca: {ca}, insecure_skip_verify: true}}");
    let cases = [
        ("good", &good, &trusted, None, None),
        ("expired", &expired, &trusted, Some("tls/expired"), Some("expired")),
        ("another name", &other, &trusted, Some("tls/name_mismatch"), Some("name_mismatch")),
        ("the module's name", &other, &named, None, None),
        ("verification off", &good, &skip, None, Some("incomplete_chain")),
        ("verification off, but it would succeed", &good, &skip_trusted, None, None),
    ];
    for (name, config, settings, want, reason) in cases {
        let peer = Peer::tcp(vec![Act::StartTls(config.clone()), say("hello\n")]).await;
        let module = talk("expect: hello")
            .replace("tcp:\n", &format!("tcp:\n  tls: true\n  tls_config: {settings}\n"));
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        let (begin, end) = if name == "expired" { (978_307_200.0, 1_009_843_200.0) } else { (BEGIN, END) };
        let got = probed.values([
            "probe_ssl_leaf_not_before_timestamp_seconds",
            "probe_ssl_leaf_not_after_timestamp_seconds",
            "probe_ssl_earliest_cert_expiry",
            "probe_tls_verified",
            r#"probe_tls_version_info{version="TLS 1.3"}"#,
        ]);
        let verified = f64::from(u8::from(reason.is_none()));
        assert_eq!(got, [Some(begin), Some(end), Some(end), Some(verified), Some(1.0)], "{name}");
        let chain = probed.value("probe_ssl_last_chain_expiry_timestamp_seconds");
        assert_eq!(chain, (reason.is_none() || name == "another name").then_some(END), "{name}");
        let info = probed.series("probe_ssl_last_chain_info");
        assert!(info.len() == 1 && info[0].contains("issuer=\"CN=Test Root\""), "{name}: {info:?}");
        let failures: Vec<_> =
            reason.map(|r| format!("probe_tls_verify_failure_info{{reason={r:?}}}")).into_iter().collect();
        assert_eq!(probed.series("probe_tls_verify_failure_info"), failures, "{name}");
        assert_eq!(probed.series("probe_tls_cipher_info"), [""; 0], "{name}");
        let flags = want.is_none().then_some(0.0);
        assert_eq!(probed.values([REGEX, BYTES]), [flags, flags], "{name}: only after the handshake");
    }
}

#[tokio::test]
async fn peers_that_do_not_speak_tls() {
    let module = "prober: tcp\ntimeout: 5s\ntcp: {tls: true}";
    let cases = [
        (
            "plaintext",
            module.to_owned(),
            vec![say("220 hello there, this is plain text\r\n")],
            "tls/tls_protocol",
        ),
        ("early close", module.to_owned(), vec![Act::Close], "tls/closed"),
        ("silence", impatient(module), vec![], "tls/deadline"),
    ];
    for (name, module, script, want) in cases {
        let peer = Peer::tcp(script).await;
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.values(["probe_tls_verified", REGEX]), [None, None], "{name}");
    }
}

#[tokio::test]
async fn the_hostname_parameter_is_the_name_for_tls_unless_the_module_has_one() {
    let authority = Authority::new();
    let config = authority.issue(&["a.test"], Validity::Now);
    let ca = authority.yaml();
    let plain = format!("prober: tcp\ntcp:\n  tls: true\n  tls_config: {{ca: {ca}}}");
    let named = format!("prober: tcp\ntcp:\n  tls: true\n  tls_config: {{ca: {ca}, server_name: a.test}}");
    let starttls =
        format!("prober: tcp\ntcp:\n  query_response: [{{starttls: true}}]\n  tls_config: {{ca: {ca}}}");
    let cases = [
        ("parameter", &plain, Some("a.test"), None),
        ("no parameter", &plain, None, Some("tls/name_mismatch")),
        ("wrong parameter", &plain, Some("b.test"), Some("tls/name_mismatch")),
        ("the module wins", &named, Some("b.test"), None),
        ("STARTTLS", &starttls, Some("a.test"), None),
    ];
    let peer = Peer::tcp(vec![Act::StartTls(config)]).await;
    for (name, module, hostname, want) in cases {
        let probed = probe_as(module, &peer.target(), hostname).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
    }
}

fn smtp(after: Vec<Act>) -> Vec<Act> {
    let mut script = vec![
        say("220 mail.test ESMTP x\r\n"),
        hear("EHLO prober\r\n"),
        Act::Drip(b"250-mail.test\r\n250-STARTTLS\r\n250 HELP\r\n".into()),
        hear("STARTTLS\r\n"),
    ];
    script.extend(after);
    script
}

const SMTP: &str = r#"expect: "^220 ([^ ]+) ESMTP"
    send: "EHLO prober\r"
    expect: "^250-STARTTLS"
    send: "STARTTLS\r"
    expect: "^220"
    starttls: true
    send: "EHLO again\r"
    expect: "^250-AUTH""#;

#[tokio::test]
async fn starttls_goes_on_with_the_dialogue() {
    let authority = Authority::new();
    let module = talk(SMTP) + &format!("  tls_config: {{ca: {}}}\n", authority.yaml());
    for validity in [Validity::Now, Validity::Past] {
        let config = authority.issue(&["127.0.0.1"], validity);
        let after =
            vec![say("220 go\r\n"), Act::StartTls(config), hear("EHLO again\r\n"), say("250-AUTH\r\n")];
        let peer = Peer::tcp(smtp(after)).await;
        let probed = probe(&module, &peer.target()).await;
        let is_good = validity == Validity::Now;
        let want = (!is_good).then(|| "tls/expired".to_owned());
        assert_eq!(probed.failure(), want, "{}", probed.why());
        assert_eq!(probed.value("probe_tls_verified"), Some(f64::from(u8::from(is_good))));
        assert_eq!(phases(&probed), ["connect", "dialogue", "resolve", "tls"]);
        let spans: Vec<_> = probed.0.report.timeline().iter().map(|span| span.phase.as_str()).collect();
        let want = ["resolve", "connect", "dialogue", "tls", "dialogue"];
        assert_eq!(spans, want[..if is_good { 5 } else { 4 }]);
    }
}

#[tokio::test]
async fn plaintext_behind_starttls_is_never_input() {
    let authority = Authority::new();
    let config = authority.issue(&["127.0.0.1"], Validity::Now);
    let module = talk(SMTP) + &format!("  tls_config: {{ca: {}}}\n", authority.yaml());
    let after = vec![say("220 go\r\n250-AUTH injected\r\n"), Act::StartTls(config.clone())];
    let peer = Peer::tcp(smtp(after)).await;
    let probed = probe(&module, &peer.target()).await;
    assert_eq!(probed.failure().as_deref(), Some("dialogue/protocol"));
    assert!(
        probed.why().contains("sent 19 bytes of plaintext after it agreed to start TLS (step 6 "),
        "{}",
        probed.why()
    );
    assert_eq!(phases(&probed), ["connect", "dialogue", "resolve"], "no handshake was tried");
}

#[tokio::test]
async fn tls_is_started_once() {
    let authority = Authority::new();
    let config = authority.issue(&["127.0.0.1"], Validity::Now);
    let settings = format!("  tls_config: {{ca: {}}}\n", authority.yaml());
    let cases = [
        ("starttls twice", talk("starttls: true\nstarttls: true") + &settings),
        ("tls, then starttls", talk("starttls: true") + &settings + "  tls: true\n"),
    ];
    let peer = Peer::tcp(vec![Act::StartTls(config)]).await;
    for (name, module) in cases {
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some("dialogue/config"), "{name}: {}", probed.why());
        assert_eq!(probed.value("probe_tls_verified"), Some(1.0), "{name}");
    }
}
