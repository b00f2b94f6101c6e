//! The claims of the layers: PersistentVolumeClaims, and those that StatefulSets make.

use super::Keeper;
use crate::environment::Environment;
use crate::layers::LayerId;
use crate::manifest::{ObjectId, Resource};
use crate::problem::Origin;
use crate::read::Reading;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Names under which the EBS CSI driver provisions: its own, that of EKS' auto mode, and the one that Kubernetes sends to it.
const DRIVERS: [&str; 3] = ["ebs.csi.aws.com", "ebs.csi.eks.amazonaws.com", "kubernetes.io/aws-ebs"];
/// Pods of one StatefulSet whose claims are looked at; a number beyond it is a slip of the pen.
const MOST: u64 = 10_000;
/// Label of a node, and key of a volume's affinity.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// A claim that binds to a volume of EBS.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Namespace.
    pub namespace: String,
    /// Name; `<template>-<StatefulSet>-<ordinal>` for one of a StatefulSet.
    pub name: String,
    /// The layer whose objects make it.
    pub layer: LayerId,
    /// `spec` of the claim.
    pub spec: Value,
    /// Its class, where the layers declare that.
    pub class: Option<Class>,
    /// Zones that its pods may run in, where they say so.
    pub zones: Option<Vec<String>>,
    /// Position among the claims of its StatefulSet; they are spread over zones by it.
    pub ordinal: usize,
    /// Snapshots that manifests of the CSI snapshotter name as its own, whatever their tags say.
    pub snapshots: Vec<String>,
    /// Where it is declared.
    pub origin: Option<Origin>,
}

/// A StorageClass that the layers declare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// Name.
    pub name: String,
    /// CSI driver.
    pub provisioner: String,
    /// What becomes of a volume without a claim: `Delete` or `Retain`.
    pub reclaim: String,
    /// Parameters for the driver.
    pub parameters: BTreeMap<String, String>,
    /// Zones that it allows.
    pub zones: Option<Vec<String>>,
}

impl Claim {
    /// As something that keeps data.
    pub fn keeper(&self) -> Keeper<'_> {
        Keeper { kind: "PersistentVolumeClaim", namespace: &self.namespace, name: &self.name, origin: self.origin.as_ref() }
    }

    /// The claim itself.
    pub fn id(&self) -> ObjectId {
        ObjectId::new("v1", "PersistentVolumeClaim", Some(&self.namespace), &self.name)
    }

    /// Id of its node.
    pub fn node(&self) -> String {
        format!("restore/PersistentVolumeClaim/{}/{}", self.namespace, self.name)
    }

    /// Bytes that it asks for.
    pub fn bytes(&self) -> Option<u64> {
        quantity(self.spec.pointer("/resources/requests/storage")?.as_str()?)
    }
}

/// All claims that the layers make and whose volume is EBS', by namespace and name; none where the environment names no account.
///
/// A claim that says itself what it is filled from (`volumeName`, `dataSource`, `dataSourceRef`) is left to that.
pub fn claims(reading: &Reading, environment: &Environment) -> Vec<Claim> {
    if environment.spec.aws.is_none() {
        return Vec::new();
    }
    let ours = || reading.layers.iter().filter(|read| !read.layer.spec.suspend && read.layer.spec.kube_config.is_none());
    let volumes = Volumes::of(ours().flat_map(|read| &read.objects));
    let classes: Vec<&Resource> = ours().flat_map(|read| &read.objects).filter(|object| object.kind() == "StorageClass").collect();
    let snapshots = snapshots(&ours().flat_map(|read| &read.objects));
    let mut found: BTreeMap<(String, String), Claim> = BTreeMap::new();
    for read in ours() {
        for object in &read.objects {
            let namespace = object.namespace().unwrap_or("default");
            for (name, ordinal, spec) in of(object) {
                let class = class_of(spec, &classes);
                let is_ebs = class.as_ref().is_none_or(|class| DRIVERS.contains(&class.provisioner.as_str()));
                if is_filled(spec) || volumes.hold(namespace, &name, spec) || !is_ebs {
                    continue;
                }
                let zones = if object.kind() == "StatefulSet" {
                    pod(object).and_then(zones_of)
                } else {
                    let users = ours().flat_map(|read| &read.objects).filter(|user| user.namespace().unwrap_or("default") == namespace);
                    users.filter_map(|user| pod(user).filter(|pod| mounts(pod, &name))).find_map(zones_of)
                };
                let claim = Claim {
                    namespace: namespace.to_owned(),
                    name: name.clone(),
                    layer: read.layer.id.clone(),
                    spec: spec.clone(),
                    class,
                    zones,
                    ordinal,
                    snapshots: snapshots.get(&(namespace.to_owned(), name.clone())).cloned().unwrap_or_default(),
                    origin: object.origin.clone(),
                };
                found.entry((namespace.to_owned(), name)).or_insert(claim);
            }
        }
    }
    found.into_values().collect()
}

