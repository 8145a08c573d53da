//! ICMP echo (ping) over IPv4 and IPv6: one engine, shared by every probe of the process.
//!
//! One socket per probe would be quadratic, because the kernel copies each ICMP packet to each
//! raw socket. So all probes with the same family, source and `dont_fragment` share one socket,
//! and replies find their probe by sequence number.
//!
//! | File | Holds |
//! |---|---|
//! | `engine.rs` | opening, sharing and closing sockets; sending; the reader task |
//! | `waiters.rs` | which probe waits for which sequence number |
//! | `packet.rs` | bytes of ICMP messages, no I/O |
//! | `timing.rs` | the round trip from two clocks |
//! | `socket.rs` | Linux socket options and system calls |
//! | `control.rs` | memory the kernel fills: packets, senders, control messages |
//! | `error.rs` | why a ping got no reply |
//!
//! Name resolution, deadlines and metrics belong to the prober. Platforms other than Linux get an
//! engine whose every call is [`PingError::Unsupported`].

use std::{net::IpAddr, num::NonZeroU8, time::Duration};

#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod engine;
#[cfg(not(target_os = "linux"))]
#[path = "unsupported.rs"]
mod engine;
mod error;
#[cfg(target_os = "linux")]
mod packet;
#[cfg(target_os = "linux")]
mod socket;
#[cfg(target_os = "linux")]
mod timing;
#[cfg(target_os = "linux")]
mod waiters;

pub use self::{
    engine::{Engine, Ping},
    error::{PingError, Unreachable},
};

/// One echo request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EchoRequest {
    /// Where the request goes. An IPv4-mapped IPv6 address is treated as IPv4.
    pub destination: IpAddr,
    /// Interface index of a link-local IPv6 destination; 0 everywhere else.
    pub scope_id: u32,
    /// Local address to send from; `None` leaves the choice to the routing table.
    pub source: Option<IpAddr>,
    /// Hop limit of the request; `None` is the system's default (usually 64).
    pub ttl: Option<NonZeroU8>,
    /// IPv4: set the DF bit and ignore any cached path MTU. No effect on IPv6.
    pub dont_fragment: bool,
    /// Bytes after the 8-byte ICMP header; 0 means [`DEFAULT_PAYLOAD_SIZE`].
    pub payload_size: usize,
}

/// Payload bytes when none are asked for; Blackbox exporter's number.
pub const DEFAULT_PAYLOAD_SIZE: usize = 28;

/// The reply to one [`EchoRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoReply {
    /// From just before the send call to the kernel's receive time stamp; at least 1 ns.
    pub rtt: Duration,
    /// TTL (IPv4) or hop limit (IPv6) left in the reply, if the kernel told.
    pub hop_limit: Option<u8>,
}

/// What the engine is doing and has seen, for the exporter's own metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open sockets, now.
    pub sockets: usize,
    /// Requests prepared or sent and not yet answered or dropped, now.
    pub in_flight: usize,
    /// Echo replies with our identifier that no request waited for (late, repeated, altered or
    /// from another address), since start.
    pub replies_unmatched: u64,
    /// Packets the kernel dropped because a receive buffer was full, since start.
    pub replies_dropped: u64,
}
