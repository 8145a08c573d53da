//! The receiver of heartbeats: its address, one attempt to report over HTTP/1.1, and when to try again.

use std::cell::Cell;
use std::error::Error;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};
use std::{env, fs};

use bytes::Bytes;
use chrono::Utc;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::flags::ReceiverFlags;
use super::report::Report;
use crate::net::connect;
use crate::net::resolve::{Family, Preference, Resolver};
use crate::net::tls::{PemSource, TlsClient, TlsError, TlsSettings};

/// Where one heartbeat reports.
#[derive(Debug)]
pub struct Receiver {
    /// Scheme, host and port as written; never the name, which may be a token.
    origin: String,
    /// Host and port for the header.
    authority: HeaderValue,
    host: String,
    port: u16,
    /// Path of the heartbeat, name included.
    path: String,
    /// `None` for plain HTTP.
    tls: Option<TlsClient>,
    authorization: Option<HeaderValue>,
    retries: u32,
    timeout: Duration,
    resolver: Resolver,
    /// `Ping-Body-Limit` of the last reply, in bytes.
    body_limit: Cell<usize>,
}

/// Why one attempt failed.
enum Failure {
    /// Another attempt may do better, after this time if the receiver named one.
    Passing(String, Option<Duration>),
    /// The receiver takes no message of this length (status 413).
    TooLarge(String),
    /// Another attempt would end the same.
    Lasting(String),
}

impl Receiver {
    /// From flags and, for what they leave open, from `HEARTBEAT_URL` and `HEARTBEAT_TOKEN`. Connects nowhere.
    ///
    /// # Errors
    /// A sentence about the address, the name or the token that cannot be used.
    pub fn new(flags: &ReceiverFlags) -> Result<Self, String> {
        let url = match &flags.url {
            Some(url) => url.clone(),
            None => variable("HEARTBEAT_URL")?.unwrap_or_else(|| DEFAULT_URL.to_owned()),
        };
        let token = match &flags.token_file {
            Some(path) => Some(read_token(path)?),
            None => variable("HEARTBEAT_TOKEN")?,
        };
        let authorization = token.map(|token| bearer(token.trim())).transpose()?;
        let complain = |why: &str| format!("the URL of the receiver {why}");
        let uri: Uri = url.parse().map_err(|error| complain(&format!("cannot be read: {error}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(TlsClient::new(TlsSettings {
                ca: flags.ca_file.clone().map(PemSource::File),
                insecure_skip_verify: flags.insecure,
                ..TlsSettings::default()
            })),
            _ => return Err(complain("must begin with http:// or https://")),
        };
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        if authority.contains('@') {
            return Err(complain("must not hold a user; use --token-file"));
        }
        if uri.query().is_some() {
            return Err(complain("must not hold a query"));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let usual_port = if tls.is_some() { 443 } else { 80 };
        Ok(Self {
            origin: format!("{}://{authority}", uri.scheme_str().unwrap_or_default()),
            authority: HeaderValue::from_str(authority).map_err(|_| complain("has an unusable host"))?,
            host,
            port: uri.port_u16().unwrap_or(usual_port),
            path: format!("{}/heartbeat/{}", uri.path().trim_end_matches('/'), escape_name(&flags.name)?),
            tls,
            authorization,
            retries: flags.retries,
            timeout: flags.timeout,
            resolver: Resolver::default(),
            body_limit: Cell::new(DEFAULT_BODY_LIMIT),
        })
    }

