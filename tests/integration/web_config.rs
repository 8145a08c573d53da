//! `--web.config.file`: HTTPS, client certificates, users, headers, limits, and what is read again.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::io::AsyncReadExt as _;

use crate::support::certificates::{Authority, Pair, Validity};
use crate::support::exporter::{Dir, Exporter, PATIENCE, Reply};

const CONFIG: &str = "modules:\n  m: {prober: tcp}\n  slow: {prober: http, timeout: 9s}\n";

/// `pass word`
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.";
/// `U*U`
const OTHER_HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// A folder with a server certificate and a web configuration.
pub fn dir(authority: &Authority, web: &str) -> Dir {
    let dir = Dir::new();
    dir.write("c.yml", CONFIG);
    write_pair(&dir, &authority.issue_pair(&["server.test"], Validity::Now));
    dir.write("ca.pem", authority.pem());
    dir.write("w.yml", web);
    dir
}

fn write_pair(dir: &Dir, pair: &Pair) {
    dir.write("cert.pem", &pair.certificate);
    dir.write("key.pem", &pair.key);
}

fn start(dir: Dir) -> Exporter {
    let args = ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0", "--web.config.file=w.yml"];
    Exporter::start_in(dir, &args)
}

/// A running exporter without TLS.
pub fn start_plain(web: &str) -> Exporter {
    start(dir(&Authority::new(), web))
}

/// A client that trusts an authority and may have a certificate.
fn client(authority: &Authority, pair: Option<&Pair>, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn server_name() -> ServerName<'static> {
    ServerName::try_from("server.test").unwrap()
}

/// Gets a page over HTTPS; the serial number of the server's certificate comes with it.
fn https(exporter: &Exporter, client: &Arc<ClientConfig>, path: &str) -> Result<(Reply, Vec<u8>), String> {
    let stream = TcpStream::connect(exporter.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let session = ClientConnection::new(Arc::clone(client), server_name()).unwrap();
    let mut stream = StreamOwned::new(session, stream);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut exchange = || {
        stream.write_all(request.as_bytes())?;
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw)?;
        Ok(raw)
    };
    let raw = exchange().map_err(|error: std::io::Error| error.to_string())?;
    let certificate = stream.conn.peer_certificates().unwrap()[0].to_vec();
    if raw.is_empty() { Err("no reply".to_owned()) } else { Ok((Reply::parse(&raw), certificate)) }
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", BASE64.encode(credentials.as_bytes()))
}

/// Status of a page with these credentials.
fn status_as(exporter: &Exporter, credentials: &str) -> u16 {
    exporter.request("GET", "/-/healthy", &[("Authorization", &basic(credentials))]).status
}

const TLS: &str = "tls_server_config: {cert_file: cert.pem, key_file: key.pem";

#[test]
fn pages_are_served_over_tls_only() {
    let authority = Authority::new();
    let exporter = start(dir(&authority, &format!("{TLS}}}\n")));
    assert!(exporter.wait_for_log("External URL").contains("url=https://"));
    assert!(exporter.wait_for_log("TLS is enabled").contains("http2=true"));
    let (reply, _) = https(&exporter, &client(&authority, None, &[]), "/-/healthy").unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "Healthy"));
    let (reply, _) =
        https(&exporter, &client(&authority, None, &[]), "/probe?module=m&target=127.0.0.1:1").unwrap();
    assert!(reply.text().contains("\nprobe_success 0\n"));

    // As Go answers; the status line is that of HTTP/1.0, and there is no further header.
    for method in ["GET", "HEAD", "POST", "PUT", "OPTIONS"] {
        let mut raw = String::new();
        exporter.send(method, "/-/healthy", &[]).read_to_string(&mut raw).unwrap();
        let want = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        assert_eq!(raw, want, "{method}");
    }
}

#[test]
fn certificate_and_key_may_stand_in_the_file() {
    let authority = Authority::new();
    let pair = authority.issue_pair(&["server.test"], Validity::Now);
    let web = format!("tls_server_config:\n  cert: {:?}\n  key: {:?}\n", pair.certificate, pair.key);
    let exporter = start(dir(&authority, &web));
    let (reply, _) = https(&exporter, &client(&authority, None, &[]), "/-/healthy").unwrap();
    assert_eq!(reply.status, 200);
}

