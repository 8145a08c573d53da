//! The messages of `proto/heartbeat.proto`.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta};

use crate::heartbeat::event::MAX_RUN_ID_BYTES;
use crate::heartbeat::record::State;
use crate::heartbeat::{Event, Signal, Time};
use crate::net::grpc::protobuf::{Fields, Malformed, Value, put_bytes, put_fixed64, put_varint};

/// A `HeartbeatRequest`.
#[derive(Debug, Default, PartialEq)]
pub struct Beat {
    pub service: String,
    pub strict: bool,
    signal: u64,
    sequence: Option<u64>,
    incarnation: String,
    run: String,
    exit_code: Option<i32>,
    duration: Option<f64>,
    sent: Option<f64>,
    progress: String,
    values: BTreeMap<String, f64>,
    pub text: String,
}

/// Numbers accepted in one signal; few of them are kept.
const MAX_VALUES: usize = 64;

impl Beat {
    /// Reads a message; fields that are not known are skipped, as are those of another type.
    ///
    /// # Errors
    /// A sentence: this is no protobuf, or has too many numbers.
    pub fn decode(message: &[u8]) -> Result<Self, String> {
        let mut beat = Self::default();
        for field in Fields::of(message) {
            match field.map_err(|Malformed| "the message is no protobuf")? {
                (1, Value::Bytes(text)) => beat.service = read_text(text)?,
                (2, Value::Varint(signal)) => beat.signal = signal,
                (3, Value::Varint(sequence)) => beat.sequence = Some(sequence),
                (4, Value::Bytes(text)) => beat.incarnation = read_text(text)?,
                (5, Value::Bytes(text)) => beat.run = read_text(text)?,
                (6, Value::Varint(code)) => beat.exit_code = Some(code as u32 as i32),
                (7, Value::Fixed64(bits)) => beat.duration = Some(f64::from_bits(bits)),
                (8, Value::Fixed64(bits)) => beat.sent = Some(f64::from_bits(bits)),
                (9, Value::Bytes(text)) => beat.progress = read_text(text)?,
                (10, Value::Bytes(entry)) => {
                    let (name, value) = read_value(entry)?;
                    beat.values.insert(name, value);
                    if beat.values.len() > MAX_VALUES {
                        return Err(format!("there are more than {MAX_VALUES} values"));
                    }
                }
                (11, Value::Bytes(text)) => beat.text = read_text(text)?,
                (12, Value::Varint(strict)) => beat.strict = strict != 0,
                _ => {}
            }
        }
        Ok(beat)
    }

    /// The signal, received at `now`.
    ///
    /// # Errors
    /// A sentence that names the field that cannot be used.
    pub fn event(&self, now: Time) -> Result<Event, String> {
        let signal = match (self.signal, self.exit_code) {
            (0, Some(code)) => Signal::from_exit_code(code),
            (0, None) => Signal::Success,
            (1, _) => Signal::Start,
            (2, _) => Signal::Fail,
            (3, _) => Signal::Log,
            (4, _) => Signal::Data,
            (other, _) => return Err(format!("signal {other} is not known")),
        };
        let mut event = Event::new(signal, now);
        event.run = short("run_id", &self.run)?;
        event.incarnation = short("incarnation", &self.incarnation)?;
        event.progress = short("progress", &self.progress)?;
        event.sequence = self.sequence;
        event.exit_code = self.exit_code;
        if let Some(seconds) = self.duration {
            event.duration = Some(span(seconds).ok_or("duration_seconds is no duration")?);
        }
        if let Some(seconds) = self.sent {
            event.sent = Some(moment(seconds).ok_or("sent_timestamp_seconds is no time")?);
        }
        event.values.clone_from(&self.values);
        event.text.clone_from(&self.text);
        Ok(event)
    }
}

fn read_text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
}

fn read_value(entry: &[u8]) -> Result<(String, f64), String> {
    let (mut name, mut value) = (String::new(), 0.0);
    for field in Fields::of(entry) {
        match field.map_err(|Malformed| "the message is no protobuf")? {
            (1, Value::Bytes(text)) => name = read_text(text)?,
            (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            _ => {}
        }
    }
    Ok((name, value))
}

fn short(name: &str, text: &str) -> Result<Option<String>, String> {
    if text.len() > MAX_RUN_ID_BYTES {
        return Err(format!("{name} is longer than {MAX_RUN_ID_BYTES} bytes"));
    }
    Ok(Some(text).filter(|text| !text.is_empty()).map(str::to_owned))
}

fn span(seconds: f64) -> Option<TimeDelta> {
    let span = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    TimeDelta::from_std(span).ok()
}

fn moment(seconds: f64) -> Option<Time> {
    // Beyond this, and for what is no number, the conversion would only saturate.
    (seconds.abs() <= MAX_SECONDS).then(|| DateTime::from_timestamp_micros((seconds * 1e6) as i64))?
}

/// Three thousand years.
const MAX_SECONDS: f64 = 1e11;

/// A `HeartbeatResponse`.
#[derive(Debug, Default, PartialEq)]
pub struct Pulse {
    pub alive: bool,
    pub state: Option<State>,
    pub reason: String,
    pub repeated: bool,
    pub deadline: Option<Time>,
}

impl Pulse {
    /// Writes the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        put_varint(&mut out, 1, self.alive.into());
        put_varint(&mut out, 2, self.state.map_or(0, number));
        put_bytes(&mut out, 3, self.reason.as_bytes());
        put_varint(&mut out, 4, self.repeated.into());
        if let Some(deadline) = self.deadline {
            let seconds = deadline.timestamp_micros() as f64 / 1e6;
            put_fixed64(&mut out, 5, seconds.to_bits());
        }
        out
    }
}

