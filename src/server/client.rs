//! The stream of an HTTP/1 client: it tells one that has sent all it wanted from one that has gone, and
//! gives up on one that is too slow.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream with the habits of HTTP/1 clients.
///
/// A client that has sent all it wanted and one that has gone look the same: the stream ends. A client
/// that closes its sending half does so together with its request and still waits for the reply; a
/// scraper that gives up does so later. So an end right after a request is kept back until the reply is
/// out, and a later one ends the probe.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    /// When bytes last came in that are not answered yet.
    asked: Option<Instant>,
    /// Whether bytes went out that are not flushed yet.
    wrote: bool,
    end: End,
    busy: Busy,
    /// Between a reply and the first byte of the next request.
    resting: bool,
    /// When whatever is waited for must have come; not looked at while a request is being answered.
    due: Pin<Box<Sleep>>,
    /// When the client must have taken something of what is being written.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// Whether a request is being answered; shared with whoever answers.
#[derive(Clone, Debug, Default)]
pub struct Busy(Arc<AtomicBool>);

impl Busy {
    /// A request is complete.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
/// Time until the head of a request is complete, from the connection or from its first byte on.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time a connection may rest between requests; scrapers come back every few minutes at most.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Time in which a client must take something of a reply.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

impl<S> Client<S> {
    /// A client that has said nothing yet.
    pub fn new(stream: S, busy: Busy) -> Self {
        Self {
            stream,
            asked: None,
            wrote: false,
            end: End::NotSeen,
            busy,
            resting: false,
            due: Box::pin(sleep(HEAD_TIMEOUT)),
            stalled: None,
        }
    }

    fn replied(&mut self) {
        self.asked = None;
        if self.busy.0.swap(false, Ordering::Relaxed) {
            self.resting = true;
            self.expect_within(IDLE_TIMEOUT);
        }
        if let End::Hidden(waker) = std::mem::replace(&mut self.end, End::NotSeen) {
            self.end = End::Told;
            waker.wake();
        }
    }

    fn expect_within(&mut self, time: Duration) {
        self.due.as_mut().reset(tokio::time::Instant::now() + time);
    }

    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        !self.busy.0.load(Ordering::Relaxed) && self.due.as_mut().poll(cx).is_ready()
    }

    /// Passes on the result of a write, unless the client has taken nothing for too long.
    fn judge_write<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(too_slow("it does not take its reply"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn too_slow(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
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
        let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buf) else {
            return match self.is_overdue(cx) {
                true => Poll::Ready(Err(too_slow("it sends no request"))),
                false => Poll::Pending,
            };
        };
        result?;
        if buf.filled().len() > before {
            self.asked = Some(Instant::now());
            if std::mem::take(&mut self.resting) {
                self.expect_within(HEAD_TIMEOUT);
            } else if self.is_overdue(cx) {
                // Bytes keep coming, one by one.
                return Poll::Ready(Err(too_slow("it sends its request too slowly")));
            }
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
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge_write(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wrote = true;
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge_write(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called by hyper when everything is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        ready!(self.judge_write(cx, result))?;
        if self.wrote {
            self.wrote = false;
            self.replied();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge_write(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// How long until reading fails, in seconds, and why.
    async fn patience(client: &mut Client<impl AsyncRead + Unpin>) -> (u64, String) {
        let begin = tokio::time::Instant::now();
        let mut buffer = [0; 64];
        loop {
            match client.read(&mut buffer).await {
                Ok(_) => {}
                Err(error) => return (begin.elapsed().as_secs(), error.to_string()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_slow_requests_end() {
        let (near, _far) = duplex(64);
        let mut client = Client::new(near, Busy::default());
        assert_eq!(patience(&mut client).await, (30, "it sends no request".to_owned()));

        let (near, mut far) = duplex(64);
        let mut client = Client::new(near, Busy::default());
        let drip = async {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(7)).await;
            }
        };
        tokio::select! {
            got = patience(&mut client) => assert_eq!(got.0, 30),
            () = drip => unreachable!("the stream is open"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_takes_as_long_as_it_takes_and_rest_is_longer() {
        let (near, mut far) = duplex(64);
        let busy = Busy::default();
        let mut client = Client::new(near, busy.clone());
        far.write_all(b"request").await.unwrap();
        client.read_exact(&mut [0; 7]).await.unwrap();
        busy.begin();
        let mut byte = [0];
        let silent = tokio::time::timeout(Duration::from_secs(3600), client.read(&mut byte)).await;
        assert!(silent.is_err(), "a request is being answered");
        client.write_all(b"reply").await.unwrap();
        client.flush().await.unwrap();
        let wait = tokio::time::timeout(Duration::from_secs(200), client.read(&mut byte)).await;
        assert!(wait.is_err(), "it rests");
        far.write_all(b"r").await.unwrap();
        assert_eq!(patience(&mut client).await, (30, "it sends no request".to_owned()));

        busy.begin();
        client.write_all(b"reply").await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(patience(&mut client).await, (300, "it sends no request".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_nobody_takes_is_given_up() {
        let (near, mut far) = duplex(8);
        let mut client = Client::new(near, Busy::default());
        let begin = tokio::time::Instant::now();
        let read_late = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            far.read_exact(&mut [0; 4]).await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            got = client.write_all(&[0; 64]) => {
                assert_eq!(got.unwrap_err().to_string(), "it does not take its reply");
                assert_eq!(begin.elapsed().as_secs(), 50);
            }
            () = read_late => unreachable!("it waits for ever"),
        }
    }
}
