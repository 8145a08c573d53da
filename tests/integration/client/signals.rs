//! Signals belong to the job.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::client;
use crate::support::receiver::{Answer, OK, Receiver};

fn send(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
}

/// Counts the signals it gets; the third one ends it with 7.
const COUNTS: &str =
    "n=0; for s in HUP INT QUIT TERM USR1 USR2; do trap \"n=\\$((n+1)); echo $s \\$n\" $s; done
echo ready; while [ $n -lt 3 ]; do sleep 0.01; done; exit 7";

#[test]
fn the_job_gets_each_signal_once() {
    for name in ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"] {
        let receiver = Receiver::willing();
        let mut command = client("run", &receiver.url(), &["n", "--", "sh", "-c", COUNTS]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().as_deref(), Some("ready"));
        for count in 1..=3 {
            send(&child, name);
            assert_eq!(lines.next(), Some(format!("{name} {count}")));
        }
        assert_eq!(child.wait().unwrap().code(), Some(7), "{name}");
        assert_eq!(receiver.paths(), ["/heartbeat/n/start", "/heartbeat/n/7"]);
    }
}

#[test]
fn a_signal_that_ends_the_job_is_its_exit_code() {
    for (name, want) in [("HUP", 129), ("INT", 130), ("QUIT", 131), ("TERM", 143)] {
        let receiver = Receiver::willing();
        let mut command =
            client("run", &receiver.url(), &["n", "--", "sh", "-c", "echo ready; exec sleep 60"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        send(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(want));
        assert_eq!(receiver.paths(), ["/heartbeat/n/start".to_owned(), format!("/heartbeat/n/{want}")]);
    }
}

#[test]
fn the_job_begins_with_the_signals_we_began_with() {
    let receiver = Receiver::willing();
    let odd = ["--ignore-signal=HUP,CHLD,USR2", "--block-signal=USR1,WINCH"];
    let show = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"];
    let masks = |arguments: &[&str]| {
        let output = Command::new("env").args(odd).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let masks =
            text.lines().map(|line| u64::from_str_radix(line.split('\t').nth(1).unwrap(), 16).unwrap());
        // Signals 32 and 33 belong to the C library.
        masks.map(|mask| mask & !(0b11 << 31)).collect::<Vec<_>>()
    };
    let program = client("run", "", &[]).get_program().to_str().unwrap().to_owned();
    let url = receiver.url();
    let wrapped = [&[program.as_str(), "run", "--url", &url, "n", "--"], &show[..]].concat();
    let bit = |signal: u32| 1 << (signal - 1);
    assert_eq!(masks(&wrapped), [bit(10) | bit(28), bit(1) | bit(17) | bit(12)]);
    assert_eq!(masks(&wrapped), masks(&show));
    assert_eq!(receiver.paths()[..2], ["/heartbeat/n/start", "/heartbeat/n/0"]);
}

#[test]
fn once_the_job_is_done_a_signal_ends_the_report() {
    let receiver = Receiver::start(|heard, _| if heard.path.ends_with("/3") { Answer::Silence } else { OK });
    let job = ["n", "--timeout=30s", "--", "sh", "-c", "exit 3"];
    let mut child = client("run", &receiver.url(), &job).stderr(Stdio::piped()).spawn().unwrap();
    receiver.wait_for(2);
    let begun = Instant::now();
    send(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(begun.elapsed() < Duration::from_secs(2));
    let mut stderr = String::new();
    child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "heartbeat_exporter: the end of the job is not reported: SIGTERM came first\n");
}

#[test]
fn the_terminal_reaches_the_job_once() {
    let receiver = Receiver::willing();
    let program = client("run", "", &[]).get_program().to_str().unwrap().to_owned();
    let job = "n=0; trap 'n=$((n+1)); echo got $n' INT; echo ready; while [ $n -lt 2 ]; do sleep 0.01; done; exit 9";
    let line = format!("exec {program} run --url {} n -- sh -c \"$JOB\"", receiver.url());
    // A terminal of its own, whose foreground group gets SIGINT for ^C.
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("JOB", job)
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut wait_for = |want: &str| {
        let line = lines.next().unwrap();
        assert_eq!(line.trim().trim_start_matches("^C"), want);
    };
    wait_for("ready");
    for want in ["got 1", "got 2"] {
        stdin.write_all(b"\x03").unwrap();
        wait_for(want);
    }
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert_eq!(receiver.paths(), ["/heartbeat/n/start", "/heartbeat/n/9"]);
}
