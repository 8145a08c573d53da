//! Which ping waits for which sequence number on one socket.
//!
//! A lock guards the table for the length of one map operation, or of one batch of received
//! packets; never across an await.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    PingError,
    packet::{Payload, Problem},
    timing::Arrival,
};

/// The waiting pings of one socket.
#[derive(Debug)]
pub(super) struct Waiters {
    table: Mutex<Table>,
}

impl Waiters {
    /// Nobody waits; sequence numbers begin at `first`.
    pub fn new(first: u16) -> Self {
        Self {
            table: Mutex::new(Table {
                waiting: HashMap::new(),
                next: first,
                closed: false,
                last_used: Instant::now(),
            }),
        }
    }

    /// Take a free sequence number and wait for its reply.
    ///
    /// # Errors
    /// [`PingError::TooManyInFlight`], or [`PingError::Closed`] after [`Self::close`].
    pub fn register(&self, expected: Expected) -> Result<u16, PingError> {
        self.lock().register(expected)
    }

    /// Whether the ping with this number has its outcome; if not, wake the task when it has.
    pub fn poll(&self, sequence: u16, context: &mut Context<'_>) -> Poll<Result<Answer, PingError>> {
        let mut table = self.lock();
        let Some(waiter) = table.waiting.get_mut(&sequence) else {
            return Poll::Ready(Err(PingError::Closed));
        };
        if let Some(outcome) = waiter.outcome.take() {
            return Poll::Ready(outcome);
        }
        match &mut waiter.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Nobody waits for this number any more.
    pub fn remove(&self, sequence: u16) {
        self.lock().waiting.remove(&sequence);
    }

    /// Fail everyone who waits, now and later.
    pub fn close(&self) {
        let mut woken = Vec::new();
        let mut table = self.lock();
        table.closed = true;
        for waiter in table.waiting.values_mut() {
            waiter.settle(Err(PingError::Closed), &mut woken);
        }
        drop(table);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Pings that wait.
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Time since the last ping began; zero while any waits.
    pub fn idle(&self, now: Instant) -> Duration {
        let table = self.lock();
        if table.waiting.is_empty() { now.saturating_duration_since(table.last_used) } else { Duration::ZERO }
    }

    /// Hold the table for a batch of received packets.
    pub fn lock(&self) -> MutexGuard<'_, Table> {
        // No code panics while it holds the lock, so the table is whole even if poisoned.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Waiters::lock`].
#[derive(Debug)]
pub(super) struct Table {
    waiting: HashMap<u16, Waiter>,
    /// Where the search for a free sequence number begins.
    next: u16,
    closed: bool,
    last_used: Instant,
}

impl Table {
    fn register(&mut self, expected: Expected) -> Result<u16, PingError> {
        if self.closed {
            return Err(PingError::Closed);
        }
        if self.waiting.len() >= MAX_IN_FLIGHT {
            return Err(PingError::TooManyInFlight);
        }
        loop {
            let sequence = self.next;
            self.next = self.next.wrapping_add(1);
            if let Entry::Vacant(slot) = self.waiting.entry(sequence) {
                slot.insert(Waiter { expected, outcome: None, waker: None });
                self.last_used = Instant::now();
                return Ok(sequence);
            }
        }
    }

    /// Hand a reply to the ping that waits for exactly this one; `false` if there is none.
    ///
    /// The task to wake, once the table is unlocked, is added to `woken`.
    pub fn reply(&mut self, reply: Reply<'_>, woken: &mut Vec<Waker>) -> bool {
        match self.waiting.get_mut(&reply.sequence) {
            Some(waiter) if waiter.outcome.is_none() && waiter.expected.matches(&reply) => {
                let answer = Answer { arrival: reply.arrival, hop_limit: reply.hop_limit };
                waiter.settle(Ok(answer), woken);
                true
            }
            _ => false,
        }
    }

    /// Hand an ICMP error to the ping it is about, if that still waits.
    pub fn problem(
        &mut self,
        sequence: u16,
        destination: IpAddr,
        problem: Problem,
        from: IpAddr,
        woken: &mut Vec<Waker>,
    ) {
        if let Some(waiter) = self.waiting.get_mut(&sequence)
            && waiter.outcome.is_none()
            && waiter.expected.destination == destination
        {
            waiter.settle(Err(problem.reported_by(from)), woken);
        }
    }
}

/// What a reply must be to count.
#[derive(Debug)]
pub(super) struct Expected {
    /// The address asked.
    pub destination: IpAddr,
    /// Interface of a link-local destination, else 0.
    pub scope_id: u32,
    /// What was sent must come back.
    pub payload: Payload,
}

impl Expected {
    fn matches(&self, reply: &Reply<'_>) -> bool {
        (self.is_group() || self.is_from_destination(reply)) && self.payload.matches(reply.payload)
    }

    /// Whether members of a group answer, each from its own address.
    fn is_group(&self) -> bool {
        match self.destination {
            IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_multicast(),
        }
    }

    fn is_from_destination(&self, reply: &Reply<'_>) -> bool {
        self.destination == reply.from && (self.scope_id == 0 || self.scope_id == reply.scope_id)
    }
}

/// A received echo reply that carries our identifier.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply<'a> {
    pub sequence: u16,
    pub from: IpAddr,
    /// Interface of a link-local `from`, else 0.
    pub scope_id: u32,
    pub payload: &'a [u8],
    pub arrival: Arrival,
    pub hop_limit: Option<u8>,
}

/// What a ping learns from its reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub arrival: Arrival,
    pub hop_limit: Option<u8>,
}

#[derive(Debug)]
struct Waiter {
    expected: Expected,
    outcome: Option<Result<Answer, PingError>>,
    waker: Option<Waker>,
}

impl Waiter {
    fn settle(&mut self, outcome: Result<Answer, PingError>, woken: &mut Vec<Waker>) {
        if self.outcome.is_none() {
            self.outcome = Some(outcome);
        }
        woken.extend(self.waker.take());
    }
}

/// One ping for each sequence number.
const MAX_IN_FLIGHT: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: [u8; 8] = *b"12345678";

