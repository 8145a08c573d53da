//! A receiver of heartbeats that remembers what it hears and answers by script.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// One request.
#[derive(Debug, Clone)]
pub struct Heard {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Value,
    pub body_bytes: usize,
    pub at: Instant,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Status line and headers, and a body.
    Say(&'static str, &'static str),
    /// The connection is closed.
    Close,
    /// Nothing, for as long as the client waits.
    Silence,
}

pub const OK: Answer = Answer::Say("200 OK\r\nPing-Body-Limit: 100000", "{\"ok\":true}");

/// Listens until the value is dropped.
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    heard: Mutex<Vec<Heard>>,
    more: Condvar,
    script: Box<Script>,
}

type Script = dyn Fn(&Heard, usize) -> Answer + Send + Sync;

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Receiver {
    /// `script` gets each request and how many with the same path came before it.
    pub fn start(script: impl Fn(&Heard, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(None, script)
    }

    /// The same over TLS.
    pub fn start_tls(
        config: Arc<ServerConfig>,
        script: impl Fn(&Heard, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(config), script)
    }

    /// Accepts everything.
    pub fn willing() -> Self {
        Self::start(|_, _| OK)
    }

    fn listen(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&Heard, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { heard: Mutex::default(), more: Condvar::new(), script: Box::new(script) });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (server, tls) = (Arc::clone(&server), tls.clone());
                thread::spawn(move || {
                    let mut stream: Box<dyn Stream> = match tls {
                        Some(tls) => Box::new(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream)),
                        None => Box::new(stream),
                    };
                    // A client that gives up is part of the tests.
                    let _ = server.serve(&mut stream);
                });
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// Paths of all requests so far.
    pub fn paths(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.path).collect()
    }

    /// Waits until there were so many requests.
    pub fn wait_for(&self, count: usize) -> Vec<Heard> {
        let heard = self.shared.heard.lock().unwrap();
        let enough = |heard: &mut Vec<Heard>| heard.len() < count;
        let (heard, timeout) = self.shared.more.wait_timeout_while(heard, PATIENCE, enough).unwrap();
        assert!(!timeout.timed_out(), "{heard:?}");
        heard.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // The listener's thread ends with the test process; nobody has its address any more.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: &mut Box<dyn Stream>) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
        let mut headers = Vec::new();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
        reader.read_exact(&mut body)?;
        let at = Instant::now();
        let body_bytes = body.len();
        let body = serde_json::from_slice(&body).unwrap();
        let heard = Heard { method, path, headers, body, body_bytes, at };
        let before = {
            let mut all = self.heard.lock().unwrap();
            let before = all.iter().filter(|other| other.path == heard.path).count();
            all.push(heard.clone());
            before
        };
        self.more.notify_all();
        let stream = reader.into_inner();
        match (self.script)(&heard, before) {
            Answer::Say(head, body) => {
                write!(
                    stream,
                    "HTTP/1.1 {head}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )?;
                stream.flush()
            }
            Answer::Close => Ok(()),
            Answer::Silence => stream.read_to_end(&mut Vec::new()).map(drop),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
