//! The presence of this receiver: a key with a lease, which the others see go when we do.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{info, warn};

use super::super::metrics::{Op, Tie};
use super::Shared;
use super::client::{Client, Failure};
use super::keys::{Key, encode};

/// Keeps the lease until told to stop, then gives it back.
pub(super) async fn run(
    mut client: Client,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<oneshot::Sender<()>>,
) {
    let seconds = shared.settings.lease.as_secs().max(1);
    // Two may be lost.
    let pause = Duration::from_secs(seconds) / 3;
    let mut lease = None::<String>;
    let mut was_lost = false;
    let left = loop {
        let kept = keep(&mut client, &shared, &mut lease, seconds).await;
        shared.metrics.set_lost(Tie::Lease, kept.is_err());
        match kept {
            Ok(()) if was_lost => {
                info!(endpoint = client.endpoint(), "This receiver is visible to others again");
                was_lost = false;
            }
            Ok(()) => {}
            Err(failure) => {
                shared.metrics.failed(Op::Lease);
                if !was_lost {
                    warn!(err = failure.to_string(), "This receiver cannot tell the others that it is there");
                }
                was_lost = true;
            }
        }
        tokio::select! {
            left = &mut stop => break left,
            () = sleep(pause) => {}
        }
    };
    if let Some(lease) = lease {
        // Fails when etcd is away; then it runs out by itself.
        let _ = client.call("/v3/lease/revoke", &json!({"ID": lease})).await;
    }
    if let Ok(left) = left {
        let _ = left.send(());
    }
}

async fn keep(
    client: &mut Client,
    shared: &Shared,
    lease: &mut Option<String>,
    seconds: u64,
) -> Result<(), Failure> {
    if let Some(id) = lease {
        let answer = client.call("/v3/lease/keepalive", &json!({"ID": *id})).await?;
        let left = answer.get("result").and_then(|result| result.get("TTL")).and_then(Value::as_str);
        // Without a time to live it has run out, and our key with it.
        if left.is_some_and(|left| left != "0") {
            return Ok(());
        }
        *lease = None;
    }
    let answer = client.call("/v3/lease/grant", &json!({"TTL": seconds})).await?;
    let id = answer.get("ID").and_then(Value::as_str).unwrap_or_default();
    let key = shared.keys.encode(&Key::Receiver(shared.keys.receiver.as_str().into()));
    let value = encode(shared.keys.value(b"{}"));
    client.call("/v3/kv/put", &json!({"key": key, "value": value, "lease": id})).await?;
    *lease = Some(id.to_owned());
    Ok(())
}
