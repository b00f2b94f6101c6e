//! The lower storey of a run: AWS is looked at, and what is missing is made. The cluster is asked as soon as it can be; the rest goes on beside it.

use super::Failure;
use super::start::{Input, phase};
use crate::aws::observe::observe;
use crate::aws::{Access, AccessError, Cloud};
use crate::environment::Environment;
use crate::execute::cloud::{Build, build, refuse};
use crate::execute::journal::Journal;
use crate::execute::progress::{Progress, Told};
use crate::execute::{Below, Events, Finished, Mode, is_below};
use crate::layers::infrastructure::needs;
use crate::report::event::Happening;
use std::sync::Arc;
use tokio::sync::watch;

/// Account and region of an environment.
pub(super) fn access(environment: &Environment) -> Access {
    let aws = environment.spec.aws.as_ref();
    Access { account: aws.map(|aws| aws.account_id.clone()), region: aws.map(|aws| aws.region.clone()), sandbox: None }
}

/// An account that cannot be used, with what to do.
pub(super) fn refused(error: &AccessError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        AccessError::NoRegion => failure.hint("add spec.aws.region to blackstart.yaml, or set AWS_REGION"),
        AccessError::WrongAccount { .. } => failure.hint("choose the right profile: AWS_PROFILE=… blackstart …"),
        AccessError::Refused(error) => match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        },
    }
}

/// What is to be made below the cluster, before the first write.
pub(super) struct Ahead {
    build: Build,
    /// Nodes that the cluster consists of.
    cluster: Vec<String>,
}

impl Ahead {
    /// Makes it, and runs what stands above as soon as that has a cluster to stand on. Both are over when this returns.
    pub(super) async fn carry<F>(self, events: &Events, above: impl FnOnce(Below) -> F) -> Result<Finished, Failure>
    where
        F: Future<Output = Result<Finished, Failure>>,
    {
        let below = Below { cloud: self.build.cloud.clone(), progress: self.build.progress.clone() };
        let task = tokio::spawn(build(self.build));
        let result = if carries(&below.progress, &self.cluster).await { Some(above(below).await) } else { None };
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
        let summary = match (built.success, built.interrupted) {
            (_, true) => "Interrupted. The same command goes on from here.",
            _ => "The same command goes on from here.",
        };
        events.send(Happening::Ended { success: false, summary: summary.to_owned() });
        Ok(Finished { interrupted: built.interrupted, ..Finished::default() })
    }
}

/// Waits until all that a cluster consists of can be used; false where it never will be.
async fn carries(progress: &Progress, cluster: &[String]) -> bool {
    let is_ready = |told: &Told| cluster.iter().all(|node| told.ready.contains_key(node));
    let is_decided = |told: &Told| told.over || is_ready(told) || cluster.iter().any(|node| told.failed.contains_key(node));
    progress.subscribe().wait_for(is_decided).await.is_ok_and(|told| is_ready(&told))
}

/// Looks at the account, and refuses what must not be made or taken over. None where nothing is declared. Writes nothing.
pub(super) async fn look(
    given: &Input,
    access: &Access,
    mode: Mode,
    events: &Events,
    stop: &watch::Receiver<u8>,
) -> Result<Option<Ahead>, Failure> {
    let declared = given.plan.declared.clone();
    if declared.is_empty() {
        return Ok(None);
    }
    phase(events, "aws", "what lives in the account");
    let cloud = Arc::new(Cloud::connect(access).await.map_err(|error| refused(&error))?);
    let (needs, _) = needs(&declared, cloud.place());
    let environment = &given.plan.environment;
    // A rehearsal's account is gone with it.
    let journal = if access.sandbox.is_none() { Journal::of_user(cloud.place(), environment).map(Arc::new) } else { None };
    if let Some(journal) = &journal {
        journal.settle().await;
    }
    let (observation, mut problems) = observe(&cloud, environment, &declared, &needs).await.map_err(|errors| {
        let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let failure = Failure::new(format!("AWS: cannot be looked at: {}; nothing was written", words.join("; ")));
        match errors.iter().find_map(crate::aws::CloudError::hint) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    problems.extend(refuse(&declared, &observation, mode == Mode::Bootstrap));
    if !problems.is_empty() {
        return Err(Failure::problems(problems));
    }
    let edges = given.plan.edges.iter().filter(|edge| is_below(&edge.to)).cloned().collect();
    let cluster = given.plan.edges.iter().filter(|edge| edge.to.starts_with("cluster/") && is_below(&edge.from));
    let cluster = cluster.map(|edge| edge.from.clone()).collect();
    let build = Build {
        cloud,
        environment: environment.clone(),
        declared,
        edges,
        observation,
        events: events.clone(),
        journal,
        progress: Progress::default(),
        stop: stop.clone(),
    };
    Ok(Some(Ahead { build, cluster }))
}
