//! A report of our own contract: what may be said about a run, in JSON or in a query, and the event it makes.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta};
use hyper::StatusCode;
use hyper::body::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use super::query::parameters;
use super::{Refusal, message_of};
use crate::heartbeat::event::MAX_RUN_ID_BYTES;
use crate::heartbeat::record::Reason;
use crate::heartbeat::registry::{Heartbeat, Receipt};
use crate::heartbeat::schedule::Time;
use crate::heartbeat::state::Accepted;
use crate::heartbeat::{Event, Signal};

/// Everything a report may say; docs/heartbeats.md describes the keys.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// In a batch: which heartbeat.
    pub heartbeat: Option<String>,
    /// In a batch: its token, unless that is the address.
    pub token: Option<String>,
    signal: Option<Signal>,
    exit_code: Option<i32>,
    #[serde(deserialize_with = "word")]
    run: Option<String>,
    seq: Option<u64>,
    #[serde(deserialize_with = "word")]
    incarnation: Option<String>,
    sent_at: Option<SentAt>,
    duration_seconds: Option<f64>,
    #[serde(deserialize_with = "word")]
    progress: Option<String>,
    values: BTreeMap<String, f64>,
    data: Option<String>,
    message: Option<String>,
}

/// What the path says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Signal(Signal),
    Exit(i32),
}

/// RFC 3339, or Unix time in seconds.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SentAt {
    Seconds(f64),
    Text(String),
}

/// A run id and its like: text, or a number that is meant as text.
fn word<'d, D: Deserializer<'d>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Text(String),
        Number(serde_json::Number),
    }
    Ok(Option::<Word>::deserialize(from)?.map(|word| match word {
        Word::Text(text) => text,
        Word::Number(number) => number.to_string(),
    }))
}

impl Report {
    /// Reads the parameters of a URL; those of others are left alone.
    pub fn from_query(query: &str) -> Result<Self, Refusal> {
        fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<Option<T>, Refusal> {
            let parsed = Some(text).filter(|text| !text.is_empty()).map(str::parse).transpose();
            parsed.map_err(|_| Refusal::bad(format!("{name} must be a number")))
        }
        let mut report = Self::default();
        for (name, value) in parameters(query) {
            match &*name {
                "run" | "rid" => report.run = Some(value.into_owned()),
                "seq" => report.seq = number(&name, &value)?,
                "incarnation" => report.incarnation = Some(value.into_owned()),
                "sent_at" => {
                    let text = || SentAt::Text(value.clone().into_owned());
                    report.sent_at = Some(value.parse().map_or_else(|_| text(), SentAt::Seconds));
                }
                "duration_seconds" => report.duration_seconds = number(&name, &value)?,
                "exit_code" => report.exit_code = number(&name, &value)?,
                "progress" => report.progress = Some(value.into_owned()),
                "data" => report.data = Some(value.into_owned()),
                "message" => report.message = Some(value.into_owned()),
                "value" => {
                    let pair = value
                        .rsplit_once(':')
                        .and_then(|(name, number)| Some((name.to_owned(), number.parse().ok()?)));
                    let (name, number) = pair.ok_or_else(|| Refusal::bad("value must be name:number"))?;
                    report.values.insert(name, number);
                }
                _ => {}
            }
        }
        Ok(report)
    }

    /// Reads JSON; what it leaves out is taken from `self`.
    pub fn and_json(self, json: &[u8]) -> Result<Self, Refusal> {
        if json.iter().all(u8::is_ascii_whitespace) {
            return Ok(self);
        }
        let sent: Self = serde_json::from_slice(json)
            .map_err(|error| Refusal::bad(format!("the report cannot be read: {error}")))?;
        let mut values = self.values;
        values.extend(sent.values);
        Ok(Self {
            heartbeat: sent.heartbeat,
            token: sent.token,
            signal: sent.signal,
            exit_code: sent.exit_code.or(self.exit_code),
            run: sent.run.or(self.run),
            seq: sent.seq.or(self.seq),
            incarnation: sent.incarnation.or(self.incarnation),
            sent_at: sent.sent_at.or(self.sent_at),
            duration_seconds: sent.duration_seconds.or(self.duration_seconds),
            progress: sent.progress.or(self.progress),
            values,
            data: sent.data.or(self.data),
            message: sent.message.or(self.message),
        })
    }

