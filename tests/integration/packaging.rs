//! packaging/completions and packaging/heartbeat_exporter.1 are what the definition of the command line gives, and the
//! Helm chart, which can have no file from outside, has the alerting rules.
//!
//! With `UPDATE_FIXTURES=1` they are written, not compared.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use heartbeat_exporter::{cli, client, terminal};

const NAME: &str = "heartbeat_exporter";

/// The subcommands under the names they have on the command line.
fn subcommands() -> [Command; 3] {
    let [run, agent] = client::commands();
    let commands = [terminal::command().name("probe"), run.name("run"), agent.name("agent")];
    // The definition of the exporter has a help of its own, which switches off that of its subcommands.
    commands.map(|command| {
        let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Show this help");
        command.disable_help_flag(true).arg(help)
    })
}

fn check(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
    // Generators end lines with blanks.
    let got: String = got.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, got).unwrap();
    } else {
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == got, "packaging/{name} is out of date: run with UPDATE_FIXTURES=1");
    }
}

#[test]
fn rules_of_the_chart() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str| -> BTreeSet<String> {
        let names = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".yml")).collect()
    };
    let rules = files("alerting-rules");
    for name in &rules {
        let text = fs::read_to_string(root.join("alerting-rules").join(name)).unwrap();
        check(&format!("helm/heartbeat-exporter/rules/{name}"), &text);
    }
    assert_eq!(files("packaging/helm/heartbeat-exporter/rules"), rules);
}

#[test]
fn completions() {
    for (shell, name) in
        [(Shell::Bash, NAME), (Shell::Zsh, "_heartbeat_exporter"), (Shell::Fish, "heartbeat_exporter.fish")]
    {
        let mut command = cli::command().disable_help_subcommand(true).subcommands(subcommands());
        let mut script = Vec::new();
        generate(shell, &mut command, NAME, &mut script);
        check(&format!("completions/{name}"), &String::from_utf8(script).unwrap());
    }
}

#[test]
fn manual_page() {
    let mut page = String::from(TITLE);
    page.push_str(&section(|out| Man::new(cli::command()).render_name_section(out)));
    page.push_str(SYNOPSIS);
    page.push_str(&section(|out| Man::new(cli::command()).render_options_section(out)));
    for command in subcommands() {
        let (name, about) = (command.get_name().to_owned(), command.get_about().unwrap().to_string());
        let options = section(|out| Man::new(command).render_options_section(out));
        page.push_str(&format!(".SH SUBCOMMAND {}\n{about}\n", name.to_uppercase()));
        page.push_str(options.strip_prefix(".SH OPTIONS\n").unwrap());
    }
    page.push_str(REST);
    check("heartbeat_exporter.1", &page);
}

/// One section, without the lines that define the apostrophe, which begin each.
fn section(render: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    render(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines = text.lines().filter(|line| !line.contains(".ds Aq"));
    lines.map(|line| format!("{line}\n")).collect()
}

const TITLE: &str = r#".ie \n(.g .ds Aq \(aq
.el .ds Aq '
.TH HEARTBEAT_EXPORTER 1 "" "heartbeat_exporter" "User Commands"
"#;

const SYNOPSIS: &str = r".SH SYNOPSIS
.B heartbeat_exporter
[\fIOPTIONS\fR]
.br
.B heartbeat_exporter probe
[\fIOPTIONS\fR] \fIMODULE\fR \fITARGET\fR
.br
.B heartbeat_exporter run
[\fIOPTIONS\fR] \fINAME\fR \fB\-\-\fR \fICOMMAND\fR...
.br
.B heartbeat_exporter agent
[\fIOPTIONS\fR] \fINAME\fR
.SH DESCRIPTION
Without a subcommand it serves probes on /probe until SIGTERM or SIGINT. SIGHUP loads the configuration again. Each
switch has a twin that begins with \fB\-\-no\-\fR, and an argument \fI@file\fR stands for the lines of that file.
";

const REST: &str = r".SH EXIT STATUS
The server ends with 0 after SIGTERM or SIGINT, and with 1 if it cannot start. \fBprobe\fR ends with 0 if the probe
succeeded, 1 if it failed, 2 if it could not be run. \fBrun\fR ends as the command does: with its exit code, or 128 and the
number of the signal that ended it; 127 if there is no such command, 126 if it cannot be run, 125 if the command line is wrong.
\fBagent\fR ends with 0 after SIGTERM or SIGINT, and with 1 if it cannot start; with
\fB\-\-once\fR also if the report did not arrive or something could not be read.
.SH ENVIRONMENT
.TP
\fBHEARTBEAT_URL\fR
The receiver of \fBrun\fR and \fBagent\fR.
.TP
\fBHEARTBEAT_TOKEN\fR
The token of the heartbeat, for \fBrun\fR and \fBagent\fR.
.TP
\fBNO_COLOR\fR
If not empty, \fBprobe\fR prints without colours.
.SH FILES
.TP
\fIblackbox.yml\fR
The configuration, in the working directory, if \fB\-\-config.file\fR names no other.
";
