//! Command lines of the subcommands.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::cli::Exit;
use crate::config::duration::SignedDuration;

/// Where to report, and how hard to try.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReceiverFlags {
    /// Name of the heartbeat, `namespace/name`, or its token.
    pub name: String,
    /// The receiver, as written; `None` leaves it to the environment.
    pub url: Option<String>,
    /// File with the bearer token; `None` leaves it to the environment.
    pub token_file: Option<PathBuf>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate.
    pub insecure: bool,
    /// Further attempts after one that failed for a reason that may pass.
    pub retries: u32,
    /// Longest time of one attempt.
    pub timeout: Duration,
}

/// What `run` was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunFlags {
    /// Where to report.
    pub receiver: ReceiverFlags,
    /// Bytes of output that are kept; 0 leaves the output alone.
    pub tail: usize,
    /// A success is reported without output.
    pub quiet_success: bool,
    /// The job and its arguments, at least one.
    pub command: Vec<OsString>,
}

/// What `agent` was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentFlags {
    /// Where to report.
    pub receiver: ReceiverFlags,
    /// Report once, then end.
    pub once: bool,
    /// Time between two reports, at least one second.
    pub interval: Duration,
    /// Each report comes later by up to this much; at most the interval.
    pub jitter: Duration,
    /// Mount points; none means all file systems on local devices.
    pub disks: Vec<PathBuf>,
    /// Processes that must be there.
    pub processes: Vec<String>,
    /// Percent of processor time above which the report carries data.
    pub max_cpu: Option<f64>,
    /// The same for memory.
    pub max_memory: Option<f64>,
    /// The same for each disk.
    pub max_disk: Option<f64>,
    /// What the text of a report calls this node.
    pub address: Option<String>,
}

/// Reads what follows `run`.
///
/// # Errors
/// [`Exit`], when there is something to print instead of something to do.
pub fn run(args: &[OsString]) -> Result<RunFlags, Exit> {
    let matches = parse(run_command(), args)?;
    let kib = if switch(&matches, "no-output") { 0 } else { number(&matches, "tail") };
    Ok(RunFlags {
        receiver: receiver(&matches),
        tail: usize::try_from(kib).unwrap_or(0) * 1024,
        quiet_success: switch(&matches, "quiet-success"),
        command: matches.get_many("command").unwrap_or_default().cloned().collect(),
    })
}

/// Reads what follows `agent`.
///
/// # Errors
/// [`Exit`], when there is something to print instead of something to do.
pub fn agent(args: &[OsString]) -> Result<AgentFlags, Exit> {
    let matches = parse(agent_command(), args)?;
    let once = switch(&matches, "once");
    let interval: Duration = matches.get_one("interval").copied().unwrap_or_default();
    let usual_jitter = if once { Duration::ZERO } else { interval / 10 };
    let jitter = matches.get_one("jitter").copied().unwrap_or(usual_jitter);
    let percent = |name| matches.get_one::<f64>(name).copied();
    Ok(AgentFlags {
        receiver: receiver(&matches),
        once,
        interval,
        jitter: if once { jitter } else { jitter.min(interval) },
        disks: matches.get_many("disk").unwrap_or_default().cloned().collect(),
        processes: matches.get_many("process").unwrap_or_default().cloned().collect(),
        max_cpu: percent("max-cpu"),
        max_memory: percent("max-memory"),
        max_disk: percent("max-disk"),
        address: matches.get_one("address").cloned(),
    })
}

fn parse(command: Command, args: &[OsString]) -> Result<ArgMatches, Exit> {
    command.no_binary_name(true).try_get_matches_from(args).map_err(|error| {
        let text = format!("{}\n", error.render().to_string().trim_end());
        if error.kind() == ErrorKind::DisplayHelp { Exit::Answer(text) } else { Exit::Usage(text) }
    })
}

fn receiver(matches: &ArgMatches) -> ReceiverFlags {
    ReceiverFlags {
        name: matches.get_one("name").cloned().unwrap_or_default(),
        url: matches.get_one("url").cloned(),
        token_file: matches.get_one("token-file").cloned(),
        ca_file: matches.get_one("ca-file").cloned(),
        insecure: switch(matches, "insecure"),
        retries: number(matches, "retries"),
        timeout: matches.get_one("timeout").copied().unwrap_or_default(),
    }
}

