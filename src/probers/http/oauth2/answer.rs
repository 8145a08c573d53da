//! What a token server answers (RFC 6749 §5), as leniently as Go's oauth2 package reads it.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use serde_json::Value;

use super::super::request;
use crate::config::Secret;
use crate::logging::clip;
use crate::runner::{Phase, ProbeError, Reason};

/// Bytes of a server's explanation that an error repeats.
const MAX_EXPLANATION_BYTES: usize = 300;

/// An access token as it is sent.
#[derive(Debug)]
pub struct Token {
    /// Type and token: the value of `Authorization`.
    pub authorization: HeaderValue,
    /// `None`: the server did not say, so it is good until it is refused.
    expires: Option<Instant>,
}

impl Token {
    /// Whether the token has not expired at that time.
    pub fn is_good(&self, at: Instant) -> bool {
        self.expires.is_none_or(|expires| at < expires)
    }
}

/// The fields of an answer, whichever form it has.
#[derive(Default)]
struct Fields {
    access_token: String,
    token_type: String,
    expires_in: Option<i64>,
    error: String,
    description: String,
}

/// Reads an answer. `secret` was sent to the server and must not come back in an error.
///
/// # Errors
/// A status other than 2xx, a body of no known form, no token in it, or one that has expired.
pub fn read(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    secret: &Secret,
) -> Result<Token, ProbeError> {
    let fail = |reason, why: String| ProbeError::new(Phase::Token, reason, why);
    let fields = match content_type(headers) {
        "application/x-www-form-urlencoded" | "text/plain" => Ok(from_form(body)),
        _ => from_json(body),
    };
    let explanation = fields.as_ref().map(|fields| fields.explain(secret)).unwrap_or_default();
    if !status.is_success() {
        return Err(fail(
            Reason::Status,
            format!("the token server answered with status {status}{explanation}"),
        ));
    }
    let fields = fields.map_err(|why| fail(Reason::Protocol, format!("the token server's answer {why}")))?;
    if !fields.error.is_empty() {
        return Err(fail(Reason::NoToken, format!("the token server refused{explanation}")));
    }
    if fields.access_token.is_empty() {
        let why = "the token server's answer has no access_token".to_owned();
        return Err(fail(Reason::NoToken, why));
    }
    let expires = match fields.expires_in {
        None | Some(0) => None,
        Some(seconds @ 1..) => {
            // Go counts these seconds in 32 bits.
            let seconds = u64::try_from(seconds.min(i64::from(i32::MAX))).unwrap_or_default();
            Some(Instant::now() + Duration::from_secs(seconds))
        }
        Some(seconds) => {
            let why = format!("the token server gave a token with expires_in {seconds}");
            return Err(fail(Reason::TokenExpired, why));
        }
    };
    let text = format!("{} {}", canonical_type(&fields.token_type), fields.access_token);
    let authorization = request::sensitive(&text)
        .map_err(|_| fail(Reason::NoToken, "the token has characters that no header may have".to_owned()))?;
    Ok(Token { authorization, expires })
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

impl Fields {
    /// What the server says about its refusal, to stand at the end of a sentence.
    fn explain(&self, secret: &Secret) -> String {
        if self.error.is_empty() {
            return String::new();
        }
        let hide = |text: &str| match secret.expose() {
            "" => text.to_owned(),
            secret => text.replace(secret, crate::config::secret::MASK),
        };
        let mut text = format!(": {:?}", hide(&self.error));
        if !self.description.is_empty() {
            text.push_str(&format!(" {:?}", hide(&self.description)));
        }
        clip(&mut text, MAX_EXPLANATION_BYTES);
        text
    }
}

fn from_json(body: &[u8]) -> Result<Fields, String> {
    let value: Value = serde_json::from_slice(body).map_err(|_| "is not JSON".to_owned())?;
    let object = value.as_object().ok_or("is not a JSON object")?;
    let text = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("has no text in {name}")),
    };
    let expires_in = match object.get("expires_in") {
        None | Some(Value::Null) => None,
        // Some servers send the number as a text.
        Some(Value::String(text)) => Some(text.parse().map_err(|_| BAD_EXPIRY)?),
        Some(number) => {
            Some(number.as_i64().or(number.as_f64().map(|seconds| seconds as i64)).ok_or(BAD_EXPIRY)?)
        }
    };
    Ok(Fields {
        access_token: text("access_token")?,
        token_type: text("token_type")?,
        expires_in,
        error: text("error")?,
        description: text("error_description")?,
    })
}

const BAD_EXPIRY: &str = "has an expires_in that is not a number";

