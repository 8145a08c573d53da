//! Whole files: what loads, what is refused with which message, and what is written back.
//!
//! A fixture begins with `# config.yml:…` lines: the complete error report of a bad file, the
//! complete warnings of a good one, `[breaks]` after those that make a module unusable, and the
//! complete differences from blackbox_exporter of one in `differences`.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::fs;
use std::path::Path;

use heartbeat_exporter::config::differences::differences;
use heartbeat_exporter::config::sections::dialogue::Label;
use heartbeat_exporter::config::yaml::parse::parse;
use heartbeat_exporter::config::{File, LoadOptions, Module, ProberKind, Problems, load};
use proptest::prelude::*;

fn fixtures(folder: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs").join(folder);
    let mut files: Vec<(String, String)> = fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The report a fixture's leading comment asks for.
fn expected(text: &str) -> String {
    let lines: Vec<&str> = text
        .trim_start_matches('\u{feff}')
        .lines()
        .map_while(|line| line.strip_prefix("# "))
        .filter(|line| line.starts_with("config.yml:"))
        .collect();
    lines.join("\n")
}

fn lenient(text: &str) -> Result<File, Problems> {
    load(text, &LoadOptions::default())
}

fn module(yaml: &str) -> Module {
    let file = lenient(&format!("modules: {{m: {yaml}}}")).unwrap();
    file.modules["m"].clone()
}

#[test]
fn good_files_load_with_exactly_these_warnings() {
    for (name, text) in fixtures("good") {
        assert!(!expected(&text).contains("hunter2"), "{name}");
        let file = lenient(&text).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        let warnings: Vec<String> = file
            .warnings
            .iter()
            .map(|warning| {
                let suffix = if warning.breaks { " [breaks]" } else { "" };
                format!("config.yml:{warning}{suffix}")
            })
            .collect();
        assert_eq!(warnings.join("\n"), expected(&text), "{name}");
    }
}

#[test]
fn bad_files_are_refused_with_exactly_these_errors() {
    for (name, text) in fixtures("bad") {
        let problems = lenient(&text).expect_err(&name);
        assert_eq!(problems.report("config.yml"), expected(&text), "{name}");
        assert!(!problems.report("config.yml").contains("hunter2"), "{name}");
    }
    let empty = "config.yml:1:1: the file is empty; \
                 write `modules: {}` for a configuration without modules";
    for text in ["", "\n", "\u{feff}", "# nothing\n"] {
        let problems = lenient(text).expect_err(text);
        assert_eq!(problems.report("config.yml"), empty, "{text:?}");
    }
}

#[test]
fn differences_are_told_for_the_modules_they_touch() {
    for (name, text) in fixtures("differences") {
        lenient(&text).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        let got: Vec<String> = differences(&text).iter().map(|found| format!("config.yml:{found}")).collect();
        assert_eq!(got.join("\n"), expected(&text), "{name}");
        assert!(!got.concat().contains("hunter2"), "{name}");
    }
    for text in ["", "modules: [", "modules:", "[]"] {
        assert_eq!(differences(text), [], "{text}");
    }
}

#[test]
fn files_without_modules_load() {
    for text in ["{}", "modules:", "modules: {}", "---\n", "~"] {
        let file = lenient(text).unwrap();
        assert_eq!(file, File::default(), "{text:?}");
        assert_eq!(file.to_yaml(), "modules: {}\n");
    }
}

/// Values of every type, from files, and what is shown of them.
#[test]
fn placeholders_are_replaced_and_shown_as_written() {
    let written = "\
modules:
    m:
        prober: VALUE{prober}
        timeout: VALUE{digit}s
        http:
            valid_status_codes:
                - 'VALUE{number}'
                - 404
            valid_http_versions:
                - HTTP/1.1
            method: VALUE{secret}
            headers:
                X-A: a VALUE{secret} b VALUE{digit}
                X-B: VALUE{null}
                X-C: VALUE{empty}
                X-D: $VALUE{secret} ${1} $1
            body: VALUE{structure}
            body_size_limit: VALUE{digit}KiB
            fail_if_ssl: VALUE{switch}
            fail_if_body_matches_regexp:
                - null
                - ^VALUE{secret}$
                - b
            preferred_ip_protocol: ip4
            follow_redirects: VALUE{switch}
            basic_auth:
                username: VALUE{secret}
                password: hunter2-VALUE{secret}
            proxy_url: http://hunter2:hunter2@VALUE{secret}:3128
            tls_config:
                ca: VALUE{structure}
";
    let meant = [
        ("'VALUE{number}'", "200"),
        ("$VALUE{secret} ", "$${file:tests/fixtures/values/secret} "),
        ("VALUE{prober}", "http"),
        ("VALUE{digit}", "5"),
        ("VALUE{secret}", "hunter2"),
        ("VALUE{null}", "'null'"),
        ("VALUE{empty}", "''"),
        ("VALUE{structure}", "\"a: [b]\\n- c\""),
        ("VALUE{switch}", "true"),
    ];
    let meant = meant.iter().fold(written.to_owned(), |text, (from, to)| text.replace(from, to));
    let placeholders = written.replace("VALUE{", "${file:tests/fixtures/values/");
    let file = lenient(&placeholders).unwrap();
    let unmasked = |file: &File| Module { mask: None, ..file.modules["m"].clone() };
    assert_eq!(unmasked(&file), unmasked(&lenient(&meant).unwrap()));
    let (_, escaped) = file.modules["m"].http.headers.iter().last().unwrap();
    assert_eq!(escaped, "${file:tests/fixtures/values/secret} ${1} $1");

    let shown = file.to_yaml();
    assert!(!shown.contains("hunter2"), "{shown}");
    let shown: Vec<&str> = shown.lines().map(str::trim).collect();
    let secrets = [
        ("password: hunter2-${file:tests/fixtures/values/secret}", "password: <secret>"),
        (
            "proxy_url: http://hunter2:hunter2@${file:tests/fixtures/values/secret}:3128",
            "proxy_url: <secret>",
        ),
        ("- null", ""),
    ];
    for line in placeholders.lines().map(str::trim) {
        let line = secrets.iter().find(|(written, _)| *written == line).map_or(line, |(_, shown)| shown);
        let quoted = match line.split_once(": ") {
            Some((key, text)) => format!("{key}: '{text}'"),
            None => line.replacen("- ", "- '", 1) + "'",
        };
        assert!(
            line.is_empty() || shown.contains(&line) || shown.contains(&quoted.as_str()),
            "{line}: {shown:#?}"
        );
    }
    assert!(file.values.has_files() && file.values.are_current());
    assert!(!format!("{:?}", file.values).contains("hunter2"));
}

#[test]
fn strict_loading_turns_warnings_into_errors() {
    let text = "modules:\n  m:\n    prober: http\n    http: {preferred_ip_protocol: ipv4}\n";
    let strict = LoadOptions { strict: true };
    assert_eq!(
        load(text, &strict).unwrap_err().report("c.yml"),
        "c.yml:4:35: modules.m.http.preferred_ip_protocol should be ip4 or ip6, got \"ipv4\", \
         which works like ip4"
    );
    assert!(load(&text.replace("ipv4", "ip4"), &strict).is_ok());
}

#[test]
fn only_the_own_section_makes_a_module_unusable() {
    let cases = [
        ("{prober: http}", None),
        (
            "{prober: http, http: {compression: zstd, method: a b}}",
            Some("modules.m.http.method must be an HTTP method, got \"a b\""),
        ),
        (
            "{dns: {query_name: a, source_ip_address: x}, prober: dns}",
            Some("modules.m.dns.source_ip_address must be an IP address, got \"x\""),
        ),
        ("{dns: {query_name: a, source_ip_address: x}, prober: icmp}", None),
        // The peer asks before it finds out, and so do we.
        ("{dns: {query_name: a, valid_rcodes: [x]}, prober: dns}", None),
        ("{prober: http, http: {preferred_ip_protocol: any}}", None),
        ("{http: {compression: zstd}}", Some("modules.m has no prober")),
        ("~", Some("modules.m is empty and cannot be probed with")),
    ];
    for (yaml, want) in cases {
        assert_eq!(module(yaml).unusable.as_deref(), want, "{yaml}");
    }
}

#[test]
fn absent_sections_are_the_probers_defaults() {
    let module = module("{prober: grpc, dns: ~}");
    assert_eq!(module.prober, Some(ProberKind::Grpc));
    assert!(!module.dns.is_written() && !module.grpc.is_written());
    assert!(module.grpc.ip_protocol_fallback);
    assert!(module.dns.recursion_desired && module.dns.query_name.is_empty());
    assert!(module.http.client.follow_redirects && module.http.client.enable_http2);
    assert_eq!(module.http.method(), "GET");
    assert_eq!(module.icmp.ttl, 64);
    assert!(module.websocket.http_config.is_none());
}

#[test]
fn values_arrive_typed() {
    let (_, text) = fixtures("good").into_iter().find(|(name, _)| name == "go_yaml_dialect.yml").unwrap();
    let modules = lenient(&text).unwrap().modules;
    let names: Vec<&str> = modules.keys().map(String::as_str).collect();
    assert_eq!(names, ["base", "ints", "merged", "nulls", "text", "truncated"]);
    let ints = &modules["ints"].http;
    assert_eq!(ints.valid_status_codes, [200, 201, 202, 203, 204]);
    assert!(ints.fail_if_ssl && !ints.fail_if_not_ssl);
    assert_eq!(
        modules["text"].http.headers(),
        [("A", "1.50"), ("B", "true"), ("C", ""), ("D", "2001-12-14"), ("E", "hi")]
            .map(|(name, value)| (name.to_owned(), value))
    );
    let merged = &modules["merged"];
    assert_eq!(merged.timeout.to_string(), "9s");
    assert!(!merged.tcp.tls && modules["base"].tcp.tls);
    assert_eq!(modules["truncated"].icmp.payload_size, 1);
    let family = |text: &str| {
        module(&format!("{{prober: icmp, icmp: {{preferred_ip_protocol: {text}}}}}"))
            .icmp
            .preferred_ip_protocol
            .is_ipv4()
    };
    assert_eq!(["''", "ip6", "ip4", "ip5"].map(family), [false, false, true, true]);

    let tcp = module(
        "{prober: tcp, tcp: {query_response: [{send: !!binary AAAACATSFi8=}, \
         {expect: '', labels: []}, {expect: a, labels: [{name: n, value: $1}]}]}}",
    )
    .tcp;
    let [first, second, third] = tcp.query_response.as_slice() else {
        panic!("three steps");
    };
    assert_eq!(&*first.send, b"\0\0\0\x08\x04\xd2\x16\x2f");
    assert!(first.expect.is_none() && first.labels.is_none());
    assert!(second.expect.is_some());
    assert_eq!(second.labels, Some(Vec::new()));
    let label = Label { name: "n".to_owned(), value: "$1".to_owned() };
    assert_eq!(third.labels, Some(vec![label]));
    let headers = module("{prober: http, http: {headers: {b: x, host: y, Host: z}}}");
    let headers = headers.http.headers();
    assert_eq!(headers, [("Host".to_owned(), "z"), ("B".to_owned(), "x")]);
    let websocket = module("{prober: websocket, websocket: {headers: {Origin: x}}}").websocket;
    let (name, values) = websocket.headers.iter().next().unwrap();
    assert_eq!((name, values.0.values.as_slice()), ("Origin", ["x".to_owned()].as_slice()));
}

#[test]
fn the_dump_fills_in_defaults_and_masks_secrets() {
    let text = r#"
modules:
  z: ~
  web:
    prober: http
    timeout: 1m30s
    http:
      bearer_token: topsecret
      no_follow_redirects: true
      proxy_url: "http://user:topsecret@p:1/"
      proxy_connect_header: {X: [topsecret]}
      http_headers: {X-A: {values: [v], secrets: [topsecret]}}
      headers: {Host: 'no'}
      body_size_limit: 1.5MB
      fail_if_body_json_matches_cel: body.ok
      fail_if_header_matches: [{header: A, regexp: "^b: 'c'$"}]
      tls_config: {cert: c, key: topsecret, min_version: TLS12}
      oauth2: ~
  rpc:
    prober: grpc
    grpc: {ip_protocol_fallback: false, tls: true, metadata: {a: [b], c: ~}}
    unix: {query_response: [{send: !!binary /wA=}, {send: "a\r\n", labels: []}]}
    websocket:
      http_config: {basic_auth: {}}
      headers: {Origin: x}
      preferred_ip_protocol: ip4
  jwt:
    prober: http
    http:
      oauth2:
        client_id: i
        client_secret_file: f
        token_url: http://t
        claims: {n: 1, l: [a, {k: ~}], e: {}, s: "5"}
"#;
    let defaults = "        tcp:
            ip_protocol_fallback: true
        icmp:
            ip_protocol_fallback: true
            ttl: 64
        dns:
            ip_protocol_fallback: true
            recursion_desired: true
";
    let want = format!(
        r#"modules:
    jwt:
        prober: http
        http:
            ip_protocol_fallback: true
            oauth2:
                client_id: i
                client_secret_file: f
                claims:
                    e: {{}}
                    l:
                        - a
                        - k: null
                    'n': 1
                    s: '5'
                token_url: 'http://t'
            follow_redirects: true
            enable_http2: true
{defaults}    rpc:
        prober: grpc
        http:
            ip_protocol_fallback: true
            follow_redirects: true
            enable_http2: true
{defaults}        grpc:
            tls: true
            metadata:
                a:
                    - b
                c: []
        unix:
            query_response:
                - send: !!binary /wA=
                - send: "a\r\n"
        websocket:
            http_config:
                basic_auth: {{}}
                follow_redirects: true
                enable_http2: true
            headers:
                Origin:
                    values:
                        - x
            preferred_ip_protocol: ip4
            ip_protocol_fallback: true
    web:
        prober: http
        timeout: 1m30s
        http:
            ip_protocol_fallback: true
            headers:
                Host: 'no'
            fail_if_body_json_matches_cel: body.ok
            fail_if_header_matches:
                - header: A
                  regexp: '^b: ''c''$'
            body_size_limit: 1MiB512KiB
            authorization:
                type: Bearer
                credentials: <secret>
            tls_config:
                cert: c
                key: <secret>
                insecure_skip_verify: false
                min_version: TLS12
            follow_redirects: false
            enable_http2: true
            http_headers:
                X-A:
                    values:
                        - v
                    secrets:
                        - <secret>
            proxy_url: 'http://user:xxxxx@p:1/'
            proxy_connect_header:
                X:
                    - <secret>
{defaults}    z: {{}}
"#
    );
    let file = lenient(text).unwrap();
    assert_eq!(file.to_yaml(), want);
    assert!(!format!("{file:?}").contains("topsecret"));

    let alone = "prober: icmp
http:
  ip_protocol_fallback: true
  follow_redirects: true
  enable_http2: true
tcp:
  ip_protocol_fallback: true
icmp:
  ip_protocol_fallback: true
  ttl: 9
dns:
  ip_protocol_fallback: true
  recursion_desired: true
";
    assert_eq!(module("{prober: icmp, icmp: {ttl: 9}}").to_yaml(), alone);
}

#[test]
fn a_websocket_section_prints_only_if_it_was_written_and_loads_as_it_was() {
    let cases = [
        ("{prober: websocket}", false),
        ("{prober: websocket, websocket: ~}", false),
        ("{prober: icmp, websocket: {}}", true),
        ("{prober: websocket, websocket: {preferred_ip_protocol: ip4, headers: {Origin: x}}}", true),
    ];
    for (yaml, printed) in cases {
        // The defaults of dns, which print too, lack the name that a written section needs.
        let yaml = yaml.replacen('{', "{dns: {query_name: a}, ", 1);
        let file = lenient(&format!("modules: {{m: {yaml}}}")).unwrap();
        let text = file.to_yaml();
        assert_eq!(text.contains("websocket:\n"), printed, "{yaml}: {text}");
        assert_eq!(
            lenient(&text).unwrap().modules["m"].websocket,
            file.modules["m"].websocket,
            "{yaml}: {text}"
        );
    }
}

/// Pieces of which random files are put together; plain random text rarely gets past the parser.
fn file_piece() -> impl Strategy<Value = String> {
    let pieces = [
        "modules:",
        "m:",
        "prober:",
        "http",
        "tcp",
        "dns",
        "grpc",
        "websocket",
        "http:",
        "tcp:",
        "tls_config:",
        "query_response:",
        "expect:",
        "labels:",
        "headers:",
        "oauth2:",
        "claims:",
        "timeout:",
        "proxy_url:",
        "method:",
        "body_size_limit:",
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        " ",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "'",
        "\"",
        "&a ",
        "*a",
        "<<: ",
        "!!binary ",
        "!!int ",
        "~",
        "5s",
        "-1",
        "1e400",
        "0x",
        "|",
        ">-",
        "#",
        "---",
        "\t",
        "é",
        "\u{feff}",
    ];
    proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_loading_panic(
        text in any::<String>(),
        pieces in prop::collection::vec(file_piece(), 0..40),
    ) {
        for text in [text, pieces.concat()] {
            let _ = differences(&text);
            match lenient(&text) {
                Ok(file) => prop_assert!(parse(&file.to_yaml()).is_ok()),
                Err(problems) => prop_assert!(!problems.errors.is_empty()),
            }
        }
    }

    #[test]
    fn no_damage_to_a_file_makes_loading_panic(
        file in prop::sample::select(fixtures("good")),
        at in any::<prop::sample::Index>(),
        piece in file_piece(),
    ) {
        let (_, mut text) = file;
        let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        text.insert_str(*at.get(&boundaries), &piece);
        let _ = lenient(&text);
    }
}
