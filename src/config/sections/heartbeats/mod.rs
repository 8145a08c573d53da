//! `heartbeats`: what reports in, when, and what proves who it is.

mod service;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use self::service::Service;
use super::tls::TlsConfig;
use super::{at_most_one, is_written, note_unused};
use crate::config::FILE_INDENT;
use crate::config::decode::{Context, Decode, Segment, key_text, mapping, quote, read_into, unknown_key};
use crate::config::map::Map;
use crate::config::mask::Mask;
use crate::config::password::Hash;
use crate::config::problem::Position;
use crate::config::secret::Secret;
use crate::config::section::{Defaulted, decode_section, section};
use crate::config::yaml::emit::{Emit, Emitter};
use crate::config::yaml::tree::{Mapping, Node};
use crate::heartbeat::definition::Definition;
use crate::heartbeat::key::{DEFAULT_NAMESPACE, Key};

/// The top-level section `heartbeats`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heartbeats {
    /// Where definitions made at run time and check-ins are kept.
    pub store: Defaulted<Store>,
    /// First part of healthchecks.io slug addresses.
    pub ping_key: Secret,
    /// Users of `/api/pings` and the management API: names and bcrypt hashes.
    pub users: Map<Secret>,
    /// Heartbeats that may make themselves known.
    pub provision: Option<Box<Provision>>,
    /// What is declared in the file, by key.
    pub services: BTreeMap<Key, Declared>,
    /// What must not be seen of them in logs and answers.
    pub mask: Option<Arc<Mask>>,
}

/// One heartbeat of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// What is expected of it.
    pub definition: Arc<Definition>,
    /// What proves that a signal is for it.
    pub addresses: Addresses,
    /// As written, without the addresses. Heartbeats that are written alike share it.
    written: Arc<Service>,
    /// Where its follow-up probe is declared.
    pub(in crate::config) probe_position: Position,
}

/// What a heartbeat is found by beside its name; empty where it has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Addresses {
    /// For `/api/pings/`.
    pub id: Box<str>,
    /// For URLs of healthchecks.io.
    pub uuid: Secret,
    /// For URLs and headers of everything else.
    pub token: Secret,
}

section! {
    /// Where state is kept.
    pub struct Store {
        /// The file of the embedded store; relative to the working directory.
        path: String = "heartbeats.redb".to_owned(),
        /// A shared store instead of the file.
        etcd: Option<Box<Etcd>>,
    }
    check Store::validate
}

section! {
    /// A cluster of etcd.
    pub struct Etcd {
        /// Base URLs of its members.
        endpoints: Vec<String>,
        /// What all keys begin with.
        prefix: String = "/heartbeats".to_owned(),
        /// Name of this receiver, different from those of all others; the host name if absent.
        receiver: String,
        /// Its user, if it asks for one.
        username: String,
        /// Their password.
        password: Secret,
        /// For `https` endpoints.
        tls_config: Defaulted<TlsConfig>,
    }
    check Etcd::validate
}

section! {
    /// Heartbeats that are made by their first signal.
    pub struct Provision {
        /// Names that are allowed, with `*` for any text, such as `cron-*` or `batch/*`.
        patterns: Vec<String>,
        /// How many may be made; 1 to 100000.
        limit: i64 = 1000,
        /// What is expected of them.
        template: Service,
    }
    check Provision::validate
}

/// Keys of `heartbeats`, for hints.
const KEYS: [&str; 5] = ["store", "ping_key", "users", "provision", "services"];
/// Bytes of a short id, a UUID or a token.
const MAX_ADDRESS_BYTES: usize = 128;

impl Decode for Heartbeats {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let written = mapping(node, ctx)?;
        let mut section = Self::default();
        for (key, value) in written.pairs() {
            let Some(name) = key_text(key, ctx) else { continue };
            let known = ctx.within(Segment::Key(name), |ctx| {
                match name {
                    "store" => read_into(&mut section.store, value, ctx),
                    "ping_key" => read_into(&mut section.ping_key, value, ctx),
                    "users" => section.read_users(value, ctx),
                    "provision" => read_into(&mut section.provision, value, ctx),
                    "services" if !value.is_null() => section.read_services(value, ctx),
                    "services" => {}
                    _ => return false,
                }
                true
            });
            if !known {
                unknown_key(key.position(), name, &KEYS, ctx);
            }
        }
        Some(section)
    }
}

