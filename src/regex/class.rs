//! Character classes: brackets, POSIX names, `\d` and its like, and Unicode properties.

use super::error::{ErrorKind, RegexError};
use super::property;
use super::translate::{CLASS_WEIGHT, Cost, EMPTY_CLASS, Translator, push_escaped};

impl Translator<'_> {
    /// A class in brackets; the cursor is at the `[`.
    pub(super) fn bracket_class(&mut self) -> Result<(), RegexError> {
        let whole = self.cursor.rest();
        self.sync_folding();
        let atom = self.out.len();
        self.cursor.bump();
        self.out.push('[');
        if self.cursor.eat("^") {
            self.out.push('^');
            self.needs_text = true;
        }
        let members = self.out.len();
        let mut weight = CLASS_WEIGHT;
        let mut first = true;
        while first || !self.cursor.eat("]") {
            first = false;
            if self.posix_class()? {
                continue;
            }
            if let Some(class_weight) = self.escaped_class()? {
                weight += class_weight;
                continue;
            }
            let start = self.cursor.offset();
            let low = self.class_character(whole)?;
            let is_range = self
                .cursor
                .rest()
                .strip_prefix('-')
                .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(']'));
            let high = if is_range {
                self.cursor.bump();
                self.class_character(whole)?
            } else {
                low
            };
            if high < low {
                return Err(self.error_since(ErrorKind::CharacterRange, start));
            }
            self.push_range(low, high);
            weight += RANGE_WEIGHT;
        }
        if self.out.len() == members {
            // Surrogates only, and `[]` is not an empty class but an unfinished one.
            self.out.push_str(EMPTY_CLASS);
        }
        self.out.push(']');
        self.push_atom(atom, Cost::unit(weight));
        Ok(())
    }

    /// One character or escape in a class; `whole` is the pattern from its `[` on.
    fn class_character(&mut self, whole: &str) -> Result<u32, RegexError> {
        if self.cursor.peek() == Some('\\') {
            return self.cursor.escape();
        }
        match self.cursor.bump() {
            Some(c) => Ok(u32::from(c)),
            None => Err(RegexError::new(ErrorKind::MissingBracket, whole)),
        }
    }

    /// Writes a range, without the surrogates that may be in it.
    fn push_range(&mut self, low: u32, high: u32) {
        let halves = [(low, high.min(LAST_BEFORE_SURROGATES)), (low.max(FIRST_AFTER_SURROGATES), high)];
        for (low, high) in halves {
            if low > high {
                continue;
            }
            let (Some(low), Some(high)) = (char::from_u32(low), char::from_u32(high)) else {
                continue;
            };
            self.needs_text |= (low..=high).contains(&char::REPLACEMENT_CHARACTER);
            push_escaped(&mut self.out, low);
            if low != high {
                self.out.push('-');
                push_escaped(&mut self.out, high);
            }
        }
    }

    /// `[:name:]` inside a class. Without a `:]` anywhere after it, the `[` stands for itself.
    fn posix_class(&mut self) -> Result<bool, RegexError> {
        let start = self.cursor.offset();
        let Some((name, _)) = self.cursor.rest().strip_prefix("[:").and_then(|rest| rest.split_once(":]"))
        else {
            return Ok(false);
        };
        for part in ["[:", name, ":]"] {
            self.cursor.eat(part);
        }
        let (base, negated) = match name.strip_prefix('^') {
            Some(base) => (base, true),
            None => (name, false),
        };
        let Some(members) = posix_members(base) else {
            return Err(self.error_since(ErrorKind::CharacterRange, start));
        };
        self.push_ascii_class(members, negated);
        Ok(true)
    }

    /// `\d`, `\pL`, `\p{Greek}` and their like, inside a class and outside: written to the output
    /// if one comes next, with its weight as the result.
    pub(super) fn escaped_class(&mut self) -> Result<Option<u64>, RegexError> {
        let start = self.cursor.offset();
        let mut escaped = self.cursor.rest().chars();
        if escaped.next() != Some('\\') {
            return Ok(None);
        }
        let (members, negated) = match escaped.next() {
            Some('d') => (DIGIT, false),
            Some('D') => (DIGIT, true),
            Some('s') => (PERL_SPACE, false),
            Some('S') => (PERL_SPACE, true),
            Some('w') => (WORD, false),
            Some('W') => (WORD, true),
            Some(c @ ('p' | 'P')) => {
                self.cursor.bump();
                self.cursor.bump();
                self.unicode_class(start, c == 'P')?;
                return Ok(Some(PROPERTY_WEIGHT));
            }
            _ => return Ok(None),
        };
        self.cursor.bump();
        self.cursor.bump();
        self.push_ascii_class(members, negated);
        Ok(Some(CLASS_WEIGHT))
    }

    fn push_ascii_class(&mut self, members: &str, negated: bool) {
        self.needs_text |= negated;
        self.out.push_str(if negated { "[^" } else { "[" });
        self.out.push_str(members);
        self.out.push(']');
    }

    /// What follows a `\p` or `\P` that begins at `start`: a letter, or a name in braces.
    fn unicode_class(&mut self, start: usize, mut negated: bool) -> Result<(), RegexError> {
        let rest = self.cursor.rest();
        let name = if self.cursor.eat("{") {
            let Some((name, _)) = self.cursor.rest().split_once('}') else {
                self.cursor.skip_to_end();
                return Err(self.error_since(ErrorKind::CharacterRange, start));
            };
            self.cursor.eat(name);
            self.cursor.bump();
            name
        } else {
            self.cursor.bump();
            rest.strip_suffix(self.cursor.rest()).unwrap_or_default()
        };
        let name = match name.strip_prefix('^') {
            Some(name) => {
                negated = !negated;
                name
            }
            None => name,
        };
        let Some(property) = property::find(name) else {
            return Err(self.error_since(ErrorKind::CharacterRange, start));
        };
        self.needs_text = true;
        let escape = if negated != property.inverted { r"\P{" } else { r"\p{" };
        for part in [escape, &property.query, "}"] {
            self.out.push_str(part);
        }
        Ok(())
    }
}

/// The members of a POSIX class, in the syntax of the `regex` crate.
fn posix_members(name: &str) -> Option<&'static str> {
    let members = match name {
        "alnum" => "0-9A-Za-z",
        "alpha" => "A-Za-z",
        "ascii" => r"\x00-\x7F",
        "blank" => r"\t\x20",
        "cntrl" => r"\x00-\x1F\x7F",
        "digit" => DIGIT,
        "graph" => r"\x21-\x7E",
        "lower" => "a-z",
        "print" => r"\x20-\x7E",
        "punct" => r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E",
        "space" => r"\t-\r\x20",
        "upper" => "A-Z",
        "word" => WORD,
        "xdigit" => "0-9A-Fa-f",
        _ => return None,
    };
    Some(members)
}

const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Z_a-z";

/// Unlike `[[:space:]]`, without the vertical tab.
const PERL_SPACE: &str = r"\t\n\x0C\r\x20";

const LAST_BEFORE_SURROGATES: u32 = 0xd7ff;
const FIRST_AFTER_SURROGATES: u32 = 0xe000;

/// Bytes a range adds to a compiled class, at most.
const RANGE_WEIGHT: u64 = 512;

/// Bytes a compiled Unicode property takes, at most: 43,000 measured for `\PL`.
const PROPERTY_WEIGHT: u64 = 128 << 10;
