//! Record types: number, mnemonic and the layout of the data, one line for each.

use std::fmt;

use super::rdata::Field::{self, *};

/// A record type. `Display` is the mnemonic, or `TYPE65280` for a number without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordType(pub u16);

impl RecordType {
    /// Start of authority, the type with a serial.
    pub const SOA: Self = Self(6);
    pub(super) const OPT: Self = Self(41);

    /// Finds the type with exactly this mnemonic. The peer knows neither lower case nor `TYPE65`
    /// nor numbers, so neither does this; it does know `None` (0) and `Reserved` (65535).
    pub fn parse(mnemonic: &str) -> Option<Self> {
        TYPES.iter().find(|known| known.mnemonic == mnemonic).map(|known| Self(known.number))
    }

    pub(super) fn layout(self) -> &'static Layout {
        self.known().map_or(&Layout::Generic, |known| &known.layout)
    }

    fn known(self) -> Option<&'static KnownType> {
        TYPES.binary_search_by_key(&self.0, |known| known.number).ok().and_then(|index| TYPES.get(index))
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(known) => f.write_str(known.mnemonic),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

/// The shape of a record's text.
pub(super) enum Layout {
    /// Owner, TTL, class and type, then these fields, separated by spaces.
    Fields(&'static [Field]),
    /// As `Fields`, but commented out by a prefix, and with a space before the first field.
    Commented(&'static str, &'static [Field]),
    /// Commented out, and the data as it is.
    Null,
    /// The EDNS(0) pseudo record: no owner, one line for each option.
    Edns,
    /// RFC 3597: `\# length hex`, also for types that have a mnemonic but no known data.
    Generic,
}

struct KnownType {
    number: u16,
    mnemonic: &'static str,
    layout: Layout,
}

const fn known(number: u16, mnemonic: &'static str, layout: Layout) -> KnownType {
    KnownType { number, mnemonic, layout }
}

const fn fields(number: u16, mnemonic: &'static str, fields: &'static [Field]) -> KnownType {
    known(number, mnemonic, Layout::Fields(fields))
}

const DIGEST: &[Field] = &[U16, U8, U8, UpperHex];
const KEY: &[Field] = &[U16, U8, U8, Base64];
const SIGNATURE: &[Field] = &[TypeName, U8, U8, U32, Time, Time, U16, Name, Base64];
const ASSOCIATION: &[Field] = &[U8, U8, U8, Hex];
const SERVICE: &[Field] = &[U16, Name, ServiceParameters];
const TSIG_PREFIX: &str = "\n;; TSIG PSEUDOSECTION:\n; ";

/// The types miekg/dns 1.1.72 knows, in numeric order.
#[rustfmt::skip]
static TYPES: &[KnownType] = &[
    known(0, "None", Layout::Generic),
    fields(1, "A", &[Ipv4]),
    fields(2, "NS", &[Name]),
    fields(3, "MD", &[Name]),
    fields(4, "MF", &[Name]),
    fields(5, "CNAME", &[Name]),
    fields(6, "SOA", &[Name, Name, U32, U32, U32, U32, U32]),
    fields(7, "MB", &[Name]),
    fields(8, "MG", &[Name]),
    fields(9, "MR", &[Name]),
    known(10, "NULL", Layout::Null),
    fields(12, "PTR", &[Name]),
    fields(13, "HINFO", &[Quoted, Quoted]),
    fields(14, "MINFO", &[Name, Name]),
    fields(15, "MX", &[U16, Name]),
    fields(16, "TXT", &[QuotedList]),
    fields(17, "RP", &[Name, Name]),
    fields(18, "AFSDB", &[U16, Name]),
    fields(19, "X25", &[Bare]),
    fields(20, "ISDN", &[Quoted, Quoted]),
    fields(21, "RT", &[U16, Name]),
    fields(23, "NSAP-PTR", &[Name]),
    fields(24, "SIG", SIGNATURE),
    fields(25, "KEY", KEY),
    fields(26, "PX", &[U16, Name, Name]),
    fields(27, "GPOS", &[Bare, Bare, Bare]),
    fields(28, "AAAA", &[Ipv6]),
    fields(29, "LOC", &[Location]),
    fields(30, "NXT", &[Name, TypeBitmap]),
    fields(31, "EID", &[UpperHex]),
    fields(32, "NIMLOC", &[UpperHex]),
    fields(33, "SRV", &[U16, U16, U16, Name]),
    known(34, "ATMA", Layout::Generic),
    fields(35, "NAPTR", &[U16, U16, Quoted, Quoted, Quoted, Name]),
    fields(36, "KX", &[U16, Name]),
    fields(37, "CERT", &[CertificateType, U16, Algorithm, Base64]),
    fields(39, "DNAME", &[Name]),
    known(RecordType::OPT.0, "OPT", Layout::Edns),
    fields(42, "APL", &[AddressPrefixes]),
    fields(43, "DS", DIGEST),
    fields(44, "SSHFP", &[U8, U8, UpperHex]),
    fields(45, "IPSECKEY", &[IpsecKey]),
    fields(46, "RRSIG", SIGNATURE),
    fields(47, "NSEC", &[Name, TypeBitmap]),
    fields(48, "DNSKEY", KEY),
    fields(49, "DHCID", &[Base64]),
    fields(50, "NSEC3", &[U8, U8, U16, Salt, HashedName, TypeBitmap]),
    fields(51, "NSEC3PARAM", &[U8, U8, U16, Salt]),
    fields(52, "TLSA", ASSOCIATION),
    fields(53, "SMIMEA", &[U8, U8, U8, HexGroups]),
    fields(55, "HIP", &[HostIdentity]),
    fields(56, "NINFO", &[QuotedList]),
    fields(57, "RKEY", KEY),
    fields(58, "TALINK", &[Name, Name]),
    fields(59, "CDS", DIGEST),
    fields(60, "CDNSKEY", KEY),
    fields(61, "OPENPGPKEY", &[Base64]),
    fields(62, "CSYNC", &[U32, U16, TypeBitmap]),
    fields(63, "ZONEMD", &[U32, U8, U8, Hex]),
    fields(64, "SVCB", SERVICE),
    fields(65, "HTTPS", SERVICE),
    fields(99, "SPF", &[QuotedList]),
    fields(100, "UINFO", &[Quoted]),
    fields(101, "UID", &[U32]),
    fields(102, "GID", &[U32]),
    known(103, "UNSPEC", Layout::Generic),
    fields(104, "NID", &[U16, NodeId]),
    fields(105, "L32", &[U16, Ipv4]),
    fields(106, "L64", &[U16, Locator64]),
    fields(107, "LP", &[U16, Name]),
    fields(108, "EUI48", &[Eui48]),
    fields(109, "EUI64", &[Eui64]),
    fields(128, "NXNAME", &[]),
    known(249, "TKEY", Layout::Commented(";", &[Name, Time, Time, U16, U16, CountedHex, CountedHex])),
    known(250, "TSIG", Layout::Commented(TSIG_PREFIX, &[Name, Time48, U16, CountedUpperHex, U16, U16, CountedHex])),
    known(251, "IXFR", Layout::Generic),
    known(252, "AXFR", Layout::Generic),
    known(253, "MAILB", Layout::Generic),
    known(254, "MAILA", Layout::Generic),
    fields(255, "ANY", &[]),
    fields(256, "URI", &[U16, U16, Octets]),
    fields(257, "CAA", &[U8, Bare, Octets]),
    fields(258, "AVC", &[QuotedList]),
    fields(260, "AMTRELAY", &[Relay]),
    fields(261, "RESINFO", &[QuotedList]),
    fields(32768, "TA", DIGEST),
    fields(32769, "DLV", DIGEST),
    known(65535, "Reserved", Layout::Generic),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_sorted_and_unique() {
        assert!(TYPES.windows(2).all(|pair| pair[0].number < pair[1].number));
        for known in TYPES {
            let parsed = RecordType::parse(known.mnemonic);
            assert_eq!(parsed, Some(RecordType(known.number)), "{}", known.mnemonic);
        }
    }

    #[test]
    fn only_exact_mnemonics_parse() {
        let cases = [
            ("A", Some(1)),
            ("NSAP-PTR", Some(23)),
            ("HTTPS", Some(65)),
            ("ANY", Some(255)),
            ("DLV", Some(32769)),
            ("a", None),
            ("NSAPPTR", None),
            ("TYPE65", None),
            ("65", None),
            ("", None),
        ];
        for (mnemonic, want) in cases {
            let got = RecordType::parse(mnemonic);
            assert_eq!(got, want.map(RecordType), "{mnemonic:?}");
        }
        assert_eq!(RecordType(65).to_string(), "HTTPS");
        assert_eq!(RecordType(65280).to_string(), "TYPE65280");
    }
}
