//! Mnemonics of the DNS that a configuration may use, exactly those the peer's library knows.

/// Classes (RFC 6895 §3.2 and RFC 2136).
const CLASSES: [(&str, u16); 6] = [("IN", 1), ("CS", 2), ("CH", 3), ("HS", 4), ("NONE", 254), ("ANY", 255)];

/// Response codes (RFC 6895 §2.3).
const RCODES: [(&str, u16); 20] = [
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
    ("YXDOMAIN", 6),
    ("YXRRSET", 7),
    ("NXRRSET", 8),
    ("NOTAUTH", 9),
    ("NOTZONE", 10),
    ("DSOTYPENI", 11),
    ("BADSIG", 16),
    ("BADKEY", 17),
    ("BADTIME", 18),
    ("BADMODE", 19),
    ("BADNAME", 20),
    ("BADALG", 21),
    ("BADTRUNC", 22),
    ("BADCOOKIE", 23),
];

/// Record types, sorted by name.
const TYPES: [(&str, u16); 88] = [
    ("A", 1),
    ("AAAA", 28),
    ("AFSDB", 18),
    ("AMTRELAY", 260),
    ("ANY", 255),
    ("APL", 42),
    ("ATMA", 34),
    ("AVC", 258),
    ("AXFR", 252),
    ("CAA", 257),
    ("CDNSKEY", 60),
    ("CDS", 59),
    ("CERT", 37),
    ("CNAME", 5),
    ("CSYNC", 62),
    ("DHCID", 49),
    ("DLV", 32769),
    ("DNAME", 39),
    ("DNSKEY", 48),
    ("DS", 43),
    ("EID", 31),
    ("EUI48", 108),
    ("EUI64", 109),
    ("GID", 102),
    ("GPOS", 27),
    ("HINFO", 13),
    ("HIP", 55),
    ("HTTPS", 65),
    ("IPSECKEY", 45),
    ("ISDN", 20),
    ("IXFR", 251),
    ("KEY", 25),
    ("KX", 36),
    ("L32", 105),
    ("L64", 106),
    ("LOC", 29),
    ("LP", 107),
    ("MAILA", 254),
    ("MAILB", 253),
    ("MB", 7),
    ("MD", 3),
    ("MF", 4),
    ("MG", 8),
    ("MINFO", 14),
    ("MR", 9),
    ("MX", 15),
    ("NAPTR", 35),
    ("NID", 104),
    ("NIMLOC", 32),
    ("NINFO", 56),
    ("NS", 2),
    ("NSAP-PTR", 23),
    ("NSEC", 47),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("NULL", 10),
    ("NXNAME", 128),
    ("NXT", 30),
    ("None", 0),
    ("OPENPGPKEY", 61),
    ("OPT", 41),
    ("PTR", 12),
    ("PX", 26),
    ("RESINFO", 261),
    ("RKEY", 57),
    ("RP", 17),
    ("RRSIG", 46),
    ("RT", 21),
    ("Reserved", 65535),
    ("SIG", 24),
    ("SMIMEA", 53),
    ("SOA", 6),
    ("SPF", 99),
    ("SRV", 33),
    ("SSHFP", 44),
    ("SVCB", 64),
    ("TA", 32768),
    ("TALINK", 58),
    ("TKEY", 249),
    ("TLSA", 52),
    ("TSIG", 250),
    ("TXT", 16),
    ("UID", 101),
    ("UINFO", 100),
    ("UNSPEC", 103),
    ("URI", 256),
    ("X25", 19),
    ("ZONEMD", 63),
];

/// The number of a class, by its exact upper-case name.
pub fn class(name: &str) -> Option<u16> {
    find(&CLASSES, name)
}

/// The number of a response code, by its exact upper-case name.
pub fn rcode(name: &str) -> Option<u16> {
    find(&RCODES, name)
}

/// The number of a record type, by its exact name.
pub fn record_type(name: &str) -> Option<u16> {
    TYPES.binary_search_by_key(&name, |(known, _)| known).ok().map(|at| TYPES[at].1)
}

fn find(table: &[(&str, u16)], name: &str) -> Option<u16> {
    table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        assert!(TYPES.is_sorted());
        let types = [
            ("A", Some(1)),
            ("AAAA", Some(28)),
            ("ANY", Some(255)),
            ("HTTPS", Some(65)),
            ("SVCB", Some(64)),
            ("NSAP-PTR", Some(23)),
            ("URI", Some(256)),
            ("None", Some(0)),
            ("ZONEMD", Some(63)),
            ("a", None),
            ("TYPE65", None),
            ("65", None),
            ("", None),
        ];
        for (name, want) in types {
            assert_eq!(record_type(name), want, "{name}");
        }
        assert_eq!(class("CH"), Some(3));
        assert_eq!(class("in"), None);
        assert_eq!(rcode("BADCOOKIE"), Some(23));
        assert_eq!(rcode("noerror"), None);
    }
}
