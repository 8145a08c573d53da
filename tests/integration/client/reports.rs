//! What `run` reports, how often it tries, and that the job's result is its own whatever the receiver does.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::certificates::{Authority, Validity};
use crate::support::client::{client, outcome};
use crate::support::exporter::Dir;
use crate::support::receiver::{Answer, Heard, OK, Receiver};

/// Runs a job that prints and ends with 3: what a user of it sees.
fn job(url: &str, options: &[&str]) -> (Option<i32>, String, String) {
    let mut args = options.to_vec();
    args.extend(["batch/nightly", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    outcome(client("run", url, &args).output().unwrap())
}

/// What stderr says besides what the job wrote.
fn complaint(stderr: &str) -> &str {
    stderr.strip_prefix("err\n").unwrap_or_else(|| panic!("{stderr}"))
}

#[test]
fn exit_codes_are_kept_and_reported() {
    let dir = Dir::new();
    dir.write("not-executable", "#!/bin/sh\n");
    let not_executable = dir.path().join("not-executable").display().to_string();
    let none = dir.path().join("none").display().to_string();
    let cases: [(&[&str], i32); 9] = [
        (&["true"], 0),
        (&["sh", "-c", "exit 3"], 3),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["sh", "-c", "kill -INT $$"], 130),
        (&["no-such-command-at-all"], 127),
        (&[&none], 127),
        (&[&not_executable, "x"], 126),
    ];
    for (command, want) in cases {
        let receiver = Receiver::willing();
        let mut args = vec!["nightly", "--"];
        args.extend(command);
        let begun = Instant::now();
        let (code, stdout, stderr) = outcome(client("run", &receiver.url(), &args).output().unwrap());
        assert_eq!((code, stdout.as_str()), (Some(want), ""), "{command:?}: {stderr}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{command:?}");
        let heard = receiver.heard();
        let mut paths = vec!["/heartbeat/nightly/start".to_owned(), format!("/heartbeat/nightly/{want}")];
        let last = heard.last().unwrap();
        if want == 126 || want == 127 {
            // What never began has no start.
            paths.remove(0);
            let why = format!("cannot run {}: ", command[0]);
            assert!(last.body["message"].as_str().unwrap().starts_with(&why), "{last:?}");
            assert!(stderr.starts_with(&format!("heartbeat_exporter: {why}")), "{stderr}");
        } else {
            assert_eq!(stderr, "", "{command:?}");
            assert_eq!(heard[0].body["run"], last.body["run"]);
            assert_eq!(last.body.get("message"), None);
        }
        assert_eq!(receiver.paths(), paths, "{command:?}");
        assert_eq!(last.body["exit_code"], want);
        assert_eq!(last.body["run"].as_str().unwrap().len(), 36);
        assert!(last.body["duration_seconds"].as_f64().unwrap() < 3.0);
        assert!(last.body["sent_at"].as_str().unwrap().ends_with('Z'));
        for heard in heard {
            assert_eq!(heard.method, "POST");
            assert_eq!(heard.header("content-type"), Some("application/json"));
            assert_eq!(heard.header("host"), Some(receiver.address.to_string().as_str()));
            assert!(heard.header("user-agent").unwrap().starts_with("heartbeat_exporter/"));
            assert_eq!(heard.header("authorization"), None);
        }
    }
}

#[test]
fn a_wrong_command_line_runs_nothing() {
    let dir = Dir::new();
    let witness = dir.path().join("ran").display().to_string();
    for args in [&["nightly", "--retries", "x", "--", "touch", &witness][..], &["nightly", "touch", &witness]]
    {
        let (code, stdout, stderr) = outcome(client("run", "http://127.0.0.1:9", args).output().unwrap());
        assert_eq!((code, stdout.as_str()), (Some(125), ""), "{stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
        assert!(!fs::exists(&witness).unwrap());
    }
}

#[test]
fn what_cannot_be_reported_is_one_line_and_the_job_runs() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed_url = format!("http://{closed}");
    let refused = format!("cannot connect to {closed}: Connection refused (os error 111)");
    let dir = Dir::new();
    dir.write("empty", " \n");
    dir.write("bad.pem", "no certificate\n");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (empty, none, bad) = (file("empty"), file("none"), file("bad.pem"));
    let cases: [(&str, &[&str], String); 6] = [
        (&closed_url, &[], refused),
        ("nonsense:1", &[], "the URL of the receiver must begin with http:// or https://".to_owned()),
        ("http://name.invalid:1", &[], "name.invalid".to_owned()),
        (&closed_url, &["--token-file", &empty], format!("cannot read the token from {empty}: it is empty")),
        (
            &closed_url,
            &["--token-file", &none],
            format!("cannot read the token from {none}: No such file or directory (os error 2)"),
        ),
        (
            "https://127.0.0.1:1",
            &["--ca-file", &bad],
            "cannot connect to 127.0.0.1:1: Connection refused (os error 111)".to_owned(),
        ),
    ];
    for (url, options, want) in cases {
        let mut all = vec!["--retries=0", "--timeout=2s"];
        all.extend(options);
        let (code, stdout, stderr) = job(url, &all);
        assert_eq!((code, stdout.as_str()), (Some(3), "out\n"), "{stderr}");
        let complaint = complaint(&stderr);
        assert!(
            complaint.starts_with("heartbeat_exporter: the end of the job is not reported: "),
            "{stderr}"
        );
        assert!(complaint.contains(&want) && complaint.lines().count() == 1, "{want}: {stderr}");
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    let soon = "\r\nRetry-After: 0";
    let cases: [(&str, Answer, Duration); 6] = [
        ("503", Answer::Say("503 Service Unavailable\r\nRetry-After: 0", "disk full"), Duration::ZERO),
        ("429", Answer::Say("429 Too Many Requests\r\nRetry-After: 1", ""), Duration::from_secs(1)),
        ("408", Answer::Say("408 Request Timeout\r\nRetry-After: 0", ""), Duration::ZERO),
        ("500", Answer::Say("500 Internal Server Error", ""), Duration::from_millis(500)),
        ("close", Answer::Close, Duration::from_millis(500)),
        ("nonsense", Answer::Say("nonsense", soon), Duration::from_millis(500)),
    ];
    for (name, answer, pause) in cases {
        let receiver = Receiver::start(
            move |heard, before| {
                if heard.path.ends_with("/3") && before == 0 { answer } else { OK }
            },
        );
        let (code, stdout, stderr) = job(&receiver.url(), &[]);
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(3), "out\n", "err\n"), "{name}");
        let last: Vec<Heard> =
            receiver.heard().into_iter().filter(|heard| heard.path.ends_with("/3")).collect();
        assert_eq!(last.len(), 2, "{name}");
        assert_eq!(last[0].body["run"], last[1].body["run"]);
        assert_eq!(last[0].body["message"], last[1].body["message"]);
        let between = last[1].at - last[0].at;
        assert!((pause..pause + Duration::from_secs(2)).contains(&between), "{name}: {between:?}");
    }
}

