//! The doors signals come in by, one file for each contract.
//!
//! What they share is here: how a path leads to a door, how a body is read, how a heartbeat is found, how
//! its signal is taken, and how all of it is counted. A contract decides what its answers look like.

mod alertmanager;
mod batch;
mod gatus;
mod healthchecks;
mod kuma;
mod native;
mod pings;
mod query;
mod refusal;
mod report;

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use self::refusal::Refusal;
use super::Server;
use super::body::{self, Body, RequestBody};
use super::reply::{self, Reply};
use crate::heartbeat::receiver::{Api, Rejected};
use crate::heartbeat::registry::{Heartbeat, Lookup, NotFound, Receipt};
use crate::heartbeat::schedule::Time;
use crate::heartbeat::state::Accepted;
use crate::heartbeat::{Event, Key, Service};

/// Bytes of a message that are kept; healthchecks has the same limit.
const MESSAGE_LIMIT: usize = 10_000;
/// Bytes of a report in JSON, or of a form; a longer one is refused.
const REPORT_LIMIT: usize = 32 << 10;
/// Bytes of a batch or of a webhook.
const BATCH_LIMIT: usize = 1 << 20;

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door<'a> {
    Alertmanager(&'a str),
    Batch,
    Gatus(&'a str),
    Healthchecks(&'a str),
    Kuma(&'a str),
    Native(&'a str),
    Pings,
}

impl<'a> Door<'a> {
    /// The door at `page`, a decoded path without the prefix.
    fn at(page: &'a str, service: &Service) -> Option<Self> {
        if let "heartbeat" | "heartbeat/" = page {
            Some(Self::Batch)
        } else if let Some(rest) = page.strip_prefix("heartbeat/") {
            Some(Self::Native(rest))
        } else if let Some(rest) = page.strip_prefix("ping/") {
            Some(Self::Healthchecks(rest))
        } else if let Some(rest) = page.strip_prefix("api/push/") {
            Some(Self::Kuma(rest))
        } else if let "api/pings" | "api/pings/" = page {
            Some(Self::Pings)
        } else if let Some(rest) = page.strip_prefix("api/v1/endpoints/") {
            rest.strip_suffix("/external").map(Self::Gatus)
        } else if let Some(rest) = page.strip_prefix("alertmanager/") {
            Some(Self::Alertmanager(rest))
        } else {
            // At the hosted healthchecks.io addresses begin at the root.
            let (first, rest) = page.split_once('/').unwrap_or((page, ""));
            let is_ping =
                healthchecks::is_uuid(first) || (!rest.is_empty() && service.registry.has_ping_key(first));
            is_ping.then_some(Self::Healthchecks(page))
        }
    }

    fn api(self) -> Api {
        match self {
            Self::Alertmanager(_) => Api::Alertmanager,
            Self::Batch | Self::Native(_) => Api::Native,
            Self::Gatus(_) => Api::Gatus,
            Self::Healthchecks(_) => Api::Healthchecks,
            Self::Kuma(_) => Api::Kuma,
            Self::Pings => Api::Pings,
        }
    }

    /// Bytes of a body that are looked at.
    fn body_limit(self, request: &Parts) -> usize {
        match self {
            Self::Alertmanager(_) | Self::Batch => BATCH_LIMIT,
            Self::Native(_) if is_json(request) => REPORT_LIMIT,
            Self::Gatus(_) | Self::Pings => REPORT_LIMIT,
            Self::Healthchecks(_) | Self::Native(_) => MESSAGE_LIMIT,
            Self::Kuma(_) => 0,
        }
    }
}

/// A request with all that is needed to answer it.
struct Ask<'a> {
    server: &'a Server,
    service: &'a Arc<Service>,
    request: &'a Parts,
    body: Body,
    /// When it was complete.
    received: Time,
}

/// Answers a request at one of the doors, or says that there is none at this path.
pub async fn answer(server: &Server, request: &Parts, body: impl RequestBody, page: &str) -> Reply {
    let Some(service) = server.heartbeats.service() else { return reply::not_found() };
    let Some(door) = Door::at(page, &service) else { return reply::not_found() };
    let started = Instant::now();
    let (result, is_over) = match body::read(body, door.body_limit(request)).await {
        Ok(body) => {
            let is_over = body.is_over;
            let ask = Ask { server, service: &service, request, body, received: service.registry.now() };
            (enter(&ask, door).await, is_over)
        }
        Err(error) => (Err(error.into()), false),
    };
    let api = door.api();
    let mut reply = result.unwrap_or_else(|refusal: Refusal| {
        service.registry.receiver.rejected(refusal.why);
        refusal.to_reply(api)
    });
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(NEVER_CACHE));
    if !is_over {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    service.registry.receiver.answered(api, reply.status().as_u16(), started.elapsed());
    reply
}

async fn enter(ask: &Ask<'_>, door: Door<'_>) -> Result<Reply, Refusal> {
    match door {
        Door::Alertmanager(address) => alertmanager::answer(ask, address).await,
        Door::Batch => batch::answer(ask).await,
        Door::Gatus(key) => gatus::answer(ask, key).await,
        Door::Healthchecks(path) => healthchecks::answer(ask, path).await,
        Door::Kuma(token) => kuma::answer(ask, token).await,
        Door::Native(path) => native::answer(ask, path).await,
        Door::Pings => pings::answer(ask).await,
    }
}

impl Ask<'_> {
    fn query(&self) -> &str {
        self.request.uri.query().unwrap_or_default()
    }

    /// The token of an `Authorization: Bearer` header.
    fn bearer(&self) -> Option<&str> {
        let header = reply::header(&self.request.headers, &AUTHORIZATION);
        let (scheme, token) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    }

    /// The heartbeat at an address that is a name, `namespace/name`, or a token, UUID or short id.
    ///
    /// Tokens and UUIDs prove that the sender may speak for it. By its name or id, a heartbeat that has a
    /// token is reached only with that, which comes as `token` or in the header.
    fn find(&self, address: &str, token: Option<&str>) -> Result<Arc<Heartbeat>, Refusal> {
        let registry = &self.service.registry;
        let secret = || {
            let by_token = registry.find(Lookup::Token(address));
            by_token.or_else(|_| registry.find(Lookup::Uuid(address)))
        };
        let named = || {
            let by_key = address.parse::<Key>().map_err(|_| NotFound::Unknown);
            by_key.and_then(|key| registry.find(Lookup::Key(&key)))
        };
        let found = named().or_else(|_| registry.find(Lookup::Id(address)));
        match found {
            Ok(found) if found.declared().token.is_none() => Ok(found),
            Ok(found) => match token.or_else(|| self.bearer()) {
                Some(token) if found.has_token(token) => Ok(found),
                Some(_) => Err(Refusal::unauthorized("Bearer", "wrong token")),
                None => Err(Refusal::unauthorized("Bearer", "this heartbeat needs its token")),
            },
            Err(_) => Ok(secret()?),
        }
    }

    /// As [`Ask::find`], but makes the heartbeat if the configuration allows its name. Whether it is new
    /// comes along.
    async fn find_or_make(
        &self,
        address: &str,
        token: Option<&str>,
    ) -> Result<(Arc<Heartbeat>, bool), Refusal> {
        match self.find(address, token) {
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => {
                let Ok(key) = address.parse::<Key>() else { return Err(refusal) };
                let made = self.service.registry.provision(&key).await?;
                Ok((made.heartbeat, made.is_new))
            }
            found => found.map(|heartbeat| (heartbeat, false)),
        }
    }

    /// Whether the method of the request is none that signals of this heartbeat have.
    fn ignores(&self, heartbeat: &Heartbeat) -> bool {
        heartbeat.declared().definition.post_only && self.request.method != Method::POST
    }

    /// Lets the message say what its signal is, where the heartbeat has words for that. Whether it is a signal at all.
    fn interpret(&self, heartbeat: &Heartbeat, event: &mut Event) -> bool {
        let declared = heartbeat.declared();
        let Some(keywords) = &declared.definition.keywords else { return true };
        let signal = keywords.signal(&self.body.bytes);
        event.signal = signal.unwrap_or(event.signal);
        signal.is_some()
    }

    /// Leaves a signal alone that the heartbeat does not want.
    fn ignore(&self, heartbeat: &Arc<Heartbeat>, why: Rejected) -> Receipt {
        self.service.registry.receiver.rejected(why);
        let status = heartbeat.view(self.received).status;
        Receipt { accepted: Accepted::Ignored, status, before: status }
    }

    /// Takes a signal; durable when this returns. One that the heartbeat ignores is answered like any other.
    async fn take(
        &self,
        heartbeat: &Arc<Heartbeat>,
        event: Event,
        message: Option<Bytes>,
    ) -> Result<Receipt, Refusal> {
        if self.ignores(heartbeat) {
            return Ok(self.ignore(heartbeat, Rejected::Method));
        }
        let message = message.filter(|message| !message.is_empty());
        Ok(self.service.registry.accept(heartbeat, event, message).await?)
    }
}

/// The first [`MESSAGE_LIMIT`] bytes of a text, without half a character.
fn message_of(text: &str) -> Bytes {
    let end = (0..=text.len().min(MESSAGE_LIMIT)).rev().find(|at| text.is_char_boundary(*at));
    Bytes::copy_from_slice(&text.as_bytes()[..end.unwrap_or(0)])
}

/// Whether the body says that it is JSON.
fn is_json(request: &Parts) -> bool {
    is_content_type(request, JSON)
}

fn is_content_type(request: &Parts, wanted: &str) -> bool {
    let written = reply::header(&request.headers, &CONTENT_TYPE);
    let essence = written.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(wanted)
}

fn reply_of(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = reply::ok(content_type, body);
    *reply.status_mut() = status;
    reply
}

const JSON: &str = "application/json";
const JSON_UTF8: &str = "application/json; charset=utf-8";
/// What healthchecks sends. An answer from memory would be a signal that nobody received.
const NEVER_CACHE: &str = "max-age=0, no-cache, no-store, must-revalidate, private";
/// How much of a message is kept; clients cut theirs.
const PING_BODY_LIMIT: HeaderName = HeaderName::from_static("ping-body-limit");

/// Adds [`PING_BODY_LIMIT`].
fn with_limit(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(PING_BODY_LIMIT, HeaderValue::from(MESSAGE_LIMIT));
    reply
}
