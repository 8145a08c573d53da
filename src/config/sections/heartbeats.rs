//! `heartbeats`: what reports in, when, and what proves who it is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::TimeDelta;
use chrono_tz::Tz;

use super::tls::TlsConfig;
use super::{at_most_one, is_written, note_unused};
use crate::config::FILE_INDENT;
use crate::config::decode::{Context, Decode, Segment, key_text, mapping, quote, read_into, unknown_key};
use crate::config::duration::SignedDuration;
use crate::config::map::Map;
use crate::config::mask::Mask;
use crate::config::password::Hash;
use crate::config::problem::Position;
use crate::config::secret::Secret;
use crate::config::section::{Defaulted, decode_section, section};
use crate::config::yaml::emit::{Emit, Emitter};
use crate::config::yaml::tree::{Mapping, Node};
use crate::heartbeat::definition::{Definition, MAX_VALUES, OnMiss};
use crate::heartbeat::key::{DEFAULT_NAMESPACE, Key};
use crate::heartbeat::keywords::{Keywords, MAX_LIST_CHARS};
use crate::heartbeat::phi::{self, Adaptive};
use crate::heartbeat::schedule::{Calendar, Cron, Schedule, Window};

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

section! {
    /// A heartbeat as written. Exactly one of `every`, `cron`, `calendar` and `at` says when it reports.
    pub struct Service {
        /// Groups heartbeats.
        namespace: String,
        /// This long after the last signal.
        every: Option<SignedDuration>,
        /// Five fields of cron.
        cron: String,
        /// An event of systemd's calendar.
        calendar: String,
        /// A time of the day.
        at: String,
        /// The end of the window that `at` opens.
        until: String,
        /// Zone of `cron`, `calendar` and `at`; UTC if absent.
        tz: String,
        /// How long after the schedule it may still report; 5 minutes, none after a window.
        grace: Option<SignedDuration>,
        /// How many slots in a row may pass in silence.
        tolerate_missed: i64,
        /// How long a run may take; the grace if absent.
        max_runtime: Option<SignedDuration>,
        /// How long before a slot a signal counts for it.
        early: SignedDuration,
        /// Whether a check-in with data is a failure.
        alert_on_data: bool,
        /// After how many successful runs with the same progress it counts as stuck; 2 to 1000, never if absent.
        stuck_after: Option<i64>,
        /// Short id in addresses.
        id: String,
        /// UUID in healthchecks.io addresses.
        uuid: Secret,
        /// Proves that a signal is genuine, as a bearer token or in an address.
        token: Secret,
        /// `POST` if nothing else is a signal.
        methods: String,
        /// What the words of a message mean.
        keywords: Option<Box<KeywordLists>>,
        /// Whether a pause lasts until somebody ends it, also for pings of healthchecks.io.
        manual_resume: bool,
        /// Numbers that are kept.
        values: Vec<String>,
        /// Words to search by.
        tags: Vec<String>,
        /// Labels of `heartbeat_info`.
        labels: Map<String>,
        /// Learn the timeout from the signals.
        adaptive: Option<Box<AdaptiveTimeout>>,
        /// Probe after a miss.
        on_miss: Option<Box<MissProbe>>,
    }
}

section! {
    /// Words in messages, as lists with commas.
    pub struct KeywordLists {
        /// Words of a failure.
        failure: String,
        /// Words of a success.
        success: String,
        /// Words of the start of a run.
        start: String,
        /// What a message with none of them is: `fail`, or nothing with `ignore`.
        default: String = "ignore".to_owned(),
    }
}

section! {
    /// A timeout that follows the rhythm of the signals.
    pub struct AdaptiveTimeout {
        /// Phi at which silence is a failure; 1 to 16.
        threshold: i64 = phi::DEFAULT_THRESHOLD as i64,
        /// Smallest deviation assumed; a second if absent.
        floor: Option<SignedDuration>,
    }
}

section! {
    /// What is probed after a miss.
    pub struct MissProbe {
        /// A module of this file.
        module: String,
        /// Its target.
        target: String,
        /// Tries; 1 to 10.
        attempts: i64 = 1,
    }
}

