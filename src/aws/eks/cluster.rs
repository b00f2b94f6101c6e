//! The cluster itself.

use super::{ROLE, busy, issue, new_tags, refused, state, tag, tags, token};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, Wanted, differs};
use crate::aws::s3::form::{Form, given, take, time};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, put, refers};
use async_trait::async_trait;
use aws_sdk_eks::types::{
    self, ClusterHealth, ClusterIssueCode, ClusterStatus, ElasticLoadBalancing, KubernetesNetworkConfigRequest, LogSetup, LogType, Logging,
    UpdateAccessConfigRequest, VpcConfigRequest,
};
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const LOGS: &str = "logging.clusterLogging";

static CLUSTER: Schema = Schema {
    service: "eks",
    kind: "Cluster",
    identity: Identity::Name(&["name"]),
    fields: &[
        field("name").fixed(),
        field("accessConfig.authenticationMode"),
        field("accessConfig.bootstrapClusterCreatorAdminPermissions").once(),
        field("bootstrapSelfManagedAddons").once(),
        field("clientRequestToken").once(),
        field("computeConfig.enabled"),
        field("computeConfig.nodePools").set(),
        field("computeConfig.nodeRoleARN"),
        field("deletionProtection"),
        // AWS could add it to a living cluster, once and for ever, while its status says nothing of it: left to a person.
        field("encryptionConfig").fixed(),
        field("kubernetesNetworkConfig.elasticLoadBalancing.enabled"),
        field("kubernetesNetworkConfig.ipFamily").fixed(),
        field("kubernetesNetworkConfig.serviceIPv4CIDR").fixed(),
        field(LOGS),
        field("remoteNetworkConfig.remoteNodeNetworks").set(),
        field("remoteNetworkConfig.remotePodNetworks").set(),
        field("resourcesVPCConfig.endpointPrivateAccess"),
        field("resourcesVPCConfig.endpointPublicAccess"),
        field("resourcesVPCConfig.publicAccessCIDRs").set(),
        field("resourcesVPCConfig.securityGroupIDs").set(),
        field("resourcesVPCConfig.subnetIDs").set(),
        field("roleARN").fixed(),
        field("storageConfig.blockStorage.enabled"),
        field("upgradePolicy.supportType"),
        field("version"),
        field("zonalShiftConfig.enabled"),
    ],
    references: &[
        ROLE,
        refers("computeConfig.nodeRoleARN", "computeConfig.nodeRoleARN", "iam", "Role", "arn"),
        refers("encryptionConfig[].provider.keyARN", "encryptionConfig[].provider.keyRef", "kms", "Key", "arn"),
        refers("resourcesVPCConfig.securityGroupIDs[]", "resourcesVPCConfig.securityGroupRefs[]", "ec2", "SecurityGroup", "id"),
        refers("resourcesVPCConfig.subnetIDs[]", "resourcesVPCConfig.subnetRefs[]", "ec2", "Subnet", "subnetID"),
    ],
    tags: Tags::Map("tags"),
    arn: Some("arn:{partition}:eks:{region}:{account}:cluster/{name}"),
    seconds: 840,
};

pub(super) struct Cluster;

#[async_trait]
impl Kind for Cluster {
    fn schema(&self) -> &'static Schema {
        &CLUSTER
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let names = cloud.eks().list_clusters().into_paginator().items().send().try_collect().await;
        let names: BTreeSet<String> = names.map_err(|error| CloudError::new("eks ListClusters", &error))?.into_iter().collect();
        let there = wanted.iter().filter_map(|wanted| Some((wanted.text("name")?, &wanted.spec))).filter(|(name, _)| names.contains(*name));
        let found = try_join_all(there.map(|(name, spec)| read(cloud, name, spec))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        const OPERATION: &str = "eks CreateCluster";
        let call = given!(cloud.eks().create_cluster(), &wanted.spec;
            "accessConfig" set_access_config,
            "bootstrapSelfManagedAddons" set_bootstrap_self_managed_addons,
            "computeConfig" set_compute_config,
            "deletionProtection" set_deletion_protection,
            "encryptionConfig" set_encryption_config,
            "kubernetesNetworkConfig" set_kubernetes_network_config,
            "logging" set_logging,
            "name" set_name,
            "remoteNetworkConfig" set_remote_network_config,
            "resourcesVPCConfig" set_resources_vpc_config,
            "roleARN" set_role_arn,
            "storageConfig" set_storage_config,
            "upgradePolicy" set_upgrade_policy,
            "version" set_version,
            "zonalShiftConfig" set_zonal_shift_config,
        );
        let made = call.client_request_token(token(wanted)).set_tags(Some(new_tags(wanted))).send().await;
        let made = made.map_err(|error| refused(OPERATION, &error))?;
        let cluster = made.cluster().ok_or_else(|| CloudError::malformed(OPERATION, "cluster"))?;
        Ok(living(cluster, &wanted.spec))
    }

