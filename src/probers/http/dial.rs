//! Opening the connection of a hop, straight or through a proxy, counted for the exporter's own metrics.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::connection::Stream;
use super::route::{Route, Via};
use super::url::Scheme;
use crate::metrics::own::{DialCounters, DialFailure};
use crate::net::connect;
use crate::net::tls::TlsFacts;
use crate::runner::{Phase, ProbeError, Reason, Run};

/// Longest time a TLS handshake may take even when the probe has more, as in the peer (Go's client limit).
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Named in the error about a hop without addresses.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// How long the first family may take before the other is tried beside it (RFC 8305 §5, Go's value).
const FALLBACK_DELAY: Duration = Duration::from_millis(300);

/// A connection that reaches as far as the host.
pub struct Opened<'a> {
    /// What TLS or the request goes over.
    pub stream: Stream,
    /// Counts as open until it is dropped.
    pub open: Open<'a>,
    /// When the TCP connection stood.
    pub connected: Instant,
    /// What TLS to the proxy showed.
    pub proxy_facts: Option<TlsFacts>,
}

/// Opens a connection for requests of `scheme`.
///
/// # Errors
/// The error of the address that failed last, or what the proxy did wrong.
pub async fn open<'a>(run: &Run<'a>, route: &Route<'_>, scheme: Scheme) -> Result<Opened<'a>, ProbeError> {
    let dialed = first_that_answers(run, &route.addresses).await;
    let Some(Via { proxy, host, port }) = &route.via else {
        let (tcp, open) = dialed?;
        return Ok(Opened { stream: Stream::Plain(tcp), open, connected: Instant::now(), proxy_facts: None });
    };
    let (tcp, open) = dialed.map_err(|error| proxy.blame(error))?;
    let connected = Instant::now();
    // In a box, lest every probe's future has room for it.
    let entering = Box::pin(proxy.enter(run, Stream::Plain(tcp), scheme, (host, *port)));
    let (stream, proxy_facts) = entering.await?;
    Ok(Opened { stream, open, connected, proxy_facts })
}

/// The first address that accepts a connection.
///
/// The first hop has exactly one address, the one that was selected and is reported. Later hops may
/// have several; those of the first one's family are tried in turn, those of the other after a pause
/// or when the first family has failed.
///
/// # Errors
/// The error of the address that failed last.
async fn first_that_answers<'a>(
    run: &Run<'a>,
    addresses: &[SocketAddr],
) -> Result<(TcpStream, Open<'a>), ProbeError> {
    let dials = &run.net.dials;
    dials.attempted();
    let result = match addresses {
        [only] => connect::tcp(*only, None).await.map_err(|error| (*only, error)),
        several => race(several, |address| connect::tcp(address, None))
            .await
            .map_err(|last| last.unwrap_or_else(|| (NOWHERE, io::ErrorKind::AddrNotAvailable.into()))),
    };
    match result {
        Ok(stream) => {
            dials.established();
            Ok((stream, Open(dials)))
        }
        Err((address, error)) => {
            dials.failed(match error.kind() {
                io::ErrorKind::ConnectionRefused => DialFailure::Refused,
                io::ErrorKind::TimedOut => DialFailure::Timeout,
                _ => DialFailure::Unknown,
            });
            Err(ProbeError::io(Phase::Connect, address, error))
        }
    }
}

/// The first attempt that succeeds: those to addresses of the first one's family in turn, those to the others after
/// a pause or when the first family has failed.
///
/// # Errors
/// The address that failed last and why; `None` if there is no address.
pub async fn race<T, E, A: Future<Output = Result<T, E>>>(
    addresses: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> A,
) -> Result<T, Option<(SocketAddr, E)>> {
    let Some(first) = addresses.first() else { return Err(None) };
    let (preferred, others): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    let preferred = in_turn(&preferred, &attempt);
    if others.is_empty() {
        return preferred.await;
    }
    tokio::pin!(preferred);
    let fallback = in_turn(&others, &attempt);
    tokio::select! {
        result = &mut preferred => match result {
            Ok(stream) => return Ok(stream),
            Err(_) => return fallback.await,
        },
        () = tokio::time::sleep(FALLBACK_DELAY) => {}
    }
    tokio::pin!(fallback);
    tokio::select! {
        result = &mut preferred => match result {
            Ok(stream) => Ok(stream),
            Err(_) => fallback.await,
        },
        result = &mut fallback => match result {
            Ok(stream) => Ok(stream),
            Err(_) => preferred.await,
        },
    }
}

async fn in_turn<T, E, A: Future<Output = Result<T, E>>>(
    addresses: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> A,
) -> Result<T, Option<(SocketAddr, E)>> {
    let mut last = None;
    for address in addresses {
        match attempt(*address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some((*address, error)),
        }
    }
    Err(last)
}

/// A connection that counts as open until this is dropped, at the end of its probe.
pub struct Open<'a>(&'a DialCounters);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// Lets a handshake run for at most [`HANDSHAKE_LIMIT`]; the probe's own deadline is the caller's.
///
/// # Errors
/// The limit passed.
pub async fn limit_handshake<F: Future>(run: &Run<'_>, handshake: F) -> Result<F::Output, ProbeError> {
    if run.deadline.saturating_duration_since(Instant::now()) <= HANDSHAKE_LIMIT {
        return Ok(handshake.await);
    }
    tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await.map_err(|_| {
        let why = format!("the TLS handshake took longer than {} s", HANDSHAKE_LIMIT.as_secs());
        ProbeError::new(Phase::Tls, Reason::Deadline, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test(start_paused = true)]
    async fn a_handshake_ends_after_ten_seconds_whatever_the_deadline() {
        let net = crate::net::Net::new();
        let started = tokio::time::Instant::now();
        let deadline = std::time::Instant::now() + Duration::from_secs(15);
        let run = Run { target: "", hostname: None, deadline, net: &net };
        let error = limit_handshake(&run, std::future::pending::<()>()).await.unwrap_err();
        assert_eq!((error.phase, error.reason), (Phase::Tls, Reason::Deadline));
        let took = started.elapsed();
        assert!((HANDSHAKE_LIMIT..HANDSHAKE_LIMIT + Duration::from_millis(10)).contains(&took), "{took:?}");
    }

    #[tokio::test]
    async fn a_dead_address_is_passed_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let gone6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, gone.port()));
        for addresses in [vec![gone, alive], vec![gone6, alive], vec![alive, gone6]] {
            let stream = race(&addresses, |address| connect::tcp(address, None)).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), alive);
        }
        let failed = race(&[gone, gone6], |address| connect::tcp(address, None)).await.unwrap_err();
        let (address, error) = failed.unwrap();
        assert_eq!((address, error.kind()), (gone6, io::ErrorKind::ConnectionRefused));
    }
}
