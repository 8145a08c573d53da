//! A configuration made for blackbox_exporter loads as it is, and every module of it probes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use heartbeat_exporter::config::section::Section;
use heartbeat_exporter::config::sections::{
    dialogue, dns, grpc, http, http_client, icmp, oauth2, tcp, tls, unix, websocket,
};
use heartbeat_exporter::config::{LoadOptions, load};

use crate::support::exporter::{Dir, Exporter};

const CONFIG: &str = include_str!("../fixtures/blackbox.yml");

fn keys<S: Section>() -> Vec<&'static str> {
    let mut keys = Vec::new();
    S::keys(&mut keys);
    keys
}

#[test]
fn every_key_is_in_the_file() {
    let sections = [
        keys::<http::Http>(),
        keys::<http::HeaderMatch>(),
        keys::<http_client::BasicAuth>(),
        keys::<http_client::Authorization>(),
        keys::<oauth2::OAuth2>(),
        keys::<tls::TlsConfig>(),
        keys::<tcp::Tcp>(),
        keys::<dialogue::DialogueStep>(),
        keys::<dialogue::Label>(),
        keys::<dns::Dns>(),
        keys::<dns::RecordChecks>(),
        keys::<icmp::Icmp>(),
        keys::<grpc::Grpc>(),
        keys::<unix::Unix>(),
        keys::<websocket::Websocket>(),
    ];
    // Keys that blackbox_exporter does not have.
    let own = ["expect_partial"];
    for key in sections.concat().into_iter().filter(|key| !own.contains(key)) {
        let is_there =
            CONFIG.match_indices(&format!("{key}:")).any(|(at, _)| CONFIG[..at].ends_with([' ', '{']));
        assert!(is_there, "{key}");
    }
}

#[test]
fn only_what_cannot_work_is_warned_about() {
    let file = load(CONFIG, &LoadOptions::default()).unwrap();
    let warnings: Vec<&str> = file.warnings.iter().map(|warning| warning.problem.message.as_str()).collect();
    let reference = "names a secret manager's secret, and there is none";
    let want = [
        "modules.http_2xx_example.http.valid_http_versions has \"HTTP/2\", which no answer ever has; \
         the versions are HTTP/1.0, HTTP/1.1, HTTP/2.0, HTTP/3.0",
        &format!("modules.http_basic_auth_references.http.basic_auth.username_ref {reference}"),
        &format!("modules.http_basic_auth_references.http.basic_auth.password_ref {reference}"),
        "modules.http_bearer.http.bearer_token is deprecated; use authorization",
        "modules.http_bearer_file.http.bearer_token_file is deprecated; use authorization",
        "modules.http_bearer_file.http.no_follow_redirects is deprecated; use follow_redirects: false",
        &format!("modules.http_authorization_reference.http.authorization.credentials_ref {reference}"),
        &format!("modules.http_oauth2_reference.http.oauth2.client_secret_ref {reference}"),
        &format!("modules.http_oauth2_token_reference.http.oauth2.client_certificate_key_ref {reference}"),
        &format!("modules.http_certificate_references.http.tls_config.ca_ref {reference}"),
        &format!("modules.http_certificate_references.http.tls_config.cert_ref {reference}"),
        &format!("modules.http_certificate_references.http.tls_config.key_ref {reference}"),
        "modules.http3.http.enable_http3 makes http:// targets https://",
    ];
    assert_eq!(warnings, want);
}

/// Answers everything with one small page; a path that ends in `json` with JSON.
fn web() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let body = "fine: Download the latest version here".as_bytes();
            let body = if first.contains("/json") { gzip(br#"{"state": "fine"}"#) } else { body.to_vec() };
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&body);
        }
    });
    address
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// What the probe of a module comes to: nothing for success, or `phase/reason`.
fn outcome(exporter: &Exporter, module: &str, target: &str) -> String {
    let path = format!("/probe?module={module}&target={target}");
    let reply = exporter.request("GET", &path, &[("X-Prometheus-Scrape-Timeout-Seconds", "3")]);
    assert_eq!(reply.status, 200, "{module}");
    let text = reply.text();
    if text.contains("\nprobe_success 1\n") {
        return String::new();
    }
    let info = text.lines().find(|line| line.starts_with("probe_failure_info{")).expect(module);
    let parts: Vec<&str> = info.split('"').collect();
    format!("{}/{}", parts[1], parts[3])
}

#[test]
fn every_module_probes() {
    let dir = Dir::new();
    dir.write("blackbox.yml", CONFIG);
    dir.write("body.txt", "a body");
    dir.write("user.txt", "user\n");
    dir.write("password.txt", "password\n");
    let exporter = Exporter::start_in(dir, &["--web.listen-address=127.0.0.1:0", "--log.prober=none"]);

    let page = format!("http://{}/", web());
    let json = format!("{page}json");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let socket = format!("ws://{closed}/");
    let refused = "connect/refused";
    let cases: [(&[&str], &str, &str); 13] = [
        (&["http_2xx", "http_2xx_example", "http_environment_proxy"], &page, ""),
        (&["http_post_2xx", "http_post_body_file"], &page, ""),
        (&["http_basic_auth_example", "http_basic_auth_files", "http_bearer", "http_bearer_file"], &page, ""),
        (&["http_authorization", "http_authorization_file"], &page, ""),
        (&["http_json", "http_gzip"], &json, ""),
        (
            &["http_basic_auth_references", "http_authorization_reference", "http_oauth2_reference"],
            &page,
            "prepare/config",
        ),
        // The first has a key that is none.
        (
            &["http_oauth2_token", "http_oauth2_token_reference", "http_certificate_references"],
            &page,
            "prepare/config",
        ),
        (
            &["tls_connect", "tcp_connect_example", "imap_starttls", "irc_banner_example", "postgresql"],
            &closed,
            refused,
        ),
        (&["icmp_example"], "127.0.0.1", ""),
        (&["dns_udp_example", "dns_soa"], &silent, "request/refused"),
        (&["dns_tcp_example", "dns_over_tls", "grpc", "grpc_plain", "http3"], &closed, refused),
        (&["unix_example"], "/nowhere/at/all", "connect/not_found"),
        (&["websocket_example"], &socket, refused),
    ];
    // Files that are not there or not what they should be fail the probe, each in its own phase.
    let https = [
        ("http_custom_ca_example", "prepare/file"),
        ("http_inline_certificates", "prepare/config"),
        // Any no_proxy lets loopback past the proxy.
        ("http_with_proxy", refused),
        ("http_oauth2", "token/refused"),
        ("http_oauth2_file", "token/refused"),
        // The file is there and holds no key.
        ("http_oauth2_token_file", "prepare/file"),
    ];
    let mut seen: Vec<&str> = Vec::new();
    for (modules, target, want) in cases {
        for module in modules {
            let got = outcome(&exporter, module, target);
            // For icmp_example, without the right to open its socket.
            let allowed = [want, "setup/permission"];
            assert!(allowed.contains(&got.as_str()), "{module}: {got}, not {want}");
            seen.push(module);
        }
    }
    for (module, want) in https {
        assert_eq!(outcome(&exporter, module, &format!("https://{closed}/")), want, "{module}");
        seen.push(module);
    }
    let file = load(CONFIG, &LoadOptions::default()).unwrap();
    seen.sort_unstable();
    assert_eq!(seen, file.modules.keys().map(String::as_str).collect::<Vec<_>>());
}
