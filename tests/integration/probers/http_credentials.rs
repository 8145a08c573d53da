//! Which credentials and headers the http prober sends, where they come from, and where they may go.

use crate::support::exporter::Dir;
use crate::support::probe;
use crate::support::requests::{Recorder, respond};

fn module(keys: &str) -> String {
    let keys: String = keys.lines().map(|line| format!("  {}\n", line.trim())).collect();
    format!("prober: http\ntimeout: 5s\nhttp:\n{keys}")
}

/// Values of a header in a request, in their order.
fn values<'r>(request: &'r str, name: &str) -> Vec<&'r str> {
    let fields = request.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[tokio::test]
async fn credentials_come_from_text_files_and_the_url() {
    let dir = Dir::new();
    dir.write("user", "\n user\n");
    dir.write("password", "pass word \n");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let files = format!("username_file: {}, password_file: {}", path("user"), path("password"));
    let target = Recorder::start(|_| respond("200 OK", "", "")).await;
    // In base64: `user:pass word`, `user:`, `:`, `x:y`.
    let both = "Basic dXNlcjpwYXNzIHdvcmQ=";
    let cases = [
        ("", "", None),
        ("basic_auth: {username: user, password: pass word}", "", Some(both)),
        (&format!("basic_auth: {{{files}}}"), "", Some(both)),
        ("basic_auth: {username: user}", "", Some("Basic dXNlcjo=")),
        ("basic_auth: {}", "", Some("Basic Og==")),
        ("basic_auth: {username: user}", "x:y@", Some("Basic eDp5")),
        ("headers: {authorization: mine}\nbasic_auth: {username: user}", "x:y@", Some("mine")),
        ("authorization: {credentials: secret}", "", Some("Bearer secret")),
        ("authorization: {type: Token, credentials: secret}", "", Some("Token secret")),
        (&format!("authorization: {{credentials_file: {}}}", path("user")), "", Some("Bearer user")),
        // The scheme alone, as in the peer.
        ("authorization: {type: Token}", "", Some("Token")),
        ("authorization: {}", "", Some("Bearer")),
        ("bearer_token: secret", "", Some("Bearer secret")),
        (&format!("bearer_token_file: {}", path("password")), "", Some("Bearer pass word")),
    ];
    for (keys, userinfo, want) in cases {
        let probed =
            probe(&module(&format!("method: GET\n{keys}")), &format!("http://{userinfo}{}/", target.address))
                .await;
        assert_eq!(probed.failure(), None, "{keys}: {}", probed.why());
        let request = target.requests().pop().unwrap();
        assert_eq!(values(&request, "authorization"), Vec::from_iter(want), "{keys} {userinfo}");
    }
}

#[tokio::test]
async fn further_headers_are_added_to_those_that_replace() {
    let dir = Dir::new();
    dir.write("value", " three\n");
    let keys = format!(
        "headers: {{X-A: zero}}\n\
         http_headers: {{x-a: {{values: [one, ''], secrets: [two], files: [{}]}}, X-B: {{values: [b]}}}}",
        dir.path().join("value").display()
    );
    let target = Recorder::start(|_| respond("200 OK", "", "")).await;
    let probed = probe(&module(&keys), &format!("http://{}/", target.address)).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    let request = target.requests().pop().unwrap();
    assert_eq!(values(&request, "x-a"), ["zero", "one", "", "two", "three"]);
    assert_eq!(values(&request, "x-b"), ["b"]);
}

#[tokio::test]
async fn a_missing_file_fails_the_probe_and_is_named() {
    let cases = [
        ("basic_auth: {username: u, password_file: /nonexistent/p}", 5),
        ("authorization: {credentials_file: /nonexistent/p}", 5),
        ("http_headers: {X-A: {files: [/nonexistent/p]}}", 5),
        // As in the peer, the phases begin once there is a request.
        ("method: POST\nbody_file: /nonexistent/p", 1),
    ];
    for (keys, phases) in cases {
        let probed = probe(&module(keys), "http://127.0.0.1:1/").await;
        assert_eq!(probed.failure().as_deref(), Some("prepare/file"), "{keys}: {}", probed.why());
        assert!(probed.why().starts_with("cannot read /nonexistent/p: "), "{}", probed.why());
        assert_eq!(probed.series("probe_http_duration_seconds").len(), phases, "{keys}");
    }
}

#[tokio::test]
async fn credentials_stay_with_the_host_they_are_for() {
    // Every name leads here, so hops need no resolver.
    let network = Recorder::start(|request| {
        let at = request.split(' ').nth(1).unwrap();
        let location = match at {
            "http://a.test/same" => "http://A.test/end",
            "http://a.test/below" => "http://b.a.test/end",
            "http://a.test/beside" => "//xa.test/end",
            "http://a.test/away" => "http://c.test/back",
            "http://c.test/back" => "http://a.test/end",
            _ => return respond("200 OK", "", ""),
        };
        respond("302 Found", &format!("Location: {location}\r\n"), "")
    })
    .await;
    let ways = [
        ("basic_auth: {username: u, password: p}", "Authorization", "Basic dTpw"),
        ("authorization: {credentials: t}", "Authorization", "Bearer t"),
        ("headers: {Authorization: mine}", "Authorization", "mine"),
        ("headers: {Cookie: c=1}", "Cookie", "c=1"),
        ("http_headers: {Cookie2: {secrets: [c]}}", "Cookie2", "c"),
        ("headers: {X-Harmless: h}", "X-Harmless", ""),
    ];
    let cases = [
        ("same", [true, true].as_slice()),
        ("below", &[true, true]),
        ("beside", &[true, false]),
        ("away", &[true, false, false]),
    ];
    for (keys, header, value) in ways {
        for (path, want) in cases {
            let before = network.requests().len();
            let keys =
                format!("proxy_url: http://{}\nskip_resolve_phase_with_proxy: true\n{keys}", network.address);
            let probed = probe(&module(&keys), &format!("http://a.test/{path}")).await;
            assert_eq!(probed.failure(), None, "{path}: {}", probed.why());
            let requests = network.requests().split_off(before);
            let got: Vec<_> = requests.iter().map(|request| values(request, header)).collect();
            let sent = |keeps: &bool| match (*keeps, value) {
                // Nothing secret, so it goes everywhere.
                (_, "") => vec!["h"],
                (true, value) => vec![value],
                (false, _) => vec![],
            };
            assert_eq!(got, want.iter().map(sent).collect::<Vec<_>>(), "{keys} {path}");
            for request in &requests {
                let host = request.split(' ').nth(1).unwrap().split('/').nth(2).unwrap();
                assert_eq!(values(request, "host"), [host], "{path}");
            }
        }
    }
}
