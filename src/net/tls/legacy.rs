//! Handshakes with OpenSSL, for what the default library does not have and Go does: TLS 1.0 and 1.1,
//! CBC cipher suites and, where a module goes below TLS 1.2, RSA key exchange.
//!
//! OpenSSL negotiates and encrypts. It never decides about trust: it is given no root, and its
//! question whether a chain is good is answered by our own verifier. It never offers a suite
//! without authentication or encryption. It reads no configuration file.

use std::io;
use std::pin::Pin;
use std::ptr;
use std::sync::{Arc, Once};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    self, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslRef, SslSessionCacheMode,
    SslVerifyMode, SslVersion,
};
use openssl::x509::{X509, X509StoreContext, X509StoreContextRef};
use rustls::AlertDescription;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;

use super::error::{self, TlsError};
use super::hello::Watched;
use super::provider::TlsVersion;
use super::settings::{Identity, TlsSettings};
use super::verify::{ConnectionVerifier, ExpectedName};

/// Suites up to TLS 1.2, in Go's order of preference. All have forward secrecy.
const SUITES: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
                      ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
                      ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
                      ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:\
                      ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA";

/// Offered after [`SUITES`] by a module that goes below TLS 1.2: RSA key exchange.
const RSA_SUITES: &str = "AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA:AES256-SHA";

/// Suites of TLS 1.3, in Go's order.
const SUITES_13: &str = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

/// Allows keys and digests of any size; what is too short for us is the verifier's business.
const SECURITY_LEVEL: u32 = 0;

const GROUPS: &str = "X25519:P-256:P-384:P-521";

/// Go's list. SHA-1 only matters to servers of TLS 1.2 that know nothing else.
const SIGNATURES: &str = "PSS+SHA256:ECDSA+SHA256:ed25519:PSS+SHA384:PSS+SHA512:\
                          RSA+SHA256:RSA+SHA384:RSA+SHA512:ECDSA+SHA384:ECDSA+SHA512:RSA+SHA1:ECDSA+SHA1";

/// `OPENSSL_INIT_NO_LOAD_CONFIG` of openssl/crypto.h.
const INIT_NO_LOAD_CONFIG: u64 = 0x80;

/// `ERR_LIB_SSL` of openssl/err.h: the part of the library that speaks TLS.
const LIBRARY_SSL: i32 = 20;

/// Reasons of openssl/sslerr.h. An alert of the peer is this plus its number.
const REASON_ALERT: i32 = 1000;
const REASON_BAD_SIGNATURE: i32 = 123;
const REASON_VERIFY_FAILED: i32 = 134;
const REASON_UNEXPECTED_EOF: i32 = 294;
const REASON_WRONG_VERSION_NUMBER: i32 = 267;
/// The peer chose, or forced upon us, what we did not offer.
const REASONS_NOTHING_IN_COMMON: &[i32] = &[
    101, // no suitable key share
    191, // no protocols available
    248, // unknown cipher returned
    258, // unsupported protocol
    261, // wrong cipher returned
    266, // wrong SSL version
    378, // wrong curve
];
/// The peer's first bytes are no record of TLS.
const REASONS_NO_RECORD: &[i32] = &[
    155, // HTTPS proxy request
    156, // HTTP request
    198, // packet length too long
    REASON_WRONG_VERSION_NUMBER,
    443, // bad record type
];

/// Keeps OpenSSL from reading `openssl.cnf` and `OPENSSL_CONF`, which could change what is
/// negotiated. Comes before any other use of it in this process.
#[allow(unsafe_code)]
pub(super) fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: initialisation is thread-safe and takes no settings. If it fails, everything that
        // needs it fails with an error of its own.
        unsafe { openssl_sys::OPENSSL_init_ssl(INIT_NO_LOAD_CONFIG, ptr::null()) };
    });
}

/// What all connections of a module share.
pub(super) fn context(settings: &TlsSettings, identity: Option<&Identity>) -> Result<SslContext, ErrorStack> {
    initialise();
    let min = settings.oldest();
    let mut builder = SslContextBuilder::new(SslMethod::tls_client())?;
    builder.set_security_level(SECURITY_LEVEL);
    builder.set_min_proto_version(Some(version(min)))?;
    builder.set_max_proto_version(Some(version(settings.newest())))?;
    if min < TlsVersion::Tls12 {
        builder.set_cipher_list(&format!("{SUITES}:{RSA_SUITES}"))?;
    } else {
        builder.set_cipher_list(SUITES)?;
    }
    builder.set_ciphersuites(SUITES_13)?;
    builder.set_groups_list(GROUPS)?;
    builder.set_sigalgs_list(SIGNATURES)?;
    // A probe measures a full handshake, so nothing is resumed.
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
    // Old servers lack the protection of renegotiation (RFC 5746), and we never renegotiate.
    builder.set_options(SslOptions::from_bits_retain(openssl_sys::SSL_OP_LEGACY_SERVER_CONNECT));
    if !settings.alpn.is_empty() {
        builder.set_alpn_protos(&alpn_list(&settings.alpn))?;
    }
    if let Some(identity) = identity {
        let mut chain = identity.chain.iter();
        if let Some(own) = chain.next() {
            builder.set_certificate(X509::from_der(own)?.as_ref())?;
        }
        for certificate in chain {
            builder.add_extra_chain_cert(X509::from_der(certificate)?)?;
        }
        let key = PKey::private_key_from_der(identity.key.secret_der())?;
        builder.set_private_key(&key)?;
        builder.check_private_key()?;
    }
    Ok(builder.build())
}

