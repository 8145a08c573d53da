//! Every query of every dashboard, panels and variables, against a real Prometheus that has scraped a real exporter
//! with a target of each kind. None may fail, name a metric that is not there, or answer nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use regex::Regex;
use serde_json::Value;

use crate::dns::Unbound;
use crate::nginx::Nginx;
use crate::support::heartbeats::Sender;
use crate::support::prometheus::{Prometheus, encode, series};
use crate::support::{Exporter, eventually, free_port, get};
use crate::{grpc, unix, websocket};

/// A heartbeat in each state.
const HEARTBEATS: &str = r#"
heartbeats:
  store: {path: @STORE@}
  services:
    good: {every: 1h}
    late: {every: 1s, grace: 1h}
    missed: {every: 1s, grace: 1s}
    failed: {every: 1h}
    running: {every: 1h, max_runtime: 1h}
    new: {every: 1h}
"#;

/// Queries that rightly answer nothing here: board, panel, letter, and why.
const RIGHTLY_EMPTY: [(&str, &str, &str, &str); 1] =
    [("Heartbeats", "Not heard of other receivers", "A", "there is one receiver, and its store is a file")];

#[test]
#[ignore = "needs tests/install-real-parts.sh and root"]
fn all_queries_answer_in_prometheus_3() {
    all_queries_answer("prometheus3");
}

#[test]
#[ignore = "needs tests/install-real-parts.sh and root"]
fn all_queries_answer_in_prometheus_2() {
    all_queries_answer("prometheus2");
}

fn all_queries_answer(version: &str) {
    let nginx = Nginx::start();
    let unbound = Unbound::start();
    let (_grpc, grpc_port) = grpc::server("health", "127.0.0.1:0", &[]);
    let dir = tempfile::tempdir().unwrap();
    let (_redis, socket) = unix::redis(dir.path());
    let websocket = websocket::Server::start();
    let heartbeats = HEARTBEATS.replace("@STORE@", &dir.path().join("heartbeats.redb").display().to_string());
    let exporter = Exporter::with_config(&format!(
        r#"
{heartbeats}
modules:
  http: {{prober: http, http: {{preferred_ip_protocol: ip4}}}}
  https: {{prober: http, http: {{preferred_ip_protocol: ip4, tls_config: {{ca_file: {ca}}}}}}}
  tls_unverified: {{prober: tcp, tcp: {{tls: true, tls_config: {{insecure_skip_verify: true}}}}}}
  dns_soa: {{prober: dns, dns: {{query_name: example.test, query_type: SOA}}}}
  icmp: {{prober: icmp, icmp: {{preferred_ip_protocol: ip4}}}}
  grpc: {{prober: grpc}}
  unix: {{prober: unix, unix: {{query_response: [{{send: "PING\r"}}, {{expect: PONG}}]}}}}
  websocket: {{prober: websocket}}
"#,
        ca = nginx.authority().display()
    ));
    for signal in ["late", "missed", "failed/3", "running/start"] {
        get(exporter.address(), &format!("/heartbeat/{signal}"), "");
    }
    let _sender = Sender::start(exporter.address(), &["good?duration_seconds=3", "nobody"]);
    let http = format!("http://127.0.0.1:{}/", nginx.plain);
    let config = include_str!("dashboards.yml")
        .replace("@EXPORTER@", &exporter.address().to_string())
        .replace("@HTTP@", &http)
        .replace("@CLOSED@", &format!("http://127.0.0.1:{}/", free_port()))
        .replace("@HTTPS@", &format!("https://127.0.0.1:{}/", nginx.tls))
        .replace("@TLS@", &format!("127.0.0.1:{}", nginx.tls))
        .replace("@DNS@", &format!("127.0.0.1:{}", unbound.plain))
        .replace("@NO_DNS@", &format!("127.0.0.1:{}", free_port()))
        .replace("@GRPC@", &format!("127.0.0.1:{grpc_port}"))
        .replace("@UNIX@", &socket.display().to_string())
        .replace("@WEBSOCKET@", &format!("ws://127.0.0.1:{}/greet", websocket.plain))
        + &discovery(exporter.address());
    let prometheus = Prometheus::start(version, &config);
    // A rate needs several scrapes.
    eventually("every target was probed five times", || {
        let data = prometheus.api(&format!(
            "/api/v1/query?query={}",
            encode("count(count_over_time(probe_success{heartbeat=\"\"}[1m]) >= 5)")
        ))?;
        if data["result"][0]["value"][1] == "11" { Ok(()) } else { Err(data.to_string()) }
    });

    let names = ["failed", "good", "late", "missed", "new", "running"];
    let is_well = |name: &str| f64::from(u8::from(["good", "late", "running"].contains(&name)));
    let want = names.map(|name| (["default", name], is_well(name)));
    let labels = ["namespace", "heartbeat"];
    eventually("heartbeats are discovered, and keep their labels", || {
        prometheus.query("probe_success{job=\"heartbeat\"}", labels, &series(labels, &want))?;
        let created = want.map(|(labels, _)| (labels, 1.0));
        let query = "heartbeat_created_timestamp_seconds{job=\"heartbeat\"} > bool 0";
        prometheus.query(query, labels, &series(labels, &created))
    });

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let mut boards = 0;
    let mut queries = 0;
    let mut problems = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let board: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            queries += check(&prometheus, &board, &mut problems);
            boards += 1;
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(boards == 7 && queries > 80, "{boards} dashboards with {queries} queries");
}

