//! HTTPS, users and client certificates, as Prometheus and curl see them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::support::certificates::Authority;
use crate::support::prometheus::{Prometheus, series};
use crate::support::{EXPORTER, Exporter, eventually, file};

/// User `prometheus` with the password `pass word`.
const WEB: &str = "\
tls_server_config:
  cert_file: server.certificate.pem
  key_file: server.key.pem
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus.test]
basic_auth_users:
  prometheus: $2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.
http_server_config:
  headers: {X-Frame-Options: deny}
";

fn exporter(dir: &Path) -> Exporter {
    let authority = Authority::new(dir);
    authority.issue("server", &["127.0.0.1"]);
    authority.issue("client", &["prometheus.test"]);
    authority.issue("other", &["other.test"]);
    fs::write(dir.join("web.yml"), WEB).unwrap();
    let mut command = Command::new(EXPORTER);
    command.arg("--config.file").arg(file("blackbox.yml"));
    Exporter::start(command.arg("--web.config.file").arg(dir.join("web.yml")))
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn prometheus_2_and_3_scrape_over_https() {
    let dir = tempfile::tempdir().unwrap();
    let exporter = exporter(dir.path());
    let address = exporter.address().to_string();
    let job = |name: &str, client: &str, password: &str, http2: bool| {
        format!(
            "  - job_name: {name}
    scheme: https
    enable_http2: {http2}
    metrics_path: /probe
    params: {{module: [tcp_connect], target: ['{address}']}}
    basic_auth: {{username: prometheus, password: {password}}}
    tls_config:
      ca_file: {dir}/ca.pem
      cert_file: {dir}/{client}.certificate.pem
      key_file: {dir}/{client}.key.pem
    static_configs: [{{targets: ['{address}']}}]
",
            dir = dir.path().display()
        )
    };
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{}{}{}{}",
        job("http1", "client", "pass word", false),
        job("http2", "client", "pass word", true),
        job("password", "client", "wrong", true),
        job("certificate", "other", "pass word", true),
    );
    for version in ["prometheus2", "prometheus3"] {
        let prometheus = Prometheus::start(version, &config);
        let jobs = [(["http1"], 1.0), (["http2"], 1.0), (["password"], 0.0), (["certificate"], 0.0)];
        let want = series(["job"], &jobs);
        eventually("each scrape has its result", || prometheus.query("up", ["job"], &want));
        let want = series(["job"], &[(["http1"], 1.0), (["http2"], 1.0)]);
        eventually("the probes work", || prometheus.query("probe_success", ["job"], &want));
    }
    // And afterwards everything is as before.
    let got = curl(dir.path(), exporter.address(), &CLIENT, "/-/healthy");
    assert_eq!(got.as_deref(), Some("200 2 deny"));
}

const CLIENT: [&str; 6] =
    ["--cert", "client.certificate.pem", "--key", "client.key.pem", "--user", "prometheus:pass word"];

/// Status, version of HTTP and the value of a header, if curl got a reply.
fn curl(dir: &Path, address: SocketAddr, args: &[&str], path: &str) -> Option<String> {
    let mut command = Command::new("curl");
    command.current_dir(dir).args(["--silent", "--output", "/dev/null", "--cacert", "ca.pem"]);
    command.args(["--write-out", "%{http_code} %{http_version} %header{x-frame-options}"]);
    let output = command.args(args).arg(format!("https://{address}{path}")).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn curl_gets_in_with_certificate_and_password_only() {
    let dir = tempfile::tempdir().unwrap();
    let exporter = exporter(dir.path());
    let with = |more: &[&'static str]| [&CLIENT[..4], more].concat();
    let wrong = with(&["--user", "prometheus:wrong"]);
    let old = with(&["--user", "prometheus:pass word", "--http1.1", "--tls-max", "1.2"]);
    let other =
        ["--cert", "other.certificate.pem", "--key", "other.key.pem", "--user", "prometheus:pass word"];
    // What is said to them, and nothing to those who are refused before they can ask.
    let cases: [(&[&str], Option<&str>); 6] = [
        (&CLIENT, Some("200 2 deny")),
        (&old, Some("200 1.1 deny")),
        (&wrong, Some("401 2 deny")),
        (&CLIENT[..4], Some("401 2 deny")),
        (&CLIENT[4..], None),
        (&other, None),
    ];
    for (args, want) in cases {
        let got = curl(dir.path(), exporter.address(), args, "/-/healthy");
        assert_eq!(got.as_deref(), want, "{args:?}");
    }
}
