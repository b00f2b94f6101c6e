//! Two clusters must not fight over names, images and volumes: where a new one takes an old one's place, the old one is looked at first.

use crate::agent;
use crate::cluster::{Cluster, ClusterError};
use crate::manifest::ObjectId;
use crate::read::Reading;
use serde_json::{Value, json};

/// Kinds of the agent that act by themselves, and are stopped by `spec.suspend`.
const ACTING: [(&str, &str); 3] = [
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
    ("image.toolkit.fluxcd.io/v1", "ImageUpdateAutomation"),
];
const MANAGER: &str = "blackstart-fence";

/// An old cluster that still acts for the environment.
#[derive(Debug)]
pub struct Acting {
    /// URL of its API server.
    pub server: String,
    /// What acts: objects that are not suspended, and Deployments that write DNS records.
    pub objects: Vec<ObjectId>,
}

/// Whether these are two clusters, and the old one still acts for layers of this repository. Writes nothing.
pub async fn look(old: &Cluster, new: &Cluster, reading: &Reading) -> Result<Option<Acting>, ClusterError> {
    let (one, other) = futures::future::try_join(identity(old), identity(new)).await?;
    if one == other {
        return Ok(None);
    }
    let layers = agent::living(old).await?;
    let acts = |read: &crate::read::ReadLayer| layers.get(&read.layer.id).is_some_and(|living| !living.suspended);
    if !reading.layers.iter().any(acts) {
        return Ok(None);
    }
    let mut objects = Vec::new();
    for (api_version, kind) in ACTING {
        let list = match old.list(api_version, kind, None, None).await {
            Err(ClusterError::KindUnknown { .. }) => continue,
            list => list?,
        };
        let acting = list.into_iter().filter(|object| object.pointer("/spec/suspend") != Some(&Value::Bool(true)));
        objects.extend(acting.map(|object| ObjectId::of(&object)));
    }
    let deployments = old.list("apps/v1", "Deployment", None, None).await?;
    objects.extend(deployments.into_iter().filter(writes_dns).map(|object| ObjectId::of(&object)));
    Ok(Some(Acting { server: old.server().to_owned(), objects }))
}

/// Stops all of it: the agent's objects are suspended, what writes DNS records is scaled to nothing. Nothing is deleted.
pub async fn fence(old: &Cluster, acting: &Acting) -> Result<(), ClusterError> {
    for id in &acting.objects {
        let change = if id.kind == "Deployment" { json!({"spec": {"replicas": 0}}) } else { json!({"spec": {"suspend": true}}) };
        match old.merge_patch(id, None, &change, MANAGER).await {
            Err(error) if error.is_absent() => {}
            result => drop(result?),
        }
    }
    Ok(())
}

/// What no two clusters share.
async fn identity(cluster: &Cluster) -> Result<Option<String>, ClusterError> {
    let id = ObjectId::new("v1", "Namespace", None, "kube-system");
    let namespace = cluster.get(&id).await?;
    Ok(namespace.and_then(|object| object.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned)))
}

/// external-dns, by its image, where it runs.
fn writes_dns(deployment: &Value) -> bool {
    let runs = deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1) > 0;
    let containers = deployment.pointer("/spec/template/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let image = |container: &Value| container.get("image").and_then(Value::as_str).unwrap_or_default().to_owned();
    runs && containers.map(image).any(|image| image.split([':', '@']).next().is_some_and(|name| name.ends_with("external-dns")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_dns_is_known_by_its_image_whatever_it_is_called() {
        let deployment =
            |image: &str, replicas: u64| json!({"spec": {"replicas": replicas, "template": {"spec": {"containers": [{"image": image}]}}}});
        assert!(writes_dns(&deployment("registry.k8s.io/external-dns/external-dns:v0.15.0", 1)));
        assert!(!writes_dns(&deployment("registry.k8s.io/external-dns/external-dns:v0.15.0", 0)));
        assert!(!writes_dns(&deployment("example.com/external-dns-checker:1", 1)));
    }
}
