//! Heartbeats in a running process: the store, the registry and what keeps them going.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::clock::SystemClock;
use super::registry::{Miss, Registry, Settings};
use super::store::{
    Change, EmbeddedSettings, Endpoint, EtcdSettings, Opened, Store, StoreError, StoreMetrics,
};
use super::{manage, on_miss, store};
use crate::config::reload::Live;
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
    is_over: watch::Sender<bool>,
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
    /// `host` is the name of this receiver among those that share a store, unless the section has one.
    ///
    /// # Errors
    /// Of the store.
    pub async fn open(
        section: &section::Heartbeats,
        host: String,
    ) -> Result<(Arc<Self>, Inputs), StoreError> {
        let named = section.store.etcd.as_ref().map(|etcd| etcd.receiver.clone());
        let receiver = named.filter(|name| !name.is_empty()).unwrap_or(host);
        let store_metrics = Arc::new(StoreMetrics::default());
        let settings = store_settings(section, &receiver)?;
        let Opened { store, recovered, changes } = Store::open(settings, Arc::clone(&store_metrics)).await?;
        let (settings, keep) = (Settings::new(section, receiver), Arc::new(store.clone()));
        // A hundred thousand heartbeats take a while, and running probes must not notice.
        let open = tokio::task::spawn_blocking(move || {
            let opened = Registry::open(settings, manage::parse, keep, recovered, Arc::new(SystemClock));
            give_back_memory();
            opened
        });
        let (registry, misses) = open.await.map_err(|_| StoreError::Closed)?;
        info!(heartbeats = registry.len(), "Heartbeats are watched");
        let registry = Arc::new(registry);
        let opened = section.store.clone();
        let (scrapes, is_over) = (Semaphore::new(1), watch::Sender::new(false));
        let service = Self { registry, store, store_metrics, scrapes, opened, is_over };
        Ok((Arc::new(service), Inputs { misses, changes }))
    }

    /// Watches until the future is dropped.
    pub async fn run(self: Arc<Self>, inputs: Inputs, live: Arc<Live>, net: Arc<Net>) {
        let mut tasks = JoinSet::new();
        let registry = || Arc::clone(&self.registry);
        let watched = registry();
        tasks.spawn(async move { watched.watch().await });
        let kept = registry();
        tasks.spawn(async move { kept.keep().await });
        tasks.spawn(on_miss::follow(registry(), live, net, inputs.misses));
        if let Some(changes) = inputs.changes {
            let shared = registry();
            tasks.spawn(async move { shared.follow(changes).await });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Whether this store is the one that a section names, under whatever name.
    pub fn keeps_in(&self, store: &section::Store) -> bool {
        let file = |store: &section::Store| {
            let path = store.etcd.is_none().then_some(&store.path)?;
            std::fs::canonicalize(path).ok()
        };
        *self.opened == *store || file(&self.opened).is_some_and(|opened| file(store) == Some(opened))
    }

    /// Takes another section with the same store.
    pub async fn reload(&self, section: &section::Heartbeats) {
        let settings = Settings::new(section, self.registry.receiver_name());
        let registry = Arc::clone(&self.registry);
        let reload = tokio::task::spawn_blocking(move || {
            registry.reload(settings);
            give_back_memory();
        });
        if reload.await.is_err() {
            error!("Heartbeats were not reloaded");
        }
    }

    /// Returns when the service is closed, for those who would go on for ever.
    pub async fn over(&self) {
        let mut is_over = self.is_over.subscribe();
        // Its sender is here.
        let _ = is_over.wait_for(|is_over| *is_over).await;
    }

    /// Writes what is left to be written, and closes the store.
    pub async fn close(&self) {
        self.is_over.send_replace(true);
        if tokio::time::timeout(PATIENCE, self.registry.close()).await.is_err() {
            warn!("Changes of heartbeats are not written");
        }
        self.store.close(PATIENCE).await;
    }
}

/// How long the end of the process waits for the store.
const PATIENCE: Duration = Duration::from_secs(5);
/// Reading a large configuration takes several times the memory of its result, in pieces so small that the
/// allocator keeps them.
fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "std does not know about its allocator")]
    // SAFETY: glibc's own locks guard its heaps; only what is free is given back.
    let _ = unsafe { libc::malloc_trim(0) };
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
