//! What a heartbeat is at a moment: a pure function of its definition, its record and that moment.
//!
//! [`evaluate`] looks, [`advance`] also notes what has changed since it last looked, and [`accept`]
//! takes a signal. Whoever calls them owns the clock; nothing in here reads one.

use chrono::TimeDelta;

use super::definition::Definition;
use super::event::{Event, Signal};
use super::histogram::{LATENESS_BOUNDS, RUN_BOUNDS, TRANSIT_BOUNDS};
use super::record::{
    Episode, MAX_RECENT, MAX_RUNS, MAX_TEXT_BYTES, Pause, Presence, Reason, Recent, Record, State,
};
use super::schedule::Time;
use super::shift;

/// A heartbeat at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Status {
    /// What it is.
    pub state: State,
    /// Why it is down.
    pub reason: Option<Reason>,
    /// When the next signal is expected; absent before the first one, while paused, and when none is.
    pub expected: Option<Time>,
    /// When silence becomes a failure, credit and what was learnt included. Stays where it is while the silence lasts.
    pub deadline: Option<Time>,
    /// When the first open run takes too long.
    pub run_deadline: Option<Time>,
    /// How sure it is that no signal comes any more; only with an adaptive timeout.
    pub phi: Option<f64>,
    /// The silence the adaptive timeout allows.
    pub adaptive_timeout: Option<TimeDelta>,
}

/// What a signal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It counts.
    Counted,
    /// It was here already; nothing has changed.
    Repeated,
    /// It came by a method that is none of this heartbeat's; nothing has changed.
    Ignored,
}

/// Time in which the same signal is a second delivery of the first: clients and proxies repeat what got no answer.
const REPEAT_WINDOW: TimeDelta = TimeDelta::seconds(60);
/// A signal that claims to be older adds no more than this to the sum: one clock that was never set would
/// hide everything else in the mean.
const MAX_TRANSIT_SECONDS: f64 = 86_400.0;
/// Slots counted at once; a backlog longer than this is not worth the time.
const MAX_SLOTS: u32 = 1000;

/// Looks at a heartbeat without changing anything.
///
/// At the very moment of a deadline it is down.
pub fn evaluate(definition: &Definition, record: &Record, now: Time) -> Status {
    let paused = record.pause.is_some_and(|pause| is_paused(&pause, now));
    let silence = record.contact.map(|contact| now - contact);
    let adaptive = definition.adaptive.as_deref();
    let adaptive_timeout = adaptive.and_then(|adaptive| adaptive.timeout(&record.rhythm));
    let phi = adaptive.zip(silence).and_then(|(adaptive, silence)| adaptive.phi(&record.rhythm, silence));
    let mut status = Status {
        state: State::Paused,
        reason: None,
        expected: None,
        deadline: None,
        run_deadline: None,
        phi,
        adaptive_timeout,
    };
    if paused {
        return status;
    }
    let slot = record.contact.and_then(|contact| definition.expected(contact));
    status.expected = slot.map(|slot| slot.opens);
    status.deadline = deadline(definition, record, adaptive_timeout);
    status.run_deadline = record.runs.values().min().and_then(|start| {
        let limit = start.checked_add_signed(definition.run_limit())?;
        Some(limit.max(record.credit.unwrap_or(limit)))
    });
    let passed = |moment: Option<Time>| moment.is_some_and(|moment| now >= moment);
    status.reason = if record.failed {
        Some(Reason::Failed)
    } else if record.has_data && definition.alert_on_data {
        Some(Reason::Data)
    } else if passed(status.run_deadline) {
        Some(Reason::Overrun)
    } else if passed(status.deadline) {
        Some(Reason::Missed)
    } else if matches!(record.presence, Some(Presence::Gone(_))) {
        Some(Reason::RegistryLost)
    } else if is_stuck(definition, record) {
        Some(Reason::Stuck)
    } else {
        None
    };
    status.state = if status.reason.is_some() {
        State::Down
    } else if !record.runs.is_empty() {
        State::Running
    } else if record.contact.is_none() && record.presence.is_none() {
        State::New
    } else if passed(slot.map(|slot| slot.closes)) && definition.schedule.kind() != "at"
        || passed(status.expected)
    {
        State::Late
    } else {
        State::Up
    };
    status
}

