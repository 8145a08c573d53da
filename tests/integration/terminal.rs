//! `heartbeat_exporter probe`: what it prints, and its exit status.
//!
//! Whole outputs are in tests/fixtures/terminal; with `UPDATE_FIXTURES=1` they are written, not compared.

use std::fs;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use crate::support::certificates::{Authority, Validity};
use crate::support::exporter::{Dir, Exporter, run};
use crate::support::frames::{data, header, last_header, settings};
use crate::support::http_peer::{HttpPeer, Received, redirect, response};
use crate::support::peers::{Act, Peer, UnixPeer, closed_port, hear, say};

/// Exit code, stdout, stderr.
type Shown = (Option<i32>, String, String);

/// A file with one module, as it stands below its name.
fn config(module: &str) -> String {
    let lines: String = module.lines().map(|line| format!("    {line}\n")).collect();
    format!("modules:\n  m:\n{lines}")
}

/// Runs the subcommand beside servers of the same runtime.
async fn probe(config: &str, args: &[&str]) -> Shown {
    let dir = Dir::new();
    dir.write("c.yml", config);
    let args: Vec<String> = ["probe"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        run(&dir, &args)
    });
    let output = output.await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The text without what differs from probe to probe.
fn steady(text: &str, target: &str) -> String {
    let rules = [
        (r" +[0-9]+\.[0-9]{2} ms", " T"),
        (r"(?m)^(  [a-z]+ +T T)  +=+", "$1 ="),
        (r"[0-9a-f]{64}", "SHA256"),
        (r"serial +[0-9a-f]+", "serial       S"),
        (r"in [0-9]+ days", "in N days"),
        (r"[0-9]+ days ago", "N days ago"),
        (r"seconds=0\.0[0-9]+", "seconds=T"),
    ];
    let port = target.rsplit(':').next().and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let mut text = text.replace(target, "TARGET");
    if port.parse::<u16>().is_ok() {
        text = text.replace(&format!(":{port}"), ":PORT");
    }
    for (pattern, with) in rules {
        text = Regex::new(pattern).unwrap().replace_all(&text, with).into_owned();
    }
    text
}

/// Compares status and output with the fixture of this name.
async fn check(name: &str, module: &str, target: &str, args: &[&str]) {
    let mut all = vec!["--config.file=c.yml", "m", target];
    all.extend(args);
    let (code, stdout, stderr) = probe(&config(module), &all).await;
    assert_eq!(stderr, "", "{name}");
    let got = format!("exit status {}\n{}", code.unwrap(), steady(&stdout, target));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/terminal/{name}.txt"));
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(path, got).unwrap();
    } else {
        assert_eq!(got, fs::read_to_string(path).unwrap(), "{name}");
    }
}

/// Keys of `http`, with a timeout that no test should reach.
fn http(keys: &str) -> String {
    format!("prober: http\ntimeout: 5s\nhttp: {{preferred_ip_protocol: ip4, {keys}}}")
}

#[tokio::test]
async fn http_over_tls() {
    let authority = Authority::new();
    let answer = || Act::AnswerHead(|_| response("200 OK", &["X-A: one"], b"fine"));
    let server = authority.issue(&["127.0.0.1", "a.test"], Validity::Now);
    let peer = Peer::tcp(vec![Act::StartTls(server), answer()]).await;
    let target = format!("https://{}/", peer.target());
    let trusted = format!("tls_config: {{ca: {}}}", authority.yaml());
    let checks = "fail_if_body_matches_regexp: [bad, worse], fail_if_body_not_matches_regexp: [fine], \
                  fail_if_header_not_matches: [{header: x-a, regexp: one}], \
                  fail_if_header_matches: [{header: x-b, regexp: b, allow_missing: true}], \
                  fail_if_not_ssl: true, valid_http_versions: [HTTP/1.1, HTTP/2.0], body_size_limit: 1KB";
    check("verified", &http(&format!("{checks}, {trusted}")), &target, &[]).await;
    check("unknown_ca", &http(""), &target, &[]).await;
    check("name_mismatch", &http(&trusted), &target, &["--hostname=b.test"]).await;
    // Everything that can be wrong with one answer.
    let checks = "tls_config: {insecure_skip_verify: true}, fail_if_ssl: true, valid_http_versions: [HTTP/2.0], \
                  fail_if_header_matches: [{header: x-a, regexp: o}], fail_if_body_not_matches_regexp: [fine], \
                  fail_if_body_json_matches_cel: 'true', compression: gzip";
    check("several_failures", &http(checks), &target, &[]).await;

    let server = authority.issue(&["127.0.0.1"], Validity::Past);
    let peer = Peer::tcp(vec![Act::StartTls(server), answer()]).await;
    check("expired", &http(&trusted), &format!("https://{}/", peer.target()), &[]).await;
}

