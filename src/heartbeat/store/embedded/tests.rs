//! The file: what survives, what is refused, and what is left of a damaged one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::super::{Entry, Kind, Loss, Settings, Write};
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

async fn start(settings: &EmbeddedSettings) -> (Store, Recovered, Arc<StoreMetrics>) {
    let metrics = Arc::new(StoreMetrics::default());
    let opened = Store::open(Settings::Embedded(settings.clone()), Arc::clone(&metrics)).await.unwrap();
    assert!(opened.changes.is_none());
    (opened.store, opened.recovered, metrics)
}

async fn write(store: &Store, writes: Vec<Write>) -> Result<(), StoreError> {
    store.commit(writes)?.durable().await
}

fn entry(key: &str, value: &str) -> Entry {
    (key.into(), value.as_bytes().into())
}

fn expect(key: &str, value: Option<&str>) -> Write {
    Write::Expect { key: key.into(), value: value.map(|value| value.as_bytes().into()) }
}

#[tokio::test]
async fn what_is_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let settings = EmbeddedSettings::new(dir.path().join("store"));
    let (store, recovered, _) = start(&settings).await;
    assert_eq!(recovered, Recovered::default());
    use Kind::{Definition, Mark, Record};
    // All in the queue before the first is written: the order of one key must survive the grouping.
    let commits = [
        vec![Write::set(Definition, "a/x", *b"d1"), Write::set(Record, "a/x", *b"r1")],
        vec![Write::set(Record, "a/x", *b"r2"), Write::set(Mark, "me", *b"m1")],
        vec![Write::set(Record, "a/gone", *b"r"), Write::set(Definition, "a/gone", *b"d")],
        vec![Write::remove(Record, "a/gone"), Write::remove(Definition, "a/gone")],
        vec![Write::remove(Record, "a/never"), Write::set(Record, "a/x", *b"r3")],
    ];
    let commits: Vec<_> = commits.into_iter().map(|writes| store.commit(writes).unwrap()).collect();
    for commit in commits {
        commit.durable().await.unwrap();
    }
    store.close(PATIENCE).await;
    assert_eq!(write(&store, vec![]).await, Err(StoreError::Closed));
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["store"]);

    let (store, recovered, _) = start(&settings).await;
    let want = Recovered {
        definitions: vec![entry("a/x", "d1")],
        records: vec![entry("a/x", "r3")],
        marks: vec![entry("me", "m1")],
        present: Vec::new(),
        loss: None,
    };
    assert_eq!(recovered, want);
    store.close(PATIENCE).await;
}

#[tokio::test]
async fn a_definition_changes_only_when_it_is_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let settings = EmbeddedSettings::new(dir.path().join("store"));
    let (store, ..) = start(&settings).await;
    let set = |value: &str| Write::set(Kind::Definition, "a/x", value.as_bytes());
    let cases = [
        (vec![expect("a/x", Some("0")), set("1")], Err(StoreError::Conflict)),
        (vec![expect("a/x", None), set("1")], Ok(())),
        (vec![expect("a/x", None), set("2")], Err(StoreError::Conflict)),
        (vec![set("3"), expect("a/x", Some("2"))], Err(StoreError::Conflict)),
        (vec![expect("a/x", Some("1")), set("4"), Write::set(Kind::Record, "a/x", *b"r")], Ok(())),
    ];
    // In one group: each sees what those before it did, and those refused did nothing.
    let all: Vec<_> = cases.iter().map(|(writes, _)| store.commit(writes.clone()).unwrap()).collect();
    for (commit, (writes, want)) in all.into_iter().zip(cases) {
        assert_eq!(commit.durable().await, want, "{writes:?}");
    }
    store.close(PATIENCE).await;
    let (_store, recovered, _) = start(&settings).await;
    assert_eq!(recovered.definitions, [entry("a/x", "4")]);
    assert_eq!(recovered.records, [entry("a/x", "r")]);
}

