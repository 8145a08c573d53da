//! quinn's streams as the h3 library wants them, with a limit on what a peer can make us keep.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, VarInt, WriteError};

use super::frames::{FrameError, Frames};

/// Bytes of one of the peer's own streams, which carry settings and little else.
const MAX_CONTROL_BYTES: usize = 64 << 10;

/// The connection, for the library.
pub struct Connection {
    quic: quinn::Connection,
    response: Response,
    incoming: Option<Pending<quinn::RecvStream>>,
    opening_uni: Option<Pending<quinn::SendStream>>,
    opening_bidi: Option<Pending<(quinn::SendStream, quinn::RecvStream)>>,
}

type Pending<T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send>>;

impl Connection {
    /// A view of `quic` for one request, whose response comes in through `response`.
    pub fn new(quic: quinn::Connection, response: Response) -> Self {
        Self { quic, response, incoming: None, opening_uni: None, opening_bidi: None }
    }
}

/// The response's frames: the header's for the library, the body's for us.
#[derive(Debug, Clone, Default)]
pub struct Response(Arc<Mutex<Frames>>);

impl Response {
    /// Nobody ever waits for it.
    pub fn frames(&self) -> MutexGuard<'_, Frames> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls the operation in `slot`, which `begin` starts if none is under way.
fn poll_pending<T>(
    slot: &mut Option<Pending<T>>,
    cx: &mut Context<'_>,
    begin: impl FnOnce() -> Pending<T>,
) -> Poll<Result<T, ConnectionErrorIncoming>> {
    let result = ready!(slot.get_or_insert_with(begin).as_mut().poll(cx));
    *slot = None;
    Poll::Ready(result.map_err(lost))
}

impl quic::Connection<Bytes> for Connection {
    type RecvStream = Receive;
    type OpenStreams = Self;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Receive, ConnectionErrorIncoming>> {
        let quic = &self.quic;
        let accept = || -> Pending<_> {
            let quic = quic.clone();
            Box::pin(async move { quic.accept_uni().await })
        };
        let stream = ready!(poll_pending(&mut self.incoming, cx, accept))?;
        Poll::Ready(Ok(Receive::Control { stream, left: MAX_CONTROL_BYTES }))
    }

    /// There are none: the transport allows the peer no bidirectional stream.
    fn poll_accept_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<Exchange, ConnectionErrorIncoming>> {
        Poll::Pending
    }

    fn opener(&self) -> Self {
        Self::new(self.quic.clone(), self.response.clone())
    }
}

impl quic::OpenStreams<Bytes> for Connection {
    type BidiStream = Exchange;
    type SendStream = Transmit;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Exchange, StreamErrorIncoming>> {
        let quic = &self.quic;
        let open = || -> Pending<_> {
            let quic = quic.clone();
            Box::pin(async move { quic.open_bi().await })
        };
        let (send, receive) = ready!(poll_pending(&mut self.opening_bidi, cx, open)).map_err(on_stream)?;
        self.response.frames().begin(receive);
        Poll::Ready(Ok(Exchange {
            send: Transmit { stream: send, writing: None },
            receive: Receive::Response(self.response.clone()),
        }))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Transmit, StreamErrorIncoming>> {
        let quic = &self.quic;
        let open = || -> Pending<_> {
            let quic = quic.clone();
            Box::pin(async move { quic.open_uni().await })
        };
        let stream = ready!(poll_pending(&mut self.opening_uni, cx, open)).map_err(on_stream)?;
        Poll::Ready(Ok(Transmit { stream, writing: None }))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.quic.close(number(code.value()), reason);
    }
}

/// A request and its response.
pub struct Exchange {
    send: Transmit,
    receive: Receive,
}

impl quic::BidiStream<Bytes> for Exchange {
    type SendStream = Transmit;
    type RecvStream = Receive;

    fn split(self) -> (Transmit, Receive) {
        (self.send, self.receive)
    }
}

impl quic::SendStream<Bytes> for Exchange {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl quic::RecvStream for Exchange {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receive.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.receive.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.receive.recv_id()
    }
}

/// The sending half of a stream.
pub struct Transmit {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
}

impl quic::SendStream<Bytes> for Transmit {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = self.writing.as_mut().filter(|data| data.has_remaining()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, data.chunk()));
            data.advance(written.map_err(not_written)?);
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(self.stream.finish().map_err(|error| StreamErrorIncoming::Unknown(Box::new(error))))
    }

    fn reset(&mut self, reset_code: u64) {
        // Fails only for a stream that has ended.
        let _ = self.stream.reset(number(reset_code));
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

/// The receiving half of a stream.
pub enum Receive {
    /// One of the peer's own streams.
    Control {
        /// The stream.
        stream: quinn::RecvStream,
        /// Bytes that may still come.
        left: usize,
    },
    /// The one that the request went out on; only HEADERS frames come out of it here, one at a time.
    Response(Response),
}

impl quic::RecvStream for Receive {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let result = match self {
            Self::Response(response) => ready!(response.frames().poll_headers(cx)),
            Self::Control { stream, left } => {
                // Nothing is lost with this future, and the stream remembers who is to be woken.
                let read = std::pin::pin!(stream.read_chunk(usize::MAX, true)).poll(cx);
                match ready!(read) {
                    Ok(Some(chunk)) => match left.checked_sub(chunk.bytes.len()) {
                        Some(rest) => {
                            *left = rest;
                            Ok(Some(chunk.bytes))
                        }
                        None => Err(FrameError::TooLarge),
                    },
                    Ok(None) => Ok(None),
                    Err(error) => Err(FrameError::Read(error)),
                }
            }
        };
        Poll::Ready(result.map_err(|error| match error {
            FrameError::Read(error) => not_read(error),
            other => StreamErrorIncoming::Unknown(Box::new(other)),
        }))
    }

    fn stop_sending(&mut self, error_code: u64) {
        match self {
            Self::Response(response) => response.frames().stop(number(error_code)),
            Self::Control { stream, .. } => {
                // Fails only for a stream that has ended.
                let _ = stream.stop(number(error_code));
            }
        }
    }

    fn recv_id(&self) -> StreamId {
        match self {
            Self::Response(response) => stream_id(response.frames().id().expect("begun when it was opened")),
            Self::Control { stream, .. } => stream_id(stream.id()),
        }
    }
}

fn number(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

fn stream_id(id: quinn::StreamId) -> StreamId {
    let number = u64::from(VarInt::from(id));
    StreamId::try_from(number).expect("both kinds of id have 62 bits")
}

fn lost(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into_inner() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

fn on_stream(connection_error: ConnectionErrorIncoming) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
}

fn not_read(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        ReadError::ConnectionLost(error) => on_stream(lost(error)),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

fn not_written(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        WriteError::ConnectionLost(error) => on_stream(lost(error)),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}
