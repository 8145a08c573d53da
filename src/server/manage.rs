//! `/api/v1/heartbeats/…`: heartbeats are defined, changed, paused and removed, and their last messages read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use data_encoding::BASE64;
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, ORIGIN};
use hyper::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::body::{self, BodyError, RequestBody};
use super::reply::{self, Reply, header};
use super::{Server, api, query};
use crate::config::duration::SignedDuration;
use crate::heartbeat::manage::{self, Change, Object};
use crate::heartbeat::receiver::Api;
use crate::heartbeat::record::State;
use crate::heartbeat::registry::{
    Declared, DefineError, Defined, Heartbeat, How, Lookup, Message, Origin, Refused,
};
use crate::heartbeat::{Key, Service, Time, sd};

/// Whether a request cannot change anything.
pub fn is_reading(request: &Parts) -> bool {
    matches!(request.method, Method::GET | Method::HEAD)
}

/// Answers a request below `/api/v1/heartbeats`; `rest` is the path after that.
pub async fn answer(server: &Server, request: &Parts, rest: &str, body: impl RequestBody) -> Reply {
    let started = Instant::now();
    let (Some(service), Some(place)) = (server.heartbeats.service(), Place::parse(rest)) else {
        return reply::not_found();
    };
    let reply = match manage(server, &service, request, place, body).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.into_reply(),
    };
    service.registry.receiver.answered(Api::Manage, reply.status().as_u16(), started.elapsed());
    reply
}

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place<'p> {
    /// All heartbeats.
    All,
    /// One, by namespace and name.
    One([&'p str; 2]),
    /// Something that is done to it, or belongs to it.
    Of([&'p str; 2], &'p str),
}

impl<'p> Place<'p> {
    fn parse(rest: &'p str) -> Option<Self> {
        if rest.is_empty() {
            return Some(Self::All);
        }
        let parts: Vec<&str> = rest.strip_prefix('/')?.splitn(4, '/').collect();
        match parts[..] {
            [namespace, name] => Some(Self::One([namespace, name])),
            [namespace, name, what] => Some(Self::Of([namespace, name], what)),
            _ => None,
        }
    }
}

/// Why a request is not done.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    why: String,
    with: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), with: None }
    }

    fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.with = Some((name, HeaderValue::from_static(value)));
        self
    }

    fn into_reply(self) -> Reply {
        let mut reply = api::error(self.status, &self.why);
        reply.headers_mut().extend(self.with);
        reply
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (status, why) = match &refused {
            Refused::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, refused.to_string()),
            // What is wrong with the store is in the log.
            Refused::Unavailable { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "nothing has changed: the store does not work now".to_owned(),
            ),
            Refused::Gone => (StatusCode::NOT_FOUND, DefineError::Unknown.to_string()),
        };
        let after = refused.retry_after_seconds().map(|seconds| (RETRY_AFTER, seconds.into()));
        Self { status, why, with: after }
    }
}

impl From<DefineError> for Refusal {
    fn from(error: DefineError) -> Self {
        let status = match error {
            DefineError::Refused(refused) => return refused.into(),
            DefineError::Unknown => StatusCode::NOT_FOUND,
            DefineError::Full(_) => StatusCode::FORBIDDEN,
            DefineError::Exists | DefineError::File | DefineError::Taken(_) | DefineError::Conflict => {
                StatusCode::CONFLICT
            }
        };
        Self::new(status, error.to_string())
    }
}

async fn manage(
    server: &Server,
    service: &Service,
    request: &Parts,
    place: Place<'_>,
    body: impl RequestBody,
) -> Result<Reply, Refusal> {
    let allowed = match place {
        Place::All => "GET, HEAD, POST",
        Place::One(_) => "GET, HEAD, PUT, PATCH, DELETE",
        Place::Of(_, "messages") => "GET, HEAD",
        Place::Of(_, "pause" | "maintenance" | "resume") => "POST",
        Place::Of(..) => return Err(Refusal::new(StatusCode::NOT_FOUND, "there is nothing at this address")),
    };
    if !allowed.split(", ").any(|method| method == request.method.as_str()) {
        let why = format!("the method must be one of {allowed}");
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, why).with(ALLOW, allowed));
    }
    authenticate(server, request).await?;
    if !is_reading(request) && is_from_elsewhere(request) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "pages of other sites may not change anything here"));
    }
    match place {
        // Reading it is not this function's task.
        Place::All => create(server, service, request, body).await,
        Place::One(name) if is_reading(request) => {
            let heartbeat = find(service, name)?;
            Ok(api::answer(StatusCode::OK, &whole(service, &heartbeat)))
        }
        Place::One(name) if request.method == Method::DELETE => {
            service.registry.remove(&key(name)?).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Place::One(name) => change(server, service, request, name, body).await,
        Place::Of(name, "messages") => {
            let heartbeat = find(service, name)?;
            messages(service, &heartbeat, request).await
        }
        Place::Of(name, "resume") => {
            let heartbeat = find(service, name)?;
            if heartbeat.view(service.registry.now()).status.state != State::Paused {
                return Err(Refusal::new(StatusCode::CONFLICT, "the heartbeat is not paused"));
            }
            service.registry.resume(&heartbeat).await?;
            Ok(api::answer(StatusCode::OK, &whole(service, &heartbeat)))
        }
        Place::Of(name, what) => {
            let heartbeat = find(service, name)?;
            let until = if what == "maintenance" {
                Some(until(&object(request, body).await?, service.registry.now())?)
            } else {
                None
            };
            service.registry.pause(&heartbeat, until).await?;
            Ok(api::answer(StatusCode::OK, &whole(service, &heartbeat)))
        }
    }
}

