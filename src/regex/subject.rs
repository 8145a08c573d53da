//! Bytes as Go's `regexp` reads them: every byte that is not part of valid UTF-8 is one U+FFFD.

use std::borrow::Cow;
use std::ops::Range;

/// The subject as text. Valid UTF-8 is borrowed; anything else is copied.
///
/// This differs from [`String::from_utf8_lossy`], which replaces a truncated sequence of several
/// bytes by a single U+FFFD.
pub(super) fn decode(subject: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(subject) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(subject.len());
    for chunk in subject.utf8_chunks() {
        text.push_str(chunk.valid());
        for _ in chunk.invalid() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Cow::Owned(text)
}

/// Turns ranges of the decoded text of `subject` into ranges of `subject` itself.
pub(super) fn to_original(subject: &[u8], ranges: &mut [Option<Range<usize>>]) {
    let mut offsets: Vec<usize> =
        ranges.iter().flatten().flat_map(|range| [range.start, range.end]).collect();
    offsets.sort_unstable();
    offsets.dedup();
    let mut originals = Vec::with_capacity(offsets.len());
    let mut pending = offsets.iter().copied().peekable();
    let (mut decoded, mut original) = (0, 0);
    for chunk in subject.utf8_chunks() {
        let widths = [(chunk.valid().len(), 1), (chunk.invalid().len(), REPLACEMENT_LEN)];
        for (len, width) in widths {
            while let Some(offset) = pending.next_if(|&offset| offset <= decoded + len * width) {
                originals.push(original + (offset - decoded) / width);
            }
            decoded += len * width;
            original += len;
        }
    }
    let map = |offset| {
        let index = offsets.binary_search(&offset).ok()?;
        originals.get(index).copied()
    };
    for range in ranges {
        *range = range.as_ref().and_then(|range| Some(map(range.start)?..map(range.end)?));
    }
}

/// Bytes of U+FFFD in UTF-8.
const REPLACEMENT_LEN: usize = char::REPLACEMENT_CHARACTER.len_utf8();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invalid_byte_becomes_one_replacement() {
        let cases: [(&[u8], &str); 7] = [
            (b"", ""),
            (b"ok", "ok"),
            ("é".as_bytes(), "é"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"\xe2\x82", "\u{fffd}\u{fffd}"),
            (b"\xf0\x9f\x98z", "\u{fffd}\u{fffd}\u{fffd}z"),
            (b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
        ];
        for (subject, want) in cases {
            assert_eq!(decode(subject), want, "{subject:x?}");
        }
        assert!(matches!(decode("é".as_bytes()), Cow::Borrowed(_)));
    }

    #[test]
    fn ranges_are_mapped_back_to_the_bytes() {
        let subject = b"a\xe2\x82\xc3\xa9\xff";
        assert_eq!(decode(subject), "a\u{fffd}\u{fffd}é\u{fffd}");
        let cases = [
            (0..0, 0..0),
            (0..1, 0..1),
            (1..4, 1..2),
            (4..7, 2..3),
            (7..9, 3..5),
            (9..12, 5..6),
            (12..12, 6..6),
        ];
        let mut ranges: Vec<_> = cases.iter().map(|(from, _)| Some(from.clone())).collect();
        ranges.push(None);
        to_original(subject, &mut ranges);
        let mut want: Vec<_> = cases.iter().map(|(_, to)| Some(to.clone())).collect();
        want.push(None);
        assert_eq!(ranges, want);
    }
}
