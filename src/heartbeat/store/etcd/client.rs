//! Requests to the JSON gateway: which member, with which token, and what its errors mean.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use socket2::{SockRef, TcpKeepalive};
use tokio::sync::watch;
use tokio::time::timeout;

use super::EtcdSettings;
use crate::config::secret::Secret;
use crate::net::connect::{self, split_host_port};
use crate::net::resolve::{Preference, Resolver};
use crate::net::tls::TlsClient;

/// How long one member may take for one request; less than those who wait for a commit have.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Bytes of one answer. A page of a list has at most 200 values of 256 kB, in Base64.
const MAX_ANSWER: usize = 96 * 1024 * 1024;
/// A member whose machine is gone is noticed after about this time and three tries, even without requests.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// A member of etcd: `http://host:port` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    is_tls: bool,
    host: String,
    port: u16,
}

impl Endpoint {
    /// Reads a URL without a path; the port may be left out and is 2379 then.
    ///
    /// # Errors
    /// A sentence that names the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(format!("endpoint {text:?} begins with neither http:// nor https://")),
        };
        let address = rest.strip_suffix('/').unwrap_or(rest);
        let with_port = match address.strip_prefix('[') {
            Some(_) if address.ends_with(']') => format!("{address}:{DEFAULT_PORT}"),
            None if !address.contains(':') => format!("{address}:{DEFAULT_PORT}"),
            _ => address.to_owned(),
        };
        let (host, port) = split_host_port(&with_port).map_err(|why| format!("endpoint {text:?}: {why}"))?;
        let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
        match port.parse() {
            Ok(port) if is_host => Ok(Self { is_tls, host: host.to_owned(), port }),
            _ => Err(format!("endpoint {text:?} is not http://HOST:PORT or https://HOST:PORT")),
        }
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority())
    }
}

const DEFAULT_PORT: u16 = 2379;

/// Why etcd did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No member could be reached or answered; the last one said why.
    #[error("{endpoint}: {why}")]
    Unreachable { endpoint: String, why: String },
    /// A member answered that it will not.
    #[error("{endpoint} refused: {message}")]
    Refused { endpoint: String, message: String },
}

/// A connection to one member at a time.
#[derive(Debug)]
pub(super) struct Client {
    shared: Arc<Common>,
    /// Which endpoint is used.
    current: usize,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// The last request went over a connection that had been used before.
    was_idle: bool,
    token: Option<String>,
    /// Whether an earlier attempt of the last request may have been carried out.
    pub(super) was_repeated: bool,
}

#[derive(Debug)]
struct Common {
    endpoints: Vec<Endpoint>,
    user: Option<(String, Secret)>,
    tls: TlsClient,
    resolver: Resolver,
    /// The endpoint that failed last.
    failed: watch::Sender<Option<usize>>,
}

/// Another client for the same members, with a connection of its own.
impl Clone for Client {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            current: self.current,
            connection: None,
            was_idle: false,
            token: self.token.clone(),
            was_repeated: false,
        }
    }
}

/// What went wrong with one attempt.
enum Attempt {
    /// Another member may do better.
    Next(String),
    /// The token is unknown or too old.
    Token(String),
    /// All members would say the same.
    Final(String),
}

impl Client {
    pub(super) fn new(settings: &EtcdSettings) -> Self {
        let shared = Common {
            endpoints: settings.endpoints.clone(),
            user: settings.user.clone(),
            tls: TlsClient::new(settings.tls.clone()),
            resolver: Resolver::default(),
            failed: watch::Sender::new(None),
        };
        Self {
            shared: Arc::new(shared),
            current: 0,
            connection: None,
            was_idle: false,
            token: None,
            was_repeated: false,
        }
    }

    /// The member used now.
    pub(super) fn endpoint(&self) -> String {
        self.shared.endpoints.get(self.current).map(ToString::to_string).unwrap_or_default()
    }

