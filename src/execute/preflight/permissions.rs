//! Asks IAM what the credentials may do of what the plan needs.

use super::Lower;
use crate::aws::permissions::{CLAIMS, TABLE};
use crate::aws::{Cloud, CloudError, Meaning};
use crate::preflight::permissions::{Answer, Need, Planned, judge, needed};
use crate::preflight::{Check, Group};
use aws_sdk_iam::types::{EvaluationResult, PolicyEvaluationDecisionType as Decision};
use futures::stream::{StreamExt as _, iter};
use std::collections::{BTreeMap, BTreeSet};

/// Simulations under way at once.
const AT_ONCE: usize = 4;
/// ARNs of one simulation.
const ARNS: usize = 20;

/// Whose policies are simulated.
enum Who {
    /// An IAM user or role: its ARN, and what people call it.
    Entity(String, String),
    /// May do everything.
    Root,
    /// Somebody whose policies IAM does not simulate.
    Other(String),
}

pub(super) async fn look(lower: Lower<'_>) -> Vec<Check> {
    let planned = lower.declared.iter().enumerate().map(|(position, declared)| {
        let differences =
            lower.observation.and_then(|seen| seen.found.get(&position)).map_or(&[][..], |found| found.differences.as_slice());
        Planned { declared, action: lower.action(position), differences, backup: lower.backups.and_then(|all| all.get(&position)) }
    });
    let mut needs = needed(planned, &TABLE, lower.cloud.place());
    for action in CLAIMS.iter().filter(|_| lower.has_claims) {
        needs.entry(Need { action: (*action).to_owned(), resource: "*".to_owned() }).or_insert_with(|| "the data of claims".to_owned());
    }
    if needs.is_empty() {
        return Vec::new();
    }
    let not_checked = |why: String| vec![Check::not_checked(Group::Permissions, format!("{} permissions", needs.len()), why)];
    let (source, name) = match who(lower.cloud).await {
        Ok(Who::Entity(arn, name)) => (arn, name),
        Ok(Who::Root) => {
            return vec![Check::ok(Group::Permissions, "root user", "may do everything; a role for recoveries would be safer")];
        }
        Ok(Who::Other(arn)) => return not_checked(format!("IAM does not simulate {arn}")),
        Err(error) => return not_checked(error.to_string()),
    };
    // Resources that need the same go into one simulation.
    let mut by_resource: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for need in needs.keys() {
        by_resource.entry(&need.resource).or_default().insert(&need.action);
    }
    let mut by_actions: BTreeMap<BTreeSet<&str>, Vec<&str>> = BTreeMap::new();
    for (resource, actions) in by_resource {
        by_actions.entry(actions).or_default().push(resource);
    }
    let asked: Vec<(BTreeSet<&str>, Vec<&str>)> = by_actions
        .into_iter()
        .flat_map(|(actions, resources)| resources.chunks(ARNS).map(|chunk| (actions.clone(), chunk.to_vec())).collect::<Vec<_>>())
        .collect();
    let simulations: Vec<_> = asked.iter().map(|(actions, resources)| simulate(lower.cloud, &source, actions, resources)).collect();
    let results: Vec<Result<Vec<(Need, Answer)>, CloudError>> = iter(simulations).buffer_unordered(AT_ONCE).collect().await;
    let mut answers = BTreeMap::new();
    for result in results {
        match result {
            Ok(some) => answers.extend(some),
            Err(error) if error.meaning == Meaning::Denied => {
                return vec![
                    Check::not_checked(
                        Group::Permissions,
                        format!("{} permissions", needs.len()),
                        format!("{name} may not simulate its own policies"),
                    )
                    .fix(format!("to have them checked, allow {name} iam:SimulatePrincipalPolicy")),
                ];
            }
            Err(error) => return not_checked(error.to_string()),
        }
    }
    let told: Vec<(&Need, &str, Answer)> =
        needs.iter().filter_map(|(need, object)| Some((need, object.as_str(), answers.get(need)?.clone()))).collect();
    judge(&name, &told)
}

async fn who(cloud: &Cloud) -> Result<Who, CloudError> {
    let told = cloud.sts().get_caller_identity().send().await.map_err(|error| CloudError::new("sts GetCallerIdentity", &error))?;
    let arn = told.arn().unwrap_or_default().to_owned();
    let Some((head, rest)) = arn.rsplit_once(':').map(|(head, rest)| (head.to_owned(), rest.to_owned())) else {
        return Ok(Who::Other(arn));
    };
    if rest == "root" {
        return Ok(Who::Root);
    }
    if let Some(user) = rest.strip_prefix("user/") {
        let name = format!("user {}", user.rsplit('/').next().unwrap_or(user));
        return Ok(Who::Entity(arn, name));
    }
    let Some(role) = rest.strip_prefix("assumed-role/").and_then(|rest| rest.split('/').next()) else { return Ok(Who::Other(arn)) };
    // The ARN of a session does not tell the role's path.
    let found = cloud.iam().get_role().role_name(role).send().await.map_err(|error| CloudError::new("iam GetRole", &error));
    let own = match found {
        Ok(found) => found.role.map(|role| role.arn),
        Err(_) => None,
    };
    let partition = head.split(':').nth(1).unwrap_or("aws");
    let own = own.unwrap_or_else(|| format!("arn:{partition}:iam::{}:role/{role}", cloud.place().account));
    Ok(Who::Entity(own, format!("role {role}")))
}

async fn simulate(cloud: &Cloud, source: &str, actions: &BTreeSet<&str>, resources: &[&str]) -> Result<Vec<(Need, Answer)>, CloudError> {
    let call = cloud.iam_that_gives_up().simulate_principal_policy().policy_source_arn(source);
    let call = call.set_action_names(Some(actions.iter().map(|action| (*action).to_owned()).collect()));
    let call = call.set_resource_arns(Some(resources.iter().map(|resource| (*resource).to_owned()).collect()));
    let results = call.into_paginator().items().send().try_collect().await;
    let results = results.map_err(|error| CloudError::new("iam SimulatePrincipalPolicy", &error))?;
    Ok(results.iter().flat_map(|result| answers(result, resources)).collect())
}

fn answers(result: &EvaluationResult, resources: &[&str]) -> Vec<(Need, Answer)> {
    let need = |resource: &str| Need { action: result.eval_action_name().to_owned(), resource: resource.to_owned() };
    let specific = result.resource_specific_results();
    if specific.is_empty() {
        let asked = result.eval_resource_name().map_or_else(|| resources.to_vec(), |resource| vec![resource]);
        let answer = answer(result.eval_decision(), result.missing_context_values());
        return asked.into_iter().map(|resource| (need(resource), answer.clone())).collect();
    }
    specific
        .iter()
        .map(|one| (need(one.eval_resource_name()), answer(one.eval_resource_decision(), one.missing_context_values())))
        .collect()
}

fn answer(decision: &Decision, missing: &[String]) -> Answer {
    match decision {
        Decision::Allowed => Answer::Allowed,
        // What is denied where a condition cannot be judged is not known to be denied.
        _ if !missing.is_empty() => Answer::Depends(missing.to_vec()),
        Decision::ExplicitDeny => Answer::Denied,
        _ => Answer::NotAllowed,
    }
}
