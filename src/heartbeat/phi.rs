//! The adaptive timeout: how long a silence must be before it is beyond doubt.
//!
//! Phi accrual (Hayashibara et al., "The φ accrual failure detector", 2004) with the exact tail of the
//! normal distribution: phi is -log10 of the probability that a later signal still comes.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

/// Settings of the adaptive timeout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adaptive {
    /// Phi at which silence is a failure; 1 to 16. One false alarm in 10^threshold signals, if their distances are normal.
    pub threshold: f64,
    /// Smallest standard deviation assumed, so that perfectly regular signals do not make a hair trigger.
    pub floor: TimeDelta,
    /// [`Adaptive::threshold`] as a multiple of the standard deviation.
    deviations: f64,
}

/// Threshold when none is given, that of most users of the method.
pub const DEFAULT_THRESHOLD: f64 = 8.0;
/// Signals remembered; older ones fade.
const WINDOW: f64 = 100.0;
/// Distances seen before they are trusted.
const MIN_COUNT: f64 = 8.0;

impl Adaptive {
    /// Works out the multiple of the deviation once.
    ///
    /// # Errors
    /// A sentence, for a threshold outside 1 to 16 or a floor that is not positive.
    pub fn new(threshold: f64, floor: TimeDelta) -> Result<Self, String> {
        if !(1.0..=16.0).contains(&threshold) {
            return Err(format!("the threshold {threshold} is not between 1 and 16"));
        }
        if floor <= TimeDelta::zero() {
            return Err("the floor of the deviation must be positive".to_owned());
        }
        Ok(Self { threshold, floor, deviations: deviations(threshold) })
    }

    /// Silence at which phi reaches the threshold; `None` until enough was seen.
    pub fn timeout(&self, rhythm: &Rhythm) -> Option<TimeDelta> {
        if rhythm.count < MIN_COUNT {
            return None;
        }
        seconds(rhythm.mean + self.deviations * self.deviation(rhythm))
    }

    /// Phi after `silence`; `None` until enough was seen.
    pub fn phi(&self, rhythm: &Rhythm, silence: TimeDelta) -> Option<f64> {
        if rhythm.count < MIN_COUNT {
            return None;
        }
        Some(phi((silence.as_seconds_f64() - rhythm.mean) / self.deviation(rhythm)))
    }

    fn deviation(&self, rhythm: &Rhythm) -> f64 {
        rhythm.variance.sqrt().max(self.floor.as_seconds_f64())
    }
}

/// Distances between signals: mean and variance in seconds, the newest hundred counting most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rhythm {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Rhythm {
    /// Learns one distance.
    pub fn learn(&mut self, distance: TimeDelta) {
        self.count = (self.count + 1.0).min(WINDOW);
        let off = distance.as_seconds_f64() - self.mean;
        self.mean += off / self.count;
        self.variance = (1.0 - 1.0 / self.count) * (self.variance + off * off / self.count);
    }
}

fn seconds(value: f64) -> Option<TimeDelta> {
    std::time::Duration::try_from_secs_f64(value).ok().and_then(|value| TimeDelta::from_std(value).ok())
}

/// -log10 of the upper tail of the standard normal distribution.
fn phi(deviations: f64) -> f64 {
    -(libm::erfc(deviations / std::f64::consts::SQRT_2) / 2.0).log10()
}

/// The inverse of [`phi`], by bisection; exact to 1e-12.
fn deviations(threshold: f64) -> f64 {
    let (mut low, mut high) = (-1.0, 10.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if phi(middle) < threshold { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, want: f64) -> bool {
        (got - want).abs() < 0.000_6
    }

    #[test]
    fn phi_is_the_exact_tail() {
        // Mean 1000 ms, deviation 100 ms.
        let cases = [
            (1000.0, 0.301),
            (1100.0, 0.800),
            (1200.0, 1.643),
            (1300.0, 2.870),
            (1500.0, 6.543),
            (1600.0, 9.006),
            (2000.0, 23.118),
        ];
        for (silence, want) in cases {
            assert!(near(phi((silence - 1000.0) / 100.0), want), "{silence}");
        }
        for (threshold, want) in
            [(1.0, 1.282), (2.0, 2.326), (3.0, 3.090), (5.0, 4.265), (8.0, 5.612), (10.0, 6.361)]
        {
            assert!(near(deviations(threshold), want), "{threshold}");
        }
    }

    #[test]
    fn f10_a_perfectly_regular_rhythm_is_no_hair_trigger() {
        let floor = TimeDelta::milliseconds(100);
        let adaptive = Adaptive::new(8.0, floor).unwrap();
        let mut rhythm = Rhythm::default();
        for _ in 0..50 {
            assert_eq!(adaptive.timeout(&rhythm).is_some(), rhythm.count >= MIN_COUNT);
            rhythm.learn(TimeDelta::seconds(10));
        }
        let timeout = adaptive.timeout(&rhythm).unwrap();
        assert!(timeout > TimeDelta::seconds(10) + floor * 5 && timeout < TimeDelta::seconds(10) + floor * 6);
    }

    #[test]
    fn mean_and_variance_of_what_was_learnt() {
        let mut rhythm = Rhythm::default();
        for distance in [8, 12, 8, 12, 8, 12, 8, 12] {
            rhythm.learn(TimeDelta::seconds(distance));
        }
        assert!(near(rhythm.mean, 10.0) && near(rhythm.variance, 4.0), "{rhythm:?}");
    }

    #[test]
    fn settings_have_ranges() {
        let floor = TimeDelta::seconds(1);
        for (threshold, floor) in [(0.5, floor), (17.0, floor), (f64::NAN, floor), (8.0, TimeDelta::zero())] {
            assert!(Adaptive::new(threshold, floor).is_err(), "{threshold} {floor}");
        }
    }
}
