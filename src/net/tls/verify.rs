//! Judges the certificates of one handshake and keeps what was seen.
//!
//! The record is filled before anything can fail, and it is filled in the same way when
//! verification is switched off: then only the consequence of the verdict differs. Both libraries
//! ask the same verifier.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use webpki::{EndEntityCert, RawPublicKeyEntity};
use x509_parser::asn1_rs::{FromDer as _, Oid};
use x509_parser::time::ASN1Time;

use super::certificate;
use super::error::TlsError;
use super::provider::SIGNATURES;
use super::record::{Observer, Record};
use super::roots::Roots;
use super::short_rsa;
use super::verdict::Verdict;

/// Certificates of one server that are kept and looked at; a message of 64 KiB, the most the
/// library takes, could hold thousands of tiny ones.
const MAX_PRESENTED: usize = 100;

/// Names in a sentence about a wrong name; certificates with hundreds of them exist.
const MAX_NAMES_SHOWN: usize = 10;

/// A verdict and the facts behind it.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    /// The date, name or issuer that decided; empty if verified.
    pub(super) detail: String,
    /// See [`Roots::chain_expiry`]; known as soon as a chain exists, even with a wrong name.
    pub(super) chain_expiry: Option<i64>,
}

impl Judgement {
    fn failed(verdict: Verdict, detail: String) -> Self {
        Self { verdict, detail, chain_expiry: None }
    }
}

/// The name a certificate must be valid for.
#[derive(Clone, Debug)]
pub(super) enum ExpectedName {
    Is(ServerName<'static>),
    /// There is none to compare with; only possible if verification is off.
    Unknown,
    /// Text that can be no name, which no certificate is valid for; only if verification is off.
    Impossible(String),
}

/// Verifier for a single connection.
#[derive(Debug)]
pub(super) struct ConnectionVerifier {
    pub(super) roots: Arc<Roots>,
    pub(super) name: ExpectedName,
    /// A bad verdict ends the handshake.
    pub(super) enforce: bool,
    /// Where everything that is seen goes.
    pub(super) observer: Observer,
}

impl ConnectionVerifier {
    /// Notes and judges the chain that the server presented, its own certificate first.
    pub(super) fn see(&self, mut presented: Vec<CertificateDer<'static>>, now: UnixTime) {
        presented.truncate(MAX_PRESENTED);
        let judgement = presented.split_first().map(|(leaf, others)| self.judge(leaf, others, now));
        let mut record = self.observer.lock();
        *record = Record { hello: record.hello, presented, judgement, ..Record::default() };
    }

    /// Whether [`ConnectionVerifier::see`] has judged a chain.
    pub(super) fn was_asked(&self) -> bool {
        self.observer.lock().judgement.is_some()
    }

    /// Whether the chain that was seen is good enough for the handshake to go on.
    pub(super) fn accepts(&self) -> bool {
        let record = self.observer.lock();
        record
            .judgement
            .as_ref()
            .is_some_and(|judgement| !self.enforce || judgement.verdict == Verdict::Verified)
    }

    /// The judgement as an error; `None` if there is nothing to complain about.
    pub(super) fn verdict(&self) -> Option<TlsError> {
        let record = self.observer.lock();
        let judgement =
            record.judgement.as_ref().filter(|judgement| judgement.verdict != Verdict::Verified)?;
        Some(TlsError::Certificate { verdict: judgement.verdict, detail: judgement.detail.clone() })
    }

