//! Security groups. They are made empty, as they may name each other; their rules follow as differences.

use super::{arn, tag, tag_specifications, tags, text};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{Form, forms, take};
use crate::aws::{Cloud, CloudError, Meaning};
use crate::layers::infrastructure::rules::{network, protocol};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, refers};
use async_trait::async_trait;
use aws_sdk_ec2::types::{self, IpPermission, IpRange, Ipv6Range, PrefixListId, ResourceType, UserIdGroupPair};
use serde_json::{Value, json};
use std::collections::BTreeMap;

static SECURITY_GROUP: Schema = Schema {
    service: "ec2",
    kind: "SecurityGroup",
    identity: Identity::Name(&["vpcID", "name"]),
    fields: &[
        field("description").fixed(),
        field("egressRules").rules(),
        field("ingressRules").rules(),
        field("name").fixed(),
        field("vpcID").fixed(),
    ],
    references: &[
        refers("vpcID", "vpcRef", "ec2", "VPC", "vpcID"),
        refers("egressRules[].userIDGroupPairs[].groupID", "egressRules[].userIDGroupPairs[].groupRef", "ec2", "SecurityGroup", "id")
            .late(),
        refers("egressRules[].userIDGroupPairs[].vpcID", "egressRules[].userIDGroupPairs[].vpcRef", "ec2", "VPC", "vpcID"),
        refers("ingressRules[].userIDGroupPairs[].groupID", "ingressRules[].userIDGroupPairs[].groupRef", "ec2", "SecurityGroup", "id")
            .late(),
        refers("ingressRules[].userIDGroupPairs[].vpcID", "ingressRules[].userIDGroupPairs[].vpcRef", "ec2", "VPC", "vpcID"),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 2,
};

forms! {
    IpPermission {
        "fromPort": from_port set_from_port,
        "ipProtocol": ip_protocol set_ip_protocol,
        "ipRanges": ip_ranges set_ip_ranges,
        "ipv6Ranges": ipv6_ranges set_ipv6_ranges,
        "prefixListIDs": prefix_list_ids set_prefix_list_ids,
        "toPort": to_port set_to_port,
        "userIDGroupPairs": user_id_group_pairs set_user_id_group_pairs,
    }
    IpRange {
        "cidrIP": cidr_ip set_cidr_ip,
        "description": description set_description,
    }
    Ipv6Range {
        "cidrIPv6": cidr_ipv6 set_cidr_ipv6,
        "description": description set_description,
    }
    PrefixListId {
        "description": description set_description,
        "prefixListID": prefix_list_id set_prefix_list_id,
    }
    UserIdGroupPair {
        "description": description set_description,
        "groupID": group_id set_group_id,
        "groupName": group_name set_group_name,
        "peeringStatus": peering_status set_peering_status,
        "userID": user_id set_user_id,
        "vpcID": vpc_id set_vpc_id,
        "vpcPeeringConnectionID": vpc_peering_connection_id set_vpc_peering_connection_id,
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
        for (rules, side) in SIDES {
            // A rule whose group is not known yet would look like one that Git no longer declares.
            if differs(differences, rules) && !wanted.unknown.iter().any(|path| path.starts_with(rules)) {
                let declared = grants(take(&wanted.spec, rules)?, &living.id)?;
                change(cloud, &living.id, *side, &declared, &lives(living, rules)?).await?;
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
        // Groups that name each other could not go, neither first.
        for (rules, side) in SIDES {
            let lives = self::lives(living, rules)?;
            let is_kept = |grant: &Grant| grant.permission.user_id_group_pairs().is_empty();
            let kept = lives.iter().filter(|(_, grant)| is_kept(grant)).map(|(key, grant)| (key.clone(), grant.clone())).collect();
            change(cloud, &living.id, *side, &kept, &lives).await?;
        }
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
            "egressRules": own(group.ip_permissions_egress.write(), id),
            "ingressRules": own(group.ip_permissions.write(), id),
            "name": group.group_name(),
            "vpcID": group.vpc_id(),
        }),
        status: json!({"id": id, "ackResourceMetadata": {"arn": arn}}),
        tags: tags(group.tags()),
        state: State::Ready,
        created: None,
    }
}

/// Marks pairs that mean the group itself, which a manifest may name or leave out.
fn own(mut rules: Value, id: &str) -> Value {
    let pairs = rules.as_array_mut().into_iter().flatten().filter_map(|rule| rule.get_mut("userIDGroupPairs")?.as_array_mut());
    for pair in pairs.flatten().filter(|pair| pair.get("groupID").and_then(Value::as_str) == Some(id)) {
        pair["own"] = true.into();
    }
    rules
}

/// What AWS counts as one rule: one protocol and port range for one peer.
#[derive(Clone)]
struct Grant {
    permission: IpPermission,
    description: Option<String>,
}

/// Rules by what AWS tells them apart by.
type Grants = BTreeMap<String, Grant>;

/// Living rules one by one, without our mark.
fn lives(living: &Living, rules: &str) -> Result<Grants, CloudError> {
    let mut spec = living.spec.clone();
    let pairs = spec[rules].as_array_mut().into_iter().flatten().filter_map(|rule| rule.get_mut("userIDGroupPairs")?.as_array_mut());
    for pair in pairs.flatten().filter_map(Value::as_object_mut) {
        pair.remove("own");
    }
    grants(take(&spec, rules)?, &living.id)
}

/// Rules one by one. A pair that names no group means the group itself, as it does for ACK.
fn grants(rules: Option<Vec<IpPermission>>, own: &str) -> Result<Grants, CloudError> {
    let mut grants = BTreeMap::new();
    for rule in rules.into_iter().flatten() {
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
                return Err(CloudError::invalid(
                    "manifest",
                    format!("groupName {name}: AWS tells only IDs of groups, give groupID or groupRef"),
                ));
            }
            let id = pair.group_id.get_or_insert_with(|| own.to_owned()).clone();
            add(format!("group {id}"), pair.description(), one().user_id_group_pairs(pair.clone()).build());
        }
    }
    Ok(grants)
}

