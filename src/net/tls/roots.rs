//! The certificates a module trusts, and the search for chains that lead to them.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use aws_lc_rs::digest;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage, VerifiedPath};

use super::certificate::{self, Validity};
use super::provider::SIGNATURES;

/// Chains looked at for the best expiry. Real servers have one to three.
const MAX_CHAINS: usize = 8;

/// Certificates visited during the search for chains; a hostile server could otherwise present
/// certificates that combine to hundreds of thousands of paths. Signature checks have their own
/// limit in the library, 100.
const MAX_VISITS: usize = 64;

/// Chains remembered; about 60 bytes each.
const MAX_REMEMBERED: usize = 16_384;

/// Trusted certificates, and the chains that were found to lead to them.
#[derive(Debug)]
pub(super) struct Roots {
    /// Same order and length as `roots`.
    anchors: Vec<TrustAnchor<'static>>,
    roots: Vec<Root>,
    remembered: Mutex<HashMap<ChainDigest, Remembered>>,
}

#[derive(Debug)]
struct Root {
    der: CertificateDer<'static>,
    validity: Validity,
}

/// SHA-256 over all presented certificates.
type ChainDigest = [u8; digest::SHA256_OUTPUT_LEN];

/// A search that found a chain. Nothing it looked at begins or ends to be valid within this time,
/// so the search would find the same again.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    from: i64,
    before: i64,
    chain_expiry: i64,
}

impl Roots {
    /// Trusts these certificates. Those that cannot be parsed are left out, as Go does.
    pub(super) fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let (anchors, roots) = certificates
            .into_iter()
            .filter_map(|der| {
                let anchor = webpki::anchor_from_trusted_cert(&der).ok()?.to_owned();
                let validity = certificate::validity(&der)?;
                Some((anchor, Root { der, validity }))
            })
            .unzip();
        Self { anchors, roots, remembered: Mutex::default() }
    }

    /// The store of the operating system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`; read once for
    /// each process. Takes milliseconds the first time.
    pub(super) fn system() -> Arc<Self> {
        static SYSTEM: LazyLock<Arc<Roots>> = LazyLock::new(|| {
            // What cannot be read is missing from the store, and then the verdict says so.
            Arc::new(Roots::new(rustls_native_certs::load_native_certs().certs))
        });
        Arc::clone(&SYSTEM)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    pub(super) fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        self.roots.iter().any(|root| root.der == *certificate)
    }

    /// Trusted certificates with this subject (content of the DER sequence).
    pub(super) fn with_subject(&self, subject: &[u8]) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.anchors
            .iter()
            .zip(&self.roots)
            .filter(move |(anchor, _)| anchor.subject.as_ref() == subject)
            .map(|(_, root)| &root.der)
    }

    /// Looks for chains from `leaf` to a trusted certificate that are valid at `now`.
    ///
    /// Returns when the last of them expires, in unix seconds: the largest of the smallest notAfter
    /// of each chain, root included. The name is not looked at. A leaf that is itself trusted is a
    /// chain of one, as in Go.
    pub(super) fn chain_expiry(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<i64, webpki::Error> {
        let der = leaf.der();
        let digest = chain_digest(&der, intermediates);
        let seconds = unix_seconds(now);
        if let Some(known) = self.lock().get(&digest)
            && (known.from..known.before).contains(&seconds)
        {
            return Ok(known.chain_expiry);
        }

        let chain_expiry = if self.contains(&der) {
            let validity = certificate::validity(&der).ok_or(webpki::Error::BadDer)?;
            check_dates(validity, now)?;
            validity.not_after
        } else {
            self.search(leaf, intermediates, now)?
        };

        let presented = std::iter::once(&der).chain(intermediates);
        let before = presented
            .filter_map(certificate::validity)
            .chain(self.roots.iter().map(|root| root.validity))
            .flat_map(|validity| [validity.not_before, validity.not_after.saturating_add(1)])
            .filter(|&edge| edge > seconds)
            .min()
            .unwrap_or(i64::MAX);
        let mut remembered = self.lock();
        if remembered.len() >= MAX_REMEMBERED {
            // Simpler than finding the oldest, and the price is one search for each chain.
            remembered.clear();
        }
        remembered.insert(digest, Remembered { from: seconds, before, chain_expiry });
        Ok(chain_expiry)
    }

    fn search(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<i64, webpki::Error> {
        let leaf_dates = certificate::validity(&leaf.der()).ok_or(webpki::Error::BadDer)?;
        // A trusted certificate ends every chain it is in. Going on through one that was presented
        // only finds chains that expire no later.
        let intermediates: Vec<CertificateDer<'_>> = intermediates
            .iter()
            .filter(|presented| !self.contains(presented))
            .map(|presented| CertificateDer::from(presented.as_ref()))
            .collect();

        let latest = Cell::new(None);
        let found = Cell::new(0);
        // The library stops at the first path that is accepted, so each is refused until there are
        // enough of them.
        let visit = |path: &VerifiedPath<'_>| {
            let root = self.root_of(path).ok_or(webpki::Error::UnknownIssuer)?;
            check_dates(root.validity, now)?;
            let mut expiry = leaf_dates.not_after.min(root.validity.not_after);
            for intermediate in path.intermediate_certificates() {
                let dates = certificate::validity(&intermediate.der()).ok_or(webpki::Error::BadDer)?;
                expiry = expiry.min(dates.not_after);
            }
            latest.set(latest.get().max(Some(expiry)));
            found.set(found.get() + 1);
            if found.get() < MAX_CHAINS { Err(webpki::Error::UnknownIssuer) } else { Ok(()) }
        };
        let result = leaf.verify_for_usage(
            SIGNATURES.all,
            &self.anchors,
            &intermediates,
            now,
            ServerUsage::default(),
            None,
            Some(&visit),
        );
        match (latest.get(), result) {
            (Some(expiry), _) => Ok(expiry),
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => Err(webpki::Error::UnknownIssuer),
        }
    }

    /// The root at the end of a path. Several may share subject and key, so it is found by address.
    fn root_of(&self, path: &VerifiedPath<'_>) -> Option<&Root> {
        let index = self.anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()))?;
        self.roots.get(index)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChainDigest, Remembered>> {
        // Entries are written whole, so a panic elsewhere leaves none half done.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn chain_digest(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> ChainDigest {
    let mut context = digest::Context::new(&digest::SHA256);
    for certificate in std::iter::once(leaf).chain(intermediates) {
        context.update(&certificate.len().to_be_bytes());
        context.update(certificate);
    }
    let mut output = ChainDigest::default();
    output.copy_from_slice(context.finish().as_ref());
    output
}

