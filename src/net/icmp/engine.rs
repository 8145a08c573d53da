//! Opens, shares and closes the sockets, sends requests, and reads what comes back.

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::IpAddr,
    num::NonZeroU8,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
    task::AbortHandle,
    time::{interval, sleep},
};

use super::{
    DEFAULT_PAYLOAD_SIZE, EchoReply, EchoRequest, PingError, Stats,
    control::{BATCH_SIZE, Batch},
    packet::{
        EchoId, Family, MAX_PAYLOAD_SIZE, Message, Payload, echo_request, parse_ip_packet, parse_message,
    },
    socket::{IcmpSocket, Kind, SocketKey},
    timing::{Arrival, Sent, round_trip},
    waiters::{Expected, Reply, Waiters},
};

/// Sends pings for the whole process.
///
/// Sockets are opened on demand and closed after a minute without use. Each has one reader task
/// on the runtime that opened it; dropping the engine stops them all and fails what still waits.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// An engine without sockets.
    pub fn new() -> Self {
        Self::closing_after(IDLE_LIMIT)
    }

    fn closing_after(idle_limit: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                sockets: Mutex::default(),
                idle_limit,
                unmatched: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
            }),
        }
    }

    /// Find or open the socket and build the packet; nothing is sent yet.
    ///
    /// # Errors
    /// [`PingError::PermissionDenied`], [`PingError::SourceAddress`],
    /// [`PingError::TooManyInFlight`], [`PingError::MessageTooBig`] beyond 65,527 payload bytes,
    /// or [`PingError::Io`], also outside a tokio runtime.
    pub fn prepare(&self, request: &EchoRequest) -> Result<Ping, PingError> {
        let destination = request.destination.to_canonical();
        let source = request.source.map(|source| source.to_canonical());
        let family = Family::of(destination);
        if let Some(address) = source
            && Family::of(address) != family
        {
            return Err(PingError::SourceAddress {
                address,
                source: io::Error::other("the destination is of the other address family"),
            });
        }
        let size = match request.payload_size {
            0 => DEFAULT_PAYLOAD_SIZE,
            size => size,
        };
        let payload = Payload {
            cookie: rand::random(),
            size: u16::try_from(size)
                .ok()
                .filter(|&size| size <= MAX_PAYLOAD_SIZE)
                .ok_or(PingError::MessageTooBig)?,
        };
        let link = self.shared.link(SocketKey {
            family,
            source,
            dont_fragment: request.dont_fragment && family == Family::V4,
        })?;
        let sequence =
            link.waiters.register(Expected { destination, scope_id: request.scope_id, payload })?;
        let id = EchoId { identifier: link.socket.get_ref().identifier(), sequence };
        Ok(Ping {
            packet: echo_request(family, id, &payload),
            destination,
            scope_id: request.scope_id,
            ttl: request.ttl,
            ticket: Ticket { link, sequence },
        })
    }

    /// What the engine is doing and has seen.
    pub fn stats(&self) -> Stats {
        let sockets = self.shared.sockets();
        Stats {
            sockets: sockets.len(),
            in_flight: sockets.values().map(|open| open.link.waiters.len()).sum(),
            replies_unmatched: self.shared.unmatched.load(Ordering::Relaxed),
            replies_dropped: self.shared.dropped.load(Ordering::Relaxed),
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.sockets().clear();
    }
}

/// A request that is ready to be sent. Dropping it, at any time, gives its place away.
#[derive(Debug)]
pub struct Ping {
    ticket: Ticket,
    packet: Vec<u8>,
    destination: IpAddr,
    scope_id: u32,
    ttl: Option<NonZeroU8>,
}

impl Ping {
    /// Send the request and wait for its reply, without a time limit.
    ///
    /// An ICMP error about this request ends the wait at once.
    ///
    /// # Errors
    /// Any [`PingError`] but those of [`Engine::prepare`].
    pub fn run(self) -> impl Future<Output = Result<EchoReply, PingError>> + Send {
        // Captured once; the arguments of an async function take their size twice.
        let mut ping = self;
        async move {
            let sent = match ping.send(ping.ticket.link.socket.get_ref()) {
                Ok(sent) => sent,
                // Boxed to keep the thousands small that only wait for their reply.
                Err(error) => Box::pin(ping.send_again(error)).await?,
            };
            ping.packet = Vec::new();
            let Ticket { link, sequence } = &ping.ticket;
            let answer = poll_fn(|context| link.waiters.poll(*sequence, context)).await?;
            Ok(EchoReply { rtt: round_trip(sent, answer.arrival), hop_limit: answer.hop_limit })
        }
    }

    fn send(&self, socket: &IcmpSocket) -> io::Result<Sent> {
        let sent = Sent::now();
        socket.send(&self.packet, self.destination, self.scope_id, self.ttl)?;
        Ok(sent)
    }

