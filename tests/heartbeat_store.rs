//! The embedded store against SIGKILL and full disks. The processes that write are this program again.
//!
//! With `--ignored`: 200 rounds rather than 10, and a file system that is really full (needs root).
//! `measure FOLDER` prints how fast the store is there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use heartbeat_exporter::heartbeat::store::{
    EmbeddedSettings, Kind, Recovered, Settings, Store, StoreError, StoreMetrics, Write,
};
use rand::Rng as _;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["writer", path] => writer(Path::new(path)),
        ["filler", path, room] => filler(Path::new(path), room),
        ["measure", folder] => measure(Path::new(folder)),
        _ if arguments.iter().any(|argument| argument == "--list") => {}
        _ => {
            let is_long = arguments.iter().any(|argument| argument.ends_with("ignored"));
            let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
            let run = |name: &str, test: &dyn Fn()| {
                if wanted.is_none_or(|wanted| name.contains(wanted.as_str())) {
                    test();
                    println!("test {name} ... ok");
                }
            };
            run("r4_what_is_acknowledged_survives_sigkill", &|| {
                r4_what_is_acknowledged_survives_sigkill(if is_long { 200 } else { 10 })
            });
            run("a_file_that_may_not_grow_is_an_error_until_it_may", &file_size_limit);
            if is_long {
                run("a_full_disk_is_an_error_until_there_is_room", &full_disk);
            }
        }
    }
    ExitCode::SUCCESS
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn open(path: &Path) -> (Store, Recovered) {
    let settings = Settings::Embedded(EmbeddedSettings::new(path));
    let opened = Store::open(settings, Arc::new(StoreMetrics::default())).await.unwrap();
    (opened.store, opened.recovered)
}

fn itself() -> Command {
    Command::new(env::current_exe().unwrap())
}

/// Jobs that check in at the same time.
const JOBS: usize = 32;

/// Counts up the records of all jobs and prints what has been acknowledged, until it is killed.
fn writer(path: &Path) {
    runtime().block_on(async {
        let (store, recovered) = open(path).await;
        let counts = counts(&recovered);
        let mut jobs = JoinSet::new();
        for job in 0..JOBS {
            let (store, key) = (store.clone(), format!("ns/{job}"));
            let mut count = counts.get(key.as_str()).copied().unwrap_or_default();
            jobs.spawn(async move {
                loop {
                    count += 1;
                    let text = count.to_string();
                    let mut writes = vec![Write::set(Kind::Record, key.as_str(), text.as_bytes())];
                    match count % 7 {
                        0 => writes.push(Write::set(Kind::Definition, key.as_str(), text.as_bytes())),
                        1 => writes.push(Write::remove(Kind::Definition, key.as_str())),
                        2 => {
                            writes.push(Write::Body {
                                key: key.as_str().into(),
                                value: vec![b'b'; 3000].into(),
                            });
                        }
                        3 => writes.push(Write::set(Kind::Mark, "me", text.as_bytes())),
                        _ => {}
                    }
                    store.commit(writes).unwrap().durable().await.unwrap();
                    // One write of few bytes to a pipe is never torn.
                    std::io::stdout().write_all(format!("{key} {count}\n").as_bytes()).unwrap();
                }
            });
        }
        jobs.join_all().await;
    });
}

fn counts(recovered: &Recovered) -> HashMap<String, u64> {
    let parse = |value: &[u8]| std::str::from_utf8(value).unwrap().parse().unwrap();
    recovered.records.iter().map(|(key, value)| (key.to_string(), parse(value))).collect()
}

