//! Command line: words to calls, errors to exit codes. Holds no logic of its own.

mod failure;
mod plan;
mod rehearse;
mod remote;
pub mod sandbox;
mod start;

use crate::report;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub use failure::Failure;

/// Brings a whole Kubernetes environment back from its Git repository, in order, in minutes.
#[derive(Debug, Parser)]
#[command(name = "blackstart", version, about, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// When to use colour
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    color: Color,
    /// Only problems and the result
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Each object, each retry
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show layers, order, reasons and problems; reads Git alone, writes nothing
    Plan(PlanArgs),
    /// Start an environment for the first time; refuses where it exists
    Bootstrap(StartArgs),
    /// Bring an environment back: what survived is kept, what is gone is made again
    Recover(StartArgs),
    /// Do it all in a sandbox on this machine: real control plane and agent, no cloud
    Rehearse(RehearseArgs),
    /// The sandbox by itself
    Sandbox(sandbox::SandboxArgs),
}

/// What to read.
#[derive(Args, Clone, Debug)]
pub struct InputArgs {
    /// The repository, or any folder inside it
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub path: PathBuf,
    /// The cluster's folder, such as clusters/production
    #[arg(long, value_name = "FOLDER")]
    pub entrypoint: Option<String>,
    /// Environment: a name in environments/, or a file
    #[arg(long, value_name = "NAME|FILE")]
    pub environment: Option<String>,
    /// Commit, branch or tag to read
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    /// Local clone of another source: Kind/namespace/name, a URL, or the last part of a URL
    #[arg(long = "source", value_name = "MATCH=PATH")]
    pub sources: Vec<String>,
}

#[derive(Args, Debug)]
struct PlanArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Form of the output
    #[arg(short, long, default_value = "human")]
    output: Output,
}

/// How a run is done and shown.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// What to read.
    #[command(flatten)]
    pub input: InputArgs,
    /// Longest time that a layer may take to become ready (its own spec.timeout counts where it is shorter)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Write each event as a line of JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub events: Option<PathBuf>,
    /// Write report.json, report.md and report.html
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub report: Option<PathBuf>,
    /// Form of the result
    #[arg(short, long, default_value = "human")]
    pub output: Output,
}

#[derive(Args, Debug)]
struct StartArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Cluster to write to; otherwise the environment's, otherwise $KUBECONFIG
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Args, Debug)]
struct RehearseArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Rehearse the first start instead of a recovery
    #[arg(long)]
    bootstrap: bool,
    /// Leave the sandbox running afterwards
    #[arg(long)]
    keep: bool,
}

/// Form of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Human,
    /// For tools.
    Json,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a run is shown.
#[derive(Clone, Copy, Debug)]
struct Show {
    color: report::Color,
    verbosity: report::Verbosity,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::layers::flux::duration(text).ok_or_else(|| format!("`{text}` is no duration; write 90s, 5m or 1h30m"))
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new("cannot start").because(&error).show(),
    };
    let show = Show {
        color: match cli.color {
            Color::Auto => report::Color::Auto,
            Color::Always => report::Color::Always,
            Color::Never => report::Color::Never,
        },
        verbosity: match (cli.quiet, cli.verbose) {
            (true, _) => report::Verbosity::Quiet,
            (_, true) => report::Verbosity::Verbose,
            _ => report::Verbosity::Normal,
        },
    };
    let result = runtime.block_on(async {
        match cli.verb {
            Verb::Plan(args) => start::plan(args).await,
            Verb::Bootstrap(args) => start::start(args, crate::execute::Mode::Bootstrap, show).await,
            Verb::Recover(args) => start::start(args, crate::execute::Mode::Recover, show).await,
            Verb::Rehearse(args) => start::rehearse(args, show).await,
            Verb::Sandbox(args) => sandbox::run(args).await.map(|()| ExitCode::SUCCESS).map_err(Failure::from),
        }
    });
    // What is left of a run (watches, idle connections) needs no farewell.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(failure) => failure.show(),
    }
}