    /// Sends a report, again and again if need be, but not for longer than `patience`.
    ///
    /// # Errors
    /// A sentence that says why the last attempt failed.
    pub async fn deliver(&self, report: &Report, patience: Duration) -> Result<(), String> {
        let end = Instant::now() + patience;
        let (mut failed, mut with_message) = (0, true);
        loop {
            let limit = if with_message { self.body_limit.get() } else { 0 };
            let attempt_end = end.min(Instant::now() + self.timeout);
            let result = timeout_at(attempt_end, self.attempt(report, limit, attempt_end)).await;
            let late = || Failure::Passing(format!("{} did not answer in time", self.origin), None);
            let (why, wanted) = match result.unwrap_or_else(|_| Err(late())) {
                Ok(()) => return Ok(()),
                Err(Failure::TooLarge(_)) if with_message && !report.message.is_empty() => {
                    with_message = false;
                    continue;
                }
                Err(Failure::TooLarge(why) | Failure::Lasting(why)) => return Err(why),
                Err(Failure::Passing(why, wanted)) => (why, wanted),
            };
            let pause = wanted.unwrap_or_else(|| backoff(failed));
            failed += 1;
            if failed > self.retries || Instant::now() + pause >= end {
                return Err(why);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Our address on the way to the receiver. Sends nothing but, if need be, a question to the resolver.
    pub async fn local_address(&self) -> Option<IpAddr> {
        let addresses = timeout(self.timeout, self.addresses()).await.ok()?.ok()?;
        let socket = connect::udp(*addresses.first()?, None).await.ok()?;
        Some(socket.local_addr().ok()?.ip())
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        // The way that works without IPv6 goes first: a report has no time to lose, and nothing to measure.
        let preference = Preference { family: Family::V4, fallback: true };
        let found = self.resolver.lookup_all(&self.host, preference).await.map_err(|error| error.chain())?;
        Ok(found.into_iter().map(|address| address.with_port(self.port)).collect())
    }

    async fn attempt(&self, report: &Report, limit: usize, end: Instant) -> Result<(), Failure> {
        let stream = self.connect(end).await.map_err(|why| Failure::Passing(why, None))?;
        let body = report.to_json(Utc::now(), limit);
        let mut request = Request::post(format!("{}{}", self.path, report.signal.path()))
            .header(HOST, self.authority.clone())
            .header(USER_AGENT, OUR_NAME)
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::Lasting(error.to_string()))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        match &self.tls {
            None => self.exchange(stream, request).await,
            Some(tls) => match tls.handshake(stream, &self.host).await.0 {
                Ok(stream) => self.exchange(stream, request).await,
                Err(error) => {
                    let why = format!("no TLS connection to {}: {}", self.origin, chain(&error));
                    let is_passing = matches!(error, TlsError::Io(_) | TlsError::Closed);
                    Err(if is_passing { Failure::Passing(why, None) } else { Failure::Lasting(why) })
                }
            },
        }
    }

    /// Tries all addresses in turn; none of them gets the time of the others.
    async fn connect(&self, end: Instant) -> Result<TcpStream, String> {
        let addresses = self.addresses().await?;
        let mut why = format!("{} has no address", self.host);
        for (at, address) in addresses.iter().enumerate() {
            let now = Instant::now();
            let others = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
            let share = end.saturating_duration_since(now) / others;
            match timeout_at(now + share, connect::tcp(*address, None)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = format!("cannot connect to {address}: {error}"),
                Err(_) => why = format!("cannot connect to {address}: no answer"),
            }
        }
        Err(why)
    }

    async fn exchange<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let broken = |error: hyper::Error| {
            Failure::Passing(format!("no answer from {}: {}", self.origin, chain(&error)), None)
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let exchange = async {
            let reply = sender.send_request(request).await.map_err(broken)?;
            self.judge(reply).await
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            result = &mut exchange => result,
            // Its errors reach the exchange, which may still have a body to read.
            _ = &mut connection => exchange.await,
        }
    }

    async fn judge(&self, reply: Response<Incoming>) -> Result<(), Failure> {
        let (head, body) = reply.into_parts();
        if let Some(limit) = head.headers.get(BODY_LIMIT).and_then(|limit| limit.to_str().ok()?.parse().ok())
        {
            self.body_limit.set(limit);
        }
        if head.status.is_success() {
            return Ok(());
        }
        let mut why = format!("{} answered {}", self.origin, head.status);
        if let Some(explanation) = first_line(body).await {
            why = format!("{why}: {explanation}");
        }
        let passing = head.status.is_server_error()
            || matches!(head.status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        Err(match head.status {
            _ if passing => Failure::Passing(why, retry_after(&head.headers, SystemTime::now())),
            StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge(why),
            _ => Failure::Lasting(why),
        })
    }
}

fn variable(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is not valid UTF-8")),
    }
}

fn read_token(path: &Path) -> Result<String, String> {
    let complain = |why: String| format!("cannot read the token from {}: {why}", path.display());
    let file = fs::File::open(path).map_err(|error| complain(error.to_string()))?;
    let mut text = String::new();
    file.take(MAX_TOKEN_BYTES).read_to_string(&mut text).map_err(|error| complain(error.to_string()))?;
    if text.trim().is_empty() { Err(complain("it is empty".to_owned())) } else { Ok(text) }
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_| "the token holds characters that no header may have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// `name`, `namespace/name` or a token as it goes into a path (RFC 3986 §2.3).
fn escape_name(name: &str) -> Result<String, String> {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 || parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return Err("the heartbeat must be given as name, namespace/name or token".to_owned());
    }
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                path.push(char::from(byte));
            }
            other => path.push_str(&format!("%{other:02X}")),
        }
    }
    Ok(path)
}

