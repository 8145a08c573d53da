//! What the module demands of the answer, and which of it was met.
//!
//! A report tells which checks failed and in which phase a probe ended; what it says nothing about either passed
//! or was never looked at. The order in which each prober looks is kept here.

use super::facts::{field, positive};
use crate::config::sections::dialogue::DialogueStep;
use crate::config::sections::dns::{Dns, RecordChecks};
use crate::config::sections::http::{Codec, HeaderMatch, Http};
use crate::config::{self, ProberKind};
use crate::metrics::names;
use crate::metrics::samples::IntoValue as _;
use crate::regex::GoRegex;
use crate::runner::{Outcome, Phase, Reason};

/// One kind of demand.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// What it looks at.
    pub name: &'static str,
    /// What has to be, one sentence each, at least one.
    pub rules: Vec<String>,
    /// How it went.
    pub verdict: Verdict,
}

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All rules are met.
    Passed,
    /// One is not; why.
    Failed(String),
    /// The probe ended before, or the prober does not look once another check has failed.
    NotDone,
}

/// The checks of a module, in the order in which they are made.
pub fn checks(module: &config::Module, outcome: &Outcome) -> Vec<Check> {
    let mut checks = match module.prober {
        Some(ProberKind::Http) => http(&module.http, outcome),
        Some(ProberKind::Dns) => dns(&module.dns, outcome),
        Some(ProberKind::Grpc) => vec![serving(&module.grpc.service, outcome)],
        Some(ProberKind::Tcp) => dialogue(&module.tcp.query_response, outcome),
        Some(ProberKind::Unix) => dialogue(&module.unix.query_response, outcome),
        Some(ProberKind::Websocket) => {
            let mut checks = vec![upgrade(outcome)];
            checks.extend(dialogue(&module.websocket.query_response, outcome));
            checks
        }
        Some(ProberKind::Icmp) | None => Vec::new(),
    };
    checks.retain(|check| !check.rules.is_empty());
    if let Some(mask) = &module.mask {
        checks.iter_mut().flat_map(|check| &mut check.rules).for_each(|rule| mask.redact(rule));
    }
    checks
}

fn http(section: &Http, outcome: &Outcome) -> Vec<Check> {
    let http = HttpVerdicts::new(outcome);
    let status = http.verdict(true, &[Reason::Status, Reason::ProxyAuth]);
    let header = http.verdict(status == Verdict::Passed, &[Reason::Header]);
    let size = http.verdict(http.was_read, &[Reason::TooLarge]);
    // A name that is none is a fault of the configuration.
    let codec = http.verdict(http.was_read, &[Reason::Decompression, Reason::Config]);
    let is_fine = [&status, &header].into_iter().all(|verdict| *verdict == Verdict::Passed);
    let is_looked_at = http.was_read && is_fine && !http.has_failed(Reason::Config);
    let body = http.verdict(is_looked_at, &[Reason::Body]);
    let cel = http.verdict(is_looked_at && body == Verdict::Passed, &[Reason::Cel]);
    let version = http.verdict(!http.was_cut, &[Reason::HttpVersion]);
    let tls = http.verdict(!http.was_cut, &[Reason::TlsPresent, Reason::TlsAbsent]);

    let valid: Vec<String> = section.valid_status_codes.iter().map(i64::to_string).collect();
    let valid = if valid.is_empty() { "200 to 299".to_owned() } else { valid.join(", ") };
    let limit = section.body_size_limit.limit().map(|limit| format!("at most {limit} bytes"));
    let codec_name = match section.codec() {
        Some(Codec::Gzip) => Some("gzip"),
        Some(Codec::Brotli) => Some("br"),
        Some(Codec::RawDeflate) => Some("deflate"),
        Some(Codec::Identity) => None,
        None => Some(section.compression.as_str()),
    };
    let cel_rules = [
        (&section.fail_if_body_json_matches_cel, "must not hold"),
        (&section.fail_if_body_json_not_matches_cel, "must hold"),
    ];
    let cel_rules = cel_rules
        .into_iter()
        .filter_map(|(program, verb)| Some(format!("{verb}: {}", program.as_ref()?.source())));
    let tls_rules = [(section.fail_if_ssl, "must not be used"), (section.fail_if_not_ssl, "must be used")];
    let tls_rules =
        tls_rules.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, rule)| rule.to_owned());
    let versions = section.valid_http_versions.join(", ");
    vec![
        Check { name: "status", rules: vec![valid], verdict: status },
        Check { name: "header", rules: header_rules(section), verdict: header },
        Check { name: "size", rules: limit.into_iter().collect(), verdict: size },
        Check {
            name: "compression",
            rules: codec_name.into_iter().map(str::to_owned).collect(),
            verdict: codec,
        },
        Check { name: "body", rules: body_rules(section), verdict: body },
        Check { name: "CEL", rules: cel_rules.collect(), verdict: cel },
        Check {
            name: "version",
            rules: Some(versions).into_iter().filter(|text| !text.is_empty()).collect(),
            verdict: version,
        },
        Check { name: "TLS", rules: tls_rules.collect(), verdict: tls },
    ]
}

