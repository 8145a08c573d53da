//! The bytes of a health check: protobuf messages of `grpc.health.v1`, the frame gRPC puts around a
//! message, and the texts of its headers.
//!
//! Two messages with one field each do not need a protobuf library, nor generated code.

use std::time::Duration;

use bytes::Bytes;

/// What a server says about a service (`HealthCheckResponse.ServingStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving(i32);

impl Serving {
    /// The only status that is a success.
    pub const SERVING: Self = Self(1);

    /// Label values by number, in the order of `health.proto`.
    pub const NAMES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

    /// The label value; `None` for a number that `health.proto` does not have.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.get(usize::try_from(self.0).ok()?).copied()
    }

    /// The number, as received.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Reads a `HealthCheckResponse`. Without a status it is 0, the default of proto3; fields that
    /// are not known are skipped.
    ///
    /// `None` if these bytes are no protobuf message.
    pub fn decode(mut message: &[u8]) -> Option<Self> {
        let mut status = 0;
        while !message.is_empty() {
            let key = varint(&mut message)?;
            match (key >> 3, key & 7) {
                (0, _) => return None,
                // An enumeration keeps the lower 32 bits, and the last of several values counts.
                (STATUS_FIELD, VARINT) => status = varint(&mut message)? as u32 as i32,
                (_, VARINT) => drop(varint(&mut message)?),
                (_, FIXED64) => skip(&mut message, 8)?,
                (_, LENGTH) => {
                    let length = varint(&mut message)?;
                    skip(&mut message, usize::try_from(length).ok()?)?;
                }
                (_, FIXED32) => skip(&mut message, 4)?,
                // Groups have been obsolete since before gRPC existed.
                _ => return None,
            }
        }
        Some(Self(status))
    }
}

/// `HealthCheckResponse.status`
const STATUS_FIELD: u64 = 1;

// Wire types of protobuf.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// At most ten bytes of seven bits each; what exceeds 64 bits is dropped.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn skip(bytes: &mut &[u8], length: usize) -> Option<()> {
    *bytes = bytes.get(length..)?;
    Some(())
}

/// A `HealthCheckRequest`, in its frame.
pub fn request(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 11);
    if !service.is_empty() {
        message.push(SERVICE_KEY);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

/// `HealthCheckRequest.service`: field 1 with a length.
const SERVICE_KEY: u8 = 1 << 3 | LENGTH as u8;

/// Gathers the one message of a response from pieces of any size.
#[derive(Debug, Default)]
pub struct Frame(Vec<u8>);

/// Why the body of a response does not hold one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadFrame {
    /// It is compressed, although we accept no compression; or the flag is neither 0 nor 1.
    Flag(u8),
    /// It is announced with this many bytes, more than [`MAX_MESSAGE`].
    TooLarge(u32),
    /// More bytes follow the message.
    Surplus,
    /// There is no message, or it ends early, after this many bytes.
    Short(usize),
}

/// Bytes accepted as the message of a response; one with a status has two.
pub const MAX_MESSAGE: u32 = 64 << 10;

/// A flag for compression, and the length of the message.
const PREFIX: usize = 5;

impl Frame {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), BadFrame> {
        self.0.extend_from_slice(piece);
        match (self.0.first(), self.length()) {
            (Some(&flag), _) if flag != 0 => Err(BadFrame::Flag(flag)),
            (_, Some(length)) if length > MAX_MESSAGE => Err(BadFrame::TooLarge(length)),
            (_, Some(length)) if self.0.len() - PREFIX > length as usize => Err(BadFrame::Surplus),
            _ => Ok(()),
        }
    }

    /// The message, once the body is over.
    pub fn message(&self) -> Result<&[u8], BadFrame> {
        match (self.length(), self.0.get(PREFIX..)) {
            (Some(length), Some(message)) if message.len() == length as usize => Ok(message),
            _ => Err(BadFrame::Short(self.0.len())),
        }
    }

    fn length(&self) -> Option<u32> {
        self.0.get(1..)?.first_chunk().copied().map(u32::from_be_bytes)
    }
}

