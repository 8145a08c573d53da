//! What is expected of a heartbeat: its schedule and the rules around it.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::key::Key;
use super::keywords::Keywords;
use super::phi::Adaptive;
use super::schedule::{Schedule, Slot, Time};

/// Everything that is configured about one heartbeat, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Its name.
    pub key: Key,
    /// When it reports.
    pub schedule: Schedule,
    /// How long after the schedule it may still report; positive, or zero for a window.
    pub grace: TimeDelta,
    /// How many slots in a row may pass in silence.
    pub tolerate_missed: u32,
    /// How long a run may take; the grace when nothing is said, as healthchecks has it.
    pub max_runtime: Option<TimeDelta>,
    /// How long before a slot a signal counts for it already.
    pub early: TimeDelta,
    /// Whether a check-in with data is a failure.
    pub alert_on_data: bool,
    /// After how many successful runs in a row with the same progress it counts as stuck; at least 2.
    pub stuck_after: Option<u32>,
    /// Whether only POST is a signal: whatever follows links sends GET.
    pub post_only: bool,
    /// What the words of a message mean, where the address says no more than whose signal it is.
    pub keywords: Option<Box<Keywords>>,
    /// Whether a ping of healthchecks leaves a pause without end as it is.
    pub manual_resume: bool,
    /// Names of the numbers that are kept, at most [`MAX_VALUES`].
    pub values: Vec<String>,
    /// Labels of `heartbeat_info`.
    pub labels: BTreeMap<String, String>,
    /// Words to search by.
    pub tags: Vec<String>,
    /// The timeout learns from the signals.
    pub adaptive: Option<Box<Adaptive>>,
    /// What is probed after a miss.
    pub on_miss: Option<Box<OnMiss>>,
}

/// A probe that follows a miss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnMiss {
    /// Module of the configuration.
    pub module: String,
    /// Its target.
    pub target: String,
    /// How often it is tried before the answer counts as no; 1 to 10.
    pub attempts: u32,
}

/// Numbers kept of one heartbeat.
pub const MAX_VALUES: usize = 16;

impl Definition {
    /// How long a run may take.
    pub fn run_limit(&self) -> TimeDelta {
        self.max_runtime.unwrap_or(self.grace)
    }

    /// The first slot that a contact at `contact` leaves open.
    pub fn expected(&self, contact: Time) -> Option<Slot> {
        self.schedule.next(contact, self.early)
    }

    /// When the slot counts as missed, had it been the last that may be.
    pub fn missed_at(&self, slot: Slot) -> Option<Time> {
        slot.closes.checked_add_signed(self.grace)
    }

    /// When silence since `contact` is a failure, without credit and without what was learnt.
    pub fn deadline(&self, contact: Time) -> Option<Time> {
        let mut slot = self.expected(contact)?;
        for _ in 0..self.tolerate_missed {
            slot = self.schedule.following(slot)?;
        }
        self.missed_at(slot)
    }
}