    /// Takes back a judgement on the chain, because of what happened after it.
    pub(super) fn distrust(&self, detail: &str) {
        if let Some(judgement) = &mut self.observer.lock().judgement {
            judgement.verdict = Verdict::Invalid;
            judgement.detail = detail.to_owned();
        }
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Judgement {
        let parsed = match EndEntityCert::try_from(leaf) {
            Ok(parsed) => parsed,
            Err(error) => {
                // To the library an old version is just bad DER.
                let error =
                    if certificate::is_old(leaf) { webpki::Error::UnsupportedCertVersion } else { error };
                return Judgement::failed(Verdict::Invalid, describe(&error));
            }
        };
        let chain_expiry = match self.roots.chain_expiry(&parsed, intermediates, now) {
            Ok(expiry) => expiry,
            Err(error) => {
                return why_no_chain(&error, &parsed, intermediates, &self.roots);
            }
        };
        let mismatch = match &self.name {
            ExpectedName::Unknown => None,
            ExpectedName::Impossible(text) => Some(format!("{text:?} is not a host name")),
            ExpectedName::Is(name) => {
                parsed.verify_is_valid_for_subject_name(name).err().map(|_| describe_mismatch(leaf, name))
            }
        };
        let (verdict, detail) = match mismatch {
            Some(detail) => (Verdict::NameMismatch, detail),
            None => (Verdict::Verified, String::new()),
        };
        Judgement { verdict, detail, chain_expiry: Some(chain_expiry) }
    }

    /// Takes the result of the check that the server has the key of its certificate.
    ///
    /// Without enforcement a key that we cannot work with is let pass, so that a probe which is told
    /// to accept everything can tell about it. A wrong signature by a key that we can work with is
    /// always an error.
    fn judge_signature(
        &self,
        leaf: &CertificateDer<'_>,
        result: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let Err(error) = result else {
            return result;
        };
        let unusable = certificate::public_key(leaf).is_none() || has_short_key(leaf);
        if !unusable {
            self.distrust(&format!("the server did not prove that it has the key: {error}"));
            return Err(error);
        }
        let mut record = self.observer.lock();
        record.signature_unchecked = !self.enforce;
        if let Some(judgement) =
            record.judgement.as_mut().filter(|judged| judged.verdict == Verdict::Verified)
        {
            judgement.verdict = Verdict::Weak;
            judgement.detail = "the key is too short to check its signatures".to_owned();
        }
        if self.enforce { Err(error) } else { Ok(HandshakeSignatureValid::assertion()) }
    }
}

impl ServerCertVerifier for ConnectionVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let others = intermediates.get(..MAX_PRESENTED - 1).unwrap_or(intermediates);
        let presented = std::iter::once(end_entity).chain(others);
        self.see(presented.map(|der| der.clone().into_owned()).collect(), now);
        let verdict = self.observer.lock().judgement.as_ref().map(|judgement| judgement.verdict);
        match verdict.and_then(alert_for) {
            Some(error) if self.enforce => Err(rustls::Error::InvalidCertificate(error)),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let result = match odd_key(cert) {
            Some(key) => verify_tls12_with_key(message, &key, dss),
            None => verify_tls12_signature(message, cert, dss, &SIGNATURES),
        };
        self.judge_signature(cert, result)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let result = match odd_key(cert) {
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, dss, &SIGNATURES),
            None => verify_tls13_signature(message, cert, dss, &SIGNATURES),
        };
        self.judge_signature(cert, result)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}

/// The key of a certificate that the library cannot parse, such as one of X.509 version 1. Those
/// never verify, so this only matters where verification is off.
fn odd_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    match EndEntityCert::try_from(certificate) {
        Ok(_) => None,
        Err(_) => certificate::public_key(certificate),
    }
}

/// As [`verify_tls12_signature`], with the key alone.
fn verify_tls12_with_key(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let bad = || rustls::Error::InvalidCertificate(CertificateError::BadSignature);
    let key = RawPublicKeyEntity::try_from(key).map_err(|_| bad())?;
    let candidates = SIGNATURES.mapping.iter().filter(|(scheme, _)| *scheme == dss.scheme);
    let verified = candidates
        .flat_map(|(_, algorithms)| algorithms.iter())
        .any(|algorithm| key.verify_signature(*algorithm, message, dss.signature()).is_ok());
    if verified { Ok(HandshakeSignatureValid::assertion()) } else { Err(bad()) }
}

/// The error that makes the library send the fitting alert.
fn alert_for(verdict: Verdict) -> Option<CertificateError> {
    match verdict {
        Verdict::Verified => None,
        Verdict::Expired => Some(CertificateError::Expired),
        Verdict::NotYetValid => Some(CertificateError::NotValidYet),
        Verdict::UnknownCa | Verdict::SelfSigned | Verdict::IncompleteChain => {
            Some(CertificateError::UnknownIssuer)
        }
        Verdict::NameMismatch => Some(CertificateError::NotValidForName),
        Verdict::Revoked => Some(CertificateError::Revoked),
        Verdict::Weak | Verdict::Invalid => Some(CertificateError::BadEncoding),
    }
}

