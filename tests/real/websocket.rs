//! WebSockets with the websockets library of Python, directly and behind nginx.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::certificates::{Authority, LEAF_END};
use crate::support::{Exporter, Program, SYSTEM_PATH, file, free_port};

/// A running server.
pub struct Server {
    program: Program,
    dir: TempDir,
    authority: Authority,
    /// Port without TLS.
    pub plain: u16,
    tls: u16,
}

impl Server {
    /// Starts the server on free ports.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path());
        let pair = authority.issue("server", &["localhost", "127.0.0.1"]);
        // The distribution's Python, since that is where its packages go.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(file("websocket_server.py")).arg(pair.certificate).arg(pair.key);
        let program = Program::start(&mut command);
        let line = program.line_with("ports ");
        let mut ports = line.split(' ').skip(1).map(|port| port.parse().unwrap());
        let [plain, tls] = [(); 2].map(|()| ports.next().unwrap());
        Self { program, dir, authority, plain, tls }
    }

    /// An nginx with TLS in front; `/lost` leads here without the headers of the upgrade.
    fn behind_nginx(&self) -> (Program, u16) {
        let port = free_port();
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let settings = format!(
            "daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr;
             events {{}}
             http {{
                 access_log off;
                 client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
                 uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
                 server {{
                     listen 127.0.0.1:{port} ssl http2;
                     ssl_certificate {dir}/server.certificate.pem;
                     ssl_certificate_key {dir}/server.key.pem;
                     location / {{
                         proxy_pass http://127.0.0.1:{backend};
                         proxy_http_version 1.1;
                         proxy_set_header Upgrade $http_upgrade;
                         proxy_set_header Connection upgrade;
                     }}
                     location /lost {{ proxy_pass http://127.0.0.1:{backend}; proxy_http_version 1.1; }}
                     location /gone {{ return 502; }}
                 }}
             }}",
            dir = self.dir.path().display(),
            backend = self.plain,
        );
        fs::write(path("nginx.conf"), settings).unwrap();
        let mut command = Command::new("nginx");
        command.env("PATH", SYSTEM_PATH).args(["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")]);
        (Program::start(&mut command).accepts(port), port)
    }

    fn exporter(&self) -> Exporter {
        let ca = self.authority.file();
        Exporter::with_config(&config(&ca))
    }
}

fn config(ca: &Path) -> String {
    let tls = format!("http_config: {{tls_config: {{ca_file: {}}}}}", ca.display());
    format!(
        r#"
modules:
  connect: {{prober: websocket, timeout: 5s, websocket: {{{tls}}}}}
  greet:
    prober: websocket
    timeout: 5s
    websocket:
      {tls}
      query_response:
        - {{expect: "version (\\d)", send: "seven is ${{1}}"}}
        - expect: "^you said seven is 7$"
  pieces: {{prober: websocket, timeout: 5s, websocket: {{query_response: [{{expect: "^x+y+end$"}}, {{expect: more}}]}}}}
  token: {{prober: websocket, websocket: {{http_config: {{bearer_token: token}}, headers: {{Sec-WebSocket-Protocol: chat}}}}}}
"#
    )
}

const UPGRADED: [(&str, f64); 3] = [
    ("probe_websocket_status_code", 101.0),
    ("probe_websocket_connection_upgraded", 1.0),
    ("probe_websocket_failed_due_to_regex", 0.0),
];

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn a_conversation_ends_as_the_protocol_wants_it() {
    let server = Server::start();
    let exporter = server.exporter();
    for url in [format!("ws://127.0.0.1:{}", server.plain), format!("wss://localhost:{}", server.tls)] {
        exporter.probe("greet", &format!("{url}/greet")).expect_success().expect(&UPGRADED).expect_positive(
            &[
                "probe_websocket_duration_seconds{phase=\"resolve\"}",
                "probe_websocket_duration_seconds{phase=\"connect\"}",
                "probe_websocket_duration_seconds{phase=\"processing\"}",
                "probe_websocket_duration_seconds{phase=\"transfer\"}",
            ],
        );
    }
    server.program.line_with("/greet ended with 1000");
    exporter.probe("connect", &format!("ws://127.0.0.1:{}/silent", server.plain)).expect_success();
    server.program.line_with("/silent ended with 1000");
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn fragments_pings_closes_and_refusals() {
    let server = Server::start();
    let exporter = server.exporter();
    let url = |path| format!("ws://127.0.0.1:{}{path}", server.plain);
    // The second step waits, so that the server can see the pong, until the deadline.
    exporter.probe("pieces", &url("/pieces")).expect_failure("dialogue", "deadline");
    server.program.line_with("pong came");
    exporter
        .probe("greet", &url("/close"))
        .expect_failure("dialogue", "closed")
        .expect(&[("probe_websocket_failed_due_to_regex", 1.0)]);
    server.program.line_with("/close ended with 1001");
    exporter
        .probe("connect", &url("/private"))
        .expect_failure("processing", "status")
        .expect(&[("probe_websocket_status_code", 401.0), ("probe_websocket_connection_upgraded", 0.0)]);
    exporter.probe("token", &url("/private")).expect_success().expect(&UPGRADED);
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn behind_nginx_a_lost_upgrade_is_a_status() {
    let server = Server::start();
    let (_nginx, port) = server.behind_nginx();
    let exporter = server.exporter();
    let url = |path| format!("wss://127.0.0.1:{port}{path}");
    exporter
        .probe("greet", &url("/greet"))
        .expect_success()
        .expect(&UPGRADED)
        .expect(&[("probe_tls_verified", 1.0), ("probe_ssl_leaf_not_after_timestamp_seconds", LEAF_END)]);
    for (path, status) in [("/lost", 426.0), ("/gone", 502.0)] {
        exporter
            .probe("greet", &url(path))
            .expect_failure("processing", "status")
            .expect(&[("probe_websocket_status_code", status)]);
    }
    // This module trusts only the system's authorities, and nginx does not send its issuer.
    exporter
        .probe("token", &url("/private"))
        .expect_failure("tls", "incomplete_chain")
        .expect(&[("probe_tls_verified", 0.0), ("probe_ssl_leaf_not_after_timestamp_seconds", LEAF_END)]);
}
