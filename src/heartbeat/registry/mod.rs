//! All heartbeats in memory: finds them, takes their signals, and notes what happens by itself.
//!
//! A signal is applied to a copy, the copy is committed to the store, and only a durable copy takes the
//! place of what was there: acknowledged means durable, and refused means that nothing has changed. What
//! happens by itself (a deadline passes) shows at once and is written in batches afterwards, since it can
//! be worked out again.

mod alarm;
mod error;
mod evaluate;
mod heartbeat;
mod identity;
mod keep;
mod limit;
mod manage;
mod message;
mod open;
mod peers;
mod replica;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use self::alarm::Alarms;
pub use self::error::{DefineError, Refused};
pub use self::evaluate::Miss;
use self::evaluate::{Looked, Troubles};
use self::heartbeat::{Cell, Staged};
pub use self::heartbeat::{Declared, Heartbeat, Origin, View};
use self::identity::Index;
pub use self::identity::{Lookup, NotFound, TokenHash};
pub use self::keep::{Durable, Keep};
pub use self::limit::RateLimit;
pub use self::manage::{Defined, How};
pub use self::message::Message;
pub use self::open::{Parse, Settings};
use self::peers::Peers;
use super::clock::{Clock, Watch};
use super::receiver::Receiver;
use super::record::State;
use super::state::{self, Accepted, Status};
use super::store::{Kind, StoreError, Write};
use super::{Definition, Event, Key, Record, Time};

/// All heartbeats; one for the process.
#[derive(Debug)]
pub struct Registry {
    inner: Arc<Inner>,
    index: RwLock<Index>,
    settings: RwLock<Arc<Settings>>,
    parse: Parse,
    clock: Arc<dyn Clock>,
    watch: Mutex<Watch>,
    /// Changes of definitions happen one after the other, each durable before the next.
    managing: tokio::sync::Mutex<()>,
    looked: Looked,
    peers: Peers,
    /// What the doors count.
    pub receiver: Receiver,
    pub(super) troubles: Troubles,
}

/// What a change needs after its request is gone.
#[derive(Debug)]
struct Inner {
    keep: Arc<dyn Keep>,
    alarms: Alarms,
    /// Heartbeats whose record is ahead of the store.
    dirty: Mutex<Vec<Arc<Heartbeat>>>,
    misses: mpsc::Sender<Miss>,
}

/// A signal that was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Receipt {
    /// Whether it counts.
    pub accepted: Accepted,
    /// What the heartbeat is now.
    pub status: Status,
    /// What it was before.
    pub before: Status,
}

impl Registry {
    /// The heartbeat a request names.
    ///
    /// # Errors
    /// There is none, or which one is unclear.
    pub fn find(&self, lookup: Lookup<'_>) -> Result<Arc<Heartbeat>, NotFound> {
        self.index().find(lookup)
    }

    /// Whether slug URLs begin with this; never, when there is no ping key.
    pub fn has_ping_key(&self, ping_key: &str) -> bool {
        self.index().ping_key.is_some_and(|key| key.matches(ping_key))
    }

    /// Takes a signal. When this returns, it is durable; dropping the future does not take it back.
    ///
    /// `body` is kept among the last messages of the heartbeat; its length is up to the contract.
    ///
    /// # Errors
    /// The signal was not taken and has changed nothing.
    pub async fn accept(
        &self,
        heartbeat: &Arc<Heartbeat>,
        mut event: Event,
        body: Option<Bytes>,
    ) -> Result<Receipt, Refused> {
        // JSON, in which records are kept, has no other numbers.
        event.values.retain(|_, value| value.is_finite());
        let limit = self.settings().rate;
        let uptime = self.clock.read().boot;
        let message = body.map(|body| Message::of(&event, body));
        let writes = message.map(|message| Write::Body {
            key: heartbeat.key().as_str().into(),
            value: message.encode().into(),
        });
        self.change(heartbeat, writes, |cell, record| {
            let definition = &cell.declared.definition;
            let before = state::advance(definition, record, event.received);
            let was = Essence::of(record);
            let accepted = state::accept(definition, record, &event);
            let changes = was != Essence::of(record);
            if !changes {
                cell.bucket
                    .take(limit, uptime)
                    .map_err(|retry_after| Refused::RateLimited { retry_after })?;
            }
            let status = state::evaluate(definition, record, event.received);
            Ok(Receipt { accepted, status, before })
        })
        .await
    }

    /// Nothing is expected until `until`, or until [`Registry::resume`].
    ///
    /// # Errors
    /// Nothing has changed.
    pub async fn pause(&self, heartbeat: &Arc<Heartbeat>, until: Option<Time>) -> Result<Status, Refused> {
        let now = self.now();
        self.change(heartbeat, None, |cell, record| {
            state::pause(&cell.declared.definition, record, now, until);
            Ok(state::evaluate(&cell.declared.definition, record, now))
        })
        .await
    }

    /// Ends a pause; what is expected counts from now.
    ///
    /// # Errors
    /// Nothing has changed.
    pub async fn resume(&self, heartbeat: &Arc<Heartbeat>) -> Result<Status, Refused> {
        let now = self.now();
        self.change(heartbeat, None, |cell, record| {
            state::resume(&cell.declared.definition, record, now);
            Ok(state::evaluate(&cell.declared.definition, record, now))
        })
        .await
    }

