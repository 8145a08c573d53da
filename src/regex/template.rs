//! The template rules of Go's `Regexp.Expand`.

use std::sync::LazyLock;

/// A group a template asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reference<'t> {
    Number(usize),
    Name(&'t str),
}

/// Replaces `$name`, `${name}` and `$$`; a `$` that begins none of these stays as it is.
///
/// `group` gives the text of a group, or `None` when it does not exist or took no part.
pub(super) fn expand<'s>(template: &str, group: impl Fn(Reference<'_>) -> Option<&'s [u8]>) -> Vec<u8> {
    let mut expanded = Vec::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.extend_from_slice(before.as_bytes());
        rest = if let Some(after) = after.strip_prefix('$') {
            expanded.push(b'$');
            after
        } else if let Some((reference, after)) = split_reference(after) {
            expanded.extend_from_slice(group(reference).unwrap_or_default());
            after
        } else {
            expanded.push(b'$');
            after
        };
    }
    expanded.extend_from_slice(rest.as_bytes());
    expanded
}

/// Splits `name` or `{name}` off the front of what follows a `$`.
fn split_reference(text: &str) -> Option<(Reference<'_>, &str)> {
    let (name, rest) = match text.strip_prefix('{') {
        Some(text) => {
            let (name, rest) = split_name(text)?;
            (name, rest.strip_prefix('}')?)
        }
        None => split_name(text)?,
    };
    Some((parse_reference(name), rest))
}

/// Splits the longest run of letters, digits and underscores off the front; never an empty one.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !is_name_character(c)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(name, _)| !name.is_empty())
}

/// `unicode.IsLetter`, `unicode.IsDigit` or `_`.
///
/// [`char::is_alphanumeric`] is wider: it includes combining vowel signs and numbers such as `½`.
fn is_name_character(c: char) -> bool {
    static LETTER_OR_DIGIT: LazyLock<Option<::regex::Regex>> =
        LazyLock::new(|| ::regex::Regex::new(r"[\p{L}\p{Nd}]").ok());
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    LETTER_OR_DIGIT.as_ref().is_some_and(|class| class.is_match(c.encode_utf8(&mut [0; 4])))
}

/// A number without leading zeros is a group number, anything else a name.
fn parse_reference(name: &str) -> Reference<'_> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit())
        && name.len() <= MAX_NUMBER_DIGITS
        && (name == "0" || !name.starts_with('0'));
    match name.parse() {
        Ok(number) if is_number => Reference::Number(number),
        _ => Reference::Name(name),
    }
}

/// Digits of the largest number that Go still takes as a group number.
const MAX_NUMBER_DIGITS: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn expand_with_names(template: &str) -> String {
        let text = expand(template, |reference| match reference {
            Reference::Number(0) => Some(b"<all>"),
            Reference::Number(1) => Some(b"<one>"),
            Reference::Name("host") => Some(b"<host>"),
            Reference::Name("1x") => Some(b"<1x>"),
            Reference::Name("01") => Some(b"<01>"),
            _ => None,
        });
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn references_are_replaced() {
        let cases = [
            ("", ""),
            ("plain", "plain"),
            ("$0", "<all>"),
            ("$1", "<one>"),
            ("a$1-b", "a<one>-b"),
            ("${1}x", "<one>x"),
            ("$1x", "<1x>"),
            ("$1y", ""),
            ("$01", "<01>"),
            ("$00", ""),
            ("$2", ""),
            ("$123456789", ""),
            ("$1234567890123456789012345", ""),
            ("$host", "<host>"),
            ("${host}", "<host>"),
            ("$host.", "<host>."),
            ("$hosts", ""),
            ("$hosté", ""),
            ("$host½", "<host>½"),
            ("$host\u{93f}", "<host>\u{93f}"),
            ("$_", ""),
            ("$$", "$"),
            ("$$1", "$1"),
            ("$$$1", "$<one>"),
            ("$", "$"),
            ("a$", "a$"),
            ("$ 1", "$ 1"),
            ("$-1", "$-1"),
            ("${", "${"),
            ("${}", "${}"),
            ("${1", "${1"),
            ("${1-}", "${1-}"),
            ("${ 1}", "${ 1}"),
            ("${host$1}", "${host<one>}"),
            ("é$1é", "é"),
        ];
        for (template, want) in cases {
            assert_eq!(expand_with_names(template), want, "{template}");
        }
    }
}