impl Heartbeats {
    /// Names and hashes; nobody comes in by a hash that is none, so it is a mistake.
    fn read_users<'t>(&mut self, node: Node<'t>, ctx: &mut Context<'t>) {
        read_into(&mut self.users, node, ctx);
        let Some(written) = node.mapping(&mut Vec::new()) else { return };
        for (key, value) in written.pairs() {
            let Some(name) = key.text() else { continue };
            let text = if value.is_null() { Some("") } else { value.text() };
            if let Some(Err(why)) = text.map(Hash::parse) {
                ctx.within(Segment::Key(name), |ctx| ctx.error_here(value.position(), why.to_string()));
            }
        }
    }

    fn read_services<'t>(&mut self, node: Node<'t>, ctx: &mut Context<'t>) {
        let Some(written) = mapping(node, ctx) else { return };
        // Addresses are looked up before anything else is known, so no two heartbeats may share one.
        let mut addresses = HashMap::new();
        // In a fleet, most are written like the one before.
        let mut before = Arc::default();
        for (key, value) in written.pairs() {
            let Some(name) = key_text(key, ctx) else { continue };
            let declared = ctx.within(Segment::Key(name), |ctx| {
                let written = mapping(value, ctx)?;
                let service = decode_section(value, ctx)?;
                let mut declared = Declared::new(name, service, &written, ctx)?;
                if declared.written == before {
                    declared.written = Arc::clone(&before);
                } else {
                    before = Arc::clone(&declared.written);
                }
                for (what, address) in declared.addresses.iter() {
                    if let Some(other) = addresses.insert(address.to_owned(), declared.definition.key.clone())
                    {
                        let message = format!("{} is that of {other} already", ctx.key(what));
                        ctx.error(written.position_of(what), message);
                    }
                }
                Some(declared)
            });
            let Some(declared) = declared else { continue };
            self.services.insert(declared.definition.key.clone(), declared);
        }
    }
}

impl Heartbeats {
    /// One heartbeat as `/config` has it; `None` if the file has none of this name.
    pub fn service_yaml(&self, key: &Key) -> Option<String> {
        Some(self.excerpt("services", &Services(vec![self.services.get(key)?])))
    }

    /// How heartbeats are made by their first signal, as `/config` has it.
    pub fn provision_yaml(&self) -> Option<String> {
        Some(self.excerpt("provision", self.provision.as_ref()?))
    }

    fn excerpt(&self, key: &str, value: &dyn Emit) -> String {
        let mut out = Emitter::new(FILE_INDENT);
        // Paths of the mask begin at the section.
        out.masked(self.mask.as_ref(), |out| out.entry(key, value));
        out.finish()
    }
}

impl Emit for Heartbeats {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
    fn emit(&self, out: &mut Emitter) {
        out.masked(self.mask.as_ref(), |out| {
            out.block("{}", |out| {
                out.entry("store", &self.store);
                out.field("ping_key", &self.ping_key);
                out.field("users", &self.users);
                out.field("provision", &self.provision);
                out.entry("services", &Services(self.services.values().collect()));
            });
        });
    }
}

struct Services<'h>(Vec<&'h Declared>);

impl Emit for Services<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn emit(&self, out: &mut Emitter) {
        out.block("{}", |out| {
            for declared in &self.0 {
                out.entry(declared.definition.key.name(), &declared.written());
            }
        });
    }
}

impl Store {
    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        at_most_one(&[("path", is_written("path", written)), ("etcd", self.etcd.is_some())], written, ctx);
        if self.path.is_empty() {
            ctx.error_here(written.position_of("path"), "needs a path");
        }
    }
}

impl Etcd {
    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        if self.endpoints.is_empty() {
            ctx.error_here(written.position(), "needs endpoints");
        }
        for endpoint in &self.endpoints {
            let host = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
            if host.is_none_or(str::is_empty) {
                let message = format!(
                    "{} must be URLs such as http://etcd:2379, got {}",
                    ctx.key("endpoints"),
                    quote(endpoint)
                );
                ctx.error(written.position_of("endpoints"), message);
            }
        }
        if self.receiver.contains('/') || self.receiver.len() > MAX_ADDRESS_BYTES {
            let message = format!(
                "{} must be at most {MAX_ADDRESS_BYTES} bytes without a slash, got {}",
                ctx.key("receiver"),
                quote(&self.receiver)
            );
            ctx.error(written.position_of("receiver"), message);
        }
        if !self.prefix.starts_with('/') || self.prefix.ends_with('/') {
            let message = format!(
                "{} must begin with a slash and end without, got {}",
                ctx.key("prefix"),
                quote(&self.prefix)
            );
            ctx.error(written.position_of("prefix"), message);
        }
    }
}

impl Provision {
    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        if self.patterns.is_empty() {
            ctx.error_here(written.position(), "needs patterns");
        }
        if !(1..=100_000).contains(&self.limit) {
            let message = format!("{} must be 1 to 100000, got {}", ctx.key("limit"), self.limit);
            ctx.error(written.position_of("limit"), message);
        }
        let Some(template) = written.get("template").and_then(|node| node.mapping(&mut Vec::new())) else {
            ctx.error_here(written.position(), "needs a template");
            return;
        };
        let names = [
            ("id", !self.template.id.is_empty()),
            ("uuid", !self.template.uuid.is_empty()),
            ("token", !self.template.token.is_empty()),
        ];
        ctx.within(Segment::Key("template"), |ctx| {
            for (key, _) in names.iter().filter(|(_, used)| *used) {
                let why = format!("cannot have {key}, which is of one heartbeat");
                ctx.error_here(template.position_of(key), why);
            }
            Declared::new("any", self.template.clone(), &template, ctx);
        });
    }

    /// Whether a heartbeat of this name may make itself known.
    pub fn allows(&self, key: &Key) -> bool {
        self.patterns.iter().any(|pattern| {
            let text = if pattern.contains('/') { key.as_str() } else { key.name() };
            is_match(pattern, text)
        })
    }

    /// What is expected of a heartbeat that makes itself known.
    ///
    /// # Errors
    /// A sentence; never for a section that was loaded.
    pub fn definition(&self, key: Key) -> Result<Definition, String> {
        self.template.definition(key).map_err(|(_, why)| why)
    }
}

