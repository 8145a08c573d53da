//! Stands in for the engine where it has no implementation.

use std::convert::Infallible;

use super::{EchoReply, EchoRequest, PingError, Stats};

/// Refuses every ping with [`PingError::Unsupported`].
#[derive(Debug, Default)]
pub struct Engine;

impl Engine {
    /// An engine without sockets.
    pub fn new() -> Self {
        Self
    }

    /// Always [`PingError::Unsupported`].
    ///
    /// # Errors
    /// Every time.
    pub fn prepare(&self, _request: &EchoRequest) -> Result<Ping, PingError> {
        Err(PingError::Unsupported)
    }

    /// Always zero.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}

/// Cannot exist on this platform.
#[derive(Debug)]
pub struct Ping(Infallible);

impl Ping {
    /// Cannot be called on this platform.
    ///
    /// # Errors
    /// None.
    pub async fn run(self) -> Result<EchoReply, PingError> {
        match self.0 {}
    }
}
