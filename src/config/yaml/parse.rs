//! Text to a tree.
//!
//! Aliases share the node they name, so an expanded tree costs nothing; how large and how deep
//! the expansion would be is computed while building and bounded here, which is why everything
//! that walks the tree may recurse.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::tree::{Content, Entry, NodeId, ScalarKind, Tree};
use crate::config::problem::{Position, Problem};

/// Nodes an alias-expanded document may have at the least; more only in proportion to the file.
const EXPANDED_NODES: u32 = 1_000_000;
/// Beyond [`EXPANDED_NODES`], aliases may multiply the nodes of a file by this.
const EXPANSION_FACTOR: u32 = 10;
/// Nesting with aliases expanded; the parser itself stops at 255 levels as written.
const MAX_DEPTH: u32 = 1000;
/// Mappings up to this size are compared pairwise for duplicate keys, larger ones by hash.
const PAIRWISE_KEYS: usize = 12;

/// Bytes of text per node, roughly; only to size the tree before reading.
const BYTES_PER_NODE: usize = 16;

/// What `!!` stands for.
const CORE_TAGS: &str = "tag:yaml.org,2002:";

/// Reads the first document of `text`; later ones are not looked at.
///
/// `Ok` holds the tree, which has no root if there is no document, and the duplicate keys found;
/// `Err` is the one syntax error.
pub fn parse(text: &str) -> Result<(Tree<'_>, Vec<Problem>), Problem> {
    let options = granit_parser::options! { emit_comments: false };
    let mut builder = Builder::default();
    builder.tree.nodes.reserve(text.len() / BYTES_PER_NODE);
    builder.tree.children.reserve(text.len() / BYTES_PER_NODE);
    let mut events = Parser::new_from_str_with_options(text, options);
    while let Some(next) = events.next() {
        let (event, span) = next.map_err(|error| syntax_error(&error))?;
        if builder.event(event, &span)? {
            builder.tree.next_document = next_document(events);
            return Ok((builder.tree, builder.duplicates));
        }
    }
    Ok((builder.tree, builder.duplicates))
}

/// Where another document with content begins; what is no YAML counts as none.
fn next_document<'a>(
    mut events: impl Iterator<Item = Result<(Event<'a>, Span), ScanError>>,
) -> Option<Position> {
    let Ok((Event::DocumentStart(..), start)) = events.next()? else { return None };
    match events.next()?.ok()? {
        (Event::Scalar(..), span) if span.is_empty() => None,
        _ => Some(position(start.start)),
    }
}

fn syntax_error(error: &ScanError) -> Problem {
    Problem { position: position(*error.marker()), message: format!("not valid YAML: {}", error.info()) }
}

fn position(marker: Marker) -> Position {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Position { line: number(marker.line()), column: number(marker.col()).saturating_add(1) }
}

#[derive(Default)]
struct Builder<'a> {
    tree: Tree<'a>,
    /// Collections not yet ended: the node and where its children begin in `pending`.
    open: Vec<(NodeId, usize)>,
    pending: Vec<NodeId>,
    anchors: HashMap<usize, NodeId>,
    duplicates: Vec<Problem>,
}

impl<'a> Builder<'a> {
    /// Takes one event; true once the first document is complete.
    fn event(&mut self, event: Event<'a>, span: &Span) -> Result<bool, Problem> {
        let at = position(span.start);
        match event {
            Event::DocumentStart(_, Some(version)) if (version.major, version.minor) != (1, 1) => {
                return Err(Problem {
                    position: at,
                    message: format!(
                        "%YAML must be 1.1, got {}.{}; remove the directive",
                        version.major, version.minor
                    ),
                });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = scalar_kind(style, tag.as_deref());
                // The parser gives an absent value as `~` without extent.
                let text = if span.is_empty() && text == "~" { Cow::Borrowed("") } else { text };
                let id = self.add(at, anchor, Content::Scalar { text, kind })?;
                self.place(id);
            }
            Event::SequenceStart(_, anchor, _) | Event::MappingStart(_, anchor, _) => {
                self.start(at, anchor)?
            }
            Event::SequenceEnd => self.end(false)?,
            Event::MappingEnd => self.end(true)?,
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).copied();
                let content = target.and_then(|id| self.tree.nodes.get(id as usize));
                match (target, content.map(|entry| &entry.content)) {
                    (Some(id), Some(content)) if !matches!(content, Content::Open) => {
                        self.place(id);
                    }
                    _ => {
                        return Err(Problem {
                            position: at,
                            message: "this alias stands inside the value it names".to_owned(),
                        });
                    }
                }
            }
            Event::DocumentEnd => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    fn add(&mut self, position: Position, anchor: usize, content: Content<'a>) -> Result<NodeId, Problem> {
        let id = NodeId::try_from(self.tree.nodes.len())
            .map_err(|_| Problem { position, message: "the file has too many values".to_owned() })?;
        self.tree.nodes.push(Entry { position, expanded: 1, depth: 1, content });
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        Ok(id)
    }

