//! The whole library against real local servers; one test binary, so that it links once.
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic; the lint does not see that helpers belong to tests"
)]

/// Flags, exit codes and the end of the process.
mod cli;
/// What each path answers.
mod endpoints;
/// Dashboards and rules use only metrics that exist.
mod metric_names;
/// METRICS.md says what the code says.
mod metrics_doc;
/// Modules of a configuration against scripted servers, one file for each prober.
mod probers {
    mod dns;
    mod grpc;
    mod icmp;
    mod tcp;
    mod unix;
    mod websocket;
}
/// The configuration is replaced while the process runs.
mod reload;
/// Servers, certificates, a started exporter, and running one probe.
mod support;
