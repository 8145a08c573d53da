//! Where record text goes, and the escaping rules of presentation format.

use std::fmt::{Display, Write as _};

use data_encoding::{BASE64, Encoding, HEXLOWER, HEXUPPER};

/// Collects text, or drops it: decoding checks a record by writing it to nowhere, so the check and
/// the text cannot disagree about the wire format.
pub(super) struct Output {
    text: Option<String>,
}

impl Output {
    pub(super) fn discarding() -> Self {
        Self { text: None }
    }

    pub(super) fn collecting() -> Self {
        Self { text: Some(String::with_capacity(TYPICAL_LENGTH)) }
    }

    pub(super) fn into_text(self) -> String {
        self.text.unwrap_or_default()
    }

    pub(super) fn str(&mut self, part: &str) {
        if let Some(text) = &mut self.text {
            text.push_str(part);
        }
    }

    pub(super) fn char(&mut self, part: char) {
        if let Some(text) = &mut self.text {
            text.push(part);
        }
    }

    pub(super) fn value(&mut self, value: impl Display) {
        if let Some(text) = &mut self.text {
            // Writing to a String cannot fail.
            let _ = write!(text, "{value}");
        }
    }

    /// The mnemonic of a code, or its number where it has none.
    pub(super) fn mnemonic(&mut self, name: Option<&str>, code: impl Display) {
        match name {
            Some(name) => self.str(name),
            None => self.value(code),
        }
    }

    pub(super) fn hex(&mut self, bytes: &[u8]) {
        self.encoded(&HEXLOWER, bytes);
    }

    pub(super) fn upper_hex(&mut self, bytes: &[u8]) {
        self.encoded(&HEXUPPER, bytes);
    }

    pub(super) fn base64(&mut self, bytes: &[u8]) {
        self.encoded(&BASE64, bytes);
    }

    pub(super) fn encoded(&mut self, encoding: &Encoding, bytes: &[u8]) {
        if let Some(text) = &mut self.text {
            encoding.encode_append(bytes, text);
        }
    }

    /// One label of a name, without the dot after it.
    pub(super) fn label(&mut self, label: &[u8]) {
        self.escaped(label, br#". '@;()"\"#);
    }

    /// A character-string (RFC 1035 §3.3) without quotes.
    pub(super) fn bare(&mut self, string: &[u8]) {
        self.escaped(string, br#""\"#);
    }

    /// A character-string in double quotes.
    pub(super) fn quoted(&mut self, string: &[u8]) {
        self.char('"');
        self.bare(string);
        self.char('"');
    }

    /// The value of an SVCB parameter that has no format of its own.
    pub(super) fn parameter(&mut self, value: &[u8]) {
        self.escaped(value, br#""; \"#);
    }

    /// The quoted rest of CAA and URI data.
    ///
    /// The peer reads backslashes *in the wire data* as escapes before it escapes again: `\.` stays,
    /// `\DDD` is one byte (modulo 256), `\x` is `x`, a last lone backslash vanishes.
    pub(super) fn octets(&mut self, bytes: &[u8]) {
        self.char('"');
        let mut rest = bytes;
        loop {
            rest = match rest {
                [] | [b'\\'] => break,
                [b'\\', b'.', tail @ ..] => {
                    self.str("\\.");
                    tail
                }
                [b'\\', hundreds, tens, ones, tail @ ..]
                    if [hundreds, tens, ones].iter().all(|b| b.is_ascii_digit()) =>
                {
                    let byte = (hundreds - b'0')
                        .wrapping_mul(100)
                        .wrapping_add((tens - b'0') * 10)
                        .wrapping_add(ones - b'0');
                    self.bare(&[byte]);
                    tail
                }
                [b'\\', byte, tail @ ..] | [byte, tail @ ..] => {
                    self.bare(&[*byte]);
                    tail
                }
            };
        }
        self.char('"');
    }

    /// Bytes as they are. What is not UTF-8 becomes one U+FFFD for each byte, which is how a Go
    /// regular expression sees it.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            self.str(chunk.valid());
            for _ in chunk.invalid() {
                self.char(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    fn escaped(&mut self, bytes: &[u8], specials: &[u8]) {
        let Some(text) = &mut self.text else { return };
        for &byte in bytes {
            if specials.contains(&byte) {
                text.push('\\');
                text.push(char::from(byte));
            } else {
                push_printable(text, byte);
            }
        }
    }
}

fn push_printable(text: &mut String, byte: u8) {
    if matches!(byte, b' '..=b'~') {
        text.push(char::from(byte));
    } else {
        // Writing to a String cannot fail.
        let _ = write!(text, "\\{byte:03}");
    }
}

/// Bytes of an ordinary record: owner, TTL, class, type and an address or a name.
const TYPICAL_LENGTH: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_read_backslashes_like_the_peer() {
        let cases: &[(&[u8], &str)] = &[
            (b"", r#""""#),
            (b"plain", r#""plain""#),
            (br#"a"b"#, r#""a\"b""#),
            (br"a\.b", r#""a\.b""#),
            (br"a\065b", r#""aAb""#),
            (br"a\300b", r#""a,b""#),
            (br"a\x", r#""ax""#),
            (br"a\\", r#""a\\""#),
            (br"a\12", r#""a12""#),
            (br"a\", r#""a""#),
            (b"\xc3\xa9\t", r#""\195\169\009""#),
        ];
        for (bytes, want) in cases {
            let mut out = Output::collecting();
            out.octets(bytes);
            assert_eq!(out.into_text(), *want, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn raw_bytes_become_one_replacement_each() {
        let mut out = Output::collecting();
        out.raw(b"a\xe2\x82\xc3\xa9\xff");
        assert_eq!(out.into_text(), "a\u{fffd}\u{fffd}é\u{fffd}");
    }
}
