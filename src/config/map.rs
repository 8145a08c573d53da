//! Mappings whose keys the user chooses.

use super::decode::{Context, Decode, Segment, key_text, mapping, read_into};
use super::yaml::emit::{Emit, Emitter};
use super::yaml::tree::Node;

/// Names and values, sorted by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Map<T>(Vec<(String, T)>);

impl<T> Map<T> {
    /// The pairs in the order of their names' bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets the value of one name.
    pub fn insert(&mut self, name: &str, value: T) {
        match self.0.binary_search_by(|(known, _)| known.as_str().cmp(name)) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (name.to_owned(), value)),
        }
    }
}

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Decode + Default> Decode for Map<T> {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let mapping = mapping(node, ctx)?;
        let mut pairs = Vec::new();
        for (key, value) in mapping.pairs() {
            if let Some(name) = key_text(key, ctx) {
                // A name without a value counts, unlike a section's key.
                let mut place = T::default();
                ctx.within(Segment::Key(name), |ctx| read_into(&mut place, value, ctx));
                pairs.push((name.to_owned(), place));
            }
        }
        pairs.sort_by(|(left, _), (right, _)| left.cmp(right));
        pairs.shrink_to_fit();
        Some(Self(pairs))
    }
}

impl<T: Emit> Emit for Map<T> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn emit(&self, out: &mut Emitter) {
        out.block("{}", |out| {
            for (name, value) in &self.0 {
                out.entry(name, value);
            }
        });
    }
}
