//! Probes a TCP port: connect, optional TLS, then a dialogue that may start TLS later.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;

use super::stream::{Exchange, Open, Peer, publish};
use super::{Prober, target};
use crate::config;
use crate::metrics::names::PROBE_TCP_DURATION_SECONDS;
use crate::net::connect;
use crate::net::resolve::{self, Address, Preference};
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

/// A compiled `tcp` section.
#[derive(Debug)]
pub struct Tcp {
    preference: Preference,
    source: Option<IpAddr>,
    exchange: Exchange,
}

impl Prober for Tcp {
    fn compile(module: &config::Module) -> Result<Self, String> {
        let section = &module.tcp;
        Ok(Self {
            preference: preference(module),
            source: section.source_ip(),
            exchange: Exchange::compile(
                section.tls,
                &section.tls_config,
                &section.query_response,
                PROBE_TCP_DURATION_SECONDS,
            ),
        })
    }

    async fn probe(&self, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        let (host, port, address) = begin(self.preference, run, report).await?;
        let to = address.with_port(connect::parse_port(port).map_err(bad_target)?);
        connect::check_source(self.source, address.ip)?;

        let source = Source { to, from: self.source };
        report.begin(Phase::Connect);
        let stream = source.open().await;
        report.end();
        publish(report, PROBE_TCP_DURATION_SECONDS, Phase::Connect);
        let stream = stream?;
        connect::report_round_trip(&stream, report);

        let peer = Peer { name: run.hostname.unwrap_or(host), shown: run.target };
        self.exchange.run(stream, &source, peer, report).await
    }

    async fn decline(module: &config::Module, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        begin(preference(module), run, report).await.map(drop)
    }

    fn accepts(&self, target: &str) -> bool {
        connect::split_host_port(target).is_ok_and(|(host, _)| target::is_host(host))
    }
}

/// Opens connections to one address.
struct Source {
    to: SocketAddr,
    from: Option<IpAddr>,
}

impl Open for Source {
    type Stream = TcpStream;

    async fn open(&self) -> Result<TcpStream, ProbeError> {
        let stream = connect::tcp(self.to, self.from).await;
        stream.map_err(|error| ProbeError::io(Phase::Connect, self.to, error))
    }
}

fn preference(module: &config::Module) -> Preference {
    target::preference(&module.tcp.preferred_ip_protocol, module.tcp.ip_protocol_fallback)
}

fn bad_target(why: String) -> ProbeError {
    ProbeError::new(Phase::Prepare, Reason::BadTarget, why)
}

/// Host, port and address of the target.
async fn begin<'t>(
    preference: Preference,
    run: &Run<'t>,
    report: &mut Report,
) -> Result<(&'t str, &'t str, Address), ProbeError> {
    let (host, port) = connect::split_host_port(run.target).map_err(bad_target)?;
    let address = resolve::select(run, report, host, preference).await;
    publish(report, PROBE_TCP_DURATION_SECONDS, Phase::Resolve);
    Ok((host, port, address?))
}
