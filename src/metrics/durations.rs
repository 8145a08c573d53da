//! How long something took: a histogram of atomics, counted where things happen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::samples::IntoValue as _;
use super::text::Writer;

/// Upper bounds of buckets, ascending, each with its label in seconds.
pub type Bounds = [(Duration, &'static str)];

/// Counts durations by bucket.
#[derive(Debug)]
pub struct Durations {
    bounds: &'static Bounds,
    /// Not cumulative; the last counts what is above all bounds.
    buckets: Box<[AtomicU64]>,
    /// Nanoseconds.
    sum: AtomicU64,
}

impl Durations {
    /// Of nothing yet.
    pub fn new(bounds: &'static Bounds) -> Self {
        let buckets = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, buckets, sum: AtomicU64::default() }
    }

    /// One more; a duration that equals a bound is in its bucket.
    pub fn observe(&self, took: Duration) {
        let bucket = self.bounds.partition_point(|(bound, _)| *bound < took);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Appends the samples of the family that `w` has begun; `le` follows `labels`.
    pub fn write(&self, w: &mut Writer<'_>, labels: &[(&str, &str)]) {
        let mut count = 0;
        let mut with_bound = labels.to_vec();
        let bounds = self.bounds.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            count += bucket.load(Ordering::Relaxed);
            with_bound.truncate(labels.len());
            with_bound.push(("le", bound));
            w.sample_with("_bucket", &with_bound, count.into_value());
        }
        let sum = Duration::from_nanos(self.sum.load(Ordering::Relaxed));
        w.sample_with("_sum", labels, sum.as_secs_f64());
        w.sample_with("_count", labels, count.into_value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::names as n;
    use crate::metrics::text::{Escaping, Syntax};

    #[test]
    fn buckets_are_cumulative_and_include_their_bound() {
        const BOUNDS: [(Duration, &str); 2] =
            [(Duration::from_millis(5), "0.005"), (Duration::from_secs(1), "1.0")];
        let durations = Durations::new(&BOUNDS);
        for nanos in [0, 5_000_000, 5_000_001, 1_000_000_000, 2_000_000_000] {
            durations.observe(Duration::from_nanos(nanos));
        }
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out, Syntax::Prometheus, Escaping::Underscores);
        w.family(n::HEARTBEAT_EXPORTER_PROBE_DURATION_SECONDS);
        durations.write(&mut w, &[("module", "m")]);
        let text = String::from_utf8(out).unwrap();
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let want = [
            r#"heartbeat_exporter_probe_duration_seconds_bucket{module="m",le="0.005"} 2"#,
            r#"heartbeat_exporter_probe_duration_seconds_bucket{module="m",le="1.0"} 4"#,
            r#"heartbeat_exporter_probe_duration_seconds_bucket{module="m",le="+Inf"} 5"#,
            r#"heartbeat_exporter_probe_duration_seconds_sum{module="m"} 3.010000001"#,
            r#"heartbeat_exporter_probe_duration_seconds_count{module="m"} 5"#,
        ];
        assert_eq!(samples, want);
    }
}
