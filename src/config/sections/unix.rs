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
    }
}
