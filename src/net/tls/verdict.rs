//! What we think of a certificate chain, in one word.

use std::fmt;

/// Outcome of the verification of a server's certificate.
///
/// If several things are wrong, the dates of the server's own certificate count first, then whether
/// it leads to a trusted root, then its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// A chain to a trusted root exists, and the name is right.
    Verified,
    /// The certificate, or every chain that would do otherwise, is past its notAfter. Roots count.
    Expired,
    /// As [`Verdict::Expired`], but before notBefore.
    NotYetValid,
    /// The issuer of the certificate is there, but it does not lead to a root we trust; also if a
    /// trusted root has the issuer's name but another key.
    UnknownCa,
    /// None of the subject alternative names is the one we asked for. Common names do not count.
    NameMismatch,
    /// The certificate is its own issuer, and is not trusted itself.
    SelfSigned,
    /// The issuer of the server's certificate was neither sent nor is it a trusted root.
    ///
    /// That is a server that forgot its intermediates. A certificate issued directly by a private
    /// root that we do not trust looks the same, because servers need not send the root.
    IncompleteChain,
    /// The key is withdrawn from trust.
    Revoked,
    /// A signature is of a kind that we do not accept (SHA-1, MD5, unknown), or an RSA key is so
    /// short that we cannot check its signature.
    Weak,
    /// The certificate is malformed, not X.509 version 3, or not made for servers; or the server
    /// could not prove that it has the key.
    Invalid,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Verified,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownCa,
        Self::NameMismatch,
        Self::SelfSigned,
        Self::IncompleteChain,
        Self::Revoked,
        Self::Weak,
        Self::Invalid,
    ];

    /// Value of the `reason` label; `None` if the chain is verified. A closed set.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Verified => None,
            Self::Expired => Some("expired"),
            Self::NotYetValid => Some("not_yet_valid"),
            Self::UnknownCa => Some("unknown_ca"),
            Self::NameMismatch => Some("name_mismatch"),
            Self::SelfSigned => Some("self_signed"),
            Self::IncompleteChain => Some("incomplete_chain"),
            Self::Revoked => Some("revoked"),
            Self::Weak => Some("weak"),
            Self::Invalid => Some("invalid"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verified => "the certificate is verified",
            Self::Expired => "the certificate has expired",
            Self::NotYetValid => "the certificate is not valid yet",
            Self::UnknownCa => "the certificate is signed by an unknown authority",
            Self::NameMismatch => "the certificate is for another name",
            Self::SelfSigned => "the certificate is self-signed and not trusted",
            Self::IncompleteChain => "the server did not send the issuer of its certificate",
            Self::Revoked => "the certificate or an issuer is distrusted",
            Self::Weak => "the certificate uses a signature or key that is not accepted",
            Self::Invalid => "the certificate cannot be used by a server",
        })
    }
}
