//! What the exporter counts about itself is right while many probes run at once.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::support::exporter::Exporter;

const CONFIG: &str = "modules:\n  tcp: {prober: tcp, timeout: 5s}\n  web: {prober: http, timeout: 9s}\n";

#[test]
fn every_probe_is_counted_once() {
    const THREADS: u32 = 8;
    const EACH: u32 = 40;
    let exporter = Exporter::start(CONFIG, &["--log.prober=none", "--history.limit=1000"]);
    let up = TcpListener::bind("127.0.0.1:0").unwrap();
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let targets = [up.local_addr().unwrap(), down];
    thread::spawn(move || up.incoming().for_each(drop));
    let succeeded = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for n in 0..EACH {
                    let target = targets[n as usize % 2];
                    let text = exporter.get(&format!("/probe?module=tcp&target={target}")).text();
                    succeeded.fetch_add(u32::from(text.contains("\nprobe_success 1\n")), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(succeeded.into_inner(), THREADS * EACH / 2);
    let half = f64::from(THREADS * EACH / 2);
    let total = |result| format!(r#"heartbeat_exporter_probes_total{{module="tcp",result="{result}"}}"#);
    assert_eq!(exporter.metric(&total("success")), Some(half));
    assert_eq!(exporter.metric(&total("failure")), Some(half));
    let series = |what| format!(r#"heartbeat_exporter_probe_duration_seconds_{what}"#);
    for what in [r#"count{module="tcp"}"#, r#"bucket{module="tcp",le="+Inf"}"#] {
        assert_eq!(exporter.metric(&series(what)), Some(2.0 * half), "{what}");
    }
    let last = THREADS * EACH - 1;
    assert_eq!(exporter.get(&format!("/logs?id={last}")).status, 200);
    assert_eq!(exporter.get(&format!("/logs?id={}", last + 1)).status, 404);
    assert_eq!(exporter.metric("heartbeat_exporter_probes_in_flight"), Some(0.0));
}

#[test]
fn probes_in_flight_and_their_sockets_are_seen() {
    const PROBES: usize = 20;
    let exporter = Exporter::start(CONFIG, &[]);
    let sockets = || exporter.metric("heartbeat_exporter_open_sockets").unwrap();
    let idle = sockets();
    assert!(idle >= 2.0, "the one that listens and the one of this scrape");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = format!("/probe?module=web&target={}", silent.local_addr().unwrap());
    let clients: Vec<_> = (0..PROBES).map(|_| exporter.send("GET", &path, &[])).collect();
    let peers: Vec<_> = (0..PROBES).map(|_| silent.accept().unwrap()).collect();
    exporter.wait_for_metric("heartbeat_exporter_probes_in_flight", PROBES as f64);
    // One of the client and one of the probe each. Those of earlier scrapes take a moment to go.
    exporter.wait_for_metric("heartbeat_exporter_open_sockets", idle + 2.0 * PROBES as f64);
    assert!(exporter.metric("process_open_fds").unwrap() > sockets());
    let dials = |what| {
        exporter.metric(&format!(r#"net_conntrack_dialer_conn_{what}_total{{dialer_name="http_probe"}}"#))
    };
    assert_eq!(
        [dials("attempted"), dials("established"), dials("closed")],
        [Some(PROBES as f64), Some(PROBES as f64), Some(0.0)]
    );
    drop(peers);
    drop(clients);
    exporter.wait_for_metric("heartbeat_exporter_probes_in_flight", 0.0);
    exporter.wait_for_metric("heartbeat_exporter_open_sockets", idle);
    assert_eq!(dials("closed"), Some(PROBES as f64));
}
