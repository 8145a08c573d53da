//! Status codes of gRPC, and which of them stands for what went wrong below gRPC.
//!
//! The mappings are those of grpc-go, so that `probe_grpc_status_code` has the values it has in the
//! peer (measured case by case), and mostly those of the protocol's documents.

use std::fmt;

use h2::Reason;
use hyper::StatusCode;

/// A status code; servers may send numbers that nobody has defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// No error.
    pub const OK: Self = Self(0);
    /// The caller has taken it back.
    pub const CANCELLED: Self = Self(1);
    /// Something without a code of its own.
    pub const UNKNOWN: Self = Self(2);
    /// What was asked for makes no sense.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// The time is over.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// There is nothing of that name.
    pub const NOT_FOUND: Self = Self(5);
    /// The caller is known and may not do this.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// Too much, too large or too often.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// There is no such method.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// A rule of gRPC is broken.
    pub const INTERNAL: Self = Self(13);
    /// It does not work now and may work later.
    pub const UNAVAILABLE: Self = Self(14);
    /// The caller has not shown who it is.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// The value of `grpc-status`; `None` if it is not a number of 32 bits.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let number: i32 = std::str::from_utf8(value).ok()?.parse().ok()?;
        Some(Self(number.cast_unsigned()))
    }

    /// For an answer that does not come from a gRPC server.
    pub fn from_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502 | 503 | 504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// For a stream that the server has reset.
    pub fn from_reset(reason: Reason) -> Self {
        match reason {
            Reason::REFUSED_STREAM => Self::UNAVAILABLE,
            Reason::CANCEL => Self::CANCELLED,
            Reason::FLOW_CONTROL_ERROR | Reason::ENHANCE_YOUR_CALM => Self::RESOURCE_EXHAUSTED,
            Reason::INADEQUATE_SECURITY => Self::PERMISSION_DENIED,
            reason if u32::from(reason) <= u32::from(Reason::HTTP_1_1_REQUIRED) => Self::INTERNAL,
            _ => Self::UNKNOWN,
        }
    }
}

impl fmt::Display for Code {
    /// Number and name, such as `5 (NOT_FOUND)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = usize::try_from(self.0).ok().and_then(|number| NAMES.get(number));
        write!(f, "{} ({})", self.0, name.unwrap_or(&"not a code of gRPC"))
    }
}

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbers() {
        let cases = [
            ("0", Some(0)),
            ("5", Some(5)),
            ("05", Some(5)),
            ("+5", Some(5)),
            ("99", Some(99)),
            ("-1", Some(u32::MAX)),
            ("4294967296", None),
            ("", None),
            ("abc", None),
            (" 5", None),
        ];
        for (value, want) in cases {
            assert_eq!(Code::parse(value.as_bytes()), want.map(Code), "{value:?}");
        }
        assert_eq!(Code(16).to_string(), "16 (UNAUTHENTICATED)");
        assert_eq!(Code(17).to_string(), "17 (not a code of gRPC)");
    }

    #[test]
    fn other_layers_have_codes_too() {
        let http = [200, 302, 400, 401, 403, 404, 418, 429, 500, 502, 503, 504];
        let got = http.map(|status| Code::from_http(StatusCode::from_u16(status).unwrap()).0);
        assert_eq!(got, [2, 2, 13, 16, 7, 12, 2, 14, 2, 14, 14, 14]);
        let resets: Vec<u32> = (0..15).map(|reason| Code::from_reset(Reason::from(reason)).0).collect();
        assert_eq!(resets, [13, 13, 13, 8, 13, 13, 13, 14, 1, 13, 13, 8, 7, 13, 2]);
    }
}
