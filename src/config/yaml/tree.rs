//! A document as a tree of nodes that remember where they stand; merge keys are applied here.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::scalar::{self, Resolved};
use crate::config::placeholder::Written;
use crate::config::problem::{Position, Problem};

/// Index of a node in its tree.
pub(super) type NodeId = u32;

/// One document.
#[derive(Debug, Default)]
pub struct Tree<'a> {
    pub(super) nodes: Vec<Entry<'a>>,
    /// Children of all collections, each collection's together; a mapping alternates key, value.
    pub(super) children: Vec<NodeId>,
    pub(super) root: Option<NodeId>,
    /// Where a second document begins, if one with content follows.
    pub(super) next_document: Option<Position>,
    /// Scalars that had placeholders in.
    pub(super) written: HashMap<NodeId, Written>,
}

#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) position: Position,
    /// Nodes and levels below and including this one, with aliases expanded.
    pub(super) expanded: u32,
    pub(super) depth: u32,
    pub(super) content: Content<'a>,
}

#[derive(Debug)]
pub(super) enum Content<'a> {
    Scalar {
        text: Cow<'a, str>,
        kind: ScalarKind,
    },
    Sequence {
        first: u32,
        length: u32,
    },
    Mapping {
        first: u32,
        length: u32,
        merges: bool,
    },
    /// A collection whose end has not been read; an alias to it would contain itself.
    Open,
}

/// How a scalar says what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarKind {
    /// Unquoted and untagged: YAML's implicit rules decide.
    Plain,
    /// Quoted, a block scalar, or tagged `!!str` or with an unknown tag.
    Text,
    /// `!!int`, `!!float`, `!!bool`, `!!null`: implicit rules, even if quoted.
    Tagged,
    /// `!!binary`
    Binary,
    /// Made from placeholders: implicit rules, even if quoted, since `{` needs quotes in places;
    /// but never null, whatever a variable holds.
    Made,
}

/// A node of a tree; cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Node<'t> {
    tree: &'t Tree<'t>,
    id: NodeId,
}

/// What a node is, for those who look at it without wanting a certain type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NodeKind {
    /// A scalar.
    Scalar(Resolved),
    /// A list.
    Sequence,
    /// A mapping.
    Mapping,
}

/// The pairs of a mapping, merge keys already applied.
#[derive(Clone, Debug)]
pub struct Mapping<'t> {
    node: Node<'t>,
    pairs: Cow<'t, [NodeId]>,
}

impl<'a> Tree<'a> {
    /// Where the first of the documents begins that are not read; one without content does not count.
    pub fn next_document(&self) -> Option<Position> {
        self.next_document
    }

    /// Offers every scalar that `is_wanted` to `replace`, but for keys and `!!binary`; what it
    /// returns takes the scalar's place.
    pub fn replace_values(
        &mut self,
        is_wanted: impl Fn(&str) -> bool,
        mut replace: impl FnMut(&str, Position) -> Option<Written>,
    ) {
        let ids = (0..).zip(&self.nodes);
        let wanted: Vec<NodeId> = ids
            .filter(|(_, entry)| match &entry.content {
                Content::Scalar { kind: ScalarKind::Binary, .. } => false,
                Content::Scalar { text, .. } => is_wanted(text),
                _ => false,
            })
            .map(|(id, _)| id)
            .collect();
        if wanted.is_empty() {
            return;
        }
        let mut keys: HashSet<NodeId> = HashSet::new();
        for entry in &self.nodes {
            if let Content::Mapping { first, length, .. } = entry.content {
                let (first, length) = (first as usize, length as usize);
                keys.extend(self.children[first..first + length].iter().step_by(2));
            }
        }
        for id in wanted.into_iter().filter(|id| !keys.contains(id)) {
            let entry = &mut self.nodes[id as usize];
            if let Content::Scalar { text, kind } = &mut entry.content
                && let Some(written) = replace(text, entry.position)
            {
                *text = Cow::Owned(written.value());
                *kind = ScalarKind::Made;
                self.written.insert(id, written);
            }
        }
    }

    /// The document's one value.
    pub fn root(&self) -> Option<Node<'_>> {
        self.root.map(|id| Node { tree: self, id })
    }
}

impl<'t> Node<'t> {
    fn entry(self) -> &'t Entry<'t> {
        &self.tree.nodes[self.id as usize]
    }

    /// Where the value begins; for an alias, where the value it names begins.
    pub fn position(self) -> Position {
        self.entry().position
    }

    /// Whether the value is absent, `~` or `null`.
    pub fn is_null(self) -> bool {
        match &self.entry().content {
            Content::Scalar { text, kind } => {
                matches!(kind, ScalarKind::Plain | ScalarKind::Tagged) && scalar::is_null(text)
            }
            _ => false,
        }
    }

