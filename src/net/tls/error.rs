//! Why there is no TLS connection.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, InvalidMessage, PeerIncompatible, PeerMisbehaved};

use super::verdict::Verdict;

/// Why a handshake, or the connection after it, failed: one variant for each thing an operator
/// would do differently.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The settings cannot work, whoever the peer is.
    #[error("{0}")]
    Settings(String),
    /// A file named in the settings cannot be read, or holds nothing usable.
    #[error("cannot use the file {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why it cannot be used.
        source: io::Error,
    },
    /// The peer's certificate is not acceptable. `detail` says which date, name or issuer.
    #[error("{verdict}: {detail}")]
    Certificate {
        /// What is wrong with it.
        verdict: Verdict,
        /// In words.
        detail: String,
    },
    /// The peer gave up with this alert (RFC 8446 §6), for example because of our certificate.
    #[error("the peer refused with the alert {}", alert_name(*.0))]
    Alert(AlertDescription),
    /// No protocol version, cipher suite or key exchange that both sides accept.
    #[error("no TLS version or cipher suite in common: {0}")]
    VersionOrCipher(String),
    /// The peer does not speak TLS, or speaks it wrongly.
    #[error("{0}")]
    Protocol(String),
    /// The peer closed the connection during the handshake without saying why.
    #[error("the peer closed the connection during the TLS handshake")]
    Closed,
    /// The connection below TLS failed.
    #[error("the connection failed during the TLS handshake")]
    Io(#[source] io::Error),
}

/// What TLS has to say about an error of a read or write on an established connection.
///
/// Under TLS 1.3 a client has finished its handshake before the server judges the client's
/// certificate, so the refusal arrives as an alert on the first read. `None` means that the error
/// comes from the connection below.
pub fn classify_io(error: &io::Error) -> Option<TlsError> {
    let inner = error.get_ref()?;
    match inner.downcast_ref::<rustls::Error>() {
        Some(error) => Some(from_rustls(error, true)),
        None if error.kind() == io::ErrorKind::InvalidData => alert_in(&inner.to_string()),
        None => None,
    }
}

/// The alert behind a text: of an error that went through HTTP/2, h2 keeps nothing but kind and text.
fn alert_in(text: &str) -> Option<TlsError> {
    let mut all = (0..=u8::MAX).map(AlertDescription::from);
    let is_it = |alert: &AlertDescription| rustls::Error::AlertReceived(*alert).to_string() == text;
    all.find(is_it).map(TlsError::Alert)
}

/// The error of a handshake that failed; `answered` if the peer had sent its ServerHello.
pub(super) fn from_handshake(error: io::Error, answered: bool) -> TlsError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match tls {
        Some(tls) => from_rustls(tls, answered),
        None => from_io(error),
    }
}

/// An error of the connection below.
pub(super) fn from_io(error: io::Error) -> TlsError {
    if error.kind() == io::ErrorKind::UnexpectedEof { TlsError::Closed } else { TlsError::Io(error) }
}

/// The peer's first bytes are something else.
pub(super) fn not_tls() -> TlsError {
    TlsError::Protocol("the peer's answer is not TLS".to_owned())
}

/// Whether the default library failed because the peer wants what only the older one has. The
/// version is not among the reasons: a module that wants older ones never comes to this.
pub(super) fn wants_older_suites(error: &io::Error, answered: bool) -> bool {
    use rustls::Error as E;
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(E::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        )) => !answered,
        Some(E::PeerIncompatible(why)) => matches!(why, PeerIncompatible::NoCipherSuitesInCommon),
        Some(E::PeerMisbehaved(why)) => chose_what_we_lack(why),
        _ => false,
    }
}

/// Whether the peer went away without a word. Some stacks do that when no suite is in common, and
/// so does a server in trouble.
pub(super) fn left_silently(error: &io::Error, answered: bool) -> bool {
    let left = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    !answered && left.contains(&error.kind())
}

