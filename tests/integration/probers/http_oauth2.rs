//! The http prober with OAuth 2.0: what the token server is asked, how long its answer is used, and what
//! it can do wrong.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _, UnparsedPublicKey};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use heartbeat_exporter::probers::Module;
use serde_json::{Value, json};

use crate::support::certificates::{Authority, Validity};
use crate::support::exporter::Dir;
use crate::support::peers::closed_port;
use crate::support::requests::{Recorder, Then, respond};
use crate::support::{Probed, compile, probe, probe_with};

/// A module with these keys below `http.oauth2`, besides `client_id: id`.
fn module(keys: &str) -> String {
    let keys: String = keys.lines().map(|line| format!("    {}\n", line.trim())).collect();
    format!("prober: http\ntimeout: 5s\nhttp:\n  oauth2:\n    client_id: id\n{keys}")
}

fn with_secret(peer: &Recorder) -> String {
    module(&format!("token_url: http://{}/token\nclient_secret: hunter2", peer.address))
}

/// A token server and target in one: hands out `t1`, `t2`, … with these further fields.
async fn server(fields: &'static str) -> Recorder {
    let count = AtomicUsize::new(0);
    Recorder::start(move |request| {
        if request.starts_with("POST ") {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            respond("200 OK", "", &format!("{{\"access_token\": \"t{number}\"{fields}}}"))
        } else {
            respond("200 OK", "", "fine")
        }
    })
    .await
}

async fn succeeds(module: &Module, peer: &Recorder) -> Probed {
    let probed = probe_with(module, &format!("http://{}/", peer.address), None).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    probed
}

/// What was sent to the token server and, as `Authorization`, to the target.
fn history(peer: &Recorder) -> Vec<String> {
    let requests = peer.requests();
    let line = |request: &String| {
        let sent = request.lines().find_map(|line| line.strip_prefix("Authorization: ")).unwrap_or("nothing");
        if request.starts_with("POST ") { format!("fetch with {sent}") } else { sent.to_owned() }
    };
    requests.iter().map(line).collect()
}

const BASIC: &str = "fetch with Basic aWQ6aHVudGVyMg==";

#[tokio::test]
async fn the_token_request_is_that_of_the_peer() {
    let peer = server("").await;
    let keys = format!(
        "token_url: http://{}/token?x=1\nclient_secret: 'hunter2 +&'\nscopes: [read, 'wri+te']\n\
         endpoint_params: {{audience: 'ü', z: '', grant_type: password}}",
        peer.address
    );
    let probed = succeeds(&compile(&module(&keys).replace("client_id: id", "client_id: i:d")), &peer).await;
    let requests = peer.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    lines[1..].sort_unstable();
    let login = BASE64.encode(b"i%3Ad:hunter2+%2B%26");
    let want = [
        "POST /token?x=1 HTTP/1.1",
        "Accept-Encoding: gzip",
        &format!("Authorization: Basic {login}"),
        "Connection: close",
        "Content-Length: 58",
        "Content-Type: application/x-www-form-urlencoded",
        &format!("Host: {}", peer.address),
        &format!("User-Agent: {}", heartbeat_exporter::USER_AGENT),
    ];
    assert_eq!(lines, want);
    assert_eq!(body, "audience=%C3%BC&grant_type=password&scope=read+wri%2Bte&z=");
    assert!(requests[1].contains("\r\nAuthorization: Bearer t1\r\n"), "{}", requests[1]);
    // The fetch is in none of the phases, and in the timeline.
    let phases: Vec<_> = probed.0.report.timeline().iter().map(|span| span.phase.as_str()).collect();
    assert_eq!(phases, ["resolve", "token", "connect", "processing", "transfer"]);
}

#[tokio::test]
async fn a_token_is_kept_until_it_expires() {
    let cases = [
        (", \"expires_in\": 3600", vec![BASIC, "Bearer t1", "Bearer t1"]),
        ("", vec![BASIC, "Bearer t1", "Bearer t1"]),
        // Less than the margin: good for the probe that fetched it.
        (", \"expires_in\": 9", vec![BASIC, "Bearer t1", BASIC, "Bearer t2"]),
    ];
    for (fields, want) in cases {
        let peer = server(fields).await;
        let module = compile(&with_secret(&peer));
        succeeds(&module, &peer).await;
        succeeds(&module, &peer).await;
        assert_eq!(history(&peer), want, "{fields}");
        // Another configuration, or the same one loaded again, begins with none.
        succeeds(&compile(&with_secret(&peer)), &peer).await;
        assert_eq!(history(&peer)[want.len()], BASIC, "{fields}");
    }
}

