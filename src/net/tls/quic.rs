//! The TLS handshake inside QUIC (RFC 9001): the same verifier, the same facts, other carriers.

use std::any::Any;
use std::sync::Arc;

use quinn::crypto::{self, rustls::QuicClientConfig};
use quinn::{ConnectError, ConnectionError, ConnectionId, Side, TransportErrorCode};
use quinn_proto::TransportError;
use quinn_proto::transport_parameters::TransportParameters;
use rustls::AlertDescription;

use super::error;
use super::hello::{self, MAX_HELLO_BYTES};
use super::record::Observer;
use super::verdict::Verdict;
use super::{TlsClient, TlsError, TlsFacts, TlsVersion};

/// The TLS side of one QUIC connection: what goes into it, and what it showed.
#[derive(Debug)]
pub struct QuicHandshake {
    config: Arc<WatchedConfig>,
    server_name: String,
    observer: Observer,
}

impl TlsClient {
    /// Prepares the handshake of one QUIC connection; `name` is as for [`TlsClient::handshake`].
    ///
    /// # Errors
    /// The settings cannot work, or do not allow TLS 1.3, which is the only version QUIC has.
    pub fn quic(&self, name: &str) -> Result<QuicHandshake, TlsError> {
        if let Some(max) = self.settings.max_version.filter(|max| *max < TlsVersion::Tls13) {
            let text = format!("{max} is allowed at most, QUIC needs TLS 1.3");
            return Err(TlsError::VersionOrCipher(text));
        }
        let observer = Observer::default();
        let (verifier, loaded) = self.verifier(name, &observer)?;
        let (config, indicated) = super::with_rustls(verifier, &loaded)?;
        let config =
            QuicClientConfig::try_from(config).map_err(|error| TlsError::Settings(error.to_string()))?;
        Ok(QuicHandshake {
            config: Arc::new(WatchedConfig { tls: Arc::new(config), observer: observer.clone() }),
            server_name: indicated.to_str().into_owned(),
            observer,
        })
    }
}

impl QuicHandshake {
    /// For the connection; good for one.
    pub fn config(&self) -> Arc<dyn crypto::ClientConfig> {
        Arc::clone(&self.config) as Arc<dyn crypto::ClientConfig>
    }

    /// The name to connect with.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Sees the handshake, also when that does not come to its end.
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Whether the server has chosen version and cipher suite.
    pub fn is_answered(&self) -> bool {
        self.observer.lock().hello.is_some()
    }

    /// What the handshake showed so far.
    pub fn facts(&self) -> TlsFacts {
        self.observer.facts()
    }

    /// What TLS has to say about the end of the connection; `None` if it ended for another reason.
    pub fn explain(&self, error: &ConnectionError) -> Option<TlsError> {
        match error {
            ConnectionError::TransportError(ours) => {
                let alert = alert(ours.code)?;
                let record = self.observer.lock();
                let judgement = record.judgement.as_ref();
                Some(match judgement.filter(|judgement| judgement.verdict != Verdict::Verified) {
                    Some(judgement) if is_about_certificate(alert) => {
                        TlsError::Certificate { verdict: judgement.verdict, detail: judgement.detail.clone() }
                    }
                    _ => error::from_own_alert(alert, &ours.reason),
                })
            }
            ConnectionError::ConnectionClosed(theirs) => {
                Some(error::from_alert(alert(theirs.error_code)?, self.is_answered()))
            }
            _ => None,
        }
    }
}

/// The alert in a code of QUIC (RFC 9001 §4.8).
fn alert(code: TransportErrorCode) -> Option<AlertDescription> {
    let number = u64::from(code).checked_sub(0x100)?;
    u8::try_from(number).ok().map(AlertDescription::from)
}

/// Whether the library answers a certificate or its signature with this alert.
fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::DecryptError
    )
}

/// Makes sessions that read along.
struct WatchedConfig {
    tls: Arc<QuicClientConfig>,
    observer: Observer,
}

impl std::fmt::Debug for WatchedConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchedConfig").field("observer", &self.observer).finish_non_exhaustive()
    }
}

impl crypto::ClientConfig for WatchedConfig {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        let tls = Arc::clone(&self.tls).start_session(version, server_name, params)?;
        Ok(Box::new(WatchedSession { tls, bytes: Vec::new(), observer: self.observer.clone() }))
    }
}

/// Passes everything on; the library keeps the chosen cipher suite to itself.
struct WatchedSession {
    tls: Box<dyn crypto::Session>,
    /// The server's first ones, until they are a whole ServerHello.
    bytes: Vec<u8>,
    observer: Observer,
}

impl crypto::Session for WatchedSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> crypto::Keys {
        self.tls.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.tls.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.tls.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn crypto::HeaderKey>, Box<dyn crypto::PacketKey>)> {
        self.tls.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.tls.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let mut record = self.observer.lock();
        if record.hello.is_none() && self.bytes.len() < MAX_HELLO_BYTES {
            self.bytes.extend_from_slice(buf);
            record.hello = hello::hello(&self.bytes);
        }
        drop(record);
        self.tls.read_handshake(buf)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.tls.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<crypto::Keys> {
        self.tls.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<crypto::KeyPair<Box<dyn crypto::PacketKey>>> {
        self.tls.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.tls.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), crypto::ExportKeyingMaterialError> {
        self.tls.export_keying_material(output, label, context)
    }
}
