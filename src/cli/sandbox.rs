//! `blackstart sandbox`: install, up, down, status; what concerns its AWS stands in `edge`.

use crate::layers::SourceId;
use crate::sandbox::{self, CloudOptions, Options, Sandbox, SandboxError, State, state};
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

/// `blackstart sandbox …`.
#[derive(Debug, clap::Args)]
pub struct SandboxArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Build the sandbox's programs once, into the cache folder
    Install,
    /// Start a sandbox: a real Kubernetes control plane on the loopback, until Ctrl-C
    Up(Up),
    /// End a sandbox and remove everything of it; without a name, remove what dead runs left
    Down(Down),
    /// List the sandboxes, and what dead runs left
    Status(Status),
    /// Set faults of a sandbox's AWS while a run goes on; without any, show them
    Fault(super::edge::Fault),
    /// List every call to a sandbox's AWS
    Calls(super::edge::Calls),
    /// Become a component, bound to the life of its owner
    #[command(hide = true)]
    Exec(Exec),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    #[default]
    Human,
    Json,
}

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line are bools")]
struct Up {
    /// Name of the sandbox; a random one where absent
    #[arg(long)]
    name: Option<String>,
    /// Go to the background as soon as it is ready
    #[arg(long)]
    detach: bool,
    /// Three nodes in three zones instead of one
    #[arg(long)]
    zones: bool,
    /// Install Flux's CRDs and start its controllers
    #[arg(long)]
    controllers: bool,
    /// Write an audit log of every write to the API
    #[arg(long)]
    audit: bool,
    /// Start an AWS too: moto, with an EKS whose clusters lead to this control plane
    #[arg(long)]
    cloud: bool,
    /// Account of that AWS
    #[arg(long, value_name = "ID", requires = "cloud", default_value = "123456789012", value_parser = account)]
    account: String,
    /// How long its resources take: 1:60 makes a minute of AWS a second, 1:1 is real, 0 is at once
    #[arg(long, value_name = "1:N", requires = "cloud", default_value = "1:60")]
    time_scale: TimeScale,
    /// Files of a source: Kind/namespace/name=FOLDER; may be given several times
    #[arg(long = "source", value_name = "SOURCE=FOLDER", value_parser = source)]
    sources: Vec<(SourceId, PathBuf)>,
    /// Output
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// The background half of --detach
    #[arg(long, hide = true)]
    detached: bool,
}

#[derive(Debug, clap::Args)]
struct Down {
    /// Names of the sandboxes
    names: Vec<String>,
    /// All sandboxes of this user
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct Status {
    /// Output
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, clap::Args)]
struct Exec {
    #[arg(long)]
    parent: u32,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

fn source(text: &str) -> Result<(SourceId, PathBuf), String> {
    let (id, folder) = text.split_once('=').ok_or("not SOURCE=FOLDER")?;
    match id.split('/').collect::<Vec<_>>()[..] {
        [kind, namespace, name] => {
            Ok((SourceId { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }, folder.into()))
        }
        _ => Err("the source must be Kind/namespace/name, such as GitRepository/flux-system/flux-system".to_owned()),
    }
}

/// `1:60`: seconds of AWS in one second here; `0` is at once.
#[derive(Clone, Copy, Debug)]
pub struct TimeScale(u32);

impl TimeScale {
    /// Seconds here for one in AWS.
    pub(super) fn seconds(self) -> f64 {
        if self.0 == 0 { 0.0 } else { 1.0 / f64::from(self.0) }
    }
}

impl std::str::FromStr for TimeScale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let times =
            if text == "0" { Some(0) } else { text.strip_prefix("1:").and_then(|times| times.parse().ok()).filter(|times| *times > 0) };
        times.map(Self).ok_or_else(|| format!("`{text}` is no time scale; write 1:60, 1:1 or 0"))
    }
}

impl std::fmt::Display for TimeScale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 { f.write_str("0") } else { write!(f, "1:{}", self.0) }
    }
}

fn account(text: &str) -> Result<String, String> {
    let is_one = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then(|| text.to_owned()).ok_or_else(|| format!("`{text}` is no account; it has twelve digits"))
}

/// Runs the verb.
pub async fn run(args: SandboxArgs) -> Result<(), SandboxError> {
    match args.verb {
        Verb::Install => {
            let built = sandbox::components::install_with_progress().await?;
            err(&format!("{}\n", if built == 0 { "everything is there".to_owned() } else { format!("{built} components built") }));
            Ok(())
        }
        Verb::Up(args) if args.detach => detach(&args).await,
        Verb::Up(args) => up(args).await,
        Verb::Down(args) => down(args).await,
        Verb::Status(args) => status(args.output),
        Verb::Fault(args) => super::edge::fault(args).await,
        Verb::Calls(args) => super::edge::calls(args).await,
        Verb::Exec(args) => {
            let source = sandbox::become_component(args.parent, &args.command);
            Err(SandboxError::Io { what: args.command.first().cloned().unwrap_or_default(), source })
        }
    }
}

