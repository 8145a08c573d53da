//! The frames of a response (RFC 9114 §7), cut out of its stream before the h3 library sees them.
//!
//! The library decodes headers. Left alone with the stream it would keep every frame but DATA in memory, of
//! whatever length, take an empty DATA frame for the end of the body, and miss that a stream ended within one.

use std::fmt;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use quinn::{ReadError, RecvStream};

/// Bytes of header accepted in a response, on the wire, and decoded with 32 more for each field (RFC 9114
/// §4.2.2). The map that keeps them takes 24,576 names, which a longer header could exceed.
pub const MAX_HEADER_BYTES: usize = 512 << 10;
/// Bytes of frames nobody knows (RFC 9114 §9) that may come in a row.
const MAX_SKIPPED_BYTES: u64 = 1 << 20;

const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
/// Frames of HTTP/2, of other streams, and of pushes, which we do not allow (RFC 9114 §7.2).
const FORBIDDEN: [u64; 9] = [0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0d];

/// What a response is made of.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole HEADERS frame, its head included.
    Headers(Bytes),
    /// Some of a body; never empty.
    Data(Bytes),
}

/// Why there is no next piece.
#[derive(Debug)]
pub enum FrameError {
    /// The stream failed.
    Read(ReadError),
    /// A header is larger than [`MAX_HEADER_BYTES`], or too much came that is neither header nor body.
    TooLarge,
    /// A frame came where it has no business.
    Unexpected(u64),
    /// The stream ended within a frame.
    Cut,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::TooLarge => f.write_str("more came than a response needs"),
            Self::Unexpected(kind) => write!(f, "a frame of type {kind:#x} came out of place"),
            Self::Cut => f.write_str("the stream ended within a frame"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Reads the frames of one stream.
#[derive(Debug, Default)]
pub struct Frames {
    stream: Option<RecvStream>,
    parser: Parser,

    has_trailers: bool,
}

impl Frames {
    /// Takes the stream the request went out on.
    pub fn begin(&mut self, stream: RecvStream) {
        self.stream = Some(stream);
    }

    /// The next HEADERS frame of a response that has not begun its body; `None` at the end of the stream.
    ///
    /// # Errors
    /// Anything else comes.
    pub fn poll_headers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, FrameError>> {
        Poll::Ready(match ready!(self.poll_piece(cx))? {
            Some(Piece::Headers(frame)) => Ok(Some(frame)),
            Some(Piece::Data(_)) => Err(FrameError::Unexpected(DATA)),
            None => Ok(None),
        })
    }

    /// The next part of the body; `None` at the end of the stream. Trailers are passed over.
    ///
    /// # Errors
    /// The stream is not what a response looks like after its header.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, FrameError>> {
        loop {
            return Poll::Ready(match ready!(self.poll_piece(cx))? {
                Some(Piece::Data(_)) if self.has_trailers => Err(FrameError::Unexpected(DATA)),
                Some(Piece::Headers(_)) if self.has_trailers => Err(FrameError::Unexpected(HEADERS)),
                Some(Piece::Data(data)) => Ok(Some(data)),
                Some(Piece::Headers(_)) => {
                    self.has_trailers = true;
                    continue;
                }
                None => Ok(None),
            });
        }
    }

    /// Asks the server to stop.
    pub fn stop(&mut self, code: quinn::VarInt) {
        if let Some(stream) = &mut self.stream {
            // Fails only for a stream that has ended.
            let _ = stream.stop(code);
        }
    }

    /// The stream's number.
    pub fn id(&self) -> Option<quinn::StreamId> {
        self.stream.as_ref().map(RecvStream::id)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, FrameError>> {
        loop {
            if let Some(piece) = self.parser.next()? {
                return Poll::Ready(Ok(Some(piece)));
            }
            let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(None)) };
            // Nothing is lost with this future, and the stream remembers who is to be woken.
            let read = pin!(stream.read_chunk(usize::MAX, true)).poll(cx);
            match ready!(read).map_err(FrameError::Read)? {
                Some(chunk) => self.parser.unread = chunk.bytes,
                None if self.parser.is_between_frames() => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(FrameError::Cut)),
            }
        }
    }
}

/// From bytes to pieces, without I/O.
#[derive(Debug, Default)]
struct Parser {
    unread: Bytes,
    state: State,
    skipped: u64,
}

