//! `/heartbeat/…`: every request with its whole answer, then what became of the heartbeat.

use std::fmt::Write as _;

use crate::support::exporter::{Dir, Exporter};
use crate::support::session::Session;

const CONFIG: &str = r#"
heartbeats:
  provision: {patterns: ["auto-*"], limit: 2, template: {every: 1h}}
  services:
    plain: {every: 1h}
    first: {every: 1h, grace: 10m}
    locked: {every: 1h, token: s3cret-locked, id: k9}
    nightly: {cron: "30 2 * * *", namespace: batch}
    start: {every: 1h, namespace: batch}
    values: {every: 1h, values: [rows, "disk:/var"]}
    data: {every: 1h, alert_on_data: true}
    posted: {every: 1h, methods: POST}
"#;

const JSON: &str = "Content-Type: application/json\r\n";
const TOKEN: &str = "Authorization: Bearer s3cret-locked\r\n";

#[test]
fn every_request_has_its_answer() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let told = |name: &str, state: &str| {
        format!(
            r#"200 {{"deadline":null,"expected":null,"heartbeat":"{name}","reason":null,"repeated":false,"state":"{state}"}}"#
        )
    };
    let contact = |name: &str, state: &str, reason: &str| {
        format!(
            r#"200 {{"deadline":T,"expected":T,"heartbeat":"{name}","reason":{reason},"repeated":false,"state":"{state}"}}"#
        )
    };
    let error = |status: u16, why: &str| format!(r#"{status} {{"error":"{why}"}}"#);
    let unknown = || error(404, "there is no heartbeat of this name");
    let cases: [(&str, &str, &str, &str, String); 32] = [
        ("GET", "plain/log", "", "", told("default/plain", "new")),
        ("POST", "plain/start", "", "", told("default/plain", "running")),
        ("GET", "plain", "", "", contact("default/plain", "up", "null")),
        ("GET", "plain/", "", "", contact("default/plain", "up", "null")),
        ("GET", "default/plain/0", "", "", contact("default/plain", "up", "null")),
        ("POST", "plain/fail", "", "out of memory", contact("default/plain", "down", r#""failed""#)),
        ("POST", "plain/137", "", "", contact("default/plain", "down", r#""failed""#)),
        ("HEAD", "plain", "", "", "200".to_owned()),
        ("POST", "plain", JSON, "{}", contact("default/plain", "up", "null")),
        ("POST", "plain", JSON, r#"{"exit_code":1}"#, contact("default/plain", "down", r#""failed""#)),
        ("POST", "plain", "", "{not json", contact("default/plain", "up", "null")),
        ("GET", "batch/nightly", "", "", contact("batch/nightly", "up", "null")),
        ("GET", "batch/nightly/start?rid=a", "", "", contact("batch/nightly", "running", "null")),
        // A verb is a verb; with a further part it is a name.
        ("GET", "batch/start", "", "", unknown()),
        ("GET", "batch/start/0", "", "", contact("batch/start", "up", "null")),
        ("GET", "nightly", "", "", unknown()),
        ("GET", "none", "", "", unknown()),
        ("GET", "plain/nonsense", "", "", unknown()),
        ("GET", "default/plain/nonsense", "", "", unknown()),
        ("GET", "%20", "", "", unknown()),
        ("GET", "plain/3221225786", "", "", error(400, "there is no such exit code")),
        ("GET", "locked", "", "", error(401, "this heartbeat needs its token")),
        ("GET", "k9", "", "", error(401, "this heartbeat needs its token")),
        ("GET", "locked", "Authorization: Bearer wrong\r\n", "", error(401, "wrong token")),
        ("GET", "locked", TOKEN, "", contact("default/locked", "up", "null")),
        ("GET", "k9", TOKEN, "", contact("default/locked", "up", "null")),
        ("GET", "s3cret-locked/log", "", "", contact("default/locked", "up", "null")),
        ("GET", "s3cret-lockeD/log", "", "", unknown()),
        ("PUT", "plain", "", "", error(405, "method not allowed")),
        ("OPTIONS", "plain", "", "", error(405, "method not allowed")),
        (
            "POST",
            "plain",
            JSON,
            r#"{"heartbeat":"x"}"#,
            error(400, "heartbeat and token belong into a batch"),
        ),
        ("GET", "data?data=disk%20full", "", "", contact("default/data", "down", r#""data""#)),
    ];
    for (method, path, headers, body, want) in cases {
        let got = session.ask(method, &format!("/heartbeat/{path}"), headers, body.as_bytes());
        assert_eq!(got.brief(), want, "{method} {path}");
    }
    assert_eq!(exporter.heartbeat("plain"), "up fail=3 log=1 start=1 success=6");
    assert_eq!(exporter.heartbeat("locked"), "up log=1 success=2");
    assert_eq!(exporter.heartbeat("batch/nightly"), "running start=1 success=1");
    let rejected = ["auth", "method", "request", "unknown"].map(|reason| exporter.rejected(reason));
    assert_eq!(rejected, [3.0, 2.0, 2.0, 7.0].map(Some));
    let requests = |code| {
        exporter.metric(&format!("heartbeat_receiver_requests_total{{api=\"native\",code=\"{code}\"}}"))
    };
    let requests = ["200", "400", "401", "404", "405"].map(requests);
    assert_eq!(requests, [18.0, 2.0, 3.0, 7.0, 2.0].map(Some));
}

#[test]
fn whole_heads() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let mut head = |method: &str, path: &str| session.ask(method, path, "", b"").head();
    let cache = "cache-control: max-age=0, no-cache, no-store, must-revalidate, private\n";
    let json = "content-type: application/json\n";
    let taken = format!("{json}ping-body-limit: 10000\nheartbeat-interval: 3600\n{cache}");
    assert_eq!(head("GET", "/heartbeat/plain"), taken);
    assert_eq!(head("HEAD", "/heartbeat/plain"), taken);
    // Not every schedule has a period.
    assert_eq!(head("GET", "/heartbeat/batch/nightly"), format!("{json}ping-body-limit: 10000\n{cache}"));
    assert_eq!(head("GET", "/heartbeat/none"), format!("{json}{cache}"));
    assert_eq!(head("GET", "/heartbeat/locked"), format!("{json}www-authenticate: Bearer\n{cache}"));
    assert_eq!(head("DELETE", "/heartbeat/plain"), format!("{json}allow: GET, HEAD, POST\n{cache}"));
}

#[test]
fn what_a_report_says_is_kept() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let report = r#"{"run":"r1","seq":5,"incarnation":"boot-1","duration_seconds":1.5,"exit_code":0,"progress":17,
        "sent_at":"2026-03-01T00:00:00Z","values":{"rows":42,"disk:/var":0.5,"other":1},"message":"all done"}"#;
    assert_eq!(session.ask("POST", "/heartbeat/values", JSON, report.as_bytes()).status, 200);
    let value = |metric, labels| exporter.of_heartbeat("values", metric, labels);
    let kept = [
        value("heartbeat_payload_value", ",key=\"rows\""),
        value("heartbeat_payload_value", ",key=\"disk:/var\""),
        value("heartbeat_payload_value", ",key=\"other\""),
        value("heartbeat_last_run_duration_seconds", ""),
        value("heartbeat_last_exit_code", ""),
        value("heartbeat_progress_unchanged_runs", ""),
    ];
    assert_eq!(kept, [Some(42.0), Some(0.5), None, Some(1.5), Some(0.0), Some(1.0)]);
    // The same by a query: the sequence has a gap, the incarnation is new, the progress is not.
    let query = "run=r2&seq=8&incarnation=boot-1&progress=17&value=rows:43";
    assert_eq!(session.ask("GET", &format!("/heartbeat/values?{query}"), "", b"").status, 200);
    assert_eq!(session.ask("GET", "/heartbeat/values?seq=1&incarnation=boot-2", "", b"").status, 200);
    let kept = [
        value("heartbeat_payload_value", ",key=\"rows\""),
        value("heartbeat_sequence_gaps_total", ""),
        value("heartbeat_restarts_total", ""),
        value("heartbeat_progress_unchanged_runs", ""),
    ];
    assert_eq!(kept, [Some(43.0), Some(2.0), Some(1.0), Some(2.0)]);
}

#[test]
fn f7_a_get_is_no_signal_where_only_post_is() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    for (method, state, rejected, times) in [
        ("GET", "new", 1.0, ""),
        ("HEAD", "new", 2.0, ""),
        ("POST", "up", 2.0, " success=1"),
        ("GET", "up", 3.0, " success=1"),
    ] {
        assert_eq!(session.ask(method, "/heartbeat/posted", "", b"").status, 200);
        assert_eq!(exporter.heartbeat("posted"), format!("{state}{times}"), "{method}");
        assert_eq!(exporter.rejected("method"), Some(rejected), "{method}");
    }
}

#[test]
fn what_runs_took_and_how_late_they_were_is_counted() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let count = |metric: &str, labels: &str| exporter.of_heartbeat("plain", metric, labels);
    assert_eq!(count("heartbeat_run_duration_seconds_count", ""), None);
    for seconds in ["0.5", "45"] {
        let body = format!(r#"{{"duration_seconds":{seconds}}}"#);
        assert_eq!(session.ask("POST", "/heartbeat/plain", JSON, body.as_bytes()).status, 200);
    }
    assert_eq!(count("heartbeat_run_duration_seconds_sum", ""), Some(45.5));
    assert_eq!(count("heartbeat_run_duration_seconds_count", ""), Some(2.0));
    for (bound, want) in [("1.0", 1.0), ("30.0", 1.0), ("60.0", 2.0), ("+Inf", 2.0)] {
        let label = format!(",le=\"{bound}\"");
        assert_eq!(count("heartbeat_run_duration_seconds_bucket", &label), Some(want), "{bound}");
    }
    // The first signal has no slot; the second is an hour early.
    assert_eq!(count("heartbeat_lateness_seconds_bucket", ",le=\"0.0\""), Some(1.0));
}

#[test]
fn signals_that_tell_when_they_were_sent_are_measured() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let count = |metric: &str, labels: &str| exporter.of_heartbeat("plain", metric, labels);
    session.ask("POST", "/heartbeat/plain", "", b"");
    assert_eq!(count("heartbeat_transit_seconds_count", ""), None);
    // One day is all that a clock which was never set adds to the sum.
    session.ask("POST", "/heartbeat/plain?sent_at=5", "", b"");
    session.ask("POST", "/heartbeat/plain", JSON, br#"{"sent_at":"2999-01-01T00:00:00Z"}"#);
    let batch = br#"[{"heartbeat":"plain","sent_at":1}]"#;
    assert_eq!(session.ask("POST", "/heartbeat", JSON, batch).status, 200);
    for (bound, want) in [("0.0", 1.0), ("3600.0", 1.0), ("+Inf", 3.0)] {
        let label = format!(",le=\"{bound}\"");
        assert_eq!(count("heartbeat_transit_seconds_bucket", &label), Some(want), "{bound}");
    }
    assert_eq!(count("heartbeat_transit_seconds_sum", ""), Some(172_800.0));
    assert_eq!(exporter.heartbeat("plain"), "up success=4");
}

#[test]
fn h3_a_repeated_request_counts_once() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    session.ask("GET", "/heartbeat/plain/start?run=a", "", b"");
    for (repeated, _) in [("false", 1), ("true", 2)] {
        let got = session.ask("GET", "/heartbeat/plain/0?run=a", "", b"").brief();
        assert!(got.contains(&format!("\"repeated\":{repeated}")), "{got}");
    }
    assert_eq!(exporter.heartbeat("plain"), "up ignored=1 start=1 success=1");
}

#[test]
fn h4_a_start_that_comes_too_late_opens_nothing() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    session.ask("GET", "/heartbeat/plain?run=a", "", b"");
    session.ask("GET", "/heartbeat/plain/start?run=a", "", b"");
    assert_eq!(exporter.heartbeat("plain"), "up start=1 success=1");
    assert_eq!(exporter.of_heartbeat("plain", "heartbeat_reordered_pings_total", ""), Some(1.0));
}

#[test]
fn f4_an_overlapping_run_stays_open() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    for path in ["start?run=a", "start?run=b", "0?run=b"] {
        session.ask("GET", &format!("/heartbeat/plain/{path}"), "", b"");
    }
    assert_eq!(exporter.heartbeat("plain"), "running start=2 success=1");
    assert_eq!(exporter.of_heartbeat("plain", "heartbeat_runs_in_progress", ""), Some(1.0));
}

