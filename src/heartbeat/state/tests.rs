//! Stories: what comes in when, and what the heartbeat is at each moment. Times are seconds after midnight UTC.

use std::collections::BTreeMap;

use super::*;
use crate::heartbeat::key::Key;
use crate::heartbeat::phi::Adaptive;
use crate::heartbeat::schedule::{Cron, Schedule, Window};

fn at(seconds: i64) -> Time {
    at_ms(seconds * 1000)
}

fn at_ms(milliseconds: i64) -> Time {
    "2026-06-01T00:00:00Z".parse::<Time>().unwrap() + TimeDelta::milliseconds(milliseconds)
}

/// Every minute with 30 s of grace, unless a story says otherwise.
fn definition() -> Definition {
    Definition {
        key: Key::new("default", "job").unwrap(),
        schedule: Schedule::Every(TimeDelta::seconds(60)),
        grace: TimeDelta::seconds(30),
        tolerate_missed: 0,
        max_runtime: None,
        early: TimeDelta::zero(),
        alert_on_data: false,
        stuck_after: None,
        post_only: false,
        keywords: None,
        manual_resume: false,
        values: vec!["rows".to_owned()],
        labels: BTreeMap::new(),
        tags: Vec::new(),
        adaptive: None,
        on_miss: None,
    }
}

struct Story {
    definition: Definition,
    record: Record,
}

impl Story {
    fn new(definition: Definition) -> Self {
        Self { definition, record: Record::new(at(0)) }
    }

    fn event(&mut self, event: &Event) -> Accepted {
        accept(&self.definition, &mut self.record, event)
    }

    fn signal(&mut self, seconds: i64, signal: Signal) -> &mut Self {
        self.event(&Event::new(signal, at(seconds)));
        self
    }

    fn run(&mut self, seconds: i64, signal: Signal, run: &str) -> Accepted {
        self.event(&Event { run: Some(run.to_owned()), ..Event::new(signal, at(seconds)) })
    }

    fn numbered(&mut self, seconds: i64, life: &str, sequence: u64) {
        let event = Event::new(Signal::Success, at(seconds));
        self.event(&Event { incarnation: Some(life.to_owned()), sequence: Some(sequence), ..event });
    }

    fn state(&mut self, seconds: i64) -> (State, Option<Reason>) {
        let status = advance(&self.definition, &mut self.record, at(seconds));
        (status.state, status.reason)
    }

    fn deadline(&self, seconds: i64) -> Option<Time> {
        evaluate(&self.definition, &self.record, at(seconds)).deadline
    }
}

const MISSED: (State, Option<Reason>) = (State::Down, Some(Reason::Missed));
const FAILED: (State, Option<Reason>) = (State::Down, Some(Reason::Failed));
const OVERRUN: (State, Option<Reason>) = (State::Down, Some(Reason::Overrun));
const NEW: (State, Option<Reason>) = (State::New, None);
const UP: (State, Option<Reason>) = (State::Up, None);
const LATE: (State, Option<Reason>) = (State::Late, None);
const RUNNING: (State, Option<Reason>) = (State::Running, None);
const PAUSED: (State, Option<Reason>) = (State::Paused, None);

#[test]
fn from_new_to_down_and_back() {
    let mut story = Story::new(definition());
    assert_eq!(story.state(1_000_000), NEW, "nobody waits for what never came");
    let mut story = Story::new(definition());
    story.signal(10, Signal::Success);
    for (seconds, want) in [(10, UP), (69, UP), (70, LATE), (99, LATE), (100, MISSED), (5000, MISSED)] {
        assert_eq!(story.state(seconds), want, "{seconds}");
    }
    assert_eq!(story.record.changed, at(100), "the moment of the deadline");
    assert_eq!(story.record.counts.missed, 82, "slots 70, 130, … whose 30 s have passed at 5000");
    story.signal(5000, Signal::Success);
    assert_eq!(story.state(5001), UP);
    let episode = story.record.episode.unwrap();
    assert_eq!((episode.id, episode.since, episode.until), (1, at(100), Some(at(5000))));
    assert_eq!(
        story.record.counts.changes,
        [(State::Up, 2), (State::Late, 1), (State::Down, 1)].into_iter().collect()
    );
}

