//! The request of one hop: method, URI, headers, body.

use std::path::PathBuf;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri, Version};

use super::connection::Request;
use super::url::Url;
use crate::config::Secret;
use crate::runner::{Phase, ProbeError, Reason};

/// A header value that may live in a file.
#[derive(Debug)]
pub enum Value {
    /// Written in the configuration.
    Inline(Secret),
    /// Read at probe time, white space around it removed.
    File(PathBuf),
}

impl Value {
    /// The value as of now.
    ///
    /// # Errors
    /// The file cannot be read; the sentence names the file, never its content.
    pub async fn read(&self) -> Result<String, ProbeError> {
        match self {
            Self::Inline(secret) => Ok(secret.expose().to_owned()),
            Self::File(path) => {
                let bytes = read_file(path, MAX_SECRET_BYTES).await?;
                Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
            }
        }
    }
}

/// Bytes read of a file that holds one secret.
const MAX_SECRET_BYTES: u64 = 64 << 10;
/// Bytes read of a request body.
const MAX_BODY_FILE_BYTES: u64 = 64 << 20;

async fn read_file(path: &std::path::Path, limit: u64) -> Result<Vec<u8>, ProbeError> {
    let fail = |why: String| ProbeError::new(Phase::Prepare, Reason::File, why);
    let too_long = || fail(format!("{} is longer than {limit} bytes", path.display()));
    let unreadable = |error| fail(format!("cannot read {}", path.display())).caused_by(error);
    let length = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
    if length > limit {
        return Err(too_long());
    }
    let bytes = tokio::fs::read(path).await.map_err(unreadable)?;
    if bytes.len() as u64 > limit { Err(too_long()) } else { Ok(bytes) }
}

/// How the module authenticates.
#[derive(Debug)]
pub enum Authentication {
    /// User name and password.
    Basic {
        /// User name.
        username: Value,
        /// Password.
        password: Value,
    },
    /// A scheme such as `Bearer` and its credentials.
    Scheme {
        /// The scheme's name.
        name: String,
        /// What follows it.
        credentials: Value,
    },
}

impl Authentication {
    /// Whether there is a scheme and nothing to follow it.
    pub fn is_blank(&self) -> bool {
        matches!(self, Self::Scheme { credentials: Value::Inline(text), .. } if text.is_empty())
    }

    /// The value of the `Authorization` header.
    ///
    /// # Errors
    /// A file cannot be read, or holds what no header may hold.
    pub async fn header(&self) -> Result<HeaderValue, ProbeError> {
        match self {
            Self::Basic { username, password } => basic(&username.read().await?, &password.read().await?),
            Self::Scheme { name, credentials } => {
                let text = format!("{name} {}", credentials.read().await?);
                // Without credentials only the scheme is sent, as in the peer.
                sensitive(text.trim_end())
            }
        }
    }
}

/// Credentials of the Basic scheme (RFC 7617).
///
/// # Errors
/// They cannot be sent as a header.
pub fn basic(username: &str, password: &str) -> Result<HeaderValue, ProbeError> {
    let encoded = data_encoding::BASE64.encode(format!("{username}:{password}").as_bytes());
    sensitive(&format!("Basic {encoded}"))
}

/// A header value that never prints.
///
/// # Errors
/// The text has characters no header may have.
pub fn sensitive(text: &str) -> Result<HeaderValue, ProbeError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        ProbeError::new(
            Phase::Prepare,
            Reason::Config,
            "the credentials contain characters no header may have",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body a module sends.
#[derive(Debug, Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// Written in the configuration; sent with its length.
    Inline(Bytes),
    /// Read at probe time; sent in chunks, as the peer does.
    File(PathBuf),
}

impl Body {
    /// The bytes as of now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn read(&self) -> Result<Option<Bytes>, ProbeError> {
        match self {
            Self::Empty => Ok(None),
            Self::Inline(bytes) => Ok(Some(bytes.clone())),
            Self::File(path) => Ok(Some(read_file(path, MAX_BODY_FILE_BYTES).await?.into())),
        }
    }
}

