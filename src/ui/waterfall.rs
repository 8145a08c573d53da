//! The timeline of a probe as a picture, and as a table for those who do not see it.
//!
//! Positions are percentages of the width and letters keep their size, so that the picture fits a phone as well
//! as a wide screen. Colours are in the style sheet.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};

use super::text::duration;
use crate::runner::{Outcome, Phase, Span};

/// One bar of the picture.
#[derive(Debug, PartialEq)]
struct Bar {
    phase: Phase,
    /// Since the start of the probe.
    start: Duration,
    length: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    /// The probe failed in this phase.
    Failed,
}

fn bars(outcome: &Outcome) -> Vec<Bar> {
    let timeline = outcome.report.timeline();
    let failed = outcome.failure.as_ref().map(|error| error.phase);
    let failed_at = failed.and_then(|phase| timeline.iter().rposition(|span| span.phase == phase));
    let bar = |(at, span): (usize, &Span)| {
        let end = span.end.unwrap_or(outcome.duration);
        let state = if Some(at) == failed_at { State::Failed } else { State::Done };
        Bar { phase: span.phase, start: span.start, length: end.saturating_sub(span.start), state }
    };
    timeline.iter().enumerate().map(bar).collect()
}

/// The picture and the table; says so if there is nothing to show.
pub fn timeline(outcome: &Outcome) -> Markup {
    let bars = bars(outcome);
    html! {
        @if bars.is_empty() {
            p { "The probe ended before its first phase." }
        } @else {
            (picture(&bars, outcome.duration))
            (table(&bars, outcome.duration))
        }
    }
}

fn picture(bars: &[Bar], total: Duration) -> Markup {
    let end = bars.iter().map(|bar| bar.start + bar.length).max().unwrap_or_default();
    let scale = Scale(total.max(end).as_secs_f64().max(SHORTEST));
    let bottom = bars.len() * ROW;
    let height = bottom + AXIS;
    html! {
        svg class="waterfall" role="img" aria-labelledby="timeline-title timeline-text" width="100%" height=(height) {
            title id="timeline-title" { "Phases of the probe in the order of time" }
            desc id="timeline-text" { (description(bars)) }
            defs {
                pattern id="failed" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect class="hatch" width="2.5" height="6" {}
                }
            }
            @for (percent, label) in scale.ticks() {
                line class="grid" x1=(percent) x2=(percent) y1="0" y2=(bottom) {}
                text class="axis" x=(percent) y=(bottom + 16) text-anchor=(label.anchor) { (label.text) }
            }
            @for (at, bar) in bars.iter().enumerate() {
                @let top = at * ROW;
                @let failed = bar.state == State::Failed;
                text class="name" x="0" y=(top + 14) {
                    @if failed { tspan class="mark" { "✕ " } }
                    (bar.phase.as_str())
                }
                text class="took" x="100%" y=(top + 14) text-anchor="end" { (duration(bar.length)) }
                @let (x, width) = scale.place(bar);
                rect class={ "bar phase-" (bar.phase.as_str()) } x=(x) y=(top + 19) width=(width) height=(BAR) rx="2" {}
                @if failed {
                    rect x=(x) y=(top + 19) width=(width) height=(BAR) rx="2" fill="url(#failed)" {}
                }
            }
        }
    }
}

/// The picture in words.
fn description(bars: &[Bar]) -> String {
    let mut text = String::new();
    for bar in bars {
        let failed = if bar.state == State::Failed { ", where the probe failed" } else { "" };
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "{}{} from {} for {}{failed}",
            if text.is_empty() { "" } else { "; " },
            bar.phase,
            duration(bar.start),
            duration(bar.length)
        );
    }
    text
}

fn table(bars: &[Bar], total: Duration) -> Markup {
    let inside: Duration = bars.iter().map(|bar| bar.length).sum();
    let rest = total.saturating_sub(inside);
    let share =
        |part: Duration| format!("{:.0} %", percent(part.as_secs_f64(), total.as_secs_f64().max(SHORTEST)));
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Phases as a table" {
            table class="phases" {
                thead { tr {
                    th scope="col" { "Phase" }
                    th scope="col" class="number" { "Begins at" }
                    th scope="col" class="number" { "Takes" }
                    th scope="col" class="less number" { "Share" }
                    th scope="col" class="less" { "What happens" }
                } }
                tbody {
                    @for bar in bars {
                        tr {
                            th scope="row" {
                                (bar.phase.as_str())
                                @if bar.state == State::Failed { " " strong { "failed" } }
                            }
                            td class="number" { (duration(bar.start)) }
                            td class="number" { (duration(bar.length)) }
                            td class="less number" { (share(bar.length)) }
                            td class="less quiet" { (bar.phase.help()) }
                        }
                    }
                    @if rest >= Duration::from_micros(1) {
                        tr {
                            th scope="row" { "between" }
                            td {}
                            td class="number" { (duration(rest)) }
                            td class="less number" { (share(rest)) }
                            td class="less quiet" { "time that belongs to no phase" }
                        }
                    }
                }
            }
        }
    }
}

/// Where things are, for a picture of this many seconds.
#[derive(Debug, Clone, Copy)]
struct Scale(f64);

/// A word below the axis.
#[derive(Debug, PartialEq)]
struct Label {
    text: String,
    anchor: &'static str,
}

