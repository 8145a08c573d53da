//! Go's regular expression grammar, re-emitted as an equivalent pattern for the `regex` crate.
//!
//! The grammar follows Go's `regexp/syntax` as of Go 1.25, in what it accepts and in the text each
//! error points at. The output leaves nothing to the dialect of the `regex` crate: literals are
//! escaped, classes are spelled out, and of the flags only `i` is passed on.

use super::cursor::Cursor;
use super::error::{ErrorKind, RegexError};

/// A pattern in the syntax of the `regex` crate, in its default (Unicode) mode.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) pattern: String,
    /// Named groups with their numbers, in order. Names can repeat.
    pub(super) group_names: Vec<(Box<str>, usize)>,
    /// Matching raw bytes would differ from matching decoded text: the pattern can match U+FFFD,
    /// which invalid bytes are read as, or holds a `\B`, which Go only looks for between characters.
    pub(super) needs_text: bool,
    /// Rough upper bound, in bytes, of what the compiled pattern occupies.
    pub(super) weight: u64,
    /// Nested groups and repetitions, at most [`MAX_DEPTH`].
    pub(super) depth: u32,
}

/// Translates a whole pattern.
pub(super) fn translate(pattern: &str) -> Result<Translation, RegexError> {
    let mut translator = Translator::new(pattern);
    translator.run()?;
    let cost = translator.group.close();
    if !translator.outer_groups.is_empty() {
        return Err(RegexError::new(ErrorKind::MissingParenthesis, pattern));
    }
    translator.check(cost)?;
    Ok(Translation {
        pattern: translator.out,
        group_names: translator.group_names,
        needs_text: translator.needs_text,
        weight: cost.weight,
        depth: cost.depth,
    })
}

pub(super) struct Translator<'p> {
    pub(super) cursor: Cursor<'p>,
    pub(super) out: String,
    pub(super) needs_text: bool,
    group_names: Vec<(Box<str>, usize)>,
    group_count: usize,
    flags: Flags,
    /// Whether `(?i)` is in force at the end of `out`.
    folding: bool,
    /// The innermost open group; the whole pattern counts as one.
    group: Group,
    outer_groups: Vec<Group>,
}

