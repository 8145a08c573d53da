//! Probes a host with one ICMP echo request over IPv4 or IPv6.
//!
//! Sockets and the matching of replies are the engine's business (`net/icmp`).

use std::net::IpAddr;
use std::num::NonZeroU8;

use super::{Prober, target};
use crate::config;
use crate::metrics::names;
use crate::net::icmp::{EchoRequest, PingError, Unreachable};
use crate::net::resolve::{self, Address, Preference};
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

/// A compiled `icmp` section.
#[derive(Debug)]
pub struct Icmp {
    preference: Preference,
    source: Option<IpAddr>,
    /// `None` leaves the hop limit to the system.
    ttl: Option<NonZeroU8>,
    dont_fragment: bool,
    /// Bytes; 0 is the engine's default.
    payload_size: usize,
}

impl Prober for Icmp {
    fn compile(module: &config::Module) -> Result<Self, String> {
        let section = &*module.icmp;
        let ttl = u8::try_from(section.ttl).map_err(|_| format!("ttl {} is not 0 to 255", section.ttl))?;
        let payload_size = usize::try_from(section.payload_size)
            .map_err(|_| format!("payload_size {} is negative", section.payload_size))?;
        Ok(Self {
            preference: preference(module),
            source: section.source_ip(),
            ttl: NonZeroU8::new(ttl),
            dont_fragment: section.dont_fragment,
            payload_size,
        })
    }

    async fn probe(&self, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        let address = begin(self.preference, run, report).await?;
        report.begin(Phase::Setup);
        let fail = |phase, error| failure(phase, run.target, address.ip, error);
        let ping = run.net.icmp.prepare(&EchoRequest {
            destination: address.ip,
            scope_id: address.scope_id,
            source: self.source,
            ttl: self.ttl,
            dont_fragment: self.dont_fragment,
            payload_size: self.payload_size,
        });
        report.end();
        publish(report, Phase::Setup);
        let ping = ping.map_err(|error| fail(Phase::Setup, error))?;

        report.begin(Phase::Rtt);
        let reply = ping.run().await;
        report.end();
        let reply = reply.map_err(|error| fail(Phase::Rtt, error))?;
        // Not the span of the phase: the engine's value stops at the kernel's time stamp.
        report.samples.set_one(names::PROBE_ICMP_DURATION_SECONDS, "phase", Phase::Rtt.as_str(), reply.rtt);
        if let Some(hop_limit) = reply.hop_limit {
            report.samples.set(names::PROBE_ICMP_REPLY_HOP_LIMIT, u32::from(hop_limit));
        }
        Ok(())
    }

    async fn decline(module: &config::Module, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        begin(preference(module), run, report).await.map(drop)
    }

    fn accepts(&self, target: &str) -> bool {
        target::is_host(target)
    }
}

fn preference(module: &config::Module) -> Preference {
    target::preference(&module.icmp.preferred_ip_protocol, module.icmp.ip_protocol_fallback)
}

async fn begin(preference: Preference, run: &Run<'_>, report: &mut Report) -> Result<Address, ProbeError> {
    for phase in [Phase::Resolve, Phase::Setup, Phase::Rtt] {
        report.samples.set_one(names::PROBE_ICMP_DURATION_SECONDS, "phase", phase.as_str(), 0.0);
    }
    let address = resolve::select(run, report, run.target, preference).await?;
    publish(report, Phase::Resolve);
    Ok(address)
}

fn publish(report: &mut Report, phase: Phase) {
    let took = report.total(phase);
    report.samples.set_one(names::PROBE_ICMP_DURATION_SECONDS, "phase", phase.as_str(), took);
}

fn failure(phase: Phase, target: &str, address: IpAddr, error: PingError) -> ProbeError {
    let reason = match &error {
        PingError::Unreachable { kind, .. } => match kind {
            Unreachable::FragmentationNeeded { .. } => Reason::TooBig,
            Unreachable::Port | Unreachable::Protocol => Reason::Refused,
            _ => Reason::Unreachable,
        },
        PingError::TtlExceeded { .. } => Reason::TtlExceeded,
        PingError::ParameterProblem { .. } => Reason::Protocol,
        PingError::MessageTooBig => Reason::TooBig,
        PingError::NoRoute(_) => Reason::Unreachable,
        PingError::Prohibited(_) | PingError::PermissionDenied(_) => Reason::Permission,
        PingError::SourceAddress { .. } => Reason::SourceAddress,
        PingError::Unsupported => Reason::Unsupported,
        PingError::TooManyInFlight | PingError::Closed | PingError::Io(_) => Reason::Io,
    };
    ProbeError::new(phase, reason, format!("echo request to {target} ({address}) failed")).caused_by(error)
}
