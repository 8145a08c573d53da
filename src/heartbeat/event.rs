//! What reports in: one signal of one heartbeat, whatever door it came through.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::few::{Few, Kind};
use super::schedule::Time;

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// The job is done, or the node is alive.
    Success,
    /// The job did its work and has something to tell (a check-in with data).
    Data,
    /// The job failed.
    Fail,
    /// The job begins.
    Start,
    /// A message that changes nothing.
    Log,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Success, Self::Data, Self::Fail, Self::Start, Self::Log];

    /// Its value of the label `signal`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Data => "data",
            Self::Fail => "fail",
            Self::Start => "start",
            Self::Log => "log",
        }
    }

    /// What an exit status means: only 0 is success.
    pub fn from_exit_code(code: i32) -> Self {
        if code == 0 { Self::Success } else { Self::Fail }
    }

    /// Whether this is a sign that the job has come to an end.
    pub fn ends_run(self) -> bool {
        matches!(self, Self::Success | Self::Data | Self::Fail)
    }
}

impl Kind for Signal {
    const KINDS: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }
}

/// A value for each kind of signal.
pub type BySignal<V> = Few<Signal, V, { Signal::ALL.len() }>;

/// One signal as it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What it says.
    pub signal: Signal,
    /// When it was received, by the receiver's clock. Decides everything.
    pub received: Time,
    /// When it was sent, by the sender's clock. Tells only how long it took.
    pub sent: Option<Time>,
    /// Which run it belongs to; at most [`MAX_RUN_ID_BYTES`].
    pub run: Option<String>,
    /// Counts the sender's signals, one by one.
    pub sequence: Option<u64>,
    /// Which life of the sender this is, such as its start time; at most [`MAX_RUN_ID_BYTES`].
    pub incarnation: Option<String>,
    /// Exit status of the finished job.
    pub exit_code: Option<i32>,
    /// How long the job ran, when the sender measured it.
    pub duration: Option<TimeDelta>,
    /// Something that changes when work was done, such as the number of rows handled.
    pub progress: Option<String>,
    /// Numbers; only those the definition allows are kept.
    pub values: BTreeMap<String, f64>,
    /// Text of a check-in with data, or of the log; bounded by the receiver.
    pub text: String,
}

impl Event {
    /// A bare signal.
    pub fn new(signal: Signal, received: Time) -> Self {
        Self {
            signal,
            received,
            sent: None,
            run: None,
            sequence: None,
            incarnation: None,
            exit_code: None,
            duration: None,
            progress: None,
            values: BTreeMap::new(),
            text: String::new(),
        }
    }
}

/// Bytes of a run id, an incarnation or a progress token.
pub const MAX_RUN_ID_BYTES: usize = 128;
