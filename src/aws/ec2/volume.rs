//! Volumes of claims. No kind of ACK: they are made for claims that lost theirs, and otherwise by the CSI driver in the cluster.

use super::{filter, state, tag, tag_specifications, tags, text, time};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field};
use crate::restore::Backup;
use crate::restore::volumes::{Snapshot, Stock, TAG_NAME, Volume as OfClaim};
use async_trait::async_trait;
use aws_sdk_ec2::types::{self, ResourceType, SnapshotState, VolumeState, VolumeType};
use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

/// Facts of a volume that is made from a snapshot.
pub static VOLUME: Schema = Schema {
    service: "ec2",
    kind: "Volume",
    identity: Identity::Tags,
    fields: &[
        field("availabilityZone").once(),
        field("encrypted").once(),
        field("iops").once(),
        field("kmsKeyID").once(),
        field("size").once(),
        field("snapshotID").once(),
        field("throughput").once(),
        field("volumeType").once(),
    ],
    references: &[],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 6,
};

/// At most so many values in a filter (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html>).
const VALUES: usize = 200;

pub(in crate::aws) struct Volume;

#[async_trait]
impl Kind for Volume {
    fn schema(&self) -> &'static Schema {
        &VOLUME
    }

    async fn list(&self, cloud: &Cloud, _: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        Ok(volumes(cloud).await?.iter().map(living).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let number = |path: &str| wanted.number(path).and_then(|number| i32::try_from(number).ok());
        let call = cloud
            .ec2()
            .create_volume()
            .set_availability_zone(text(wanted, "availabilityZone"))
            .set_encrypted(wanted.flag("encrypted"))
            .set_iops(number("iops"))
            .set_kms_key_id(text(wanted, "kmsKeyID"))
            .set_size(number("size"))
            .set_snapshot_id(text(wanted, "snapshotID"))
            .set_throughput(number("throughput"))
            .set_volume_type(wanted.text("volumeType").map(VolumeType::from))
            .client_token(&wanted.token)
            .tag_specifications(tag_specifications(ResourceType::Volume, wanted));
        let made = call.send().await.map_err(|error| CloudError::new("ec2 CreateVolume", &error))?;
        let word = made.state().map_or("creating", VolumeState::as_str);
        Ok(Living {
            id: made.volume_id().unwrap_or_default().to_owned(),
            spec: json!({"availabilityZone": made.availability_zone(), "size": made.size(), "snapshotID": made.snapshot_id()}),
            status: json!({"volumeID": made.volume_id()}),
            tags: wanted.tags.clone(),
            state: usable(word),
            created: time(made.create_time()),
        })
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "tags") { tag(cloud, &living.id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let found = cloud.ec2().describe_volumes().volume_ids(&living.id).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("ec2 DescribeVolumes", &error)))?;
        Ok(found.and_then(|found| found.volumes().first().map(self::living)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.ec2().delete_volume().volume_id(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ec2 DeleteVolume", &error))).map(drop)
    }
}

/// What is there for claims: all volumes and snapshots that the CSI driver has tagged, snapshots that others took of these volumes, and
/// those that are named, which another account may share with this one.
pub(in crate::aws) async fn stock(cloud: &Cloud, named: &[&str]) -> Result<Stock, CloudError> {
    let volumes = volumes(cloud).await?;
    let ids: Vec<&str> = volumes.iter().filter_map(types::Volume::volume_id).collect();
    let mut filters = vec![(filter("tag-key", [TAG_NAME]), Some("self"))];
    filters.extend(ids.chunks(VALUES).map(|ids| (filter("volume-id", ids.iter().copied()), Some("self"))));
    // As a filter, an ID of one that is gone is no error.
    filters.extend(named.chunks(VALUES).map(|ids| (filter("snapshot-id", ids.iter().copied()), None)));
    let lists = filters.into_iter().map(|(filter, owner)| async move {
        let call = cloud.ec2().describe_snapshots().set_owner_ids(owner.map(|owner| vec![owner.to_owned()])).filters(filter);
        let found = call.into_paginator().items().send().try_collect().await;
        found.map_err(|error| CloudError::new("ec2 DescribeSnapshots", &error))
    });
    // One may be found in both ways.
    let mut snapshots: BTreeMap<String, Snapshot> = BTreeMap::new();
    for snapshot in try_join_all(lists).await?.into_iter().flatten().filter_map(|found| snapshot(&found)) {
        snapshots.insert(snapshot.backup.id.clone(), snapshot);
    }
    Ok(Stock { volumes: volumes.iter().filter_map(of_claim).collect(), snapshots: snapshots.into_values().collect() })
}

async fn volumes(cloud: &Cloud) -> Result<Vec<types::Volume>, CloudError> {
    let call = cloud.ec2().describe_volumes().filters(filter("tag-key", [TAG_NAME]));
    let found = call.into_paginator().items().send().try_collect().await;
    found.map_err(|error| CloudError::new("ec2 DescribeVolumes", &error))
}

/// One that serves a claim also serves it while it is attached.
fn usable(word: &str) -> crate::aws::State {
    if word == "in-use" { crate::aws::State::Ready } else { state(word, None) }
}

fn living(volume: &types::Volume) -> Living {
    Living {
        id: volume.volume_id().unwrap_or_default().to_owned(),
        spec: json!({"availabilityZone": volume.availability_zone(), "size": volume.size(), "snapshotID": volume.snapshot_id()}),
        status: json!({"volumeID": volume.volume_id()}),
        tags: tags(volume.tags()),
        state: usable(volume.state().map_or("creating", VolumeState::as_str)),
        created: time(volume.create_time()),
    }
}

fn of_claim(volume: &types::Volume) -> Option<OfClaim> {
    let is_leaving = matches!(volume.state(), Some(VolumeState::Deleted | VolumeState::Deleting | VolumeState::Error));
    let attachment = volume.attachments().first().and_then(|attachment| attachment.instance_id());
    (!is_leaving).then(|| OfClaim {
        id: volume.volume_id().unwrap_or_default().to_owned(),
        zone: volume.availability_zone().unwrap_or_default().to_owned(),
        gib: gib(volume.size()),
        tags: tags(volume.tags()),
        created: volume.create_time().and_then(|time| Timestamp::from_second(time.secs()).ok()),
        attached: attachment.map(str::to_owned),
    })
}

fn snapshot(snapshot: &types::Snapshot) -> Option<Snapshot> {
    let taken = Timestamp::from_second(snapshot.start_time()?.secs()).ok()?;
    let unusable = snapshot.state().filter(|state| **state != SnapshotState::Completed).map(|state| state.as_str().to_owned());
    Some(Snapshot {
        backup: Backup {
            id: snapshot.snapshot_id()?.to_owned(),
            what: "snapshot",
            taken,
            unusable,
            key: snapshot.kms_key_id().map(str::to_owned).filter(|key| !key.is_empty()),
        },
        volume: snapshot.volume_id().unwrap_or_default().to_owned(),
        gib: gib(snapshot.volume_size()),
        tags: tags(snapshot.tags()),
    })
}

fn gib(size: Option<i32>) -> u64 {
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default()
}
