//! `${env:NAME}` and `${file:path}` in values: how they are written, and what they stand for.
//!
//! They are replaced in the tree before anything is decoded, so they work in every value, and a
//! value cannot add structure: whatever it holds, it stays one scalar. `$${env:` and `$${file:`
//! stand for themselves without the first dollar; any other `$` is left alone, since regular
//! expressions and templates of the peer's files are full of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::problem::Problem;
use super::yaml::tree::Tree;

/// Bytes of a file that a placeholder names; a certificate chain fits many times.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Bytes of all values of a configuration together.
const MAX_BYTES: usize = 64 << 20;

/// What a placeholder names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A variable of the environment.
    Env(String),
    /// A file; a relative path begins at the working directory, as everywhere in the file.
    File(String),
}

/// A part of a scalar.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// As written.
    Literal(String),
    /// What a placeholder stands for.
    Value {
        /// The placeholder.
        written: String,
        /// Its value.
        value: String,
    },
}

/// A scalar with placeholders in.
#[derive(Clone, PartialEq, Eq)]
pub struct Written {
    /// The text of the file.
    pub text: Box<str>,
    /// What it is made of.
    pub parts: Box<[Part]>,
}

/// What the placeholders of one configuration stand for; each source is looked up once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<Source, Box<str>>);

impl Written {
    /// The value with `change` applied to what placeholders stand for.
    pub fn with(&self, change: impl Fn(&str) -> String) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Literal(text) => text.clone(),
            Part::Value { value, .. } => change(value),
        });
        parts.collect()
    }

    /// The placeholders as written, in their order.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Value { written, .. } => Some(written.as_str()),
        })
    }

    /// The value.
    pub fn value(&self) -> String {
        self.with(str::to_owned)
    }
}

impl Values {
    /// Whether a file is among the sources.
    pub fn has_files(&self) -> bool {
        self.0.keys().any(|source| matches!(source, Source::File(_)))
    }

    /// Whether the files still hold what they held; one that cannot be read does not. The
    /// environment of a process does not change.
    pub fn are_current(&self) -> bool {
        self.0.iter().all(|(source, value)| match source {
            Source::Env(_) => true,
            Source::File(_) => source.look_up().as_deref() == Ok(value),
        })
    }

    /// Replaces the placeholders of a tree; returns which stand for nothing.
    pub(super) fn fill(&mut self, tree: &mut Tree<'_>) -> Vec<Problem> {
        let (mut problems, mut bytes) = (Vec::new(), 0);
        tree.replace_values(may_have_placeholders, |text, position| {
            let written = split(text).and_then(|pieces| self.look_up_all(text, pieces));
            let written = written.and_then(|written| {
                bytes += written.parts.iter().map(Part::len).sum::<usize>();
                if bytes > MAX_BYTES {
                    return Err(format!("placeholders stand for more than {MAX_BYTES} bytes in all"));
                }
                Ok(written)
            });
            written.map_err(|message| problems.push(Problem { position, message })).ok()
        });
        problems
    }

    fn look_up_all(&mut self, text: &str, pieces: Vec<Piece<'_>>) -> Result<Written, String> {
        let parts = pieces.into_iter().map(|piece| match piece {
            Piece::Literal(text) => Ok(Part::Literal(text.to_owned())),
            Piece::Placeholder { written, source } => {
                let value = match self.0.get(&source) {
                    Some(value) => value.clone().into(),
                    None => {
                        let value =
                            source.look_up().map_err(|why| format!("{written} has no value: {why}"))?;
                        self.0.insert(source, value.as_str().into());
                        value
                    }
                };
                Ok(Part::Value { written: written.to_owned(), value })
            }
        });
        Ok(Written { text: text.into(), parts: parts.collect::<Result<_, String>>()? })
    }
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Literal(text) => text.len(),
            Self::Value { value, .. } => value.len(),
        }
    }
}

impl Source {
    fn look_up(&self) -> Result<String, String> {
        match self {
            Self::Env(name) => {
                let value = std::env::var_os(name).ok_or("the environment has no such variable")?;
                OsString::into_string(value).map_err(|_| "it is not UTF-8".to_owned())
            }
            Self::File(path) => read(Path::new(path)),
        }
    }
}