#[tokio::test]
async fn http_in_the_clear() {
    let peer = HttpPeer::start(|request: &Received| match request.path() {
        "/" => redirect("302 Found", "/\u{9b}31mnext"),
        "/json" => response("200 OK", &[], br#"{"a": 1}"#),
        _ => response("503 Service Unavailable", &[], b"no"),
    })
    .await;
    let body = "fail_if_body_not_matches_regexp: [yes]";
    check("status", &http(body), &peer.url("/"), &[]).await;
    check(
        "not_followed",
        &http("follow_redirects: false, valid_status_codes: [301, 302]"),
        &peer.url("/"),
        &[],
    )
    .await;
    let cel =
        "fail_if_body_json_matches_cel: 'body.a == 2', fail_if_body_json_not_matches_cel: 'body.a == 3'";
    check("cel", &http(cel), &peer.url("/json"), &[]).await;
    check(
        "unknown_compression",
        &http("compression: zip, fail_if_body_matches_regexp: [a]"),
        &peer.url("/json"),
        &[],
    )
    .await;
    check("logs", &http(""), &peer.url("/json"), &["--logs"]).await;

    let long = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    let peer = Peer::tcp(vec![Act::AnswerHead(|_| Vec::new()), say(long), Act::Close]).await;
    check("cut_body", &http(body), &format!("http://{}/", peer.target()), &[]).await;
    let peer = Peer::tcp(vec![Act::AnswerHead(|_| Vec::new()), say(long)]).await;
    check("late_body", &http(body), &format!("http://{}/", peer.target()), &["--timeout=300ms"]).await;
    let limited = http("body_size_limit: 2B, fail_if_body_not_matches_regexp: [abc]");
    check("large_body", &limited, &format!("http://{}/", peer.target()), &[]).await;

    check("refused", &http(""), &format!("http://{}/", closed_port().await), &[]).await;
    check("bad_target", &http(""), "http://[::1/", &[]).await;
}

/// What a name server makes of a query: this code, and an A record of 192.0.2.1.
fn respond(query: &[u8], rcode: u8) -> Vec<u8> {
    let mut response = query.to_vec();
    response[2] |= 0x80;
    response[3] = rcode;
    response[7] = 1;
    response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 1]);
    response
}

#[tokio::test]
async fn dns() {
    let module = "prober: dns\ntimeout: 5s\ndns:\n  query_name: a.test\n  query_type: A\n  validate_answer_rrs:\n    \
                  fail_if_matches_regexp: [bad]\n    fail_if_none_matches_regexp: [192.0.2.1]";
    let peer = Peer::udp(|query| vec![respond(query, 0)]).await;
    check("dns", module, &peer.target(), &[]).await;
    check("dns_record", &module.replace("[bad]", "[192]"), &peer.target(), &[]).await;
    check("dns_no_pattern", &module.replace("[bad]", "['(']"), &peer.target(), &[]).await;
    check("dns_no_rcode", &format!("{module}\n  valid_rcodes: [NOPE]"), &peer.target(), &[]).await;
    let peer = Peer::udp(|query| vec![respond(query, 3)]).await;
    check("dns_rcode", module, &peer.target(), &[]).await;
}

#[tokio::test]
async fn streams() {
    let steps = "query_response: [{expect: '^220 (.*)$', labels: [{name: banner, value: $1}]}, {send: secret}, \
                 {expect_bytes: OK}, {expect: ready}]";
    let tcp = format!("prober: tcp\ntimeout: 5s\ntcp: {{{steps}}}");
    let peer = Peer::tcp(vec![say("220 \x1b]0;owned\x07\n"), hear("secret\n"), say("OKready\n")]).await;
    check("tcp", &tcp, &peer.target(), &[]).await;
    let peer = Peer::tcp(vec![say("220 hello\n"), hear("secret\n"), say("NO")]).await;
    check("tcp_mismatch", &tcp, &peer.target(), &[]).await;
    check("tcp_refused", "prober: tcp\ntimeout: 5s", &closed_port().await.to_string(), &[]).await;

    let peer = UnixPeer::new(vec![say("220 hello\n")]);
    let unix = "prober: unix\ntimeout: 5s\nunix: {query_response: [{expect: '^220'}]}";
    check("unix", unix, peer.target(), &[]).await;
}

