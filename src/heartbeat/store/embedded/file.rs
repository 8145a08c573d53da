//! The database: its tables, what one transaction does, and reading it all.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase as _, ReadableTable as _, StorageError, TableError,
    TableHandle as _,
};
use serde_json::Value;

use super::super::queue::Pending;
use super::super::{EmbeddedSettings, Kind, Recovered, StoreError, Write};
use super::frame::{Frame, Slot};
use super::salvage::{Found, Torn};
use super::shadow::Shadow;
use super::tables::{BODIES, Bodies, ENTRIES, Entries, body_range};

/// Changes with the meaning of what is stored; an older program refuses a file of a newer one.
pub(super) const SCHEMA: u64 = 1;
/// Pages of the file kept in memory. The state is read once, so this serves writing; the library's own
/// default is 1 GiB.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Removed keys that are remembered; beyond, all are forgotten at the next start.
const MAX_REMOVED: usize = 100_000;

/// An error of the database, whatever it was doing.
pub(super) type Failure = redb::Error;

/// The open database.
#[derive(Debug)]
pub(super) struct File {
    database: Database,
    settings: EmbeddedSettings,
    identity: Identity,
    meta: Meta,
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::from(&metadata))
    }
}

impl From<&fs::Metadata> for Identity {
    fn from(metadata: &fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// Written with every commit, so that after a damage it is known what should be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// Number of the latest commit.
    pub(super) commit: u64,
    pub(super) definitions: u64,
    pub(super) records: u64,
    /// Entries that the latest commit changed.
    pub(super) writes: u64,
    /// Of all bodies together.
    pub(super) body_bytes: u64,
}

impl Meta {
    fn text(self) -> String {
        let Self { commit: _, definitions, records, writes, body_bytes } = self;
        format!(
            "{{\"schema\":{SCHEMA},\"definitions\":{definitions},\"records\":{records},\"writes\":{writes},\
             \"body_bytes\":{body_bytes}}}"
        )
    }

    /// The schema of a frame of [`Slot::Meta`], and the rest if the schema is ours.
    pub(super) fn read(frame: Frame<'_>) -> Option<(u64, Self)> {
        let fields: Value = serde_json::from_slice(frame.value).ok()?;
        let number = |name| fields.get(name).and_then(Value::as_u64);
        let meta = Self {
            commit: frame.commit,
            definitions: number("definitions").unwrap_or_default(),
            records: number("records").unwrap_or_default(),
            writes: number("writes").unwrap_or_default(),
            body_bytes: number("body_bytes").unwrap_or_default(),
        };
        Some((number("schema")?, meta))
    }

    /// One entry more or less.
    pub(super) fn count(&mut self, kind: Kind, is_more: bool) {
        let count = match kind {
            Kind::Definition => &mut self.definitions,
            Kind::Record => &mut self.records,
            Kind::Mark => return,
        };
        *count = if is_more { *count + 1 } else { count.saturating_sub(1) };
    }
}

/// What reading a whole database showed.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) recovered: Recovered,
    pub(super) removed: Vec<(Kind, Box<str>)>,
    pub(super) meta: Option<Meta>,
    /// Keys whose values are damaged.
    pub(super) damaged: Vec<Box<str>>,
    /// The trees could be read to their end.
    pub(super) is_complete: bool,
    /// They are those of the commit before the latest one, which is incomplete.
    pub(super) is_torn: bool,
    /// What else is wrong, if anything is.
    pub(super) why: Option<String>,
}

/// Why a file cannot be used as it is.
#[derive(Debug)]
pub(super) enum Unusable {
    /// Nothing that salvaging would help with.
    No(StoreError),
    /// Parts of it may be intact.
    Damaged(Box<Contents>),
}

