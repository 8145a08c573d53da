//! The ICMP engine against real kernels: each test has its own network namespaces.
//!
//! Needs root (or `unshare --user --map-root-user`) and iproute2:
//! `cargo test --test icmp -- --ignored`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "the lint knows tests by their attribute; helpers have none")]
#![allow(unsafe_code, reason = "namespaces and capabilities have no safe wrapper")]

use std::{
    fs,
    net::IpAddr,
    num::NonZeroU8,
    panic,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use heartbeat_exporter::net::icmp::{EchoReply, EchoRequest, Engine, PingError, Stats, Unreachable};
use tokio::{task::JoinSet, time::timeout};

#[test]
#[ignore = "needs CAP_NET_ADMIN"]
fn loopback_answers_every_payload_size() {
    for kind in Kind::ALL {
        in_namespace(kind, move || async move {
            let engine = Engine::new();
            for destination in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
                for payload_size in (0..=1472).chain([9_000, 65_507]) {
                    let request = EchoRequest { payload_size, ..request(destination) };
                    let reply = ping(&engine, &request).await.expect(destination);
                    assert!(reply.rtt > Duration::ZERO, "{destination} {payload_size}");
                    assert_eq!(reply.hop_limit, Some(64), "{destination} {payload_size}");
                }
            }
            let want = Stats { sockets: 2, ..Stats::default() };
            assert_eq!(engine.stats(), want, "{kind:?}");
            assert_eq!(kind.open_sockets(), 2, "{kind:?}");
        });
    }
}

#[test]
#[ignore = "needs CAP_NET_ADMIN"]
fn a_burst_loses_nothing() {
    for kind in Kind::ALL {
        in_namespace(kind, move || async move {
            let engine = Engine::new();
            let mut pings = JoinSet::new();
            for number in 0..2_000 {
                let destination = if number % 2 == 0 { "127.0.0.1" } else { "::1" };
                pings.spawn(engine.prepare(&request(destination)).unwrap().run());
            }
            assert_eq!(engine.stats().in_flight, 2_000);
            let replies = timeout(PATIENCE, pings.join_all()).await.expect("all answer");
            for reply in replies {
                assert!(reply.unwrap().rtt > Duration::ZERO, "{kind:?}");
            }
            let want = Stats { sockets: 2, ..Stats::default() };
            assert_eq!(engine.stats(), want, "{kind:?}");
        });
    }
}

#[test]
#[ignore = "needs CAP_NET_ADMIN"]
fn the_request_carries_the_hop_limit() {
    for kind in Kind::ALL {
        in_network(kind, move || async move {
            let engine = Engine::new();
            for (destination, router) in [(BEYOND_V4, ROUTER_V4), (BEYOND_V6, ROUTER_V6)] {
                for ttl in [1, 2, 1, 64] {
                    let request = EchoRequest { ttl: NonZeroU8::new(ttl), ..request(destination) };
                    let outcome = ping(&engine, &request).await;
                    match outcome {
                        Err(PingError::TtlExceeded { from }) if ttl == 1 => {
                            assert_eq!(from.to_string(), router);
                        }
                        Ok(reply) if ttl > 1 => assert_eq!(reply.hop_limit, Some(63)),
                        other => panic!("{kind:?} {destination} ttl {ttl}: {other:?}"),
                    }
                }
            }
        });
    }
}

#[test]
#[ignore = "needs CAP_NET_ADMIN"]
fn icmp_errors_end_the_wait() {
    let cases = [
        ("203.0.113.1", 0, false, Unreachable::Host),
        ("203.0.113.129", 0, false, Unreachable::Prohibited),
        (NARROW_V4, 1_400, true, Unreachable::FragmentationNeeded { mtu: 1_000 }),
        ("2001:db8:1::1", 0, false, Unreachable::Network),
        ("2001:db8:2::1", 0, false, Unreachable::Prohibited),
    ];
    for kind in Kind::ALL {
        in_network(kind, move || async move {
            let engine = Engine::new();
            for (destination, payload_size, dont_fragment, want) in cases {
                let request = EchoRequest { payload_size, dont_fragment, ..request(destination) };
                // A cached path MTU must not turn the second into a local error.
                for _ in 0..2 {
                    let outcome = ping(&engine, &request).await;
                    let Err(PingError::Unreachable { kind: got, from }) = outcome else {
                        panic!("{kind:?} {destination}: {outcome:?}");
                    };
                    assert_eq!(got, want, "{kind:?} {destination}");
                    assert!([ROUTER_V4, ROUTER_V6].contains(&from.to_string().as_str()));
                }
            }
            let fragmented = EchoRequest { payload_size: 1_400, ..request(NARROW_V4) };
            ping(&engine, &fragmented).await.expect("routers fragment");
        });
    }
}

