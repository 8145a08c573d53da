//! The cryptography we offer and accept, and the names the field gives to it.
//!
//! Orders follow the Go client, because many servers let the client's order decide and the
//! negotiated suite is a metric.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use webpki::aws_lc_rs as algorithms;

use super::p521::SECP521R1;
use super::short_rsa;

/// A protocol version, as configured or as negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 2246.
    Tls10,
    /// RFC 4346.
    Tls11,
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// The name in `probe_tls_version_info`, such as `TLS 1.3`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls10 => "TLS 1.0",
            Self::Tls11 => "TLS 1.1",
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        }
    }

    /// The version with this number on the wire (RFC 8446 §4.2.1).
    pub(super) fn from_wire(number: u16) -> Option<Self> {
        match number {
            0x0301 => Some(Self::Tls10),
            0x0302 => Some(Self::Tls11),
            0x0303 => Some(Self::Tls12),
            0x0304 => Some(Self::Tls13),
            _ => None,
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// IANA name of a cipher suite such as `TLS_AES_128_GCM_SHA256`; `0xHHHH` if it has none here.
pub(super) fn cipher_name(number: u16) -> Cow<'static, str> {
    let Some(name) = rustls::CipherSuite::from(number).as_str() else {
        return Cow::Owned(format!("{number:#06X}").replacen("0X", "0x", 1));
    };
    match name.strip_prefix("TLS13_") {
        Some(rest) => Cow::Owned(format!("TLS_{rest}")),
        None => Cow::Borrowed(name),
    }
}

/// Whether the default library has this choice of a server.
pub(super) fn offers(version: u16, cipher: u16) -> bool {
    let known = matches!(TlsVersion::from_wire(version), Some(TlsVersion::Tls12 | TlsVersion::Tls13));
    known && provider().cipher_suites.iter().any(|suite| u16::from(suite.suite()) == cipher)
}

/// What every handshake of the default library uses.
///
/// Only the key share of the first group is computed ahead. X25519MLKEM768 is not offered: named
/// without a key share, a server that prefers it asks for a second ClientHello, and the handshake
/// we measure would take one round trip more than it has to.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                cipher_suite::TLS13_AES_128_GCM_SHA256,
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
                cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            ],
            kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1, SECP521R1],
            signature_verification_algorithms: SIGNATURES,
            ..default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}

/// What the exporter uses when it is the server itself; it checks the same signatures.
///
/// The library's order of suites and groups is as good as any here, and the hybrid group comes first:
/// a server does not pay for a guess of the client.
pub(crate) fn server_provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            kx_groups: vec![
                kx_group::X25519MLKEM768,
                kx_group::X25519,
                kx_group::SECP256R1,
                kx_group::SECP384R1,
            ],
            signature_verification_algorithms: SIGNATURES,
            ..default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}

/// Signatures we can check: those of the library, but RSA from 1024 bits on, as Go has it.
pub(super) static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algorithms::ECDSA_P256_SHA256,
        algorithms::ECDSA_P256_SHA384,
        algorithms::ECDSA_P256_SHA512,
        algorithms::ECDSA_P384_SHA256,
        algorithms::ECDSA_P384_SHA384,
        algorithms::ECDSA_P384_SHA512,
        algorithms::ECDSA_P521_SHA256,
        algorithms::ECDSA_P521_SHA384,
        algorithms::ECDSA_P521_SHA512,
        algorithms::ED25519,
        &short_rsa::PSS_SHA256,
        &short_rsa::PSS_SHA384,
        &short_rsa::PSS_SHA512,
        &short_rsa::PKCS1_SHA256,
        &short_rsa::PKCS1_SHA384,
        &short_rsa::PKCS1_SHA512,
        algorithms::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        algorithms::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        algorithms::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA256, algorithms::ECDSA_P521_SHA256],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[algorithms::ECDSA_P384_SHA384, algorithms::ECDSA_P256_SHA384, algorithms::ECDSA_P521_SHA384],
        ),
        (
            SignatureScheme::ECDSA_NISTP521_SHA512,
            &[algorithms::ECDSA_P521_SHA512, algorithms::ECDSA_P384_SHA512, algorithms::ECDSA_P256_SHA512],
        ),
        (SignatureScheme::ED25519, &[algorithms::ED25519]),
        (SignatureScheme::RSA_PSS_SHA256, &[&short_rsa::PSS_SHA256]),
        (SignatureScheme::RSA_PSS_SHA384, &[&short_rsa::PSS_SHA384]),
        (SignatureScheme::RSA_PSS_SHA512, &[&short_rsa::PSS_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[&short_rsa::PKCS1_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[&short_rsa::PKCS1_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[&short_rsa::PKCS1_SHA512]),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_their_registered_names() {
        let cases = [
            (0x1301, "TLS_AES_128_GCM_SHA256"),
            (0x1302, "TLS_AES_256_GCM_SHA384"),
            (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
            (0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
            (0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
            (0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"),
            (0x0a0a, "0x0A0A"),
        ];
        for (number, name) in cases {
            assert_eq!(cipher_name(number), name);
        }
    }

    #[test]
    fn versions_have_the_names_of_go() {
        let names: Vec<_> =
            (0x0300..=0x0305).map(|number| TlsVersion::from_wire(number).map(TlsVersion::name)).collect();
        assert_eq!(names, [None, Some("TLS 1.0"), Some("TLS 1.1"), Some("TLS 1.2"), Some("TLS 1.3"), None]);
    }
}
