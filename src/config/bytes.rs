//! Text that may hold any byte, for what goes on the wire as it is.

use std::fmt;
use std::ops::Deref;

use super::decode::{Context, Decode, scalar_bytes};
use super::yaml::emit::{Emit, Emitter};
use super::yaml::tree::Node;

/// A scalar's bytes; `!!binary` allows those that are not UTF-8.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bytes(Box<[u8]>);

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

impl Decode for Bytes {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        scalar_bytes(node, ctx).map(|bytes| Self(bytes.into()))
    }
}

impl Emit for Bytes {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn emit(&self, out: &mut Emitter) {
        out.bytes(&self.0);
    }
}
