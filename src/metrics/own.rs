//! Metrics about this process, served on `/metrics`.
//!
//! Plain atomics, counted where things happen and written through the same encoder as probes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rlimit::Resource;

use super::Metric;
use super::durations::Durations;
use super::names as n;
use super::samples::{IntoValue as _, Labels};
use super::text::Writer;

/// Everything this process counts about itself.
#[derive(Debug, Default)]
pub struct Own {
    /// Probe requests that named a module which does not exist.
    pub unknown_modules: Counter,
    /// Outcome of the last load of the configuration.
    pub config: ConfigState,
    /// Probes that are running.
    pub probes_in_flight: Gauge,
    /// Lateness of timers.
    pub scheduling_delay: Delay,
    /// Scrapes of `/metrics`.
    pub scrapes: Scrapes,
    modules: RwLock<BTreeMap<String, Arc<ModuleCounters>>>,
}

impl Own {
    /// The counters of each of these modules. Names that were there before keep theirs; those that
    /// are gone stop being published.
    pub fn keep_modules<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> BTreeMap<&'a str, Arc<ModuleCounters>> {
        let mut modules = self.modules.write().unwrap_or_else(PoisonError::into_inner);
        let kept: BTreeMap<_, _> =
            names.map(|name| (name, modules.get(name).cloned().unwrap_or_default())).collect();
        *modules = kept.iter().map(|(name, counters)| ((*name).to_owned(), Arc::clone(counters))).collect();
        kept
    }

    /// Appends all families, sorted by name. The counters of sockets live elsewhere and are passed in.
    pub fn write(&self, w: &mut Writer<'_>, dials: &DialCounters, icmp: IcmpCounters) {
        let plain = |w: &mut Writer<'_>, metric: Metric, value: f64| {
            w.family(metric);
            w.sample(&Labels::None, value);
        };
        w.family(n::BLACKBOX_EXPORTER_BUILD_INFO);
        w.sample_with("", &BUILD_LABELS, 1.0);
        let loaded_at = f64::from_bits(self.config.success_at.load(Ordering::Relaxed));
        plain(w, n::BLACKBOX_EXPORTER_CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS, loaded_at);
        let loaded = self.config.is_success.load(Ordering::Relaxed).into_value();
        plain(w, n::BLACKBOX_EXPORTER_CONFIG_LAST_RELOAD_SUCCESSFUL, loaded);
        plain(w, n::BLACKBOX_MODULE_UNKNOWN_TOTAL, self.unknown_modules.value());
        let warnings = self.config.warnings.load(Ordering::Relaxed).into_value();
        plain(w, n::HEARTBEAT_EXPORTER_CONFIG_WARNINGS, warnings);
        plain(w, n::HEARTBEAT_EXPORTER_ICMP_DROPPED_TOTAL, icmp.dropped.into_value());
        plain(w, n::HEARTBEAT_EXPORTER_ICMP_UNMATCHED_TOTAL, icmp.unmatched.into_value());
        let files = OpenFiles::count();
        if let Some(files) = &files {
            plain(w, n::HEARTBEAT_EXPORTER_OPEN_SOCKETS, files.sockets);
        }
        self.write_modules(w);
        plain(w, n::HEARTBEAT_EXPORTER_SCHEDULING_DELAY_SECONDS, self.scheduling_delay.seconds());
        dials.write(w);
        write_process(w, files.as_ref());
        plain(w, n::PROMHTTP_METRIC_HANDLER_REQUESTS_IN_FLIGHT, self.scrapes.in_flight.value());
        w.family(n::PROMHTTP_METRIC_HANDLER_REQUESTS_TOTAL);
        // This process has no way to fail a scrape; the peer's dashboards divide by all three.
        for (code, value) in [("200", self.scrapes.answered.value()), ("500", 0.0), ("503", 0.0)] {
            w.sample(&Labels::One("code", code), value);
        }
    }

    fn write_modules(&self, w: &mut Writer<'_>) {
        let modules = self.modules.read().unwrap_or_else(PoisonError::into_inner);
        if !modules.is_empty() {
            w.family(n::HEARTBEAT_EXPORTER_PROBE_DURATION_SECONDS);
        }
        for (name, counters) in modules.iter() {
            counters.durations.write(w, &[("module", name)]);
        }
        w.family(n::HEARTBEAT_EXPORTER_PROBES_IN_FLIGHT);
        w.sample(&Labels::None, self.probes_in_flight.value());
        if !modules.is_empty() {
            w.family(n::HEARTBEAT_EXPORTER_PROBES_TOTAL);
        }
        for (name, counters) in modules.iter() {
            let results = [("failure", &counters.failure), ("success", &counters.success)];
            for (result, count) in results {
                w.sample_with("", &[("module", name), ("result", result)], count.value());
            }
        }
    }
}

