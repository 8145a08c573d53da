//! A tunnel through an HTTP proxy (RFC 9110 §9.3.6).

use std::fmt::Write as _;

use hyper::header::{self, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::connection::Stream;
use super::{Proxy, authority};
use crate::config::Secret;
use crate::config::header::is_token;
use crate::config::map::Map;
use crate::logging::clip;
use crate::net::failure;
use crate::runner::{Phase, ProbeError, Reason};

/// What proxies with rules on user agents let pass today.
const USER_AGENT: &str = "Go-http-client/1.1";
/// Bytes of status line and header that a proxy may answer CONNECT with.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Bytes of a proxy's words that an error repeats.
const MAX_QUOTED_BYTES: usize = 100;

/// The header lines of CONNECT requests but for `Host`: names as written, in the order of their bytes.
///
/// As in the peer, the URL's login wins over a configured one, the framing headers are left out, and so
/// are names that no header can have.
pub fn lines(configured: &Map<Vec<Secret>>, login: Option<&HeaderValue>) -> Secret {
    let mut lines = String::new();
    let agent = configured.iter().find(|(name, _)| *name == "User-Agent").map(|(_, values)| values);
    let agent = agent.map_or(USER_AGENT, |values| values.first().map_or("", Secret::expose));
    if !agent.is_empty() {
        add(&mut lines, "User-Agent", agent);
    }
    if let Some(Ok(login)) = login.map(HeaderValue::to_str) {
        add(&mut lines, "Proxy-Authorization", login);
    }
    let left_out = ["Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer"];
    for (name, values) in configured.iter() {
        let is_replaced = name == "Proxy-Authorization" && login.is_some();
        if is_token(name) && !left_out.contains(&name) && !is_replaced {
            for value in values {
                add(&mut lines, name, value.expose());
            }
        }
    }
    Secret::from(lines.as_str())
}

fn add(lines: &mut String, name: &str, value: &str) {
    let value = value.replace(['\r', '\n'], " ");
    let _ = write!(lines, "{name}: {}\r\n", value.trim_matches([' ', '\t']));
}

/// Asks for a tunnel to `host`:`port` and waits until it is open.
///
/// # Errors
/// The proxy refuses, does not speak HTTP, or ends the connection.
pub async fn connect(
    stream: &mut Stream,
    proxy: &Proxy,
    lines: &Secret,
    host: &str,
    port: u16,
) -> Result<(), ProbeError> {
    let to = authority(host, port);
    if to.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
        return Err(ProbeError::new(
            Phase::Prepare,
            Reason::BadTarget,
            format!("the host {host:?} cannot be sent to a proxy"),
        ));
    }
    let broken = |error| failure::io(Phase::Proxy, proxy, error);
    let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{}\r\n", lines.expose());
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await.map_err(broken)? == 0 {
            return Err(proxy.closed());
        }
        if let Some(end) = end_of_head(&answer) {
            let head = String::from_utf8_lossy(&answer[..end]);
            judge(proxy, &to, &head)?;
            // The target speaks second, so this is not from there.
            return if end == answer.len() {
                Ok(())
            } else {
                Err(proxy.fail(Reason::Protocol, "sent more than an answer to CONNECT"))
            };
        }
        let is_http = answer.iter().zip(b"HTTP/").all(|(got, want)| got == want);
        if !is_http {
            return Err(proxy.fail(Reason::Protocol, "did not answer CONNECT with HTTP"));
        }
        if answer.len() > MAX_ANSWER_BYTES {
            let what = format!("answered CONNECT with more than {MAX_ANSWER_BYTES} bytes of header");
            return Err(proxy.fail(Reason::TooLarge, what));
        }
    }
}

/// Behind the empty line that ends a header.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut line_start = 0;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        if matches!(bytes.get(line_start..at), Some(b"" | b"\r")) {
            return Some(at + 1);
        }
        line_start = at + 1;
    }
    None
}

fn judge(proxy: &Proxy, to: &str, head: &str) -> Result<(), ProbeError> {
    let mut lines = head.lines();
    let status_line = lines.next().unwrap_or_default();
    let status =
        status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once(' ')).map(|(_, rest)| rest);
    let code = status.and_then(|status| status.get(..3)).and_then(|code| code.parse::<u16>().ok());
    match code {
        Some(200..=299) => Ok(()),
        Some(407) => {
            let schemes = lines.filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                let scheme = value.split_ascii_whitespace().next()?;
                name.eq_ignore_ascii_case(header::PROXY_AUTHENTICATE.as_str()).then_some(scheme)
            });
            let mut schemes = schemes.collect::<Vec<_>>().join(", ");
            clip(&mut schemes, MAX_QUOTED_BYTES);
            let what = format!("did not accept the credentials for CONNECT {to}; it wants {schemes:?}");
            Err(proxy.fail(Reason::ProxyAuth, what))
        }
        Some(_) => {
            let mut status = status.unwrap_or_default().to_owned();
            clip(&mut status, MAX_QUOTED_BYTES);
            Err(proxy.fail(Reason::ProxyDenied, format!("answered CONNECT {to} with {status:?}")))
        }
        None => Err(proxy.fail(Reason::Protocol, "did not answer CONNECT with HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line() {
        let cases: [(&[u8], Option<usize>); 6] = [
            (b"HTTP/1.1 200 OK\r\n\r\n", Some(19)),
            (b"HTTP/1.1 200 OK\n\nmore", Some(17)),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", None),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n\r", None),
            (b"\r\n", Some(2)),
            (b"", None),
        ];
        for (bytes, want) in cases {
            assert_eq!(end_of_head(bytes), want, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
