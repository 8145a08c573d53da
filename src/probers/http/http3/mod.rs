//! One HTTP/3 connection for one request: quinn for QUIC, h3 for the frames, driven inside the probe's own future.

mod frames;
mod streams;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Instant;

use bytes::Bytes;
use h3::client::RequestStream;
use h3::error::{Code, StreamError};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::{request, response};
use hyper::{Method, StatusCode};
use quinn::{ConnectionError, ReadError};

use self::frames::{FrameError, MAX_HEADER_BYTES};
use super::body::Compression;
use super::connection::{Request, Response};
use super::cookies::Jar;
use super::request::{self as outgoing, Outgoing};
use super::url::Scheme;
use super::{Http, Next, Progress, dial};
use crate::net::quic::Link;
use crate::net::tls::{QuicHandshake, TlsClient};
use crate::probers::tls_report;
use crate::runner::{Phase, ProbeError, Reason, Report};

/// The only protocol that is offered (RFC 9114 §3.1).
pub const ALPN: &[u8] = b"h3";

/// H3_NO_ERROR (RFC 9114 §8.1), the error code of an end that is none.
const NO_ERROR: u32 = 0x100;
/// Interim responses (1xx) accepted, as in Go.
const MAX_INTERIM: usize = 5;
/// Headers that have no place in HTTP/3 (RFC 9114 §4.2), whoever asked for them.
const CONNECTION_HEADERS: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

type Receiver = RequestStream<streams::Receive, Bytes>;
type Sender = RequestStream<streams::Transmit, Bytes>;

impl Http {
    /// Opens a QUIC connection, sends the request, waits for the response's headers.
    ///
    /// The phases connect and tls both last for the whole handshake, which is one and the same in QUIC and what
    /// the peer reports. The timeline has them one after the other: the server's answer is where tls begins.
    pub(super) async fn send_http3(
        &self,
        report: &mut Report,
        progress: &mut Progress<'_>,
        next: &Next<'_>,
        outgoing: &Outgoing,
        jar: &Jar,
    ) -> Result<Response, ProbeError> {
        let started = report.begin(Phase::Connect);
        let attempt = |address| Attempt::make(address, &self.tls, &next.server_name);
        let attempt = match &*next.route.addresses {
            [only] => attempt(*only).await?,
            several => dial::race(several, attempt).await.map_err(|last| match last {
                Some((_, error)) => error,
                None => ProbeError::new(Phase::Connect, Reason::NotFound, "there is no address"),
            })?,
        };
        let Attempt { mut link, handshake, answer, address } = attempt;
        progress.observer = Some(handshake.observer());
        if handshake.is_answered() {
            report.begin(Phase::Tls);
        }
        let outcome = match answer {
            Ok(connecting) => {
                let driven = link.drive(connecting).await;
                driven.map_err(|error| ProbeError::io(Phase::Tls, address, error))?
            }
            Err(error) => Err(error),
        };
        let done = Instant::now();
        report.end_at(done);
        let mut facts = handshake.facts();
        facts.alpn = outcome.is_ok().then(|| ALPN.to_vec());
        progress.facts = Some(facts);
        let phase = report.phase();
        let quic = outcome.map_err(|error| match handshake.explain(&error) {
            Some(error) => tls_report::error(Phase::Tls, &next.host, error),
            None => lost(phase, &next.host, error),
        })?;
        progress.hop().connect = Some((started, done));
        progress.hop().tls = Some((started, done));

        let hop = outgoing::Hop {
            url: &next.url,
            host: &next.host,
            cookies: jar.header(&next.site()),
            referer: next.referer.as_deref(),
            http2: true,
            for_proxy: None,
        };
        let mut request = outgoing.build(&hop, &self.template.removed)?;
        let asked = ask_for_gzip(&mut request.head);
        progress.hop().ready = Some(report.begin(Phase::Processing));
        let connection = Connection { link, quic, handshake };
        let (mut head, first_byte, body) = exchange(connection, request, &next.host).await?;
        report.end_at(first_byte);
        progress.hop().first_byte = Some(first_byte);
        let gzip = asked && self.compression == Ok(Compression::Identity) && take_gzip(&mut head.headers);
        Ok(Response::over_http3(head, first_byte, gzip, body))
    }

