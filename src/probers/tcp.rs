//! Probes a TCP port: connect, optional TLS, then a dialogue that may start TLS later.

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Prober, target, tls_client, tls_report};
use crate::config;
use crate::metrics::names;
use crate::net::buffered::Buffered;
use crate::net::dialogue::{Conversation, Dialogue, Pause};
use crate::net::resolve::{self, Address, Preference};
use crate::net::tls::{TlsClient, TlsStream};
use crate::net::{connect, failure};
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

/// A compiled `tcp` section.
#[derive(Debug)]
pub struct Tcp {
    preference: Preference,
    source: Option<IpAddr>,
    /// Whether TLS comes before the dialogue.
    tls: bool,
    client: TlsClient,
    dialogue: Dialogue,
}

impl Prober for Tcp {
    fn compile(module: &config::Module) -> Result<Self, String> {
        let section = &module.tcp;
        Ok(Self {
            preference: preference(module),
            source: section.source_ip(),
            tls: section.tls,
            client: tls_client::compile(&section.tls_config, Vec::new()),
            dialogue: Dialogue::compile(&section.query_response),
        })
    }

    async fn probe(&self, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        let (host, port, address) = begin(self.preference, run, report).await?;
        let to = address.with_port(connect::parse_port(port).map_err(bad_target)?);
        connect::check_source(self.source, address.ip)?;

        report.begin(Phase::Connect);
        let stream = connect::tcp(to, self.source).await;
        report.end();
        publish(report, Phase::Connect);
        let stream = stream.map_err(|error| ProbeError::io(Phase::Connect, to, error))?;

        let probe = Connected { prober: self, name: run.hostname.unwrap_or(host), peer: run.target };
        let mut conversation = self.dialogue.with(run.target);
        if self.tls {
            let stream = probe.handshake(stream, report).await?;
            announce(report);
            return probe.encrypted(stream, &mut conversation, report).await;
        }
        announce(report);
        let mut stream = Buffered::new(stream);
        match probe.talk(&mut stream, &mut conversation, report).await? {
            Pause::Done => Ok(()),
            Pause::StartTls => {
                let stream = probe.handshake(stream.into_inner(), report).await?;
                probe.encrypted(stream, &mut conversation, report).await
            }
        }
    }

    async fn decline(module: &config::Module, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        begin(preference(module), run, report).await.map(drop)
    }

    fn accepts(&self, target: &str) -> bool {
        connect::split_host_port(target).is_ok_and(|(host, _)| target::is_host(host))
    }
}

/// A probe whose connection is open.
struct Connected<'a> {
    prober: &'a Tcp,
    /// For TLS, unless the module has one.
    name: &'a str,
    peer: &'a str,
}

impl Connected<'_> {
    async fn handshake(
        &self,
        stream: TcpStream,
        report: &mut Report,
    ) -> Result<TlsStream<TcpStream>, ProbeError> {
        report.begin(Phase::Tls);
        let (stream, facts) = self.prober.client.handshake(stream, self.name).await;
        report.end();
        publish(report, Phase::Tls);
        tls_report::write(report, &facts, tls_report::Families::STREAM);
        stream.map_err(|error| failure::tls(Phase::Tls, self.peer, error))
    }

    async fn encrypted(
        &self,
        stream: TlsStream<TcpStream>,
        conversation: &mut Conversation<'_>,
        report: &mut Report,
    ) -> Result<(), ProbeError> {
        match self.talk(&mut Buffered::new(stream), conversation, report).await? {
            Pause::Done => Ok(()),
            Pause::StartTls => Err(ProbeError::new(
                Phase::Dialogue,
                Reason::Config,
                format!("starttls for {}, but the connection is encrypted already", self.peer),
            )),
        }
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut Buffered<S>,
        conversation: &mut Conversation<'_>,
        report: &mut Report,
    ) -> Result<Pause, ProbeError> {
        if conversation.is_over() {
            return Ok(Pause::Done);
        }
        report.begin(Phase::Dialogue);
        let result = conversation.proceed(stream, report).await;
        report.end();
        publish(report, Phase::Dialogue);
        result
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
    publish(report, Phase::Resolve);
    Ok((host, port, address?))
}

fn announce(report: &mut Report) {
    report.samples.set(names::PROBE_FAILED_DUE_TO_REGEX, false);
    report.samples.set(names::PROBE_FAILED_DUE_TO_BYTES, false);
}

fn publish(report: &mut Report, phase: Phase) {
    let took = report.total(phase);
    report.samples.set_one(names::PROBE_TCP_DURATION_SECONDS, "phase", phase.as_str(), took);
}
