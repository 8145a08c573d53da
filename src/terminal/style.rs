//! Colours, widths, and text from strangers made safe for a terminal.

use std::fmt::Write as _;
use std::time::Duration;

/// A meaning that a colour stands for; the text says the same without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Why the probe failed.
    Bad,
    /// Worth a look.
    Doubtful,
    /// Of less weight.
    Faint,
    /// A heading.
    Strong,
}

impl Tone {
    /// Select Graphic Rendition (ECMA-48 §8.3.117); the sixteen colours, which themes adapt.
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Doubtful => "33",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

/// Puts colour on text, or leaves it alone.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    /// The text in a tone. Pad it before: the codes have no width.
    pub fn on(self, tone: Tone, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", tone.code())
        } else {
            text.to_owned()
        }
    }
}

/// Text of which nothing moves the cursor, changes the terminal or hides what stands there.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns_text(c) {
            let _ = write!(out, "{}", c.escape_debug());
        } else {
            out.push(c);
        }
    }
    out
}

/// As [`printable`], but lines stay lines.
pub fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// Marks that change the order in which characters are shown (Unicode UAX #9 §2).
fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Milliseconds in one unit for all, so that lines compare.
pub fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_steer_the_terminal() {
        let cases = [
            ("plain, ünicode 漢字", "plain, ünicode 漢字"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("abc\u{202e}cba", "abc\\u{202e}cba"),
        ];
        for (text, want) in cases {
            assert_eq!(printable(text), want);
        }
        assert_eq!(printable_lines("a\x07\nb\n"), "a\\u{7}\nb");
    }

    #[test]
    fn colour_is_added_only_where_it_is_wanted() {
        assert_eq!(Paint(true).on(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint(true).on(Tone::Bad, ""), "");
        assert_eq!(Paint(false).on(Tone::Bad, "x"), "x");
    }
}