    /// All heartbeats now, sorted by name.
    pub fn views(&self, now: Time, mut is_wanted: impl FnMut(&Key) -> bool) -> Vec<View> {
        let index = self.index();
        let wanted = index.by_key.iter().filter(|(key, _)| is_wanted(key));
        wanted.map(|(_, heartbeat)| heartbeat.view(now)).collect()
    }

    /// How many are in each state, in the order of [`State::ALL`]; as noted, which is at most a second old.
    pub fn states(&self) -> [u64; State::ALL.len()] {
        let mut states = [0; State::ALL.len()];
        for heartbeat in self.index().by_key.values() {
            if let Some(count) = states.get_mut(heartbeat.lock().record.state as usize) {
                *count += 1;
            }
        }
        states
    }

    /// The name of this receiver among those that share a store.
    pub fn receiver_name(&self) -> String {
        self.settings().receiver.clone()
    }

    /// The other receivers of the same store, and for how long nothing was heard of each through it.
    pub fn peer_lags(&self) -> Vec<(Box<str>, Duration)> {
        self.peers.lags(self.clock.read().boot)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index().by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Applies `change` to a copy of the record, and lets the copy count when it is durable.
    async fn change<T>(
        &self,
        heartbeat: &Arc<Heartbeat>,
        with: Option<Write>,
        change: impl FnOnce(&mut Cell, &mut Record) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let (landing, value) = {
            let seen = self.clock.read().wall;
            let mut cell = heartbeat.lock();
            if cell.is_gone {
                return Err(Refused::Gone);
            }
            let mut record = Record::clone(cell.latest());
            let value = change(&mut cell, &mut record)?;
            let mut writes = Vec::with_capacity(2);
            writes.push(write_record(heartbeat.key(), &record));
            writes.extend(with);
            // Under the lock, so that the store sees the changes of one heartbeat in their order.
            let durable = self.inner.keep.commit(writes)?;
            cell.changes += 1;
            let number = cell.changes;
            cell.staged.push(Staged { number, seen, record: Arc::new(record) });
            let (inner, heartbeat) = (Arc::clone(&self.inner), Arc::clone(heartbeat));
            (Landing { inner, heartbeat, number, durable: Some(durable) }, value)
        };
        landing.landed().await?;
        Ok(value)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    /// A change is durable or lost.
    fn finish(&self, heartbeat: &Arc<Heartbeat>, number: u64, is_durable: bool) {
        let mut cell = heartbeat.lock();
        cell.finish(number, is_durable);
        if cell.staged.is_empty() && !cell.is_gone {
            self.arm(heartbeat, &mut cell);
        }
    }

    /// The record is to be written soon.
    fn mark_dirty(&self, heartbeat: &Arc<Heartbeat>, cell: &mut Cell) {
        if !cell.is_dirty {
            cell.is_dirty = true;
            self.dirty.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(heartbeat));
        }
    }

    /// Sets the alarm for the next thing that happens by itself.
    fn arm(&self, heartbeat: &Arc<Heartbeat>, cell: &mut Cell) {
        // From the last look, not from now: a deadline that has passed since then rings at once.
        let next = state::next_change(&cell.declared.definition, &cell.record, cell.seen);
        self.alarms.set(heartbeat, cell, next);
    }
}

/// A change on its way to the store. It ends up in its heartbeat, durable or lost, even if nobody waits any more:
/// a client that goes away must not leave it in between.
#[derive(Debug)]
struct Landing {
    inner: Arc<Inner>,
    heartbeat: Arc<Heartbeat>,
    number: u64,
    durable: Option<Durable>,
}

impl Landing {
    /// Returns when the change is durable.
    async fn landed(mut self) -> Result<(), StoreError> {
        let Some(durable) = &mut self.durable else { return Ok(()) };
        let result = durable.await;
        self.durable = None;
        self.inner.finish(&self.heartbeat, self.number, result.is_ok());
        result
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let Some(durable) = self.durable.take() else { return };
        // Without a runtime the process is at its end, and the next one reads what the store has.
        let Ok(runtime) = Handle::try_current() else { return };
        let (inner, heartbeat) = (Arc::clone(&self.inner), Arc::clone(&self.heartbeat));
        let rest = Self { inner, heartbeat, number: self.number, durable: Some(durable) };
        runtime.spawn(rest.landed());
    }
}

/// What makes a signal more than a repetition: it is never refused for coming too often.
#[derive(Debug, PartialEq)]
struct Essence {
    state: State,
    failed: bool,
    has_data: bool,
    runs: Vec<String>,
}

impl Essence {
    fn of(record: &Record) -> Self {
        let runs = record.runs.keys().cloned().collect();
        Self { state: record.state, failed: record.failed, has_data: record.has_data, runs }
    }
}

/// The record as it is kept.
fn write_record(key: &Key, record: &Record) -> Write {
    let mut value = Vec::with_capacity(USUAL_BYTES);
    // Maps with keys that are text, and numbers: nothing in it that JSON refuses.
    let _ = serde_json::to_writer(&mut value, record);
    Write::set(Kind::Record, key.as_str(), value)
}

/// Few records are larger.
const USUAL_BYTES: usize = 512;
