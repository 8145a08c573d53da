//! Memory that the kernel fills for received packets: bytes, sender and control messages.

#![allow(unsafe_code, reason = "socket addresses and control messages are C structures")]
#![allow(clippy::unnecessary_cast, reason = "the C types of these lengths differ between glibc and musl")]

use std::{
    ffi::c_int,
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr, slice,
    time::Duration,
};

use super::packet::{Family, Problem};

/// Room for a batch of packets, used again and again.
#[derive(Debug)]
pub(super) struct Batch {
    /// One piece of [`SLOT_SIZE`] bytes for each slot. Only pages that packets reached use memory.
    bytes: Vec<u8>,
    slots: Vec<Slot>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: vec![0; BATCH_SIZE * SLOT_SIZE], slots: vec![Slot::new(); BATCH_SIZE] }
    }
}

impl Batch {
    /// The slots, each with the memory for its packet's bytes.
    pub fn slots(&mut self) -> impl Iterator<Item = (&mut Slot, &mut [u8])> {
        self.slots.iter_mut().zip(self.bytes.chunks_exact_mut(SLOT_SIZE))
    }

    /// The packets in the first `received` slots.
    pub fn packets(&self, received: usize) -> impl Iterator<Item = Packet<'_>> {
        self.slots
            .iter()
            .zip(self.bytes.chunks_exact(SLOT_SIZE))
            .take(received)
            .filter_map(|(slot, bytes)| slot.packet(bytes))
    }
}

/// Packets read by one system call.
pub(super) const BATCH_SIZE: usize = 32;

/// Any IP packet fits, so each payload can be compared whole.
const SLOT_SIZE: usize = 1 << 16;

/// Sender and control messages of one received packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub name: Name,
    pub control: Control,
    /// Bytes of the packet.
    pub size: usize,
}

impl Slot {
    fn new() -> Self {
        Self { name: Name::new(), control: Control::new(), size: 0 }
    }

    fn packet<'a>(&self, bytes: &'a [u8]) -> Option<Packet<'a>> {
        let (from, scope_id) = self.name.address()?;
        let mut packet = Packet {
            bytes: bytes.get(..self.size)?,
            from,
            scope_id,
            wall: None,
            hop_limit: None,
            dropped: None,
        };
        self.control.for_each(|level, kind, data| match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                packet.wall = read::<libc::timespec>(data).and_then(duration);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                packet.dropped = read::<u32>(data);
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                packet.hop_limit = read::<c_int>(data).and_then(|limit| limit.try_into().ok());
            }
            _ => {}
        });
        Some(packet)
    }
}

/// A received packet: an IP packet on a raw IPv4 socket, else an ICMP message.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub bytes: &'a [u8],
    pub from: IpAddr,
    /// Interface of a link-local `from`, else 0.
    pub scope_id: u32,
    /// The kernel's time stamp, since 1970.
    pub wall: Option<Duration>,
    pub hop_limit: Option<u8>,
    /// Packets the socket had lost when this one came in, since it was opened; wraps around.
    /// Absent while there are none.
    pub dropped: Option<u32>,
}

fn duration(time: libc::timespec) -> Option<Duration> {
    let seconds = time.tv_sec.try_into().ok()?;
    Some(Duration::new(seconds, time.tv_nsec.try_into().ok()?))
}

/// An ICMP error about one of our requests, from the error queue of a datagram socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IcmpReport {
    pub problem: Problem,
    /// Who sent the error.
    pub from: IpAddr,
}

