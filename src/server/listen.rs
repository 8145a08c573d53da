//! Listening sockets and the loop that accepts connections.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::warn;

use super::{Server, connection};
use crate::net::connect::{parse_port, split_host_port};

/// Opens one listening socket for each address.
///
/// # Errors
/// A sentence with the first address that cannot be used.
pub fn open(addresses: &[String]) -> Result<Vec<StdListener>, String> {
    let open = |address: &String| bind(address).map_err(|why| format!("listen {address}: {why}"));
    addresses.iter().map(open).collect()
}

/// The listening sockets that systemd passed to this process (sd_listen_fds(3)).
///
/// # Errors
/// A sentence, when there are none or one is not a TCP socket.
pub fn from_systemd() -> Result<Vec<StdListener>, String> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(passed.len());
    for at in 0..passed.len() {
        let socket =
            passed.take_tcp_listener(at).map_err(|error| format!("socket {at} of systemd: {error}"))?;
        sockets.extend(socket);
    }
    if sockets.is_empty() { Err("systemd passed no sockets".to_owned()) } else { Ok(sockets) }
}

fn bind(address: &str) -> Result<StdListener, String> {
    if address.starts_with("vsock://") {
        return Err("vsock sockets are not supported".to_owned());
    }
    let (host, port) = split_host_port(address)?;
    let port = parse_port(port)?;
    if !host.is_empty() {
        let mut candidates = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
        // Go listens on the first address and likes IPv4 best.
        let first = candidates.next().ok_or("the name has no address")?;
        let v4 = candidates.find(|candidate| first.is_ipv6() && candidate.is_ipv4());
        return listen(v4.unwrap_or(first)).map_err(|error| error.to_string());
    }
    match listen((Ipv6Addr::UNSPECIFIED, port).into()) {
        // The kernel has no IPv6.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
            listen((Ipv4Addr::UNSPECIFIED, port).into()).map_err(|error| error.to_string())
        }
        result => result.map_err(|error| error.to_string()),
    }
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Whatever the system's default is, `:9115` means both families.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connections the kernel may keep waiting for us; it has a limit of its own.
const BACKLOG: i32 = 4096;

/// Accepts connections until it is dropped; each is served by a task of its own.
pub async fn accept(
    listener: TcpListener,
    server: Arc<Server>,
    places: Arc<Semaphore>,
    graceful: Arc<GracefulShutdown>,
) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most likely out of file descriptors: a connection has to end first.
                warn!(err = %error, "Cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // A reply is written at once; waiting for more to send would only delay it.
        let _ = stream.set_nodelay(true);
        let (server, watcher) = (Arc::clone(&server), graceful.watcher());
        tokio::spawn(async move {
            connection::serve(server, stream, watcher).await;
            drop(place);
        });
    }
}

/// Connections served at once; further ones wait in the kernel.
pub const MAX_CONNECTIONS: usize = 16_384;
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
