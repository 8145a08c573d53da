//! What the registry needs of a store.

use std::fmt::Debug;
use std::pin::Pin;

use crate::heartbeat::store::{Store, StoreError, Write};

/// Resolves when writes are durable.
pub type Durable = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// Keeps what it is given over restarts. What is promised is described at [`Store::commit`].
pub trait Keep: Send + Sync + Debug {
    /// Puts writes into the queue, all or none of which happen, in the order of the calls.
    ///
    /// # Errors
    /// At once when nothing can be kept now.
    fn commit(&self, writes: Vec<Write>) -> Result<Durable, StoreError>;
}

impl Keep for Store {
    fn commit(&self, writes: Vec<Write>) -> Result<Durable, StoreError> {
        Ok(Box::pin(Self::commit(self, writes)?.durable()))
    }
}
