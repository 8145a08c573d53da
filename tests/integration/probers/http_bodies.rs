//! Bodies of the http prober, in both directions: compression, its bombs, and `100 Continue`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::http_hostile::{facts, impatient, module, server};
use crate::support::exporter::{Dir, Exporter};
use crate::support::peers::{Act, Peer, say};
use crate::support::probe;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A response with this body, ended by the connection.
fn respond(body: Vec<u8>) -> Vec<Act> {
    vec![say("HTTP/1.1 200 OK\r\n\r\n"), Act::Say(body), Act::Close]
}

/// A million zeros in a thousand bytes, for ever.
fn bomb() -> Vec<Act> {
    vec![say("HTTP/1.1 200 OK\r\n\r\n"), Act::SayForever(gzip(&vec![0; 1_000_000]))]
}

#[tokio::test]
async fn compressed_bodies() {
    let text: &[u8] = b"hello world, hello world";
    let packed = gzip(text);
    let deflated = {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let bad_sum = [&packed[..packed.len() - 8], &[0; 8]].concat();
    let broken = Some("transfer/decompression");
    let cases = [
        ("whole", "gzip", packed.clone(), None, Some(24.0)),
        ("two members", "gzip", packed.repeat(2), None, Some(48.0)),
        ("empty", "gzip", vec![], broken, Some(0.0)),
        ("plain", "gzip", text.to_vec(), broken, Some(0.0)),
        ("half a header", "gzip", packed[..5].to_vec(), broken, Some(0.0)),
        ("only a header", "gzip", packed[..10].to_vec(), broken, Some(0.0)),
        ("cut", "gzip", packed[..packed.len() / 2].to_vec(), broken, None),
        ("without its sum", "gzip", packed[..packed.len() - 8].to_vec(), broken, Some(24.0)),
        ("with a wrong sum", "gzip", bad_sum, broken, Some(24.0)),
        ("garbage behind it", "gzip", [&packed[..], b"garbage"].concat(), broken, Some(24.0)),
        ("deflate", "deflate", deflated.clone(), None, Some(24.0)),
        ("garbage behind deflate", "deflate", [&deflated[..], b"garbage"].concat(), None, Some(24.0)),
        ("cut deflate", "deflate", deflated[..deflated.len() - 1].to_vec(), broken, None),
        ("gzip as deflate", "deflate", packed.clone(), broken, None),
        ("gzip as brotli", "br", packed, broken, None),
    ];
    for (name, compression, body, want, length) in cases {
        let probed =
            probe(&module(&format!("compression: {compression}")), &server(respond(body)).await.target())
                .await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        let [status, _, _, read, _] = facts(&probed);
        assert_eq!(status, 200.0, "{name}");
        assert!(length.is_none_or(|length| read == length), "{name}: {read}");
    }
    // As in the peer: what is not there is not compressed as the module says.
    for (name, keys, response) in [
        ("HEAD", "compression: gzip, method: HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        ("204", "compression: br", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("nothing", "compression: deflate", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let probed = probe(&module(keys), &server(vec![say(response)]).await.target()).await;
        assert_eq!(probed.failure().as_deref(), broken, "{name}: {}", probed.why());
    }
}

#[tokio::test]
async fn a_bomb_ends_at_the_limit_or_at_the_deadline() {
    let cases = [
        ("limit", module("compression: gzip, body_size_limit: 100KB"), "transfer/too_large"),
        ("deadline", impatient(&module("compression: gzip")), "transfer/deadline"),
    ];
    for (name, module, want) in cases {
        let peer = server(bomb()).await;
        let started = Instant::now();
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        let [.., read, _] = facts(&probed);
        assert!(if name == "limit" { read == 102_400.0 } else { read > 0.0 }, "{read}");
        assert!(started.elapsed() < Duration::from_secs(2), "{name}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_large_body_is_checked_as_a_small_one() {
    let body: Vec<u8> = [&b"x".repeat(2_000_000)[..], b"needle"].concat();
    let peer = server(respond(body)).await;
    let cases = [
        ("fail_if_body_matches_regexp: [needle$]", Some("check/body")),
        ("fail_if_body_not_matches_regexp: [needle$]", None),
        ("fail_if_body_not_matches_regexp: [haystack]", Some("check/body")),
    ];
    for (keys, want) in cases {
        let probed = probe(&module(keys), &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{keys}: {}", probed.why());
        assert_eq!(probed.value("probe_failed_due_to_regex"), Some(f64::from(u8::from(want.is_some()))));
    }
}

#[tokio::test]
async fn a_body_may_wait_for_the_servers_word() {
    let dir = Dir::new();
    dir.write("body", "filebody");
    dir.write("empty", "");
    let inline = || module("method: POST, body: hello, headers: {Expect: 100-continue}");
    let file = |name: &str| {
        let path = dir.path().join(name);
        module(&format!("method: POST, body_file: {path:?}, headers: {{expect: 100-Continue}}"))
    };
    let go_on = || say("HTTP/1.1 100 Continue\r\n\r\n");
    let ok = || say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let hear = |text: &str| Act::Hear(text.into());
    let chunks = "8\r\nfilebody\r\n0\r\n\r\n";
    let cases = [
        ("asked for", inline(), vec![go_on(), hear("hello"), ok()], None, 0..900),
        (
            "another interim response",
            inline(),
            vec![say("HTTP/1.1 103 Early\r\n\r\n"), hear("hello"), ok()],
            None,
            1000..3000,
        ),
        ("silence", inline(), vec![hear("hello"), ok()], None, 1000..3000),
        ("a final response at once", inline(), vec![ok()], None, 0..900),
        (
            "refused",
            inline(),
            vec![say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")],
            Some("check/status"),
            0..900,
        ),
        ("a file", file("body"), vec![go_on(), hear(chunks), ok()], None, 0..900),
        ("an empty file", file("empty"), vec![go_on(), hear("0\r\n\r\n"), ok()], None, 0..900),
    ];
    for (name, module, mut script, want, took) in cases {
        // Only the header: the body is what the script is about.
        script.insert(0, Act::RequestHead);
        let peer = Peer::tcp(script).await;
        let started = Instant::now();
        let probed = probe(&module, &peer.target()).await;
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap();
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        assert!(took.contains(&elapsed), "{name}: {elapsed} ms");
        let heard = String::from_utf8(peer.heard()).unwrap();
        let is_sent = name.starts_with(['a', 's']) && name != "a final response at once";
        let head = heard.find("\r\n\r\n").unwrap() + 4;
        assert_eq!(heard.len() > head, is_sent, "{name}: {heard}");
    }
}

#[tokio::test]
async fn an_empty_file_is_sent_in_chunks_too() {
    let dir = Dir::new();
    dir.write("empty", "");
    let module = module(&format!("method: POST, body_file: {:?}", dir.path().join("empty")));
    let ok = say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let peer = Peer::tcp(vec![Act::RequestHead, Act::Hear(b"0\r\n\r\n".to_vec()), ok]).await;
    let probed = probe(&module, &peer.target()).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    let heard = String::from_utf8(peer.heard()).unwrap().to_ascii_lowercase();
    assert!(heard.contains("transfer-encoding: chunked\r\n") && !heard.contains("content-length"), "{heard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_bounded_and_the_exporter_goes_on() {
    let endless = |head: &str, text: &str| {
        vec![Act::Request, say(head), Act::SayForever(text.repeat(64 * 1024 / text.len()).into())]
    };
    let ok = "HTTP/1.1 200 OK\r\n\r\n";
    let mut packed = bomb();
    packed.insert(0, Act::Request);
    let hostile = [
        ("plain", Peer::tcp(endless("", "HTTP/1.1 100 Continue\r\n\r\n")).await),
        ("plain", Peer::tcp(endless("HTTP/1.1 200 OK\r\nA: ", "x")).await),
        ("plain", Peer::tcp(endless(ok, "x")).await),
        ("gzip", Peer::tcp(packed.clone()).await),
        ("gzip", Peer::tcp(packed).await),
        ("lines", Peer::tcp(endless("", "a\n")).await),
    ];
    let good = server(vec![say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]).await;
    let config = "modules:
  plain: {prober: http, timeout: 500ms, http: {preferred_ip_protocol: ip4}}
  good: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4}}
  gzip: {prober: http, timeout: 500ms, http: {preferred_ip_protocol: ip4, compression: gzip}}
  lines: {prober: tcp, timeout: 500ms, tcp: {preferred_ip_protocol: ip4, query_response: [{send: 'GET\\r\\n\\r'}, {expect: b}]}}
";
    let exporter = std::sync::Arc::new(Exporter::start(config, &[]));
    let get = |module: &str, target: String| {
        let (exporter, path) = (exporter.clone(), format!("/probe?module={module}&target={target}"));
        tokio::task::spawn_blocking(move || exporter.get(&path).text())
    };
    get("good", good.target()).await.unwrap();
    let before = exporter.peak_memory();
    for _ in 0..3 {
        let started = Instant::now();
        let probes: Vec<_> = hostile.iter().map(|(module, peer)| get(module, peer.target())).collect();
        let also = get("good", good.target()).await.unwrap();
        assert!(also.contains("\nprobe_success 1\n"), "beside the others: {also}");
        for probe in probes {
            let text = probe.await.unwrap();
            assert!(text.contains("\nprobe_success 0\n") && text.contains("\nprobe_failure_info{"), "{text}");
        }
        assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    }
    let grown = exporter.peak_memory() - before;
    assert!(grown < 48 << 20, "{grown} bytes");
    assert!(get("good", good.target()).await.unwrap().contains("\nprobe_success 1\n"));
}
