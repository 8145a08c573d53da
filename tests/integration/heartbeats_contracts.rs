//! Uptime Kuma, `/api/pings/`, gatus and Alertmanager: every request with its whole answer, then what became of
//! the heartbeat.

use crate::support::exporter::Exporter;
use crate::support::session::Session;

const CONFIG: &str = r#"
heartbeats:
  users: {root: "$2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf."}
  services:
    push: {every: 1h, token: PushToken0123456789, values: [ping]}
    short: {every: 1h, id: 60y4E, alert_on_data: true}
    cron: {every: 1h, token: gatus-token, namespace: core}
    odd.name: {every: 1h, token: odd-token}
    watchdog: {every: 1h}
    guarded: {every: 1h, token: am-token}
"#;
const JSON: &str = "content-type: application/json; charset=utf-8\n";
const CACHE: &str = "cache-control: max-age=0, no-cache, no-store, must-revalidate, private\n";

#[test]
fn uptime_kuma_push() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let fine = r#"200 {"ok":true}"#;
    let unknown = r#"404 {"ok":false,"msg":"Monitor not found or not active."}"#;
    let bad = r#"404 {"ok":false,"msg":"Invalid ping value. Must be between 0 and 100000000000 ms."}"#;
    let token = "PushToken0123456789";
    let cases = [
        ("GET", format!("{token}?status=up&msg=OK&ping="), fine),
        ("GET", token.to_owned(), fine),
        ("GET", format!("{token}/"), fine),
        ("POST", format!("{token}?ping=12.5"), fine),
        ("PUT", format!("{token}?status=&msg="), fine),
        ("HEAD", token.to_owned(), "200"),
        ("GET", format!("{token}?ping=0"), fine),
        ("GET", format!("{token}?ping=none"), fine),
        ("GET", format!("{token}?ping=100000000000"), fine),
        ("GET", format!("{token}?ping=100000000001"), bad),
        ("GET", format!("{token}?ping=-1"), bad),
        ("GET", format!("{token}?ping=Infinity"), bad),
        // The number is looked at first.
        ("GET", "unknown?ping=-1".to_owned(), bad),
        ("GET", "unknown".to_owned(), unknown),
        ("GET", "push".to_owned(), unknown),
        ("GET", String::new(), unknown),
        ("GET", format!("{token}/x"), unknown),
        ("GET", format!("{token}?ping=33"), fine),
        // Only `up` is up.
        ("GET", format!("{token}?status=UP"), fine),
        ("GET", format!("{token}?status=down&msg=disk%20full"), fine),
    ];
    for (method, path, want) in &cases {
        let got = session.ask(method, &format!("/api/push/{path}"), "", b"");
        assert_eq!((got.brief(), got.head()), ((*want).to_owned(), format!("{JSON}{CACHE}")), "{path}");
    }
    assert_eq!(exporter.heartbeat("push"), "down fail=2 success=10");
    assert_eq!(session.ask("GET", &format!("/api/push/{token}?ping=7"), "", b"").brief(), fine);
    assert_eq!(exporter.of_heartbeat("push", "heartbeat_payload_value", ",key=\"ping\""), Some(7.0));
    assert_eq!(["request", "unknown"].map(|reason| exporter.rejected(reason)), [Some(4.0), Some(4.0)]);
}

#[test]
fn f2_a_fail_is_a_contact() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    session.ask("GET", "/api/push/PushToken0123456789?status=down", "", b"");
    let value = |metric| exporter.of_heartbeat("push", metric, "");
    let failed = exporter.of_heartbeat("push", "heartbeat_last_ping_timestamp_seconds", ",signal=\"fail\"");
    let after = value("heartbeat_deadline_timestamp_seconds").unwrap() - failed.unwrap();
    assert!((after - 3900.0).abs() < 0.01, "{after}");
    assert_eq!(value("heartbeat_missed_total"), Some(0.0));
}

/// `root:pass word`.
const USER: &str = "Authorization: Basic cm9vdDpwYXNzIHdvcmQ=\r\n";

