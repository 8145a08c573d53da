//! `http`: one request, its redirects, and checks on the final answer.

use super::address::IpPreference;
use super::http_client::{HttpClient, check_header, key_position};
use super::tls::TlsVersion;
use super::{is_written, note_unused};
use crate::config::byte_size::ByteSize;
use crate::config::bytes::Bytes;
use crate::config::cel::CelProgram;
use crate::config::decode::{Context, Segment, quote};
use crate::config::header::{canonical_name, is_header_value, is_token, same_header};
use crate::config::map::Map;
use crate::config::secret::Secret;
use crate::config::section::section;
use crate::config::yaml::tree::{Mapping, Node, NodeKind};
use crate::regex::GoRegex;

/// What a response's version can be.
const HTTP_VERSIONS: [&str; 4] = ["HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/3.0"];

section! {
    /// An HTTP request and what its answer must look like.
    pub struct Http {
        /// Acceptable status codes; 200 to 299 if empty.
        valid_status_codes: Vec<i64>,
        /// Acceptable versions, such as `HTTP/2.0`; any if empty.
        valid_http_versions: Vec<String>,
        /// The address family tried first.
        preferred_ip_protocol: IpPreference,
        /// Use the other family if the target has no address in the preferred one.
        ip_protocol_fallback: bool = true,
        /// Leave resolving to the proxy.
        skip_resolve_phase_with_proxy: bool,
        /// Deprecated, overrides `follow_redirects`; `None` once loaded.
        no_follow_redirects: Option<bool>,
        /// Fail if the final answer came over TLS.
        fail_if_ssl: bool,
        /// Fail if the final answer came without TLS.
        fail_if_not_ssl: bool,
        /// The method; see [`Http::method`].
        method: String,
        /// Request headers; see [`Http::headers`].
        headers: Map<String>,
        /// Fail if the body matches one of these.
        fail_if_body_matches_regexp: Vec<GoRegex>,
        /// Fail unless the body matches all of these.
        fail_if_body_not_matches_regexp: Vec<GoRegex>,
        /// Fail if this is true of the body.
        fail_if_body_json_matches_cel: Option<CelProgram>,
        /// Fail if this is false of the body.
        fail_if_body_json_not_matches_cel: Option<CelProgram>,
        /// Fail if a header matches.
        fail_if_header_matches: Vec<HeaderMatch>,
        /// Fail unless a header matches.
        fail_if_header_not_matches: Vec<HeaderMatch>,
        /// The request's body.
        body: Bytes,
        /// A file with the request's body, read when a probe runs.
        body_file: String,
        /// How to decode the answer; see [`Http::codec`].
        compression: String,
        /// Fail if the decoded body is longer.
        body_size_limit: ByteSize,
        /// Use HTTP/3 and nothing else.
        enable_http3: bool,
    }
    /// Authentication, TLS, redirects and proxies.
    inline client: HttpClient,
    check Http::validate
}

section! {
    /// A pattern for one header.
    pub struct HeaderMatch {
        /// Required. Its name, in any spelling.
        header: String,
        /// Required. Matched against each value.
        regexp: Option<GoRegex>,
        /// Do not fail if the header is absent.
        allow_missing: bool,
    }
    check HeaderMatch::validate
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 1951, without the zlib frame that HTTP's `deflate` has.
    RawDeflate,
    /// Not at all.
    Identity,
}

impl Codec {
    /// The codec of a `compression` value in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" => Some(Self::Gzip),
            "br" => Some(Self::Brotli),
            "deflate" => Some(Self::RawDeflate),
            "identity" => Some(Self::Identity),
            _ => None,
        }
    }
}

impl Http {
    /// The method, GET by default.
    pub fn method(&self) -> &str {
        match self.method.as_str() {
            "" => "GET",
            method => method,
        }
    }

    /// How to decode the body, identity by default; `None` if the name is unknown.
    pub fn codec(&self) -> Option<Codec> {
        match self.compression.as_str() {
            "" => Some(Codec::Identity),
            name => Codec::from_name(name),
        }
    }

    /// Whether a header cannot be sent because of its name or value.
    pub fn has_impossible_header(&self) -> bool {
        let added = self.client.http_headers.iter().flat_map(|headers| headers.iter());
        let mut added = added.map(|(name, source)| {
            let secrets = source.secrets.iter().map(Secret::expose);
            let mut values = source.values.iter().map(String::as_str).chain(secrets);
            is_token(name) && values.all(is_header_value)
        });
        let mut own = self.headers.iter().map(|(name, value)| is_token(name) && is_header_value(value));
        !(own.all(|good| good) && added.all(|good| good))
    }

