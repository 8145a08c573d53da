//! One unary call over HTTP/2, and what can go wrong with it: each failure has a status code of gRPC
//! for the metric, and a phase and a reason.
//!
//! Nothing is spawned and nothing is retried: dropping the future closes the connection.

use std::io;

use bytes::Bytes;
use hyper::header::{self, HeaderMap};
use hyper::{Request, StatusCode};

use crate::net::failure;
use crate::net::grpc::frame::{BadFrame, Frame, MAX_MESSAGE};
use crate::net::grpc::health::Serving;
use crate::net::grpc::status::Code;
use crate::net::grpc::{self, GRPC_MESSAGE, GRPC_STATUS, text};
use crate::probers::http::connection::{Driver, Stream};
use crate::runner::{Phase, ProbeError, Reason};

/// Why there is no serving status.
#[derive(Debug)]
pub struct Failed {
    /// For the metric.
    pub code: Code,
    /// For everything else.
    pub error: ProbeError,
}

impl Failed {
    /// No connection, or none any more.
    pub fn unavailable(error: ProbeError) -> Self {
        Self { code: Code::UNAVAILABLE, error }
    }

    /// The answer breaks the rules.
    fn protocol(code: Code, sentence: String) -> Self {
        Self { code, error: ProbeError::new(Phase::Request, Reason::Protocol, sentence) }
    }

    /// The answer is a refusal.
    fn status(code: Code, sentence: String) -> Self {
        Self { code, error: ProbeError::new(Phase::Check, Reason::Status, sentence) }
    }
}

/// Bytes of header accepted in a response. Of trailers, h2 drops what exceeds it.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// Sends `message`, in its frame, and reads the answer to its trailers.
///
/// # Errors
/// Anything but one well-formed message with status OK.
pub async fn unary(stream: Stream, head: Request<()>, message: Bytes, peer: &str) -> Result<Serving, Failed> {
    let broken = |error| broken(peer, error);
    let (sender, connection) = h2::client::Builder::new()
        .enable_push(false)
        .max_header_list_size(MAX_HEADER_BYTES)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(broken)?;
    let mut driver = Driver::new(connection);
    let mut sender = driver.run(sender.ready()).await.map_err(broken)?;
    let (response, mut request) = sender.send_request(head, false).map_err(broken)?;
    request.send_data(message, true).map_err(broken)?;

    let (head, mut body) = driver.run(response).await.map_err(broken)?.into_parts();
    check_origin(peer, head.status, &head.headers)?;
    if body.is_end_stream() {
        // A refusal needs no message, so its status comes in the first header.
        check_status(peer, &head.headers)?;
        return Err(bad_frame(peer, BadFrame::Short(0)));
    }
    let mut frame = Frame::default();
    while let Some(piece) = driver.run(body.data()).await {
        let piece = piece.map_err(broken)?;
        frame.push(&piece).map_err(|bad| bad_frame(peer, bad))?;
        // Only fails for a stream that has ended, where capacity no longer matters.
        let _ = body.flow_control().release_capacity(piece.len());
    }
    let trailers = driver.run(body.trailers()).await.map_err(broken)?.ok_or_else(|| {
        Failed::protocol(Code::INTERNAL, format!("{peer} ended its answer without trailers"))
    })?;
    check_status(peer, &trailers)?;
    let message = frame.message().map_err(|bad| bad_frame(peer, bad))?;
    Serving::decode(message).ok_or_else(|| {
        Failed::protocol(Code::INTERNAL, format!("the message of {peer} is no HealthCheckResponse"))
    })
}

