//! Who may come in: names and passwords of HTTP basic authentication (RFC 7617).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use tokio::sync::Semaphore;

use crate::config::Secret;
use crate::config::map::Map;
use crate::config::password::{BadHash, Hash};

/// The users of one file.
#[derive(Debug, Default)]
pub struct Users {
    /// `None` for a user whose hash no password fits.
    by_name: BTreeMap<Box<[u8]>, Option<Hash>>,
    /// What is checked for names that are unknown, or whose hash is no use.
    impossible: Vec<Hash>,
}

/// A user that the toolkit does not start with, or who can never come in.
#[derive(Debug, PartialEq, Eq)]
pub struct BadUser<'a> {
    /// The name.
    pub name: &'a str,
    /// What is wrong with the hash.
    pub why: BadHash,
}

impl Users {
    /// Reads the hashes. Users with a bad one are reported, and nobody comes in by their name.
    pub fn new(written: &Map<Secret>) -> (Self, Vec<BadUser<'_>>) {
        let mut users = Self::default();
        let mut bad = Vec::new();
        for (name, text) in written.iter() {
            let hash = Hash::parse(text.expose());
            match &hash {
                Ok(hash) => users.impossible.push(hash.impossible()),
                Err(why) => bad.push(BadUser { name, why: *why }),
            }
            users.by_name.insert(name.as_bytes().into(), hash.ok());
        }
        (users, bad)
    }

    /// Whether everybody may come in.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The hash to check.
    ///
    /// An unknown name gets a hash as expensive as that of one of the users, always the same one, so
    /// that time does not tell which names there are.
    fn hash(&self, name: &[u8], digest: &Digest) -> Option<&Hash> {
        if let Some(Some(hash)) = self.by_name.get(name) {
            return Some(hash);
        }
        let choice = usize::from(digest[0]) << 8 | usize::from(digest[1]);
        self.impossible.get(choice % self.impossible.len().max(1))
    }
}

/// What was found out about credentials, and the means to find out more.
#[derive(Debug)]
pub struct Gate {
    /// Makes what is remembered worthless outside this process.
    key: hmac::Key,
    remembered: Arc<Mutex<Remembered>>,
    /// One check at a time: they are expensive, and probes want the processors too.
    turn: Arc<Semaphore>,
}

impl Gate {
    /// A gate that remembers nothing yet.
    pub fn new() -> Self {
        let random: [u8; DIGEST_BYTES] = rand::random();
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &random),
            remembered: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Whether the value of an `Authorization` header names a user and the right password.
    pub async fn admits(&self, users: &Users, authorization: Option<&[u8]>) -> bool {
        let Some(credentials) = authorization.and_then(credentials) else { return false };
        let Some(colon) = credentials.iter().position(|byte| *byte == b':') else { return false };
        let (name, password) = (&credentials[..colon], &credentials[colon + 1..]);
        let Some(hash) = users.hash(name, &self.digest(&[name])) else { return false };
        let digest = self.digest(&[name, &hash.as_bytes(), password]);
        if let Some(known) = self.remembered().get(&digest) {
            return known;
        }
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else { return false };
        // The same client often sends many requests at once; the first of them has found out.
        if let Some(known) = self.remembered().get(&digest) {
            return known;
        }
        let (hash, password) = (hash.clone(), password.to_vec());
        let remembered = Arc::clone(&self.remembered);
        // Goes on when the client goes away, and its turn does not end before.
        let check = tokio::task::spawn_blocking(move || {
            let fits = hash.fits(&password);
            remembered.lock().unwrap_or_else(PoisonError::into_inner).add(digest, fits);
            drop(turn);
            fits
        });
        check.await.unwrap_or(false)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

/// The credentials of an `Authorization` header: `name:password`.
fn credentials(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = header.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| BASE64.decode(rest).ok())?
}

const SCHEME: &[u8] = b"Basic ";

/// Credentials, the hash they were checked against, and what came out, none of it readable.
type Digest = [u8; DIGEST_BYTES];
const DIGEST_BYTES: usize = 32;

/// The last credentials of each kind; those that are wrong do not push out those that are right.
#[derive(Debug, Default)]
struct Remembered {
    right: VecDeque<Digest>,
    wrong: VecDeque<Digest>,
}

impl Remembered {
    fn get(&self, digest: &Digest) -> Option<bool> {
        if self.right.contains(digest) {
            return Some(true);
        }
        self.wrong.contains(digest).then_some(false)
    }

