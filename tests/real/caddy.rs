//! HTTP/3 against Caddy, whose QUIC is that of most Go servers.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::support::certificates::{Authority, LEAF_END};
use crate::support::{Exporter, Program, free_port};

/// A running Caddy.
struct Caddy {
    program: Program,
    dir: TempDir,
    port: u16,
    /// Demands a client certificate.
    mutual: u16,
}

impl Caddy {
    /// Starts Caddy on free ports.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path());
        let server = authority.issue("server", &["localhost", "127.0.0.1"]);
        authority.issue("client", &["prober"]);
        let [port, mutual] = [free_port(), free_port()];
        let settings = include_str!("Caddyfile")
            .replace("@PORT@", &port.to_string())
            .replace("@MUTUAL@", &mutual.to_string())
            .replace("@CERTIFICATE@", &server.certificate.display().to_string())
            .replace("@KEY@", &server.key.display().to_string())
            .replace("@CA@", &authority.file().display().to_string())
            .replace("@PAGE@", &page());
        let file = dir.path().join("Caddyfile");
        fs::write(&file, settings).unwrap();
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
        // It keeps state below the home directory.
        command.env("HOME", dir.path()).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        let program = Program::start(&mut command);
        program.line_with("serving initial configuration");
        Self { program, dir, port, mutual }
    }

    /// An exporter whose modules all speak HTTP/3 and trust this server.
    fn exporter(&self, modules: &[(&str, &str)]) -> Exporter {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let mut config = "modules:\n".to_owned();
        for (name, settings) in modules {
            let tls = format!("ca_file: {}", path("ca.pem"));
            config += &format!(
                "  {name}: {{prober: http, http: {{enable_http2: false, enable_http3: true, \
                 {settings} tls_config: {{{tls} @MORE@}}}}}}\n"
            )
            .replace("@MORE@", if *name == "mutual" { ", @CLIENT@" } else { "" })
            .replace(
                "@CLIENT@",
                &format!(
                    "cert_file: {}, key_file: {}",
                    path("client.certificate.pem"),
                    path("client.key.pem")
                ),
            );
        }
        Exporter::with_config(&config)
    }
}

/// Some 3 kB that compress well.
fn page() -> String {
    "The quick brown fox jumps over the lazy dog. ".repeat(60)
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn requests_redirects_and_compression() {
    let caddy = Caddy::start();
    let exporter = caddy.exporter(&[
        ("plain", "valid_http_versions: ['HTTP/3.0'], fail_if_body_not_matches_regexp: ['^The quick'],"),
        ("packed", "compression: gzip, headers: {Accept-Encoding: gzip}, fail_if_body_not_matches_regexp: ['^The quick'],"),
        ("as_it_comes", "headers: {Accept-Encoding: gzip},"),
        ("token", "authorization: {credentials: secret}, fail_if_body_not_matches_regexp: ['^welcome$'],"),
        ("post", "method: POST, body: 'some data', fail_if_body_not_matches_regexp: ['^HTTP/3.0 POST some data$'],"),
        ("any", ""),
    ]);
    for host in ["localhost", "127.0.0.1"] {
        let base = format!("https://{host}:{}", caddy.port);
        exporter
            .probe("plain", &format!("{base}/old"))
            .expect_success()
            .expect(&[
                ("probe_http_status_code", 200.0),
                ("probe_http_version", 3.0),
                ("probe_http_ssl", 1.0),
                ("probe_http_redirects", 1.0),
                ("probe_http_content_length", -1.0),
                ("probe_http_uncompressed_body_length", page().len() as f64),
                ("probe_ssl_earliest_cert_expiry", LEAF_END),
                ("probe_tls_version_info{version=\"TLS 1.3\"}", 1.0),
                ("probe_tls_verified", 1.0),
            ])
            .expect_positive(&[
                "probe_http_duration_seconds{phase=\"connect\"}",
                "probe_http_duration_seconds{phase=\"tls\"}",
                "probe_http_duration_seconds{phase=\"processing\"}",
                "probe_http_duration_seconds{phase=\"transfer\"}",
            ]);
        exporter
            .probe("packed", &format!("{base}/page"))
            .expect_success()
            .expect(&[("probe_http_uncompressed_body_length", page().len() as f64)]);
        let wire = exporter.probe("as_it_comes", &format!("{base}/page"));
        let length = wire.expect_success().value("probe_http_uncompressed_body_length").unwrap();
        assert!(length > 0.0 && length < 1000.0, "{length} bytes");
        exporter.probe("token", &format!("{base}/private")).expect_success();
        exporter
            .probe("any", &format!("{base}/private"))
            .expect_failure("check", "status")
            .expect(&[("probe_http_status_code", 401.0)]);
        exporter.probe("post", &format!("{base}/version")).expect_success();
    }
    // The server is asked for HTTP/3 whatever the target says.
    exporter.probe("any", &format!("http://localhost:{}/page", caddy.port)).expect_success();
    exporter.probe("any", &format!("localhost:{}/page", caddy.port)).expect_success();
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn certificates_of_both_sides() {
    let caddy = Caddy::start();
    let exporter = caddy.exporter(&[("mutual", ""), ("plain", ""), ("renamed", "headers: {Host: a.test},")]);
    exporter.probe("mutual", &format!("https://localhost:{}/", caddy.mutual)).expect_success();
    // The server refuses when we take the handshake for done.
    exporter
        .probe("plain", &format!("https://localhost:{}/", caddy.mutual))
        .expect_failure("processing", "tls_alert")
        .expect(&[("probe_tls_verified", 1.0), ("probe_http_version", 0.0)]);
    exporter
        .probe("renamed", &format!("https://127.0.0.1:{}/page", caddy.port))
        .expect_failure("tls", "tls_alert");
    let port = caddy.port;
    drop(caddy.program);
    exporter.probe("plain", &format!("https://localhost:{port}/")).expect_failure("connect", "refused");
}