impl Scale {
    /// Begin and width of a bar. The shortest one is still seen, and none ends outside.
    fn place(self, bar: &Bar) -> (String, String) {
        let width = percent(bar.length.as_secs_f64(), self.0).clamp(NARROWEST, 100.0);
        let start = percent(bar.start.as_secs_f64(), self.0).clamp(0.0, 100.0 - width);
        (format!("{start:.2}%"), format!("{width:.2}%"))
    }

    /// Positions of the lines of the grid: a round number apart, three to five of them.
    fn ticks(self) -> Vec<(String, Label)> {
        let rough = self.0 / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(power * 10.0);
        let places = (0_u32..).map(|at| f64::from(at) * step).take_while(|at| *at <= self.0 * 1.000_001);
        let tick = |at: f64| {
            let percent = percent(at, self.0).min(100.0);
            let anchor = match percent {
                0.0 => "start",
                ..90.0 => "middle",
                _ => "end",
            };
            (format!("{percent:.2}%"), Label { text: tick_text(at, step), anchor })
        };
        places.map(tick).collect()
    }
}

/// A moment on the axis, with as many digits as its step needs.
fn tick_text(at: f64, step: f64) -> String {
    let (factor, unit) = match step {
        1.0.. => (1.0, "s"),
        0.001.. => (1e3, "ms"),
        _ => (1e6, "µs"),
    };
    // A step of 0.5 s is 500 ms, so whole numbers do, but for parts of a microsecond.
    format!("{:.0} {unit}", at * factor)
}

fn percent(part: f64, whole: f64) -> f64 {
    part / whole * 100.0
}

/// Height of a bar with its words, in pixels.
const ROW: usize = 40;
/// Height of a bar.
const BAR: usize = 10;
/// Height of the words below the axis.
const AXIS: usize = 22;
/// Width of a bar that takes no time, in percent.
const NARROWEST: f64 = 0.5;
/// Seconds that the picture shows at least.
const SHORTEST: f64 = 4e-6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::Level;
    use crate::runner::{ProbeError, Reason, Report};

    fn bar(phase: Phase, start: u64, length: u64, state: State) -> Bar {
        Bar { phase, start: Duration::from_micros(start), length: Duration::from_micros(length), state }
    }

    #[test]
    fn the_grid_has_round_numbers() {
        let cases: [(f64, &[&str]); 6] = [
            (0.0431, &["0 ms", "20 ms", "40 ms"]),
            (0.1, &["0 ms", "50 ms", "100 ms"]),
            (2.0, &["0 ms", "500 ms", "1000 ms", "1500 ms", "2000 ms"]),
            (9.5, &["0 s", "5 s"]),
            (0.000_25, &["0 µs", "100 µs", "200 µs"]),
            (SHORTEST, &["0 µs", "1 µs", "2 µs", "3 µs", "4 µs"]),
        ];
        for (seconds, want) in cases {
            let ticks = Scale(seconds).ticks();
            let texts: Vec<&str> = ticks.iter().map(|(_, label)| label.text.as_str()).collect();
            assert_eq!(texts, want, "{seconds}");
        }
        let anchors: Vec<_> = Scale(0.1).ticks().into_iter().map(|(x, label)| (x, label.anchor)).collect();
        assert_eq!(
            anchors,
            [("0.00%".to_owned(), "start"), ("50.00%".to_owned(), "middle"), ("100.00%".to_owned(), "end")]
        );
    }

    #[test]
    fn bars_stay_inside_and_are_seen() {
        let cases = [
            (0, 1_000_000, "0.00%", "100.00%"),
            (250_000, 500_000, "25.00%", "50.00%"),
            (1_000_000, 0, "99.50%", "0.50%"),
            (900_000, 5_000_000, "0.00%", "100.00%"),
        ];
        for (start, length, x, width) in cases {
            let place = Scale(1.0).place(&bar(Phase::Tls, start, length, State::Done));
            assert_eq!(place, (x.to_owned(), width.to_owned()));
        }
    }

    #[test]
    fn the_last_span_of_the_failed_phase_is_marked_and_what_was_cut_ends_with_the_probe() {
        let mut report = Report::new(Level::Info);
        let started = report.started();
        for phase in [Phase::Connect, Phase::Tls, Phase::Connect] {
            report.begin(phase);
        }
        let failure = Some(ProbeError::new(Phase::Connect, Reason::Refused, "no"));
        let last = report.timeline()[2].start;
        let outcome = Outcome { report, failure, duration: started.elapsed() };
        let bars = bars(&outcome);
        assert_eq!(
            bars.iter().map(|bar| bar.state).collect::<Vec<_>>(),
            [State::Done, State::Done, State::Failed]
        );
        assert_eq!(bars[2].start + bars[2].length, outcome.duration);
        assert_eq!(bars[2].start, last);
        let html = timeline(&outcome).into_string();
        assert_eq!(html.matches("fill=\"url(#failed)\"").count(), 1);
        assert_eq!(html.matches("class=\"bar phase-connect\"").count(), 2);
    }

    #[test]
    fn the_picture_in_words() {
        let bars = [bar(Phase::Resolve, 0, 1500, State::Done), bar(Phase::Connect, 1500, 0, State::Failed)];
        assert_eq!(
            description(&bars),
            "resolve from 0 ms for 1.5 ms; connect from 1.5 ms for 0 ms, where the probe failed"
        );
        let none = Outcome { report: Report::new(Level::Info), failure: None, duration: Duration::ZERO };
        assert!(timeline(&none).into_string().contains("before its first phase"));
    }
}
