//! Heartbeats and health checks over gRPC, byte by byte.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use data_encoding::BASE64;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use hyper::{HeaderMap, Request};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::certificates::{Authority, Validity};
use crate::support::exporter::{Dir, Exporter, PATIENCE};

/// The password is `pass word`.
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.";
const ALICE: &str = "alice:pass word";

const CONFIG: &str = "modules: {}\nheartbeats:\n  \
    users: {alice: $2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.}\n  \
    provision: {patterns: [auto-*], limit: 1, template: {every: 1h}}\n  services:\n    \
    job: {every: 2h, id: 60y4E}\n    other: {every: 2h, namespace: batch}\n    \
    locked: {every: 2h, token: s3cret, id: lckd}\n";

const SEND: &str = "/HeartbeatService/SendHeartbeat";
const KEEP_ALIVE: &str = "/HeartbeatService/KeepAlive";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const LIST: &str = "/grpc.health.v1.Health/List";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// A connection with HTTP/2 from the first byte on.
struct Client(SendRequest<Bytes>);

/// What came back.
#[derive(Debug, PartialEq)]
struct Answer {
    http: u16,
    status: Option<u32>,
    message: String,
    /// Milliseconds.
    retry_after: Option<u64>,
    messages: Vec<Vec<u8>>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    fn begin(&self, path: &str, headers: &[(&str, &str)]) -> (ResponseFuture, SendStream<Bytes>) {
        let mut request = Request::post(format!("http://x{path}"));
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(headers)
        {
            request.headers_mut().unwrap().insert(
                hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        self.0.clone().send_request(request.body(()).unwrap(), false).unwrap()
    }

    /// A call with this body, which ends unless `is_open`.
    async fn call_raw(&self, path: &str, headers: &[(&str, &str)], body: &[u8], is_open: bool) -> Answer {
        let (response, mut sender) = self.begin(path, headers);
        sender.send_data(Bytes::copy_from_slice(body), !is_open).unwrap();
        let response = timeout(PATIENCE, response).await.unwrap().unwrap();
        let http = response.status().as_u16();
        let first = response.headers().clone();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(piece) = timeout(PATIENCE, body.data()).await.unwrap() {
            bytes.extend(piece.unwrap());
        }
        let trailers = body.trailers().await.unwrap().unwrap_or(first);
        let (status, message) = ending(&trailers);
        let retry_after = trailers.get("grpc-retry-pushback-ms");
        let retry_after = retry_after.map(|millis| millis.to_str().unwrap().parse().unwrap());
        Answer {
            http,
            status,
            message,
            retry_after,
            messages: if http == 200 { unframe(&bytes) } else { Vec::new() },
        }
    }

    async fn call(&self, path: &str, headers: &[(&str, &str)], message: &[u8]) -> Answer {
        self.call_raw(path, headers, &framed(message), false).await
    }
}

fn ending(trailers: &HeaderMap) -> (Option<u32>, String) {
    let text = |name: &str| trailers.get(name).map(|value| value.to_str().unwrap().to_owned());
    (text("grpc-status").map(|status| status.parse().unwrap()), text("grpc-message").unwrap_or_default())
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], u32::try_from(message.len()).unwrap().to_be_bytes().as_slice(), message].concat()
}

fn unframe(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        messages.push(rest[..length].to_vec());
        bytes = &rest[length..];
    }
    assert_eq!(bytes, b"");
    messages
}

