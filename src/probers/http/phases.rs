//! When resolve, connect, tls, processing and transfer begin and end, hop by hop.

use std::time::{Duration, Instant};

use crate::metrics::{Samples, names};

/// Instants of one hop; `None` for what did not happen.
#[derive(Debug, Default, Clone, Copy)]
pub struct Hop {
    /// Time spent on looking up the hop's host.
    pub resolve: Duration,
    /// Begin and end of opening the TCP connection.
    pub connect: Option<(Instant, Instant)>,
    /// Begin and end of the TLS handshake.
    pub tls: Option<(Instant, Instant)>,
    /// The connection can carry a request.
    pub ready: Option<Instant>,
    /// First byte of the response.
    pub first_byte: Option<Instant>,
    /// Body read and checks done; only the final hop has it.
    pub end: Option<Instant>,
}

impl Hop {
    /// Adds this hop to the sums of `probe_http_duration_seconds`.
    ///
    /// As in the peer, a hop that never got a usable connection counts only for `resolve`.
    pub fn add_to(&self, samples: &mut Samples) {
        let mut add = |phase, duration: Duration| {
            samples.add_one(names::PROBE_HTTP_DURATION_SECONDS, "phase", phase, duration.as_secs_f64());
        };
        if !self.resolve.is_zero() {
            add("resolve", self.resolve);
        }
        let between = |span: Option<(Instant, Instant)>| {
            span.map_or(Duration::ZERO, |(from, to)| to.saturating_duration_since(from))
        };
        let Some(ready) = self.ready else { return };
        add("connect", between(self.connect));
        add("tls", between(self.tls));
        let Some(first_byte) = self.first_byte else { return };
        add("processing", first_byte.saturating_duration_since(ready));
        if let Some(end) = self.end {
            add("transfer", end.saturating_duration_since(first_byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Labels;

    #[test]
    fn a_hop_counts_as_far_as_it_got() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let full = Hop {
            resolve: Duration::from_millis(1),
            connect: Some((at(1), at(3))),
            tls: Some((at(3), at(6))),
            ready: Some(at(6)),
            first_byte: Some(at(10)),
            end: Some(at(15)),
        };
        let cases = [
            (full, [Some(1), Some(2), Some(3), Some(4), Some(5)]),
            (Hop { end: None, ..full }, [Some(1), Some(2), Some(3), Some(4), None]),
            (Hop { first_byte: None, ..full }, [Some(1), Some(2), Some(3), None, None]),
            (Hop { ready: None, ..full }, [Some(1), None, None, None, None]),
        ];
        for (hop, want) in cases {
            let mut samples = Samples::new();
            hop.add_to(&mut samples);
            let got = ["resolve", "connect", "tls", "processing", "transfer"].map(|phase| {
                let value = samples.value(names::PROBE_HTTP_DURATION_SECONDS, &Labels::One("phase", phase));
                value.map(|seconds| (seconds * 1000.0).round() as i32)
            });
            assert_eq!(got, want);
        }
    }
}
