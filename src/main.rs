//! The program: everything is in the library.

use std::process::ExitCode;

use heartbeat_exporter::{app, cli};

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
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
