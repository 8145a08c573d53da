//! One connection of a client: HTTP/1 over a stream that knows why a client stopped sending.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tracing::debug;

use super::Server;

/// Serves requests until the client is gone or `watcher` hears of the end.
///
/// When the client closes the connection, the running probe is dropped with it.
pub async fn serve(server: Arc<Server>, stream: TcpStream, watcher: Watcher) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let server = Arc::clone(&server);
        async move {
            let (request, _) = request.into_parts();
            Ok::<_, Infallible>(server.answer(&request).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(Client::new(stream)), service);
    if let Err(error) = watcher.watch(connection).await {
        debug!(err = %error, "Connection of a client ended early");
    }
}

/// Time until the head of a request must be complete. The clock starts when the reply before it is out,
/// so it is also how long a connection may rest; scrapers come back every few minutes at most.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of the head of a request; targets are not longer than browsers allow.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// A stream that tells a client that has sent all it wanted from one that has gone.
///
/// Both look the same: the stream ends. A client that closes its sending half does so together with
/// its request and still waits for the reply; a scraper that gives up does so later. So an end right
/// after a request is kept back until the reply is out, and a later one ends the probe.
#[derive(Debug)]
struct Client<S> {
    stream: S,
    /// When bytes last came in that are not answered yet.
    asked: Option<Instant>,
    /// Whether bytes went out that are not flushed yet.
    wrote: bool,
    end: End,
}

#[derive(Debug)]
enum End {
    NotSeen,
    /// Kept back until the reply is out; then whoever waits for input is woken.
    Hidden(Waker),
    Told,
}

/// An end this soon after a request belongs to the request.
const HALF_CLOSE_WINDOW: Duration = Duration::from_millis(100);

impl<S> Client<S> {
    fn new(stream: S) -> Self {
        Self { stream, asked: None, wrote: false, end: End::NotSeen }
    }

    fn replied(&mut self) {
        self.asked = None;
        if let End::Hidden(waker) = std::mem::replace(&mut self.end, End::NotSeen) {
            self.end = End::Told;
            waker.wake();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Client<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.end {
            End::NotSeen => {}
            End::Hidden(waker) => {
                waker.clone_from(cx.waker());
                return Poll::Pending;
            }
            End::Told => return Poll::Ready(Ok(())),
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.asked = Some(Instant::now());
        } else if self.asked.is_some_and(|asked| asked.elapsed() < HALF_CLOSE_WINDOW) {
            self.end = End::Hidden(cx.waker().clone());
            return Poll::Pending;
        } else {
            self.end = End::Told;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Client<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote = true;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wrote = true;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called by hyper when everything is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.wrote {
            self.wrote = false;
            self.replied();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
