//! The cluster itself.

use super::{ROLE, busy, elements, issue, new_tags, refused, state, tag, tags, text, texts, time, token};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, put, refers};
use async_trait::async_trait;
use aws_sdk_eks::types::{
    self, AuthenticationMode, BlockStorage, ComputeConfigRequest, CreateAccessConfigRequest, ElasticLoadBalancing, EncryptionConfig, IpFamily,
    KubernetesNetworkConfigRequest, LogSetup, LogType, Logging, Provider, RemoteNetworkConfigRequest, RemoteNodeNetwork, RemotePodNetwork,
    StorageConfigRequest, SupportType, UpdateAccessConfigRequest, UpgradePolicyRequest, VpcConfigRequest, ZonalShiftConfigRequest,
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
        let spec = &wanted.spec;
        let call = cloud.eks().create_cluster().set_name(text(spec, "name")).set_version(text(spec, "version"));
        let call = call.set_role_arn(text(spec, "roleARN")).set_resources_vpc_config(vpc(wanted, true, true));
        let call = call.set_kubernetes_network_config(network(wanted, true)).set_logging(logging(spec));
        let call = call.set_encryption_config(encryption(spec)).set_access_config(access(wanted));
        let call = call.set_bootstrap_self_managed_addons(wanted.flag("bootstrapSelfManagedAddons")).set_upgrade_policy(upgrades(spec));
        let call = call.set_zonal_shift_config(zonal_shift(wanted)).set_remote_network_config(remote_networks(spec));
        let call = call.set_compute_config(compute(wanted)).set_storage_config(storage(wanted));
        let call = call.set_deletion_protection(wanted.flag("deletionProtection"));
        let made = call.client_request_token(token(wanted)).set_tags(Some(new_tags(wanted))).send().await;
        let made = made.map_err(|error| refused("eks CreateCluster", &error))?;
        let cluster = made.cluster().ok_or_else(|| CloudError::malformed("eks CreateCluster", "cluster"))?;
        Ok(living(cluster, spec))
    }

    /// AWS takes one kind of change at a time: the first that differs is made, and the next look tells of the others.
    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "tags") {
            tag(cloud, wanted, living).await?;
        }
        let spec = &wanted.spec;
        let is_changed = |parts: &[&str]| differences.iter().any(|difference| parts.iter().any(|part| difference.path.starts_with(part)));
        let call = cloud.eks().update_cluster_config().name(&living.id);
        let call = if is_changed(&["logging"]) {
            call.set_logging(logging(spec))
        } else if is_changed(&["resourcesVPCConfig.endpoint", "resourcesVPCConfig.publicAccessCIDRs"]) {
            call.set_resources_vpc_config(vpc(wanted, true, false))
        } else if is_changed(&["resourcesVPCConfig"]) {
            call.set_resources_vpc_config(vpc(wanted, false, true))
        } else if is_changed(&["accessConfig"]) {
            let mode = text(spec, "accessConfig.authenticationMode").map(|mode| AuthenticationMode::from(mode.as_str()));
            call.access_config(UpdateAccessConfigRequest::builder().set_authentication_mode(mode).build())
        } else if is_changed(&["upgradePolicy"]) {
            call.set_upgrade_policy(upgrades(spec))
        } else if is_changed(&["computeConfig", "storageConfig", "kubernetesNetworkConfig"]) {
            // Auto Mode: all three in one call, or AWS refuses it.
            call.set_compute_config(compute(wanted)).set_storage_config(storage(wanted)).set_kubernetes_network_config(network(wanted, false))
        } else if is_changed(&["zonalShiftConfig"]) {
            call.set_zonal_shift_config(zonal_shift(wanted))
        } else if is_changed(&["remoteNetworkConfig"]) {
            call.set_remote_network_config(remote_networks(spec))
        } else if is_changed(&["deletionProtection"]) {
            call.set_deletion_protection(wanted.flag("deletionProtection"))
        } else if is_changed(&["version"]) {
            return upgrade(cloud, wanted, living).await;
        } else {
            return Ok(());
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

async fn upgrade(cloud: &Cloud, wanted: &Wanted, living: &Living) -> Result<(), CloudError> {
    const OPERATION: &str = "eks UpdateClusterVersion";
    let (from, to) = (text(&living.spec, "version").unwrap_or_default(), wanted.text("version").unwrap_or_default());
    let next = next_version(&from, to).ok_or_else(|| CloudError::invalid(OPERATION, format!("no way leads from {from} to {to}")))?;
    let call = cloud.eks().update_cluster_version().name(&living.id).version(next);
    call.send().await.map_err(|error| busy(OPERATION, &error)).map(drop)
}

/// AWS goes up, and one minor version at a time.
fn next_version(from: &str, to: &str) -> Option<String> {
    let minor = |version: &str| version.strip_prefix("1.")?.parse::<u32>().ok();
    let (from, to) = (minor(from)?, minor(to)?);
    (from < to).then(|| format!("1.{}", from + 1))
}

fn vpc(wanted: &Wanted, with_access: bool, with_subnets: bool) -> Option<VpcConfigRequest> {
    let here = |field: &str| format!("resourcesVPCConfig.{field}");
    let mut vpc = VpcConfigRequest::builder();
    if with_access {
        vpc = vpc
            .set_endpoint_private_access(wanted.flag(&here("endpointPrivateAccess")))
            .set_endpoint_public_access(wanted.flag(&here("endpointPublicAccess")))
            .set_public_access_cidrs(texts(&wanted.spec, &here("publicAccessCIDRs")));
    }
    if with_subnets {
        vpc = vpc.set_subnet_ids(texts(&wanted.spec, &here("subnetIDs"))).set_security_group_ids(texts(&wanted.spec, &here("securityGroupIDs")));
    }
    at(&wanted.spec, "resourcesVPCConfig").map(|_| vpc.build())
}

/// Addresses count at creation only.
fn network(wanted: &Wanted, with_addresses: bool) -> Option<KubernetesNetworkConfigRequest> {
    let here = at(&wanted.spec, "kubernetesNetworkConfig")?;
    let balancing = here.get("elasticLoadBalancing").map(|_| {
        ElasticLoadBalancing::builder().set_enabled(wanted.flag("kubernetesNetworkConfig.elasticLoadBalancing.enabled")).build()
    });
    let mut network = KubernetesNetworkConfigRequest::builder().set_elastic_load_balancing(balancing);
    if with_addresses {
        let family = text(here, "ipFamily").map(|family| IpFamily::from(family.as_str()));
        network = network.set_ip_family(family).set_service_ipv4_cidr(text(here, "serviceIPv4CIDR"));
    }
    Some(network.build())
}

fn logging(spec: &Value) -> Option<Logging> {
    let setups = elements(spec, LOGS)?.iter().map(|setup| {
        let types = texts(setup, "types").map(|types| types.iter().map(|one| LogType::from(one.as_str())).collect());
        LogSetup::builder().set_types(types).set_enabled(setup.get("enabled").and_then(Value::as_bool)).build()
    });
    Some(Logging::builder().set_cluster_logging(Some(setups.collect())).build())
}

fn encryption(spec: &Value) -> Option<Vec<EncryptionConfig>> {
    let configs = elements(spec, "encryptionConfig")?.iter().map(|config| {
        let provider = Provider::builder().set_key_arn(text(config, "provider.keyARN")).build();
        EncryptionConfig::builder().set_resources(texts(config, "resources")).provider(provider).build()
    });
    Some(configs.collect())
}

fn access(wanted: &Wanted) -> Option<CreateAccessConfigRequest> {
    let here = at(&wanted.spec, "accessConfig")?;
    let access = CreateAccessConfigRequest::builder()
        .set_authentication_mode(text(here, "authenticationMode").map(|mode| AuthenticationMode::from(mode.as_str())))
        .set_bootstrap_cluster_creator_admin_permissions(wanted.flag("accessConfig.bootstrapClusterCreatorAdminPermissions"));
    Some(access.build())
}

fn upgrades(spec: &Value) -> Option<UpgradePolicyRequest> {
    let support = text(spec, "upgradePolicy.supportType")?;
    Some(UpgradePolicyRequest::builder().support_type(SupportType::from(support.as_str())).build())
}

fn zonal_shift(wanted: &Wanted) -> Option<ZonalShiftConfigRequest> {
    wanted.flag("zonalShiftConfig.enabled").map(|enabled| ZonalShiftConfigRequest::builder().enabled(enabled).build())
}

fn remote_networks(spec: &Value) -> Option<RemoteNetworkConfigRequest> {
    let here = at(spec, "remoteNetworkConfig")?;
    let cidrs = |path: &str| elements(here, path).map(|networks| networks.iter().map(|network| texts(network, "cidrs")).collect::<Vec<_>>());
    let nodes = cidrs("remoteNodeNetworks");
    let nodes = nodes.map(|all| all.into_iter().map(|cidrs| RemoteNodeNetwork::builder().set_cidrs(cidrs).build()).collect());
    let pods = cidrs("remotePodNetworks");
    let pods = pods.map(|all| all.into_iter().map(|cidrs| RemotePodNetwork::builder().set_cidrs(cidrs).build()).collect());
    Some(RemoteNetworkConfigRequest::builder().set_remote_node_networks(nodes).set_remote_pod_networks(pods).build())
}

fn compute(wanted: &Wanted) -> Option<ComputeConfigRequest> {
    let here = at(&wanted.spec, "computeConfig")?;
    let compute = ComputeConfigRequest::builder()
        .set_enabled(wanted.flag("computeConfig.enabled"))
        .set_node_pools(texts(here, "nodePools"))
        .set_node_role_arn(text(here, "nodeRoleARN"));
    Some(compute.build())
}

fn storage(wanted: &Wanted) -> Option<StorageConfigRequest> {
    let block = BlockStorage::builder().enabled(wanted.flag("storageConfig.blockStorage.enabled")?).build();
    Some(StorageConfigRequest::builder().block_storage(block).build())
}

async fn read(cloud: &Cloud, name: &str, model: &Value) -> Result<Option<Living>, CloudError> {
    let found = cloud.eks().describe_cluster().name(name).send().await;
    let found = or_absent(found.map_err(|error| CloudError::new("eks DescribeCluster", &error)))?;
    Ok(found.as_ref().and_then(|found| found.cluster()).map(|cluster| living(cluster, model)))
}

/// `model` is a spec whose groups of logs are kept.
fn living(cluster: &types::Cluster, model: &Value) -> Living {
    let vpc = cluster.resources_vpc_config();
    let network = cluster.kubernetes_network_config();
    let compute = cluster.compute_config();
    let remote = cluster.remote_network_config();
    let balancing = network.and_then(|network| network.elastic_load_balancing()).and_then(ElasticLoadBalancing::enabled);
    let block = cluster.storage_config().and_then(|storage| storage.block_storage()).and_then(BlockStorage::enabled);
    let nodes = remote.map(|remote| remote.remote_node_networks().iter().map(|one| json!({"cidrs": one.cidrs()})).collect::<Vec<_>>());
    let pods = remote.map(|remote| remote.remote_pod_networks().iter().map(|one| json!({"cidrs": one.cidrs()})).collect::<Vec<_>>());
    let encryption = cluster.encryption_config().iter().map(|config| {
        json!({"provider": {"keyARN": config.provider().and_then(Provider::key_arn)}, "resources": config.resources()})
    });
    let mut spec = json!({
        "name": cluster.name(),
        "accessConfig": {
            "authenticationMode": cluster.access_config().and_then(|access| access.authentication_mode()).map(AuthenticationMode::as_str),
        },
        "computeConfig": {
            "enabled": compute.and_then(|compute| compute.enabled()),
            "nodePools": compute.map(|compute| compute.node_pools()),
            "nodeRoleARN": compute.and_then(|compute| compute.node_role_arn()),
        },
        "deletionProtection": cluster.deletion_protection(),
        "encryptionConfig": encryption.collect::<Vec<_>>(),
        "kubernetesNetworkConfig": {
            "elasticLoadBalancing": {"enabled": balancing},
            "ipFamily": network.and_then(|network| network.ip_family()).map(IpFamily::as_str),
            "serviceIPv4CIDR": network.and_then(|network| network.service_ipv4_cidr()),
        },
        "remoteNetworkConfig": {"remoteNodeNetworks": nodes, "remotePodNetworks": pods},
        "resourcesVPCConfig": {
            "endpointPrivateAccess": vpc.map(|vpc| vpc.endpoint_private_access()),
            "endpointPublicAccess": vpc.map(|vpc| vpc.endpoint_public_access()),
            "publicAccessCIDRs": vpc.map(|vpc| vpc.public_access_cidrs()),
            "securityGroupIDs": vpc.map(|vpc| vpc.security_group_ids()),
            "subnetIDs": vpc.map(|vpc| vpc.subnet_ids()),
        },
        "roleARN": cluster.role_arn(),
        "storageConfig": {"blockStorage": {"enabled": block}},
        "upgradePolicy": {"supportType": cluster.upgrade_policy().and_then(|policy| policy.support_type()).map(SupportType::as_str)},
        "version": cluster.version(),
        "zonalShiftConfig": {"enabled": cluster.zonal_shift_config().and_then(|shift| shift.enabled())},
    });
    put(&mut spec, LOGS, logs(&written(cluster), model));
    let created = time(cluster.created_at());
    let issues = cluster.health().map(|health| health.issues()).unwrap_or_default();
    Living {
        id: cluster.name().unwrap_or_default().to_owned(),
        spec,
        status: json!({
            "ackResourceMetadata": {"arn": cluster.arn()},
            "certificateAuthority": {"data": cluster.certificate_authority().and_then(|authority| authority.data())},
            "clusterSecurityGroupID": vpc.and_then(|vpc| vpc.cluster_security_group_id()),
            "createdAt": created,
            "endpoint": cluster.endpoint(),
            "identity": {"oidc": {"issuer": cluster.identity().and_then(|identity| identity.oidc()).and_then(|oidc| oidc.issuer())}},
            "platformVersion": cluster.platform_version(),
            "status": cluster.status().map(|status| status.as_str()),
        }),
        tags: tags(cluster.tags()),
        state: state(
            cluster.status().map(|status| status.as_str()),
            issues.iter().map(|one| issue(one.code().map(|code| code.as_str()), one.message())),
        ),
        created,
    }
}

/// The logs that are written.
fn written(cluster: &types::Cluster) -> BTreeSet<&str> {
    let setups = cluster.logging().map(|logging| logging.cluster_logging()).unwrap_or_default();
    setups.iter().filter(|setup| setup.enabled() == Some(true)).flat_map(|setup| setup.types()).map(LogType::as_str).collect()
}

/// Which logs are written, in the groups of a manifest: AWS groups and orders them in its own way.
fn logs(written: &BTreeSet<&str>, model: &Value) -> Value {
    let Some(groups) = elements(model, LOGS) else {
        return json!([{"enabled": true, "types": written}]);
    };
    let groups = groups.iter().map(|group| {
        let types = texts(group, "types").unwrap_or_default();
        let enabled = match types.iter().filter(|one| written.contains(one.as_str())).count() {
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
        let model = json!({"logging": {"clusterLogging": [
            {"enabled": true, "types": ["scheduler", "api"]}, {"enabled": false, "types": ["audit"]}, {"enabled": true, "types": ["api", "audit"]},
        ]}});
        let told = logs(&BTreeSet::from(["api", "scheduler"]), &model);
        assert_eq!(told, json!([
            {"enabled": true, "types": ["scheduler", "api"]}, {"enabled": false, "types": ["audit"]}, {"enabled": "in part", "types": ["api", "audit"]},
        ]));
    }
}
