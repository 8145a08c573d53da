//! Heartbeats as a scraper sees them. The store of each exporter has a history, written by the library.

use std::path::PathBuf;

use heartbeat_exporter::config::{self, LoadOptions};
use heartbeat_exporter::heartbeat::registry::Lookup;
use heartbeat_exporter::heartbeat::{Event, Service, Signal};
use serde_json::{Value, json};

use crate::support::exporter::{Dir, Exporter};

const JSON: &str = "application/json";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// Five of them; the store is a file of the working directory.
const CONFIG: &str = r#"
modules:
  tcp: {prober: tcp, timeout: 2s, tcp: {preferred_ip_protocol: ip4}}
heartbeats:
  services:
    backup: {every: 2h, grace: 5m, tags: [prod, db], labels: {team: infra}}
    nightly: {cron: "30 2 * * *", tz: Europe/Berlin, grace: 30m, namespace: batch, tags: [prod], token: 5ecret}
    report: {at: "16:05", tz: Asia/Shanghai, namespace: batch}
    broken: {every: 1h, alert_on_data: true}
    never: {every: 1h}
"#;

/// A started exporter whose heartbeats have received these signals before.
fn start(config: &str, signals: &[(&str, Signal)]) -> Exporter {
    let dir = Dir::new();
    dir.write("c.yml", config);
    receive(&dir, config, signals);
    Exporter::start_in(dir, &ARGS)
}

const ARGS: [&str; 2] = ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0"];

fn store(dir: &Dir) -> PathBuf {
    dir.path().join("heartbeats.redb")
}

/// What a receiver with this configuration writes for these signals, in a process that has ended.
fn receive(dir: &Dir, config: &str, signals: &[(&str, Signal)]) {
    let here = format!("heartbeats:\n  store: {{path: \"{}\"}}\n", store(dir).display());
    let file = config::load(&config.replace("heartbeats:\n", &here), &LoadOptions::default()).unwrap();
    let section = file.heartbeats.unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (service, _) = Service::open(&section, "test".to_owned()).await.unwrap();
        for (name, signal) in signals {
            let heartbeat = service.registry.find(Lookup::Key(&name.parse().unwrap())).unwrap();
            let event = Event::new(*signal, service.registry.now());
            service.registry.accept(&heartbeat, event, None).await.unwrap();
        }
        service.close().await;
    });
}

const HISTORY: [(&str, Signal); 4] = [
    ("backup", Signal::Success),
    ("batch/nightly", Signal::Start),
    ("batch/report", Signal::Fail),
    ("broken", Signal::Data),
];

#[test]
fn a_heartbeat_answers_like_a_probe() {
    let exporter = start(CONFIG, &HISTORY);
    let cases = [
        ("backup", 1.0, None),
        ("default/backup", 1.0, None),
        ("batch/nightly", 1.0, None),
        ("batch/report", 0.0, Some("failed")),
        ("broken", 0.0, Some("data")),
        ("never", 0.0, Some("never_seen")),
    ];
    for (target, success, reason) in cases {
        let (status, kind, text) = exporter.get(&format!("/probe?module=heartbeat&target={target}")).parts();
        assert_eq!((status, kind.as_deref()), (200, Some(EXPOSITION)), "{target}");
        let (namespace, name) = target.split_once('/').unwrap_or(("default", target));
        let identity = format!("{{namespace=\"{namespace}\",heartbeat=\"{name}\"");
        let of_heartbeats = text.lines().filter(|line| line.starts_with("heartbeat_"));
        assert!(of_heartbeats.clone().count() > 10, "{text}");
        for line in of_heartbeats.filter(|line| !line.starts_with("heartbeat_info{")) {
            assert!(line.contains(&identity), "{line}");
        }
        let probe: Vec<&str> = text.lines().filter(|line| line.starts_with("probe_")).collect();
        let took: f64 = probe[0].strip_prefix("probe_duration_seconds ").unwrap().parse().unwrap();
        assert!(took > 0.0 && took < 1.0, "{probe:?}");
        let failure =
            reason.map(|reason| format!("probe_failure_info{{phase=\"check\",reason=\"{reason}\"}} 1"));
        let want: Vec<String> = failure.into_iter().chain([format!("probe_success {success}")]).collect();
        assert_eq!(probe[1..], want, "{target}");
    }
    let cases = [
        ("target=nope", "Unknown heartbeat \"nope\"\n"),
        ("target=other/backup", "Unknown heartbeat \"other/backup\"\n"),
        ("target=a%20b", "Unknown heartbeat \"a b\"\n"),
        ("target=", "Target parameter is missing\n"),
        ("", "Target parameter is missing\n"),
    ];
    for (query, want) in cases {
        let reply = exporter.get(&format!("/probe?module=heartbeat&{query}"));
        assert_eq!((reply.status, reply.text().as_str()), (400, want), "{query}");
    }
    assert_eq!(exporter.metric("blackbox_module_unknown_total"), Some(0.0));
}

