//! `grpc`: the standard health check.

use super::address::IpPreference;
use super::tls::TlsConfig;
use crate::config::decode::{Context, quote};
use crate::config::map::Map;
use crate::config::section::{Defaulted, section};
use crate::config::yaml::tree::Mapping;

section! {
    /// A call of `grpc.health.v1.Health/Check`.
    pub struct Grpc {
        /// The service to ask about; empty for the whole server.
        service: String,
        /// Use TLS.
        tls: bool,
        /// For `tls`.
        tls_config: Defaulted<TlsConfig>,
        /// Use the other family if the target has no address in the preferred one.
        ip_protocol_fallback: bool = true,
        /// The address family tried first.
        preferred_ip_protocol: IpPreference,
        /// Request metadata.
        metadata: Map<Vec<String>>,
    }
    check Grpc::validate
}

impl Grpc {
    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        self.tls_config.warn(self.tls, written, ctx);
        let is_key = |name: &str| {
            let in_key =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
            !name.is_empty() && name.bytes().all(in_key)
        };
        for (name, _) in self.metadata.iter() {
            if !is_key(name) {
                let message = format!(
                    "{} has {}, which is not a lower-case metadata key",
                    ctx.key("metadata"),
                    quote(name)
                );
                ctx.breaks(written.position_of("metadata"), message);
            }
        }
    }
}
