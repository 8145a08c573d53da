//! Reads the fields of one record's data.

use super::message::Malformed;
use super::name;
use super::output::Output;

/// A position in the message, which is cut at the end of the record's data: compression pointers
/// reach back into the message, nothing reaches past the end.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    message: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8], offset: usize) -> Self {
        Self { message, offset }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.offset >= self.message.len()
    }

    /// The next `N` bytes, or zeros when the data ended before this field.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        if self.is_at_end() { Ok([0; N]) } else { self.required() }
    }

    /// The next `N` bytes; the end of the data is an error.
    pub(super) fn required<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self
            .message
            .get(self.offset..)
            .and_then(|rest| rest.first_chunk::<N>())
            .ok_or(Malformed::Truncated)?;
        self.offset += N;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let bytes = self.message.get(self.offset..self.offset + length).ok_or(Malformed::Truncated)?;
        self.offset += length;
        Ok(bytes)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        let rest = self.message.get(self.offset..).unwrap_or_default();
        self.offset = self.message.len();
        rest
    }

    /// A character-string: one length byte, then the bytes. Empty when the data ended before it.
    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Writes the name here, or nothing when the data ended before it.
    pub(super) fn write_name(&mut self, out: &mut Output) -> Result<(), Malformed> {
        if !self.is_at_end() {
            self.offset = name::write(out, self.message, self.offset)?;
        }
        Ok(())
    }

    /// Passes over the name here.
    pub(super) fn skip_name(&mut self) -> Result<(), Malformed> {
        self.write_name(&mut Output::discarding())
    }
}