#[test]
fn f1_the_moment_of_the_deadline_is_too_late() {
    for (milliseconds, want) in [(89_999, State::Late), (90_000, State::Down), (90_001, State::Down)] {
        let mut story = Story::new(definition());
        story.signal(0, Signal::Success);
        let status = advance(&story.definition, &mut story.record, at_ms(milliseconds));
        assert_eq!(status.state, want, "{milliseconds}");
        accept(&story.definition, &mut story.record, &Event::new(Signal::Success, at_ms(milliseconds)));
        assert_eq!(story.record.state, State::Up);
        assert_eq!(story.record.episode.is_some(), want == State::Down);
    }
}

#[test]
fn f2_a_failure_is_contact() {
    let mut story = Story::new(definition());
    story.signal(0, Signal::Success).signal(50, Signal::Fail);
    assert_eq!(story.state(51), FAILED);
    assert_eq!(story.deadline(51), Some(at(140)));
    assert_eq!(story.state(139), FAILED);
    assert_eq!((story.record.counts.missed, story.record.episode.unwrap().id), (0, 1));
    story.state(141);
    assert_eq!((story.record.counts.missed, story.record.episode.unwrap().id), (1, 1), "still one episode");
    story.signal(150, Signal::Success);
    assert_eq!(story.state(151), UP);
}

#[test]
fn f3_detection_takes_no_longer_than_period_and_grace() {
    let mut story = Story::new(definition());
    story.signal(0, Signal::Success);
    assert_eq!(next_change(&story.definition, &story.record, at(0)), Some(at(60)));
    story.state(60);
    assert_eq!(next_change(&story.definition, &story.record, at(60)), Some(at(90)));
    story.state(90);
    assert_eq!(
        next_change(&story.definition, &story.record, at(90)),
        Some(at(150)),
        "the next slot to count"
    );
}

#[test]
fn f4_every_run_is_watched() {
    let mut story = Story::new(Definition { max_runtime: Some(TimeDelta::seconds(100)), ..definition() });
    story.run(0, Signal::Start, "a");
    assert_eq!(story.state(1), RUNNING);
    story.run(40, Signal::Start, "b");
    story.run(60, Signal::Success, "b");
    assert_eq!(story.record.run_seconds, Some(20.0));
    assert_eq!(story.state(99), RUNNING);
    assert_eq!(story.state(100), OVERRUN, "a hangs, whatever b does");
    story.run(110, Signal::Success, "a");
    assert_eq!((story.state(111), story.record.run_seconds), (UP, Some(110.0)));
}

#[test]
fn f5_a_start_without_run_id_replaces_the_one_before() {
    let mut story = Story::new(Definition { max_runtime: Some(TimeDelta::seconds(100)), ..definition() });
    story.signal(0, Signal::Start).signal(90, Signal::Start);
    assert_eq!(evaluate(&story.definition, &story.record, at(91)).run_deadline, Some(at(190)));
    story.signal(100, Signal::Success);
    assert_eq!((story.state(101), story.record.run_seconds), (UP, Some(10.0)));
}

#[test]
fn without_max_runtime_the_grace_limits_a_run() {
    let mut story = Story::new(definition());
    story.signal(0, Signal::Start);
    assert_eq!((story.state(29), story.state(30)), (RUNNING, OVERRUN));
}

#[test]
fn f9_an_outage_is_not_learnt() {
    let adaptive = Adaptive::new(8.0, TimeDelta::seconds(2)).unwrap();
    let mut story = Story::new(Definition { adaptive: Some(adaptive.into()), ..definition() });
    for n in 0..60 {
        story.signal(n * 60 + n % 3, Signal::Success);
    }
    let timeout = |story: &Story| adaptive.timeout(&story.record.rhythm).unwrap().as_seconds_f64();
    let before = timeout(&story);
    assert!((60.0..80.0).contains(&before), "{before}");
    story.signal(59 * 60 + 3600, Signal::Success);
    assert!((timeout(&story) / before - 1.0).abs() < 0.01);
    // The deadline is the learnt one.
    let deadline = story.deadline(0).unwrap();
    let silence = (deadline - story.record.contact.unwrap()).as_seconds_f64();
    assert!((silence - timeout(&story)).abs() < 0.001);
}

