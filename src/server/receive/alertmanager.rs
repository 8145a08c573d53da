//! Alertmanager's webhook as a check-in: an alert that always fires (`Watchdog`) is the sign of life of a whole
//! chain. When Alertmanager says that it is resolved, the chain is broken.

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::{Ask, BATCH_LIMIT, MESSAGE_LIMIT, Refusal, Reply};
use crate::heartbeat::{Event, Signal};
use crate::server::api;

/// What matters of the webhook; see Alertmanager's documentation of `webhook_config`.
#[derive(Debug, Deserialize)]
struct Webhook {
    status: Status,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

pub async fn answer(ask: &Ask<'_>, address: &str) -> Result<Reply, Refusal> {
    if ask.request.method != Method::POST {
        return Err(Refusal::method("POST"));
    }
    let (heartbeat, is_new) = ask.find_or_make(address.strip_suffix('/').unwrap_or(address), None).await?;
    if ask.body.is_cut {
        return Err(Refusal::too_long(BATCH_LIMIT));
    }
    let webhook: Webhook = serde_json::from_slice(&ask.body.bytes)
        .map_err(|error| Refusal::bad(format!("this is no webhook of Alertmanager: {error}")))?;
    // What fires is the same each time; what ended is worth a look.
    let (event, message) = match webhook.status {
        Status::Firing => (Event::new(Signal::Success, ask.received), None),
        Status::Resolved => {
            let mut event = Event::new(Signal::Fail, ask.received);
            event.text = "Alertmanager says that the alert is resolved".to_owned();
            let length = ask.body.bytes.len().min(MESSAGE_LIMIT);
            (event, Some(Bytes::copy_from_slice(&ask.body.bytes[..length])))
        }
    };
    let receipt = ask.take(&heartbeat, event, message).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(api::answer(status, &super::report::describe(&heartbeat, &receipt)))
}
