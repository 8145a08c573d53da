//! The shipped alerting rules and the example configuration of Alertmanager, end to end: targets break, a certificate
//! ends, an exporter dies, and the right messages arrive at mail, chat and SMS, once, and end.
//!
//! The rules say minutes. Here a minute lasts a second: every duration of the shipped files is divided by sixty when
//! they are copied, and nothing else of the rules is changed.

use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use regex::{Captures, Regex};
use serde_json::Value;

use crate::support::certificates::{Authority, Pair};
use crate::support::heartbeats::Sender;
use crate::support::prometheus::{Prometheus, parts, series};
use crate::support::{EXPORTER, Exporter, Program, eventually, file, free_port, get, try_get};

#[test]
#[ignore = "needs tests/install-real-parts.sh and root"]
fn the_right_alerts_arrive_once_and_end_with_prometheus_3() {
    the_right_alerts_arrive_once_and_end("prometheus3");
}

#[test]
#[ignore = "needs tests/install-real-parts.sh and root"]
fn the_right_alerts_arrive_once_and_end_with_prometheus_2() {
    the_right_alerts_arrive_once_and_end("prometheus2");
}

fn the_right_alerts_arrive_once_and_end(version: &str) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let now = SystemTime::now();
    let expired = authority.issue_for("expired", &["127.0.0.1"], now - 89 * DAY..now - DAY);
    let ending = authority.issue_for("ending", &["127.0.0.1"], now - 85 * DAY..now + 5 * DAY);
    let renewed = authority.issue_for("renewed", &["127.0.0.1"], now - DAY..now + 89 * DAY);
    let [expired_port, ending_port] = [free_port(), free_port()];
    let _expired_server = tls_server(&expired, expired_port);
    let ending_server = tls_server(&ending, ending_port);
    let steady = Site::start();
    let fragile = Site::start();
    let heartbeats = HEARTBEATS.replace("@STORE@", &dir.path().display().to_string());
    let modules = format!(
        "{heartbeats}modules:\n  http: {{prober: http, http: {{preferred_ip_protocol: ip4}}}}\n  \
         tls: {{prober: tcp, tcp: {{tls: true, tls_config: {{ca_file: {}}}}}}}\n",
        authority.file().display()
    );
    let [berlin, tokyo] =
        ["berlin", "tokyo"].map(|name| exporter(dir.path(), name, &modules.replace("@NAME@", name)));
    let sender = Sender::start(berlin.address(), &["backup"]);
    let job = Sender::start(berlin.address(), &["batch/job"]);
    let sink = Sink::start();
    let alertmanager = Alertmanager::start(version, dir.path(), sink.address, berlin.address());

    copy_faster(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("alerting-rules").as_path(),
        &dir.path().join("rules"),
    );
    let fragile_url = format!("http://{}/", fragile.address);
    let steady_url = format!("http://{}/", steady.address);
    let [expired_target, ending_target] = [expired_port, ending_port].map(|port| format!("127.0.0.1:{port}"));
    let config = include_str!("alerts.yml")
        .replace("@RULES@", &dir.path().join("rules").display().to_string())
        .replace("@ALERTMANAGER@", &alertmanager.address)
        .replace("@BERLIN@", &berlin.address().to_string())
        .replace("@TOKYO@", &tokyo.address().to_string())
        .replace("@STEADY@", &steady_url)
        .replace("@FRAGILE@", &fragile_url)
        .replace("@EXPIRED@", &expired_target)
        .replace("@ENDING@", &ending_target);
    // What the rules mean by five minutes and by one.
    let arguments = ["--query.lookback-delta=5s", "--rules.alert.resend-delay=1s"];
    let prometheus = Prometheus::start_with(version, &config, &arguments);

    // Critical ones arrive by SMS, with the labels of the target and of the rule.
    let alert = sink.firing("/alert", "CertificateExpired", &expired_target);
    let labels =
        [("job", "certificate"), ("vantage", "berlin"), ("severity", "critical"), ("about", "certificate")];
    for (label, value) in labels {
        assert_eq!(alert["labels"][label], value, "{alert}");
    }
    let description = alert["annotations"]["description"].as_str().unwrap();
    assert!(description.starts_with("Time since: 1d 0h 0m"), "{alert}");
    // The probe insists on a valid certificate, so it fails, and says why.
    let alert = sink.firing("/alert", "ProbeFailing", &expired_target);
    assert_eq!(alert["annotations"]["description"], "In phase tls: expired.", "{alert}");
    sink.firing("/alert", "CertificateExpiresVerySoon", &ending_target);
    // By mail, too.
    alertmanager.mail_with("[FIRING:1] CertificateExpired");
    alertmanager.mail_with("[FIRING:1] CertificateExpiresVerySoon");

    // The one that is always there comes to a heartbeat.
    eventually("Alertmanager sends a heartbeat", || {
        let query = "max by (heartbeat) (heartbeat_up{heartbeat=\"watchdog\"})";
        let want = series(["heartbeat"], &[(["watchdog"], 1.0)]);
        prometheus.query(query, ["heartbeat"], &want)
    });

    // A heartbeat goes silent, and returns.
    sender.set_silent(true);
    let alert = sink.alert("/alert", |alert| alert["labels"]["alertname"] == "HeartbeatMissed");
    for (label, value) in [("namespace", "default"), ("heartbeat", "backup"), ("about", "heartbeat")] {
        assert_eq!(alert["labels"][label], value, "{alert}");
    }
    sender.set_silent(false);
    alertmanager.mail_with("[RESOLVED] HeartbeatMissed default");

    // Another one is late, then missed. The missed one fires a while longer than it lasts, and while it does, the same
    // heartbeat is late again, which nobody is told.
    job.set_silent(true);
    sink.alert("/chat", |alert| is_about_job(alert, "HeartbeatLate") && alert["status"] == "firing");
    sink.alert("/alert", |alert| is_about_job(alert, "HeartbeatMissed"));
    let times_late = || {
        let seen = sink.seen();
        let late = |(path, alert): &&(String, Value)| {
            path == "/chat" && is_about_job(alert, "HeartbeatLate") && alert["status"] == "firing"
        };
        seen.iter().filter(late).count()
    };
    let told = times_late();
    let mut signalled = None::<Instant>;
    eventually("the late one is held back while the missed one fires", || {
        // After the deadline, and so soon that it is missed once more before that alert ends.
        if signalled.is_none_or(|at| at.elapsed() > Duration::from_secs(5)) {
            get(berlin.address(), "/heartbeat/batch/job", "");
            signalled = Some(Instant::now());
        }
        let alerts = alertmanager.alerts()?;
        let find = |name| alerts.iter().find(|alert| is_about_job(alert, name));
        let (Some(late), Some(missed)) = (find("HeartbeatLate"), find("HeartbeatMissed")) else {
            return Err(format!("{alerts:#?}"));
        };
        let [late, by] = [&late["status"]["state"], &late["status"]["inhibitedBy"][0]];
        let is_held_back = late == "suppressed" && *by == missed["fingerprint"];
        if is_held_back && missed["status"]["state"] == "active" {
            Ok(())
        } else {
            Err(format!("{alerts:#?}"))
        }
    });
    job.set_silent(false);
    alertmanager.mail_with("[RESOLVED] HeartbeatMissed batch");
    eventually("nothing about that heartbeat is left", || {
        let mut alerts = alertmanager.alerts()?;
        alerts.retain(|alert| alert["labels"]["heartbeat"] == "job");
        if alerts.is_empty() { Ok(()) } else { Err(format!("{alerts:#?}")) }
    });
    assert_eq!(times_late(), told);

    // A site breaks that one place probes, and the exporter of the other place dies.
    drop(tokyo);
    fragile.works.store(false, Ordering::Relaxed);
    let alert = sink.firing("/alert", "ProbeFailing", &fragile_url);
    assert_eq!(alert["annotations"]["description"], "In phase check: status.", "{alert}");
    assert_eq!(alert["labels"]["vantage"], "berlin", "{alert}");
    let alert = sink.alert("/alert", |alert| alert["labels"]["alertname"] == "ExporterDown");
    assert_eq!(alert["labels"]["vantage"], "tokyo", "{alert}");
    // The targets of that place have no data, and that is held back.
    eventually("Prometheus knows that the targets of that exporter have no data", || {
        let alerts = prometheus.api("/api/v1/alerts")?;
        let mut firing = alerts["alerts"].as_array().ok_or("no alerts")?.iter();
        let found = firing.any(|alert| {
            alert["labels"]["alertname"] == "ProbeScrapeFailing"
                && alert["labels"]["vantage"] == "tokyo"
                && alert["state"] == "firing"
        });
        if found { Ok(()) } else { Err(alerts.to_string()) }
    });

    // All is well again, but for the exporter: what is over is told by mail, and by SMS never.
    fragile.works.store(true, Ordering::Relaxed);
    drop(ending_server);
    let _renewed_server = tls_server(&renewed, ending_port);
    alertmanager.mail_with("[RESOLVED] ProbeFailing site berlin");
    alertmanager.mail_with("[RESOLVED] CertificateExpiresVerySoon");

    // More than CertificateExpiresSoon waits: the second stage has inhibited it all the time.
    let since = alertmanager.started.elapsed();
    assert!(since > Duration::from_secs(10), "the alerts came after {since:?}, before their time");
    let seen = sink.seen();
    for (alertname, label, value) in [
        ("CertificateExpired", "instance", expired_target.as_str()),
        ("CertificateExpiresVerySoon", "instance", &ending_target),
        ("ProbeFailing", "instance", &expired_target),
        ("ProbeFailing", "instance", &fragile_url),
        ("ExporterDown", "vantage", "tokyo"),
        ("HeartbeatMissed", "heartbeat", "backup"),
        ("HeartbeatMissed", "heartbeat", "job"),
    ] {
        let times = seen
            .iter()
            .filter(|(path, alert)| {
                path == "/alert"
                    && alert["labels"]["alertname"] == alertname
                    && alert["labels"][label] == value
            })
            .count();
        assert_eq!(times, 1, "{alertname} {value} in {seen:#?}");
    }
    for (path, alert) in &seen {
        let labels = &alert["labels"];
        assert!(alert["status"] == "firing" || path != "/alert", "{alert}");
        assert_ne!(labels["instance"], steady_url.as_str(), "{alert}");
        assert_ne!(labels["alertname"], "CertificateExpiresSoon", "{alert}");
        let runbook = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(runbook.ends_with(&format!("/{}.md", labels["alertname"].as_str().unwrap())), "{alert}");
    }
    let mails = alertmanager.mails();
    for subject in ["CertificateExpiresSoon", "ProbeScrapeFailing", "ErrorBudget"] {
        assert!(!mails.iter().any(|mail| mail.contains(subject)), "{mails:#?}");
    }
}

