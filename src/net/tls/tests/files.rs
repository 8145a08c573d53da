//! Settings, and the files they name.

use super::*;

/// Only the frames matter; what is inside is none of our business without the passphrase.
const ENCRYPTED_PKCS8: &str =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
const ENCRYPTED_PKCS1: &str = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                               DEK-Info: AES-128-CBC,00\n\nMAA=\n-----END RSA PRIVATE KEY-----\n";

#[tokio::test]
async fn files_are_read_again_when_they_change() {
    let root = Authority::root("root", 2045);
    let stranger = Authority::root("stranger", 2045);
    let server = ServerSetup::default().start(&root.leaf(2030), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let client =
        TlsClient::new(TlsSettings { ca: Some(PemSource::File(path.clone())), ..TlsSettings::default() });

    let unusable = async |case: &str, why: &str| {
        let (result, facts) = shake(&client, &server, "a.test").await;
        let Some(TlsError::File { path: named, source }) = result.err() else {
            panic!("{case}");
        };
        assert_eq!(named, path, "{case}");
        assert!(source.to_string().contains(why), "{case}: {source}");
        assert!(facts.presented.is_empty(), "{case}");
    };
    let judged = async |case: &str, verdict| {
        let (result, facts) = shake(&client, &server, "a.test").await;
        assert_eq!(result.is_ok(), verdict == Verdict::Verified, "{case}");
        assert_eq!(facts.verdict, Some(verdict), "{case}");
    };

    unusable("missing", "No such file").await;
    std::fs::write(&path, "this is no certificate\n").unwrap();
    unusable("junk", "no usable certificate").await;
    std::fs::write(&path, pem(&[&stranger.der])).unwrap();
    judged("another root", Verdict::IncompleteChain).await;
    std::fs::write(&path, pem(&[&stranger.der, &root.der])).unwrap();
    judged("written over", Verdict::Verified).await;

    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let other = folder.path().join("other.pem");
    std::fs::write(&other, pem(&[&stranger.der])).unwrap();
    std::fs::File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
    std::fs::rename(&other, &path).unwrap();
    judged("renamed over, with the old time", Verdict::IncompleteChain).await;
    std::fs::remove_file(&path).unwrap();
    unusable("gone", "No such file").await;
}

#[tokio::test]
async fn a_renewed_client_certificate_is_shown() {
    let root = Authority::root("root", 2045);
    let setup = ServerSetup {
        versions: vec![&rustls::version::TLS12],
        client_root: Some(root.der.clone()),
        ..ServerSetup::default()
    };
    let server = setup.start(&root.leaf(2030), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    for min_version in LIBRARIES {
        let client = TlsClient::new(TlsSettings {
            cert: Some(PemSource::File(cert.clone())),
            key: Some(PemSource::File(key.clone())),
            min_version,
            ..trusting(&[&root.der])
        });
        let strange = Authority::root("stranger", 2045).leaf(2030);
        for (identity, is_good) in [(strange, false), (root.leaf(2030), true)] {
            std::fs::write(&cert, pem(&[&identity.der])).unwrap();
            std::fs::write(&key, identity.key.serialize_pem()).unwrap();
            let (result, _) = shake(&client, &server, "a.test").await;
            match result {
                Ok(_) => assert!(is_good),
                Err(error) => {
                    assert_eq!(error.to_string(), "the peer refused with the alert unknown_ca");
                    assert!(!is_good);
                }
            }
        }
    }
}

#[tokio::test]
async fn settings_that_cannot_work_say_why() {
    let root = Authority::root("root", 2045);
    let leaf = root.leaf(2030);
    let server = ServerSetup::default().start(&leaf, &[]).await;
    let inline = |text: String| Some(PemSource::Inline(text));
    let cert = || inline(pem(&[&leaf.der]));
    let cases = [
        (
            TlsSettings { ca: inline("junk".to_owned()), ..TlsSettings::default() },
            "tls_config.ca: there is no usable certificate in it",
        ),
        (TlsSettings { cert: cert(), ..trusting(&[&root.der]) }, "tls_config: cert without key"),
        (
            TlsSettings { key: inline(leaf.key.serialize_pem()), ..trusting(&[&root.der]) },
            "tls_config: key without cert",
        ),
        (
            TlsSettings {
                cert: inline(String::new()),
                key: inline(leaf.key.serialize_pem()),
                ..trusting(&[&root.der])
            },
            "tls_config.cert: there is no certificate in it",
        ),
        (
            TlsSettings {
                cert: cert(),
                key: inline(rcgen::KeyPair::generate().unwrap().serialize_pem()),
                ..trusting(&[&root.der])
            },
            "tls_config.key: keys may not be consistent: KeyMismatch",
        ),
        (
            TlsSettings { cert: cert(), key: inline("junk".to_owned()), ..trusting(&[&root.der]) },
            "tls_config.key: no items found",
        ),
        (
            TlsSettings { cert: cert(), key: inline(ENCRYPTED_PKCS8.to_owned()), ..trusting(&[&root.der]) },
            "tls_config.key: the key is encrypted; store it without a passphrase",
        ),
        (
            TlsSettings { cert: cert(), key: inline(ENCRYPTED_PKCS1.to_owned()), ..trusting(&[&root.der]) },
            "tls_config.key: the key is encrypted; store it without a passphrase",
        ),
        (
            TlsSettings {
                min_version: Some(TlsVersion::Tls13),
                max_version: Some(TlsVersion::Tls12),
                ..trusting(&[&root.der])
            },
            "tls_config: max_version TLS 1.2 is below min_version TLS 1.3",
        ),
    ];
    for (settings, want) in cases {
        let client = TlsClient::new(settings);
        let (result, _) = shake(&client, &server, "a.test").await;
        assert_eq!(result.err().unwrap().to_string(), want);
    }
}

#[tokio::test]
async fn without_a_ca_the_roots_of_the_system_decide() {
    let root = Authority::root("root", 2045);
    let server = ServerSetup::default().start(&root.leaf(2030), &[]).await;
    let client = TlsClient::new(TlsSettings::default());
    let (result, facts) = shake(&client, &server, "a.test").await;
    assert!(matches!(result, Err(TlsError::Certificate { .. })));
    // Unknown if the machine that runs this test has no roots at all.
    let verdict = facts.verdict.unwrap();
    assert!(matches!(verdict, Verdict::IncompleteChain | Verdict::UnknownCa), "{verdict:?}");
}
