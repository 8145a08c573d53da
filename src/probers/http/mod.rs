//! Probes an HTTP server: one request, its redirects, and the checks on the final response.
//!
//! The order of things is the peer's: resolve, send, follow redirects; then status, headers, body, CEL,
//! version and TLS checks on the final response. [`Progress`] holds what is known so far and is turned
//! into samples even when the deadline cuts the exchange short.

mod body;
mod checks;
pub(super) mod compile;
pub(super) mod connection;
mod cookies;
mod dial;
mod http3;
mod judge;
mod oauth2;
mod phases;
mod progress;
mod proxy;
mod redirect;
pub(super) mod request;
mod route;
mod upload;
pub(super) mod url;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::Method;
use hyper::header;

use self::body::Compression;
use self::checks::HeaderCheck;
use self::connection::{Response, Stream};
use self::cookies::{Jar, Site};
use self::oauth2::TokenSource;
use self::progress::Progress;
use self::proxy::Proxies;
use self::redirect::{MAX_REDIRECTS, Rule};
use self::request::{Outgoing, Template};
use self::route::{Plan, Route};
use self::url::{Location, Redirect, Scheme, Url};
use super::tls_handshake::Handshake;
use super::{Prober, target, tls_report};
use crate::config::{self, CelProgram};
use crate::logging::Level;
use crate::metrics::names;
use crate::net::connect;
use crate::net::resolve::{self, Address, Preference};
use crate::net::tls::{Observer, TlsClient, TlsStream};
use crate::regex::GoRegex;
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

/// A module of `prober: http`, ready to run.
#[derive(Debug)]
pub struct Http {
    preference: Preference,
    follow_redirects: bool,
    template: Template,
    proxies: Option<Proxies>,
    /// `skip_resolve_phase_with_proxy`: the proxy is given names.
    leaves_names: bool,
    tokens: Option<TokenSource>,
    /// `server_name` of the module, for the first host only.
    server_name: Option<String>,
    tls: TlsClient,
    /// Every hop is made over HTTP/3.
    http3: bool,
    /// Or what is written instead of one; then the body is read as it comes, and the probe fails.
    compression: Result<Compression, String>,
    body_limit: Option<u64>,
    valid_status: Vec<i64>,
    valid_versions: Vec<String>,
    header_matches: Vec<HeaderCheck>,
    header_not_matches: Vec<HeaderCheck>,
    body_matches: Vec<GoRegex>,
    body_not_matches: Vec<GoRegex>,
    cel_matches: Option<CelProgram>,
    cel_not_matches: Option<CelProgram>,
    fail_if_ssl: bool,
    fail_if_not_ssl: bool,
}

impl Prober for Http {
    fn compile(module: &config::Module) -> Result<Self, String> {
        compile::compile(module)
    }

    async fn probe(&self, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        let mut progress = Progress::default();
        let outcome = run.within(self.exchange(run, report, &mut progress)).await;
        let result = outcome.unwrap_or_else(|_| Err(ProbeError::deadline(report.phase())));
        // A check that failed before the deadline is the reason, not the deadline.
        let result = match progress.failure.take() {
            Some(first) => Err(first),
            None => result,
        };
        let has_cel = self.cel_matches.is_some() || self.cel_not_matches.is_some();
        progress.write(has_cel, report);
        result
    }

    async fn decline(module: &config::Module, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        let section = &module.http;
        let has_cel = section.fail_if_body_json_matches_cel.is_some()
            || section.fail_if_body_json_not_matches_cel.is_some();
        Progress::default().write(has_cel, report);
        let preference = target::preference(&section.preferred_ip_protocol, section.ip_protocol_fallback);
        begin((!compile::leaves_names(section)).then_some(preference), run, report).await?;
        if Method::from_bytes(section.method().as_bytes()).is_ok() && section.has_impossible_header() {
            // The peer finds out only when it sends.
            announce_phases(report);
        }
        Ok(())
    }

    fn hostname_conflict(&self, hostname: &str) -> Option<String> {
        let host = self.template.host.as_deref()?;
        (host != hostname).then(|| {
            format!("the module sets the header Host to {host:?}, which conflicts with hostname={hostname:?}")
        })
    }

    fn accepts(&self, target: &str) -> bool {
        Url::parse_target(target).is_ok_and(|url| !url.host.is_empty())
    }
}

