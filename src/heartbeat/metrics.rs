//! Heartbeats as metrics: a family after the other over all heartbeats, in one buffer.
//!
//! A series of a heartbeat is there as long as the heartbeat is: its deadline stays while it is down, or the
//! alert would resolve itself. Counters begin at 0 with the heartbeat. No sample has a timestamp.

use std::borrow::Cow;

use super::clock::Cause;
use super::event::Signal;
use super::histogram::{Bounds, Histogram, LATENESS_BOUNDS, RUN_BOUNDS, TRANSIT_BOUNDS};
use super::receiver::{Api, CODE_LABELS, Receiver, Rejected};
use super::record::{Counts, State};
use super::registry::{Declared, Registry, View};
use super::schedule::{Schedule, Time};
use super::shift::Shift;
use crate::metrics::Metric;
use crate::metrics::names as n;
use crate::metrics::samples::{IntoValue as _, Labels};
use crate::metrics::text::Writer;

/// How much is told about each heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Everything.
    #[default]
    Full,
    /// About seven series for each, for large fleets.
    Minimal,
}

impl Profile {
    /// Bytes of text for one heartbeat, usually; for the first size of a buffer.
    pub fn usual_bytes(self) -> usize {
        match self {
            Self::Full => 7_000,
            Self::Minimal => 800,
        }
    }
}

/// What every series of a heartbeat begins with, and the heartbeat.
struct Row<'v> {
    identity: String,
    view: &'v View,
}

impl Row<'_> {
    fn counts(&self) -> &Counts {
        &self.view.record.counts
    }
}

/// Appends the families of these heartbeats, sorted by name; families without a series are left out.
pub fn write_views(w: &mut Writer<'_>, views: &[View], profile: Profile) {
    let rows: Vec<Row<'_>> = views.iter().map(Row::new).collect();
    if profile == Profile::Full {
        write_full(w, &rows);
    } else {
        write_minimal(w, &rows);
    }
}

fn write_minimal(w: &mut Writer<'_>, rows: &[Row<'_>]) {
    gauge(w, rows, n::HEARTBEAT_DEADLINE_TIMESTAMP_SECONDS, |row| row.view.status.deadline.map(unix));
    family(w, rows, n::HEARTBEAT_LAST_PING_TIMESTAMP_SECONDS, |row, sample| {
        if let Some(last) = row.view.record.last.get(Signal::Success) {
            sample(&[("signal", Signal::Success.as_str())], unix(last));
        }
    });
    family(w, rows, n::HEARTBEAT_PINGS_TOTAL, |row, sample| {
        for signal in [Signal::Fail, Signal::Success] {
            sample(&[("signal", signal.as_str())], signals(row, signal));
        }
    });
    gauge(w, rows, n::HEARTBEAT_RUN_DEADLINE_TIMESTAMP_SECONDS, |row| row.view.status.run_deadline.map(unix));
    family(w, rows, n::HEARTBEAT_STATE_CHANGES_TOTAL, |row, sample| {
        sample(&[("to", State::Down.as_str())], changes(row, State::Down));
    });
    gauge(w, rows, n::HEARTBEAT_UP, |row| up(row.view.status.state));
}

