//! Domain names: labels with compression pointers to text and back.

use std::fmt;

use super::message::Malformed;
use super::output::Output;

/// A name inside a decoded message; `Display` gives its presentation format, with the case and the
/// bytes as received and a dot at the end.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    message: &'a [u8],
    offset: usize,
}

impl<'a> Name<'a> {
    /// Checks the name at `offset` and returns it with the offset after it.
    pub(super) fn parse(message: &'a [u8], offset: usize) -> Result<(Self, usize), Malformed> {
        let end = write(&mut Output::discarding(), message, offset)?;
        Ok((Self { message, offset }, end))
    }

    pub(super) fn write(&self, out: &mut Output) {
        // Cannot fail: `parse` has walked the same bytes.
        let _ = write(out, self.message, self.offset);
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Output::collecting();
        self.write(&mut out);
        f.write_str(&out.into_text())
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Writes the name at `offset` and returns the offset after its own bytes, that is after the first
/// pointer if it has one.
///
/// Pointers may point anywhere in `message` (RFC 1035 §4.1.4 means backwards only, the peer does
/// not insist); their number is limited, so a loop ends.
pub(super) fn write(out: &mut Output, message: &[u8], offset: usize) -> Result<usize, Malformed> {
    let mut position = offset;
    let mut after_first_pointer = None;
    let mut pointers = 0;
    let mut bytes_left = MAX_NAME;
    loop {
        let length = *message.get(position).ok_or(Malformed::Truncated)?;
        position += 1;
        match length {
            0 => break,
            1..=MAX_LABEL => {
                let label =
                    message.get(position..position + usize::from(length)).ok_or(Malformed::Truncated)?;
                // One byte stays for the root label.
                bytes_left = bytes_left
                    .checked_sub(label.len() + 1)
                    .filter(|left| *left > 0)
                    .ok_or(Malformed::NameTooLong)?;
                out.label(label);
                out.char('.');
                position += label.len();
            }
            POINTER..=u8::MAX => {
                let low = *message.get(position).ok_or(Malformed::Truncated)?;
                after_first_pointer.get_or_insert(position + 1);
                pointers += 1;
                if pointers > MAX_POINTERS {
                    return Err(Malformed::TooManyPointers);
                }
                position = usize::from(u16::from_be_bytes([length ^ POINTER, low]));
            }
            _ => return Err(Malformed::LabelType(length)),
        }
    }
    if bytes_left == MAX_NAME {
        out.char('.');
    }
    Ok(after_first_pointer.unwrap_or(position))
}

/// Encodes a name in presentation format, fully qualified or not, without compression.
pub(super) fn encode(name: &str) -> Result<Vec<u8>, NameError> {
    let mut wire = Vec::with_capacity(name.len() + 2);
    let mut label = Vec::new();
    if !matches!(name, "" | ".") {
        let mut rest = name.as_bytes();
        while let Some((byte, tail)) = next_byte(rest)? {
            rest = tail;
            match byte {
                NameByte::Dot => push_label(&mut wire, &mut label)?,
                NameByte::Of(byte) => label.push(byte),
            }
        }
        if !label.is_empty() {
            push_label(&mut wire, &mut label)?;
        }
    }
    wire.push(0);
    if wire.len() > MAX_NAME {
        return Err(NameError::TooLong { length: wire.len() });
    }
    Ok(wire)
}

enum NameByte {
    /// A dot that ends a label.
    Dot,
    Of(u8),
}

/// The first byte of `name` with its escape resolved, and what follows.
fn next_byte(name: &[u8]) -> Result<Option<(NameByte, &[u8])>, NameError> {
    Ok(Some(match name {
        [] => return Ok(None),
        [b'.', tail @ ..] => (NameByte::Dot, tail),
        [b'\\', hundreds, tens, ones, tail @ ..]
            if [hundreds, tens, ones].iter().all(|b| b.is_ascii_digit()) =>
        {
            let number =
                [hundreds, tens, ones].iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(**digit - b'0'));
            let byte = u8::try_from(number).map_err(|_| NameError::Escape)?;
            (NameByte::Of(byte), tail)
        }
        [b'\\', byte, tail @ ..] => (NameByte::Of(*byte), tail),
        [b'\\'] => return Err(NameError::Escape),
        [byte, tail @ ..] => (NameByte::Of(*byte), tail),
    }))
}

fn push_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) -> Result<(), NameError> {
    match u8::try_from(label.len()) {
        Ok(0) => Err(NameError::EmptyLabel),
        Ok(length @ ..=MAX_LABEL) => {
            wire.push(length);
            wire.append(label);
            Ok(())
        }
        _ => Err(NameError::LabelTooLong { length: label.len() }),
    }
}

