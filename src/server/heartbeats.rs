//! Heartbeats as seen from outside: metrics, service discovery, a probe of one, and the list.

use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;
use hyper::http::request::Parts;
use serde_json::json;

use super::probe::MISSING_TARGET;
use super::reply::{self, Reply};
use super::{Server, api, query};
use crate::heartbeat::metrics::{self, Profile};
use crate::heartbeat::record::{Reason, State};
use crate::heartbeat::registry::Lookup;
use crate::heartbeat::sd::{self, Filter};
use crate::heartbeat::{Key, Service};
use crate::logging;
use crate::metrics::names as n;
use crate::metrics::samples::{IntoValue as _, Labels};
use crate::metrics::text::Writer;
use crate::runner::{Phase, Reason as Failure};

/// With fewer heartbeats than this, `/metrics` has them all; with more they are a scrape of their own.
pub const MAX_IN_METRICS: usize = 1000;

/// `/heartbeats/metrics`: this receiver and its heartbeats; with `profile=minimal` the few series that alerts
/// need, with `namespace=` those of some namespaces only.
pub async fn metrics(server: &Server, request: &Parts) -> Reply {
    let Some(service) = server.heartbeats.service() else { return reply::not_found() };
    let query = request.uri.query().unwrap_or_default();
    let filter = match Filter::parse(query::pairs(query)) {
        Ok(filter) => filter,
        Err(why) => return reply::error(StatusCode::BAD_REQUEST, &why),
    };
    let profile = match query::pairs(query).find(|(name, _)| name == "profile") {
        None => Profile::Full,
        Some((_, profile)) if profile.is_empty() || profile == "full" => Profile::Full,
        Some((_, profile)) if profile == "minimal" => Profile::Minimal,
        Some(_) => return reply::error(StatusCode::BAD_REQUEST, "profile must be full or minimal"),
    };
    let Ok(_alone) = service.scrapes.acquire().await else { return reply::not_found() };
    let (service, headers) = (Arc::clone(&service), request.headers.clone());
    // A hundred thousand heartbeats take a while; probes and signals must not wait.
    let text = tokio::task::spawn_blocking(move || {
        reply::exposition(&headers, |out, exposition| {
            let now = service.registry.now();
            let views = filter.select(&service.registry, now);
            out.reserve(views.len() * profile.usual_bytes());
            let mut writer = Writer::new(out, exposition.syntax, exposition.escaping);
            write_receiver(&mut writer, &service);
            metrics::write_views(&mut writer, &views, profile);
            writer.finish();
        })
    });
    text.await.unwrap_or_else(|_| {
        reply::error(StatusCode::INTERNAL_SERVER_ERROR, "the scrape came to a sudden end")
    })
}

/// The families of heartbeats that belong into `/metrics`.
pub fn write_own(w: &mut Writer<'_>, service: &Service) {
    write_receiver(w, service);
    if service.registry.len() < MAX_IN_METRICS {
        let views = service.registry.views(service.registry.now(), |_| true);
        metrics::write_views(w, &views, Profile::Full);
    }
}

fn write_receiver(w: &mut Writer<'_>, service: &Service) {
    metrics::write_receiver(w, &service.registry, service.registry.now());
    w.family(n::HEARTBEAT_REGISTRY_CONNECTED);
    w.sample(&Labels::One("backend", service.store.backend()), service.store.is_connected().into_value());
    service.store_metrics.write(w);
}

