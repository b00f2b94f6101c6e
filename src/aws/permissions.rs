//! The IAM actions of each kind's calls, for `preflight`: which of them a plan needs follows from what happens to each resource.
//!
//! Names as in the Service Authorization Reference; those of S3 differ from its operations. Which operations a kind calls stands in its file;
//! `tests/night` makes every kind and compares.

use crate::preflight::permissions::{Calls, Restores, Table};

/// All that a run calls.
pub const TABLE: Table = Table { calls: CALLS, restores: RESTORES, key: KEY };

/// To see whether a key can be used.
const KEY: &[&str] = &["kms:DescribeKey", "kms:ListResourceTags"];

/// Kinds whose data comes back from backups.
const RESTORES: &[Restores] = &[
    Restores {
        service: "dynamodb",
        kind: "Table",
        find: &["ListBackups"],
        // What it reads and writes for us in the new table has to be allowed too
        // (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/backuprestore_IAM.html>).
        make: &[
            "RestoreTableFromBackup",
            "BatchWriteItem",
            "DeleteItem",
            "GetItem",
            "PutItem",
            "Query",
            "Scan",
            "UpdateItem",
            // What no backup holds: the stream, the protection against deletion.
            "UpdateTable",
        ],
    },
    Restores { service: "ec2", kind: "Volume", find: &["DescribeSnapshots"], make: &["CreateVolume"] },
    Restores {
        service: "rds",
        kind: "DBInstance",
        find: &["DescribeDBSnapshots"],
        // A restored one gets what a restore does not take by a change.
        make: &["RestoreDBInstanceFromDBSnapshot", "ModifyDBInstance"],
    },
    Restores {
        service: "rds",
        kind: "DBCluster",
        find: &["DescribeDBClusterSnapshots"],
        make: &["RestoreDBClusterFromSnapshot", "ModifyDBCluster"],
    },
];

/// To see what there is for claims.
pub const CLAIMS: [&str; 2] = ["ec2:DescribeVolumes", "ec2:DescribeSnapshots"];

