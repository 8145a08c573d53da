//! Classes, response codes and the other small registries that have mnemonics in text.

use std::fmt;

/// A class. `Display` is what records show: the mnemonic, or `CLASS60`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class(pub u16);

impl Class {
    /// Finds the class with exactly this mnemonic: `IN`, `CS`, `CH`, `HS`, `NONE` or `ANY`.
    pub fn parse(mnemonic: &str) -> Option<Self> {
        code(CLASSES, mnemonic).map(Self)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match mnemonic(CLASSES, self.0) {
            // ANY is a type too, so the peer writes the class as CLASS255.
            Some(mnemonic) if mnemonic != "ANY" => f.write_str(mnemonic),
            _ => write!(f, "CLASS{}", self.0),
        }
    }
}

/// A response code, with the upper bits of EDNS(0) (RFC 6891 §6.1.3): 0 to 4095. `Display` is the
/// mnemonic, or `RCODE24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rcode(pub u16);

impl Rcode {
    /// The query was answered; the answer may be empty.
    pub const NOERROR: Self = Self(0);

    /// Finds the code with exactly this mnemonic, `NOTIMPL` and `BADVERS` included.
    pub fn parse(mnemonic: &str) -> Option<Self> {
        code(RCODES, mnemonic).or_else(|| code(RCODE_ALIASES, mnemonic)).map(Self)
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match mnemonic(RCODES, self.0) {
            Some(mnemonic) => f.write_str(mnemonic),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

/// Certificate types of CERT (RFC 4398 §2.1).
pub(super) fn certificate_type(code: u16) -> Option<&'static str> {
    mnemonic(CERTIFICATE_TYPES, code)
}

/// DNSSEC algorithms, where the text shows names: CERT and the EDNS option DAU.
pub(super) fn algorithm(code: u8) -> Option<&'static str> {
    mnemonic(ALGORITHMS, u16::from(code))
}

/// Hash functions of the EDNS options DHU and N3U.
pub(super) fn hash(code: u8) -> Option<&'static str> {
    mnemonic(HASHES, u16::from(code))
}

/// Extended DNS errors (RFC 8914 §5.2 and the IANA registry).
pub(super) fn extended_error(code: u16) -> Option<&'static str> {
    EXTENDED_ERRORS.get(usize::from(code)).copied()
}

fn mnemonic(registry: Registry, wanted: u16) -> Option<&'static str> {
    registry.iter().find(|(code, _)| *code == wanted).map(|(_, mnemonic)| *mnemonic)
}

fn code(registry: Registry, wanted: &str) -> Option<u16> {
    registry.iter().find(|(_, mnemonic)| *mnemonic == wanted).map(|(code, _)| *code)
}

type Registry = &'static [(u16, &'static str)];

const CLASSES: Registry = &[(1, "IN"), (2, "CS"), (3, "CH"), (4, "HS"), (254, "NONE"), (255, "ANY")];

const RCODES: Registry = &[
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
    (11, "DSOTYPENI"),
    (16, "BADSIG"),
    (17, "BADKEY"),
    (18, "BADTIME"),
    (19, "BADMODE"),
    (20, "BADNAME"),
    (21, "BADALG"),
    (22, "BADTRUNC"),
    (23, "BADCOOKIE"),
];

/// `NOTIMPL` is an old spelling of the peer's library; `BADVERS` is 16 in EDNS(0), which the peer
/// only knows as `BADSIG`.
const RCODE_ALIASES: Registry = &[(4, "NOTIMPL"), (16, "BADVERS")];

const CERTIFICATE_TYPES: Registry = &[
    (1, "PKIX"),
    (2, "SPKI"),
    (3, "PGP"),
    (4, "IPIX"),
    (5, "ISPKI"),
    (6, "IPGP"),
    (7, "ACPKIX"),
    (8, "IACPKIX"),
    (253, "URI"),
    (254, "OID"),
];

const ALGORITHMS: Registry = &[
    (1, "RSAMD5"),
    (2, "DH"),
    (3, "DSA"),
    (5, "RSASHA1"),
    (6, "DSA-NSEC3-SHA1"),
    (7, "RSASHA1-NSEC3-SHA1"),
    (8, "RSASHA256"),
    (10, "RSASHA512"),
    (12, "ECC-GOST"),
    (13, "ECDSAP256SHA256"),
    (14, "ECDSAP384SHA384"),
    (15, "ED25519"),
    (16, "ED448"),
    (252, "INDIRECT"),
    (253, "PRIVATEDNS"),
    (254, "PRIVATEOID"),
];

const HASHES: Registry = &[(1, "SHA1"), (2, "SHA256"), (3, "GOST94"), (4, "SHA384"), (5, "SHA512")];

/// By code, from 0.
const EXTENDED_ERRORS: &[&str] = &[
    "Other",
    "Unsupported DNSKEY Algorithm",
    "Unsupported DS Digest Type",
    "Stale Answer",
    "Forged Answer",
    "DNSSEC Indeterminate",
    "DNSSEC Bogus",
    "Signature Expired",
    "Signature Not Yet Valid",
    "DNSKEY Missing",
    "RRSIGs Missing",
    "No Zone Key Bit Set",
    "NSEC Missing",
    "Cached Error",
    "Not Ready",
    "Blocked",
    "Censored",
    "Filtered",
    "Prohibited",
    "Stale NXDOMAIN Answer",
    "Not Authoritative",
    "Not Supported",
    "No Reachable Authority",
    "Network Error",
    "Invalid Data",
    "Signature Expired Before Valid",
    "Too Early",
    "Unsupported NSEC3 Iterations Value",
    "Unable To Conform To Policy",
    "Synthesized",
    "Invalid Query Type",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let cases = [
            ("IN", Some(1), "IN"),
            ("CS", Some(2), "CS"),
            ("CH", Some(3), "CH"),
            ("HS", Some(4), "HS"),
            ("NONE", Some(254), "NONE"),
            ("ANY", Some(255), "CLASS255"),
            ("CHAOS", None, ""),
            ("in", None, ""),
            ("CLASS1", None, ""),
        ];
        for (mnemonic, want, shown) in cases {
            let class = Class::parse(mnemonic);
            assert_eq!(class, want.map(Class), "{mnemonic}");
            if let Some(class) = class {
                assert_eq!(class.to_string(), shown);
            }
        }
        assert_eq!(Class(60).to_string(), "CLASS60");
    }

    #[test]
    fn rcodes() {
        for (code, mnemonic) in RCODES {
            assert_eq!(Rcode::parse(mnemonic), Some(Rcode(*code)));
            assert_eq!(Rcode(*code).to_string(), *mnemonic);
        }
        assert_eq!(Rcode::parse("NOTIMPL"), Some(Rcode(4)));
        assert_eq!(Rcode::parse("BADVERS"), Some(Rcode(16)));
        assert_eq!(Rcode::parse("noerror"), None);
        assert_eq!(Rcode(24).to_string(), "RCODE24");
    }

    #[test]
    fn extended_errors_end_at_30() {
        assert_eq!(extended_error(0), Some("Other"));
        assert_eq!(extended_error(18), Some("Prohibited"));
        assert_eq!(extended_error(30), Some("Invalid Query Type"));
        assert_eq!(extended_error(31), None);
    }
}