    /// Whether a redirect leaves what HTTP/3 can do.
    pub(super) fn check_scheme(&self, scheme: Scheme) -> Result<(), ProbeError> {
        if self.http3 && scheme == Scheme::Http {
            let why = "the redirect leads to http://, which there is no HTTP/3 for";
            return Err(ProbeError::new(Phase::Processing, Reason::Redirect, why));
        }
        Ok(())
    }
}

/// Asks for a compressed body, as the peer does over HTTP/3 only; false if the request is not fit for it.
fn ask_for_gzip(head: &mut request::Parts) -> bool {
    let is_own = |name| head.headers.contains_key(name);
    if head.method == Method::HEAD || is_own(header::ACCEPT_ENCODING) || is_own(header::RANGE) {
        return false;
    }
    head.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    true
}

/// Whether the body is what was asked for; then the headers are made to fit the body that checks see, as in the peer.
fn take_gzip(headers: &mut HeaderMap) -> bool {
    let is_gzip = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
    if is_gzip {
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
    }
    is_gzip
}

/// A connection on its way, as far as the server's first answer.
struct Attempt {
    link: Link,
    handshake: QuicHandshake,
    /// What the answer was: it goes on, or that was it.
    answer: Result<quinn::Connecting, ConnectionError>,
    address: SocketAddr,
}

impl Attempt {
    /// Sends the first packets to `address` and waits until something comes back that is meant for us.
    ///
    /// # Errors
    /// The module cannot work, or the operating system knows that nobody will answer.
    async fn make(address: SocketAddr, tls: &TlsClient, server_name: &str) -> Result<Self, ProbeError> {
        let handshake =
            tls.quic(server_name).map_err(|error| tls_report::error(Phase::Tls, server_name, error))?;
        let unreachable = |error| ProbeError::io(Phase::Connect, address, error);
        let mut link = Link::open(address, None, NO_ERROR).await.map_err(unreachable)?;
        let mut connecting = link.connect(handshake.config(), handshake.server_name()).map_err(|error| {
            let why = format!("no QUIC connection to {address} can be made");
            ProbeError::new(Phase::Connect, Reason::BadTarget, why).caused_by(error)
        })?;
        let answer = link.drive(connecting.handshake_data()).await.map_err(unreachable)?;
        let answer = answer.map(|_| connecting);
        Ok(Self { link, handshake, answer, address })
    }
}

/// An established connection. The fields are dropped in this order, the socket last.
struct Connection {
    handshake: QuicHandshake,
    quic: quinn::Connection,
    link: Link,
}

/// The body of a response, and the connection it comes over.
pub struct Body {
    response: streams::Response,
    /// The library ends the connection when this goes.
    _requests: h3::client::SendRequest<streams::Connection, Bytes>,
    connection: Connection,
    /// Bytes that `Content-Length` promises and that have not come yet.
    missing: Option<u64>,
}

/// Sends the request and waits for the final response's headers; returns when the first of them came.
async fn exchange(
    mut connection: Connection,
    request: Request,
    peer: &str,
) -> Result<(response::Parts, Instant, Body), ProbeError> {
    let Request { head, body, .. } = request;
    let method = head.method.clone();
    let response = streams::Response::default();
    let quic = streams::Connection::new(connection.quic.clone(), response.clone());
    let opened = connection.run(Phase::Processing, peer, open(quic, head)).await?;
    let (mut driver, requests, stream) = opened.map_err(|error| match error {
        StreamError::HeaderTooBig { .. } => {
            let why = format!("{peer} takes no request with a header of this size");
            ProbeError::new(Phase::Processing, Reason::Protocol, why).caused_by(error)
        }
        error => connection.explain(Phase::Processing, peer, error),
    })?;
    connection.link.spawn(async move {
        poll_fn(|cx| driver.poll_close(cx)).await;
    });
    let (sender, mut stream) = stream.split();
    let received = connection
        .run(Phase::Processing, peer, receive(&mut stream, upload(sender, body.unwrap_or_default())))
        .await?;
    let (head, first_byte) = received.map_err(|error| connection.explain(Phase::Processing, peer, error))?;
    let missing = announced(&method, head.status, &head.headers);
    Ok((head, first_byte, Body { response, _requests: requests, connection, missing }))
}