    fn place(&mut self, id: NodeId) {
        if self.open.is_empty() {
            self.tree.root = Some(id);
        } else {
            self.pending.push(id);
        }
    }

    fn start(&mut self, position: Position, anchor: usize) -> Result<(), Problem> {
        let id = self.add(position, anchor, Content::Open)?;
        self.open.push((id, self.pending.len()));
        Ok(())
    }

    fn end(&mut self, is_mapping: bool) -> Result<(), Problem> {
        let Some((id, start)) = self.open.pop() else {
            return Ok(());
        };
        let first = self.tree.children.len() as u32;
        self.tree.children.extend(self.pending.drain(start..));
        let length = self.tree.children.len() as u32 - first;
        let (mut expanded, mut depth) = (1_u32, 0);
        for child in &self.tree.children[first as usize..] {
            let child = &self.tree.nodes[*child as usize];
            expanded = expanded.saturating_add(child.expanded);
            depth = depth.max(child.depth);
        }
        let merges = is_mapping && self.check_keys(first as usize);
        let written = self.tree.nodes.len() as u32;
        let entry = &mut self.tree.nodes[id as usize];
        entry.expanded = expanded;
        entry.depth = depth + 1;
        entry.content = if is_mapping {
            Content::Mapping { first, length, merges }
        } else {
            Content::Sequence { first, length }
        };
        let position = entry.position;
        if expanded > EXPANDED_NODES.max(written.saturating_mul(EXPANSION_FACTOR)) {
            return Err(Problem { position, message: "aliases expand to too many values".to_owned() });
        }
        if depth >= MAX_DEPTH {
            return Err(Problem { position, message: format!("nested more than {MAX_DEPTH} levels deep") });
        }
        self.place(id);
        Ok(())
    }

    /// Notes duplicate keys among the pairs from `first` on; true if one of them is `<<`.
    fn check_keys(&mut self, first: usize) -> bool {
        let tree = &self.tree;
        let keys = || {
            tree.children[first..].iter().step_by(2).filter_map(|id| {
                match &tree.nodes[*id as usize].content {
                    Content::Scalar { text, .. } => Some((*id, text.as_ref())),
                    _ => None,
                }
            })
        };
        let mut merges = false;
        let mut found = Vec::new();
        let count = (tree.children.len() - first) / 2;
        if count <= PAIRWISE_KEYS {
            for (index, (id, key)) in keys().enumerate() {
                merges |= key == "<<";
                if keys().take(index).any(|(_, earlier)| earlier == key) {
                    found.push((id, key));
                }
            }
        } else {
            let mut seen = HashSet::with_capacity(count);
            for (id, key) in keys() {
                merges |= key == "<<";
                if !seen.insert(key) {
                    found.push((id, key));
                }
            }
        }
        for (id, key) in found {
            let earlier = keys().find(|(_, earlier)| *earlier == key);
            let line = earlier.map_or(0, |(id, _)| tree.nodes[id as usize].position.line);
            self.duplicates.push(Problem {
                position: tree.nodes[id as usize].position,
                message: format!("key {key:?} is already set in line {line}"),
            });
        }
        merges
    }
}

