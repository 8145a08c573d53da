//! Writing: what waits goes together, in transactions as large as etcd takes them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tracing::{error, info};

use super::super::metrics::Op;
use super::super::queue::{Job, Pending, Worker};
use super::super::{Kind, MAX_WRITES, StoreError, Write};
use super::Shared;
use super::bodies::Bodies;
use super::client::{Client, Failure};
use super::keys::{Key, decode, encode};

/// Bytes of keys and values in one transaction; etcd takes 1.5 MiB (`--max-request-bytes`).
const MAX_BYTES: usize = 1024 * 1024;
/// What etcd's own form adds to a key and a value.
const OVERHEAD: usize = 128;
/// Commits taken from the queue at a time; sent in as many transactions as they need.
const MAX_TAKEN: usize = 10_000;
/// Pause between attempts to write again after an error.
const RETRY: Duration = Duration::from_secs(1);
/// How long giving back the lease may take at the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// The task that writes.
pub(super) struct Committer {
    client: Client,
    shared: Arc<Shared>,
    worker: Worker,
    bodies: Bodies,
    /// The watch and the lease; they end with this.
    tasks: JoinSet<()>,
    stop_lease: oneshot::Sender<oneshot::Sender<()>>,
}

/// Commits that go into one transaction.
#[derive(Default)]
struct Group {
    commits: Vec<Pending>,
    /// The latest value of each key; a transaction must not name a key twice.
    entries: HashMap<Key, Option<Vec<u8>>>,
    bytes: usize,
}

/// Why a transaction was not carried out.
enum Denied {
    /// A definition is not as expected.
    Conflict,
    /// etcd does not work.
    Failed(Failure),
}

impl From<Failure> for Denied {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Committer {
    pub(super) fn new(
        client: Client,
        shared: Arc<Shared>,
        worker: Worker,
        tasks: JoinSet<()>,
        stop_lease: oneshot::Sender<oneshot::Sender<()>>,
    ) -> Self {
        Self { client, shared, worker, bodies: Bodies::default(), tasks, stop_lease }
    }

    pub(super) async fn run(mut self) {
        let mut taken = Vec::new();
        let mut closed = None;
        while closed.is_none() && self.worker.jobs.recv_many(&mut taken, MAX_TAKEN).await > 0 {
            let mut group = Group::default();
            for job in taken.drain(..) {
                match job {
                    Job::Commit(pending) => self.add(&mut group, pending).await,
                    Job::Bodies { key, done } => {
                        self.write(std::mem::take(&mut group)).await;
                        // Nobody may wait for it any more.
                        let _ = done.send(Ok(self.bodies.of(&key)));
                    }
                    Job::Close { done } => closed = Some(done),
                }
            }
            self.write(group).await;
            if closed.is_none() && self.worker.state.broken().is_some() {
                closed = self.recover().await;
            }
        }
        let (left, gone) = oneshot::channel();
        if self.stop_lease.send(left).is_ok() {
            // Otherwise it runs out.
            let _ = timeout(GOODBYE, gone).await;
        }
        self.tasks.shutdown().await;
        drop(self.worker);
        if let Some(done) = closed {
            let _ = done.send(());
        }
    }

    /// Adds a commit to the group, which is written first if the commit does not fit into it.
    async fn add(&mut self, group: &mut Group, pending: Pending) {
        let entries = pending.writes.iter().filter_map(|write| match write {
            Write::Set { kind, key, value } => {
                let value = value.as_deref().map(|value| self.shared.keys.value(value));
                Some((Key::Entry(*kind, key.clone()), value))
            }
            _ => None,
        });
        let entries: Vec<_> = entries.collect();
        let size = |(key, value): &(Key, Option<Vec<u8>>)| {
            let (Key::Entry(_, name) | Key::Receiver(name) | Key::Node(name)) = key;
            name.len() + value.as_ref().map_or(0, Vec::len) + OVERHEAD
        };
        let bytes = entries.iter().map(size).sum::<usize>();
        if bytes > MAX_BYTES {
            pending.answer(Err(StoreError::TooLarge { what: "a commit", size: bytes, limit: MAX_BYTES }));
            return;
        }
        let is_conditional = pending.writes.iter().any(|write| matches!(write, Write::Expect { .. }));
        let is_full = group.entries.len() + entries.len() > MAX_WRITES || group.bytes + bytes > MAX_BYTES;
        if is_conditional || is_full {
            self.write(std::mem::take(group)).await;
        }
        group.entries.extend(entries);
        group.bytes += bytes;
        group.commits.push(pending);
        if is_conditional {
            self.write(std::mem::take(group)).await;
        }
    }

    async fn write(&mut self, group: Group) {
        if group.commits.is_empty() {
            return;
        }
        let state = Arc::clone(&self.worker.state);
        if let Some(error) = state.broken() {
            group.commits.into_iter().for_each(|pending| pending.answer(Err(error.clone())));
            return;
        }
        let result = {
            let _busy = state.busy();
            self.transaction(&group).await
        };
        match result {
            Ok(()) => {
                state.metrics.synced(SystemTime::now());
                for mut pending in group.commits {
                    self.keep_bodies(&mut pending);
                    pending.answer(Ok(()));
                }
            }
            Err(Denied::Conflict) => {
                group.commits.into_iter().for_each(|pending| pending.answer(Err(StoreError::Conflict)));
            }
            Err(Denied::Failed(failure)) => {
                let why = failure.to_string();
                state.set_broken(&why);
                error!(
                    err = why,
                    "Cannot write the heartbeat store in etcd; check-ins are refused until it works again"
                );
                let error = StoreError::Broken(why.into());
                group.commits.into_iter().for_each(|pending| pending.answer(Err(error.clone())));
            }
        }
    }

