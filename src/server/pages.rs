//! The pages for people: which request shows what. How it looks is in [`crate::ui`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;

use super::probe::{self, Query, Refusal};
use super::reply::{self, Reply};
use super::{Server, query};
use crate::heartbeat::record::State;
use crate::heartbeat::registry::{Lookup, Message, Origin, View};
use crate::heartbeat::{Key, Service, manage};
use crate::runner::history::Record;
use crate::ui::configuration::Configuration;
use crate::ui::heartbeat::{LastMessage, Shown};
use crate::ui::heartbeats::Search;
use crate::ui::start::Filter;
use crate::ui::{self, Place};

/// The start page, with the remembered probes that the parameters `module`, `target` and `outcome` select.
pub fn start(server: &Server, request: &Parts) -> Reply {
    let [module, target, outcome] = parameters(request, ["module", "target", "outcome"]);
    let success = match outcome.as_deref() {
        Some("success") => Some(true),
        Some("failure") => Some(false),
        // The page shows what was selected, so a typing mistake is seen.
        _ => None,
    };
    let filter = Filter { module, target, success };
    let snapshot = server.live.snapshot();
    let modules = snapshot.modules.values().map(|loaded| &*loaded.module);
    page(StatusCode::OK, ui::start::start(here(server, ""), modules, &server.history.all(), &filter))
}

/// `/probes/<id>`: one remembered probe.
pub fn probe(server: &Server, id: &str) -> Reply {
    let place = here(server, "../");
    match id.parse().ok().and_then(|id| server.history.by_id(id)) {
        Some(record) => page(StatusCode::OK, probe_page(server, place, &record)),
        None => {
            let message = "There is no probe of this number, or it is not remembered any more. --history.limit \
                           says how many are; failures are kept longer.";
            page(StatusCode::NOT_FOUND, ui::complaint(place, "No such probe", message))
        }
    }
}

/// `/probes/run`: runs a probe as `/probe` does, and leads to its page.
pub async fn run(server: &Server, request: &Parts) -> Reply {
    let place = here(server, "../");
    match probe::run(server, request, Query::parse(request.uri.query().unwrap_or_default())).await {
        Ok(record) if server.history.by_id(record.id).is_some() => {
            // Relative to this page, whatever a proxy in front calls it.
            reply::redirect(StatusCode::SEE_OTHER, &record.id.to_string())
        }
        Ok(record) => page(StatusCode::OK, probe_page(server, place, &record)),
        Err(Refusal { status, message }) => page(status, ui::complaint(place, "No probe was run", &message)),
    }
}

fn probe_page(server: &Server, place: Place, record: &Record) -> String {
    let mut others = server.history.all();
    others.retain(|other| other.target == record.target && other.module.name == record.module.name);
    ui::probe::probe(place, record, &others)
}

/// `/configuration`: the modules whose name contains `search`, or the one that `module` names.
pub fn configuration(server: &Server, request: &Parts) -> Reply {
    let [module, search] = parameters(request, ["module", "search"]);
    let snapshot = server.live.snapshot();
    let Some(module) = module else {
        let shown = Configuration {
            snapshot: &snapshot,
            source: &server.live.source_name(),
            attempt: &server.live.attempt(),
            search: &search.unwrap_or_default(),
        };
        return page(StatusCode::OK, ui::configuration::configuration(here(server, ""), &shown));
    };
    match snapshot.modules.get(&module) {
        Some(loaded) => page(StatusCode::OK, ui::configuration::module(here(server, ""), loaded)),
        None => {
            let message = format!("The configuration in force has no module {module:?}.");
            page(StatusCode::NOT_FOUND, ui::complaint(here(server, ""), "No such module", &message))
        }
    }
}

/// `/heartbeats`: those that `search`, `state` and `tag` select, or the one that `name` names.
pub async fn heartbeats(server: &Server, request: &Parts) -> Reply {
    let place = here(server, "");
    let Some(service) = server.heartbeats.service() else {
        let message = "The configuration has no section heartbeats.";
        return page(StatusCode::NOT_FOUND, ui::complaint(place, "No heartbeats", message));
    };
    let [name, text, state, tag] = parameters(request, ["name", "search", "state", "tag"]);
    if let Some(name) = name {
        return heartbeat(server, &service, request, &name).await;
    }
    let search = Search {
        text: text.unwrap_or_default(),
        // The page shows what was selected, so a typing mistake is seen.
        state: State::ALL.into_iter().find(|known| Some(known.as_str()) == state.as_deref()),
        tag: tag.unwrap_or_default(),
    };
    let Ok(_alone) = service.scrapes.acquire().await else { return reply::not_found() };
    let service = Arc::clone(&service);
    // A hundred thousand heartbeats take a while; probes and signals must not wait.
    let html = tokio::task::spawn_blocking(move || {
        let views = service.registry.views(service.registry.now(), |_| true);
        ui::heartbeats::heartbeats(place, &views, &search)
    });
    match html.await {
        Ok(html) => page(StatusCode::OK, html),
        Err(_) => {
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, "the list of heartbeats came to a sudden end")
        }
    }
}

