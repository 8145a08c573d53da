//! Certificates of every kind, with verification and without.

use super::*;

/// Handshakes with verification, then without, and compares everything that is said.
struct Judged<'a> {
    case: &'a str,
    leaf: &'a Leaf,
    others: &'a [&'a CertificateDer<'static>],
    roots: &'a [&'a CertificateDer<'static>],
    name: &'a str,
    verdict: Verdict,
    /// Part of the sentence that an operator reads.
    detail: &'a str,
    chain_expiry: Option<i64>,
}

impl Judged<'_> {
    async fn check(self) {
        let case = self.case;
        let server = ServerSetup::default().start(self.leaf, self.others).await;
        let cases = [false, true].map(|skip| LIBRARIES.map(|min_version| (skip, min_version)));
        for (insecure_skip_verify, min_version) in cases.into_iter().flatten() {
            let settings = TlsSettings { insecure_skip_verify, min_version, ..trusting(self.roots) };
            let client = TlsClient::new(settings);
            // The second time the chain may be remembered.
            for _ in 0..2 {
                let (result, facts) = shake(&client, &server, self.name).await;
                match result {
                    Ok(mut stream) => {
                        assert!(insecure_skip_verify || self.verdict == Verdict::Verified, "{case}");
                        assert_eq!(greeting(&mut stream).await.unwrap(), GREETING, "{case}");
                    }
                    Err(TlsError::Certificate { verdict, detail }) if !insecure_skip_verify => {
                        assert_eq!(verdict, self.verdict, "{case}: {detail}");
                        assert!(detail.contains(self.detail), "{case}: {detail}");
                    }
                    Err(other) => panic!("{case}: {other:?}"),
                }
                let mut presented = vec![self.leaf.der.clone()];
                presented.extend(self.others.iter().map(|&der| der.clone()));
                assert_eq!(facts.presented, presented, "{case}");
                assert_eq!(facts.verdict, Some(self.verdict), "{case}");
                assert_eq!(facts.last_chain_expiry, self.chain_expiry, "{case}");
                assert_eq!(facts.version, Some(TlsVersion::Tls13), "{case}");
                let cipher = facts.cipher.as_deref();
                assert_eq!(cipher, Some("TLS_AES_128_GCM_SHA256"), "{case}");
            }
        }
    }
}

