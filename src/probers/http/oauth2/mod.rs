//! Access tokens (RFC 6749 §4.4 and RFC 7523): fetched when there is none, kept until they expire.
//!
//! A token belongs to a module and its secret: another secret, a changed configuration or a target that
//! refuses it with status 401 drop it. The fetch is part of the probe and ends at its deadline.

mod answer;
mod assertion;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};

use self::answer::Token;
use self::assertion::{Assertion, Signer};
use super::connection::{self, Request, Stream};
use super::proxy::Proxies;
use super::redirect::{self, MAX_REDIRECTS, Rule};
use super::request::{self, Value};
use super::route::Plan;
use super::url::{Location, Redirect, Scheme, Url};
use super::{body, dial};
use crate::config::Secret;
use crate::config::sections::oauth2::OAuth2;
use crate::logging::Level;
use crate::net::failure;
use crate::net::resolve::{Family, Preference};
use crate::net::tls::TlsClient;
use crate::probers::tls_client;
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

/// Where a module's tokens come from, and the one it has.
#[derive(Debug)]
pub struct TokenSource {
    url: Url,
    grant: Grant,
    /// The client's secret or its private key.
    secret: Value,
    /// What does not change from one fetch to the next.
    parameters: BTreeMap<String, String>,
    agent: HeaderValue,
    tls: TlsClient,
    proxies: Option<Proxies>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
enum Grant {
    /// With the name of the client.
    ClientCredentials(String),
    /// The signer of an inline key is made once.
    JwtBearer(Assertion, Option<Signer>),
}

/// What later probes can use again.
#[derive(Debug, Default)]
struct Kept {
    token: Option<(Secret, Token)>,
    style: Option<Style>,
}

/// Where the client's credentials are put (RFC 6749 §2.3.1). Servers accept one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Header,
    Form,
}

/// Bytes of an answer, before and after decompression.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// A token is not used any more so long before it expires, as in Go.
const MARGIN: Duration = Duration::from_secs(10);
/// Of addresses nobody chose a family for.
const PREFERENCE: Preference = Preference { family: Family::V6, fallback: true };

/// An answer that is no token, or no answer at all.
enum Failed {
    /// The server answered; other credentials may do.
    Answer(ProbeError),
    /// There was no answer.
    Exchange(ProbeError),
}

impl TokenSource {
    /// The source a section describes; `agent` is the `User-Agent` of the probe.
    ///
    /// # Errors
    /// A sentence that says why no token can be had this way.
    pub fn compile(section: &OAuth2, proxies: Option<Proxies>, agent: HeaderValue) -> Result<Self, String> {
        let text = section.token_url.as_str();
        let is_complete = ["http://", "https://"]
            .iter()
            .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
        let url = Url::parse_target(text).ok().filter(|url| is_complete && !url.host.is_empty());
        let url = url.ok_or("token_url must be a URL such as https://host/token")?;

        let mut parameters = BTreeMap::new();
        if !section.scopes.is_empty() {
            parameters.insert("scope".to_owned(), section.scopes.join(" "));
        }
        let (grant, grant_type, secret) = if section.is_jwt_bearer() {
            let (key, file) = (&section.client_certificate_key, &section.client_certificate_key_file);
            if key.is_empty() && file.is_empty() {
                return Err(
                    "a signed token needs client_certificate_key or client_certificate_key_file".to_owned()
                );
            }
            let assertion = Assertion::compile(section);
            let signer = (!key.is_empty()).then(|| Signer::new(key.expose())).transpose();
            let signer = signer.map_err(|why| format!("client_certificate_key {why}"))?;
            (Grant::JwtBearer(assertion, signer), assertion::GRANT_TYPE, value(key, file))
        } else {
            let grant = Grant::ClientCredentials(section.client_id.clone());
            (grant, "client_credentials", value(&section.client_secret, &section.client_secret_file))
        };
        for (name, value) in section.endpoint_params.iter() {
            let is_ours = parameters.contains_key(name)
                || (name == "assertion" && matches!(grant, Grant::JwtBearer(..)));
            if is_ours {
                return Err(format!("endpoint_params may not set {name:?}"));
            }
            parameters.insert(name.to_owned(), value.clone());
        }
        // Some servers want another grant type, so a configured one wins.
        parameters.entry("grant_type".to_owned()).or_insert_with(|| grant_type.to_owned());
        Ok(Self {
            url,
            grant,
            secret,
            parameters,
            agent,
            tls: tls_client::compile(&section.tls_config, Vec::new()),
            proxies,
            kept: Mutex::default(),
        })
    }