/// What the report of an http probe says about its checks.
struct HttpVerdicts<'o> {
    /// Reason and sentence of each check that failed.
    failed: Vec<(&'o str, &'o str)>,
    is_answered: bool,
    /// The body came to its end.
    was_read: bool,
    /// The deadline came before the last check.
    was_cut: bool,
}

impl<'o> HttpVerdicts<'o> {
    fn new(outcome: &'o Outcome) -> Self {
        let events = outcome.report.events().iter().filter(|event| event.message == "Check failed");
        let failed: Vec<_> =
            events.filter_map(|event| Some((field(event, "reason")?, field(event, "err")?))).collect();
        let allowed = positive(outcome, names::PROBE_TIMEOUT_SECONDS).unwrap_or(0.0);
        let was_cut = outcome.duration.as_secs_f64() >= allowed
            || outcome.failure.as_ref().is_some_and(|error| error.reason == Reason::Deadline);
        // Reading ends the transfer with a reason of its own.
        let of_checks = JUDGEMENTS.map(Reason::as_str);
        let was_read = !was_cut && failed.iter().all(|(reason, _)| of_checks.contains(reason));
        let is_answered = positive(outcome, names::PROBE_HTTP_STATUS_CODE).is_some();
        Self { failed, is_answered, was_read, was_cut }
    }

    fn has_failed(&self, reason: Reason) -> bool {
        self.failed.iter().any(|(failed, _)| *failed == reason.as_str())
    }

    fn verdict(&self, is_reached: bool, reasons: &[Reason]) -> Verdict {
        let is_one = |reason: &str| reasons.iter().any(|one| one.as_str() == reason);
        match self.failed.iter().find(|(reason, _)| is_one(reason)) {
            Some((_, why)) => Verdict::Failed((*why).to_owned()),
            None if self.is_answered && is_reached => Verdict::Passed,
            None => Verdict::NotDone,
        }
    }
}

/// Reasons of checks that need no more than what has been read.
const JUDGEMENTS: [Reason; 9] = [
    Reason::Config,
    Reason::Status,
    Reason::ProxyAuth,
    Reason::Header,
    Reason::Body,
    Reason::Cel,
    Reason::HttpVersion,
    Reason::TlsPresent,
    Reason::TlsAbsent,
];

fn header_rules(section: &Http) -> Vec<String> {
    let rule = |verb: &str, check: &HeaderMatch| {
        let missing = if check.allow_missing { ", or be absent" } else { "" };
        format!(
            "{} {}{missing}",
            check.header,
            matching(verb, check.regexp.as_ref().map_or("", GoRegex::as_str))
        )
    };
    let unwanted = section.fail_if_header_matches.iter().map(|check| rule("must not match", check));
    unwanted.chain(section.fail_if_header_not_matches.iter().map(|check| rule("must match", check))).collect()
}

fn body_rules(section: &Http) -> Vec<String> {
    let unwanted =
        section.fail_if_body_matches_regexp.iter().map(|regex| matching("must not match", regex.as_str()));
    let wanted = section.fail_if_body_not_matches_regexp.iter();
    unwanted.chain(wanted.map(|regex| matching("must match", regex.as_str()))).collect()
}

fn matching(verb: &str, regex: &str) -> String {
    format!("{verb} {regex:?}")
}

