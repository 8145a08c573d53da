//! Dashboards and alerting rules use only metrics that exist.

use std::fs;
use std::path::Path;

use heartbeat_exporter::metrics::names::{Kind, TABLE};

/// How the names of our metrics begin.
const PREFIXES: [&str; 6] =
    ["probe_", "heartbeat_", "blackbox_exporter_", "blackbox_module_", "process_", "net_conntrack_"];

/// All words of a text that begin like a metric. Words are what names consist of.
fn metric_like(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix)));
    // The name of a job.
    ours.filter(|word| *word != "heartbeat_exporter")
}

fn exists(name: &str) -> bool {
    TABLE.iter().any(|facts| match name.strip_prefix(facts.name) {
        Some("") => true,
        Some("_bucket" | "_sum" | "_count") => facts.kind == Kind::Histogram,
        _ => false,
    })
}

#[test]
fn dashboards_and_rules_name_only_metrics_of_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for folder in ["dashboards", "alerting-rules", "alerting-rules/tests"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if !path.extension().is_some_and(|extension| extension == "json" || extension == "yml") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for name in metric_like(&text) {
                assert!(exists(name), "{}: {name} is not a metric of names.rs", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "only {seen} names found");
}
