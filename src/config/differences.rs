//! What the modules of a file do other than in the Prometheus blackbox exporter, on purpose.
//!
//! Told by `--config.check`, for those who are about to change from one to the other. Only modules
//! that a difference touches are named; what depends on the target or the answer alone is in
//! CONFIGURATION.md. Modules that cannot work are warned about when the file is loaded.

use std::net::{IpAddr, SocketAddr};

use super::decode::Context;
use super::header::same_header;
use super::module::{Module, ProberKind};
use super::placeholder::Values;
use super::problem::{Position, Problem};
use super::sections::dialogue::DialogueStep;
use super::sections::http::{Codec, Http};
use super::sections::tls::TlsConfig;
use super::yaml::parse::parse;
use super::yaml::tree::{Node, NodeKind};

/// Differences of the modules in `text`, in file order; empty if it does not load.
pub fn differences(text: &str) -> Vec<Problem> {
    let Ok((mut tree, _)) = parse(text) else { return Vec::new() };
    Values::default().fill(&mut tree);
    let mut ctx = Context::default();
    let modules = tree.root().and_then(|root| root.mapping(&mut ctx.errors)?.get("modules"));
    let Some(modules) = modules.and_then(|node| node.mapping(&mut ctx.errors)) else { return Vec::new() };
    let mut found = Vec::new();
    let mut fallback = Vec::new();
    for (key, node) in modules.pairs() {
        let (Some(name), Some(module)) = (key.text(), Module::read(key.position(), node, &mut ctx)) else {
            continue;
        };
        if module.unusable.is_some() {
            continue;
        }
        let mut finder = Finder { name, start: key.position(), node, found: &mut found };
        finder.module(&module);
        if falls_back(&module) {
            fallback.push((key.position(), name));
        }
    }
    found.extend(first_of_family(&fallback));
    found.sort_by_key(|problem| problem.position);
    found
}

/// One line for all modules: nearly every one falls back, and it matters only to few targets.
fn first_of_family(modules: &[(Position, &str)]) -> Option<Problem> {
    let (position, _) = *modules.first()?;
    let mut names: Vec<&str> = modules.iter().take(MAX_NAMES).map(|(_, name)| *name).collect();
    let more = modules.len() - names.len();
    let more_names = format!("{more} more");
    if more > 0 {
        names.push(&more_names);
    }
    let message = format!(
        "modules {}: fall back to the first address of the other family (blackbox_exporter takes the last)",
        names.join(", ")
    );
    Some(Problem { position, message })
}

/// Modules named in one line.
const MAX_NAMES: usize = 10;

fn falls_back(module: &Module) -> bool {
    match module.prober {
        Some(ProberKind::Http) => {
            let resolves =
                !module.http.skip_resolve_phase_with_proxy || !module.http.client.proxy.is_configured();
            module.http.ip_protocol_fallback && resolves
        }
        Some(ProberKind::Tcp) => module.tcp.ip_protocol_fallback,
        Some(ProberKind::Icmp) => module.icmp.ip_protocol_fallback,
        Some(ProberKind::Dns) => module.dns.ip_protocol_fallback,
        // Without a section blackbox_exporter does not fall back at all, which is told elsewhere.
        Some(ProberKind::Grpc) => module.grpc.ip_protocol_fallback && module.grpc.is_written(),
        Some(ProberKind::Websocket) => module.websocket.ip_protocol_fallback,
        Some(ProberKind::Unix) | None => false,
    }
}

/// Looks at one module.
struct Finder<'t, 'f> {
    name: &'t str,
    start: Position,
    node: Node<'t>,
    found: &'f mut Vec<Problem>,
}

