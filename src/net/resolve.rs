//! A name to one address: which family, which address, how long it took.
//!
//! Rules of the peer: the preferred family's first address; with fallback the first of the other
//! family; address literals take the same path without a lookup. Nothing is cached, so a probe sees
//! what a client would see now. Lookups go to the hosts file first and then to the servers of
//! resolv.conf (search list and ndots included); both files are read again when they change.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record, RecordType};

use crate::logging::Level;
use crate::metrics::names;
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

/// Which addresses a module wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preference {
    /// The family that is asked for first.
    pub family: Family,
    /// Whether an address of the other family will do.
    pub fallback: bool,
}

impl Preference {
    /// From `preferred_ip_protocol` and `ip_protocol_fallback`.
    ///
    /// Empty and `ip6` mean IPv6 and **anything else** IPv4, as in the peer.
    pub fn new(protocol: &str, fallback: bool) -> Self {
        let family = if matches!(protocol, "" | "ip6") { Family::V6 } else { Family::V4 };
        Self { family, fallback }
    }
}

/// Version of the IP protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn of(address: &Address) -> Self {
        if address.ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// An address and, for link-local IPv6, the interface it is valid on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address; an IPv4-mapped IPv6 address is given as IPv4.
    pub ip: IpAddr,
    /// Interface index, 0 for none.
    pub scope_id: u32,
}

impl Address {
    /// With a port, ready to connect to.
    pub fn with_port(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => (ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.scope_id).into(),
        }
    }

    /// An IPv4 or IPv6 literal, the latter with an optional zone (`fe80::1%eth0`).
    pub fn parse(text: &str) -> Option<Self> {
        let (literal, zone) = text.split_once('%').map_or((text, None), |(ip, zone)| (ip, Some(zone)));
        let ip: IpAddr = literal.parse().ok()?;
        let scope_id = match (ip, zone) {
            (_, None) => 0,
            (IpAddr::V4(_), Some(_)) => return None,
            (IpAddr::V6(_), Some(zone)) => zone.parse().ok().or_else(|| interface_index(zone))?,
        };
        Some(Self { ip: ip.to_canonical(), scope_id })
    }
}

fn interface_index(name: &str) -> Option<u32> {
    // The kernel lists its interfaces here; reading one file needs no unsafe call.
    if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
        return None;
    }
    fs::read_to_string(Path::new("/sys/class/net").join(name).join("ifindex")).ok()?.trim().parse().ok()
}

/// Chooses the address of `host` and reports the choice: `probe_ip_protocol`, `probe_ip_addr_hash`
/// and `probe_dns_lookup_time_seconds`, the last on failure too.
///
/// Runs in phase `resolve`, which it begins and ends.
///
/// # Errors
/// No such name, no address of a wanted family, no answer from a resolver, or the deadline.
pub async fn select(
    run: &Run<'_>,
    report: &mut Report,
    host: &str,
    preference: Preference,
) -> Result<Address, ProbeError> {
    report.samples.set(names::PROBE_IP_PROTOCOL, 0.0);
    report.samples.set(names::PROBE_IP_ADDR_HASH, 0.0);
    report.samples.set(names::PROBE_DNS_LOOKUP_TIME_SECONDS, 0.0);
    report.begin(Phase::Resolve);
    report.log(Level::Debug, "Resolving target address", || vec![("host", host.to_owned())]);

    let found = match Address::parse(host) {
        Some(literal) => Ok(choose_literal(literal, preference)),
        None => match run.within(run.net.resolver.lookup(host, preference)).await {
            Ok(found) => found,
            Err(_) => Err(ProbeError::deadline(Phase::Resolve)),
        },
    };
    let took = report.end();
    report.samples.set(names::PROBE_DNS_LOOKUP_TIME_SECONDS, took.max(SHORTEST_LOOKUP));
    let address = found?.ok_or_else(|| {
        let wanted = if preference.family == Family::V4 { "IPv4" } else { "IPv6" };
        ProbeError::new(
            Phase::Resolve,
            Reason::AddressFamily,
            format!("{host} has no {wanted} address and ip_protocol_fallback is false"),
        )
    })?;
    report.samples.set(names::PROBE_IP_PROTOCOL, if address.ip.is_ipv4() { 4.0 } else { 6.0 });
    report.samples.set(names::PROBE_IP_ADDR_HASH, address_hash(address.ip));
    report.log(Level::Debug, "Resolved target address", || {
        vec![("host", host.to_owned()), ("ip", address.ip.to_string())]
    });
    Ok(address)
}

