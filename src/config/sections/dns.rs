//! `dns`: one query, and checks on the answer.

use std::net::IpAddr;

use super::address::{self, IpPreference};
use super::tls::TlsConfig;
use crate::config::decode::{Context, Decode, fault, quote};
use crate::config::dns_names;
use crate::config::section::{Defaulted, section};
use crate::config::yaml::emit::{Emit, Emitter};
use crate::config::yaml::tree::{Mapping, Node, NodeKind};
use crate::regex::GoRegex;

section! {
    /// A DNS query and what its answer must look like.
    pub struct Dns {
        /// The address family tried first, for the server.
        preferred_ip_protocol: IpPreference,
        /// Use the other family if the server has no address in the preferred one.
        ip_protocol_fallback: bool = true,
        /// DNS over TLS (RFC 7858); needs `transport_protocol: tcp`.
        dns_over_tls: bool,
        /// For `dns_over_tls`.
        tls_config: Defaulted<TlsConfig>,
        /// The address to ask from; see [`Dns::source_ip`].
        source_ip_address: String,
        /// `udp` or `tcp`; see [`Dns::transport`].
        transport_protocol: String,
        /// Mnemonic of the class; see [`Dns::query_class`].
        query_class: String,
        /// The name to ask for. Required in a section that is written; the root without one.
        query_name: String,
        /// Mnemonic of the type; see [`Dns::query_type`].
        query_type: String,
        /// Ask the server to recurse.
        recursion_desired: bool = true,
        /// Mnemonics of the acceptable response codes; see [`Dns::accepts_rcode`].
        valid_rcodes: Vec<String>,
        /// Checks on the answer section.
        validate_answer_rrs: Defaulted<RecordChecks>,
        /// Checks on the authority section.
        validate_authority_rrs: Defaulted<RecordChecks>,
        /// Checks on the additional section.
        validate_additional_rrs: Defaulted<RecordChecks>,
    }
    check Dns::validate
}

section! {
    /// Patterns for the records of one section, each in presentation format.
    pub struct RecordChecks {
        /// Fails if any record matches any pattern.
        fail_if_matches_regexp: Vec<Pattern>,
        /// Fails unless all records match all patterns: the peer's meaning, despite the name.
        fail_if_all_match_regexp: Vec<Pattern>,
        /// Fails unless every record matches every pattern; also without records.
        fail_if_not_matches_regexp: Vec<Pattern>,
        /// Fails if no record matches any pattern; also without records.
        fail_if_none_matches_regexp: Vec<Pattern>,
    }
}

/// What a query travels over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// A connection, which DNS over TLS needs.
    Tcp,
}

impl Dns {
    /// The address to ask from, `None` for any.
    pub fn source_ip(&self) -> Option<IpAddr> {
        address::source_ip(&self.source_ip_address)
    }

    /// The transport, UDP by default; `None` if unknown, which makes the module unusable.
    pub fn transport(&self) -> Option<Transport> {
        match self.transport_protocol.as_str() {
            "" | "udp" => Some(Transport::Udp),
            "tcp" => Some(Transport::Tcp),
            _ => None,
        }
    }

    /// The class number, IN by default.
    pub fn query_class(&self) -> u16 {
        dns_names::class(&self.query_class).unwrap_or(1)
    }

    /// The type number, ANY by default.
    pub fn query_type(&self) -> u16 {
        dns_names::record_type(&self.query_type).unwrap_or(255)
    }

    /// Whether an answer with this response code is acceptable; NOERROR alone by default.
    pub fn accepts_rcode(&self, rcode: u16) -> bool {
        if self.valid_rcodes.is_empty() {
            rcode == 0
        } else {
            self.valid_rcodes.iter().any(|name| dns_names::rcode(name) == Some(rcode))
        }
    }

    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let at = |key| written.position_of(key);
        let name = written.get("query_name");
        let is_text = name.is_none_or(|node| matches!(node.kind(), NodeKind::Scalar(_)));
        if self.query_name.is_empty() && is_text {
            ctx.error_here(at("query_name"), "needs a query_name");
        }
        let names = [
            ("query_class", &self.query_class, dns_names::class as Lookup),
            ("query_type", &self.query_type, dns_names::record_type),
        ];
        for (key, value, lookup) in names {
            if !value.is_empty() && lookup(value).is_none() {
                let upper = value.to_ascii_uppercase();
                let hint = match lookup(&upper) {
                    Some(_) => format!("; did you mean {upper}?"),
                    None => String::new(),
                };
                let message = format!(
                    "{} must be a DNS {}, got {}{hint}",
                    ctx.key(key),
                    key.trim_start_matches("query_"),
                    quote(value)
                );
                ctx.error(at(key), message);
            }
        }

        address::check_source(
            &self.source_ip_address,
            &self.preferred_ip_protocol,
            self.ip_protocol_fallback,
            written,
            ctx,
        );
        self.tls_config.warn(self.dns_over_tls, written, ctx);
        match self.transport() {
            None => {
                let message = format!(
                    "{} must be udp or tcp, got {}",
                    ctx.key("transport_protocol"),
                    quote(&self.transport_protocol)
                );
                ctx.breaks(at("transport_protocol"), message);
            }
            Some(Transport::Udp) if self.dns_over_tls => {
                let message = format!("{} needs transport_protocol: tcp", ctx.key("dns_over_tls"));
                ctx.breaks(at("dns_over_tls"), message);
            }
            Some(_) => {}
        }
        for name in &self.valid_rcodes {
            if dns_names::rcode(name).is_none() {
                let message = format!(
                    "{} has {}, which is not a DNS response code",
                    ctx.key("valid_rcodes"),
                    quote(name)
                );
                ctx.note(at("valid_rcodes"), message);
            }
        }
        if self.valid_rcodes.is_empty() && written.get("valid_rcodes").is_some_and(|node| !node.is_null()) {
            let message = format!("{} is empty, which means [NOERROR]", ctx.key("valid_rcodes"));
            ctx.note(at("valid_rcodes"), message);
        }
    }
}

type Lookup = fn(&str) -> Option<u16>;

/// A pattern that may be invalid: the peer finds out only when a record reaches it.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// Ready to match.
    Valid(GoRegex),
    /// As written; a record that reaches it fails the probe.
    Invalid(Box<str>),
}

impl Pattern {
    /// As written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Valid(regex) => regex.as_str(),
            Self::Invalid(text) => text,
        }
    }
}

impl Decode for Pattern {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let text = String::decode(node, ctx)?;
        Some(match GoRegex::parse(&text) {
            Ok(regex) => Self::Valid(regex),
            Err(error) => {
                let path = ctx.path();
                let fault = fault(node, &text, error);
                let message = format!("{path} must be a regular expression, got {fault}");
                ctx.note(node.position(), message);
                Self::Invalid(text.into())
            }
        })
    }
}

impl Emit for Pattern {
    fn is_empty(&self) -> bool {
        false
    }
    fn emit(&self, out: &mut Emitter) {
        match self {
            Self::Valid(regex) => regex.emit(out),
            Self::Invalid(text) => out.string(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_filled_in() {
        let mut dns = Dns::default();
        assert_eq!(dns.transport(), Some(Transport::Udp));
        assert_eq!((dns.query_class(), dns.query_type()), (1, 255));
        assert!(dns.accepts_rcode(0) && !dns.accepts_rcode(3));
        dns.valid_rcodes = vec!["NXDOMAIN".to_owned()];
        assert!(!dns.accepts_rcode(0) && dns.accepts_rcode(3));
    }
}
