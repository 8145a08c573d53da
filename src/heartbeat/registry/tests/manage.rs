//! Heartbeats found, made, changed and removed.

use super::*;
use crate::config::sections::heartbeats::{Provision, Service};

fn with_addresses(name: &str, uuid: &str, id: &str, token: &str) -> Declared {
    Declared {
        uuid: Some(TokenHash::of_uuid(uuid)),
        id: Some(id.to_owned()),
        token: Some(TokenHash::of(token)),
        ..Declared::new(every(name, 60, 60))
    }
}

#[tokio::test]
async fn every_address_leads_to_its_heartbeat() {
    let story = Story::with(Vec::new(), |settings| {
        settings.ping_key = Some(TokenHash::of("pk"));
        settings.declared = vec![
            with_addresses("a", "5C1F0000-0000-4000-8000-000000000001", "60y4E", "hush"),
            Declared::new(every("x/one", 60, 60)),
            Declared::new(every("x/two", 60, 60)),
            Declared::new(every("y/two", 60, 60)),
            Declared::new(every("y/a", 60, 60)),
        ];
    });
    let key = |name: &str| name.parse::<Key>().unwrap();
    let (a, none) = (key("a"), key("none"));
    let slug = |ping_key, slug| Lookup::Slug { ping_key, slug };
    let cases = [
        (Lookup::Key(&a), Ok("default/a")),
        (Lookup::Key(&none), Err(NotFound::Unknown)),
        (Lookup::Uuid("5c1f0000-0000-4000-8000-000000000001"), Ok("default/a")),
        (Lookup::Uuid("5c1f0000-0000-4000-8000-000000000002"), Err(NotFound::Unknown)),
        (Lookup::Id("60y4E"), Ok("default/a")),
        (Lookup::Id("60Y4E"), Err(NotFound::Unknown)),
        (Lookup::Token("hush"), Ok("default/a")),
        (Lookup::Token("Hush"), Err(NotFound::Unknown)),
        (slug("pk", "one"), Ok("x/one")),
        (slug("pk", "a"), Ok("default/a")),
        (slug("pk", "two"), Err(NotFound::Ambiguous)),
        (slug("no", "one"), Err(NotFound::Unknown)),
        (slug("", "one"), Err(NotFound::Unknown)),
    ];
    for (lookup, want) in cases {
        let found = story.registry.find(lookup).map(|heartbeat| heartbeat.key().to_string());
        assert_eq!(found, want.map(str::to_owned), "{lookup:?}");
    }
    let heartbeat = story.heartbeat("a");
    assert!(heartbeat.has_token("hush") && !heartbeat.has_token("hus") && !heartbeat.has_token(""));
    assert!(!story.heartbeat("x/one").has_token(""));
    assert!(!format!("{:?}", story.registry).contains("hush"));
}

