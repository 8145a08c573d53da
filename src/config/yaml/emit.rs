//! Values to block-style YAML text.

use std::fmt::Display;
use std::sync::Arc;

use data_encoding::BASE64;

use super::scalar::{self, Resolved};
use crate::config::mask::{self, Mask};
use crate::config::secret::MASK;

/// A value that can be written; empty ones are left out of mappings.
pub trait Emit {
    /// Whether the value is zero, false or empty.
    fn is_empty(&self) -> bool;
    /// Whether the value is a list without items, which is left out even where writing an empty
    /// one means something (the peer's `/config` does so).
    fn is_empty_list(&self) -> bool {
        false
    }
    /// Writes the value after its key or dash.
    fn emit(&self, out: &mut Emitter);
}

/// Writes one document; keys and items in the order they are given.
#[derive(Debug)]
pub struct Emitter {
    text: String,
    /// Columns one mapping level is indented by.
    step: usize,
    indent: usize,
    after: After,
    /// What must not be written, and where this is, counted from where the mask begins.
    mask: Option<Arc<Mask>>,
    path: String,
    /// Items of the list so far.
    items: usize,
}

/// What the text ends with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    Line,
    Key,
    Dash,
}

impl Emitter {
    /// An empty document, indented by `step` columns per level.
    pub fn new(step: usize) -> Self {
        Self {
            text: String::new(),
            step,
            indent: 0,
            after: After::Line,
            mask: None,
            path: String::new(),
            items: 0,
        }
    }

    /// The finished text.
    pub fn finish(self) -> String {
        self.text
    }

    /// Writes what `fill` writes, with placeholders for what they stand for.
    pub fn masked(&mut self, mask: Option<&Arc<Mask>>, fill: impl FnOnce(&mut Self)) {
        let outer = (std::mem::replace(&mut self.mask, mask.cloned()), std::mem::take(&mut self.path));
        fill(self);
        (self.mask, self.path) = outer;
    }

    /// Writes `key: value` unless the value is empty.
    pub fn field(&mut self, key: &str, value: &dyn Emit) {
        if !value.is_empty() {
            self.entry(key, value);
        }
    }

    /// Writes `key: value` whatever the value.
    pub fn entry(&mut self, key: &str, value: &dyn Emit) {
        self.begin_line();
        self.text.push_str(&quoted(key));
        self.text.push(':');
        self.after = After::Key;
        self.below(value, |path| mask::push_key(path, key));
    }

    /// Writes `- value`.
    pub fn item(&mut self, value: &dyn Emit) {
        self.begin_line();
        self.text.push('-');
        self.after = After::Dash;
        let index = self.items;
        self.items += 1;
        self.below(value, |path| mask::push_index(path, index));
    }

    fn below(&mut self, value: &dyn Emit, push: impl FnOnce(&mut String)) {
        if self.mask.is_none() {
            return value.emit(self);
        }
        let length = self.path.len();
        push(&mut self.path);
        value.emit(self);
        self.path.truncate(length);
    }

    /// Writes a mapping or a list: `fill` adds its entries. `empty` stands for one without any.
    pub fn block(&mut self, empty: &str, fill: impl FnOnce(&mut Self)) {
        let (before, indent, after) = (self.text.len(), self.indent, self.after);
        let items = std::mem::take(&mut self.items);
        match after {
            After::Line => {}
            After::Key => {
                self.text.push('\n');
                self.indent += self.step;
                self.after = After::Line;
            }
            // The first entry stands on the line of the dash, the others below it.
            After::Dash => {
                self.text.push(' ');
                self.indent += 2;
            }
        }
        let start = self.text.len();
        fill(self);
        (self.indent, self.items) = (indent, items);
        if self.text.len() == start {
            self.text.truncate(before);
            self.after = after;
            self.plain(&empty);
        }
    }

    /// Writes a scalar that needs no quotes.
    pub fn plain(&mut self, value: &dyn Display) {
        let value = value.to_string();
        match self.written().filter(|_| value != MASK) {
            Some(written) => self.scalar(&written),
            None => self.scalar(&value),
        }
    }

    /// Writes text, quoted when it could be read as something else.
    pub fn string(&mut self, value: &str) {
        // Also where it has come from another place, such as a key with an older name.
        let elsewhere = || Some(quoted(self.mask.as_ref()?.written_for(value)?));
        match self.written().or_else(elsewhere) {
            Some(written) => self.scalar(&written),
            None => self.scalar(&quoted(value)),
        }
    }

    /// Writes text in which a secret part is masked already: the file has that part, too.
    pub fn partly_secret(&mut self, shown: &str) {
        match self.written() {
            Some(_) => self.scalar(MASK),
            None => self.scalar(&quoted(shown)),
        }
    }

    /// What the file has here, if there are placeholders in it.
    fn written(&self) -> Option<String> {
        Some(quoted(self.mask.as_ref()?.written_at(&self.path)?))
    }

    fn scalar(&mut self, text: &str) {
        if self.after != After::Line {
            self.text.push(' ');
        }
        self.text.push_str(text);
        self.text.push('\n');
        self.after = After::Line;
    }

    /// Writes bytes: as text if they are UTF-8, otherwise as `!!binary`.
    pub fn bytes(&mut self, value: &[u8]) {
        match std::str::from_utf8(value) {
            Ok(text) => self.string(text),
            Err(_) => self.plain(&format_args!("!!binary {}", BASE64.encode(value))),
        }
    }

    fn begin_line(&mut self) {
        if self.after == After::Dash {
            self.after = After::Line;
        } else {
            self.text.extend(std::iter::repeat_n(' ', self.indent));
        }
    }
}

