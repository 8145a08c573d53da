//! The text of a web configuration file to typed sections.
//!
//! Refused here is what makes the whole file useless: wrong shapes, unknown keys, header values,
//! names of versions, suites and curves. What only TLS or only one user suffers from is judged where
//! it is used, because a running server must then refuse only that.

use std::collections::HashMap;

use hyper::header::{HeaderName, HeaderValue};

use crate::config::Secret;
use crate::config::decode::{Context, Decode, Segment, quote};
use crate::config::duration::SignedDuration;
use crate::config::map::Map;
use crate::config::problem::{Position, Problem, Problems};
use crate::config::section::{fill_section, section};
use crate::config::sections::tls::TlsVersion;
use crate::config::yaml::emit::{Emit, Emitter};
use crate::config::yaml::parse;
use crate::config::yaml::scalar::Resolved;
use crate::config::yaml::tree::{Mapping, Node, NodeKind};

section! {
    /// A web configuration, as written.
    pub struct Sections {
        /// How to serve HTTPS; plain HTTP if nothing of a certificate is in it.
        tls_server_config: TlsSection,
        /// HTTP/2 and further headers.
        http_server_config: HttpSection,
        /// Names and bcrypt hashes; everybody is let in if there are none.
        basic_auth_users: Map<Secret>,
        /// How many requests are answered.
        rate_limit: RateLimitSection,
    }
}

section! {
    /// `tls_server_config`; files are relative to the folder of the web configuration file.
    pub struct TlsSection {
        /// The certificate chain, in PEM.
        cert: String,
        /// The private key, in PEM.
        key: Secret,
        /// Authorities of client certificates, in PEM.
        client_ca: String,
        /// A file with `cert`, which it takes the place of.
        cert_file: String,
        /// A file with `key`, which it takes the place of.
        key_file: String,
        /// What is asked of clients; empty means `NoClientCert`.
        client_auth_type: String,
        /// A file with `client_ca`, which it takes the place of.
        client_ca_file: String,
        /// Suites of TLS 1.2 by their IANA names, best first; all if empty.
        cipher_suites: Vec<String>,
        /// Groups of the key exchange, best first; all if empty.
        curve_preferences: Vec<String>,
        /// The oldest version.
        min_version: TlsVersion = TlsVersion::Tls12,
        /// The newest version.
        max_version: TlsVersion = TlsVersion::Tls13,
        /// Our order of suites decides, not the client's.
        prefer_server_cipher_suites: bool = true,
        /// The only alternative names of client certificates that are let in; everyone's if absent.
        client_allowed_sans: Option<Vec<String>>,
    }
    check TlsSection::check_names
}

section! {
    /// `http_server_config`.
    pub struct HttpSection {
        /// Offer HTTP/2 to clients that speak TLS.
        http2: bool = true,
        /// Headers of every reply to a client that the limit lets pass.
        headers: Map<String>,
    }
    check HttpSection::check_headers
}

section! {
    /// `rate_limit`: a bucket of tokens, one for each request.
    pub struct RateLimitSection {
        /// Tokens in the bucket at most.
        burst: i64,
        /// A token comes back after this time; zero switches the limit off.
        interval: Interval,
    }
}

/// Time between two tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval(pub SignedDuration);

impl Decode for Interval {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        match node.kind() {
            // A number without a unit counts nanoseconds in the toolkit.
            NodeKind::Scalar(Resolved::Int(nanos)) => Some(Self(SignedDuration::from_nanos(nanos))),
            _ => SignedDuration::decode(node, ctx).map(Self),
        }
    }
}

impl Emit for Interval {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
    fn emit(&self, out: &mut Emitter) {
        out.plain(&self.0);
    }
}

/// Suites whose names are accepted: those that Go counts as secure.
pub const CIPHER_SUITES: [&str; 13] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// Names of the groups of the key exchange.
pub const CURVES: [&str; 4] = ["X25519", "CurveP256", "CurveP384", "CurveP521"];

/// Headers that may be set, and the values each can have; any value if there are none.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

impl TlsSection {
    /// Whether the server speaks TLS.
    pub fn is_enabled(&self) -> bool {
        let texts = [
            &self.cert_file,
            &self.cert,
            &self.key_file,
            &self.client_ca_file,
            &self.client_ca,
            &self.client_auth_type,
        ];
        texts.iter().any(|text| !text.is_empty()) || !self.key.is_empty()
    }

