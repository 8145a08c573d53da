//! Redirects of the http prober: what is followed, what goes along, and what ends there.

use super::http_hostile::{facts, module, server};
use crate::support::peers::{Act, Peer, say};
use crate::support::{probe, probe_as};

const REDIRECTS: &str = "probe_http_redirects";

fn redirect(status: u16, location: &str) -> Act {
    Act::Say(
        format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 5\r\n\r\nmoved").into(),
    )
}

fn ok() -> Vec<Act> {
    vec![Act::Request, say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]
}

/// The requests a server heard, each as its lines.
fn requests(peer: &Peer) -> Vec<Vec<String>> {
    let heard = String::from_utf8(peer.heard()).unwrap();
    let requests = heard.split_terminator("\r\n\r\n");
    requests.map(|request| request.lines().map(str::to_owned).collect()).collect()
}

/// The value of a header of a request, in any spelling.
fn header<'r>(request: &'r [String], name: &str) -> Option<&'r str> {
    let named = |line: &&'r String| line.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
    request.iter().find(named).map(|line| line.split_once(": ").unwrap().1)
}

#[tokio::test]
async fn where_a_redirect_leads() {
    let closed = crate::support::peers::closed_port().await;
    let nowhere = format!("http://{closed}/");
    let last = [302.0, 1.1, 5.0, 5.0, 0.0];
    let nothing = [0.0; 5];
    // Location, failure, redirects, what is known.
    let cases = [
        ("/", Some("check/status"), 11.0, last),
        ("//[::1", Some("processing/redirect"), 0.0, nothing),
        ("/%zz", Some("processing/redirect"), 0.0, nothing),
        ("file:///etc/passwd", Some("processing/redirect"), 1.0, nothing),
        ("javascript:alert(1)", Some("processing/redirect"), 1.0, nothing),
        ("ftp://127.0.0.1/", Some("processing/redirect"), 1.0, nothing),
        ("http:///x", Some("resolve/not_found"), 1.0, nothing),
        (&nowhere, Some("connect/refused"), 1.0, nothing),
        ("", Some("check/status"), 0.0, last),
    ];
    for (location, want, redirects, known) in cases {
        let peer = server(vec![redirect(302, location)]).await;
        let probed = probe(&module(""), &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{location}: {}", probed.why());
        assert_eq!(probed.value(REDIRECTS), Some(redirects), "{location}");
        assert_eq!(facts(&probed), known, "{location}");
        assert_eq!(requests(&peer).len(), if redirects == 11.0 { 11 } else { 1 }, "{location}");
    }
    let without = server(vec![say("HTTP/1.1 302 Found\r\nContent-Length: 5\r\n\r\nmoved")]).await;
    let probed = probe(&module(""), &without.target()).await;
    assert_eq!(probed.failure().as_deref(), Some("check/status"), "no Location");
    assert_eq!((probed.value(REDIRECTS), facts(&probed)), (Some(0.0), last));
}

#[tokio::test]
async fn a_redirect_that_is_not_followed_is_judged_like_any_response() {
    let checks = "fail_if_header_not_matches: [{header: Location, regexp: ^/next$}]";
    let cases = [
        ("/next", "valid_status_codes: [302]", None, 1.0),
        ("/next", "", Some("check/status"), 1.0),
        ("/next", "valid_status_codes: [302], fail_if_body_not_matches_regexp: [^moved$]", None, 1.0),
        ("/next", &format!("valid_status_codes: [302], {checks}"), None, 1.0),
        ("/other", &format!("valid_status_codes: [302], {checks}"), Some("check/header"), 1.0),
        ("ftp://x/", "valid_status_codes: [302]", None, 1.0),
        ("//[::1", "valid_status_codes: [302]", Some("processing/redirect"), 0.0),
    ];
    for (location, keys, want, redirects) in cases {
        let peer = server(vec![redirect(302, location)]).await;
        let probed = probe(&module(&format!("follow_redirects: false, {keys}")), &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), want, "{location} {keys}: {}", probed.why());
        assert_eq!(probed.value(REDIRECTS), Some(redirects), "{location} {keys}");
        let failed_due_to_regex = f64::from(u8::from(want == Some("check/header")));
        assert_eq!(probed.value("probe_failed_due_to_regex"), Some(failed_due_to_regex), "{location} {keys}");
    }
    // Header checks are about the final response only.
    let peer = Peer::in_turn(vec![vec![Act::Request, redirect(302, "/next")], ok()]).await;
    let probed = probe(
        &module("fail_if_header_matches: [{header: Location, regexp: ., allow_missing: true}]"),
        &peer.target(),
    )
    .await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
}

