//! `/api/v1/…`: reports of probes as JSON.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::exporter::{Exporter, Reply};

const CONFIG: &str =
    "modules:\n  tcp: {prober: tcp, timeout: 2s}\n  web: {prober: http, http: {headers: {Host: a.test}}}\n";

fn parse(reply: &Reply) -> Value {
    assert_eq!(reply.header("content-type"), Some("application/json"));
    serde_json::from_slice(&reply.body).unwrap()
}

/// The report with what no two probes share taken out, after a look at it.
fn steady(mut report: Value) -> Value {
    let number = |value: &Value| value.as_f64().unwrap();
    let duration = number(&report["duration_seconds"]);
    assert!(number(&report["started_timestamp_seconds"]) > 1.6e9);
    let mut before = 0.0;
    for span in report["timeline"].as_array_mut().unwrap() {
        let (start, end) = (number(&span["start_seconds"]), number(&span["end_seconds"]));
        assert!(before <= start && start <= end && end <= duration, "{span} {duration}");
        before = end;
        *span = span["phase"].take();
    }
    for event in report["logs"].as_array_mut().unwrap() {
        assert!(number(&event["offset_seconds"]) <= duration + 1.0);
        let fields = event["fields"].as_object().unwrap();
        let fields: Vec<&str> = fields.keys().map(String::as_str).collect();
        *event = json!([event["level"], event["message"], fields]);
    }
    for sample in report["metrics"].as_array_mut().unwrap() {
        if sample["name"].as_str().unwrap().ends_with("_seconds") {
            assert!(number(&sample["value"]) >= 0.0);
            sample["value"] = Value::Null;
        }
    }
    let report = report.as_object_mut().unwrap();
    report.remove("duration_seconds");
    report.remove("started_timestamp_seconds");
    Value::from(report.clone())
}

#[test]
fn a_probe_is_reported_with_its_timeline_metrics_and_log() {
    let exporter = Exporter::start(CONFIG, &[]);
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = refused.to_string();
    let got = parse(&exporter.get(&format!("/api/v1/probe?module=tcp&target={target}&hostname=a.test")));
    let metric =
        |name: &str, labels: Value, value: Value| json!({"name": name, "labels": labels, "value": value});
    let phase = |phase: &str| metric("probe_tcp_duration_seconds", json!({"phase": phase}), Value::Null);
    let want = json!({
        "id": 0,
        "module": "tcp",
        "prober": "tcp",
        "target": target,
        "hostname": "a.test",
        "success": false,
        "failure": {
            "phase": "connect",
            "reason": "refused",
            "message": got["failure"]["message"],
        },
        "timeline": ["resolve", "connect"],
        "metrics": [
            metric("probe_dns_lookup_time_seconds", json!({}), Value::Null),
            metric("probe_duration_seconds", json!({}), Value::Null),
            metric("probe_failure_info", json!({"phase": "connect", "reason": "refused"}), json!(1.0)),
            metric("probe_ip_addr_hash", json!({}), json!(3_668_918_509.0)),
            metric("probe_ip_protocol", json!({}), json!(4.0)),
            metric("probe_success", json!({}), json!(0.0)),
            phase("connect"),
            phase("resolve"),
            metric("probe_timeout_seconds", json!({}), Value::Null),
        ],
        "logs": [["ERROR", "Probe failed", ["duration_seconds", "err", "phase", "reason"]]],
    });
    assert!(got["failure"]["message"].as_str().unwrap().contains(&target), "{got}");
    assert_eq!(steady(got.clone()), want);
    assert_eq!(parse(&exporter.get("/api/v1/history")), json!({ "probes": [got] }));
    assert_eq!(exporter.get("/logs?id=0").status, 200);
    let series = r#"heartbeat_exporter_probes_total{module="tcp",result="failure"}"#;
    assert_eq!(exporter.metric(series), Some(1.0));
}

#[test]
fn requests_that_lead_to_no_probe() {
    let exporter = Exporter::start(CONFIG, &[]);
    let cases = [
        ("/api/v1/probe?module=no", 400, "Unknown module \"no\""),
        ("/api/v1/probe?module=tcp", 400, "Target parameter is missing"),
        (
            "/api/v1/probe?module=web&target=a&hostname=b.test",
            400,
            "the module sets the header Host to \"a.test\", which conflicts with hostname=\"b.test\"",
        ),
        ("/api/v1/history?limit=x", 400, "limit must be a whole number, 0 or more"),
    ];
    for (path, status, message) in cases {
        let reply = exporter.get(path);
        assert_eq!((reply.status, parse(&reply)), (status, json!({ "error": message })), "{path}");
    }
    assert_eq!(parse(&exporter.get("/api/v1/history")), json!({ "probes": [] }));
    for path in ["/api/v1/", "/api/v1/probe/", "/api/v2/probe"] {
        assert_eq!(exporter.get(path).status, 404, "{path}");
    }
}

#[test]
fn the_history_can_be_searched() {
    let exporter = Exporter::start(CONFIG, &["--history.limit=3"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let up = listener.local_addr().unwrap();
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for target in [down, up, up, up, up] {
        exporter.get(&format!("/probe?module=tcp&target={target}"));
    }
    let ids = |query: &str| -> Vec<i64> {
        let got = parse(&exporter.get(&format!("/api/v1/history?{query}")));
        got["probes"].as_array().unwrap().iter().map(|probe| probe["id"].as_i64().unwrap()).collect()
    };
    let up = format!("target={up}");
    let cases: [(&str, &[i64]); 7] = [
        ("", &[4, 3, 2, 0]),
        ("limit=2", &[4, 3]),
        ("success=false", &[0]),
        (&up, &[4, 3, 2]),
        ("id=3", &[3]),
        ("id=1", &[]),
        ("module=web", &[]),
    ];
    for (query, want) in cases {
        assert_eq!(ids(query), want, "{query}");
    }
}
