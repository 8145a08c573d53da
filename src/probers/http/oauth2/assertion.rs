//! Signed tokens that are exchanged for access tokens (RFC 7523 §2.1, signed as in RFC 7515).

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, RsaEncoding, RsaKeyPair};
use data_encoding::BASE64URL_NOPAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

use crate::config::Secret;
use crate::config::sections::oauth2::OAuth2;
use crate::runner::{Phase, ProbeError, Reason};

/// Value of `grant_type`.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long an assertion is good for, as in the peer.
const LIFETIME: Duration = Duration::from_secs(600);

/// Everything about a module's assertions but time, id and key.
#[derive(Debug)]
pub struct Assertion {
    algorithm: &'static str,
    padding: &'static dyn RsaEncoding,
    key_id: Option<String>,
    claims: Map<String, Value>,
    /// Claims of the configuration, which win over all others.
    own_claims: Map<String, Value>,
}

impl Assertion {
    /// What the section says, with its defaults.
    pub fn compile(section: &OAuth2) -> Self {
        let (algorithm, padding): (_, &'static dyn RsaEncoding) = match section.signature_algorithm() {
            "RS384" => ("RS384", &signature::RSA_PKCS1_SHA384),
            "RS512" => ("RS512", &signature::RSA_PKCS1_SHA512),
            _ => ("RS256", &signature::RSA_PKCS1_SHA256),
        };
        let or = |text: &str, default: &str| Value::from(if text.is_empty() { default } else { text });
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), or(&section.iss, &section.client_id));
        claims.insert("sub".to_owned(), section.client_id.as_str().into());
        claims.insert("aud".to_owned(), or(&section.audience, &section.token_url));
        if !section.scopes.is_empty() {
            claims.insert("scope".to_owned(), section.scopes.join(" ").into());
        }
        let key_id = &section.client_certificate_key_id;
        Self {
            algorithm,
            padding,
            key_id: (!key_id.is_empty()).then(|| key_id.clone()),
            claims,
            own_claims: section
                .claims
                .iter()
                .map(|(name, claim)| (name.to_owned(), claim.0.clone()))
                .collect(),
        }
    }

    /// A new assertion, good from now on.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn sign(&self, signer: &Signer) -> Result<Secret, ProbeError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.sign_at(signer, now, uuid(rand::random()))
    }

    fn sign_at(&self, signer: &Signer, now: Duration, id: String) -> Result<Secret, ProbeError> {
        let mut header = json!({"alg": self.algorithm, "typ": "JWT"});
        if let Some(id) = &self.key_id {
            header["kid"] = id.as_str().into();
        }
        let mut claims = self.claims.clone();
        claims.insert("jti".to_owned(), id.into());
        claims.insert("iat".to_owned(), now.as_secs().into());
        claims.insert("exp".to_owned(), (now + LIFETIME).as_secs().into());
        claims.extend(self.own_claims.clone());
        let [header, claims] =
            [header, Value::Object(claims)].map(|part| encode(part.to_string().as_bytes()));
        let message = format!("{header}.{claims}");
        let mut signed = vec![0; signer.0.public_modulus_len()];
        let result = signer.0.sign(self.padding, &SystemRandom::new(), message.as_bytes(), &mut signed);
        result.map_err(|_| ProbeError::new(Phase::Token, Reason::Config, "the key cannot sign the token"))?;
        Ok(Secret::from(format!("{message}.{}", encode(&signed)).as_str()))
    }
}

/// A private key.
pub struct Signer(RsaKeyPair);

impl Signer {
    /// Reads an RSA key in PEM, of PKCS #1 or PKCS #8.
    ///
    /// # Errors
    /// The rest of a sentence that begins with where the key is from.
    pub fn new(pem: &str) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "holds no unencrypted private key in PEM".to_owned())?;
        let pair = match &key {
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            _ => return Err("is not an RSA key".to_owned()),
        };
        pair.map(Self).map_err(|why| format!("is no usable RSA key ({why})"))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// A random UUID (RFC 9562 §5.4).
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_random_uuids() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn what_is_no_rsa_key_is_refused_with_a_sentence() {
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let cases = [
            ("", "holds no unencrypted private key in PEM"),
            ("hunter2", "holds no unencrypted private key in PEM"),
            (&elliptic, "is no usable RSA key (WrongAlgorithm)"),
        ];
        for (pem, want) in cases {
            assert_eq!(Signer::new(pem).err().as_deref(), Some(want));
        }
    }
}
