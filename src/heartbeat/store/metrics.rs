//! What the store counts about itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::metrics::Labels;
use crate::metrics::durations::Durations;
use crate::metrics::names as n;
use crate::metrics::own::Counter;
use crate::metrics::text::Writer;

/// Counters of the store; made before it is opened, because opening may fail.
#[derive(Debug)]
pub struct StoreMetrics {
    durations: Durations,
    errors: [Counter; Op::ALL.len()],
    unsynced: AtomicU64,
    /// Bits of an `f64`, unix time in seconds; 0 before the first.
    synced_at: AtomicU64,
    recovered: AtomicU64,
    lost: [AtomicBool; 2],
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            durations: Durations::new(&BUCKETS),
            errors: Default::default(),
            unsynced: AtomicU64::default(),
            synced_at: AtomicU64::default(),
            recovered: AtomicU64::default(),
            lost: Default::default(),
        }
    }
}

/// What failed; value of the label `op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// A body was not kept, because of the limit for all bodies.
    Body,
    /// A commit.
    Commit,
    /// Keeping the lease of this receiver alive.
    Lease,
    /// Opening, at start or after an error.
    Open,
    /// Reading bodies.
    Read,
    /// A commit was refused because the queue was full or the store known to be broken.
    Refused,
    /// A damaged file was replaced by what could be read of it.
    Salvage,
    /// The watch of changes by others ended.
    Watch,
}

/// What connects this receiver with others, beside writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tie {
    /// Its own presence.
    Lease,
    /// Seeing what they write.
    Watch,
}

impl Op {
    /// In the order of the label values.
    const ALL: [(Self, &str); 8] = [
        (Self::Body, "body"),
        (Self::Commit, "commit"),
        (Self::Lease, "lease"),
        (Self::Open, "open"),
        (Self::Read, "read"),
        (Self::Refused, "refused"),
        (Self::Salvage, "salvage"),
        (Self::Watch, "watch"),
    ];
}

impl StoreMetrics {
    /// Appends the families, sorted by name.
    pub fn write(&self, w: &mut Writer<'_>) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        w.family(n::HEARTBEAT_STORE_APPEND_DURATION_SECONDS);
        self.durations.write(w, &[]);
        w.family(n::HEARTBEAT_STORE_ERRORS_TOTAL);
        for ((_, op), errors) in Op::ALL.iter().zip(&self.errors) {
            w.sample(&Labels::One("op", op), errors.value());
        }
        w.family(n::HEARTBEAT_STORE_LAST_SYNC_TIMESTAMP_SECONDS);
        w.sample(&Labels::None, f64::from_bits(self.synced_at.load(Ordering::Relaxed)));
        w.family(n::HEARTBEAT_STORE_RECOVERED_PINGS);
        w.sample(&Labels::None, load(&self.recovered));
        w.family(n::HEARTBEAT_STORE_UNSYNCED_PINGS);
        w.sample(&Labels::None, load(&self.unsynced));
    }

    /// Commits that wait to be durable.
    pub fn unsynced(&self) -> u64 {
        self.unsynced.load(Ordering::Relaxed)
    }

    pub(super) fn entered(&self) {
        self.unsynced.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left(&self) {
        self.unsynced.fetch_sub(1, Ordering::Relaxed);
    }

    /// A commit became durable `took` after it was asked for.
    pub(super) fn durable(&self, took: Duration) {
        self.durations.observe(took);
    }

    pub(super) fn synced(&self, now: SystemTime) {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.synced_at.store(now.as_secs_f64().to_bits(), Ordering::Relaxed);
    }

    pub(super) fn failed(&self, op: Op) {
        if let Some(errors) = self.errors.get(op as usize) {
            errors.add();
        }
    }

    #[cfg(test)]
    pub(super) fn failures(&self, op: Op) -> u64 {
        self.errors[op as usize].value() as u64
    }

    /// A tie to the others is there or not.
    pub(super) fn set_lost(&self, tie: Tie, is_lost: bool) {
        if let Some(lost) = self.lost.get(tie as usize) {
            lost.store(is_lost, Ordering::Relaxed);
        }
    }

    /// Whether all ties are there; always, where there are none.
    pub(super) fn is_tied(&self) -> bool {
        !self.lost.iter().any(|lost| lost.load(Ordering::Relaxed))
    }

    pub(super) fn recovered(&self, records: usize) {
        self.recovered.store(records as u64, Ordering::Relaxed);
    }
}

/// Upper bounds of the histogram, with their labels in seconds: an fsync of a good disk is the first.
const BUCKETS: [(Duration, &str); 12] = [
    (Duration::from_micros(500), "0.0005"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_micros(2500), "0.0025"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1.0"),
    (Duration::from_secs(5), "5.0"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::text::{Escaping, Syntax};

    #[test]
    fn the_text_has_every_operation_and_cumulative_buckets() {
        let metrics = StoreMetrics::default();
        for (at, (op, _)) in Op::ALL.iter().enumerate() {
            assert_eq!(*op as usize, at);
        }
        metrics.failed(Op::Watch);
        metrics.durable(Duration::from_millis(1));
        metrics.durable(Duration::from_secs(6));
        metrics.synced(SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        metrics.recovered(3);
        metrics.entered();
        let mut out = Vec::new();
        metrics.write(&mut Writer::new(&mut out, Syntax::Prometheus, Escaping::Underscores));
        let text = String::from_utf8(out).unwrap();
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let want = "heartbeat_store_append_duration_seconds_bucket{le=\"0.0005\"} 0
heartbeat_store_append_duration_seconds_bucket{le=\"0.001\"} 1
heartbeat_store_append_duration_seconds_bucket{le=\"0.0025\"} 1
heartbeat_store_append_duration_seconds_bucket{le=\"0.005\"} 1
heartbeat_store_append_duration_seconds_bucket{le=\"0.01\"} 1
heartbeat_store_append_duration_seconds_bucket{le=\"0.025\"} 1
heartbeat_store_append_duration_seconds_bucket{le=\"0.05\"} 1
heartbeat_store_append_duration_seconds_bucket{le=\"0.1\"} 1
heartbeat_store_append_duration_seconds_bucket{le=\"0.25\"} 1
heartbeat_store_append_duration_seconds_bucket{le=\"0.5\"} 1
heartbeat_store_append_duration_seconds_bucket{le=\"1.0\"} 1
heartbeat_store_append_duration_seconds_bucket{le=\"5.0\"} 1
heartbeat_store_append_duration_seconds_bucket{le=\"+Inf\"} 2
heartbeat_store_append_duration_seconds_sum 6.001
heartbeat_store_append_duration_seconds_count 2
heartbeat_store_errors_total{op=\"body\"} 0
heartbeat_store_errors_total{op=\"commit\"} 0
heartbeat_store_errors_total{op=\"lease\"} 0
heartbeat_store_errors_total{op=\"open\"} 0
heartbeat_store_errors_total{op=\"read\"} 0
heartbeat_store_errors_total{op=\"refused\"} 0
heartbeat_store_errors_total{op=\"salvage\"} 0
heartbeat_store_errors_total{op=\"watch\"} 1
heartbeat_store_last_sync_timestamp_seconds 1.5
heartbeat_store_recovered_pings 3
heartbeat_store_unsynced_pings 1";
        assert_eq!(samples, want.lines().collect::<Vec<_>>());
    }
}