fn switch(matches: &ArgMatches, name: &str) -> bool {
    matches.get_flag(name)
}

fn number(matches: &ArgMatches, name: &str) -> u32 {
    matches.get_one(name).copied().unwrap_or_default()
}

/// The definition of `run`.
pub fn run_command() -> Command {
    Command::new("heartbeat_exporter run")
        .about(
            "Runs a command and reports to a heartbeat how it went. The command's output, exit code and signals \
             stay as they are, and it runs whether or not the receiver can be reached.",
        )
        .override_usage("heartbeat_exporter run [OPTIONS] <NAME> -- <COMMAND>...")
        .args(receiver_args())
        .arg(
            value("tail", "KIB", "Report the last KiB of the command's output; 0 is --no-output")
                .value_parser(value_parser!(u32).range(0..=1024))
                .default_value("10"),
        )
        .arg(flag("quiet-success", "Report the output only if the command fails"))
        .arg(flag("no-output", "Do not look at the output at all; the command keeps the terminal"))
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .help("The command and its arguments")
                .value_parser(value_parser!(OsString))
                .num_args(1..)
                .last(true)
                .required(true),
        )
}

/// The definition of `agent`.
pub fn agent_command() -> Command {
    Command::new("heartbeat_exporter agent")
        .about("Reports this node to a heartbeat: processor, memory, disks, load, processes.")
        .override_usage("heartbeat_exporter agent [OPTIONS] <NAME>")
        .args(receiver_args())
        .arg(
            value("interval", "DURATION", "Time between two reports")
                .value_parser(interval)
                .default_value("60s"),
        )
        .arg(
            value(
                "jitter",
                "DURATION",
                "Delay each report by up to this much [default: a tenth of the interval, with --once none]",
            )
            .value_parser(duration),
        )
        .arg(flag("once", "Report once, then end"))
        .arg(
            value("disk", "MOUNT", "Report this mount point, not all local ones; may be given several times")
                .value_parser(value_parser!(PathBuf))
                .action(ArgAction::Append),
        )
        .arg(
            value("process", "NAME", "A process of this name must run; may be given several times")
                .value_parser(NonEmptyStringValueParser::new())
                .action(ArgAction::Append),
        )
        .arg(value("max-cpu", "PERCENT", "More is reported as data").value_parser(percent))
        .arg(value("max-memory", "PERCENT", "More is reported as data").value_parser(percent))
        .arg(value("max-disk", "PERCENT", "More, on any disk, is reported as data").value_parser(percent))
        .arg(value("address", "TEXT", "Name of this node in such a report [default: its address]"))
}

fn receiver_args() -> [Arg; 7] {
    [
        Arg::new("name").value_name("NAME").help("Heartbeat: name, namespace/name or token").required(true),
        value("url", "URL", "The receiver [env: HEARTBEAT_URL] [default: http://localhost:9115]"),
        value("token-file", "PATH", "File with the heartbeat's token [env: HEARTBEAT_TOKEN, the token]")
            .value_parser(value_parser!(PathBuf)),
        value("ca-file", "PATH", "PEM file of certificates to trust instead of the system's")
            .value_parser(value_parser!(PathBuf)),
        flag("insecure", "Accept any certificate of the receiver"),
        value("retries", "COUNT", "Further attempts when a report does not get through")
            .value_parser(value_parser!(u32).range(0..=100))
            .default_value("3"),
        value("timeout", "DURATION", "Longest time of one attempt").value_parser(timeout).default_value("5s"),
    ]
}

fn value(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(placeholder).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// A duration such as `5s`, `500ms` or `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = SignedDuration::parse(text).and_then(SignedDuration::to_std);
    parsed.ok_or_else(|| format!("{text:?} is not a duration such as 5s or 500ms"))
}

fn timeout(text: &str) -> Result<Duration, String> {
    bounded(text, Duration::from_millis(1), MAX_TIMEOUT)
}

