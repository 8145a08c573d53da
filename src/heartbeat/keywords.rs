//! What a message says by its words, as healthchecks filters bodies.

use super::event::Signal;

/// Words that are looked for in a message, as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keywords {
    /// One of them is a failure, whatever else is there.
    pub failure: Vec<String>,
    /// Otherwise one of them is a success.
    pub success: Vec<String>,
    /// Otherwise one of them is the start of a run.
    pub start: Vec<String>,
    /// Whether a message with none of them is a failure; else it is no signal.
    pub fails_without: bool,
}

/// Characters of each list as it is written; healthchecks has the same limit.
pub const MAX_LIST_CHARS: usize = 200;

impl Keywords {
    /// Takes a list with commas apart; spaces around a word do not count, and no word is no word.
    pub fn words(list: &str) -> Vec<String> {
        list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// What a message means, `None`: nothing. Bytes that are no UTF-8 are in no word.
    pub fn signal(&self, message: &[u8]) -> Option<Signal> {
        let text = String::from_utf8_lossy(message);
        let lists =
            [(&self.failure, Signal::Fail), (&self.success, Signal::Success), (&self.start, Signal::Start)];
        let found =
            lists.into_iter().find(|(words, _)| words.iter().any(|word| text.contains(word.as_str())));
        found.map(|(_, signal)| signal).or(self.fails_without.then_some(Signal::Fail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_words_are_found_in_any_bytes_and_failure_comes_first() {
        let ignoring = Keywords {
            failure: Keywords::words("ERROR, out of memory,,"),
            success: Keywords::words("done,OK"),
            start: Keywords::words(" begin "),
            fails_without: false,
        };
        assert_eq!(ignoring.failure, ["ERROR", "out of memory"]);
        let failing = Keywords { fails_without: true, ..ignoring.clone() };
        let cases: [(&[u8], Option<Signal>); 11] = [
            (b"it is done", Some(Signal::Success)),
            (b"OK, but ERROR", Some(Signal::Fail)),
            (b"begin; done", Some(Signal::Success)),
            (b"begin", Some(Signal::Start)),
            (b"beginning", Some(Signal::Start)),
            (b"error", None),
            (b"outofmemory", None),
            (b"", None),
            (b"\xff\xfe", None),
            (b"\xff\xfeERROR\xff", Some(Signal::Fail)),
            (b"d\xffone", None),
        ];
        for (message, want) in cases {
            assert_eq!(ignoring.signal(message), want, "{message:?}");
            assert_eq!(failing.signal(message), want.or(Some(Signal::Fail)), "{message:?}");
        }
    }
}