fn from_form(body: &[u8]) -> Fields {
    let mut fields = Fields::default();
    for pair in body.split(|byte| *byte == b'&') {
        let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        let value = decode(value);
        match decode(name).as_str() {
            "access_token" => fields.access_token = value,
            "token_type" => fields.token_type = value,
            "expires_in" => fields.expires_in = value.parse().ok(),
            "error" => fields.error = value,
            "error_description" => fields.description = value,
            _ => {}
        }
    }
    fields
}

/// One name or value of a form; a percent sign that escapes nothing stands for itself.
fn decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, escaped) {
            (b'%', Some(escaped)) => {
                bytes.push(escaped);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The scheme a token type is sent as.
fn canonical_type(written: &str) -> &str {
    let known = ["Bearer", "MAC", "Basic"].into_iter().find(|known| known.eq_ignore_ascii_case(written));
    match (known, written) {
        (Some(known), _) => known,
        (None, "") => "Bearer",
        (None, written) => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn answer(
        status: u16,
        content_type: &str,
        body: &str,
    ) -> Result<(String, Option<u64>), (String, String)> {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let before = Instant::now();
        match read(status, &headers, body.as_bytes(), &Secret::from("hunter2")) {
            Ok(token) => {
                assert!(token.authorization.is_sensitive());
                let expires = token.expires.map(|expires| (expires - before).as_secs());
                Ok((token.authorization.to_str().unwrap().to_owned(), expires))
            }
            Err(error) => {
                assert_eq!(error.phase, Phase::Token);
                Err((error.reason.to_string(), error.to_string()))
            }
        }
    }

    #[test]
    fn tokens_in_every_form() {
        let cases = [
            (
                "application/json",
                r#"{"access_token": "t", "token_type": "bearer", "expires_in": 60}"#,
                "Bearer t",
                Some(60),
            ),
            ("", r#"{"access_token": "t"}"#, "Bearer t", None),
            ("", r#"{"access_token": "t", "token_type": "MAC", "expires_in": "60"}"#, "MAC t", Some(60)),
            ("", r#"{"access_token": "t", "token_type": "DPoP", "expires_in": 60.7}"#, "DPoP t", Some(60)),
            ("", r#"{"access_token": "t", "expires_in": null, "error": null}"#, "Bearer t", None),
            ("", r#"{"access_token": "t", "expires_in": 0}"#, "Bearer t", None),
            ("", r#"{"access_token": "t", "expires_in": 9e18}"#, "Bearer t", Some(2_147_483_647)),
            (FORM, "access_token=a%2Bb+c&token_type=basic&expires_in=5&x", "Basic a+b c", Some(5)),
            ("text/plain; charset=utf-8", "access_token=a%zz", "Bearer a%zz", None),
        ];
        for (content_type, body, want, expires) in cases {
            assert_eq!(answer(200, content_type, body), Ok((want.to_owned(), expires)), "{body}");
        }
    }

    #[test]
    fn everything_else_has_a_reason() {
        let cases = [
            (401, "", "", "status", "the token server answered with status 401 Unauthorized"),
            (
                400,
                "",
                r#"{"error": "invalid_client", "error_description": "hunter2 is wrong"}"#,
                "status",
                "the token server answered with status 400 Bad Request: \"invalid_client\" \"<secret> is wrong\"",
            ),
            (200, "", r#"{"error": "no"}"#, "no_token", "the token server refused: \"no\""),
            (200, "", "<html>", "protocol", "the token server's answer is not JSON"),
            (200, "", "[]", "protocol", "the token server's answer is not a JSON object"),
            (200, "", "{}", "no_token", "the token server's answer has no access_token"),
            (200, FORM, "<html>", "no_token", "the token server's answer has no access_token"),
            (
                200,
                "",
                r#"{"access_token": 5}"#,
                "protocol",
                "the token server's answer has no text in access_token",
            ),
            (
                200,
                "",
                r#"{"access_token": "t", "expires_in": "soon"}"#,
                "protocol",
                "the token server's answer has an expires_in that is not a number",
            ),
            (
                200,
                "",
                r#"{"access_token": "t", "expires_in": -1}"#,
                "token_expired",
                "the token server gave a token with expires_in -1",
            ),
            (
                200,
                "",
                r#"{"access_token": "a\nb"}"#,
                "no_token",
                "the token has characters that no header may have",
            ),
        ];
        for (status, content_type, body, reason, why) in cases {
            let want = Err((reason.to_owned(), why.to_owned()));
            assert_eq!(answer(status, content_type, body), want, "{body}");
        }
    }
}
