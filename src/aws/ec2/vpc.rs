//! VPCs.

use super::{apart, arn, filter, once, state, tag, tag_specifications, tagged, tags, text, truth};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field};
use async_trait::async_trait;
use aws_sdk_ec2::operation::describe_vpc_attribute::DescribeVpcAttributeOutput;
use aws_sdk_ec2::operation::modify_vpc_attribute::builders::ModifyVpcAttributeFluentBuilder as Modify;
use aws_sdk_ec2::types::{
    self, AttributeBooleanValue, IpPermission, ResourceType, Tenancy, VpcAttributeName, VpcCidrBlockState, VpcCidrBlockStateCode,
};
use futures::future::{try_join, try_join_all};
use serde_json::{Map, Value, json};

static VPC: Schema = Schema {
    service: "ec2",
    kind: "VPC",
    identity: Identity::Tags,
    fields: &[
        field("cidrBlocks").set(),
        field("amazonProvidedIPv6CIDRBlock").fixed(),
        field("disallowSecurityGroupDefaultRules"),
        field("enableDNSHostnames"),
        field("enableDNSSupport"),
        field("enableNetworkAddressUsageMetrics"),
        field("instanceTenancy").fixed(),
        field("ipv4IPAMPoolID").once(),
        field("ipv6CIDRBlock").fixed(),
        field("ipv6CIDRBlockNetworkBorderGroup").fixed(),
        field("ipv6IPAMPoolID").once(),
        field("ipv6NetmaskLength").once(),
        field("ipv6Pool").fixed(),
    ],
    references: &[],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 3,
};

type Told = fn(&DescribeVpcAttributeOutput) -> Option<&AttributeBooleanValue>;
type Set = fn(Modify, AttributeBooleanValue) -> Modify;

/// Attributes, each read and set by a call of its own: ACK's field, AWS' name, how it is told, how it is set. Host names need support.
const ATTRIBUTES: &[(&str, &str, Told, Set)] = &[
    ("enableDNSSupport", "enableDnsSupport", DescribeVpcAttributeOutput::enable_dns_support, Modify::enable_dns_support),
    ("enableDNSHostnames", "enableDnsHostnames", DescribeVpcAttributeOutput::enable_dns_hostnames, Modify::enable_dns_hostnames),
    (
        "enableNetworkAddressUsageMetrics",
        "enableNetworkAddressUsageMetrics",
        DescribeVpcAttributeOutput::enable_network_address_usage_metrics,
        Modify::enable_network_address_usage_metrics,
    ),
];

pub(super) struct Vpc;

