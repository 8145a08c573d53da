//! Probes a DNS server: one query over UDP, TCP or TLS, and checks on the answer.
//!
//! The target is the server; what is asked is the module's business. The message format lives in
//! `net/dns`.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};

use super::tls_handshake::{Handshake, Witness};
use super::{Prober, target, tls_client, tls_report};
use crate::config;
use crate::config::sections::dns::{self as written, Pattern};
use crate::logging::Level;
use crate::metrics::names;
use crate::net::buffered::{Buffered, Short};
use crate::net::dns::{Class, Message, Rcode, Record, RecordType, Section, encode_query};
use crate::net::resolve::{self, Address, Preference};
use crate::net::tls::TlsClient;
use crate::net::{connect, failure};
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

/// A compiled `dns` section.
#[derive(Debug)]
pub struct Dns {
    preference: Preference,
    source: Option<IpAddr>,
    transport: Transport,
    /// The encoded query with id 0.
    query: Vec<u8>,
    is_soa: bool,
    /// Or which name is none; every answer fails over it.
    valid_rcodes: Result<Vec<Rcode>, String>,
    checks: [Checks; 3],
}

#[derive(Debug)]
enum Transport {
    Udp,
    Tcp,
    Tls(Box<TlsClient>),
}

impl Prober for Dns {
    fn compile(module: &config::Module) -> Result<Self, String> {
        let section = &module.dns;
        let transport = match (section.transport(), section.dns_over_tls) {
            (Some(written::Transport::Tcp), true) => {
                Transport::Tls(Box::new(tls_client::compile(&section.tls_config, Vec::new())))
            }
            (Some(written::Transport::Tcp), false) => Transport::Tcp,
            (Some(written::Transport::Udp), false) => Transport::Udp,
            (Some(written::Transport::Udp), true) => {
                return Err("dns_over_tls needs transport_protocol: tcp".to_owned());
            }
            (None, _) => {
                return Err(format!("transport_protocol {:?} is not known", section.transport_protocol));
            }
        };
        let rtype = RecordType(section.query_type());
        let class = Class(section.query_class());
        let query = encode_query(0, &section.query_name, rtype, class, section.recursion_desired)
            .map_err(|error| format!("query_name {:?}: {error}", section.query_name))?;
        let rcode = |name: &String| Rcode::parse(name).ok_or_else(|| name.clone());
        let mut valid_rcodes = section.valid_rcodes.iter().map(rcode).collect::<Result<Vec<_>, _>>();
        if let Ok(codes) = &mut valid_rcodes
            && codes.is_empty()
        {
            codes.push(Rcode::NOERROR);
        }
        Ok(Self {
            preference: preference(module),
            source: section.source_ip(),
            transport,
            query,
            is_soa: rtype == RecordType::SOA,
            valid_rcodes,
            checks: [
                Checks::compile(Section::Answer, &section.validate_answer_rrs),
                Checks::compile(Section::Authority, &section.validate_authority_rrs),
                Checks::compile(Section::Additional, &section.validate_additional_rrs),
            ],
        })
    }

    async fn probe(&self, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        announce(report);
        let (host, port) = server(run.target);
        let address = begin(self.preference, host, run, report).await?;
        let port = match port {
            Some(port) => connect::parse_port(port)
                .map_err(|why| ProbeError::new(Phase::Prepare, Reason::BadTarget, why))?,
            None => self.transport.default_port(),
        };
        connect::check_source(self.source, address.ip)?;

        let to = address.with_port(port);
        let answer = run.within(self.exchange(to, host, report)).await;
        report.end();
        let connect = report.total(Phase::Connect) + report.total(Phase::Tls);
        report.samples.set_one(names::PROBE_DNS_DURATION_SECONDS, "phase", "connect", connect);
        let request = report.total(Phase::Request);
        report.samples.set_one(names::PROBE_DNS_DURATION_SECONDS, "phase", "request", request);
        match answer {
            Ok(answer) => self.judge(to, &answer?, report),
            Err(_) => Err(ProbeError::deadline(report.phase())),
        }
    }