/// Divides every duration by sixty: `5m` becomes `5s`.
fn faster(text: &str) -> String {
    let duration = Regex::new(r"\b(\d+)(s|m|h|d)\b").unwrap();
    let shorter = |found: &Captures<'_>| match &found[2] {
        "d" => format!("{}h", 24 * found[1].parse::<u32>().unwrap() / 60 + 1),
        "h" => format!("{}m", &found[1]),
        "m" => format!("{}s", &found[1]),
        _ => format!("{}ms", found[1].parse::<u32>().unwrap() * 1000 / 60),
    };
    duration.replace_all(text, shorter).into_owned()
}

/// Copies the rules with shorter durations.
fn copy_faster(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let rules = fs::read_to_string(&path).unwrap();
            fs::write(to.join(path.file_name().unwrap()), faster(&rules)).unwrap();
        }
    }
}

/// Whether an alert is this one about the heartbeat `batch/job`.
fn is_about_job(alert: &Value, alertname: &str) -> bool {
    let labels = &alert["labels"];
    labels["alertname"] == alertname && labels["namespace"] == "batch" && labels["heartbeat"] == "job"
}

/// Heartbeats of which each exporter has its own store.
const HEARTBEATS: &str = "\
heartbeats:
  store: {path: @STORE@/@NAME@.redb}
  services:
    backup: {every: 1s, grace: 1s}
    job: {every: 3s, grace: 1500ms, namespace: batch}
    watchdog: {every: 1h}
