//! What is known about an exchange, and the samples it becomes whether or not the exchange came to its end.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hyper::Version;

use super::connection::Arrival;
use super::{dial, phases};
use crate::logging::Level;
use crate::metrics::names;
use crate::net::tls::{Observer, TlsFacts};
use crate::probers::tls_report;
use crate::runner::{ProbeError, Report};

/// What is known about the exchange so far.
#[derive(Default)]
pub(super) struct Progress<'a> {
    pub(super) open: Vec<dial::Open<'a>>,
    /// Of the hop that is running over HTTP/1.
    pub(super) arrival: Arc<Arrival>,
    pub(super) requested: bool,
    pub(super) hops: Vec<phases::Hop>,
    pub(super) redirects: u32,
    pub(super) status: u16,
    pub(super) version: Option<Version>,
    pub(super) is_tls: bool,
    pub(super) content_length: i64,
    pub(super) body_length: u64,
    pub(super) last_modified: Option<SystemTime>,
    pub(super) regex_failed: bool,
    pub(super) cel_failed: bool,
    pub(super) facts: Option<TlsFacts>,
    /// Sees the last handshake, in case it does not come to its end.
    pub(super) observer: Option<Observer>,
    pub(super) failure: Option<ProbeError>,
}

impl Progress<'_> {
    /// Keeps the first failure; later checks still run, because their metrics are wanted.
    pub(super) fn fail(&mut self, report: &mut Report, error: ProbeError) {
        report.log(Level::Error, "Check failed", || {
            vec![("reason", error.reason.to_string()), ("err", error.chain())]
        });
        self.failure.get_or_insert(error);
    }

    /// Ends what the deadline or an error has cut: a response that began, a body that did not end.
    fn settle(&mut self) {
        let (first_byte, has_response) = (self.arrival.first_byte.get().copied(), self.status != 0);
        if let Some(hop) = self.hops.last_mut().filter(|hop| hop.ready.is_some()) {
            hop.first_byte = hop.first_byte.or(first_byte);
            if has_response {
                hop.end.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Turns what is known into samples; runs whatever happened before.
    pub(super) fn write(mut self, has_cel: bool, report: &mut Report) {
        self.settle();
        let samples = &mut report.samples;
        samples.set(names::PROBE_HTTP_STATUS_CODE, u32::from(self.status));
        samples.set(names::PROBE_HTTP_CONTENT_LENGTH, self.content_length);
        samples.set(names::PROBE_HTTP_UNCOMPRESSED_BODY_LENGTH, self.body_length);
        samples.set(names::PROBE_HTTP_REDIRECTS, self.redirects);
        samples.set(names::PROBE_HTTP_SSL, self.is_tls);
        samples.set(names::PROBE_HTTP_VERSION, version_number(self.version));
        samples.set(names::PROBE_FAILED_DUE_TO_REGEX, self.regex_failed);
        if has_cel {
            samples.set(names::PROBE_FAILED_DUE_TO_CEL, self.cel_failed);
        }
        if let Some(Ok(since)) = self.last_modified.map(|time| time.duration_since(SystemTime::UNIX_EPOCH)) {
            samples.set(names::PROBE_HTTP_LAST_MODIFIED_TIMESTAMP_SECONDS, since.as_secs());
        }
        if self.requested {
            if self.hops.len() > 1 {
                // Any redirect begins the phase, also one whose lookups are left to a proxy.
                samples.add_one(names::PROBE_HTTP_DURATION_SECONDS, "phase", "resolve", 0.0);
            }
            for hop in &self.hops {
                hop.add_to(samples);
            }
        }
        let facts = self.facts.take().or_else(|| self.observer.map(|observer| observer.take()));
        if let Some(facts) = &facts {
            tls_report::write(report, facts, tls_report::Families::HTTP);
        }
    }

    pub(super) fn hop(&mut self) -> &mut phases::Hop {
        if self.hops.is_empty() {
            self.hops.push(phases::Hop::default());
        }
        let last = self.hops.len() - 1;
        &mut self.hops[last]
    }
}

fn version_number(version: Option<Version>) -> f64 {
    match version {
        Some(Version::HTTP_10) => 1.0,
        Some(Version::HTTP_11) => 1.1,
        Some(Version::HTTP_2) => 2.0,
        Some(Version::HTTP_3) => 3.0,
        _ => 0.0,
    }
}
