//! What one probe leaves behind: samples, timeline, log lines.
//!
//! It lives outside the prober's future, so a deadline that drops the future loses nothing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::error::Phase;
use crate::config::mask::Mask;
use crate::logging::Level;
use crate::metrics::Samples;

/// One timed part of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What was done.
    pub phase: Phase,
    /// Begin, counted from the start of the probe.
    pub start: Duration,
    /// End, counted from the start of the probe; `None` while it runs or when the deadline cut it.
    pub end: Option<Duration>,
}

/// One log line of a probe, kept structured and formatted only when somebody reads it.
#[derive(Debug, Clone)]
pub struct Event {
    /// Time since the start of the probe.
    pub offset: Duration,
    /// Importance.
    pub level: Level,
    /// What happened.
    pub message: &'static str,
    /// With which values.
    pub fields: Vec<(&'static str, String)>,
}

/// What one probe leaves behind.
#[derive(Debug)]
pub struct Report {
    /// Metrics.
    pub samples: Samples,
    timeline: Vec<Span>,
    events: Vec<Event>,
    log_level: Level,
    step: Option<usize>,
    mask: Option<Arc<Mask>>,
    started: Instant,
    started_at: SystemTime,
}

impl Report {
    /// An empty report of a probe that starts now and keeps log lines of `log_level` and above.
    pub fn new(log_level: Level) -> Self {
        Self {
            samples: Samples::new(),
            timeline: Vec::new(),
            events: Vec::new(),
            log_level,
            step: None,
            mask: None,
            started: Instant::now(),
            started_at: SystemTime::now(),
        }
    }

    /// The report, with log lines that hide what `mask` hides.
    pub fn masked(self, mask: Option<Arc<Mask>>) -> Self {
        Self { mask, ..self }
    }

    /// Monotonic start of the probe.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Wall-clock start of the probe.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// Begins a phase and ends the one before it, at the same instant.
    pub fn begin(&mut self, phase: Phase) -> Instant {
        let now = Instant::now();
        self.end_at(now);
        if self.timeline.len() < MAX_SPANS {
            self.timeline.push(Span { phase, start: now - self.started, end: None });
        }
        now
    }

    /// Ends the running phase and returns how long it took; zero when none runs.
    pub fn end(&mut self) -> Duration {
        self.end_at(Instant::now())
    }

    /// Ends the running phase at an instant taken closer to the event than this call.
    pub fn end_at(&mut self, now: Instant) -> Duration {
        let now = now.saturating_duration_since(self.started);
        match self.timeline.last_mut() {
            Some(span) if span.end.is_none() => {
                span.end = Some(now.max(span.start));
                now.saturating_sub(span.start)
            }
            _ => Duration::ZERO,
        }
    }

    /// The phase that runs, or the last one that did.
    pub fn phase(&self) -> Phase {
        self.timeline.last().map_or(Phase::Prepare, |span| span.phase)
    }

    /// The phases so far, in order of time.
    pub fn timeline(&self) -> &[Span] {
        &self.timeline
    }

    /// Takes back the phases from the `kept`-th on, which then count for nothing.
    pub fn take_back(&mut self, kept: usize) {
        self.timeline.truncate(kept);
    }

    /// Total time spent in a phase, in all its spans.
    pub fn total(&self, phase: Phase) -> Duration {
        let spans = self.timeline.iter().filter(|span| span.phase == phase);
        spans.filter_map(|span| Some(span.end?.saturating_sub(span.start))).sum()
    }

    /// Begins a step of a dialogue, counted from 1; `None` when all are done.
    pub fn at_step(&mut self, number: Option<usize>) {
        self.step = number;
    }

    /// The step of a dialogue that runs, or that the probe ended in.
    pub fn step(&self) -> Option<usize> {
        self.step
    }

    /// Keeps a log line; `fields` is only called when the line's level is wanted.
    pub fn log(
        &mut self,
        level: Level,
        message: &'static str,
        fields: impl FnOnce() -> Vec<(&'static str, String)>,
    ) {
        if level >= self.log_level && self.events.len() < MAX_EVENTS {
            let mut fields = fields();
            for (_, value) in &mut fields {
                if let Some(mask) = &self.mask {
                    mask.redact(value);
                }
                crate::logging::clip(value, MAX_FIELD_BYTES);
            }
            self.events.push(Event { offset: self.started.elapsed(), level, message, fields });
        }
    }

    /// The log lines, oldest first.
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

/// Log lines kept of one probe.
const MAX_EVENTS: usize = 256;
/// Phases kept of one probe: eleven hops of an HTTP redirect chain fit.
const MAX_SPANS: usize = 64;
/// Bytes kept of one value in a log line.
const MAX_FIELD_BYTES: usize = 4096;
