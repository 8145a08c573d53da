//! `/probe`: checks the request, runs the probe, answers with its metrics or its debug text.

use std::sync::Arc;

use hyper::header::HeaderName;
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};

use super::reply::{self, Reply};
use super::{Server, debug, heartbeats, probe_log, query};
use crate::logging;
use crate::metrics::text;
use crate::probers::Module;
use crate::runner::history::Record;
use crate::runner::{self, budget};

/// Answers a request for a probe. Only a bad request is an HTTP error; a failed probe is not.
pub async fn answer(server: &Server, request: &Parts) -> Reply {
    let query = Query::parse(request.uri.query().unwrap_or_default());
    let debug = query.debug;
    if query.module == HEARTBEAT
        && !server.live.snapshot().modules.contains_key(HEARTBEAT)
        && server.heartbeats.is_there()
    {
        return heartbeats::probe(server, request, &query.target);
    }
    match run(server, request, query).await {
        Ok(record) if debug => reply::ok(reply::TEXT, debug::text(server.log_format, &record)),
        Ok(record) => exposition(&request.headers, &record.outcome),
        Err(Refusal { status, message }) => reply::error(status, &message),
    }
}

/// Why a request does not lead to a probe.
#[derive(Debug)]
pub struct Refusal {
    /// 400 or 500.
    pub status: StatusCode,
    /// One sentence.
    pub message: String,
}

/// Runs the probe a request asks for, and remembers it.
///
/// # Errors
/// The request names no module, no target, or things that do not fit together; no probe was run then.
pub async fn run(server: &Server, request: &Parts, query: Query) -> Result<Arc<Record>, Refusal> {
    let bad = |message| Refusal { status: StatusCode::BAD_REQUEST, message };
    let snapshot = server.live.snapshot();
    let Some(loaded) = snapshot.modules.get(&query.module) else {
        server.own.unknown_modules.add();
        let mut message = "Unknown module ".to_owned();
        logging::quote(&mut message, &query.module);
        return Err(bad(message));
    };
    let module = &loaded.module;
    let timeout = match budget::parse_header(reply::header(&request.headers, &SCRAPE_TIMEOUT)) {
        Ok(scrape) => budget::timeout(module.timeout(), scrape, server.timeout_offset),
        Err(why) => {
            let message = format!("Failed to parse timeout from Prometheus header: {why}");
            return Err(Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message });
        }
    };
    if let Some(why) = query.refusal(module) {
        return Err(bad(why));
    }
    let target = query.target_for(module);
    let hostname = query.hostname;

    let run = runner::Request {
        module,
        target: &target,
        hostname: hostname.as_deref(),
        timeout,
        log_level: server.log_prober,
    };
    let in_flight = server.own.probes_in_flight.enter();
    let outcome = runner::run(run, &server.net).await;
    drop(in_flight);

    loaded.counters.observe(outcome.is_success(), outcome.duration);
    probe_log::to_stderr(server.log_format, module, &target, &outcome.report);
    server.outcomes.observe(&module.name, &target, &outcome);
    Ok(server.history.add(Record::new(Arc::clone(module), target, hostname, outcome)))
}

fn exposition(request: &HeaderMap, outcome: &runner::Outcome) -> Reply {
    reply::exposition(request, |out, exposition| {
        text::write_samples(out, &outcome.report.samples, exposition.syntax, exposition.escaping);
    })
}

/// Set by Prometheus on every scrape, in seconds.
static SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// Answer to a request without a target.
pub const MISSING_TARGET: &str = "Target parameter is missing";
/// Not a module but the state of a heartbeat, unless there is a module of that name.
const HEARTBEAT: &str = "heartbeat";
/// Module when the request names none.
const DEFAULT_MODULE: &str = "http_2xx";

/// The parameters of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    module: String,
    target: String,
    hostname: Option<String>,
    debug: bool,
}

impl Query {
    /// The first value of each parameter counts; empty is the same as absent.
    pub fn parse(query: &str) -> Self {
        let [mut module, mut target, mut hostname, mut debug] = [const { None }; 4];
        for (name, value) in query::pairs(query) {
            let slot: &mut Option<String> = match name.as_str() {
                "module" => &mut module,
                "target" => &mut target,
                "hostname" => &mut hostname,
                "debug" => &mut debug,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        Self {
            module: module.filter(|name| !name.is_empty()).unwrap_or_else(|| DEFAULT_MODULE.to_owned()),
            target: target.unwrap_or_default(),
            hostname: hostname.filter(|name| !name.is_empty()),
            debug: debug.as_deref() == Some("true"),
        }
    }

    /// Why this cannot be probed with that module.
    fn refusal(&self, module: &Module) -> Option<String> {
        if self.target.is_empty() {
            return Some(MISSING_TARGET.to_owned());
        }
        if module.written.prober.is_none() {
            let mut message = "Unknown prober ".to_owned();
            logging::quote(&mut message, module.written.unknown_prober.as_deref().unwrap_or_default());
            return Some(message);
        }
        let conflict = module.prober.as_ref().ok()?.hostname_conflict(self.hostname.as_deref()?);
        conflict.map(|why| module.written.redacted(why))
    }

    /// The target, decoded a second time if only that makes it one the prober takes.
    fn target_for(&self, module: &Module) -> String {
        let again = module
            .prober
            .as_ref()
            .ok()
            .filter(|prober| !prober.accepts(&self.target))
            .and_then(|prober| query::decode(&self.target).filter(|target| prober.accepts(target)));
        again.unwrap_or_else(|| self.target.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query = |module: &str, target: &str, hostname: Option<&str>, debug| Query {
            module: module.to_owned(),
            target: target.to_owned(),
            hostname: hostname.map(str::to_owned),
            debug,
        };
        let cases = [
            ("", query("http_2xx", "", None, false)),
            ("module=&target=a&hostname=&debug=", query("http_2xx", "a", None, false)),
            ("module=m&target=a&target=b&module=n", query("m", "a", None, false)),
            ("target=&target=b", query("http_2xx", "", None, false)),
            ("hostname=h&debug=true", query("http_2xx", "", Some("h"), true)),
            ("debug=1", query("http_2xx", "", None, false)),
            ("debug=TRUE&debug=true", query("http_2xx", "", None, false)),
            ("target=http://a.test/?x=1%26y=2", query("http_2xx", "http://a.test/?x=1&y=2", None, false)),
        ];
        for (text, want) in cases {
            assert_eq!(Query::parse(text), want, "{text}");
        }
    }
}
