//! A tunnel through a SOCKS proxy, version 5 (RFC 1928), with a login where it has one (RFC 1929).
//!
//! `socks5` and `socks5h` are one: a host that is a name is sent as a name.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::connection::Stream;
use super::{Proxy, authority};
use crate::config::Secret;
use crate::config::proxy_url::Credentials;
use crate::net::failure;
use crate::runner::{Phase, ProbeError, Reason};

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;
const CONNECT: u8 = 1;

/// Whether a login fits into its message.
///
/// # Errors
/// A sentence that does not repeat it.
pub fn check(login: &Credentials) -> Result<(), String> {
    let password = login.password.as_ref().map_or(0, |password| password.expose().len());
    if (1..=255).contains(&login.username.len()) && password <= 255 {
        Ok(())
    } else {
        Err("user and password of SOCKS have 1 to 255 bytes each".to_owned())
    }
}

/// Asks for a connection to `host`:`port` and waits until it is open.
///
/// # Errors
/// The proxy refuses, does not speak SOCKS 5, or ends the connection.
pub async fn connect(
    stream: &mut Stream,
    proxy: &Proxy,
    login: Option<&Credentials>,
    host: &str,
    port: u16,
) -> Result<(), ProbeError> {
    let greeting: &[u8] =
        if login.is_some() { &[VERSION, 2, NO_LOGIN, LOGIN] } else { &[VERSION, 1, NO_LOGIN] };
    let [version, method] = exchange(stream, proxy, greeting).await?;
    match (version, method, login) {
        (VERSION, NO_LOGIN, _) => {}
        (VERSION, LOGIN, Some(login)) => log_in(stream, proxy, login).await?,
        (VERSION, NONE_ACCEPTABLE, _) => {
            let what = if login.is_some() { "does not accept user and password" } else { "wants a login" };
            return Err(proxy.fail(Reason::ProxyAuth, what));
        }
        _ => return Err(proxy.fail(Reason::Protocol, "does not speak SOCKS version 5")),
    }
    let request = request(proxy, host, port)?;
    let [version, reply, _, kind] = exchange(stream, proxy, &request).await?;
    if version != VERSION {
        return Err(proxy.fail(Reason::Protocol, "does not speak SOCKS version 5"));
    }
    refusal(proxy, reply, &authority(host, port))?;
    // The address the proxy connects from, which nobody asked for.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => {
            let [length] = read(stream, proxy).await?;
            usize::from(length)
        }
        _ => return Err(proxy.fail(Reason::Protocol, "sent an address of an unknown type")),
    };
    let mut rest = [0; 255 + 2];
    let rest = &mut rest[..length + 2];
    stream.read_exact(rest).await.map_err(|error| broken(proxy, error))?;
    Ok(())
}

async fn log_in(stream: &mut Stream, proxy: &Proxy, login: &Credentials) -> Result<(), ProbeError> {
    let password = login.password.as_ref().map_or("", Secret::expose);
    let mut message = vec![LOGIN_VERSION];
    for part in [&login.username, password] {
        // Checked when the configuration was loaded.
        message.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        message.extend_from_slice(part.as_bytes());
    }
    match exchange(stream, proxy, &message).await? {
        [LOGIN_VERSION, 0] => Ok(()),
        [LOGIN_VERSION, _] => Err(proxy.fail(Reason::ProxyAuth, "does not accept user and password")),
        _ => Err(proxy.fail(Reason::Protocol, "did not answer the login as SOCKS version 5 does")),
    }
}

fn request(proxy: &Proxy, host: &str, port: u16) -> Result<Vec<u8>, ProbeError> {
    let mut message = vec![VERSION, CONNECT, 0];
    let (literal, _zone) = host.split_once('%').unwrap_or((host, ""));
    match literal.parse() {
        Ok(IpAddr::V4(ip)) => {
            message.push(1);
            message.extend(ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            message.push(4);
            message.extend(ip.octets());
        }
        Err(_) => {
            let length = u8::try_from(host.len()).ok().filter(|length| *length > 0).ok_or_else(|| {
                let why = format!("a host of {} bytes cannot be sent to {proxy}", host.len());
                ProbeError::new(Phase::Prepare, Reason::BadTarget, why)
            })?;
            message.extend([3, length]);
            message.extend(host.as_bytes());
        }
    }
    message.extend(port.to_be_bytes());
    Ok(message)
}

/// The proxy says why it did not connect, and mostly it is the target.
fn refusal(proxy: &Proxy, reply: u8, to: &str) -> Result<(), ProbeError> {
    let (phase, reason, what) = match reply {
        0 => return Ok(()),
        1 => (Phase::Proxy, Reason::ProxyDenied, "general failure"),
        2 => (Phase::Proxy, Reason::ProxyDenied, "not allowed by its rules"),
        3 => (Phase::Connect, Reason::Unreachable, "network unreachable"),
        4 => (Phase::Connect, Reason::Unreachable, "host unreachable"),
        5 => (Phase::Connect, Reason::Refused, "connection refused"),
        6 => (Phase::Connect, Reason::TtlExceeded, "hop limit exceeded"),
        7 => (Phase::Proxy, Reason::ProxyDenied, "command not supported"),
        8 => (Phase::Proxy, Reason::ProxyDenied, "address type not supported"),
        _ => (Phase::Proxy, Reason::Protocol, "an unknown reply"),
    };
    Err(ProbeError::new(phase, reason, format!("{proxy} cannot connect to {to}: {what} ({reply})")))
}

async fn exchange<const N: usize>(
    stream: &mut Stream,
    proxy: &Proxy,
    message: &[u8],
) -> Result<[u8; N], ProbeError> {
    stream.write_all(message).await.map_err(|error| broken(proxy, error))?;
    stream.flush().await.map_err(|error| broken(proxy, error))?;
    read(stream, proxy).await
}

async fn read<const N: usize>(stream: &mut Stream, proxy: &Proxy) -> Result<[u8; N], ProbeError> {
    let mut answer = [0; N];
    stream.read_exact(&mut answer).await.map_err(|error| broken(proxy, error))?;
    Ok(answer)
}

fn broken(proxy: &Proxy, error: std::io::Error) -> ProbeError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => proxy.closed(),
        _ => failure::io(Phase::Proxy, proxy, error),
    }
}
