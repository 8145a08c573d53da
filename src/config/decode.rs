//! Nodes to typed values, collecting every problem on the way.
//!
//! Mappings with known keys are in `section`.
//!
//! `null` is handled in one place and always means "as if the key were absent", because that is
//! what go-yaml does; a [`Decode`] implementation never sees it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock};

use data_encoding::{BASE64, Encoding};

use super::mask::Mask;
use super::problem::{Position, Problem, Warning};
use super::yaml::scalar::{Resolved, word_to_bool};
use super::yaml::tree::{Mapping, Node, NodeKind};
use crate::regex::GoRegex;

/// Longest value quoted in a message, in characters.
const SHOWN_CHARACTERS: usize = 60;

/// A value that can be read from a node.
pub trait Decode: Sized {
    /// Reads the value; on `None` the reason has been reported to `ctx`.
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self>;
}

/// One step of the path from the file's root to a value.
#[derive(Clone, Copy, Debug)]
pub enum Segment<'t> {
    /// A key of a mapping.
    Key(&'t str),
    /// An item of a list, from 0.
    Index(usize),
}

/// Where decoding stands and what it has found.
#[derive(Debug, Default)]
pub struct Context<'t> {
    path: Vec<Segment<'t>>,
    mask: Option<Arc<Mask>>,
    /// Why the file cannot be loaded.
    pub errors: Vec<Problem>,
    /// What else is worth saying.
    pub warnings: Vec<Warning>,
}

impl<'t> Context<'t> {
    /// Runs `step` one level further down.
    pub fn within<R>(&mut self, segment: Segment<'t>, step: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(segment);
        let result = step(self);
        self.path.pop();
        result
    }

    /// Runs `step` with messages that hide what `mask` hides.
    pub fn masked<R>(&mut self, mask: Option<Arc<Mask>>, step: impl FnOnce(&mut Self) -> R) -> R {
        let outer = std::mem::replace(&mut self.mask, mask);
        let result = step(self);
        self.mask = outer;
        result
    }

    fn redact(&self, mut message: String) -> String {
        let Some(mask) = &self.mask else { return message };
        let path = self.path();
        // A short value may well be in the path, which has nothing to hide.
        let kept = if message.starts_with(&path) { path.len() } else { 0 };
        let mut rest = message.split_off(kept);
        mask.redact(&mut rest);
        message + &rest
    }

    /// The path of the value being read, such as `modules.ping.icmp`.
    pub fn path(&self) -> String {
        let mut out = String::new();
        for segment in &self.path {
            // Writing to a String cannot fail.
            let _ = match segment {
                Segment::Index(index) => write!(out, "[{index}]"),
                Segment::Key(key) => {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
                    if !key.is_empty() && key.chars().all(plain) {
                        out.write_str(key)
                    } else {
                        out.write_str(&quote(key))
                    }
                }
            };
        }
        out
    }

    /// Reports an error in full words.
    pub fn error(&mut self, position: Position, message: impl Into<String>) {
        let message = self.redact(message.into());
        self.errors.push(Problem { position, message });
    }

    /// Reports an error about the current value; the message begins with its path.
    pub fn error_here(&mut self, position: Position, rest: impl AsRef<str>) {
        let message = format!("{} {}", self.path(), rest.as_ref());
        self.error(position, message);
    }

    /// Reports that the current value is not what its key takes.
    pub fn expected(&mut self, node: Node<'t>, what: &str) {
        let rest = format!("must be {what}, got {}", describe(node));
        self.error_here(node.position(), rest);
    }

    /// Reports that the current value is not a `what`, without repeating it: where a collection
    /// belongs, a stray value may be a secret.
    pub fn expected_collection(&mut self, node: Node<'t>, what: &str) {
        let found = match node.kind() {
            NodeKind::Sequence => "a list",
            NodeKind::Mapping => "a mapping",
            NodeKind::Scalar(_) => "a single value",
        };
        self.error_here(node.position(), format!("must be {what}, got {found}"));
    }

    /// Warns that the section being read works, though perhaps not as meant.
    pub fn note(&mut self, position: Position, message: impl Into<String>) {
        self.warn(position, false, message.into());
    }

    /// Warns that the section being read cannot work.
    pub fn breaks(&mut self, position: Position, message: impl Into<String>) {
        self.warn(position, true, message.into());
    }

    /// Warns; `breaks` tells whether the section being read cannot work.
    pub fn warn(&mut self, position: Position, breaks: bool, message: String) {
        let problem = Problem { position, message: self.redact(message) };
        self.warnings.push(Warning { problem, breaks });
    }

    /// `path.key`, for messages about one key of the section being read.
    pub fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.path())
    }
}

fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Text in a message: in quotes, shortened, escaped only if it has to be.
pub fn quote(text: &str) -> String {
    let text = shorten(text);
    if text.contains(|c: char| c == '"' || c.is_control()) {
        format!("{text:?}")
    } else {
        format!("\"{text}\"")
    }
}

