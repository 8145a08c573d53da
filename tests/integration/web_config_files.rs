//! What is said about web configuration files that are wrong, or do not do what they seem to.

use crate::support::certificates::{Authority, Validity};
use crate::support::exporter::run;
use crate::web_config::{dir, start_plain};

/// Whole messages of files that are refused at start, without their name.
#[test]
fn bad_files() {
    let cases = [
        ("[a]", "1:1: the file must be a mapping of sections"),
        ("x: 1", "1:1: unknown key \"x\" at the top level"),
        ("a: [", "1:4: not valid YAML: unclosed bracket '['"),
        (
            "tls_server_confg: {}",
            "1:1: unknown key \"tls_server_confg\" at the top level; did you mean \"tls_server_config\"?",
        ),
        (
            "tls_server_config: {cert_fil: x}",
            "1:21: unknown key \"cert_fil\" in tls_server_config; did you mean \"cert_file\"?",
        ),
        ("rate_limit: {burst: 1, burst: 2}", "1:24: key \"burst\" is already set in line 1"),
        ("rate_limit: {burst: many}", "1:21: rate_limit.burst must be a whole number, got \"many\""),
        (
            "rate_limit: {interval: soon}",
            "1:24: rate_limit.interval must be a duration such as 5s or 1m30s, got \"soon\"",
        ),
        ("basic_auth_users: [a]", "1:19: basic_auth_users must be a mapping, got a list"),
        ("basic_auth_users: secret", "1:19: basic_auth_users must be a mapping, got a single value"),
        ("basic_auth_users: {a: [x]}", "1:23: basic_auth_users.a must be text, got a list"),
        ("basic_auth_users: {a: }", "1:21: basic_auth_users.a is too short to be a bcrypt hash"),
        ("basic_auth_users: {a: secret}", "1:23: basic_auth_users.a is too short to be a bcrypt hash"),
        (
            "basic_auth_users: {a: $2b$03$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.}",
            "1:23: basic_auth_users.a has no cost from 04 to 31",
        ),
        (
            "basic_auth_users: {a: $5$rounds=5000$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR}",
            "1:23: basic_auth_users.a does not begin like a bcrypt hash, with $2y$ or its like",
        ),
        (
            "http_server_config: {http2: maybe}",
            "1:29: http_server_config.http2 must be true or false, got \"maybe\"",
        ),
        (
            "http_server_config: {headers: {x-frame-options: deny}}",
            "1:32: http_server_config.headers cannot set \"x-frame-options\", only \
             Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection, \
             Content-Security-Policy",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: DENY}}",
            "1:49: http_server_config.headers.X-Frame-Options must be deny or sameorigin, got \"DENY\"",
        ),
        (
            "http_server_config: {headers: {X-Content-Type-Options: }}",
            "1:54: http_server_config.headers.X-Content-Type-Options must be nosniff, got \"\"",
        ),
        (
            "http_server_config: {headers: {X-XSS-Protection: \"a\\0b\"}}",
            "1:50: http_server_config.headers.X-XSS-Protection has characters that no header may have",
        ),
        (
            "tls_server_config: {client_auth_type: NoClientCert}",
            "1:20: tls_server_config needs cert or cert_file",
        ),
        ("tls_server_config: {cert_file: cert.pem}", "1:20: tls_server_config needs key or key_file"),
        ("tls_server_config: {key_file: key.pem}", "1:20: tls_server_config needs cert or cert_file"),
        (
            "tls_server_config: {cert_file: none.pem, key_file: key.pem}",
            "1:32: tls_server_config.cert_file cannot be read: none.pem: No such file or directory (os error 2)",
        ),
        (
            "tls_server_config: {cert_file: ., key_file: key.pem}",
            "1:32: tls_server_config.cert_file cannot be read: .: Is a directory (os error 21)",
        ),
        (
            "tls_server_config: {cert: nonsense, key_file: key.pem}",
            "1:27: tls_server_config.cert has no certificate in it",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: cert.pem}",
            "1:52: tls_server_config.key_file has no private key in it",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: other.pem}",
            "1:52: tls_server_config.key_file is not the key of the certificate",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, min_version: TLS14}",
            "1:74: tls_server_config.min_version must be TLS10, TLS11, TLS12 or TLS13, got \"TLS14\"",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, min_version: TLS13, max_version: TLS12}",
            "1:94: tls_server_config.max_version is TLS12, below min_version TLS13",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, min_version: TLS10, max_version: TLS11}",
            "1:94: tls_server_config.max_version must be TLS12 or TLS13, older versions are not supported",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}",
            "1:77: tls_server_config.cipher_suites[0] must be the IANA name of a secure suite, \
             got \"TLS_RSA_WITH_RC4_128_SHA\"",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, cipher_suites: [TLS_AES_128_GCM_SHA256]}",
            "1:76: tls_server_config.cipher_suites needs TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or \
             TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 for HTTP/2",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, curve_preferences: [X25519, P256]}",
            "1:89: tls_server_config.curve_preferences[1] must be X25519, CurveP256, CurveP384 or CurveP521, \
             got \"P256\"",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, curve_preferences: [CurveP521]}",
            "1:80: tls_server_config.curve_preferences has no curve that is supported",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_auth_type: Always}",
            "1:79: tls_server_config.client_auth_type must be NoClientCert, RequestClientCert, \
             RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert, got \"Always\"",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem}",
            "1:77: tls_server_config.client_ca_file has no effect without client_auth_type",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, \
             client_auth_type: VerifyClientCertIfGiven, client_ca_file: none.pem}",
            "1:120: tls_server_config.client_ca_file cannot be read: none.pem: No such file or directory (os error 2)",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, \
             client_auth_type: VerifyClientCertIfGiven, client_ca: nonsense}",
            "1:115: tls_server_config.client_ca has no certificate of an authority in it",
        ),
        (
            "basic_auth_users: {a: secret}\nrate_limt: {}\nhttp_server_config: {htp2: true}",
            "2:1: unknown key \"rate_limt\" at the top level; did you mean \"rate_limit\"?\n\
             w.yml:3:22: unknown key \"htp2\" in http_server_config; did you mean \"http2\"?",
        ),
        (
            "tls_server_config: {cert_file: none.pem, key_file: key.pem}\nbasic_auth_users: {a: secret}",
            "1:32: tls_server_config.cert_file cannot be read: none.pem: No such file or directory (os error 2)\n\
             w.yml:2:23: basic_auth_users.a is too short to be a bcrypt hash",
        ),
    ];
    let authority = Authority::new();
    let dir = dir(&authority, "");
    dir.write("other.pem", &authority.issue_pair(&["x"], Validity::Now).key);
    let args = ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0", "--web.config.file=w.yml"];
    for (text, want) in cases {
        dir.write("w.yml", text);
        let output = run(&dir, &args);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let got: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("time=")).collect();
        assert_eq!(got.join("\n"), format!("w.yml:{want}"), "{text}");
        assert!(stderr.lines().last().unwrap().contains("level=ERROR"), "{stderr}");
    }
    dir.write("w.yml", "x: 1");
    assert_eq!(
        run(&dir, &["--config.file=c.yml", "--config.check", "--web.config.file=w.yml"]).status.code(),
        Some(0)
    );
}

