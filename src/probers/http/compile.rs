//! From the `http:` section to a prober.

use std::str::FromStr as _;

use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::Http;
use super::body::Compression;
use super::checks::HeaderCheck;
use super::http3;
use super::oauth2::TokenSource;
use super::proxy::Proxies;
use super::request::{Authentication, Body, Template, Value};
use crate::config::sections::http::{Codec, HeaderMatch, Http as Section};
use crate::config::sections::http_client::HttpClient;
use crate::config::sections::oauth2::OAuth2;
use crate::config::{Module, Secret};
use crate::probers::{target, tls_client};

/// Makes the prober of a module.
///
/// # Errors
/// The module needs something this version cannot do.
pub fn compile(module: &Module) -> Result<Http, String> {
    let section: &Section = &module.http;
    let client = &section.client;
    if section.enable_http3 && client.proxy.is_configured() {
        return Err("HTTP/3 (enable_http3) cannot go through a proxy".to_owned());
    }
    let alpn = if section.enable_http3 {
        vec![http3::ALPN.to_vec()]
    } else if client.enable_http2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        Vec::new()
    };
    // The name is chosen hop by hop, so the client must not insist on its own.
    let mut tls = (*client.tls_config).clone();
    let server_name = Some(std::mem::take(&mut tls.server_name)).filter(|name| !name.is_empty());
    let template = template(section)?;
    Ok(Http {
        preference: target::preference(&section.preferred_ip_protocol, section.ip_protocol_fallback),
        follow_redirects: client.follow_redirects,
        proxies: Proxies::compile(&client.proxy, &client.tls_config, environment)?,
        leaves_names: leaves_names(section),
        tokens: client.oauth2.as_deref().map(|oauth2| tokens(oauth2, &template)).transpose()?,
        template,
        server_name,
        tls: tls_client::compile(&tls, alpn),
        http3: section.enable_http3,
        compression: match section.codec() {
            Some(Codec::Identity) => Ok(Compression::Identity),
            Some(Codec::Gzip) => Ok(Compression::Gzip),
            Some(Codec::Brotli) => Ok(Compression::Brotli),
            Some(Codec::RawDeflate) => Ok(Compression::Deflate),
            None => Err(section.compression.clone()),
        },
        body_limit: section.body_size_limit.limit(),
        valid_status: section.valid_status_codes.clone(),
        valid_versions: section.valid_http_versions.clone(),
        header_matches: header_checks(&section.fail_if_header_matches)?,
        header_not_matches: header_checks(&section.fail_if_header_not_matches)?,
        body_matches: section.fail_if_body_matches_regexp.clone(),
        body_not_matches: section.fail_if_body_not_matches_regexp.clone(),
        cel_matches: section.fail_if_body_json_matches_cel.clone(),
        cel_not_matches: section.fail_if_body_json_not_matches_cel.clone(),
        fail_if_ssl: section.fail_if_ssl,
        fail_if_not_ssl: section.fail_if_not_ssl,
    })
}

/// Whether names are left to the proxy; as in the peer, also where none is used in the end.
pub fn leaves_names(section: &Section) -> bool {
    let proxy = &section.client.proxy;
    section.skip_resolve_phase_with_proxy && (proxy.proxy_url.is_some() || proxy.proxy_from_environment)
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn tokens(oauth2: &OAuth2, template: &Template) -> Result<TokenSource, String> {
    let proxies = Proxies::compile(&oauth2.proxy, &oauth2.tls_config, environment)
        .map_err(|why| format!("oauth2: {why}"))?;
    let agent = template.headers.get(header::USER_AGENT).cloned();
    let agent = agent.unwrap_or(HeaderValue::from_static(crate::USER_AGENT));
    TokenSource::compile(oauth2, proxies, agent).map_err(|why| format!("oauth2: {why}"))
}

fn template(section: &Section) -> Result<Template, String> {
    let method = Method::from_bytes(section.method().as_bytes())
        .map_err(|_| format!("{:?} is not an HTTP method", section.method()))?;
    let mut headers = HeaderMap::new();
    let mut removed = Vec::new();
    let mut host = None;
    for (name, value) in section.headers() {
        let name = header_name(&name)?;
        match name {
            // Both follow from the body, as in the peer.
            header::CONTENT_LENGTH | header::TRANSFER_ENCODING => {}
            header::HOST => host = Some(value.to_owned()).filter(|host| !host.is_empty()),
            header::USER_AGENT if value.is_empty() => removed.push(name),
            name => {
                headers.insert(name, header_value(value)?);
            }
        }
    }
    let mut added = Vec::new();
    for (name, source) in section.client.http_headers.iter().flat_map(|map| map.iter()) {
        let name = header_name(name)?;
        for value in &source.values {
            added.push((name.clone(), Value::Inline(Secret::from(value.as_str()))));
        }
        for secret in &source.secrets {
            added.push((name.clone(), Value::Inline(secret.clone())));
        }
        for file in &source.files {
            added.push((name.clone(), Value::File(file.into())));
        }
    }
    let body = if !section.body_file.is_empty() {
        Body::File(section.body_file.clone().into())
    } else if section.body.is_empty() {
        Body::Empty
    } else {
        Body::Inline(section.body.to_vec().into())
    };
    Ok(Template {
        method,
        headers,
        removed,
        host,
        added,
        authentication: authentication(&section.client),
        body,
    })
}

/// How an HTTP client of the configuration authenticates; `oauth2` is not known here.
pub fn authentication(client: &HttpClient) -> Option<Authentication> {
    let value = |secret: &Secret, file: &str| {
        if file.is_empty() { Value::Inline(secret.clone()) } else { Value::File(file.into()) }
    };
    if let Some(basic) = &client.basic_auth {
        return Some(Authentication::Basic {
            username: value(&Secret::from(basic.username.as_str()), &basic.username_file),
            password: value(&basic.password, &basic.password_file),
        });
    }
    let written = client.authorization.as_ref()?;
    Some(Authentication::Scheme {
        name: written.kind.clone(),
        credentials: value(&written.credentials, &written.credentials_file),
    })
}

fn header_checks(written: &[HeaderMatch]) -> Result<Vec<HeaderCheck>, String> {
    let check = |entry: &HeaderMatch| {
        let regexp = entry.regexp.clone().ok_or("a header check has no regexp")?;
        Ok(HeaderCheck { name: header_name(&entry.header)?, regexp, allow_missing: entry.allow_missing })
    };
    written.iter().map(check).collect()
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_str(name).map_err(|_| format!("{name:?} is not a header name"))
}

fn header_value(value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(value.as_bytes()).map_err(|_| "a header value has control characters".to_owned())
}
