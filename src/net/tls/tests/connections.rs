//! What is negotiated, and peers that refuse or are no TLS servers.

use super::*;

#[tokio::test]
async fn versions_are_negotiated_and_named() {
    let root = Authority::root("root", 2045);
    let leaf = root.leaf(2030);
    let tls12: &[_] = &[&rustls::version::TLS12];
    let tls13: &[_] = &[&rustls::version::TLS13];
    let cases = [
        (tls12, None, None, Some("TLS 1.2")),
        (tls13, None, None, Some("TLS 1.3")),
        (rustls::ALL_VERSIONS, None, None, Some("TLS 1.3")),
        (rustls::ALL_VERSIONS, None, Some(TlsVersion::Tls12), Some("TLS 1.2")),
        (tls12, Some(TlsVersion::Tls10), None, Some("TLS 1.2")),
        (tls12, Some(TlsVersion::Tls10), Some(TlsVersion::Tls11), None),
        (tls12, Some(TlsVersion::Tls13), None, None),
        (tls13, None, Some(TlsVersion::Tls12), None),
    ];
    for (offered, min_version, max_version, want) in cases {
        let setup = ServerSetup { versions: offered.to_vec(), ..ServerSetup::default() };
        let server = setup.start(&leaf, &[]).await;
        let client = TlsClient::new(TlsSettings { min_version, max_version, ..trusting(&[&root.der]) });
        let (result, facts) = shake(&client, &server, "a.test").await;
        let case = format!("{min_version:?} to {max_version:?} with {offered:?}");
        match want {
            Some(version) => {
                assert!(result.is_ok(), "{case}");
                assert_eq!(facts.version.map(TlsVersion::name), Some(version), "{case}");
                assert_eq!(facts.verdict, Some(Verdict::Verified), "{case}");
            }
            None => {
                let error = result.err();
                assert!(matches!(error, Some(TlsError::VersionOrCipher(_))), "{case}: {error:?}");
                assert_eq!(facts.verdict, None, "{case}");
                assert!(facts.presented.is_empty(), "{case}");
            }
        }
    }
}

#[tokio::test]
async fn our_order_of_suites_is_that_of_go() {
    let root = Authority::root("root", 2045);
    let leaf = root.leaf(2030);
    let cases = [
        (TlsVersion::Tls13, "TLS_AES_128_GCM_SHA256"),
        (TlsVersion::Tls12, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ];
    for (max_version, want) in cases {
        let (near, far) = tokio::io::duplex(64);
        let mut config = ServerSetup::default().config(&leaf, &[], &Arc::default());
        // Nobody reads them, and the pipe is short.
        config.send_tls13_tickets = 0;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let client = TlsClient::new(TlsSettings { max_version: Some(max_version), ..trusting(&[&root.der]) });
        // A pipe of 64 bytes also splits every message into many reads.
        let ((result, facts), served) = tokio::join!(client.handshake(near, "a.test"), acceptor.accept(far));
        assert!(result.is_ok() && served.is_ok());
        assert_eq!(facts.cipher.as_deref(), Some(want));
        assert_eq!(facts.version, Some(max_version));
    }
}

#[tokio::test]
async fn a_server_may_ask_for_another_key_share() {
    let root = Authority::root("root", 2045);
    let mut setup = ServerSetup::default();
    setup.provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::SECP384R1];
    let server = setup.start(&root.leaf(2030), &[]).await;
    let client = TlsClient::new(trusting(&[&root.der]));
    let (result, facts) = shake(&client, &server, "a.test").await;
    assert!(result.is_ok());
    assert_eq!(facts.version, Some(TlsVersion::Tls13));
    assert_eq!(facts.cipher.as_deref(), Some("TLS_AES_128_GCM_SHA256"));
}

/// Answers every connection with these bytes and closes it.
async fn peer_that_says(bytes: &'static [u8]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Reading first: closing with unread bytes would reset the connection.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    Server { address, asked: Arc::default(), task }
}

/// A ServerHello for TLS 1.0 with TLS_RSA_WITH_AES_128_CBC_SHA, no session, no extensions.
const OLD_HELLO: &[u8] = &[
    22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0x2f, 0,
];

