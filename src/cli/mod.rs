//! Command line.
pub mod sandbox;
use clap::Parser as _;

#[derive(clap::Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Sandboxes
    Sandbox(sandbox::SandboxArgs),
}

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    use std::io::Write as _;
    let cli = Cli::parse();
    let Ok(runtime) = tokio::runtime::Runtime::new() else { return std::process::ExitCode::from(2) };
    let Verb::Sandbox(args) = cli.verb;
    match runtime.block_on(sandbox::run(args)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(anstream::stderr(), "error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