    fn check_names<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let lists = [
            ("cipher_suites", "the IANA name of a secure suite", CIPHER_SUITES.as_slice()),
            ("curve_preferences", "X25519, CurveP256, CurveP384 or CurveP521", CURVES.as_slice()),
        ];
        for (key, what, known) in lists {
            let items = written.get(key).and_then(Node::items);
            for (index, item) in items.into_iter().flatten().enumerate() {
                if !item.is_null() && item.text().is_some_and(|text| !known.contains(&text)) {
                    ctx.within(Segment::Key(key), |ctx| {
                        ctx.within(Segment::Index(index), |ctx| ctx.expected(item, what));
                    });
                }
            }
        }
    }
}

impl HttpSection {
    fn check_headers<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let Some(node) = written.get("headers") else { return };
        let Some(mapping) = node.mapping(&mut Vec::new()) else { return };
        for (key, value) in mapping.pairs() {
            let Some(name) = key.text() else { continue };
            let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| *known == name) else {
                let known: Vec<&str> = HEADERS.iter().map(|(known, _)| *known).collect();
                let message =
                    format!("{} cannot set {}, only {}", ctx.key("headers"), quote(name), known.join(", "));
                ctx.error(key.position(), message);
                continue;
            };
            let text = if value.is_null() { Some("") } else { value.text() };
            let place = |ctx: &Context<'_>| format!("{}.{name}", ctx.key("headers"));
            match text {
                Some(text) if !allowed.is_empty() && !allowed.contains(&text) => {
                    let allowed = allowed.join(" or ");
                    let message = format!("{} must be {allowed}, got {}", place(ctx), quote(text));
                    ctx.error(value.position(), message);
                }
                Some(text) if header_value(text).is_none() => {
                    let message = format!("{} has characters that no header may have", place(ctx));
                    ctx.error(value.position(), message);
                }
                _ => {}
            }
        }
    }

    /// The headers ready to be sent; empty values leave their header out.
    pub fn header_list(&self) -> Vec<(HeaderName, HeaderValue)> {
        let parsed = self.headers.iter().filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, header_value(value)?))
        });
        parsed.filter(|(_, value)| !value.is_empty()).collect()
    }
}

/// Text as a header: line breaks become spaces, as Go has it, so a policy may be written in lines.
fn header_value(text: &str) -> Option<HeaderValue> {
    let line = text.replace(['\r', '\n'], " ");
    HeaderValue::from_bytes(line.trim().as_bytes()).ok()
}

/// A file that was read, with the places of its keys.
#[derive(Debug, Default)]
pub struct Parsed {
    /// What it says.
    pub sections: Sections,
    places: HashMap<String, Position>,
}

impl Parsed {
    /// Whether a section was written.
    pub fn has(&self, section: &str) -> bool {
        self.places.contains_key(section)
    }

    /// Where `section.key` stands, or where its section does, or where the file begins.
    pub fn place(&self, section: &str, key: &str) -> Position {
        let place = self.places.get(&format!("{section}.{key}")).or_else(|| self.places.get(section));
        place.copied().unwrap_or(Position::START)
    }
}

/// Reads a file. One without content is a server without TLS and without users.
///
/// # Errors
/// Everything that is wrong with it, in file order.
pub fn parse(text: &str) -> Result<Parsed, Problems> {
    let (tree, duplicates) =
        parse::parse(text).map_err(|problem| Problems { errors: vec![problem], warnings: Vec::new() })?;
    let mut ctx = Context::default();
    ctx.errors = duplicates;
    let mut parsed = Parsed::default();
    if let Some(root) = tree.root().filter(|root| !root.is_null()) {
        read(root, &mut parsed, &mut ctx);
    }
    let Context { mut errors, warnings, .. } = ctx;
    if errors.is_empty() {
        return Ok(parsed);
    }
    errors.sort_by_key(|problem: &Problem| problem.position);
    errors.dedup();
    Err(Problems { errors, warnings })
}

fn read<'t>(root: Node<'t>, parsed: &mut Parsed, ctx: &mut Context<'t>) {
    // A path that is empty would make an awkward sentence.
    if !matches!(root.kind(), NodeKind::Mapping) {
        ctx.error(root.position(), "the file must be a mapping of sections");
        return;
    }
    fill_section(&mut parsed.sections, root, ctx);
    let Some(file) = root.mapping(&mut Vec::new()) else { return };
    for (name, section) in file.pairs() {
        let Some(name) = name.text() else { continue };
        parsed.places.insert(name.to_owned(), section.position());
        let Some(section) = section.mapping(&mut Vec::new()) else { continue };
        for (key, value) in section.pairs() {
            if let Some(key) = key.text() {
                parsed.places.insert(format!("{name}.{key}"), value.position());
            }
        }
    }
}