#[tokio::test]
async fn peers_that_are_no_tls_servers() {
    let client = TlsClient::new(TlsSettings {
        insecure_skip_verify: true,
        ..trusting(&[&Authority::root("root", 2045).der])
    });
    let cases: &[(&str, &[u8], &str)] = &[
        ("an HTTP server", b"HTTP/1.1 400 Bad Request\r\n\r\n", "the peer's answer is not TLS"),
        ("an SSH server", b"SSH-2.0-OpenSSH_9.2\r\n", "the peer's answer is not TLS"),
        ("nothing at all", b"", "the peer closed the connection during the TLS handshake"),
        (
            "half a record",
            &[22, 3, 3, 0, 90, 2, 0],
            "the peer closed the connection during the TLS handshake",
        ),
        (
            "an alert about the version",
            &[21, 3, 1, 0, 2, 2, 70],
            "no TLS version or cipher suite in common: \
             the peer refused with the alert protocol_version",
        ),
        (
            "an alert about the name",
            &[21, 3, 3, 0, 2, 2, 112],
            "the peer refused with the alert unrecognised_name",
        ),
        (
            "an old server",
            OLD_HELLO,
            "no TLS version or cipher suite in common: \
             peer is incompatible: ServerDoesNotSupportTls12Or13",
        ),
        (
            "a handshake that makes no sense",
            &[22, 3, 3, 0, 4, 14, 0, 0, 0],
            "the peer breaks the TLS protocol: received unexpected handshake message: \
             got ServerHelloDone when expecting ServerHello or HelloRetryRequest",
        ),
    ];
    for &(case, bytes, want) in cases {
        let server = peer_that_says(bytes).await;
        let (result, facts) = shake(&client, &server, "a.test").await;
        assert_eq!(result.err().unwrap().to_string(), want, "{case}");
        assert_eq!(facts.verdict, None, "{case}");
        assert_eq!(facts.last_chain_expiry, None, "{case}");
        if case == "an old server" {
            assert_eq!(facts.version, Some(TlsVersion::Tls10));
            assert_eq!(facts.cipher.as_deref(), Some("TLS_RSA_WITH_AES_128_CBC_SHA"));
        } else {
            assert_eq!((facts.version, facts.cipher), (None, None), "{case}");
        }
    }
}

#[tokio::test]
async fn client_certificates_are_shown_and_judged() {
    let root = Authority::root("root", 2045);
    let leaf = root.leaf(2030);
    let ours = root.leaf(2030);
    let strange = Authority::root("stranger", 2045).leaf(2030);
    let cases = [
        (&rustls::version::TLS13, Some(&ours), None),
        (&rustls::version::TLS12, Some(&ours), None),
        (&rustls::version::TLS13, None, Some(AlertDescription::CertificateRequired)),
        (&rustls::version::TLS12, None, Some(AlertDescription::CertificateRequired)),
        (&rustls::version::TLS13, Some(&strange), Some(AlertDescription::UnknownCA)),
        (&rustls::version::TLS12, Some(&strange), Some(AlertDescription::UnknownCA)),
    ];
    let cases = cases.into_iter().flat_map(|case| LIBRARIES.map(|min_version| (case, min_version)));
    for ((version, identity, want), min_version) in cases {
        let setup = ServerSetup {
            versions: vec![version],
            client_root: Some(root.der.clone()),
            ..ServerSetup::default()
        };
        let server = setup.start(&leaf, &[]).await;
        let inline = |text| Some(PemSource::Inline(text));
        let client = TlsClient::new(TlsSettings {
            cert: identity.and_then(|leaf| inline(pem(&[&leaf.der]))),
            key: identity.and_then(|leaf| inline(leaf.key.serialize_pem())),
            min_version,
            ..trusting(&[&root.der])
        });
        let (result, facts) = shake(&client, &server, "a.test").await;
        let error = match result {
            // Under TLS 1.3 the refusal comes after our side of the handshake is done.
            Ok(mut stream) => match greeting(&mut stream).await {
                Ok(bytes) => {
                    assert_eq!(bytes, GREETING);
                    None
                }
                Err(error) => Some(classify_io(&error).unwrap()),
            },
            Err(error) => Some(error),
        };
        let case = format!("{version:?} with {min_version:?}");
        match (error, want) {
            (None, None) => {}
            (Some(TlsError::Alert(got)), Some(want)) => assert_eq!(got, want, "{case}"),
            (got, want) => panic!("{case}: got {got:?}, want {want:?}"),
        }
        assert_eq!(facts.verdict, Some(Verdict::Verified), "{case}");
        assert_eq!(facts.last_chain_expiry, Some(year(2030)), "{case}");
    }
}

