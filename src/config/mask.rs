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
/// What messages about numbers end with, before the number.
const GOT: &str = "got ";
/// Ends text that was cut short.
const ELLIPSES: [&str; 2] = ["…", "..."];

/// What is shown in place of values that came from placeholders.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Mask {
    /// As written, by the path of keys and indexes.
    by_path: BTreeMap<String, Box<str>>,
    /// As written, by what the whole scalar stands for.
    by_text: BTreeMap<Box<str>, Box<str>>,
    /// The longest first.
    needles: Vec<Needle>,
}

/// Text to look for, and what is shown in its place.
#[derive(Clone, PartialEq, Eq)]
struct Needle {
    text: Box<str>,
    shown: Box<str>,
    /// It is looked for also where it was cut short.
    is_value: bool,
}

impl Mask {
    /// The mask for what is read from `node`; `None` if nothing in it has a placeholder.
    pub fn of(node: Node<'_>) -> Option<Arc<Self>> {
        if !node.has_written() {
            return None;
        }
        let mut mask = Self::default();
        mask.add(node, &mut String::new());
        mask.order();
        (!mask.by_path.is_empty()).then(|| Arc::new(mask))
    }

    fn order(&mut self) {
        self.needles.sort_by(|a, b| (b.text.len(), &a.text).cmp(&(a.text.len(), &b.text)));
        self.needles.dedup_by(|a, b| a.text == b.text);
    }

    /// The tree bounds its depth, so recursion is bounded.
    fn add(&mut self, node: Node<'_>, path: &mut String) {
        if let Some(written) = node.written() {
            self.by_path.insert(path.clone(), written.text.clone());
            let value = written.value();
            if !value.is_empty() {
                self.by_text.insert(value.into(), written.text.clone());
            }
            self.look_for(written);
        }
        let length = path.len();
        // Lists are read without their null items.
        let items = node.items().into_iter().flatten().filter(|item| !item.is_null());
        for (index, item) in items.enumerate() {
            push_index(path, index);
            self.add(item, path);
            path.truncate(length);
        }
        for (key, value) in node.mapping(&mut Vec::new()).iter().flat_map(|mapping| mapping.pairs()) {
            push_key(path, key.text().unwrap_or_default());
            self.add(value, path);
            path.truncate(length);
        }
    }

    fn look_for(&mut self, written: &Written) {
        // How messages about the configuration show values, short ones as well.
        let whole = written.value();
        if !whole.is_empty() {
            self.needles.push(Needle::new(&quote(&whole), &quote(&written.text), false));
        }
        for part in &written.parts {
            let Part::Value { written, value } = part else { continue };
            let lines = value.lines().filter(|_| value.contains('\n'));
            for text in [value.as_str(), value.trim()].into_iter().chain(lines) {
                // Switches are no secrets, and logs are full of these words.
                if text.len() < MIN_BYTES || matches!(text, "true" | "false") {
                    continue;
                }
                let debug = format!("{text:?}");
                let debug =
                    debug.strip_prefix('"').and_then(|debug| debug.strip_suffix('"')).unwrap_or(&debug);
                let bytes = text.as_bytes().escape_ascii().to_string();
                for form in [text, debug, &in_url(text), &bytes] {
                    self.needles.push(Needle::new(form, written, true));
                }
            }
        }
    }

    /// What the file has at a path made by [`push_key`] and [`push_index`].
    pub fn written_at(&self, path: &str) -> Option<&str> {
        self.by_path.get(path).map(AsRef::as_ref)
    }

    /// What the file has below a path, by the rest of it.
    pub fn below(&self, path: &[&str]) -> impl Iterator<Item = (&str, &str)> {
        let mut prefix = String::new();
        path.iter().for_each(|key| push_key(&mut prefix, key));
        prefix.push_str(SEPARATOR);
        let all = self.by_path.range(prefix.clone()..);
        all.map_while(move |(path, text)| Some((path.strip_prefix(&prefix)?, text.as_ref())))
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
        if let Some((before, last)) = text.rsplit_once(GOT)
            && let Some(written) = self.written_for(last)
        {
            *text = format!("{before}{GOT}{written}");
        }
        let found: Vec<_> = self.needles.iter().filter(|needle| text.contains(needle.start())).collect();
        if found.is_empty() {
            return;
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(next) = rest.chars().next() {
            let hits = found.iter().filter_map(|needle| Some((needle.match_at(rest)?, needle)));
            // A whole value rather than the beginning of a longer one.
            let best = hits.max_by_key(|(taken, needle)| (*taken, *taken == needle.text.len()));
            let (taken, shown) = match best {
                Some((taken, needle)) => (taken, &*needle.shown),
                None => (next.len_utf8(), &rest[..next.len_utf8()]),
            };
            out.push_str(shown);
            rest = &rest[taken..];
        }
        *text = out;
    }
}

impl Needle {
    fn new(text: &str, shown: &str, is_value: bool) -> Self {
        Self { text: text.into(), shown: shown.into(), is_value }
    }

