//! Managed node groups.

use super::{CLUSTER, Member, busy, elements, issue, members, new_tags, number, place, refused, state, tag, tags, text, texts, time, token};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, put, refers};
use async_trait::async_trait;
use aws_sdk_eks::types::{
    self, AmiTypes, CapacityTypes, LaunchTemplateSpecification, NodegroupScalingConfig, NodegroupUpdateConfig, RemoteAccessConfig, Taint,
    TaintEffect, UpdateLabelsPayload, UpdateTaintsPayload,
};
use serde_json::{Map, Value, json};
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
        let names = names.map_err(|error| CloudError::new("eks ListNodegroups", &error))?;
        Ok(names.into_iter().map(|name| (name.clone(), name)).collect())
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
        let found = members::<Self>(cloud, wanted).await?.into_iter().map(|living| {
            let (cluster, name) = place(&living, "name");
            let model = wanted.iter().find(|one| one.text("clusterName") == Some(cluster) && one.text("name") == Some(name));
            model.map_or_else(|| living.clone(), |model| in_words_of(&model.spec, living.clone()))
        });
        Ok(found.collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let spec = &wanted.spec;
        let call = cloud.eks().create_nodegroup().set_cluster_name(text(spec, "clusterName")).set_nodegroup_name(text(spec, "name"));
        let call = call.set_ami_type(text(spec, "amiType").map(|kind| AmiTypes::from(kind.as_str())));
        let call = call.set_capacity_type(text(spec, "capacityType").map(|kind| CapacityTypes::from(kind.as_str())));
        let call = call.set_disk_size(number(wanted, "diskSize")).set_instance_types(texts(spec, "instanceTypes"));
        let call = call.set_labels(labels(spec)).set_taints(taints(spec)).set_launch_template(launch_template(spec));
        let call = call.set_node_role(text(spec, "nodeRole")).set_subnets(texts(spec, "subnets")).set_remote_access(remote_access(spec));
        let call = call.set_scaling_config(scaling(wanted, number(wanted, "scalingConfig.desiredSize"))).set_update_config(updates(wanted));
        let call = call.set_version(text(spec, "version")).set_release_version(text(spec, "releaseVersion"));
        let made = call.client_request_token(token(wanted)).set_tags(Some(new_tags(wanted))).send().await;
        let made = made.map_err(|error| refused("eks CreateNodegroup", &error))?;
        let group = made.nodegroup().ok_or_else(|| CloudError::malformed("eks CreateNodegroup", "nodegroup"))?;
        Ok(in_words_of(spec, living(group)))
    }

    /// AWS takes one change at a time: the configuration first; the next look tells whether versions differ.
    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "tags") {
            tag(cloud, wanted, living).await?;
        }
        let is_changed = |part: &str| differences.iter().any(|difference| difference.path.starts_with(part));
        let (cluster, name) = place(living, "name");
        let spec = &wanted.spec;
        if ["labels", "taints", "scalingConfig", "updateConfig"].into_iter().any(is_changed) {
            let mut call = cloud.eks().update_nodegroup_config().cluster_name(cluster).nodegroup_name(name);
            if is_changed("labels") {
                call = call.set_labels(Some(new_labels(spec, &living.spec)));
            }
            if is_changed("taints") {
                call = call.set_taints(Some(new_taints(spec, &living.spec)));
            }
            if is_changed("scalingConfig") {
                let here = at(&living.spec, "scalingConfig.desiredSize").and_then(Value::as_i64).and_then(|size| i32::try_from(size).ok());
                call = call.set_scaling_config(scaling(wanted, here));
            }
            if is_changed("updateConfig") {
                call = call.set_update_config(updates(wanted));
            }
            return call.send().await.map_err(|error| busy("eks UpdateNodegroupConfig", &error)).map(drop);
        }
        if ["version", "releaseVersion", TEMPLATE_VERSION].into_iter().any(is_changed) {
            let mut call = cloud.eks().update_nodegroup_version().cluster_name(cluster).nodegroup_name(name);
            if is_changed("version") || is_changed("releaseVersion") {
                call = call.set_version(text(spec, "version")).set_release_version(text(spec, "releaseVersion"));
            }
            if is_changed(TEMPLATE_VERSION) {
                call = call.set_launch_template(launch_template(spec));
            }
            call.send().await.map_err(|error| busy("eks UpdateNodegroupVersion", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let (cluster, name) = place(living, "name");
        Ok(Self::read(cloud, cluster, name).await?.map(|found| in_words_of(&living.spec, found)))
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

/// Of a launch template's `$Latest` and `$Default` AWS only tells the number that it was when asked.
fn in_words_of(model: &Value, mut living: Living) -> Living {
    if let Some(version) = at(model, TEMPLATE_VERSION).filter(|version| version.as_str().is_some_and(|text| text.starts_with('$'))) {
        put(&mut living.spec, TEMPLATE_VERSION, version.clone());
    }
    living
}

fn labels(spec: &Value) -> Option<HashMap<String, String>> {
    let labels = at(spec, "labels")?.as_object()?.iter();
    Some(labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect())
}

/// Labels that Git does not declare go, as with ACK.
fn new_labels(spec: &Value, living: &Value) -> UpdateLabelsPayload {
    let wanted = labels(spec).unwrap_or_default();
    let gone = labels(living).unwrap_or_default().into_keys().filter(|key| !wanted.contains_key(key)).collect();
    UpdateLabelsPayload::builder().set_remove_labels(Some(gone)).set_add_or_update_labels(Some(wanted)).build()
}

fn taints(spec: &Value) -> Option<Vec<Taint>> {
    let taints = elements(spec, "taints")?.iter().map(|taint| {
        let effect = text(taint, "effect").map(|effect| TaintEffect::from(effect.as_str()));
        Taint::builder().set_key(text(taint, "key")).set_value(text(taint, "value")).set_effect(effect).build()
    });
    Some(taints.collect())
}

/// A taint is known by its key and effect; those that Git does not declare go, as with ACK.
fn new_taints(spec: &Value, living: &Value) -> UpdateTaintsPayload {
    let wanted = taints(spec).unwrap_or_default();
    let mut gone = taints(living).unwrap_or_default();
    gone.retain(|taint| !wanted.iter().any(|one| one.key() == taint.key() && one.effect() == taint.effect()));
    UpdateTaintsPayload::builder().set_remove_taints(Some(gone)).set_add_or_update_taints(Some(wanted)).build()
}

fn launch_template(spec: &Value) -> Option<LaunchTemplateSpecification> {
    let here = at(spec, "launchTemplate")?;
    let template = LaunchTemplateSpecification::builder();
    Some(template.set_id(text(here, "id")).set_name(text(here, "name")).set_version(text(here, "version")).build())
}

fn remote_access(spec: &Value) -> Option<RemoteAccessConfig> {
    let here = at(spec, "remoteAccess")?;
    let access = RemoteAccessConfig::builder();
    Some(access.set_ec2_ssh_key(text(here, "ec2SshKey")).set_source_security_groups(texts(here, "sourceSecurityGroups")).build())
}

/// The size is kept within the bounds, or AWS refuses them.
fn scaling(wanted: &Wanted, size: Option<i32>) -> Option<NodegroupScalingConfig> {
    at(&wanted.spec, "scalingConfig")?;
    let (min, max) = (number(wanted, "scalingConfig.minSize"), number(wanted, "scalingConfig.maxSize"));
    let size = size.map(|size| size.max(min.unwrap_or(size)).min(max.unwrap_or(i32::MAX)));
    Some(NodegroupScalingConfig::builder().set_min_size(min).set_max_size(max).set_desired_size(size).build())
}

fn updates(wanted: &Wanted) -> Option<NodegroupUpdateConfig> {
    at(&wanted.spec, "updateConfig")?;
    let updates = NodegroupUpdateConfig::builder()
        .set_max_unavailable(number(wanted, "updateConfig.maxUnavailable"))
        .set_max_unavailable_percentage(number(wanted, "updateConfig.maxUnavailablePercentage"));
    Some(updates.build())
}

fn living(group: &types::Nodegroup) -> Living {
    let (cluster, name) = (group.cluster_name().unwrap_or_default(), group.nodegroup_name().unwrap_or_default());
    let template = group.launch_template();
    let access = group.remote_access();
    let scaling = group.scaling_config();
    let updates = group.update_config();
    let labels: Map<String, Value> = group.labels().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    let taints = group.taints().iter().map(|taint| {
        json!({"key": taint.key(), "value": taint.value(), "effect": taint.effect().map(TaintEffect::as_str)})
    });
    let resources = group.resources();
    let groups = resources.map(|resources| resources.auto_scaling_groups()).unwrap_or_default();
    let created = time(group.created_at());
    let issues = group.health().map(|health| health.issues()).unwrap_or_default();
    Living {
        id: format!("{cluster}/{name}"),
        spec: json!({
            "name": name,
            "amiType": group.ami_type().map(AmiTypes::as_str),
            "capacityType": group.capacity_type().map(CapacityTypes::as_str),
            "clusterName": cluster,
            "diskSize": group.disk_size(),
            "instanceTypes": group.instance_types(),
            "labels": labels,
            "launchTemplate": {
                "id": template.and_then(|template| template.id()),
                "name": template.and_then(|template| template.name()),
                "version": template.and_then(|template| template.version()),
            },
            "nodeRole": group.node_role(),
            "releaseVersion": group.release_version(),
            "remoteAccess": {
                "ec2SshKey": access.and_then(|access| access.ec2_ssh_key()),
                "sourceSecurityGroups": access.map(|access| access.source_security_groups()),
            },
            "scalingConfig": {
                "desiredSize": scaling.and_then(|scaling| scaling.desired_size()),
                "maxSize": scaling.and_then(|scaling| scaling.max_size()),
                "minSize": scaling.and_then(|scaling| scaling.min_size()),
            },
            "subnets": group.subnets(),
            "taints": taints.collect::<Vec<_>>(),
            "updateConfig": {
                "maxUnavailable": updates.and_then(|updates| updates.max_unavailable()),
                "maxUnavailablePercentage": updates.and_then(|updates| updates.max_unavailable_percentage()),
            },
            "version": group.version(),
        }),
        status: json!({
            "ackResourceMetadata": {"arn": group.nodegroup_arn()},
            "createdAt": created,
            "resources": {
                "autoScalingGroups": groups.iter().map(|group| json!({"name": group.name()})).collect::<Vec<_>>(),
                "remoteAccessSecurityGroup": resources.and_then(|resources| resources.remote_access_security_group()),
            },
            "status": group.status().map(|status| status.as_str()),
        }),
        tags: tags(group.tags()),
        state: state(
            group.status().map(|status| status.as_str()),
            issues.iter().map(|one| issue(one.code().map(|code| code.as_str()), one.message())),
        ),
        created,
    }
}
