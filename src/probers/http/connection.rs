//! One connection for one request: HTTP/1.1 over hyper, HTTP/2 over h2, driven inside the probe's own future.
//!
//! Nothing is spawned and nothing is pooled: dropping a value of this module closes its socket.

use std::error::Error as _;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Version;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::http3;
use super::upload::{self, Gate, Upload};
use crate::net::failure;
use crate::net::tls::{self, TlsStream};
use crate::runner::{Phase, ProbeError, Reason};

/// What the bytes of a request travel over.
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP, or over TLS to a proxy.
    Tls(Box<TlsStream<Stream>>),
}

/// A request ready for the wire.
pub struct Request {
    /// Method, URI and headers; HTTP/1.1 wants the origin form, HTTP/2 the absolute form.
    pub head: hyper::http::request::Parts,
    /// The body.
    pub body: Option<Bytes>,
    /// Whether HTTP/1.1 sends it without its length.
    pub chunked: bool,
    /// Whether it waits for `100 Continue`.
    pub expects_continue: bool,
}

/// Status, headers and the body still to come.
pub struct Response {
    /// Version, status and headers.
    pub head: hyper::http::response::Parts,
    /// When its first byte arrived; for HTTP/2 and HTTP/3 when its headers were complete.
    pub first_byte: Instant,
    /// Whether the headers were the end of the response (HTTP/2 only).
    pub ended: bool,
    /// Whether the body is compressed because we asked for it (HTTP/3 only).
    pub gzip: bool,
    body: Incoming,
}

enum Incoming {
    Http1(hyper::body::Incoming, Driver<Http1Connection>),
    Http2(h2::RecvStream, Driver<Http2Connection>),
    Http3(Box<http3::Body>),
}

type Http1Connection = http1::Connection<TokioIo<Tap>, Upload>;
type Http2Connection = h2::client::Connection<Stream, Bytes>;

/// Header lines accepted in a response; Go limits only their total size.
const MAX_HEADERS: usize = 512;
/// Bytes of header accepted in a response, interim responses included.
const MAX_HEADER_BYTES: usize = 1 << 20;
/// Flow-control window of HTTP/2, so that a large body is not slowed down by round trips of ours.
const HTTP2_WINDOW: u32 = 4 << 20;

/// What is known of a response before HTTP has made sense of it.
#[derive(Debug, Default)]
pub struct Arrival {
    /// When its first byte arrived.
    pub first_byte: OnceLock<Instant>,
    /// Bytes of interim responses and header.
    head_bytes: AtomicUsize,
    /// Whether the header is complete, so that bytes no longer count.
    head_is_complete: AtomicBool,
}

/// Sends a request over HTTP/1.1 and waits for the response's headers.
///
/// `arrival` is told of the peer's first byte, also when no response comes of it.
///
/// # Errors
/// What went wrong on the wire, with its reason.
pub async fn http1(
    stream: Stream,
    request: Request,
    peer: &str,
    arrival: Arc<Arrival>,
) -> Result<Response, ProbeError> {
    let tap = Tap { stream, arrival: Arc::clone(&arrival) };
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .handshake(TokioIo::new(tap))
        .await
        .map_err(|error| explain(Phase::Processing, peer, error))?;
    let mut driver = Driver::new(connection);
    let gate = request.expects_continue.then(Gate::new);
    let upload = Upload::new(request.body, request.chunked, gate.as_ref());
    let mut request = hyper::Request::from_parts(request.head, upload);
    if let Some(gate) = gate.clone() {
        hyper::ext::on_informational(&mut request, move |response| gate.heard(response.status()));
    }
    let sent = driver.run(sender.send_request(request)).await;
    arrival.head_is_complete.store(true, Ordering::Relaxed);
    if let Some(gate) = gate {
        gate.close();
    }
    let (head, body) = sent
        .map_err(|error| match arrival.head_bytes.load(Ordering::Relaxed) {
            MAX_HEADER_BYTES.. => too_large(peer).caused_by(error),
            _ => explain(Phase::Processing, peer, error),
        })?
        .into_parts();
    if head.version == Version::HTTP_11 && !is_delimited(&head.headers) {
        let what = format!("{peer} sent a body with a transfer coding that was not asked for");
        return Err(ProbeError::new(Phase::Processing, Reason::Protocol, what));
    }
    let first_byte = arrival.first_byte.get().copied().unwrap_or_else(Instant::now);
    Ok(Response { head, first_byte, ended: false, gzip: false, body: Incoming::Http1(body, driver) })
}