/// A value in a message, and what is wrong with it; not for values that may be secret.
pub fn fault(node: Node<'_>, text: &str, error: impl fmt::Display) -> String {
    match node.written() {
        // The error may repeat any part of the text.
        Some(written) => format!("{}, whose value is not shown", quote(&written.text)),
        None => format!("{}: {error}", quote(text)),
    }
}

/// A value in a message; not for values that may be secret.
pub fn describe(node: Node<'_>) -> String {
    if let Some(written) = node.written() {
        return quote(&written.text);
    }
    match node.kind() {
        NodeKind::Sequence => "a list".to_owned(),
        NodeKind::Mapping => "a mapping".to_owned(),
        NodeKind::Scalar(Resolved::Null) => "nothing".to_owned(),
        NodeKind::Scalar(Resolved::Text) => quote(node.text().unwrap_or_default()),
        NodeKind::Scalar(_) => shorten(node.text().unwrap_or_default()).into_owned(),
    }
}

/// Reads a value into its place; null leaves the place as it is.
pub fn read_into<'t, T: Decode>(place: &mut T, node: Node<'t>, ctx: &mut Context<'t>) {
    if !node.is_null()
        && let Some(value) = T::decode(node, ctx)
    {
        *place = value;
    }
}

/// The node's pairs, or an error.
pub fn mapping<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Mapping<'t>> {
    let mapping = node.mapping(&mut ctx.errors);
    if mapping.is_none() {
        ctx.expected_collection(node, "a mapping");
    }
    mapping
}

/// A key's text. Null keys are skipped as the peer does; other keys must be scalars.
pub fn key_text<'t>(key: Node<'t>, ctx: &mut Context<'t>) -> Option<&'t str> {
    if key.is_null() {
        return None;
    }
    let text = key.text();
    if text.is_none() {
        let found = describe(key);
        ctx.error_here(key.position(), format!("has {found} where a key belongs"));
    }
    text
}

/// Reports an unknown key and the known one that looks most like it.
pub fn unknown_key(at: Position, name: &str, known: &[&str], ctx: &mut Context<'_>) {
    let path = ctx.path();
    let place = if path.is_empty() { "at the top level".to_owned() } else { format!("in {path}") };
    let mut message = format!("unknown key {} {place}", quote(name));
    let closest = known
        .iter()
        .map(|key| (distance(name, key), key))
        .min()
        .filter(|(distance, key)| *distance <= 1 + key.len() / 4)
        .map(|(_, key)| key);
    let longer = || known.iter().find(|key| name.len() > 2 && key.starts_with(name));
    if let Some(key) = closest.or_else(longer) {
        message.push_str(&format!("; did you mean {key:?}?"));
    }
    ctx.error(at, message);
}

/// Levenshtein distance in bytes; a long first argument is far from everything.
fn distance(from: &str, to: &str) -> usize {
    if from.len() > SHOWN_CHARACTERS {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

/// A scalar's bytes with `!!binary` decoded; numbers and booleans keep their source text.
pub fn scalar_bytes<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Cow<'t, [u8]>> {
    let Some(text) = node.text() else {
        ctx.expected(node, "text");
        return None;
    };
    if !node.is_binary() {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    // The library would take several padded texts in a row.
    let is_one = !packed.trim_end_matches('=').contains('=');
    match PACKED.decode(packed.as_bytes()) {
        Ok(bytes) if is_one => Some(Cow::Owned(bytes)),
        _ => {
            ctx.error_here(node.position(), "is tagged !!binary but is not base64");
            None
        }
    }
}

/// As Go decodes it: bits behind the last byte may be anything.
static PACKED: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = BASE64.specification();
    spec.check_trailing_bits = false;
    spec.encoding().expect("one switch does not make the alphabet wrong")
});

impl Decode for String {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let bytes = scalar_bytes(node, ctx)?;
        match String::from_utf8(bytes.into_owned()) {
            Ok(text) => Some(text),
            Err(error) => {
                let message = format!("{} must be UTF-8 text", ctx.path());
                ctx.breaks(node.position(), message);
                Some(String::from_utf8_lossy(error.as_bytes()).into_owned())
            }
        }
    }
}

impl Decode for bool {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let value = match node.kind() {
            NodeKind::Scalar(Resolved::Bool(value)) => Some(value),
            NodeKind::Scalar(Resolved::Text) => node.text().and_then(word_to_bool),
            _ => None,
        };
        if value.is_none() {
            expected_unquoted(node, "true or false", ctx);
        }
        value
    }
}

impl Decode for i64 {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let value = match node.kind() {
            NodeKind::Scalar(Resolved::Int(value)) => Some(value),
            // go-yaml cuts fractions off without a word.
            NodeKind::Scalar(Resolved::Float(value)) if value.abs() < i64::MAX as f64 => Some(value as i64),
            _ => None,
        };
        if value.is_none() {
            expected_unquoted(node, "a whole number", ctx);
        }
        value
    }
}

