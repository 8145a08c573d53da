//! Durations as Go and as Prometheus write them.

use std::fmt;
use std::time::Duration;

use super::decode::{Context, Decode};
use super::yaml::emit::{Emit, Emitter};
use super::yaml::scalar::Resolved;
use super::yaml::tree::{Node, NodeKind};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Units and their nanoseconds. `d`, `w` and `y` (365 days) are Prometheus's, the rest Go's.
const UNITS: [(&str, i64); 11] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("d", 86_400 * NANOS_PER_SECOND),
    ("w", 7 * 86_400 * NANOS_PER_SECOND),
    ("y", 365 * 86_400 * NANOS_PER_SECOND),
];

/// A span of time with sign, in nanoseconds, ±292 years; prints as Go does (`1m30s`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedDuration(i64);

impl SignedDuration {
    /// Reads `<decimal><unit>` one or more times, as in `1h30m`, `1.5s`, `-5s` or `1d`;
    /// a lone `0` needs no unit.
    ///
    /// `None` for anything else and for what does not fit.
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, mut rest) = match text.as_bytes().first()? {
            b'-' => (-1, &text[1..]),
            b'+' => (1, &text[1..]),
            _ => (1, text),
        };
        if rest == "0" {
            return Some(Self(0));
        }
        if rest.is_empty() {
            return None;
        }
        let mut total = 0_i128;
        while !rest.is_empty() {
            let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let unit_end = rest[number_end..]
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .map_or(rest.len(), |length| number_end + length);
            let unit = &rest[number_end..unit_end];
            let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
            total = total.checked_add(scale_decimal(&rest[..number_end], *nanos)?)?;
            rest = &rest[unit_end..];
        }
        i64::try_from(sign * total).ok().map(Self)
    }

    /// A duration of this many nanoseconds.
    pub fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The duration, or `None` if it is negative.
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }
}

/// `digits[.digits]` times `factor`, fractions of one cut off; `None` if malformed or too large.
pub(super) fn scale_decimal(number: &str, factor: i64) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let factor = i128::from(factor);
    let mut value = 0_i128;
    for digit in whole.bytes() {
        let digit = i128::from(char::from(digit).to_digit(10)?);
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    let value = value.checked_mul(factor)?;
    let (mut numerator, mut denominator) = (0_i128, 1_i128);
    for digit in fraction.bytes() {
        let digit = i128::from(char::from(digit).to_digit(10)?);
        // 18 digits are more than a nanosecond or byte can show; the rest only has to be digits.
        if denominator < 1_000_000_000_000_000_000 {
            numerator = numerator * 10 + digit;
            denominator *= 10;
        }
    }
    value.checked_add(numerator * factor / denominator)
}

impl fmt::Display for SignedDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let second = NANOS_PER_SECOND.unsigned_abs();
        let (unit, name) = match nanos {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "\u{b5}s"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (second, "s"),
        };
        let minutes = nanos / second / 60;
        if minutes >= 60 {
            write!(f, "{}h", minutes / 60)?;
        }
        if minutes > 0 {
            write!(f, "{}m", minutes % 60)?;
        }
        let below_minute = nanos - minutes * 60 * second;
        write!(f, "{}", below_minute / unit)?;
        let fraction = below_minute % unit;
        if fraction > 0 {
            let width = unit.ilog10() as usize;
            let digits = format!("{fraction:0width$}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str(name)
    }
}

impl Decode for SignedDuration {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        // A number without quotes has no unit, not even 0 (the peer's rule).
        let parsed = match node.kind() {
            NodeKind::Scalar(Resolved::Text) => node.text().and_then(Self::parse),
            _ => None,
        };
        if parsed.is_none() {
            ctx.expected(node, "a duration such as 5s or 1m30s");
        }
        parsed
    }
}

impl Emit for SignedDuration {
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
    fn durations_parse_and_print() {
        let cases = [
            ("0", Some("0s")),
            ("+0", Some("0s")),
            ("0s", Some("0s")),
            ("5s", Some("5s")),
            ("+5s", Some("5s")),
            ("-5s", Some("-5s")),
            (".5s", Some("500ms")),
            ("5.s", Some("5s")),
            ("1.5s", Some("1.5s")),
            ("90s", Some("1m30s")),
            ("1h30m", Some("1h30m0s")),
            ("1h1m1.5s", Some("1h1m1.5s")),
            ("1m2.5s300ms", Some("1m2.8s")),
            ("1d", Some("24h0m0s")),
            ("1w", Some("168h0m0s")),
            ("1y", Some("8760h0m0s")),
            ("1500us", Some("1.5ms")),
            ("1\u{b5}s", Some("1\u{b5}s")),
            ("1\u{3bc}s", Some("1\u{b5}s")),
            ("999ns", Some("999ns")),
            ("1ns", Some("1ns")),
            ("1001ns", Some("1.001\u{b5}s")),
            ("1.000000001s", Some("1.000000001s")),
            ("9223372036854775807ns", Some("2562047h47m16.854775807s")),
            ("9223372036854775808ns", None),
            ("999999999999999999999999999999999999999999h", None),
            ("300y", None),
            ("", None),
            ("-", None),
            ("5", None),
            ("5 s", None),
            ("5S", None),
            ("5sec", None),
            (".s", None),
            ("1..5s", None),
            ("1.5.5s", None),
            ("s", None),
            ("--5s", None),
            (" 5s", None),
            ("5s ", None),
            ("1e3s", None),
            ("5x", None),
        ];
        for (text, want) in cases {
            let got = SignedDuration::parse(text).map(|duration| duration.to_string());
            assert_eq!(got.as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn negative_durations_have_no_standard_form() {
        let of = |text| SignedDuration::parse(text).unwrap().to_std();
        assert_eq!(of("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(of("0"), Some(Duration::ZERO));
        assert_eq!(of("-1ns"), None);
    }
}
