//! From what a module says about TLS to what a handshake needs.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use openssl::ssl::SslContext;
use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;
use super::legacy;
use super::provider::{self, TlsVersion};
use super::record::Observer;
use super::roots::Roots;
use super::verify::{ConnectionVerifier, ExpectedName};

/// Bytes of a certificate or key file. The bundle of a whole operating system has 0.3 MB.
const MAX_PEM_BYTES: u64 = 8 * 1024 * 1024;

/// What a module says about TLS (`tls_config:`), already typed.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// Trusted certificates; `None` means those of the system.
    pub ca: Option<PemSource>,
    /// Our certificate, followed by its intermediates. Needs `key`.
    pub cert: Option<PemSource>,
    /// The key of `cert`: PKCS #8, PKCS #1 or SEC 1.
    pub key: Option<PemSource>,
    /// Name to ask for and to verify, instead of the name of the target.
    pub server_name: Option<String>,
    /// Verify and report, but accept whatever the verdict is.
    pub insecure_skip_verify: bool,
    /// Defaults to TLS 1.2. With anything below, all handshakes are made with the older library,
    /// which also offers RSA key exchange then.
    pub min_version: Option<TlsVersion>,
    /// Defaults to TLS 1.3.
    pub max_version: Option<TlsVersion>,
    /// Application protocols in order of preference (RFC 7301); none offers none.
    pub alpn: Vec<Vec<u8>>,
}

impl TlsSettings {
    /// Whether there is anything to read.
    pub(super) fn has_pem(&self) -> bool {
        self.ca.is_some() || self.cert.is_some() || self.key.is_some()
    }

    /// The oldest version to offer.
    pub(super) fn oldest(&self) -> TlsVersion {
        self.min_version.unwrap_or(TlsVersion::Tls12)
    }

    /// The newest version to offer.
    pub(super) fn newest(&self) -> TlsVersion {
        self.max_version.unwrap_or(TlsVersion::Tls13)
    }
}

/// Where PEM text comes from. Debug output never shows the text, because it may be a key.
#[derive(Clone)]
pub enum PemSource {
    /// The text itself.
    Inline(String),
    /// A file, read again when it changes.
    File(PathBuf),
}

impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(<secret>)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl PemSource {
    fn read(&self) -> Result<Vec<u8>, TlsError> {
        match self {
            Self::Inline(text) => Ok(text.as_bytes().to_vec()),
            Self::File(path) => read_limited(path).map_err(|source| file_error(path, source)),
        }
    }

    /// An error about the content. `what` names it for text without a file.
    fn unusable(&self, what: &str, why: &str) -> TlsError {
        match self {
            Self::Inline(_) => TlsError::Settings(format!("tls_config.{what}: {why}")),
            Self::File(path) => {
                let source = io::Error::new(io::ErrorKind::InvalidData, why);
                file_error(path, source)
            }
        }
    }
}

fn file_error(path: &Path, source: io::Error) -> TlsError {
    TlsError::File { path: path.to_owned(), source }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_PEM_BYTES) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 8 MiB"))
    }
}

/// Identity of a file's content, as far as one `stat` can tell. The inode is part of it because
/// files are often replaced by renaming, with the old time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    size: u64,
    modified: (i64, i64),
    inode: u64,
}

impl FileStamp {
    /// Costs one `stat`, some microseconds, too little to leave the runtime for.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(Self::from)
    }
}

impl From<Metadata> for FileStamp {
    fn from(metadata: Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// Stamps of the CA, certificate and key files; `None` for what is not a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamps([Option<FileStamp>; 3]);

impl Stamps {
    /// Looks at each file.
    pub(super) fn now(settings: &TlsSettings) -> Result<Self, TlsError> {
        let stamp = |source: &Option<PemSource>| match source {
            Some(PemSource::File(path)) => match FileStamp::of(path) {
                Ok(stamp) => Ok(Some(stamp)),
                Err(source) => Err(file_error(path, source)),
            },
            _ => Ok(None),
        };
        Ok(Self([stamp(&settings.ca)?, stamp(&settings.cert)?, stamp(&settings.key)?]))
    }
}

/// Our certificate, followed by its intermediates, and its key.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Settings with their files read; good as long as the stamps stay the same.
pub(super) struct Loaded {
    pub(super) stamps: Stamps,
    pub(super) roots: Arc<Roots>,
    /// Complete but for the verifier, which each connection brings itself. `None` if rustls has no use
    /// for the versions or the client key.
    pub(super) config: Option<ClientConfig>,
    /// Connections over TCP are the business of the older library.
    pub(super) only_old: bool,
    identity: Option<Identity>,
    /// Made when it is first needed.
    old: OnceLock<Result<SslContext, String>>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("stamps", &self.stamps).finish_non_exhaustive()
    }
}

impl Loaded {
    /// Reads the files. `stamps` were taken before, so that a change in between is seen later.
    pub(super) fn load(settings: &TlsSettings, stamps: Stamps) -> Result<Self, TlsError> {
        let (oldest, newest) = (settings.oldest(), settings.newest());
        if newest < oldest {
            let text = format!("tls_config: max_version {newest} is below min_version {oldest}");
            return Err(TlsError::Settings(text));
        }
        let roots = match &settings.ca {
            Some(source) => Arc::new(load_roots(source)?),
            None => Roots::system(),
        };
        let (identity, certified) = match (&settings.cert, &settings.key) {
            (Some(cert), Some(key)) => {
                let identity = Identity { chain: load_chain(cert)?, key: load_key(key)? };
                let certified = certify(&identity).map_err(|error| key.unusable("key", &error.to_string()));
                (Some(identity), Some(certified))
            }
            (None, None) => (None, None),
            (Some(_), None) => {
                return Err(TlsError::Settings("tls_config: cert without key".to_owned()));
            }
            (None, Some(_)) => {
                return Err(TlsError::Settings("tls_config: key without cert".to_owned()));
            }
        };
        let mut loaded = Self { stamps, roots, config: None, only_old: true, identity, old: OnceLock::new() };
        match certified.transpose() {
            // The older library takes more kinds of keys, among them short ones of RSA.
            Err(refused) => loaded.old(settings).map(drop).map_err(|_| refused)?,
            Ok(certified) => {
                if newest >= TlsVersion::Tls12 {
                    loaded.config = Some(loaded.config(settings, certified)?);
                }
                loaded.only_old = oldest < TlsVersion::Tls12;
                if loaded.only_old {
                    loaded.old(settings)?;
                }
            }
        }
        Ok(loaded)
    }

