//! Pure rules on status, headers and body; no I/O.

use hyper::HeaderMap;
use hyper::header::HeaderName;

use crate::regex::GoRegex;
use crate::runner::{Phase, ProbeError, Reason};

/// One entry of `fail_if_header_matches` or `fail_if_header_not_matches`.
#[derive(Debug)]
pub struct HeaderCheck {
    /// Which header.
    pub name: HeaderName,
    /// What its value is compared with.
    pub regexp: GoRegex,
    /// Whether a response without the header passes.
    pub allow_missing: bool,
}

/// The status code is among the valid ones; without any, 200 to 299 are.
///
/// # Errors
/// A sentence that names the code and the valid ones.
pub fn status(code: u16, valid: &[i64]) -> Result<(), ProbeError> {
    let is_valid =
        if valid.is_empty() { (200..300).contains(&code) } else { valid.contains(&i64::from(code)) };
    if is_valid {
        return Ok(());
    }
    let valid = if valid.is_empty() { "200 to 299".to_owned() } else { format!("{valid:?}") };
    Err(ProbeError::new(Phase::Check, Reason::Status, format!("status code {code} is not among {valid}")))
}

/// All `fail_if_header_matches`, then all `fail_if_header_not_matches`; the first failure ends it.
///
/// # Errors
/// A sentence that names the header and the expression.
pub fn headers(
    headers: &HeaderMap,
    matches: &[HeaderCheck],
    not_matches: &[HeaderCheck],
) -> Result<(), ProbeError> {
    let fail = |why: String| Err(ProbeError::new(Phase::Check, Reason::Header, why));
    for (check, wanted) in matches.iter().map(|c| (c, false)).chain(not_matches.iter().map(|c| (c, true))) {
        let mut values = headers.get_all(&check.name).iter().peekable();
        if values.peek().is_none() {
            if check.allow_missing {
                continue;
            }
            return fail(format!("the response has no header {}", check.name));
        }
        let matched = values.any(|value| check.regexp.is_match(value.as_bytes()));
        if matched != wanted {
            let verb = if matched { "matches" } else { "does not match" };
            return fail(format!("header {} {verb} {:?}", check.name, check.regexp.as_str()));
        }
    }
    Ok(())
}

/// All `fail_if_body_matches_regexp`, then all `fail_if_body_not_matches_regexp`.
///
/// # Errors
/// A sentence that names the expression.
pub fn body(body: &[u8], matches: &[GoRegex], not_matches: &[GoRegex]) -> Result<(), ProbeError> {
    let fail = |verb, regexp: &GoRegex| {
        let why = format!("the body {verb} {:?}", regexp.as_str());
        Err(ProbeError::new(Phase::Check, Reason::Body, why))
    };
    if let Some(regexp) = matches.iter().find(|regexp| regexp.is_match(body)) {
        return fail("matches", regexp);
    }
    if let Some(regexp) = not_matches.iter().find(|regexp| !regexp.is_match(body)) {
        return fail("does not match", regexp);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, regexp: &str, allow_missing: bool) -> HeaderCheck {
        HeaderCheck {
            name: HeaderName::from_static(name),
            regexp: GoRegex::parse(regexp).unwrap(),
            allow_missing,
        }
    }

    #[test]
    fn status_is_exact_membership() {
        let cases: [(u16, &[i64], Option<&str>); 4] = [
            (204, &[], None),
            (302, &[], Some("status code 302 is not among 200 to 299")),
            (302, &[302], None),
            (200, &[302, 404], Some("status code 200 is not among [302, 404]")),
        ];
        for (code, valid, want) in cases {
            assert_eq!(status(code, valid).err().map(|e| e.to_string()).as_deref(), want);
        }
    }

    #[test]
    fn headers_missing_or_matching() {
        let mut map = HeaderMap::new();
        map.append("x-a", "one".parse().unwrap());
        map.append("x-a", "two".parse().unwrap());
        let cases = [
            (vec![check("x-a", "three", false)], vec![], None),
            (vec![check("x-a", "two", false)], vec![], Some("header x-a matches \"two\"")),
            (vec![check("x-b", "two", false)], vec![], Some("the response has no header x-b")),
            (vec![check("x-b", "two", true)], vec![], None),
            (vec![], vec![check("x-a", "^two$", false)], None),
            (vec![], vec![check("x-a", "three", false)], Some("header x-a does not match \"three\"")),
            (vec![], vec![check("x-b", "three", false)], Some("the response has no header x-b")),
            (vec![], vec![check("x-b", "three", true)], None),
        ];
        for (matches, not_matches, want) in cases {
            let got = headers(&map, &matches, &not_matches);
            assert_eq!(got.err().map(|e| e.to_string()).as_deref(), want);
        }
    }

    #[test]
    fn bodies_match_or_not() {
        let re = |text| vec![GoRegex::parse(text).unwrap()];
        let cases = [
            (re("b+"), vec![], Some("the body matches \"b+\"")),
            (re("c"), re("b"), None),
            (vec![], re("c"), Some("the body does not match \"c\"")),
        ];
        for (matches, not_matches, want) in cases {
            let got = body(b"abba", &matches, &not_matches);
            assert_eq!(got.err().map(|e| e.to_string()).as_deref(), want);
        }
    }
}
