//! Pings of healthchecks.io: `/ping/<uuid>` and `/ping/<ping key>/<slug>`, also without `/ping`.
//!
//! Clients (runitor, the crates, curl in crontabs) depend on the very status codes and bodies. As in the
//! original the method means nothing, a body is cut and never refused, and CORS is open: the secret is the
//! path, and no browser adds one.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue};

use super::query::parameter;
use super::{Ask, Refusal, Reply, reply_of, with_limit};
use crate::heartbeat::receiver::Rejected;
use crate::heartbeat::record::State;
use crate::heartbeat::registry::{DefineError, Heartbeat, Lookup, NotFound};
use crate::heartbeat::{Event, Key, Signal, key};
use crate::server::reply::TEXT_UTF8;

/// What follows the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Signal(Signal),
    /// An exit status; `None` for one that is too large for any number.
    Exit(Option<i32>),
}

/// A path, split as its contract splits it.
#[derive(Debug, PartialEq, Eq)]
enum Ping<'a> {
    Uuid(&'a str, Action),
    Slug { ping_key: &'a str, slug: &'a str, action: Action },
}

pub async fn answer(ask: &Ask<'_>, path: &str) -> Result<Reply, Refusal> {
    let ping = parse(path).ok_or_else(Refusal::unknown)?;
    let (heartbeat, is_new, action) = match ping {
        Ping::Uuid(uuid, action) => (ask.service.registry.find(Lookup::Uuid(uuid))?, false, action),
        Ping::Slug { ping_key, slug, action } => {
            let (heartbeat, is_new) = by_slug(ask, ping_key, slug).await?;
            (heartbeat, is_new, action)
        }
    };
    let mut event = Event::new(Signal::Success, ask.received);
    match action {
        Action::Signal(signal) => event.signal = signal,
        Action::Exit(Some(code @ 0..=255)) => {
            event.signal = Signal::from_exit_code(code);
            event.exit_code = Some(code);
        }
        Action::Exit(_) => return Err(Refusal::bad("invalid url format")),
    }
    if let Some(rid) = parameter(ask.query(), "rid") {
        if !is_uuid(&rid) {
            return Err(Refusal::bad("invalid uuid format"));
        }
        event.run = Some(rid.to_ascii_lowercase());
    }
    take(ask, &heartbeat, event, action).await?;
    let (status, text) = if is_new { (StatusCode::CREATED, "Created") } else { (StatusCode::OK, "OK") };
    let mut reply = with_limit(reply_of(status, TEXT_UTF8, text));
    reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(reply)
}

/// What the definition says about pauses comes before what it says about methods, and that before its words.
async fn take(
    ask: &Ask<'_>,
    heartbeat: &Arc<Heartbeat>,
    mut event: Event,
    action: Action,
) -> Result<(), Refusal> {
    let view = heartbeat.view(ask.received);
    let is_paused =
        view.status.state == State::Paused && view.record.pause.is_some_and(|pause| pause.until.is_none());
    if is_paused && view.declared.definition.manual_resume {
        ask.ignore(heartbeat, Rejected::Paused);
        return Ok(());
    }
    if !ask.ignores(heartbeat) {
        if action == Action::Signal(Signal::Success) && !ask.interpret(heartbeat, &mut event) {
            ask.ignore(heartbeat, Rejected::Keyword);
            return Ok(());
        }
        // Without an end in sight, a pause lasts until the next sign of life.
        if is_paused && event.signal.ends_run() {
            ask.service.registry.resume(heartbeat).await?;
        }
    }
    if event.signal == Signal::Fail {
        event.text = String::from_utf8_lossy(&ask.body.bytes).into_owned();
    }
    ask.take(heartbeat, event, Some(ask.body.bytes.clone())).await?;
    Ok(())
}

async fn by_slug(ask: &Ask<'_>, ping_key: &str, slug: &str) -> Result<(Arc<Heartbeat>, bool), Refusal> {
    if slug.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(Refusal::bad("invalid url format"));
    }
    let registry = &ask.service.registry;
    match registry.find(Lookup::Slug { ping_key, slug }) {
        Ok(heartbeat) => Ok((heartbeat, false)),
        Err(NotFound::Unknown)
            if registry.has_ping_key(ping_key)
                && parameter(ask.query(), "create").is_some_and(|create| create == "1") =>
        {
            let key = Key::new(key::DEFAULT_NAMESPACE, slug).map_err(|_| Refusal::unknown())?;
            let made = registry.provision(&key).await.map_err(|error| match error {
                // The contract does not tell why.
                DefineError::Full(_) => Refusal::new(StatusCode::NOT_FOUND, Rejected::Quota, ""),
                error => error.into(),
            })?;
            Ok((made.heartbeat, made.is_new))
        }
        Err(error) => Err(error.into()),
    }
}

fn parse(path: &str) -> Option<Ping<'_>> {
    let parts: Vec<&str> = path.splitn(4, '/').collect();
    let success = Action::Signal(Signal::Success);
    match *parts.as_slice() {
        [uuid] | [uuid, ""] if is_uuid(uuid) => Some(Ping::Uuid(uuid, success)),
        [uuid, last] if is_uuid(uuid) && action(last).is_some() => Some(Ping::Uuid(uuid, action(last)?)),
        [ping_key, slug] if !slug.is_empty() => Some(Ping::Slug { ping_key, slug, action: success }),
        [ping_key, slug, last] => Some(Ping::Slug { ping_key, slug, action: action(last)? }),
        _ => None,
    }
}

fn action(text: &str) -> Option<Action> {
    match text {
        "start" => Some(Action::Signal(Signal::Start)),
        "fail" => Some(Action::Signal(Signal::Fail)),
        "log" => Some(Action::Signal(Signal::Log)),
        code if !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Action::Exit(code.parse().ok()))
        }
        _ => None,
    }
}

/// Whether this is a UUID with its dashes, in any case.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_pings() {
        const UUID: &str = "5c1f0f3e-8a3b-4d7e-9a51-0d6a1c2b3d4e";
        let signal = Action::Signal;
        let uuid = |action| Some(Ping::Uuid(UUID, action));
        let slug = |action| Some(Ping::Slug { ping_key: "key", slug: "job", action });
        let cases = [
            (UUID.to_owned(), uuid(signal(Signal::Success))),
            (format!("{UUID}/"), uuid(signal(Signal::Success))),
            (format!("{UUID}/start"), uuid(signal(Signal::Start))),
            (format!("{UUID}/fail"), uuid(signal(Signal::Fail))),
            (format!("{UUID}/log"), uuid(signal(Signal::Log))),
            (format!("{UUID}/0"), uuid(Action::Exit(Some(0)))),
            (format!("{UUID}/99999999999"), uuid(Action::Exit(None))),
            (format!("{UUID}/start/"), None),
            (format!("{UUID}//"), None),
            (UUID.replace('-', ""), None),
            ("key/job".to_owned(), slug(signal(Signal::Success))),
            ("key/job/".to_owned(), None),
            ("key/job/fail".to_owned(), slug(signal(Signal::Fail))),
            ("key/job/-1".to_owned(), None),
            ("key/job/start/x".to_owned(), None),
            ("key/".to_owned(), None),
            (String::new(), None),
        ];
        for (path, want) in cases {
            assert_eq!(parse(&path), want, "{path}");
        }
    }
}
