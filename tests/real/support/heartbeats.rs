//! Jobs that report in while a test runs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::try_get;

/// Whether this build has doors for signals; what is about heartbeats is tested from then on.
pub fn are_watched() -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/receive").exists()
}

/// Sends signals, the same ones again and again.
pub struct Sender {
    is_silent: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Sender {
    /// `signals`: paths below `/heartbeat/`; one that is turned away is no trouble.
    pub fn start(exporter: SocketAddr, signals: &'static [&'static str]) -> Self {
        let sender = Self { is_silent: Arc::default(), is_over: Arc::default() };
        let (is_silent, is_over) = (Arc::clone(&sender.is_silent), Arc::clone(&sender.is_over));
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                for signal in signals {
                    if !is_silent.load(Ordering::Relaxed) {
                        // The exporter ends with the test, which may be just now.
                        let _ = try_get(exporter, &format!("/heartbeat/{signal}"), "");
                    }
                }
                thread::sleep(Duration::from_millis(200));
            }
        });
        sender
    }

    /// Nothing is sent from now on, or again.
    pub fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
