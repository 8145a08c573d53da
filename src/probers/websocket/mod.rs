//! Probes a WebSocket: connect, optional TLS, the upgrade, then a dialogue in messages.

mod frames;
mod target;
mod upgrade;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::error::Elapsed;

use self::frames::{Fault, Frames};
use self::target::Target;
use self::upgrade::{Key, Template};
use super::http::url::{Scheme, Url};
use super::tls_handshake::{Handshake, Witness};
use super::{Prober, target as hosts, tls_client, tls_report};
use crate::config;
use crate::config::sections::dialogue::DialogueStep;
use crate::config::sections::tls::TlsConfig;
use crate::logging::Level;
use crate::metrics::names;
use crate::net::buffered::Buffered;
use crate::net::dialogue::{fill, quote};
use crate::net::resolve::{self, Address, Preference};
use crate::net::tls::TlsClient;
use crate::net::{connect, failure};
use crate::regex::GoRegex;
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

/// A compiled `websocket` section.
#[derive(Debug)]
pub struct Websocket {
    preference: Preference,
    client: TlsClient,
    template: Template,
    steps: Vec<Step>,
}

/// One entry of `query_response`; its other keys have no effect here, as a warning says.
#[derive(Debug)]
struct Step {
    expect: Option<GoRegex>,
    /// A template if there is something to expect.
    send: Box<[u8]>,
}

impl Prober for Websocket {
    fn compile(module: &config::Module) -> Result<Self, String> {
        let section = &module.websocket;
        let step =
            |entry: &DialogueStep| Step { expect: entry.expect.clone(), send: entry.send.to_vec().into() };
        let client = match &section.http_config {
            Some(http) => tls_client::compile(&http.tls_config, Vec::new()),
            None => tls_client::compile(&TlsConfig::default(), Vec::new()),
        };
        Ok(Self {
            preference: preference(module),
            client,
            template: Template::compile(section),
            steps: section.query_response.iter().map(step).collect(),
        })
    }

    async fn probe(&self, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        let (url, address) = begin(self.preference, run, report).await?;
        let peer = url.authority.as_str();
        let key = Key::new();
        let request = self.template.request(&url, &key).await?;
        let attempt = Attempt { prober: self, run, peer, key, request };

        let to = address.with_port(url.port);
        report.begin(Phase::Connect);
        let stream = run.within(connect::tcp(to, None)).await;
        let stream = ended(report, Phase::Connect, stream)?;
        let stream = stream.map_err(|error| ProbeError::io(Phase::Connect, to, error))?;
        connect::report_round_trip(&stream, report);
        if url.scheme == Scheme::Http {
            return attempt.go_on(stream, report).await;
        }
        let witness = Witness::new(report, tls_report::Families::OWN);
        let observer = witness.observer.clone();
        let handshake = Handshake { client: &self.client, name: &url.host, peer: &peer, observer: &observer };
        let again = async |report: &mut Report| {
            report.begin(Phase::Connect);
            connect::tcp(to, None).await.map_err(|error| ProbeError::io(Phase::Connect, to, error))
        };
        let handshake = run.within(handshake.run(stream, witness.report, again)).await;
        let (_, stream) = ended(witness.report, Phase::Tls, handshake)?;
        drop(witness);
        let stream = stream?;
        attempt.go_on(stream, report).await
    }

    async fn decline(module: &config::Module, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        begin(preference(module), run, report).await.map(drop)
    }

    fn accepts(&self, target: &str) -> bool {
        matches!(Target::parse(target), Ok(Target::Usable(url)) if hosts::is_host(&url.host))
    }
}

/// A probe whose connection is open, or will be next.
struct Attempt<'a> {
    prober: &'a Websocket,
    run: &'a Run<'a>,
    /// For errors.
    peer: &'a str,
    key: Key,
    request: Vec<u8>,
}

