//! gRPC without a library: its frames, its status codes, the texts of its headers, and as much of
//! protobuf as a few small messages need. No generated code, so no compiler for it at build time.
//!
//! Sources: "gRPC over HTTP2" (PROTOCOL-HTTP2.md of grpc/grpc), `health.proto` of grpc/grpc-proto, and
//! "Encoding" of protobuf.dev.

pub mod frame;
pub mod health;
pub mod protobuf;
pub mod status;
pub mod text;

use hyper::header::HeaderName;

/// In trailers: the number of the status.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// In trailers: the status in words, percent-encoded.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// In requests: the time until the client gives up.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Whether the value of a `Content-Type` is gRPC's.
pub fn is_grpc(content_type: &[u8]) -> bool {
    matches!(content_type.strip_prefix(b"application/grpc"), Some([] | [b'+' | b';', ..]))
}
