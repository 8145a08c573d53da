//! Handshakes of all probers: servers that rustls alone could not talk to, odd certificates, files.

use std::time::Duration;

use openssl::hash::MessageDigest;
use openssl::ssl::SslVersion;

use crate::support::certificates::{Authority, END, Validity};
use crate::support::odd_certificates::{Odd, OldServer};
use crate::support::peers::{Act, Peer, hear, say};
use crate::support::{Probed, compile, probe, probe_with};

const ANY: (SslVersion, SslVersion) = (SslVersion::TLS1, SslVersion::TLS1_3);
const TLS10: (SslVersion, SslVersion) = (SslVersion::TLS1, SslVersion::TLS1);
const TLS11: (SslVersion, SslVersion) = (SslVersion::TLS1_1, SslVersion::TLS1_1);
const TLS12: (SslVersion, SslVersion) = (SslVersion::TLS1_2, SslVersion::TLS1_2);
const TLS13: (SslVersion, SslVersion) = (SslVersion::TLS1_3, SslVersion::TLS1_3);

/// The label of an information metric, of which there is one at most.
fn label(probed: &Probed, metric: &str) -> String {
    let series = probed.series(metric);
    assert!(series.len() <= 1, "{series:?}");
    series.first().map(|series| series.split('"').nth(1).unwrap().to_owned()).unwrap_or_default()
}

/// Suites with forward secrecy that rustls does not have.
const ONLY_CBC: &str = "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA";

/// Begin of a request over HTTP.
const REQUEST: &str = "GET / HTTP/1.1\r\n";

const RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

