//! Bytes of ICMP (RFC 792) and ICMPv6 (RFC 4443) messages: no I/O, no clocks.
//!
//! Everything that is read here comes from the network: a message that is cut short or odd is
//! `None`, never a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{PingError, Unreachable};

/// Which protocol a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    /// ICMP over IPv4.
    V4,
    /// ICMPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    const fn echo_request(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    /// Type of an echo reply.
    pub const fn echo_reply(self) -> u8 {
        match self {
            Self::V4 => ICMP_ECHO_REPLY,
            Self::V6 => ICMPV6_ECHO_REPLY,
        }
    }

    /// Types we want to read: the echo reply and every error.
    pub const fn wanted_types(self) -> &'static [u8] {
        match self {
            Self::V4 => &[ICMP_ECHO_REPLY, ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM],
            Self::V6 => &[
                ICMPV6_UNREACHABLE,
                ICMPV6_TOO_BIG,
                ICMPV6_TIME_EXCEEDED,
                ICMPV6_PARAMETER_PROBLEM,
                ICMPV6_ECHO_REPLY,
            ],
        }
    }
}

/// Identifier and sequence number of an echo message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EchoId {
    /// The same for all requests of one socket.
    pub identifier: u16,
    /// Unique among the requests in flight on one socket.
    pub sequence: u16,
}

/// The data of one echo request: a random cookie, then bytes that count up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Payload {
    /// Cut when the payload is shorter.
    pub cookie: [u8; 8],
    /// Bytes, cookie included; at most [`MAX_PAYLOAD_SIZE`].
    pub size: u16,
}

/// Bytes that fit into the largest ICMPv6 message. IPv4 holds 20 fewer, which the kernel checks.
pub(super) const MAX_PAYLOAD_SIZE: u16 = u16::MAX - HEADER_SIZE as u16;

impl Payload {
    fn cookie_part(&self) -> &[u8] {
        let size = self.cookie.len().min(usize::from(self.size));
        self.cookie.get(..size).unwrap_or_default()
    }

    fn filler(&self) -> impl Iterator<Item = u8> {
        (self.cookie_part().len()..usize::from(self.size)).map(|position| position as u8)
    }

    /// Whether `received` is this payload, byte for byte.
    pub fn matches(&self, received: &[u8]) -> bool {
        received.len() == usize::from(self.size)
            && received
                .strip_prefix(self.cookie_part())
                .is_some_and(|rest| self.filler().eq(rest.iter().copied()))
    }
}

/// The echo request, ICMP header included.
///
/// The IPv4 checksum is filled in; the kernel computes ICMPv6's, which covers the addresses.
pub(super) fn echo_request(family: Family, id: EchoId, payload: &Payload) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_SIZE + usize::from(payload.size));
    message.extend([family.echo_request(), 0, 0, 0]);
    message.extend(id.identifier.to_be_bytes());
    message.extend(id.sequence.to_be_bytes());
    message.extend(payload.cookie_part());
    message.extend(payload.filler());
    if family == Family::V4 {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// A received message that concerns an echo request, perhaps one of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// An echo reply.
    Reply { id: EchoId, payload: &'a [u8] },
    /// An error about an echo request to `destination`.
    Problem { id: EchoId, destination: IpAddr, problem: Problem },
}

/// What an ICMP error says about our request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Unreachable(Unreachable),
    TtlExceeded,
    Parameter,
}

impl Problem {
    /// Read type, code and the second header word (an MTU, where there is one) of an error.
    pub fn from_header(family: Family, kind: u8, code: u8, word: u32) -> Option<Self> {
        match family {
            Family::V4 => Self::from_icmp(kind, code, word),
            Family::V6 => Self::from_icmpv6(kind, code, word),
        }
    }

