//! The store in one file: a thread that owns the database and commits in groups.
//!
//! The database (redb) takes one fsync for each commit, however many writes it has. So the thread takes
//! all that is waiting, commits it, answers, and takes what has come in meanwhile.

mod file;
mod frame;
mod salvage;
mod shadow;
mod tables;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::oneshot;
use tracing::{error, info};

use self::file::{Failure, File, Identity, Meta, Replace, Unusable};
use super::metrics::{Op, StoreMetrics};
use super::queue::{Job, Pending, State, Worker, queue};
use super::{EmbeddedSettings, Opened, Recovered, Store, StoreError};

/// Time between the beginnings of two commits: a lone write is written at once, a stream of them costs
/// at most 200 fsyncs a second, and nobody waits for more than this and two commits.
const SPACING: Duration = Duration::from_millis(5);
/// Writes in one transaction; more would delay the first of them.
const MAX_GROUP: usize = 10_000;
/// Pause between attempts to open the file again after an error.
const RETRY: Duration = Duration::from_secs(1);
/// How often a broken store looks for somebody to refuse.
const REFUSE: Duration = Duration::from_millis(50);

/// Opens or creates the file, on the thread that keeps it.
pub(super) async fn open(
    settings: EmbeddedSettings,
    metrics: Arc<StoreMetrics>,
) -> Result<Opened, StoreError> {
    let place = settings.path.display().to_string();
    let (queue, worker) = queue(Arc::clone(&metrics));
    let (opened, outcome) = oneshot::channel();
    let body = move || {
        let result = load(&settings, &metrics);
        let (result, file) = match result {
            Ok((file, recovered)) => (Ok(recovered), Some(file)),
            Err(error) => (Err(error), None),
        };
        // Whoever opened may have given up; then the queue is closed and the thread ends.
        let _ = opened.send(result);
        if let Some(file) = file {
            Keeper { identity: file.identity(), file: Some(file), settings, worker }.run();
        }
    };
    thread::Builder::new()
        .name("heartbeat-store".to_owned())
        .spawn(body)
        .map_err(|error| StoreError::Open { place, why: format!("no thread: {error}") })?;
    let recovered = outcome.await.map_err(|_| StoreError::Closed)??;
    Ok(Opened { store: Store { queue: Arc::new(queue), backend: "embedded" }, recovered, changes: None })
}

