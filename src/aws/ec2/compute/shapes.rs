//! The parts of launch templates and instances, field by field. What AWS no longer offers (elastic graphics, elastic inference) has no table.

use crate::aws::elbv2::words::{enumerations, words};
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

enumerations! {
    AmdSevSnpSpecification
    CapacityReservationPreference
    HostnameType
    HttpTokensState
    InstanceAutoRecoveryState
    InstanceInterruptionBehavior
    InstanceMetadataEndpointState
    InstanceMetadataProtocolState
    InstanceMetadataTagsState
    InstanceType
    LaunchTemplateAutoRecoveryState
    LaunchTemplateHttpTokensState
    LaunchTemplateInstanceMetadataEndpointState
    LaunchTemplateInstanceMetadataProtocolIpv6
    LaunchTemplateInstanceMetadataTagsState
    MarketType
    ResourceType
    ShutdownBehavior
    SpotInstanceType
    Tenancy
    VolumeType
}

words! {
    [RequestLaunchTemplateData] => [ResponseLaunchTemplateData] {
        block_device_mappings "blockDeviceMappings"
        capacity_reservation_specification "capacityReservationSpecification"
        cpu_options "cpuOptions"
        credit_specification "creditSpecification"
        disable_api_stop "disableAPIStop"
        disable_api_termination "disableAPITermination"
        ebs_optimized "ebsOptimized"
        enclave_options "enclaveOptions"
        hibernation_options "hibernationOptions"
        iam_instance_profile "iamInstanceProfile"
        image_id "imageID"
        instance_initiated_shutdown_behavior "instanceInitiatedShutdownBehavior"
        instance_market_options "instanceMarketOptions"
        instance_type "instanceType"
        kernel_id "kernelID"
        key_name "keyName"
        license_specifications "licenseSpecifications"
        maintenance_options "maintenanceOptions"
        metadata_options "metadataOptions"
        monitoring "monitoring"
        network_interfaces "networkInterfaces"
        placement "placement"
        private_dns_name_options "privateDNSNameOptions"
        ram_disk_id "ramDiskID"
        security_group_ids "securityGroupIDs"
        security_groups "securityGroups"
        tag_specifications "tagSpecifications"
        user_data "userData"
    }
    [LaunchTemplateBlockDeviceMappingRequest BlockDeviceMapping] => [LaunchTemplateBlockDeviceMapping] {
        device_name "deviceName"
        ebs "ebs"
        no_device "noDevice"
        virtual_name "virtualName"
    }
    [LaunchTemplateEbsBlockDeviceRequest EbsBlockDevice] => [LaunchTemplateEbsBlockDevice] {
        delete_on_termination "deleteOnTermination"
        encrypted "encrypted"
        iops "iops"
        kms_key_id "kmsKeyID"
        snapshot_id "snapshotID"
        throughput "throughput"
        volume_size "volumeSize"
        volume_type "volumeType"
    }
    [
        LaunchTemplateCapacityReservationSpecificationRequest CapacityReservationSpecification
    ] => [
        LaunchTemplateCapacityReservationSpecificationResponse CapacityReservationSpecificationResponse
    ] {
        capacity_reservation_preference "capacityReservationPreference"
        capacity_reservation_target "capacityReservationTarget"
    }
    [CapacityReservationTarget] => [CapacityReservationTargetResponse] {
        capacity_reservation_id "capacityReservationID"
        capacity_reservation_resource_group_arn "capacityReservationResourceGroupARN"
    }
    [LaunchTemplateCpuOptionsRequest CpuOptionsRequest] => [LaunchTemplateCpuOptions CpuOptions] {
        amd_sev_snp "amdSevSnp"
        core_count "coreCount"
        threads_per_core "threadsPerCore"
    }
    [CreditSpecificationRequest] => [CreditSpecification] {
        cpu_credits "cpuCredits"
    }
    [
        LaunchTemplateEnclaveOptionsRequest LaunchTemplatesMonitoringRequest EnclaveOptionsRequest RunInstancesMonitoringEnabled
    ] => [
        LaunchTemplateEnclaveOptions LaunchTemplatesMonitoring EnclaveOptions
    ] {
        enabled "enabled"
    }
    [LaunchTemplateHibernationOptionsRequest HibernationOptionsRequest] => [LaunchTemplateHibernationOptions HibernationOptions] {
        configured "configured"
    }
    [
        LaunchTemplateIamInstanceProfileSpecificationRequest IamInstanceProfileSpecification
    ] => [
        LaunchTemplateIamInstanceProfileSpecification
    ] {
        arn "arn"
        name "name"
    }
    [LaunchTemplateInstanceMarketOptionsRequest InstanceMarketOptionsRequest] => [LaunchTemplateInstanceMarketOptions] {
        market_type "marketType"
        spot_options "spotOptions"
    }
    [LaunchTemplateSpotMarketOptionsRequest SpotMarketOptions] => [LaunchTemplateSpotMarketOptions] {
        block_duration_minutes "blockDurationMinutes"
        instance_interruption_behavior "instanceInterruptionBehavior"
        max_price "maxPrice"
        spot_instance_type "spotInstanceType"
        valid_until "validUntil"
    }
    [LaunchTemplateLicenseConfigurationRequest LicenseConfigurationRequest] => [LaunchTemplateLicenseConfiguration] {
        license_configuration_arn "licenseConfigurationARN"
    }
    [
        LaunchTemplateInstanceMaintenanceOptionsRequest InstanceMaintenanceOptionsRequest
    ] => [
        LaunchTemplateInstanceMaintenanceOptions InstanceMaintenanceOptions
    ] {
        auto_recovery "autoRecovery"
    }
    [
        LaunchTemplateInstanceMetadataOptionsRequest InstanceMetadataOptionsRequest
    ] => [
        LaunchTemplateInstanceMetadataOptions InstanceMetadataOptionsResponse
    ] {
        http_endpoint "httpEndpoint"
        http_protocol_ipv6 "httpProtocolIPv6"
        http_put_response_hop_limit "httpPutResponseHopLimit"
        http_tokens "httpTokens"
        instance_metadata_tags "instanceMetadataTags"
    }
    [
        LaunchTemplateInstanceNetworkInterfaceSpecificationRequest InstanceNetworkInterfaceSpecification
    ] => [
        LaunchTemplateInstanceNetworkInterfaceSpecification
    ] {
        associate_carrier_ip_address "associateCarrierIPAddress"
        associate_public_ip_address "associatePublicIPAddress"
        delete_on_termination "deleteOnTermination"
        description "description"
        device_index "deviceIndex"
        groups "groups"
        interface_type "interfaceType"
        ipv4_prefix_count "ipv4PrefixCount"
        ipv4_prefixes "ipv4Prefixes"
        ipv6_address_count "ipv6AddressCount"
        ipv6_addresses "ipv6Addresses"
        ipv6_prefix_count "ipv6PrefixCount"
        ipv6_prefixes "ipv6Prefixes"
        network_card_index "networkCardIndex"
        network_interface_id "networkInterfaceID"
        private_ip_address "privateIPAddress"
        private_ip_addresses "privateIPAddresses"
        secondary_private_ip_address_count "secondaryPrivateIPAddressCount"
        subnet_id "subnetID"
    }
    [Ipv4PrefixSpecificationRequest] => [Ipv4PrefixSpecificationResponse] {
        ipv4_prefix "ipv4Prefix"
    }
    [Ipv6PrefixSpecificationRequest] => [Ipv6PrefixSpecificationResponse] {
        ipv6_prefix "ipv6Prefix"
    }
    [InstanceIpv6AddressRequest InstanceIpv6Address] => [InstanceIpv6Address] {
        ipv6_address "ipv6Address"
    }
    [PrivateIpAddressSpecification] => [PrivateIpAddressSpecification] {
        primary "primary"
        private_ip_address "privateIPAddress"
    }
    [LaunchTemplatePlacementRequest Placement] => [LaunchTemplatePlacement Placement] {
        affinity "affinity"
        availability_zone "availabilityZone"
        group_name "groupName"
        host_id "hostID"
        host_resource_group_arn "hostResourceGroupARN"
        partition_number "partitionNumber"
        spread_domain "spreadDomain"
        tenancy "tenancy"
    }
    [
        LaunchTemplatePrivateDnsNameOptionsRequest PrivateDnsNameOptionsRequest
    ] => [
        LaunchTemplatePrivateDnsNameOptions PrivateDnsNameOptionsResponse
    ] {
        enable_resource_name_dns_a_record "enableResourceNameDNSARecord"
        enable_resource_name_dns_aaaa_record "enableResourceNameDNSAAAARecord"
        hostname_type "hostnameType"
    }
    [LaunchTemplateTagSpecificationRequest] => [LaunchTemplateTagSpecification] {
        resource_type "resourceType"
        tags "tags"
    }
    [Tag] => [Tag] {
        key "key"
        value "value"
    }
    [] => [Instance] {
        capacity_reservation_specification "capacityReservationSpecification"
        cpu_options "cpuOptions"
        ebs_optimized "ebsOptimized"
        enclave_options "enclaveOptions"
        hibernation_options "hibernationOptions"
        image_id "imageID"
        instance_type "instanceType"
        kernel_id "kernelID"
        key_name "keyName"
        maintenance_options "maintenanceOptions"
        metadata_options "metadataOptions"
        placement "placement"
        private_dns_name_options "privateDNSNameOptions"
        private_ip_address "privateIPAddress"
        ramdisk_id "ramDiskID"
        subnet_id "subnetID"
    }
    [LaunchTemplateSpecification] => [] {
        launch_template_id "launchTemplateID"
        launch_template_name "launchTemplateName"
        version "version"
    }
}
