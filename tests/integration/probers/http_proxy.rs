//! The http prober through proxies: what is asked of them, and what they can do wrong.

use std::net::SocketAddr;

use heartbeat_exporter::metrics::names;

use crate::support::certificates::{Authority, END, Validity};
use crate::support::peers::{Act, Peer, closed_port};
use crate::support::requests::{Recorder, Then, respond};
use crate::support::{Probed, compile, probe};

const STATUS: &str = "probe_http_status_code";
const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
/// `user:hunter2` in base64.
const LOGIN: &str = "dXNlcjpodW50ZXIy";

/// A module with these keys below `http`.
fn module(keys: &str) -> String {
    let keys: String = keys.lines().map(|line| format!("  {}\n", line.trim())).collect();
    format!("prober: http\ntimeout: 5s\nhttp:\n{keys}")
}

fn ok(_: &str) -> Then {
    respond("200 OK", "", "fine")
}

fn phases(probed: &Probed) -> Vec<String> {
    let series = probed.series(names::PROBE_HTTP_DURATION_SECONDS.name());
    series.iter().map(|series| series.split('"').nth(1).unwrap().to_owned()).collect()
}

fn agent() -> String {
    format!("User-Agent: {}", heartbeat_exporter::USER_AGENT)
}

/// The only request, without the login; its lines sorted but for the first.
fn only_request(peer: &Recorder) -> Vec<String> {
    let requests = peer.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let mut lines: Vec<String> = requests[0].trim_end().split("\r\n").map(str::to_owned).collect();
    lines[1..].sort();
    lines
}

#[tokio::test]
async fn plain_requests_are_handed_over_with_their_whole_url() {
    let proxy = Recorder::start(ok).await;
    let login = format!("Proxy-Authorization: Basic {LOGIN}");
    let base = ["Connection: close".to_owned(), agent()];
    // The proxy gets the name, whether it was looked up before or not.
    let skip = "skip_resolve_phase_with_proxy: true";
    let cases = [
        ("", "http://localhost:1/a?b=c", "localhost:1", None, true),
        ("user:hunter2@", "http://127.0.0.1:1/a?b=c", "127.0.0.1:1", Some(&login), true),
        ("", "nowhere.invalid/a?b=c", "nowhere.invalid", None, false),
    ];
    for (userinfo, target, host, login, resolves) in cases {
        let keys =
            format!("proxy_url: http://{userinfo}{}\n{}", proxy.address, if resolves { "" } else { skip });
        let probed = probe(&module(&keys), target).await;
        assert_eq!(probed.failure(), None, "{}", probed.why());
        assert_eq!(probed.value(STATUS), Some(200.0));
        let mut want = vec![format!("Host: {host}")];
        want.extend(base.clone());
        want.extend(login.cloned());
        want.sort();
        want.insert(0, format!("GET http://{host}/a?b=c HTTP/1.1"));
        let requests = proxy.requests();
        let mut got: Vec<_> = requests.last().unwrap().trim_end().split("\r\n").collect();
        got[1..].sort_unstable();
        assert_eq!(got, want, "{target}");
        assert!(!probed.told().contains("hunter2") && !probed.told().contains(LOGIN), "{}", probed.told());
        let resolve = if resolves { vec!["resolve"] } else { vec![] };
        assert_eq!(
            phases(&probed),
            [vec!["connect", "processing"], resolve, vec!["tls", "transfer"]].concat()
        );
        let lookup = ["probe_ip_protocol", "probe_ip_addr_hash", "probe_dns_lookup_time_seconds"];
        assert_eq!(probed.values(lookup).map(|value| value.is_some()), [resolves; 3], "{target}");
    }
}