#[tokio::test]
async fn every_chain_gets_its_verdict() {
    let root = Authority::root("root", 2045);
    let middle = root.below("middle", 2035);
    let good = middle.leaf(2030);
    let renewed_root = root.cross_sign(&root, 2050);
    let stranger = Authority::root("stranger", 2045);
    let namesake = Authority::root("root", 2045);
    let expired_root = Authority::root("expired root", 2022);
    let expired_middle = root.below("expired middle", 2022);
    let expired = middle.leaf(2022);
    let future = middle.leaf_with(|params| {
        params.not_before = rcgen::date_time_ymd(2090, 1, 1);
        params.not_after = rcgen::date_time_ymd(2091, 1, 1);
    });
    let nameless = middle.leaf_with(|params| params.subject_alt_names.clear());
    let for_clients = middle.leaf_with(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let for_anything = middle.leaf_with(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    });
    let authority_leaf = middle.leaf_with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let self_signed = Leaf::self_signed(|_| {});
    let self_signed_authority =
        Leaf::self_signed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let self_signed_expired = Leaf::self_signed(|params| params.not_after = rcgen::date_time_ymd(2022, 1, 1));
    // The key of `middle`, certified by two roots.
    let second_root = Authority::root("second root", 2029);
    let crossed = second_root.cross_sign(&middle, 2028);
    let long_lived = middle.leaf(2034);
    // Each is a possible issuer of all the others: more paths than anyone could try.
    let maze: Vec<_> = (0..90).map(|_| Authority::root("maze", 2045)).collect();
    let maze_ders: Vec<_> = maze.iter().map(|authority| &authority.der).collect();

    let base = Judged {
        case: "",
        leaf: &good,
        others: &[&middle.der],
        roots: &[&root.der],
        name: "a.test",
        verdict: Verdict::Verified,
        detail: "",
        chain_expiry: None,
    };
    let cases = [
        Judged { case: "a good chain", chain_expiry: Some(year(2030)), ..base },
        Judged {
            case: "the intermediate expires first",
            leaf: &middle.leaf(2038),
            chain_expiry: Some(year(2035)),
            ..base
        },
        Judged {
            case: "no intermediate needed",
            leaf: &root.leaf(2050),
            others: &[],
            chain_expiry: Some(year(2045)),
            ..base
        },
        Judged {
            case: "the root is sent too, with junk in front of it",
            others: &[&stranger.der, &middle.der, &root.der],
            chain_expiry: Some(year(2030)),
            ..base
        },
        Judged { case: "an IPv4 address", name: "127.0.0.1", chain_expiry: Some(year(2030)), ..base },
        Judged { case: "an IPv6 address in brackets", name: "[::1]", chain_expiry: Some(year(2030)), ..base },
        Judged {
            case: "another address",
            name: "127.0.0.2",
            verdict: Verdict::NameMismatch,
            detail: "wanted 127.0.0.2",
            chain_expiry: Some(year(2030)),
            ..base
        },
        Judged {
            case: "another name",
            name: "b.test",
            verdict: Verdict::NameMismatch,
            detail: "it has a.test, 127.0.0.1, ::1, wanted b.test",
            chain_expiry: Some(year(2030)),
            ..base
        },
        Judged {
            case: "a common name is no name",
            leaf: &nameless,
            name: "leaf",
            verdict: Verdict::NameMismatch,
            detail: "no subject alternative name",
            chain_expiry: Some(year(2035)),
            ..base
        },
        Judged {
            case: "expired",
            leaf: &expired,
            verdict: Verdict::Expired,
            detail: "valid until Jan  1 00:00:00 2022",
            ..base
        },
        Judged {
            case: "not valid yet",
            leaf: &future,
            verdict: Verdict::NotYetValid,
            detail: "valid from Jan  1 00:00:00 2090",
            ..base
        },
        Judged {
            case: "expired intermediate",
            leaf: &expired_middle.leaf(2030),
            others: &[&expired_middle.der],
            verdict: Verdict::Expired,
            detail: "2022",
            ..base
        },
        Judged {
            case: "expired root",
            leaf: &expired_root.leaf(2030),
            others: &[],
            roots: &[&expired_root.der],
            verdict: Verdict::Expired,
            detail: "2022",
            ..base
        },
        Judged {
            case: "expired counts before self-signed",
            leaf: &self_signed_expired,
            others: &[],
            verdict: Verdict::Expired,
            detail: "2022",
            ..base
        },
        Judged {
            case: "the issuer was sent, its issuer is unknown",
            roots: &[&stranger.der],
            verdict: Verdict::UnknownCa,
            detail: r#""CN=middle" leads to no trusted root"#,
            ..base
        },
        Judged {
            case: "everything up to an unknown root was sent",
            others: &[&middle.der, &root.der],
            roots: &[&stranger.der],
            verdict: Verdict::UnknownCa,
            detail: "no trusted root",
            ..base
        },
        Judged {
            case: "a root of the same name with another key",
            leaf: &root.leaf(2030),
            others: &[],
            roots: &[&namesake.der],
            verdict: Verdict::UnknownCa,
            detail: "did not make this signature",
            ..base
        },
        Judged {
            case: "the intermediate is missing",
            others: &[],
            verdict: Verdict::IncompleteChain,
            detail: r#""CN=middle" is neither sent nor trusted"#,
            ..base
        },
        Judged {
            case: "the wrong intermediate was sent",
            others: &[&stranger.der],
            verdict: Verdict::IncompleteChain,
            detail: "neither sent nor trusted",
            ..base
        },
        Judged {
            case: "self-signed",
            leaf: &self_signed,
            others: &[],
            verdict: Verdict::SelfSigned,
            detail: "CN=leaf",
            ..base
        },
        Judged {
            case: "self-signed authority",
            leaf: &self_signed_authority,
            others: &[],
            verdict: Verdict::SelfSigned,
            detail: "CN=leaf",
            ..base
        },
        Judged {
            case: "self-signed and trusted",
            leaf: &self_signed,
            others: &[],
            roots: &[&self_signed.der],
            chain_expiry: Some(year(2040)),
            ..base
        },
        Judged {
            case: "self-signed authority and trusted",
            leaf: &self_signed_authority,
            others: &[],
            roots: &[&root.der, &self_signed_authority.der],
            chain_expiry: Some(year(2040)),
            ..base
        },
        Judged {
            case: "trusted by itself, but for another name",
            leaf: &self_signed_authority,
            others: &[],
            roots: &[&self_signed_authority.der],
            name: "b.test",
            verdict: Verdict::NameMismatch,
            detail: "wanted b.test",
            chain_expiry: Some(year(2040)),
        },
        Judged {
            case: "trusted by itself, but expired",
            leaf: &self_signed_expired,
            others: &[],
            roots: &[&self_signed_expired.der],
            verdict: Verdict::Expired,
            detail: "2022",
            ..base
        },
        Judged {
            case: "two roots: the chain that lasts longer counts",
            leaf: &long_lived,
            others: &[&crossed, &middle.der],
            roots: &[&second_root.der, &root.der],
            chain_expiry: Some(year(2034)),
            ..base
        },
        Judged {
            case: "only the root of the shorter chain",
            leaf: &long_lived,
            others: &[&crossed, &middle.der],
            roots: &[&second_root.der],
            chain_expiry: Some(year(2028)),
            ..base
        },
        Judged {
            case: "a renewed root beside the old one",
            leaf: &root.leaf(2060),
            others: &[],
            roots: &[&root.der, &renewed_root],
            chain_expiry: Some(year(2050)),
            ..base
        },
        Judged {
            case: "a maze of issuers",
            leaf: &maze[0].leaf(2030),
            others: &maze_ders,
            verdict: Verdict::UnknownCa,
            detail: "no trusted root",
            ..base
        },
        Judged {
            case: "a way out of the maze",
            leaf: &maze[0].leaf(2030),
            others: &maze_ders,
            roots: &[&maze[0].der],
            chain_expiry: Some(year(2030)),
            ..base
        },
        Judged {
            case: "not for servers",
            leaf: &for_clients,
            verdict: Verdict::Invalid,
            detail: "extended key usage",
            ..base
        },
        Judged { case: "for any usage", leaf: &for_anything, chain_expiry: Some(year(2035)), ..base },
        Judged {
            case: "an authority as a server",
            leaf: &authority_leaf,
            verdict: Verdict::Invalid,
            detail: "certificate of an authority",
            ..base
        },
    ];
    for case in cases {
        case.check().await;
    }
}

