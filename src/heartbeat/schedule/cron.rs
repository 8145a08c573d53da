//! `cron:`: five fields, as Debian's cron reads them, in a time zone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use chrono::TimeDelta;
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

use super::Time;

/// A cron expression in a zone.
///
/// Around a change of the clock it does what Debian's cron does (cron(8)): a job with a fixed time
/// that falls into the skipped hour runs right after it, and one in the repeated hour runs once; a
/// job that runs at every hour or minute follows the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    parsed: Arc<croner::Cron>,
    zone: Tz,
}

/// What is in use, by text: parsed it takes five kilobytes, and large fleets have few texts.
static SHARED: Mutex<Option<HashMap<String, Weak<croner::Cron>>>> = Mutex::new(None);

impl Cron {
    /// Parses five fields or a nickname such as `@daily`.
    ///
    /// # Errors
    /// A sentence that says which part is wrong, or that no date ever matches.
    pub fn parse(text: &str, zone: Tz) -> Result<Self, String> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = shared.get_or_insert_default();
        if let Some(parsed) = shared.get(text).and_then(Weak::upgrade) {
            return Ok(Self { text: text.to_owned(), parsed, zone });
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = Arc::new(parser.parse(text).map_err(|error| error.to_string())?);
        let cron = Self { text: text.to_owned(), parsed, zone };
        // A leap day is the rarest date that exists.
        if cron.next(chrono::DateTime::UNIX_EPOCH + TimeDelta::days(365 * 50)).is_none() {
            return Err("no date ever matches it".to_owned());
        }
        if shared.len() == shared.capacity() {
            shared.retain(|_, parsed| parsed.strong_count() > 0);
        }
        shared.insert(text.to_owned(), Arc::downgrade(&cron.parsed));
        Ok(cron)
    }

    /// The first slot after `after`.
    pub fn next(&self, after: Time) -> Option<Time> {
        let local = after.with_timezone(&self.zone);
        // Fails only when no slot exists in the next years.
        let found = self.parsed.find_next_occurrence(&local, false).ok();
        found.map(|time| time.to_utc())
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
