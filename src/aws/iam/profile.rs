//! Instance profiles: the role of an instance.

use super::PAGE;
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{given, tag_map, tags, time};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, refers};
use async_trait::async_trait;
use aws_sdk_iam::types;
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;

static INSTANCE_PROFILE: Schema = Schema {
    service: "iam",
    kind: "InstanceProfile",
    identity: Identity::Name(&["name"]),
    fields: &[field("name").fixed(), field("path").fixed(), field("role")],
    references: &[refers("role", "roleRef", "iam", "Role", "name")],
    tags: Tags::List("tags"),
    arn: Some("arn:{partition}:iam::{account}:instance-profile{path|/}{name}"),
    seconds: 2,
};

pub(super) struct InstanceProfile;

#[async_trait]
impl Kind for InstanceProfile {
    fn schema(&self) -> &'static Schema {
        &INSTANCE_PROFILE
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let names: BTreeSet<&str> = wanted.iter().filter_map(|wanted| wanted.text("name")).collect();
        let there = cloud.iam().list_instance_profiles().max_items(PAGE).into_paginator().items().send().try_collect().await;
        let there = there.map_err(|error| CloudError::new("iam ListInstanceProfiles", &error))?;
        // The list tells no tags.
        let wanted = there.iter().map(types::InstanceProfile::instance_profile_name).filter(|name| names.contains(name));
        let found = try_join_all(wanted.map(|name| read(cloud, name))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        const OPERATION: &str = "iam CreateInstanceProfile";
        let call = cloud.iam().create_instance_profile().set_tags(tags(&wanted.tags)?);
        let call = given!(call, &wanted.spec; "name" set_instance_profile_name, "path" set_path);
        let made = call.send().await.map_err(|error| CloudError::new(OPERATION, &error))?;
        let profile = made.instance_profile().ok_or_else(|| CloudError::malformed(OPERATION, "InstanceProfile"))?;
        Ok(living(profile))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let name = &living.id;
        if differs(differences, "role") {
            // A profile has room for one.
            leave(cloud, living).await?;
            let call = cloud.iam().add_role_to_instance_profile().instance_profile_name(name);
            let call = given!(call, &wanted.spec; "role" set_role_name);
            call.send().await.map_err(|error| CloudError::new("iam AddRoleToInstanceProfile", &error))?;
        }
        if differs(differences, "tags") {
            let call = cloud.iam().tag_instance_profile().instance_profile_name(name).set_tags(tags(&wanted.declared.tags())?);
            call.send().await.map_err(|error| CloudError::new("iam TagInstanceProfile", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read(cloud, &living.id).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let Some(living) = read(cloud, &living.id).await? else { return Ok(()) };
        leave(cloud, &living).await?;
        let deleted = cloud.iam().delete_instance_profile().instance_profile_name(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("iam DeleteInstanceProfile", &error))).map(drop)
    }
}

/// Takes the role out that is in it.
async fn leave(cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
    let Some(role) = at(&living.spec, "role").and_then(Value::as_str) else { return Ok(()) };
    let call = cloud.iam().remove_role_from_instance_profile().instance_profile_name(&living.id).role_name(role);
    or_absent(call.send().await.map_err(|error| CloudError::new("iam RemoveRoleFromInstanceProfile", &error))).map(drop)
}

async fn read(cloud: &Cloud, name: &str) -> Result<Option<Living>, CloudError> {
    let found = cloud.iam().get_instance_profile().instance_profile_name(name).send().await;
    let found = or_absent(found.map_err(|error| CloudError::new("iam GetInstanceProfile", &error)))?;
    Ok(found.as_ref().and_then(|found| found.instance_profile()).map(living))
}

fn living(profile: &types::InstanceProfile) -> Living {
    let created = time(Some(profile.create_date()));
    Living {
        id: profile.instance_profile_name().to_owned(),
        spec: json!({
            "name": profile.instance_profile_name(),
            "path": profile.path(),
            "role": profile.roles().first().map(types::Role::role_name),
        }),
        status: json!({
            "ackResourceMetadata": {"arn": profile.arn()},
            "createDate": created,
            "instanceProfileID": profile.instance_profile_id(),
        }),
        tags: tag_map(&profile.tags),
        state: State::Ready,
        created,
    }
}
