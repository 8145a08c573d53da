//! A named prober configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::decode::{Context, Decode, Segment, key_text, mapping, read_into, unknown_key};
use super::duration::SignedDuration;
use super::mask::Mask;
use super::problem::Position;
use super::section::Defaulted;
use super::sections::dns::Dns;
use super::sections::grpc::Grpc;
use super::sections::http::Http;
use super::sections::icmp::Icmp;
use super::sections::tcp::Tcp;
use super::sections::unix::Unix;
use super::sections::websocket::Websocket;
use super::yaml::emit::{Emit, Emitter};
use super::yaml::tree::Node;

/// Columns per level of one module on the debug page.
const MODULE_INDENT: usize = 2;

/// One entry under `modules:`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// What to run; `None` if the module names no prober, so that it can only be refused.
    pub prober: Option<ProberKind>,
    /// A value of `prober:` that no version knows; the peer's last release loads it as well.
    pub unknown_prober: Option<String>,
    /// Upper limit of a probe; zero or negative means none of its own.
    pub timeout: SignedDuration,
    /// The section `http`.
    pub http: Defaulted<Http>,
    /// The section `tcp`.
    pub tcp: Defaulted<Tcp>,
    /// The section `icmp`.
    pub icmp: Defaulted<Icmp>,
    /// The section `dns`.
    pub dns: Defaulted<Dns>,
    /// The section `grpc`.
    pub grpc: Defaulted<Grpc>,
    /// The section `unix`.
    pub unix: Defaulted<Unix>,
    /// The section `websocket`.
    pub websocket: Defaulted<Websocket>,
    /// Why no probe of this module can succeed, if that is known already.
    pub unusable: Option<Box<str>>,
    /// Whether the module was written without any content (`name:`).
    pub is_null: bool,
    /// What must not be seen of the module in logs and answers; `None` without placeholders.
    pub mask: Option<Arc<Mask>>,
}

/// Values of `prober:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProberKind {
    /// `http`
    Http,
    /// `tcp`
    Tcp,
    /// `icmp`
    Icmp,
    /// `dns`
    Dns,
    /// `grpc`
    Grpc,
    /// `unix`
    Unix,
    /// `websocket`
    Websocket,
}

/// Values of `prober:`, for messages.
const PROBERS: &str = "http, tcp, icmp, dns, grpc, unix or websocket";
/// Keys of a module, for hints.
const KEYS: [&str; 9] = ["prober", "timeout", "http", "tcp", "icmp", "dns", "grpc", "unix", "websocket"];

impl ProberKind {
    const ALL: [Self; 7] =
        [Self::Http, Self::Tcp, Self::Icmp, Self::Dns, Self::Grpc, Self::Unix, Self::Websocket];

    /// The name, which is also the key of the prober's section.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Icmp => "icmp",
            Self::Dns => "dns",
            Self::Grpc => "grpc",
            Self::Unix => "unix",
            Self::Websocket => "websocket",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for ProberKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Module {
    /// Reads a module whose name stands at `at`.
    pub(super) fn read<'t>(at: Position, node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let mask = Mask::of(node);
        let module = ctx.masked(mask.clone(), |ctx| Self::read_masked(at, node, ctx))?;
        Some(Self { mask, ..module })
    }

