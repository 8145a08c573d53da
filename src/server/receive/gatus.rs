//! gatus' external endpoints: `POST /api/v1/endpoints/<group>_<name>/external?success=true|false`, with the
//! token of the heartbeat in the header.

use std::sync::Arc;

use chrono::TimeDelta;
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::query::parameter;
use super::{Ask, Refusal, Reply, message_of, reply_of};
use crate::config::duration::SignedDuration;
use crate::heartbeat::key::DEFAULT_NAMESPACE;
use crate::heartbeat::registry::{Heartbeat, Lookup};
use crate::heartbeat::{Event, Key, Signal};
use crate::logging;
use crate::server::reply::TEXT_UTF8;

/// What newer clients send besides.
#[derive(Debug, Default, Deserialize)]
struct Sent {
    #[serde(default)]
    error: String,
}

pub async fn answer(ask: &Ask<'_>, key: &str) -> Result<Reply, Refusal> {
    if ask.request.method != Method::POST {
        return Err(Refusal::method("POST"));
    }
    let signal = match parameter(ask.query(), "success").as_deref() {
        Some("true") => Signal::Success,
        Some("false") => Signal::Fail,
        _ => return Err(Refusal::bad("missing or invalid success query parameter")),
    };
    let heartbeat = find(ask, key)?;
    let mut event = Event::new(signal, ask.received);
    if let Some(duration) = parameter(ask.query(), "duration").filter(|text| !text.is_empty()) {
        let parsed = SignedDuration::parse(&duration).ok_or_else(|| {
            let mut message = "invalid duration: time: invalid duration ".to_owned();
            logging::quote(&mut message, &duration);
            Refusal::bad(message)
        })?;
        event.duration = parsed.to_std().and_then(|duration| TimeDelta::from_std(duration).ok());
    }
    if signal == Signal::Fail {
        let sent: Sent = serde_json::from_slice(&ask.body.bytes).unwrap_or_default();
        let errors = [parameter(ask.query(), "error").unwrap_or_default(), sent.error.into()];
        let errors: Vec<&str> =
            errors.iter().map(|error| &**error).filter(|error| !error.is_empty()).collect();
        event.text = errors.join("\n");
    }
    let message = message_of(&event.text);
    ask.take(&heartbeat, event, Some(message)).await?;
    Ok(reply_of(StatusCode::OK, TEXT_UTF8, ""))
}

fn find(ask: &Ask<'_>, key: &str) -> Result<Arc<Heartbeat>, Refusal> {
    let refuse = |message| Refusal::unauthorized("Bearer", message);
    let token = ask.bearer().ok_or_else(|| refuse("invalid Authorization header"))?;
    if token.is_empty() {
        return Err(refuse("bearer token must not be empty"));
    }
    let registry = &ask.service.registry;
    // The token finds it, so the key need not be unique after its letters were replaced.
    if let Ok(found) = registry.find(Lookup::Token(token))
        && is_key_of(key, found.key())
    {
        return Ok(found);
    }
    let (group, name) = key.split_once('_').unwrap_or(("", key));
    let group = if group.is_empty() { DEFAULT_NAMESPACE } else { group };
    let named = Key::new(group, name).map_err(|_| Refusal::unknown())?;
    registry.find(Lookup::Key(&named))?;
    Err(refuse("invalid token"))
}

/// Whether `written` is the key gatus makes of namespace and name; the default namespace may be absent.
fn is_key_of(written: &str, key: &Key) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace([' ', '/', '_', ',', '.', '#', '+', '&'], "-");
    let written = written.to_ascii_lowercase();
    let (group, name) = written.split_once('_').unwrap_or(("", &written));
    let is_group =
        if group.is_empty() { key.namespace() == DEFAULT_NAMESPACE } else { group == plain(key.namespace()) };
    is_group && name == plain(key.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_gatus() {
        let cases = [
            ("batch", "nightly", "batch_nightly", true),
            ("batch", "night_ly.v2", "batch_night-ly-v2", true),
            ("batch", "Nightly", "batch_nightly", true),
            ("batch", "nightly", "_nightly", false),
            ("default", "nightly", "_nightly", true),
            ("default", "nightly", "default_nightly", true),
            ("default", "nightly", "nightly", true),
            ("default", "nightly", "batch_nightly", false),
            ("default", "night_ly", "night_ly", false),
        ];
        for (namespace, name, written, want) in cases {
            assert_eq!(is_key_of(written, &Key::new(namespace, name).unwrap()), want, "{written} {name}");
        }
    }
}
