//! How many requests are answered: a bucket of tokens.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::parse::RateLimitSection;

/// A bucket that begins full. Each request takes a token, and one comes back each interval.
#[derive(Debug)]
pub struct RateLimit {
    burst: f64,
    interval: Duration,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    at: Instant,
}

impl RateLimit {
    /// A full bucket; `None` if requests are not limited, which a negative interval means as well.
    pub fn new(section: &RateLimitSection, now: Instant) -> Option<Self> {
        let interval = section.interval.0.to_std().filter(|interval| !interval.is_zero())?;
        #[expect(clippy::cast_precision_loss, reason = "a bucket of 2^53 tokens never empties")]
        let burst = section.burst.max(0) as f64;
        Some(Self { burst, interval, level: Mutex::new(Level { tokens: burst, at: now }) })
    }

    /// Takes a token, if there is one.
    pub fn allows(&self, now: Instant) -> bool {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(level.at);
        let come_back = passed.as_secs_f64() / self.interval.as_secs_f64();
        level.tokens = (level.tokens + come_back).min(self.burst);
        level.at = level.at.max(now);
        let allowed = level.tokens >= 1.0;
        if allowed {
            level.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::web_config::parse::parse;

    fn limit(yaml: &str, now: Instant) -> Option<RateLimit> {
        RateLimit::new(&parse(&format!("rate_limit: {yaml}")).unwrap().sections.rate_limit, now)
    }

    #[test]
    fn what_is_no_limit() {
        for yaml in ["{}", "{burst: 5}", "{interval: 0s, burst: 1}", "{interval: 0}", "{interval: -1s}"] {
            assert!(limit(yaml, Instant::now()).is_none(), "{yaml}");
        }
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        // Settings, and the seconds at which a request comes with whether it may pass.
        let cases: [(&str, &[(f64, bool)]); 4] = [
            (
                "{interval: 1s, burst: 2}",
                &[(0.0, true), (0.0, true), (0.0, false), (0.9, false), (1.0, true), (1.0, false)],
            ),
            // However long nothing comes, the bucket holds no more than the burst.
            ("{interval: 100ms, burst: 1}", &[(0.0, true), (60.0, true), (60.0, false), (60.1, true)]),
            ("{interval: 1s}", &[(0.0, false), (60.0, false)]),
            ("{interval: 1, burst: 1}", &[(0.0, true), (0.001, true), (0.002, true)]),
        ];
        for (yaml, requests) in cases {
            let start = Instant::now();
            let limit = limit(yaml, start).unwrap();
            for (at, want) in requests {
                let got = limit.allows(start + Duration::from_secs_f64(*at));
                assert_eq!(got, *want, "{yaml} at {at}");
            }
        }
    }
}
