//! `websocket`: upgrade, then talk in text frames.

use super::address::IpPreference;
use super::dialogue::{DialogueStep, note_ignored};
use super::http_client::{HttpClient, check_header_sources, key_position};
use crate::config::decode::Context;
use crate::config::header::{HeaderValues, same_header};
use crate::config::map::Map;
use crate::config::section::section;
use crate::config::yaml::emit::Emit as _;
use crate::config::yaml::tree::Mapping;

section! {
    /// A WebSocket connection and a dialogue.
    pub struct Websocket {
        /// Authentication and TLS; `None` if not written.
        http_config: Option<Box<HttpClient>>,
        /// Headers of the upgrade request.
        headers: Map<HeaderValues>,
        /// The dialogue after the upgrade.
        query_response: Vec<DialogueStep>,
        /// The address family tried first.
        preferred_ip_protocol: IpPreference,
        /// Use the other family if the target has no address in the preferred one.
        ip_protocol_fallback: bool = true,
    }
    check Websocket::validate
}

/// Headers that make the upgrade what it is; with one of them the peer's probes fail.
const HANDSHAKE_HEADERS: [&str; 5] =
    ["Connection", "Sec-WebSocket-Extensions", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Upgrade"];

impl Websocket {
    fn check_handshake_headers<'t>(&self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        for (name, values) in self.headers.iter() {
            let own = HANDSHAKE_HEADERS.iter().find(|own| same_header(own, name));
            if let Some(own) = own
                && !values.is_empty()
            {
                let path = ctx.key("headers");
                let message = format!("{path} may not set {own}, which belongs to the upgrade");
                ctx.breaks(key_position(written, name), message);
            }
        }
    }

    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let nested = |key| written.get(key).and_then(|node| node.mapping(&mut Vec::new()));
        if let Some(headers) = nested("headers") {
            let sources = self.headers.iter().map(|(name, values)| (name, &values.0));
            check_header_sources(sources, &headers, "headers", false, ctx);
            self.check_handshake_headers(&headers, ctx);
        }
        if let (Some(client), Some(config)) = (&self.http_config, nested("http_config")) {
            let uses = [
                ("oauth2", client.oauth2.is_some()),
                ("http_headers", client.http_headers.is_some()),
                ("proxy_url", client.proxy.url().is_some()),
                ("proxy_from_environment", client.proxy.proxy_from_environment),
            ];
            for (key, used) in uses {
                if used {
                    let path = ctx.key("http_config");
                    ctx.note(config.position_of(key), format!("{path}.{key} has no effect in websocket"));
                }
            }
        }
        note_ignored(&self.query_response, "websocket", written, ctx);
    }
}
