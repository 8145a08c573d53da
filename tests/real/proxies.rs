//! HTTP through tinyproxy and microsocks, with nginx behind them.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::nginx::Nginx;
use crate::support::certificates::LEAF_END;
use crate::support::{EXPORTER, Exporter, Program, SYSTEM_PATH, file, free_port};

/// A forward proxy that opens tunnels only to the TLS port of `nginx`, and to `refused`.
fn tinyproxy(dir: &TempDir, nginx: &Nginx, refused: u16, login: &str) -> (Program, u16) {
    let port = free_port();
    let settings = fs::read_to_string(file("tinyproxy.conf")).unwrap();
    let settings = settings
        .replace("@PORT@", &port.to_string())
        .replace("@TLS@", &nginx.tls.to_string())
        .replace("@REFUSED@", &refused.to_string());
    let path = dir.path().join(format!("tinyproxy-{port}.conf"));
    fs::write(&path, format!("{settings}{login}\n")).unwrap();
    let mut command = Command::new("tinyproxy");
    command.env("PATH", SYSTEM_PATH).arg("-d").arg("-c").arg(&path);
    (Program::start(&mut command).accepts(port), port)
}

fn microsocks(login: &[&str]) -> (Program, u16) {
    let port = free_port();
    let mut command = Command::new("microsocks");
    command.env("PATH", SYSTEM_PATH).args(["-i", "127.0.0.1", "-p", &port.to_string()]).args(login);
    (Program::start(&mut command).accepts(port), port)
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn tinyproxy_forwards_and_opens_tunnels() {
    let (nginx, refused, dir) = (Nginx::start(), free_port(), tempfile::tempdir().unwrap());
    let (_proxy, port) = tinyproxy(&dir, &nginx, refused, "");
    let exporter = nginx.exporter(&format!(
        r#"
modules:
  proxied: {{prober: http, http: {{proxy_url: "http://127.0.0.1:{port}", tls_config: {{ca_file: "@CA@"}}}}}}
  names: {{prober: http, http: {{proxy_url: "http://127.0.0.1:{port}", skip_resolve_phase_with_proxy: true, tls_config: {{ca_file: "@CA@"}}}}}}
  direct: {{prober: http, http: {{proxy_url: "http://127.0.0.1:{refused}", no_proxy: "127.0.0.1"}}}}
"#
    ));
    let (plain, tls) =
        (format!("http://127.0.0.1:{}/", nginx.plain), format!("https://127.0.0.1:{}/", nginx.tls));
    exporter.probe("proxied", &plain).expect_success().expect(&[
        ("probe_http_status_code", 200.0),
        ("probe_http_ssl", 0.0),
        ("probe_ip_protocol", 4.0),
    ]);
    exporter
        .probe("proxied", &tls)
        .expect_success()
        .expect(&[("probe_http_version", 2.0), ("probe_ssl_earliest_cert_expiry", LEAF_END)])
        .expect_positive(&[
            "probe_http_duration_seconds{phase=\"connect\"}",
            "probe_http_duration_seconds{phase=\"tls\"}",
        ]);
    exporter
        .probe("proxied", &format!("http://127.0.0.1:{}/to-tls", nginx.plain))
        .expect_success()
        .expect(&[("probe_http_redirects", 1.0), ("probe_http_ssl", 1.0)]);
    let named = exporter.probe("names", &format!("https://localhost:{}/", nginx.tls));
    named.expect_success().expect(&[("probe_http_version", 2.0)]);
    assert_eq!(named.value("probe_ip_protocol"), None);
    exporter.probe("direct", &plain).expect_success();
    // Its rules allow tunnels to two ports only; on one of them nothing listens.
    exporter
        .probe("proxied", &format!("https://127.0.0.1:{}/", nginx.mutual))
        .expect_failure("proxy", "proxy_denied");
    exporter
        .probe("proxied", &format!("https://127.0.0.1:{refused}/"))
        .expect_failure("proxy", "proxy_denied");
    exporter.probe("proxied", &format!("http://127.0.0.1:{refused}/")).expect_failure("check", "status");
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn tinyproxy_wants_a_login() {
    let (nginx, dir) = (Nginx::start(), tempfile::tempdir().unwrap());
    let (_proxy, port) = tinyproxy(&dir, &nginx, 1, "BasicAuth prober hunter2");
    let exporter = nginx.exporter(&format!(
        r#"
modules:
  login: {{prober: http, http: {{proxy_url: "http://prober:hunter2@127.0.0.1:{port}", tls_config: {{ca_file: "@CA@"}}}}}}
  no_login: {{prober: http, http: {{proxy_url: "http://127.0.0.1:{port}", tls_config: {{ca_file: "@CA@"}}}}}}
  other_login: {{prober: http, http: {{proxy_url: "http://prober:hunter3@127.0.0.1:{port}", tls_config: {{ca_file: "@CA@"}}}}}}
  header: {{prober: http, http: {{proxy_url: "http://127.0.0.1:{port}", proxy_connect_header: {{Proxy-Authorization: ["Basic cHJvYmVyOmh1bnRlcjI="]}}, tls_config: {{ca_file: "@CA@"}}}}}}
"#
    ));
    let (plain, tls) =
        (format!("http://127.0.0.1:{}/", nginx.plain), format!("https://127.0.0.1:{}/", nginx.tls));
    for target in [&plain, &tls] {
        exporter.probe("login", target).expect_success();
        exporter.probe("no_login", target).expect_failure("proxy", "proxy_auth");
        // This proxy answers a wrong login with 401, which over CONNECT is any refusal.
        let (phase, reason) = if target == &plain { ("check", "status") } else { ("proxy", "proxy_denied") };
        exporter.probe("other_login", target).expect_failure(phase, reason);
    }
    exporter.probe("no_login", &plain).expect(&[("probe_http_status_code", 407.0)]);
    exporter.probe("header", &tls).expect_success();
    let log = exporter.log().join("\n");
    assert!(!log.contains("hunter") && !log.contains("cHJvYmVyOmh1bnRlcjI"), "{log}");
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn the_environment_names_the_proxy() {
    let (nginx, dir) = (Nginx::start(), tempfile::tempdir().unwrap());
    let (_proxy, port) = tinyproxy(&dir, &nginx, 1, "");
    let config = dir.path().join("blackbox.yml");
    let module = "{prober: http, http: {proxy_from_environment: true, skip_resolve_phase_with_proxy: true}}";
    fs::write(&config, format!("modules: {{m: {module}}}\n")).unwrap();
    let exporter = Exporter::start(
        Command::new(EXPORTER)
            .arg("--config.file")
            .arg(&config)
            .env("http_proxy", format!("127.0.0.1:{port}"))
            .env("NO_PROXY", "direct.invalid"),
    );
    // Only the proxy answers for a name that nobody has.
    exporter.probe("m", "http://nowhere.invalid/").expect(&[("probe_http_status_code", 500.0)]);
    exporter
        .probe("m", "http://direct.invalid/")
        .expect(&[("probe_http_status_code", 0.0), ("probe_success", 0.0)]);
    exporter.probe("m", &format!("http://127.0.0.1:{}/", nginx.plain)).expect_success();
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn microsocks_with_and_without_a_login() {
    let (nginx, refused) = (Nginx::start(), free_port());
    let (_open, open) = microsocks(&[]);
    let (_guarded, guarded) = microsocks(&["-u", "prober", "-P", "hunter2"]);
    let exporter = nginx.exporter(&format!(
        r#"
modules:
  open: {{prober: http, http: {{proxy_url: "socks5://127.0.0.1:{open}", tls_config: {{ca_file: "@CA@"}}}}}}
  names: {{prober: http, http: {{proxy_url: "socks5h://127.0.0.1:{open}", skip_resolve_phase_with_proxy: true, tls_config: {{ca_file: "@CA@"}}}}}}
  login: {{prober: http, http: {{proxy_url: "socks5://prober:hunter2@127.0.0.1:{guarded}", tls_config: {{ca_file: "@CA@"}}}}}}
  no_login: {{prober: http, http: {{proxy_url: "socks5://127.0.0.1:{guarded}"}}}}
  other_login: {{prober: http, http: {{proxy_url: "socks5://prober:hunter3@127.0.0.1:{guarded}"}}}}
"#
    ));
    let (plain, tls) =
        (format!("http://127.0.0.1:{}/", nginx.plain), format!("https://127.0.0.1:{}/", nginx.tls));
    for module in ["open", "login"] {
        exporter.probe(module, &plain).expect_success().expect(&[("probe_http_status_code", 200.0)]);
        exporter.probe(module, &tls).expect_success().expect(&[("probe_http_version", 2.0)]);
    }
    exporter.probe("names", &format!("https://localhost:{}/", nginx.tls)).expect_success();
    exporter.probe("no_login", &plain).expect_failure("proxy", "proxy_auth");
    exporter.probe("other_login", &plain).expect_failure("proxy", "proxy_auth");
    exporter.probe("open", &format!("http://127.0.0.1:{refused}/")).expect_failure("connect", "refused");
}
