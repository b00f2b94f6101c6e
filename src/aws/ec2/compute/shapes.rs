//! The parts of launch templates and instances, field by field. What AWS no longer offers (elastic graphics, elastic inference) has no table.

use crate::aws::CloudError;
use crate::aws::s3::form::{Form, object, refuse_unknown, take, words};
use aws_sdk_ec2::types::{
    AmdSevSnpSpecification, BlockDeviceMapping, CapacityReservationPreference, CapacityReservationSpecification,
    CapacityReservationSpecificationResponse, CapacityReservationTarget, CapacityReservationTargetResponse, CpuOptions, CpuOptionsRequest,
    CreditSpecification, CreditSpecificationRequest, EbsBlockDevice, EnclaveOptions, EnclaveOptionsRequest, HibernationOptions,
    HibernationOptionsRequest, HostnameType, HttpTokensState, IamInstanceProfileSpecification, Instance, InstanceAutoRecoveryState,
    InstanceInterruptionBehavior, InstanceIpv6Address, InstanceIpv6AddressRequest, InstanceMaintenanceOptions,
    InstanceMaintenanceOptionsRequest, InstanceMarketOptionsRequest, InstanceMetadataEndpointState, InstanceMetadataOptionsRequest,
    InstanceMetadataOptionsResponse, InstanceMetadataProtocolState, InstanceMetadataTagsState, InstanceNetworkInterfaceSpecification,
    InstanceType, Ipv4PrefixSpecificationRequest, Ipv4PrefixSpecificationResponse, Ipv6PrefixSpecificationRequest,
    Ipv6PrefixSpecificationResponse, LaunchTemplateAutoRecoveryState, LaunchTemplateBlockDeviceMapping,
    LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateCapacityReservationSpecificationRequest,
    LaunchTemplateCapacityReservationSpecificationResponse, LaunchTemplateCpuOptions, LaunchTemplateCpuOptionsRequest,
    LaunchTemplateEbsBlockDevice, LaunchTemplateEbsBlockDeviceRequest, LaunchTemplateEnclaveOptions, LaunchTemplateEnclaveOptionsRequest,
    LaunchTemplateHibernationOptions, LaunchTemplateHibernationOptionsRequest, LaunchTemplateHttpTokensState,
    LaunchTemplateIamInstanceProfileSpecification, LaunchTemplateIamInstanceProfileSpecificationRequest,
    LaunchTemplateInstanceMaintenanceOptions, LaunchTemplateInstanceMaintenanceOptionsRequest, LaunchTemplateInstanceMarketOptions,
    LaunchTemplateInstanceMarketOptionsRequest, LaunchTemplateInstanceMetadataEndpointState, LaunchTemplateInstanceMetadataOptions,
    LaunchTemplateInstanceMetadataOptionsRequest, LaunchTemplateInstanceMetadataProtocolIpv6, LaunchTemplateInstanceMetadataTagsState,
    LaunchTemplateInstanceNetworkInterfaceSpecification, LaunchTemplateInstanceNetworkInterfaceSpecificationRequest,
    LaunchTemplateLicenseConfiguration, LaunchTemplateLicenseConfigurationRequest, LaunchTemplatePlacement, LaunchTemplatePlacementRequest,
    LaunchTemplatePrivateDnsNameOptions, LaunchTemplatePrivateDnsNameOptionsRequest, LaunchTemplateSpecification,
    LaunchTemplateSpotMarketOptions, LaunchTemplateSpotMarketOptionsRequest, LaunchTemplateTagSpecification,
    LaunchTemplateTagSpecificationRequest, LaunchTemplatesMonitoring, LaunchTemplatesMonitoringRequest, LicenseConfigurationRequest,
    MarketType, Placement, PrivateDnsNameOptionsRequest, PrivateDnsNameOptionsResponse, PrivateIpAddressSpecification,
    RequestLaunchTemplateData, ResourceType, ResponseLaunchTemplateData, RunInstancesMonitoringEnabled, ShutdownBehavior, SpotInstanceType,
    SpotMarketOptions, Tag, Tenancy, VolumeType,
};
use serde_json::Value;

words! {
    AmdSevSnpSpecification,
    CapacityReservationPreference,
    HostnameType,
    HttpTokensState,
    InstanceAutoRecoveryState,
    InstanceInterruptionBehavior,
    InstanceMetadataEndpointState,
    InstanceMetadataProtocolState,
    InstanceMetadataTagsState,
    InstanceType,
    LaunchTemplateAutoRecoveryState,
    LaunchTemplateHttpTokensState,
    LaunchTemplateInstanceMetadataEndpointState,
    LaunchTemplateInstanceMetadataProtocolIpv6,
    LaunchTemplateInstanceMetadataTagsState,
    MarketType,
    ResourceType,
    ShutdownBehavior,
    SpotInstanceType,
    Tenancy,
    VolumeType,
}

