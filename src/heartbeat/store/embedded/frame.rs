//! The form of one value in the file, made so that it can be found and judged without anything around it.
//!
//! The database keeps checksums of its pages, but verifies them only after a crash, and gives up as a
//! whole when one page is bad. With frames, bit rot is noticed whenever a value is read, and what is
//! intact can be picked out of a file whose trees are gone.

use std::io::{self, Read};

use super::super::{Kind, MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// Not valid UTF-8, so no JSON contains it.
const MAGIC: [u8; 4] = [0xf5, b'H', b'B', 0x01];
/// Magic, slot, number of the commit, lengths of key and value.
const HEAD: usize = 4 + 1 + 8 + 2 + 4;
const CHECKSUM: usize = 4;
const MAX_FRAME: usize = HEAD + MAX_KEY_BYTES + MAX_VALUE_BYTES + CHECKSUM;
/// Bytes read at a time when a file is searched.
const CHUNK: usize = 1024 * 1024;

/// Which entry a value belongs to: first byte of its key in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    /// What is needed to understand the rest; there is one.
    Meta,
    /// A value.
    Value(Kind),
    /// Says that there is no value any more, so that a search does not bring back an old one.
    Removed(Kind),
}

impl Slot {
    pub(super) fn byte(self) -> u8 {
        let kind = |kind| match kind {
            Kind::Definition => 1,
            Kind::Record => 2,
            Kind::Mark => 3,
        };
        match self {
            Self::Meta => 0,
            Self::Value(of) => kind(of),
            Self::Removed(of) => REMOVED | kind(of),
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        let kind = match byte & !REMOVED {
            0 if byte == 0 => return Some(Self::Meta),
            1 => Kind::Definition,
            2 => Kind::Record,
            3 => Kind::Mark,
            _ => return None,
        };
        Some(if byte & REMOVED == 0 { Self::Value(kind) } else { Self::Removed(kind) })
    }
}

const REMOVED: u8 = 0x80;

/// A value as it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) slot: Slot,
    /// Number of the commit that wrote it; a later one has a higher number.
    pub(super) commit: u64,
    pub(super) key: &'a str,
    pub(super) value: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Replaces what is in `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.push(self.slot.byte());
        out.extend_from_slice(&self.commit.to_le_bytes());
        // Both lengths were checked when the write was accepted.
        out.extend_from_slice(&(self.key.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.value.len() as u32).to_le_bytes());
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(self.value);
        out.extend_from_slice(&crc32fast::hash(out).to_le_bytes());
    }

    /// The intact frame `bytes` begins with, if there is one.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let (magic, fields) = head.split_first_chunk::<4>()?;
        let (slot, fields) = fields.split_first()?;
        let (commit, fields) = fields.split_first_chunk::<8>()?;
        let (key_length, fields) = fields.split_first_chunk::<2>()?;
        let value_length = u32::from_le_bytes(*fields.first_chunk::<4>()?) as usize;
        let key_length = usize::from(u16::from_le_bytes(*key_length));
        if *magic != MAGIC || key_length > MAX_KEY_BYTES || value_length > MAX_VALUE_BYTES {
            return None;
        }
        let (key, rest) = rest.split_at_checked(key_length)?;
        let (value, rest) = rest.split_at_checked(value_length)?;
        let checksum = u32::from_le_bytes(*rest.first_chunk::<CHECKSUM>()?);
        if crc32fast::hash(bytes.get(..HEAD + key_length + value_length)?) != checksum {
            return None;
        }
        Some(Self {
            slot: Slot::from_byte(*slot)?,
            commit: u64::from_le_bytes(*commit),
            key: std::str::from_utf8(key).ok()?,
            value,
        })
    }

    /// Bytes of its encoded form.
    fn len(&self) -> usize {
        HEAD + self.key.len() + self.value.len() + CHECKSUM
    }
}

/// Shows every intact frame of a file, wherever it stands and however old it is.
///
/// # Errors
/// Those of reading.
pub(super) fn search(mut file: impl Read, mut found: impl FnMut(Frame<'_>)) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(CHUNK + MAX_FRAME);
    loop {
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut buffer)?;
        // What begins before this is complete, if it is a frame at all.
        let settled = if read == 0 { buffer.len() } else { buffer.len().saturating_sub(MAX_FRAME) };
        let mut at = 0;
        while let Some(rest) = buffer.get(at..).filter(|_| at < settled) {
            let Some(step) = rest.iter().position(|byte| *byte == MAGIC[0]) else {
                at = buffer.len();
                break;
            };
            at += step;
            if at >= settled {
                break;
            }
            match buffer.get(at..).and_then(Frame::decode) {
                Some(frame) => {
                    at += frame.len();
                    found(frame);
                }
                None => at += 1,
            }
        }
        if read == 0 {
            return Ok(());
        }
        buffer.drain(..at.min(buffer.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame<'_> =
        Frame { slot: Slot::Value(Kind::Record), commit: 7, key: "a/b", value: b"{\"x\":1}" };

    #[test]
    fn the_form_is_fixed() {
        let mut out = Vec::new();
        FRAME.encode(&mut out);
        let (content, checksum) = out.split_at(out.len() - 4);
        let head = b"\xf5HB\x01\x02\x07\0\0\0\0\0\0\0\x03\0\x07\0\0\0";
        assert_eq!(content, [&head[..], b"a/b", b"{\"x\":1}"].concat());
        assert_eq!(checksum, crc32fast::hash(content).to_le_bytes());
        assert_eq!(Frame::decode(&out), Some(FRAME));
        for slot in [Slot::Meta, Slot::Value(Kind::Mark), Slot::Removed(Kind::Definition)] {
            assert_eq!(Slot::from_byte(slot.byte()), Some(slot));
        }
        assert_eq!(Slot::from_byte(0x80), None);
    }

    #[test]
    fn any_changed_byte_and_any_cut_is_noticed() {
        let mut out = Vec::new();
        FRAME.encode(&mut out);
        for at in 0..out.len() {
            assert_eq!(Frame::decode(&out[..at]), None, "cut at {at}");
            let mut bad = out.clone();
            bad[at] ^= 0x20;
            assert_eq!(Frame::decode(&bad), None, "changed at {at}");
        }
    }

    #[test]
    fn frames_are_found_wherever_they_stand() {
        let large = vec![b'v'; MAX_VALUE_BYTES];
        // Around the borders of what is read at a time, behind half a frame, and at the very end.
        let mut file = vec![0xf5; 5];
        let mut want = Vec::new();
        let mut out = Vec::new();
        for commit in 0..20_u64 {
            let value = if commit % 3 == 0 { &large[..] } else { b"small" };
            Frame { commit, value, ..FRAME }.encode(&mut out);
            file.extend_from_slice(&out[..out.len() / 2]);
            file.extend_from_slice(&vec![0; usize::try_from(commit).unwrap() * 37]);
            file.extend_from_slice(&out);
            want.push((commit, value.len()));
        }
        let mut got = Vec::new();
        search(&file[..], |frame| got.push((frame.commit, frame.value.len()))).unwrap();
        assert_eq!(got, want);
    }
}