    /// AWS takes one kind of change at a time: the first that differs is made, and the next look tells of the others.
    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "tags") {
            tag(cloud, wanted, living).await?;
        }
        let Some(first) = differences.iter().map(|difference| difference.path).find(|path| *path != "tags") else { return Ok(()) };
        let (call, spec) = (cloud.eks().update_cluster_config().name(&living.id), &wanted.spec);
        let call = match first.split('.').next().unwrap_or(first) {
            "accessConfig" => {
                let mode = take(spec, "accessConfig.authenticationMode")?;
                call.access_config(UpdateAccessConfigRequest::builder().set_authentication_mode(mode).build())
            }
            // Auto Mode: all three in one call, or AWS refuses it.
            "computeConfig" | "kubernetesNetworkConfig" | "storageConfig" => {
                let balancing: Option<ElasticLoadBalancing> = take(spec, "kubernetesNetworkConfig.elasticLoadBalancing")?;
                let network =
                    balancing.map(|balancing| KubernetesNetworkConfigRequest::builder().elastic_load_balancing(balancing).build());
                let call = given!(call, spec; "computeConfig" set_compute_config, "storageConfig" set_storage_config);
                call.set_kubernetes_network_config(network)
            }
            "deletionProtection" => given!(call, spec; "deletionProtection" set_deletion_protection),
            "logging" => given!(call, spec; "logging" set_logging),
            "remoteNetworkConfig" => given!(call, spec; "remoteNetworkConfig" set_remote_network_config),
            "resourcesVPCConfig" if first.ends_with("IDs") => call.resources_vpc_config(networks(spec)?),
            "resourcesVPCConfig" => call.resources_vpc_config(access(spec)?),
            "upgradePolicy" => given!(call, spec; "upgradePolicy" set_upgrade_policy),
            "zonalShiftConfig" => given!(call, spec; "zonalShiftConfig" set_zonal_shift_config),
            "version" => return upgrade(cloud, wanted, living).await,
            _ => return Ok(()),
        };
        call.send().await.map_err(|error| busy("eks UpdateClusterConfig", &error)).map(drop)
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read(cloud, &living.id, &living.spec).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.eks().delete_cluster().name(&living.id).send().await;
        or_absent(deleted.map_err(|error| busy("eks DeleteCluster", &error))).map(drop)
    }

    fn poll(&self) -> u32 {
        5
    }
}

/// AWS takes either how its API is reached, or which networks it is in.
fn access(spec: &Value) -> Result<VpcConfigRequest, CloudError> {
    let access = given!(VpcConfigRequest::builder(), spec;
        "resourcesVPCConfig.endpointPrivateAccess" set_endpoint_private_access,
        "resourcesVPCConfig.endpointPublicAccess" set_endpoint_public_access,
        "resourcesVPCConfig.publicAccessCIDRs" set_public_access_cidrs,
    );
    Ok(access.build())
}

fn networks(spec: &Value) -> Result<VpcConfigRequest, CloudError> {
    let networks = given!(VpcConfigRequest::builder(), spec;
        "resourcesVPCConfig.securityGroupIDs" set_security_group_ids,
        "resourcesVPCConfig.subnetIDs" set_subnet_ids,
    );
    Ok(networks.build())
}

