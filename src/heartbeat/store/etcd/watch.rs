//! What others write: a watch that goes on where it ended, and a new list when etcd has forgotten that.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use super::super::Change;
use super::super::metrics::{Op, Tie};
use super::Shared;
use super::client::{Client, Failure, Messages};
use super::commit::value_of;
use super::keys::{Key, Keys, decode, encode};

/// Entries read at a time.
const PAGE: usize = 200;
/// Pause after a watch has ended, before the next begins.
const PAUSE: Duration = Duration::from_millis(500);

/// All keys at one revision.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) revision: u64,
    /// Values as they stand in etcd.
    pub(super) entries: HashMap<Key, Vec<u8>>,
}

/// Reads everything, page by page, all of one revision.
///
/// # Errors
/// etcd cannot be read.
pub(super) async fn list(client: &mut Client, keys: &Keys) -> Result<Listed, Failure> {
    let (mut from, to) = keys.range();
    let mut listed = Listed::default();
    loop {
        let request = json!({
            "key": from, "range_end": to, "limit": PAGE, "revision": listed.revision,
        });
        let page = client.call("/v3/kv/range", &request).await?;
        if listed.revision == 0 {
            listed.revision = revision_of(&page);
        }
        let empty = Vec::new();
        let found = page.get("kvs").and_then(Value::as_array).unwrap_or(&empty);
        let mut last = None;
        for entry in found {
            let Some(encoded) = entry.get("key").and_then(Value::as_str) else { continue };
            last = decode(encoded);
            if let (Some(key), Some(value)) = (keys.decode(encoded), value_of(entry)) {
                listed.entries.insert(key, value);
            }
        }
        match last {
            Some(mut last) if page.get("more").and_then(Value::as_bool) == Some(true) => {
                // The first key after it.
                last.push(0);
                from = encode(last);
            }
            _ => return Ok(listed),
        }
    }
}

fn revision_of(answer: &Value) -> u64 {
    number(answer.get("header").and_then(|header| header.get("revision")))
}

/// etcd's 64-bit numbers are strings in JSON, and absent when 0.
fn number(value: Option<&Value>) -> u64 {
    value.and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Why a watch ended.
enum End {
    /// It can go on where it ended.
    Broken(String),
    /// etcd no longer has, or never had, what came after the last revision we saw.
    Forgotten,
    /// Nobody wants to know any more.
    Unwanted,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Broken(failure.to_string())
    }
}

/// Sends changes by others until nobody wants them.
pub(super) async fn run(client: Client, shared: Arc<Shared>, listed: Listed, changes: mpsc::Sender<Change>) {
    let known = listed.entries.into_keys().collect();
    let mut watch = Watch { client, shared, changes, known, revision: listed.revision };
    // What happened before the watch began is told like what happens later.
    let is_presence = |key: &&Key| matches!(key, Key::Receiver(_) | Key::Node(_));
    let present: Vec<_> = watch.known.iter().filter(is_presence).cloned().collect();
    for key in present {
        if watch.tell(key, Some(&[])).await.is_err() {
            return;
        }
    }
    let mut is_down = false;
    loop {
        let end = match watch.follow(&mut is_down).await {
            Ok(never) => match never {},
            Err(End::Forgotten) => watch.list_again().await,
            Err(end) => Err(end),
        };
        match end {
            Ok(()) => continue,
            Err(End::Unwanted) => return,
            Err(End::Forgotten) => {}
            Err(End::Broken(why)) => {
                watch.shared.metrics.failed(Op::Watch);
                watch.shared.metrics.set_lost(Tie::Watch, true);
                if !is_down {
                    warn!(err = why, "Changes by other receivers are not seen; trying again");
                }
                is_down = true;
            }
        }
        sleep(PAUSE).await;
    }
}

struct Watch {
    client: Client,
    shared: Arc<Shared>,
    changes: mpsc::Sender<Change>,
    /// What there is, to know after a new list what is gone.
    known: HashSet<Key>,
    /// Everything up to here has been told.
    revision: u64,
}

