//! The dns prober against servers that answer in every way, right and wrong.

use crate::support::certificates::{Authority, END, Validity};
use crate::support::peers::{Act, HalfOpen, Peer, closed_port, say};
use crate::support::{Probed, compile, probe};

/// `MiXeD.test`, type A, class IN.
const QUESTION: &[u8] = b"\x05MiXeD\x04test\x00\x00\x01\x00\x01";
const A: u16 = 1;
const SOA: u16 = 6;
const TXT: u16 = 16;

const COUNTS: [&str; 4] = [
    "probe_dns_query_succeeded",
    "probe_dns_answer_rrs",
    "probe_dns_authority_rrs",
    "probe_dns_additional_rrs",
];

fn module(rest: &str) -> String {
    format!("prober: dns\ntimeout: 5s\ndns:\n  query_name: MiXeD.test\n  query_type: A\n{rest}")
}

fn impatient(rest: &str) -> String {
    module(rest).replace("timeout: 5s", "timeout: 100ms")
}

/// A record of the name that was asked for.
fn record(rtype: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [&[0xc0, 12][..], &rtype.to_be_bytes(), &[0, 1, 0, 0, 1, 44], &length.to_be_bytes(), data].concat()
}

/// A response to `query` with records of the three sections.
fn respond(query: &[u8], rcode: u8, sections: [&[Vec<u8>]; 3]) -> Vec<u8> {
    let mut response = query.to_vec();
    response[2] |= 0x80;
    response[3] = rcode;
    for (section, count) in sections.iter().zip([6, 8, 10]) {
        response[count + 1] = u8::try_from(section.len()).unwrap();
        response.extend(section.concat());
    }
    response
}

fn two_addresses(query: &[u8]) -> Vec<u8> {
    respond(query, 0, [&[record(A, &[192, 0, 2, 1]), record(A, &[192, 0, 2, 2])], &[], &[]])
}

fn framed(message: Vec<u8>) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

fn durations(probed: &Probed) -> [f64; 3] {
    ["resolve", "connect", "request"]
        .map(|phase| probed.value(&format!("probe_dns_duration_seconds{{phase=\"{phase}\"}}")).unwrap())
}

#[tokio::test]
async fn the_query_is_what_the_module_says() {
    let cases: [(&str, &[u8], &[u8]); 4] = [
        ("query_type: A", b"\x01\x00", QUESTION),
        ("query_type: A\n  recursion_desired: false", b"\x00\x00", QUESTION),
        ("query_class: CH", b"\x01\x00", b"\x05MiXeD\x04test\x00\x00\xff\x00\x03"),
        ("query_type: HTTPS", b"\x01\x00", b"\x05MiXeD\x04test\x00\x00\x41\x00\x01"),
    ];
    let answer = |query: &[u8]| vec![two_addresses(query)];
    let mut ids = Vec::new();
    for (settings, flags, question) in cases {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let peer = Peer::udp_on(address, answer).await;
            let module = format!("prober: dns\ndns:\n  query_name: MiXeD.test\n  {settings}");
            let probed = probe(&module, &peer.target()).await;
            assert_eq!(probed.failure(), None, "{}", probed.why());
            assert_eq!(probed.values(COUNTS), [1.0, 2.0, 0.0, 0.0].map(Some));
            assert!(durations(&probed).into_iter().all(|seconds| seconds > 0.0));
            assert_eq!(probed.value("probe_dns_serial"), None, "only for SOA");
            let heard = peer.heard();
            let header = [&heard[..2], flags, &[0, 1, 0, 0, 0, 0, 0, 0]].concat();
            assert_eq!(heard, [&header, question].concat(), "{settings}");
            ids.push([heard[0], heard[1]]);
        }
    }
    ids.dedup();
    assert!(ids.len() > 1, "ids are random");
}

#[tokio::test]
async fn servers_that_cannot_be_asked() {
    let closed = closed_port().await.to_string();
    let tcp = "  transport_protocol: tcp\n";
    let cases = [
        ("UDP refused", module(""), closed.clone(), "request/refused"),
        ("TCP refused", module(tcp), closed.clone(), "connect/refused"),
        ("other family", module("  source_ip_address: '::1'\n"), closed.clone(), "connect/source_address"),
        ("port", module(""), "127.0.0.1:no-such-service".to_owned(), "prepare/bad_target"),
    ];
    for (name, module, target, want) in cases {
        let probed = probe(&module, &target).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.values(COUNTS), [Some(0.0); 4], "{name}");
        assert_eq!(probed.series("probe_dns_duration_seconds").len(), 3, "{name}");
        assert!(durations(&probed)[0] > 0.0, "{name}");
    }
}