    async fn decline(module: &config::Module, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        announce(report);
        if module.dns.transport().is_none() {
            // The peer looks at it before it looks for the server.
            return Ok(());
        }
        begin(preference(module), server(run.target).0, run, report).await.map(drop)
    }

    fn accepts(&self, target: &str) -> bool {
        target::is_host(server(target).0)
    }
}

fn preference(module: &config::Module) -> Preference {
    target::preference(&module.dns.preferred_ip_protocol, module.dns.ip_protocol_fallback)
}

/// Host and port of the server. A target that is not `host:port` is a host, brackets included.
fn server(target: &str) -> (&str, Option<&str>) {
    connect::split_host_port(target).map_or((target, None), |(host, port)| (host, Some(port)))
}

fn announce(report: &mut Report) {
    for phase in [Phase::Resolve, Phase::Connect, Phase::Request] {
        report.samples.set_one(names::PROBE_DNS_DURATION_SECONDS, "phase", phase.as_str(), 0.0);
    }
    for metric in [
        names::PROBE_DNS_ANSWER_RRS,
        names::PROBE_DNS_AUTHORITY_RRS,
        names::PROBE_DNS_ADDITIONAL_RRS,
        names::PROBE_DNS_QUERY_SUCCEEDED,
    ] {
        report.samples.set(metric, 0.0);
    }
}

async fn begin(
    preference: Preference,
    host: &str,
    run: &Run<'_>,
    report: &mut Report,
) -> Result<Address, ProbeError> {
    let address = resolve::select(run, report, host, preference).await?;
    let took = report.total(Phase::Resolve);
    report.samples.set_one(names::PROBE_DNS_DURATION_SECONDS, "phase", "resolve", took);
    Ok(address)
}

impl Dns {
    /// Sends the query and returns the bytes of the answer.
    async fn exchange(&self, to: SocketAddr, name: &str, report: &mut Report) -> Result<Vec<u8>, ProbeError> {
        let query = Query::new(&self.query);
        report.begin(Phase::Connect);
        let refused = |error| ProbeError::io(Phase::Connect, to, error);
        let client = match &self.transport {
            Transport::Udp => {
                let socket = connect::udp(to, self.source).await.map_err(refused)?;
                report.begin(Phase::Request);
                return query.over_datagrams(&socket, to, report).await;
            }
            Transport::Tcp => None,
            Transport::Tls(client) => Some(client),
        };
        let stream = connect::tcp(to, self.source).await.map_err(refused)?;
        connect::report_round_trip(&stream, report);
        let Some(client) = client else {
            report.begin(Phase::Request);
            return query.over_stream(stream, to).await;
        };
        let witness = Witness::new(report, tls_report::Families::OWN);
        let handshake = Handshake { client, name, peer: &to, observer: &witness.observer.clone() };
        let again = async |report: &mut Report| {
            report.begin(Phase::Connect);
            connect::tcp(to, self.source).await.map_err(refused)
        };
        let (_, stream) = handshake.run(stream, witness.report, again).await;
        drop(witness);
        let stream = stream?;
        report.begin(Phase::Request);
        query.over_stream(stream, to).await
    }

    fn judge(&self, server: SocketAddr, answer: &[u8], report: &mut Report) -> Result<(), ProbeError> {
        let message = Message::parse(answer).map_err(|error| {
            let sentence = format!("the answer of {server} cannot be decoded");
            ProbeError::new(Phase::Request, Reason::Protocol, sentence).caused_by(error)
        })?;
        report.samples.set(names::PROBE_DNS_QUERY_SUCCEEDED, true);
        report.samples.set(names::PROBE_DNS_ANSWER_RRS, message.answer.len());
        report.samples.set(names::PROBE_DNS_AUTHORITY_RRS, message.authority.len());
        report.samples.set(names::PROBE_DNS_ADDITIONAL_RRS, message.additional.len());
        if self.is_soa {
            let serial = message.answer.iter().filter_map(Record::soa_serial).next_back();
            report.samples.set(names::PROBE_DNS_SERIAL, serial.unwrap_or(0));
        }
        report.log(Level::Debug, "Got response", || vec![("rcode", message.rcode.to_string())]);
        let valid = self.valid_rcodes.as_ref().map_err(|name| {
            let sentence = format!("valid_rcodes has {name:?}, which is no response code");
            ProbeError::new(Phase::Check, Reason::Config, sentence)
        })?;
        if !valid.contains(&message.rcode) {
            let sentence = format!("{server} answered with {}", message.rcode);
            return Err(ProbeError::new(Phase::Check, Reason::Rcode, sentence));
        }
        let sections = [&message.answer, &message.authority, &message.additional];
        self.checks.iter().zip(sections).try_for_each(|(checks, records)| {
            checks.run(records, report).map_err(|(reason, why)| ProbeError::new(Phase::Check, reason, why))
        })
    }
}