fn interval(text: &str) -> Result<Duration, String> {
    bounded(text, Duration::from_secs(1), MAX_INTERVAL)
}

fn bounded(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let parsed = duration(text)?;
    if (min..=max).contains(&parsed) { Ok(parsed) } else { Err(format!("must be {min:?} to {max:?}")) }
}

fn percent(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    parsed.ok_or_else(|| format!("{text:?} is not a number from 0 to 100"))
}

/// A receiver that takes longer has lost the report.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// A report each day is the least that still makes a heartbeat.
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_definitions_are_sound() {
        run_command().debug_assert();
        agent_command().debug_assert();
    }

    #[test]
    fn defaults() {
        let receiver = ReceiverFlags {
            name: "batch/nightly".to_owned(),
            retries: 3,
            timeout: seconds(5),
            ..ReceiverFlags::default()
        };
        let want = RunFlags {
            receiver: receiver.clone(),
            tail: 10 << 10,
            quiet_success: false,
            command: words("backup --url x --tail -- y"),
        };
        assert_eq!(run(&words("batch/nightly -- backup --url x --tail -- y")), Ok(want));
        let want =
            AgentFlags { receiver, interval: seconds(60), jitter: seconds(6), ..AgentFlags::default() };
        assert_eq!(agent(&words("batch/nightly")), Ok(want));
    }

    #[test]
    fn all_set() {
        let common = "--url=https://m --token-file t --ca-file c --insecure --retries 0 --timeout 1m";
        let receiver = ReceiverFlags {
            name: "n".to_owned(),
            url: Some("https://m".to_owned()),
            token_file: Some("t".into()),
            ca_file: Some("c".into()),
            insecure: true,
            retries: 0,
            timeout: seconds(60),
        };
        let want = RunFlags {
            receiver: receiver.clone(),
            tail: 64 << 10,
            quiet_success: true,
            command: words("true"),
        };
        assert_eq!(run(&words(&format!("{common} --tail=64 --quiet-success n -- true"))), Ok(want));
        assert_eq!(run(&words("--no-output n -- true")).unwrap().tail, 0);
        let want = AgentFlags {
            receiver,
            once: true,
            interval: seconds(90),
            jitter: seconds(120),
            disks: vec!["/".into(), "/data".into()],
            processes: vec!["nginx".to_owned(), "sshd".to_owned()],
            max_cpu: Some(90.0),
            max_memory: Some(0.5),
            max_disk: Some(100.0),
            address: Some("10.0.0.7".to_owned()),
        };
        let args = format!(
            "n {common} --once --interval 1m30s --jitter 2m --disk / --disk /data --process nginx \
             --process sshd --max-cpu 90 --max-memory 0.5 --max-disk 100 --address 10.0.0.7"
        );
        assert_eq!(agent(&words(&args)), Ok(want));
        assert_eq!(agent(&words("n --interval 1m --jitter 2m")).unwrap().jitter, seconds(60));
    }

    #[test]
    fn mistakes_are_usage_errors() {
        let cases = [
            ("run", "", "<NAME>"),
            ("run", "n", "<COMMAND>"),
            ("run", "n true", "unexpected argument 'true'"),
            ("run", "n --", "<COMMAND>"),
            ("run", "n --tail 1025 -- true", "1025"),
            ("run", "n --timeout 0 -- true", "must be 1ms to 60s"),
            ("run", "n --retries -1 -- true", "-1"),
            ("run", "n --no-such -- true", "--no-such"),
            ("agent", "", "<NAME>"),
            ("agent", "n --interval 500ms", "must be 1s to 86400s"),
            ("agent", "n --interval soon", "is not a duration"),
            ("agent", "n --max-cpu 101", "is not a number from 0 to 100"),
            ("agent", "n --max-disk NaN", "is not a number from 0 to 100"),
            ("agent", "n --process=", "--process"),
        ];
        for (which, args, want) in cases {
            let result = if which == "run" { run(&words(args)).err() } else { agent(&words(args)).err() };
            match result {
                Some(Exit::Usage(text)) => assert!(text.contains(want), "{which} {args}: {text}"),
                other => panic!("{which} {args}: {other:?}"),
            }
        }
    }
}
