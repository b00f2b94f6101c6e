//! Target groups.

use super::{TagsOf, living, names, tag, tag_list, tags};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{Form, given, take};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, put, refers};
use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2::types::{self, TargetDescription, TargetHealthStateEnum};
use futures::future::{try_join, try_join_all};
use serde_json::json;
use std::collections::HashMap;

static TARGET_GROUP: Schema = Schema {
    service: "elbv2",
    kind: "TargetGroup",
    identity: Identity::Name(&["name"]),
    fields: &[
        field("healthCheckEnabled"),
        field("healthCheckIntervalSeconds"),
        field("healthCheckPath"),
        field("healthCheckPort"),
        field("healthCheckProtocol"),
        field("healthCheckTimeoutSeconds"),
        field("healthyThresholdCount"),
        field("ipAddressType").fixed(),
        field("matcher"),
        field("name").fixed(),
        field("port").fixed(),
        field("protocol").fixed(),
        field("protocolVersion").fixed(),
        field("targetType").fixed(),
        field("targets").set(),
        field("unhealthyThresholdCount"),
        field("vpcID").fixed(),
    ],
    references: &[refers("vpcID", "vpcRef", "ec2", "VPC", "vpcID")],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 2,
};

/// What can be changed in place.
macro_rules! health {
    ($call:expr, $spec:expr) => {
        given!($call, $spec;
            "healthCheckEnabled" set_health_check_enabled,
            "healthCheckIntervalSeconds" set_health_check_interval_seconds,
            "healthCheckPath" set_health_check_path,
            "healthCheckPort" set_health_check_port,
            "healthCheckProtocol" set_health_check_protocol,
            "healthCheckTimeoutSeconds" set_health_check_timeout_seconds,
            "healthyThresholdCount" set_healthy_threshold_count,
            "matcher" set_matcher,
            "unhealthyThresholdCount" set_unhealthy_threshold_count,
        )
    };
}

pub(super) struct TargetGroup;

#[async_trait]
impl Kind for TargetGroup {
    fn schema(&self) -> &'static Schema {
        &TARGET_GROUP
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let names = names(wanted);
        let pages = cloud.elbv2().describe_target_groups().into_paginator().items().send();
        let all: Vec<_> = pages.try_collect().await.map_err(|error| CloudError::new("elbv2 DescribeTargetGroups", &error))?;
        let meant: Vec<_> = all.iter().filter(|group| names.contains(group.target_group_name().unwrap_or_default())).collect();
        let arns: Vec<&str> = meant.iter().filter_map(|group| group.target_group_arn()).collect();
        let targets = try_join_all(arns.iter().map(|arn| targets(cloud, arn)));
        let (targets, mut tags) = try_join(targets, tags(cloud, &arns)).await?;
        Ok(meant.iter().zip(targets).map(|(group, targets)| group_words(group, &targets, &mut tags)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud.elbv2().create_target_group().set_tags(Some(tag_list(&wanted.tags)));
        let call = given!(health!(call, &wanted.spec), &wanted.spec;
            "ipAddressType" set_ip_address_type,
            "name" set_name,
            "port" set_port,
            "protocol" set_protocol,
            "protocolVersion" set_protocol_version,
            "targetType" set_target_type,
            "vpcID" set_vpc_id,
        );
        let made = call.send().await.map_err(|error| CloudError::new("elbv2 CreateTargetGroup", &error))?;
        let group = made.target_groups().first().ok_or_else(|| CloudError::malformed("elbv2 CreateTargetGroup", "TargetGroup"))?;
        Ok(group_words(group, &[], &mut HashMap::new()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let arn = &living.id;
        if differences.iter().any(|difference| !matches!(difference.path, "targets" | "tags")) {
            let call = cloud.elbv2().modify_target_group().target_group_arn(arn);
            let call = health!(call, &wanted.spec);
            call.send().await.map_err(|error| CloudError::new("elbv2 ModifyTargetGroup", &error))?;
        }
        if differs(differences, "targets") {
            change_targets(cloud, wanted, living).await?;
        }
        if differs(differences, "tags") { tag(cloud, wanted, arn).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let arn = living.id.as_str();
        let group = async {
            let found = cloud.elbv2().describe_target_groups().target_group_arns(arn).send().await;
            found.map_err(|error| CloudError::new("elbv2 DescribeTargetGroups", &error))
        };
        let arns = [arn];
        let more = try_join(targets(cloud, arn), tags(cloud, &arns));
        let Some((found, (targets, mut tags))) = or_absent(try_join(group, more).await)? else { return Ok(None) };
        Ok(found.target_groups().first().map(|group| group_words(group, &targets, &mut tags)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.elbv2().delete_target_group().target_group_arn(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("elbv2 DeleteTargetGroup", &error))).map(drop)
    }
}

/// Registered targets, without those that are on their way out.
async fn targets(cloud: &Cloud, arn: &str) -> Result<Vec<TargetDescription>, CloudError> {
    let found = cloud.elbv2().describe_target_health().target_group_arn(arn).send().await;
    let found = found.map_err(|error| CloudError::new("elbv2 DescribeTargetHealth", &error))?;
    let is_leaving = |one: &types::TargetHealthDescription| {
        one.target_health().and_then(types::TargetHealth::state) == Some(&TargetHealthStateEnum::Draining)
    };
    Ok(found.target_health_descriptions.into_iter().flatten().filter(|one| !is_leaving(one)).filter_map(|one| one.target).collect())
}

/// Registers what Git declares, and takes out what it no longer declares.
async fn change_targets(cloud: &Cloud, wanted: &Wanted, living: &Living) -> Result<(), CloudError> {
    let declared: Vec<TargetDescription> = take::<Option<_>>(&wanted.spec, "targets")?.unwrap_or_default();
    let lives: Vec<TargetDescription> = take::<Option<_>>(&living.spec, "targets")?.unwrap_or_default();
    // A target without a port has the port of its group.
    let is_same = |one: &TargetDescription, other: &TargetDescription| {
        one.id == other.id
            && (one.port.is_none() || one.port == other.port)
            && (one.availability_zone.is_none() || one.availability_zone == other.availability_zone)
    };
    let missing: Vec<_> = declared.iter().filter(|one| !lives.iter().any(|other| is_same(one, other))).cloned().collect();
    let surplus: Vec<_> = lives.iter().filter(|other| !declared.iter().any(|one| is_same(one, other))).cloned().collect();
    if !missing.is_empty() {
        let call = cloud.elbv2().register_targets().target_group_arn(&living.id).set_targets(Some(missing));
        call.send().await.map_err(|error| CloudError::new("elbv2 RegisterTargets", &error))?;
    }
    if !surplus.is_empty() {
        let call = cloud.elbv2().deregister_targets().target_group_arn(&living.id).set_targets(Some(surplus));
        call.send().await.map_err(|error| CloudError::new("elbv2 DeregisterTargets", &error))?;
    }
    Ok(())
}

fn group_words(group: &types::TargetGroup, targets: &[TargetDescription], tags: &mut TagsOf) -> Living {
    let mut spec = group.write();
    put(&mut spec, "targets", targets.iter().map(Form::write).collect());
    let status = json!({"loadBalancerARNs": group.load_balancer_arns()});
    living(group.target_group_arn(), spec, status, tags, State::Ready, None)
}