fn write_full(w: &mut Writer<'_>, rows: &[Row<'_>]) {
    gauge(w, rows, n::HEARTBEAT_ADAPTIVE_TIMEOUT_SECONDS, |row| {
        row.view.status.adaptive_timeout.map(|timeout| timeout.as_seconds_f64())
    });
    gauge(w, rows, n::HEARTBEAT_CREATED_TIMESTAMP_SECONDS, |row| Some(unix(row.view.record.created)));
    gauge(w, rows, n::HEARTBEAT_DATA_ALERT, |row| {
        let record = &row.view.record;
        definition(row).alert_on_data.then(|| record.has_data.into_value())
    });
    gauge(w, rows, n::HEARTBEAT_DEADLINE_TIMESTAMP_SECONDS, |row| row.view.status.deadline.map(unix));
    family(w, rows, n::HEARTBEAT_DOWN_REASON, |row, sample| {
        let Some(reason) = row.view.status.reason else { return };
        match row.view.probed() {
            // Labels in their order, and an empty one is none.
            Some(probed) => sample(
                &[("reachable", if probed { "true" } else { "false" }), ("reason", reason.as_str())],
                1.0,
            ),
            None => sample(&[("reason", reason.as_str())], 1.0),
        }
    });
    counter(w, rows, n::HEARTBEAT_EARLY_PINGS_TOTAL, |counts| counts.early);
    gauge(w, rows, n::HEARTBEAT_EXPECTED_TIMESTAMP_SECONDS, |row| row.view.status.expected.map(unix));
    counter(w, rows, n::HEARTBEAT_FALSE_ALARMS_TOTAL, |counts| counts.false_alarms);
    gauge(w, rows, n::HEARTBEAT_GRACE_SECONDS, |row| Some(definition(row).grace.as_seconds_f64()));
    write_info(w, rows);
    gauge(w, rows, n::HEARTBEAT_INTERVAL_SECONDS, |row| {
        definition(row).schedule.period().map(|period| period.as_seconds_f64())
    });
    gauge(w, rows, n::HEARTBEAT_LAST_EXIT_CODE, |row| row.view.record.exit_code.map(f64::from));
    family(w, rows, n::HEARTBEAT_LAST_PING_TIMESTAMP_SECONDS, |row, sample| {
        for signal in SIGNALS {
            if let Some(last) = row.view.record.last.get(signal) {
                sample(&[("signal", signal.as_str())], unix(last));
            }
        }
    });
    gauge(w, rows, n::HEARTBEAT_LAST_RUN_DURATION_SECONDS, |row| row.view.record.run_seconds);
    histogram(w, rows, n::HEARTBEAT_LATENESS_SECONDS, &LATENESS_BOUNDS, |counts| &counts.latenesses);
    counter(w, rows, n::HEARTBEAT_MISSED_TOTAL, |counts| counts.missed);
    gauge(w, rows, n::HEARTBEAT_MISTAKE_SECONDS_TOTAL, |row| Some(row.counts().mistake_seconds));
    family(w, rows, n::HEARTBEAT_PAYLOAD_VALUE, |row, sample| {
        // A silence that has just become a failure is not in the record yet.
        let is_told = row.view.status.state != State::Down;
        for (key, value) in row.view.record.values.iter().filter(|_| is_told) {
            if let Some(key) = row.view.declared.value_name(key) {
                sample(&[("key", key)], *value);
            }
        }
    });
    gauge(w, rows, n::HEARTBEAT_PHI, |row| row.view.status.phi);
    family(w, rows, n::HEARTBEAT_PINGS_TOTAL, |row, sample| {
        for signal in [Signal::Data, Signal::Fail] {
            sample(&[("signal", signal.as_str())], signals(row, signal));
        }
        sample(&[("signal", "ignored")], row.counts().ignored.into_value());
        for signal in [Signal::Log, Signal::Start, Signal::Success] {
            sample(&[("signal", signal.as_str())], signals(row, signal));
        }
    });
    gauge(w, rows, n::HEARTBEAT_PROBABLE_TZ_MISMATCH_SECONDS, |row| {
        row.view.record.shift.and_then(Shift::difference).map(|difference| difference.as_seconds_f64())
    });
    gauge(w, rows, n::HEARTBEAT_PROGRESS_UNCHANGED_RUNS, |row| {
        row.view.record.progress.as_ref().map(|(_, runs)| f64::from(*runs))
    });
    counter(w, rows, n::HEARTBEAT_REORDERED_PINGS_TOTAL, |counts| counts.reordered);
    counter(w, rows, n::HEARTBEAT_RESTARTS_TOTAL, |counts| counts.restarts);
    gauge(w, rows, n::HEARTBEAT_RUN_DEADLINE_TIMESTAMP_SECONDS, |row| row.view.status.run_deadline.map(unix));
    histogram(w, rows, n::HEARTBEAT_RUN_DURATION_SECONDS, &RUN_BOUNDS, |counts| &counts.run_durations);
    gauge(w, rows, n::HEARTBEAT_RUNS_IN_PROGRESS, |row| {
        Some((row.view.record.runs.len() as u64).into_value())
    });
    counter(w, rows, n::HEARTBEAT_SEQUENCE_GAPS_TOTAL, |counts| counts.gaps);
    family(w, rows, n::HEARTBEAT_STATE, |row, sample| {
        for state in STATES {
            sample(&[("state", state.as_str())], (row.view.status.state == state).into_value());
        }
    });
    gauge(w, rows, n::HEARTBEAT_STATE_CHANGE_TIMESTAMP_SECONDS, |row| Some(unix(row.view.record.changed)));
    family(w, rows, n::HEARTBEAT_STATE_CHANGES_TOTAL, |row, sample| {
        for state in STATES {
            sample(&[("to", state.as_str())], changes(row, state));
        }
    });
    family(w, rows, n::HEARTBEAT_SUSPICION_PROBE_SUCCESS, |row, sample| {
        if let Some((on_miss, success)) = definition(row).on_miss.as_ref().zip(row.view.probed()) {
            sample(&[("module", &on_miss.module)], success.into_value());
        }
    });
    family(w, rows, n::HEARTBEAT_SUSPICIONS_TOTAL, |row, sample| {
        let counts = row.counts();
        if definition(row).on_miss.is_none() {
            return;
        }
        for (result, count) in [
            ("confirmed", counts.suspicions_confirmed),
            ("inconclusive", counts.suspicions_inconclusive),
            ("refuted", counts.suspicions_refuted),
        ] {
            sample(&[("result", result)], count.into_value());
        }
    });
    histogram(w, rows, n::HEARTBEAT_TRANSIT_SECONDS, &TRANSIT_BOUNDS, |counts| &counts.transits);
    counter(w, rows, n::HEARTBEAT_UNDETECTED_RESTARTS_TOTAL, |counts| counts.undetected_restarts);
    gauge(w, rows, n::HEARTBEAT_UP, |row| up(row.view.status.state));
}

