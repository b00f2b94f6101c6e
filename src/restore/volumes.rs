//! The volume of a claim: which living one or which snapshot it is, what a new one is made like, and the PersistentVolume that binds them.
//!
//! Volumes and snapshots are known by the tags that the EBS CSI driver sets
//! (<https://github.com/kubernetes-sigs/aws-ebs-csi-driver/blob/master/docs/tagging.md>).

use super::claims::{Claim, ZONE};
use super::{Backup, choose};
use crate::environment::RestoreRule;
use crate::layers::infrastructure::{Declared, Schema};
use crate::manifest::Resource;
use crate::problem::Problem;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Tag with the namespace of a volume's claim.
pub const TAG_NAMESPACE: &str = "kubernetes.io/created-for/pvc/namespace";
/// Tag with the name of a volume's claim.
pub const TAG_NAME: &str = "kubernetes.io/created-for/pvc/name";
/// Tag with the name of the PersistentVolume.
const TAG_VOLUME: &str = "kubernetes.io/created-for/pv/name";
/// Tag of a cluster: `kubernetes.io/cluster/<name>`.
const TAG_CLUSTER: &str = "kubernetes.io/cluster/";
const GIB: u64 = 1 << 30;

/// A living volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// `vol-…`.
    pub id: String,
    /// Availability zone.
    pub zone: String,
    /// Size.
    pub gib: u64,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The instance that it is attached to.
    pub attached: Option<String>,
}

/// A snapshot of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// As a backup.
    pub backup: Backup,
    /// The volume that it is of, living or not.
    pub volume: String,
    /// Size of that volume.
    pub gib: u64,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// What an account holds for claims.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    /// Volumes that are not on their way out.
    pub volumes: Vec<Volume>,
    /// Snapshots.
    pub snapshots: Vec<Snapshot>,
}

/// Where a claim's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a volume that lives.
    Living(Volume),
    /// In a snapshot, of this size.
    Snapshot(Backup, u64),
}

/// Where the pods of an environment may run.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// Name of the cluster, as volumes are tagged with it.
    pub cluster: String,
    /// Zones of the declared node groups; empty where they are not known.
    pub zones: BTreeSet<String>,
    /// Account and region, in words.
    pub place: String,
}

/// What there is of a claim: living volumes, and snapshots of them or of others that are gone.
pub fn known<'a>(claim: &Claim, stock: &'a Stock, ground: &Ground) -> (Vec<&'a Volume>, Vec<&'a Snapshot>) {
    let living: Vec<&Volume> = stock.volumes.iter().filter(|volume| is_of(&volume.tags, claim, ground)).collect();
    let ids: BTreeSet<&str> = living.iter().map(|volume| volume.id.as_str()).collect();
    let of_it = |snapshot: &&Snapshot| {
        let is_named = claim.snapshots.contains(&snapshot.backup.id);
        is_named || ids.contains(snapshot.volume.as_str()) || is_of(&snapshot.tags, claim, ground)
    };
    let snapshots = stock.snapshots.iter().filter(of_it).collect();
    (living, snapshots)
}

/// The data of a claim; none where it starts empty and may.
pub fn source(claim: &Claim, rule: &RestoreRule, stock: &Stock, ground: &Ground) -> Result<Option<Source>, Box<Problem>> {
    if *rule == RestoreRule::Empty {
        return Ok(None);
    }
    let (living, snapshots) = known(claim, stock, ground);
    if !matches!(rule, RestoreRule::At(_)) {
        match living.as_slice() {
            [] => {}
            [volume] => return reachable(claim, volume, ground).map(|()| Some(Source::Living((*volume).clone()))),
            several => return Err(Box::new(ambiguous(claim, several))),
        }
    }
    let backups: Vec<Backup> = snapshots.iter().map(|snapshot| snapshot.backup.clone()).collect();
    let chosen = choose(claim.keeper(), rule, &backups, &ground.place)?;
    let snapshot = chosen.and_then(|backup| snapshots.iter().find(|snapshot| snapshot.backup.id == backup.id));
    Ok(snapshot.map(|snapshot| Source::Snapshot(snapshot.backup.clone(), snapshot.gib)))
}

/// Whether these tags say that it was made for this claim, and not in another cluster.
fn is_of(tags: &BTreeMap<String, String>, claim: &Claim, ground: &Ground) -> bool {
    let is_claim = tags.get(TAG_NAMESPACE) == Some(&claim.namespace) && tags.get(TAG_NAME) == Some(&claim.name);
    let mut clusters = tags.keys().filter_map(|tag| tag.strip_prefix(TAG_CLUSTER)).peekable();
    is_claim && (clusters.peek().is_none() || clusters.any(|cluster| cluster == ground.cluster))
}