#[tokio::test]
async fn the_name_is_asked_for_and_verified() {
    let root = Authority::root("root", 2045);
    let server = ServerSetup::default().start(&root.leaf(2030), &[]).await;
    let cases = [
        ("a.test", None, Some("a.test"), Verdict::Verified),
        ("A.Test", None, Some("a.test"), Verdict::Verified),
        ("a.test.", None, Some("a.test"), Verdict::Verified),
        ("127.0.0.1", None, None, Verdict::Verified),
        ("::1", None, None, Verdict::Verified),
        ("::1%lo", None, None, Verdict::Verified),
        ("b.test", Some("a.test"), Some("a.test"), Verdict::Verified),
        ("a.test", Some("b.test"), Some("b.test"), Verdict::NameMismatch),
        ("a.test", Some("127.0.0.1"), None, Verdict::Verified),
        ("", None, None, Verdict::Verified),
        ("not a name", None, None, Verdict::NameMismatch),
    ];
    let cases = cases.into_iter().flat_map(|case| LIBRARIES.map(|min_version| (case, min_version)));
    for ((name, server_name, asked, verdict), min_version) in cases {
        let client = TlsClient::new(TlsSettings {
            server_name: server_name.map(str::to_owned),
            insecure_skip_verify: true,
            min_version,
            ..trusting(&[&root.der])
        });
        let (result, facts) = shake(&client, &server, name).await;
        let case = format!("{name:?} with {server_name:?}");
        assert!(result.is_ok(), "{case}");
        assert_eq!(facts.verdict, Some(verdict), "{case}");
        let got = server.asked.lock().unwrap().pop().unwrap();
        assert_eq!(got.as_deref(), asked, "{case}");
    }

    let strict = TlsClient::new(trusting(&[&root.der]));
    let cases = [
        ("", "there is no name to verify: set server_name or insecure_skip_verify"),
        ("not a name", r#""not a name" is not a host name that a certificate could be valid for"#),
    ];
    for (name, want) in cases {
        let (result, _) = shake(&strict, &server, name).await;
        assert_eq!(result.err().unwrap().to_string(), want);
    }
}

#[tokio::test]
async fn application_protocols_are_negotiated() {
    let root = Authority::root("root", 2045);
    let leaf = root.leaf(2030);
    let list =
        |names: &[&str]| -> Vec<Vec<u8>> { names.iter().map(|name| name.as_bytes().to_vec()).collect() };
    type Agreed<'a> = Result<Option<&'a [u8]>, AlertDescription>;
    let cases: [(&[&str], &[&str], Agreed<'_>); 4] = [
        (&["h2", "http/1.1"], &["http/1.1"], Ok(Some(b"http/1.1"))),
        (&["h2", "http/1.1"], &["http/1.1", "h2"], Ok(Some(b"http/1.1"))),
        (&[], &["h2"], Ok(None)),
        (&["h2"], &["smtp"], Err(AlertDescription::NoApplicationProtocol)),
    ];
    let cases = cases.into_iter().flat_map(|case| LIBRARIES.map(|min_version| (case, min_version)));
    for ((ours, theirs, want), min_version) in cases {
        let setup = ServerSetup { alpn: list(theirs), ..ServerSetup::default() };
        let server = setup.start(&leaf, &[]).await;
        let settings = TlsSettings { alpn: list(ours), min_version, ..trusting(&[&root.der]) };
        let client = TlsClient::new(settings);
        let (result, facts) = shake(&client, &server, "a.test").await;
        match (result, want) {
            (Ok(_), Ok(protocol)) => assert_eq!(facts.alpn.as_deref(), protocol),
            (Err(TlsError::Alert(got)), Err(want)) => assert_eq!(got, want),
            (got, want) => panic!("{got:?}, {want:?}"),
        }
    }
}

#[tokio::test]
async fn openssl_says_the_same_about_peers_that_are_no_tls_servers() {
    let client = TlsClient::new(TlsSettings {
        insecure_skip_verify: true,
        min_version: Some(TlsVersion::Tls11),
        ..trusting(&[&Authority::root("root", 2045).der])
    });
    let cases: &[(&[u8], &str)] = &[
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the peer's answer is not TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the peer's answer is not TLS"),
        (b"", "the peer closed the connection during the TLS handshake"),
        (&[22, 3, 3, 0, 90, 2, 0], "the peer closed the connection during the TLS handshake"),
        (
            &[21, 3, 1, 0, 2, 2, 70],
            "no TLS version or cipher suite in common: the peer refused with the alert protocol_version",
        ),
        (
            &[21, 3, 1, 0, 2, 2, 40],
            "no TLS version or cipher suite in common: the peer refused with the alert handshake_failure",
        ),
        (&[21, 3, 3, 0, 2, 2, 112], "the peer refused with the alert unrecognised_name"),
        (OLD_HELLO, "no TLS version or cipher suite in common: unsupported protocol"),
        (&[22, 3, 3, 0, 4, 14, 0, 0, 0], "the peer breaks the TLS protocol: unexpected message"),
    ];
    for &(bytes, want) in cases {
        let server = peer_that_says(bytes).await;
        let (result, facts) = shake(&client, &server, "a.test").await;
        assert_eq!(result.err().unwrap().to_string(), want);
        let is_old = bytes == OLD_HELLO;
        assert_eq!(facts.version, is_old.then_some(TlsVersion::Tls10));
        assert_eq!(facts.verdict, None);
    }
}

/// Passes on what the server says until the client speaks a second time, then nothing more.
async fn relay_without_end(server: SocketAddr) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        let mut hello = [0; 4096];
        let length = client.read(&mut hello).await.unwrap();
        server.write_all(&hello[..length]).await.unwrap();
        let mut bytes = [0; 4096];
        loop {
            tokio::select! {
                Ok(length) = server.read(&mut bytes) => client.write_all(&bytes[..length]).await.unwrap(),
                _ = client.read(&mut hello) => std::future::pending().await,
            }
        }
    });
    Server { address, asked: Arc::default(), task }
}

