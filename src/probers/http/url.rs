//! The target of an http probe, read as Go's `net/url` reads it.
//!
//! A general URL library would normalise (lower-case hosts, `127.1` as an address, dots in paths); what
//! an operator wrote must reach the server as it was written, so that the probe means the same as before.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Scheme of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// As in a URL, without `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Port used when the URL names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A parsed target or redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// How to talk.
    pub scheme: Scheme,
    /// Decoded user and password of `user:password@`.
    pub userinfo: Option<(String, String)>,
    /// Host and optional port as written, the host in ASCII: the `Host` header.
    pub authority: String,
    /// Host without brackets and port, zone included.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Path and query, ready for the request line.
    pub path: String,
}

impl Url {
    /// Parses a target; `http://` is put before anything that begins with neither scheme, in any case.
    ///
    /// # Errors
    /// A sentence that says what is wrong with which text.
    pub fn parse_target(target: &str) -> Result<Self, String> {
        let (scheme, rest) = match split_scheme(target) {
            Some(found) => found,
            None => (Scheme::Http, target),
        };
        Self::parse_rest(scheme, rest).map_err(|why| format!("cannot parse the target {target:?}: {why}"))
    }

    /// Where a `Location` header leads from here.
    ///
    /// # Errors
    /// A sentence that says what is wrong with which text.
    pub fn join(&self, location: &str) -> Result<Location, String> {
        let complain = |why: String| format!("cannot follow the redirect to {location:?}: {why}");
        let absolute = |url| Location::Http(Redirect::Absolute(url));
        if let Some((scheme, rest)) = split_scheme(location) {
            return Self::parse_rest(scheme, rest).map(absolute).map_err(complain);
        }
        if let Some(scheme) = other_scheme(location) {
            check_controls(location).map_err(complain)?;
            return Ok(Location::Other { scheme: scheme.to_owned() });
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse_rest(self.scheme, rest).map(absolute).map_err(complain);
        }
        let (reference, _fragment) = location.split_once('#').unwrap_or((location, ""));
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (reference, None),
        };
        let (base_path, base_query) = match self.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path.as_str(), None),
        };
        let path = escape_path(path).map_err(complain)?;
        let (path, query) = match path.as_ref() {
            "" => (Cow::Borrowed(base_path), query.or(base_query)),
            absolute if absolute.starts_with('/') => (remove_dots(absolute).into(), query),
            relative => {
                let folder = &base_path[..=base_path.rfind('/').unwrap_or(0)];
                (remove_dots(&format!("{folder}{relative}")).into(), query)
            }
        };
        check_controls(location).map_err(complain)?;
        let url = Self { path: join_query(path, query), userinfo: None, ..self.clone() };
        Ok(Location::Http(Redirect::Relative(url)))
    }

    /// Parses what follows `scheme://`.
    ///
    /// # Errors
    /// What is wrong, without the text.
    pub fn parse_rest(scheme: Scheme, rest: &str) -> Result<Self, String> {
        check_controls(rest)?;
        let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (userinfo, authority) = match authority.rsplit_once('@') {
            Some((userinfo, authority)) => (Some(parse_userinfo(userinfo)?), authority),
            None => (None, authority),
        };
        let (host, port) = parse_authority(authority, scheme)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let path = escape_path(path)?;
        let path = if path.is_empty() { Cow::Borrowed("/") } else { path };
        let (authority, host) = to_ascii(authority, host)?;
        Ok(Self { scheme, userinfo, authority, host, port, path: join_query(path, query) })
    }

    /// The authority that goes into the URL of a `Referer`: the address instead of the name, with the port as written.
    pub fn with_host(&self, address: &str) -> String {
        let port = self.written_port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        format!("{}://{host}{port}{}", self.scheme.as_str(), self.path)
    }

    /// Makes `http` `https`, with its default port where none is written; false if it was that before.
    pub fn upgrade(&mut self) -> bool {
        if self.scheme == Scheme::Https {
            return false;
        }
        self.scheme = Scheme::Https;
        if self.written_port().is_none() {
            self.port = Scheme::Https.default_port();
        }
        true
    }

    /// Scheme and authority with another path, without user and password.
    pub fn with_path(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme.as_str(), self.authority)
    }

    /// The port, if the URL names one; not whether it is a valid one.
    pub fn written_port(&self) -> Option<&str> {
        let (host, port) = self.authority.rsplit_once(':')?;
        // A colon inside brackets belongs to the address.
        (!port.contains(']') && !host.is_empty() && !port.is_empty()).then_some(port)
    }
}

/// What a `Location` header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A place that can be asked.
    Http(Redirect),
    /// Away from HTTP; nothing else of the URL is looked at.
    Other {
        /// As written.
        scheme: String,
    },
}

/// Where a redirect leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// To a path on the same server.
    Relative(Url),
    /// To a server named by the `Location`.
    Absolute(Url),
}

