//! DNS against unbound with a zone of its own.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::support::certificates::Authority;
use crate::support::{Exporter, Program, free_port};

/// A running unbound that has authority over `example.test`.
pub struct Unbound {
    _program: Program,
    dir: TempDir,
    /// Answers over UDP and TCP.
    pub plain: u16,
    /// Answers over TLS.
    pub tls: u16,
}

impl Unbound {
    /// Starts unbound on free ports.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("zone"), zone()).unwrap();
        let pair = Authority::new(dir.path()).issue("server", &["dns.example.test", "127.0.0.1"]);
        let [plain, tls] = [free_port(), free_port()];
        let settings = include_str!("unbound.conf")
            .replace("@DIR@", &dir.path().display().to_string())
            .replace("@PLAIN@", &plain.to_string())
            .replace("@TLS@", &tls.to_string())
            .replace("@CERTIFICATE@", &pair.certificate.display().to_string())
            .replace("@KEY@", &pair.key.display().to_string());
        let file = dir.path().join("unbound.conf");
        fs::write(&file, settings).unwrap();
        // `-p`: no pid file.
        let program = Program::start(Command::new("/usr/sbin/unbound").args(["-d", "-p", "-c"]).arg(&file));
        program.line_with("start of service");
        Self { _program: program, dir, plain, tls }
    }

    /// An exporter with modules that may name the authority of the server's certificate as `@CA@`.
    fn exporter(&self, config: &str) -> Exporter {
        Exporter::with_config(&config.replace("@CA@", &self.dir.path().join("ca.pem").display().to_string()))
    }
}

fn zone() -> String {
    let mut zone = String::from(
        r#"$ORIGIN example.test.
$TTL 300
@       SOA   ns hostmaster 2024061501 7200 3600 1209600 300
@       NS    ns
@       MX    10 mail
@       TXT   "v=spf1 -all" "say \"hi\""
ns      A     192.0.2.1
mail    A     192.0.2.2
mail    AAAA  2001:db8::2
www     CNAME mail
"#,
    );
    // More than 512 bytes, the limit of UDP without EDNS.
    for n in 0..40 {
        zone.push_str(&format!("many  A  192.0.2.{}\n", 100 + n));
    }
    zone
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn records_of_many_types_are_counted_and_checked_over_every_transport() {
    let unbound = Unbound::start();
    let plain = format!("127.0.0.1:{}", unbound.plain);
    let tls = format!("127.0.0.1:{}", unbound.tls);
    let transports = [
        ("udp", "transport_protocol: udp", &plain),
        ("tcp", "transport_protocol: tcp", &plain),
        ("tls", "transport_protocol: tcp, dns_over_tls: true, tls_config: {ca_file: \"@CA@\"}", &tls),
    ];
    // Query, what the only or every record must match, number of records.
    let queries = [
        (
            "query_type: MX, query_name: example.test",
            r"^example\.test\.\t300\tIN\tMX\t10 mail\.example\.test\.$",
            1.0,
        ),
        ("query_type: A, query_name: mail.example.test", r"\tA\t192\.0\.2\.2$", 1.0),
        ("query_type: AAAA, query_name: mail.example.test", r"\tAAAA\t2001:db8::2$", 1.0),
        ("query_type: NS, query_name: example.test", r"\tNS\tns\.example\.test\.$", 1.0),
        ("query_type: TXT, query_name: example.test", r#"\tTXT\t"v=spf1 -all" "say \\"hi\\""$"#, 1.0),
        (
            "query_type: A, query_name: www.example.test",
            r"\t(CNAME\tmail\.example\.test\.|A\t192\.0\.2\.2)$",
            2.0,
        ),
    ];
    let mut config = String::from("modules:\n");
    let mut probes = Vec::new();
    for (name, transport, target) in transports {
        for (n, (query, pattern, count)) in queries.into_iter().enumerate() {
            config.push_str(&format!(
                "  {name}{n}:\n    prober: dns\n    dns: {{{query}, {transport}, preferred_ip_protocol: ip4, \
                 validate_answer_rrs: {{fail_if_not_matches_regexp: ['{pattern}']}}}}\n",
            ));
            probes.push((format!("{name}{n}"), target, count));
        }
    }
    let exporter = unbound.exporter(&config);
    for (module, target, count) in probes {
        exporter
            .probe(&module, target)
            .expect_success()
            .expect(&[
                ("probe_dns_query_succeeded", 1.0),
                ("probe_dns_answer_rrs", count),
                ("probe_ip_protocol", 4.0),
            ])
            .expect_positive(&["probe_dns_duration_seconds{phase=\"request\"}"]);
    }
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn serials_response_codes_and_truncation() {
    let unbound = Unbound::start();
    let exporter = unbound.exporter(
        r#"
modules:
  soa: {prober: dns, dns: {query_name: example.test, query_type: SOA}}
  missing: {prober: dns, dns: {query_name: nobody.example.test, query_type: A}}
  missing_wanted:
    prober: dns
    dns:
      query_name: nobody.example.test
      query_type: A
      valid_rcodes: [NXDOMAIN]
      validate_authority_rrs: {fail_if_none_matches_regexp: ["SOA\tns\\.example\\.test\\."]}
  refused: {prober: dns, dns: {query_name: elsewhere.invalid, query_type: A, recursion_desired: false}}
  many_udp: {prober: dns, dns: {query_name: many.example.test, query_type: A}}
  many_tcp: {prober: dns, dns: {query_name: many.example.test, query_type: A, transport_protocol: tcp}}
  wrong_record:
    prober: dns
    dns:
      query_name: mail.example.test
      query_type: A
      validate_answer_rrs: {fail_if_matches_regexp: ["192\\.0\\.2\\.\\d"]}
  untrusted:
    prober: dns
    dns: {query_name: example.test, query_type: SOA, transport_protocol: tcp, dns_over_tls: true}
"#,
    );
    let target = format!("127.0.0.1:{}", unbound.plain);
    exporter.probe("soa", &target).expect_success().expect(&[("probe_dns_serial", 2_024_061_501.0)]);
    exporter.probe("missing", &target).expect_failure("check", "rcode").expect(&[
        ("probe_dns_query_succeeded", 1.0),
        ("probe_dns_answer_rrs", 0.0),
        ("probe_dns_authority_rrs", 1.0),
    ]);
    exporter.probe("missing_wanted", &target).expect_success();
    exporter
        .probe("refused", &target)
        .expect_failure("check", "rcode")
        .expect(&[("probe_dns_query_succeeded", 1.0)]);
    exporter.probe("many_tcp", &target).expect_success().expect(&[("probe_dns_answer_rrs", 40.0)]);
    // A truncated answer is an answer.
    let truncated = exporter.probe("many_udp", &target).expect_success().value("probe_dns_answer_rrs");
    assert!(truncated.is_some_and(|count| count < 40.0), "{truncated:?}");
    exporter.probe("wrong_record", &target).expect_failure("check", "record");
    exporter
        .probe("untrusted", &format!("127.0.0.1:{}", unbound.tls))
        .expect_failure("tls", "incomplete_chain")
        .expect(&[("probe_dns_query_succeeded", 0.0)]);
}
