//! `unix`: a Unix domain socket and a dialogue.

use super::dialogue::{DialogueStep, note_second_tls};
use super::tls::TlsConfig;
use crate::config::decode::Context;
use crate::config::section::{Defaulted, section};
use crate::config::yaml::tree::Mapping;

section! {
    /// A stream socket, optionally TLS, and a dialogue.
    pub struct Unix {
        /// The dialogue after connecting.
        query_response: Vec<DialogueStep>,
        /// Start TLS at once.
        tls: bool,
        /// For `tls` and `starttls`.
        tls_config: Defaulted<TlsConfig>,
    }
    check Unix::validate
}

impl Unix {
    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        note_second_tls(self.tls, &self.query_response, written, ctx);
        let uses_tls = self.tls || self.query_response.iter().any(|step| step.starttls);
        self.tls_config.warn(uses_tls, written, ctx);
        if uses_tls && self.tls_config.server_name.is_empty() && !self.tls_config.insecure_skip_verify {
            let path = ctx.key("tls_config");
            let message = format!(
                "{path} needs server_name or insecure_skip_verify: a socket has no name that a certificate could be for"
            );
            // With starttls the steps before it still run.
            ctx.warn(written.position_of("tls_config"), self.tls, message);
        }
    }
}