#[test]
fn the_example_works() {
    let authority = Authority::new();
    let example = include_str!("../../web.example.yml");
    let names = [("server.pem", "cert.pem"), ("server.key", "key.pem"), ("clients-ca.pem", "ca.pem")];
    let web = names.iter().fold(example.to_owned(), |web, (theirs, ours)| web.replace(theirs, ours));
    let exporter = start(dir(&authority, &web));
    let pair = authority.issue_pair(&["prometheus.example.org"], Validity::Now);
    let client = client(&authority, Some(&pair), &[]);
    let (reply, _) = https(&exporter, &client, "/-/healthy").unwrap();
    assert_eq!((reply.status, reply.header("x-frame-options")), (401, Some("deny")));
    let warnings: Vec<_> = exporter.log().into_iter().filter(|line| line.contains("level=WARN")).collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
    // Without TLS, to see the password.
    let users = web.split("basic_auth_users:").nth(1).unwrap();
    let exporter = start_plain(&format!("basic_auth_users:{users}"));
    assert_eq!(status_as(&exporter, "prometheus:example"), 200);
}

#[test]
fn relative_paths_begin_at_the_file() {
    let authority = Authority::new();
    let dir = dir(&authority, "");
    fs::create_dir(dir.path().join("web")).unwrap();
    dir.write("web/w.yml", "tls_server_config: {cert_file: ../cert.pem, key_file: ../key.pem}\n");
    let args = ["--config.file=c.yml", "--web.listen-address=127.0.0.1:0", "--web.config.file=web/w.yml"];
    let exporter = Exporter::start_in(dir, &args);
    let (reply, _) = https(&exporter, &client(&authority, None, &[]), "/-/healthy").unwrap();
    assert_eq!(reply.status, 200);
}

/// The protocol that client and server agree on.
fn agreed(exporter: &Exporter, client: Arc<ClientConfig>) -> Option<String> {
    let mut stream = TcpStream::connect(exporter.address).unwrap();
    let mut session = ClientConnection::new(client, server_name()).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream).unwrap();
    }
    session.alpn_protocol().map(|protocol| String::from_utf8(protocol.to_vec()).unwrap())
}

#[tokio::test]
async fn http2_is_offered_unless_it_is_switched_off() {
    let authority = Authority::new();
    let both = client(&authority, None, &["h2", "http/1.1"]);
    let off = start(dir(&authority, &format!("{TLS}}}\nhttp_server_config: {{http2: false}}\n")));
    assert_eq!(agreed(&off, Arc::clone(&both)).as_deref(), Some("http/1.1"));
    let exporter = start(dir(&authority, &format!("{TLS}}}\nbasic_auth_users: {{alice: {HASH}}}\n")));
    assert_eq!(agreed(&exporter, client(&authority, None, &["http/1.1"])).as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&exporter, client(&authority, None, &[])), None);
    assert_eq!(agreed(&exporter, Arc::clone(&both)).as_deref(), Some("h2"));

    let stream = tokio::net::TcpStream::connect(exporter.address).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(both).connect(server_name(), stream).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = |path: &str, credentials: &str| {
        hyper::Request::get(format!("https://server.test{path}"))
            .header("Authorization", basic(credentials))
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    let refused = sender.send_request(request("/metrics", "alice:no")).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["www-authenticate"]),
        (401, &"Basic".parse().unwrap())
    );
    // Many at once, on one connection.
    let requests: Vec<_> = (0..200)
        .map(|_| sender.send_request(request("/probe?module=m&target=127.0.0.1:1", "alice:pass word")))
        .collect();
    for reply in requests {
        let reply = reply.await.unwrap();
        assert_eq!((reply.status().as_u16(), reply.version()), (200, hyper::Version::HTTP_2));
        let text = reply.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&text).contains("\nprobe_success 0\n"));
    }

    // A request that is taken back ends its probe, long before its timeout.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let path = format!("/probe?module=slow&target={}", silent.local_addr().unwrap());
    let begun = Instant::now();
    let (mut peer, _) = tokio::select! {
        accepted = silent.accept() => accepted.unwrap(),
        _ = sender.send_request(request(&path, "alice:pass word")) => panic!("the target is silent"),
    };
    peer.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(begun.elapsed().as_secs_f64() < 5.0);
    drop(sender);
    connection.await.unwrap().unwrap();
}

