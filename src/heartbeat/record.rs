//! What is remembered about one heartbeat, and kept in the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{BySignal, Signal};
use super::few::{Few, Kind};
use super::histogram::Histogram;
use super::phi::Rhythm;
use super::schedule::Time;
use super::shift::Shift;

/// The memory of one heartbeat. Changed only by [`super::state`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When it was configured or made.
    pub created: Time,
    /// When each kind of signal was received last.
    #[serde(skip_serializing_if = "is_default")]
    pub last: BySignal<Option<Time>>,
    /// What the schedule counts from: the last signal that ended a run. A step of the receiver's clock moves it.
    #[serde(skip_serializing_if = "is_default")]
    pub contact: Option<Time>,
    /// Silence before this moment is not held against it: the receiver was blind.
    #[serde(skip_serializing_if = "is_default")]
    pub credit: Option<Time>,
    /// Open runs by run id, the empty one for signals without; at most [`MAX_RUNS`].
    #[serde(skip_serializing_if = "is_default")]
    pub runs: BTreeMap<String, Time>,
    /// Whether the last signal that ended a run was a failure.
    #[serde(skip_serializing_if = "is_default")]
    pub failed: bool,
    /// Whether the last signal that ended a run carried data.
    #[serde(skip_serializing_if = "is_default")]
    pub has_data: bool,
    /// The state the last change led to.
    pub state: State,
    /// When it changed.
    pub changed: Time,
    /// The present or the last down episode.
    #[serde(skip_serializing_if = "is_default")]
    pub episode: Option<Episode>,
    /// Whether its own key in the shared store is there, for nodes that have one.
    #[serde(skip_serializing_if = "is_default")]
    pub presence: Option<Presence>,
    /// Until when nothing is expected.
    #[serde(skip_serializing_if = "is_default")]
    pub pause: Option<Pause>,
    /// Slots up to this moment are counted.
    #[serde(skip_serializing_if = "is_default")]
    pub counted: Option<Time>,
    /// Exit status of the last finished run.
    #[serde(skip_serializing_if = "is_default")]
    pub exit_code: Option<i32>,
    /// Seconds the last run took.
    #[serde(skip_serializing_if = "is_default")]
    pub run_seconds: Option<f64>,
    /// The last sequence number.
    #[serde(skip_serializing_if = "is_default")]
    pub sequence: Option<u64>,
    /// The sender's present life.
    #[serde(skip_serializing_if = "is_default")]
    pub incarnation: Option<String>,
    /// The last progress token, and how many successful runs in a row brought it.
    #[serde(skip_serializing_if = "is_default")]
    pub progress: Option<(String, u32)>,
    /// The last numbers.
    #[serde(skip_serializing_if = "is_default")]
    pub values: BTreeMap<String, f64>,
    /// Text of the last check-in with data, clipped to [`MAX_TEXT_BYTES`].
    #[serde(skip_serializing_if = "is_default")]
    pub text: String,
    /// Distances between signals.
    #[serde(skip_serializing_if = "is_default")]
    pub rhythm: Rhythm,
    /// Hours between signals and slots.
    #[serde(skip_serializing_if = "is_default")]
    pub shift: Option<Shift>,
    /// The last signals with a run id or a sequence number, newest last; at most [`MAX_RECENT`].
    #[serde(skip_serializing_if = "is_default")]
    pub recent: Vec<Recent>,
    /// What is counted.
    #[serde(skip_serializing_if = "is_default")]
    pub counts: Counts,
}

/// What a heartbeat is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing was ever received.
    #[default]
    New,
    /// In time.
    Up,
    /// The slot has passed, the grace has not.
    Late,
    /// A run is open, and everything is in time.
    Running,
    /// Something is wrong, see [`Reason`].
    Down,
    /// Nothing is expected for now.
    Paused,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::New, Self::Up, Self::Late, Self::Running, Self::Down, Self::Paused];

    /// Its value of the label `state`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Up => "up",
            Self::Late => "late",
            Self::Running => "running",
            Self::Down => "down",
            Self::Paused => "paused",
        }
    }
}

impl Kind for State {
    const KINDS: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }
}

