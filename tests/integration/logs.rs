//! Where log lines go: a file, or a reader that stands still.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::exporter::{Dir, command};

/// An exporter whose stderr is the caller's; killed with the value.
struct Process {
    dir: Dir,
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(stderr: impl FnOnce(&Dir) -> Stdio) -> Self {
        let dir = Dir::new();
        dir.write("c.yml", "modules:\n  tcp: {prober: tcp, timeout: 2s}\n");
        let address = free();
        let listen = format!("--web.listen-address={address}");
        let stderr = stderr(&dir);
        let child = command(&dir, &["--config.file=c.yml", &listen]).stderr(stderr).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "it does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { dir, child, address }
    }

    /// Probes a port on which nobody listens.
    fn fail_a_probe(&self) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let path = format!("/probe?module=tcp&target={}", free());
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.contains("\nprobe_success 0\n"), "{reply}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on which nobody listens.
fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

#[test]
fn whoever_has_the_reply_finds_what_was_logged_before_it() {
    let process = Process::start(|dir| File::create(dir.path().join("log")).unwrap().into());
    for probes in 1..=50 {
        process.fail_a_probe();
        let log = fs::read_to_string(process.dir.path().join("log")).unwrap();
        let lines = log.lines().filter(|line| line.contains(" msg=\"Probe failed\" module=tcp "));
        assert_eq!(lines.count(), probes, "{log}");
    }
}

#[test]
fn a_reader_of_the_log_that_stands_still_stops_no_probe() {
    let mut process = Process::start(|_| Stdio::piped());
    // A pipe holds 64 KiB; these lines have more than 200 bytes each.
    for _ in 0..500 {
        process.fail_a_probe();
    }
    // Nothing is lost, and nothing has overtaken: each line waits in its order.
    let mut stderr = process.child.stderr.take().unwrap();
    let mut log = String::new();
    let mut chunk = [0; 4096];
    while log.matches("msg=\"Probe failed\"").count() < 500 || !log.ends_with('\n') {
        let read = stderr.read(&mut chunk).unwrap();
        assert!(read > 0, "{log}");
        log.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    let times: Vec<_> = log.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(times.iter().all(|time| time.starts_with("time=")), "{log}");
    let failed: Vec<_> = log.lines().filter(|line| line.contains("msg=\"Probe failed\"")).collect();
    assert!(failed.is_sorted_by_key(|line| line.split(' ').next()), "{log}");
}
