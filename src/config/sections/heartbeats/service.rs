//! One heartbeat as it is written, and what is expected of it.

use chrono::TimeDelta;
use chrono_tz::Tz;

use super::{Addresses, MAX_ADDRESS_BYTES};
use crate::config::decode::quote;
use crate::config::duration::SignedDuration;
use crate::config::map::Map;
use crate::config::secret::Secret;
use crate::config::section::section;
use crate::heartbeat::definition::{Definition, MAX_VALUES, OnMiss};
use crate::heartbeat::key::Key;
use crate::heartbeat::keywords::{Keywords, MAX_LIST_CHARS};
use crate::heartbeat::phi::{self, Adaptive};
use crate::heartbeat::schedule::{Calendar, Cron, Schedule, Window};

section! {
    /// A heartbeat as written. Exactly one of `every`, `cron`, `calendar` and `at` says when it reports.
    pub struct Service {
        /// Groups heartbeats.
        namespace: String,
        /// This long after the last signal.
        every: Option<SignedDuration>,
        /// Five fields of cron.
        cron: String,
        /// An event of systemd's calendar.
        calendar: String,
        /// A time of the day.
        at: String,
        /// The end of the window that `at` opens.
        until: String,
        /// Zone of `cron`, `calendar` and `at`; UTC if absent.
        tz: String,
        /// How long after the schedule it may still report; 5 minutes, none after a window.
        grace: Option<SignedDuration>,
        /// How many slots in a row may pass in silence.
        tolerate_missed: i64,
        /// How long a run may take; the grace if absent.
        max_runtime: Option<SignedDuration>,
        /// How long before a slot a signal counts for it.
        early: SignedDuration,
        /// Whether a check-in with data is a failure.
        alert_on_data: bool,
        /// After how many successful runs with the same progress it counts as stuck; 2 to 1000, never if absent.
        stuck_after: Option<i64>,
        /// Short id in addresses.
        id: String,
        /// UUID in healthchecks.io addresses.
        uuid: Secret,
        /// Proves that a signal is genuine, as a bearer token or in an address.
        token: Secret,
        /// `POST` if nothing else is a signal.
        methods: String,
        /// What the words of a message mean.
        keywords: Option<Box<KeywordLists>>,
        /// Whether a pause lasts until somebody ends it, also for pings of healthchecks.io.
        manual_resume: bool,
        /// Numbers that are kept.
        values: Vec<String>,
        /// Words to search by.
        tags: Vec<String>,
        /// Labels of `heartbeat_info`.
        labels: Map<String>,
        /// Learn the timeout from the signals.
        adaptive: Option<Box<AdaptiveTimeout>>,
        /// Probe after a miss.
        on_miss: Option<Box<MissProbe>>,
    }
}

section! {
    /// Words in messages, as lists with commas.
    pub struct KeywordLists {
        /// Words of a failure.
        failure: String,
        /// Words of a success.
        success: String,
        /// Words of the start of a run.
        start: String,
        /// What a message with none of them is: `fail`, or nothing with `ignore`.
        default: String = "ignore".to_owned(),
    }
}

section! {
    /// A timeout that follows the rhythm of the signals.
    pub struct AdaptiveTimeout {
        /// Phi at which silence is a failure; 1 to 16.
        threshold: i64 = phi::DEFAULT_THRESHOLD as i64,
        /// Smallest deviation assumed; a second if absent.
        floor: Option<SignedDuration>,
    }
}

section! {
    /// What is probed after a miss.
    pub struct MissProbe {
        /// A module of this file.
        module: String,
        /// Its target.
        target: String,
        /// Tries; 1 to 10.
        attempts: i64 = 1,
    }
}

