//! Cookies between the hops of one probe (RFC 6265 §5); nothing outlives the probe.
//!
//! What is accepted and how it is sent back is as Go's cookie jar has it (measured).

use std::net::IpAddr;
use std::time::SystemTime;

use crate::config::header::is_token;

/// Where a request goes, as cookies see it.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Host without port, in any case.
    pub host: &'a str,
    /// Path, perhaps with a query.
    pub path: &'a str,
    /// Whether the request is encrypted.
    pub is_secure: bool,
}

/// Cookies received so far.
#[derive(Debug, Default)]
pub struct Jar(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    name: String,
    /// As it is sent back, with its quotes.
    value: String,
    domain: String,
    host_only: bool,
    path: String,
    secure: bool,
}

impl Jar {
    /// Keeps, replaces or removes the cookie of one `Set-Cookie` header that came from `site`.
    pub fn store(&mut self, site: &Site<'_>, header: &str, now: SystemTime) {
        let mut parts = header.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.trim().split_once('=')) else { return };
        let (name, Some(value)) = (name.trim(), to_send(value)) else { return };
        if !is_token(name) {
            return;
        }
        let host = canonical(site.host);
        let (mut domain, mut path, mut secure) = ("", default_path(site.path), false);
        let (mut expired, mut has_max_age) = (false, false);
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "domain" => domain = value,
                "path" if value.starts_with('/') => path = value,
                "secure" => secure = true,
                "max-age" => {
                    if let Ok(seconds) = value.parse::<i64>() {
                        has_max_age = true;
                        expired = seconds <= 0;
                    }
                }
                "expires" if !has_max_age => expired = expiry(value).is_some_and(|end| end <= now),
                _ => {}
            }
        }
        let Some((domain, host_only)) = scope(&host, domain) else { return };
        let known =
            self.0.iter().position(|old| old.name == name && old.domain == domain && old.path == path);
        let cookie =
            Cookie { name: name.to_owned(), value, domain, host_only, path: path.to_owned(), secure };
        match known {
            Some(at) if expired => drop(self.0.remove(at)),
            // A new value keeps the place of the old one.
            Some(at) => self.0[at] = cookie,
            None if !expired && self.0.len() < MAX_COOKIES => self.0.push(cookie),
            None => {}
        }
    }

    /// The `Cookie` header for a request to `site`; `None` when no cookie belongs there.
    pub fn header(&self, site: &Site<'_>) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let host = canonical(site.host);
        let path = site.path.split('?').next().unwrap_or("/");
        let mut matching: Vec<_> = self
            .0
            .iter()
            .filter(|cookie| {
                host == cookie.domain || (!cookie.host_only && is_subdomain(&host, &cookie.domain))
            })
            .filter(|cookie| path_matches(path, &cookie.path))
            .filter(|cookie| !cookie.secure || site.is_secure)
            .collect();
        // RFC 6265 §5.4: longer paths first, otherwise in order of arrival.
        matching.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<_> =
            matching.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// The value as it goes back: quotes stay, and spaces and commas get some. `None` for what no
/// cookie may hold.
fn to_send(value: &str) -> Option<String> {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let bare = inner.unwrap_or(value);
    let is_good = bare.bytes().all(|b| matches!(b, 0x20..=0x7e) && !matches!(b, b'"' | b';' | b'\\'));
    let quoted = inner.is_some() || bare.contains([' ', ',']);
    is_good.then(|| if quoted { format!("\"{bare}\"") } else { bare.to_owned() })
}

/// Domain of a cookie from `host`, and whether hosts below it are left out; `None` if it is not
/// `host`'s to set.
fn scope(host: &str, domain: &str) -> Option<(String, bool)> {
    let domain = canonical(domain.strip_prefix('.').unwrap_or(domain));
    if domain.is_empty() {
        return Some((host.to_owned(), true));
    }
    if domain == host {
        // An address has no subdomains, nor has a top-level domain any that it could speak for.
        let is_alone = host.parse::<IpAddr>().is_ok() || !host.contains('.');
        return Some((domain, is_alone));
    }
    let is_above = host.parse::<IpAddr>().is_err() && domain.contains('.') && is_subdomain(host, &domain);
    is_above.then_some((domain, false))
}

fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Also with dashes in the date, as many servers write it (RFC 6265 §5.1.1 allows it).
fn expiry(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).or_else(|_| httpdate::parse_http_date(&text.replace('-', " "))).ok()
}

/// Cookies kept during one probe.
const MAX_COOKIES: usize = 50;

fn is_subdomain(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

fn default_path(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or("/");
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => &path[..end],
    }
}

