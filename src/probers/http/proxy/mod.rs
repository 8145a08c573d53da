//! Which proxy a connection goes through, and how it is asked.
//!
//! Everything but the names of the targets is settled when the configuration is loaded.

mod bypass;
mod connect;
mod socks;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::HeaderValue;

use self::bypass::Bypass;
use super::connection::Stream;
use super::dial;
use super::url::{Scheme, Url};
use crate::config::Secret;
use crate::config::proxy_url::{Credentials, ProxyUrl};
use crate::config::sections::proxy::Proxy as Section;
use crate::config::sections::tls::TlsConfig;
use crate::net::failure;
use crate::net::tls::{TlsClient, TlsFacts};
use crate::probers::tls_client;
use crate::runner::{Phase, ProbeError, Reason, Run};

/// The proxies of a module, or of its token requests.
#[derive(Debug)]
pub struct Proxies {
    http: Option<Arc<Proxy>>,
    https: Option<Arc<Proxy>>,
    /// `None`: the proxy is for everything, loopback included.
    bypass: Option<Bypass>,
}

/// One proxy.
pub struct Proxy {
    kind: Kind,
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

enum Kind {
    Http {
        /// For `https`: TLS to the proxy, and the name to verify if the target has no TLS of its own.
        tls: Option<Box<(TlsClient, Option<String>)>>,
        /// `Proxy-Authorization` made of the URL's user and password.
        login: Option<HeaderValue>,
        /// Header lines of CONNECT requests, each with its line end.
        connect_lines: Secret,
    },
    Socks {
        login: Option<Credentials>,
    },
}

impl Proxies {
    /// The proxies a section describes; `None` without any. `environment` looks a variable up.
    ///
    /// # Errors
    /// A proxy that no connection can be made through. The sentence repeats no URL, for the password in it.
    pub fn compile(
        section: &Section,
        tls_config: &TlsConfig,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let prepare = |url: &ProxyUrl, source: &str| {
            if url.is_usable() {
                Proxy::new(url, section, tls_config).map(Arc::new).map_err(|why| format!("{source}: {why}"))
            } else {
                Err(format!(
                    "{source} must have a host and one of the schemes http, https, socks5 and socks5h"
                ))
            }
        };
        if section.proxy_from_environment {
            let variable = |name: &str| {
                let set = |name: &str| environment(name).filter(|value| !value.is_empty());
                set(name).or_else(|| set(&name.to_ascii_lowercase()))
            };
            let proxy = |name: &str| {
                let url = variable(name).map(|text| ProxyUrl::parse_host(&text));
                let url = url.transpose().map_err(|fault| format!("{name} has {fault}"))?;
                url.map(|url| prepare(&url, name)).transpose()
            };
            let (http, https) = (proxy("HTTP_PROXY")?, proxy("HTTPS_PROXY")?);
            let bypass = Bypass::parse(&variable("NO_PROXY").unwrap_or_default());
            return Ok(Some(Self { http, https, bypass: Some(bypass) }));
        }
        let Some(url) = section.url() else { return Ok(None) };
        let has_exceptions = !section.no_proxy.is_empty();
        let url = if has_exceptions { url.or_host() } else { url };
        let proxy = prepare(url, "proxy_url")?;
        Ok(Some(Self {
            http: Some(Arc::clone(&proxy)),
            https: Some(proxy),
            bypass: has_exceptions.then(|| Bypass::parse(&section.no_proxy)),
        }))
    }

