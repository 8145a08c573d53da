//! How often one heartbeat may report without anything changing.

use std::time::Duration;

/// Signals of one heartbeat that change nothing, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// In the long run.
    pub per_minute: u32,
    /// At once.
    pub burst: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { per_minute: 60, burst: 60 }
    }
}

/// State of the generic cell rate algorithm: one number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    /// Milliseconds of the monotonic clock at which the bucket is empty again.
    empty_at: i64,
}

impl Bucket {
    /// Takes a place, or tells after which time there is one.
    pub(super) fn take(&mut self, limit: RateLimit, now: Duration) -> Result<(), Duration> {
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let each = 60_000 / i64::from(limit.per_minute.max(1));
        let after = self.empty_at.max(now) + each;
        let over = after - now - each * i64::from(limit.burst.max(1));
        match u64::try_from(over) {
            Ok(over) if over > 0 => Err(Duration::from_millis(over)),
            _ => {
                self.empty_at = after;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_does() {
        let limit = RateLimit { per_minute: 60, burst: 3 };
        let mut bucket = Bucket::default();
        let at = |ms: u64| Duration::from_millis(100_000 + ms);
        for _ in 0..3 {
            assert_eq!(bucket.take(limit, at(0)), Ok(()));
        }
        assert_eq!(bucket.take(limit, at(0)), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(limit, at(400)), Err(Duration::from_millis(600)));
        assert_eq!(bucket.take(limit, at(1000)), Ok(()));
        assert_eq!(bucket.take(limit, at(1001)), Err(Duration::from_millis(999)));
        for _ in 0..3 {
            assert_eq!(bucket.take(limit, at(60_000)), Ok(()));
        }
    }
}
