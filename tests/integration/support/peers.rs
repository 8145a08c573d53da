//! Servers that follow a script, on free ports of the loopback interface.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext};
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket, UnixListener};
use tokio::task::{JoinHandle, JoinSet};
use tokio_openssl::SslStream;
use tokio_rustls::TlsAcceptor;

use super::frames;

/// What a server does next with a connection. After the last one it waits for the client to close.
#[derive(Debug, Clone)]
pub enum Act {
    /// Writes all at once.
    Say(Vec<u8>),
    /// Writes text in which `{here}` stands for the server's address.
    SayHere(String),
    /// Writes byte for byte.
    Drip(Vec<u8>),
    /// Writes the same again and again, until the client is gone.
    SayForever(Vec<u8>),
    /// Reads exactly these bytes, or closes.
    Hear(Vec<u8>),
    /// Reads a query with its length in front, and answers with what the function makes of it.
    Answer(fn(&[u8]) -> Vec<u8>),
    /// As `Answer`, but byte for byte.
    DripAnswer(fn(&[u8]) -> Vec<u8>),
    /// Reads an HTTP/2 request to its end.
    HearCall,
    /// Reads an HTTP header, and answers with what the function makes of it.
    AnswerHead(fn(&str) -> Vec<u8>),
    /// Reads a masked WebSocket frame with this first byte and payload, or closes.
    HearFrame(u8, Vec<u8>),
    /// As `Answer`, with the length put in front of what the function makes.
    FramedAnswer(fn(&[u8]) -> Vec<u8>),
    /// Reads an HTTP request up to the end of its header, and the body it announces.
    Request,
    /// Reads an HTTP request up to the end of its header.
    RequestHead,
    /// Reads until something comes, such as the first message of a TLS handshake.
    HearHello,
    /// Writes byte for byte, with pauses.
    Slow(Vec<u8>),
    /// Does a TLS handshake.
    StartTls(Arc<ServerConfig>),
    /// Says its part of a TLS 1.2 handshake up to its certificate, and nothing more.
    StallTls(Arc<ServerConfig>),
    /// Does a TLS handshake with OpenSSL, which knows more kinds of them.
    StartOldTls(SslContext),
    /// Waits, for a client that measures.
    Wait(Duration),
    /// Ends its own direction.
    Close,
    /// Breaks the connection; has to be the last act.
    Reset,
}

/// Says text.
pub fn say(text: &str) -> Act {
    Act::Say(text.into())
}

/// Hears text.
pub fn hear(text: &str) -> Act {
    Act::Hear(text.into())
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Peer {
    /// Plays the script on every connection to 127.0.0.1.
    pub async fn tcp(script: Vec<Act>) -> Self {
        Self::tcp_on("127.0.0.1:0", script).await
    }

    /// Plays the script on every connection.
    pub async fn tcp_on(address: &str, script: Vec<Act>) -> Self {
        Self::in_turn_on(address, vec![script]).await
    }

    /// Plays `first` on the first connection to 127.0.0.1 and the script on all others.
    pub async fn tcp_but_first(first: Vec<Act>, script: Vec<Act>) -> Self {
        Self::in_turn(vec![first, script]).await
    }

    /// Plays one script after the other, one on each connection to 127.0.0.1, and the last one for ever.
    pub async fn in_turn(scripts: Vec<Vec<Act>>) -> Self {
        Self::in_turn_on("127.0.0.1:0", scripts).await
    }

    async fn in_turn_on(address: &str, scripts: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let log = Arc::clone(&heard);
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut scripts = scripts.into_iter().peekable();
            while let (Ok((stream, _)), Some(script)) = (listener.accept().await, scripts.peek().cloned()) {
                count.fetch_add(1, Ordering::SeqCst);
                if scripts.len() > 1 {
                    scripts.next();
                }
                connections.spawn(play(stream, script, Arc::clone(&log)));
            }
        });
        Self { address, heard, connections, task }
    }

    /// Sends what `answer` makes of each datagram.
    pub async fn udp(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::udp_on("127.0.0.1:0", answer).await
    }

    /// Sends what `answer` makes of each datagram.
    pub async fn udp_on(address: &str, answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let log = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut datagram = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
                log.lock().unwrap().extend_from_slice(&datagram[..length]);
                for answer in answer(&datagram[..length]) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { address, heard, connections: Arc::default(), task }
    }

    /// The address as a target.
    pub fn target(&self) -> String {
        self.address.to_string()
    }

    /// How many connections were accepted since this was asked before.
    pub fn new_connections(&self) -> usize {
        self.connections.swap(0, Ordering::SeqCst)
    }

    /// Everything received so far in [`Act::Hear`], [`Act::Answer`] and datagrams.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A running server on a Unix domain socket; stops when dropped.