/// Parses the target and selects its address; without a preference, that is left to a proxy.
async fn begin(
    preference: Option<Preference>,
    run: &Run<'_>,
    report: &mut Report,
) -> Result<(Url, Option<Address>), ProbeError> {
    let url = Url::parse_target(run.target)
        .map_err(|why| ProbeError::new(Phase::Prepare, Reason::BadTarget, why))?;
    let Some(preference) = preference else { return Ok((url, None)) };
    let address = resolve::select(run, report, &url.host, preference).await;
    let lookup = report.total(Phase::Resolve);
    report.samples.set_one(names::PROBE_HTTP_DURATION_SECONDS, "phase", "resolve", lookup);
    Ok((url, Some(address?)))
}

/// The phases that are there from when the request could be sent.
fn announce_phases(report: &mut Report) {
    for phase in ["connect", "tls", "processing", "transfer"] {
        report.samples.set_one(names::PROBE_HTTP_DURATION_SECONDS, "phase", phase, 0.0);
    }
}

/// The hop that is about to be made.
struct Next<'m> {
    url: Url,
    route: Route<'m>,
    host: String,
    server_name: String,
    referer: Option<String>,
}

impl Next<'_> {
    /// Whose cookies these are: those of the `Host` that is asked, as in the peer.
    fn site(&self) -> Site<'_> {
        Site {
            host: without_port(&self.host),
            path: &self.url.path,
            is_secure: self.url.scheme == Scheme::Https,
        }
    }

    /// Status 407 of the proxy itself.
    fn refused_by_proxy(&self, status: u16) -> Option<ProbeError> {
        let via = self.route.via.as_ref()?;
        let is_its_own = status == 407 && via.proxy.takes_requests(self.url.scheme).is_some();
        is_its_own.then(|| {
            let why = format!("{} did not accept the credentials: status 407", via.proxy);
            ProbeError::new(Phase::Proxy, Reason::ProxyAuth, why)
        })
    }
}

