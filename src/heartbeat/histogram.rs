//! How often a number of a heartbeat fell where: run durations, latenesses and times on the way.

use serde::{Deserialize, Serialize};

/// Bounds of the buckets, in seconds, each with its label.
pub type Bounds = [(f64, &'static str)];

/// Observations by bucket. Takes no memory before the first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// Not cumulative; the last counts what is above all bounds.
    counts: Vec<u32>,
    /// Of all observations, in seconds.
    sum: f64,
}

impl Histogram {
    /// Counts an observation of `seconds`; one that is negative or no number counts as 0.
    pub fn observe(&mut self, bounds: &Bounds, seconds: f64) {
        let seconds = seconds.max(0.0);
        self.counts.resize(bounds.len() + 1, 0);
        let bucket = bounds.partition_point(|(bound, _)| *bound < seconds);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.sum += seconds;
    }

    /// Takes from `other` what is larger there: another receiver has counted the same signals.
    pub fn raise(&mut self, other: &Self) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(ours, theirs)| *ours = (*ours).max(*theirs));
        self.sum = self.sum.max(other.sum);
    }

    /// The label `le` of each bucket with its cumulative count, `+Inf` last; nothing before the first observation.
    pub fn buckets(&self, bounds: &'static Bounds) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = bounds.iter().map(|(_, label)| *label).chain(["+Inf"]);
        labels.zip(&self.counts).scan(0, |total, (label, count)| {
            *total += u64::from(*count);
            Some((label, *total))
        })
    }

    /// Of all observations, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

/// From jobs of a second to jobs of a day.
pub const RUN_BOUNDS: [(f64, &str); 10] = [
    (1.0, "1.0"),
    (5.0, "5.0"),
    (30.0, "30.0"),
    (60.0, "60.0"),
    (300.0, "300.0"),
    (900.0, "900.0"),
    (3600.0, "3600.0"),
    (14_400.0, "14400.0"),
    (43_200.0, "43200.0"),
    (86_400.0, "86400.0"),
];

/// From signals in time to signals a day late.
pub const LATENESS_BOUNDS: [(f64, &str); 9] = [
    (0.0, "0.0"),
    (1.0, "1.0"),
    (5.0, "5.0"),
    (15.0, "15.0"),
    (60.0, "60.0"),
    (300.0, "300.0"),
    (900.0, "900.0"),
    (3600.0, "3600.0"),
    (86_400.0, "86400.0"),
];

/// From a local network to a report that waited for an hour.
pub const TRANSIT_BOUNDS: [(f64, &str); 12] = [
    (0.0, "0.0"),
    (0.005, "0.005"),
    (0.025, "0.025"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (1.0, "1.0"),
    (2.5, "2.5"),
    (10.0, "10.0"),
    (60.0, "60.0"),
    (300.0, "300.0"),
    (3600.0, "3600.0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_into_buckets_with_their_bounds() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.buckets(&LATENESS_BOUNDS).count(), 0);
        for seconds in [-3.0, 0.0, 0.5, 1.0, 60.25, 100_000.0, f64::NAN] {
            histogram.observe(&LATENESS_BOUNDS, seconds);
        }
        let buckets: Vec<_> = histogram.buckets(&LATENESS_BOUNDS).collect();
        let want = [
            ("0.0", 3),
            ("1.0", 5),
            ("5.0", 5),
            ("15.0", 5),
            ("60.0", 5),
            ("300.0", 6),
            ("900.0", 6),
            ("3600.0", 6),
            ("86400.0", 6),
            ("+Inf", 7),
        ];
        assert_eq!(buckets, want);
        assert_eq!(histogram.sum(), 100_061.75);
    }
}
