//! The standard health check of a server built on gRPC's C core.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::certificates::{Authority, LEAF_END};
use crate::support::{EXPORTER, Exporter, Exposition, Program, file};

/// Starts the server on an address whose port may be 0; returns it with its port.
pub fn server(services: &str, address: &str, files: &[&std::path::Path]) -> (Program, u16) {
    // The distribution's Python, since that is where its packages go.
    let mut command = Command::new("/usr/bin/python3");
    let program = Program::start(command.arg(file("grpc_server.py")).args([services, address]).args(files));
    let port = program.line_with("port ").replace("port ", "").parse().unwrap();
    assert_ne!(port, 0, "{address} cannot be used");
    (program, port)
}

/// Which status the server gave, if it gave one.
fn status(probed: &Exposition) -> Option<&'static str> {
    let names = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
    let series = |name: &str| format!("probe_grpc_healthcheck_response{{serving_status=\"{name}\"}}");
    names.into_iter().find(|name| probed.value(&series(name)) == Some(1.0))
}

const MODULES: &str = r#"
modules:
  any: {prober: grpc, timeout: 10s}
  up: {prober: grpc, timeout: 10s, grpc: {service: up}}
  down: {prober: grpc, timeout: 10s, grpc: {service: down}}
  nobody: {prober: grpc, timeout: 10s, grpc: {service: nobody}}
  deadline: {prober: grpc, timeout: 10s, grpc: {service: deadline}}
  hang: {prober: grpc, timeout: 500ms, grpc: {service: hang}}
  metadata:
    prober: grpc
    timeout: 10s
    grpc: {service: metadata, metadata: {x-a: ["1", "2"], x-b-bin: ["\0é\n"]}}
