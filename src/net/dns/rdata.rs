//! Record data to text, field by field.
//!
//! What a type consists of is in the table of types; how a field reads and looks is here. A field
//! the data ended before is written as empty or zero, as the peer does.

use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::BASE32HEX_NOPAD;

use super::codes;
use super::message::Malformed;
use super::output::Output;
use super::reader::Reader;
use super::svcb;
use super::types::RecordType;

/// One part of a record's data.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    U8,
    U16,
    U32,
    /// A type by its mnemonic.
    TypeName,
    CertificateType,
    Algorithm,
    /// Seconds since 1970 in 32 bits as `20260101000000`.
    Time,
    /// The same in 48 bits.
    Time48,
    Name,
    /// A character-string in quotes.
    Quoted,
    /// A character-string without quotes.
    Bare,
    /// Character-strings up to the end, each in quotes.
    QuotedList,
    /// The rest, quoted.
    Octets,
    /// The rest in hexadecimal.
    Hex,
    UpperHex,
    /// The rest in groups of 1024 digits.
    HexGroups,
    Base64,
    /// A length byte and that many bytes in hexadecimal, `-` for none.
    Salt,
    /// A length byte and that many bytes in base32hex.
    HashedName,
    /// A 16-bit length, shown, and that many bytes in hexadecimal.
    CountedHex,
    CountedUpperHex,
    /// The type bit maps of RFC 4034 §4.1.2, as mnemonics.
    TypeBitmap,
    Ipv4,
    Ipv6,
    Eui48,
    Eui64,
    NodeId,
    Locator64,
    AddressPrefixes,
    ServiceParameters,
    Location,
    HostIdentity,
    IpsecKey,
    Relay,
}

/// Writes all of a record's data; data left over is an error.
pub(super) fn write_fields(
    out: &mut Output,
    fields: &[Field],
    data: &mut Reader<'_>,
) -> Result<(), Malformed> {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 && !field.brings_its_space(data) {
            out.char(' ');
        }
        let is_last = index + 1 == fields.len();
        write_field(out, *field, data, is_last)?;
    }
    match data.rest().len() {
        0 => Ok(()),
        bytes => Err(Malformed::LeftOver { bytes }),
    }
}

impl Field {
    /// Whether the field, which may turn out to be nothing at all, writes the space before it.
    fn brings_its_space(self, data: &Reader<'_>) -> bool {
        match self {
            Self::TypeBitmap | Self::ServiceParameters => true,
            Self::Ipv4 => data.is_at_end(),
            _ => false,
        }
    }
}