/// A count of events since the start of the process.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were, as the value of a sample.
    pub fn value(&self) -> f64 {
        self.0.load(Ordering::Relaxed).into_value()
    }
}

/// How many of something there are now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more until the guard is dropped, however that happens.
    pub fn enter(&self) -> Inside<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Inside(self)
    }

    fn value(&self) -> f64 {
        self.0.load(Ordering::Relaxed).into_value()
    }
}

/// Keeps a [`Gauge`] one higher while it lives.
#[derive(Debug)]
#[must_use]
pub struct Inside<'a>(&'a Gauge);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Outcome of the last load of the configuration.
#[derive(Debug, Default)]
pub struct ConfigState {
    is_success: AtomicBool,
    /// Bits of an `f64`, unix time in seconds.
    success_at: AtomicU64,
    warnings: AtomicU64,
}

impl ConfigState {
    /// The configuration was loaded at `now`, or found unchanged; it has `warnings` warnings.
    pub fn succeeded(&self, now: SystemTime, warnings: usize) {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.success_at.store(now.as_secs_f64().to_bits(), Ordering::Relaxed);
        self.warnings.store(warnings as u64, Ordering::Relaxed);
        self.is_success.store(true, Ordering::Relaxed);
    }

    /// The configuration could not be loaded.
    pub fn failed(&self) {
        self.is_success.store(false, Ordering::Relaxed);
    }
}

/// Scrapes of `/metrics`.
#[derive(Debug, Default)]
pub struct Scrapes {
    /// Those being answered.
    pub in_flight: Gauge,
    /// Those answered with status 200; there is no other outcome.
    pub answered: Counter,
}

/// How late timers fire: the latest of the current window and the one before.
#[derive(Debug, Default)]
pub struct Delay {
    /// Nanoseconds.
    current: AtomicU64,
    /// Nanoseconds.
    last: AtomicU64,
}

