//! Whole messages: the text of every record type, tolerance, and hostile bytes.

use data_encoding::HEXLOWER_PERMISSIVE;
use proptest::prelude::*;

use super::message::HEADER_LENGTH;
use super::*;

mod options;
mod text;

const OWNER: &[u8] = b"\x03any\x04test\0";

/// Types with each layout there is.
const KNOWN_TYPES: [u16; 76] = [
    1, 2, 5, 6, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 35,
    36, 37, 39, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64,
    65, 99, 100, 101, 103, 104, 105, 106, 107, 108, 109, 128, 249, 250, 252, 255, 256, 257, 258, 260, 261,
    32768, 65280,
];

fn hex(digits: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(digits.replace(' ', "").as_bytes()).unwrap()
}

fn header(flags: u16, counts: [u16; 4]) -> Vec<u8> {
    [0x1234, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect()
}

fn record(owner: &[u8], rtype: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut record = owner.to_vec();
    record.extend(rtype.to_be_bytes());
    record.extend(class.to_be_bytes());
    record.extend(ttl.to_be_bytes());
    record.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    record.extend(data);
    record
}

/// A response with one record in the answer section and no question.
fn answer(rtype: u16, data: &[u8]) -> Vec<u8> {
    let mut message = header(0x8180, [0, 1, 0, 0]);
    message.extend(record(OWNER, rtype, 1, 60, data));
    message
}

/// The text of the record that has `data`, or the error.
fn text(rtype: u16, data: &[u8]) -> Result<String, DecodeError> {
    Message::parse(&answer(rtype, data)).map(|message| message.answer[0].text())
}

/// What is wrong with the data of the one record.
fn source(got: Result<String, DecodeError>) -> Option<Malformed> {
    match got {
        Err(DecodeError::RecordData { source, .. }) => Some(source),
        _ => None,
    }
}

/// A response as servers send it: question, compressed owners, all sections, EDNS.
fn sample() -> Vec<u8> {
    let mut message = header(0x8580, [1, 2, 1, 2]);
    message.extend(b"\x03WWW\x07example\x03org\0\x00\x01\x00\x01");
    message.extend(record(b"\xc0\x0c", 5, 1, 300, b"\x03cdn\xc0\x10"));
    message.extend(record(b"\x03cdn\xc0\x10", 1, 1, 30, &[192, 0, 2, 7]));
    let soa =
        [b"\x02ns\xc0\x10\x04root\xc0\x10".as_slice(), &hex("7890abcd00000e10000003840012750000000e10")]
            .concat();
    message.extend(record(b"\xc0\x10", 6, 1, 3600, &soa));
    message.extend(record(b"\0", 41, 1232, 0x0000_8000, b""));
    message.extend(record(b"\xc0\x0c", 28, 1, 30, &hex("20010db8000000000000000000000001")));
    message
}

#[test]
fn queries_are_encoded_byte_for_byte() {
    let (a, ch) = (RecordType(1), Class(3));
    assert_eq!(
        encode_query(0xbeef, r"Ex\.a\032mple.org", RecordType(255), Class(1), true),
        Ok(hex("beef010000010000000000000945782e61206d706c65036f72670000ff0001")),
    );
    assert_eq!(encode_query(1, "", a, ch, false), Ok(hex("0001000000010000000000000000010003")),);
    assert_eq!(encode_query(1, "a..b", a, ch, true), Err(NameError::EmptyLabel));
}

#[test]
fn an_encoded_query_decodes() {
    let query = encode_query(7, r"we\.ird.Test", RecordType(28), Class(1), true).unwrap();
    let message = Message::parse(&query).unwrap();
    assert_eq!((message.id, message.rcode), (7, Rcode::NOERROR));
    assert!(message.flags.recursion_desired && !message.flags.response);
    let question = message.questions[0];
    assert_eq!(question.name.to_string(), r"we\.ird.Test.");
    assert_eq!((question.qtype, question.class), (RecordType(28), Class(1)));
}

#[test]
fn a_response_decodes() {
    let bytes = sample();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.id, 0x1234);
    assert_eq!(
        message.flags,
        Flags {
            response: true,
            opcode: 0,
            authoritative: true,
            truncated: false,
            recursion_desired: true,
            recursion_available: true,
        }
    );
    assert_eq!(message.questions[0].name.to_string(), "WWW.example.org.");
    let texts = |records: &[Record<'_>]| -> Vec<String> { records.iter().map(Record::to_string).collect() };
    assert_eq!(
        texts(&message.answer),
        ["WWW.example.org.\t300\tIN\tCNAME\tcdn.example.org.", "cdn.example.org.\t30\tIN\tA\t192.0.2.7",]
    );
    assert_eq!(
        texts(&message.authority),
        ["example.org.\t3600\tIN\tSOA\tns.example.org. root.example.org. \
          2022747085 3600 900 1209600 3600"]
    );
    assert_eq!(
        texts(&message.additional),
        [
            "\n;; OPT PSEUDOSECTION:\n; EDNS: version 0; flags: do; udp: 1232",
            "WWW.example.org.\t30\tIN\tAAAA\t2001:db8::1",
        ]
    );
    assert_eq!(message.authority[0].soa_serial(), Some(2_022_747_085));
    assert_eq!(message.answer[0].soa_serial(), None);
}

#[test]
fn flags_and_rcodes() {
    let cases: &[(u16, &[u32], u16)] = &[
        (0x8003, &[], 3),
        (0x8000, &[0x0100_0000], 16),
        (0x8007, &[0x0100_0000], 23),
        // The last OPT record decides.
        (0x8001, &[0x0100_0000, 0], 1),
    ];
    for (bits, opts, want) in cases {
        let mut bytes = header(*bits, [0, 0, 0, u16::try_from(opts.len()).unwrap()]);
        for ttl in *opts {
            bytes.extend(record(b"\0", 41, 512, *ttl, b""));
        }
        let rcode = Message::parse(&bytes).unwrap().rcode;
        assert_eq!(rcode, Rcode(*want), "{bits:#x} {opts:x?}");
    }
    let bytes = header(0x2a00, [0; 4]);
    let flags = Message::parse(&bytes).unwrap().flags;
    assert_eq!((flags.opcode, flags.truncated), (5, true));
    assert!(!flags.response && !flags.authoritative && !flags.recursion_available);
}

#[test]
fn short_messages_are_tolerated_where_the_peer_tolerates_them() {
    let question = b"\x01a\0\x00\x01\x00\x01".as_slice();
    let a = record(b"\x01a\0", 1, 1, 1, &[192, 0, 2, 1]);
    let with = |counts: [u16; 4], parts: &[&[u8]]| [header(0x8000, counts), parts.concat()].concat();
    let counts = |message: &Message<'_>| {
        [message.questions.len(), message.answer.len(), message.authority.len(), message.additional.len()]
    };
    let cases = [
        ("header only", with([9, 9, 9, 9], &[]), [0, 0, 0, 0]),
        ("fewer records", with([1, 9, 9, 9], &[question, &a, &a]), [1, 2, 0, 0]),
        ("question without type", with([1, 1, 0, 0], &[b"\x01a\0"]), [1, 0, 0, 0]),
        ("question without class", with([1, 1, 0, 0], &[b"\x01a\0\x00\x01"]), [1, 0, 0, 0]),
        ("bytes after the end", with([1, 1, 0, 0], &[question, &a, b"\xff\xff"]), [1, 1, 0, 0]),
        ("records not announced", with([1, 0, 0, 1], &[question, &a, &a]), [1, 0, 0, 1]),
    ];
    for (case, bytes, want) in cases {
        let message = Message::parse(&bytes).expect(case);
        assert_eq!(counts(&message), want, "{case}");
    }
}

