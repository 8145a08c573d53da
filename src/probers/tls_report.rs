//! The TLS metric families, from what a handshake showed.
//!
//! They are written whenever the peer presented a chain, also when the handshake failed over it.

use crate::metrics::names;
pub use crate::net::failure::tls as error;
use crate::net::tls::certificate::{self, LeafLabels};
use crate::net::tls::{TlsFacts, Verdict};
use crate::runner::Report;

/// Which of the families that Blackbox exporter has for some probers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// `probe_ssl_earliest_cert_expiry`, `probe_ssl_last_chain_info`, `probe_tls_version_info`.
    pub basics: bool,
    /// `probe_ssl_last_chain_expiry_timestamp_seconds`.
    pub chain_expiry: bool,
    /// `probe_tls_cipher_info`.
    pub cipher: bool,
}

impl Families {
    /// All of them, for http.
    pub const HTTP: Self = Self { basics: true, chain_expiry: true, cipher: true };
    /// All but the cipher, for tcp and unix.
    pub const STREAM: Self = Self { cipher: false, ..Self::HTTP };
    /// All but the cipher and the chain's expiry, for grpc.
    pub const GRPC: Self = Self { chain_expiry: false, ..Self::STREAM };
    /// Only those that Blackbox exporter does not have, for dns and websocket.
    pub const OWN: Self = Self { basics: false, chain_expiry: false, cipher: false };
}

/// Writes what `facts` hold; without a certificate, or without a ServerHello, their families stay away.
///
/// A second call overwrites the plain values of the first, which is how redirects end with the
/// facts of the last hop; information metrics of both stay when their labels differ.
pub fn write(report: &mut Report, facts: &TlsFacts, families: Families) {
    let samples = &mut report.samples;
    if let Some(version) = facts.version
        && families.basics
    {
        let labels = vec![("version".into(), version.name().to_owned())];
        samples.set_many(names::PROBE_TLS_VERSION_INFO, labels, true);
    }
    if let Some(cipher) = &facts.cipher
        && families.cipher
    {
        let labels = vec![("cipher".into(), cipher.clone().into_owned())];
        samples.set_many(names::PROBE_TLS_CIPHER_INFO, labels, true);
    }
    let Some(leaf) = facts.presented.first() else { return };
    if families.basics {
        if let Some(expiry) = certificate::earliest_expiry(&facts.presented) {
            samples.set(names::PROBE_SSL_EARLIEST_CERT_EXPIRY, expiry);
        }
        samples.set_many(names::PROBE_SSL_LAST_CHAIN_INFO, leaf_labels(certificate::leaf_labels(leaf)), true);
    }
    if let Some(expiry) = facts.last_chain_expiry
        && families.chain_expiry
    {
        samples.set(names::PROBE_SSL_LAST_CHAIN_EXPIRY_TIMESTAMP_SECONDS, expiry);
    }
    if let Some(validity) = certificate::validity(leaf) {
        samples.set(names::PROBE_SSL_LEAF_NOT_BEFORE_TIMESTAMP_SECONDS, validity.not_before);
        samples.set(names::PROBE_SSL_LEAF_NOT_AFTER_TIMESTAMP_SECONDS, validity.not_after);
    }
    if let Some(verdict) = facts.verdict {
        samples.set(names::PROBE_TLS_VERIFIED, verdict == Verdict::Verified);
        if let Some(reason) = verdict.reason() {
            samples.set_one(names::PROBE_TLS_VERIFY_FAILURE_INFO, "reason", reason, true);
        }
    }
}

fn leaf_labels(leaf: LeafLabels) -> Vec<(std::borrow::Cow<'static, str>, String)> {
    vec![
        ("fingerprint_sha256".into(), leaf.fingerprint_sha256),
        ("subject".into(), leaf.subject),
        ("issuer".into(), leaf.issuer),
        ("subjectalternative".into(), leaf.subjectalternative),
        ("serialnumber".into(), leaf.serialnumber),
    ]
}
