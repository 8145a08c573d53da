//! Echo requests in network namespaces: the kernel answers them, and a router refuses some.

use std::env;
use std::fs;
use std::process::Command;

use crate::support::{Exporter, Program};

/// Set in a process that runs inside the namespace made for it.
const INSIDE: &str = "REAL_TEST_INSIDE_NAMESPACE";

/// Runs `body` in a network namespace of its own, by starting this test once more in there.
fn in_new_namespace(test: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        run("ip link set lo up");
        return body();
    }
    let this = env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.arg("--net").arg(this).args(["--exact", test, "--ignored", "--nocapture"]).env(INSIDE, "1");
    let output = command.output().expect("unshare runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "needs root, or the test in the namespace failed:\n{text}");
    assert!(text.contains("1 passed"), "{text}");
}

/// Runs a command that must succeed; words are separated by spaces.
fn run(command: &str) {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
}

/// Lets everybody or nobody open datagram sockets for ICMP; without them raw sockets are used.
fn allow_datagram_sockets(allow: bool) {
    let range = if allow { "0 2147483647" } else { "1 0" };
    fs::write("/proc/sys/net/ipv4/ping_group_range", range).unwrap();
}

const MODULES: &str = "
modules:
  icmp: {prober: icmp, timeout: 5s}
  ip4: {prober: icmp, icmp: {preferred_ip_protocol: ip4, ip_protocol_fallback: false}}
  ip6: {prober: icmp, icmp: {preferred_ip_protocol: ip6, ip_protocol_fallback: false}}
  big: {prober: icmp, icmp: {payload_size: 8000}}
  unfragmented: {prober: icmp, icmp: {dont_fragment: true}}
  unfragmented_big: {prober: icmp, timeout: 2s, icmp: {dont_fragment: true, payload_size: 2000}}
  source: {prober: icmp, icmp: {source_ip_address: 127.0.0.9}}
  ttl1: {prober: icmp, timeout: 2s, icmp: {ttl: 1}}
  quick: {prober: icmp, timeout: 500ms}
";

#[test]
#[ignore = "needs tests/install-real-parts.sh and root"]
fn loopback_answers_over_both_families_and_both_kinds_of_sockets() {
    in_new_namespace("icmp::loopback_answers_over_both_families_and_both_kinds_of_sockets", || {
        for datagram in [false, true] {
            allow_datagram_sockets(datagram);
            eprintln!("datagram sockets: {datagram}");
            let exporter = Exporter::with_config(MODULES);
            let cases = [
                ("icmp", "127.0.0.1", 4.0),
                ("icmp", "::1", 6.0),
                ("ip4", "localhost", 4.0),
                ("ip6", "::1", 6.0),
                ("big", "127.0.0.1", 4.0),
                ("big", "::1", 6.0),
                ("unfragmented", "127.0.0.1", 4.0),
                ("source", "127.0.0.1", 4.0),
            ];
            for (module, target, protocol) in cases {
                eprintln!("{module} {target}");
                exporter
                    .probe(module, target)
                    .expect_success()
                    .expect(&[("probe_ip_protocol", protocol), ("probe_icmp_reply_hop_limit", 64.0)])
                    .expect_positive(&["probe_icmp_duration_seconds{phase=\"rtt\"}"]);
            }
            exporter.probe("ip4", "::1").expect_failure("resolve", "address_family");
        }
    });
}

#[test]
#[ignore = "needs tests/install-real-parts.sh and root"]
fn errors_of_the_network_are_reasons_and_silence_is_a_deadline() {
    in_new_namespace("icmp::errors_of_the_network_are_reasons_and_silence_is_a_deadline", || {
        let _router = router();
        for datagram in [false, true] {
            allow_datagram_sockets(datagram);
            eprintln!("datagram sockets: {datagram}");
            let exporter = Exporter::with_config(MODULES);
            exporter.probe("icmp", "10.99.0.1").expect_success();
            exporter.probe("icmp", "10.99.1.1").expect_success();
            exporter.probe("icmp", "fd99::1").expect_success();
            // The router says so, or there is no route at all.
            exporter.probe("icmp", "10.99.2.1").expect_failure("rtt", "unreachable");
            exporter.probe("icmp", "fd99:2::1").expect_failure("rtt", "unreachable");
            exporter.probe("icmp", "198.51.100.1").expect_failure("rtt", "unreachable");
            // The router passes nothing on whose hop limit is used up.
            exporter.probe("ttl1", "10.99.0.1").expect_success();
            exporter.probe("ttl1", "10.99.4.1").expect_failure("rtt", "ttl_exceeded");
            exporter.probe("quick", "10.99.3.1").expect_failure("rtt", "deadline");
            exporter.probe("unfragmented_big", "10.99.0.1").expect_failure("rtt", "too_big");
            exporter.probe("big", "10.99.0.1").expect_success();
        }
    });
}

/// Forwards. Its kernel limits the errors it sends to one target; without the mask, only those of
/// unreachable routes, to one each second after the first five.
const ROUTER: &str = "
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
echo 0 >/proc/sys/net/ipv4/icmp_ratemask
echo ready
exec sleep infinity";

/// A second namespace behind a cable of 1500 bytes. It has 10.99.0.1, 10.99.1.1 and fd99::1, a route
/// onwards for 10.99.4.0/24, answers for 10.99.2.0/24 and fd99:2::/64 that they are unreachable, and
/// swallows 10.99.3.0/24. It lasts as long as the returned process.
fn router() -> Program {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-e", "-c", ROUTER]);
    let router = Program::start(&mut command);
    router.line_with("ready");
    let inside = format!("nsenter --net=/proc/{}/ns/net", router.id());
    run(&format!("ip link add cable type veth peer name cable netns {}", router.id()));
    for command in [
        "ip address add 10.99.0.2/24 dev cable",
        "ip address add fd99::2/64 dev cable nodad",
        "ip link set cable up",
    ] {
        run(command);
    }
    for command in [
        "ip link set lo up",
        "ip address add 10.99.0.1/24 dev cable",
        "ip address add 10.99.1.1/32 dev lo",
        "ip address add fd99::1/64 dev cable nodad",
        "ip link set cable up",
        "ip route add unreachable 10.99.2.0/24",
        "ip route add blackhole 10.99.3.0/24",
        "ip route add 10.99.4.0/24 via 10.99.0.2",
        "ip -6 route add unreachable fd99:2::/64",
    ] {
        run(&format!("{inside} {command}"));
    }
    run("ip route add 10.99.0.0/16 via 10.99.0.1");
    run("ip -6 route add fd99:2::/64 via fd99::1");
    router
}
