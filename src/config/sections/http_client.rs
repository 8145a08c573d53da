//! The keys of an HTTP client: inlined in `http`, nested as `http_config` in `websocket`.

use super::oauth2::OAuth2;
use super::proxy::Proxy;
use super::tls::TlsConfig;
use super::{at_most_one, refuse_refs};
use crate::config::decode::{Context, Segment, quote};
use crate::config::header::{HeaderSource, is_header_value, is_token, same_header};
use crate::config::map::Map;
use crate::config::problem::Position;
use crate::config::secret::Secret;
use crate::config::section::{Defaulted, section};
use crate::config::yaml::tree::{Mapping, Node};

/// Headers that `http_headers` may not set, in canonical form.
const RESERVED_HEADERS: [&str; 18] = [
    "Accept-Encoding",
    "Authorization",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Host",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "User-Agent",
    "Www-Authenticate",
    "X-Amz-Content-Sha256",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Prometheus-Remote-Read-Version",
    "X-Prometheus-Remote-Write-Version",
    "X-Prometheus-Scrape-Timeout-Seconds",
];

section! {
    /// Authentication, TLS, redirects and proxies.
    pub struct HttpClient {
        /// HTTP Basic credentials.
        basic_auth: Option<Box<BasicAuth>>,
        /// The `Authorization` header; holds `bearer_token` too once loaded.
        authorization: Option<Box<Authorization>>,
        /// OAuth 2.0.
        oauth2: Option<Box<OAuth2>>,
        /// Deprecated; empty once loaded.
        bearer_token: Secret,
        /// Deprecated; empty once loaded.
        bearer_token_file: String,
        /// TLS towards the target and an https proxy.
        tls_config: Defaulted<TlsConfig>,
        /// Follow up to ten redirects.
        follow_redirects: bool = true => always,
        /// Offer HTTP/2 in TLS.
        enable_http2: bool = true => always,
        /// Further request headers.
        http_headers: Option<Map<HeaderSource>>,
    }
    /// How to reach the target through a proxy.
    inline proxy: Proxy,
    check HttpClient::validate
}

section! {
    /// HTTP Basic credentials (RFC 7617).
    pub struct BasicAuth {
        /// The user name.
        username: String,
        /// A file with `username`.
        username_file: String,
        /// Accepted for compatibility; cannot work.
        username_ref: String,
        /// The password.
        password: Secret,
        /// A file with `password`.
        password_file: String,
        /// Accepted for compatibility; cannot work.
        password_ref: String,
    }
    check BasicAuth::validate
}

section! {
    /// An `Authorization` header other than Basic.
    pub struct Authorization {
        /// The scheme; `Bearer` once loaded if absent or blank.
        kind as "type": String = BEARER.to_owned(),
        /// What follows the scheme.
        credentials: Secret,
        /// A file with `credentials`.
        credentials_file: String,
        /// Accepted for compatibility; cannot work.
        credentials_ref: String,
    }
    check Authorization::validate
}

const BEARER: &str = "Bearer";

impl HttpClient {
    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        self.check_authentication(written, ctx);
        self.tls_config.warn(true, written, ctx);
        if let Some(headers) = &self.http_headers {
            let nested = written.get("http_headers").and_then(|node| node.mapping(&mut Vec::new()));
            if let Some(nested) = nested {
                check_header_sources(headers.iter(), &nested, "http_headers", true, ctx);
            }
        }
    }

    /// At most one way to authenticate; the deprecated ones become `authorization`.
    fn check_authentication<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let tokens = [
            ("bearer_token", !self.bearer_token.is_empty()),
            ("bearer_token_file", !self.bearer_token_file.is_empty()),
        ];
        let ways = [
            ("basic_auth", self.basic_auth.is_some()),
            ("authorization", self.authorization.is_some()),
            ("oauth2", self.oauth2.is_some()),
        ];
        at_most_one(&tokens, written, ctx);
        let token = tokens.iter().find(|(_, used)| *used);
        let way = ways.iter().find(|(_, used)| *used);
        match (token, way) {
            (Some((token, _)), Some((way, _))) => {
                let rest = format!("may have only one of {way} and {token}");
                ctx.error_here(written.position_of(token), rest);
            }
            _ => at_most_one(&ways, written, ctx),
        }
        for (token, used) in tokens {
            if used {
                let path = ctx.key(token);
                ctx.note(written.position_of(token), format!("{path} is deprecated; use authorization"));
            }
        }
        if token.is_some() && self.authorization.is_none() {
            self.authorization = Some(Box::new(Authorization {
                credentials: std::mem::take(&mut self.bearer_token),
                credentials_file: std::mem::take(&mut self.bearer_token_file),
                ..Authorization::default()
            }));
        }
    }
}

