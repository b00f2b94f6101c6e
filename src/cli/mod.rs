//! Command line: words to calls, errors to exit codes. Holds no logic of its own.

mod account;
mod adopt;
mod all;
mod ask;
mod cloud;
mod context;
mod destroy;
mod edge;
mod expected;
mod failure;
mod fence;
mod follow;
mod form;
mod keys;
mod kubeconfig;
mod live;
mod log;
mod pages;
mod plan;
mod preflight;
mod prove;
mod rehearse;
mod remote;
mod report;
mod runbook;
pub mod sandbox;
mod start;
mod status;
mod verify;

use crate::manifest::yaml::STACK;
use crate::report as reporting;
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
    /// Use colour: auto, always or never
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN", hide_possible_values = true, help_heading = "Display")]
    color: Color,
    /// Show problems and the result only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Display")]
    quiet: bool,
    /// Show each object and each retry too
    #[arg(short, long, global = true, help_heading = "Display")]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what would be done, in which order and why; reads Git alone (--live: the account and the cluster too), writes nothing
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(PlanArgs),
    /// Prove from Git alone that a start from nothing would converge, or list what stands against it
    #[command(after_help = verify::VERIFY_EXAMPLES)]
    Verify(verify::VerifyArgs),
    /// Tell why a layer runs when it runs, and what waits for it
    #[command(after_help = verify::EXPLAIN_EXAMPLES)]
    Explain(verify::ExplainArgs),
    /// Tell what changed between two revisions, layer by layer: commits, and objects that are new, changed or gone
    #[command(after_help = log::LOG_EXAMPLES)]
    Log(log::LogArgs),
    /// Check all that a recovery needs, before it is needed: credentials, permissions, names, secrets, images, tools; writes nothing
    #[command(after_help = PREFLIGHT_EXAMPLES)]
    Preflight(PreflightArgs),
    /// Start an environment for the first time; refuses where it exists
    #[command(after_help = BOOTSTRAP_EXAMPLES)]
    Bootstrap(StartArgs),
    /// Bring an environment back: what survived is kept, what is gone is made again
    #[command(after_help = RECOVER_EXAMPLES)]
    Recover(StartArgs),
    /// Do it all on this machine, in a sandbox with a real control plane and agent; needs no cluster
    #[command(after_help = REHEARSE_EXAMPLES)]
    Rehearse(RehearseArgs),
    /// Show where an environment stands: account, cloud resources, cluster, agent, layers
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Look at everything anew: whether each object, layer, cloud resource and claim is as Git says; writes nothing
    #[command(after_help = PROVE_EXAMPLES)]
    Prove(StatusArgs),
    /// Find what lives of the declared cloud resources, and mark it so that a recovery knows it again
    #[command(after_help = ADOPT_EXAMPLES)]
    Adopt(AdoptArgs),
    /// Delete an environment's cloud resources, and what its cluster made in the account
    #[command(after_help = DESTROY_EXAMPLES)]
    Destroy(DestroyArgs),
    /// Show kept reports of runs again, or compare two
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Write the page for the night: what is needed, what happens in which order, what to type, where to look
    Runbook(RunbookArgs),
    /// Print a kubeconfig for the environment's EKS cluster; it needs this program, and no other
    Kubeconfig(KubeconfigArgs),
    /// Print a token for an EKS cluster, as kubectl asks for it
    Token(TokenArgs),
    /// Build the sandbox's programs; start, list and end sandboxes
    Sandbox(sandbox::SandboxArgs),
    /// Print a shell's completions
    Completions(pages::CompletionsArgs),
    /// Print the manual page, or write one for each verb
    Man(pages::ManArgs),
}

const PLAN_EXAMPLES: &str = "\
Examples:
  blackstart plan                                     the working tree one stands in
  blackstart plan --entrypoint clusters/staging       one cluster of several
  blackstart plan --all                               every cluster of the repository
  blackstart plan --revision v1.4.0 -o json           a release, for tools
  blackstart plan -o graph                            who waits for whom, drawn in the terminal
  blackstart plan -o html > plan.html                 the graph as one page
  blackstart plan --compare origin/main               what a change does to order and objects
  blackstart plan --live --environment production     compared with what lives: needs credentials, writes nothing
  blackstart plan --source d1-infra=../d1-infra       with the clone of another repository that it uses