/// The job of `prometheus.example.yml` that discovers heartbeats, with the address of this exporter.
fn discovery(exporter: SocketAddr) -> String {
    let example = include_str!("../../prometheus.example.yml");
    let (_, after) = example.split_once("  - job_name: heartbeat\n").unwrap();
    let (job, _) = after.split_once("\n\n").unwrap();
    format!("  - job_name: heartbeat\n{}\n", job.replace("127.0.0.1:9115", &exporter.to_string()))
}

/// Runs all queries of a board with each set of values its variables may have; returns how many it has.
fn check(prometheus: &Prometheus, board: &Value, problems: &mut Vec<String>) -> usize {
    let title = board["title"].as_str().unwrap();
    let names = prometheus.api("/api/v1/label/__name__/values").unwrap();
    let metrics: BTreeSet<&str> = names.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let choices = match choices(prometheus, board) {
        Ok(choices) => choices,
        Err(error) => {
            problems.push(format!("{title}: {error}"));
            return 0;
        }
    };
    let mut queries = 0;
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            queries += 1;
            let [panel, letter, expr] =
                [&panel["title"], &target["refId"], &target["expr"]].map(|v| v.as_str().unwrap());
            let place = format!("{title} / {panel} / {letter}: {expr}");
            let empty = RIGHTLY_EMPTY.iter().any(|(b, p, l, _)| (*b, *p, *l) == (title, panel, letter));
            for name in metric_like(expr).filter(|name| !empty && !metrics.contains(name)) {
                problems.push(format!("{place}: there is no {name}"));
            }
            let mut answers = false;
            for variables in &choices {
                match run(prometheus, &filled(expr, variables), target["instant"] == true) {
                    Ok(some) => answers |= some,
                    Err(error) => problems.push(format!("{place}: {error}")),
                }
            }
            if answers == empty {
                let what = if empty { "is said to answer nothing, but does" } else { "answers nothing" };
                problems.push(format!("{place}: {what}"));
            }
        }
    }
    queries
}

/// Values of the variables, as Grafana fills them in: all at once, each named, and each alone where only one can be
/// chosen.
fn choices(prometheus: &Prometheus, board: &Value) -> Result<Vec<BTreeMap<String, String>>, String> {
    let lookup = Regex::new(r"^label_values\((.+), (\w+)\)$").unwrap();
    let mut all = vec![BTreeMap::new()];
    let mut named = vec![BTreeMap::new()];
    for variable in board["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "datasource" {
            continue;
        }
        let name = variable["name"].as_str().unwrap().to_owned();
        let query = variable["query"]["query"].as_str().unwrap();
        let parts = lookup.captures(query).ok_or_else(|| format!("{name}: unknown lookup {query}"))?;
        let selector = filled(&parts[1], &all[0]);
        let found =
            prometheus.api(&format!("/api/v1/label/{}/values?match[]={}", &parts[2], encode(&selector)))?;
        let values: Vec<&str> = found.as_array().ok_or("no list")?.iter().filter_map(Value::as_str).collect();
        if values.is_empty() {
            return Err(format!("{name}: {query} finds nothing"));
        }
        if variable["includeAll"] == true {
            let every = variable["allValue"].as_str().ok_or("no value for all")?;
            let escaped: Vec<_> = values.iter().map(|value| escaped(value)).collect();
            set(&mut all, &name, &[every.to_owned()]);
            set(&mut named, &name, &[format!("({})", escaped.join("|"))]);
        } else {
            let single: Vec<_> = values.iter().map(|value| value.replace('\\', "\\\\")).collect();
            set(&mut all, &name, &single);
            set(&mut named, &name, &single);
        }
    }
    all.append(&mut named);
    Ok(all)
}

/// Each set of values once for each value of one more variable.
fn set(sets: &mut Vec<BTreeMap<String, String>>, name: &str, values: &[String]) {
    let with = |set: &BTreeMap<String, String>, value: &String| {
        let mut set = set.clone();
        set.insert(name.to_owned(), value.clone());
        set
    };
    *sets = sets.iter().flat_map(|set| values.iter().map(move |value| with(set, value))).collect();
}

/// As Grafana escapes one of several values: for a regular expression within quotation marks.
fn escaped(value: &str) -> String {
    regex::escape(value).replace('\\', "\\\\")
}

fn filled(expr: &str, variables: &BTreeMap<String, String>) -> String {
    let mut text =
        expr.replace("$__rate_interval", "4s").replace("$__range", "60s").replace("$__interval", "1s");
    for (name, value) in variables {
        text = text.replace(&format!("${name}"), value);
    }
    text
}

/// Whether a query answers at least one number.
fn run(prometheus: &Prometheus, expr: &str, instant: bool) -> Result<bool, String> {
    // `$1` is a group of a regular expression.
    if Regex::new(r"\$\{?[A-Za-z_]").unwrap().is_match(expr) {
        return Err(format!("a variable is not filled in: {expr}"));
    }
    let query = encode(expr);
    let data = if instant {
        prometheus.api(&format!("/api/v1/query?query={query}"))?
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        prometheus.api(&format!("/api/v1/query_range?query={query}&start={}&end={now}&step=1", now - 5))?
    };
    let results = data["result"].as_array().ok_or("no result")?;
    let values = results.iter().flat_map(|result| match result["values"].as_array() {
        Some(values) => values.iter().map(|value| &value[1]).collect(),
        None => vec![&result["value"][1]],
    });
    Ok(values.filter_map(Value::as_str).any(|value| value.parse().is_ok_and(f64::is_finite)))
}

/// All words of a query that begin like a metric of the exporter.
fn metric_like(expr: &str) -> impl Iterator<Item = &str> {
    let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let prefixes = ["probe_", "heartbeat_", "blackbox_", "process_", "net_conntrack_", "promhttp_"];
    words.filter(move |word| *word == "up" || prefixes.iter().any(|prefix| word.starts_with(prefix)))
}