#[tokio::test]
async fn the_deadline_leaves_the_durations() {
    let silent = Peer::udp(|_| vec![]).await;
    let probed = probe(&impatient(""), &silent.target()).await;
    assert_eq!(probed.failure().as_deref(), Some("request/deadline"));
    let [resolve, connect, request] = durations(&probed);
    assert!(
        resolve > 0.0 && connect > 0.0 && (0.05..1.0).contains(&request),
        "{resolve} {connect} {request}"
    );

    let silent = Peer::tcp(vec![]).await;
    let probed = probe(&impatient("  transport_protocol: tcp\n"), &silent.target()).await;
    assert_eq!(probed.failure().as_deref(), Some("request/deadline"));
    let probed =
        probe(&impatient("  transport_protocol: tcp\n  dns_over_tls: true\n"), &silent.target()).await;
    assert_eq!(probed.failure().as_deref(), Some("tls/deadline"));
    let [_, connect, request] = durations(&probed);
    assert!(connect > 0.05 && request == 0.0, "{connect} {request}: the handshake belongs to connecting");
}

#[tokio::test]
async fn connecting_from_a_source_address_ends_at_the_deadline() {
    let half_open = HalfOpen::new().await;
    let keys = "  transport_protocol: tcp\n  source_ip_address: 127.0.0.1\n";
    let probed = probe(&impatient(keys), &half_open.address.to_string()).await;
    assert_eq!(probed.failure().as_deref(), Some("connect/deadline"));
    assert!(probed.value("probe_duration_seconds") < Some(1.0));
}