#[derive(Debug)]
pub struct UnixPeer {
    path: String,
    /// Holds the socket; `None` for an abstract one.
    _dir: Option<tempfile::TempDir>,
    task: JoinHandle<()>,
}

impl UnixPeer {
    /// Plays the script on every connection to a socket in a directory of its own.
    pub fn new(script: Vec<Act>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peer.sock");
        let listener = UnixListener::bind(&path).unwrap();
        Self::serve(listener, path.to_str().unwrap().to_owned(), Some(dir), script)
    }

    /// The same on a socket without a file, which Linux has.
    #[cfg(target_os = "linux")]
    pub fn abstract_named(name: &str, script: Vec<Act>) -> Self {
        Self::serve(UnixListener::bind(format!("\0{name}")).unwrap(), format!("@{name}"), None, script)
    }

    fn serve(listener: UnixListener, path: String, dir: Option<tempfile::TempDir>, script: Vec<Act>) -> Self {
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(play_over(Box::new(stream), script.clone(), Arc::default()));
            }
        });
        Self { path, _dir: dir, task }
    }

    /// The path as a target.
    pub fn target(&self) -> &str {
        &self.path
    }
}

impl Drop for UnixPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address where nothing listens, neither over TCP nor over UDP.
pub async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// An address that leaves connections half open: its queue is full and nobody accepts.
pub struct HalfOpen {
    /// Where it listens.
    pub address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl HalfOpen {
    /// Fills the queue.
    pub async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        // The kernel drops further requests; it repeats ours only after a second.
        while let Ok(stream) = tokio::time::timeout(QUEUE_IS_FULL, TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
        }
        Self { address, _listener: listener, _queued: queued }
    }
}

/// Connecting over the loopback interface takes less.
const QUEUE_IS_FULL: Duration = Duration::from_millis(100);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn play(stream: TcpStream, script: Vec<Act>, log: Arc<Mutex<Vec<u8>>>) {
    stream.set_nodelay(true).unwrap();
    if matches!(script.last(), Some(Act::Reset)) {
        stream.set_zero_linger().unwrap();
    }
    let here = stream.local_addr().unwrap().to_string();
    let script = script.into_iter().map(|act| match act {
        Act::SayHere(text) => say(&text.replace("{here}", &here)),
        act => act,
    });
    play_over(Box::new(stream), script.collect(), log).await;
}