impl IcmpReport {
    /// Read the `IP_RECVERR` or `IPV6_RECVERR` control message (ip(7)).
    ///
    /// Errors of our own kernel are `None`: the send call has returned them already.
    pub fn find(control: &Control) -> Option<Self> {
        let mut found = None;
        control.for_each(|level, kind, data| {
            let family = match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_RECVERR) => Family::V4,
                (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => Family::V6,
                _ => return,
            };
            found = Self::parse(family, data);
        });
        found
    }

    fn parse(family: Family, data: &[u8]) -> Option<Self> {
        let error = read::<libc::sock_extended_err>(data)?;
        let origin = match family {
            Family::V4 => libc::SO_EE_ORIGIN_ICMP,
            Family::V6 => libc::SO_EE_ORIGIN_ICMP6,
        };
        if error.ee_origin != origin {
            return None;
        }
        let offender = data.get(mem::size_of::<libc::sock_extended_err>()..)?;
        Some(Self {
            problem: Problem::from_header(family, error.ee_type, error.ee_code, error.ee_info)?,
            from: read_address(offender)?.0,
        })
    }
}

/// A socket address as the kernel writes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub storage: libc::sockaddr_storage,
    /// Bytes in use.
    pub size: libc::socklen_t,
}

impl Name {
    /// Bytes the kernel may write.
    pub const CAPACITY: libc::socklen_t = mem::size_of::<libc::sockaddr_storage>() as _;

    pub fn new() -> Self {
        Self {
            // SAFETY: sockaddr_storage is integers only, all-zero is a valid one.
            storage: unsafe { mem::zeroed() },
            size: 0,
        }
    }

    /// Address and scope.
    pub fn address(&self) -> Option<(IpAddr, u32)> {
        let size = self.size.min(Self::CAPACITY) as usize;
        // SAFETY: the storage is initialised for its whole size, which bounds the slice.
        let bytes = unsafe { slice::from_raw_parts((&raw const self.storage).cast::<u8>(), size) };
        read_address(bytes)
    }
}

fn read_address(bytes: &[u8]) -> Option<(IpAddr, u32)> {
    match c_int::from(read::<libc::sa_family_t>(bytes)?) {
        libc::AF_INET => {
            let name = read::<libc::sockaddr_in>(bytes)?;
            let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some((address.into(), 0))
        }
        libc::AF_INET6 => {
            let name = read::<libc::sockaddr_in6>(bytes)?;
            let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some((address.into(), name.sin6_scope_id))
        }
        _ => None,
    }
}

/// Control messages of one packet, aligned as the kernel wants them.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control {
    pub bytes: [u8; Self::CAPACITY],
    /// Bytes in use.
    pub size: usize,
}

impl Control {
    /// Time stamp, hop limit and drop counter need 80 bytes, an IPv6 error report 64.
    pub const CAPACITY: usize = 256;

    pub fn new() -> Self {
        Self { bytes: [0; Self::CAPACITY], size: 0 }
    }

    /// Control messages that hold one number.
    pub fn with_number(level: c_int, kind: c_int, number: c_int) -> Self {
        let mut control = Self::new();
        let data_size = mem::size_of::<c_int>() as u32;
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute. The first header is at the start of
        // `bytes`, which is aligned for it and larger than CMSG_SPACE(4), so header and data
        // lie inside; the data is written without regard to its alignment.
        unsafe {
            control.size = libc::CMSG_SPACE(data_size) as usize;
            let header = control.bytes.as_mut_ptr().cast::<libc::cmsghdr>();
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = libc::CMSG_LEN(data_size) as _;
            ptr::write_unaligned(libc::CMSG_DATA(header).cast::<c_int>(), number);
        }
        control
    }

    /// Visit level, type and data of each message.
    pub fn for_each(&self, mut visit: impl FnMut(c_int, c_int, &[u8])) {
        // SAFETY: CMSG_LEN only computes.
        let header_size = unsafe { libc::CMSG_LEN(0) } as usize;
        let mut rest = self.bytes.get(..self.size).unwrap_or_default();
        while let Some(header) = read::<libc::cmsghdr>(rest) {
            let size = header.cmsg_len as usize;
            let Some(data) = rest.get(header_size..size) else {
                return;
            };
            visit(header.cmsg_level, header.cmsg_type, data);
            let padded = size.next_multiple_of(mem::size_of::<usize>());
            rest = rest.get(padded..).unwrap_or_default();
        }
    }
}

