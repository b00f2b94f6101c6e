//! The parts of EKS' resources, field by field, in ACK's words.

use crate::aws::s3::form::{forms, words};
use aws_sdk_eks::types::{
    AccessConfigResponse, AccessEntry, AccessScope, AccessScopeType, Addon, AddonPodIdentityAssociations, AmiTypes,
    ArgoCdAwsIdcConfigRequest, ArgoCdAwsIdcConfigResponse, ArgoCdConfigRequest, ArgoCdConfigResponse, ArgoCdNetworkAccessConfigRequest,
    ArgoCdNetworkAccessConfigResponse, ArgoCdRole, ArgoCdRoleMapping, AssociatedAccessPolicy, AuthenticationMode, AutoScalingGroup,
    BlockStorage, Capability, CapabilityConfigurationRequest, CapabilityConfigurationResponse, CapabilityDeletePropagationPolicy,
    CapabilityType, CapacityTypes, Cluster, ComputeConfigRequest, ComputeConfigResponse, CreateAccessConfigRequest, ElasticLoadBalancing,
    EncryptionConfig, IpFamily, KubernetesNetworkConfigRequest, KubernetesNetworkConfigResponse, LaunchTemplateSpecification, LogSetup,
    LogType, Logging, Nodegroup, NodegroupResources, NodegroupScalingConfig, NodegroupUpdateConfig, PodIdentityAssociation, Provider,
    RemoteAccessConfig, RemoteNetworkConfigRequest, RemoteNetworkConfigResponse, RemoteNodeNetwork, RemotePodNetwork, ResolveConflicts,
    SsoIdentity, SsoIdentityType, StorageConfigRequest, StorageConfigResponse, SupportType, Taint, TaintEffect, UpgradePolicyRequest,
    UpgradePolicyResponse, VpcConfigRequest, VpcConfigResponse, ZonalShiftConfigRequest, ZonalShiftConfigResponse,
};

words! {
    AccessScopeType,
    AmiTypes,
    ArgoCdRole,
    AuthenticationMode,
    CapabilityDeletePropagationPolicy,
    CapabilityType,
    CapacityTypes,
    IpFamily,
    LogType,
    ResolveConflicts,
    SsoIdentityType,
    SupportType,
    TaintEffect,
}

/// Structures with the same fields: AWS often has one for the request and another for the answer.
macro_rules! alike {
    ($([$($type:ident),*] $table:tt)*) => { $($(forms! { $type $table })*)* };
}