/// In the order of the label values.
const SIGNALS: [Signal; 5] = [Signal::Data, Signal::Fail, Signal::Log, Signal::Start, Signal::Success];
/// In the order of the label values.
const STATES: [State; 6] = [State::Down, State::Late, State::New, State::Paused, State::Running, State::Up];

fn write_info(w: &mut Writer<'_>, rows: &[Row<'_>]) {
    let mut labels: Vec<(Cow<'static, str>, String)> = Vec::new();
    if !rows.is_empty() {
        w.family(n::HEARTBEAT_INFO);
    }
    for row in rows {
        let definition = definition(row);
        let (schedule, zone) = schedule(&row.view.declared);
        labels.push(("namespace".into(), definition.key.namespace().to_owned()));
        labels.push(("heartbeat".into(), definition.key.name().to_owned()));
        labels.push(("kind".into(), definition.schedule.kind().to_owned()));
        labels.push(("schedule".into(), schedule));
        labels.push(("tz".into(), zone.to_owned()));
        labels.extend(definition.labels.iter().map(|(name, value)| (name.clone().into(), value.clone())));
        labels.extend(definition.tags.iter().map(|tag| (tag_label(tag).into(), "true".to_owned())));
        labels.sort();
        // Tags that differ only in characters a label cannot have are one label.
        labels.dedup_by(|a, b| a.0 == b.0);
        w.sample(&Labels::Many(std::mem::take(&mut labels).into()), 1.0);
    }
}

fn tag_label(tag: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("tag_{}", tag.chars().map(word).collect::<String>())
}

/// The schedule as text, and its zone; what came from placeholders as the file has it.
pub fn schedule(declared: &Declared) -> (String, &str) {
    let shown = |key, text: &str| declared.hidden(&[key]).unwrap_or(text).to_owned();
    let (text, zone) = match &declared.definition.schedule {
        Schedule::Every(period) => return (format!("{}s", period.as_seconds_f64()), ""),
        Schedule::Cron(cron) => (shown("cron", cron.as_str()), cron.zone()),
        Schedule::Calendar(calendar) => (shown("calendar", calendar.as_str()), calendar.zone()),
        Schedule::Window(window) if declared.hidden(&["at"]).or(declared.hidden(&["until"])).is_some() => {
            let [at, until] = window.written();
            (format!("{}-{}", shown("at", &at), shown("until", &until)), window.zone())
        }
        Schedule::Window(window) => (window.to_string(), window.zone()),
    };
    (text, declared.hidden(&["tz"]).unwrap_or(zone.name()))
}

impl<'v> Row<'v> {
    fn new(view: &'v View) -> Self {
        let key = view.key();
        // Names consist of characters that need no escape.
        Self { identity: format!("namespace=\"{}\",heartbeat=\"{}\"", key.namespace(), key.name()), view }
    }
}

fn definition<'v>(row: &Row<'v>) -> &'v super::Definition {
    &row.view.declared.definition
}

fn signals(row: &Row<'_>, signal: Signal) -> f64 {
    row.counts().signals.get(signal).into_value()
}

fn changes(row: &Row<'_>, state: State) -> f64 {
    row.counts().changes.get(state).into_value()
}

fn up(state: State) -> Option<f64> {
    match state {
        State::New | State::Paused => None,
        State::Down => Some(0.0),
        State::Up | State::Late | State::Running => Some(1.0),
    }
}

