//! Command line flags, with the peer's names, defaults and rules.
//!
//! Every boolean has a `--no-` twin, nothing may be given twice but the listen address, and
//! `@file` stands for the arguments in that file, one in each line.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::logging::{Format, Level};
use crate::metrics::own;

/// What the flags ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Flags {
    /// Configuration file; `None` when the flag was not given.
    pub config_file: Option<PathBuf>,
    /// Load the configuration, then exit.
    pub config_check: bool,
    /// Warnings about the configuration are errors.
    pub config_strict: bool,
    /// How often the file is looked at for changes; `None`: never.
    pub auto_reload: Option<Duration>,
    /// How often to look for changes of the files that placeholders name; `None` never does.
    pub refresh: Option<Duration>,
    /// Seconds kept of the scrape timeout.
    pub timeout_offset: f64,
    /// Probes, and again older failures, that are remembered.
    pub history_limit: usize,
    /// Threshold of the application log.
    pub log_level: Level,
    /// Format of all logs.
    pub log_format: Format,
    /// Threshold of the log lines of probes.
    pub log_prober: Level,
    /// The value of `--log.prober`, if it is not a level.
    pub bad_log_prober: Option<String>,
    /// Which outcomes of probes are worth a line.
    pub probe_outcomes: ProbeOutcomes,
    /// Where to listen: `host:port`, at least one.
    pub listen: Vec<String>,
    /// Listen on the sockets systemd passes instead.
    pub systemd_socket: bool,
    /// TLS and authentication of the server.
    pub web_config_file: Option<PathBuf>,
    /// Where others reach this exporter; empty: worked out.
    pub external_url: String,
    /// Path below which everything is served; empty: that of the external URL.
    pub route_prefix: String,
    /// How long probes may go on after the signal to stop.
    pub shutdown_grace: Duration,
}

/// Value of `--log.probe-outcomes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcomes {
    /// No lines.
    None,
    /// When a target begins to fail or recovers.
    Changes,
    /// Each failure.
    Failures,
    /// Each probe.
    All,
}

/// Configuration file when no flag names one.
pub const DEFAULT_CONFIG_FILE: &str = "blackbox.yml";

/// The program is done once this is printed.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    /// Asked for; belongs on stdout, status 0.
    Answer(String),
    /// A mistake on the command line; belongs on stderr, status 1.
    Usage(String),
}

/// Reads the command line; the first argument is the name of the program.
///
/// # Errors
/// [`Exit`], when there is something to print instead of something to do.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Flags, Exit> {
    let args = expand(args).map_err(Exit::Usage)?;
    let matches = command().try_get_matches_from(args).map_err(|error| {
        let text = format!("{}\n", error.render().to_string().trim_end());
        if error.kind() == ErrorKind::DisplayHelp { Exit::Answer(text) } else { Exit::Usage(text) }
    })?;
    if switch(&matches, "version") {
        return Err(Exit::Answer(version()));
    }
    Ok(Flags::from_matches(&matches))
}

impl Flags {
    fn from_matches(matches: &ArgMatches) -> Self {
        let log_prober = text(matches, "log.prober");
        let parsed = if log_prober == "none" { Some(Level::None) } else { Level::parse(&log_prober) };
        let interval = matches.get_one::<u64>("config.auto-reload-interval").copied().unwrap_or_default();
        let refresh = (interval > 0).then(|| Duration::from_secs(interval));
        let web_config_file = text(matches, "web.config.file");
        Self {
            config_file: matches.get_one("config.file").cloned(),
            config_check: switch(matches, "config.check"),
            config_strict: switch(matches, "config.strict"),
            auto_reload: refresh.filter(|_| switch(matches, "config.enable-auto-reload")),
            refresh,
            timeout_offset: matches.get_one("timeout-offset").copied().unwrap_or_default(),
            history_limit: matches.get_one::<u32>("history.limit").map_or(0, |limit| *limit as usize),
            log_level: Level::parse(&text(matches, "log.level")).unwrap_or(Level::Info),
            log_format: if text(matches, "log.format") == "json" { Format::Json } else { Format::Logfmt },
            log_prober: parsed.unwrap_or(Level::Info),
            bad_log_prober: parsed.is_none().then_some(log_prober),
            probe_outcomes: match text(matches, "log.probe-outcomes").as_str() {
                "none" => ProbeOutcomes::None,
                "failures" => ProbeOutcomes::Failures,
                "all" => ProbeOutcomes::All,
                _ => ProbeOutcomes::Changes,
            },
            listen: matches.get_many("web.listen-address").unwrap_or_default().cloned().collect(),
            systemd_socket: switch(matches, "web.systemd-socket"),
            web_config_file: (!web_config_file.is_empty()).then(|| web_config_file.into()),
            external_url: text(matches, "web.external-url"),
            route_prefix: text(matches, "web.route-prefix"),
            shutdown_grace: matches.get_one("web.shutdown-grace").copied().unwrap_or_default(),
        }
    }
}

