//! Stand-in of the EBS CSI driver (and of every other provisioner): a volume for each claim, as soon as its class would make one.
//!
//! Binding is left to kube-controller-manager and kube-scheduler; this only makes the PersistentVolume, as an external provisioner does
//! (https://github.com/kubernetes-csi/external-provisioner), and removes it when its claim is gone and the class says `Delete`.

use super::watch::{Change, follow};
use super::{SandboxError, core, create};
use kube::api::{Api, DeleteParams, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

/// Marks the volumes that were made here.
const MARK: &str = "blackstart/stand-in";

fn classes() -> ApiResource {
    ApiResource {
        plural: "storageclasses".to_owned(),
        ..ApiResource::from_gvk(&GroupVersionKind::gvk("storage.k8s.io", "v1", "StorageClass"))
    }
}

/// Makes the default class; one that the repository declares as default is newer, and the newest default wins.
pub(super) async fn create_class(client: &kube::Client) -> Result<(), SandboxError> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "sandbox-ebs", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "ebs.csi.aws.com", "parameters": {"type": "gp3"},
        "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true, "reclaimPolicy": "Delete",
    });
    create(&Api::all_with(client.clone(), &classes()), class).await
}

/// Runs the stand-in; ends with the set that it was started in.
pub(super) fn start(client: &kube::Client, tasks: &mut JoinSet<()>) {
    let (sender, receiver) = unbounded_channel();
    for resource in [core("PersistentVolumeClaim"), core("PersistentVolume"), classes()] {
        tasks.spawn(follow(client.clone(), resource, sender.clone()));
    }
    tasks.spawn(provision(client.clone(), receiver));
}

async fn provision(client: kube::Client, mut changes: UnboundedReceiver<Change>) {
    let mut storage_classes: BTreeMap<String, Value> = BTreeMap::new();
    let mut waiting: BTreeMap<String, DynamicObject> = BTreeMap::new();
    let volumes: Api<DynamicObject> = Api::all_with(client.clone(), &core("PersistentVolume"));
    while let Some(change) = changes.recv().await {
        match change {
            Change::Applied(resource, object) if resource.kind == "StorageClass" => {
                storage_classes.insert(object.metadata.name.clone().unwrap_or_default(), object.data);
            }
            Change::Deleted(resource, object) if resource.kind == "StorageClass" => {
                storage_classes.remove(&object.metadata.name.unwrap_or_default());
            }
            Change::Applied(resource, object) if resource.kind == "PersistentVolume" => {
                let ours = object.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(MARK));
                let ended = object.data.pointer("/status/phase") == Some(&json!("Released"))
                    && object.data.pointer("/spec/persistentVolumeReclaimPolicy") == Some(&json!("Delete"));
                if ours && ended && object.metadata.deletion_timestamp.is_none() {
                    let _ = volumes.delete(&object.metadata.name.unwrap_or_default(), &DeleteParams::default()).await;
                }
            }
            Change::Applied(_, claim) if pending(&claim) => {
                waiting.insert(claim.metadata.uid.clone().unwrap_or_default(), *claim);
            }
            Change::Applied(_, claim) | Change::Deleted(_, claim) => {
                waiting.remove(&claim.metadata.uid.unwrap_or_default());
            }
        }
        let mut done = Vec::new();
        for (uid, claim) in &waiting {
            let Some(class) =
                claim.data.pointer("/spec/storageClassName").and_then(Value::as_str).and_then(|name| storage_classes.get(name))
            else {
                continue;
            };
            if class["provisioner"] == "kubernetes.io/no-provisioner" {
                continue;
            }
            let node = claim.metadata.annotations.as_ref().and_then(|all| all.get("volume.kubernetes.io/selected-node"));
            if class["volumeBindingMode"] == "WaitForFirstConsumer" && node.is_none() {
                continue;
            }
            let zone = zone_of(&client, node).await;
            // An error (most often: it exists already) is met again with the claim's next change.
            if create(&volumes, volume(uid, claim, class, zone)).await.is_ok() {
                done.push(uid.clone());
            }
        }
        for uid in done {
            waiting.remove(&uid);
        }
    }
}

fn pending(claim: &DynamicObject) -> bool {
    let volume = claim.data.pointer("/spec/volumeName").and_then(Value::as_str).unwrap_or_default();
    volume.is_empty() && claim.metadata.deletion_timestamp.is_none() && claim.data.pointer("/status/phase") != Some(&json!("Bound"))
}

async fn zone_of(client: &kube::Client, node: Option<&String>) -> Option<String> {
    let nodes: Api<DynamicObject> = Api::all_with(client.clone(), &core("Node"));
    let node = nodes.get_opt(node?).await.ok()??;
    node.metadata.labels?.get("topology.kubernetes.io/zone").cloned()
}

fn volume(uid: &str, claim: &DynamicObject, class: &Value, zone: Option<String>) -> Value {
    let spec = &claim.data["spec"];
    let provisioner = class["provisioner"].as_str().unwrap_or("ebs.csi.aws.com");
    // The same claim always has the same volume: 17 hex digits, as EBS has them.
    let digest = Sha256::digest(uid.as_bytes());
    let handle: String = digest.iter().take(9).map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(17).collect();
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": format!("pvc-{uid}"), "labels": {MARK: "volume"}, "annotations": {"pv.kubernetes.io/provisioned-by": provisioner}},
        "spec": {
            "capacity": {"storage": spec.pointer("/resources/requests/storage").cloned().unwrap_or_else(|| json!("1Gi"))},
            "accessModes": spec["accessModes"],
            "volumeMode": spec.get("volumeMode").cloned().unwrap_or_else(|| json!("Filesystem")),
            "persistentVolumeReclaimPolicy": class.get("reclaimPolicy").cloned().unwrap_or_else(|| json!("Delete")),
            "storageClassName": spec["storageClassName"],
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.metadata.namespace, "name": claim.metadata.name, "uid": uid},
            "csi": {"driver": provisioner, "volumeHandle": format!("vol-{handle}"), "fsType": "ext4"},
        },
    });
    if let Some(zone) = zone {
        volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}]}]}});
    }
    volume
}