type Opened = (
    h3::client::Connection<streams::Connection, Bytes>,
    h3::client::SendRequest<streams::Connection, Bytes>,
    RequestStream<streams::Exchange, Bytes>,
);

async fn open(quic: streams::Connection, mut head: request::Parts) -> Result<Opened, StreamError> {
    for name in CONNECTION_HEADERS {
        head.headers.remove(name);
    }
    let (driver, mut requests) = h3::client::builder()
        .max_field_section_size(MAX_HEADER_BYTES as u64)
        .send_grease(false)
        .build(quic)
        .await
        .map_err(StreamError::ConnectionError)?;
    let stream = requests.send_request(hyper::Request::from_parts(head, ())).await?;
    Ok((driver, requests, stream))
}

async fn upload(mut sender: Sender, body: Bytes) -> Result<(), StreamError> {
    if !body.is_empty() {
        sender.send_data(body).await?;
    }
    sender.finish().await
}

/// Waits for the response while the request is still on its way, because a server may answer early.
async fn receive(
    stream: &mut Receiver,
    upload: impl Future<Output = Result<(), StreamError>>,
) -> Result<(response::Parts, Instant), StreamError> {
    let mut upload = pin!(upload);
    let mut is_sent = false;
    let mut first_byte = None;
    for _ in 0..=MAX_INTERIM {
        let response = tokio::select! {
            biased;
            response = stream.recv_response() => response,
            // What keeps the server from taking the request is told by its response or the end of the connection.
            _ = &mut upload, if !is_sent => {
                is_sent = true;
                stream.recv_response().await
            }
        };
        let (head, ()) = response?.into_parts();
        let now = *first_byte.get_or_insert_with(Instant::now);
        if !head.status.is_informational() {
            return Ok((head, now));
        }
    }
    Err(StreamError::Undefined(Box::new(FrameError::TooLarge)))
}

/// Length of the body that the headers promise; `None` if they promise none or there is none to come.
fn announced(method: &Method, status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    if method == Method::HEAD || matches!(status.as_u16(), 204 | 304) {
        return None;
    }
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

impl Body {
    /// The next piece, `None` at the end.
    ///
    /// # Errors
    /// The body stopped before its announced end, or broke the protocol.
    pub async fn chunk(&mut self, peer: &str) -> Option<Result<Bytes, ProbeError>> {
        let Self { response, connection, missing, .. } = self;
        let next = poll_fn(|cx| response.frames().poll_body(cx));
        let chunk = match connection.run(Phase::Transfer, peer, next).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) if missing.is_none_or(|missing| missing == 0) => return None,
            Ok(Ok(None)) => return Some(Err(wrong_length(peer, "ended its response before"))),
            Ok(Err(error)) => return Some(Err(connection.explain_frame(Phase::Transfer, peer, error))),
            Err(error) => return Some(Err(error)),
        };
        if let Some(missing) = missing {
            match missing.checked_sub(chunk.len() as u64) {
                Some(left) => *missing = left,
                None => return Some(Err(wrong_length(peer, "did not end its response after"))),
            }
        }
        Some(Ok(chunk))
    }
}

/// A response like that is malformed (RFC 9114 §4.1.2).
fn wrong_length(peer: &str, what: &str) -> ProbeError {
    let why = format!("{peer} {what} the announced Content-Length");
    ProbeError::new(Phase::Transfer, Reason::Protocol, why)
}