impl Attempt<'_> {
    /// Upgrades the connection and talks.
    async fn go_on<S>(&self, stream: S, report: &mut Report) -> Result<(), ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = Buffered::new(stream);
        report.begin(Phase::Processing);
        let answer = self.run.within(upgrade::exchange(&mut stream, &self.request, self.peer)).await;
        let answer = ended(report, Phase::Processing, answer)??;
        report.samples.set(names::PROBE_WEBSOCKET_STATUS_CODE, u32::from(answer.status));
        answer.check(&self.key, self.peer)?;
        report.samples.set(names::PROBE_WEBSOCKET_CONNECTION_UPGRADED, true);

        let mut frames = Frames::new(stream);
        let mut result = Ok(());
        if !self.prober.steps.is_empty() {
            report.begin(Phase::Dialogue);
            let talked = self.run.within(self.talk(&mut frames, report)).await;
            result = ended(report, Phase::Dialogue, talked).and_then(|result| result);
            // Whatever went wrong, as in the peer.
            report.samples.set(names::PROBE_WEBSOCKET_FAILED_DUE_TO_REGEX, result.is_err());
        }
        frames.close().await;
        result
    }

    async fn talk<S>(&self, frames: &mut Frames<S>, report: &mut Report) -> Result<(), ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut message = Vec::new();
        for (index, step) in self.prober.steps.iter().enumerate() {
            let number = index + 1;
            report.at_step(Some(number));
            let mut filled = None;
            if let Some(pattern) = &step.expect {
                frames.receive(&mut message).await.map_err(|fault| self.explain(fault, number))?;
                report.log(Level::Debug, "Read message", || vec![("message", shown(&message))]);
                let Some(captures) = pattern.captures(&message) else {
                    let what =
                        format!("sent {}, which does not match {:?}", quote(&message), pattern.as_str());
                    return Err(self.fail(Reason::Mismatch, &what, number));
                };
                filled = Some(fill(&step.send, &captures));
            }
            let text = filled.as_deref().unwrap_or(&step.send);
            if !text.is_empty() {
                report.log(Level::Debug, "Sending message", || vec![("message", shown(text))]);
                frames.send_text(text).await.map_err(|fault| self.explain(fault, number))?;
            }
        }
        report.at_step(None);
        Ok(())
    }

    fn explain(&self, fault: Fault, number: usize) -> ProbeError {
        let reason = match fault {
            Fault::Io(error) => {
                let peer = format_args!("{} at step {number} of query_response", self.peer);
                return failure::io(Phase::Dialogue, peer, error);
            }
            Fault::Closed(_) | Fault::End => Reason::Closed,
            Fault::TooLarge => Reason::TooLarge,
            Fault::Protocol(_) => Reason::Protocol,
        };
        self.fail(reason, &fault.to_string(), number)
    }

    fn fail(&self, reason: Reason, what: &str, number: usize) -> ProbeError {
        let text = format!("{} {what} (step {number} of query_response)", self.peer);
        ProbeError::new(Phase::Dialogue, reason, text)
    }
}

/// Ends a phase that came to its end or to the deadline, and publishes how long it took in either case.
fn ended<T>(report: &mut Report, phase: Phase, output: Result<T, Elapsed>) -> Result<T, ProbeError> {
    report.end();
    publish(report, phase);
    output.map_err(|_| ProbeError::deadline(phase))
}

/// Writes the duration of a phase under the name the peer has for it; in its `processing` is TLS, too.
fn publish(report: &mut Report, phase: Phase) {
    let took = report.total(phase);
    let processing = report.total(Phase::Tls) + report.total(Phase::Processing);
    let mut set = |label, took| {
        report.samples.set_one(names::PROBE_WEBSOCKET_DURATION_SECONDS, "phase", label, took);
    };
    match phase {
        Phase::Dialogue => set("transfer", took),
        Phase::Processing => set("processing", processing),
        Phase::Tls => {
            set("tls", took);
            set("processing", processing);
        }
        other => set(other.as_str(), took),
    }
}

fn preference(module: &config::Module) -> Preference {
    hosts::preference(&module.websocket.preferred_ip_protocol, module.websocket.ip_protocol_fallback)
}

/// URL and address of the target.
async fn begin(
    preference: Preference,
    run: &Run<'_>,
    report: &mut Report,
) -> Result<(Url, Address), ProbeError> {
    let bad_target = |why| ProbeError::new(Phase::Prepare, Reason::BadTarget, why);
    let target = Target::parse(run.target).map_err(bad_target)?;
    report.samples.set(names::PROBE_WEBSOCKET_STATUS_CODE, 0.0);
    report.samples.set(names::PROBE_WEBSOCKET_CONNECTION_UPGRADED, false);
    report.samples.set(names::PROBE_WEBSOCKET_FAILED_DUE_TO_REGEX, false);
    let host = match &target {
        Target::Usable(url) => &url.host,
        Target::Refused { host, .. } => host,
    };
    let address = resolve::select(run, report, host, preference).await;
    publish(report, Phase::Resolve);
    if address.is_ok() {
        // The peer has this phase for everything that fails from here on.
        publish(report, Phase::Processing);
    }
    match target {
        Target::Usable(url) => Ok((url, address?)),
        Target::Refused { why, .. } => {
            Err(bad_target(format!("cannot use the target {:?}: {why}", run.target)))
        }
    }
}

/// The beginning of a message for the log.
fn shown(message: &[u8]) -> String {
    String::from_utf8_lossy(message.get(..MAX_SHOWN).unwrap_or(message)).into_owned()
}

/// Bytes of a message that the log shows.
const MAX_SHOWN: usize = 4096;
