//! The loop that accepts connections.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::warn;

use super::listen::Listener;
use super::web_config::Handshakes;
use super::{Server, connection};

/// How many clients are let in at once, over all listening sockets.
#[derive(Debug)]
pub struct Doors {
    places: Arc<Semaphore>,
    handshakes: Handshakes,
}

impl Default for Doors {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_CONNECTIONS)), handshakes: Handshakes::default() }
    }
}

/// Accepts connections until it is dropped; each is served by a task of its own. Handshakes end with it,
/// requests do not.
pub async fn accept(
    listener: Listener,
    server: Arc<Server>,
    doors: Arc<Doors>,
    graceful: Arc<GracefulShutdown>,
) {
    let mut handshakes = JoinSet::new();
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
        let (server, watcher) = (Arc::clone(&server), graceful.watcher());
        if server.web.as_ref().is_some_and(|web| web.has_tls()) {
            while handshakes.try_join_next().is_some() {}
            handshakes.spawn(secure(server, Arc::clone(&doors), stream, place, watcher));
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
    let Some(secured) = doors.handshakes.run(web, stream).await else { return };
    tokio::spawn(async move {
        if secured.is_http2 {
            connection::serve_http2(server, secured.stream, watcher).await;
        } else {
            connection::serve(server, secured.stream, watcher).await;
        }
        drop(place);
    });
}

/// Connections served at once; further ones wait in the kernel.
const MAX_CONNECTIONS: usize = 16_384;
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
