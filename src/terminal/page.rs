//! The report of one probe on a terminal.

use std::time::Duration;

use super::checks::{self, Check, Verdict};
use super::style::{Paint, Tone, millis, printable};
use super::{certificate, facts};
use crate::logging::Level;
use crate::metrics::names;
use crate::runner::history::Record;
use crate::runner::{Event, ProbeError, Span};

/// What is shown, and how.
#[derive(Debug)]
pub struct Page<'a> {
    /// The finished probe.
    pub record: &'a Record,
    /// Where the module comes from.
    pub config: &'a str,
    /// Whether the terminal takes colours.
    pub is_coloured: bool,
    /// Whether the log lines are shown.
    pub has_logs: bool,
}

impl Page<'_> {
    /// The whole text: what was done, where the time went, the answer, the checks, and at the end the result.
    pub fn text(&self) -> String {
        let outcome = &self.record.outcome;
        let mut sheet = Sheet { out: String::new(), paint: Paint(self.is_coloured) };
        self.title(&mut sheet);
        let spans = outcome.report.timeline();
        if !spans.is_empty() {
            waterfall(&mut sheet, spans, outcome.duration, outcome.failure.as_ref());
        }
        let facts = facts::facts(outcome);
        if !facts.is_empty() {
            sheet.heading("Peer");
            sheet.facts(facts);
        }
        if let Some((tone, verdict)) = certificate::verdict(outcome) {
            sheet.heading("Certificate");
            sheet.row("verdict", tone, &verdict);
            sheet.facts(certificate::facts(outcome));
        }
        let checks = checks::checks(&self.record.module.written, outcome);
        if !checks.is_empty() {
            sheet.heading("Checks");
            for check in &checks {
                sheet.check(check);
            }
        }
        if self.has_logs {
            sheet.heading("Log");
            for event in outcome.report.events() {
                sheet.event(event);
            }
        }
        self.result(&mut sheet);
        sheet.out
    }

    fn title(&self, sheet: &mut Sheet) {
        let Record { module, target, hostname, .. } = self.record;
        let prober = module.written.prober.map_or("", |kind| kind.name());
        let hostname = hostname.as_ref().map(|name| format!(", hostname {name}")).unwrap_or_default();
        let target = sheet.paint.on(Tone::Strong, &printable(target));
        let rest = printable(&format!("module {} ({prober}) of {}{hostname}", module.name, self.config));
        sheet.line(&format!("{target}, {rest}"));
    }

    fn result(&self, sheet: &mut Sheet) {
        let outcome = &self.record.outcome;
        let allowed = facts::positive(outcome, names::PROBE_TIMEOUT_SECONDS).unwrap_or(0.0);
        let time = format!("after {} of {allowed} s", millis(outcome.duration));
        sheet.line("");
        match &outcome.failure {
            None => {
                let word = sheet.paint.on(Tone::Good, "OK");
                sheet.line(&format!("{word} {time}"));
            }
            Some(error) => {
                let word = sheet.paint.on(Tone::Bad, "FAILED");
                sheet.line(&format!("{word} {time}"));
                sheet.row("phase", Tone::Faint, &format!("{}: {}", error.phase, error.phase.help()));
                sheet.row("reason", Tone::Faint, &format!("{}: {}", error.reason, error.reason.help()));
                sheet.row("message", Tone::Bad, &error.chain());
            }
        }
    }
}

/// One line for each phase, and what it takes of the whole.
fn waterfall(sheet: &mut Sheet, spans: &[Span], whole: Duration, failure: Option<&ProbeError>) {
    let (phases, start) = ("Phases", "start");
    sheet.line("");
    let heading = sheet.paint.on(Tone::Strong, &format!("{phases:<12} {start:>11} {:>11}", "duration"));
    sheet.line(&heading);
    let failed = failure.and_then(|error| {
        let at = spans.iter().rposition(|span| span.phase == error.phase)?;
        Some((at, error.reason))
    });
    for (at, span) in spans.iter().enumerate() {
        let end = span.end.unwrap_or(whole);
        let (skipped, length) = bar(span.start, end, whole);
        let failed = failed.filter(|(failed, _)| *failed == at).map(|(_, reason)| reason.as_str());
        let tone = if failed.is_some() { Tone::Bad } else { Tone::Good };
        let bar = sheet.paint.on(tone, &"=".repeat(length));
        let note = failed.map(|reason| format!(" {}", sheet.paint.on(Tone::Bad, reason))).unwrap_or_default();
        let (start, took) = (millis(span.start), millis(end.saturating_sub(span.start)));
        let before = " ".repeat(skipped);
        sheet.line(&format!("  {:<10} {start:>11} {took:>11}  {before}{bar}{note}", span.phase.as_str()));
    }
}

