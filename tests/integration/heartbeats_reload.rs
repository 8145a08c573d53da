//! A reload begins heartbeats, ends them, and changes where they are kept.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::exporter::{Dir, Exporter};

const NONE: &str = "modules:\n  tcp: {prober: tcp}\n";
const CONFIG: &str = "modules:\n  tcp: {prober: tcp}\nheartbeats:\n  services:\n    job: {every: 1h}\n";
const PINGS: &str = "heartbeat_pings_total{namespace=\"default\",heartbeat=\"job\",signal=\"success\"}";
const SUCCESSFUL: &str = "blackbox_exporter_config_last_reload_successful";

/// The section with another store.
fn with_store(store: &str) -> String {
    CONFIG.replace("  services:", &format!("  store: {store}\n  services:"))
}

fn reload(exporter: &Exporter, config: &str) -> (u16, String) {
    exporter.dir.write("c.yml", config);
    let reply = exporter.request("POST", "/-/reload", &[]);
    (reply.status, reply.text())
}

fn beat(exporter: &Exporter) -> u16 {
    exporter.request("POST", "/heartbeat/job", &[]).status
}

const DONE: (u16, String) = (200, String::new());

/// What only heartbeats have, each with its status.
fn pages(exporter: &Exporter) -> Vec<u16> {
    let paths =
        ["/sd/heartbeats", "/heartbeats/metrics", "/api/v1/heartbeats", "/heartbeats", "/heartbeat/job"];
    paths.iter().map(|path| exporter.get(path).status).collect()
}

#[test]
fn the_first_section_needs_no_restart() {
    let mut exporter = Exporter::start(NONE, &[]);
    assert_eq!((beat(&exporter), pages(&exporter)), (404, vec![404; 5]));
    assert_eq!(reload(&exporter, CONFIG), DONE);
    // From the answer on, not a moment later.
    assert_eq!((beat(&exporter), pages(&exporter)), (200, vec![200; 5]));
    assert!(exporter.get("/").text().contains("href=\"heartbeats\""));
    assert_eq!(exporter.metric(PINGS), Some(2.0));
    assert_eq!(exporter.metric("heartbeat_store_recovered_pings"), Some(0.0));
    let probe = exporter.get("/probe?module=heartbeat&target=job").text();
    assert!(probe.contains("\nprobe_success 1\n"), "{probe}");

    exporter.dir.write("c.yml", &CONFIG.replace("job: {", "other: {every: 2h}\n    job: {"));
    exporter.signal("HUP");
    exporter.wait_for_metric("heartbeat_interval_seconds{namespace=\"default\",heartbeat=\"other\"}", 7200.0);

    exporter.signal("TERM");
    assert!(exporter.wait().success());
    let dir = std::mem::replace(&mut exporter.dir, Dir::new());
    let again = Exporter::start_in(dir, &["--config.file=c.yml", "--web.listen-address=127.0.0.1:0"]);
    assert_eq!(again.metric(PINGS), Some(2.0));
}

#[test]
fn a_store_that_cannot_be_opened_refuses_the_reload() {
    let other = Exporter::start(CONFIG, &[]);
    let in_use = other.dir.path().join("heartbeats.redb").display().to_string();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let exporter = Exporter::start(NONE, &[]);
    let before = exporter.get("/config").text();
    exporter.get("/probe?module=tcp&target=127.0.0.1:1");
    let probes = "heartbeat_exporter_probes_total{module=\"tcp\",result=\"failure\"}";
    fs::create_dir(exporter.dir.path().join("folder")).unwrap();
    let cases = [
        (
            "{path: none/h.redb}".to_owned(),
            "cannot open the heartbeat store none/h.redb: none is not a folder",
        ),
        ("{path: folder}".to_owned(), "cannot open the heartbeat store folder: it is not a file"),
        (format!("{{path: {in_use:?}}}"), "is in use by another process"),
        (
            format!("{{etcd: {{endpoints: [\"http://{closed}\"]}}}}"),
            "cannot open the heartbeat store http://127.0.0.1",
        ),
    ];
    for (store, want) in &cases {
        let config = with_store(store).replace("  tcp: {", "  more: {prober: tcp}\n  tcp: {");
        let (status, text) = reload(&exporter, &config);
        assert_eq!(status, 500, "{text}");
        assert!(text.starts_with("failed to reload config: c.yml: heartbeats: "), "{text}");
        assert!(text.contains(want), "{text}");
        assert_eq!(exporter.metric(SUCCESSFUL), Some(0.0));
        // The old configuration, all of it.
        assert_eq!(exporter.get("/config").text(), before);
        assert_eq!((beat(&exporter), exporter.metric(probes)), (404, Some(1.0)));
        exporter.wait_for_log("Error reloading config");
    }
    assert!(!exporter.dir.path().join("heartbeats.redb").exists());

    // The same text, once the cause is gone.
    fs::create_dir(exporter.dir.path().join("none")).unwrap();
    assert_eq!(reload(&exporter, &with_store(&cases[0].0)), DONE);
    assert_eq!((beat(&exporter), exporter.metric(SUCCESSFUL)), (200, Some(1.0)));
    // With heartbeats that work, it is them who stay.
    assert_eq!(reload(&exporter, &with_store(&cases[1].0)).0, 500);
    assert_eq!((beat(&exporter), exporter.metric(PINGS)), (200, Some(2.0)));
    assert!(exporter.get("/config").text().contains("path: none/h.redb"));
}