#[test]
fn who_is_let_in_by_certificate() {
    let authority = Authority::new();
    let names = ["client.test", "192.0.2.1", "2001:db8::1"];
    let pairs = [
        ("none", None),
        ("issued", Some(authority.issue_pair(&names, Validity::Now))),
        ("expired", Some(authority.issue_pair(&names, Validity::Past))),
        ("stranger", Some(Authority::new().issue_pair(&names, Validity::Now))),
        ("self-signed", Some(Pair::self_signed())),
    ];
    let trusted = format!("{}{}", authority.pem(), pairs[4].1.as_ref().unwrap().certificate);
    let ca = "client_ca_file: trusted.pem";
    // Each kind of certificate in the order above: let in or not.
    let cases: [(String, [bool; 5]); 14] = [
        (String::new(), [true; 5]),
        (", client_auth_type: NoClientCert".to_owned(), [true; 5]),
        (", client_auth_type: RequestClientCert".to_owned(), [true; 5]),
        (format!(", client_auth_type: RequestClientCert, {ca}"), [true; 5]),
        (", client_auth_type: RequireAnyClientCert".to_owned(), [false, true, true, true, true]),
        (format!(", client_auth_type: RequireClientCert, {ca}"), [false, true, true, true, true]),
        (format!(", client_auth_type: VerifyClientCertIfGiven, {ca}"), [true, true, false, false, true]),
        (format!(", client_auth_type: RequireAndVerifyClientCert, {ca}"), [false, true, false, false, true]),
        // Without an authority those of the system are trusted, and none of them issued any of these.
        (", client_auth_type: RequireAndVerifyClientCert".to_owned(), [false; 5]),
        (
            format!(", client_auth_type: RequireAndVerifyClientCert, client_ca: {:?}", authority.pem()),
            [false, true, false, false, false],
        ),
        (
            ", client_auth_type: RequireAnyClientCert, client_allowed_sans: [x, self.test]".to_owned(),
            [false, false, false, false, true],
        ),
        (
            format!(
                ", client_auth_type: VerifyClientCertIfGiven, {ca}, client_allowed_sans: ['2001:db8::1']"
            ),
            [false, true, false, false, false],
        ),
        (
            ", client_auth_type: RequestClientCert, client_allowed_sans: [192.0.2.1]".to_owned(),
            [false, true, true, true, false],
        ),
        (
            format!(", client_auth_type: RequireAndVerifyClientCert, {ca}, client_allowed_sans: []"),
            [false; 5],
        ),
    ];
    // One server goes through all settings, since they are read again for each handshake.
    let dir = dir(&authority, &format!("{TLS}}}\n"));
    dir.write("trusted.pem", &trusted);
    let exporter = start(dir);
    for (settings, want) in cases {
        exporter.dir.write("w.yml", &format!("{TLS}{settings}}}\n"));
        for ((kind, pair), want) in pairs.iter().zip(want) {
            let got = https(&exporter, &client(&authority, pair.as_ref(), &[]), "/-/healthy");
            assert_eq!(got.is_ok(), want, "{kind} with {settings:?}: {got:?}");
        }
    }
}

#[test]
fn who_is_let_in_by_password() {
    let exporter = start_plain(&format!("basic_auth_users:\n  alice: {HASH}\n  bob: {OTHER_HASH}\n"));
    for path in ["/", "/-/healthy", "/metrics", "/probe", "/nope"] {
        let reply = exporter.get(path);
        assert_eq!(reply.header("www-authenticate"), Some("Basic"), "{path}");
        let want = (401, Some("text/plain; charset=utf-8".to_owned()), "Unauthorized\n".to_owned());
        assert_eq!(reply.parts(), want, "{path}");
    }
    let cases = [
        ("alice:pass word", 200),
        ("bob:U*U", 200),
        ("alice:U*U", 401),
        ("alice:", 401),
        ("carol:pass word", 401),
        (":", 401),
    ];
    for _ in 0..2 {
        for (credentials, want) in cases {
            assert_eq!(status_as(&exporter, credentials), want, "{credentials}");
        }
    }
    assert_eq!(exporter.request("POST", "/-/reload", &[]).status, 401);
    // Nothing of all this is written anywhere.
    let log = exporter.log().join("\n");
    assert!(!log.contains("$2") && !log.contains("pass word"), "{log}");
}

