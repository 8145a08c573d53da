//! Parameters of SVCB and HTTPS records (RFC 9460).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::message::Malformed;
use super::output::Output;
use super::reader::Reader;

/// Writes the parameters up to the end of the data as ` key="value"`.
pub(super) fn write_parameters(out: &mut Output, data: &mut Reader<'_>) -> Result<(), Malformed> {
    let mut last_key = None;
    while !data.is_at_end() {
        let key = u16::from_be_bytes(data.required()?);
        let length = u16::from_be_bytes(data.required()?);
        let value = data.take(usize::from(length))?;
        if key == RESERVED {
            return Err(Malformed::Value("service parameter 65535"));
        }
        if last_key.is_some_and(|last| key <= last) {
            return Err(Malformed::Value("service parameters out of order"));
        }
        last_key = Some(key);
        out.char(' ');
        write_key(out, key);
        out.str("=\"");
        write_value(out, key, value)?;
        out.char('"');
    }
    Ok(())
}

fn write_key(out: &mut Output, key: u16) {
    match KEYS.get(usize::from(key)) {
        Some(name) => out.str(name),
        None if key == RESERVED => {}
        None => out.value(format_args!("key{key}")),
    }
}

fn write_value(out: &mut Output, key: u16, value: &[u8]) -> Result<(), Malformed> {
    match key {
        MANDATORY => {
            let (keys, rest) = value.as_chunks::<2>();
            if !rest.is_empty() {
                return Err(Malformed::Value("length of service parameter mandatory"));
            }
            for (index, key) in keys.iter().enumerate() {
                write_comma(out, index);
                write_key(out, u16::from_be_bytes(*key));
            }
        }
        ALPN => write_alpn(out, value)?,
        NO_DEFAULT_ALPN | OHTTP => {
            if !value.is_empty() {
                return Err(Malformed::Value("service parameter with a value"));
            }
        }
        PORT => match value.try_into() {
            Ok(port) => out.value(u16::from_be_bytes(port)),
            Err(_) => return Err(Malformed::Value("length of service parameter port")),
        },
        IPV4_HINT => {
            let (hints, rest) = value.as_chunks::<4>();
            if hints.is_empty() || !rest.is_empty() {
                return Err(Malformed::Value("length of service parameter ipv4hint"));
            }
            for (index, hint) in hints.iter().enumerate() {
                write_comma(out, index);
                out.value(Ipv4Addr::from(*hint));
            }
        }
        ECH => out.base64(value),
        IPV6_HINT => {
            let (hints, rest) = value.as_chunks::<16>();
            if hints.is_empty() || !rest.is_empty() {
                return Err(Malformed::Value("length of service parameter ipv6hint"));
            }
            for (index, hint) in hints.iter().enumerate() {
                let hint = Ipv6Addr::from(*hint);
                if hint.to_ipv4_mapped().is_some() {
                    return Err(Malformed::Value("IPv4 address in ipv6hint"));
                }
                write_comma(out, index);
                out.value(hint);
            }
        }
        _ => out.parameter(value),
    }
    Ok(())
}

/// Comma and backslash inside a protocol name are escaped twice, once for the list and once for
/// the text (RFC 9460 appendix A.1).
fn write_alpn(out: &mut Output, value: &[u8]) -> Result<(), Malformed> {
    let mut rest = value;
    let mut index = 0;
    while let [length, tail @ ..] = rest {
        let Some((protocol, tail)) = tail.split_at_checked(usize::from(*length)) else {
            return Err(Malformed::Value("length of a protocol in alpn"));
        };
        write_comma(out, index);
        for byte in protocol {
            match byte {
                b',' => out.str(r"\\\044"),
                b'\\' => out.str(r"\\\092"),
                byte => out.parameter(&[*byte]),
            }
        }
        rest = tail;
        index += 1;
    }
    Ok(())
}

fn write_comma(out: &mut Output, index: usize) {
    if index > 0 {
        out.char(',');
    }
}

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4_HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6_HINT: u16 = 6;
const OHTTP: u16 = 8;
const RESERVED: u16 = 65535;

/// Names by number, from 0.
const KEYS: &[&str] =
    &["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];
