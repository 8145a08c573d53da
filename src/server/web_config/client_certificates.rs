//! What is asked of clients' certificates, and which of them are let in.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::net::tls::server_provider;

/// What a client must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It is not asked.
    None,
    /// It is asked, and any certificate or none will do.
    Request,
    /// Any certificate.
    RequireAny,
    /// None, or one that a trusted authority issued.
    VerifyIfGiven,
    /// One that a trusted authority issued.
    RequireAndVerify,
}

impl Policy {
    /// The value of `client_auth_type`, which may be empty.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "NoClientCert" => Self::None,
            "RequestClientCert" => Self::Request,
            // The first name of it was wrong and is kept.
            "RequireAnyClientCert" | "RequireClientCert" => Self::RequireAny,
            "VerifyClientCertIfGiven" => Self::VerifyIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerify,
            _ => return None,
        })
    }

    /// Whether certificates are verified.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    fn is_mandatory(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

/// Lets clients in according to a [`Policy`] and a list of names.
#[derive(Debug)]
pub struct ClientVerifier {
    policy: Policy,
    /// Verifies chains, if the policy wants that.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    /// Certificates that are trusted themselves, whoever issued them.
    trusted: Vec<CertificateDer<'static>>,
    hints: Vec<DistinguishedName>,
    /// Names of which a certificate must have one.
    allowed: Option<Vec<String>>,
}

impl ClientVerifier {
    /// A verifier for a policy other than [`Policy::None`].
    ///
    /// # Errors
    /// A sentence, when certificates are to be verified and nothing in `authorities` can be trusted.
    pub fn new(
        policy: Policy,
        authorities: Vec<CertificateDer<'static>>,
        allowed: Option<Vec<String>>,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        let hints = roots.subjects();
        let chains = if policy.verifies() {
            let built =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), server_provider()).build();
            Some(built.map_err(|_| "has no certificate of an authority in it")?)
        } else {
            None
        };
        Ok(Self { policy, chains, trusted: authorities, hints, allowed })
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        parsed: &X509Certificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(chains) = &self.chains else { return Ok(()) };
        // A client that signed its own certificate is trusted by naming just that. The library takes
        // the usual ones for authorities, which must not be clients.
        if self.trusted.iter().any(|trusted| trusted == leaf) {
            return check_itself(parsed, now).map_err(Error::InvalidCertificate);
        }
        chains.verify_client_cert(leaf, intermediates, now).map(|_| ())
    }

    fn verify_name(&self, parsed: &X509Certificate<'_>) -> Result<(), Error> {
        let Some(allowed) = &self.allowed else { return Ok(()) };
        let refused = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        let names = parsed.subject_alternative_name().ok().flatten().ok_or(refused.clone())?;
        let is_allowed = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
                allowed.iter().any(|allowed| allowed == text)
            }
            GeneralName::IPAddress(bytes) => address(bytes).is_some_and(|text| allowed.contains(&text)),
            _ => false,
        };
        if names.value.general_names.iter().any(is_allowed) { Ok(()) } else { Err(refused) }
    }
}

/// Dates and purpose of a certificate that needs no issuer.
fn check_itself(parsed: &X509Certificate<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if seconds < parsed.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if seconds > parsed.validity().not_after.timestamp() {
        return Err(CertificateError::Expired);
    }
    match parsed.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.any || usage.value.client_auth => Ok(()),
        _ => Err(CertificateError::InvalidPurpose),
    }
}

/// An address as Go writes it.
fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    Some(v4.or(v6).ok()?.to_canonical().to_string())
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        // Who shows none is not on the list either, whatever the policy says.
        self.policy.is_mandatory() || self.allowed.is_some()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        };
        self.verify_chain(leaf, &parsed, intermediates, now)?;
        self.verify_name(&parsed)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &server_provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &server_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        server_provider().signature_verification_algorithms.supported_schemes()
    }
}