    /// The `Authorization` to send to the target: of the token at hand, or of a new one.
    ///
    /// # Errors
    /// The secret cannot be read, the server cannot be reached, or its answer holds no token.
    pub async fn authorization(&self, run: &Run<'_>, report: &mut Report) -> Result<HeaderValue, ProbeError> {
        let secret = Secret::from(self.secret.read().await?.as_str());
        let style = {
            let mut kept = self.kept();
            match &kept.token {
                Some((with, token)) if *with == secret && token.is_good(Instant::now() + MARGIN) => {
                    return Ok(token.authorization.clone());
                }
                _ => kept.token = None,
            }
            kept.style
        };
        report.begin(Phase::Token);
        report.log(Level::Debug, "Fetching OAuth 2.0 token", || vec![("url", self.url.with_path("/"))]);
        let result = match &self.grant {
            Grant::ClientCredentials(id) => self.with_credentials(run, id, &secret, style).await,
            Grant::JwtBearer(assertion, signer) => {
                self.with_assertion(run, assertion, signer.as_ref(), &secret).await.map(|token| (token, None))
            }
        };
        report.end();
        let (token, style) = result.inspect_err(|_| self.kept().style = None)?;
        let authorization = token.authorization.clone();
        *self.kept() = Kept { token: Some((secret, token)), style };
        Ok(authorization)
    }

    /// Forgets the token, because the target did not accept it.
    pub fn forget(&self) {
        self.kept().token = None;
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries the header first and then the form, unless it is known what the server wants.
    async fn with_credentials(
        &self,
        run: &Run<'_>,
        id: &str,
        secret: &Secret,
        style: Option<Style>,
    ) -> Result<(Token, Option<Style>), ProbeError> {
        let first = style.unwrap_or(Style::Header);
        match self.ask_as(run, id, secret, first).await {
            Ok(token) => return Ok((token, Some(first))),
            Err(Failed::Answer(_)) if style.is_none() => {}
            Err(Failed::Answer(error) | Failed::Exchange(error)) => return Err(error),
        }
        match self.ask_as(run, id, secret, Style::Form).await {
            Ok(token) => Ok((token, Some(Style::Form))),
            Err(Failed::Answer(error) | Failed::Exchange(error)) => Err(error),
        }
    }

    async fn ask_as(&self, run: &Run<'_>, id: &str, secret: &Secret, style: Style) -> Result<Token, Failed> {
        match style {
            Style::Header => {
                let [id, password] = [id, secret.expose()].map(encode);
                let login = request::basic(&id, &password).map_err(Failed::Exchange)?;
                self.ask(run, form(&self.parameters), Some(login), secret).await
            }
            Style::Form => {
                let mut parameters = self.parameters.clone();
                parameters.insert("client_id".to_owned(), id.to_owned());
                if !secret.is_empty() {
                    parameters.insert("client_secret".to_owned(), secret.expose().to_owned());
                }
                self.ask(run, form(&parameters), None, secret).await
            }
        }
    }

    async fn with_assertion(
        &self,
        run: &Run<'_>,
        assertion: &Assertion,
        signer: Option<&Signer>,
        key: &Secret,
    ) -> Result<Token, ProbeError> {
        let from_file;
        let signer = match signer {
            Some(signer) => signer,
            None => {
                from_file = Signer::new(key.expose()).map_err(|why| {
                    ProbeError::new(
                        Phase::Prepare,
                        Reason::File,
                        format!("client_certificate_key_file {why}"),
                    )
                })?;
                &from_file
            }
        };
        let signed = assertion.sign(signer)?;
        let mut parameters = self.parameters.clone();
        parameters.insert("assertion".to_owned(), signed.expose().to_owned());
        match self.ask(run, form(&parameters), None, &signed).await {
            Ok(token) => Ok(token),
            Err(Failed::Answer(error) | Failed::Exchange(error)) => Err(error),
        }
    }

    /// Posts a form and reads the token from the answer. `secret` is what an error must not repeat.
    async fn ask(
        &self,
        run: &Run<'_>,
        form: String,
        login: Option<HeaderValue>,
        secret: &Secret,
    ) -> Result<Token, Failed> {
        let form = Bytes::from(form);
        let mut url = self.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let exchange = self.post(run, &url, form.clone(), login.clone()).await;
            let (status, headers, body) = exchange.map_err(|error| Failed::Exchange(self.blame(error)))?;
            match redirect::of(status, &headers) {
                Some((Rule::Repeat, location)) => {
                    url = self.redirected(&url, location).map_err(Failed::Answer)?;
                }
                _ => {
                    let body = body.map_err(|error| Failed::Answer(self.blame(error)))?;
                    return answer::read(status, &headers, &body, secret)
                        .map_err(|error| Failed::Answer(self.blame(error)));
                }
            }
        }
        let why = format!("the token server redirected more than {MAX_REDIRECTS} times");
        Err(Failed::Answer(ProbeError::new(Phase::Token, Reason::Redirect, why)))
    }