fn expected_unquoted<'t>(node: Node<'t>, what: &str, ctx: &mut Context<'t>) {
    let quoted = if node.is_quoted() { " without quotes" } else { "" };
    ctx.expected(node, &format!("{what}{quoted}"));
}

impl Decode for GoRegex {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let pattern = String::decode(node, ctx)?;
        match GoRegex::parse(&pattern) {
            Ok(regex) => Some(regex),
            Err(error) => {
                let rest = format!("must be a regular expression, got {}", fault(node, &pattern, error));
                ctx.error_here(node.position(), rest);
                None
            }
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        T::decode(node, ctx).map(Some)
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        T::decode(node, ctx).map(Box::new)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let Some(items) = node.items() else {
            ctx.expected_collection(node, "a list");
            return None;
        };
        let mut list = Self::new();
        for (index, item) in items.enumerate() {
            // Null items are dropped, like keys without a value.
            if !item.is_null()
                && let Some(value) = ctx.within(Segment::Index(index), |ctx| T::decode(item, ctx))
            {
                list.push(value);
            }
        }
        list.shrink_to_fit();
        Some(list)
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::parse::parse;
    use super::*;

    fn decode<T: Decode>(yaml: &str) -> Result<T, String> {
        let (tree, _) = parse(yaml).unwrap();
        let mut ctx = Context::default();
        let value = ctx.within(Segment::Key("x"), |ctx| T::decode(tree.root().unwrap(), ctx));
        match (value, ctx.errors.first()) {
            (Some(value), None) => Ok(value),
            (_, error) => Err(error.map(ToString::to_string).unwrap_or_default()),
        }
    }

    #[test]
    fn booleans_are_those_of_yaml_1_1() {
        let cases = [
            ("true", Ok(true)),
            ("False", Ok(false)),
            ("yes", Ok(true)),
            ("Off", Ok(false)),
            ("y", Ok(true)),
            ("!!bool \"true\"", Ok(true)),
            // go-yaml looks at the text of quoted words, but not of quoted `true`.
            ("\"yes\"", Ok(true)),
            ("\"true\"", Err("1:1: x must be true or false without quotes, got \"true\"")),
            ("1", Err("1:1: x must be true or false, got 1")),
            ("yEs", Err("1:1: x must be true or false, got \"yEs\"")),
            ("[]", Err("1:1: x must be true or false, got a list")),
        ];
        for (yaml, want) in cases {
            assert_eq!(decode(yaml), want.map_err(str::to_owned), "{yaml}");
        }
    }

    #[test]
    fn whole_numbers_take_any_base_and_lose_fractions() {
        let cases = [
            ("0x10", Ok(16)),
            ("0o310", Ok(200)),
            ("0310", Ok(200)),
            ("2_00", Ok(200)),
            ("200.0", Ok(200)),
            ("1.9", Ok(1)),
            ("-1.9", Ok(-1)),
            ("1e3", Ok(1000)),
            ("!!int \"7\"", Ok(7)),
            ("\"200\"", Err("1:1: x must be a whole number without quotes, got \"200\"")),
            ("two", Err("1:1: x must be a whole number, got \"two\"")),
            (".inf", Err("1:1: x must be a whole number, got .inf")),
            ("1e30", Err("1:1: x must be a whole number, got 1e30")),
            ("true", Err("1:1: x must be a whole number, got true")),
            ("{}", Err("1:1: x must be a whole number, got a mapping")),
        ];
        for (yaml, want) in cases {
            assert_eq!(decode::<i64>(yaml), want.map_err(str::to_owned), "{yaml}");
        }
    }

    #[test]
    fn text_keeps_its_source_form() {
        let cases = [
            ("1.50", Ok("1.50")),
            ("0x10", Ok("0x10")),
            ("true", Ok("true")),
            ("2001-12-14", Ok("2001-12-14")),
            ("'~'", Ok("~")),
            ("!!binary aGk=", Ok("hi")),
            ("!!str 5", Ok("5")),
            ("|\n a\n b\n", Ok("a\nb\n")),
            ("[a]", Err("1:1: x must be text, got a list")),
            ("!!binary aGl=", Ok("hi")),
            ("!!binary '*'", Err("1:10: x is tagged !!binary but is not base64")),
            ("!!binary aGk=aGk=", Err("1:10: x is tagged !!binary but is not base64")),
            ("!!binary aGk", Err("1:10: x is tagged !!binary but is not base64")),
        ];
        for (yaml, want) in cases {
            let want = want.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(decode::<String>(yaml), want, "{yaml}");
        }
    }

    #[test]
    fn lists_drop_null_items() {
        assert_eq!(decode::<Vec<i64>>("[1, ~, 2, null]"), Ok(vec![1, 2]));
        assert_eq!(decode::<Vec<i64>>("200"), Err("1:1: x must be a list, got a single value".to_owned()));
        assert_eq!(
            decode::<Vec<i64>>("[1, a]"),
            Err("1:5: x[1] must be a whole number, got \"a\"".to_owned())
        );
    }
}