    /// Sends a request and reads the whole answer; of a stream, its first message.
    ///
    /// # Errors
    /// After every member was tried, or at once when one refuses.
    pub(super) async fn call(&mut self, path: &str, request: &Value) -> Result<Value, Failure> {
        let answer = self.with_failover(path, request, async |response: Response<Incoming>| {
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| {
                match error.downcast_ref::<LengthLimitError>() {
                    Some(_) => Attempt::Final(format!("the answer has more than {MAX_ANSWER} bytes")),
                    None => Attempt::Next(error.to_string()),
                }
            })?;
            Ok(body.to_bytes())
        });
        let answer = answer.await?;
        let mut values = serde_json::Deserializer::from_slice(&answer).into_iter();
        match values.next() {
            Some(Ok(value)) => Ok(value),
            _ => Err(self.refused("the answer is not JSON")),
        }
    }

    /// Opens a stream of messages. The connection belongs to the stream.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(super) async fn stream(&mut self, path: &str, request: &Value) -> Result<Messages, Failure> {
        let response = self.with_failover(path, request, async |response| Ok(response)).await?;
        let messages = Messages {
            body: response.into_body(),
            buffer: BytesMut::new(),
            // Kept so that the connection stays open.
            _connection: self.connection.take(),
            endpoint: self.endpoint(),
            current: self.current,
            failed: self.shared.failed.subscribe(),
        };
        Ok(messages)
    }

    async fn with_failover<T>(
        &mut self,
        path: &str,
        request: &Value,
        read: impl AsyncFn(Response<Incoming>) -> Result<T, Attempt>,
    ) -> Result<T, Failure> {
        let body = Bytes::from(request.to_string());
        self.was_repeated = false;
        let mut last = String::new();
        let mut has_new_token = false;
        let mut tries = 0;
        // One more than there are members: an idle connection may have been closed by the first.
        while tries <= self.shared.endpoints.len() {
            let attempt = async { read(self.attempt(path, body.clone()).await?).await };
            let outcome = timeout(ATTEMPT, attempt)
                .await
                .unwrap_or_else(|_| Err(Attempt::Next(format!("no answer within {} s", ATTEMPT.as_secs()))));
            match outcome {
                Ok(answer) => return Ok(answer),
                Err(Attempt::Token(_)) if !has_new_token && self.shared.user.is_some() => {
                    has_new_token = true;
                    self.token = None;
                    continue;
                }
                Err(Attempt::Token(why) | Attempt::Final(why)) => return Err(self.refused(&why)),
                Err(Attempt::Next(why)) => {
                    last = why;
                    self.was_repeated = true;
                    self.connection = None;
                    if !(self.was_idle && tries == 0) {
                        self.leave();
                    }
                }
            }
            tries += 1;
        }
        Err(Failure::Unreachable { endpoint: self.endpoint(), why: last })
    }

    /// Goes to the next member, and tells others who use this one.
    fn leave(&mut self) {
        self.shared.failed.send_replace(Some(self.current));
        self.current = (self.current + 1) % self.shared.endpoints.len().max(1);
    }

    fn refused(&self, message: &str) -> Failure {
        Failure::Refused { endpoint: self.endpoint(), message: message.to_owned() }
    }

    async fn attempt(&mut self, path: &str, body: Bytes) -> Result<Response<Incoming>, Attempt> {
        if self.token.is_none()
            && let Some((name, password)) = &self.shared.user
        {
            let request = json!({"name": name, "password": password.expose()}).to_string();
            let response = self.send("/v3/auth/authenticate", request.into()).await?;
            let answer = Limited::new(response.into_body(), MAX_ERROR).collect().await;
            let answer = answer.map_err(|error| Attempt::Next(error.to_string()))?.to_bytes();
            let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
            let token = answer.get("token").and_then(Value::as_str);
            self.token =
                Some(token.ok_or_else(|| Attempt::Final("no token came back".to_owned()))?.to_owned());
        }
        self.send(path, body).await
    }

    async fn send(&mut self, path: &str, body: Bytes) -> Result<Response<Incoming>, Attempt> {
        let index = self.current;
        let Some(endpoint) = self.shared.endpoints.get(index).cloned() else {
            return Err(Attempt::Final("there is no endpoint".to_owned()));
        };
        let connection = match self.connection.take() {
            Some(open) if !open.is_closed() => {
                self.was_idle = true;
                self.connection.insert(open)
            }
            _ => {
                self.was_idle = false;
                let fresh = self.connect(&endpoint).await.map_err(Attempt::Next)?;
                self.connection.insert(fresh)
            }
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, endpoint.authority())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(body)).map_err(|error| Attempt::Final(error.to_string()))?;
        let next = |error: hyper::Error| Attempt::Next(text_of(&error));
        connection.ready().await.map_err(next)?;
        let response = connection.send_request(request).await.map_err(next)?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ERROR).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Err(refusal(status, &body))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<SendRequest<Full<Bytes>>, String> {
        let found = self.shared.resolver.lookup_all(&endpoint.host, Preference::new("", true)).await;
        let mut last = None;
        let mut stream = None;
        for address in found.map_err(|error| error.chain())? {
            match connect::tcp(address.with_port(endpoint.port), None).await {
                Ok(open) => {
                    stream = Some(open);
                    break;
                }
                Err(error) => last = Some(error),
            }
        }
        let stream = stream.ok_or_else(|| last.map_or_else(String::new, |error| error.to_string()))?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(3);
        // Without it a watch on a dead machine ends later; no reason to fail.
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        if endpoint.is_tls {
            let (stream, _) = self.shared.tls.handshake(stream, &endpoint.host).await;
            start(stream.map_err(|error| text_of(&error))?).await
        } else {
            start(stream).await
        }
    }
}

