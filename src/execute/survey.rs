//! Looks at a living cluster as a run would find it, and writes nothing: for `plan --live` and `status`.

use super::{Below, secret};
use crate::agent::pin::{self, Pinned};
use crate::agent::{self, Confirmation};
use crate::cluster::{Apply, ApplyResult, Cluster, ClusterError, ssa};
use crate::layers::LayerId;
use crate::manifest::{ObjectId, Resource};
use crate::plan::live::Changes;
use crate::problem::Problem;
use crate::read::Reading;
use futures::stream::{StreamExt as _, iter};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Requests under way at once.
const REQUESTS: usize = 16;

/// What a dry run of one object says.
enum Verdict {
    Did(ApplyResult),
    /// What it needs first (its kind, its namespace) is not there, so it is not either.
    Missing,
    Refused(Problem),
}

/// What applying each rendered layer would do, by a server-side dry run of each object; objects that the server would refuse are problems.
/// An error where the server stops answering.
/// `below` gives the values that objects wait for.
pub async fn changes(
    cluster: &Cluster,
    reading: &Reading,
    below: Option<&Below>,
    skip: impl Fn(&ObjectId) -> bool,
) -> Result<(BTreeMap<LayerId, Changes>, Vec<Problem>), ClusterError> {
    let layers = reading.layers.iter().filter(|read| read.rendered && !read.layer.spec.suspend && read.layer.spec.kube_config.is_none());
    let mut found: BTreeMap<LayerId, Changes> = layers.clone().map(|read| (read.layer.id.clone(), Changes::default())).collect();
    let mut problems = Vec::new();
    let objects = layers.flat_map(|read| read.objects.iter().map(move |object| (&read.layer, object)));
    let objects = objects.filter(|(_, object)| !skip(&object.id()));
    let mut verdicts = iter(objects)
        .map(|(layer, object)| async move {
            let known = below.and_then(|_| secret::filled(&object.value, below).ok());
            let known = known.map(|value| Resource { value, origin: object.origin.clone() });
            let prepared = ssa::prepare(known.as_ref().unwrap_or(object), layer);
            (layer, verdict(object, cluster.apply(&prepared, &Apply::flux().if_drifted().dry()).await.map(|applied| applied.result)))
        })
        .buffer_unordered(REQUESTS);
    while let Some((layer, verdict)) = verdicts.next().await {
        let changes = found.entry(layer.id.clone()).or_default();
        match verdict? {
            Verdict::Did(ApplyResult::Created) | Verdict::Missing => changes.create += 1,
            Verdict::Did(ApplyResult::Changed) => changes.change += 1,
            Verdict::Did(ApplyResult::Unchanged | ApplyResult::Skipped) => changes.keep += 1,
            Verdict::Refused(problem) => {
                changes.change += 1;
                problems.push(problem);
            }
        }
    }
    problems.sort_by(|one, other| (&one.origin, &one.message).cmp(&(&other.origin, &other.message)));
    Ok((found, problems))
}

fn verdict(object: &Resource, result: Result<ApplyResult, ClusterError>) -> Result<Verdict, ClusterError> {
    let error = match result {
        Ok(result) => return Ok(Verdict::Did(result)),
        Err(error) => error,
    };
    match &error {
        ClusterError::Unreachable { .. } | ClusterError::Unauthorized { .. } => Err(error),
        ClusterError::KindUnknown { .. } => Ok(Verdict::Missing),
        ClusterError::NotFound { reason, .. } if reason.starts_with("namespaces ") => Ok(Verdict::Missing),
        error => {
            let problem = Problem::blocks("object-refused", error.to_string()).at(object.origin.clone());
            Ok(Verdict::Refused(match error.hint() {
                Some(hint) => problem.hint(hint),
                None => problem,
            }))
        }
    }
}

/// The agent as it is installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// Such as `v2.6.0`; empty where its definitions do not say.
    pub version: String,
    /// Its controllers that are not available, with what their Deployments say.
    pub unavailable: Vec<String>,
    /// Its sources that stay at a commit (`--pin`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<Pinned>,
}

/// The agent's version and controllers; none where it is not installed.
pub async fn agent(cluster: &Cluster) -> Result<Option<Agent>, ClusterError> {
    if !agent::is_installed(cluster).await? {
        return Ok(None);
    }
    let name = "kustomizations.kustomize.toolkit.fluxcd.io";
    let definition = ObjectId::new("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, name);
    let definition = cluster.get(&definition).await?.unwrap_or_default();
    let version = definition.pointer("/metadata/labels/app.kubernetes.io~1version").and_then(Value::as_str).unwrap_or_default().to_owned();
    // A sandbox runs it as processes: no Deployment is no trouble.
    let controllers = cluster.list("apps/v1", "Deployment", None, Some("app.kubernetes.io/part-of=flux")).await?;
    let unavailable = controllers.iter().filter_map(|controller| {
        let number = |pointer: &str| controller.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
        let (wanted, there) =
            (controller.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1), number("/status/availableReplicas"));
        let name = controller.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        (there < wanted.max(1)).then(|| format!("{name} ({there} of {wanted} available)"))
    });
    let pinned = pin::all(cluster).await?;
    Ok(Some(Agent { version, unavailable: unavailable.collect(), pinned }))
}

/// Why a layer is not confirmed that somebody has suspended.
pub const SUSPENDED: &str = "it is suspended in the cluster";

/// A layer as the agent tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Which.
    pub id: LayerId,
    /// The revision that the agent applied last; empty where none.
    pub revision: String,
    /// Why it is not ready at our revision; none where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// Where each layer stands that the agent is to apply; suspended ones and those for another cluster are left out.
pub async fn layers(cluster: &Cluster, reading: &Reading) -> Result<Vec<Standing>, ClusterError> {
    let living = agent::living(cluster).await?;
    let awaited = reading.layers.iter().map(|read| &read.layer).filter(|layer| !layer.spec.suspend && layer.spec.kube_config.is_none());
    Ok(awaited
        .map(|layer| {
            let revision = reading.sources.get(&layer.source).and_then(|source| Some(source.tree.as_ref()?.revision.as_str()));
            let Some(living) = living.get(&layer.id) else {
                return Standing { id: layer.id.clone(), revision: String::new(), missing: Some("it is not there".to_owned()) };
            };
            let missing = match agent::confirmation(&living.object, &layer.source, revision) {
                _ if living.suspended => Some(SUSPENDED.to_owned()),
                Confirmation::Ready => None,
                Confirmation::Waiting(message) => Some(message),
                Confirmation::DependencyNotReady => Some("a layer that it depends on is not ready".to_owned()),
            };
            let applied = living.object.pointer("/status/lastAppliedRevision").and_then(Value::as_str).unwrap_or_default();
            Standing { id: layer.id.clone(), revision: applied.to_owned(), missing }
        })
        .collect())
}
