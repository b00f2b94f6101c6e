//! `plan`, `bootstrap`, `recover`, `rehearse`: from arguments to a run.

use super::{Failure, InputArgs, Output, PlanArgs, RehearseArgs, RunArgs, Show, StartArgs};
use crate::cluster::Cluster;
use crate::environment::Environment;
use crate::execute::{self, Events, Finished, Installation, Mode, Run};
use crate::manifest::Resource;
use crate::plan::Plan;
use crate::read::{self, ReadOptions, Reading, Revision};
use crate::report::event::Happening;
use crate::report;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

/// Reads the environment and the repository. `default` is what is read without `--revision`.
async fn input(args: &InputArgs, default: Revision, secrets: bool) -> Result<(Environment, Reading), Failure> {
    let environment = read::environment(&args.path, args.environment.as_deref())?;
    let sources = args
        .sources
        .iter()
        .map(|text| {
            text.split_once('=').map(|(what, path)| (what.to_owned(), path.into())).ok_or_else(|| {
                Failure::new(format!("--source {text}: no `=` in it"))
                    .hint("write MATCH=PATH, such as --source d1-infra=../d1-infra")
                    .code(2)
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let revision = args.revision.clone().map_or(default, Revision::Named);
    let options = ReadOptions { path: args.path.clone(), entrypoint: args.entrypoint.clone(), revision, sources, decrypt: secrets };
    let reading = read::read(&options, &environment).await?;
    Ok((environment, reading))
}

/// `blackstart plan`.
pub(super) async fn plan(args: PlanArgs) -> Result<ExitCode, Failure> {
    let (environment, reading) = input(&args.input, Revision::WorkingTree, true).await?;
    let plan = crate::plan::plan(&reading, &environment);
    super::plan::print(&plan, args.output).map_err(|error| Failure::new("standard output: cannot be written").because(&error).code(3))?;
    Ok(ExitCode::from(u8::from(super::plan::is_blocked(&plan))))
}

/// `blackstart bootstrap` and `blackstart recover`.
pub(super) async fn start(args: StartArgs, mode: Mode, show: Show) -> Result<ExitCode, Failure> {
    let (events, reporter) = reporter(&args.run, show)?;
    let result = start_reported(&args, mode, &events).await;
    finish(result, events, reporter).await
}

async fn start_reported(args: &StartArgs, mode: Mode, events: &Events) -> Result<Finished, Failure> {
    let kubeconfig = args.kubeconfig.clone();
    phase(events, "read", "repository and environment");
    let (environment, reading) = input(&args.run.input, Revision::Named("HEAD".into()), true).await?;
    let plan = checked_plan(&reading, &environment)?;
    phase(events, "connect", "cluster");
    let (file, context) = match (&kubeconfig, &environment.spec.cluster) {
        (None, Some(cluster)) => (cluster.kubeconfig.clone(), args.context.clone().or_else(|| cluster.context.clone())),
        _ => (kubeconfig, args.context.clone()),
    };
    let cluster = Cluster::connect(file.as_deref(), context.as_deref()).await?;
    let installation = Installation { components: read::agent_components(&reading, &environment).await?, start: None };
    let secrets = read::secrets(&environment).await?;
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
        stop: stop_signal(),
    };
    Ok(execute::run(run).await?)
}

/// `blackstart rehearse`.
pub(super) async fn rehearse(args: RehearseArgs, show: Show) -> Result<ExitCode, Failure> {
    let (events, reporter) = reporter(&args.run, show)?;
    let result = super::rehearse::rehearse(&args, &events).await;
    finish(result, events, reporter).await
}

pub(super) async fn rehearsal_input(args: &RehearseArgs, events: &Events) -> Result<(Environment, Reading, Plan, Vec<Resource>), Failure> {
    phase(events, "read", "repository and environment");
    let (environment, reading) = input(&args.run.input, Revision::Named("HEAD".into()), true).await?;
    let plan = checked_plan(&reading, &environment)?;
    let secrets = read::secrets(&environment).await?;
    Ok((environment, reading, plan, secrets))
}

/// The plan, refused where the input has problems that stop a start.
fn checked_plan(reading: &Reading, environment: &Environment) -> Result<Plan, Failure> {
    let plan = crate::plan::plan(reading, environment);
    if super::plan::is_blocked(&plan) {
        return Err(Failure::problems(plan.problems));
    }
    Ok(plan)
}

pub(super) fn phase(events: &Events, name: &str, detail: &str) {
    events.send(Happening::Phase { name: name.into(), detail: detail.into() });
}

fn reporter(args: &RunArgs, show: Show) -> Result<(Events, report::Reporter), Failure> {
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
async fn finish(result: Result<Finished, Failure>, events: Events, reporter: report::Reporter) -> Result<ExitCode, Failure> {
    drop(events);
    let summary = reporter.finish().await;
    let finished = result?;
    if finished.interrupted {
        return Ok(ExitCode::from(130));
    }
    Ok(ExitCode::from(u8::from(!finished.success || !summary.errors.is_empty())))
}

/// Counts Ctrl-C and SIGTERM: the first finishes what runs, the second stops at once.
pub(super) fn stop_signal() -> watch::Receiver<u8> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = watch::channel(0);
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