#[tokio::test]
async fn other_probers() {
    for (name, status) in [("grpc", b"\x08\x01"), ("grpc_not_serving", b"\x08\x02")] {
        let message = [&[0, 0, 0, 0, 2], &status[..]].concat();
        let begin = header(&[(":status", "200"), ("content-type", "application/grpc")]);
        let answer = [begin, data(&message), last_header(&[("grpc-status", "0")])].concat();
        let peer = Peer::tcp(vec![Act::Say(settings()), Act::HearCall, Act::Say(answer)]).await;
        check(name, "prober: grpc\ntimeout: 5s\ngrpc: {service: a.Service}", &peer.target(), &[]).await;
    }
    let peer = Peer::tcp(vec![Act::AnswerHead(|_| response("403 Forbidden", &[], b""))]).await;
    let websocket = "prober: websocket\ntimeout: 5s\nwebsocket: {query_response: [{expect: hello}]}";
    check("websocket", websocket, &format!("ws://{}/", peer.target()), &[]).await;
    let icmp = "prober: icmp\ntimeout: 5s\nicmp: {preferred_ip_protocol: ip6, ip_protocol_fallback: false}";
    check("icmp", icmp, "127.0.0.1", &[]).await;
}

#[tokio::test]
async fn what_cannot_be_run_has_status_2() {
    let modules = "modules:\n  tcp: {prober: tcp}\n  web: {prober: http, http: {headers: {Host: a.test}}}\n  \
                   none: {timeout: 1s}\n  odd: {prober: carrier_pigeon}\n";
    let cases: [(&[&str], &str); 8] = [
        (&["--config.file=c.yml", "m", "t"], "c.yml has no module \"m\"; it has: none, odd, tcp, web\n"),
        (&["--config.file=none.yml", "m", "t"], "none.yml: No such file or directory (os error 2)\n"),
        (
            &["--config.file=c.yml", "--hostname=b.test", "web", "a.test"],
            "the module sets the header Host to \"a.test\", which conflicts with hostname=\"b.test\"\n",
        ),
        (&["--config.file=c.yml", "none", "t"], "module none has no prober\n"),
        (
            &["--config.file=c.yml", "odd", "t"],
            "module odd has the prober \"carrier_pigeon\", which is not known\n",
        ),
        (&["--config.file=c.yml", "tcp", ""], "error: a value is required for '<TARGET>'"),
        (&["tcp"], "error: the following required arguments were not provided:\n  <TARGET>\n"),
        (&["--no-such", "m", "t"], "error: unexpected argument '--no-such' found\n"),
    ];
    for (args, want) in cases {
        let (code, stdout, stderr) = probe(modules, args).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
        assert!(stderr.starts_with(want), "{args:?}: {stderr}");
    }
    let (code, stdout, stderr) =
        probe("modules:\n  m: {prober: tcp, x: 1}\n", &["--config.file=c.yml", "m", "t"]).await;
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.starts_with("c.yml:2:20: "), "{stderr}");
}

