//! The opening handshake: one HTTP/1.1 request, its answer, and whether the answer agrees (RFC 6455 §4).

use std::fmt::Write as _;

use aws_lc_rs::digest;
use data_encoding::BASE64;
use httparse::{EMPTY_HEADER, Status};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::Secret;
use crate::config::header::{HeaderSource, canonical_name, is_header_value};
use crate::config::sections::websocket::Websocket as Section;
use crate::net::buffered::Buffered;
use crate::net::failure;
use crate::probers::http::compile::authentication;
use crate::probers::http::request::{Authentication, Value};
use crate::probers::http::url::Url;
use crate::runner::{Phase, ProbeError, Reason};

/// What no target changes about the request.
#[derive(Debug)]
pub struct Template {
    /// In place of the URL's host.
    host: Option<Value>,
    /// In place of our own.
    user_agent: Option<Value>,
    authentication: Option<Authentication>,
    /// Whole lines of headers whose values are known.
    lines: Secret,
    from_files: Vec<(String, Value)>,
}

impl Template {
    /// From the keys of a module; header names and written values are checked already.
    pub fn compile(section: &Section) -> Self {
        let (mut host, mut user_agent) = (None, None);
        let (mut lines, mut from_files) = (String::new(), Vec::new());
        for (name, source) in section.headers.iter() {
            let mut values = values(&source.0);
            let name = canonical_name(name);
            match name.as_str() {
                "Host" => host = host.or(values.next()),
                "User-Agent" => user_agent = user_agent.or(values.next()),
                // The request has no body; the peer leaves these out, too.
                "Content-Length" | "Transfer-Encoding" | "Trailer" => {}
                _ => {
                    for value in values {
                        match value {
                            // Writing to a String cannot fail.
                            Value::Inline(text) => {
                                let _ = write!(lines, "{}: {}\r\n", spelling(&name), text.expose());
                            }
                            file @ Value::File(_) => from_files.push((name.clone(), file)),
                        }
                    }
                }
            }
        }
        Self {
            host,
            user_agent,
            // Unlike http, the peer's websocket sends no scheme without credentials.
            authentication: section
                .http_config
                .as_deref()
                .and_then(authentication)
                .filter(|way| !way.is_blank()),
            lines: Secret::from(lines.as_str()),
            from_files,
        }
    }

    /// The request for a target; reads the files that headers and credentials come from.
    ///
    /// # Errors
    /// A file cannot be read, or holds what no header may hold.
    pub async fn request(&self, url: &Url, key: &Key) -> Result<Vec<u8>, ProbeError> {
        let host = match &self.host {
            Some(value) => Some(read(value, "Host").await?).filter(|host| !host.is_empty()),
            None => None,
        };
        let mut text = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n",
            url.path,
            host.as_deref().unwrap_or(&url.authority),
            key.0,
        );
        let user_agent = match &self.user_agent {
            Some(value) => read(value, "User-Agent").await?,
            None => crate::USER_AGENT.to_owned(),
        };
        if !user_agent.is_empty() {
            push(&mut text, "User-Agent", &user_agent);
        }
        text.push_str(self.lines.expose());
        for (name, value) in &self.from_files {
            push(&mut text, spelling(name), &read(value, name).await?);
        }
        let mut request = text.into_bytes();
        if let Some(authentication) = &self.authentication {
            request.extend_from_slice(b"Authorization: ");
            request.extend_from_slice(authentication.header().await?.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        Ok(request)
    }
}

fn values(source: &HeaderSource) -> impl Iterator<Item = Value> {
    let plain = source.values.iter().map(|value| Value::Inline(Secret::from(value.as_str())));
    let secret = source.secrets.iter().map(|secret| Value::Inline(secret.clone()));
    let files = source.files.iter().map(|file| Value::File(file.into()));
    plain.chain(secret).chain(files)
}

/// Names are written as everybody writes them, for servers that compare letter by letter.
fn spelling(canonical: &str) -> &str {
    match canonical {
        "Sec-Websocket-Protocol" => "Sec-WebSocket-Protocol",
        other => other,
    }
}

async fn read(value: &Value, name: &str) -> Result<String, ProbeError> {
    let value = value.read().await?;
    if is_header_value(&value) {
        return Ok(value);
    }
    let why = format!("the value of header {name} has control characters");
    Err(ProbeError::new(Phase::Prepare, Reason::Config, why))
}

fn push(text: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{name}: {value}\r\n");
}

/// `Sec-WebSocket-Key`: 16 random bytes, new for each probe.
#[derive(Debug)]
pub struct Key(String);

impl Key {
    /// A key nobody can guess.
    pub fn new() -> Self {
        Self(BASE64.encode(&rand::random::<[u8; 16]>()))
    }

