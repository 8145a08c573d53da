//! The program: everything is in the library.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
use heartbeat_exporter::client;
use heartbeat_exporter::{app, cli, terminal};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    #[cfg(target_os = "linux")]
    if let Some(code) = client::main(&args) {
        return code;
    }
    if let Some(code) = terminal::main(&args) {
        return code;
    }
    match cli::parse(args) {
        Ok(flags) => app::main(flags),
        Err(cli::Exit::Answer(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(cli::Exit::Usage(text)) => {
            eprint!("{text}");
            ExitCode::FAILURE
        }
    }
}