    fn expected(destination: &str, scope_id: u32) -> Expected {
        Expected {
            destination: destination.parse().unwrap(),
            scope_id,
            payload: Payload { cookie: COOKIE, size: 8 },
        }
    }

    fn reply(from: &str, scope_id: u32, payload: &'static [u8]) -> Reply<'static> {
        Reply {
            sequence: 7,
            from: from.parse().unwrap(),
            scope_id,
            payload,
            arrival: Arrival { monotonic: Instant::now(), wall: None },
            hop_limit: Some(61),
        }
    }

    fn poll(waiters: &Waiters, sequence: u16) -> Poll<Result<Answer, PingError>> {
        waiters.poll(sequence, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn only_the_exact_reply_counts() {
        let cases = [
            ("ours", expected("192.0.2.1", 0), reply("192.0.2.1", 0, &COOKIE), true),
            ("other address", expected("192.0.2.1", 0), reply("192.0.2.2", 0, &COOKIE), false),
            ("other payload", expected("192.0.2.1", 0), reply("192.0.2.1", 0, b"12345679"), false),
            ("multicast", expected("ff02::1", 2), reply("fe80::1", 2, &COOKIE), true),
            ("broadcast", expected("255.255.255.255", 0), reply("192.0.2.2", 0, &COOKIE), true),
            ("same link", expected("fe80::1", 2), reply("fe80::1", 2, &COOKIE), true),
            ("other link", expected("fe80::1", 2), reply("fe80::1", 3, &COOKIE), false),
        ];
        for (name, expected, reply, want) in cases {
            let waiters = Waiters::new(7);
            let sequence = waiters.register(expected).unwrap();
            assert!(poll(&waiters, sequence).is_pending(), "{name}");
            let mut woken = Vec::new();
            assert_eq!(waiters.lock().reply(reply, &mut woken), want, "{name}");
            assert_eq!(woken.len(), usize::from(want), "{name}");
            assert_eq!(poll(&waiters, sequence).is_ready(), want, "{name}");
        }
    }

    #[test]
    fn errors_count_for_their_destination_only() {
        let waiters = Waiters::new(7);
        let sequence = waiters.register(expected("192.0.2.1", 0)).unwrap();
        let router = "198.51.100.1".parse().unwrap();
        let report = |destination: &str| {
            let destination = destination.parse().unwrap();
            let mut table = waiters.lock();
            table.problem(7, destination, Problem::TtlExceeded, router, &mut Vec::new());
        };
        report("192.0.2.2");
        assert!(poll(&waiters, sequence).is_pending());
        report("192.0.2.1");
        let Poll::Ready(Err(PingError::TtlExceeded { from })) = poll(&waiters, sequence) else {
            panic!("no error arrived");
        };
        assert_eq!(from, router);
    }

    #[test]
    fn sequence_numbers_in_use_are_skipped_until_all_are() {
        let waiters = Waiters::new(u16::MAX);
        let next = || waiters.register(expected("192.0.2.1", 0));
        assert_eq!(next().unwrap(), u16::MAX);
        for want in 0..u16::MAX {
            assert_eq!(next().unwrap(), want);
        }
        assert!(matches!(next(), Err(PingError::TooManyInFlight)));
        waiters.remove(500);
        assert_eq!(next().unwrap(), 500);
    }

    #[test]
    fn a_repeated_reply_is_unmatched() {
        let waiters = Waiters::new(7);
        waiters.register(expected("192.0.2.1", 0)).unwrap();
        let reply = reply("192.0.2.1", 0, &COOKIE);
        assert!(waiters.lock().reply(reply, &mut Vec::new()));
        assert!(!waiters.lock().reply(reply, &mut Vec::new()));
    }

    #[test]
    fn closing_fails_waiting_and_later_pings() {
        let waiters = Waiters::new(7);
        let sequence = waiters.register(expected("192.0.2.1", 0)).unwrap();
        waiters.close();
        let outcome = poll(&waiters, sequence);
        assert!(matches!(outcome, Poll::Ready(Err(PingError::Closed))));
        let later = waiters.register(expected("192.0.2.1", 0));
        assert!(matches!(later, Err(PingError::Closed)));
    }

    #[test]
    fn a_waiting_ping_is_small() {
        assert!(size_of::<(u16, Waiter)>() <= 112, "{}", size_of::<(u16, Waiter)>());
    }
}
