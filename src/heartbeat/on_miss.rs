//! The probe that follows a miss: is at least the machine there? It explains an alarm and never hides it.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::definition::OnMiss;
use super::registry::{Declared, Miss, Registry};
use crate::config::reload::Live;
use crate::logging::Level;
use crate::net::Net;
use crate::runner;

/// Follow-up probes at the same time: a switch that fails takes thousands of jobs with it.
const MAX_PROBES: usize = 32;

/// A follow-up probe takes no longer than this, whatever its module says.
const MAX_SECONDS: f64 = 10.0;

/// Probes after every miss, for ever; ends when the registry is gone.
pub async fn follow(
    registry: Arc<Registry>,
    live: Arc<Live>,
    net: Arc<Net>,
    mut misses: mpsc::Receiver<Miss>,
) {
    let places = Arc::new(Semaphore::new(MAX_PROBES));
    let mut probes = JoinSet::new();
    while let Some(miss) = misses.recv().await {
        while probes.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (registry, live, net) = (Arc::clone(&registry), Arc::clone(&live), Arc::clone(&net));
        probes.spawn(async move {
            let declared = miss.heartbeat.declared();
            let result = match &declared.definition.on_miss {
                // In a long queue, many have recovered before it is their turn.
                Some(on_miss) if miss.is_open() => probe(on_miss, &declared, &live, &net).await,
                _ => None,
            };
            info!(heartbeat = %miss.heartbeat.key(), success = result, "Probed after a miss");
            registry.probed(&miss, result);
            drop(place);
        });
    }
}

/// `None` when there is no such module.
async fn probe(on_miss: &OnMiss, declared: &Declared, live: &Live, net: &Net) -> Option<bool> {
    for _ in 0..on_miss.attempts {
        // Each attempt with what is configured by then.
        let snapshot = live.snapshot();
        let Some(loaded) = snapshot.modules.get(&on_miss.module) else {
            let module = declared.hidden(&["on_miss", "module"]).unwrap_or(&on_miss.module);
            warn!(module, "There is no such module to probe with after a miss");
            return None;
        };
        let request = runner::Request {
            module: &loaded.module,
            target: &on_miss.target,
            hostname: None,
            timeout: runner::budget::timeout(loaded.module.timeout(), Some(MAX_SECONDS), 0.0),
            log_level: Level::Error,
        };
        let outcome = runner::run(request, net).await;
        loaded.counters.observe(outcome.is_success(), outcome.duration);
        if outcome.is_success() {
            return Some(true);
        }
    }
    Some(false)
}