/// Opens a file that exists, after a look at all of it that changes nothing.
///
/// # Errors
/// See [`Unusable`]; the file is as it was.
pub(super) fn open(settings: &EmbeddedSettings) -> Result<(File, Recovered), Unusable> {
    let unusable =
        |why: String| Unusable::No(StoreError::Open { place: settings.path.display().to_string(), why });
    let contents = look(settings)?;
    let (None, Some(meta)) = (&contents.why, contents.meta) else {
        return Err(Unusable::Damaged(Box::new(contents)));
    };
    // Before opening it in earnest, which frees the pages of what is incomplete.
    let torn = contents.is_torn.then(|| Torn::find(settings, &contents));
    let torn = torn.transpose().map_err(|error| unusable(error.to_string()))?;
    let mut file = File::connect(settings, meta).map_err(|error| match error {
        Failure::DatabaseAlreadyOpen => Unusable::No(StoreError::InUse { path: settings.path.clone() }),
        error => unusable(error.to_string()),
    })?;
    let mut recovered = contents.recovered;
    let repaired = (|| {
        if contents.removed.len() > MAX_REMOVED {
            file.forget_removed(&contents.removed)?;
        }
        if let Some(torn) = torn {
            file.put_all(&torn.found)?;
            recovered = torn.recovered;
        }
        Ok(())
    })();
    repaired.map_err(|error: Failure| unusable(error.to_string()))?;
    Ok((file, recovered))
}

fn look(settings: &EmbeddedSettings) -> Result<Contents, Unusable> {
    let path = &settings.path;
    let other = |why: String| Unusable::No(StoreError::Open { place: path.display().to_string(), why });
    let damaged =
        |why: String| Unusable::Damaged(Box::new(Contents { why: Some(why), ..Contents::default() }));
    // A new one is complete before it gets its name.
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) {
        return Err(damaged("it is empty".to_owned()));
    }
    let repair = Arc::new(Repair::default());
    let file = fs::OpenOptions::new().read(true).write(true).open(path);
    let mut database = file
        .map_err(DatabaseError::from)
        .and_then(Shadow::new)
        .and_then(|shadow| builder(Arc::clone(&repair)).create_with_backend(shadow))
        .map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => Unusable::No(StoreError::InUse { path: path.clone() }),
            DatabaseError::Storage(StorageError::Corrupted(why)) => damaged(why),
            DatabaseError::Storage(StorageError::Io(error)) if is_about_content(&error) => {
                damaged(error.to_string())
            }
            error => other(error.to_string()),
        })?;
    let mut contents = Contents::default();
    match read(&database, &mut contents) {
        Ok(()) => {}
        Err(ReadError::Newer(found)) => {
            return Err(Unusable::No(StoreError::Newer { path: path.clone(), found, known: SCHEMA }));
        }
        Err(ReadError::Foreign(table)) => {
            return Err(other(format!("it is a database with a table {table:?}, but not ours")));
        }
        Err(ReadError::Database(error)) => contents.why = Some(error.to_string()),
    }
    let Contents { recovered, meta, damaged, why, .. } = &mut contents;
    let found = (recovered.definitions.len() as u64, recovered.records.len() as u64);
    if why.is_some() {
        // Nothing explains more than the error.
    } else if !damaged.is_empty() {
        *why = Some("checksums of values do not match".to_owned());
    } else if meta.is_none_or(|meta| (meta.definitions, meta.records) != found) {
        *why = Some("entries are missing".to_owned());
        // The trees do not tell what has been removed.
        contents.is_complete = false;
    } else if repair.has_rolled_back.load(Ordering::Relaxed) {
        contents.is_torn = true;
    } else if !repair.has_run.load(Ordering::Relaxed) {
        // After a proper end the library trusts all pages, ours and those it needs for writing.
        *why = match database.check_integrity() {
            Ok(true) => None,
            Ok(false) => Some("checksums of pages do not match".to_owned()),
            Err(error) => Some(error.to_string()),
        };
    }
    Ok(contents)
}

/// What the library did to a file that was not closed.
#[derive(Debug, Default)]
struct Repair {
    /// It verified all pages.
    has_run: AtomicBool,
    /// The latest commit was damaged, so it took the one before.
    has_rolled_back: AtomicBool,
}

fn builder(repair: Arc<Repair>) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_repair_callback(move |session| {
        repair.has_run.store(true, Ordering::Relaxed);
        // Calls with 0, 0.6, 0.9 when the latest commit is good, with 0, 0.3, 0.6, 0.9 when it is not.
        if session.progress() > 0.0 && session.progress() < 0.5 {
            repair.has_rolled_back.store(true, Ordering::Relaxed);
        }
    });
    builder
}

/// Whether an error of reading says something about what is in the file.
fn is_about_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

enum ReadError {
    Newer(u64),
    Foreign(String),
    Database(Failure),
}

impl<E: Into<Failure>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

