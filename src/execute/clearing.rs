//! Clearing a cluster of what its controllers made in the account (load balancers, volumes), while they are still there to undo it.

use super::Events;
use crate::agent;
use crate::cluster::watch::Watches;
use crate::cluster::{Cluster, ClusterError, Preconditions, wait};
use crate::layers::LayerId;
use crate::manifest::ObjectId;
use crate::report::event::Happening;
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;

/// How long controllers may take to undo what they made: a load balancer some minutes, a volume when its node has let go of it.
const PATIENCE: Duration = Duration::from_secs(300);
/// Kinds whose objects may have a load balancer; a Service only of one type.
const WAYS_IN: [(&str, &str); 3] = [("v1", "Service"), ("networking.k8s.io/v1", "Ingress"), ("gateway.networking.k8s.io/v1", "Gateway")];

/// What is in a cluster that has something in the account.
#[derive(Clone, Debug, Default)]
pub struct Inside {
    /// Kustomizations that are not suspended.
    pub layers: Vec<LayerId>,
    /// HelmReleases that are not suspended.
    pub releases: Vec<ObjectId>,
    /// Services with a load balancer, Ingresses, Gateways.
    pub ways_in: Vec<ObjectId>,
    /// Claims for volumes, with their sizes.
    pub claims: Vec<(ObjectId, String)>,
    /// The volumes of these claims that go with them.
    pub volumes: Vec<ObjectId>,
    /// What AWS calls the volumes that the cluster's EBS drivers made for claims, and that go with them.
    pub handles: BTreeSet<String>,
    /// The same of those that stay when their claims go (reclaim policy Retain), or that the drivers did not make.
    pub retained: BTreeSet<String>,
    /// What keeps claims in use: the top owners of the pods that mount them.
    pub users: BTreeSet<ObjectId>,
}

