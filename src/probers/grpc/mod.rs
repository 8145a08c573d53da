//! Probes a gRPC server: one call of the standard health check (`grpc.health.v1.Health/Check`).

mod call;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::BASE64_NOPAD;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Uri, Version};

use self::call::Failed;
use super::http::connection::Stream;
use super::http::url::Url;
use super::tls_handshake::{Handshake, Witness};
use super::{Prober, target, tls_client, tls_report};
use crate::config;
use crate::config::sections::grpc::Grpc as Section;
use crate::metrics::names;
use crate::net::grpc::health::{self, Serving};
use crate::net::grpc::status::Code;
use crate::net::grpc::{GRPC_TIMEOUT, text};
use crate::net::resolve::{self, Address, Preference};
use crate::net::tls::TlsClient;
use crate::net::{connect, failure};
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

/// A compiled `grpc` section.
#[derive(Debug)]
pub struct Grpc {
    preference: Preference,
    /// With TLS.
    client: Option<TlsClient>,
    /// `server_name` of the module, which is also the `:authority` then.
    server_name: Option<String>,
    /// Everything but the `grpc-timeout`.
    headers: HeaderMap,
    /// The request message, in its frame.
    message: Bytes,
}

const PATH: &str = "/grpc.health.v1.Health/Check";
/// What the server is granted beyond our deadline, so that it is ours that ends a call, and not the
/// server's, whose timer may fire a little earlier.
const GRACE: Duration = Duration::from_secs(1);

impl Prober for Grpc {
    fn compile(module: &config::Module) -> Result<Self, String> {
        let section = &module.grpc;
        let client = || tls_client::compile(&section.tls_config, vec![b"h2".to_vec()]);
        let server_name = &section.tls_config.server_name;
        Ok(Self {
            preference: preference(section),
            client: section.tls.then(client),
            server_name: (section.tls && !server_name.is_empty()).then(|| server_name.clone()),
            headers: headers(section)?,
            message: health::request(&section.service),
        })
    }

    async fn probe(&self, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        let endpoint = begin(run, report)?;
        if let Some(client) = &self.client {
            client.prepare().map_err(|error| failure::tls(Phase::Prepare, run.target, error))?;
        }
        let address = select(self.preference, &endpoint, run, report).await?;
        let request = self.request(&endpoint)?;
        let to = address.with_port(endpoint.port(self.client.is_some()));
        let started = Instant::now();
        let outcome = run.within(self.check(to, &endpoint, request, run, report)).await;
        report.end();
        let result = outcome.unwrap_or_else(|_| {
            Err(Failed { code: Code::DEADLINE_EXCEEDED, error: ProbeError::deadline(report.phase()) })
        });
        publish(report, started, &result);
        judge(run.target, result)
    }

    async fn decline(module: &config::Module, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        let section = &module.grpc;
        let endpoint = begin(run, report)?;
        // As in the peer, metadata is refused by the call, and all else before the name is looked up.
        if let Some(why) = section.impossible_metadata() {
            select(preference(section), &endpoint, run, report).await?;
            let error = ProbeError::new(Phase::Prepare, Reason::Config, why);
            publish(report, Instant::now(), &Err(Failed { code: Code::INTERNAL, error }));
        }
        Ok(())
    }

    fn accepts(&self, target: &str) -> bool {
        Endpoint::parse(target).is_ok_and(|endpoint| !endpoint.host.is_empty())
    }
}

impl Grpc {
    fn request(&self, endpoint: &Endpoint) -> Result<Request<()>, ProbeError> {
        let is_tls = self.client.is_some();
        let authority = match (&self.server_name, is_tls) {
            (Some(name), _) => bracketed(name),
            (None, true) => bracketed(&endpoint.host),
            (None, false) => format!("{}:{}", bracketed(&endpoint.host), endpoint.port(is_tls)),
        };
        let impossible = |_| {
            let sentence = format!("{authority:?} cannot be the authority of a request");
            ProbeError::new(Phase::Prepare, Reason::BadTarget, sentence)
        };
        let uri = Uri::builder()
            .scheme(if is_tls { "https" } else { "http" })
            .authority(Authority::try_from(authority.as_str()).map_err(impossible)?)
            .path_and_query(PATH)
            .build();
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri.map_err(|error| {
            ProbeError::new(Phase::Prepare, Reason::BadTarget, "the target makes no URI").caused_by(error)
        })?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }

    /// Connects and calls.
    async fn check(
        &self,
        to: SocketAddr,
        endpoint: &Endpoint,
        mut request: Request<()>,
        run: &Run<'_>,
        report: &mut Report,
    ) -> Result<Serving, Failed> {
        report.begin(Phase::Connect);
        let stream = connect::tcp(to, None).await;
        let stream =
            stream.map_err(|error| Failed::unavailable(ProbeError::io(Phase::Connect, to, error)))?;
        connect::report_round_trip(&stream, report);
        let stream = match &self.client {
            None => Stream::Plain(stream),
            Some(client) => {
                let witness = Witness::new(report, tls_report::Families::GRPC);
                let observer = witness.observer.clone();
                let (name, peer) = (endpoint.host.as_str(), &run.target);
                let handshake = Handshake { client, name, peer, observer: &observer };
                let again = async |report: &mut Report| {
                    report.begin(Phase::Connect);
                    let stream = connect::tcp(to, None).await;
                    stream.map(Stream::Plain).map_err(|error| ProbeError::io(Phase::Connect, to, error))
                };
                let (_, stream) = handshake.run(Stream::Plain(stream), witness.report, again).await;
                let protocol = observer.protocol();
                drop(witness);
                let stream = stream.map_err(Failed::unavailable)?;
                report.samples.set(names::PROBE_GRPC_SSL, true);
                if protocol.as_deref() != Some(b"h2") {
                    let sentence =
                        format!("{} did not agree on HTTP/2 in the TLS handshake (ALPN)", run.target);
                    let error = ProbeError::new(Phase::Tls, Reason::Protocol, sentence);
                    return Err(Failed::unavailable(error));
                }
                Stream::Tls(Box::new(stream))
            }
        };
        let now = report.begin(Phase::Request);
        let left = text::timeout(run.deadline.saturating_duration_since(now) + GRACE);
        if let Ok(left) = HeaderValue::try_from(left) {
            request.headers_mut().insert(GRPC_TIMEOUT, left);
        }
        call::unary(stream, request, self.message.clone(), run.target).await
    }
}

/// Where the target is.
#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    /// Without brackets, with the zone of an IPv6 address.
    host: String,
    /// As written.
    port: Option<u16>,
}

impl Endpoint {
    /// Reads `host`, `host:port`, an address with or without brackets, or an `http` or `https` URL, of
    /// which nothing but host and port counts.
    fn parse(target: &str) -> Result<Self, String> {
        let bare = ["http://", "https://"].iter().find_map(|scheme| target.strip_prefix(scheme));
        let bare = bare.unwrap_or(target);
        if Address::parse(bare).is_some() {
            return Ok(Self { host: bare.to_owned(), port: None });
        }
        let url = Url::parse_target(target)?;
        let port = url.written_port().map(|_| url.port);
        Ok(Self { host: url.host, port })
    }

    fn port(&self, is_tls: bool) -> u16 {
        self.port.unwrap_or(if is_tls { 443 } else { 80 })
    }
}

/// A host as it stands in an authority: IPv6 addresses in brackets, without the zone, which means
/// nothing to the server (RFC 6874 §3).
fn bracketed(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if !bare.contains(':') {
        return bare.to_owned();
    }
    format!("[{}]", bare.split_once('%').map_or(bare, |(address, _)| address))
}

fn preference(section: &Section) -> Preference {
    target::preference(&section.preferred_ip_protocol, section.ip_protocol_fallback)
}

/// The header of every request of a module.
fn headers(section: &Section) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(crate::USER_AGENT));
    for (key, values) in section.metadata_sent() {
        let name = HeaderName::try_from(key).map_err(|_| format!("{key:?} is not a metadata key"))?;
        for value in values {
            // Binary metadata travels as base64; what stands in the file are the bytes.
            let value = if key.ends_with("-bin") {
                HeaderValue::try_from(BASE64_NOPAD.encode(value.as_bytes()))
            } else {
                HeaderValue::try_from(value)
            };
            let value = value.map_err(|_| format!("metadata {key:?} has a value that cannot be sent"))?;
            headers.append(name.clone(), value);
        }
    }
    Ok(headers)
}

