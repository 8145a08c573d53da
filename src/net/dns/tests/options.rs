//! Exact texts of the open-ended parts: service parameters and EDNS(0) options.

use super::text::check;
use super::{header, hex, record, source, text};
use crate::net::dns::{Malformed, Message};

#[test]
fn services() {
    check(&[
        (
            65,
            &[
                &b"\x00\x01\x03svc\xc0\x0c\x00\x01\x00\x06\x02h2\x02h3\x00\x03\x00\x02\x20\xfb"[..],
                &hex("00040008c0000201c0000202"),
            ]
            .concat(),
            r#"HTTPS	1 svc.any.test. alpn="h2,h3" port="8443" ipv4hint="192.0.2.1,192.0.2.2""#,
        ),
        (64, b"\x00\x00\x05alias\xc0\x0c", "SVCB\t0 alias.any.test."),
        (
            64,
            &[
                b"\x00\x02\0\x00\x00\x00\x06\x00\x01\x00\x03\x02\x8b\x00\x01\x00\x03\x02h2".as_slice(),
                b"\x00\x02\x00\x00\x00\x03\x00\x02\x00\x35\x00\x05\x00\x04test",
                &hex("0006002020010db8000000000000000000000001fe800000000000000000000000000001"),
                b"\x00\x07\x00\x10/dns-query{?dns}\x00\x08\x00\x00",
                b"\x02\x8b\x00\x08a\"b; \\\xff,",
            ]
            .concat(),
            concat!(
                "SVCB\t2 . mandatory=\"alpn,port,key651\" alpn=\"h2\" no-default-alpn=\"\" ",
                "port=\"53\" ech=\"dGVzdA==\" ipv6hint=\"2001:db8::1,fe80::1\" ",
                "dohpath=\"/dns-query{?dns}\" ohttp=\"\" key651=\"a\\\"b\\;\\ \\\\\\255,\"",
            ),
        ),
        (
            65,
            b"\x00\x01\0\x00\x01\x00\x0f\x08f\\oo,bar\x02h2\x01\xff\x00",
            r#"HTTPS	1 . alpn="f\\\092oo\\\044bar,h2,\255,""#,
        ),
    ]);
    let wrong: &[(&str, &[u8], Malformed)] = &[
        (
            "order",
            b"\x00\x03\x00\x02\x00\x35\x00\x02\x00\x00",
            Malformed::Value("service parameters out of order"),
        ),
        ("twice", b"\x00\x02\x00\x00\x00\x02\x00\x00", Malformed::Value("service parameters out of order")),
        ("reserved", b"\xff\xff\x00\x00", Malformed::Value("service parameter 65535")),
        ("odd mandatory", b"\x00\x00\x00\x01\x00", Malformed::Value("length of service parameter mandatory")),
        ("alpn overflow", b"\x00\x01\x00\x02\x02h", Malformed::Value("length of a protocol in alpn")),
        ("flag with value", b"\x00\x08\x00\x01\x00", Malformed::Value("service parameter with a value")),
        ("port", b"\x00\x03\x00\x01\x00", Malformed::Value("length of service parameter port")),
        ("no ipv4hint", b"\x00\x04\x00\x00", Malformed::Value("length of service parameter ipv4hint")),
        ("ipv6hint", b"\x00\x06\x00\x01\x00", Malformed::Value("length of service parameter ipv6hint")),
        ("value too long", b"\x00\x03\x00\x09\x00", Malformed::Truncated),
        ("half a key", b"\x00", Malformed::Truncated),
    ];
    for (case, parameters, want) in wrong {
        let got = text(65, &[b"\x00\x01\0", *parameters].concat());
        assert_eq!(source(got).as_ref(), Some(want), "{case}");
    }
}

