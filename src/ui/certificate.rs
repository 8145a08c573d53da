//! What a probe learnt about TLS: the verdict, and the leaf certificate.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::text::{Foreign, clock, moment, rough};
use crate::metrics::names as n;
use crate::metrics::names::Metric;
use crate::metrics::samples::{Labels, Sample};
use crate::runner::{Outcome, Reason};

/// The section about TLS; `None` if there was none.
pub fn section(outcome: &Outcome) -> Option<Markup> {
    let samples = outcome.report.samples.as_slice();
    let of = |metric: Metric| samples.iter().filter(move |sample| sample.metric == metric);
    let value = |metric: Metric| outcome.report.samples.value(metric, &Labels::None);
    let verified = value(n::PROBE_TLS_VERIFIED);
    let facts = |metric| of(metric).flat_map(|sample: &Sample| sample.labels.iter());
    let has_handshake = of(n::PROBE_TLS_VERSION_INFO).next().is_some();
    if verified.is_none() && !has_handshake {
        return None;
    }
    let at = outcome.report.started_at();
    let day = |metric| value(metric).and_then(moment);
    let moments = [
        ("Valid from", day(n::PROBE_SSL_LEAF_NOT_BEFORE_TIMESTAMP_SECONDS)),
        ("Valid until", day(n::PROBE_SSL_LEAF_NOT_AFTER_TIMESTAMP_SECONDS)),
        ("First expiry among all presented", day(n::PROBE_SSL_EARLIEST_CERT_EXPIRY)),
        ("Expiry of the verified chain", day(n::PROBE_SSL_LAST_CHAIN_EXPIRY_TIMESTAMP_SECONDS)),
    ];
    Some(html! {
        section class="card" aria-labelledby="certificate" {
            h2 id="certificate" { "Certificate" }
            @match verified {
                Some(1.0) => p class="verdict good" { "The chain verifies for the name that was asked for." },
                Some(_) => p class="verdict bad" {
                    "The chain does not verify"
                    @for (_, reason) in facts(n::PROBE_TLS_VERIFY_FAILURE_INFO) {
                        ": " b { (Foreign(reason)) }
                        @if let Some(known) = Reason::ALL.iter().find(|known| known.as_str() == reason) {
                            ", " (known.help())
                        }
                    }
                    "."
                },
                None => p class="verdict" { "The peer presented no certificate." },
            }
            dl class="facts" {
                @for (name, value) in facts(n::PROBE_TLS_VERSION_INFO).chain(facts(n::PROBE_TLS_CIPHER_INFO)) {
                    dt { (title(name)) } dd { (Foreign(value)) }
                }
                @for (name, when) in moments {
                    @if let Some(when) = when {
                        dt { (name) }
                        dd { (clock(when)) " " span class="quiet" { "(" (distance(at, when)) ")" } }
                    }
                }
                @for (name, value) in facts(n::PROBE_SSL_LAST_CHAIN_INFO).filter(|(_, value)| !value.is_empty()) {
                    dt { (title(name)) } dd { (Foreign(value)) }
                }
            }
        }
    })
}

/// A label as people say it.
fn title(label: &str) -> &str {
    match label {
        "version" => "TLS version",
        "cipher" => "Cipher suite",
        "subject" => "Subject",
        "issuer" => "Issuer",
        "subjectalternative" => "Alternative names",
        "serialnumber" => "Serial number",
        "fingerprint_sha256" => "SHA-256 of the certificate",
        other => other,
    }
}

/// How far from the probe a moment is.
fn distance(probe: SystemTime, when: SystemTime) -> String {
    let whole = |time: Duration| rough(time.as_secs());
    match when.duration_since(probe) {
        Ok(ahead) => format!("{} after the probe", whole(ahead)),
        Err(past) => format!("{} before the probe", whole(past.duration())),
    }
}
