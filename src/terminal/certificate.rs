//! What a probe learnt about the certificate of its peer.

use chrono::{DateTime, Utc};

use super::facts::{Fact, label};
use super::style::Tone;
use crate::metrics::Metric;
use crate::metrics::names;
use crate::metrics::samples::Labels;
use crate::net::tls::Verdict;
use crate::runner::{Outcome, Phase};

/// The verdict in a sentence, and how good it is; `None` if no certificate was seen.
pub fn verdict(outcome: &Outcome) -> Option<(Tone, String)> {
    if value(outcome, names::PROBE_TLS_VERIFIED)? == 1.0 {
        return Some((Tone::Good, "verified".to_owned()));
    }
    let reason = label(outcome, names::PROBE_TLS_VERIFY_FAILURE_INFO, "reason")?;
    let known = Verdict::ALL.into_iter().find(|verdict| verdict.reason() == Some(reason));
    let sentence = known.map_or_else(|| reason.to_owned(), |verdict| format!("{verdict} ({reason})"));
    // A handshake that did not end here means that the module takes any certificate.
    let is_final = outcome.failure.as_ref().is_some_and(|error| error.phase == Phase::Tls);
    Some(match is_final {
        true => (Tone::Bad, format!("not verified: {sentence}")),
        false => {
            (Tone::Doubtful, format!("not verified, but accepted as insecure_skip_verify is set: {sentence}"))
        }
    })
}

/// What the certificate says about itself.
pub fn facts(outcome: &Outcome) -> Vec<Fact> {
    let mut facts = Vec::new();
    let names = [
        ("subject", "subject"),
        ("issuer", "issuer"),
        ("DNS names", "subjectalternative"),
        ("serial", "serialnumber"),
        ("sha256", "fingerprint_sha256"),
    ];
    for (name, key) in names {
        let text = label(outcome, names::PROBE_SSL_LAST_CHAIN_INFO, key);
        facts.extend(text.filter(|text| !text.is_empty()).map(|text| (name, text.replace(',', ", "))));
    }
    let now = DateTime::<Utc>::from(outcome.report.started_at());
    let time = |metric| DateTime::from_timestamp(whole(value(outcome, metric)?), 0);
    if let Some(begin) = time(names::PROBE_SSL_LEAF_NOT_BEFORE_TIMESTAMP_SECONDS) {
        facts.push(("valid from", moment(begin, now)));
    }
    if let Some(end) = time(names::PROBE_SSL_LEAF_NOT_AFTER_TIMESTAMP_SECONDS) {
        facts.push(("valid until", moment(end, now)));
    }
    let chain = time(names::PROBE_SSL_LAST_CHAIN_EXPIRY_TIMESTAMP_SECONDS);
    facts.extend(chain.map(|end| ("chain until", moment(end, now))));
    facts
}

fn value(outcome: &Outcome, metric: Metric) -> Option<f64> {
    outcome.report.samples.value(metric, &Labels::None)
}

#[expect(clippy::cast_possible_truncation, reason = "certificates end before the year 10000")]
fn whole(seconds: f64) -> i64 {
    seconds as i64
}

fn moment(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let days = (time - now).num_days();
    let distance = match days {
        0 => "within a day of now".to_owned(),
        1.. => format!("in {days} {}", if days == 1 { "day" } else { "days" }),
        _ => format!("{} {} ago", -days, if days == -1 { "day" } else { "days" }),
    };
    format!("{} UTC, {distance}", time.format("%Y-%m-%d %H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_in_days() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let cases = [
            (0, "2026-09-21 14:13:20 UTC, within a day of now"),
            (86_400, "2026-09-22 14:13:20 UTC, in 1 day"),
            (-86_400, "2026-09-20 14:13:20 UTC, 1 day ago"),
            (864_000, "2026-10-01 14:13:20 UTC, in 10 days"),
            (-864_000, "2026-09-11 14:13:20 UTC, 10 days ago"),
        ];
        for (seconds, want) in cases {
            let time = DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap();
            assert_eq!(moment(time, now), want);
        }
    }
}
