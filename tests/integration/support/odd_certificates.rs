//! Certificates and servers of kinds that rustls does not have, made with OpenSSL.

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslVersion};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};

/// A certificate with its key.
#[derive(Clone)]
pub struct Odd {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// Which key, in bits; below 600 it is one of an elliptic curve.
fn key(bits: u32) -> PKey<Private> {
    if bits < 600 {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        return PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    }
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

impl Odd {
    /// A root with a key of so many bits.
    pub fn root(bits: u32) -> Self {
        Self::make(&format!("Root {bits}"), bits, 2, MessageDigest::sha256(), None)
    }

    /// Issues a certificate for 127.0.0.1 with a key of so many bits.
    pub fn issue(&self, bits: u32, digest: MessageDigest) -> Self {
        Self::make("leaf", bits, 2, digest, Some(self))
    }

    /// Issues one of X.509 version 1, without any extension.
    pub fn issue_version_1(&self, bits: u32) -> Self {
        Self::make("leaf", bits, 0, MessageDigest::sha256(), Some(self))
    }

    /// `version` is as in the certificate: one less than its name.
    fn make(name: &str, bits: u32, version: i32, digest: MessageDigest, issuer: Option<&Self>) -> Self {
        let key = key(bits);
        let mut subject = X509Name::builder().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(version).unwrap();
        let serial = BigNum::from_u32(7).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        builder.set_not_before(&Asn1Time::from_str("20200101000000Z").unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_str("20400101000000Z").unwrap()).unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(issuer.map_or(&subject, |issuer| issuer.certificate.subject_name())).unwrap();
        builder.set_pubkey(&key).unwrap();
        if version == 2 && issuer.is_none() {
            builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        } else if version == 2 {
            let context = builder.x509v3_context(None, None);
            let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&context).unwrap();
            builder.append_extension(names).unwrap();
        }
        builder.sign(issuer.map_or(&key, |issuer| &issuer.key), digest).unwrap();
        Self { certificate: builder.build(), key }
    }

    /// The certificate as a YAML value.
    pub fn yaml(&self) -> String {
        format!("{:?}", String::from_utf8(self.certificate.to_pem().unwrap()).unwrap())
    }

    /// The key as a YAML value.
    pub fn key_yaml(&self) -> String {
        format!("{:?}", String::from_utf8(self.key.private_key_to_pem_pkcs8().unwrap()).unwrap())
    }
}

/// A server that allows anything but what it is told to.
pub struct OldServer<'a> {
    pub versions: (SslVersion, SslVersion),
    /// Up to TLS 1.2, in OpenSSL's notation.
    pub suites: &'a str,
    pub groups: &'a str,
    /// Without one it can only do handshakes without authentication.
    pub leaf: Option<&'a Odd>,
    /// Demands a certificate of this root.
    pub client_root: Option<&'a Odd>,
}

impl OldServer<'_> {
    pub fn build(&self) -> SslContext {
        let mut builder = SslContextBuilder::new(SslMethod::tls_server()).unwrap();
        builder.set_security_level(0);
        builder.set_min_proto_version(Some(self.versions.0)).unwrap();
        builder.set_max_proto_version(Some(self.versions.1)).unwrap();
        builder.set_cipher_list(&format!("{}:@SECLEVEL=0", self.suites)).unwrap();
        builder.set_groups_list(self.groups).unwrap();
        if let Some(leaf) = self.leaf {
            builder.set_certificate(&leaf.certificate).unwrap();
            builder.set_private_key(&leaf.key).unwrap();
        }
        if let Some(root) = self.client_root {
            builder.cert_store_mut().add_cert(root.certificate.clone()).unwrap();
            builder.set_verify(
                openssl::ssl::SslVerifyMode::PEER | openssl::ssl::SslVerifyMode::FAIL_IF_NO_PEER_CERT,
            );
        }
        builder.build()
    }
}
