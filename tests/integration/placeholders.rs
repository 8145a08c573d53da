//! `${env:NAME}` and `${file:path}`: values reach the peer, nobody else sees them, and files are read again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use crate::support::exporter::{Dir, Exporter, command};
use crate::support::same_answer;

/// What the variable SECRET and the file `secret` hold, with everything that is written in another way somewhere.
const FROM_ENV: &str = "hunter2 $1 \"é\"\\";
const FROM_FILE: &str = "hunter2-file$$";

const CONFIG: &str = r#"
modules:
  http:
    prober: http
    http:
      preferred_ip_protocol: ${env:FAMILY}
      method: POST
      headers: {X-A: "a ${env:SECRET} b", Host: "${env:HOST}"}
      body: "[${env:SECRET}|${file:secret}]"
      fail_if_body_not_matches_regexp: ["${file:secret}"]
  header: {prober: http, http: {fail_if_header_not_matches: [{header: X-A, regexp: "${file:secret}"}]}}
  redirect: {prober: http, http: {method: "${env:SECRET}"}}
  tcp:
    prober: tcp
    tcp:
      query_response:
        - {expect: "^(.*)$", send: "PASS $1 ${env:SECRET} ${file:secret}", labels: [{name: region, value: "${env:REGION}"}]}
        - {expect: "${file:secret}"}
  bytes:
    prober: tcp
    tcp:
      query_response: [{expect: "^", send: "${env:SECRET}"}, {expect_bytes: "${env:SECRET}"}]
  source: {prober: tcp, tcp: {source_ip_address: "${env:SECRET}"}}
  files: {prober: http, http: {body_file: "${env:SECRET}/no", tls_config: {ca_file: "${file:secret}"}}}
  dns:
    prober: dns
    dns: {query_name: "${env:HOST}", transport_protocol: tcp, validate_answer_rrs: {fail_if_matches_regexp: ["${file:secret}"]}}
  websocket: {prober: websocket, websocket: {headers: {X-A: "${env:SECRET}"}, query_response: [{send: "${file:secret}"}]}}
heartbeats:
  services:
    job: {every: 1h, token: "${env:HOST}", labels: {region: "${env:REGION}"}}
"#;

/// Greets, answers each line with `answer` and closes; keeps what it was sent.
fn server(answer: &'static str) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::<Mutex<String>>::default();
    let log = Arc::clone(&heard);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"hello\n");
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            log.lock().unwrap().push_str(&line);
            // What a peer repeats is not to be seen either.
            let _ = stream.write_all(format!("{line}{answer}").as_bytes());
        }
    });
    (address, heard)
}

#[test]
fn values_reach_their_peer_and_nobody_else() {
    let dir = Dir::new();
    dir.write("c.yml", CONFIG);
    dir.write("secret", &format!("{FROM_FILE}\n"));
    let args = ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0", "--log.level=debug"];
    let more = ["--log.prober=debug", "--log.probe-outcomes=all"];
    let mut command = command(&dir, &[&args[..], &more].concat());
    command.envs([("SECRET", FROM_ENV), ("HOST", "hunter2.test"), ("REGION", "north"), ("FAMILY", "ip4")]);
    let exporter = Exporter::start_listening(dir, &mut command);
    let (lines, heard) = server("bye\n");
    // What a redirect repeats is not to be seen either.
    let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n";
    let (http, http_heard) = same_answer::start(format!("{head}Location: /?q={FROM_FILE}\r\n\r\n"));
    let modules = ["http", "header", "redirect", "tcp", "bytes", "source", "files", "dns", "websocket"];
    for module in modules {
        let target = match module {
            "tcp" | "bytes" | "source" | "dns" => lines.to_string(),
            "websocket" => format!("ws://{http}/"),
            _ => format!("http://{http}/"),
        };
        let path = format!("probe?module={module}&target={target}");
        for path in [format!("/{path}"), format!("/{path}&debug=true"), format!("/api/v1/{path}")] {
            let reply = exporter.request("GET", &path, &[("X-Prometheus-Scrape-Timeout-Seconds", "3")]);
            assert_eq!(reply.status, 200, "{path}");
            assert!(!reply.text().contains("hunter2"), "{path}: {}", reply.text());
        }
    }
    let heard = heard.lock().unwrap().clone();
    // A value is no template, even where it stands in one.
    assert!(heard.contains(&format!("PASS hello {FROM_ENV} {FROM_FILE}\n")), "{heard}");
    let http_heard = http_heard.lock().unwrap().clone();
    for sent in
        ["Host: hunter2.test\r\n", &format!("a {FROM_ENV} b\r\n"), &format!("[{FROM_ENV}|{FROM_FILE}]")]
    {
        let sent = sent.to_ascii_lowercase();
        assert!(http_heard.to_ascii_lowercase().contains(&sent), "{sent}: {http_heard}");
    }
    // The place for what is meant to be seen.
    let tcp = exporter.get(&format!("/probe?module=tcp&target={lines}")).text();
    assert!(tcp.contains("probe_expect_info{region=\"north\"} 1\n"), "{tcp}");
    let metrics = exporter.get("/metrics").text();
    assert!(
        metrics.contains("heartbeat=\"job\",kind=\"every\",namespace=\"default\",region=\"north\""),
        "{metrics}"
    );

    let debug = exporter.get(&format!("/probe?module=tcp&debug=true&target={lines}")).text();
    for shown in [
        "line=\"PASS hello ${env:SECRET} ${file:secret}\"",
        "does not match \\\"${file:secret}\\\"",
        "send: 'PASS $1 ${env:SECRET} ${file:secret}'\n",
    ] {
        assert!(debug.contains(shown), "{shown}: {debug}");
    }
    let pages = ["/configuration", "/configuration?module=tcp", "/heartbeats", "/heartbeats?name=job"];
    let pages = pages.into_iter().chain(["/probes/0", "/probes/1"]);
    let answers = ["/", "/config", "/metrics", "/api/v1/history", "/logs?id=1"];
    for path in answers.into_iter().chain(pages) {
        let reply = exporter.get(path);
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.text().contains("hunter2"), "{path}: {}", reply.text());
    }
    let conflict = exporter.get("/probe?module=http&hostname=other&target=x");
    assert_eq!(conflict.status, 400);
    assert!(conflict.text().contains("${env:HOST}"), "{}", conflict.text());
    let config = exporter.get("/config").text();
    for (written, count) in [("${env:SECRET}", 9), ("${file:secret}", 8), ("${env:FAMILY}", 1)] {
        assert_eq!(config.matches(written).count(), count, "{written}: {config}");
    }
    let log = exporter.log();
    assert!(log.iter().all(|line| !line.contains("hunter2")), "{log:#?}");
}