/// A value for each state.
pub type ByState<V> = Few<State, V, { State::ALL.len() }>;

/// Why a heartbeat is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its last run failed.
    Failed,
    /// Its last check-in carried data, which counts as failure here.
    Data,
    /// A run takes too long.
    Overrun,
    /// Silence.
    Missed,
    /// Its own key in the shared store is gone.
    RegistryLost,
    /// It reports success again and again, and does not get on.
    Stuck,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Failed, Self::Data, Self::Overrun, Self::Missed, Self::RegistryLost, Self::Stuck];

    /// Its value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Data => "data",
            Self::Overrun => "overrun",
            Self::Missed => "missed",
            Self::RegistryLost => "registry_lost",
            Self::Stuck => "stuck",
        }
    }
}

/// A time of being down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// Counts the episodes of this heartbeat, from 1.
    pub id: u64,
    /// When it began: the moment of the failure or of the deadline, not of its discovery.
    pub since: Time,
    /// Why it began.
    pub reason: Reason,
    /// When it ended.
    pub until: Option<Time>,
    /// Result of the follow-up probe, if there was one.
    pub probe_success: Option<bool>,
}

/// The key that a node holds by a lease of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It is there.
    Here,
    /// It was there, and is gone since.
    Gone(Time),
}

/// A time in which nothing is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it began.
    pub since: Time,
    /// When it ends by itself (maintenance); `None`: when somebody ends it.
    pub until: Option<Time>,
}

/// A signal that might come a second time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// When it was received.
    pub received: Time,
    /// What it said.
    pub signal: Signal,
    /// Its run id.
    #[serde(default, skip_serializing_if = "is_default")]
    pub run: Option<String>,
    /// Its sequence number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sequence: Option<u64>,
    /// The life of its sender.
    #[serde(default, skip_serializing_if = "is_default")]
    pub incarnation: Option<String>,
}

/// Counters; they only grow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Accepted signals.
    #[serde(skip_serializing_if = "is_default")]
    pub signals: BySignal<u64>,
    /// Signals that were not, because they came twice.
    #[serde(skip_serializing_if = "is_default")]
    pub ignored: u64,
    /// Slots whose deadline passed in silence.
    #[serde(skip_serializing_if = "is_default")]
    pub missed: u64,
    /// Signals that came before their slot and did not count for it.
    #[serde(skip_serializing_if = "is_default")]
    pub early: u64,
    /// Changes of the state, by the new one.
    #[serde(skip_serializing_if = "is_default")]
    pub changes: ByState<u64>,
    /// Sequence numbers that never came.
    #[serde(skip_serializing_if = "is_default")]
    pub gaps: u64,
    /// Signals older than one that came before.
    #[serde(skip_serializing_if = "is_default")]
    pub reordered: u64,
    /// New incarnations.
    #[serde(skip_serializing_if = "is_default")]
    pub restarts: u64,
    /// New incarnations that no down episode announced.
    #[serde(skip_serializing_if = "is_default")]
    pub undetected_restarts: u64,
    /// Down episodes that turned out to be wrong, and their seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub false_alarms: u64,
    /// What runs took.
    #[serde(skip_serializing_if = "is_default")]
    pub run_durations: Histogram,
    /// How late the signals were that ended a run.
    #[serde(skip_serializing_if = "is_default")]
    pub latenesses: Histogram,
    /// From the sender's clock to ours.
    #[serde(skip_serializing_if = "is_default")]
    pub transits: Histogram,
    /// Seconds of the false alarms.
    #[serde(skip_serializing_if = "is_default")]
    pub mistake_seconds: f64,
    /// Follow-up probes after a miss that said the same, the opposite, or nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub suspicions_confirmed: u64,
    /// See above.
    #[serde(skip_serializing_if = "is_default")]
    pub suspicions_refuted: u64,
    /// See above.
    #[serde(skip_serializing_if = "is_default")]
    pub suspicions_inconclusive: u64,
}

/// What stands at its default is not written: of most records that is most.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Runs watched at the same time; the oldest gives way.
pub const MAX_RUNS: usize = 64;
/// Signals remembered to tell a second delivery.
pub const MAX_RECENT: usize = 16;
/// Text kept of a check-in with data.
pub const MAX_TEXT_BYTES: usize = 1024;