#[test]
fn api_pings() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let wrong = "Authorization: Basic cm9vdDp3cm9uZw==\r\n";
    let form = format!("{USER}Content-Type: application/x-www-form-urlencoded\r\n");
    let refused = r#"401 {"ok":false,"msg":"wrong name or password"}"#;
    let fine = r#"200 {"ok":true}"#;
    let unknown = r#"404 {"ok":false,"msg":"there is no heartbeat of this name"}"#;
    let missing = r#"400 {"ok":false,"msg":"service is missing"}"#;
    let cases: [(&str, &str, &str, &str, &str, &str); 17] = [
        ("POST", "?service=60y4E&&data=", USER, "", fine, "up success=1"),
        (
            "POST",
            "?service=60y4E&&data=10.0.0.7:cpu:93,process:nginx",
            USER,
            "",
            fine,
            "down data=1 success=1",
        ),
        ("POST", "?service=60y4E", USER, "", fine, "up data=1 success=2"),
        ("POST", "?service=60y4E&&data=93%25%20%C3%BC;x", USER, "", fine, "down data=2 success=2"),
        ("POST", "?service=60y4E&data=93%", USER, "", fine, "down data=3 success=2"),
        ("POST", "", &form, "service=60y4E&&data=", fine, "up data=3 success=3"),
        ("POST", "", &form, "service=60y4E&data=a+b", fine, "down data=4 success=3"),
        ("POST", "?service=short", USER, "", fine, "up data=4 success=4"),
        ("POST", "?service=60y4e", USER, "", unknown, "up data=4 success=4"),
        ("POST", "?service=x%20y", USER, "", unknown, "up data=4 success=4"),
        ("POST", "?service=", USER, "", missing, "up data=4 success=4"),
        ("POST", "", USER, "service=60y4E", missing, "up data=4 success=4"),
        ("POST", "?service=60y4E", "", "", refused, "up data=4 success=4"),
        ("POST", "?service=60y4E", wrong, "", refused, "up data=4 success=4"),
        ("POST", "?service=nobody", wrong, "", refused, "up data=4 success=4"),
        (
            "GET",
            "?service=60y4E",
            USER,
            "",
            r#"405 {"ok":false,"msg":"method not allowed"}"#,
            "up data=4 success=4",
        ),
        ("POST", "?service=watchdog&&data=", USER, "", fine, "up data=4 success=4"),
    ];
    for (method, query, headers, body, want, state) in cases {
        let got = session.ask(method, &format!("/api/pings/{query}"), headers, body.as_bytes());
        assert_eq!(got.brief(), want, "{method} {query}");
        assert_eq!(exporter.heartbeat("short"), state, "{method} {query}");
    }
    assert_eq!(exporter.of_heartbeat("short", "heartbeat_data_alert", ""), Some(0.0));
    let head = session.ask("POST", "/api/pings/", "", b"").head();
    assert_eq!(head, format!("{JSON}www-authenticate: Basic realm=\"heartbeats\"\n{CACHE}"));
    assert_eq!(session.ask("POST", "/api/pings?service=60y4E", USER, b"").brief(), fine);
    // A target of 16 KiB.
    let long = format!("/api/pings/?service=60y4E&&data={}", "x".repeat(16 << 10));
    assert_eq!(session.ask("POST", &long, USER, b"").brief(), fine);
}

#[test]
fn without_users_there_is_nobody_who_may_check_in() {
    let exporter = Exporter::start("heartbeats: {services: {job: {every: 1h, id: abc}}}", &[]);
    let got = exporter.request("POST", "/api/pings/?service=abc", &[("Authorization", "Basic Og==")]);
    assert_eq!(got.brief(), r#"401 {"ok":false,"msg":"wrong name or password"}"#);
    assert_eq!(exporter.heartbeat("job"), "new");
}

#[test]
fn gatus_external_endpoints() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let right = bearer("gatus-token");
    let missing = "400 missing or invalid success query parameter";
    let cases: [(&str, &str, &str, &str); 18] = [
        ("POST", "core_cron/external?success=true", &right, "200"),
        ("POST", "core_cron/external?success=true&error=&duration=10s", &right, "200"),
        ("POST", "core_cron/external?success=false&error=down%20again&duration=1m1.5s", &right, "200"),
        ("POST", "core_cron/external?success=false", &right, "200"),
        ("POST", "core_cron/external?success=true", &right, "200"),
        ("POST", "core_cron/external", &right, missing),
        ("POST", "core_cron/external?success=", &right, missing),
        ("POST", "core_cron/external?success=1", "", missing),
        ("POST", "core_cron/external?success=true", "", "401 invalid Authorization header"),
        ("POST", "core_cron/external?success=true", USER, "401 invalid Authorization header"),
        (
            "POST",
            "core_cron/external?success=true",
            "Authorization: Bearer  \r\n",
            "401 invalid Authorization header",
        ),
        ("POST", "core_cron/external?success=true", &bearer("wrong"), "401 invalid token"),
        ("POST", "core_cron/external?success=true", &bearer("odd-token"), "401 invalid token"),
        ("POST", "core_none/external?success=true", &right, "404 not found"),
        (
            "POST",
            "core_cron/external?success=true&duration=10",
            &right,
            "400 invalid duration: time: invalid duration \"10\"",
        ),
        ("GET", "core_cron/external?success=true", &right, "405 method not allowed"),
        ("POST", "_odd-name/external?success=true", &bearer("odd-token"), "200"),
        ("POST", "default_odd-name/external?success=true", &bearer("odd-token"), "200"),
    ];
    for (method, path, headers, want) in cases {
        let got = session.ask(method, &format!("/api/v1/endpoints/{path}"), headers, b"");
        assert_eq!(got.brief(), want, "{method} {path}");
    }
    assert_eq!(exporter.heartbeat("core/cron"), "up fail=2 success=3");
    assert_eq!(exporter.heartbeat("odd.name"), "up success=2");
    let seconds = "heartbeat_last_run_duration_seconds{namespace=\"core\",heartbeat=\"cron\"}";
    assert_eq!(exporter.metric(seconds), Some(61.5));
    let text = "content-type: text/plain; charset=utf-8\n";
    let head = session.ask("POST", "/api/v1/endpoints/core_cron/external?success=true", &right, b"").head();
    assert_eq!(head, format!("{text}{CACHE}"));
    // A path of its own that only begins the same.
    let other = session.ask("POST", "/api/v1/endpoints/core_cron?success=true", &right, b"");
    assert_eq!(other.brief(), "404 404 page not found");
}