#[test]
#[ignore = "needs CAP_NET_ADMIN"]
fn errors_of_one_ping_leave_the_others_alone() {
    for kind in Kind::ALL {
        in_network(kind, move || async move {
            let engine = Engine::new();
            let mut good = JoinSet::new();
            let mut bad = JoinSet::new();
            // Resolve the router's addresses: until then the kernel keeps few packets.
            for destination in [ROUTER_V4, ROUTER_V6] {
                ping(&engine, &request(destination)).await.expect(destination);
            }
            // A link between namespaces holds 1,000 packets.
            for _ in 0..200 {
                for destination in [BEYOND_V4, BEYOND_V6] {
                    let request = EchoRequest { ttl: NonZeroU8::new(1), ..request(destination) };
                    bad.spawn(engine.prepare(&request).unwrap().run());
                }
                for destination in [ROUTER_V4, ROUTER_V6] {
                    good.spawn(engine.prepare(&request(destination)).unwrap().run());
                }
            }
            for reply in timeout(PATIENCE, good.join_all()).await.expect("good") {
                assert_eq!(reply.expect("the router answers").hop_limit, Some(64));
            }
            for outcome in timeout(PATIENCE, bad.join_all()).await.expect("bad") {
                assert!(matches!(outcome, Err(PingError::TtlExceeded { .. })));
            }
        });
    }
}

#[test]
#[ignore = "needs CAP_NET_ADMIN"]
fn local_refusals_are_told_at_once() {
    let setup = "
        ip link set lo mtu 1500
        ip addr add 10.9.9.9/24 dev lo
        ip route add unreachable 192.0.2.0/25
        ip route add prohibit 192.0.2.128/25
        ip -6 route add unreachable 2001:db8:1::/48
        ip -6 route add prohibit 2001:db8:2::/48";
    let large = |destination, dont_fragment| EchoRequest {
        payload_size: 1_473,
        dont_fragment,
        ..request(destination)
    };
    let from = |source: &str| EchoRequest { source: Some(source.parse().unwrap()), ..request("127.0.0.1") };
    let cases = [
        ("unreachable route", request("192.0.2.1"), "NoRoute"),
        ("prohibit route", request("192.0.2.129"), "Prohibited"),
        ("no route", request("198.51.100.1"), "NoRoute"),
        ("IPv6 unreachable route", request("2001:db8:1::1"), "NoRoute"),
        ("IPv6 prohibit route", request("2001:db8:2::1"), "Prohibited"),
        ("IPv6 without route", request("2001:db8:3::1"), "NoRoute"),
        ("too large with DF", large("127.0.0.1", true), "MessageTooBig"),
        ("fragments", large("127.0.0.1", false), "Ok"),
        ("DF means nothing for IPv6", large("::1", true), "Ok"),
        ("larger than IPv4", EchoRequest { payload_size: 65_508, ..request("127.0.0.1") }, "MessageTooBig"),
        ("source address", from("127.0.0.5"), "Ok"),
        ("not our source address", from("192.0.2.77"), "SourceAddress"),
    ];
    for kind in Kind::ALL {
        let cases = cases.clone();
        in_namespace(kind, move || async move {
            shell(setup);
            let engine = Engine::new();
            // Twice: what one ping left behind must not change the next.
            for _ in 0..2 {
                for (name, request, want) in &cases {
                    let outcome = format!("{:?}", ping(&engine, request).await);
                    let outcome = outcome.strip_prefix("Err(").unwrap_or(&outcome);
                    assert!(outcome.starts_with(want), "{kind:?} {name}: {outcome}");
                }
            }
        });
    }
}

