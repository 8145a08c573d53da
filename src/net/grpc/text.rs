//! The values of gRPC's headers: timeouts, and messages in percent-encoding.

use std::fmt::Write as _;
use std::time::Duration;

/// The value of `grpc-timeout`: at most eight digits and a unit, of microseconds while they suffice.
pub fn timeout(left: Duration) -> String {
    let units = [(left.as_micros(), 'u'), (left.as_millis(), 'm'), (u128::from(left.as_secs()), 'S')];
    let (number, unit) =
        units.into_iter().find(|(number, _)| *number <= MAX_TIMEOUT).unwrap_or((MAX_TIMEOUT, 'S'));
    format!("{}{unit}", number.max(1))
}

/// What eight digits can hold.
const MAX_TIMEOUT: u128 = 99_999_999;

/// Reads a `grpc-timeout`; `None` if it is none.
pub fn read_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The text of `grpc-message`, which is percent-encoded; what is no encoding stays as it is.
pub fn decode_text(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The value of `grpc-message` for a text: what is not printable ASCII, and `%`, is percent-encoded.
pub fn encode_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_eight_digits_at_most() {
        let cases = [
            (Duration::ZERO, "1u"),
            (Duration::from_nanos(1_999), "1u"),
            (Duration::from_millis(14_500), "14500000u"),
            (Duration::from_micros(99_999_999), "99999999u"),
            (Duration::from_micros(100_000_999), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::MAX, "99999999S"),
        ];
        for (left, want) in cases {
            assert_eq!(timeout(left), want);
        }
    }

    #[test]
    fn timeouts_are_read() {
        let cases = [
            ("1H", Some(Duration::from_secs(3600))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("+5S", None),
            ("123456789S", None),
        ];
        for (value, want) in cases {
            assert_eq!(read_timeout(value.as_bytes()), want, "{value}");
        }
    }

    #[test]
    fn messages_are_percent_decoded() {
        let cases: [(&[u8], &str); 7] = [
            (b"no such", "no such"),
            (b"as you wish %C3%BC %25", "as you wish ü %"),
            (b"%c3%bc", "ü"),
            (b"100%", "100%"),
            (b"%4", "%4"),
            (b"%zz%41", "%zzA"),
            (b"%FF", "\u{fffd}"),
        ];
        for (value, want) in cases {
            assert_eq!(decode_text(value), want);
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        let cases = [("as you wish", "as you wish"), ("100% ü\n~", "100%25 %C3%BC%0A~")];
        for (text, want) in cases {
            assert_eq!(encode_text(text), want);
            assert_eq!(decode_text(want.as_bytes()), text);
        }
    }
}
