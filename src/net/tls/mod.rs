//! TLS as a client that tells the truth about certificates.
//!
//! A handshake always comes with [`TlsFacts`]: what the server chose and presented, and what we
//! think of it, also if the handshake fails and also if verification is switched off. The facts
//! become metrics elsewhere; labels that depend on one certificate are in [`certificate`].
//!
//! A [`TlsClient`] belongs to a module and lives as long as its configuration.

pub mod certificate;
mod error;
mod hello;
mod provider;
mod quic;
mod roots;
mod settings;
#[cfg(test)]
mod tests;
mod verdict;
mod verify;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

pub use self::error::{TlsError, classify_io};
use self::hello::ServerHello;
pub use self::hello::Watched;
pub use self::provider::TlsVersion;
pub(crate) use self::provider::server_provider;
pub use self::quic::QuicHandshake;
pub(crate) use self::settings::FileStamp;
use self::settings::{Loaded, Stamps};
pub use self::settings::{PemSource, TlsSettings};
pub use self::verdict::Verdict;
use self::verify::{ConnectionVerifier, ExpectedName, Record};

/// An established connection. The stream below is at `get_ref().0.get_ref()`.
pub type TlsStream<S> = tokio_rustls::client::TlsStream<Watched<S>>;

/// TLS client of one module.
///
/// Files are read at the first handshake, and again when one of them has changed. System roots are
/// read once for each process.
#[derive(Debug)]
pub struct TlsClient {
    settings: TlsSettings,
    loaded: Mutex<Option<Arc<Loaded>>>,
}

/// What a handshake showed, as far as it got.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    /// What the server chose, even if we then refused it.
    pub version: Option<TlsVersion>,
    /// IANA name such as `TLS_AES_128_GCM_SHA256`; `0xHHHH` for a suite without a name.
    pub cipher: Option<Cow<'static, str>>,
    /// The application protocol agreed on, if any.
    pub alpn: Option<Vec<u8>>,
    /// Certificates the server sent, its own first; the first 100.
    pub presented: Vec<CertificateDer<'static>>,
    /// `None` if nothing was presented. With `insecure_skip_verify` this is the verdict that
    /// verification would have given, except that a connection without any name to verify is judged
    /// by its chain alone.
    pub verdict: Option<Verdict>,
    /// The largest, over all verified chains, of the smallest notAfter in a chain, root included;
    /// unix seconds. `None` if there is no verified chain. The name plays no part in it.
    pub last_chain_expiry: Option<i64>,
    /// The server's key is of a kind that we cannot check signatures with, and that was tolerated
    /// because of `insecure_skip_verify`.
    pub signature_unchecked: bool,
}

impl TlsClient {
    /// Does nothing yet; settings that cannot work are errors of every handshake.
    pub fn new(settings: TlsSettings) -> Self {
        Self { settings, loaded: Mutex::new(None) }
    }

    /// Reads the files that the settings name, so that mistakes show before a connection is made.
    ///
    /// # Errors
    /// What every handshake would fail with.
    pub fn prepare(&self) -> Result<(), TlsError> {
        self.loaded().map(drop)
    }

