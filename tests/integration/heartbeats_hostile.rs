//! Clients that mean no good or cannot do better, and trouble of our own: everything ends, is counted, and
//! leaves the others alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_exporter::cli::ProbeOutcomes;
use heartbeat_exporter::config::reload::{Live, Source};
use heartbeat_exporter::heartbeat::registry::Lookup;
use heartbeat_exporter::heartbeat::{Current, Service};
use heartbeat_exporter::logging::{Format, Level};
use heartbeat_exporter::metrics::own::Own;
use heartbeat_exporter::net::Net;
use heartbeat_exporter::runner::history::History;
use heartbeat_exporter::server::grpc::Calls;
use heartbeat_exporter::server::{HeartbeatUsers, Outcomes, Paths, Server};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;

use crate::support::exporter::{Dir, Exporter};
use crate::support::session::Session;

const CONFIG: &str = r#"
heartbeats:
  ping_key: hunter2-ping-key
  users: {root: "$2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf."}
  services:
    job: {every: 1h, uuid: 5c1f0f3e-8a3b-4d7e-9a51-0d6a1c2b3d4e, id: 60y4E}
    kept: {every: 1h, uuid: 5c1f0f3e-8a3b-4d7e-9a51-0d6a1c2b3d40, id: kept, methods: POST, manual_resume: true, keywords: {success: OK}}
    push: {every: 1h, token: hunter2-token}
"#;
const UUID: &str = "5c1f0f3e-8a3b-4d7e-9a51-0d6a1c2b3d4e";