/// The text as a plain, single-quoted or double-quoted scalar.
fn quoted(text: &str) -> String {
    if is_plain_safe(text) {
        return text.to_owned();
    }
    let printable = |c: char| match c {
        ' '..='~' => true,
        // Line separators and the byte order mark are layout to some readers.
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => c >= '\u{a0}',
    };
    if text.chars().all(printable) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if printable(c) => out.push(c),
            c if (c as u32) <= 0xff => out.push_str(&format!("\\x{:02X}", c as u32)),
            c => out.push_str(&format!("\\u{:04X}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// Whether plain text would be read back as this same text, in block context.
fn is_plain_safe(text: &str) -> bool {
    let first_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '<' | '^' | '(');
    let rest_ok = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '/' | '_' | '<' | '>' | '^' | '(' | ')' | '.' | '-' | '+' | '*' | '=' | '$' | ' ')
    };
    text.starts_with(first_ok)
        && !text.ends_with(' ')
        && text.chars().all(rest_ok)
        && text != "<<"
        && scalar::resolve(text) == Resolved::Text
        && scalar::word_to_bool(text).is_none()
        && !looks_like_time(text)
}

/// YAML 1.1 readers turn `2001-12-14` into a date.
fn looks_like_time(text: &str) -> bool {
    text.as_bytes().get(4) == Some(&b'-') && text.as_bytes()[..4].iter().all(u8::is_ascii_digit)
}

impl Emit for bool {
    fn is_empty(&self) -> bool {
        !self
    }
    fn emit(&self, out: &mut Emitter) {
        out.plain(self);
    }
}

impl Emit for i64 {
    fn is_empty(&self) -> bool {
        *self == 0
    }
    fn emit(&self, out: &mut Emitter) {
        out.plain(self);
    }
}

impl Emit for String {
    fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }
    fn emit(&self, out: &mut Emitter) {
        out.string(self);
    }
}

impl<T: Emit> Emit for Option<T> {
    fn is_empty(&self) -> bool {
        self.as_ref().is_none_or(T::is_empty_list)
    }
    fn emit(&self, out: &mut Emitter) {
        match self {
            Some(value) => value.emit(out),
            None => out.plain(&"null"),
        }
    }
}

impl<T: Emit> Emit for Box<T> {
    fn is_empty(&self) -> bool {
        T::is_empty(self)
    }
    fn emit(&self, out: &mut Emitter) {
        T::emit(self, out);
    }
}

impl<T: Emit> Emit for Vec<T> {
    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
    fn is_empty_list(&self) -> bool {
        self.as_slice().is_empty()
    }
    fn emit(&self, out: &mut Emitter) {
        out.block("[]", |out| self.iter().for_each(|item| out.item(item)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strings_are_quoted_when_needed() {
        let cases = [
            ("plain text", "plain text"),
            ("^SSH-2.0-", "^SSH-2.0-"),
            ("<secret>", "<secret>"),
            ("", "''"),
            ("true", "'true'"),
            ("off", "'off'"),
            ("N", "'N'"),
            ("null", "'null'"),
            ("1.50", "'1.50'"),
            ("0x10", "'0x10'"),
            ("2001-12-14", "'2001-12-14'"),
            ("5s", "5s"),
            ("a: b", "'a: b'"),
            ("# no", "'# no'"),
            ("it's", "'it''s'"),
            ("é", "'é'"),
            ("a\nb\t\"", "\"a\\nb\\t\\\"\""),
            ("\u{7f}\u{85}\u{2028}", "\"\\x7F\\x85\\u2028\""),
            ("<<", "'<<'"),
            (" x", "' x'"),
            ("x ", "'x '"),
            ("- x", "'- x'"),
        ];
        for (text, want) in cases {
            assert_eq!(quoted(text), want, "{text:?}");
        }
    }

    #[test]
    fn nested_blocks_keep_their_columns() {
        struct Pair;
        impl Emit for Pair {
            fn is_empty(&self) -> bool {
                false
            }
            fn emit(&self, out: &mut Emitter) {
                out.block("{}", |out| {
                    out.field("list", &vec!["x".to_owned(), "y".to_owned()]);
                    out.field("left_out", &false);
                    out.entry("none", &Vec::<bool>::new());
                    out.entry("number", &7_i64);
                });
            }
        }
        let mut out = Emitter::new(4);
        out.entry("pairs", &vec![Pair, Pair]);
        out.entry("deep", &vec![vec![true]]);
        let want = "\
pairs:
    - list:
        - x
        - 'y'
      none: []
      number: 7
    - list:
        - x
        - 'y'
      none: []
      number: 7
deep:
    - - true
";
        // `list` is a key two columns right of its dash, so its items stand four further right.
        let want = want.replace("\n        - ", "\n          - ");
        assert_eq!(out.finish(), want);
    }

    proptest! {
        #[test]
        fn any_string_is_read_back(text in any::<String>()) {
            let mut out = Emitter::new(2);
            out.entry(&text, &text);
            let yaml = out.finish();
            // Keys longer than 1024 characters need another notation; configuration has none.
            let (tree, duplicates) = parse(&yaml).unwrap();
            prop_assert!(duplicates.is_empty());
            let mapping = tree.root().unwrap().mapping(&mut Vec::new()).unwrap();
            let (key, value) = mapping.pairs().next().unwrap();
            prop_assert_eq!(key.text(), Some(text.as_str()));
            prop_assert_eq!(value.text(), Some(text.as_str()));
            prop_assert!(!value.is_null());
        }
    }
}
