//! HTTP against nginx.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::certificates::{Authority, LEAF_END};
use crate::support::{Exporter, Program, SYSTEM_PATH, free_port};

/// A running nginx with its pages and certificates.
pub struct Nginx {
    _program: Program,
    dir: TempDir,
    /// Speaks plain HTTP.
    pub plain: u16,
    /// Speaks TLS and HTTP/2.
    pub tls: u16,
    /// Demands a client certificate.
    pub mutual: u16,
}

impl Nginx {
    /// Starts nginx on free ports.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir(path("pages")).unwrap();
        fs::write(path("pages/index.html"), page()).unwrap();
        fs::write(path("users"), "prober:{PLAIN}secret\n").unwrap();
        let authority = Authority::new(dir.path());
        let server = authority.issue("server", &["localhost", "127.0.0.1"]);
        authority.issue("client", &["prober"]);
        let [plain, tls, mutual] = [free_port(), free_port(), free_port()];
        let settings = include_str!("nginx.conf")
            .replace("@DIR@", &dir.path().display().to_string())
            .replace("@SERVER_CERTIFICATE@", &server.certificate.display().to_string())
            .replace("@SERVER_KEY@", &server.key.display().to_string())
            .replace("@CA_FILE@", &authority.file().display().to_string())
            .replace("@PLAIN@", &plain.to_string())
            .replace("@TLS@", &tls.to_string())
            .replace("@MUTUAL@", &mutual.to_string());
        fs::write(path("nginx.conf"), settings).unwrap();
        let mut command = Command::new("nginx");
        command.env("PATH", SYSTEM_PATH).args(["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")]);
        let program = Program::start(&mut command).accepts(plain).accepts(tls).accepts(mutual);
        Self { _program: program, dir, plain, tls, mutual }
    }

    /// PEM file of the authority that issued its certificates.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// An exporter whose modules fit this server; `@CA@`, `@CERTIFICATE@` and `@KEY@` stand for its files.
    pub fn exporter(&self, config: &str) -> Exporter {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let config = config
            .replace("@CA@", &path("ca.pem"))
            .replace("@CERTIFICATE@", &path("client.certificate.pem"))
            .replace("@KEY@", &path("client.key.pem"));
        Exporter::with_config(&config)
    }
}