impl Delay {
    /// A timer fired `late`.
    pub fn observe(&self, late: Duration) {
        let nanos = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        self.current.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Begins a new window.
    pub fn rotate(&self) {
        self.last.store(self.current.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn seconds(&self) -> f64 {
        let nanos = self.current.load(Ordering::Relaxed).max(self.last.load(Ordering::Relaxed));
        Duration::from_nanos(nanos).as_secs_f64()
    }
}

/// What is counted about the probes of one module.
#[derive(Debug)]
pub struct ModuleCounters {
    success: Counter,
    failure: Counter,
    durations: Durations,
}

impl Default for ModuleCounters {
    fn default() -> Self {
        Self { success: Counter::default(), failure: Counter::default(), durations: Durations::new(&BUCKETS) }
    }
}

impl ModuleCounters {
    /// A probe ended.
    pub fn observe(&self, is_success: bool, duration: Duration) {
        if is_success {
            self.success.add()
        } else {
            self.failure.add()
        }
        self.durations.observe(duration);
    }

    /// Probes that succeeded, and those that failed.
    pub fn totals(&self) -> [u64; 2] {
        [&self.success, &self.failure].map(|counter| counter.0.load(Ordering::Relaxed))
    }
}

/// Upper bounds of the duration histogram, with their labels in seconds (those Prometheus clients use).
const BUCKETS: [(Duration, &str); 11] = [
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1.0"),
    (Duration::from_millis(2500), "2.5"),
    (Duration::from_secs(5), "5.0"),
    (Duration::from_secs(10), "10.0"),
];

/// TCP connections of the `http` prober, counted where they are opened.
#[derive(Debug, Default)]
pub struct DialCounters {
    attempted: Counter,
    established: Counter,
    closed: Counter,
    failed: [Counter; DialFailure::ALL.len()],
}

/// Why a connection could not be opened; value of the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialFailure {
    /// Refused by the peer.
    Refused,
    /// The name has no address.
    Resolution,
    /// Not opened in time.
    Timeout,
    /// Anything else.
    Unknown,
}

impl DialFailure {
    /// In the order of the label values.
    const ALL: [(Self, &str); 4] = [
        (Self::Refused, "refused"),
        (Self::Resolution, "resolution"),
        (Self::Timeout, "timeout"),
        (Self::Unknown, "unknown"),
    ];
}

impl DialCounters {
    /// A connection is about to be opened.
    pub fn attempted(&self) {
        self.attempted.add();
    }

    /// It is open.
    pub fn established(&self) {
        self.established.add();
    }

    /// It was open and is closed.
    pub fn closed(&self) {
        self.closed.add();
    }

    /// It could not be opened.
    pub fn failed(&self, why: DialFailure) {
        self.failed[why as usize].add();
    }

    fn write(&self, w: &mut Writer<'_>) {
        let families = [
            (n::NET_CONNTRACK_DIALER_CONN_ATTEMPTED_TOTAL, &self.attempted),
            (n::NET_CONNTRACK_DIALER_CONN_CLOSED_TOTAL, &self.closed),
            (n::NET_CONNTRACK_DIALER_CONN_ESTABLISHED_TOTAL, &self.established),
        ];
        for (metric, counter) in families {
            w.family(metric);
            w.sample(&Labels::One("dialer_name", DIALER), counter.value());
        }
        w.family(n::NET_CONNTRACK_DIALER_CONN_FAILED_TOTAL);
        for (why, reason) in DialFailure::ALL {
            let count = self.failed[why as usize].value();
            w.sample_with("", &[("dialer_name", DIALER), ("reason", reason)], count);
        }
    }
}

/// Name the peer gives to the connections of its http prober.
const DIALER: &str = "http_probe";

/// What the ICMP engine counts, since the start of the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct IcmpCounters {
    /// Packets the kernel dropped because a receive buffer was full.
    pub dropped: u64,
    /// Packets that answer no running probe.
    pub unmatched: u64,
}

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit it was built from, if the build said so in `HEARTBEAT_EXPORTER_REVISION`.
pub const REVISION: &str = match option_env!("HEARTBEAT_EXPORTER_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
/// Branch it was built from, if the build said so in `HEARTBEAT_EXPORTER_BRANCH`.
pub const BRANCH: &str = match option_env!("HEARTBEAT_EXPORTER_BRANCH") {
    Some(branch) => branch,
    None => "unknown",
};
/// Compiler, such as `rust1.95.0`; `build.rs` asks it, or the build says so in `HEARTBEAT_EXPORTER_RUSTC`.
pub const COMPILER: &str = match option_env!("HEARTBEAT_EXPORTER_RUSTC") {
    Some(version) => version,
    None => "unknown",
};
/// Operating system, in Go's words, which happen to be Rust's.
pub const OS: &str = std::env::consts::OS;
/// Processor, in Go's words.
pub const ARCH: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    b"x86" => "386",
    _ => std::env::consts::ARCH,
};

/// `goversion` carries the Rust compiler: the label has to be there, and its value has always been free text.
const BUILD_LABELS: [(&str, &str); 7] = [
    ("branch", BRANCH),
    ("goarch", ARCH),
    ("goos", OS),
    ("goversion", COMPILER),
    ("revision", REVISION),
    ("tags", ""),
    ("version", VERSION),
];

/// The `process_*` families; each is left out where the system does not tell.
fn write_process(w: &mut Writer<'_>, files: Option<&OpenFiles>) {
    let stat = Stat::parse(&read_proc("/proc/self/stat"));
    let network = read_proc("/proc/self/net/netstat");
    let families = [
        (n::PROCESS_CPU_SECONDS_TOTAL, stat.as_ref().map(|stat| stat.cpu_seconds)),
        (n::PROCESS_MAX_FDS, soft_limit(Resource::NOFILE)),
        (n::PROCESS_NETWORK_RECEIVE_BYTES_TOTAL, ip_octets(&network, "InOctets")),
        (n::PROCESS_NETWORK_TRANSMIT_BYTES_TOTAL, ip_octets(&network, "OutOctets")),
        (n::PROCESS_OPEN_FDS, files.map(|files| files.all)),
        (n::PROCESS_RESIDENT_MEMORY_BYTES, stat.as_ref().map(|stat| stat.resident_bytes)),
        (n::PROCESS_START_TIME_SECONDS, stat.as_ref().and_then(Stat::start_time)),
        (n::PROCESS_VIRTUAL_MEMORY_BYTES, stat.as_ref().map(|stat| stat.virtual_bytes)),
        (n::PROCESS_VIRTUAL_MEMORY_MAX_BYTES, soft_limit(Resource::AS)),
    ];
    for (metric, value) in families {
        if let Some(value) = value {
            w.family(metric);
            w.sample(&Labels::None, value);
        }
    }
}

/// The text of a file of proc(5); empty if it cannot be read.
fn read_proc(path: &str) -> String {
    // Such files say that they are empty, so that nothing else would know how much to ask for at once.
    let mut text = String::with_capacity(PROC_BYTES);
    let read = fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    read.map_or_else(|_| String::new(), |_| text)
}

/// Longer than any of the files read.
const PROC_BYTES: usize = 16 << 10;

/// What proc(5) tells in `/proc/[pid]/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    /// Start of the process in ticks since the boot.
    start_ticks: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The second field is the command in parentheses and may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbers in proc(5) begin with 1, and the first two fields are cut off.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page_bytes(),
        })
    }

    /// As it was at the first look: the time of the boot moves with the clock, the start of a process does not.
    fn start_time(&self) -> Option<f64> {
        static START_TIME: OnceLock<Option<f64>> = OnceLock::new();
        *START_TIME.get_or_init(|| {
            let stat = read_proc("/proc/stat");
            let booted = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
            Some(booted.trim().parse::<f64>().ok()? + self.start_ticks / TICKS_PER_SECOND)
        })
    }
}