    /// Makes a full handshake over `stream`; there is no session resumption.
    ///
    /// `name` is what the certificate must be valid for: a host name or the text of an IP address,
    /// with or without brackets. `server_name` in the settings takes its place. Server name
    /// indication is sent for host names only. With `insecure_skip_verify` it may be empty.
    ///
    /// There is no deadline in here; dropping the future closes the stream.
    pub async fn handshake<S>(&self, stream: S, name: &str) -> (Result<TlsStream<S>, TlsError>, TlsFacts)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Parts { config, indicated, record } = match self.parts_for(name) {
            Ok(parts) => parts,
            Err(error) => return (Err(error), TlsFacts::default()),
        };
        let outcome = TlsConnector::from(Arc::new(config))
            .connect(indicated, Watched::new(stream))
            .into_fallible()
            .await;
        let record = std::mem::take(&mut *record.lock().unwrap_or_else(PoisonError::into_inner));
        match outcome {
            Ok(stream) => {
                let (watched, session) = stream.get_ref();
                let mut facts = facts(watched.server_hello(), &record);
                facts.alpn = session.alpn_protocol().map(<[u8]>::to_vec);
                facts.presented = record.presented;
                (Ok(stream), facts)
            }
            Err((error, watched)) => {
                let hello = watched.server_hello();
                let mut facts = facts(hello, &record);
                let error = match record.judgement {
                    Some(judgement) if is_about_certificate(&error) => {
                        TlsError::Certificate { verdict: judgement.verdict, detail: judgement.detail }
                    }
                    _ => error::from_handshake(error, hello.is_some()),
                };
                facts.presented = record.presented;
                (Err(error), facts)
            }
        }
    }

    /// The parts of one handshake, of which none is shared with another.
    fn parts_for(&self, name: &str) -> Result<Parts, TlsError> {
        let name = self.settings.server_name.as_deref().unwrap_or(name);
        let name = self.expected_name(name)?;
        let loaded = self.loaded()?;
        let indicated = match &name {
            ExpectedName::Is(name) => name.clone(),
            // Anything but a DNS name keeps the library from sending one.
            ExpectedName::Unknown | ExpectedName::Impossible(_) => {
                ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into())
            }
        };
        let record = Arc::new(Mutex::new(Record::default()));
        let mut config = loaded.config.clone();
        config.dangerous().set_certificate_verifier(Arc::new(ConnectionVerifier {
            roots: Arc::clone(&loaded.roots),
            name,
            enforce: !self.settings.insecure_skip_verify,
            record: Arc::clone(&record),
        }));
        Ok(Parts { config, indicated, record })
    }

    fn expected_name(&self, name: &str) -> Result<ExpectedName, TlsError> {
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        // The zone of a link-local address is ours; it is not in certificates.
        let address = bare.split_once('%').map_or(bare, |(address, _)| address);
        if let Ok(address) = address.parse::<IpAddr>() {
            return Ok(ExpectedName::Is(ServerName::IpAddress(address.into())));
        }
        match ServerName::try_from(bare.to_owned()) {
            Ok(name) => Ok(ExpectedName::Is(name)),
            Err(_) if !self.settings.insecure_skip_verify => Err(TlsError::Settings(if name.is_empty() {
                "there is no name to verify: set server_name or insecure_skip_verify".to_owned()
            } else {
                format!("{name:?} is not a host name that a certificate could be valid for")
            })),
            Err(_) if name.is_empty() => Ok(ExpectedName::Unknown),
            Err(_) => Ok(ExpectedName::Impossible(name.to_owned())),
        }
    }

    fn loaded(&self) -> Result<Arc<Loaded>, TlsError> {
        let stamps = Stamps::now(&self.settings)?;
        let current = self.slot().clone();
        if let Some(loaded) = current
            && loaded.stamps == stamps
        {
            return Ok(loaded);
        }
        // Two handshakes may load at once; that costs some milliseconds and does no harm.
        let loaded = Arc::new(Loaded::load(&self.settings, stamps)?);
        *self.slot() = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Loaded>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one handshake needs.
struct Parts {
    config: rustls::ClientConfig,
    /// The name to indicate; an address indicates none.
    indicated: ServerName<'static>,
    record: Arc<Mutex<Record>>,
}

fn is_about_certificate(error: &std::io::Error) -> bool {
    matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref()),
        Some(rustls::Error::InvalidCertificate(_))
    )
}

fn facts(hello: Option<ServerHello>, record: &Record) -> TlsFacts {
    let judgement = record.judgement.as_ref();
    TlsFacts {
        version: hello.and_then(|hello| TlsVersion::from_wire(hello.version)),
        cipher: hello.map(|hello| provider::cipher_name(hello.cipher)),
        alpn: None,
        presented: Vec::new(),
        verdict: judgement.map(|judgement| judgement.verdict),
        last_chain_expiry: judgement.and_then(|judgement| judgement.chain_expiry),
        signature_unchecked: record.signature_unchecked,
    }
}