/// Whether `text` is what `pattern` says, in which `*` stands for any text.
fn is_match(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

impl Declared {
    fn new<'t>(
        name: &str,
        mut service: Service,
        written: &Mapping<'t>,
        ctx: &mut Context<'t>,
    ) -> Option<Self> {
        let namespace = if service.namespace.is_empty() { DEFAULT_NAMESPACE } else { &service.namespace };
        let made = Key::new(namespace, name).map_err(|why| ("", why)).and_then(|key| service.definition(key));
        for key in service.unused() {
            note_unused(key, "with this schedule", written, ctx);
        }
        match made {
            Ok(definition) => {
                let probe_position = written.position_of("on_miss");
                let addresses = Addresses {
                    id: std::mem::take(&mut service.id).into(),
                    uuid: std::mem::take(&mut service.uuid),
                    token: std::mem::take(&mut service.token),
                };
                let (definition, written) = (Arc::new(definition), Arc::new(service));
                Some(Self { definition, addresses, written, probe_position })
            }
            Err(("", why)) => {
                ctx.error_here(written.position(), format!("cannot be used: {why}"));
                None
            }
            Err((key, why)) => {
                let why = match written.get(key).and_then(Node::written) {
                    // The sentence may repeat any part of the value.
                    Some(written) => format!("cannot be {}, whose value is not shown", quote(&written.text)),
                    None => why,
                };
                let message = format!("{} {why}", ctx.key(key));
                ctx.error(written.position_of(key), message);
                None
            }
        }
    }

    /// As written, for `/config`.
    pub fn written(&self) -> Service {
        let mut written = Service::clone(&self.written);
        let Addresses { id, uuid, token } = self.addresses.clone();
        (written.id, written.uuid, written.token) = (id.into(), uuid, token);
        written
    }
}

impl Addresses {
    /// Those there are, each with its key.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("id", &*self.id), ("uuid", self.uuid.expose()), ("token", self.token.expose())];
        all.into_iter().filter(|(_, address)| !address.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::service::DEFAULT_GRACE;
    use super::*;
    use crate::config::{LoadOptions, load};
    use crate::heartbeat::schedule::Schedule;

    #[test]
    fn patterns_of_names() {
        let cases = [
            ("cron-*", "cron-a", true),
            ("cron-*", "cron-", true),
            ("cron-*", "xcron-a", false),
            ("*", "", true),
            ("*-x", "a-x", true),
            ("*-x", "a-x-y", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*a", "a", false),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(is_match(pattern, text), want, "{pattern} {text}");
        }
        let provision =
            Provision { patterns: vec!["batch/*".to_owned(), "n-*".to_owned()], ..Provision::default() };
        let cases =
            [("batch", "x", true), ("default", "x", false), ("default", "n-1", true), ("other", "n-1", true)];
        for (namespace, name, want) in cases {
            assert_eq!(provision.allows(&Key::new(namespace, name).unwrap()), want, "{namespace}/{name}");
        }
    }

    #[test]
    fn what_is_shown_has_no_secrets() {
        let text = "heartbeats:\n  ping_key: SECRET1\n  users: {root: $2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.}\n  services:\n    \
                    job: {every: 1h, token: SECRET2, uuid: SECRET3, id: abc, namespace: batch}\n";
        let file = load(text, &LoadOptions::default()).unwrap();
        let want = "modules: {}\nheartbeats:\n    store:\n        path: heartbeats.redb\n    \
                    ping_key: <secret>\n    users:\n        root: <secret>\n    services:\n        job:\n            \
                    namespace: batch\n            every: 1h0m0s\n            id: abc\n            \
                    uuid: <secret>\n            token: <secret>\n";
        assert_eq!(file.to_yaml(), want);
        let key = Key::new("batch", "job").unwrap();
        let section = file.heartbeats.unwrap();
        let of_one = "services:\n    job:\n        namespace: batch\n        every: 1h0m0s\n        id: abc\n        \
                      uuid: <secret>\n        token: <secret>\n";
        assert_eq!(section.service_yaml(&key).unwrap(), of_one);
        assert_eq!(section.service_yaml(&Key::new("batch", "none").unwrap()), None);
        assert_eq!(section.provision_yaml(), None);
        let declared = &section.services[&key];
        assert_eq!(declared.definition.schedule, Schedule::Every(TimeDelta::hours(1)));
        assert_eq!(declared.definition.grace, DEFAULT_GRACE);
    }
}
