//! Decodes a whole message into sections of records that still point into its bytes.

use std::fmt;

use super::codes::{Class, Rcode};
use super::edns;
use super::name::Name;
use super::output::Output;
use super::rdata;
use super::reader::Reader;
use super::types::{Layout, RecordType};

/// A decoded message. Records borrow the bytes; their text is made when it is asked for.
#[derive(Debug)]
pub struct Message<'a> {
    /// Chosen by the client, repeated by the server.
    pub id: u16,
    /// The header bits.
    pub flags: Flags,
    /// The header's four bits, extended by the last OPT record of the additional section.
    pub rcode: Rcode,
    /// What was asked.
    pub questions: Vec<Question<'a>>,
    /// Answer section.
    pub answer: Vec<Record<'a>>,
    /// Authority section.
    pub authority: Vec<Record<'a>>,
    /// Additional section; an OPT record counts as one of its records.
    pub additional: Vec<Record<'a>>,
}

/// The header bits (RFC 1035 §4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// QR: a response, not a query.
    pub response: bool,
    /// 0 to 15, 0 is a standard query.
    pub opcode: u8,
    /// AA
    pub authoritative: bool,
    /// TC
    pub truncated: bool,
    /// RD
    pub recursion_desired: bool,
    /// RA
    pub recursion_available: bool,
}

/// One entry of the question section.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The name asked for.
    pub name: Name<'a>,
    /// 0 when the message ended before it.
    pub qtype: RecordType,
    /// 0 when the message ended before it.
    pub class: Class,
}

/// One resource record. `Display` is its presentation text:
/// owner, TTL, class, type and data, separated by tabs.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// The owner.
    pub name: Name<'a>,
    /// The type.
    pub rtype: RecordType,
    /// The class; the UDP payload size for OPT.
    pub class: Class,
    /// Seconds; version and flags for OPT.
    pub ttl: u32,
    /// At the start of the data.
    data: Reader<'a>,
}

impl<'a> Message<'a> {
    /// Decodes a message and checks every record.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] with the first part that is malformed. The module documentation says what
    /// is tolerated.
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let too_short = DecodeError::Header { length: message.len() };
        let header = message.first_chunk::<HEADER_LENGTH>().ok_or(too_short)?;
        let [id, bits, questions, answer, authority, additional] = words(header);

        let mut decoded = Self {
            id,
            flags: Flags::from_bits(bits),
            rcode: Rcode(bits & 0x0f),
            questions: Vec::new(),
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        };
        if message.len() == HEADER_LENGTH {
            return Ok(decoded);
        }
        let mut sections = Sections { message, offset: HEADER_LENGTH };
        decoded.questions = sections.questions(questions)?;
        decoded.answer = sections.records(answer, Section::Answer)?;
        decoded.authority = sections.records(authority, Section::Authority)?;
        decoded.additional = sections.records(additional, Section::Additional)?;
        if let Some(opt) = decoded.additional.iter().rfind(|record| record.is_opt()) {
            decoded.rcode.0 |= opt.edns_header().extended_rcode();
        }
        Ok(decoded)
    }
}

impl Flags {
    fn from_bits(bits: u16) -> Self {
        let bit = |number: u32| bits & (1 << number) != 0;
        let [upper, _] = bits.to_be_bytes();
        Self {
            response: bit(15),
            opcode: upper >> 3 & 0x0f,
            authoritative: bit(10),
            truncated: bit(9),
            recursion_desired: bit(8),
            recursion_available: bit(7),
        }
    }
}

impl Record<'_> {
    /// The presentation text, as `Display` gives it.
    pub fn text(&self) -> String {
        let mut out = Output::collecting();
        self.write_header(&mut out);
        // Cannot fail: decoding has read the same data with the same code.
        let _ = self.write_data(&mut out);
        out.into_text()
    }

    /// The serial of a SOA record, 0 when its data ends before it; `None` for any other type.
    pub fn soa_serial(&self) -> Option<u32> {
        if self.rtype != RecordType::SOA {
            return None;
        }
        let mut data = self.data;
        data.skip_name().ok()?;
        data.skip_name().ok()?;
        data.u32().ok()
    }

    /// Empty data is always good: dynamic updates use it (RFC 2136 §2.4).
    fn check_data(&self) -> Result<(), Malformed> {
        self.write_data(&mut Output::discarding())
    }

    fn is_opt(&self) -> bool {
        self.rtype == RecordType::OPT
    }

    fn edns_header(&self) -> edns::Header {
        edns::Header { ttl: self.ttl, udp_size: self.class.0 }
    }

    fn write_header(&self, out: &mut Output) {
        match self.rtype.layout() {
            Layout::Edns => return edns::write_heading(out, self.edns_header()),
            Layout::Commented(prefix, _) => out.str(prefix),
            Layout::Null => out.char(';'),
            Layout::Fields(_) | Layout::Generic => {}
        }
        self.name.write(out);
        out.value(format_args!("\t{}\t", self.ttl));
        if matches!(self.rtype.layout(), Layout::Generic) {
            out.value(format_args!("CLASS{}\tTYPE{}\t", self.class.0, self.rtype.0));
        } else {
            out.value(format_args!("{}\t{}\t", self.class, self.rtype));
        }
    }

    fn write_data(&self, out: &mut Output) -> Result<(), Malformed> {
        let mut data = self.data;
        match self.rtype.layout() {
            Layout::Fields(fields) => rdata::write_fields(out, fields, &mut data),
            Layout::Commented(_, fields) => {
                out.char(' ');
                rdata::write_fields(out, fields, &mut data)
            }
            Layout::Null => {
                out.raw(data.rest());
                Ok(())
            }
            Layout::Edns => edns::write_options(out, &mut data),
            Layout::Generic => {
                let bytes = data.rest();
                out.value(format_args!("\\# {} ", bytes.len()));
                out.hex(bytes);
                Ok(())
            }
        }
    }
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

