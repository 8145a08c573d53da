//! A real Prometheus scrapes one target of each prober and the exporter itself.

use std::process::Command;

use crate::dns::Unbound;
use crate::nginx::Nginx;
use crate::support::prometheus::{Prometheus, series};
use crate::support::{EXPORTER, Exporter, eventually, file, free_port, get};

#[test]
#[ignore = "needs tests/install-real-parts.sh and root"]
fn prometheus_3_scrapes_every_prober() {
    scrapes_every_prober("prometheus3");
}

#[test]
#[ignore = "needs tests/install-real-parts.sh and root"]
fn prometheus_2_scrapes_every_prober() {
    scrapes_every_prober("prometheus2");
}

fn scrapes_every_prober(version: &str) {
    let nginx = Nginx::start();
    let unbound = Unbound::start();
    let exporter = Exporter::start(Command::new(EXPORTER).arg("--config.file").arg(file("blackbox.yml")));
    let http = format!("127.0.0.1:{}", nginx.plain);
    let tcp = format!("127.0.0.1:{}", nginx.tls);
    let dns = format!("127.0.0.1:{}", unbound.plain);
    let closed = format!("127.0.0.1:{}", free_port());
    let config = include_str!("prometheus.yml")
        .replace("@EXPORTER@", &exporter.address().to_string())
        .replace("@HTTP@", &http)
        .replace("@TCP@", &tcp)
        .replace("@DNS@", &dns)
        .replace("@CLOSED@", &closed);
    let prometheus = Prometheus::start(version, &config);

    let jobs = [
        (["http", &http], 1.0),
        (["tcp", &tcp], 1.0),
        (["dns", &dns], 1.0),
        (["icmp", "127.0.0.1"], 1.0),
        (["http", &closed], 0.0),
        (["tcp", &closed], 0.0),
    ];
    let want = series(["job", "instance"], &jobs);
    eventually("all probes have their result", || {
        prometheus.query("probe_success", ["job", "instance"], &want)
    });

    // A failed probe is a successful scrape.
    let own = exporter.address().to_string();
    let mut up: Vec<_> = jobs.iter().map(|(labels, _)| (*labels, 1.0)).collect();
    up.push((["exporter", &own], 1.0));
    let want = series(["job", "instance"], &up);
    eventually("all scrapes work", || prometheus.query("up", ["job", "instance"], &want));

    // Why it failed, and only where it did.
    let labels = ["job", "instance", "phase", "reason"];
    let want = series(
        labels,
        &[(["http", &closed, "connect", "refused"], 1.0), (["tcp", &closed, "connect", "refused"], 1.0)],
    );
    eventually("failures have their reason", || prometheus.query("probe_failure_info", labels, &want));

    // Both take OpenMetrics when it is offered: there the family of a counter has no `_total`, and that
    // is how Prometheus files its type and help.
    for (family, kind) in [("heartbeat_exporter_probes", "counter"), ("probe_success", "gauge")] {
        eventually(&format!("the type of {family} is known"), || prometheus.has_type(family, kind));
    }
    let want = series(["result"], &[(["success"], 1.0), (["failure"], 1.0)]);
    eventually("the exporter counts its probes", || {
        prometheus.query("heartbeat_exporter_probes_total{module=\"http_2xx\"} > bool 0", ["result"], &want)
    });
    for query in ["blackbox_exporter_config_last_reload_successful", "blackbox_exporter_build_info"] {
        eventually(query, || prometheus.query(query, ["job"], &series(["job"], &[(["exporter"], 1.0)])));
    }

    // Complaints about what was scraped: parse errors, append failures, duplicates, blank types.
    let complaints: Vec<_> = prometheus.log().into_iter().filter(|line| is_complaint(line)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    // The exporter has none either, except about the target that is closed.
    let log = exporter.log();
    let complaints: Vec<_> =
        log.iter().filter(|line| !line.contains("level=INFO") && !line.contains(&closed)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// A line of Prometheus that tells of trouble with a scrape or anything else.
fn is_complaint(line: &str) -> bool {
    let line = line.to_lowercase();
    let words =
        ["level=warn", "level=error", "append failed", "failed to", "error on ingesting", "scrape failed"];
    words.iter().any(|word| line.contains(word))
}

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn each_version_gets_the_format_it_prefers() {
    let exporter = Exporter::start(Command::new(EXPORTER).arg("--config.file").arg(file("blackbox.yml")));
    // As each version sends them.
    let cases = [
        (
            "2",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
            true,
        ),
        (
            "3",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            true,
        ),
        (
            "one without OpenMetrics",
            "text/plain;version=0.0.4",
            "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            false,
        ),
    ];
    for (version, accept, content_type, has_eof) in cases {
        for path in ["/metrics", "/probe?module=icmp&target=127.0.0.1"] {
            let answer = get(exporter.address(), path, &format!("Accept: {accept}\r\n"));
            assert_eq!(answer.header("Content-Type"), Some(content_type), "{version} {path}");
            assert_eq!(answer.body.ends_with("# EOF\n"), has_eof, "{version} {path}");
        }
    }
}
