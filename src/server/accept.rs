//! The loop that accepts connections.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tracing::warn;

use super::client::HEAD_TIMEOUT;
use super::listen::Listener;
use super::web_config::Handshakes;
use super::{Server, connection};

/// How many clients are let in at once, over all listening sockets, and until when.
#[derive(Debug)]
pub struct Doors {
    places: Arc<Semaphore>,
    handshakes: Handshakes,
    is_closing: watch::Sender<bool>,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            handshakes: Handshakes::default(),
            is_closing: watch::Sender::new(false),
        }
    }
}

impl Doors {
    /// Lets in whoever is waiting already, and nobody else.
    pub fn close(&self) {
        self.is_closing.send_replace(true);
    }

    /// Returns when the doors are being closed.
    async fn closing(&self) {
        // The sender is here.
        let _ = self.is_closing.subscribe().wait_for(|is_closing| *is_closing).await;
    }

    /// Does what comes before the first request, which may take until the last call.
    async fn before_last_call<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = step => Some(done),
            () = async { self.closing().await; tokio::time::sleep(LAST_CALL).await } => None,
        }
    }
}

/// Accepts connections until the doors are closed; each is served by a task of its own.
pub async fn accept(
    listener: Listener,
    server: Arc<Server>,
    doors: Arc<Doors>,
    graceful: Arc<GracefulShutdown>,
) {
    let accept = accept_all(&listener, &server, &doors, &graceful);
    // Who is in the queue of the kernel has connected, and may have asked.
    let end = async {
        doors.closing().await;
        tokio::time::sleep(QUEUE_TIME).await;
    };
    tokio::select! {
        () = accept => {}
        () = end => {}
    }
}

async fn accept_all(
    listener: &Listener,
    server: &Arc<Server>,
    doors: &Arc<Doors>,
    graceful: &GracefulShutdown,
) {
    loop {
        let Ok(place) = Arc::clone(&doors.places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                // Most likely out of file descriptors: a connection has to end first.
                warn!(err = %error, "Cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (server, doors, watcher) = (Arc::clone(server), Arc::clone(doors), graceful.watcher());
        if server.web.as_ref().is_some_and(|web| web.has_tls()) {
            tokio::spawn(secure(server, doors, stream, place, watcher));
        } else if server.heartbeats.is_there() {
            tokio::spawn(recognize(server, doors, stream, place, watcher));
        } else {
            tokio::spawn(async move {
                connection::serve(server, stream, watcher).await;
                drop(place);
            });
        }
    }
}

async fn secure(
    server: Arc<Server>,
    doors: Arc<Doors>,
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    watcher: Watcher,
) {
    let Some(web) = &server.web else { return };
    let Some(Some(secured)) = doors.before_last_call(doors.handshakes.run(web, stream)).await else { return };
    // A new task, so that connections do not carry what handshakes need.
    tokio::spawn(async move {
        if secured.is_http2 {
            connection::serve_http2(server, secured.stream, watcher).await;
        } else {
            connection::serve(server, secured.stream, watcher).await;
        }
        drop(place);
    });
}

/// Without TLS, clients of gRPC begin with HTTP/2 at once (RFC 9113 §3.3), and all others with HTTP/1.
async fn recognize(
    server: Arc<Server>,
    doors: Arc<Doors>,
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    watcher: Watcher,
) {
    let recognized = doors.before_last_call(timeout(HEAD_TIMEOUT, begins_with_http2(&stream)));
    let Some(Ok(is_http2)) = recognized.await else { return };
    tokio::spawn(async move {
        if is_http2 {
            connection::serve_http2(server, stream, watcher).await;
        } else {
            connection::serve(server, stream, watcher).await;
        }
        drop(place);
    });
}

/// Looks at the first bytes and leaves them where they are. A stream that ends or fails is none of HTTP/2;
/// whoever serves it will find out.
async fn begins_with_http2(stream: &TcpStream) -> bool {
    let mut first = [0; PREFACE.len()];
    loop {
        let Ok(length) = stream.peek(&mut first).await else { return false };
        if length == 0 || !PREFACE.starts_with(&first[..length]) {
            return false;
        }
        if length == PREFACE.len() {
            return true;
        }
        // Nobody sends a part of it on purpose, and nothing would tell when there is more.
        tokio::time::sleep(PEEK_PAUSE).await;
    }
}

/// What a client of HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Time for the rest of it to come.
const PEEK_PAUSE: Duration = Duration::from_millis(10);
/// Connections served at once; further ones wait in the kernel.
const MAX_CONNECTIONS: usize = 16_384;
/// Time for handshakes and first bytes once the doors are being closed: a balancer may have sent its request.
const LAST_CALL: Duration = Duration::from_secs(1);
/// Time to accept the connections that the kernel has accepted when the doors are being closed.
const QUEUE_TIME: Duration = Duration::from_millis(50);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
