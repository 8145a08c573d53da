//! The frame gRPC puts around a message: a flag for compression and the length.

use bytes::{Buf as _, Bytes, BytesMut};

/// A message in its frame, not compressed.
pub fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.push(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed.into()
}

/// Why bytes are no message in a frame.
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

/// Bytes accepted as one message; those of health checks and heartbeats have some hundred.
pub const MAX_MESSAGE: u32 = 64 << 10;

/// A flag for compression, and the length of the message.
const PREFIX: usize = 5;

/// Messages one after the other, from pieces of any size.
#[derive(Debug, Default)]
pub struct Frames(BytesMut);

impl Frames {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }

    /// The next message, if all of it is there.
    ///
    /// # Errors
    /// [`BadFrame::Flag`] and [`BadFrame::TooLarge`], as soon as they can be told.
    pub fn message(&mut self) -> Result<Option<Bytes>, BadFrame> {
        let (Some(&flag), length) = (self.0.first(), length(&self.0)) else { return Ok(None) };
        if flag != 0 {
            return Err(BadFrame::Flag(flag));
        }
        let Some(length) = length else { return Ok(None) };
        if length > MAX_MESSAGE {
            return Err(BadFrame::TooLarge(length));
        }
        if self.0.len() - PREFIX < length as usize {
            return Ok(None);
        }
        self.0.advance(PREFIX);
        Ok(Some(self.0.split_to(length as usize).freeze()))
    }

    /// Bytes that are no whole message yet.
    pub fn rest(&self) -> usize {
        self.0.len()
    }
}

fn length(bytes: &[u8]) -> Option<u32> {
    bytes.get(1..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// Gathers the one message of a body from pieces of any size.
#[derive(Debug, Default)]
pub struct Frame(Vec<u8>);

impl Frame {
    /// Takes the next piece.
    ///
    /// # Errors
    /// All but [`BadFrame::Short`].
    pub fn push(&mut self, piece: &[u8]) -> Result<(), BadFrame> {
        self.0.extend_from_slice(piece);
        match (self.0.first(), length(&self.0)) {
            (Some(&flag), _) if flag != 0 => Err(BadFrame::Flag(flag)),
            (_, Some(length)) if length > MAX_MESSAGE => Err(BadFrame::TooLarge(length)),
            (_, Some(length)) if self.0.len() - PREFIX > length as usize => Err(BadFrame::Surplus),
            _ => Ok(()),
        }
    }

    /// The message, once the body is over.
    ///
    /// # Errors
    /// [`BadFrame::Short`].
    pub fn message(&self) -> Result<&[u8], BadFrame> {
        match (length(&self.0), self.0.get(PREFIX..)) {
            (Some(length), Some(message)) if message.len() == length as usize => Ok(message),
            _ => Err(BadFrame::Short(self.0.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn frames_follow_each_other() {
        type Case =
            (&'static str, &'static [&'static [u8]], &'static [&'static [u8]], Result<usize, BadFrame>);
        let cases: &[Case] = &[
            ("two in one piece", &[b"\0\0\0\0\x01a\0\0\0\0\x02bc"], &[b"a", b"bc"], Ok(0)),
            ("in pieces", &[b"\0\0\0\0", b"\x02b", b"", b"c\0\0"], &[b"bc"], Ok(2)),
            ("empty messages", &[b"\0\0\0\0\0\0\0\0\0\0"], &[b"", b""], Ok(0)),
            ("compressed", &[b"\0\0\0\0\x01a\x01"], &[b"a"], Err(BadFrame::Flag(1))),
            ("too large", &[b"\0\0\x01\0\x01"], &[], Err(BadFrame::TooLarge(65537))),
        ];
        for (name, pieces, want, end) in cases {
            let mut frames = Frames::default();
            let mut got = Vec::new();
            let mut result = Ok(());
            for piece in *pieces {
                frames.push(piece);
                while result.is_ok() {
                    match frames.message() {
                        Ok(Some(message)) => got.push(message),
                        Ok(None) => break,
                        Err(bad) => result = Err(bad),
                    }
                }
            }
            assert_eq!(
                (got, result.map(|()| frames.rest())),
                (want.iter().map(|m| Bytes::from_static(m)).collect(), *end),
                "{name}"
            );
        }
    }
}