fn r4_what_is_acknowledged_survives_sigkill(rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let runtime = runtime();
    let mut acknowledged = HashMap::new();
    let mut before = HashMap::new();
    let (mut total, mut lost, mut torn, mut slowest) = (0_u64, 0_u64, 0, Duration::ZERO);
    for round in 0..rounds {
        let mut child = itself().arg("writer").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (first, begun) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut lines = Vec::new();
            // What the process wrote before its death is in the pipe.
            for line in output.lines() {
                lines.push(line.unwrap());
                let _ = first.send(());
            }
            lines
        });
        begun.recv_timeout(Duration::from_secs(60)).expect("the writer acknowledges something");
        thread::sleep(Duration::from_micros(rand::rng().random_range(0..100_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let lines = reader.join().unwrap();
        total += lines.len() as u64;
        for line in lines {
            let (key, count) = line.split_once(' ').unwrap();
            acknowledged.insert(key.to_owned(), count.parse::<u64>().unwrap());
        }
        let started = Instant::now();
        runtime.block_on(async {
            let (store, recovered) = open(&path).await;
            slowest = slowest.max(started.elapsed());
            // A commit that was being written may be incomplete, and nothing else.
            assert!(recovered.loss.as_ref().is_none_or(|loss| loss.moved_to.is_none()), "round {round}");
            torn += usize::from(recovered.loss.is_some());
            let found = counts(&recovered);
            for (key, acknowledged) in &acknowledged {
                let found = found.get(key).copied().unwrap_or_default();
                lost += acknowledged.saturating_sub(found);
                assert!(
                    found >= *acknowledged,
                    "round {round}: {key} is {found}, acknowledged {acknowledged}"
                );
            }
            // One may have been written and not yet acknowledged, in each round.
            let known =
                |key: &String| acknowledged.get(key).max(before.get(key)).copied().unwrap_or_default();
            let ahead = |(key, found): (&String, &u64)| found - known(key) <= 1;
            assert!(found.iter().all(ahead), "round {round}");
            before = found;
            assert!(store.bodies("ns/0").await.unwrap().len() <= 10);
            store.close(Duration::from_secs(60)).await;
        });
    }
    println!(
        "{rounds} rounds: acknowledged={total} lost={lost} torn={torn} slowest_open_ms={}",
        slowest.as_millis()
    );
}

/// Writes until it fails, makes room as told, and goes on.
fn filler(path: &Path, room: &str) {
    runtime().block_on(async {
        let (store, recovered) = open(path).await;
        assert_eq!(recovered, Recovered::default());
        let value = vec![b'v'; 2000];
        let mut durable = Vec::new();
        let write = async |count: usize| {
            let writes = vec![Write::set(Kind::Record, format!("ns/{count}"), value.clone())];
            store.commit(writes)?.durable().await
        };
        let failed = loop {
            match write(durable.len()).await {
                Ok(()) => durable.push(format!("ns/{}", durable.len())),
                Err(error) => break error,
            }
            assert!(durable.len() < 10_000, "there is no limit here");
        };
        assert!(matches!(failed, StoreError::Broken(_)), "{failed}");
        assert!(failed.retry_after().is_some());
        // As long as there is no room, nothing waits and nothing is accepted.
        let started = Instant::now();
        let (mut refused, mut accepted) = (0, 0);
        while started.elapsed() < Duration::from_secs(3) {
            let asked = Instant::now();
            let count = durable.len();
            match write(count).await {
                Ok(()) => {
                    accepted += 1;
                    durable.push(format!("ns/{count}"));
                }
                Err(StoreError::Broken(_)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        match room {
            "limit" => {
                let (_, hard) = rlimit::Resource::FSIZE.get().unwrap();
                rlimit::Resource::FSIZE.set(hard, hard).unwrap();
            }
            file => fs::remove_file(file).unwrap(),
        }
        let started = Instant::now();
        while write(durable.len()).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "it does not recover");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        durable.push(format!("ns/{}", durable.len()));
        let recovered_after = started.elapsed();
        store.close(Duration::from_secs(60)).await;
        let (_store, recovered) = open(path).await;
        assert_eq!(recovered.loss, None);
        let found = counts_of_keys(&recovered);
        let lost = durable.iter().filter(|key| !found.contains(key.as_str())).count();
        assert_eq!(lost, 0);
        println!(
            "{failed}: acknowledged={} lost={lost} refused={refused} accepted_meanwhile={accepted} \
             recovered_after_ms={}",
            durable.len(),
            recovered_after.as_millis()
        );
    });
}

fn counts_of_keys(recovered: &Recovered) -> std::collections::HashSet<&str> {
    recovered.records.iter().map(|(key, _)| &**key).collect()
}

fn file_size_limit() {
    let dir = tempfile::tempdir().unwrap();
    // Blocks of 512 bytes; only the soft limit, and the signal is ignored, as it is inherited.
    let script = "trap '' XFSZ; ulimit -S -f 6000; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-ec", script]).arg(env::current_exe().unwrap());
    let status = command.arg("filler").arg(dir.path().join("store")).arg("limit").status().unwrap();
    assert!(status.success());
}

fn full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=6m tmpfs \"$1\"; head -c 2m /dev/zero >\"$1/file\"; \
                  exec \"$0\" filler \"$1/store\" \"$1/file\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script]).arg(env::current_exe().unwrap()).arg(dir.path());
    assert!(command.status().unwrap().success(), "needs root");
}

