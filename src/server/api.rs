//! `/api/v1/…`: the report of a probe as JSON, with everything the metrics leave out.
//!
//! Shapes are in METRICS.md. What is added later is a new key; no key changes its meaning.

use std::time::SystemTime;

use hyper::StatusCode;
use hyper::http::request::Parts;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::probe::{self, Query, Refusal};
use super::reply::{self, Reply};
use super::{Server, query};
use crate::metrics::samples::Sample;
use crate::runner::history::Record;
use crate::runner::{Event, Span};

/// `/api/v1/probe`: runs a probe as `/probe` does, and answers with its report.
pub async fn probe(server: &Server, request: &Parts) -> Reply {
    let query = Query::parse(request.uri.query().unwrap_or_default());
    match probe::run(server, request, query).await {
        Ok(record) => answer(StatusCode::OK, &remembered(&record)),
        Err(Refusal { status, message }) => error(status, &message),
    }
}

/// `/api/v1/history`: the reports of remembered probes, the newest first, older failures last.
pub fn history(server: &Server, request: &Parts) -> Reply {
    let wanted = match Wanted::parse(request.uri.query().unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(message) => return error(StatusCode::BAD_REQUEST, &message),
    };
    let records = server.history.all();
    let records = records.iter().filter(|record| wanted.matches(record));
    let probes: Vec<Value> = records.take(wanted.limit).map(|record| remembered(record)).collect();
    answer(StatusCode::OK, &json!({ "probes": probes }))
}

/// Which probes of the history.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    id: Option<i64>,
    target: Option<String>,
    module: Option<String>,
    success: Option<bool>,
    limit: usize,
}

impl Wanted {
    /// The first value of each parameter counts; empty is the same as absent.
    fn parse(query: &str) -> Result<Self, String> {
        let mut values: [Option<String>; 5] = Default::default();
        const NAMES: [&str; 5] = ["id", "target", "module", "success", "limit"];
        for (name, value) in query::pairs(query) {
            let slot = NAMES.iter().position(|known| *known == name).and_then(|at| values.get_mut(at));
            if let Some(slot) = slot {
                slot.get_or_insert(value);
            }
        }
        let [id, target, module, success, limit] = values.map(|value| value.filter(|text| !text.is_empty()));
        Ok(Self {
            id: id.map(|id| id.parse().map_err(|_| "id must be a whole number")).transpose()?,
            target,
            module,
            success: match success.as_deref() {
                None => None,
                Some("true") => Some(true),
                Some("false") => Some(false),
                Some(_) => return Err("success must be true or false".to_owned()),
            },
            limit: match limit {
                None => DEFAULT_LIMIT,
                Some(limit) => limit.parse().map_err(|_| "limit must be a whole number, 0 or more")?,
            },
        })
    }

    fn matches(&self, record: &Record) -> bool {
        self.id.is_none_or(|id| id == record.id)
            && self.target.as_ref().is_none_or(|target| *target == record.target)
            && self.module.as_ref().is_none_or(|module| *module == record.module.name)
            && self.success.is_none_or(|success| success == record.outcome.is_success())
    }
}

/// Reports in an answer that asks for no number; a report has some kilobytes.
const DEFAULT_LIMIT: usize = 100;

/// The report of a probe, with the number it is remembered under.
fn remembered(record: &Record) -> Value {
    let mut report = report(record);
    if let Some(object) = report.as_object_mut() {
        object.insert("id".to_owned(), record.id.into());
    }
    report
}

/// The report of a probe.
pub fn report(record: &Record) -> Value {
    let outcome = &record.outcome;
    let report = &outcome.report;
    json!({
        "module": record.module.name,
        "prober": record.module.written.prober.map(|kind| kind.name()),
        "target": record.target,
        "hostname": record.hostname,
        "started_timestamp_seconds": unix_seconds(report.started_at()),
        "duration_seconds": outcome.duration.as_secs_f64(),
        "success": outcome.is_success(),
        "failure": outcome.failure.as_ref().map(|error| json!({
            "phase": error.phase.as_str(),
            "reason": error.reason.as_str(),
            "message": error.chain(),
        })),
        "timeline": report.timeline().iter().map(span).collect::<Vec<_>>(),
        "metrics": report.samples.as_slice().iter().map(sample).collect::<Vec<_>>(),
        "logs": report.events().iter().map(event).collect::<Vec<_>>(),
    })
}

fn span(span: &Span) -> Value {
    json!({
        "phase": span.phase.as_str(),
        "start_seconds": span.start.as_secs_f64(),
        "end_seconds": span.end.map(|end| end.as_secs_f64()),
    })
}

fn sample(sample: &Sample) -> Value {
    let labels: Map<String, Value> =
        sample.labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    json!({ "name": sample.metric.name(), "labels": labels, "value": number(sample.value) })
}

/// JSON has no numbers that are not finite; they become text, as in protobuf's JSON.
fn number(value: f64) -> Value {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        value => value.into(),
    }
}

fn event(event: &Event) -> Value {
    let fields: Map<String, Value> =
        event.fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    json!({
        "offset_seconds": event.offset.as_secs_f64(),
        "level": event.level.as_str(),
        "message": event.message,
        "fields": fields,
    })
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// An error as JSON.
pub fn error(status: StatusCode, message: &str) -> Reply {
    answer(status, &json!({ "error": message }))
}

/// JSON and a newline.
pub fn answer(status: StatusCode, body: &impl Serialize) -> Reply {
    let mut text = Vec::with_capacity(256);
    // Our own types: nothing in them that JSON refuses.
    let _ = serde_json::to_writer(&mut text, body);
    text.push(b'\n');
    let mut reply = reply::ok(JSON, text);
    *reply.status_mut() = status;
    reply
}

const JSON: &str = "application/json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_history() {
        let all = || Wanted { id: None, target: None, module: None, success: None, limit: DEFAULT_LIMIT };
        let cases = [
            ("", Ok(all())),
            ("id=&limit=&success=&x=1", Ok(all())),
            (
                "id=-3&id=4&target=a%20b&module=m&success=false&limit=0",
                Ok(Wanted {
                    id: Some(-3),
                    target: Some("a b".to_owned()),
                    module: Some("m".to_owned()),
                    success: Some(false),
                    limit: 0,
                }),
            ),
            ("id=x", Err("id must be a whole number")),
            ("success=1", Err("success must be true or false")),
            ("limit=-1", Err("limit must be a whole number, 0 or more")),
        ];
        for (query, want) in cases {
            assert_eq!(Wanted::parse(query), want.map_err(str::to_owned), "{query}");
        }
    }

    #[test]
    fn numbers_that_json_lacks_are_text() {
        let values = [1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(number);
        assert_eq!(Value::from(values.to_vec()).to_string(), r#"[1.5,"NaN","Infinity","-Infinity"]"#);
    }
}
