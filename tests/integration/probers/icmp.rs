//! The icmp prober. What needs an ICMP socket runs in network namespaces of its own.

use crate::support::{Probed, probe};

const PHASES: [&str; 3] = [
    r#"probe_icmp_duration_seconds{phase="resolve"}"#,
    r#"probe_icmp_duration_seconds{phase="setup"}"#,
    r#"probe_icmp_duration_seconds{phase="rtt"}"#,
];

const HOP_LIMIT: &str = "probe_icmp_reply_hop_limit";

/// Which of the three phases took time.
fn took(probed: &Probed) -> [bool; 3] {
    probed.values(PHASES).map(|seconds| seconds.unwrap() > 0.0)
}

#[tokio::test]
async fn failures_before_anything_is_sent() {
    let cases = [
        (
            "no such family",
            "icmp: {ip_protocol_fallback: false}",
            "127.0.0.1",
            "resolve/address_family",
            [false; 3],
        ),
        (
            "source of the other family",
            "icmp: {source_ip_address: '::1'}",
            "127.0.0.1",
            "setup/source_address",
            [true, true, false],
        ),
        (
            "payload beyond IPv4",
            "icmp: {payload_size: 65528}",
            "127.0.0.1",
            "prepare/config",
            [true, false, false],
        ),
        ("negative payload", "icmp: {payload_size: -1}", "127.0.0.1", "prepare/config", [true, false, false]),
    ];
    for (name, settings, target, want, phases) in cases {
        let probed = probe(&format!("prober: icmp\n{settings}"), target).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(took(&probed), phases, "{name}");
        assert_eq!(probed.value(HOP_LIMIT), None, "{name}");
    }
}

/// Network namespaces need unsafe calls, and only Linux has them.
#[cfg(target_os = "linux")]
mod namespaces {
    use super::*;
    use crate::support::namespace::Namespace;

    /// A router next to us that answers for, rejects or loses what is sent beyond it.
    fn network() -> Namespace {
        let near = Namespace::new();
        near.shell("ip link set lo up");
        near.neighbour(
            "ip addr add 10.0.0.1/24 dev near
             ip addr add fd00::1/64 dev near nodad
             ip link set near mtu 1500 up
             ip route add default via 10.0.0.2
             ip -6 route add default via fd00::2",
            "ip addr add 10.0.0.2/24 dev far
             ip addr add fd00::2/64 dev far nodad
             ip link set far mtu 1500 up
             ip link set lo up
             echo 1 > /proc/sys/net/ipv4/ip_forward
             echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
             echo 0 > /proc/sys/net/ipv4/icmp_ratemask
             ip route add unreachable 203.0.113.0/25
             ip route add prohibit 203.0.113.128/25
             ip route add blackhole 198.51.100.1
             ip route add 192.0.2.0/24 dev far
             ip -6 route add unreachable 2001:db8:1::/48",
        );
        near
    }

    #[test]
    #[ignore = "needs CAP_NET_RAW"]
    fn replies_are_reported() {
        network().run(async {
            let cases = [
                ("", "127.0.0.1", 4.0),
                ("", "::1", 6.0),
                ("", "10.0.0.2", 4.0),
                ("", "fd00::2", 6.0),
                ("icmp: {dont_fragment: true, payload_size: 1472}", "10.0.0.2", 4.0),
                ("icmp: {payload_size: 1}", "10.0.0.2", 4.0),
                ("icmp: {payload_size: 9000}", "10.0.0.2", 4.0),
                ("icmp: {ttl: 0}", "10.0.0.2", 4.0),
                ("icmp: {ttl: 1}", "10.0.0.2", 4.0),
                ("icmp: {source_ip_address: 10.0.0.1}", "10.0.0.2", 4.0),
            ];
            for (settings, target, protocol) in cases {
                let probed = probe(&format!("prober: icmp\n{settings}"), target).await;
                assert_eq!(probed.failure(), None, "{settings} {target}: {}", probed.why());
                assert_eq!(took(&probed), [true; 3], "{settings} {target}");
                assert_eq!(probed.values([HOP_LIMIT, "probe_ip_protocol"]), [Some(64.0), Some(protocol)]);
            }
        });
    }

    #[test]
    #[ignore = "needs CAP_NET_RAW"]
    fn errors_become_reasons_at_once() {
        network().run(async {
            let cases = [
                ("", "203.0.113.1", "rtt/unreachable"),
                ("", "203.0.113.129", "rtt/unreachable"),
                ("", "2001:db8:1::1", "rtt/unreachable"),
                ("icmp: {ttl: 1}", "192.0.2.1", "rtt/ttl_exceeded"),
                ("icmp: {dont_fragment: true, payload_size: 1473}", "10.0.0.2", "rtt/too_big"),
                ("icmp: {source_ip_address: 192.0.2.99}", "10.0.0.2", "setup/source_address"),
                ("timeout: 100ms", "198.51.100.1", "rtt/deadline"),
            ];
            for (settings, target, want) in cases {
                let probed = probe(&format!("prober: icmp\n{settings}"), target).await;
                assert_eq!(probed.failure().as_deref(), Some(want), "{settings} {target}: {}", probed.why());
                assert_eq!(
                    took(&probed),
                    [true, true, false],
                    "{settings} {target}: no reply, no round trip"
                );
                assert_eq!(probed.value(HOP_LIMIT), None, "{settings} {target}");
            }
        });
    }
}
