//! Instances.

use crate::aws::ec2::{arn, filter, tag, tag_specifications, tagged, tags, time};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{Form, given};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, put, refers};
use async_trait::async_trait;
use aws_sdk_ec2::operation::describe_instances::builders::DescribeInstancesFluentBuilder as DescribeInstances;
use aws_sdk_ec2::types::{self, InstanceStateName, MonitoringState, ResourceType};
use serde_json::json;

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

pub(in crate::aws::ec2) struct Instance;

#[async_trait]
impl Kind for Instance {
    fn schema(&self) -> &'static Schema {
        &INSTANCE
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let living = filter("instance-state-name", ["pending", "running", "stopping", "stopped"]);
        let call = cloud.ec2().describe_instances().filters(living);
        let call = tagged(wanted).into_iter().flatten().fold(call, DescribeInstances::filters);
        let reservations = call.into_paginator().items().send();
        let reservations: Vec<_> = reservations.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeInstances", &error))?;
        Ok(reservations.iter().flat_map(types::Reservation::instances).map(|instance| words(cloud, instance)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let tags = tag_specifications(ResourceType::Instance, wanted);
        let call = cloud.ec2().run_instances().client_token(&wanted.token).max_count(1).min_count(1).tag_specifications(tags);
        let call = given!(call, &wanted.spec;
            "blockDeviceMappings" set_block_device_mappings,
            "capacityReservationSpecification" set_capacity_reservation_specification,
            "cpuOptions" set_cpu_options,
            "creditSpecification" set_credit_specification,
            "disableAPIStop" set_disable_api_stop,
            "disableAPITermination" set_disable_api_termination,
            "ebsOptimized" set_ebs_optimized,
            "enclaveOptions" set_enclave_options,
            "hibernationOptions" set_hibernation_options,
            "iamInstanceProfile" set_iam_instance_profile,
            "imageID" set_image_id,
            "instanceInitiatedShutdownBehavior" set_instance_initiated_shutdown_behavior,
            "instanceMarketOptions" set_instance_market_options,
            "instanceType" set_instance_type,
            "ipv6AddressCount" set_ipv6_address_count,
            "ipv6Addresses" set_ipv6_addresses,
            "kernelID" set_kernel_id,
            "keyName" set_key_name,
            "launchTemplate" set_launch_template,
            "licenseSpecifications" set_license_specifications,
            "maintenanceOptions" set_maintenance_options,
            "metadataOptions" set_metadata_options,
            "monitoring" set_monitoring,
            "networkInterfaces" set_network_interfaces,
            "placement" set_placement,
            "privateDNSNameOptions" set_private_dns_name_options,
            "privateIPAddress" set_private_ip_address,
            "ramDiskID" set_ramdisk_id,
            "securityGroupIDs" set_security_group_ids,
            "securityGroups" set_security_groups,
            "subnetID" set_subnet_id,
            "userData" set_user_data,
        );
        let made = call.send().await.map_err(|error| CloudError::new("ec2 RunInstances", &error))?;
        let instance = made.instances().first().ok_or_else(|| CloudError::malformed("ec2 RunInstances", "Instance"))?;
        Ok(words(cloud, instance))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let id = &living.id;
        if differs(differences, "securityGroupIDs") {
            let call = cloud.ec2().modify_instance_attribute().instance_id(id).set_groups(Some(wanted.texts("securityGroupIDs")));
            call.send().await.map_err(|error| CloudError::new("ec2 ModifyInstanceAttribute", &error))?;
        }
        if differs(differences, "metadataOptions") {
            let call = cloud.ec2().modify_instance_metadata_options().instance_id(id);
            let call = given!(call, &wanted.spec;
                "metadataOptions.httpEndpoint" set_http_endpoint,
                "metadataOptions.httpProtocolIPv6" set_http_protocol_ipv6,
                "metadataOptions.httpPutResponseHopLimit" set_http_put_response_hop_limit,
                "metadataOptions.httpTokens" set_http_tokens,
                "metadataOptions.instanceMetadataTags" set_instance_metadata_tags,
            );
            call.send().await.map_err(|error| CloudError::new("ec2 ModifyInstanceMetadataOptions", &error))?;
        }
        if differs(differences, "maintenanceOptions") {
            let call = cloud.ec2().modify_instance_maintenance_options().instance_id(id);
            let call = given!(call, &wanted.spec; "maintenanceOptions.autoRecovery" set_auto_recovery);
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
        Ok(instance.map(|instance| words(cloud, instance)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.ec2().terminate_instances().instance_ids(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ec2 TerminateInstances", &error))).map(drop)
    }
}

fn words(cloud: &Cloud, instance: &types::Instance) -> Living {
    let id = instance.instance_id().unwrap_or_default();
    let mut spec = instance.write();
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
        state: state(instance),
        created: time(instance.launch_time()),
    }
}

fn state(instance: &types::Instance) -> State {
    let Some(name) = instance.state().and_then(types::InstanceState::name) else { return State::Pending("unknown".to_owned()) };
    let reason = instance.state_reason();
    match name {
        InstanceStateName::Running | InstanceStateName::Stopping | InstanceStateName::Stopped => State::Ready,
        InstanceStateName::ShuttingDown | InstanceStateName::Terminated => match reason.and_then(types::StateReason::code) {
            None | Some("Client.UserInitiatedShutdown") => State::Leaving(name.to_string()),
            // One that cannot start ends by itself.
            Some(code) => State::Failed(format!("{name}: {}", reason.and_then(types::StateReason::message).unwrap_or(code))),
        },
        name => State::Pending(name.to_string()),
    }
}