/// Why text is not a domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A dot at the start, or two dots in a row.
    #[error("a label is empty")]
    EmptyLabel,
    /// Limit of RFC 1035 §2.3.4.
    #[error("a label has {length} bytes, the limit is {MAX_LABEL}")]
    LabelTooLong {
        /// Bytes, escapes resolved.
        length: usize,
    },
    /// Limit of RFC 1035 §2.3.4.
    #[error("the name needs {length} bytes, the limit is {MAX_NAME}")]
    TooLong {
        /// Bytes on the wire, length bytes and root label included.
        length: usize,
    },
    /// A backslash at the end, or `\DDD` above 255.
    #[error("a backslash must be followed by a character or by three digits up to 255")]
    Escape,
}

/// Bytes of a label (RFC 1035 §2.3.4).
const MAX_LABEL: u8 = 63;

/// Bytes of a name on the wire, root label included (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

/// The two top bits of a length byte that begins a compression pointer.
const POINTER: u8 = 0b1100_0000;

/// More pointers than a name of [`MAX_NAME`] bytes can need: one for each one-byte label.
const MAX_POINTERS: usize = MAX_NAME.div_ceil(2) - 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_labels() {
        let cases: &[(&str, &[u8])] = &[
            ("", b"\0"),
            (".", b"\0"),
            ("Example.org", b"\x07Example\x03org\0"),
            ("example.org.", b"\x07example\x03org\0"),
            (r"we\.ird.test", b"\x06we.ird\x04test\0"),
            (r"sp\032ace\\.", b"\x07sp ace\\\0"),
            (r"end\.", b"\x04end.\0"),
            (r"end\\.", b"\x04end\\\0"),
            (r"\255\0x", b"\x03\xff0x\0"),
            ("é", b"\x02\xc3\xa9\0"),
        ];
        for (name, want) in cases {
            assert_eq!(encode(name).as_deref(), Ok(*want), "{name:?}");
        }
    }

    #[test]
    fn bad_text_is_refused() {
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(encode(&longest).map(|wire| wire.len()), Ok(255));
        let cases = [
            (".a".to_owned(), NameError::EmptyLabel),
            ("a..b".to_owned(), NameError::EmptyLabel),
            ("..".to_owned(), NameError::EmptyLabel),
            ("a".repeat(64), NameError::LabelTooLong { length: 64 }),
            ("a".repeat(400), NameError::LabelTooLong { length: 400 }),
            (format!("{longest}b"), NameError::TooLong { length: 256 }),
            ("a\\".to_owned(), NameError::Escape),
            (r"a\256".to_owned(), NameError::Escape),
        ];
        for (name, want) in cases {
            assert_eq!(encode(&name), Err(want), "{name:?}");
        }
    }

    #[test]
    fn labels_become_text() {
        let cases: &[(&[u8], usize, &str, usize)] = &[
            (b"\0", 0, ".", 1),
            (b"\x07Example\x03org\0rest", 0, "Example.org.", 13),
            (b"\x0fwe.ird x('@;)\"\\\0", 0, r#"we\.ird\ x\(\'\@\;\)\"\\."#, 17),
            (b"\x04\x00\x1f\x7f\xff\0", 0, r"\000\031\127\255.", 6),
            (b"\x03org\0\x03www\xc0\x00", 5, "www.org.", 11),
            (b"\xc0\x02\x01a\0", 0, "a.", 2),
        ];
        for (message, offset, want, end) in cases {
            let mut out = Output::collecting();
            let got = write(&mut out, message, *offset);
            assert_eq!(got, Ok(*end), "{want}");
            assert_eq!(out.into_text(), *want);
        }
    }

    #[test]
    fn bad_labels_are_refused() {
        let label = [&[63_u8][..], &[b'a'; 63]].concat();
        let too_long = [label.repeat(4), vec![0]].concat();
        let longest = [label.repeat(3), vec![61], vec![b'b'; 61], vec![0]].concat();
        assert_eq!(write(&mut Output::discarding(), &longest, 0), Ok(255), "255 bytes are allowed");
        // Each pointer leads to the next one: 126 are allowed, the 127th is not.
        let chain = |length: u8| -> Vec<u8> {
            let mut chain: Vec<u8> = (1..=length).flat_map(|next| [0xc0, next * 2]).collect();
            chain.push(0);
            chain
        };
        assert_eq!(write(&mut Output::discarding(), &chain(126), 0), Ok(2));
        let cases: &[(&str, &[u8], Malformed)] = &[
            ("nothing", b"", Malformed::Truncated),
            ("no root", b"\x01a", Malformed::Truncated),
            ("short label", b"\x05a", Malformed::Truncated),
            ("half a pointer", b"\xc0", Malformed::Truncated),
            ("pointer past the end", b"\xc0\x09", Malformed::Truncated),
            ("itself", b"\xc0\x00", Malformed::TooManyPointers),
            ("long chain", &chain(127), Malformed::TooManyPointers),
            ("a loop with a label", b"\x01a\xc0\x00", Malformed::TooManyPointers),
            ("reserved type", b"\x40", Malformed::LabelType(0x40)),
            ("256 bytes", &too_long, Malformed::NameTooLong),
        ];
        for (case, message, want) in cases {
            let got = write(&mut Output::discarding(), message, 0);
            assert_eq!(got, Err(want.clone()), "{case}");
        }
    }
}
