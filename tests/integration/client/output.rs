//! The job's output arrives as it was written, and its end is in the report.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::{client, outcome};
use crate::support::exporter::Dir;
use crate::support::receiver::{Answer, OK, Receiver};

/// Bytes of every value, without a newline at the end.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.push((seed >> 56) as u8);
    }
    bytes
}

#[test]
fn both_streams_arrive_byte_for_byte() {
    let dir = Dir::new();
    for (out, err) in [(0, 0), (1, 0), (0, 1), (3, 70_000), (2_000_000, 700_001)] {
        let (out, err) = (noise(out, 1), noise(err, 2));
        fs::write(dir.path().join("out"), &out).unwrap();
        fs::write(dir.path().join("err"), &err).unwrap();
        let receiver = Receiver::willing();
        let job = ["n", "--", "sh", "-c", "cat err >&2 & cat out; wait"];
        let output = client("run", &receiver.url(), &job).current_dir(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout == out, "{} of {} bytes", output.stdout.len(), out.len());
        assert!(output.stderr == err, "{} of {} bytes", output.stderr.len(), err.len());
        let last = receiver.wait_for(2).pop().unwrap();
        assert_eq!(last.body.get("message").is_some(), out.len() + err.len() > 0);
        assert!(last.body_bytes < 70_000);
    }
}

/// Writes to both streams in turn, more than a pipe holds.
const IN_TURN: &str = "i=0; while [ $i -lt 8000 ]; do echo out $i; echo error $i >&2; i=$((i+1)); done";

#[test]
fn two_streams_to_one_place_keep_their_order() {
    let dir = Dir::new();
    let receiver = Receiver::willing();
    let path = |name: &str| dir.path().join(name);
    let write_to = |command: &mut Command, file: File| {
        command.stdout(file.try_clone().unwrap()).stderr(file);
        assert_eq!(command.status().unwrap().code(), Some(0));
    };
    write_to(Command::new("sh").args(["-c", IN_TURN]), File::create(path("want")).unwrap());
    let job = ["n", "--tail=1", "--", "sh", "-c", IN_TURN];
    write_to(&mut client("run", &receiver.url(), &job), File::create(path("got")).unwrap());
    let want = fs::read_to_string(path("want")).unwrap();
    assert!(want.len() > 128 << 10);
    assert!(fs::read_to_string(path("got")).unwrap() == want);
    let last = receiver.wait_for(2).pop().unwrap();
    assert_eq!(last.body["message"], want[want.len() - 1024..]);

    // Two openings of one file have two positions, so these streams write over each other, and must.
    let mut command = client("run", &receiver.url(), &["n", "--", "sh", "-c", "echo long line; echo x >&2"]);
    command.stdout(File::create(path("both")).unwrap());
    command.stderr(File::options().write(true).open(path("both")).unwrap());
    assert_eq!(command.status().unwrap().code(), Some(0));
    let both = fs::read_to_string(path("both")).unwrap();
    assert!(["x\nng line\n", "long line\n"].contains(&both.as_str()), "{both:?}");
}

#[test]
fn output_arrives_as_it_is_written() {
    let receiver = Receiver::willing();
    let mut command = client("run", &receiver.url(), &["n", "--", "sh", "-c", "printf a; read x; printf $x"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut byte = [0];
    stdout.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"a");
    stdin.write_all(b"b\n").unwrap();
    stdout.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"b");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_report_has_the_end_of_the_output_and_no_more_than_wanted() {
    let print = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit $0";
    let limited = Answer::Say("200 OK\r\nPing-Body-Limit: 400", "");
    let cases: [(&[&str], &str, Answer, std::ops::RangeInclusive<usize>); 7] = [
        (&[], "1", OK, 10_240..=10_240),
        (&["--tail=3"], "1", OK, 3072..=3072),
        (&["--tail=0"], "1", OK, 0..=0),
        (&["--no-output"], "1", OK, 0..=0),
        (&["--quiet-success"], "0", OK, 0..=0),
        (&["--quiet-success"], "1", OK, 10_240..=10_240),
        (&[], "0", limited, 150..=350),
    ];
    for (options, code, answer, want) in cases {
        let receiver = Receiver::start(move |_, _| answer);
        let mut args = options.to_vec();
        // The limit comes with the answer to the start, which the job waits for.
        args.extend(["n", "--", "sh", "-c", print, code]);
        let (_, stdout, _) = outcome(client("run", &receiver.url(), &args).output().unwrap());
        assert!(stdout.ends_with("line 2999\n"));
        let last = receiver.wait_for(2).pop().unwrap();
        let message = last.body.get("message").map_or("", |message| message.as_str().unwrap());
        assert!(want.contains(&message.len()), "{options:?}: {} bytes", message.len());
        assert!(message.is_empty() || stdout.ends_with(message), "{options:?}");
        assert!(want != (150..=350) || last.body_bytes <= 400, "{}", last.body_bytes);
    }
}

#[test]
fn without_output_the_job_keeps_our_streams() {
    let dir = Dir::new();
    let receiver = Receiver::willing();
    let path = dir.path().join("file");
    let job = ["n", "--no-output", "--", "readlink", "/proc/self/fd/1"];
    let status = client("run", &receiver.url(), &job).stdout(File::create(&path).unwrap()).status();
    assert_eq!(status.unwrap().code(), Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", path.display()));
}

#[test]
fn what_outlives_the_job_still_writes_and_is_not_waited_for() {
    let dir = Dir::new();
    let receiver = Receiver::willing();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // The process in the background writes when it is told to.
    let script = "(read x <fifo; echo late; echo wrong >&2; sleep 0.1; echo later) & echo now";
    let mut command = client("run", &receiver.url(), &["n", "--", "sh", "-c", script]);
    command.current_dir(dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(receiver.paths(), ["/heartbeat/n/start", "/heartbeat/n/0"]);
    assert_eq!(receiver.heard()[1].body["message"], "now\n");
    fs::write(fifo, "x\n").unwrap();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("now\nlate\nlater\n", "wrong\n"));
}

#[test]
fn a_job_whose_reader_goes_away_ends_as_without_us() {
    let receiver = Receiver::willing();
    let mut command = client("run", &receiver.url(), &["n", "--", "yes"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 100_000]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 13));
    assert_eq!(receiver.paths(), ["/heartbeat/n/start", "/heartbeat/n/141"]);
}

#[test]
fn a_reader_that_is_slow_does_not_hold_up_the_report() {
    let receiver = Receiver::willing();
    // More than fits into our pipe, and not enough to block the job: it is done, its output is not.
    let job = ["n", "--", "head", "-c", "120000", "/dev/zero"];
    let mut child = client("run", &receiver.url(), &job).stdout(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    assert_eq!(receiver.wait_for(2)[1].path, "/heartbeat/n/0");
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert!(child.try_wait().unwrap().is_none());
    let mut all = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    assert_eq!((all.len(), child.wait().unwrap().code()), (120_000, Some(0)));
}
