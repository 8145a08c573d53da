//! What other receivers with the same store do to our heartbeats.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Cell, Heartbeat, Key, Lookup, Origin, Record, Registry, Time, state};
use crate::heartbeat::record::Counts;
use crate::heartbeat::store::{Change, Kind};

impl Registry {
    /// Takes over what other receivers write, until the store is closed.
    pub async fn follow(&self, mut changes: mpsc::Receiver<Change>) {
        while let Some(change) = changes.recv().await {
            match change {
                Change::Receiver { name, is_present } => {
                    info!(receiver = &*name, is_present, "Another receiver of the same store");
                    if is_present {
                        self.peers.appeared(&name, self.clock.read().boot);
                    } else {
                        self.peers.left(&name);
                    }
                }
                Change::Presence { key, is_present } => {
                    let Ok(key) = key.parse::<Key>() else { continue };
                    self.take_presence(&key, is_present).await;
                }
                // Tells when the others were alive; our own blind time is ours.
                Change::Entry { kind: Kind::Mark, key, value } => {
                    if let Some(mark) = value {
                        self.peers.heard(&key, mark, self.clock.read().boot);
                    }
                }
                Change::Entry { kind: Kind::Record, key, value } => {
                    let Ok(key) = key.parse::<Key>() else { continue };
                    let taken = self.take_record(&key, value.as_deref());
                    complain(&key, taken);
                }
                Change::Entry { kind: Kind::Definition, key, value } => {
                    let Ok(key) = key.parse::<Key>() else { continue };
                    let taken = self.take_definition(&key, value).await;
                    complain(&key, taken);
                }
            }
        }
    }

    /// A node's own key appeared or is gone. Of a heartbeat that is not known it is like a first signal.
    async fn take_presence(&self, key: &Key, is_present: bool) {
        let heartbeat = match self.find(Lookup::Key(key)) {
            Err(_) if is_present => match self.provision(key).await {
                Ok(made) => made.heartbeat,
                Err(error) => {
                    warn!(heartbeat = %key, err = %error, "A node in etcd is not watched");
                    return;
                }
            },
            Err(_) => return,
            Ok(heartbeat) => heartbeat,
        };
        let now = self.now();
        self.set_present(&heartbeat, &mut heartbeat.lock(), is_present, now);
    }

    pub(super) fn set_present(
        &self,
        heartbeat: &Arc<Heartbeat>,
        cell: &mut Cell,
        is_present: bool,
        now: Time,
    ) {
        let (definition, records) = cell.records();
        let mut is_news = false;
        for record in records {
            let mut changed = Record::clone(record);
            if state::set_present(definition, &mut changed, is_present, now) {
                *record = Arc::new(changed);
                is_news = true;
            }
        }
        if is_news {
            self.inner.mark_dirty(heartbeat, cell);
            self.inner.arm(heartbeat, cell);
        }
    }

    fn take_record(&self, key: &Key, value: Option<&[u8]>) -> Result<(), String> {
        let (Some(value), Ok(heartbeat)) = (value, self.find(Lookup::Key(key))) else { return Ok(()) };
        let theirs: Record = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let mut cell = heartbeat.lock();
        for record in cell.records().1 {
            let merged = merge(record, &theirs);
            if merged != **record {
                *record = Arc::new(merged);
            }
        }
        if cell.staged.is_empty() {
            self.inner.arm(&heartbeat, &mut cell);
        }
        Ok(())
    }

    async fn take_definition(&self, key: &Key, value: Option<Box<[u8]>>) -> Result<(), String> {
        let _one_at_a_time = self.managing.lock().await;
        let declared = match value {
            Some(written) => Some(self.read_definition(&self.settings(), key, &written)?),
            None => None,
        };
        // Before the lock: whoever notices a pause or a step of the clock looks at all heartbeats.
        let now = self.now();
        let mut index = self.index_mut();
        let found = index.by_key.get(key).cloned();
        if let Some(heartbeat) = found.filter(|heartbeat| heartbeat.origin() == Origin::File) {
            heartbeat.lock().beneath = declared.map(|(declared, origin)| (Arc::new(declared), origin));
            return Ok(());
        }
        let Some((declared, origin)) = declared else {
            if let Some(heartbeat) = index.remove(key) {
                heartbeat.lock().is_gone = true;
            }
            return Ok(());
        };
        if let Some(what) = index.taken(&declared) {
            return Err(format!("another heartbeat has its {what}"));
        }
        let heartbeat = match index.remove(key) {
            Some(heartbeat) => {
                self.redefine(&heartbeat, &mut heartbeat.lock(), &declared, now);
                heartbeat
            }
            None => Arc::new(Heartbeat::new(declared.clone(), origin, Record::new(now))),
        };
        index.insert(&heartbeat, &declared);
        Ok(())
    }
}

fn complain(key: &Key, taken: Result<(), String>) {
    if let Err(why) = taken {
        warn!(heartbeat = %key, err = why, "A change by another receiver cannot be read");
    }
}

/// Both records in one: the later signal decides what the heartbeat is, and counters never fall.
///
/// Signals that two receivers take at the same time are counted as one, which is less wrong than twice.
fn merge(ours: &Record, theirs: &Record) -> Record {
    let newest = |record: &Record| record.last_signal().map_or(record.created, |(_, at)| at);
    let age = |record: &Record| (newest(record), record.changed);
    let (late, early) = if age(theirs) > age(ours) { (theirs, ours) } else { (ours, theirs) };
    let mut merged = late.clone();
    merged.created = ours.created.min(theirs.created);
    merged.last.raise(&early.last);
    merge_counts(&mut merged.counts, &early.counts);
    merged
}

fn merge_counts(counts: &mut Counts, others: &Counts) {
    counts.signals.raise(&others.signals);
    counts.changes.raise(&others.changes);
    counts.run_durations.raise(&others.run_durations);
    counts.latenesses.raise(&others.latenesses);
    counts.transits.raise(&others.transits);
    let pairs = [
        (&mut counts.ignored, others.ignored),
        (&mut counts.missed, others.missed),
        (&mut counts.early, others.early),
        (&mut counts.gaps, others.gaps),
        (&mut counts.reordered, others.reordered),
        (&mut counts.restarts, others.restarts),
        (&mut counts.undetected_restarts, others.undetected_restarts),
        (&mut counts.false_alarms, others.false_alarms),
        (&mut counts.suspicions_confirmed, others.suspicions_confirmed),
        (&mut counts.suspicions_refuted, others.suspicions_refuted),
        (&mut counts.suspicions_inconclusive, others.suspicions_inconclusive),
    ];
    for (ours, theirs) in pairs {
        *ours = (*ours).max(theirs);
    }
    counts.mistake_seconds = counts.mistake_seconds.max(others.mistake_seconds);
}