/// Prints throughput, latency, recovery and memory.
fn measure(folder: &Path) {
    let path = folder.join("measure.redb");
    let _ = fs::remove_file(&path);
    let value: Vec<u8> = vec![b'v'; 150];
    for jobs in [1, 100, 1000] {
        runtime().block_on(async {
            let (store, _) = open(&path).await;
            let until = Instant::now() + Duration::from_secs(5);
            let tasks = (0..jobs).map(|job| {
                let (store, value) = (store.clone(), value.clone());
                tokio::spawn(async move {
                    let mut took = Vec::new();
                    while Instant::now() < until {
                        let key = format!("ns/{}", (job * 37 + took.len() * 7919) % 20_000);
                        let started = Instant::now();
                        let commit = store.commit(vec![Write::set(Kind::Record, key, value.clone())]);
                        commit.unwrap().durable().await.unwrap();
                        took.push(started.elapsed());
                    }
                    took
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let mut took = Vec::new();
            for task in tasks {
                took.extend(task.await.unwrap());
            }
            took.sort_unstable();
            let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
            println!(
                "concurrency {jobs}: {} durable upserts/s, p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
                took.len() / 5,
                at(0.5),
                at(0.99),
                at(1.0)
            );
            store.close(Duration::from_secs(60)).await;
        });
    }
    let _ = fs::remove_file(&path);
    runtime().block_on(async {
        let (store, _) = open(&path).await;
        let started = Instant::now();
        let commits: Vec<_> = (0..100_000)
            .map(|n| {
                store.commit(vec![Write::set(Kind::Record, format!("ns/job-{n}"), value.clone())]).unwrap()
            })
            .collect();
        let queued = started.elapsed();
        for commit in commits {
            commit.durable().await.unwrap();
        }
        println!("burst of 100,000: queued {queued:?}, durable {:?}", started.elapsed());
        let definitions = (0..100_000).map(|n| {
            store.commit(vec![Write::set(Kind::Definition, format!("ns/job-{n}"), value.clone())]).unwrap()
        });
        for commit in definitions.collect::<Vec<_>>() {
            commit.durable().await.unwrap();
        }
        // As a crash leaves it.
        fs::copy(&path, path.with_extension("crashed")).unwrap();
        store.close(Duration::from_secs(60)).await;
    });
    println!("file: {} bytes", fs::metadata(&path).unwrap().len());
    memory("after writing");
    for (name, path) in [("closed", path.clone()), ("crashed", path.with_extension("crashed"))] {
        recovery(name, &path);
    }
    let crashed = path.with_extension("crashed");
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length * 9 / 10).unwrap();
    recovery("cut by a tenth", &path);
    for path in [path, crashed] {
        fs::remove_file(path).unwrap();
    }
}

fn recovery(name: &str, path: &Path) {
    runtime().block_on(async {
        let started = Instant::now();
        let (_store, recovered) = open(path).await;
        println!(
            "{name}: {} definitions and {} records read in {:?}, loss {:?}",
            recovered.definitions.len(),
            recovered.records.len(),
            started.elapsed(),
            recovered.loss
        );
        memory("with all in memory");
    });
}

fn memory(when: &str) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let lines: Vec<_> =
        status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM")).collect();
    println!("memory {when}: {}", lines.join(", ").replace(['\t', ' '], ""));
}
