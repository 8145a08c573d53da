//! The sending end of heartbeats: `run` reports how a job went, `agent` reports this node.
//!
//! Neither reads the configuration of the exporter. Nothing here may stand in the way of a job: what cannot
//! be reported is a line on stderr.

mod agent;
mod flags;
mod receiver;
mod report;
mod run;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Command;

use crate::cli::Exit;

/// Runs the subcommand that the first argument names; `None` when it names none.
///
/// `args` begins with the name of the program.
pub fn main(args: &[OsString]) -> Option<ExitCode> {
    let (subcommand, rest) = args.get(1..)?.split_first()?;
    match subcommand.to_str()? {
        "run" => Some(flags::run(rest).map_or_else(|exit| end(exit, run::OWN_FAILURE), run::main)),
        "agent" => Some(flags::agent(rest).map_or_else(|exit| end(exit, 1), agent::main)),
        run::PASS_ON => Some(run::pass_on()),
        _ => None,
    }
}

/// The definitions of the subcommands, for completions and the manual page.
pub fn commands() -> [Command; 2] {
    [flags::run_command(), flags::agent_command()]
}

/// There was something to print instead of something to do.
fn end(exit: Exit, usage_code: u8) -> ExitCode {
    match exit {
        Exit::Answer(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Exit::Usage(text) => {
            eprint!("{text}");
            ExitCode::from(usage_code)
        }
    }
}

/// One line for people. A stderr that is closed must not end the process.
fn tell(message: impl Display) {
    let _ = writeln!(std::io::stderr(), "heartbeat_exporter: {message}");
}
