//! The round trip from two clocks.
//!
//! The kernel stamps arrivals with the wall clock, which excludes the time our task waited for a
//! processor; the monotonic clock bounds that value, because the wall clock can be stepped.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// When a request went out, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    monotonic: Instant,
    /// Since 1970.
    wall: Duration,
}

impl Sent {
    /// Read both clocks. The monotonic one comes first, so its span encloses the other.
    pub fn now() -> Self {
        let monotonic = Instant::now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { monotonic, wall }
    }
}

/// When a reply came in, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// When the reader saw it: never before it arrived.
    pub monotonic: Instant,
    /// The kernel's time stamp, since 1970.
    pub wall: Option<Duration>,
}

/// Time from `sent` to `arrival`, at least 1 ns.
///
/// The kernel's time stamp decides unless it lies outside the monotonic span (the wall clock was
/// stepped) or is missing; then the monotonic span is the answer.
pub(super) fn round_trip(sent: Sent, arrival: Arrival) -> Duration {
    let span = arrival.monotonic.saturating_duration_since(sent.monotonic);
    arrival
        .wall
        .and_then(|wall| wall.checked_sub(sent.wall))
        .filter(|&rtt| rtt > Duration::ZERO && rtt <= span)
        .unwrap_or(span)
        .max(Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_time_counts_inside_the_monotonic_span() {
        let start = Instant::now();
        let sent = Sent { monotonic: start, wall: Duration::from_secs(1_000) };
        let cases = [
            ("kernel time", Some(1_000_000_040), 90, 40),
            ("no kernel time", None, 90, 90),
            ("wall clock stepped back", Some(999_000_000), 90, 90),
            ("wall clock stepped forward", Some(1_005_000_000), 90, 90),
            ("equal stamps", Some(1_000_000_000), 90, 90),
        ];
        for (name, wall_micros, span_micros, want_micros) in cases {
            let arrival = Arrival {
                monotonic: start + Duration::from_micros(span_micros),
                wall: wall_micros.map(Duration::from_micros),
            };
            let got = round_trip(sent, arrival);
            assert_eq!(got, Duration::from_micros(want_micros), "{name}");
        }
    }

    #[test]
    fn the_round_trip_is_never_zero() {
        let sent = Sent::now();
        let arrival = Arrival { monotonic: sent.monotonic, wall: Some(sent.wall) };
        assert_eq!(round_trip(sent, arrival), Duration::from_nanos(1));
    }
}