#[tokio::test]
async fn bodies_are_bounded_for_each_heartbeat_and_together() {
    let dir = tempfile::tempdir().unwrap();
    let settings =
        EmbeddedSettings { bodies: 3, body_bytes: 40, ..EmbeddedSettings::new(dir.path().join("store")) };
    let (store, _, metrics) = start(&settings).await;
    let body = |key: &str, value: &str| Write::Body { key: key.into(), value: value.as_bytes().into() };
    for round in 0..5 {
        // Two in one commit, and a key that begins like another.
        write(&store, vec![body("a/x", &format!("{round}.0")), body("a/x", &format!("{round}.1"))])
            .await
            .unwrap();
        write(&store, vec![body("a/xy", &format!("y{round}"))]).await.unwrap();
    }
    let bodies = async |store: &Store, key: &str| -> Vec<String> {
        let found = store.bodies(key).await.unwrap();
        found.into_iter().map(|body| String::from_utf8(body.into()).unwrap()).collect()
    };
    assert_eq!(bodies(&store, "a/x").await, ["3.1", "4.0", "4.1"]);
    assert_eq!(bodies(&store, "a/xy").await, ["y2", "y3", "y4"]);
    // 15 bytes are taken. What does not fit beside all others takes the place of its own heartbeat's.
    write(&store, vec![body("a/x", &"x".repeat(30))]).await.unwrap();
    assert_eq!(bodies(&store, "a/x").await, ["x".repeat(30)]);
    write(&store, vec![body("a/z", "01234567890")]).await.unwrap();
    assert_eq!((bodies(&store, "a/z").await.len(), metrics.failures(Op::Body)), (0, 1));
    store.close(PATIENCE).await;

    let (store, ..) = start(&settings).await;
    assert_eq!(bodies(&store, "a/xy").await, ["y2", "y3", "y4"]);
    write(&store, vec![Write::ForgetBodies { key: "a/x".into() }, body("a/z", "01234567890")]).await.unwrap();
    assert_eq!((bodies(&store, "a/x").await.len(), bodies(&store, "a/z").await.len()), (0, 1));
}

#[tokio::test]
async fn what_cannot_be_opened_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let open = async |path: &Path| {
        Store::open(Settings::Embedded(EmbeddedSettings::new(path)), Arc::default()).await.unwrap_err()
    };
    let text = "# not a database, but somebody's configuration\n".repeat(200);
    fs::write(path("text"), &text).unwrap();
    let foreign = redb::Database::create(path("foreign")).unwrap();
    let transaction = foreign.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("other")).unwrap();
    transaction.commit().unwrap();
    drop(foreign);
    let (_store, ..) = start(&EmbeddedSettings::new(path("used"))).await;
    let dir = dir.path().display();
    let cases = [
        (
            "none/store",
            format!("cannot open the heartbeat store {dir}/none/store: {dir}/none is not a folder"),
        ),
        ("", format!("cannot open the heartbeat store {dir}/: it is not a file")),
        (
            "text",
            format!(
                "cannot open the heartbeat store {dir}/text: it is damaged (Not a redb database: magic number \
                 mismatch), and nothing in it says that it is a heartbeat store"
            ),
        ),
        (
            "foreign",
            format!(
                "cannot open the heartbeat store {dir}/foreign: it is a database with a table \"other\", but not ours"
            ),
        ),
        ("used", format!("the heartbeat store {dir}/used is in use by another process")),
    ];
    for (name, want) in cases {
        assert_eq!(open(&path(name)).await.to_string(), want);
    }
    assert_eq!(fs::read_to_string(path("text")).unwrap(), text);
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = EmbeddedSettings::new(dir.path().join("store"));
    start(&settings).await.0.close(PATIENCE).await;
    let database = redb::Database::open(&settings.path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut stored = Vec::new();
    let later = frame::Frame { slot: frame::Slot::Meta, commit: 9, key: "", value: b"{\"schema\":2}" };
    later.encode(&mut stored);
    transaction.open_table(tables::ENTRIES).unwrap().insert([0].as_slice(), stored.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    for _ in 0..2 {
        let error = Store::open(Settings::Embedded(settings.clone()), Arc::default()).await.unwrap_err();
        assert_eq!(error, StoreError::Newer { path: settings.path.clone(), found: 2, known: 1 });
        // Nor when it is damaged.
        let length = fs::metadata(&settings.path).unwrap().len();
        fs::OpenOptions::new().write(true).open(&settings.path).unwrap().set_len(length - 4096).unwrap();
    }
}

#[tokio::test]
async fn a_file_that_was_removed_is_written_anew_and_one_that_was_replaced_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let settings = EmbeddedSettings::new(dir.path().join("store"));
    let (store, ..) = start(&settings).await;
    let set = |key: &str| vec![Write::set(Kind::Record, key, *b"r")];
    write(&store, set("a/1")).await.unwrap();
    fs::remove_file(&settings.path).unwrap();
    write(&store, set("a/2")).await.unwrap();
    assert_eq!((store.backend(), store.is_connected()), ("embedded", true));
    let image = fs::read(&settings.path).unwrap();
    fs::rename(&settings.path, dir.path().join("aside")).unwrap();
    fs::write(&settings.path, &image).unwrap();
    let refused = StoreError::Broken("I/O error: another file has taken its place".into());
    assert_eq!(write(&store, set("a/3")).await, Err(refused.clone()));
    assert_eq!(store.commit(set("a/4")).unwrap_err(), refused);
    assert!(!store.is_connected());
    fs::rename(dir.path().join("aside"), &settings.path).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while write(&store, set("a/5")).await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(REFUSE).await;
    }
    assert!(store.is_connected());
    store.close(PATIENCE).await;
    let (_store, recovered, _) = start(&settings).await;
    let keys: Vec<_> = recovered.records.iter().map(|(key, _)| &**key).collect();
    assert_eq!(keys, ["a/1", "a/2", "a/5"]);
}

