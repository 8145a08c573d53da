//! What happens without a signal: deadlines, blind time, and writing down both.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tracing::{info, warn};

use super::open::Mark;
use super::{Cell, Definition, Heartbeat, Inner, Record, Registry, Time, write_record};
use crate::heartbeat::clock::{self, Cause, PAUSE, Reading, TICK, Trouble};
use crate::heartbeat::record::{Reason, State};
use crate::heartbeat::state;
use crate::heartbeat::store::{Kind, MAX_WRITES, StoreError, Write};

/// A heartbeat has just been missed, and its definition names a follow-up probe.
#[derive(Debug)]
pub struct Miss {
    /// Which.
    pub heartbeat: Arc<Heartbeat>,
    /// Which of its down episodes.
    pub episode: u64,
}

impl Miss {
    /// Whether the episode has not ended.
    pub fn is_open(&self) -> bool {
        self.heartbeat.lock().record.open_episode().is_some_and(|episode| episode.id == self.episode)
    }
}

/// What is known about time in which nobody could see.
#[derive(Debug, Default)]
pub(in crate::heartbeat) struct Troubles {
    /// Microseconds, in the order of [`Cause::ALL`].
    pub(in crate::heartbeat) blind: [AtomicU64; Cause::ALL.len()],
    /// Steps of the clock back and forward.
    pub(in crate::heartbeat) jumps: [AtomicU64; 2],
    /// Wall clock in microseconds until which credit is given.
    settling_until: AtomicI64,
    /// Microseconds that the oldest alarm of the last round was late.
    lag: AtomicU64,
}

impl Troubles {
    fn add_blind(&self, cause: Cause, length: TimeDelta) {
        let micros = length.num_microseconds().and_then(|micros| u64::try_from(micros).ok()).unwrap_or(0);
        if let Some(blind) = self.blind.get(cause as usize) {
            blind.fetch_add(micros, Ordering::Relaxed);
        }
    }

