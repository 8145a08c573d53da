//! Clocks that jump, processes that sleep, and restarts.

use chrono_tz::Tz;

use super::*;
use crate::heartbeat::clock::Cause;
use crate::heartbeat::schedule::Cron;
use crate::heartbeat::store::Change;

fn cron(name: &str, text: &str) -> Definition {
    Definition { schedule: Schedule::from(Cron::parse(text, Tz::UTC).unwrap()), ..every(name, 1, 300) }
}

#[tokio::test]
async fn c1_a_clock_set_forward_is_no_alarm() {
    let story = Story::new(vec![every("a", 600, 60), cron("c", "*/30 * * * *")]);
    story.ping("a").await;
    story.ping("c").await;
    story.live(120).await;
    story.clock.step(3600);
    // A scrape that comes before the next round sees no alarm either.
    assert_eq!((story.state("a"), story.state("c")), (State::Up, State::Up));
    story.second().await;
    // Real time is what it was: both report when they would have.
    story.live(450).await;
    story.ping("a").await;
    story.live(600).await;
    story.ping("a").await;
    story.live(600).await;
    story.ping("a").await;
    assert_eq!(story.state("c"), State::Up);
    story.live(30).await;
    story.ping("c").await;
    for name in ["a", "c"] {
        assert_eq!(story.view(name).record.episode, None, "{name}");
        assert_eq!(story.view(name).record.counts.missed, 0, "{name}");
    }
    assert_eq!(story.jumps(), (0, 1));
    assert_eq!(story.registry.blind_seconds(Cause::Clock), 3600.0);
    // Whoever dies afterwards is found in its time.
    story.live(661).await;
    assert_eq!(story.state("a"), State::Down);
}

#[tokio::test]
async fn c2_a_clock_set_back_hides_no_dead_heartbeat() {
    let story = Story::new(vec![every("a", 600, 60), cron("c", "*/30 * * * *")]);
    story.ping("a").await;
    story.ping("c").await;
    story.live(10).await;
    story.clock.step(-3600);
    story.second().await;
    assert_eq!(story.jumps(), (1, 0));
    story.live(649).await;
    assert_eq!(story.state("a"), State::Late);
    story.live(1).await;
    assert_eq!(story.state("a"), State::Down);
    // 30 minutes and the grace after the last signal, both by a clock that is now right.
    story.live(1800 + 300 - 660 - 1).await;
    assert_eq!(story.state("c"), State::Late);
    story.live(1).await;
    assert_eq!(story.state("c"), State::Down);
    let view = story.view("a");
    assert!(view.record.contact.unwrap() <= story.registry.now());
    assert!(view.record.rhythm == Default::default(), "no distance was learnt");
}

#[tokio::test]
async fn c4_a_stopped_process_blames_nobody() {
    let pauses: [fn(&TestClock, i64); 2] = [TestClock::sleep, TestClock::pass];
    for pause in pauses {
        let story = Story::new(vec![every("alive", 30, 20), every("dead", 30, 20), every("long", 3600, 20)]);
        for name in ["alive", "dead", "long"] {
            story.ping(name).await;
        }
        story.live(10).await;
        pause(&story.clock, 60);
        // The first look comes with the first request, before any tick.
        assert_eq!((story.state("alive"), story.state("dead")), (State::Late, State::Late));
        assert!(story.has("heartbeat_settling 1"));
        assert!((59.0..=60.0).contains(&story.registry.blind_seconds(Cause::Pause)));
        story.ping("alive").await;
        story.live(19).await;
        assert_eq!((story.state("alive"), story.state("dead")), (State::Up, State::Late));
        story.live(1).await;
        assert_eq!(story.state("dead"), State::Down);
        assert!(story.has("heartbeat_settling 0"));
        assert_eq!(story.view("alive").record.counts.missed, 0);
        assert_eq!(story.view("long").record.credit, None);
    }
}

#[tokio::test]
async fn r1_a_restart_blames_only_the_dead() {
    let mut story = Story::new(vec![every("alive", 60, 60), every("dead", 60, 60)]);
    story.ping("alive").await;
    story.ping("dead").await;
    story.live(10).await;
    story.restart(180);
    story.second().await;
    assert_eq!((story.state("alive"), story.state("dead")), (State::Late, State::Late));
    assert!(story.has("heartbeat_settling 1"));
    let blind = story.registry.blind_seconds(Cause::Down);
    assert!((179.0..=181.0).contains(&blind), "{blind}");
    story.live(30).await;
    story.ping("alive").await;
    story.live(29).await;
    assert_eq!((story.state("alive"), story.state("dead")), (State::Up, State::Late));
    story.live(1).await;
    assert_eq!((story.state("alive"), story.state("dead")), (State::Up, State::Down));
    assert_eq!(story.view("alive").record.episode, None);
}