/// The position while walking from section to section.
struct Sections<'a> {
    message: &'a [u8],
    offset: usize,
}

impl<'a> Sections<'a> {
    fn questions(&mut self, count: u16) -> Result<Vec<Question<'a>>, DecodeError> {
        (0..usize::from(count))
            .map(|index| self.question().map_err(|source| DecodeError::Question { index, source }))
            .collect()
    }

    fn question(&mut self) -> Result<Question<'a>, Malformed> {
        let (name, end) = Name::parse(self.message, self.offset)?;
        let mut rest = Reader::new(self.message, end);
        let (qtype, class) = (RecordType(rest.u16()?), Class(rest.u16()?));
        self.offset = rest.offset();
        Ok(Question { name, qtype, class })
    }

    fn records(&mut self, count: u16, section: Section) -> Result<Vec<Record<'a>>, DecodeError> {
        // No capacity from the count: the peer may announce records it does not send.
        let mut records = Vec::new();
        for index in 0..usize::from(count) {
            if self.offset >= self.message.len() {
                break;
            }
            let record = self.record_header().map_err(|source| DecodeError::RecordHeader {
                section,
                index,
                source,
            })?;
            record.check_data().map_err(|source| DecodeError::RecordData {
                section,
                index,
                rtype: record.rtype,
                source,
            })?;
            records.push(record);
        }
        Ok(records)
    }

    fn record_header(&mut self) -> Result<Record<'a>, Malformed> {
        let (name, end) = Name::parse(self.message, self.offset)?;
        let mut rest = Reader::new(self.message, end);
        let rtype = RecordType(u16::from_be_bytes(rest.required()?));
        let class = Class(u16::from_be_bytes(rest.required()?));
        let ttl = u32::from_be_bytes(rest.required()?);
        let length = u16::from_be_bytes(rest.required()?);
        let start = rest.offset();
        let end = start + usize::from(length);
        let up_to_end = self.message.get(..end).ok_or(Malformed::Truncated)?;
        self.offset = end;
        Ok(Record { name, rtype, class, ttl, data: Reader::new(up_to_end, start) })
    }
}

/// A section of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Records that answer the question.
    Answer,
    /// Records that point to an authority.
    Authority,
    /// Records that help using the others.
    Additional,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answer => "answer",
            Self::Authority => "authority",
            Self::Additional => "additional",
        })
    }
}

/// Which part of a message could not be decoded. Indexes count from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a header.
    #[error("a message of {length} bytes is shorter than its header")]
    Header {
        /// Bytes of the message.
        length: usize,
    },
    /// An announced question.
    #[error("question[{index}] is malformed")]
    Question {
        /// Of the question.
        index: usize,
        /// What is wrong with it.
        source: Malformed,
    },
    /// A record's owner, type, class, TTL or length.
    #[error("{section}[{index}] has a malformed header")]
    RecordHeader {
        /// Where the record is.
        section: Section,
        /// Of the record in its section.
        index: usize,
        /// What is wrong with its header.
        source: Malformed,
    },
    /// A record's data.
    #[error("{section}[{index}] is a malformed {rtype} record")]
    RecordData {
        /// Where the record is.
        section: Section,
        /// Of the record in its section.
        index: usize,
        /// Its type.
        rtype: RecordType,
        /// What is wrong with its data.
        source: Malformed,
    },
}

/// What is wrong with the bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The message or the record's data ends inside a field.
    #[error("it ends inside a field")]
    Truncated,
    /// A name of more than 255 bytes.
    #[error("a name is longer than 255 bytes")]
    NameTooLong,
    /// A loop of compression pointers, or a senseless chain.
    #[error("a name has too many compression pointers")]
    TooManyPointers,
    /// A length byte that begins with the bits 01 or 10.
    #[error("a name has a label of unknown type {0:#04x}")]
    LabelType(u8),
    /// The record's length is larger than what its type uses.
    #[error("{bytes} bytes are left over")]
    LeftOver {
        /// Bytes after the last field.
        bytes: usize,
    },
    /// A value outside what the type allows.
    #[error("bad value: {0}")]
    Value(&'static str),
}

fn words(header: &[u8; HEADER_LENGTH]) -> [u16; 6] {
    let mut words = [0; 6];
    for (word, bytes) in words.iter_mut().zip(header.as_chunks::<2>().0) {
        *word = u16::from_be_bytes(*bytes);
    }
    words
}

/// Bytes of a message header (RFC 1035 §4.1.1).
pub(super) const HEADER_LENGTH: usize = 12;
