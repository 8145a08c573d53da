//! `POST /api/pings/?service=<id>&&data=<text>` with basic authentication. Empty data is a success, anything
//! else a check-in with data.

use hyper::{Method, StatusCode};

use super::query::{parameter, parameters};
use super::{Ask, JSON_UTF8, REPORT_LIMIT, Refusal, Reply, is_content_type, message_of, reply_of};
use crate::heartbeat::registry::Lookup;
use crate::heartbeat::{Event, Key, Signal};

pub async fn answer(ask: &Ask<'_>) -> Result<Reply, Refusal> {
    if ask.request.method != Method::POST {
        return Err(Refusal::method("POST"));
    }
    if !ask.server.is_from_user(ask.request).await {
        return Err(Refusal::unauthorized("Basic realm=\"heartbeats\"", "wrong name or password"));
    }
    let is_form = is_content_type(ask.request, "application/x-www-form-urlencoded");
    if is_form && ask.body.is_cut {
        return Err(Refusal::too_long(REPORT_LIMIT));
    }
    let form = if is_form { String::from_utf8_lossy(&ask.body.bytes) } else { "".into() };
    let given = |name| {
        let from_form = || parameters(&form).find(|(known, _)| known == name).map(|(_, value)| value);
        parameter(ask.query(), name).or_else(from_form).filter(|value| !value.is_empty())
    };
    let service = given("service").ok_or_else(|| Refusal::bad("service is missing"))?;
    let registry = &ask.service.registry;
    let heartbeat = registry.find(Lookup::Id(&service)).or_else(|unknown| {
        let key = service.parse::<Key>().map_err(|_| unknown)?;
        registry.find(Lookup::Key(&key))
    })?;
    let data = given("data").unwrap_or_default();
    let mut event = Event::new(if data.is_empty() { Signal::Success } else { Signal::Data }, ask.received);
    event.text = data.clone().into_owned();
    ask.take(&heartbeat, event, Some(message_of(&data))).await?;
    Ok(reply_of(StatusCode::OK, JSON_UTF8, r#"{"ok":true}"#))
}
