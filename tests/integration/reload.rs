//! The configuration is replaced while the process runs.

use std::fs;

use crate::support::exporter::{Dir, Exporter};

const OLD: &str = "modules:\n  old: {prober: tcp}\n";
const NEW: &str = "modules:\n  new: {prober: tcp}\n";
const BAD: &str = "modules:\n  new: {prober: tcp, nonsense: 1}\n  other: {nonsense: 2, prober: tcp}\n";
const SUCCESSFUL: &str = "blackbox_exporter_config_last_reload_successful";
const TIMESTAMP: &str = "blackbox_exporter_config_last_reload_success_timestamp_seconds";

fn has_module(exporter: &Exporter, name: &str) -> bool {
    exporter.get("/config").text().contains(&format!("\n    {name}:\n"))
}

#[test]
fn a_post_reloads() {
    let exporter = Exporter::start(OLD, &[]);
    let reload = || exporter.request("POST", "/-/reload", &[]).parts();
    let done = (200, None, String::new());

    let before = exporter.metric(TIMESTAMP).unwrap();
    assert_eq!(reload(), done, "unchanged");
    let after = exporter.metric(TIMESTAMP).unwrap();
    assert!(after > before, "an unchanged file counts as a success");

    exporter.dir.write("c.yml", NEW);
    assert_eq!(reload(), done);
    assert!(has_module(&exporter, "new") && !has_module(&exporter, "old"));
    assert_eq!(exporter.metric(SUCCESSFUL), Some(1.0));

    let before = exporter.metric(TIMESTAMP);
    exporter.dir.write("c.yml", BAD);
    let (status, kind, text) = reload();
    assert_eq!((status, kind.as_deref()), (500, Some("text/plain; charset=utf-8")));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("failed to reload config: c.yml:2:"), "{text}");
    assert!(lines[1].starts_with("c.yml:3:"), "{text}");
    assert!(has_module(&exporter, "new"));
    assert_eq!(exporter.metric(SUCCESSFUL), Some(0.0));
    assert_eq!(exporter.metric(TIMESTAMP), before);
    exporter.wait_for_log("Error reloading config");

    exporter.dir.write("c.yml", NEW);
    assert_eq!(reload(), done, "back to what is loaded");
    assert_eq!(exporter.metric(SUCCESSFUL), Some(1.0));

    fs::remove_file(exporter.dir.path().join("c.yml")).unwrap();
    let want = "failed to reload config: c.yml: No such file or directory (os error 2)\n";
    assert_eq!(reload().2, want);
    assert!(has_module(&exporter, "new"));
}

#[test]
fn other_methods_do_not_reload() {
    let exporter = Exporter::start(OLD, &[]);
    exporter.dir.write("c.yml", NEW);
    let want = "This endpoint requires a POST request.\n";
    for (method, body) in [("GET", want), ("PUT", want), ("HEAD", "")] {
        let kind = Some("text/plain; charset=utf-8".to_owned());
        assert_eq!(
            exporter.request(method, "/-/reload", &[]).parts(),
            (405, kind, body.to_owned()),
            "{method}"
        );
    }
    assert!(has_module(&exporter, "old"));
}

#[test]
fn a_hangup_reloads() {
    let exporter = Exporter::start(OLD, &[]);
    exporter.dir.write("c.yml", BAD);
    exporter.signal("HUP");
    exporter.wait_for_metric(SUCCESSFUL, 0.0);
    assert!(has_module(&exporter, "old"));
    exporter.dir.write("c.yml", NEW);
    exporter.signal("HUP");
    exporter.wait_for_log("Reloaded config file");
    assert!(has_module(&exporter, "new"));
}

#[test]
fn a_changed_file_is_noticed() {
    let exporter = Exporter::start(OLD, &["--config.enable-auto-reload", "--config.auto-reload-interval=1"]);
    exporter.dir.write("c.yml", NEW);
    exporter.wait_for_log("Reloaded config file");
    assert!(has_module(&exporter, "new"));
}

#[test]
fn counters_of_a_module_survive_a_reload() {
    let exporter = Exporter::start(OLD, &[]);
    let series = r#"heartbeat_exporter_probes_total{module="old",result="failure"}"#;
    exporter.get("/probe?module=old&target=127.0.0.1:1");
    assert_eq!(exporter.metric(series), Some(1.0));
    exporter.dir.write("c.yml", "modules:\n  more: {prober: tcp}\n  old: {prober: tcp, timeout: 1s}\n");
    assert_eq!(exporter.request("POST", "/-/reload", &[]).status, 200);
    exporter.get("/probe?module=old&target=127.0.0.1:1");
    assert_eq!(exporter.metric(series), Some(2.0));
    exporter.dir.write("c.yml", NEW);
    assert_eq!(exporter.request("POST", "/-/reload", &[]).status, 200);
    assert_eq!(exporter.metric(series), None);
}

#[test]
fn a_file_takes_over_from_the_built_in_configuration() {
    let exporter = Exporter::start_in(Dir::new(), &["--web.listen-address=127.0.0.1:0"]);
    assert!(has_module(&exporter, "http_2xx"));
    exporter.dir.write("blackbox.yml", NEW);
    assert_eq!(exporter.request("POST", "/-/reload", &[]).status, 200);
    assert!(has_module(&exporter, "new"));
}
