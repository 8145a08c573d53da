//! Why a ping got no reply.

use std::{io, net::IpAddr};

/// Why a ping got no reply: one variant for each thing an operator would do differently.
///
/// The absence of any answer is not listed: the caller owns the deadline.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// A router or the destination answered our request with "destination unreachable" or
    /// "packet too big".
    #[error("{from} reports {kind}")]
    Unreachable {
        /// What cannot be reached.
        kind: Unreachable,
        /// Who says so.
        from: IpAddr,
    },
    /// The request ran out of hops.
    #[error("the hop limit ran out at {from}")]
    TtlExceeded {
        /// The router that discarded the request.
        from: IpAddr,
    },
    /// A router or the destination could not process the header of our request.
    #[error("{from} reports a parameter problem")]
    ParameterProblem {
        /// Who says so.
        from: IpAddr,
    },
    /// The request exceeds the interface's MTU with DF set, or the largest IP packet.
    #[error("the request is too large to send")]
    MessageTooBig,
    /// This machine has no route to the destination (`ENETUNREACH`, `EHOSTUNREACH`,
    /// `EADDRNOTAVAIL`, `ENETDOWN`).
    #[error("no local route to the destination")]
    NoRoute(#[source] io::Error),
    /// This machine's routes or packet filter forbid the destination (`EACCES`, `EPERM`).
    #[error("a local route or packet filter forbids the destination")]
    Prohibited(#[source] io::Error),
    /// Neither a datagram nor a raw ICMP socket may be opened.
    #[error(
        "may not open an ICMP socket: allow our group in net.ipv4.ping_group_range or grant \
         CAP_NET_RAW"
    )]
    PermissionDenied(#[source] io::Error),
    /// The source address is not ours or of the other family.
    #[error("cannot send from {address}")]
    SourceAddress {
        /// The address asked for.
        address: IpAddr,
        /// What the system said.
        source: io::Error,
    },
    /// All 65,536 sequence numbers of the shared socket are in use.
    #[error("too many pings in flight")]
    TooManyInFlight,
    /// The engine was dropped, or its socket failed, while this ping waited.
    #[error("the ICMP engine closed the socket")]
    Closed,
    /// This platform has no ICMP engine.
    #[error("ICMP probes work on Linux only")]
    Unsupported,
    /// Any other error of the socket.
    #[error("the ICMP socket failed")]
    Io(#[source] io::Error),
}

/// What an ICMP error says cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// No route to the network.
    #[error("network unreachable")]
    Network,
    /// The host does not answer on its link.
    #[error("host unreachable")]
    Host,
    /// The host has no ICMP.
    #[error("protocol unreachable")]
    Protocol,
    /// The host refuses; unusual for ICMP, but some firewalls answer like this.
    #[error("port unreachable")]
    Port,
    /// The request is larger than a link on the path and may not be fragmented there.
    #[error("fragmentation needed, path MTU {mtu}")]
    FragmentationNeeded {
        /// Bytes of the largest IP packet that fits; 0 if the router did not say.
        mtu: u32,
    },
    /// A filter forbids the traffic.
    #[error("communication prohibited")]
    Prohibited,
    /// Not all fragments of the request arrived in time.
    #[error("fragment reassembly time exceeded")]
    Reassembly,
    /// Another code of "destination unreachable".
    #[error("destination unreachable, code {code}")]
    Other {
        /// ICMP or ICMPv6 code.
        code: u8,
    },
}
