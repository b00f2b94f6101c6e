//! CloudWatch Logs.

use super::error::or_absent;
use super::kind::{Kind, Living, State, Wanted, differs, size};
use super::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, refers};
use async_trait::async_trait;
use aws_sdk_cloudwatchlogs::types::LogGroup as Described;
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

static LOG_GROUP: Schema = Schema {
    service: "cloudwatchlogs",
    kind: "LogGroup",
    identity: Identity::Name(&["name"]),
    fields: &[field("name").fixed(), field("deletionProtectionEnabled"), field("kmsKeyID"), field("retentionDays")],
    references: &[refers("kmsKeyID", "kmsKeyRef", "kms", "Key", "arn")],
    tags: Tags::Map("tags"),
    arn: Some("arn:{partition}:logs:{region}:{account}:log-group:{name}:*"),
    seconds: 1,
};

pub(super) const KINDS: &[&dyn Kind] = &[&LogGroup];

struct LogGroup;

#[async_trait]
impl Kind for LogGroup {
    fn schema(&self) -> &'static Schema {
        &LOG_GROUP
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let found = try_join_all(wanted.iter().filter_map(|wanted| wanted.text("name")).map(|name| read(cloud, name))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let name = wanted.text("name").unwrap_or_default();
        let call = cloud.logs().create_log_group().log_group_name(name).set_kms_key_id(wanted.text("kmsKeyID").map(str::to_owned));
        let call = call.set_deletion_protection_enabled(wanted.flag("deletionProtectionEnabled")).set_tags(Some(to_tags(&wanted.tags)));
        call.send().await.map_err(|error| CloudError::new("logs CreateLogGroup", &error))?;
        let spec = wanted.spec.clone();
        Ok(Living { id: name.to_owned(), spec, status: json!({}), tags: wanted.tags.clone(), state: State::Ready, created: None })
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let (logs, name) = (cloud.logs(), &living.id);
        if differs(differences, "retentionDays") {
            let days = wanted.number("retentionDays").and_then(|days| i32::try_from(days).ok());
            let call = logs.put_retention_policy().log_group_name(name).set_retention_in_days(days);
            call.send().await.map_err(|error| CloudError::new("logs PutRetentionPolicy", &error))?;
        }
        if let Some(key) = wanted.text("kmsKeyID").filter(|_| differs(differences, "kmsKeyID")) {
            let call = logs.associate_kms_key().log_group_name(name).kms_key_id(key);
            call.send().await.map_err(|error| CloudError::new("logs AssociateKmsKey", &error))?;
        }
        if let Some(is_protected) = wanted.flag("deletionProtectionEnabled").filter(|_| differs(differences, "deletionProtectionEnabled")) {
            let call = logs.put_log_group_deletion_protection().log_group_identifier(name).deletion_protection_enabled(is_protected);
            call.send().await.map_err(|error| CloudError::new("logs PutLogGroupDeletionProtection", &error))?;
        }
        if differs(differences, "tags") {
            let arn = living.status.pointer("/ackResourceMetadata/arn").and_then(Value::as_str).unwrap_or_default();
            let call = logs.tag_resource().resource_arn(to_tag(arn)).set_tags(Some(to_tags(&wanted.declared.tags())));
            call.send().await.map_err(|error| CloudError::new("logs TagResource", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read(cloud, &living.id).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.logs().delete_log_group().log_group_name(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("logs DeleteLogGroup", &error))).map(drop)
    }

    async fn holds(&self, cloud: &Cloud, living: &Living) -> Result<Option<String>, CloudError> {
        let answer = cloud.logs().describe_log_groups().log_group_name_prefix(&living.id).limit(1).send().await;
        let answer = answer.map_err(|error| CloudError::new("logs DescribeLogGroups", &error))?;
        let bytes = answer.log_groups().first().and_then(Described::stored_bytes).unwrap_or_default();
        Ok((bytes > 0).then(|| format!("{} of logs", size(bytes))))
    }
}

fn to_tags(tags: &BTreeMap<String, String>) -> HashMap<String, String> {
    tags.clone().into_iter().collect()
}

/// The ARN that calls for tags take: without the streams.
fn to_tag(arn: &str) -> &str {
    arn.trim_end_matches(":*")
}

async fn read(cloud: &Cloud, name: &str) -> Result<Option<Living>, CloudError> {
    // In the order of their names: what has the whole name as prefix comes after it.
    let answer = cloud.logs().describe_log_groups().log_group_name_prefix(name).limit(1).send().await;
    let answer = answer.map_err(|error| CloudError::new("logs DescribeLogGroups", &error))?;
    let Some(group) = answer.log_groups().first().filter(|group| group.log_group_name() == Some(name)) else { return Ok(None) };
    let call = cloud.logs().list_tags_for_resource().set_resource_arn(group.arn().map(|arn| to_tag(arn).to_owned())).send().await;
    let answer = or_absent(call.map_err(|error| CloudError::new("logs ListTagsForResource", &error)))?;
    Ok(answer.map(|answer| living(group, answer.tags.unwrap_or_default())))
}

fn living(group: &Described, tags: HashMap<String, String>) -> Living {
    let name = group.log_group_name().unwrap_or_default();
    let created = group.creation_time().and_then(|time| jiff::Timestamp::from_millisecond(time).ok());
    Living {
        id: name.to_owned(),
        spec: json!({
            "name": name,
            "deletionProtectionEnabled": group.deletion_protection_enabled(),
            "kmsKeyID": group.kms_key_id(),
            "retentionDays": group.retention_in_days(),
        }),
        status: json!({"creationTime": group.creation_time(), "ackResourceMetadata": {"arn": group.arn()}}),
        tags: tags.into_iter().filter(|(key, _)| !key.starts_with("aws:")).collect(),
        state: State::Ready,
        created: created.map(|time| time.to_string()),
    }
}
