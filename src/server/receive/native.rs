//! Our own contract: `/heartbeat/<address>[/start|/fail|/log|/<exit code>]` with GET, HEAD or POST.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use super::report::{self, Report, Verb};
use super::{Ask, REPORT_LIMIT, Refusal, Reply, is_json, with_limit};
use crate::heartbeat::Signal;
use crate::heartbeat::receiver::Rejected;
use crate::server::api;

/// How often the heartbeat should report, for clients that let the receiver say so.
const HEARTBEAT_INTERVAL: HeaderName = HeaderName::from_static("heartbeat-interval");

pub async fn answer(ask: &Ask<'_>, path: &str) -> Result<Reply, Refusal> {
    if ![Method::GET, Method::HEAD, Method::POST].contains(&ask.request.method) {
        return Err(Refusal::method("GET, HEAD, POST"));
    }
    let (address, verb) = parse(path)?;
    let (heartbeat, is_new) = ask.find_or_make(address, None).await?;
    let mut report = Report::from_query(ask.query())?;
    let is_json = is_json(ask.request);
    if is_json {
        if ask.body.is_cut {
            return Err(Refusal::too_long(REPORT_LIMIT));
        }
        report = report.and_json(&ask.body.bytes)?;
        if report.heartbeat.is_some() || report.token.is_some() {
            return Err(Refusal::bad("heartbeat and token belong into a batch"));
        }
    }
    let (mut event, mut message) = report.into_event(verb, ask.received)?;
    if !is_json && !ask.body.bytes.is_empty() {
        if event.text.is_empty() {
            event.text = String::from_utf8_lossy(&ask.body.bytes).into_owned();
        }
        message = ask.body.bytes.clone();
    }
    let says_nothing =
        verb.is_none() && !is_json && event.signal == Signal::Success && event.exit_code.is_none();
    let receipt = if says_nothing && !ask.ignores(&heartbeat) && !ask.interpret(&heartbeat, &mut event) {
        ask.ignore(&heartbeat, Rejected::Keyword)
    } else {
        ask.take(&heartbeat, event, Some(message)).await?
    };
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut reply = with_limit(api::answer(status, &report::describe(&heartbeat, &receipt)));
    if let Some(period) = heartbeat.declared().definition.schedule.period() {
        reply.headers_mut().insert(HEARTBEAT_INTERVAL, HeaderValue::from(period.num_seconds()));
    }
    Ok(reply)
}

/// Splits a path into the address and what follows it. With two parts, the second is a verb if it can be one.
fn parse(path: &str) -> Result<(&str, Option<Verb>), Refusal> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let Some((address, last)) = path.rsplit_once('/') else { return Ok((path, None)) };
    match (verb(last)?, address.contains('/')) {
        (Some(verb), _) => Ok((address, Some(verb))),
        (None, false) => Ok((path, None)),
        (None, true) => Err(Refusal::unknown()),
    }
}

fn verb(text: &str) -> Result<Option<Verb>, Refusal> {
    Ok(Some(match text {
        "start" => Verb::Signal(Signal::Start),
        "fail" => Verb::Signal(Signal::Fail),
        "log" => Verb::Signal(Signal::Log),
        code if !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit()) => {
            Verb::Exit(code.parse().map_err(|_| Refusal::bad("there is no such exit code"))?)
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_signals() {
        let signal = |signal| Some(Verb::Signal(signal));
        let cases = [
            ("job", Some(("job", None))),
            ("job/", Some(("job", None))),
            ("job/start", Some(("job", signal(Signal::Start)))),
            ("job/fail/", Some(("job", signal(Signal::Fail)))),
            ("batch/job", Some(("batch/job", None))),
            ("batch/job/log", Some(("batch/job", signal(Signal::Log)))),
            ("batch/job/137", Some(("batch/job", Some(Verb::Exit(137))))),
            ("batch/start/0", Some(("batch/start", Some(Verb::Exit(0))))),
            ("job/3221225786", None),
            ("a/b/c", None),
            ("a/b/c/start", Some(("a/b/c", signal(Signal::Start)))),
        ];
        for (path, want) in cases {
            assert_eq!(parse(path).ok(), want, "{path}");
        }
    }
}
