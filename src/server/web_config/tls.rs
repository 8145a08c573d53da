//! From `tls_server_config` to what a handshake needs.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, SupportedCipherSuite, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::client_certificates::{ClientVerifier, Policy};
use super::parse::TlsSection;
use crate::config::decode::quote;
use crate::config::sections::tls::TlsVersion;
use crate::net::tls::{FileStamp, server_provider};

/// Why there is no TLS: the key in the section, empty for the section itself, and a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProblem {
    /// The key.
    pub key: &'static str,
    /// What is wrong with its value.
    pub why: String,
}

fn problem(key: &'static str, why: impl Into<String>) -> TlsProblem {
    TlsProblem { key, why: why.into() }
}

/// Settings of a server, and what does not matter enough to refuse them.
#[derive(Debug)]
pub struct Built {
    /// Ready for handshakes.
    pub config: Arc<ServerConfig>,
    /// What has no effect.
    pub warnings: Vec<TlsProblem>,
}

/// Identity of the files that a section names; `None` for what is no file or cannot be looked at.
pub type Stamps = [Option<FileStamp>; 3];

/// Looks at the files of a section; `dir` is where relative paths begin.
pub fn stamps(section: &TlsSection, dir: &Path) -> Stamps {
    let files = [&section.cert_file, &section.key_file, &section.client_ca_file];
    files.map(|file| (!file.is_empty()).then(|| FileStamp::of(&dir.join(file)).ok()).flatten())
}

/// Reads the files of a section and makes settings from it.
///
/// `http2` is whether HTTP/2 is offered.
///
/// # Errors
/// The first thing that cannot work.
pub fn build(section: &TlsSection, dir: &Path, http2: bool) -> Result<Built, TlsProblem> {
    let mut warnings = Vec::new();
    let certified = certified_key(section, dir)?;
    let provider = provider(section, http2, &mut warnings)?;
    let versions = versions(section, &provider, &mut warnings)?;
    let verifier = client_verifier(section, dir, &mut warnings)?;

    let builder = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)
        .map_err(|error| problem("", error.to_string()))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(Arc::new(verifier)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.ignore_client_order = section.prefer_server_cipher_suites;
    let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // Nobody comes in with what was decided under other settings.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Built { config: Arc::new(config), warnings })
}

fn certified_key(section: &TlsSection, dir: &Path) -> Result<CertifiedKey, TlsProblem> {
    if section.cert_file.is_empty() && section.cert.is_empty() {
        return Err(problem("", "needs cert or cert_file"));
    }
    if section.key_file.is_empty() && section.key.is_empty() {
        return Err(problem("", "needs key or key_file"));
    }
    let (cert, pem) = pem(dir, ("cert_file", &section.cert_file), ("cert", &section.cert))?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| problem(cert, format!("is no PEM: {error}")))?;
    if chain.is_empty() {
        return Err(problem(cert, "has no certificate in it"));
    }
    let (key, pem) = self::pem(dir, ("key_file", &section.key_file), ("key", section.key.expose()))?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => problem(key, "has no private key in it"),
        error => problem(key, format!("is no PEM: {error}")),
    })?;
    let private = server_provider()
        .key_provider
        .load_private_key(private)
        .map_err(|error| problem(key, format!("has a private key that cannot be used: {error}")))?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(problem(key, "is not the key of the certificate"))
        }
        // Whatever else the library thinks of the certificate is up to the clients.
        _ => Ok(certified),
    }
}

