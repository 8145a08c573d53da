//! Wall clock times to moments, around changes of the clock.

use chrono::{LocalResult, NaiveDateTime, TimeDelta, TimeZone as _};
use chrono_tz::Tz;

use super::Time;

/// Which of two moments a wall clock time means that comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeated {
    /// The one before the clock goes back.
    First,
    /// The one after.
    Last,
}

/// The moment of a wall clock time; the end of the gap for one that is skipped.
pub fn to_utc(zone: Tz, local: NaiveDateTime, which: Repeated) -> Option<Time> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) => Some(time.to_utc()),
        LocalResult::Ambiguous(first, last) => {
            Some(if which == Repeated::First { first } else { last }.to_utc())
        }
        LocalResult::None => gap_end(zone, local),
    }
}

/// The first moment after a gap that contains `local`. Gaps begin and end at whole minutes of UTC.
fn gap_end(zone: Tz, local: NaiveDateTime) -> Option<Time> {
    let exists = |time: NaiveDateTime| !matches!(zone.from_local_datetime(&time), LocalResult::None);
    let start = local - TimeDelta::seconds(local.and_utc().timestamp().rem_euclid(60));
    // The longest gap there was is a day, when Samoa changed sides of the date line.
    let after =
        (1..=26 * 60).map(|minutes| start + TimeDelta::minutes(minutes)).find(|time| exists(*time))?;
    zone.from_local_datetime(&after).earliest().map(|time| time.to_utc())
}