    fn start(&self) -> &str {
        let end = (MIN_BYTES..self.text.len()).find(|end| self.text.is_char_boundary(*end));
        end.filter(|_| self.is_value).map_or(&*self.text, |end| &self.text[..end])
    }

    /// How many bytes at the beginning of `rest` are this text, or what is left of it where it was cut short.
    fn match_at(&self, rest: &str) -> Option<usize> {
        if !rest.starts_with(self.start()) {
            return None;
        }
        if rest.starts_with(&*self.text) {
            return Some(self.text.len());
        }
        let end = ELLIPSES.iter().filter_map(|mark| rest.find(mark)).min().unwrap_or(rest.len());
        self.text.starts_with(&rest[..end]).then_some(end)
    }
}

/// Begins each part of a path; no scalar of YAML has it.
pub const SEPARATOR: &str = "\0";

/// Adds a key to a path.
pub fn push_key(path: &mut String, key: &str) {
    path.push_str(SEPARATOR);
    path.push_str(key);
}

/// Adds the index of an item to a path.
pub fn push_index(path: &mut String, index: usize) {
    push_key(path, &index.to_string());
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

#[cfg(test)]
mod tests {
    use super::super::placeholder::{Part, Written};
    use super::*;

    fn mask(values: &[(&str, &str)]) -> Mask {
        let mut mask = Mask::default();
        for (name, value) in values {
            let written = format!("${{env:{name}}}");
            let parts = [Part::Value { written: written.clone(), value: (*value).to_owned() }];
            let written = Written { text: written.into(), parts: parts.into() };
            mask.by_text.insert((*value).into(), written.text.clone());
            mask.look_for(&written);
        }
        mask.order();
        mask
    }

    #[test]
    fn values_are_found_in_every_form_they_are_printed_in() {
        let values = [
            ("A", "hunter2"),
            ("LONG", "hunter2-and-more"),
            ("ODD", "é \"x\"\\"),
            ("LINES", "first line\nsecond line"),
            ("SHORT", "abc"),
            ("SWITCH", "true"),
            ("ENV", "env:A"),
        ];
        let mask = mask(&values);
        let cases = [
            ("nothing of it", "nothing of it"),
            ("a hunter2, twice hunter2", "a ${env:A}, twice ${env:A}"),
            ("a hunter2-and-more", "a ${env:LONG}"),
            // What is put in is not looked at again.
            ("hunter2env:A", "${env:A}${env:ENV}"),
            ("is é \"x\"\\", "is ${env:ODD}"),
            (r#"is "é \"x\"\\""#, r#"is "${env:ODD}""#),
            (r#"is "\xc3\xa9 \"x\"\\""#, r#"is "${env:ODD}""#),
            ("/?q=%C3%A9%20%22x%22%5C&", "/?q=${env:ODD}&"),
            ("of second line", "of ${env:LINES}"),
            // Cut short on the way.
            ("line hunter…", "line ${env:A}…"),
            ("line hunter2-and… is too long", "line ${env:LONG}… is too long"),
            ("line hunte", "line ${env:A}"),
            ("line hunt…, or not", "line ${env:A}…, or not"),
            ("a hunt", "a ${env:A}"),
            ("a hun", "a hun"),
            // Too short to be looked for everywhere.
            ("abc", "${env:SHORT}"),
            ("must be x, got abc", "must be x, got ${env:SHORT}"),
            ("must be x, got \"abc\"", "must be x, got \"${env:SHORT}\""),
            ("abcd", "abcd"),
            ("is true", "is true"),
        ];
        for (text, want) in cases {
            let mut got = text.to_owned();
            mask.redact(&mut got);
            assert_eq!(got, want, "{text}");
        }
        assert_eq!(format!("{mask:?}"), "{}");
    }
}