#[tokio::test]
async fn whatever_go_reaches_is_reached() {
    let root = Odd::root(256);
    let rsa_root = Odd::root(2048);
    let short_root = Odd::root(1024);
    let sha256 = MessageDigest::sha256;
    let [rsa, ec] = [2048, 256].map(|bits| root.issue(bits, sha256()));
    let [short, shorter] = [1024, 768].map(|bits| rsa_root.issue(bits, sha256()));
    let by_short_root = short_root.issue(256, MessageDigest::sha384());
    let version_1 = root.issue_version_1(2048);
    let base = OldServer {
        versions: TLS12,
        suites: "ALL",
        groups: "X25519:P-256",
        leaf: Some(&rsa),
        client_root: None,
    };
    let server = |versions, suites, leaf| OldServer { versions, suites, leaf: Some(leaf), ..base };
    let only_p521 = |versions| OldServer { versions, groups: "P-521", ..base };
    let anonymous = OldServer { suites: "ADH:AECDH", leaf: None, ..base };

    struct Case<'a> {
        name: &'a str,
        server: OldServer<'a>,
        root: &'a Odd,
        settings: &'a str,
        /// Version, suite, reason of a bad verdict.
        seen: [&'a str; 3],
        failure: Option<&'a str>,
        /// Connections of two probes.
        connections: [usize; 2],
    }
    let cbc = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";
    let ecdsa_cbc = "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA";
    let rsa_cbc = "TLS_RSA_WITH_AES_256_CBC_SHA";
    let gcm = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    let gcm13 = "TLS_AES_128_GCM_SHA256";
    let min10 = "min_version: TLS10";
    let skip = "insecure_skip_verify: true";
    let case = |name, server, settings, seen, connections| Case {
        name,
        server,
        root: &root,
        settings,
        seen,
        failure: None,
        connections,
    };
    let refused = |name, server, settings, connections| Case {
        failure: Some("tls/tls_version"),
        ..case(name, server, settings, ["", "", ""], connections)
    };
    let no_version = |name, server, settings| refused(name, server, settings, [1, 1]);
    let ecdhe_gcm = "ECDHE+AESGCM";
    let cases = [
        case("TLS 1.0", server(TLS10, ONLY_CBC, &rsa), min10, ["TLS 1.0", cbc, ""], [1, 1]),
        case(
            "TLS 1.0, ECDSA",
            server(TLS10, "ECDHE-ECDSA-AES256-SHA", &ec),
            min10,
            ["TLS 1.0", ecdsa_cbc, ""],
            [1, 1],
        ),
        case("TLS 1.1", server(TLS11, ONLY_CBC, &rsa), "min_version: TLS11", ["TLS 1.1", cbc, ""], [1, 1]),
        case(
            "TLS 1.1 at most",
            server(ANY, "ALL", &rsa),
            "min_version: TLS10, max_version: TLS11",
            ["TLS 1.1", cbc, ""],
            [1, 1],
        ),
        case(
            "TLS 1.3 for a module that allows TLS 1.0",
            server(ANY, "ALL", &rsa),
            min10,
            ["TLS 1.3", gcm13, ""],
            [1, 1],
        ),
        no_version("TLS 1.1, which is too old", server(TLS11, ONLY_CBC, &rsa), ""),
        no_version("TLS 1.0 is older than TLS 1.1", server(TLS10, ONLY_CBC, &rsa), "min_version: TLS11"),
        case("CBC", server(TLS12, ONLY_CBC, &rsa), "", ["TLS 1.2", cbc, ""], [2, 1]),
        case(
            "CBC, ECDSA",
            server(TLS12, "ECDHE-ECDSA-AES256-SHA", &ec),
            "",
            ["TLS 1.2", ecdsa_cbc, ""],
            [2, 1],
        ),
        case("CBC at once", server(TLS12, ONLY_CBC, &rsa), min10, ["TLS 1.2", cbc, ""], [1, 1]),
        no_version("CBC, but TLS 1.3 is wanted", server(TLS12, ONLY_CBC, &rsa), "min_version: TLS13"),
        case("RSA key exchange", server(TLS12, "AES256-SHA", &rsa), min10, ["TLS 1.2", rsa_cbc, ""], [1, 1]),
        case(
            "RSA key exchange, TLS 1.0",
            server(TLS10, "AES256-SHA", &rsa),
            min10,
            ["TLS 1.0", rsa_cbc, ""],
            [1, 1],
        ),
        refused("RSA key exchange, not asked for", server(TLS12, "AES256-SHA", &rsa), "", [2, 1]),
        refused("finite field key exchange", server(TLS12, "DHE", &rsa), min10, [1, 1]),
        refused("no authentication", anonymous, min10, [1, 1]),
        refused(
            "no encryption",
            server(TLS12, "eNULL", &rsa),
            "min_version: TLS10, insecure_skip_verify: true",
            [1, 1],
        ),
        case("P-521, TLS 1.3", only_p521(TLS13), "", ["TLS 1.3", gcm13, ""], [1, 1]),
        case(
            "P-521, TLS 1.2",
            OldServer { suites: ecdhe_gcm, ..only_p521(TLS12) },
            "",
            ["TLS 1.2", gcm, ""],
            [1, 1],
        ),
        case(
            "P-521, TLS 1.0",
            OldServer { suites: ONLY_CBC, ..only_p521(TLS10) },
            min10,
            ["TLS 1.0", cbc, ""],
            [1, 1],
        ),
        Case {
            root: &rsa_root,
            ..case("RSA 1024, TLS 1.3", server(TLS13, "ALL", &short), "", ["TLS 1.3", gcm13, ""], [1, 1])
        },
        Case {
            root: &rsa_root,
            ..case("RSA 1024, TLS 1.2", server(TLS12, ecdhe_gcm, &short), "", ["TLS 1.2", gcm, ""], [1, 1])
        },
        Case {
            root: &rsa_root,
            ..case(
                "RSA 1024, TLS 1.0",
                server(TLS10, "AES256-SHA", &short),
                min10,
                ["TLS 1.0", rsa_cbc, ""],
                [1, 1],
            )
        },
        Case {
            root: &short_root,
            ..case(
                "RSA 1024 in the root",
                server(TLS13, "ALL", &by_short_root),
                "",
                ["TLS 1.3", gcm13, ""],
                [1, 1],
            )
        },
        case(
            "RSA 1024, not verified",
            server(TLS13, "ALL", &short),
            skip,
            ["TLS 1.3", gcm13, "incomplete_chain"],
            [1, 1],
        ),
        Case {
            root: &rsa_root,
            failure: Some("tls/weak"),
            ..case("RSA 768", server(TLS12, ecdhe_gcm, &shorter), "", ["TLS 1.2", gcm, "weak"], [1, 1])
        },
        Case {
            root: &rsa_root,
            ..case(
                "RSA 768, not verified",
                server(TLS12, ecdhe_gcm, &shorter),
                skip,
                ["TLS 1.2", gcm, "weak"],
                [1, 1],
            )
        },
        Case {
            failure: Some("tls/bad_certificate"),
            ..case("version 1", server(TLS13, "ALL", &version_1), "", ["TLS 1.3", gcm13, "invalid"], [1, 1])
        },
        case(
            "version 1, not verified",
            server(TLS13, "ALL", &version_1),
            skip,
            ["TLS 1.3", gcm13, "invalid"],
            [1, 1],
        ),
        case(
            "version 1, not verified, TLS 1.2",
            server(TLS12, ecdhe_gcm, &version_1),
            skip,
            ["TLS 1.2", gcm, "invalid"],
            [1, 1],
        ),
        Case {
            failure: Some("tls/bad_certificate"),
            ..case(
                "version 1, TLS 1.0",
                server(TLS10, ONLY_CBC, &version_1),
                min10,
                ["TLS 1.0", cbc, "invalid"],
                [1, 1],
            )
        },
        case(
            "version 1, TLS 1.0, not verified",
            server(TLS10, ONLY_CBC, &version_1),
            "min_version: TLS10, insecure_skip_verify: true",
            ["TLS 1.0", cbc, "invalid"],
            [1, 1],
        ),
        Case {
            root: &short_root,
            failure: Some("tls/incomplete_chain"),
            ..case(
                "TLS 1.0, unknown root",
                server(TLS10, ONLY_CBC, &rsa),
                min10,
                ["TLS 1.0", cbc, "incomplete_chain"],
                [1, 1],
            )
        },
    ];
    for case in cases {
        let name = case.name;
        let peer = Peer::tcp(vec![Act::StartOldTls(case.server.build()), hear(REQUEST), say(RESPONSE)]).await;
        let ca = case.root.yaml();
        let module = compile(&format!("prober: http\nhttp:\n  tls_config: {{ca: {ca}, {}}}", case.settings));
        for connections in case.connections {
            let probed = probe_with(&module, &format!("https://{}/", peer.target()), None).await;
            assert_eq!(probed.failure().as_deref(), case.failure, "{name}: {}", probed.why());
            let seen = ["probe_tls_version_info", "probe_tls_cipher_info", "probe_tls_verify_failure_info"]
                .map(|metric| label(&probed, metric));
            assert_eq!(seen, case.seen, "{name}");
            let verdict = (!case.seen[0].is_empty()).then_some(f64::from(u8::from(case.seen[2].is_empty())));
            assert_eq!(probed.value("probe_tls_verified"), verdict, "{name}");
            assert_eq!(
                probed.value("probe_ssl_earliest_cert_expiry"),
                verdict.map(|_| 2_208_988_800.0),
                "{name}"
            );
            assert_eq!(peer.new_connections(), connections, "{name}");
        }
    }
}

