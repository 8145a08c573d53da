//! Signals: durable before they count, in their order, and never lost to a limit.

use super::*;
use crate::heartbeat::definition::OnMiss;
use crate::heartbeat::record::Reason;

#[tokio::test]
async fn what_is_not_durable_has_not_happened() {
    let story = Story::new(vec![every("a", 60, 60)]);
    story.store.set_broken(true);
    let before = story.view("a").record;
    let refused = story.send("a", Signal::Success).await.unwrap_err();
    assert_eq!(
        (refused.retry_after_seconds(), refused.reason()),
        (Some(5), crate::heartbeat::receiver::Rejected::Overload)
    );
    assert_eq!(story.view("a").record, before);
    story.store.set_broken(false);
    story.ping("a").await;
    assert_eq!(story.state("a"), State::Up);
}

#[tokio::test]
async fn changes_build_on_each_other_and_survive_their_clients() {
    let story = Arc::new(Story::new(vec![every("a", 60, 60)]));
    story.store.hold();
    let send = |signal| {
        let story = Arc::clone(&story);
        tokio::spawn(async move { story.send("a", signal).await })
    };
    let first = send(Signal::Start);
    tokio::task::yield_now().await;
    let second = send(Signal::Success);
    tokio::task::yield_now().await;
    let third = send(Signal::Fail);
    tokio::task::yield_now().await;
    assert_eq!(story.state("a"), State::New, "nothing is durable yet");
    // The client of the first goes away; its signal does not.
    first.abort();
    story.store.let_go(Ok(()));
    story.store.let_go(Err(StoreError::Stalled));
    assert!(matches!(second.await.unwrap(), Err(Refused::Unavailable { .. })));
    tokio::task::yield_now().await;
    assert_eq!(story.view("a").record.counts.signals, [(Signal::Start, 1)].into_iter().collect());
    story.store.let_go(Ok(()));
    third.await.unwrap().unwrap();
    let record = story.view("a").record;
    assert_eq!((record.failed, record.runs.len()), (true, 0));
    // The third was made when the second looked well; a signal that came is better than one that is lost.
    assert_eq!(record.counts.signals.get(Signal::Success), 1);
    let (_, kept) = &story.store.recovered().records[0];
    assert_eq!(serde_json::from_slice::<Record>(kept).unwrap(), *record);
}

#[tokio::test]
async fn f16_a_limit_never_drops_what_changes_the_state() {
    let rate = RateLimit { per_minute: 60, burst: 2 };
    let story = Story::with(vec![every("a", 60, 60)], |settings| settings.rate = rate);
    story.ping("a").await;
    story.ping("a").await;
    let now = story.view("a").record;
    for _ in 0..3 {
        story.send("a", Signal::Success).await.map(|_| ()).unwrap_or_default_if_limited();
    }
    let limited = story.send("a", Signal::Success).await.unwrap_err();
    assert_eq!(limited, Refused::RateLimited { retry_after: Duration::from_secs(1) });
    assert_eq!(limited.retry_after_seconds(), Some(1));
    assert!(
        story.view("a").record.counts.signals.get(Signal::Success) >= now.counts.signals.get(Signal::Success)
    );
    // Failure, recovery, a run and its end: all news.
    for signal in [Signal::Fail, Signal::Success, Signal::Start, Signal::Success] {
        story.send("a", signal).await.unwrap();
    }
    assert!(story.send("a", Signal::Log).await.is_err());
    story.live(61).await;
    assert_eq!(story.state("a"), State::Late);
    for _ in 0..2 {
        story.send("a", Signal::Log).await.unwrap();
    }
    assert!(story.send("a", Signal::Log).await.is_err());
    story.ping("a").await;
    assert_eq!(story.state("a"), State::Up);
}

trait Limited {
    fn unwrap_or_default_if_limited(self);
}

impl Limited for Result<(), Refused> {
    fn unwrap_or_default_if_limited(self) {
        assert!(matches!(self, Ok(()) | Err(Refused::RateLimited { .. })));
    }
}

#[tokio::test]
async fn numbers_that_json_lacks_do_not_spoil_a_record() {
    let mut definition = every("a", 60, 60);
    definition.values = vec!["x".to_owned(), "y".to_owned()];
    let mut story = Story::new(vec![definition]);
    let mut event = Event::new(Signal::Success, story.registry.now());
    event.values = [("x".to_owned(), f64::NAN), ("y".to_owned(), 1.5), ("z".to_owned(), 1.0)].into();
    story.registry.accept(&story.heartbeat("a"), event, Some(Bytes::from_static(b"body"))).await.unwrap();
    story.restart(1);
    assert_eq!(story.view("a").record.values, [("y".to_owned(), 1.5)].into());
    assert!(story.has("heartbeat_payload_value{namespace=\"default\",heartbeat=\"a\",key=\"y\"} 1.5"));
    let (key, body) = &story.store.0.lock().unwrap().bodies[0];
    assert_eq!((&**key, &*Message::decode(body).unwrap().body), ("default/a", &b"body"[..]));
}