fn split_scheme(text: &str) -> Option<(Scheme, &str)> {
    [("http://", Scheme::Http), ("https://", Scheme::Https)].into_iter().find_map(|(prefix, scheme)| {
        let head = text.get(..prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then(|| (scheme, &text[prefix.len()..]))
    })
}

fn other_scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let mut bytes = scheme.bytes();
    let is_scheme = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    is_scheme.then_some(scheme)
}

fn check_controls(text: &str) -> Result<(), String> {
    match text.bytes().find(|b| *b < 0x20 || *b == 0x7f) {
        Some(byte) => Err(format!("control character {byte:#04x}")),
        None => Ok(()),
    }
}

fn parse_userinfo(text: &str) -> Result<(String, String), String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
    if !text.bytes().all(allowed) {
        return Err("invalid character in the user information".to_owned());
    }
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decode = |part| unescape(part).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((decode(user)?, decode(password)?))
}

fn parse_authority(authority: &str, scheme: Scheme) -> Result<(&str, u16), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("missing ']' in host")?;
            let port = match after {
                "" => "",
                after => after.strip_prefix(':').ok_or("unexpected text after ']' in host")?,
            };
            (host, port)
        }
        None => authority.rsplit_once(':').unwrap_or((authority, "")),
    };
    if let Some(c) = host.chars().find(|c| matches!(c, ' ' | '\\' | '^' | '`' | '{' | '}' | '|')) {
        return Err(format!("invalid character {c:?} in host name"));
    }
    if !authority.starts_with('[') && host.contains(['%', '[', ']']) {
        return Err(format!("invalid host {host:?}"));
    }
    if port.is_empty() {
        return Ok((host, scheme.default_port()));
    }
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("invalid port {port:?} after host"));
    }
    port.parse().map(|port| (host, port)).map_err(|_| format!("port {port} is not between 0 and 65535"))
}

/// Authority and host in ASCII: names outside it are sent in their IDNA form (RFC 5891), zones lose their escape.
fn to_ascii(authority: &str, host: &str) -> Result<(String, String), String> {
    let plain = host.replacen("%25", "%", 1);
    if host.is_ascii() {
        let authority = match host.split_once("%25") {
            // RFC 6874 §3: a zone means nothing to the server.
            Some((address, _)) => authority.replacen(host, address, 1),
            None => authority.to_owned(),
        };
        return Ok((authority, plain));
    }
    let ascii = idna::domain_to_ascii(host).map_err(|_| format!("host name {host:?} has no ASCII form"))?;
    Ok((authority.replacen(host, &ascii, 1), ascii))
}

fn join_query(path: Cow<'_, str>, query: Option<&str>) -> String {
    let mut joined = path.into_owned();
    if let Some(query) = query {
        joined.push('?');
        for c in query.chars() {
            // Sent as written, but for what would break the request line.
            match c {
                ' ' | '<' | '>' | '"' => {
                    let _ = write!(joined, "%{:02X}", u32::from(c));
                }
                c if c.is_ascii() => joined.push(c),
                c => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        let _ = write!(joined, "%{byte:02X}");
                    }
                }
            }
        }
    }
    joined
}

/// The path as Go sends it: unchanged when it is a valid encoding, else decoded and encoded again as a whole.
fn escape_path(path: &str) -> Result<Cow<'_, str>, String> {
    let bytes = unescape(path)?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]/%".contains(&b);
    if path.bytes().all(is_plain) {
        return Ok(Cow::Borrowed(path));
    }
    let mut escaped = String::with_capacity(path.len() + 8);
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    Ok(Cow::Owned(escaped))
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let digits = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let digits = digits.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let shown = || String::from_utf8_lossy(&rest[..rest.len().min(3)]).into_owned();
        bytes.push(byte.ok_or_else(|| format!("invalid URL escape {:?}", shown()))?);
        rest = &tail[2..];
    }
    Ok(bytes)
}

