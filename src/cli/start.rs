//! `plan`, `bootstrap`, `recover`, `rehearse`: from arguments to a run.

use super::cloud::Ahead;
use super::follow::Working;
use super::form::Form;
use super::prove::Proof;
use super::{ClusterArgs, Failure, InputArgs, Output, PlanArgs, RunArgs, Show, StartArgs};
use crate::cluster::Cluster;
use crate::environment::check::Check;
use crate::environment::{Environment, Given, SecretSource};
use crate::execute::follow::{self, Follow};
use crate::execute::journal::Journal;
use crate::execute::kubeconfig::{self, Appears};
use crate::execute::{self, Below, Events, Finished, Installation, Mode, Run};
use crate::manifest::Resource;
use crate::plan::Plan;
use crate::plan::estimate::estimate;
use crate::read::{self, ReadOptions, Reading, Revision, SecretValues};
use crate::report;
use crate::report::event::Happening;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// What a run works from.
pub(super) struct Input {
    pub(super) environment: Environment,
    pub(super) reading: Arc<Reading>,
    pub(super) plan: Plan,
    /// Secrets and variables as objects.
    pub(super) secrets: Vec<Resource>,
}

impl Input {
    /// Whether AWS is asked for anything: resources, secrets, the kubeconfig.
    pub(super) fn needs_account(&self) -> bool {
        let spec = &self.environment.spec;
        let of_commands = spec.commands.iter().flat_map(|command| command.env.values()).filter_map(|given| match given {
            Given::Secret(source) => Some(source),
            Given::Text(_) => None,
        });
        let of_cluster = spec.cluster.iter().filter_map(|cluster| cluster.from.as_ref());
        let mut sources = spec.secrets.iter().map(|secret| &secret.from).chain(of_commands).chain(of_cluster);
        let asks_with_secrets = self.reading.checks.iter().any(Check::needs_account);
        !self.plan.declared.is_empty() || !self.plan.state.is_empty() || asks_with_secrets || sources.any(SecretSource::is_in_aws)
    }

    /// Whether a run needs nothing but its cluster.
    pub(super) fn has_nothing_below(&self) -> bool {
        self.plan.commands.is_empty() && !self.needs_account()
    }
}

/// Reads the environment and the repository. `default` is what is read without `--revision`.
pub(super) async fn read_all(args: &InputArgs, default: Revision) -> Result<(Environment, Reading), Failure> {
    let environment = read::environment(&args.path, args.environment.as_deref(), args.region.as_deref())?;
    read_with(args, environment, default, SecretValues::default()).await
}

/// The same with what only AWS can open, where something stays encrypted otherwise.
pub(super) async fn read_unlocked(args: &InputArgs, default: Revision) -> Result<(Environment, Reading), Failure> {
    let (environment, reading) = read_all(args, default.clone()).await?;
    if !super::keys::is_locked(&reading) {
        return Ok((environment, reading));
    }
    match super::keys::fetched(&environment).await? {
        Some(values) => read_with(args, environment, default, values).await,
        None => Ok((environment, reading)),
    }
}