/// Structures with the same fields, none of them required: AWS often has one for the request and another for the answer.
macro_rules! alike {
    (@one $type:ident { $($key:literal: $field:ident),* $(,)? }) => {
        impl Form for $type {
            fn read(value: &Value) -> Result<Self, CloudError> {
                refuse_unknown(stringify!($type), value, &[$($key),*])?;
                let mut made = Self::builder().build();
                $(made.$field = take(value, $key)?;)*
                Ok(made)
            }

            fn write(&self) -> Value {
                object([$(($key, self.$field.write())),*])
            }
        }
    };
    ($([$($type:ident),* $(,)?] $table:tt)*) => { $($(alike!(@one $type $table);)*)* };
}

alike! {
    [RequestLaunchTemplateData, ResponseLaunchTemplateData] {
        "blockDeviceMappings": block_device_mappings,
        "capacityReservationSpecification": capacity_reservation_specification,
        "cpuOptions": cpu_options,
        "creditSpecification": credit_specification,
        "disableAPIStop": disable_api_stop,
        "disableAPITermination": disable_api_termination,
        "ebsOptimized": ebs_optimized,
        "enclaveOptions": enclave_options,
        "hibernationOptions": hibernation_options,
        "iamInstanceProfile": iam_instance_profile,
        "imageID": image_id,
        "instanceInitiatedShutdownBehavior": instance_initiated_shutdown_behavior,
        "instanceMarketOptions": instance_market_options,
        "instanceType": instance_type,
        "kernelID": kernel_id,
        "keyName": key_name,
        "licenseSpecifications": license_specifications,
        "maintenanceOptions": maintenance_options,
        "metadataOptions": metadata_options,
        "monitoring": monitoring,
        "networkInterfaces": network_interfaces,
        "placement": placement,
        "privateDNSNameOptions": private_dns_name_options,
        "ramDiskID": ram_disk_id,
        "securityGroupIDs": security_group_ids,
        "securityGroups": security_groups,
        "tagSpecifications": tag_specifications,
        "userData": user_data,
    }
    [LaunchTemplateBlockDeviceMappingRequest, BlockDeviceMapping, LaunchTemplateBlockDeviceMapping] {
        "deviceName": device_name,
        "ebs": ebs,
        "noDevice": no_device,
        "virtualName": virtual_name,
    }
    [LaunchTemplateEbsBlockDeviceRequest, EbsBlockDevice, LaunchTemplateEbsBlockDevice] {
        "deleteOnTermination": delete_on_termination,
        "encrypted": encrypted,
        "iops": iops,
        "kmsKeyID": kms_key_id,
        "snapshotID": snapshot_id,
        "throughput": throughput,
        "volumeSize": volume_size,
        "volumeType": volume_type,
    }
    [
        LaunchTemplateCapacityReservationSpecificationRequest, CapacityReservationSpecification,
        LaunchTemplateCapacityReservationSpecificationResponse, CapacityReservationSpecificationResponse,
    ] {
        "capacityReservationPreference": capacity_reservation_preference,
        "capacityReservationTarget": capacity_reservation_target,
    }
    [CapacityReservationTarget, CapacityReservationTargetResponse] {
        "capacityReservationID": capacity_reservation_id,
        "capacityReservationResourceGroupARN": capacity_reservation_resource_group_arn,
    }
    [LaunchTemplateCpuOptionsRequest, CpuOptionsRequest, LaunchTemplateCpuOptions, CpuOptions] {
        "amdSevSnp": amd_sev_snp,
        "coreCount": core_count,
        "threadsPerCore": threads_per_core,
    }
    [CreditSpecificationRequest, CreditSpecification] {
        "cpuCredits": cpu_credits,
    }
    [
        LaunchTemplateEnclaveOptionsRequest, LaunchTemplatesMonitoringRequest, EnclaveOptionsRequest, RunInstancesMonitoringEnabled,
        LaunchTemplateEnclaveOptions, LaunchTemplatesMonitoring, EnclaveOptions,
    ] {
        "enabled": enabled,
    }
    [LaunchTemplateHibernationOptionsRequest, HibernationOptionsRequest, LaunchTemplateHibernationOptions, HibernationOptions] {
        "configured": configured,
    }
    [LaunchTemplateIamInstanceProfileSpecificationRequest, IamInstanceProfileSpecification, LaunchTemplateIamInstanceProfileSpecification] {
        "arn": arn,
        "name": name,
    }
    [LaunchTemplateInstanceMarketOptionsRequest, InstanceMarketOptionsRequest, LaunchTemplateInstanceMarketOptions] {
        "marketType": market_type,
        "spotOptions": spot_options,
    }
    [LaunchTemplateSpotMarketOptionsRequest, SpotMarketOptions, LaunchTemplateSpotMarketOptions] {
        "blockDurationMinutes": block_duration_minutes,
        "instanceInterruptionBehavior": instance_interruption_behavior,
        "maxPrice": max_price,
        "spotInstanceType": spot_instance_type,
        "validUntil": valid_until,
    }
    [LaunchTemplateLicenseConfigurationRequest, LicenseConfigurationRequest, LaunchTemplateLicenseConfiguration] {
        "licenseConfigurationARN": license_configuration_arn,
    }
    [
        LaunchTemplateInstanceMaintenanceOptionsRequest, InstanceMaintenanceOptionsRequest, LaunchTemplateInstanceMaintenanceOptions,
        InstanceMaintenanceOptions,
    ] {
        "autoRecovery": auto_recovery,
    }
    [
        LaunchTemplateInstanceMetadataOptionsRequest, InstanceMetadataOptionsRequest, LaunchTemplateInstanceMetadataOptions,
        InstanceMetadataOptionsResponse,
    ] {
        "httpEndpoint": http_endpoint,
        "httpProtocolIPv6": http_protocol_ipv6,
        "httpPutResponseHopLimit": http_put_response_hop_limit,
        "httpTokens": http_tokens,
        "instanceMetadataTags": instance_metadata_tags,
    }
    [
        LaunchTemplateInstanceNetworkInterfaceSpecificationRequest, InstanceNetworkInterfaceSpecification,
        LaunchTemplateInstanceNetworkInterfaceSpecification,
    ] {
        "associateCarrierIPAddress": associate_carrier_ip_address,
        "associatePublicIPAddress": associate_public_ip_address,
        "deleteOnTermination": delete_on_termination,
        "description": description,
        "deviceIndex": device_index,
        "groups": groups,
        "interfaceType": interface_type,
        "ipv4PrefixCount": ipv4_prefix_count,
        "ipv4Prefixes": ipv4_prefixes,
        "ipv6AddressCount": ipv6_address_count,
        "ipv6Addresses": ipv6_addresses,
        "ipv6PrefixCount": ipv6_prefix_count,
        "ipv6Prefixes": ipv6_prefixes,
        "networkCardIndex": network_card_index,
        "networkInterfaceID": network_interface_id,
        "privateIPAddress": private_ip_address,
        "privateIPAddresses": private_ip_addresses,
        "secondaryPrivateIPAddressCount": secondary_private_ip_address_count,
        "subnetID": subnet_id,
    }
    [Ipv4PrefixSpecificationRequest, Ipv4PrefixSpecificationResponse] {
        "ipv4Prefix": ipv4_prefix,
    }
    [Ipv6PrefixSpecificationRequest, Ipv6PrefixSpecificationResponse] {
        "ipv6Prefix": ipv6_prefix,
    }
    [InstanceIpv6AddressRequest, InstanceIpv6Address] {
        "ipv6Address": ipv6_address,
    }
    [PrivateIpAddressSpecification] {
        "primary": primary,
        "privateIPAddress": private_ip_address,
    }
    [LaunchTemplatePlacementRequest, Placement, LaunchTemplatePlacement] {
        "affinity": affinity,
        "availabilityZone": availability_zone,
        "groupName": group_name,
        "hostID": host_id,
        "hostResourceGroupARN": host_resource_group_arn,
        "partitionNumber": partition_number,
        "spreadDomain": spread_domain,
        "tenancy": tenancy,
    }
    [
        LaunchTemplatePrivateDnsNameOptionsRequest, PrivateDnsNameOptionsRequest, LaunchTemplatePrivateDnsNameOptions,
        PrivateDnsNameOptionsResponse,
    ] {
        "enableResourceNameDNSARecord": enable_resource_name_dns_a_record,
        "enableResourceNameDNSAAAARecord": enable_resource_name_dns_aaaa_record,
        "hostnameType": hostname_type,
    }
    [LaunchTemplateTagSpecificationRequest, LaunchTemplateTagSpecification] {
        "resourceType": resource_type,
        "tags": tags,
    }
    [Tag] {
        "key": key,
        "value": value,
    }
    [Instance] {
        "capacityReservationSpecification": capacity_reservation_specification,
        "cpuOptions": cpu_options,
        "ebsOptimized": ebs_optimized,
        "enclaveOptions": enclave_options,
        "hibernationOptions": hibernation_options,
        "imageID": image_id,
        "instanceType": instance_type,
        "kernelID": kernel_id,
        "keyName": key_name,
        "maintenanceOptions": maintenance_options,
        "metadataOptions": metadata_options,
        "placement": placement,
        "privateDNSNameOptions": private_dns_name_options,
        "privateIPAddress": private_ip_address,
        "ramDiskID": ramdisk_id,
        "subnetID": subnet_id,
    }
    [LaunchTemplateSpecification] {
        "launchTemplateID": launch_template_id,
        "launchTemplateName": launch_template_name,
        "version": version,
    }
}
