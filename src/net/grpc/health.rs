//! The messages of `grpc.health.v1`.

use bytes::Bytes;

use super::frame::framed;
use super::protobuf::{Fields, Value, put_bytes, put_message, put_varint};

/// What a server says about a service (`HealthCheckResponse.ServingStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving(i32);

impl Serving {
    /// Nothing is known yet.
    pub const UNKNOWN: Self = Self(0);
    /// The only status that is a success.
    pub const SERVING: Self = Self(1);
    /// The service is there and does not work.
    pub const NOT_SERVING: Self = Self(2);
    /// There is no such service; in the answers of `Watch` only.
    pub const SERVICE_UNKNOWN: Self = Self(3);

    /// Label values by number, in the order of `health.proto`.
    pub const NAMES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

    /// The label value; `None` for a number that `health.proto` does not have.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.get(usize::try_from(self.0).ok()?).copied()
    }

    /// The number, as received.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Reads a `HealthCheckResponse`. Without a status it is 0, the default of proto3; fields that
    /// are not known are skipped.
    ///
    /// `None` if these bytes are no protobuf message.
    pub fn decode(message: &[u8]) -> Option<Self> {
        let mut status = 0;
        for field in Fields::of(message) {
            // An enumeration keeps the lower 32 bits, and the last of several values counts.
            if let (STATUS_FIELD, Value::Varint(value)) = field.ok()? {
                status = value as u32 as i32;
            }
        }
        Some(Self(status))
    }

    /// Writes a `HealthCheckResponse`.
    pub fn encode(self) -> Vec<u8> {
        let mut message = Vec::with_capacity(2);
        put_varint(&mut message, STATUS_FIELD, u64::from(self.0.cast_unsigned()));
        message
    }
}

/// Writes a `HealthListResponse`: services with their status.
pub fn list<'s>(services: impl Iterator<Item = (String, Serving)> + 's) -> Vec<u8> {
    let mut message = Vec::new();
    for (name, serving) in services {
        let mut entry = Vec::with_capacity(name.len() + 6);
        put_bytes(&mut entry, 1, name.as_bytes());
        put_message(&mut entry, 2, &serving.encode());
        put_message(&mut message, 1, &entry);
    }
    message
}

/// `HealthCheckResponse.status`
const STATUS_FIELD: u64 = 1;
/// `HealthCheckRequest.service`
const SERVICE_FIELD: u64 = 1;

/// A `HealthCheckRequest`, in its frame.
pub fn request(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 11);
    put_bytes(&mut message, SERVICE_FIELD, service.as_bytes());
    framed(&message)
}

/// Reads a `HealthCheckRequest`: the name of the service. `None` if these bytes are none, or the name is no text.
pub fn read_request(message: &[u8]) -> Option<String> {
    let mut service = String::new();
    for field in Fields::of(message) {
        if let (SERVICE_FIELD, Value::Bytes(name)) = field.ok()? {
            service = std::str::from_utf8(name).ok()?.to_owned();
        }
    }
    Some(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_read_as_protobuf() {
        let cases: &[(&str, &[u8], Option<i32>)] = &[
            ("serving", b"\x08\x01", Some(1)),
            ("the default is not sent", b"", Some(0)),
            ("the last value counts", b"\x08\x02\x08\x01", Some(1)),
            ("a number nobody has defined", b"\x08\x63", Some(99)),
            ("below zero", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Some(-1)),
            ("the lower 32 bits", b"\x08\x81\x80\x80\x80\x10", Some(1)),
            ("other fields", b"\x10\x05\x1a\x01x\x25abcd\x29abcdefgh\x08\x01", Some(1)),
            ("a status of another type", b"\x0a\x01x", Some(0)),
            ("field 0", b"\x00\x01", None),
            ("a group", b"\x13\x14", None),
            ("no value", b"\x08", None),
            ("an endless number", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None),
            ("a text that ends early", b"\x1a\x05x", None),
            ("a length beyond memory", b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", None),
            ("a fixed number that ends early", b"\x25abc", None),
        ];
        for (name, message, want) in cases {
            assert_eq!(Serving::decode(message).map(Serving::number), *want, "{name}");
        }
        let names = [-1, 0, 1, 2, 3, 4].map(|number| Serving(number).name());
        let want =
            [None, Some("UNKNOWN"), Some("SERVING"), Some("NOT_SERVING"), Some("SERVICE_UNKNOWN"), None];
        assert_eq!(names, want);
    }

    #[test]
    fn requests_are_framed() {
        assert_eq!(request("").as_ref(), b"\0\0\0\0\0");
        assert_eq!(request("a.B").as_ref(), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = request(&"x".repeat(300));
        assert_eq!(long.get(..8), Some(b"\0\0\0\x01\x2f\x0a\xac\x02".as_slice()));
        assert_eq!(long.len(), 308);
    }

    #[test]
    fn requests_and_responses_of_a_server() {
        let requests: [(&[u8], Option<&str>); 5] = [
            (b"", Some("")),
            (b"\x0a\x03a.B", Some("a.B")),
            (b"\x10\x05\x0a\x01a\x0a\x01b", Some("b")),
            (b"\x0a\x01\xff", None),
            (b"\x0a\x05a", None),
        ];
        for (message, want) in requests {
            assert_eq!(read_request(message).as_deref(), want, "{message:?}");
        }
        for serving in [Serving::UNKNOWN, Serving::SERVING, Serving::NOT_SERVING, Serving::SERVICE_UNKNOWN] {
            assert_eq!(Serving::decode(&serving.encode()), Some(serving));
        }
        let all = [("a".to_owned(), Serving::SERVING), (String::new(), Serving::UNKNOWN)];
        assert_eq!(list(all.into_iter()), b"\x0a\x07\x0a\x01a\x12\x02\x08\x01\x0a\x02\x12\0");
    }
}