#[tokio::test]
async fn https_goes_through_a_tunnel_to_the_selected_address() {
    let authority = Authority::new();
    let target = Recorder::tls(authority.issue(&["localhost", "a.test"], Validity::Now), ok).await;
    let (to, port) = (target.address, target.address.port());
    let proxy = Recorder::start(move |_| Then::Tunnel(ESTABLISHED, to)).await;
    let keys = format!(
        "proxy_url: http://user:hunter2@{}\ntls_config: {{ca: {}}}\npreferred_ip_protocol: ip4\n\
         proxy_connect_header: {{x-Odd: [b, a], Proxy-Authorization: [mine]}}",
        proxy.address,
        authority.yaml()
    );
    let probed = probe(&module(&keys), &format!("https://localhost:{port}/a")).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    assert_eq!(
        only_request(&proxy),
        [
            &format!("CONNECT 127.0.0.1:{port} HTTP/1.1"),
            &format!("Host: 127.0.0.1:{port}"),
            &format!("Proxy-Authorization: Basic {LOGIN}"),
            "User-Agent: Go-http-client/1.1",
            "x-Odd: a",
            "x-Odd: b",
        ]
    );
    let want = ["GET /a HTTP/1.1", "Connection: close", &format!("Host: localhost:{port}"), &agent()];
    assert_eq!(only_request(&target), want);
    let got = probed.values(["probe_http_ssl", "probe_ip_protocol", "probe_ssl_earliest_cert_expiry"]);
    assert_eq!(got, [Some(1.0), Some(4.0), Some(END)]);
    assert!(probed.value("probe_http_duration_seconds{phase=\"tls\"}").unwrap() > 0.0);
    assert!(!probed.told().contains("hunter2") && !probed.told().contains(LOGIN), "{}", probed.told());

    // A name that is left to the proxy is asked for as a name.
    let keys = format!("{keys}\nskip_resolve_phase_with_proxy: true");
    let probed = probe(&module(&keys), &format!("https://a.test:{port}/")).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    let request = proxy.requests().pop().unwrap();
    assert!(request.starts_with(&format!("CONNECT a.test:{port} HTTP/1.1\r\n")), "{request}");
    assert_eq!(phases(&probed), ["connect", "processing", "tls", "transfer"]);
}

#[tokio::test]
async fn a_proxy_may_speak_tls_itself() {
    let authority = Authority::new();
    let target = Recorder::tls(authority.issue(&["127.0.0.1"], Validity::Now), ok).await;
    let to = target.address;
    // Its own name is verified, not that of the target.
    let proxy = Recorder::tls(authority.issue(&["localhost"], Validity::Now), move |request| {
        if request.starts_with("CONNECT ") { Then::Tunnel(ESTABLISHED, to) } else { ok(request) }
    })
    .await;
    let proxy_url = format!("proxy_url: https://localhost:{}", proxy.address.port());
    let keys = format!("{proxy_url}\ntls_config: {{ca: {}}}", authority.yaml());
    let cases = [
        (keys.as_str(), format!("https://{to}/"), None),
        (&keys, "http://127.0.0.1:1/".to_owned(), None),
        (&proxy_url, "http://127.0.0.1:1/".to_owned(), Some("proxy/incomplete_chain")),
        (&proxy_url, format!("https://{to}/"), Some("proxy/incomplete_chain")),
    ];
    for (keys, target, want) in cases {
        let probed = probe(&module(keys), &target).await;
        assert_eq!(probed.failure().as_deref(), want, "{target}: {}", probed.why());
        // As in the peer, TLS to the proxy is TLS.
        assert_eq!(probed.value("probe_http_ssl"), Some(if want.is_none() { 1.0 } else { 0.0 }), "{target}");
    }
    let other = format!("{keys}\n").replace("localhost", "127.0.0.1");
    let probed = probe(&module(&other), "http://127.0.0.1:1/").await;
    assert_eq!(probed.failure().as_deref(), Some("proxy/name_mismatch"), "{}", probed.why());
    // With a plain target there is no other use for server_name.
    let named = other.replace("{ca:", "{server_name: localhost, ca:");
    let probed = probe(&module(&named), "http://127.0.0.1:1/").await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
}