    /// Codes: RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1; the MTU: RFC 1191 §4.
    fn from_icmp(kind: u8, code: u8, word: u32) -> Option<Self> {
        let unreachable = match (kind, code) {
            (ICMP_UNREACHABLE, 0 | 6 | 11) => Unreachable::Network,
            (ICMP_UNREACHABLE, 1 | 7 | 8 | 12) => Unreachable::Host,
            (ICMP_UNREACHABLE, 2) => Unreachable::Protocol,
            (ICMP_UNREACHABLE, 3) => Unreachable::Port,
            // The upper half is unused and, in the past, was not always zero.
            (ICMP_UNREACHABLE, 4) => Unreachable::FragmentationNeeded { mtu: word & 0xffff },
            (ICMP_UNREACHABLE, 9 | 10 | 13) => Unreachable::Prohibited,
            (ICMP_UNREACHABLE, code) => Unreachable::Other { code },
            (ICMP_TIME_EXCEEDED, 0) => return Some(Self::TtlExceeded),
            (ICMP_TIME_EXCEEDED, _) => Unreachable::Reassembly,
            (ICMP_PARAMETER_PROBLEM, _) => return Some(Self::Parameter),
            _ => return None,
        };
        Some(Self::Unreachable(unreachable))
    }

    /// Codes: RFC 4443 §3.
    fn from_icmpv6(kind: u8, code: u8, word: u32) -> Option<Self> {
        let unreachable = match (kind, code) {
            (ICMPV6_UNREACHABLE, 0) => Unreachable::Network,
            (ICMPV6_UNREACHABLE, 1 | 5 | 6) => Unreachable::Prohibited,
            (ICMPV6_UNREACHABLE, 3) => Unreachable::Host,
            (ICMPV6_UNREACHABLE, 4) => Unreachable::Port,
            (ICMPV6_UNREACHABLE, code) => Unreachable::Other { code },
            (ICMPV6_TOO_BIG, _) => Unreachable::FragmentationNeeded { mtu: word },
            (ICMPV6_TIME_EXCEEDED, 0) => return Some(Self::TtlExceeded),
            (ICMPV6_TIME_EXCEEDED, _) => Unreachable::Reassembly,
            (ICMPV6_PARAMETER_PROBLEM, _) => return Some(Self::Parameter),
            _ => return None,
        };
        Some(Self::Unreachable(unreachable))
    }

    /// The error for the caller, reported by `from`.
    pub fn reported_by(self, from: IpAddr) -> PingError {
        match self {
            Self::Unreachable(kind) => PingError::Unreachable { kind, from },
            Self::TtlExceeded => PingError::TtlExceeded { from },
            Self::Parameter => PingError::ParameterProblem { from },
        }
    }
}

/// Read what a raw IPv4 socket delivers: an IP packet.
///
/// Its ICMP checksum is verified here, because the kernel delivers to raw sockets before it looks
/// at ICMP.
pub(super) fn parse_ip_packet(packet: &[u8]) -> Option<Message<'_>> {
    let (_, message) = split_ipv4(packet)?;
    (checksum(message) == 0).then(|| parse_message(Family::V4, message)).flatten()
}

/// Read what the other socket kinds deliver: an ICMP message.
pub(super) fn parse_message(family: Family, message: &[u8]) -> Option<Message<'_>> {
    let (header, body) = message.split_first_chunk::<HEADER_SIZE>()?;
    let [kind, code, _, _, word @ ..] = *header;
    if kind == family.echo_reply() {
        let id = echo_id(header);
        return (code == 0).then_some(Message::Reply { id, payload: body });
    }
    let problem = Problem::from_header(family, kind, code, u32::from_be_bytes(word))?;
    let (destination, quoted) = match family {
        Family::V4 => split_ipv4(body)?,
        Family::V6 => split_ipv6(body)?,
    };
    Some(Message::Problem { id: parse_request(family, quoted)?, destination, problem })
}

/// Read the header of an echo request, as quoted by an error.
pub(super) fn parse_request(family: Family, message: &[u8]) -> Option<EchoId> {
    let (header, _) = message.split_first_chunk::<HEADER_SIZE>()?;
    (header[0] == family.echo_request() && header[1] == 0).then(|| echo_id(header))
}

fn echo_id(header: &[u8; HEADER_SIZE]) -> EchoId {
    let [_, _, _, _, i1, i2, s1, s2] = *header;
    EchoId { identifier: u16::from_be_bytes([i1, i2]), sequence: u16::from_be_bytes([s1, s2]) }
}