fn number(state: State) -> u64 {
    match state {
        State::New => 1,
        State::Up => 2,
        State::Late => 3,
        State::Running => 4,
        State::Down => 5,
        State::Paused => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::grpc::protobuf::put_message;

    fn now() -> Time {
        "2026-11-21T08:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_request_with_everything() {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, b"batch/job");
        put_varint(&mut message, 2, 3);
        put_varint(&mut message, 3, 7);
        put_bytes(&mut message, 4, b"boot-1");
        put_bytes(&mut message, 5, b"run-1");
        // Negative numbers have ten bytes.
        put_varint(&mut message, 6, (-1_i64).cast_unsigned());
        put_fixed64(&mut message, 7, 1.5_f64.to_bits());
        put_fixed64(&mut message, 8, 1_795_248_000.25_f64.to_bits());
        put_bytes(&mut message, 9, b"42 rows");
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, b"rows");
        put_fixed64(&mut entry, 2, 42.0_f64.to_bits());
        put_message(&mut message, 10, &entry);
        put_message(&mut message, 10, b"");
        put_bytes(&mut message, 11, "größer".as_bytes());
        put_varint(&mut message, 12, 1);
        put_varint(&mut message, 99, 1);
        let beat = Beat::decode(&message).unwrap();
        assert_eq!((beat.service.as_str(), beat.strict), ("batch/job", true));
        let mut want = Event::new(Signal::Log, now());
        want.sequence = Some(7);
        want.incarnation = Some("boot-1".to_owned());
        want.run = Some("run-1".to_owned());
        want.exit_code = Some(-1);
        want.duration = Some(TimeDelta::milliseconds(1500));
        want.sent = Some("2026-11-21T08:00:00.25Z".parse().unwrap());
        want.progress = Some("42 rows".to_owned());
        want.values = BTreeMap::from([("rows".to_owned(), 42.0), (String::new(), 0.0)]);
        want.text = "größer".to_owned();
        assert_eq!(beat.event(now()), Ok(want));
    }

    #[test]
    fn signals_and_exit_codes() {
        let signal = |signal: u64, code: Option<u64>| {
            let mut message = Vec::new();
            put_varint(&mut message, 2, signal);
            if let Some(code) = code {
                message.extend([6 << 3, code as u8]);
            }
            Beat::decode(&message).unwrap().event(now()).map(|event| event.signal)
        };
        let cases = [
            ((0, None), Ok(Signal::Success)),
            ((0, Some(0)), Ok(Signal::Success)),
            ((0, Some(3)), Ok(Signal::Fail)),
            ((1, None), Ok(Signal::Start)),
            ((2, Some(0)), Ok(Signal::Fail)),
            ((3, None), Ok(Signal::Log)),
            ((4, None), Ok(Signal::Data)),
            ((5, None), Err("signal 5 is not known".to_owned())),
        ];
        for ((number, code), want) in cases {
            assert_eq!(signal(number, code), want, "{number} {code:?}");
        }
    }

    #[test]
    fn what_cannot_be_used() {
        let decode = |message: &[u8]| Beat::decode(message).unwrap_err();
        assert_eq!(decode(b"\x0a\x05x"), "the message is no protobuf");
        assert_eq!(decode(b"\x52\x01\x0a"), "the message is no protobuf");
        assert_eq!(decode(b"\x0a\x01\xff"), "a text is not UTF-8");
        let mut many = Vec::new();
        for name in 0..65 {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, format!("v{name}").as_bytes());
            put_message(&mut many, 10, &entry);
        }
        assert_eq!(decode(&many), "there are more than 64 values");

        let long = "x".repeat(129);
        let fields: [(u64, &str); 3] = [
            (4, "incarnation is longer than 128 bytes"),
            (5, "run_id is longer than 128 bytes"),
            (9, "progress is longer than 128 bytes"),
        ];
        for (field, want) in fields {
            let mut message = Vec::new();
            put_bytes(&mut message, field, long.as_bytes());
            assert_eq!(Beat::decode(&message).unwrap().event(now()).unwrap_err(), want);
        }
        for (field, want) in
            [(7, "duration_seconds is no duration"), (8, "sent_timestamp_seconds is no time")]
        {
            for number in [f64::NAN, f64::INFINITY, -1e300, 1e300] {
                let mut message = Vec::new();
                put_fixed64(&mut message, field, number.to_bits());
                assert_eq!(Beat::decode(&message).unwrap().event(now()).unwrap_err(), want, "{number}");
            }
        }
    }

    #[test]
    fn responses_are_short() {
        let bare = Pulse { alive: true, ..Pulse::default() };
        assert_eq!(bare.encode(), b"\x08\x01");
        assert_eq!(Pulse::default().encode(), b"");
        let down = Pulse {
            alive: true,
            state: Some(State::Down),
            reason: "failed".to_owned(),
            repeated: true,
            deadline: Some("1970-01-01T00:00:01.5Z".parse().unwrap()),
        };
        assert_eq!(down.encode(), b"\x08\x01\x10\x05\x1a\x06failed\x20\x01\x29\0\0\0\0\0\0\xf8\x3f");
        let states = State::ALL.map(number);
        assert_eq!(states, [1, 2, 3, 4, 5, 6]);
    }
    proptest::proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(0..=255_u8, 0..100)) {
            if let Ok(event) = Beat::decode(&bytes).and_then(|beat| beat.event(now())) {
                proptest::prop_assert!(event.values.len() <= MAX_VALUES && event.text.len() <= bytes.len());
            }
        }
    }
}