/// `USER_HZ`, the kernel's clock tick as user space sees it: 100 on every platform we build for.
const TICKS_PER_SECOND: f64 = 100.0;

#[expect(unsafe_code, reason = "std does not know the size of a page")]
fn page_bytes() -> f64 {
    // SAFETY: it takes a number and returns one, and touches nothing of ours.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    bytes.into_value()
}

/// The soft limit of a resource; -1 when unlimited.
fn soft_limit(resource: Resource) -> Option<f64> {
    let soft = resource.get_soft().ok()?;
    Some(if soft == rlimit::INFINITY { -1.0 } else { soft.into_value() })
}

/// A column of the `IpExt` rows of `/proc/self/net/netstat`: one row of names, one of values.
fn ip_octets(netstat: &str, column: &str) -> Option<f64> {
    let mut rows = netstat.lines().filter(|line| line.starts_with("IpExt:"));
    let at = rows.next()?.split_ascii_whitespace().position(|name| name == column)?;
    rows.next()?.split_ascii_whitespace().nth(at)?.parse().ok()
}

/// How many files this process has open.
struct OpenFiles {
    all: f64,
    /// Those of them that are sockets: of probes, of scrapers, those that listen.
    sockets: f64,
}

impl OpenFiles {
    /// `None` where the system does not tell.
    fn count() -> Option<Self> {
        let (mut all, mut sockets) = (0_u64, 0_u64);
        for file in fs::read_dir("/proc/self/fd").ok()?.flatten() {
            all += 1;
            let target = fs::read_link(file.path());
            sockets += u64::from(
                target.is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:")),
            );
        }
        // The one used for looking is not ours.
        Some(Self { all: all.saturating_sub(1).into_value(), sockets: sockets.into_value() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::text::{Escaping, Syntax};

    fn text(own: &Own) -> String {
        let mut out = Vec::new();
        let dials = DialCounters::default();
        dials.attempted();
        dials.failed(DialFailure::Refused);
        let mut writer = Writer::new(&mut out, Syntax::Prometheus, Escaping::Underscores);
        own.write(&mut writer, &dials, IcmpCounters { dropped: 2, unmatched: 3 });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_family_that_is_not_of_a_probe_is_there_in_the_order_of_the_names() {
        let own = Own::default();
        own.keep_modules(["m"].into_iter());
        let text = text(&own);
        let families: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        let all = n::TABLE.iter().map(|facts| facts.name);
        let is_of_heartbeats =
            |name: &str| name.starts_with("heartbeat_") && !name.starts_with("heartbeat_exporter_");
        let want: Vec<&str> =
            all.filter(|name| !name.starts_with("probe_") && !is_of_heartbeats(name)).collect();
        assert_eq!(families, want);
    }

    #[test]
    fn the_compiler_is_known() {
        let version = COMPILER.strip_prefix("rust").unwrap_or_default();
        assert!(version.starts_with("1.") && version.split('.').count() == 3, "{COMPILER}");
    }

    #[test]
    fn counts_of_a_module_survive_while_its_name_stays() {
        let own = Own::default();
        let first = own.keep_modules(["a", "b"].into_iter());
        first["a"].observe(true, Duration::from_millis(5));
        first["a"].observe(false, Duration::from_secs(11));
        first["b"].observe(true, Duration::ZERO);
        own.keep_modules(["a", "c"].into_iter());
        let text = text(&own);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("module=\"")).collect();
        let mut want = Vec::new();
        for (module, first, all, sum) in [("a", 1, 2, "11.005"), ("c", 0, 0, "0")] {
            let bounds =
                ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0"];
            for bound in bounds {
                want.push(format!(
                    "heartbeat_exporter_probe_duration_seconds_bucket{{module=\"{module}\",le=\"{bound}\"}} {first}"
                ));
            }
            want.push(format!(
                "heartbeat_exporter_probe_duration_seconds_bucket{{module=\"{module}\",le=\"+Inf\"}} {all}"
            ));
            want.push(format!("heartbeat_exporter_probe_duration_seconds_sum{{module=\"{module}\"}} {sum}"));
            want.push(format!(
                "heartbeat_exporter_probe_duration_seconds_count{{module=\"{module}\"}} {all}"
            ));
        }
        for (module, count) in [("a", 1), ("c", 0)] {
            for result in ["failure", "success"] {
                want.push(format!(
                    "heartbeat_exporter_probes_total{{module=\"{module}\",result=\"{result}\"}} {count}"
                ));
            }
        }
        assert_eq!(lines, want);
    }

    #[test]
    fn plain_values() {
        let own = Own::default();
        own.unknown_modules.add();
        own.config.succeeded(SystemTime::UNIX_EPOCH + Duration::from_millis(1500), 4);
        own.scheduling_delay.observe(Duration::from_millis(20));
        own.scheduling_delay.rotate();
        own.scheduling_delay.observe(Duration::from_millis(10));
        let scrape = own.scrapes.in_flight.enter();
        let probe = own.probes_in_flight.enter();
        drop(probe);
        let text = text(&own);
        drop(scrape);
        for want in [
            "blackbox_exporter_config_last_reload_success_timestamp_seconds 1.5",
            "blackbox_exporter_config_last_reload_successful 1",
            "blackbox_module_unknown_total 1",
            "heartbeat_exporter_config_warnings 4",
            "heartbeat_exporter_icmp_dropped_total 2",
            "heartbeat_exporter_icmp_unmatched_total 3",
            "heartbeat_exporter_probes_in_flight 0",
            "heartbeat_exporter_scheduling_delay_seconds 0.02",
            "net_conntrack_dialer_conn_attempted_total{dialer_name=\"http_probe\"} 1",
            "net_conntrack_dialer_conn_failed_total{dialer_name=\"http_probe\",reason=\"refused\"} 1",
            "net_conntrack_dialer_conn_failed_total{dialer_name=\"http_probe\",reason=\"unknown\"} 0",
            "promhttp_metric_handler_requests_in_flight 1",
            "promhttp_metric_handler_requests_total{code=\"503\"} 0",
        ] {
            assert!(text.lines().any(|line| line == want), "{want}");
        }
        own.config.failed();
        own.scheduling_delay.rotate();
        own.scheduling_delay.rotate();
        let text = self::text(&own);
        assert!(text.contains("\nblackbox_exporter_config_last_reload_successful 0\n"));
        assert!(text.contains("_success_timestamp_seconds 1.5\n"));
        assert!(text.contains("\nheartbeat_exporter_scheduling_delay_seconds 0\n"));
    }

    #[test]
    fn files_of_the_proc_filesystem() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 250 0 0 0 150 50 0 0 20 0 3 0 7200 999 888 1";
        let want = Stat {
            cpu_seconds: 2.0,
            start_ticks: 7200.0,
            virtual_bytes: 999.0,
            resident_bytes: 888.0 * page_bytes(),
        };
        assert_eq!(Stat::parse(stat), Some(want));
        assert_eq!(Stat::parse("12 (a) S 1"), None);
        // Against what another file of the kernel says, in its own unit.
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let soft = line.split_ascii_whitespace().next().unwrap().parse().ok().unwrap_or(-1.0);
        assert_eq!(soft_limit(Resource::NOFILE), Some(soft));
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident = line.trim().strip_suffix(" kB").unwrap().parse::<f64>().unwrap() * 1024.0;
        let ours = Stat::parse(&read_proc("/proc/self/stat")).unwrap().resident_bytes;
        assert!((0.5..2.0).contains(&(ours / resident)), "{ours} and {resident}");
        let netstat = "TcpExt: A\nTcpExt: 1\nIpExt: InPkts InOctets OutOctets\nIpExt: 5 600 700\n";
        assert_eq!(ip_octets(netstat, "OutOctets"), Some(700.0));
        assert_eq!(ip_octets("", "OutOctets"), None);
    }
}
