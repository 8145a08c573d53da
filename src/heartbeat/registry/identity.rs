//! How a heartbeat is found: by name, and by the secrets and short forms that stand in URLs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use super::{Declared, Heartbeat, Key};
use crate::config::secret::MASK;

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

/// All heartbeats by everything they are found by.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) by_key: BTreeMap<Key, Arc<Heartbeat>>,
    by_uuid: HashMap<TokenHash, Arc<Heartbeat>>,
    by_id: HashMap<String, Arc<Heartbeat>>,
    by_token: HashMap<TokenHash, Arc<Heartbeat>>,
    /// Several, if namespaces share a name.
    by_name: HashMap<String, Vec<Arc<Heartbeat>>>,
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
                let all = self.by_name.get(slug).map_or(&[][..], Vec::as_slice);
                match all {
                    [one] => Some(one),
                    [] => None,
                    all => {
                        let default = all
                            .iter()
                            .find(|one| one.key().namespace == crate::heartbeat::key::DEFAULT_NAMESPACE);
                        return default.cloned().ok_or(NotFound::Ambiguous);
                    }
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
        let named = self.by_name.entry(heartbeat.key().name.clone()).or_default();
        named.retain(|other| other.key() != heartbeat.key());
        named.push(add());
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
        if let Some(named) = self.by_name.get_mut(&key.name) {
            named.retain(|other| !is_it(other));
            if named.is_empty() {
                self.by_name.remove(&key.name);
            }
        }
        Some(heartbeat)
    }
}