/// Whether the last runs succeeded and brought nothing new.
fn is_stuck(definition: &Definition, record: &Record) -> bool {
    let same = record.progress.as_ref().map_or(0, |(_, runs)| *runs);
    definition.stuck_after.is_some_and(|limit| same >= limit)
}

fn deadline(definition: &Definition, record: &Record, adaptive: Option<TimeDelta>) -> Option<Time> {
    let contact = record.contact?;
    let learnt = adaptive.and_then(|timeout| contact.checked_add_signed(timeout));
    let deadline = learnt.or_else(|| definition.deadline(contact))?;
    // A silence that was a failure before the receiver went blind stays one.
    let credit = record
        .credit
        .filter(|_| record.open_episode().is_none_or(|episode| episode.reason != Reason::Missed));
    Some(deadline.max(credit.unwrap_or(deadline)))
}

fn is_paused(pause: &Pause, now: Time) -> bool {
    now >= pause.since && pause.until.is_none_or(|until| now < until)
}

/// When [`advance`] next has something to note; `None`: not before the next signal.
pub fn next_change(definition: &Definition, record: &Record, now: Time) -> Option<Time> {
    if let Some(pause) = record.pause.filter(|pause| is_paused(pause, now)) {
        return pause.until;
    }
    let status = evaluate(definition, record, now);
    let slot = next_uncounted(definition, record).and_then(|slot| definition.missed_at(slot));
    let moments = [status.expected, status.deadline, status.run_deadline, slot];
    moments.into_iter().flatten().filter(|moment| *moment > now).min()
}

/// Notes what has changed by itself since the last call: deadlines that passed, slots that went by in silence.
///
/// Returns the state now. A change is dated at the moment that caused it, however late this call comes.
pub fn advance(definition: &Definition, record: &mut Record, now: Time) -> Status {
    if let Some(pause) = record.pause.filter(|pause| !is_paused(pause, now))
        && let Some(until) = pause.until.filter(|until| now >= *until)
    {
        end_pause(record, until);
    }
    let status = evaluate(definition, record, now);
    if status.state != State::Paused {
        count_slots(definition, record, now);
    }
    let since = match (status.state, status.reason) {
        (State::Down, Some(Reason::Missed)) => status.deadline,
        (State::Down, Some(Reason::Overrun)) => status.run_deadline,
        (State::Late, _) => status.expected,
        _ => None,
    };
    note(record, &status, since.unwrap_or(now).min(now));
    status
}

/// Enters a change of the state into the record.
fn note(record: &mut Record, status: &Status, since: Time) {
    if status.state == record.state {
        return;
    }
    if record.state == State::Down
        && let Some(episode) = record.episode.as_mut().filter(|episode| episode.until.is_none())
    {
        episode.until = Some(since.max(episode.since));
    }
    if let Some(reason) = status.reason.filter(|_| status.state == State::Down) {
        let id = record.episode.map_or(0, |episode| episode.id) + 1;
        record.episode = Some(Episode { id, since, reason, until: None, probe_success: None });
        // What the dead told last is no longer true.
        record.values.clear();
    }
    record.state = status.state;
    record.changed = since;
    record.counts.changes.add(status.state, 1);
}

fn next_uncounted(definition: &Definition, record: &Record) -> Option<super::schedule::Slot> {
    let contact = record.contact?;
    match record.counted.filter(|counted| *counted > contact) {
        Some(counted) => definition.schedule.next(counted, TimeDelta::zero()),
        None => definition.expected(contact),
    }
}

/// Counts the slots whose deadline has passed, each once.
fn count_slots(definition: &Definition, record: &mut Record, now: Time) {
    for _ in 0..MAX_SLOTS {
        let Some(slot) = next_uncounted(definition, record) else { return };
        let Some(missed) = definition.missed_at(slot).filter(|missed| *missed <= now) else { return };
        record.counted = Some(slot.opens);
        // While the receiver was blind a signal may have come that it has not seen.
        if record.credit.is_none_or(|credit| missed > credit || credit <= now) {
            record.counts.missed += 1;
        }
    }
    record.counted = Some(now);
}

