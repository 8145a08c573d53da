//! Signals that are whole hours away from their slots: the zone of the schedule is probably not that of the job.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::schedule::{Schedule, Slot, Time};

/// By how much the last signals in a row were away from their slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// Hours after the slot, negative before it; never 0.
    hours: i64,
    /// How many signals in a row.
    signals: u32,
}

/// What is known after a signal at `now`, of which `expected` was the slot.
pub fn follow(schedule: &Schedule, known: Option<Shift>, expected: Slot, now: Time) -> Option<Shift> {
    // Most signals end here, without a look at the calendar.
    if schedule.period().is_some() || distance(expected, now).abs() < TimeDelta::minutes(30) {
        return None;
    }
    let away = nearest(schedule, now)?;
    let hours = (away.num_seconds() as f64 / 3600.0).round() as i64;
    if hours == 0 || (away - TimeDelta::hours(hours)).abs() > TOLERANCE {
        return None;
    }
    let signals = known.filter(|known| known.hours == hours).map_or(0, |known| known.signals);
    Some(Shift { hours, signals: signals.saturating_add(1) })
}

impl Shift {
    /// The difference of the zones, once enough signals agree.
    pub fn difference(self) -> Option<TimeDelta> {
        (self.signals >= ENOUGH).then(|| TimeDelta::hours(self.hours))
    }
}

/// How far `now` is from the slot nearest to it.
fn nearest(schedule: &Schedule, now: Time) -> Option<TimeDelta> {
    let first = schedule.next(now.checked_sub_signed(LARGEST)?, TimeDelta::zero());
    let slots = std::iter::successors(first, |slot| schedule.following(*slot)).take(MAX_SLOTS);
    slots
        .take_while(|slot| slot.opens - now <= LARGEST)
        .map(|slot| distance(slot, now))
        .min_by_key(TimeDelta::abs)
}

/// Positive after the slot, negative before it, zero within.
pub fn distance(slot: Slot, now: Time) -> TimeDelta {
    if now < slot.opens { now - slot.opens } else { (now - slot.closes).max(TimeDelta::zero()) }
}

/// Signals that must agree.
const ENOUGH: u32 = 3;
/// How long after its start a job may report, and how exact a difference in hours is.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);
/// No two zones are further apart than 26 hours; half of it is the nearer day.
const LARGEST: TimeDelta = TimeDelta::hours(13);
/// Slots looked at; a schedule with more in a day says nothing about hours.
const MAX_SLOTS: usize = 32;
