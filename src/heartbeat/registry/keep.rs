//! What the registry needs of a store.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

/// Resolves when writes are durable.
pub type Durable = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// Keeps what it is given over restarts.
pub trait Keep: Send + Sync + Debug {
    /// Puts writes into the queue, all or none of which happen, in the order of the calls.
    ///
    /// # Errors
    /// At once when nothing can be kept now.
    fn commit(&self, writes: Vec<Write>) -> Result<Durable, StoreError>;
}

/// Writes of one commit.
pub const MAX_WRITES: usize = 100;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The body of a message.
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
    /// When each receiver was last alive.
    pub marks: Vec<Entry>,
}

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing can be written now.
    #[error("the heartbeat store cannot be written: {0}")]
    Broken(std::sync::Arc<str>),
    /// The definition has been changed by somebody else.
    #[error("the definition has been changed by somebody else")]
    Conflict,
}

impl StoreError {
    /// After which time trying again makes sense; `None` when it does not.
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Broken(_)).then_some(Duration::from_secs(5))
    }
}