/// Snapshots by claim, as the CSI snapshotter's objects tell them
/// (<https://kubernetes.io/docs/concepts/storage/volume-snapshots/>): a VolumeSnapshot names its claim, its VolumeSnapshotContent the snapshot,
/// as it was declared (`spec.source.snapshotHandle`) or, in a copy of a cluster's own objects, made (`status.snapshotHandle`).
fn snapshots<'a>(objects: &(impl Iterator<Item = &'a Resource> + Clone)) -> BTreeMap<(String, String), Vec<String>> {
    const GROUP: &str = "snapshot.storage.k8s.io";
    let text = |object: &'a Resource, pointer: &str| object.value.pointer(pointer).and_then(Value::as_str);
    let of_kind = |kind: &'static str| objects.clone().filter(move |object| object.group() == GROUP && object.kind() == kind);
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for content in of_kind("VolumeSnapshotContent") {
        let is_ebs = text(content, "/spec/driver").is_some_and(|driver| DRIVERS.contains(&driver));
        let handle = text(content, "/spec/source/snapshotHandle").or_else(|| text(content, "/status/snapshotHandle"));
        let (Some(handle), true) = (handle, is_ebs) else { continue };
        let is_its = |snapshot: &&Resource| {
            let referred = text(content, "/spec/volumeSnapshotRef/name") == Some(snapshot.name())
                && text(content, "/spec/volumeSnapshotRef/namespace") == Some(snapshot.namespace().unwrap_or("default"));
            let bound = ["/spec/source/volumeSnapshotContentName", "/status/boundVolumeSnapshotContentName"];
            referred || bound.iter().any(|pointer| snapshot.value.pointer(pointer).and_then(Value::as_str) == Some(content.name()))
        };
        for snapshot in of_kind("VolumeSnapshot").filter(is_its) {
            if let Some(claim) = text(snapshot, "/spec/source/persistentVolumeClaimName") {
                let key = (snapshot.namespace().unwrap_or("default").to_owned(), claim.to_owned());
                found.entry(key).or_default().push(handle.to_owned());
            }
        }
    }
    found
}