#[tokio::test]
async fn a_token_that_the_target_refuses_is_fetched_again() {
    let count = AtomicUsize::new(0);
    let peer = Recorder::start(move |request| {
        let tokens = ["old", "new", "newer"];
        if request.starts_with("POST ") {
            let token = tokens[count.fetch_add(1, Ordering::SeqCst)];
            respond("200 OK", "", &format!("{{\"access_token\": \"{token}\"}}"))
        } else if request.contains("Bearer old") {
            respond("401 Unauthorized", "", "")
        } else {
            respond("200 OK", "", "fine")
        }
    })
    .await;
    let module = compile(&with_secret(&peer));
    let probed = probe_with(&module, &format!("http://{}/", peer.address), None).await;
    assert_eq!(probed.failure().as_deref(), Some("check/status"));
    succeeds(&module, &peer).await;
    succeeds(&module, &peer).await;
    assert_eq!(history(&peer), [BASIC, "Bearer old", BASIC, "Bearer new", "Bearer new"]);
}

#[tokio::test]
async fn another_secret_needs_another_token() {
    let dir = Dir::new();
    let file = dir.path().join("secret");
    let peer = server("").await;
    let keys = format!("token_url: http://{}/\nclient_secret_file: {}", peer.address, file.display());
    let module = compile(&module(&keys));
    let target = format!("http://{}/", peer.address);
    let probed = probe_with(&module, &target, None).await;
    assert_eq!(probed.failure().as_deref(), Some("prepare/file"), "{}", probed.why());
    dir.write("secret", " hunter2\n");
    succeeds(&module, &peer).await;
    dir.write("secret", "hunter2");
    succeeds(&module, &peer).await;
    dir.write("secret", "hunter3");
    succeeds(&module, &peer).await;
    let other = format!("fetch with Basic {}", BASE64.encode(b"id:hunter3"));
    assert_eq!(history(&peer), [BASIC, "Bearer t1", "Bearer t1", &other, "Bearer t2"]);
}

#[tokio::test]
async fn credentials_go_where_the_server_wants_them() {
    let peer = Recorder::start(|request| match request.starts_with("POST ") {
        true if request.contains("Authorization: ") => {
            respond("401 No", "", "{\"error\": \"invalid_client\"}")
        }
        true => respond("200 OK", "", "{\"access_token\": \"t\", \"expires_in\": 1}"),
        false => respond("200 OK", "", "fine"),
    })
    .await;
    let module = compile(&with_secret(&peer));
    succeeds(&module, &peer).await;
    succeeds(&module, &peer).await;
    // The second fetch knows where.
    assert_eq!(history(&peer), [BASIC, "fetch with nothing", "Bearer t", "fetch with nothing", "Bearer t"]);
    let form = "client_id=id&client_secret=hunter2&grant_type=client_credentials";
    assert_eq!(peer.requests()[1].split_once("\r\n\r\n").unwrap().1, form);
}

#[tokio::test]
async fn the_token_wins_over_other_credentials_and_stays_at_its_site() {
    let elsewhere = Recorder::start(|_| respond("200 OK", "", "fine")).await;
    let port = elsewhere.address.port();
    let peer = Recorder::start(move |request| match request.lines().next().unwrap() {
        "POST /token HTTP/1.1" => respond("200 OK", "", "{\"access_token\": \"t\"}"),
        "GET / HTTP/1.1" => respond("302 Found", "Location: /here\r\n", ""),
        _ => respond("302 Found", &format!("Location: http://localhost:{port}/\r\n"), ""),
    })
    .await;
    let module = format!("{}  headers: {{Authorization: mine}}", with_secret(&peer));
    let probed = probe(&module, &format!("http://user:password@{}/", peer.address)).await;
    assert_eq!(probed.failure(), None, "{}", probed.why());
    assert_eq!(history(&peer), [BASIC, "Bearer t", "Bearer t"]);
    assert_eq!(history(&elsewhere), ["nothing"]);
}