async fn start<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends when the sender and the body of the last answer are dropped, or with the connection.
    tokio::spawn(connection);
    Ok(sender)
}

fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// Bytes of an answer that is an error or a token.
const MAX_ERROR: usize = 64 * 1024;

/// Bytes of an unexpected answer shown in an error.
const MAX_QUOTED: usize = 200;

/// What an error of the gateway means (codes of gRPC).
fn refusal(status: StatusCode, body: &[u8]) -> Attempt {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = error.get("code").and_then(Value::as_u64);
    let message = error.get("message").or_else(|| error.get("error")).and_then(Value::as_str);
    let message = message.map_or_else(
        // Not from the gateway, but from a proxy or the HTTP server of etcd.
        || format!("status {status}, {:?}", String::from_utf8_lossy(body.get(..MAX_QUOTED).unwrap_or(body))),
        str::to_owned,
    );
    const DEADLINE_EXCEEDED: u64 = 4;
    const UNAVAILABLE: u64 = 14;
    const UNAUTHENTICATED: u64 = 16;
    match code {
        Some(UNAUTHENTICATED) => Attempt::Token(message),
        // etcd says so while it has no leader, and with too many requests.
        Some(DEADLINE_EXCEEDED | UNAVAILABLE) => Attempt::Next(message),
        None if status.is_server_error() => Attempt::Next(message),
        // Permissions changed since the token was given (etcd: auth revision).
        _ if message.contains("auth token") || message.contains("old revision") => Attempt::Token(message),
        _ => Attempt::Final(message),
    }
}

/// The messages of a stream: JSON objects, one in each line.
#[derive(Debug)]
pub(super) struct Messages {
    body: Incoming,
    buffer: BytesMut,
    _connection: Option<SendRequest<Full<Bytes>>>,
    pub(super) endpoint: String,
    current: usize,
    failed: watch::Receiver<Option<usize>>,
}

impl Messages {
    /// The next message. Waits as long as the member lives and nobody else found it dead.
    ///
    /// # Errors
    /// The stream has ended, or what comes is not JSON.
    pub(super) async fn next(&mut self) -> io::Result<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return serde_json::from_slice(&line).map_err(io::Error::from);
            }
            if self.buffer.len() > MAX_ANSWER {
                return Err(io::Error::other(format!("a message has more than {MAX_ANSWER} bytes")));
            }
            tokio::select! {
                frame = self.body.frame() => match frame {
                    Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                    Some(Err(error)) => return Err(io::Error::other(text_of(&error))),
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                },
                () = failure_of(&mut self.failed, self.current) => {
                    return Err(io::Error::other("others found it dead"));
                }
            }
        }
    }
}

async fn failure_of(failed: &mut watch::Receiver<Option<usize>>, current: usize) {
    while failed.changed().await.is_ok() {
        if *failed.borrow_and_update() == Some(current) {
            return;
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls() {
        let cases = [
            ("http://a.test:2379", Ok("http://a.test:2379")),
            ("https://a.test/", Ok("https://a.test:2379")),
            ("a.test:1", Ok("http://a.test:1")),
            ("https://[::1]:1", Ok("https://[::1]:1")),
            ("http://[::1]", Ok("http://[::1]:2379")),
            ("ftp://a", Err("endpoint \"ftp://a\" begins with neither http:// nor https://")),
            ("http://a/b", Err("endpoint \"http://a/b\" is not http://HOST:PORT or https://HOST:PORT")),
            ("http://a:x", Err("endpoint \"http://a:x\" is not http://HOST:PORT or https://HOST:PORT")),
            ("http://u:p@a:1", Err("endpoint \"http://u:p@a:1\": address \"u:p@a:1\": too many colons")),
            ("", Err("endpoint \"\" is not http://HOST:PORT or https://HOST:PORT")),
        ];
        for (text, want) in cases {
            let got = Endpoint::parse(text).map(|endpoint| endpoint.to_string());
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