#[test]
fn errors_name_the_part() {
    let question = b"\x01a\0\x00\x01\x00\x01".as_slice();
    let a = record(b"\x01a\0", 1, 1, 1, &[192, 0, 2, 1]);
    let with = |counts: [u16; 4], parts: &[&[u8]]| [header(0x8000, counts), parts.concat()].concat();
    let cases = [
        ("no header", vec![0; 11], "a message of 11 bytes is shorter than its header", ""),
        (
            "one question of two",
            with([2, 0, 0, 0], &[question]),
            "question[1] is malformed",
            "it ends inside a field",
        ),
        (
            "half a question type",
            with([1, 0, 0, 0], &[b"\x01a\0\x00"]),
            "question[0] is malformed",
            "it ends inside a field",
        ),
        (
            "cut in an owner",
            with([1, 2, 0, 0], &[question, &a, b"\x05a"]),
            "answer[1] has a malformed header",
            "it ends inside a field",
        ),
        (
            "cut in the data",
            with([1, 0, 1, 0], &[question, &a[..a.len() - 1]]),
            "authority[0] has a malformed header",
            "it ends inside a field",
        ),
        (
            "too short an address",
            with([0, 0, 0, 1], &[&record(b"\0", 28, 1, 1, &[0; 15])]),
            "additional[0] is a malformed AAAA record",
            "it ends inside a field",
        ),
        (
            "too long an address",
            with([0, 1, 0, 0], &[&record(b"\0", 1, 1, 1, &[0; 6])]),
            "answer[0] is a malformed A record",
            "2 bytes are left over",
        ),
        (
            "name that points at itself",
            with([0, 1, 0, 0], &[&record(b"\0", 2, 1, 1, b"\xc0\x17")]),
            "answer[0] is a malformed NS record",
            "a name has too many compression pointers",
        ),
        (
            "name that points past its record",
            with([0, 1, 0, 0], &[&record(b"\0", 2, 1, 1, b"\xc0\x19"), &a]),
            "answer[0] is a malformed NS record",
            "it ends inside a field",
        ),
    ];
    for (case, bytes, want, want_source) in cases {
        let error = Message::parse(&bytes).expect_err(case);
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(error.to_string(), want, "{case}");
        assert_eq!(source.unwrap_or_default(), want_source, "{case}");
    }
}