#[tokio::test]
async fn a_handshake_that_begins_again_is_measured_once() {
    let root = Odd::root(256);
    let leaf = root.issue(256, MessageDigest::sha256());
    let server = OldServer {
        versions: TLS12,
        suites: ONLY_CBC,
        groups: "P-256",
        leaf: Some(&leaf),
        client_root: None,
    };
    // The first connection takes this long to be refused, and so does the second to be accepted.
    let pause = Duration::from_millis(200);
    let peer =
        Peer::tcp(vec![Act::Wait(pause), Act::StartOldTls(server.build()), hear(REQUEST), say(RESPONSE)])
            .await;
    let settings = format!("tls_config: {{ca: {}}}", root.yaml());
    let cases = [
        ("probe_http_duration_seconds", format!("prober: http\nhttp: {{{settings}}}"), "https://"),
        ("probe_tcp_duration_seconds", format!("prober: tcp\ntcp: {{tls: true, {settings}}}"), ""),
    ];
    for (metric, module, scheme) in cases {
        let module = compile(&module);
        let target = format!("{scheme}{}", peer.target());
        for (connections, least) in [(2, pause * 2), (1, pause)] {
            let probed = probe_with(&module, &target, None).await;
            assert_eq!(probed.failure(), None, "{}", probed.why());
            assert_eq!(peer.new_connections(), connections);
            let value = |series: String| probed.value(&series).unwrap();
            let tls = value(format!("{metric}{{phase=\"tls\"}}"));
            assert!(tls >= pause.as_secs_f64() && tls < 2.0 * pause.as_secs_f64(), "{tls}");
            assert!(value(format!("{metric}{{phase=\"connect\"}}")) < pause.as_secs_f64());
            assert!(value("probe_duration_seconds".to_owned()) >= least.as_secs_f64());
            let events = probed.0.report.events().iter();
            let again: Vec<_> = events
                .filter(|event| event.message.contains("begins again"))
                .map(|event| &event.fields[1])
                .collect();
            assert_eq!(again.len(), connections - 1);
            for (name, seconds) in again {
                assert_eq!(*name, "uncounted_seconds");
                assert!(seconds.parse::<f64>().unwrap() >= pause.as_secs_f64());
            }
            let spans: Vec<_> = probed.0.report.timeline().iter().map(|span| span.phase.as_str()).collect();
            assert_eq!(spans.iter().filter(|phase| **phase == "tls").count(), 1, "{spans:?}");
        }
    }
}