    fn read_masked<'t>(at: Position, node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        if node.is_null() {
            let message = format!("{} is empty and cannot be probed with", ctx.path());
            ctx.breaks(at, message.clone());
            return Some(Self { is_null: true, unusable: Some(message.into()), ..Self::default() });
        }
        let written = mapping(node, ctx)?;
        let mut module = Self::default();
        // Whether a section matters is known only once the prober is, which may be named after it.
        let mut sections = Vec::new();
        for (key, value) in written.pairs() {
            let Some(name) = key_text(key, ctx) else {
                continue;
            };
            let before = ctx.warnings.len();
            let known = ctx.within(Segment::Key(name), |ctx| module.read_key(name, value, ctx));
            if !known {
                unknown_key(key.position(), name, &KEYS, ctx);
            }
            if known && !value.is_null() {
                sections.push((name, key.position(), before..ctx.warnings.len()));
            }
        }
        module.judge_sections(sections, ctx);
        if module.prober.is_none() && written.get("prober").is_none_or(Node::is_null) {
            let message = format!("{} has no prober", ctx.path());
            ctx.breaks(at, message.clone());
            module.unusable.get_or_insert_with(|| message.into());
        }
        Some(module)
    }

    /// Keeps what was said about the sections the prober uses, and says of the others only that it
    /// does not. `sections` are the keys with where they stand and which warnings are theirs.
    fn judge_sections<'t>(
        &mut self,
        sections: Vec<(&'t str, Position, Range<usize>)>,
        ctx: &mut Context<'t>,
    ) {
        let mut unused = Vec::new();
        for (key, at, range) in sections {
            let kind = ProberKind::from_name(key);
            let warnings = ctx.warnings.get_mut(range.clone()).unwrap_or_default();
            if kind.is_none() || kind == self.prober {
                if let Some(warning) = warnings.iter().find(|warning| warning.breaks) {
                    let reason = warning.problem.message.as_str();
                    self.unusable.get_or_insert_with(|| reason.into());
                }
            } else if let Some(prober) = self.prober {
                unused.push((at, range, format!("{} has no effect with prober: {prober}", ctx.key(key))));
            } else {
                warnings.iter_mut().for_each(|warning| warning.breaks = false);
            }
        }
        // Backwards, so that the ranges before stay what they are.
        for (at, range, message) in unused.into_iter().rev() {
            ctx.warnings.drain(range);
            ctx.note(at, message);
        }
    }

    fn read_key<'t>(&mut self, key: &str, value: Node<'t>, ctx: &mut Context<'t>) -> bool {
        match key {
            "prober" => self.read_prober(value, ctx),
            "timeout" => {
                read_into(&mut self.timeout, value, ctx);
                if self.timeout < SignedDuration::default() {
                    let path = ctx.path();
                    ctx.note(value.position(), format!("{path} is negative, which means none"));
                }
            }
            "http" => read_into(&mut self.http, value, ctx),
            "tcp" => read_into(&mut self.tcp, value, ctx),
            "icmp" => read_into(&mut self.icmp, value, ctx),
            "dns" => read_into(&mut self.dns, value, ctx),
            "grpc" => read_into(&mut self.grpc, value, ctx),
            "unix" => read_into(&mut self.unix, value, ctx),
            "websocket" => read_into(&mut self.websocket, value, ctx),
            _ => return false,
        }
        true
    }

    fn read_prober<'t>(&mut self, value: Node<'t>, ctx: &mut Context<'t>) {
        match value.text().filter(|name| ProberKind::from_name(name).is_none()) {
            Some(name) => {
                let name = value.written().map_or(name, |written| &written.text);
                let message = format!("{} must be {PROBERS}, got {name:?}", ctx.path());
                ctx.breaks(value.position(), message.clone());
                self.unusable.get_or_insert_with(|| message.into());
                self.unknown_prober = Some(name.to_owned());
            }
            None => read_into(&mut self.prober, value, ctx),
        }
    }

    /// The module as it works for a request with the parameter `hostname`, which is never empty.
    ///
    /// `http` sends it as the header `Host`; for `tcp` it is the TLS name unless the module has one.
    /// Other probers do not look at it.
    pub fn with_hostname(&self, hostname: &str) -> Self {
        let mut module = self.clone();
        match self.prober {
            Some(ProberKind::Http) => module.http.to_mut().headers.insert("Host", hostname.to_owned()),
            Some(ProberKind::Tcp) if self.tcp.tls_config.server_name.is_empty() => {
                module.tcp.to_mut().tls_config.to_mut().server_name = hostname.to_owned();
            }
            _ => {}
        }
        module
    }

    /// A sentence about the module with placeholders for what they stand for.
    pub fn redacted(&self, mut sentence: String) -> String {
        if let Some(mask) = &self.mask {
            mask.redact(&mut sentence);
        }
        sentence
    }

    /// The module with defaults filled in and secrets masked.
    pub fn to_yaml(&self) -> String {
        let mut out = Emitter::new(MODULE_INDENT);
        self.emit(&mut out);
        out.finish()
    }
}

impl Decode for ProberKind {
    fn decode<'t>(node: Node<'t>, ctx: &mut Context<'t>) -> Option<Self> {
        let kind = node.text().and_then(Self::from_name);
        if kind.is_none() {
            ctx.expected(node, PROBERS);
        }
        kind
    }
}

impl Emit for ProberKind {
    fn is_empty(&self) -> bool {
        false
    }
    fn emit(&self, out: &mut Emitter) {
        out.plain(self);
    }
}

impl Emit for Module {
    fn is_empty(&self) -> bool {
        false
    }
    fn emit(&self, out: &mut Emitter) {
        out.masked(self.mask.as_ref(), |out| self.emit_masked(out));
    }
}

impl Module {
    fn emit_masked(&self, out: &mut Emitter) {
        out.block("{}", |out| {
            if self.is_null {
                return;
            }
            match &self.unknown_prober {
                Some(name) => out.field("prober", name),
                None => out.field("prober", &self.prober),
            }
            out.field("timeout", &self.timeout);
            out.field("http", &self.http);
            out.field("tcp", &self.tcp);
            out.field("icmp", &self.icmp);
            out.field("dns", &self.dns);
            if self.grpc.is_written() {
                out.field("grpc", &self.grpc);
            }
            out.field("unix", &self.unix);
            // The peer's last release does not know this section and shows none.
            if self.websocket.is_written() {
                out.field("websocket", &self.websocket);
            }
        });
    }
}

/// All modules as one mapping.
pub(super) struct All<'f>(pub &'f BTreeMap<String, Module>);

impl Emit for All<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn emit(&self, out: &mut Emitter) {
        out.block("{}", |out| {
            for (name, module) in self.0 {
                out.entry(name, module);
            }
        });
    }
}