    fn add_jump(&self, is_forward: bool) {
        if let Some(jumps) = self.jumps.get(usize::from(is_forward)) {
            jumps.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Longest credit after blind time.
const MAX_SETTLE: TimeDelta = TimeDelta::seconds(60);
/// Shortest credit: clients that were refused try again for about this long.
const MIN_SETTLE: TimeDelta = TimeDelta::seconds(10);

/// How long after blind time a heartbeat may still report what it had to report before.
fn settle(definition: &Definition) -> TimeDelta {
    definition.grace.clamp(MIN_SETTLE, MAX_SETTLE)
}

/// Alarms handled between two looks at the time.
const ROUND: usize = 500;
/// Time between two marks. One that is lost with the process makes the blind time look this much longer.
const MARK_EVERY: Duration = Duration::from_secs(5);

/// What the clocks showed at the last look, for the question whether another is due.
#[derive(Debug)]
pub(super) struct Looked {
    /// Milliseconds since the boot.
    at: AtomicU64,
    /// Wall clock minus time since the boot, in microseconds.
    offset: AtomicI64,
}

impl Looked {
    pub(super) fn new(now: &Reading) -> Self {
        Self { at: AtomicU64::new(millis(now)), offset: AtomicI64::new(micros(clock::offset(now))) }
    }

    /// Whether something has happened since that the next round would notice too late.
    fn is_stale(&self, now: &Reading) -> bool {
        let away = millis(now).saturating_sub(self.at.load(Ordering::Acquire));
        let by = micros(clock::offset(now)).saturating_sub(self.offset.load(Ordering::Acquire));
        Duration::from_millis(away) > PAUSE || by.saturating_abs() >= micros(clock::STEP)
    }

    fn store(&self, now: &Reading, offset: TimeDelta) {
        self.offset.store(micros(offset), Ordering::Release);
        self.at.store(millis(now), Ordering::Release);
    }
}

fn millis(now: &Reading) -> u64 {
    u64::try_from(now.boot.as_millis()).unwrap_or(u64::MAX)
}

fn micros(delta: TimeDelta) -> i64 {
    delta.num_microseconds().unwrap_or(i64::MAX)
}

impl Registry {
    /// The time of day, by the receiver's clock. Everything that is judged or received has its time from here.
    ///
    /// If this process has just come back from a pause, or somebody has set the clock, that is noticed first.
    pub fn now(&self) -> Time {
        let reading = self.clock.read();
        if self.looked.is_stale(&reading) { self.look() } else { reading.wall }
    }

    /// Looks at the clocks and handles what they tell; returns the time.
    fn look(&self) -> Time {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = self.clock.read();
        for trouble in watch.look(reading).into_iter().flatten() {
            match trouble {
                Trouble::Step { by, to } => self.stepped(by, to),
                Trouble::Blind { from, to } => {
                    self.troubles.add_blind(Cause::Pause, to - from);
                    warn!(
                        seconds = (to - from).as_seconds_f64(),
                        "This process was stopped or the machine slept; deadlines of that time are extended"
                    );
                    self.forgive(from, to);
                }
            }
        }
        self.looked.store(&reading, watch.offset());
        reading.wall
    }

    /// The wall clock was set.
    fn stepped(&self, by: TimeDelta, to: Time) {
        let is_forward = by > TimeDelta::zero();
        self.troubles.add_jump(is_forward);
        warn!(
            seconds = by.as_seconds_f64(),
            "The clock was set; deadlines that count elapsed time move along"
        );
        let from = to.checked_sub_signed(by).unwrap_or(to);
        self.every(|registry, heartbeat, cell| {
            let (definition, records) = cell.records();
            for record in records {
                step(definition, Arc::make_mut(record), by, to);
            }
            cell.staged.iter_mut().for_each(|staged| staged.seen = to);
            cell.seen = to;
            registry.inner.mark_dirty(heartbeat, cell);
            if !is_forward {
                registry.inner.arm(heartbeat, cell);
            }
        });
        if is_forward {
            self.troubles.add_blind(Cause::Clock, by);
            self.forgive(from, to);
        }
    }

    /// Extends deadlines between `from` and `to`.
    fn forgive(&self, from: Time, to: Time) {
        self.every(|registry, heartbeat, cell| {
            let (definition, records) = cell.records();
            let settled = to + settle(definition);
            let mut has_credit = false;
            for record in records {
                let before = record.credit;
                let mut changed = Record::clone(record);
                state::forgive(definition, &mut changed, from, to, settled);
                if changed.credit != before {
                    *record = Arc::new(changed);
                    has_credit = true;
                }
            }
            if has_credit {
                registry.inner.mark_dirty(heartbeat, cell);
                registry.troubles.settling_until.fetch_max(settled.timestamp_micros(), Ordering::Relaxed);
            }
            registry.inner.arm(heartbeat, cell);
        });
    }

    pub(super) fn every(&self, mut change: impl FnMut(&Self, &Arc<Heartbeat>, &mut Cell)) {
        for heartbeat in self.index().by_key.values() {
            change(self, heartbeat, &mut heartbeat.lock());
        }
    }

    /// The first look after a start: credit for the time since `mark`, and all alarms.
    pub(super) fn wake_up(&self, now: &Reading, mark: Option<Mark>) {
        if let Some(mark) = mark {
            // In the same boot, the other clock tells what is time and what was a step.
            let elapsed = (mark.boot_id == clock::boot_id() && !mark.boot_id.is_empty())
                .then(|| TimeDelta::nanoseconds(((now.boot.as_secs_f64() - mark.boot_seconds) * 1e9) as i64));
            let passed = now.wall - mark.wall;
            let by = elapsed.map_or(passed.min(TimeDelta::zero()), |elapsed| passed - elapsed);
            if by.abs() >= clock::STEP {
                self.stepped(by, now.wall);
            }
            let from = mark.wall.checked_add_signed(by).unwrap_or(mark.wall).min(now.wall);
            self.troubles.add_blind(Cause::Down, now.wall - from);
            info!(seconds = (now.wall - from).as_seconds_f64(), "Time in which no heartbeat was received");
            self.forgive(from, now.wall);
        } else {
            self.every(|registry, heartbeat, cell| registry.inner.arm(heartbeat, cell));
        }
    }

    /// Notes everything that has happened by itself until now. Returns when to call again.
    pub(super) async fn tick(&self) -> Duration {
        let mut now = self.look();
        let mut lag = 0;
        loop {
            let due = self.inner.alarms.due(now, ROUND);
            let Some((first, _)) = due.first() else { break };
            lag = lag.max(u64::try_from(now.timestamp_micros() - first).unwrap_or(0));
            for (moment, heartbeat) in &due {
                self.inner.ring(heartbeat, *moment, now);
            }
            // Signals wait while this runs.
            tokio::task::yield_now().await;
            now = self.now();
        }
        self.troubles.lag.store(lag, Ordering::Relaxed);
        let next = self.inner.alarms.next();
        let wait = next.and_then(|next| u64::try_from(next - now.timestamp_micros()).ok());
        wait.map_or(TICK, |wait| Duration::from_micros(wait).clamp(SHORTEST, TICK))
    }

    /// Watches the clocks and the deadlines for ever.
    pub async fn watch(&self) {
        loop {
            let wait = self.tick().await;
            tokio::time::sleep(wait).await;
        }
    }

    /// Writes down what has happened by itself, and that this receiver is alive, for ever.
    pub async fn keep(&self) {
        let mut marked = None::<Duration>;
        loop {
            if let Err(error) = self.flush().await {
                warn!(err = %error, "Changes of heartbeats are not written yet");
            }
            let now = self.clock.read();
            if marked.is_none_or(|marked| now.boot.saturating_sub(marked) >= MARK_EVERY) {
                marked = Some(now.boot);
                // A mark that is missing makes the next blind time look longer, which is on the safe side.
                let _ = self.mark(&now).await;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// The last words before the end: everything is written, and until when this receiver was alive.
    pub async fn close(&self) {
        if let Err(error) = self.flush().await {
            warn!(err = %error, "Changes of heartbeats are not written");
        }
        let _ = self.mark(&self.clock.read()).await;
    }

    pub(super) async fn mark(&self, now: &Reading) -> Result<(), StoreError> {
        let value = serde_json::to_vec(&Mark::new(now)).unwrap_or_default();
        let receiver = self.settings().receiver.clone();
        self.inner.keep.commit(vec![Write::set(Kind::Mark, receiver, value)])?.await
    }

    /// Writes the records that are ahead of the store, some of them together.
    ///
    /// # Errors
    /// Of the store; what is not written stays to be written.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let dirty = std::mem::take(&mut *self.inner.dirty());
        let mut result = Ok(());
        let mut commits = Vec::new();
        for batch in dirty.chunks(MAX_WRITES) {
            if result.is_err() {
                self.inner.dirty().extend_from_slice(batch);
                continue;
            }
            match self.inner.write(batch) {
                Ok(Some(durable)) => commits.push((batch, durable)),
                Ok(None) => {}
                Err(error) => {
                    result = Err(error);
                    self.inner.dirty().extend_from_slice(batch);
                }
            }
        }
        for (batch, durable) in commits {
            if let Err(error) = durable.await {
                result = Err(error);
                for heartbeat in batch {
                    self.inner.mark_dirty(heartbeat, &mut heartbeat.lock());
                }
            }
        }
        result
    }

    /// Seconds nobody could see, by cause.
    pub fn blind_seconds(&self, cause: Cause) -> f64 {
        let micros = self.troubles.blind.get(cause as usize).map_or(0, |blind| blind.load(Ordering::Relaxed));
        Duration::from_micros(micros).as_secs_f64()
    }

    /// How often the wall clock was set.
    pub fn clock_jumps(&self, is_forward: bool) -> u64 {
        self.troubles.jumps.get(usize::from(is_forward)).map_or(0, |jumps| jumps.load(Ordering::Relaxed))
    }

    /// Whether heartbeats still have credit for a time in which nobody could see.
    pub fn is_settling(&self, now: Time) -> bool {
        now.timestamp_micros() < self.troubles.settling_until.load(Ordering::Relaxed)
    }

    /// How late deadlines were noticed in the last round.
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.troubles.lag.load(Ordering::Relaxed))
    }

    /// The result of a follow-up probe of an episode, which may be over meanwhile. It never ends the episode.
    ///
    /// `None`: nobody could tell.
    pub fn probed(&self, miss: &Miss, is_reachable: Option<bool>) {
        let mut cell = miss.heartbeat.lock();
        for record in cell.records().1 {
            let record = Arc::make_mut(record);
            let counts = &mut record.counts;
            *match is_reachable {
                Some(false) => &mut counts.suspicions_confirmed,
                Some(true) => &mut counts.suspicions_refuted,
                None => &mut counts.suspicions_inconclusive,
            } += 1;
            if let Some(episode) = record.episode.as_mut().filter(|episode| episode.id == miss.episode) {
                episode.probe_success = is_reachable;
            }
        }
        self.inner.mark_dirty(&miss.heartbeat, &mut cell);
    }
}

/// Shortest sleep: deadlines that lie closer together are handled together.
const SHORTEST: Duration = Duration::from_millis(10);

impl Inner {
    /// The alarm of a heartbeat went off.
    fn ring(&self, heartbeat: &Arc<Heartbeat>, moment: i64, now: Time) {
        let mut cell = heartbeat.lock();
        if cell.alarm != Some(moment) {
            return;
        }
        cell.alarm = None;
        // Whoever has a change in flight sets the alarm when it has landed.
        if cell.is_gone || !cell.staged.is_empty() {
            return;
        }
        let Cell { declared, record, .. } = &mut *cell;
        let before = (record.state, record.counts.missed, record.pause);
        let record = Arc::make_mut(record);
        let status = state::advance(&declared.definition, record, now);
        let is_miss = before.0 != State::Down && status.reason == Some(Reason::Missed);
        if (record.state, record.counts.missed, record.pause) != before {
            let episode = record.episode.filter(|_| is_miss && declared.definition.on_miss.is_some());
            if let Some(episode) = episode {
                self.report(heartbeat, record, episode.id);
            }
            self.mark_dirty(heartbeat, &mut cell);
        }
        cell.seen = now;
        self.arm(heartbeat, &mut cell);
    }

    fn report(&self, heartbeat: &Arc<Heartbeat>, record: &mut Record, episode: u64) {
        let miss = Miss { heartbeat: Arc::clone(heartbeat), episode };
        if self.misses.try_send(miss).is_err() {
            record.counts.suspicions_inconclusive += 1;
        }
    }

    /// Puts the records of some heartbeats into the queue of the store; `None` when there is nothing to write.
    fn write(&self, batch: &[Arc<Heartbeat>]) -> Result<Option<super::Durable>, StoreError> {
        // All locks until the queue has them: a signal that comes in between must come after. Nobody else
        // holds two of these locks, and no heartbeat is here twice, see `Cell::is_dirty`.
        let mut cells = Vec::with_capacity(batch.len());
        let mut writes = Vec::with_capacity(batch.len());
        for heartbeat in batch {
            let cell = heartbeat.lock();
            if !cell.is_gone && cell.staged.is_empty() {
                writes.push(write_record(heartbeat.key(), &cell.record));
            }
            cells.push((heartbeat, cell));
        }
        let durable = if writes.is_empty() { None } else { Some(self.keep.commit(writes)?) };
        for (heartbeat, cell) in &mut cells {
            if cell.staged.is_empty() {
                cell.is_dirty = false;
            } else {
                self.dirty().push(Arc::clone(heartbeat));
            }
        }
        Ok(durable)
    }

    fn dirty(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Heartbeat>>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wall clock was set by `by` and shows `to`.
fn step(definition: &Definition, record: &mut Record, by: TimeDelta, to: Time) {
    state::step_clock(definition, record, by);
    let shift = |time: Time| time.checked_add_signed(by).unwrap_or(time);
    record.credit = record.credit.map(shift);
    if definition.schedule.period().is_none() {
        // A slot that was served stays served, so nothing moves back, except out of the future.
        let moved = |time: Time| if by > TimeDelta::zero() { shift(time) } else { time.min(to) };
        record.contact = record.contact.map(moved);
        record.counted = record.counted.map(moved);
    }
    if let Some(pause) = &mut record.pause {
        pause.since = pause.since.min(to);
    }
}
