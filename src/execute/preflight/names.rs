//! Names that AWS will not give: a bucket of somebody else, and what is being deleted and still holds its name or its data.

use super::Lower;
use crate::aws::observe::{candidate, wanted};
use crate::aws::{Cloud, CloudError, Living, Meaning, State, kind};
use crate::layers::infrastructure::{Candidate, Declared, Match, identify};
use crate::preflight::{Check, Group};
use crate::problem::count;
use futures::future::join_all;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) async fn look(lower: Lower<'_>, environment: &str) -> Vec<Check> {
    let mut kinds: BTreeMap<(&str, &str), Vec<&Declared>> = BTreeMap::new();
    for declared in lower.missing() {
        kinds.entry((declared.schema.service, declared.schema.kind)).or_default().push(declared);
    }
    let leaving = join_all(kinds.values().map(|all| leaving(lower.cloud, environment, all))).await;
    let buckets = kinds.get(&("s3", "Bucket")).cloned().unwrap_or_default();
    let mut checks: Vec<Check> =
        join_all(buckets.into_iter().map(|declared| bucket(lower.cloud, declared))).await.into_iter().flatten().collect();
    checks.extend(leaving.into_iter().flatten());
    if let Some(queues) = kinds.get(&("sqs", "Queue")) {
        let why = "SQS holds the name of a deleted queue back for 60 s and shows nobody; a run tries again until it has it";
        checks.push(Check::not_checked(Group::Names, count(queues.len(), "queue"), why));
    }
    checks
}

/// Bucket names are everyone's.
async fn bucket(cloud: &Cloud, declared: &Declared) -> Option<Check> {
    let name = declared.spec().get("name").and_then(Value::as_str)?;
    let object = format!("Bucket {name}");
    let head = cloud.s3().head_bucket().bucket(name).send().await.map_err(|error| {
        let status = error.raw_response().map(|answer| answer.status().as_u16());
        (status, CloudError::new("s3 HeadBucket", &error))
    });
    let blocked = |found: &str, fix: &str| Check::blocker(Group::Names, &object, found).fix(fix);
    let check = match head {
        // A bucket that a killed run has made is listed a moment later.
        Ok(_) => Check::warning(
            Group::Names,
            &object,
            "is there and is not listed as ours: it is seconds old, or another account lets us see it",
        )
        .fix("look again in a minute; if it stays so, name another bucket in Git"),
        Err((_, error)) if error.is_absent() => Check::ok(Group::Names, &object, "the name is free"),
        Err((Some(301), _)) => blocked("is there in another region", "correct spec.aws.region, or name another bucket in Git"),
        Err((Some(403), _)) => blocked("the name belongs to another account", "name another bucket in Git; bucket names are everyone's"),
        Err((_, error)) => Check::not_checked(Group::Names, &object, error.to_string()),
    };
    Some(check.at(declared.origin()))
}

/// What these manifests would mean, were it not being deleted.
async fn leaving(cloud: &Cloud, environment: &str, all: &[&Declared]) -> Vec<Check> {
    let Some(kind) = all.first().and_then(|first| kind(first.schema)) else { return Vec::new() };
    let wanted: Vec<_> = all.iter().map(|declared| wanted(declared, environment, "", |_, _, _, _| None)).collect();
    let found = match kind.list(cloud, &wanted).await {
        Ok(found) => found,
        // The look of the account tells it already.
        Err(error) if error.meaning == Meaning::Denied => return Vec::new(),
        Err(error) => return vec![Check::not_checked(Group::Names, kind.schema().kind, error.to_string())],
    };
    let going: Vec<&Living> = found.iter().filter(|living| matches!(living.state, State::Leaving(_))).collect();
    let candidates: Vec<Candidate<'_>> = going.iter().map(|living| Candidate { leaving: false, ..candidate(living) }).collect();
    let mut checks = Vec::new();
    for (declared, wanted) in all.iter().zip(&wanted) {
        let positions = match identify(declared, &wanted.spec, environment, &candidates) {
            Match::None => continue,
            Match::One { position, .. } => vec![position],
            Match::Several { positions, .. } => positions,
        };
        checks.extend(positions.into_iter().map(|at| told(declared, going[at])));
    }
    checks
}

fn told(declared: &Declared, living: &Living) -> Check {
    let State::Leaving(word) = &living.state else { return Check::ok(Group::Names, &living.id, "lives") };
    let name = format!("{} {}", declared.schema.kind, living.id);
    let check = match (declared.schema.service, declared.schema.kind) {
        ("secretsmanager", "Secret") => {
            Check::ok(Group::Names, name, format!("is scheduled for deletion ({word}); the run takes it back, with its value"))
        }
        ("kms", "Key") => Check::warning(
            Group::Names,
            name,
            format!("is {word}; a new key is made, and what this one has encrypted cannot be read when it is gone"),
        )
        .fix(format!("to keep it: aws kms cancel-key-deletion --key-id {0} && aws kms enable-key --key-id {0}", living.id)),
        _ => Check::warning(Group::Names, name, format!("is still being deleted ({word})"))
            .fix("the run tries again for a while; better wait until it is gone"),
    };
    check.at(declared.origin())
}
