//! The binary as a client of a receiver.

use std::process::{Command, Output, Stdio};

/// A subcommand that reports to `url`, with these words as arguments, in a clean environment.
pub fn client(subcommand: &str, url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat_exporter"));
    command.arg(subcommand).args(["--url", url]).args(args);
    command.env_remove("HEARTBEAT_URL").env_remove("HEARTBEAT_TOKEN").stdin(Stdio::null());
    command
}

/// Exit code, stdout, stderr.
pub fn outcome(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
