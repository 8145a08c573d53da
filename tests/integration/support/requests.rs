//! HTTP servers and proxies that record requests as they came and answer by a function.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What follows on a request.
pub enum Then {
    /// These bytes, and the end of the connection.
    Say(Vec<u8>),
    /// These bytes, and then nothing.
    SayAndWait(Vec<u8>),
    /// Without end.
    Flood(&'static [u8]),
    /// These bytes, and then everything there and back.
    Tunnel(&'static str, SocketAddr),
}

/// A response with this status, further header lines and a body.
pub fn respond(status: &str, lines: &str, body: &str) -> Then {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{lines}\r\n", body.len());
    Then::Say(format!("{head}{body}").into())
}

/// A running server; stops when dropped.
pub struct Recorder {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Recorder {
    /// Listens on a free port of 127.0.0.1; `answer` sees head and body of each connection's only request.
    pub async fn start(answer: impl Fn(&str) -> Then + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer).await
    }

    /// The same over TLS.
    pub async fn tls(
        config: Arc<ServerConfig>,
        answer: impl Fn(&str) -> Then + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Some(config), answer).await
    }

    async fn start_with(
        config: Option<Arc<ServerConfig>>,
        answer: impl Fn(&str) -> Then + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (config, log, answer) = (config.clone(), Arc::clone(&log), Arc::clone(&answer));
                connections.spawn(async move {
                    let stream: Box<dyn Stream> = match config {
                        None => Box::new(stream),
                        Some(config) => match TlsAcceptor::from(config).accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    serve(stream, &log, &*answer).await;
                });
            }
        });
        Self { address, requests, task }
    }

    /// The requests so far, header and body.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whatever goes wrong here, the probe sees and the test asserts.
async fn serve(
    mut stream: Box<dyn Stream>,
    log: &Mutex<Vec<String>>,
    answer: &(impl Fn(&str) -> Then + Sync),
) {
    let Some(request) = read(&mut stream).await else { return };
    let then = answer(&request);
    log.lock().unwrap().push(request);
    match then {
        Then::Say(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Then::SayAndWait(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            // The client closes first.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
        Then::Flood(bytes) => while stream.write_all(bytes).await.is_ok() {},
        Then::Tunnel(bytes, to) => {
            let _ = stream.write_all(bytes.as_bytes()).await;
            let _ = stream.flush().await;
            let mut target = TcpStream::connect(to).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut target).await;
        }
    }
}

async fn read(stream: &mut Box<dyn Stream>) -> Option<String> {
    let mut text = Vec::new();
    loop {
        if stream.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
        let so_far = String::from_utf8_lossy(&text);
        if let Some((head, body)) = so_far.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(so_far.into_owned());
            }
        }
    }
}