Exit code: 0, or 1 where a problem would stop a start.";
const PREFLIGHT_EXAMPLES: &str = "\
Examples:
  blackstart preflight --environment production
  blackstart preflight --environment production -o json

A run begins with the short form of it: what stands against single layers (images, charts, DNS) is left to the run.
Exit code: 0, or 1 where something would stop a recovery.";
const REPORT_EXAMPLES: &str = "\
Examples:
  blackstart report report/                                    as the run showed it
  blackstart report --compare monday/ friday/                  what got slower

Exit code: 0, 2 where two reports cannot be compared, 3 where one cannot be read.";
const BOOTSTRAP_EXAMPLES: &str = "\
Examples:
  blackstart bootstrap --environment production --kubeconfig new.yaml
  blackstart bootstrap --entrypoint clusters/production --report report/

A bootstrap that was interrupted goes on with the same command.
Exit code: 0, 1 where something failed or was refused, 130 after Ctrl-C.";
const RECOVER_EXAMPLES: &str = "\
Examples:
  blackstart recover --environment production
  blackstart recover --environment production --kubeconfig new.yaml --report report/
  blackstart recover --environment production --revision v1.4.0 --pin      goes back, and stays there
  blackstart recover --environment production --unpin                      follows Git again

Safe to run again: nothing is written where nothing differs.
Exit code: 0, 1 where something failed or was refused, 130 after Ctrl-C.";
const REHEARSE_EXAMPLES: &str = "\
Examples:
  blackstart rehearse --environment staging           once before: blackstart sandbox install
  blackstart rehearse --report report/                with a page to keep: report/report.html
  blackstart rehearse --disaster all-deleted          builds it, deletes all but backups, recovers, looks for the data
  blackstart rehearse --keep                          leaves the cluster to look at, until Ctrl-C

Exit code: 0, 1 where something failed, 130 after Ctrl-C.";

const STATUS_EXAMPLES: &str = "\
Examples:
  blackstart status --environment production
  blackstart status --environment production -o json

Exit code: 0 where all is as declared, otherwise 1.";
const PROVE_EXAMPLES: &str = "\
Examples:
  blackstart prove --environment production
  blackstart prove --environment production -o json

Exit code: 0 where all of it holds, otherwise 1.";
const ADOPT_EXAMPLES: &str = "\
Examples:
  blackstart adopt --environment production                    shows the evidence, asks, then sets two tags on each
  blackstart adopt --environment production --yes > tags.patch
  git apply tags.patch                                         the tags that Git should declare

Exit code: 0, 1 where something is ambiguous or failed, 2 where nobody can be asked.";
const DESTROY_EXAMPLES: &str = "\
Examples:
  blackstart destroy --environment staging                     lists what goes, and asks for the environment's name
  blackstart destroy --environment staging --confirm staging   for scripts

What has the annotation services.k8s.aws/deletion-policy: retain stays, and what blackstart did not make or adopt.
Safe to run again: it goes on with what is left.
Exit code: 0, 1 where something failed or was refused, 2 where the name is missing or wrong, 130 after Ctrl-C.";

/// What to read.
#[derive(Args, Clone, Debug)]
pub struct InputArgs {
    /// The repository, or any folder inside it
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub path: PathBuf,
    /// The cluster's folder, such as clusters/production
    #[arg(long, value_name = "FOLDER", help_heading = "Input")]
    pub entrypoint: Option<String>,
    /// The environment: its name in environments/, or a file
    #[arg(long, value_name = "NAME|FILE", help_heading = "Input")]
    pub environment: Option<String>,
    /// Another region than the environment's own: one of its spec.aws.regions
    #[arg(long, help_heading = "Input")]
    pub region: Option<String>,
    /// Commit, branch or tag to read
    #[arg(long, value_name = "REV", help_heading = "Input")]
    pub revision: Option<String>,
    /// Clone, bare repository or bundle that stands for a source (of an artifact: the folder that is pushed); MATCH is the end of its URL or Kind/namespace/name
    #[arg(long = "source", value_name = "MATCH=PATH", help_heading = "Input")]
    pub sources: Vec<String>,
    /// Keys that commits must be signed with, instead of those of spec.git.verify: allowed signers of SSH, or an OpenPGP public key
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Input")]
    pub allowed_signers: Vec<PathBuf>,
}