#[test]
fn c5_the_clock_of_the_sender_decides_nothing() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    session.ask("GET", "/heartbeat/plain", "", b"");
    for sent_at in ["2099-01-01T00:00:00Z", "1970-01-01T00:00:00Z"] {
        let body = format!(r#"{{"sent_at":"{sent_at}"}}"#);
        assert_eq!(session.ask("POST", "/heartbeat/first", JSON, body.as_bytes()).status, 200);
        let last = ",signal=\"success\"";
        let last = |name| exporter.of_heartbeat(name, "heartbeat_last_ping_timestamp_seconds", last).unwrap();
        let deadline =
            |name| exporter.of_heartbeat(name, "heartbeat_deadline_timestamp_seconds", "").unwrap();
        assert!((last("first") - last("plain")).abs() < 60.0);
        assert!((deadline("first") - last("first") - 4200.0).abs() < 0.01);
    }
}

#[test]
fn f17_a_heartbeat_is_made_only_as_allowed() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let mut status = |path: &str| session.ask("GET", &format!("/heartbeat/{path}"), "", b"").status;
    // A typo, a name that matches, the same again, a second, and one too many.
    let got = ["palin", "auto-1", "auto-1/fail", "auto-2/start", "auto-3", "auto-%20"].map(&mut status);
    assert_eq!(got, [404, 201, 200, 201, 403, 404]);
    assert_eq!(exporter.heartbeat("auto-1"), "down fail=1 success=1");
    assert_eq!(exporter.heartbeat("auto-2"), "running start=1");
    assert_eq!([exporter.rejected("unknown"), exporter.rejected("quota")], [Some(2.0), Some(1.0)]);
}

