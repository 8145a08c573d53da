//! Certificates for the tests, valid from 2020 on unless said otherwise. Years mean 1 January.

use std::net::IpAddr;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::CertificateDer;

/// Unix seconds of the beginning of a year.
pub(super) fn year(year: i32) -> i64 {
    rcgen::date_time_ymd(year, 1, 1).unix_timestamp()
}

pub(super) fn pem(certificates: &[&CertificateDer<'static>]) -> String {
    let block = |der: &&CertificateDer<'static>| ::pem::encode(&::pem::Pem::new("CERTIFICATE", der.to_vec()));
    certificates.iter().map(block).collect()
}

/// An authority: a root, or one below another.
pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(super) der: CertificateDer<'static>,
}

impl Authority {
    pub(super) fn root(name: &str, until: i32) -> Self {
        let params = authority_params(name, until);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { params, key, der }
    }

    pub(super) fn below(&self, name: &str, until: i32) -> Self {
        let params = authority_params(name, until);
        let key = KeyPair::generate().unwrap();
        let der = self.sign(&params, &key);
        Self { params, key, der }
    }

    /// Another certificate for the name and key of `other`, signed by this authority.
    pub(super) fn cross_sign(&self, other: &Self, until: i32) -> CertificateDer<'static> {
        let mut params = other.params.clone();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        self.sign(&params, &other.key)
    }

    pub(super) fn leaf(&self, until: i32) -> Leaf {
        self.leaf_with(|params| params.not_after = rcgen::date_time_ymd(until, 1, 1))
    }

    pub(super) fn leaf_with(&self, edit: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = leaf_params();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let der = self.sign(&params, &key);
        Leaf { key, der }
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(key, &issuer).unwrap().der().clone()
    }
}

/// A certificate with its key.
pub(super) struct Leaf {
    pub(super) key: KeyPair,
    pub(super) der: CertificateDer<'static>,
}

impl Leaf {
    pub(super) fn self_signed(edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = leaf_params();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { key, der }
    }

    /// The same certificate as X.509 version 1: no version, no extensions. Its signature is wrong.
    pub(super) fn into_version_1(self) -> Self {
        let [outer] = &fields(&self.der)[..] else { panic!("one certificate expected") };
        let parts = fields(content(outer));
        let kept: Vec<u8> = fields(content(parts[0]))
            .into_iter()
            .filter(|field| !matches!(field[0], 0xa0 | 0xa3))
            .flatten()
            .copied()
            .collect();
        let body = [sequence(&kept), parts[1].to_vec(), parts[2].to_vec()].concat();
        Self { key: self.key, der: sequence(&body).into() }
    }
}

fn authority_params(name: &str, until: i32) -> CertificateParams {
    let mut params = leaf_params();
    params.subject_alt_names.clear();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    params
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    params.subject_alt_names = vec![
        SanType::DnsName("a.test".try_into().unwrap()),
        SanType::IpAddress(IpAddr::from([127, 0, 0, 1])),
        SanType::IpAddress("::1".parse().unwrap()),
    ];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    params
}

/// Splits DER into its elements, headers included.
fn fields(der: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    let mut rest = der;
    while !rest.is_empty() {
        let (header, length) = header(rest);
        let (element, after) = rest.split_at(header + length);
        elements.push(element);
        rest = after;
    }
    elements
}

fn content(element: &[u8]) -> &[u8] {
    &element[header(element).0..]
}

/// Lengths of an element's header and content.
fn header(element: &[u8]) -> (usize, usize) {
    let first = usize::from(element[1]);
    if first < 0x80 {
        return (2, first);
    }
    let digits = &element[2..2 + (first & 0x7f)];
    let length = digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit));
    (2 + digits.len(), length)
}

fn sequence(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82], &length[..], content].concat()
}
