//! The pages for people: what they show, and that nobody else's text becomes a part of them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::certificates::{Authority, Validity};
use crate::support::exporter::{Exporter, Reply};

const CONFIG: &str =
    "modules:\n  http_2xx: {prober: http, timeout: 9s}\n  tcp: {prober: tcp, timeout: 2s}\n  nul:\n";
const HTML: &str = "text/html; charset=utf-8";

/// A port on which nobody listens.
fn dead_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The body of a page with this status; all of them have the same headers.
fn page(exporter: &Exporter, path: &str, status: u16) -> String {
    let reply = exporter.get(path);
    assert_eq!((reply.status, reply.header("content-type")), (status, Some(HTML)), "{path}");
    let policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                  frame-ancestors 'self'";
    for (name, value) in [
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{path}");
    }
    let text = reply.text();
    assert!(text.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{path}: {text}");
    // The policy would block them.
    for forbidden in ["<script", "style=\"", " onclick", "javascript:"] {
        assert!(!text.contains(forbidden), "{path} has {forbidden}: {text}");
    }
    text
}

/// The probes that a page lists, in its order.
fn listed(page: &str) -> Vec<&str> {
    let cells =
        page.split("/a></td>").filter_map(|cell| Some(cell.rsplit_once("probes/")?.1.split_once('"')?.0));
    // The form leads to probes/run.
    cells.filter(|id| id.parse::<i64>().is_ok()).collect()
}

fn probe(exporter: &Exporter, module: &str, target: &str) {
    assert_eq!(exporter.get(&format!("/probe?module={module}&target={target}")).status, 200);
}

#[test]
fn the_start_page_lists_the_probes_that_the_filter_lets_through() {
    let exporter = Exporter::start(CONFIG, &[]);
    let empty = page(&exporter, "/", 200);
    assert!(empty.contains("No probes yet."), "{empty}");
    for option in ["<optgroup label=\"http\"><option value=\"http_2xx\" selected>", "<option value=\"tcp\">"]
    {
        assert!(empty.contains(option), "{option}: {empty}");
    }
    assert!(!empty.contains("value=\"nul\""), "a module without a prober can only be refused");

    let up = TcpListener::bind("127.0.0.1:0").unwrap();
    let up = up.local_addr().map(|address| (up, address.to_string())).unwrap();
    let down = dead_port().to_string();
    for (module, target) in [("tcp", &up.1), ("tcp", &down), ("http_2xx", &down), ("tcp", &up.1)] {
        probe(&exporter, module, target);
    }
    let upper = "127.0.0.1".to_uppercase();
    let cases = [
        (String::new(), vec!["3", "2", "1", "0"], "4 remembered probes, <b>2</b> failed"),
        ("?module=tcp".to_owned(), vec!["3", "1", "0"], "3 of 4 remembered probes, <b>1</b> failed"),
        ("?outcome=failure".to_owned(), vec!["2", "1"], "2 of 4 remembered"),
        ("?outcome=success&module=&target=".to_owned(), vec!["3", "0"], "none of them failed"),
        (format!("?target={down}&outcome=failure&module=http_2xx"), vec!["2"], "1 of 4 remembered probe,"),
        (format!("?target={upper}"), vec!["3", "2", "1", "0"], "4 of 4 remembered"),
        ("?target=nowhere".to_owned(), vec![], "0 of 4 remembered probes"),
        ("?outcome=odd".to_owned(), vec!["3", "2", "1", "0"], "4 remembered"),
    ];
    for (query, want, count) in cases {
        let page = page(&exporter, &format!("/{query}"), 200);
        assert_eq!(listed(&page), want, "{query}");
        assert!(page.contains(count), "{query}: {page}");
    }
    let all = page(&exporter, "/?module=gone", 200);
    assert!(all.contains("<option value=\"gone\" selected>"), "the filter in force is seen");
    let all = page(&exporter, "/", 200);
    assert_eq!(all.matches("<strong>Failure</strong>").count(), 2);
    let reason = "<span title=\"the peer refused the connection\">connect: refused</span>";
    assert_eq!(all.matches(reason).count(), 2, "{all}");
}

#[test]
fn the_page_of_a_probe_tells_what_happened() {
    let exporter = Exporter::start(CONFIG, &["--log.prober=debug"]);
    let up = TcpListener::bind("127.0.0.1:0").unwrap();
    let (up, down) = (up.local_addr().map(|address| (up, address)).unwrap(), dead_port());
    for target in [down, up.1, down] {
        probe(&exporter, "tcp", &target.to_string());
    }
    let failed = page(&exporter, "/probes/2", 200);
    let sections =
        ["Why it failed", "Timeline", "Log", "Metrics", "Module tcp", "Other probes of this target"];
    let places: Vec<_> = sections.iter().map(|title| failed.find(&format!(">{title}</h2>"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}: {failed}");
    for part in [
        &format!("<title>{down} with tcp – heartbeat_exporter</title>"),
        &format!("connect failed for {down}: Connection refused"),
        "<code>connect</code></dt><dd>the connection is opened</dd>",
        "<code>refused</code></dt><dd>the peer refused the connection</dd>",
        "<svg class=\"waterfall\" role=\"img\" aria-labelledby=\"timeline-title timeline-text\"",
        "<rect class=\"bar phase-resolve\"",
        "fill=\"url(#failed)\"",
        "Beginning probe",
        "probe_failure_info</span>{<span class=\"quiet\">phase=</span>&quot;connect&quot;, ",
        "prober: tcp\ntimeout: 2s\n",
        "href=\"../logs?id=2\"",
        "href=\"../api/v1/history?id=2\"",
        "<form action=\"../probes/run\" method=\"get\"><input type=\"hidden\" name=\"module\" value=\"tcp\">",
    ] {
        assert!(failed.contains(part), "{part}: {failed}");
    }
    assert_eq!(listed(&failed), ["0"], "neither itself nor another target");

    let good = page(&exporter, "/probes/1", 200);
    for absent in ["Why it failed", "Other probes", "Certificate", "url(#failed)"] {
        assert!(!good.contains(absent), "{absent}: {good}");
    }
}

#[test]
fn a_probe_can_be_run_from_the_page() {
    let exporter = Exporter::start(CONFIG, &[]);
    let target = dead_port();
    for id in ["0", "1"] {
        let reply = exporter.get(&format!("/probes/run?module=tcp&target={target}&hostname=a.test"));
        assert_eq!((reply.status, reply.header("location")), (303, Some(id)));
    }
    let shown = page(&exporter, "/probes/1", 200);
    assert!(shown.contains("<input type=\"hidden\" name=\"hostname\" value=\"a.test\">"), "{shown}");
    for (query, want) in [
        ("", "Target parameter is missing"),
        ("?module=%3Ci%3E&target=x", "Unknown module &quot;&lt;i&gt;&quot;"),
        ("?module=nul&target=x", "Unknown prober &quot;&quot;"),
    ] {
        let page = page(&exporter, &format!("/probes/run{query}"), 400);
        assert!(page.contains(&format!("<h1>No probe was run</h1><p>{want}</p>")), "{query}: {page}");
    }

    let forgetful = Exporter::start(CONFIG, &["--history.limit=0"]);
    let shown = page(&forgetful, &format!("/probes/run?module=tcp&target={target}"), 200);
    assert!(shown.contains("Why it failed"), "{shown}");
    page(&forgetful, "/probes/0", 404);
}

#[test]
fn what_is_not_there_is_not_found() {
    let exporter = Exporter::start(CONFIG, &[]);
    for path in ["/probes/0", "/probes/-1", "/probes/x", "/probes/", "/probes/99999999999999999999"] {
        assert!(page(&exporter, path, 404).contains("<h1>No such probe</h1>"), "{path}");
    }
    assert!(page(&exporter, "/configuration?module=no", 404).contains("no module &quot;no&quot;"));
    for path in ["/probes", "/probes/0/1", "/configuration/", "/style.css/", "/static/style.css"] {
        assert_eq!(exporter.get(path).parts().2, "404 page not found\n", "{path}");
    }
}

#[test]
fn the_pages_bring_their_parts_and_work_below_a_path() {
    let exporter = Exporter::start(CONFIG, &["--web.external-url=https://ex.test/bb/"]);
    assert_eq!(exporter.get("/bb/probe?module=tcp&target=x").status, 200);
    for (path, kind) in [("style.css", "text/css; charset=utf-8"), ("icon.svg", "image/svg+xml")] {
        let reply = exporter.get(&format!("/bb/{path}"));
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
    // Every link stays within the prefix, as a browser resolves it.
    for (path, depth) in
        [("/bb/", 0), ("/bb/configuration", 0), ("/bb/configuration?module=tcp", 0), ("/bb/probes/0", 1)]
    {
        let reply = exporter.get(path);
        let text = if path.ends_with("/0") { reply.text() } else { page(&exporter, path, 200) };
        for attribute in ["href=\"", "action=\""] {
            for link in text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
                let up = link.matches("../").count();
                let is_relative = !link.starts_with('/') && !link.split('?').next().unwrap().contains(':');
                assert!(is_relative && (up == depth || link.starts_with('#')), "{path}: {link}");
            }
        }
    }
}

#[test]
fn the_configuration_is_explained() {
    let config = "modules:\n  good: {prober: tcp, timeout: 2s, icmp: {ttl: 3}}\n  \
                  bad: {prober: http, http: {enable_http3: true, enable_http2: false, proxy_url: http://127.0.0.1:1}}\n  \
                  secret: {prober: http, http: {basic_auth: {username: u, password: hunter2}}}\n";
    let exporter = Exporter::start(config, &[]);
    probe(&exporter, "good", &dead_port().to_string());
    let shown = page(&exporter, "/configuration", 200);
    for part in [
        "<dt>Last load</dt><dd>Succeeded</dd>",
        "<dt>Warnings</dt><dd>3</dd>",
        "<dt>Read from</dt><dd>c.yml</dd>",
        "c.yml:2:",
        "<p class=\"count\">3 modules.</p>",
        "<a href=\"configuration?module=good\">good</a></th><td role=\"cell\" class=\"prober\">tcp</td>\
         <td role=\"cell\" class=\"less\">2s</td><td role=\"cell\" class=\"less number\">1</td>\
         <td role=\"cell\" class=\"less number\">1</td><td role=\"cell\" class=\"state\">\
         <span class=\"good\">Ready</span></td>",
        "<strong>Cannot work</strong>: modules.bad.http.enable_http3 cannot be used with a proxy</td>",
        "<span class=\"quiet\">the scrape's</span>",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let found = page(&exporter, "/configuration?search=OO", 200);
    assert!(found.contains("1 of 3 module.") && !found.contains("module=bad"), "{found}");

    let module = page(&exporter, "/configuration?module=secret", 200);
    assert!(module.contains("password: &lt;secret&gt;\n") && !module.contains("hunter2"), "{module}");
    let module = page(&exporter, "/configuration?module=bad", 200);
    assert!(
        module.contains("Why it cannot work") && module.contains("cannot be used with a proxy</p>"),
        "{module}"
    );

    exporter.dir.write("c.yml", "modules:\n  good: {prober: tcp, nonsense: 1}\n");
    assert_eq!(exporter.request("POST", "/-/reload", &[]).status, 500);
    let shown = page(&exporter, "/configuration", 200);
    for part in [
        "<dt>Last load</dt><dd>Failed</dd>",
        "In force as of",
        "Why the last reload failed",
        "c.yml:2:",
        "3 modules.",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

/// Breaks out of text, of attributes and of comments, and turns the line around.
const HOSTILE: &str =
    "\"'>--></title></textarea></pre><script>alert(1)</script><img src=x onerror=alert(2)>\u{202e}";
/// As it has to stand on a page.
const HARMLESS: &str = "&quot;'&gt;--&gt;&lt;/title&gt;&lt;/textarea&gt;&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;\
                        &lt;img src=x onerror=alert(2)&gt;";

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Answers every connection with a banner.
fn banner() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = write!(stream, "220 {HOSTILE}\r\n");
        }
    });
    address
}

/// Makes a handshake with every client.
fn tls(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // Ends with the client's half.
            let _ = StreamOwned::new(connection, stream).read(&mut [0; 64]);
        }
    });
    address
}