/// Makes a handshake; the name that the verifier expects is asked for if it is a host name.
pub(super) async fn handshake<S>(
    context: &SslContext,
    stream: Watched<S>,
    verifier: ConnectionVerifier,
) -> Result<SslStream<Watched<S>>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let verifier = Arc::new(verifier);
    let mut stream = client(context, Arc::clone(&verifier))
        .and_then(|ssl| SslStream::new(ssl, stream))
        .map_err(|error| TlsError::Protocol(format!("OpenSSL cannot begin: {error}")))?;
    let outcome = Pin::new(&mut stream).connect().await;

    match outcome {
        Ok(()) if !verifier.was_asked() => {
            Err(TlsError::Protocol("OpenSSL accepted a chain without asking".to_owned()))
        }
        Ok(()) => {
            verifier.observer.lock().alpn = stream.ssl().selected_alpn_protocol().map(<[u8]>::to_vec);
            Ok(stream)
        }
        Err(error) => {
            let answered = verifier.observer.lock().hello.is_some();
            let why = reason(&error);
            if why == Some(REASON_BAD_SIGNATURE) {
                verifier.distrust("the server did not prove that it has the key: bad signature");
            } else if why != Some(REASON_VERIFY_FAILED) {
                return Err(from_handshake(error, answered));
            }
            Err(verifier.verdict().unwrap_or_else(|| from_handshake(error, answered)))
        }
    }
}

fn client(context: &SslContext, verifier: Arc<ConnectionVerifier>) -> Result<Ssl, ErrorStack> {
    let mut ssl = Ssl::new(context)?;
    if let ExpectedName::Is(ServerName::DnsName(name)) = &verifier.name {
        // A final dot is no part of a server name (RFC 6066 §3).
        let name = name.as_ref();
        ssl.set_hostname(name.strip_suffix('.').unwrap_or(name))?;
    }
    let mode = if verifier.enforce { SslVerifyMode::PEER } else { SslVerifyMode::NONE };
    // It is called with every opinion of OpenSSL on the chain. The answer is always ours.
    ssl.set_verify_callback(mode, move |_, asked| {
        if !verifier.was_asked() {
            verifier.see(presented(asked), UnixTime::now());
        }
        verifier.accepts()
    });
    Ok(ssl)
}

/// The certificates as the server sent them, not as OpenSSL would chain them.
fn presented(asked: &X509StoreContextRef) -> Vec<CertificateDer<'static>> {
    let ssl: Option<&SslRef> = X509StoreContext::ssl_idx().ok().and_then(|index| asked.ex_data(index));
    let chain = ssl.and_then(SslRef::peer_cert_chain);
    let ders = chain.into_iter().flatten().filter_map(|certificate| certificate.to_der().ok());
    ders.map(CertificateDer::from).collect()
}

fn version(version: TlsVersion) -> SslVersion {
    match version {
        TlsVersion::Tls10 => SslVersion::TLS1,
        TlsVersion::Tls11 => SslVersion::TLS1_1,
        TlsVersion::Tls12 => SslVersion::TLS1_2,
        TlsVersion::Tls13 => SslVersion::TLS1_3,
    }
}

/// RFC 7301 §3.1. A name that is too long for its length byte cannot be offered and is left out.
fn alpn_list(protocols: &[Vec<u8>]) -> Vec<u8> {
    let mut list = Vec::new();
    for protocol in protocols {
        if let Ok(length) = u8::try_from(protocol.len()) {
            list.push(length);
            list.extend_from_slice(protocol);
        }
    }
    list
}

/// The first reason that the TLS part of OpenSSL gives.
fn reason(error: &ssl::Error) -> Option<i32> {
    let stack = error.ssl_error()?.errors();
    stack.iter().find(|entry| entry.library_code() == LIBRARY_SSL).map(|entry| entry.reason_code())
}

fn alert(reason: i32) -> Option<AlertDescription> {
    let number = u8::try_from(reason.checked_sub(REASON_ALERT)?).ok()?;
    Some(AlertDescription::from(number))
}

fn from_handshake(error: ssl::Error, answered: bool) -> TlsError {
    let error = match error.into_io_error() {
        Ok(error) => return error::from_io(error),
        Err(error) => error,
    };
    let Some(reason) = reason(&error) else { return TlsError::Closed };
    if let Some(alert) = alert(reason) {
        return error::from_alert(alert, answered);
    }
    let text = || error.ssl_error().map(describe).unwrap_or_default();
    match reason {
        REASON_UNEXPECTED_EOF => TlsError::Closed,
        _ if REASONS_NO_RECORD.contains(&reason) && !answered => error::not_tls(),
        REASON_WRONG_VERSION_NUMBER => TlsError::VersionOrCipher(text()),
        _ if REASONS_NOTHING_IN_COMMON.contains(&reason) => TlsError::VersionOrCipher(text()),
        _ => TlsError::Protocol(format!("the peer breaks the TLS protocol: {}", text())),
    }
}

/// An error of an established connection, in the terms of the default library, which everyone
/// above understands.
pub(super) fn translate(error: io::Error) -> io::Error {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<ssl::Error>()) else {
        return error;
    };
    match reason(inner) {
        Some(REASON_UNEXPECTED_EOF) => io::ErrorKind::UnexpectedEof.into(),
        Some(reason) => io::Error::other(match alert(reason) {
            Some(alert) => rustls::Error::AlertReceived(alert),
            None => rustls::Error::General(inner.ssl_error().map(describe).unwrap_or_default()),
        }),
        None => error,
    }
}

/// What OpenSSL says, without its places in the source.
fn describe(stack: &ErrorStack) -> String {
    let reasons = stack.errors().iter().filter_map(|entry| entry.reason());
    reasons.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_have_their_lengths_in_front() {
        let list = alpn_list(&[b"h2".to_vec(), vec![b'x'; 256], b"http/1.1".to_vec()]);
        assert_eq!(list, b"\x02h2\x08http/1.1");
    }
}