#[tokio::test]
async fn f14_a_follow_up_probe_hides_no_miss() {
    let mut definition = every("a", 60, 60);
    definition.on_miss =
        Some(Box::new(OnMiss { module: "m".to_owned(), target: "t".to_owned(), attempts: 1 }));
    let mut story = Story::new(vec![definition, every("b", 60, 60)]);
    story.ping("a").await;
    story.ping("b").await;
    story.live(121).await;
    let miss = story.misses.try_recv().unwrap();
    assert_eq!((miss.heartbeat.key().name(), miss.episode, miss.is_open()), ("a", 1, true));
    assert!(story.misses.try_recv().is_err(), "b wants none");
    story.registry.probed(&miss, Some(true));
    assert_eq!(story.state("a"), State::Down);
    let identity = "namespace=\"default\",heartbeat=\"a\"";
    assert!(story.has(&format!("heartbeat_up{{{identity}}} 0")));
    assert!(
        story.has(&format!("heartbeat_down_reason{{{identity},reachable=\"true\",reason=\"missed\"}} 1"))
    );
    let other = "namespace=\"default\",heartbeat=\"b\"";
    assert!(story.has(&format!("heartbeat_down_reason{{{other},reason=\"missed\"}} 1")));
    assert!(story.has(&format!("heartbeat_suspicion_probe_success{{{identity},module=\"m\"}} 1")));
    assert!(story.has(&format!("heartbeat_suspicions_total{{{identity},result=\"refuted\"}} 1")));
    assert!(story.has(&format!("heartbeat_suspicions_total{{{identity},result=\"confirmed\"}} 0")));
    story.ping("a").await;
    assert!(!miss.is_open());
    assert!(!story.metrics(Profile::Full).iter().any(|line| line.contains("suspicion_probe_success")));
    // A result that comes too late ends up in the record of its episode, not in the next one's.
    story.live(121).await;
    story.registry.probed(&miss, Some(true));
    assert_eq!(story.view("a").record.episode.unwrap().probe_success, None);
}

#[tokio::test]
async fn k1_k2_counters_exist_at_zero_and_a_lost_store_begins_again() {
    let story = Story::new(vec![every("a", 60, 60)]);
    let identity = "namespace=\"default\",heartbeat=\"a\"";
    for line in [
        format!("heartbeat_pings_total{{{identity},signal=\"fail\"}}"),
        format!("heartbeat_pings_total{{{identity},signal=\"ignored\"}}"),
        format!("heartbeat_state_changes_total{{{identity},to=\"down\"}}"),
        format!("heartbeat_missed_total{{{identity}}}"),
        "heartbeat_receiver_rejected_total{reason=\"rate\"}".to_owned(),
        "heartbeat_clock_jumps_total{direction=\"back\"}".to_owned(),
        "heartbeat_blind_seconds_total{cause=\"pause\"}".to_owned(),
        "heartbeat_receiver_requests_total{api=\"kuma\",code=\"404\"}".to_owned(),
    ] {
        assert!(story.has(&format!("{line} 0")), "{line}");
    }
    story.send("a", Signal::Fail).await.unwrap();
    assert!(story.has(&format!("heartbeat_pings_total{{{identity},signal=\"fail\"}} 1")));
    // Another process without the store: everything from zero, no jump.
    let lost = Story::new(vec![every("a", 60, 60)]);
    assert!(lost.has(&format!("heartbeat_state_changes_total{{{identity},to=\"down\"}} 0")));
}

#[tokio::test]
async fn s2_the_dead_stay_on_the_list() {
    let story = Story::new(vec![every("a", 60, 60)]);
    story.ping("a").await;
    story.live(121).await;
    let deadline = story.view("a").status.deadline.unwrap();
    for profile in [Profile::Full, Profile::Minimal] {
        let lines = story.metrics(profile);
        let of = |name: &str| lines.iter().find(|line| line.starts_with(name)).cloned();
        assert_eq!(of("heartbeat_up{").unwrap(), "heartbeat_up{namespace=\"default\",heartbeat=\"a\"} 0");
        assert!(of("heartbeat_deadline_timestamp_seconds{").is_some());
    }
    story.clock.pass(4);
    for _ in 0..1000 {
        story.clock.pass(4);
        story.registry.tick().await;
    }
    let view = story.view("a");
    assert_eq!((view.status.state, view.status.deadline), (State::Down, Some(deadline)));
    assert_eq!(view.record.counts.changes.get(State::Down), 1);
}

