//! Names, sockets and TLS: what probers use to reach a target. No prober's rules live here.

pub mod buffered;
pub mod connect;
pub mod dialogue;
pub mod dns;
pub mod failure;
pub mod grpc;
pub mod icmp;
pub mod quic;
pub mod resolve;
pub mod tls;

use crate::metrics::own::DialCounters;

/// What all probes share: the resolver and the ICMP sockets. One for the process.
#[derive(Debug, Default)]
pub struct Net {
    /// Names to addresses.
    pub resolver: resolve::Resolver,
    /// Echo requests over shared sockets.
    pub icmp: icmp::Engine,
    /// Connections of the http prober.
    pub dials: DialCounters,
}

impl Net {
    /// No socket is opened and no file read before the first probe.
    pub fn new() -> Self {
        Self::default()
    }
}
