//! Machines: launch templates and instances.

mod shapes;

use super::{arn, filter, tag, tag_specifications, tagged, tags, text, time};
use crate::aws::elbv2::words::{ToWords, Words, object};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, put, refers};
use async_trait::async_trait;
use aws_sdk_ec2::types::{self, InstanceStateName, LaunchTemplateVersion, MonitoringState, ResourceType};
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;

static LAUNCH_TEMPLATE: Schema = Schema {
    service: "ec2",
    kind: "LaunchTemplate",
    identity: Identity::Name(&["name"]),
    fields: &[
        field("data.blockDeviceMappings"),
        field("data.capacityReservationSpecification"),
        field("data.cpuOptions"),
        field("data.creditSpecification"),
        field("data.disableAPIStop"),
        field("data.disableAPITermination"),
        field("data.ebsOptimized"),
        field("data.enclaveOptions"),
        field("data.hibernationOptions"),
        field("data.iamInstanceProfile"),
        field("data.imageID"),
        field("data.instanceInitiatedShutdownBehavior"),
        field("data.instanceMarketOptions"),
        field("data.instanceType"),
        field("data.kernelID"),
        field("data.keyName"),
        field("data.licenseSpecifications"),
        field("data.maintenanceOptions"),
        field("data.metadataOptions"),
        field("data.monitoring"),
        field("data.networkInterfaces"),
        field("data.placement"),
        field("data.privateDNSNameOptions"),
        field("data.ramDiskID"),
        field("data.securityGroupIDs").set(),
        field("data.securityGroups").set(),
        field("data.tagSpecifications").set(),
        field("data.userData"),
        field("defaultVersion"),
        field("name").fixed(),
        field("versionDescription"),
    ],
    references: &[
        refers("data.blockDeviceMappings[].ebs.kmsKeyID", "data.blockDeviceMappings[].ebs.kmsKeyRef", "kms", "Key", "keyID"),
        refers("data.iamInstanceProfile.arn", "data.iamInstanceProfile.arn", "iam", "InstanceProfile", "arn"),
        refers("data.iamInstanceProfile.name", "data.iamInstanceProfile.name", "iam", "InstanceProfile", "name"),
        refers("data.networkInterfaces[].subnetID", "data.networkInterfaces[].subnetRef", "ec2", "Subnet", "subnetID"),
        refers("data.securityGroupIDs[]", "data.securityGroupRefs[]", "ec2", "SecurityGroup", "id"),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 2,
};

/// Which fields of a template make a new version.
fn is_of_version(difference: &Difference) -> bool {
    difference.path.starts_with("data.") || difference.path == "versionDescription"
}

pub(super) struct LaunchTemplate;

#[async_trait]
impl Kind for LaunchTemplate {
    fn schema(&self) -> &'static Schema {
        &LAUNCH_TEMPLATE
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let names: BTreeSet<&str> = wanted.iter().filter_map(|wanted| wanted.text("name")).collect();
        // A filter takes 200 values.
        let filters = (names.len() <= 200).then(|| vec![filter("launch-template-name", names.iter().copied())]);
        let templates = cloud.ec2().describe_launch_templates().set_filters(filters).into_paginator().items().send();
        let templates: Vec<_> = templates.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeLaunchTemplates", &error))?;
        let meant = templates.iter().filter(|template| names.contains(template.launch_template_name().unwrap_or_default()));
        let found = try_join_all(meant.map(|template| with_version(cloud, template))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let spec = Words::of("ec2 CreateLaunchTemplate", &wanted.spec);
        let call = cloud
            .ec2()
            .create_launch_template()
            .client_token(&wanted.token)
            .set_launch_template_name(text(wanted, "name"))
            .set_launch_template_data(spec.get("data")?)
            .set_version_description(text(wanted, "versionDescription"))
            .tag_specifications(tag_specifications(ResourceType::LaunchTemplate, wanted));
        let made = call.send().await.map_err(|error| CloudError::new("ec2 CreateLaunchTemplate", &error))?;
        let template = made.launch_template().ok_or_else(|| CloudError::malformed("ec2 CreateLaunchTemplate", "LaunchTemplate"))?;
        Ok(template_words(cloud, template, None))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let latest = living.status.get("latestVersion").and_then(Value::as_i64).unwrap_or_default();
        let changed = if differences.iter().any(is_of_version) { latest + 1 } else { latest };
        // Versions count from one: a template that was lost gets as many again as Git and its users count on.
        let last = wanted.number("defaultVersion").map_or(changed, |version| version.max(changed));
        for version in latest + 1..=last {
            let spec = Words::of("ec2 CreateLaunchTemplateVersion", &wanted.spec);
            let call = cloud
                .ec2()
                .create_launch_template_version()
                .client_token(format!("{}-{version}", wanted.token))
                .launch_template_id(&living.id)
                .set_launch_template_data(spec.get("data")?)
                .set_version_description(text(wanted, "versionDescription"));
            call.send().await.map_err(|error| CloudError::new("ec2 CreateLaunchTemplateVersion", &error))?;
        }
        if let Some(version) = wanted.number("defaultVersion").filter(|_| differs(differences, "defaultVersion")) {
            let call = cloud.ec2().modify_launch_template().launch_template_id(&living.id).default_version(version.to_string());
            call.send().await.map_err(|error| CloudError::new("ec2 ModifyLaunchTemplate", &error))?;
        }
        if differs(differences, "tags") { tag(cloud, &living.id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let found = cloud.ec2().describe_launch_templates().launch_template_ids(&living.id).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("ec2 DescribeLaunchTemplates", &error)))?;
        match found.as_ref().and_then(|found| found.launch_templates().first()) {
            Some(template) => with_version(cloud, template).await,
            None => Ok(None),
        }
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.ec2().delete_launch_template().launch_template_id(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ec2 DeleteLaunchTemplate", &error))).map(drop)
    }
}

/// A template with what its latest version says, which is what ACK compares.
async fn with_version(cloud: &Cloud, template: &types::LaunchTemplate) -> Result<Option<Living>, CloudError> {
    let call = cloud.ec2().describe_launch_template_versions().set_launch_template_id(template.launch_template_id.clone());
    let found = call.versions("$Latest").send().await.map_err(|error| CloudError::new("ec2 DescribeLaunchTemplateVersions", &error));
    Ok(or_absent(found)?.map(|found| template_words(cloud, template, found.launch_template_versions().first())))
}

fn template_words(cloud: &Cloud, template: &types::LaunchTemplate, version: Option<&LaunchTemplateVersion>) -> Living {
    let id = template.launch_template_id().unwrap_or_default();
    Living {
        id: id.to_owned(),
        spec: object([
            ("data", version.map_or(Value::Null, |version| version.launch_template_data.to_words())),
            ("defaultVersion", template.default_version_number.to_words()),
            ("name", template.launch_template_name.to_words()),
            ("versionDescription", version.map_or(Value::Null, |version| version.version_description.to_words())),
        ]),
        status: json!({
            "id": id,
            "latestVersion": template.latest_version_number(),
            "createdBy": template.created_by(),
            "ackResourceMetadata": {"arn": arn(cloud, "launch-template", id)},
        }),
        tags: tags(template.tags()),
        state: State::Ready,
        created: time(template.create_time()),
    }
}

static INSTANCE: Schema = Schema {
    service: "ec2",
    kind: "Instance",
    identity: Identity::Tags,
    fields: &[
        field("blockDeviceMappings").once(),
        field("capacityReservationSpecification").fixed(),
        field("cpuOptions").fixed(),
        field("creditSpecification").once(),
        field("disableAPIStop").once(),
        field("disableAPITermination").once(),
        field("ebsOptimized").fixed(),
        field("enclaveOptions").fixed(),
        field("hibernationOptions").fixed(),
        field("iamInstanceProfile").fixed(),
        field("imageID").fixed(),
        field("instanceInitiatedShutdownBehavior").once(),
        field("instanceMarketOptions").once(),
        field("instanceType").fixed(),
        field("ipv6AddressCount").once(),
        field("ipv6Addresses").once(),
        field("kernelID").fixed(),
        field("keyName").fixed(),
        field("launchTemplate").once(),
        field("licenseSpecifications").once(),
        field("maintenanceOptions"),
        // A manifest is one instance, whatever these say: as ACK has it.
        field("maxCount").once(),
        field("metadataOptions"),
        field("minCount").once(),
        field("monitoring"),
        field("networkInterfaces").once(),
        field("placement").fixed(),
        field("privateDNSNameOptions").fixed(),
        field("privateIPAddress").fixed(),
        field("ramDiskID").fixed(),
        field("securityGroupIDs").set(),
        field("securityGroups").once(),
        field("subnetID").fixed(),
        field("userData").once(),
    ],
    references: &[
        refers("iamInstanceProfile.arn", "iamInstanceProfile.arn", "iam", "InstanceProfile", "arn"),
        refers("iamInstanceProfile.name", "iamInstanceProfile.name", "iam", "InstanceProfile", "name"),
        refers("launchTemplate.launchTemplateID", "launchTemplate.launchTemplateRef", "ec2", "LaunchTemplate", "id"),
        refers("launchTemplate.launchTemplateName", "launchTemplate.launchTemplateName", "ec2", "LaunchTemplate", "name"),
        refers("subnetID", "subnetRef", "ec2", "Subnet", "subnetID"),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 20,
};

pub(super) struct Instance;

#[async_trait]
impl Kind for Instance {
    fn schema(&self) -> &'static Schema {
        &INSTANCE
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let living = filter("instance-state-name", ["pending", "running", "stopping", "stopped"]);
        let call = cloud.ec2().describe_instances().filters(living);
        let call = tagged(wanted).into_iter().flatten().fold(call, |call, filter| call.filters(filter));
        let reservations = call.into_paginator().items().send();
        let reservations: Vec<_> = reservations.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeInstances", &error))?;
        Ok(reservations.iter().flat_map(types::Reservation::instances).map(|instance| instance_words(cloud, instance)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let spec = Words::of("ec2 RunInstances", &wanted.spec);
        let call = cloud
            .ec2()
            .run_instances()
            .client_token(&wanted.token)
            .max_count(1)
            .min_count(1)
            .set_block_device_mappings(spec.get("blockDeviceMappings")?)
            .set_capacity_reservation_specification(spec.get("capacityReservationSpecification")?)
            .set_cpu_options(spec.get("cpuOptions")?)
            .set_credit_specification(spec.get("creditSpecification")?)
            .set_disable_api_stop(spec.get("disableAPIStop")?)
            .set_disable_api_termination(spec.get("disableAPITermination")?)
            .set_ebs_optimized(spec.get("ebsOptimized")?)
            .set_enclave_options(spec.get("enclaveOptions")?)
            .set_hibernation_options(spec.get("hibernationOptions")?)
            .set_iam_instance_profile(spec.get("iamInstanceProfile")?)
            .set_image_id(spec.get("imageID")?)
            .set_instance_initiated_shutdown_behavior(spec.get("instanceInitiatedShutdownBehavior")?)
            .set_instance_market_options(spec.get("instanceMarketOptions")?)
            .set_instance_type(spec.get("instanceType")?)
            .set_ipv6_address_count(spec.get("ipv6AddressCount")?)
            .set_ipv6_addresses(spec.get("ipv6Addresses")?)
            .set_kernel_id(spec.get("kernelID")?)
            .set_key_name(spec.get("keyName")?)
            .set_launch_template(spec.get("launchTemplate")?)
            .set_license_specifications(spec.get("licenseSpecifications")?)
            .set_maintenance_options(spec.get("maintenanceOptions")?)
            .set_metadata_options(spec.get("metadataOptions")?)
            .set_monitoring(spec.get("monitoring")?)
            .set_network_interfaces(spec.get("networkInterfaces")?)
            .set_placement(spec.get("placement")?)
            .set_private_dns_name_options(spec.get("privateDNSNameOptions")?)
            .set_private_ip_address(spec.get("privateIPAddress")?)
            .set_ramdisk_id(spec.get("ramDiskID")?)
            .set_security_group_ids(spec.get("securityGroupIDs")?)
            .set_security_groups(spec.get("securityGroups")?)
            .set_subnet_id(spec.get("subnetID")?)
            .set_user_data(spec.get("userData")?)
            .tag_specifications(tag_specifications(ResourceType::Instance, wanted));
        let made = call.send().await.map_err(|error| CloudError::new("ec2 RunInstances", &error))?;
        let instance = made.instances().first().ok_or_else(|| CloudError::malformed("ec2 RunInstances", "Instance"))?;
        Ok(instance_words(cloud, instance))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let id = &living.id;
        if differs(differences, "securityGroupIDs") {
            let call = cloud.ec2().modify_instance_attribute().instance_id(id).set_groups(Some(wanted.texts("securityGroupIDs")));
            call.send().await.map_err(|error| CloudError::new("ec2 ModifyInstanceAttribute", &error))?;
        }
        if differs(differences, "metadataOptions") {
            let spec = Words::of("ec2 ModifyInstanceMetadataOptions", &wanted.spec);
            let call = cloud
                .ec2()
                .modify_instance_metadata_options()
                .instance_id(id)
                .set_http_endpoint(spec.get("metadataOptions.httpEndpoint")?)
                .set_http_protocol_ipv6(spec.get("metadataOptions.httpProtocolIPv6")?)
                .set_http_put_response_hop_limit(spec.get("metadataOptions.httpPutResponseHopLimit")?)
                .set_http_tokens(spec.get("metadataOptions.httpTokens")?)
                .set_instance_metadata_tags(spec.get("metadataOptions.instanceMetadataTags")?);
            call.send().await.map_err(|error| CloudError::new("ec2 ModifyInstanceMetadataOptions", &error))?;
        }
        if differs(differences, "maintenanceOptions") {
            let spec = Words::of("ec2 ModifyInstanceMaintenanceOptions", &wanted.spec);
            let call = cloud.ec2().modify_instance_maintenance_options().instance_id(id);
            let call = call.set_auto_recovery(spec.get("maintenanceOptions.autoRecovery")?);
            call.send().await.map_err(|error| CloudError::new("ec2 ModifyInstanceMaintenanceOptions", &error))?;
        }
        if differs(differences, "monitoring") {
            if wanted.flag("monitoring.enabled").unwrap_or_default() {
                let call = cloud.ec2().monitor_instances().instance_ids(id);
                call.send().await.map_err(|error| CloudError::new("ec2 MonitorInstances", &error))?;
            } else {
                let call = cloud.ec2().unmonitor_instances().instance_ids(id);
                call.send().await.map_err(|error| CloudError::new("ec2 UnmonitorInstances", &error))?;
            }
        }
        if differs(differences, "tags") { tag(cloud, id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let found = cloud.ec2().describe_instances().instance_ids(&living.id).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("ec2 DescribeInstances", &error)))?;
        let instance = found.as_ref().and_then(|found| found.reservations().first()?.instances().first());
        Ok(instance.map(|instance| instance_words(cloud, instance)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.ec2().terminate_instances().instance_ids(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ec2 TerminateInstances", &error))).map(drop)
    }
}

fn instance_words(cloud: &Cloud, instance: &types::Instance) -> Living {
    let id = instance.instance_id().unwrap_or_default();
    let mut spec = instance.to_words();
    put(&mut spec, "securityGroupIDs", instance.security_groups().iter().filter_map(types::GroupIdentifier::group_id).collect());
    if let Some(state) = instance.monitoring().and_then(types::Monitoring::state) {
        put(&mut spec, "monitoring.enabled", matches!(state, MonitoringState::Enabled | MonitoringState::Pending).into());
    }
    // A manifest names the profile by either.
    if let Some(arn) = instance.iam_instance_profile().and_then(types::IamInstanceProfile::arn) {
        put(&mut spec, "iamInstanceProfile", json!({"arn": arn, "name": arn.rsplit('/').next()}));
    }
    Living {
        id: id.to_owned(),
        spec,
        status: json!({
            "instanceID": id,
            "privateDNSName": instance.private_dns_name(),
            "publicDNSName": instance.public_dns_name(),
            "publicIPAddress": instance.public_ip_address(),
            "vpcID": instance.vpc_id(),
            "ackResourceMetadata": {"arn": arn(cloud, "instance", id)},
        }),
        tags: tags(instance.tags()),
        state: instance_state(instance),
        created: time(instance.launch_time()),
    }
}

fn instance_state(instance: &types::Instance) -> State {
    let Some(name) = instance.state().and_then(types::InstanceState::name) else { return State::Pending("unknown".to_owned()) };
    match name {
        InstanceStateName::Running | InstanceStateName::Stopping | InstanceStateName::Stopped => State::Ready,
        InstanceStateName::ShuttingDown | InstanceStateName::Terminated => {
            // An instance that cannot start ends at once, and this is where AWS says why.
            let reason = instance.state_reason().and_then(types::StateReason::message).map(|reason| format!(": {reason}"));
            State::Leaving(format!("{name}{}", reason.unwrap_or_default()))
        }
        name => State::Pending(name.to_string()),
    }
}
