//! Regular expressions in Go's RE2 dialect, matched by the `regex` crate.
//!
//! Configurations are written for Go: the same pattern has to be accepted or refused, and to match
//! the same bytes, here. Everything about that dialect lives in this module; the rest of the
//! program only sees [`GoRegex`].

mod class;
mod cursor;
mod error;
mod property;
mod subject;
mod template;
#[cfg(test)]
mod tests;
mod translate;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::thread;

use ::regex::{Regex, RegexBuilder, bytes};
use serde::{Serialize, Serializer};

pub use self::error::RegexError;

use self::error::ErrorKind;
use self::template::Reference;
use self::translate::{MAX_DEPTH, Translation};

/// A pattern Go accepts, compiled when it is first used. Clones share the compiled form.
#[derive(Clone)]
pub struct GoRegex {
    inner: Arc<Inner>,
}

struct Inner {
    pattern: Box<str>,
    translation: Translation,
    program: OnceLock<Result<Program, RegexError>>,
}

impl GoRegex {
    /// Checks the pattern as Go would, without compiling it.
    ///
    /// Only a pattern that may need more than 32 MiB once compiled is compiled here, so that one
    /// beyond the limit of 128 MiB is an error now and not a surprise at its first use.
    ///
    /// # Errors
    ///
    /// The mistake in the pattern, or that it is too large.
    pub fn parse(pattern: &str) -> Result<Self, RegexError> {
        let translation = translate::translate(pattern)?;
        let is_heavy = translation.weight > LAZY_WEIGHT;
        let regex = Self {
            inner: Arc::new(Inner { pattern: pattern.into(), translation, program: OnceLock::new() }),
        };
        if is_heavy {
            regex.compile()?;
        }
        Ok(regex)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.inner.pattern
    }

    /// Compiles the pattern now instead of at its first use.
    ///
    /// # Errors
    ///
    /// The compiled pattern would exceed 128 MiB. After [`GoRegex::parse`] this does not happen:
    /// patterns that could come near the limit have been compiled there.
    pub fn compile(&self) -> Result<(), RegexError> {
        match self.compiled() {
            Ok(_) => Ok(()),
            Err(error) => Err(error.clone()),
        }
    }

    /// Whether the pattern matches anywhere in `subject`.
    ///
    /// Bytes that are not UTF-8 each count as one U+FFFD. A pattern for which
    /// [`GoRegex::compile`] fails matches nothing.
    pub fn is_match(&self, subject: &[u8]) -> bool {
        match self.compiled() {
            Ok(Program::Bytes(regex)) => regex.is_match(subject),
            Ok(Program::Text(regex)) => regex.is_match(&subject::decode(subject)),
            Err(_) => false,
        }
    }

    /// The groups of the first match in `subject`, under the rules of [`GoRegex::is_match`].
    pub fn captures<'a>(&'a self, subject: &'a [u8]) -> Option<Captures<'a>> {
        let ranges = match self.compiled().ok()? {
            Program::Bytes(regex) => {
                let captures = regex.captures(subject)?;
                let range = |group: Option<bytes::Match<'_>>| group.map(|group| group.range());
                captures.iter().map(range).collect()
            }
            Program::Text(regex) => {
                let text = subject::decode(subject);
                let captures = regex.captures(&text)?;
                let range = |group: Option<::regex::Match<'_>>| group.map(|group| group.range());
                let mut ranges: Vec<_> = captures.iter().map(range).collect();
                if text.len() != subject.len() {
                    subject::to_original(subject, &mut ranges);
                }
                ranges
            }
        };
        Some(Captures { subject, ranges, names: &self.inner.translation.group_names })
    }

    fn compiled(&self) -> Result<&Program, &RegexError> {
        let build = || {
            Program::build_with_enough_stack(&self.inner.translation)
                .map_err(|kind| RegexError::new(kind, &self.inner.pattern))
        };
        self.inner.program.get_or_init(build).as_ref()
    }
}

impl fmt::Debug for GoRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GoRegex").field(&self.as_str()).finish()
    }
}

impl PartialEq for GoRegex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for GoRegex {}

impl Serialize for GoRegex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What each group of a pattern matched.
#[derive(Debug)]
pub struct Captures<'a> {
    subject: &'a [u8],
    /// By group number; `None` for a group that took no part.
    ranges: Vec<Option<Range<usize>>>,
    names: &'a [(Box<str>, usize)],
}

impl Captures<'_> {
    /// Fills in a template as Go's `Regexp.Expand` does.
    ///
    /// `$name` and `${name}` stand for a group's text and `$$` for a dollar sign. In the short form
    /// the name is the longest run of letters, digits and underscores. A name of digits is a group
    /// number; of several groups with one name, the first that took part counts. Unknown groups
    /// are empty, and a `$` without a name stays.
    pub fn expand(&self, template: &str) -> Vec<u8> {
        template::expand(template, |reference| match reference {
            Reference::Number(number) => self.group(number),
            Reference::Name(name) => self
                .names
                .iter()
                .filter(|(known, _)| **known == *name)
                .find_map(|&(_, number)| self.group(number)),
        })
    }

    fn group(&self, number: usize) -> Option<&[u8]> {
        let range = self.ranges.get(number)?.clone()?;
        self.subject.get(range)
    }
}

/// A compiled pattern.
#[derive(Debug)]
enum Program {
    /// Runs on the subject as it is: the pattern can match nothing but valid UTF-8.
    Bytes(bytes::Regex),
    /// Runs on the decoded subject.
    Text(Regex),
}

impl Program {
    /// The `regex` crate recurses over the pattern, so a deep one is built on a stack of its own.
    fn build_with_enough_stack(translation: &Translation) -> Result<Self, ErrorKind> {
        if translation.depth <= INLINE_DEPTH {
            return Self::build(translation);
        }
        thread::scope(|scope| {
            thread::Builder::new()
                .stack_size(DEEP_STACK_SIZE)
                .spawn_scoped(scope, || Self::build(translation))
                .ok()
                .and_then(|builder| builder.join().ok())
                .unwrap_or(Err(ErrorKind::NestingDepth))
        })
    }

    fn build(translation: &Translation) -> Result<Self, ErrorKind> {
        let pattern = &translation.pattern;
        let program = if translation.needs_text {
            RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).nest_limit(NEST_LIMIT).build().map(Self::Text)
        } else {
            bytes::RegexBuilder::new(pattern)
                .size_limit(SIZE_LIMIT)
                .nest_limit(NEST_LIMIT)
                .build()
                .map(Self::Bytes)
        };
        program.map_err(|_| ErrorKind::Large)
    }
}

/// Bytes a compiled pattern may occupy; the limit Go sets for its own programs.
const SIZE_LIMIT: usize = 128 << 20;

/// Estimated bytes up to which a pattern is compiled at its first use.
const LAZY_WEIGHT: u64 = 32 << 20;

/// Levels of the `regex` crate's syntax tree, which counts concatenations and alternations besides
/// groups and repetitions.
const NEST_LIMIT: u32 = 4 * (MAX_DEPTH + 1);

/// Nesting up to which a pattern is compiled on the caller's stack.
const INLINE_DEPTH: u32 = 32;

/// Bytes of stack for deeper patterns; [`MAX_DEPTH`] takes less than 16 MiB in an unoptimized build.
const DEEP_STACK_SIZE: usize = 64 << 20;