fn check_dates(validity: Validity, now: UnixTime) -> Result<(), webpki::Error> {
    let seconds = unix_seconds(now);
    if seconds < validity.not_before {
        Err(webpki::Error::CertNotValidYet { time: now, not_before: unix_time(validity.not_before) })
    } else if seconds > validity.not_after {
        Err(webpki::Error::CertExpired { time: now, not_after: unix_time(validity.not_after) })
    } else {
        Ok(())
    }
}

pub(super) fn unix_seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn unix_time(seconds: i64) -> UnixTime {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

/// Accepts what Go accepts for a server: no extended key usage, `serverAuth` or
/// `anyExtendedKeyUsage` (RFC 5280 §4.2.1.12). It is asked once for each certificate visited, which
/// makes it the place to end a search that grows too large.
#[derive(Default)]
struct ServerUsage {
    visits: Cell<usize>,
}

impl ExtendedKeyUsageValidator for ServerUsage {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        const ANY: [usize; 5] = [2, 5, 29, 37, 0];
        self.visits.set(self.visits.get() + 1);
        if self.visits.get() > MAX_VISITS {
            return Err(webpki::Error::MaximumPathBuildCallsExceeded);
        }
        let mut present = Vec::new();
        for usage in usages {
            let usage = usage?.to_decoded_oid();
            if usage == KeyUsage::SERVER_AUTH_REPR || usage == ANY {
                return Ok(());
            }
            present.push(usage);
        }
        if present.is_empty() {
            return Ok(());
        }
        let required = KeyUsage::server_auth();
        Err(webpki::Error::RequiredEkuNotFoundContext(webpki::RequiredEkuNotFoundContext {
            required,
            present,
        }))
    }
}
