//! Proxy addresses, read as leniently as Go's `url.Parse` does.

use std::fmt;

use super::decode::{Context, Decode};
use super::secret::Secret;
use super::yaml::emit::{Emit, Emitter};
use super::yaml::tree::Node;

/// What stands in for a password in a printed URL.
const MASK: &str = "xxxxx";

/// Schemes the HTTP client can speak to a proxy.
const SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];

/// A proxy's URL; its password never prints.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyUrl {
    /// The URL with the password masked.
    shown: Box<str>,
    scheme: Box<str>,
    host: Box<str>,
    port: Option<u16>,
    credentials: Option<Box<Credentials>>,
    /// The text as an address without a scheme, if it is no usable URL; see [`ProxyUrl::or_host`].
    as_host: Option<Box<ProxyUrl>>,
}

/// User name and password from a URL, percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The part before the colon.
    pub username: String,
    /// The part after the colon; `None` without a colon.
    pub password: Option<Secret>,
}

impl ProxyUrl {
    /// Reads a URL; `foo` and the empty text are URLs too, without scheme and host.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut url = Self::parse_as_written(text)?;
        if !url.is_usable() {
            url.as_host = Self::parse_bare(text).ok().map(Box::new);
        }
        Ok(url)
    }

    /// Reads a URL or an address such as `proxy:3128`, for which `http` is understood.
    pub fn parse_host(text: &str) -> Result<Self, &'static str> {
        match Self::parse(text) {
            Ok(url) => Ok(url.or_host().clone()),
            Err(fault) => Self::parse_bare(text).map_err(|_| fault),
        }
    }

    fn parse_bare(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.contains("://") {
            return Err("no address");
        }
        Self::parse_as_written(&format!("http://{text}"))
    }

    fn parse_as_written(text: &str) -> Result<Self, &'static str> {
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err("a control character");
        }
        let (scheme, rest) = split_scheme(text)?;
        let mut url =
            Self { shown: text.into(), scheme: scheme.to_ascii_lowercase().into(), ..Self::default() };
        let Some(after_slashes) = rest.strip_prefix("//") else {
            // `user:password@host` without slashes is a URL of scheme `user`.
            if let Some((_, after)) = text.rsplit_once('@') {
                url.shown = format!("{MASK}@{after}").into();
            }
            return Ok(url);
        };
        let end = after_slashes.find(['/', '?', '#']).unwrap_or(after_slashes.len());
        let authority = &after_slashes[..end];
        let host_port = match authority.rsplit_once('@') {
            Some((userinfo, host_port)) => {
                url.take_userinfo(text, userinfo)?;
                host_port
            }
            None => authority,
        };
        let (host, port) = split_port(host_port)?;
        url.host = host.into();
        url.port = port;
        Ok(url)
    }

    fn take_userinfo(&mut self, text: &str, userinfo: &str) -> Result<(), &'static str> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
        if !userinfo.chars().all(allowed) {
            return Err("an invalid user name or password");
        }
        let (username, password) = match userinfo.split_once(':') {
            Some((username, password)) => (username, Some(password)),
            None => (userinfo, None),
        };
        if password.is_some() {
            // The user info is a slice of the text, so the first hit is the right one: what
            // stands before it is the scheme, and a scheme has no `:`.
            self.shown = text.replacen(&format!("//{userinfo}@"), &format!("//{username}:{MASK}@"), 1).into();
        }
        self.credentials = Some(Box::new(Credentials {
            username: percent_decode(username)?,
            password: match password {
                Some(password) => Some(Secret::from(percent_decode(password)?.as_str())),
                None => None,
            },
        }));
        Ok(())
    }

    /// The scheme in lower case, empty if there is none.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The host without brackets, empty if there is none.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, or the scheme's usual one.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.scheme() {
            "https" => 443,
            "socks5" | "socks5h" => 1080,
            _ => 80,
        })
    }

    /// What the URL says to log in with.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_deref()
    }

    /// Whether a connection can be made through it.
    pub fn is_usable(&self) -> bool {
        SCHEMES.contains(&self.scheme()) && !self.host.is_empty()
    }

    /// This URL, or what its text means as an address without a scheme if its scheme is none of a proxy.
    pub fn or_host(&self) -> &Self {
        let is_scheme_known = SCHEMES.contains(&self.scheme());
        self.as_host.as_deref().filter(|_| !is_scheme_known).unwrap_or(self)
    }

    /// Whether nothing is written in it.
    pub fn is_blank(&self) -> bool {
        self.shown.is_empty()
    }
}

