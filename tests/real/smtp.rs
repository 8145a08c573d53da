//! A dialogue that changes to TLS half way, with a mail server that insists on it.

use std::path::Path;
use std::process::Command;

use crate::support::certificates::{Authority, LEAF_END};
use crate::support::{EXPORTER, Exporter, Program, file};

/// Starts the mail server; returns it with its address.
fn mail_server(authority: &Authority) -> (Program, String) {
    let pair = authority.issue("mail", &["mail.example.test", "127.0.0.1"]);
    // The distribution's Python, since that is where its packages go.
    let mut command = Command::new("/usr/bin/python3");
    let program = Program::start(command.arg(file("smtp_server.py")).arg(pair.certificate).arg(pair.key));
    let line = program.line_with("port ");
    let address = line.replace("port ", "127.0.0.1:");
    (program, address)
}

fn example_config() -> Command {
    let mut command = Command::new(EXPORTER);
    command.arg("--config.file").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yml"));
    command
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn the_example_module_speaks_starttls_and_reports_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let (_server, address) = mail_server(&authority);
    // The module trusts the system's authorities; here the system has one.
    let exporter = Exporter::start(example_config().env("SSL_CERT_FILE", authority.file()));
    exporter.probe("smtp_starttls", &address).expect_success().expect(&[
        ("probe_failed_due_to_regex", 0.0),
        ("probe_ip_protocol", 4.0),
        ("probe_ssl_earliest_cert_expiry", LEAF_END),
        ("probe_ssl_last_chain_expiry_timestamp_seconds", LEAF_END),
        ("probe_tls_version_info{version=\"TLS 1.3\"}", 1.0),
        ("probe_tls_verified", 1.0),
    ]);
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn a_certificate_nobody_trusts_fails_the_dialogue_and_is_reported_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let (_server, address) = mail_server(&authority);
    let other_dir = tempfile::tempdir().unwrap();
    let other = Authority::new(other_dir.path());
    let exporter = Exporter::start(example_config().env("SSL_CERT_FILE", other.file()));
    exporter.probe("smtp_starttls", &address).expect_failure("tls", "unknown_ca").expect(&[
        ("probe_ssl_earliest_cert_expiry", LEAF_END),
        ("probe_tls_verified", 0.0),
        ("probe_tls_verify_failure_info{reason=\"unknown_ca\"}", 1.0),
    ]);
}
