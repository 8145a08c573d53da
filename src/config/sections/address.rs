//! Which address of a target to use, and from which address of ours.

use std::net::IpAddr;

use crate::config::decode::{Context, Decode, quote};
use crate::config::yaml::emit::{Emit, Emitter};
use crate::config::yaml::tree::{Mapping, Node};

/// `preferred_ip_protocol`: the address family tried first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IpPreference {
    /// Nothing written: IPv6.
    #[default]
    Unset,
    /// `ip6`
    Ip6,
    /// `ip4`
    Ip4,
    /// Any other text, which the peer takes for IPv4.
    Other(Box<str>),
}

impl IpPreference {
    /// Whether IPv4 is preferred.
    pub fn is_ipv4(&self) -> bool {
        matches!(self, Self::Ip4 | Self::Other(_))
    }
}

impl Decode for IpPreference {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let text = String::decode(node, ctx)?;
        Some(match text.as_str() {
            "" => Self::Unset,
            "ip6" => Self::Ip6,
            "ip4" => Self::Ip4,
            _ => {
                let path = ctx.path();
                ctx.note(
                    node.position(),
                    format!("{path} should be ip4 or ip6, got {}, which works like ip4", quote(&text)),
                );
                Self::Other(text.into_boxed_str())
            }
        })
    }
}

impl Emit for IpPreference {
    fn is_empty(&self) -> bool {
        *self == Self::Unset
    }
    fn emit(&self, out: &mut Emitter) {
        out.string(match self {
            Self::Unset => "",
            Self::Ip6 => "ip6",
            Self::Ip4 => "ip4",
            Self::Other(text) => text,
        });
    }
}

/// The source address a section names; `None` if it names none or one that does not parse.
pub(super) fn source_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// Warns about a `source_ip_address` that is no address, or of a family no target will have.
pub(super) fn check_source<'t>(
    text: &str,
    preferred: &IpPreference,
    fallback: bool,
    written: &Mapping<'t>,
    ctx: &mut Context<'t>,
) {
    if text.is_empty() {
        return;
    }
    let key = ctx.key("source_ip_address");
    let family = |is_ipv4| if is_ipv4 { "IPv4" } else { "IPv6" };
    let message = match source_ip(text) {
        None => format!("{key} must be an IP address, got {}", quote(text)),
        Some(source) if !fallback && source.is_ipv4() != preferred.is_ipv4() => {
            let (source, target) = (family(source.is_ipv4()), family(preferred.is_ipv4()));
            format!("{key} is {source}, and without ip_protocol_fallback only {target} is used")
        }
        Some(_) => return,
    };
    ctx.breaks(written.position_of("source_ip_address"), message);
}