impl Connection {
    async fn run<F: Future>(&mut self, phase: Phase, peer: &str, future: F) -> Result<F::Output, ProbeError> {
        self.link.drive(future).await.map_err(|error| ProbeError::io(phase, peer, error))
    }

    /// What ended the connection, if anything has but us: the operating system knows best, then QUIC.
    fn end(&self, phase: Phase, peer: &str) -> Option<ProbeError> {
        if let Some(error) = self.link.failure() {
            return Some(ProbeError::io(phase, peer, error));
        }
        let reason = self.quic.close_reason().filter(|reason| *reason != ConnectionError::LocallyClosed)?;
        // A server that refuses our certificate says so when we take the handshake for done.
        Some(match self.handshake.explain(&reason) {
            Some(error) => tls_report::error(phase, peer, error),
            None => lost(phase, peer, reason),
        })
    }

    /// Why there is no header.
    fn explain(&self, phase: Phase, peer: &str, error: StreamError) -> ProbeError {
        if let Some(end) = self.end(phase, peer) {
            return end;
        }
        let (reason, what) = match error {
            StreamError::RemoteTerminate { code } => return reset(phase, peer, code),
            StreamError::Undefined(cause) => match cause.downcast::<FrameError>() {
                Ok(error) => return self.explain_frame(phase, peer, *error),
                Err(cause) => {
                    return ProbeError::new(phase, Reason::Io, format!("{phase} failed for {peer}"))
                        .caused_by(cause);
                }
            },
            StreamError::RemoteClosing => (Reason::Closed, "is about to close the connection"),
            StreamError::HeaderTooBig { .. } => (Reason::TooLarge, "sent a header that is too large"),
            _ => (Reason::Protocol, "broke the HTTP/3 exchange"),
        };
        ProbeError::new(phase, reason, format!("{peer} {what}")).caused_by(error)
    }

    /// Why there is no next frame.
    fn explain_frame(&self, phase: Phase, peer: &str, error: FrameError) -> ProbeError {
        if let Some(end) = self.end(phase, peer) {
            return end;
        }
        let reason = match error {
            FrameError::Read(ReadError::Reset(code)) => return reset(phase, peer, code.into_inner().into()),
            FrameError::Read(_) => Reason::Io,
            FrameError::TooLarge => Reason::TooLarge,
            FrameError::Unexpected(_) | FrameError::Cut => Reason::Protocol,
        };
        ProbeError::new(phase, reason, format!("{peer} broke the HTTP/3 exchange")).caused_by(error)
    }
}

fn reset(phase: Phase, peer: &str, code: Code) -> ProbeError {
    ProbeError::new(phase, Reason::Reset, format!("{peer} reset the stream: {code}"))
}

/// The end of a QUIC connection that has nothing to do with TLS.
fn lost(phase: Phase, peer: &str, error: ConnectionError) -> ProbeError {
    let (reason, what) = match &error {
        ConnectionError::VersionMismatch => {
            (Reason::Protocol, "speaks no version of QUIC that we do".to_owned())
        }
        ConnectionError::Reset => (Reason::Reset, "does not know the connection any more".to_owned()),
        ConnectionError::TimedOut => {
            (Reason::Closed, "closed the connection because nothing happened".to_owned())
        }
        ConnectionError::ConnectionClosed(close)
            if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
        {
            (Reason::Refused, "refused the connection".to_owned())
        }
        ConnectionError::ConnectionClosed(_) => (Reason::Closed, "closed the connection".to_owned()),
        ConnectionError::ApplicationClosed(close) => {
            let code = Code::from(close.error_code.into_inner());
            (Reason::Closed, format!("closed the connection: {code}"))
        }
        _ => (Reason::Protocol, "does not keep to QUIC".to_owned()),
    };
    ProbeError::new(phase, reason, format!("{peer} {what}")).caused_by(error)
}