/// The scheme, empty if there is none, and what follows its colon.
fn split_scheme(text: &str) -> Result<(&str, &str), &'static str> {
    let in_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    match text.split_once(':') {
        Some(("", _)) => Err("no scheme before the colon"),
        Some((scheme, rest))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(in_scheme) =>
        {
            Ok((scheme, rest))
        }
        // Without a scheme this is a path, whose first segment may not hold a colon.
        Some((first, _)) if !first.contains(['/', '?', '#']) => Err("a colon where no scheme precedes it"),
        _ => Ok(("", text)),
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or("a `[` without `]` in its host")?;
        text.split_at(end + 1)
    } else {
        text.split_at(text.find(':').unwrap_or(text.len()))
    };
    let is_bracketed = host.starts_with('[');
    let in_host = |c: char| {
        c.is_ascii_alphanumeric()
            || !c.is_ascii()
            || "-._~!$&'()*+,;=:%<>\"".contains(c)
            || (is_bracketed && "[]".contains(c))
    };
    if !host.chars().all(in_host) {
        return Err("an invalid character in its host");
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok((host, None)),
        Some("") => Ok((host, None)),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(|port| (host, Some(port))).map_err(|_| "a port above 65535")
        }
        _ => Err("an invalid port"),
    }
}

fn percent_decode(text: &str) -> Result<String, &'static str> {
    const BAD: &str = "an invalid %-escape";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.ok_or(BAD)?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| BAD)
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({:?})", self.shown)
    }
}

impl Decode for ProxyUrl {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let text = String::decode(node, ctx)?;
        Self::parse(&text)
            .map_err(|fault| {
                // The text may hold a password, so the message does not repeat it.
                let rest = format!("must be a URL such as http://proxy:3128, got {fault}");
                ctx.error_here(node.position(), rest);
            })
            .ok()
    }
}

impl Emit for ProxyUrl {
    fn is_empty(&self) -> bool {
        false
    }
    fn emit(&self, out: &mut Emitter) {
        if self.shown.contains(MASK) {
            out.partly_secret(&self.shown);
        } else {
            out.string(&self.shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_leniently_as_in_go() {
        let cases = [
            ("http://127.0.0.1:3128", Ok(("http", "127.0.0.1", 3128, "http://127.0.0.1:3128"))),
            ("HTTP://p", Ok(("http", "p", 80, "HTTP://p"))),
            ("https://p/", Ok(("https", "p", 443, "https://p/"))),
            ("socks5h://[::1]", Ok(("socks5h", "::1", 1080, "socks5h://[::1]"))),
            ("http://[::1]:81", Ok(("http", "::1", 81, "http://[::1]:81"))),
            ("http://p:", Ok(("http", "p", 80, "http://p:"))),
            ("http://user:pa%40ss@p:1/", Ok(("http", "p", 1, "http://user:xxxxx@p:1/"))),
            ("http://u:@p", Ok(("http", "p", 80, "http://u:xxxxx@p"))),
            ("http://u@p", Ok(("http", "p", 80, "http://u@p"))),
            ("foo", Ok(("", "", 80, "foo"))),
            ("", Ok(("", "", 80, ""))),
            ("foo:bar", Ok(("foo", "", 80, "foo:bar"))),
            ("user:pass@p:1", Ok(("user", "", 80, "xxxxx@p:1"))),
            ("/a:b", Ok(("", "", 80, "/a:b"))),
            ("http://[bad", Err("a `[` without `]` in its host")),
            ("http://p:x", Err("an invalid port")),
            ("http://p:99999", Err("a port above 65535")),
            ("http://a b", Err("an invalid character in its host")),
            ("127.0.0.1:3128", Err("a colon where no scheme precedes it")),
            (":foo", Err("no scheme before the colon")),
            ("http://u:%zz@p", Err("an invalid %-escape")),
            ("http://u:%4@p", Err("an invalid %-escape")),
            ("http://u v@p", Err("an invalid user name or password")),
            ("http://p\n", Err("a control character")),
        ];
        for (text, want) in cases {
            let url = ProxyUrl::parse(text);
            let got = url.as_ref().map(|url| (url.scheme(), url.host(), url.port(), url.shown.as_ref()));
            assert_eq!(got, want.as_ref().map(|want| *want), "{text:?}");
        }
        let url = ProxyUrl::parse("http://us%20er:pa%40ss@p").unwrap();
        let credentials = url.credentials().unwrap();
        assert_eq!(credentials.username, "us er");
        assert_eq!(credentials.password.as_ref().unwrap().expose(), "pa@ss");
        assert_eq!(
            format!("{url:?}, {credentials:?}"),
            "ProxyUrl(\"http://us%20er:xxxxx@p\"), \
             Credentials { username: \"us er\", password: Some(<secret>) }"
        );
    }
}
