//! `grpc.health.v1.Health`: the state of a heartbeat as the status of a service of its name.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::time::sleep;

use super::call::{Conversation, Status};
use crate::heartbeat::record::State;
use crate::heartbeat::registry::{Lookup, View};
use crate::heartbeat::{Key, Service};
use crate::net::grpc::health::{self, Serving};
use crate::net::grpc::status::Code;
use crate::server::body::RequestBody;

/// `Check`.
///
/// # Errors
/// `NOT_FOUND`.
pub async fn check(service: &Service, message: Bytes) -> Result<Vec<u8>, Status> {
    let name = read(&message)?;
    let serving = serving(service, &name);
    serving.map(Serving::encode).ok_or_else(|| Status::new(Code::NOT_FOUND, "no heartbeat is called that"))
}

/// `List`: this receiver, and its heartbeats by namespace and name.
///
/// # Errors
/// `RESOURCE_EXHAUSTED`, as `health.proto` wants it for more than a hundred.
pub async fn list(service: &Service, _message: Bytes) -> Result<Vec<u8>, Status> {
    let registry = &service.registry;
    if registry.len() >= MAX_LISTED {
        let why = format!("there are more than {MAX_LISTED} services");
        return Err(Status::new(Code::RESOURCE_EXHAUSTED, why));
    }
    let views = registry.views(registry.now(), |_| true);
    let services = views.iter().map(|view| (view.key().to_string(), of(view)));
    Ok(health::list(std::iter::once((String::new(), Serving::SERVING)).chain(services)))
}

/// Services in an answer.
const MAX_LISTED: usize = 100;

/// `Watch`: the status now, and again whenever it has changed.
///
/// # Errors
/// Why it ended.
pub async fn watch(
    service: Arc<Service>,
    mut conversation: Conversation<impl RequestBody>,
) -> Result<(), Status> {
    let Ok(message) = tokio::time::timeout(crate::server::body::TIME, conversation.next()).await else {
        return Err(Status::new(Code::DEADLINE_EXCEEDED, "there is no message"));
    };
    let message = message?.ok_or_else(|| Status::new(Code::INTERNAL, "there is no message"))?;
    let name = read(&message)?;
    let mut known = None;
    loop {
        let now = serving(&service, &name).unwrap_or(Serving::SERVICE_UNKNOWN);
        if known != Some(now) {
            conversation.send(&now.encode()).await?;
            known = Some(now);
        }
        sleep(LOOK).await;
    }
}

/// Time between two looks. States change by the second.
const LOOK: Duration = Duration::from_secs(1);

fn read(message: &[u8]) -> Result<String, Status> {
    let bad = || Status::new(Code::INVALID_ARGUMENT, "the message is no HealthCheckRequest");
    health::read_request(message).ok_or_else(bad)
}

/// `None` for an unknown name; the receiver itself has the empty one.
fn serving(service: &Service, name: &str) -> Option<Serving> {
    if name.is_empty() {
        return Some(Serving::SERVING);
    }
    let registry = &service.registry;
    let heartbeat = registry.find(Lookup::Key(&name.parse::<Key>().ok()?)).ok()?;
    Some(of(&heartbeat.view(registry.now())))
}

/// As for `/probe`: what is paused is no problem, and what never reported is no success.
fn of(view: &View) -> Serving {
    match view.status.state {
        State::Up | State::Late | State::Running | State::Paused => Serving::SERVING,
        State::Down => Serving::NOT_SERVING,
        State::New => Serving::UNKNOWN,
    }
}
