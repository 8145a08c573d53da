//! Runs one probe under one deadline and returns its report.

pub mod budget;
mod error;
pub mod history;
mod report;

use std::time::{Duration, Instant};

use tokio::time::Timeout;

pub use error::{Phase, ProbeError, Reason};
pub use report::{Event, Report, Span};

use crate::logging::Level;
use crate::metrics::names;
use crate::net::Net;
use crate::probers::Module;

/// What one run of a prober is given.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// What to probe, as the prober understands it.
    pub target: &'a str,
    /// The `hostname` parameter of the request.
    pub hostname: Option<&'a str>,
    /// When the probe must be over.
    pub deadline: Instant,
    /// Name resolution and sockets shared by all probes.
    pub net: &'a Net,
}

impl Run<'_> {
    /// Lets `future` run until the deadline.
    ///
    /// `Err` means that the time ran out; [`Report::phase`] tells where.
    ///
    /// Not an `async fn`, since that would keep room for `future` twice.
    pub fn within<F: Future>(&self, future: F) -> Timeout<F> {
        tokio::time::timeout_at(self.deadline.into(), future)
    }
}

/// A finished probe.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that was learnt; samples are sorted.
    pub report: Report,
    /// Why it failed; `None` on success.
    pub failure: Option<ProbeError>,
    /// How long the prober took.
    pub duration: Duration,
}

impl Outcome {
    /// Whether the probe succeeded.
    pub fn is_success(&self) -> bool {
        self.failure.is_none()
    }
}

/// One probe, as asked for by a request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Which module.
    pub module: &'a Module,
    /// What to probe.
    pub target: &'a str,
    /// The `hostname` parameter.
    pub hostname: Option<&'a str>,
    /// How long it may take; zero lets every network step fail at once.
    pub timeout: Duration,
    /// Log lines below this level are not kept.
    pub log_level: Level,
}

/// Runs one probe to its end or to its deadline.
pub async fn run(request: Request<'_>, net: &Net) -> Outcome {
    let mask = &request.module.written.mask;
    let mut report = Report::new(request.log_level).masked(mask.clone());
    report.log(Level::Debug, "Beginning probe", || {
        let prober = request.module.written.prober.map_or("", |kind| kind.name());
        vec![("prober", prober.to_owned()), ("timeout_seconds", request.timeout.as_secs_f64().to_string())]
    });
    let started = report.started();
    let run =
        Run { target: request.target, hostname: request.hostname, deadline: started + request.timeout, net };
    let result = run
        .within(request.module.probe(&run, &mut report))
        .await
        .unwrap_or_else(|_| Err(ProbeError::deadline(report.phase())));
    let duration = started.elapsed();
    report.end();
    let failure = result.err().map(|error| match mask {
        Some(mask) => error.masked(mask),
        None => error,
    });
    finish(report, failure, duration, request.timeout)
}

fn finish(mut report: Report, failure: Option<ProbeError>, duration: Duration, timeout: Duration) -> Outcome {
    let seconds = || ("duration_seconds", duration.as_secs_f64().to_string());
    match &failure {
        None => report.log(Level::Debug, "Probe succeeded", || vec![seconds()]),
        Some(error) => {
            report.log(Level::Error, "Probe failed", || {
                vec![
                    ("phase", error.phase.to_string()),
                    ("reason", error.reason.to_string()),
                    ("err", error.chain()),
                    seconds(),
                ]
            });
            let labels =
                vec![("phase".into(), error.phase.to_string()), ("reason".into(), error.reason.to_string())];
            report.samples.set_many(names::PROBE_FAILURE_INFO, labels, true);
            if let Some(step) = report.step() {
                report.samples.set(names::PROBE_FAILED_STEP, step);
            }
        }
    }
    report.samples.set(names::PROBE_SUCCESS, failure.is_none());
    report.samples.set(names::PROBE_DURATION_SECONDS, duration);
    report.samples.set(names::PROBE_TIMEOUT_SECONDS, timeout);
    report.samples.sort();
    Outcome { report, failure, duration }
}
