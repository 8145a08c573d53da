//! Pings of healthchecks.io: every request with its whole answer, then what became of the heartbeat.

use crate::support::exporter::Exporter;
use crate::support::session::Session;

const CONFIG: &str = r#"
heartbeats:
  ping_key: pingkey-1
  provision: {patterns: ["auto-*"], limit: 1, template: {every: 24h, grace: 1h}}
  services:
    by-uuid: {every: 1h, uuid: 5c1f0f3e-8a3b-4d7e-9a51-0d6a1c2b3d4e}
    by-slug: {every: 1h, token: not-needed-here}
    same: {every: 1h, namespace: a}
    same-again: {every: 1h, namespace: a}
    both: {every: 1h, namespace: a, id: one}
    posted: {every: 1h, methods: POST, uuid: 5c1f0f3e-8a3b-4d7e-9a51-0d6a1c2b3d4f}
"#;
const UUID: &str = "5c1f0f3e-8a3b-4d7e-9a51-0d6a1c2b3d4e";
const RID: &str = "0b1e4b6a-1a2b-4c3d-8e4f-5a6b7c8d9e0f";

#[test]
fn f15_status_codes_and_bodies_are_those_that_clients_know() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let upper = UUID.to_uppercase();
    let cases: [(&str, String, &str, &str); 40] = [
        ("GET", UUID.to_owned(), "", "200 OK"),
        ("GET", format!("{UUID}/"), "", "200 OK"),
        ("HEAD", UUID.to_owned(), "", "200"),
        ("POST", UUID.to_owned(), "hello", "200 OK"),
        // No method is refused.
        ("PUT", UUID.to_owned(), "", "200 OK"),
        ("OPTIONS", UUID.to_owned(), "", "200 OK"),
        ("GET", format!("{UUID}/start"), "", "200 OK"),
        ("POST", format!("{UUID}/log"), "a line", "200 OK"),
        ("POST", format!("{UUID}/fail"), "\u{fffd}", "200 OK"),
        ("GET", format!("{UUID}/0"), "", "200 OK"),
        ("GET", format!("{UUID}/1"), "", "200 OK"),
        ("GET", format!("{UUID}/255"), "", "200 OK"),
        ("GET", format!("{UUID}/256"), "", "400 invalid url format"),
        ("GET", format!("{UUID}/99999999999999999999"), "", "400 invalid url format"),
        ("GET", format!("{UUID}/-1"), "", "404 not found"),
        ("GET", format!("{UUID}/start/"), "", "404 not found"),
        ("GET", upper, "", "200 OK"),
        ("GET", UUID.replace('-', ""), "", "404 not found"),
        ("GET", RID.to_owned(), "", "404 not found"),
        // The lookup comes before everything else.
        ("GET", format!("{RID}/256?rid=x"), "", "404 not found"),
        ("GET", format!("{UUID}?rid={RID}"), "", "200 OK"),
        ("GET", format!("{UUID}/fail?rid={}", RID.to_uppercase()), "", "200 OK"),
        ("GET", format!("{UUID}?rid=x"), "", "400 invalid uuid format"),
        ("GET", format!("{UUID}?rid="), "", "400 invalid uuid format"),
        ("GET", format!("{UUID}?rid={}", RID.replace('-', "")), "", "400 invalid uuid format"),
        ("GET", format!("{UUID}/256?rid=x"), "", "400 invalid url format"),
        ("GET", "pingkey-1/by-slug".to_owned(), "", "200 OK"),
        ("GET", "pingkey-1/by-slug/".to_owned(), "", "404 not found"),
        ("POST", "pingkey-1/by-slug/start".to_owned(), "", "200 OK"),
        ("POST", "pingkey-1/by-slug/7".to_owned(), "", "200 OK"),
        ("GET", "pingkey-1/same".to_owned(), "", "200 OK"),
        ("GET", "pingkey-1/By-slug".to_owned(), "", "400 invalid url format"),
        ("GET", "pingkey-2/by-slug".to_owned(), "", "404 not found"),
        ("GET", "pingkey-2/auto-1?create=1".to_owned(), "", "404 not found"),
        ("GET", "pingkey-1/auto-1".to_owned(), "", "404 not found"),
        ("GET", "pingkey-1/auto-1?create=yes".to_owned(), "", "404 not found"),
        ("GET", "pingkey-1/other?create=1".to_owned(), "", "404 not found"),
        ("POST", "pingkey-1/auto-1/start?create=1".to_owned(), "", "201 Created"),
        ("POST", "pingkey-1/auto-1?create=1".to_owned(), "", "200 OK"),
        // Beyond the quota nothing is told.
        ("POST", "pingkey-1/auto-2?create=1".to_owned(), "", "404 not found"),
    ];
    // Below /ping as one's own server has it, and at the root as the hosted one has it.
    for (method, path, body, want) in &cases {
        let got = session.ask(method, &format!("/ping/{path}"), "", body.as_bytes());
        assert_eq!(got.brief(), *want, "{method} {path}");
    }
    assert_eq!(exporter.heartbeat("by-uuid"), "down fail=4 log=1 start=1 success=9");
    assert_eq!(exporter.heartbeat("by-slug"), "down fail=1 start=1 success=1");
    assert_eq!(exporter.heartbeat("a/same"), "up success=1");
    assert_eq!(exporter.heartbeat("auto-1"), "up start=1 success=1");
    assert_eq!(exporter.rejected("quota"), Some(1.0));

    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    for (method, path, body, want) in cases {
        let got = session.ask(method, &format!("/{path}"), "", body.as_bytes());
        let is_ours = path.starts_with(UUID)
            || path.starts_with("pingkey-1")
            || path.starts_with(RID)
            || path.starts_with(&UUID[..8].to_uppercase());
        let want = if is_ours { want } else { "404 404 page not found" };
        assert_eq!(got.brief(), want, "{method} {path}");
    }
    assert_eq!(exporter.heartbeat("by-uuid"), "down fail=4 log=1 start=1 success=9");
}

