//! From `tls_config` to a TLS client.

use crate::config::sections::tls::{TlsConfig, TlsVersion as WrittenVersion};
use crate::net::tls::{PemSource, TlsClient, TlsSettings, TlsVersion};

/// The client of a module; files it names are read at its first handshake.
pub fn compile(written: &TlsConfig, alpn: Vec<Vec<u8>>) -> TlsClient {
    TlsClient::new(settings(written, alpn))
}

/// The settings of a client.
pub fn settings(written: &TlsConfig, alpn: Vec<Vec<u8>>) -> TlsSettings {
    TlsSettings {
        ca: pem(&written.ca, &written.ca_file),
        cert: pem(&written.cert, &written.cert_file),
        key: pem(written.key.expose(), &written.key_file),
        server_name: (!written.server_name.is_empty()).then(|| written.server_name.clone()),
        insecure_skip_verify: written.insecure_skip_verify,
        min_version: written.min_version.map(version),
        max_version: written.max_version.map(version),
        alpn,
    }
}

fn pem(inline: &str, file: &str) -> Option<PemSource> {
    match (inline, file) {
        ("", "") => None,
        ("", file) => Some(PemSource::File(file.into())),
        (inline, _) => Some(PemSource::Inline(inline.to_owned())),
    }
}

fn version(written: WrittenVersion) -> TlsVersion {
    match written {
        WrittenVersion::Tls10 => TlsVersion::Tls10,
        WrittenVersion::Tls11 => TlsVersion::Tls11,
        WrittenVersion::Tls12 => TlsVersion::Tls12,
        WrittenVersion::Tls13 => TlsVersion::Tls13,
    }
}
