//! A bcrypt hash, and whether a password fits it.

use std::fmt;
use std::sync::LazyLock;

use aws_lc_rs::constant_time;
use data_encoding::{Encoding, Specification};

/// A parsed hash: `$2y$<cost>$<salt><digest>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    cost: u8,
    salt: [u8; SALT_BYTES],
    digest: [u8; DIGEST_BYTES],
}

/// Shows nothing, because hashes are secrets too.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(<secret>)")
    }
}

/// Why text is no hash; nothing of the text is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHash {
    /// The toolkit does not start with it. The reason in words.
    Refused(&'static str),
    /// The toolkit starts, and no password ever fits.
    Useless,
}

impl fmt::Display for BadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused(why) => why,
            Self::Useless => "has a hash that no password fits",
        })
    }
}

impl Hash {
    /// Reads a hash. The letter of the version is not looked at, because it names faults of old
    /// implementations only.
    ///
    /// # Errors
    /// See [`BadHash`].
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        let bytes = text.as_bytes();
        if bytes.len() < MIN_LENGTH {
            return Err(BadHash::Refused("is too short to be a bcrypt hash"));
        }
        let version = match bytes {
            [b'$', b'0'..=b'2', b'$', ..] => 3,
            [b'$', b'0'..=b'2', _, b'$', ..] => 4,
            _ => return Err(BadHash::Refused("does not begin like a bcrypt hash, with $2y$ or its like")),
        };
        let cost = bytes.get(version..version + 2).and_then(|digits| std::str::from_utf8(digits).ok());
        let cost = cost.and_then(|digits| digits.parse().ok());
        let Some(cost) = cost.filter(|cost| (MIN_COST..=MAX_COST).contains(cost)) else {
            return Err(BadHash::Refused("has no cost from 04 to 31"));
        };
        let rest = bytes.get(version + 2..).and_then(|rest| rest.strip_prefix(b"$"));
        let (salt, digest) =
            rest.and_then(|rest| rest.split_at_checked(SALT_TEXT)).ok_or(BadHash::Useless)?;
        let decode = |text| BCRYPT.decode(text).map_err(|_| BadHash::Useless);
        let fixed = |_| BadHash::Useless;
        Ok(Self {
            cost,
            salt: decode(salt)?.try_into().map_err(fixed)?,
            digest: decode(digest)?.try_into().map_err(fixed)?,
        })
    }

    /// Steps of a check, as a power of two.
    #[cfg(test)]
    pub fn cost(&self) -> u8 {
        self.cost
    }

    /// Tells one hash from another.
    pub fn as_bytes(&self) -> [u8; 1 + SALT_BYTES + DIGEST_BYTES] {
        let mut bytes = [0; 1 + SALT_BYTES + DIGEST_BYTES];
        bytes[0] = self.cost;
        bytes[1..=SALT_BYTES].copy_from_slice(&self.salt);
        bytes[1 + SALT_BYTES..].copy_from_slice(&self.digest);
        bytes
    }

    /// A hash that no password fits, as expensive to check as `self`.
    pub fn impossible(&self) -> Self {
        // The digest of a password ends after 23 bytes; what it is does not matter to those who have
        // to be refused anyway.
        Self { cost: self.cost, salt: [0; SALT_BYTES], digest: [0; DIGEST_BYTES] }
    }

    /// Computes the hash of the password and compares in constant time. Takes 2^cost steps: 50 ms and
    /// more with the usual cost of 10, so this is nothing for an async task.
    pub fn fits(&self, password: &[u8]) -> bool {
        // What is hashed is the text with its terminator, of which only this much counts.
        let mut key = password.to_vec();
        key.push(0);
        key.truncate(KEY_BYTES);
        let digest = bcrypt::bcrypt(self.cost.into(), self.salt, &key);
        constant_time::verify_slices_are_equal(&digest[..DIGEST_BYTES], &self.digest).is_ok()
    }
}

/// The base64 of bcrypt; the last character may carry bits that are not used.
static BCRYPT: LazyLock<Encoding> = LazyLock::new(|| {
    let mut alphabet = Specification::new();
    alphabet.symbols.push_str("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
    alphabet.check_trailing_bits = false;
    alphabet.encoding().expect("64 different characters")
});

/// A hash without a letter in its version.
const MIN_LENGTH: usize = 59;
const MIN_COST: u8 = 4;
const MAX_COST: u8 = 31;
const SALT_BYTES: usize = 16;
const SALT_TEXT: usize = 22;
const DIGEST_BYTES: usize = 23;
/// Bytes of a password that count, its terminator included.
const KEY_BYTES: usize = 72;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_fit_their_hashes() {
        // The first four are published test vectors of OpenBSD and jBCrypt; the last is `htpasswd -B`.
        let long = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\
                    0123456789chars after 72 are ignored";
        let cases = [
            ("", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."),
            ("a", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"),
            ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
            (long, "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"),
            ("pass word", "$2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf."),
        ];
        for (password, text) in cases {
            let hash = Hash::parse(text).unwrap();
            assert!(hash.fits(password.as_bytes()), "{password}");
            assert!(!hash.fits(format!("x{password}").as_bytes()), "{password}");
            assert!(!hash.impossible().fits(password.as_bytes()), "{password}");
            let other_letter = text.replacen(&text[2..3], "y", 1);
            assert_eq!(Hash::parse(&other_letter), Ok(hash));
        }
        let hash = Hash::parse("$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui").unwrap();
        assert!(hash.fits(&long.as_bytes()[..72]));
        assert_eq!(format!("{hash:?}"), "Hash(<secret>)");
    }

    #[test]
    fn what_is_no_hash() {
        use BadHash::{Refused, Useless};
        let prefix = Refused("does not begin like a bcrypt hash, with $2y$ or its like");
        let cost = Refused("has no cost from 04 to 31");
        let tail = "abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.";
        let cases = [
            (String::new(), Refused("is too short to be a bcrypt hash")),
            ("plain text".to_owned(), Refused("is too short to be a bcrypt hash")),
            (format!("2b$05$$$${tail}"), prefix),
            (format!("$3b$05${tail}"), prefix),
            (format!("$2bb$05${tail}"), prefix),
            (format!("$2b$03${tail}"), cost),
            (format!("$2b$32${tail}"), cost),
            (format!("$2b$5x${tail}"), cost),
            (format!("$2b$\u{e9}${tail}"), cost),
            (format!("$2b$05${tail}x"), Useless),
            (format!("$2b$05$!{}", &tail[1..]), Useless),
            (format!("$2b$05$abc!{}", &tail[4..]), Useless),
            (format!("$2b$05x{tail}"), Useless),
        ];
        for (text, want) in cases {
            assert_eq!(Hash::parse(&text), Err(want), "{text}");
        }
    }
}