/// Judges headers with several values; `written` is the mapping under `key`.
pub(super) fn check_header_sources<'t, 'h>(
    headers: impl Iterator<Item = (&'h str, &'h HeaderSource)>,
    written: &Mapping<'t>,
    key: &'t str,
    reserved: bool,
    ctx: &mut Context<'t>,
) {
    ctx.within(Segment::Key(key), |ctx| {
        for (name, source) in headers {
            let at = || key_position(written, name);
            let mut reserved_names = RESERVED_HEADERS.iter().filter(|_| reserved);
            if let Some(header) = reserved_names.find(|other| same_header(other, name)) {
                ctx.error_here(at(), format!("may not set the header {header}"));
            }
            let mut values =
                source.values.iter().map(String::as_str).chain(source.secrets.iter().map(Secret::expose));
            check_header(name, values.all(is_header_value), at, ctx);
        }
    });
}

/// Warns about a header that no request can carry. Values may be secret and are not repeated.
pub(super) fn check_header(name: &str, values_ok: bool, at: impl Fn() -> Position, ctx: &mut Context<'_>) {
    let fault = if !is_token(name) {
        format!("has {}, which is not a header name", quote(name))
    } else if !values_ok {
        format!("has a value for {} with control characters", quote(name))
    } else {
        return;
    };
    let message = format!("{} {fault}", ctx.path());
    ctx.breaks(at(), message);
}

/// Where a name chosen by the user stands.
pub(super) fn key_position(written: &Mapping<'_>, name: &str) -> Position {
    written
        .pairs()
        .find(|(key, _)| key.text() == Some(name))
        .map_or_else(|| written.position(), |(key, _)| Node::position(key))
}

impl BasicAuth {
    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let usernames = [
            ("username", !self.username.is_empty()),
            ("username_file", !self.username_file.is_empty()),
            ("username_ref", !self.username_ref.is_empty()),
        ];
        let passwords = [
            ("password", !self.password.is_empty()),
            ("password_file", !self.password_file.is_empty()),
            ("password_ref", !self.password_ref.is_empty()),
        ];
        at_most_one(&usernames, written, ctx);
        at_most_one(&passwords, written, ctx);
        let refs =
            [("username_ref", self.username_ref.as_str()), ("password_ref", self.password_ref.as_str())];
        refuse_refs(&refs, true, written, ctx);
    }
}

impl Authorization {
    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let sources = [
            ("credentials", !self.credentials.is_empty()),
            ("credentials_file", !self.credentials_file.is_empty()),
            ("credentials_ref", !self.credentials_ref.is_empty()),
        ];
        at_most_one(&sources, written, ctx);
        let refs = [("credentials_ref", self.credentials_ref.as_str())];
        refuse_refs(&refs, true, written, ctx);
        let kind = self.kind.trim();
        if kind.eq_ignore_ascii_case("basic") {
            let message = format!("{} must not be {kind}; use basic_auth", ctx.key("type"));
            ctx.error(written.position_of("type"), message);
        }
        if sources.iter().all(|(_, used)| !used) {
            let path = ctx.path();
            ctx.note(written.position(), format!("{path} has no effect without credentials"));
        }
        self.kind = if kind.is_empty() { BEARER } else { kind }.to_owned();
    }
}