";

fn exporter(dir: &Path, name: &str, modules: &str) -> Exporter {
    let path = dir.join(format!("{name}.yml"));
    fs::write(&path, modules).unwrap();
    // Scrapes end after half a second here; the usual offset is as long.
    Exporter::start(Command::new(EXPORTER).arg("--timeout-offset=0.05").arg("--config.file").arg(path))
}

/// A server that shakes hands and says nothing.
fn tls_server(pair: &Pair, port: u16) -> Program {
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
    command.arg("-cert").arg(&pair.certificate).arg("-key").arg(&pair.key);
    Program::start(&mut command).accepts(port)
}

/// A web site that can be broken.
struct Site {
    address: SocketAddr,
    works: Arc<AtomicBool>,
}

impl Site {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let site = Self { address: listener.local_addr().unwrap(), works: Arc::new(AtomicBool::new(true)) };
        let works = Arc::clone(&site.works);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let status = if works.load(Ordering::Relaxed) { "200 OK" } else { "503 Busy" };
                // A probe that gave up meanwhile is not this server's trouble.
                let _ = read_head(&mut BufReader::new(&stream));
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        site
    }
}

/// Reads a request up to its body; returns its first line and the length of the body.
fn read_head(reader: &mut impl std::io::BufRead) -> std::io::Result<(String, usize)> {
    let mut first = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            return Ok((first, length));
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if first.is_empty() {
            first = line;
        }
    }
}

