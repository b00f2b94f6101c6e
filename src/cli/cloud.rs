//! The lower storey of a run: AWS is looked at, and what is missing is made, before the cluster is asked.

use super::Failure;
use super::start::{Input, phase};
use crate::aws::observe::observe;
use crate::aws::{Access, AccessError, Cloud, CloudError, Meaning};
use crate::environment::Environment;
use crate::execute::cloud::{Build, build, refuse};
use crate::execute::{Events, Finished, Mode};
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
        AccessError::Refused(error) if error.meaning == Meaning::Unreachable => {
            failure.hint("check the network, and that spec.aws.region is one of AWS' regions; then run the same command again")
        }
        AccessError::Refused(error) => match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        },
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

/// Makes what is missing. None where all is there and the run goes on; else how it ended.
pub(super) async fn raise(
    given: &Input,
    access: &Access,
    mode: Mode,
    events: &Events,
    stop: &watch::Receiver<u8>,
) -> Result<Option<Finished>, Failure> {
    let declared = given.plan.declared.clone();
    if declared.is_empty() {
        return Ok(None);
    }
    phase(events, "aws", "what lives in the account");
    let cloud = Arc::new(Cloud::connect(access).await.map_err(|error| refused(&error))?);
    let (needs, _) = needs(&declared, cloud.place());
    let environment = &given.plan.environment;
    let (observation, mut problems) = observe(&cloud, environment, &declared, &needs).await.map_err(|errors| unseen(&errors))?;
    problems.extend(refuse(&declared, &observation, mode == Mode::Bootstrap));
    if !problems.is_empty() {
        return Err(Failure::problems(problems));
    }
    let edges = given.plan.edges.iter().filter(|edge| edge.to.starts_with("aws/")).cloned().collect();
    let work = Build { cloud, environment: environment.clone(), declared, edges, observation, events: events.clone(), stop: stop.clone() };
    let built = build(work).await;
    if built.success {
        return Ok(None);
    }
    let summary = if built.interrupted { "Interrupted. The same command goes on from here." } else { "The same command goes on from here." };
    events.send(Happening::Ended { success: false, summary: summary.to_owned() });
    Ok(Some(Finished { interrupted: built.interrupted, ..Finished::default() }))
}