#[tokio::test]
async fn a_dialogue_is_repeated_up_to_starttls() {
    let root = Odd::root(256);
    let leaf = root.issue(256, MessageDigest::sha256());
    let server = OldServer {
        versions: TLS12,
        suites: ONLY_CBC,
        groups: "P-256",
        leaf: Some(&leaf),
        client_root: None,
    };
    let script = vec![
        say("220 hello\r\n"),
        hear("STARTTLS\n"),
        Act::StartOldTls(server.build()),
        say("250 inside\r\n"),
    ];
    let peer = Peer::tcp(script).await;
    let module = format!(
        "prober: tcp\ntcp:\n  tls_config: {{ca: {}}}\n  query_response: \
         [{{expect: ^220, send: STARTTLS}}, {{starttls: true}}, {{expect: ^250 inside}}]",
        root.yaml()
    );
    let probed = probe(&module, &peer.target()).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    assert_eq!(peer.new_connections(), 2);
    assert_eq!(peer.heard(), b"STARTTLS\nSTARTTLS\n");
    let spans: Vec<_> = probed.0.report.timeline().iter().map(|span| span.phase.as_str()).collect();
    assert_eq!(spans, ["resolve", "connect", "dialogue", "tls", "dialogue"]);
}

#[tokio::test]
async fn dns_over_old_tls() {
    let root = Odd::root(256);
    let leaf = root.issue(2048, MessageDigest::sha256());
    let server = OldServer {
        versions: TLS12,
        suites: ONLY_CBC,
        groups: "P-256",
        leaf: Some(&leaf),
        client_root: None,
    };
    // The question with the bit of a response.
    let echo = |query: &[u8]| {
        let mut answer = u16::try_from(query.len()).unwrap().to_be_bytes().to_vec();
        answer.extend(query);
        answer[4] |= 0x80;
        answer
    };
    let peer = Peer::tcp(vec![Act::StartOldTls(server.build()), Act::Answer(echo)]).await;
    let module = format!(
        "prober: dns\ndns: {{query_name: a.test, query_type: A, transport_protocol: tcp, dns_over_tls: true, \
         tls_config: {{ca: {}}}}}",
        root.yaml()
    );
    let probed = probe(&module, &peer.target()).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    assert_eq!(probed.value("probe_tls_verified"), Some(1.0));
    assert_eq!(peer.new_connections(), 2);
}

#[tokio::test]
async fn short_keys_identify_us_too() {
    let root = Odd::root(2048);
    let leaf = root.issue(2048, MessageDigest::sha256());
    let strange = Odd::root(1024);
    for versions in [TLS12, TLS13] {
        let server = OldServer {
            versions,
            suites: "ALL",
            groups: "P-256",
            leaf: Some(&leaf),
            client_root: Some(&root),
        };
        let peer = Peer::tcp(vec![Act::StartOldTls(server.build()), hear(REQUEST), say(RESPONSE)]).await;
        let cases = [
            (Some(root.issue(1024, MessageDigest::sha256())), None),
            (Some(root.issue(2048, MessageDigest::sha256())), None),
            (Some(strange.issue(1024, MessageDigest::sha256())), Some("tls_alert")),
            (None, Some("tls_alert")),
        ];
        for (own, want) in cases {
            let own = own.map(|own| format!(", cert: {}, key: {}", own.yaml(), own.key_yaml()));
            let module = format!(
                "prober: http\nhttp: {{tls_config: {{ca: {}{}}}}}",
                root.yaml(),
                own.unwrap_or_default()
            );
            let probed = probe(&module, &format!("https://{}", peer.target())).await;
            let failure = probed.failure();
            let reason = failure.as_deref().map(|failure| failure.split_once('/').unwrap().1);
            assert_eq!(reason, want, "{versions:?}: {}", probed.why());
        }
    }
}

#[tokio::test]
async fn a_peer_that_leaves_without_a_word() {
    let root = Odd::root(256);
    let leaf = root.issue(256, MessageDigest::sha256());
    let server =
        |suites| OldServer { versions: TLS12, suites, groups: "P-256", leaf: Some(&leaf), client_root: None };
    let cases = [
        ("it wants an older suite", server(ONLY_CBC), None),
        ("it was in trouble", server("ECDHE+AESGCM"), Some("tls/closed")),
    ];
    for (name, server, want) in cases {
        let peer = Peer::tcp_but_first(vec![Act::Close], vec![Act::StartOldTls(server.build())]).await;
        let module =
            compile(&format!("prober: tcp\ntcp: {{tls: true, tls_config: {{ca: {}}}}}", root.yaml()));
        let probed = probe_with(&module, &peer.target(), None).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        assert_eq!(peer.new_connections(), 2, "{name}");
        let probed = probe_with(&module, &peer.target(), None).await;
        assert_eq!(probed.failure(), None, "{name}: {}", probed.why());
        assert_eq!(peer.new_connections(), 1, "{name}");
    }
}

