//! Other receivers of the same store: when the last word of each came through it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Times are since the boot of this machine: no clock of another one is in them.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<BTreeMap<Box<str>, Peer>>);

#[derive(Debug)]
struct Peer {
    heard: Duration,
    /// The mark it came with.
    mark: Box<[u8]>,
}

impl Peers {
    /// A receiver is there.
    pub(super) fn appeared(&self, name: &str, now: Duration) {
        self.lock().entry(name.into()).or_insert(Peer { heard: now, mark: Box::default() });
    }

    /// It has left, or its lease has run out.
    pub(super) fn left(&self, name: &str) {
        self.lock().remove(name);
    }

    /// It says that it is alive. The same mark again was read again, and says nothing.
    pub(super) fn heard(&self, name: &str, mark: Box<[u8]>, now: Duration) {
        if let Some(peer) = self.lock().get_mut(name).filter(|peer| peer.mark != mark) {
            *peer = Peer { heard: now, mark };
        }
    }

    /// For how long nothing was heard of each.
    pub(super) fn lags(&self, now: Duration) -> Vec<(Box<str>, Duration)> {
        let lag = |peer: &Peer| now.saturating_sub(peer.heard);
        self.lock().iter().map(|(name, peer)| (name.clone(), lag(peer))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
