//! Security groups. They are made empty, as they may name each other; their rules follow as differences.

use super::{arn, tag, tag_specifications, tags, text};
use crate::aws::elbv2::words::{ToWords, Words, words};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, refers};
use async_trait::async_trait;
use aws_sdk_ec2::types::{self, IpPermission, IpRange, Ipv6Range, PrefixListId, ResourceType, UserIdGroupPair};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

static SECURITY_GROUP: Schema = Schema {
    service: "ec2",
    kind: "SecurityGroup",
    identity: Identity::Name(&["vpcID", "name"]),
    fields: &[
        field("description").fixed(),
        field("egressRules").set(),
        field("ingressRules").set(),
        field("name").fixed(),
        field("vpcID").fixed(),
    ],
    references: &[
        refers("vpcID", "vpcRef", "ec2", "VPC", "vpcID"),
        refers("egressRules[].userIDGroupPairs[].groupID", "egressRules[].userIDGroupPairs[].groupRef", "ec2", "SecurityGroup", "id").late(),
        refers("egressRules[].userIDGroupPairs[].vpcID", "egressRules[].userIDGroupPairs[].vpcRef", "ec2", "VPC", "vpcID"),
        refers("ingressRules[].userIDGroupPairs[].groupID", "ingressRules[].userIDGroupPairs[].groupRef", "ec2", "SecurityGroup", "id").late(),
        refers("ingressRules[].userIDGroupPairs[].vpcID", "ingressRules[].userIDGroupPairs[].vpcRef", "ec2", "VPC", "vpcID"),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 2,
};

words! {
    [IpPermission] => [IpPermission] {
        from_port "fromPort"
        ip_protocol "ipProtocol"
        ip_ranges "ipRanges"
        ipv6_ranges "ipv6Ranges"
        prefix_list_ids "prefixListIDs"
        to_port "toPort"
        user_id_group_pairs "userIDGroupPairs"
    }
    [IpRange] => [IpRange] {
        cidr_ip "cidrIP"
        description "description"
    }
    [Ipv6Range] => [Ipv6Range] {
        cidr_ipv6 "cidrIPv6"
        description "description"
    }
    [PrefixListId] => [PrefixListId] {
        description "description"
        prefix_list_id "prefixListID"
    }
    [UserIdGroupPair] => [UserIdGroupPair] {
        description "description"
        group_id "groupID"
        group_name "groupName"
        peering_status "peeringStatus"
        user_id "userID"
        vpc_id "vpcID"
        vpc_peering_connection_id "vpcPeeringConnectionID"
    }
}

pub(super) struct SecurityGroup;

#[async_trait]
impl Kind for SecurityGroup {
    fn schema(&self) -> &'static Schema {
        &SECURITY_GROUP
    }

    async fn list(&self, cloud: &Cloud, _: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let groups = cloud.ec2().describe_security_groups().into_paginator().items().send();
        let groups: Vec<_> = groups.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeSecurityGroups", &error))?;
        Ok(groups.iter().map(|group| living(cloud, group)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud
            .ec2()
            .create_security_group()
            .set_description(text(wanted, "description"))
            .set_group_name(text(wanted, "name"))
            .set_vpc_id(text(wanted, "vpcID"))
            .tag_specifications(tag_specifications(ResourceType::SecurityGroup, wanted));
        let made = call.send().await.map_err(|error| CloudError::new("ec2 CreateSecurityGroup", &error))?;
        let id = made.group_id().ok_or_else(|| CloudError::malformed("ec2 CreateSecurityGroup", "GroupId"))?;
        Ok(living(cloud, &types::SecurityGroup::builder().group_id(id).build()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        for (rules, side) in [("ingressRules", Side::Ingress), ("egressRules", Side::Egress)] {
            // A rule whose group is not known yet would look like one that Git no longer declares.
            if differs(differences, rules) && !wanted.unknown.iter().any(|path| path.starts_with(rules)) {
                change(cloud, wanted, living, rules, side).await?;
            }
        }
        if differs(differences, "tags") { tag(cloud, &living.id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let found = cloud.ec2().describe_security_groups().group_ids(&living.id).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("ec2 DescribeSecurityGroups", &error)))?;
        Ok(found.as_ref().and_then(|found| found.security_groups().first()).map(|group| self::living(cloud, group)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.ec2().delete_security_group().group_id(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ec2 DeleteSecurityGroup", &error))).map(drop)
    }
}

fn living(cloud: &Cloud, group: &types::SecurityGroup) -> Living {
    let id = group.group_id().unwrap_or_default();
    let arn = group.security_group_arn().map_or_else(|| arn(cloud, "security-group", id), str::to_owned);
    Living {
        id: id.to_owned(),
        spec: json!({
            "description": group.description(),
            "egressRules": group.ip_permissions_egress.to_words(),
            "ingressRules": group.ip_permissions.to_words(),
            "name": group.group_name(),
            "vpcID": group.vpc_id(),
        }),
        status: json!({"id": id, "ackResourceMetadata": {"arn": arn}}),
        tags: tags(group.tags()),
        state: State::Ready,
        created: None,
    }
}

/// What AWS counts as one rule: one protocol and port range for one peer.
struct Grant {
    permission: IpPermission,
    description: Option<String>,
}

/// Rules one by one, by what AWS tells them apart. A pair that names no group means the group itself, as it does for ACK.
fn grants(rules: &[IpPermission], own: &str) -> Result<BTreeMap<String, Grant>, String> {
    let mut grants = BTreeMap::new();
    for rule in rules {
        let protocol = protocol(rule.ip_protocol().unwrap_or_default());
        let (from, to) = match protocol.as_str() {
            "tcp" | "udp" => (rule.from_port(), rule.to_port()),
            "icmp" | "icmpv6" => (rule.from_port().or(Some(-1)), rule.to_port().or(Some(-1))),
            // AWS ignores ports here.
            _ => (None, None),
        };
        let one = || IpPermission::builder().ip_protocol(&protocol).set_from_port(from).set_to_port(to);
        let mut add = |peer: String, description: Option<&str>, permission: IpPermission| {
            let description = description.map(str::to_owned);
            grants.insert(format!("{protocol} {from:?} {to:?} {peer}"), Grant { permission, description });
        };
        for range in rule.ip_ranges() {
            add(network(range.cidr_ip().unwrap_or_default()), range.description(), one().ip_ranges(range.clone()).build());
        }
        for range in rule.ipv6_ranges() {
            add(network(range.cidr_ipv6().unwrap_or_default()), range.description(), one().ipv6_ranges(range.clone()).build());
        }
        for list in rule.prefix_list_ids() {
            add(list.prefix_list_id().unwrap_or_default().to_owned(), list.description(), one().prefix_list_ids(list.clone()).build());
        }
        for pair in rule.user_id_group_pairs() {
            let mut pair = pair.clone();
            if let (Some(name), None) = (pair.group_name(), pair.group_id()) {
                return Err(format!("groupName {name}: AWS tells only IDs of groups, name it by groupID or groupRef"));
            }
            let id = pair.group_id.get_or_insert_with(|| own.to_owned()).clone();
            add(format!("group {id}"), pair.description(), one().user_id_group_pairs(pair.clone()).build());
        }
    }
    Ok(grants)
}

/// The name that AWS gives back for a protocol.
fn protocol(name: &str) -> String {
    match name.to_lowercase().as_str() {
        "1" => "icmp",
        "6" => "tcp",
        "17" => "udp",
        "58" => "icmpv6",
        "all" => "-1",
        other => other,
    }
    .to_owned()
}

/// A CIDR as AWS gives it back: short, without bits of a host.
fn network(cidr: &str) -> String {
    let canonical = || {
        let (address, bits) = cidr.split_once('/')?;
        let length: u32 = bits.parse().ok()?;
        let address: IpAddr = match address.parse().ok()? {
            IpAddr::V4(address) => (address & Ipv4Addr::from(u32::MAX.checked_shl(32_u32.checked_sub(length)?).unwrap_or(0))).into(),
            IpAddr::V6(address) => (address & Ipv6Addr::from(u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0))).into(),
        };
        Some(format!("{address}/{length}"))
    };
    canonical().unwrap_or_else(|| cidr.to_owned())
}

#[derive(Clone, Copy)]
enum Side {
    Ingress,
    Egress,
}

/// Authorises what Git declares more than lives, and revokes what lives more than Git declares.
async fn change(cloud: &Cloud, wanted: &Wanted, living: &Living, rules: &'static str, side: Side) -> Result<(), CloudError> {
    let read = |operation, spec: &Value| {
        let list: Vec<IpPermission> = Words::of(operation, spec).get(rules)?.unwrap_or_default();
        grants(&list, &living.id).map_err(|error| CloudError::invalid(operation, format!("spec.{rules}: {error}")))
    };
    let declared = read("ec2 AuthorizeSecurityGroup", &wanted.spec)?;
    let lives = read("ec2 DescribeSecurityGroups", &living.spec)?;
    let of = |grants: &BTreeMap<String, Grant>, is_meant: &dyn Fn(&str, &Grant) -> bool| -> Vec<IpPermission> {
        grants.iter().filter(|(key, grant)| is_meant(key, grant)).map(|(_, grant)| grant.permission.clone()).collect()
    };
    let missing = of(&declared, &|key, _| !lives.contains_key(key));
    let renamed = of(&declared, &|key, grant| {
        grant.description.is_some() && lives.get(key).is_some_and(|other| other.description != grant.description)
    });
    let surplus = of(&lives, &|key, _| !declared.contains_key(key));
    macro_rules! send {
        ($permissions:ident, $call:ident, $operation:literal) => {
            if !$permissions.is_empty() {
                let sent = cloud.ec2().$call().group_id(&living.id).set_ip_permissions(Some($permissions)).send().await;
                sent.map_err(|error| CloudError::new($operation, &error))?;
            }
        };
    }
    match side {
        Side::Ingress => {
            send!(missing, authorize_security_group_ingress, "ec2 AuthorizeSecurityGroupIngress");
            send!(renamed, update_security_group_rule_descriptions_ingress, "ec2 UpdateSecurityGroupRuleDescriptionsIngress");
            send!(surplus, revoke_security_group_ingress, "ec2 RevokeSecurityGroupIngress");
        }
        Side::Egress => {
            send!(missing, authorize_security_group_egress, "ec2 AuthorizeSecurityGroupEgress");
            send!(renamed, update_security_group_rule_descriptions_egress, "ec2 UpdateSecurityGroupRuleDescriptionsEgress");
            send!(surplus, revoke_security_group_egress, "ec2 RevokeSecurityGroupEgress");
        }
    }
    Ok(())
}