alike! {
    [Cluster] {
        "accessConfig": access_config set_access_config,
        "computeConfig": compute_config set_compute_config,
        "deletionProtection": deletion_protection set_deletion_protection,
        "encryptionConfig": encryption_config set_encryption_config,
        "kubernetesNetworkConfig": kubernetes_network_config set_kubernetes_network_config,
        "name": name set_name,
        "remoteNetworkConfig": remote_network_config set_remote_network_config,
        "resourcesVPCConfig": resources_vpc_config set_resources_vpc_config,
        "roleARN": role_arn set_role_arn,
        "storageConfig": storage_config set_storage_config,
        "upgradePolicy": upgrade_policy set_upgrade_policy,
        "version": version set_version,
        "zonalShiftConfig": zonal_shift_config set_zonal_shift_config,
    }
    [CreateAccessConfigRequest, AccessConfigResponse] {
        "authenticationMode": authentication_mode set_authentication_mode,
        "bootstrapClusterCreatorAdminPermissions": bootstrap_cluster_creator_admin_permissions set_bootstrap_cluster_creator_admin_permissions,
    }
    [BlockStorage] {
        "enabled": enabled set_enabled,
    }
    [ComputeConfigRequest, ComputeConfigResponse] {
        "enabled": enabled set_enabled,
        "nodePools": node_pools set_node_pools,
        "nodeRoleARN": node_role_arn set_node_role_arn,
    }
    [ElasticLoadBalancing] {
        "enabled": enabled set_enabled,
    }
    [EncryptionConfig] {
        "provider": provider set_provider,
        "resources": resources set_resources,
    }
    [KubernetesNetworkConfigRequest, KubernetesNetworkConfigResponse] {
        "elasticLoadBalancing": elastic_load_balancing set_elastic_load_balancing,
        "ipFamily": ip_family set_ip_family,
        "serviceIPv4CIDR": service_ipv4_cidr set_service_ipv4_cidr,
    }
    [Logging] {
        "clusterLogging": cluster_logging set_cluster_logging,
    }
    [LogSetup] {
        "enabled": enabled set_enabled,
        "types": types set_types,
    }
    [Provider] {
        "keyARN": key_arn set_key_arn,
    }
    [RemoteNetworkConfigRequest, RemoteNetworkConfigResponse] {
        "remoteNodeNetworks": remote_node_networks set_remote_node_networks,
        "remotePodNetworks": remote_pod_networks set_remote_pod_networks,
    }
    [RemoteNodeNetwork] {
        "cidrs": cidrs set_cidrs,
    }
    [RemotePodNetwork] {
        "cidrs": cidrs set_cidrs,
    }
    [StorageConfigRequest, StorageConfigResponse] {
        "blockStorage": block_storage set_block_storage,
    }
    [UpgradePolicyRequest, UpgradePolicyResponse] {
        "supportType": support_type set_support_type,
    }
    [VpcConfigRequest, VpcConfigResponse] {
        "endpointPrivateAccess": endpoint_private_access set_endpoint_private_access,
        "endpointPublicAccess": endpoint_public_access set_endpoint_public_access,
        "publicAccessCIDRs": public_access_cidrs set_public_access_cidrs,
        "securityGroupIDs": security_group_ids set_security_group_ids,
        "subnetIDs": subnet_ids set_subnet_ids,
    }
    [ZonalShiftConfigRequest, ZonalShiftConfigResponse] {
        "enabled": enabled set_enabled,
    }

    [Nodegroup] {
        "amiType": ami_type set_ami_type,
        "capacityType": capacity_type set_capacity_type,
        "clusterName": cluster_name set_cluster_name,
        "diskSize": disk_size set_disk_size,
        "instanceTypes": instance_types set_instance_types,
        "labels": labels set_labels,
        "launchTemplate": launch_template set_launch_template,
        "nodeRole": node_role set_node_role,
        "name": nodegroup_name set_nodegroup_name,
        "releaseVersion": release_version set_release_version,
        "remoteAccess": remote_access set_remote_access,
        "scalingConfig": scaling_config set_scaling_config,
        "subnets": subnets set_subnets,
        "taints": taints set_taints,
        "updateConfig": update_config set_update_config,
        "version": version set_version,
    }
    [AutoScalingGroup] {
        "name": name set_name,
    }
    [LaunchTemplateSpecification] {
        "id": id set_id,
        "name": name set_name,
        "version": version set_version,
    }
    [NodegroupResources] {
        "autoScalingGroups": auto_scaling_groups set_auto_scaling_groups,
        "remoteAccessSecurityGroup": remote_access_security_group set_remote_access_security_group,
    }
    [NodegroupScalingConfig] {
        "desiredSize": desired_size set_desired_size,
        "maxSize": max_size set_max_size,
        "minSize": min_size set_min_size,
    }
    [NodegroupUpdateConfig] {
        "maxUnavailable": max_unavailable set_max_unavailable,
        "maxUnavailablePercentage": max_unavailable_percentage set_max_unavailable_percentage,
    }
    [RemoteAccessConfig] {
        "ec2SshKey": ec2_ssh_key set_ec2_ssh_key,
        "sourceSecurityGroups": source_security_groups set_source_security_groups,
    }
    [Taint] {
        "effect": effect set_effect,
        "key": key set_key,
        "value": value set_value,
    }

    [Addon] {
        "name": addon_name set_addon_name,
        "addonVersion": addon_version set_addon_version,
        "clusterName": cluster_name set_cluster_name,
        "configurationValues": configuration_values set_configuration_values,
        "serviceAccountRoleARN": service_account_role_arn set_service_account_role_arn,
    }
    [AddonPodIdentityAssociations] {
        "roleARN": role_arn set_role_arn,
        "serviceAccount": service_account set_service_account,
    }

    [AccessEntry] {
        "clusterName": cluster_name set_cluster_name,
        "kubernetesGroups": kubernetes_groups set_kubernetes_groups,
        "principalARN": principal_arn set_principal_arn,
        "type": r#type set_type,
        "username": username set_username,
    }
    [AccessScope] {
        "namespaces": namespaces set_namespaces,
        "type": r#type set_type,
    }
    [AssociatedAccessPolicy] {
        "accessScope": access_scope set_access_scope,
        "policyARN": policy_arn set_policy_arn,
    }
    [PodIdentityAssociation] {
        "clusterName": cluster_name set_cluster_name,
        "disableSessionTags": disable_session_tags set_disable_session_tags,
        "namespace": namespace set_namespace,
        "policy": policy set_policy,
        "roleARN": role_arn set_role_arn,
        "serviceAccount": service_account set_service_account,
        "targetRoleARN": target_role_arn set_target_role_arn,
    }

    [Capability] {
        "name": capability_name set_capability_name,
        "clusterName": cluster_name set_cluster_name,
        "configuration": configuration set_configuration,
        "deletePropagationPolicy": delete_propagation_policy set_delete_propagation_policy,
        "roleARN": role_arn set_role_arn,
        "type": r#type set_type,
    }
    [CapabilityConfigurationRequest, CapabilityConfigurationResponse] {
        "argoCD": argo_cd set_argo_cd,
    }
    [ArgoCdConfigRequest, ArgoCdConfigResponse] {
        "awsIDC": aws_idc set_aws_idc,
        "namespace": namespace set_namespace,
        "networkAccess": network_access set_network_access,
        "rbacRoleMappings": rbac_role_mappings set_rbac_role_mappings,
    }
    [ArgoCdAwsIdcConfigRequest, ArgoCdAwsIdcConfigResponse] {
        "idcInstanceARN": idc_instance_arn set_idc_instance_arn,
        "idcRegion": idc_region set_idc_region,
    }
    [ArgoCdNetworkAccessConfigRequest, ArgoCdNetworkAccessConfigResponse] {
        "vpceIDs": vpce_ids set_vpce_ids,
    }
    [ArgoCdRoleMapping] {
        "identities": identities set_identities,
        "role": role set_role,
    }
    [SsoIdentity] {
        "id": id set_id,
        "type": r#type set_type,
    }
}