fn write_field(
    out: &mut Output,
    field: Field,
    data: &mut Reader<'_>,
    is_last: bool,
) -> Result<(), Malformed> {
    match field {
        Field::U8 => out.value(data.u8()?),
        Field::U16 => out.value(data.u16()?),
        Field::U32 => out.value(data.u32()?),
        Field::TypeName => out.value(RecordType(data.u16()?)),
        Field::CertificateType => {
            let code = data.u16()?;
            out.mnemonic(codes::certificate_type(code), code);
        }
        Field::Algorithm => {
            let code = data.u8()?;
            out.mnemonic(codes::algorithm(code), code);
        }
        Field::Time => write_time(out, u64::from(data.u32()?)),
        Field::Time48 => {
            let [a, b, c, d, e, f] = data.array()?;
            write_time(out, u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        }
        Field::Name => data.write_name(out)?,
        Field::Quoted => out.quoted(data.string()?),
        Field::Bare => out.bare(data.string()?),
        Field::QuotedList => write_quoted_list(out, data)?,
        Field::Octets => out.octets(data.rest()),
        Field::Hex => out.hex(data.rest()),
        Field::UpperHex => out.upper_hex(data.rest()),
        Field::HexGroups => write_hex_groups(out, data.rest()),
        Field::Base64 => out.base64(data.rest()),
        Field::Salt => {
            let length = usize::from(data.u8()?);
            match counted(data, length, is_last)? {
                [] => out.char('-'),
                salt => out.upper_hex(salt),
            }
        }
        Field::HashedName => {
            let length = usize::from(data.u8()?);
            out.encoded(&BASE32HEX_NOPAD, counted(data, length, true)?);
        }
        Field::CountedHex | Field::CountedUpperHex => {
            let length = data.u16()?;
            out.value(format_args!("{length} "));
            let bytes = counted(data, usize::from(length), is_last)?;
            if matches!(field, Field::CountedHex) {
                out.hex(bytes);
            } else {
                out.upper_hex(bytes);
            }
        }
        Field::TypeBitmap => write_type_bitmap(out, data)?,
        Field::Ipv4 if data.is_at_end() => {}
        Field::Ipv4 => out.value(Ipv4Addr::from(data.array::<4>()?)),
        Field::Ipv6 if data.is_at_end() => {}
        Field::Ipv6 => out.value(Ipv6Addr::from(data.array::<16>()?)),
        Field::Eui48 => write_pairs(out, &data.array::<6>()?),
        Field::Eui64 => write_pairs(out, &data.array::<8>()?),
        Field::NodeId => write_quads(out, data.array()?, Output::hex),
        Field::Locator64 => write_quads(out, data.array()?, Output::upper_hex),
        Field::AddressPrefixes => write_address_prefixes(out, data)?,
        Field::ServiceParameters => svcb::write_parameters(out, data)?,
        Field::Location => write_location(out, data)?,
        Field::HostIdentity => write_host_identity(out, data)?,
        Field::IpsecKey => write_ipsec_key(out, data)?,
        Field::Relay => write_relay(out, data)?,
    }
    Ok(())
}

/// The `length` bytes of a counted field. Data may end right after the length byte, whatever the
/// length says; but once bytes were read, a field that has to follow must be there.
fn counted<'a>(data: &mut Reader<'a>, length: usize, may_end_after: bool) -> Result<&'a [u8], Malformed> {
    if data.is_at_end() {
        return Ok(&[]);
    }
    let bytes = data.take(length)?;
    if data.is_at_end() && !may_end_after {
        return Err(Malformed::Truncated);
    }
    Ok(bytes)
}

/// UTC date and time without separators. The year has more than four digits after 9999.
fn write_time(out: &mut Output, seconds: u64) {
    let (days, seconds) = (seconds / 86_400, seconds % 86_400);
    // Counted from 1 March of year 0, leap days come last in a cycle of 400 years.
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, year) = if month_from_march < 10 {
        (month_from_march + 3, 400 * cycle + year)
    } else {
        (month_from_march - 9, 400 * cycle + year + 1)
    };
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    out.value(format_args!("{year:04}{month:02}{day_of_month:02}{hour:02}{minute:02}{second:02}"));
}

fn write_quoted_list(out: &mut Output, data: &mut Reader<'_>) -> Result<(), Malformed> {
    let mut separator = "";
    while !data.is_at_end() {
        out.str(separator);
        out.quoted(data.string()?);
        separator = " ";
    }
    Ok(())
}

/// A space ends each full group, so a length that divides evenly ends with a space.
fn write_hex_groups(out: &mut Output, bytes: &[u8]) {
    const GROUP: usize = 512;

    let groups = bytes.chunks_exact(GROUP);
    let rest = groups.remainder();
    for group in groups {
        out.hex(group);
        out.char(' ');
    }
    out.hex(rest);
}

/// Two digits at a time, joined by `-`.
fn write_pairs(out: &mut Output, bytes: &[u8]) {
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.char('-');
        }
        out.hex(&[*byte]);
    }
}

/// Four digits at a time, joined by `:`.
fn write_quads(out: &mut Output, bytes: [u8; 8], hex: fn(&mut Output, &[u8])) {
    for (index, quad) in bytes.chunks_exact(2).enumerate() {
        if index > 0 {
            out.char(':');
        }
        hex(out, quad);
    }
}

fn write_type_bitmap(out: &mut Output, data: &mut Reader<'_>) -> Result<(), Malformed> {
    const MAX_LENGTH: u8 = 32;

    let mut last_window = None;
    while !data.is_at_end() {
        let [window, length] = data.required()?;
        if last_window.is_some_and(|last| window <= last) {
            return Err(Malformed::Value("windows of the type bit map out of order"));
        }
        if !(1..=MAX_LENGTH).contains(&length) {
            return Err(Malformed::Value("length of a type bit map"));
        }
        last_window = Some(window);
        let first_of_window = u16::from(window) << 8;
        for (byte, offset) in data.take(usize::from(length))?.iter().zip((0..).step_by(8)) {
            for bit in 0..8 {
                if byte & (0x80 >> bit) != 0 {
                    out.char(' ');
                    out.value(RecordType(first_of_window + offset + bit));
                }
            }
        }
    }
    Ok(())
}