async fn heartbeat(server: &Server, service: &Service, request: &Parts, name: &str) -> Reply {
    let place = here(server, "");
    let found = name.parse::<Key>().ok().and_then(|key| service.registry.find(Lookup::Key(&key)).ok());
    let Some(heartbeat) = found else {
        let message = format!("There is no heartbeat {name:?}. Names are written namespace/name.");
        return page(StatusCode::NOT_FOUND, ui::complaint(place, "No such heartbeat", &message));
    };
    let message = last_message(server, service, request, heartbeat.key()).await;
    let view = heartbeat.view(service.registry.now());
    let (origin, written) = definition(server, &view);
    let shown = Shown { view: &view, definition: (origin, &written), message };
    page(StatusCode::OK, ui::heartbeat::heartbeat(place, &shown))
}

/// Where a heartbeat comes from, and what is written about it, with placeholders and without secrets.
fn definition(server: &Server, view: &View) -> (&'static str, String) {
    let section = server.live.snapshot().heartbeats.clone();
    let (origin, written) = match view.origin {
        Origin::File => {
            ("Of the configuration", section.and_then(|section| section.service_yaml(view.key())))
        }
        Origin::Template => (
            "Made by its first signal, as the configuration has it",
            section.and_then(|section| section.provision_yaml()),
        ),
        Origin::Api => {
            let mut object = manage::describe(&view.declared);
            // It is a part of addresses.
            object.remove("id");
            ("Made by the API", serde_json::to_string_pretty(&object).ok())
        }
    };
    match written {
        Some(written) => (origin, written),
        None => ("The configuration in force has it no more.", String::new()),
    }
}

/// As the API has it, messages are for users only.
async fn last_message(server: &Server, service: &Service, request: &Parts, key: &Key) -> LastMessage {
    if !server.is_from_user(request).await {
        return LastMessage::ForUsers;
    }
    match tokio::time::timeout(STORE_PATIENCE, service.store.bodies(key.as_str())).await {
        Ok(Ok(kept)) => match kept.last().and_then(|kept| Message::decode(kept)) {
            Some(message) => LastMessage::Some(message),
            None => LastMessage::None,
        },
        Ok(Err(_)) | Err(_) => LastMessage::Unknown,
    }
}

/// How long a page waits for the store.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// The style sheet of the pages.
pub fn style() -> Reply {
    part("text/css; charset=utf-8", ui::STYLE)
}

/// Their icon.
pub fn icon() -> Reply {
    part("image/svg+xml", ui::ICON)
}

fn part(content_type: &'static str, text: &'static str) -> Reply {
    let mut reply = reply::ok(content_type, text);
    // Not for long: the next version may look different.
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

fn page(status: StatusCode, html: String) -> Reply {
    let mut reply = reply::ok("text/html; charset=utf-8", html);
    *reply.status_mut() = status;
    let headers = [
        (CONTENT_SECURITY_POLICY, ui::CONTENT_SECURITY_POLICY),
        // Links lead to our own pages, and targets are nobody else's business.
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ];
    reply.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    reply
}

fn here(server: &Server, root: &'static str) -> Place {
    Place { root, has_heartbeats: server.heartbeats.is_there(), now: SystemTime::now() }
}

/// The first value of each of these parameters; empty is the same as absent.
fn parameters<const N: usize>(request: &Parts, names: [&str; N]) -> [Option<String>; N] {
    let mut values = [const { None }; N];
    for (name, value) in query::pairs(request.uri.query().unwrap_or_default()) {
        for (slot, _) in values.iter_mut().zip(names).filter(|(_, known)| *known == name) {
            slot.get_or_insert(value.clone());
        }
    }
    values.map(|value| value.filter(|text| !text.is_empty()))
}
