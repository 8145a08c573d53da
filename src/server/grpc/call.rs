//! A call as gRPC wants it: its head, its messages, its deadline and its status.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::Response;
use hyper::body::{Bytes, Frame as Piece};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Calls;
use crate::net::grpc::frame::{BadFrame, Frame, Frames, MAX_MESSAGE, framed};
use crate::net::grpc::status::Code;
use crate::net::grpc::{GRPC_MESSAGE, GRPC_STATUS, GRPC_TIMEOUT, text};
use crate::server::answer::Answer;
use crate::server::body::{RequestBody, TIME};
use crate::server::reply;

/// How a call ended, unless well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// A sentence for the caller.
    pub message: String,
    /// After which time trying again makes sense.
    pub retry_after: Option<Duration>,
}

impl Status {
    /// A status with its sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    fn too_late() -> Self {
        Self::new(Code::DEADLINE_EXCEEDED, "the time for the call is over")
    }

    /// A response that has only trailers, which come in its first header.
    pub fn into_response(self) -> Response<Answer> {
        let mut response = Response::new(Answer::Whole(Full::default()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        response.headers_mut().extend(self.trailers());
        response
    }

    fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(3);
        trailers.insert(GRPC_STATUS, self.code.0.into());
        if let Ok(text) = HeaderValue::try_from(text::encode_text(&self.message))
            && !self.message.is_empty()
        {
            trailers.insert(GRPC_MESSAGE, text);
        }
        if let Some(after) = self.retry_after {
            let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            trailers.insert(RETRY_PUSHBACK, millis.into());
        }
        trailers
    }
}

impl From<BadFrame> for Status {
    fn from(bad: BadFrame) -> Self {
        match bad {
            BadFrame::Flag(1) => Self::new(Code::UNIMPLEMENTED, "compressed messages are not understood"),
            BadFrame::Flag(flag) => Self::new(Code::INTERNAL, format!("a message has the flag {flag}")),
            BadFrame::TooLarge(length) => {
                let why = format!("a message of {length} bytes is announced; {MAX_MESSAGE} are accepted");
                Self::new(Code::RESOURCE_EXHAUSTED, why)
            }
            BadFrame::Surplus => Self::new(Code::INTERNAL, "there is more than one message"),
            BadFrame::Short(0) => Self::new(Code::INTERNAL, "there is no message"),
            BadFrame::Short(got) => {
                Self::new(Code::INTERNAL, format!("only {got} bytes of a message and its prefix came"))
            }
        }
    }
}

/// A call whose head is in order.
#[derive(Debug)]
pub struct Call {
    /// When the client gives up.
    deadline: Option<Instant>,
}

impl Call {
    /// Reads the head of a call.
    ///
    /// # Errors
    /// What in it cannot be used.
    pub fn new(request: &Parts) -> Result<Self, Status> {
        let content_type = reply::header(&request.headers, &CONTENT_TYPE);
        let coding = content_type.strip_prefix(GRPC).and_then(|rest| rest.split(';').next());
        if !matches!(coding, Some("" | "+proto")) {
            return Err(Status::new(Code::UNIMPLEMENTED, "only protobuf is understood"));
        }
        let encoding = reply::header(&request.headers, &ENCODING);
        if !matches!(encoding, "" | "identity") {
            return Err(BadFrame::Flag(1).into());
        }
        let Some(timeout) = request.headers.get(GRPC_TIMEOUT) else { return Ok(Self { deadline: None }) };
        let Some(timeout) = text::read_timeout(timeout.as_bytes()) else {
            return Err(Status::new(Code::INTERNAL, "the grpc-timeout cannot be read"));
        };
        // What lies beyond the clock is no deadline.
        Ok(Self { deadline: Instant::now().checked_add(timeout) })
    }