async fn authenticate(server: &Server, request: &Parts) -> Result<(), Refusal> {
    if server.is_from_user(request).await {
        return Ok(());
    }
    let section = server.live.snapshot().heartbeats.clone();
    if section.is_none_or(|section| section.users.is_empty()) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "managing heartbeats is switched off: neither heartbeats.users nor the web configuration names a user",
        ));
    }
    let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "the name and password of a user are needed");
    Err(refusal.with(WWW_AUTHENTICATE, "Basic realm=\"heartbeats\", charset=\"UTF-8\""))
}

/// Whether a browser sends this for a page of another site, with credentials it remembers.
///
/// Browsers say so in `Sec-Fetch-Site`, older ones in `Origin`; other clients send neither.
fn is_from_elsewhere(request: &Parts) -> bool {
    let headers = &request.headers;
    match (headers.get("sec-fetch-site"), headers.get(ORIGIN)) {
        (Some(site), _) => site != "same-origin" && site != "none",
        (None, Some(origin)) => {
            // HTTP/2 has the host in the target.
            let host = request.uri.authority().map_or(header(headers, &HOST), |host| host.as_str());
            let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            origin.is_none_or(|(_, from)| from != host)
        }
        (None, None) => false,
    }
}

fn key([namespace, name]: [&str; 2]) -> Result<Key, Refusal> {
    Key::new(namespace, name).map_err(Refusal::bad)
}

fn find(service: &Service, name: [&str; 2]) -> Result<Arc<Heartbeat>, Refusal> {
    let found = service.registry.find(Lookup::Key(&key(name)?));
    found.map_err(|_| DefineError::Unknown.into())
}