/// Opens the file, creates it, or replaces it by what is intact of it.
fn load(settings: &EmbeddedSettings, metrics: &StoreMetrics) -> Result<(File, Recovered), StoreError> {
    let path = &settings.path;
    let unusable = |why: String| StoreError::Open { place: path.display().to_string(), why };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(unusable(format!("{} is not a folder", folder.display())));
    }
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(unusable("it is not a file".to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            info!(path = %path.display(), "Creating the heartbeat store");
            let file = File::create(settings, &Recovered::default(), Meta::default(), Replace::Never)
                .map_err(|error| unusable(error.to_string()))?;
            return Ok((file, Recovered::default()));
        }
        Err(error) => return Err(unusable(error.to_string())),
    }
    // A page that is not what its parent says can make the library panic.
    let opened = catch_unwind(AssertUnwindSafe(|| file::open(settings))).unwrap_or_else(|panic| {
        let why = format!("the database gave up: {}", panic_text(&*panic));
        Err(Unusable::Damaged(Box::new(file::Contents { why: Some(why), ..file::Contents::default() })))
    });
    match opened {
        Ok(opened) => Ok(opened),
        Err(Unusable::No(error)) => Err(error),
        Err(Unusable::Damaged(contents)) => {
            metrics.failed(Op::Salvage);
            salvage::salvage(settings, *contents)
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// The thread that owns the database.
struct Keeper {
    /// `None` after an error, until it could be opened again.
    file: Option<File>,
    identity: Identity,
    settings: EmbeddedSettings,
    worker: Worker,
}

/// Jobs that belong to one transaction, and what is to be done after it.
#[derive(Default)]
struct Group {
    commits: Vec<Pending>,
    writes: usize,
    after: Vec<Job>,
}

impl Group {
    fn add(&mut self, job: Job) {
        match job {
            Job::Commit(pending) => {
                self.writes += pending.writes.len();
                self.commits.push(pending);
            }
            job => self.after.push(job),
        }
    }
}

impl Keeper {
    fn run(mut self) {
        let mut last = None::<Instant>;
        while let Some(first) = self.worker.jobs.blocking_recv() {
            let mut group = Group::default();
            group.add(first);
            self.take(&mut group);
            if let Some(wait) = last.and_then(|last| SPACING.checked_sub(last.elapsed()))
                && !group.commits.is_empty()
                && group.writes < MAX_GROUP
            {
                thread::sleep(wait);
                self.take(&mut group);
            }
            if !group.commits.is_empty() {
                last = Some(Instant::now());
                self.commit(group.commits);
            }
            for job in group.after {
                if let Done::Closed(done) = self.other(job) {
                    self.file = None;
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    /// What is waiting, as far as it fits into one transaction.
    fn take(&mut self, group: &mut Group) {
        while group.writes < MAX_GROUP {
            let Ok(job) = self.worker.jobs.try_recv() else { break };
            group.add(job);
        }
    }

    fn commit(&mut self, commits: Vec<Pending>) {
        let state = Arc::clone(&self.worker.state);
        let result = {
            let _busy = state.busy();
            self.guarded(|keeper| {
                keeper.check_name()?;
                keeper.file.as_mut().ok_or(Failure::DatabaseClosed)?.apply(&commits)
            })
        };
        match result {
            Ok(applied) => {
                state.metrics.synced(SystemTime::now());
                (0..applied.refused_bodies).for_each(|_| state.metrics.failed(Op::Body));
                for (pending, result) in commits.into_iter().zip(applied.results) {
                    pending.answer(result);
                }
            }
            Err(why) => {
                state.set_broken(&why);
                let error = StoreError::Broken(why.as_str().into());
                commits.into_iter().for_each(|pending| pending.answer(Err(error.clone())));
                error!(
                    path = %self.settings.path.display(), err = why,
                    "Cannot write the heartbeat store; check-ins are refused until it works again"
                );
                self.recover(&state);
            }
        }
    }

    /// Opens the file again and again, until it takes a commit.
    fn recover(&mut self, state: &State) {
        let started = Instant::now();
        // The database refuses everything after an error, and keeps the lock while it is open.
        let old = self.file.take();
        let _ = catch_unwind(AssertUnwindSafe(move || drop(old)));
        let mut tried = Instant::now();
        loop {
            loop {
                match self.worker.jobs.try_recv() {
                    Ok(job) => match self.refuse(job, state) {
                        Done::Closed(done) => {
                            // Nothing is open; the next receive ends the thread.
                            self.worker.jobs.close();
                            let _ = done.send(());
                        }
                        Done::Yes => {}
                    },
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            thread::sleep(REFUSE);
            if tried.elapsed() < RETRY {
                continue;
            }
            tried = Instant::now();
            let result = self.guarded(|keeper| {
                let mut file = File::reopen(&keeper.settings, keeper.identity)?;
                // Only a commit shows whether there is room.
                file.apply(&[])?;
                keeper.file = Some(file);
                Ok(())
            });
            match result {
                Ok(()) => break,
                Err(why) => {
                    state.metrics.failed(Op::Open);
                    state.set_broken(&why);
                }
            }
        }
        state.metrics.synced(SystemTime::now());
        state.set_healthy();
        info!(
            path = %self.settings.path.display(), after_seconds = started.elapsed().as_secs_f64(),
            "The heartbeat store works again"
        );
    }

    /// The file must still be the one that the next start will open, or what we acknowledge is lost then.
    fn check_name(&mut self) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        match Identity::of(&self.settings.path) {
            Ok(found) if found == self.identity => Ok(()),
            Ok(_) => Err(Failure::Io(io::Error::other("another file has taken its place"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                error!(path = %self.settings.path.display(), "The heartbeat store was removed; it is written anew");
                let (contents, meta) = file.contents()?;
                let file = File::create(&self.settings, &contents, meta, Replace::Never)?;
                self.identity = file.identity();
                self.file = Some(file);
                Ok(())
            }
            Err(error) => Err(Failure::Io(error)),
        }
    }

    /// Runs something that uses the database; errors and panics become a sentence.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, String> {
        catch_unwind(AssertUnwindSafe(|| work(self)))
            .map_err(|panic| format!("the database gave up: {}", panic_text(&*panic)))?
            .map_err(|error| error.to_string())
    }

    fn other(&mut self, job: Job) -> Done {
        match job {
            Job::Bodies { key, done } => {
                let bodies =
                    self.guarded(|keeper| keeper.file.as_ref().ok_or(Failure::DatabaseClosed)?.bodies(&key));
                let _ = done.send(bodies.map_err(|why| StoreError::Broken(why.into())));
                Done::Yes
            }
            Job::Close { done } => Done::Closed(done),
            Job::Commit(pending) => {
                self.commit(vec![pending]);
                Done::Yes
            }
        }
    }

    fn refuse(&mut self, job: Job, state: &State) -> Done {
        let error = state.broken().unwrap_or(StoreError::Closed);
        match job {
            Job::Commit(pending) => pending.answer(Err(error)),
            Job::Bodies { done, .. } => {
                let _ = done.send(Err(error));
            }
            Job::Close { done } => return Done::Closed(done),
        }
        Done::Yes
    }
}

enum Done {
    Yes,
    Closed(oneshot::Sender<()>),
}
