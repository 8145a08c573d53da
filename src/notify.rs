//! Tells systemd how the process is (sd_notify(3)): ready, reloading, stopping, alive.
//!
//! Nobody is told unless systemd asks by its environment variables, and a message that does not get
//! through is no reason to do anything else.

use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to systemd, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// What the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok();
        let socket = variable("NOTIFY_SOCKET").and_then(|path| connect(&path));
        let is_for_us = variable("WATCHDOG_PID")
            .is_none_or(|pid| pid.parse().is_ok_and(|pid: u32| pid == std::process::id()));
        let limit = variable("WATCHDOG_USEC").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        Self { socket, watchdog: limit.filter(|_| is_for_us).map(Duration::from_micros) }
    }

    /// How often [`Notifier::alive`] is to be called: twice in the time after which systemd loses
    /// patience. `None` if it does not watch.
    pub fn alive_interval(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.socket.is_some()).map(|limit| limit / 2)
    }

    /// Requests are answered from now on.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The configuration is being loaded; [`Notifier::ready`] ends that.
    pub fn reloading(&self) {
        // Type=notify-reload compares this time with that of its signal.
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic().as_micros()));
    }

    /// The process is on its way out.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The process does its work.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// A path, or a name without a place in the file system, which begins with `@`.
fn connect(path: &str) -> Option<UnixDatagram> {
    let address = match path.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            SocketAddr::from_abstract_name(name).ok()?
        }
        _ => SocketAddr::from_pathname(path).ok()?,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address).ok()?;
    // A full queue must not hold us up.
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

/// Time of the clock that systemd compares with; zero if there is none.
#[expect(unsafe_code, reason = "Instant does not tell its value")]
fn monotonic() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to, for as long as the call takes.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