/// `kubeconfig`.
#[derive(Debug, Args)]
struct KubeconfigArgs {
    /// Any folder inside the repository
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    path: PathBuf,
    /// Environment: a name below environments/, or a file
    #[arg(short, long, value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    environment: Option<String>,
    /// Another region than the environment's own: one of its spec.aws.regions
    #[arg(long)]
    region: Option<String>,
    /// Write it there instead of to standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
}

/// `token`.
#[derive(Debug, Args)]
struct TokenArgs {
    /// Name of the EKS cluster
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// Region of the cluster; the one of your AWS configuration where absent
    #[arg(long)]
    region: Option<String>,
}

#[derive(Args, Debug)]
struct PlanArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Compare with what lives in the account and the cluster; writes nothing
    #[arg(long)]
    live: bool,
    /// Every environment in environments/, or every cluster's folder where there is none
    #[arg(long, conflicts_with_all = ["live", "entrypoint", "environment", "report"])]
    all: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Take durations from the report of an earlier run in DIR
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Input")]
    report: Option<PathBuf>,
    /// Show what changed since REV in order and objects, instead of the whole plan
    #[arg(long, value_name = "REV", conflicts_with = "live")]
    compare: Option<String>,
    /// Form of the output: human, graph, json, yaml, markdown, dot, mermaid or html
    #[arg(short, long, default_value = "human", value_name = "FORM", hide_possible_values = true, help_heading = "Display")]
    output: form::Form,
}

#[derive(Args, Debug)]
struct PreflightArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Who is asked for name servers of hosted zones; otherwise the machine's own resolver
    #[arg(long, value_name = "ADDRESS:PORT")]
    resolver: Option<std::net::SocketAddr>,
    /// Form of the output: human or json
    #[arg(short, long, default_value = "human", value_name = "FORM", hide_possible_values = true, help_heading = "Display")]
    output: Output,
}

#[derive(Args, Debug)]
struct ReportArgs {
    /// Folders that runs wrote (--report), or their report.json
    #[arg(required = true, value_name = "DIR", value_hint = ValueHint::AnyPath)]
    folders: Vec<PathBuf>,
    /// Compare the second with the first
    #[arg(long)]
    compare: bool,
    /// Form of the output: human or json
    #[arg(short, long, default_value = "human", value_name = "FORM", hide_possible_values = true, help_heading = "Display")]
    output: Output,
}

#[derive(Args, Debug)]
struct RunbookArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Take durations from the report of an earlier run in DIR
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Input")]
    report: Option<PathBuf>,
    /// Write it there instead of to standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct StatusArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Form of the output: human or json
    #[arg(short, long, default_value = "human", value_name = "FORM", hide_possible_values = true, help_heading = "Display")]
    output: Output,
}

#[derive(Args, Debug)]
struct AdoptArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Mark without asking
    #[arg(short, long)]
    yes: bool,
}

#[derive(Args, Debug)]
struct DestroyArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The environment's name, instead of typing it when asked
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
}

/// How a run is done and shown.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// What to read.
    #[command(flatten)]
    pub input: InputArgs,
    /// Longest wait for one layer (or resource that is deleted), such as 5m; a layer's own spec.timeout counts where it is shorter
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Write what happens to FILE, one JSON object a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub events: Option<PathBuf>,
    /// Keep report.html, report.md and report.json in DIR (or s3://BUCKET/PREFIX, configmap://NAMESPACE/NAME)
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub report: Option<PathBuf>,
    /// Form of the result: human or json
    #[arg(short, long, default_value = "human", value_name = "FORM", hide_possible_values = true, help_heading = "Display")]
    pub output: Output,
}

