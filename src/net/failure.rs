//! Errors of TLS and of encrypted streams as reasons of a failed probe.

use std::fmt::Display;
use std::io;

use super::tls::{self, TlsError, Verdict};
use crate::runner::{Phase, ProbeError, Reason};

/// An error of TLS while talking to `peer`.
pub fn tls(phase: Phase, peer: impl Display, error: TlsError) -> ProbeError {
    let reason = match &error {
        TlsError::Settings(_) => Reason::Config,
        TlsError::File { .. } => Reason::File,
        TlsError::Certificate { verdict, .. } => certificate(*verdict),
        TlsError::Alert(_) => Reason::TlsAlert,
        TlsError::VersionOrCipher(_) => Reason::TlsVersion,
        TlsError::Protocol(_) => Reason::TlsProtocol,
        TlsError::Closed => Reason::Closed,
        TlsError::Io(source) => ProbeError::io(phase, "", io::Error::from(source.kind())).reason,
    };
    ProbeError::new(phase, reason, format!("TLS failed for {peer}")).caused_by(error)
}

/// An error while reading from or writing to a stream that may be encrypted.
///
/// A TLS 1.3 server that refuses our certificate says so only after the handshake, so its alert
/// is found here.
pub fn io(phase: Phase, peer: impl Display, error: io::Error) -> ProbeError {
    match tls::classify_io(&error) {
        Some(error) => tls(phase, peer, error),
        None => ProbeError::io(phase, peer, error),
    }
}

fn certificate(verdict: Verdict) -> Reason {
    match verdict {
        Verdict::Expired => Reason::Expired,
        Verdict::NotYetValid => Reason::NotYetValid,
        Verdict::UnknownCa => Reason::UnknownCa,
        Verdict::NameMismatch => Reason::NameMismatch,
        Verdict::SelfSigned => Reason::SelfSigned,
        Verdict::IncompleteChain => Reason::IncompleteChain,
        Verdict::Revoked => Reason::Revoked,
        Verdict::Weak => Reason::Weak,
        Verdict::Invalid | Verdict::Verified => Reason::BadCertificate,
    }
}
