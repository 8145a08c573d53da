//! A client built on gRPC's C core, with code generated from `proto/heartbeat.proto`.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::certificates::Authority;
use crate::support::{EXPORTER, Exporter, file};

const CONFIG: &str = "modules: {}\nheartbeats:\n  services:\n    job: {every: 2h}\n    never: {every: 2h}\n    \
    other: {every: 2h, namespace: batch, values: [rows], alert_on_data: true}\n    \
    locked: {every: 2h, token: s3cret}\n";

const HEARD: &str = "\
bare True UP  False True
unknown False UNKNOWN no heartbeat is called that False False
strict NOT_FOUND no heartbeat is called that
locked UNAUTHENTICATED the heartbeat has a token, which must come as authorization: Bearer, or as heartbeat-token
token True UP  False True
everything True DOWN data False True
again True DOWN data True True
large RESOURCE_EXHAUSTED a message of 70009 bytes is announced; 65536 are accepted
compressed UNIMPLEMENTED compressed messages are not understood
stream job True UP  False True
stream nobody False UNKNOWN no heartbeat is called that False False
stream job True UP  False True
silent stream DEADLINE_EXCEEDED Deadline Exceeded
watch 1
fail True DOWN failed False True
watch 2
check [1, 2, 2, 0]
check nobody NOT_FOUND no heartbeat is called that
";

fn client(arguments: &[&str]) -> String {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(file("grpc_client.py")).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn proto() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto").display().to_string()
}

/// A folder with the configuration, in which the exporter keeps its store.
fn dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("c.yml"), CONFIG).unwrap();
    dir
}

fn exporter(dir: &TempDir, arguments: &[&str]) -> Exporter {
    let mut command = Command::new(EXPORTER);
    Exporter::start(command.current_dir(dir.path()).arg("--config.file=c.yml").args(arguments))
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn a_generated_client_without_tls() {
    let dir = dir();
    let exporter = exporter(&dir, &[]);
    assert_eq!(client(&[&exporter.address().to_string(), &proto()]), HEARD);
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn a_generated_client_over_tls() {
    let dir = dir();
    let authority = Authority::new(dir.path());
    authority.issue("server", &["127.0.0.1"]);
    let web = "tls_server_config: {cert_file: server.certificate.pem, key_file: server.key.pem}\n";
    fs::write(dir.path().join("web.yml"), web).unwrap();
    let exporter = exporter(&dir, &["--web.config.file=web.yml"]);
    let ca = authority.file().display().to_string();
    assert_eq!(client(&[&exporter.address().to_string(), &proto(), &ca]), HEARD);
}
