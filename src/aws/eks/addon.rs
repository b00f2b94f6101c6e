//! Add-ons.

use super::{CLUSTER, Member, busy, issue, members, named, new_tags, place, refused, state, tag, tags, token};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{Form, given, take, time};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, put, refers};
use async_trait::async_trait;
use aws_sdk_eks::types::{self, AddonHealth, AddonIssueCode, AddonStatus};
use futures::future::try_join_all;
use serde_json::{Value, json};

static ADDON: Schema = Schema {
    service: "eks",
    kind: "Addon",
    identity: Identity::Name(&["clusterName", "name"]),
    fields: &[
        field("name").fixed(),
        field("addonVersion"),
        field("clientRequestToken").once(),
        field("clusterName").fixed(),
        field("configurationValues").policy(),
        field("podIdentityAssociations").set(),
        field("resolveConflicts").once(),
        field("serviceAccountRoleARN"),
    ],
    references: &[
        CLUSTER,
        refers("podIdentityAssociations[].roleARN", "podIdentityAssociations[].roleARN", "iam", "Role", "arn"),
        refers("serviceAccountRoleARN", "serviceAccountRoleRef", "iam", "Role", "arn"),
    ],
    tags: Tags::Map("tags"),
    arn: None,
    seconds: 90,
};

pub(super) struct Addon;

#[async_trait]
impl Member for Addon {
    fn key(wanted: &Wanted) -> Option<String> {
        wanted.text("name").map(str::to_owned)
    }

    async fn ids(cloud: &Cloud, cluster: &str) -> Result<Vec<(String, String)>, CloudError> {
        let names = cloud.eks().list_addons().cluster_name(cluster).into_paginator().items().send().try_collect().await;
        names.map(named).map_err(|error| CloudError::new("eks ListAddons", &error))
    }

    async fn read(cloud: &Cloud, cluster: &str, name: &str) -> Result<Option<Living>, CloudError> {
        let found = cloud.eks().describe_addon().cluster_name(cluster).addon_name(name).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("eks DescribeAddon", &error)))?;
        let Some(addon) = found.as_ref().and_then(|found| found.addon()) else { return Ok(None) };
        // The add-on tells their ARNs only.
        let identities = addon.pod_identity_associations().iter().map(|arn| identity(cloud, cluster, arn));
        let identities: Value = try_join_all(identities).await?.into_iter().flatten().collect();
        let mut living = living(addon);
        put(&mut living.spec, "podIdentityAssociations", identities);
        Ok(Some(living))
    }
}

#[async_trait]
impl Kind for Addon {
    fn schema(&self) -> &'static Schema {
        &ADDON
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        members::<Self>(cloud, wanted).await
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        const OPERATION: &str = "eks CreateAddon";
        let call = given!(cloud.eks().create_addon(), &wanted.spec;
            "name" set_addon_name,
            "addonVersion" set_addon_version,
            "clusterName" set_cluster_name,
            "configurationValues" set_configuration_values,
            "podIdentityAssociations" set_pod_identity_associations,
            "resolveConflicts" set_resolve_conflicts,
            "serviceAccountRoleARN" set_service_account_role_arn,
        );
        let made = call.client_request_token(token(wanted)).set_tags(Some(new_tags(wanted))).send().await;
        let made = made.map_err(|error| refused(OPERATION, &error))?;
        made.addon().map(living).ok_or_else(|| CloudError::malformed(OPERATION, "addon"))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "tags") {
            tag(cloud, wanted, living).await?;
        }
        if differences.iter().all(|difference| difference.path == "tags") {
            return Ok(());
        }
        let (cluster, name) = place(living, "name");
        let call = cloud.eks().update_addon().cluster_name(cluster).addon_name(name);
        let call = given!(call, &wanted.spec;
            "addonVersion" set_addon_version,
            "configurationValues" set_configuration_values,
            "podIdentityAssociations" set_pod_identity_associations,
            "resolveConflicts" set_resolve_conflicts,
        );
        // A role that is not named again would be taken away.
        let role: Option<String> = take(&wanted.spec, "serviceAccountRoleARN")?;
        let call = call.set_service_account_role_arn(role.or(take(&living.spec, "serviceAccountRoleARN")?));
        call.send().await.map_err(|error| busy("eks UpdateAddon", &error)).map(drop)
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let (cluster, name) = place(living, "name");
        Self::read(cloud, cluster, name).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let (cluster, name) = place(living, "name");
        let deleted = cloud.eks().delete_addon().cluster_name(cluster).addon_name(name).send().await;
        or_absent(deleted.map_err(|error| busy("eks DeleteAddon", &error))).map(drop)
    }
}

/// One of an add-on's associations, in the words of its manifest.
async fn identity(cloud: &Cloud, cluster: &str, arn: &str) -> Result<Option<Value>, CloudError> {
    let id = arn.rsplit('/').next().unwrap_or(arn);
    let found = cloud.eks().describe_pod_identity_association().cluster_name(cluster).association_id(id).send().await;
    let found = or_absent(found.map_err(|error| CloudError::new("eks DescribePodIdentityAssociation", &error)))?;
    let association = found.as_ref().and_then(|found| found.association());
    Ok(association.map(|one| json!({"roleARN": one.role_arn(), "serviceAccount": one.service_account()})))
}

fn living(addon: &types::Addon) -> Living {
    let created = time(addon.created_at());
    let status = addon.status().map(AddonStatus::as_str);
    let issues = addon.health().map(AddonHealth::issues).unwrap_or_default().iter();
    Living {
        id: format!("{}/{}", addon.cluster_name().unwrap_or_default(), addon.addon_name().unwrap_or_default()),
        spec: addon.write(),
        status: json!({
            "ackResourceMetadata": {"arn": addon.addon_arn()},
            "createdAt": created,
            "owner": addon.owner(),
            "publisher": addon.publisher(),
            "status": status,
        }),
        tags: tags(addon.tags()),
        state: match status {
            // Installed; its pods may wait for nodes that a layer brings, or its former version runs on.
            Some("DEGRADED" | "UPDATE_FAILED") => State::Ready,
            status => state(status, issues.map(|one| issue(one.code().map(AddonIssueCode::as_str), one.message()))),
        },
        created,
    }
}
