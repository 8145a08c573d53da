//! Signatures by RSA keys from 1024 bits on, as Go accepts them.
//!
//! The cryptographic library of our TLS begins at 2048 bits, but for two legacy algorithms. What it
//! refuses is looked at again with OpenSSL, so longer keys cost nothing more.

use std::fmt;

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Verifier};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use webpki::aws_lc_rs as algorithms;

use super::legacy;

/// Smallest modulus whose signatures count (Go's limit since 1.24).
pub(super) const MIN_BITS: usize = 1024;

/// Smallest modulus that the other library accepts.
const OTHER_MIN_BITS: usize = 2048;

pub(super) static PKCS1_SHA256: RsaFrom1024 = RsaFrom1024 {
    from_2048: algorithms::RSA_PKCS1_2048_8192_SHA256,
    digest: MessageDigest::sha256,
    padding: Padding::PKCS1,
};
pub(super) static PKCS1_SHA384: RsaFrom1024 = RsaFrom1024 {
    from_2048: algorithms::RSA_PKCS1_2048_8192_SHA384,
    digest: MessageDigest::sha384,
    padding: Padding::PKCS1,
};
pub(super) static PKCS1_SHA512: RsaFrom1024 = RsaFrom1024 {
    from_2048: algorithms::RSA_PKCS1_2048_8192_SHA512,
    digest: MessageDigest::sha512,
    padding: Padding::PKCS1,
};
pub(super) static PSS_SHA256: RsaFrom1024 = RsaFrom1024 {
    from_2048: algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    digest: MessageDigest::sha256,
    padding: Padding::PKCS1_PSS,
};
pub(super) static PSS_SHA384: RsaFrom1024 = RsaFrom1024 {
    from_2048: algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    digest: MessageDigest::sha384,
    padding: Padding::PKCS1_PSS,
};
pub(super) static PSS_SHA512: RsaFrom1024 = RsaFrom1024 {
    from_2048: algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    digest: MessageDigest::sha512,
    padding: Padding::PKCS1_PSS,
};

/// One kind of RSA signature, by keys of 1024 to 8192 bits.
pub(super) struct RsaFrom1024 {
    from_2048: &'static dyn SignatureVerificationAlgorithm,
    digest: fn() -> MessageDigest,
    padding: Padding,
}

impl fmt::Debug for RsaFrom1024 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RsaFrom1024").field(&self.from_2048.signature_alg_id()).finish()
    }
}

impl RsaFrom1024 {
    /// Whether it is a right signature by a key that the other library is not made for.
    /// `public_key` is an `RSAPublicKey` (RFC 8017 §A.1.1).
    fn verify_short(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
        legacy::initialise();
        let key = Rsa::public_key_from_der_pkcs1(public_key)?;
        let bits = usize::try_from(key.n().num_bits()).unwrap_or(0);
        if !(MIN_BITS..OTHER_MIN_BITS).contains(&bits) {
            return Ok(false);
        }
        let key = PKey::from_rsa(key)?;
        let mut verifier = Verifier::new((self.digest)(), &key)?;
        verifier.set_rsa_padding(self.padding)?;
        if self.padding == Padding::PKCS1_PSS {
            // RFC 8446 §4.2.3: the salt is as long as the digest, which also does for the mask.
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        verifier.verify_oneshot(signature, message)
    }
}

impl SignatureVerificationAlgorithm for RsaFrom1024 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        self.from_2048.verify_signature(public_key, message, signature).or_else(|refused| {
            match self.verify_short(public_key, message, signature) {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(refused),
            }
        })
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.from_2048.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.from_2048.signature_alg_id()
    }
}
