//! The OPT pseudo record of EDNS(0) (RFC 6891): a heading and one line for each option.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::codes;
use super::message::Malformed;
use super::name;
use super::output::Output;
use super::reader::Reader;

/// What an OPT record keeps in its TTL and class fields.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) ttl: u32,
    pub(super) udp_size: u16,
}

impl Header {
    /// The bits of the response code above the four in the message header, in place.
    pub(super) fn extended_rcode(self) -> u16 {
        let [upper, ..] = self.ttl.to_be_bytes();
        u16::from(upper) << 4
    }
}

/// Writes the heading, which begins with a line break.
pub(super) fn write_heading(out: &mut Output, header: Header) {
    const DNSSEC_OK: u16 = 1 << 15;
    const COMPACT_ANSWERS_OK: u16 = 1 << 14;

    let [_, version, flags @ ..] = header.ttl.to_be_bytes();
    let flags = u16::from_be_bytes(flags);
    out.value(format_args!("\n;; OPT PSEUDOSECTION:\n; EDNS: version {version}; flags:"));
    if flags & DNSSEC_OK != 0 {
        out.str(" do");
    }
    if flags & COMPACT_ANSWERS_OK != 0 {
        out.str(" co");
    }
    out.str("; ");
    let must_be_zero = flags & !(DNSSEC_OK | COMPACT_ANSWERS_OK);
    if must_be_zero != 0 {
        out.value(format_args!("MBZ: 0x{must_be_zero:04x}, "));
    }
    out.value(format_args!("udp: {}", header.udp_size));
}

/// Writes the options, each on a line of its own, without a line break at the end.
pub(super) fn write_options(out: &mut Output, data: &mut Reader<'_>) -> Result<(), Malformed> {
    while !data.is_at_end() {
        let code = u16::from_be_bytes(data.required()?);
        let length = u16::from_be_bytes(data.required()?);
        let value = data.take(usize::from(length))?;
        out.str("\n; ");
        write_option(out, code, value)?;
    }
    Ok(())
}

fn write_option(out: &mut Output, code: u16, value: &[u8]) -> Result<(), Malformed> {
    match code {
        LLQ => {
            let [version, opcode, error] = [word(value, 0)?, word(value, 2)?, word(value, 4)?];
            let id = u64::from_be_bytes(array(value, 6)?);
            let lease = u32::from_be_bytes(array(value, 14)?);
            out.value(format_args!("LONG LIVED QUERIES: {version} {opcode} {error} {id} {lease}"));
        }
        UPDATE_LEASE => {
            let lease = u32::from_be_bytes(array(value, 0)?);
            let key_lease = match value.len() {
                4 => 0,
                8 => u32::from_be_bytes(array(value, 4)?),
                _ => return Err(Malformed::Value("length of EDNS option 2")),
            };
            out.value(format_args!("UPDATE LEASE: {lease} {key_lease}"));
        }
        NSID => {
            out.str("NSID: ");
            out.hex(value);
            out.str("  ");
            for byte in value {
                out.value(format_args!("({})", char::from(*byte)));
            }
        }
        ENUM_SOURCE_URI => {
            out.str("ESU: ");
            out.raw(value);
        }
        ALGORITHMS_UNDERSTOOD => {
            write_codes(out, "DNSSEC ALGORITHM UNDERSTOOD: ", value, codes::algorithm);
        }
        DS_HASHES_UNDERSTOOD => write_codes(out, "DS HASH UNDERSTOOD: ", value, codes::hash),
        NSEC3_HASHES_UNDERSTOOD => write_codes(out, "NSEC3 HASH UNDERSTOOD: ", value, codes::hash),
        CLIENT_SUBNET => write_client_subnet(out, value)?,
        EXPIRE => {
            out.str("EXPIRE: ");
            if !value.is_empty() {
                out.value(u32::from_be_bytes(array(value, 0)?));
            }
        }
        COOKIE => {
            out.str("COOKIE: ");
            out.hex(value);
        }
        TCP_KEEPALIVE => {
            let timeout = match value.len() {
                0 => 0,
                2 => word(value, 0)?,
                _ => return Err(Malformed::Value("length of EDNS option 11")),
            };
            out.str("KEEPALIVE: use tcp keep-alive, timeout ");
            match timeout {
                0 => out.str("omitted"),
                // The peer multiplies in 16 bits.
                tenths => out.value(format_args!("{}ms", tenths.wrapping_mul(100))),
            }
        }
        PADDING => {
            out.str("PADDING: ");
            out.upper_hex(value);
        }
        EXTENDED_ERROR => {
            let info = word(value, 0)?;
            out.value(format_args!("EDE: {info}"));
            if let Some(meaning) = codes::extended_error(info) {
                out.value(format_args!(" ({meaning})"));
            }
            out.str(": (");
            out.raw(value.get(2..).unwrap_or_default());
            out.char(')');
        }
        REPORT_CHANNEL => {
            out.str("REPORT-CHANNEL: ");
            name::write(out, value, 0)?;
        }
        ZONE_VERSION => {
            word(value, 0)?;
            out.str("ZONEVERSION: ");
            out.raw(value.get(2..).unwrap_or_default());
        }
        _ => {
            out.value(format_args!("LOCAL OPT: {code}:0x"));
            out.hex(value);
        }
    }
    Ok(())
}

