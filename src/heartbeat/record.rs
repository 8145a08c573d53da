//! What is remembered about one heartbeat, and kept in the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::Signal;
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
    pub last: BTreeMap<Signal, Time>,
    /// What the schedule counts from: the last signal that ended a run. A step of the receiver's clock moves it.
    pub contact: Option<Time>,
    /// Silence before this moment is not held against it: the receiver was blind.
    pub credit: Option<Time>,
    /// Open runs by run id, the empty one for signals without; at most [`MAX_RUNS`].
    pub runs: BTreeMap<String, Time>,
    /// Whether the last signal that ended a run was a failure.
    pub failed: bool,
    /// Whether the last signal that ended a run carried data.
    pub has_data: bool,
    /// The state the last change led to.
    pub state: State,
    /// When it changed.
    pub changed: Time,
    /// The present or the last down episode.
    pub episode: Option<Episode>,
    /// Until when nothing is expected.
    pub pause: Option<Pause>,
    /// Slots up to this moment are counted.
    pub counted: Option<Time>,
    /// Exit status of the last finished run.
    pub exit_code: Option<i32>,
    /// Seconds the last run took.
    pub run_seconds: Option<f64>,
    /// The last sequence number.
    pub sequence: Option<u64>,
    /// The sender's present life.
    pub incarnation: Option<String>,
    /// The last progress token, and how many successful runs in a row brought it.
    pub progress: Option<(String, u32)>,
    /// The last numbers.
    pub values: BTreeMap<String, f64>,
    /// Text of the last check-in with data, clipped to [`MAX_TEXT_BYTES`].
    pub text: String,
    /// Distances between signals.
    pub rhythm: Rhythm,
    /// Hours between signals and slots.
    pub shift: Option<Shift>,
    /// The last signals with a run id or a sequence number, newest last; at most [`MAX_RECENT`].
    pub recent: Vec<Recent>,
    /// What is counted.
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

/// Why a heartbeat is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Its last run failed.
    Failed,
    /// Its last check-in carried data, which counts as failure here.
    Data,
    /// A run takes too long.
    Overrun,
    /// Silence.
    Missed,
    /// It reports success again and again, and does not get on.
    Stuck,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Failed, Self::Data, Self::Overrun, Self::Missed, Self::Stuck];

    /// Its value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Data => "data",
            Self::Overrun => "overrun",
            Self::Missed => "missed",
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
    pub run: Option<String>,
    /// Its sequence number.
    pub sequence: Option<u64>,
    /// The life of its sender.
    pub incarnation: Option<String>,
}

/// Counters; they only grow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Accepted signals.
    pub signals: BTreeMap<Signal, u64>,
    /// Signals that were not, because they came twice.
    pub ignored: u64,
    /// Slots whose deadline passed in silence.
    pub missed: u64,
    /// Signals that came before their slot and did not count for it.
    pub early: u64,
    /// Changes of the state, by the new one.
    pub changes: BTreeMap<State, u64>,
    /// Sequence numbers that never came.
    pub gaps: u64,
    /// Signals older than one that came before.
    pub reordered: u64,
    /// New incarnations.
    pub restarts: u64,
    /// New incarnations that no down episode announced.
    pub undetected_restarts: u64,
    /// Down episodes that turned out to be wrong, and their seconds.
    pub false_alarms: u64,
    /// What runs took.
    pub run_durations: Histogram,
    /// How late the signals were that ended a run.
    pub latenesses: Histogram,
    /// From the sender's clock to ours.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub transits: Histogram,
    /// Seconds of the false alarms.
    pub mistake_seconds: f64,
    /// Follow-up probes after a miss that said the same, the opposite, or nothing.
    pub suspicions_confirmed: u64,
    /// See above.
    pub suspicions_refuted: u64,
    /// See above.
    pub suspicions_inconclusive: u64,
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
            last: BTreeMap::new(),
            contact: None,
            credit: None,
            runs: BTreeMap::new(),
            failed: false,
            has_data: false,
            state: State::New,
            changed: created,
            episode: None,
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

    /// The down episode that has not ended.
    pub fn open_episode(&self) -> Option<&Episode> {
        self.episode.as_ref().filter(|episode| episode.until.is_none())
    }
}
