//! What the peer answered, in words.

use crate::metrics::samples::Labels;
use crate::metrics::{Metric, names};
use crate::runner::{Event, Outcome};

/// A name and what is known under it.
pub type Fact = (&'static str, String);

/// Everything that is neither time nor certificate nor check.
pub fn facts(outcome: &Outcome) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    for event in outcome.report.events() {
        match event.message {
            "Resolved target address" => {
                facts.extend(field(event, "ip").map(|ip| ("address", ip.to_owned())))
            }
            "Received redirect" | "Received redirect, not followed" => {
                facts.extend(field(event, "location").map(|to| ("redirect", to.to_owned())));
            }
            _ => {}
        }
    }
    facts.extend(http(outcome).into_iter().flatten());
    facts.extend(dns(outcome));
    facts.extend(websocket(outcome));
    facts.extend(grpc(outcome));
    let hops = positive(outcome, names::PROBE_ICMP_REPLY_HOP_LIMIT);
    facts.extend(hops.map(|hops| ("reply", format!("hop limit {hops}"))));
    facts.extend(captured(outcome));
    let version = label(outcome, names::PROBE_TLS_VERSION_INFO, "version");
    let cipher = label(outcome, names::PROBE_TLS_CIPHER_INFO, "cipher");
    let tls: Vec<&str> = version.into_iter().chain(cipher).collect();
    if !tls.is_empty() {
        facts.push(("TLS", tls.join(", ")));
    }
    facts
}

/// The value of a label of an information metric.
pub fn label<'o>(outcome: &'o Outcome, metric: Metric, name: &str) -> Option<&'o str> {
    let samples = outcome.report.samples.as_slice();
    // The last one is of the last hop.
    let sample = samples.iter().rev().find(|sample| sample.metric == metric && sample.value == 1.0)?;
    sample.labels.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The value of a field of a log line.
pub fn field<'e>(event: &'e Event, name: &str) -> Option<&'e str> {
    event.fields.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
}

/// The value of a metric without labels, if it is there and not zero.
pub fn positive(outcome: &Outcome, metric: Metric) -> Option<f64> {
    outcome.report.samples.value(metric, &Labels::None).filter(|value| *value > 0.0)
}

fn http(outcome: &Outcome) -> Option<[Fact; 2]> {
    let status = positive(outcome, names::PROBE_HTTP_STATUS_CODE)?;
    let version = positive(outcome, names::PROBE_HTTP_VERSION).unwrap_or(0.9);
    let body = positive(outcome, names::PROBE_HTTP_UNCOMPRESSED_BODY_LENGTH).unwrap_or(0.0);
    let bytes = if body == 1.0 { "byte" } else { "bytes" };
    Some([("answer", format!("HTTP/{version:.1}, status {status}")), ("body", format!("{body} {bytes}"))])
}

fn dns(outcome: &Outcome) -> Option<Fact> {
    positive(outcome, names::PROBE_DNS_QUERY_SUCCEEDED)?;
    let is_answer = |event: &&Event| event.message == "Got response";
    let rcode = outcome.report.events().iter().find(is_answer).and_then(|event| field(event, "rcode"));
    let sections = [
        (names::PROBE_DNS_ANSWER_RRS, "answer"),
        (names::PROBE_DNS_AUTHORITY_RRS, "authority"),
        (names::PROBE_DNS_ADDITIONAL_RRS, "additional"),
    ];
    let counts =
        sections.map(|(metric, name)| format!("{} {name}", positive(outcome, metric).unwrap_or(0.0)));
    Some(("answer", format!("{}; records: {}", rcode.unwrap_or_default(), counts.join(", "))))
}

fn websocket(outcome: &Outcome) -> Option<Fact> {
    let status = positive(outcome, names::PROBE_WEBSOCKET_STATUS_CODE)?;
    Some(("answer", format!("status {status}")))
}

fn grpc(outcome: &Outcome) -> Option<Fact> {
    if let Some(code) = positive(outcome, names::PROBE_GRPC_STATUS_CODE) {
        return Some(("answer", format!("gRPC status {code}")));
    }
    let serving = label(outcome, names::PROBE_GRPC_HEALTHCHECK_RESPONSE, "serving_status")?;
    Some(("answer", serving.to_owned()))
}

/// Values that the module's labels take from the answer.
fn captured(outcome: &Outcome) -> Vec<Fact> {
    let samples = outcome.report.samples.as_slice().iter();
    let infos = samples.filter(|sample| sample.metric == names::PROBE_EXPECT_INFO);
    infos
        .flat_map(|sample| sample.labels.iter())
        .map(|(name, value)| ("captured", format!("{name}={value}")))
        .collect()
}
