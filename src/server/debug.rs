//! The debug text of a probe: its log lines, its metrics, its module.

use crate::logging::Format;
use crate::metrics::text::{self, Escaping, Syntax};
use crate::runner::history::Record;

use super::probe_log;

/// Renders a probe for a reader. The three headings are those of the peer, since scripts split there.
pub fn text(format: Format, record: &Record) -> String {
    let report = &record.outcome.report;
    let mut out = "Logs for the probe:\n".to_owned();
    probe_log::write(&mut out, format, &record.module, &record.target, report);
    out.push_str("\n\n\nMetrics that would have been returned:\n");
    let mut metrics = Vec::new();
    text::write_samples(&mut metrics, &report.samples, Syntax::Prometheus, Escaping::AllowUtf8);
    out.push_str(&String::from_utf8_lossy(&metrics));
    out.push_str("\n\n\nModule configuration:\n");
    out.push_str(&record.module_yaml());
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::{self, LoadOptions};
    use crate::logging::Level;
    use crate::metrics::names;
    use crate::probers::{self, Module};
    use crate::runner::{Outcome, Report};

    fn record(module: &Arc<Module>, report: Report) -> Record {
        let outcome = Outcome { report, failure: None, duration: Duration::ZERO };
        Record::new(Arc::clone(module), "t".to_owned(), None, outcome)
    }

    #[test]
    fn the_layout() {
        let file = config::load("modules:\n  m: {prober: tcp}\n", &LoadOptions { strict: false }).unwrap();
        let module = Arc::clone(&probers::compile_all(file)["m"]);
        let mut report = Report::new(Level::Info);
        report.samples.set(names::PROBE_SUCCESS, true);
        let got = text(Format::Logfmt, &record(&module, report));
        let want = format!(
            "Logs for the probe:\n\n\n\nMetrics that would have been returned:\n\
             # HELP probe_success Whether the probe succeeded.\n# TYPE probe_success gauge\nprobe_success 1\n\
             \n\n\nModule configuration:\n{}",
            module.written.to_yaml()
        );
        assert_eq!(got, want);

        let mut report = Report::new(Level::Info);
        report.log(Level::Error, "Probe failed", || {
            vec![("target", "other".to_owned()), ("err", "a b".to_owned())]
        });
        let got = text(Format::Logfmt, &record(&module, report));
        let line = got.lines().nth(1).unwrap_or_default();
        let (_, line) = line.split_once(' ').unwrap_or_default();
        assert_eq!(
            line,
            "level=ERROR source=tcp msg=\"Probe failed\" module=m target=t target=other err=\"a b\""
        );
        assert!(got.contains("err=\"a b\"\n\n\n\nMetrics that would"));
    }
}