#[tokio::test]
async fn everything_a_proxy_can_do_wrong_has_a_reason() {
    type Case = (&'static str, fn(&str) -> Then, &'static str, &'static str);
    let wait = |_: &str| Then::SayAndWait(Vec::new());
    let cases: [Case; 14] = [
        ("closes", |_| Then::Say(Vec::new()), "proxy/closed", "without a complete answer"),
        ("closes early", |_| Then::Say(b"HTTP/1.1 20".into()), "proxy/closed", "without a complete answer"),
        ("silence", wait, "proxy/deadline", "proxy did not finish"),
        ("half an answer", |_| Then::SayAndWait(b"HTTP/1.1 200 OK\r\n".into()), "proxy/deadline", ""),
        ("garbage", |_| Then::SayAndWait(b"SSH-2.0-x\r\n".into()), "proxy/protocol", "with HTTP"),
        ("no status", |_| Then::SayAndWait(b"HTTP/1.1 OK\r\n\r\n".into()), "proxy/protocol", "with HTTP"),
        ("HTTP/2", |_| Then::SayAndWait(b"HTTP/2 200\r\n\r\n".into()), "proxy/protocol", "with HTTP"),
        ("endless", |_| Then::Flood(b"HTTP/1.1 200 OK\r\n x"), "proxy/too_large", "65536 bytes of header"),
        (
            "more than an answer",
            |_| Then::SayAndWait(format!("{ESTABLISHED}\x16\x03").into()),
            "proxy/protocol",
            "sent more than an answer",
        ),
        (
            "no login",
            |_| {
                respond("407 No", "proxy-authenticate: NTLM\r\nProxy-Authenticate: Basic realm=\"x\"\r\n", "")
            },
            "proxy/proxy_auth",
            "it wants \"NTLM, Basic\"",
        ),
        ("forbidden", |_| respond("403 Forbidden", "", "no"), "proxy/proxy_denied", "\"403 Forbidden\""),
        ("no way", |_| respond("502 Bad Gateway", "", "no"), "proxy/proxy_denied", "\"502 Bad Gateway\""),
        (
            "a redirect",
            |_| respond("302 Found", "Location: /\r\n", ""),
            "proxy/proxy_denied",
            "\"302 Found\"",
        ),
        (
            "another 2xx and short lines",
            |_| Then::SayAndWait(b"HTTP/1.0 299 \nA: b\n\n".into()),
            "tls/deadline",
            "",
        ),
    ];
    for (name, answer, want, why) in cases {
        let proxy = Recorder::start(answer).await;
        let keys = format!("proxy_url: http://user:hunter2@{}", proxy.address);
        let keys = module(&keys).replace("5s", if want.ends_with("deadline") { "200ms" } else { "5s" });
        let probed = probe(&keys, "https://127.0.0.1:1/").await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert!(probed.why().contains(why), "{name}: {}", probed.why());
        assert_eq!(probed.value(STATUS), Some(0.0), "{name}");
        // A tunnel that does not stand is no connection, so only the lookup has taken time.
        assert_eq!(phases(&probed).len(), 5, "{name}");
        assert!(!probed.told().contains("hunter2") && !probed.told().contains(LOGIN), "{}", probed.told());
    }
}

#[tokio::test]
async fn proxies_that_cannot_be_reached() {
    let closed = closed_port().await;
    let plain = Recorder::start(ok).await.address;
    let cases = [
        (format!("http://{closed}"), "proxy/refused"),
        (format!("https://{closed}"), "proxy/refused"),
        (format!("socks5://{closed}"), "proxy/refused"),
        (format!("https://{plain}"), "proxy/refused"),
        ("http://nowhere.invalid".to_owned(), "proxy/"),
    ];
    for (proxy, want) in cases {
        let probed = probe(&module(&format!("proxy_url: {proxy}")), "http://127.0.0.1:1/").await;
        let failure = probed.failure().unwrap();
        assert!(failure.starts_with(want), "{proxy}: {failure} {}", probed.why());
        assert!(probed.why().starts_with("cannot connect to the proxy "), "{}", probed.why());
        let connect = probed.value("probe_http_duration_seconds{phase=\"connect\"}");
        assert_eq!(connect, Some(0.0), "{proxy}");
    }
}

#[tokio::test]
async fn a_plain_request_that_the_proxy_refuses_has_its_status() {
    let proxy = Recorder::start(|_| respond("407 No", "Proxy-Authenticate: Basic\r\n", "login")).await;
    let keys = format!("proxy_url: http://user:hunter2@{}", proxy.address);
    let probed = probe(&module(&keys), "http://127.0.0.1:1/").await;
    assert_eq!(probed.failure().as_deref(), Some("proxy/proxy_auth"), "{}", probed.why());
    assert_eq!(probed.values([STATUS, "probe_http_content_length"]), [Some(407.0), Some(5.0)]);
    // Whoever expects it may have it.
    let probed = probe(&module(&format!("{keys}\nvalid_status_codes: [407]")), "http://127.0.0.1:1/").await;
    assert_eq!(probed.failure(), None);
}

/// What a SOCKS client says to reach an IPv4 address.
fn socks_request(to: SocketAddr) -> Vec<u8> {
    [&[5, 1, 0, 1, 127, 0, 0, 1][..], &to.port().to_be_bytes()].concat()
}

const GRANTED: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

#[tokio::test]
async fn socks_proxies() {
    let to: SocketAddr = "127.0.0.1:81".parse().unwrap();
    let response = || Act::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into());
    let request = |path: &str| Act::Hear(format!("GET {path} HTTP/1.1\r\n").into());
    let name = [&[5, 1, 0, 3, 6][..], b"a.test", &[0, 81]].concat();
    let v6 = [&[5, 1, 0, 4][..], &[0; 15], &[1, 0, 81]].concat();
    let by_name = [&[5, 0, 0, 3, 2][..], b"xy", &[0, 1]].concat();
    let cases = [
        (
            "an address",
            "",
            "http://127.0.0.1:81/a",
            vec![
                Act::Hear(vec![5, 1, 0]),
                Act::Drip(vec![5, 0]),
                Act::Hear(socks_request(to)),
                Act::Drip(GRANTED.into()),
                request("/a"),
                response(),
            ],
        ),
        (
            "a login",
            "user:hunter2@",
            "http://127.0.0.1:81/a",
            vec![
                Act::Hear(vec![5, 2, 0, 2]),
                Act::Say(vec![5, 2]),
                Act::Hear(b"\x01\x04user\x07hunter2".into()),
                Act::Say(vec![1, 0]),
                Act::Hear(socks_request(to)),
                Act::Say(by_name),
                request("/a"),
                response(),
            ],
        ),
        (
            "a login nobody wants, IPv6",
            "user@",
            "http://[::1]:81/a",
            vec![
                Act::Hear(vec![5, 2, 0, 2]),
                Act::Say(vec![5, 0]),
                Act::Hear(v6),
                Act::Say(GRANTED.into()),
                request("/a"),
                response(),
            ],
        ),
        (
            "a name",
            "",
            "http://a.test:81/a",
            vec![
                Act::Hear(vec![5, 1, 0]),
                Act::Say(vec![5, 0]),
                Act::Hear(name),
                Act::Say(GRANTED.into()),
                request("/a"),
                response(),
            ],
        ),
    ];
    for (what, userinfo, target, script) in cases {
        let proxy = Peer::tcp(script).await;
        let skip = target.contains("a.test");
        let keys =
            format!("proxy_url: socks5://{userinfo}{}\nskip_resolve_phase_with_proxy: {skip}", proxy.address);
        let probed = probe(&module(&keys), target).await;
        assert_eq!(probed.failure(), None, "{what}: {}", probed.why());
        assert!(!probed.told().contains("hunter2"), "{}", probed.told());
    }
}