fn dns(section: &Dns, outcome: &Outcome) -> Vec<Check> {
    let rcodes = section.valid_rcodes.join(", ");
    let rcodes = if rcodes.is_empty() { "NOERROR".to_owned() } else { rcodes };
    let mut rules = Vec::new();
    record_rules("answer", &section.validate_answer_rrs, &mut rules);
    record_rules("authority", &section.validate_authority_rrs, &mut rules);
    record_rules("additional", &section.validate_additional_rrs, &mut rules);
    let is_answered = positive(outcome, names::PROBE_DNS_QUERY_SUCCEEDED).is_some();
    // A name or pattern that is none is noticed where it is used.
    let is_at_records = outcome.report.events().iter().any(|event| event.message == "Validating RR");
    let failed = |reason, is_its_own: bool| match &outcome.failure {
        Some(error) if error.reason == reason => Some(Verdict::Failed(error.chain())),
        Some(error) if error.reason == Reason::Config && error.phase == Phase::Check && is_its_own => {
            Some(Verdict::Failed(error.chain()))
        }
        _ => None,
    };
    let reached = |is_reached| if is_reached { Verdict::Passed } else { Verdict::NotDone };
    let rcode = failed(Reason::Rcode, !is_at_records).unwrap_or_else(|| reached(is_answered));
    let records = failed(Reason::Record, is_at_records).unwrap_or_else(|| reached(rcode == Verdict::Passed));
    vec![
        Check { name: "rcode", rules: vec![rcodes], verdict: rcode },
        Check { name: "records", rules, verdict: records },
    ]
}

fn record_rules(section: &str, checks: &RecordChecks, rules: &mut Vec<String>) {
    let groups = [
        (&checks.fail_if_matches_regexp, "none may match"),
        // The option's name says otherwise; this is what it does.
        (&checks.fail_if_all_match_regexp, "all must match"),
        (&checks.fail_if_not_matches_regexp, "all must match, one at least"),
        (&checks.fail_if_none_matches_regexp, "one must match"),
    ];
    for (patterns, verb) in groups {
        for pattern in patterns {
            rules.push(format!("{section}: {}", matching(verb, pattern.as_str())));
        }
    }
}

fn serving(service: &str, outcome: &Outcome) -> Check {
    let whose = if service.is_empty() { "the server".to_owned() } else { format!("service {service:?}") };
    let is_in_check = |phase| phase == Phase::Check;
    let verdict = match &outcome.failure {
        None => Verdict::Passed,
        Some(error) if is_in_check(error.phase) => Verdict::Failed(error.chain()),
        Some(_) => Verdict::NotDone,
    };
    Check { name: "health", rules: vec![format!("{whose} is SERVING")], verdict }
}

fn upgrade(outcome: &Outcome) -> Check {
    let is_upgraded = positive(outcome, names::PROBE_WEBSOCKET_CONNECTION_UPGRADED).is_some();
    let is_answered = positive(outcome, names::PROBE_WEBSOCKET_STATUS_CODE).is_some();
    let verdict = match &outcome.failure {
        _ if is_upgraded => Verdict::Passed,
        Some(error) if is_answered => Verdict::Failed(error.chain()),
        _ => Verdict::NotDone,
    };
    Check { name: "upgrade", rules: vec!["the answer is an upgrade to WebSocket".to_owned()], verdict }
}

/// The steps in up to three groups: those that are done, the one that failed, and the rest.
fn dialogue(steps: &[DialogueStep], outcome: &Outcome) -> Vec<Check> {
    let rules: Vec<String> =
        steps.iter().enumerate().map(|(index, step)| step_rule(index + 1, step)).collect();
    let check = |rules: &[String], verdict| Check { name: "dialogue", rules: rules.to_vec(), verdict };
    let Some(error) = &outcome.failure else { return vec![check(&rules, Verdict::Passed)] };
    let failed = positive(outcome, names::PROBE_FAILED_STEP);
    let failed = failed.and_then(|failed| (1..=rules.len()).find(|number| number.into_value() == failed));
    let (done, rest) = rules.split_at(failed.map_or(0, |number| number - 1));
    let (failed, rest) = rest.split_at(usize::from(failed.is_some()));
    vec![
        check(done, Verdict::Passed),
        check(failed, Verdict::Failed(error.chain())),
        check(rest, Verdict::NotDone),
    ]
}

/// What is sent may be a password, so only that something is sent is told.
fn step_rule(number: usize, step: &DialogueStep) -> String {
    let mut parts = Vec::new();
    if let Some(regex) = &step.expect {
        parts.push(matching("a line must match", regex.as_str()));
    }
    if !step.expect_bytes.is_empty() {
        parts.push(format!("the bytes \"{}\" must follow", step.expect_bytes.escape_ascii()));
    }
    if !step.send.is_empty() {
        parts.push("an answer is sent".to_owned());
    }
    if step.starttls {
        parts.push("TLS begins".to_owned());
    }
    format!("step {number}: {}", parts.join(", "))
}
