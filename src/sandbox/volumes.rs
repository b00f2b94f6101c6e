//! Stand-in of the EBS CSI driver (and of every other provisioner): a volume for each claim, as soon as its class would make one.
//!
//! Binding is left to kube-controller-manager and kube-scheduler; this only makes the PersistentVolume, as an external provisioner does
//! (<https://github.com/kubernetes-csi/external-provisioner>), and removes it when its claim is gone and the class says `Delete`.

use super::edge::Edge;
use super::watch::{Change, follow};
use super::{SandboxError, StandIn, core, create};
use crate::aws::{Access, Cloud};
use crate::restore::claims::quantity;
use crate::restore::volumes::tags;
use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification, VolumeType};
use kube::api::{Api, DeleteParams, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Marks the volumes that were made here.
const MARK: &str = "blackstart/stand-in";

/// Annotation of a volume that a provisioner made, and may remove.
const PROVISIONED: &str = "pv.kubernetes.io/provisioned-by";

/// Where the volumes live, in a sandbox that has an AWS.
pub(super) struct Account {
    cloud: Cloud,
    region: String,
}

/// Where they live now.
pub(super) type Current = watch::Receiver<Option<Arc<Account>>>;

impl Account {
    pub(super) async fn of(edge: &Edge, region: &str) -> Result<Self, SandboxError> {
        let access = Access { region: Some(region.to_owned()), sandbox: Some(edge.endpoint()), ..Access::default() };
        let cloud = Cloud::connect(&access).await.map_err(|error| SandboxError::Account { cause: error.to_string() })?;
        Ok(Self { cloud, region: region.to_owned() })
    }

    /// Makes the volume of a PersistentVolume, once; gives its ID. None where AWS refuses: the claim's next change asks again.
    async fn volume(&self, object: &Value, zone: Option<&str>) -> Option<String> {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = text("/metadata/name");
        let ours = Filter::builder().name("tag:CSIVolumeName").values(&name).build();
        let living = self.cloud.ec2().describe_volumes().filters(ours).send().await.ok()?;
        if let Some(id) = living.volumes().iter().find_map(|volume| volume.volume_id()) {
            return Some(id.to_owned());
        }
        let clusters = self.cloud.eks().list_clusters().send().await.ok()?;
        let cluster = clusters.clusters().first().map(String::as_str);
        let tags = tags(&text("/spec/claimRef/namespace"), &text("/spec/claimRef/name"), &name, cluster);
        let tags = tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        let gib = quantity(&text("/spec/capacity/storage")).unwrap_or_default().div_ceil(1 << 30);
        let made = self
            .cloud
            .ec2()
            .create_volume()
            .availability_zone(zone.map_or_else(|| format!("{}a", self.region), str::to_owned))
            .size(i32::try_from(gib.max(1)).unwrap_or(i32::MAX))
            .volume_type(VolumeType::Gp3)
            .tag_specifications(TagSpecification::builder().resource_type(ResourceType::Volume).set_tags(Some(tags)).build());
        made.send().await.ok()?.volume_id
    }

    async fn delete(&self, id: &str) {
        let _ = self.cloud.ec2().delete_volume().volume_id(id).send().await;
    }
}

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

/// How long a claim waits for its class to be declared, before a volume is made without.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the stand-in; ends with the set that it was started in.
///
/// With an `account`, each volume also lives there, tagged as the driver does, until its claim lets go of it.
pub(super) fn start(client: &kube::Client, account: Current, stand_ins: Option<UnboundedSender<StandIn>>, tasks: &mut JoinSet<()>) {
    let (sender, receiver) = unbounded_channel();
    for resource in [core("PersistentVolumeClaim"), core("PersistentVolume"), classes()] {
        tasks.spawn(follow(client.clone(), resource, sender.clone()));
    }
    let provisioner = Provisioner {
        client: client.clone(),
        account,
        classes: BTreeMap::new(),
        waiting: BTreeMap::new(),
        stand_ins,
        reported: BTreeSet::new(),
    };
    tasks.spawn(provisioner.run(receiver));
}

struct Provisioner {
    client: kube::Client,
    account: Current,
    classes: BTreeMap<String, Value>,
    /// Claims without a volume by uid, and since when they are seen.
    waiting: BTreeMap<String, (DynamicObject, Instant)>,
    stand_ins: Option<UnboundedSender<StandIn>>,
    reported: BTreeSet<String>,
}

impl Provisioner {
    async fn run(mut self, mut changes: UnboundedReceiver<Change>) {
        loop {
            let due = self.waiting.values().map(|(_, since)| *since + PATIENCE).filter(|due| *due > Instant::now()).min();
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => self.take(change).await,
                    None => return,
                },
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            }
            for uid in self.waiting.keys().cloned().collect::<Vec<_>>() {
                self.provision(&uid).await;
            }
        }
    }

    async fn take(&mut self, change: Change) {
        match change {
            Change::Applied(resource, object) if resource.kind == "StorageClass" => {
                self.classes.insert(object.metadata.name.clone().unwrap_or_default(), object.data);
            }
            Change::Deleted(resource, object) if resource.kind == "StorageClass" => {
                self.classes.remove(&object.metadata.name.unwrap_or_default());
            }
            Change::Applied(resource, object) if resource.kind == "PersistentVolume" => {
                let ours = object.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(PROVISIONED));
                let ended = object.data.pointer("/status/phase") == Some(&json!("Released"))
                    && object.data.pointer("/spec/persistentVolumeReclaimPolicy") == Some(&json!("Delete"));
                if ours && ended && object.metadata.deletion_timestamp.is_none() {
                    let volumes: Api<DynamicObject> = Api::all_with(self.client.clone(), &core("PersistentVolume"));
                    let handle = object.data.pointer("/spec/csi/volumeHandle").and_then(Value::as_str);
                    let account = self.account.borrow().clone();
                    if let (Some(account), Some(handle)) = (account, handle) {
                        account.delete(handle).await;
                    }
                    let _ = volumes.delete(&object.metadata.name.unwrap_or_default(), &DeleteParams::default()).await;
                }
            }
            Change::Applied(resource, claim) if resource.kind == "PersistentVolumeClaim" && pending(&claim) => {
                let uid = claim.metadata.uid.clone().unwrap_or_default();
                let since = self.waiting.get(&uid).map_or_else(Instant::now, |(_, since)| *since);
                self.waiting.insert(uid, (*claim, since));
            }
            Change::Applied(_, object) | Change::Deleted(_, object) => {
                self.waiting.retain(|_, (claim, _)| {
                    claim.metadata.name != object.metadata.name || claim.metadata.namespace != object.metadata.namespace
                });
            }
        }
    }

    /// Makes the volume of a claim, if it is time.
    async fn provision(&mut self, uid: &str) {
        let Some((claim, since)) = self.waiting.get(uid).cloned() else { return };
        // A claim without a class gets the default one from the server, or waits for it.
        let Some(name) = claim.data.pointer("/spec/storageClassName").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            return;
        };
        let annotation = |name: &str| claim.metadata.annotations.as_ref().and_then(|all| all.get(name));
        let node = annotation("volume.kubernetes.io/selected-node");
        // kube-controller-manager asks for a volume only where none is kept for the claim.
        let is_asked = annotation("volume.kubernetes.io/storage-provisioner").is_some();
        let object = || {
            format!(
                "PersistentVolumeClaim {}/{}",
                claim.metadata.namespace.as_deref().unwrap_or_default(),
                claim.metadata.name.as_deref().unwrap_or_default()
            )
        };
        let class = match self.classes.get(name) {
            Some(class) if class["provisioner"] == "kubernetes.io/no-provisioner" => return,
            Some(class) if class["volumeBindingMode"] == "WaitForFirstConsumer" && node.is_none() => return,
            Some(_) if !is_asked => return,
            Some(class) => {
                let driver = class["provisioner"].as_str().unwrap_or_default().to_owned();
                let class = class.clone();
                self.report(driver, "no CSI driver runs here: volumes are made that hold nothing");
                class
            }
            None if since.elapsed() < PATIENCE => return,
            None => {
                self.report(
                    object(),
                    &format!("StorageClass {name} is declared nowhere (its operator would bring it): a volume was made without"),
                );
                json!({})
            }
        };
        let zone = zone_of(&self.client, node).await;
        let mut object = volume(uid, &claim, &class, zone.as_deref());
        let account = self.account.borrow().clone();
        if let Some(account) = account {
            let Some(handle) = account.volume(&object, zone.as_deref()).await else { return };
            object["spec"]["csi"]["volumeHandle"] = json!(handle);
        }
        let volumes: Api<DynamicObject> = Api::all_with(self.client.clone(), &core("PersistentVolume"));
        // An error (most often: it exists already) is met again with the claim's next change.
        if create(&volumes, object).await.is_ok() {
            self.waiting.remove(uid);
        }
    }

    fn report(&mut self, object: String, reason: &str) {
        if self.reported.insert(object.clone())
            && let Some(stand_ins) = &self.stand_ins
        {
            let _ = stand_ins.send(StandIn { object, reason: reason.to_owned() });
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

fn volume(uid: &str, claim: &DynamicObject, class: &Value, zone: Option<&str>) -> Value {
    let spec = &claim.data["spec"];
    let provisioner = class["provisioner"].as_str().unwrap_or("ebs.csi.aws.com");
    // The same claim always has the same volume: 17 hex digits, as EBS has them.
    let digest = super::state::hex(&Sha256::digest(uid.as_bytes()));
    let handle = &digest[..17];
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": format!("pvc-{uid}"), "labels": {MARK: "volume"}, "annotations": {PROVISIONED: provisioner}},
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
