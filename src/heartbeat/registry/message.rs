//! The last messages of a heartbeat, as the store keeps them: a line of JSON about it, then its body.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Event, Time};
use crate::heartbeat::Signal;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When it was received.
    pub received: Time,
    /// With which signal.
    pub signal: Signal,
    /// Of which run.
    pub run: Option<String>,
    /// As sent, clipped by the contract.
    pub body: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Head {
    received: Time,
    signal: Signal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<String>,
}

impl Message {
    pub(super) fn of(event: &Event, body: Bytes) -> Self {
        Self { received: event.received, signal: event.signal, run: event.run.clone(), body }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let head = Head { received: self.received, signal: self.signal, run: self.run.clone() };
        // Text and numbers only.
        let mut out = serde_json::to_vec(&head).unwrap_or_default();
        out.push(b'\n');
        out.extend_from_slice(&self.body);
        out
    }

    /// Reads what the store kept; `None` for anything else.
    pub fn decode(kept: &[u8]) -> Option<Self> {
        let end = kept.iter().position(|byte| *byte == b'\n')?;
        let (head, body) = kept.split_at(end);
        let Head { received, signal, run } = serde_json::from_slice(head).ok()?;
        Some(Self { received, signal, run, body: Bytes::copy_from_slice(body.get(1..)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_written() {
        let mut event = Event::new(Signal::Fail, "2026-03-01T00:00:00.5Z".parse().unwrap());
        let bodies: [&'static [u8]; 3] = [b"", b"a\nb\n", b"\xff\n\0"];
        for body in bodies {
            let message = Message::of(&event, Bytes::from_static(body));
            assert_eq!(Message::decode(&message.encode()), Some(message));
            event.run = Some("r\"\n".to_owned());
        }
        assert_eq!(Message::decode(b"x"), None);
        assert_eq!(Message::decode(b"x\ny"), None);
    }
}