/// Everything about a module's requests that no target changes.
#[derive(Debug)]
pub struct Template {
    /// Method of the first request.
    pub method: Method,
    /// Headers that replace what would be sent otherwise; `Host` is kept apart.
    pub headers: HeaderMap,
    /// Headers named with an empty value, which are not sent at all.
    pub removed: Vec<HeaderName>,
    /// `Host` of the module's `headers`.
    pub host: Option<String>,
    /// Headers that are sent in addition.
    pub added: Vec<(HeaderName, Value)>,
    /// Credentials.
    pub authentication: Option<Authentication>,
    /// Body of the first request.
    pub body: Body,
}

/// The request as it is now, changing from hop to hop.
#[derive(Debug)]
pub struct Outgoing {
    /// Method of the next request.
    pub method: Method,
    /// Body of the next request.
    body: Option<Bytes>,
    chunked: bool,
    /// Whether the body waits for the server to ask for it.
    expects_continue: bool,
    content_headers: bool,
    credentials: bool,
    headers: HeaderMap,
    authorization: Option<HeaderValue>,
}

/// Headers that must not reach another site (Go's list).
const SENSITIVE: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("cookie2"),
    header::WWW_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

impl Template {
    /// Makes the first request, still without what [`Template::complete`] adds.
    ///
    /// # Errors
    /// The file with the body cannot be read.
    pub async fn start(&self) -> Result<Outgoing, ProbeError> {
        Ok(Outgoing {
            method: self.method.clone(),
            body: self.body.read().await?,
            chunked: matches!(self.body, Body::File(_)),
            expects_continue: false,
            content_headers: true,
            credentials: true,
            headers: self.headers.clone(),
            authorization: None,
        })
    }

    /// Adds credentials and the headers that may come from files.
    ///
    /// # Errors
    /// A file cannot be read, or a value cannot be sent as a header.
    pub async fn complete(&self, outgoing: &mut Outgoing, url: &Url) -> Result<(), ProbeError> {
        let headers = &mut outgoing.headers;
        for (name, value) in &self.added {
            let value = HeaderValue::from_str(&value.read().await?).map_err(|_| {
                ProbeError::new(
                    Phase::Prepare,
                    Reason::Config,
                    format!("the value of header {name} cannot be sent"),
                )
            })?;
            headers.append(name.clone(), value);
        }
        outgoing.authorization = match (&url.userinfo, &self.authentication) {
            _ if headers.contains_key(header::AUTHORIZATION) => None,
            (Some((user, password)), _) => Some(basic(user, password)?),
            (None, Some(authentication)) => Some(authentication.header().await?),
            (None, None) => None,
        };
        outgoing.expects_continue = outgoing.body.is_some() && asks_to_continue(headers);
        Ok(())
    }

    /// Whether a redirect that keeps the body can be followed: a body from a file is not sent twice, as in the peer.
    pub fn can_resend(&self) -> bool {
        !matches!(self.body, Body::File(_))
    }
}

/// Where one request goes and what earlier hops add to it.
#[derive(Debug)]
pub struct Hop<'a> {
    /// Path and query, scheme.
    pub url: &'a Url,
    /// `Host` or `:authority`.
    pub host: &'a str,
    /// Cookies of earlier hops.
    pub cookies: Option<String>,
    /// URL of the hop before.
    pub referer: Option<&'a str>,
    /// HTTP/2 was agreed on, or HTTP/3, whose requests look the same.
    pub http2: bool,
    /// The request is for a proxy to pass on, with this `Proxy-Authorization`.
    pub for_proxy: Option<Option<&'a HeaderValue>>,
}