#[test]
fn f11_a_new_rhythm_costs_one_false_alarm() {
    let adaptive = Adaptive::new(8.0, TimeDelta::milliseconds(500)).unwrap();
    let mut story = Story::new(Definition { adaptive: Some(adaptive.into()), ..definition() });
    for n in 0..50 {
        story.numbered(n * 10, "life", u64::try_from(n).unwrap());
    }
    assert!(story.deadline(490).unwrap() < at(504));
    for n in 1..20 {
        story.state(490 + n * 60 - 1);
        story.numbered(490 + n * 60, "life", u64::try_from(49 + n).unwrap());
    }
    assert_eq!((story.record.episode.unwrap().id, story.record.counts.false_alarms), (1, 1));
    assert!((40.0..60.0).contains(&story.record.counts.mistake_seconds));
}

#[test]
fn h3_a_second_delivery_changes_nothing() {
    let mut story = Story::new(definition());
    assert_eq!(story.run(0, Signal::Start, "r"), Accepted::Counted);
    assert_eq!(story.run(10, Signal::Success, "r"), Accepted::Counted);
    let before = story.record.clone();
    assert_eq!(story.run(12, Signal::Success, "r"), Accepted::Repeated);
    assert_eq!(story.record.counts.ignored, 1);
    story.record.counts.ignored = 0;
    assert_eq!(story.record, before);
    assert_eq!(story.run(80, Signal::Success, "r"), Accepted::Counted, "much later it is another");
    story.numbered(90, "x", 7);
    story.numbered(91, "x", 7);
    assert_eq!(story.record.counts.ignored, 1);
}

#[test]
fn h4_a_late_start_opens_no_run() {
    let mut story = Story::new(definition());
    story.run(10, Signal::Success, "r");
    story.run(11, Signal::Start, "r");
    assert_eq!((story.state(50), story.record.counts.reordered), (UP, 1));
    story.numbered(60, "x", 5);
    story.numbered(61, "x", 4);
    story.numbered(62, "x", 9);
    assert_eq!((story.record.counts.reordered, story.record.counts.gaps), (2, 3));
}

#[test]
fn restarts_of_the_sender_are_counted() {
    let mut story = Story::new(definition());
    story.numbered(0, "a", 1);
    story.numbered(10, "b", 1);
    assert_eq!((story.record.counts.restarts, story.record.counts.undetected_restarts), (1, 1));
    story.numbered(1000, "c", 1);
    assert_eq!((story.record.counts.restarts, story.record.counts.undetected_restarts), (2, 1));
    assert_eq!(story.record.counts.false_alarms, 0);
}

#[test]
fn e1_early_signals_of_a_schedule() {
    let daily = || Schedule::from(Cron::parse("0 4 * * *", chrono_tz::UTC).unwrap());
    let day = 86_400;
    for (early, missed, counted) in [(0, true, 1), (10, false, 0)] {
        let early = TimeDelta::seconds(early);
        let mut story = Story::new(Definition { schedule: daily(), early, ..definition() });
        story.signal(4 * 3600 + 1, Signal::Success);
        story.signal(day + 4 * 3600 - 3, Signal::Success);
        assert_eq!(story.state(day + 4 * 3600 + 30) == MISSED, missed);
        assert_eq!(story.record.counts.early, counted);
    }
}

