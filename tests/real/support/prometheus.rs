//! A real Prometheus, and what it answers.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Program, free_port, try_get};

/// A running Prometheus with an empty store when it starts.
pub struct Prometheus {
    program: Program,
    address: SocketAddr,
    _dir: TempDir,
}

/// Labels, joined, and the value of each series of an answer.
pub type Series = BTreeMap<String, f64>;

impl Prometheus {
    /// Starts a version with a configuration; those that are there are the folders of `real-parts`.
    pub fn start(version: &str, config: &str) -> Self {
        Self::start_with(version, config, &[])
    }

    /// The same with more arguments.
    pub fn start_with(version: &str, config: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let port = free_port();
        let mut command = Command::new(parts().join(version).join("prometheus"));
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            // Prometheus tells about samples it cannot take at this level only.
            .arg("--log.level=debug")
            .args(arguments)
            // The web interface reads templates from there in some packages.
            .current_dir(dir.path());
        let program = Program::start(&mut command).accepts(port);
        Self { program, address: (Ipv4Addr::LOCALHOST, port).into(), _dir: dir }
    }

    /// Lines of its log.
    pub fn log(&self) -> Vec<String> {
        self.program.lines()
    }

    /// The `data` of a successful answer of the API; the error is its text.
    pub fn api(&self, path: &str) -> Result<Value, String> {
        let answer = try_get(self.address, path, "").map_err(|error| error.to_string())?;
        let mut value: Value = serde_json::from_str(&answer.body).map_err(|_| answer.body)?;
        if value["status"] == "success" { Ok(value["data"].take()) } else { Err(value.to_string()) }
    }

    /// Whether a query answers these series and no others; the error tells what it answers.
    pub fn query<const N: usize>(&self, query: &str, labels: [&str; N], want: &Series) -> Result<(), String> {
        let data = self.api(&format!("/api/v1/query?query={}", encode(query)))?;
        let results = data["result"].as_array().ok_or("not a vector")?;
        let got: Series = results
            .iter()
            .map(|result| {
                let values = labels.map(|label| result["metric"][label].as_str().unwrap_or("?"));
                let value = result["value"][1].as_str().and_then(|text| text.parse().ok());
                (join(labels, values), value.unwrap_or(f64::NAN))
            })
            .collect();
        if got == *want { Ok(()) } else { Err(format!("{query}: {got:#?}")) }
    }

    /// Whether Prometheus learnt the type of a family from a scrape.
    pub fn has_type(&self, family: &str, kind: &str) -> Result<(), String> {
        let data = self.api("/api/v1/metadata")?;
        if data[family][0]["type"] == kind { Ok(()) } else { Err(data.to_string()) }
    }
}

/// Series as [`Prometheus::query`] wants them: the values of the labels, and the value.
pub fn series<const N: usize>(labels: [&str; N], series: &[([&str; N], f64)]) -> Series {
    series.iter().map(|(values, value)| (join(labels, *values), *value)).collect()
}

/// A parameter of a URL.
pub fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn join<const N: usize>(labels: [&str; N], values: [&str; N]) -> String {
    let pairs: Vec<_> = labels.iter().zip(values).map(|(label, value)| format!("{label}={value}")).collect();
    pairs.join(" ")
}

/// Where the install script unpacks what it does not install: beside the build of this test.
pub fn parts() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let target = this.ancestors().find(|dir| dir.join("real-parts").is_dir()).map(Path::to_owned);
    target.expect("tests/install-real-parts.sh was run").join("real-parts")
}