impl Http {
    async fn exchange<'a>(
        &self,
        run: &Run<'a>,
        report: &mut Report,
        progress: &mut Progress<'a>,
    ) -> Result<(), ProbeError> {
        let preference = (!self.leaves_names).then_some(self.preference);
        let (mut url, address) = begin(preference, run, report).await?;
        let is_written = |scheme: &str| {
            let start = run.target.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        if self.http3 && url.upgrade() && is_written("http://") {
            report.log(Level::Warn, "HTTP/3 needs https, the target's http:// is read as https://", Vec::new);
        }
        self.tls.prepare().map_err(|error| tls_report::error(Phase::Prepare, &url.host, error))?;
        let mut outgoing = self.template.start().await?;
        announce_phases(report);
        progress.requested = true;
        self.template.complete(&mut outgoing, &url).await?;
        if let Some(tokens) = &self.tokens {
            // In a box, lest every probe's future has room for it.
            outgoing.authorize(Box::pin(tokens.authorization(run, report)).await?);
        }
        let mut next = self.first(run, report, &url, address).await?;
        let mut jar = Jar::default();
        loop {
            progress.hops.push(phases::Hop::default());
            let response = self.send(run, report, progress, &next, &outgoing, &jar).await?;
            let Some(to) = self.redirect(report, progress, &response, &next, &url, &mut outgoing)? else {
                return self.judge(run, report, progress, response, &next).await;
            };
            for cookie in response.head.headers.get_all(header::SET_COOKIE) {
                jar.store(&next.site(), &String::from_utf8_lossy(cookie.as_bytes()), SystemTime::now());
            }
            next = self.follow(run, report, progress, to, next, (&url, address)).await?;
        }
    }

    /// `Host` of the first request, if the request for the probe or the module names one.
    fn configured_host<'a>(&'a self, run: &Run<'a>) -> Option<&'a str> {
        run.hostname.or(self.template.host.as_deref())
    }

    /// The TLS name of the first host.
    fn first_server_name<'a>(&'a self, run: &Run<'a>, url: &'a Url) -> &'a str {
        let named = self.configured_host(run).map(without_port).unwrap_or(&url.host);
        self.server_name.as_deref().unwrap_or(named)
    }

    async fn first(
        &self,
        run: &Run<'_>,
        report: &mut Report,
        url: &Url,
        address: Option<Address>,
    ) -> Result<Next<'_>, ProbeError> {
        let (route, _) = self.route(run, report, url, address, false).await;
        let route = route?;
        Ok(Next {
            host: self.configured_host(run).unwrap_or(&url.authority).to_owned(),
            server_name: self.first_server_name(run, url).to_owned(),
            route,
            referer: None,
            url: url.clone(),
        })
    }

    /// The way to `url`, and how long a lookup for it took; see [`Plan::new`].
    async fn route(
        &self,
        run: &Run<'_>,
        report: &mut Report,
        url: &Url,
        selected: Option<Address>,
        by_name: bool,
    ) -> (Result<Route<'_>, ProbeError>, Duration) {
        let plan = match Plan::new(self.proxies.as_ref(), url, selected, by_name) {
            Ok(plan) => plan,
            Err(error) => return (Err(error), Duration::ZERO),
        };
        let Some(phase) = plan.lookup() else {
            return (plan.route(run, self.preference).await, Duration::ZERO);
        };
        report.begin(phase);
        let route = plan.route(run, self.preference).await;
        (route, report.end())
    }

    /// Opens the connection, sends the request, waits for the response's headers.
    async fn send<'a>(
        &self,
        run: &Run<'a>,
        report: &mut Report,
        progress: &mut Progress<'a>,
        next: &Next<'_>,
        outgoing: &Outgoing,
        jar: &Jar,
    ) -> Result<Response, ProbeError> {
        progress.facts = None;
        progress.observer = None;
        progress.arrival = Arc::default();
        let via = next.route.via.as_ref();
        report.log(Level::Debug, "Making HTTP request", || {
            let address = next.route.addresses.first().map(SocketAddr::to_string).unwrap_or_default();
            let mut fields = vec![
                ("url", next.url.with_host(&next.url.host)),
                ("host", next.host.clone()),
                ("address", address),
            ];
            fields.extend(via.map(|via| ("via", via.proxy.to_string())));
            fields
        });
        if self.http3 {
            // Apart, so that probes over TCP need not make room for it.
            return Box::pin(self.send_http3(report, progress, next, outgoing, jar)).await;
        }
        let started = report.begin(if via.is_some() { Phase::Proxy } else { Phase::Connect });
        let opened = dial::open(run, &next.route, next.url.scheme).await?;
        progress.open.push(opened.open);
        // As in the peer: the tunnel of https is in no phase, what a proxy of http needs is in this one.
        let connected = match next.url.scheme {
            Scheme::Http if via.is_some() => Instant::now(),
            _ => opened.connected,
        };
        report.end();
        if let (None, Stream::Plain(tcp)) = (via, &opened.stream) {
            connect::report_round_trip(tcp, report);
        }
        progress.hop().connect = Some((started, connected));
        let mut http2 = false;
        let stream = match next.url.scheme {
            Scheme::Http => {
                progress.facts = opened.proxy_facts;
                opened.stream
            }
            Scheme::Https => {
                let stream = self.encrypt(run, report, progress, next, opened.stream).await?;
                http2 = progress.facts.as_ref().is_some_and(|facts| facts.alpn.as_deref() == Some(b"h2"));
                Stream::Tls(Box::new(stream))
            }
        };
        let hop = request::Hop {
            url: &next.url,
            host: &next.host,
            cookies: jar.header(&next.site()),
            referer: next.referer.as_deref(),
            http2,
            for_proxy: via.and_then(|via| via.proxy.takes_requests(next.url.scheme)),
        };
        let request = outgoing.build(&hop, &self.template.removed)?;
        progress.hop().ready = Some(report.begin(Phase::Processing));
        let response = if http2 {
            connection::http2(stream, request, &next.host).await?
        } else {
            connection::http1(stream, request, &next.host, Arc::clone(&progress.arrival)).await?
        };
        report.end_at(response.first_byte);
        progress.hop().first_byte = Some(response.first_byte);
        Ok(response)
    }

    /// Makes the TLS handshake of a hop.
    async fn encrypt<'a>(
        &self,
        run: &Run<'a>,
        report: &mut Report,
        progress: &mut Progress<'a>,
        next: &Next<'_>,
        stream: Stream,
    ) -> Result<TlsStream<Stream>, ProbeError> {
        let observer = progress.observer.insert(Observer::default()).clone();
        let (client, name) = (&self.tls, next.server_name.as_str());
        let handshake = Handshake { client, name, peer: &next.host, observer: &observer };
        let open = &mut progress.open;
        let again = async |report: &mut Report| {
            report.begin(Phase::Connect);
            let opened = dial::open(run, &next.route, next.url.scheme).await?;
            open.push(opened.open);
            Ok(opened.stream)
        };
        let (began, result) = dial::limit_handshake(run, handshake.run(stream, report, again)).await?;
        let done = Instant::now();
        report.end_at(done);
        progress.hop().tls = Some((began, done));
        progress.facts = Some(observer.take());
        result
    }

    /// Where the response leads, if it is a redirect that is followed.
    fn redirect(
        &self,
        report: &mut Report,
        progress: &mut Progress<'_>,
        response: &Response,
        here: &Next<'_>,
        first: &Url,
        outgoing: &mut Outgoing,
    ) -> Result<Option<Redirect>, ProbeError> {
        let Some((rule, location)) = redirect::of(response.head.status, &response.head.headers) else {
            return Ok(None);
        };
        if rule == Rule::Repeat && !self.template.can_resend() {
            return Ok(None);
        }
        let location = String::from_utf8_lossy(location).into_owned();
        let refuse = |why| ProbeError::new(Phase::Processing, Reason::Redirect, why);
        let leads_to = here.url.join(&location).map_err(refuse)?;
        progress.redirects += 1;
        if !self.follow_redirects || progress.redirects > MAX_REDIRECTS {
            report.log(Level::Info, "Received redirect, not followed", || vec![("location", location)]);
            return Ok(None);
        }
        let to = match leads_to {
            Location::Http(to) => to,
            Location::Other { scheme } => {
                let why = format!("cannot follow a redirect to the scheme {scheme:?}");
                return Err(refuse(why));
            }
        };
        let (Redirect::Relative(url) | Redirect::Absolute(url)) = &to;
        self.check_scheme(url.scheme)?;
        report.log(Level::Info, "Received redirect", || vec![("location", location)]);
        if rule == Rule::Get {
            outgoing.become_get();
        }
        if !redirect::keeps_credentials(&first.host, &url.host) {
            outgoing.drop_credentials();
        }
        Ok(Some(to))
    }

    /// Prepares the hop that a redirect leads to.
    async fn follow<'a, 'm>(
        &'m self,
        run: &Run<'a>,
        report: &mut Report,
        progress: &mut Progress<'a>,
        to: Redirect,
        before: Next<'m>,
        (first, address): (&Url, Option<Address>),
    ) -> Result<Next<'m>, ProbeError> {
        let went_plain = before.url.scheme == Scheme::Https;
        let referer = |next: &Url| {
            let host = match address {
                Some(address) if before.url.authority == first.authority => {
                    Cow::Owned(address.ip.to_string())
                }
                _ => Cow::Borrowed(&*before.url.host),
            };
            (!went_plain || next.scheme == Scheme::Https).then(|| before.url.with_host(&host))
        };
        match to {
            Redirect::Relative(url) => Ok(Next { referer: referer(&url), url, ..before }),
            Redirect::Absolute(url) => {
                let is_home = url.host.eq_ignore_ascii_case(&first.host);
                let known = address.filter(|_| is_home);
                let (route, resolve) = self.route(run, report, &url, known, true).await;
                // On a hop of its own, since it counts even when it fails.
                progress.hops.push(phases::Hop { resolve, ..phases::Hop::default() });
                let route = route?;
                let same_place = is_home && url.port == first.port;
                let server_name =
                    if same_place { self.first_server_name(run, first).to_owned() } else { url.host.clone() };
                Ok(Next { referer: referer(&url), host: url.authority.clone(), server_name, route, url })
            }
        }
    }
}

/// Redirect targets and names are compared and verified without their port.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => match host.rsplit_once(':') {
            Some((name, _)) if !name.contains(':') => name,
            _ => host,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_host_header_is_no_part_of_the_name() {
        let cases = [("a.test:443", "a.test"), ("a.test", "a.test"), ("[::1]:443", "::1"), ("::1", "::1")];
        for (host, want) in cases {
            assert_eq!(without_port(host), want);
        }
    }
}
