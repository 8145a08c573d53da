//! Servers of HTTP/3, and of QUIC alone, on free ports of the loopback interface.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Buf as _, Bytes};
use hyper::{Request, Response};
use quinn::ConnectionError;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};

/// What is answered to one request.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Status codes of responses in front of the real one.
    pub interim: Vec<u16>,
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// As much of the body as is sent.
    pub body: Vec<u8>,
    /// How it ends.
    pub end: End,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// As it should.
    #[default]
    Finish,
    /// The stream is reset with H3_INTERNAL_ERROR.
    Reset,
    /// The connection is closed with H3_EXCESSIVE_LOAD.
    Close,
    /// Nothing more comes.
    Stall,
}

impl Answer {
    /// A whole response.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    /// With one more header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With another end.
    pub fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }
}

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Method and URI.
    pub line: String,
    /// Headers; several values of one name are joined by a bar.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: String,
}

impl Seen {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A running server; stops when dropped.
pub struct Http3Peer {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    ends: UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Http3Peer {
    /// Answers requests to 127.0.0.1.
    pub fn new(tls: &ServerConfig, answer: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static) -> Self {
        Self::on("127.0.0.1:0", tls, answer)
    }

    /// Answers requests.
    pub fn on(
        address: &str,
        tls: &ServerConfig,
        answer: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let log = Arc::clone(&seen);
        Self::quic(address, tls, b"h3", seen, move |connection| {
            let (log, answer) = (Arc::clone(&log), answer.clone());
            async move { serve(connection, &log, &answer).await }
        })
    }

    /// Writes these bytes in answer to each request, and finishes the stream or keeps it open.
    pub fn raw(tls: &ServerConfig, answer: Vec<u8>, finishes: bool) -> Self {
        Self::quic("127.0.0.1:0", tls, b"h3", Arc::default(), move |connection| {
            let answer = answer.clone();
            async move {
                let stream = connection.accept_bi().await;
                if let Ok((mut send, _receive)) = stream {
                    let _ = send.write_all(&answer).await;
                    if finishes {
                        let _ = send.finish();
                    }
                    // Kept open: only the client can end it.
                    return connection.closed().await;
                }
                connection.closed().await
            }
        })
    }

    /// Speaks another protocol over QUIC.
    pub fn other(tls: &ServerConfig) -> Self {
        Self::quic("127.0.0.1:0", tls, b"other", Arc::default(), |connection| async move {
            connection.closed().await
        })
    }

    /// Refuses every connection.
    pub fn refusing(tls: &ServerConfig) -> Self {
        let endpoint = endpoint("127.0.0.1:0", tls, b"h3");
        let address = endpoint.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                incoming.refuse();
            }
        });
        Self { address, seen: Arc::default(), ends: unbounded_channel().1, task }
    }

    fn quic<S: Future<Output = ConnectionError> + Send + 'static>(
        address: &str,
        tls: &ServerConfig,
        alpn: &[u8],
        seen: Arc<Mutex<Vec<Seen>>>,
        serve: impl Fn(quinn::Connection) -> S + Send + 'static,
    ) -> Self {
        let endpoint = endpoint(address, tls, alpn);
        let address = endpoint.local_addr().unwrap();
        let (ended, ends) = unbounded_channel();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(incoming) = endpoint.accept().await {
                let Ok(connecting) = incoming.accept() else { continue };
                // In turn, since a test makes one connection at a time.
                match connecting.await {
                    Ok(connection) => {
                        let (serving, ended) = (serve(connection), ended.clone());
                        connections.spawn(async move {
                            let end = serving.await.to_string();
                            let _ = ended.send(end);
                        });
                    }
                    Err(error) => ended.send(error.to_string()).unwrap_or_default(),
                }
            }
        });
        Self { address, seen, ends, task }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How the next connection ends, in the words of the server's library.
    pub async fn end(&mut self) -> String {
        tokio::time::timeout(super::PATIENCE, self.ends.recv()).await.expect("an end").expect("a server")
    }
}

impl Drop for Http3Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn endpoint(address: &str, tls: &ServerConfig, alpn: &[u8]) -> quinn::Endpoint {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    quinn::Endpoint::server(config, address.parse().unwrap()).unwrap()
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

type Server = h3::server::Connection<h3_quinn::Connection, Bytes>;

async fn serve(
    quic: quinn::Connection,
    log: &Mutex<Vec<Seen>>,
    answer: &(impl Fn(&Seen) -> Answer + Send + Sync),
) -> ConnectionError {
    let mut server = Server::new(h3_quinn::Connection::new(quic.clone())).await.unwrap();
    // What the client does wrong shows in its own result.
    let _ = talk(&mut server, &quic, log, answer).await;
    // Without the library, which would close the connection itself.
    quic.closed().await
}

async fn talk(
    server: &mut Server,
    quic: &quinn::Connection,
    log: &Mutex<Vec<Seen>>,
    answer: &(impl Fn(&Seen) -> Answer + Send + Sync),
) -> Result<(), Broken> {
    while let Some(resolver) = server.accept().await? {
        let (request, mut stream) = resolver.resolve_request().await?;
        let mut body = Vec::new();
        while let Some(mut chunk) = stream.recv_data().await? {
            body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        }
        let seen = describe(&request, &body);
        log.lock().unwrap().push(seen.clone());
        let answer = answer(&seen);
        for status in &answer.interim {
            stream.send_response(Response::builder().status(*status).body(())?).await?;
        }
        let mut response = Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(*name, value);
        }
        if answer.status != 0 {
            stream.send_response(response.body(())?).await?;
            stream.send_data(answer.body.into()).await?;
        }
        if matches!(answer.end, End::Reset | End::Close) {
            until_read(quic).await?;
        }
        match answer.end {
            End::Finish => stream.finish().await?,
            End::Reset => stream.stop_stream(h3::error::Code::H3_INTERNAL_ERROR),
            End::Close => quic.close(0x107_u32.into(), b"too busy"),
            End::Stall => {
                quic.closed().await;
            }
        }
    }
    Ok(())
}

/// Waits until everything sent so far has arrived: a stream of a kind nobody knows is the last of it.
async fn until_read(quic: &quinn::Connection) -> Result<(), Broken> {
    let mut mark = quic.open_uni().await?;
    mark.write_all(&[0x21]).await?;
    mark.finish()?;
    mark.stopped().await?;
    Ok(())
}

fn describe(request: &Request<()>, body: &[u8]) -> Seen {
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in request.headers() {
        let value = value.to_str().unwrap();
        let known = headers.entry(name.to_string()).or_default();
        *known = if known.is_empty() { value.to_owned() } else { format!("{known}|{value}") };
    }
    Seen {
        line: format!("{} {}", request.method(), request.uri()),
        headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}
