//! Command line.

mod failure;
mod plan;

use crate::read::{self, ReadOptions, Revision};
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use failure::Failure;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "blackstart", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show layers, order, reasons and problems; reads Git alone, writes nothing
    Plan(PlanArgs),
}

/// What to read.
#[derive(Args, Clone, Debug)]
pub struct InputArgs {
    /// The repository, or any folder inside it
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// The cluster's folder, such as clusters/production
    #[arg(long)]
    pub entrypoint: Option<String>,
    /// Environment: a name in environments/, or a file
    #[arg(long)]
    pub environment: Option<String>,
    /// Commit, branch or tag to read
    #[arg(long)]
    pub revision: Option<String>,
    /// Local clone of another source: Kind/namespace/name, a URL, or the last part of a URL
    #[arg(long = "source")]
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

/// Form of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Human,
    /// For tools.
    Json,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let Verb::Plan(args) = Cli::parse().verb;
    match run(&args) {
        Ok(code) => code,
        Err(failure) => failure.show(),
    }
}

fn run(args: &PlanArgs) -> Result<ExitCode, Failure> {
    let input = &args.input;
    let environment = read::environment(&input.path, input.environment.as_deref())?;
    let sources = input.sources.iter().filter_map(|text| text.split_once('=')).map(|(what, path)| (what.to_owned(), path.into())).collect();
    let options = ReadOptions {
        path: input.path.clone(),
        entrypoint: input.entrypoint.clone(),
        revision: input.revision.clone().map_or(Revision::WorkingTree, Revision::Named),
        sources,
        decrypt: true,
    };
    let reading = read::read_blocking(&options, &environment)?;
    let plan = crate::plan::plan(&reading, &environment);
    plan::print(&plan, args.output).map_err(|error| Failure::new("standard output: cannot be written").because(&error).code(3))?;
    Ok(ExitCode::from(u8::from(plan::is_blocked(&plan))))
}