async fn upgrade(cloud: &Cloud, wanted: &Wanted, living: &Living) -> Result<(), CloudError> {
    const OPERATION: &str = "eks UpdateClusterVersion";
    let (from, to): (String, String) = (take(&living.spec, "version")?, take(&wanted.spec, "version")?);
    let next = next_version(&from, &to).ok_or_else(|| CloudError::invalid(OPERATION, format!("no way leads from {from} to {to}")))?;
    let call = cloud.eks().update_cluster_version().name(&living.id).version(next);
    call.send().await.map_err(|error| busy(OPERATION, &error)).map(drop)
}

/// AWS goes up, and one minor version at a time.
fn next_version(from: &str, to: &str) -> Option<String> {
    let minor = |version: &str| version.strip_prefix("1.")?.parse::<u32>().ok();
    let (from, to) = (minor(from)?, minor(to)?);
    (from < to).then(|| format!("1.{}", from + 1))
}

async fn read(cloud: &Cloud, name: &str, model: &Value) -> Result<Option<Living>, CloudError> {
    let found = cloud.eks().describe_cluster().name(name).send().await;
    let found = or_absent(found.map_err(|error| CloudError::new("eks DescribeCluster", &error)))?;
    Ok(found.as_ref().and_then(|found| found.cluster()).map(|cluster| living(cluster, model)))
}

/// `model` is a spec whose groups of logs are kept.
fn living(cluster: &types::Cluster, model: &Value) -> Living {
    let mut spec = cluster.write();
    put(&mut spec, LOGS, logs(&written(cluster), model));
    let created = time(cluster.created_at());
    let status = cluster.status().map(ClusterStatus::as_str);
    let issues = cluster.health().map(ClusterHealth::issues).unwrap_or_default().iter();
    Living {
        id: cluster.name().unwrap_or_default().to_owned(),
        spec,
        status: json!({
            "ackResourceMetadata": {"arn": cluster.arn()},
            "certificateAuthority": {"data": cluster.certificate_authority().and_then(|authority| authority.data())},
            "clusterSecurityGroupID": cluster.resources_vpc_config().and_then(|vpc| vpc.cluster_security_group_id()),
            "createdAt": created,
            "endpoint": cluster.endpoint(),
            "identity": {"oidc": {"issuer": cluster.identity().and_then(|identity| identity.oidc()).and_then(|oidc| oidc.issuer())}},
            "platformVersion": cluster.platform_version(),
            "status": status,
        }),
        tags: tags(cluster.tags()),
        state: state(status, issues.map(|one| issue(one.code().map(ClusterIssueCode::as_str), one.message()))),
        created,
    }
}

/// The logs that are written.
fn written(cluster: &types::Cluster) -> BTreeSet<&str> {
    let setups = cluster.logging().map(Logging::cluster_logging).unwrap_or_default().iter();
    setups.filter(|setup| setup.enabled() == Some(true)).flat_map(LogSetup::types).map(LogType::as_str).collect()
}

/// Which logs are written, in the groups of a manifest: AWS groups and orders them in its own way.
fn logs(written: &BTreeSet<&str>, model: &Value) -> Value {
    let Some(groups) = at(model, LOGS).and_then(Value::as_array) else {
        return json!([{"enabled": true, "types": written}]);
    };
    let groups = groups.iter().map(|group| {
        let types: Vec<&str> = group.get("types").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let enabled = match types.iter().filter(|one| written.contains(**one)).count() {
            0 => json!(false),
            all if all == types.len() => json!(true),
            _ => json!("in part"),
        };
        json!({"enabled": enabled, "types": types})
    });
    groups.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_go_up_one_minor_at_a_time() {
        assert_eq!(next_version("1.33", "1.35").as_deref(), Some("1.34"));
        assert_eq!(next_version("1.9", "1.10").as_deref(), Some("1.10"));
        assert_eq!(next_version("1.35", "1.35"), None);
        assert_eq!(next_version("1.35", "1.34"), None);
    }

    #[test]
    fn logs_are_told_in_the_groups_that_git_declares() {
        let declared = |third: Value| {
            json!([
                {"enabled": true, "types": ["scheduler", "api"]},
                {"enabled": false, "types": ["audit"]},
                {"enabled": third, "types": ["api", "audit"]},
            ])
        };
        let told = logs(&BTreeSet::from(["api", "scheduler"]), &json!({"logging": {"clusterLogging": declared(true.into())}}));
        assert_eq!(told, declared("in part".into()));
    }
}