/// Whole messages about what has no effect, without the file's name.
#[test]
fn warnings() {
    let tls = "tls_server_config: {cert_file: cert.pem, key_file: key.pem, ";
    let cases = [
        (
            "tls_server_config: {min_version: TLS13}".to_owned(),
            "1:20: tls_server_config has no certificate, so there is no TLS",
        ),
        (
            format!("{tls}min_version: TLS10}}"),
            "1:74: tls_server_config.min_version is taken as TLS12, older versions are not supported",
        ),
        (
            format!("{tls}curve_preferences: [CurveP521, CurveP256]}}"),
            "1:80: tls_server_config.curve_preferences has CurveP521, which is not supported and left out",
        ),
        (
            format!(
                "{tls}cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]}}"
            ),
            "1:76: tls_server_config.cipher_suites has TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, \
             which is not supported and left out",
        ),
        (
            format!("{tls}client_allowed_sans: [x]}}"),
            "1:82: tls_server_config.client_allowed_sans has no effect without client_auth_type",
        ),
        (
            format!("{tls}client_auth_type: RequireAndVerifyClientCert}}"),
            "1:79: tls_server_config.client_auth_type has no client_ca or client_ca_file, so the authorities \
             of the system are trusted",
        ),
        (
            "rate_limit: {interval: 1s}".to_owned(),
            "1:13: rate_limit.burst is below 1, so every request is refused",
        ),
        (
            "basic_auth_users: {a: $2b$05$abcdefghijklmnop!rstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.}".to_owned(),
            "1:23: basic_auth_users.a has a hash that no password fits",
        ),
    ];
    for (text, want) in cases {
        let exporter = start_plain(&text);
        let warnings: Vec<_> =
            exporter.log().into_iter().filter(|line| line.contains("level=WARN")).collect();
        assert_eq!(warnings.len(), 1, "{text}: {warnings:#?}");
        assert!(warnings[0].ends_with(&format!("msg=\"w.yml:{want}\"")), "{text}: {}", warnings[0]);
    }
}
