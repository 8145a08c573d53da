//! gRPC on the same listeners as HTTP: heartbeats and the standard health check.
//!
//! Clients speak HTTP/2, over TLS or with prior knowledge. Paths are those of the services; a route prefix
//! does not apply to them. Everything a client sends is bounded, and so is the time it may take.

mod call;
mod health;
mod heartbeat;
mod message;

use std::sync::Arc;

use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Version};
use tokio::sync::{Semaphore, watch};

use self::call::{Call, Status};
use super::answer::Answer;
use super::body::RequestBody;
use super::reply;
use crate::heartbeat::Service;
use crate::net::grpc;
use crate::net::grpc::status::Code;

/// Calls that go on: how many there may be, and that they end with the process.
#[derive(Debug)]
pub struct Calls {
    places: Arc<Semaphore>,
    is_over: watch::Sender<bool>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_STREAMS)), is_over: watch::Sender::new(false) }
    }
}

impl Calls {
    /// Ends all streams and refuses new ones: clients shall turn to somebody else.
    pub fn end(&self) {
        self.is_over.send_replace(true);
    }
}

/// Streams at once: keep-alives and watches, over all connections.
const MAX_STREAMS: usize = 10_000;

/// Whether a request is a call for [`answer`].
pub fn is_call(request: &Parts) -> bool {
    let content_type = request.headers.get(CONTENT_TYPE);
    request.version == Version::HTTP_2 && content_type.is_some_and(|value| grpc::is_grpc(value.as_bytes()))
}

/// Answers a call.
pub async fn answer(
    service: &Arc<Service>,
    calls: &Calls,
    request: &Parts,
    body: impl RequestBody,
) -> Response<Answer> {
    if request.method != Method::POST {
        let reply = reply::error(StatusCode::METHOD_NOT_ALLOWED, "calls are made with POST");
        return reply.map(Answer::Whole);
    }
    let call = match Call::new(request) {
        Ok(call) => call,
        Err(status) if request.uri.path().starts_with("/HeartbeatService/") => {
            return heartbeat::refuse(service, status).into_response();
        }
        Err(status) => return status.into_response(),
    };
    match request.uri.path() {
        "/HeartbeatService/SendHeartbeat" => {
            call.unary(body, |message| heartbeat::send(service, &request.headers, message)).await
        }
        "/HeartbeatService/KeepAlive" => {
            let (service, metadata) = (Arc::clone(service), request.headers.clone());
            call.stream(calls, body, |conversation| {
                let over = Arc::clone(&service);
                until_over(over, heartbeat::keep_alive(service, metadata, conversation))
            })
        }
        "/grpc.health.v1.Health/Check" => call.unary(body, |message| health::check(service, message)).await,
        "/grpc.health.v1.Health/List" => call.unary(body, |message| health::list(service, message)).await,
        "/grpc.health.v1.Health/Watch" => {
            let service = Arc::clone(service);
            call.stream(calls, body, |conversation| {
                until_over(Arc::clone(&service), health::watch(service, conversation))
            })
        }
        path => Status::new(Code::UNIMPLEMENTED, format!("there is no method {path}")).into_response(),
    }
}

/// A conversation ends with its service: what the client says next is for the one that follows.
async fn until_over(
    service: Arc<Service>,
    conversation: impl Future<Output = Result<(), Status>>,
) -> Result<(), Status> {
    tokio::select! {
        result = conversation => result,
        () = service.over() => Err(Status::new(Code::UNAVAILABLE, "the configuration has changed")),
    }
}
