//! Unix domain sockets of Redis, and of nginx with TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::certificates::{Authority, LEAF_END};
use crate::support::{Exporter, Program, SYSTEM_PATH, eventually};

/// Waits until something accepts connections on the socket.
fn listens(program: Program, socket: &Path) -> Program {
    eventually("the socket accepts connections", || std::os::unix::net::UnixStream::connect(socket));
    program
}

/// Starts Redis on a socket in a folder.
pub fn redis(dir: &Path) -> (Program, PathBuf) {
    let socket = dir.join("redis.sock");
    let mut command = Command::new("redis-server");
    command.env("PATH", SYSTEM_PATH).current_dir(dir).args(["--port", "0", "--save", ""]);
    (listens(Program::start(command.arg("--unixsocket").arg(&socket)), &socket), socket)
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn redis_answers_and_tells_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let (redis, socket) = redis(dir.path());
    let exporter = Exporter::with_config(
        r#"
modules:
  ping: {prober: unix, timeout: 5s, unix: {query_response: [{send: "PING\r"}, {expect: "^\\+PONG$"}]}}
  version:
    prober: unix
    timeout: 5s
    unix:
      query_response:
        - send: "INFO server\r"
        - {expect: "^redis_version:(\\d)", labels: [{name: has_version, value: "${1}"}]}
        - expect: "^executable:/.*redis"
"#,
    );
    let target = socket.display().to_string();
    exporter
        .probe("ping", &target)
        .expect_success()
        .expect(&[("probe_failed_due_to_regex", 0.0), ("probe_failed_due_to_bytes", 0.0)])
        .expect_positive(&[
            "probe_unix_duration_seconds{phase=\"connect\"}",
            "probe_unix_duration_seconds{phase=\"dialogue\"}",
        ]);
    let version = exporter.probe("version", &target);
    version.expect_success();
    let major: Vec<_> = (5..10)
        .filter(|major| version.value(&format!("probe_expect_info{{has_version=\"{major}\"}}")) == Some(1.0))
        .collect();
    assert_eq!(major.len(), 1, "{version:?}");
    drop(redis);
    exporter.probe("ping", &target).expect_failure("connect", "refused");
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn nginx_speaks_tls_over_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    authority.issue("server", &["a.test"]);
    let socket = dir.path().join("nginx.sock");
    let settings = format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr;
         events {{}}
         http {{
             access_log off;
             client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
             uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
             server {{
                 listen unix:{socket} ssl;
                 ssl_certificate {dir}/server.certificate.pem;
                 ssl_certificate_key {dir}/server.key.pem;
                 ssl_protocols TLSv1.3;
                 return 204;
             }}
         }}",
        dir = dir.path().display(),
        socket = socket.display(),
    );
    let file = dir.path().join("nginx.conf");
    fs::write(&file, settings).unwrap();
    let mut command = Command::new("nginx");
    command.env("PATH", SYSTEM_PATH).args(["-e", "stderr", "-p"]).arg(dir.path()).arg("-c").arg(file);
    let _nginx = listens(Program::start(&mut command), &socket);
    let config = r#"
modules:
  named: {prober: unix, timeout: 5s, unix: {tls: true, tls_config: {ca_file: @CA@, server_name: a.test}, query_response: @TALK@}}
  other: {prober: unix, timeout: 5s, unix: {tls: true, tls_config: {ca_file: @CA@, server_name: b.test}}}
"#;
    let config = config
        .replace("@CA@", &authority.file().display().to_string())
        .replace("@TALK@", r#"[{send: "GET / HTTP/1.0\r\n\r"}, {expect: "^HTTP/1.1 204 "}]"#);
    let exporter = Exporter::with_config(&config);
    let target = socket.display().to_string();
    exporter
        .probe("named", &target)
        .expect_success()
        .expect(&[
            ("probe_tls_verified", 1.0),
            ("probe_ssl_earliest_cert_expiry", LEAF_END),
            ("probe_tls_version_info{version=\"TLS 1.3\"}", 1.0),
        ])
        .expect_positive(&["probe_unix_duration_seconds{phase=\"tls\"}"]);
    exporter
        .probe("other", &target)
        .expect_failure("tls", "name_mismatch")
        .expect(&[("probe_tls_verified", 0.0), ("probe_ssl_earliest_cert_expiry", LEAF_END)]);
}
