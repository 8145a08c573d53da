//! `run` and `agent` against our own receiver: what it knows in the end, also when it was away meanwhile.

use std::process::Stdio;
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::support::client::{client, outcome};
use crate::support::exporter::{Dir, Exporter};

/// The password is `pass word`.
const CONFIG: &str = "heartbeats:\n  \
    users: {alice: $2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.}\n  services:\n    \
    nightly: {every: 2h, namespace: batch, max_runtime: 1h}\n    \
    locked: {every: 2h, token: s3cret}\n    \
    node: {every: 2m, alert_on_data: true, values: [load1]}\n";

fn start(dir: Dir, address: &str) -> Exporter {
    Exporter::start_in(dir, &["--config.file=c.yml", &format!("--web.listen-address={address}")])
}

fn receiver() -> Exporter {
    Exporter::start(CONFIG, &[])
}

fn url(exporter: &Exporter) -> String {
    format!("http://{}", exporter.address)
}

/// What the receiver knows of one of its heartbeats.
fn heartbeat(exporter: &Exporter, name: &str) -> Value {
    let list: Value = serde_json::from_str(&exporter.get("/api/v1/heartbeats").text()).unwrap();
    let found = list["heartbeats"].as_array().unwrap().iter().find(|heartbeat| heartbeat["name"] == name);
    found.unwrap().clone()
}

/// Bodies that were kept, newest first.
fn messages(exporter: &Exporter, name: &str) -> Vec<String> {
    let authorization = format!("Basic {}", BASE64.encode(b"alice:pass word"));
    let path = format!("/api/v1/heartbeats/{name}/messages");
    let reply = exporter.request("GET", &path, &[("Authorization", &authorization)]);
    let kept: Value = serde_json::from_str(&reply.text()).unwrap();
    let all = kept["messages"].as_array().unwrap_or_else(|| panic!("{kept}"));
    all.iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect()
}

fn signals(exporter: &Exporter, labels: &str) -> [Option<f64>; 3] {
    ["start", "success", "fail"]
        .map(|signal| exporter.metric(&format!("heartbeat_pings_total{{{labels},signal=\"{signal}\"}}")))
}

#[test]
fn the_receiver_learns_how_a_job_went() {
    let exporter = receiver();
    let run = |script: &str| {
        let args = ["batch/nightly", "--", "sh", "-c", script];
        outcome(client("run", &url(&exporter), &args).output().unwrap())
    };
    const NIGHTLY: &str = "namespace=\"batch\",heartbeat=\"nightly\"";

    assert_eq!(run("echo out; echo err >&2"), (Some(0), "out\n".to_owned(), "err\n".to_owned()));
    let job = heartbeat(&exporter, "nightly");
    assert_eq!(
        [&job["state"], &job["reason"], &job["last_exit_code"], &job["runs_in_progress"]],
        [&json!("up"), &Value::Null, &json!(0), &json!(0)]
    );
    assert!(job["last_run_duration_seconds"].as_f64().unwrap() < 5.0, "{job}");
    assert_eq!(signals(&exporter, NIGHTLY), [Some(1.0), Some(1.0), Some(0.0)]);
    // Two pipes: nobody can say which was first.
    let kept = messages(&exporter, "batch/nightly");
    assert!([["out\nerr\n"], ["err\nout\n"]].iter().any(|want| kept == want), "{kept:?}");

    // A failure, with the end of more output than is kept.
    let (code, stdout, _) = run("seq 1 20000; echo the last words; exit 3");
    assert_eq!((code, stdout.lines().count()), (Some(3), 20_001));
    let job = heartbeat(&exporter, "nightly");
    assert_eq!(
        [&job["state"], &job["reason"], &job["last_exit_code"], &job["runs_in_progress"]],
        [&json!("down"), &json!("failed"), &json!(3), &json!(0)]
    );
    let tail = messages(&exporter, "batch/nightly").remove(0);
    assert!(tail.ends_with("\n20000\nthe last words\n"), "{}", tail.len());
    assert!((8_000..=10_000).contains(&tail.len()), "{}", tail.len());
    assert_eq!(signals(&exporter, NIGHTLY), [Some(2.0), Some(1.0), Some(1.0)]);

    // A command that is killed, and one that does not exist.
    assert_eq!(run("kill -KILL $$").0, Some(137));
    assert_eq!(heartbeat(&exporter, "nightly")["last_exit_code"], 137);
    let mut missing = client("run", &url(&exporter), &["batch/nightly", "--", "no-such-command-at-all"]);
    assert_eq!(outcome(missing.output().unwrap()).0, Some(127));
    assert_eq!(heartbeat(&exporter, "nightly")["last_exit_code"], 127);
    assert_eq!(signals(&exporter, NIGHTLY), [Some(3.0), Some(1.0), Some(3.0)]);
    assert_eq!(run("true").0, Some(0));
    assert_eq!(heartbeat(&exporter, "nightly")["state"], "up");
}

