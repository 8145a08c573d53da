//! Which responses are redirects, and what changes when one is followed.

use hyper::{HeaderMap, StatusCode, header};

/// Redirects followed at most; the next one is the final response.
pub const MAX_REDIRECTS: u32 = 10;

/// What a redirect asks the client to do with its method and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// 301, 302, 303: ask again with GET.
    Get,
    /// 307, 308: repeat the request as it was.
    Repeat,
}

/// The rule and the `Location` of a response that is a redirect.
///
/// A redirect without `Location` is an ordinary response.
pub fn of(status: StatusCode, headers: &HeaderMap) -> Option<(Rule, &[u8])> {
    let rule = match status.as_u16() {
        301..=303 => Rule::Get,
        307 | 308 => Rule::Repeat,
        _ => return None,
    };
    headers.get(header::LOCATION).map(|location| (rule, location.as_bytes())).filter(|(_, l)| !l.is_empty())
}

/// Whether credentials given for `first` may be sent to `next`: the same host or one below it.
pub fn keeps_credentials(first: &str, next: &str) -> bool {
    let (first, next) = (first.to_ascii_lowercase(), next.to_ascii_lowercase());
    if first == next {
        return true;
    }
    // An address has no subdomains.
    let is_name = first.parse::<std::net::IpAddr>().is_err() && !first.is_empty();
    is_name && next.strip_suffix(&first).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_site_keeps_credentials() {
        let cases = [
            ("a.test", "a.test", true),
            ("a.test", "A.TEST", true),
            ("a.test", "b.a.test", true),
            ("b.a.test", "a.test", false),
            ("a.test", "xa.test", false),
            ("127.0.0.1", "1.127.0.0.1", false),
        ];
        for (first, next, want) in cases {
            assert_eq!(keeps_credentials(first, next), want, "{first} {next}");
        }
    }

    #[test]
    fn a_redirect_needs_a_code_and_a_location() {
        let mut headers = HeaderMap::new();
        assert_eq!(of(StatusCode::FOUND, &headers), None);
        headers.insert(header::LOCATION, "/x".parse().unwrap());
        let cases = [
            (301, Some(Rule::Get)),
            (303, Some(Rule::Get)),
            (304, None),
            (307, Some(Rule::Repeat)),
            (308, Some(Rule::Repeat)),
            (200, None),
        ];
        for (code, want) in cases {
            let got = of(StatusCode::from_u16(code).unwrap(), &headers);
            assert_eq!(got, want.map(|rule| (rule, b"/x".as_slice())), "{code}");
        }
    }
}
