//! `calendar:`: systemd's calendar events (systemd.time(7), "Calendar Events").

use chrono::{Datelike as _, LocalResult, NaiveDate, NaiveTime, TimeDelta, TimeZone as _};
use chrono_tz::Tz;

use super::Time;

/// A calendar event in a zone.
///
/// Around a change of the clock it does what a systemd timer does: a time in the skipped hour does not
/// come that day, and the repeated hour is passed over (checked with `systemd-analyze calendar`, version 252).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    text: String,
    zone: Tz,
    /// Monday is bit 0; empty means any.
    weekdays: u8,
    years: Field,
    months: Field,
    days: Days,
    hours: Field,
    minutes: Field,
    seconds: Field,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Days {
    FromStart(Field),
    /// `~1` is the last day of the month.
    FromEnd(Field),
}

/// Allowed values of one part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Field(Vec<Range>);

/// `from..=to` in steps; a single value is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    from: u32,
    to: u32,
    step: u32,
}

impl Field {
    fn contains(&self, value: u32) -> bool {
        self.0.iter().any(|range| {
            (range.from..=range.to).contains(&value) && (value - range.from).is_multiple_of(range.step)
        })
    }

    fn parse(text: &str, name: &str, min: u32, max: u32) -> Result<Self, String> {
        let number = |text: &str| {
            let value = text.parse::<u32>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
            let value = value.filter(|value| (min..=max).contains(value));
            value.ok_or_else(|| format!("the {name} {text:?} is not a number from {min} to {max}"))
        };
        let range = |part: &str| {
            let (span, step) = match part.split_once('/') {
                Some((span, step)) => (span, Some(step)),
                None => (part, None),
            };
            let step = match step.map(str::parse::<u32>) {
                None => None,
                Some(Ok(step)) if step > 0 => Some(step),
                Some(_) => return Err(format!("the step of {part:?} is not a positive number")),
            };
            let (from, to) = match span.split_once("..") {
                _ if span == "*" => (min, max),
                Some((from, to)) => (number(from)?, number(to)?),
                // A step without an end goes on to the largest value.
                None if step.is_some() => (number(span)?, max),
                None => (number(span)?, number(span)?),
            };
            if from > to {
                return Err(format!("{span:?} ends before it begins"));
            }
            Ok(Range { from, to, step: step.unwrap_or(1) })
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

const SHORTHANDS: [(&str, &str); 9] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
];

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Days looked at for the next event: the pattern of weekdays and leap years repeats within 28 years, or 40 around 2100.
const MAX_DAYS: i64 = 366 * 41;

impl Calendar {
    /// Parses an event; a zone at its end wins over `zone`.
    ///
    /// # Errors
    /// A sentence that says which part is wrong, or that the event never comes.
    pub fn parse(text: &str, zone: Tz) -> Result<Self, String> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Err("it is empty".to_owned());
        }
        let zone = match words.last().and_then(|word| word.parse::<Tz>().ok()) {
            Some(own) if words.len() > 1 => {
                words.pop();
                own
            }
            _ => zone,
        };
        if let [word] = words[..] {
            let known = SHORTHANDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
            words = known.map_or(words, |(_, event)| event.split(' ').collect());
        }
        let mut words = words.into_iter().peekable();
        let weekdays = match words.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())) {
            Some(word) => weekdays(word)?,
            None => 0,
        };
        let date = words.next_if(|word| !word.contains(':')).unwrap_or("*-*-*");
        let time = words.next().unwrap_or("00:00:00");
        if let Some(word) = words.next() {
            return Err(format!("{word:?} is too much, or no known time zone"));
        }
        let (years, months, days) = parse_date(date)?;
        let [hours, minutes, seconds] = parse_time(time)?;
        let calendar =
            Self { text: text.to_owned(), zone, weekdays, years, months, days, hours, minutes, seconds };
        match calendar.next(chrono::DateTime::UNIX_EPOCH + TimeDelta::days(365 * 50)) {
            Some(_) => Ok(calendar),
            None => Err("it never comes".to_owned()),
        }
    }

    /// The first slot after `after`.
    pub fn next(&self, after: Time) -> Option<Time> {
        // The local date can lie before that of `after` where the clock goes back over midnight.
        let first = after.with_timezone(&self.zone).date_naive().pred_opt()?;
        let days = first.iter_days().take(usize::try_from(MAX_DAYS).unwrap_or(usize::MAX));
        days.filter(|day| self.has_day(*day)).find_map(|day| self.on(day, after))
    }

    fn has_day(&self, day: NaiveDate) -> bool {
        let weekday = day.weekday().num_days_from_monday();
        let in_month = match &self.days {
            Days::FromStart(days) => days.contains(day.day()),
            Days::FromEnd(days) => days.contains(u32::from(day.num_days_in_month()) - day.day() + 1),
        };
        (self.weekdays == 0 || self.weekdays & (1 << weekday) != 0)
            && self.months.contains(day.month())
            && u32::try_from(day.year()).is_ok_and(|year| self.years.contains(year))
            && in_month
    }

    /// The first slot of `day` after `after`.
    fn on(&self, day: NaiveDate, after: Time) -> Option<Time> {
        for hour in (0..24).filter(|hour| self.hours.contains(*hour)) {
            for minute in (0..60).filter(|minute| self.minutes.contains(*minute)) {
                let moment = |second| {
                    let local = day.and_time(NaiveTime::from_hms_opt(hour, minute, second)?);
                    match self.zone.from_local_datetime(&local) {
                        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.to_utc()),
                        LocalResult::None => None,
                    }
                };
                // Whole minutes that have gone are skipped without looking at their seconds.
                if moment(59).is_none_or(|end| end <= after) {
                    continue;
                }
                let seconds = (0..60).filter(|second| self.seconds.contains(*second));
                if let Some(found) = seconds.filter_map(moment).find(|time| *time > after) {
                    return Some(found);
                }
            }
        }
        None
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its zone.
    pub fn zone(&self) -> Tz {
        self.zone
    }
}

