//! When to look at which heartbeat again.
//!
//! A heap with about one entry for each heartbeat: a signal that moves a deadline away leaves the
//! early entry where it is, and whoever wakes up too early looks and sleeps on.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Heartbeat;
use super::Time;
use super::heartbeat::Cell;

/// A moment of the wall clock in microseconds since 1970: half as wide as a [`Time`].
pub(super) type Moment = i64;

#[derive(Debug, Default)]
pub(super) struct Alarms(Mutex<BinaryHeap<Reverse<Entry>>>);

#[derive(Debug)]
struct Entry {
    at: Moment,
    heartbeat: Arc<Heartbeat>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

impl Alarms {
    /// Sees to it that `heartbeat` is looked at no later than `at`. `cell` is its own.
    pub(super) fn set(&self, heartbeat: &Arc<Heartbeat>, cell: &mut Cell, at: Option<Time>) {
        // Rounded up: whoever wakes up at the moment of a deadline shall find it passed.
        let Some(at) = at.map(|at| at.timestamp_micros().saturating_add(1)) else { return };
        if cell.alarm.is_some_and(|alarm| alarm <= at) {
            return;
        }
        cell.alarm = Some(at);
        self.lock().push(Reverse(Entry { at, heartbeat: Arc::clone(heartbeat) }));
    }

    /// Takes up to `limit` heartbeats whose alarm is due, with its moment.
    pub(super) fn due(&self, now: Time, limit: usize) -> Vec<(Moment, Arc<Heartbeat>)> {
        let now = now.timestamp_micros();
        let mut heap = self.lock();
        let mut due = Vec::new();
        while due.len() < limit && heap.peek().is_some_and(|Reverse(entry)| entry.at <= now) {
            due.extend(heap.pop().map(|Reverse(entry)| (entry.at, entry.heartbeat)));
        }
        due
    }

    /// The moment of the next alarm.
    pub(super) fn next(&self) -> Option<Moment> {
        self.lock().peek().map(|Reverse(entry)| entry.at)
    }

    fn lock(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
