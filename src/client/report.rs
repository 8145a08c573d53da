//! One report: where it goes and what it says.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

/// What a report says about the job or node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signal {
    /// Alive.
    #[default]
    Success,
    /// The job begins.
    Start,
    /// Something does not work.
    Fail,
    /// The job ended with this status.
    ExitCode(u8),
}

/// A report, before it is written as JSON.
#[derive(Debug, Default)]
pub struct Report {
    /// What it says.
    pub signal: Signal,
    /// Which run of the job it belongs to.
    pub run: Option<String>,
    /// Counts the reports of one incarnation.
    pub sequence: Option<u64>,
    /// Which life of the sender this is.
    pub incarnation: Option<String>,
    /// How long the job ran.
    pub duration: Option<Duration>,
    /// Numbers by name; what is not finite is left out.
    pub values: BTreeMap<String, f64>,
    /// Output or explanation. Cut at its beginning if it is too long.
    pub message: Vec<u8>,
    /// Makes the report one that carries data, unless empty.
    pub data: String,
}

impl Signal {
    /// What follows the name of the heartbeat in the path.
    pub fn path(self) -> String {
        match self {
            Self::Success => String::new(),
            Self::Start => "/start".to_owned(),
            Self::Fail => "/fail".to_owned(),
            Self::ExitCode(code) => format!("/{code}"),
        }
    }
}

impl Report {
    /// The JSON object of the native interface, as sent at `sent`.
    ///
    /// The message is cut so that the whole does not exceed `limit` bytes; everything else is always there.
    pub fn to_json(&self, sent: DateTime<Utc>, limit: usize) -> Vec<u8> {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("sent_at", sent.to_rfc3339_opts(SecondsFormat::Millis, true).into());
        if let Some(run) = &self.run {
            put("run", run.as_str().into());
        }
        if let Some(sequence) = self.sequence {
            put("seq", sequence.into());
        }
        if let Some(incarnation) = &self.incarnation {
            put("incarnation", incarnation.as_str().into());
        }
        if let Some(duration) = self.duration {
            put("duration_seconds", duration.as_secs_f64().into());
        }
        if let Signal::ExitCode(code) = self.signal {
            put("exit_code", code.into());
        }
        if !self.values.is_empty() {
            let finite = self.values.iter().filter(|(_, value)| value.is_finite());
            let values: Map<_, _> = finite.map(|(name, value)| (name.clone(), (*value).into())).collect();
            put("values", values.into());
        }
        if !self.data.is_empty() {
            put("data", self.data.as_str().into());
        }
        let facts = Value::Object(object.clone()).to_string().len();
        let message = end_that_fits(&self.message, limit.saturating_sub(facts + r#","message":"""#.len()));
        if !message.is_empty() {
            object.insert("message".to_owned(), message.into());
        }
        Value::Object(object).to_string().into_bytes()
    }
}

/// The end of `text`, as long as its JSON string, without quotes, has at most `room` bytes.
fn end_that_fits(text: &[u8], room: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let (mut used, mut begin) = (0, text.len());
    for (at, character) in text.char_indices().rev() {
        used += match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..' ' => 6,
            other => other.len_utf8(),
        };
        if used > room {
            break;
        }
        begin = at;
    }
    text.get(begin..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(report: &Report, limit: usize) -> String {
        let sent = DateTime::from_timestamp_millis(1_700_000_000_123).unwrap();
        String::from_utf8(report.to_json(sent, limit)).unwrap()
    }

    #[test]
    fn only_what_is_known_is_written() {
        assert_eq!(text(&Report::default(), 0), r#"{"sent_at":"2023-11-14T22:13:20.123Z"}"#);
        let full = Report {
            signal: Signal::ExitCode(3),
            run: Some("r".to_owned()),
            sequence: Some(7),
            incarnation: Some("i".to_owned()),
            duration: Some(Duration::from_millis(1500)),
            values: [("a".to_owned(), 1.0), ("b".to_owned(), f64::NAN)].into(),
            message: b"no\nspace \xff".to_vec(),
            data: "d".to_owned(),
        };
        assert_eq!(
            text(&full, 1000),
            concat!(
                r#"{"data":"d","duration_seconds":1.5,"exit_code":3,"incarnation":"i","message":"no\nspace "#,
                "\u{fffd}",
                r#"","run":"r","sent_at":"2023-11-14T22:13:20.123Z","seq":7,"values":{"a":1.0}}"#
            )
        );
    }

    #[test]
    fn the_message_is_cut_so_that_the_whole_fits() {
        for message in ["x".repeat(500), "\u{1b}[1m\"é\"\n\\".repeat(90), "\u{10ffff}\0".repeat(120)] {
            let mut lengths = Vec::new();
            for limit in 40..400 {
                let message = message.clone().into_bytes();
                let json = text(&Report { message, ..Report::default() }, limit);
                assert!(json.len() <= limit.max(41), "{limit}: {json}");
                let parsed: Value = serde_json::from_str(&json).unwrap();
                let kept = parsed.get("message").map_or("", |kept| kept.as_str().unwrap());
                lengths.push((limit - json.len().min(limit), kept.len()));
            }
            // At most one character less than there was room for.
            assert!(lengths[60..].iter().all(|(unused, kept)| *unused < 6 && *kept > 0), "{lengths:?}");
        }
    }
}
