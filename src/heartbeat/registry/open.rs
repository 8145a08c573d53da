//! From the configuration and the store to a registry, at start and after a reload.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::warn;

use super::evaluate::{Looked, Miss, Troubles};
use super::{Cell, Declared, Heartbeat, Inner, Keep, Key, Origin, RateLimit, Record, Registry, TokenHash};
use crate::config::Heartbeats;
use crate::config::sections::heartbeats::Provision;
use crate::heartbeat::clock::{self, Clock, Reading, Watch};
use crate::heartbeat::hidden::Hidden;
use crate::heartbeat::record::Presence;
use crate::heartbeat::schedule::Time;
use crate::heartbeat::state;
use crate::heartbeat::store::{Entry, Recovered};

/// What the configuration says; a reload replaces it.
#[derive(Debug, Default)]
pub struct Settings {
    /// Heartbeats of the file, until the registry takes them. Of several with the same name, uuid, id or token
    /// the last one counts.
    pub declared: Vec<Declared>,
    /// Ping key of slug URLs; `None` switches them off.
    pub ping_key: Option<TokenHash>,
    /// Heartbeats that may be made by their first signal.
    pub provision: Option<Box<Provision>>,
    /// What of their definition is shown as the file has it.
    pub hidden: Option<Arc<Hidden>>,
    /// For each heartbeat.
    pub rate: RateLimit,
    /// Name of this receiver among those that share a store.
    pub receiver: String,
}

impl Settings {
    /// What the section says.
    pub fn new(section: &Heartbeats, receiver: String) -> Self {
        let declared = section.services.values();
        let mask = section.mask.as_ref();
        let declared = declared.map(|one| {
            let hidden = Hidden::below(mask, &["services", one.definition.key.name()]);
            Declared::written(Arc::clone(&one.definition), &one.addresses).hiding(hidden)
        });
        Self {
            declared: declared.collect(),
            ping_key: Some(&section.ping_key)
                .filter(|key| !key.is_empty())
                .map(|key| TokenHash::of(key.expose())),
            provision: section.provision.clone(),
            hidden: Hidden::below(mask, &["provision", "template"]),
            rate: RateLimit::default(),
            receiver,
        }
    }
}

/// What stands in the store for a definition that the template of the configuration gives.
pub(super) const BY_TEMPLATE: &[u8] = b"template";

/// A heartbeat as the template has it.
pub(super) fn declare_by(settings: &Settings, key: &Key) -> Option<Declared> {
    let template = settings.provision.as_ref()?;
    let definition = template.definition(key.clone()).ok()?;
    Some(Declared::written(definition, &template.template.addresses()).hiding(settings.hidden.clone()))
}

/// Reads a definition as it was given to [`Registry::define`].
pub type Parse = fn(&Key, &[u8]) -> Result<Declared, String>;

/// The receiver was alive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) wall: Time,
    pub(super) boot_id: String,
    pub(super) boot_seconds: f64,
}

impl Mark {
    pub(super) fn new(now: &Reading) -> Self {
        Self { wall: now.wall, boot_id: clock::boot_id(), boot_seconds: now.boot.as_secs_f64() }
    }
}

/// Misses that wait for their follow-up probe; later ones go without.
const MAX_MISSES: usize = 10_000;

impl Registry {
    /// All heartbeats of the configuration and the store, with credit for the time since the last mark.
    ///
    /// What in the store cannot be read is left alone and logged. The receiver gets heartbeats that were
    /// missed and whose definition names a follow-up probe.
    pub fn open(
        mut settings: Settings,
        parse: Parse,
        keep: Arc<dyn Keep>,
        recovered: Recovered,
        clock: Arc<dyn Clock>,
    ) -> (Self, mpsc::Receiver<Miss>) {
        let now = clock.read();
        let (misses, follow_up) = mpsc::channel(MAX_MISSES);
        let mark = last_mark(&settings.receiver, &recovered.marks);
        let registry = Self {
            inner: Arc::new(Inner {
                keep,
                alarms: super::Alarms::default(),
                dirty: Mutex::default(),
                misses,
            }),
            index: RwLock::default(),
            settings: RwLock::new(Arc::new(Settings::default())),
            parse,
            clock,
            watch: Mutex::new(Watch::new(now)),
            managing: tokio::sync::Mutex::default(),
            looked: Looked::new(&now),
            peers: super::Peers::default(),
            receiver: Default::default(),
            troubles: Troubles::default(),
        };
        let mut records = read_records(recovered.records);
        let newest = records.values().map(last_sign).max();
        {
            let mut index = registry.index_mut();
            for declared in std::mem::take(&mut settings.declared) {
                let heartbeat = registry.revive(declared, Origin::File, &mut records, now.wall);
                index.insert(&heartbeat, &heartbeat.declared());
            }
            for (key, declared, origin) in registry.read_definitions(&settings, recovered.definitions) {
                if let Some(heartbeat) = index.by_key.get(&key) {
                    heartbeat.lock().beneath = Some((Arc::new(declared), origin));
                    continue;
                }
                if let Some(what) = index.taken(&declared) {
                    warn!(heartbeat = %key, "Not defined: another heartbeat has its {what}");
                    continue;
                }
                let heartbeat = registry.revive(declared, origin, &mut records, now.wall);
                index.insert(&heartbeat, &heartbeat.declared());
            }
            index.ping_key = settings.ping_key;
        }
        // Who has come is told later, together with those that are not known yet.
        let present: HashSet<&str> = recovered.present.iter().map(|key| &**key).collect();
        registry.every(|registry, heartbeat, cell| {
            let has_key = cell.record.presence == Some(Presence::Here);
            if has_key && !present.contains(heartbeat.key().to_string().as_str()) {
                registry.set_present(heartbeat, cell, false, now.wall);
            }
        });
        *registry.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        // Without a mark, the last signal tells until when this receiver was alive.
        let mark =
            mark.or_else(|| newest.map(|wall| Mark { wall, boot_id: String::new(), boot_seconds: 0.0 }));
        registry.wake_up(&now, mark);
        (registry, follow_up)
    }

