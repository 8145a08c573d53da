//! Certificates, and TLS that does not lead to HTTP/2.

use std::sync::Arc;

use rustls::ServerConfig;

use super::{CODE, MODULE, SSL, TYPE, refusal, server, serving, status};
use crate::support::certificates::{Authority, END, Validity};
use crate::support::frames::{reset, settings};
use crate::support::peers::{Act, Peer};
use crate::support::{probe, probe_as};

/// Settings of a server that agrees on these protocols.
pub fn agreeing(config: &Arc<ServerConfig>, protocols: &[&[u8]]) -> Arc<ServerConfig> {
    let mut config = ServerConfig::clone(config);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

#[tokio::test]
async fn certificates_are_reported_whatever_the_verdict() {
    let authority = Authority::new();
    let good = authority.issue(&["127.0.0.1"], Validity::Now);
    let expired = authority.issue(&["127.0.0.1"], Validity::Past);
    let other = authority.issue(&["other.test"], Validity::Now);
    let ca = authority.yaml();
    let trusted = format!("{{ca: {ca}}}");
    let named = format!("{{ca: {ca}, server_name: other.test}}");
    let skip = "{insecure_skip_verify: true}".to_owned();
    let refused = || refusal(&[(":status", "200"), TYPE, ("grpc-status", "12")]);
    let cases = [
        ("good", &good, &trusted, serving(), None, 0.0, None),
        ("expired", &expired, &trusted, serving(), Some("tls/expired"), 14.0, Some("expired")),
        ("another name", &other, &trusted, serving(), Some("tls/name_mismatch"), 14.0, Some("name_mismatch")),
        ("the module's name", &other, &named, serving(), None, 0.0, None),
        ("verification off", &good, &skip, serving(), None, 0.0, Some("incomplete_chain")),
        // Defect of the peer: no facts about TLS unless the call succeeds.
        ("a call that fails", &good, &trusted, refused(), Some("check/status"), 12.0, None),
        ("a call that is cut", &good, &trusted, reset(2), Some("request/reset"), 13.0, None),
    ];
    for (name, config, settings_of_tls, frames, want, code, reason) in cases {
        let config = agreeing(config, &[b"h2"]);
        let script = vec![Act::StartTls(config), Act::Say(settings()), Act::HearCall, Act::Say(frames)];
        let peer = Peer::tcp(script).await;
        let module = format!("{MODULE}\ngrpc:\n  tls: true\n  tls_config: {settings_of_tls}");
        // The parameter is for http and tcp.
        let probed = probe_as(&module, &peer.target(), Some("ignored.test")).await;
        assert_eq!(probed.failure().as_deref(), want, "{name}: {}", probed.why());
        let is_connected = !want.is_some_and(|want| want.starts_with("tls/"));
        assert_eq!(
            probed.values([SSL, CODE, "probe_tls_verified", "probe_tls_version_info{version=\"TLS 1.3\"}"]),
            [is_connected.into(), code, reason.is_none().into(), 1.0].map(Some),
            "{name}"
        );
        let expiry = if name == "expired" { 1_009_843_200.0 } else { END };
        let dates = ["probe_ssl_earliest_cert_expiry", "probe_ssl_leaf_not_after_timestamp_seconds"];
        assert_eq!(probed.values(dates), [Some(expiry); 2], "{name}");
        assert_eq!(probed.series("probe_ssl_last_chain_info").len(), 1, "{name}");
        let failures: Vec<_> =
            reason.map(|r| format!("probe_tls_verify_failure_info{{reason={r:?}}}")).into_iter().collect();
        assert_eq!(probed.series("probe_tls_verify_failure_info"), failures, "{name}");
        assert_eq!(probed.series("probe_tls_cipher_info"), [""; 0], "{name}: for http only");
        assert_eq!(probed.series("probe_ssl_last_chain_expiry"), [""; 0], "{name}: not for grpc");
        assert_eq!(status(&probed), want.is_none().then_some("SERVING"), "{name}");
    }
}

#[tokio::test]
async fn tls_must_lead_to_http2() {
    let authority = Authority::new();
    let config = authority.issue(&["127.0.0.1"], Validity::Now);
    let cases = [
        ("no protocol", agreeing(&config, &[]), "tls/protocol", Some(1.0), 1.0),
        ("another protocol", agreeing(&config, &[b"http/1.1"]), "tls/tls_alert", None, 0.0),
    ];
    let module = format!("{MODULE}\ngrpc:\n  tls: true\n  tls_config: {{ca: {}}}", authority.yaml());
    for (name, config, want, verified, ssl) in cases {
        let peer = Peer::tcp(vec![Act::StartTls(config)]).await;
        let probed = probe(&module, &peer.target()).await;
        assert_eq!(probed.failure().as_deref(), Some(want), "{name}: {}", probed.why());
        let values = probed.values([CODE, SSL, "probe_tls_verified"]);
        assert_eq!(values, [Some(14.0), Some(ssl), verified], "{name}");
    }
    // Under TLS 1.3 the server refuses us only after the handshake.
    let exclusive = agreeing(&authority.issue_exclusive(&["127.0.0.1"]), &[b"h2"]);
    let peer = Peer::tcp(vec![Act::StartTls(exclusive)]).await;
    let probed = probe(&module, &peer.target()).await;
    assert_eq!(probed.failure().as_deref(), Some("request/tls_alert"), "{}", probed.why());
    assert!(probed.why().contains("certificate_required"), "{}", probed.why());
    assert_eq!(probed.values([CODE, SSL, "probe_tls_verified"]), [14.0, 1.0, 1.0].map(Some));

    let peer = server(serving()).await;
    let probed = probe(&module, &peer.target()).await;
    assert_eq!(probed.failure().as_deref(), Some("tls/tls_protocol"), "{}", probed.why());
    assert_eq!(probed.values([CODE, SSL, "probe_tls_verified"]), [Some(14.0), Some(0.0), None]);
}