    /// Answers the one message of the client with one of `handle`.
    pub async fn unary<F>(self, body: impl RequestBody, handle: impl FnOnce(Bytes) -> F) -> Response<Answer>
    where
        F: Future<Output = Result<Vec<u8>, Status>>,
    {
        let limit = Instant::now() + TIME;
        let all = async {
            let message = timeout_at(limit, read_one(body)).await.map_err(|_| Status::too_late())??;
            handle(message).await
        };
        let result = match self.deadline {
            Some(deadline) => timeout_at(deadline, all).await.unwrap_or(Err(Status::too_late())),
            None => all.await,
        };
        match result {
            Err(status) => status.into_response(),
            Ok(message) => {
                let (sender, pieces) = mpsc::channel(2);
                // There is room for both.
                let _ = sender.try_send(Piece::data(framed(&message)));
                let _ = sender.try_send(Piece::trailers(Status::new(Code::OK, "").trailers()));
                begun(pieces)
            }
        }
    }

    /// Begins a call that goes on by itself, as `converse` has it.
    pub fn stream<B, F>(
        self,
        calls: &Calls,
        body: B,
        converse: impl FnOnce(Conversation<B>) -> F,
    ) -> Response<Answer>
    where
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let mut is_over = calls.is_over.subscribe();
        if *is_over.borrow_and_update() {
            return stopping().into_response();
        }
        let Ok(place) = Arc::clone(&calls.places).try_acquire_owned() else {
            return Status::new(Code::RESOURCE_EXHAUSTED, "there are too many streams").into_response();
        };
        let (sender, pieces) = mpsc::channel(1);
        let conversation = converse(Conversation { body, frames: Frames::default(), sender: sender.clone() });
        tokio::spawn(async move {
            let deadline = async {
                match self.deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let result = tokio::select! {
                result = conversation => result,
                () = deadline => Err(Status::too_late()),
                _ = is_over.changed() => Err(stopping()),
                () = sender.closed() => Ok(()),
            };
            let status = result.err().unwrap_or_else(|| Status::new(Code::OK, ""));
            // Whoever does not take it within this time never learns it.
            let _ = timeout(SEND_TIME, sender.send(Piece::trailers(status.trailers()))).await;
            drop(place);
        });
        begun(pieces)
    }
}

/// Both directions of a call that goes on.
#[derive(Debug)]
pub struct Conversation<B> {
    body: B,
    frames: Frames,
    sender: mpsc::Sender<Piece<Bytes>>,
}

impl<B: RequestBody> Conversation<B> {
    /// The next message of the client, `None` when it has sent all. May be dropped and called again.
    ///
    /// # Errors
    /// What came is no message.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.frames.message()? {
                return Ok(Some(message));
            }
            match next_piece(&mut self.body).await? {
                Some(piece) => self.frames.push(&piece),
                None if self.frames.rest() == 0 => return Ok(None),
                None => return Err(BadFrame::Short(self.frames.rest()).into()),
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The client does not take it.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Status> {
        match timeout(SEND_TIME, self.sender.send(Piece::data(framed(message)))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::new(Code::CANCELLED, "the client has gone")),
            Err(_) => Err(Status::new(Code::RESOURCE_EXHAUSTED, "the client does not take its answers")),
        }
    }
}

fn stopping() -> Status {
    Status::new(Code::UNAVAILABLE, "the receiver is stopping")
}

fn begun(pieces: mpsc::Receiver<Piece<Bytes>>) -> Response<Answer> {
    let mut response = Response::new(Answer::pieces(pieces));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    response
}

async fn read_one(mut body: impl RequestBody) -> Result<Bytes, Status> {
    let mut frame = Frame::default();
    while let Some(piece) = next_piece(&mut body).await? {
        frame.push(&piece)?;
    }
    Ok(Bytes::copy_from_slice(frame.message()?))
}

/// Bytes of the body; `None` at its end.
async fn next_piece(body: &mut impl RequestBody) -> Result<Option<Bytes>, Status> {
    while let Some(piece) = body.frame().await {
        let piece = piece.map_err(|_| Status::new(Code::CANCELLED, "the client broke off"))?;
        if let Ok(data) = piece.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// The content type of gRPC; that it is protobuf goes without saying.
const GRPC: &str = "application/grpc";
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// Tells clients that retry by themselves when to do so, in milliseconds (gRFC A6).
const RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// Time in which a client must take an answer.
const SEND_TIME: Duration = Duration::from_secs(30);
