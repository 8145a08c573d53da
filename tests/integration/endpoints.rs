//! What each path answers.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::exporter::{Exporter, Reply};

const CONFIG: &str = "modules:\n  http_2xx: {prober: http, timeout: 9s}\n  tcp: {prober: tcp, timeout: 2s}\n  nul:\n  gopher: {prober: gopher}\n";
const ERROR: &str = "text/plain; charset=utf-8";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

fn start(args: &[&str]) -> Exporter {
    Exporter::start(CONFIG, args)
}

/// A port on which nobody listens.
fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn fixed_answers() {
    let exporter = start(&[]);
    let cases = [
        ("GET", "/-/healthy", 200, ERROR, "Healthy"),
        ("POST", "/-/healthy", 200, ERROR, "Healthy"),
        ("HEAD", "/-/healthy", 200, ERROR, ""),
        ("GET", "/-/ready", 200, ERROR, "Ready"),
        ("GET", "/%2D/healthy", 200, ERROR, "Healthy"),
        ("GET", "/nope", 404, ERROR, "404 page not found\n"),
        ("GET", "/probe/", 404, ERROR, "404 page not found\n"),
        ("GET", "/debug/pprof/", 404, ERROR, "404 page not found\n"),
        ("GET", "/%zz", 404, ERROR, "404 page not found\n"),
        ("GET", "/probe", 400, ERROR, "Target parameter is missing\n"),
        ("GET", "/probe?module=http_2xx&target=", 400, ERROR, "Target parameter is missing\n"),
        ("GET", "/probe?module=nope", 400, ERROR, "Unknown module \"nope\"\n"),
        ("GET", "/probe?module=a%22%0Ab&target=x", 400, ERROR, "Unknown module \"a\\\"\\nb\"\n"),
        ("GET", "/probe?module=nul&target=x", 400, ERROR, "Unknown prober \"\"\n"),
        ("GET", "/probe?module=gopher&target=x", 400, ERROR, "Unknown prober \"gopher\"\n"),
        ("GET", "/probe?module=nul", 400, ERROR, "Target parameter is missing\n"),
        ("GET", "/probe?module=tcp&target=x;y", 400, ERROR, "Target parameter is missing\n"),
        ("GET", "/probe?module=tcp&target=%zz", 400, ERROR, "Target parameter is missing\n"),
        ("GET", "/logs", 400, ERROR, "Probe id or target must be defined as http query parameters\n"),
        ("GET", "/logs?id=abc", 400, ERROR, "Probe id or target must be defined as http query parameters\n"),
        ("GET", "/logs?id=-1", 400, ERROR, "Probe id or target must be defined as http query parameters\n"),
        (
            "GET",
            "/logs?module=x",
            400,
            ERROR,
            "Probe id or target must be defined as http query parameters\n",
        ),
        ("GET", "/logs?id=0&target=x", 400, ERROR, "Probe id and target can't be defined at the same time\n"),
        (
            "GET",
            "/logs?id=0&module=x",
            400,
            ERROR,
            "Probe module filter only works in conjunction with target parameter\n",
        ),
        ("GET", "/logs?id=-2", 404, ERROR, "Probe id not found\n"),
        ("GET", "/logs?id=0", 404, ERROR, "Probe id not found\n"),
        ("GET", "/logs?target=x", 404, ERROR, "Probe target not found\n"),
        ("GET", "/logs?id=abc&target=x&module=y", 404, ERROR, "Probe target not found\n"),
    ];
    for (method, path, status, kind, body) in cases {
        let reply = exporter.request(method, path, &[]);
        assert_eq!(reply.parts(), (status, Some(kind.to_owned()), body.to_owned()), "{method} {path}");
        let nosniff = (status >= 400).then_some("nosniff");
        assert_eq!(reply.header("x-content-type-options"), nosniff, "{method} {path}");
    }
    assert_eq!(exporter.metric("blackbox_module_unknown_total"), Some(2.0));
}

#[test]
fn the_timeout_header_is_checked_between_module_and_target() {
    let exporter = start(&[]);
    let ask = |path, value| {
        exporter.request("GET", path, &[("X-Prometheus-Scrape-Timeout-Seconds", value)]).parts()
    };
    let want = "Failed to parse timeout from Prometheus header: parsing \"abc\" as seconds: invalid syntax\n";
    assert_eq!(ask("/probe?module=tcp", "abc"), (500, Some(ERROR.to_owned()), want.to_owned()));
    assert_eq!(ask("/probe?module=nope", "abc").0, 400);
    let target = format!("/probe?module=tcp&target=127.0.0.1:{}", dead_port());
    for (value, want) in [("1.5", "1"), ("", "2"), ("0.3", "2"), ("0.5", "0"), ("nan", "0"), ("inf", "2")] {
        let (status, _, body) = ask(&target, value);
        assert_eq!(status, 200, "{value}");
        assert!(body.contains(&format!("\nprobe_timeout_seconds {want}\n")), "{value}: {body}");
    }
}

