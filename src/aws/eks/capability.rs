//! Capabilities: controllers that AWS runs for the cluster (ACK, Argo CD, kro).

use super::{CLUSTER, Member, ROLE, busy, issue, members, named, new_tags, place, refused, state, tag, tags, token};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, Wanted, differs};
use crate::aws::s3::form::{Form, given, take, time};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field};
use async_trait::async_trait;
use aws_sdk_eks::types::{
    self, ArgoCdConfigRequest, ArgoCdRoleMapping, CapabilityHealth, CapabilityIssueCode, CapabilityStatus, UpdateArgoCdConfig,
    UpdateCapabilityConfiguration, UpdateRoleMappings,
};
use serde_json::json;

const MAPPINGS: &str = "configuration.argoCD.rbacRoleMappings";

static CAPABILITY: Schema = Schema {
    service: "eks",
    kind: "Capability",
    identity: Identity::Name(&["clusterName", "name"]),
    fields: &[
        field("name").fixed(),
        field("clusterName").fixed(),
        field("configuration.argoCD.awsIDC.idcInstanceARN").fixed(),
        field("configuration.argoCD.awsIDC.idcRegion").fixed(),
        field("configuration.argoCD.namespace").fixed(),
        field("configuration.argoCD.networkAccess.vpceIDs").set(),
        field(MAPPINGS).set(),
        field("deletePropagationPolicy"),
        field("roleARN"),
        field("type").fixed(),
    ],
    references: &[CLUSTER, ROLE],
    tags: Tags::Map("tags"),
    arn: None,
    seconds: 120,
};

pub(super) struct Capability;

#[async_trait]
impl Member for Capability {
    fn key(wanted: &Wanted) -> Option<String> {
        wanted.text("name").map(str::to_owned)
    }

    async fn ids(cloud: &Cloud, cluster: &str) -> Result<Vec<(String, String)>, CloudError> {
        let found = cloud.eks().list_capabilities().cluster_name(cluster).into_paginator().items().send().try_collect().await;
        let found = found.map_err(|error| CloudError::new("eks ListCapabilities", &error))?;
        Ok(named(found.into_iter().filter_map(|one| one.capability_name).collect()))
    }

    async fn read(cloud: &Cloud, cluster: &str, name: &str) -> Result<Option<Living>, CloudError> {
        let found = cloud.eks().describe_capability().cluster_name(cluster).capability_name(name).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("eks DescribeCapability", &error)))?;
        Ok(found.as_ref().and_then(|found| found.capability()).map(living))
    }
}

#[async_trait]
impl Kind for Capability {
    fn schema(&self) -> &'static Schema {
        &CAPABILITY
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        members::<Self>(cloud, wanted).await
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        const OPERATION: &str = "eks CreateCapability";
        let call = given!(cloud.eks().create_capability(), &wanted.spec;
            "name" set_capability_name,
            "clusterName" set_cluster_name,
            "configuration" set_configuration,
            "deletePropagationPolicy" set_delete_propagation_policy,
            "roleARN" set_role_arn,
            "type" set_type,
        );
        let made = call.client_request_token(token(wanted)).set_tags(Some(new_tags(wanted))).send().await;
        let made = made.map_err(|error| refused(OPERATION, &error))?;
        made.capability().map(living).ok_or_else(|| CloudError::malformed(OPERATION, "capability"))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "tags") {
            tag(cloud, wanted, living).await?;
        }
        if differences.iter().all(|difference| difference.path == "tags") {
            return Ok(());
        }
        let (cluster, name) = place(living, "name");
        let call = cloud.eks().update_capability().cluster_name(cluster).capability_name(name);
        let call = given!(call, &wanted.spec; "deletePropagationPolicy" set_delete_propagation_policy, "roleARN" set_role_arn);
        let there: Option<Vec<ArgoCdRoleMapping>> = take(&living.spec, MAPPINGS)?;
        let configuration = new_configuration(take(&wanted.spec, "configuration.argoCD")?, &there.unwrap_or_default());
        call.set_configuration(configuration).send().await.map_err(|error| busy("eks UpdateCapability", &error)).map(drop)
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let (cluster, name) = place(living, "name");
        Self::read(cloud, cluster, name).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let (cluster, name) = place(living, "name");
        let deleted = cloud.eks().delete_capability().cluster_name(cluster).capability_name(name).send().await;
        or_absent(deleted.map_err(|error| busy("eks DeleteCapability", &error))).map(drop)
    }
}

/// Role mappings are told as what comes and what goes.
fn new_configuration(declared: Option<ArgoCdConfigRequest>, there: &[ArgoCdRoleMapping]) -> Option<UpdateCapabilityConfiguration> {
    let declared = declared?;
    let mappings = declared.rbac_role_mappings.as_ref().map(|mappings| {
        let coming = mappings.iter().filter(|one| !there.contains(one)).cloned().collect();
        let going = there.iter().filter(|one| !mappings.contains(one)).cloned().collect();
        UpdateRoleMappings::builder().set_add_or_update_role_mappings(Some(coming)).set_remove_role_mappings(Some(going)).build()
    });
    let argo_cd = UpdateArgoCdConfig::builder().set_network_access(declared.network_access).set_rbac_role_mappings(mappings).build();
    Some(UpdateCapabilityConfiguration::builder().argo_cd(argo_cd).build())
}

fn living(capability: &types::Capability) -> Living {
    let created = time(capability.created_at());
    let status = capability.status().map(CapabilityStatus::as_str);
    let issues = capability.health().map(CapabilityHealth::issues).unwrap_or_default().iter();
    Living {
        id: format!("{}/{}", capability.cluster_name().unwrap_or_default(), capability.capability_name().unwrap_or_default()),
        spec: capability.write(),
        status: json!({
            "ackResourceMetadata": {"arn": capability.arn()},
            "createdAt": created,
            "status": status,
            "version": capability.version(),
        }),
        tags: tags(capability.tags()),
        state: state(status, issues.map(|one| issue(one.code().map(CapabilityIssueCode::as_str), one.message()))),
        created,
    }
}
