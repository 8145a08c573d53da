//! Cookies between the hops of one probe (RFC 6265 §5); nothing outlives the probe.

use std::time::SystemTime;

use super::url::{Scheme, Url};

/// Cookies received so far.
#[derive(Debug, Default)]
pub struct Jar(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    host_only: bool,
    path: String,
    secure: bool,
}

impl Jar {
    /// Keeps, replaces or removes the cookie of one `Set-Cookie` header that came from `url`.
    pub fn store(&mut self, url: &Url, header: &str, now: SystemTime) {
        let mut parts = header.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let host = url.host.to_ascii_lowercase();
        let mut cookie = Cookie {
            name: name.trim().to_owned(),
            value: value.trim().trim_matches('"').to_owned(),
            domain: host.clone(),
            host_only: true,
            path: default_path(&url.path),
            secure: false,
        };
        let (mut expired, mut has_max_age) = (false, false);
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "domain" if !value.is_empty() => {
                    let domain = value.trim_start_matches('.').to_ascii_lowercase();
                    if domain != host {
                        // A name without a dot would reach every host below a top-level domain.
                        if !domain.contains('.') || !is_subdomain(&host, &domain) {
                            return;
                        }
                        cookie.domain = domain;
                    }
                    cookie.host_only = false;
                }
                "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
                "secure" => cookie.secure = true,
                "max-age" => {
                    if let Ok(seconds) = value.parse::<i64>() {
                        has_max_age = true;
                        expired = seconds <= 0;
                    }
                }
                "expires" if !has_max_age => {
                    expired = httpdate::parse_http_date(value).is_ok_and(|end| end <= now);
                }
                _ => {}
            }
        }
        if cookie.name.is_empty() {
            return;
        }
        self.0.retain(|old| {
            (&old.name, &old.domain, &old.path) != (&cookie.name, &cookie.domain, &cookie.path)
        });
        if !expired && self.0.len() < MAX_COOKIES {
            self.0.push(cookie);
        }
    }

    /// The `Cookie` header for a request to `url`; `None` when no cookie belongs there.
    pub fn header(&self, url: &Url) -> Option<String> {
        let host = url.host.to_ascii_lowercase();
        let path = url.path.split('?').next().unwrap_or("/");
        let mut matching: Vec<_> = self
            .0
            .iter()
            .filter(|cookie| {
                host == cookie.domain || (!cookie.host_only && is_subdomain(&host, &cookie.domain))
            })
            .filter(|cookie| path_matches(path, &cookie.path))
            .filter(|cookie| !cookie.secure || url.scheme == Scheme::Https)
            .collect();
        // RFC 6265 §5.4: longer paths first, otherwise in order of arrival.
        matching.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<_> =
            matching.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// Cookies kept during one probe.
const MAX_COOKIES: usize = 50;

fn is_subdomain(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

fn default_path(path: &str) -> String {
    let path = path.split('?').next().unwrap_or("/");
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(end) => path[..end].to_owned(),
    }
}

fn path_matches(path: &str, cookie: &str) -> bool {
    path == cookie
        || path.strip_prefix(cookie).is_some_and(|rest| cookie.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_returns_where_it_belongs() {
        let from = Url::parse_target("http://a.test/x/y").unwrap();
        let cases = [
            ("k=v", "http://a.test/x/z", Some("k=v")),
            ("k=v", "http://a.test/other", None),
            ("k=\"v\"; Path=/", "http://a.test/other", Some("k=v")),
            ("k=v; Path=/", "http://b.a.test/", None),
            ("k=v; Path=/; Domain=.a.test", "http://b.a.test/", Some("k=v")),
            ("k=v; Path=/; Domain=test", "http://a.test/", None),
            ("k=v; Path=/; Domain=other.test", "http://a.test/", None),
            ("k=v; Path=/; Secure", "http://a.test/", None),
            ("k=v; Path=/; Secure", "https://a.test/", Some("k=v")),
            ("k=v; Path=/; Max-Age=0", "http://a.test/", None),
            ("k=v; Path=/; Expires=Thu, 01 Jan 1970 00:00:10 GMT", "http://a.test/", None),
            ("novalue", "http://a.test/x/z", None),
        ];
        for (header, to, want) in cases {
            let mut jar = Jar::default();
            jar.store(&from, header, SystemTime::now());
            assert_eq!(jar.header(&Url::parse_target(to).unwrap()).as_deref(), want, "{header} {to}");
        }
    }

    #[test]
    fn longer_paths_come_first_and_a_second_value_replaces_the_first() {
        let from = Url::parse_target("http://a.test/x/y").unwrap();
        let mut jar = Jar::default();
        for header in ["a=1; Path=/", "b=2; Path=/x", "a=3; Path=/"] {
            jar.store(&from, header, SystemTime::now());
        }
        assert_eq!(jar.header(&from).as_deref(), Some("b=2; a=3"));
    }
}
