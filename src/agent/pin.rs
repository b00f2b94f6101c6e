//! A pinned source: `spec.ref.commit` of a GitRepository, owned by a field manager of its own. Flux writes the object as Git declares it, with
//! a branch and without a commit, and leaves alone what another manager owns; source-controller takes the commit before anything else in
//! `spec.ref` (fluxcd/source-controller, API of GitRepository). So the agent stays there until the pin is taken away.

use crate::cluster::{Applied, Apply, Cluster, ClusterError};
use crate::manifest::ObjectId;
use serde::Serialize;
use serde_json::{Value, json};

/// Owns the commit and nothing else.
pub const MANAGER: &str = "blackstart-pin";
/// The kind that can be pinned.
const API_VERSION: &str = "source.toolkit.fluxcd.io/v1";

/// Where the agent is to stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// 40 hex digits.
    pub commit: String,
    /// The sources that are held there, as they are declared.
    pub sources: Vec<ObjectId>,
}

/// A source that is pinned in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pinned {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The commit.
    pub commit: String,
}

impl Pinned {
    /// The source as an object.
    pub fn id(&self) -> ObjectId {
        source(&self.namespace, &self.name)
    }

    /// What takes the pin away where blackstart is not at hand.
    pub fn by_hand(&self) -> String {
        let patch = r#"[{"op": "remove", "path": "/spec/ref/commit"}]"#;
        format!("kubectl -n {} patch gitrepository {} --type=json -p '{patch}'", self.namespace, self.name)
    }
}

impl std::fmt::Display for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: pinned at {}, whatever its branch has", self.id(), crate::repo::short(&self.commit))
    }
}

fn source(namespace: &str, name: &str) -> ObjectId {
    ObjectId::new(API_VERSION, "GitRepository", Some(namespace), name)
}

/// The commit that a source is pinned at; none where nobody has pinned it, whatever Git declares.
pub fn of(object: &Value) -> Option<&str> {
    object.pointer("/spec/ref/commit").and_then(Value::as_str).filter(|_| entries(object).next().is_some())
}

/// What the pin owns of an object, as `managedFields` has it.
fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().filter(|entry| entry.get("manager").and_then(Value::as_str) == Some(MANAGER))
}

/// Whether the pin owns the commit and nothing else.
fn is_whole(object: &Value) -> bool {
    let fields: Vec<Option<&Value>> = entries(object).map(|entry| entry.get("fieldsV1")).collect();
    fields == [Some(&json!({"f:spec": {"f:ref": {"f:commit": {}}}}))]
}

/// All pinned sources of a cluster; none where it does not know the kind.
pub async fn all(cluster: &Cluster) -> Result<Vec<Pinned>, ClusterError> {
    let objects = match cluster.list(API_VERSION, "GitRepository", None, None).await {
        Ok(objects) => objects,
        Err(ClusterError::KindUnknown { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let pinned = |object: Value| {
        let commit = of(&object)?.to_owned();
        Some(Pinned { namespace: text(&object, "/metadata/namespace"), name: text(&object, "/metadata/name"), commit })
    };
    Ok(objects.into_iter().filter_map(pinned).collect())
}

impl Pin {
    /// Its sources as they are pinned.
    pub fn pinned(&self) -> impl Iterator<Item = Pinned> + '_ {
        let namespace = |id: &ObjectId| id.namespace.clone().unwrap_or_default();
        self.sources.iter().map(move |id| Pinned { namespace: namespace(id), name: id.name.clone(), commit: self.commit.clone() })
    }

    /// Whether this object is one of its sources.
    pub fn covers(&self, id: &ObjectId) -> bool {
        self.sources.iter().any(|source| source.kind == id.kind && source.namespace == id.namespace && source.name == id.name)
    }

    /// Pins a source that is there. Nothing is written where it is so already; false where it is not there.
    pub async fn set(&self, cluster: &Cluster, id: &ObjectId) -> Result<bool, ClusterError> {
        match cluster.get(id).await? {
            None => Ok(false),
            Some(living) if is_whole(&living) && of(&living) == Some(&self.commit) => Ok(true),
            Some(_) => own(cluster, id, &json!({"ref": {"commit": self.commit}})).await.map(|()| true),
        }
    }

    /// Writes a source as the agent would, so that nobody ever sees it without its pin.
    pub async fn apply(&self, cluster: &Cluster, resource: &Value, how: &Apply) -> Result<Applied, ClusterError> {
        let id = ObjectId::of(resource);
        if how.dry_run {
            return cluster.apply(resource, how).await;
        }
        let is_new = cluster.get(&id).await?.is_none();
        if is_new {
            let mut whole = resource.clone();
            whole["spec"]["ref"]["commit"] = json!(self.commit);
            cluster.apply(&whole, &Apply { manager: MANAGER, ..Apply::flux() }).await?;
        }
        let mut applied = cluster.apply(resource, how).await?;
        if is_new {
            applied.result = crate::cluster::ApplyResult::Created;
        }
        self.set(cluster, &id).await?;
        Ok(applied)
    }
}

/// Takes the pin away: the source follows what Git declares.
pub async fn lift(cluster: &Cluster, id: &ObjectId) -> Result<(), ClusterError> {
    own(cluster, id, &Value::Null).await
}

async fn own(cluster: &Cluster, id: &ObjectId, spec: &Value) -> Result<(), ClusterError> {
    let mut object = json!({"apiVersion": id.api_version, "kind": id.kind, "metadata": {"namespace": id.namespace, "name": id.name}});
    if !spec.is_null() {
        object["spec"] = spec.clone();
    }
    cluster.apply(&object, &Apply { manager: MANAGER, ..Apply::flux() }).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_git_declares_is_no_pin() {
        let with = |manager: &str| {
            let managed = json!([{"manager": manager, "fieldsV1": {"f:spec": {"f:ref": {"f:commit": {}}}}}]);
            json!({"metadata": {"managedFields": managed}, "spec": {"ref": {"commit": "abc"}}})
        };
        assert_eq!((of(&with("kustomize-controller")), of(&with(MANAGER))), (None, Some("abc")));
        assert!(is_whole(&with(MANAGER)) && !is_whole(&with("kustomize-controller")));
        let mut more = with(MANAGER);
        more["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:url"] = json!({});
        assert!(!is_whole(&more));
    }

    #[test]
    fn only_its_own_sources_are_covered() {
        let pin = Pin { commit: "abc".into(), sources: vec![source("flux-system", "flux-system")] };
        assert!(pin.covers(&ObjectId { api_version: "source.toolkit.fluxcd.io/v1beta2".into(), ..source("flux-system", "flux-system") }));
        assert!(!pin.covers(&source("flux-system", "other")));
        assert!(!pin.covers(&ObjectId { kind: "HelmRepository".into(), ..source("flux-system", "flux-system") }));
    }
}
