//! Names of keys in etcd, and what a value looks like there.

use data_encoding::BASE64;

use super::super::Kind;

/// What a key below the prefix stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// An entry of the store.
    Entry(Kind, Box<str>),
    /// The presence of a receiver.
    Receiver(Box<str>),
    /// The presence of a node that reports as this heartbeat. Never written by us.
    Node(Box<str>),
}

/// Translates between keys of the store and keys in etcd.
#[derive(Debug)]
pub(super) struct Keys {
    /// Without a slash at its end.
    prefix: String,
    pub(super) receiver: String,
    /// Which process wrote a value; not the same after a restart.
    instance: String,
}

const FOLDERS: [(&str, Kind); 3] =
    [("definitions/", Kind::Definition), ("records/", Kind::Record), ("marks/", Kind::Mark)];
const RECEIVERS: &str = "receivers/";
const NODES: &str = "presence/";
/// Written to see whether etcd takes writes again.
const CHECKS: &str = "checks/";

impl Keys {
    pub(super) fn new(prefix: &str, receiver: &str, instance: &str) -> Self {
        Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
            receiver: receiver.to_owned(),
            instance: instance.to_owned(),
        }
    }

    /// The range of all our keys, its end excluded, encoded as the gateway wants it.
    pub(super) fn range(&self) -> (String, String) {
        // '0' follows '/'.
        (encode(format!("{}/", self.prefix)), encode(format!("{}0", self.prefix)))
    }

    pub(super) fn encode(&self, key: &Key) -> String {
        let prefix = &self.prefix;
        match key {
            Key::Entry(kind, name) => {
                let folder = FOLDERS.iter().find(|(_, of)| of == kind).map_or("", |(folder, _)| folder);
                encode(format!("{prefix}/{folder}{name}"))
            }
            Key::Receiver(name) => encode(format!("{prefix}/{RECEIVERS}{name}")),
            Key::Node(name) => encode(format!("{prefix}/{NODES}{name}")),
        }
    }

    pub(super) fn check(&self) -> String {
        encode(format!("{}/{CHECKS}{}", self.prefix, self.receiver))
    }

    /// `None` for a key that is not ours.
    pub(super) fn decode(&self, encoded: &str) -> Option<Key> {
        let key = String::from_utf8(decode(encoded)?).ok()?;
        let rest = key.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        if let Some(name) = rest.strip_prefix(RECEIVERS) {
            return Some(Key::Receiver(name.into()));
        }
        if let Some(name) = rest.strip_prefix(NODES) {
            return Some(Key::Node(name.into()));
        }
        let found = FOLDERS.iter().find_map(|(folder, kind)| Some((*kind, rest.strip_prefix(folder)?)));
        found.map(|(kind, name)| Key::Entry(kind, name.into()))
    }

    /// A value as it stands in etcd.
    pub(super) fn value(&self, payload: &[u8]) -> Vec<u8> {
        [self.instance.as_bytes(), b"\n", payload].concat()
    }

    /// Whether we wrote a value, and what it is. A value without the line, written by hand, is not ours.
    pub(super) fn payload<'v>(&self, stored: &'v [u8]) -> (bool, &'v [u8]) {
        match stored.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let (by, payload) = stored.split_at(end);
                (by == self.instance.as_bytes(), payload.get(1..).unwrap_or_default())
            }
            None => (false, stored),
        }
    }
}

/// Bytes as the gateway writes them.
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes.as_ref())
}

/// The other way; `None` for what is not Base64.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_readable_with_etcdctl() {
        let keys = Keys::new("/beats/", "a", "a-1");
        let cases = [
            (Key::Entry(Kind::Definition, "ns/x".into()), "/beats/definitions/ns/x"),
            (Key::Entry(Kind::Record, "ns/x".into()), "/beats/records/ns/x"),
            (Key::Entry(Kind::Mark, "a".into()), "/beats/marks/a"),
            (Key::Receiver("b".into()), "/beats/receivers/b"),
            (Key::Node("ns/x".into()), "/beats/presence/ns/x"),
        ];
        for (key, text) in cases {
            assert_eq!(decode(&keys.encode(&key)).unwrap(), text.as_bytes());
            assert_eq!(keys.decode(&encode(text)), Some(key));
        }
        for foreign in ["/beats/checks/a", "/beatsx/records/a", "/other"] {
            assert_eq!(keys.decode(&encode(foreign)), None, "{foreign}");
        }
        let (from, to) = keys.range();
        assert_eq!((from, to), (encode("/beats/"), encode("/beats0")));
        assert_eq!(keys.value(b"{}"), b"a-1\n{}");
        assert_eq!(keys.payload(b"a-1\n{}\n"), (true, &b"{}\n"[..]));
        assert_eq!(keys.payload(b"a-2\n{}"), (false, &b"{}"[..]));
        assert_eq!(keys.payload(b"{}"), (false, &b"{}"[..]));
    }
}