/// Adds what can be read to `contents`; what was read before an error stays.
fn read(database: &Database, contents: &mut Contents) -> Result<(), ReadError> {
    let transaction = database.begin_read()?;
    let entries = match transaction.open_table(ENTRIES) {
        Ok(entries) => entries,
        Err(TableError::TableDoesNotExist(_)) => {
            return match transaction.list_tables()?.next() {
                Some(foreign) => Err(ReadError::Foreign(foreign.name().to_owned())),
                None => Ok(()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    for entry in entries.iter()? {
        let (stored_key, stored) = entry?;
        let stored_key = stored_key.value();
        let frame = Frame::decode(stored.value())
            .filter(|frame| stored_key.split_first() == Some((&frame.slot.byte(), frame.key.as_bytes())));
        let Some(frame) = frame else {
            let key = String::from_utf8_lossy(stored_key.get(1..).unwrap_or_default());
            contents.damaged.push(key.into());
            continue;
        };
        match frame.slot {
            Slot::Value(kind) => contents.recovered.add(kind, (frame.key.into(), frame.value.into())),
            Slot::Removed(kind) => contents.removed.push((kind, frame.key.into())),
            Slot::Meta => match Meta::read(frame) {
                Some((SCHEMA, meta)) => contents.meta = Some(meta),
                Some((schema, _)) if schema > SCHEMA => return Err(ReadError::Newer(schema)),
                _ => contents.damaged.push("".into()),
            },
        }
    }
    contents.is_complete = true;
    Ok(())
}

impl File {
    /// Makes a file with this content in a place where there is none, or replaces the one there.
    ///
    /// At no moment is there a file with only a part of the content under that name.
    ///
    /// # Errors
    /// Those of the disk; then nothing has changed.
    pub(super) fn create(
        settings: &EmbeddedSettings,
        content: &Recovered,
        after: Meta,
        mode: Replace,
    ) -> Result<Self, Failure> {
        let path = &settings.path;
        let fresh = beside(path, &format!("new-{}", std::process::id()));
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::Io(error)),
            _ => {}
        }
        let made = Self::fill(settings, &fresh, content, after).and_then(|file| {
            match mode {
                Replace::Never => fs::hard_link(&fresh, path).or_else(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => Err(error),
                    // Not every file system has hard links.
                    _ => fs::rename(&fresh, path),
                })?,
                Replace::Yes => fs::rename(&fresh, path)?,
            }
            // Without this a crash of the machine may take the name away again.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(file)
        });
        // Gone already if it was renamed.
        let _ = fs::remove_file(&fresh);
        made
    }

    fn fill(
        settings: &EmbeddedSettings,
        path: &Path,
        content: &Recovered,
        after: Meta,
    ) -> Result<Self, Failure> {
        let database = builder(Arc::default()).create(path)?;
        let mut file =
            Self { database, settings: settings.clone(), identity: Identity::of(path)?, meta: after };
        file.meta = Meta { commit: after.commit, ..Meta::default() };
        file.transaction(|entries, _, meta| {
            let kinds = [
                (Kind::Definition, &content.definitions),
                (Kind::Record, &content.records),
                (Kind::Mark, &content.marks),
            ];
            for (kind, all) in kinds {
                for (key, value) in all {
                    entries.set(kind, key, Some(value), meta)?;
                }
            }
            Ok(())
        })?;
        Ok(file)
    }

    /// Opens the file again after an error. It was read once, so only what changes is read.
    ///
    /// # Errors
    /// The cause of the error is still there.
    pub(super) fn reopen(settings: &EmbeddedSettings, before: Identity) -> Result<Self, Failure> {
        if Identity::of(&settings.path)? != before {
            return Err(Failure::Io(io::Error::other("another file has taken its place")));
        }
        let database = builder(Arc::default()).open(&settings.path)?;
        let meta = {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let stored = entries.get([Slot::Meta.byte()].as_slice())?;
            let frame = stored.as_ref().and_then(|stored| Frame::decode(stored.value()));
            frame.and_then(Meta::read).map(|(_, meta)| meta)
        };
        let meta = meta.ok_or_else(|| Failure::Corrupted("it has no description".to_owned()))?;
        Ok(Self { database, settings: settings.clone(), identity: before, meta })
    }

    /// Which file it is.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Everything in it, although its name may be gone.
    ///
    /// # Errors
    /// Some of it cannot be read.
    pub(super) fn contents(&self) -> Result<(Recovered, Meta), Failure> {
        let mut contents = Contents::default();
        match read(&self.database, &mut contents) {
            Ok(()) if contents.damaged.is_empty() => Ok((contents.recovered, self.meta)),
            Ok(()) => Err(Failure::Corrupted("checksums of values do not match".to_owned())),
            Err(ReadError::Database(error)) => Err(error),
            Err(ReadError::Newer(_) | ReadError::Foreign(_)) => {
                Err(Failure::Corrupted("it is not the file that was opened".to_owned()))
            }
        }
    }

    /// Applies all writes in one transaction and waits until the disk has it. The results are those of the
    /// jobs: done, or not as expected.
    ///
    /// # Errors
    /// Nothing has been written, or it is not known. The database has to be opened again.
    pub(super) fn apply(&mut self, jobs: &[Pending]) -> Result<Applied, Failure> {
        let mut applied = Applied::default();
        let limits = self.settings.clone();
        self.transaction(|entries, bodies, meta| {
            // Of several values of one record only the last one counts, and sorted ones share pages.
            let mut plain = Vec::new();
            for job in jobs {
                let is_expected = entries.are_as_expected(&job.writes)?;
                applied.results.push(if is_expected { Ok(()) } else { Err(StoreError::Conflict) });
                for write in job.writes.iter().filter(|_| is_expected) {
                    match write {
                        Write::Set { kind: Kind::Definition, key, value } => {
                            entries.set(Kind::Definition, key, value.as_deref(), meta)?;
                        }
                        Write::Set { kind, key, value } => {
                            plain.push((*kind, key.as_ref(), value.as_deref()))
                        }
                        Write::Body { key, value } => {
                            let is_kept = bodies.add(key, value, &limits, meta)?;
                            applied.refused_bodies += usize::from(!is_kept);
                        }
                        Write::ForgetBodies { key } => bodies.keep(key, 0, meta)?,
                        Write::Expect { .. } => {}
                    }
                }
            }
            plain.sort_by_key(|(kind, key, _)| (*kind, *key));
            for run in plain.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
                if let Some((kind, key, value)) = run.last() {
                    entries.set(*kind, key, *value, meta)?;
                }
            }
            Ok(())
        })?;
        Ok(applied)
    }

    /// The bodies of a heartbeat, oldest first.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn bodies(&self, key: &str) -> Result<Vec<Box<[u8]>>, Failure> {
        let bodies = match self.database.begin_read()?.open_table(BODIES) {
            Ok(bodies) => bodies,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let (from, to) = body_range(key);
        let found = bodies.range(from.as_slice()..=to.as_slice())?;
        found.map(|entry| Ok(entry?.1.value().into())).collect()
    }

    fn connect(settings: &EmbeddedSettings, meta: Meta) -> Result<Self, Failure> {
        let database = builder(Arc::default()).open(&settings.path)?;
        Ok(Self { database, settings: settings.clone(), identity: Identity::of(&settings.path)?, meta })
    }

    fn put_all(&mut self, found: &[Found]) -> Result<(), Failure> {
        self.transaction(|entries, _, meta| {
            found.iter().try_for_each(|(kind, key, value)| entries.set(*kind, key, value.as_deref(), meta))
        })
    }

    fn forget_removed(&mut self, removed: &[(Kind, Box<str>)]) -> Result<(), Failure> {
        self.transaction(|entries, _, _| {
            for (kind, key) in removed {
                entries.forget_removed(*kind, key)?;
            }
            Ok(())
        })
    }

    fn transaction(
        &mut self,
        change: impl FnOnce(&mut Entries<'_>, &mut Bodies<'_>, &mut Meta) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut meta = Meta { commit: self.meta.commit + 1, writes: 0, ..self.meta };
        {
            let mut entries = Entries::open(&transaction, meta.commit)?;
            let mut bodies = Bodies::new(&transaction);
            change(&mut entries, &mut bodies, &mut meta)?;
            entries.put(Slot::Meta, "", meta.text().as_bytes())?;
        }
        transaction.commit()?;
        self.meta = meta;
        Ok(())
    }
}

/// Whether a file may be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replace {
    /// No: another process may have made it in between.
    Never,
    /// Yes: we hold its lock, or it is gone.
    Yes,
}

/// What became of the jobs of one transaction.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// In the order of the jobs.
    pub(super) results: Vec<Result<(), StoreError>>,
    /// Bodies for which there was no room.
    pub(super) refused_bodies: usize,
}

/// A name in the same folder.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
