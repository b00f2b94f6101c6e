//! Managed policies of the account.

use super::{decode, details};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{given, tag_map, tags, time};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field};
use async_trait::async_trait;
use aws_sdk_iam::operation::get_account_authorization_details::GetAccountAuthorizationDetailsOutput;
use aws_sdk_iam::types::{self, EntityType, ManagedPolicyDetail, PolicyVersion};
use futures::future::try_join_all;
use serde_json::json;
use std::collections::BTreeSet;

/// IAM keeps no more versions of a policy.
const VERSIONS: usize = 5;

static POLICY: Schema = Schema {
    service: "iam",
    kind: "Policy",
    identity: Identity::Name(&["name"]),
    fields: &[field("name").fixed(), field("description").fixed(), field("path").fixed(), field("policyDocument").policy()],
    references: &[],
    tags: Tags::List("tags"),
    arn: Some("arn:{partition}:iam::{account}:policy{path|/}{name}"),
    seconds: 2,
};

pub(super) struct Policy;

#[async_trait]
impl Kind for Policy {
    fn schema(&self) -> &'static Schema {
        &POLICY
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let names: BTreeSet<&str> = wanted.iter().filter_map(|wanted| wanted.text("name")).collect();
        let pages = details(cloud, EntityType::LocalManagedPolicy).await?;
        let there = pages.iter().flat_map(GetAccountAuthorizationDetailsOutput::policies);
        let there = there.filter(|detail| name(detail).is_some_and(|name| names.contains(name)));
        try_join_all(there.map(|detail| with_tags(cloud, detail))).await
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        const OPERATION: &str = "iam CreatePolicy";
        let call = given!(cloud.iam().create_policy().set_tags(tags(&wanted.tags)?), &wanted.spec;
            "description" set_description,
            "name" set_policy_name,
            "path" set_path,
            "policyDocument" set_policy_document,
        );
        let made = call.send().await.map_err(|error| CloudError::new(OPERATION, &error))?;
        let policy = made.policy().ok_or_else(|| CloudError::malformed(OPERATION, "Policy"))?;
        Ok(living(policy, None))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let arn = &living.id;
        if differs(differences, "policyDocument") {
            let versions = versions(cloud, arn).await?;
            if versions.len() >= VERSIONS
                && let Some(oldest) = oldest(&versions)
            {
                forget(cloud, arn, oldest).await?;
            }
            let call = cloud.iam().create_policy_version().policy_arn(arn).set_as_default(true);
            let call = given!(call, &wanted.spec; "policyDocument" set_policy_document);
            call.send().await.map_err(|error| CloudError::new("iam CreatePolicyVersion", &error))?;
        }
        if differs(differences, "tags") {
            let call = cloud.iam().tag_policy().policy_arn(arn).set_tags(tags(&wanted.declared.tags())?);
            call.send().await.map_err(|error| CloudError::new("iam TagPolicy", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        or_absent(read(cloud, &living.id).await)
    }

    /// IAM deletes no policy that still has former versions.
    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let Some(versions) = or_absent(versions(cloud, &living.id).await)? else { return Ok(()) };
        let former = versions.iter().filter(|version| !version.is_default_version());
        try_join_all(former.map(|version| forget(cloud, &living.id, version))).await?;
        let deleted = cloud.iam().delete_policy().policy_arn(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("iam DeletePolicy", &error))).map(drop)
    }
}

async fn versions(cloud: &Cloud, arn: &str) -> Result<Vec<PolicyVersion>, CloudError> {
    let versions = cloud.iam().list_policy_versions().policy_arn(arn).into_paginator().items().send().try_collect().await;
    versions.map_err(|error| CloudError::new("iam ListPolicyVersions", &error))
}

fn oldest(versions: &[PolicyVersion]) -> Option<&PolicyVersion> {
    let former = versions.iter().filter(|version| !version.is_default_version());
    former.min_by_key(|version| version.create_date().map(|time| (time.secs(), time.subsec_nanos())))
}

async fn forget(cloud: &Cloud, arn: &str, version: &PolicyVersion) -> Result<(), CloudError> {
    let call = cloud.iam().delete_policy_version().policy_arn(arn).set_version_id(version.version_id().map(str::to_owned));
    or_absent(call.send().await.map_err(|error| CloudError::new("iam DeletePolicyVersion", &error))).map(drop)
}

/// The account's details tell all of a policy but its tags.
fn name(detail: &ManagedPolicyDetail) -> Option<&str> {
    detail.arn()?.rsplit('/').next()
}

async fn with_tags(cloud: &Cloud, detail: &ManagedPolicyDetail) -> Result<Living, CloudError> {
    let call = cloud.iam().list_policy_tags().policy_arn(detail.arn().unwrap_or_default());
    let tags = call.into_paginator().items().send().try_collect().await;
    let policy = types::Policy::builder()
        .set_arn(detail.arn.clone())
        .set_create_date(detail.create_date)
        .set_default_version_id(detail.default_version_id.clone())
        .set_description(detail.description.clone())
        .set_path(detail.path.clone())
        .set_policy_id(detail.policy_id.clone())
        .set_policy_name(name(detail).map(str::to_owned))
        .set_tags(Some(tags.map_err(|error| CloudError::new("iam ListPolicyTags", &error))?));
    let current = detail.policy_version_list().iter().find(|version| version.is_default_version());
    Ok(living(&policy.build(), current.and_then(|version| version.document())))
}

async fn read(cloud: &Cloud, arn: &str) -> Result<Living, CloudError> {
    let found = cloud.iam().get_policy().policy_arn(arn).send().await.map_err(|error| CloudError::new("iam GetPolicy", &error))?;
    let policy = found.policy().ok_or_else(|| CloudError::malformed("iam GetPolicy", "Policy"))?;
    let call = cloud.iam().get_policy_version().policy_arn(arn).set_version_id(policy.default_version_id.clone());
    let version = call.send().await.map_err(|error| CloudError::new("iam GetPolicyVersion", &error))?;
    Ok(living(policy, version.policy_version().and_then(|version| version.document())))
}

fn living(policy: &types::Policy, document: Option<&str>) -> Living {
    let created = time(policy.create_date());
    Living {
        id: policy.arn().unwrap_or_default().to_owned(),
        spec: json!({
            "name": policy.policy_name(),
            "description": policy.description(),
            "path": policy.path(),
            "policyDocument": document.map(decode),
        }),
        status: json!({
            "ackResourceMetadata": {"arn": policy.arn()},
            "createDate": created,
            "defaultVersionID": policy.default_version_id(),
            "policyID": policy.policy_id(),
        }),
        tags: tag_map(&policy.tags),
        state: State::Ready,
        created,
    }
}