/// `None`: removed.
type Value = Option<Box<[u8]>>;

/// A store with a history: every value ever written, by key, and the state at its end.
struct History {
    ever: BTreeMap<Box<str>, Vec<Value>>,
    /// As a crash leaves it.
    crashed: Vec<u8>,
    /// As `close` leaves it.
    closed: Vec<u8>,
}

impl History {
    async fn new(dir: &Path) -> Self {
        let settings = EmbeddedSettings::new(dir.join("history"));
        let (store, ..) = start(&settings).await;
        let mut random = StdRng::seed_from_u64(1);
        let mut ever: BTreeMap<Box<str>, Vec<_>> = BTreeMap::new();
        for commit in 0..60 {
            let mut writes = Vec::new();
            for _ in 0..20 {
                let key: Box<str> = format!("ns/{}", random.random_range(0..200)).into();
                let length = if random.random_range(0..50) == 0 { 9000 } else { 120 };
                let value = format!("{key} {commit} {}", "v".repeat(random.random_range(1..length)));
                let value: Value = (random.random_range(0..10) > 0).then(|| value.into_bytes().into());
                writes.retain(|write| !matches!(write, Write::Set { key: other, .. } if *other == key));
                writes.push(Write::Set { kind: Kind::Record, key, value });
            }
            for write in &writes {
                let Write::Set { key, value, .. } = write else { continue };
                ever.entry(key.clone()).or_default().push(value.clone());
            }
            write(&store, writes).await.unwrap();
        }
        let crashed = fs::read(&settings.path).unwrap();
        store.close(PATIENCE).await;
        Self { ever, crashed, closed: fs::read(&settings.path).unwrap() }
    }

    fn now(&self) -> Vec<Entry> {
        let latest =
            self.ever.iter().filter_map(|(key, values)| Some((key.clone(), values.last()?.clone()?)));
        latest.collect()
    }