fn text(matches: &ArgMatches, name: &str) -> String {
    matches.get_one::<String>(name).cloned().unwrap_or_default()
}

fn switch(matches: &ArgMatches, name: &str) -> bool {
    matches.get_flag(name)
}

/// The block that `--version` prints.
pub fn version() -> String {
    use own::{ARCH, BRANCH, COMPILER, OS, REVISION, VERSION};
    format!(
        "heartbeat_exporter, version {VERSION} (branch: {BRANCH}, revision: {REVISION})\n  \
         compiler:   {COMPILER}\n  platform:   {OS}/{ARCH}\n"
    )
}

/// The definition, for completions and the manual page as well.
pub fn command() -> Command {
    let levels = PossibleValuesParser::new(["debug", "info", "warn", "error"]);
    let outcomes = PossibleValuesParser::new(["none", "changes", "failures", "all"]);
    Command::new("heartbeat_exporter")
        .about("Prometheus exporter for active probes, a drop-in replacement for blackbox_exporter")
        .override_usage(USAGE)
        .disable_help_flag(true)
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .aliases(["help-long"])
                .action(ArgAction::Help)
                .help("Show this help"),
        )
        .args(boolean("version", "no-version", "Show the version"))
        .arg(
            value("config.file", "PATH", "Configuration file [default: blackbox.yml, or what is built in]")
                .value_parser(value_parser!(PathBuf)),
        )
        .args(boolean("config.check", "no-config.check", "Load the configuration file, report, then exit"))
        .args(boolean(
            "config.strict",
            "no-config.strict",
            "Treat warnings about the configuration as errors",
        ))
        .args(boolean(
            "config.enable-auto-reload",
            "no-config.enable-auto-reload",
            "Load the configuration file again when it changes",
        ))
        .arg(
            value("config.auto-reload-interval", "SECONDS", "How often to look for changes of the file")
                .value_parser(value_parser!(u64))
                .default_value("30"),
        )
        .arg(
            value("timeout-offset", "SECONDS", "Part of the scrape timeout that is kept for the way back")
                .value_parser(value_parser!(f64))
                .allow_negative_numbers(true)
                .default_value("0.5"),
        )
        .arg(
            value("history.limit", "COUNT", "Probes, and again older failures, to remember")
                .value_parser(value_parser!(u32))
                .default_value("100"),
        )
        .arg(
            value("log.level", "LEVEL", "Only log what is at least this important")
                .value_parser(levels)
                .ignore_case(true)
                .default_value("info"),
        )
        .arg(
            value("log.format", "FORMAT", "Format of log lines")
                .value_parser(["logfmt", "json"])
                .default_value("logfmt"),
        )
        .arg(
            value("log.prober", "LEVEL", "As log.level, for log lines of probes, or none")
                .default_value("info"),
        )
        .arg(
            value("log.probe-outcomes", "WHICH", "Which outcomes of probes to log in one line")
                .value_parser(outcomes)
                .default_value("changes"),
        )
        .arg(
            value("web.listen-address", "HOST:PORT", "Address to listen on; may be given several times")
                .action(ArgAction::Append)
                .default_value(":9115"),
        )
        .args(boolean(
            "web.systemd-socket",
            "no-web.systemd-socket",
            "Listen on sockets passed by systemd instead",
        ))
        .arg(value("web.config.file", "PATH", "File with TLS and authentication of the server"))
        .arg(value("web.external-url", "URL", "Where others reach this exporter"))
        .arg(value("web.route-prefix", "PATH", "Path of all pages [default: that of web.external-url]"))
        .arg(
            value("web.shutdown-grace", "DURATION", "How long running probes may go on after SIGTERM")
                .value_parser(duration)
                .default_value("5s"),
        )
}