    /// Send although the first attempt failed.
    async fn send_again(&self, mut error: io::Error) -> Result<Sent, PingError> {
        let link = &self.ticket.link;
        for _ in 1..SEND_ATTEMPTS {
            if error.raw_os_error() == Some(libc::ENOBUFS) {
                // The interface's queue is full, which no readiness tells.
                sleep(QUEUE_PAUSE).await;
            } else if error.kind() != io::ErrorKind::WouldBlock {
                if link.socket.get_ref().kind() == Kind::Raw {
                    break;
                }
                // Perhaps an ICMP error about another ping, which the kernel returns from the
                // next call on the socket. A local error will come back.
                link.drain_errors();
            }
            // Waits while the send buffer is full.
            let attempt = link.socket.async_io(Interest::WRITABLE, |socket| self.send(socket));
            match attempt.await {
                Ok(sent) => return Ok(sent),
                Err(again) => error = again,
            }
        }
        Err(send_error(error))
    }
}

/// Tries for one request. Another ping's error costs one, and during an outage several may come
/// in a row.
const SEND_ATTEMPTS: u32 = 8;

/// A 1 Gbit/s link sends some 1,000 small packets in this time.
const QUEUE_PAUSE: Duration = Duration::from_millis(1);

fn send_error(error: io::Error) -> PingError {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => PingError::MessageTooBig,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EADDRNOTAVAIL | libc::ENETDOWN) => {
            PingError::NoRoute(error)
        }
        Some(libc::EACCES | libc::EPERM) => PingError::Prohibited(error),
        _ => PingError::Io(error),
    }
}

/// A place among the waiters of one socket.
#[derive(Debug)]
struct Ticket {
    link: Arc<Link>,
    sequence: u16,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.link.waiters.remove(self.sequence);
    }
}

/// What engine and readers share.
#[derive(Debug)]
struct Shared {
    sockets: Mutex<HashMap<SocketKey, Open>>,
    idle_limit: Duration,
    unmatched: AtomicU64,
    dropped: AtomicU64,
}

impl Shared {
    fn sockets(&self) -> MutexGuard<'_, HashMap<SocketKey, Open>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(self: &Arc<Self>, key: SocketKey) -> Result<Arc<Link>, PingError> {
        let mut sockets = self.sockets();
        // A reader ends early when its socket fails or its runtime shuts down.
        if let Some(open) = sockets.get(&key)
            && !open.reader.is_finished()
        {
            return Ok(Arc::clone(&open.link));
        }
        let runtime = Handle::try_current().map_err(|error| PingError::Io(io::Error::other(error)))?;
        let link = Arc::new(Link {
            socket: IcmpSocket::open(&key)?.into_async().map_err(PingError::Io)?,
            waiters: Waiters::new(rand::random()),
        });
        let reader = read(Arc::clone(self), key, Arc::clone(&link));
        let open = Open { link: Arc::clone(&link), reader: runtime.spawn(reader).abort_handle() };
        sockets.insert(key, open);
        Ok(link)
    }

    /// Forget the socket if nobody can be using it.
    fn close_if_idle(&self, key: &SocketKey, link: &Arc<Link>) -> bool {
        let mut sockets = self.sockets();
        // The map and the reader hold one each. With the map locked nobody gets another.
        let is_unused = Arc::strong_count(link) <= 2;
        let is_idle = is_unused && link.waiters.idle(Instant::now()) >= self.idle_limit;
        if is_idle {
            sockets.remove(key);
        }
        is_idle
    }
}