    /// The proxy on the way to `url`, whose host may have an address `selected` already.
    pub fn choose(&self, url: &Url, selected: Option<IpAddr>) -> Option<&Proxy> {
        let proxy = match url.scheme {
            Scheme::Http => self.http.as_deref(),
            Scheme::Https => self.https.as_deref(),
        }?;
        let is_exempt = |bypass: &Bypass| bypass.covers(&url.host, selected, url.port);
        (!self.bypass.as_ref().is_some_and(is_exempt)).then_some(proxy)
    }
}

impl Proxy {
    fn new(url: &ProxyUrl, section: &Section, tls_config: &TlsConfig) -> Result<Self, String> {
        let kind = if url.scheme().starts_with("socks") {
            let login = url.credentials().cloned();
            if let Some(login) = &login {
                socks::check(login)?;
            }
            Kind::Socks { login }
        } else {
            let login = url.credentials().map(login).transpose()?;
            Kind::Http {
                tls: (url.scheme() == "https").then(|| {
                    let mut settings = tls_config.clone();
                    let name = std::mem::take(&mut settings.server_name);
                    // Only HTTP/1.1 is spoken with a proxy, so nothing else is offered.
                    let client = tls_client::compile(&settings, Vec::new());
                    Box::new((client, Some(name).filter(|name| !name.is_empty())))
                }),
                connect_lines: connect::lines(&section.proxy_connect_header, login.as_ref()),
                login,
            }
        };
        Ok(Self { kind, host: url.host().to_owned(), port: url.port() })
    }

    /// Whether requests to `scheme` are handed to the proxy with the whole URL, rather than sent to the
    /// target through it; then with which `Proxy-Authorization`.
    pub fn takes_requests(&self, scheme: Scheme) -> Option<Option<&HeaderValue>> {
        match &self.kind {
            Kind::Http { login, .. } if scheme == Scheme::Http => Some(login.as_ref()),
            _ => None,
        }
    }

    /// Makes a connection to this proxy carry a request to `host`:`port`: TLS to the proxy, then a tunnel
    /// where one is needed. Also gives what the proxy's TLS showed.
    ///
    /// # Errors
    /// In phase `proxy`, or in `connect` if the proxy says that the target cannot be reached.
    pub async fn enter(
        &self,
        run: &Run<'_>,
        mut stream: Stream,
        scheme: Scheme,
        (host, port): (&str, u16),
    ) -> Result<(Stream, Option<TlsFacts>), ProbeError> {
        let mut facts = None;
        match &self.kind {
            Kind::Socks { login } => socks::connect(&mut stream, self, login.as_ref(), host, port).await?,
            Kind::Http { tls, connect_lines, .. } => {
                if let Some((client, name)) = tls.as_deref() {
                    let name = name.as_deref().filter(|_| scheme == Scheme::Http).unwrap_or(&self.host);
                    let handshake = dial::limit_handshake(run, client.handshake(stream, name));
                    let (result, seen) = handshake.await.map_err(|error| self.blame(error))?;
                    let secured = result.map_err(|error| failure::tls(Phase::Proxy, self, error))?;
                    stream = Stream::Tls(Box::new(secured));
                    facts = Some(seen);
                }
                if scheme == Scheme::Https {
                    connect::connect(&mut stream, self, connect_lines, host, port).await?;
                }
            }
        }
        Ok((stream, facts))
    }

    /// An error on the way to the proxy, as one of phase `proxy`.
    pub fn blame(&self, error: ProbeError) -> ProbeError {
        ProbeError::new(Phase::Proxy, error.reason, format!("cannot connect to {self}")).caused_by(error)
    }

    fn fail(&self, reason: Reason, what: impl fmt::Display) -> ProbeError {
        ProbeError::new(Phase::Proxy, reason, format!("{self} {what}"))
    }