/// Destination and ICMP bytes of an IPv4 packet that may be cut short after its header.
fn split_ipv4(packet: &[u8]) -> Option<(IpAddr, &[u8])> {
    let header = packet.first_chunk::<20>()?;
    let size = usize::from(header[0] & 0x0f) * 4;
    let is_first_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    if header[0] >> 4 != 4 || size < 20 || header[9] != IPPROTO_ICMP || !is_first_fragment {
        return None;
    }
    let [.., a, b, c, d] = *header;
    Some((Ipv4Addr::new(a, b, c, d).into(), packet.get(size..)?))
}

/// Destination and ICMPv6 bytes of an IPv6 packet that may be cut short after its headers.
///
/// The only extension header that our own requests carry is the fragment header.
fn split_ipv6(packet: &[u8]) -> Option<(IpAddr, &[u8])> {
    let (header, body) = packet.split_first_chunk::<40>()?;
    let (_, destination) = header.split_last_chunk::<16>()?;
    let destination = Ipv6Addr::from(*destination).into();
    if header[0] >> 4 != 6 {
        return None;
    }
    match header[6] {
        IPPROTO_ICMPV6 => Some((destination, body)),
        IPPROTO_FRAGMENT => {
            let (fragment, body) = body.split_first_chunk::<8>()?;
            let is_first = u16::from_be_bytes([fragment[2], fragment[3]]) & !0b111 == 0;
            (fragment[0] == IPPROTO_ICMPV6 && is_first).then_some((destination, body))
        }
        _ => None,
    }
}