/// Some 10 kB that compress well.
fn page() -> String {
    "<p>The quick brown fox jumps over the lazy dog.</p>\n".repeat(200)
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn plain_http_with_body_checks_and_statuses() {
    let nginx = Nginx::start();
    let exporter = nginx.exporter(
        r#"
modules:
  http_2xx: {prober: http}
  fox: {prober: http, http: {fail_if_body_not_matches_regexp: ["(?s)brown fox.*lazy dog"]}}
  no_fox: {prober: http, http: {fail_if_body_matches_regexp: ["brown \\w+"]}}
  teapot: {prober: http, http: {valid_status_codes: [418]}}
  user: {prober: http, http: {basic_auth: {username: prober, password: secret}}}
  other_user: {prober: http, http: {basic_auth: {username: prober, password: guess}}}
"#,
    );
    let base = format!("http://127.0.0.1:{}", nginx.plain);
    let length = page().len() as f64;
    exporter
        .probe("http_2xx", &base)
        .expect_success()
        .expect(&[
            ("probe_http_status_code", 200.0),
            ("probe_http_version", 1.1),
            ("probe_http_ssl", 0.0),
            ("probe_http_redirects", 0.0),
            ("probe_http_content_length", length),
            ("probe_http_uncompressed_body_length", length),
            ("probe_http_duration_seconds{phase=\"tls\"}", 0.0),
        ])
        .expect_positive(&[
            "probe_http_duration_seconds{phase=\"resolve\"}",
            "probe_http_duration_seconds{phase=\"connect\"}",
            "probe_http_duration_seconds{phase=\"processing\"}",
            "probe_http_duration_seconds{phase=\"transfer\"}",
            "probe_http_last_modified_timestamp_seconds",
        ]);
    exporter.probe("fox", &base).expect_success();
    exporter
        .probe("no_fox", &base)
        .expect_failure("check", "body")
        .expect(&[("probe_failed_due_to_regex", 1.0)]);
    exporter.probe("teapot", &format!("{base}/teapot")).expect_success();
    exporter
        .probe("http_2xx", &format!("{base}/missing"))
        .expect_failure("check", "status")
        .expect(&[("probe_http_status_code", 404.0), ("probe_failed_due_to_regex", 0.0)]);
    exporter.probe("user", &format!("{base}/private")).expect_success();
    exporter
        .probe("other_user", &format!("{base}/private"))
        .expect_failure("check", "status")
        .expect(&[("probe_http_status_code", 401.0)]);
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn redirects_are_followed_counted_and_limited() {
    let nginx = Nginx::start();
    let exporter = nginx.exporter(
        r#"
modules:
  follow: {prober: http, http: {tls_config: {ca_file: "@CA@"}}}
  stay: {prober: http, http: {follow_redirects: false, valid_status_codes: [302]}}
"#,
    );
    let base = format!("http://127.0.0.1:{}", nginx.plain);
    exporter.probe("follow", &format!("{base}/found")).expect_success().expect(&[
        ("probe_http_redirects", 1.0),
        ("probe_http_status_code", 200.0),
        ("probe_http_ssl", 0.0),
    ]);
    exporter.probe("follow", &format!("{base}/to-tls")).expect_success().expect(&[
        ("probe_http_redirects", 1.0),
        ("probe_http_ssl", 1.0),
        ("probe_http_version", 2.0),
        ("probe_ssl_earliest_cert_expiry", LEAF_END),
    ]);
    exporter
        .probe("stay", &format!("{base}/found"))
        .expect_success()
        .expect(&[("probe_http_redirects", 1.0), ("probe_http_status_code", 302.0)]);
    // Ten are followed; the eleventh ends the probe.
    exporter.probe("follow", &format!("{base}/loop")).expect(&[
        ("probe_success", 0.0),
        ("probe_http_redirects", 11.0),
        ("probe_http_status_code", 302.0),
    ]);
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn tls_chooses_http2_unless_told_otherwise_and_tells_about_the_certificate() {
    let nginx = Nginx::start();
    let exporter = nginx.exporter(
        r#"
modules:
  tls: {prober: http, http: {tls_config: {ca_file: "@CA@"}}}
  http1: {prober: http, http: {enable_http2: false, tls_config: {ca_file: "@CA@"}}}
  tls12: {prober: http, http: {tls_config: {ca_file: "@CA@", max_version: TLS12}}}
  name: {prober: http, http: {tls_config: {ca_file: "@CA@", server_name: other.test}}}
  skip: {prober: http, http: {tls_config: {insecure_skip_verify: true}}}
  system: {prober: http}
  client: {prober: http, http: {tls_config: {ca_file: "@CA@", cert_file: "@CERTIFICATE@", key_file: "@KEY@"}}}
"#,
    );
    let base = format!("https://127.0.0.1:{}", nginx.tls);
    let certificate = [
        ("probe_ssl_earliest_cert_expiry", LEAF_END),
        ("probe_ssl_last_chain_expiry_timestamp_seconds", LEAF_END),
        ("probe_ssl_leaf_not_after_timestamp_seconds", LEAF_END),
        ("probe_tls_verified", 1.0),
    ];
    exporter
        .probe("tls", &base)
        .expect_success()
        .expect(&certificate)
        .expect(&[
            ("probe_http_ssl", 1.0),
            ("probe_http_version", 2.0),
            ("probe_tls_version_info{version=\"TLS 1.3\"}", 1.0),
        ])
        .expect_positive(&["probe_http_duration_seconds{phase=\"tls\"}"]);
    exporter
        .probe("http1", &base)
        .expect_success()
        .expect(&certificate)
        .expect(&[("probe_http_version", 1.1)]);
    exporter
        .probe("tls12", &base)
        .expect_success()
        .expect(&certificate)
        .expect(&[("probe_tls_version_info{version=\"TLS 1.2\"}", 1.0)]);
    exporter.probe("name", &base).expect_failure("tls", "name_mismatch").expect(&[
        ("probe_tls_verified", 0.0),
        ("probe_tls_verify_failure_info{reason=\"name_mismatch\"}", 1.0),
        ("probe_ssl_earliest_cert_expiry", LEAF_END),
    ]);
    exporter
        .probe("skip", &base)
        .expect_success()
        .expect(&[("probe_tls_verified", 0.0), ("probe_ssl_earliest_cert_expiry", LEAF_END)]);
    // Nobody here has heard of the authority, so its name leads nowhere.
    exporter
        .probe("system", &base)
        .expect_failure("tls", "incomplete_chain")
        .expect(&[("probe_tls_verified", 0.0), ("probe_ssl_earliest_cert_expiry", LEAF_END)]);

    let mutual = format!("https://127.0.0.1:{}", nginx.mutual);
    exporter.probe("client", &mutual).expect_success().expect(&certificate);
    exporter
        .probe("tls", &mutual)
        .expect_failure("check", "status")
        .expect(&[("probe_http_status_code", 400.0)]);
    // Plain HTTP to a port that speaks TLS: nginx answers in plain words.
    exporter
        .probe("system", &format!("http://127.0.0.1:{}", nginx.tls))
        .expect_failure("check", "status")
        .expect(&[("probe_http_status_code", 400.0), ("probe_http_ssl", 0.0)]);
    exporter
        .probe("tls", &format!("https://127.0.0.1:{}", nginx.plain))
        .expect_failure("tls", "tls_protocol");
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn a_compressed_body_is_checked_after_decompression_if_the_module_says_so() {
    let nginx = Nginx::start();
    let exporter = nginx.exporter(
        r#"
modules:
  gzip:
    prober: http
    http:
      compression: gzip
      headers: {Accept-Encoding: gzip}
      fail_if_body_not_matches_regexp: ["lazy dog"]
  as_sent:
    prober: http
    http:
      headers: {Accept-Encoding: gzip}
      fail_if_header_not_matches: [{header: Content-Encoding, regexp: "^gzip$"}]
  limited: {prober: http, http: {compression: gzip, headers: {Accept-Encoding: gzip}, body_size_limit: 1KB}}
"#,
    );
    let target = format!("http://127.0.0.1:{}", nginx.plain);
    exporter.probe("gzip", &target).expect_success().expect(&[
        // nginx compresses while it sends, so it announces no length.
        ("probe_http_content_length", -1.0),
        ("probe_http_uncompressed_body_length", page().len() as f64),
    ]);
    let compressed =
        exporter.probe("as_sent", &target).expect_success().value("probe_http_uncompressed_body_length");
    assert!(compressed.is_some_and(|bytes| bytes > 0.0 && bytes < 1024.0), "{compressed:?}");
    exporter
        .probe("limited", &target)
        .expect_failure("transfer", "too_large")
        .expect(&[("probe_http_uncompressed_body_length", 1024.0)]);
}
