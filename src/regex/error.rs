//! Why a pattern is refused, in the words Go's `regexp/syntax` uses.

use std::fmt;

/// A pattern that Go's `regexp` does not accept.
///
/// Displayed as the kind of mistake and the part of the pattern it is in, such as
/// ``missing argument to repetition operator: `*` ``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegexError {
    kind: ErrorKind,
    fragment: String,
}

impl RegexError {
    pub(super) fn new(kind: ErrorKind, fragment: &str) -> Self {
        Self { kind, fragment: fragment.to_owned() }
    }
}

impl fmt::Display for RegexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ErrorKind::CharacterRange => "invalid character class range",
            ErrorKind::Escape => "invalid escape sequence",
            ErrorKind::GroupName => "invalid named capture",
            ErrorKind::Large => "expression too large",
            ErrorKind::MissingBracket => "missing closing ]",
            ErrorKind::MissingParenthesis => "missing closing )",
            ErrorKind::MissingRepeatArgument => "missing argument to repetition operator",
            ErrorKind::NestedRepeat => "invalid nested repetition operator",
            ErrorKind::NestingDepth => "expression nests too deeply",
            ErrorKind::PerlSyntax => "invalid or unsupported Perl syntax",
            ErrorKind::RepeatCount => "invalid repeat count",
            ErrorKind::TrailingBackslash => "trailing backslash at end of expression",
            ErrorKind::UnexpectedParenthesis => "unexpected )",
        };
        write!(f, "{kind}: `{}`", self.fragment)
    }
}

impl std::error::Error for RegexError {}

/// The mistakes Go tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorKind {
    CharacterRange,
    Escape,
    GroupName,
    Large,
    MissingBracket,
    MissingParenthesis,
    MissingRepeatArgument,
    NestedRepeat,
    NestingDepth,
    PerlSyntax,
    RepeatCount,
    TrailingBackslash,
    UnexpectedParenthesis,
}