#[tokio::test]
async fn without_a_file_the_default_or_the_built_in_configuration_is_used() {
    let target = closed_port().await.to_string();
    let dir = Dir::new();
    for (file, want) in [(None, "the built-in configuration"), (Some("blackbox.yml"), "blackbox.yml")] {
        if let Some(name) = file {
            dir.write(name, "modules: {tcp_connect: {prober: tcp}}\n");
        }
        let output = run(&dir, &["probe", "tcp_connect", &target]);
        let stdout = String::from_utf8(output.stdout).unwrap();
        let first = format!("{target}, module tcp_connect (tcp) of {want}");
        assert_eq!((output.status.code(), stdout.lines().next()), (Some(1), Some(first.as_str())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn placeholders_hide_what_they_stand_for() {
    let peer = HttpPeer::start(|_: &Received| response("200 OK", &["X-A: hunter2-value"], b"fine")).await;
    let module = "prober: http\nhttp:\n  preferred_ip_protocol: ip4\n  headers: {Host: '${file:secret}'}\n  \
                  fail_if_header_matches: [{header: X-A, regexp: '${file:secret}'}]\n  \
                  fail_if_body_matches_regexp: ['${file:secret}']\n";
    let dir = Dir::new();
    dir.write("c.yml", &config(module));
    dir.write("secret", "hunter2-value");
    let target = peer.url("/");
    let cases: [(&[&str], i32); 4] =
        [(&[], 1), (&["--logs"], 1), (&["--json"], 1), (&["--hostname=other.test"], 2)];
    for (args, status) in cases {
        let mut all = vec!["probe", "--config.file=c.yml", "m", &target];
        all.extend(args);
        let output = tokio::task::block_in_place(|| run(&dir, &all));
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
        assert!(text.contains("${file:secret}") && !text.contains("hunter2"), "{args:?}: {text}");
    }
}

/// What two probes of the same target share.
fn without_time(mut report: Value) -> Value {
    let object = report.as_object_mut().unwrap();
    for key in ["id", "duration_seconds", "started_timestamp_seconds"] {
        object.remove(key);
    }
    for span in report["timeline"].as_array_mut().unwrap() {
        *span = span["phase"].take();
    }
    for event in report["logs"].as_array_mut().unwrap() {
        assert!(event["offset_seconds"].take().is_number());
        event["fields"].as_object_mut().unwrap().remove("duration_seconds");
        event["fields"].as_object_mut().unwrap().remove("timeout_seconds");
    }
    let samples = report["metrics"].as_array_mut().unwrap();
    samples
        .iter_mut()
        .filter(|sample| sample["name"].as_str().unwrap().ends_with("_seconds"))
        .for_each(|sample| assert!(sample["value"].take().is_number()));
    report
}

#[tokio::test]
async fn the_json_is_that_of_the_server() {
    let exporter = Exporter::start(&config("prober: tcp\ntimeout: 5s"), &["--log.prober=debug"]);
    let peer = Peer::tcp(vec![]).await;
    for (target, status) in [(peer.target(), 0), (closed_port().await.to_string(), 1)] {
        let args = ["--config.file=c.yml", "m", &target, "--json", "--hostname=a.test"];
        let (code, stdout, stderr) = probe(&config("prober: tcp\ntimeout: 5s"), &args).await;
        assert_eq!((code, stderr.as_str()), (Some(status), ""));
        assert_eq!(stdout.lines().count(), 1);
        let got: Value = serde_json::from_str(&stdout).unwrap();
        assert!(got.get("id").is_none() && got["duration_seconds"].as_f64().unwrap() < 5.0);
        let reply = exporter.get(&format!("/api/v1/probe?module=m&target={target}&hostname=a.test"));
        assert_eq!(without_time(got), without_time(serde_json::from_slice(&reply.body).unwrap()));
    }
}

#[tokio::test]
async fn the_time_is_that_of_the_module_or_of_the_command_line() {
    let peer = Peer::tcp(vec![]).await;
    let module = config("prober: tcp\ntimeout: 200ms\ntcp: {query_response: [{expect: x}]}");
    for (args, millis) in [(&[][..], 200), (&["--timeout=400ms"], 400)] {
        let target = peer.target();
        let mut all = vec!["--config.file=c.yml", "m", &target, "--json"];
        all.extend(args);
        let (code, stdout, _) = probe(&module, &all).await;
        let report: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, report["failure"]["reason"].as_str()), (Some(1), Some("deadline")));
        let took = Duration::from_secs_f64(report["duration_seconds"].as_f64().unwrap());
        let want = Duration::from_millis(millis);
        assert!((want..want * 2).contains(&took), "{took:?}");
    }
}

/// A terminal is what `script` makes one.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn colours_are_for_terminals() {
    let target = closed_port().await.to_string();
    let line = format!("{} probe tcp_connect {target}", env!("CARGO_BIN_EXE_heartbeat_exporter"));
    for (no_color, has_colours) in [(None, true), (Some(""), true), (Some("1"), false)] {
        let mut command = std::process::Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("SHELL", "/bin/sh");
        command.env_remove("NO_COLOR").stdin(std::process::Stdio::null());
        command.envs(no_color.map(|value| ("NO_COLOR", value)));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(text.contains("\x1b[1mPhases"), has_colours, "{text}");
        assert_eq!(text.contains("\x1b[31mFAILED\x1b[0m after "), has_colours, "{text}");
        assert_eq!(text.contains('\x1b'), has_colours, "{text}");
    }
}