#[test]
fn d2_d3_silence_at_the_end_of_summer_time() {
    // Deadlines are worked out in UTC: an hour that comes twice is two hours, and grace has no zone.
    let cases = [
        (
            ("Europe/Riga", "15 * * * *", 60),
            "2023-10-29T00:55:00Z",
            [("01:05:00", UP), ("01:15:00", LATE), ("02:15:00", MISSED)],
        ),
        (
            ("Europe/Berlin", "*/30 * * * *", 5),
            "2026-10-25T00:30:00Z",
            [("00:59:59", UP), ("01:00:00", LATE), ("01:05:00", MISSED)],
        ),
        (
            ("America/New_York", "30 1 * * *", 5),
            "2026-11-01T05:30:00Z",
            [("05:35:00", UP), ("06:35:00", UP), ("23:00:00", UP)],
        ),
    ];
    for ((zone, cron, grace), contact, moments) in cases {
        let schedule = Schedule::from(Cron::parse(cron, zone.parse().unwrap()).unwrap());
        let definition = Definition { schedule, grace: TimeDelta::minutes(grace), ..definition() };
        let contact: Time = contact.parse().unwrap();
        let mut record = Record::new(contact);
        accept(&definition, &mut record, &Event::new(Signal::Success, contact));
        for (moment, want) in moments {
            let moment: Time = format!("{}T{moment}Z", contact.date_naive()).parse().unwrap();
            let status = evaluate(&definition, &record, moment);
            assert_eq!((status.state, status.reason), want, "{zone} {moment}");
        }
    }
}

#[test]
fn a_window_is_late_while_it_is_open_and_missed_at_its_end() {
    let window = Window::parse("16:05", "24:00", "Asia/Shanghai".parse().unwrap()).unwrap();
    let grace = TimeDelta::zero();
    let mut story = Story::new(Definition { schedule: Schedule::from(window), grace, ..definition() });
    // 16:05 in Shanghai is 08:05 UTC.
    let opens = 8 * 3600 + 300;
    story.signal(opens - 60, Signal::Success);
    for (seconds, want) in [(opens - 1, UP), (opens, LATE), (16 * 3600 - 1, LATE), (16 * 3600, MISSED)] {
        assert_eq!(story.state(seconds), want, "{seconds}");
    }
    story.signal(16 * 3600 + 5, Signal::Success);
    assert_eq!(story.state(86_400 + opens - 1), UP);
}

#[test]
fn tolerated_misses_move_the_deadline() {
    let mut story = Story::new(Definition { tolerate_missed: 2, ..definition() });
    story.signal(0, Signal::Success);
    assert_eq!(story.deadline(0), Some(at(3 * 60 + 30)));
    assert_eq!((story.state(209), story.state(210)), (LATE, MISSED));
    assert_eq!(story.record.counts.missed, 3);
}

#[test]
fn data_is_a_failure_only_where_it_says_so() {
    for (alert_on_data, want) in [(false, UP), (true, (State::Down, Some(Reason::Data)))] {
        let mut story = Story::new(Definition { alert_on_data, ..definition() });
        let text = "é".repeat(MAX_TEXT_BYTES);
        story.event(&Event { text, ..Event::new(Signal::Data, at(0)) });
        assert_eq!((story.state(1), story.record.text.len()), (want, MAX_TEXT_BYTES));
        story.signal(2, Signal::Success);
        assert_eq!((story.state(3), story.record.text.as_str()), (UP, ""));
    }
}

#[test]
fn only_allowed_numbers_are_kept_and_only_while_it_lives() {
    let mut story = Story::new(definition());
    let values = BTreeMap::from([("rows".to_owned(), 7.0), ("secret".to_owned(), 1.0)]);
    story.event(&Event { values, ..Event::new(Signal::Success, at(0)) });
    assert_eq!(story.record.values, BTreeMap::from([("rows".to_owned(), 7.0)]));
    story.state(90);
    assert!(story.record.values.is_empty());
}

#[test]
fn f13_the_same_progress_again_and_again() {
    let mut story = Story::new(definition());
    for (seconds, token, want) in [(0, "5", 1), (60, "5", 2), (120, "5", 3), (180, "6", 1)] {
        let progress = Some(token.to_owned());
        story.event(&Event { progress, ..Event::new(Signal::Success, at(seconds)) });
        assert_eq!(story.record.progress, Some((token.to_owned(), want)));
    }
}