impl Watch {
    async fn follow(&mut self, is_down: &mut bool) -> Result<std::convert::Infallible, End> {
        let (from, to) = self.shared.keys.range();
        let request = json!({"create_request": {
            "key": from, "range_end": to, "start_revision": self.revision + 1, "progress_notify": true,
        }});
        let mut messages = self.client.stream("/v3/watch", &request).await?;
        loop {
            let message = tokio::select! {
                message = messages.next() => message?,
                () = self.changes.closed() => return Err(End::Unwanted),
            };
            let Some(result) = message.get("result") else {
                return Err(End::Broken(format!("{} says {message}", messages.endpoint)));
            };
            self.take(result, &messages, is_down).await?;
        }
    }

    async fn take(&mut self, result: &Value, messages: &Messages, is_down: &mut bool) -> Result<(), End> {
        let revision = revision_of(result);
        if number(result.get("compact_revision")) > 0 {
            return Err(End::Forgotten);
        }
        if result.get("canceled").and_then(Value::as_bool) == Some(true) {
            return Err(End::Broken(format!("{} ended the watch: {result}", messages.endpoint)));
        }
        if result.get("created").and_then(Value::as_bool) == Some(true) {
            // A cluster that was restored from a backup counts from an earlier revision.
            if revision < self.revision {
                return Err(End::Forgotten);
            }
            self.shared.metrics.set_lost(Tie::Watch, false);
            if std::mem::take(is_down) {
                info!(endpoint = messages.endpoint, "Changes by other receivers are seen again");
            }
            return Ok(());
        }
        let Some(events) = result.get("events").and_then(Value::as_array) else {
            // A word that there is nothing new.
            self.revision = self.revision.max(revision);
            return Ok(());
        };
        let mut told = self.revision;
        for event in events {
            let Some(entry) = event.get("kv") else { continue };
            let key = entry.get("key").and_then(Value::as_str).and_then(|key| self.shared.keys.decode(key));
            let Some(key) = key else { continue };
            // Puts are the default and so have no type.
            let is_gone = event.get("type").and_then(Value::as_str) == Some("DELETE");
            let value = if is_gone { None } else { value_of(entry) };
            self.tell(key, value.as_deref()).await?;
            // Not that of the header: what is told late comes in parts, all with the latest revision.
            told = told.max(number(entry.get("mod_revision")));
        }
        self.revision = told;
        Ok(())
    }

    /// Reads everything, and tells all that others wrote and all that is gone.
    async fn list_again(&mut self) -> Result<(), End> {
        let listed = list(&mut self.client, &self.shared.keys).await?;
        info!(
            revision = listed.revision,
            "etcd has forgotten the changes since {}; everything was read again", self.revision
        );
        let gone: Vec<_> =
            self.known.iter().filter(|key| !listed.entries.contains_key(*key)).cloned().collect();
        for key in gone {
            self.tell(key, None).await?;
        }
        for (key, value) in listed.entries {
            self.tell(key, Some(&value)).await?;
        }
        self.revision = listed.revision;
        Ok(())
    }

    /// Tells one change unless it is our own.
    async fn tell(&mut self, key: Key, value: Option<&[u8]>) -> Result<(), End> {
        let is_ours = match value {
            Some(stored) => self.shared.keys.payload(stored).0,
            None => {
                let mut removing = self.shared.removing.lock().unwrap_or_else(PoisonError::into_inner);
                removing.remove(&key)
            }
        };
        match value {
            Some(_) => self.known.insert(key.clone()),
            None => self.known.remove(&key),
        };
        let change = match key {
            _ if is_ours => return Ok(()),
            Key::Receiver(name) if *name == *self.shared.keys.receiver => return Ok(()),
            Key::Receiver(name) => Change::Receiver { name, is_present: value.is_some() },
            Key::Node(key) => Change::Presence { key, is_present: value.is_some() },
            Key::Entry(kind, key) => {
                let value = value.map(|stored| Box::from(self.shared.keys.payload(stored).1));
                Change::Entry { kind, key, value }
            }
        };
        self.changes.send(change).await.map_err(|_| End::Unwanted)
    }
}