/// The claims that an object is or makes: name, ordinal, spec.
pub fn of(object: &Resource) -> Vec<(String, usize, &Value)> {
    let spec = object.value.get("spec").unwrap_or(&Value::Null);
    match (object.group(), object.kind()) {
        ("", "PersistentVolumeClaim") => vec![(object.name().to_owned(), 0, spec)],
        ("apps", "StatefulSet") => {
            let count = spec.get("replicas").and_then(Value::as_u64).unwrap_or(1).min(MOST);
            let first = spec.pointer("/ordinals/start").and_then(Value::as_u64).unwrap_or(0);
            let templates = spec.get("volumeClaimTemplates").and_then(Value::as_array).into_iter().flatten();
            let claims = templates.flat_map(|template| {
                let title = template.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                let spec = template.get("spec").unwrap_or(&Value::Null);
                (first..first.saturating_add(count)).map(move |ordinal| {
                    (format!("{title}-{}-{ordinal}", object.name()), usize::try_from(ordinal).unwrap_or_default(), spec)
                })
            });
            claims.collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a claim says itself what it is filled from.
pub fn is_filled(claim: &Value) -> bool {
    ["volumeName", "dataSource", "dataSourceRef"].iter().any(|field| claim.get(*field).is_some())
}

/// What claims are bound to without a provisioner: the PersistentVolumes that Git declares, which keep what is in them.
#[derive(Debug, Default)]
pub struct Volumes<'a> {
    volumes: Vec<&'a Resource>,
    /// Classes that make a new volume for each claim.
    provisioned: Vec<&'a str>,
}

impl<'a> Volumes<'a> {
    /// Those among objects.
    pub fn of(objects: impl Iterator<Item = &'a Resource>) -> Self {
        let mut found = Self::default();
        for object in objects {
            match (object.group(), object.kind()) {
                ("", "PersistentVolume") => found.volumes.push(object),
                ("storage.k8s.io", "StorageClass") if object.text("/provisioner") != "kubernetes.io/no-provisioner" => {
                    found.provisioned.push(object.name());
                }
                _ => {}
            }
        }
        found
    }

    /// Whether a claim binds to one of them: to one that names it, else to one of its class, where that has no provisioner
    /// (<https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding>).
    pub fn hold(&self, namespace: &str, name: &str, claim: &Value) -> bool {
        let class = claim.get("storageClassName").and_then(Value::as_str);
        self.volumes.iter().any(|volume| {
            // Without a policy a volume that is written by hand is kept.
            let is_kept = ["", "Retain"].contains(&volume.text("/spec/persistentVolumeReclaimPolicy"));
            match volume.value.pointer("/spec/claimRef").filter(|claim| !claim.is_null()) {
                Some(bound) => bound["name"] == name && bound["namespace"] == namespace,
                None => {
                    is_kept
                        && class.is_some_and(|class| volume.text("/spec/storageClassName") == class && !self.provisioned.contains(&class))
                }
            }
        })
    }
}

/// The pod that an object makes.
fn pod(object: &Resource) -> Option<&Value> {
    match object.kind() {
        "Pod" => object.value.get("spec"),
        "CronJob" => object.value.pointer("/spec/jobTemplate/spec/template/spec"),
        _ => object.value.pointer("/spec/template/spec"),
    }
}

fn mounts(pod: &Value, claim: &str) -> bool {
    let volumes = pod.get("volumes").and_then(Value::as_array).into_iter().flatten();
    volumes.filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")).any(|name| name == claim)
}

/// Zones that a pod says it needs: by its node selector, else by its required node affinity.
fn zones_of(pod: &Value) -> Option<Vec<String>> {
    if let Some(zone) = pod.get("nodeSelector").and_then(|labels| labels.get(ZONE)).and_then(Value::as_str) {
        return Some(vec![zone.to_owned()]);
    }
    let terms = pod.pointer("/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms")?.as_array()?;
    // One term is enough for a pod; one without zones allows all of them.
    let of_terms: Option<Vec<Vec<String>>> = terms.iter().map(|term| zones_in(term.get("matchExpressions")?, "values")).collect();
    of_terms.map(|zones| zones.into_iter().flatten().collect())
}

/// Values of the zone's key in a list of expressions.
fn zones_in(expressions: &Value, values: &str) -> Option<Vec<String>> {
    let is_zone = |expression: &&Value| expression["key"] == ZONE && expression.get("operator").is_none_or(|operator| operator == "In");
    let expression = expressions.as_array()?.iter().find(is_zone)?;
    Some(expression.get(values)?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// The class of a claim, by name, else the default one.
fn class_of(claim: &Value, classes: &[&Resource]) -> Option<Class> {
    let named = claim.get("storageClassName").and_then(Value::as_str);
    let is_default = |class: &Resource| {
        class.value.pointer("/metadata/annotations").and_then(|all| all.get("storageclass.kubernetes.io/is-default-class"))
            == Some(&json!("true"))
    };
    let class = classes.iter().find(|class| named.map_or_else(|| is_default(class), |name| class.name() == name))?;
    let text = |field: &str| class.value.get(field).and_then(Value::as_str);
    let parameters = class.value.get("parameters").and_then(Value::as_object).into_iter().flatten();
    let topologies = class.value.get("allowedTopologies").and_then(Value::as_array);
    let zones = topologies.map(|terms| {
        let of = |term: &Value| zones_in(term.get("matchLabelExpressions")?, "values");
        terms.iter().filter_map(of).flatten().collect::<Vec<String>>()
    });
    Some(Class {
        name: class.name().to_owned(),
        provisioner: text("provisioner").unwrap_or_default().to_owned(),
        reclaim: text("reclaimPolicy").unwrap_or("Delete").to_owned(),
        parameters: parameters.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
        zones: zones.filter(|zones| !zones.is_empty()),
    })
}

/// Bytes of a quantity such as `10Gi` or `500M`, as Kubernetes writes them
/// (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>).
pub fn quantity(text: &str) -> Option<u64> {
    const UNITS: [(&str, u128); 13] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
        ("", 1),
    ];
    let (suffix, unit) = UNITS.iter().find(|(suffix, _)| text.ends_with(suffix))?;
    let number = text.strip_suffix(suffix)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    // More digits than this say nothing about bytes.
    if number.is_empty() || number.len() > 19 || !(whole.to_owned() + part).bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: u128 = (whole.to_owned() + part).parse().ok()?;
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    u64::try_from(digits * unit / scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let cases = [
            ("10Gi", Some(10 << 30)),
            ("1.5Gi", Some(1_610_612_736)),
            ("500M", Some(500_000_000)),
            ("42", Some(42)),
            ("ten", None),
            ("", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(quantity(text), bytes, "{text}");
        }
    }

    #[test]
    fn a_claim_binds_to_a_volume_that_names_it_or_that_is_of_its_class() {
        let object = |version: &str, kind: &str, name: &str, rest: Value| {
            let mut value = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
            crate::manifest::merge(&mut value, rest);
            Resource { value, origin: None }
        };
        let volume = |name: &str, spec: Value| object("v1", "PersistentVolume", name, json!({"spec": spec}));
        let all = [
            volume("bound", json!({"claimRef": {"namespace": "shop", "name": "media"}})),
            volume("nas", json!({"storageClassName": "nas"})),
            volume("lost", json!({"storageClassName": "scratch", "persistentVolumeReclaimPolicy": "Delete"})),
            volume("disk", json!({"storageClassName": "gp3"})),
            object("storage.k8s.io/v1", "StorageClass", "gp3", json!({"provisioner": "ebs.csi.aws.com"})),
            object("storage.k8s.io/v1", "StorageClass", "nas", json!({"provisioner": "kubernetes.io/no-provisioner"})),
        ];
        let volumes = Volumes::of(all.iter());
        let of_class = |class: &str| volumes.hold("shop", "data", &json!({"storageClassName": class}));
        assert!(volumes.hold("shop", "media", &json!({"storageClassName": ""})) && !volumes.hold("other", "media", &json!({})));
        assert!(of_class("nas") && !of_class("scratch") && !of_class("gp3") && !of_class(""));
    }

    #[test]
    fn manifests_of_the_snapshotter_name_the_snapshots_of_a_claim() {
        let object = |kind: &str, namespace: Option<&str>, name: &str, spec: Value, status: Value| {
            let value = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": kind,
                "metadata": {"name": name, "namespace": namespace}, "spec": spec, "status": status});
            Resource { value, origin: None }
        };
        let content = |name: &str, driver: &str, source: Value, status: Value| {
            let spec = json!({"driver": driver, "source": source, "volumeSnapshotRef": {"namespace": "shop", "name": "nightly"}});
            object("VolumeSnapshotContent", None, name, spec, status)
        };
        let nightly =
            object("VolumeSnapshot", Some("shop"), "nightly", json!({"source": {"persistentVolumeClaimName": "data"}}), json!({}));
        let other = object("VolumeSnapshot", Some("other"), "nightly", json!({"source": {"persistentVolumeClaimName": "data"}}), json!({}));
        let all = [
            content("declared", "ebs.csi.aws.com", json!({"snapshotHandle": "snap-1"}), json!({})),
            content("made", "ebs.csi.aws.com", json!({"volumeHandle": "vol-1"}), json!({"snapshotHandle": "snap-2"})),
            content("pending", "ebs.csi.aws.com", json!({"volumeHandle": "vol-1"}), json!({})),
            content("disk", "pd.csi.storage.gke.io", json!({"snapshotHandle": "projects/x"}), json!({})),
            nightly,
            other,
        ];
        let found = snapshots(&all.iter());
        let told = [(("shop".to_owned(), "data".to_owned()), vec!["snap-1".to_owned(), "snap-2".to_owned()])];
        assert_eq!(found, BTreeMap::from(told));
    }

    #[test]
    fn zones_come_from_the_selector_else_from_every_term_of_the_affinity() {
        let one = json!({"nodeSelector": {ZONE: "eu-west-1b"}});
        assert_eq!(zones_of(&one), Some(vec!["eu-west-1b".to_owned()]));
        let term = |zones: Value| json!({"matchExpressions": [{"key": ZONE, "operator": "In", "values": zones}]});
        let affinity = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
        let two = affinity(json!([term(json!(["a"])), term(json!(["b"]))]));
        assert_eq!(zones_of(&two), Some(vec!["a".to_owned(), "b".to_owned()]));
        let open = affinity(json!([term(json!(["a"])), {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]));
        assert_eq!(zones_of(&open), None, "the second term allows every zone");
    }
}
