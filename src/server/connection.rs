//! One connection of a client: HTTP/1 or HTTP/2 over any stream.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::Server;
use super::client::{Busy, Client, HEAD_TIMEOUT, IDLE_TIMEOUT};

/// Serves requests over HTTP/1 until the client is gone or `watcher` hears of the end.
///
/// When the client closes the connection, the running probe is dropped with it.
pub async fn serve<S>(server: Arc<Server>, stream: S, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let busy = Busy::default();
    let client = Client::new(stream, busy.clone());
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        busy.begin();
        let server = Arc::clone(&server);
        async move {
            let (request, body) = request.into_parts();
            Ok::<_, Infallible>(server.respond(&request, body).await)
        }
    });
    let mut connection = http1::Builder::new()
        // The stream has its own clock, which tells rest from a slow request.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(client), service);
    // Who has just connected is about to ask, and is not sent away without a word when the end comes now.
    let result = match timeout(ABOUT_TO_ASK, &mut connection).await {
        Ok(result) => result,
        Err(_) => watcher.watch(connection).await,
    };
    if let Err(error) = result {
        debug!(err = %error, "Connection of a client ended early");
    }
}

/// As [`serve`], over HTTP/2. A request that the client takes back is dropped as well.
pub async fn serve_http2<S>(server: Arc<Server>, stream: S, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::new());
    let service = service_fn({
        let activity = Arc::clone(&activity);
        move |request: hyper::Request<hyper::body::Incoming>| {
            let (server, running) = (Arc::clone(&server), Running::begin(&activity));
            async move {
                let (request, body) = request.into_parts();
                let reply = server.respond(&request, body).await;
                Ok::<_, Infallible>(reply.map(|body| body.hold(running)))
            }
        }
    });
    let mut connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .serve_connection(TokioIo::new(stream), service);
    let served = async {
        // As above.
        match timeout(ABOUT_TO_ASK, &mut connection).await {
            Ok(result) => result,
            Err(_) => watcher.watch(connection).await,
        }
    };
    tokio::select! {
        result = served => if let Err(error) = result {
            debug!(err = %error, "Connection of a client ended early");
        },
        () = activity.ended() => debug!("Connection of a client was idle"),
    }
}

/// Requests of an HTTP/2 connection: how many run, and since when there was none.
#[derive(Debug)]
struct Activity {
    running: AtomicUsize,
    /// When idling counts as too long.
    due: Mutex<Instant>,
}

impl Activity {
    fn new() -> Self {
        Self { running: AtomicUsize::new(0), due: Mutex::new(Instant::now() + HEAD_TIMEOUT) }
    }

    /// Returns when there was no request for too long.
    async fn ended(&self) {
        loop {
            let due = *self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if self.running.load(Ordering::Relaxed) > 0 {
                sleep_until(now + IDLE_TIMEOUT).await;
            } else if due <= now {
                return;
            } else {
                sleep_until(due).await;
            }
        }
    }
}

/// A request that is being answered.
struct Running(Arc<Activity>);

impl Running {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.due.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + IDLE_TIMEOUT;
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes of the head of a request; targets are not longer than browsers allow.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Time for the first request of a new connection to come, also at the end of the process.
const ABOUT_TO_ASK: Duration = Duration::from_secs(1);
/// Requests at once on one HTTP/2 connection, as in Go; clients open a further connection for more.
const MAX_STREAMS: u32 = 250;
/// Bytes of bodies a client may send ahead, to one request and to all together. Few requests have any.
const WINDOW: u32 = 64 << 10;
/// Time between two questions whether an HTTP/2 client is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time for its answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_connections_end_and_busy_ones_do_not() {
        let activity = Arc::new(Activity::new());
        let begin = Instant::now();
        activity.ended().await;
        assert_eq!(begin.elapsed(), HEAD_TIMEOUT);

        let running = Running::begin(&activity);
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, activity.ended()).await.is_err());
        drop(running);
        let rest = Instant::now();
        activity.ended().await;
        assert_eq!(rest.elapsed(), IDLE_TIMEOUT);
    }
}