/// The text of a file or, without one, what stands in the section, and the key it stands at.
fn pem(
    dir: &Path,
    file: (&'static str, &str),
    inline: (&'static str, &str),
) -> Result<(&'static str, Vec<u8>), TlsProblem> {
    let (key, name) = file;
    if name.is_empty() {
        return Ok((inline.0, inline.1.as_bytes().to_vec()));
    }
    let path = dir.join(name);
    read(&path).map(|bytes| (key, bytes)).map_err(|error| cannot_read(key, &path, &error))
}

fn cannot_read(key: &'static str, path: &Path, error: &io::Error) -> TlsProblem {
    problem(key, format!("cannot be read: {}: {error}", path.display()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 8 MiB"));
    }
    Ok(bytes)
}

/// Bytes of a certificate or key file.
const MAX_PEM_BYTES: u64 = 8 << 20;

fn provider(
    section: &TlsSection,
    http2: bool,
    warnings: &mut Vec<TlsProblem>,
) -> Result<CryptoProvider, TlsProblem> {
    let mut provider = CryptoProvider::clone(&server_provider());
    if !section.cipher_suites.is_empty() {
        let has = |name: &str| section.cipher_suites.iter().any(|suite| suite == name);
        // RFC 9113 §9.2.2; the toolkit does not start either.
        if http2 && section.min_version < TlsVersion::Tls13 && !HTTP2_SUITES.iter().any(|name| has(name)) {
            let [one, other] = HTTP2_SUITES;
            return Err(problem("cipher_suites", format!("needs {one} or {other} for HTTP/2")));
        }
        // Suites of TLS 1.3 cannot be chosen.
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        for name in &section.cipher_suites {
            match TLS12_SUITES.iter().find(|(known, _)| known == name) {
                Some((_, suite)) if provider.cipher_suites.contains(suite) => {}
                Some((_, suite)) => provider.cipher_suites.push(*suite),
                None if name.contains("_CBC_") => {
                    warnings.push(problem(
                        "cipher_suites",
                        format!("has {name}, which is not supported and left out"),
                    ));
                }
                None => {}
            }
        }
    }
    if !section.curve_preferences.is_empty() {
        provider.kx_groups.clear();
        for name in &section.curve_preferences {
            match name.as_str() {
                "X25519" => provider.kx_groups.push(kx_group::X25519),
                "CurveP256" => provider.kx_groups.push(kx_group::SECP256R1),
                "CurveP384" => provider.kx_groups.push(kx_group::SECP384R1),
                name => {
                    let why = format!("has {name}, which is not supported and left out");
                    warnings.push(problem("curve_preferences", why));
                }
            }
        }
        if provider.kx_groups.is_empty() {
            return Err(problem("curve_preferences", "has no curve that is supported"));
        }
    }
    Ok(provider)
}

/// One of these has to be there for HTTP/2 over TLS 1.2.
const HTTP2_SUITES: [&str; 2] =
    ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"];

const TLS12_SUITES: [(&str, SupportedCipherSuite); 6] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

fn versions(
    section: &TlsSection,
    provider: &CryptoProvider,
    warnings: &mut Vec<TlsProblem>,
) -> Result<Vec<&'static SupportedProtocolVersion>, TlsProblem> {
    let (min, max) = (section.min_version, section.max_version);
    if min > max {
        let why = format!("is {}, below min_version {}", max.name(), min.name());
        return Err(problem("max_version", why));
    }
    if max < TlsVersion::Tls12 {
        return Err(problem("max_version", "must be TLS12 or TLS13, older versions are not supported"));
    }
    if min < TlsVersion::Tls12 {
        warnings.push(problem("min_version", "is taken as TLS12, older versions are not supported"));
    }
    let has_tls12 = provider.cipher_suites.iter().any(|suite| suite.tls13().is_none());
    let mut versions = Vec::new();
    if max >= TlsVersion::Tls13 {
        versions.push(&version::TLS13);
    }
    if min <= TlsVersion::Tls12 && has_tls12 {
        versions.push(&version::TLS12);
    }
    if versions.is_empty() {
        return Err(problem("cipher_suites", "has no suite of TLS 1.2 that is supported"));
    }
    Ok(versions)
}

fn client_verifier(
    section: &TlsSection,
    dir: &Path,
    warnings: &mut Vec<TlsProblem>,
) -> Result<Option<ClientVerifier>, TlsProblem> {
    let Some(policy) = Policy::parse(&section.client_auth_type) else {
        let why = format!(
            "must be NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or \
             RequireAndVerifyClientCert, got {}",
            quote(&section.client_auth_type)
        );
        return Err(problem("client_auth_type", why));
    };
    let has_authorities = !section.client_ca_file.is_empty() || !section.client_ca.is_empty();
    let file = ("client_ca_file", section.client_ca_file.as_str());
    let (key, pem) = pem(dir, file, ("client_ca", &section.client_ca))?;
    if policy == Policy::None {
        if has_authorities {
            return Err(problem(key, "has no effect without client_auth_type"));
        }
        if section.client_allowed_sans.is_some() {
            warnings.push(problem("client_allowed_sans", "has no effect without client_auth_type"));
        }
        return Ok(None);
    }
    let authorities = match (has_authorities, policy.verifies()) {
        // What is no readable certificate is passed over, as in Go.
        (true, _) => CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect(),
        // Go trusts the authorities of the system, which everybody can have a certificate of.
        (false, true) => {
            warnings.push(problem(
                "client_auth_type",
                "has no client_ca or client_ca_file, so the authorities of the system are trusted",
            ));
            rustls_native_certs::load_native_certs().certs
        }
        (false, false) => Vec::new(),
    };
    let key = if has_authorities { key } else { "client_auth_type" };
    let verifier = ClientVerifier::new(policy, authorities, section.client_allowed_sans.clone());
    verifier.map(Some).map_err(|why| problem(key, why))
}
