//! Keeps what placeholders stand for out of everything that is printed.
//!
//! A mask belongs to one module, or to the section `heartbeats`. Where a whole value is written
//! back, the place tells what the file has there. In sentences, whose authors know nothing of
//! placeholders, the values themselves are looked for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::decode::quote;
use super::placeholder::{Part, Written};
use super::yaml::tree::Node;

/// Bytes of the shortest value looked for anywhere; a shorter one only where it stands alone.
const MIN_BYTES: usize = 4;
/// Ends text that was cut short.
const ELLIPSES: [&str; 2] = ["…", "..."];

/// What is shown in place of values that came from placeholders.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Mask {
    /// As written, by the path of keys and indexes.
    by_path: BTreeMap<String, Box<str>>,
    /// As written, by what the whole scalar stands for.
    by_text: BTreeMap<Box<str>, Box<str>>,
    /// Text to look for and what is shown in its place, the longest first.
    needles: Vec<(Box<str>, Box<str>)>,
}

impl Mask {
    /// The mask for what is read from `node`; `None` if nothing in it has a placeholder.
    pub fn of(node: Node<'_>) -> Option<Arc<Self>> {
        if !node.has_written() {
            return None;
        }
        let mut mask = Self::default();
        let mut needles = BTreeMap::new();
        mask.add(node, &mut String::new(), &mut needles);
        mask.needles = needles.into_iter().collect();
        mask.needles.sort_by_key(|(needle, _)| std::cmp::Reverse(needle.len()));
        (!mask.by_path.is_empty()).then(|| Arc::new(mask))
    }

    /// The tree bounds its depth, so recursion is bounded.
    fn add(&mut self, node: Node<'_>, path: &mut String, needles: &mut BTreeMap<Box<str>, Box<str>>) {
        if let Some(written) = node.written() {
            self.by_path.insert(path.clone(), written.text.clone());
            let value = written.value();
            if !value.is_empty() {
                self.by_text.insert(value.into(), written.text.clone());
            }
            add_needles(written, needles);
        }
        let length = path.len();
        // Lists are read without their null items.
        let items = node.items().into_iter().flatten().filter(|item| !item.is_null());
        for (index, item) in items.enumerate() {
            push_index(path, index);
            self.add(item, path, needles);
            path.truncate(length);
        }
        for (key, value) in node.mapping(&mut Vec::new()).iter().flat_map(|mapping| mapping.pairs()) {
            push_key(path, key.text().unwrap_or_default());
            self.add(value, path, needles);
            path.truncate(length);
        }
    }

    /// What the file has at a path made by [`push_key`] and [`push_index`].
    pub fn written_at(&self, path: &str) -> Option<&str> {
        self.by_path.get(path).map(AsRef::as_ref)
    }

    /// What the file has where a scalar stands for this text.
    pub fn written_for(&self, text: &str) -> Option<&str> {
        self.by_text.get(text).map(AsRef::as_ref)
    }

    /// Puts placeholders back in the place of what they stand for.
    pub fn redact(&self, text: &mut String) {
        if let Some(written) = self.written_for(text) {
            *text = written.to_owned();
            return;
        }
        let found: Vec<_> = self.needles.iter().filter(|(needle, _)| text.contains(&**needle)).collect();
        if !found.is_empty() {
            let mut out = String::with_capacity(text.len());
            let mut rest = text.as_str();
            while let Some(first) = rest.chars().next() {
                let (taken, shown) = found
                    .iter()
                    .find(|(needle, _)| rest.starts_with(&**needle))
                    .map_or((first.len_utf8(), &rest[..first.len_utf8()]), |(needle, shown)| {
                        (needle.len(), shown)
                    });
                out.push_str(shown);
                rest = &rest[taken..];
            }
            *text = out;
        }
        self.redact_end(text);
    }

    /// Hides the beginning of a value at which the text was cut short.
    fn redact_end(&self, text: &mut String) {
        for (needle, shown) in &self.needles {
            let start = (MIN_BYTES..needle.len()).find_map(|end| needle.get(..end));
            let Some(start) = start else { continue };
            let ends = ELLIPSES.iter().filter_map(|mark| text.find(mark)).chain([text.len()]);
            let cut = ends.filter_map(|end| {
                let begin = text[..end].rfind(start)?;
                needle.starts_with(&text[begin..end]).then_some(begin..end)
            });
            if let Some(cut) = cut.min_by_key(|cut| cut.start) {
                text.replace_range(cut, shown);
            }
        }
    }
}

/// Adds a key to a path.
pub fn push_key(path: &mut String, key: &str) {
    path.push('\0');
    path.push_str(key);
}

/// Adds the index of an item to a path.
pub fn push_index(path: &mut String, index: usize) {
    push_key(path, &index.to_string());
}

fn add_needles(written: &Written, needles: &mut BTreeMap<Box<str>, Box<str>>) {
    let whole = written.value();
    // How messages about the configuration show values.
    needles.insert(quote(&whole).into(), quote(&written.text).into());
    needles.insert(format!("got {whole}").into(), format!("got {}", written.text).into());
    for part in &written.parts {
        let Part::Value { written, value } = part else { continue };
        let lines = value.lines().filter(|_| value.contains('\n'));
        for text in [value.as_str(), value.trim()].into_iter().chain(lines) {
            // Switches are no secrets, and logs are full of these words.
            if text.len() < MIN_BYTES || matches!(text, "true" | "false") {
                continue;
            }
            let debug = format!("{text:?}");
            let bytes = text.as_bytes().escape_ascii().to_string();
            for form in [text, debug.trim_matches('"'), &in_url(text), &bytes] {
                needles.insert(form.into(), written.as_str().into());
            }
        }
    }
}

/// How a query has the text (RFC 3986 section 2.1).
fn in_url(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_path.values()).finish()
    }
}