/// RFC 3123: `1:192.0.2.0/24 !2:2001:db8::/32`.
fn write_address_prefixes(out: &mut Output, data: &mut Reader<'_>) -> Result<(), Malformed> {
    const IPV4: u16 = 1;
    const IPV6: u16 = 2;
    const NEGATED: u8 = 0x80;

    let mut separator = "";
    while !data.is_at_end() {
        let family = u16::from_be_bytes(data.required()?);
        let [prefix, flag_and_length] = data.required()?;
        let bits = match family {
            IPV4 => 32,
            IPV6 => 128,
            _ => return Err(Malformed::Value("address family of an APL item")),
        };
        let length = usize::from(flag_and_length & !NEGATED);
        if prefix > bits || length > usize::from(bits / 8) {
            return Err(Malformed::Value("length of an APL prefix or address"));
        }
        let significant = data.take(length)?;
        if significant.last() == Some(&0) {
            return Err(Malformed::Value("APL address with trailing zeros"));
        }
        let mut address = [0; 16];
        for (to, from) in address.iter_mut().zip(significant) {
            *to = *from;
        }

        out.str(separator);
        if flag_and_length & NEGATED != 0 {
            out.char('!');
        }
        if family == IPV4 {
            let [a, b, c, d, ..] = address;
            out.value(format_args!("1:{}/{prefix}", Ipv4Addr::new(a, b, c, d)));
        } else {
            out.value(format_args!("2:{}/{prefix}", Ipv6Addr::from(address)));
        }
        separator = " ";
    }
    Ok(())
}

/// RFC 1876 §3. The version is not looked at.
fn write_location(out: &mut Output, data: &mut Reader<'_>) -> Result<(), Malformed> {
    const CENTIMETRES: f64 = 100.0;
    /// Altitude 0 in metres below the reference spheroid.
    const ALTITUDE_BASE: f64 = 100_000.0;

    data.u8()?;
    let [size, horizontal, vertical] = [data.u8()?, data.u8()?, data.u8()?];
    write_angle(out, data.u32()?, 'N', 'S');
    write_angle(out, data.u32()?, 'E', 'W');

    let altitude = data.u32()?;
    let metres = f64::from(altitude) / CENTIMETRES - ALTITUDE_BASE;
    if altitude.is_multiple_of(100) {
        out.value(format_args!("{metres:.0}m"));
    } else {
        out.value(format_args!("{metres:.2}m"));
    }
    for precision in [size, horizontal, vertical] {
        out.char(' ');
        write_precision(out, precision);
    }
    Ok(())
}

/// Thousandths of an arc second from 2^31, as degrees, minutes and seconds. The seconds are not
/// padded.
fn write_angle(out: &mut Output, value: u32, above: char, below: char) {
    const ZERO: u32 = 1 << 31;

    let side = if value > ZERO { above } else { below };
    let (seconds, thousandths) = (value.abs_diff(ZERO) / 1_000, value.abs_diff(ZERO) % 1_000);
    let (minutes, second) = (seconds / 60, seconds % 60);
    let (degrees, minute) = (minutes / 60, minutes % 60);
    out.value(format_args!("{degrees:02} {minute:02} {second}.{thousandths:03} {side} "));
}

/// Centimetres as mantissa and power of ten, four bits each, in metres.
fn write_precision(out: &mut Output, value: u8) {
    let (mantissa, exponent) = (value >> 4, value & 0x0f);
    match exponent {
        0 => out.value(format_args!("0.{mantissa:02}m")),
        1 => out.value(format_args!("0.{:02}m", mantissa * 10)),
        _ => {
            let zeros = usize::from(exponent - 2);
            out.value(format_args!("{mantissa}{:0<zeros$}m", ""));
        }
    }
}