#[tokio::test]
async fn everything_a_token_server_can_do_wrong_has_a_reason() {
    type Case = (&'static str, fn(&str) -> Then, &'static str, &'static str);
    let cases: [Case; 13] = [
        ("closes", |_| Then::Say(Vec::new()), "token/closed", ""),
        ("silence", |_| Then::SayAndWait(Vec::new()), "token/deadline", "token did not finish"),
        ("garbage", |_| Then::SayAndWait(b"SSH-2.0-x\r\n\r\n".into()), "token/protocol", "valid HTTP"),
        ("401", |_| respond("401 No", "", ""), "token/status", "answered with status 401"),
        (
            "401 with words",
            |_| {
                respond(
                    "400 No",
                    "",
                    "{\"error\": \"invalid_client\", \"error_description\": \"not hunter2\"}",
                )
            },
            "token/status",
            "\"invalid_client\" \"not <secret>\"",
        ),
        (
            "HTML",
            |_| respond("200 OK", "Content-Type: text/html\r\n", "<html>"),
            "token/protocol",
            "not JSON",
        ),
        ("no token", |_| respond("200 OK", "", "{}"), "token/no_token", "no access_token"),
        (
            "a token of the past",
            |_| respond("200 OK", "", "{\"access_token\": \"t\", \"expires_in\": -5}"),
            "token/token_expired",
            "expires_in -5",
        ),
        (
            "half a body",
            |_| Then::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".into()),
            "token/closed",
            "",
        ),
        (
            "an endless body",
            |_| Then::Flood(b"HTTP/1.1 200 OK\r\n\r\n                                             "),
            "token/too_large",
            "1048576 bytes",
        ),
        ("an endless header", |_| Then::Flood(b"HTTP/1.1 200 OK\r\nA: "), "token/too_large", ""),
        (
            "no gzip",
            |_| respond("200 OK", "Content-Encoding: gzip\r\n", "{\"access_token\": \"t\"}"),
            "token/decompression",
            "",
        ),
        (
            "elsewhere",
            |_| respond("307 Go", "Location: http://u:p@elsewhere.test/x\r\n", ""),
            "token/redirect",
            "redirects to http://elsewhere.test/",
        ),
    ];
    for (name, answer, want, why) in cases {
        let peer = Recorder::start(answer).await;
        let timeout = if want.ends_with("deadline") { "200ms" } else { "5s" };
        let probed = probe(&with_secret(&peer).replace("5s", timeout), "http://127.0.0.1:1/").await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        assert!(probed.why().contains(why), "{name}: {}", probed.why());
        assert!(!probed.told().contains("hunter2"), "{name}: {}", probed.told());
        assert!(!probed.told().contains("aWQ6aHVudGVyMg"), "{name}: {}", probed.told());
        let phases = probed.series("probe_http_duration_seconds");
        assert_eq!(phases.len(), 5, "{name}: the phases are there, as in the peer");
    }
    let closed = closed_port().await;
    let module = module(&format!("token_url: http://u:hunter2@{closed}/?k=hunter2\nclient_secret: x"));
    let probed = probe(&module, "http://127.0.0.1:1/").await;
    assert_eq!(probed.failure().as_deref(), Some("token/refused"), "{}", probed.why());
    assert!(
        probed.why().starts_with(&format!("cannot fetch a token from http://{closed}/: ")),
        "{}",
        probed.why()
    );
    assert!(!probed.told().contains("hunter2"), "{}", probed.told());
}

#[tokio::test]
async fn redirects_within_the_site_and_gzip_are_followed_and_read() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"{\"access_token\": \"t\"}").unwrap();
    let packed = gzip.finish().unwrap();
    let peer = Recorder::start(move |request| match request.lines().next().unwrap() {
        "POST /token HTTP/1.1" => respond("308 Go", "Location: /other\r\n", ""),
        "POST /other HTTP/1.1" => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                packed.len()
            );
            Then::Say([head.as_bytes(), &packed].concat())
        }
        _ => respond("200 OK", "", "fine"),
    })
    .await;
    succeeds(&compile(&with_secret(&peer)), &peer).await;
    assert_eq!(history(&peer), [BASIC, BASIC, "Bearer t"]);

    let circle = Recorder::start(|_| respond("307 Go", "Location: /\r\n", "")).await;
    let probed = probe(&with_secret(&circle), "http://127.0.0.1:1/").await;
    assert_eq!(probed.failure().as_deref(), Some("token/redirect"), "{}", probed.why());
    assert_eq!(circle.requests().len(), 2 * 11);
}

