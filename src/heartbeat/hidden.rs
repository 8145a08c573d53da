//! What of a definition came from placeholders. It is shown as the file has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::manage::Object;
use crate::config::mask::{Mask, SEPARATOR};

/// Texts of the file by the path of what they stand for, such as `on_miss` and `target`. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden(BTreeMap<Box<str>, Box<str>>);

impl Hidden {
    /// What is hidden of the value at a path; `None` if that is nothing.
    pub fn below(mask: Option<&Arc<Mask>>, path: &[&str]) -> Option<Arc<Self>> {
        let below: BTreeMap<_, _> =
            mask?.below(path).map(|(path, text)| (path.into(), text.into())).collect();
        (!below.is_empty()).then(|| Arc::new(Self(below)))
    }

    /// What the file has at a path of keys and indexes.
    pub fn at(&self, path: &[&str]) -> Option<&str> {
        self.0.get(&*path.join(SEPARATOR)).map(AsRef::as_ref)
    }

    /// Puts the texts of the file in the place of what they stand for.
    pub fn cover(&self, definition: &mut Object) {
        for (path, text) in &self.0 {
            let mut parts = path.split(SEPARATOR);
            let first = parts.next().and_then(|key| definition.get_mut(key));
            let place = parts.fold(first, |place, part| match place? {
                Value::Object(object) => object.get_mut(part),
                Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
                _ => None,
            });
            // Secrets are not described at all.
            if let Some(place) = place {
                *place = (&**text).into();
            }
        }
    }
}