/// A volume serves its own zone only.
fn reachable(claim: &Claim, volume: &Volume, ground: &Ground) -> Result<(), Box<Problem>> {
    let zones = zones(claim, ground);
    if zones.is_empty() || zones.contains(&volume.zone) {
        return Ok(());
    }
    let zones: Vec<String> = zones.into_iter().collect();
    let message = format!(
        "{}: its volume {} lives in {}, and its pods may run in {} only; nothing was written",
        claim.keeper(),
        volume.id,
        volume.zone,
        zones.join(", ")
    );
    let hint = format!(
        "declare a node group in {}, or take a snapshot (aws ec2 create-snapshot --volume-id {}), delete the volume, and run the same command again",
        volume.zone, volume.id
    );
    Err(Box::new(Problem::blocks("state-zone", message).at(claim.origin.clone()).hint(hint)))
}

fn ambiguous(claim: &Claim, volumes: &[&Volume]) -> Problem {
    let list: Vec<String> = volumes
        .iter()
        .map(|volume| {
            let created = volume.created.map(|time| format!(", made {time}")).unwrap_or_default();
            let attached = volume.attached.as_ref().map(|instance| format!(", attached to {instance}")).unwrap_or_default();
            format!("{} ({} GiB, {}{created}{attached})", volume.id, volume.gib, volume.zone)
        })
        .collect();
    let message = format!("{}: more than one living volume is tagged as its own: {}; nothing was written", claim.keeper(), list.join("; "));
    let hint = format!("take the tag {TAG_NAME} from those that are not meant: aws ec2 delete-tags --resources ID --tags Key={TAG_NAME}");
    Problem::blocks("state-candidates", message).at(claim.origin.clone()).hint(hint)
}

/// Zones that a claim's pods may run in; empty where nothing says so.
fn zones(claim: &Claim, ground: &Ground) -> BTreeSet<String> {
    let asked = [claim.zones.as_ref(), claim.class.as_ref().and_then(|class| class.zones.as_ref())];
    let mut zones = ground.zones.clone();
    for list in asked.into_iter().flatten() {
        let list: BTreeSet<String> = list.iter().cloned().collect();
        zones = if zones.is_empty() { list } else { zones.intersection(&list).cloned().collect() };
    }
    zones
}

/// The volume that is made from a snapshot: as the claim's class has it, at least as large as both ask for, in a zone where its pods may run.
pub fn volume(claim: &Claim, backup: &Backup, gib: u64, ground: &Ground, schema: &'static Schema) -> Result<Declared, Box<Problem>> {
    let zones: Vec<String> = zones(claim, ground).into_iter().collect();
    // The claims of a StatefulSet go to one zone after the other, as its pods do.
    let Some(zone) = claim.ordinal.checked_rem(zones.len()).and_then(|place| zones.get(place)) else {
        let message = format!("{}: no zone is known in which its pods may run; nothing was written", claim.keeper());
        let hint = "declare spec.availabilityZone of the node groups' subnets, allowedTopologies of its StorageClass, or a node selector";
        return Err(Box::new(Problem::blocks("state-zone", message).at(claim.origin.clone()).hint(hint)));
    };
    let parameter = |name: &str| claim.class.as_ref().and_then(|class| class.parameters.get(name)).cloned();
    let number = |name: &str| parameter(name).and_then(|text| text.parse::<u64>().ok());
    let mut spec = Map::new();
    let mut set = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            spec.insert(field.to_owned(), value);
        }
    };
    set("availabilityZone", Some(json!(zone)));
    set("snapshotID", Some(json!(backup.id)));
    set("size", Some(json!(gib.max(claim.bytes().unwrap_or_default().div_ceil(GIB)))));
    set("volumeType", Some(json!(parameter("type").unwrap_or_else(|| "gp3".to_owned()))));
    set("iops", number("iops").map(Value::from));
    set("throughput", number("throughput").map(Value::from));
    if parameter("encrypted").as_deref() == Some("true") || backup.key.is_some() {
        set("encrypted", Some(json!(true)));
        set("kmsKeyID", parameter("kmsKeyId").or_else(|| backup.key.clone()).map(Value::from));
    }
    set(
        "tags",
        Some(
            tags(&claim.namespace, &claim.name, &name(claim), Some(&ground.cluster))
                .into_iter()
                .map(|(key, value)| json!({"key": key, "value": value}))
                .collect(),
        ),
    );
    let value = json!({
        "apiVersion": "ec2.services.k8s.aws/v1alpha1",
        "kind": schema.kind,
        "metadata": {"namespace": claim.namespace, "name": claim.name},
        "spec": spec,
    });
    Ok(Declared { schema, resource: Resource { value, origin: claim.origin.clone() } })
}

