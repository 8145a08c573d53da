//! A certificate authority and what it issues, made for each test.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

/// A root that issues server certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// Which years a certificate is valid in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// From [`BEGIN`] to [`END`].
    Now,
    /// Ended long ago.
    Past,
}

/// Begin of [`Validity::Now`], 2020-01-01, as unix time.
pub const BEGIN: f64 = 1_577_836_800.0;
/// End of [`Validity::Now`], 2040-01-01, as unix time.
pub const END: f64 = 2_208_988_800.0;

impl Authority {
    /// A root valid from 2020 to 2045.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Test Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2045, 1, 1);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let (certificate, pem) = (root.der().clone(), root.pem());
        Self { issuer: Issuer::new(params, key), certificate, pem }
    }

    /// The root as a YAML value for `ca`.
    pub fn yaml(&self) -> String {
        format!("{:?}", self.pem)
    }

    /// The root in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names and addresses, and its key.
    pub fn issue_pair(&self, names: &[&str], validity: Validity) -> Pair {
        let (params, key) = leaf(names, validity);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Settings of a server with a certificate for these names and addresses.
    pub fn issue(&self, names: &[&str], validity: Validity) -> Arc<ServerConfig> {
        self.issue_as("leaf", names, validity)
    }

    /// The same with another common name.
    pub fn issue_as(&self, common_name: &str, names: &[&str], validity: Validity) -> Arc<ServerConfig> {
        let (mut params, key) = leaf(names, validity);
        params.distinguished_name = named(common_name);
        self.server(params, &key, WebPkiClientVerifier::no_client_auth())
    }

    /// Settings of a server that wants a certificate of ours, which nobody has.
    pub fn issue_exclusive(&self, names: &[&str]) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
        let (params, key) = leaf(names, Validity::Now);
        self.server(params, &key, verifier.unwrap())
    }

    fn server(
        &self,
        params: CertificateParams,
        key: &KeyPair,
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Arc<ServerConfig> {
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            );
        Arc::new(config.unwrap())
    }
}

/// What a leaf says, and its key.
fn leaf(names: &[&str], validity: Validity) -> (CertificateParams, KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = named("leaf");
    let (begin, end) = match validity {
        Validity::Now => (2020, 2040),
        Validity::Past => (2001, 2002),
    };
    params.not_before = date_time_ymd(begin, 1, 1);
    params.not_after = date_time_ymd(end, 1, 1);
    (params, KeyPair::generate().unwrap())
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pair {
    /// A certificate that signed itself and calls itself an authority, as `openssl req -x509` makes them.
    pub fn self_signed() -> Self {
        let (mut params, key) = leaf(&["self.test"], Validity::Now);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// The same server, which agrees to one of these application protocols.
pub fn with_alpn(config: &Arc<ServerConfig>, protocols: &[&str]) -> Arc<ServerConfig> {
    let mut config = ServerConfig::clone(config);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