impl Inside {
    /// Whether nothing has to be removed.
    pub fn is_empty(&self) -> bool {
        self.ways_in.is_empty() && self.claims.is_empty()
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Of a kind that the cluster may not know.
async fn list(cluster: &Cluster, api_version: &str, kind: &str) -> Result<Vec<Value>, ClusterError> {
    match cluster.list(api_version, kind, None, None).await {
        Err(ClusterError::KindUnknown { .. }) => Ok(Vec::new()),
        result => result,
    }
}

/// Looks at a cluster; writes nothing.
pub async fn look(cluster: &Cluster) -> Result<Inside, ClusterError> {
    let ways_in = futures::future::try_join_all(WAYS_IN.map(|(api_version, kind)| list(cluster, api_version, kind)));
    let (living, releases, ways_in, claims, volumes, pods) = tokio::try_join!(
        agent::living(cluster),
        list(cluster, "helm.toolkit.fluxcd.io/v2", "HelmRelease"),
        ways_in,
        list(cluster, "v1", "PersistentVolumeClaim"),
        list(cluster, "v1", "PersistentVolume"),
        list(cluster, "v1", "Pod"),
    )?;
    let mut inside = Inside {
        layers: living.into_iter().filter(|(_, living)| !living.suspended).map(|(id, _)| id).collect(),
        releases: releases.iter().filter(|release| !agent::is_suspended(release)).map(ObjectId::of).collect(),
        ways_in: ways_in.iter().flatten().filter(|object| has_balancer(object)).map(ObjectId::of).collect(),
        claims: claims.iter().map(|claim| (ObjectId::of(claim), text(claim, "/spec/resources/requests/storage").to_owned())).collect(),
        volumes: volumes.iter().filter(|volume| goes(volume)).map(ObjectId::of).collect(),
        handles: volumes.iter().filter(|volume| goes(volume)).filter_map(handle).collect(),
        retained: volumes.iter().filter(|volume| !goes(volume)).filter_map(handle).collect(),
        users: BTreeSet::new(),
    };
    let mounting = pods.iter().filter(|pod| {
        let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
        volumes.into_iter().flatten().any(|volume| volume.get("persistentVolumeClaim").is_some() || volume.get("ephemeral").is_some())
    });
    inside.users = futures::future::try_join_all(mounting.map(|pod| top(cluster, pod))).await?.into_iter().collect();
    Ok(inside)
}

fn has_balancer(object: &Value) -> bool {
    text(object, "/kind") != "Service" || text(object, "/spec/type") == "LoadBalancer"
}

/// Whether a volume goes with its claim.
fn goes(volume: &Value) -> bool {
    let is_made = volume.pointer("/metadata/annotations/pv.kubernetes.io~1provisioned-by").is_some();
    is_made && text(volume, "/spec/persistentVolumeReclaimPolicy") == "Delete"
}

/// An EBS volume of the CSI drivers (EKS' own and Auto Mode's).
fn handle(volume: &Value) -> Option<String> {
    let is_ebs = matches!(text(volume, "/spec/csi/driver"), "ebs.csi.aws.com" | "ebs.csi.eks.amazonaws.com");
    is_ebs.then(|| text(volume, "/spec/csi/volumeHandle").to_owned()).filter(|handle| !handle.is_empty())
}

/// The object that makes a pod again, however far up.
async fn top(cluster: &Cluster, pod: &Value) -> Result<ObjectId, ClusterError> {
    let mut object = pod.clone();
    loop {
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let Some(owner) = owners.into_iter().flatten().find(|owner| owner.get("controller") == Some(&Value::Bool(true))) else {
            return Ok(ObjectId::of(&object));
        };
        let namespace = ObjectId::of(&object).namespace;
        let above = ObjectId::new(text(owner, "/apiVersion"), text(owner, "/kind"), namespace.as_deref(), text(owner, "/name"));
        match cluster.get(&above).await? {
            Some(found) => object = found,
            None => return Ok(ObjectId::of(&object)),
        }
    }
}

/// Stops the agent, removes what has something in the account, and waits until its controllers have undone that.
/// Gives what did not go; that is swept by tags afterwards.
pub async fn clear(cluster: &Cluster, inside: &Inside, node: &str, events: &Events, stop: &watch::Receiver<u8>) -> Vec<String> {
    let mut left = Vec::new();
    let mut tried = |what: &dyn std::fmt::Display, result: Result<(), ClusterError>| {
        // One that is gone meanwhile is what was wanted.
        left.extend(result.err().filter(|error| !error.is_absent()).map(|error| format!("{what}: {error}")));
    };
    for layer in &inside.layers {
        tried(layer, agent::suspend(cluster, layer).await);
    }
    for release in &inside.releases {
        let suspended = cluster.merge_patch(release, None, &json!({"spec": {"suspend": true}}), "blackstart").await;
        tried(release, suspended.map(drop));
    }
    let claims = inside.claims.iter().map(|(id, _)| id);
    for object in inside.users.iter().chain(&inside.ways_in).chain(claims.clone()) {
        tried(object, cluster.delete(object, &Preconditions::default()).await.map(drop));
    }
    let watches = Watches::new(cluster.clone());
    let awaited: Vec<&ObjectId> = inside.ways_in.iter().chain(claims).chain(&inside.volumes).collect();
    if !awaited.is_empty() {
        let message = format!("{} objects to be removed by their controllers", awaited.len());
        events.send(Happening::Progress { node: node.to_owned(), ready: 0, of: awaited.len(), message });
    }
    let mut stop = stop.clone();
    let gone = join_all(awaited.iter().map(|object| wait::gone(&watches, object, PATIENCE)));
    tokio::select! {
        results = gone => left.extend(results.into_iter().filter_map(|result| Some(result.err()?.to_string()))),
        _ = stop.wait_for(|count| *count > 0) => left.push("stopped waiting for the controllers".to_owned()),
    }
    left
}