/// A space before each code, after the one that ends `heading`.
fn write_codes(out: &mut Output, heading: &str, value: &[u8], name: fn(u8) -> Option<&'static str>) {
    out.str(heading);
    for code in value {
        out.char(' ');
        out.mnemonic(name(*code), code);
    }
}

/// RFC 7871 §6. Address bytes beyond the family's length are ignored, missing ones are zero.
fn write_client_subnet(out: &mut Output, value: &[u8]) -> Result<(), Malformed> {
    const NO_FAMILY: u16 = 0;
    const IPV4: u16 = 1;
    const IPV6: u16 = 2;

    let family = word(value, 0)?;
    let [source, scope] = array(value, 2)?;
    let mut address = [0; 16];
    for (to, from) in address.iter_mut().zip(value.iter().skip(4)) {
        *to = *from;
    }
    let [a, b, c, d, ..] = address;
    let address_v6 = Ipv6Addr::from(address);
    let longest = match family {
        NO_FAMILY => 0,
        IPV4 => 32,
        IPV6 => 128,
        _ => return Err(Malformed::Value("address family of a client subnet")),
    };
    if source > longest || (family != NO_FAMILY && scope > longest) {
        return Err(Malformed::Value("prefix length of a client subnet"));
    }

    out.str("SUBNET: ");
    match (family, address_v6.to_ipv4_mapped()) {
        (NO_FAMILY, _) => out.value(Ipv4Addr::UNSPECIFIED),
        (IPV4, _) => out.value(Ipv4Addr::new(a, b, c, d)),
        (_, Some(mapped)) => out.value(mapped),
        (_, None) => out.value(format_args!("[{address_v6}]")),
    }
    out.value(format_args!("/{source}/{scope}"));
    Ok(())
}

fn word(value: &[u8], offset: usize) -> Result<u16, Malformed> {
    array(value, offset).map(u16::from_be_bytes)
}

fn array<const N: usize>(value: &[u8], offset: usize) -> Result<[u8; N], Malformed> {
    value.get(offset..).and_then(|rest| rest.first_chunk()).copied().ok_or(Malformed::Truncated)
}

const LLQ: u16 = 1;
const UPDATE_LEASE: u16 = 2;
const NSID: u16 = 3;
const ENUM_SOURCE_URI: u16 = 4;
const ALGORITHMS_UNDERSTOOD: u16 = 5;
const DS_HASHES_UNDERSTOOD: u16 = 6;
const NSEC3_HASHES_UNDERSTOOD: u16 = 7;
const CLIENT_SUBNET: u16 = 8;
const EXPIRE: u16 = 9;
const COOKIE: u16 = 10;
const TCP_KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;
const EXTENDED_ERROR: u16 = 15;
const REPORT_CHANNEL: u16 = 18;
const ZONE_VERSION: u16 = 19;