impl Default for Record {
    fn default() -> Self {
        Self::new(Time::UNIX_EPOCH)
    }
}

impl Record {
    /// Of a heartbeat that was made at `created`.
    pub fn new(created: Time) -> Self {
        Self {
            created,
            last: BySignal::default(),
            contact: None,
            credit: None,
            runs: BTreeMap::new(),
            failed: false,
            has_data: false,
            state: State::New,
            changed: created,
            episode: None,
            presence: None,
            pause: None,
            counted: None,
            exit_code: None,
            run_seconds: None,
            sequence: None,
            incarnation: None,
            progress: None,
            values: BTreeMap::new(),
            text: String::new(),
            rhythm: Rhythm::default(),
            shift: None,
            recent: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// When the last signal was received, of whatever kind.
    pub fn last_signal(&self) -> Option<(Signal, Time)> {
        let all = self.last.iter().filter_map(|(signal, at)| Some((signal, at?)));
        all.max_by_key(|(_, at)| *at)
    }

    /// The down episode that has not ended.
    pub fn open_episode(&self) -> Option<&Episode> {
        self.episode.as_ref().filter(|episode| episode.until.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_at_its_default_is_not_written() {
        let mut record = Record::new("2026-03-01T00:00:00Z".parse().unwrap());
        let fresh = r#"{"created":"2026-03-01T00:00:00Z","state":"new","changed":"2026-03-01T00:00:00Z"}"#;
        assert_eq!(serde_json::to_string(&record).unwrap(), fresh);
        record.last.set(Signal::Fail, Some("2026-03-01T00:00:01Z".parse().unwrap()));
        record.counts.signals.add(Signal::Fail, 2);
        record.failed = true;
        let written = serde_json::to_string(&record).unwrap();
        let want = r#"{"created":"2026-03-01T00:00:00Z","last":{"fail":"2026-03-01T00:00:01Z"},"failed":true,"state":"new","changed":"2026-03-01T00:00:00Z","counts":{"signals":{"fail":2}}}"#;
        assert_eq!(written, want);
        assert_eq!(serde_json::from_str::<Record>(&written).unwrap(), record);
    }

    #[test]
    fn records_that_say_everything_are_read() {
        let text = r#"{"created":"2026-03-01T00:00:00Z","last":{"start":"2026-03-01T00:00:01Z"},"contact":null,
            "credit":null,"runs":{"":"2026-03-01T00:00:01Z"},"failed":false,"has_data":false,"state":"running",
            "changed":"2026-03-01T00:00:01Z","episode":null,"pause":null,"counted":null,"exit_code":null,
            "run_seconds":null,"sequence":null,"incarnation":null,"progress":null,"values":{},"text":"",
            "rhythm":{"count":0.0,"mean":0.0,"variance":0.0},"shift":null,
            "recent":[{"received":"2026-03-01T00:00:01Z","signal":"start","run":null,"sequence":7,"incarnation":null}],
            "counts":{"signals":{"start":1},"ignored":0,"changes":{"running":1},"run_durations":{"counts":[],"sum":0.0}}}"#;
        let read: Record = serde_json::from_str(text).unwrap();
        let started: Time = "2026-03-01T00:00:01Z".parse().unwrap();
        let mut want = Record::new("2026-03-01T00:00:00Z".parse().unwrap());
        want.last.set(Signal::Start, Some(started));
        want.runs.insert(String::new(), started);
        (want.state, want.changed) = (State::Running, started);
        want.counts.signals.add(Signal::Start, 1);
        want.counts.changes.add(State::Running, 1);
        let (run, incarnation) = (None, None);
        want.recent =
            vec![Recent { received: started, signal: Signal::Start, run, sequence: Some(7), incarnation }];
        assert_eq!(read, want);
        let unknown = text.replacen("start", "later", 1);
        assert!(
            serde_json::from_str::<Record>(&unknown)
                .unwrap_err()
                .to_string()
                .starts_with("unknown variant `later`")
        );
    }
}
