//! `/api/v1/heartbeats/…`: heartbeats are made, changed, paused and removed while the exporter runs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::support::exporter::{Dir, Exporter, PATIENCE, Reply};

/// The password is `pass word`.
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.";
const ALICE: &str = "alice:pass word";

fn config(users: &str) -> String {
    format!(
        "modules:\n  tcp: {{prober: tcp}}\nheartbeats:\n{users}  services:\n    \
         fixed: {{every: 2h, id: fix, token: s3cret, labels: {{team: a}}}}\n"
    )
}

fn with_users() -> String {
    config(&format!("  users: {{alice: {HASH}}}\n"))
}

fn send(exporter: &Exporter, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut stream = TcpStream::connect(exporter.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).unwrap();
    Reply::parse(&raw)
}

/// As Alice, with JSON, to `/api/v1/heartbeats…`: status and JSON, nothing for no body.
fn ask(exporter: &Exporter, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let authorization = format!("Basic {}", BASE64.encode(ALICE.as_bytes()));
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let reply = send(exporter, method, &format!("/api/v1/heartbeats{path}"), &headers, &body);
    let json = if reply.body.is_empty() { Value::Null } else { serde_json::from_slice(&reply.body).unwrap() };
    (reply.status, json)
}

fn error(why: &str) -> Value {
    json!({ "error": why })
}

/// Takes out what no two runs share, after a look at it.
fn steady(mut answer: Value) -> Value {
    for name in ["created_timestamp_seconds", "state_change_timestamp_seconds"] {
        let seconds = answer[name].take();
        assert!(seconds.as_f64().unwrap() > 1.6e9, "{name}: {seconds}");
    }
    answer
}

#[test]
fn a_heartbeat_from_its_making_to_its_end() {
    let exporter = Exporter::start(&with_users(), &[]);
    let wish = json!({
        "namespace": "batch", "name": "nightly", "cron": "30 2 * * *", "tz": "Europe/Berlin", "grace": "30m",
        "max_runtime": "2h", "id": "60y4E", "uuid": "5c1f0000-0000-4000-8000-000000000000", "token": "t0p",
        "tags": ["prod"], "labels": {"team": "infra"}, "values": ["rows"],
        "on_miss": {"module": "tcp", "target": "127.0.0.1:1"},
    });
    let definition = json!({
        "cron": "30 2 * * *", "tz": "Europe/Berlin", "grace": "30m0s", "max_runtime": "2h0m0s", "id": "60y4E",
        "tags": ["prod"], "labels": {"team": "infra"}, "values": ["rows"],
        "on_miss": {"module": "tcp", "target": "127.0.0.1:1", "attempts": 1},
    });
    let want = json!({
        "namespace": "batch", "name": "nightly", "origin": "api", "state": "new", "reason": null,
        "schedule": {"kind": "cron", "text": "30 2 * * *", "tz": "Europe/Berlin"}, "grace_seconds": 1800.0,
        "tags": ["prod"], "labels": {"team": "infra"}, "created_timestamp_seconds": null,
        "state_change_timestamp_seconds": null, "expected_timestamp_seconds": null,
        "deadline_timestamp_seconds": null, "run_deadline_timestamp_seconds": null,
        "paused_until_timestamp_seconds": null, "runs_in_progress": 0, "last_timestamp_seconds": {},
        "last_exit_code": null, "last_run_duration_seconds": null, "values": {}, "text": "", "episode": null,
        "definition": definition, "has_uuid": true, "has_token": true,
    });
    let (status, answer) = ask(&exporter, "POST", "", &wish);
    assert_eq!((status, steady(answer)), (201, want.clone()));
    assert_eq!(ask(&exporter, "POST", "", &wish), (409, error("there is a heartbeat of that name")));
    let (status, answer) = ask(&exporter, "GET", "/batch/nightly", &Value::Null);
    assert_eq!((status, steady(answer)), (200, want.clone()));

    // A change keeps what it does not name.
    let patch = json!({"grace": "45m", "labels": {"shift": "late"}, "tags": null, "token": null});
    let (status, answer) = ask(&exporter, "PATCH", "/batch/nightly", &patch);
    let mut changed = want;
    changed["grace_seconds"] = json!(2700.0);
    changed["tags"] = json!([]);
    changed["labels"]["shift"] = "late".into();
    changed["definition"]["grace"] = "45m0s".into();
    changed["definition"]["labels"]["shift"] = "late".into();
    changed["definition"].as_object_mut().unwrap().remove("tags");
    changed["has_token"] = false.into();
    assert_eq!((status, steady(answer)), (200, changed));

    // A replacement keeps only the addresses.
    let (status, answer) =
        ask(&exporter, "PUT", "/batch/nightly", &json!({"every": "1h", "name": "nightly"}));
    let kept = json!({"every": "1h0m0s", "grace": "5m0s", "id": "60y4E"});
    assert_eq!((status, &answer["definition"], &answer["has_uuid"]), (200, &kept, &json!(true)));

    let listed = ask(&exporter, "GET", "?namespace=batch", &Value::Null).1;
    assert_eq!((&listed["matching"], &listed["heartbeats"][0]["name"]), (&json!(1), &json!("nightly")));
    assert_eq!(ask(&exporter, "DELETE", "/batch/nightly", &Value::Null), (204, Value::Null));
    let gone = (404, error("there is no heartbeat of that name"));
    for (method, body) in [("DELETE", Value::Null), ("GET", Value::Null), ("PATCH", json!({"every": "1h"}))] {
        assert_eq!(ask(&exporter, method, "/batch/nightly", &body), gone, "{method}");
    }
    let requests = "heartbeat_receiver_requests_total{api=\"manage\",code=\"404\"}";
    assert_eq!(exporter.metric(requests), Some(3.0));
}

