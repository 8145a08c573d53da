//! Heartbeats in a running process: the store, the registry and what keeps them going.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::clock::SystemClock;
use super::registry::{Miss, Registry, Settings};
use super::store::{
    Change, EmbeddedSettings, Endpoint, EtcdSettings, Opened, Store, StoreError, StoreMetrics,
};
use super::{manage, on_miss, store};
use crate::config::reload::{Live, Snapshot};
use crate::config::section::Defaulted;
use crate::config::sections::heartbeats as section;
use crate::net::Net;
use crate::probers::tls_client;

/// Everything about heartbeats that a request can need.
#[derive(Debug)]
pub struct Service {
    /// All heartbeats.
    pub registry: Arc<Registry>,
    /// For the last messages.
    pub store: Store,
    /// What the store counts.
    pub store_metrics: Arc<StoreMetrics>,
    /// One large scrape at a time, so that its text is in memory once.
    pub scrapes: Semaphore,
    /// Where the store is.
    opened: Defaulted<section::Store>,
}

/// What is still to be given to [`Service::run`].
#[derive(Debug)]
pub struct Inputs {
    misses: mpsc::Receiver<Miss>,
    changes: Option<mpsc::Receiver<Change>>,
}

impl Service {
    /// Opens the store and takes what the configuration and the store define.
    ///
    /// `receiver` is the name of this one among those that share a store.
    ///
    /// # Errors
    /// Of the store.
    pub async fn open(
        section: &section::Heartbeats,
        receiver: String,
    ) -> Result<(Arc<Self>, Inputs), StoreError> {
        let store_metrics = Arc::new(StoreMetrics::default());
        let settings = store_settings(section, &receiver)?;
        let Opened { store, recovered, changes } = Store::open(settings, Arc::clone(&store_metrics)).await?;
        let (registry, misses) = Registry::open(
            Settings::new(section, receiver),
            manage::parse,
            Arc::new(store.clone()),
            recovered,
            Arc::new(SystemClock),
        );
        info!(heartbeats = registry.len(), "Heartbeats are watched");
        give_back_memory();
        let registry = Arc::new(registry);
        let opened = section.store.clone();
        let service = Self { registry, store, store_metrics, scrapes: Semaphore::new(1), opened };
        Ok((Arc::new(service), Inputs { misses, changes }))
    }

    /// Watches until the future is dropped; `opened_with` is the configuration this was opened with.
    pub async fn run(
        self: Arc<Self>,
        inputs: Inputs,
        opened_with: Arc<Snapshot>,
        live: Arc<Live>,
        net: Arc<Net>,
    ) {
        let mut tasks = JoinSet::new();
        let registry = || Arc::clone(&self.registry);
        let watched = registry();
        tasks.spawn(async move { watched.watch().await });
        let kept = registry();
        tasks.spawn(async move { kept.keep().await });
        tasks.spawn(on_miss::follow(registry(), Arc::clone(&live), net, inputs.misses));
        if let Some(changes) = inputs.changes {
            let shared = registry();
            tasks.spawn(async move { shared.follow(changes).await });
        }
        tasks.spawn(follow_reloads(Arc::clone(&self), opened_with, live));
        while tasks.join_next().await.is_some() {}
    }

    /// Writes what is left to be written, and closes the store.
    pub async fn close(&self) {
        if tokio::time::timeout(PATIENCE, self.registry.close()).await.is_err() {
            warn!("Changes of heartbeats are not written");
        }
        self.store.close(PATIENCE).await;
    }
}

/// How long the end of the process waits for the store.
const PATIENCE: Duration = Duration::from_secs(5);
/// New values of placeholders are a reload that nobody is told of; it is noticed after this time.
const RELOAD_CHECK: Duration = Duration::from_secs(5);

async fn follow_reloads(service: Arc<Service>, mut current: Arc<Snapshot>, live: Arc<Live>) {
    loop {
        current = next_snapshot(&live, &current).await;
        let Some(section) = &current.heartbeats else {
            warn!("The section heartbeats is gone; what it defined is watched until a restart");
            continue;
        };
        if section.store != service.opened {
            warn!("Another store of heartbeats is used after a restart only");
        }
        let receiver = service.registry.receiver_name();
        service.registry.reload(Settings::new(section, receiver));
        give_back_memory();
    }
}

/// Reading a large configuration takes several times the memory of its result, in pieces so small that the
/// allocator keeps them.
fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "std does not know about its allocator")]
    // SAFETY: glibc's own locks guard its heaps; only what is free is given back.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Tells that heartbeats begin with a restart, should a reload bring the first section `heartbeats`.
pub async fn wait_for_section(mut current: Arc<Snapshot>, live: Arc<Live>) {
    while current.heartbeats.is_none() {
        current = next_snapshot(&live, &current).await;
    }
    warn!("The section heartbeats is new; heartbeats are watched after a restart");
}

/// The configuration that follows `current`.
async fn next_snapshot(live: &Live, current: &Arc<Snapshot>) -> Arc<Snapshot> {
    loop {
        // Before the look, so that no reload is between the two.
        let reloaded = live.reloaded();
        let next = live.snapshot();
        if !Arc::ptr_eq(current, &next) {
            return next;
        }
        let _ = tokio::time::timeout(RELOAD_CHECK, reloaded).await;
    }
}

fn store_settings(section: &section::Heartbeats, receiver: &str) -> Result<store::Settings, StoreError> {
    match &section.store.etcd {
        None => Ok(store::Settings::Embedded(EmbeddedSettings::new(&section.store.path))),
        Some(etcd) => etcd_settings(etcd, receiver).map(|settings| store::Settings::Etcd(Box::new(settings))),
    }
}

fn etcd_settings(etcd: &section::Etcd, receiver: &str) -> Result<EtcdSettings, StoreError> {
    let endpoints = etcd.endpoints.iter().map(|endpoint| {
        Endpoint::parse(endpoint).map_err(|why| StoreError::Open { place: endpoint.clone(), why })
    });
    let user = Some(&etcd.username).filter(|name| !name.is_empty());
    Ok(EtcdSettings {
        prefix: etcd.prefix.clone(),
        user: user.map(|name| (name.clone(), etcd.password.clone())),
        tls: tls_client::settings(&etcd.tls_config, Vec::new()),
        ..EtcdSettings::new(endpoints.collect::<Result<_, _>>()?, receiver)
    })
}