#[test]
#[ignore = "needs CAP_NET_ADMIN"]
fn a_dropped_ping_gives_its_place_away() {
    in_network(Kind::Datagram, || async {
        let engine = Engine::new();
        let silent = request(SILENT_V4);
        let wait = Duration::from_millis(50);
        let outcome = timeout(wait, engine.prepare(&silent).unwrap().run()).await;
        assert!(outcome.is_err(), "nobody answers");
        assert_eq!(engine.stats().in_flight, 0);

        let waiting = tokio::spawn(engine.prepare(&silent).unwrap().run());
        let prepared = engine.prepare(&silent).unwrap();
        tokio::task::yield_now().await;
        drop(engine);
        let outcome = timeout(PATIENCE, waiting).await.expect("no wait in vain");
        assert!(matches!(outcome.unwrap(), Err(PingError::Closed)));
        let outcome = timeout(PATIENCE, prepared.run()).await;
        assert!(matches!(outcome, Ok(Err(PingError::Closed))));
    });
}

#[test]
#[ignore = "needs CAP_NET_ADMIN"]
fn an_engine_survives_its_first_runtime() {
    in_namespace(Kind::Datagram, || async {
        let engine = Engine::new();
        let request = request("127.0.0.1");
        thread::scope(|scope| {
            let first = scope.spawn(|| runtime().block_on(ping(&engine, &request)));
            first.join().unwrap().expect("the first runtime");
        });
        ping(&engine, &request).await.expect("the second runtime");
    });
}

#[test]
#[ignore = "needs CAP_NET_ADMIN"]
fn without_permission_the_error_says_which_is_missing() {
    in_namespace(Kind::Raw, || async {
        drop_capabilities();
        let error = Engine::new().prepare(&request("127.0.0.1")).unwrap_err();
        assert!(matches!(error, PingError::PermissionDenied(_)), "{error:?}");
        assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
        assert!(error.to_string().contains("ping_group_range"), "{error}");
    });
}

/// Longer than any machine needs; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

async fn ping(engine: &Engine, request: &EchoRequest) -> Result<EchoReply, PingError> {
    let ping = engine.prepare(request)?;
    let started = Instant::now();
    let reply = timeout(PATIENCE, ping.run()).await.expect("an outcome")?;
    assert!(reply.rtt <= started.elapsed());
    Ok(reply)
}

fn request(destination: &str) -> EchoRequest {
    EchoRequest {
        destination: destination.parse::<IpAddr>().unwrap(),
        scope_id: 0,
        source: None,
        ttl: None,
        dont_fragment: false,
        payload_size: 0,
    }
}

/// Which sort of ICMP socket a namespace allows.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Datagram,
    Raw,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Datagram, Self::Raw];

    /// Datagram sockets for our own group; a new namespace has them for nobody.
    fn allow(self) {
        if let Self::Datagram = self {
            fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
        }
    }

    /// Sockets of this kind in the thread's namespace.
    fn open_sockets(self) -> usize {
        let tables = match self {
            Self::Datagram => ["icmp", "icmp6"],
            Self::Raw => ["raw", "raw6"],
        };
        let count = |table| {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
            text.lines().skip(1).count()
        };
        tables.into_iter().map(count).sum()
    }
}

/// Run `test` on a thread and a runtime in a new network namespace that has `lo` only.
fn in_namespace<F: Future<Output = ()>>(kind: Kind, test: impl FnOnce() -> F + Send + 'static) {
    let isolated = thread::spawn(move || {
        enter_namespace();
        shell("ip link set lo up");
        kind.allow();
        runtime().block_on(test());
    });
    if let Err(failure) = isolated.join() {
        panic::resume_unwind(failure);
    }
}