#[tokio::test]
async fn h1_receivers_that_share_a_store_agree() {
    let here = Story::new(vec![every("a", 60, 60)]);
    let there = Story::new(vec![every("a", 60, 60)]);
    here.ping("a").await;
    there.live(30).await;
    there.ping("a").await;
    let (changes, receiver) = mpsc::channel(4);
    let (key, value) = there.store.recovered().records.remove(0);
    for value in [value.to_vec(), b"{".to_vec()] {
        let change = crate::heartbeat::store::Change::Entry {
            kind: Kind::Record,
            key: key.clone(),
            value: Some(value.into()),
        };
        changes.send(change).await.unwrap();
    }
    drop(changes);
    here.registry.follow(receiver).await;
    let (ours, theirs) = (here.view("a"), there.view("a"));
    assert_eq!(ours.status.deadline, theirs.status.deadline);
    assert_eq!(ours.record.counts.signals.get(Signal::Success), 1, "the largest, not the sum");
    here.live(121).await;
    assert_eq!(here.state("a"), State::Late, "the signal at the other one counts");
}

#[tokio::test]
async fn receivers_know_for_how_long_they_have_not_heard_of_each_other() {
    let story = Story::new(Vec::new());
    let receiver = |name: &str, is_present| Change::Receiver { name: name.into(), is_present };
    let mark = |name: &str, mark: &[u8]| {
        let value = Some(mark.into());
        Change::Entry { kind: Kind::Mark, key: name.into(), value }
    };
    let lags = || -> Vec<String> {
        let lines = story.metrics(Profile::Full).into_iter();
        lines
            .filter_map(|line| Some(line.strip_prefix("heartbeat_replica_lag_seconds")?.to_owned()))
            .collect()
    };
    assert_eq!(lags(), [""; 0]);
    story.hear(receiver("b", true)).await;
    story.hear(receiver("host:9115", true)).await;
    story.clock.pass(7);
    story.hear(mark("host:9115", b"1")).await;
    // Of a process that is gone; nobody has told that it came back.
    story.hear(mark("old", b"1")).await;
    story.clock.pass(2);
    // The wall clock has no part in it.
    story.clock.step(3600);
    assert_eq!(lags(), [r#"{peer="b"} 9"#, r#"{peer="host:9115"} 2"#]);
    // What is read once more says nothing new; nor that it is still there.
    story.hear(mark("host:9115", b"1")).await;
    story.hear(receiver("host:9115", true)).await;
    story.hear(mark("b", b"1")).await;
    story.hear(mark("b", b"2")).await;
    assert_eq!(lags(), [r#"{peer="b"} 0"#, r#"{peer="host:9115"} 2"#]);
    story.hear(receiver("b", false)).await;
    assert_eq!(lags(), [r#"{peer="host:9115"} 2"#]);
}

#[tokio::test]
async fn s2_nodes_that_hold_a_key_by_a_lease_are_watched_over_a_restart() {
    let mut story = Story::new(vec![every("node", 60, 60), every("other", 60, 60)]);
    let presence = |key: &str, is_present| Change::Presence { key: key.into(), is_present };
    for key in ["default/node", "default/other", "default/unknown", "no key at all"] {
        story.hear(presence(key, true)).await;
    }
    assert_eq!((story.state("node"), story.registry.len()), (State::Up, 2));
    // A signal in flight does not bring back what vanishes meanwhile.
    story.store.hold();
    let heartbeat = story.heartbeat("node");
    let event = Event::new(Signal::Start, story.registry.now());
    let sending = story.registry.accept(&heartbeat, event, None);
    let vanishing = async {
        tokio::task::yield_now().await;
        story.hear(presence("default/node", false)).await;
        story.store.let_go(Ok(()));
    };
    tokio::join!(sending, vanishing).0.unwrap();
    assert_eq!(story.view("node").status.reason, Some(Reason::RegistryLost));
    assert!(
        story.has(r#"heartbeat_down_reason{namespace="default",heartbeat="node",reason="registry_lost"} 1"#)
    );
    story.store.0.lock().unwrap().holds = false;
    story.live(1).await;

    // The node is back while nobody looks; the other one is gone.
    story.store.0.lock().unwrap().present = vec!["default/node".into()];
    story.restart(10);
    assert_eq!(story.view("other").status.reason, Some(Reason::RegistryLost));
    story.hear(presence("default/node", true)).await;
    assert_eq!(story.state("node"), State::Running);
    story.live(1).await;
    story.restart(10);
    assert_eq!((story.state("node"), story.state("other")), (State::Running, State::Down));
}