/// Grace of schedules that say nothing about it.
pub(super) const DEFAULT_GRACE: TimeDelta = TimeDelta::minutes(5);
/// Deviation an adaptive timeout assumes at least.
const DEFAULT_FLOOR: TimeDelta = TimeDelta::seconds(1);
/// Shortest period; faster signals are a flood.
const MIN_PERIOD: TimeDelta = TimeDelta::seconds(1);
/// A key and what is wrong with its value; the key is empty when it is about the whole.
pub(super) type Complaint = (&'static str, String);

impl Service {
    /// What it is found by beside its name.
    pub fn addresses(&self) -> Addresses {
        let Self { id, uuid, token, .. } = self;
        Addresses { id: id.as_str().into(), uuid: uuid.clone(), token: token.clone() }
    }

    /// Checks everything and makes the definition.
    ///
    /// # Errors
    /// The first key that cannot be used, and why.
    pub fn definition(&self, key: Key) -> Result<Definition, Complaint> {
        for (name, address) in
            [("id", self.id.as_str()), ("uuid", self.uuid.expose()), ("token", self.token.expose())]
        {
            let is_fine = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
            if address.len() > MAX_ADDRESS_BYTES || !address.chars().all(is_fine) {
                let why = format!("must be at most {MAX_ADDRESS_BYTES} letters, digits and -_.~");
                return Err((name, why));
            }
        }
        let schedule = self.schedule()?;
        let is_window = matches!(schedule, Schedule::Window(_));
        let grace = match self.grace {
            Some(grace) => non_negative("grace", grace)?,
            None if is_window => TimeDelta::zero(),
            None => DEFAULT_GRACE,
        };
        if grace.is_zero() && !is_window {
            return Err(("grace", "must be positive: no signal comes to the nanosecond".to_owned()));
        }
        let max_runtime = self.max_runtime.map(|limit| non_negative("max_runtime", limit)).transpose()?;
        if max_runtime.is_some_and(|limit| limit.is_zero()) {
            return Err(("max_runtime", "must be positive".to_owned()));
        }
        let tolerate_missed = u32::try_from(self.tolerate_missed).ok().filter(|missed| *missed <= 1000);
        let tolerate_missed = tolerate_missed
            .ok_or_else(|| ("tolerate_missed", format!("must be 0 to 1000, got {}", self.tolerate_missed)))?;
        let stuck_after = self.stuck_after.map(|runs| {
            let fitting = u32::try_from(runs).ok().filter(|runs| (2..=1000).contains(runs));
            fitting.ok_or_else(|| ("stuck_after", format!("must be 2 to 1000, got {runs}")))
        });
        let stuck_after = stuck_after.transpose()?;
        if !["", "POST"].contains(&self.methods.as_str()) {
            return Err(("methods", format!("must be POST or absent, got {}", quote(&self.methods))));
        }
        if self.values.len() > MAX_VALUES {
            return Err((
                "values",
                format!("may name at most {MAX_VALUES} numbers, got {}", self.values.len()),
            ));
        }
        if let Some((label, _)) = self.labels.iter().find(|(label, _)| !is_free_label(label)) {
            return Err(("labels", format!("has {}, which is no label name or taken", quote(label))));
        }
        Ok(Definition {
            key,
            schedule,
            grace,
            tolerate_missed,
            max_runtime,
            early: non_negative("early", self.early)?,
            alert_on_data: self.alert_on_data,
            stuck_after,
            post_only: !self.methods.is_empty(),
            keywords: self.keywords.as_deref().map(KeywordLists::settings).transpose()?.map(Box::new),
            manual_resume: self.manual_resume,
            values: self.values.clone(),
            labels: self.labels.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            tags: self.tags.clone(),
            adaptive: self.adaptive.as_deref().map(AdaptiveTimeout::settings).transpose()?.map(Box::new),
            on_miss: self.on_miss.as_deref().map(MissProbe::settings).transpose()?.map(Box::new),
        })
    }

    fn schedule(&self) -> Result<Schedule, Complaint> {
        let uses = [
            ("every", self.every.is_some()),
            ("cron", !self.cron.is_empty()),
            ("calendar", !self.calendar.is_empty()),
            ("at", !self.at.is_empty()),
        ];
        let mut used = uses.iter().filter(|(_, used)| *used).map(|(key, _)| *key);
        let (Some(kind), None) = (used.next(), used.next()) else {
            return Err(("", "it needs exactly one of every, cron, calendar and at".to_owned()));
        };
        let zone = match self.tz.as_str() {
            "" => Tz::UTC,
            name => {
                let zone = name.parse::<Tz>();
                zone.map_err(|_| {
                    ("tz", format!("must be a time zone such as Europe/Berlin, got {}", quote(name)))
                })?
            }
        };
        let complain = |text: &str| {
            let text = quote(text);
            move |why: String| (kind, format!("cannot be {text}: {why}"))
        };
        match (kind, self.every) {
            ("every", Some(every)) => {
                let period = non_negative("every", every)?;
                if period < MIN_PERIOD {
                    return Err(("every", format!("must be at least a second, got {every}")));
                }
                Ok(Schedule::Every(period))
            }
            ("cron", _) => Cron::parse(&self.cron, zone).map(Schedule::from).map_err(complain(&self.cron)),
            ("calendar", _) => {
                Calendar::parse(&self.calendar, zone).map(Schedule::from).map_err(complain(&self.calendar))
            }
            _ => {
                let until = if self.until.is_empty() { "24:00" } else { &self.until };
                Window::parse(&self.at, until, zone).map(Schedule::from).map_err(complain(&self.at))
            }
        }
    }

    /// Keys that say nothing about this kind of schedule.
    pub(super) fn unused(&self) -> impl Iterator<Item = &'static str> {
        let has_clock = self.every.is_none();
        let unused = [
            ("until", !self.until.is_empty() && self.at.is_empty()),
            ("tz", !self.tz.is_empty() && !has_clock),
            ("early", self.early != SignedDuration::default() && !has_clock),
        ];
        unused.into_iter().filter(|(_, unused)| *unused).map(|(key, _)| key)
    }
}