/// The peer never reports exactly zero for a finished lookup, not even for a literal.
const SHORTEST_LOOKUP: Duration = Duration::from_nanos(1);

fn choose_literal(literal: Address, preference: Preference) -> Option<Address> {
    (preference.fallback || Family::of(&literal) == preference.family).then_some(literal)
}

/// FNV-1a of 32 bits over the address in network order, 4 or 16 bytes.
fn address_hash(ip: IpAddr) -> u32 {
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0x811c_9dc5_u32, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193))
    };
    match ip {
        IpAddr::V4(ip) => fnv(&ip.octets()),
        IpAddr::V6(ip) => fnv(&ip.octets()),
    }
}

/// Looks names up in the hosts file and with the servers of resolv.conf; one for the process.
#[derive(Debug, Default)]
pub struct Resolver {
    state: Mutex<Option<State>>,
}

#[derive(Debug, Clone)]
struct State {
    checked: Instant,
    stamps: [Stamp; 2],
    hosts: Arc<Hosts>,
    dns: Arc<TokioResolver>,
}

type Stamp = Option<(SystemTime, u64)>;

impl Resolver {
    /// The address of `host` that `preference` asks for; `None` when only the other family exists.
    async fn lookup(&self, host: &str, preference: Preference) -> Result<Option<Address>, ProbeError> {
        let state = self.state_for(host)?;
        let known = state.hosts.addresses(host);
        if !known.is_empty() {
            return Ok(pick(known, preference));
        }
        let other = preference.fallback;
        let (first, second) = (record_type(preference.family), record_type(preference.family.other()));
        let second = async { if other { Some(query(&state.dns, host, second).await) } else { None } };
        // Both families at once, as a client would ask; only the preferred one is worth waiting for
        // when it has an address.
        let first = query(&state.dns, host, first);
        tokio::pin!(first, second);
        let mut later = None;
        let first = tokio::select! {
            biased;
            answer = &mut first => answer,
            answer = &mut second => {
                later = Some(answer);
                first.await
            }
        };
        if let Ok(Some(address)) = first {
            return Ok(Some(address));
        }
        let second = match later {
            Some(answer) => answer,
            None => second.await,
        };
        match (first, second) {
            (_, Some(Ok(Some(address)))) => Ok(Some(address)),
            (Err(error), _) | (Ok(_), Some(Err(error))) => Err(no_answer(host, error)),
            (Ok(_), Some(Ok(_))) => Err(not_found(host, "no such host")),
            (Ok(_), None) => Err(not_found(host, "no address of the wanted family")),
        }
    }

    /// All addresses of `host`, those of the preferred family first; for hops whose address is not
    /// reported. Both families are asked at once, and one that is not answered is left out.
    ///
    /// # Errors
    /// No such name, or no answer from a resolver.
    pub async fn lookup_all(&self, host: &str, preference: Preference) -> Result<Vec<Address>, ProbeError> {
        if let Some(literal) = Address::parse(host) {
            return Ok(vec![literal]);
        }
        let state = self.state_for(host)?;
        let known = state.hosts.addresses(host);
        let (mut found, other) = if known.is_empty() {
            let ask = |family| query_all(&state.dns, host, record_type(family));
            let (first, second) = tokio::join!(ask(preference.family), ask(preference.family.other()));
            match (first, second) {
                (Err(error), Ok(none)) | (Ok(none), Err(error)) if none.is_empty() => {
                    return Err(no_answer(host, error));
                }
                (Err(error), Err(_)) => return Err(no_answer(host, error)),
                (first, second) => (first.unwrap_or_default(), second.unwrap_or_default()),
            }
        } else {
            known.iter().partition(|address| Family::of(address) == preference.family)
        };
        found.extend(other);
        if found.is_empty() { Err(not_found(host, "no such host")) } else { Ok(found) }
    }