    /// What it means, and what is kept as its message. The path has the last word.
    pub fn into_event(self, verb: Option<Verb>, received: Time) -> Result<(Event, Bytes), Refusal> {
        let data = self.data.unwrap_or_default();
        let message = self.message.unwrap_or_default();
        let exit_code = match verb {
            Some(Verb::Exit(code)) => Some(code),
            _ => self.exit_code,
        };
        let signal = match (verb, self.signal) {
            (Some(Verb::Signal(signal)), _) | (None, Some(signal)) => signal,
            _ => exit_code.map_or(Signal::Success, Signal::from_exit_code),
        };
        let mut event = Event::new(signal, received);
        if signal == Signal::Success && !data.is_empty() {
            event.signal = Signal::Data;
        }
        event.exit_code = exit_code;
        event.run = id("run", self.run)?;
        event.sequence = self.seq;
        event.incarnation = id("incarnation", self.incarnation)?;
        event.progress = id("progress", self.progress)?;
        event.sent = self.sent_at.map(SentAt::time).transpose()?;
        event.duration = self.duration_seconds.map(duration).transpose()?;
        event.values = self.values;
        let kept = message_of(if data.is_empty() { &message } else { &data });
        event.text = if data.is_empty() { message } else { data };
        Ok((event, kept))
    }
}

impl SentAt {
    fn time(self) -> Result<Time, Refusal> {
        let time = match self {
            Self::Text(text) => DateTime::parse_from_rfc3339(&text).ok().map(|time| time.to_utc()),
            // Out of range is not a number of microseconds.
            Self::Seconds(seconds) if seconds.abs() < 1e11 => {
                DateTime::from_timestamp_micros((seconds * 1e6) as i64)
            }
            Self::Seconds(_) => None,
        };
        time.ok_or_else(|| Refusal::bad("sent_at must be a time as in RFC 3339, or Unix time in seconds"))
    }
}

fn id(name: &str, text: Option<String>) -> Result<Option<String>, Refusal> {
    let text = text.filter(|text| !text.is_empty());
    if text.as_ref().is_some_and(|text| text.len() > MAX_RUN_ID_BYTES) {
        return Err(Refusal::bad(format!("{name} is longer than {MAX_RUN_ID_BYTES} bytes")));
    }
    Ok(text)
}

fn duration(seconds: f64) -> Result<TimeDelta, Refusal> {
    if !(0.0..=MAX_DURATION_SECONDS).contains(&seconds) {
        return Err(Refusal::bad("duration_seconds must be 0 to 1e9"));
    }
    Ok(TimeDelta::milliseconds((seconds * 1000.0) as i64))
}

/// 31 years.
const MAX_DURATION_SECONDS: f64 = 1e9;

/// What a sender is told about its heartbeat, as JSON.
#[derive(Debug, Serialize)]
pub struct Description<'a> {
    deadline_timestamp_seconds: Option<f64>,
    expected_timestamp_seconds: Option<f64>,
    heartbeat: &'a str,
    reason: Option<&'static str>,
    repeated: bool,
    state: &'static str,
    /// In the answer to a batch: status of this signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

impl Description<'_> {
    /// As one of several, each with its status.
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status: Some(status.as_u16()), ..self }
    }
}