#[test]
fn hostile_text_stays_text() {
    let quoted = serde_json::to_string(HOSTILE).unwrap();
    let config = format!(
        r#"modules:
  {quoted}: {{prober: tcp, timeout: 1s, tcp: {{query_response: [{{send: {quoted}}}]}}}}
  odd: {{prober: {quoted}}}
  listens:
    prober: tcp
    timeout: 2s
    tcp: {{query_response: [{{expect: "^220 (.*)$", labels: [{{name: banner, value: "${{1}}"}}]}}, {{expect: never}}]}}
  tls: {{prober: tcp, timeout: 2s, tcp: {{tls: true, tls_config: {{insecure_skip_verify: true}}}}}}
"#
    );
    let exporter = Exporter::start(&config, &["--log.prober=debug"]);
    let hostile = encoded(HOSTILE);
    let dns_name: String = HOSTILE.chars().filter(char::is_ascii).collect();
    let certificate = Authority::new().issue_as(HOSTILE, &[&dns_name], Validity::Past);
    let (banner, tls) = (banner(), tls(certificate));
    for query in [
        format!("module={hostile}&target={hostile}&hostname={hostile}"),
        format!("module=listens&target={banner}&hostname={hostile}"),
        format!("module=tls&target={tls}"),
        format!("module={hostile}&target={hostile}"),
    ] {
        assert_eq!(exporter.get(&format!("/probes/run?{query}")).status, 303, "{query}");
    }
    // What is not on the page at all was tested by its own tests, so each has to show it.
    let cases = [
        ("/".to_owned(), 200, 4),
        (format!("/?module={hostile}&target={hostile}"), 200, 4),
        ("/probes/0".to_owned(), 200, 8),
        ("/probes/1".to_owned(), 200, 3),
        ("/probes/2".to_owned(), 200, 2),
        (format!("/probes/run?module={hostile}x&target=x"), 400, 1),
        ("/configuration".to_owned(), 200, 2),
        (format!("/configuration?search={hostile}"), 200, 2),
        (format!("/configuration?module={hostile}"), 200, 2),
        (format!("/configuration?module={hostile}x"), 404, 0),
    ];
    let check = |path: &str, status: u16, least: usize| {
        let text = page(&exporter, path, status);
        for tag in ["<img", "</pre><script", "<title></title>", "onerror=alert(2)>"] {
            assert!(!text.contains(tag), "{path}: {tag} in {text}");
        }
        assert!(text.matches(HARMLESS).count() >= least, "{path}: {text}");
        // Fields of forms keep what they send back.
        let turned = text.matches('\u{202e}').count();
        assert_eq!(turned, text.matches("\u{202e}\"").count(), "{path}: {text}");
    };
    for (path, status, least) in &cases {
        check(path, *status, *least);
    }
    exporter.dir.write("c.yml", &format!("modules:\n  {quoted}: {{{quoted}: 1}}\n"));
    assert_eq!(exporter.request("POST", "/-/reload", &[]).status, 500);
    check("/configuration", 200, 3);
}

