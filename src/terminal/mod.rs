//! `probe MODULE TARGET`: one probe without a server, its report for a person or as JSON.
//!
//! What is learnt is the runner's report, which pages and metrics are made from as well; here it only becomes
//! text.

mod certificate;
mod checks;
mod facts;
mod flags;
mod page;
mod style;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime;

use crate::cli::{DEFAULT_CONFIG_FILE, Exit};
use crate::config::reload::{Live, Source};
use crate::logging::Level;
use crate::net::Net;
use crate::probers::Module;
use crate::runner::history::Record;
use crate::runner::{self, budget};
use crate::server::api;
use flags::Flags;
pub use flags::command;
use page::Page;

/// Runs the subcommand that the first argument names; `None` when it names none.
///
/// `args` begins with the name of the program. The status is 0 after a successful probe, 1 after one that
/// failed, and 2 if there was none.
pub fn main(args: &[OsString]) -> Option<ExitCode> {
    let (subcommand, rest) = args.get(1..)?.split_first()?;
    if subcommand != "probe" {
        return None;
    }
    Some(match flags::parse(rest) {
        Ok(flags) => run(&flags).unwrap_or_else(|why| {
            let _ = io::stderr().write_all(format!("{}\n", style::printable_lines(&why)).as_bytes());
            WRONG_USE.into()
        }),
        Err(Exit::Answer(text)) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(Exit::Usage(text)) => {
            let _ = io::stderr().write_all(text.as_bytes());
            WRONG_USE.into()
        }
    })
}

fn run(flags: &Flags) -> Result<ExitCode, String> {
    let source = match &flags.config_file {
        Some(path) => Source::File(path.clone()),
        None => Source::FileOrBuiltIn(DEFAULT_CONFIG_FILE.into()),
    };
    let live = Live::load(source, false, Arc::default()).map_err(|problems| problems.to_string())?;
    let config = match &flags.config_file {
        _ if live.is_built_in() => "the built-in configuration".to_owned(),
        Some(path) => path.display().to_string(),
        None => DEFAULT_CONFIG_FILE.to_owned(),
    };
    let snapshot = live.snapshot();
    let Some(loaded) = snapshot.modules.get(&flags.module) else {
        let mut known: Vec<&str> = snapshot.modules.keys().map(String::as_str).take(MAX_NAMED).collect();
        if snapshot.modules.len() > MAX_NAMED {
            known.push("…");
        }
        return Err(format!("{config} has no module {:?}; it has: {}", flags.module, known.join(", ")));
    };
    let module = &loaded.module;
    refuse(module, flags)?;

    let timeout = flags.timeout.unwrap_or_else(|| budget::timeout(module.timeout(), None, 0.0));
    let request = runner::Request {
        module,
        target: &flags.target,
        hostname: flags.hostname.as_deref(),
        timeout,
        log_level: Level::Debug,
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    let net = Net::new();
    let outcome = runtime.block_on(runner::run(request, &net));
    // A question to the system's resolver cannot be taken back, and nobody waits for its answer.
    runtime.shutdown_background();

    let record = Record::new(Arc::clone(module), flags.target.clone(), flags.hostname.clone(), outcome);
    if flags.json {
        print(&format!("{}\n", api::report(&record)));
    } else {
        let is_coloured = io::stdout().is_terminal() && !is_set("NO_COLOR");
        print(&Page { record: &record, config: &config, is_coloured, has_logs: flags.logs }.text());
    }
    Ok(if record.outcome.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whatever a request to the server would be refused for, too.
fn refuse(module: &Module, flags: &Flags) -> Result<(), String> {
    let name = &module.name;
    match (&module.prober, module.written.prober, &module.written.unknown_prober) {
        (_, None, Some(prober)) => {
            Err(format!("module {name} has the prober {prober:?}, which is not known"))
        }
        (_, None, None) => Err(format!("module {name} has no prober")),
        (Ok(prober), ..) => {
            let conflict = flags.hostname.as_deref().and_then(|host| prober.hostname_conflict(host));
            conflict.map_or(Ok(()), |why| Err(module.written.redacted(why)))
        }
        (Err(_), ..) => Ok(()),
    }
}

/// As <https://no-color.org> has it: any value but an empty one.
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// A reader that has seen enough is no reason to fail.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Exit status when no probe was run.
const WRONG_USE: u8 = 2;
/// Modules that are named to somebody who named another.
const MAX_NAMED: usize = 20;
