//! What a call looks like to the server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::MODULE;
use super::tls::agreeing;
use crate::support::certificates::{Authority, Validity};
use crate::support::probe;

/// What a server has heard: the lines of the header, sorted, and the body.
type Heard = Arc<Mutex<Option<(Vec<String>, Bytes)>>>;

async fn hear(stream: impl AsyncRead + AsyncWrite + Unpin, heard: Heard) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    let (head, mut body) = request.into_parts();
    let exchange = async {
        let mut message = Vec::new();
        while let Some(piece) = body.data().await {
            message.extend(piece.unwrap());
        }
        let mut lines = vec![format!("{} {}", head.method, head.uri)];
        let fields = head.headers.iter();
        lines.extend(fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
        lines[1..].sort();
        *heard.lock().unwrap() = Some((lines, message.into()));
        let answer = hyper::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "16")
            .body(())
            .unwrap();
        respond.send_response(answer, true).unwrap();
    };
    tokio::join!(exchange, async { while connection.accept().await.is_some() {} });
}

/// Probes a server on any address, and returns what it has heard but for the time that was left, which
/// is in microseconds.
async fn heard_by_a_server(
    module: &str,
    host: &str,
    tls: Option<Arc<ServerConfig>>,
) -> (Vec<String>, Bytes, Duration, String) {
    let listener = TcpListener::bind((host.trim_matches(['[', ']']), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let heard = Heard::default();
    let log = Arc::clone(&heard);
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        match tls {
            Some(config) => hear(TlsAcceptor::from(config).accept(stream).await.unwrap(), log).await,
            None => hear(stream, log).await,
        }
    });
    let probed = probe(module, &format!("{host}:{port}")).await;
    assert_eq!(probed.failure().as_deref(), Some("check/status"), "{}", probed.why());
    server.await.unwrap();
    let (mut lines, message) = heard.lock().unwrap().take().unwrap();
    let at = lines.iter().position(|line| line.starts_with("grpc-timeout: ")).unwrap();
    let left = lines.remove(at);
    let left = left.strip_prefix("grpc-timeout: ").unwrap().strip_suffix('u').unwrap();
    (lines, message, Duration::from_micros(left.parse().unwrap()), port)
}

#[tokio::test]
async fn what_is_sent() {
    let metadata = "{authorization: [Bearer sesame], x-multi: [one, two], x-none: [], x-bin: [\"a\\0é\"], \
                    te: [gzip], grpc-timeout: [1S], user-agent: [me], ':path': [/x]}";
    let module = format!("{MODULE}\ngrpc:\n  service: a.Service\n  metadata: {metadata}");
    let (lines, message, left, port) = heard_by_a_server(&module, "127.0.0.1", None).await;
    let user_agent = format!("user-agent: {}", heartbeat_exporter::USER_AGENT);
    let want = [
        format!("POST http://127.0.0.1:{port}/grpc.health.v1.Health/Check"),
        "authorization: Bearer sesame".to_owned(),
        "content-type: application/grpc".to_owned(),
        "te: trailers".to_owned(),
        user_agent,
        "x-bin: YQDDqQ".to_owned(),
        "x-multi: one".to_owned(),
        "x-multi: two".to_owned(),
    ];
    assert_eq!(lines, want);
    assert_eq!(message.as_ref(), b"\0\0\0\0\x0b\x0a\x09a.Service");
    // One second more than is left.
    assert!(left <= Duration::from_secs(6) && left > Duration::from_secs(3), "{left:?}");

    let (lines, message, ..) = heard_by_a_server(MODULE, "[::1]", None).await;
    assert!(lines[0].starts_with("POST http://[::1]:"), "{lines:?}");
    assert_eq!(message.as_ref(), b"\0\0\0\0\0");
}

#[tokio::test]
async fn with_tls_the_authority_is_the_name_in_the_certificate() {
    let authority = Authority::new();
    let config = agreeing(&authority.issue(&["a.test", "127.0.0.1", "::1"], Validity::Now), &[b"h2"]);
    let ca = authority.yaml();
    let cases = [
        ("127.0.0.1", "", "https://127.0.0.1/"),
        ("[::1]", "", "https://[::1]/"),
        ("127.0.0.1", ", server_name: a.test", "https://a.test/"),
    ];
    for (host, name, want) in cases {
        let module = format!("{MODULE}\ngrpc:\n  tls: true\n  tls_config: {{ca: {ca}{name}}}");
        let (lines, ..) = heard_by_a_server(&module, host, Some(Arc::clone(&config))).await;
        assert_eq!(lines[0], format!("POST {want}grpc.health.v1.Health/Check"));
    }
}