fn unix(time: Time) -> f64 {
    // Microseconds of this century are exact in an f64.
    time.timestamp_micros() as f64 / 1e6
}

fn gauge(w: &mut Writer<'_>, rows: &[Row<'_>], metric: Metric, value: impl Fn(&Row<'_>) -> Option<f64>) {
    family(w, rows, metric, |row, sample| {
        if let Some(value) = value(row) {
            sample(&[], value);
        }
    });
}

fn counter(w: &mut Writer<'_>, rows: &[Row<'_>], metric: Metric, value: impl Fn(&Counts) -> u64) {
    family(w, rows, metric, |row, sample| sample(&[], value(row.counts()).into_value()));
}

/// Writes a family of histograms; a heartbeat is in it from its first observation on.
fn histogram(
    w: &mut Writer<'_>,
    rows: &[Row<'_>],
    metric: Metric,
    bounds: &'static Bounds,
    of: impl Fn(&Counts) -> &Histogram,
) {
    let mut has_begun = false;
    for row in rows {
        let histogram = of(row.counts());
        let mut total = None;
        for (bound, count) in histogram.buckets(bounds) {
            if !std::mem::replace(&mut has_begun, true) {
                w.family(metric);
            }
            w.sample_of_with("_bucket", &row.identity, &[("le", bound)], count.into_value());
            total = Some(count);
        }
        if let Some(total) = total {
            w.sample_of_with("_sum", &row.identity, &[], histogram.sum());
            w.sample_of_with("_count", &row.identity, &[], total.into_value());
        }
    }
}

/// Writes one family; `write` hands over the samples of a heartbeat.
fn family(
    w: &mut Writer<'_>,
    rows: &[Row<'_>],
    metric: Metric,
    write: impl Fn(&Row<'_>, &mut dyn FnMut(&[(&str, &str)], f64)),
) {
    let mut has_begun = false;
    for row in rows {
        write(row, &mut |more, value| {
            if !std::mem::replace(&mut has_begun, true) {
                w.family(metric);
            }
            w.sample_of(&row.identity, more, value);
        });
    }
}

/// Appends what this receiver tells about itself, sorted by name.
pub fn write_receiver(w: &mut Writer<'_>, registry: &Registry, now: Time) {
    w.family(n::HEARTBEAT_BLIND_SECONDS_TOTAL);
    for (cause, name) in Cause::ALL {
        w.sample(&Labels::One("cause", name), registry.blind_seconds(cause));
    }
    w.family(n::HEARTBEAT_CLOCK_JUMPS_TOTAL);
    for (is_forward, direction) in [(false, "back"), (true, "forward")] {
        w.sample(&Labels::One("direction", direction), registry.clock_jumps(is_forward).into_value());
    }
    w.family(n::HEARTBEAT_EVALUATOR_LAG_SECONDS);
    w.sample(&Labels::None, registry.lag().as_secs_f64());
    let states = registry.states();
    w.family(n::HEARTBEAT_HEARTBEATS);
    for state in STATES {
        let count = states.get(state as usize).copied().unwrap_or(0);
        w.sample(&Labels::One("state", state.as_str()), count.into_value());
    }
    write_requests(w, &registry.receiver);
    w.family(n::HEARTBEAT_RECEIVER_TIME_SECONDS);
    w.sample(&Labels::None, unix(now));
    let peers = registry.peer_lags();
    if !peers.is_empty() {
        w.family(n::HEARTBEAT_REPLICA_LAG_SECONDS);
    }
    for (peer, lag) in peers {
        w.sample_with("", &[("peer", &peer)], lag.as_secs_f64());
    }
    w.family(n::HEARTBEAT_SETTLING);
    w.sample(&Labels::None, registry.is_settling(now).into_value());
}

fn write_requests(w: &mut Writer<'_>, receiver: &Receiver) {
    w.family(n::HEARTBEAT_RECEIVER_REJECTED_TOTAL);
    for ((_, reason), count) in Rejected::ALL.iter().zip(&receiver.rejected) {
        w.sample(&Labels::One("reason", reason), count.value());
    }
    w.family(n::HEARTBEAT_RECEIVER_REQUEST_DURATION_SECONDS);
    receiver.durations.write(w, &[]);
    w.family(n::HEARTBEAT_RECEIVER_REQUESTS_TOTAL);
    for ((_, api), codes) in Api::ALL.iter().zip(&receiver.requests) {
        for (code, count) in CODE_LABELS.iter().zip(codes) {
            w.sample_with("", &[("api", api), ("code", code)], count.value());
        }
    }
}
