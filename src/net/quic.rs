//! QUIC connections that live inside the future that waits for them.
//!
//! quinn wants a runtime that runs its drivers in the background. The one here only collects them:
//! [`Link::drive`] polls them together with whatever waits for the connection, so nothing is spawned and
//! nothing outlives the probe. Each link has a socket, an endpoint and a configuration of its own; no
//! session, token or early data passes from one to the next.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, EndpointConfig, TransportConfig, UdpPoller, VarInt, crypto};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Sleep, sleep_until};

use super::connect;

/// Bytes the peer may send ahead of what we have read, so that a large body is not slowed down by round trips of ours.
const RECEIVE_WINDOW: u32 = 4 << 20;
/// Streams the peer may have open towards us; HTTP/3 needs three (RFC 9114 §6.2).
const PEER_STREAMS: u32 = 16;

/// A socket to one peer and the drivers of the connection over it. Dropping it tells the peer and closes the socket.
#[derive(Debug)]
pub struct Link {
    endpoint: quinn::Endpoint,
    tasks: Vec<Task>,
    inline: Arc<Inline>,
    socket: Arc<Socket>,
    /// Sent to the peer as the reason for the end.
    goodbye: VarInt,
}

impl Link {
    /// Opens a socket that only talks to `to`, from `source` if one is given. `goodbye` is the error code that
    /// the peer is told at the end, in the application's own numbering.
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn open(to: SocketAddr, source: Option<IpAddr>, goodbye: u32) -> io::Result<Self> {
        let io = connect::udp(to, source).await?;
        let closing = Arc::<AtomicBool>::default();
        let socket =
            Arc::new(Socket { io, peer: to, failure: Mutex::default(), closing: Arc::clone(&closing) });
        let inline = Arc::new(Inline { spawned: Mutex::default(), closing });
        let endpoint = quinn::Endpoint::new_with_abstract_socket(
            ENDPOINT.clone(),
            None,
            Arc::clone(&socket) as Arc<dyn AsyncUdpSocket>,
            Arc::clone(&inline) as Arc<dyn quinn::Runtime>,
        )?;
        let tasks = vec![Task(Box::pin(watch(Arc::clone(&socket))))];
        Ok(Self { endpoint, tasks, inline, socket, goodbye: VarInt::from_u32(goodbye) })
    }

    /// Begins a connection; it only moves while something is driven.
    ///
    /// # Errors
    /// The name or the address cannot be used.
    pub fn connect(
        &self,
        tls: Arc<dyn crypto::ClientConfig>,
        server_name: &str,
    ) -> Result<quinn::Connecting, quinn::ConnectError> {
        let mut config = quinn::ClientConfig::new(tls);
        config.transport_config(Arc::clone(&TRANSPORT)).token_store(Arc::new(quinn::NoneTokenStore));
        self.endpoint.connect_with(config, self.socket.peer, server_name)
    }

    /// Adds work that goes on whenever something is driven.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(Task(Box::pin(task)));
    }

    /// Waits for `future` and keeps the connection going meanwhile.
    ///
    /// # Errors
    /// What the operating system says about the peer, such as an ICMP message that nobody listens there.
    pub async fn drive<F: Future>(&mut self, future: F) -> io::Result<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.advance(cx);
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            self.socket.failure().map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
        })
        .await
    }

    /// What the operating system has said about the peer, if it did.
    pub fn failure(&self) -> Option<io::Error> {
        self.socket.failure()
    }

    fn advance(&mut self, cx: &mut Context<'_>) {
        self.tasks.append(&mut self.inline.spawned());
        self.tasks.retain_mut(|task| task.0.as_mut().poll(cx).is_pending());
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.inline.closing.store(true, Ordering::Relaxed);
        self.endpoint.close(self.goodbye, b"");
        // One round is enough to send the word; the answer is nobody's business any more.
        self.advance(&mut Context::from_waker(Waker::noop()));
    }
}

/// Costs a key when made, and none of its parts tells one probe from another.
static ENDPOINT: LazyLock<EndpointConfig> = LazyLock::new(EndpointConfig::default);