#[tokio::test]
async fn a_handshake_that_is_cut_short_has_been_seen() {
    let root = Authority::root("root", 2045);
    let leaf = root.leaf(2030);
    let setup = ServerSetup { versions: vec![&rustls::version::TLS12], ..ServerSetup::default() };
    let server = setup.start(&leaf, &[]).await;
    for min_version in LIBRARIES {
        let relay = relay_without_end(server.address).await;
        let client = TlsClient::new(TlsSettings { min_version, ..trusting(&[&root.der]) });
        let observer = Observer::default();
        let stream = TcpStream::connect(relay.address).await.unwrap();
        let handshake = client.observed_handshake(stream, "a.test", &observer);
        let outcome = tokio::time::timeout(std::time::Duration::from_millis(300), handshake).await;
        assert!(outcome.is_err(), "{outcome:?}");
        let facts = observer.take();
        assert_eq!(facts.version, Some(TlsVersion::Tls12));
        assert_eq!(facts.cipher.as_deref(), Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
        assert_eq!(facts.presented, std::slice::from_ref(&leaf.der));
        assert_eq!(facts.verdict, Some(Verdict::Verified));
        assert_eq!(facts.last_chain_expiry, Some(year(2030)));
    }
}

/// Names of the cipher suites in the ClientHello of a client.
async fn offered(client: &TlsClient) -> Vec<String> {
    let (near, mut far) = tokio::io::duplex(4096);
    let read = async {
        let mut hello = vec![0; 4096];
        let length = far.read(&mut hello).await.unwrap();
        hello.truncate(length);
        drop(far);
        hello
    };
    let (_, hello) = tokio::join!(client.handshake(near, "a.test"), read);
    // Headers of record and message, version, random, session id (RFC 8446 §4.1.2).
    let rest = &hello[5 + 4 + 2 + 32..];
    let rest = &rest[1 + usize::from(rest[0])..];
    let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    let numbers = rest[2..2 + length].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    // One number is no suite, but says that renegotiation is known (RFC 5746 §3.3).
    let numbers = numbers.filter(|number| *number != 0xff);
    numbers.map(|number| provider::cipher_name(number).into_owned()).collect()
}

#[tokio::test]
async fn every_suite_offered_has_authentication_and_encryption_and_is_one_of_go() {
    let modern = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ];
    let cbc = [
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    ];
    let rsa = [
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_RSA_WITH_AES_128_CBC_SHA",
        "TLS_RSA_WITH_AES_256_CBC_SHA",
    ];
    let root = Authority::root("root", 2045);
    let settings = |min_version| TlsSettings { min_version, ..trusting(&[&root.der]) };

    let client = TlsClient::new(settings(None));
    assert_eq!(offered(&client).await, modern);
    client.old_targets.remember("a.test", Instant::now());
    assert_eq!(offered(&client).await, [&modern[..], &cbc].concat());
    let client = TlsClient::new(settings(Some(TlsVersion::Tls11)));
    assert_eq!(offered(&client).await, [&modern[..], &cbc, &rsa].concat());
}

#[test]
fn quic_has_rustls_also_where_older_versions_are_allowed() {
    let client = |max_version| {
        TlsClient::new(TlsSettings {
            min_version: Some(TlsVersion::Tls10),
            max_version,
            ..trusting(&[&Authority::root("root", 2045).der])
        })
    };
    assert!(client(None).quic("a.test").is_ok());
    let error = client(Some(TlsVersion::Tls11)).quic("a.test").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no TLS version or cipher suite in common: TLS 1.1 is allowed at most, QUIC needs TLS 1.3"
    );
}
