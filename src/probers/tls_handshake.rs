//! A handshake as part of a probe: begun again where a server wants older cipher suites, and reported
//! even if the deadline cuts it.

use std::fmt::Display;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};

use super::tls_report::{self, Families};
use crate::logging::Level;
use crate::net::tls::{Observer, TlsClient, TlsError, TlsStream};
use crate::runner::{Phase, ProbeError, Report};

/// One handshake with one peer.
pub struct Handshake<'a> {
    /// The module's client.
    pub client: &'a TlsClient,
    /// The name that the certificate must be valid for, unless the module has one.
    pub name: &'a str,
    /// Who it is, for sentences about errors.
    pub peer: &'a (dyn Display + Sync),
    /// Sees the handshake that counts.
    pub observer: &'a Observer,
}

impl Handshake<'_> {
    /// Makes the handshake and returns when it began.
    ///
    /// A server that has nothing in common with the default library is connected again by `redial`
    /// and gets a second handshake, which offers older cipher suites too. The peer's Blackbox
    /// exporter offers those at once, so only what the second handshake takes is counted as the phase
    /// `tls`; the first one and the second connection are in no phase, but in the probe's duration
    /// and in its debug log. Later probes begin with the second handshake.
    ///
    /// # Errors
    /// Those of the handshake, in the phase `tls`, or those of `redial`.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        report: &mut Report,
        redial: impl AsyncFnOnce(&mut Report) -> Result<S, ProbeError>,
    ) -> (Instant, Result<TlsStream<S>, ProbeError>) {
        let kept = report.timeline().len();
        let began = report.begin(Phase::Tls);
        let result = self.client.observed_handshake(stream, self.name, self.observer).await;
        let first = match result {
            Err(error) if self.observer.is_worth_repeating() => error,
            result => return (began, result.map_err(|error| self.explain(error))),
        };
        let stream = match redial(report).await {
            Ok(stream) => stream,
            Err(error) => return (began, Err(error)),
        };
        report.log(Level::Debug, "TLS handshake begins again with older cipher suites", || {
            vec![("err", first.to_string()), ("uncounted_seconds", began.elapsed().as_secs_f64().to_string())]
        });
        report.take_back(kept);
        let began = report.begin(Phase::Tls);
        let result = self.client.handshake_again(stream, self.name, self.observer).await;
        // A peer that dropped the first connection, and has no need of older suites, gets no second chance.
        let excused = matches!(first, TlsError::VersionOrCipher(_)) || self.observer.saw_old_choice();
        let result = if excused { result } else { Err(first) };
        (began, result.map_err(|error| self.explain(error)))
    }

    fn explain(&self, error: TlsError) -> ProbeError {
        tls_report::error(Phase::Tls, self.peer, error)
    }
}

/// Writes the facts of a handshake into the report when it goes out of scope, be it at the deadline.
pub struct Witness<'a> {
    /// What to log and time in meanwhile.
    pub report: &'a mut Report,
    /// For [`Handshake::observer`].
    pub observer: Observer,
    families: Families,
}

impl<'a> Witness<'a> {
    /// Will write these `families`.
    pub fn new(report: &'a mut Report, families: Families) -> Self {
        Self { report, observer: Observer::default(), families }
    }
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        tls_report::write(self.report, &self.observer.take(), self.families);
    }
}