    /// Takes a new configuration. Heartbeats keep their records; those that nothing defines any more are gone.
    pub fn reload(&self, mut settings: Settings) {
        let now = self.now();
        let mut index = self.index_mut();
        let mut old = std::mem::take(&mut *index);
        for declared in std::mem::take(&mut settings.declared) {
            let key = &declared.definition.key;
            let heartbeat = match old.by_key.remove(key) {
                Some(heartbeat) => {
                    let mut cell = heartbeat.lock();
                    if cell.origin != Origin::File {
                        cell.beneath = Some((Arc::clone(&cell.declared), cell.origin));
                    }
                    cell.origin = Origin::File;
                    self.redefine(&heartbeat, &mut cell, &declared, now);
                    drop(cell);
                    heartbeat
                }
                None => {
                    let record = Record::new(now);
                    let heartbeat = Arc::new(Heartbeat::new(declared, Origin::File, record));
                    self.inner.mark_dirty(&heartbeat, &mut heartbeat.lock());
                    heartbeat
                }
            };
            index.insert(&heartbeat, &heartbeat.declared());
        }
        for heartbeat in old.by_key.into_values() {
            let mut cell = heartbeat.lock();
            if cell.origin == Origin::File
                && let Some((declared, origin)) = cell.beneath.take()
            {
                cell.origin = origin;
                self.redefine(&heartbeat, &mut cell, &declared, now);
            }
            if cell.origin == Origin::Template
                && let Some(declared) = declare_by(&settings, heartbeat.key())
            {
                self.redefine(&heartbeat, &mut cell, &declared, now);
            }
            let declared = Arc::clone(&cell.declared);
            cell.is_gone = cell.origin == Origin::File || index.taken(&declared).is_some();
            let stays = !cell.is_gone;
            drop(cell);
            if stays {
                index.insert(&heartbeat, &declared);
            }
        }
        index.ping_key = settings.ping_key;
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// A heartbeat with the record it had, or a new one that is to be kept.
    fn revive(
        &self,
        declared: Declared,
        origin: Origin,
        records: &mut HashMap<Key, Record>,
        now: Time,
    ) -> Arc<Heartbeat> {
        let (record, is_new) = match records.remove(&declared.definition.key) {
            Some(record) => (record, false),
            None => (Record::new(now), true),
        };
        let heartbeat = Arc::new(Heartbeat::new(declared, origin, record));
        if is_new {
            self.inner.mark_dirty(&heartbeat, &mut heartbeat.lock());
        }
        heartbeat
    }

    /// Replaces a definition; what is open is judged by the new one from now on.
    pub(super) fn redefine(
        &self,
        heartbeat: &Arc<Heartbeat>,
        cell: &mut Cell,
        declared: &Declared,
        now: Time,
    ) {
        if *cell.declared == *declared {
            return;
        }
        // What the old one says until now happened.
        state::advance(&cell.declared.definition, Arc::make_mut(&mut cell.record), now);
        cell.declared = Arc::new(declared.clone());
        state::advance(&declared.definition, Arc::make_mut(&mut cell.record), now);
        cell.seen = now;
        self.inner.mark_dirty(heartbeat, cell);
        self.inner.arm(heartbeat, cell);
    }

    fn read_definitions(&self, settings: &Settings, entries: Vec<Entry>) -> Vec<(Key, Declared, Origin)> {
        let mut definitions = Vec::with_capacity(entries.len());
        for (name, written) in entries {
            let parsed = name.parse::<Key>().and_then(|key| {
                let (declared, origin) = self.read_definition(settings, &key, &written)?;
                Ok((key, declared, origin))
            });
            match parsed {
                Ok(definition) => definitions.push(definition),
                Err(why) => warn!(heartbeat = &*name, err = why, "A definition in the store cannot be read"),
            }
        }
        definitions
    }

    /// Reads what the store has about a heartbeat.
    pub(super) fn read_definition(
        &self,
        settings: &Settings,
        key: &Key,
        written: &[u8],
    ) -> Result<(Declared, Origin), String> {
        if *written != *BY_TEMPLATE {
            return Ok(((self.parse)(key, written)?, Origin::Api));
        }
        let declared = declare_by(settings, key).ok_or("the configuration has no template any more")?;
        Ok((declared, Origin::Template))
    }
}

fn read_records(entries: Vec<Entry>) -> HashMap<Key, Record> {
    let mut records = HashMap::with_capacity(entries.len());
    for (name, written) in entries {
        let record = serde_json::from_slice::<Record>(&written).map_err(|error| error.to_string());
        match name.parse::<Key>().and_then(|key| Ok((key, record?))) {
            Ok((key, record)) => drop(records.insert(key, record)),
            Err(why) => warn!(heartbeat = &*name, err = why, "A record in the store cannot be read"),
        }
    }
    records
}

/// The newest mark of this receiver; with a shared store, the others may have been alive later, but it is
/// this one that others could not reach.
fn last_mark(receiver: &str, marks: &[Entry]) -> Option<Mark> {
    let (_, written) = marks.iter().find(|(name, _)| **name == *receiver)?;
    serde_json::from_slice(written).ok()
}

/// The last moment at which this record shows that somebody received.
fn last_sign(record: &Record) -> Time {
    record.last_signal().map_or(record.created, |(_, at)| at)
}
