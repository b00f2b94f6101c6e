//! Add-ons.

use super::{CLUSTER, Member, busy, elements, issue, members, new_tags, place, refused, state, tag, tags, text, time, token};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, refers};
use async_trait::async_trait;
use aws_sdk_eks::types::{self, AddonPodIdentityAssociations, ResolveConflicts};
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
        let names = names.map_err(|error| CloudError::new("eks ListAddons", &error))?;
        Ok(names.into_iter().map(|name| (name.clone(), name)).collect())
    }

    async fn read(cloud: &Cloud, cluster: &str, name: &str) -> Result<Option<Living>, CloudError> {
        let found = cloud.eks().describe_addon().cluster_name(cluster).addon_name(name).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("eks DescribeAddon", &error)))?;
        let Some(addon) = found.as_ref().and_then(|found| found.addon()) else { return Ok(None) };
        // The add-on tells their ARNs only.
        let associations = addon.pod_identity_associations().iter().map(|arn| association(cloud, cluster, arn));
        let associations = try_join_all(associations).await?;
        Ok(Some(living(addon, associations.into_iter().flatten().collect())))
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
        let spec = &wanted.spec;
        let call = cloud.eks().create_addon().set_cluster_name(text(spec, "clusterName")).set_addon_name(text(spec, "name"));
        let call = call.set_addon_version(text(spec, "addonVersion")).set_configuration_values(text(spec, "configurationValues"));
        let call = call.set_pod_identity_associations(identities(spec, OPERATION)?).set_resolve_conflicts(conflicts(spec));
        let call = call.set_service_account_role_arn(text(spec, "serviceAccountRoleARN"));
        let made = call.client_request_token(token(wanted)).set_tags(Some(new_tags(wanted))).send().await;
        let made = made.map_err(|error| refused(OPERATION, &error))?;
        let addon = made.addon().ok_or_else(|| CloudError::malformed(OPERATION, "addon"))?;
        Ok(living(addon, Vec::new()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        const OPERATION: &str = "eks UpdateAddon";
        if differs(differences, "tags") {
            tag(cloud, wanted, living).await?;
        }
        if differences.iter().all(|difference| difference.path == "tags") {
            return Ok(());
        }
        let spec = &wanted.spec;
        let (cluster, name) = place(living, "name");
        // A role that is not named again would be taken away.
        let role = text(spec, "serviceAccountRoleARN").or_else(|| text(&living.spec, "serviceAccountRoleARN"));
        let call = cloud.eks().update_addon().cluster_name(cluster).addon_name(name).set_addon_version(text(spec, "addonVersion"));
        let call = call.set_configuration_values(text(spec, "configurationValues")).set_service_account_role_arn(role);
        let call = call.set_pod_identity_associations(identities(spec, OPERATION)?).set_resolve_conflicts(conflicts(spec));
        call.send().await.map_err(|error| busy(OPERATION, &error)).map(drop)
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

fn conflicts(spec: &Value) -> Option<ResolveConflicts> {
    text(spec, "resolveConflicts").map(|how| ResolveConflicts::from(how.as_str()))
}

fn identities(spec: &Value, operation: &'static str) -> Result<Option<Vec<AddonPodIdentityAssociations>>, CloudError> {
    let Some(declared) = elements(spec, "podIdentityAssociations") else { return Ok(None) };
    let identities = declared.iter().map(|one| {
        let identity = AddonPodIdentityAssociations::builder();
        let identity = identity.set_role_arn(text(one, "roleARN")).set_service_account(text(one, "serviceAccount")).build();
        identity.map_err(|error| CloudError::invalid(operation, error.to_string()))
    });
    identities.collect::<Result<_, _>>().map(Some)
}

/// One of an add-on's associations, in the words of its manifest.
async fn association(cloud: &Cloud, cluster: &str, arn: &str) -> Result<Option<Value>, CloudError> {
    let id = arn.rsplit('/').next().unwrap_or(arn);
    let found = cloud.eks().describe_pod_identity_association().cluster_name(cluster).association_id(id).send().await;
    let found = or_absent(found.map_err(|error| CloudError::new("eks DescribePodIdentityAssociation", &error)))?;
    let association = found.as_ref().and_then(|found| found.association());
    Ok(association.map(|one| json!({"roleARN": one.role_arn(), "serviceAccount": one.service_account()})))
}

fn living(addon: &types::Addon, associations: Vec<Value>) -> Living {
    let (cluster, name) = (addon.cluster_name().unwrap_or_default(), addon.addon_name().unwrap_or_default());
    let created = time(addon.created_at());
    let status = addon.status().map(|status| status.as_str());
    let issues = addon.health().map(|health| health.issues()).unwrap_or_default();
    Living {
        id: format!("{cluster}/{name}"),
        spec: json!({
            "name": name,
            "addonVersion": addon.addon_version(),
            "clusterName": cluster,
            "configurationValues": addon.configuration_values(),
            "podIdentityAssociations": associations,
            "serviceAccountRoleARN": addon.service_account_role_arn(),
        }),
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
            status => state(status, issues.iter().map(|one| issue(one.code().map(|code| code.as_str()), one.message()))),
        },
        created,
    }
}