/// What the sender of a signal is told.
pub fn describe<'a>(heartbeat: &'a Heartbeat, receipt: &Receipt) -> Description<'a> {
    let seconds = |time: Time| time.timestamp_millis() as f64 / 1e3;
    let status = &receipt.status;
    Description {
        deadline_timestamp_seconds: status.deadline.map(seconds),
        expected_timestamp_seconds: status.expected.map(seconds),
        heartbeat: heartbeat.key().as_str(),
        reason: status.reason.map(Reason::as_str),
        repeated: receipt.accepted == Accepted::Repeated,
        state: status.state.as_str(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(query: &str, json: &str, verb: Option<Verb>) -> Result<(Event, Bytes), String> {
        let received = "2026-03-01T00:00:00Z".parse().unwrap();
        let report = Report::from_query(query).and_then(|report| report.and_json(json.as_bytes()));
        report
            .and_then(|report| report.into_event(verb, received))
            .map_err(|refusal| refusal.message.into_owned())
    }

    #[test]
    fn what_a_signal_is() {
        use Verb::Exit;
        let verb = |signal| Some(Verb::Signal(signal));
        let cases = [
            ("", "", None, Signal::Success, None),
            ("", " \n", None, Signal::Success, None),
            ("", "{}", verb(Signal::Start), Signal::Start, None),
            ("", r#"{"signal":"fail"}"#, None, Signal::Fail, None),
            ("", r#"{"signal":"fail"}"#, verb(Signal::Log), Signal::Log, None),
            ("", r#"{"exit_code":3}"#, None, Signal::Fail, Some(3)),
            ("", r#"{"exit_code":0}"#, None, Signal::Success, Some(0)),
            ("", r#"{"exit_code":3}"#, Some(Exit(0)), Signal::Success, Some(0)),
            ("", r#"{"exit_code":3,"signal":"success"}"#, None, Signal::Success, Some(3)),
            ("exit_code=2", "", None, Signal::Fail, Some(2)),
            ("data=x", "", None, Signal::Data, None),
            ("data=", "", None, Signal::Success, None),
            ("data=x", "", Some(Exit(1)), Signal::Fail, Some(1)),
            ("", r#"{"data":"x"}"#, verb(Signal::Start), Signal::Start, None),
        ];
        for (query, json, verb, signal, code) in cases {
            let (event, _) = event(query, json, verb).unwrap();
            assert_eq!((event.signal, event.exit_code), (signal, code), "{query} {json}");
        }
    }

    #[test]
    fn json_wins_over_the_query() {
        let query = "rid=q&seq=1&incarnation=b&sent_at=5&duration_seconds=2&progress=7&value=disk:/var:0.5&value=b:1&message=m";
        let json =
            r#"{"run":8,"seq":2,"sent_at":"2026-02-28T23:59:59.5Z","duration_seconds":1.5,"values":{"b":2}}"#;
        let (event, kept) = event(query, json, None).unwrap();
        let want = Event {
            sent: Some("2026-02-28T23:59:59.5Z".parse().unwrap()),
            run: Some("8".to_owned()),
            sequence: Some(2),
            incarnation: Some("b".to_owned()),
            duration: Some(TimeDelta::milliseconds(1500)),
            progress: Some("7".to_owned()),
            values: [("disk:/var".to_owned(), 0.5), ("b".to_owned(), 2.0)].into(),
            text: "m".to_owned(),
            ..Event::new(Signal::Success, event.received)
        };
        assert_eq!((event, &*kept), (want, &b"m"[..]));
    }

    #[test]
    fn reports_that_are_refused() {
        let long = format!(r#"{{"run":"{}"}}"#, "x".repeat(129));
        let time = "sent_at must be a time as in RFC 3339, or Unix time in seconds";
        let cases = [
            ("", "[", "the report cannot be read: EOF while parsing a list at line 1 column 1"),
            ("", r#"{"runs":1}"#, "the report cannot be read: unknown field `runs`"),
            ("", r#"{"seq":-1}"#, "the report cannot be read: invalid value: integer `-1`, expected u64"),
            ("", r#"{"values":{"a":"1"}}"#, "the report cannot be read: invalid type: string"),
            ("", "{\"data\":\"\u{0}\"}", "the report cannot be read: control character"),
            ("", long.as_str(), "run is longer than 128 bytes"),
            ("", r#"{"sent_at":"yesterday"}"#, time),
            ("sent_at=1e300", "", time),
            ("sent_at=nan", "", time),
            ("duration_seconds=-1", "", "duration_seconds must be 0 to 1e9"),
            ("duration_seconds=nan", "", "duration_seconds must be 0 to 1e9"),
            ("seq=x", "", "seq must be a number"),
            ("exit_code=99999999999", "", "exit_code must be a number"),
            ("value=5", "", "value must be name:number"),
        ];
        for (query, json, want) in cases {
            let got = event(query, json, None).unwrap_err();
            assert!(got.starts_with(want), "{query} {json}: {got}");
        }
    }
}
