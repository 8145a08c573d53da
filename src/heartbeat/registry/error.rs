//! Why the registry does not do what a request asks for.

use std::time::Duration;

use crate::heartbeat::receiver::Rejected;
use crate::heartbeat::store::StoreError;

/// Why a signal was not taken. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Signals that change nothing come too often (429).
    #[error("too many signals; try again in {} s", retry_after.as_secs() + 1)]
    RateLimited {
        /// After this time one more is taken.
        retry_after: Duration,
    },
    /// The store is overloaded or does not work (503).
    #[error("{why}")]
    Unavailable {
        /// After this time it may work.
        retry_after: Duration,
        /// For the log, not for the client.
        why: String,
    },
    /// The heartbeat has just been removed (404).
    #[error("the heartbeat has been removed")]
    Gone,
}

impl Refused {
    /// Value of the label `reason` of `heartbeat_receiver_rejected_total`.
    pub fn reason(&self) -> Rejected {
        match self {
            Self::RateLimited { .. } => Rejected::Rate,
            Self::Unavailable { .. } => Rejected::Overload,
            Self::Gone => Rejected::Unknown,
        }
    }

    /// After which time trying again makes sense; for the header `Retry-After`, in whole seconds.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after } | Self::Unavailable { retry_after, .. } => {
                Some(retry_after.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1))
            }
            Self::Gone => None,
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { retry_after: error.retry_after().unwrap_or(USUAL_WAIT), why: error.to_string() }
    }
}

/// Clients try again after this time when nothing better is known.
const USUAL_WAIT: Duration = Duration::from_secs(5);

/// Why a heartbeat was not made, changed or removed. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefineError {
    /// There is one of that name (409).
    #[error("there is a heartbeat of that name")]
    Exists,
    /// There is none of that name (404).
    #[error("there is no heartbeat of that name")]
    Unknown,
    /// The configuration file defines it (409).
    #[error("the configuration file defines this heartbeat; it is changed there")]
    File,
    /// Another heartbeat has the same uuid, id or token (409).
    #[error("another heartbeat has this {0}")]
    Taken(&'static str),
    /// No more may be made (403 or the contract's own).
    #[error("{0} heartbeats are defined already, which is the limit")]
    Full(usize),
    /// Somebody else has changed it at the same time (409).
    #[error("somebody else has changed the heartbeat")]
    Conflict,
    /// The store is overloaded or does not work (503).
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<StoreError> for DefineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Conflict,
            error => Self::Refused(error.into()),
        }
    }
}