/// Tags of a claim's volume, as the driver sets them; that of the cluster where it is told which.
pub fn tags(namespace: &str, claim: &str, volume: &str, cluster: Option<&str>) -> Vec<(String, String)> {
    let mut tags = vec![
        (TAG_NAMESPACE.to_owned(), namespace.to_owned()),
        (TAG_NAME.to_owned(), claim.to_owned()),
        (TAG_VOLUME.to_owned(), volume.to_owned()),
        ("CSIVolumeName".to_owned(), volume.to_owned()),
        ("ebs.csi.aws.com/cluster".to_owned(), "true".to_owned()),
    ];
    tags.extend(cluster.map(|cluster| (format!("{TAG_CLUSTER}{cluster}"), "owned".to_owned())));
    tags
}

/// Name of a claim's PersistentVolume; a namespace has no dot, so no two claims share one.
pub fn name(claim: &Claim) -> String {
    format!("{}.{}", claim.namespace, claim.name)
}

/// What binds a claim to a volume: `claimRef` keeps every other claim away, and the provisioner from making an empty one.
pub fn persistent_volume(claim: &Claim, class: &str, id: &str, zone: &str, gib: u64) -> Value {
    let parameter = |name: &str| claim.class.as_ref().and_then(|class| class.parameters.get(name));
    let driver = claim.class.as_ref().map(|class| class.provisioner.as_str()).filter(|driver| !driver.starts_with("kubernetes.io/"));
    let driver = driver.unwrap_or("ebs.csi.aws.com");
    let is_block = claim.spec["volumeMode"] == "Block";
    let mut csi = json!({"driver": driver, "volumeHandle": id});
    if !is_block {
        csi["fsType"] = json!(parameter("csi.storage.k8s.io/fstype").map_or("ext4", String::as_str));
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name(claim), "annotations": {"pv.kubernetes.io/provisioned-by": driver}},
        "spec": {
            "accessModes": claim.spec.get("accessModes").cloned().unwrap_or_else(|| json!(["ReadWriteOnce"])),
            "capacity": {"storage": format!("{gib}Gi")},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace, "name": claim.name},
            "csi": csi,
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}]}},
            "persistentVolumeReclaimPolicy": claim.class.as_ref().map_or("Delete", |class| class.reclaim.as_str()),
            "storageClassName": class,
            "volumeMode": if is_block { "Block" } else { "Filesystem" },
        },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::claims::Class;
    use super::*;
    use crate::layers::LayerId;

    static VOLUME: Schema = Schema {
        service: "ec2",
        kind: "Volume",
        identity: crate::layers::infrastructure::Identity::Tags,
        fields: &[],
        references: &[],
        tags: crate::layers::infrastructure::Tags::List("tags"),
        arn: None,
        seconds: 1,
    };

    fn claim() -> Claim {
        let parameters =
            BTreeMap::from([("type".to_owned(), "gp3".to_owned()), ("csi.storage.k8s.io/fstype".to_owned(), "xfs".to_owned())]);
        Claim {
            namespace: "shop".into(),
            name: "data-database-1".into(),
            layer: LayerId::new("flux-system", "database"),
            spec: json!({"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "10Gi"}}}),
            class: Some(Class {
                name: "fast".into(),
                provisioner: "ebs.csi.aws.com".into(),
                reclaim: "Retain".into(),
                parameters,
                zones: None,
            }),
            zones: None,
            ordinal: 1,
            snapshots: Vec::new(),
            origin: None,
        }
    }

    fn ground() -> Ground {
        let zones = ["eu-west-1a", "eu-west-1b", "eu-west-1c"].map(str::to_owned).into();
        Ground { cluster: "shop".into(), zones, place: "account 111122223333, eu-west-1".into() }
    }

    fn tags(cluster: &str) -> BTreeMap<String, String> {
        let tags = [(TAG_NAMESPACE, "shop"), (TAG_NAME, "data-database-1")];
        let mut tags: BTreeMap<String, String> = tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        tags.insert(format!("{TAG_CLUSTER}{cluster}"), "owned".into());
        tags
    }

    fn living(id: &str, zone: &str, cluster: &str) -> Volume {
        Volume { id: id.into(), zone: zone.into(), gib: 10, tags: tags(cluster), created: None, attached: None }
    }

    fn snapshot(id: &str, taken: &str, volume: &str, tags: BTreeMap<String, String>) -> Snapshot {
        let backup = Backup { id: id.into(), what: "snapshot", taken: taken.parse().unwrap(), unusable: None, key: None };
        Snapshot { backup, volume: volume.into(), gib: 20, tags }
    }

    #[test]
    fn a_living_volume_goes_before_any_snapshot_and_other_clusters_have_none() {
        let stock = Stock {
            volumes: vec![living("vol-1", "eu-west-1a", "shop"), living("vol-2", "eu-west-1a", "staging")],
            snapshots: vec![snapshot("snap-1", "2026-11-20T00:00:00Z", "vol-1", BTreeMap::new())],
        };
        let found = source(&claim(), &RestoreRule::Required, &stock, &ground()).unwrap();
        assert!(matches!(found, Some(Source::Living(volume)) if volume.id == "vol-1"));
        let at = source(&claim(), &RestoreRule::At("2026-11-20T12:00:00Z".into()), &stock, &ground()).unwrap();
        assert!(
            matches!(at, Some(Source::Snapshot(backup, 20)) if backup.id == "snap-1"),
            "a time means a backup, also where the volume lives"
        );
        assert_eq!(source(&claim(), &RestoreRule::Empty, &stock, &ground()), Ok(None));
    }

    #[test]
    fn two_living_volumes_are_told_with_their_age() {
        let stock =
            Stock { volumes: vec![living("vol-1", "eu-west-1a", "shop"), living("vol-2", "eu-west-1b", "shop")], snapshots: vec![] };
        let problem = source(&claim(), &RestoreRule::Required, &stock, &ground()).unwrap_err();
        insta::assert_snapshot!(problem.message, @"PersistentVolumeClaim shop/data-database-1: more than one living volume is tagged as its own: vol-1 (10 GiB, eu-west-1a); vol-2 (10 GiB, eu-west-1b); nothing was written");
    }

    #[test]
    fn a_volume_in_a_zone_without_nodes_is_refused() {
        let stock = Stock { volumes: vec![living("vol-1", "eu-west-1d", "shop")], snapshots: vec![] };
        let problem = source(&claim(), &RestoreRule::Required, &stock, &ground()).unwrap_err();
        insta::assert_snapshot!(problem.message, @"PersistentVolumeClaim shop/data-database-1: its volume vol-1 lives in eu-west-1d, and its pods may run in eu-west-1a, eu-west-1b, eu-west-1c only; nothing was written");
    }

    #[test]
    fn a_new_volume_is_large_enough_and_stands_where_its_pod_may_run() {
        let backup = snapshot("snap-1", "2026-11-20T00:00:00Z", "vol-0", BTreeMap::new()).backup;
        let made = volume(&claim(), &backup, 8, &ground(), &VOLUME).unwrap();
        assert_eq!(
            (&made.spec()["size"], &made.spec()["availabilityZone"]),
            (&json!(10), &json!("eu-west-1b")),
            "the second pod, the second zone"
        );
        assert_eq!(made.tags()["kubernetes.io/cluster/shop"], "owned");
        let mut pinned = claim();
        pinned.zones = Some(vec!["eu-west-1c".into()]);
        assert_eq!(volume(&pinned, &backup, 30, &ground(), &VOLUME).unwrap().spec()["availabilityZone"], "eu-west-1c");
        pinned.zones = Some(vec!["eu-west-1z".into()]);
        assert_eq!(volume(&pinned, &backup, 30, &ground(), &VOLUME).unwrap_err().rule, "state-zone");
    }

    #[test]
    fn the_persistent_volume_is_kept_for_its_claim() {
        insta::assert_json_snapshot!(persistent_volume(&claim(), "fast", "vol-9", "eu-west-1b", 20), @r#"
        {
          "apiVersion": "v1",
          "kind": "PersistentVolume",
          "metadata": {
            "annotations": {
              "pv.kubernetes.io/provisioned-by": "ebs.csi.aws.com"
            },
            "name": "shop.data-database-1"
          },
          "spec": {
            "accessModes": [
              "ReadWriteOncePod"
            ],
            "capacity": {
              "storage": "20Gi"
            },
            "claimRef": {
              "apiVersion": "v1",
              "kind": "PersistentVolumeClaim",
              "name": "data-database-1",
              "namespace": "shop"
            },
            "csi": {
              "driver": "ebs.csi.aws.com",
              "fsType": "xfs",
              "volumeHandle": "vol-9"
            },
            "nodeAffinity": {
              "required": {
                "nodeSelectorTerms": [
                  {
                    "matchExpressions": [
                      {
                        "key": "topology.kubernetes.io/zone",
                        "operator": "In",
                        "values": [
                          "eu-west-1b"
                        ]
                      }
                    ]
                  }
                ]
              }
            },
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "fast",
            "volumeMode": "Filesystem"
          }
        }
        "#);
    }
}
