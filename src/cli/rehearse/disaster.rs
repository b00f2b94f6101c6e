//! `rehearse --disaster`: built, marked, lost, recovered, looked for.

use super::super::account::observed;
use super::super::start::{Input, finish, input, phase, reporter, stop_signal};
use super::super::{Failure, Output, RehearseArgs, RunArgs, Show};
use super::{Stage, connect, interrupt};
use crate::aws::Access;
use crate::execute::{Events, Finished, Mode};
use crate::read;
use crate::rehearsal::disaster::{self, Disaster, NAMED};
use crate::rehearsal::marks::{self, Mark};
use crate::rehearsal::strike::{self, Before};
use crate::report::event::{Check, Fate, Happening, Verdict};
use crate::restore::claims::claims;
use crate::sandbox::edge::Faults;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// A disaster by name or from a file.
pub(super) fn known(name: &str) -> Result<Disaster, Failure> {
    if let Some(disaster) = disaster::named(name) {
        return Ok(disaster);
    }
    let path = Path::new(name);
    if path.extension().is_none() {
        let list: Vec<String> = NAMED.iter().map(|(name, what)| format!("  {name:<18} {what}")).collect();
        let hint = format!("write one of these, or a file such as friday.yaml:\n{}", list.join("\n"));
        return Err(Failure::new(format!("--disaster {name}: is not known")).hint(hint).code(2));
    }
    let text = std::fs::read_to_string(path).map_err(|error| Failure::new(format!("{name}: cannot be read")).because(&error).code(2))?;
    disaster::read(&text, name).map_err(Failure::problems)
}

/// What stood before the disaster.
struct Struck {
    given: Input,
    marks: Vec<Mark>,
}

/// All of it, in one sandbox.
pub(super) async fn rehearse(args: &RehearseArgs, disaster: &Disaster, show: Show) -> Result<ExitCode, Failure> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let there = args;
    let args = &at_home(args, disaster)?;
    // The report is the recovery's.
    let first = RunArgs { events: None, report: None, output: Output::Human, ..args.run.clone() };
    let (events, first_reporter) = reporter(&first, show)?;
    let mut stop = stop_signal();
    let built = async {
        let (stage, given) = Box::pin(Stage::up(args, &events, &mut stop)).await?;
        let finished = Box::pin(stage.run(args, &events, given, Mode::Bootstrap, None, true)).await?;
        Ok::<_, Failure>((stage, finished))
    };
    let (stage, finished) = match Box::pin(built).await {
        Ok(built) => built,
        Err(failure) => return finish(Err(failure), events, first_reporter, &first, None).await,
    };
    let succeeded = finished.success;
    stage.teller.send_replace(Events::silent());
    let code = finish(Ok(finished), events, first_reporter, &first, None).await?;
    if !succeeded {
        stage.down().await?;
        return Ok(code);
    }
    let struck = match Box::pin(strike(args, there, disaster, &stage, seed)).await {
        Ok(struck) => struck,
        Err(failure) => {
            stage.down().await?;
            return Err(failure);
        }
    };
    let journals = tempfile::tempdir().map_err(|error| Failure::new("a temporary folder").because(&error))?;
    set_faults(&stage, args.faults).await;
    let died = interrupt::die(there, &stage, &struck.given, journals.path(), args.interrupt, seed).await;
    let args = there;
    let (events, reporter) = reporter(&args.run, show)?;
    let result = async {
        let earlier = died?;
        let given = input(&args.run.input, true, &events).await?;
        let journals = (args.interrupt > 0).then_some(journals.path());
        let mut finished = Box::pin(stage.run(args, &events, given, Mode::Recover, journals, false)).await?;
        set_faults(&stage, false).await;
        if finished.success {
            finished.success = look_for(&stage, &struck, &events, &earlier).await?;
        }
        Ok::<Finished, Failure>(finished)
    };
    let result = Box::pin(result).await;
    stage.end(args, result, events, reporter, &mut stop).await
}

/// Where it is built: where its region is lost, `--region` is where it comes back.
fn at_home(args: &RehearseArgs, disaster: &Disaster) -> Result<RehearseArgs, Failure> {
    let mut home = args.clone();
    if !disaster.region {
        return Ok(home);
    }
    let refused = |why: &str| {
        let hint = "name one of spec.aws.regions: --region eu-central-1";
        Failure::new(format!("--disaster {}: {why}", disaster.name)).hint(hint).code(2)
    };
    let Some(there) = home.run.input.region.take() else { return Err(refused("where it comes back is not said")) };
    let input = &home.run.input;
    let read = |region: Option<&str>| read::environment(&input.path, input.environment.as_deref(), region);
    if read(Some(&there))?.spec.aws == read(None)?.spec.aws {
        return Err(refused(&format!("{there} is the region that is lost")));
    }
    Ok(home)
}

