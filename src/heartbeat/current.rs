//! The service that belongs to the configuration in force: it begins, changes and ends with its section.
//!
//! After a reload, everything is as if the process had been started with the new file.

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::task::JoinHandle;
use tracing::info;

use super::Service;
use super::service::Inputs;
use super::store::StoreError;
use crate::config::Heartbeats;
use crate::config::reload::{Dependent, Live, Switch};
use crate::net::Net;

/// The service, as long as the configuration has the section.
#[derive(Debug)]
pub struct Current {
    running: RwLock<Option<Running>>,
    receiver: String,
    net: Arc<Net>,
}

/// A service, and the task that watches.
#[derive(Debug)]
struct Running {
    service: Arc<Service>,
    watching: JoinHandle<()>,
}

impl Current {
    /// None yet. `receiver` is the name of this one among those that share a store.
    pub fn new(receiver: String, net: Arc<Net>) -> Self {
        Self { running: RwLock::default(), receiver, net }
    }

    /// The service now.
    pub fn service(&self) -> Option<Arc<Service>> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| Arc::clone(&running.service))
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.running.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Opens the store of the configuration in force, if it has the section, and watches from now on.
    ///
    /// # Errors
    /// Of the store.
    pub async fn start(self: &Arc<Self>, live: &Arc<Live>) -> Result<(), StoreError> {
        if let Some(section) = &live.snapshot().heartbeats {
            let (service, inputs) = Service::open(section, self.receiver.clone()).await?;
            self.replace(Some((service, inputs)), live).await;
        }
        live.set_dependent(Arc::clone(self) as Arc<dyn Dependent>);
        Ok(())
    }

    /// Ends the service, if there is one; what it has acknowledged is in its store.
    pub async fn close(&self) {
        let running = self.running.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.end().await;
        }
    }

    /// Lets `next` take the place of what is there, which ends.
    async fn replace(&self, next: Option<(Arc<Service>, Inputs)>, live: &Arc<Live>) {
        let next = next.map(|(service, inputs)| {
            let watch = Arc::clone(&service).run(inputs, Arc::clone(live), Arc::clone(&self.net));
            Running { service, watching: tokio::spawn(watch) }
        });
        let old = {
            let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *running, next)
        };
        if let Some(old) = old {
            old.end().await;
        }
    }
}

impl Running {
    async fn end(self) {
        self.watching.abort();
        let _ = self.watching.await;
        self.service.close().await;
    }
}

impl Dependent for Current {
    fn prepare(
        self: Arc<Self>,
        live: Arc<Live>,
        next: Option<Arc<Heartbeats>>,
    ) -> Pin<Box<dyn Future<Output = Result<Switch, String>> + Send>> {
        Box::pin(async move {
            let switch: Switch = match (self.service(), next) {
                (None, None) => Box::pin(async {}),
                (Some(service), Some(section)) if service.keeps_in(&section.store) => {
                    Box::pin(async move { service.reload(&section).await })
                }
                (old, Some(section)) => {
                    let opened = Service::open(&section, self.receiver.clone()).await;
                    let opened = opened.map_err(|error| error.to_string())?;
                    Box::pin(async move {
                        self.replace(Some(opened), &live).await;
                        if old.is_some() {
                            info!("Heartbeats are kept in another store");
                        }
                    })
                }
                (Some(_), None) => Box::pin(async move {
                    self.replace(None, &live).await;
                    info!("Heartbeats are not watched any more");
                }),
            };
            Ok(switch)
        })
    }
}
