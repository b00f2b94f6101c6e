//! Subnets.

use super::route::{associate, associated, tables};
use super::{state, tag, tag_specifications, tags, text, truth};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, refers};
use async_trait::async_trait;
use aws_sdk_ec2::operation::modify_subnet_attribute::builders::ModifySubnetAttributeFluentBuilder as Modify;
use aws_sdk_ec2::types::{
    self, AttributeBooleanValue, HostnameType, PrivateDnsNameOptionsOnLaunch as Names, ResourceType, SubnetCidrBlockStateCode,
};
use futures::future::try_join;
use serde_json::{Value, json};

static SUBNET: Schema = Schema {
    service: "ec2",
    kind: "Subnet",
    identity: Identity::Key(&["vpcID", "cidrBlock"]),
    fields: &[
        field("assignIPv6AddressOnCreation"),
        field("availabilityZone").fixed(),
        field("availabilityZoneID").fixed(),
        field("cidrBlock").fixed(),
        field("customerOwnedIPv4Pool"),
        field("enableDNS64"),
        field("enableResourceNameDNSAAAARecord"),
        field("enableResourceNameDNSARecord"),
        field("hostnameType"),
        field("ipv6CIDRBlock").fixed(),
        field("ipv6Native").fixed(),
        field("mapPublicIPOnLaunch"),
        field("outpostARN").fixed(),
        field("routeTables").set(),
        field("vpcID").fixed(),
    ],
    references: &[
        refers("vpcID", "vpcRef", "ec2", "VPC", "vpcID"),
        // A table waits for its NAT gateway, for minutes, and what is made in the subnet need not; the gateway itself may be in this subnet.
        refers("routeTables[]", "routeTableRefs[]", "ec2", "RouteTable", "routeTableID").late(),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 3,
};

type Set = fn(Modify, &Value) -> Modify;

/// What only `ModifySubnetAttribute` sets, one in each call.
const ATTRIBUTES: &[(&str, Set)] = &[
    ("assignIPv6AddressOnCreation", |call, value| call.assign_ipv6_address_on_creation(flag(value))),
    ("customerOwnedIPv4Pool", |call, value| call.map_customer_owned_ip_on_launch(truth(true)).set_customer_owned_ipv4_pool(word(value))),
    ("enableDNS64", |call, value| call.enable_dns64(flag(value))),
    ("enableResourceNameDNSAAAARecord", |call, value| call.enable_resource_name_dns_aaaa_record_on_launch(flag(value))),
    ("enableResourceNameDNSARecord", |call, value| call.enable_resource_name_dns_a_record_on_launch(flag(value))),
    ("hostnameType", |call, value| call.set_private_dns_hostname_type_on_launch(word(value).as_deref().map(HostnameType::from))),
    ("mapPublicIPOnLaunch", |call, value| call.map_public_ip_on_launch(flag(value))),
];

fn flag(value: &Value) -> AttributeBooleanValue {
    truth(value.as_bool().unwrap_or_default())
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(super) struct Subnet;

#[async_trait]
impl Kind for Subnet {
    fn schema(&self) -> &'static Schema {
        &SUBNET
    }

    /// Without these, the controller does not survive an adopted subnet.
    fn adopted_with(&self) -> &'static [&'static str] {
        &["privateDNSNameOptionsOnLaunch"]
    }

    async fn list(&self, cloud: &Cloud, _: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let subnets = async {
            let pages = cloud.ec2().describe_subnets().into_paginator().items().send();
            pages.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeSubnets", &error))
        };
        let (subnets, tables) = try_join(subnets, tables(cloud, None)).await?;
        Ok(subnets.iter().map(|subnet| living(subnet, &tables)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud
            .ec2()
            .create_subnet()
            .set_vpc_id(text(wanted, "vpcID"))
            .set_availability_zone(text(wanted, "availabilityZone"))
            .set_availability_zone_id(text(wanted, "availabilityZoneID"))
            .set_cidr_block(text(wanted, "cidrBlock"))
            .set_ipv6_cidr_block(text(wanted, "ipv6CIDRBlock"))
            .set_ipv6_native(wanted.flag("ipv6Native"))
            .set_outpost_arn(text(wanted, "outpostARN"))
            .tag_specifications(tag_specifications(ResourceType::Subnet, wanted));
        let made = call.send().await.map_err(|error| CloudError::new("ec2 CreateSubnet", &error))?;
        let subnet = made.subnet().ok_or_else(|| CloudError::malformed("ec2 CreateSubnet", "Subnet"))?;
        Ok(living(subnet, &[]))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        for (field, set) in ATTRIBUTES.iter().filter(|(field, _)| differs(differences, field)) {
            let value = at(&wanted.spec, field).unwrap_or(&Value::Null);
            let call = set(cloud.ec2().modify_subnet_attribute().subnet_id(&living.id), value);
            call.send().await.map_err(|error| CloudError::new("ec2 ModifySubnetAttribute", &error))?;
        }
        if differs(differences, "routeTables") {
            associate(cloud, &wanted.texts("routeTables"), &living.id, vpc_of(living)).await?;
        }
        if differs(differences, "tags") { tag(cloud, &living.id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let subnet = async {
            let found = cloud.ec2().describe_subnets().subnet_ids(&living.id).send().await;
            found.map_err(|error| CloudError::new("ec2 DescribeSubnets", &error))
        };
        let Some((found, tables)) = or_absent(try_join(subnet, tables(cloud, vpc_of(living))).await)? else { return Ok(None) };
        Ok(found.subnets().first().map(|subnet| self::living(subnet, &tables)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.ec2().delete_subnet().subnet_id(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ec2 DeleteSubnet", &error))).map(drop)
    }
}

fn vpc_of(living: &Living) -> Option<&str> {
    at(&living.spec, "vpcID").and_then(Value::as_str)
}

fn living(subnet: &types::Subnet, tables: &[types::RouteTable]) -> Living {
    let id = subnet.subnet_id().unwrap_or_default();
    let is_gone = |code: Option<&SubnetCidrBlockStateCode>| {
        matches!(
            code,
            Some(SubnetCidrBlockStateCode::Disassociated | SubnetCidrBlockStateCode::Disassociating | SubnetCidrBlockStateCode::Failed)
        )
    };
    let mut ipv6 = subnet.ipv6_cidr_block_association_set().iter();
    let ipv6 = ipv6.find(|block| !is_gone(block.ipv6_cidr_block_state().and_then(|state| state.state())));
    let names = subnet.private_dns_name_options_on_launch();
    let names = json!({
        "hostnameType": names.and_then(Names::hostname_type).map(HostnameType::as_str),
        "enableResourceNameDNSARecord": names.and_then(Names::enable_resource_name_dns_a_record),
        "enableResourceNameDNSAAAARecord": names.and_then(Names::enable_resource_name_dns_aaaa_record),
    });
    let mut spec = json!({
        "assignIPv6AddressOnCreation": subnet.assign_ipv6_address_on_creation(),
        "availabilityZone": subnet.availability_zone(),
        "availabilityZoneID": subnet.availability_zone_id(),
        "cidrBlock": subnet.cidr_block(),
        "customerOwnedIPv4Pool": subnet.customer_owned_ipv4_pool(),
        "enableDNS64": subnet.enable_dns64(),
        "ipv6CIDRBlock": ipv6.and_then(|block| block.ipv6_cidr_block()),
        "ipv6Native": subnet.ipv6_native(),
        "mapPublicIPOnLaunch": subnet.map_public_ip_on_launch(),
        "outpostARN": subnet.outpost_arn(),
        "routeTables": associated(tables, id),
        "vpcID": subnet.vpc_id(),
    });
    if let (Some(spec), Some(names)) = (spec.as_object_mut(), names.as_object()) {
        spec.extend(names.clone());
    }
    let word = subnet.state().map_or("", |state| state.as_str());
    Living {
        id: id.to_owned(),
        spec,
        status: json!({
            "subnetID": id,
            "ownerID": subnet.owner_id(),
            "state": word,
            "privateDNSNameOptionsOnLaunch": names,
            "ackResourceMetadata": {"arn": subnet.subnet_arn()},
        }),
        tags: tags(subnet.tags()),
        state: state(word, None),
        created: None,
    }
}
