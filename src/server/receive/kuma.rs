//! Uptime Kuma's push monitors: any method on `/api/push/<token>?status=up&msg=OK&ping=`.
//!
//! Every failure that is the sender's is status 404, also a wrong `ping`; the body is ignored.

use hyper::StatusCode;

use super::query::parameter;
use super::{Ask, JSON_UTF8, Refusal, Reply, message_of, refusal, reply_of};
use crate::heartbeat::receiver::Rejected;
use crate::heartbeat::record::State;
use crate::heartbeat::registry::Lookup;
use crate::heartbeat::{Event, Signal};

/// Milliseconds of the longest `ping`.
const MAX_PING: f64 = 1e11;
/// Name under which `ping` is kept, if the definition allows it.
const PING: &str = "ping";

pub async fn answer(ask: &Ask<'_>, path: &str) -> Result<Reply, Refusal> {
    let given = |name| parameter(ask.query(), name).filter(|value| !value.is_empty());
    let ping = given("ping").and_then(|text| leading_number(&text)).filter(|ping| *ping != 0.0);
    if ping.is_some_and(|ping| !(0.0..=MAX_PING).contains(&ping)) {
        let message = "Invalid ping value. Must be between 0 and 100000000000 ms.";
        return Err(Refusal::new(StatusCode::NOT_FOUND, Rejected::Request, message));
    }
    let heartbeat = ask.service.registry.find(Lookup::Token(path.strip_suffix('/').unwrap_or(path)))?;
    let view = heartbeat.view(ask.received);
    if view.status.state == State::Paused && view.record.pause.is_some_and(|pause| pause.until.is_none()) {
        return Err(Refusal::new(StatusCode::NOT_FOUND, Rejected::Paused, refusal::kuma_unknown()));
    }
    let is_up = given("status").is_none_or(|status| status == "up");
    let mut event = Event::new(if is_up { Signal::Success } else { Signal::Fail }, ask.received);
    event.values.extend(ping.map(|ping| (PING.to_owned(), ping)));
    let message = given("msg").unwrap_or_default();
    event.text = message.clone().into_owned();
    ask.take(&heartbeat, event, Some(message_of(&message))).await?;
    Ok(reply_of(StatusCode::OK, JSON_UTF8, r#"{"ok":true}"#))
}

/// The number at the beginning of a text, as JavaScript's `parseFloat` finds it.
fn leading_number(text: &str) -> Option<f64> {
    let text = text.trim_start();
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() <= 1 && unsigned.starts_with("Infinity") {
        return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let is_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let end = text.find(|c| !is_number(c)).unwrap_or(text.len());
    (1..=end).rev().find_map(|end| text.get(..end)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_javascript_finds_them() {
        let cases = [
            ("12", Some(12.0)),
            (" 12.5ms", Some(12.5)),
            ("1e3x", Some(1000.0)),
            ("1e", Some(1.0)),
            ("1-2", Some(1.0)),
            (".5", Some(0.5)),
            ("-1", Some(-1.0)),
            ("1.2.3", Some(1.2)),
            ("Infinity", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("inf", None),
            ("nan", None),
            ("ms", None),
            ("--1", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(leading_number(text), want, "{text}");
        }
    }
}