/// The body, which must be a JSON object; nothing at all is an empty one.
async fn object(request: &Parts, body: impl RequestBody) -> Result<Object, Refusal> {
    let content_type = header(&request.headers, &CONTENT_TYPE);
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let is_json = media_type.eq_ignore_ascii_case("application/json")
        || media_type.eq_ignore_ascii_case("application/merge-patch+json");
    let read = body::read(body, MAX_BODY_BYTES).await.map_err(|error| match error {
        BodyError::Late => Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
        BodyError::Broken => Refusal::bad("the body ended too early"),
    })?;
    if read.is_cut {
        let why = format!("the body is longer than {MAX_BODY_BYTES} bytes");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    if read.bytes.is_empty() {
        return Ok(Object::new());
    }
    if !is_json {
        let why = "the body must be JSON, and Content-Type must say application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    match serde_json::from_slice(&read.bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Refusal::bad("the body must be a JSON object")),
        Err(error) => Err(Refusal::bad(format!("the body is not JSON: {error}"))),
    }
}

async fn create(
    server: &Server,
    service: &Service,
    request: &Parts,
    body: impl RequestBody,
) -> Result<Reply, Refusal> {
    let mut object = object(request, body).await?;
    let mut text = |name: &str, default: Option<&str>| match object.remove(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => {
            default.map(str::to_owned).ok_or_else(|| Refusal::bad(format!("{name} is missing")))
        }
        Some(_) => Err(Refusal::bad(format!("{name} must be text"))),
    };
    let name = text("name", None)?;
    let namespace = text("namespace", Some(crate::heartbeat::key::DEFAULT_NAMESPACE))?;
    let key = key([&namespace, &name])?;
    let defined = add(server, service, key, object, How::Create).await?;
    Ok(made(server, service, &defined))
}

async fn change(
    server: &Server,
    service: &Service,
    request: &Parts,
    name: [&str; 2],
    body: impl RequestBody,
) -> Result<Reply, Refusal> {
    let key = key(name)?;
    let mut object = object(request, body).await?;
    for (part, want) in ["namespace", "name"].into_iter().zip(name) {
        if object.remove(part).is_some_and(|got| got != want) {
            return Err(Refusal::bad(format!("{part} is not that of the address")));
        }
    }
    let is_patch = request.method == Method::PATCH;
    let defined = match service.registry.find(Lookup::Key(&key)) {
        Err(_) if is_patch => return Err(DefineError::Unknown.into()),
        Err(_) => add(server, service, key, object, How::Put).await?,
        Ok(heartbeat) if heartbeat.origin() == Origin::File => return Err(DefineError::File.into()),
        Ok(heartbeat) => {
            let how = if is_patch { Change::Merge } else { Change::Replace };
            let declared = manage::change(&heartbeat.declared(), object, how).map_err(Refusal::bad)?;
            define(server, service, declared, How::Replace).await?
        }
    };
    Ok(made(server, service, &defined))
}

/// Makes a new heartbeat; an id that is made up for it and that another one has already is made up anew.
async fn add(
    server: &Server,
    service: &Service,
    key: Key,
    object: Object,
    how: How,
) -> Result<Defined, Refusal> {
    let has_id = object.contains_key("id");
    for _ in 1..ID_TRIES {
        let declared = manage::create(key.clone(), object.clone()).map_err(Refusal::bad)?;
        let id = Lookup::Id(declared.id.as_deref().unwrap_or_default());
        if has_id || service.registry.find(id).is_err() {
            return define(server, service, declared, how).await;
        }
    }
    Err(Refusal::new(StatusCode::CONFLICT, "there is no free id; name one"))
}

async fn define(
    server: &Server,
    service: &Service,
    declared: Declared,
    how: How,
) -> Result<Defined, Refusal> {
    if let Some(probe) = &declared.definition.on_miss
        && !server.live.snapshot().modules.contains_key(&probe.module)
    {
        return Err(Refusal::bad(format!(
            "on_miss wants a probe with module {:?}, and there is none of that name",
            probe.module
        )));
    }
    let written = manage::write(&declared);
    Ok(service.registry.define(declared, written, how).await?)
}

/// The answer about a heartbeat that was made or changed.
fn made(server: &Server, service: &Service, defined: &Defined) -> Reply {
    let status = if defined.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut reply = api::answer(status, &whole(service, &defined.heartbeat));
    if defined.is_new {
        let location = format!("{}api/v1/heartbeats/{}", server.paths.prefix(), defined.heartbeat.key());
        if let Ok(location) = HeaderValue::from_str(&location) {
            reply.headers_mut().insert(LOCATION, location);
        }
    }
    reply
}

/// State and definition, and whether there are secrets.
fn whole(service: &Service, heartbeat: &Arc<Heartbeat>) -> Value {
    let view = heartbeat.view(service.registry.now());
    let mut whole = sd::describe(&view);
    whole["definition"] = manage::describe(&view.declared).into();
    whole["has_uuid"] = view.declared.uuid.is_some().into();
    whole["has_token"] = view.declared.token.is_some().into();
    whole
}

/// The end of a maintenance: the moment `until`, or the time `for` from now on.
fn until(object: &Object, now: Time) -> Result<Time, Refusal> {
    if let Some(unknown) = object.keys().find(|name| !["until", "for"].contains(&name.as_str())) {
        return Err(Refusal::bad(format!("{unknown:?} is not known; until and for are")));
    }
    let text = |name: &str| object.get(name).filter(|value| !value.is_null());
    let end = match (text("until"), text("for")) {
        (Some(until), None) => {
            let until = until.as_str().and_then(|until| chrono::DateTime::parse_from_rfc3339(until).ok());
            until.ok_or_else(|| Refusal::bad("until must be a time such as 2026-11-21T18:00:00Z"))?.to_utc()
        }
        (None, Some(span)) => {
            let span = span.as_str().and_then(SignedDuration::parse).and_then(SignedDuration::to_std);
            let span = span.and_then(|span| TimeDelta::from_std(span).ok());
            let end = span.and_then(|span| now.checked_add_signed(span));
            end.ok_or_else(|| Refusal::bad("for must be a duration such as 2h30m"))?
        }
        _ => return Err(Refusal::bad("a maintenance needs its end, as until or as for")),
    };
    if end <= now {
        return Err(Refusal::bad("the end of the maintenance has passed"));
    }
    Ok(end)
}

/// The last messages, newest first.
async fn messages(service: &Service, heartbeat: &Heartbeat, request: &Parts) -> Result<Reply, Refusal> {
    let query = request.uri.query().unwrap_or_default();
    let limit = query::pairs(query).find(|(name, value)| name == "limit" && !value.is_empty());
    let limit = limit.map_or(Ok(usize::MAX), |(_, limit)| limit.parse());
    let limit = limit.map_err(|_| Refusal::bad("limit must be a whole number, 0 or more"))?;
    let kept = tokio::time::timeout(STORE_PATIENCE, service.store.bodies(heartbeat.key().as_str())).await;
    let Ok(Ok(kept)) = kept else {
        return Err(Refused::Unavailable { retry_after: STORE_PATIENCE, why: String::new() }.into());
    };
    let messages = kept.iter().rev().filter_map(|kept| Message::decode(kept)).take(limit);
    let messages: Vec<Value> = messages.map(|message| show(&message)).collect();
    Ok(api::answer(StatusCode::OK, &json!({ "messages": messages })))
}

fn show(message: &Message) -> Value {
    let mut out = Map::new();
    let received = message.received.timestamp_micros() as f64 / 1e6;
    out.insert("received_timestamp_seconds".to_owned(), received.into());
    out.insert("signal".to_owned(), message.signal.as_str().into());
    out.insert("run".to_owned(), message.run.clone().into());
    match std::str::from_utf8(&message.body) {
        Ok(text) => out.insert("body".to_owned(), text.into()),
        Err(_) => out.insert("body_base64".to_owned(), BASE64.encode(&message.body).into()),
    };
    out.into()
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}

/// Bytes of a definition; that of 16 values, labels and tags has two thousand.
const MAX_BODY_BYTES: usize = 64 << 10;
/// Random ids that are tried.
const ID_TRIES: usize = 10;
/// Time for the store to find messages.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_what_they_stand_for() {
        let cases = [
            ("", Some(Place::All)),
            ("/", None),
            ("s", None),
            ("/a", None),
            ("/a/b", Some(Place::One(["a", "b"]))),
            ("/a/b/pause", Some(Place::Of(["a", "b"], "pause"))),
            ("/a/b/pause/x", None),
        ];
        for (rest, want) in cases {
            assert_eq!(Place::parse(rest), want, "{rest}");
        }
    }

    #[test]
    fn who_comes_from_elsewhere() {
        let cases: [(&[(&str, &str)], bool); 9] = [
            (&[], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://h:1")], true),
            (&[("origin", "http://h:1")], false),
            (&[("origin", "http://h")], true),
            (&[("origin", "null")], true),
            (&[("origin", "http://evil.test")], true),
        ];
        for (given, want) in cases {
            for (target, host) in [("/x", "h:1"), ("http://h:1/x", "")] {
                let mut request = hyper::Request::put(target).header(HOST, host);
                for (name, value) in given {
                    request = request.header(*name, *value);
                }
                let request = request.body(()).unwrap().into_parts().0;
                assert_eq!(is_from_elsewhere(&request), want, "{target} {given:?}");
            }
        }
    }

    #[test]
    fn maintenance_has_an_end() {
        let now: Time = "2026-11-21T08:00:00Z".parse().unwrap();
        let ends = |value: Value| {
            let object = value.as_object().unwrap().clone();
            until(&object, now).map(|end| end.to_rfc3339()).map_err(|refusal| refusal.why)
        };
        let cases = [
            (json!({"until": "2026-11-21T09:30:00+01:00"}), Ok("2026-11-21T08:30:00+00:00")),
            (json!({"for": "1d"}), Ok("2026-11-22T08:00:00+00:00")),
            (json!({"for": "1h", "until": null}), Ok("2026-11-21T09:00:00+00:00")),
            (json!({}), Err("a maintenance needs its end, as until or as for")),
            (
                json!({"for": "1h", "until": "2026-11-21T09:30:00Z"}),
                Err("a maintenance needs its end, as until or as for"),
            ),
            (json!({"until": "soon"}), Err("until must be a time such as 2026-11-21T18:00:00Z")),
            (json!({"until": 5}), Err("until must be a time such as 2026-11-21T18:00:00Z")),
            (json!({"for": "-1h"}), Err("for must be a duration such as 2h30m")),
            (json!({"for": "300y"}), Err("for must be a duration such as 2h30m")),
            (json!({"until": "2026-11-21T08:00:00Z"}), Err("the end of the maintenance has passed")),
            (json!({"untl": "x"}), Err("\"untl\" is not known; until and for are")),
        ];
        for (object, want) in cases {
            assert_eq!(ends(object.clone()), want.map(str::to_owned).map_err(str::to_owned), "{object}");
        }
    }
}