#[test]
fn whole_heads() {
    let exporter = Exporter::start(CONFIG, &["--web.route-prefix=/monitor"]);
    let mut session = Session::open(&exporter);
    let text = "content-type: text/plain; charset=utf-8\n";
    let cache = "cache-control: max-age=0, no-cache, no-store, must-revalidate, private\n";
    let taken = format!("{text}ping-body-limit: 10000\naccess-control-allow-origin: *\n{cache}");
    let refused = format!("{text}{cache}");
    let cases = [
        (format!("/monitor/ping/{UUID}"), "200 OK", &taken),
        (format!("/monitor/{UUID}/start"), "200 OK", &taken),
        ("/monitor/ping/pingkey-1/auto-1?create=1".to_owned(), "201 Created", &taken),
        (format!("/monitor/ping/{RID}"), "404 not found", &refused),
        (format!("/monitor/ping/{UUID}/256"), "400 invalid url format", &refused),
    ];
    for (path, brief, head) in cases {
        let got = session.ask("GET", &path, "", b"");
        assert_eq!((got.brief(), got.head()), (brief.to_owned(), head.clone()), "{path}");
    }
    assert_eq!(session.ask("GET", &format!("/ping/{UUID}"), "", b"").status, 404);
}

#[test]
fn a_slug_of_two_namespaces_is_ambiguous_unless_one_is_the_default() {
    let config = "
heartbeats:
  ping_key: key
  provision: {patterns: [\"*\"], template: {every: 1h}}
  services: {x: {every: 1h, namespace: a}, y: {every: 1h}}
";
    let exporter = Exporter::start(config, &[]);
    let mut session = Session::open(&exporter);
    let mut brief = |path: &str| session.ask("GET", path, "", b"").brief();
    assert_eq!(brief("/ping/key/x"), "200 OK");
    assert!(brief("/heartbeat/b/x").starts_with("201 "));
    assert_eq!(brief("/ping/key/x"), "409 ambiguous slug");
    assert_eq!(brief("/ping/key/x?create=1"), "409 ambiguous slug");
    assert!(brief("/heartbeat/b/y").starts_with("201 "));
    assert_eq!(brief("/ping/key/y"), "200 OK");
    assert_eq!(exporter.heartbeat("y"), "up success=1");
    assert_eq!(exporter.rejected("ambiguous"), Some(2.0));
}

#[test]
fn a_run_is_timed_from_its_own_start() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let mut ping = |path: &str| session.ask("GET", &format!("/ping/{UUID}{path}"), "", b"").brief();
    let seconds = || exporter.of_heartbeat("by-uuid", "heartbeat_last_run_duration_seconds", "");
    let other = "11111111-2222-4333-8444-555555555555";
    ping(&format!("/start?rid={RID}"));
    assert_eq!(exporter.heartbeat("by-uuid"), "running start=1");
    // The end of another run leaves it open, and has no duration.
    ping(&format!("?rid={other}"));
    assert_eq!((exporter.heartbeat("by-uuid").as_str(), seconds()), ("running start=1 success=1", None));
    ping(&format!("/0?rid={}", RID.to_uppercase()));
    assert_eq!(exporter.heartbeat("by-uuid"), "up start=1 success=2");
    assert!(seconds().is_some_and(|seconds| (0.0..10.0).contains(&seconds)));
}

#[test]
fn f8_a_body_that_is_no_text_is_a_ping_like_any_other() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let long = vec![0xff_u8; 200_000];
    for body in [&b"\xff\xfe"[..], b"\0", "ü".as_bytes(), &long] {
        assert_eq!(session.ask("POST", &format!("/ping/{UUID}/fail"), "", body).brief(), "200 OK");
    }
    assert_eq!(exporter.heartbeat("by-uuid"), "down fail=4");
}