impl<'p> Translator<'p> {
    fn new(pattern: &'p str) -> Self {
        Self {
            cursor: Cursor::new(pattern),
            out: String::with_capacity(pattern.len() * 2),
            needs_text: false,
            group_names: Vec::new(),
            group_count: 0,
            flags: Flags::default(),
            folding: false,
            group: Group::default(),
            outer_groups: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), RegexError> {
        let mut last_repeat = None;
        while let Some(c) = self.cursor.peek() {
            let start = self.cursor.offset();
            let mut repeat = None;
            match c {
                '(' => self.open_group()?,
                ')' => self.close_group()?,
                '|' => {
                    self.cursor.bump();
                    self.group.end_branch();
                    self.out.push('|');
                }
                '^' => {
                    self.cursor.bump();
                    let anchor = if self.flags.multi_line { "(?m:^)" } else { r"\A" };
                    self.assertion(anchor);
                }
                '$' => {
                    self.cursor.bump();
                    let anchor = if self.flags.multi_line { "(?m:$)" } else { r"\z" };
                    self.assertion(anchor);
                }
                '.' => {
                    self.cursor.bump();
                    let dot = if self.flags.dot_all { "(?s:.)" } else { "." };
                    let atom = self.out.len();
                    self.out.push_str(dot);
                    self.needs_text = true;
                    self.push_atom(atom, Cost::unit(CLASS_WEIGHT));
                }
                '[' => self.bracket_class()?,
                '*' | '+' | '?' => {
                    self.cursor.bump();
                    let count = match c {
                        '*' => Count::Star,
                        '+' => Count::Plus,
                        _ => Count::Optional,
                    };
                    self.repeat(count, start, last_repeat)?;
                    repeat = Some(start);
                }
                '{' => match self.cursor.eat_braces() {
                    None => {
                        self.cursor.bump();
                        self.literal(u32::from('{'));
                    }
                    Some(Bounds { min, max }) => {
                        let valid =
                            min <= MAX_REPEAT && max.is_none_or(|max| (min..=MAX_REPEAT).contains(&max));
                        if !valid {
                            return Err(self.error_since(ErrorKind::RepeatCount, start));
                        }
                        self.repeat(Count::Braces { min, max }, start, last_repeat)?;
                        repeat = Some(start);
                    }
                },
                '\\' => self.backslash()?,
                _ => {
                    self.cursor.bump();
                    self.literal(u32::from(c));
                }
            }
            last_repeat = repeat;
        }
        Ok(())
    }

    /// `(`, `(?flags)`, `(?flags:`, `(?P<name>` or `(?<name>`.
    fn open_group(&mut self) -> Result<(), RegexError> {
        let start = self.cursor.offset();
        self.cursor.bump();
        if !self.cursor.eat("?") {
            self.group_count += 1;
            return self.push_group("(", self.flags);
        }
        let rest = self.cursor.rest();
        if rest.len() > "P<".len() && self.cursor.eat("P<") || rest.len() > "<".len() && self.cursor.eat("<")
        {
            let Some((name, _)) = self.cursor.rest().split_once('>') else {
                self.cursor.skip_to_end();
                return Err(self.error_since(ErrorKind::GroupName, start));
            };
            self.cursor.eat(name);
            self.cursor.bump();
            let valid = |c: char| c == '_' || c.is_ascii_alphanumeric();
            if name.is_empty() || !name.chars().all(valid) {
                return Err(self.error_since(ErrorKind::GroupName, start));
            }
            self.group_count += 1;
            self.group_names.push((name.into(), self.group_count));
            return self.push_group("(", self.flags);
        }
        let mut flags = self.flags;
        let mut value = true;
        let mut flag_since_minus = false;
        loop {
            let flag = match self.cursor.bump() {
                Some('i') => &mut flags.fold_case,
                Some('m') => &mut flags.multi_line,
                Some('s') => &mut flags.dot_all,
                Some('U') => &mut flags.ungreedy,
                Some('-') if value => {
                    value = false;
                    flag_since_minus = false;
                    continue;
                }
                Some(')') if value || flag_since_minus => {
                    self.flags = flags;
                    return Ok(());
                }
                Some(':') if value || flag_since_minus => return self.push_group("(?:", flags),
                _ => return Err(self.error_since(ErrorKind::PerlSyntax, start)),
            };
            *flag = value;
            flag_since_minus = true;
        }
    }

    /// Opens a group inside which `flags` hold; the present ones return when it closes.
    fn push_group(&mut self, opening: &str, flags: Flags) -> Result<(), RegexError> {
        if self.outer_groups.len() >= MAX_DEPTH as usize {
            return Err(RegexError::new(ErrorKind::NestingDepth, self.cursor.pattern()));
        }
        let inner = Group {
            start: self.out.len(),
            captures: opening == "(",
            flags_outside: self.flags,
            folding_outside: self.folding,
            ..Group::default()
        };
        self.outer_groups.push(std::mem::replace(&mut self.group, inner));
        self.flags = flags;
        self.out.push_str(opening);
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), RegexError> {
        self.cursor.bump();
        let Some(outer) = self.outer_groups.pop() else {
            return Err(RegexError::new(ErrorKind::UnexpectedParenthesis, self.cursor.pattern()));
        };
        let mut inner = std::mem::replace(&mut self.group, outer);
        let mut cost = inner.close();
        cost.depth += 1;
        cost.weight = cost.weight.saturating_add(LITERAL_WEIGHT);
        if inner.captures {
            cost.instructions = cost.instructions.saturating_add(2);
        }
        self.check(cost)?;
        self.flags = inner.flags_outside;
        self.folding = inner.folding_outside;
        self.out.push(')');
        self.push_atom(inner.start, cost);
        Ok(())
    }

    /// Applies a repetition to the last atom. The operator begins at `start` and has been read;
    /// `last_repeat` is where the operator directly before it begins, if there is one.
    fn repeat(&mut self, count: Count, start: usize, last_repeat: Option<usize>) -> Result<(), RegexError> {
        let lazy = self.flags.ungreedy != self.cursor.eat("?");
        if let Some(last_repeat) = last_repeat {
            return Err(self.error_since(ErrorKind::NestedRepeat, last_repeat));
        }
        let Some(mut atom) = self.group.last.take() else {
            return Err(self.error_since(ErrorKind::MissingRepeatArgument, start));
        };
        atom.cost = atom.cost.repeated(count);
        self.check(atom.cost)?;
        let counts_up = matches!(count, Count::Braces { min, max } if min.max(max.unwrap_or(0)) >= 2);
        if counts_up && atom.cost.copies > MAX_REPEAT {
            return Err(self.error_since(ErrorKind::RepeatCount, start));
        }
        if atom.repeated {
            // `x*(?i)?` repeats a repetition, which written as `x*?` would be a lazy one.
            self.out.insert_str(atom.start, "(?:");
            self.out.push(')');
        }
        match count {
            Count::Star => self.out.push('*'),
            Count::Plus => self.out.push('+'),
            Count::Optional => self.out.push('?'),
            Count::Braces { min, max } => {
                let max = match max {
                    Some(max) => max.to_string(),
                    None => String::new(),
                };
                self.out.push_str(&format!("{{{min},{max}}}"));
            }
        }
        if lazy {
            self.out.push('?');
        }
        atom.repeated = true;
        self.group.last = Some(atom);
        Ok(())
    }

    /// Anything that begins with a backslash, outside a class.
    fn backslash(&mut self) -> Result<(), RegexError> {
        if self.cursor.eat(r"\A") {
            self.assertion(r"\A");
        } else if self.cursor.eat(r"\z") {
            self.assertion(r"\z");
        } else if self.cursor.eat(r"\b") {
            self.assertion(r"(?-u:\b)");
        } else if self.cursor.eat(r"\B") {
            self.needs_text = true;
            self.assertion(r"(?-u:\B)");
        } else if self.cursor.eat(r"\Q") {
            let rest = self.cursor.rest();
            let quoted = rest.split_once(r"\E").map_or(rest, |(quoted, _)| quoted);
            for c in quoted.chars() {
                self.literal(u32::from(c));
            }
            self.cursor.eat(quoted);
            self.cursor.eat(r"\E");
        } else {
            self.sync_folding();
            let atom = self.out.len();
            if let Some(weight) = self.escaped_class()? {
                self.push_atom(atom, Cost::unit(weight));
            } else {
                let c = self.cursor.escape()?;
                self.literal(c);
            }
        }
        Ok(())
    }

    fn assertion(&mut self, assertion: &str) {
        let atom = self.out.len();
        self.out.push_str(assertion);
        self.push_atom(atom, Cost::unit(LITERAL_WEIGHT));
    }

    /// A code point that stands for itself. Text never holds a surrogate, so one never matches.
    fn literal(&mut self, c: u32) {
        self.sync_folding();
        let atom = self.out.len();
        match char::from_u32(c) {
            Some(c) => {
                self.needs_text |= c == char::REPLACEMENT_CHARACTER;
                push_escaped(&mut self.out, c);
            }
            None => self.out.push_str(EMPTY_CLASS),
        }
        self.push_atom(atom, Cost::unit(LITERAL_WEIGHT));
    }

    /// Puts the `i` flag in force, or out of force, for what is written next.
    pub(super) fn sync_folding(&mut self) {
        if self.folding != self.flags.fold_case {
            self.folding = self.flags.fold_case;
            self.out.push_str(if self.folding { "(?i)" } else { "(?-i)" });
        }
    }

    /// Makes what `out` holds from `start` on the atom that a repetition would apply to.
    pub(super) fn push_atom(&mut self, start: usize, cost: Cost) {
        self.group.settle_last();
        self.group.last = Some(Atom { start, cost, repeated: false });
    }

    fn check(&self, cost: Cost) -> Result<(), RegexError> {
        let kind = if cost.instructions > MAX_INSTRUCTIONS {
            ErrorKind::Large
        } else if cost.depth > MAX_DEPTH {
            ErrorKind::NestingDepth
        } else {
            return Ok(());
        };
        Err(RegexError::new(kind, self.cursor.pattern()))
    }

    pub(super) fn error_since(&self, kind: ErrorKind, start: usize) -> RegexError {
        RegexError::new(kind, self.cursor.since(start))
    }
}

/// Writes a character so that it stands for itself, inside a class and outside.
pub(super) fn push_escaped(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else {
        out.push_str(&format!("\\x{:02X}", u32::from(c)));
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    fold_case: bool,
    multi_line: bool,
    dot_all: bool,
    ungreedy: bool,
}

#[derive(Debug, Clone, Copy)]
enum Count {
    Star,
    Plus,
    Optional,
    Braces { min: u32, max: Option<u32> },
}

/// The numbers of `{min}`, `{min,}` or `{min,max}`; one that is too large to hold is `u32::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) min: u32,
    pub(super) max: Option<u32>,
}

/// A group being read, or the whole pattern.
#[derive(Debug, Default)]
struct Group {
    /// Where it begins in the output.
    start: usize,
    captures: bool,
    flags_outside: Flags,
    folding_outside: bool,
    /// What a repetition would apply to; not yet part of `branch`.
    last: Option<Atom>,
    branch: Cost,
    /// The branches before the last `|`.
    alternatives: Cost,
}

impl Group {
    fn settle_last(&mut self) {
        if let Some(atom) = self.last.take() {
            self.branch = self.branch.and(atom.cost);
        }
    }

