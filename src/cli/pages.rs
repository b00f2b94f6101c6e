//! `completions` and `man`: what a package of the program ships beside it, made from the command line's own description.

use super::{Cli, Failure};
use clap::{Args, CommandFactory, ValueHint};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// Write a page for each verb to this folder instead
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    folder: Option<PathBuf>,
}

/// `blackstart completions`.
pub(super) fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "blackstart", &mut text);
    print(&text)
}

/// `blackstart man`.
pub(super) fn man(args: &ManArgs) -> Result<ExitCode, Failure> {
    let Some(folder) = &args.folder else {
        let mut text = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(|error| failed("standard output", &error))?;
        return print(&text);
    };
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map(|()| ExitCode::SUCCESS).map_err(|error| failed(&folder.display().to_string(), &error))
}

fn print(text: &[u8]) -> Result<ExitCode, Failure> {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed("standard output", &error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(format!("{what}: cannot be written")).because(error).code(3)
}