/// What the worst night may hold, as long as the environment comes back.
async fn set_faults(stage: &Stage, are_on: bool) {
    if let Some(edge) = stage.sandbox.lock().await.edge() {
        edge.set_faults(if are_on { Faults::worst() } else { Faults::default() });
    }
}

/// Marks what the environment holds, and lets the disaster happen.
async fn strike(args: &RehearseArgs, there: &RehearseArgs, disaster: &Disaster, stage: &Stage, seed: u64) -> Result<Struck, Failure> {
    let given = input(&args.run.input, true, &Events::silent()).await?;
    let cluster = connect(&given, &*stage.sandbox.lock().await).await?;
    let access = stage.access(&given.environment, false).await;
    let claims = claims(&given.reading, &given.environment);
    let (cloud, observation) = match &access {
        Some(access) => {
            let cloud = super::super::cloud::connect(access).await?;
            let (observation, _) = observed(&cloud, &given.plan.environment, &given.plan.declared).await?;
            (Some(Arc::new(cloud)), observation)
        }
        None => Default::default(),
    };
    let mut marks = match &cloud {
        Some(cloud) => marks::put(cloud, &cluster, &given.plan.declared, &claims).await.map_err(|error| Failure::new(error.to_string()))?,
        None => Vec::new(),
    };
    // In another region its names and places may be other ones.
    let moved = if disaster.region { Some(input(&there.run.input, true, &Events::silent()).await?) } else { None };
    let to = moved.as_ref().and_then(|moved| moved.environment.spec.aws.as_ref()).map(|aws| aws.region.as_str());
    if let (Some(moved), Some(cloud), Some(access)) = (&moved, &cloud, &access) {
        let to = Access { region: to.map(str::to_owned), ..access.clone() };
        let elsewhere = super::super::cloud::connect(&to).await?;
        let copied = marks::copy(&elsewhere, &cloud.place().region, &moved.plan.declared, &mut marks).await;
        copied.map_err(|error| Failure::new(error.to_string()))?;
    }
    let saved = marks.iter().filter(|mark| mark.saved).count();
    anstream::eprintln!("\nMarked data in {} places; backups of {saved}.", marks.len());
    let before =
        Before { cloud, observation: &observation, cluster: &cluster, plan: &given.plan, reading: &given.reading, claims: &claims, to };
    let gone =
        strike::strike(disaster, &mut *stage.sandbox.lock().await, before, seed).await.map_err(|error| Failure::new(error.to_string()))?;
    anstream::eprintln!("Disaster {} (seed {seed}) took {gone}.\n", disaster.name);
    Ok(Struck { given: moved.unwrap_or(given), marks })
}

/// Looks for the marked data: it is back, or the run has said that it is lost, or one that was over before.
async fn look_for(stage: &Stage, struck: &Struck, events: &Events, earlier: &[Events]) -> Result<bool, Failure> {
    if struck.marks.is_empty() {
        return Ok(true);
    }
    phase(events, "data", "whether the marked data is back");
    let given = &struck.given;
    let cluster = connect(given, &*stage.sandbox.lock().await).await?;
    let Some(access) = stage.access(&given.environment, false).await else { return Ok(true) };
    let cloud = super::super::cloud::connect(&access).await?;
    let mut holds = true;
    for mark in &struck.marks {
        let is_back = mark.is_back(&cloud, &cluster).await.map_err(|error| Failure::new(error.to_string()))?;
        let mut tellers = std::iter::once(events).chain(earlier);
        let told = tellers.find_map(|events| events.fate(&mark.state).filter(|fate| *fate != Fate::Kept));
        let (verdict, detail) = match (is_back, told) {
            (true, Some(Fate::Restored)) => (Verdict::Held, format!("{}: back from its backup", mark.place)),
            (true, _) => (Verdict::Held, format!("{}: there", mark.place)),
            (false, Some(Fate::Lost)) if !mark.saved => (Verdict::Held, format!("{}: lost, and said so", mark.place)),
            (false, _) => (Verdict::Failed, format!("{}: its marked data is gone", mark.place)),
        };
        holds &= verdict == Verdict::Held;
        events.send(Happening::Checked(Check { name: "data".to_owned(), verdict, detail, fix: None }));
    }
    Ok(holds)
}