/// RFC 8005: algorithm, identity tag, public key, rendezvous servers.
fn write_host_identity(out: &mut Output, data: &mut Reader<'_>) -> Result<(), Malformed> {
    /// A pointer takes two bytes and may stand for a thousand characters, so the number of names
    /// decides how large the text grows.
    const MAX_SERVERS: usize = 256;

    let tag_length = usize::from(data.u8()?);
    let algorithm = data.u8()?;
    let key_length = usize::from(data.u16()?);
    let (tag, key) =
        if data.is_at_end() { (&[][..], &[][..]) } else { (data.take(tag_length)?, data.take(key_length)?) };
    out.value(format_args!("{algorithm} "));
    out.hex(tag);
    out.char(' ');
    out.base64(key);

    let mut servers = 0;
    while !data.is_at_end() {
        servers += 1;
        if servers > MAX_SERVERS {
            return Err(Malformed::Value("more than 256 rendezvous servers"));
        }
        out.char(' ');
        data.write_name(out)?;
    }
    Ok(())
}

/// RFC 4025 §2: precedence, gateway type, algorithm, gateway, public key.
fn write_ipsec_key(out: &mut Output, data: &mut Reader<'_>) -> Result<(), Malformed> {
    let precedence = data.u8()?;
    let gateway_type = data.u8()?;
    let algorithm = data.u8()?;
    out.value(format_args!("{precedence} {gateway_type} {algorithm} "));
    write_gateway(out, gateway_type, data)?;
    out.char(' ');
    out.base64(data.rest());
    Ok(())
}

/// RFC 8777 §4.2: precedence, discovery optional, relay type, relay.
///
/// The peer fails the whole message when the discovery bit is set and a relay follows, because it
/// compares the relay type with the bit still in it; that is not copied.
fn write_relay(out: &mut Output, data: &mut Reader<'_>) -> Result<(), Malformed> {
    const DISCOVERY: u8 = 0x80;

    let precedence = data.u8()?;
    let relay_type = data.u8()?;
    let discovery = u8::from(relay_type & DISCOVERY != 0);
    let relay_type = relay_type & !DISCOVERY;
    out.value(format_args!("{precedence} {discovery} {relay_type} "));
    write_gateway(out, relay_type, data)
}

fn write_gateway(out: &mut Output, gateway_type: u8, data: &mut Reader<'_>) -> Result<(), Malformed> {
    const IPV4: u8 = 1;
    const IPV6: u8 = 2;
    const HOST: u8 = 3;

    match gateway_type {
        IPV4 | IPV6 if data.is_at_end() => out.str("<nil>"),
        IPV4 => out.value(Ipv4Addr::from(data.array::<4>()?)),
        IPV6 => {
            // Unlike an AAAA record, a v4-mapped gateway has no prefix.
            let address = Ipv6Addr::from(data.array::<16>()?);
            match address.to_ipv4_mapped() {
                Some(mapped) => out.value(mapped),
                None => out.value(address),
            }
        }
        HOST => data.write_name(out)?,
        _ => out.char('.'),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let cases = [
            (0, "19700101000000"),
            (951_782_400, "20000229000000"),
            (951_868_799, "20000229235959"),
            (951_868_800, "20000301000000"),
            (1_735_689_599, "20241231235959"),
            (1_735_689_600, "20250101000000"),
            (1_767_225_600, "20260101000000"),
            (4_107_542_400, "21000301000000"),
            (4_294_967_295, "21060207062815"),
            (253_402_300_799, "99991231235959"),
            (253_402_300_800, "100000101000000"),
        ];
        for (seconds, want) in cases {
            let mut out = Output::collecting();
            write_time(&mut out, seconds);
            assert_eq!(out.into_text(), want, "{seconds}");
        }
    }

    #[test]
    fn precisions() {
        let cases = [
            (0x00, "0.00m"),
            (0x30, "0.03m"),
            (0x31, "0.30m"),
            (0xf1, "0.150m"),
            (0x12, "1m"),
            (0x13, "10m"),
            (0x16, "10000m"),
            (0x99, "90000000m"),
        ];
        for (value, want) in cases {
            let mut out = Output::collecting();
            write_precision(&mut out, value);
            assert_eq!(out.into_text(), want, "{value:#x}");
        }
    }
}
