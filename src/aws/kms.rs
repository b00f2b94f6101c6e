//! KMS.

use super::error::or_absent;
use super::kind::{Kind, Living, State, Wanted, differs};
use super::{Cloud, CloudError, Meaning};
use crate::layers::infrastructure::{Difference, Identity, Schema, TAG_RESOURCE, Tags, field, refers};
use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_sdk_kms::primitives::DateTimeFormat;
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyState, KeyUsageType, OriginType, Tag};
use futures::future::{try_join_all, try_join3};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Keys whose tags are read at once.
const AT_ONCE: usize = 32;

static KEY: Schema = Schema {
    service: "kms",
    kind: "Key",
    identity: Identity::Tags,
    fields: &[
        field("bypassPolicyLockoutSafetyCheck").once(),
        field("description"),
        field("enableKeyRotation"),
        field("keySpec").fixed(),
        field("keyUsage").fixed(),
        field("multiRegion").fixed(),
        field("origin").fixed(),
        field("policy").policy(),
    ],
    references: &[],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 2,
};

static ALIAS: Schema = Schema {
    service: "kms",
    kind: "Alias",
    identity: Identity::Name(&["name"]),
    fields: &[field("name").fixed(), field("targetKeyID")],
    references: &[refers("targetKeyID", "targetKeyRef", "kms", "Key", "keyID")],
    tags: Tags::None,
    arn: Some("arn:{partition}:kms:{region}:{account}:{name}"),
    seconds: 1,
};

pub(super) const KINDS: &[&dyn Kind] = &[&Key, &Alias];

/// What AWS calls a key, in the form that the manifest uses: ID, ARN or alias.
pub(super) fn as_declared(found: &str, declared: Option<&str>) -> String {
    fn name(key: &str) -> &str {
        let name = key.rsplit(':').next().unwrap_or(key);
        name.strip_prefix("key/").unwrap_or(name)
    }
    declared.filter(|declared| name(declared) == name(found)).unwrap_or(found).to_owned()
}

struct Key;