#[test]
fn users_and_headers_are_those_of_the_file_now() {
    let exporter = start_plain(&format!("basic_auth_users: {{alice: {HASH}}}\n"));
    assert_eq!((status_as(&exporter, "alice:pass word"), status_as(&exporter, "alice:U*U")), (200, 401));
    exporter.dir.write("w.yml", &format!("basic_auth_users: {{alice: {OTHER_HASH}}}\n"));
    assert_eq!((status_as(&exporter, "alice:pass word"), status_as(&exporter, "alice:U*U")), (401, 200));

    exporter.dir.write("w.yml", "basic_auth_users: [alice]\n");
    let reply = exporter.get("/-/healthy");
    assert_eq!((reply.status, reply.text().as_str()), (500, "Internal Server Error\n"));
    assert_eq!(status_as(&exporter, "alice:U*U"), 500);
    let line = exporter.wait_for_log("The web configuration cannot be used");
    assert!(line.contains("w.yml:1:19: basic_auth_users must be a mapping, got a list"), "{line}");
    fs::remove_file(exporter.dir.path().join("w.yml")).unwrap();
    assert_eq!(exporter.get("/-/healthy").status, 500);

    // One bad hash is no reason to keep the others out, nor to let anybody in.
    exporter.dir.write("w.yml", &format!("basic_auth_users: {{alice: nonsense, bob: {HASH}}}\n"));
    assert_eq!((status_as(&exporter, "alice:nonsense"), status_as(&exporter, "bob:pass word")), (401, 200));
    exporter.dir.write("w.yml", "http_server_config: {headers: {X-Frame-Options: deny}}\n");
    let reply = exporter.get("/-/healthy");
    assert_eq!((reply.status, reply.header("x-frame-options")), (200, Some("deny")));
    // Told once for each state of the file, however many requests there were.
    let complaints =
        exporter.log().iter().filter(|line| line.contains("The web configuration cannot be used")).count();
    assert_eq!(complaints, 2);
}

#[test]
fn certificates_are_those_of_the_files_now() {
    let authority = Authority::new();
    let exporter = start(dir(&authority, &format!("{TLS}}}\n")));
    let client = client(&authority, None, &[]);
    let certificate = || https(&exporter, &client, "/-/healthy").map(|(_, certificate)| certificate);
    let first = certificate().unwrap();
    assert_eq!(certificate().unwrap(), first);
    let pair = authority.issue_pair(&["server.test"], Validity::Now);
    exporter.dir.write("cert.pem", &pair.certificate);
    assert!(certificate().unwrap_err().contains("InternalError"));
    let line = exporter.wait_for_log("TLS cannot be used");
    assert!(
        line.contains("w.yml:1:52: tls_server_config.key_file is not the key of the certificate"),
        "{line}"
    );
    exporter.dir.write("key.pem", &pair.key);
    assert_ne!(certificate().unwrap(), first);
    exporter.wait_for_log("Reloaded certificate");

    // TLS is not switched off by a file.
    exporter.dir.write("w.yml", "");
    assert!(certificate().unwrap_err().contains("InternalError"));
    exporter.wait_for_log("TLS is switched on and off only by a restart");
    let mut raw = String::new();
    exporter.send("GET", "/-/healthy", &[]).read_to_string(&mut raw).unwrap();
    assert!(raw.starts_with("HTTP/1.0 400 "), "{raw}");
    exporter.dir.write("w.yml", &format!("{TLS}}}\n"));
    assert!(certificate().is_ok());
}

