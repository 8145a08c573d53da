//! What tcp and unix have in common: optional TLS and a dialogue over a stream that is open.

use tokio::io::{AsyncRead, AsyncWrite};

use super::tls_handshake::{Handshake, Witness};
use super::{tls_client, tls_report};
use crate::config::sections::dialogue::DialogueStep;
use crate::config::sections::tls::TlsConfig;
use crate::metrics::{Metric, names};
use crate::net::buffered::Buffered;
use crate::net::dialogue::{Conversation, Dialogue, Pause};
use crate::net::tls::{TlsClient, TlsStream};
use crate::runner::{Phase, ProbeError, Reason, Report};

/// The part of a module that does not depend on how its stream is opened.
#[derive(Debug)]
pub struct Exchange {
    /// Whether TLS comes before the dialogue.
    tls: bool,
    client: TlsClient,
    dialogue: Dialogue,
    /// The family of durations by phase.
    durations: Metric,
}

/// The other end of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// For TLS, unless the module has one; empty if nothing tells.
    pub name: &'a str,
    /// For errors.
    pub shown: &'a str,
}

/// Opens streams to one peer.
pub trait Open: Sync {
    /// What is opened.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// Opens one more.
    ///
    /// # Errors
    /// In phase `connect`.
    fn open(&self) -> impl Future<Output = Result<Self::Stream, ProbeError>> + Send;
}

impl Exchange {
    /// From the keys that both sections have; durations go to the family `durations`.
    pub fn compile(tls: bool, tls_config: &TlsConfig, steps: &[DialogueStep], durations: Metric) -> Self {
        Self {
            tls,
            client: tls_client::compile(tls_config, Vec::new()),
            dialogue: Dialogue::compile(steps),
            durations,
        }
    }

    /// Does the handshake if the module wants one, then the dialogue, and publishes their phases.
    ///
    /// `probe_failed_due_to_regex` and `probe_failed_due_to_bytes` appear once the stream is ready for
    /// the dialogue. A handshake that begins again needs another stream of `source`.
    ///
    /// # Errors
    /// In phase `tls` or `dialogue`, or those of `source`.
    pub async fn run<O: Open>(
        &self,
        stream: O::Stream,
        source: &O,
        peer: Peer<'_>,
        report: &mut Report,
    ) -> Result<(), ProbeError> {
        let mut conversation = self.dialogue.with(peer.shown);
        if self.tls {
            let again = async |report: &mut Report| {
                report.begin(Phase::Connect);
                source.open().await
            };
            let stream = self.handshake(stream, peer, report, again).await?;
            announce(report);
            return self.encrypted(stream, peer, &mut conversation, report).await;
        }
        announce(report);
        let mut stream = Buffered::new(stream);
        match self.talk(&mut stream, &mut conversation, report).await? {
            Pause::Done => Ok(()),
            Pause::StartTls => {
                let again = async |report: &mut Report| self.up_to_starttls(source, peer, report).await;
                let stream = self.handshake(stream.into_inner(), peer, report, again).await?;
                self.encrypted(stream, peer, &mut conversation, report).await
            }
        }
    }

    async fn handshake<S>(
        &self,
        stream: S,
        peer: Peer<'_>,
        report: &mut Report,
        again: impl AsyncFnOnce(&mut Report) -> Result<S, ProbeError>,
    ) -> Result<TlsStream<S>, ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let witness = Witness::new(report, tls_report::Families::STREAM);
        let observer = witness.observer.clone();
        let handshake =
            Handshake { client: &self.client, name: peer.name, peer: &peer.shown, observer: &observer };
        let (_, stream) = handshake.run(stream, witness.report, again).await;
        witness.report.end();
        publish(witness.report, self.durations, Phase::Tls);
        stream
    }

    /// Opens another stream and repeats the dialogue up to STARTTLS.
    async fn up_to_starttls<O: Open>(
        &self,
        source: &O,
        peer: Peer<'_>,
        report: &mut Report,
    ) -> Result<O::Stream, ProbeError> {
        report.begin(Phase::Connect);
        let mut stream = Buffered::new(source.open().await?);
        report.begin(Phase::Dialogue);
        match self.dialogue.with(peer.shown).proceed(&mut stream, report).await? {
            Pause::StartTls => Ok(stream.into_inner()),
            Pause::Done => {
                let why = format!("{} did not come to STARTTLS the second time", peer.shown);
                Err(ProbeError::new(Phase::Dialogue, Reason::Mismatch, why))
            }
        }
    }

    async fn encrypted<S>(
        &self,
        stream: TlsStream<S>,
        peer: Peer<'_>,
        conversation: &mut Conversation<'_>,
        report: &mut Report,
    ) -> Result<(), ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.talk(&mut Buffered::new(stream), conversation, report).await? {
            Pause::Done => Ok(()),
            Pause::StartTls => Err(ProbeError::new(
                Phase::Dialogue,
                Reason::Config,
                format!("starttls for {}, but the connection is encrypted already", peer.shown),
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
            report.at_step(None);
            return Ok(Pause::Done);
        }
        report.begin(Phase::Dialogue);
        let result = conversation.proceed(stream, report).await;
        report.end();
        publish(report, self.durations, Phase::Dialogue);
        result
    }
}

fn announce(report: &mut Report) {
    report.samples.set(names::PROBE_FAILED_DUE_TO_REGEX, false);
    report.samples.set(names::PROBE_FAILED_DUE_TO_BYTES, false);
}

/// Writes how long a phase took in all its spans to the family `durations`.
pub fn publish(report: &mut Report, durations: Metric, phase: Phase) {
    let took = report.total(phase);
    report.samples.set_one(durations, "phase", phase.as_str(), took);
}
