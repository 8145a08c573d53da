//! The unix prober: paths, dialogues, TLS and STARTTLS.

use std::os::unix::fs::PermissionsExt as _;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::certificates::{Authority, END, Validity};
use crate::support::peers::{Act, UnixPeer, hear, say};
use crate::support::{Probed, probe, probe_as};

const REGEX: &str = "probe_failed_due_to_regex";
const BYTES: &str = "probe_failed_due_to_bytes";

/// A module with these `query_response` entries, one for each line.
fn talk(entries: &str) -> String {
    let entries: String = entries.lines().map(|line| format!("    - {}\n", line.trim())).collect();
    format!("prober: unix\ntimeout: 5s\nunix:\n  query_response:\n{entries}")
}

fn phases(probed: &Probed) -> Vec<String> {
    let series = probed.series("probe_unix_duration_seconds");
    series.iter().map(|series| series.split('"').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_connection_is_a_success_and_has_no_address() {
    let file = UnixPeer::new(vec![]);
    let abstract_name = format!("heartbeat-test-{}", std::process::id());
    let nameless = UnixPeer::abstract_named(&abstract_name, vec![]);
    for peer in [&file, &nameless] {
        let probed = probe("prober: unix", peer.target()).await;
        assert_eq!(probed.failure(), None, "{}", probed.why());
        assert_eq!(probed.values([REGEX, BYTES]), [Some(0.0), Some(0.0)]);
        assert_eq!(phases(&probed), ["connect"]);
        let absent = ["probe_ip_protocol", "probe_ip_addr_hash", "probe_dns_lookup_time_seconds"];
        assert_eq!(probed.values(absent), [None; 3]);
    }
}

/// A socket whose queue is full: nobody accepts, and one connection waits already.
fn full_queue(path: &std::path::Path) -> [Socket; 2] {
    let address = SockAddr::unix(path).unwrap();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let waiting = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    waiting.connect(&address).unwrap();
    [listener, waiting]
}

#[tokio::test]
async fn targets_without_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    drop(std::os::unix::net::UnixListener::bind(path("dead")).unwrap());
    std::fs::write(path("file"), "").unwrap();
    let _datagram = std::os::unix::net::UnixDatagram::bind(path("datagram")).unwrap();
    let _full = full_queue(&dir.path().join("full"));
    let cases = [
        ("nothing there", path("nothing"), "connect/not_found", "there is no such socket"),
        ("a file in place of a folder", path("file/x"), "connect/not_found", "there is no such socket"),
        ("nobody listens any more", path("dead"), "connect/refused", "connect failed for"),
        ("a file", path("file"), "connect/refused", "connect failed for"),
        ("a socket for datagrams", path("datagram"), "connect/io", "connect failed for"),
        ("a full queue", path("full"), "connect/refused", "the queue of connections nobody accepted is full"),
        ("a path that is too long", path(&"x".repeat(108)), "connect/bad_target", "not a path"),
        ("an abstract name that is too long", format!("@{}", "x".repeat(108)), "connect/bad_target", "not a"),
        (
            "an abstract name nobody has",
            "@heartbeat-test-none".to_owned(),
            "connect/refused",
            "failed for @h",
        ),
        ("a zero byte", "a\0b".to_owned(), "connect/bad_target", "not a path"),
    ];
    for (name, target, want, why) in cases {
        let probed = probe("prober: unix", &target).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert!(probed.why().contains(why), "{name}: {}", probed.why());
        assert_eq!(probed.values([REGEX, BYTES]), [None, None], "{name}");
        assert_eq!(phases(&probed), ["connect"], "{name}");
    }
}

#[tokio::test]
async fn a_socket_we_may_not_use_is_told_from_one_that_is_not_there() {
    let peer = UnixPeer::new(vec![]);
    std::fs::set_permissions(peer.target(), std::fs::Permissions::from_mode(0o000)).unwrap();
    let probed = probe("prober: unix", peer.target()).await;
    // Nothing is forbidden to root.
    let is_allowed = std::os::unix::net::UnixStream::connect(peer.target()).is_ok();
    let want = (!is_allowed).then(|| "connect/permission".to_owned());
    assert_eq!(probed.failure(), want, "{}", probed.why());
}

#[tokio::test]
async fn dialogues() {
    type Case = (&'static str, Vec<Act>, &'static str, Option<&'static str>, [f64; 2], &'static str);
    let cases: Vec<Case> = vec![
        (
            "redis",
            vec![hear("PING\r\n"), say("+PONG\r\n")],
            "send: \"PING\\r\"\nexpect: ^\\+PONG$",
            None,
            [0.0, 0.0],
            "",
        ),
        (
            "a template",
            vec![say("hello x\n"), hear("you are x\n"), say("ok\n")],
            "{expect: ^hello (.*)$, send: you are $1}\nexpect: ok",
            None,
            [0.0, 0.0],
            "",
        ),
        ("slow drip", vec![Act::Drip(b"one\r\ntwo\n".into())], "expect: ^two$", None, [0.0, 0.0], ""),
        (
            "a banner without its end, then the end of the stream",
            vec![say("220"), Act::Close],
            "expect: ^220$",
            None,
            [0.0, 0.0],
            "",
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
            "an endless line",
            vec![Act::Say(vec![b'x'; 1 << 20])],
            "expect: ^220",
            Some("dialogue/too_large"),
            [0.0, 0.0],
            "more than 65536 bytes",
        ),
        (
            "another banner",
            vec![say("554 busy\n"), Act::Close],
            "expect: ^220",
            Some("dialogue/mismatch"),
            [1.0, 0.0],
            "\"554 busy\" does not match \"^220\"",
        ),
        ("bytes", vec![say("PONG")], "expect_bytes: PONG", None, [0.0, 0.0], ""),
        (
            "other bytes",
            vec![say("PING")],
            "expect_bytes: PONG",
            Some("dialogue/mismatch"),
            [0.0, 1.0],
            "\"PONG\" was expected",
        ),
    ];
    for (name, script, entries, want, flags, why) in cases {
        let peer = UnixPeer::new(script);
        let probed = probe(&talk(entries), peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        assert_eq!(probed.values([REGEX, BYTES]), flags.map(Some), "{name}");
        assert!(probed.why().contains(why), "{name}: {}", probed.why());
        assert_eq!(phases(&probed), ["connect", "dialogue"], "{name}");
    }
}

#[tokio::test]
async fn the_deadline_ends_a_dialogue_and_changes_no_flag() {
    for (name, script) in [("silence", vec![]), ("a matching banner without its end", vec![say("x")])] {
        let peer = UnixPeer::new(script);
        let probed = probe(&talk("expect: x").replace("5s", "100ms"), peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some("dialogue/deadline"), "{name}");
        assert_eq!(probed.values([REGEX, BYTES]), [Some(0.0), Some(0.0)], "{name}");
        assert_eq!(phases(&probed), ["connect"], "{name}: the dialogue has no end");
    }
}

#[tokio::test]
async fn labels_come_from_the_line() {
    let peer = UnixPeer::new(vec![say("SSH-2.0-x\n")]);
    let entries = "{expect: '^SSH-(.*)$', labels: [{name: b, value: $1}]}";
    let probed = probe(&talk(entries), peer.target()).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    assert_eq!(probed.series("probe_expect_info"), [r#"probe_expect_info{b="2.0-x"}"#]);
}

#[tokio::test]
async fn tls_needs_a_name_from_the_module() {
    let authority = Authority::new();
    let config = authority.issue(&["a.test"], Validity::Now);
    let ca = authority.yaml();
    let tls = |settings: &str| format!("prober: unix\nunix:\n  tls: true\n  tls_config: {settings}");
    let cases = [
        ("named", tls(&format!("{{ca: {ca}, server_name: a.test}}")), None, Some(1.0)),
        (
            "another name",
            tls(&format!("{{ca: {ca}, server_name: b.test}}")),
            Some("tls/name_mismatch"),
            Some(0.0),
        ),
        ("verification off", tls("{insecure_skip_verify: true}"), None, Some(0.0)),
        (
            "verification off, trusted",
            tls(&format!("{{ca: {ca}, insecure_skip_verify: true}}")),
            None,
            Some(1.0),
        ),
        ("no name", tls(&format!("{{ca: {ca}}}")), Some("prepare/config"), None),
        (
            "an authority that cannot be read",
            tls("{ca_file: /nowhere/ca.pem, server_name: a.test}"),
            Some("tls/file"),
            None,
        ),
    ];
    let peer = UnixPeer::new(vec![Act::StartTls(config)]);
    for (name, module, want, verified) in cases {
        // The parameter is for tcp and http only.
        let probed = probe_as(&module, peer.target(), Some("a.test")).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        let presented = verified.is_some();
        let got = probed.values([
            "probe_tls_verified",
            "probe_ssl_earliest_cert_expiry",
            "probe_ssl_leaf_not_after_timestamp_seconds",
            r#"probe_tls_version_info{version="TLS 1.3"}"#,
        ]);
        let end = presented.then_some(END);
        assert_eq!(got, [verified, end, end, presented.then_some(1.0)], "{name}");
        assert_eq!(probed.series("probe_tls_cipher_info"), [""; 0], "{name}");
        let flag = want.is_none().then_some(0.0);
        assert_eq!(probed.values([REGEX, BYTES]), [flag, flag], "{name}: only after the handshake");
    }
}

#[tokio::test]
async fn starttls_goes_on_with_the_dialogue() {
    let authority = Authority::new();
    let config = authority.issue(&["a.test"], Validity::Now);
    let entries = "{expect: ready, send: \"STARTTLS\\r\"}\nexpect: go\nstarttls: true\nexpect: secret";
    let named = format!("  tls_config: {{ca: {}, server_name: a.test}}\n", authority.yaml());
    let nameless = format!("  tls_config: {{ca: {}}}\n", authority.yaml());
    let cases = [
        ("named", named, None, vec!["connect", "dialogue", "tls"]),
        ("no name", nameless, Some("tls/config"), vec!["connect", "dialogue", "tls"]),
    ];
    for (name, settings, want, phases_seen) in cases {
        let script = vec![
            say("ready\n"),
            hear("STARTTLS\r\n"),
            say("go\n"),
            Act::StartTls(config.clone()),
            say("secret\n"),
        ];
        let peer = UnixPeer::new(script);
        let probed = probe(&(talk(entries) + &settings), peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        assert_eq!(phases(&probed), phases_seen, "{name}");
        assert_eq!(probed.value("probe_tls_verified"), want.is_none().then_some(1.0), "{name}");
        assert_eq!(probed.values([REGEX, BYTES]), [Some(0.0), Some(0.0)], "{name}");
    }
}
