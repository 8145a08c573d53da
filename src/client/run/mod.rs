//! `run`: a job with somebody who tells how it went.
//!
//! The job must not notice. It gets our standard input, its output goes on byte by byte, signals are its own,
//! and its exit status is ours. Three threads keep apart what must not wait for each other: this one has the
//! job and the signals, [`output`] has the streams, [`reporter`] has the network.

mod output;
mod reporter;
mod signals;
mod tail;

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Instant;

use self::output::Output;
pub use self::output::{PASS_ON, pass_on};
use self::reporter::Reporter;
use self::signals::Signals;
use super::flags::RunFlags;
use super::report::{Report, Signal};
use super::tell;

/// Runs the job; the result is its exit status, or what a shell would make of it.
pub fn main(flags: RunFlags) -> ExitCode {
    let Some((program, arguments)) = flags.command.split_first() else { return ExitCode::from(OWN_FAILURE) };
    let mut command = Command::new(program);
    command.args(arguments);
    let signals = match Signals::take() {
        Ok(signals) => signals,
        Err(error) => {
            // Better a job that nobody watches than no job.
            tell(format_args!("cannot watch the job: {error}"));
            return ExitCode::from(not_started(program, &command.exec()).0);
        }
    };
    let output = (flags.tail > 0).then(|| Output::capture(&mut command, flags.tail)).and_then(|captured| {
        captured.inspect_err(|error| tell(format_args!("cannot keep the output: {error}"))).ok()
    });
    signals.give_back(&mut command);

    let run = run_id();
    let begun = Instant::now();
    let spawned = command.spawn();
    // It holds our ends of the pipes, which would never end.
    drop(command);
    let start = spawned.is_ok().then(|| Report {
        signal: Signal::Start,
        run: Some(run.clone()),
        ..Report::default()
    });
    let reporter = Reporter::spawn(flags.receiver, start);
    let (code, explanation) = match spawned {
        Ok(child) => watch(child, &signals),
        Err(error) => not_started(program, &error),
    };
    let duration = Some(begun.elapsed());
    let tail = output.as_ref().map(Output::tail).unwrap_or_default();
    let message = match explanation {
        Some(explanation) => explanation.into_bytes(),
        None if flags.quiet_success && code == 0 => Vec::new(),
        None => tail,
    };
    let report =
        Report { signal: Signal::ExitCode(code), run: Some(run), duration, message, ..Report::default() };
    if let Err(why) = reporter.and_then(|reporter| reporter.finish(report, &signals)) {
        tell(format_args!("the end of the job is not reported: {why}"));
    }
    if let Some(output) = output {
        output.leave(&signals);
    }
    ExitCode::from(code)
}

/// Waits for the end of the job and hands on signals until then: exit status, and words if there is more to say.
fn watch(mut child: Child, signals: &Signals) -> (u8, Option<String>) {
    let status = loop {
        match signals.next() {
            Ok(signal) if !signal.is_about_children() => signal.send_on(child.id()),
            Ok(_) => match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) => {}
                Err(error) => break Err(error),
            },
            Err(_) => break child.wait(),
        }
    };
    match status {
        Ok(status) => (exit_code(status), None),
        Err(error) => {
            let why = format!("cannot learn how the job ended: {error}");
            tell(&why);
            (OWN_FAILURE, Some(why))
        }
    }
}

/// As a shell has it: the exit code, or 128 and the number of the signal that ended the process.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(OWN_FAILURE)
}

/// As a shell has it (POSIX.1-2024, 2.8.2): 127 if there is no such command, 126 if it cannot be run.
fn not_started(program: &OsStr, error: &io::Error) -> (u8, Option<String>) {
    let why = format!("cannot run {}: {error}", program.display());
    tell(&why);
    (if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }, Some(why))
}

/// A random UUID (RFC 9562 §5.4), which other receivers ask for too.
fn run_id() -> String {
    let bits = rand::random::<u128>();
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let mut id = String::with_capacity(36);
    for (at, digit) in hex.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            id.push('-');
        }
        id.push(digit);
    }
    id
}

/// Exit status when the command line is wrong, as `env`, `timeout` and `docker run` have it.
pub const OWN_FAILURE: u8 = 125;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_are_random_uuids() {
        let (one, other) = (run_id(), run_id());
        assert_ne!(one, other);
        for id in [one, other] {
            let shape: String = id.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect();
            assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "{id}");
            assert!(&id[14..15] == "4" && "89ab".contains(&id[19..20]), "{id}");
        }
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        for (status, want) in [(0, 0), (3 << 8, 3), (255 << 8, 255), (15, 143), (9, 137), (0x80 | 11, 139)] {
            assert_eq!(exit_code(ExitStatus::from_raw(status)), want, "{status:#x}");
        }
    }
}