#[test]
fn a_connection_outlives_every_refusal() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let big = vec![b'x'; 300_000];
    let json = "Content-Type: application/json\r\n";
    let report = [&b"{\"message\":\""[..], &big, b"\"}"].concat();
    let batch = vec![b' '; 1_100_000];
    let form =
        "Content-Type: application/x-www-form-urlencoded\r\nAuthorization: Basic cm9vdDpwYXNzIHdvcmQ=\r\n";
    let query = format!("/heartbeat/none?data={}", "x".repeat(40_000));
    let cases: [(&str, &str, &str, &[u8], &str); 11] = [
        ("POST", "/heartbeat/none", "", &big, r#"404 {"error":"there is no heartbeat of this name"}"#),
        ("DELETE", "/heartbeat/job", "", &big, r#"405 {"error":"method not allowed"}"#),
        ("POST", "/heartbeat/job", json, &report, r#"413 {"error":"the body is longer than 32768 bytes"}"#),
        ("POST", "/heartbeat", json, &batch, r#"413 {"error":"the body is longer than 1048576 bytes"}"#),
        (
            "POST",
            "/alertmanager/job",
            json,
            &batch,
            r#"413 {"error":"the body is longer than 1048576 bytes"}"#,
        ),
        (
            "POST",
            "/api/pings/",
            form,
            &big,
            r#"413 {"ok":false,"msg":"the body is longer than 32768 bytes"}"#,
        ),
        ("POST", "/api/push/none", "", &big, r#"404 {"ok":false,"msg":"Monitor not found or not active."}"#),
        (
            "POST",
            "/api/v1/endpoints/job/external",
            "",
            &big,
            "400 missing or invalid success query parameter",
        ),
        ("POST", "/ping/none/none", "", &big, "404 not found"),
        ("GET", &query, "", b"", r#"404 {"error":"there is no heartbeat of this name"}"#),
        ("POST", &format!("/ping/{UUID}"), "", &batch, "200 OK"),
    ];
    for (method, target, headers, body, want) in cases {
        let reply = session.ask(method, target, headers, body);
        assert_eq!((reply.brief(), reply.header("connection")), (want.to_owned(), None), "{method} {target}");
    }
    assert_eq!(exporter.rejected("body"), Some(4.0));
    assert_eq!(exporter.heartbeat("job"), "up success=1");
}

#[test]
fn a_body_without_end_is_given_up_after_its_signal_is_taken() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let head = format!("POST /ping/{UUID} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
    session.send(head.as_bytes());
    let piece = vec![b'x'; 100_000];
    for _ in 0..27 {
        session.send(&piece);
    }
    let reply = session.reply(false);
    assert_eq!((reply.brief().as_str(), reply.header("connection")), ("200 OK", Some("close")));
    assert_eq!(exporter.heartbeat("job"), "up success=1");
}

#[test]
fn a_slow_body_ends_with_its_time() {
    let exporter = Exporter::start(CONFIG, &[]);
    let begin = Instant::now();
    let mut sessions: Vec<Session> = (0..20).map(|_| Session::open(&exporter)).collect();
    for session in &mut sessions {
        let head = format!("POST /ping/{UUID} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
        session.send(head.as_bytes());
    }
    // Nobody else waits for them.
    let mut other = Session::open(&exporter);
    assert_eq!(other.ask("POST", &format!("/ping/{UUID}"), "", b"x").brief(), "200 OK");
    assert!(begin.elapsed() < Duration::from_secs(8));
    for session in &mut sessions {
        let reply = session.reply(false);
        assert_eq!(reply.brief(), "408 the body did not come in time");
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(session.is_over());
    }
    assert!((10..20).contains(&begin.elapsed().as_secs()));
    assert_eq!(exporter.rejected("body"), Some(20.0));
    assert_eq!(exporter.heartbeat("job"), "up success=1");
}

#[test]
fn a_broken_body_is_refused() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let head = format!("POST /ping/{UUID} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    session.send(head.as_bytes());
    let reply = session.reply(false);
    assert_eq!(
        (reply.brief().as_str(), reply.header("connection")),
        ("400 the body is broken", Some("close"))
    );
    assert_eq!(exporter.heartbeat("job"), "new");
    // Chunks as they should be, with a trailer.
    let mut session = Session::open(&exporter);
    let head = head.replace("zz\r\n", "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n");
    session.send(head.as_bytes());
    assert_eq!(session.reply(false).brief(), "200 OK");
}

#[test]
fn a_target_that_is_too_long_is_refused() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let head = format!("GET /ping/{UUID}?x={} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000));
    session.send(head.as_bytes());
    assert!([400, 414, 431].contains(&session.reply(false).status));
    assert_eq!(exporter.heartbeat("job"), "new");
}

#[test]
fn secrets_of_addresses_are_nowhere() {
    let exporter = Exporter::start(CONFIG, &["--log.level=debug"]);
    let mut session = Session::open(&exporter);
    let bearer = "Authorization: Bearer hunter2-token\r\n";
    let requests = [
        ("GET", "/heartbeat/hunter2-token", ""),
        ("GET", "/heartbeat/hunter2-tokens", ""),
        ("GET", "/heartbeat/push/nonsense/x/hunter2", bearer),
        ("GET", "/api/push/hunter2-token", ""),
        ("GET", "/api/push/hunter2-wrong", ""),
        ("GET", "/ping/hunter2-ping-key/job", ""),
        ("GET", "/ping/hunter2-ping-key/none", ""),
        ("GET", "/hunter2-ping-key/job/fail", ""),
        ("POST", "/alertmanager/hunter2-token", bearer),
        ("POST", "/api/v1/endpoints/_push/external?success=true", bearer),
    ];
    for (method, target, headers) in requests {
        let reply = session.ask(method, target, headers, b"");
        assert!(!format!("{}{}", reply.head(), reply.text()).contains("hunter2"), "{target}");
    }
    // A connection that breaks in the middle of such a request.
    let mut broken = Session::open(&exporter);
    broken.send(b"POST /heartbeat/hunter2-token HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    drop(broken);
    for page in ["/metrics", "/heartbeats/metrics", "/api/v1/heartbeats", "/sd/heartbeats", "/config", "/"] {
        assert!(!exporter.get(page).text().contains("hunter2"), "{page}");
    }
    let log = exporter.log();
    assert!(!log.iter().any(|line| line.contains("hunter2")), "{log:#?}");
}

/// A server in this process, with a store that works or takes nothing.
async fn server(dir: &Dir, works: bool) -> (Server, Arc<Service>) {
    let path = dir.path().join("h.redb");
    dir.write(
        "c.yml",
        &CONFIG.replace("heartbeats:\n", &format!("heartbeats:\n  store: {{path: {path:?}}}\n")),
    );
    let own = Arc::new(Own::default());
    let live = Arc::new(Live::load(Source::File(dir.path().join("c.yml")), true, Arc::clone(&own)).unwrap());
    let net = Arc::new(Net::new());
    let heartbeats = Arc::new(Current::new("r".to_owned(), Arc::clone(&net)));
    heartbeats.start(&live).await.unwrap();
    let service = heartbeats.service().unwrap();
    if !works {
        service.store.close(Duration::from_secs(1)).await;
    }
    let server = Server {
        live,
        net,
        heartbeats,
        heartbeat_users: HeartbeatUsers::default(),
        calls: Calls::default(),
        history: History::new(1),
        own,
        outcomes: Outcomes::new(ProbeOutcomes::None),
        web: None,
        paths: Paths::new("", "", Some("127.0.0.1:9115"), "http", "x").unwrap(),
        timeout_offset: 0.5,
        log_prober: Level::Error,
        log_format: Format::Logfmt,
    };
    (server, service)
}

/// Status, `Retry-After` and body.
async fn ask(
    server: &Server,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> String {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let reply = server.respond(&parts, Full::new(Bytes::from_static(body.as_bytes()))).await;
    let (head, body) = reply.into_parts();
    let retry = head.headers.get("retry-after").map_or("-", |after| after.to_str().unwrap()).to_owned();
    let body = body.collect().await.unwrap().to_bytes();
    format!("{} {retry} {}", head.status.as_u16(), String::from_utf8_lossy(&body).trim_end())
}

#[tokio::test]
async fn a_store_that_fails_is_status_503_at_every_door() {
    let dir = Dir::new();
    let (server, service) = server(&dir, false).await;
    let user = ("Authorization", "Basic cm9vdDpwYXNzIHdvcmQ=");
    let bearer = ("Authorization", "Bearer hunter2-token");
    let why = "signals cannot be kept now, try again";
    let error = format!("{{\"error\":\"{why}\"}}");
    let msg = format!("{{\"ok\":false,\"msg\":\"{why}\"}}");
    let batch = format!("{{\"results\":[{{\"error\":\"{why}\",\"status\":503}}]}}");
    let cases = [
        ("GET", "/heartbeat/job".to_owned(), None, "", error.as_str()),
        ("POST", "/heartbeat".to_owned(), None, r#"[{"heartbeat":"job"}]"#, &batch),
        ("GET", format!("/ping/{UUID}"), None, "", why),
        ("GET", "/api/push/hunter2-token".to_owned(), None, "", &msg),
        ("POST", "/api/pings/?service=60y4E".to_owned(), Some(user), "", &msg),
        ("POST", "/api/v1/endpoints/_push/external?success=true".to_owned(), Some(bearer), "", why),
        ("POST", "/alertmanager/job".to_owned(), None, r#"{"status":"firing"}"#, &error),
    ];
    for (method, target, header, body, want) in cases {
        let headers: Vec<_> = header.into_iter().collect();
        let got = ask(&server, method, &target, &headers, body).await;
        let (status, rest) = got.split_once(' ').unwrap();
        let (retry, text) = rest.split_once(' ').unwrap();
        assert_eq!((status, text), ("503", want), "{target}");
        assert!(retry.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{target}: {retry}");
    }
    let views = service.registry.views(service.registry.now(), |_| true);
    assert!(views.iter().all(|view| view.record.last_signal().is_none()));
}

#[tokio::test]
async fn what_a_pause_means_to_each() {
    let dir = Dir::new();
    let (server, service) = server(&dir, true).await;
    let registry = &service.registry;
    let job = registry.find(Lookup::Id("60y4E")).unwrap();
    let push = registry.find(Lookup::Token("hunter2-token")).unwrap();
    let state = |heartbeat: &Arc<_>| {
        let heartbeat: &Arc<heartbeat_exporter::heartbeat::registry::Heartbeat> = heartbeat;
        heartbeat.view(registry.now()).status.state.as_str()
    };
    registry.pause(&push, None).await.unwrap();
    let got = ask(&server, "GET", "/api/push/hunter2-token", &[], "").await;
    assert_eq!(got, r#"404 - {"ok":false,"msg":"Monitor not found or not active."}"#);
    // Maintenance, which ends by itself.
    let later = registry.now() + chrono::TimeDelta::hours(1);
    registry.pause(&push, Some(later)).await.unwrap();
    assert_eq!(ask(&server, "GET", "/api/push/hunter2-token", &[], "").await, r#"200 - {"ok":true}"#);
    assert_eq!(state(&push), "paused");

    // healthchecks: the next sign of life ends a pause; a start and a log do not.
    registry.pause(&job, None).await.unwrap();
    for (path, want) in [("/start", "paused"), ("/log", "paused"), ("", "up")] {
        assert_eq!(ask(&server, "GET", &format!("/ping/{UUID}{path}"), &[], "").await, "200 - OK");
        assert_eq!(state(&job), want, "{path}");
    }
    // Unless somebody has to end it: then nothing counts, before method and words are looked at.
    let kept = registry.find(Lookup::Id("kept")).unwrap();
    registry.pause(&kept, None).await.unwrap();
    let address = format!("/ping/{}0", &UUID[..UUID.len() - 1]);
    for (method, body) in [("POST", "OK"), ("GET", ""), ("POST", "no word")] {
        assert_eq!(ask(&server, method, &address, &[], body).await, "200 - OK");
        assert_eq!((state(&kept), kept.view(registry.now()).record.last_signal()), ("paused", None));
    }
    let told = ask(&server, "GET", "/heartbeats/metrics", &[], "").await;
    for (reason, want) in [("keyword", 0), ("method", 0), ("paused", 4)] {
        let line = format!("heartbeat_receiver_rejected_total{{reason=\"{reason}\"}} {want}");
        assert!(told.lines().any(|other| other == line), "{line}");
    }
    registry.resume(&kept).await.unwrap();
    assert_eq!(ask(&server, "POST", &address, &[], "OK").await, "200 - OK");
    assert_eq!(state(&kept), "up");

    // With ours somebody has to end it.
    registry.pause(&job, None).await.unwrap();
    assert!(ask(&server, "GET", "/heartbeat/job", &[], "").await.starts_with("200 "));
    assert_eq!(state(&job), "paused");
}
