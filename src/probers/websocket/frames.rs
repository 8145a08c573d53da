//! WebSocket frames as a client reads and writes them (RFC 6455 §5): no extensions, bounded messages.
//!
//! Text that is not UTF-8 is passed on as it is, as in the peer; checks see bytes.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::net::buffered::{Buffered, Short};

/// A connection after its upgrade.
#[derive(Debug)]
pub struct Frames<S> {
    stream: Buffered<S>,
    /// Whether our Close is out, after which nothing may follow (§5.5.1).
    closed: bool,
}

/// Why there is no message, or none could be sent.
#[derive(Debug)]
pub enum Fault {
    /// The peer said that it is done: code and text.
    Closed(Option<(u16, String)>),
    /// The connection ended without a word.
    End,
    /// A message has more than [`MAX_MESSAGE`] bytes.
    TooLarge,
    /// The peer broke the protocol.
    Protocol(&'static str),
    /// The connection broke.
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(Some((code, text))) if text.is_empty() => write!(f, "closed with code {code}"),
            Self::Closed(Some((code, text))) => write!(f, "closed with code {code}, {text:?}"),
            Self::Closed(None) => f.write_str("closed without a code"),
            Self::End => f.write_str("ended the connection without closing the WebSocket"),
            Self::TooLarge => write!(f, "sent a message of more than {MAX_MESSAGE} bytes"),
            Self::Protocol(what) => f.write_str(what),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// The beginning of a frame.
struct Header {
    last: bool,
    opcode: u8,
    length: u64,
}

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// What follows the answer to the upgrade is in `stream`'s buffer already.
    pub fn new(stream: Buffered<S>) -> Self {
        Self { stream, closed: false }
    }

    /// Waits for the next message, text or binary, and puts it in place of what `message` holds.
    ///
    /// Pings are answered meanwhile, and a Close as well, before it is returned as a fault.
    ///
    /// # Errors
    /// There is no message, and there will be none.
    pub async fn receive(&mut self, message: &mut Vec<u8>) -> Result<(), Fault> {
        message.clear();
        let mut begun = false;
        loop {
            let header = self.header().await?;
            if header.opcode >= CLOSE {
                self.control(&header).await?;
                continue;
            }
            match (header.opcode, begun) {
                (CONTINUATION, true) | (TEXT | BINARY, false) => begun = true,
                (CONTINUATION, false) => return Err(Fault::Protocol("continued a message that never began")),
                (TEXT | BINARY, true) => {
                    return Err(Fault::Protocol("began a message inside another"));
                }
                _ => return Err(Fault::Protocol("sent a frame with a reserved opcode")),
            }
            let room = MAX_MESSAGE - message.len();
            let length = usize::try_from(header.length).unwrap_or(usize::MAX);
            if length > room {
                return Err(Fault::TooLarge);
            }
            self.payload(length, message).await?;
            if header.last {
                return Ok(());
            }
        }
    }

    /// Sends a text message in one frame.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send_text(&mut self, text: &[u8]) -> Result<(), Fault> {
        self.send(TEXT, text).await
    }

    /// Says that we are done, if that can be said without waiting.
    pub async fn close(&mut self) {
        if self.closed {
            return;
        }
        let code = NORMAL_CLOSURE.to_be_bytes();
        // The probe is over: neither an error nor a full buffer matters any more.
        let _ = tokio::time::timeout(Duration::ZERO, self.send(CLOSE, &code)).await;
    }

    async fn header(&mut self) -> Result<Header, Fault> {
        let &[first, second] = self.array().await?;
        if first & 0x70 != 0 {
            return Err(Fault::Protocol(
                "sent a frame with reserved bits, though no extension was asked for",
            ));
        }
        if second & 0x80 != 0 {
            return Err(Fault::Protocol("sent a masked frame, as only clients may"));
        }
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(*self.array().await?)),
            127 => u64::from_be_bytes(*self.array().await?),
            short => u64::from(short),
        };
        Ok(Header { last: first & 0x80 != 0, opcode: first & 0x0f, length })
    }

    async fn control(&mut self, header: &Header) -> Result<(), Fault> {
        if !header.last || header.length > MAX_CONTROL {
            return Err(Fault::Protocol("sent a control frame that is too long or in pieces"));
        }
        let mut payload = Vec::new();
        self.payload(usize::try_from(header.length).unwrap_or_default(), &mut payload).await?;
        match header.opcode {
            PING => self.send(PONG, &payload).await,
            PONG => Ok(()),
            CLOSE => {
                let reason = match payload.as_slice() {
                    [] => None,
                    [high, low, text @ ..] => {
                        let code = u16::from_be_bytes([*high, *low]);
                        Some((code, String::from_utf8_lossy(text).into_owned()))
                    }
                    [_] => return Err(Fault::Protocol("sent half a code when closing")),
                };
                self.closed = true;
                // §5.5.1 wants an answer; the fault is the same whether or not this arrives.
                let _ = self.send(CLOSE, payload.get(..2).unwrap_or_default()).await;
                Err(Fault::Closed(reason))
            }
            _ => Err(Fault::Protocol("sent a frame with a reserved opcode")),
        }
    }

    async fn array<const N: usize>(&mut self) -> Result<&[u8; N], Fault> {
        let bytes = self.stream.exactly(N).await.map_err(|short| match short {
            Short::End { .. } => Fault::End,
            Short::Io(error) => Fault::Io(error),
        })?;
        // The reader returns as many bytes as it was asked for.
        bytes.try_into().map_err(|_| Fault::End)
    }

    /// Appends the next `length` bytes to `to` as they arrive, so that memory grows with what was sent.
    async fn payload(&mut self, length: usize, to: &mut Vec<u8>) -> Result<(), Fault> {
        let mut missing = length;
        while missing > 0 {
            let here = self.stream.unread().len().min(missing);
            if here == 0 {
                if self.stream.receive().await.map_err(Fault::Io)? == 0 {
                    return Err(Fault::End);
                }
                continue;
            }
            let range = self.stream.take(here);
            to.extend_from_slice(self.stream.bytes(range));
            missing -= here;
        }
        Ok(())
    }

    /// Sends one frame, masked as §5.3 wants it from a client.
    async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<(), Fault> {
        let mut frame = Vec::with_capacity(payload.len() + MAX_FRAME_HEADER);
        frame.push(0x80 | opcode);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short @ ..=125), _) => frame.push(0x80 | short),
            (_, Ok(medium)) => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&medium.to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        let mask: [u8; 4] = rand::random();
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.send(&frame).await.map_err(Fault::Io)
    }
}

/// Bytes of one message, all its frames together.
pub const MAX_MESSAGE: usize = 16 << 20;
/// Bytes of a control frame's payload (§5.5).
const MAX_CONTROL: u64 = 125;
/// Bytes of a frame that are not payload, at most (§5.2).
const MAX_FRAME_HEADER: usize = 14;
/// The code of a connection that served its purpose (§7.4.1).
const NORMAL_CLOSURE: u16 = 1000;