impl<'t> Finder<'t, '_> {
    /// `path` leads to the key that has to do with it, as far as the keys are written.
    fn say(&mut self, path: &[&str], what: &str) {
        let node = self.node_at(path).filter(|_| !path.is_empty());
        let position = node.map_or(self.start, Node::position);
        self.say_at(position, what);
    }

    fn say_at(&mut self, position: Position, what: &str) {
        self.found.push(Problem { position, message: format!("module {}: {what}", self.name) });
    }

    fn node_at(&self, path: &[&str]) -> Option<Node<'t>> {
        path.iter().try_fold(self.node, |node, key| {
            node.mapping(&mut Vec::new())?.get(key).filter(|value| !value.is_null())
        })
    }

    /// The first of these keys of `section` that is written.
    fn first<'k>(&self, section: &str, keys: &[&'k str]) -> Option<&'k str> {
        keys.iter().find(|key| self.node_at(&[section, key]).is_some()).copied()
    }

    fn module(&mut self, module: &Module) {
        let timeout = self.node_at(&["timeout"]).and_then(Node::text).unwrap_or_default();
        if timeout.contains(['d', 'w', 'y']) {
            self.say(&["timeout"], "has a timeout in days, weeks or years (blackbox_exporter refuses it)");
        }
        self.placeholders(self.node);
        match module.prober {
            Some(ProberKind::Http) => self.http(&module.http),
            Some(ProberKind::Tcp) => {
                let steps = &module.tcp.query_response;
                self.dialogue("tcp", steps);
                self.expiry("tcp", &module.tcp.tls_config, module.tcp.tls || has_starttls(steps));
            }
            Some(ProberKind::Unix) => {
                let steps = &module.unix.query_response;
                self.dialogue("unix", steps);
                self.expiry("unix", &module.unix.tls_config, module.unix.tls || has_starttls(steps));
            }
            Some(ProberKind::Dns) => self.dns(module),
            Some(ProberKind::Grpc) => self.grpc(module),
            Some(ProberKind::Websocket) => self.websocket(module),
            Some(ProberKind::Icmp) | None => {}
        }
    }

    /// The tree bounds its depth, so recursion is bounded.
    fn placeholders(&mut self, node: Node<'t>) {
        if let Some(written) = node.written() {
            let names: Vec<&str> = written.placeholders().collect();
            let names = if names.is_empty() { "$${".to_owned() } else { names.join(" and ") };
            self.say_at(node.position(), &format!("replaces {names} (blackbox_exporter does not)"));
        }
        let items = node.items().into_iter().flatten();
        let mapping = node.mapping(&mut Vec::new());
        let values = mapping.iter().flat_map(|mapping| mapping.pairs()).map(|(_, value)| value);
        for child in items.chain(values) {
            self.placeholders(child);
        }
    }

    fn http(&mut self, http: &Http) {
        let client = &http.client;
        let has_regex =
            !http.fail_if_body_matches_regexp.is_empty() || !http.fail_if_body_not_matches_regexp.is_empty();
        let cel = ["fail_if_body_json_matches_cel", "fail_if_body_json_not_matches_cel"];
        let cel = self.first("http", &cel);
        if let Some(cel) = cel.filter(|_| has_regex) {
            self.say(
                &["http", cel],
                "its CEL check sees the body after the regular expressions (in blackbox_exporter it sees nothing and fails)",
            );
        }
        if !client.follow_redirects && (has_regex || cel.is_some() || http.codec() != Some(Codec::Identity)) {
            let key = self.first("http", &["no_follow_redirects", "follow_redirects"]).unwrap_or_default();
            self.say(
                &["http", key],
                "reads and checks the body of a redirect (in blackbox_exporter such checks fail)",
            );
        }
        let credentials = ["basic_auth", "authorization", "bearer_token", "bearer_token_file", "oauth2"];
        let sensitive = |name: &str| ["Authorization", "Cookie"].iter().any(|other| same_header(name, other));
        let credentials = self
            .first("http", &credentials)
            .or_else(|| http.headers.iter().any(|(name, _)| sensitive(name)).then_some("headers"));
        if let Some(key) = credentials.filter(|_| client.follow_redirects && !http.enable_http3) {
            self.say(
                &["http", key],
                "keeps its credentials when it is redirected to a URL of the same host or a subdomain \
                 (blackbox_exporter drops them)",
            );
        }
        let headers = http.headers();
        let host = headers.iter().find(|(name, _)| name == "Host");
        if host.is_some_and(|(_, value)| has_port(value)) {
            self.say(
                &["http", "headers", "Host"],
                "takes the port off the header Host for TLS (blackbox_exporter does not, and the name does not match)",
            );
        }
        if headers.len() < http.headers.iter().count() {
            self.say(
                &["http", "headers"],
                "always sends the same one of two headers with one name (blackbox_exporter picks one at random)",
            );
        }
        if has_name(&client.proxy.no_proxy) && !http.skip_resolve_phase_with_proxy {
            self.say(
                &["http", "no_proxy"],
                "compares host names with no_proxy (blackbox_exporter compares only the address)",
            );
        }
        if http.enable_http3 {
            self.http3(http);
        }
        self.expiry("http", &client.tls_config, true);
    }

    fn http3(&mut self, http: &Http) {
        let at = ["http", "enable_http3"];
        self.say(&at, "uses https for a target without a scheme (blackbox_exporter uses http, which fails)");
        self.say(&at, "connects to the address its metrics tell (blackbox_exporter looks the name up again)");
        let client = &http.client;
        let has_credentials =
            client.basic_auth.is_some() || client.authorization.is_some() || client.oauth2.is_some();
        if has_credentials || client.http_headers.is_some() {
            self.say(
                &at,
                "sends credentials and http_headers over HTTP/3 (blackbox_exporter leaves them out)",
            );
        }
    }

    /// `insecure_skip_verify`, if TLS is `used` at all.
    fn expiry(&mut self, section: &str, config: &TlsConfig, used: bool) {
        if used && config.insecure_skip_verify {
            self.say(
                &[section, "tls_config", "insecure_skip_verify"],
                "probe_ssl_last_chain_expiry_timestamp_seconds is true or absent (-62135596800 in blackbox_exporter)",
            );
        }
    }

    fn dialogue(&mut self, section: &str, steps: &[DialogueStep]) {
        // Null items are not among the steps.
        let nodes: Vec<Node<'t>> = self
            .node_at(&[section, "query_response"])
            .and_then(Node::items)
            .map(|items| items.filter(|item| !item.is_null()).collect())
            .unwrap_or_default();
        let mut labelled = false;
        for (step, node) in steps.iter().zip(nodes) {
            let at =
                |key| node.mapping(&mut Vec::new()).map_or(node.position(), |keys| keys.position_of(key));
            if !step.expect_bytes.is_empty() {
                self.say_at(
                    at("expect_bytes"),
                    "waits until all expected bytes are there, and sees those that came with a line before \
                     (blackbox_exporter takes what comes at once)",
                );
            }
            if step.expect.is_some() && step.labels.is_some() {
                if labelled {
                    self.say_at(
                        at("labels"),
                        "may have labels in more than one step (blackbox_exporter ends without an answer)",
                    );
                }
                labelled = true;
            }
            if step.starttls {
                self.say_at(
                    at("starttls"),
                    "fails if plaintext follows the answer to STARTTLS (blackbox_exporter drops it)",
                );
            }
        }
    }

    fn dns(&mut self, module: &Module) {
        let dns = &module.dns;
        if dns.valid_rcodes.is_empty() && self.node_at(&["dns", "valid_rcodes"]).is_some() {
            self.say(
                &["dns", "valid_rcodes"],
                "takes an empty list for [NOERROR] (blackbox_exporter accepts no answer then)",
            );
        }
        if dns.transport_protocol == "tcp" && dns.source_ip().is_some() {
            self.say(
                &["dns", "source_ip_address"],
                "honours its timeout while it connects (blackbox_exporter does not)",
            );
        }
    }

    fn grpc(&mut self, module: &Module) {
        let at = ["grpc"];
        self.say(&at, "honours its timeout (blackbox_exporter does not)");
        self.say(&at, "connects to the address its metrics tell (blackbox_exporter looks the name up again)");
        if module.grpc.tls {
            self.say(
                &["grpc", "tls"],
                "tells about TLS once the handshake is done (blackbox_exporter only when the call succeeds)",
            );
        }
        if !module.grpc.is_written() {
            self.say(
                &[],
                "uses the other address family if need be (blackbox_exporter does only with a section grpc)",
            );
        }
    }

    fn websocket(&mut self, module: &Module) {
        if !module.websocket.query_response.is_empty() {
            self.say(
                &["websocket", "query_response"],
                "honours its timeout after the upgrade (blackbox_exporter waits for ever)",
            );
        }
        let headers = self.node_at(&["websocket", "headers"]).and_then(|node| node.mapping(&mut Vec::new()));
        for (name, value) in headers.iter().flat_map(|headers| headers.pairs()) {
            if matches!(value.kind(), NodeKind::Scalar(_)) && !value.is_null() {
                let shown = super::decode::quote(name.text().unwrap_or_default());
                self.say_at(
                    value.position(),
                    &format!("has a text for the header {shown} (blackbox_exporter wants lists and refuses the file)"),
                );
            }
        }
    }
}

fn has_starttls(steps: &[DialogueStep]) -> bool {
    steps.iter().any(|step| step.starttls)
}

/// Whether a `no_proxy` list has a host name, with or without a port.
fn has_name(no_proxy: &str) -> bool {
    let is_name = |entry: &str| {
        let host = entry.split_once('/').map_or(entry, |(network, _)| network);
        let is_address = host.parse::<IpAddr>().is_ok() || host.parse::<SocketAddr>().is_ok();
        !is_address && entry.contains(|c: char| c.is_ascii_alphabetic())
    };
    no_proxy.split(',').map(str::trim).any(is_name)
}

/// Whether a `Host` ends in a port.
fn has_port(host: &str) -> bool {
    let after_brackets = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    after_brackets.contains(':')
}