/// Takes what Alertmanager sends to its webhooks.
struct Sink {
    address: SocketAddr,
    alerts: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sink = Self { address: listener.local_addr().unwrap(), alerts: Arc::default() };
        let alerts = Arc::clone(&sink.alerts);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(&stream);
                let (first, length) = read_head(&mut reader).unwrap();
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let path = first.split(' ').nth(1).unwrap().to_owned();
                let message: Value = serde_json::from_slice(&body).unwrap();
                let mut kept = alerts.lock().unwrap();
                for alert in message["alerts"].as_array().unwrap() {
                    kept.push((path.clone(), alert.clone()));
                }
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            }
        });
        sink
    }

    /// All alerts so far, each with the path it came to.
    fn seen(&self) -> Vec<(String, Value)> {
        self.alerts.lock().unwrap().clone()
    }

    /// Waits for an alert.
    fn alert(&self, path: &str, matches: impl Fn(&Value) -> bool) -> Value {
        eventually("an alert arrives", || {
            let seen = self.seen();
            let found = seen.iter().find(|(to, alert)| to == path && matches(alert));
            found.map(|(_, alert)| alert.clone()).ok_or(seen)
        })
    }

    /// Waits for an alert about a target that begins.
    fn firing(&self, path: &str, alertname: &str, instance: &str) -> Value {
        self.alert(path, |alert| {
            alert["status"] == "firing"
                && alert["labels"]["alertname"] == alertname
                && alert["labels"]["instance"] == instance
        })
    }
}

/// A running Alertmanager with the example configuration, and the mail server it uses.
struct Alertmanager {
    _program: Program,
    mail: Program,
    address: String,
    started: Instant,
}

impl Alertmanager {
    /// Only addresses of the example are replaced, TLS to the mail server is turned off, and durations are divided.
    fn start(version: &str, dir: &Path, sink: SocketAddr, watcher: SocketAddr) -> Self {
        let mail = Program::start(Command::new("/usr/bin/python3").arg(file("mail_server.py")));
        let mail_port = mail.line_with("port ").replace("port ", "");
        let config = include_str!("../../alertmanager.example.yml")
            .replace("mail.example.com:587\"", &format!("127.0.0.1:{mail_port}\"\n  smtp_require_tls: false"))
            .replace("127.0.0.1:9098", &sink.to_string())
            .replace("127.0.0.1:9876", &sink.to_string())
            .replace("127.0.0.1:9115", &watcher.to_string());
        let path = dir.join("alertmanager.yml");
        fs::write(&path, faster(&config)).unwrap();
        let port = free_port();
        let parts = parts().join(version);
        // The path of its templates is built in. They are put there where nobody else sees it.
        let script = "mount -t tmpfs tmpfs /usr/share && mkdir /usr/share/prometheus \
                      && cp -R \"$0\" /usr/share/prometheus/alertmanager && exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script])
            .arg(parts.join("templates"))
            .arg(parts.join("prometheus-alertmanager"))
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.path={}", dir.join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .current_dir(dir);
        let program = Program::start(&mut command).accepts(port);
        Self { _program: program, mail, address: format!("127.0.0.1:{port}"), started: Instant::now() }
    }

    /// What it knows of, whether anybody is told or not.
    fn alerts(&self) -> Result<Vec<Value>, String> {
        let address = self.address.parse().unwrap();
        let answer = try_get(address, "/api/v2/alerts", "").map_err(|error| error.to_string())?;
        serde_json::from_str(&answer.body).map_err(|_| answer.body)
    }

    /// Subjects of the mails so far.
    fn mails(&self) -> Vec<String> {
        self.mail.lines()
    }

    /// Waits for a mail.
    fn mail_with(&self, subject: &str) {
        self.mail.line_with(&format!("mail to operators@example.com subject {subject}"));
    }
}

const DAY: Duration = Duration::from_secs(86400);
