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

#[tokio::test]
async fn peers_that_are_no_tls_servers() {
    let client = TlsClient::new(TlsSettings {
        insecure_skip_verify: true,
        ..trusting(&[&Authority::root("root", 2045).der])
    });
    // A ServerHello for TLS 1.0 with TLS_RSA_WITH_AES_128_CBC_SHA, no session, no extensions.
    const OLD_HELLO: &[u8] = &[
        22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
        7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0x2f, 0,
    ];
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
    for (version, identity, want) in cases {
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
        let case = format!("{version:?}");
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
    for (name, server_name, asked, verdict) in cases {
        let client = TlsClient::new(TlsSettings {
            server_name: server_name.map(str::to_owned),
            insecure_skip_verify: true,
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
    for (ours, theirs, want) in cases {
        let setup = ServerSetup { alpn: list(theirs), ..ServerSetup::default() };
        let server = setup.start(&leaf, &[]).await;
        let client = TlsClient::new(TlsSettings { alpn: list(ours), ..trusting(&[&root.der]) });
        let (result, facts) = shake(&client, &server, "a.test").await;
        match (result, want) {
            (Ok(_), Ok(protocol)) => assert_eq!(facts.alpn.as_deref(), protocol),
            (Err(TlsError::Alert(got)), Err(want)) => assert_eq!(got, want),
            (got, want) => panic!("{got:?}, {want:?}"),
        }
    }
}