/// Plain C structures of integers: any bytes are a valid value.
///
/// # Safety
/// Implement it for such types only.
unsafe trait Plain: Copy {}

// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: an integer.
unsafe impl Plain for c_int {}
// SAFETY: an integer.
unsafe impl Plain for libc::sa_family_t {}
// SAFETY: integers only.
unsafe impl Plain for libc::timespec {}
// SAFETY: integers only.
unsafe impl Plain for libc::cmsghdr {}
// SAFETY: integers only.
unsafe impl Plain for libc::sock_extended_err {}
// SAFETY: integers only.
unsafe impl Plain for libc::sockaddr_in {}
// SAFETY: integers only.
unsafe impl Plain for libc::sockaddr_in6 {}

/// A value at the start of `bytes`; `None` if they are too few.
fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..mem::size_of::<T>())?;
    // SAFETY: there are enough bytes, any of them make a T, and the read needs no alignment.
    Some(unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::icmp::Unreachable;

    fn bytes_of<T: Plain>(value: &T) -> &[u8] {
        // SAFETY: the slice covers the value exactly; none of the types has padding.
        unsafe { slice::from_raw_parts(ptr::from_ref(value).cast(), mem::size_of::<T>()) }
    }

    #[test]
    fn numbers_survive_a_control_message() {
        let control = Control::with_number(libc::IPPROTO_IP, libc::IP_TTL, 61);
        let mut seen = Vec::new();
        control.for_each(|level, kind, data| seen.push((level, kind, read::<c_int>(data))));
        assert_eq!(seen, [(libc::IPPROTO_IP, libc::IP_TTL, Some(61))]);
    }

    #[test]
    fn control_messages_cut_at_any_byte_do_no_harm() {
        let whole = Control::with_number(libc::IPPROTO_IP, libc::IP_TTL, 61);
        let needed = mem::size_of::<libc::cmsghdr>() + mem::size_of::<c_int>();
        for size in 0..=whole.size {
            let mut seen = 0;
            Control { size, ..whole }.for_each(|_, _, _| seen += 1);
            assert_eq!(seen, usize::from(size >= needed), "{size} bytes");
        }
        let mut endless = whole;
        endless.bytes[..mem::size_of::<usize>()].fill(0);
        endless.for_each(|_, _, _| panic!("a message of size 0"));
    }

    #[test]
    fn error_reports_name_the_router() {
        let report = |origin, kind| libc::sock_extended_err {
            ee_errno: libc::EHOSTUNREACH as u32,
            ee_origin: origin,
            ee_type: kind,
            ee_code: 1,
            ee_pad: 0,
            ee_info: 0,
            ee_data: 0,
        };
        // SAFETY: integers only, all-zero is valid.
        let mut router: libc::sockaddr_in = unsafe { mem::zeroed() };
        router.sin_family = libc::AF_INET as _;
        router.sin_addr.s_addr = u32::from(Ipv4Addr::new(198, 51, 100, 1)).to_be();
        let parse = |error: &libc::sock_extended_err| {
            let data = [bytes_of(error), bytes_of(&router)].concat();
            for size in 0..data.len() {
                assert_eq!(IcmpReport::parse(Family::V4, &data[..size]), None, "{size} bytes");
            }
            IcmpReport::parse(Family::V4, &data)
        };
        let want = IcmpReport {
            problem: Problem::Unreachable(Unreachable::Host),
            from: "198.51.100.1".parse().unwrap(),
        };
        assert_eq!(parse(&report(libc::SO_EE_ORIGIN_ICMP, 3)), Some(want));
        assert_eq!(parse(&report(libc::SO_EE_ORIGIN_LOCAL, 3)), None);
        assert_eq!(parse(&report(libc::SO_EE_ORIGIN_ICMP, 14)), None);
    }
}