#[tokio::test]
async fn method_and_body_of_the_next_request() {
    let cases = [
        (301, "POST", "GET"),
        (302, "PUT", "GET"),
        (303, "POST", "GET"),
        (303, "HEAD", "HEAD"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
    ];
    for (status, method, next) in cases {
        let repeats = method == next && method != "HEAD";
        let peer = Peer::in_turn(vec![vec![Act::Request, redirect(status, "/next?x")], ok()]).await;
        let keys = format!(
            "method: {method}, body: b\u{e4}, headers: {{Content-Type: a/b, Content-Language: x, X-A: y}}"
        );
        let probed = probe(&module(&keys), &format!("http://{}/a/b", peer.target())).await;
        assert_eq!(probed.failure(), None, "{status} {method}: {}", probed.why());
        let heard = String::from_utf8(peer.heard()).unwrap();
        let second = heard.split_once("HTTP/1.1\r\n").unwrap().1;
        assert!(second.contains(&format!("{next} /next?x HTTP/1.1\r\n")), "{status} {method}: {heard}");
        assert_eq!(second.matches("X-A: y").count(), 2, "{heard}");
        assert_eq!(second.matches("Content-Type: a/b").count(), if repeats { 2 } else { 1 }, "{heard}");
        assert_eq!(second.matches("b\u{e4}").count(), if repeats { 2 } else { 1 }, "{heard}");
    }
}

#[tokio::test]
async fn what_goes_along() {
    // A port does not make another host, so the other server has another address.
    let other = Peer::tcp_on("127.0.0.2:0", ok()).await;
    let elsewhere = format!("//{}/next", other.target());
    let absolute = format!("http:{elsewhere}");
    let cases = [
        ("/next", true),
        ("http://{here}/next", true),
        (elsewhere.as_str(), false),
        (absolute.as_str(), false),
    ];
    for (location, at_home) in cases {
        let response = format!(
            "HTTP/1.1 302 Found\r\nSet-Cookie: a=1\r\nSet-Cookie: b=\"2 3\"; Path=/; HttpOnly\r\n\
             Set-Cookie: c=4; Path=/other\r\nSet-Cookie: d=5; Secure\r\nLocation: {location}\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let home = Peer::in_turn(vec![vec![Act::Request, Act::SayHere(response)], ok()]).await;
        let keys = "basic_auth: {username: u, password: p}, headers: {Cookie: own=1, X-Other: x}";
        let target = format!("http://{}/start", home.target());
        let probed = probe(&module(keys), &target).await;
        assert_eq!(probed.failure(), None, "{location}: {}", probed.why());
        let heard = requests(&home);
        assert_eq!(header(&heard[0], "authorization"), Some("Basic dTpw"));
        let second = if at_home { heard[1].clone() } else { requests(&other).pop().unwrap() };
        assert_eq!(second[0], "GET /next HTTP/1.1", "{location}");
        let host = if at_home { home.target() } else { other.target() };
        assert_eq!(header(&second, "host"), Some(&*host), "{location}");
        assert_eq!(header(&second, "authorization").is_some(), at_home, "{location}");
        assert_eq!(header(&second, "x-other"), Some("x"), "{location}");
        assert_eq!(header(&second, "referer"), Some(&*target), "{location}");
        let cookies = at_home.then_some("own=1; a=1; b=\"2 3\"");
        assert_eq!(header(&second, "cookie"), cookies, "{location}");
    }
}

#[tokio::test]
async fn cookies_belong_to_the_host_that_is_asked() {
    let cases = [
        ("a=1; Domain=a.test", Some("a.test"), Some("a=1")),
        ("a=1; Domain=test", Some("a.test"), None),
        ("a=1; Domain=a.test", None, None),
        ("a=1; Domain=127.0.0.1", None, Some("a=1")),
        ("a=1; Domain=0.0.1", None, None),
        ("a=1; Max-Age=0", None, None),
    ];
    for (cookie, hostname, want) in cases {
        let response = format!(
            "HTTP/1.1 302 Found\r\nSet-Cookie: {cookie}\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n"
        );
        let peer = Peer::in_turn(vec![vec![Act::Request, say(&response)], ok()]).await;
        let probed = probe_as(&module(""), &peer.target(), hostname).await;
        assert_eq!(probed.failure(), None, "{}", probed.why());
        let heard = requests(&peer);
        assert_eq!(header(&heard[1], "cookie"), want, "{cookie} {hostname:?}");
        assert_eq!(header(&heard[1], "host"), Some(hostname.unwrap_or(&peer.target())), "{cookie}");
    }
}

#[tokio::test]
async fn a_file_is_not_sent_twice() {
    let dir = crate::support::exporter::Dir::new();
    dir.write("body", "filebody");
    let keys = format!("method: POST, body_file: {:?}", dir.path().join("body"));
    let script =
        vec![Act::RequestHead, Act::Hear(b"8\r\nfilebody\r\n0\r\n\r\n".to_vec()), redirect(307, "/next")];
    let peer = Peer::in_turn(vec![script, ok()]).await;
    let probed = probe(&module(&keys), &peer.target()).await;
    assert_eq!(probed.failure().as_deref(), Some("check/status"), "{}", probed.why());
    assert_eq!((probed.value(REDIRECTS), facts(&probed)[0]), (Some(0.0), 307.0));
}
