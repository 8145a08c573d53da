//! Listening sockets: TCP, vsock, and what systemd passes.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};

use crate::net::connect::{parse_port, split_host_port};

/// Opens one listening socket for each address.
///
/// # Errors
/// A sentence with the first address that cannot be used.
pub fn open(addresses: &[String]) -> Result<Vec<Socket>, String> {
    let open = |address: &String| bind(address).map_err(|why| format!("listen {address}: {why}"));
    addresses.iter().map(open).collect()
}

/// The listening sockets that systemd passed to this process (sd_listen_fds(3)).
///
/// # Errors
/// A sentence, when there are none or one is neither a TCP nor a Unix socket that listens.
pub fn from_systemd() -> Result<Vec<Socket>, String> {
    let mut passed = ListenFd::from_env();
    let mut sockets: Vec<Socket> = Vec::with_capacity(passed.len());
    for at in 0..passed.len() {
        // A socket that is not of the kind asked for stays where it is.
        match passed.take_tcp_listener(at) {
            Ok(socket) => sockets.extend(socket.map(Socket::from)),
            Err(not_tcp) => match passed.take_unix_listener(at) {
                Ok(socket) => sockets.extend(socket.map(Socket::from)),
                Err(_) => return Err(format!("socket {at} of systemd: {not_tcp}")),
            },
        }
    }
    if sockets.is_empty() { Err("systemd passed no sockets".to_owned()) } else { Ok(sockets) }
}

fn bind(address: &str) -> Result<Socket, String> {
    if let Some(rest) = address.strip_prefix(VSOCK) {
        return listen_vsock(rest);
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

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Whatever the system's default is, `:9115` means both families.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// What addresses begin with that a virtual machine shares with its host.
const VSOCK: &str = "vsock://";

/// The address has a port of 32 bits and, like the toolkit's, no host that would matter.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn listen_vsock(address: &str) -> Result<Socket, String> {
    let (_, port) = split_host_port(address.split('/').next().unwrap_or_default())?;
    let port: u32 = port.parse().map_err(|_| format!("{port:?} is not a port"))?;
    let open = || {
        let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
        socket.bind(&SockAddr::vsock(libc::VMADDR_CID_ANY, port))?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    open().map_err(|error: io::Error| error.to_string())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn listen_vsock(_address: &str) -> Result<Socket, String> {
    Err("this system has no vsock sockets".to_owned())
}

/// Connections the kernel may keep waiting for us; it has a limit of its own.
const BACKLOG: i32 = 4096;

/// A listening socket that belongs to the runtime.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    address: Address,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Other(AsyncFd<Socket>),
}

impl Listener {
    /// Takes a socket into the runtime.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new(socket: Socket) -> io::Result<Self> {
        let address = Address(socket.local_addr()?);
        socket.set_nonblocking(true)?;
        let kind = if address.0.as_socket().is_some() {
            Kind::Tcp(TcpListener::from_std(socket.into())?)
        } else {
            Kind::Other(register(socket)?)
        };
        Ok(Self { kind, address })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection.
    ///
    /// All kinds come as a `TcpStream`, which is right for any connected stream socket as long as nobody
    /// asks for addresses.
    ///
    /// # Errors
    /// Those of accept(2).
    pub async fn accept(&self) -> io::Result<TcpStream> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // A reply is written at once; waiting for more to send would only delay it.
                let _ = stream.set_nodelay(true);
                Ok(stream)
            }
            Kind::Other(listener) => loop {
                let mut ready = listener.readable().await?;
                if let Ok(accepted) = ready.try_io(|listener| listener.get_ref().accept()) {
                    let (socket, _) = accepted?;
                    socket.set_nonblocking(true)?;
                    return TcpStream::from_std(socket.into());
                }
            },
        }
    }
}

#[expect(unsafe_code, reason = "the runtime cannot see that a socket owns its descriptor")]
fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` keeps its one descriptor open until it is dropped, and it is only lent out here.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Where a socket listens, as a listen address has it.
#[derive(Debug)]
pub struct Address(SockAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.0.as_socket() {
            return address.fmt(f);
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some((_, port)) = self.0.as_vsock_address() {
            return write!(f, "{VSOCK}:{port}");
        }
        match self.0.as_pathname() {
            Some(path) => path.display().fmt(f),
            None => f.write_str("a Unix socket without a path"),
        }
    }
}