#[async_trait]
impl Kind for Vpc {
    fn schema(&self) -> &'static Schema {
        &VPC
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let vpcs = async {
            let pages = cloud.ec2().describe_vpcs().set_filters(tagged(wanted)).into_paginator().items().send();
            pages.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeVpcs", &error))
        };
        let (vpcs, groups) = try_join(vpcs, default_groups(cloud, None)).await?;
        let found = try_join_all(vpcs.iter().map(|vpc| complete(cloud, vpc, &groups))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud
            .ec2()
            .create_vpc()
            .set_cidr_block(wanted.texts("cidrBlocks").into_iter().next())
            .set_amazon_provided_ipv6_cidr_block(wanted.flag("amazonProvidedIPv6CIDRBlock"))
            .set_instance_tenancy(wanted.text("instanceTenancy").map(Tenancy::from))
            .set_ipv4_ipam_pool_id(text(wanted, "ipv4IPAMPoolID"))
            .set_ipv6_cidr_block(text(wanted, "ipv6CIDRBlock"))
            .set_ipv6_cidr_block_network_border_group(text(wanted, "ipv6CIDRBlockNetworkBorderGroup"))
            .set_ipv6_ipam_pool_id(text(wanted, "ipv6IPAMPoolID"))
            .set_ipv6_netmask_length(wanted.number("ipv6NetmaskLength").and_then(|length| length.try_into().ok()))
            .set_ipv6_pool(text(wanted, "ipv6Pool"))
            .tag_specifications(tag_specifications(ResourceType::Vpc, wanted));
        let made = call.customize().config_override(once()).send().await.map_err(|error| CloudError::new("ec2 CreateVpc", &error))?;
        let vpc = made.vpc().ok_or_else(|| CloudError::malformed("ec2 CreateVpc", "Vpc"))?;
        Ok(living(cloud, vpc, Map::new()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "cidrBlocks") {
            update_cidr_blocks(cloud, wanted, living).await?;
        }
        let mut changed: Vec<_> = ATTRIBUTES.iter().filter(|(field, ..)| differs(differences, field)).collect();
        if wanted.flag("enableDNSSupport") == Some(false) {
            changed.reverse();
        }
        for (field, _, _, set) in changed {
            let value = truth(wanted.flag(field).unwrap_or_default());
            let call = set(cloud.ec2().modify_vpc_attribute().vpc_id(&living.id), value);
            call.send().await.map_err(|error| CloudError::new("ec2 ModifyVpcAttribute", &error))?;
        }
        if differs(differences, "disallowSecurityGroupDefaultRules") && wanted.flag("disallowSecurityGroupDefaultRules") == Some(true) {
            revoke_default_rules(cloud, &living.id).await?;
        }
        if differs(differences, "tags") { tag(cloud, &living.id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let vpc = async {
            let found = cloud.ec2().describe_vpcs().vpc_ids(&living.id).send().await;
            found.map_err(|error| CloudError::new("ec2 DescribeVpcs", &error))
        };
        let Some((found, groups)) = or_absent(try_join(vpc, default_groups(cloud, Some(&living.id))).await)? else { return Ok(None) };
        let Some(vpc) = found.vpcs().first() else { return Ok(None) };
        complete(cloud, vpc, &groups).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.ec2().delete_vpc().vpc_id(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ec2 DeleteVpc", &error))).map(drop)
    }
}

/// With what only further calls tell.
async fn complete(cloud: &Cloud, vpc: &types::Vpc, groups: &[types::SecurityGroup]) -> Result<Option<Living>, CloudError> {
    let read = ATTRIBUTES.iter().map(|(field, name, told, _)| async move {
        let call = cloud.ec2().describe_vpc_attribute().set_vpc_id(vpc.vpc_id.clone()).attribute(VpcAttributeName::from(*name));
        let answer = call.send().await.map_err(|error| CloudError::new("ec2 DescribeVpcAttribute", &error))?;
        Ok(((*field).to_owned(), told(&answer).and_then(AttributeBooleanValue::value).into()))
    });
    let Some(attributes) = or_absent(try_join_all(read).await)? else { return Ok(None) };
    let mut more: Map<String, Value> = attributes.into_iter().collect();
    let group = groups.iter().find(|group| group.vpc_id() == vpc.vpc_id());
    more.insert("disallowSecurityGroupDefaultRules".into(), group.map(|group| default_rules(group) == (vec![], vec![])).into());
    Ok(Some(living(cloud, vpc, more)))
}

fn living(cloud: &Cloud, vpc: &types::Vpc, more: Map<String, Value>) -> Living {
    let id = vpc.vpc_id().unwrap_or_default();
    let blocks: Vec<_> = vpc.cidr_block_association_set().iter().filter(|block| is_there(block.cidr_block_state())).collect();
    let ipv6 = vpc.ipv6_cidr_block_association_set().iter().find(|block| is_there(block.ipv6_cidr_block_state()));
    let mut spec = json!({
        "cidrBlocks": blocks.iter().map(|block| block.cidr_block()).collect::<Vec<_>>(),
        "amazonProvidedIPv6CIDRBlock": ipv6.is_some_and(|block| block.ipv6_pool() == Some("Amazon")),
        "instanceTenancy": vpc.instance_tenancy().map(Tenancy::as_str),
        "ipv6CIDRBlock": ipv6.and_then(|block| block.ipv6_cidr_block()),
        "ipv6CIDRBlockNetworkBorderGroup": ipv6.and_then(|block| block.network_border_group()),
        "ipv6Pool": ipv6.and_then(|block| block.ipv6_pool()),
    });
    if let Some(spec) = spec.as_object_mut() {
        spec.extend(more);
    }
    let word = vpc.state().map_or("", |state| state.as_str());
    let associations: Vec<Value> =
        blocks.iter().map(|block| json!({"associationID": block.association_id(), "cidrBlock": block.cidr_block()})).collect();
    Living {
        id: id.to_owned(),
        spec,
        status: json!({
            "vpcID": id,
            "ownerID": vpc.owner_id(),
            "state": word,
            "cidrBlockAssociationSet": associations,
            "ackResourceMetadata": {"arn": arn(cloud, "vpc", id)},
        }),
        tags: tags(vpc.tags()),
        state: state(word, None),
        created: None,
    }
}

fn is_there(state: Option<&VpcCidrBlockState>) -> bool {
    matches!(state.and_then(VpcCidrBlockState::state), Some(VpcCidrBlockStateCode::Associated | VpcCidrBlockStateCode::Associating))
}

/// Adds and removes secondary blocks, as ACK does; AWS refuses to remove the primary one.
async fn update_cidr_blocks(cloud: &Cloud, wanted: &Wanted, living: &Living) -> Result<(), CloudError> {
    let (missing, surplus) = apart(wanted, living, "cidrBlocks");
    for block in missing {
        let call = cloud.ec2().associate_vpc_cidr_block().vpc_id(&living.id).cidr_block(block);
        call.send().await.map_err(|error| CloudError::new("ec2 AssociateVpcCidrBlock", &error))?;
    }
    let associations = living.status["cidrBlockAssociationSet"].as_array().into_iter().flatten();
    for association in associations.filter(|one| surplus.iter().any(|block| one["cidrBlock"] == block.as_str())) {
        let call = cloud.ec2().disassociate_vpc_cidr_block().set_association_id(association["associationID"].as_str().map(str::to_owned));
        call.send().await.map_err(|error| CloudError::new("ec2 DisassociateVpcCidrBlock", &error))?;
    }
    Ok(())
}

/// The security group that AWS makes with each VPC; of one, or of all.
async fn default_groups(cloud: &Cloud, vpc: Option<&str>) -> Result<Vec<types::SecurityGroup>, CloudError> {
    let filters = [filter("group-name", ["default"])].into_iter().chain(vpc.map(|id| filter("vpc-id", [id]))).collect();
    let pages = cloud.ec2().describe_security_groups().set_filters(Some(filters)).into_paginator().items().send();
    pages.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeSecurityGroups", &error))
}

/// The rules that AWS made with a default group and that are still there: all from the group itself, all to everywhere.
fn default_rules(group: &types::SecurityGroup) -> (Vec<IpPermission>, Vec<IpPermission>) {
    let all = || IpPermission::builder().ip_protocol("-1");
    let is_all = |rule: &&IpPermission| rule.ip_protocol() == Some("-1");
    let ingress = group.ip_permissions().iter().filter(is_all).flat_map(IpPermission::user_id_group_pairs);
    let egress = || group.ip_permissions_egress().iter().filter(is_all);
    let ranges = egress().flat_map(IpPermission::ip_ranges).filter(|range| range.cidr_ip() == Some("0.0.0.0/0"));
    let ipv6_ranges = egress().flat_map(IpPermission::ipv6_ranges).filter(|range| range.cidr_ipv6() == Some("::/0"));
    (
        ingress.filter(|pair| pair.group_id() == group.group_id()).map(|pair| all().user_id_group_pairs(pair.clone()).build()).collect(),
        ranges
            .map(|range| all().ip_ranges(range.clone()).build())
            .chain(ipv6_ranges.map(|range| all().ipv6_ranges(range.clone()).build()))
            .collect(),
    )
}

async fn revoke_default_rules(cloud: &Cloud, vpc: &str) -> Result<(), CloudError> {
    for group in default_groups(cloud, Some(vpc)).await? {
        let (ingress, egress) = default_rules(&group);
        if !ingress.is_empty() {
            let call = cloud.ec2().revoke_security_group_ingress().set_group_id(group.group_id.clone()).set_ip_permissions(Some(ingress));
            call.send().await.map_err(|error| CloudError::new("ec2 RevokeSecurityGroupIngress", &error))?;
        }
        if !egress.is_empty() {
            let call = cloud.ec2().revoke_security_group_egress().set_group_id(group.group_id.clone()).set_ip_permissions(Some(egress));
            call.send().await.map_err(|error| CloudError::new("ec2 RevokeSecurityGroupEgress", &error))?;
        }
    }
    Ok(())
}
