//! A certificate authority as PEM files, made for each test.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, date_time_ymd,
};

/// A root that issues certificates into a folder.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Pair {
    /// PEM file of the certificate.
    pub certificate: PathBuf,
    /// PEM file of the key.
    pub key: PathBuf,
}

/// End of the leaf certificates, 2040-01-01, as unix time.
pub const LEAF_END: f64 = 2_208_988_800.0;

impl Authority {
    /// A root that is valid longer than what it issues. Its certificate is [`Authority::file`].
    pub fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2045, 1, 1);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let authority = Self { dir: dir.to_owned(), issuer: Issuer::new(params, key) };
        fs::write(authority.file(), root.pem()).unwrap();
        authority
    }

    /// PEM file of the root.
    pub fn file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Issues a certificate for names and addresses, good for servers and clients.
    pub fn issue(&self, common_name: &str, names: &[&str]) -> Pair {
        self.sign(named(common_name), common_name, names, FOR_YEARS)
    }

    /// The same with another time of validity.
    pub fn issue_for(&self, common_name: &str, names: &[&str], validity: Range<SystemTime>) -> Pair {
        self.sign(named(common_name), common_name, names, |params| {
            params.not_before = validity.start.into();
            params.not_after = validity.end.into();
        })
    }

    /// The same without a common name.
    pub fn issue_unnamed(&self, file: &str, names: &[&str]) -> Pair {
        self.sign(DistinguishedName::new(), file, names, FOR_YEARS)
    }

    fn sign(
        &self,
        subject: DistinguishedName,
        file: &str,
        names: &[&str],
        validity: impl Fn(&mut CertificateParams),
    ) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = subject;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        validity(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |kind| self.dir.join(format!("{file}.{kind}.pem"));
        let pair = Pair { certificate: path("certificate"), key: path("key") };
        fs::write(&pair.certificate, certificate.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }
}

const FOR_YEARS: fn(&mut CertificateParams) = |params| {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
};

fn named(common_name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    subject
}
