//! Replies: plain text, errors, redirects and expositions.

use std::cell::RefCell;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use super::gzip;
use crate::metrics::negotiate::{Exposition, accepts_gzip};

/// A reply whose body is there already.
pub type Reply = Response<Full<Bytes>>;

/// Status 200.
pub fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// An error as Go's `http.Error` writes it: one sentence and a newline.
pub fn error(status: StatusCode, message: &str) -> Reply {
    let mut reply = ok(TEXT_UTF8, format!("{message}\n"));
    *reply.status_mut() = status;
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// The reply to a path that leads nowhere.
pub fn not_found() -> Reply {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// Sends the client elsewhere.
pub fn redirect(status: StatusCode, location: &str) -> Reply {
    let Ok(value) = HeaderValue::from_str(location) else {
        return error(StatusCode::BAD_REQUEST, "the path cannot be written into a header");
    };
    let mut reply = ok(TEXT_UTF8, format!("{location}\n"));
    *reply.status_mut() = status;
    reply.headers_mut().insert(LOCATION, value);
    reply
}

/// Metrics in the form the request asks for; `write` appends them to a buffer.
pub fn exposition(request: &HeaderMap, write: impl FnOnce(&mut Vec<u8>, Exposition)) -> Reply {
    let exposition = Exposition::negotiate(header(request, &ACCEPT));
    if accepts_gzip(header(request, &ACCEPT_ENCODING)) {
        let packed = PLAIN.with_borrow_mut(|plain| {
            plain.clear();
            write(plain, exposition);
            let mut packed = Vec::with_capacity(plain.len() / 2);
            gzip::write(&mut packed, plain);
            if plain.capacity() > MAX_KEPT_BYTES {
                *plain = Vec::new();
            }
            packed
        });
        let mut reply = ok(exposition.content_type(), packed);
        reply.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        reply
    } else {
        let mut plain = Vec::with_capacity(USUAL_BYTES);
        write(&mut plain, exposition);
        ok(exposition.content_type(), plain)
    }
}

/// A request header as text; empty when it is missing or no text.
pub fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

thread_local! {
    /// Text on its way into the compressor.
    static PLAIN: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(USUAL_BYTES));
}

/// Bytes of the exposition of a usual probe.
const USUAL_BYTES: usize = 4 << 10;
/// A buffer that grew beyond this is not kept.
const MAX_KEPT_BYTES: usize = 256 << 10;

/// Content type of error messages.
pub const TEXT_UTF8: &str = "text/plain; charset=utf-8";
/// Content type of everything else that is text, as the peer has it.
pub const TEXT: &str = "text/plain";
