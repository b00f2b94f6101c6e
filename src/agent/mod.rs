//! The sync agent (Flux): how a living one is found and held back, how layers are handed to it, how it is nudged.

pub mod handover;
pub mod pin;

use crate::cluster::{Applied, Apply, ApplyResult, Cluster, ClusterError};
use crate::layers::{LayerId, SourceId};
use crate::manifest::{ObjectId, Resource};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Field manager of kustomize-controller: what we apply as it, it finds unchanged, and prunes later.
pub const MANAGER: &str = "kustomize-controller";
/// Field manager of what is ours alone: suspending a layer while a run works on it.
const HOLD: &str = "blackstart";
/// API group and version of its layers.
pub const API_VERSION: &str = "kustomize.toolkit.fluxcd.io/v1";

/// A layer's Kustomization as found in a living cluster.
#[derive(Clone, Debug)]
pub struct Living {
    /// The object.
    pub object: Value,
    /// Suspended, by whomever.
    pub suspended: bool,
    /// Suspended by an earlier run of ours.
    pub held: bool,
}

/// Id of a layer's Kustomization object.
pub fn kustomization_id(layer: &LayerId) -> ObjectId {
    ObjectId::new(API_VERSION, "Kustomization", Some(&layer.namespace), &layer.name)
}

/// Whether the cluster knows the agent's layers.
pub async fn is_installed(cluster: &Cluster) -> Result<bool, ClusterError> {
    Ok(cluster.resolve(API_VERSION, "Kustomization").await?.is_some())
}

/// The Kustomizations that the cluster holds; none where it does not know the kind.
pub async fn living(cluster: &Cluster) -> Result<BTreeMap<LayerId, Living>, ClusterError> {
    let objects = match cluster.list(API_VERSION, "Kustomization", None, None).await {
        Ok(objects) => objects,
        Err(ClusterError::KindUnknown { .. }) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    Ok(objects
        .into_iter()
        .map(|object| {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let id = LayerId::new(text("/metadata/namespace"), text("/metadata/name"));
            let suspended = is_suspended(&object);
            let held = suspended && manages(&object, HOLD, "f:suspend");
            (id, Living { object, suspended, held })
        })
        .collect())
}

fn manages(object: &Value, manager: &str, field: &str) -> bool {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().any(|entry| {
        entry.get("manager").and_then(Value::as_str) == Some(manager) && entry.pointer(&format!("/fieldsV1/f:spec/{field}")).is_some()
    })
}

/// Holds a living layer: `spec.suspend` as our own field, which resuming gives up again.
pub async fn suspend(cluster: &Cluster, layer: &LayerId) -> Result<(), ClusterError> {
    hold(cluster, layer, Some(json!({"suspend": true}))).await
}

/// Gives our hold up; whoever else suspended the layer still does. Nothing is written where we hold nothing, or where it is gone.
pub async fn resume(cluster: &Cluster, layer: &LayerId) -> Result<(), ClusterError> {
    match cluster.get(&kustomization_id(layer)).await? {
        Some(object) if manages(&object, HOLD, "f:suspend") => hold(cluster, layer, None).await,
        _ => Ok(()),
    }
}

/// Whether a layer's Kustomization is suspended.
pub fn is_suspended(object: &Value) -> bool {
    object.pointer("/spec/suspend").and_then(Value::as_bool).unwrap_or_default()
}

async fn hold(cluster: &Cluster, layer: &LayerId, spec: Option<Value>) -> Result<(), ClusterError> {
    let mut object = json!({
        "apiVersion": API_VERSION, "kind": "Kustomization", "metadata": {"namespace": layer.namespace, "name": layer.name},
    });
    if let Some(spec) = spec {
        object["spec"] = spec;
    }
    cluster.apply(&object, &Apply { manager: HOLD, ..Apply::flux() }).await.map(drop)
}

/// Writes a layer's Kustomization object as declared and lets the agent work on it; writes nothing where it is so already.
pub async fn give(cluster: &Cluster, declared: &Resource, living: Option<&Living>) -> Result<Applied, ClusterError> {
    let Some(living) = living else { return cluster.apply(&declared.value, &Apply::flux()).await };
    let id = declared.id();
    let layer = LayerId::new(id.namespace.clone().unwrap_or_default(), id.name.clone());
    let applied = cluster.apply(&declared.value, &Apply::flux().if_drifted()).await?;
    // Whether it is we who hold it: from an earlier run that ended too soon, or from this one.
    let suspended = is_suspended(&applied.object);
    if !living.held && (!suspended || living.suspended) {
        return Ok(applied);
    }
    hold(cluster, &layer, None).await?;
    // As it is now, without our hold.
    let object = cluster.get(&id).await?.unwrap_or_default();
    let fingerprint = crate::cluster::ssa::fingerprint(&object, MANAGER);
    Ok(Applied { object, result: ApplyResult::Changed, fingerprint, dropped: Vec::new() })
}

/// Asks the agent to look at an object now (what `flux reconcile` does). Losing a nudge costs 30 s, no more.
pub async fn nudge(cluster: &Cluster, id: &ObjectId) {
    let now = jiff::Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": now}}});
    let _ = cluster.merge_patch(id, None, &patch, HOLD).await;
}

/// What the agent says of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Ready at our revision.
    Ready,
    /// Not yet, and why.
    Waiting(String),
    /// It waits for a dependency and will not look again for 30 s.
    DependencyNotReady,
}

