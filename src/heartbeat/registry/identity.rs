//! How a heartbeat is found: by name, and by the secrets and short forms that stand in URLs.

use std::borrow::Borrow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use super::{Declared, Heartbeat, Key};
use crate::config::secret::MASK;
use crate::heartbeat::key::DEFAULT_NAMESPACE;

/// SHA-256 of a token or key. The text itself is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; digest::SHA256_OUTPUT_LEN]);

impl TokenHash {
    /// Of a token as a client sends it.
    pub fn of(token: &str) -> Self {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    /// Of a UUID, in which the case of the letters has no meaning.
    pub fn of_uuid(uuid: &str) -> Self {
        Self::of(&uuid.to_ascii_lowercase())
    }

    /// In hexadecimal digits, as the store keeps it.
    pub fn to_hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Reads what [`TokenHash::to_hex`] wrote; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    /// Whether `token` has this hash. Takes the same time for every token of one length.
    pub fn matches(&self, token: &str) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(token).0).is_ok()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// What a request names a heartbeat by.
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'a> {
    /// Namespace and name.
    Key(&'a Key),
    /// As in the URLs of healthchecks.io; read in any case of its letters.
    Uuid(&'a str),
    /// The short id of `/api/pings/`.
    Id(&'a str),
    /// A secret token.
    Token(&'a str),
    /// As in the other URLs of healthchecks.io; the slug is the name.
    Slug {
        /// The one ping key of this receiver.
        ping_key: &'a str,
        /// Name in any namespace.
        slug: &'a str,
    },
}

/// Why a lookup leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// No heartbeat is called that, or the ping key is wrong.
    Unknown,
    /// The slug stands for heartbeats in several namespaces, none of which is the default one.
    Ambiguous,
}

/// A key that is found by its name alone.
#[derive(Debug)]
struct Name(Key);

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.0.name()
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name().hash(state);
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for Name {}

/// All heartbeats by everything they are found by.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) by_key: BTreeMap<Key, Arc<Heartbeat>>,
    by_uuid: HashMap<TokenHash, Arc<Heartbeat>>,
    by_id: HashMap<String, Arc<Heartbeat>>,
    by_token: HashMap<TokenHash, Arc<Heartbeat>>,
    /// The first of a name, and the others if namespaces share it.
    by_name: HashMap<Name, (Arc<Heartbeat>, Vec<Arc<Heartbeat>>)>,
    pub(super) ping_key: Option<TokenHash>,
}

impl Index {
    pub(super) fn find(&self, lookup: Lookup<'_>) -> Result<Arc<Heartbeat>, NotFound> {
        let found = match lookup {
            Lookup::Key(key) => self.by_key.get(key),
            // Nobody can choose the hash of a guess, so how far a comparison gets tells nothing.
            Lookup::Uuid(uuid) => self.by_uuid.get(&TokenHash::of_uuid(uuid)),
            Lookup::Id(id) => self.by_id.get(id),
            Lookup::Token(token) => self.by_token.get(&TokenHash::of(token)),
            Lookup::Slug { ping_key, slug } => {
                if !self.ping_key.is_some_and(|key| key.matches(ping_key)) {
                    return Err(NotFound::Unknown);
                }
                match self.by_name.get(slug) {
                    Some((first, others)) if !others.is_empty() => {
                        let mut all = others.iter().chain([first]);
                        let default = all.find(|one| one.key().namespace() == DEFAULT_NAMESPACE);
                        return default.cloned().ok_or(NotFound::Ambiguous);
                    }
                    found => found.map(|(only, _)| only),
                }
            }
        };
        found.cloned().ok_or(NotFound::Unknown)
    }

    /// What of `declared` belongs to another heartbeat already.
    pub(super) fn taken(&self, declared: &Declared) -> Option<&'static str> {
        let key = &declared.definition.key;
        let other = |found: Option<&Arc<Heartbeat>>| found.is_some_and(|found| found.key() != key);
        if other(declared.uuid.and_then(|uuid| self.by_uuid.get(&uuid))) {
            Some("uuid")
        } else if other(declared.id.as_ref().and_then(|id| self.by_id.get(id))) {
            Some("id")
        } else if other(declared.token.and_then(|token| self.by_token.get(&token))) {
            Some("token")
        } else {
            None
        }
    }

    pub(super) fn insert(&mut self, heartbeat: &Arc<Heartbeat>, declared: &Declared) {
        let add = || Arc::clone(heartbeat);
        if let Some(uuid) = declared.uuid {
            self.by_uuid.insert(uuid, add());
        }
        if let Some(id) = &declared.id {
            self.by_id.insert(id.clone(), add());
        }
        if let Some(token) = declared.token {
            self.by_token.insert(token, add());
        }
        match self.by_name.entry(Name(heartbeat.key().clone())) {
            Entry::Vacant(place) => drop(place.insert((add(), Vec::new()))),
            Entry::Occupied(mut place) => {
                let (first, others) = place.get_mut();
                let is_it = |other: &&mut Arc<Heartbeat>| other.key() == heartbeat.key();
                if let Some(same) = others.iter_mut().chain([first]).find(is_it) {
                    *same = add();
                } else {
                    others.push(add());
                }
            }
        }
        self.by_key.insert(heartbeat.key().clone(), add());
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Heartbeat>> {
        let heartbeat = self.by_key.remove(key)?;
        let declared = heartbeat.declared();
        let is_it = |other: &Arc<Heartbeat>| other.key() == key;
        if let Some(uuid) = declared.uuid.filter(|uuid| self.by_uuid.get(uuid).is_some_and(is_it)) {
            self.by_uuid.remove(&uuid);
        }
        if let Some(id) = declared.id.as_ref().filter(|id| self.by_id.get(*id).is_some_and(is_it)) {
            self.by_id.remove(id);
        }
        if let Some(token) = declared.token.filter(|token| self.by_token.get(token).is_some_and(is_it)) {
            self.by_token.remove(&token);
        }
        if let Some((first, mut others)) = self.by_name.remove(key.name()) {
            others.push(first);
            others.retain(|other| !is_it(other));
            if let Some(first) = others.pop() {
                self.by_name.insert(Name(first.key().clone()), (first, others));
            }
        }
        Some(heartbeat)
    }
}
