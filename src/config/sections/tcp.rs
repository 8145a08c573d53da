//! `tcp`: connect, then talk.

use std::net::IpAddr;

use super::address::{self, IpPreference};
use super::dialogue::{DialogueStep, note_second_tls};
use super::tls::TlsConfig;
use crate::config::decode::Context;
use crate::config::section::{Defaulted, section};
use crate::config::yaml::tree::Mapping;

section! {
    /// A TCP connection, optionally TLS, and a dialogue.
    pub struct Tcp {
        /// The address family tried first.
        preferred_ip_protocol: IpPreference,
        /// Use the other family if the target has no address in the preferred one.
        ip_protocol_fallback: bool = true,
        /// The address to connect from; see [`Tcp::source_ip`].
        source_ip_address: String,
        /// The dialogue after connecting.
        query_response: Vec<DialogueStep>,
        /// Start TLS at once.
        tls: bool,
        /// For `tls` and `starttls`.
        tls_config: Defaulted<TlsConfig>,
    }
    check Tcp::validate
}

impl Tcp {
    /// The address to connect from, `None` for any.
    pub fn source_ip(&self) -> Option<IpAddr> {
        address::source_ip(&self.source_ip_address)
    }

    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        address::check_source(
            &self.source_ip_address,
            &self.preferred_ip_protocol,
            self.ip_protocol_fallback,
            written,
            ctx,
        );
        note_second_tls(self.tls, &self.query_response, written, ctx);
        let uses_tls = self.tls || self.query_response.iter().any(|step| step.starttls);
        self.tls_config.warn(uses_tls, written, ctx);
    }
}