/// Closed after this long without a ping.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// The map's share of a socket; removing it ends the reader.
#[derive(Debug)]
struct Open {
    link: Arc<Link>,
    reader: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// One socket and the pings that wait on it.
#[derive(Debug)]
struct Link {
    socket: AsyncFd<IcmpSocket>,
    waiters: Waiters,
}

impl Link {
    /// Hand all queued ICMP errors to their pings.
    fn drain_errors(&self) {
        let mut woken = Vec::new();
        while let Ok(Some(error)) = self.socket.get_ref().receive_error() {
            if let (Some(id), Some(destination), Some(report)) = (error.id, error.destination, error.report)
                && id.identifier == self.socket.get_ref().identifier()
            {
                self.waiters.lock().problem(
                    id.sequence,
                    destination,
                    report.problem,
                    report.from,
                    &mut woken,
                );
            }
        }
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Read one socket until it is idle or broken, or the engine is dropped.
async fn read(shared: Arc<Shared>, key: SocketKey, link: Arc<Link>) {
    let _close = CloseOnDrop(&link.waiters);
    let mut inbox = Inbox::default();
    let mut failures = 0;
    let mut idle_check = interval(shared.idle_limit / 2);
    loop {
        let ready = tokio::select! {
            ready = link.socket.ready(Interest::READABLE | Interest::ERROR) => ready,
            _ = idle_check.tick() => {
                if shared.close_if_idle(&key, &link) {
                    return;
                }
                continue;
            }
        };
        let Ok(mut ready) = ready else {
            return;
        };
        if ready.ready().is_error() {
            link.drain_errors();
        }
        match link.socket.get_ref().receive(&mut inbox.batch) {
            Ok(received) => {
                inbox.deliver(received, &link, &shared);
                failures = 0;
                if received < BATCH_SIZE {
                    ready.clear_ready();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                failures = 0;
                ready.clear_ready();
            }
            // An ICMP error that is in the error queue, too, or a broken socket.
            Err(_) if failures == MAX_READ_FAILURES => return,
            Err(_) => failures += 1,
        }
    }
}

/// Read errors in a row after which the socket is given up; the next ping opens another.
const MAX_READ_FAILURES: u32 = 64;

/// Whichever way the reader ends, nobody waits in vain.
struct CloseOnDrop<'a>(&'a Waiters);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The reader's memory.
#[derive(Default)]
struct Inbox {
    batch: Batch,
    woken: Vec<Waker>,
    /// The socket's drop counter when last seen.
    dropped: u32,
}

impl Inbox {
    fn deliver(&mut self, received: usize, link: &Link, shared: &Shared) {
        let socket = link.socket.get_ref();
        let monotonic = Instant::now();
        let mut unmatched = 0;
        let mut dropped = self.dropped;
        let mut waiters = link.waiters.lock();
        for packet in self.batch.packets(received) {
            // The kernel leaves the counter out while it is zero.
            dropped = packet.dropped.unwrap_or(dropped);
            let message = match (socket.kind(), socket.family()) {
                (Kind::Raw, Family::V4) => parse_ip_packet(packet.bytes),
                (_, family) => parse_message(family, packet.bytes),
            };
            match message {
                Some(Message::Reply { id, payload }) if id.identifier == socket.identifier() => {
                    let reply = Reply {
                        sequence: id.sequence,
                        from: packet.from,
                        scope_id: packet.scope_id,
                        payload,
                        arrival: Arrival { monotonic, wall: packet.wall },
                        hop_limit: packet.hop_limit,
                    };
                    unmatched += u64::from(!waiters.reply(reply, &mut self.woken));
                }
                Some(Message::Problem { id, destination, problem })
                    if id.identifier == socket.identifier() =>
                {
                    waiters.problem(id.sequence, destination, problem, packet.from, &mut self.woken)
                }
                _ => {}
            }
        }
        drop(waiters);
        self.woken.drain(..).for_each(Waker::wake);

        let lost = dropped.wrapping_sub(self.dropped);
        self.dropped = dropped;
        shared.unmatched.fetch_add(unmatched, Ordering::Relaxed);
        shared.dropped.fetch_add(lost.into(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn send_errors_say_what_to_do() {
        let cases = [
            (libc::EMSGSIZE, "the request is too large to send"),
            (libc::ENETUNREACH, "no local route to the destination"),
            (libc::EHOSTUNREACH, "no local route to the destination"),
            (libc::EADDRNOTAVAIL, "no local route to the destination"),
            (libc::EACCES, "a local route or packet filter forbids the destination"),
            (libc::EPERM, "a local route or packet filter forbids the destination"),
            (libc::EINVAL, "the ICMP socket failed"),
        ];
        for (code, want) in cases {
            let error = send_error(io::Error::from_raw_os_error(code));
            assert_eq!(error.to_string(), want, "errno {code}");
        }
    }

    #[tokio::test]
    async fn requests_that_cannot_be_sent_are_refused_before_a_socket_opens() {
        let request = |payload_size, source: Option<&str>| EchoRequest {
            destination: "::ffff:127.0.0.1".parse().unwrap(),
            scope_id: 0,
            source: source.map(|source| source.parse().unwrap()),
            ttl: None,
            dont_fragment: false,
            payload_size,
        };
        let engine = Engine::new();
        let error = engine.prepare(&request(65_528, None)).unwrap_err();
        assert_eq!(error.to_string(), "the request is too large to send");
        let error = engine.prepare(&request(0, Some("::1"))).unwrap_err();
        assert_eq!(error.to_string(), "cannot send from ::1");
        assert_eq!(engine.stats(), Stats::default());
    }

    #[tokio::test]
    #[ignore = "needs CAP_NET_RAW"]
    async fn sockets_close_when_idle() {
        let engine = Engine::closing_after(Duration::from_millis(20));
        let request = EchoRequest {
            destination: "127.0.0.1".parse().unwrap(),
            scope_id: 0,
            source: None,
            ttl: None,
            dont_fragment: false,
            payload_size: 0,
        };
        let prepared = engine.prepare(&request).unwrap();
        sleep(Duration::from_millis(100)).await;
        assert_eq!(engine.stats().sockets, 1, "a prepared ping keeps its socket");
        prepared.run().await.unwrap();
        while engine.stats().sockets > 0 {
            sleep(Duration::from_millis(5)).await;
        }
        engine.prepare(&request).unwrap().run().await.unwrap();
        assert_eq!(engine.stats().sockets, 1, "the next ping opens another");
    }

    #[tokio::test]
    #[ignore = "needs CAP_NET_RAW"]
    async fn a_waiting_ping_is_small() {
        let engine = Engine::new();
        let request = EchoRequest {
            destination: "127.0.0.1".parse().unwrap(),
            scope_id: 0,
            source: None,
            ttl: None,
            dont_fragment: false,
            payload_size: 0,
        };
        let ping = engine.prepare(&request).unwrap().run();
        assert!(size_of_val(&ping) <= 192, "{} bytes", size_of_val(&ping));
    }
}
