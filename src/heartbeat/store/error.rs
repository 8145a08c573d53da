//! Why the store did not do what was asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why the store did not do what was asked: one variant for each thing its caller would do differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be opened.
    #[error("cannot open the heartbeat store {place}: {why}")]
    Open {
        /// Path of the file, or endpoints.
        place: String,
        /// The reason.
        why: String,
    },
    /// Another process has the file open.
    #[error("the heartbeat store {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A later version of this program wrote the file.
    #[error("the heartbeat store {} has schema {found}, this version knows schemas up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
        /// The latest schema we know.
        known: u64,
    },
    /// More waits to be written than the limits allow.
    #[error("the queue of the heartbeat store is full")]
    Full,
    /// The disk or etcd has not answered for too long. What was being written may be written or not.
    #[error("the heartbeat store has not answered in time")]
    Stalled,
    /// Writing fails, and does so until the cause is gone.
    #[error("the heartbeat store cannot be written: {0}")]
    Broken(Arc<str>),
    /// The definition is not what [`super::Write::Expect`] said.
    #[error("the definition has been changed by somebody else")]
    Conflict,
    /// A write is beyond the limits.
    #[error("{what} of {size} is more than {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The store has been closed.
    #[error("the heartbeat store is closed")]
    Closed,
}

impl StoreError {
    /// After which time trying again makes sense; `None` when it does not.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full => Some(Duration::from_secs(1)),
            Self::Stalled | Self::Broken(_) | Self::Closed => Some(Duration::from_secs(5)),
            Self::Open { .. }
            | Self::InUse { .. }
            | Self::Newer { .. }
            | Self::Conflict
            | Self::TooLarge { .. } => None,
        }
    }
}