#[test]
fn without_an_id_one_is_made_up() {
    let exporter = Exporter::start(&with_users(), &[]);
    let reply = {
        let authorization = format!("Basic {}", BASE64.encode(ALICE.as_bytes()));
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        send(&exporter, "PUT", "/api/v1/heartbeats/default/job", &headers, "{\"every\": \"1h\"}")
    };
    assert_eq!((reply.status, reply.header("location")), (201, Some("/api/v1/heartbeats/default/job")));
    let answer: Value = serde_json::from_slice(&reply.body).unwrap();
    let id = answer["definition"]["id"].as_str().unwrap().to_owned();
    assert!(id.len() == 5 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    let (_, again) = ask(&exporter, "PUT", "/default/job", &json!({"every": "2h"}));
    assert_eq!(again["definition"], json!({"every": "2h0m0s", "grace": "5m0s", "id": id}));
    let (status, none) = ask(&exporter, "PATCH", "/default/job", &json!({"id": null}));
    assert_eq!((status, &none["definition"]["id"]), (200, &Value::Null));
}

#[test]
fn pause_maintenance_and_resume() {
    let exporter = Exporter::start(&with_users(), &[]);
    let state = |(status, answer): (u16, Value)| {
        let until = answer["paused_until_timestamp_seconds"].as_f64();
        (status, answer["state"].as_str().unwrap_or_default().to_owned(), until)
    };
    // What the file defines can be paused, too.
    let paused = ask(&exporter, "POST", "/default/fixed/pause", &Value::Null);
    assert_eq!(state(paused), (200, "paused".to_owned(), None));
    let resumed = ask(&exporter, "POST", "/default/fixed/resume", &Value::Null);
    assert_eq!(state(resumed), (200, "new".to_owned(), None));
    let again = ask(&exporter, "POST", "/default/fixed/resume", &Value::Null);
    assert_eq!(again, (409, error("the heartbeat is not paused")));
    let until = json!({"until": "2100-01-01T00:00:00Z"});
    let maintained = ask(&exporter, "POST", "/default/fixed/maintenance", &until);
    assert_eq!(state(maintained), (200, "paused".to_owned(), Some(4_102_444_800.0)));
    let short = ask(&exporter, "POST", "/default/fixed/maintenance", &json!({"for": "200ms"}));
    assert_eq!(state(short).1, "paused");
    let end = std::time::Instant::now() + PATIENCE;
    while state(ask(&exporter, "GET", "/default/fixed", &Value::Null)).1 != "new" {
        assert!(std::time::Instant::now() < end);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let none = ask(&exporter, "POST", "/default/fixed/maintenance", &Value::Null);
    assert_eq!(none, (400, error("a maintenance needs its end, as until or as for")));
}

#[test]
fn what_is_refused() {
    let exporter = Exporter::start(&with_users(), &[]);
    let (status, _) = ask(&exporter, "POST", "", &json!({"name": "taken", "every": "1h", "id": "tkn"}));
    assert_eq!(status, 201);
    let long = "x".repeat(70_000);
    let cases = [
        ("POST", "", json!({"every": "1h"}), 400, "name is missing"),
        ("POST", "", json!({"name": 5, "every": "1h"}), 400, "name must be text"),
        (
            "POST",
            "",
            json!({"name": "a b", "every": "1h"}),
            400,
            "the name \"a b\" contains ' '; letters, digits and -_.~ are allowed",
        ),
        ("POST", "", json!([]), 400, "the body must be a JSON object"),
        (
            "PUT",
            "/default/new",
            Value::Null,
            400,
            "the heartbeat cannot be used: it needs exactly one of every, cron, calendar and at",
        ),
        ("PUT", "/default/new", json!({"every": "10ms"}), 400, "every must be at least a second, got 10ms"),
        (
            "PUT",
            "/default/new",
            json!({"every": "1h", "name": "old"}),
            400,
            "name is not that of the address",
        ),
        ("PUT", "/default/new", json!({"every": "1h", "id": "fix"}), 409, "another heartbeat has this id"),
        (
            "PUT",
            "/default/new",
            json!({"every": "1h", "token": "s3cret"}),
            409,
            "another heartbeat has this token",
        ),
        (
            "PUT",
            "/default/new",
            json!({"every": "1h", "on_miss": {"module": "none", "target": "x"}}),
            400,
            "on_miss wants a probe with module \"none\", and there is none of that name",
        ),
        (
            "PUT",
            "/default/new",
            json!({"every": "1h", "tags": [long]}),
            413,
            "the body is longer than 65536 bytes",
        ),
        (
            "PATCH",
            "/default/fixed",
            json!({"every": "1h"}),
            409,
            "the configuration file defines this heartbeat; it is changed there",
        ),
        (
            "PUT",
            "/default/fixed",
            json!({"every": 1}),
            409,
            "the configuration file defines this heartbeat; it is changed there",
        ),
        (
            "DELETE",
            "/default/fixed",
            Value::Null,
            409,
            "the configuration file defines this heartbeat; it is changed there",
        ),
        (
            "PATCH",
            "/default/taken",
            json!({"grace": "0s"}),
            400,
            "grace must be positive: no signal comes to the nanosecond",
        ),
        (
            "GET",
            "/default/no:good",
            Value::Null,
            400,
            "the name \"no:good\" contains ':'; letters, digits and -_.~ are allowed",
        ),
        ("GET", "/default/taken/nothing", Value::Null, 404, "there is nothing at this address"),
        (
            "POST",
            "/default/taken",
            Value::Null,
            405,
            "the method must be one of GET, HEAD, PUT, PATCH, DELETE",
        ),
        ("OPTIONS", "", Value::Null, 405, "the method must be one of GET, HEAD, POST"),
        ("GET", "/default/taken/pause", Value::Null, 405, "the method must be one of POST"),
        (
            "GET",
            "/default/taken/messages?limit=-1",
            Value::Null,
            400,
            "limit must be a whole number, 0 or more",
        ),
    ];
    for (method, path, body, status, why) in cases {
        assert_eq!(ask(&exporter, method, path, &body), (status, error(why)), "{method} {path} {body:.80}");
    }
    // Nothing of it has left a trace.
    let (_, listed) = ask(&exporter, "GET", "", &Value::Null);
    let names: Vec<&Value> =
        listed["heartbeats"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["fixed", "taken"]);
    let (_, taken) = ask(&exporter, "GET", "/default/taken", &Value::Null);
    assert_eq!(taken["definition"], json!({"every": "1h0m0s", "grace": "5m0s", "id": "tkn"}));

    let authorization = format!("Basic {}", BASE64.encode(ALICE.as_bytes()));
    let base = [("Authorization", authorization.as_str())];
    let put = |headers: &[(&str, &str)], body: &str| {
        let headers = [&base[..], headers].concat();
        let reply = send(&exporter, "PUT", "/api/v1/heartbeats/default/x", &headers, body);
        assert_eq!(reply.header("access-control-allow-origin"), None);
        (reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap()["error"].take())
    };
    let json = ("Content-Type", "application/json; charset=utf-8");
    let elsewhere = "pages of other sites may not change anything here";
    let type_is_missing = "the body must be JSON, and Content-Type must say application/json";
    let no_json = "the body is not JSON: EOF while parsing an object at line 1 column 1";
    assert_eq!(put(&[], "{}"), (415, type_is_missing.into()));
    assert_eq!(put(&[json], "{"), (400, no_json.into()));
    assert_eq!(put(&[json, ("Origin", "https://evil.test")], "{}"), (403, elsewhere.into()));
    assert_eq!(put(&[json, ("Sec-Fetch-Site", "cross-site")], "{}"), (403, elsewhere.into()));
    assert_eq!(put(&[json, ("Origin", "http://x")], "{\"every\": \"1h\"}"), (201, Value::Null));
}

#[test]
fn only_users_come_in() {
    let exporter = Exporter::start(&with_users(), &[]);
    let path = "/api/v1/heartbeats/default/fixed";
    let wrong = format!("Basic {}", BASE64.encode(b"alice:password"));
    for headers in [&[][..], &[("Authorization", wrong.as_str())], &[("Authorization", "Bearer s3cret")]] {
        for method in ["GET", "PUT", "DELETE"] {
            let reply = send(&exporter, method, path, headers, "");
            let challenge = "Basic realm=\"heartbeats\", charset=\"UTF-8\"";
            assert_eq!(reply.header("www-authenticate"), Some(challenge));
            let (status, _, text) = reply.parts();
            assert_eq!(
                (status, text.as_str()),
                (401, "{\"error\":\"the name and password of a user are needed\"}\n")
            );
        }
    }
    assert_eq!(send(&exporter, "GET", &format!("{path}/messages"), &[], "").status, 401);
    assert_eq!(send(&exporter, "POST", "/api/v1/heartbeats", &[], "").status, 401);

    let off = Exporter::start(&config(""), &[]);
    let why = "managing heartbeats is switched off: neither heartbeats.users nor the web configuration names a user";
    for (method, path) in [("GET", path), ("DELETE", path), ("POST", "/api/v1/heartbeats")] {
        let reply = send(&off, method, path, &[], "");
        assert_eq!((reply.status, reply.text()), (403, format!("{}\n", error(why))), "{method}");
    }
    let none = Exporter::start("modules: {}\n", &[]);
    assert_eq!(send(&none, "GET", path, &[], "").status, 404);
}

#[test]
fn users_of_the_web_configuration_are_enough() {
    let dir = Dir::new();
    dir.write("c.yml", &config(""));
    dir.write("web.yml", &format!("basic_auth_users: {{alice: {HASH}}}\n"));
    let args = ["--config.file=c.yml", "--web.config.file=web.yml", "--web.listen-address=127.0.0.1:0"];
    let exporter = Exporter::start_in(dir, &args);
    assert_eq!(ask(&exporter, "POST", "", &json!({"name": "made", "every": "1h"})).0, 201);
    assert_eq!(send(&exporter, "DELETE", "/api/v1/heartbeats/default/made", &[], "").status, 401);
}

#[test]
fn a_restart_keeps_what_was_made() {
    let args = ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0"];
    let mut exporter = Exporter::start(&with_users(), &[]);
    let wish = json!({
        "name": "kept", "at": "16:05", "until": "18:00", "tz": "Asia/Shanghai", "id": "abc", "token": "t0p-s3cret",
        "uuid": "5c1f0000-0000-4000-8000-00000000abcd", "adaptive": {"threshold": 9, "floor": "2s"},
    });
    assert_eq!(ask(&exporter, "POST", "", &wish).0, 201);
    for name in ["paused", "gone"] {
        assert_eq!(ask(&exporter, "POST", "", &json!({"name": name, "every": "1h"})).0, 201);
    }
    assert_eq!(ask(&exporter, "POST", "/default/paused/pause", &Value::Null).0, 200);
    assert_eq!(ask(&exporter, "DELETE", "/default/gone", &Value::Null).0, 204);
    let before = ask(&exporter, "GET", "/default/kept", &Value::Null);

    exporter.signal("KILL");
    exporter.wait();
    // Secrets are in the store as hashes only.
    for entry in std::fs::read_dir(exporter.dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [&b"t0p-s3cret"[..], b"00000000abcd"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
    let mut exporter = Exporter::start_in(std::mem::replace(&mut exporter.dir, Dir::new()), &args);
    assert_eq!(ask(&exporter, "GET", "/default/kept", &Value::Null), before);
    assert_eq!(ask(&exporter, "GET", "/default/paused", &Value::Null).1["state"], "paused");
    assert_eq!(ask(&exporter, "GET", "/default/gone", &Value::Null).0, 404);
    // They are found by it all the same.
    let thief = json!({"name": "thief", "every": "1h", "token": "t0p-s3cret"});
    assert_eq!(ask(&exporter, "POST", "", &thief), (409, error("another heartbeat has this token")));

    // From now on the file defines it; what the API says comes back when the file does not any more.
    let kept = "    kept: {every: 3h}\n";
    exporter.dir.write("c.yml", &format!("{}{kept}", with_users()));
    assert_eq!(exporter.request("POST", "/-/reload", &[]).status, 200);
    let every = |exporter: &Exporter| {
        ask(exporter, "GET", "/default/kept", &Value::Null).1["definition"]["every"].take()
    };
    let end = std::time::Instant::now() + PATIENCE;
    while every(&exporter) != "3h0m0s" {
        assert!(std::time::Instant::now() < end);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    exporter.signal("TERM");
    exporter.wait();
    exporter.dir.write("c.yml", &with_users());
    let exporter = Exporter::start_in(std::mem::replace(&mut exporter.dir, Dir::new()), &args);
    assert_eq!(ask(&exporter, "GET", "/default/kept", &Value::Null).1["definition"], before.1["definition"]);
}

#[test]
fn what_placeholders_stand_for_is_nowhere() {
    let dir = Dir::new();
    let files = [
        ("secret", "hunter2"),
        ("cron", "31 2 7 * *"),
        ("calendar", "Mon *-*-07 02:31"),
        ("at", "16:07"),
        ("until", "17:08"),
        ("zone", "Asia/Kathmandu"),
        ("period", "1s"),
        ("attempts", "2"),
    ];
    files.iter().for_each(|(name, value)| dir.write(name, value));
    let config = r#"modules: {tcp: {prober: tcp}}
heartbeats:
  ping_key: "${file:secret}"
  users: {alice: $2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.}
  provision: {patterns: [auto-*], template: {cron: "${file:cron}", tz: "${file:zone}", values: ["${file:secret}"]}}
  services:
    job:
      every: "${file:period}"
      grace: 1s
      token: "${file:secret}-token"
      uuid: "${file:secret}-uuid"
      id: "${file:secret}-id"
      values: [rows, "${file:secret}"]
      on_miss: {module: tcp, target: "${file:secret}.invalid:1", attempts: "${file:attempts}"}
    calendar: {calendar: "${file:calendar}", tz: "${file:zone}"}
    window: {at: "${file:at}", until: "${file:until}", tz: "${file:zone}"}
    half: {at: "${file:at}", until: "18:00"}
"#;
    dir.write("c.yml", config);
    let args = ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0", "--log.level=debug"];
    let exporter = Exporter::start_in(dir, &args);
    let look = |place: &str, text: &str| {
        for value in ["hunter2", "31 2 7", "*-07", "16:07", "17:08", "Kathmandu"] {
            assert!(!text.contains(value), "{value} is in {place}: {text}");
        }
    };
    let signal = |path: &str| {
        let report = r#"{"values": {"rows": 1, "hunter2": 2}}"#;
        let reply = send(&exporter, "POST", path, &[("Content-Type", "application/json")], report);
        look(path, &reply.text());
        reply.status
    };
    assert_eq!((signal("/heartbeat/hunter2-token"), signal("/heartbeat/auto-x")), (200, 201));
    // Before the miss, which forgets the numbers.
    let metrics = exporter.get("/metrics").text();
    let of = |job: &str| format!("heartbeat_payload_value{{namespace=\"default\",heartbeat=\"{job}\",key=");
    for line in ["\"${file:secret}\"} 2\n", "\"rows\"} 1\n"] {
        assert!(metrics.contains(&(of("job") + line)), "{line} is not in {metrics}");
    }
    exporter.wait_for_log("Probed after a miss");

    let definition = |name: &str| {
        let (status, answer) = ask(&exporter, "GET", &format!("/default/{name}"), &Value::Null);
        assert_eq!(status, 200, "{name}");
        look(name, &answer.to_string());
        [answer["definition"].clone(), answer["schedule"]["text"].clone(), answer["values"].clone()]
    };
    assert_eq!(
        definition("job"),
        [
            json!({
                "every": "${file:period}", "grace": "1s", "id": "${file:secret}-id", "values": ["rows", "${file:secret}"],
                "on_miss": {"module": "tcp", "target": "${file:secret}.invalid:1", "attempts": "${file:attempts}"},
            }),
            json!("1s"),
            json!({}),
        ]
    );
    let zone = "${file:zone}";
    let window = json!({"at": "${file:at}", "until": "${file:until}", "tz": zone, "grace": "0s"});
    assert_eq!(definition("window"), [window, json!("${file:at}-${file:until}"), json!({})]);
    let half = json!({"at": "${file:at}", "until": "18:00:00", "tz": "UTC", "grace": "0s"});
    assert_eq!(definition("half"), [half, json!("${file:at}-18:00:00"), json!({})]);
    let calendar = json!({"calendar": "${file:calendar}", "tz": zone, "grace": "5m0s"});
    assert_eq!(definition("calendar"), [calendar, json!("${file:calendar}"), json!({})]);
    let made = json!({"cron": "${file:cron}", "tz": zone, "grace": "5m0s", "values": ["${file:secret}"]});
    assert_eq!(definition("auto-x"), [made, json!("${file:cron}"), json!({"${file:secret}": 2.0})]);

    // A change would copy what it does not name.
    let patch = |name: &str| ask(&exporter, "PATCH", &format!("/default/{name}"), &json!({"grace": "1m"}));
    assert_eq!(
        patch("job"),
        (409, error("the configuration file defines this heartbeat; it is changed there"))
    );
    let why = "values of this definition come from placeholders: replace all of it, with PUT";
    assert_eq!(patch("auto-x"), (400, error(why)));
    let authorization = format!("Basic {}", BASE64.encode(ALICE.as_bytes()));
    let mut paths: Vec<String> = ["job", "calendar", "window", "half", "auto-x"]
        .iter()
        .flat_map(|name| {
            let path = format!("/api/v1/heartbeats/default/{name}");
            let page = format!("/heartbeats?name={name}");
            [format!("/probe?module=heartbeat&target={name}"), page, format!("{path}/messages"), path]
        })
        .collect();
    paths.extend(
        [
            "/",
            "/heartbeats",
            "/config",
            "/configuration",
            "/metrics",
            "/heartbeats/metrics",
            "/heartbeats/metrics?profile=minimal",
            "/sd/heartbeats",
            "/api/v1/heartbeats",
            "/api/v1/history",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        let reply = exporter.request("GET", &path, &[("Authorization", &authorization)]);
        assert_eq!(reply.status, 200, "{path}");
        look(&path, &reply.text());
    }
    exporter.log().iter().for_each(|line| look("the log", line));
    assert_eq!(ask(&exporter, "PUT", "/default/auto-x", &json!({"every": "1h"})).0, 200);
    assert_eq!(definition("auto-x")[0], json!({"every": "1h0m0s", "grace": "5m0s"}));
}
