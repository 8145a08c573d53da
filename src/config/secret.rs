//! Text that must not be seen.

use std::fmt;

use super::decode::{Context, Decode};
use super::yaml::emit::{Emit, Emitter};
use super::yaml::tree::Node;

/// What stands in for a secret wherever one would be printed.
pub const MASK: &str = "<secret>";

/// A password, token or key; every way to print it shows [`MASK`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The value itself; for the wire only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Decode for Secret {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        String::decode(node, ctx).map(|text| Self(text.into_boxed_str()))
    }
}

impl Emit for Secret {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn emit(&self, out: &mut Emitter) {
        out.plain(&MASK);
    }
}
