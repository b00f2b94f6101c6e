//! Secrets Manager.

use super::error::or_absent;
use super::kind::{Kind, Living, State, Wanted, differs};
use super::kms::as_declared;
use super::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, refers};
use async_trait::async_trait;
use aws_sdk_secretsmanager::primitives::{DateTime, DateTimeFormat};
use aws_sdk_secretsmanager::types::Tag;
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The value itself is not among the fields: in ACK it is a key of a Secret in a cluster, which does not exist yet. What is made is
/// empty, what is restored has its old value.
static SECRET: Schema = Schema {
    service: "secretsmanager",
    kind: "Secret",
    identity: Identity::Name(&["name"]),
    fields: &[field("name").fixed(), field("description"), field("kmsKeyID")],
    references: &[refers("kmsKeyID", "kmsKeyRef", "kms", "Key", "arn")],
    tags: Tags::List("tags"),
    // The ARN ends with six letters that AWS chooses.
    arn: None,
    seconds: 1,
};

pub(super) const KINDS: &[&dyn Kind] = &[&Secret];

struct Secret;

#[async_trait]
impl Kind for Secret {
    fn schema(&self) -> &'static Schema {
        &SECRET
    }

    /// One call each: `ListSecrets` is up to five minutes behind.
    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let names = wanted.iter().filter_map(|wanted| Some((wanted.text("name")?, &wanted.spec)));
        let found = try_join_all(names.map(|(name, spec)| read(cloud, name, spec))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// One that is scheduled for deletion still has its name, and its value: it is taken back.
    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let name = wanted.text("name").unwrap_or_default();
        let text = |path: &str| wanted.text(path).map(str::to_owned);
        let call = cloud.secretsmanager().create_secret().name(name).set_description(text("description"));
        let call = call.set_kms_key_id(text("kmsKeyID")).client_request_token(&wanted.token).set_tags(Some(to_tags(&wanted.tags)));
        let arn = match call.send().await.map_err(|error| CloudError::new("secretsmanager CreateSecret", &error)) {
            Ok(made) => made.arn,
            Err(error) => match read(cloud, name, &wanted.spec).await? {
                Some(Living { state: State::Leaving(_), .. }) => {
                    let restored = cloud.secretsmanager().restore_secret().secret_id(name).send().await;
                    restored.map_err(|error| CloudError::new("secretsmanager RestoreSecret", &error))?.arn
                }
                _ => return Err(error),
            },
        };
        Ok(Living {
            id: name.to_owned(),
            spec: wanted.spec.clone(),
            status: status(arn.as_deref()),
            tags: wanted.tags.clone(),
            state: State::Ready,
            created: None,
        })
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let changed = |path: &str| wanted.text(path).filter(|_| differs(differences, path)).map(str::to_owned);
        let (description, key) = (changed("description"), changed("kmsKeyID"));
        if description.is_some() || key.is_some() {
            let call = cloud.secretsmanager().update_secret().secret_id(&living.id).set_description(description).set_kms_key_id(key);
            call.send().await.map_err(|error| CloudError::new("secretsmanager UpdateSecret", &error))?;
        }
        if differs(differences, "tags") {
            let call = cloud.secretsmanager().tag_resource().secret_id(&living.id).set_tags(Some(to_tags(&wanted.declared.tags())));
            call.send().await.map_err(|error| CloudError::new("secretsmanager TagResource", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read(cloud, &living.id, &living.spec).await
    }

    /// After AWS' usual time to think it over, 30 days.
    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.secretsmanager().delete_secret().secret_id(&living.id).send().await;
        match or_absent(deleted.map_err(|error| CloudError::new("secretsmanager DeleteSecret", &error))) {
            Err(error) if error.message.contains("marked") || error.message.contains("scheduled for deletion") => Ok(()),
            other => other.map(drop),
        }
    }

    async fn holds(&self, _: &Cloud, _: &Living) -> Result<Option<String>, CloudError> {
        Ok(Some("its value; it can be taken back for 30 days".to_owned()))
    }
}

fn to_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

fn status(arn: Option<&str>) -> Value {
    json!({"id": arn, "ackResourceMetadata": {"arn": arn}})
}

fn time(time: Option<&DateTime>) -> Option<String> {
    time?.fmt(DateTimeFormat::DateTime).ok()
}

/// `declared` gives the form of its values.
async fn read(cloud: &Cloud, name: &str, declared: &Value) -> Result<Option<Living>, CloudError> {
    let described = cloud.secretsmanager().describe_secret().secret_id(name).send().await;
    let described = or_absent(described.map_err(|error| CloudError::new("secretsmanager DescribeSecret", &error)))?;
    let Some(secret) = described else { return Ok(None) };
    let key = declared.get("kmsKeyID").and_then(Value::as_str);
    let tags = secret.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
    let tags = tags.filter(|(key, _)| !key.starts_with("aws:")).collect();
    let state = match time(secret.deleted_date()) {
        Some(day) => State::Leaving(format!("scheduled for deletion on {day}")),
        None => State::Ready,
    };
    Ok(Some(Living {
        id: name.to_owned(),
        spec: json!({
            "name": secret.name(),
            "description": secret.description(),
            "kmsKeyID": secret.kms_key_id().map(|found| as_declared(found, key)),
        }),
        status: status(secret.arn()),
        created: time(secret.created_date()),
        tags,
        state,
    }))
}