#[test]
fn headers_stand_in_every_reply_but_those_of_the_limit() {
    let exporter = start_plain(&format!(
        "basic_auth_users: {{alice: {HASH}}}\n\
         rate_limit: {{interval: 1h, burst: 3}}\n\
         http_server_config:\n\
        \x20 headers:\n\
        \x20   Strict-Transport-Security: max-age=1\n\
        \x20   X-Content-Type-Options: nosniff\n\
        \x20   X-Frame-Options: sameorigin\n\
        \x20   X-XSS-Protection: \"1\"\n\
        \x20   Content-Security-Policy: |\n\
        \x20     default-src 'self';\n\
        \x20     img-src *\n"
    ));
    let authorization = basic("alice:pass word");
    let good = [("Authorization", authorization.as_str())];
    for (headers, status) in [(&[][..], 401), (&good, 200), (&good, 200)] {
        let reply = exporter.request("GET", "/-/healthy", headers);
        assert_eq!(reply.status, status);
        for (name, value) in [
            ("strict-transport-security", "max-age=1"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "sameorigin"),
            ("x-xss-protection", "1"),
            ("content-security-policy", "default-src 'self'; img-src *"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{name} with {status}");
        }
    }
    // The limit comes first: whoever is too much is not asked for a password.
    for headers in [&[][..], &good] {
        let reply = exporter.request("GET", "/-/healthy", headers);
        assert_eq!((reply.status, reply.text().as_str()), (429, "Too Many Requests\n"));
        assert_eq!((reply.header("x-frame-options"), reply.header("www-authenticate")), (None, None));
    }
}

#[test]
fn a_file_without_content_changes_nothing() {
    for web in ["", "# nothing\n", "tls_server_config:\nbasic_auth_users: {}\nrate_limit: {}\n"] {
        let exporter = start_plain(web);
        assert_eq!(exporter.get("/-/healthy").status, 200);
        exporter.wait_for_log("TLS is disabled");
    }
}

#[test]
fn clients_that_do_not_get_on_with_tls_hold_up_nobody() {
    let authority = Authority::new();
    let mut exporter = start(dir(&authority, &format!("{TLS}}}\n")));
    let _silent: Vec<_> = (0..50).map(|_| TcpStream::connect(exporter.address).unwrap()).collect();
    let mut half = TcpStream::connect(exporter.address).unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1, 0]).unwrap();
    let mut noise = TcpStream::connect(exporter.address).unwrap();
    noise.write_all(b"\xff\xff\xff\xff\xff\xff\xff\xff").unwrap();
    let (reply, _) = https(&exporter, &client(&authority, None, &[]), "/-/healthy").unwrap();
    assert_eq!(reply.status, 200);
    // Nor do they delay the end.
    let begun = Instant::now();
    exporter.signal("TERM");
    assert_eq!(exporter.wait().code(), Some(0));
    assert!(begun.elapsed().as_secs_f64() < 3.0);
}

#[test]
fn handshakes_in_progress_may_end_and_ask() {
    let authority = Authority::new();
    let mut exporter = start(dir(&authority, &format!("{TLS}}}\n")));
    let config = client(&authority, None, &[]);
    let connect = || {
        let stream = TcpStream::connect(exporter.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&config), server_name()).unwrap(), stream)
    };
    let (silent, mut half) = (connect(), connect());
    half.conn.write_tls(&mut half.sock).unwrap();
    // Accepted after them.
    assert_eq!(https(&exporter, &config, "/-/healthy").unwrap().0.status, 200);
    exporter.signal("TERM");
    exporter.wait_for_log("Stopping");
    for mut stream in [silent, half] {
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).unwrap();
        assert_eq!(Reply::parse(&raw).status, 200);
    }
    assert_eq!(exporter.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_just_made_may_ask() {
    let authority = Authority::new();
    let mut exporter = start(dir(&authority, &format!("{TLS}}}\n")));
    let stream = tokio::net::TcpStream::connect(exporter.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(client(&authority, None, &["h2"]));
    let stream = TokioIo::new(connector.connect(server_name(), stream).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    exporter.signal("TERM");
    exporter.wait_for_log("Stopping");
    let request = hyper::Request::get("https://server.test/-/healthy").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    drop(sender);
    let _ = connection.await.unwrap();
    assert_eq!(exporter.wait().code(), Some(0));
}
