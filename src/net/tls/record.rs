//! What is seen of one handshake, kept outside of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls_pki_types::CertificateDer;

use super::TlsFacts;
use super::hello::ServerHello;
use super::provider::{self, TlsVersion};
use super::verify::Judgement;

/// Sees a handshake while it runs, and still knows it when a deadline has dropped the handshake.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<Mutex<Record>>);

/// What a handshake showed so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) hello: Option<ServerHello>,
    pub(super) alpn: Option<Vec<u8>>,
    pub(super) presented: Vec<CertificateDer<'static>>,
    pub(super) judgement: Option<Judgement>,
    pub(super) signature_unchecked: bool,
    pub(super) worth_repeating: bool,
}

impl Observer {
    /// What was seen so far; it is forgotten here.
    pub fn take(&self) -> TlsFacts {
        std::mem::take(&mut *self.lock()).into_facts()
    }

    /// What was seen so far.
    pub(super) fn facts(&self) -> TlsFacts {
        self.lock().clone().into_facts()
    }

    /// The application protocol agreed on, if any.
    pub fn protocol(&self) -> Option<Vec<u8>> {
        self.lock().alpn.clone()
    }

    /// Whether the handshake failed in a way that older cipher suites may cure: see
    /// [`TlsClient::handshake_again`](super::TlsClient::handshake_again).
    pub fn is_worth_repeating(&self) -> bool {
        self.lock().worth_repeating
    }

    /// Whether the server chose a version or suite that only the older library has.
    pub fn saw_old_choice(&self) -> bool {
        self.lock().hello.is_some_and(|hello| !provider::offers(hello.version, hello.cipher))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Record> {
        // Fields are written one by one and mean something each by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn into_facts(self) -> TlsFacts {
        let hello = self.hello;
        let (verdict, last_chain_expiry) = match self.judgement {
            Some(judgement) => (Some(judgement.verdict), judgement.chain_expiry),
            None => (None, None),
        };
        TlsFacts {
            version: hello.and_then(|hello| TlsVersion::from_wire(hello.version)),
            cipher: hello.map(|hello| provider::cipher_name(hello.cipher)),
            alpn: self.alpn,
            presented: self.presented,
            verdict,
            last_chain_expiry,
            signature_unchecked: self.signature_unchecked,
        }
    }
}