#[test]
fn f13_success_without_progress_is_a_failure_where_it_says_so() {
    const STUCK: (State, Option<Reason>) = (State::Down, Some(Reason::Stuck));
    let success = |story: &mut Story, seconds: i64, token: Option<&str>| {
        let progress = token.map(str::to_owned);
        story.event(&Event { progress, ..Event::new(Signal::Success, at(seconds)) });
        story.state(seconds)
    };
    let mut story = Story::new(Definition { stuck_after: Some(3), ..definition() });
    let cases = [
        (0, Some("5"), UP),
        (60, Some("5"), UP),
        // A run that tells nothing about its progress says nothing about it.
        (120, None, UP),
        (180, Some("5"), STUCK),
        (240, None, STUCK),
        (300, Some("5"), STUCK),
        (360, Some("6"), UP),
    ];
    for (seconds, token, want) in cases {
        assert_eq!(success(&mut story, seconds, token), want, "{seconds}");
    }
    let episode = story.record.episode.unwrap();
    assert_eq!((episode.reason, episode.since, episode.until), (Reason::Stuck, at(180), Some(at(360))));
    assert_eq!(story.record.counts.changes.get(State::Down), 1);

    // Silence is worse, and so is a failure; neither of them is progress.
    success(&mut story, 420, Some("6"));
    assert_eq!(success(&mut story, 480, Some("6")), STUCK);
    assert_eq!(story.state(570), MISSED);
    assert_eq!(story.signal(580, Signal::Fail).state(580), FAILED);
    assert_eq!(success(&mut story, 590, Some("6")), STUCK);

    // Nobody is stuck after a pause.
    pause(&story.definition, &mut story.record, at(600), None);
    resume(&story.definition, &mut story.record, at(700));
    assert_eq!(story.state(700), UP);
    assert_eq!(success(&mut story, 710, Some("6")), UP);
}