#[tokio::test]
async fn everything_a_socks_proxy_can_do_wrong_has_a_reason() {
    let refuse = |code: u8| vec![Act::Say(vec![5, 0]), Act::Say(vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0])];
    let cases = [
        ("closes", "", vec![Act::Close], "proxy/closed"),
        ("silence", "", vec![], "proxy/deadline"),
        ("HTTP", "", vec![Act::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n".into())], "proxy/protocol"),
        ("SOCKS 4", "", vec![Act::Say(vec![4, 0])], "proxy/protocol"),
        ("no method", "", vec![Act::Say(vec![5, 0xff])], "proxy/proxy_auth"),
        ("no method for the login", "user:hunter2@", vec![Act::Say(vec![5, 0xff])], "proxy/proxy_auth"),
        ("a login that was not offered", "", vec![Act::Say(vec![5, 2])], "proxy/protocol"),
        (
            "another login",
            "user:hunter2@",
            vec![Act::Say(vec![5, 2]), Act::Say(vec![1, 1])],
            "proxy/proxy_auth",
        ),
        (
            "a bad login answer",
            "user:hunter2@",
            vec![Act::Say(vec![5, 2]), Act::Say(vec![9, 0])],
            "proxy/protocol",
        ),
        (
            "stops in the reply",
            "",
            vec![Act::Say(vec![5, 0]), Act::Say(vec![5, 0, 0, 1, 0]), Act::Close],
            "proxy/closed",
        ),
        ("an odd address", "", vec![Act::Say(vec![5, 0]), Act::Say(vec![5, 0, 0, 9])], "proxy/protocol"),
        ("failure", "", refuse(1), "proxy/proxy_denied"),
        ("rules", "", refuse(2), "proxy/proxy_denied"),
        ("network", "", refuse(3), "connect/unreachable"),
        ("host", "", refuse(4), "connect/unreachable"),
        ("refused", "", refuse(5), "connect/refused"),
        ("hop limit", "", refuse(6), "connect/ttl_exceeded"),
        ("command", "", refuse(7), "proxy/proxy_denied"),
        ("unknown", "", refuse(99), "proxy/protocol"),
    ];
    for (name, userinfo, script, want) in cases {
        let proxy = Peer::tcp(script).await;
        let keys = module(&format!("proxy_url: socks5h://{userinfo}{}", proxy.address));
        let keys = keys.replace("5s", if want.ends_with("deadline") { "200ms" } else { "5s" });
        let probed = probe(&keys, "http://127.0.0.1:1/").await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert!(!probed.told().contains("hunter2"), "{name}: {}", probed.told());
    }
}

#[tokio::test]
async fn each_hop_chooses_its_proxy_anew() {
    let target = Recorder::start(ok).await;
    let away = format!("Location: http://{}/b\r\n", target.address);
    let proxy = Recorder::start(move |request| match request {
        first if first.starts_with("GET http://a.test/ ") => {
            respond("302 Found", "Location: /next\r\nSet-Cookie: c=1\r\n", "")
        }
        _ => respond("302 Found", &away, ""),
    })
    .await;
    // Any no_proxy lets loopback past the proxy.
    let keys =
        format!("proxy_url: http://{}\nno_proxy: b.test\nskip_resolve_phase_with_proxy: true", proxy.address);
    let probed = probe(&module(&keys), "http://a.test/").await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    assert_eq!(probed.value("probe_http_redirects"), Some(2.0));
    let firsts = |peer: &Recorder| {
        let requests = peer.requests();
        requests.iter().map(|request| request.lines().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(firsts(&proxy), ["GET http://a.test/ HTTP/1.1", "GET http://a.test/next HTTP/1.1"]);
    assert_eq!(firsts(&target), ["GET /b HTTP/1.1"]);
    // Only the first hop left its name to the proxy for good; a redirect begins the phase.
    assert_eq!(probed.value("probe_http_duration_seconds{phase=\"resolve\"}"), Some(0.0));
}

#[tokio::test]
async fn no_proxy_goes_by_name_and_by_address() {
    let proxy = Recorder::start(|_| respond("418 Proxied", "", "")).await;
    let target = Recorder::start(ok).await;
    let cases = [
        ("", 418.0),
        ("no_proxy: 127.0.0.0/8", 200.0),
        ("no_proxy: '*'", 200.0),
        ("no_proxy: x.test", 200.0),
    ];
    for (no_proxy, want) in cases {
        let keys = format!("proxy_url: http://{}\npreferred_ip_protocol: ip4\n{no_proxy}", proxy.address);
        let probed = probe(&module(&keys), &format!("http://localhost:{}/", target.address.port())).await;
        assert_eq!(probed.value(STATUS), Some(want), "{no_proxy}: {}", probed.why());
    }
}

#[tokio::test]
async fn secrets_of_proxies_are_in_no_debug_output() {
    let keys = "proxy_url: https://user:hunter2@p:1\nproxy_connect_header: {Proxy-Authorization: [hunter2]}";
    let socks = "proxy_url: socks5://user:hunter2@p:1";
    for keys in [keys, socks] {
        let module = compile(&module(keys));
        let text = format!("{module:?}");
        assert!(text.contains("p:1") && !text.contains("hunter2") && !text.contains(LOGIN), "{text}");
    }
}