#[async_trait]
impl Kind for Key {
    fn schema(&self) -> &'static Schema {
        &KEY
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let mut ids = Vec::new();
        let mut all = cloud.kms().list_keys().limit(1000).into_paginator().items().send();
        while let Some(key) = all.next().await {
            ids.extend(key.map_err(|error| CloudError::new("kms ListKeys", &error))?.key_id);
        }
        // A key has no name, and there is no call that tells the tags of several.
        let mut meant = Vec::new();
        for some in ids.chunks(AT_ONCE) {
            let tags = try_join_all(some.iter().map(|id| tags_if_shown(cloud, id))).await?;
            let found = some.iter().zip(tags).filter(|(id, tags)| wanted.iter().any(|wanted| could_be(wanted, id, tags)));
            meant.extend(found.map(|(id, _)| id.as_str()));
        }
        let found = try_join_all(meant.into_iter().map(|id| read(cloud, id))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// One that waits for its deletion is taken back: backups are noise without it.
    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        if let Some(saved) = self.saved(cloud, wanted).await? {
            return Ok(saved);
        }
        let text = |path: &str| wanted.text(path).map(str::to_owned);
        let call = cloud
            .kms()
            .create_key()
            .set_bypass_policy_lockout_safety_check(wanted.flag("bypassPolicyLockoutSafetyCheck"))
            .set_description(text("description"))
            .set_key_spec(wanted.text("keySpec").map(Into::into))
            .set_key_usage(wanted.text("keyUsage").map(Into::into))
            .set_multi_region(wanted.flag("multiRegion"))
            .set_origin(wanted.text("origin").map(Into::into))
            .set_policy(text("policy"))
            .set_tags(Some(to_tags(&wanted.tags)));
        // No token: the SDK would repeat a call that nobody answered, and make a second key.
        let once = aws_sdk_kms::Config::builder().retry_config(RetryConfig::disabled());
        let made = call.customize().config_override(once).send().await;
        let made = made.map_err(|error| unknown_principal(CloudError::new("kms CreateKey", &error)))?;
        let key = made.key_metadata().ok_or_else(|| CloudError::malformed("kms CreateKey", "KeyMetadata"))?;
        Ok(living(key, None, None, wanted.tags.clone()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let (kms, id) = (cloud.kms(), &living.id);
        let text = |path: &str| wanted.text(path).filter(|_| differs(differences, path));
        if let Some(description) = text("description") {
            let call = kms.update_key_description().key_id(id).description(description);
            call.send().await.map_err(|error| CloudError::new("kms UpdateKeyDescription", &error))?;
        }
        if let Some(policy) = text("policy") {
            let bypass = wanted.flag("bypassPolicyLockoutSafetyCheck");
            let call = kms.put_key_policy().key_id(id).policy_name("default").policy(policy).set_bypass_policy_lockout_safety_check(bypass);
            call.send().await.map_err(|error| unknown_principal(CloudError::new("kms PutKeyPolicy", &error)))?;
        }
        match wanted.flag("enableKeyRotation").filter(|_| differs(differences, "enableKeyRotation")) {
            Some(true) => {
                let enabled = kms.enable_key_rotation().key_id(id).send().await;
                enabled.map_err(|error| CloudError::new("kms EnableKeyRotation", &error)).map(drop)?;
            }
            Some(false) => {
                let disabled = kms.disable_key_rotation().key_id(id).send().await;
                disabled.map_err(|error| CloudError::new("kms DisableKeyRotation", &error)).map(drop)?;
            }
            None => {}
        }
        if differs(differences, "tags") {
            let call = kms.tag_resource().key_id(id).set_tags(Some(to_tags(&wanted.declared.tags())));
            call.send().await.map_err(|error| CloudError::new("kms TagResource", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read(cloud, &living.id).await
    }

    /// After AWS' longest time to think it over, 30 days: what the key encrypts is lost with it.
    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.kms().schedule_key_deletion().key_id(&living.id).send().await;
        match or_absent(deleted.map_err(|error| CloudError::new("kms ScheduleKeyDeletion", &error))) {
            Err(error) if error.message.contains("pending deletion") => Ok(()),
            other => other.map(drop),
        }
    }

    async fn holds(&self, _: &Cloud, _: &Living) -> Result<Option<String>, CloudError> {
        Ok(Some("all that it encrypts; it can be taken back for 30 days".to_owned()))
    }
}

impl Key {
    /// The key of this manifest, where it is scheduled for deletion, usable again.
    async fn saved(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Option<Living>, CloudError> {
        let keys = self.list(cloud, std::slice::from_ref(wanted)).await?;
        let leaving: Vec<&Living> = keys.iter().filter(|key| matches!(key.state, State::Leaving(_))).collect();
        let key = match leaving.as_slice() {
            [] => return Ok(None),
            [key] => &key.id,
            several => {
                let ids: Vec<&str> = several.iter().map(|key| key.id.as_str()).collect();
                let why = format!(
                    "several keys of it wait for their deletion: {}; save the right one with aws kms cancel-key-deletion",
                    ids.join(", ")
                );
                return Err(CloudError::invalid("kms CancelKeyDeletion", &why));
            }
        };
        let cancelled = cloud.kms().cancel_key_deletion().key_id(key).send().await;
        cancelled.map_err(|error| CloudError::new("kms CancelKeyDeletion", &error))?;
        let enabled = cloud.kms().enable_key().key_id(key).send().await;
        enabled.map_err(|error| CloudError::new("kms EnableKey", &error))?;
        read(cloud, key).await
    }
}

/// Any key, as far as it is shown.
#[derive(Clone, Debug)]
pub struct AnyKey {
    /// ID.
    pub id: String,
    /// AWS' own word: `Enabled`, `PendingDeletion`, …
    pub state: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// A key by ID, ARN or alias; none where there is no such key.
pub(super) async fn any(cloud: &Cloud, key: &str) -> Result<Option<AnyKey>, CloudError> {
    let Some(key) = describe(cloud, key).await? else { return Ok(None) };
    let state = key.key_state().map(|state| state.as_str().to_owned()).unwrap_or_default();
    Ok(Some(AnyKey { id: key.key_id().to_owned(), state, tags: tags_if_shown(cloud, key.key_id()).await? }))
}

/// A policy may name a role that is seconds old.
fn unknown_principal(mut error: CloudError) -> CloudError {
    if error.message.contains("invalid principals") {
        error.meaning = Meaning::Dependency;
    }
    error
}

/// Made for this manifest, tagged as Git says, or named in it.
fn could_be(wanted: &Wanted, id: &str, tags: &BTreeMap<String, String>) -> bool {
    let declared = wanted.declared.tags();
    tags.get(TAG_RESOURCE) == Some(&wanted.declared.key())
        || !declared.is_empty() && declared.iter().all(|(key, value)| tags.get(key) == Some(value))
        || wanted.declared.annotation("adoption-fields").is_some_and(|fields| fields.contains(id))
}

fn to_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().filter_map(|(key, value)| Tag::builder().tag_key(key).tag_value(value).build().ok()).collect()
}

async fn tags(cloud: &Cloud, id: &str) -> Result<BTreeMap<String, String>, CloudError> {
    // A key has no more than 50.
    let answer = cloud.kms().list_resource_tags().key_id(id).limit(50).send().await;
    let answer = answer.map_err(|error| CloudError::new("kms ListResourceTags", &error))?;
    let tags = answer.tags().iter().filter(|tag| !tag.tag_key().starts_with("aws:"));
    Ok(tags.map(|tag| (tag.tag_key().to_owned(), tag.tag_value().to_owned())).collect())
}

/// Tags of any key of the account: those whose own policy keeps us out are none of ours.
async fn tags_if_shown(cloud: &Cloud, id: &str) -> Result<BTreeMap<String, String>, CloudError> {
    match or_absent(tags(cloud, id).await) {
        Err(error) if error.meaning == Meaning::Denied && error.message.contains("resource-based policy") => Ok(BTreeMap::new()),
        other => other.map(Option::unwrap_or_default),
    }
}

async fn read(cloud: &Cloud, id: &str) -> Result<Option<Living>, CloudError> {
    let kms = cloud.kms();
    let Some(key) = describe(cloud, id).await? else { return Ok(None) };
    if let leaving @ State::Leaving(_) = state(&key) {
        return Ok(Some(Living { state: leaving, ..living(&key, None, None, tags_if_shown(cloud, id).await?) }));
    }
    let policy = async {
        let call = kms.get_key_policy().key_id(id).policy_name("default").send().await;
        let told = or_absent(call.map_err(|error| CloudError::new("kms GetKeyPolicy", &error)))?;
        Ok(told.and_then(|answer| answer.policy))
    };
    let rotation = async {
        // No other key can have it.
        if key.key_spec() != Some(&KeySpec::SymmetricDefault) || key.origin() != Some(&OriginType::AwsKms) {
            return Ok(None);
        }
        let call = kms.get_key_rotation_status().key_id(id).send().await;
        call.map(|answer| Some(answer.key_rotation_enabled)).map_err(|error| CloudError::new("kms GetKeyRotationStatus", &error))
    };
    let found = or_absent(Box::pin(try_join3(policy, rotation, tags(cloud, id))).await)?;
    Ok(found.map(|(policy, rotation, tags)| living(&key, policy.as_deref(), rotation, tags)))
}

/// By ID, ARN or alias.
async fn describe(cloud: &Cloud, key: &str) -> Result<Option<KeyMetadata>, CloudError> {
    let described = cloud.kms().describe_key().key_id(key).send().await;
    let described = or_absent(described.map_err(|error| CloudError::new("kms DescribeKey", &error)))?;
    Ok(described.and_then(|answer| answer.key_metadata))
}

fn state(key: &KeyMetadata) -> State {
    let word = key.key_state().map(|state| state.as_str().to_owned()).unwrap_or_default();
    match key.key_state() {
        Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => State::Leaving(word),
        Some(KeyState::Creating | KeyState::Updating) => State::Pending(word),
        Some(KeyState::Disabled | KeyState::PendingImport | KeyState::Unavailable) => State::Failed(word),
        _ => State::Ready,
    }
}

fn living(key: &KeyMetadata, policy: Option<&str>, rotation: Option<bool>, tags: BTreeMap<String, String>) -> Living {
    let created = key.creation_date().and_then(|time| time.fmt(DateTimeFormat::DateTime).ok());
    Living {
        id: key.key_id().to_owned(),
        spec: json!({
            "description": key.description(),
            "enableKeyRotation": rotation,
            "keySpec": key.key_spec().map(KeySpec::as_str),
            "keyUsage": key.key_usage().map(KeyUsageType::as_str),
            "multiRegion": key.multi_region(),
            "origin": key.origin().map(OriginType::as_str),
            "policy": policy,
        }),
        status: json!({
            "keyID": key.key_id(),
            "keyState": key.key_state().map(KeyState::as_str),
            "enabled": key.enabled(),
            "creationDate": created,
            "ackResourceMetadata": {"arn": key.arn()},
        }),
        tags,
        state: state(key),
        created,
    }
}

struct Alias;

#[async_trait]
impl Kind for Alias {
    fn schema(&self) -> &'static Schema {
        &ALIAS
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let wanted: BTreeMap<&str, &Value> = wanted.iter().filter_map(|wanted| Some((wanted.text("name")?, &wanted.spec))).collect();
        let mut found = Vec::new();
        let mut all = cloud.kms().list_aliases().limit(100).into_paginator().items().send();
        while let Some(alias) = all.next().await {
            let alias = alias.map_err(|error| CloudError::new("kms ListAliases", &error))?;
            if let Some((name, spec)) = alias.alias_name().and_then(|name| wanted.get_key_value(name)) {
                found.push(living_alias(cloud, name, alias.target_key_id().unwrap_or_default(), spec));
            }
        }
        Ok(found)
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let (name, key) = (wanted.text("name").unwrap_or_default(), wanted.text("targetKeyID").unwrap_or_default());
        let made = cloud.kms().create_alias().alias_name(name).target_key_id(key).send().await;
        made.map_err(|error| CloudError::new("kms CreateAlias", &error))?;
        Ok(living_alias(cloud, name, key, &wanted.spec))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, _: &[Difference]) -> Result<(), CloudError> {
        let key = wanted.text("targetKeyID").unwrap_or_default();
        let call = cloud.kms().update_alias().alias_name(&living.id).target_key_id(key);
        call.send().await.map_err(|error| CloudError::new("kms UpdateAlias", &error)).map(drop)
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let key = describe(cloud, &living.id).await?;
        Ok(key.map(|key| living_alias(cloud, &living.id, key.key_id(), &living.spec)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.kms().delete_alias().alias_name(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("kms DeleteAlias", &error))).map(drop)
    }
}

fn living_alias(cloud: &Cloud, name: &str, key: &str, declared: &Value) -> Living {
    let place = cloud.place();
    let key = as_declared(key, declared.get("targetKeyID").and_then(Value::as_str));
    Living {
        id: name.to_owned(),
        spec: json!({"name": name, "targetKeyID": key}),
        status: json!({"ackResourceMetadata": {"arn": format!("arn:{}:kms:{}:{}:{name}", place.partition, place.region, place.account)}}),
        tags: BTreeMap::new(),
        state: State::Ready,
        created: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_in_the_form_that_the_manifest_uses() {
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd";
        assert_eq!(as_declared(arn, Some("1234abcd")), "1234abcd");
        assert_eq!(as_declared("1234abcd", Some(arn)), arn);
        assert_eq!(as_declared("arn:aws:kms:eu-west-1:111122223333:alias/shop", Some("alias/shop")), "alias/shop");
        assert_eq!(as_declared(arn, Some("another")), arn);
        assert_eq!(as_declared(arn, None), arn);
    }
}