async fn read_with(
    args: &InputArgs,
    mut environment: Environment,
    default: Revision,
    values: SecretValues,
) -> Result<(Environment, Reading), Failure> {
    let sources = args
        .sources
        .iter()
        .map(|text| {
            text.split_once('=').map(|(what, path)| (what.to_owned(), path.into())).ok_or_else(|| {
                let hint = "write MATCH=PATH, such as --source d1-infra=../d1-infra";
                Failure::new(format!("--source {text}: no `=` in it")).hint(hint).code(2)
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let revision = args.revision.clone().map_or(default, Revision::Named);
    let options = ReadOptions {
        path: args.path.clone(),
        entrypoint: args.entrypoint.clone(),
        revision,
        sources,
        decrypt: true,
        allowed_signers: args.allowed_signers.clone(),
    };
    let reading = read::read_with(&options, &environment, values).await?;
    if environment.name.is_empty() {
        let name = reading.entrypoint.rsplit('/').next().unwrap_or_default();
        environment.name = if name.is_empty() { "default".to_owned() } else { name.to_owned() };
    }
    Ok((environment, reading))
}

/// Refuses an environment of Argo CD, before anything is written or asked.
pub(super) fn flux_only(reading: &Reading, what: &str) -> Result<(), Failure> {
    let is_argo = reading.layers.iter().any(|read| read.layer.spec.application.is_some());
    let refusal = || {
        let entry = if reading.entrypoint.is_empty() { "." } else { &reading.entrypoint };
        Failure::new(format!("{entry}: is an environment of Argo CD, and {what} needs Flux; nothing was written"))
            .hint("blackstart plan shows its layers and their order")
    };
    if is_argo { Err(refusal()) } else { Ok(()) }
}

/// `blackstart plan`.
pub(super) async fn plan(args: PlanArgs, quiet: bool) -> Result<ExitCode, Failure> {
    if !args.live && (args.cluster.kubeconfig.is_some() || args.cluster.context.is_some()) {
        return Err(Failure::new("--kubeconfig and --context: a plan asks the cluster only with --live").code(2));
    }
    if args.all {
        return super::all::plan(&args, quiet).await;
    }
    let (environment, reading) = read_all(&args.input, Revision::WorkingTree).await?;
    let mut plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
    let measured = args.report.as_deref().map(|folder| report::measured(folder, &plan.environment, false)).unwrap_or_default();
    plan.expected = Some(estimate(&plan, &measured, 1.0));
    if args.live {
        flux_only(&reading, "plan --live")?;
        super::live::compare(&mut plan, &reading, &environment, &args.cluster).await?;
    }
    match (&args.compare, args.output) {
        (Some(revision), output) => super::verify::compare(&args.input, revision, output, &environment, (&plan, &reading)).await?,
        (None, Form::Human) => print_out(&super::plan::text(&plan, quiet))?,
        (None, output) => super::form::plan(output, &plan, &reading)?,
    }
    Ok(ExitCode::from(u8::from(super::plan::is_blocked(&plan))))
}

/// Reads everything that a run needs; all that is wrong with it is told at once.
/// A rehearsal speaks to no AWS but its own, and so opens what this machine can.
pub(super) async fn input(args: &InputArgs, rehearsal: bool, events: &Events) -> Result<Input, Failure> {
    phase(events, "read", "repository and environment");
    let head = Revision::Named("HEAD".into());
    let (environment, reading) = if rehearsal { read_all(args, head).await? } else { Box::pin(read_unlocked(args, head)).await? };
    flux_only(&reading, "a run")?;
    let mut plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
    plan.problems.extend(reading.assumed.iter().cloned());
    if rehearsal {
        read::signatures::tolerate(&mut plan.problems);
    }
    let secrets = match read::secrets(&environment).await {
        Ok(secrets) => secrets,
        Err(read::ReadError::Invalid { problems }) => {
            plan.problems.splice(0..0, problems);
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    if super::plan::is_blocked(&plan) {
        return Err(Failure::problems(plan.problems));
    }
    for problem in &plan.problems {
        let place = problem.origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default();
        events.send(Happening::Warning { node: None, message: format!("{place}{}", problem.message) });
    }
    Ok(Input { environment, reading: Arc::new(reading), plan, secrets })
}

/// `blackstart bootstrap` and `blackstart recover`.
pub(super) async fn start(args: StartArgs, mode: Mode, show: Show) -> Result<ExitCode, Failure> {
    if args.follow {
        return Box::pin(super::follow::start(&args, mode, show)).await;
    }
    let (events, reporter) = reporter(&args.run, show)?;
    let result = Box::pin(start_reported(&args, mode, &events, stop_signal(), &watch::channel(None).0)).await;
    finish(result, events, reporter, &args.run, Some(&args.cluster)).await
}

/// One run; what it works from is told as soon as it is read.
pub(super) async fn start_reported(
    args: &StartArgs,
    mode: Mode,
    events: &Events,
    mut stop: watch::Receiver<u8>,
    working: &watch::Sender<Working>,
) -> Result<Finished, Failure> {
    let mut given = tokio::select! {
        given = input(&args.run.input, false, events) => given?,
        _ = stop.changed() => return Err(Failure::new("interrupted before the first write").code(130)),
    };
    working.send_replace(Some((given.reading.clone(), given.plan.clone())));
    let verb = if mode == Mode::Bootstrap { "bootstrap" } else { "recover" };
    super::context::tell(events, verb, &given.environment, &given.plan.revision, &args.run.input.path);
    let follow = match (args.pin, args.unpin) {
        (true, _) => follow::pin(&given.reading).map(Follow::Pinned).map_err(|why| {
            let hint = "push the commit to the branch that the agent follows, and leave --pin out";
            Failure::new(format!("--pin: {why}; nothing was written")).hint(hint)
        })?,
        (_, true) => Follow::Unpinned,
        _ => Follow::AsDeclared,
    };
    let access = super::cloud::access(&given.environment);
    let interrupted = || Failure::new("interrupted before the first write").code(130);
    // Parties that do not know of each other: the account, the agent's remote, the files at hand, the cluster where it is there already.
    let journals = Journal::folder();
    let before = async {
        let account = super::cloud::look(&given, &access, mode, journals.as_deref(), events, &stop);
        let remote = super::remote::check(&given.reading, &args.run.input, args.pin);
        let components = read::agent_components(&given.reading, &given.environment);
        let (account, remote, components) = tokio::join!(account, remote, components);
        remote?;
        let account = account?;
        let lower = account.as_ref().and_then(Ahead::lower);
        let backups = account.as_ref().map(Ahead::backups).unwrap_or_default();
        super::preflight::before(&given, lower, &access, &backups, args.ignore_preflight, events).await?;
        Ok::<_, Failure>((account, components?))
    };
    let is_made_below = given.plan.edges.iter().any(|edge| edge.to.starts_with("cluster/") && execute::is_below(&edge.from));
    let appears = given.environment.spec.cluster.as_ref().is_some_and(|cluster| cluster.from.is_some());
    let early = async {
        if is_made_below || appears { Ok(None) } else { look_at_cluster(args, &given, mode, events, None, &stop).await.map(Some) }
    };
    let mut interrupt = stop.clone();
    let (before, seen) = tokio::select! {
        both = async { tokio::join!(before, early) } => both,
        _ = interrupt.changed() => return Err(interrupted()),
    };
    // What stands against the account and the files is told first: it is ours to mend.
    let ((mut account, components), seen) = (before?, seen?);
    let claims = account.as_mut().map(|ahead| ahead.complete(&mut given.plan)).unwrap_or_default();
    let measured = measured(&args.run, &given.plan, false);
    execute::announce(&given.plan, &estimate(&given.plan, &measured, 1.0), events);
    let (reading, environment, plan) = (given.reading.clone(), given.environment.clone(), given.plan.clone());
    let connected = OnceLock::new();
    let above = async |below: Option<Below>| {
        let (cluster, look) = if let Some(seen) = seen {
            seen
        } else {
            tokio::select! {
                seen = look_at_cluster(args, &given, mode, events, below.as_ref(), &stop) => seen?,
                _ = interrupt.changed() => return Err(Failure::new("interrupted before the first write to the cluster").code(130)),
            }
        };
        let _ = connected.set(cluster.clone());
        let Input { reading, plan, secrets, .. } = given;
        let run = Run {
            mode,
            plan,
            reading,
            secrets,
            stand_ins: Vec::new(),
            cluster,
            installation: Installation { components, start: None },
            below,
            claims,
            follow,
            timeout: args.run.timeout,
            events: events.clone(),
            stop: stop.clone(),
        };
        Ok(execute::run(run, look).await?)
    };
    let has_account = account.is_some();
    let mut finished = match account {
        Some(ahead) => Box::pin(ahead.carry(events, |below| above(Some(below)))).await?,
        None => Box::pin(above(None)).await?,
    };
    if let (true, Some(cluster)) = (finished.success, connected.get()) {
        let access = Some(&access).filter(|_| has_account);
        let proof = Proof { cluster, reading: &reading, environment: &environment, plan: &plan, access, rehearsal: false, stop };
        finished.success = proof.tell(events).await?;
        finished.interrupted |= !finished.success && proof.is_interrupted();
    }
    Ok(finished)
}

async fn look_at_cluster(
    args: &StartArgs,
    given: &Input,
    mode: Mode,
    events: &Events,
    below: Option<&Below>,
    stop: &watch::Receiver<u8>,
) -> Result<(Cluster, execute::Look), Failure> {
    phase(events, "connect", "cluster");
    let cluster = connect_run(&args.cluster, given, events, below, stop).await?;
    super::fence::keep_apart(args, &given.environment, &given.reading, &cluster, events).await?;
    let look = execute::look(&cluster, &given.plan.environment, &given.reading, mode).await?;
    Ok((cluster, look))
}

/// The cluster of a run: its kubeconfig may have to appear first.
async fn connect_run(
    args: &ClusterArgs,
    given: &Input,
    events: &Events,
    below: Option<&Below>,
    stop: &watch::Receiver<u8>,
) -> Result<Cluster, Failure> {
    let environment = &given.environment;
    let place = environment.spec.cluster.clone().unwrap_or_default();
    let context = args.context.clone().or(place.context);
    if let (Some(source), None) = (&place.from, &args.kubeconfig) {
        let appears = Appears {
            source,
            base: &environment.base,
            cloud: below.and_then(|below| below.cloud.as_deref()),
            context: context.as_deref(),
            timeout: place.timeout.unwrap_or(kubeconfig::PATIENCE),
            name: given.plan.nodes.iter().find_map(|node| node.id.strip_prefix("cluster/")).unwrap_or(&environment.name),
            events,
            stop: stop.clone(),
        };
        return Ok(kubeconfig::connect(appears).await?);
    }
    connect(args, environment).await
}

/// The cluster that is asked for, else the environment's, else the user's own.
pub(super) async fn connect(args: &ClusterArgs, environment: &Environment) -> Result<Cluster, Failure> {
    let place = environment.spec.cluster.clone().unwrap_or_default();
    let context = args.context.clone().or(place.context);
    if let (Some(name), None) = (&place.eks, &args.kubeconfig) {
        let access = super::cloud::access(environment);
        let cloud = super::cloud::connect(&access).await?;
        let config = super::kubeconfig::of_eks(&cloud, &access, name).await?;
        return Ok(Cluster::connect_with(&config, name).await?);
    }
    let file = place.kubeconfig.map(|path| read::place(&path.to_string_lossy(), &environment.base));
    Ok(Cluster::connect(args.kubeconfig.clone().or(file).as_deref(), context.as_deref()).await?)
}

/// Prints to standard output; a reader that has seen enough is no error.
pub(super) fn print_out(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new("standard output: cannot be written").because(&error).code(3))
        }
        _ => Ok(()),
    }
}

/// What earlier runs have measured, where this one's report goes.
pub(super) fn measured(args: &RunArgs, plan: &Plan, rehearsal: bool) -> BTreeMap<String, f64> {
    args.report.as_deref().map(|folder| report::measured(folder, &plan.environment, rehearsal)).unwrap_or_default()
}

pub(super) fn phase(events: &Events, name: &str, detail: &str) {
    events.send(Happening::Phase { name: name.into(), detail: detail.into() });
}

pub(super) fn reporter(args: &RunArgs, show: Show) -> Result<(Events, report::Reporter), Failure> {
    reporter_again(args, show, false)
}

/// `again`: events are added to those of the run before it.
pub(super) fn reporter_again(args: &RunArgs, show: Show, again: bool) -> Result<(Events, report::Reporter), Failure> {
    let place = super::report::place(args)?;
    let options = report::Options {
        color: show.color,
        verbosity: show.verbosity,
        mode: report::Mode::Auto,
        output: if args.output == Output::Json { report::Output::Json } else { report::Output::Human },
        events_file: args.events.clone(),
        again,
        report_dir: args.report.clone().filter(|_| place.is_none()),
    };
    let (sink, reporter) = report::start(options).map_err(|error| Failure::new(error.to_string()).because(&error).code(3))?;
    Ok((Events::new(sink), reporter))
}

/// Ends the report, whatever happened, keeps it, and gives the exit code. `cluster` is none where it is gone by now.
pub(super) async fn finish(
    result: Result<Finished, Failure>,
    events: Events,
    reporter: report::Reporter,
    args: &RunArgs,
    cluster: Option<&ClusterArgs>,
) -> Result<ExitCode, Failure> {
    if let Ok(finished) = &result {
        events.send(Happening::Ended { success: finished.success, summary: finished.summary.clone() });
    }
    drop(events);
    let summary = reporter.finish(result.as_ref().err().map(Failure::message)).await;
    let kept = match super::report::place(args)? {
        Some(place) => Box::pin(super::report::keep(&place, &summary.report, args, cluster)).await,
        None => Ok(()),
    };
    if let Err(failure) = &kept {
        // What the run itself says comes last.
        failure.show();
    }
    let finished = result?;
    if finished.interrupted {
        return Ok(ExitCode::from(130));
    }
    Ok(ExitCode::from(u8::from(!finished.success || !summary.errors.is_empty() || kept.is_err())))
}

/// Counts Ctrl-C and SIGTERM: the first finishes what runs, the second stops at once.
pub(super) fn stop_signal() -> watch::Receiver<u8> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = watch::channel(0_u8);
    if let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                sender.send_modify(|count| *count = count.saturating_add(1));
            }
        });
    }
    receiver
}
