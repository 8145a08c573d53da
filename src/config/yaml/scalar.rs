//! What a plain scalar is: null, boolean, number or text (go-yaml v3 `resolve.go`).

/// A scalar's value by YAML's implicit rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolved {
    /// `~`, `null` and the empty scalar.
    Null,
    /// `true` and `false`; `yes` and `on` are text until a boolean is asked for.
    Bool(bool),
    /// A whole number in any base that fits 64 bits with sign.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Everything else.
    Text,
}

/// Applies the rules for plain scalars.
pub fn resolve(text: &str) -> Resolved {
    if is_null(text) {
        return Resolved::Null;
    }
    match text {
        "true" | "True" | "TRUE" => return Resolved::Bool(true),
        "false" | "False" | "FALSE" => return Resolved::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Resolved::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => number(text),
        _ => Resolved::Text,
    }
}

/// Whether a plain scalar means null.
pub fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The boolean a plain or quoted word stands for where a boolean is expected (YAML 1.1).
pub fn word_to_bool(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Resolved {
    let plain: String = text.chars().filter(|&c| c != '_').collect();
    let (negative, digits) = match plain.as_bytes().first() {
        Some(b'-') => (true, &plain[1..]),
        Some(b'+') => (false, &plain[1..]),
        _ => (false, plain.as_str()),
    };
    if let Some(magnitude) = magnitude(digits) {
        let signed = i128::from(magnitude) * if negative { -1 } else { 1 };
        return match i64::try_from(signed) {
            Ok(value) => Resolved::Int(value),
            Err(_) => Resolved::Float(signed as f64),
        };
    }
    if is_decimal_float(digits)
        && let Ok(value) = plain.parse()
    {
        return Resolved::Float(value);
    }
    Resolved::Text
}

/// A whole number in the base its prefix names; a leading zero means octal, as in YAML 1.1.
fn magnitude(digits: &str) -> Option<u64> {
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let digits_only = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if digits_only { u64::from_str_radix(digits, radix).ok() } else { None }
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_decimal_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction) && mantissa.len() > 1,
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    mantissa_ok
        && exponent.is_none_or(|exponent| {
            let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            !digits.is_empty() && all_digits(digits)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_resolve_as_in_go_yaml() {
        use Resolved::{Bool, Float, Int, Null, Text};
        let cases = [
            ("", Null),
            ("~", Null),
            ("NULL", Null),
            ("nUll", Text),
            ("true", Bool(true)),
            ("FALSE", Bool(false)),
            ("tRue", Text),
            ("yes", Text),
            ("0", Int(0)),
            ("-0", Int(0)),
            ("+12", Int(12)),
            ("200", Int(200)),
            ("2_00", Int(200)),
            ("0xC8", Int(200)),
            ("0o310", Int(200)),
            ("0310", Int(200)),
            ("0b11", Int(3)),
            ("-0b11", Int(-3)),
            ("08", Float(8.0)),
            ("200.0", Float(200.0)),
            ("1.5", Float(1.5)),
            (".5", Float(0.5)),
            ("5.", Float(5.0)),
            ("1e3", Float(1000.0)),
            ("1E+3", Float(1000.0)),
            ("-.inf", Float(f64::NEG_INFINITY)),
            ("9223372036854775807", Int(i64::MAX)),
            ("18446744073709551615", Float(18_446_744_073_709_551_615.0)),
            ("0x", Text),
            ("-", Text),
            ("+", Text),
            (".", Text),
            ("--5", Text),
            ("+-5", Text),
            ("1.2.3", Text),
            ("1e", Text),
            ("5s", Text),
            ("12:30", Text),
            ("2001-12-14", Text),
            ("inf", Text),
            ("nan", Text),
        ];
        for (text, want) in cases {
            assert_eq!(resolve(text), want, "{text:?}");
        }
    }
}
