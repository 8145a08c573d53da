//! Handshakes against real servers on the loopback interface, or over a pipe. The servers are here.

mod connections;
mod files;
mod pki;
mod verdicts;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use self::pki::{Authority, Leaf, pem, year};
use super::*;

/// Values of `min_version` for a client of rustls and one of OpenSSL, which offer nothing different to
/// a server of TLS 1.2 or newer.
const LIBRARIES: [Option<TlsVersion>; 2] = [None, Some(TlsVersion::Tls10)];

const GREETING: &[u8] = b"hello";

/// Names that clients asked for by server name indication.
type Asked = Arc<Mutex<Vec<Option<String>>>>;

/// Presents its certificates without looking at them, and notes the name it was asked for.
#[derive(Debug)]
struct Presents {
    key: Arc<CertifiedKey>,
    asked: Asked,
}

impl ResolvesServerCert for Presents {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_owned);
        self.asked.lock().unwrap().push(name);
        Some(Arc::clone(&self.key))
    }
}

struct Server {
    address: SocketAddr,
    asked: Asked,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct ServerSetup {
    versions: Vec<&'static SupportedProtocolVersion>,
    provider: CryptoProvider,
    client_root: Option<CertificateDer<'static>>,
    alpn: Vec<Vec<u8>>,
}

impl Default for ServerSetup {
    fn default() -> Self {
        Self {
            versions: rustls::ALL_VERSIONS.to_vec(),
            provider: default_provider(),
            client_root: None,
            alpn: Vec::new(),
        }
    }
}

impl ServerSetup {
    fn config(self, leaf: &Leaf, others: &[&CertificateDer<'static>], asked: &Asked) -> ServerConfig {
        let provider = Arc::new(self.provider);
        let key = PrivatePkcs8KeyDer::from(leaf.key.serialize_der());
        let key = provider.key_provider.load_private_key(key.into()).unwrap();
        let mut chain = vec![leaf.der.clone()];
        chain.extend(others.iter().map(|&der| der.clone()));
        let resolver = Presents { key: Arc::new(CertifiedKey::new(chain, key)), asked: Arc::clone(asked) };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .unwrap();
        let builder = match self.client_root {
            Some(root) => {
                let mut roots = RootCertStore::empty();
                roots.add(root).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = self.alpn;
        config
    }

    /// Greets everyone whose handshake succeeds, until it is dropped.
    async fn start(self, leaf: &Leaf, others: &[&CertificateDer<'static>]) -> Server {
        let asked = Arc::default();
        let acceptor = TlsAcceptor::from(Arc::new(self.config(leaf, others, &asked)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(GREETING).await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        Server { address, asked, task }
    }
}

type Outcome = (Result<TlsStream<TcpStream>, TlsError>, TlsFacts);

async fn shake(client: &TlsClient, server: &Server, name: &str) -> Outcome {
    let stream = TcpStream::connect(server.address).await.unwrap();
    client.handshake(stream, name).await
}

async fn greeting(stream: &mut TlsStream<TcpStream>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn trusting(roots: &[&CertificateDer<'static>]) -> TlsSettings {
    TlsSettings { ca: Some(PemSource::Inline(pem(roots))), ..TlsSettings::default() }
}
