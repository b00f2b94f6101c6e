//! ECR.

use super::error::or_absent;
use super::kind::{Kind, Living, State, Wanted, differs};
use super::kms::as_declared;
use super::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, refers};
use crate::problem::count;
use async_trait::async_trait;
use aws_sdk_ecr::primitives::{DateTime, DateTimeFormat};
use aws_sdk_ecr::types::{
    EncryptionConfiguration, ImageIdentifier, ImageScanningConfiguration, ImageTagMutability, PullThroughCacheRule as Rule,
    Repository as Described, Tag, UpstreamRegistry,
};
use futures::future::{try_join_all, try_join3};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

static REPOSITORY: Schema = Schema {
    service: "ecr",
    kind: "Repository",
    identity: Identity::Name(&["name"]),
    fields: &[
        field("name").fixed(),
        field("encryptionConfiguration.encryptionType").fixed(),
        field("encryptionConfiguration.kmsKey").fixed(),
        field("imageScanningConfiguration.scanOnPush"),
        field("imageTagMutability"),
        field("lifecyclePolicy").policy(),
        field("policy").policy(),
    ],
    references: &[refers("encryptionConfiguration.kmsKey", "encryptionConfiguration.kmsKeyRef", "kms", "Key", "arn")],
    tags: Tags::List("tags"),
    arn: Some("arn:{partition}:ecr:{region}:{account}:repository/{name}"),
    seconds: 1,
};

static PULL_THROUGH_CACHE_RULE: Schema = Schema {
    service: "ecr",
    kind: "PullThroughCacheRule",
    identity: Identity::Name(&["ecrRepositoryPrefix"]),
    fields: &[
        field("ecrRepositoryPrefix").fixed(),
        field("upstreamRegistryURL").fixed(),
        // Only a name for what the URL says; rules that are older than the field tell none.
        field("upstreamRegistry").once(),
        field("upstreamRepositoryPrefix").fixed(),
        field("credentialARN"),
        field("customRoleARN"),
    ],
    references: &[
        refers("credentialARN", "credentialRef", "secretsmanager", "Secret", "arn"),
        refers("customRoleARN", "customRoleRef", "iam", "Role", "arn"),
    ],
    tags: Tags::None,
    arn: None,
    seconds: 1,
};

pub(super) const KINDS: &[&dyn Kind] = &[&Repository, &PullThroughCacheRule];

struct Repository;