/// Reads a Kustomization's status. The revision counts for Git sources; for others, whatever the agent has is what there is.
pub fn confirmation(object: &Value, source: &SourceId, revision: Option<&str>) -> Confirmation {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let generation = number("/metadata/generation");
    let observed = number("/status/observedGeneration");
    let condition = object
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
    let Some(condition) = condition else { return Confirmation::Waiting("the agent has not looked at it".into()) };
    let text = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("reason") == "DependencyNotReady" {
        return Confirmation::DependencyNotReady;
    }
    if text("status") != "True" {
        return Confirmation::Waiting(format!("{}: {}", text("reason"), text("message")));
    }
    if observed.is_none() || observed != generation || generation != condition.get("observedGeneration").and_then(Value::as_i64) {
        return Confirmation::Waiting("the agent has not looked at its newest form".into());
    }
    if object.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true) {
        return Confirmation::Waiting("suspended".into());
    }
    let applied = object.pointer("/status/lastAppliedRevision").and_then(Value::as_str).unwrap_or_default();
    match revision {
        Some(revision) if source.kind == "GitRepository" && !is_same(applied, revision) => {
            Confirmation::Waiting(format!("it is at {applied}, we are at {revision}"))
        }
        _ => Confirmation::Ready,
    }
}

/// Whether the agent has another commit than ours: of a Kustomization the one that it applied last, of a GitRepository its artifact's.
pub fn is_at_another(object: &Value, revision: Option<&str>) -> bool {
    let has = ["/status/lastAppliedRevision", "/status/artifact/revision"].iter().find_map(|pointer| object.pointer(pointer));
    revision.is_some_and(|revision| !is_same(has.and_then(Value::as_str).unwrap_or_default(), revision))
}

/// Whether two revisions (`main@sha1:…`) are of the same commit.
fn is_same(left: &str, right: &str) -> bool {
    let digest = |revision: &str| revision.rsplit_once('@').map_or(revision, |(_, digest)| digest).to_owned();
    digest(left) == digest(right)
}

/// Makes the namespace of the agent's own objects where neither its components nor anything else has.
pub async fn ensure_namespace(cluster: &Cluster, name: &str) -> Result<(), ClusterError> {
    let namespace = namespace(name);
    if cluster.get(&namespace.id()).await?.is_none() {
        cluster.apply(&namespace.value, &Apply { manager: HOLD, ..Apply::flux() }).await?;
    }
    Ok(())
}

/// Names nothing but its name: whoever declares it later owns all the rest. The label is what the server sets by itself; an object
/// without any owned field would get the owner `before-first-apply` with the next write, which the agent takes away again.
fn namespace(name: &str) -> Resource {
    let metadata = json!({"name": name, "labels": {"kubernetes.io/metadata.name": name}});
    Resource { value: json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}), origin: None }
}

/// An object with its Namespace before it, so that it can be written before the layer that declares the namespace.
pub fn with_namespace(object: Resource) -> Vec<Resource> {
    let namespace = object.namespace().map(namespace);
    namespace.into_iter().chain([object]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(status: &str, reason: &str, observed: i64) -> Value {
        json!({
            "metadata": {"generation": 2}, "spec": {},
            "status": {
                "observedGeneration": observed, "lastAppliedRevision": "main@sha1:abc",
                "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": "m", "observedGeneration": observed}],
            },
        })
    }

    fn source() -> SourceId {
        SourceId { kind: "GitRepository".into(), namespace: "flux-system".into(), name: "flux-system".into() }
    }

    #[test]
    fn ready_counts_at_our_revision_and_generation_only() {
        let ours = Some("refs/heads/main@sha1:abc");
        assert_eq!(confirmation(&object("True", "ReconciliationSucceeded", 2), &source(), ours), Confirmation::Ready);
        assert!(matches!(confirmation(&object("True", "ReconciliationSucceeded", 1), &source(), ours), Confirmation::Waiting(_)));
        assert!(matches!(confirmation(&object("True", "x", 2), &source(), Some("main@sha1:def")), Confirmation::Waiting(_)));
        assert!(matches!(confirmation(&object("False", "HealthCheckFailed", 2), &source(), ours), Confirmation::Waiting(_)));
        assert_eq!(confirmation(&object("False", "DependencyNotReady", 2), &source(), ours), Confirmation::DependencyNotReady);
    }
}
