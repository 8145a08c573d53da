//! A damaged file: what is intact moves to a new one, the damaged one is kept, and the log says what is lost.

use std::collections::HashMap;
use std::fs::{self, TryLockError};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use super::super::{EmbeddedSettings, Kind, Loss, Recovered, StoreError};
use super::file::{Contents, File, Identity, Meta, Replace, SCHEMA, beside};
use super::frame::{Slot, search};

/// Damaged keys named in the log.
const MAX_NAMED: usize = 20;

/// Replaces a damaged file. `read` is what the database was still able to read of it.
///
/// # Errors
/// The file is not one of ours, another process has it open, or there is no room for a new one; then it
/// is left as it is.
pub(super) fn salvage(settings: &EmbeddedSettings, read: Contents) -> Result<(File, Recovered), StoreError> {
    let path = &settings.path;
    let unusable = |why: String| StoreError::Open {
        place: path.display().to_string(),
        why: format!("it is damaged ({}), and {why}", read.why.as_deref().unwrap_or("unreadable")),
    };
    let io = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let damaged = fs::File::open(path).map_err(io("it cannot be read")).map_err(&unusable)?;
    match damaged.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.clone() }),
        Err(TryLockError::Error(error)) => return Err(unusable(io("it cannot be locked")(error))),
    }
    // Another process may have replaced it while we waited for nothing but our turn.
    let ours = damaged.metadata().map(|metadata| Identity::from(&metadata));
    if ours.ok() != Identity::of(path).ok() {
        return Err(StoreError::InUse { path: path.clone() });
    }

    let mut pieces = Pieces::new(&read);
    search(&damaged, |frame| pieces.add(frame.slot, frame.commit, frame.key, frame.value))
        .map_err(io("searching it failed"))
        .map_err(&unusable)?;
    if let Some(schema) = pieces.newer {
        return Err(StoreError::Newer { path: path.clone(), found: schema, known: SCHEMA });
    }
    if pieces.is_nothing() && !is_blank_or_database(&damaged).unwrap_or(false) {
        return Err(unusable("nothing in it says that it is a heartbeat store".to_owned()));
    }
    let (mut recovered, latest, maybe_older) = pieces.assemble();

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let moved_to = (0..100)
        .map(|n| beside(path, &if n == 0 { format!("corrupt-{now}") } else { format!("corrupt-{now}-{n}") }))
        .find(|candidate| !candidate.exists())
        .ok_or_else(|| unusable("no name for it is free".to_owned()))?;
    // Until the new file takes its place, the damaged one stays where the next start looks for it.
    fs::hard_link(path, &moved_to)
        .or_else(|_| fs::copy(path, &moved_to).map(drop))
        .map_err(io("it cannot be kept under another name"))
        .map_err(&unusable)?;
    let after = latest.unwrap_or_default();
    let file = File::create(settings, &recovered, after, Replace::Yes).map_err(|error| {
        // As it was before; a copy would fill the disk with every attempt.
        let _ = fs::remove_file(&moved_to);
        unusable(format!("no new file can be made: {error}"))
    })?;

    let missing = |expected: fn(&Meta) -> u64, found: usize| {
        latest.as_ref().map(|meta| expected(meta).saturating_sub(found as u64))
    };
    let loss = Loss {
        moved_to: Some(moved_to),
        why: read.why.unwrap_or_else(|| "unreadable".to_owned()),
        definitions: missing(|meta| meta.definitions, recovered.definitions.len()),
        records: missing(|meta| meta.records, recovered.records.len()),
        maybe_older,
    };
    report(settings, &recovered, &loss, &read.damaged);
    recovered.loss = Some(loss);
    Ok((file, recovered))
}

/// An entry and its value; `None` when it was removed.
pub(super) type Found = (Kind, Box<str>, Option<Box<[u8]>>);

/// What is left of a latest commit that is not complete, in a file that is well otherwise.
///
/// One that was being written when the process was killed looks like one that was damaged later. So what
/// is intact of it is kept in either case.
pub(super) struct Torn {
    /// Entries as that commit wrote them.
    pub(super) found: Vec<Found>,
    pub(super) recovered: Recovered,
}

impl Torn {
    /// # Errors
    /// The file cannot be read.
    pub(super) fn find(settings: &EmbeddedSettings, read: &Contents) -> io::Result<Self> {
        let mut pieces = Pieces::new(read);
        let file = fs::File::open(&settings.path)?;
        search(file, |frame| pieces.add(frame.slot, frame.commit, frame.key, frame.value))?;
        let fresh = pieces.entries.iter().filter(|(_, piece)| !piece.is_current);
        let found: Vec<_> =
            fresh.map(|((kind, key), piece)| (*kind, key.clone(), piece.value.clone())).collect();
        let before = read.meta.map_or(0, |meta| meta.commit);
        let written = pieces.meta.filter(|meta| meta.commit > before).map(|meta| meta.writes);
        // When its description is gone too, it may have changed anything.
        let missing = match written {
            Some(written) => written.saturating_sub(found.len() as u64),
            None => pieces.entries.len() as u64,
        };
        let (mut recovered, ..) = pieces.assemble();
        info!(
            path = %settings.path.display(), kept = found.len(), missing,
            "The latest commit in the heartbeat store is incomplete, as a crash leaves it"
        );
        if missing > 0 {
            recovered.loss = Some(Loss {
                moved_to: None,
                why: "its latest commit is incomplete".to_owned(),
                definitions: None,
                records: None,
                maybe_older: missing,
            });
        }
        Ok(Self { found, recovered })
    }
}