/// All kinds, and the volumes of claims.
const CALLS: &[Calls] = &[
    Calls {
        service: "dynamodb",
        kind: "Table",
        look: &["ListTables", "DescribeTable", "ListTagsOfResource", "DescribeContinuousBackups", "DescribeTimeToLive"],
        make: &["CreateTable"],
        mark: &["TagResource"],
        fields: &[("continuousBackups", &["UpdateContinuousBackups"]), ("timeToLive", &["UpdateTimeToLive"])],
        change: &["UpdateTable"],
    },
    Calls {
        service: "ec2",
        kind: "VPC",
        look: &["DescribeVpcs", "DescribeVpcAttribute", "DescribeSecurityGroups"],
        make: &["CreateVpc"],
        mark: &["CreateTags"],
        fields: &[
            ("cidrBlocks[1]", &["AssociateVpcCidrBlock"]),
            ("disallowSecurityGroupDefaultRules", &["RevokeSecurityGroupEgress", "RevokeSecurityGroupIngress"]),
            ("enableDNSHostnames", &["ModifyVpcAttribute"]),
            ("enableDNSSupport", &["ModifyVpcAttribute"]),
        ],
        change: &["ModifyVpcAttribute", "AssociateVpcCidrBlock", "DisassociateVpcCidrBlock"],
    },
    Calls {
        service: "ec2",
        kind: "Subnet",
        look: &["DescribeSubnets", "DescribeRouteTables"],
        make: &["CreateSubnet"],
        mark: &["CreateTags"],
        fields: &[
            ("routeTables", &["AssociateRouteTable"]),
            ("mapPublicIPOnLaunch", &["ModifySubnetAttribute"]),
            ("assignIPv6AddressOnCreation", &["ModifySubnetAttribute"]),
        ],
        change: &["ModifySubnetAttribute"],
    },
    Calls {
        service: "ec2",
        kind: "SecurityGroup",
        look: &["DescribeSecurityGroups"],
        make: &["CreateSecurityGroup"],
        mark: &["CreateTags"],
        fields: &[
            ("ingressRules", &["AuthorizeSecurityGroupIngress"]),
            ("egressRules", &["AuthorizeSecurityGroupEgress", "RevokeSecurityGroupEgress"]),
        ],
        change: &["RevokeSecurityGroupIngress", "RevokeSecurityGroupEgress"],
    },
    Calls {
        service: "ec2",
        kind: "InternetGateway",
        look: &["DescribeInternetGateways"],
        make: &["CreateInternetGateway", "AttachInternetGateway"],
        mark: &["CreateTags"],
        fields: &[],
        change: &["AttachInternetGateway"],
    },
    Calls {
        service: "ec2",
        kind: "NATGateway",
        look: &["DescribeNatGateways"],
        make: &["CreateNatGateway"],
        mark: &["CreateTags"],
        fields: &[],
        change: &[],
    },
    Calls {
        service: "ec2",
        kind: "ElasticIPAddress",
        look: &["DescribeAddresses"],
        make: &["AllocateAddress"],
        mark: &["CreateTags"],
        fields: &[],
        change: &[],
    },
    Calls {
        service: "ec2",
        kind: "RouteTable",
        look: &["DescribeRouteTables"],
        make: &["CreateRouteTable"],
        mark: &["CreateTags"],
        fields: &[("routes", &["CreateRoute"])],
        change: &["ReplaceRoute", "DeleteRoute"],
    },
    Calls {
        service: "ec2",
        kind: "VPCEndpoint",
        look: &["DescribeVpcEndpoints"],
        make: &["CreateVpcEndpoint"],
        mark: &["CreateTags"],
        fields: &[],
        change: &["ModifyVpcEndpoint"],
    },
    Calls {
        service: "ec2",
        kind: "LaunchTemplate",
        look: &["DescribeLaunchTemplates", "DescribeLaunchTemplateVersions"],
        make: &["CreateLaunchTemplate"],
        mark: &["CreateTags"],
        fields: &[("data.iamInstanceProfile", &["iam:PassRole"])],
        change: &["CreateLaunchTemplateVersion", "ModifyLaunchTemplate"],
    },
    Calls {
        service: "ec2",
        kind: "Volume",
        look: &["DescribeVolumes"],
        make: &["CreateVolume"],
        mark: &["CreateTags"],
        fields: &[("kmsKeyID", KEY)],
        change: &[],
    },
    Calls {
        service: "ec2",
        kind: "Instance",
        look: &["DescribeInstances"],
        make: &["RunInstances"],
        mark: &["CreateTags"],
        fields: &[("iamInstanceProfile", &["iam:PassRole"])],
        change: &["ModifyInstanceAttribute"],
    },
    Calls {
        service: "ecr",
        kind: "Repository",
        look: &["DescribeRepositories", "ListTagsForResource"],
        make: &["CreateRepository"],
        mark: &["TagResource"],
        fields: &[
            ("lifecyclePolicy", &["GetLifecyclePolicy", "PutLifecyclePolicy"]),
            ("policy", &["GetRepositoryPolicy", "SetRepositoryPolicy"]),
        ],
        change: &["PutImageScanningConfiguration", "PutImageTagMutability"],
    },
    Calls {
        service: "ecr",
        kind: "PullThroughCacheRule",
        look: &["DescribePullThroughCacheRules"],
        make: &["CreatePullThroughCacheRule"],
        mark: &[],
        fields: &[],
        change: &["UpdatePullThroughCacheRule"],
    },
    Calls {
        service: "eks",
        kind: "Cluster",
        look: &["ListClusters", "DescribeCluster"],
        make: &["CreateCluster", "iam:PassRole"],
        mark: &["TagResource"],
        fields: &[],
        change: &["UpdateClusterConfig", "UpdateClusterVersion"],
    },
    Calls {
        service: "eks",
        kind: "Nodegroup",
        look: &["ListNodegroups", "DescribeNodegroup"],
        make: &["CreateNodegroup", "iam:PassRole"],
        mark: &["TagResource"],
        fields: &[],
        change: &["UpdateNodegroupConfig", "UpdateNodegroupVersion"],
    },
    Calls {
        service: "eks",
        kind: "Capability",
        look: &["ListCapabilities", "DescribeCapability"],
        make: &["CreateCapability", "iam:PassRole"],
        mark: &["TagResource"],
        fields: &[],
        change: &["UpdateCapability"],
    },
    Calls {
        service: "eks",
        kind: "Addon",
        look: &["ListAddons", "DescribeAddon"],
        make: &["CreateAddon"],
        mark: &["TagResource"],
        fields: &[
            ("serviceAccountRoleARN", &["iam:PassRole"]),
            ("podIdentityAssociations", &["CreatePodIdentityAssociation", "iam:PassRole"]),
        ],
        change: &["UpdateAddon"],
    },
    Calls {
        service: "eks",
        kind: "AccessEntry",
        look: &["ListAccessEntries", "DescribeAccessEntry", "ListAssociatedAccessPolicies"],
        make: &["CreateAccessEntry"],
        mark: &["TagResource"],
        fields: &[("accessPolicies", &["AssociateAccessPolicy"])],
        change: &["UpdateAccessEntry"],
    },
    Calls {
        service: "eks",
        kind: "PodIdentityAssociation",
        look: &["ListPodIdentityAssociations", "DescribePodIdentityAssociation"],
        make: &["CreatePodIdentityAssociation", "iam:PassRole"],
        mark: &["TagResource"],
        fields: &[],
        change: &["UpdatePodIdentityAssociation"],
    },
    Calls {
        service: "elbv2",
        kind: "LoadBalancer",
        look: &["DescribeLoadBalancers", "DescribeTags", "DescribeLoadBalancerAttributes"],
        make: &["CreateLoadBalancer"],
        mark: &["AddTags"],
        fields: &[("attributes", &["ModifyLoadBalancerAttributes"])],
        change: &["SetIpAddressType", "SetSecurityGroups", "SetSubnets"],
    },
    Calls {
        service: "elbv2",
        kind: "TargetGroup",
        look: &["DescribeTargetGroups", "DescribeTags"],
        make: &["CreateTargetGroup"],
        mark: &["AddTags"],
        fields: &[("targets", &["DescribeTargetHealth", "RegisterTargets"])],
        change: &["ModifyTargetGroup"],
    },
    Calls {
        service: "elbv2",
        kind: "Listener",
        look: &["DescribeListeners", "DescribeLoadBalancers", "DescribeTags"],
        make: &["CreateListener"],
        mark: &["AddTags"],
        fields: &[],
        change: &["ModifyListener"],
    },
    Calls {
        service: "iam",
        kind: "Role",
        look: &["GetAccountAuthorizationDetails", "ListRoles"],
        make: &["CreateRole", "GetRole", "ListRolePolicies", "GetRolePolicy", "ListAttachedRolePolicies"],
        mark: &["TagRole"],
        fields: &[
            ("inlinePolicies", &["PutRolePolicy"]),
            ("policies", &["AttachRolePolicy"]),
            ("permissionsBoundary", &["PutRolePermissionsBoundary"]),
        ],
        change: &["UpdateRole", "UpdateAssumeRolePolicy"],
    },
    Calls {
        service: "iam",
        kind: "Policy",
        look: &["GetAccountAuthorizationDetails"],
        make: &["CreatePolicy", "GetPolicy", "GetPolicyVersion"],
        mark: &["TagPolicy"],
        fields: &[],
        change: &["CreatePolicyVersion", "ListPolicyVersions", "DeletePolicyVersion"],
    },
    Calls {
        service: "iam",
        kind: "InstanceProfile",
        look: &["ListInstanceProfiles", "GetInstanceProfile"],
        make: &["CreateInstanceProfile", "AddRoleToInstanceProfile", "iam:PassRole"],
        mark: &["TagInstanceProfile"],
        fields: &[],
        change: &["RemoveRoleFromInstanceProfile"],
    },
    Calls {
        service: "iam",
        kind: "OpenIDConnectProvider",
        look: &["ListOpenIDConnectProviders", "GetOpenIDConnectProvider"],
        make: &["CreateOpenIDConnectProvider"],
        mark: &["TagOpenIDConnectProvider"],
        fields: &[],
        change: &["AddClientIDToOpenIDConnectProvider", "RemoveClientIDFromOpenIDConnectProvider", "UpdateOpenIDConnectProviderThumbprint"],
    },
    Calls {
        service: "kms",
        kind: "Key",
        look: &["ListKeys", "DescribeKey", "ListResourceTags", "GetKeyPolicy", "GetKeyRotationStatus"],
        make: &["CreateKey"],
        mark: &["TagResource"],
        fields: &[("policy", &["PutKeyPolicy"]), ("enableKeyRotation", &["EnableKeyRotation"])],
        change: &["DisableKeyRotation", "UpdateKeyDescription"],
    },
    Calls {
        service: "kms",
        kind: "Alias",
        look: &["ListAliases"],
        make: &["CreateAlias"],
        mark: &[],
        fields: &[],
        change: &["UpdateAlias"],
    },
    Calls {
        service: "cloudwatchlogs",
        kind: "LogGroup",
        look: &["DescribeLogGroups", "ListTagsForResource"],
        make: &["CreateLogGroup"],
        mark: &["TagResource"],
        fields: &[("retentionDays", &["PutRetentionPolicy"])],
        change: &["PutLogGroupDeletionProtection", "AssociateKmsKey"],
    },
    Calls {
        service: "rds",
        kind: "DBInstance",
        look: &["DescribeDBInstances"],
        make: &["CreateDBInstance"],
        mark: &["AddTagsToResource"],
        fields: &[("dbSnapshotIdentifier", &["RestoreDBInstanceFromDBSnapshot"]), ("monitoringRoleARN", &["iam:PassRole"])],
        change: &["ModifyDBInstance"],
    },
    Calls {
        service: "rds",
        kind: "DBCluster",
        look: &["DescribeDBClusters"],
        make: &["CreateDBCluster"],
        mark: &["AddTagsToResource"],
        fields: &[("snapshotIdentifier", &["RestoreDBClusterFromSnapshot"]), ("monitoringRoleARN", &["iam:PassRole"])],
        change: &["ModifyDBCluster"],
    },
    Calls {
        service: "rds",
        kind: "DBSubnetGroup",
        look: &["DescribeDBSubnetGroups", "ListTagsForResource"],
        make: &["CreateDBSubnetGroup"],
        mark: &["AddTagsToResource"],
        fields: &[],
        change: &["ModifyDBSubnetGroup"],
    },
    Calls {
        service: "route53",
        kind: "HostedZone",
        look: &["ListHostedZones", "GetHostedZone", "ListTagsForResource"],
        make: &["CreateHostedZone"],
        mark: &["ChangeTagsForResource"],
        fields: &[],
        change: &["UpdateHostedZoneComment"],
    },
    Calls {
        service: "route53",
        kind: "RecordSet",
        look: &["ListHostedZones", "ListResourceRecordSets"],
        make: &["ChangeResourceRecordSets"],
        mark: &[],
        fields: &[],
        change: &["ChangeResourceRecordSets"],
    },
    Calls {
        service: "s3",
        kind: "Bucket",
        look: &["ListAllMyBuckets", "GetBucketTagging"],
        make: &["CreateBucket"],
        mark: &["PutBucketTagging"],
        fields: &[
            ("versioning", &["GetBucketVersioning", "PutBucketVersioning"]),
            ("objectLockEnabledForBucket", &["GetBucketObjectLockConfiguration", "PutBucketObjectLockConfiguration"]),
            ("objectLockConfiguration", &["GetBucketObjectLockConfiguration", "PutBucketObjectLockConfiguration"]),
            ("ownershipControls", &["GetBucketOwnershipControls", "PutBucketOwnershipControls"]),
            ("publicAccessBlock", &["GetBucketPublicAccessBlock", "PutBucketPublicAccessBlock"]),
            ("encryption", &["GetEncryptionConfiguration", "PutEncryptionConfiguration"]),
            ("policy", &["GetBucketPolicy", "PutBucketPolicy"]),
            ("lifecycle", &["GetLifecycleConfiguration", "PutLifecycleConfiguration"]),
            ("cors", &["GetBucketCORS", "PutBucketCORS"]),
            ("logging", &["GetBucketLogging", "PutBucketLogging"]),
            ("notification", &["GetBucketNotification", "PutBucketNotification"]),
            ("replication", &["GetReplicationConfiguration", "PutReplicationConfiguration", "iam:PassRole"]),
            ("accelerate", &["GetAccelerateConfiguration", "PutAccelerateConfiguration"]),
            ("requestPayment", &["GetBucketRequestPayment", "PutBucketRequestPayment"]),
            ("website", &["GetBucketWebsite", "PutBucketWebsite"]),
        ],
        change: &[],
    },
    Calls {
        service: "secretsmanager",
        kind: "Secret",
        look: &["DescribeSecret"],
        make: &["CreateSecret"],
        mark: &["TagResource"],
        fields: &[],
        change: &["UpdateSecret"],
    },
    Calls {
        service: "sns",
        kind: "Topic",
        look: &["ListTopics", "GetTopicAttributes", "ListTagsForResource"],
        make: &["CreateTopic"],
        mark: &["TagResource"],
        fields: &[("dataProtectionPolicy", &["GetDataProtectionPolicy", "PutDataProtectionPolicy"])],
        change: &["SetTopicAttributes"],
    },
    Calls {
        service: "sqs",
        kind: "Queue",
        look: &["ListQueues", "GetQueueAttributes", "ListQueueTags"],
        make: &["CreateQueue"],
        mark: &["TagQueue"],
        fields: &[],
        change: &["SetQueueAttributes"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_tells_what_it_needs_once() {
        let told: Vec<(&str, &str)> = CALLS.iter().map(|calls| (calls.service, calls.kind)).collect();
        let kinds = crate::aws::catalogue().into_iter().chain([&crate::aws::VOLUME]);
        let kinds: BTreeSet<(&str, &str)> = kinds.map(|schema| (schema.service, schema.kind)).collect();
        assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), kinds);
        assert_eq!(told.len(), kinds.len());
    }

    #[test]
    fn whatever_backups_are_kept_of_tells_how_it_comes_back() {
        for schema in crate::aws::catalogue().into_iter().chain([&crate::aws::VOLUME]) {
            let value = serde_json::json!({"kind": schema.kind, "metadata": {"name": "x"}, "spec": {}});
            let resource = crate::manifest::Resource { value, origin: None };
            let keeps = crate::restore::keeper(&crate::layers::infrastructure::Declared { schema, resource }).is_some();
            let told = RESTORES.iter().any(|one| (one.service, one.kind) == (schema.service, schema.kind));
            assert_eq!(told, keeps || schema.kind == "Volume", "{} {}", schema.service, schema.kind);
        }
    }

    #[test]
    fn fields_are_those_of_the_schema() {
        for calls in CALLS {
            let mut schemas = crate::aws::catalogue().into_iter().chain([&crate::aws::VOLUME]);
            let schema = schemas.find(|one| (one.service, one.kind) == (calls.service, calls.kind)).expect("a kind");
            for (path, _) in calls.fields {
                let declared = schema.fields.iter().any(|field| field.path.starts_with(path) || path.starts_with(field.path));
                let referred = schema.references.iter().any(|reference| reference.path.starts_with(path));
                assert!(declared || referred, "{} {}: {path}", calls.service, calls.kind);
            }
        }
    }
}
