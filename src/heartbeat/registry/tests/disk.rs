//! The registry on the store it has in earnest.

use std::fs;
use std::path::Path;

use super::*;
use crate::heartbeat::clock::SystemClock;
use crate::heartbeat::store::{self, EmbeddedSettings, Opened, Store, StoreMetrics};

/// Longest time anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

async fn open(path: &Path, definitions: Vec<Definition>) -> (Arc<Registry>, Store) {
    let settings = store::Settings::Embedded(EmbeddedSettings::new(path));
    let opened = Store::open(settings, Arc::new(StoreMetrics::default())).await.unwrap();
    let Opened { store, recovered, .. } = opened;
    assert_eq!(recovered.loss, None);
    let keep = Arc::new(store.clone());
    let (registry, _) =
        Registry::open(super::settings(definitions), parse, keep, recovered, Arc::new(SystemClock));
    (Arc::new(registry), store)
}

async fn send(registry: &Registry, name: &str, sequence: u64) -> Result<Receipt, Refused> {
    let heartbeat = registry.find(Lookup::Key(&name.parse().unwrap())).unwrap();
    let event = Event { sequence: Some(sequence), ..Event::new(Signal::Success, registry.now()) };
    registry.accept(&heartbeat, event, Some(Bytes::from_static(b"all is well"))).await
}

#[tokio::test]
async fn r4_every_acknowledged_signal_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("store"), dir.path().join("as-a-kill-leaves-it"));
    let definitions = || (0..40).map(|n| every(&format!("h{n}"), 60, 60)).collect::<Vec<_>>();
    let (registry, store) = open(&path, definitions()).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..40 {
        let registry = Arc::clone(&registry);
        clients.spawn(async move {
            for sequence in 0..25 {
                send(&registry, &format!("h{client}"), sequence).await.unwrap();
            }
        });
    }
    clients.join_all().await;
    fs::copy(&path, &copy).unwrap();
    let (again, other) = open(&copy, definitions()).await;
    for view in again.views(again.now(), |_| true) {
        let record = &view.record;
        assert_eq!((record.counts.signals.get(Signal::Success), record.sequence), (25, Some(24)));
        assert_eq!((view.status.state, record.counts.gaps, record.counts.reordered), (State::Up, 0, 0));
    }
    assert!(!other.bodies("default/h0").await.unwrap().is_empty());
    other.close(PATIENCE).await;
    registry.close().await;
    store.close(PATIENCE).await;
    assert!(matches!(send(&registry, "h0", 25).await, Err(Refused::Unavailable { .. })));
}

#[tokio::test]
async fn a_store_that_cannot_write_refuses_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("store"), dir.path().join("aside"));
    let (registry, store) = open(&path, vec![every("a", 60, 60)]).await;
    send(&registry, "a", 1).await.unwrap();
    // Another file has taken its place: what is written now would not be found after a restart.
    fs::rename(&path, &aside).unwrap();
    fs::copy(&aside, &path).unwrap();
    for _ in 0..3 {
        let refused = send(&registry, "a", 2).await.unwrap_err();
        assert!(refused.retry_after_seconds().is_some_and(|seconds| seconds >= 1), "{refused:?}");
        let view = registry.views(registry.now(), |_| true).remove(0);
        assert_eq!((view.record.counts.signals.get(Signal::Success), view.record.sequence), (1, Some(1)));
    }
    fs::rename(&aside, &path).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while send(&registry, "a", 2).await.is_err() {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.close(PATIENCE).await;
    let (again, _store) = open(&path, vec![every("a", 60, 60)]).await;
    assert_eq!(again.views(again.now(), |_| true).remove(0).record.sequence, Some(2));
}
