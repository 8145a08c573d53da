//! The real binary, started with a configuration in a directory of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Longest time anything here is waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A directory that is removed with the value.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("heartbeat-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the binary in `dir` to its end.
pub fn run(dir: &Dir, args: &[&str]) -> Output {
    command(dir, args).stdin(Stdio::null()).output().unwrap()
}

/// The binary in `dir` with these arguments.
pub fn command(dir: &Dir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat_exporter"));
    command.args(args).current_dir(dir.path()).env("TZ", "UTC");
    command
}

/// A running exporter; killed with the value.
pub struct Exporter {
    pub dir: Dir,
    pub address: SocketAddr,
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Exporter {
    /// Starts with this configuration, which is `c.yml` in its directory, and more arguments.
    pub fn start(config: &str, args: &[&str]) -> Self {
        let dir = Dir::new();
        dir.write("c.yml", config);
        let mut all = vec!["--config.file=c.yml", "--web.listen-address=127.0.0.1:0"];
        all.extend(args);
        Self::start_in(dir, &all)
    }

    /// Starts in `dir` with exactly these arguments.
    pub fn start_in(dir: Dir, args: &[&str]) -> Self {
        let mut command = command(&dir, args);
        Self::start_listening(dir, &mut command)
    }

    /// Starts a command that says where it listens.
    pub fn start_listening(dir: Dir, command: &mut Command) -> Self {
        let mut exporter = Self::start_with(dir, command.stdin(Stdio::null()));
        let line = exporter.wait_for_log("Listening on");
        let address = line.split("address").nth(1).unwrap().trim_matches(['=', '"', ':', '}']);
        exporter.address = address.parse().unwrap();
        exporter
    }

    /// Starts a command of the caller's; where it listens is the caller's business.
    pub fn start_with(dir: Dir, command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                shared.lines.lock().unwrap().push(line);
                shared.grown.notify_all();
            }
        });
        Self { dir, address: SocketAddr::from(([127, 0, 0, 1], 0)), child, log }
    }

    /// All log lines so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    /// The first log line that contains `text`, as soon as it is there.
    pub fn wait_for_log(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no line with {text:?} in {lines:#?}");
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[])
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut stream = self.send(method, path, headers);
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).unwrap();
        Reply::parse(&raw)
    }

    /// Sends a request and leaves the reply to the caller.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// The value of a line of `/metrics`, such as `name{label="x"}`.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?.to_owned();
        line.parse().ok()
    }

    /// Waits until a line of `/metrics` has this value.
    pub fn wait_for_metric(&self, series: &str, want: f64) {
        let end = Instant::now() + PATIENCE;
        while self.metric(series) != Some(want) {
            assert!(Instant::now() < end, "{series} is {:?}, not {want}", self.metric(series));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Most memory that was ever resident, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The status the process ends with.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "still running");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A reply as it came.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn parse(raw: &[u8]) -> Self {
        let end = raw.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(raw[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers, body: raw[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Status, content type and body.
    pub fn parts(&self) -> (u16, Option<String>, String) {
        (self.status, self.header("content-type").map(str::to_owned), self.text())
    }
}