    fn end_branch(&mut self) {
        let branch = self.close();
        self.branch = Cost::default();
        self.alternatives = branch.and(Cost::unit(LITERAL_WEIGHT));
    }

    /// The cost of everything in the group.
    fn close(&mut self) -> Cost {
        self.settle_last();
        let mut branch = self.branch;
        branch.instructions = branch.instructions.max(1);
        self.alternatives.and(branch)
    }
}

#[derive(Debug)]
struct Atom {
    /// Where it begins in the output.
    start: usize,
    cost: Cost,
    /// It already carries a repetition.
    repeated: bool,
}

/// What a part of the pattern costs, for the limits Go sets and for our own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    /// Instructions of the program Go would compile, counted as Go counts them.
    instructions: u64,
    /// Largest product of nested repetition counts.
    copies: u32,
    /// Nested groups and repetitions.
    depth: u32,
    /// See [`Translation::weight`].
    weight: u64,
}

impl Cost {
    /// The cost of a single character, class or assertion.
    pub(super) fn unit(weight: u64) -> Self {
        Self { instructions: 1, copies: 1, depth: 0, weight }
    }

    fn and(self, other: Self) -> Self {
        Self {
            instructions: self.instructions.saturating_add(other.instructions),
            copies: self.copies.max(other.copies),
            depth: self.depth.max(other.depth),
            weight: self.weight.saturating_add(other.weight),
        }
    }

