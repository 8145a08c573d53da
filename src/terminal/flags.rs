//! The command line of `probe`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, value_parser};

use crate::cli::Exit;
use crate::config::duration::SignedDuration;

/// What `probe` was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// Name of the module.
    pub module: String,
    /// What to probe, not empty.
    pub target: String,
    /// As the parameter of that name, not empty.
    pub hostname: Option<String>,
    /// Configuration file; `None` when the flag was not given.
    pub config_file: Option<PathBuf>,
    /// Instead of the module's own limit.
    pub timeout: Option<Duration>,
    /// The report as JSON.
    pub json: bool,
    /// The log lines of the probe, too.
    pub logs: bool,
}

/// Reads what follows `probe`.
///
/// # Errors
/// [`Exit`], when there is something to print instead of something to do.
pub fn parse(args: &[OsString]) -> Result<Flags, Exit> {
    let matches = command().no_binary_name(true).try_get_matches_from(args).map_err(|error| {
        let text = format!("{}\n", error.render().to_string().trim_end());
        if error.kind() == ErrorKind::DisplayHelp { Exit::Answer(text) } else { Exit::Usage(text) }
    })?;
    let text = |name| matches.get_one::<String>(name).cloned();
    Ok(Flags {
        module: text("module").unwrap_or_default(),
        target: text("target").unwrap_or_default(),
        hostname: text("hostname").filter(|name| !name.is_empty()),
        config_file: matches.get_one("config.file").cloned(),
        timeout: matches.get_one("timeout").copied(),
        json: matches.get_flag("json"),
        logs: matches.get_flag("logs"),
    })
}

/// The definition, for completions and the manual page as well.
pub fn command() -> Command {
    Command::new("heartbeat_exporter probe")
        .about(
            "Probes a target once and shows where the time went, what was checked and why it failed. The status \
             is 0 if the probe succeeded, 1 if it failed, 2 if it could not be run.",
        )
        .override_usage("heartbeat_exporter probe [OPTIONS] <MODULE> <TARGET>")
        .arg(required("module", "MODULE", "Module of the configuration"))
        .arg(required("target", "TARGET", "What to probe, as in the parameter target of /probe"))
        .arg(value("hostname", "NAME", "As the parameter hostname of /probe"))
        .arg(
            value("config.file", "PATH", "Configuration file [default: blackbox.yml, or what is built in]")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            value("timeout", "DURATION", "Longest time of the probe [default: the module's, or 2m]")
                .value_parser(timeout),
        )
        .arg(flag("json", "Print the report as /api/v1/probe has it"))
        .arg(flag("logs", "Print the log lines of the probe, too").conflicts_with("json"))
}

fn required(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    let not_empty = NonEmptyStringValueParser::new();
    Arg::new(name).value_name(placeholder).help(help).value_parser(not_empty).required(true)
}

fn value(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(placeholder).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn timeout(text: &str) -> Result<Duration, String> {
    let parsed = SignedDuration::parse(text).and_then(SignedDuration::to_std);
    let parsed = parsed.ok_or_else(|| format!("{text:?} is not a duration such as 5s or 500ms"))?;
    let range = Duration::from_millis(1)..=MAX_TIMEOUT;
    if range.contains(&parsed) { Ok(parsed) } else { Err(format!("must be 1ms to {MAX_TIMEOUT:?}")) }
}

/// Nobody waits longer.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn defaults_and_all_set() {
        command().debug_assert();
        let want = Flags { module: "m".to_owned(), target: "t".to_owned(), ..Flags::default() };
        assert_eq!(parse(&words("m t")), Ok(want.clone()));
        assert_eq!(parse(&words("--hostname= m t")), Ok(want.clone()));
        let all = Flags {
            hostname: Some("h".to_owned()),
            config_file: Some("c.yml".into()),
            timeout: Some(Duration::from_millis(1500)),
            json: true,
            ..want.clone()
        };
        assert_eq!(parse(&words("--hostname h --config.file=c.yml --timeout 1s500ms m --json t")), Ok(all));
        assert_eq!(parse(&words("m t --logs")), Ok(Flags { logs: true, ..want }));
    }

    #[test]
    fn mistakes_are_usage_errors() {
        let cases = [
            ("", "<MODULE>"),
            ("m", "<TARGET>"),
            ("m t u", "unexpected argument 'u'"),
            ("m t --timeout 0", "must be 1ms to 3600s"),
            ("m t --timeout 2h", "must be 1ms to 3600s"),
            ("m t --timeout soon", "is not a duration"),
            ("m t --json --logs", "cannot be used with"),
            ("m t --no-such", "--no-such"),
        ];
        for (args, want) in cases {
            match parse(&words(args)) {
                Err(Exit::Usage(text)) => assert!(text.contains(want), "{args}: {text}"),
                other => panic!("{args}: {other:?}"),
            }
        }
        let empty = ["m", ""].map(OsString::from);
        assert!(matches!(parse(&empty), Err(Exit::Usage(text)) if text.contains("<TARGET>")));
    }
}
