//! Which heartbeat is meant.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Namespace and name, written `namespace/name`; unique in one receiver. A clone shares the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Key(Arc<str>);

/// The namespace of definitions that name none.
pub const DEFAULT_NAMESPACE: &str = "default";
/// Longest name and longest namespace, in bytes.
pub const MAX_NAME_BYTES: usize = 100;
/// Between the two, and in neither.
const SEPARATOR: char = '/';

impl Key {
    /// Checks both parts.
    ///
    /// # Errors
    /// A sentence that names the part and its first bad character.
    pub fn new(namespace: &str, name: &str) -> Result<Self, String> {
        check("namespace", namespace)?;
        check("name", name)?;
        Ok(Self(format!("{namespace}{SEPARATOR}{name}").into()))
    }

    /// `namespace/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Groups heartbeats; [`DEFAULT_NAMESPACE`] when the definition names none.
    pub fn namespace(&self) -> &str {
        self.parts().0
    }

    /// The name inside its namespace.
    pub fn name(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once(SEPARATOR).unwrap_or(("", &self.0))
    }
}

impl Ord for Key {
    /// By namespace, then by name.
    fn cmp(&self, other: &Self) -> Ordering {
        // The separator ends a namespace, so it comes before everything that may go on with it.
        let rank = |byte: u8| if byte == SEPARATOR as u8 { 0 } else { byte };
        self.0.bytes().map(rank).cmp(other.0.bytes().map(rank))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Names stand in URLs, labels and store keys, so they are what all of them take unescaped.
fn check(what: &str, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(format!("the {what} is longer than {MAX_NAME_BYTES} bytes"));
    }
    let is_bad = |c: &char| !(c.is_ascii_alphanumeric() || "-_.~".contains(*c));
    match text.chars().find(is_bad) {
        Some(c) => Err(format!("the {what} {text:?} contains {c:?}; letters, digits and -_.~ are allowed")),
        None => Ok(()),
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = String;

    /// Reads `namespace/name`, or a name of the default namespace.
    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = text.split_once(SEPARATOR).unwrap_or((DEFAULT_NAMESPACE, text));
        Self::new(namespace, name)
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_written() {
        let cases = [
            ("a/b", Ok("a/b")),
            ("b", Ok("default/b")),
            ("a/", Err("the name is empty")),
            ("/b", Err("the namespace is empty")),
            ("a/b/c", Err("the name \"b/c\" contains '/'; letters, digits and -_.~ are allowed")),
            ("a b", Err("the name \"a b\" contains ' '; letters, digits and -_.~ are allowed")),
            ("é", Err("the name \"é\" contains 'é'; letters, digits and -_.~ are allowed")),
        ];
        for (text, want) in cases {
            let got = text.parse::<Key>().map(|key| key.to_string());
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        let sorted = ["a/b", "a/c", "a-b/a", "a.b/a", "ab/a"];
        let mut keys: Vec<Key> = sorted.iter().rev().map(|text| text.parse().unwrap()).collect();
        keys.sort();
        assert_eq!(keys.iter().map(Key::as_str).collect::<Vec<_>>(), sorted);
        assert!(keys.iter().is_sorted_by_key(|key| (key.namespace(), key.name())));
        assert!("x".repeat(101).parse::<Key>().is_err());
    }
}