/// The subcommands are in `client::flags` and `terminal::flags`; here they are only named.
const USAGE: &str = "heartbeat_exporter [OPTIONS]
       heartbeat_exporter probe [OPTIONS] <MODULE> <TARGET>  (probes once and shows the report)
       heartbeat_exporter run [OPTIONS] <NAME> -- <COMMAND>...  (reports how a job went)
       heartbeat_exporter agent [OPTIONS] <NAME>  (reports this node)";

fn value(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(placeholder).help(help)
}

/// A flag and the twin that takes it back; only one of them may be given.
fn boolean(name: &'static str, no: &'static str, help: &'static str) -> [Arg; 2] {
    let arg = Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let twin = Arg::new(no).long(no).action(ArgAction::SetTrue).conflicts_with(name).hide(true);
    [arg, twin]
}

/// A duration such as `5s`, `1.5s`, `500ms` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let complain = || format!("{text:?} is not a duration such as 5s or 500ms");
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0)];
    let number = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = match number {
        Some((number, factor)) => (number, *factor),
        None if text == "0" => (text, 1.0),
        None => return Err(complain()),
    };
    let seconds: f64 = number.parse().map_err(|_| complain())?;
    Duration::try_from_secs_f64(seconds * factor).map_err(|_| complain())
}

/// Replaces each `@file` by the lines of that file.
fn expand(args: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, String> {
    let mut out = Vec::new();
    for (at, arg) in args.into_iter().enumerate() {
        match arg.to_str().and_then(|arg| arg.strip_prefix('@')) {
            Some(file) if at > 0 && !file.is_empty() => {
                let text = fs::read_to_string(file).map_err(|error| format!("error: {file}: {error}\n"))?;
                let lines = text.lines().map(|line| line.strip_suffix('\r').unwrap_or(line));
                out.extend(
                    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(OsString::from),
                );
            }
            _ => out.push(arg),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Result<Flags, Exit> {
        parse(std::iter::once("heartbeat_exporter").chain(args.iter().copied()).map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn defaults() {
        let want = Flags {
            config_file: None,
            config_check: false,
            config_strict: false,
            auto_reload: None,
            refresh: Some(Duration::from_secs(30)),
            timeout_offset: 0.5,
            history_limit: 100,
            log_level: Level::Info,
            log_format: Format::Logfmt,
            log_prober: Level::Info,
            bad_log_prober: None,
            probe_outcomes: ProbeOutcomes::Changes,
            listen: vec![":9115".to_owned()],
            systemd_socket: false,
            web_config_file: None,
            external_url: String::new(),
            route_prefix: String::new(),
            shutdown_grace: Duration::from_secs(5),
        };
        assert_eq!(flags(&[]), Ok(want.clone()));
        let no: Vec<String> =
            ["config.check", "config.strict", "config.enable-auto-reload", "web.systemd-socket", "version"]
                .iter()
                .map(|name| format!("--no-{name}"))
                .collect();
        assert_eq!(flags(&no.iter().map(String::as_str).collect::<Vec<_>>()), Ok(want));
    }

    #[test]
    fn all_set() {
        let got = flags(&[
            "--config.file",
            "a.yml",
            "--config.check",
            "--config.strict",
            "--config.enable-auto-reload",
            "--config.auto-reload-interval=7",
            "--timeout-offset=-1.5",
            "--history.limit=0",
            "--log.level=WARN",
            "--log.format=json",
            "--log.prober=none",
            "--log.probe-outcomes=all",
            "--web.listen-address=:1",
            "--web.listen-address",
            "[::1]:2",
            "--web.systemd-socket",
            "--web.config.file=w.yml",
            "--web.external-url=http://x/y/",
            "--web.route-prefix=/p",
            "--web.shutdown-grace=1500ms",
        ]);
        let want = Flags {
            config_file: Some("a.yml".into()),
            config_check: true,
            config_strict: true,
            auto_reload: Some(Duration::from_secs(7)),
            refresh: Some(Duration::from_secs(7)),
            timeout_offset: -1.5,
            history_limit: 0,
            log_level: Level::Warn,
            log_format: Format::Json,
            log_prober: Level::None,
            bad_log_prober: None,
            probe_outcomes: ProbeOutcomes::All,
            listen: vec![":1".to_owned(), "[::1]:2".to_owned()],
            systemd_socket: true,
            web_config_file: Some("w.yml".into()),
            external_url: "http://x/y/".to_owned(),
            route_prefix: "/p".to_owned(),
            shutdown_grace: Duration::from_millis(1500),
        };
        assert_eq!(got, Ok(want));
    }

    #[test]
    fn mistakes_are_usage_errors() {
        let cases: [(&[&str], &str); 20] = [
            (&["--no-such-flag"], "--no-such-flag"),
            (&["positional"], "positional"),
            (&["-config.file=x"], "-c"),
            (&["--config.file"], "--config.file"),
            (&["--config.file=a", "--config.file=b"], "multiple times"),
            (&["--config.check", "--config.check"], "multiple times"),
            (&["--config.check", "--no-config.check"], "cannot be used with"),
            (&["--no-config.check", "--config.check"], "cannot be used with"),
            (&["--config.check=true"], "unexpected value 'true'"),
            (&["--config.chec"], "--config.chec"),
            (&["--log.level=loud"], "loud"),
            (&["--log.format=JSON"], "JSON"),
            (&["--log.probe-outcomes=some"], "some"),
            (&["--timeout-offset=soon"], "soon"),
            (&["--history.limit=-1"], "-1"),
            (&["--history.limit=ten"], "ten"),
            (&["--config.auto-reload-interval=30s"], "30s"),
            (&["--web.shutdown-grace=5"], "is not a duration"),
            (&["--web.shutdown-grace=-5s"], "is not a duration"),
            (&["@/nonexistent"], "/nonexistent"),
        ];
        for (args, want) in cases {
            match flags(args) {
                Err(Exit::Usage(text)) => assert!(text.contains(want), "{args:?}: {text}"),
                other => panic!("{args:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_bad_probe_log_level_stays_info() {
        let got = flags(&["--log.prober=loud"]).unwrap();
        assert_eq!((got.log_prober, got.bad_log_prober.as_deref()), (Level::Info, Some("loud")));
        assert_eq!(flags(&["--log.prober=DEBUG"]).unwrap().log_prober, Level::Debug);
    }

    #[test]
    fn an_interval_of_zero_never_reloads() {
        let got = flags(&["--config.enable-auto-reload", "--config.auto-reload-interval=0"]).unwrap();
        assert_eq!((got.auto_reload, got.refresh), (None, None));
    }

    #[test]
    fn help_and_version_are_answers() {
        for arg in ["--help", "-h", "--help-long"] {
            match flags(&[arg]) {
                Err(Exit::Answer(text)) => assert!(text.contains("--web.route-prefix"), "{text}"),
                other => panic!("{other:?}"),
            }
        }
        let Err(Exit::Answer(text)) = flags(&["--version"]) else { panic!() };
        assert!(text.starts_with(concat!(
            "heartbeat_exporter, version ",
            env!("CARGO_PKG_VERSION"),
            " (branch: "
        )));
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn arguments_come_from_files_too() {
        let path = std::env::temp_dir().join(format!("heartbeat-cli-{}", std::process::id()));
        fs::write(&path, "# comment\n--config.file=a b.yml\r\n\n--history.limit\n3\n").unwrap();
        let got = flags(&[&format!("@{}", path.display()), "--log.level=debug"]);
        fs::remove_file(&path).unwrap();
        let got = got.unwrap();
        assert_eq!((got.config_file, got.history_limit), (Some("a b.yml".into()), 3));
        assert_eq!(got.log_level, Level::Debug);
    }
}
