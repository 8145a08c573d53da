//! Sizes such as `10MB`, read and printed as the peer does.

use std::fmt;

use super::decode::{Context, Decode};
use super::duration::scale_decimal;
use super::yaml::emit::{Emit, Emitter};
use super::yaml::tree::Node;

/// Suffix letters from large to small; the family is `KiB` or `KB`, both powers of 1024.
const PREFIXES: [(&str, u32); 6] = [("E", 6), ("P", 5), ("T", 4), ("G", 3), ("M", 2), ("K", 1)];

/// A number of bytes; 0 means no limit, prints as `1MiB512KiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteSize(u64);

impl ByteSize {
    /// What the peer makes of negative and overflowing sizes: 2^63 - 2 bytes.
    const UNLIMITED: i64 = i64::MAX - 1;

    /// Reads `<decimal><unit>` one or more times, units from one family only
    /// (`B KiB MiB …` or `B KB MB …`); a lone `0` needs no unit.
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, rest) = match text.as_bytes().first()? {
            b'-' => (-1, &text[1..]),
            b'+' => (1, &text[1..]),
            _ => (1, text),
        };
        if rest == "0" {
            return Some(Self(0));
        }
        let total = sum(rest, "iB").or_else(|| sum(rest, "B"))?;
        let total = i64::try_from(total).map_or(Self::UNLIMITED, |total| total * sign);
        let bytes = if total < 0 { Self::UNLIMITED } else { total.min(Self::UNLIMITED) };
        Some(Self(bytes.unsigned_abs()))
    }

    /// The limit in bytes, `None` for no limit.
    pub fn limit(self) -> Option<u64> {
        (self.0 > 0).then_some(self.0)
    }
}

fn sum(mut rest: &str, suffix: &str) -> Option<i128> {
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit_end = rest[number_end..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |length| number_end + length);
        let unit = &rest[number_end..unit_end];
        let power = if unit == "B" {
            0
        } else {
            let prefix = unit.strip_suffix(suffix)?;
            PREFIXES.iter().find(|(name, _)| *name == prefix)?.1
        };
        let number = &rest[..number_end];
        // A number too large to scale is malformed or practically unlimited; tell them apart.
        let scaled = scale_decimal(number, 1 << (10 * power)).or_else(|| {
            let well_formed = number.matches('.').count() <= 1 && number.len() > 1;
            well_formed.then_some(i128::from(i64::MAX))
        })?;
        total = total.saturating_add(scaled);
        rest = &rest[unit_end..];
    }
    Some(total)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for (prefix, power) in PREFIXES {
            let unit = 1_u64 << (10 * power);
            if rest >= unit {
                write!(f, "{}{prefix}iB", rest / unit)?;
                rest %= unit;
            }
        }
        if rest > 0 || self.0 == 0 {
            write!(f, "{rest}B")?;
        }
        Ok(())
    }
}

impl Decode for ByteSize {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let size = node.text().and_then(Self::parse);
        if size.is_none() {
            ctx.expected(node, "a size with unit such as 10MB or 512KiB");
        }
        size
    }
}

impl Emit for ByteSize {
    fn is_empty(&self) -> bool {
        self.0 == 0
    }
    fn emit(&self, out: &mut Emitter) {
        out.plain(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_print() {
        let unlimited = "7EiB1023PiB1023TiB1023GiB1023MiB1023KiB1022B";
        let cases = [
            ("0", Some("0B")),
            ("-0", Some("0B")),
            ("0B", Some("0B")),
            ("5B", Some("5B")),
            ("1MB", Some("1MiB")),
            ("1MiB", Some("1MiB")),
            ("1.5MiB", Some("1MiB512KiB")),
            ("1MiB512KiB", Some("1MiB512KiB")),
            ("1MB512KB3B", Some("1MiB512KiB3B")),
            ("1.5KiB", Some("1KiB512B")),
            (".5KB", Some("512B")),
            ("+1KB", Some("1KiB")),
            ("7EiB", Some("7EiB")),
            ("8EiB", Some(unlimited)),
            ("-1B", Some(unlimited)),
            ("99999999999999999999999999999999999999999B", Some(unlimited)),
            ("1MiB512KB", None),
            ("10", None),
            ("10M", None),
            ("10mb", None),
            ("10 MB", None),
            ("", None),
            ("-", None),
            ("B", None),
            (".B", None),
            ("1..5KB", None),
            ("lots", None),
        ];
        for (text, want) in cases {
            let got = ByteSize::parse(text).map(|size| size.to_string());
            assert_eq!(got.as_deref(), want, "{text:?}");
        }
        assert_eq!(ByteSize::parse("0").unwrap().limit(), None);
        assert_eq!(ByteSize::parse("1KB").unwrap().limit(), Some(1024));
    }
}