    /// What to look `host` up with.
    fn state_for(&self, host: &str) -> Result<State, ProbeError> {
        if host.is_empty() {
            return Err(not_found(host, "the name is empty"));
        }
        // Left over from an address with a port; no resolver needs to be asked.
        if host.contains(['[', ']']) {
            return Err(not_found(host, "brackets belong to an address with a port"));
        }
        self.current().map_err(|error| {
            ProbeError::new(Phase::Resolve, Reason::Resolver, "the resolver cannot be set up")
                .caused_by(error)
        })
    }

    fn current(&self) -> io::Result<State> {
        let mut slot = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(state) = slot.as_mut() {
            if now.duration_since(state.checked) < RECHECK {
                return Ok(state.clone());
            }
            let stamps = [stamp(HOSTS), stamp(RESOLV_CONF)];
            if stamps == state.stamps {
                state.checked = now;
                return Ok(state.clone());
            }
        }
        let fresh = State {
            checked: now,
            stamps: [stamp(HOSTS), stamp(RESOLV_CONF)],
            hosts: Arc::new(Hosts::read(Path::new(HOSTS))),
            dns: Arc::new(system_resolver()?),
        };
        *slot = Some(fresh.clone());
        Ok(fresh)
    }
}

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How often the two files are looked at, as Go's resolver does.
const RECHECK: Duration = Duration::from_secs(5);

fn stamp(path: &str) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn system_resolver() -> io::Result<TokioResolver> {
    let provider = TokioRuntimeProvider::default();
    // Without a readable resolv.conf Go asks a server on this host; so do we.
    let mut builder = TokioResolver::builder(provider.clone()).unwrap_or_else(|_| {
        let local = hickory_resolver::config::NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        TokioResolver::builder_with_config(ResolverConfig::from_name_servers(vec![local]), provider)
    });
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // One server at a time: racing them would make the lookup time of a probe depend on luck.
    options.num_concurrent_reqs = 1;
    builder.build().map_err(io::Error::other)
}

fn record_type(family: Family) -> RecordType {
    match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    }
}

/// `Ok(None)`: the name exists without such a record, or does not exist.
async fn query(dns: &TokioResolver, host: &str, kind: RecordType) -> Result<Option<Address>, io::Error> {
    Ok(answer(dns, host, kind).await?.and_then(|answer| answer.answers().iter().find_map(address)))
}

async fn query_all(dns: &TokioResolver, host: &str, kind: RecordType) -> Result<Vec<Address>, io::Error> {
    let answer = answer(dns, host, kind).await?;
    Ok(answer.map(|answer| answer.answers().iter().filter_map(address).collect()).unwrap_or_default())
}

