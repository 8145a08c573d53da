//! The targets that only the older library can talk to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Targets remembered for one module; their names take about 50 bytes each.
const MAX_TARGETS: usize = 1024;

/// Longest name that is remembered; longer ones cannot be host names (RFC 1035 §2.3.4).
const MAX_NAME_BYTES: usize = 255;

/// After this time the default library gets its chance again, for the price of one more connection.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Names of targets, each until a point in time.
#[derive(Debug, Default)]
pub(super) struct OldTargets {
    /// Whether there may be any, so that nobody waits for the lock in the usual case.
    any: AtomicBool,
    until: Mutex<HashMap<String, Instant>>,
}

impl OldTargets {
    pub(super) fn contains(&self, name: &str, now: Instant) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let mut until = self.lock();
        let known = until.get(name).is_some_and(|&end| now < end);
        if !known {
            until.remove(name);
        }
        known
    }

    pub(super) fn remember(&self, name: &str, now: Instant) {
        if name.len() > MAX_NAME_BYTES {
            return;
        }
        let mut until = self.lock();
        if until.len() >= MAX_TARGETS && !until.contains_key(name) {
            let oldest = until.iter().min_by_key(|(_, end)| **end).map(|(name, _)| name.clone());
            oldest.and_then(|name| until.remove(&name));
        }
        until.insert(name.to_owned(), now + REMEMBERED_FOR);
        self.any.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        // Entries are written whole, so a panic elsewhere leaves none half done.
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_remembered_for_a_day_and_no_more_than_fit() {
        let targets = OldTargets::default();
        let now = Instant::now();
        assert!(!targets.contains("a.test", now));
        targets.remember("a.test", now);
        assert!(targets.contains("a.test", now + REMEMBERED_FOR - Duration::from_secs(1)));
        assert!(!targets.contains("b.test", now));
        assert!(!targets.contains("a.test", now + REMEMBERED_FOR));

        targets.remember(&"a".repeat(MAX_NAME_BYTES + 1), now);
        assert_eq!(targets.lock().len(), 0);

        for number in 0..=MAX_TARGETS {
            let later = Duration::from_secs(u64::try_from(number).unwrap());
            targets.remember(&number.to_string(), now + later);
        }
        assert_eq!(targets.lock().len(), MAX_TARGETS);
        assert!(!targets.contains("0", now) && targets.contains("1", now));
    }
}
