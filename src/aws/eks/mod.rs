//! EKS: the cluster, and what lives in it by a name of its own.

mod access;
mod addon;
mod capability;
mod cluster;
mod nodegroup;
mod shapes;

use super::error::or_absent;
use super::kind::{Kind, Living, State, Wanted};
use super::{Cloud, CloudError, Meaning};
use crate::layers::infrastructure::{Reference, at, refers};
use async_trait::async_trait;
use aws_sdk_eks::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures::future::try_join_all;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) const KINDS: &[&dyn Kind] = &[
    &cluster::Cluster,
    &nodegroup::Nodegroup,
    &addon::Addon,
    &access::AccessEntry,
    &access::PodIdentityAssociation,
    &capability::Capability,
];

/// The cluster that a resource is in.
const CLUSTER: Reference = refers("clusterName", "clusterRef", "eks", "Cluster", "name");
/// The role that a resource is given.
const ROLE: Reference = refers("roleARN", "roleRef", "iam", "Role", "arn");

/// A kind that lives in a cluster. AWS lists what is in one, and tells of one resource a call.
#[async_trait]
trait Member {
    /// What tells the wanted one from others in its cluster.
    fn key(wanted: &Wanted) -> Option<String>;

    /// Key and ID of each that is in a cluster.
    async fn ids(cloud: &Cloud, cluster: &str) -> Result<Vec<(String, String)>, CloudError>;

    /// One of them; none where it is gone.
    async fn read(cloud: &Cloud, cluster: &str, id: &str) -> Result<Option<Living>, CloudError>;
}

/// All wanted ones that live: each cluster is listed once, and no other is read.
async fn members<M: Member>(cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
    let mut clusters: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for wanted in wanted {
        if let (Some(cluster), Some(key)) = (wanted.text("clusterName"), M::key(wanted)) {
            clusters.entry(cluster).or_default().insert(key);
        }
    }
    let found = clusters.into_iter().map(|(cluster, keys)| async move {
        // A cluster that is not there yet has none.
        let ids = or_absent(M::ids(cloud, cluster).await)?.unwrap_or_default();
        let wanted = ids.into_iter().filter(|(key, _)| keys.contains(key));
        try_join_all(wanted.map(|(_, id)| async move { M::read(cloud, cluster, &id).await })).await
    });
    let found: Vec<Vec<Option<Living>>> = try_join_all(found).await?;
    Ok(found.into_iter().flatten().flatten().collect())
}

/// Names that are keys and IDs in one.
fn named(names: Vec<String>) -> Vec<(String, String)> {
    names.into_iter().map(|name| (name.clone(), name)).collect()
}

/// The cluster of a living member, and its own name there.
fn place<'a>(living: &'a Living, name: &str) -> (&'a str, &'a str) {
    let text = |field: &str| at(&living.spec, field).and_then(Value::as_str).unwrap_or_default();
    (text("clusterName"), text(name))
}

/// What EKS says of a role (or a cluster) that is seconds old or busy, though it calls it an invalid request; it passes.
const PASSING: &[&str] = &[
    "does not exist",
    "Error in role params",
    "could not be assumed",
    "Managed Policies associated with it",
    "policy must include",
    "invalid principal",
    "is not in ACTIVE status",
];

fn refused<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let mut error = CloudError::new(operation, error);
    if error.meaning == Meaning::Invalid && PASSING.iter().any(|words| error.message.contains(words)) {
        error.meaning = Meaning::Dependency;
    }
    error
}

/// The same for what is there already: "in use" then means that another change of it runs.
fn busy<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let mut error = refused(operation, error);
    if error.meaning == Meaning::Exists {
        error.meaning = Meaning::Dependency;
    }
    error
}

/// What a status means, told with the issues that AWS knows of.
fn state(status: Option<&str>, issues: impl Iterator<Item = String>) -> State {
    let status = status.unwrap_or("UNKNOWN");
    let issues: Vec<String> = issues.collect();
    let words = if issues.is_empty() { status.to_owned() } else { format!("{status}: {}", issues.join("; ")) };
    match status {
        "ACTIVE" => State::Ready,
        "DELETING" => State::Leaving(words),
        "FAILED" | "CREATE_FAILED" | "DELETE_FAILED" => State::Failed(words),
        _ => State::Pending(words),
    }
}

fn issue(code: Option<&str>, message: Option<&str>) -> String {
    [code, message].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Tags of an answer, those of AWS itself left out.
fn tags(all: Option<&HashMap<String, String>>) -> BTreeMap<String, String> {
    let own = all.into_iter().flatten().filter(|(key, _)| !key.starts_with("aws:"));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Sets all tags that Git declares; others stay.
async fn tag(cloud: &Cloud, wanted: &Wanted, living: &Living) -> Result<(), CloudError> {
    let arn = living.status.pointer("/ackResourceMetadata/arn").and_then(Value::as_str);
    let tags = wanted.declared.tags().into_iter().collect();
    let call = cloud.eks().tag_resource().set_resource_arn(arn.map(str::to_owned)).set_tags(Some(tags));
    call.send().await.map_err(|error| CloudError::new("eks TagResource", &error)).map(drop)
}

/// Tags for a create call.
fn new_tags(wanted: &Wanted) -> HashMap<String, String> {
    wanted.tags.clone().into_iter().collect()
}

/// The token of a create call: the manifest's own where it has one.
fn token(wanted: &Wanted) -> &str {
    wanted.text("clientRequestToken").unwrap_or(&wanted.token)
}
