//! Load balancers.

use super::{TagsOf, living, names, tag, tag_list, tags};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{Form, given};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, put, refers};
use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2::types::{self, AvailabilityZone, LoadBalancerAttribute, LoadBalancerStateEnum};
use futures::future::{try_join, try_join_all};
use serde_json::{Value, json};
use std::collections::HashMap;

static LOAD_BALANCER: Schema = Schema {
    service: "elbv2",
    kind: "LoadBalancer",
    identity: Identity::Name(&["name"]),
    fields: &[
        field("attributes").within(),
        field("customerOwnedIPv4Pool").fixed(),
        field("ipAddressType"),
        field("name").fixed(),
        field("scheme").fixed(),
        field("securityGroups").set(),
        field("subnetMappings").set(),
        field("subnets").set(),
        field("type").fixed(),
    ],
    references: &[
        refers("securityGroups[]", "securityGroupRefs[]", "ec2", "SecurityGroup", "id"),
        refers("subnetMappings[].allocationID", "subnetMappings[].allocationRef", "ec2", "ElasticIPAddress", "allocationID"),
        refers("subnetMappings[].subnetID", "subnetMappings[].subnetRef", "ec2", "Subnet", "subnetID"),
        refers("subnets[]", "subnetRefs[]", "ec2", "Subnet", "subnetID"),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 150,
};

pub(super) struct LoadBalancer;

#[async_trait]
impl Kind for LoadBalancer {
    fn schema(&self) -> &'static Schema {
        &LOAD_BALANCER
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let names = names(wanted);
        let all = balancers(cloud).await?;
        let meant: Vec<_> = all.iter().filter(|balancer| names.contains(balancer.load_balancer_name().unwrap_or_default())).collect();
        let arns: Vec<&str> = meant.iter().filter_map(|balancer| balancer.load_balancer_arn()).collect();
        let attributes = try_join_all(arns.iter().map(|arn| attributes(cloud, arn)));
        let (attributes, mut tags) = try_join(attributes, tags(cloud, &arns)).await?;
        Ok(meant.iter().zip(attributes).map(|(balancer, attributes)| balancer_words(balancer, &attributes, &mut tags)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud.elbv2().create_load_balancer().set_tags(Some(tag_list(&wanted.tags)));
        let call = given!(call, &wanted.spec;
            "customerOwnedIPv4Pool" set_customer_owned_ipv4_pool,
            "ipAddressType" set_ip_address_type,
            "name" set_name,
            "scheme" set_scheme,
            "securityGroups" set_security_groups,
            "subnetMappings" set_subnet_mappings,
            "subnets" set_subnets,
            "type" set_type,
        );
        let made = call.send().await.map_err(|error| CloudError::new("elbv2 CreateLoadBalancer", &error))?;
        let balancer = made.load_balancers().first().ok_or_else(|| CloudError::malformed("elbv2 CreateLoadBalancer", "LoadBalancer"))?;
        Ok(balancer_words(balancer, &[], &mut HashMap::new()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let arn = &living.id;
        if differs(differences, "ipAddressType") {
            let call = cloud.elbv2().set_ip_address_type().load_balancer_arn(arn);
            let call = given!(call, &wanted.spec; "ipAddressType" set_ip_address_type);
            call.send().await.map_err(|error| CloudError::new("elbv2 SetIpAddressType", &error))?;
        }
        if differs(differences, "securityGroups") {
            let call = cloud.elbv2().set_security_groups().load_balancer_arn(arn);
            let call = given!(call, &wanted.spec; "securityGroups" set_security_groups);
            call.send().await.map_err(|error| CloudError::new("elbv2 SetSecurityGroups", &error))?;
        }
        if differs(differences, "subnets") || differs(differences, "subnetMappings") {
            let call = cloud.elbv2().set_subnets().load_balancer_arn(arn);
            let call = given!(call, &wanted.spec; "subnetMappings" set_subnet_mappings, "subnets" set_subnets);
            call.send().await.map_err(|error| CloudError::new("elbv2 SetSubnets", &error))?;
        }
        if differs(differences, "attributes") {
            let call = cloud.elbv2().modify_load_balancer_attributes().load_balancer_arn(arn);
            let call = given!(call, &wanted.spec; "attributes" set_attributes);
            call.send().await.map_err(|error| CloudError::new("elbv2 ModifyLoadBalancerAttributes", &error))?;
        }
        if differs(differences, "tags") { tag(cloud, wanted, arn).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let arn = living.id.as_str();
        let balancer = async {
            let found = cloud.elbv2().describe_load_balancers().load_balancer_arns(arn).send().await;
            found.map_err(|error| CloudError::new("elbv2 DescribeLoadBalancers", &error))
        };
        let arns = [arn];
        let more = try_join(attributes(cloud, arn), tags(cloud, &arns));
        let Some((found, (attributes, mut tags))) = or_absent(try_join(balancer, more).await)? else { return Ok(None) };
        Ok(found.load_balancers().first().map(|balancer| balancer_words(balancer, &attributes, &mut tags)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.elbv2().delete_load_balancer().load_balancer_arn(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("elbv2 DeleteLoadBalancer", &error))).map(drop)
    }

    fn poll(&self) -> u32 {
        5
    }
}

/// All load balancers of the account and region.
pub(super) async fn balancers(cloud: &Cloud) -> Result<Vec<types::LoadBalancer>, CloudError> {
    let pages = cloud.elbv2().describe_load_balancers().into_paginator().items().send();
    pages.try_collect().await.map_err(|error| CloudError::new("elbv2 DescribeLoadBalancers", &error))
}

async fn attributes(cloud: &Cloud, arn: &str) -> Result<Vec<LoadBalancerAttribute>, CloudError> {
    let found = cloud.elbv2().describe_load_balancer_attributes().load_balancer_arn(arn).send().await;
    Ok(found.map_err(|error| CloudError::new("elbv2 DescribeLoadBalancerAttributes", &error))?.attributes.unwrap_or_default())
}

fn balancer_words(balancer: &types::LoadBalancer, attributes: &[LoadBalancerAttribute], tags: &mut TagsOf) -> Living {
    let mut spec = balancer.write();
    let zones = balancer.availability_zones();
    put(&mut spec, "attributes", attributes.iter().map(Form::write).collect());
    put(&mut spec, "subnetMappings", zones.iter().map(mapping).collect());
    put(&mut spec, "subnets", zones.iter().filter_map(AvailabilityZone::subnet_id).collect());
    let status = json!({
        "canonicalHostedZoneID": balancer.canonical_hosted_zone_id(),
        "dnsName": balancer.dns_name(),
        "vpcID": balancer.vpc_id(),
    });
    let state = balancer.state();
    let code = state.and_then(types::LoadBalancerState::code);
    let state = match code {
        None | Some(LoadBalancerStateEnum::Active | LoadBalancerStateEnum::ActiveImpaired) => State::Ready,
        Some(LoadBalancerStateEnum::Failed) => {
            State::Failed(format!("failed: {}", state.and_then(types::LoadBalancerState::reason).unwrap_or("AWS gives no reason")))
        }
        Some(code) => State::Pending(code.to_string()),
    };
    living(balancer.load_balancer_arn(), spec, status, tags, state, balancer.created_time())
}

/// A zone in the words of a subnet mapping.
fn mapping(zone: &AvailabilityZone) -> Value {
    let mut mapping = zone.load_balancer_addresses().first().map_or_else(|| json!({}), Form::write);
    put(&mut mapping, "subnetID", zone.subnet_id().into());
    mapping
}
