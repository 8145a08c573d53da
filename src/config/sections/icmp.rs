//! `icmp`: one echo request.

use std::net::IpAddr;

use super::address::{self, IpPreference};
use super::note_unused;
use crate::config::decode::Context;
use crate::config::section::section;
use crate::config::yaml::tree::Mapping;

/// Largest echo payload an IPv6 packet without extension headers holds: 65,535 less the
/// 8 bytes of the ICMPv6 header.
const MAX_PAYLOAD: i64 = 65_527;

section! {
    /// An ICMP or ICMPv6 echo request.
    pub struct Icmp {
        /// The address family tried first.
        preferred_ip_protocol: IpPreference,
        /// Use the other family if the target has no address in the preferred one.
        ip_protocol_fallback: bool = true,
        /// The address to send from; see [`Icmp::source_ip`].
        source_ip_address: String,
        /// Bytes of payload; 0 for the default payload.
        payload_size: i64,
        /// Forbid fragmentation of IPv4 packets.
        dont_fragment: bool,
        /// Hop limit, 0 to 255; 0 for the system's.
        ttl: i64 = 64,
    }
    check Icmp::validate
}

impl Icmp {
    /// The address to send from, `None` for any.
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
        if self.dont_fragment && !self.preferred_ip_protocol.is_ipv4() && !self.ip_protocol_fallback {
            note_unused("dont_fragment", "on IPv6, and nothing else is used", written, ctx);
        }
        if !(0..=255).contains(&self.ttl) {
            let message = format!("{} must be 0 to 255, got {}", ctx.key("ttl"), self.ttl);
            ctx.error(written.position_of("ttl"), message);
        }
        if !(0..=MAX_PAYLOAD).contains(&self.payload_size) {
            let message =
                format!("{} must be 0 to {MAX_PAYLOAD}, got {}", ctx.key("payload_size"), self.payload_size);
            ctx.breaks(written.position_of("payload_size"), message);
        }
    }
}
