//! DNS messages: encode one question, decode a response, show records as text.
//!
//! The text of a record is what users match regular expressions against, so it follows the Go
//! library miekg/dns byte for byte, odd corners included. Decoding is as lenient as that library
//! where it is lenient:
//!
//! - A message of 12 bytes is a header without sections, whatever its counts say.
//! - A section that ends early *between* two records has fewer records. Ending inside a record, or
//!   before the last announced question, is an error.
//! - Data that ends between two fields of a record leaves the remaining fields empty or zero.
//! - Bytes after the last announced record are ignored.
//!
//! And as strict where it is strict: one malformed record fails the whole message.
//!
//! Sockets, retries, and which answers count as good do not belong here.

mod codes;
mod edns;
mod message;
mod name;
mod output;
mod rdata;
mod reader;
mod svcb;
#[cfg(test)]
mod tests;
mod types;

pub use codes::{Class, Rcode};
pub use message::{DecodeError, Flags, Malformed, Message, Question, Record, Section};
pub use name::{Name, NameError};
pub use types::RecordType;

/// Encodes a query with one question and no EDNS(0), ready for a UDP datagram.
///
/// `name` is in presentation format and is made fully qualified; `\.`, `\\` and `\DDD` are
/// understood, case is kept, and `""` is the root like `"."`. The `id` is the first two bytes of
/// the result, big-endian (RFC 1035 §4.1).
///
/// # Errors
///
/// [`NameError`] when `name` cannot be written as labels.
pub fn encode_query(
    id: u16,
    name: &str,
    qtype: RecordType,
    class: Class,
    recursion_desired: bool,
) -> Result<Vec<u8>, NameError> {
    const RECURSION_DESIRED: u16 = 1 << 8;
    const QUESTIONS: u16 = 1;

    let name = name::encode(name)?;
    let flags = if recursion_desired { RECURSION_DESIRED } else { 0 };
    let mut query = Vec::with_capacity(message::HEADER_LENGTH + name.len() + 4);
    for word in [id, flags, QUESTIONS, 0, 0, 0] {
        query.extend_from_slice(&word.to_be_bytes());
    }
    query.extend_from_slice(&name);
    query.extend_from_slice(&qtype.0.to_be_bytes());
    query.extend_from_slice(&class.0.to_be_bytes());
    Ok(query)
}
