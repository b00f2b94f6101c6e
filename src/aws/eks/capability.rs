//! Capabilities: controllers that AWS runs for the cluster (ACK, Argo CD, kro).

use super::{CLUSTER, Member, ROLE, busy, elements, issue, members, new_tags, place, refused, state, tag, tags, text, texts, time, token};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field};
use async_trait::async_trait;
use aws_sdk_eks::types::{
    self, ArgoCdAwsIdcConfigRequest, ArgoCdConfigRequest, ArgoCdNetworkAccessConfigRequest, ArgoCdRole, ArgoCdRoleMapping,
    CapabilityConfigurationRequest, CapabilityDeletePropagationPolicy, CapabilityType, SsoIdentity, SsoIdentityType, UpdateArgoCdConfig,
    UpdateCapabilityConfiguration, UpdateRoleMappings,
};
use serde_json::{Value, json};

const ARGO_CD: &str = "configuration.argoCD";
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
        Ok(found.iter().filter_map(|one| one.capability_name()).map(|name| (name.to_owned(), name.to_owned())).collect())
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
        let spec = &wanted.spec;
        let call = cloud.eks().create_capability().set_cluster_name(text(spec, "clusterName")).set_capability_name(text(spec, "name"));
        let call = call.set_type(text(spec, "type").map(|kind| CapabilityType::from(kind.as_str()))).set_role_arn(text(spec, "roleARN"));
        let call = call.set_delete_propagation_policy(propagation(spec)).set_configuration(configuration(spec, OPERATION)?);
        let made = call.client_request_token(token(wanted)).set_tags(Some(new_tags(wanted))).send().await;
        let made = made.map_err(|error| refused(OPERATION, &error))?;
        let capability = made.capability().ok_or_else(|| CloudError::malformed(OPERATION, "capability"))?;
        Ok(living(capability))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        const OPERATION: &str = "eks UpdateCapability";
        if differs(differences, "tags") {
            tag(cloud, wanted, living).await?;
        }
        if differences.iter().all(|difference| difference.path == "tags") {
            return Ok(());
        }
        let (cluster, name) = place(living, "name");
        let call = cloud.eks().update_capability().cluster_name(cluster).capability_name(name).set_role_arn(text(&wanted.spec, "roleARN"));
        let call = call.set_delete_propagation_policy(propagation(&wanted.spec));
        let call = call.set_configuration(new_configuration(&wanted.spec, &living.spec, OPERATION)?);
        call.send().await.map_err(|error| busy(OPERATION, &error)).map(drop)
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

fn propagation(spec: &Value) -> Option<CapabilityDeletePropagationPolicy> {
    text(spec, "deletePropagationPolicy").map(|policy| CapabilityDeletePropagationPolicy::from(policy.as_str()))
}

fn configuration(spec: &Value, operation: &'static str) -> Result<Option<CapabilityConfigurationRequest>, CloudError> {
    let Some(here) = at(spec, ARGO_CD) else { return Ok(None) };
    let mut argo_cd = ArgoCdConfigRequest::builder().set_namespace(text(here, "namespace")).set_network_access(network(here));
    if let Some(identity) = at(here, "awsIDC") {
        let center = ArgoCdAwsIdcConfigRequest::builder().set_idc_region(text(identity, "idcRegion"));
        let center = center.set_idc_instance_arn(text(identity, "idcInstanceARN")).build();
        argo_cd = argo_cd.aws_idc(center.map_err(|error| CloudError::invalid(operation, error.to_string()))?);
    }
    if let Some(declared) = elements(spec, MAPPINGS) {
        argo_cd = argo_cd.set_rbac_role_mappings(Some(mappings(declared.iter(), operation)?));
    }
    Ok(Some(CapabilityConfigurationRequest::builder().argo_cd(argo_cd.build()).build()))
}