static TRANSPORT: LazyLock<Arc<TransportConfig>> = LazyLock::new(|| {
    let mut config = TransportConfig::default();
    config
        // The probe has a deadline; the peer may have a limit of its own.
        .max_idle_timeout(None)
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(PEER_STREAMS))
        .datagram_receive_buffer_size(None)
        // Packets that only measure the path would not pay off within one request.
        .mtu_discovery_config(None);
    Arc::new(config)
});

/// Takes the errors that ICMP messages leave behind. They wake nobody who waits for something to read.
async fn watch(socket: Arc<Socket>) {
    let take = || socket.io.take_error()?.ok_or(io::ErrorKind::WouldBlock.into());
    while socket.io.ready(ERRORS).await.is_ok() {
        if let Ok(error) = socket.io.try_io(ERRORS, take) {
            socket.note(error);
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const ERRORS: Interest = Interest::ERROR;
/// There an error is something to read.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const ERRORS: Interest = Interest::READABLE;

struct Task(Pin<Box<dyn Future<Output = ()> + Send>>);

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Task")
    }
}

/// Collects what quinn wants to run.
#[derive(Debug)]
struct Inline {
    spawned: Mutex<Vec<Task>>,
    /// Set for the last round, which may happen outside a runtime: timers and reads stand still then.
    closing: Arc<AtomicBool>,
}

impl Inline {
    fn spawned(&self) -> MutexGuard<'_, Vec<Task>> {
        self.spawned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl quinn::Runtime for Inline {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let sleep = Box::pin(sleep_until(at.into()));
        Box::pin(Timer { sleep, closing: Arc::clone(&self.closing) })
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.spawned().push(Task(future));
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    closing: Arc<AtomicBool>,
}

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        if !self.closing.load(Ordering::Relaxed) {
            self.sleep.as_mut().reset(at.into());
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.closing.load(Ordering::Relaxed) {
            Poll::Pending
        } else {
            Future::poll(self.sleep.as_mut(), cx)
        }
    }
}

/// A connected UDP socket that remembers what the operating system says about the peer.
///
/// quinn ignores such errors, since they can be forged by whoever sees the traffic; a probe that waits for its
/// deadline at a closed port would be worse. Nor are its sockets used: to take several datagrams at once they
/// keep 3 MB for each connection, and find out anew each time what the kernel can do.
#[derive(Debug)]
struct Socket {
    io: UdpSocket,
    peer: SocketAddr,
    failure: Mutex<Option<io::Error>>,
    closing: Arc<AtomicBool>,
}

impl Socket {
    fn failure(&self) -> Option<io::Error> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().map(|error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => error.kind().into(),
        })
    }

    /// Keeps an error that no repetition can heal; the others are lost packets.
    fn note(&self, error: io::Error) {
        use io::ErrorKind as K;
        if matches!(
            error.kind(),
            K::ConnectionRefused
                | K::HostUnreachable
                | K::NetworkUnreachable
                | K::NetworkDown
                | K::PermissionDenied
                | K::AddrNotAvailable
        ) {
            self.fail(error);
        }
    }

    fn fail(&self, error: io::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.failure().is_some() {
            return Ok(());
        }
        match self.io.try_send(transmit.contents) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                self.note(error);
                Ok(())
            }
            result => result.map(drop),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.closing.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let (mut count, mut errors) = (0, 0);
            while let (Some(buf), Some(meta)) = (bufs.get_mut(count), meta.get_mut(count)) {
                match self.io.try_recv(buf) {
                    Ok(len) => {
                        *meta = RecvMeta { addr: self.peer, len, stride: len, ecn: None, dst_ip: None };
                        count += 1;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // It is told in front of datagrams that came before it, and those still count.
                    Err(error) if errors == 0 => {
                        self.note(error);
                        errors += 1;
                    }
                    Err(error) => {
                        // Whoever drives looks at the failure next.
                        self.fail(error);
                        return Poll::Pending;
                    }
                }
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }
}

#[derive(Debug)]
struct Writable(Arc<Socket>);

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.io.poll_send_ready(cx)
    }
}
