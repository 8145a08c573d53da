//! One log line when a target begins to fail or recovers, instead of one for each probe.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::cli::ProbeOutcomes;
use crate::runner::Outcome;

/// Knows which targets fail, as long as they are probed.
#[derive(Debug)]
pub struct Outcomes {
    which: ProbeOutcomes,
    failing: Mutex<Failing>,
    /// Size of the map, so that the successes of a healthy site take no lock.
    count: AtomicUsize,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Failing {
    /// When a target was last seen to fail, by the hash of module and target: names of thousands of
    /// targets would take megabytes, and a collision costs one log line.
    seen: HashMap<u64, Instant>,
    swept: Option<Instant>,
}

impl Outcomes {
    /// Logs what `which` asks for.
    pub fn new(which: ProbeOutcomes) -> Self {
        Self { which, failing: Mutex::default(), count: AtomicUsize::new(0), hasher: RandomState::new() }
    }

    /// A probe ended.
    pub fn observe(&self, module: &str, target: &str, outcome: &Outcome) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let wanted = match self.which {
            ProbeOutcomes::None => false,
            ProbeOutcomes::Failures => !outcome.is_success(),
            ProbeOutcomes::All => true,
            ProbeOutcomes::Changes => self.is_change(module, target, outcome.is_success(), Instant::now()),
        };
        if !wanted {
            return;
        }
        let duration_seconds = outcome.duration.as_secs_f64();
        match &outcome.failure {
            None => info!(module, target, success = true, duration_seconds, "Probe outcome"),
            Some(error) => info!(
                module,
                target,
                success = false,
                phase = error.phase.as_str(),
                reason = error.reason.as_str(),
                duration_seconds,
                "Probe outcome"
            ),
        }
    }

    /// A target that was never seen to fail counts as one that succeeds.
    fn is_change(&self, module: &str, target: &str, is_success: bool, now: Instant) -> bool {
        if is_success && self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let key = self.hasher.hash_one((module, target));
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_change = if is_success {
            failing.seen.remove(&key).is_some()
        } else if let Some(seen) = failing.seen.get_mut(&key) {
            *seen = now;
            false
        } else {
            failing.make_room(now) && failing.seen.insert(key, now).is_none()
        };
        self.count.store(failing.seen.len(), Ordering::Relaxed);
        is_change
    }
}

impl Failing {
    /// Forgets targets nobody asks for any more, when it is full. False: it stays full.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.seen.len() < MAX_FAILING {
            return true;
        }
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            self.seen.retain(|_, seen| now.duration_since(*seen) < MEMORY);
            if self.seen.len() >= MAX_FAILING {
                warn!("More than {MAX_FAILING} targets fail; further ones are not logged");
            }
        }
        self.seen.len() < MAX_FAILING
    }
}

/// Failing targets that are told apart.
const MAX_FAILING: usize = 100_000;
/// A target that was not probed for this long is forgotten when room is needed.
const MEMORY: Duration = Duration::from_secs(3600);
/// Time between two searches for forgotten targets.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flips_are_changes() {
        let outcomes = Outcomes::new(ProbeOutcomes::Changes);
        let now = Instant::now();
        let steps = [
            ("m", "a", true, false),
            ("m", "a", false, true),
            ("m", "a", false, false),
            ("n", "a", false, true),
            ("m", "b", true, false),
            ("m", "a", true, true),
            ("m", "a", true, false),
            ("n", "a", true, true),
        ];
        for (at, (module, target, is_success, want)) in steps.into_iter().enumerate() {
            assert_eq!(outcomes.is_change(module, target, is_success, now), want, "step {at}");
        }
    }

    #[test]
    fn a_full_memory_is_swept_but_not_for_each_probe() {
        let outcomes = Outcomes::new(ProbeOutcomes::Changes);
        let start = Instant::now();
        for n in 0..MAX_FAILING {
            outcomes.is_change("m", &n.to_string(), false, start);
        }
        let fails = |target, after| outcomes.is_change("m", target, false, start + after);
        assert!(!fails("new", Duration::ZERO), "no room and nothing is old");
        assert!(!fails("new", SWEEP_INTERVAL));
        assert!(fails("new", MEMORY), "the old ones are forgotten");
        assert_eq!(outcomes.count.load(Ordering::Relaxed), 1);
    }
}
