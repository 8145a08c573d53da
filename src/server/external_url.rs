//! Where others reach this exporter, and below which path it answers.

/// The external URL and the prefix of all paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    external_url: String,
    prefix: String,
}

impl Paths {
    /// Works out both from the flags.
    ///
    /// An empty `external_url` becomes `<scheme>://<hostname>:<port>/` with the port of `listen`, which then
    /// has to be there; an empty `route_prefix` becomes the path of the external URL.
    ///
    /// # Errors
    /// A sentence that says what cannot be understood.
    pub fn new(
        external_url: &str,
        route_prefix: &str,
        listen: Option<&str>,
        scheme: &str,
        hostname: &str,
    ) -> Result<Self, String> {
        let external_url = if external_url.is_empty() {
            let listen = listen.ok_or("--web.external-url is needed with --web.systemd-socket")?;
            let (_, port) = crate::net::connect::split_host_port(listen)?;
            format!("{scheme}://{hostname}:{port}/")
        } else {
            external_url.to_owned()
        };
        let (external_url, path) = trim(&external_url)?;
        let prefix = if route_prefix.is_empty() { path.as_str() } else { route_prefix };
        let prefix = match prefix.trim_matches('/') {
            "" => "/".to_owned(),
            prefix => format!("/{prefix}/"),
        };
        Ok(Self { external_url, prefix })
    }

    /// The external URL, without slashes at the end of its path.
    pub fn external_url(&self) -> &str {
        &self.external_url
    }

    /// The prefix of all paths; begins and ends with a slash.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// Splits any URL reference around its path (RFC 3986 §4.1), trims the path at its end, and returns the
/// whole and the decoded path.
fn trim(url: &str) -> Result<(String, String), String> {
    let complain = |why: &str| Err(format!("external URL {url:?}: {why}"));
    if url.starts_with(['\'', '"']) || url.ends_with(['\'', '"']) {
        return complain("must not begin or end with a quote");
    }
    if url.contains(|c: char| c.is_ascii_control()) {
        return complain("contains a control character");
    }
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (front, tail) = url.split_at(end);
    let scheme = match front.find([':', '/']) {
        Some(0) if front.starts_with(':') => return complain("the scheme is missing"),
        Some(at) if front[at..].starts_with(':') => {
            let is_scheme = front.starts_with(|c: char| c.is_ascii_alphabetic())
                && front[..at].chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            if !is_scheme {
                return complain("the first part of the path contains a colon");
            }
            at + 1
        }
        _ => 0,
    };
    let authority = match front[scheme..].strip_prefix("//") {
        Some(rest) => {
            let host = &rest[..rest.find('/').unwrap_or(rest.len())];
            let port = host.rsplit_once(':').map_or("", |(_, port)| port);
            if !port.ends_with(']') && port.contains(|c: char| !c.is_ascii_digit()) {
                return complain("the port is not a number");
            }
            scheme + 2 + host.len()
        }
        None => scheme,
    };
    let path = front[authority..].trim_end_matches('/');
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    let path = format!("{slash}{path}");
    let Some(decoded) = super::query::decode(&path.replace('+', "%2B")) else {
        return complain("contains a broken escape");
    };
    Ok((format!("{}{path}{tail}", &front[..authority]), decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_and_prefix() {
        let cases = [
            ("", "", ":9115", "http://box:9115", "/"),
            ("", "/p", "127.0.0.1:80", "http://box:80", "/p/"),
            ("", "p/q//", "[::1]:80", "http://box:80", "/p/q/"),
            ("https://ex.test/bb/", "", "", "https://ex.test/bb", "/bb/"),
            ("https://ex.test/bb//", "/", "", "https://ex.test/bb", "/"),
            ("https://ex.test", "", "", "https://ex.test", "/"),
            ("https://ex.test/", "", "", "https://ex.test", "/"),
            ("https://ex.test:8443/a%20b/?q=1#f", "", "", "https://ex.test:8443/a%20b?q=1#f", "/a b/"),
            ("http://[::1]:80/x", "", "", "http://[::1]:80/x", "/x/"),
            ("http://[::1]/x", "", "", "http://[::1]/x", "/x/"),
            ("/only/path/", "", "", "/only/path", "/only/path/"),
            ("relative", "", "", "/relative", "/relative/"),
            ("//host/p", "", "", "//host/p", "/p/"),
        ];
        for (url, route, listen, want, prefix) in cases {
            let got = Paths::new(url, route, Some(listen), "http", "box");
            let want = Paths { external_url: want.to_owned(), prefix: prefix.to_owned() };
            assert_eq!(got, Ok(want), "{url} {route} {listen}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in ["'http://x/'", "http://x/\"", "http://x/\n", ":x", "1a:b", "http://x:y/", "http://x/%zz"]
        {
            let got = Paths::new(url, "", Some(":1"), "http", "box");
            assert!(got.is_err_and(|why| why.starts_with(&format!("external URL {url:?}: "))), "{url}");
        }
        assert_eq!(Paths::new("", "", Some(":1"), "https", "box").unwrap().external_url(), "https://box:1");
        assert!(Paths::new("", "", Some("nine"), "http", "box").is_err());
        assert!(Paths::new("", "", None, "http", "box").is_err());
    }
}