fn weekdays(text: &str) -> Result<u8, String> {
    let day = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let found =
            WEEKDAYS.iter().position(|day| *day == lower || (lower.len() == 3 && day.starts_with(&lower)));
        found.ok_or_else(|| format!("{name:?} is no weekday"))
    };
    let mut bits = 0u8;
    for part in text.trim_end_matches(',').split(',') {
        let (from, to) = part.split_once("..").unwrap_or((part, part));
        let (from, to) = (day(from)?, day(to)?);
        if from > to {
            return Err(format!("{part:?} ends before it begins"));
        }
        bits |= (from..=to).fold(0, |bits, day| bits | 1 << day);
    }
    Ok(bits)
}

fn parse_date(text: &str) -> Result<(Field, Field, Days), String> {
    let (head, days) = match text.rsplit_once(['-', '~']) {
        Some(parts) => parts,
        None => return Err(format!("{text:?} is no date such as *-*-01")),
    };
    let is_from_end = text.as_bytes().get(head.len()) == Some(&b'~');
    let (years, months) = head.rsplit_once('-').unwrap_or(("*", head));
    let days = Field::parse(days, "day", 1, 31)?;
    let years = Field::parse(years, "year", 1970, 2199)?;
    let months = Field::parse(months, "month", 1, 12)?;
    Ok((years, months, if is_from_end { Days::FromEnd(days) } else { Days::FromStart(days) }))
}

fn parse_time(text: &str) -> Result<[Field; 3], String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (hours, minutes, seconds) = match parts.as_slice() {
        [hours, minutes] => (*hours, *minutes, "0"),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return Err(format!("{text:?} is no time such as 02:30")),
    };
    Ok([
        Field::parse(hours, "hour", 0, 23)?,
        Field::parse(minutes, "minute", 0, 59)?,
        Field::parse(seconds, "second", 0, 59)?,
    ])
}