    /// The request headers in canonical spelling. Of several spellings of one name the first in
    /// byte order is sent.
    pub fn headers(&self) -> Vec<(String, &str)> {
        let mut headers: Vec<(String, &str)> = Vec::new();
        for (name, value) in self.headers.iter() {
            if !headers.iter().any(|(earlier, _)| same_header(earlier, name)) {
                headers.push((canonical_name(name), value));
            }
        }
        headers
    }

    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let at = |key| written.position_of(key);
        if let Some(refuse) = self.no_follow_redirects.take() {
            self.client.follow_redirects = !refuse;
            if is_written("follow_redirects", written) {
                note_unused("follow_redirects", "with no_follow_redirects", written, ctx);
            }
            let path = ctx.key("no_follow_redirects");
            ctx.note(
                at("no_follow_redirects"),
                format!("{path} is deprecated; use follow_redirects: {}", !refuse),
            );
        }
        if !self.body.is_empty() && !self.body_file.is_empty() {
            ctx.error_here(at("body_file"), "may have only one of body and body_file");
        }
        if !self.method.is_empty() && !is_token(&self.method) {
            let message =
                format!("{} must be an HTTP method, got {}", ctx.key("method"), quote(&self.method));
            ctx.breaks(at("method"), message);
        }
        if !self.compression.is_empty() && Codec::from_name(&self.compression).is_none() {
            let message = format!(
                "{} must be gzip, br, deflate or identity, got {}",
                ctx.key("compression"),
                quote(&self.compression)
            );
            ctx.note(at("compression"), message);
        }
        self.check_headers(written, ctx);
        self.check_versions(written, ctx);
        self.check_statuses(written, ctx);
        self.note_combinations(written, ctx);
    }

    /// Keys that another one leaves without work, or with which no probe can succeed.
    fn note_combinations<'t>(&self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        if self.skip_resolve_phase_with_proxy && !self.client.proxy.is_configured() {
            note_unused("skip_resolve_phase_with_proxy", "without a proxy", written, ctx);
        }
        if self.fail_if_ssl && self.fail_if_not_ssl {
            let path = ctx.key("fail_if_not_ssl");
            ctx.note(
                written.position_of("fail_if_not_ssl"),
                format!("{path} and fail_if_ssl together fail every probe"),
            );
        }
        if self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Authorization")) {
            let keys = ["basic_auth", "authorization", "bearer_token", "bearer_token_file"];
            for key in keys.iter().filter(|key| is_written(key, written)) {
                note_unused(key, "with Authorization among the headers", written, ctx);
            }
        }
        let limit = written.get("body_size_limit").and_then(Node::text);
        if limit.is_some_and(|text| text.starts_with('-')) && self.body_size_limit != ByteSize::default() {
            let path = ctx.key("body_size_limit");
            ctx.note(
                written.position_of("body_size_limit"),
                format!("{path} is negative, which means no limit"),
            );
        }
    }

    fn check_statuses<'t>(&self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        for code in self.valid_status_codes.iter().filter(|code| !(100..=999).contains(*code)) {
            let path = ctx.key("valid_status_codes");
            ctx.note(
                written.position_of("valid_status_codes"),
                format!("{path} has {code}, which no answer ever has"),
            );
        }
    }

    fn check_headers<'t>(&self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let Some(headers) = written.get("headers").and_then(|node| node.mapping(&mut Vec::new())) else {
            return;
        };
        ctx.within(Segment::Key("headers"), |ctx| {
            for (index, (name, value)) in self.headers.iter().enumerate() {
                let at = || key_position(&headers, name);
                check_header(name, is_header_value(value), at, ctx);
                if name.eq_ignore_ascii_case("Accept-Encoding") && !accepts(value, &self.compression) {
                    let rest = format!(
                        "has {name}: {}, which does not accept the compression {}",
                        quote(value),
                        quote(&self.compression)
                    );
                    ctx.error_here(at(), rest);
                }
                if ["Content-Length", "Transfer-Encoding"].iter().any(|other| same_header(other, name)) {
                    let message = format!(
                        "{} has {}, which follows from the body and is not sent",
                        ctx.path(),
                        quote(name)
                    );
                    ctx.note(at(), message);
                }
                let mut earlier = self.headers.iter().take(index);
                if let Some((winner, _)) = earlier.find(|(other, _)| same_header(other, name)) {
                    let message = format!(
                        "{} has {}, which is the header {} again and is not sent",
                        ctx.path(),
                        quote(name),
                        quote(winner)
                    );
                    ctx.note(at(), message);
                }
            }
        });
    }

    fn check_versions<'t>(&self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let at = |key| written.position_of(key);
        let is_listed = |version: &str| self.valid_http_versions.iter().any(|v| v == version);
        for version in &self.valid_http_versions {
            if !HTTP_VERSIONS.contains(&version.as_str()) {
                let message = format!(
                    "{} has {}, which no answer ever has; the versions are {}",
                    ctx.key("valid_http_versions"),
                    quote(version),
                    HTTP_VERSIONS.join(", ")
                );
                ctx.note(at("valid_http_versions"), message);
            }
        }
        if is_listed("HTTP/2.0") && !self.client.enable_http2 && !self.enable_http3 {
            let message = format!(
                "{} has \"HTTP/2.0\", which no answer has with enable_http2: false",
                ctx.key("valid_http_versions")
            );
            ctx.note(at("valid_http_versions"), message);
        }
        if !self.enable_http3 {
            if is_listed("HTTP/3.0") {
                let message =
                    format!("{} may have HTTP/3.0 only with enable_http3", ctx.key("valid_http_versions"));
                ctx.error(at("valid_http_versions"), message);
            }
            return;
        }
        let path = ctx.key("enable_http3");
        if is_listed("HTTP/1.1") || is_listed("HTTP/2.0") {
            let message =
                format!("{} may have only HTTP/3.0 with enable_http3", ctx.key("valid_http_versions"));
            ctx.error(at("valid_http_versions"), message);
        }
        if self.client.enable_http2 {
            let message = format!("{path} needs enable_http2: false");
            ctx.error(at("enable_http3"), message);
        }
        if self.client.proxy.is_configured() {
            let message = format!("{path} cannot be used with a proxy");
            ctx.breaks(at("enable_http3"), message);
        }
        if self.client.tls_config.max_version.is_some_and(|max| max < TlsVersion::Tls13) {
            let message = format!("{path} needs TLS 1.3, above the max_version of tls_config");
            ctx.breaks(at("enable_http3"), message);
        }
        ctx.note(at("enable_http3"), format!("{path} makes http:// targets https://"));
    }
}