#[test]
fn discovery_lists_what_the_filters_leave() {
    let exporter = start(CONFIG, &HISTORY);
    let ask = |query: &str| {
        let (status, kind, text) = exporter.get(&format!("/sd/heartbeats{query}")).parts();
        assert_eq!((status, kind.as_deref()), (200, Some(JSON)), "{query}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let want = json!([{
        "targets": ["default/backup"],
        "labels": {
            "__meta_heartbeat_namespace": "default",
            "__meta_heartbeat_name": "backup",
            "__meta_heartbeat_state": "up",
            "__meta_heartbeat_kind": "every",
            "__meta_heartbeat_tags": ",prod,db,",
            "__meta_heartbeat_label_team": "infra",
        },
    }]);
    assert_eq!(ask("?label=team=infra"), want);
    let cases: [(&str, &[&str]); 11] = [
        ("", &["batch/nightly", "batch/report", "default/backup", "default/broken", "default/never"]),
        ("?namespace=batch", &["batch/nightly", "batch/report"]),
        ("?namespace=batch&namespace=none", &["batch/nightly", "batch/report"]),
        ("?state=up", &["default/backup"]),
        ("?state=down,new", &["batch/report", "default/broken", "default/never"]),
        ("?state=running", &["batch/nightly"]),
        ("?tag=prod", &["batch/nightly", "default/backup"]),
        ("?tags=prod,db", &["default/backup"]),
        ("?tag=prod&namespace=batch&state=running", &["batch/nightly"]),
        ("?label=team=other", &[]),
        ("?namespace=none", &[]),
    ];
    for (query, want) in cases {
        let found = ask(query);
        let targets: Vec<&str> =
            found.as_array().unwrap().iter().map(|one| one["targets"][0].as_str().unwrap()).collect();
        assert_eq!(targets, want, "{query}");
    }
    for (query, want) in [
        ("?state=dead", "there is no state \"dead\"\n"),
        ("?label=team", "label must be a name, an equals sign and a value\n"),
    ] {
        let reply = exporter.get(&format!("/sd/heartbeats{query}"));
        assert_eq!((reply.status, reply.text().as_str()), (400, want), "{query}");
    }
    // The same with everything about each, and page by page.
    let list = |query: &str| -> Value {
        serde_json::from_str(&exporter.get(&format!("/api/v1/heartbeats{query}")).text()).unwrap()
    };
    let page = list("?limit=2&namespace=default");
    assert_eq!((&page["matching"], &page["next"]), (&json!(3), &json!("default/broken")));
    let broken = &page["heartbeats"][1];
    let facts = ["name", "state", "reason", "origin", "grace_seconds", "runs_in_progress"];
    let want = [json!("broken"), json!("down"), json!("data"), json!("file"), json!(300.0), json!(0)];
    assert_eq!(facts.map(|fact| broken[fact].clone()), want);
    assert_eq!(broken["schedule"], json!({"kind": "every", "text": "3600s", "tz": ""}));
    assert_eq!(broken["episode"]["reason"], json!("data"));
    let page = list("?limit=2&namespace=default&after=default/broken");
    assert_eq!((page["heartbeats"].as_array().unwrap().len(), &page["next"]), (1, &Value::Null));
    assert!(!list("").to_string().contains("5ecret"));
}