#[tokio::test]
async fn the_token_server_has_its_own_tls_and_proxy() {
    let authority = Authority::new();
    let tokens = Recorder::tls(authority.issue(&["localhost"], Validity::Now), |_| {
        respond("200 OK", "", "{\"access_token\": \"t\"}")
    })
    .await;
    let to = tokens.address;
    let proxy = Recorder::start(move |request| match request.starts_with("CONNECT ") {
        true => Then::Tunnel("HTTP/1.1 200 OK\r\n\r\n", to),
        false => respond("200 OK", "", "{\"access_token\": \"from-proxy\"}"),
    })
    .await;
    let target = Recorder::start(|_| respond("200 OK", "", "fine")).await;
    let secure = format!("client_secret: hunter2\ntoken_url: https://localhost:{}/token", to.port());
    let trust = format!("tls_config: {{ca: {}}}", authority.yaml());
    let through = format!("proxy_url: http://{}", proxy.address);
    let cases = [
        (format!("{secure}\n{trust}"), Ok("Bearer t")),
        (secure.clone(), Err("token/incomplete_chain")),
        (format!("{secure}\n{trust}\n{through}"), Ok("Bearer t")),
        (format!("client_secret: hunter2\ntoken_url: http://a.test/x\n{through}"), Ok("Bearer from-proxy")),
    ];
    for (keys, want) in cases {
        let probed = probe(&module(&keys), &format!("http://{}/", target.address)).await;
        assert_eq!(probed.failure().as_deref(), want.err(), "{keys}: {}", probed.why());
        if let Ok(sent) = want {
            assert_eq!(history(&target).pop().as_deref(), Some(sent), "{keys}");
        }
    }
    let firsts: Vec<_> =
        proxy.requests().iter().map(|request| request.lines().next().unwrap().to_owned()).collect();
    let connect = format!("CONNECT localhost:{} HTTP/1.1", to.port());
    assert_eq!(firsts, [connect.as_str(), "POST http://a.test/x HTTP/1.1"]);
}

/// A new RSA key and how its signatures are checked.
fn rsa_key() -> (String, Vec<u8>) {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().unwrap();
    let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
    let public = signature::RsaKeyPair::from_pkcs8(der.as_ref()).unwrap().public_key().as_ref().to_vec();
    (pem, public)
}