fn why_no_chain(
    error: &webpki::Error,
    leaf: &EndEntityCert<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &Roots,
) -> Judgement {
    use webpki::Error;
    let verdict = match error {
        Error::CertExpired { .. } => Verdict::Expired,
        Error::CertNotValidYet { .. } => Verdict::NotYetValid,
        Error::CertRevoked | Error::CertDistrusted => Verdict::Revoked,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Verdict::Weak,
        // A search without end has found nothing either.
        Error::UnknownIssuer
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => {
            return why_unknown(leaf, intermediates, roots);
        }
        Error::InvalidSignatureForPublicKey => {
            let short = has_short_key(&leaf.der())
                || intermediates.iter().any(has_short_key)
                || roots.with_subject(leaf.issuer()).any(has_short_key);
            if short {
                Verdict::Weak
            } else {
                return why_unknown(leaf, intermediates, roots);
            }
        }
        // The library asks for this before it looks for issuers.
        Error::CaUsedAsEndEntity if leaf.subject() == leaf.issuer() => {
            return why_unknown(leaf, intermediates, roots);
        }
        _ => Verdict::Invalid,
    };
    Judgement::failed(verdict, describe(error))
}

/// Follows the issuers as far as they were presented, to see where the way to a root ends.
fn why_unknown(leaf: &EndEntityCert<'_>, intermediates: &[CertificateDer<'_>], roots: &Roots) -> Judgement {
    if roots.is_empty() {
        let detail = "there is no trusted root certificate on this system".to_owned();
        return Judgement::failed(Verdict::UnknownCa, detail);
    }
    let issuer = certificate::leaf_labels(&leaf.der()).issuer;
    if leaf.subject() == leaf.issuer() {
        return Judgement::failed(Verdict::SelfSigned, format!("issued by itself, {issuer:?}"));
    }
    let sent = intermediates
        .iter()
        .filter_map(|der| EndEntityCert::try_from(der).ok())
        .any(|candidate| candidate.subject() == leaf.issuer());
    if sent {
        let detail = format!("the issuer {issuer:?} leads to no trusted root");
        Judgement::failed(Verdict::UnknownCa, detail)
    } else if roots.with_subject(leaf.issuer()).next().is_some() {
        let detail = format!("the trusted root {issuer:?} did not make this signature");
        Judgement::failed(Verdict::UnknownCa, detail)
    } else {
        let detail = format!("the issuer {issuer:?} is neither sent nor trusted");
        Judgement::failed(Verdict::IncompleteChain, detail)
    }
}

fn has_short_key(certificate: &CertificateDer<'_>) -> bool {
    certificate::rsa_bits(certificate).is_some_and(|bits| bits < short_rsa::MIN_BITS)
}

fn describe(error: &webpki::Error) -> String {
    use webpki::Error;
    match error {
        Error::CertExpired { not_after, .. } => format!("valid until {}", date(*not_after)),
        Error::CertNotValidYet { not_before, .. } => format!("valid from {}", date(*not_before)),
        Error::UnsupportedSignatureAlgorithmContext(context) => {
            match Oid::from_der(&context.signature_algorithm_id) {
                Ok((_, oid)) => format!("signed with the algorithm {oid}"),
                Err(_) => "signed with an unknown algorithm".to_owned(),
            }
        }
        Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "the signature does not fit the kind of the issuer's key".to_owned()
        }
        Error::InvalidSignatureForPublicKey => "a key is too short to check its signatures".to_owned(),
        Error::CaUsedAsEndEntity => "it is the certificate of an authority".to_owned(),
        Error::UnsupportedCertVersion => "it is not X.509 version 3".to_owned(),
        Error::RequiredEkuNotFoundContext(_) => "its extended key usage does not allow servers".to_owned(),
        Error::NameConstraintViolation => "an issuer is not allowed to certify its name".to_owned(),
        other => other.to_string(),
    }
}

