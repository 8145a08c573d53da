//! One Linux ICMP socket: options, control messages and system calls.
//!
//! Datagram ("ping") sockets need no privilege but membership in `net.ipv4.ping_group_range`; the
//! kernel owns their identifier and delivers replies only, ICMP errors wait in an error queue. Raw
//! sockets need `CAP_NET_RAW` and see every ICMP packet of the machine, errors included.

#![allow(unsafe_code, reason = "setsockopt, sendmsg and recvmmsg have no safe wrapper for this")]
#![allow(clippy::unnecessary_cast, reason = "the C types of these lengths differ between glibc and musl")]

use std::{
    ffi::c_int,
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    num::NonZeroU8,
    os::fd::{AsRawFd, RawFd},
    ptr,
    sync::{Mutex, PoisonError},
};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    PingError,
    control::{BATCH_SIZE, Batch, Control, IcmpReport, Name},
    packet::{EchoId, Family, parse_request},
};

/// What pings must have in common to share a socket. The hop limit travels with each packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SocketKey {
    pub family: Family,
    /// Of `family`.
    pub source: Option<IpAddr>,
    pub dont_fragment: bool,
}

/// A non-blocking ICMP socket.
#[derive(Debug)]
pub(super) struct IcmpSocket {
    socket: Socket,
    family: Family,
    kind: Kind,
    identifier: u16,
    /// The hop limit set on an IPv6 datagram socket; -1 is the route's.
    sticky_hop_limit: Mutex<c_int>,
}

/// What sort of ICMP socket the system let us open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Datagram,
    Raw,
}

impl IcmpSocket {
    /// Open a datagram socket, or a raw one where that is refused.
    ///
    /// # Errors
    /// [`PingError::PermissionDenied`], [`PingError::SourceAddress`] or [`PingError::Io`].
    pub fn open(key: &SocketKey) -> Result<Self, PingError> {
        let (socket, kind) = open_any_kind(key.family)?;
        socket.set_nonblocking(true).map_err(PingError::Io)?;
        let family = key.family;
        let mut icmp =
            Self { socket, family, kind, identifier: rand::random(), sticky_hop_limit: Mutex::new(-1) };
        if key.dont_fragment {
            icmp.never_fragment().map_err(PingError::Io)?;
        }
        icmp.set_extras();
        icmp.bind(key)?;
        if kind == Kind::Raw {
            // Without it we only discard more ourselves.
            let _ = icmp.filter_by_identifier();
        }
        Ok(icmp)
    }

    /// Register with the runtime that this is called in.
    ///
    /// # Errors
    /// As epoll says.
    pub fn into_async(self) -> io::Result<AsyncFd<Self>> {
        // Error readiness tells of the error queue, write readiness of room to send.
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::ERROR;
        // SAFETY: `as_raw_fd` always gives the one descriptor that this value owns and keeps open
        // until it is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(self, interest) };
        registered.map_err(io::Error::from)
    }

    /// DF on every IPv4 packet; IPv6 routers never fragment.
    ///
    /// Left alone, the kernel sets DF on packets that fit the cached path MTU and fragments larger
    /// ones, as it does for the peer. PROBE ignores that cache, so an old answer cannot fail a new probe.
    fn never_fragment(&self) -> io::Result<()> {
        if self.family == Family::V6 {
            return Ok(());
        }
        self.set_option(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_PROBE)
    }

