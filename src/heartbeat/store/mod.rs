//! What must survive a restart: definitions made at run time, the record of each heartbeat, recent
//! message bodies, and when this receiver was last alive.
//!
//! The store keeps bytes and knows nothing of their meaning. What it promises is in [`Store::commit`]:
//! written means durable. All state is read once, at start; afterwards the store is only written, except
//! for bodies, which somebody may want to see.
//!
//! Two backends: a file on this machine, and etcd for receivers that share definitions and records.

mod embedded;
mod error;
mod etcd;
mod metrics;
mod queue;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use self::error::StoreError;
pub use self::etcd::{Endpoint, EtcdSettings};
pub use self::metrics::StoreMetrics;
pub use self::queue::Commit;
use self::queue::Queue;

/// Longest key in bytes; two names with the slash between them stay far below.
pub const MAX_KEY_BYTES: usize = 512;
/// Longest value in bytes. Definitions and records have some hundred.
pub const MAX_VALUE_BYTES: usize = 256 * 1024;
/// Writes of one commit; the limit of one transaction in etcd (`--max-txn-ops`, 128 by default).
pub const MAX_WRITES: usize = 100;

/// Where the state is kept.
#[derive(Debug, Clone)]
pub enum Settings {
    /// In a file of this machine.
    Embedded(EmbeddedSettings),
    /// In etcd, shared with other receivers.
    Etcd(Box<EtcdSettings>),
}

/// The store in a file.
#[derive(Debug, Clone)]
pub struct EmbeddedSettings {
    /// Created on first use; its folder must exist.
    pub path: PathBuf,
    /// Bodies kept for each heartbeat.
    pub bodies: usize,
    /// Bytes of all bodies together. Beyond, a new body only takes the place of older ones of its heartbeat.
    pub body_bytes: u64,
}

impl EmbeddedSettings {
    /// A store in this file with default limits.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), bodies: DEFAULT_BODIES, body_bytes: DEFAULT_BODY_BYTES }
    }
}

/// Bodies kept for each heartbeat unless told otherwise.
pub const DEFAULT_BODIES: usize = 10;
/// Bytes of all bodies together unless told otherwise, 64 MiB.
pub const DEFAULT_BODY_BYTES: u64 = 64 * 1024 * 1024;

/// What an entry is. Each kind has its own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A heartbeat defined at run time; the key is `namespace/name`.
    Definition,
    /// What is remembered about one heartbeat; the key is `namespace/name`.
    Record,
    /// When a receiver was last alive; the key is the name of the receiver.
    Mark,
}

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A new value, or none any more.
    Set {
        /// Of which kind of entry.
        kind: Kind,
        /// Its key.
        key: Box<str>,
        /// The value; `None` removes the entry.
        value: Option<Box<[u8]>>,
    },
    /// Goes ahead with its commit only if the definition is as expected, otherwise the whole commit is
    /// [`StoreError::Conflict`].
    Expect {
        /// Key of the definition.
        key: Box<str>,
        /// The expected value; `None` means that there is no such definition.
        value: Option<Box<[u8]>>,
    },
    /// The body of a message, kept as long as it is among the latest of its heartbeat. May be lost.
    Body {
        /// Key of the heartbeat.
        key: Box<str>,
        /// Whatever shall be kept.
        value: Box<[u8]>,
    },
    /// Removes the bodies of a heartbeat.
    ForgetBodies {
        /// Key of the heartbeat.
        key: Box<str>,
    },
}

impl Write {
    /// A new value for an entry.
    pub fn set(kind: Kind, key: impl Into<Box<str>>, value: impl Into<Box<[u8]>>) -> Self {
        Self::Set { kind, key: key.into(), value: Some(value.into()) }
    }

    /// The entry is gone.
    pub fn remove(kind: Kind, key: impl Into<Box<str>>) -> Self {
        Self::Set { kind, key: key.into(), value: None }
    }

    fn parts(&self) -> (&str, &[u8]) {
        match self {
            Self::Set { key, value, .. } | Self::Expect { key, value } => {
                (key, value.as_deref().unwrap_or_default())
            }
            Self::Body { key, value } => (key, value),
            Self::ForgetBodies { key } => (key, &[]),
        }
    }
}

/// A key and its value.
pub type Entry = (Box<str>, Box<[u8]>);