#[derive(Debug)]
enum State {
    /// The head of a frame, as far as it has come.
    Head(Vec<u8>),
    /// A body, of which this much is to come.
    Data(u64),
    /// A header as far as it has come, its frame's head included, and what is to come.
    Headers(Vec<u8>, usize),
    /// Something else, of which this much is to come.
    Skip(u64),
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl Parser {
    fn is_between_frames(&self) -> bool {
        self.unread.is_empty() && matches!(&self.state, State::Head(head) if head.is_empty())
    }

    /// The next piece in what is unread; `None` when more is needed.
    fn next(&mut self) -> Result<Option<Piece>, FrameError> {
        loop {
            match &mut self.state {
                State::Head(head) => {
                    if self.unread.is_empty() {
                        return Ok(None);
                    }
                    head.push(self.unread.get_u8());
                    let Some((kind, length)) = frame_head(head) else { continue };
                    let head = std::mem::take(head);
                    self.state = self.begin(head, kind, length)?;
                }
                State::Data(0) | State::Skip(0) => self.state = State::default(),
                State::Headers(frame, 0) => {
                    let frame = std::mem::take(frame);
                    self.state = State::default();
                    self.skipped = 0;
                    return Ok(Some(Piece::Headers(frame.into())));
                }
                _ if self.unread.is_empty() => return Ok(None),
                State::Data(left) => {
                    let data = self.unread.split_to(at_most(*left, self.unread.len()));
                    *left -= data.len() as u64;
                    self.skipped = 0;
                    return Ok(Some(Piece::Data(data)));
                }
                State::Skip(left) => {
                    let count = at_most(*left, self.unread.len());
                    self.unread.advance(count);
                    *left -= count as u64;
                }
                State::Headers(frame, left) => {
                    let part = self.unread.split_to((*left).min(self.unread.len()));
                    *left -= part.len();
                    frame.extend_from_slice(&part);
                }
            }
        }
    }

    fn begin(&mut self, head: Vec<u8>, kind: u64, length: u64) -> Result<State, FrameError> {
        match kind {
            DATA if length > 0 => Ok(State::Data(length)),
            HEADERS => match usize::try_from(length) {
                Ok(length) if length <= MAX_HEADER_BYTES => Ok(State::Headers(head, length)),
                _ => Err(FrameError::TooLarge),
            },
            kind if FORBIDDEN.contains(&kind) => Err(FrameError::Unexpected(kind)),
            // Empty DATA too, which may come without end.
            _ => {
                self.skipped = self.skipped.saturating_add(length).saturating_add(head.len() as u64);
                if self.skipped > MAX_SKIPPED_BYTES {
                    Err(FrameError::TooLarge)
                } else {
                    Ok(State::Skip(length))
                }
            }
        }
    }
}

fn at_most(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

/// Type and length in front of a frame; `None` while it is incomplete.
fn frame_head(bytes: &[u8]) -> Option<(u64, u64)> {
    let (kind, rest) = integer(bytes)?;
    let (length, _) = integer(rest)?;
    Some((kind, length))
}

/// An integer of 1, 2, 4 or 8 bytes (RFC 9000 §16), and what follows it.
fn integer(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = number.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((value & (u64::MAX >> (66 - 8 * number.len())), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_the_examples_of_the_rfc() {
        let cases: [(&[u8], Option<u64>); 7] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], Some(151_288_809_941_952_652)),
            (&[0x9d, 0x7f, 0x3e, 0x7d], Some(494_878_333)),
            (&[0x7b, 0xbd], Some(15_293)),
            (&[0x25], Some(37)),
            (&[0x40, 0x25], Some(37)),
            (&[0x7b], None),
            (&[], None),
        ];
        for (bytes, want) in cases {
            assert_eq!(integer(bytes).map(|(value, _)| value), want, "{bytes:x?}");
        }
    }

    /// Pieces of a stream that comes in chunks of `size`, or the error in front of which they came.
    fn pieces(bytes: &[u8], size: usize) -> (String, Parser) {
        let mut parser = Parser::default();
        let mut text = String::new();
        for chunk in bytes.chunks(size) {
            parser.unread = Bytes::copy_from_slice(chunk);
            loop {
                match parser.next() {
                    Ok(Some(Piece::Headers(frame))) => text += &format!("H{} ", frame.len()),
                    Ok(Some(Piece::Data(data))) => text += std::str::from_utf8(&data).unwrap(),
                    Ok(None) => break,
                    Err(error) => return (format!("{text}! {error}"), parser),
                }
            }
        }
        (text, parser)
    }

    #[test]
    fn frames_come_out_however_they_are_split() {
        let cases: [(&str, &[u8], &str, bool); 11] = [
            ("a response", &[1, 2, 0, 0, 0, 2, b'a', b'b'], "H4 ab", true),
            ("a long length", &[1, 0x40, 2, 0, 0], "H5 ", true),
            ("an empty part of a body", &[0, 1, b'a', 0, 0, 0, 1, b'b'], "ab", true),
            ("an unknown frame", &[0x21, 3, 9, 9, 9, 0, 1, b'a'], "a", true),
            ("trailers", &[0, 1, b'a', 1, 1, 0], "aH3 ", true),
            ("within a body", &[0, 2, b'a'], "a", false),
            ("before a body", &[0, 2], "", false),
            ("within a head", &[0], "", false),
            ("within an unknown frame", &[0x21, 3, 9], "", false),
            ("a frame of HTTP/2", &[0, 1, b'a', 6, 0], "a! a frame of type 0x6 came out of place", false),
            (
                "a header of a gigabyte",
                &[1, 0xbf, 0xff, 0xff, 0xff],
                "! more came than a response needs",
                true,
            ),
        ];
        for (name, bytes, want, is_whole) in cases {
            for size in [1, 2, 3, 100] {
                let (got, parser) = pieces(bytes, size);
                assert_eq!(got, want, "{name} by {size}");
                if !got.contains('!') {
                    assert_eq!(parser.is_between_frames(), is_whole, "{name} by {size}");
                }
            }
        }
    }

    #[test]
    fn what_nobody_wants_does_not_go_on_for_ever() {
        for frame in [&[0x21, 2, 9, 9][..], &[0, 0]] {
            let (got, _) = pieces(&frame.repeat(600_000), 1000);
            assert_eq!(got, "! more came than a response needs");
            let useful = [&frame.repeat(200_000), &[0, 1, b'a'][..]].concat().repeat(4);
            assert_eq!(pieces(&useful, 1000).0, "aaaa");
        }
    }
}