#[test]
fn s2_a_key_that_vanishes_is_a_failure_at_once() {
    const LOST: (State, Option<Reason>) = (State::Down, Some(Reason::RegistryLost));
    let present = |story: &mut Story, seconds: i64, is_present: bool| {
        let is_news = set_present(&story.definition, &mut story.record, is_present, at(seconds));
        (is_news, story.state(seconds))
    };
    // What never had a key is not missed for it.
    let mut story = Story::new(definition());
    assert_eq!(present(&mut story, 0, false), (false, NEW));
    story.signal(0, Signal::Success);
    assert_eq!(present(&mut story, 1, false), (false, UP));

    assert_eq!(present(&mut story, 2, true), (true, UP));
    assert_eq!(present(&mut story, 3, true), (false, UP));
    assert_eq!(present(&mut story, 4, false), (true, LOST));
    assert_eq!(present(&mut story, 5, false), (false, LOST));
    let episode = story.record.episode.unwrap();
    assert_eq!((episode.reason, episode.since), (Reason::RegistryLost, at(4)));
    // Back by its key, or by a signal, which its start is not.
    assert_eq!(present(&mut story, 6, true), (true, UP));
    present(&mut story, 7, false);
    assert_eq!(story.signal(8, Signal::Start).state(8), LOST);
    assert_eq!(story.signal(9, Signal::Success).state(9), UP);
    assert_eq!(present(&mut story, 10, false), (false, UP));
    // The deadline goes its own way.
    assert_eq!(present(&mut story, 11, true), (true, UP));
    assert_eq!(story.state(99), MISSED);
    assert_eq!(present(&mut story, 100, false), (true, MISSED));

    // A key alone is a sign of life, and no contact that anything could be late after.
    let mut story = Story::new(definition());
    assert_eq!(present(&mut story, 0, true), (true, UP));
    assert_eq!((story.state(1_000_000), story.deadline(1_000_000)), (UP, None));
    pause(&story.definition, &mut story.record, at(1_000_000), Some(at(1_000_100)));
    assert_eq!(present(&mut story, 1_000_050, false), (true, PAUSED));
    assert_eq!(story.state(1_000_100), LOST, "who has not come back by the end of the pause");

    let kept = serde_json::to_string(&story.record).unwrap();
    assert!(
        kept.contains(r#""presence":{"gone":"#) && kept.contains(r#""reason":"registry_lost""#),
        "{kept}"
    );
    assert_eq!(serde_json::from_str::<Record>(&kept).unwrap(), story.record);
}

#[test]
fn a_pause_forgives() {
    let mut story = Story::new(definition());
    story.signal(0, Signal::Fail);
    pause(&story.definition, &mut story.record, at(10), None);
    assert_eq!((story.state(500), story.deadline(500)), (PAUSED, None));
    assert_eq!(next_change(&story.definition, &story.record, at(500)), None);
    resume(&story.definition, &mut story.record, at(1000));
    assert_eq!((story.state(1001), story.deadline(1001)), (UP, Some(at(1090))));
    assert_eq!(story.record.counts.missed, 0);
    // Maintenance ends by itself, and is dated at its end.
    pause(&story.definition, &mut story.record, at(1010), Some(at(2000)));
    assert_eq!(next_change(&story.definition, &story.record, at(1011)), Some(at(2000)));
    assert_eq!(story.state(2050), UP);
    assert_eq!(story.state(2090), MISSED);
}

#[test]
fn r1_c4_blind_time_is_forgiven_once() {
    // Alive until 50, back at 200: the deadline at 90 fell into the blind time.
    let mut story = Story::new(definition());
    story.signal(0, Signal::Success);
    story.state(50);
    forgive(&story.definition, &mut story.record, at(50), at(200), at(230));
    assert_eq!((story.state(200), story.state(229), story.state(230)), (LATE, LATE, MISSED));
    assert_eq!(story.record.changed, at(230));
    // Blind again meanwhile: what was left of the credit is left still, and no more.
    let mut story = Story::new(definition());
    story.signal(0, Signal::Success);
    forgive(&story.definition, &mut story.record, at(50), at(200), at(230));
    forgive(&story.definition, &mut story.record, at(210), at(215), at(245));
    forgive(&story.definition, &mut story.record, at(225), at(240), at(270));
    assert_eq!((story.state(244), story.state(245)), (LATE, MISSED));
    // A client that repeats its signal in time is never down.
    let mut story = Story::new(definition());
    story.signal(0, Signal::Success);
    forgive(&story.definition, &mut story.record, at(50), at(200), at(230));
    story.signal(210, Signal::Success);
    assert_eq!((story.state(231), story.record.episode), (UP, None));
}

#[test]
fn r2_restarts_do_not_postpone_the_alarm() {
    let mut story = Story::new(definition());
    story.signal(0, Signal::Success);
    for restart in 1..20 {
        let back = restart * 30 + 1;
        forgive(&story.definition, &mut story.record, at(back - 1), at(back), at(back + 30));
        story.state(back);
    }
    assert_eq!((story.state(1000), story.record.changed), (MISSED, at(90)), "the original deadline");
}

#[test]
fn r3_a_restart_leaves_an_episode_as_it_is() {
    let mut story = Story::new(definition());
    story.signal(0, Signal::Success);
    story.state(100);
    let before = story.record.clone();
    let kept: Record = serde_json::from_str(&serde_json::to_string(&story.record).unwrap()).unwrap();
    assert_eq!(kept, before, "the store keeps everything");
    story.record = kept;
    forgive(&story.definition, &mut story.record, at(100), at(300), at(330));
    assert_eq!(story.state(301), MISSED);
    assert_eq!(story.record.episode, before.episode);
    assert_eq!(story.record.counts.changes, before.counts.changes);
}

#[test]
fn c1_c2_a_step_of_the_clock_moves_what_counts_elapsed_time() {
    for hours in [1, -1] {
        let step = TimeDelta::hours(hours);
        let mut story = Story::new(definition());
        story.signal(40_000, Signal::Success);
        step_clock(&story.definition, &mut story.record, step);
        let status = evaluate(&story.definition, &story.record, at(40_010) + step);
        assert_eq!((status.state, status.deadline), (State::Up, Some(at(40_090) + step)));
    }
}

#[test]
fn c5_the_clock_of_the_sender_decides_nothing() {
    let mut story = Story::new(definition());
    story.event(&Event { sent: Some(at(86_400)), ..Event::new(Signal::Success, at(0)) });
    assert_eq!(story.deadline(0), Some(at(90)));
}

#[test]
fn c5_time_on_the_way_is_counted_whatever_the_sender_says() {
    let mut story = Story::new(definition());
    story.signal(0, Signal::Success);
    assert_eq!(story.record.counts.transits.buckets(&TRANSIT_BOUNDS).count(), 0);
    let (past, future) = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z");
    let sent =
        [at_ms(0), at_ms(-250), at_ms(-90_000), at_ms(1), past.parse().unwrap(), future.parse().unwrap()];
    for sent in sent {
        story.event(&Event { sent: Some(sent), ..Event::new(Signal::Log, at(0)) });
    }
    let transits = &story.record.counts.transits;
    let buckets: Vec<_> = transits.buckets(&TRANSIT_BOUNDS).map(|(_, count)| count).collect();
    // To the moment, and twice from the future; a quarter of a second; a minute and a half; two thousand years.
    assert_eq!(buckets, [3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 5, 5, 6]);
    assert_eq!(transits.sum(), 0.25 + 90.0 + 86_400.0);
    assert_eq!(story.deadline(0), Some(at(90)));
}

#[test]
fn f6_a_year_of_silence_is_found_in_one_step() {
    let mut story =
        Story::new(Definition { schedule: Schedule::Every(TimeDelta::days(400)), ..definition() });
    story.signal(0, Signal::Success);
    let year = 400 * 86_400;
    assert_eq!((story.state(year - 1), story.state(year + 30)), (UP, MISSED));
    // Many slots at once are counted without end in sight only up to a limit.
    let mut story =
        Story::new(Definition { schedule: Schedule::Every(TimeDelta::seconds(1)), ..definition() });
    story.signal(0, Signal::Success);
    assert_eq!(story.state(100_000_000), MISSED);
    assert_eq!(story.record.counts.missed, u64::from(MAX_SLOTS));
}

#[test]
fn runs_are_bounded() {
    let mut story = Story::new(definition());
    for n in 0..100 {
        story.run(n, Signal::Start, &n.to_string());
    }
    assert_eq!((story.record.runs.len(), story.record.recent.len()), (MAX_RUNS, MAX_RECENT));
    assert_eq!(story.record.runs.values().min(), Some(&at(36)), "the oldest gave way");
    story.signal(100, Signal::Success);
    assert!(story.record.runs.is_empty());
}

#[test]
fn d5_signals_that_are_whole_hours_off_tell_of_another_zone() {
    let days = |day: i64, hour: i64, minute: i64| at(day * 86_400 + hour * 3600 + minute * 60);
    // When a job that is due daily at 02:30 reports, and what is said after that.
    let cases = [
        ("in time", &[(0, 2, 31), (1, 2, 30), (2, 2, 33), (3, 2, 31)][..], None),
        ("two hours before", &[(0, 0, 30), (1, 0, 30), (2, 0, 31), (3, 0, 30)], Some(-2)),
        ("eight hours after", &[(0, 10, 31), (1, 10, 32), (2, 10, 31), (3, 10, 33)], Some(8)),
        ("not yet often enough", &[(0, 3, 31), (1, 3, 31), (2, 3, 31)], None),
        ("half an hour more", &[(0, 4, 0), (1, 4, 0), (2, 4, 0), (3, 4, 0)], None),
        ("not always the same", &[(0, 3, 31), (1, 3, 31), (2, 4, 31), (3, 3, 31)], None),
        ("in time again", &[(0, 0, 30), (1, 0, 30), (2, 0, 30), (3, 0, 30), (4, 2, 30)], None),
    ];
    for (name, signals, want) in cases {
        let schedule = Schedule::from(Cron::parse("30 2 * * *", chrono_tz::UTC).unwrap());
        let mut story = Story::new(Definition { schedule, ..definition() });
        for (day, hour, minute) in signals {
            story.event(&Event::new(Signal::Success, days(*day, *hour, *minute)));
        }
        let got = story.record.shift.and_then(shift::Shift::difference);
        assert_eq!(got, want.map(TimeDelta::hours), "{name}");
    }
}