#[tokio::test]
async fn a_server_without_the_key_is_refused_even_unverified() {
    let root = Authority::root("root", 2045);
    let stolen = |leaf: Leaf| Leaf { key: rcgen::KeyPair::generate().unwrap(), der: leaf.der };
    let thieves = [
        (stolen(root.leaf(2030)), &rustls::version::TLS13, Verdict::Verified),
        (stolen(root.leaf(2030)), &rustls::version::TLS12, Verdict::Verified),
        // The library cannot parse these, so their keys are found in another way.
        (stolen(root.leaf(2030).into_version_1()), &rustls::version::TLS13, Verdict::Invalid),
        (stolen(root.leaf(2030).into_version_1()), &rustls::version::TLS12, Verdict::Invalid),
    ];
    for (thief, version, chain) in thieves {
        let setup = ServerSetup { versions: vec![version], ..ServerSetup::default() };
        let server = setup.start(&thief, &[]).await;
        let cases = [false, true].map(|skip| LIBRARIES.map(|min_version| (skip, min_version)));
        for (insecure_skip_verify, min_version) in cases.into_iter().flatten() {
            let settings = TlsSettings { insecure_skip_verify, min_version, ..trusting(&[&root.der]) };
            let (result, facts) = shake(&TlsClient::new(settings), &server, "a.test").await;
            let Err(TlsError::Certificate { verdict, detail }) = result else {
                panic!("{result:?}");
            };
            assert_eq!(verdict, Verdict::Invalid);
            let proves = insecure_skip_verify || chain == Verdict::Verified;
            let want = if proves { "did not prove that it has the key" } else { "not X.509 version 3" };
            assert!(detail.contains(want), "{detail}");
            assert_eq!(facts.verdict, Some(Verdict::Invalid));
            assert!(!facts.signature_unchecked);
        }
    }
}