/// Takes a signal that was received at `event.received`, which must not lie before earlier ones by more than reordering explains.
pub fn accept(definition: &Definition, record: &mut Record, event: &Event) -> Accepted {
    let now = event.received;
    advance(definition, record, now);
    if is_repeated(record, event) {
        record.counts.ignored += 1;
        return Accepted::Repeated;
    }
    remember(record, event);
    follow_sender(record, event);
    if let Some(sent) = event.sent {
        let seconds = (now - sent).as_seconds_f64().min(MAX_TRANSIT_SECONDS);
        record.counts.transits.observe(&TRANSIT_BOUNDS, seconds);
    }
    record.counts.signals.add(event.signal, 1);
    record.last.set(event.signal, Some(now));
    match event.signal {
        Signal::Log => {}
        Signal::Start => start(record, event),
        Signal::Success | Signal::Data | Signal::Fail => contact(definition, record, event),
    }
    let status = evaluate(definition, record, now);
    note(record, &status, now);
    Accepted::Counted
}

fn is_repeated(record: &Record, event: &Event) -> bool {
    let has_name = event.run.is_some() || event.sequence.is_some();
    has_name
        && record.recent.iter().any(|recent| {
            recent.signal == event.signal
                && recent.run == event.run
                && recent.sequence == event.sequence
                && recent.incarnation == event.incarnation
                && event.received - recent.received < REPEAT_WINDOW
        })
}

fn remember(record: &mut Record, event: &Event) {
    if event.run.is_none() && event.sequence.is_none() {
        return;
    }
    if record.recent.len() >= MAX_RECENT {
        record.recent.remove(0);
    }
    record.recent.push(Recent {
        received: event.received,
        signal: event.signal,
        run: event.run.clone(),
        sequence: event.sequence,
        incarnation: event.incarnation.clone(),
    });
}

/// Sequence numbers and lives of the sender.
fn follow_sender(record: &mut Record, event: &Event) {
    let is_new_life = event.incarnation.is_some() && event.incarnation != record.incarnation;
    if is_new_life {
        if record.incarnation.is_some() {
            record.counts.restarts += 1;
            if record.open_episode().is_none() {
                record.counts.undetected_restarts += 1;
            }
        }
        record.incarnation.clone_from(&event.incarnation);
        record.sequence = event.sequence;
        return;
    }
    let Some(sequence) = event.sequence else { return };
    match record.sequence {
        Some(last) if sequence <= last => record.counts.reordered += 1,
        last => {
            record.counts.gaps += last.map_or(0, |last| sequence - last - 1);
            record.sequence = Some(sequence);
            // The sender has lived all the time: the alarm was wrong.
            if let Some(episode) = record.open_episode().filter(|episode| {
                last.is_some() && event.incarnation.is_some() && episode.reason == Reason::Missed
            }) {
                record.counts.mistake_seconds += (event.received - episode.since).as_seconds_f64();
                record.counts.false_alarms += 1;
                record.rhythm = super::phi::Rhythm::default();
            }
        }
    }
}

fn start(record: &mut Record, event: &Event) {
    let run = event.run.clone().unwrap_or_default();
    // A start that arrives after the end of its run opens nothing.
    let is_over = event.run.is_some()
        && record.recent.iter().any(|recent| recent.signal.ends_run() && recent.run == event.run);
    if is_over {
        record.counts.reordered += 1;
        return;
    }
    if record.runs.len() >= MAX_RUNS && !record.runs.contains_key(&run) {
        let oldest = record.runs.iter().min_by_key(|(_, start)| **start).map(|(run, _)| run.clone());
        oldest.map(|run| record.runs.remove(&run));
    }
    record.runs.insert(run, event.received);
}