#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[derive(Args, Debug)]
struct StartArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Go on though the checks before the first write found blockers
    #[arg(long)]
    ignore_preflight: bool,
    /// Keep the agent at this commit, whatever its branch has: to go back without rolling forward again
    #[arg(long)]
    pin: bool,
    /// Let the agent follow Git again, after --pin
    #[arg(long, conflicts_with = "pin")]
    unpin: bool,
    /// Take a commit in that comes meanwhile in PATH and changes what is waited for; after a failure, wait for one that mends it
    #[arg(long, conflicts_with = "pin")]
    follow: bool,
    /// Kubeconfig of the cluster whose place this one takes; otherwise the environment's own, where --kubeconfig names another
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    replaces: Option<PathBuf>,
    /// Where that one still acts: suspend its agent, image automation and external-dns
    #[arg(long, conflicts_with = "beside")]
    fence: bool,
    /// Where that one still acts: let it
    #[arg(long)]
    beside: bool,
}

/// Which cluster.
#[derive(Args, Clone, Debug, Default)]
struct ClusterArgs {
    /// The cluster; otherwise the environment's, otherwise $KUBECONFIG
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Args, Clone, Debug)]
struct RehearseArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Rehearse the first start instead of a recovery
    #[arg(long)]
    bootstrap: bool,
    /// Leave the sandbox running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Build it, lose it, recover it: cluster-deleted, all-deleted, half-deleted, namespace-deleted, agent-deleted, etcd-lost, volumes-remain, region-lost (with --region), or a file
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "bootstrap")]
    disaster: Option<String>,
    /// What a disaster draws; printed where it is drawn itself
    #[arg(long, value_name = "N", requires = "disaster")]
    seed: Option<u64>,
    /// Let the recovery die so many times at drawn moments, as by kill -9, before it may end
    #[arg(long, value_name = "N", requires = "disaster", default_value_t = 0)]
    interrupt: u32,
    /// Recover while 5 % of the calls to AWS fail, 10 % are throttled, 2 % are not answered, and what is new is unknown for 3 s
    #[arg(long, requires = "disaster")]
    faults: bool,
    /// How long cloud resources take here: 1:60 makes a minute of AWS a second, 1:1 is real, 0 is at once
    #[arg(long, value_name = "1:N", default_value = "1:60")]
    time_scale: sandbox::TimeScale,
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
    color: reporting::Color,
    verbosity: reporting::Verbosity,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::layers::flux::duration(text).ok_or_else(|| format!("`{text}` is no duration; write 90s, 5m or 1h30m"))
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // A core file would hold the secrets that are in memory; programs that are started inherit this.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    match cli.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(4).thread_stack_size(STACK).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new("cannot start").because(&error).show(),
    };
    let show = Show {
        color: match cli.color {
            Color::Auto => reporting::Color::Auto,
            Color::Always => reporting::Color::Always,
            Color::Never => reporting::Color::Never,
        },
        verbosity: match (cli.quiet, cli.verbose) {
            (true, _) => reporting::Verbosity::Quiet,
            (_, true) => reporting::Verbosity::Verbose,
            _ => reporting::Verbosity::Normal,
        },
    };
    let result = runtime.block_on(async {
        match cli.verb {
            Verb::Plan(args) => start::plan(args, cli.quiet).await,
            Verb::Verify(args) => verify::verify(args, cli.verbose).await,
            Verb::Explain(args) => verify::explain(args).await,
            Verb::Log(args) => log::log(args).await,
            Verb::Preflight(args) => preflight::preflight(args, show).await,
            Verb::Bootstrap(args) => start::start(args, crate::execute::Mode::Bootstrap, show).await,
            Verb::Recover(args) => start::start(args, crate::execute::Mode::Recover, show).await,
            Verb::Rehearse(args) => rehearse::rehearse(args, show).await,
            Verb::Status(args) => status::status(args, cli.quiet).await,
            Verb::Prove(args) => prove::prove(args, cli.quiet).await,
            Verb::Adopt(args) => adopt::adopt(args).await,
            Verb::Destroy(args) => destroy::destroy(args, show).await,
            Verb::Report(args) => report::report(&args),
            Verb::Runbook(args) => runbook::runbook(args).await,
            Verb::Kubeconfig(args) => kubeconfig::kubeconfig(args).await,
            Verb::Token(args) => kubeconfig::token(args).await,
            Verb::Completions(args) => pages::completions(&args),
            Verb::Man(args) => pages::man(&args),
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