impl HeaderMatch {
    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        // A value of the wrong type has been reported and needs no second message.
        let is_absent = |key| {
            let node = written.get(key);
            node.is_none_or(|node| matches!(node.kind(), NodeKind::Scalar(_)))
        };
        if self.header.is_empty() && is_absent("header") {
            ctx.error_here(written.position_of("header"), "needs a header");
        }
        if !self.header.is_empty() && !is_token(&self.header) {
            let message = format!("{} must be a header name, got {}", ctx.key("header"), quote(&self.header));
            ctx.breaks(written.position_of("header"), message);
        }
        let pattern = written.get("regexp");
        let is_blank = pattern.is_none_or(|node| node.is_null() || node.text() == Some(""));
        if is_blank {
            ctx.error_here(written.position_of("regexp"), "needs a regexp");
        }
    }
}

/// Whether an `Accept-Encoding` value asks for `compression`, by the peer's rules: the first
/// item by quality that names it or is `*` decides.
fn accepts(value: &str, compression: &str) -> bool {
    if compression.is_empty() || value.is_empty() {
        return true;
    }
    let mut items: Vec<(&str, f32)> = value
        .split(',')
        .map(|item| match item.rsplit_once(';') {
            None => (item.trim(), 1.0),
            Some((name, quality)) => {
                let quality = quality.trim();
                let quality = quality.strip_prefix("q=").unwrap_or(quality);
                let quality: f32 = quality.parse().unwrap_or(0.0);
                (name.trim(), (quality * 1000.0).round() / 1000.0)
            }
        })
        .collect();
    items.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    items
        .iter()
        .find(|(name, _)| *name == compression || *name == "*")
        .is_some_and(|(_, quality)| *quality > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_encoding_must_cover_the_compression() {
        let cases = [
            ("br", "gzip, compress, *", true),
            ("br", "gzip, compress, br;q=0.0", false),
            ("br", "*;q=0.0, compress;q=0.5, br;q=0.1, gzip", true),
            ("gzip", "GZIP", false),
            ("GZIP", "gzip", false),
            ("gzip", "deflate", false),
            ("gzip", "", true),
            ("", "br", true),
            ("gzip", "gzip;q=nonsense", false),
            ("gzip", "gzip;q=0.0004", false),
            ("gzip", "a;b;q=1, gzip ; q=0.5", true),
        ];
        for (compression, value, want) in cases {
            assert_eq!(accepts(value, compression), want, "{compression} {value}");
        }
    }
}