    fn add(&mut self, digest: Digest, fits: bool) {
        let list = if fits { &mut self.right } else { &mut self.wrong };
        if list.len() >= MAX_REMEMBERED {
            list.pop_front();
        }
        list.push_back(digest);
    }
}

/// Credentials of each kind that are remembered.
const MAX_REMEMBERED: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::web_config::parse::parse;

    const ALICE: &str = "$2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.";

    fn users(yaml: &str) -> Users {
        Users::new(&parse(&format!("basic_auth_users: {yaml}")).unwrap().sections.basic_auth_users).0
    }

    fn basic(credentials: &str) -> Vec<u8> {
        format!("Basic {}", BASE64.encode(credentials.as_bytes())).into_bytes()
    }

    #[tokio::test]
    async fn who_comes_in() {
        let gate = Gate::new();
        let users = users(&format!("{{alice: {ALICE}, broken: {ALICE}xxx}}"));
        let good = BASE64.encode(b"alice:pass word");
        let cases: [(Vec<u8>, bool); 13] = [
            (basic("alice:pass word"), true),
            (format!("bAsIc {good}").into_bytes(), true),
            (format!("Basic  {good}").into_bytes(), false),
            (format!("Bearer {good}").into_bytes(), false),
            (good.into_bytes(), false),
            (basic("alice:pass words"), false),
            (basic("alice:"), false),
            (basic("alice"), false),
            (basic("Alice:pass word"), false),
            (basic("bob:pass word"), false),
            (basic("broken:pass word"), false),
            (b"Basic ***".to_vec(), false),
            (b"".to_vec(), false),
        ];
        // The second time the answers come from memory.
        for round in 0..2 {
            for (header, want) in &cases {
                assert_eq!(gate.admits(&users, Some(header)).await, *want, "{round} {header:?}");
            }
        }
        assert!(!gate.admits(&users, None).await);
        assert_eq!(gate.remembered().right.len(), 1);
        assert_eq!(gate.remembered().wrong.len(), 5);
    }

    #[tokio::test]
    async fn a_new_hash_is_checked_anew() {
        let gate = Gate::new();
        let header = basic("alice:pass word");
        assert!(gate.admits(&users(&format!("{{alice: {ALICE}}}")), Some(&header)).await);
        let other = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        assert!(!gate.admits(&users(&format!("{{alice: {other}}}")), Some(&header)).await);
        assert!(!gate.admits(&users(&format!("{{bob: {ALICE}}}")), Some(&header)).await);
    }

    #[tokio::test]
    async fn wrong_guesses_do_not_push_out_who_is_known() {
        let gate = Gate::new();
        let users = users("{alice: $2b$04$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.}");
        gate.remembered().add(gate.digest(&[b"x"]), true);
        for guess in 0..MAX_REMEMBERED + 20 {
            assert!(!gate.admits(&users, Some(&basic(&format!("alice:{guess}")))).await);
        }
        assert_eq!(gate.remembered().right.len(), 1);
        assert_eq!(gate.remembered().wrong.len(), MAX_REMEMBERED);
    }

    #[test]
    fn unknown_names_cost_what_known_ones_do() {
        let users = users(
            "{a: $2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf., \
              b: $2b$12$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.}",
        );
        let gate = Gate::new();
        let cost = |name: &str| users.hash(name.as_bytes(), &gate.digest(&[name.as_bytes()])).unwrap().cost();
        let costs: Vec<u8> = (0..40).map(|n| cost(&format!("unknown{n}"))).collect();
        assert!(costs.contains(&5) && costs.contains(&12), "{costs:?}");
        assert_eq!(costs, (0..40).map(|n| cost(&format!("unknown{n}"))).collect::<Vec<_>>());
        assert_eq!((cost("a"), cost("b")), (5, 12));
    }
}
