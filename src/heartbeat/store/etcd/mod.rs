//! The store in etcd, shared by several receivers, over its JSON gateway (etcd API v3).
//!
//! Keys below the prefix: `definitions/NAMESPACE/NAME`, `records/NAMESPACE/NAME`, `marks/RECEIVER`, and
//! `receivers/RECEIVER` with a lease. Nodes put `presence/NAMESPACE/NAME` with a lease of their own. A value is a line that says which process wrote it, and the bytes.
//! Every commit is a proposal to all members of etcd; those that wait go together. Bodies stay in the
//! memory of the receiver that got them.

mod bodies;
mod client;
mod commit;
mod keys;
mod lease;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::Rng as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

pub use self::client::Endpoint;
use self::client::{Client, Failure};
use self::keys::{Key, Keys};
use super::metrics::StoreMetrics;
use super::queue::queue;
use super::{Opened, Recovered, Store, StoreError};
use crate::config::secret::Secret;
use crate::net::tls::TlsSettings;

/// A store in etcd.
#[derive(Debug, Clone)]
pub struct EtcdSettings {
    /// Members; the first that answers is used as long as it does. At least one.
    pub endpoints: Vec<Endpoint>,
    /// What all keys begin with, such as `/heartbeats`.
    pub prefix: String,
    /// Name and password, if etcd wants them.
    pub user: Option<(String, Secret)>,
    /// For endpoints with `https`.
    pub tls: TlsSettings,
    /// Name of this receiver, different from all others; a restart keeps it.
    pub receiver: String,
    /// After this time without a word from this receiver the others see it as gone. Whole seconds.
    pub lease: Duration,
}

impl EtcdSettings {
    /// Settings for these endpoints and defaults for the rest.
    pub fn new(endpoints: Vec<Endpoint>, receiver: impl Into<String>) -> Self {
        Self {
            endpoints,
            prefix: DEFAULT_PREFIX.to_owned(),
            user: None,
            tls: TlsSettings::default(),
            receiver: receiver.into(),
            lease: DEFAULT_LEASE,
        }
    }
}

/// What keys begin with unless told otherwise.
pub const DEFAULT_PREFIX: &str = "/heartbeats";
/// How long a receiver is taken for present without a word, unless told otherwise.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(15);
/// How long reading everything at start may take.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);
/// Changes by others that wait for the reader.
const MAX_CHANGES: usize = 1024;

/// What the tasks of one open store share.
#[derive(Debug)]
struct Shared {
    keys: Keys,
    settings: EtcdSettings,
    metrics: Arc<StoreMetrics>,
    /// Keys whose removal by us the watch has not seen; it would otherwise look like somebody else's.
    removing: Mutex<HashSet<Key>>,
}

/// Connects, reads everything, and begins to watch.
pub(super) async fn open(settings: EtcdSettings, metrics: Arc<StoreMetrics>) -> Result<Opened, StoreError> {
    let place =
        settings.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(",") + &settings.prefix;
    let unusable = |why: String| StoreError::Open { place: place.clone(), why };
    let instance = format!("{}-{:08x}", settings.receiver, rand::rng().random::<u32>());
    let keys = Keys::new(&settings.prefix, &settings.receiver, &instance);
    let client = Client::new(&settings);
    let shared =
        Arc::new(Shared { keys, settings, metrics: Arc::clone(&metrics), removing: Mutex::default() });

    let mut reader = client.clone();
    let listed = timeout(OPEN_PATIENCE, watch::list(&mut reader, &shared.keys)).await;
    let listed = listed
        .map_err(|_| unusable(format!("not read within {} s", OPEN_PATIENCE.as_secs())))?
        .map_err(|error: Failure| unusable(error.to_string()))?;
    let mut recovered = Recovered::default();
    for (key, stored) in &listed.entries {
        match key {
            Key::Entry(kind, name) => {
                recovered.add(*kind, (name.clone(), shared.keys.payload(stored).1.into()));
            }
            Key::Node(name) => recovered.present.push(name.clone()),
            Key::Receiver(name) if **name == *shared.keys.receiver => warn!(
                receiver = &**name,
                "A receiver of this name is there, or ended a moment ago without a word; two of one name are taken for one"
            ),
            Key::Receiver(_) => {}
        }
    }
    info!(endpoint = %reader.endpoint(), revision = listed.revision, "Opened the heartbeat store in etcd");

    let (queue, worker) = queue(metrics);
    let (changes, receiver) = mpsc::channel(MAX_CHANGES);
    let mut tasks = JoinSet::new();
    tasks.spawn(watch::run(reader, Arc::clone(&shared), listed, changes));
    let (stop_lease, stopped) = tokio::sync::oneshot::channel();
    tasks.spawn(lease::run(client.clone(), Arc::clone(&shared), stopped));
    // Ends with the queue, and then ends the others.
    tokio::spawn(commit::Committer::new(client, shared, worker, tasks, stop_lease).run());
    Ok(Opened {
        store: Store { queue: Arc::new(queue), backend: "etcd" },
        recovered,
        changes: Some(receiver),
    })
}
