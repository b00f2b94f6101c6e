//! The account of an environment as it lives: what `plan --live`, `status`, `adopt` and `destroy` begin with. Writes nothing.

use super::Failure;
use super::cloud::{access, connect, unseen};
use crate::aws::Cloud;
use crate::aws::observe::{Observation, observe};
use crate::environment::Environment;
use crate::layers::infrastructure::{Declared, needs};
use crate::plan::Plan;
use crate::problem::{Problem, Severity};
use std::sync::Arc;

/// What was found.
pub(super) struct Account {
    pub(super) cloud: Arc<Cloud>,
    pub(super) observation: Observation,
    /// Candidates that cannot be told apart.
    pub(super) problems: Vec<Problem>,
}

/// Connects, past the guard, and looks. None where no cloud resource is declared, or no account (which the plan tells as a problem).
pub(super) async fn look(plan: &Plan, environment: &Environment) -> Result<Option<Account>, Failure> {
    if plan.declared.is_empty() || environment.spec.aws.is_none() {
        return Ok(None);
    }
    let cloud = Arc::new(connect(&access(environment)).await?);
    let (observation, problems) = observed(&cloud, &plan.environment, &plan.declared).await?;
    Ok(Some(Account { cloud, observation, problems }))
}

/// What lives of these manifests.
pub(super) async fn observed(cloud: &Cloud, environment: &str, declared: &[Declared]) -> Result<(Observation, Vec<Problem>), Failure> {
    let (needs, _) = needs(declared, cloud.place());
    observe(cloud, environment, declared, &needs).await.map_err(|errors| unseen(&errors))
}

/// Refuses what is wrong with the manifests of cloud resources; the layers are no matter of `adopt` and `destroy`.
pub(super) fn refuse(plan: &Plan, environment: &Environment) -> Result<(), Failure> {
    let folders: Vec<&str> =
        environment.spec.infrastructure.iter().map(|entry| entry.path.trim_start_matches("./").trim_end_matches('/')).collect();
    let is_inside = |file: &str| folders.iter().any(|folder| file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')));
    let concerns = |problem: &&Problem| {
        let file = problem.origin.as_ref().map_or("", |origin| origin.file.as_str());
        problem.severity == Severity::Blocks
            && (problem.rule.starts_with("cloud-") || is_inside(file) || environment.file.as_deref() == Some(file))
    };
    let problems: Vec<Problem> = plan.problems.iter().filter(concerns).cloned().collect();
    if problems.is_empty() { Ok(()) } else { Err(Failure::problems(problems)) }
}