#[test]
fn a_placeholder_without_a_value_stops_the_start() {
    let dir = Dir::new();
    dir.write("c.yml", "modules:\n  a:\n    prober: ${env:NO_SUCH}\n    timeout: ${file:no/such}\n");
    for check in [&["--config.file=c.yml"][..], &["--config.file=c.yml", "--config.check"]] {
        let output = command(&dir, check).stdin(Stdio::null()).env_remove("NO_SUCH").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let log = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = log.lines().filter(|line| line.starts_with("c.yml")).collect();
        let want = [
            "c.yml:3:13: ${env:NO_SUCH} has no value: the environment has no such variable",
            "c.yml:4:14: ${file:no/such} has no value: No such file or directory (os error 2)",
        ];
        assert_eq!(lines, want, "{log}");
    }
}

const RELOADED: &str = "blackbox_exporter_config_last_reload_successful";

#[test]
fn files_are_read_again_when_they_change() {
    let send = |file: &str| {
        // The server repeats the line once it has noted it.
        let steps = format!("[{{send: \"{file}\"}}, {{expect: \"^[12] \"}}]");
        format!("modules:\n  a: {{prober: tcp, tcp: {{query_response: {steps}}}}}\n")
    };
    // With and without a look at the file itself.
    for (flag, text_counts) in
        [("--no-config.enable-auto-reload", false), ("--config.enable-auto-reload", true)]
    {
        let dir = Dir::new();
        dir.write("c.yml", &send("1 ${file:value}"));
        dir.write("value", "first\n");
        let args =
            ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0", "--config.auto-reload-interval=1"];
        let exporter = Exporter::start_in(dir, &[&args[..], &[flag]].concat());
        let (peer, heard) = server("");
        let probe = || {
            assert_eq!(exporter.get(&format!("/probe?module=a&target={peer}")).status, 200);
            std::mem::take(&mut *heard.lock().unwrap())
        };
        assert_eq!(probe(), "1 first\n");

        exporter.dir.write("value", "second\n");
        let line = exporter.wait_for_log("Reloaded config file");
        assert_eq!(line.contains("values of its placeholders"), !text_counts, "{line}");
        assert_eq!(probe(), "1 second\n");

        // A file that cannot be read leaves everything as it is.
        std::fs::remove_file(exporter.dir.path().join("value")).unwrap();
        let line = exporter.wait_for_log("Error reloading config");
        assert!(line.contains("${file:value} has no value"), "{line}");
        assert!(!line.contains("second"), "{line}");
        exporter.wait_for_metric(RELOADED, 0.0);
        assert_eq!(probe(), "1 second\n");
        exporter.dir.write("value", "second\n");
        exporter.wait_for_metric(RELOADED, 1.0);

        // The text itself waits for a reload, unless there are automatic ones.
        exporter.dir.write("c.yml", &send("2 ${file:value}"));
        if !text_counts {
            exporter.dir.write("value", "third\n");
            let seen = || exporter.log().iter().filter(|line| line.contains("Reloaded config file")).count();
            let begin = std::time::Instant::now();
            while seen() < 2 {
                assert!(begin.elapsed().as_secs() < 20, "{:#?}", exporter.log());
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            assert_eq!(probe(), "1 third\n");
            assert_eq!(exporter.request("POST", "/-/reload", &[]).status, 200);
            assert_eq!(probe(), "2 third\n");
            // A reload reads the files although the text is the same.
            exporter.dir.write("value", "fourth\n");
            assert_eq!(exporter.request("POST", "/-/reload", &[]).status, 200);
            assert_eq!(probe(), "2 fourth\n");
        }
    }
}
