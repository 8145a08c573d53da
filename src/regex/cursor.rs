//! Reads a pattern from left to right, and the two parts of the grammar that need nothing else:
//! repetition bounds and escape sequences.

use super::error::{ErrorKind, RegexError};
use super::translate::Bounds;

#[derive(Debug)]
pub(super) struct Cursor<'p> {
    pattern: &'p str,
    rest: &'p str,
}

impl<'p> Cursor<'p> {
    pub(super) fn new(pattern: &'p str) -> Self {
        Self { pattern, rest: pattern }
    }

    pub(super) fn pattern(&self) -> &'p str {
        self.pattern
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'p str {
        self.rest
    }

    /// Bytes read.
    pub(super) fn offset(&self) -> usize {
        self.pattern.len() - self.rest.len()
    }

    /// What has been read since the offset was `start`.
    pub(super) fn since(&self, start: usize) -> &'p str {
        self.pattern.get(start..self.offset()).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    /// Reads `prefix` if it comes next.
    pub(super) fn eat(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn skip_to_end(&mut self) {
        self.rest = "";
    }

    /// Reads `{min}`, `{min,}` or `{min,max}`; anything else is left, as it stands for itself.
    pub(super) fn eat_braces(&mut self) -> Option<Bounds> {
        let (min, rest) = split_number(self.rest.strip_prefix('{')?)?;
        let (max, rest) = match rest.strip_prefix(',') {
            None => (Some(min), rest),
            Some(rest) if rest.starts_with('}') => (None, rest),
            Some(rest) => {
                let (max, rest) = split_number(rest)?;
                (Some(max), rest)
            }
        };
        self.rest = rest.strip_prefix('}')?;
        Some(Bounds { min, max })
    }

    /// Reads a backslash and what it escapes, and returns the code point, perhaps a surrogate.
    pub(super) fn escape(&mut self) -> Result<u32, RegexError> {
        let start = self.offset();
        self.bump();
        let Some(c) = self.bump() else {
            return Err(RegexError::new(ErrorKind::TrailingBackslash, ""));
        };
        let code_point = match c {
            '0'..='7' => self.octal(c),
            'x' => self.hexadecimal(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        code_point.ok_or_else(|| RegexError::new(ErrorKind::Escape, self.since(start)))
    }

    /// Up to three digits, of which `first` has been read. A single one, unless it is zero, would
    /// be a back-reference.
    fn octal(&mut self, first: char) -> Option<u32> {
        let mut value = first.to_digit(8)?;
        if value != 0 && !self.peek()?.is_digit(8) {
            return None;
        }
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else {
                break;
            };
            self.bump();
            value = value * 8 + digit;
        }
        Some(value)
    }

    /// Two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let first = self.bump()?;
        if first != '{' {
            let second = self.bump();
            return Some(first.to_digit(16)? * 16 + second?.to_digit(16)?);
        }
        let mut value = None;
        loop {
            match self.bump()? {
                '}' => return value,
                c => {
                    let next = value.unwrap_or(0) * 16 + c.to_digit(16)?;
                    value = (next <= u32::from(char::MAX)).then_some(next);
                    value?;
                }
            }
        }
    }
}

/// Splits a decimal number off the front; none with a leading zero, which Go does not take for a
/// number. One that does not fit is `u32::MAX`, beyond every limit.
fn split_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}
