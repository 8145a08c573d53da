//! TLS as a client that tells the truth about certificates.
//!
//! A handshake always comes with [`TlsFacts`]: what the server chose and presented, and what we
//! think of it, also if the handshake fails and also if verification is switched off. The facts
//! become metrics elsewhere; labels that depend on one certificate are in [`certificate`].
//!
//! Two libraries make handshakes: rustls, and OpenSSL for what only older servers have (see
//! `legacy`). Trust, names and facts are the same code for both.
//!
//! A [`TlsClient`] belongs to a module and lives as long as its configuration.

pub mod certificate;
mod error;
mod hello;
mod legacy;
mod p521;
mod provider;
mod quic;
mod record;
mod roots;
mod settings;
mod short_rsa;
mod stream;
mod targets;
#[cfg(test)]
mod tests;
mod verdict;
mod verify;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

pub use self::error::{TlsError, classify_io};
use self::hello::Watched;
pub use self::provider::TlsVersion;
pub(crate) use self::provider::server_provider;
pub use self::quic::QuicHandshake;
pub use self::record::Observer;
pub(crate) use self::settings::FileStamp;
use self::settings::{Loaded, Stamps};
pub use self::settings::{PemSource, TlsSettings};
use self::stream::Library;
pub use self::stream::TlsStream;
use self::targets::OldTargets;
pub use self::verdict::Verdict;
use self::verify::{ConnectionVerifier, ExpectedName};

/// TLS client of one module.
///
/// Files are read at the first handshake, and again when one of them has changed. System roots are
/// read once for each process.
#[derive(Debug)]
pub struct TlsClient {
    settings: TlsSettings,
    loaded: Mutex<Option<Arc<Loaded>>>,
    /// Targets with which rustls has nothing in common.
    old_targets: OldTargets,
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
        Self { settings, loaded: Mutex::new(None), old_targets: OldTargets::default() }
    }

    /// Reads the files that the settings name, so that mistakes show before a connection is made.
    ///
    /// # Errors
    /// What every handshake would fail with.
    pub fn prepare(&self) -> Result<(), TlsError> {
        if self.settings.has_pem() { self.loaded().map(drop) } else { Ok(()) }
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
        let observer = Observer::default();
        let result = self.observed_handshake(stream, name, &observer).await;
        (result, observer.take())
    }

    /// As [`TlsClient::handshake`]; `observer` sees it, also when the future is dropped before its end.
    ///
    /// # Errors
    /// If the observer then [says so](Observer::is_worth_repeating), [`TlsClient::handshake_again`]
    /// over a new connection may succeed.
    pub async fn observed_handshake<S>(
        &self,
        stream: S,
        name: &str,
        observer: &Observer,
    ) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (verifier, loaded) = self.verifier(name, observer)?;
        if loaded.only_old || self.old_targets.contains(name, Instant::now()) {
            return self.with_openssl(stream, verifier, &loaded).await;
        }
        let (config, indicated) = with_rustls(verifier, &loaded)?;
        let outcome = TlsConnector::from(Arc::new(config))
            .connect(indicated, Watched::new(stream, observer.clone()))
            .await;
        let mut record = observer.lock();
        match outcome {
            Ok(stream) => {
                record.alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                Ok(TlsStream(Library::Default(stream)))
            }
            Err(error) => {
                let answered = record.hello.is_some();
                if self.settings.oldest() <= TlsVersion::Tls12 && self.settings.newest() >= TlsVersion::Tls12
                {
                    let is_sure = error::wants_older_suites(&error, answered);
                    record.worth_repeating = is_sure || error::left_silently(&error, answered);
                    if is_sure {
                        self.old_targets.remember(name, Instant::now());
                    }
                }
                Err(match &record.judgement {
                    Some(judgement) if is_about_certificate(&error) => {
                        let detail = judgement.detail.clone();
                        TlsError::Certificate { verdict: judgement.verdict, detail }
                    }
                    _ => error::from_handshake(error, answered),
                })
            }
        }
    }

    /// As [`TlsClient::observed_handshake`], but with OpenSSL, which has older cipher suites too.
    ///
    /// If the server takes one of those, later handshakes for the same `name` begin with OpenSSL.
    ///
    /// # Errors
    /// Never worth repeating.
    pub async fn handshake_again<S>(
        &self,
        stream: S,
        name: &str,
        observer: &Observer,
    ) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        drop(observer.take());
        let (verifier, loaded) = self.verifier(name, observer)?;
        let result = self.with_openssl(stream, verifier, &loaded).await;
        if observer.saw_old_choice() {
            self.old_targets.remember(name, Instant::now());
        }
        result
    }

    async fn with_openssl<S>(
        &self,
        stream: S,
        verifier: ConnectionVerifier,
        loaded: &Loaded,
    ) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let context = loaded.old(&self.settings)?;
        let stream = Watched::new(stream, verifier.observer.clone());
        let stream = legacy::handshake(context, stream, verifier).await?;
        Ok(TlsStream(Library::Old(stream)))
    }

    /// The judge of a connection, and the settings it is made with.
    fn verifier(
        &self,
        name: &str,
        observer: &Observer,
    ) -> Result<(ConnectionVerifier, Arc<Loaded>), TlsError> {
        let name = self.expected_name(self.settings.server_name.as_deref().unwrap_or(name))?;
        let loaded = self.loaded()?;
        let roots = Arc::clone(&loaded.roots);
        let enforce = !self.settings.insecure_skip_verify;
        Ok((ConnectionVerifier { roots, name, enforce, observer: observer.clone() }, loaded))
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

fn is_about_certificate(error: &std::io::Error) -> bool {
    matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref()),
        Some(rustls::Error::InvalidCertificate(_))
    )
}

/// What rustls needs for one handshake: settings, and the name to ask for.
fn with_rustls(
    verifier: ConnectionVerifier,
    loaded: &Loaded,
) -> Result<(ClientConfig, ServerName<'static>), TlsError> {
    let Some(mut config) = loaded.config.clone() else {
        let text = "tls_config: rustls has neither these versions nor this kind of client key";
        return Err(TlsError::Settings(text.to_owned()));
    };
    let indicated = indicated(&verifier.name);
    config.dangerous().set_certificate_verifier(Arc::new(verifier));
    Ok((config, indicated))
}

/// The name to ask a server for. Anything but a DNS name keeps the library from sending one.
fn indicated(name: &ExpectedName) -> ServerName<'static> {
    match name {
        ExpectedName::Is(name) => name.clone(),
        ExpectedName::Unknown | ExpectedName::Impossible(_) => {
            ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into())
        }
    }
}