/// Writes the families that are always there, and reads the target.
fn begin(run: &Run<'_>, report: &mut Report) -> Result<Endpoint, ProbeError> {
    report.samples.set_one(names::PROBE_GRPC_DURATION_SECONDS, "phase", "resolve", 0.0);
    report.samples.set(names::PROBE_GRPC_SSL, false);
    report.samples.set(names::PROBE_GRPC_STATUS_CODE, 0.0);
    Endpoint::parse(run.target).map_err(|why| ProbeError::new(Phase::Prepare, Reason::BadTarget, why))
}

async fn select(
    preference: Preference,
    endpoint: &Endpoint,
    run: &Run<'_>,
    report: &mut Report,
) -> Result<Address, ProbeError> {
    let address = resolve::select(run, report, &endpoint.host, preference).await?;
    let took = report.total(Phase::Resolve);
    report.samples.set_one(names::PROBE_GRPC_DURATION_SECONDS, "phase", "resolve", took);
    Ok(address)
}

/// Writes what is only known after the call; `check` covers everything since the address was found.
fn publish(report: &mut Report, started: Instant, result: &Result<Serving, Failed>) {
    let samples = &mut report.samples;
    samples.set_one(names::PROBE_GRPC_DURATION_SECONDS, "phase", "check", started.elapsed());
    let serving = result.as_ref().ok().and_then(|serving| serving.name());
    for name in Serving::NAMES {
        let is_it = serving == Some(name);
        samples.set_one(names::PROBE_GRPC_HEALTHCHECK_RESPONSE, "serving_status", name, is_it);
    }
    let code = result.as_ref().err().map_or(Code::OK, |failed| failed.code);
    samples.set(names::PROBE_GRPC_STATUS_CODE, code.0);
}

fn judge(peer: &str, result: Result<Serving, Failed>) -> Result<(), ProbeError> {
    let serving = result.map_err(|failed| failed.error)?;
    if serving == Serving::SERVING {
        return Ok(());
    }
    let status = match serving.name() {
        Some(name) => name.to_owned(),
        None => format!("{}, which is not defined", serving.number()),
    };
    let sentence = format!("{peer} says that the service's status is {status}");
    Err(ProbeError::new(Phase::Check, Reason::Mismatch, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_a_host_and_perhaps_a_port() {
        let cases = [
            ("a.test", "a.test", None, "a.test:80"),
            ("a.test:50051", "a.test", Some(50051), "a.test:50051"),
            ("a.test:", "a.test", None, "a.test:80"),
            ("https://a.test/path?x=1#y", "a.test", None, "a.test:80"),
            ("https://a.test:9/path", "a.test", Some(9), "a.test:9"),
            ("user:password@a.test:9", "a.test", Some(9), "a.test:9"),
            ("127.0.0.1", "127.0.0.1", None, "127.0.0.1:80"),
            ("[::1]", "::1", None, "[::1]:80"),
            ("[::1]:9", "::1", Some(9), "[::1]:9"),
            ("::1", "::1", None, "[::1]:80"),
            ("http://::1", "::1", None, "[::1]:80"),
            ("[fe80::1%25lo]:9", "fe80::1%lo", Some(9), "[fe80::1]:9"),
            ("fe80::1%1", "fe80::1%1", None, "[fe80::1]:80"),
        ];
        for (target, host, port, authority) in cases {
            let endpoint = Endpoint::parse(target).unwrap();
            assert_eq!(endpoint, Endpoint { host: host.to_owned(), port }, "{target}");
            let got = format!("{}:{}", bracketed(&endpoint.host), endpoint.port(false));
            assert_eq!(got, authority, "{target}");
        }
        for target in
            ["127.0.0.1%3A50051", "127.0.0.1:http", "a.test:70000", "a%20b:1", "a.test/%zz", "[::1", "a b"]
        {
            assert!(Endpoint::parse(target).is_err(), "{target}");
        }
    }
}
