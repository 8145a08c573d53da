//! Old TLS against `openssl s_server`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::certificates::{Authority, LEAF_END, Pair};
use crate::support::{EXPORTER, Exporter, Program, free_port};

/// A server that answers every request with a page about its connection.
struct Server {
    _program: Program,
    url: String,
}

impl Server {
    /// Starts with options of `s_server`, separated by spaces.
    fn start(pair: &Pair, options: &str) -> Self {
        let port = free_port();
        let mut command = Command::new("openssl");
        // The distribution's settings would forbid what is tested here.
        command.env("OPENSSL_CONF", "/dev/null");
        command.args(["s_server", "-www", "-accept", &format!("127.0.0.1:{port}")]);
        command.arg("-cert").arg(&pair.certificate).arg("-key").arg(&pair.key);
        command.args(options.split(' '));
        let program = Program::start(&mut command).accepts(port);
        Self { _program: program, url: format!("https://127.0.0.1:{port}/") }
    }
}

/// A self-signed certificate for 127.0.0.1, which is at once its own authority.
fn self_signed(dir: &Path, key: &str) -> Pair {
    let path = |kind| dir.join(format!("{}.{kind}.pem", key.replace(':', "-")));
    let pair = Pair { certificate: path("certificate"), key: path("key") };
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-sha256", "-days", "30", "-subj", "/CN=odd", "-newkey", key]);
    command.args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"]).arg(&pair.key);
    assert!(command.arg("-out").arg(&pair.certificate).output().unwrap().status.success(), "{command:?}");
    pair
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn every_version_is_reached_where_a_module_allows_it() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let leaf = authority.issue("server", &["127.0.0.1"]);
    let rsa = self_signed(dir.path(), "rsa:2048");
    let short = self_signed(dir.path(), "rsa:1024");
    let config = format!(
        "modules:
  usual: {{prober: http, http: {{tls_config: {{ca_file: {ca}}}}}}}
  old: {{prober: http, http: {{tls_config: {{ca_file: {ca}, min_version: TLS10}}}}}}
  tls11: {{prober: http, http: {{tls_config: {{ca_file: {ca}, min_version: TLS11}}}}}}
  rsa: {{prober: http, http: {{tls_config: {{ca_file: {rsa}, min_version: TLS10}}}}}}
  short: {{prober: http, http: {{tls_config: {{ca_file: {short}}}}}}}
  old_short: {{prober: http, http: {{tls_config: {{ca_file: {short}, min_version: TLS10}}}}}}
",
        ca = authority.file().display(),
        rsa = rsa.certificate.display(),
        short = short.certificate.display(),
    );
    let file = dir.path().join("blackbox.yml");
    fs::write(&file, config).unwrap();
    // Settings for OpenSSL on this machine are not meant for the exporter; these leave it no cryptography.
    let settings = dir.path().join("openssl.cnf");
    fs::write(&settings, "openssl_conf = a\n[a]\nproviders = b\n[b]\nnull = c\n[c]\nactivate = 1\n").unwrap();
    let exporter = Exporter::start(
        Command::new(EXPORTER).env("OPENSSL_CONF", &settings).arg("--config.file").arg(&file),
    );

    let all = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";
    let cbc = "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0";
    let ecdsa_cbc = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA";
    let gcm = "TLS_AES_128_GCM_SHA256";
    let reached = [
        ("old", &leaf, format!("-tls1 -cipher {all}"), "TLS 1.0", ecdsa_cbc),
        ("old", &leaf, format!("-tls1_1 -cipher {cbc}"), "TLS 1.1", ecdsa_cbc),
        ("tls11", &leaf, format!("-tls1_1 -cipher {cbc}"), "TLS 1.1", ecdsa_cbc),
        ("old", &leaf, format!("-tls1_2 -cipher {cbc}"), "TLS 1.2", ecdsa_cbc),
        ("usual", &leaf, format!("-tls1_2 -cipher {cbc}"), "TLS 1.2", ecdsa_cbc),
        ("usual", &leaf, "-tls1_3".to_owned(), "TLS 1.3", gcm),
        ("usual", &leaf, "-tls1_3 -groups P-521".to_owned(), "TLS 1.3", gcm),
        ("rsa", &rsa, "-tls1_2 -cipher AES128-SHA".to_owned(), "TLS 1.2", "TLS_RSA_WITH_AES_128_CBC_SHA"),
        (
            "rsa",
            &rsa,
            "-tls1 -cipher AES128-SHA:@SECLEVEL=0".to_owned(),
            "TLS 1.0",
            "TLS_RSA_WITH_AES_128_CBC_SHA",
        ),
        ("short", &short, format!("-tls1_3 -cipher {all}"), "TLS 1.3", gcm),
        (
            "short",
            &short,
            "-tls1_2 -cipher ECDHE-RSA-AES128-SHA:@SECLEVEL=0".to_owned(),
            "TLS 1.2",
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        ),
        (
            "old_short",
            &short,
            "-tls1 -cipher AES256-SHA:@SECLEVEL=0".to_owned(),
            "TLS 1.0",
            "TLS_RSA_WITH_AES_256_CBC_SHA",
        ),
    ];
    for (module, pair, options, version, cipher) in reached {
        let server = Server::start(pair, &options);
        let seen = [
            (format!("probe_tls_version_info{{version=\"{version}\"}}"), 1.0),
            (format!("probe_tls_cipher_info{{cipher=\"{cipher}\"}}"), 1.0),
            ("probe_tls_verified".to_owned(), 1.0),
        ];
        let seen = seen.each_ref().map(|(series, value)| (series.as_str(), *value));
        // The second time it may be known that the server is old.
        for _ in 0..2 {
            exporter.probe(module, &server.url).expect_success().expect(&seen);
        }
    }

    let refused = [
        ("usual", &leaf, format!("-tls1_1 -cipher {cbc}")),
        ("tls11", &leaf, format!("-tls1 -cipher {cbc}")),
        ("usual", &rsa, "-tls1_2 -cipher AES128-SHA".to_owned()),
        ("old", &leaf, "-tls1_2 -cipher ADH:AECDH:@SECLEVEL=0".to_owned()),
        ("old", &leaf, "-tls1_2 -cipher eNULL:@SECLEVEL=0".to_owned()),
    ];
    for (module, pair, options) in refused {
        let server = Server::start(pair, &options);
        exporter.probe(module, &server.url).expect_failure("tls", "tls_version");
    }

    // What is wrong with the certificate is told of old servers too.
    let server = Server::start(&leaf, &format!("-tls1 -cipher {cbc}"));
    exporter.probe("rsa", &server.url).expect_failure("tls", "incomplete_chain").expect(&[
        ("probe_tls_verified", 0.0),
        ("probe_ssl_earliest_cert_expiry", LEAF_END),
        ("probe_tls_version_info{version=\"TLS 1.0\"}", 1.0),
    ]);
}
