//! The lower storey of a run: AWS is looked at, and what is missing is made. The cluster is asked as soon as it can be; the rest goes on beside it.

use super::Failure;
use super::account::observed;
use super::start::{Input, phase};
use crate::aws::{Access, AccessError, Cloud, CloudError};
use crate::environment::{Command, Environment};
use crate::execute::cloud::{Build, action, build, refuse};
use crate::execute::command::{Found, Job, Surroundings};
use crate::execute::hold::{Hold, HoldError};
use crate::execute::journal::Journal;
use crate::execute::lease::LeaseError;
use crate::execute::preflight::Lower;
use crate::execute::progress::{Progress, Told};
use crate::execute::restore::{self, From, Question, Restoration, Restored};
use crate::execute::{Below, Events, Finished, Mode, RunError, is_below};
use crate::layers::infrastructure::{Declared, put};
use crate::layers::outputs::{Output, fill};
use crate::manifest::Resource;
use crate::plan::{Action, Plan};
use crate::preflight;
use crate::problem::Problem;
use crate::report::event::{Fate, Happening, State};
use crate::restore::claims::claims;
use crate::restore::keeper;
use futures::future::join_all;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// Account and region of an environment.
pub(super) fn access(environment: &Environment) -> Access {
    let aws = environment.spec.aws.as_ref();
    Access {
        account: aws.map(|aws| aws.account_id.clone()),
        region: aws.map(|aws| aws.region.clone()),
        role: aws.and_then(|aws| aws.assume_role.clone()),
        ..Access::default()
    }
}

/// The account, past the guard.
pub(super) async fn connect(access: &Access) -> Result<Cloud, Failure> {
    Cloud::connect(access).await.map_err(|error| refused(&error))
}

