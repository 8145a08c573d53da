//! The log lines of one probe as text.

use std::fmt::Write as _;
use std::time::SystemTime;

use crate::logging::{self, Format, Line};
use crate::probers::Module;
use crate::runner::Report;

/// Appends the lines a probe left behind, oldest first.
pub fn write(out: &mut String, format: Format, module: &Module, target: &str, report: &Report) {
    // The peer names a file and a line here; what a reader wants to know is which prober speaks.
    let source = module.written.prober.map_or("prober", |kind| kind.name());
    for event in report.events() {
        let time: SystemTime = report.started_at() + event.offset;
        let mut line = Line::new(out, format, time, event.level, source, event.message);
        line.field("module", &module.name);
        line.field("target", target);
        for (name, value) in &event.fields {
            line.probe_field(name, value);
        }
        line.finish();
    }
}

/// Writes them to stderr.
pub fn to_stderr(format: Format, module: &Module, target: &str, report: &Report) {
    if report.events().is_empty() {
        return;
    }
    let mut lines = String::with_capacity(report.events().len() * USUAL_LINE);
    write(&mut lines, format, module, target, report);
    if let Some(left_out) = lines.len().checked_sub(MAX_BYTES).filter(|bytes| *bytes > 0) {
        logging::clip(&mut lines, MAX_BYTES);
        let _ = writeln!(lines, " ({left_out} bytes of log lines left out)");
    }
    logging::write(lines);
}

/// Bytes of a usual line.
const USUAL_LINE: usize = 256;
/// Bytes one probe may add to the log.
const MAX_BYTES: usize = 256 << 10;
