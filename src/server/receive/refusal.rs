//! Why a signal is not taken, and how each contract says so.

use std::borrow::Cow;

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::Value;
use tracing::debug;

use super::{JSON_UTF8, Reply, reply_of};
use crate::heartbeat::receiver::{Api, Rejected};
use crate::heartbeat::registry::{DefineError, NotFound, Refused};
use crate::server::api;
use crate::server::body::BodyError;
use crate::server::reply::TEXT_UTF8;

/// A signal that is not taken.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub why: Rejected,
    /// Empty for what the contract says about unknown heartbeats.
    pub message: Cow<'static, str>,
    /// What the status needs besides: a challenge, methods, or a time.
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub fn new(status: StatusCode, why: Rejected, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, why, message: message.into(), header: None }
    }

    /// Status 400.
    pub fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Rejected::Request, message)
    }

    /// Status 404.
    pub fn unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, Rejected::Unknown, "")
    }

    /// Status 405.
    pub fn method(allowed: &'static str) -> Self {
        Self {
            header: Some((ALLOW, HeaderValue::from_static(allowed))),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, Rejected::Method, "method not allowed")
        }
    }

    /// Status 401.
    pub fn unauthorized(challenge: &'static str, message: &'static str) -> Self {
        Self {
            header: Some((WWW_AUTHENTICATE, HeaderValue::from_static(challenge))),
            ..Self::new(StatusCode::UNAUTHORIZED, Rejected::Auth, message)
        }
    }

    /// Status 413.
    pub fn too_long(limit: usize) -> Self {
        let message = format!("the body is longer than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Rejected::Body, message)
    }

    /// The answer of a contract.
    pub fn to_reply(&self, api: Api) -> Reply {
        let message = match (&*self.message, api) {
            ("", Api::Kuma) => kuma_unknown(),
            ("", Api::Gatus | Api::Healthchecks) => Cow::Borrowed("not found"),
            ("", _) => Cow::Borrowed(UNKNOWN),
            (message, _) => Cow::Borrowed(message),
        };
        let mut reply = match api {
            Api::Gatus | Api::Healthchecks => reply_of(self.status, TEXT_UTF8, message.into_owned()),
            Api::Kuma | Api::Pings => {
                // In the order of the originals.
                let message = Value::from(message);
                reply_of(self.status, JSON_UTF8, format!(r#"{{"ok":false,"msg":{message}}}"#))
            }
            _ => api::error(self.status, &message),
        };
        self.add_header(&mut reply);
        reply
    }

    /// What it says where the contract has no words of its own.
    pub fn sentence(&self) -> &str {
        if self.message.is_empty() { UNKNOWN } else { &self.message }
    }

    /// Adds the header that its status needs.
    pub fn add_header(&self, reply: &mut Reply) {
        if let Some((name, value)) = &self.header {
            reply.headers_mut().insert(name, value.clone());
        }
    }
}

const UNKNOWN: &str = "there is no heartbeat of this name";

/// Uptime Kuma does not tell what is unknown from what is paused.
pub fn kuma_unknown() -> Cow<'static, str> {
    Cow::Borrowed("Monitor not found or not active.")
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Late => {
                Self::new(StatusCode::REQUEST_TIMEOUT, Rejected::Body, "the body did not come in time")
            }
            BodyError::Broken => Self::new(StatusCode::BAD_REQUEST, Rejected::Body, "the body is broken"),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let why = refused.reason();
        let retry_after = refused.retry_after_seconds();
        let mut refusal = match refused {
            Refused::Gone => Self::unknown(),
            Refused::RateLimited { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, why, "too many signals"),
            Refused::Unavailable { why: cause, .. } => {
                debug!(err = cause, "A signal was not taken");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, why, "signals cannot be kept now, try again")
            }
        };
        refusal.header = retry_after.map(|seconds| (RETRY_AFTER, seconds.into()));
        refusal
    }
}

impl From<NotFound> for Refusal {
    fn from(not_found: NotFound) -> Self {
        match not_found {
            NotFound::Unknown => Self::unknown(),
            NotFound::Ambiguous => Self::new(StatusCode::CONFLICT, Rejected::Ambiguous, "ambiguous slug"),
        }
    }
}

/// A heartbeat that was not made by its first signal.
impl From<DefineError> for Refusal {
    fn from(error: DefineError) -> Self {
        match error {
            DefineError::Refused(refused) => refused.into(),
            DefineError::Full(_) => {
                Self::new(StatusCode::FORBIDDEN, Rejected::Quota, "no more heartbeats may be made")
            }
            _ => Self::unknown(),
        }
    }
}