#[test]
fn f16_a_limit_never_hides_a_change() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let mut limited = None;
    for _ in 0..200 {
        let reply = session.ask("GET", "/heartbeat/plain", "", b"");
        if reply.status != 200 {
            limited = Some(reply);
            break;
        }
    }
    let limited = limited.expect("a limit");
    assert_eq!(limited.brief(), r#"429 {"error":"too many signals"}"#);
    let seconds: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(exporter.rejected("rate"), Some(1.0));
    // The connection lives, and what changes something is taken.
    for (path, state) in [("plain/fail", "down"), ("plain", "up"), ("plain/start?run=a", "running")] {
        assert_eq!(session.ask("GET", &format!("/heartbeat/{path}"), "", b"").status, 200, "{path}");
        assert!(exporter.heartbeat("plain").starts_with(state), "{path}");
    }
}

#[test]
fn a_batch_tells_about_each_signal() {
    let exporter = Exporter::start(CONFIG, &[]);
    let mut session = Session::open(&exporter);
    let mut batch = |body: &str| session.ask("POST", "/heartbeat", JSON, body.as_bytes());
    let reply = batch(
        r#"[{"heartbeat":"plain","signal":"start","run":"a"},{"heartbeat":"plain","run":"a","exit_code":0},
            {"heartbeat":"batch/nightly","signal":"log"},{"heartbeat":"locked","token":"s3cret-locked","signal":"log"},
            {"heartbeat":"s3cret-locked","signal":"log"}]"#,
    );
    let result = |name: &str, state: &str, time: &str| {
        format!(
            r#"{{"deadline":{time},"expected":{time},"heartbeat":"{name}","reason":null,"repeated":false,"state":"{state}","status":200}}"#
        )
    };
    let results = [
        result("default/plain", "running", "null"),
        result("default/plain", "up", "T"),
        result("batch/nightly", "new", "null"),
        result("default/locked", "new", "null"),
        result("default/locked", "new", "null"),
    ];
    assert_eq!(reply.brief(), format!(r#"200 {{"results":[{}]}}"#, results.join(",")));
    assert_eq!(exporter.heartbeat("plain"), "up start=1 success=1");

    let reply = batch(r#"[{"heartbeat":"none"},{"heartbeat":"locked"},{"heartbeat":"plain"},{}]"#);
    let want = format!(
        r#"401 {{"results":[{{"error":"there is no heartbeat of this name","status":404}},{{"error":"this heartbeat needs its token","status":401}},{},{{"error":"heartbeat is missing","status":400}}]}}"#,
        result("default/plain", "up", "T")
    );
    assert_eq!(reply.brief(), want);
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    let rejected = ["auth", "request", "unknown"].map(|reason| exporter.rejected(reason));
    assert_eq!(rejected, [Some(1.0); 3]);

    let mut many = "[".to_owned();
    for at in 0..1001 {
        write!(many, r#"{}{{"heartbeat":"plain"}}"#, if at == 0 { "" } else { "," }).unwrap();
    }
    many.push(']');
    assert_eq!(batch(&many).brief(), r#"400 {"error":"a batch has at most 1000 signals"}"#);
    let broken = batch("[{]").brief();
    assert!(broken.starts_with(r#"400 {"error":"the batch cannot be read: "#), "{broken}");
    assert_eq!(batch("[]").brief(), r#"200 {"results":[]}"#);
    assert_eq!(session.ask("GET", "/heartbeat", "", b"").brief(), r#"405 {"error":"method not allowed"}"#);
}

#[test]
fn r4_what_was_acknowledged_survives_a_kill() {
    let mut exporter = Exporter::start(CONFIG, &[]);
    let address = exporter.address;
    let sender = std::thread::spawn(move || {
        let mut acknowledged = 0;
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        loop {
            use std::io::{Read as _, Write as _};
            let sequence = acknowledged + 1;
            let request = format!("GET /heartbeat/plain/start?run={sequence} HTTP/1.1\r\nHost: x\r\n\r\n");
            let mut reply = [0; 1024];
            match stream.write_all(request.as_bytes()).and_then(|()| stream.read(&mut reply)) {
                Ok(read) if reply[..read].starts_with(b"HTTP/1.1 200 OK\r\n") => acknowledged = sequence,
                _ => return acknowledged,
            }
        }
    });
    exporter.wait_for_metric(
        "heartbeat_pings_total{namespace=\"default\",heartbeat=\"plain\",signal=\"start\"}",
        0.0,
    );
    while exporter.of_heartbeat("plain", "heartbeat_pings_total", ",signal=\"start\"") < Some(20.0) {}
    exporter.signal("KILL");
    let acknowledged = f64::from(sender.join().unwrap());
    assert!(acknowledged >= 20.0);
    exporter.wait();
    let dir = std::mem::replace(&mut exporter.dir, Dir::new());
    let exporter = Exporter::start_in(dir, &["--config.file=c.yml", "--web.listen-address=127.0.0.1:0"]);
    let kept = exporter.of_heartbeat("plain", "heartbeat_pings_total", ",signal=\"start\"").unwrap();
    assert!(kept == acknowledged || kept == acknowledged + 1.0, "{kept} of {acknowledged}");
}