    fn keep_bodies(&mut self, pending: &mut Pending) {
        for write in pending.writes.drain(..) {
            match write {
                Write::Body { key, value } => {
                    if !self.bodies.add(key, value) {
                        self.shared.metrics.failed(Op::Body);
                    }
                }
                Write::ForgetBodies { key } => self.bodies.forget(&key),
                Write::Set { .. } | Write::Expect { .. } => {}
            }
        }
    }

    async fn transaction(&mut self, group: &Group) -> Result<(), Denied> {
        let mut compare = Vec::new();
        for write in group.commits.iter().flat_map(|pending| &pending.writes) {
            if let Write::Expect { key, value } = write {
                compare.push(self.expectation(key, value.as_deref()).await?);
            }
        }
        if group.entries.is_empty() && compare.is_empty() {
            return Ok(());
        }
        let keys = &self.shared.keys;
        let removed = group.entries.iter().filter(|(_, value)| value.is_none());
        // Before the transaction: the watch may be faster than its answer.
        self.removing().extend(removed.map(|(key, _)| key.clone()));
        let operations = group.entries.iter().map(|(key, value)| {
            let key = keys.encode(key);
            match value {
                Some(value) => json!({"request_put": {"key": key, "value": encode(value)}}),
                None => json!({"request_delete_range": {"key": key}}),
            }
        });
        let operations: Vec<_> = operations.collect();
        let look = compare.iter().map(|compared| json!({"request_range": {"key": compared["key"]}}));
        let look: Vec<_> = look.collect();
        let request = json!({"compare": compare, "success": operations, "failure": look});
        let answer = self.client.call("/v3/kv/txn", &request).await;
        let is_done = answer.as_ref().is_ok_and(|answer| {
            answer.get("succeeded").and_then(Value::as_bool) == Some(true)
                // The first attempt may have been carried out although its answer was lost.
                || self.client.was_repeated && self.is_there(group, answer)
        });
        let responses = answer.as_ref().ok().and_then(|answer| answer.get("responses"));
        let mut removing = self.removing();
        for (at, (key, _)) in group.entries.iter().enumerate().filter(|(_, (_, value))| value.is_none()) {
            let deleted = responses.and_then(|all| all.get(at)?.get("response_delete_range")?.get("deleted"));
            // Without it the watch will not see the removal.
            if !is_done || deleted.is_none() {
                removing.remove(key);
            }
        }
        drop(removing);
        answer?;
        if is_done { Ok(()) } else { Err(Denied::Conflict) }
    }

    fn removing(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<Key>> {
        self.shared.removing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares with the revision of a value that is as expected: etcd has more than the value, see
    /// [`super::keys::Keys::value`].
    async fn expectation(&mut self, key: &str, expected: Option<&[u8]>) -> Result<Value, Denied> {
        let key = self.shared.keys.encode(&Key::Entry(Kind::Definition, key.into()));
        let answer = self.client.call("/v3/kv/range", &json!({"key": key})).await?;
        let found = answer.get("kvs").and_then(|found| found.get(0));
        let stored = found.map(|found| value_of(found).unwrap_or_default());
        if stored.as_deref().map(|stored| self.shared.keys.payload(stored).1) != expected {
            return Err(Denied::Conflict);
        }
        let revision = found.and_then(|found| found.get("mod_revision")).and_then(Value::as_str);
        Ok(json!({
            "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision.unwrap_or("0"),
        }))
    }

    /// Whether all compared keys already have what the group wants to write.
    fn is_there(&self, group: &Group, answer: &Value) -> bool {
        let looked = answer.get("responses").and_then(Value::as_array);
        let is_written = |response: &Value| {
            let found = response.get("response_range").and_then(|range| range.get("kvs")?.get(0));
            let key = found.and_then(|found| found.get("key")).and_then(Value::as_str);
            let wanted = key.and_then(|key| group.entries.get(&self.shared.keys.decode(key)?));
            matches!((wanted, found.and_then(value_of)), (Some(Some(wanted)), Some(stored)) if *wanted == stored)
        };
        looked.is_some_and(|looked| !looked.is_empty() && looked.iter().all(is_written))
    }

    /// Tries until etcd takes a write again; refuses what comes meanwhile.
    async fn recover(&mut self) -> Option<oneshot::Sender<()>> {
        let started = Instant::now();
        let state = Arc::clone(&self.worker.state);
        let mut retry = interval(RETRY);
        retry.tick().await;
        loop {
            tokio::select! {
                job = self.worker.jobs.recv() => {
                    let error = state.broken().unwrap_or(StoreError::Closed);
                    match job {
                        Some(Job::Commit(pending)) => pending.answer(Err(error)),
                        Some(Job::Bodies { key, done }) => {
                            let _ = done.send(Ok(self.bodies.of(&key)));
                        }
                        Some(Job::Close { done }) => return Some(done),
                        None => return None,
                    }
                }
                _ = retry.tick() => {
                    let check = json!({"key": self.shared.keys.check(), "value": encode("")});
                    match self.client.call("/v3/kv/put", &check).await {
                        Ok(_) => break,
                        Err(failure) => {
                            state.metrics.failed(Op::Open);
                            state.set_broken(&failure.to_string());
                        }
                    }
                }
            }
        }
        state.metrics.synced(SystemTime::now());
        state.set_healthy();
        info!(
            endpoint = self.client.endpoint(),
            after_seconds = started.elapsed().as_secs_f64(),
            "The heartbeat store in etcd works again"
        );
        None
    }
}

/// The value of a key as etcd tells it; empty ones are left out.
pub(super) fn value_of(found: &Value) -> Option<Vec<u8>> {
    decode(found.get("value").and_then(Value::as_str).unwrap_or_default())
}
