//! Stories with a clock and a store of their own. Names begin with the id of the trap they stand for.

mod accept;
mod disk;
mod manage;
mod time;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::heartbeat::Signal;
use crate::heartbeat::clock::Reading;
use crate::heartbeat::metrics::{Profile, write_receiver, write_views};
use crate::heartbeat::schedule::Schedule;
use crate::heartbeat::store::{Change, Entry, Recovered, StoreError};
use crate::metrics::text::{Escaping, Syntax, Writer};

/// A clock that stands still until told otherwise.
#[derive(Debug)]
struct TestClock(Mutex<Reading>);

impl Clock for TestClock {
    fn read(&self) -> Reading {
        *self.0.lock().unwrap()
    }
}

impl TestClock {
    fn new() -> Arc<Self> {
        let boot = Duration::from_secs(100_000);
        Arc::new(Self(Mutex::new(Reading {
            wall: "2026-03-02T00:00:00Z".parse().unwrap(),
            boot,
            awake: boot,
        })))
    }

    /// Time passes as it should.
    fn pass(&self, seconds: i64) {
        self.sleep(seconds);
        self.0.lock().unwrap().awake += Duration::from_secs(seconds.unsigned_abs());
    }

    /// Time passes, and the machine does not notice.
    fn sleep(&self, seconds: i64) {
        let mut reading = self.0.lock().unwrap();
        reading.wall += TimeDelta::seconds(seconds);
        reading.boot += Duration::from_secs(seconds.unsigned_abs());
    }

    /// Somebody sets the wall clock.
    fn step(&self, seconds: i64) {
        self.0.lock().unwrap().wall += TimeDelta::seconds(seconds);
    }
}

/// A store in memory that does what it is told.
#[derive(Debug, Default)]
struct TestStore(Mutex<StoreState>);

/// What waits, and who is told.
type Held = (Vec<Write>, oneshot::Sender<Result<(), StoreError>>);

#[derive(Debug, Default)]
struct StoreState {
    entries: BTreeMap<(u8, Box<str>), Box<[u8]>>,
    bodies: Vec<(Box<str>, Box<[u8]>)>,
    commits: usize,
    is_broken: bool,
    /// Commits wait until they are let go.
    holds: bool,
    held: Vec<Held>,
    present: Vec<Box<str>>,
}

impl Keep for TestStore {
    fn commit(&self, writes: Vec<Write>) -> Result<Durable, StoreError> {
        let mut state = self.0.lock().unwrap();
        assert!(writes.len() <= crate::heartbeat::store::MAX_WRITES);
        state.commits += 1;
        if state.is_broken {
            return Err(StoreError::Broken("no space left".into()));
        }
        if state.holds {
            let (done, durable) = oneshot::channel();
            state.held.push((writes, done));
            return Ok(Durable::new(async move { durable.await.unwrap_or(Err(StoreError::Closed)) }));
        }
        state.apply(writes);
        Ok(Durable::new(async { Ok(()) }))
    }
}

impl StoreState {
    fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Set { kind, key, value: Some(value) } => {
                    drop(self.entries.insert((kind as u8, key), value))
                }
                Write::Set { kind, key, value: None } => drop(self.entries.remove(&(kind as u8, key))),
                Write::Body { key, value } => self.bodies.push((key, value)),
                Write::ForgetBodies { key } => self.bodies.retain(|(other, _)| *other != key),
                Write::Expect { .. } => panic!("nobody expects"),
            }
        }
    }
}

impl TestStore {
    fn set_broken(&self, is_broken: bool) {
        self.0.lock().unwrap().is_broken = is_broken;
    }

    fn hold(&self) {
        self.0.lock().unwrap().holds = true;
    }

    /// Lets the oldest held commit end.
    fn let_go(&self, result: Result<(), StoreError>) {
        let mut state = self.0.lock().unwrap();
        let (writes, done) = state.held.remove(0);
        if result.is_ok() {
            state.apply(writes);
        }
        done.send(result).unwrap();
    }

    fn recovered(&self) -> Recovered {
        let state = self.0.lock().unwrap();
        let of = |wanted: Kind| -> Vec<Entry> {
            let entries = state.entries.iter().filter(|((kind, _), _)| *kind == wanted as u8);
            entries.map(|((_, key), value)| (key.clone(), value.clone())).collect()
        };
        Recovered {
            definitions: of(Kind::Definition),
            records: of(Kind::Record),
            marks: of(Kind::Mark),
            present: state.present.clone(),
            loss: None,
        }
    }
}