#[test]
fn every_truncation_gives_an_error_or_fewer_records() {
    let bytes = sample();
    let total =
        |message: &Message<'_>| message.answer.len() + message.authority.len() + message.additional.len();
    let mut accepted = Vec::new();
    for length in 0..bytes.len() {
        if let Ok(message) = Message::parse(&bytes[..length]) {
            assert!(total(&message) < 5, "{length}");
            accepted.push((length, total(&message)));
        }
    }
    // After the header, inside the question between its fields, and after each record.
    let want = [(12, 0), (29, 0), (31, 0), (33, 0), (51, 1), (71, 2), (115, 3), (126, 4)];
    assert_eq!(accepted, want);
}

#[test]
fn the_serial_survives_short_soa_data() {
    let cases: &[(&[u8], Option<u32>)] =
        &[(b"", Some(0)), (b"\0\0", Some(0)), (b"\0\0\x00\x00\x00\x2a", Some(42))];
    for (data, want) in cases {
        let bytes = answer(6, data);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.answer[0].soa_serial(), *want, "{data:?}");
    }
}

#[test]
fn pointer_heavy_data_stays_small() {
    let servers = [b"\x00\x02\x00\x00".as_slice(), &b"\xc0\x0c".repeat(257)].concat();
    let error = Message::parse(&answer(55, &servers)).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "answer[0] is a malformed HIP record");
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(message) = Message::parse(&bytes) {
            let shown = format!("{message:?}");
            prop_assert!(shown.contains("rcode"));
        }
    }

    #[test]
    fn any_damage_decodes_or_fails(
        damage in proptest::collection::vec((HEADER_LENGTH..158_usize, any::<u8>()), 1..6),
    ) {
        let mut bytes = sample();
        for (at, byte) in damage {
            if let Some(target) = bytes.get_mut(at) {
                *target = byte;
            }
        }
        if let Ok(message) = Message::parse(&bytes) {
            let shown = format!("{message:?}");
            prop_assert!(shown.contains("rcode"));
        }
    }

    #[test]
    fn any_data_of_any_type_has_a_text_or_fails(
        rtype in proptest::sample::select(KNOWN_TYPES.as_slice()),
        data in proptest::collection::vec(prop_oneof![3 => 0..6_u8, 1 => any::<u8>()], 0..80),
    ) {
        if let Ok(text) = text(rtype, &data) {
            prop_assert!(!text.is_empty());
        }
    }

    #[test]
    fn any_name_survives_a_round_trip(labels in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 1..=60), 1..=4,
    )) {
        let mut wire: Vec<u8> = labels
            .iter()
            .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_slice()].concat())
            .collect();
        wire.push(0);
        let (name, end) = Name::parse(&wire, 0).unwrap();
        prop_assert_eq!(end, wire.len());
        prop_assert_eq!(name::encode(&name.to_string()), Ok(wire));
    }
}