    /// Opens a damaged image; whatever is recovered must have been written once, and what is missing or old
    /// must be counted. Returns whether all was there, and what was reported.
    fn judge(&self, dir: &Path, image: &[u8], what: &str) -> (usize, usize, Option<Loss>) {
        let settings = EmbeddedSettings::new(dir.join("damaged"));
        fs::write(&settings.path, image).unwrap();
        let metrics = StoreMetrics::default();
        let (mut file, recovered) =
            load(&settings, &metrics).unwrap_or_else(|error| panic!("{what}: {error}"));
        let now = self.now();
        let current: BTreeMap<_, _> = now.iter().map(|(key, value)| (key, value)).collect();
        let mut older = 0;
        for (key, value) in &recovered.records {
            let values = &self.ever[key];
            assert!(values.contains(&Some(value.clone())), "{what}: {key} never had this value");
            older += usize::from(current.get(key) != Some(&value));
        }
        let found: std::collections::HashSet<_> = recovered.records.iter().map(|(key, _)| key).collect();
        let missing = now.iter().filter(|(key, _)| !found.contains(key)).count();
        match &recovered.loss {
            None => assert_eq!((missing, older), (0, 0), "{what}: lost without a word"),
            Some(loss) => {
                if let Some(moved_to) = &loss.moved_to {
                    assert!(fs::read(moved_to).unwrap() == image, "{what}");
                    fs::remove_file(moved_to).unwrap();
                }
                assert!(older as u64 <= loss.maybe_older, "{what}: {older} older, {loss:?}");
                // Nothing of a file that stays is missing but what its latest commit had.
                let records = match loss.moved_to {
                    Some(_) => loss.records,
                    None => Some(0),
                };
                if let Some(records) = records {
                    assert!(
                        missing as u64 <= records + loss.maybe_older,
                        "{what}: {missing} missing, {loss:?}"
                    );
                }
            }
        }
        // It can be written, and is whole from now on.
        file.apply(&[]).unwrap();
        drop(file);
        let (_, again) = load(&settings, &metrics).unwrap();
        assert_eq!((again.records.len(), again.loss), (recovered.records.len(), None), "{what}");
        (missing, older, recovered.loss)
    }
}

#[tokio::test]
async fn r5_a_file_cut_anywhere_keeps_what_is_intact() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::new(dir.path()).await;
    for (name, image) in [("crashed", &history.crashed), ("closed", &history.closed)] {
        assert_eq!(history.judge(dir.path(), image, name), (0, 0, None));
        let last = image.iter().rposition(|byte| *byte != 0).unwrap();
        // Every third page, some halves of pages, and every byte around the last one that is not zero.
        let pages = (0..image.len()).step_by(3 * 4096).flat_map(|at| [at, at + 6144]);
        let cuts = pages.chain(last.saturating_sub(20)..last + 3).chain([1, 8, 9, 100, 511]);
        let mut salvaged = 0;
        let mut total_missing = 0;
        let mut all = 0;
        for cut in cuts.filter(|cut| *cut < image.len()) {
            let (missing, _, loss) =
                history.judge(dir.path(), &image[..cut], &format!("{name} cut at {cut}"));
            salvaged += usize::from(loss.is_some());
            total_missing += missing;
            all += 1;
        }
        println!(
            "{name}: {} bytes, {all} cuts, {salvaged} salvaged, {total_missing} of {} missing",
            image.len(),
            all * history.now().len()
        );
    }
}

#[tokio::test]
async fn r5_a_file_with_bad_bytes_keeps_what_is_intact() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::new(dir.path()).await;
    let mut random = StdRng::seed_from_u64(2);
    for (name, image) in [("crashed", &history.crashed), ("closed", &history.closed)] {
        let (mut salvaged, mut total_missing) = (0, 0);
        let last = image.iter().rposition(|byte| *byte != 0).unwrap();
        const ROUNDS: usize = 80;
        for round in 0..ROUNDS {
            let mut bad = image.clone();
            let at = random.random_range(0..last);
            let what = if round % 2 == 0 {
                bad[at] ^= 1 << random.random_range(0..8);
                format!("{name}, bit of byte {at}")
            } else {
                let page = at / 4096 * 4096;
                let end = (page + 4096).min(bad.len());
                bad[page..end].fill(if round % 4 == 1 { 0 } else { 0xff });
                format!("{name}, page at {page}")
            };
            let (missing, _, loss) = history.judge(dir.path(), &bad, &what);
            salvaged += usize::from(loss.is_some());
            total_missing += missing;
        }
        println!(
            "{name}: {ROUNDS} damages, {salvaged} salvaged, {total_missing} of {} missing",
            ROUNDS * history.now().len()
        );
    }
}
