//! HTTP header names and values as configured.

use super::decode::{Context, Decode};
use super::secret::Secret;
use super::section::{decode_section, section};
use super::yaml::emit::{Emit, Emitter};
use super::yaml::tree::{Node, NodeKind};

/// Go's `CanonicalMIMEHeaderKey`: `accept-encoding` becomes `Accept-Encoding`; a name with a
/// character that no header name has stays as it is.
pub fn canonical_name(name: &str) -> String {
    if !is_token(name) {
        return name.to_owned();
    }
    let mut upper = true;
    name.chars()
        .map(|c| {
            let c = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            upper = c == '-';
            c
        })
        .collect()
}

/// Whether two names have one canonical form.
pub fn same_header(left: &str, right: &str) -> bool {
    left == right || (left.eq_ignore_ascii_case(right) && is_token(left))
}

/// Whether the text is an RFC 9110 §5.6.2 token: a method or a header name.
pub fn is_token(text: &str) -> bool {
    let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(in_token)
}

/// Whether the text can stand after the colon of a header line: no control characters but tab.
pub fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control())
}

section! {
    /// The values one header is sent with: plain ones, then secret ones, then those from files.
    pub struct HeaderSource {
        /// Values as they are.
        values: Vec<String>,
        /// Values that never print.
        secrets: Vec<Secret>,
        /// Files whose trimmed content is a value.
        files: Vec<String>,
    }
}

/// A header's values, or one plain value in their place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderValues(pub HeaderSource);

impl Decode for HeaderValues {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        if matches!(node.kind(), NodeKind::Scalar(_)) {
            let value = String::decode(node, ctx)?;
            return Some(Self(HeaderSource { values: vec![value], ..HeaderSource::default() }));
        }
        decode_section(node, ctx).map(Self)
    }
}

impl Emit for HeaderValues {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn emit(&self, out: &mut Emitter) {
        self.0.emit(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_canonical_as_in_go() {
        let cases = [
            ("accept-encoding", "Accept-Encoding"),
            ("uSER-aGENT", "User-Agent"),
            ("www-authenticate", "Www-Authenticate"),
            ("x_y-1a", "X_y-1a"),
            ("a b", "a b"),
            ("é", "é"),
            ("", ""),
        ];
        for (name, want) in cases {
            assert_eq!(canonical_name(name), want);
        }
    }
}