#[async_trait]
impl Kind for Repository {
    fn schema(&self) -> &'static Schema {
        &REPOSITORY
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let wanted: BTreeMap<&str, &Value> = wanted.iter().filter_map(|wanted| Some((wanted.text("name")?, &wanted.spec))).collect();
        let mut found = Vec::new();
        // Not by names: one that is missing fails the whole call.
        let mut all = cloud.ecr().describe_repositories().max_results(1000).into_paginator().items().send();
        while let Some(repository) = all.next().await {
            let repository = repository.map_err(|error| CloudError::new("ecr DescribeRepositories", &error))?;
            if let Some(spec) = repository.repository_name().and_then(|name| wanted.get(name)) {
                found.push((repository, *spec));
            }
        }
        try_join_all(found.iter().map(|(repository, spec)| complete(cloud, repository, spec))).await
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud.ecr().create_repository().set_repository_name(wanted.text("name").map(str::to_owned));
        let call = call.set_image_tag_mutability(wanted.text("imageTagMutability").map(Into::into));
        let call = call.set_image_scanning_configuration(scanning(wanted)).set_encryption_configuration(encryption(wanted));
        let made = call.set_tags(Some(to_tags(&wanted.tags))).send().await;
        let made = made.map_err(|error| CloudError::new("ecr CreateRepository", &error))?;
        let made = made.repository().ok_or_else(|| CloudError::malformed("ecr CreateRepository", "repository"))?;
        Ok(living(made, &wanted.spec, [None, None], wanted.tags.clone()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let (ecr, name) = (cloud.ecr(), &living.id);
        let text = |path: &str| wanted.text(path).filter(|_| differs(differences, path));
        if let Some(mutability) = text("imageTagMutability") {
            let call = ecr.put_image_tag_mutability().repository_name(name).image_tag_mutability(mutability.into());
            call.send().await.map_err(|error| CloudError::new("ecr PutImageTagMutability", &error))?;
        }
        if differs(differences, "imageScanningConfiguration.scanOnPush") {
            let call = ecr.put_image_scanning_configuration().repository_name(name).set_image_scanning_configuration(scanning(wanted));
            call.send().await.map_err(|error| CloudError::new("ecr PutImageScanningConfiguration", &error))?;
        }
        if let Some(policy) = text("lifecyclePolicy") {
            let call = ecr.put_lifecycle_policy().repository_name(name).lifecycle_policy_text(policy);
            call.send().await.map_err(|error| CloudError::new("ecr PutLifecyclePolicy", &error))?;
        }
        if let Some(policy) = text("policy") {
            let call = ecr.set_repository_policy().repository_name(name).policy_text(policy);
            call.send().await.map_err(|error| CloudError::new("ecr SetRepositoryPolicy", &error))?;
        }
        if differs(differences, "tags") {
            let arn = living.status.pointer("/ackResourceMetadata/arn").and_then(Value::as_str).unwrap_or_default();
            let call = ecr.tag_resource().resource_arn(arn).set_tags(Some(to_tags(&wanted.declared.tags())));
            call.send().await.map_err(|error| CloudError::new("ecr TagResource", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let call = cloud.ecr().describe_repositories().repository_names(&living.id).send().await;
        let found = or_absent(call.map_err(|error| CloudError::new("ecr DescribeRepositories", &error)))?;
        match found.as_ref().and_then(|found| found.repositories().first()) {
            Some(repository) => complete(cloud, repository, &living.spec).await.map(Some),
            None => Ok(None),
        }
    }

    /// Not one that holds images.
    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.ecr().delete_repository().repository_name(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ecr DeleteRepository", &error))).map(drop)
    }

    async fn holds(&self, cloud: &Cloud, living: &Living) -> Result<Option<String>, CloudError> {
        let images = images(cloud, living).await?.len();
        Ok((images > 0).then(|| count(images, "image")))
    }

    async fn empty(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        for some in images(cloud, living).await?.chunks(100) {
            let call = cloud.ecr().batch_delete_image().repository_name(&living.id).set_image_ids(Some(some.to_vec()));
            call.send().await.map_err(|error| CloudError::new("ecr BatchDeleteImage", &error))?;
        }
        Ok(())
    }
}

async fn images(cloud: &Cloud, living: &Living) -> Result<Vec<ImageIdentifier>, CloudError> {
    let pages = cloud.ecr().list_images().repository_name(&living.id).into_paginator().items().send();
    let images = or_absent(pages.try_collect().await.map_err(|error| CloudError::new("ecr ListImages", &error)))?;
    Ok(images.unwrap_or_default())
}

fn scanning(wanted: &Wanted) -> Option<ImageScanningConfiguration> {
    let scan_on_push = wanted.flag("imageScanningConfiguration.scanOnPush")?;
    Some(ImageScanningConfiguration::builder().scan_on_push(scan_on_push).build())
}

fn encryption(wanted: &Wanted) -> Option<EncryptionConfiguration> {
    let key = wanted.text("encryptionConfiguration.kmsKey").map(str::to_owned);
    let kind = wanted.text("encryptionConfiguration.encryptionType")?;
    EncryptionConfiguration::builder().encryption_type(kind.into()).set_kms_key(key).build().ok()
}

fn to_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok()).collect()
}

/// A repository with what only further calls tell; `declared` gives the form of its values.
async fn complete(cloud: &Cloud, repository: &Described, declared: &Value) -> Result<Living, CloudError> {
    let (ecr, name) = (cloud.ecr(), repository.repository_name().unwrap_or_default());
    let policy = async {
        let call = ecr.get_repository_policy().repository_name(name).send().await;
        or_absent(call.map_err(|error| CloudError::new("ecr GetRepositoryPolicy", &error)))
    };
    let lifecycle = async {
        let call = ecr.get_lifecycle_policy().repository_name(name).send().await;
        or_absent(call.map_err(|error| CloudError::new("ecr GetLifecyclePolicy", &error)))
    };
    let tags = async {
        let call = ecr.list_tags_for_resource().set_resource_arn(repository.repository_arn.clone()).send().await;
        or_absent(call.map_err(|error| CloudError::new("ecr ListTagsForResource", &error)))
    };
    let (policy, lifecycle, tags) = Box::pin(try_join3(policy, lifecycle, tags)).await?;
    let tags = tags.and_then(|answer| answer.tags).unwrap_or_default().into_iter();
    let tags = tags.filter(|tag| !tag.key.starts_with("aws:")).map(|tag| (tag.key, tag.value)).collect();
    let policies = [policy.and_then(|answer| answer.policy_text), lifecycle.and_then(|answer| answer.lifecycle_policy_text)];
    Ok(living(repository, declared, policies, tags))
}

fn living(repository: &Described, declared: &Value, policies: [Option<String>; 2], tags: BTreeMap<String, String>) -> Living {
    let [policy, lifecycle] = policies;
    let name = repository.repository_name().unwrap_or_default();
    let encryption = repository.encryption_configuration();
    let scanning = repository.image_scanning_configuration().map(ImageScanningConfiguration::scan_on_push);
    let key = at(declared, "encryptionConfiguration.kmsKey").and_then(Value::as_str);
    let created = time(repository.created_at());
    Living {
        id: name.to_owned(),
        spec: json!({
            "name": name,
            "encryptionConfiguration": {
                "encryptionType": encryption.map(|encryption| encryption.encryption_type().as_str()),
                "kmsKey": encryption.and_then(EncryptionConfiguration::kms_key).map(|found| as_declared(found, key)),
            },
            "imageScanningConfiguration": {"scanOnPush": scanning},
            "imageTagMutability": repository.image_tag_mutability().map(ImageTagMutability::as_str),
            "lifecyclePolicy": lifecycle,
            "policy": policy,
        }),
        status: json!({
            "repositoryURI": repository.repository_uri(),
            "createdAt": created,
            "ackResourceMetadata": {"arn": repository.repository_arn()},
        }),
        tags,
        state: State::Ready,
        created,
    }
}

fn time(time: Option<&DateTime>) -> Option<String> {
    time?.fmt(DateTimeFormat::DateTime).ok()
}

struct PullThroughCacheRule;

#[async_trait]
impl Kind for PullThroughCacheRule {
    fn schema(&self) -> &'static Schema {
        &PULL_THROUGH_CACHE_RULE
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let prefixes: BTreeSet<&str> = wanted.iter().filter_map(|wanted| wanted.text("ecrRepositoryPrefix")).collect();
        let mut found = Vec::new();
        let mut all = cloud.ecr().describe_pull_through_cache_rules().max_results(1000).into_paginator().items().send();
        while let Some(rule) = all.next().await {
            let rule = rule.map_err(|error| CloudError::new("ecr DescribePullThroughCacheRules", &error))?;
            if rule.ecr_repository_prefix().is_some_and(|prefix| prefixes.contains(prefix)) {
                found.push(living_rule(&rule));
            }
        }
        Ok(found)
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let text = |path: &str| wanted.text(path).map(str::to_owned);
        let call = cloud
            .ecr()
            .create_pull_through_cache_rule()
            .set_ecr_repository_prefix(text("ecrRepositoryPrefix"))
            .set_upstream_registry_url(text("upstreamRegistryURL"))
            .set_upstream_registry(wanted.text("upstreamRegistry").map(Into::into))
            .set_upstream_repository_prefix(text("upstreamRepositoryPrefix"))
            .set_credential_arn(text("credentialARN"))
            .set_custom_role_arn(text("customRoleARN"));
        call.send().await.map_err(|error| CloudError::new("ecr CreatePullThroughCacheRule", &error))?;
        let id = text("ecrRepositoryPrefix").unwrap_or_default();
        Ok(Living { id, spec: wanted.spec.clone(), status: json!({}), tags: BTreeMap::new(), state: State::Ready, created: None })
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, _: &[Difference]) -> Result<(), CloudError> {
        let text = |path: &str| wanted.text(path).map(str::to_owned);
        let call = cloud.ecr().update_pull_through_cache_rule().ecr_repository_prefix(&living.id);
        let call = call.set_credential_arn(text("credentialARN")).set_custom_role_arn(text("customRoleARN"));
        call.send().await.map_err(|error| CloudError::new("ecr UpdatePullThroughCacheRule", &error)).map(drop)
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let call = cloud.ecr().describe_pull_through_cache_rules().ecr_repository_prefixes(&living.id).send().await;
        let found = or_absent(call.map_err(|error| CloudError::new("ecr DescribePullThroughCacheRules", &error)))?;
        Ok(found.and_then(|found| found.pull_through_cache_rules().first().map(living_rule)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.ecr().delete_pull_through_cache_rule().ecr_repository_prefix(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ecr DeletePullThroughCacheRule", &error))).map(drop)
    }
}

fn living_rule(rule: &Rule) -> Living {
    let created = time(rule.created_at());
    Living {
        id: rule.ecr_repository_prefix().unwrap_or_default().to_owned(),
        spec: json!({
            "ecrRepositoryPrefix": rule.ecr_repository_prefix(),
            "upstreamRegistryURL": rule.upstream_registry_url(),
            "upstreamRegistry": rule.upstream_registry().map(UpstreamRegistry::as_str),
            "upstreamRepositoryPrefix": rule.upstream_repository_prefix(),
            "credentialARN": rule.credential_arn(),
            "customRoleARN": rule.custom_role_arn(),
        }),
        status: json!({"createdAt": created}),
        tags: BTreeMap::new(),
        state: State::Ready,
        created,
    }
}