fn from_rustls(error: &rustls::Error, answered: bool) -> TlsError {
    use rustls::Error::{AlertReceived, InvalidMessage, PeerIncompatible, PeerMisbehaved};
    match error {
        AlertReceived(alert) => from_alert(*alert, answered),
        PeerIncompatible(why) if lacks_common_ground(why) => TlsError::VersionOrCipher(error.to_string()),
        PeerMisbehaved(why) if chose_what_we_lack(why) => TlsError::VersionOrCipher(error.to_string()),
        InvalidMessage(why) if !answered && is_no_record(*why) => not_tls(),
        _ => TlsError::Protocol(format!("the peer breaks the TLS protocol: {error}")),
    }
}

/// The error that an alert of the peer stands for; `answered` if it had sent its ServerHello.
pub(super) fn from_alert(alert: AlertDescription, answered: bool) -> TlsError {
    if refuses_offer(alert, answered) {
        TlsError::VersionOrCipher(format!("the peer refused with the alert {}", alert_name(alert)))
    } else {
        TlsError::Alert(alert)
    }
}

/// The error behind an alert that our side has sent; `reason` is what the library says.
pub(super) fn from_own_alert(alert: AlertDescription, reason: &str) -> TlsError {
    match alert {
        AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity
        | AlertDescription::HandshakeFailure => TlsError::VersionOrCipher(reason.to_owned()),
        _ => TlsError::Protocol(format!("the peer breaks the TLS protocol: {reason}")),
    }
}

/// Before the ServerHello a peer can only be unhappy with what we offer.
fn refuses_offer(alert: AlertDescription, answered: bool) -> bool {
    match alert {
        AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => true,
        AlertDescription::HandshakeFailure => !answered,
        _ => false,
    }
}

fn lacks_common_ground(why: &PeerIncompatible) -> bool {
    matches!(
        why,
        PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
    )
}

fn chose_what_we_lack(why: &PeerMisbehaved) -> bool {
    matches!(
        why,
        PeerMisbehaved::SelectedUnofferedCipherSuite
            | PeerMisbehaved::SelectedUnofferedKxGroup
            | PeerMisbehaved::SelectedUnusableCipherSuiteForVersion
    )
}

fn is_no_record(why: InvalidMessage) -> bool {
    matches!(
        why,
        InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload
    )
}

/// The name in the RFCs, such as `certificate_required`.
fn alert_name(alert: AlertDescription) -> String {
    let Some(name) = alert.as_str() else {
        return u8::from(alert).to_string();
    };
    let mut text = String::new();
    let mut after_small = false;
    for character in name.chars() {
        if character.is_ascii_uppercase() && after_small {
            text.push('_');
        }
        after_small = character.is_ascii_lowercase();
        text.push(character.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_their_names_from_the_rfc() {
        let cases = [
            (AlertDescription::HandshakeFailure, "handshake_failure"),
            (AlertDescription::UnknownCA, "unknown_ca"),
            (AlertDescription::BadRecordMac, "bad_record_mac"),
            (AlertDescription::CertificateRequired, "certificate_required"),
            (AlertDescription::Unknown(200), "200"),
        ];
        for (alert, name) in cases {
            assert_eq!(alert_name(alert), name);
        }
    }

    #[test]
    fn a_refused_offer_is_told_from_a_refused_certificate() {
        let refused = rustls::Error::AlertReceived(AlertDescription::HandshakeFailure);
        assert_eq!(
            from_rustls(&refused, false).to_string(),
            "no TLS version or cipher suite in common: \
             the peer refused with the alert handshake_failure"
        );
        assert_eq!(
            from_rustls(&refused, true).to_string(),
            "the peer refused with the alert handshake_failure"
        );
    }

    #[test]
    fn errors_below_tls_are_not_ours() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(classify_io(&reset).is_none());
        assert!(classify_io(&io::Error::new(io::ErrorKind::InvalidData, "something else")).is_none());
        let tls = io::Error::other(rustls::Error::AlertReceived(AlertDescription::BadCertificate));
        assert!(matches!(classify_io(&tls), Some(TlsError::Alert(AlertDescription::BadCertificate))));
        let text = rustls::Error::AlertReceived(AlertDescription::CertificateRequired).to_string();
        let text = io::Error::new(io::ErrorKind::InvalidData, text);
        assert!(matches!(classify_io(&text), Some(TlsError::Alert(AlertDescription::CertificateRequired))));
    }
}
