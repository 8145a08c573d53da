//! When a heartbeat is due: pure arithmetic from a definition and the time of the last contact.
//!
//! All times are UTC; zones and their changes of the clock matter only inside a schedule.

mod calendar;
mod cron;
mod window;
mod zone;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

pub use calendar::Calendar;
pub use cron::Cron;
pub use window::Window;

/// A moment, by the receiver's clock.
pub type Time = DateTime<Utc>;

/// When signals are expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// This long after the last contact; at least one second.
    Every(TimeDelta),
    /// As cron runs it (`cron:` and `tz:`).
    Cron(Box<Cron>),
    /// As a systemd timer with `OnCalendar=` runs it (`calendar:` and `tz:`).
    Calendar(Box<Calendar>),
    /// Once a day inside a window (`at:`, `until:` and `tz:`).
    Window(Box<Window>),
}

impl From<Cron> for Schedule {
    fn from(cron: Cron) -> Self {
        Self::Cron(Box::new(cron))
    }
}

impl From<Calendar> for Schedule {
    fn from(calendar: Calendar) -> Self {
        Self::Calendar(Box::new(calendar))
    }
}

impl From<Window> for Schedule {
    fn from(window: Window) -> Self {
        Self::Window(Box::new(window))
    }
}

/// One expected signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// From when a signal counts for this slot; it is expected from here on.
    pub opens: Time,
    /// When it is late: the same as `opens`, or the end of a window.
    pub closes: Time,
}

impl Schedule {
    /// The first slot that a contact at `contact` does not satisfy already.
    ///
    /// A contact up to `early` before a slot satisfies it. `None` when the schedule never comes again.
    pub fn next(&self, contact: Time, early: TimeDelta) -> Option<Slot> {
        let at = |time| Slot { opens: time, closes: time };
        match self {
            Self::Every(period) => contact.checked_add_signed(*period).map(at),
            Self::Cron(cron) => cron.next(contact.checked_add_signed(early)?).map(at),
            Self::Calendar(calendar) => calendar.next(contact.checked_add_signed(early)?).map(at),
            Self::Window(window) => window.next(contact.checked_add_signed(early)?),
        }
    }

    /// The slot after `slot`.
    pub fn following(&self, slot: Slot) -> Option<Slot> {
        self.next(slot.opens, TimeDelta::zero())
    }

    /// The period, for schedules that have one.
    pub fn period(&self) -> Option<TimeDelta> {
        match self {
            Self::Every(period) => Some(*period),
            Self::Cron(_) | Self::Calendar(_) | Self::Window(_) => None,
        }
    }

    /// `every`, `cron`, `calendar` or `at`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Every(_) => "every",
            Self::Cron(_) => "cron",
            Self::Calendar(_) => "calendar",
            Self::Window(_) => "at",
        }
    }

    /// The zone its times are in; none where it only counts.
    pub fn zone(&self) -> Option<Tz> {
        match self {
            Self::Every(_) => None,
            Self::Cron(cron) => Some(cron.zone()),
            Self::Calendar(calendar) => Some(calendar.zone()),
            Self::Window(window) => Some(window.zone()),
        }
    }
}

#[cfg(test)]
mod tests;
