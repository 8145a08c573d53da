//! Watches the first bytes of a server, to know what it chose even if the handshake fails later.
//!
//! The TLS library forgets version and suite together with a failed connection, and they are worth
//! reporting exactly then. The ServerHello is never encrypted, so reading along is enough.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::record::Observer;

/// Bytes looked at before we give up; a ServerHello with a large key share has about 1200.
pub(super) const MAX_HELLO_BYTES: usize = 4096;

const HANDSHAKE_RECORD: u8 = 22;
const SERVER_HELLO: u8 = 2;
const SUPPORTED_VERSIONS: u16 = 43;

/// What the server chose, by its numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerHello {
    pub(super) version: u16,
    pub(super) cipher: u16,
}

/// The stream below TLS; passes everything through.
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    seen: Seen,
    observer: Observer,
}

#[derive(Debug)]
enum Seen {
    Bytes(Vec<u8>),
    Settled,
}

impl<S> Watched<S> {
    /// Reports to `observer` as soon as the ServerHello is complete.
    pub(super) fn new(stream: S, observer: Observer) -> Self {
        Self { stream, seen: Seen::Bytes(Vec::new()), observer }
    }

    /// The stream that was given to the handshake.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl Seen {
    /// Takes what was read, and returns the ServerHello once, when it is complete.
    fn watch(&mut self, read: &[u8]) -> Option<ServerHello> {
        let Self::Bytes(bytes) = self else {
            return None;
        };
        bytes.extend_from_slice(read);
        let parsed = parse(bytes);
        if parsed != Parsed::Unfinished || bytes.len() > MAX_HELLO_BYTES {
            *self = Self::Settled;
        }
        match parsed {
            Parsed::Hello(hello) => Some(hello),
            Parsed::Other | Parsed::Unfinished => None,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Unfinished,
    Other,
    Hello(ServerHello),
}

/// Reads a ServerHello (RFC 8446 §4.1.3) at the front of the first record. One that is split over
/// two records counts as `Other`.
fn parse(bytes: &[u8]) -> Parsed {
    if bytes.first().is_some_and(|&content| content != HANDSHAKE_RECORD) {
        return Parsed::Other;
    }
    let Some((header, rest)) = bytes.split_at_checked(5) else {
        return Parsed::Unfinished;
    };
    let length = header.last_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
    // A record may hold more messages, so the hello can be whole before the record is.
    let (record, whole) = match rest.split_at_checked(usize::from(length)) {
        Some((record, _)) => (record, true),
        None => (rest, false),
    };
    match hello(record) {
        Some(hello) => Parsed::Hello(hello),
        None if whole => Parsed::Other,
        None => Parsed::Unfinished,
    }
}

/// Reads a ServerHello at the front of handshake messages; `None` for anything else and for one that is cut.
pub(super) fn hello(record: &[u8]) -> Option<ServerHello> {
    let mut body = Fields(record);
    if body.take(1)? != [SERVER_HELLO] {
        return None;
    }
    let length = [&[0], body.take(3)?].concat();
    let length = u32::from_be_bytes(*length.first_chunk()?);
    let mut body = Fields(body.take(usize::try_from(length).ok()?)?);

    let legacy_version = body.number()?;
    let _random = body.take(32)?;
    let session_id_length = body.take(1)?.first().copied()?;
    let _session_id = body.take(usize::from(session_id_length))?;
    let cipher = body.number()?;
    let _compression = body.take(1)?;

    let mut version = legacy_version;
    // Extensions are optional up to TLS 1.2.
    if let Some(length) = body.number() {
        let mut extensions = Fields(body.take(usize::from(length))?);
        while let Some(kind) = extensions.number() {
            let length = extensions.number()?;
            let content = extensions.take(usize::from(length))?;
            if kind == SUPPORTED_VERSIONS {
                version = Fields(content).number()?;
            }
        }
    }
    Some(ServerHello { version, cipher })
}

/// Takes fields from the front; `None` once there are too few bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(field)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let Some(read) = buffer.filled().get(before..)
            && let Some(hello) = self.seen.watch(read)
        {
            self.observer.lock().hello = Some(hello);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ServerHello record; `extensions` without their outer length, `None` leaves them away.
    fn record(legacy_version: u16, cipher: u16, extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = legacy_version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.extend([3, 1, 2, 3]);
        body.extend(cipher.to_be_bytes());
        body.push(0);
        if let Some(extensions) = extensions {
            body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
            body.extend(extensions);
        }
        let length = u16::try_from(body.len()).unwrap();
        let mut record = vec![HANDSHAKE_RECORD, 3, 3];
        record.extend((length + 4).to_be_bytes());
        record.extend([SERVER_HELLO, 0]);
        record.extend(length.to_be_bytes());
        record.extend(body);
        record
    }

    #[test]
    fn the_choice_is_read_from_every_kind_of_hello() {
        let tls13 = [0, 51, 0, 2, 0, 29, 0, 43, 0, 2, 3, 4];
        let cases = [
            ("TLS 1.3", record(0x0303, 0x1301, Some(&tls13)), (0x0304, 0x1301)),
            ("TLS 1.2", record(0x0303, 0xc02f, Some(&[255, 1, 0, 1, 0])), (0x0303, 0xc02f)),
            ("TLS 1.0 without extensions", record(0x0301, 0x002f, None), (0x0301, 0x002f)),
        ];
        for (case, bytes, (version, cipher)) in cases {
            let want = Parsed::Hello(ServerHello { version, cipher });
            assert_eq!(parse(&bytes), want, "{case}");

            let mut followed = bytes.clone();
            followed.extend([20, 3, 3, 0, 1, 1]);
            assert_eq!(parse(&followed), want, "{case}, and what follows");

            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Parsed::Unfinished, "{case} at {cut}");
            }
        }
    }

    #[test]
    fn anything_else_settles_the_question() {
        let alert = [21, 3, 1, 0, 2, 2, 40].to_vec();
        let overlong = record(0x0303, 0x1301, Some(&[0, 43, 0, 9, 3]));
        let cases = [
            ("plain text", b"HTTP/1.1 400 Bad Request".to_vec()),
            ("an alert", alert),
            ("another handshake message", vec![22, 3, 3, 0, 4, 1, 0, 0, 0]),
            ("a body that ends too early", vec![22, 3, 3, 0, 6, 2, 0, 0, 2, 3, 3]),
            ("an extension longer than the hello", overlong),
        ];
        for (case, bytes) in cases {
            assert_eq!(parse(&bytes), Parsed::Other, "{case}");
        }
    }

    #[test]
    fn a_record_that_never_ends_is_not_kept() {
        let mut seen = Seen::Bytes(Vec::new());
        seen.watch(&[22, 3, 3, 255, 255]);
        for _ in 0..5 {
            seen.watch(&[2; 1000]);
        }
        assert!(matches!(seen, Seen::Settled));
    }
}