    /// What the node is.
    pub fn kind(self) -> NodeKind {
        match &self.entry().content {
            Content::Scalar { text, kind } => NodeKind::Scalar(match kind {
                ScalarKind::Plain | ScalarKind::Tagged => scalar::resolve(text),
                ScalarKind::Text | ScalarKind::Binary => Resolved::Text,
                ScalarKind::Made => match scalar::resolve(text) {
                    Resolved::Null => Resolved::Text,
                    resolved => resolved,
                },
            }),
            Content::Sequence { .. } => NodeKind::Sequence,
            Content::Mapping { .. } | Content::Open => NodeKind::Mapping,
        }
    }

    /// What the file has where placeholders have been replaced.
    pub fn written(self) -> Option<&'t Written> {
        self.tree.written.get(&self.id)
    }

    /// Whether the whole tree has values made from placeholders.
    pub fn has_written(self) -> bool {
        !self.tree.written.is_empty()
    }

    /// A scalar's text without quotes, before any decoding; placeholders have been replaced.
    pub fn text(self) -> Option<&'t str> {
        match &self.entry().content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether the scalar is quoted or a block, so that YAML calls it text whatever it holds.
    pub fn is_quoted(self) -> bool {
        matches!(self.entry().content, Content::Scalar { kind: ScalarKind::Text, .. })
    }

    /// Whether the scalar is tagged `!!binary`.
    pub fn is_binary(self) -> bool {
        matches!(self.entry().content, Content::Scalar { kind: ScalarKind::Binary, .. })
    }

    /// The items of a list.
    pub fn items(self) -> Option<impl Iterator<Item = Node<'t>>> {
        match self.entry().content {
            Content::Sequence { first, length } => {
                Some(self.children(first, length).iter().map(move |id| Node { tree: self.tree, id: *id }))
            }
            _ => None,
        }
    }

    /// The pairs of a mapping; problems with merge keys go to `problems`.
    pub fn mapping(self, problems: &mut Vec<Problem>) -> Option<Mapping<'t>> {
        match self.entry().content {
            Content::Mapping { first, length, merges } => {
                let pairs = self.children(first, length);
                let pairs = if merges {
                    let mut merged = Vec::with_capacity(pairs.len());
                    let mut seen = HashSet::new();
                    self.merge_into(&mut merged, &mut seen, problems);
                    Cow::Owned(merged)
                } else {
                    Cow::Borrowed(pairs)
                };
                Some(Mapping { node: self, pairs })
            }
            _ => None,
        }
    }

    fn children(self, first: u32, length: u32) -> &'t [NodeId] {
        let first = first as usize;
        &self.tree.children[first..first + length as usize]
    }

    /// Adds this mapping's own pairs, then those of its `<<`, each key only once.
    fn merge_into(self, merged: &mut Vec<NodeId>, seen: &mut HashSet<&'t str>, problems: &mut Vec<Problem>) {
        let Content::Mapping { first, length, .. } = self.entry().content else {
            problems.push(Problem {
                position: self.position(),
                message: "`<<` must name a mapping or a list of mappings".to_owned(),
            });
            return;
        };
        let mut sources = None;
        for pair in self.children(first, length).chunks_exact(2) {
            let key = Node { tree: self.tree, id: pair[0] };
            match key.text() {
                Some("<<") if !key.is_quoted() => {
                    sources = Some(Node { tree: self.tree, id: pair[1] });
                }
                Some(text) if !seen.insert(text) => {}
                _ => merged.extend_from_slice(pair),
            }
        }
        let Some(sources) = sources else { return };
        match sources.items() {
            Some(items) => items.for_each(|item| item.merge_into(merged, seen, problems)),
            None => sources.merge_into(merged, seen, problems),
        }
    }
}

impl<'t> Mapping<'t> {
    /// Where the mapping begins.
    pub fn position(&self) -> Position {
        self.node.position()
    }

    /// Key and value nodes in file order, merged ones last.
    pub fn pairs(&self) -> impl Iterator<Item = (Node<'t>, Node<'t>)> + '_ {
        let tree = self.node.tree;
        self.pairs.chunks_exact(2).map(move |pair| (Node { tree, id: pair[0] }, Node { tree, id: pair[1] }))
    }

    /// The value of a key, null included.
    pub fn get(&self, key: &str) -> Option<Node<'t>> {
        self.pairs().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    /// Where the value of `key` stands, or the mapping if the key is absent.
    pub fn position_of(&self, key: &str) -> Position {
        self.get(key).map_or_else(|| self.position(), Node::position)
    }
}
