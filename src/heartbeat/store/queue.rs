//! Between the many who write and the one that talks to the disk or to etcd: limits, order, and answers.
//!
//! Nobody waits without limit. A store that is known to be broken, or that has not finished anything for
//! a while, refuses at once; one that falls silent later is given up by each waiter on its own.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::metrics::{Op, StoreMetrics};
use super::{MAX_KEY_BYTES, MAX_VALUE_BYTES, MAX_WRITES, StoreError, Write};

/// Bytes that may wait to be written: keys, values, and what their bookkeeping costs.
const MAX_WAITING_BYTES: usize = 128 * 1024 * 1024;
/// What one write costs beside its key and value.
const WRITE_OVERHEAD: usize = 64;
/// Commits that may wait; a burst of one check-in by each of 100,000 jobs fits.
const MAX_WAITING: usize = 150_000;
/// How long one commit may take before further ones are refused.
const STALLED: Duration = Duration::from_secs(3);
/// How long a waiter waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// The side of those who write.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: mpsc::UnboundedSender<Job>,
    state: Arc<State>,
}

/// The side of the one that talks to the disk or to etcd.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) jobs: mpsc::UnboundedReceiver<Job>,
    pub(super) state: Arc<State>,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Write, all or nothing.
    Commit(Pending),
    /// Read the bodies of a heartbeat.
    Bodies { key: Box<str>, done: oneshot::Sender<Result<Vec<Box<[u8]>>, StoreError>> },
    /// Close the store and end.
    Close { done: oneshot::Sender<()> },
}

/// Writes on their way; counted as waiting until dropped.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) writes: Vec<Write>,
    done: Option<oneshot::Sender<Result<(), StoreError>>>,
    since: Instant,
    bytes: usize,
    state: Arc<State>,
}

impl Pending {
    /// Tells the waiter what became of the writes.
    pub(super) fn answer(mut self, result: Result<(), StoreError>) {
        match &result {
            Ok(()) => self.state.metrics.durable(self.since.elapsed()),
            // Somebody was first; nothing is wrong with the store.
            Err(StoreError::Conflict) => {}
            Err(_) => self.state.metrics.failed(Op::Commit),
        }
        if let Some(done) = self.done.take() {
            // A waiter may have gone away.
            let _ = done.send(result);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.state.waiting.fetch_sub(1, Ordering::Relaxed);
        self.state.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.state.metrics.left();
    }
}

/// What both sides know.
#[derive(Debug)]
pub(super) struct State {
    pub(super) metrics: Arc<StoreMetrics>,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    started: Instant,
    /// Milliseconds after `started` at which the work that goes on now began; 0 when there is none.
    busy_since: AtomicU64,
    is_broken: AtomicBool,
    /// Why, while it is broken.
    broken: Mutex<Option<Arc<str>>>,
}

impl State {
    /// Work that may take long begins; it ends with the guard.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.busy_since.store(self.millis().max(1), Ordering::Relaxed);
        Busy(self)
    }

    /// Refuses commits from now on.
    pub(super) fn set_broken(&self, why: &str) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
        self.is_broken.store(true, Ordering::Release);
    }

    /// Accepts commits again.
    pub(super) fn set_healthy(&self) {
        self.is_broken.store(false, Ordering::Release);
    }

    /// Why commits are refused, if they are.
    pub(super) fn broken(&self) -> Option<StoreError> {
        if !self.is_broken.load(Ordering::Acquire) {
            return None;
        }
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone().map(StoreError::Broken)
    }

    fn is_stalled(&self) -> bool {
        let since = self.busy_since.load(Ordering::Relaxed);
        let limit = STALLED.as_millis();
        since != 0 && u128::from(self.millis().saturating_sub(since)) > limit
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// See [`State::busy`].
#[must_use]
pub(super) struct Busy<'a>(&'a State);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy_since.store(0, Ordering::Relaxed);
    }
}

/// Both sides of a new queue.
pub(super) fn queue(metrics: Arc<StoreMetrics>) -> (Queue, Worker) {
    let state = Arc::new(State {
        metrics,
        waiting: AtomicUsize::new(0),
        waiting_bytes: AtomicUsize::new(0),
        started: Instant::now(),
        busy_since: AtomicU64::new(0),
        is_broken: AtomicBool::new(false),
        broken: Mutex::new(None),
    });
    // The limits are ours: a channel counts messages, not bytes.
    let (sender, receiver) = mpsc::unbounded_channel();
    (Queue { jobs: sender, state: Arc::clone(&state) }, Worker { jobs: receiver, state })
}

impl Queue {
    pub(super) fn commit(&self, writes: Vec<Write>) -> Result<Commit, StoreError> {
        let bytes = check(&writes)?;
        let state = &self.state;
        let refuse = |error| {
            state.metrics.failed(Op::Refused);
            Err(error)
        };
        if let Some(error) = state.broken() {
            return refuse(error);
        }
        if state.is_stalled() {
            return refuse(StoreError::Stalled);
        }
        let (done, receiver) = oneshot::channel();
        let waiting = state.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting_bytes = state.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        state.metrics.entered();
        // From here on its drop takes back what was counted.
        let pending =
            Pending { writes, done: Some(done), since: Instant::now(), bytes, state: Arc::clone(state) };
        if waiting >= MAX_WAITING || waiting_bytes + bytes > MAX_WAITING_BYTES {
            return refuse(StoreError::Full);
        }
        self.jobs.send(Job::Commit(pending)).map_err(|_| StoreError::Closed)?;
        Ok(Commit { done: receiver })
    }

