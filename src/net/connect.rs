//! TCP and UDP sockets of probes: source address, options, counters.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use crate::metrics::names;
use crate::runner::{Phase, ProbeError, Reason, Report};

/// Opens a TCP connection, from `source` if one is given.
///
/// The caller owns the deadline; dropping the future closes the socket.
///
/// # Errors
/// Those of the operating system: refused, unreachable, source address not usable.
pub async fn tcp(to: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A request in two segments must not wait for the peer's delayed acknowledgement.
    socket.set_nodelay(true)?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(to).await
}

/// Writes `probe_tcp_rtt_seconds`: what the kernel has measured on this connection so far.
///
/// Right after connecting that is the time from the SYN to its acknowledgement, without anything
/// our scheduler adds. Nothing is written where the system does not tell.
pub fn report_round_trip(stream: &TcpStream, report: &mut Report) {
    if let Some(rtt) = round_trip(stream) {
        report.samples.set(names::PROBE_TCP_RTT_SECONDS, rtt);
    }
}

/// The smoothed round trip time of `TCP_INFO` (RFC 6298 §2), which Linux gives in microseconds.
#[cfg(target_os = "linux")]
fn round_trip(stream: &TcpStream) -> Option<Duration> {
    use std::os::fd::AsRawFd as _;
    // Older and sandboxed kernels fill in less than the structure, the rest stays zero.
    let mut info = [0_u8; size_of::<libc::tcp_info>()];
    let mut length = libc::socklen_t::try_from(info.len()).ok()?;
    // SAFETY: the descriptor is open as long as `stream` is borrowed; the kernel writes at most
    // `length` bytes into `info`, which is that long, and any bytes are valid there.
    #[expect(unsafe_code, reason = "no library of ours reads TCP_INFO")]
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let at = std::mem::offset_of!(libc::tcp_info, tcpi_rtt);
    let rtt = u32::from_ne_bytes(*info.get(at..)?.first_chunk()?);
    (status == 0 && rtt > 0).then(|| Duration::from_micros(rtt.into()))
}

#[cfg(not(target_os = "linux"))]
fn round_trip(_stream: &TcpStream) -> Option<Duration> {
    None
}

/// Opens a UDP socket that only talks to `to`, so that the kernel reports a closed port as an error.
///
/// # Errors
/// Those of the operating system.
pub async fn udp(to: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind(SocketAddr::new(source.unwrap_or(any), 0)).await?;
    socket.connect(to).await?;
    Ok(socket)
}

/// Whether `source` can be used to reach `to`: both must be of one family.
///
/// # Errors
/// A sentence that names both addresses.
pub fn check_source(source: Option<IpAddr>, to: IpAddr) -> Result<(), ProbeError> {
    match source {
        Some(source) if source.is_ipv4() != to.is_ipv4() => Err(ProbeError::new(
            Phase::Connect,
            Reason::SourceAddress,
            format!("source_ip_address {source} is of another family than the target's address {to}"),
        )),
        _ => Ok(()),
    }
}

/// Splits `host:port` as Go's `net.SplitHostPort` does: IPv6 literals need brackets, which are removed.
///
/// # Errors
/// A sentence that says what is missing.
pub fn split_host_port(target: &str) -> Result<(&str, &str), String> {
    let complain = |why: &str| format!("address {target:?}: {why}");
    let colon = target.rfind(':').ok_or_else(|| complain("missing port"))?;
    let (host, port) = (&target[..colon], &target[colon + 1..]);
    let host = match host.strip_prefix('[') {
        Some(rest) => match rest.find(']') {
            Some(end) if end + 1 == rest.len() => &rest[..end],
            Some(_) => return Err(complain("unexpected text after ']'")),
            None if target.contains(']') => return Err(complain("missing port")),
            None => return Err(complain("missing ']'")),
        },
        None if host.contains(':') => return Err(complain("too many colons")),
        None => host,
    };
    if host.contains(['[', ']']) || port.contains(['[', ']']) {
        return Err(complain("unexpected bracket"));
    }
    Ok((host, port))
}

/// A port number or the name of a TCP service; empty means 0, as in Go.
///
/// # Errors
/// A sentence that names the value.
pub fn parse_port(port: &str) -> Result<u16, String> {
    if port.is_empty() {
        return Ok(0);
    }
    if port.bytes().all(|b| b.is_ascii_digit()) {
        return port.parse().map_err(|_| format!("port {port} is not between 0 and 65535"));
    }
    let lower = port.to_ascii_lowercase();
    let builtin = SERVICES.iter().find(|(name, _)| *name == lower).map(|(_, port)| *port);
    builtin.or_else(|| system_service(&lower)).ok_or_else(|| format!("unknown port {port:?}"))
}

fn system_service(name: &str) -> Option<u16> {
    let text = std::fs::read_to_string("/etc/services").ok()?;
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let first = words.next()?;
        let port = words.next()?.strip_suffix("/tcp")?;
        (first == name || words.any(|alias| alias == name)).then(|| port.parse().ok())?
    })
}

/// Services known without `/etc/services`, which small container images lack (the list of Go's resolver).
const SERVICES: &[(&str, u16)] = &[
    ("domain", 53),
    ("ftp", 21),
    ("ftps", 990),
    ("gopher", 70),
    ("http", 80),
    ("https", 443),
    ("imap2", 143),
    ("imap3", 220),
    ("imaps", 993),
    ("pop3", 110),
    ("pop3s", 995),
    ("smtp", 25),
    ("submissions", 465),
    ("ssh", 22),
    ("telnet", 23),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_split_as_go_does() {
        let cases = [
            ("a.test:80", Ok(("a.test", "80"))),
            ("[::1]:80", Ok(("::1", "80"))),
            ("[fe80::1%eth0]:80", Ok(("fe80::1%eth0", "80"))),
            (":80", Ok(("", "80"))),
            ("a.test:", Ok(("a.test", ""))),
            ("a.test", Err("address \"a.test\": missing port")),
            ("::1:80", Err("address \"::1:80\": too many colons")),
            ("[::1]", Err("address \"[::1]\": missing port")),
            ("[::1:80", Err("address \"[::1:80\": missing ']'")),
            ("[::1]x:80", Err("address \"[::1]x:80\": unexpected text after ']'")),
            ("a]:80", Err("address \"a]:80\": unexpected bracket")),
        ];
        for (target, want) in cases {
            assert_eq!(split_host_port(target), want.map_err(str::to_owned), "{target}");
        }
    }

    #[test]
    fn ports_may_be_numbers_or_services() {
        let cases = [
            ("80", Ok(80)),
            ("", Ok(0)),
            ("http", Ok(80)),
            ("HTTPS", Ok(443)),
            ("65536", Err("port 65536 is not between 0 and 65535")),
            ("nope-nope", Err("unknown port \"nope-nope\"")),
        ];
        for (port, want) in cases {
            assert_eq!(parse_port(port), want.map_err(str::to_owned), "{port}");
        }
    }
}