async fn play_over(mut stream: Box<dyn Stream>, script: Vec<Act>, log: Arc<Mutex<Vec<u8>>>) {
    for act in script {
        if matches!(act, Act::Reset) {
            return;
        }
        if let Act::StartTls(config) = act {
            match TlsAcceptor::from(config).accept(stream).await {
                Ok(encrypted) => stream = Box::new(encrypted),
                Err(_) => return,
            }
        } else if let Act::StartOldTls(context) = act {
            let mut encrypted = SslStream::new(Ssl::new(&context).unwrap(), stream).unwrap();
            if Pin::new(&mut encrypted).accept().await.is_err() {
                return;
            }
            stream = Box::new(encrypted);
        } else if perform(&mut stream, act, &log).await.is_err() {
            return;
        }
    }
    // What the client sends now does not matter, only when it stops.
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

async fn perform(stream: &mut Box<dyn Stream>, act: Act, log: &Mutex<Vec<u8>>) -> io::Result<()> {
    match act {
        Act::Say(bytes) => stream.write_all(&bytes).await?,
        Act::Drip(bytes) => drip(stream, bytes).await?,
        Act::SayForever(bytes) => loop {
            stream.write_all(&bytes).await?;
        },
        Act::HearCall => {
            let mut preface = [0; frames::PREFACE];
            stream.read_exact(&mut preface).await?;
            loop {
                let mut head = [0; 9];
                stream.read_exact(&mut head).await?;
                let (is_end, length) = frames::ends_request(head);
                stream.read_exact(&mut vec![0; length]).await?;
                if is_end {
                    break;
                }
            }
        }
        Act::Hear(want) => {
            let mut got = vec![0; want.len()];
            stream.read_exact(&mut got).await?;
            log.lock().unwrap().extend_from_slice(&got);
            if got != want {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Act::Answer(answer) => {
            let answer = answer(&query(stream, log).await?);
            stream.write_all(&answer).await?;
        }
        Act::DripAnswer(answer) => {
            let answer = answer(&query(stream, log).await?);
            drip(stream, answer).await?;
        }
        Act::AnswerHead(answer) => {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            log.lock().unwrap().extend_from_slice(&head);
            stream.write_all(&answer(&String::from_utf8_lossy(&head))).await?;
        }
        Act::HearFrame(first, want) => {
            if stream.read_u8().await? != first || frame_payload(stream).await? != want {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Act::FramedAnswer(answer) => {
            let answer = answer(&query(stream, log).await?);
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await?;
            stream.write_all(&answer).await?;
        }
        Act::Request => request(stream, log, true).await?,
        Act::RequestHead => request(stream, log, false).await?,
        Act::HearHello => drop(stream.read(&mut [0; 4096]).await?),
        Act::Slow(bytes) => {
            for byte in bytes {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
                tokio::time::sleep(PAUSE).await;
            }
        }
        Act::StallTls(config) => {
            let mut server = ServerConnection::new(config).unwrap();
            let mut hello = [0; 4096];
            let length = stream.read(&mut hello).await?;
            server.read_tls(&mut &hello[..length])?;
            server.process_new_packets().unwrap();
            let mut flight = Vec::new();
            server.write_tls(&mut flight)?;
            stream.write_all(&flight).await?;
        }
        Act::Close => stream.shutdown().await?,
        Act::Wait(time) => tokio::time::sleep(time).await,
        Act::StartTls(_) | Act::StartOldTls(_) | Act::Reset | Act::SayHere(_) => {
            unreachable!("done by the caller")
        }
    }
    stream.flush().await
}

async fn drip(stream: &mut Box<dyn Stream>, bytes: Vec<u8>) -> io::Result<()> {
    for byte in bytes {
        stream.write_all(&[byte]).await?;
        stream.flush().await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Reads a masked frame from its second byte on (RFC 6455 §5.2).
async fn frame_payload(stream: &mut Box<dyn Stream>) -> io::Result<Vec<u8>> {
    let length = match stream.read_u8().await?.checked_sub(0x80) {
        None => return Err(io::Error::other("a client has to mask its frames")),
        Some(126) => stream.read_u16().await?.into(),
        Some(127) => stream.read_u64().await?,
        Some(length) => length.into(),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await?;
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await?;
    for (byte, mask) in payload.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
    Ok(payload)
}

/// Between two bytes of [`Act::Slow`].
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

async fn request(stream: &mut Box<dyn Stream>, log: &Mutex<Vec<u8>>, body: bool) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let announced = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
    if let (Some(length), true) = (announced, body) {
        let head = request.len();
        request.resize(head + length.trim().parse::<usize>().unwrap(), 0);
        stream.read_exact(&mut request[head..]).await?;
    }
    log.lock().unwrap().extend_from_slice(&request);
    Ok(())
}

/// Reads a message with its length in front.
async fn query(stream: &mut Box<dyn Stream>, log: &Mutex<Vec<u8>>) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut query = vec![0; usize::from(length)];
    stream.read_exact(&mut query).await?;
    let mut log = log.lock().unwrap();
    log.extend_from_slice(&length.to_be_bytes());
    log.extend_from_slice(&query);
    Ok(query)
}
