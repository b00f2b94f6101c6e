//! Managed node groups.

use super::{CLUSTER, Member, busy, issue, members, named, new_tags, place, refused, state, tag, tags, token};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, Wanted, differs};
use crate::aws::s3::form::{Form, given, take, time};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, put, refers};
use async_trait::async_trait;
use aws_sdk_eks::types::{
    self, NodegroupHealth, NodegroupIssueCode, NodegroupScalingConfig, NodegroupStatus, Taint, UpdateLabelsPayload, UpdateTaintsPayload,
};
use serde_json::{Value, json};
use std::collections::HashMap;

const TEMPLATE_VERSION: &str = "launchTemplate.version";

static NODEGROUP: Schema = Schema {
    service: "eks",
    kind: "Nodegroup",
    identity: Identity::Name(&["clusterName", "name"]),
    fields: &[
        field("name").fixed(),
        field("amiType").fixed(),
        field("capacityType").fixed(),
        field("clientRequestToken").once(),
        field("clusterName").fixed(),
        field("diskSize").fixed(),
        field("instanceTypes").fixed().set(),
        field("labels"),
        field("launchTemplate.id").fixed(),
        field("launchTemplate.name").fixed(),
        field(TEMPLATE_VERSION),
        field("nodeRole").fixed(),
        field("releaseVersion"),
        field("remoteAccess.ec2SshKey").fixed(),
        field("remoteAccess.sourceSecurityGroups").fixed().set(),
        // Autoscalers move it: a group that lives is never scaled back to what Git says.
        field("scalingConfig.desiredSize").once(),
        field("scalingConfig.maxSize"),
        field("scalingConfig.minSize"),
        field("subnets").fixed().set(),
        field("taints").set(),
        field("updateConfig.maxUnavailable"),
        field("updateConfig.maxUnavailablePercentage"),
        field("version"),
    ],
    references: &[
        CLUSTER,
        refers("launchTemplate.name", "launchTemplate.name", "ec2", "LaunchTemplate", "name"),
        refers("nodeRole", "nodeRoleRef", "iam", "Role", "arn"),
        refers("remoteAccess.sourceSecurityGroups[]", "remoteAccess.sourceSecurityGroupRefs[]", "ec2", "SecurityGroup", "id"),
        refers("subnets[]", "subnetRefs[]", "ec2", "Subnet", "subnetID"),
    ],
    tags: Tags::Map("tags"),
    arn: None,
    seconds: 180,
};

pub(super) struct Nodegroup;

#[async_trait]
impl Member for Nodegroup {
    fn key(wanted: &Wanted) -> Option<String> {
        wanted.text("name").map(str::to_owned)
    }

    async fn ids(cloud: &Cloud, cluster: &str) -> Result<Vec<(String, String)>, CloudError> {
        let names = cloud.eks().list_nodegroups().cluster_name(cluster).into_paginator().items().send().try_collect().await;
        names.map(named).map_err(|error| CloudError::new("eks ListNodegroups", &error))
    }

    async fn read(cloud: &Cloud, cluster: &str, name: &str) -> Result<Option<Living>, CloudError> {
        let found = cloud.eks().describe_nodegroup().cluster_name(cluster).nodegroup_name(name).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("eks DescribeNodegroup", &error)))?;
        Ok(found.as_ref().and_then(|found| found.nodegroup()).map(living))
    }
}