/// What the store held when it was opened.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Heartbeats defined at run time.
    pub definitions: Vec<Entry>,
    /// What was remembered about each heartbeat.
    pub records: Vec<Entry>,
    /// When each receiver was last alive: this one, and with etcd the others too.
    pub marks: Vec<Entry>,
    /// Heartbeats whose own key is there, see [`Change::Presence`].
    pub present: Vec<Box<str>>,
    /// What could not be read; `None` when all is well.
    pub loss: Option<Loss>,
}

impl Recovered {
    fn add(&mut self, kind: Kind, entry: Entry) {
        match kind {
            Kind::Definition => self.definitions.push(entry),
            Kind::Record => self.records.push(entry),
            Kind::Mark => self.marks.push(entry),
        }
    }
}

/// Something is missing, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Where the damaged file is now, which was replaced by what could be read of it. `None` when only the
    /// latest commit is incomplete: when the process or the machine stopped while writing it, it had not
    /// been acknowledged, and nothing is lost.
    pub moved_to: Option<PathBuf>,
    /// What is wrong with it.
    pub why: String,
    /// Definitions that are missing; `None` if nothing tells how many there were.
    pub definitions: Option<u64>,
    /// Records that are missing; `None` if nothing tells how many there were.
    pub records: Option<u64>,
    /// Entries whose latest value may be lost, so that an earlier one or none stands in for it.
    pub maybe_older: u64,
}

/// A change made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Another receiver wrote an entry, or somebody removed it.
    Entry {
        /// Of which kind.
        kind: Kind,
        /// Its key.
        key: Box<str>,
        /// The value now; `None` if it is gone.
        value: Option<Box<[u8]>>,
    },
    /// Another receiver appeared, or its lease ran out.
    Receiver {
        /// Its name.
        name: Box<str>,
        /// Whether it is there.
        is_present: bool,
    },
    /// A node that reports as a heartbeat has put its own key, or the key is gone: removed, or its lease ran out.
    Presence {
        /// Key of the heartbeat.
        key: Box<str>,
        /// Whether it is there.
        is_present: bool,
    },
}

/// An open store.
#[derive(Debug)]
pub struct Opened {
    /// For writing.
    pub store: Store,
    /// What it held.
    pub recovered: Recovered,
    /// Changes made by other receivers since then, in the order of the backend; `None` where there are no
    /// others. A slow reader delays later changes but loses none.
    pub changes: Option<mpsc::Receiver<Change>>,
}

/// Keeps state over restarts; cheap to clone. Dropping the last clone closes it.
#[derive(Debug, Clone)]
pub struct Store {
    queue: Arc<Queue>,
    backend: &'static str,
}

impl Store {
    /// Opens the store and reads all of it.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::InUse`], [`StoreError::Newer`]. A damaged file is no error: see
    /// [`Recovered::loss`].
    pub async fn open(settings: Settings, metrics: Arc<StoreMetrics>) -> Result<Opened, StoreError> {
        let opened = match settings {
            Settings::Embedded(settings) => embedded::open(settings, Arc::clone(&metrics)).await,
            Settings::Etcd(settings) => etcd::open(*settings, Arc::clone(&metrics)).await,
        };
        match &opened {
            Ok(opened) => metrics.recovered(opened.recovered.records.len()),
            Err(_) => metrics.failed(metrics::Op::Open),
        }
        opened
    }

    /// Which backend this is, as the label `backend` has it.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Whether writes are taken, and with a shared store those of others seen and this receiver present.
    pub fn is_connected(&self) -> bool {
        self.queue.is_working() && self.queue.metrics().is_tied()
    }

    /// Puts writes into the queue, all or none of which happen. [`Commit::durable`] tells when they have.
    ///
    /// The order of calls is the order of the writes of one key, so whoever holds the lock of a heartbeat
    /// while calling this need not hold it while waiting.
    ///
    /// # Errors
    /// At once when the queue is full, the disk or etcd does not work, or a write is too large.
    pub fn commit(&self, writes: Vec<Write>) -> Result<Commit, StoreError> {
        self.queue.commit(writes)
    }

    /// The bodies kept for a heartbeat, oldest first.
    ///
    /// # Errors
    /// The store does not work, or is busy for too long.
    pub async fn bodies(&self, key: &str) -> Result<Vec<Box<[u8]>>, StoreError> {
        self.queue.bodies(key).await
    }

    /// Writes what is in the queue, and closes the store; later commits are [`StoreError::Closed`].
    ///
    /// Returns when this is done, or after `patience`.
    pub async fn close(&self, patience: Duration) {
        self.queue.close(patience).await;
    }
}
