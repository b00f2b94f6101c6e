//! Marked data: put where an environment keeps data, saved by backups, looked for after the recovery.

use crate::aws::{Cloud, CloudError};
use crate::cluster::{Cluster, ClusterError};
use crate::layers::infrastructure::{Declared, at};
use crate::manifest::ObjectId;
use crate::restore::claims::Claim;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;
use std::collections::HashMap;

/// What marked data is called.
const MARK: &str = "blackstart-rehearsal";

/// Marked data in one place.
#[derive(Clone, Debug)]
pub struct Mark {
    /// What keeps it: `Table shop/orders`.
    pub state: String,
    /// What it is in, in words: `volume vol-1`, `table orders`.
    pub place: String,
    /// Whether there is a backup of it.
    pub saved: bool,
    at: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// The claim, the volume and the snapshot that hold the datum, and their tags.
    Claim { claim: ObjectId, volume: String, snapshot: String, tags: Vec<Tag> },
    /// A table, and the key of the item.
    Table { name: String, key: HashMap<String, AttributeValue> },
    /// A bucket.
    Bucket { name: String },
    /// A queue.
    Queue { name: String },
}

/// Why marked data cannot be put or looked for.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// The account.
    #[error("marked data: {0}")]
    Cloud(#[from] CloudError),
    /// The cluster.
    #[error("marked data: {0}")]
    Cluster(#[from] ClusterError),
}

fn refused<E>(operation: &'static str) -> impl Fn(E) -> CloudError
where
    E: std::error::Error + aws_sdk_s3::error::ProvideErrorMetadata,
{
    move |error| CloudError::invalid(operation, aws_sdk_s3::error::DisplayErrorContext(&error).to_string())
}

/// Puts a datum into everything that keeps data, and takes a backup of each that backups are kept of.
pub async fn put(cloud: &Cloud, cluster: &Cluster, declared: &[Declared], claims: &[Claim]) -> Result<Vec<Mark>, MarkError> {
    let mut marks = Vec::new();
    for claim in claims {
        let id = claim.id();
        if let Some(volume) = volume_of(cluster, &id).await? {
            marks.push(in_volume(cloud, claim, id, volume).await?);
        }
    }
    for declared in declared {
        let text = |path: &str| at(declared.spec(), path).and_then(Value::as_str).unwrap_or_default().to_owned();
        match (declared.schema.service, declared.schema.kind) {
            ("dynamodb", "Table") => marks.push(in_table(cloud, declared, text("tableName")).await?),
            ("s3", "Bucket") => {
                let name = text("name");
                let put = cloud.s3().put_object().bucket(&name).key(MARK).body(ByteStream::from_static(MARK.as_bytes())).send().await;
                put.map_err(refused("s3 PutObject"))?;
                marks.push(Mark {
                    state: declared.resource.id().to_string(),
                    place: format!("bucket {name}"),
                    saved: false,
                    at: Place::Bucket { name },
                });
            }
            ("sqs", "Queue") if text("fifoQueue") != "true" => {
                let name = text("queueName");
                let url = queue(cloud, &name).await?.unwrap_or_default();
                let sent = cloud.sqs().send_message().queue_url(url).message_body(MARK).send().await;
                sent.map_err(refused("sqs SendMessage"))?;
                marks.push(Mark {
                    state: declared.resource.id().to_string(),
                    place: format!("queue {name}"),
                    saved: false,
                    at: Place::Queue { name },
                });
            }
            _ => {}
        }
    }
    Ok(marks)
}

/// No data can be written into an emulator's volume: its ID is the datum, and the snapshot carries it.
async fn in_volume(cloud: &Cloud, claim: &Claim, id: ObjectId, volume: String) -> Result<Mark, MarkError> {
    let told = cloud.ec2().describe_volumes().volume_ids(&volume).send().await.map_err(refused("ec2 DescribeVolumes"))?;
    // As backup services do: the snapshot has the tags of its volume.
    let tags: Vec<Tag> = told.volumes().first().map(|volume| volume.tags().to_vec()).unwrap_or_default();
    let specification = TagSpecification::builder().resource_type(ResourceType::Snapshot).set_tags(Some(tags.clone())).build();
    let made = cloud.ec2().create_snapshot().volume_id(&volume).description(MARK).tag_specifications(specification).send().await;
    let snapshot = made.map_err(refused("ec2 CreateSnapshot"))?.snapshot_id.unwrap_or_default();
    let place = Place::Claim { claim: id, volume: volume.clone(), snapshot, tags };
    Ok(Mark { state: claim.keeper().to_string(), place: format!("volume {volume}"), saved: true, at: place })
}

async fn in_table(cloud: &Cloud, declared: &Declared, name: String) -> Result<Mark, MarkError> {
    let list = |path: &str| at(declared.spec(), path).and_then(Value::as_array).cloned().unwrap_or_default();
    let types: HashMap<String, String> = list("attributeDefinitions")
        .iter()
        .filter_map(|one| Some((one["attributeName"].as_str()?.to_owned(), one["attributeType"].as_str()?.to_owned())))
        .collect();
    let value = |name: &str| match types.get(name).map(String::as_str) {
        Some("N") => AttributeValue::N("0".to_owned()),
        Some("B") => AttributeValue::B(MARK.as_bytes().into()),
        _ => AttributeValue::S(MARK.to_owned()),
    };
    let keys = list("keySchema");
    let keys = keys.iter().filter_map(|one| one["attributeName"].as_str());
    let key: HashMap<String, AttributeValue> = keys.map(|name| (name.to_owned(), value(name))).collect();
    let put = cloud.dynamodb().put_item().table_name(&name).set_item(Some(key.clone())).send().await;
    put.map_err(refused("dynamodb PutItem"))?;
    let saved = cloud.dynamodb().create_backup().table_name(&name).backup_name(MARK).send().await;
    saved.map_err(refused("dynamodb CreateBackup"))?;
    Ok(Mark { state: declared.resource.id().to_string(), place: format!("table {name}"), saved: true, at: Place::Table { name, key } })
}

/// Copies the backups that can be copied to another region, as backup services do, and turns the marks to what is declared there.
/// A table's backup stays where it is: no copy of one can be made without AWS Backup.
pub async fn copy(there: &Cloud, from: &str, declared: &[Declared], marks: &mut [Mark]) -> Result<(), MarkError> {
    for mark in marks {
        let twin = declared.iter().find(|declared| declared.resource.id().to_string() == mark.state);
        let renamed = |path: &str| twin.and_then(|twin| at(twin.spec(), path)).and_then(Value::as_str).map(str::to_owned);
        match &mut mark.at {
            Place::Claim { snapshot, tags, .. } => {
                let specification = TagSpecification::builder().resource_type(ResourceType::Snapshot).set_tags(Some(tags.clone())).build();
                let copy = there.ec2().copy_snapshot().source_region(from).source_snapshot_id(snapshot.as_str()).description(MARK);
                let made = copy.tag_specifications(specification).send().await.map_err(refused("ec2 CopySnapshot"))?;
                *snapshot = made.snapshot_id.unwrap_or_default();
            }
            Place::Table { name, .. } => {
                mark.saved = false;
                *name = renamed("tableName").unwrap_or_else(|| name.clone());
            }
            Place::Bucket { name } => *name = renamed("name").unwrap_or_else(|| name.clone()),
            Place::Queue { name } => *name = renamed("queueName").unwrap_or_else(|| name.clone()),
        }
    }
    Ok(())
}

impl Mark {
    /// Whether the datum is there now.
    pub async fn is_back(&self, cloud: &Cloud, cluster: &Cluster) -> Result<bool, MarkError> {
        Ok(match &self.at {
            Place::Claim { claim, volume, snapshot, .. } => match volume_of(cluster, claim).await? {
                Some(now) if now == *volume => true,
                Some(now) => {
                    let told = cloud.ec2().describe_volumes().volume_ids(now).send().await.map_err(refused("ec2 DescribeVolumes"))?;
                    told.volumes().first().and_then(|volume| volume.snapshot_id()) == Some(snapshot)
                }
                None => false,
            },
            Place::Table { name, key } => {
                let item = cloud.dynamodb().get_item().table_name(name).set_key(Some(key.clone())).send().await;
                item.map_err(refused("dynamodb GetItem"))?.item.is_some()
            }
            Place::Bucket { name } => {
                let listed = cloud.s3().list_objects_v2().bucket(name).prefix(MARK).send().await.map_err(refused("s3 ListObjectsV2"))?;
                !listed.contents().is_empty()
            }
            Place::Queue { name } => {
                let Some(url) = queue(cloud, name).await? else { return Ok(false) };
                let taken = cloud.sqs().receive_message().queue_url(url).visibility_timeout(0).send().await;
                taken.map_err(refused("sqs ReceiveMessage"))?.messages().iter().any(|message| message.body() == Some(MARK))
            }
        })
    }
}

/// The volume that a claim is bound to.
pub async fn volume_of(cluster: &Cluster, claim: &ObjectId) -> Result<Option<String>, ClusterError> {
    let Some(claim) = cluster.get(claim).await? else { return Ok(None) };
    let Some(name) = claim.pointer("/spec/volumeName").and_then(Value::as_str) else { return Ok(None) };
    let id = ObjectId::new("v1", "PersistentVolume", None, name);
    let volume = cluster.get(&id).await?;
    Ok(volume.and_then(|volume| volume.pointer("/spec/csi/volumeHandle").and_then(Value::as_str).map(str::to_owned)))
}

/// URL of a queue; none where there is none.
async fn queue(cloud: &Cloud, name: &str) -> Result<Option<String>, CloudError> {
    let told = cloud.sqs().list_queues().queue_name_prefix(name).send().await.map_err(refused("sqs ListQueues"))?;
    Ok(told.queue_urls().iter().find(|url| url.rsplit('/').next() == Some(name)).cloned())
}
