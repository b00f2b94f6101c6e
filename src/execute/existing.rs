//! What a first start must not find: declared objects that exist already.

use crate::cluster::{Cluster, ClusterError};
use crate::manifest::{ObjectId, Resource};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Objects that Kubernetes itself makes, in each namespace or once; they are no sign of an environment.
fn is_made_by_kubernetes(id: &ObjectId) -> bool {
    let name = id.name.as_str();
    match id.kind.as_str() {
        "Namespace" => matches!(name, "default" | "kube-system" | "kube-public" | "kube-node-lease"),
        "ServiceAccount" => name == "default",
        "ConfigMap" => name == "kube-root-ca.crt",
        "Service" => name == "kubernetes" && id.namespace.as_deref() == Some("default"),
        "FlowSchema" | "PriorityLevelConfiguration" | "PriorityClass" => {
            name.starts_with("system-") || name == "exempt" || name == "catch-all"
        }
        "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding" => {
            name.starts_with("system:") || matches!(name, "cluster-admin" | "admin" | "edit" | "view")
        }
        _ => false,
    }
}

/// The declared objects that exist in the cluster, with one list call for each kind and namespace.
/// Kinds that the API server does not know have no objects.
pub async fn declared_objects<'a>(
    cluster: &Cluster,
    declared: impl IntoIterator<Item = &'a Resource>,
) -> Result<Vec<ObjectId>, ClusterError> {
    let mut kinds: BTreeMap<(String, String), BTreeSet<ObjectId>> = BTreeMap::new();
    for resource in declared {
        let id = resource.id();
        if !is_made_by_kubernetes(&id) {
            kinds.entry((id.api_version.clone(), id.kind.clone())).or_default().insert(id);
        }
    }
    let lists = kinds.into_iter().map(|((api_version, kind), wanted)| async move {
        let objects = match cluster.list(&api_version, &kind, None, None).await {
            Ok(objects) => objects,
            Err(ClusterError::KindUnknown { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let there: BTreeSet<(Option<&str>, &str)> = objects
            .iter()
            .map(|object| {
                let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
                (text("/metadata/namespace"), text("/metadata/name").unwrap_or_default())
            })
            .collect();
        Ok(wanted.into_iter().filter(|id| there.contains(&(id.namespace.as_deref(), &id.name))).collect::<Vec<_>>())
    });
    let found = futures::future::try_join_all(lists).await?;
    Ok(found.into_iter().flatten().collect())
}