/// An account that cannot be used, with what to do.
fn refused(error: &AccessError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// An account that cannot be looked at: all that stands against it, and what to do.
pub(super) fn unseen(errors: &[CloudError]) -> Failure {
    let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let failure = Failure::new(format!("AWS: cannot be looked at: {}; nothing was written", words.join("; ")));
    match errors.iter().find_map(CloudError::hint) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What is to be made below the cluster, before the first write.
pub(super) struct Ahead {
    build: Build,
    /// Nodes that the cluster consists of.
    cluster: Vec<String>,
    /// What comes back from backups.
    restoration: Restoration,
    /// Whether the account is a sandbox's, which nobody else works on.
    is_sandbox: bool,
    /// Whether claims of the layers get their data from the account.
    has_claims: bool,
}

impl Ahead {
    /// Puts into the plan what was found: what comes back from where; claims that start empty wait for nothing.
    /// Gives the claims that get the volume that holds their data.
    pub(super) fn complete(&mut self, plan: &mut Plan) -> Vec<Restored> {
        let found = std::mem::take(&mut self.restoration);
        plan.restore(&found.claims.iter().map(|restored| restored.claim.node()).collect());
        for (position, declared) in self.build.declared.iter().enumerate() {
            let living = self.build.observation.found.get(&position);
            plan.act(&declared.node(), if found.backups.contains_key(&position) { Action::Restore } else { action(living) });
        }
        for volume in &found.volumes {
            plan.add(volume);
        }
        plan.edges.extend(found.edges);
        for restored in found.claims.iter().filter(|restored| matches!(restored.from, From::Living(_))) {
            plan.act(&restored.claim.node(), Action::Keep);
        }
        for fate in found.fates {
            self.build.events.send(Happening::State(fate));
        }
        found.claims
    }

    /// The account as it was seen; none where commands make everything.
    pub(super) fn lower(&self) -> Option<Lower<'_>> {
        let cloud = self.build.cloud.as_deref()?;
        Some(Lower {
            cloud,
            declared: &self.build.declared,
            observation: Some(&self.build.observation),
            backups: Some(&self.build.backups),
            has_claims: self.has_claims,
        })
    }

    /// What each state that lost its data comes back from; what may not be lost has ended the look already.
    pub(super) fn backups(&self) -> Vec<preflight::Backup> {
        let of = |fate: &State| preflight::Backup {
            state: fate.state.clone(),
            living: (fate.fate == Fate::Kept).then(|| fate.source.clone().unwrap_or_default()),
            newest: (fate.fate == Fate::Restored).then(|| fate.source.clone().unwrap_or_default()),
            empty: fate.fate == Fate::Empty,
            ..preflight::Backup::default()
        };
        // What no backup could bring back is no matter of backups.
        self.restoration.fates.iter().filter(|fate| fate.fate != Fate::Lost || self.keeps(&fate.state)).map(of).collect()
    }

    /// Whether backups are kept of it.
    fn keeps(&self, state: &str) -> bool {
        let is_it = |declared: &Declared| keeper(declared).is_some_and(|keeper| keeper.to_string() == state);
        state.starts_with("PersistentVolumeClaim ") || self.build.declared.iter().any(is_it)
    }

    /// Makes it, and runs what stands above as soon as that has a cluster to stand on. Both are over when this returns.
    pub(super) async fn carry<F>(self, events: &Events, above: impl FnOnce(Below) -> F) -> Result<Finished, Failure>
    where
        F: Future<Output = Result<Finished, Failure>>,
    {
        let below = Below { cloud: self.build.cloud.clone(), progress: self.build.progress.clone() };
        let hold = self.hold().await?;
        let (environment, journal) = (self.build.environment.clone(), self.build.journal.clone());
        let carried = carry(self.build, &self.cluster, below, events, above);
        let carried = async {
            let result = carried.await;
            if let (Ok(Finished { success: true, .. }), Some(journal)) = (&result, &journal) {
                journal.end();
            }
            result
        };
        let Some(hold) = hold else { return carried.await };
        let result = tokio::select! {
            result = carried => result,
            holder = hold.lost() => {
                let lost = RunError::from(LeaseError::Lost { environment, holder });
                return Err(lost.into());
            }
        };
        hold.release().await;
        result
    }

    /// Keeps other runs off the account, where something is to be written to it; what was seen must still be so then.
    async fn hold(&self) -> Result<Option<Hold>, Failure> {
        let Build { cloud, environment, declared, observation, events, .. } = &self.build;
        // What is as declared is taken over without a write, unless it is marked.
        let writes = |(position, declared): (usize, &Declared)| match observation.found.get(&position) {
            None => true,
            Some(found) => !found.differences.is_empty() || found.wants_marks(declared, environment),
        };
        let Some(cloud) = cloud.as_ref().filter(|_| !self.is_sandbox && declared.iter().enumerate().any(writes)) else { return Ok(None) };
        let hold = match Hold::take(cloud.clone(), environment).await {
            Ok(hold) => hold,
            Err(HoldError::Held(error)) => return Err(RunError::from(error).into()),
            Err(HoldError::Cloud(error)) => {
                let message = format!("nothing keeps a second run off this account: {error}");
                events.send(Happening::Warning { node: None, message });
                return Ok(None);
            }
        };
        let (now, _) = observed(cloud, environment, declared).await?;
        if now.found.len() == observation.found.len() && now.found.keys().all(|position| observation.found.contains_key(position)) {
            return Ok(Some(hold));
        }
        hold.release().await;
        Err(Failure::new("another run has changed the account in the meantime; nothing was written").hint("run the same command again"))
    }
}

/// Builds, and runs what stands above as soon as that has a cluster to stand on.
async fn carry<F>(
    work: Build,
    cluster: &[String],
    below: Below,
    events: &Events,
    above: impl FnOnce(Below) -> F,
) -> Result<Finished, Failure>
where
    F: Future<Output = Result<Finished, Failure>>,
{
    let task = tokio::spawn(build(work));
    let result = if carries(&below.progress, cluster).await { Some(above(below).await) } else { None };
    if let Some(Err(failure)) = &result
        && !task.is_finished()
    {
        let message = format!("{}; what is under way below the cluster is finished all the same", failure.message());
        events.send(Happening::Warning { node: None, message });
    }
    let built = task.await.map_err(|error| Failure::new("infrastructure: its task ended early").because(&error))?;
    if let Some(result) = result {
        return result;
    }
    let interrupted = if built.interrupted { "Interrupted. " } else { "" };
    let summary = format!("{interrupted}The same command goes on from here.");
    Ok(Finished { interrupted: built.interrupted, summary, ..Finished::default() })
}

/// Waits until all that a cluster consists of can be used; false where it never will be.
async fn carries(progress: &Progress, cluster: &[String]) -> bool {
    let is_ready = |told: &Told| cluster.iter().all(|node| told.ready.contains_key(node));
    let is_decided = |told: &Told| told.over || is_ready(told) || cluster.iter().any(|node| told.failed.contains_key(node));
    progress.subscribe().wait_for(is_decided).await.is_ok_and(|told| is_ready(&told))
}

/// Looks at the account, and refuses what must not be made or taken over. None where nothing is declared. Writes nothing.
/// `journals`: where what a killed run left is found.
pub(super) async fn look(
    given: &Input,
    access: &Access,
    mode: Mode,
    journals: Option<&Path>,
    events: &Events,
    stop: &watch::Receiver<u8>,
) -> Result<Option<Ahead>, Failure> {
    if given.has_nothing_below() {
        return Ok(None);
    }
    let cloud = if given.needs_account() {
        phase(events, "aws", "what lives in the account");
        Some(Arc::new(connect(access).await?))
    } else {
        None
    };
    let environment = &given.plan.environment;
    let base = given.environment.base.clone();
    let surroundings = Surroundings { base: base.clone(), cloud: cloud.clone(), events: events.clone(), stop: stop.clone() };
    let commands = if access.sandbox.is_some() { made_up(given, events) } else { look_at_commands(given, &surroundings).await? };
    let mut declared = known(given, &commands)?;
    let journal = cloud.as_ref().zip(journals).map(|(cloud, folder)| Arc::new(Journal::open(folder, cloud.place(), environment)));
    if let Some(journal) = &journal {
        journal.settle().await;
    }
    let (observation, mut problems) = match &cloud {
        Some(cloud) => observed(cloud, environment, &declared).await?,
        None => Default::default(),
    };
    problems.extend(refuse(&declared, &observation, mode == Mode::Bootstrap));
    let claims = claims(&given.reading, &given.environment);
    let restoration = match &cloud {
        Some(cloud) if mode == Mode::Recover => {
            let question = Question {
                cloud,
                environment: &given.environment,
                name: environment,
                declared: &declared,
                observation: &observation,
                claims: &claims,
                is_new: access.is_new,
            };
            let (mut restoration, lost) = restore::look(question).await.map_err(|errors| unseen(&errors))?;
            problems.extend(lost);
            if let Some(journal) = &journal {
                journal.recall(&mut restoration.fates);
            }
            restoration
        }
        _ => Restoration::default(),
    };
    if !problems.is_empty() {
        return Err(Failure::problems(problems));
    }
    declared.extend(restoration.volumes.iter().cloned());
    let edges = given.plan.edges.iter().chain(&restoration.edges).filter(|edge| is_below(&edge.to)).cloned().collect();
    let cluster = given.plan.edges.iter().filter(|edge| edge.to.starts_with("cluster/") && is_below(&edge.from));
    let cluster = cluster.map(|edge| edge.from.clone()).collect();
    let build = Build {
        cloud,
        environment: environment.clone(),
        base,
        declared,
        commands,
        edges,
        observation,
        backups: restoration.backups.clone(),
        events: events.clone(),
        journal,
        progress: Progress::default(),
        stop: stop.clone(),
    };
    let has_claims = mode == Mode::Recover && !claims.is_empty();
    Ok(Some(Ahead { build, cluster, restoration, is_sandbox: access.sandbox.is_some(), has_claims }))
}

/// Asks all commands at once what is there.
async fn look_at_commands(given: &Input, surroundings: &Surroundings) -> Result<Vec<Job>, Failure> {
    if !given.plan.commands.is_empty() {
        phase(&surroundings.events, "check", "what the commands have made");
    }
    let looks = given.plan.commands.iter().map(|command| Job::look(command.clone(), surroundings));
    let mut jobs = Vec::new();
    let mut problems = Vec::new();
    for (looked, command) in join_all(looks).await.into_iter().zip(&given.plan.commands) {
        match looked {
            Ok(job) => jobs.push(job),
            Err(why) => problems.push(Problem::blocks("command-check", why).at(command.origin.clone())),
        }
    }
    if problems.is_empty() { Ok(jobs) } else { Err(Failure::problems(problems)) }
}

/// A rehearsal runs no command: it would reach what is real. What others use of it is made up.
fn made_up(given: &Input, events: &Events) -> Vec<Job> {
    let stand_in = |command: &Command| {
        let mut outputs = Value::Object(Map::new());
        let used = given.environment.spec.outputs.iter().flat_map(|one| one.data.values());
        for (output, _) in used.filter(|(output, _)| output.node == command.node()) {
            put(&mut outputs, &output.field, format!("stand-in-{}", output.field.replace('.', "-")).into());
        }
        let reason = "not run in a rehearsal, since it would reach what is real; its outputs are made up".into();
        events.send(Happening::StandIn { object: format!("command {}", command.name), reason });
        Job { command: command.clone(), found: Some(Found::Present(outputs)) }
    };
    given.plan.commands.iter().map(stand_in).collect()
}

/// The manifests with what the commands that are there give.
fn known(given: &Input, commands: &[Job]) -> Result<Vec<Declared>, Failure> {
    let give = |output: &Output| {
        let job = commands.iter().find(|job| job.command.node() == output.node)?;
        match &job.found {
            Some(Found::Present(outputs)) => output.of(outputs).cloned(),
            _ => None,
        }
    };
    let mut problems = Vec::new();
    let mut all = Vec::new();
    for declared in &given.plan.declared {
        match fill(&declared.resource.value, give) {
            Ok(value) => all.push(Declared { schema: declared.schema, resource: Resource { value, origin: declared.origin() } }),
            Err(why) => problems.push(Problem::blocks("cloud-output", format!("{} {why}", declared.resource.id())).at(declared.origin())),
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(Failure::problems(problems)) }
}
