//! Load for heartbeats: many check-ins over connections that are kept, against an exporter that runs already.
//! It measures and judges nothing.
//!
//! `cargo bench --bench heartbeat_load -- ADDRESS HEARTBEATS CHECK-INS CONNECTIONS [PER-SECOND [BATCH]]` sends
//! that many check-ins, round and round to the heartbeats `load-0`, `load-1` and so on, as fast as
//! possible or at a rate, each in a request of its own or BATCH in one. With `--config HEARTBEATS` it prints
//! a configuration that has them. Without arguments, as with `cargo bench` alone, it does nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[derive(Clone, Copy)]
struct Plan {
    address: SocketAddr,
    heartbeats: usize,
    check_ins: usize,
    connections: usize,
    /// Zero for as fast as possible.
    per_second: f64,
    batch: usize,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    accepted: usize,
    failed: usize,
    /// Of each request.
    times: Vec<Duration>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |at: usize| args.get(at).and_then(|text| text.parse::<usize>().ok());
    if args.first().is_some_and(|arg| arg == "--config") {
        println!("heartbeats:\n  services:");
        (0..number(1).unwrap_or(0)).for_each(|at| println!("    load-{at}: {{every: 1h}}"));
        return;
    }
    let Some(address) = args.first().and_then(|address| address.parse().ok()) else {
        println!("heartbeat_load: no address of an exporter, nothing to do");
        return;
    };
    let plan = Plan {
        address,
        heartbeats: number(1).unwrap_or(1000).max(1),
        check_ins: number(2).unwrap_or(1000),
        connections: number(3).unwrap_or(64).max(1),
        per_second: number(4).unwrap_or(0) as f64,
        batch: number(5).unwrap_or(1).max(1),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(plan));
}

async fn run(plan: Plan) {
    let next = Arc::new(AtomicUsize::new(0));
    // Connected before the clock starts, as a fleet that keeps its connections is.
    let mut streams = Vec::new();
    for _ in 0..plan.connections {
        streams.push(TcpStream::connect(plan.address).await.expect("an exporter that listens"));
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for stream in streams {
        tasks.spawn(send(plan, stream, Arc::clone(&next), started));
    }
    let mut all = Seen::default();
    while let Some(seen) = tasks.join_next().await {
        let seen = seen.expect("a task that ends");
        all.accepted += seen.accepted;
        all.failed += seen.failed;
        all.times.extend(seen.times);
    }
    let took = started.elapsed();
    all.times.sort();
    let quantile = |q: f64| {
        let at = (all.times.len().saturating_sub(1) as f64 * q).round() as usize;
        all.times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    println!(
        "accepted {} failed {} in {:.2} s: {:.0}/s; a request takes p50 {:.2} ms p99 {:.2} ms max {:.2} ms",
        all.accepted,
        all.failed,
        took.as_secs_f64(),
        all.accepted as f64 / took.as_secs_f64(),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0),
    );
}

async fn send(plan: Plan, mut stream: TcpStream, next: Arc<AtomicUsize>, started: Instant) -> Seen {
    let mut seen = Seen::default();
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    loop {
        let first = next.fetch_add(plan.batch, Ordering::Relaxed);
        if first >= plan.check_ins {
            return seen;
        }
        let count = plan.batch.min(plan.check_ins - first);
        if plan.per_second > 0.0 {
            let due = started + Duration::from_secs_f64(first as f64 / plan.per_second);
            tokio::time::sleep_until(due.into()).await;
        }
        let begin = Instant::now();
        match exchange(&mut stream, &request(plan, first, count), &mut buffer).await {
            Ok(true) => seen.accepted += count,
            Ok(false) => seen.failed += count,
            Err(_) => {
                seen.failed += count;
                return seen;
            }
        }
        seen.times.push(begin.elapsed());
    }
}

fn request(plan: Plan, first: usize, count: usize) -> String {
    let name = |at: usize| format!("load-{}", at % plan.heartbeats);
    if plan.batch == 1 {
        return format!("GET /heartbeat/{} HTTP/1.1\r\nHost: load\r\n\r\n", name(first));
    }
    let reports: Vec<String> =
        (first..first + count).map(|at| format!("{{\"heartbeat\":\"{}\"}}", name(at))).collect();
    let body = format!("[{}]", reports.join(","));
    format!("POST /heartbeat HTTP/1.1\r\nHost: load\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Whether the answer to a request is status 200; reads it to its end.
async fn exchange(stream: &mut TcpStream, request: &str, buffer: &mut Vec<u8>) -> io::Result<bool> {
    stream.write_all(request.as_bytes()).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        while buffer.len() < end + 4 + length.unwrap_or(0) {
            if stream.read_buf(buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        return Ok(head.starts_with("HTTP/1.1 200 "));
    }
}
