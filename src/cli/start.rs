//! `plan`, `bootstrap`, `recover`, `rehearse`: from arguments to a run.

use super::{ClusterArgs, Failure, InputArgs, Output, PlanArgs, RehearseArgs, RunArgs, Show, StartArgs};
use crate::aws::Cloud;
use crate::cluster::Cluster;
use crate::environment::Environment;
use crate::execute::{self, Events, Finished, Installation, Mode, Run};
use crate::manifest::Resource;
use crate::plan::Plan;
use crate::read::{self, ReadOptions, Reading, Revision};
use crate::report;
use crate::report::event::Happening;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

/// What a run works from.
pub(super) struct Input {
    pub(super) environment: Environment,
    pub(super) reading: Reading,
    pub(super) plan: Plan,
    /// Secrets and variables as objects.
    pub(super) secrets: Vec<Resource>,
}

/// Reads the environment and the repository. `default` is what is read without `--revision`.
pub(super) async fn read_all(args: &InputArgs, default: Revision) -> Result<(Environment, Reading), Failure> {
    let mut environment = read::environment(&args.path, args.environment.as_deref())?;
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
    let options = ReadOptions { path: args.path.clone(), entrypoint: args.entrypoint.clone(), revision, sources, decrypt: true };
    let reading = read::read(&options, &environment).await?;
    if environment.name.is_empty() {
        let name = reading.entrypoint.rsplit('/').next().unwrap_or_default();
        environment.name = if name.is_empty() { "default".to_owned() } else { name.to_owned() };
    }
    Ok((environment, reading))
}

/// `blackstart plan`.
pub(super) async fn plan(args: PlanArgs, quiet: bool) -> Result<ExitCode, Failure> {
    if !args.live && (args.cluster.kubeconfig.is_some() || args.cluster.context.is_some()) {
        return Err(Failure::new("--kubeconfig and --context: a plan asks the cluster only with --live").code(2));
    }
    let (environment, reading) = read_all(&args.input, Revision::WorkingTree).await?;
    let mut plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
    if args.live {
        super::live::compare(&mut plan, &reading, &environment, &args.cluster).await?;
    }
    super::plan::print(&plan, args.output, quiet)
        .map_err(|error| Failure::new("standard output: cannot be written").because(&error).code(3))?;
    Ok(ExitCode::from(u8::from(super::plan::is_blocked(&plan))))
}

/// Reads everything that a run needs; all that is wrong with it is told at once.
pub(super) async fn input(args: &InputArgs, events: &Events) -> Result<Input, Failure> {
    phase(events, "read", "repository and environment");
    let (environment, reading) = read_all(args, Revision::Named("HEAD".into())).await?;
    let mut plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
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
    Ok(Input { environment, reading, plan, secrets })
}

/// `blackstart bootstrap` and `blackstart recover`.
pub(super) async fn start(args: StartArgs, mode: Mode, show: Show) -> Result<ExitCode, Failure> {
    let (events, reporter) = reporter(&args.run, show)?;
    let result = start_reported(&args, mode, &events).await;
    finish(result, events, reporter).await
}

async fn start_reported(args: &StartArgs, mode: Mode, events: &Events) -> Result<Finished, Failure> {
    let mut stop = stop_signal();
    let given = tokio::select! {
        given = input(&args.run.input, events) => given?,
        _ = stop.changed() => return Err(Failure::new("interrupted before the first write").code(130)),
    };
    execute::announce(&given.plan, events);
    if let Some(ended) = super::cloud::raise(&given, &super::cloud::access(&given.environment), mode, events, &stop).await? {
        return Ok(ended);
    }
    let prepare = async {
        phase(events, "connect", "cluster");
        // Three parties that do not know of each other: the cluster, the agent's remote, the files at hand.
        let remote = super::remote::check(&given.reading, &args.run.input);
        let components = read::agent_components(&given.reading, &given.environment);
        let look = async {
            let cluster = connect(&args.cluster, &given.environment).await?;
            let look = execute::look(&cluster, &given.plan.environment, &given.reading, mode).await;
            Ok::<_, Failure>((cluster, look))
        };
        let (remote, components, look) = tokio::join!(remote, components, look);
        let (cluster, look) = look?;
        remote?;
        let installation = Installation { components: components?, start: None };
        Ok::<_, Failure>((cluster, installation, look?))
    };
    let (cluster, installation, look) = tokio::select! {
        prepared = prepare => prepared?,
        _ = stop.changed() => return Err(Failure::new("interrupted before the first write").code(130)),
    };
    let Input { reading, plan, secrets, .. } = given;
    let run = Run {
        mode,
        plan,
        reading: Arc::new(reading),
        secrets,
        stand_ins: Vec::new(),
        cluster,
        installation,
        timeout: args.run.timeout,
        events: events.clone(),
        stop,
    };
    Ok(execute::run(run, look).await?)
}

/// The cluster that is asked for, else the environment's, else the user's own.
pub(super) async fn connect(args: &ClusterArgs, environment: &Environment) -> Result<Cluster, Failure> {
    use crate::environment::Cluster as Place;
    let (file, context) = match &environment.spec.cluster {
        _ if args.kubeconfig.is_some() => (args.kubeconfig.clone(), args.context.clone()),
        None => (None, args.context.clone()),
        Some(Place { eks: None, kubeconfig, context }) => {
            let file = kubeconfig.as_ref().map(|path| read::place(&path.to_string_lossy(), &environment.base));
            (file, args.context.clone().or_else(|| context.clone()))
        }
        Some(Place { eks: Some(name), .. }) => {
            let access = super::cloud::access(environment);
            let cloud = Cloud::connect(&access).await.map_err(|error| super::cloud::refused(&error))?;
            let config = super::kubeconfig::of_eks(&cloud, &access, name).await?;
            return Ok(Cluster::connect_with(&config, name).await?);
        }
    };
    Ok(Cluster::connect(file.as_deref(), context.as_deref()).await?)
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

/// `blackstart rehearse`.
pub(super) async fn rehearse(args: RehearseArgs, show: Show) -> Result<ExitCode, Failure> {
    let (events, reporter) = reporter(&args.run, show)?;
    let result = super::rehearse::rehearse(&args, &events).await;
    finish(result, events, reporter).await
}

pub(super) fn phase(events: &Events, name: &str, detail: &str) {
    events.send(Happening::Phase { name: name.into(), detail: detail.into() });
}

pub(super) fn reporter(args: &RunArgs, show: Show) -> Result<(Events, report::Reporter), Failure> {
    let options = report::Options {
        color: show.color,
        verbosity: show.verbosity,
        mode: report::Mode::Auto,
        output: if args.output == Output::Json { report::Output::Json } else { report::Output::Human },
        events_file: args.events.clone(),
        report_dir: args.report.clone(),
    };
    let (sink, reporter) = report::start(options).map_err(|error| Failure::new(error.to_string()).because(&error).code(3))?;
    Ok((Events::new(sink), reporter))
}

/// Ends the report, whatever happened, and gives the exit code.
pub(super) async fn finish(result: Result<Finished, Failure>, events: Events, reporter: report::Reporter) -> Result<ExitCode, Failure> {
    drop(events);
    let summary = reporter.finish(result.as_ref().err().map(Failure::message)).await;
    let finished = result?;
    if finished.interrupted {
        return Ok(ExitCode::from(130));
    }
    Ok(ExitCode::from(u8::from(!finished.success || !summary.errors.is_empty())))
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