#[tokio::test]
async fn only_the_answer_to_our_query_counts() {
    fn with_id(query: &[u8], change: u8) -> Vec<u8> {
        let mut answer = two_addresses(query);
        answer[1] ^= change;
        answer
    }
    fn about(query: &[u8], offset: usize, byte: u8) -> Vec<u8> {
        let mut answer = two_addresses(query);
        answer[offset] = byte;
        answer
    }
    type Answers = fn(&[u8]) -> Vec<Vec<u8>>;
    let cases: [(&str, Answers, Option<&str>); 8] = [
        ("wrong id", |q| vec![with_id(q, 1)], Some("request/deadline")),
        ("wrong id, then the right one", |q| vec![with_id(q, 1), with_id(q, 0)], None),
        ("nothing, then the right one", |q| vec![vec![], vec![q[0]], with_id(q, 0)], None),
        ("wrong name, then the right one", |q| vec![about(q, 13, b'x'), with_id(q, 0)], None),
        ("wrong type", |q| vec![about(q, 25, 28)], Some("request/deadline")),
        ("other case", |q| vec![about(q, 13, b'm')], None),
        ("no question", |q| vec![[&q[..2], &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat()], None),
        ("garbage with our id", |q| vec![[&q[..2], &[0xff; 9]].concat()], Some("request/protocol")),
    ];
    for (name, answers, want) in cases {
        let peer = Peer::udp(answers).await;
        let module = if want == Some("request/deadline") { impatient("") } else { module("") };
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        let succeeded = f64::from(u8::from(want.is_none()));
        assert_eq!(probed.value("probe_dns_query_succeeded"), Some(succeeded), "{name}");
    }
}

#[tokio::test]
async fn answers_cut_at_every_byte() {
    let whole = two_addresses(&[&[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], QUESTION].concat()).len();
    let question = 12 + QUESTION.len();
    for length in 2..=whole {
        let peer = Peer::udp(move |query| vec![two_addresses(query)[..length].to_vec()]).await;
        let probed = probe(&module(""), &peer.target()).await;
        // What ends between two parts is a shorter message, as in the peer.
        let records = match length {
            12 => Some(0),
            // After the question's name, its type or its class.
            _ if [question - 4, question - 2, question].contains(&length) => Some(0),
            _ if length == question + 16 => Some(1),
            _ if length == whole => Some(2),
            _ => None,
        };
        let want = if records.is_some() { None } else { Some("request/protocol") };
        assert_eq!(probed.failure().as_deref(), want, "{length}: {}", probed.why());
        let counted = probed.value("probe_dns_answer_rrs");
        assert_eq!(counted, Some(f64::from(records.unwrap_or(0))), "{length}");
    }
}

#[tokio::test]
async fn answers_over_512_bytes() {
    /// An answer of so many bytes.
    fn large(query: &[u8], length: usize) -> Vec<u8> {
        let data = vec![b'x'; length - query.len() - 12];
        let strings: Vec<Vec<u8>> = data
            .chunks(256)
            .map(|part| [&[u8::try_from(part.len() - 1).unwrap()], &part[1..]].concat())
            .collect();
        respond(query, 0, [&[record(TXT, &strings.concat())], &[], &[]])
    }
    for (length, want) in [(512, None), (513, Some("request/too_large"))] {
        let peer = Peer::udp(move |query| vec![large(query, length)]).await;
        let probed = probe(&module(""), &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{}", probed.why());
        assert_eq!(probed.value("probe_dns_query_succeeded"), Some(f64::from(u8::from(want.is_none()))));
    }
    let truncated = |query: &[u8]| {
        let mut answer = respond(query, 0, [&[], &[], &[]]);
        answer[2] |= 0x02;
        vec![answer]
    };
    let probed = probe(&module(""), &Peer::udp(truncated).await.target()).await;
    assert_eq!(probed.failure(), None, "a truncated answer is used as it is");
    let peer = Peer::tcp(vec![Act::Answer(|query| framed(large(query, 20_000)))]).await;
    let probed = probe(&module("  transport_protocol: tcp\n"), &peer.target()).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    assert_eq!(probed.value("probe_dns_answer_rrs"), Some(1.0));
}

#[tokio::test]
async fn streams_have_a_length_in_front() {
    type Answer = fn(&[u8]) -> Vec<u8>;
    let cases: [(&str, Answer, bool, Option<&str>); 5] = [
        ("answer", |query| framed(two_addresses(query)), false, None),
        ("bytes after it", |query| [framed(two_addresses(query)), vec![1, 2, 3]].concat(), false, None),
        (
            "wrong id",
            |query| framed(two_addresses(&[&[query[0] ^ 1], &query[1..]].concat())),
            false,
            Some("request/protocol"),
        ),
        ("nothing", |_| vec![], true, Some("request/closed")),
        ("half", |query| framed(two_addresses(query))[..20].to_vec(), true, Some("request/closed")),
    ];
    for (name, answer, closes, want) in cases {
        let mut script = vec![Act::Answer(answer)];
        if closes {
            script.push(Act::Close);
        }
        let peer = Peer::tcp(script).await;
        let probed = probe(&module("  transport_protocol: tcp\n"), &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        let heard = peer.heard();
        assert_eq!((&heard[..2], &heard[14..]), (&[0, 28][..], QUESTION), "{name}");
    }
    let peer = Peer::tcp(vec![Act::DripAnswer(|query| framed(two_addresses(query)))]).await;
    let probed = probe(&module("  transport_protocol: tcp\n"), &peer.target()).await;
    assert_eq!(probed.failure(), None, "split writes: {}", probed.why());
    let rtt = probed.value("probe_tcp_rtt_seconds");
    assert!(rtt.is_some_and(|rtt| (1e-6..0.5).contains(&rtt)), "{rtt:?}");
    let probed = probe(&module(""), &Peer::udp(|query| vec![two_addresses(query)]).await.target()).await;
    assert_eq!(probed.value("probe_tcp_rtt_seconds"), None, "there is no connection");
}

#[tokio::test]
async fn hostile_answers() {
    fn with_answer(query: &[u8], name: &[u8], length: u16) -> Vec<u8> {
        let record = [name, &[0, 1, 0, 1, 0, 0, 1, 44], &length.to_be_bytes(), &[9; 4]].concat();
        respond(query, 0, [&[record], &[], &[]])
    }
    fn counts(query: &[u8], answers: u16) -> Vec<u8> {
        let mut answer = two_addresses(query);
        answer[6..8].copy_from_slice(&answers.to_be_bytes());
        answer
    }
    type Answer = fn(&[u8]) -> Vec<u8>;
    const PROTOCOL: Option<&str> = Some("request/protocol");
    let cases: [(&str, Answer, Option<&str>); 12] = [
        // The question takes 12 to 28, so the name of the record is at 28.
        ("a name that points at itself", |q| with_answer(q, &[0xc0, 28], 4), PROTOCOL),
        ("a name that points into its own data", |q| with_answer(q, &[0xc0, 40], 4), PROTOCOL),
        ("a name that points behind the end", |q| with_answer(q, &[0xff, 0xff], 4), PROTOCOL),
        ("two names that point at each other", |q| with_answer(q, &[1, b'a', 0xc0, 28], 4), PROTOCOL),
        ("a label of a kind that does not exist", |q| with_answer(q, &[0x80, 0], 4), PROTOCOL),
        ("a name without an end", |q| with_answer(q, &[63; 200], 4), PROTOCOL),
        ("data longer than the message", |q| with_answer(q, &[0xc0, 12], 400), PROTOCOL),
        ("data of the wrong length", |q| with_answer(q, &[0xc0, 12], 3), PROTOCOL),
        // Go's library stops at the end of the message when it stands between two records.
        ("more records announced than there are", |q| counts(q, 65_535), None),
        ("fewer records announced", |q| counts(q, 1), None),
        ("a query comes back", |q| q.to_vec(), None),
        ("nothing but the id", |q| q[..2].to_vec(), PROTOCOL),
    ];
    for (name, answer, want) in cases {
        for transport in ["udp", "tcp"] {
            let peer = match transport {
                "udp" => Peer::udp(move |query| vec![answer(query)]).await,
                _ => Peer::tcp(vec![Act::FramedAnswer(answer)]).await,
            };
            let module = module(&format!("  transport_protocol: {transport}\n"));
            let probed = probe(&module, &peer.target()).await;
            assert_eq!(probed.failure().as_deref(), want, "{name} over {transport}: {}", probed.why());
            let succeeded = f64::from(u8::from(want.is_none()));
            assert_eq!(probed.value("probe_dns_query_succeeded"), Some(succeeded), "{name}");
        }
    }

    let tcp = "  transport_protocol: tcp\n";
    let cases = [
        ("length 0", module(tcp), vec![Act::Answer(|_| vec![0, 0])], "request/protocol"),
        ("length 1", module(tcp), vec![Act::Answer(|q| vec![0, 1, q[0]])], "request/protocol"),
        ("half a length", module(tcp), vec![Act::Answer(|_| vec![0]), Act::Close], "request/closed"),
        ("zeros for ever", module(tcp), vec![Act::SayForever(vec![0; 4096])], "request/protocol"),
        ("ones for ever", module(tcp), vec![Act::SayForever(vec![0xff; 4096])], "request/protocol"),
        ("HTTP", module(tcp), vec![say("HTTP/1.1 400 Bad Request\r\n\r\n"), Act::Close], "request/closed"),
        ("reset", module(tcp), vec![Act::Reset], "request/reset"),
        ("a slow answer", impatient(tcp), vec![Act::Slow(vec![0x40; 1000])], "request/deadline"),
    ];
    for (name, module, script, want) in cases {
        let peer = Peer::tcp(script).await;
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert_eq!(probed.values(COUNTS), [Some(0.0); 4], "{name}");
    }

    let flood = Peer::udp(|query| vec![[&[!query[0]], &query[1..]].concat(); 5_000]).await;
    let probed = probe(&impatient(""), &flood.target()).await;
    assert_eq!(probed.failure().as_deref(), Some("request/deadline"), "wrong ids in a flood");
}

#[tokio::test]
async fn dns_over_tls() {
    let authority = Authority::new();
    let settings = |more: &str| {
        module(&format!(
            "  transport_protocol: tcp\n  dns_over_tls: true\n  tls_config: {{ca: {}{more}}}\n",
            authority.yaml()
        ))
    };
    let cases = [
        ("good", authority.issue(&["127.0.0.1"], Validity::Now), settings(""), None),
        ("expired", authority.issue(&["127.0.0.1"], Validity::Past), settings(""), Some("tls/expired")),
        (
            "other name",
            authority.issue(&["dns.test"], Validity::Now),
            settings(""),
            Some("tls/name_mismatch"),
        ),
        ("named", authority.issue(&["dns.test"], Validity::Now), settings(", server_name: dns.test"), None),
    ];
    for (name, config, module, want) in cases {
        let peer =
            Peer::tcp(vec![Act::StartTls(config), Act::Answer(|query| framed(two_addresses(query)))]).await;
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        let verified = f64::from(u8::from(want.is_none()));
        assert_eq!(probed.value("probe_tls_verified"), Some(verified), "{name}");
        let expiry = probed.value("probe_ssl_leaf_not_after_timestamp_seconds");
        assert_eq!(expiry == Some(END), name != "expired", "{name}");
        for absent in [
            "probe_ssl_earliest_cert_expiry",
            "probe_ssl_last_chain",
            "probe_tls_version",
            "probe_tls_cipher",
        ] {
            assert_eq!(probed.series(absent), [""; 0], "{name}: the peer has no {absent} for dns");
        }
    }
}

#[tokio::test]
async fn response_codes() {
    let cases = [
        ("default", "", 0, None),
        ("default", "", 3, Some("check/rcode")),
        ("null", "  valid_rcodes:\n", 0, None),
        ("empty means default", "  valid_rcodes: []\n", 0, None),
        ("empty means default", "  valid_rcodes: []\n", 3, Some("check/rcode")),
        ("listed", "  valid_rcodes: [NXDOMAIN, REFUSED]\n", 5, None),
        ("not listed", "  valid_rcodes: [NXDOMAIN]\n", 0, Some("check/rcode")),
    ];
    for (name, settings, rcode, want) in cases {
        let peer = Peer::udp(move |query| vec![respond(query, rcode, [&[], &[], &[]])]).await;
        let probed = probe(&module(settings), &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{name} {rcode}: {}", probed.why());
        assert_eq!(probed.value("probe_dns_query_succeeded"), Some(1.0), "{name} {rcode}");
    }
    let peer = Peer::udp(|query| vec![two_addresses(query)]).await;
    let probed = probe(&module("  valid_rcodes: [NOERROR, noerror]\n"), &peer.target()).await;
    assert_eq!(probed.failure().as_deref(), Some("check/config"), "{}", probed.why());
    assert_eq!(probed.why(), "valid_rcodes has \"noerror\", which is no response code");
    assert_eq!(probed.values(COUNTS), [1.0, 2.0, 0.0, 0.0].map(Some), "the answer is reported");
    for (settings, looks_for_the_server) in
        [("  transport_protocol: sctp\n", false), ("  dns_over_tls: true\n", true)]
    {
        let probed = probe(&module(settings), "127.0.0.1:1").await;
        assert_eq!(probed.failure().as_deref(), Some("prepare/config"), "{settings}");
        assert_eq!(probed.value("probe_ip_protocol").is_some(), looks_for_the_server, "{settings}");
    }
    let probed = probe("prober: dns\ndns: {query_name: a..b}", "127.0.0.1:1").await;
    assert_eq!(probed.failure().as_deref(), Some("prepare/config"));
    assert_eq!(probed.why(), "query_name \"a..b\": a label is empty");
}

#[tokio::test]
async fn serials() {
    fn soa(serial: u32) -> Vec<u8> {
        record(SOA, &[b"\xc0\x0c\xc0\x0c", &serial.to_be_bytes()[..], &[0; 16]].concat())
    }
    type Answer = fn(&[u8]) -> Vec<u8>;
    let cases: [(&str, Answer, f64); 3] = [
        (
            "the last one",
            |query| respond(query, 0, [&[soa(1), soa(2_024_112_101)], &[], &[]]),
            2_024_112_101.0,
        ),
        ("not in the answer", |query| respond(query, 0, [&[], &[soa(7)], &[]]), 0.0),
        ("an error", |query| respond(query, 5, [&[soa(9)], &[], &[]]), 9.0),
    ];
    let module = module("").replace("query_type: A", "query_type: SOA");
    for (name, answer, want) in cases {
        let peer = Peer::udp(move |query| vec![answer(query)]).await;
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.value("probe_dns_serial"), Some(want), "{name}");
    }
    let probed = probe(&module, &closed_port().await.to_string()).await;
    assert_eq!(probed.value("probe_dns_serial"), None, "no answer, no serial");
}

#[tokio::test]
async fn checks_on_records() {
    let sections = |query: &[u8]| {
        let answer = [record(A, &[192, 0, 2, 1]), record(A, &[192, 0, 2, 2])];
        let authority = [record(TXT, b"\x04auth")];
        vec![respond(query, 0, [&answer, &authority, &[]])]
    };
    let peer = Peer::udp(sections).await;
    let exact = r"^MiXeD\\.test\\.\\t300\\tIN\\tA\\t192\\.0\\.2\\.[12]$";
    // Answer, authority, and the empty additional section.
    let cases = [
        ("fail_if_matches_regexp", "no match", true, true, true),
        ("fail_if_matches_regexp", "2[.]1$", false, true, true),
        ("fail_if_matches_regexp", "auth", true, false, true),
        ("fail_if_not_matches_regexp", exact, true, false, false),
        ("fail_if_not_matches_regexp", "2[.]1$", false, false, false),
        ("fail_if_not_matches_regexp", "MiXeD", true, true, false),
        ("fail_if_none_matches_regexp", "2[.]2$", true, false, false),
        ("fail_if_none_matches_regexp", "no match", false, false, false),
        // Passes when all match, whatever the name says.
        ("fail_if_all_match_regexp", exact, true, false, true),
        ("fail_if_all_match_regexp", "2[.]1$", false, false, true),
        ("fail_if_all_match_regexp", "no match", false, false, true),
    ];
    for (option, pattern, answer, authority, additional) in cases {
        for (section, passes) in [("answer", answer), ("authority", authority), ("additional", additional)] {
            let checks = format!("  validate_{section}_rrs: {{{option}: [\"{pattern}\"]}}\n");
            let probed = probe(&module(&checks), &peer.target()).await;
            let want = (!passes).then(|| "check/record".to_owned());
            assert_eq!(probed.failure(), want, "{checks}: {}", probed.why());
            assert_eq!(probed.values(COUNTS), [1.0, 2.0, 1.0, 0.0].map(Some));
        }
    }
    let several = "  validate_answer_rrs:
    fail_if_none_matches_regexp: [no match, '2[.]2']
    fail_if_not_matches_regexp: [A, '2[.]1']\n";
    let probed = probe(&module(several), &peer.target()).await;
    let why = "answer record \"MiXeD.test.\\t300\\tIN\\tA\\t192.0.2.2\" does not match \"2[.]1\"";
    assert_eq!(probed.why(), why);
    let cases = [
        ("answer_rrs: {fail_if_matches_regexp: ['([']}", Some("check/config")),
        ("answer_rrs: {fail_if_matches_regexp: [MiXeD, '([']}", Some("check/record")),
        ("answer_rrs: {fail_if_all_match_regexp: ['([']}", Some("check/config")),
        ("answer_rrs: {fail_if_none_matches_regexp: [MiXeD, '([']}", None),
        ("additional_rrs: {fail_if_matches_regexp: ['([']}", None),
    ];
    for (checks, want) in cases {
        let probed = probe(&module(&format!("  validate_{checks}\n")), &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{checks}: {}", probed.why());
        assert_eq!(probed.value("probe_dns_query_succeeded"), Some(1.0), "{checks}");
    }
}

#[test]
fn a_target_encoded_twice_is_recognised() {
    let dns = compile(&module(""));
    let tcp = compile("prober: tcp");
    let icmp = compile("prober: icmp");
    let cases = [
        ("127.0.0.1:53", true, true, true),
        ("a.test", true, false, true),
        ("::1", true, false, true),
        ("[::1]:53", true, true, true),
        ("fe80::1%lo", true, false, true),
        ("127.0.0.1%3A53", false, false, false),
        ("%5B::1%5D:53", false, false, false),
    ];
    for (target, by_dns, by_tcp, by_icmp) in cases {
        let accepts = [&dns, &tcp, &icmp].map(|module| module.runnable().unwrap().accepts(target));
        assert_eq!(accepts, [by_dns, by_tcp, by_icmp], "{target}");
    }
}