/// A registry with its clock and its store.
struct Story {
    clock: Arc<TestClock>,
    store: Arc<TestStore>,
    registry: Registry,
    misses: mpsc::Receiver<Miss>,
    declared: Vec<Declared>,
}

impl Story {
    fn new(definitions: Vec<Definition>) -> Self {
        Self::with(definitions, |_| {})
    }

    fn with(definitions: Vec<Definition>, change: impl FnOnce(&mut Settings)) -> Self {
        let (clock, store) = (TestClock::new(), Arc::<TestStore>::default());
        let mut settings = settings(definitions);
        change(&mut settings);
        let declared = settings.declared.clone();
        let (registry, misses) = Registry::open(
            settings,
            parse,
            Arc::clone(&store) as Arc<dyn Keep>,
            store.recovered(),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        Self { clock, store, registry, misses, declared }
    }

    /// The process ends without a word, and comes back after `seconds`.
    fn restart(&mut self, seconds: i64) {
        let declared = self.declared.clone();
        self.clock.pass(seconds);
        let settings = Settings { declared, receiver: "r".to_owned(), ..Settings::default() };
        let (registry, misses) = Registry::open(
            settings,
            parse,
            Arc::clone(&self.store) as Arc<dyn Keep>,
            self.store.recovered(),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
        );
        (self.registry, self.misses) = (registry, misses);
    }

    fn heartbeat(&self, name: &str) -> Arc<Heartbeat> {
        self.registry.find(Lookup::Key(&name.parse().unwrap())).unwrap()
    }

    fn view(&self, name: &str) -> View {
        self.heartbeat(name).view(self.registry.now())
    }

    fn state(&self, name: &str) -> State {
        self.view(name).status.state
    }

    async fn send(&self, name: &str, signal: Signal) -> Result<Receipt, Refused> {
        let event = Event::new(signal, self.registry.now());
        self.registry.accept(&self.heartbeat(name), event, None).await
    }

    async fn ping(&self, name: &str) {
        self.send(name, Signal::Success).await.unwrap();
    }

    /// The store tells what others did.
    async fn hear(&self, change: Change) {
        let (changes, receiver) = mpsc::channel(1);
        changes.send(change).await.unwrap();
        drop(changes);
        self.registry.follow(receiver).await;
    }

    /// Time passes second by second, with everything that is done each second.
    async fn live(&self, seconds: i64) {
        for _ in 0..seconds {
            self.clock.pass(1);
            self.second().await;
        }
    }

    async fn second(&self) {
        self.registry.tick().await;
        let _ = self.registry.flush().await;
        let _ = self.registry.mark(&self.clock.read()).await;
    }

    fn metrics(&self, profile: Profile) -> Vec<String> {
        let now = self.registry.now();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Syntax::Prometheus, Escaping::Underscores);
        write_receiver(&mut writer, &self.registry, now);
        write_views(&mut writer, &self.registry.views(now, |_| true), profile);
        writer.finish();
        let text = String::from_utf8(out).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    fn has(&self, line: &str) -> bool {
        self.metrics(Profile::Full).iter().any(|other| other == line)
    }

    fn jumps(&self) -> (u64, u64) {
        (self.registry.clock_jumps(false), self.registry.clock_jumps(true))
    }
}

fn settings(definitions: Vec<Definition>) -> Settings {
    Settings {
        declared: definitions.into_iter().map(Declared::new).collect(),
        receiver: "r".to_owned(),
        ..Settings::default()
    }
}

fn parse(key: &Key, written: &[u8]) -> Result<Declared, String> {
    let seconds = std::str::from_utf8(written).unwrap().parse().map_err(|_| "no number".to_owned())?;
    Ok(Declared::new(every(&key.to_string(), seconds, 60)))
}

/// A heartbeat with a period and a grace in seconds.
fn every(name: &str, period: i64, grace: i64) -> Definition {
    Definition {
        key: name.parse().unwrap(),
        schedule: Schedule::Every(TimeDelta::seconds(period)),
        grace: TimeDelta::seconds(grace),
        tolerate_missed: 0,
        max_runtime: None,
        early: TimeDelta::zero(),
        alert_on_data: false,
        stuck_after: None,
        post_only: false,
        keywords: None,
        manual_resume: false,
        values: Vec::new(),
        labels: BTreeMap::new(),
        tags: Vec::new(),
        adaptive: None,
        on_miss: None,
    }
}
