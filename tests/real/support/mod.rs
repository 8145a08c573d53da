//! Programs that run for one test, the exporter among them, and what a scrape of it says.

pub mod browser;
pub mod certificates;
pub mod heartbeats;
pub mod prometheus;

use std::fmt::Debug;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A program that is killed when the test is over. Everything it writes is kept, and printed when the
/// test fails.
pub struct Program {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// The lines a program wrote to stdout and stderr.
#[derive(Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Program {
    /// Starts a program with its stdin closed.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start {name}: {error}; tests/install-real-parts.sh installs what is missing")
        });
        let output = Arc::new(Output::default());
        output.collect(child.stdout.take().expect("a pipe was asked for"));
        output.collect(child.stderr.take().expect("a pipe was asked for"));
        Self { name, child, output }
    }

    /// Id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines written so far.
    pub fn lines(&self) -> Vec<String> {
        self.output.lines.lock().unwrap().clone()
    }

    /// Waits for a line that holds `text`.
    pub fn line_with(&self, text: &str) -> String {
        let found = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        let lines = self.output.lines.lock().unwrap();
        let (lines, _) =
            self.output.grown.wait_timeout_while(lines, PATIENCE, |lines| found(lines).is_none()).unwrap();
        found(&lines).unwrap_or_else(|| panic!("{} wrote no line with {text:?}: {lines:#?}", self.name))
    }

    /// Waits until something accepts connections on a port of loopback, for a program that does not say
    /// when it is ready.
    pub fn accepts(self, port: u16) -> Self {
        eventually(&format!("{} accepts connections", self.name), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| (error, self.lines()))
        });
        self
    }
}

impl Output {
    fn collect(self: &Arc<Self>, pipe: impl Read + Send + 'static) {
        let output = Arc::clone(self);
        // Ends with the program, when its pipe closes.
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                output.lines.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
                output.grown.notify_all();
            }
        });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{} wrote:\n{}", self.name, self.lines().join("\n"));
        }
    }
}

/// A running exporter.
pub struct Exporter {
    program: Program,
    address: SocketAddr,
}

impl Exporter {
    /// Starts the exporter with a configuration.
    pub fn with_config(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("blackbox.yml");
        fs::write(&file, config).unwrap();
        // The file is read before the address is announced.
        Self::start(Command::new(EXPORTER).arg("--config.file").arg(&file))
    }

    /// Starts the exporter with arguments and environment of its own, on a free port of loopback.
    pub fn start(command: &mut Command) -> Self {
        let program = Program::start(command.arg("--web.listen-address=127.0.0.1:0"));
        let line = program.line_with("msg=\"Listening on\"");
        let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
        let address =
            address.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address in {line}"));
        Self { program, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lines of its log.
    pub fn log(&self) -> Vec<String> {
        self.program.lines()
    }

    /// Probes a target; the result is there whether the probe succeeded or not.
    pub fn probe(&self, module: &str, target: &str) -> Exposition {
        let target: String = target.bytes().map(|byte| format!("%{byte:02X}")).collect();
        Exposition(get(self.address, &format!("/probe?module={module}&target={target}"), "").body)
    }
}

/// The binary under test.
pub const EXPORTER: &str = env!("CARGO_BIN_EXE_heartbeat_exporter");

/// What a scrape returned, in the text format.
#[derive(Debug)]
pub struct Exposition(String);

impl Exposition {
    /// Value of one series, written as in the exposition: `probe_x{phase="tls"}`.
    pub fn value(&self, series: &str) -> Option<f64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap_or_else(|_| panic!("not a number: {series} {line}")))
    }

    /// Demands exact values.
    pub fn expect(&self, want: &[(&str, f64)]) -> &Self {
        for (series, value) in want {
            assert_eq!(self.value(series), Some(*value), "{series} in\n{}", self.0);
        }
        self
    }

    /// Demands that series are there with a value above zero, such as durations.
    pub fn expect_positive(&self, series: &[&str]) -> &Self {
        for series in series {
            assert!(self.value(series).is_some_and(|value| value > 0.0), "{series} in\n{}", self.0);
        }
        self
    }

    /// Demands a successful probe without a word about failure.
    pub fn expect_success(&self) -> &Self {
        self.expect(&[("probe_success", 1.0)]);
        assert!(!self.0.contains("probe_failure_info"), "{}", self.0);
        self
    }

    /// Demands a failed probe that says why.
    pub fn expect_failure(&self, phase: &str, reason: &str) -> &Self {
        let why = format!("probe_failure_info{{phase=\"{phase}\",reason=\"{reason}\"}}");
        self.expect(&[("probe_success", 0.0), (&why, 1.0)])
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    /// First line and header, as received.
    pub head: String,
    /// The body; always text here.
    pub body: String,
}

impl Answer {
    /// A header value, if the answer has it.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        Some(fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?.1.trim())
    }
}

/// Gets a page with status 200. `headers` are whole lines, each ended by CR LF.
pub fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let answer =
        try_get(address, path, headers).unwrap_or_else(|error| panic!("GET {path} from {address}: {error}"));
    assert!(answer.head.contains(" 200 "), "GET {path}: {answer:?}");
    answer
}

/// As [`get`], for a server that may not be ready.
///
/// # Errors
/// Anything that goes wrong below HTTP; every status is an answer.
pub fn try_get(address: SocketAddr, path: &str, headers: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0 has neither chunks nor connections that stay open.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(Answer { head: head.to_owned(), body: body.to_owned() })
}

/// Tries until it works; the last error tells why it never did.
pub fn eventually<T, E: Debug>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if Instant::now() > deadline => panic!("waited in vain until {what}: {error:#?}"),
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// A port of loopback that is free for TCP and UDP at this moment, for programs that cannot choose one.
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free for both TCP and UDP");
}

/// A file of this folder.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(name)
}

/// Where distributions keep servers; not in everybody's `PATH`.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a test waits for a program to do what it should.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at a program that cannot tell when it is done.
const POLL: Duration = Duration::from_millis(50);