/// The same, with a router next to us and a host behind it.
fn in_network<F: Future<Output = ()>>(kind: Kind, test: impl FnOnce() -> F + Send + 'static) {
    in_namespace(kind, move || async move {
        let router = Node::new();
        let host = Node::new();
        shell(&format!(
            "ip link add near type veth peer name far netns {}
             ip addr add 10.0.0.1/24 dev near
             ip addr add fd00::1/64 dev near nodad
             ip link set near up",
            router.thread_id
        ));
        router.shell(&format!(
            "ip link add mid type veth peer name end netns {}
             ip addr add {ROUTER_V4}/24 dev far
             ip addr add {ROUTER_V6}/64 dev far nodad
             ip addr add 10.0.1.1/24 dev mid
             ip addr add fd00:1::1/64 dev mid nodad
             ip link set far up
             ip link set mid up
             echo 1 > /proc/sys/net/ipv4/ip_forward
             echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
             echo 0 > /proc/sys/net/ipv4/icmp_ratemask
             echo 255 > /proc/sys/net/ipv6/icmp/ratemask
             ip route add 198.51.100.0/24 via 10.0.1.2
             ip route add {NARROW_V4} via 10.0.1.2 mtu 1000
             ip route add blackhole {SILENT_V4}
             ip route add unreachable 203.0.113.0/25
             ip route add prohibit 203.0.113.128/25
             ip -6 route add 2001:db8:b::/48 via fd00:1::2
             ip -6 route add unreachable 2001:db8:1::/48
             ip -6 route add prohibit 2001:db8:2::/48",
            host.thread_id
        ));
        host.shell(&format!(
            "ip addr add 10.0.1.2/24 dev end
             ip addr add fd00:1::2/64 dev end nodad
             ip addr add {BEYOND_V4}/32 dev lo
             ip addr add {BEYOND_V6}/128 dev lo nodad
             ip addr add {NARROW_V4}/32 dev lo
             ip link set end up
             ip route add default via 10.0.1.1
             ip -6 route add default via fd00:1::1"
        ));
        shell(&format!(
            "ip route add default via {ROUTER_V4}
             ip -6 route add default via {ROUTER_V6}"
        ));
        test().await;
    });
}

const ROUTER_V4: &str = "10.0.0.2";
const ROUTER_V6: &str = "fd00::2";
/// The host behind the router.
const BEYOND_V4: &str = "198.51.100.1";
const BEYOND_V6: &str = "2001:db8:b::1";
/// The same host, over a route with an MTU of 1,000 bytes.
const NARROW_V4: &str = "192.0.2.1";
/// The router swallows what goes there.
const SILENT_V4: &str = "192.0.2.201";

/// A thread in a network namespace of its own; both end when this is dropped.
struct Node {
    thread_id: libc::pid_t,
    scripts: mpsc::Sender<String>,
    done: mpsc::Receiver<()>,
}

impl Node {
    fn new() -> Self {
        let (tell_id, id) = mpsc::channel();
        let (scripts, orders) = mpsc::channel::<String>();
        let (finished, done) = mpsc::channel();
        thread::spawn(move || {
            enter_namespace();
            shell("ip link set lo up");
            // SAFETY: gettid has no arguments and cannot fail.
            tell_id.send(unsafe { libc::gettid() }).unwrap();
            for script in orders {
                shell(&script);
                finished.send(()).unwrap();
            }
        });
        Self { thread_id: id.recv().unwrap(), scripts, done }
    }

    fn shell(&self, script: &str) {
        self.scripts.send(script.to_owned()).unwrap();
        self.done.recv().expect("the script succeeds");
    }
}

/// Move this thread, alone, to a new network namespace.
fn enter_namespace() {
    // SAFETY: unshare takes a number and touches no memory of ours.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "these tests need CAP_SYS_ADMIN: {error}");
}

/// Give up all capabilities of this thread.
fn drop_capabilities() {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let none = [0_u32; 6];
    // SAFETY: capset(2) reads a version, a thread id (0 is this one) and six sets of 32 bits.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(result, 0, "capset");
}

/// Run commands in this thread's namespace; the first that fails ends the test.
fn shell(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status().unwrap();
    assert!(status.success(), "{script}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