/// The file's text less one line end.
fn read(path: &Path) -> Result<String, String> {
    let metadata = path.metadata().map_err(|error| error.to_string())?;
    // Opening a pipe would wait for a writer.
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// A piece of a scalar as written.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Literal(&'t str),
    Placeholder { written: &'t str, source: Source },
}

/// How placeholders begin.
const OPENINGS: [&str; 2] = ["${env:", "${file:"];

fn may_have_placeholders(text: &str) -> bool {
    OPENINGS.iter().any(|opening| text.contains(opening))
}

fn split(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let next = |rest: &str| OPENINGS.iter().filter_map(|opening| Some((rest.find(opening)?, *opening))).min();
    while let Some((at, opening)) = next(rest) {
        let (before, after) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            pieces.push(Piece::Literal(before));
            pieces.push(Piece::Literal(opening));
            rest = &after[opening.len()..];
            continue;
        }
        let Some(end) = after.find('}') else {
            return Err(format!("{opening} has no closing brace; ${opening} stands for {opening} itself"));
        };
        let (name, written) = (&after[opening.len()..end], &after[..=end]);
        if name.is_empty() {
            return Err(format!("{written} names nothing"));
        }
        let source =
            if opening == OPENINGS[0] { Source::Env(name.to_owned()) } else { Source::File(name.to_owned()) };
        pieces.push(Piece::Literal(before));
        pieces.push(Piece::Placeholder { written, source });
        rest = &after[end + 1..];
    }
    pieces.push(Piece::Literal(rest));
    pieces.retain(|piece| *piece != Piece::Literal(""));
    Ok(pieces)
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => write!(f, "{text:?}"),
            Self::Value { written, .. } => f.write_str(written),
        }
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_forms_are_placeholders() {
        let env = |name: &str| Source::Env(name.to_owned());
        let file = |name: &str| Source::File(name.to_owned());
        let placeholder = |written, source| Piece::Placeholder { written, source };
        let cases = [
            ("", Ok(vec![])),
            ("^a$|${1}|$1|$${2}|${name}|$", Ok(vec![Piece::Literal("^a$|${1}|$1|$${2}|${name}|$")])),
            ("${ENV:A}${env}${environment:A}", Ok(vec![Piece::Literal("${ENV:A}${env}${environment:A}")])),
            ("${env:A}", Ok(vec![placeholder("${env:A}", env("A"))])),
            (
                "a ${file:/x y/z} b${env:A}${env:B}",
                Ok(vec![
                    Piece::Literal("a "),
                    placeholder("${file:/x y/z}", file("/x y/z")),
                    Piece::Literal(" b"),
                    placeholder("${env:A}", env("A")),
                    placeholder("${env:B}", env("B")),
                ]),
            ),
            ("$${env:A}", Ok(vec![Piece::Literal("${env:"), Piece::Literal("A}")])),
            (
                "$$${file:A}${env:B}",
                Ok(vec![
                    Piece::Literal("$"),
                    Piece::Literal("${file:"),
                    Piece::Literal("A}"),
                    placeholder("${env:B}", env("B")),
                ]),
            ),
            ("a ${env:A", Err("${env: has no closing brace; $${env: stands for ${env: itself")),
            ("${file:}", Err("${file:} names nothing")),
        ];
        for (text, want) in cases {
            assert_eq!(split(text), want.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn files_are_bounded_text_without_their_last_line_end() {
        let folder = std::env::temp_dir().join(format!("heartbeat-placeholder-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("value");
        let most = MAX_FILE_BYTES as usize;
        let cases = [
            (b"a".to_vec(), Ok("a".to_owned())),
            (b"a\n".to_vec(), Ok("a".to_owned())),
            (b"a\r\n".to_vec(), Ok("a".to_owned())),
            (b" a\n\n".to_vec(), Ok(" a\n".to_owned())),
            (b"a\r".to_vec(), Ok("a\r".to_owned())),
            (b"".to_vec(), Ok(String::new())),
            (vec![b'a'; most], Ok("a".repeat(most))),
            (vec![b'a'; most + 1], Err("it is larger than 65536 bytes".to_owned())),
            (b"\xff".to_vec(), Err("it is not UTF-8".to_owned())),
        ];
        for (bytes, want) in cases {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path), want, "{} bytes", bytes.len());
        }
        assert_eq!(read(&folder), Err("it is not a regular file".to_owned()));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(read(&path), Err("No such file or directory (os error 2)".to_owned()));
    }
}