/// The value of `grpc-timeout`: at most eight digits and a unit, of microseconds while they suffice.
pub fn timeout(left: Duration) -> String {
    let units = [(left.as_micros(), 'u'), (left.as_millis(), 'm'), (u128::from(left.as_secs()), 'S')];
    let (number, unit) =
        units.into_iter().find(|(number, _)| *number <= MAX_TIMEOUT).unwrap_or((MAX_TIMEOUT, 'S'));
    format!("{}{unit}", number.max(1))
}

/// What eight digits can hold.
const MAX_TIMEOUT: u128 = 99_999_999;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_read_as_protobuf() {
        let cases: &[(&str, &[u8], Option<i32>)] = &[
            ("serving", b"\x08\x01", Some(1)),
            ("the default is not sent", b"", Some(0)),
            ("the last value counts", b"\x08\x02\x08\x01", Some(1)),
            ("a number nobody has defined", b"\x08\x63", Some(99)),
            ("below zero", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Some(-1)),
            ("the lower 32 bits", b"\x08\x81\x80\x80\x80\x10", Some(1)),
            ("other fields", b"\x10\x05\x1a\x01x\x25abcd\x29abcdefgh\x08\x01", Some(1)),
            ("a status of another type", b"\x0a\x01x", Some(0)),
            ("field 0", b"\x00\x01", None),
            ("a group", b"\x13\x14", None),
            ("no value", b"\x08", None),
            ("an endless number", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None),
            ("a text that ends early", b"\x1a\x05x", None),
            ("a length beyond memory", b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", None),
            ("a fixed number that ends early", b"\x25abc", None),
        ];
        for (name, message, want) in cases {
            assert_eq!(Serving::decode(message).map(Serving::number), *want, "{name}");
        }
        let names = [-1, 0, 1, 2, 3, 4].map(|number| Serving(number).name());
        let want =
            [None, Some("UNKNOWN"), Some("SERVING"), Some("NOT_SERVING"), Some("SERVICE_UNKNOWN"), None];
        assert_eq!(names, want);
    }

    #[test]
    fn requests_are_framed() {
        assert_eq!(request("").as_ref(), b"\0\0\0\0\0");
        assert_eq!(request("a.B").as_ref(), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = request(&"x".repeat(300));
        assert_eq!(long.get(..8), Some(b"\0\0\0\x01\x2f\x0a\xac\x02".as_slice()));
        assert_eq!(long.len(), 308);
    }

    #[test]
    fn frames_hold_exactly_one_message() {
        type Case = (&'static str, &'static [&'static [u8]], Result<&'static [u8], BadFrame>);
        let cases: &[Case] = &[
            ("whole", &[b"\0\0\0\0\x02\x08\x01"], Ok(b"\x08\x01")),
            ("in pieces", &[b"\0", b"", b"\0\0\0", b"\x02\x08", b"\x01"], Ok(b"\x08\x01")),
            ("empty message", &[b"\0\0\0\0\0"], Ok(b"")),
            ("nothing", &[], Err(BadFrame::Short(0))),
            ("half a prefix", &[b"\0\0"], Err(BadFrame::Short(2))),
            ("half a message", &[b"\0\0\0\0\x02\x08"], Err(BadFrame::Short(6))),
            ("compressed", &[b"\x01"], Err(BadFrame::Flag(1))),
            ("unknown flag", &[b"\x02\0\0\0\0"], Err(BadFrame::Flag(2))),
            ("two messages", &[b"\0\0\0\0\0", b"\0"], Err(BadFrame::Surplus)),
            ("too large", &[b"\0\0\x01\0\x01"], Err(BadFrame::TooLarge(65537))),
            ("beyond memory", &[b"\0\xff\xff\xff\xff"], Err(BadFrame::TooLarge(u32::MAX))),
        ];
        for (name, pieces, want) in cases {
            let mut frame = Frame::default();
            let pushed = pieces.iter().try_for_each(|piece| frame.push(piece));
            assert_eq!(pushed.and_then(|()| frame.message()), *want, "{name}");
        }
    }

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
}