/// A field with text or bytes; less than 128 of them.
fn text(field: u8, text: &str) -> Vec<u8> {
    [&[field << 3 | 2, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn number(field: u8, number: u8) -> Vec<u8> {
    vec![field << 3, number]
}

fn ok(message: &[u8]) -> Answer {
    let messages = vec![message.to_vec()];
    Answer { http: 200, status: Some(0), message: String::new(), retry_after: None, messages }
}

fn refused(status: u32, message: &str) -> Answer {
    let message = message.to_owned();
    Answer { http: 200, status: Some(status), message, retry_after: None, messages: Vec::new() }
}

/// Takes the deadline off the end of an answer, after a look at it.
fn timed(mut answer: Answer, period: f64) -> Answer {
    let message = &mut answer.messages[0];
    let (rest, seconds) = message.split_at(message.len() - 8);
    let seconds = f64::from_le_bytes(seconds.try_into().unwrap());
    let now = SystemTime::now();
    let left = seconds - now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((period - 60.0..=period).contains(&left), "{left}");
    assert_eq!(rest.last(), Some(&(5 << 3 | 1)));
    *message = rest[..rest.len() - 1].to_vec();
    answer
}

const UP: &[u8] = b"\x08\x01\x10\x02";
/// Two hours and five minutes of grace.
const TWO_HOURS: f64 = 7500.0;
const UNKNOWN: &str = "no heartbeat is called that";
const NEEDS_TOKEN: &str =
    "the heartbeat has a token, which must come as authorization: Bearer, or as heartbeat-token";

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_is_sent_as_the_document_has_it() {
    let exporter = Exporter::start(CONFIG, &["--web.route-prefix=/p"]);
    let client = Client::connect(exporter.address).await;
    for name in ["job", "default/job", "batch/other", "60y4E"] {
        let answer = client.call(SEND, &[], &text(1, name)).await;
        assert_eq!(timed(answer, TWO_HOURS), ok(UP), "{name}");
    }
    // `alive` is absent, which means false.
    for name in ["nobody", "other", "a b", ""] {
        assert_eq!(client.call(SEND, &[], &text(1, name)).await, ok(&text(3, UNKNOWN)), "{name}");
    }
    let strict = [text(1, "nobody"), number(12, 1)].concat();
    assert_eq!(client.call(SEND, &[], &strict).await, refused(5, UNKNOWN));

    for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", "Basic s3cret")]] {
        for name in ["locked", "lckd"] {
            assert_eq!(client.call(SEND, headers, &text(1, name)).await, refused(16, NEEDS_TOKEN));
        }
    }
    for headers in [&[("authorization", "bearer s3cret")], &[("heartbeat-token", "s3cret")]] {
        assert_eq!(timed(client.call(SEND, headers, &text(1, "locked")).await, TWO_HOURS), ok(UP));
    }
    assert_eq!(timed(client.call(SEND, &[], &text(1, "s3cret")).await, TWO_HOURS), ok(UP));

    assert_eq!(timed(client.call(SEND, &[], &text(1, "auto-1")).await, 3900.0), ok(UP));
    let full = "1 heartbeats have made themselves known already, which is the limit";
    assert_eq!(client.call(SEND, &[], &text(1, "auto-2")).await, refused(8, full));

    let page = exporter.request("GET", "/p/metrics", &[]).text();
    let count = |series: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse::<f64>().unwrap())
    };
    let requests =
        |code: &str| count(&format!("heartbeat_receiver_requests_total{{api=\"grpc\",code={code:?}}}"));
    let rejected = |reason: &str| count(&format!("heartbeat_receiver_rejected_total{{reason={reason:?}}}"));
    assert_eq!(["200", "404", "401", "429"].map(requests), [Some(8.0), Some(5.0), Some(6.0), Some(1.0)]);
    assert_eq!(["unknown", "auth", "quota"].map(rejected), [Some(5.0), Some(6.0), Some(1.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_with_all_that_may_come_along() {
    let exporter = Exporter::start(CONFIG, &[]);
    let client = Client::connect(exporter.address).await;
    let job = || text(1, "job");
    let send = async |more: &[Vec<u8>]| client.call(SEND, &[], &[job(), more.concat()].concat()).await;
    // Nothing is expected before the first success.
    assert_eq!(send(&[number(2, 1), text(5, "run-1")]).await, ok(b"\x08\x01\x10\x04"));
    let done = timed(send(&[number(6, 0), text(5, "run-1"), text(11, "12 rows\n")]).await, TWO_HOURS);
    assert_eq!(done, ok(UP));
    let counted = [number(3, 7), text(4, "boot-1")];
    assert_eq!(timed(send(&counted).await, TWO_HOURS), ok(UP));
    assert_eq!(timed(send(&counted).await, TWO_HOURS), ok(b"\x08\x01\x10\x02\x20\x01"));
    let failed = timed(send(&[number(6, 3), text(11, "größer")]).await, TWO_HOURS);
    assert_eq!(failed, ok(b"\x08\x01\x10\x05\x1a\x06failed"));

    let authorization = format!("Basic {}", BASE64.encode(ALICE.as_bytes()));
    let reply = exporter.request(
        "GET",
        "/api/v1/heartbeats/default/job/messages",
        &[("Authorization", &authorization)],
    );
    let mut kept: Value = serde_json::from_slice(&reply.body).unwrap();
    for message in kept["messages"].as_array_mut().unwrap() {
        assert!(message["received_timestamp_seconds"].take().as_f64().unwrap() > 1.6e9);
    }
    let want = json!({ "messages": [
        {"received_timestamp_seconds": null, "signal": "fail", "run": null, "body": "größer"},
        {"received_timestamp_seconds": null, "signal": "success", "run": "run-1", "body": "12 rows\n"},
    ]});
    assert_eq!(kept, want);
    let path = "/api/v1/heartbeats/default/job/messages?limit=0";
    let none = exporter.request("GET", path, &[("Authorization", &authorization)]);
    assert_eq!(none.text(), "{\"messages\":[]}\n");

    let cases = [
        (number(2, 9), "signal 9 is not known"),
        (text(5, &"x".repeat(127)), ""),
        (vec![5 << 3 | 2, 5, b'x'], "the message is no protobuf"),
        (vec![5 << 3 | 2, 1, 0xff], "a text is not UTF-8"),
    ];
    for (field, why) in cases {
        let answer = client.call(SEND, &[], &[job(), field].concat()).await;
        let want = if why.is_empty() { Some(0) } else { Some(3) };
        assert_eq!((answer.status, answer.message.as_str()), (want, why));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_a_flood_is_refused_and_a_change_never() {
    let exporter = Exporter::start(CONFIG, &[]);
    let client = Client::connect(exporter.address).await;
    let mut taken = 0;
    let mut flooded = loop {
        let answer = client.call(SEND, &[], &text(1, "job")).await;
        if answer.status != Some(0) {
            break answer;
        }
        taken += 1;
    };
    assert!((60..200).contains(&taken), "{taken}");
    assert_eq!(flooded.retry_after.take(), Some(1000));
    assert_eq!(flooded, refused(8, "too many signals; try again in 1 s"));
    let failed = client.call(SEND, &[], &[text(1, "job"), number(2, 2)].concat()).await;
    assert_eq!(timed(failed, TWO_HOURS), ok(b"\x08\x01\x10\x05\x1a\x06failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill() {
    let mut exporter = Exporter::start(CONFIG, &[]);
    let client = Client::connect(exporter.address).await;
    assert_eq!(timed(client.call(SEND, &[], &text(1, "job")).await, TWO_HOURS), ok(UP));
    assert_eq!(timed(client.call(SEND, &[], &text(1, "auto-1")).await, 3900.0), ok(UP));
    exporter.signal("KILL");
    exporter.wait();
    let args = ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0"];
    let exporter = Exporter::start_in(std::mem::replace(&mut exporter.dir, Dir::new()), &args);
    let client = Client::connect(exporter.address).await;
    for name in ["job", "auto-1"] {
        assert_eq!(client.call(CHECK, &[], &text(1, name)).await, ok(b"\x08\x01"), "{name}");
    }
    assert_eq!(client.call(CHECK, &[], &text(1, "batch/other")).await, ok(b""));
}

/// A call with messages in both directions.
struct Talk {
    sender: SendStream<Bytes>,
    body: RecvStream,
    bytes: Vec<u8>,
}

impl Talk {
    async fn begin(client: &Client, path: &str, headers: &[(&str, &str)]) -> Self {
        let (response, sender) = client.begin(path, headers);
        let response = timeout(PATIENCE, response).await.unwrap().unwrap();
        assert_eq!(response.headers()["content-type"], "application/grpc");
        Self { sender, body: response.into_body(), bytes: Vec::new() }
    }

    fn say(&mut self, message: &[u8]) {
        self.sender.send_data(framed(message).into(), false).unwrap();
    }

    fn end(&mut self) {
        self.sender.send_data(Bytes::new(), true).unwrap();
    }

    /// The next message.
    async fn hear(&mut self) -> Vec<u8> {
        loop {
            if let Some(length) = self.bytes.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.bytes.len() >= 5 + length {
                    let message = self.bytes[5..5 + length].to_vec();
                    self.bytes.drain(..5 + length);
                    return message;
                }
            }
            let piece = timeout(PATIENCE, self.body.data()).await.unwrap().expect("a message").unwrap();
            let _ = self.body.flow_control().release_capacity(piece.len());
            self.bytes.extend(piece);
        }
    }

    /// Status and sentence, when nothing comes before them.
    async fn status(mut self) -> (Option<u32>, String) {
        assert_eq!(self.bytes, b"");
        let more = timeout(PATIENCE, self.body.data()).await.unwrap();
        assert!(more.is_none(), "{more:?}");
        ending(&timeout(PATIENCE, self.body.trailers()).await.unwrap().unwrap().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_keeps_services_alive() {
    let exporter = Exporter::start(CONFIG, &[]);
    let client = Client::connect(exporter.address).await;
    let mut talk = Talk::begin(&client, KEEP_ALIVE, &[("heartbeat-token", "s3cret")]).await;
    for (name, want) in
        [("job", &UP[..2]), ("locked", &UP[..2]), ("nobody", &text(3, UNKNOWN)[..2]), ("job", &UP[..2])]
    {
        talk.say(&text(1, name));
        assert_eq!(&talk.hear().await[..2], want, "{name}");
    }
    // Several in one piece, and one in several.
    let three = [framed(&text(1, "job")), framed(&text(1, "batch/other")), framed(&text(1, "job"))].concat();
    for piece in three.chunks(12) {
        talk.sender.send_data(Bytes::copy_from_slice(piece), false).unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for _ in 0..3 {
        assert_eq!(talk.hear().await[..2], UP[..2]);
    }
    talk.end();
    assert_eq!(talk.status().await, (Some(0), String::new()));

    let mut talk = Talk::begin(&client, KEEP_ALIVE, &[]).await;
    talk.say(&text(1, "locked"));
    assert_eq!(talk.status().await.0, Some(16));
    let mut talk = Talk::begin(&client, KEEP_ALIVE, &[]).await;
    talk.sender.send_data(Bytes::from_static(b"\0\0\0\0\x05x"), true).unwrap();
    assert_eq!(talk.status().await, (Some(13), "only 6 bytes of a message and its prefix came".to_owned()));
    let talk = Talk::begin(&client, KEEP_ALIVE, &[("grpc-timeout", "50m")]).await;
    assert_eq!(talk.status().await, (Some(4), "the time for the call is over".to_owned()));
    assert_eq!(exporter.metric("heartbeat_receiver_requests_total{api=\"grpc\",code=\"200\"}"), Some(6.0));
}

/// One that keeps `job` alive, and one that watches it; both have been answered.
async fn two_streams(client: &Client) -> (Talk, Talk) {
    let mut keep = Talk::begin(client, KEEP_ALIVE, &[]).await;
    keep.say(&text(1, "job"));
    keep.hear().await;
    let mut watch = Talk::begin(client, WATCH, &[]).await;
    watch.say(&text(1, "job"));
    assert_eq!(watch.hear().await, b"\x08\x01");
    (keep, watch)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_the_process() {
    let mut exporter = Exporter::start(CONFIG, &[]);
    let client = Client::connect(exporter.address).await;
    let (keep, watch) = two_streams(&client).await;
    let begun = Instant::now();
    exporter.signal("TERM");
    let stopping = (Some(14), "the receiver is stopping".to_owned());
    assert_eq!(keep.status().await, stopping);
    assert_eq!(watch.status().await, stopping);
    drop(client);
    assert!(exporter.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_the_section_and_calls_follow_it() {
    let exporter = Exporter::start(CONFIG, &[]);
    let reload = |config: &str| {
        exporter.dir.write("c.yml", config);
        assert_eq!(exporter.request("POST", "/-/reload", &[]).status, 200);
    };
    let client = Client::connect(exporter.address).await;
    let (keep, watch) = two_streams(&client).await;
    reload("modules: {}\n");
    let changed = (Some(14), "the configuration has changed".to_owned());
    assert_eq!(keep.status().await, changed);
    assert_eq!(watch.status().await, changed);
    assert_eq!(client.call(CHECK, &[], &text(1, "job")).await.http, 404);
    reload(CONFIG);
    assert_eq!(client.call(CHECK, &[], &text(1, "default/job")).await, ok(b"\x08\x01"));
    let mut keep = Talk::begin(&client, KEEP_ALIVE, &[]).await;
    keep.say(&text(1, "job"));
    assert_eq!(keep.hear().await[..2], UP[..2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_heartbeat() {
    let exporter = Exporter::start(CONFIG, &[]);
    let client = Client::connect(exporter.address).await;
    let check = async |name: &str| client.call(CHECK, &[], &text(1, name)).await;
    assert_eq!(client.call(CHECK, &[], b"").await, ok(b"\x08\x01"));
    assert_eq!(check("job").await, ok(b""));
    assert_eq!(check("nobody").await, refused(5, UNKNOWN));
    assert_eq!(check("a b").await, refused(5, UNKNOWN));
    // Secrets are no names here.
    assert_eq!(check("s3cret").await, refused(5, UNKNOWN));
    assert_eq!(
        client.call(CHECK, &[], b"\x0a\x05").await,
        refused(3, "the message is no HealthCheckRequest")
    );

    let mut watch = Talk::begin(&client, WATCH, &[]).await;
    watch.say(&text(1, "default/job"));
    assert_eq!(watch.hear().await, b"");
    let mut unknown = Talk::begin(&client, WATCH, &[]).await;
    unknown.say(&text(1, "auto-1"));
    assert_eq!(unknown.hear().await, b"\x08\x03");

    client.call(SEND, &[], &[text(1, "job"), number(2, 2)].concat()).await;
    assert_eq!(check("job").await, ok(b"\x08\x02"));
    assert_eq!(watch.hear().await, b"\x08\x02");
    client.call(SEND, &[], &text(1, "job")).await;
    assert_eq!(check("default/job").await, ok(b"\x08\x01"));
    assert_eq!(watch.hear().await, b"\x08\x01");
    client.call(SEND, &[], &text(1, "auto-1")).await;
    assert_eq!(unknown.hear().await, b"\x08\x01");

    // Other exporters can probe it.
    let modules = "modules:\n  up: {prober: grpc, timeout: 5s, grpc: {service: job}}\n  \
        never: {prober: grpc, timeout: 5s, grpc: {service: batch/other}}\n";
    let other = Exporter::start(modules, &[]);
    for (module, want) in [("up", "\nprobe_success 1\n"), ("never", "\nprobe_success 0\n")] {
        let page = other.get(&format!("/probe?module={module}&target={}", exporter.address)).text();
        assert!(page.contains(want), "{page}");
    }

    let entry = |name: &str, status: &[u8]| {
        let status = [&[0x12, u8::try_from(status.len()).unwrap()], status].concat();
        let name = if name.is_empty() { Vec::new() } else { text(1, name) };
        let entry = [name, status].concat();
        [vec![0x0a, u8::try_from(entry.len()).unwrap()], entry].concat()
    };
    let want = [
        entry("", b"\x08\x01"),
        entry("batch/other", b""),
        entry("default/auto-1", b"\x08\x01"),
        entry("default/job", b"\x08\x01"),
        entry("default/locked", b""),
    ];
    assert_eq!(client.call(LIST, &[], b"").await, ok(&want.concat()));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_break_the_rules() {
    let exporter = Exporter::start(CONFIG, &[]);
    let client = Client::connect(exporter.address).await;
    let good = framed(&text(1, "job"));
    type Case<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)], Vec<u8>, u32, &'c str);
    let cases: [Case<'_>; 14] = [
        ("no message", SEND, &[], vec![], 13, "there is no message"),
        ("half a prefix", SEND, &[], vec![0; 3], 13, "only 3 bytes of a message and its prefix came"),
        (
            "half a message",
            SEND,
            &[],
            good[..8].to_vec(),
            13,
            "only 8 bytes of a message and its prefix came",
        ),
        ("two messages", SEND, &[], [&good[..], &good].concat(), 13, "there is more than one message"),
        ("compressed", SEND, &[], b"\x01\0\0\0\0".to_vec(), 12, "compressed messages are not understood"),
        ("a flag of 2", SEND, &[], b"\x02\0\0\0\0".to_vec(), 13, "a message has the flag 2"),
        (
            "too large",
            SEND,
            &[],
            b"\0\0\x01\0\x01".to_vec(),
            8,
            "a message of 65537 bytes is announced; 65536 are accepted",
        ),
        (
            "beyond memory",
            SEND,
            &[],
            b"\0\xff\xff\xff\xff".to_vec(),
            8,
            "a message of 4294967295 bytes is announced; 65536 are accepted",
        ),
        (
            "gzip",
            SEND,
            &[("grpc-encoding", "gzip")],
            good.clone(),
            12,
            "compressed messages are not understood",
        ),
        (
            "JSON",
            SEND,
            &[("content-type", "application/grpc+json")],
            good.clone(),
            12,
            "only protobuf is understood",
        ),
        (
            "a timeout without unit",
            SEND,
            &[("grpc-timeout", "5")],
            good.clone(),
            13,
            "the grpc-timeout cannot be read",
        ),
        (
            "another method",
            "/HeartbeatService/Nothing",
            &[],
            good.clone(),
            12,
            "there is no method /HeartbeatService/Nothing",
        ),
        (
            "another service",
            "/p.HeartbeatService/SendHeartbeat",
            &[],
            good.clone(),
            12,
            "there is no method /p.HeartbeatService/SendHeartbeat",
        ),
        ("a page", "/metrics", &[], vec![], 12, "there is no method /metrics"),
    ];
    for (name, path, headers, body, status, message) in cases {
        assert_eq!(client.call_raw(path, headers, &body, false).await, refused(status, message), "{name}");
    }
    // The end of the body is not waited for when its begin is wrong already.
    let open = client.call_raw(SEND, &[], b"\x01\0\0\0\0", true).await;
    assert_eq!(open.status, Some(12));
    let late = client.call_raw(SEND, &[("grpc-timeout", "30m")], &good[..8], true).await;
    assert_eq!(late, refused(4, "the time for the call is over"));
    let page = exporter.get("/metrics").text();
    let count = |series: &str| page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let requests =
        |code: &str| count(&format!("heartbeat_receiver_requests_total{{api=\"grpc\",code={code:?}}}"));
    assert_eq!(["200", "400", "413", "other"].map(requests), [Some("0"), Some("6"), Some("2"), Some("5")]);
    let rejected = |reason: &str| count(&format!("heartbeat_receiver_rejected_total{{reason={reason:?}}}"));
    assert_eq!(["body", "request"].map(rejected), [Some("10"), Some("3")]);
    // Protobuf by its full name, and a timeout that is none.
    let headers = [("content-type", "application/grpc+proto; charset=x"), ("grpc-timeout", "99999999H")];
    assert_eq!(client.call_raw(SEND, &headers, &good, false).await.status, Some(0));

    let get =
        Request::get("http://x/HeartbeatService/SendHeartbeat").header("content-type", "application/grpc");
    let (response, _) = client.0.clone().send_request(get.body(()).unwrap(), true).unwrap();
    assert_eq!(response.await.unwrap().status().as_u16(), 405);
    // Without HTTP/2 it is a page that does not exist.
    let page = exporter.request("POST", SEND, &[("Content-Type", "application/grpc")]);
    assert_eq!(page.status, 404);
    // And without the section there are no calls.
    let none = Exporter::start("modules: {}\n", &[]);
    let mut stream = TcpStream::connect(none.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_on_one_socket() {
    let exporter = Exporter::start(CONFIG, &[]);
    // The preface in pieces.
    let mut stream = TcpStream::connect(exporter.address).await.unwrap();
    for piece in [&b"PRI * HT"[..], b"TP/2.0\r\n\r\nSM\r\n", b"\r\n\0\0\0\x04\0\0\0\0\0"] {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let mut head = [0; 9];
    timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(head[3], 4, "settings");
    drop(stream);
    // What begins like it and is none.
    for begin in ["P", "PO", "PRI * HTTP/2.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(exporter.address).await.unwrap();
        let rest = if begin.len() < 3 {
            &"POST /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"[begin.len()..]
        } else {
            ""
        };
        stream.write_all(begin.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        stream.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let want = if rest.is_empty() { "HTTP/1.1 400" } else { "HTTP/1.1 200" };
        assert!(answer.starts_with(want), "{begin}: {answer}");
    }
    // Pages are there over HTTP/2 as well.
    let client = Client::connect(exporter.address).await;
    let get = Request::get("http://x/-/healthy").body(()).unwrap();
    let (response, _) = client.0.clone().send_request(get, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let mut body = response.into_body();
    let page = poll_fn(|cx| body.poll_data(cx)).await.unwrap().unwrap();
    assert_eq!(page.as_ref(), b"Healthy");
    // A connection on which nothing comes does not hold up the end.
    let mut exporter = exporter;
    let _silent = TcpStream::connect(exporter.address).await.unwrap();
    drop(client);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    exporter.signal("TERM");
    assert!(exporter.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_tls_and_users() {
    let authority = Authority::new();
    let pair = authority.issue_pair(&["server.test"], Validity::Now);
    let dir = Dir::new();
    dir.write("c.yml", CONFIG);
    dir.write("cert.pem", &pair.certificate);
    dir.write("key.pem", &pair.key);
    dir.write(
        "w.yml",
        &format!("tls_server_config: {{cert_file: cert.pem, key_file: key.pem}}\nbasic_auth_users: {{alice: {HASH}}}\n"),
    );
    let args = ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0", "--web.config.file=w.yml"];
    let exporter = Exporter::start_in(dir, &args);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(exporter.address).await.unwrap();
    let name = ServerName::try_from("server.test").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let client = Client::over(stream).await;

    let refused = client.call(SEND, &[], &text(1, "job")).await;
    assert_eq!((refused.http, refused.status), (401, None));
    let basic = format!("Basic {}", BASE64.encode(ALICE.as_bytes()));
    let user = [("authorization", basic.as_str())];
    assert_eq!(timed(client.call(SEND, &user, &text(1, "job")).await, TWO_HOURS), ok(UP));
    let both = [user[0], ("heartbeat-token", "s3cret")];
    assert_eq!(timed(client.call(SEND, &both, &text(1, "locked")).await, TWO_HOURS), ok(UP));
    let mut talk = Talk::begin(&client, KEEP_ALIVE, &user).await;
    talk.say(&text(1, "job"));
    assert_eq!(talk.hear().await[..4], *UP);
    talk.end();
    assert_eq!(talk.status().await.0, Some(0));
}
