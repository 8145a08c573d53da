//! The query of a check-in. Nothing of it may get lost, so it is read more leniently than elsewhere.

use std::borrow::Cow;

/// Name and value of each pair, in order; empty pairs (`&&`) count for nothing.
///
/// `+` is a space. An escape that is broken stands for itself: `93% full` is written by hand in
/// many scripts. What is not UTF-8 after decoding is replaced by U+FFFD.
pub fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// The first value of a parameter.
pub fn parameter<'q>(query: &'q str, wanted: &str) -> Option<Cow<'q, str>> {
    parameters(query).find(|(name, _)| name == wanted).map(|(_, value)| value)
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1).zip(bytes.get(at + 2)).filter(|_| *byte == b'%');
        match escaped.and_then(|(high, low)| Some(hex(*high)? << 4 | hex(*low)?)) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(if *byte == b'+' { b' ' } else { *byte });
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost() {
        let cases: [(&str, &[(&str, &str)]); 8] = [
            ("", &[]),
            ("service=60y4E&&data=", &[("service", "60y4E"), ("data", "")]),
            ("a=1;b=2&c", &[("a", "1;b=2"), ("c", "")]),
            ("data=disk 93% full", &[("data", "disk 93% full")]),
            ("data=%zz%4%&x=%41", &[("data", "%zz%4%"), ("x", "A")]),
            ("d=a+b%2Bc%20%C3%A9", &[("d", "a b+c é")]),
            ("d=%ff%fe", &[("d", "\u{fffd}\u{fffd}")]),
            ("d=ip:cpu:93,process:nginx=0", &[("d", "ip:cpu:93,process:nginx=0")]),
        ];
        for (query, want) in cases {
            let got: Vec<_> = parameters(query).collect();
            let got: Vec<(&str, &str)> = got.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(got, want, "{query}");
        }
        assert_eq!(parameter("a=1&a=2", "a").as_deref(), Some("1"));
        assert_eq!(parameter("a=1", "b"), None);
    }
}
