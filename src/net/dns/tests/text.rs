//! Exact record texts, type by type.

use super::{header, hex, record, source, text};
use crate::net::dns::{Malformed, Message};

/// Type, data, and the text after owner, TTL and class.
type Case<'a> = (u16, &'a [u8], &'a str);

pub(super) fn check(cases: &[Case<'_>]) {
    for (rtype, data, want) in cases {
        let got = text(*rtype, data);
        assert_eq!(got, Ok(format!("any.test.\t60\tIN\t{want}")), "type {rtype}");
    }
}

#[test]
fn addresses_and_names() {
    check(&[
        (1, &[192, 0, 2, 1], "A\t192.0.2.1"),
        (28, &hex("20010db8000000000000000000000001"), "AAAA\t2001:db8::1"),
        (28, &hex("00000000000000000000ffff01020304"), "AAAA\t::ffff:1.2.3.4"),
        (28, &hex("00000000000000000000000001020304"), "AAAA\t::102:304"),
        (28, &hex("00000000000000000000000000000000"), "AAAA\t::"),
        (28, &hex("20010000000000010000000000000001"), "AAAA\t2001:0:0:1::1"),
        (28, &hex("20010db8000000010001000100010001"), "AAAA\t2001:db8:0:1:1:1:1:1"),
        (2, b"\x02ns\xc0\x0c", "NS\tns.any.test."),
        (3, b"\x02md\xc0\x0c", "MD\tmd.any.test."),
        (4, b"\x02mf\xc0\x0c", "MF\tmf.any.test."),
        (5, b"\x04name\0", "CNAME\tname."),
        (7, b"\x02mb\xc0\x0c", "MB\tmb.any.test."),
        (8, b"\x02mg\xc0\x0c", "MG\tmg.any.test."),
        (9, b"\x02mr\xc0\x0c", "MR\tmr.any.test."),
        (12, b"\0", "PTR\t."),
        (14, b"\x01r\xc0\x0c\x01e\xc0\x0c", "MINFO\tr.any.test. e.any.test."),
        (15, b"\x00\x0a\x04mail\xc0\x0c", "MX\t10 mail.any.test."),
        (17, b"\x01m\xc0\x0c\x01t\xc0\x0c", "RP\tm.any.test. t.any.test."),
        (18, b"\x00\x01\x02db\xc0\x0c", "AFSDB\t1 db.any.test."),
        (21, b"\x00\x02\x01r\xc0\x0c", "RT\t2 r.any.test."),
        (23, b"\x01n\xc0\x0c", "NSAP-PTR\tn.any.test."),
        (26, b"\x00\x0a\x01a\0\x01b\0", "PX\t10 a. b."),
        (33, b"\x00\x01\x00\x02\x01\xbb\x03svc\xc0\x0c", "SRV\t1 2 443 svc.any.test."),
        (36, b"\x00\x0a\x01k\xc0\x0c", "KX\t10 k.any.test."),
        (39, b"\x05Other\x07example\0", "DNAME\tOther.example."),
        (58, b"\x01p\0\x01n\0", "TALINK\tp. n."),
        (107, b"\x00\x0a\x01l\xc0\x0c", "LP\t10 l.any.test."),
    ]);
}

#[test]
fn strings() {
    check(&[
        (
            16,
            b"\x0bv=spf1 -all\x16quote\"d and semi;colon\x10bytes\x80\xff\xc3\xa9\ttab\\.~\x00",
            r#"TXT	"v=spf1 -all" "quote\"d and semi;colon" "bytes\128\255\195\169\009tab\\.~" """#,
        ),
        (16, b"\x00", "TXT\t\"\""),
        (56, b"\x02zs", "NINFO\t\"zs\""),
        (99, b"\x03abc", "SPF\t\"abc\""),
        (100, b"\x04info", "UINFO\t\"info\""),
        (258, b"\x03avc\x01x", "AVC\t\"avc\" \"x\""),
        (261, b"\x09qnamemin=", "RESINFO\t\"qnamemin=\""),
        (13, b"\x02PC\x07Linux x", r#"HINFO	"PC" "Linux x""#),
        (19, b"\x0c311061700956", "X25\t311061700956"),
        (20, b"\x03150\x03004", r#"ISDN	"150" "004""#),
        (20, b"\x03150", r#"ISDN	"150" """#),
        (27, b"\x05-32.6\x05116.8\x0410.0", "GPOS\t-32.6 116.8 10.0"),
        (
            35,
            b"\x00\x64\x00\x32\x01s\x0dz3950+I2L+I2C\x00\x04repl\0",
            r#"NAPTR	100 50 "s" "z3950+I2L+I2C" "" repl."#,
        ),
        (
            35,
            b"\x00\x64\x00\x0a\x01u\x07E2U+sip\x10!^.*$!sip:\"\\1@a!\0",
            r#"NAPTR	100 10 "u" "E2U+sip" "!^.*$!sip:\"\\1@a!" ."#,
        ),
        (257, b"\x00\x05issueletsencrypt.org", r#"CAA	0 issue "letsencrypt.org""#),
        (257, b"\x80\x05iodefmailto:a;\"b\"", r#"CAA	128 iodef "mailto:a;\"b\"""#),
        (256, b"\x00\x0a\x00\x01ftp://x/", r#"URI	10 1 "ftp://x/""#),
    ]);
}

#[test]
fn numbers_and_identifiers() {
    check(&[
        (
            6,
            &[b"\x02ns\xc0\x0c\x04root\xc0\x0c".as_slice(), &hex("ffffffff00001c2000000e1000127500ffffffff")]
                .concat(),
            "SOA\tns.any.test. root.any.test. 4294967295 7200 3600 1209600 4294967295",
        ),
        (101, &hex("ffffffff"), "UID\t4294967295"),
        (102, &hex("0000000a"), "GID\t10"),
        (104, &hex("000a0014004fffe20abc"), "NID\t10 0014:004f:ffe2:0abc"),
        (105, &hex("000ac0000201"), "L32\t10 192.0.2.1"),
        (106, &hex("000a20010db81140abcd"), "L64\t10 2001:0DB8:1140:ABCD"),
        (108, &hex("00005e00532a"), "EUI48\t00-00-5e-00-53-2a"),
        (109, &hex("00005eef1000002a"), "EUI64\t00-00-5e-ef-10-00-00-2a"),
        (
            29,
            &hex("0033161389172dd070be15f000988d20"),
            "LOC\t42 21 54.000 N 71 06 18.000 W -24m 30m 10000m 10m",
        ),
        (
            29,
            &hex("001216138b3cf018810c49a4009895b7"),
            "LOC\t52 22 23.000 N 04 53 2.500 E -2.01m 1m 10000m 10m",
        ),
        (31, &hex("e32c6f78163a9348"), "EID\tE32C6F78163A9348"),
        (32, &hex("32251a030067"), "NIMLOC\t32251A030067"),
    ]);
}

#[test]
fn keys_and_signatures() {
    let signature =
        [&hex("000108020000012c69 55b900 6774 8580 3039".replace(' ', "").as_str())[..], b"\x06signer\0sig"]
            .concat();
    check(&[
        (43, &hex("3039080249fd46e6"), "DS\t12345 8 2 49FD46E6"),
        (59, &hex("3039080249fd46e6"), "CDS\t12345 8 2 49FD46E6"),
        (32768, &hex("3039080249fd46e6"), "TA\t12345 8 2 49FD46E6"),
        (32769, &hex("3039080249fd46e6"), "DLV\t12345 8 2 49FD46E6"),
        (48, b"\x01\x01\x03\x08test", "DNSKEY\t257 3 8 dGVzdA=="),
        (60, b"\x00\x00\x03\x00\x00", "CDNSKEY\t0 3 0 AA=="),
        (25, b"\x01\x00\x03\x05test", "KEY\t256 3 5 dGVzdA=="),
        (57, b"\x00\x00\x01\x05test", "RKEY\t0 1 5 dGVzdA=="),
        (46, &signature, "RRSIG\tA 8 2 300 20260101000000 20250101000000 12345 signer. c2ln"),
        (24, &signature, "SIG\tA 8 2 300 20260101000000 20250101000000 12345 signer. c2ln"),
        (37, b"\x00\x03\x00\x00\x00test", "CERT\tPGP 0 0 dGVzdA=="),
        (37, b"\x00\xfd\x00\x07\x0dtest", "CERT\tURI 7 ECDSAP256SHA256 dGVzdA=="),
        (37, b"\x01\x00\x00\x07\xfctest", "CERT\t256 7 INDIRECT dGVzdA=="),
        (44, &hex("02011234abcdef"), "SSHFP\t2 1 1234ABCDEF"),
        (49, b"\x00\x00\x02test", "DHCID\tAAACdGVzdA=="),
        (52, &hex("0301010d6fce"), "TLSA\t3 1 1 0d6fce"),
        (53, &hex("0301010d6fce"), "SMIMEA\t3 1 1 0d6fce"),
        (
            53,
            &[&hex("030100"), [0xab; 513].as_slice()].concat(),
            &format!("SMIMEA\t3 1 0 {} ab", "ab".repeat(512)),
        ),
        (
            53,
            &[&hex("030100"), [0xab; 512].as_slice()].concat(),
            &format!("SMIMEA\t3 1 0 {} ", "ab".repeat(512)),
        ),
        (61, b"test", "OPENPGPKEY\tdGVzdA=="),
        (63, &hex("7890abcd0101c0ffee"), "ZONEMD\t2022747085 1 1 c0ffee"),
        (
            55,
            &[&hex("0402000320010db8")[..], b"key\x03rvs\xc0\x0c\x01b\0"].concat(),
            "HIP\t2 20010db8 a2V5 rvs.any.test. b.",
        ),
        (45, b"\x0a\x00\x02key", "IPSECKEY\t10 0 2 . a2V5"),
        (45, b"\x0a\x01\x02\xc0\x00\x02\x26key", "IPSECKEY\t10 1 2 192.0.2.38 a2V5"),
        (
            45,
            &[&hex("0a0202200100000000000000000000000000ff")[..], b"key"].concat(),
            "IPSECKEY\t10 2 2 2001::ff a2V5",
        ),
        (45, &hex("0a020200000000000000000000ffffc0000226"), "IPSECKEY\t10 2 2 192.0.2.38 "),
        (45, b"\x0a\x03\x02\x02gw\xc0\x0ckey", "IPSECKEY\t10 3 2 gw.any.test. a2V5"),
        (45, b"\x0a\x01\x02", "IPSECKEY\t10 1 2 <nil> "),
        (260, b"\x0a\x00", "AMTRELAY\t10 0 0 ."),
        (260, b"\x0a\x01\xcb\x00\x71\x0f", "AMTRELAY\t10 0 1 203.0.113.15"),
        (260, b"\x0a\x83\x01a\0", "AMTRELAY\t10 1 3 a."),
    ]);
}

#[test]
fn type_bit_maps() {
    check(&[
        (
            47,
            // A, MX, RRSIG, NSEC in window 0; 1234 = 4 * 256 + 210 in window 4.
            &[b"\x01b\xc0\x0c\x00\x06".as_slice(), &hex("400100000003"), b"\x04\x1b", &[0; 26], b"\x20"]
                .concat(),
            "NSEC\tb.any.test. A MX RRSIG NSEC TYPE1234",
        ),
        (47, b"\x01b\0", "NSEC\tb."),
        (
            47,
            b"\0\xff\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
            "NSEC\t. Reserved",
        ),
        (30, b"\x01b\0\x00\x01\x60", "NXT\tb. A NS"),
        (
            50,
            &hex("0101000c04aabbccdd0516fe43cd6b0006200000000020"),
            "NSEC3\t1 1 12 AABBCCDD 2RV47JBB NS APL",
        ),
        (62, &hex("00000042000300046000 0008"), "CSYNC\t66 3 A NS AAAA"),
        (51, &hex("0100000c04aabbccdd"), "NSEC3PARAM\t1 0 12 AABBCCDD"),
        (51, &hex("0100000000"), "NSEC3PARAM\t1 0 0 -"),
        (51, &hex("01000000"), "NSEC3PARAM\t1 0 0 -"),
        (50, &hex("01000000000116"), "NSEC3\t1 0 0 - 2O"),
    ]);
}

#[test]
fn address_prefixes() {
    check(&[
        (
            42,
            &hex("00011583c0a820 000104010a 000220 0420010db8 00028000".replace(' ', "").as_str()),
            "APL\t!1:192.168.32.0/21 1:10.0.0.0/4 2:2001:db8::/32 2:::/128",
        ),
        (42, &hex("0002600c00000000000000000000ffff"), "APL\t2:::ffff:0.0.0.0/96"),
        (42, b"", "APL\t"),
    ]);
    let wrong = ["000315010a", "00012100", "0001200501020304 05", "00012002 0a00", "000120"];
    for data in wrong {
        let got = text(42, &hex(data));
        assert!(source(got).is_some(), "{data}");
    }
}

#[test]
fn data_that_ends_between_fields_leaves_zeros() {
    check(&[
        (1, b"", "A\t"),
        (28, b"", "AAAA\t"),
        (5, b"", "CNAME\t"),
        (15, b"", "MX\t0 "),
        (15, b"\x00\x05", "MX\t5 "),
        (16, b"", "TXT\t"),
        (13, b"\x02PC", r#"HINFO	"PC" """#),
        (6, b"", "SOA\t  0 0 0 0 0"),
        (6, b"\x01a\0", "SOA\ta.  0 0 0 0 0"),
        (33, b"\x00\x01\x00\x02", "SRV\t1 2 0 "),
        (35, b"", "NAPTR\t0 0 \"\" \"\" \"\" "),
        (257, b"\x01", "CAA\t1  \"\""),
        (256, b"\x00\x01", "URI\t1 0 \"\""),
        (46, b"", "RRSIG\tNone 0 0 0 19700101000000 19700101000000 0  "),
        (43, b"\x00\x01\x02", "DS\t1 2 0 "),
        (50, b"\x01", "NSEC3\t1 0 0 - "),
        (50, b"\x01\x00\x00\x00\x05", "NSEC3\t1 0 0 - "),
        (105, b"\x00\x01", "L32\t1"),
        (104, b"\x00\x01", "NID\t1 0000:0000:0000:0000"),
        (108, b"", "EUI48\t00-00-00-00-00-00"),
        (55, b"\x04\x02", "HIP\t2  "),
        (65, b"\x00\x01", "HTTPS\t1 "),
        (29, b"", "LOC\t596 31 23.648 S 596 31 23.648 W -100000m 0.00m 0.00m 0.00m"),
        (255, b"", "ANY\t"),
        (128, b"", "NXNAME\t"),
    ]);
}

#[test]
fn data_that_ends_inside_a_field_is_an_error() {
    let cases: &[(u16, &[u8])] = &[
        (1, b"\x01\x02\x03"),
        (6, b"\0\0\x00"),
        (15, b"\x00"),
        (15, b"\x00\x01\x04mai"),
        (16, b"\x05abc"),
        (50, b"\x01\x00\x00\x00\x01\xaa"),
        (50, b"\x01\x00\x00\x00\x00\x02\xaa"),
        (47, b"\0\x00"),
        (47, b"\0\x00\x02\x40"),
        (55, b"\x04\x02\x00\x01\xaa\xaa\xaa\xaa"),
        (249, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\x00\x01\xaa"),
    ];
    for (rtype, data) in cases {
        let got = source(text(*rtype, data));
        assert_eq!(got, Some(Malformed::Truncated), "type {rtype} {data:x?}");
    }
    let cases: &[(u16, &[u8], Malformed)] = &[
        (255, b"\x00", Malformed::LeftOver { bytes: 1 }),
        (128, b"\x00\x00", Malformed::LeftOver { bytes: 2 }),
        (2, b"\0\0", Malformed::LeftOver { bytes: 1 }),
        (260, b"\x0a\x04\x01", Malformed::LeftOver { bytes: 1 }),
        (47, b"\0\x00\x00", Malformed::Value("length of a type bit map")),
        (47, b"\0\x00\x21", Malformed::Value("length of a type bit map")),
        (47, b"\0\x01\x01\x40\x01\x01\x40", Malformed::Value("windows of the type bit map out of order")),
    ];
    for (rtype, data, want) in cases {
        assert_eq!(source(text(*rtype, data)).as_ref(), Some(want), "type {rtype}");
    }
}

#[test]
fn records_without_presentation_format() {
    let cases: &[(u16, &[u8], &str)] = &[
        (65280, &hex("0a000001"), "any.test.\t60\tCLASS1\tTYPE65280\t\\# 4 0a000001"),
        (65280, b"", "any.test.\t60\tCLASS1\tTYPE65280\t\\# 0 "),
        // Known by name, but not what their data means.
        (103, b"\x01", "any.test.\t60\tCLASS1\tTYPE103\t\\# 1 01"),
        (252, b"", "any.test.\t60\tCLASS1\tTYPE252\t\\# 0 "),
        (10, b"raw \xff\n", ";any.test.\t60\tIN\tNULL\traw \u{fffd}\n"),
        (
            249,
            &[b"\x01k\0".as_slice(), &hex("677485806955b900000300000002abcd0001ef")].concat(),
            ";any.test.\t60\tIN\tTKEY\t k. 20250101000000 20260101000000 3 0 2 abcd 1 ef",
        ),
        (
            250,
            &[b"\x0bhmac-sha256\0".as_slice(), &hex("00006955b900012c0002abcd123400120000")].concat(),
            concat!(
                "\n;; TSIG PSEUDOSECTION:\n; any.test.\t60\tIN\tTSIG\t ",
                "hmac-sha256. 20260101000000 300 2 ABCD 4660 18 0 ",
            ),
        ),
    ];
    for (rtype, data, want) in cases {
        assert_eq!(text(*rtype, data).as_deref(), Ok(*want), "type {rtype}");
    }
}

#[test]
fn owners_and_classes() {
    let cases: &[(&[u8], u16, u32, &str)] = &[
        (b"\x09we.ird x(\x04test\0", 1, 0, "we\\.ird\\ x\\(.test.\t0\tIN\tA\t192.0.2.1"),
        (b"\x0bSp ace;@'\"\\\0", 1, 1, "Sp\\ ace\\;\\@\\'\\\"\\\\.\t1\tIN\tA\t192.0.2.1"),
        (b"\x02\xc3\xa9\0", 3, 1, "\\195\\169.\t1\tCH\tA\t192.0.2.1"),
        (b"\0", 255, u32::MAX, ".\t4294967295\tCLASS255\tA\t192.0.2.1"),
        (b"\0", 254, 1, ".\t1\tNONE\tA\t192.0.2.1"),
        (b"\0", 60, 1, ".\t1\tCLASS60\tA\t192.0.2.1"),
    ];
    for (owner, class, ttl, want) in cases {
        let mut bytes = header(0x8000, [0, 1, 0, 0]);
        bytes.extend(record(owner, 1, *class, *ttl, &[192, 0, 2, 1]));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.answer[0].text(), *want);
    }
}