fn scalar_kind(style: ScalarStyle, tag: Option<&Tag>) -> ScalarKind {
    match tag.map(Tag::parts) {
        Some((CORE_TAGS, "int" | "float" | "bool" | "null")) => ScalarKind::Tagged,
        Some((CORE_TAGS, "binary")) => ScalarKind::Binary,
        // The non-specific tag `!` says nothing, a tag of another schema makes it text.
        Some(("", "!")) | None if style == ScalarStyle::Plain => ScalarKind::Plain,
        _ => ScalarKind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Node;
    use super::*;

    fn outline(node: Node<'_>, problems: &mut Vec<Problem>) -> String {
        if let Some(items) = node.items() {
            let items: Vec<String> = items.map(|item| outline(item, problems)).collect();
            return format!("[{}]", items.join(", "));
        }
        if let Some(mapping) = node.mapping(problems) {
            let pairs: Vec<String> = mapping
                .pairs()
                .map(|(key, value)| format!("{}: {}", key.text().unwrap(), outline(value, problems)))
                .collect();
            return format!("{{{}}}", pairs.join(", "));
        }
        node.text().unwrap().to_owned()
    }

    fn read(text: &str) -> Result<String, String> {
        let (tree, mut problems) = parse(text).map_err(|problem| problem.to_string())?;
        let outline = outline(tree.root().unwrap(), &mut problems);
        if problems.is_empty() {
            Ok(outline)
        } else {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(lines.join("; "))
        }
    }

    #[test]
    fn documents_are_read_as_go_yaml_reads_them() {
        let many_merges = "a: &a {k: 1}\nb: {<<: [*a, *a]}\n";
        let cases = [
            ("a: 1\nb: [x, 'y']\n", Ok("{a: 1, b: [x, y]}")),
            ("\u{feff}a: 1\r\n", Ok("{a: 1}")),
            ("a: 1\n---\n\t[{ not read", Ok("{a: 1}")),
            ("{\"a\": [1, {}]}", Ok("{a: [1, {}]}")),
            ("a: &x {k: 1}\nb: *x\n", Ok("{a: {k: 1}, b: {k: 1}}")),
            ("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\n", Ok("{a: {k: 1, l: 2}, b: {k: 3, l: 2}}")),
            (
                "a: &x {k: 1}\nb: &y {k: 2, l: 2}\nc: {<<: [*x, *y]}\n",
                Ok("{a: {k: 1}, b: {k: 2, l: 2}, c: {k: 1, l: 2}}"),
            ),
            (many_merges, Ok("{a: {k: 1}, b: {k: 1}}")),
            ("a: {'<<': 1}\n", Ok("{a: {<<: 1}}")),
            ("a: {<<: 1}\n", Err("1:9: `<<` must name a mapping or a list of mappings")),
            ("a: 1\n'a': 2\n", Err("2:1: key \"a\" is already set in line 1")),
            ("%YAML 1.2\n---\na: 1\n", Err("2:1: %YAML must be 1.1, got 1.2; remove the directive")),
            ("%YAML 1.1\n---\na: 1\n", Ok("{a: 1}")),
            ("a: &x {b: *x}\n", Err("1:11: this alias stands inside the value it names")),
            ("a: *b\n", Err("1:4: not valid YAML: while parsing node, found unknown anchor")),
        ];
        for (text, want) in cases {
            let want = want.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(read(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_file_without_a_document_has_no_root() {
        for text in ["", "# only a comment\n", "\n\n"] {
            let (tree, problems) = parse(text).unwrap();
            assert!(tree.root().is_none() && problems.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn large_mappings_report_duplicates_too() {
        let mut text: String = (0..20).map(|n| format!("k{n}: 1\n")).collect();
        text.push_str("'k7': 2\n");
        assert_eq!(read(&text), Err("21:1: key \"k7\" is already set in line 8".to_owned()));
    }

    #[test]
    fn nesting_and_aliases_are_bounded() {
        assert_eq!(
            read(&"[".repeat(5000)),
            Err("1:256: not valid YAML: recursion limit exceeded".to_owned())
        );
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        let mut chain = "a0: &a0 []\n".to_owned();
        for n in 1..1100 {
            let below = n - 1;
            if n < 10 {
                let items = vec![format!("*a{below}"); 10].join(", ");
                laughs.push_str(&format!("a{n}: &a{n} [{items}]\n"));
            }
            chain.push_str(&format!("a{n}: &a{n} [*a{below}]\n"));
        }
        assert_eq!(read(&laughs), Err("6:9: aliases expand to too many values".to_owned()));
        assert_eq!(read(&chain), Err("1001:15: nested more than 1000 levels deep".to_owned()));
    }
}
