//! Flags, exit codes, what goes to which stream, and the end of the process.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use crate::support::exporter::{Dir, Exporter, Reply, run};

const GOOD: &str = "modules:\n  m: {prober: tcp}\n";

/// Exit code, stdout, stderr.
fn result(dir: &Dir, args: &[&str]) -> (Option<i32>, String, String) {
    let output = run(dir, args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn help_and_version_go_to_stdout() {
    let dir = Dir::new();
    let (code, version, stderr) = result(&dir, &["--version"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(version.starts_with("heartbeat_exporter, version "), "{version}");
    for flag in ["--help", "-h"] {
        let (code, help, stderr) = result(&dir, &[flag]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(help.ends_with("[default: 5s]\n"), "{help}");
        for name in [
            "config.file",
            "config.check",
            "config.strict",
            "config.enable-auto-reload",
            "config.auto-reload-interval",
            "timeout-offset",
            "history.limit",
            "log.level",
            "log.format",
            "log.prober",
            "log.probe-outcomes",
            "web.listen-address",
            "web.systemd-socket",
            "web.config.file",
            "web.external-url",
            "web.route-prefix",
            "web.shutdown-grace",
            "version",
        ] {
            assert!(help.contains(&format!("--{name}")), "{name}");
        }
    }
}

#[test]
fn usage_errors_go_to_stderr() {
    let dir = Dir::new();
    for args in
        [&["--no-such-flag"][..], &["--config.file"], &["x"], &["--config.check=true"], &["-config.check"]]
    {
        let (code, stdout, stderr) = result(&dir, args);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{args:?}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
}

#[test]
fn a_check_loads_and_nothing_else() {
    let dir = Dir::new();
    dir.write("c.yml", GOOD);
    dir.write("bad.yml", "modules:\n  m: {prober: tcp, nonsense: 1}\n");
    dir.write("args", "--config.file=c.yml\n--config.check\n");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--web.listen-address={}", taken.local_addr().unwrap());
    let good: [&[&str]; 5] = [
        &["--config.file=c.yml", "--config.check"],
        &["--config.file", "c.yml", "--config.check", &listen],
        &["--config.file=c.yml", "--config.check", "--web.config.file=none.yml"],
        &["--config.file=c.yml", "--config.check", "--web.external-url='x'"],
        &["@args"],
    ];
    for args in good {
        let (code, stdout, stderr) = result(&dir, args);
        assert_eq!((code, stdout.as_str()), (Some(0), ""), "{args:?}: {stderr}");
        assert!(stderr.contains("level=INFO"), "{stderr}");
    }
    let (code, _, stderr) = result(&dir, &["--config.file=bad.yml", "--config.check"]);
    assert_eq!(code, Some(1));
    assert!(stderr.lines().any(|line| line.starts_with("bad.yml:2:")), "{stderr}");
    assert!(stderr.contains("level=ERROR"), "{stderr}");
    dir.write("users.yml", "heartbeats:\n  users: {root: hunter2}\n");
    let (code, _, stderr) = result(&dir, &["--config.file=users.yml", "--config.check"]);
    assert_eq!(code, Some(1));
    let why = "users.yml:2:17: heartbeats.users.root is too short to be a bcrypt hash";
    assert!(stderr.lines().any(|line| line == why) && !stderr.contains("hunter2"), "{stderr}");
    let (code, _, stderr) = result(&dir, &["--config.file=none.yml", "--config.check"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("none.yml: No such file or directory (os error 2)\n"), "{stderr}");
    let (code, _, stderr) = result(&dir, &["--config.file=.", "--config.check"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains(".: Is a directory (os error 21)\n"), "{stderr}");
}

/// A log line without its time and its place in the source.
fn without_time_and_source(line: &str) -> String {
    let kept = line.split(' ').filter(|part| !part.starts_with("time=") && !part.starts_with("source="));
    kept.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_check_tells_what_has_no_effect_and_what_is_different() {
    let dir = Dir::new();
    let text = "modules:\n  web:\n    prober: http\n    tcp: {tls: true}\n    http:\n      \
                follow_redirects: false\n      compression: gzip\n";
    dir.write("c.yml", text);
    let (code, stdout, stderr) = result(&dir, &["--config.file=c.yml", "--config.check"]);
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
    let lines: Vec<String> = stderr.lines().map(without_time_and_source).collect();
    assert_eq!(
        &lines[2..],
        [
            "level=WARN msg=\"c.yml:4:5: modules.web.tcp has no effect with prober: http\"",
            "c.yml:2:3: modules web: fall back to the first address of the other family \
             (blackbox_exporter takes the last)",
            "c.yml:6:25: module web: reads and checks the body of a redirect \
             (in blackbox_exporter such checks fail)",
            "level=INFO msg=\"Config file is ok exiting...\"",
        ]
    );

    let (code, stdout, stderr) =
        result(&dir, &["--config.file=c.yml", "--config.check", "--config.strict", "--log.level=error"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    let lines: Vec<String> = stderr.lines().map(without_time_and_source).collect();
    let problem = "c.yml:4:5: modules.web.tcp has no effect with prober: http";
    assert_eq!(
        lines,
        [
            problem.to_owned(),
            format!("level=ERROR msg=\"Error loading config\" err=\"{problem}\" problems=1")
        ]
    );

    let exporter = Exporter::start(text, &[]);
    assert!(!exporter.log().concat().contains("blackbox_exporter"), "only a check tells differences");
}

#[test]
fn without_a_file_the_default_is_read_or_the_built_in_one_used() {
    let dir = Dir::new();
    let (code, _, stderr) = result(&dir, &["--config.check"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("There is no blackbox.yml here; the built-in configuration is used"), "{stderr}");
    dir.write("blackbox.yml", "modules:\n  m: {prober: tcp, nonsense: 1}\n");
    let (code, _, stderr) = result(&dir, &["--config.check"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("\nblackbox.yml:2:"), "{stderr}");
}

#[test]
fn what_cannot_work_ends_the_start() {
    let dir = Dir::new();
    dir.write("c.yml", GOOD);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--web.listen-address={}", taken.local_addr().unwrap());
    let free = "--web.listen-address=127.0.0.1:0";
    let cases: [(&[&str], &str); 9] = [
        (&[&listen], "Address already in use"),
        (&["--web.listen-address=nonsense"], "missing port"),
        (
            &["--web.listen-address=vsock://:port", "--web.external-url=http://x/"],
            "listen vsock://:port: \\\"port\\\" is not a port",
        ),
        (&["--web.listen-address=vsock://:9115"], "too many colons"),
        (&["--web.listen-address=unix:/run/x", "--web.external-url=http://x/"], "listen unix:/run/x: "),
        (&["--web.systemd-socket"], "--web.external-url is needed"),
        (&["--web.systemd-socket", "--web.external-url=http://x/"], "systemd passed no sockets"),
        (&[free, "--web.external-url='http://x/'"], "must not begin or end with a quote"),
        (&[free, "--web.config.file=none.yml"], "none.yml: No such file or directory (os error 2)"),
    ];
    for (args, want) in cases {
        let mut all = vec!["--config.file=c.yml"];
        all.extend(args);
        let (code, _, stderr) = result(&dir, &all);
        assert_eq!(code, Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains(want), "{args:?}: {stderr}");
        assert!(stderr.lines().last().unwrap().contains("level=ERROR"), "{stderr}");
    }
}

#[test]
fn a_bad_probe_log_level_is_only_a_warning() {
    let dir = Dir::new();
    dir.write("c.yml", GOOD);
    let (code, _, stderr) = result(&dir, &["--config.file=c.yml", "--config.check", "--log.prober=loud"]);
    assert_eq!(code, Some(0));
    assert!(stderr.contains("level=WARN"), "{stderr}");
}

#[test]
fn json_lines() {
    let exporter = Exporter::start(GOOD, &["--log.format=json", "--log.level=INFO"]);
    let line = exporter.wait_for_log("Listening on");
    assert!(line.starts_with("{\"time\":\"") && line.ends_with("\"}"), "{line}");
    assert!(line.contains(",\"level\":\"INFO\",\"source\":\"app.rs:"), "{line}");
}

#[test]
fn a_signal_ends_the_process_with_status_0() {
    for name in ["TERM", "INT"] {
        let mut exporter = Exporter::start(GOOD, &[]);
        exporter.signal(name);
        assert_eq!(exporter.wait().code(), Some(0), "{name}");
        assert!(exporter.log().iter().any(|line| line.contains(&format!("signal=SIG{name}"))));
    }
}

/// A module whose probes wait for a server that says nothing.
const SILENT: &str = "modules:\n  m: {prober: http, timeout: 9s}\n";

#[test]
fn running_probes_end_within_the_grace_period() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = format!("/probe?module=m&target=http://{}/", target.local_addr().unwrap());
    let mut exporter = Exporter::start(SILENT, &[]);
    let mut probe = exporter.send("GET", &path, &[]);
    let (peer, _) = target.accept().unwrap();
    exporter.signal("TERM");
    exporter.wait_for_log("Stopping");
    drop(peer);
    let mut raw = Vec::new();
    probe.read_to_end(&mut raw).unwrap();
    assert!(Reply::parse(&raw).text().contains("\nprobe_success 0\n"));
    assert_eq!(exporter.wait().code(), Some(0));
}

/// With heartbeats, connections are looked at before they are served.
const WATCHING: &str = "heartbeats:\n  services:\n    job: {every: 1h}\n";
const READY: &[u8] = b"GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn read_reply(mut client: TcpStream) -> Reply {
    let mut raw = Vec::new();
    client.read_to_end(&mut raw).unwrap();
    Reply::parse(&raw)
}

#[test]
fn who_connected_just_before_the_end_is_answered() {
    for config in [GOOD, WATCHING] {
        let mut exporter = Exporter::start(config, &[]);
        let mut client = TcpStream::connect(exporter.address).unwrap();
        let silent = TcpStream::connect(exporter.address).unwrap();
        // Connections are accepted in turn, so those before have been.
        assert_eq!(exporter.get("/-/ready").status, 200);
        let begun = Instant::now();
        exporter.signal("TERM");
        exporter.wait_for_log("Stopping");
        client.write_all(READY).unwrap();
        assert_eq!(read_reply(client).status, 200);
        assert_eq!(exporter.wait().code(), Some(0));
        // Who says nothing is not waited for much longer.
        assert!(begun.elapsed().as_secs_f64() < 2.0, "{:?}", begun.elapsed());
        drop(silent);
    }
}

#[test]
fn requests_that_the_kernel_has_taken_are_answered() {
    for config in [GOOD, WATCHING] {
        let mut exporter = Exporter::start(config, &[]);
        let path = if config == GOOD { "/-/ready" } else { "/heartbeat/job" };
        exporter.signal("STOP");
        let clients: Vec<TcpStream> = (0..100).map(|_| exporter.send("GET", path, &[])).collect();
        exporter.signal("TERM");
        exporter.signal("CONT");
        for client in clients {
            let reply = read_reply(client);
            // Some are too many signals in a minute, which is an answer, too.
            assert!([200, 429].contains(&reply.status), "{reply:?}");
        }
        assert_eq!(exporter.wait().code(), Some(0));
    }
}

#[test]
fn the_grace_period_and_patience_are_limited() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = format!("/probe?module=m&target=http://{}/", target.local_addr().unwrap());
    for (args, signals) in [(&["--web.shutdown-grace=100ms"][..], 1), (&[], 2)] {
        let mut exporter = Exporter::start(SILENT, args);
        let _probe = exporter.send("GET", &path, &[]);
        let _peer = target.accept().unwrap();
        let begun = Instant::now();
        exporter.signal("TERM");
        exporter.wait_for_log("Stopping");
        for _ in 1..signals {
            exporter.signal("TERM");
        }
        assert_eq!(exporter.wait().code(), Some(0));
        assert!(begun.elapsed().as_secs_f64() < 3.0);
    }
}