"#;

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn every_kind_of_answer() {
    let (_server, port) = server("health", "127.0.0.1:0", &[]);
    let exporter = Exporter::with_config(MODULES);
    let target = format!("127.0.0.1:{port}");
    for module in ["any", "up", "deadline", "metadata"] {
        let probed = exporter.probe(module, &target);
        probed.expect_success().expect(&[("probe_grpc_status_code", 0.0), ("probe_grpc_ssl", 0.0)]);
        assert_eq!(status(&probed), Some("SERVING"), "{module}");
        let phases = ["resolve", "check"].map(|p| format!("probe_grpc_duration_seconds{{phase={p:?}}}"));
        probed.expect_positive(&phases.each_ref().map(String::as_str));
    }
    let probed = exporter.probe("down", &target);
    probed.expect_failure("check", "mismatch").expect(&[("probe_grpc_status_code", 0.0)]);
    assert_eq!(status(&probed), Some("NOT_SERVING"));
    let probed = exporter.probe("nobody", &target);
    probed.expect_failure("check", "status").expect(&[("probe_grpc_status_code", 5.0)]);
    assert_eq!(status(&probed), None);
    let why = exporter.log().into_iter().find(|line| line.contains("NOT_FOUND"));
    assert!(why.is_some_and(|line| line.contains("no service ü 100%")), "{:?}", exporter.log());
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn a_call_that_hangs_ends_at_the_deadline() {
    let (_server, port) = server("health", "127.0.0.1:0", &[]);
    let exporter = Exporter::with_config(MODULES);
    let started = Instant::now();
    let probed = exporter.probe("hang", &format!("127.0.0.1:{port}"));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    probed.expect_failure("request", "deadline").expect(&[("probe_grpc_status_code", 4.0)]);
    // Nor does it keep the server from answering others.
    exporter.probe("any", &format!("127.0.0.1:{port}")).expect_success();
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn a_server_without_the_health_service() {
    let (_server, port) = server("none", "127.0.0.1:0", &[]);
    let exporter = Exporter::with_config(MODULES);
    let probed = exporter.probe("any", &format!("127.0.0.1:{port}"));
    probed.expect_failure("check", "status").expect(&[("probe_grpc_status_code", 12.0)]);
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn tls_with_and_without_a_certificate_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let pair = authority.issue("server", &["127.0.0.1"]);
    let ours = authority.issue("client", &["client.test"]);
    let (_open, open) = server("health", "127.0.0.1:0", &[&pair.certificate, &pair.key]);
    let (_closed, closed) =
        server("health", "127.0.0.1:0", &[&pair.certificate, &pair.key, &authority.file()]);
    let ca = authority.file();
    let exporter = Exporter::with_config(&format!(
        "modules:\n\
         \x20 tls: {{prober: grpc, timeout: 10s, grpc: {{tls: true, tls_config: {{ca_file: {ca:?}}}}}}}\n\
         \x20 system: {{prober: grpc, timeout: 10s, grpc: {{tls: true}}}}\n\
         \x20 down: {{prober: grpc, timeout: 10s, grpc: {{service: down, tls: true, tls_config: {{ca_file: {ca:?}}}}}}}\n\
         \x20 mutual: {{prober: grpc, timeout: 10s, grpc: {{tls: true, tls_config: {{ca_file: {ca:?}, cert_file: {:?}, key_file: {:?}}}}}}}\n",
        ours.certificate, ours.key
    ));
    let facts = [
        ("probe_grpc_ssl", 1.0),
        ("probe_tls_verified", 1.0),
        ("probe_ssl_earliest_cert_expiry", LEAF_END),
        ("probe_tls_version_info{version=\"TLS 1.3\"}", 1.0),
    ];
    exporter.probe("tls", &format!("127.0.0.1:{open}")).expect_success().expect(&facts);
    exporter.probe("mutual", &format!("127.0.0.1:{closed}")).expect_success().expect(&facts);
    let probed = exporter.probe("down", &format!("127.0.0.1:{open}"));
    probed.expect_failure("check", "mismatch").expect(&facts);
    let probed = exporter.probe("system", &format!("127.0.0.1:{open}"));
    probed.expect_failure("tls", "incomplete_chain").expect(&[
        ("probe_grpc_status_code", 14.0),
        ("probe_grpc_ssl", 0.0),
        ("probe_tls_verified", 0.0),
        ("probe_ssl_earliest_cert_expiry", LEAF_END),
    ]);
    // Under TLS 1.3 the server refuses us only after the handshake; this one does so without an alert.
    let probed = exporter.probe("tls", &format!("127.0.0.1:{closed}"));
    probed.expect_failure("request", "closed").expect(&facts);
    probed.expect(&[("probe_grpc_status_code", 14.0)]);
}

/// Defect of the peer: it reports one address and calls another.
#[test]
#[ignore = "needs tests/install-real-parts.sh, root"]
fn the_address_that_is_reported_is_the_one_that_is_called() {
    let (_v4, port) = server("health", "127.0.0.1:0", &[]);
    let (_v6, _) = server("none", &format!("[::1]:{port}"), &[]);
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    fs::write(&hosts, "127.0.0.1 dual.test\n::1 dual.test\n").unwrap();
    let config = dir.path().join("blackbox.yml");
    fs::write(
        &config,
        "modules:\n  v4: {prober: grpc, grpc: {preferred_ip_protocol: ip4}}\n  v6: {prober: grpc}\n",
    )
    .unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", "mount --bind \"$0\" /etc/hosts; exec \"$@\""]);
    command.arg(&hosts).arg(EXPORTER).arg("--config.file").arg(&config);
    let exporter = Exporter::start(&mut command);
    let target = format!("dual.test:{port}");
    exporter.probe("v4", &target).expect_success().expect(&[("probe_ip_protocol", 4.0)]);
    let probed = exporter.probe("v6", &target);
    probed.expect_failure("check", "status");
    probed.expect(&[("probe_ip_protocol", 6.0), ("probe_grpc_status_code", 12.0)]);
}