#[derive(Clone, Copy)]
enum Side {
    Ingress,
    Egress,
}

const SIDES: &[(&str, Side)] = &[("ingressRules", Side::Ingress), ("egressRules", Side::Egress)];

/// Authorises what is declared more than lives, and revokes what lives more than is declared.
async fn change(cloud: &Cloud, id: &str, side: Side, declared: &Grants, lives: &Grants) -> Result<(), CloudError> {
    let is_renamed = |key: &str, grant: &Grant| {
        grant.description.is_some() && lives.get(key).is_some_and(|other| other.description != grant.description)
    };
    let of = |grants: &Grants, is_meant: &dyn Fn(&str, &Grant) -> bool| -> Vec<IpPermission> {
        grants.iter().filter(|(key, grant)| is_meant(key, grant)).map(|(_, grant)| grant.permission.clone()).collect()
    };
    let missing = of(declared, &|key, _| !lives.contains_key(key));
    let renamed = of(declared, &is_renamed);
    let surplus = of(lives, &|key, _| !declared.contains_key(key));
    macro_rules! send {
        ($permissions:ident, $call:ident, $operation:literal, $done:ident) => {
            if !$permissions.is_empty() {
                let sent = cloud.ec2().$call().group_id(id).set_ip_permissions(Some($permissions)).send().await;
                match sent.map_err(|error| CloudError::new($operation, &error)) {
                    // An earlier attempt did it, or a part of it: the next look tells what is left.
                    Err(CloudError { meaning: Meaning::$done, .. }) => return Ok(()),
                    sent => sent.map(drop)?,
                }
            }
        };
    }
    match side {
        Side::Ingress => {
            send!(missing, authorize_security_group_ingress, "ec2 AuthorizeSecurityGroupIngress", Exists);
            send!(renamed, update_security_group_rule_descriptions_ingress, "ec2 UpdateSecurityGroupRuleDescriptionsIngress", Absent);
            send!(surplus, revoke_security_group_ingress, "ec2 RevokeSecurityGroupIngress", Absent);
        }
        Side::Egress => {
            send!(missing, authorize_security_group_egress, "ec2 AuthorizeSecurityGroupEgress", Exists);
            send!(renamed, update_security_group_rule_descriptions_egress, "ec2 UpdateSecurityGroupRuleDescriptionsEgress", Absent);
            send!(surplus, revoke_security_group_egress, "ec2 RevokeSecurityGroupEgress", Absent);
        }
    }
    Ok(())
}
