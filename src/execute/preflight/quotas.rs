//! Limits of the account as far as its services tell them: no call is made for what is not to be made.

use super::Lower;
use crate::aws::{Cloud, CloudError};
use crate::preflight::quotas::{Limit, Most, room};
use crate::preflight::{Check, Group};
use aws_sdk_ec2::types::AccountAttribute;
use aws_sdk_elasticloadbalancingv2::types::LoadBalancerTypeEnum;
use aws_sdk_iam::types::SummaryKeyType;
use futures::future::{BoxFuture, join_all};
use std::collections::BTreeMap;

/// VPCs, and internet gateways, of a region unless it was raised (Amazon VPC user guide, "Amazon VPC quotas").
const VPCS: u64 = 5;

type Asked<'a> = BoxFuture<'a, Result<Vec<Limit>, CloudError>>;

pub(super) async fn look(lower: Lower<'_>) -> Vec<Check> {
    let mut planned: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for declared in lower.missing() {
        *planned.entry((declared.schema.service, declared.schema.kind)).or_default() += 1;
    }
    // What has no quota that anybody meets is not told of.
    planned.retain(|kind, _| COUNTED.contains(kind));
    let is_planned = |service: &str, kinds: &[&str]| planned.keys().any(|(other, kind)| *other == service && kinds.contains(kind));
    let cloud = lower.cloud;
    let mut asked: Vec<Asked<'_>> = Vec::new();
    if is_planned("ec2", &["VPC", "InternetGateway"]) {
        asked.push(Box::pin(networks(cloud)));
    }
    if is_planned("ec2", &["ElasticIPAddress"]) {
        asked.push(Box::pin(addresses(cloud)));
    }
    if is_planned("iam", &["Role", "Policy", "InstanceProfile"]) {
        asked.push(Box::pin(identities(cloud)));
    }
    if is_planned("rds", &["DBInstance", "DBCluster", "DBSubnetGroup"]) {
        asked.push(Box::pin(databases(cloud)));
    }
    if is_planned("elbv2", &["LoadBalancer", "TargetGroup"]) {
        asked.push(Box::pin(balancers(cloud)));
    }
    let mut limits = Vec::new();
    let mut checks = Vec::new();
    for told in join_all(asked).await {
        match told {
            Ok(some) => limits.extend(some),
            Err(error) => {
                let service = error.operation.split(' ').next().unwrap_or_default();
                planned.retain(|(other, _), _| *other != service);
                checks.push(Check::not_checked(Group::Quotas, service, error.to_string()));
            }
        }
    }
    checks.extend(room(&planned, &limits));
    checks
}

/// Kinds that people meet the quota of.
const COUNTED: &[(&str, &str)] = &[
    ("ec2", "ElasticIPAddress"),
    ("ec2", "InternetGateway"),
    ("ec2", "VPC"),
    ("eks", "Cluster"),
    ("elbv2", "LoadBalancer"),
    ("elbv2", "TargetGroup"),
    ("iam", "InstanceProfile"),
    ("iam", "Policy"),
    ("iam", "Role"),
    ("rds", "DBCluster"),
    ("rds", "DBInstance"),
    ("rds", "DBSubnetGroup"),
    ("s3", "Bucket"),
];

