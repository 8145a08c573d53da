//! `oauth2`: how to get an access token before the request.

use super::tls::TlsConfig;
use super::{at_most_one, is_written, note_unused, refuse_refs};
use crate::config::decode::{Context, Decode, key_text, quote};
use crate::config::map::Map;
use crate::config::secret::Secret;
use crate::config::section::{Defaulted, section};
use crate::config::sections::proxy::Proxy;
use crate::config::yaml::emit::{Emit, Emitter};
use crate::config::yaml::scalar::Resolved;
use crate::config::yaml::tree::{Mapping, Node, NodeKind};

/// `grant_type` of RFC 7523; anything else means client credentials.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Values of `signature_algorithm`; the first is the default.
const SIGNATURE_ALGORITHMS: [&str; 3] = ["RS256", "RS384", "RS512"];

/// Keys that only a signed token needs.
const JWT_KEYS: [&str; 8] = [
    "client_certificate_key_id",
    "client_certificate_key",
    "client_certificate_key_file",
    "client_certificate_key_ref",
    "signature_algorithm",
    "iss",
    "audience",
    "claims",
];

section! {
    /// OAuth 2.0 client credentials (RFC 6749 §4.4) or JWT bearer grants (RFC 7523).
    pub struct OAuth2 {
        /// Required.
        client_id: String,
        /// The client's password.
        client_secret: Secret,
        /// A file with `client_secret`.
        client_secret_file: String,
        /// Accepted for compatibility; cannot work.
        client_secret_ref: String,
        /// `kid` of the signed token.
        client_certificate_key_id: String,
        /// The key that signs the token, in PEM.
        client_certificate_key: Secret,
        /// A file with `client_certificate_key`.
        client_certificate_key_file: String,
        /// Accepted for compatibility; cannot work.
        client_certificate_key_ref: String,
        /// `client_credentials` if absent.
        grant_type: String,
        /// Signs the token; see [`OAuth2::signature_algorithm`].
        signature_algorithm: String,
        /// Issuer of the token; `client_id` if absent.
        iss: String,
        /// Audience of the token; `token_url` if absent.
        audience: String,
        /// Further claims of the token.
        claims: Map<Claim>,
        /// Scopes to ask for.
        scopes: Vec<String>,
        /// Required. Where tokens are fetched.
        token_url: String,
        /// Further parameters of the token request.
        endpoint_params: Map<String>,
        /// TLS towards `token_url`.
        tls_config: Defaulted<TlsConfig>,
    }
    /// Proxy towards `token_url`.
    inline proxy: Proxy,
    check OAuth2::validate
}

impl OAuth2 {
    /// Whether the grant is a signed token rather than client credentials.
    pub fn is_jwt_bearer(&self) -> bool {
        self.grant_type == JWT_BEARER
    }

    /// The algorithm to sign with, default filled in.
    pub fn signature_algorithm(&self) -> &str {
        match self.signature_algorithm.as_str() {
            "" => SIGNATURE_ALGORITHMS[0],
            name => name,
        }
    }

    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        for key in ["client_id", "token_url"] {
            if written.get(key).and_then(Node::text).is_none_or(str::is_empty)
                && !written.get(key).is_some_and(is_collection)
            {
                ctx.error_here(written.position_of(key), format!("needs a {key}"));
            }
        }
        let keys = [
            ("client_certificate_key", !self.client_certificate_key.is_empty()),
            ("client_certificate_key_file", !self.client_certificate_key_file.is_empty()),
            ("client_certificate_key_ref", !self.client_certificate_key_ref.is_empty()),
        ];
        let secrets = [
            ("client_secret", !self.client_secret.is_empty()),
            ("client_secret_file", !self.client_secret_file.is_empty()),
            ("client_secret_ref", !self.client_secret_ref.is_empty()),
        ];
        if self.is_jwt_bearer() {
            at_most_one(&keys, written, ctx);
            let algorithm = self.signature_algorithm();
            if !SIGNATURE_ALGORITHMS.contains(&algorithm) {
                let message = format!(
                    "{} must be RS256, RS384 or RS512, got {}",
                    ctx.key("signature_algorithm"),
                    quote(algorithm)
                );
                ctx.error(written.position_of("signature_algorithm"), message);
            }
            let reference = ("client_certificate_key_ref", &*self.client_certificate_key_ref);
            refuse_refs(&[reference], true, written, ctx);
            self.note_keys_of_other_grant(
                &["client_secret", "client_secret_file", "client_secret_ref"],
                written,
                ctx,
            );
        } else {
            at_most_one(&secrets, written, ctx);
            let reference = ("client_secret_ref", self.client_secret_ref.as_str());
            refuse_refs(&[reference], true, written, ctx);
            self.note_keys_of_other_grant(&JWT_KEYS, written, ctx);
            if !matches!(self.grant_type.as_str(), "" | "client_credentials") {
                let (path, shown) = (ctx.key("grant_type"), quote(&self.grant_type));
                let message = format!(
                    "{path} should be client_credentials or {JWT_BEARER}, got {shown}, which works like the first"
                );
                ctx.note(written.position_of("grant_type"), message);
            }
        }
        self.tls_config.warn(true, written, ctx);
    }

    fn note_keys_of_other_grant<'t>(&self, keys: &[&str], written: &Mapping<'t>, ctx: &mut Context<'t>) {
        let why =
            if self.is_jwt_bearer() { "with grant_type jwt-bearer" } else { "without grant_type jwt-bearer" };
        for key in keys.iter().filter(|key| is_written(key, written)) {
            note_unused(key, why, written, ctx);
        }
    }
}

fn is_collection(node: Node<'_>) -> bool {
    !matches!(node.kind(), NodeKind::Scalar(_))
}

/// A claim's value: any JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim(pub serde_json::Value);

impl Decode for Claim {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        claim(node, ctx).map(Self)
    }
}

/// The tree is at most `MAX_DEPTH` deep, so recursion is bounded.
fn claim<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<serde_json::Value> {
    use serde_json::Value;
    Some(match node.kind() {
        NodeKind::Scalar(Resolved::Null) => Value::Null,
        NodeKind::Scalar(Resolved::Bool(value)) => Value::Bool(value),
        NodeKind::Scalar(Resolved::Int(value)) => Value::from(value),
        NodeKind::Scalar(Resolved::Float(value)) => Value::from(value),
        NodeKind::Scalar(Resolved::Text) => Value::String(String::decode(node, ctx)?),
        NodeKind::Sequence => {
            let mut list = Vec::new();
            for item in node.items().into_iter().flatten() {
                list.push(claim(item, ctx)?);
            }
            Value::Array(list)
        }
        NodeKind::Mapping => {
            let mut object = serde_json::Map::new();
            for (key, value) in crate::config::decode::mapping(node, ctx)?.pairs() {
                if let Some(name) = key_text(key, ctx) {
                    object.insert(name.to_owned(), claim(value, ctx)?);
                }
            }
            Value::Object(object)
        }
    })
}

impl Emit for Claim {
    fn is_empty(&self) -> bool {
        false
    }
    fn emit(&self, out: &mut Emitter) {
        use serde_json::Value;
        match &self.0 {
            Value::String(text) => out.string(text),
            Value::Array(items) => out.block("[]", |out| {
                for item in items {
                    out.item(&Claim(item.clone()));
                }
            }),
            Value::Object(entries) => out.block("{}", |out| {
                for (name, value) in entries {
                    out.entry(name, &Claim(value.clone()));
                }
            }),
            scalar => out.plain(scalar),
        }
    }
}