/// Whether the answer comes from a gRPC server rather than from a proxy or a web server in its place.
///
/// A gRPC server's HTTP status means nothing, it has another.
fn check_origin(peer: &str, status: StatusCode, headers: &HeaderMap) -> Result<(), Failed> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    if content_type.is_some_and(grpc::is_grpc) {
        return Ok(());
    }
    let code = Code::from_http(status);
    if status != StatusCode::OK {
        return Err(Failed::status(code, format!("{peer} answered with the HTTP status {status}")));
    }
    let found = match content_type {
        Some(value) => format!("content of the type {:?}", String::from_utf8_lossy(value)),
        None => "content without a type".to_owned(),
    };
    Err(Failed::protocol(code, format!("{peer} answered with {found}, which is not gRPC")))
}

/// Judges the status of the call, which is in the trailers.
fn check_status(peer: &str, trailers: &HeaderMap) -> Result<(), Failed> {
    let Some(value) = trailers.get_all(GRPC_STATUS).iter().next_back() else {
        return Err(Failed::protocol(Code::UNKNOWN, format!("{peer} answered without a grpc-status")));
    };
    let code = Code::parse(value.as_bytes()).ok_or_else(|| {
        let value = String::from_utf8_lossy(value.as_bytes());
        Failed::protocol(Code::UNKNOWN, format!("{peer} answered with the grpc-status {value:?}"))
    })?;
    if code == Code::OK {
        return Ok(());
    }
    let mut sentence = format!("{peer} answered with the gRPC status {code}");
    if let Some(value) = trailers.get(GRPC_MESSAGE) {
        sentence.push_str(": ");
        sentence.push_str(&text::decode_text(value.as_bytes()));
    }
    Err(Failed::status(code, sentence))
}

fn bad_frame(peer: &str, bad: BadFrame) -> Failed {
    let sentence = match bad {
        BadFrame::Flag(1) => format!("{peer} sent a compressed message, although none was asked for"),
        BadFrame::Flag(flag) => format!("{peer} sent a message with the flag {flag}"),
        BadFrame::Surplus => format!("{peer} sent more than one message"),
        BadFrame::Short(0) => format!("{peer} sent no message"),
        BadFrame::Short(got) => format!("{peer} sent only {got} bytes of a message and its prefix"),
        BadFrame::TooLarge(length) => {
            let sentence =
                format!("{peer} announced a message of {length} bytes; {MAX_MESSAGE} are accepted");
            let error = ProbeError::new(Phase::Request, Reason::TooLarge, sentence);
            return Failed { code: Code::RESOURCE_EXHAUSTED, error };
        }
    };
    Failed::protocol(Code::INTERNAL, sentence)
}

/// A call that ended below gRPC.
fn broken(peer: &str, error: h2::Error) -> Failed {
    let (code, reason, what) = match (error.reason(), error.is_go_away(), error.is_remote()) {
        (None, ..) if error.is_io() => return cut(peer, error),
        (Some(_), true, true) => (Code::UNAVAILABLE, Reason::Closed, "ended the connection"),
        (Some(reason), false, true) => (Code::from_reset(reason), Reason::Reset, "reset the stream"),
        // What h2 says to endless frames.
        (Some(h2::Reason::ENHANCE_YOUR_CALM), true, false) => {
            (Code::UNAVAILABLE, Reason::TooLarge, "sends more than an answer can have")
        }
        (_, true, false) => (Code::UNAVAILABLE, Reason::Protocol, "does not speak HTTP/2"),
        // A header above the limit is among these.
        _ => (Code::INTERNAL, Reason::Protocol, "broke the rules of HTTP/2"),
    };
    Failed { code, error: ProbeError::new(Phase::Request, reason, format!("{peer} {what}")).caused_by(error) }
}

fn cut(peer: &str, error: h2::Error) -> Failed {
    let error = error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    Failed::unavailable(match error.kind() {
        // What h2 makes of the end of the stream, between two frames and inside one.
        io::ErrorKind::BrokenPipe | io::ErrorKind::Other => {
            let sentence = format!("{peer} closed the connection before its answer was complete");
            ProbeError::new(Phase::Request, Reason::Closed, sentence)
        }
        _ => failure::io(Phase::Request, peer, error),
    })
}
