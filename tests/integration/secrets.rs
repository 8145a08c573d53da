//! A secret of the configuration reaches its peer and nobody else.

use crate::support::exporter::{Dir, Exporter, run};
use crate::support::same_answer;

/// Begins each planted secret.
const SECRET: &str = "hunter2";

/// Every field that is secret, in a module for each prober that has it.
const CONFIG: &str = r#"
modules:
  basic: {prober: http, http: {basic_auth: {username: user, password: hunter2-basic}}}
  basic_file: {prober: http, http: {basic_auth: {username: user, password_file: secret}}}
  token: {prober: http, http: {bearer_token: hunter2-token}}
  token_file: {prober: http, http: {bearer_token_file: secret}}
  credentials: {prober: http, http: {authorization: {type: Token, credentials: hunter2-credentials}}}
  credentials_file: {prober: http, http: {authorization: {credentials_file: secret}}}
  headers: {prober: http, http: {http_headers: {X-A: {secrets: [hunter2-header], files: [secret]}}}}
  bad_header: {prober: http, http: {http_headers: {X-A: {secrets: ["hunter2\nheader"]}}}}
  bad_file: {prober: http, http: {http_headers: {X-A: {files: [lines]}}}}
  key: {prober: http, http: {tls_config: {cert: hunter2 is no certificate, key: hunter2-key}}}
  oauth2:
    prober: http
    http:
      oauth2:
        client_id: user
        client_secret: hunter2-oauth2
        token_url: http://127.0.0.1:1/token
        tls_config: {cert_file: secret, key: hunter2-oauth2-key}
        proxy_url: http://user:hunter2-oauth2-proxy@127.0.0.1:1
        proxy_connect_header: {X-A: [hunter2-oauth2-header]}
  signed:
    prober: http
    http:
      oauth2:
        client_id: user
        client_certificate_key: hunter2-signing-key
        grant_type: urn:ietf:params:oauth:grant-type:jwt-bearer
        token_url: http://127.0.0.1:1/token
  proxy:
    prober: http
    http:
      proxy_url: http://user:hunter2-proxy@127.0.0.1:1
      proxy_connect_header: {X-A: [hunter2-connect]}
  bad_proxy: {prober: http, http: {proxy_url: "user:hunter2@127.0.0.1:1"}}
  tcp: {prober: tcp, tcp: {tls: true, tls_config: {cert: hunter2-cert, key: hunter2-tcp}}}
  dns:
    prober: dns
    dns:
      query_name: a.test
      transport_protocol: tcp
      dns_over_tls: true
      tls_config: {cert: hunter2-cert, key: hunter2-dns}
  grpc: {prober: grpc, grpc: {tls: true, tls_config: {cert: hunter2-cert, key: hunter2-grpc}}}
  unix: {prober: unix, unix: {tls: true, tls_config: {cert: hunter2-cert, key: hunter2-unix}}}
  websocket:
    prober: websocket
    websocket:
      http_config: {basic_auth: {username: user, password: hunter2-websocket}}
      headers: {X-A: {secrets: [hunter2-websocket], files: [secret]}}
"#;

/// What `basic_auth` makes of a password of `user`.
fn basic(password: &str) -> String {
    data_encoding::BASE64.encode(format!("user:{password}").as_bytes())
}

/// `cert` is no secret: `/config` shows it, as the peer does.
fn check(place: &str, text: &str) {
    let text = text.replace("hunter2 is no certificate", "").replace("hunter2-cert", "");
    assert!(!text.contains(SECRET), "{place}: {text}");
    for password in ["hunter2-basic", "hunter2-file", "hunter2-proxy", "hunter2-websocket"] {
        assert!(!text.contains(&basic(password)), "{place}: {text}");
    }
}

#[test]
fn secrets_reach_their_peer_and_nobody_else() {
    let dir = Dir::new();
    dir.write("c.yml", CONFIG);
    dir.write("secret", "hunter2-file\n");
    dir.write("lines", "hunter2\nhunter2\n");
    let args = ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0", "--log.level=debug"];
    let more = ["--log.prober=debug", "--log.probe-outcomes=all"];
    let exporter = Exporter::start_in(dir, &[&args[..], &more].concat());
    let (address, heard) = same_answer::start("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    let modules: Vec<&str> = CONFIG
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split(':').next())
        .collect();
    assert_eq!(modules.len(), 19);
    for module in &modules {
        let target = match *module {
            "websocket" => format!("ws://{address}/"),
            _ => address.to_string(),
        };
        let path = format!("probe?module={module}&target={target}");
        for path in [format!("/{path}"), format!("/{path}&debug=true"), format!("/api/v1/{path}")] {
            let reply = exporter.request("GET", &path, &[("X-Prometheus-Scrape-Timeout-Seconds", "3")]);
            assert_eq!(reply.status, 200, "{path}");
            check(&path, &reply.text());
        }
    }
    let heard = heard.lock().unwrap().clone();
    for sent in [
        format!("Basic {}", basic("hunter2-basic")).as_str(),
        &format!("Basic {}", basic("hunter2-file")),
        "Bearer hunter2-token",
        "Bearer hunter2-file",
        "Token hunter2-credentials",
        "hunter2-header",
    ] {
        assert!(heard.contains(sent), "{sent}: {heard}");
    }

    let mut paths: Vec<String> =
        ["/", "/config", "/configuration", "/metrics", "/api/v1/history"].map(str::to_owned).into();
    paths.extend((0..modules.len() * 3).flat_map(|id| [format!("/logs?id={id}"), format!("/probes/{id}")]));
    paths.extend(modules.iter().map(|module| format!("/configuration?module={module}")));
    for path in paths {
        let reply = exporter.get(&path);
        assert_eq!(reply.status, 200, "{path}");
        check(&path, &reply.text());
    }
    let config = exporter.get("/config").text();
    assert_eq!(config.matches("<secret>").count(), 17, "{config}");
    assert_eq!(config.matches(":xxxxx@").count(), 2, "{config}");

    exporter.dir.write(
        "c.yml",
        &CONFIG.replace("hunter2-basic", "[hunter2]").replace("hunter2-token", "{a: hunter2}"),
    );
    let reply = exporter.request("POST", "/-/reload", &[]);
    assert_eq!(reply.status, 500);
    check("/-/reload", &reply.text());
    check("/configuration", &exporter.get("/configuration").text());
    exporter.wait_for_log("Error reloading config");
    exporter.log().iter().for_each(|line| check("the log", line));

    let output = run(&exporter.dir, &["--config.file=c.yml", "--config.check"]);
    assert_eq!(output.status.code(), Some(1));
    check("a failed check", &String::from_utf8(output.stderr).unwrap());
    exporter.dir.write("c.yml", CONFIG);
    let output = run(&exporter.dir, &["--config.file=c.yml", "--config.check"]);
    assert_eq!(output.status.code(), Some(0));
    check("a check", &String::from_utf8(output.stderr).unwrap());
}