/// `/probe?module=heartbeat&target=namespace/name`: `probe_success` is 1 while nothing is wrong; what never
/// reported is 0, what is paused is 1.
pub fn probe(server: &Server, request: &Parts, target: &str) -> Reply {
    let started = Instant::now();
    if target.is_empty() {
        return reply::error(StatusCode::BAD_REQUEST, MISSING_TARGET);
    }
    let unknown = || {
        let mut message = "Unknown heartbeat ".to_owned();
        logging::quote(&mut message, target);
        reply::error(StatusCode::BAD_REQUEST, &message)
    };
    let Some(service) = server.heartbeats.service() else { return unknown() };
    let Ok(key) = target.parse::<Key>() else { return unknown() };
    let Ok(heartbeat) = service.registry.find(Lookup::Key(&key)) else { return unknown() };
    let view = heartbeat.view(service.registry.now());
    let failure = match view.status.state {
        State::Down => view.status.reason.map(failure),
        State::New => Some(Failure::NeverSeen),
        State::Up | State::Late | State::Running | State::Paused => None,
    };
    reply::exposition(&request.headers, |out, exposition| {
        let mut writer = Writer::new(out, exposition.syntax, exposition.escaping);
        metrics::write_views(&mut writer, std::slice::from_ref(&view), Profile::Full);
        writer.family(n::PROBE_DURATION_SECONDS);
        writer.sample(&Labels::None, started.elapsed().into_value());
        if let Some(failure) = failure {
            writer.family(n::PROBE_FAILURE_INFO);
            writer.sample_with("", &[("phase", Phase::Check.as_str()), ("reason", failure.as_str())], 1.0);
        }
        writer.family(n::PROBE_SUCCESS);
        writer.sample(&Labels::None, failure.is_none().into_value());
        writer.finish();
    })
}

fn failure(reason: Reason) -> Failure {
    match reason {
        Reason::Failed => Failure::Failed,
        Reason::Data => Failure::Data,
        Reason::Overrun => Failure::Overrun,
        Reason::Missed => Failure::Missed,
        Reason::RegistryLost => Failure::RegistryLost,
        Reason::Stuck => Failure::Stuck,
    }
}

/// `/sd/heartbeats`: targets for Prometheus; filters as in [`Filter::parse`].
pub fn discover(server: &Server, request: &Parts) -> Reply {
    let Some(service) = server.heartbeats.service() else { return reply::not_found() };
    match Filter::parse(query::pairs(request.uri.query().unwrap_or_default())) {
        Ok(filter) => {
            let views = filter.select(&service.registry, service.registry.now());
            api::answer(StatusCode::OK, &sd::targets(&views))
        }
        Err(why) => reply::error(StatusCode::BAD_REQUEST, &why),
    }
}

/// `/api/v1/heartbeats`: the heartbeats in the order of their names; `limit` of them, from the one after
/// `after` on.
pub fn list(server: &Server, request: &Parts) -> Reply {
    let Some(service) = server.heartbeats.service() else { return reply::not_found() };
    let query = request.uri.query().unwrap_or_default();
    let parameter = |wanted: &str| {
        query::pairs(query)
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    };
    let limit = parameter("limit").map_or(Ok(DEFAULT_LIMIT), |limit| limit.parse::<usize>());
    let after = parameter("after").map(|after| after.parse::<Key>()).transpose();
    let filter = Filter::parse(query::pairs(query));
    let (limit, after, filter) = match (limit, after, filter) {
        (Ok(limit), Ok(after), Ok(filter)) => (limit, after, filter),
        (Err(_), _, _) => {
            return api::error(StatusCode::BAD_REQUEST, "limit must be a whole number, 0 or more");
        }
        (_, Err(why), _) | (_, _, Err(why)) => return api::error(StatusCode::BAD_REQUEST, &why),
    };
    let mut views = filter.select(&service.registry, service.registry.now());
    let matching = views.len();
    views.retain(|view| after.as_ref().is_none_or(|after| view.key() > after));
    let has_more = views.len() > limit;
    views.truncate(limit);
    let next = views.last().filter(|_| has_more).map(|view| view.key().to_string());
    let heartbeats: Vec<_> = views.iter().map(sd::describe).collect();
    api::answer(StatusCode::OK, &json!({ "heartbeats": heartbeats, "matching": matching, "next": next }))
}

/// Heartbeats in an answer that asks for no number; one has about a kilobyte.
const DEFAULT_LIMIT: usize = 1000;
