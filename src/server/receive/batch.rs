//! Many signals in one request: `POST /heartbeat` with a list of reports.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Serialize;
use tokio::task::JoinSet;

use super::report::{self, Report};
use super::{Ask, BATCH_LIMIT, Refusal, Reply, with_limit};
use crate::heartbeat::registry::{Heartbeat, Receipt};
use crate::heartbeat::{Event, Key};
use crate::server::api;

/// Signals in one request.
const MAX_SIGNALS: usize = 1000;

/// What became of one report.
type Outcome = Result<(Arc<Heartbeat>, Receipt), Refusal>;
/// Signals of one heartbeat in their order, each with its place in the batch.
type Signals = Vec<(usize, Event, Bytes)>;

/// The status is 200 if all signals were taken, else that of the refusal which [`SEVERITY`] puts first; the body
/// tells about each.
pub async fn answer(ask: &Ask<'_>) -> Result<Reply, Refusal> {
    if ask.request.method != Method::POST {
        return Err(Refusal::method("POST"));
    }
    if ask.body.is_cut {
        return Err(Refusal::too_long(BATCH_LIMIT));
    }
    let reports: Vec<Report> = serde_json::from_slice(&ask.body.bytes)
        .map_err(|error| Refusal::bad(format!("the batch cannot be read: {error}")))?;
    if reports.len() > MAX_SIGNALS {
        return Err(Refusal::bad(format!("a batch has at most {MAX_SIGNALS} signals")));
    }
    let mut outcomes: Vec<Option<Outcome>> = Vec::new();
    let mut wanted: HashMap<Key, (Arc<Heartbeat>, Signals)> = HashMap::new();
    for (at, report) in reports.into_iter().enumerate() {
        match prepare(ask, report).await {
            Ok((heartbeat, event, message)) => {
                let of = wanted.entry(heartbeat.key().clone()).or_insert((heartbeat, Vec::new()));
                of.1.push((at, event, message));
                outcomes.push(None);
            }
            Err(refusal) => outcomes.push(Some(Err(refusal))),
        }
    }
    // All heartbeats at once, so that they share the writes of the store; each in its order.
    let mut tasks = JoinSet::new();
    for (heartbeat, signals) in wanted.into_values() {
        let service = Arc::clone(ask.service);
        tasks.spawn(async move {
            let mut taken = Vec::with_capacity(signals.len());
            for (at, event, message) in signals {
                let message = Some(message).filter(|message| !message.is_empty());
                let receipt = service.registry.accept(&heartbeat, event, message).await;
                let outcome = receipt.map(|receipt| (Arc::clone(&heartbeat), receipt));
                taken.push((at, outcome.map_err(Refusal::from)));
            }
            taken
        });
    }
    while let Some(taken) = tasks.join_next().await {
        for (at, outcome) in taken.unwrap_or_default() {
            if let Some(slot) = outcomes.get_mut(at) {
                *slot = Some(outcome);
            }
        }
    }
    Ok(reply(ask, &outcomes))
}

async fn prepare(ask: &Ask<'_>, mut report: Report) -> Result<(Arc<Heartbeat>, Event, Bytes), Refusal> {
    let address = report.heartbeat.take().ok_or_else(|| Refusal::bad("heartbeat is missing"))?;
    let token = report.token.take();
    let (heartbeat, _) = ask.find_or_make(&address, token.as_deref()).await?;
    let (event, message) = report.into_event(None, ask.received)?;
    Ok((heartbeat, event, message))
}

fn reply(ask: &Ask<'_>, outcomes: &[Option<Outcome>]) -> Reply {
    let mut worst: Option<&Refusal> = None;
    let mut results = Vec::with_capacity(outcomes.len());
    for outcome in outcomes.iter().flatten() {
        results.push(match outcome {
            Ok((heartbeat, receipt)) => {
                Told::Taken(report::describe(heartbeat, receipt).with_status(StatusCode::OK))
            }
            Err(refusal) => {
                ask.service.registry.receiver.rejected(refusal.why);
                if worst.is_none_or(|worst| severity(refusal.status) < severity(worst.status)) {
                    worst = Some(refusal);
                }
                Told::Refused { error: refusal.sentence(), status: refusal.status.as_u16() }
            }
        });
    }
    let status = worst.map_or(StatusCode::OK, |worst| worst.status);
    let mut reply = with_limit(api::answer(status, &Results { results }));
    if let Some(worst) = worst {
        worst.add_header(&mut reply);
    }
    reply
}

/// What is told about a batch.
#[derive(Serialize)]
struct Results<'a> {
    results: Vec<Told<'a>>,
}

/// What is told about one signal of it.
#[derive(Serialize)]
#[serde(untagged)]
enum Told<'a> {
    Taken(report::Description<'a>),
    Refused { error: &'a str, status: u16 },
}

/// What can be tried again comes first.
const SEVERITY: [StatusCode; 5] = [
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
];

fn severity(status: StatusCode) -> usize {
    SEVERITY.iter().position(|known| *known == status).unwrap_or(SEVERITY.len())
}