    /// Set the options that sandboxed kernels may lack: a ping works without them, but tells less.
    fn set_extras(&self) {
        let on: c_int = 1;
        let _ = self.set_option(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on);
        let _ = self.set_option(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &on);
        let (level, receive_hop_limit, receive_errors) = match self.family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_RECVTTL, libc::IP_RECVERR),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, libc::IPV6_RECVERR),
        };
        let _ = self.set_option(level, receive_hop_limit, &on);
        match self.kind {
            Kind::Datagram => {
                let _ = self.set_option(level, receive_errors, &on);
            }
            Kind::Raw => {
                let _ = self.filter_by_type();
            }
        }
        let _ = self.socket.set_broadcast(true);

        // Exceeding the system-wide limits needs CAP_NET_ADMIN.
        let forced = self.set_option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER_SIZE);
        if forced.is_err() {
            let _ = self.set_option(libc::SOL_SOCKET, libc::SO_RCVBUF, &BUFFER_SIZE);
        }
        let forced = self.set_option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &BUFFER_SIZE);
        if forced.is_err() {
            let _ = self.set_option(libc::SOL_SOCKET, libc::SO_SNDBUF, &BUFFER_SIZE);
        }
    }

    /// Bind, and learn the identifier that the kernel gives a datagram socket: its "port".
    fn bind(&mut self, key: &SocketKey) -> Result<(), PingError> {
        let any = match key.family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let address = SocketAddr::new(key.source.unwrap_or(any), 0);
        self.socket.bind(&address.into()).map_err(|source| match key.source {
            Some(address) => PingError::SourceAddress { address, source },
            None => PingError::Io(source),
        })?;
        if self.kind == Kind::Datagram {
            let local = self.socket.local_addr().map_err(PingError::Io)?;
            self.identifier = local.as_socket().map_or(self.identifier, |local| local.port());
        }
        Ok(())
    }

    /// Have the kernel drop all other types before it copies them, above all the requests that a
    /// ping of our own machine would deliver back to us.
    fn filter_by_type(&self) -> io::Result<()> {
        match self.family {
            Family::V4 => {
                let mut blocked = u32::MAX;
                for kind in self.family.wanted_types() {
                    blocked &= !(1 << kind);
                }
                self.set_option(libc::SOL_RAW, ICMP_FILTER, &blocked)
            }
            Family::V6 => {
                let mut blocked = [u32::MAX; 8];
                for kind in self.family.wanted_types() {
                    blocked[usize::from(kind / 32)] &= !(1 << (kind % 32));
                }
                self.set_option(libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &blocked)
            }
        }
    }

    /// Have the kernel drop echo replies to other sockets and processes.
    fn filter_by_identifier(&self) -> io::Result<()> {
        // Load the type; not a reply: accept; load the identifier; not ours: drop.
        let reply = u32::from(self.family.echo_reply());
        let identifier = u32::from(self.identifier);
        let is_reply = instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 2, reply);
        let is_ours = instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, identifier);
        let accept = instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX);
        let drop = instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0);
        match self.family {
            // The program sees the IP header first, whose size goes to the index register.
            Family::V4 => self.socket.attach_filter(&[
                instruction(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
                instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0, 0),
                is_reply,
                instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, 4),
                is_ours,
                accept,
                drop,
            ]),
            Family::V6 => self.socket.attach_filter(&[
                instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0),
                is_reply,
                instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 4),
                is_ours,
                accept,
                drop,
            ]),
        }
    }

    fn set_option<T: Copy>(&self, level: c_int, name: c_int, value: &T) -> io::Result<()> {
        // SAFETY: the pointer and the size describe `value`, which the kernel only reads.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                name,
                ptr::from_ref(value).cast(),
                mem::size_of::<T>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn family(&self) -> Family {
        self.family
    }

    /// The identifier in our requests and their replies.
    pub fn identifier(&self) -> u16 {
        self.identifier
    }

    /// Send one request without blocking.
    ///
    /// # Errors
    /// As the kernel says. On a datagram socket that may be an ICMP error about an earlier
    /// request: read the error queue and send again.
    pub fn send(
        &self,
        packet: &[u8],
        destination: IpAddr,
        scope_id: u32,
        hop_limit: Option<NonZeroU8>,
    ) -> io::Result<()> {
        // Raw IPv6 sockets refuse a port, the others ignore it.
        let destination = match destination {
            IpAddr::V4(address) => SocketAddrV4::new(address, 0).into(),
            IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, scope_id).into(),
        };
        if self.kind == Kind::Raw || self.family == Family::V4 {
            return self.send_message(packet, &destination, hop_limit);
        }
        // Before Linux 5.18 IPv6 datagram sockets ignored control messages (commit 13651224c00b),
        // so the limit is also set on the socket, which must not change until the packet is out.
        let wanted = hop_limit.map_or(-1, |limit| c_int::from(limit.get()));
        let mut current = self.sticky_hop_limit.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != wanted {
            self.set_option(libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, &wanted)?;
            *current = wanted;
        }
        self.send_message(packet, &destination, hop_limit)
    }

    fn send_message(
        &self,
        packet: &[u8],
        destination: &SockAddr,
        hop_limit: Option<NonZeroU8>,
    ) -> io::Result<()> {
        let mut parts = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        let mut control = hop_limit.map(|limit| {
            let (level, kind) = match self.family {
                Family::V4 => (libc::IPPROTO_IP, libc::IP_TTL),
                Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
            };
            Control::with_number(level, kind, c_int::from(limit.get()))
        });
        let mut header = empty_header();
        header.msg_name = destination.as_ptr().cast_mut().cast();
        header.msg_namelen = destination.len();
        header.msg_iov = &raw mut parts;
        header.msg_iovlen = 1;
        if let Some(control) = &mut control {
            header.msg_control = control.bytes.as_mut_ptr().cast();
            header.msg_controllen = control.size as _;
        }
        // SAFETY: name, parts and control outlive the call, their lengths are right, and the
        // kernel only reads them.
        let sent = unsafe { libc::sendmsg(self.socket.as_raw_fd(), &raw const header, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Receive what is there, at most a batch, without blocking; returns the number of packets.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing. On a datagram socket it may be an ICMP error, which is
    /// also in the error queue.
    pub fn receive(&self, batch: &mut Batch) -> io::Result<usize> {
        let mut parts = [EMPTY_PART; BATCH_SIZE];
        let mut headers = [const { empty_message() }; BATCH_SIZE];
        for ((header, part), (slot, bytes)) in headers.iter_mut().zip(&mut parts).zip(batch.slots()) {
            part.iov_base = bytes.as_mut_ptr().cast();
            part.iov_len = bytes.len();
            prepare_to_receive(&mut header.msg_hdr, part, &mut slot.name, &mut slot.control);
        }
        // SAFETY: each header points to memory of the given lengths that outlives the call.
        let received = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH_SIZE as _,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else {
            return Err(io::Error::last_os_error());
        };
        for ((slot, _), header) in batch.slots().zip(&headers).take(received) {
            slot.size = header.msg_len as usize;
            slot.name.size = header.msg_hdr.msg_namelen;
            slot.control.size = header.msg_hdr.msg_controllen as usize;
        }
        Ok(received)
    }

    /// Take one entry from the error queue, if there is one.
    ///
    /// # Errors
    /// As the kernel says; an empty queue is `Ok(None)`.
    pub fn receive_error(&self) -> io::Result<Option<QueuedError>> {
        let mut quoted = [0_u8; 8];
        let mut part = libc::iovec { iov_base: quoted.as_mut_ptr().cast(), iov_len: quoted.len() };
        let mut name = Name::new();
        let mut control = Control::new();
        let mut header = empty_header();
        prepare_to_receive(&mut header, &mut part, &mut name, &mut control);
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: the header points to memory of the given lengths that outlives the call.
        let size = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut header, flags) };
        let Ok(size) = usize::try_from(size) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(error),
            };
        };
        name.size = header.msg_namelen;
        control.size = header.msg_controllen as usize;
        Ok(Some(QueuedError {
            id: quoted.get(..size).and_then(|quoted| parse_request(self.family, quoted)),
            destination: name.address().map(|(address, _)| address),
            report: IcmpReport::find(&control),
        }))
    }
}