/// What the receiver says about its refusal, if it is short and meant for people.
async fn first_line(mut body: Incoming) -> Option<String> {
    let mut text = Vec::new();
    while text.len() < MAX_EXPLANATION_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        text.extend(frame.into_data().unwrap_or_default());
    }
    text.truncate(MAX_EXPLANATION_BYTES);
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next()?.trim();
    let printable: String = line.chars().filter(|character| !character.is_control()).collect();
    Some(printable).filter(|line| !line.is_empty() && !line.starts_with('<'))
}

/// How long the receiver wants to be left alone: seconds or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds).min(MAX_PAUSE)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default().min(MAX_PAUSE))
        }
    }
}

/// A pause that doubles, of which up to half is left to chance: not all clients come back at once.
fn backoff(failed: u32) -> Duration {
    let whole = FIRST_PAUSE * 2_u32.pow(failed.min(MAX_DOUBLINGS));
    whole.mul_f64(rand::random_range(0.5..=1.0))
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// The exporter on this host.
const DEFAULT_URL: &str = "http://localhost:9115";
/// What the receiver sees.
const OUR_NAME: &str = concat!("heartbeat_exporter/", env!("CARGO_PKG_VERSION"));
/// The header healthchecks.io has for it.
const BODY_LIMIT: &str = "ping-body-limit";
/// Bytes of a report until the receiver has named its limit; more than any tail needs, escapes included.
const DEFAULT_BODY_LIMIT: usize = 8 << 20;
/// Bytes read of a file that holds one token.
const MAX_TOKEN_BYTES: u64 = 4096;
/// Bytes of an explanation that are worth printing.
const MAX_EXPLANATION_BYTES: usize = 200;
/// Pause before the second attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Pauses do not grow beyond a minute or so.
const MAX_DOUBLINGS: u32 = 6;
/// Longer than any patience, and safe to add to a time.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(url: &str, name: &str) -> Result<Receiver, String> {
        Receiver::new(&ReceiverFlags {
            url: Some(url.to_owned()),
            name: name.to_owned(),
            ..ReceiverFlags::default()
        })
    }

    #[test]
    fn addresses_and_paths() {
        let cases = [
            ("http://m", "n", ("http://m", "m", 80, "/heartbeat/n")),
            ("http://m:9115/", "a/n", ("http://m:9115", "m", 9115, "/heartbeat/a/n")),
            ("https://m/x/y/", "n", ("https://m", "m", 443, "/x/y/heartbeat/n")),
            (
                "http://[::1]:1",
                "täg lich?#",
                ("http://[::1]:1", "::1", 1, "/heartbeat/t%C3%A4g%20lich%3F%23"),
            ),
        ];
        for (url, name, want) in cases {
            let got = receiver(url, name).unwrap();
            assert_eq!((got.origin.as_str(), got.host.as_str(), got.port, got.path.as_str()), want);
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_without_secrets() {
        let cases = [
            ("m:9115", "n", "the URL of the receiver must begin with http:// or https://"),
            ("ftp://m", "n", "the URL of the receiver must begin with http:// or https://"),
            ("http://me:hunter2@m", "n", "the URL of the receiver must not hold a user; use --token-file"),
            ("http://m/?key=hunter2", "n", "the URL of the receiver must not hold a query"),
            ("http://m", "", "the heartbeat must be given as name, namespace/name or token"),
            ("http://m", "hunter2/", "the heartbeat must be given as name, namespace/name or token"),
            ("http://m", "a/../hunter2", "the heartbeat must be given as name, namespace/name or token"),
        ];
        for (url, name, want) in cases {
            assert_eq!(receiver(url, name).err().as_deref(), Some(want), "{url} {name}");
        }
        assert_eq!(bearer("a\nb").unwrap_err(), "the token holds characters that no header may have");
        assert_eq!(format!("{:?}", bearer("hunter2").unwrap()), "Sensitive");
    }

    #[test]
    fn the_receiver_says_when_to_come_back() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let cases = [
            ("7", Some(7)),
            ("0", Some(0)),
            ("18446744073709551615", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:00 GMT", Some(23)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ];
        for (text, want) in cases {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&headers, now), want.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn pauses_grow_and_differ() {
        for (failed, most) in [(0, 1.0), (1, 2.0), (3, 8.0), (6, 64.0), (99, 64.0)] {
            let pause = backoff(failed).as_secs_f64();
            assert!((most / 2.0..=most).contains(&pause), "{failed}: {pause}");
        }
    }
}
