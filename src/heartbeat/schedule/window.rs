//! `at:` and `until:`: once a day, inside a window of local time.

use chrono::{NaiveDate, NaiveTime, TimeDelta, Timelike as _};
use chrono_tz::Tz;

use super::{Slot, Time};
use crate::heartbeat::schedule::zone::{self, Repeated};

/// A daily window in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    at: NaiveTime,
    /// Seconds from local midnight of the day it opens to the wall clock time it closes.
    until: u32,
    zone: Tz,
}

const DAY: u32 = 86_400;

impl Window {
    /// From `HH:MM[:SS]` to `HH:MM[:SS]`, which may be `24:00` and, when it is not after `at`, is of the next day.
    ///
    /// # Errors
    /// A sentence that names the time that cannot be read.
    pub fn parse(at: &str, until: &str, zone: Tz) -> Result<Self, String> {
        let at = seconds(at).filter(|at| *at < DAY).ok_or_else(|| format!("{at:?} is no time of the day"))?;
        let end = seconds(until).ok_or_else(|| format!("{until:?} is no time of the day"))?;
        let until = if end > at { end } else { end + DAY };
        let at = NaiveTime::from_num_seconds_from_midnight_opt(at, 0).unwrap_or_default();
        Ok(Self { at, until, zone })
    }

    /// The first window that opens after `after`.
    pub fn next(&self, after: Time) -> Option<Slot> {
        let today = after.with_timezone(&self.zone).date_naive();
        // The day before, for a zone that skipped a whole day; two days on, for one that does.
        (-1..=2).filter_map(|days| self.on(today + TimeDelta::days(days))).find(|slot| slot.opens > after)
    }

    fn on(&self, day: NaiveDate) -> Option<Slot> {
        let opens = zone::to_utc(self.zone, day.and_time(self.at), Repeated::First)?;
        let end = day.and_time(NaiveTime::MIN) + TimeDelta::seconds(self.until.into());
        let closes = zone::to_utc(self.zone, end, Repeated::Last)?;
        Some(Slot { opens, closes })
    }

    /// Its zone.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// When it opens and when it closes, as [`Window::parse`] reads them.
    pub fn written(&self) -> [String; 2] {
        let end = if self.until > DAY { self.until - DAY } else { self.until };
        [self.at.num_seconds_from_midnight(), end]
            .map(|seconds| format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60))
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = if self.until > DAY { self.until - DAY } else { self.until };
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.at.hour(), self.at.minute(), end / 3600, end / 60 % 60)
    }
}

/// Seconds after midnight, up to and with 24:00.
fn seconds(text: &str) -> Option<u32> {
    let parts: Vec<&str> = text.split(':').collect();
    if !(2..=3).contains(&parts.len()) || parts.iter().any(|part| part.is_empty() || part.len() > 2) {
        return None;
    }
    let mut numbers = [0u32; 3];
    for (number, part) in numbers.iter_mut().zip(&parts) {
        *number = part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    let [hours, minutes, seconds] = numbers;
    let total = hours * 3600 + minutes * 60 + seconds;
    (hours <= 24 && minutes < 60 && seconds < 60 && total <= DAY).then_some(total)
}