#[tokio::test]
async fn r2_restarts_do_not_put_off_an_alarm() {
    let mut story = Story::new(vec![every("dead", 100, 50)]);
    story.ping("dead").await;
    let due = story.registry.now() + TimeDelta::seconds(150);
    let mut down_at = None;
    for _ in 0..20 {
        story.live(49).await;
        story.restart(1);
        story.second().await;
        if story.state("dead") == State::Down {
            down_at.get_or_insert(story.registry.now());
        }
    }
    let view = story.view("dead");
    let since = view.record.episode.unwrap().since;
    assert_eq!((view.record.episode.unwrap().id, view.record.counts.changes.get(State::Down)), (1, 1));
    // The deadline fell into the second in which nobody looked, and so did that of the credit.
    assert_eq!(since, due + TimeDelta::seconds(51));
    assert!(down_at.unwrap() <= due + TimeDelta::seconds(100));
}

#[tokio::test]
async fn r3_a_restart_alarms_nobody_again() {
    let names: Vec<String> = (0..100).map(|n| format!("h{n}")).collect();
    let mut story = Story::new(names.iter().map(|name| every(name, 60, 60)).collect());
    for name in &names {
        story.ping(name).await;
    }
    story.live(121).await;
    let before: Vec<_> = names.iter().map(|name| story.view(name)).collect();
    story.restart(300);
    story.live(120).await;
    for (name, before) in names.iter().zip(before) {
        let after = story.view(name);
        assert_eq!(after.status.state, State::Down);
        assert_eq!(after.record.episode, before.record.episode);
        assert_eq!(after.record.counts.changes, before.record.counts.changes);
        assert_eq!(after.status.deadline, before.status.deadline, "or the alert resolves");
    }
}

#[tokio::test]
async fn without_a_mark_the_last_signal_tells_when_it_was_dark() {
    let mut story = Story::new(vec![every("a", 60, 60)]);
    story.ping("a").await;
    story.restart(600);
    assert_eq!(story.registry.blind_seconds(Cause::Down), 600.0);
    assert_eq!(story.state("a"), State::Late);
}

#[tokio::test]
async fn f12_deadlines_of_one_second_are_noted_at_once() {
    let names: Vec<String> = (0..2500).map(|n| format!("h{n}")).collect();
    let story = Story::new(names.iter().map(|name| every(name, 60, 60)).collect());
    for name in &names {
        story.ping(name).await;
    }
    story.live(119).await;
    assert_eq!(story.registry.states()[State::Down as usize], 0);
    let commits = story.store.0.lock().unwrap().commits;
    story.clock.pass(1);
    story.registry.tick().await;
    assert!(
        story
            .metrics(Profile::Minimal)
            .iter()
            .filter(|line| line.starts_with("heartbeat_up{"))
            .all(|line| line.ends_with(" 0"))
    );
    story.clock.pass(1);
    story.registry.tick().await;
    assert_eq!(story.registry.states()[State::Down as usize], 2500);
    story.registry.flush().await.unwrap();
    // Together, not one by one.
    assert_eq!(story.store.0.lock().unwrap().commits - commits, 25);
    assert!(story.registry.lag() <= Duration::from_secs(1));
    // What was noted is what a restart reads.
    let records = story.store.recovered().records;
    assert!(records.iter().all(|(_, record)| String::from_utf8_lossy(record).contains("\"state\":\"down\"")));
}

#[tokio::test]
async fn a_broken_store_hides_no_miss_and_gets_it_later() {
    let story = Story::new(vec![every("a", 60, 60)]);
    story.ping("a").await;
    story.live(1).await;
    story.store.set_broken(true);
    story.live(120).await;
    assert_eq!(story.state("a"), State::Down);
    assert!(story.registry.flush().await.is_err());
    story.store.set_broken(false);
    story.registry.flush().await.unwrap();
    let (_, record) = &story.store.recovered().records[0];
    assert_eq!(serde_json::from_slice::<Record>(record).unwrap(), *story.view("a").record);
}

#[tokio::test]
async fn what_changes_twice_between_two_writings_is_written_once() {
    let story = Story::new(vec![every("a", 2, 2)]);
    story.ping("a").await;
    for _ in 0..3 {
        // It is late by itself, a signal becomes durable, and it is late again, all before a flush.
        story.clock.pass(3);
        story.registry.tick().await;
        story.ping("a").await;
    }
    story.clock.pass(3);
    story.registry.tick().await;
    let flushed = tokio::time::timeout(Duration::from_secs(10), story.registry.flush()).await;
    flushed.expect("the flush waits for nobody").unwrap();
    assert_eq!(story.state("a"), State::Late);
}

#[tokio::test]
async fn a_definition_from_elsewhere_may_be_the_first_to_notice_a_pause() {
    let story = Story::new(vec![every("a", 60, 60)]);
    story.clock.sleep(30);
    let (changes, receiver) = mpsc::channel(1);
    let value = Some(b"300".as_slice().into());
    let change = Change::Entry { kind: Kind::Definition, key: "default/b".into(), value };
    changes.send(change).await.unwrap();
    drop(changes);
    // Noticing it takes a lock that must not be held already.
    story.registry.follow(receiver).await;
    assert_eq!(story.registry.blind_seconds(Cause::Pause), 30.0);
    assert_eq!(story.state("b"), State::New);
}
