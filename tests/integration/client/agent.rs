//! What `agent` says about this node, checked against the kernel.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::{client, outcome};
use crate::support::exporter::Dir;
use crate::support::receiver::{Answer, Heard, OK, Receiver};

/// One report with these options, and how the agent ended.
fn once(options: &[&str]) -> (Heard, Option<i32>, String) {
    let receiver = Receiver::willing();
    let mut args = vec!["node", "--once"];
    args.extend(options);
    let (code, stdout, stderr) = outcome(client("agent", &receiver.url(), &args).output().unwrap());
    assert_eq!(stdout, "");
    let mut heard = receiver.heard();
    assert_eq!(heard.len(), 1, "{stderr}");
    (heard.remove(0), code, stderr)
}

fn number(heard: &Heard, name: &str) -> f64 {
    heard.body["values"][name].as_f64().unwrap_or_else(|| panic!("{name} in {}", heard.body))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn the_values_are_those_of_the_kernel() {
    let (heard, code, stderr) = once(&["--disk=/"]);
    assert_eq!((code, stderr.as_str(), heard.path.as_str()), (Some(0), "", "/heartbeat/node"));
    let meminfo = read("/proc/meminfo");
    let kib = |key: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()
    };
    let total = number(&heard, "memory_total_bytes");
    assert_eq!(total, kib("MemTotal:") * 1024.0);
    let available = number(&heard, "memory_available_bytes");
    assert!((available - kib("MemAvailable:") * 1024.0).abs() < total / 4.0, "{available}");
    assert!((number(&heard, "memory_usage_ratio") - (1.0 - available / total)).abs() < 1e-9);
    assert!((0.0..=1.0).contains(&number(&heard, "cpu_usage_ratio")));
    for (name, word) in ["load1", "load5", "load15"].iter().zip(read("/proc/loadavg").split(' ')) {
        let (got, want) = (number(&heard, name), word.parse::<f64>().unwrap());
        assert!((got - want).abs() < 2.0, "{name}: {got}, {want}");
    }
    let df = Command::new("df").args(["--output=used,avail", "-B1", "/"]).output().unwrap().stdout;
    let df: Vec<f64> =
        String::from_utf8(df).unwrap().split_whitespace().filter_map(|w| w.parse().ok()).collect();
    let ratio = number(&heard, "disk_usage_ratio:/");
    assert!((ratio - df[0] / (df[0] + df[1])).abs() < 0.02, "{ratio} {df:?}");
    assert!((number(&heard, "disk_available_bytes:/") / df[1] - 1.0).abs() < 0.1);
    // Processes of one cron entry are one sender, and do not know of each other.
    assert_eq!(heard.body["incarnation"], read("/proc/sys/kernel/random/boot_id"));
    assert_eq!((heard.body.get("seq"), heard.body.get("data")), (None, None));
}

#[test]
fn limits_and_missing_processes_become_data() {
    let dir = Dir::new();
    let present = format!("present-{}", std::process::id());
    let program = dir.path().join(&present);
    symlink("/bin/sleep", &program).unwrap();
    let mut process = Command::new(&program).arg("60").spawn().unwrap();
    let absent = "--process=heartbeat-absent";
    let present_flag = format!("--process={present}");
    let (fine, code, stderr) =
        once(&["--disk=/", "--max-memory=100", "--max-disk=100", "--max-cpu=100", &present_flag]);
    let (bad, bad_code, bad_stderr) =
        once(&["--disk=/", "--max-memory=0", "--max-disk=0", &present_flag, absent]);
    let (named, ..) = once(&["--disk=/", "--address=web-1", absent]);
    process.kill().unwrap();
    process.wait().unwrap();

    assert_eq!((code, stderr.as_str(), bad_code, bad_stderr.as_str()), (Some(0), "", Some(0), ""));
    assert_eq!((number(&fine, &format!("process_count:{present}")), fine.body.get("data")), (1.0, None));
    assert_eq!(number(&bad, "process_count:heartbeat-absent"), 0.0);
    let percent = |name: &str| format!("{:.0}", number(&bad, name) * 100.0);
    let want = format!(
        "127.0.0.1:mem:{},disk:/:{},process:heartbeat-absent",
        percent("memory_usage_ratio"),
        percent("disk_usage_ratio:/")
    );
    assert_eq!((bad.path.as_str(), bad.body["data"].as_str()), ("/heartbeat/node", Some(want.as_str())));
    assert_eq!(named.body["data"], "web-1:process:heartbeat-absent");
}

#[test]
fn what_cannot_be_read_is_a_failure() {
    let (heard, code, stderr) = once(&["--disk=/no-such-mount", "--process=heartbeat-absent"]);
    assert_eq!((code, heard.path.as_str()), (Some(1), "/heartbeat/node/fail"));
    assert_eq!(stderr, "heartbeat_exporter: /no-such-mount is not a mount point\n");
    let want = "/no-such-mount is not a mount point\n127.0.0.1:process:heartbeat-absent";
    assert_eq!((heard.body["message"].as_str(), heard.body.get("data")), (Some(want), None));
    // The rest is told all the same.
    assert!(number(&heard, "memory_total_bytes") > 0.0);
}

#[test]
fn a_report_that_does_not_arrive_is_told() {
    let receiver = Receiver::start(|_, _| Answer::Say("401 Unauthorized", "no"));
    let args = ["node", "--once", "--disk=/"];
    let (code, _, stderr) = outcome(client("agent", &receiver.url(), &args).output().unwrap());
    let want = format!(
        "heartbeat_exporter: the report did not arrive: http://{} answered 401 Unauthorized: no\n",
        receiver.address
    );
    assert_eq!((code, stderr), (Some(1), want));
    let (code, _, stderr) = outcome(client("agent", "nonsense", &args).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(stderr.contains("must begin with http:// or https://"), "{stderr}");
}

#[test]
fn reports_come_in_time_and_in_order_until_sigterm() {
    let receiver = Receiver::start(|_, before| if before == 1 { Answer::Close } else { OK });
    let args = ["ops/node", "--interval=1s", "--jitter=0", "--retries=0", "--disk=/"];
    let mut child = client("agent", &receiver.url(), &args).stderr(Stdio::piped()).spawn().unwrap();
    let heard = receiver.wait_for(4);
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let begun = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(1));

    let sequence: Vec<&Value> = heard.iter().map(|heard| &heard.body["seq"]).collect();
    assert_eq!(sequence, [0, 1, 2, 3]);
    let incarnation = heard[0].body["incarnation"].as_str().unwrap();
    assert!(incarnation.starts_with(&(read("/proc/sys/kernel/random/boot_id") + "/")), "{incarnation}");
    for pair in heard.windows(2) {
        assert_eq!(pair[0].body["incarnation"], pair[1].body["incarnation"]);
        let between = (pair[1].at - pair[0].at).as_secs_f64();
        assert!((0.5..1.5).contains(&between), "{between}");
    }
    let stderr = std::io::read_to_string(child.stderr.unwrap()).unwrap();
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(
        lines[0].starts_with("heartbeat_exporter: the report did not arrive: no answer from "),
        "{stderr}"
    );
    assert_eq!(lines[1..], ["heartbeat_exporter: reports arrive again"]);
}
