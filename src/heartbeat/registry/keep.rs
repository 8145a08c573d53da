//! What the registry needs of a store.

use std::fmt::{self, Debug};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::heartbeat::store::{Store, StoreError, Write};

/// Resolves when writes are durable. They are on their way whether or not anybody waits for this.
#[must_use = "writes are durable only when this has resolved"]
pub struct Durable(Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>);

impl Durable {
    /// From what resolves when the writes are durable.
    pub fn new(durable: impl Future<Output = Result<(), StoreError>> + Send + 'static) -> Self {
        Self(Box::pin(durable))
    }
}

impl Future for Durable {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Durable")
    }
}

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
        Ok(Durable::new(Self::commit(self, writes)?.durable()))
    }
}
