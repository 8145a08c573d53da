//! What systemd does to a service, done by hand: sockets that are open already, and a socket that hears
//! how the service is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use crate::support::exporter::{Dir, Exporter, PATIENCE, Reply};

const CONFIG: &str = "modules:\n  m: {prober: tcp}\n";

/// A command whose stdin is its socket from systemd.
fn activated(dir: &Dir, socket: impl Into<OwnedFd>) -> Command {
    dir.write("c.yml", CONFIG);
    // The number of the process is known only to itself.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    let mut command = Command::new("sh");
    command.stdin(socket.into()).args([
        "-c",
        script,
        "sh",
        env!("CARGO_BIN_EXE_heartbeat_exporter"),
        "--config.file=c.yml",
    ]);
    command.args(["--web.systemd-socket", "--web.external-url=http://x/"]).current_dir(dir.path());
    command
}

fn ask(mut stream: impl Read + Write) -> u16 {
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).unwrap();
    Reply::parse(&raw).status
}

#[test]
fn a_tcp_socket_is_taken_over() {
    let dir = Dir::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut command = activated(&dir, socket);
    let exporter = Exporter::start_with(dir, &mut command);
    assert!(exporter.wait_for_log("Listening on").contains(&format!("address={address}")));
    for _ in 0..3 {
        assert_eq!(ask(TcpStream::connect(address).unwrap()), 200);
    }
}

#[test]
fn a_unix_socket_is_taken_over() {
    let dir = Dir::new();
    let path = dir.path().join("s");
    let socket = UnixListener::bind(&path).unwrap();
    let mut command = activated(&dir, socket);
    let mut exporter = Exporter::start_with(dir, &mut command);
    assert!(exporter.wait_for_log("Listening on").contains(&format!("address={}", path.display())));
    for _ in 0..3 {
        assert_eq!(ask(UnixStream::connect(&path).unwrap()), 200);
    }
    exporter.signal("TERM");
    assert_eq!(exporter.wait().code(), Some(0));
}

#[test]
fn other_sockets_are_refused() {
    let dir = Dir::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut command = activated(&dir, socket);
    let mut exporter = Exporter::start_with(dir, &mut command);
    assert_eq!(exporter.wait().code(), Some(1));
    exporter.wait_for_log("err=\"socket 0 of systemd: ");
}

/// Starts an exporter that reports to `socket`.
fn notifying(name: &str, more: &[(&str, &str)]) -> Exporter {
    let dir = Dir::new();
    dir.write("c.yml", CONFIG);
    let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat_exporter"));
    command.args(["--config.file=c.yml", "--web.listen-address=127.0.0.1:0"]).current_dir(dir.path());
    command.env("NOTIFY_SOCKET", name).envs(more.iter().copied()).stdin(Stdio::null());
    Exporter::start_with(dir, &mut command)
}

fn hear(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn systemd_hears_how_the_service_is() {
    let dir = Dir::new();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut exporter = notifying(path.to_str().unwrap(), &[]);
    assert_eq!(hear(&socket), "READY=1");
    exporter.signal("HUP");
    let reloading = hear(&socket);
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(hear(&socket), "READY=1");
    exporter.signal("TERM");
    assert_eq!(hear(&socket), "STOPPING=1");
    assert_eq!(exporter.wait().code(), Some(0));
}

#[test]
fn the_watchdog_is_fed_if_it_is_ours() {
    let name = format!("heartbeat-watchdog-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let exporter = notifying(&format!("@{name}"), &[("WATCHDOG_USEC", "20000")]);
    let heard: Vec<String> = (0..4).map(|_| hear(&socket)).collect();
    assert_eq!(heard.iter().filter(|message| *message == "READY=1").count(), 1, "{heard:?}");
    assert_eq!(heard.iter().filter(|message| *message == "WATCHDOG=1").count(), 3, "{heard:?}");
    drop(exporter);

    let name = format!("{name}-other");
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut exporter = notifying(&format!("@{name}"), &[("WATCHDOG_USEC", "20000"), ("WATCHDOG_PID", "1")]);
    assert_eq!(hear(&socket), "READY=1");
    exporter.signal("TERM");
    assert_eq!(hear(&socket), "STOPPING=1");
    assert_eq!(exporter.wait().code(), Some(0));
}
