//! Probes a Unix domain socket: connect, optional TLS, then a dialogue that may start TLS later.

use std::borrow::Cow;
use std::io;

use tokio::net::UnixStream;

use super::Prober;
use super::stream::{Exchange, Open, Peer, publish};
use crate::config;
use crate::metrics::names::PROBE_UNIX_DURATION_SECONDS;
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

/// A compiled `unix` section.
#[derive(Debug)]
pub struct Unix {
    exchange: Exchange,
}

impl Prober for Unix {
    fn compile(module: &config::Module) -> Result<Self, String> {
        let section = &module.unix;
        Ok(Self {
            exchange: Exchange::compile(
                section.tls,
                &section.tls_config,
                &section.query_response,
                PROBE_UNIX_DURATION_SECONDS,
            ),
        })
    }

    async fn probe(&self, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        let source = Socket(run.target);
        report.begin(Phase::Connect);
        let stream = source.open().await;
        report.end();
        publish(report, PROBE_UNIX_DURATION_SECONDS, Phase::Connect);
        let stream = stream?;
        // A path is not a name that a certificate could be for.
        let peer = Peer { name: "", shown: run.target };
        self.exchange.run(stream, &source, peer, report).await
    }

    async fn decline(_: &config::Module, _: &Run<'_>, _: &mut Report) -> Result<(), ProbeError> {
        Ok(())
    }
}

/// Opens connections to the socket with this path.
struct Socket<'a>(&'a str);

impl Open for Socket<'_> {
    type Stream = UnixStream;

    async fn open(&self) -> Result<UnixStream, ProbeError> {
        UnixStream::connect(&*socket_path(self.0)).await.map_err(|error| explain(self.0, error))
    }
}

/// The path as the system wants it: `@` stands for the zero byte of an abstract socket (unix(7)), as in Go.
fn socket_path(target: &str) -> Cow<'_, str> {
    match target.strip_prefix('@') {
        Some(name) => Cow::Owned(format!("\0{name}")),
        None => Cow::Borrowed(target),
    }
}

fn explain(target: &str, error: io::Error) -> ProbeError {
    use io::ErrorKind as K;
    let known = match error.kind() {
        K::NotFound | K::NotADirectory => Some((Reason::NotFound, "there is no such socket")),
        K::InvalidInput => Some((Reason::BadTarget, "the target is not a path a socket can have")),
        // Connecting to a local socket never waits for room.
        K::WouldBlock => Some((Reason::Refused, "the queue of connections nobody accepted is full")),
        _ => None,
    };
    match known {
        Some((reason, what)) => {
            ProbeError::new(Phase::Connect, reason, format!("connect failed for {target}: {what}"))
                .caused_by(error)
        }
        None => ProbeError::io(Phase::Connect, target, error),
    }
}