impl Transport {
    fn default_port(&self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 53,
            Self::Tls(_) => 853,
        }
    }
}

/// One query with its own id.
struct Query(Vec<u8>);

impl Query {
    fn new(template: &[u8]) -> Self {
        // Room in front for the length that a stream needs (RFC 1035 §4.2.2).
        let mut bytes = Vec::with_capacity(PREFIX + template.len());
        bytes.extend_from_slice(&u16::try_from(template.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(&rand::random::<[u8; 2]>());
        bytes.extend_from_slice(template.get(2..).unwrap_or_default());
        Self(bytes)
    }

    fn message(&self) -> &[u8] {
        self.0.get(PREFIX..).unwrap_or_default()
    }

    /// Waits for the datagram that answers; any other is passed over.
    async fn over_datagrams(
        &self,
        socket: &tokio::net::UdpSocket,
        to: SocketAddr,
        report: &mut Report,
    ) -> Result<Vec<u8>, ProbeError> {
        let broken = |error| ProbeError::io(Phase::Request, to, error);
        socket.send(self.message()).await.map_err(broken)?;
        // One byte more than is allowed shows that the kernel cut the datagram.
        let mut answer = vec![0; MAX_DATAGRAM + 1];
        loop {
            let length = socket.recv(&mut answer).await.map_err(broken)?;
            let datagram = answer.get(..length).unwrap_or_default();
            if !self.is_answered_by(datagram) {
                report.log(Level::Debug, "Ignoring a datagram that does not answer the query", || {
                    vec![("length", length.to_string())]
                });
                continue;
            }
            if length > MAX_DATAGRAM {
                let sentence = format!("the answer of {to} is larger than {MAX_DATAGRAM} bytes");
                return Err(ProbeError::new(Phase::Request, Reason::TooLarge, sentence));
            }
            answer.truncate(length);
            return Ok(answer);
        }
    }

    /// Whether id and question are ours. What is too short to tell passes if the id does.
    fn is_answered_by(&self, datagram: &[u8]) -> bool {
        let query = self.message();
        if !has_same_id(query, datagram) {
            return false;
        }
        let asked = query.get(HEADER..).unwrap_or_default();
        let questions = datagram.get(4..6).is_some_and(|count| count != [0, 0]);
        match datagram.get(HEADER..HEADER + asked.len()) {
            Some(repeated) if questions => {
                // Servers may change the case of the name, but not type and class.
                let name = asked.len().saturating_sub(TYPE_AND_CLASS);
                let ((asked_name, asked_kind), (name, kind)) =
                    (asked.split_at(name), repeated.split_at(name));
                name.eq_ignore_ascii_case(asked_name) && kind == asked_kind
            }
            _ => true,
        }
    }

    async fn over_stream<S>(&self, stream: S, to: SocketAddr) -> Result<Vec<u8>, ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let cut = |short| match short {
            Short::Io(error) => failure::io(Phase::Request, to, error),
            Short::End { got } => ProbeError::new(
                Phase::Request,
                Reason::Closed,
                format!("{to} closed the connection after {got} bytes of an unfinished answer"),
            ),
        };
        let mut stream = Buffered::new(stream);
        stream.send(&self.0).await.map_err(|error| failure::io(Phase::Request, to, error))?;
        let length = match stream.exactly(PREFIX).await.map_err(cut)? {
            &[high, low] => usize::from(u16::from_be_bytes([high, low])),
            _ => 0,
        };
        let answer = stream.exactly(length).await.map_err(cut)?;
        if !has_same_id(self.message(), answer) {
            let sentence = format!("{to} answered with another id than the query has");
            return Err(ProbeError::new(Phase::Request, Reason::Protocol, sentence));
        }
        Ok(answer.to_vec())
    }
}

fn has_same_id(query: &[u8], answer: &[u8]) -> bool {
    query.first_chunk::<2>() == answer.first_chunk::<2>() && answer.len() >= 2
}

/// Rules on the records of one section.
#[derive(Debug)]
struct Checks {
    section: Section,
    fail_if_matches: Vec<Pattern>,
    /// Despite the option's name: fails unless all match.
    must_all_match: Vec<Pattern>,
    fail_if_not_matches: Vec<Pattern>,
    fail_if_none_matches: Vec<Pattern>,
}

/// Why records are not as they should be, or cannot be judged.
type Objection = (Reason, String);

impl Checks {
    fn compile(section: Section, checks: &written::RecordChecks) -> Self {
        Self {
            section,
            fail_if_matches: checks.fail_if_matches_regexp.clone(),
            must_all_match: checks.fail_if_all_match_regexp.clone(),
            fail_if_not_matches: checks.fail_if_not_matches_regexp.clone(),
            fail_if_none_matches: checks.fail_if_none_matches_regexp.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        [&self.fail_if_matches, &self.must_all_match, &self.fail_if_not_matches, &self.fail_if_none_matches]
            .iter()
            .all(|patterns| patterns.is_empty())
    }

    /// The order of the verdicts is the peer's, and so is that a pattern which is no regular
    /// expression matters only once a record reaches it.
    fn run(&self, records: &[Record<'_>], report: &mut Report) -> Result<(), Objection> {
        if self.is_empty() {
            return Ok(());
        }
        let section = self.section;
        let object = |why: String| Err((Reason::Record, why));
        if records.is_empty()
            && !(self.fail_if_not_matches.is_empty() && self.fail_if_none_matches.is_empty())
        {
            return object(format!("the {section} section has no record, and one must match"));
        }
        let mut unmatched = None;
        let mut any_matches = self.fail_if_none_matches.is_empty();
        for record in records {
            let text = record.text();
            report.log(Level::Debug, "Validating RR", || vec![("rr", text.clone())]);
            if let Some(pattern) = first(&self.fail_if_matches, &text, true)? {
                return object(format!("{section} record {text:?} matches {pattern:?}"));
            }
            if unmatched.is_none() {
                unmatched = first(&self.must_all_match, &text, false)?.map(|pattern| (text.clone(), pattern));
            }
            if let Some(pattern) = first(&self.fail_if_not_matches, &text, false)? {
                return object(format!("{section} record {text:?} does not match {pattern:?}"));
            }
            any_matches = any_matches || first(&self.fail_if_none_matches, &text, true)?.is_some();
        }
        if let Some((text, pattern)) = unmatched {
            return object(format!("{section} record {text:?} does not match {pattern:?}, as all must"));
        }
        if !any_matches {
            return object(format!("no {section} record matches any of fail_if_none_matches_regexp"));
        }
        Ok(())
    }
}

/// The first pattern that matches `text`, or the first that does not.
fn first<'p>(patterns: &'p [Pattern], text: &str, matches: bool) -> Result<Option<&'p str>, Objection> {
    for pattern in patterns {
        match pattern {
            Pattern::Valid(regex) if regex.is_match(text.as_bytes()) == matches => {
                return Ok(Some(regex.as_str()));
            }
            Pattern::Valid(_) => {}
            Pattern::Invalid(written) => {
                return Err((Reason::Config, format!("{written:?} is not a regular expression")));
            }
        }
    }
    Ok(None)
}

/// Largest answer over UDP in bytes, since the query does not offer more (RFC 1035 §4.2.1).
const MAX_DATAGRAM: usize = 512;
/// Bytes of a message's length in front of it on a stream.
const PREFIX: usize = 2;
/// Bytes before the question.
const HEADER: usize = 12;
/// Bytes at the end of the question.
const TYPE_AND_CLASS: usize = 4;