/// Keys of `heartbeats`, for hints.
const KEYS: [&str; 5] = ["store", "ping_key", "users", "provision", "services"];
/// Grace of schedules that say nothing about it.
const DEFAULT_GRACE: TimeDelta = TimeDelta::minutes(5);
/// Deviation an adaptive timeout assumes at least.
const DEFAULT_FLOOR: TimeDelta = TimeDelta::seconds(1);
/// Shortest period; faster signals are a flood.
const MIN_PERIOD: TimeDelta = TimeDelta::seconds(1);
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

/// A key and what is wrong with its value; the key is empty when it is about the whole.
type Complaint = (&'static str, String);

impl Service {
    /// What it is found by beside its name.
    pub fn addresses(&self) -> Addresses {
        let Self { id, uuid, token, .. } = self;
        Addresses { id: id.as_str().into(), uuid: uuid.clone(), token: token.clone() }
    }

    /// Checks everything and makes the definition.
    ///
    /// # Errors
    /// The first key that cannot be used, and why.
    pub fn definition(&self, key: Key) -> Result<Definition, Complaint> {
        for (name, address) in
            [("id", self.id.as_str()), ("uuid", self.uuid.expose()), ("token", self.token.expose())]
        {
            let is_fine = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
            if address.len() > MAX_ADDRESS_BYTES || !address.chars().all(is_fine) {
                let why = format!("must be at most {MAX_ADDRESS_BYTES} letters, digits and -_.~");
                return Err((name, why));
            }
        }
        let schedule = self.schedule()?;
        let is_window = matches!(schedule, Schedule::Window(_));
        let grace = match self.grace {
            Some(grace) => non_negative("grace", grace)?,
            None if is_window => TimeDelta::zero(),
            None => DEFAULT_GRACE,
        };
        if grace.is_zero() && !is_window {
            return Err(("grace", "must be positive: no signal comes to the nanosecond".to_owned()));
        }
        let max_runtime = self.max_runtime.map(|limit| non_negative("max_runtime", limit)).transpose()?;
        if max_runtime.is_some_and(|limit| limit.is_zero()) {
            return Err(("max_runtime", "must be positive".to_owned()));
        }
        let tolerate_missed = u32::try_from(self.tolerate_missed).ok().filter(|missed| *missed <= 1000);
        let tolerate_missed = tolerate_missed
            .ok_or_else(|| ("tolerate_missed", format!("must be 0 to 1000, got {}", self.tolerate_missed)))?;
        let stuck_after = self.stuck_after.map(|runs| {
            let fitting = u32::try_from(runs).ok().filter(|runs| (2..=1000).contains(runs));
            fitting.ok_or_else(|| ("stuck_after", format!("must be 2 to 1000, got {runs}")))
        });
        let stuck_after = stuck_after.transpose()?;
        if !["", "POST"].contains(&self.methods.as_str()) {
            return Err(("methods", format!("must be POST or absent, got {}", quote(&self.methods))));
        }
        if self.values.len() > MAX_VALUES {
            return Err((
                "values",
                format!("may name at most {MAX_VALUES} numbers, got {}", self.values.len()),
            ));
        }
        if let Some((label, _)) = self.labels.iter().find(|(label, _)| !is_free_label(label)) {
            return Err(("labels", format!("has {}, which is no label name or taken", quote(label))));
        }
        Ok(Definition {
            key,
            schedule,
            grace,
            tolerate_missed,
            max_runtime,
            early: non_negative("early", self.early)?,
            alert_on_data: self.alert_on_data,
            stuck_after,
            post_only: !self.methods.is_empty(),
            keywords: self.keywords.as_deref().map(KeywordLists::settings).transpose()?.map(Box::new),
            manual_resume: self.manual_resume,
            values: self.values.clone(),
            labels: self.labels.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            tags: self.tags.clone(),
            adaptive: self.adaptive.as_deref().map(AdaptiveTimeout::settings).transpose()?.map(Box::new),
            on_miss: self.on_miss.as_deref().map(MissProbe::settings).transpose()?.map(Box::new),
        })
    }

    fn schedule(&self) -> Result<Schedule, Complaint> {
        let uses = [
            ("every", self.every.is_some()),
            ("cron", !self.cron.is_empty()),
            ("calendar", !self.calendar.is_empty()),
            ("at", !self.at.is_empty()),
        ];
        let mut used = uses.iter().filter(|(_, used)| *used).map(|(key, _)| *key);
        let (Some(kind), None) = (used.next(), used.next()) else {
            return Err(("", "it needs exactly one of every, cron, calendar and at".to_owned()));
        };
        let zone = match self.tz.as_str() {
            "" => Tz::UTC,
            name => {
                let zone = name.parse::<Tz>();
                zone.map_err(|_| {
                    ("tz", format!("must be a time zone such as Europe/Berlin, got {}", quote(name)))
                })?
            }
        };
        let complain = |text: &str| {
            let text = quote(text);
            move |why: String| (kind, format!("cannot be {text}: {why}"))
        };
        match (kind, self.every) {
            ("every", Some(every)) => {
                let period = non_negative("every", every)?;
                if period < MIN_PERIOD {
                    return Err(("every", format!("must be at least a second, got {every}")));
                }
                Ok(Schedule::Every(period))
            }
            ("cron", _) => Cron::parse(&self.cron, zone).map(Schedule::from).map_err(complain(&self.cron)),
            ("calendar", _) => {
                Calendar::parse(&self.calendar, zone).map(Schedule::from).map_err(complain(&self.calendar))
            }
            _ => {
                let until = if self.until.is_empty() { "24:00" } else { &self.until };
                Window::parse(&self.at, until, zone).map(Schedule::from).map_err(complain(&self.at))
            }
        }
    }

    /// Keys that say nothing about this kind of schedule.
    fn unused(&self) -> impl Iterator<Item = &'static str> {
        let has_clock = self.every.is_none();
        let unused = [
            ("until", !self.until.is_empty() && self.at.is_empty()),
            ("tz", !self.tz.is_empty() && !has_clock),
            ("early", self.early != SignedDuration::default() && !has_clock),
        ];
        unused.into_iter().filter(|(_, unused)| *unused).map(|(key, _)| key)
    }
}