/// Whether chunks are the only transfer coding, if there is any (RFC 9112 §6.1). The library reads
/// on without undoing others.
fn is_delimited(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

fn too_large(peer: &str) -> ProbeError {
    let what = format!("{peer} sent a header of more than {MAX_HEADER_BYTES} bytes");
    ProbeError::new(Phase::Processing, Reason::TooLarge, what)
}

/// Sends a request over HTTP/2 and waits for the response's headers.
///
/// # Errors
/// What went wrong on the wire, with its reason.
pub async fn http2(stream: Stream, request: Request, peer: &str) -> Result<Response, ProbeError> {
    let complain = |error| explain_h2(Phase::Processing, peer, error);
    let (sender, connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(HTTP2_WINDOW)
        .initial_connection_window_size(HTTP2_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(complain)?;
    let mut driver = Driver::new(connection);
    let mut sender = driver.run(sender.ready()).await.map_err(complain)?;
    let head = hyper::Request::from_parts(request.head, ());
    let body = request.body.filter(|body| !body.is_empty());
    let (mut response, mut outgoing) = sender.send_request(head, body.is_none()).map_err(complain)?;
    let mut answer = None;
    if request.expects_continue {
        answer = driver.run(asked_for_body(&mut response)).await;
    }
    if let (Some(body), None) = (body, &answer) {
        outgoing.send_data(body, true).map_err(complain)?;
    }
    let answer = match answer {
        Some(answer) => answer,
        None => driver.run(response).await,
    };
    let (head, body) = answer.map_err(complain)?.into_parts();
    let ended = body.is_end_stream();
    Ok(Response { head, first_byte: Instant::now(), ended, gzip: false, body: Incoming::Http2(body, driver) })
}

/// Waits until the server wants the body, or for long enough; a final response comes back.
async fn asked_for_body(
    response: &mut h2::client::ResponseFuture,
) -> Option<Result<hyper::Response<h2::RecvStream>, h2::Error>> {
    let asked = poll_fn(|cx| {
        if let Poll::Ready(answer) = Pin::new(&mut *response).poll(cx) {
            return Poll::Ready(Some(answer));
        }
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            if interim.status() == hyper::StatusCode::CONTINUE {
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    });
    tokio::time::timeout(upload::CONTINUE_PATIENCE, asked).await.ok().flatten()
}

impl Response {
    /// A response whose headers came over HTTP/3.
    pub fn over_http3(
        head: hyper::http::response::Parts,
        first_byte: Instant,
        gzip: bool,
        body: http3::Body,
    ) -> Self {
        Self { head, first_byte, ended: false, gzip, body: Incoming::Http3(Box::new(body)) }
    }

    /// The next piece of the body, `None` at its end.
    ///
    /// # Errors
    /// The body stopped before its announced end, or broke the protocol.
    pub async fn chunk(&mut self, peer: &str) -> Option<Result<Bytes, ProbeError>> {
        match &mut self.body {
            Incoming::Http1(body, driver) => loop {
                match driver.run(body.frame()).await? {
                    Ok(frame) => match frame.into_data() {
                        Ok(data) => return Some(Ok(data)),
                        Err(_trailers) => {}
                    },
                    Err(error) => return Some(Err(explain(Phase::Transfer, peer, error))),
                }
            },
            Incoming::Http2(body, driver) => match driver.run(body.data()).await? {
                Ok(data) => {
                    // Only fails for a stream that has ended, where capacity no longer matters.
                    let _ = body.flow_control().release_capacity(data.len());
                    Some(Ok(data))
                }
                Err(error) => Some(Err(explain_h2(Phase::Transfer, peer, error))),
            },
            Incoming::Http3(body) => body.chunk(peer).await,
        }
    }
}

/// Polls a connection while something else waits for what the connection brings.
pub struct Driver<C>(Option<Pin<Box<C>>>);

impl<C: Future> Driver<C> {
    /// Nothing happens on the connection until [`Driver::run`].
    pub fn new(connection: C) -> Self {
        Self(Some(Box::pin(connection)))
    }

    /// Waits for `future`, which gets on only if the connection does.
    pub async fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            let Some(connection) = &mut self.0 else { return Poll::Pending };
            if connection.as_mut().poll(cx).is_ready() {
                // Its errors reach the future through its own channel.
                self.0 = None;
            }
            future.as_mut().poll(cx)
        })
        .await
    }
}

fn explain(phase: Phase, peer: &str, error: hyper::Error) -> ProbeError {
    match io_cause(&error) {
        // Of the library, about chunks; TLS uses the kind for its own errors.
        Some(cause)
            if matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
                && tls::classify_io(&cause).is_none() =>
        {
            let what = format!("{peer} did not send a valid body");
            return ProbeError::new(phase, Reason::Protocol, what).caused_by(cause);
        }
        Some(cause) => return failure::io(phase, peer, cause),
        None => {}
    }
    let (reason, what) = if error.is_incomplete_message() {
        (Reason::Closed, "closed the connection before the response was complete")
    } else if error.is_parse_too_large() {
        (Reason::TooLarge, "sent a header that is too large")
    } else if error.is_parse() || error.is_body_write_aborted() {
        (Reason::Protocol, "did not answer with valid HTTP")
    } else if error.is_canceled() || error.is_closed() {
        (Reason::Closed, "closed the connection")
    } else {
        (Reason::Protocol, "broke the HTTP exchange")
    };
    ProbeError::new(phase, reason, format!("{peer} {what}")).caused_by(error)
}

fn explain_h2(phase: Phase, peer: &str, error: h2::Error) -> ProbeError {
    match error.get_io() {
        // What the library says of a stream that ended, between frames or in one.
        Some(cause) if matches!(cause.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::Other) => {
            let what = format!("{peer} closed the connection");
            ProbeError::new(phase, Reason::Closed, what).caused_by(error)
        }
        Some(cause) => failure::io(phase, peer, copy(cause)),
        None => ProbeError::new(phase, Reason::Protocol, format!("{peer} broke the HTTP/2 exchange"))
            .caused_by(error),
    }
}

fn io_cause(error: &hyper::Error) -> Option<io::Error> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return Some(copy(cause));
        }
        next = cause.source();
    }
    None
}

/// An owned error of the same kind and text; the original belongs to the library's error.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => io::Error::new(error.kind(), tls.clone()),
            None => io::Error::new(error.kind(), error.to_string()),
        },
    }
}

/// Notes when the first byte of the response arrives, before HTTP has parsed anything, and ends a
/// header that does not.
struct Tap {
    stream: Stream,
    arrival: Arc<Arrival>,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.arrival.head_bytes.load(Ordering::Relaxed) >= MAX_HEADER_BYTES
            && !self.arrival.head_is_complete.load(Ordering::Relaxed)
        {
            // Interim responses can go on for ever, each of them small.
            return Poll::Ready(Err(io::Error::other("the header does not end")));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        let taken = buf.filled().len() - before;
        if taken > 0 {
            self.arrival.first_byte.get_or_init(Instant::now);
            if !self.arrival.head_is_complete.load(Ordering::Relaxed) {
                self.arrival.head_bytes.fetch_add(taken, Ordering::Relaxed);
            }
        }
        result
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