#[async_trait]
impl Kind for Nodegroup {
    fn schema(&self) -> &'static Schema {
        &NODEGROUP
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let mut found = members::<Self>(cloud, wanted).await?;
        for living in &mut found {
            let (cluster, name) = place(living, "name");
            let model = wanted.iter().find(|one| one.text("clusterName") == Some(cluster) && one.text("name") == Some(name));
            if let Some(model) = model {
                keep_alias(living, &model.spec);
            }
        }
        Ok(found)
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        const OPERATION: &str = "eks CreateNodegroup";
        let call = given!(cloud.eks().create_nodegroup(), &wanted.spec;
            "amiType" set_ami_type,
            "capacityType" set_capacity_type,
            "clusterName" set_cluster_name,
            "diskSize" set_disk_size,
            "instanceTypes" set_instance_types,
            "labels" set_labels,
            "launchTemplate" set_launch_template,
            "nodeRole" set_node_role,
            "name" set_nodegroup_name,
            "releaseVersion" set_release_version,
            "remoteAccess" set_remote_access,
            "scalingConfig" set_scaling_config,
            "subnets" set_subnets,
            "taints" set_taints,
            "updateConfig" set_update_config,
            "version" set_version,
        );
        let made = call.client_request_token(token(wanted)).set_tags(Some(new_tags(wanted))).send().await;
        let made = made.map_err(|error| refused(OPERATION, &error))?;
        let mut made = made.nodegroup().map(living).ok_or_else(|| CloudError::malformed(OPERATION, "nodegroup"))?;
        keep_alias(&mut made, &wanted.spec);
        Ok(made)
    }

    /// AWS takes one change at a time: the configuration first; the next look tells whether versions differ.
    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "tags") {
            tag(cloud, wanted, living).await?;
        }
        let is_changed = |part: &str| differences.iter().any(|difference| difference.path.starts_with(part));
        if ["labels", "taints", "scalingConfig", "updateConfig"].into_iter().any(is_changed) {
            return configure(cloud, wanted, living, is_changed).await;
        }
        if ["version", "releaseVersion", TEMPLATE_VERSION].into_iter().any(is_changed) {
            let (cluster, name) = place(living, "name");
            let mut call = cloud.eks().update_nodegroup_version().cluster_name(cluster).nodegroup_name(name);
            if is_changed("version") || is_changed("releaseVersion") {
                call = given!(call, &wanted.spec; "releaseVersion" set_release_version, "version" set_version);
            }
            if is_changed(TEMPLATE_VERSION) {
                call = given!(call, &wanted.spec; "launchTemplate" set_launch_template);
            }
            call.send().await.map_err(|error| busy("eks UpdateNodegroupVersion", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let (cluster, name) = place(living, "name");
        let mut found = Self::read(cloud, cluster, name).await?;
        if let Some(found) = &mut found {
            keep_alias(found, &living.spec);
        }
        Ok(found)
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let (cluster, name) = place(living, "name");
        let deleted = cloud.eks().delete_nodegroup().cluster_name(cluster).nodegroup_name(name).send().await;
        or_absent(deleted.map_err(|error| busy("eks DeleteNodegroup", &error))).map(drop)
    }

    fn poll(&self) -> u32 {
        5
    }
}

async fn configure(cloud: &Cloud, wanted: &Wanted, living: &Living, is_changed: impl Fn(&str) -> bool) -> Result<(), CloudError> {
    let (spec, there) = (&wanted.spec, &living.spec);
    let (cluster, name) = place(living, "name");
    let mut call = cloud.eks().update_nodegroup_config().cluster_name(cluster).nodegroup_name(name);
    if is_changed("labels") {
        call = call.labels(new_labels(take(spec, "labels")?, take::<Option<_>>(there, "labels")?.unwrap_or_default()));
    }
    if is_changed("taints") {
        call = call.taints(new_taints(take(spec, "taints")?, take::<Option<_>>(there, "taints")?.unwrap_or_default()));
    }
    if is_changed("scalingConfig") {
        let mut scaling: Option<NodegroupScalingConfig> = take(spec, "scalingConfig")?;
        if let Some(scaling) = &mut scaling {
            scaling.desired_size = within(take(there, "scalingConfig.desiredSize")?, scaling);
        }
        call = call.set_scaling_config(scaling);
    }
    if is_changed("updateConfig") {
        call = given!(call, spec; "updateConfig" set_update_config);
    }
    call.send().await.map_err(|error| busy("eks UpdateNodegroupConfig", &error)).map(drop)
}

/// Of a launch template's `$Latest` and `$Default` AWS tells only the number that it was when asked.
fn keep_alias(living: &mut Living, model: &Value) {
    if let Some(version) = at(model, TEMPLATE_VERSION).filter(|version| version.as_str().is_some_and(|text| text.starts_with('$'))) {
        put(&mut living.spec, TEMPLATE_VERSION, version.clone());
    }
}

/// Labels that Git does not declare go, as with ACK.
fn new_labels(declared: HashMap<String, String>, there: HashMap<String, String>) -> UpdateLabelsPayload {
    let gone = there.into_keys().filter(|key| !declared.contains_key(key)).collect();
    UpdateLabelsPayload::builder().set_remove_labels(Some(gone)).set_add_or_update_labels(Some(declared)).build()
}

/// A taint is known by its key and effect; those that Git does not declare go, as with ACK.
fn new_taints(declared: Vec<Taint>, mut there: Vec<Taint>) -> UpdateTaintsPayload {
    there.retain(|taint| !declared.iter().any(|one| one.key() == taint.key() && one.effect() == taint.effect()));
    UpdateTaintsPayload::builder().set_remove_taints(Some(there)).set_add_or_update_taints(Some(declared)).build()
}

/// The size that lives, moved into new bounds: AWS refuses bounds that it is not in.
fn within(size: Option<i32>, bounds: &NodegroupScalingConfig) -> Option<i32> {
    size.map(|size| size.max(bounds.min_size.unwrap_or(size)).min(bounds.max_size.unwrap_or(i32::MAX)))
}

fn living(group: &types::Nodegroup) -> Living {
    let created = time(group.created_at());
    let status = group.status().map(NodegroupStatus::as_str);
    let issues = group.health().map(NodegroupHealth::issues).unwrap_or_default().iter();
    Living {
        id: format!("{}/{}", group.cluster_name().unwrap_or_default(), group.nodegroup_name().unwrap_or_default()),
        spec: group.write(),
        status: json!({
            "ackResourceMetadata": {"arn": group.nodegroup_arn()},
            "createdAt": created,
            "resources": group.resources().map(Form::write),
            "status": status,
        }),
        tags: tags(group.tags()),
        state: state(status, issues.map(|one| issue(one.code().map(NodegroupIssueCode::as_str), one.message()))),
        created,
    }
}