impl KeywordLists {
    fn settings(&self) -> Result<Keywords, Complaint> {
        let lists = [&self.failure, &self.success, &self.start];
        if lists.iter().any(|list| list.chars().count() > MAX_LIST_CHARS) {
            return Err(("keywords", format!("may have at most {MAX_LIST_CHARS} characters in each list")));
        }
        let [failure, success, start] = lists.map(|list| Keywords::words(list));
        if failure.is_empty() && success.is_empty() && start.is_empty() {
            return Err(("keywords", "needs words in failure, success or start".to_owned()));
        }
        let fails_without = match self.default.as_str() {
            "fail" => true,
            "ignore" => false,
            _ => return Err(("keywords", "needs fail or ignore as default".to_owned())),
        };
        Ok(Keywords { failure, success, start, fails_without })
    }
}

impl AdaptiveTimeout {
    fn settings(&self) -> Result<Adaptive, Complaint> {
        let floor = self.floor.map_or(Ok(DEFAULT_FLOOR), |floor| non_negative("adaptive", floor))?;
        Adaptive::new(self.threshold as f64, floor)
            .map_err(|why| ("adaptive", format!("cannot be used: {why}")))
    }
}

impl MissProbe {
    fn settings(&self) -> Result<OnMiss, Complaint> {
        let attempts = u32::try_from(self.attempts).ok().filter(|attempts| (1..=10).contains(attempts));
        let attempts =
            attempts.ok_or_else(|| ("on_miss", format!("needs 1 to 10 attempts, got {}", self.attempts)))?;
        if self.module.is_empty() || self.target.is_empty() {
            return Err(("on_miss", "needs a module and a target".to_owned()));
        }
        Ok(OnMiss { module: self.module.clone(), target: self.target.clone(), attempts })
    }
}

fn non_negative(key: &'static str, duration: SignedDuration) -> Result<TimeDelta, Complaint> {
    let span = duration.to_std().and_then(|span| TimeDelta::from_std(span).ok());
    span.ok_or_else(|| (key, format!("must not be negative, got {duration}")))
}

/// A label of `heartbeat_info` that a user may choose.
fn is_free_label(name: &str) -> bool {
    const TAKEN: [&str; 5] = ["namespace", "heartbeat", "kind", "schedule", "tz"];
    let is_name = name
        .bytes()
        .enumerate()
        .all(|(at, b)| b == b'_' || b.is_ascii_alphabetic() || (at > 0 && b.is_ascii_digit()));
    is_name
        && !name.is_empty()
        && !name.starts_with("__")
        && !name.starts_with("tag_")
        && !TAKEN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadOptions, load};

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