/// A signal that says how a run ended.
fn contact(definition: &Definition, record: &mut Record, event: &Event) {
    let now = event.received;
    if let Some(before) = record.contact {
        let was_missed = record.open_episode().is_some_and(|episode| episode.reason == Reason::Missed);
        // A silence that was a failure says nothing about the usual rhythm.
        if !was_missed && now > before {
            record.rhythm.learn(now - before);
        }
        if let Some(slot) = definition.expected(before) {
            record.counts.latenesses.observe(&LATENESS_BOUNDS, shift::distance(slot, now).as_seconds_f64());
            record.shift = shift::follow(&definition.schedule, record.shift, slot, now);
            if now < slot.opens - definition.early && definition.schedule.period().is_none() {
                record.counts.early += 1;
            }
        }
    }
    let started = match &event.run {
        Some(run) => record.runs.remove(run),
        // Without an id it ends the run without one, or all: nobody can say which.
        None => record.runs.remove("").or_else(|| record.runs.values().min().copied()),
    };
    if event.run.is_none() {
        record.runs.clear();
    }
    let measured = event.duration.or_else(|| started.map(|start| now - start));
    if let Some(took) = measured.map(|took| took.as_seconds_f64().max(0.0)) {
        record.run_seconds = Some(took);
        record.counts.run_durations.observe(&RUN_BOUNDS, took);
    }
    record.exit_code = event.exit_code.or(record.exit_code);
    record.contact = Some(now);
    record.credit = None;
    record.counted = None;
    // It lives, wherever its key is.
    record.presence = record.presence.filter(|presence| *presence == Presence::Here);
    record.failed = event.signal == Signal::Fail;
    record.has_data = event.signal == Signal::Data;
    record.text.clear();
    if record.has_data || record.failed {
        record.text.extend(event.text.chars().scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= MAX_TEXT_BYTES).then_some(c)
        }));
    }
    for (name, value) in &event.values {
        if definition.values.contains(name) {
            record.values.insert(name.clone(), *value);
        }
    }
    if event.signal == Signal::Success
        && let Some(token) = &event.progress
    {
        record.progress = match record.progress.take() {
            Some((same, runs)) if same == *token => Some((same, runs.saturating_add(1))),
            _ => Some((token.clone(), 1)),
        };
    }
}

/// The heartbeat's own key in the shared store is there, or is not. Whether that is news.
///
/// A key that has never been there is missed by nobody. One that is gone is a failure at once, until it is back or a
/// signal ends a run; a pause forgives it as long as it lasts.
pub fn set_present(definition: &Definition, record: &mut Record, is_present: bool, now: Time) -> bool {
    let presence = match (is_present, record.presence) {
        (true, _) => Some(Presence::Here),
        (false, Some(Presence::Here)) => Some(Presence::Gone(now)),
        (false, before) => before,
    };
    if presence == record.presence {
        return false;
    }
    record.presence = presence;
    let status = evaluate(definition, record, now);
    note(record, &status, now);
    true
}

/// Nothing is expected from `now` to `until`, or until [`resume`].
pub fn pause(definition: &Definition, record: &mut Record, now: Time, until: Option<Time>) {
    advance(definition, record, now);
    record.pause = Some(Pause { since: now, until });
    let status = evaluate(definition, record, now);
    note(record, &status, now);
}

/// Ends a pause; what is expected counts from now.
pub fn resume(definition: &Definition, record: &mut Record, now: Time) {
    advance(definition, record, now);
    if record.pause.is_some() {
        end_pause(record, now);
    }
    let status = evaluate(definition, record, now);
    note(record, &status, now);
}

/// Silence and open runs of a pause are forgiven, failures and standstill before it too: the next signal tells anew.
fn end_pause(record: &mut Record, at: Time) {
    record.pause = None;
    record.runs.clear();
    record.failed = false;
    record.has_data = false;
    record.progress = None;
    if record.contact.is_some() {
        record.contact = Some(at);
        record.counted = None;
    }
}

/// The receiver was blind from `from` to `to`: a deadline in that time moves to `settled`.
///
/// Heartbeats that were down before stay so, and those whose deadline lies later keep it. Of those that had credit
/// already, only the blind time is forgiven.
pub fn forgive(definition: &Definition, record: &mut Record, from: Time, to: Time, settled: Time) {
    let status = evaluate(definition, record, from);
    if status.state == State::Down || status.state == State::Paused {
        return;
    }
    let due = [status.deadline, status.run_deadline].into_iter().flatten().min();
    if due.is_some_and(|due| due <= to) {
        // Credit that was running goes on where it stopped: restart after restart would put off an alarm for ever.
        let running = record.credit.filter(|credit| *credit > from);
        let rest = running.and_then(|credit| credit.checked_add_signed(to - from));
        record.credit = Some(rest.unwrap_or(settled));
    }
}

/// The receiver's clock was set: everything it stamped before moves along for schedules that count elapsed time.
pub fn step_clock(definition: &Definition, record: &mut Record, by: TimeDelta) {
    let shift = |time: &mut Time| *time = time.checked_add_signed(by).unwrap_or(*time);
    record.runs.values_mut().for_each(shift);
    if definition.schedule.period().is_some() {
        record.contact.as_mut().into_iter().for_each(shift);
        record.counted.as_mut().into_iter().for_each(shift);
    }
}

#[cfg(test)]
mod tests;
