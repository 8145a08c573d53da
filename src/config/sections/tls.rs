//! `tls_config`: how to verify a server and how to identify to it.

use super::{at_most_one, note_unused, refuse_refs};
use crate::config::decode::{Context, Decode, Segment};
use crate::config::secret::Secret;
use crate::config::section::section;
use crate::config::yaml::emit::{Emit, Emitter};
use crate::config::yaml::tree::{Mapping, Node};

section! {
    /// TLS client settings. Files are read when a probe runs, relative to the working directory.
    pub struct TlsConfig {
        /// The only certificate authorities to trust, in PEM; the system's if none are given.
        ca: String,
        /// The client certificate chain, in PEM.
        cert: String,
        /// The client's private key, in PEM.
        key: Secret,
        /// A file with `ca`.
        ca_file: String,
        /// A file with `cert`.
        cert_file: String,
        /// A file with `key`.
        key_file: String,
        /// Accepted for compatibility; cannot work.
        ca_ref: String,
        /// Accepted for compatibility; cannot work.
        cert_ref: String,
        /// Accepted for compatibility; cannot work.
        key_ref: String,
        /// The name to send and to verify instead of the target's.
        server_name: String,
        /// Accept any certificate.
        insecure_skip_verify: bool => always,
        /// The oldest version to offer; TLS 1.2 if absent.
        min_version: Option<TlsVersion>,
        /// The newest version to offer; TLS 1.3 if absent.
        max_version: Option<TlsVersion>,
    }
    check TlsConfig::validate
}

impl TlsConfig {
    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let ca = [
            ("ca", !self.ca.is_empty()),
            ("ca_file", !self.ca_file.is_empty()),
            ("ca_ref", !self.ca_ref.is_empty()),
        ];
        let cert = [
            ("cert", !self.cert.is_empty()),
            ("cert_file", !self.cert_file.is_empty()),
            ("cert_ref", !self.cert_ref.is_empty()),
        ];
        let key = [
            ("key", !self.key.is_empty()),
            ("key_file", !self.key_file.is_empty()),
            ("key_ref", !self.key_ref.is_empty()),
        ];
        for uses in [&ca, &cert, &key] {
            at_most_one(uses, written, ctx);
        }
        let first =
            |uses: &[(&'static str, bool)]| uses.iter().find(|(_, used)| *used).map(|(name, _)| *name);
        match (first(&cert), first(&key)) {
            (Some(cert), None) => {
                ctx.error_here(written.position_of(cert), format!("has {cert} but no key"));
            }
            (None, Some(key)) => {
                ctx.error_here(written.position_of(key), format!("has {key} but no certificate"));
            }
            _ => {}
        }
    }

    /// Warns about settings that load but cannot work, or that nothing uses; called by the section
    /// that holds this one, which knows whether TLS is `used` at all.
    pub(super) fn warn<'t>(&self, used: bool, parent: &Mapping<'t>, ctx: &mut Context<'t>) {
        let Some(written) = parent.get("tls_config").and_then(|node| node.mapping(&mut Vec::new())) else {
            return;
        };
        if !used {
            if written.pairs().next().is_some() {
                note_unused("tls_config", "without TLS", parent, ctx);
            }
            return;
        }
        ctx.within(Segment::Key("tls_config"), |ctx| {
            let refs = [
                ("ca_ref", self.ca_ref.as_str()),
                ("cert_ref", self.cert_ref.as_str()),
                ("key_ref", self.key_ref.as_str()),
            ];
            refuse_refs(&refs, true, &written, ctx);
            let min = self.min_version.unwrap_or(TlsVersion::Tls12);
            let max = self.max_version.unwrap_or(TlsVersion::Tls13);
            if min > max {
                let source = |key| match written.get(key) {
                    Some(_) => "",
                    None => " (the default)",
                };
                let message = format!(
                    "{} cannot have min_version {}{} above max_version {}",
                    ctx.path(),
                    min.name(),
                    source("min_version"),
                    max.name(),
                );
                ctx.breaks(written.position_of("max_version"), message);
            }
        });
    }
}

/// A protocol version, older ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// `TLS10`
    Tls10,
    /// `TLS11`
    Tls11,
    /// `TLS12`
    Tls12,
    /// `TLS13`
    Tls13,
}

impl TlsVersion {
    const ALL: [Self; 4] = [Self::Tls10, Self::Tls11, Self::Tls12, Self::Tls13];

    /// The version as it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls10 => "TLS10",
            Self::Tls11 => "TLS11",
            Self::Tls12 => "TLS12",
            Self::Tls13 => "TLS13",
        }
    }
}

impl Decode for TlsVersion {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let version = Self::ALL.into_iter().find(|version| node.text() == Some(version.name()));
        if version.is_none() {
            ctx.expected(node, "TLS10, TLS11, TLS12 or TLS13");
        }
        version
    }
}

impl Emit for TlsVersion {
    fn is_empty(&self) -> bool {
        false
    }
    fn emit(&self, out: &mut Emitter) {
        out.plain(&self.name());
    }
}
