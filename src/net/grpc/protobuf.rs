//! Protobuf on the wire: the fields of a message, one after the other, and how to write some.

/// A field as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'m> {
    /// Numbers, enumerations and truth values.
    Varint(u64),
    /// `double` and its like.
    Fixed64(u64),
    /// Text, bytes, messages, and numbers that are packed.
    Bytes(&'m [u8]),
    /// `float` and its like.
    Fixed32(u32),
}

/// The fields of a message with their numbers; `Err` for bytes that are no message, and then nothing more.
#[derive(Debug, Clone)]
pub struct Fields<'m>(&'m [u8]);

/// These bytes are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl<'m> Fields<'m> {
    /// Of the bytes of a message.
    pub fn of(message: &'m [u8]) -> Self {
        Self(message)
    }

    fn read(&mut self) -> Option<(u64, Value<'m>)> {
        let key = varint(&mut self.0)?;
        let value = match (key >> 3, key & 7) {
            (0, _) => return None,
            (_, VARINT) => Value::Varint(varint(&mut self.0)?),
            (_, FIXED64) => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            (_, LENGTH) => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                let (value, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(value)
            }
            (_, FIXED32) => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups have been obsolete since before gRPC existed.
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*value)
    }
}

impl<'m> Iterator for Fields<'m> {
    type Item = Result<(u64, Value<'m>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read().ok_or(Malformed);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

// Wire types.
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

/// Appends a number; 0 is the default and stays away.
pub fn put_varint(out: &mut Vec<u8>, field: u64, value: u64) {
    if value != 0 {
        write_varint(out, field << 3 | VARINT);
        write_varint(out, value);
    }
}

/// Appends a `double` and its like, whatever it is.
pub fn put_fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    write_varint(out, field << 3 | FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends text, bytes or a message; nothing is the default and stays away.
pub fn put_bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    if !value.is_empty() {
        put_message(out, field, value);
    }
}

/// Appends a message, also an empty one.
pub fn put_message(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    write_varint(out, field << 3 | LENGTH);
    write_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut message = Vec::new();
        put_varint(&mut message, 1, 0);
        put_varint(&mut message, 2, u64::MAX);
        put_varint(&mut message, 3000, 128);
        put_bytes(&mut message, 4, b"");
        put_bytes(&mut message, 5, &[7; 300]);
        put_message(&mut message, 6, b"");
        put_fixed64(&mut message, 7, 1);
        message.extend(b"\x45\x02\0\0\0");
        let fields: Result<Vec<_>, _> = Fields::of(&message).collect();
        let want = vec![
            (2, Value::Varint(u64::MAX)),
            (3000, Value::Varint(128)),
            (5, Value::Bytes(&[7; 300])),
            (6, Value::Bytes(b"")),
            (7, Value::Fixed64(1)),
            (8, Value::Fixed32(2)),
        ];
        assert_eq!(fields, Ok(want));
    }

    #[test]
    fn reading_ends_at_what_is_no_message() {
        let fields: Vec<_> = Fields::of(b"\x08\x01\x0a\x05x\x08\x01").collect();
        assert_eq!(fields, [Ok((1, Value::Varint(1))), Err(Malformed)]);
    }
}