/// Names of the families, in the order in which they come.
fn families(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn large_fleets_have_few_series_and_a_page_of_their_own() {
    let exporter = start(CONFIG, &HISTORY);
    let (status, kind, text) = exporter.get("/heartbeats/metrics?profile=minimal&namespace=default").parts();
    assert_eq!((status, kind.as_deref()), (200, Some(EXPOSITION)));
    let of_backup: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("heartbeat=\"backup\"") && !line.contains("_timestamp_seconds"))
        .collect();
    let want = [
        "heartbeat_pings_total{namespace=\"default\",heartbeat=\"backup\",signal=\"fail\"} 0",
        "heartbeat_pings_total{namespace=\"default\",heartbeat=\"backup\",signal=\"success\"} 1",
        "heartbeat_state_changes_total{namespace=\"default\",heartbeat=\"backup\",to=\"down\"} 0",
        "heartbeat_up{namespace=\"default\",heartbeat=\"backup\"} 1",
    ];
    assert_eq!(of_backup, want);
    assert!(!text.contains("batch"));
    let value = |series: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).map(|v| v.parse().unwrap())
    };
    let backup = "{namespace=\"default\",heartbeat=\"backup\"}";
    let last = value(
        "heartbeat_last_ping_timestamp_seconds{namespace=\"default\",heartbeat=\"backup\",signal=\"success\"}",
    );
    let deadline = value(&format!("heartbeat_deadline_timestamp_seconds{backup}"));
    assert!((deadline.unwrap() - last.unwrap() - 7500.0).abs() < 1e-3, "{deadline:?} {last:?}");

    let (_, _, full) = exporter.get("/heartbeats/metrics").parts();
    for (text, what) in [(&text, "minimal"), (&full, "full")] {
        let mut unique = families(text);
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), families(text).len(), "{what}: a family twice");
    }
    for line in [
        "heartbeat_info{heartbeat=\"backup\",kind=\"every\",namespace=\"default\",schedule=\"7200s\",tag_db=\"true\",tag_prod=\"true\",team=\"infra\",tz=\"\"} 1",
        "heartbeat_info{heartbeat=\"nightly\",kind=\"cron\",namespace=\"batch\",schedule=\"30 2 * * *\",tag_prod=\"true\",tz=\"Europe/Berlin\"} 1",
        "heartbeat_state{namespace=\"batch\",heartbeat=\"nightly\",state=\"running\"} 1",
        "heartbeat_runs_in_progress{namespace=\"batch\",heartbeat=\"nightly\"} 1",
        "heartbeat_down_reason{namespace=\"batch\",heartbeat=\"report\",reason=\"failed\"} 1",
        "heartbeat_data_alert{namespace=\"default\",heartbeat=\"broken\"} 1",
        "heartbeat_interval_seconds{namespace=\"default\",heartbeat=\"backup\"} 7200",
        "heartbeat_grace_seconds{namespace=\"batch\",heartbeat=\"nightly\"} 1800",
        "heartbeat_heartbeats{state=\"down\"} 2",
        "heartbeat_heartbeats{state=\"new\"} 1",
        "heartbeat_receiver_rejected_total{reason=\"auth\"} 0",
        "heartbeat_registry_connected{backend=\"embedded\"} 1",
        "heartbeat_store_recovered_pings 5",
    ] {
        assert!(full.lines().any(|other| other == line), "{line} is not in {full}");
    }
    // What never reported is neither up nor down, and has a beginning.
    assert!(!full.contains("heartbeat_up{namespace=\"default\",heartbeat=\"never\"}"));
    assert!(full.contains("heartbeat_created_timestamp_seconds{namespace=\"default\",heartbeat=\"never\"}"));
    assert!(!full.contains("5ecret") && !exporter.get("/config").text().contains("5ecret"));

    // A few heartbeats are on the usual page, too, after what else is there and in order.
    let own = exporter.get("/metrics").text();
    assert!(own.contains("\nheartbeat_up{namespace=\"default\",heartbeat=\"backup\"} 1\n"));
    assert!(own.contains("\nheartbeat_exporter_probes_in_flight "));
    let names = families(&own);
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
    let headers = [("Accept", "application/openmetrics-text; version=1.0.0")];
    for path in ["/metrics", "/heartbeats/metrics", "/probe?module=heartbeat&target=backup"] {
        let open = exporter.request("GET", path, &headers).text();
        assert!(open.ends_with("# EOF\n"), "{path}");
        assert!(open.contains("# TYPE heartbeat_pings counter\n"), "{path}");
    }
    let reply = exporter.get("/heartbeats/metrics?profile=tiny");
    assert_eq!((reply.status, reply.text().as_str()), (400, "profile must be full or minimal\n"));
}