#[tokio::test]
async fn files_are_looked_at_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("junk.pem"), "no certificate\n").unwrap();
    let own = Odd::root(256);
    std::fs::write(path("own.pem"), own.certificate.to_pem().unwrap()).unwrap();
    let cipher = openssl::symm::Cipher::aes_128_cbc();
    std::fs::write(path("key.pem"), own.key.private_key_to_pem_pkcs8_passphrase(cipher, b"x").unwrap())
        .unwrap();
    let cases = [
        (format!("ca_file: {}", path("gone.pem")), "No such file"),
        (format!("ca_file: {}", path("junk.pem")), "there is no usable certificate in it"),
        (
            format!("cert_file: {}, key_file: {}", path("own.pem"), path("key.pem")),
            "the key is encrypted; store it without a passphrase",
        ),
    ];
    let peer = Peer::tcp(vec![]).await;
    for (settings, why) in cases {
        for scheme in ["http", "https"] {
            let module = format!("prober: http\nhttp: {{tls_config: {{{settings}}}}}");
            let probed = probe(&module, &format!("{scheme}://{}", peer.target())).await;
            assert_eq!(probed.failure().as_deref(), Some("prepare/file"), "{settings}");
            assert!(probed.why().contains(why), "{}", probed.why());
            let phases = probed.series("probe_http_duration_seconds");
            assert_eq!(phases, ["probe_http_duration_seconds{phase=\"resolve\"}"]);
        }
    }
    assert_eq!(peer.new_connections(), 0);
}

#[tokio::test]
async fn a_certificate_counts_even_if_the_handshake_never_ends() {
    let authority = Authority::new();
    let peer = Peer::tcp(vec![Act::StallTls(authority.issue(&["127.0.0.1"], Validity::Now))]).await;
    let modules = [
        ("prober: grpc\ntimeout: 300ms\ngrpc: {tls: true, ", ""),
        ("prober: tcp\ntimeout: 300ms\ntcp: {tls: true, ", ""),
        ("prober: http\ntimeout: 300ms\nhttp: {", "https://"),
        (
            "prober: dns\ntimeout: 300ms\ndns: {query_name: a.test, transport_protocol: tcp, dns_over_tls: true, ",
            "",
        ),
    ];
    for (module, scheme) in modules {
        for min_version in ["TLS10", "TLS12"] {
            let settings = format!(
                "tls_config: {{ca: {}, max_version: TLS12, min_version: {min_version}}}}}",
                authority.yaml()
            );
            let probed = probe(&format!("{module}{settings}"), &format!("{scheme}{}", peer.target())).await;
            assert_eq!(probed.failure().as_deref(), Some("tls/deadline"), "{module}: {}", probed.why());
            let got = probed.values(["probe_tls_verified", "probe_ssl_leaf_not_after_timestamp_seconds"]);
            assert_eq!(got, [Some(1.0), Some(END)], "{module} {min_version}");
            let version = label(&probed, "probe_tls_version_info");
            assert_eq!(version, if module.contains("dns") { "" } else { "TLS 1.2" });
        }
    }
}

#[tokio::test]
async fn every_prober_begins_again() {
    let root = Odd::root(256);
    let leaf = root.issue(256, MessageDigest::sha256());
    let server = OldServer {
        versions: TLS12,
        suites: ONLY_CBC,
        groups: "P-256",
        leaf: Some(&leaf),
        client_root: None,
    };
    let peer = Peer::tcp(vec![Act::StartOldTls(server.build()), Act::Close]).await;
    let settings = format!("tls_config: {{ca: {}}}", root.yaml());
    let modules = [
        (format!("prober: grpc\ngrpc: {{tls: true, {settings}}}"), "", "tls/protocol"),
        (
            format!("prober: websocket\nwebsocket: {{http_config: {{{settings}}}}}"),
            "wss://",
            "processing/closed",
        ),
        (format!("prober: http\nhttp: {{{settings}}}"), "https://", "processing/closed"),
    ];
    for (module, scheme, want) in modules {
        let probed = probe(&module, &format!("{scheme}{}", peer.target())).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{module}: {}", probed.why());
        assert_eq!(probed.value("probe_tls_verified"), Some(1.0), "{module}");
        assert_eq!(peer.new_connections(), 2, "{module}");
    }
}