/// Role mappings are told as what comes and what goes.
fn new_configuration(spec: &Value, living: &Value, operation: &'static str) -> Result<Option<UpdateCapabilityConfiguration>, CloudError> {
    let Some(here) = at(spec, ARGO_CD) else { return Ok(None) };
    let mut argo_cd = UpdateArgoCdConfig::builder().set_network_access(network(here));
    if let Some(declared) = elements(spec, MAPPINGS) {
        let there = elements(living, MAPPINGS).unwrap_or_default();
        let coming = mappings(declared.iter().filter(|one| !there.contains(one)), operation)?;
        let going = mappings(there.iter().filter(|one| !declared.contains(one)), operation)?;
        let changes = UpdateRoleMappings::builder().set_add_or_update_role_mappings(Some(coming)).set_remove_role_mappings(Some(going));
        argo_cd = argo_cd.rbac_role_mappings(changes.build());
    }
    Ok(Some(UpdateCapabilityConfiguration::builder().argo_cd(argo_cd.build()).build()))
}

fn network(argo_cd: &Value) -> Option<ArgoCdNetworkAccessConfigRequest> {
    let endpoints = texts(argo_cd, "networkAccess.vpceIDs")?;
    Some(ArgoCdNetworkAccessConfigRequest::builder().set_vpce_ids(Some(endpoints)).build())
}

fn mappings<'a>(all: impl Iterator<Item = &'a Value>, operation: &'static str) -> Result<Vec<ArgoCdRoleMapping>, CloudError> {
    let identity = |one: &Value| {
        let kind = text(one, "type").map(|kind| SsoIdentityType::from(kind.as_str()));
        SsoIdentity::builder().set_id(text(one, "id")).set_type(kind).build()
    };
    let mapping = |one: &Value| {
        let role = text(one, "role").map(|role| ArgoCdRole::from(role.as_str()));
        let identities = elements(one, "identities").unwrap_or_default().iter().map(identity).collect::<Result<Vec<_>, _>>()?;
        ArgoCdRoleMapping::builder().set_role(role).set_identities(Some(identities)).build()
    };
    all.map(mapping).collect::<Result<_, _>>().map_err(|error| CloudError::invalid(operation, error.to_string()))
}

fn living(capability: &types::Capability) -> Living {
    let (cluster, name) = (capability.cluster_name().unwrap_or_default(), capability.capability_name().unwrap_or_default());
    let argo_cd = capability.configuration().and_then(|configuration| configuration.argo_cd());
    let center = argo_cd.and_then(|argo_cd| argo_cd.aws_idc());
    let mappings = argo_cd.map(|argo_cd| argo_cd.rbac_role_mappings()).unwrap_or_default().iter().map(|mapping| {
        let identities = mapping.identities().iter().map(|identity| json!({"id": identity.id(), "type": identity.r#type().as_str()}));
        json!({"role": mapping.role().as_str(), "identities": identities.collect::<Vec<_>>()})
    });
    let created = time(capability.created_at());
    let issues = capability.health().map(|health| health.issues()).unwrap_or_default();
    Living {
        id: format!("{cluster}/{name}"),
        spec: json!({
            "name": name,
            "clusterName": cluster,
            "configuration": {"argoCD": {
                "awsIDC": {
                    "idcInstanceARN": center.and_then(|center| center.idc_instance_arn()),
                    "idcRegion": center.and_then(|center| center.idc_region()),
                },
                "namespace": argo_cd.and_then(|argo_cd| argo_cd.namespace()),
                "networkAccess": {"vpceIDs": argo_cd.and_then(|argo_cd| argo_cd.network_access()).map(|network| network.vpce_ids())},
                "rbacRoleMappings": mappings.collect::<Vec<_>>(),
            }},
            "deletePropagationPolicy": capability.delete_propagation_policy().map(CapabilityDeletePropagationPolicy::as_str),
            "roleARN": capability.role_arn(),
            "type": capability.r#type().map(CapabilityType::as_str),
        }),
        status: json!({
            "ackResourceMetadata": {"arn": capability.arn()},
            "createdAt": created,
            "status": capability.status().map(|status| status.as_str()),
            "version": capability.version(),
        }),
        tags: tags(capability.tags()),
        state: state(
            capability.status().map(|status| status.as_str()),
            issues.iter().map(|one| issue(one.code().map(|code| code.as_str()), one.message())),
        ),
        created,
    }
}