#[test]
fn without_the_section_there_are_no_heartbeats() {
    let exporter = Exporter::start("modules:\n  tcp: {prober: tcp}\n", &[]);
    for path in ["/sd/heartbeats", "/heartbeats/metrics", "/api/v1/heartbeats"] {
        assert_eq!(exporter.get(path).status, 404, "{path}");
    }
    let reply = exporter.get("/probe?module=heartbeat&target=x");
    assert_eq!((reply.status, reply.text().as_str()), (400, "Unknown module \"heartbeat\"\n"));
    assert!(!exporter.get("/metrics").text().contains("heartbeat_receiver_"));
    assert!(!store(&exporter.dir).exists());

    // A module of the name is one.
    let config = format!("{CONFIG}\n").replace("  tcp: {", "  heartbeat: {");
    let exporter = start(&config, &HISTORY);
    let text = exporter.get("/probe?module=heartbeat&target=127.0.0.1:1").text();
    assert!(text.contains("probe_failure_info{phase=\"connect\""), "{text}");
}

#[test]
fn a_reload_changes_what_is_watched() {
    let exporter = start(CONFIG, &HISTORY);
    let config = CONFIG
        .replace("    never: {every: 1h}\n", "    added: {every: 5m}\n")
        .replace("every: 2h, grace: 5m", "every: 3h, grace: 10m");
    exporter.dir.write("c.yml", &config);
    assert_eq!(exporter.request("POST", "/-/reload", &[]).status, 200);
    let text = exporter.get("/metrics").text();
    for line in [
        "heartbeat_interval_seconds{namespace=\"default\",heartbeat=\"added\"} 300",
        "heartbeat_interval_seconds{namespace=\"default\",heartbeat=\"backup\"} 10800",
        "heartbeat_grace_seconds{namespace=\"default\",heartbeat=\"backup\"} 600",
        "heartbeat_pings_total{namespace=\"default\",heartbeat=\"backup\",signal=\"success\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
    }
    assert!(!text.contains("heartbeat=\"never\""));
}

#[test]
fn f14_a_miss_is_probed_and_stays_a_miss() {
    let alive = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "modules:\n  tcp: {{prober: tcp, timeout: 2s, tcp: {{preferred_ip_protocol: ip4}}}}\nheartbeats:\n  services:\n    \
         there: {{every: 3s, grace: 1s, on_miss: {{module: tcp, target: \"{}\"}}}}\n    \
         gone: {{every: 3s, grace: 1s, on_miss: {{module: tcp, target: \"{dead}\", attempts: 2}}}}\n    \
         plain: {{every: 3s, grace: 1s}}\n",
        alive.local_addr().unwrap()
    );
    let all = [("there", Signal::Success), ("gone", Signal::Success), ("plain", Signal::Success)];
    let exporter = start(&config, &all);
    for (name, probed, result, reachable) in
        [("there", 1.0, "refuted", "true"), ("gone", 0.0, "confirmed", "false")]
    {
        let identity = format!("namespace=\"default\",heartbeat=\"{name}\"");
        let series = format!("heartbeat_suspicion_probe_success{{{identity},module=\"tcp\"}}");
        exporter.wait_for_metric(&series, probed);
        for (series, want) in [
            (format!("heartbeat_suspicions_total{{{identity},result=\"{result}\"}}"), 1.0),
            (format!("heartbeat_up{{{identity}}}"), 0.0),
            (format!("heartbeat_down_reason{{{identity},reachable=\"{reachable}\",reason=\"missed\"}}"), 1.0),
        ] {
            assert_eq!(exporter.metric(&series), Some(want), "{series}");
        }
    }
    let plain = "namespace=\"default\",heartbeat=\"plain\"";
    exporter.wait_for_metric(&format!("heartbeat_down_reason{{{plain},reason=\"missed\"}}"), 1.0);
    assert_eq!(
        exporter.metric("heartbeat_exporter_probes_total{module=\"tcp\",result=\"failure\"}"),
        Some(2.0)
    );
    let text = exporter.get("/probe?module=heartbeat&target=gone").text();
    assert!(text.contains("probe_failure_info{phase=\"check\",reason=\"missed\"} 1\n"), "{text}");
}