    fn config(
        &self,
        settings: &TlsSettings,
        certified: Option<CertifiedKey>,
    ) -> Result<ClientConfig, TlsError> {
        let placeholder = ConnectionVerifier {
            roots: Arc::clone(&self.roots),
            name: ExpectedName::Unknown,
            enforce: true,
            observer: Observer::default(),
        };
        let builder = ClientConfig::builder_with_provider(provider::provider())
            .with_protocol_versions(&versions(settings))
            .map_err(|error| TlsError::Settings(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(placeholder));
        let mut config = match certified {
            Some(certified) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&settings.alpn);
        // A probe measures a full handshake, and wants to see the certificate every time.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// What the older library needs, for the settings that these are loaded from.
    pub(super) fn old(&self, settings: &TlsSettings) -> Result<&SslContext, TlsError> {
        let make = || legacy::context(settings, self.identity.as_ref()).map_err(|error| error.to_string());
        let complain = |error| TlsError::Settings(format!("tls_config: OpenSSL cannot use it: {error}"));
        self.old.get_or_init(make).as_ref().map_err(complain)
    }
}

fn certify(identity: &Identity) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), &provider::provider())
}

/// Those of the default library.
fn versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    [(TlsVersion::Tls13, &rustls::version::TLS13), (TlsVersion::Tls12, &rustls::version::TLS12)]
        .into_iter()
        .filter(|(version, _)| (settings.oldest()..=settings.newest()).contains(version))
        .map(|(_, supported)| supported)
        .collect()
}

fn load_roots(source: &PemSource) -> Result<Roots, TlsError> {
    let pem = source.read()?;
    // What is no readable certificate is passed over, as in Go, as long as one is left.
    let roots = Roots::new(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    if roots.is_empty() {
        return Err(source.unusable("ca", "there is no usable certificate in it"));
    }
    Ok(roots)
}

fn load_chain(source: &PemSource) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = source.read()?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| source.unusable("cert", &error.to_string()))?;
    if chain.is_empty() {
        return Err(source.unusable("cert", "there is no certificate in it"));
    }
    Ok(chain)
}

fn load_key(source: &PemSource) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = source.read()?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        if is_encrypted(&pem) {
            source.unusable("key", "the key is encrypted; store it without a passphrase")
        } else {
            source.unusable("key", &error.to_string())
        }
    })
}

/// Both ways to encrypt a key in PEM: PKCS #8 (RFC 7468 §11) and the older one of RFC 1421 §4.6.1.1.
fn is_encrypted(pem: &[u8]) -> bool {
    let marks: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];
    marks.iter().any(|mark| pem.windows(mark.len()).any(|window| window == *mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_text_is_never_printed() {
        let settings = TlsSettings {
            key: Some(PemSource::Inline("hunter2".to_owned())),
            ca: Some(PemSource::File("/etc/ca.pem".into())),
            ..TlsSettings::default()
        };
        let text = format!("{settings:?}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("Inline(<secret>)"), "{text}");
        assert!(text.contains("/etc/ca.pem"), "{text}");
    }

    #[test]
    fn versions_follow_the_defaults_of_go() {
        use TlsVersion::{Tls10, Tls11, Tls12, Tls13};
        let cases = [
            (None, None, Ok("TLS13 TLS12")),
            (Some(Tls10), None, Ok("OpenSSL")),
            (Some(Tls11), Some(Tls11), Ok("OpenSSL")),
            (Some(Tls13), None, Ok("TLS13")),
            (None, Some(Tls12), Ok("TLS12")),
            (Some(Tls12), Some(Tls12), Ok("TLS12")),
            (Some(Tls13), Some(Tls12), Err("tls_config: max_version TLS 1.2 is below min_version TLS 1.3")),
            (None, Some(Tls11), Err("tls_config: max_version TLS 1.1 is below min_version TLS 1.2")),
        ];
        for (min_version, max_version, want) in cases {
            let settings = TlsSettings { min_version, max_version, ..TlsSettings::default() };
            let loaded = Stamps::now(&settings).and_then(|stamps| Loaded::load(&settings, stamps));
            let got = loaded.map_err(|error| error.to_string()).map(|loaded| {
                let names: Vec<_> = versions(&settings)
                    .iter()
                    .map(|version| format!("{:?}", version.version).replace("v1_", "1"))
                    .collect();
                if loaded.only_old { "OpenSSL".to_owned() } else { names.join(" ") }
            });
            let want = want.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(got, want, "{min_version:?} to {max_version:?}");
        }
    }
}