/// An entry of the error queue: our request's header, its destination, and what went wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueuedError {
    pub id: Option<EchoId>,
    pub destination: Option<IpAddr>,
    pub report: Option<IcmpReport>,
}

fn prepare_to_receive(
    header: &mut libc::msghdr,
    part: &mut libc::iovec,
    name: &mut Name,
    control: &mut Control,
) {
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header.msg_name = (&raw mut name.storage).cast();
    header.msg_namelen = Name::CAPACITY;
    header.msg_control = control.bytes.as_mut_ptr().cast();
    header.msg_controllen = Control::CAPACITY as _;
}

const EMPTY_PART: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

const fn empty_header() -> libc::msghdr {
    // SAFETY: null pointers and zero lengths are valid; some platforms add private padding, so
    // there is no literal for it.
    unsafe { mem::zeroed() }
}

const fn empty_message() -> libc::mmsghdr {
    libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 }
}

impl AsRawFd for IcmpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn open_any_kind(family: Family) -> Result<(Socket, Kind), PingError> {
    let (domain, protocol) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    // Refusals differ by kernel and sandbox (EACCES, EPERM, EPROTONOSUPPORT), so any will do.
    if let Ok(socket) = Socket::new(domain, Type::DGRAM, Some(protocol)) {
        return Ok((socket, Kind::Datagram));
    }
    match Socket::new(domain, Type::RAW, Some(protocol)) {
        Ok(socket) => Ok((socket, Kind::Raw)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(PingError::PermissionDenied(error))
        }
        Err(error) => Err(PingError::Io(error)),
    }
}

fn instruction(code: u32, jump_true: u8, jump_false: u8, operand: u32) -> SockFilter {
    SockFilter::new(code as u16, jump_true, jump_false, operand)
}

/// Bytes of each socket buffer. The receive buffer holds the replies of a burst until the reader
/// runs. The send buffer also holds requests that wait for address resolution: with the usual
/// 208 KiB some 300 dead hosts on our link would block all other pings for seconds.
const BUFFER_SIZE: c_int = 4 << 20;

/// `linux/icmp.h`: the bits of an u32 are types to block.
const ICMP_FILTER: c_int = 1;

/// `linux/icmpv6.h`: the bits of eight u32 are types to block.
const ICMPV6_FILTER: c_int = 1;
