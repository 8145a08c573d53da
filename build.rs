//! Tells the program which compiler built it, for `--version` and `blackbox_exporter_build_info`.
//!
//! Commit and branch come from the environment of the build or are unknown: reading them from the
//! repository would make a build of the same source in another place another program.

use std::env;
use std::process::Command;

const NAME: &str = "HEARTBEAT_EXPORTER_RUSTC";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={NAME}");
    if env::var_os(NAME).is_some() {
        return;
    }
    if let Some(version) = compiler() {
        println!("cargo::rustc-env={NAME}=rust{version}");
    }
}

/// Such as `1.95.0`.
fn compiler() -> Option<String> {
    let output = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}