#[test]
fn a_refusal_does_not_touch_the_job() {
    let exporter = receiver();
    let run = |name: &str, token: &str| {
        let mut command = client("run", &url(&exporter), &[name, "--", "sh", "-c", "exit 3"]);
        outcome(command.env("HEARTBEAT_TOKEN", token).output().unwrap())
    };
    let (code, _, stderr) = run("locked", "s3cret");
    assert_eq!((code, stderr.as_str()), (Some(3), ""));
    assert_eq!(heartbeat(&exporter, "locked")["last_exit_code"], 3);
    for (name, token, want) in [("locked", "other", "401"), ("nobody", "s3cret", "404")] {
        let (code, _, stderr) = run(name, token);
        assert_eq!((code, stderr.lines().count()), (Some(3), 1), "{stderr}");
        assert!(stderr.contains(want) && !stderr.contains("other"), "{stderr}");
    }
    assert_eq!(
        signals(&exporter, "namespace=\"default\",heartbeat=\"locked\""),
        [Some(1.0), Some(0.0), Some(1.0)]
    );
}

#[test]
fn what_an_agent_finds_wrong_is_an_alert() {
    let exporter = receiver();
    let report = |options: &[&str]| {
        let mut args = vec!["node", "--once", "--disk=/", "--address=10.0.0.7"];
        args.extend(options);
        outcome(client("agent", &url(&exporter), &args).output().unwrap())
    };
    assert_eq!(report(&[]).0, Some(0));
    let node = heartbeat(&exporter, "node");
    assert_eq!(node["state"], "up");
    // Only what the definition allows.
    let values: Vec<&String> = node["values"].as_object().unwrap().keys().collect();
    assert_eq!(values, ["load1"]);

    assert_eq!(report(&["--process=no-such-process"]).0, Some(0));
    let node = heartbeat(&exporter, "node");
    assert_eq!([&node["state"], &node["reason"]], [&json!("down"), &json!("data")]);
    assert_eq!(node["text"], "10.0.0.7:process:no-such-process");

    // An agent that cannot see is a failure.
    assert_eq!(report(&["--disk=/no/such/place"]).0, Some(1));
    let node = heartbeat(&exporter, "node");
    assert_eq!([&node["state"], &node["reason"]], [&json!("down"), &json!("failed")]);
    assert_eq!(report(&[]).0, Some(0));
    assert_eq!(heartbeat(&exporter, "node")["state"], "up");
}

#[test]
fn a_receiver_that_comes_back_gets_every_report() {
    let mut exporter = receiver();
    let address = exporter.address.to_string();
    let stop = |exporter: &mut Exporter| {
        exporter.signal("TERM");
        assert!(exporter.wait().success());
        std::mem::replace(&mut exporter.dir, Dir::new())
    };
    let dir = stop(&mut exporter);
    let begin = |subcommand: &str, args: &[&str]| {
        let mut command = client(subcommand, &format!("http://{address}"), args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let away = begin("run", &["--retries", "8", "batch/nightly", "--", "sh", "-c", "echo done; exit 4"]);
    let agent = begin("agent", &["--retries", "8", "--once", "--disk=/", "node"]);
    // Both have met a closed door; what they do then takes a second at least.
    std::thread::sleep(Duration::from_millis(1500));
    let mut exporter = start(dir, &address);
    let (code, stdout, stderr) = outcome(away.wait_with_output().unwrap());
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(4), "done\n", ""));
    let (code, _, stderr) = outcome(agent.wait_with_output().unwrap());
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let job = heartbeat(&exporter, "nightly");
    assert_eq!([&job["state"], &job["last_exit_code"]], [&json!("down"), &json!(4)]);
    assert_eq!(messages(&exporter, "batch/nightly"), ["done\n"]);
    assert_eq!(heartbeat(&exporter, "node")["state"], "up");

    // It goes away while a job runs, and comes back before the job ends.
    let file = exporter.dir.path().join("go").display().to_string();
    let script = format!("until test -e {file}; do sleep 0.05; done; echo again");
    let during = begin("run", &["--retries", "8", "batch/nightly", "--", "sh", "-c", &script]);
    exporter.wait_for_metric("heartbeat_runs_in_progress{namespace=\"batch\",heartbeat=\"nightly\"}", 1.0);
    let dir = stop(&mut exporter);
    dir.write("go", "");
    std::thread::sleep(Duration::from_millis(300));
    let exporter = start(dir, &address);
    let (code, _, stderr) = outcome(during.wait_with_output().unwrap());
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let job = heartbeat(&exporter, "nightly");
    assert_eq!([&job["state"], &job["runs_in_progress"]], [&json!("up"), &json!(0)]);
    assert_eq!(messages(&exporter, "batch/nightly")[0], "again\n");
}
