//! What tools ask for besides probes: `/metrics`, `/logs` and `/-/reload`.

use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::reply::{self, Reply};
use super::{Server, debug, heartbeats, query};
use crate::metrics::own::IcmpCounters;
use crate::metrics::text::Writer;

/// `/metrics`: what this process counts about itself.
pub fn metrics(server: &Server, request: &Parts) -> Reply {
    let in_flight = server.own.scrapes.in_flight.enter();
    let icmp = server.net.icmp.stats();
    let icmp = IcmpCounters { dropped: icmp.replies_dropped, unmatched: icmp.replies_unmatched };
    let reply = reply::exposition(&request.headers, |out, exposition| {
        let mut writer = Writer::new(out, exposition.syntax, exposition.escaping);
        server.own.write(&mut writer, &server.net.dials, icmp);
        if let Some(service) = server.heartbeats.service() {
            heartbeats::write_own(&mut writer, &service);
        }
        writer.finish();
    });
    drop(in_flight);
    server.own.scrapes.answered.add();
    reply
}

/// `/logs`: the debug text of a remembered probe, by id or the newest of a target.
pub fn logs(server: &Server, request: &Parts) -> Reply {
    let [mut id, mut target, mut module] = [const { None }; 3];
    for (name, value) in query::pairs(request.uri.query().unwrap_or_default()) {
        let slot: &mut Option<String> = match name.as_str() {
            "id" => &mut id,
            "target" => &mut target,
            "module" => &mut module,
            _ => continue,
        };
        slot.get_or_insert(value);
    }
    let id: Option<i64> = id.and_then(|id| id.parse().ok());
    let target = target.filter(|target| !target.is_empty());
    let module = module.filter(|module| !module.is_empty());
    let bad = |message| reply::error(StatusCode::BAD_REQUEST, message);
    let record = match (id, &target, &module) {
        (Some(_), Some(_), _) => return bad("Probe id and target can't be defined at the same time"),
        (None | Some(-1), None, _) => {
            return bad("Probe id or target must be defined as http query parameters");
        }
        (_, None, Some(_)) => {
            return bad("Probe module filter only works in conjunction with target parameter");
        }
        (_, Some(target), module) => {
            server.history.by_target(target, module.as_deref()).ok_or("Probe target not found")
        }
        (Some(id), None, None) => server.history.by_id(id).ok_or("Probe id not found"),
    };
    match record {
        Ok(record) => reply::ok(reply::TEXT, debug::text(server.log_format, &record)),
        Err(message) => reply::error(StatusCode::NOT_FOUND, message),
    }
}

/// `/-/reload`: loads the configuration again.
pub async fn reload(server: &Server, request: &Parts) -> Reply {
    if request.method != Method::POST {
        let mut reply = reply::ok(reply::TEXT_UTF8, "This endpoint requires a POST request.\n");
        *reply.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return reply;
    }
    match server.live.reload().await {
        Ok(()) => Reply::default(),
        Err(problems) => {
            let message = format!("failed to reload config: {problems}");
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, &message)
        }
    }
}