#[test]
fn edns_headings() {
    let cases = [
        (0, 512, "version 0; flags:; udp: 512"),
        (0x8000, 1232, "version 0; flags: do; udp: 1232"),
        (0x0101_c001, 4096, "version 1; flags: do co; MBZ: 0x0001, udp: 4096"),
    ];
    for (ttl, udp_size, want) in cases {
        let mut bytes = header(0x8000, [0, 0, 0, 1]);
        bytes.extend(record(b"\0", 41, udp_size, ttl, b""));
        let message = Message::parse(&bytes).unwrap();
        let want = format!("\n;; OPT PSEUDOSECTION:\n; EDNS: {want}");
        assert_eq!(message.additional[0].text(), want);
    }
}

#[test]
fn edns_options() {
    let cases: &[(u16, &[u8], &str)] = &[
        (1, &hex("000100020003000000000000002a00000e10"), "LONG LIVED QUERIES: 1 2 3 42 3600"),
        (2, &hex("00000e10"), "UPDATE LEASE: 3600 0"),
        (2, &hex("00000e1000000001"), "UPDATE LEASE: 3600 1"),
        (3, b"ns\xe9", "NSID: 6e73e9  (n)(s)(é)"),
        (3, b"", "NSID:   "),
        (4, b"sip:a@b", "ESU: sip:a@b"),
        (5, &[8, 13, 99], "DNSSEC ALGORITHM UNDERSTOOD:  RSASHA256 ECDSAP256SHA256 99"),
        (6, &[1, 9], "DS HASH UNDERSTOOD:  SHA1 9"),
        (7, &[1], "NSEC3 HASH UNDERSTOOD:  SHA1"),
        (8, &hex("00011800c00002"), "SUBNET: 192.0.2.0/24/0"),
        (8, &hex("0002383020010db8"), "SUBNET: [2001:db8::]/56/48"),
        (8, &hex("0002800000000000000000000000ffffc0000201"), "SUBNET: 192.0.2.1/128/0"),
        (8, &hex("00000007"), "SUBNET: 0.0.0.0/0/7"),
        (9, &hex("00000e10"), "EXPIRE: 3600"),
        (9, b"", "EXPIRE: "),
        (10, &hex("24a5ac0102030405"), "COOKIE: 24a5ac0102030405"),
        (11, b"", "KEEPALIVE: use tcp keep-alive, timeout omitted"),
        (11, &hex("0064"), "KEEPALIVE: use tcp keep-alive, timeout 10000ms"),
        (11, &hex("0400"), "KEEPALIVE: use tcp keep-alive, timeout 36864ms"),
        (12, &hex("00ab"), "PADDING: 00AB"),
        (15, b"\x00\x12blocked by policy", "EDE: 18 (Prohibited): (blocked by policy)"),
        (15, &hex("ffff"), "EDE: 65535: ()"),
        (18, b"\x05agent\x04test\0", "REPORT-CHANNEL: agent.test."),
        (19, &[2, 0, b'v', b'1'], "ZONEVERSION: v1"),
        (65001, &hex("0aff"), "LOCAL OPT: 65001:0x0aff"),
    ];
    let mut options = Vec::new();
    let mut want = "\n;; OPT PSEUDOSECTION:\n; EDNS: version 0; flags:; udp: 1".to_owned();
    for (code, value, line) in cases {
        options.extend(option(*code, value));
        want.push_str("\n; ");
        want.push_str(line);
    }
    let mut bytes = header(0x8000, [0, 0, 0, 1]);
    bytes.extend(record(b"\0", 41, 1, 0, &options));
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.additional[0].text(), want);

    let wrong: &[(u16, &[u8])] = &[
        (1, &[0; 17]),
        (2, &[0; 5]),
        (8, &hex("000100")),
        (8, &hex("00012100")),
        (8, &hex("00010021")),
        (8, &hex("00000100")),
        (8, &hex("00030000")),
        (9, &[0; 3]),
        (11, &[0; 1]),
        (15, &[0; 1]),
        (18, b"\x05age"),
        (19, &[0; 1]),
    ];
    for (code, value) in wrong {
        let got = text(41, &option(*code, value));
        assert!(source(got).is_some(), "{code} {value:x?}");
    }
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    [&code.to_be_bytes(), &length.to_be_bytes(), value].concat()
}
