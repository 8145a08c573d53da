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
        let position = written.position_of("metadata");
        for (key, values) in self.metadata.iter() {
            if let Some(why) = refusal(key, values) {
                let message = format!("{} {why}", ctx.key("metadata"));
                ctx.breaks(position, message);
            } else if is_reserved(key) {
                let message = format!("{} has {}, which has no effect", ctx.key("metadata"), quote(key));
                ctx.note(position, message);
            }
        }
    }

    /// Why a call with this metadata cannot be made, if it cannot.
    pub fn impossible_metadata(&self) -> Option<String> {
        self.metadata.iter().find_map(|(key, values)| refusal(key, values))
    }

    /// The metadata without what is not for the user to say.
    pub fn metadata_sent(&self) -> impl Iterator<Item = (&str, &Vec<String>)> {
        self.metadata.iter().filter(|(key, _)| !is_reserved(key))
    }
}

/// Values are left out of the sentence, since they may be secrets.
fn refusal(key: &str, values: &[String]) -> Option<String> {
    if is_reserved(key) {
        return None;
    }
    let in_key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if key.is_empty() || !key.bytes().all(in_key) {
        return Some(format!("has {}, which is not a lower-case metadata key", quote(key)));
    }
    if CONNECTION_HEADERS.contains(&key) {
        return Some(format!("has {}, which HTTP/2 does not allow", quote(key)));
    }
    let is_text = |value: &String| value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !key.ends_with("-bin") && !values.iter().all(is_text) {
        return Some(format!("has {} with a value that is not printable ASCII", quote(key)));
    }
    None
}

/// Keys that the protocol keeps for itself; grpc-go drops them without a word.
fn is_reserved(key: &str) -> bool {
    const RESERVED: [&str; 8] = [
        "content-type",
        "grpc-encoding",
        "grpc-message",
        "grpc-message-type",
        "grpc-status",
        "grpc-timeout",
        "te",
        "user-agent",
    ];
    key.starts_with(':') || RESERVED.contains(&key)
}

/// RFC 9113 §8.2.2
const CONNECTION_HEADERS: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