fn counted(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

async fn networks(cloud: &Cloud) -> Result<Vec<Limit>, CloudError> {
    let vpcs = cloud.ec2().describe_vpcs().into_paginator().items().send().try_collect().await;
    let vpcs = vpcs.map_err(|error| CloudError::new("ec2 DescribeVpcs", &error))?.len();
    let gateways = cloud.ec2().describe_internet_gateways().into_paginator().items().send().try_collect().await;
    let gateways = gateways.map_err(|error| CloudError::new("ec2 DescribeInternetGateways", &error))?.len();
    let limit = |kind, noun, used| Limit { kind: ("ec2", kind), noun, used: counted(used), most: Most::Usual(VPCS) };
    Ok(vec![limit("VPC", "VPCs", vpcs), limit("InternetGateway", "internet gateways", gateways)])
}

async fn addresses(cloud: &Cloud) -> Result<Vec<Limit>, CloudError> {
    let told = cloud.ec2().describe_account_attributes().attribute_names("vpc-max-elastic-ips".into()).send().await;
    let told = told.map_err(|error| CloudError::new("ec2 DescribeAccountAttributes", &error))?;
    let mut values = told.account_attributes().iter().flat_map(AccountAttribute::attribute_values);
    let Some(most) = values.find_map(|value| value.attribute_value()?.parse().ok()) else { return Ok(Vec::new()) };
    let used = cloud.ec2().describe_addresses().send().await.map_err(|error| CloudError::new("ec2 DescribeAddresses", &error))?;
    let used = counted(used.addresses().len());
    Ok(vec![Limit { kind: ("ec2", "ElasticIPAddress"), noun: "Elastic IP addresses", used, most: Most::Told(most) }])
}

async fn identities(cloud: &Cloud) -> Result<Vec<Limit>, CloudError> {
    use SummaryKeyType as Key;
    let told = cloud.iam().get_account_summary().send().await.map_err(|error| CloudError::new("iam GetAccountSummary", &error))?;
    let map = told.summary_map().cloned().unwrap_or_default();
    let number = |key: &Key| map.get(key).and_then(|number| u64::try_from(*number).ok());
    let all = [
        ("Role", "IAM roles", Key::Roles, Key::RolesQuota),
        ("Policy", "IAM policies", Key::Policies, Key::PoliciesQuota),
        ("InstanceProfile", "IAM instance profiles", Key::InstanceProfiles, Key::InstanceProfilesQuota),
    ];
    let limit = |(kind, noun, used, most): (&'static str, &'static str, Key, Key)| {
        Some(Limit { kind: ("iam", kind), noun, used: number(&used)?, most: Most::Told(number(&most)?) })
    };
    Ok(all.into_iter().filter_map(limit).collect())
}

async fn databases(cloud: &Cloud) -> Result<Vec<Limit>, CloudError> {
    let told =
        cloud.rds().describe_account_attributes().send().await.map_err(|error| CloudError::new("rds DescribeAccountAttributes", &error))?;
    let all = [
        ("DBInstance", "RDS instances", "DBInstances"),
        ("DBCluster", "RDS clusters", "DBClusters"),
        ("DBSubnetGroup", "RDS subnet groups", "DBSubnetGroups"),
    ];
    let limit = |(kind, noun, name): (&'static str, &'static str, &str)| {
        let quota = told.account_quotas().iter().find(|quota| quota.account_quota_name() == Some(name))?;
        let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        Some(Limit { kind: ("rds", kind), noun, used: number(quota.used())?, most: Most::Told(number(quota.max())?) })
    };
    Ok(all.into_iter().filter_map(limit).collect())
}

async fn balancers(cloud: &Cloud) -> Result<Vec<Limit>, CloudError> {
    let told =
        cloud.elbv2().describe_account_limits().send().await.map_err(|error| CloudError::new("elbv2 DescribeAccountLimits", &error))?;
    let most = |name: &str| told.limits().iter().find(|limit| limit.name() == Some(name)).and_then(|limit| limit.max()?.parse().ok());
    let living = cloud.elbv2().describe_load_balancers().into_paginator().items().send().try_collect().await;
    let living = living.map_err(|error| CloudError::new("elbv2 DescribeLoadBalancers", &error))?;
    let groups = cloud.elbv2().describe_target_groups().into_paginator().items().send().try_collect().await;
    let groups = groups.map_err(|error| CloudError::new("elbv2 DescribeTargetGroups", &error))?.len();
    let applications = living.iter().filter(|one| one.r#type() == Some(&LoadBalancerTypeEnum::Application)).count();
    let limit =
        |kind, noun, used, most: Option<u64>| Some(Limit { kind: ("elbv2", kind), noun, used: counted(used), most: Most::Told(most?) });
    let all = [
        limit("LoadBalancer", "application load balancers", applications, most("application-load-balancers")),
        limit("TargetGroup", "target groups", groups, most("target-groups")),
    ];
    Ok(all.into_iter().flatten().collect())
}
