//! The whole library against real local servers; one test binary, so that it links once.
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic; the lint does not see that helpers belong to tests"
)]

/// Reports of probes as JSON.
mod api;
/// Flags, exit codes and the end of the process.
mod cli;
/// The subcommands that report to a receiver.
#[cfg(target_os = "linux")]
mod client {
    mod agent;
    mod end_to_end;
    mod output;
    mod reports;
    mod signals;
}
/// What each path answers.
mod endpoints;
/// Heartbeats and health checks over gRPC.
mod heartbeat_grpc;
/// Heartbeats are made, changed, paused and removed at run time.
mod heartbeat_manage;
/// The page of one heartbeat.
mod heartbeat_page;
/// Heartbeats: metrics, discovery, probes, reloads and restarts.
mod heartbeats;
/// Signals by HTTP: contracts of others.
mod heartbeats_contracts;
/// Signals by HTTP: pings of healthchecks.io.
mod heartbeats_healthchecks;
/// Signals by HTTP: clients that mean no good, and trouble of our own.
mod heartbeats_hostile;
/// Signals by HTTP: our own contract.
mod heartbeats_native;
/// Heartbeats begin, end and move while the process runs.
mod heartbeats_reload;
/// Own metrics while many probes run.
mod load;
/// Where log lines go.
mod logs;
/// Dashboards and rules use only metrics that exist.
mod metric_names;
/// METRICS.md says what the code says.
mod metrics_doc;
/// Completions and the manual page are those of the command line.
#[cfg(target_os = "linux")]
mod packaging;
/// The pages for people.
mod pages;
/// A configuration made for blackbox_exporter.
mod peer_configuration;
/// Values from the environment and from files.
mod placeholders;
/// Modules of a configuration against scripted servers, one file for each prober.
mod probers {
    mod dns;
    mod grpc;
    mod http;
    mod http2;
    mod http3;
    mod http_bodies;
    mod http_credentials;
    mod http_hostile;
    mod http_oauth2;
    mod http_proxy;
    mod http_redirects;
    mod icmp;
    mod tcp;
    mod tls;
    mod unix;
    mod websocket;
}
/// The configuration is replaced while the process runs.
mod reload;
/// Secrets stay secret.
mod secrets;
/// Servers, certificates, a started exporter, and running one probe.
mod support;
/// Sockets from systemd, and what it is told.
mod systemd;
/// One probe in a terminal.
mod terminal;
/// tests/README.md names tests that exist.
mod test_map;
/// HTTPS, users, headers and limits of the exporter itself.
mod web_config;
/// Mistakes in web configuration files.
mod web_config_files;