fn path_matches(path: &str, cookie: &str) -> bool {
    path == cookie
        || path.strip_prefix(cookie).is_some_and(|rest| cookie.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a URL whose host has no port.
    fn site(url: &str) -> Site<'_> {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        Site { host, path, is_secure: scheme == "https" }
    }

    #[test]
    fn a_cookie_returns_where_it_belongs() {
        let cases = [
            ("k=v", "http://a.test/x/z", Some("k=v")),
            ("k=v", "http://A.test./x/z?q", Some("k=v")),
            ("k=v", "http://a.test/other", None),
            ("k=v; Path=/", "http://b.a.test/", None),
            ("k=v; Path=/; Domain=.a.test", "http://b.a.test/", Some("k=v")),
            ("k=v; Path=/; Domain=..a.test", "http://a.test/", None),
            ("k=v; Path=/; Domain=test", "http://a.test/", None),
            ("k=v; Path=/; Domain=other.test", "http://a.test/", None),
            ("k=v; Path=/; Secure", "http://a.test/", None),
            ("k=v; Path=/; Secure", "https://a.test/", Some("k=v")),
            ("k=v; Path=/; Max-Age=0", "http://a.test/", None),
            ("k=v; Path=/; Max-Age=0; Expires=Thu, 01 Jan 2970 00:00:10 GMT", "http://a.test/", None),
            ("k=v; Path=/; Expires=Thu, 01 Jan 1970 00:00:10 GMT", "http://a.test/", None),
            ("k=v; Path=/; Expires=Thu, 01-Jan-1970 00:00:10 GMT", "http://a.test/", None),
            ("novalue", "http://a.test/x/z", None),
            ("bad name=v", "http://a.test/x/z", None),
            ("=v", "http://a.test/x/z", None),
            ("k=", "http://a.test/x/z", Some("k=")),
            ("k=\"v\"; Path=/", "http://a.test/other", Some("k=\"v\"")),
            ("k=a b", "http://a.test/x/z", Some("k=\"a b\"")),
            ("k=a,b", "http://a.test/x/z", Some("k=\"a,b\"")),
            ("k=\"", "http://a.test/x/z", None),
            ("k=\u{e9}", "http://a.test/x/z", None),
        ];
        for (header, to, want) in cases {
            let mut jar = Jar::default();
            jar.store(&site("http://a.test/x/y"), header, SystemTime::now());
            assert_eq!(jar.header(&site(to)).as_deref(), want, "{header} {to}");
        }
    }

    #[test]
    fn addresses_and_single_names_speak_only_for_themselves() {
        let cases = [
            ("127.0.0.1", "127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.1", "1.127.0.0.1", false),
            ("127.0.0.1", "0.0.1", "127.0.0.1", false),
            ("::1", "::1", "::1", true),
            ("localhost", "localhost", "localhost", true),
            ("localhost", "localhost", "a.localhost", false),
            ("localhost", "127.0.0.1", "127.0.0.1", false),
        ];
        for (from, domain, to, returns) in cases {
            let mut jar = Jar::default();
            let at = |host| Site { host, path: "/", is_secure: false };
            jar.store(&at(from), &format!("k=v; Domain={domain}"), SystemTime::now());
            assert_eq!(jar.header(&at(to)).is_some(), returns, "{from} {domain} {to}");
        }
    }

    #[test]
    fn longer_paths_come_first_and_a_second_value_takes_the_place_of_the_first() {
        let from = site("http://a.test/x/y");
        let mut jar = Jar::default();
        for header in ["a=1; Path=/", "c=1; Path=/", "b=2; Path=/x", "a=3; Path=/", "c=0; Path=/x; Max-Age=0"]
        {
            jar.store(&from, header, SystemTime::now());
        }
        assert_eq!(jar.header(&from).as_deref(), Some("b=2; a=3; c=1"));
        for number in 0..2 * MAX_COOKIES {
            jar.store(&from, &format!("n{number}=1; Path=/"), SystemTime::now());
        }
        assert_eq!(jar.0.len(), MAX_COOKIES);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1000))]

        #[test]
        fn no_cookie_breaks_a_header(
            header in "\\PC{0,40}|k=\\PC{0,20}(; ?(Domain|Path|Max-Age|Expires|Secure)=?\\PC{0,20}){0,4}",
            host in "[a-zA-Z0-9.:-]{0,20}",
            path in "/\\PC{0,20}",
        ) {
            let site = Site { host: &host, path: &path, is_secure: true };
            let mut jar = Jar::default();
            jar.store(&site, &header, SystemTime::now());
            if let Some(cookies) = jar.header(&site) {
                proptest::prop_assert!(cookies.bytes().all(|b| (0x20..0x7f).contains(&b)), "{cookies:?}");
            }
        }
    }
}