    /// What the server has to make of it (RFC 6455 §4.2.2).
    fn accept(&self) -> String {
        let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", self.0);
        // Proves that the server read the key; nothing depends on it being a good hash.
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        BASE64.encode(hash.as_ref())
    }
}

/// What counts of a server's answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `Upgrade` names the WebSocket protocol.
    upgrade: bool,
    /// `Connection` says that this connection is upgraded.
    connection: bool,
    accept: Option<String>,
}

/// Sends the request and waits for the end of the answer's header; what follows stays in `stream`.
///
/// # Errors
/// In phase `processing`: the connection breaks or ends, or the answer is not HTTP.
pub async fn exchange<S>(stream: &mut Buffered<S>, request: &[u8], peer: &str) -> Result<Answer, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error| failure::io(Phase::Processing, peer, error);
    let fail = |reason, what: &str| ProbeError::new(Phase::Processing, reason, format!("{peer} {what}"));
    stream.send(request).await.map_err(broken)?;
    let mut looked_at = 0;
    loop {
        let unread = stream.unread();
        // A header ends with a line; looking more often would cost the square of its length.
        let is_worth_it = looked_at == 0 || unread.get(looked_at..).unwrap_or_default().contains(&b'\n');
        looked_at = unread.len();
        match is_worth_it.then(|| parse(unread)) {
            // Hints and the like come before the answer (RFC 9110 §15.2).
            Some(Ok(Some((answer, length)))) if matches!(answer.status, 100 | 102..=199) => {
                stream.take(length);
                looked_at = 0;
                continue;
            }
            Some(Ok(Some((answer, length)))) => {
                stream.take(length);
                return Ok(answer);
            }
            Some(Err(httparse::Error::TooManyHeaders)) => {
                return Err(fail(
                    Reason::TooLarge,
                    &format!("sent more than {MAX_HEADER_LINES} header lines"),
                ));
            }
            Some(Err(error)) => {
                return Err(fail(Reason::Protocol, "did not answer with valid HTTP").caused_by(error));
            }
            Some(Ok(None)) | None => {}
        }
        if looked_at >= MAX_HEADER_BYTES {
            let what = format!("sent a header of more than {MAX_HEADER_BYTES} bytes");
            return Err(fail(Reason::TooLarge, &what));
        }
        if stream.receive().await.map_err(broken)? == 0 {
            return Err(fail(Reason::Closed, "closed the connection before its answer was complete"));
        }
    }
}

/// The answer and its length once it is complete.
fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>, httparse::Error> {
    let mut headers = [EMPTY_HEADER; MAX_HEADER_LINES];
    let mut response = httparse::Response::new(&mut headers);
    let Status::Complete(length) = response.parse(bytes)? else { return Ok(None) };
    let values = |name: &'static str| {
        let named = response.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| String::from_utf8_lossy(header.value))
    };
    let lists = |name, token: &str| {
        values(name).any(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
    };
    let answer = Answer {
        status: response.code.unwrap_or_default(),
        upgrade: lists("Upgrade", "websocket"),
        connection: lists("Connection", "Upgrade"),
        accept: values("Sec-WebSocket-Accept").next().map(|value| value.trim().to_owned()),
    };
    Ok(Some((answer, length)))
}

impl Answer {
    /// Whether the server agreed to what `key` asked for.
    ///
    /// # Errors
    /// In phase `processing`: another status, or an answer that is not to this request.
    pub fn check(&self, key: &Key, peer: &str) -> Result<(), ProbeError> {
        let fail =
            |reason, what: String| Err(ProbeError::new(Phase::Processing, reason, format!("{peer} {what}")));
        if self.status != SWITCHING_PROTOCOLS {
            return fail(Reason::Status, format!("answered with status {}, not 101", self.status));
        }
        if !self.upgrade {
            return fail(Reason::Protocol, "did not name websocket in Upgrade".to_owned());
        }
        if !self.connection {
            return fail(Reason::Protocol, "did not name Upgrade in Connection".to_owned());
        }
        match &self.accept {
            Some(accept) if *accept == key.accept() => Ok(()),
            Some(_) => fail(Reason::Protocol, "sent a Sec-WebSocket-Accept for another key".to_owned()),
            None => fail(Reason::Protocol, "sent no Sec-WebSocket-Accept".to_owned()),
        }
    }
}

const SWITCHING_PROTOCOLS: u16 = 101;
/// Header lines accepted in an answer.
const MAX_HEADER_LINES: usize = 128;
/// Bytes of header accepted in an answer.
const MAX_HEADER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_is_accepted_as_in_the_rfc() {
        // RFC 6455 §1.3.
        let key = Key("dGhlIHNhbXBsZSBub25jZQ==".to_owned());
        assert_eq!(key.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