    /// Whether writes are taken, unless too many wait.
    pub(super) fn is_working(&self) -> bool {
        self.state.broken().is_none() && !self.state.is_stalled()
    }

    pub(super) fn metrics(&self) -> &StoreMetrics {
        &self.state.metrics
    }

    pub(super) async fn bodies(&self, key: &str) -> Result<Vec<Box<[u8]>>, StoreError> {
        let (done, receiver) = oneshot::channel();
        self.jobs.send(Job::Bodies { key: key.into(), done }).map_err(|_| StoreError::Closed)?;
        let result = answered(receiver).await;
        if result.is_err() {
            self.state.metrics.failed(Op::Read);
        }
        result
    }

    pub(super) async fn close(&self, patience: Duration) {
        let (done, receiver) = oneshot::channel();
        if self.jobs.send(Job::Close { done }).is_ok() {
            // Late or not at all: the caller has said how long it cares.
            let _ = timeout(patience, receiver).await;
        }
    }
}

/// Writes that are on their way to the disk or to etcd.
#[derive(Debug)]
#[must_use = "writes are durable only once `durable` has returned"]
pub struct Commit {
    done: oneshot::Receiver<Result<(), StoreError>>,
}

impl Commit {
    /// Returns when the writes survive a crash of this process and of the machine. Dropping the future
    /// does not take the writes back.
    ///
    /// # Errors
    /// The writes are not durable, or not known to be.
    pub async fn durable(self) -> Result<(), StoreError> {
        answered(self.done).await
    }
}

async fn answered<T>(receiver: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    match timeout(PATIENCE, receiver).await {
        Ok(Ok(result)) => result,
        // The worker ended without an answer.
        Ok(Err(_)) => Err(StoreError::Closed),
        Err(_) => Err(StoreError::Stalled),
    }
}

/// Bytes of all writes, bookkeeping included.
fn check(writes: &[Write]) -> Result<usize, StoreError> {
    let limit = |what, size, limit| {
        if size <= limit { Ok(size) } else { Err(StoreError::TooLarge { what, size, limit }) }
    };
    limit("a commit", writes.len(), MAX_WRITES)?;
    writes.iter().try_fold(0, |bytes, write| {
        let (key, value) = write.parts();
        let key = limit("a key", key.len(), MAX_KEY_BYTES)?;
        Ok(bytes + key + limit("a value", value.len(), MAX_VALUE_BYTES)? + WRITE_OVERHEAD)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::store::Kind;

    fn record(key: &str, bytes: usize) -> Vec<Write> {
        vec![Write::set(Kind::Record, key, vec![b'x'; bytes])]
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_bytes_and_frees_what_is_answered() {
        let metrics = Arc::new(StoreMetrics::default());
        let (queue, mut worker) = queue(Arc::clone(&metrics));
        let mut accepted = Vec::new();
        let refused = loop {
            match queue.commit(record("a/b", MAX_VALUE_BYTES)) {
                Ok(commit) => accepted.push(commit),
                Err(error) => break error,
            }
        };
        assert_eq!(refused, StoreError::Full);
        assert_eq!(accepted.len(), MAX_WAITING_BYTES / (MAX_VALUE_BYTES + "a/b".len() + WRITE_OVERHEAD));
        assert_eq!((metrics.unsynced(), metrics.failures(Op::Refused)), (accepted.len() as u64, 1));
        let Some(Job::Commit(first)) = worker.jobs.recv().await else { panic!("no job") };
        first.answer(Ok(()));
        let _later = queue.commit(record("a/b", 1)).unwrap();
        assert_eq!(accepted.remove(0).durable().await, Ok(()));
        // A worker that is gone is an error for those who wait and for those who come.
        drop(worker);
        assert_eq!(accepted.remove(0).durable().await, Err(StoreError::Closed));
        assert_eq!(queue.commit(record("a/b", 1)).unwrap_err(), StoreError::Closed);
        assert_eq!(metrics.unsynced(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_store_that_does_not_move() {
        let (queue, worker) = queue(Arc::default());
        let commit = queue.commit(record("a/b", 1)).unwrap();
        assert_eq!(commit.durable().await, Err(StoreError::Stalled));
        // The beginning of time is the latest moment at which work can have begun long ago.
        worker.state.busy_since.store(1, Ordering::Relaxed);
        let (mut queue, late) = (queue, Instant::now() - STALLED - Duration::from_secs(1));
        drop(worker);
        Arc::get_mut(&mut queue.state).unwrap().started = late;
        assert_eq!(queue.commit(record("a/b", 1)).unwrap_err(), StoreError::Stalled);
        assert!(!queue.is_working());
    }

    #[test]
    fn limits_have_names_and_numbers() {
        let (queue, _worker) = queue(Arc::default());
        let cases = [
            (record(&"k".repeat(MAX_KEY_BYTES + 1), 1), "a key of 513 is more than 512"),
            (record("a/b", MAX_VALUE_BYTES + 1), "a value of 262145 is more than 262144"),
            ((0..=MAX_WRITES).flat_map(|_| record("a/b", 1)).collect(), "a commit of 101 is more than 100"),
        ];
        for (writes, want) in cases {
            assert_eq!(queue.commit(writes).unwrap_err().to_string(), want);
        }
    }
}