/// Columns before a bar, and its length: at least one, for what is short is there all the same.
fn bar(start: Duration, end: Duration, whole: Duration) -> (usize, usize) {
    let column = |time: Duration, round: fn(f64) -> f64| {
        let part = if whole.is_zero() { 0.0 } else { time.as_secs_f64() / whole.as_secs_f64() };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to BAR_COLUMNS")]
        let column = round(part.clamp(0.0, 1.0) * BAR_COLUMNS) as usize;
        column
    };
    let last = column(whole, f64::floor).saturating_sub(1);
    let first = column(start, f64::floor).min(last);
    (first, column(end, f64::ceil).saturating_sub(first).max(1))
}

/// Columns that stand for the whole probe; with what is before them, a line has 80.
const BAR_COLUMNS: f64 = 42.0;

/// Lines that grow into the page.
struct Sheet {
    out: String,
    paint: Paint,
}

impl Sheet {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn heading(&mut self, text: &str) {
        let heading = self.paint.on(Tone::Strong, text);
        self.line(&format!("\n{heading}"));
    }

    fn facts(&mut self, facts: Vec<facts::Fact>) {
        for (name, text) in facts {
            self.line(&format!("  {name:<12} {}", printable(&text)));
        }
    }

    fn row(&mut self, name: &str, tone: Tone, text: &str) {
        let text = self.paint.on(tone, &printable(text));
        self.line(&format!("  {name:<12} {text}"));
    }

    fn check(&mut self, check: &Check) {
        let (tone, word, why) = match &check.verdict {
            Verdict::Passed => (Tone::Good, "ok", None),
            Verdict::Failed(why) => (Tone::Bad, "failed", Some(why)),
            Verdict::NotDone => (Tone::Faint, "not done", None),
        };
        let mut verdict = self.paint.on(tone, &format!("{word:<12}"));
        let mut name = check.name;
        for rule in &check.rules {
            self.line(&format!("  {verdict} {name:<12} {}", printable(rule)));
            (verdict, name) = (format!("{:<12}", ""), "");
        }
        if let Some(why) = why {
            let why = self.paint.on(tone, &printable(why));
            self.line(&format!("  {:<12} {:<12} {why}", "", ""));
        }
    }

    fn event(&mut self, event: &Event) {
        let tone = match event.level {
            Level::Error => Tone::Bad,
            Level::Warn => Tone::Doubtful,
            _ => Tone::Faint,
        };
        let level = self.paint.on(tone, &format!("{:<5}", event.level.as_str()));
        let fields: Vec<String> =
            event.fields.iter().map(|(name, value)| format!(" {name}={}", printable(value))).collect();
        let offset = millis(event.offset);
        self.line(&format!("  {offset:>12} {level} {}{}", event.message, fields.concat()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::{Phase, Reason};

    #[test]
    fn bars_stand_where_the_time_went() {
        let ms = Duration::from_millis;
        let cases = [
            ((0, 100, 100), (0, 42)),
            ((0, 50, 100), (0, 21)),
            ((50, 100, 100), (21, 21)),
            ((0, 0, 100), (0, 1)),
            ((100, 100, 100), (41, 1)),
            ((99, 100, 100), (41, 1)),
            ((0, 300, 100), (0, 42)),
            ((0, 0, 0), (0, 1)),
        ];
        for ((start, end, whole), want) in cases {
            assert_eq!(bar(ms(start), ms(end), ms(whole)), want, "{start} {end} {whole}");
        }
    }

    #[test]
    fn the_phase_that_failed_is_marked() {
        let span = |phase, start, end: Option<u64>| Span {
            phase,
            start: Duration::from_micros(start),
            end: end.map(Duration::from_micros),
        };
        let spans = [
            span(Phase::Resolve, 0, Some(10_000)),
            span(Phase::Connect, 10_000, Some(20_500)),
            span(Phase::Connect, 20_500, None),
        ];
        let error = ProbeError::new(Phase::Connect, Reason::Deadline, "late");
        let text = |is_coloured| {
            let mut sheet = Sheet { out: String::new(), paint: Paint(is_coloured) };
            waterfall(&mut sheet, &spans, Duration::from_millis(1042), Some(&error));
            sheet.out
        };
        let want = "
Phases             start    duration
  resolve        0.00 ms    10.00 ms  =
  connect       10.00 ms    10.50 ms  =
  connect       20.50 ms  1021.50 ms  ========================================== deadline
";
        assert_eq!(text(false), want);
        let last = text(true).lines().last().unwrap().to_owned();
        assert!(last.ends_with("=\x1b[0m \x1b[31mdeadline\x1b[0m"), "{last:?}");
    }
}
