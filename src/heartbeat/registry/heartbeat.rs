//! One heartbeat in memory: what is known for sure, and what is on its way to the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::alarm::Moment;
use super::identity::TokenHash;
use super::limit::Bucket;
use super::{Definition, Key, Record, Time};
use crate::config::sections::heartbeats::Addresses;
use crate::heartbeat::hidden::Hidden;
use crate::heartbeat::state::{self, Status};

/// A definition and what its heartbeat is found by.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// What is expected.
    pub definition: Arc<Definition>,
    /// For URLs of healthchecks.io.
    pub uuid: Option<TokenHash>,
    /// For `/api/pings/`.
    pub id: Option<String>,
    /// For URLs and headers of everything else.
    pub token: Option<TokenHash>,
    /// What is shown as the file has it.
    pub hidden: Option<Arc<Hidden>>,
}

impl Declared {
    /// A heartbeat that is found by its name only.
    pub fn new(definition: impl Into<Arc<Definition>>) -> Self {
        Self { definition: definition.into(), uuid: None, id: None, token: None, hidden: None }
    }

    /// A heartbeat that is found by its addresses, too.
    pub fn written(definition: impl Into<Arc<Definition>>, addresses: &Addresses) -> Self {
        let Addresses { id, uuid, token } = addresses;
        let there = |text: &str| !text.is_empty();
        Self {
            definition: definition.into(),
            uuid: Some(uuid.expose()).filter(|uuid| there(uuid)).map(TokenHash::of_uuid),
            id: Some(&**id).filter(|id| there(id)).map(str::to_owned),
            token: Some(token.expose()).filter(|token| there(token)).map(TokenHash::of),
            hidden: None,
        }
    }

    /// The same; `hidden` came from placeholders.
    pub fn hiding(self, hidden: Option<Arc<Hidden>>) -> Self {
        Self { hidden, ..self }
    }

    /// What the file has at a path of the definition, if that came from a placeholder.
    pub fn hidden(&self, path: &[&str]) -> Option<&str> {
        self.hidden.as_ref()?.at(path)
    }

    /// The name of a number as it may be shown; `None` for one that the definition does not name any more.
    pub fn value_name<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        let index = self.definition.values.iter().position(|known| known == name)?;
        let hidden = self.hidden.as_ref().and_then(|hidden| hidden.at(&["values", &index.to_string()]));
        Some(hidden.unwrap_or(name))
    }
}

/// Who says that there is this heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The configuration; it wins.
    File,
    /// The management API.
    Api,
    /// Its first signal, by the template of the configuration.
    Template,
}

/// A heartbeat that is watched. Cheap to find, safe to hold: after its removal it takes no signal any more.
#[derive(Debug)]
pub struct Heartbeat {
    key: Key,
    cell: Mutex<Cell>,
}

/// What changes about a heartbeat. Its lock is held for microseconds and never while waiting.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) declared: Arc<Declared>,
    pub(super) origin: Origin,
    /// What the store says, while the file says something else.
    pub(super) beneath: Option<(Arc<Declared>, Origin)>,
    /// What is durable, and what has happened by itself since.
    pub(super) record: Arc<Record>,
    /// Number of the change that led to `record`.
    pub(super) published: u64,
    /// Changes that wait to be durable, oldest first. Each builds on the one before.
    pub(super) staged: Vec<Staged>,
    /// Everything that happens by itself up to this moment is noted in `record`.
    pub(super) seen: Time,
    /// Number of the last change.
    pub(super) changes: u64,
    /// Whether this heartbeat is on the list of those to be written, or has been taken from it by a flush
    /// that still has it to do. Nothing but that flush clears it: a heartbeat that were on the list twice
    /// would be locked twice at once.
    pub(super) is_dirty: bool,
    pub(super) is_gone: bool,
    pub(super) bucket: Bucket,
    /// The moment of its valid alarm.
    pub(super) alarm: Option<Moment>,
}

/// A change that waits to be durable.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) number: u64,
    /// See [`Cell::seen`].
    pub(super) seen: Time,
    pub(super) record: Arc<Record>,
}

impl Cell {
    /// The record that the next change builds on.
    pub(super) fn latest(&self) -> &Arc<Record> {
        match self.staged.last() {
            Some(staged) if staged.number > self.published => &staged.record,
            _ => &self.record,
        }
    }

    /// The definition, and every record: a change in flight was made without what is known only now, and will take
    /// the place of the others.
    pub(super) fn records(&mut self) -> (&Definition, impl Iterator<Item = &mut Arc<Record>>) {
        let Self { declared, record, staged, .. } = self;
        let in_flight = staged.iter_mut().map(|staged| &mut staged.record);
        (&declared.definition, in_flight.chain([record]))
    }

    /// A change turned out to be durable or not.
    pub(super) fn finish(&mut self, number: u64, is_durable: bool) {
        let Some(at) = self.staged.iter().position(|staged| staged.number == number) else { return };
        let staged = self.staged.remove(at);
        if is_durable && number > self.published {
            self.published = number;
            match Arc::get_mut(&mut self.record) {
                // In its place: a hundred thousand records that all move leave a heap full of holes.
                Some(record) => *record = Arc::unwrap_or_clone(staged.record),
                None => self.record = staged.record,
            }
            self.seen = staged.seen;
        }
    }
}

impl Heartbeat {
    pub(super) fn new(declared: Declared, origin: Origin, record: Record) -> Self {
        let seen = record.changed;
        Self {
            key: declared.definition.key.clone(),
            cell: Mutex::new(Cell {
                declared: Arc::new(declared),
                origin,
                beneath: None,
                record: Arc::new(record),
                published: 0,
                staged: Vec::new(),
                seen,
                changes: 0,
                is_dirty: false,
                is_gone: false,
                bucket: Bucket::default(),
                alarm: None,
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its definition, which a reload may replace.
    pub fn declared(&self) -> Arc<Declared> {
        Arc::clone(&self.lock().declared)
    }

    /// Who says that there is this heartbeat.
    pub fn origin(&self) -> Origin {
        self.lock().origin
    }

    /// Whether `token` is its token; always false when it has none.
    pub fn has_token(&self, token: &str) -> bool {
        let hash = self.lock().declared.token;
        hash.is_some_and(|hash| hash.matches(token))
    }

    /// What it is at `now`, which comes from [`super::Registry::now`].
    pub fn view(self: &Arc<Self>, now: Time) -> View {
        let (declared, origin, record) = {
            let cell = self.lock();
            (Arc::clone(&cell.declared), cell.origin, Arc::clone(&cell.record))
        };
        let status = state::evaluate(&declared.definition, &record, now);
        View { declared, origin, record, status }
    }
}

/// A heartbeat at a moment.
#[derive(Debug, Clone)]
pub struct View {
    /// What is expected, and what it is found by.
    pub declared: Arc<Declared>,
    /// Who says that there is this heartbeat.
    pub origin: Origin,
    /// What is remembered.
    pub record: Arc<Record>,
    /// What both mean.
    pub status: Status,
}

impl View {
    /// Its name.
    pub fn key(&self) -> &Key {
        &self.declared.definition.key
    }

    /// Whether the follow-up probe of the present down episode succeeded; `None` when there was none (yet).
    pub fn probed(&self) -> Option<bool> {
        self.record.open_episode().and_then(|episode| episode.probe_success)
    }
}