fn report(settings: &EmbeddedSettings, recovered: &Recovered, loss: &Loss, damaged: &[Box<str>]) {
    let count = |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
    let mut named: Vec<&str> = damaged.iter().take(MAX_NAMED).map(|key| &**key).collect();
    if damaged.len() > MAX_NAMED {
        named.push("…");
    }
    warn!(
        path = %settings.path.display(),
        moved_to = %loss.moved_to.as_deref().unwrap_or(Path::new("")).display(),
        err = loss.why,
        definitions_kept = recovered.definitions.len(),
        definitions_lost = count(loss.definitions),
        records_kept = recovered.records.len(),
        records_lost = count(loss.records),
        maybe_older = loss.maybe_older,
        damaged = named.join(" "),
        "The heartbeat store was damaged; what is intact was kept, message bodies were not"
    );
}

/// A file of zeros or of a few bytes is what a crash of the machine leaves of a new one.
fn is_blank_or_database(mut file: &fs::File) -> io::Result<bool> {
    use io::{Read as _, Seek as _};
    const DATABASE: &[u8] = b"redb";
    file.rewind()?;
    let mut head = Vec::new();
    file.take(4096).read_to_end(&mut head)?;
    Ok(head.starts_with(DATABASE) || DATABASE.starts_with(&head) || head.iter().all(|byte| *byte == 0))
}

/// The latest known value of each entry.
struct Pieces {
    /// Values in the trees of the database are the current ones, so nothing found elsewhere replaces them
    /// unless it is newer than the trees.
    entries: HashMap<(Kind, Box<str>), Piece>,
    /// The latest.
    meta: Option<Meta>,
    newer: Option<u64>,
    /// All of the trees could be read, which are those of this commit: what is not in them and not newer has
    /// been removed.
    trees: Option<u64>,
}

struct Piece {
    commit: u64,
    /// `None`: removed.
    value: Option<Box<[u8]>>,
    is_current: bool,
}

impl Pieces {
    fn new(read: &Contents) -> Self {
        let is_whole = read.damaged.is_empty() && read.is_complete;
        let trees = read.meta.filter(|_| is_whole).map(|meta| meta.commit);
        let mut entries = HashMap::new();
        let kinds = [
            (Kind::Definition, &read.recovered.definitions),
            (Kind::Record, &read.recovered.records),
            (Kind::Mark, &read.recovered.marks),
        ];
        // Their own number was not kept; they are as new as the trees, which begin at 0 when unknown.
        let commit = read.meta.map_or(0, |meta| meta.commit);
        for (kind, all) in kinds {
            for (key, value) in all {
                let piece = Piece { commit, value: Some(value.clone()), is_current: true };
                entries.insert((kind, key.clone()), piece);
            }
        }
        for (kind, key) in &read.removed {
            entries.insert((*kind, key.clone()), Piece { commit, value: None, is_current: true });
        }
        Self { entries, meta: read.meta, newer: None, trees }
    }

    fn add(&mut self, slot: Slot, commit: u64, key: &str, value: &[u8]) {
        let (kind, value) = match slot {
            Slot::Value(kind) => (kind, Some(value)),
            Slot::Removed(kind) => (kind, None),
            Slot::Meta => {
                let frame = super::frame::Frame { slot, commit, key, value };
                match Meta::read(frame) {
                    Some((SCHEMA, meta)) if self.meta.is_none_or(|known| known.commit < commit) => {
                        self.meta = Some(meta);
                    }
                    Some((schema, _)) if schema > SCHEMA => self.newer = Some(schema),
                    _ => {}
                }
                return;
            }
        };
        if self.trees.is_some_and(|trees| commit <= trees) {
            return;
        }
        let piece = || Piece { commit, value: value.map(Box::from), is_current: false };
        match self.entries.get_mut(&(kind, Box::from(key))) {
            Some(known) if known.commit >= commit => {}
            Some(known) => *known = piece(),
            None => {
                self.entries.insert((kind, key.into()), piece());
            }
        }
    }

    fn is_nothing(&self) -> bool {
        self.entries.is_empty() && self.meta.is_none()
    }

    /// The entries, the latest description, and how many entries may have had a later value.
    fn assemble(self) -> (Recovered, Option<Meta>, u64) {
        // A value of the latest commit known cannot have been followed by another.
        let latest = self.meta.map_or(u64::MAX, |meta| meta.commit);
        let is_older = |piece: &Piece| piece.value.is_some() && !piece.is_current && piece.commit < latest;
        let maybe_older = self.entries.values().filter(|piece| is_older(piece)).count() as u64;
        let mut recovered = Recovered::default();
        for ((kind, key), piece) in self.entries {
            if let Some(value) = piece.value {
                recovered.add(kind, (key, value));
            }
        }
        recovered.definitions.sort_unstable();
        recovered.records.sort_unstable();
        recovered.marks.sort_unstable();
        (recovered, self.meta, maybe_older)
    }
}