/// RFC 3986 §5.2.4.
fn remove_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn targets_are_read_as_go_reads_them() {
        let cases = [
            ("example.com/x", "http example.com example.com:80 /x"),
            ("host:8080", "http host:8080 host:8080 /"),
            ("HTTPS://Host/", "https Host Host:443 /"),
            ("http://h:/a?b=c#d", "http h: h:80 /a?b=c"),
            ("ftp://h/", "http ftp: ftp:80 //h/"),
            ("http://[::1]:9/", "http [::1]:9 ::1:9 /"),
            ("http://[fe80::1%25eth0]/", "http [fe80::1] fe80::1%eth0:80 /"),
            ("http://::1:19120/", "http ::1:19120 ::1:19120 /"),
            ("http://h/a b%2Fc", "http h h:80 /a%20b/c"),
            ("http://h/a%2Fc", "http h h:80 /a%2Fc"),
            ("http://h?q=a b", "http h h:80 /?q=a%20b"),
            ("http://h/ä", "http h h:80 /%C3%A4"),
            ("http://bücher.test/", "http xn--bcher-kva.test xn--bcher-kva.test:80 /"),
            ("h./a/../b", "http h. h.:80 /a/../b"),
            ("", "http   :80 /"),
        ];
        for (target, want) in cases {
            let url = Url::parse_target(target).unwrap();
            let got =
                format!("{} {} {}:{} {}", url.scheme.as_str(), url.authority, url.host, url.port, url.path);
            assert_eq!(got, want.replace("http   ", "http  "), "{target}");
        }
        let url = Url::parse_target("http://us%40er:p%3Aw@h/").unwrap();
        assert_eq!(url.userinfo, Some(("us@er".into(), "p:w".into())));
    }

    #[test]
    fn what_go_refuses_is_refused_with_a_sentence() {
        let cases = [
            (" http://h/", "invalid character ' ' in host name"),
            ("http://h/%zz", "invalid URL escape \"%zz\""),
            ("http://h/%", "invalid URL escape \"%\""),
            ("http://h%41/", "invalid host \"h%41\""),
            ("http://h:http/", "invalid port \"http\" after host"),
            ("http://h:70000/", "port 70000 is not between 0 and 65535"),
            ("http://[::1/", "missing ']' in host"),
            ("http://[::1]x/", "unexpected text after ']' in host"),
            ("http://h/\n", "control character 0x0a"),
            ("http://a b@h/", "invalid character in the user information"),
        ];
        for (target, why) in cases {
            let error = Url::parse_target(target).unwrap_err();
            assert_eq!(error, format!("cannot parse the target {target:?}: {why}"));
        }
    }

    #[test]
    fn locations_are_joined() {
        let base = Url::parse_target("https://u:p@h.test:8443/a/b?q=1").unwrap();
        let cases = [
            ("/c", "relative https h.test:8443 /c"),
            ("c?x", "relative https h.test:8443 /a/c?x"),
            ("../c/.", "relative https h.test:8443 /c/"),
            ("?y=2", "relative https h.test:8443 /a/b?y=2"),
            ("#top", "relative https h.test:8443 /a/b?q=1"),
            ("", "relative https h.test:8443 /a/b?q=1"),
            ("//other/x", "absolute https other /x"),
            ("http://other:81", "absolute http other:81 /"),
        ];
        for (location, want) in cases {
            let (kind, url) = match base.join(location).unwrap() {
                Location::Http(Redirect::Relative(url)) => ("relative", url),
                Location::Http(Redirect::Absolute(url)) => ("absolute", url),
                Location::Other { scheme } => panic!("{scheme}"),
            };
            assert_eq!(
                format!("{kind} {} {} {}", url.scheme.as_str(), url.authority, url.path),
                want,
                "{location}"
            );
        }
        for (location, scheme) in
            [("ftp://x/", "ftp"), ("javascript:alert(1)", "javascript"), ("a+b:", "a+b")]
        {
            assert_eq!(base.join(location), Ok(Location::Other { scheme: scheme.to_owned() }));
        }
        for (location, why) in
            [("http://[::1", "missing ']' in host"), ("/%zz", "invalid URL escape \"%zz\"")]
        {
            let error = base.join(location).unwrap_err();
            assert_eq!(error, format!("cannot follow the redirect to {location:?}: {why}"));
        }
    }
    /// Pieces of which random URLs are put together.
    fn text() -> impl Strategy<Value = String> {
        let pieces = [
            "http://",
            "HTTPS://",
            "//",
            "/",
            "?",
            "#",
            "@",
            ":",
            "[",
            "]",
            "%",
            "%25",
            "%zz",
            "..",
            ".",
            "a.test",
            "127.0.0.1",
            "::1",
            "fe80::1%25lo",
            "8080",
            "65536",
            " ",
            "\0",
            "\r\n",
            "b\u{fc}cher",
            "\u{130}",
            "x=1",
            "javascript:",
            "xn--",
            "-",
            "\u{feff}",
        ];
        let pieces = proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..12);
        prop_oneof![any::<String>(), pieces.prop_map(|pieces| pieces.concat())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_text_is_a_url_that_can_be_sent_or_an_error(target in text(), location in text()) {
            let Ok(url) = Url::parse_target(&target) else { return Ok(()) };
            let sendable = |url: &Url| {
                url.path.starts_with('/') && url.path.bytes().all(|b| (0x21..0x7f).contains(&b)) && url.host.is_ascii()
            };
            prop_assert!(sendable(&url), "{url:?}");
            let _ = url.with_host("::1");
            if let Ok(Location::Http(Redirect::Relative(next) | Redirect::Absolute(next))) = url.join(&location) {
                prop_assert!(sendable(&next), "{next:?}");
            }
        }
    }
}
