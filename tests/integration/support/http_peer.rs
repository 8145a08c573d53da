//! An HTTP/1 server that answers by path and keeps the requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Such as `GET / HTTP/1.1`.
    pub line: String,
    /// In lower case, as `name: value`, sorted.
    pub headers: Vec<String>,
    /// Without the marks of chunks.
    pub body: Vec<u8>,
}

impl Received {
    /// The value of a header that is there at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice in {self:?}");
        value
    }

    /// What the request asks for.
    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct HttpPeer {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl HttpPeer {
    /// Answers every request on 127.0.0.1 with the bytes `answer` returns, then ends the connection.
    pub async fn start(answer: impl Fn(&Received) -> Vec<u8> + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let log = Arc::clone(&received);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, answer.clone(), Arc::clone(&log)));
            }
        });
        Self { address, received, task }
    }

    /// The URL of a path, with the address.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The URL of a path, with a name of the address.
    pub fn named(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.address.port())
    }

    /// All requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for HttpPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A response with a status, header lines and a body.
pub fn response(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len()).into_bytes();
    headers.iter().for_each(|line| out.extend_from_slice(format!("{line}\r\n").as_bytes()));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

/// A redirect to a place.
pub fn redirect(status: &str, location: &str) -> Vec<u8> {
    response(status, &[&format!("Location: {location}")], b"moved")
}

async fn serve(mut stream: TcpStream, answer: impl Fn(&Received) -> Vec<u8>, log: Arc<Mutex<Vec<Received>>>) {
    let mut raw = Vec::new();
    let Some(received) = read(&mut stream, &mut raw).await else { return };
    let answer = answer(&received);
    log.lock().unwrap().push(received);
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
    // Closing with unread input would reset the connection.
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

async fn read(stream: &mut TcpStream, raw: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(end) = raw.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        (stream.read_buf(raw).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8(raw[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let lower = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        format!("{}: {value}", name.to_ascii_lowercase())
    };
    let mut headers: Vec<String> = lines.map(lower).collect();
    headers.sort();
    let mut received = Received { line, headers, body: raw.split_off(end + 4) };
    if received.header("transfer-encoding").is_some() {
        while !received.body.ends_with(b"0\r\n\r\n") {
            (stream.read_buf(&mut received.body).await.ok()? > 0).then_some(())?;
        }
        let text = String::from_utf8(received.body.clone()).unwrap();
        received.body = text.split("\r\n").skip(1).step_by(2).collect::<String>().into_bytes();
    } else if let Some(length) = received.header("content-length") {
        let length: usize = length.parse().unwrap();
        while received.body.len() < length {
            (stream.read_buf(&mut received.body).await.ok()? > 0).then_some(())?;
        }
    }
    Some(received)
}