#[tokio::test]
async fn definitions_of_the_api_survive_and_the_file_wins() {
    let mut story = Story::new(vec![every("file", 60, 60)]);
    let define = |name: &str, seconds: i64| {
        (Declared::new(every(name, seconds, 60)), seconds.to_string().into_bytes().into())
    };
    let (declared, written) = define("api", 300);
    let defined = story.registry.define(declared, written, How::Create).await.unwrap();
    assert!(defined.is_new && defined.heartbeat.origin() == Origin::Api);
    story.ping("api").await;
    let cases = [
        ("api", How::Create, DefineError::Exists),
        ("none", How::Replace, DefineError::Unknown),
        ("file", How::Put, DefineError::File),
    ];
    for (name, how, want) in cases {
        let (declared, written) = define(name, 1);
        assert_eq!(story.registry.define(declared, written, how).await.unwrap_err(), want);
    }
    let (declared, written) = define("api", 600);
    assert!(!story.registry.define(declared, written, How::Put).await.unwrap().is_new);
    assert_eq!(story.view("api").record.counts.signals.get(Signal::Success), 1);
    story.restart(1);
    let period = |story: &Story, name: &str| {
        story.view(name).declared.definition.schedule.period().unwrap().num_seconds()
    };
    assert_eq!((period(&story, "api"), story.state("api")), (600, State::Up));

    // The file takes the name and gives it back.
    story.registry.reload(settings(vec![every("api", 30, 60)]));
    assert_eq!((period(&story, "api"), story.heartbeat("api").origin()), (30, Origin::File));
    assert_eq!(story.registry.remove(&"api".parse().unwrap()).await, Err(DefineError::File));
    story.registry.reload(settings(Vec::new()));
    assert_eq!((period(&story, "api"), story.heartbeat("api").origin()), (600, Origin::Api));
    assert_eq!(story.registry.len(), 1, "nothing defines the other one any more");

    let gone = story.heartbeat("api");
    story.store.set_broken(true);
    assert!(matches!(story.registry.remove(gone.key()).await, Err(DefineError::Refused(_))));
    story.store.set_broken(false);
    story.ping("api").await;
    story.registry.remove(gone.key()).await.unwrap();
    let event = Event::new(Signal::Success, story.registry.now());
    assert_eq!(story.registry.accept(&gone, event, None).await, Err(Refused::Gone));
    assert!(story.store.recovered().records.iter().all(|(key, _)| &**key != "default/api"));
    assert_eq!(story.registry.remove(gone.key()).await, Err(DefineError::Unknown));
}

#[tokio::test]
async fn f17_only_allowed_names_make_themselves_and_only_so_many() {
    let provision = Provision {
        patterns: vec!["cron-*".to_owned()],
        limit: 2,
        template: Service { cron: "@hourly".to_owned(), ..Service::default() },
    };
    let mut story =
        Story::with(Vec::new(), |settings| settings.provision = Some(Box::new(provision.clone())));
    let provision = |name: &str| {
        let key: Key = name.parse().unwrap();
        let registry = &story.registry;
        async move { registry.provision(&key).await.map(|defined| defined.is_new) }
    };
    assert_eq!(provision("other").await, Err(DefineError::Unknown));
    assert_eq!(provision("cron-a").await, Ok(true));
    assert_eq!(provision("cron-a").await, Ok(false));
    assert_eq!(provision("cron-b").await, Ok(true));
    assert_eq!(provision("cron-c").await, Err(DefineError::Full(2)));
    let settings =
        Settings { provision: story.registry.settings().provision.clone(), ..settings(Vec::new()) };
    story.restart(1);
    assert_eq!(story.registry.len(), 0, "the configuration has no template any more");
    let recovered = story.store.recovered();
    let keep = Arc::clone(&story.store) as Arc<dyn Keep>;
    let clock = Arc::clone(&story.clock) as Arc<dyn Clock>;
    (story.registry, story.misses) = Registry::open(settings, parse, keep, recovered, clock);
    assert_eq!(story.heartbeat("cron-b").origin(), Origin::Template);
}

#[tokio::test]
async fn pauses_silence_and_end() {
    let story = Story::new(vec![every("a", 60, 60)]);
    story.ping("a").await;
    let until = story.registry.now() + TimeDelta::seconds(600);
    assert_eq!(story.registry.pause(&story.heartbeat("a"), Some(until)).await.unwrap().state, State::Paused);
    story.live(599).await;
    let lines = story.metrics(Profile::Full);
    assert!(
        !lines.iter().any(|line| line.starts_with("heartbeat_deadline") || line.starts_with("heartbeat_up"))
    );
    story.live(2).await;
    assert_eq!((story.state("a"), story.view("a").record.pause), (State::Up, None));
    story.live(119).await;
    assert_eq!(story.state("a"), State::Down);
    story.registry.pause(&story.heartbeat("a"), None).await.unwrap();
    assert_eq!(story.registry.resume(&story.heartbeat("a")).await.unwrap().state, State::Up);
}