#[test]
fn alertmanager_webhook() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let webhook = |status: &str| {
        format!(
            r#"{{"version":"4","groupKey":"{{}}:{{alertname=\"Watchdog\"}}","status":"{status}","receiver":"dms",
            "groupLabels":{{"alertname":"Watchdog"}},"commonLabels":{{"alertname":"Watchdog"}},"commonAnnotations":{{}},
            "externalURL":"http://am:9093","truncatedAlerts":0,"alerts":[{{"status":"{status}","labels":{{}}}}]}}"#
        )
    };
    let (firing, resolved) = (webhook("firing"), webhook("resolved"));
    let other = webhook("pending");
    let bearer = "Authorization: Bearer am-token\r\n";
    let broken = r#"400 {"error":"this is no webhook of Alertmanager: "#;
    let cases: [(&str, &str, &str, &str, &str, &str); 10] = [
        ("POST", "watchdog", "", &firing, "200 {\"deadline\":T", "up success=1"),
        ("POST", "watchdog", "", &resolved, "200 {\"deadline\":T", "down fail=1 success=1"),
        ("POST", "default/watchdog/", "", &firing, "200 {\"deadline\":T", "up fail=1 success=2"),
        ("POST", "watchdog", "", &other, broken, "up fail=1 success=2"),
        ("POST", "watchdog", "", "[]", broken, "up fail=1 success=2"),
        ("GET", "watchdog", "", "", r#"405 {"error":"method not allowed"}"#, "up fail=1 success=2"),
        (
            "POST",
            "none",
            "",
            &firing,
            r#"404 {"error":"there is no heartbeat of this name"}"#,
            "up fail=1 success=2",
        ),
        (
            "POST",
            "guarded",
            "",
            &firing,
            r#"401 {"error":"this heartbeat needs its token"}"#,
            "up fail=1 success=2",
        ),
        ("POST", "guarded", bearer, &firing, "200 {\"deadline\":T", "up fail=1 success=2"),
        ("POST", "am-token", "", &firing, "200 {\"deadline\":T", "up fail=1 success=2"),
    ];
    for (method, path, headers, body, want, state) in cases {
        let got = session.ask(method, &format!("/alertmanager/{path}"), headers, body.as_bytes()).brief();
        assert!(got.starts_with(want), "{method} {path}: {got}");
        assert_eq!(exporter.heartbeat("watchdog"), state, "{method} {path}");
    }
    assert_eq!(exporter.heartbeat("guarded"), "up success=2");
}

#[test]
fn nothing_of_it_is_there_without_the_section() {
    let exporter = Exporter::start("modules: {}", &[]);
    for path in ["/heartbeat/x", "/heartbeat", "/ping/a/b", "/api/push/x", "/api/pings/", "/alertmanager/x"] {
        assert_eq!(exporter.request("POST", path, &[]).brief(), "404 404 page not found", "{path}");
    }
}