#[test]
fn a_failed_probe_is_a_good_reply() {
    let exporter = start(&[]);
    let path = format!("/probe?module=tcp&target=127.0.0.1:{}", dead_port());
    for method in ["GET", "POST", "OPTIONS"] {
        let reply = exporter.request(method, &path, &[]);
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(EXPOSITION)));
        let text = reply.text();
        assert!(text.contains("\nprobe_success 0\n"), "{text}");
        assert!(text.contains("\nprobe_failure_info{phase=\"connect\",reason=\"refused\"} 1\n"), "{text}");
        assert_eq!(reply.header("content-length"), Some(text.len().to_string().as_str()));
    }
    assert_eq!(
        exporter.metric(r#"heartbeat_exporter_probes_total{module="tcp",result="failure"}"#),
        Some(3.0)
    );
    assert_eq!(
        exporter.metric(r#"heartbeat_exporter_probe_duration_seconds_count{module="tcp"}"#),
        Some(3.0)
    );
}

#[test]
fn the_scraper_chooses_the_format() {
    let exporter = start(&[]);
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for path in [format!("/probe?module=tcp&target=127.0.0.1:{}", dead_port()), "/metrics".to_owned()] {
        for (accept, kind) in [("", EXPOSITION), ("*/*", EXPOSITION), (prometheus_3, open)] {
            let plain = exporter.request("GET", &path, &[("Accept", accept), ("Accept-Encoding", "zstd")]);
            assert_eq!(plain.header("content-type"), Some(kind));
            assert_eq!(plain.header("content-encoding"), None);
            assert_eq!(plain.text().ends_with("\n# EOF\n"), kind == open);
            let packed = exporter.request("GET", &path, &[("Accept", accept), ("Accept-Encoding", "gzip")]);
            assert_eq!(packed.header("content-encoding"), Some("gzip"));
            assert_eq!(packed.header("content-type"), Some(kind));
            let mut text = String::new();
            flate2::read::GzDecoder::new(packed.body.as_slice()).read_to_string(&mut text).unwrap();
            let families = |text: &str| {
                text.lines().filter(|line| line.starts_with("# TYPE")).map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(families(&text), families(&plain.text()));
        }
    }
}

#[test]
fn debug_text_and_logs_are_the_same() {
    let exporter = start(&[]);
    let target = format!("127.0.0.1:{}", dead_port());
    let path = format!("/probe?module=tcp&target={target}");
    for value in ["1", "TRUE"] {
        let reply = exporter.get(&format!("{path}&debug={value}"));
        assert_eq!(reply.header("content-type"), Some(EXPOSITION), "debug={value}");
    }
    let (status, kind, text) = exporter.get(&format!("{path}&debug=true")).parts();
    assert_eq!((status, kind.as_deref()), (200, Some("text/plain")));
    let (logs, rest) = text.split_once("\n\n\n\nMetrics that would have been returned:\n").unwrap();
    let (metrics, module) = rest.split_once("\n\n\n\nModule configuration:\n").unwrap();
    let mut lines = logs.lines();
    assert_eq!(lines.next(), Some("Logs for the probe:"));
    let line = lines.last().unwrap();
    assert!(line.contains(&format!(" msg=\"Probe failed\" module=tcp target={target} ")), "{line}");
    assert!(line.contains(" level=ERROR "), "{line}");
    assert!(metrics.contains("\nprobe_success 0\n"), "{metrics}");
    assert!(module.starts_with("prober: tcp\n"), "{module}");

    let want = (200, Some("text/plain".to_owned()), text);
    for path in ["/logs?id=2", "/logs?id=%2B2", &format!("/logs?target={target}&module=tcp")] {
        assert_eq!(exporter.get(path).parts(), want, "{path}");
    }
    assert_eq!(exporter.get(&format!("/logs?target={target}&module=http_2xx")).status, 404);
    let page = exporter.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let page = page.text();
    let places: Vec<_> = (0..3).map(|id| page.find(&format!("href=\"logs?id={id}\"")).unwrap()).collect();
    assert!(places.is_sorted_by(|a, b| a > b), "newest first");
    assert_eq!(page.matches("<strong>Failure</strong>").count(), 3);
}

#[test]
fn the_module_of_the_debug_text_has_the_hostname() {
    let config = "modules:\n  web: {prober: http, timeout: 1s, http: {headers: {A: b, hosT: a.test}}}\n  \
                  plain: {prober: http, timeout: 1s}\n  tcp: {prober: tcp, timeout: 1s}\n  \
                  named: {prober: tcp, timeout: 1s, tcp: {tls_config: {server_name: b.test}}}\n  \
                  ping: {prober: icmp, timeout: 1s}\n";
    let exporter = Exporter::start(config, &[]);
    let target = format!("127.0.0.1:{}", dead_port());
    let text = |module: &str, hostname: &str| {
        let path = format!("/probe?module={module}&target={target}{hostname}&debug=true");
        let text = exporter.get(&path).text();
        text.split_once("Module configuration:\n").unwrap().1.to_owned()
    };
    let cases = [
        ("web", "\n  headers:\n    A: b\n    Host: a.test\n    hosT: a.test\n"),
        ("plain", "\n  headers:\n    Host: a.test\n"),
        ("tcp", "\n  tls_config:\n    server_name: a.test\n    insecure_skip_verify: false\n"),
    ];
    for (module, want) in cases {
        let got = text(module, "&hostname=a.test");
        assert!(got.contains(want), "{module}: {got}");
        assert!(!text(module, "&hostname=").contains(want), "{module}");
    }
    for module in ["named", "ping"] {
        assert_eq!(text(module, "&hostname=a.test"), text(module, ""), "{module}");
    }
    let (status, _, message) =
        exporter.get(&format!("/probe?module=web&target={target}&hostname=b.test")).parts();
    let want = "the module sets the header Host to \"a.test\", which conflicts with hostname=\"b.test\"\n";
    assert_eq!((status, message.as_str()), (400, want));
    assert!(!exporter.get("/config").text().contains("Host: a.test"), "the module itself stays as it is");
}

#[test]
fn a_target_is_decoded_again_only_if_it_is_none_otherwise() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap();
    let exporter = start(&[]);
    let cases = [
        (format!("http%253A//{address}/twice"), "/twice"),
        (format!("http://{address}/a%2Bb%252Bc"), "/a+b%2Bc"),
    ];
    for (encoded, want) in cases {
        let client = exporter.send("GET", &format!("/probe?target={encoded}"), &[]);
        let (mut peer, _) = target.accept().unwrap();
        let mut head = [0; 64];
        let length = peer.read(&mut head).unwrap();
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        assert!(head.starts_with(&format!("GET {want} HTTP/1.1\r\n")), "{head}");
        drop((peer, client));
    }
}

#[test]
fn parameters_come_from_the_url_alone() {
    let exporter = start(&[]);
    let mut client = TcpStream::connect(exporter.address).unwrap();
    let body = "module=tcp&target=127.0.0.1:1";
    let head = format!("Host: x\r\nConnection: close\r\nContent-Length: {}", body.len());
    let kind = "Content-Type: application/x-www-form-urlencoded";
    write!(client, "POST /probe HTTP/1.1\r\n{head}\r\n{kind}\r\n\r\n{body}").unwrap();
    let mut raw = Vec::new();
    client.read_to_end(&mut raw).unwrap();
    let reply = Reply::parse(&raw);
    assert_eq!((reply.status, reply.text().as_str()), (400, "Target parameter is missing\n"));
}

#[test]
fn log_lines_of_a_probe_obey_their_own_flag() {
    let target = format!("/probe?module=tcp&target=127.0.0.1:{}", dead_port());
    let exporter = start(&["--log.prober=debug", "--log.probe-outcomes=none"]);
    let text = exporter.get(&format!("{target}&debug=true")).text();
    assert!(
        text.contains("level=DEBUG source=tcp msg=\"Beginning probe\" module=tcp target=127.0.0.1:"),
        "{text}"
    );
    assert!(text.contains(" timeout_seconds=2\n"), "{text}");
    exporter.wait_for_log("msg=\"Beginning probe\"");
    exporter.wait_for_log("msg=\"Probe failed\"");

    let exporter = start(&["--log.prober=none"]);
    let text = exporter.get(&format!("{target}&debug=true")).text();
    assert!(text.starts_with("Logs for the probe:\n\n\n\nMetrics"), "{text}");
    exporter.get(&target);
    exporter.wait_for_log("msg=\"Probe outcome\" module=tcp target=127.0.0.1:");
    let lines = exporter.log();
    assert_eq!(lines.iter().filter(|line| line.contains("Probe outcome")).count(), 1, "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("Probe failed")), "{lines:#?}");
}

#[test]
fn an_outcome_that_changes_is_logged_once() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap();
    let path = format!("/probe?module=tcp&target={address}");
    let exporter = start(&["--log.prober=none"]);
    exporter.get(&path);
    drop(target);
    exporter.get(&path);
    exporter.get(&path);
    exporter.wait_for_log("success=false");
    let target = TcpListener::bind(address).unwrap();
    exporter.get(&path);
    exporter.wait_for_log("success=true");
    exporter.get(&path);
    drop(target);
    let lines = exporter.log();
    let lines: Vec<&str> =
        lines.iter().filter_map(|line| line.split_once("msg=\"Probe outcome\" ")).map(|l| l.1).collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let want =
        format!("module=tcp target={address} success=false phase=connect reason=refused duration_seconds=");
    assert!(lines[0].starts_with(&want), "{lines:#?}");
    assert!(lines[1].starts_with(&format!("module=tcp target={address} success=true ")), "{lines:#?}");
}

#[test]
fn outcomes_are_logged_as_the_flag_says() {
    for (which, want) in [("none", 0), ("changes", 2), ("failures", 2), ("all", 4)] {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = target.local_addr().unwrap();
        drop(target);
        let path = format!("/probe?module=tcp&target={address}");
        let exporter = start(&["--log.prober=none", &format!("--log.probe-outcomes={which}")]);
        exporter.get(&path);
        exporter.get(&path);
        let target = TcpListener::bind(address).unwrap();
        exporter.get(&path);
        exporter.get(&path);
        drop(target);
        exporter.signal("TERM");
        exporter.wait_for_log("Stopping");
        let lines = exporter.log();
        assert_eq!(
            lines.iter().filter(|line| line.contains("Probe outcome")).count(),
            want,
            "{which}: {lines:#?}"
        );
    }
}

#[test]
fn the_level_of_probe_logs_filters_them() {
    let target = format!("/probe?module=tcp&target=127.0.0.1:{}&debug=true", dead_port());
    for (level, debug, error) in [
        ("debug", true, true),
        ("INFO", false, true),
        ("warn", false, true),
        ("error", false, true),
        ("none", false, false),
    ] {
        let exporter = start(&[&format!("--log.prober={level}")]);
        let text = exporter.get(&target).text();
        assert_eq!((text.contains("level=DEBUG"), text.contains("level=ERROR")), (debug, error), "{level}");
    }
}

#[test]
fn the_first_target_counts() {
    let up = TcpListener::bind("127.0.0.1:0").unwrap();
    let exporter = start(&[]);
    let (up, down) = (up.local_addr().unwrap(), dead_port());
    let text = exporter.get(&format!("/probe?module=tcp&target={up}&target=127.0.0.1:{down}")).text();
    assert!(text.contains("\nprobe_success 1\n"), "{text}");
}

#[test]
fn history_keeps_failures_longer() {
    let exporter = start(&["--history.limit=1"]);
    let up = TcpListener::bind("127.0.0.1:0").unwrap();
    let (up, down) = (up.local_addr().unwrap(), format!("127.0.0.1:{}", dead_port()));
    for target in [&down, &up.to_string(), &up.to_string()] {
        exporter.get(&format!("/probe?module=tcp&target={target}"));
    }
    let status = |id: u32| exporter.get(&format!("/logs?id={id}")).status;
    assert_eq!([status(0), status(1), status(2)], [200, 404, 200]);
}

#[test]
fn targets_are_escaped_on_the_page() {
    let exporter = start(&[]);
    exporter.get("/probe?module=tcp&target=%3Cscript%3Ealert(1)%3C/script%3E%26%22%27");
    let page = exporter.get("/").text();
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;'"), "{page}");
    assert!(!page.contains("<script"), "{page}");
}

#[test]
fn a_prefix_moves_everything() {
    let exporter = start(&["--web.external-url=https://ex.test/bb/"]);
    let cases = [
        ("/", 302, Some("https://ex.test/bb")),
        ("/bb", 301, Some("/bb/")),
        ("/bb?x=1", 301, Some("/bb/?x=1")),
        ("/bb/", 200, None),
        ("/bb/-/healthy", 200, None),
        ("/bb/metrics", 200, None),
        ("/bb/nope", 404, None),
        ("/bb//probe?a=b", 301, Some("/bb/probe?a=b")),
        ("/bb/x/../config", 301, Some("/bb/config")),
        ("/metrics", 404, None),
        ("/probe?module=tcp&target=x", 404, None),
        ("/bbx", 404, None),
    ];
    for (path, status, location) in cases {
        let reply = exporter.get(path);
        assert_eq!((reply.status, reply.header("location")), (status, location), "{path}");
    }
    let exporter = start(&["--web.external-url=https://ex.test/bb/", "--web.route-prefix=/"]);
    assert_eq!(exporter.get("/-/healthy").status, 200);
    assert_eq!(exporter.get("/bb/-/healthy").status, 404);
}

#[test]
fn the_configuration_is_shown() {
    let exporter = start(&[]);
    let (status, kind, text) = exporter.get("/config").parts();
    assert_eq!((status, kind.as_deref()), (200, Some("text/plain")));
    assert!(text.starts_with("modules:\n    gopher:\n        prober: gopher\n"), "{text}");
}

#[test]
fn metrics_count_their_own_scrapes() {
    let exporter = start(&[]);
    assert_eq!(exporter.metric(r#"promhttp_metric_handler_requests_total{code="200"}"#), Some(0.0));
    assert_eq!(exporter.metric(r#"promhttp_metric_handler_requests_total{code="200"}"#), Some(1.0));
    assert_eq!(exporter.metric("promhttp_metric_handler_requests_in_flight"), Some(1.0));
    assert!(exporter.metric("process_resident_memory_bytes").unwrap() > 1e5);
    assert!(exporter.metric("process_open_fds").unwrap() > 3.0);
    let started = exporter.metric("process_start_time_seconds").unwrap();
    let loaded = exporter.metric("blackbox_exporter_config_last_reload_success_timestamp_seconds").unwrap();
    assert!((loaded - started).abs() < 60.0, "{started} {loaded}");
}

/// A target that accepts and says nothing, and the path that probes it.
fn silent() -> (TcpListener, String) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = format!("/probe?module=http_2xx&target=http://{}/", target.local_addr().unwrap());
    (target, path)
}

#[test]
fn a_client_that_goes_away_ends_its_probe() {
    let (target, path) = silent();
    let exporter = start(&[]);
    let client = exporter.send("GET", &path, &[]);
    let (mut peer, _) = target.accept().unwrap();
    exporter.wait_for_metric("heartbeat_exporter_probes_in_flight", 1.0);
    // The client has waited for longer than one that only closes its sending half.
    std::thread::sleep(Duration::from_millis(150));
    let begun = Instant::now();
    drop(client);
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut rest = Vec::new();
    // An end or a reset; anything but the silence of a probe that goes on.
    if let Err(error) = peer.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert!(begun.elapsed() < Duration::from_secs(4));
    exporter.wait_for_metric("heartbeat_exporter_probes_in_flight", 0.0);
    assert_eq!(exporter.get("/logs?id=0").status, 404);
}

#[test]
fn a_client_that_only_stops_sending_gets_its_reply() {
    let (target, path) = silent();
    let exporter = start(&[]);
    for headers in ["Connection: close\r\n", ""] {
        let mut client = TcpStream::connect(exporter.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (peer, _) = target.accept().unwrap();
        std::thread::sleep(Duration::from_millis(150));
        drop(peer);
        let mut raw = Vec::new();
        client.read_to_end(&mut raw).unwrap();
        assert!(Reply::parse(&raw).text().contains("\nprobe_success 0\n"));
    }
}

#[test]
fn connections_are_reused_and_pipelined() {
    let exporter = start(&[]);
    let mut client = TcpStream::connect(exporter.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let request = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client.write_all(format!("{request}{request}").as_bytes()).unwrap();
    client.write_all(last.as_bytes()).unwrap();
    let mut raw = String::new();
    client.read_to_string(&mut raw).unwrap();
    assert_eq!(raw.matches("Healthy").count(), 2, "{raw}");
    assert!(raw.ends_with("Ready"), "{raw}");
}

#[test]
fn a_head_without_an_end_is_refused() {
    let exporter = start(&[]);
    let mut client = TcpStream::connect(exporter.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = client.write_all(format!("GET /probe?target={} HTTP/1.1\r\n", "x".repeat(200_000)).as_bytes());
    let mut raw = Vec::new();
    // The kernel may cut the reply short, since part of the request was never read.
    let _ = client.read_to_end(&mut raw);
    assert!(
        raw.is_empty() || raw.starts_with(b"HTTP/1.1 431 ") || raw.starts_with(b"HTTP/1.1 414 "),
        "{raw:?}"
    );
    assert_eq!(exporter.get("/-/healthy").status, 200);
}