#[test]
fn a_restart_forgets_nothing_and_two_receivers_share_no_file() {
    let mut exporter = start(CONFIG, &HISTORY);
    let series = "heartbeat_last_ping_timestamp_seconds{namespace=\"default\",heartbeat=\"backup\",signal=\"success\"}";
    let last = exporter.metric(series).unwrap();
    let second = crate::support::exporter::run(&exporter.dir, &ARGS);
    assert_eq!(second.status.code(), Some(1));
    let log = String::from_utf8(second.stderr).unwrap();
    assert!(log.contains("Cannot start") && log.contains("heartbeats.redb"), "{log}");

    exporter.signal("TERM");
    assert!(exporter.wait().success());
    let dir = std::mem::replace(&mut exporter.dir, Dir::new());
    let again = Exporter::start_in(dir, &ARGS);
    assert_eq!(again.metric(series), Some(last));
    assert_eq!(again.metric("heartbeat_store_recovered_pings"), Some(5.0));
    let blind = again.metric("heartbeat_blind_seconds_total{cause=\"down\"}").unwrap();
    assert!(blind > 0.0 && blind < 10.0, "{blind}");
}

#[test]
fn r5_a_damaged_store_is_put_aside_and_what_is_intact_is_kept() {
    let dir = Dir::new();
    dir.write("c.yml", CONFIG);
    receive(&dir, CONFIG, &HISTORY);
    let image = std::fs::read(store(&dir)).unwrap();
    std::fs::write(store(&dir), &image[..image.len() / 2]).unwrap();
    let exporter = Exporter::start_in(dir, &ARGS);
    assert_eq!(exporter.get("/-/ready").status, 200);
    exporter.wait_for_log("records_lost");
    let aside = std::fs::read_dir(exporter.dir.path()).unwrap().filter(|entry| {
        let entry = entry.as_ref().unwrap();
        entry.file_name().to_string_lossy().starts_with("heartbeats.redb.")
            && entry.metadata().unwrap().len() > 0
    });
    assert_eq!(aside.count(), 1);
    assert_eq!(exporter.metric("heartbeat_store_errors_total{op=\"salvage\"}"), Some(1.0));
}

#[test]
fn the_page_shows_who_needs_somebody_first() {
    let hostile = "\"'><script>alert(1)</script>";
    let config = CONFIG.replace("prod, db]", &format!("prod, db, {}]", json!(hostile)));
    let exporter = start(&config, &HISTORY);
    let page = |query: &str| {
        let reply = exporter.get(&format!("/heartbeats{query}"));
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
        assert!(reply.header("content-security-policy").is_some_and(|policy| policy.contains("'none'")));
        let text = reply.text();
        assert!(!text.contains("<script"), "{text}");
        text
    };
    let names = |page: &str| -> Vec<String> {
        let cells = page.split("class=\"name\"><a href=\"heartbeats?name=").skip(1);
        cells.map(|cell| cell.split(['>', '<']).nth(1).unwrap().to_owned()).collect()
    };
    let all = page("");
    let want = ["batch/report", "default/broken", "batch/nightly", "default/never", "default/backup"];
    assert_eq!(names(&all), want);
    for part in [
        "<dt><a href=\"heartbeats?state=down\">down</a></dt><dd>2</dd>",
        "<span class=\"state-name bad\">down</span> <span class=\"quiet\">failed</span>",
        "30 2 * * * <span class=\"quiet\">Europe/Berlin</span>",
        "<td role=\"cell\" class=\"schedule\">every 2 h</td>",
        "<span class=\"quiet\">none yet</span>",
        "<td role=\"cell\" class=\"last\">success, <time datetime=\"",
        "\">in 2 h</span></td>",
        "<a class=\"tag\" href=\"heartbeats?tag=prod\">prod</a>",
        "&quot;'&gt;&lt;script&gt;alert(1)&lt;/script&gt;</a>",
        "<a href=\"heartbeats\" aria-current=\"page\">Heartbeats</a>",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    let cases: [(&str, &[&str]); 8] = [
        ("?state=down", &["batch/report", "default/broken"]),
        ("?state=nothing", &want),
        ("?tag=db", &["default/backup"]),
        ("?search=BATCH", &["batch/report", "batch/nightly"]),
        ("?search=infra", &["default/backup"]),
        ("?search=prod&state=running", &["batch/nightly"]),
        ("?tag=%22%27%3E%3Cscript%3Ealert(1)%3C/script%3E", &["default/backup"]),
        ("?search=%3Cscript%3Ex", &[]),
    ];
    for (query, want) in cases {
        assert_eq!(names(&page(query)), want, "{query}");
    }

    let without = Exporter::start("modules:\n  tcp: {prober: tcp}\n", &[]);
    let reply = without.get("/heartbeats");
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("<p>The configuration has no section heartbeats.</p>"));
    assert!(!without.get("/").text().contains("href=\"heartbeats\""));
}