async fn answer(dns: &TokioResolver, host: &str, kind: RecordType) -> Result<Option<Lookup>, io::Error> {
    match dns.lookup(host, kind).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_no_records_found() || error.is_nx_domain() => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn address(record: &Record) -> Option<Address> {
    match &record.data {
        RData::A(ip) => Some(Address { ip: IpAddr::V4(ip.0), scope_id: 0 }),
        RData::AAAA(ip) => Some(Address { ip: IpAddr::V6(ip.0).to_canonical(), scope_id: 0 }),
        _ => None,
    }
}

fn pick(addresses: &[Address], preference: Preference) -> Option<Address> {
    let preferred = addresses.iter().find(|address| Family::of(address) == preference.family);
    preferred.or_else(|| addresses.first().filter(|_| preference.fallback)).copied()
}

fn no_answer(host: &str, error: io::Error) -> ProbeError {
    let sentence = format!("no resolver answered for {host:?}");
    ProbeError::new(Phase::Resolve, Reason::Resolver, sentence).caused_by(error)
}

fn not_found(host: &str, why: &str) -> ProbeError {
    ProbeError::new(Phase::Resolve, Reason::NotFound, format!("cannot resolve {host:?}: {why}"))
}

/// The hosts file: lower-case names without trailing dot to addresses in file order.
#[derive(Debug, Default)]
struct Hosts(HashMap<String, Vec<Address>>);

impl Hosts {
    fn read(path: &Path) -> Self {
        fs::read(path).map(|bytes| Self::parse(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let mut hosts: HashMap<String, Vec<Address>> = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(address) = words.next().and_then(Address::parse) else { continue };
            for name in words {
                hosts.entry(key(name)).or_default().push(address);
            }
        }
        Self(hosts)
    }

    fn addresses(&self, host: &str) -> &[Address] {
        self.0.get(&key(host)).map_or(&[], Vec::as_slice)
    }
}

fn key(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_hash_is_fnv_1a_over_the_raw_bytes() {
        let cases = [("127.0.0.1", 3_668_918_509), ("::1", 1_751_717_746), ("192.0.2.77", 2_842_422_640)];
        for (ip, want) in cases {
            assert_eq!(address_hash(ip.parse().unwrap()), want, "{ip}");
        }
    }

    #[test]
    fn the_hosts_file_decides_by_family_and_order() {
        let hosts = Hosts::parse(
            "127.0.0.1 localhost # here\n10.0.0.1 A.test a\n10.0.0.2\ta.test\nfd00::9 a.test\nnonsense b\n\n::1 localhost\n",
        );
        let cases = [
            ("a.test", "", true, Some("fd00::9")),
            ("A.TEST.", "ip4", true, Some("10.0.0.1")),
            ("a", "ip6", true, Some("10.0.0.1")),
            ("a", "ip6", false, None),
            ("a", "ip5", false, Some("10.0.0.1")),
            ("b", "ip4", true, None),
        ];
        for (name, protocol, fallback, want) in cases {
            let got =
                pick(hosts.addresses(name), Preference::new(protocol, fallback)).map(|a| a.ip.to_string());
            assert_eq!(got.as_deref(), want, "{name} {protocol} {fallback}");
        }
    }

    #[test]
    fn literals_follow_the_same_rules() {
        let cases = [
            ("127.0.0.1", "ip6", true, Some("127.0.0.1")),
            ("127.0.0.1", "ip6", false, None),
            ("::1", "ip4", true, Some("::1")),
            ("::ffff:127.0.0.1", "ip4", false, Some("127.0.0.1")),
            ("::1%7", "", false, Some("::1")),
        ];
        for (text, protocol, fallback, want) in cases {
            let literal = Address::parse(text).unwrap();
            let got = choose_literal(literal, Preference::new(protocol, fallback)).map(|a| a.ip.to_string());
            assert_eq!(got.as_deref(), want, "{text} {protocol} {fallback}");
        }
        for name in ["127.1", "0x7f000001", "[::1]", "1.2.3.4%eth0", ""] {
            assert_eq!(Address::parse(name), None, "{name}");
        }
    }

    #[tokio::test]
    async fn no_resolver_is_asked_for_what_is_no_name() {
        for host in ["", "[::1]", "[::1", "a]"] {
            let error = Resolver::default().lookup(host, Preference::new("ip6", true)).await.unwrap_err();
            assert_eq!(error.reason, Reason::NotFound, "{host}");
            assert!(error.to_string().starts_with(&format!("cannot resolve {host:?}: ")), "{error}");
        }
    }
}
