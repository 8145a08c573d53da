//! One full scrape without the client's connection: request in, http probe of a local server, reply out.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use heartbeat_exporter::cli::ProbeOutcomes;
use heartbeat_exporter::config::reload::{Live, Source};
use heartbeat_exporter::heartbeat::Current;
use heartbeat_exporter::logging::{Format, Level};
use heartbeat_exporter::metrics::own::Own;
use heartbeat_exporter::net::Net;
use heartbeat_exporter::runner::history::History;
use heartbeat_exporter::server::grpc::Calls;
use heartbeat_exporter::server::{HeartbeatUsers, Outcomes, Paths, Server};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use hyper::{Request, StatusCode};

const CONFIG: &str = "\
modules:
  http: {prober: http}
  checks:
    prober: http
    http:
      fail_if_body_not_matches_regexp: ['(?i)everything.*fine']
      fail_if_header_not_matches: [{header: content-type, regexp: '^text/']}
  tcp: {prober: tcp}
";

const PAGE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n\r\nEverything here is fine";

/// Answers each connection with [`PAGE`] and closes it; runs until the benchmark ends.
fn target() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let serve = |mut stream: TcpStream| {
        let mut request = [0; 1024];
        if stream.read(&mut request).is_ok_and(|read| read > 0) {
            // A probe that has gone is no concern of the target.
            let _ = stream.write_all(PAGE);
        }
    };
    thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

fn server() -> Server {
    let file = std::env::temp_dir().join(format!("heartbeat-scrape-{}.yml", std::process::id()));
    fs::write(&file, CONFIG).expect("a writable temporary directory");
    let own = Arc::new(Own::default());
    let live = Live::load(Source::File(file.clone()), true, Arc::clone(&own)).expect("a valid configuration");
    fs::remove_file(file).expect("just written");
    let net = Arc::new(Net::new());
    Server {
        live: Arc::new(live),
        heartbeats: Arc::new(Current::new(String::new(), Arc::clone(&net))),
        net,
        heartbeat_users: HeartbeatUsers::default(),
        calls: Calls::default(),
        history: History::new(100),
        own,
        outcomes: Outcomes::new(ProbeOutcomes::None),
        web: None,
        paths: Paths::new("", "", Some("127.0.0.1:9115"), "http", "localhost").expect("a valid address"),
        timeout_offset: 0.5,
        log_prober: Level::Error,
        log_format: Format::Logfmt,
    }
}

fn request(query: &str, encoding: &str) -> Parts {
    let request = Request::builder()
        .uri(format!("/probe?{query}"))
        .header("Accept", "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3")
        .header("Accept-Encoding", encoding)
        .header("X-Prometheus-Scrape-Timeout-Seconds", "10");
    request.body(()).expect("a valid request").into_parts().0
}

fn scrape(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (address, server) = (target(), server());
    let cases = [
        ("http", format!("module=http&target={address}"), "identity"),
        ("http_gzip", format!("module=http&target={address}"), "gzip"),
        ("http_checks", format!("module=checks&target={address}"), "identity"),
        ("tcp", format!("module=tcp&target={address}"), "identity"),
        ("refused", "module=tcp&target=127.0.0.1:1".to_owned(), "identity"),
    ];
    let mut group = criterion.benchmark_group("scrape");
    group.measurement_time(Duration::from_secs(3)).sample_size(50);
    for (name, query, encoding) in cases {
        let request = request(&query, encoding);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let reply = runtime.block_on(server.respond(&request, Empty::<Bytes>::new()));
                assert_eq!(reply.status(), StatusCode::OK);
                reply
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scrape);
criterion_main!(benches);