    fn repeated(self, count: Count) -> Self {
        let sub = self.instructions;
        let (instructions, times) = match count {
            Count::Star | Count::Braces { min: 0, max: None } => (sub.saturating_add(2), 1),
            Count::Plus | Count::Optional => (sub.saturating_add(1), 1),
            Count::Braces { min, max: None } => (sub.saturating_mul(u64::from(min)).saturating_add(1), min),
            Count::Braces { min, max: Some(max) } => {
                let optional = u64::from(max.saturating_sub(min));
                let copies = sub.saturating_mul(u64::from(max));
                (copies.saturating_add(optional), max)
            }
        };
        Self {
            instructions: instructions.max(1),
            // `x{0}` keeps no copy, whatever `x` repeats.
            copies: if times == 0 { 1 } else { self.copies.saturating_mul(times) },
            depth: self.depth + 1,
            weight: self.weight.saturating_add(LITERAL_WEIGHT).saturating_mul(u64::from(times.max(1))),
        }
    }
}

/// Largest count of a repetition, and largest product of nested ones.
const MAX_REPEAT: u32 = 1000;

/// Nested groups and repetitions. Go limits the height of its syntax tree to this number of
/// nodes above the leaf, where concatenations and alternations count too.
pub(super) const MAX_DEPTH: u32 = 999;

/// Go's limit: 128 MiB at 40 bytes an instruction.
const MAX_INSTRUCTIONS: u64 = (128 << 20) / 40;

/// Bytes a compiled literal, assertion, group, `|` or repetition takes, at most: 240 measured for
/// `(?i)k`.
const LITERAL_WEIGHT: u64 = 512;

/// Bytes a compiled class of a few ranges takes, at most: 1,000 measured for `[^a]`.
pub(super) const CLASS_WEIGHT: u64 = 2048;

/// Matches nothing.
pub(super) const EMPTY_CLASS: &str = r"\P{any}";