fn describe_mismatch(leaf: &CertificateDer<'_>, wanted: &ServerName<'_>) -> String {
    let names = certificate::host_names(leaf);
    let wanted = wanted.to_str();
    if names.is_empty() {
        return format!("it has no subject alternative name, wanted {wanted}");
    }
    let shown = names.get(..MAX_NAMES_SHOWN).unwrap_or(&names).join(", ");
    let more = if names.len() > MAX_NAMES_SHOWN { " and more" } else { "" };
    format!("it has {shown}{more}, wanted {wanted}")
}

fn date(time: UnixTime) -> String {
    ASN1Time::from_timestamp(super::roots::unix_seconds(time))
        .map_or_else(|_| time.as_secs().to_string(), |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn every_bad_verdict_has_a_reason_and_an_alert() {
        let all = [
            Verdict::Verified,
            Verdict::Expired,
            Verdict::NotYetValid,
            Verdict::UnknownCa,
            Verdict::NameMismatch,
            Verdict::SelfSigned,
            Verdict::IncompleteChain,
            Verdict::Revoked,
            Verdict::Weak,
            Verdict::Invalid,
        ];
        for verdict in all {
            assert_eq!(verdict.reason().is_some(), alert_for(verdict).is_some(), "{verdict:?}");
        }
        let reasons: Vec<_> = all.iter().filter_map(|verdict| verdict.reason()).collect();
        assert_eq!(
            reasons.join("|"),
            "expired|not_yet_valid|unknown_ca|name_mismatch|self_signed|incomplete_chain|revoked|\
             weak|invalid"
        );
    }

    /// Seconds of 1 January 2030.
    const NEW_YEAR: u64 = 1_893_456_000;

    #[test]
    fn short_rsa_keys_are_checked_where_possible() {
        let pem = include_bytes!("fixtures/short_rsa.pem");
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).map(Result::unwrap).collect();
        let [root, leaf_sha256, leaf_sha384, leaf_sha1] = &certificates[..] else {
            panic!("{} certificates", certificates.len());
        };
        let verifier = ConnectionVerifier {
            roots: Arc::new(Roots::new([root.clone()])),
            name: ExpectedName::Is("a.test".try_into().unwrap()),
            enforce: true,
            observer: Observer::default(),
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NEW_YEAR));
        let cases = [
            (leaf_sha256, Verdict::Verified, ""),
            (leaf_sha384, Verdict::Verified, ""),
            (leaf_sha1, Verdict::Weak, "signed with the algorithm 1.2.840.113549.1.1.5"),
        ];
        for (leaf, verdict, detail) in cases {
            let judgement = verifier.judge(leaf, &[], now);
            assert_eq!(judgement.verdict, verdict);
            assert_eq!(judgement.detail, detail);
        }
        assert_eq!(certificate::rsa_bits(root), Some(1024));
        assert_eq!(certificate::rsa_bits(leaf_sha256), None);
    }

    #[test]
    fn a_remembered_chain_ends_with_its_dates() {
        let pem = include_bytes!("fixtures/short_rsa.pem");
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).map(Result::unwrap).collect();
        let verifier = ConnectionVerifier {
            roots: Arc::new(Roots::new([certificates[0].clone()])),
            name: ExpectedName::Unknown,
            enforce: true,
            observer: Observer::default(),
        };
        let dates = certificate::validity(&certificates[1]).unwrap();
        let cases = [
            (dates.not_after, Verdict::Verified),
            (dates.not_after + 1, Verdict::Expired),
            (dates.not_after, Verdict::Verified),
            (dates.not_before, Verdict::Verified),
            (dates.not_before - 1, Verdict::NotYetValid),
            (dates.not_after - 1, Verdict::Verified),
        ];
        for (now, want) in cases {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(now.try_into().unwrap()));
            let judgement = verifier.judge(&certificates[1], &[], now);
            assert_eq!(judgement.verdict, want, "{now:?}: {judgement:?}");
        }
    }

    #[test]
    fn dates_are_readable() {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(NEW_YEAR));
        assert_eq!(date(time), "Jan  1 00:00:00 2030 +00:00");
    }
}
