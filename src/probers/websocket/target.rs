//! Which targets can be probed: absolute `ws://` and `wss://` URLs.

use crate::probers::http::url::{Scheme, Url};

/// A target that is a URL.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// Where to connect; the scheme `https` stands for `wss`.
    Usable(Url),
    /// The peer looks up the host of such a URL before it refuses the rest.
    Refused {
        /// Empty if the URL has none.
        host: String,
        /// What is wrong.
        why: &'static str,
    },
}

impl Target {
    /// Takes a target apart as Go's `net/url` does.
    ///
    /// # Errors
    /// A sentence that says why the text is no URL at all.
    pub fn parse(text: &str) -> Result<Self, String> {
        let complain = |why: &str| format!("cannot parse the target {text:?}: {why}");
        let (scheme, rest) = split_scheme(text).map_err(complain)?;
        let tls = scheme.eq_ignore_ascii_case("wss");
        let wrong_scheme = !tls && !scheme.eq_ignore_ascii_case("ws");
        let Some(rest) = rest.strip_prefix("//") else {
            let first_segment = rest.split('/').next().unwrap_or_default();
            if scheme.is_empty() && first_segment.contains(':') {
                return Err(complain("neither ws:// nor wss:// stands before the host"));
            }
            return Ok(Self::Refused { host: String::new(), why: NOT_A_WEBSOCKET });
        };
        let url = Url::parse_rest(if tls { Scheme::Https } else { Scheme::Http }, rest)
            .map_err(|why| complain(&why))?;
        Ok(match url {
            Url { host, .. } if wrong_scheme => Self::Refused { host, why: NOT_A_WEBSOCKET },
            Url { host, userinfo: Some(_), .. } => {
                Self::Refused { host, why: "a WebSocket URL may not hold user and password" }
            }
            Url { host, .. } if host.is_empty() => Self::Refused { host, why: "it has no host" },
            url => Self::Usable(url),
        })
    }
}

const NOT_A_WEBSOCKET: &str = "it must be an absolute ws:// or wss:// URL";

/// The scheme, empty if there is none, and what follows its colon.
fn split_scheme(text: &str) -> Result<(&str, &str), &'static str> {
    let is_other = |(at, c): &(usize, char)| {
        !(c.is_ascii_alphabetic() || (*at > 0 && (c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))))
    };
    match text.char_indices().find(is_other) {
        Some((0, ':')) => Err("the scheme is missing"),
        Some((at, ':')) => Ok((&text[..at], &text[at + 1..])),
        _ => Ok(("", text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_websocket_urls_are_usable() {
        let cases = [
            ("ws://a.test", Ok(("http", "a.test", 80, "/", "a.test"))),
            ("WS://a.test:8080/x?y=z#f", Ok(("http", "a.test", 8080, "/x?y=z", "a.test:8080"))),
            ("wss://[::1]:9/", Ok(("https", "::1", 9, "/", "[::1]:9"))),
            ("wss://a.test?q", Ok(("https", "a.test", 443, "/?q", "a.test"))),
            ("http://a.test/", Err(Some("a.test"))),
            ("//a.test/x", Err(Some("a.test"))),
            ("ws://u:p@a.test/", Err(Some("a.test"))),
            ("ws:///x", Err(Some(""))),
            ("ws:a.test", Err(Some(""))),
            ("a.test", Err(Some(""))),
            ("a.test:80", Err(Some(""))),
            ("127.0.0.1:80", Err(None)),
            ("://x", Err(None)),
            ("ws://a b/", Err(None)),
            ("ws://a.test:x/", Err(None)),
            ("ws://a.test/\r\nX: y", Err(None)),
            ("", Err(Some(""))),
        ];
        for (text, want) in cases {
            let got = match &Target::parse(text) {
                Ok(Target::Usable(url)) => Ok((
                    url.scheme.as_str(),
                    url.host.clone(),
                    url.port,
                    url.path.clone(),
                    url.authority.clone(),
                )),
                Ok(Target::Refused { host, .. }) => Err(Some(host.clone())),
                Err(_) => Err(None),
            };
            let want = want
                .map(|(scheme, host, port, path, authority): (_, &str, _, &str, &str)| {
                    (scheme, host.to_owned(), port, path.to_owned(), authority.to_owned())
                })
                .map_err(|host| host.map(str::to_owned));
            assert_eq!(got, want, "{text:?}");
        }
    }
}