async fn up(args: Up) -> Result<(), SandboxError> {
    if args.detached {
        // Away from the terminal: neither its Ctrl-C nor its end shall reach the sandbox.
        let _ = rustix::process::setsid();
    }
    let mut stop = Stop::new()?;
    let mut trees = Vec::new();
    for (id, folder) in &args.sources {
        let tree = sandbox::local_tree(folder)
            .map_err(|source| SandboxError::Io { what: format!("source {id}: {}", folder.display()), source })?;
        trees.push((id.clone(), tree));
    }
    let cloud =
        args.cloud.then(|| CloudOptions { account: args.account, time_scale: args.time_scale.seconds(), ..CloudOptions::default() });
    let options =
        Options { name: args.name, zones: args.zones, controllers: args.controllers, audit: args.audit, cloud, ..Options::default() };
    // Dropped half way, a start removes what it has made.
    let sandbox = tokio::select! {
        sandbox = Sandbox::up(options) => sandbox?,
        () = stop.asked() => return Ok(()),
    };
    sandbox.set_sources(trees);
    let timing = sandbox.timing();
    if args.output == Format::Json || args.detached {
        out(&format!("{}\n", describe(sandbox.state())));
    } else {
        err(&format!(
            "sandbox {} is ready after {:.1} s (API server after {:.1} s)\n",
            sandbox.id(),
            timing.ready.as_secs_f64(),
            timing.api.as_secs_f64()
        ));
        out(&exports(&describe(sandbox.state())));
    }
    if !args.detached {
        err("Ctrl-C ends it\n");
    }
    stop.asked().await;
    sandbox.down().await
}

/// Starts the same command in the background and waits until it says that it is ready.
async fn detach(args: &Up) -> Result<(), SandboxError> {
    use std::process::Stdio;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
    let failed = |source| SandboxError::Io { what: "sandbox in the background".to_owned(), source };
    let mut command = tokio::process::Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["sandbox", "up", "--detached"]);
    command.args(args.name.iter().flat_map(|name| ["--name", name.as_str()]));
    for (set, flag) in [(args.zones, "--zones"), (args.controllers, "--controllers"), (args.audit, "--audit"), (args.cloud, "--cloud")] {
        command.args(set.then_some(flag));
    }
    if args.cloud {
        command.args(["--account", &args.account, "--time-scale", &args.time_scale.to_string()]);
    }
    for (id, folder) in &args.sources {
        command.arg("--source").arg(format!("{id}={}", folder.display()));
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).await.map_err(failed)?;
    }
    let Ok(state) = serde_json::from_str::<serde_json::Value>(&line) else {
        let mut text = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut text).await.map_err(failed)?;
        }
        let _ = child.wait().await;
        return Err(failed(std::io::Error::other(text.trim().trim_start_matches("error: ").to_owned())));
    };
    if args.output == Format::Json {
        out(&line);
    } else {
        err(&format!("sandbox {} is ready; `blackstart sandbox down {0}` ends it\n", state["id"].as_str().unwrap_or_default()));
        out(&exports(&state));
    }
    Ok(())
}

async fn down(args: Down) -> Result<(), SandboxError> {
    for id in state::sweep().await? {
        err(&format!("sandbox {id}: removed what a dead run left\n"));
        if args.names.contains(&id) && args.names.len() == 1 {
            return Ok(());
        }
    }
    let living = state::list()?;
    let names = if args.all { living.into_iter().map(|state| state.id).collect() } else { args.names };
    for id in names {
        sandbox::down(&id).await?;
        err(&format!("sandbox {id}: ended and removed\n"));
    }
    Ok(())
}

fn status(output: Format) -> Result<(), SandboxError> {
    let states = state::list()?;
    if output == Format::Json {
        let sandboxes: Vec<_> = states.iter().map(describe).collect();
        out(&format!("{:#}\n", json!({"apiVersion": "blackstart/v1alpha1", "kind": "SandboxList", "sandboxes": sandboxes})));
        return Ok(());
    }
    if states.is_empty() {
        err("no sandbox\n");
    }
    for state in states {
        let how = match (state.dead(), state.ready) {
            (true, _) => "left by a dead run; `blackstart sandbox down` removes it",
            (false, true) => "ready",
            (false, false) => "starting",
        };
        out(&format!("sandbox {}: {how} (owner {})\n  kubeconfig {}\n", state.id, state.owner.pid, state.kubeconfig.display()));
        for component in &state.components {
            let alive = if component.process.alive() { "runs" } else { "gone" };
            let port = component.port.map(|port| format!("127.0.0.1:{port}")).unwrap_or_default();
            out(&format!("  {:<24} {alive} {:>8} {port:<16} {}\n", component.name, component.process.pid, component.log.display()));
        }
    }
    Ok(())
}

/// How a shell uses a sandbox, from its state as JSON.
fn exports(state: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = format!("export KUBECONFIG={}\n", text(&state["kubeconfig"]));
    let cloud = &state["cloud"];
    if cloud.is_object() {
        for (variable, field) in
            [("AWS_ENDPOINT_URL", "endpoint"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_REGION", "region")]
        {
            let _ = writeln!(lines, "export {variable}={}", text(&cloud[field]));
        }
        // These would win over the file.
        lines += "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE\n";
    }
    lines
}

fn describe(state: &State) -> serde_json::Value {
    let mut value = serde_json::to_value(state).unwrap_or_default();
    value["ownerAlive"] = (!state.dead()).into();
    if let Some(list) = value["components"].as_array_mut() {
        for (component, known) in list.iter_mut().zip(&state.components) {
            component["alive"] = known.process.alive().into();
        }
    }
    value
}

/// Ctrl-C, a polite kill, or the end of the terminal.
struct Stop {
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self, SandboxError> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |source| SandboxError::Io { what: "signal handler".to_owned(), source };
        Ok(Self {
            hangup: signal(SignalKind::hangup()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

// A reader that went away is no error of ours.
pub(super) fn out(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
    let _ = anstream::stdout().flush();
}

fn err(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}