#[tokio::test]
async fn a_signed_token_is_exchanged_for_an_access_token() {
    let (pem, public) = rsa_key();
    let dir = Dir::new();
    dir.write("key.pem", &pem);
    let inline = format!("client_certificate_key: {pem:?}");
    let file = format!("client_certificate_key_file: {}", dir.path().join("key.pem").display());
    let plain = json!({"iss": "id", "sub": "id", "aud": "URL"});
    let rich = "iss: me\naudience: you\nscopes: [a, b]\nclient_certificate_key_id: k1\n\
                claims: {role: [x, 1], sub: other, nested: {a: null}}";
    let claims = json!({
        "iss": "me", "sub": "other", "aud": "you", "scope": "a b", "role": ["x", 1], "nested": {"a": null},
    });
    let cases: [(&str, &str, &dyn signature::VerificationAlgorithm, Value, &Value); 4] = [
        (&inline, "", &signature::RSA_PKCS1_2048_8192_SHA256, json!({"alg": "RS256", "typ": "JWT"}), &plain),
        (&file, "", &signature::RSA_PKCS1_2048_8192_SHA256, json!({"alg": "RS256", "typ": "JWT"}), &plain),
        (
            &inline,
            "signature_algorithm: RS384",
            &signature::RSA_PKCS1_2048_8192_SHA384,
            json!({"alg": "RS384", "typ": "JWT"}),
            &plain,
        ),
        (
            &file,
            &format!("signature_algorithm: RS512\n{rich}"),
            &signature::RSA_PKCS1_2048_8192_SHA512,
            json!({"alg": "RS512", "typ": "JWT", "kid": "k1"}),
            &claims,
        ),
    ];
    for (key, keys, algorithm, header, claims) in cases {
        let peer = server(", \"expires_in\": 60").await;
        let url = format!("http://{}/token", peer.address);
        let keys = format!(
            "token_url: {url}\ngrant_type: urn:ietf:params:oauth:grant-type:jwt-bearer\n{key}\n{keys}"
        );
        let module = compile(&module(&keys));
        let probed = succeeds(&module, &peer).await;
        succeeds(&module, &peer).await;
        assert_eq!(history(&peer), ["fetch with nothing", "Bearer t1", "Bearer t1"]);
        assert!(!format!("{module:?}").contains("PRIVATE"), "the key prints");

        let request = peer.requests().remove(0);
        let (_, form) = request.split_once("\r\n\r\n").unwrap();
        let (assertion, rest) = form.strip_prefix("assertion=").unwrap().split_once('&').unwrap();
        let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        let scope = if claims.get("scope").is_some() { "&scope=a+b" } else { "" };
        assert_eq!(rest, format!("{grant}{scope}"));
        assert!(!probed.told().contains(assertion));

        let parts: Vec<&str> = assertion.split('.').collect();
        let [got_header, got_claims, signed] =
            [0, 1, 2].map(|at| BASE64URL_NOPAD.decode(parts[at].as_bytes()).unwrap());
        let message = format!("{}.{}", parts[0], parts[1]);
        UnparsedPublicKey::new(algorithm, &public).verify(message.as_bytes(), &signed).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&got_header).unwrap(), header);
        let mut got: Value = serde_json::from_slice(&got_claims).unwrap();
        let object = got.as_object_mut().unwrap();
        let [issued, expires] = ["iat", "exp"].map(|name| object.remove(name).unwrap().as_u64().unwrap());
        assert_eq!(expires - issued, 600);
        assert_eq!(object.remove("jti").unwrap().as_str().unwrap().len(), 36);
        assert_eq!(got.to_string().replace(&url, "URL"), claims.to_string());
    }
}

#[tokio::test]
async fn a_key_that_cannot_sign_has_a_reason() {
    let dir = Dir::new();
    dir.write("key.pem", "hunter2");
    let grant = "grant_type: urn:ietf:params:oauth:grant-type:jwt-bearer\ntoken_url: http://127.0.0.1:1/";
    let file = format!("client_certificate_key_file: {}", dir.path().join("key.pem").display());
    let cases = [
        (
            file.as_str(),
            "prepare/file",
            "client_certificate_key_file holds no unencrypted private key in PEM",
        ),
        ("client_certificate_key: hunter2", "prepare/config", "client_certificate_key holds no"),
        ("client_secret: hunter2", "prepare/config", "needs client_certificate_key or"),
        ("client_certificate_key_file: /nonexistent", "prepare/file", "cannot read /nonexistent"),
    ];
    for (keys, want, why) in cases {
        let probed = probe(&module(&format!("{grant}\n{keys}")), "http://127.0.0.1:1/").await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{keys}: {}", probed.why());
        assert!(probed.why().contains(why), "{keys}: {}", probed.why());
        assert!(!probed.told().contains("hunter2"), "{}", probed.told());
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_known_at_load() {
    let cases = [
        ("token_url: a.test/token", "oauth2: token_url must be a URL"),
        ("token_url: 'https:///token'", "oauth2: token_url must be a URL"),
        (
            "token_url: http://a\nscopes: [x]\nendpoint_params: {scope: y}",
            "oauth2: endpoint_params may not set \"scope\"",
        ),
    ];
    for (keys, want) in cases {
        let why = compile(&module(keys)).prober.unwrap_err();
        assert!(why.starts_with(want), "{why}");
    }
}
