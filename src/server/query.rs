//! The query of a request, read as Go's `net/url` reads it.

/// Name and value of each pair that can be decoded, in order.
///
/// `+` is a space. A pair with a raw `;` or a broken escape is left out. What is not UTF-8 after
/// decoding is replaced by U+FFFD.
pub fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(name)?, decode(value)?))
    })
}

/// Decodes one part of a query; `None` when an escape is broken.
pub fn decode(text: &str) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    Some(
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_as_go_sees_them() {
        let cases: [(&str, &[(&str, &str)]); 12] = [
            ("", &[]),
            ("a=1&b=2", &[("a", "1"), ("b", "2")]),
            ("a=1&a=2", &[("a", "1"), ("a", "2")]),
            ("a", &[("a", "")]),
            ("=x", &[("", "x")]),
            ("&&a=1&", &[("a", "1")]),
            ("a=b=c", &[("a", "b=c")]),
            ("a=x+y%2Bz%20", &[("a", "x y+z ")]),
            ("a=1;b=2&c=3", &[("c", "3")]),
            ("a=%zz&b=%4&c=%&d=%41", &[("d", "A")]),
            ("%61=%2541", &[("a", "%41")]),
            ("a=%ff", &[("a", "\u{fffd}")]),
        ];
        for (query, want) in cases {
            let got: Vec<_> = pairs(query).collect();
            let got: Vec<(&str, &str)> = got.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(got, want, "{query}");
        }
    }
}