impl KeywordLists {
    fn settings(&self) -> Result<Keywords, Complaint> {
        let lists = [&self.failure, &self.success, &self.start];
        if lists.iter().any(|list| list.chars().count() > MAX_LIST_CHARS) {
            return Err(("keywords", format!("may have at most {MAX_LIST_CHARS} characters in each list")));
        }
        let [failure, success, start] = lists.map(|list| Keywords::words(list));
        if failure.is_empty() && success.is_empty() && start.is_empty() {
            return Err(("keywords", "needs words in failure, success or start".to_owned()));
        }
        let fails_without = match self.default.as_str() {
            "fail" => true,
            "ignore" => false,
            _ => return Err(("keywords", "needs fail or ignore as default".to_owned())),
        };
        Ok(Keywords { failure, success, start, fails_without })
    }
}

impl AdaptiveTimeout {
    fn settings(&self) -> Result<Adaptive, Complaint> {
        let floor = self.floor.map_or(Ok(DEFAULT_FLOOR), |floor| non_negative("adaptive", floor))?;
        Adaptive::new(self.threshold as f64, floor)
            .map_err(|why| ("adaptive", format!("cannot be used: {why}")))
    }
}

impl MissProbe {
    fn settings(&self) -> Result<OnMiss, Complaint> {
        let attempts = u32::try_from(self.attempts).ok().filter(|attempts| (1..=10).contains(attempts));
        let attempts =
            attempts.ok_or_else(|| ("on_miss", format!("needs 1 to 10 attempts, got {}", self.attempts)))?;
        if self.module.is_empty() || self.target.is_empty() {
            return Err(("on_miss", "needs a module and a target".to_owned()));
        }
        Ok(OnMiss { module: self.module.clone(), target: self.target.clone(), attempts })
    }
}

fn non_negative(key: &'static str, duration: SignedDuration) -> Result<TimeDelta, Complaint> {
    let span = duration.to_std().and_then(|span| TimeDelta::from_std(span).ok());
    span.ok_or_else(|| (key, format!("must not be negative, got {duration}")))
}

/// A label of `heartbeat_info` that a user may choose.
fn is_free_label(name: &str) -> bool {
    const TAKEN: [&str; 5] = ["namespace", "heartbeat", "kind", "schedule", "tz"];
    let is_name = name
        .bytes()
        .enumerate()
        .all(|(at, b)| b == b'_' || b.is_ascii_alphabetic() || (at > 0 && b.is_ascii_digit()));
    is_name
        && !name.is_empty()
        && !name.starts_with("__")
        && !name.starts_with("tag_")
        && !TAKEN.contains(&name)
}