#[test]
fn attempts_are_counted_and_bounded() {
    let receiver = Receiver::start(|_, _| Answer::Say("503 Busy\r\nRetry-After: 0", "come back"));
    let (code, _, stderr) = job(&receiver.url(), &["--retries=2"]);
    assert_eq!(code, Some(3));
    let why = format!("http://{} answered 503 Service Unavailable: come back\n", receiver.address);
    assert!(complaint(&stderr).ends_with(&why), "{stderr}");
    assert_eq!(receiver.paths().iter().filter(|path| path.ends_with("/3")).count(), 3);

    // Longer than anything may take: there is no use in waiting.
    let receiver = Receiver::start(|_, _| Answer::Say("429 Too Many Requests\r\nRetry-After: 3600", ""));
    let begun = Instant::now();
    let (code, _, stderr) = job(&receiver.url(), &[]);
    assert_eq!(code, Some(3));
    assert!(complaint(&stderr).contains("429 Too Many Requests"), "{stderr}");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_refusal_is_final_and_tells_no_secret() {
    let dir = Dir::new();
    dir.write("token", "hunter2\n");
    let token = dir.path().join("token").display().to_string();
    for (status, text) in
        [("401 Unauthorized", "wrong token"), ("404 Not Found", ""), ("400 Bad Request", "seq")]
    {
        let head: &'static str = status;
        let receiver = Receiver::start(move |_, _| Answer::Say(head, text));
        let (code, stdout, stderr) = job(&receiver.url(), &["--token-file", &token]);
        assert_eq!((code, stdout.as_str()), (Some(3), "out\n"), "{status}");
        let explanation = if text.is_empty() { String::new() } else { format!(": {text}") };
        let want = format!(
            "heartbeat_exporter: the end of the job is not reported: http://{} answered {status}{explanation}\n",
            receiver.address
        );
        assert_eq!(complaint(&stderr), want);
        assert_eq!(receiver.paths(), ["/heartbeat/batch/nightly/start", "/heartbeat/batch/nightly/3"]);
        for heard in receiver.heard() {
            assert_eq!(heard.header("authorization"), Some("Bearer hunter2"));
        }
    }
}

#[test]
fn the_environment_names_receiver_and_token() {
    let receiver = Receiver::willing();
    let mut command = client("run", "http://127.0.0.1:9", &[]);
    let program = command.get_program().to_owned();
    command = std::process::Command::new(program);
    command.args(["run", "n", "--", "printenv", "HEARTBEAT_URL"]);
    command.env("HEARTBEAT_URL", receiver.url() + "/prefix/").env("HEARTBEAT_TOKEN", "hunter2");
    let (code, stdout, stderr) = outcome(command.output().unwrap());
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    // The environment of the job is not touched.
    assert_eq!(stdout, receiver.url() + "/prefix/\n");
    assert_eq!(receiver.paths(), ["/prefix/heartbeat/n/start", "/prefix/heartbeat/n/0"]);
    assert_eq!(receiver.heard()[1].header("authorization"), Some("Bearer hunter2"));
}

#[test]
fn a_receiver_that_says_nothing_holds_nothing_up() {
    let receiver =
        Receiver::start(|heard, _| if heard.path.ends_with("/start") { Answer::Silence } else { OK });
    let begun = Instant::now();
    let (code, stdout, stderr) = job(&receiver.url(), &["--timeout=30s"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(3), "out\n", "err\n"));
    // The start has one second more than the job.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(receiver.paths(), ["/heartbeat/batch/nightly/start", "/heartbeat/batch/nightly/3"]);

    let receiver = Receiver::start(|_, _| Answer::Silence);
    let begun = Instant::now();
    let (code, _, stderr) = job(&receiver.url(), &["--timeout=300ms", "--retries=1"]);
    assert_eq!(code, Some(3));
    assert!(complaint(&stderr).ends_with("did not answer in time\n"), "{stderr}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn the_job_runs_while_the_start_is_on_its_way() {
    let dir = Dir::new();
    let witness = dir.path().join("ran");
    let seen = witness.clone();
    // Answers the start only when the job has done its work.
    let receiver = Receiver::start(move |heard, _| {
        let end = Instant::now() + Duration::from_secs(10);
        while heard.path.ends_with("/start") && !seen.exists() {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
        OK
    });
    let args = ["n", "--", "touch", &witness.display().to_string()];
    assert_eq!(client("run", &receiver.url(), &args).status().unwrap().code(), Some(0));
    assert_eq!(receiver.paths(), ["/heartbeat/n/start", "/heartbeat/n/0"]);
}

#[test]
fn the_report_gets_through_without_the_output_if_that_is_too_large() {
    let receiver = Receiver::start(|heard, _| match heard.body.get("message") {
        Some(_) => Answer::Say("413 Payload Too Large", ""),
        None => OK,
    });
    let (code, _, stderr) = job(&receiver.url(), &["--retries=0"]);
    assert_eq!((code, stderr.as_str()), (Some(3), "err\n"));
    let heard = receiver.heard();
    assert_eq!(heard.len(), 3);
    assert_eq!(heard[1].body["exit_code"], heard[2].body["exit_code"]);
}

#[test]
fn https_needs_a_certificate_we_trust() {
    let (authority, other) = (Authority::new(), Authority::new());
    let dir = Dir::new();
    dir.write("ca.pem", authority.pem());
    dir.write("other.pem", other.pem());
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (ca, other) = (file("ca.pem"), file("other.pem"));
    let receiver = Receiver::start_tls(authority.issue(&["127.0.0.1"], Validity::Now), |_, _| OK);
    let url = format!("https://{}", receiver.address);
    let cases: [(&[&str], Option<&str>); 4] = [
        (&["--ca-file", &ca], None),
        (&["--insecure"], None),
        (&["--ca-file", &other], Some("the certificate is signed by an unknown authority")),
        (&[], Some("is neither sent nor trusted")),
    ];
    for (options, want) in cases {
        let before = receiver.heard().len();
        let (code, stdout, stderr) = job(&url, options);
        assert_eq!((code, stdout.as_str()), (Some(3), "out\n"));
        let complaint = complaint(&stderr);
        match want {
            None => assert_eq!((complaint, receiver.heard().len()), ("", before + 2), "{options:?}"),
            Some(want) => {
                assert!(complaint.contains(want), "{options:?}: {stderr}");
                assert_eq!(receiver.heard().len(), before, "{options:?}");
            }
        }
    }
}