#[test]
fn without_its_section_nothing_is_watched_and_what_was_comes_back() {
    let exporter = Exporter::start(CONFIG, &[]);
    assert_eq!(beat(&exporter), 200);
    assert_eq!(reload(&exporter, NONE), DONE);
    exporter.wait_for_log("Heartbeats are not watched any more");
    assert_eq!((beat(&exporter), pages(&exporter)), (404, vec![404; 5]));
    let metrics = exporter.get("/metrics").text();
    assert!(
        !metrics
            .lines()
            .any(|line| line.starts_with("heartbeat_") && !line.starts_with("heartbeat_exporter_"))
    );
    // The file is free.
    let file = exporter.dir.path().join("heartbeats.redb");
    let config = with_store(&format!("{{path: {:?}}}", file.display().to_string()));
    drop(Exporter::start(&config, &[]));

    assert_eq!(reload(&exporter, CONFIG), DONE);
    assert_eq!(exporter.metric(PINGS), Some(1.0));
    assert_eq!((beat(&exporter), exporter.metric(PINGS)), (200, Some(2.0)));
}

#[test]
fn another_store_takes_over_and_the_old_one_stays_as_it_is() {
    let exporter = Exporter::start(CONFIG, &[]);
    assert_eq!(beat(&exporter), 200);
    // Another name of the same file is no other store.
    for path in
        ["./heartbeats.redb".to_owned(), exporter.dir.path().join("heartbeats.redb").display().to_string()]
    {
        assert_eq!(reload(&exporter, &with_store(&format!("{{path: {path:?}}}"))), DONE);
        assert_eq!(exporter.metric(PINGS), Some(1.0));
    }
    assert_eq!(reload(&exporter, &with_store("{path: other.redb}")), DONE);
    exporter.wait_for_log("Heartbeats are kept in another store");
    assert_eq!(exporter.metric(PINGS), Some(0.0));
    assert_eq!((beat(&exporter), beat(&exporter)), (200, 200));
    assert_eq!(exporter.metric(PINGS), Some(2.0));
    assert_eq!(reload(&exporter, CONFIG), DONE);
    assert_eq!(exporter.metric(PINGS), Some(1.0));
    assert_eq!(reload(&exporter, &with_store("{path: other.redb}")), DONE);
    assert_eq!(exporter.metric(PINGS), Some(2.0));
}

#[test]
fn r4_signals_acknowledged_while_the_store_comes_and_goes_are_kept() {
    const JOBS: usize = 20;
    const ROUNDS: usize = 24;
    let jobs: String = (0..JOBS).map(|job| format!("    j{job}: {{every: 1h}}\n")).collect();
    let kept_in = |store: &str| format!("heartbeats:\n  store: {{path: {store}}}\n  services:\n{jobs}");
    let [first, second] = [kept_in("first.redb"), kept_in("second.redb")];
    let changed = first.replace("1h", "2h");
    let mut exporter = Exporter::start(&first, &[]);
    let is_over = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let (exporter, is_over) = (&exporter, &is_over);
                scope.spawn(move || {
                    let mut taken = vec![0; JOBS];
                    for turn in 0.. {
                        let job = (sender + 4 * turn) % JOBS;
                        // Each is a change of state, so none comes too often.
                        let what = if turn / 5 % 2 == 0 { "" } else { "/fail" };
                        match exporter.request("POST", &format!("/heartbeat/j{job}{what}"), &[]).status {
                            200 => taken[job] += 1,
                            404 | 503 => {}
                            other => panic!("{other}"),
                        }
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    taken
                })
            })
            .collect();
        for round in 0..ROUNDS {
            let config = [second.as_str(), NONE, &first, &changed][round % 4];
            assert_eq!(reload(&exporter, config), DONE);
        }
        is_over.store(true, Ordering::Relaxed);
        let each = senders.into_iter().map(|sender| sender.join().unwrap());
        each.reduce(|all, taken| all.iter().zip(taken).map(|(all, taken)| all + taken).collect()).unwrap()
    });
    exporter.signal("KILL");
    exporter.wait();
    assert!(acknowledged.iter().sum::<u64>() > 100, "{acknowledged:?}");
    let mut found = vec![0.0; JOBS];
    let mut dir = std::mem::replace(&mut exporter.dir, Dir::new());
    for config in [&first, &second] {
        dir.write("c.yml", config);
        let mut exporter =
            Exporter::start_in(dir, &["--config.file=c.yml", "--web.listen-address=127.0.0.1:0"]);
        for (job, found) in found.iter_mut().enumerate() {
            for signal in ["success", "fail"] {
                let labels = format!("namespace=\"default\",heartbeat=\"j{job}\",signal=\"{signal}\"");
                *found += exporter.metric(&format!("heartbeat_pings_total{{{labels}}}")).unwrap();
            }
        }
        dir = std::mem::replace(&mut exporter.dir, Dir::new());
    }
    for (job, (acknowledged, found)) in acknowledged.iter().zip(found).enumerate() {
        assert!(found >= *acknowledged as f64, "j{job}: {found} of {acknowledged}");
    }
}
