//! METRICS.md and the code say the same.

use std::fs;
use std::path::Path;

use heartbeat_exporter::metrics::names::{Kind, TABLE};
use heartbeat_exporter::runner::{Phase, Reason};

/// The tables that METRICS.md holds between `<!-- NAME -->` and `<!-- end of NAME -->`.
fn tables() -> [(&'static str, String); 3] {
    let mut metrics = String::from("| Metric | Type | Meaning |\n|---|---|---|\n");
    for facts in TABLE {
        let kind = match facts.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        metrics.push_str(&format!("| `{}` | {kind} | {} |\n", facts.name, facts.help));
    }
    let values = |title: &str, rows: &[(&str, &str)]| {
        let mut table = format!("| `{title}` | Meaning |\n|---|---|\n");
        rows.iter().for_each(|(value, help)| table.push_str(&format!("| `{value}` | {help} |\n")));
        table
    };
    let phases: Vec<_> = Phase::ALL.iter().map(|phase| (phase.as_str(), phase.help())).collect();
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| (reason.as_str(), reason.help())).collect();
    [("metrics", metrics), ("phases", values("phase", &phases)), ("reasons", values("reason", &reasons))]
}

#[test]
fn the_tables_of_metrics_md_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("METRICS.md");
    let text = fs::read_to_string(path).unwrap();
    for (name, want) in tables() {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let got = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end)).map(|(table, _)| table);
        assert!(got == Some(want.as_str()), "METRICS.md must have between {begin}and {end}:\n{want}");
    }
}
