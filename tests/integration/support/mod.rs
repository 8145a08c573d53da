//! What all tests share: one probe from its configuration to its samples.

pub mod certificates;
#[cfg(target_os = "linux")]
pub mod client;
pub mod exporter;
pub mod frames;
pub mod http3;
pub mod http_peer;
#[cfg(target_os = "linux")]
pub mod namespace;
pub mod odd_certificates;
pub mod peers;
#[cfg(target_os = "linux")]
pub mod receiver;
pub mod requests;
pub mod same_answer;
pub mod session;

use std::time::Duration;

use heartbeat_exporter::config::{self, LoadOptions};
use heartbeat_exporter::logging::Level;
use heartbeat_exporter::metrics::names;
use heartbeat_exporter::net::Net;
use heartbeat_exporter::probers::Module;
use heartbeat_exporter::runner::{self, Outcome, Request};

/// A finished probe, with short ways to look at it.
#[derive(Debug)]
pub struct Probed(pub Outcome);

/// Probes `target` with a module given as YAML, as it stands below its name.
pub async fn probe(module: &str, target: &str) -> Probed {
    probe_as(module, target, None).await
}

/// As [`probe`], with the `hostname` parameter.
pub async fn probe_as(module: &str, target: &str, hostname: Option<&str>) -> Probed {
    probe_with(&compile(module), target, hostname).await
}

/// Probes with a module that may have probed before.
pub async fn probe_with(module: &Module, target: &str, hostname: Option<&str>) -> Probed {
    let timeout = module.timeout().filter(|timeout| !timeout.is_zero()).unwrap_or(PATIENCE);
    let request = Request { module, target, hostname, timeout, log_level: Level::Debug };
    Probed(runner::run(request, &Net::new()).await)
}

/// The only module of a file that has it.
pub fn compile(module: &str) -> Module {
    let indented: String = module.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("modules:\n  tested:\n{indented}");
    let mut file =
        config::load(&text, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let (name, written) = file.modules.pop_first().expect("the module");
    Module::compile(name, written)
}

impl Probed {
    /// `phase/reason` of a failed probe, the same in the outcome and in `probe_failure_info`.
    pub fn failure(&self) -> Option<String> {
        let want = self.0.failure.as_ref().map(|error| format!("{}/{}", error.phase, error.reason));
        let info =
            self.all().into_iter().find(|(series, _)| series.starts_with(names::PROBE_FAILURE_INFO.name()));
        let got = info.map(|(series, _)| {
            let label = |name| series.split_once(name).unwrap().1.split('"').nth(1).unwrap().to_owned();
            format!("{}/{}", label("phase="), label("reason="))
        });
        assert_eq!(got, want);
        assert_eq!(self.value("probe_success"), Some(if want.is_none() { 1.0 } else { 0.0 }));
        want
    }

    /// Why it failed, with all causes; empty on success.
    pub fn why(&self) -> String {
        self.0.failure.as_ref().map(runner::ProbeError::chain).unwrap_or_default()
    }

    /// Everything about the probe that anybody can read but its metrics: the reason and the log lines.
    pub fn told(&self) -> String {
        format!("{}\n{:?}\n{:?}", self.why(), self.0.failure, self.0.report.events())
    }

    /// Value of a series such as `probe_x{phase="tls"}`; labels are sorted by name.
    pub fn value(&self, series: &str) -> Option<f64> {
        self.all().into_iter().find(|(name, _)| name == series).map(|(_, value)| value)
    }

    /// Values of several series.
    pub fn values<const N: usize>(&self, series: [&str; N]) -> [Option<f64>; N] {
        series.map(|series| self.value(series))
    }

    /// Series whose name begins with `prefix`.
    pub fn series(&self, prefix: &str) -> Vec<String> {
        self.all().into_iter().map(|(series, _)| series).filter(|series| series.starts_with(prefix)).collect()
    }

    fn all(&self) -> Vec<(String, f64)> {
        let samples = self.0.report.samples.as_slice().iter();
        let series = samples.map(|sample| {
            let labels: Vec<_> =
                sample.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            let name = sample.metric.name();
            let series =
                if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) };
            (series, sample.value)
        });
        series.collect()
    }
}

/// Longer than any machine needs; only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(10);