    /// Follows only to where the credentials may go.
    fn redirected(&self, from: &Url, location: &[u8]) -> Result<Url, ProbeError> {
        let refuse = |why: String| ProbeError::new(Phase::Token, Reason::Redirect, why);
        let to = from.join(&String::from_utf8_lossy(location)).map_err(refuse)?;
        let url = match to {
            Location::Http(Redirect::Absolute(url) | Redirect::Relative(url)) => url,
            Location::Other { scheme } => {
                return Err(refuse(format!("the token server redirects to the scheme {scheme:?}")));
            }
        };
        let is_downgrade = from.scheme == Scheme::Https && url.scheme == Scheme::Http;
        if is_downgrade || !redirect::keeps_credentials(&self.url.host, &url.host) {
            return Err(refuse(format!("the token server redirects to {}", url.with_path("/"))));
        }
        Ok(url)
    }

    /// Status, headers, and the body or why it cannot be read.
    async fn post(
        &self,
        run: &Run<'_>,
        url: &Url,
        form: Bytes,
        login: Option<HeaderValue>,
    ) -> Result<(StatusCode, HeaderMap, Result<Vec<u8>, ProbeError>), ProbeError> {
        let plan = Plan::new(self.proxies.as_ref(), url, None, true)?;
        let route = plan.route(run, PREFERENCE).await?;
        let for_proxy = route.via.as_ref().and_then(|via| via.proxy.takes_requests(url.scheme));
        let request = self.request(url, form, login, for_proxy)?;
        let opened = dial::open(run, &route, url.scheme).await?;
        let stream = match url.scheme {
            Scheme::Http => opened.stream,
            Scheme::Https => {
                let handshake = self.tls.handshake(opened.stream, &url.host);
                let (result, _) = dial::limit_handshake(run, handshake).await?;
                Stream::Tls(Box::new(result.map_err(|error| failure::tls(Phase::Token, &url.host, error))?))
            }
        };
        let mut response = connection::http1(stream, request, &url.host, Default::default()).await?;
        let headers = std::mem::take(&mut response.head.headers);
        let is_compressed = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value == "gzip");
        let compression = if is_compressed { body::Compression::Gzip } else { body::Compression::Identity };
        let mut kept = body::Body::new(compression, Some(MAX_ANSWER_BYTES), true, None);
        let body = loop {
            match response.chunk(&url.host).await {
                None => break kept.finish(),
                Some(Err(error)) => break Err(error),
                Some(Ok(chunk)) => {
                    if let Err(error) = kept.push(&chunk) {
                        break Err(error);
                    }
                }
            }
        };
        let body = body.map_err(|error| match error.reason {
            Reason::TooLarge => {
                let why = format!("the answer is longer than {MAX_ANSWER_BYTES} bytes");
                ProbeError::new(Phase::Token, Reason::TooLarge, why)
            }
            Reason::Decompression => ProbeError::new(
                Phase::Token,
                Reason::Decompression,
                "the answer is not in gzip, as it claims",
            ),
            _ => error,
        });
        Ok((response.head.status, headers, body.map(|()| kept.into_kept())))
    }

    fn request(
        &self,
        url: &Url,
        form: Bytes,
        login: Option<HeaderValue>,
        for_proxy: Option<Option<&HeaderValue>>,
    ) -> Result<Request, ProbeError> {
        let refuse = || ProbeError::new(Phase::Token, Reason::Config, "token_url cannot be sent as it is");
        let uri = if for_proxy.is_some() { url.with_path(&url.path) } else { url.path.clone() };
        let mut request = hyper::Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.parse().map_err(|_| refuse())?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_str(&url.authority).map_err(|_| refuse())?);
        headers.insert(header::USER_AGENT, self.agent.clone());
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(form.len()));
        if let Some(login) = login {
            headers.insert(header::AUTHORIZATION, login);
        }
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form_type);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        if let Some(Some(login)) = for_proxy {
            headers.insert(header::PROXY_AUTHORIZATION, login.clone());
        }
        Ok(Request {
            head: request.into_parts().0,
            body: Some(form),
            chunked: false,
            expects_continue: false,
        })
    }

    /// An error of the exchange, as one of phase `token`.
    fn blame(&self, error: ProbeError) -> ProbeError {
        let why = format!("cannot fetch a token from {}", self.url.with_path("/"));
        ProbeError::new(Phase::Token, error.reason, why).caused_by(error)
    }
}

fn value(secret: &Secret, file: &str) -> Value {
    if file.is_empty() { Value::Inline(secret.clone()) } else { Value::File(file.into()) }
}

/// `application/x-www-form-urlencoded`, in the order of the names.
fn form(parameters: &BTreeMap<String, String>) -> String {
    let pairs = parameters.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// One name or value of a form.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => encoded.push(char::from(byte)),
            byte => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded_as_in_go() {
        let parameters = [("scope", "a b+c"), ("k&", "ü/~"), ("", "x")];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(form(&parameters), "=x&k%26=%C3%BC%2F~&scope=a+b%2Bc");
    }
}
