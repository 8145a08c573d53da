//! `HeartbeatService`: signals come in, one in a call or many in a stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use tokio::time::timeout;

use super::call::{Conversation, Status};
use super::message::{Beat, Pulse};
use crate::heartbeat::receiver::{Api, Rejected};
use crate::heartbeat::registry::{DefineError, Heartbeat, Lookup, Refused};
use crate::heartbeat::state::Accepted;
use crate::heartbeat::{Key, Service};
use crate::net::grpc::status::Code;
use crate::server::body::RequestBody;
use crate::server::reply;

/// `SendHeartbeat`.
///
/// # Errors
/// The signal was not taken.
pub async fn send(service: &Service, metadata: &HeaderMap, message: Bytes) -> Result<Vec<u8>, Status> {
    let started = Instant::now();
    let result = signal(service, metadata, &message).await;
    let counts = &service.registry.receiver;
    let code = match &result {
        Ok(pulse) if pulse.alive => 200,
        Ok(_) => 404,
        Err(refusal) => http_code(refusal.status.code),
    };
    counts.answered(Api::Grpc, code, started.elapsed());
    match result {
        Ok(pulse) => {
            if !pulse.alive {
                counts.rejected(Rejected::Unknown);
            }
            Ok(pulse.encode())
        }
        Err(refusal) => {
            counts.rejected(refusal.reason);
            Err(refusal.status)
        }
    }
}

/// `KeepAlive`: each message is answered before the next one is looked at. A refusal ends the stream.
///
/// # Errors
/// Why it ended.
pub async fn keep_alive(
    service: Arc<Service>,
    metadata: HeaderMap,
    mut conversation: Conversation<impl RequestBody>,
) -> Result<(), Status> {
    loop {
        let Ok(message) = timeout(IDLE_TIME, conversation.next()).await else {
            return Err(Status::new(Code::DEADLINE_EXCEEDED, "there was no signal for an hour"));
        };
        let Some(message) = message? else { return Ok(()) };
        let answer = send(&service, &metadata, message).await?;
        conversation.send(&answer).await?;
    }
}

/// Silence that ends a stream: what is abandoned must not take up a place for ever.
const IDLE_TIME: Duration = Duration::from_secs(3600);

/// The HTTP status that says the same, as far as there is one.
fn http_code(code: Code) -> u16 {
    match code {
        Code::INVALID_ARGUMENT => 400,
        Code::NOT_FOUND => 404,
        Code::RESOURCE_EXHAUSTED => 429,
        Code::UNAUTHENTICATED => 401,
        Code::UNAVAILABLE => 503,
        _ => 500,
    }
}

/// Why a signal was not taken.
struct Refusal {
    status: Status,
    reason: Rejected,
}

impl Refusal {
    fn new(code: Code, message: impl Into<String>, reason: Rejected) -> Self {
        Self { status: Status::new(code, message), reason }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (code, message) = match &refused {
            Refused::RateLimited { .. } => (Code::RESOURCE_EXHAUSTED, refused.to_string()),
            // What is wrong with the store is in the log.
            Refused::Unavailable { .. } => {
                (Code::UNAVAILABLE, "the signal is not taken: the store does not work now".to_owned())
            }
            Refused::Gone => (Code::NOT_FOUND, refused.to_string()),
        };
        let mut refusal = Self::new(code, message, refused.reason());
        refusal.status.retry_after = refused.retry_after_seconds().map(Duration::from_secs);
        refusal
    }
}

async fn signal(service: &Service, metadata: &HeaderMap, message: &[u8]) -> Result<Pulse, Refusal> {
    let invalid = |why: String| Refusal::new(Code::INVALID_ARGUMENT, why, Rejected::Body);
    let beat = Beat::decode(message).map_err(invalid)?;
    let registry = &service.registry;
    let event = beat.event(registry.now()).map_err(invalid)?;
    let heartbeat = match find(service, &beat.service, metadata).await? {
        Some(heartbeat) => heartbeat,
        None => {
            let why = "no heartbeat is called that";
            if beat.strict {
                return Err(Refusal::new(Code::NOT_FOUND, why, Rejected::Unknown));
            }
            return Ok(Pulse { reason: why.to_owned(), ..Pulse::default() });
        }
    };
    let text = Some(&beat.text).filter(|text| !text.is_empty());
    let body = text.map(|text| Bytes::copy_from_slice(&text.as_bytes()[..text.len().min(MAX_KEPT_BYTES)]));
    let receipt = registry.accept(&heartbeat, event, body).await?;
    Ok(Pulse {
        alive: true,
        state: Some(receipt.status.state),
        reason: receipt.status.reason.map_or("", |reason| reason.as_str()).to_owned(),
        repeated: receipt.accepted == Accepted::Repeated,
        deadline: receipt.status.deadline,
    })
}

/// The heartbeat of this name, id, token or UUID, which the configuration may allow to be made now.
///
/// Tokens and UUIDs prove that the sender may speak for it; with a name or an id, a heartbeat that has a
/// token wants that too.
async fn find(
    service: &Service,
    name: &str,
    metadata: &HeaderMap,
) -> Result<Option<Arc<Heartbeat>>, Refusal> {
    let registry = &service.registry;
    let key = name.parse::<Key>();
    let named = key.as_ref().ok().and_then(|key| registry.find(Lookup::Key(key)).ok());
    if let Some(heartbeat) = named.or_else(|| registry.find(Lookup::Id(name)).ok()) {
        if heartbeat.declared().token.is_none() || tokens(metadata).any(|token| heartbeat.has_token(token)) {
            return Ok(Some(heartbeat));
        }
        let why =
            "the heartbeat has a token, which must come as authorization: Bearer, or as heartbeat-token";
        return Err(Refusal::new(Code::UNAUTHENTICATED, why, Rejected::Auth));
    }
    let secret = registry.find(Lookup::Token(name)).or_else(|_| registry.find(Lookup::Uuid(name)));
    if let Ok(heartbeat) = secret {
        return Ok(Some(heartbeat));
    }
    let Ok(key) = key else { return Ok(None) };
    match registry.provision(&key).await {
        Ok(defined) => Ok(Some(defined.heartbeat)),
        Err(DefineError::Refused(refused)) => Err(refused.into()),
        Err(DefineError::Full(limit)) => {
            let why = format!("{limit} heartbeats have made themselves known already, which is the limit");
            Err(Refusal::new(Code::RESOURCE_EXHAUSTED, why, Rejected::Quota))
        }
        Err(_) => Ok(None),
    }
}

/// Tokens among the metadata. The second place is for those who need the first one for a proxy, or for the web configuration.
fn tokens(metadata: &HeaderMap) -> impl Iterator<Item = &str> {
    let (scheme, token) = reply::header(metadata, &AUTHORIZATION).split_once(' ').unwrap_or_default();
    let bearer = Some(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"));
    bearer.into_iter().chain(Some(reply::header(metadata, &TOKEN))).filter(|token| !token.is_empty())
}

const TOKEN: HeaderName = HeaderName::from_static("heartbeat-token");
/// Bytes of a text that are kept, as many as healthchecks keeps of a body.
const MAX_KEPT_BYTES: usize = 10_000;