/// The Internet checksum (RFC 1071); 0 over a message that includes its correct checksum.
fn checksum(message: &[u8]) -> u16 {
    let (words, rest) = message.as_chunks::<2>();
    let words = words.iter().copied().chain(rest.iter().map(|&last| [last, 0]));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Bytes before the payload of an echo message.
const HEADER_SIZE: usize = 8;

const ICMP_ECHO_REPLY: u8 = 0;
const ICMP_UNREACHABLE: u8 = 3;
const ICMP_TIME_EXCEEDED: u8 = 11;
const ICMP_PARAMETER_PROBLEM: u8 = 12;
const ICMPV6_UNREACHABLE: u8 = 1;
const ICMPV6_TOO_BIG: u8 = 2;
const ICMPV6_TIME_EXCEEDED: u8 = 3;
const ICMPV6_PARAMETER_PROBLEM: u8 = 4;
const ICMPV6_ECHO_REPLY: u8 = 129;

const IPPROTO_ICMP: u8 = 1;
const IPPROTO_FRAGMENT: u8 = 44;
const IPPROTO_ICMPV6: u8 = 58;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: EchoId = EchoId { identifier: 0x1234, sequence: 0xfffe };
    const COOKIE: [u8; 8] = *b"\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8";
    const PAYLOAD: Payload = Payload { cookie: COOKIE, size: 11 };

    #[test]
    fn requests_are_built_to_the_byte() {
        let v4 = b"\x08\x00\x41\x2d\x12\x34\xff\xfe\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\x08\x09\x0a";
        assert_eq!(echo_request(Family::V4, ID, &PAYLOAD), v4);
        let v6 = b"\x80\x00\x00\x00\x12\x34\xff\xfe\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\x08\x09\x0a";
        assert_eq!(echo_request(Family::V6, ID, &PAYLOAD), v6);
        let short = Payload { size: 3, ..PAYLOAD };
        let cut = b"\x80\x00\x00\x00\x12\x34\xff\xfe\xa1\xa2\xa3";
        assert_eq!(echo_request(Family::V6, ID, &short), cut);
    }

    #[test]
    fn checksums_follow_rfc_1071() {
        let cases: &[(&[u8], u16)] = &[
            (b"", 0xffff),
            (b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", !0xddf2),
            (b"\xff\xff\xff\xff", 0),
            (b"\x01", 0xfeff),
        ];
        for (message, want) in cases {
            assert_eq!(checksum(message), *want, "{message:02x?}");
        }
        assert_eq!(checksum(&echo_request(Family::V4, ID, &PAYLOAD)), 0);
    }

    #[test]
    fn payloads_match_byte_for_byte() {
        let right = [&COOKIE[..], b"\x08\x09\x0a"].concat();
        assert!(PAYLOAD.matches(&right));
        for position in 0..right.len() {
            let mut wrong = right.clone();
            wrong[position] ^= 1;
            assert!(!PAYLOAD.matches(&wrong), "byte {position} altered");
            assert!(!PAYLOAD.matches(&right[..position]), "cut at {position}");
        }
        assert!(!PAYLOAD.matches(&[&right[..], b"\x0b"].concat()), "longer");
        assert!(Payload { size: 2, ..PAYLOAD }.matches(&COOKIE[..2]));
        assert!(Payload { size: 0, ..PAYLOAD }.matches(b""));
    }

    fn echo_reply(family: Family) -> Vec<u8> {
        let mut reply = echo_request(family, ID, &PAYLOAD);
        reply[0] = family.echo_reply();
        fix_checksum(&mut reply);
        reply
    }

    fn fix_checksum(message: &mut [u8]) {
        message[2..4].fill(0);
        let sum = checksum(message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }

    fn ipv4_packet(options: &[u8], message: &[u8]) -> Vec<u8> {
        let first = 0x45 + (options.len() / 4) as u8;
        let mut packet = vec![first, 0, 0, 0, 0, 0, 0x40, 0, 64, IPPROTO_ICMP, 0, 0];
        packet.extend([192, 0, 2, 1]);
        packet.extend([192, 0, 2, 9]);
        packet.extend(options);
        packet.extend(message);
        packet
    }

    fn ipv6_packet(fragment: bool, message: &[u8]) -> Vec<u8> {
        let next = if fragment { IPPROTO_FRAGMENT } else { IPPROTO_ICMPV6 };
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        packet.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend("2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
        if fragment {
            packet.extend([IPPROTO_ICMPV6, 0, 0, 1, 0, 0, 0, 7]);
        }
        packet.extend(message);
        packet
    }

    fn error_about(kind: u8, code: u8, word: u32, packet: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0];
        message.extend(word.to_be_bytes());
        message.extend(packet);
        fix_checksum(&mut message);
        message
    }

    #[test]
    fn replies_are_read() {
        let payload = &echo_reply(Family::V4)[8..];
        let want = Some(Message::Reply { id: ID, payload });
        let reply = echo_reply(Family::V4);
        assert_eq!(parse_message(Family::V4, &reply), want);
        assert_eq!(parse_message(Family::V6, &echo_reply(Family::V6)), want);
        assert_eq!(parse_ip_packet(&ipv4_packet(b"", &reply)), want);
        assert_eq!(parse_ip_packet(&ipv4_packet(&[1; 8], &reply)), want);
    }

    #[test]
    fn errors_about_a_request_are_read() {
        use Unreachable::*;
        let v4 = ipv4_packet(b"", &echo_request(Family::V4, ID, &PAYLOAD)[..8]);
        let v4_options = ipv4_packet(&[1; 40], &echo_request(Family::V4, ID, &PAYLOAD)[..8]);
        let v6 = ipv6_packet(false, &echo_request(Family::V6, ID, &PAYLOAD));
        let v6_fragment = ipv6_packet(true, &echo_request(Family::V6, ID, &PAYLOAD));
        let cases = [
            (Family::V4, 3, 0, 0, &v4, Problem::Unreachable(Network)),
            (Family::V4, 3, 1, 0, &v4, Problem::Unreachable(Host)),
            (Family::V4, 3, 1, 0, &v4_options, Problem::Unreachable(Host)),
            (Family::V4, 3, 2, 0, &v4, Problem::Unreachable(Protocol)),
            (Family::V4, 3, 3, 0, &v4, Problem::Unreachable(Port)),
            (Family::V4, 3, 4, 0xabcd_0578, &v4, Problem::Unreachable(FragmentationNeeded { mtu: 1400 })),
            (Family::V4, 3, 5, 0, &v4, Problem::Unreachable(Other { code: 5 })),
            (Family::V4, 3, 13, 0, &v4, Problem::Unreachable(Prohibited)),
            (Family::V4, 11, 0, 0, &v4, Problem::TtlExceeded),
            (Family::V4, 11, 1, 0, &v4, Problem::Unreachable(Reassembly)),
            (Family::V4, 12, 0, 0, &v4, Problem::Parameter),
            (Family::V6, 1, 0, 0, &v6, Problem::Unreachable(Network)),
            (Family::V6, 1, 1, 0, &v6, Problem::Unreachable(Prohibited)),
            (Family::V6, 1, 2, 0, &v6, Problem::Unreachable(Other { code: 2 })),
            (Family::V6, 1, 3, 0, &v6, Problem::Unreachable(Host)),
            (Family::V6, 1, 4, 0, &v6, Problem::Unreachable(Port)),
            (Family::V6, 2, 0, 1280, &v6_fragment, Problem::Unreachable(FragmentationNeeded { mtu: 1280 })),
            (Family::V6, 3, 0, 0, &v6, Problem::TtlExceeded),
            (Family::V6, 3, 1, 0, &v6, Problem::Unreachable(Reassembly)),
            (Family::V6, 4, 1, 0, &v6, Problem::Parameter),
        ];
        for (family, kind, code, word, packet, problem) in cases {
            let destination = match family {
                Family::V4 => "192.0.2.9".parse().unwrap(),
                Family::V6 => "2001:db8::9".parse().unwrap(),
            };
            let message = error_about(kind, code, word, packet);
            assert_eq!(
                parse_message(family, &message),
                Some(Message::Problem { id: ID, destination, problem }),
                "{family:?} type {kind} code {code}"
            );
        }
    }

    #[test]
    fn other_messages_are_ignored() {
        let request = echo_request(Family::V4, ID, &PAYLOAD);
        let mut udp = ipv4_packet(b"", &request);
        udp[9] = 17;
        let mut later_fragment = ipv4_packet(b"", &request);
        later_fragment[7] = 1;
        let mut odd_code = echo_reply(Family::V4);
        odd_code[1] = 1;
        let cases = [
            ("our own request", request.clone()),
            ("echo reply with a code", odd_code),
            ("timestamp reply", error_about(14, 0, 0, b"")),
            ("error about UDP", error_about(3, 3, 0, &udp)),
            ("error about a later fragment", error_about(3, 3, 0, &later_fragment)),
            ("error about a reply", error_about(3, 3, 0, &ipv4_packet(b"", &echo_reply(Family::V4)))),
            ("error about IPv6", error_about(3, 3, 0, &ipv6_packet(false, &request))),
            ("header size below 20", error_about(3, 3, 0, &[0x44; 40])),
        ];
        for (name, message) in cases {
            assert_eq!(parse_message(Family::V4, &message), None, "{name}");
        }
        let mut damaged = ipv4_packet(b"", &echo_reply(Family::V4));
        damaged[30] ^= 1;
        assert_eq!(parse_ip_packet(&damaged), None, "wrong checksum");
    }

    #[test]
    fn messages_cut_at_any_byte_do_no_harm() {
        let v4_request = echo_request(Family::V4, ID, &PAYLOAD);
        let v6_request = echo_request(Family::V6, ID, &PAYLOAD);
        // Complete from this many bytes on.
        let cases = [
            (Family::V4, 8, echo_reply(Family::V4)),
            (Family::V4, 8 + 24 + 8, error_about(3, 1, 0, &ipv4_packet(&[1; 4], &v4_request))),
            (Family::V6, 8, echo_reply(Family::V6)),
            (Family::V6, 8 + 48 + 8, error_about(1, 0, 0, &ipv6_packet(true, &v6_request))),
        ];
        for (family, complete, message) in cases {
            for size in 0..=message.len() {
                let got = parse_message(family, &message[..size]);
                assert_eq!(got.is_some(), size >= complete, "{family:?} {size} bytes");
            }
        }
        let packet = ipv4_packet(&[1; 4], &echo_reply(Family::V4));
        for size in 0..packet.len() {
            assert_eq!(parse_ip_packet(&packet[..size]), None, "{size} bytes");
        }
    }
}
