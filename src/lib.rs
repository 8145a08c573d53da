//! Active probes and passive heartbeats for Prometheus; the binary is a thin shell around this library.
//!
//! The walk through one scrape is in ARCHITECTURE.md; each module says at its top what belongs in it.

pub mod app;
pub mod cli;
#[cfg(target_os = "linux")]
pub mod client;
pub mod config;
pub mod heartbeat;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod notify;
pub mod probers;
pub mod regex;
pub mod runner;
pub mod server;
pub mod terminal;
pub mod ui;

/// What HTTP servers see: allow-lists of web firewalls look for the first word.
pub const USER_AGENT: &str =
    concat!("Blackbox-Exporter/", env!("CARGO_PKG_VERSION"), " (heartbeat_exporter)");