#[test]
fn the_certificate_is_explained() {
    let authority = Authority::new();
    let config = format!(
        "modules:\n  strict: {{prober: tcp, timeout: 2s, tcp: {{tls: true, tls_config: {{ca: {ca}}}}}}}\n  \
         lax: {{prober: tcp, timeout: 2s, tcp: {{tls: true, tls_config: {{insecure_skip_verify: true}}}}}}\n",
        ca = authority.yaml()
    );
    let exporter = Exporter::start(&config, &[]);
    let good = tls(authority.issue(&["127.0.0.1"], Validity::Now));
    let expired = tls(authority.issue(&["127.0.0.1"], Validity::Past));
    let cases = [
        ("strict", good, "The chain verifies for the name that was asked for.", "2040-01-01 00:00:00 UTC"),
        (
            "strict",
            expired,
            "does not verify: <b>expired</b>, a certificate has expired.",
            "2002-01-01 00:00:00 UTC",
        ),
        ("lax", good, "does not verify: <b>incomplete_chain</b>, an intermediate", "2040-01-01 00:00:00 UTC"),
    ];
    for (id, (module, target, verdict, end)) in cases.into_iter().enumerate() {
        probe(&exporter, module, &target.to_string());
        let page = page(&exporter, &format!("/probes/{id}"), 200);
        for part in [verdict, end, "<dt>Issuer</dt><dd>CN=Test Root</dd>", "<dt>Subject</dt><dd>CN=leaf</dd>"]
        {
            assert!(page.contains(part), "{module} {target}: {part}: {page}");
        }
    }
}

/// Whoever sets a policy for the whole exporter means these pages above all.
#[test]
fn headers_of_the_web_configuration_win() {
    let dir = crate::support::exporter::Dir::new();
    dir.write("c.yml", CONFIG);
    dir.write("w.yml", "http_server_config: {headers: {Content-Security-Policy: default-src 'self'}}\n");
    let args = ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0", "--web.config.file=w.yml"];
    let reply: Reply = Exporter::start_in(dir, &args).get("/");
    assert_eq!(reply.header("content-security-policy"), Some("default-src 'self'"));
}