impl Outgoing {
    /// Turns the request into what a 301, 302 or 303 asks for: GET without a body, unless it is GET or HEAD already.
    pub fn become_get(&mut self) {
        if self.method != Method::GET && self.method != Method::HEAD {
            self.method = Method::GET;
        }
        self.body = None;
        self.chunked = false;
        self.expects_continue = false;
        self.content_headers = false;
    }

    /// Sends these credentials in place of all others.
    pub fn authorize(&mut self, authorization: HeaderValue) {
        self.authorization = Some(authorization);
    }

    /// Leaves the site the credentials are for; they do not come back on a later hop.
    pub fn drop_credentials(&mut self) {
        self.credentials = false;
    }

    /// The request for one hop.
    ///
    /// # Errors
    /// Host or path cannot be sent.
    pub fn build(&self, hop: &Hop<'_>, removed: &[HeaderName]) -> Result<Request, ProbeError> {
        let refuse =
            |what: &str| ProbeError::new(Phase::Prepare, Reason::BadTarget, format!("{what} cannot be sent"));
        let uri: Uri = if hop.http2 || hop.for_proxy.is_some() {
            let text = format!("{}://{}{}", hop.url.scheme.as_str(), hop.host, hop.url.path);
            text.parse().map_err(|_| refuse(&format!("the URL {text:?}")))?
        } else {
            hop.url.path.parse().map_err(|_| refuse(&format!("the path {:?}", hop.url.path)))?
        };
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 6);
        if !hop.http2 {
            let host =
                HeaderValue::from_str(hop.host).map_err(|_| refuse(&format!("the host {:?}", hop.host)))?;
            headers.insert(header::HOST, host);
        }
        if !self.headers.contains_key(header::USER_AGENT) && !removed.contains(&header::USER_AGENT) {
            headers.insert(header::USER_AGENT, HeaderValue::from_static(crate::USER_AGENT));
        }
        self.frame(&mut headers, hop.http2);
        for (name, value) in &self.headers {
            let is_content = name.as_str().starts_with("content-");
            if (is_content && !self.content_headers) || (!self.credentials && SENSITIVE.contains(name)) {
                continue;
            }
            headers.append(name.clone(), value.clone());
        }
        if let Some(value) = self.authorization.as_ref().filter(|_| self.credentials) {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        if let Some(Some(login)) = hop.for_proxy {
            headers.append(header::PROXY_AUTHORIZATION, login.clone());
        }
        if let Some(cookies) = hop.cookies.as_deref() {
            // Cookies of the module and of the jar travel in one header (RFC 6265 §5.4).
            let joined = match headers.get(header::COOKIE).and_then(|own| own.to_str().ok()) {
                Some(own) => format!("{own}; {cookies}"),
                None => cookies.to_owned(),
            };
            if let Ok(value) = HeaderValue::from_str(&joined) {
                headers.insert(header::COOKIE, value);
            }
        }
        let referer = hop.referer.and_then(|referer| HeaderValue::from_str(referer).ok());
        if let Some(value) = referer.filter(|_| !headers.contains_key(header::REFERER)) {
            headers.insert(header::REFERER, value);
        }
        let mut request = hyper::Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = if hop.http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        *request.headers_mut() = headers;
        Ok(Request {
            head: request.into_parts().0,
            body: self.body.clone(),
            chunked: self.chunked,
            expects_continue: self.expects_continue,
        })
    }

    /// How the body is delimited and that the connection ends afterwards.
    fn frame(&self, headers: &mut HeaderMap, http2: bool) {
        if !http2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.chunked {
            if !http2 {
                headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            return;
        }
        let length = self.body.as_ref().map_or(0, Bytes::len);
        if length > 0 || [Method::POST, Method::PUT, Method::PATCH].contains(&self.method) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

/// Whether the module itself sets `Expect: 100-continue` (RFC 9110 §10.1.1).
fn asks_to_continue(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::EXPECT).iter().filter_map(|value| value.to_str().ok());
    let mut items = values.flat_map(|value| value.split(','));
    items.any(|item| item.trim().eq_ignore_ascii_case("100-continue"))
}