#[test]
fn f8_words_of_a_body_decide_where_the_definition_has_some() {
    let config = r#"
heartbeats:
  services:
    words: {every: 1h, uuid: 00000000-0000-4000-8000-000000000001,
      keywords: {failure: "ERROR, FATAL", success: "OK,done", start: begin}}
    strict: {every: 1h, uuid: 00000000-0000-4000-8000-000000000002, keywords: {success: OK, default: fail}}
    posted: {every: 1h, uuid: 00000000-0000-4000-8000-000000000003, methods: POST, keywords: {failure: ERROR}}
"#;
    let exporter = Exporter::start(config, &[]);
    let mut session = Session::open(&exporter);
    let cases: [(&str, &str, &[u8], &str); 17] = [
        ("POST", "words", b"nothing special", "new"),
        ("GET", "words", b"", "new"),
        ("POST", "words", b"\xff\xfe", "new"),
        ("POST", "words", b"begin", "running start=1"),
        ("POST", "words", b"ok", "running start=1"),
        ("PUT", "words", b"begin... done", "up start=1 success=1"),
        ("POST", "words", b"\xffOK, no ERROR\xff", "down fail=1 start=1 success=1"),
        ("POST", "words", b"\xffdone", "up fail=1 start=1 success=2"),
        // An address that says what happened needs no words.
        ("POST", "words/fail", b"OK", "down fail=2 start=1 success=2"),
        ("POST", "words/0", b"ERROR", "up fail=2 start=1 success=3"),
        ("POST", "words/log", b"ERROR", "up fail=2 log=1 start=1 success=3"),
        ("POST", "strict", b"OK", "up success=1"),
        ("POST", "strict", b"ok", "down fail=1 success=1"),
        ("HEAD", "strict", b"", "down fail=2 success=1"),
        ("GET", "posted", b"ERROR", "new"),
        ("POST", "posted", b"fine", "new"),
        ("POST", "posted", b"ERROR", "down fail=1"),
    ];
    for (method, path, body, want) in cases {
        let (name, rest) =
            path.split_once('/').map_or((path, String::new()), |(name, rest)| (name, format!("/{rest}")));
        let number = ["words", "strict", "posted"].iter().position(|other| *other == name).unwrap() + 1;
        let address = format!("/ping/00000000-0000-4000-8000-00000000000{number}{rest}");
        let answer = if method == "HEAD" { "200" } else { "200 OK" };
        assert_eq!(session.ask(method, &address, "", body).brief(), answer, "{method} {path}");
        assert_eq!(exporter.heartbeat(name), want, "{method} {path} {}", String::from_utf8_lossy(body));
    }
    assert_eq!((exporter.rejected("keyword"), exporter.rejected("method")), (Some(5.0), Some(1.0)));
    // Ours reads a plain message the same way, and nothing that says more.
    let json = "Content-Type: application/json\r\n";
    for (path, headers, body, want) in [
        ("words", "", "ERROR", "down fail=3 log=1 start=1 success=3"),
        ("words", "", "no word", "down fail=3 log=1 start=1 success=3"),
        ("words", json, r#"{"message":"ERROR"}"#, "up fail=3 log=1 start=1 success=4"),
        ("words?exit_code=0", "", "ERROR", "up fail=3 log=1 start=1 success=5"),
        ("words?data=x", "", "ERROR", "up data=1 fail=3 log=1 start=1 success=5"),
    ] {
        let reply = session.ask("POST", &format!("/heartbeat/{path}"), headers, body.as_bytes());
        assert_eq!(reply.status, 200, "{path} {body}");
        assert_eq!(exporter.heartbeat("words"), want, "{path} {body}");
    }
    assert_eq!(exporter.rejected("keyword"), Some(6.0));
}

#[test]
fn f7_a_get_is_answered_and_is_no_signal_where_only_post_is() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    for (method, state) in [("GET", "new"), ("POST", "up success=1"), ("GET", "up success=1")] {
        let path = "/ping/5c1f0f3e-8a3b-4d7e-9a51-0d6a1c2b3d4f";
        assert_eq!(session.ask(method, path, "", b"").brief(), "200 OK");
        assert_eq!(exporter.heartbeat("posted"), state, "{method}");
    }
}