    fn closed(&self) -> ProbeError {
        self.fail(Reason::Closed, "closed the connection without a complete answer")
    }
}

/// Without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match &self.kind {
            Kind::Http { tls: None, .. } => "http",
            Kind::Http { tls: Some(_), .. } => "https",
            Kind::Socks { .. } => "socks5",
        };
        write!(f, "the proxy {scheme}://{}", authority(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn login(credentials: &Credentials) -> Result<HeaderValue, String> {
    let password = credentials.password.as_ref().map_or("", Secret::expose);
    let encoded = data_encoding::BASE64.encode(format!("{}:{password}", credentials.username).as_bytes());
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}"))
        .map_err(|_| "its user and password cannot be sent".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// `host:port`, with brackets around IPv6.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(section: &Section, environment: &[(&str, &str)]) -> Result<Option<Proxies>, String> {
        let look_up = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Proxies::compile(section, &TlsConfig::default(), look_up)
    }

    fn chosen(proxies: &Proxies, target: &str) -> Option<String> {
        let url = Url::parse_target(target).unwrap();
        proxies.choose(&url, None).map(|proxy| proxy.to_string().replace("the proxy ", ""))
    }

    #[test]
    fn the_environment_names_a_proxy_for_each_scheme() {
        let section = Section { proxy_from_environment: true, ..Section::default() };
        let both = [("HTTP_PROXY", "http://h:1"), ("HTTPS_PROXY", "socks5://s")];
        type Case<'t> = (&'t [(&'t str, &'t str)], &'t str, Option<&'t str>);
        let cases: [Case<'_>; 12] = [
            (&[], "http://a.test", None),
            (&both, "http://a.test", Some("http://h:1")),
            (&both, "https://a.test", Some("socks5://s:1080")),
            (&both, "http://localhost", None),
            (&both, "https://127.0.0.1", None),
            (&[("http_proxy", "h:1")], "http://a.test", Some("http://h:1")),
            (&[("http_proxy", "127.0.0.1:1")], "http://a.test", Some("http://127.0.0.1:1")),
            (&[("HTTP_PROXY", ""), ("http_proxy", "https://l")], "http://a.test", Some("https://l:443")),
            (&[("HTTP_PROXY", "http://u"), ("http_proxy", "l")], "http://a.test", Some("http://u:80")),
            (&[("HTTP_PROXY", "h"), ("NO_PROXY", "a.test")], "http://b.a.test", None),
            (&[("HTTP_PROXY", "h"), ("no_proxy", "a.test")], "http://b.test", Some("http://h:80")),
            (&[("HTTP_PROXY", "http://[::1]:3128")], "http://a.test", Some("http://[::1]:3128")),
        ];
        for (environment, target, want) in cases {
            let proxies = compile(&section, environment).unwrap().unwrap();
            assert_eq!(chosen(&proxies, target).as_deref(), want, "{environment:?} {target}");
        }
    }

    #[test]
    fn an_unusable_proxy_is_named_without_its_password() {
        let section = Section { proxy_from_environment: true, ..Section::default() };
        let long = format!("socks5://{}:p@h", "u".repeat(256));
        let cases = [
            ("HTTP_PROXY", "http://u:hunter2@", "HTTP_PROXY must have a host and one of the schemes"),
            ("HTTPS_PROXY", "http://u:hunter2@h:x", "HTTPS_PROXY has an invalid port"),
            ("HTTP_PROXY", &long, "HTTP_PROXY: user and password of SOCKS have 1 to 255 bytes each"),
        ];
        for (name, value, want) in cases {
            let error = compile(&section, &[(name, value)]).unwrap_err();
            assert!(error.starts_with(want), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn exceptions_and_their_side_effects() {
        let section = |url: &str, no_proxy: &str| Section {
            proxy_url: Some(ProxyUrl::parse(url).unwrap()),
            no_proxy: no_proxy.to_owned(),
            ..Section::default()
        };
        let cases = [
            ("http://h", "", "http://127.0.0.1", Some("http://h:80")),
            ("http://h", "", "https://localhost", Some("http://h:80")),
            // Any no_proxy exempts loopback.
            ("http://h", "x.test", "http://127.0.0.1", None),
            ("http://h", "x.test", "http://a.test", Some("http://h:80")),
            // And lets an address without a scheme be one, as in the peer.
            ("h:3128", "x.test", "http://a.test", Some("http://h:3128")),
            ("socks5h://h", "", "http://a.test", Some("socks5://h:1080")),
        ];
        for (url, no_proxy, target, want) in cases {
            let proxies = compile(&section(url, no_proxy), &[]).unwrap().unwrap();
            assert_eq!(chosen(&proxies, target).as_deref(), want, "{url} {no_proxy} {target}");
        }
        assert!(compile(&section("h:3128", ""), &[]).is_err());
        assert!(compile(&section("", ""), &[]).unwrap().is_none());
        let debug = format!("{:?}", compile(&section("http://u:hunter2@h", ""), &[]));
        assert!(debug.contains("http://h:80") && !debug.contains("hunter2"), "{debug}");
    }
}
