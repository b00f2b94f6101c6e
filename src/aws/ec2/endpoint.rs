//! VPC endpoints.

use super::{apart, arn, state, tag, tag_specifications, tags, text, time};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, refers};
use async_trait::async_trait;
use aws_sdk_ec2::types::{
    self, DnsOptionsSpecification, DnsRecordIpType, IpAddressType, ResourceType, SecurityGroupIdentifier, VpcEndpointType,
};
use serde_json::json;

static VPC_ENDPOINT: Schema = Schema {
    service: "ec2",
    kind: "VPCEndpoint",
    identity: Identity::Key(&["vpcID", "serviceName"]),
    fields: &[
        field("dnsOptions.dnsRecordIPType"),
        field("ipAddressType"),
        field("policyDocument").policy(),
        field("privateDNSEnabled"),
        field("routeTableIDs").set(),
        field("securityGroupIDs").set(),
        field("serviceName").fixed(),
        field("serviceRegion").fixed(),
        field("subnetIDs").set(),
        field("vpcEndpointType").fixed(),
        field("vpcID").fixed(),
    ],
    references: &[
        refers("vpcID", "vpcRef", "ec2", "VPC", "vpcID"),
        refers("routeTableIDs[]", "routeTableRefs[]", "ec2", "RouteTable", "routeTableID"),
        refers("securityGroupIDs[]", "securityGroupRefs[]", "ec2", "SecurityGroup", "id"),
        refers("subnetIDs[]", "subnetRefs[]", "ec2", "Subnet", "subnetID"),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 60,
};

pub(super) struct VpcEndpoint;

#[async_trait]
impl Kind for VpcEndpoint {
    fn schema(&self) -> &'static Schema {
        &VPC_ENDPOINT
    }

    async fn list(&self, cloud: &Cloud, _: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let endpoints = cloud.ec2().describe_vpc_endpoints().into_paginator().items().send().try_collect().await;
        let endpoints = endpoints.map_err(|error| CloudError::new("ec2 DescribeVpcEndpoints", &error))?;
        Ok(endpoints.iter().map(|endpoint| living(cloud, endpoint)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud
            .ec2()
            .create_vpc_endpoint()
            .set_dns_options(dns_options(wanted))
            .set_ip_address_type(wanted.text("ipAddressType").map(IpAddressType::from))
            .set_policy_document(text(wanted, "policyDocument"))
            .set_private_dns_enabled(wanted.flag("privateDNSEnabled"))
            .set_route_table_ids(some(wanted.texts("routeTableIDs")))
            .set_security_group_ids(some(wanted.texts("securityGroupIDs")))
            .set_service_name(text(wanted, "serviceName"))
            .set_service_region(text(wanted, "serviceRegion"))
            .set_subnet_ids(some(wanted.texts("subnetIDs")))
            .set_vpc_endpoint_type(wanted.text("vpcEndpointType").map(VpcEndpointType::from))
            .set_vpc_id(text(wanted, "vpcID"))
            .client_token(&wanted.token)
            .tag_specifications(tag_specifications(ResourceType::VpcEndpoint, wanted));
        let made = call.send().await.map_err(|error| CloudError::new("ec2 CreateVpcEndpoint", &error))?;
        let endpoint = made.vpc_endpoint().ok_or_else(|| CloudError::malformed("ec2 CreateVpcEndpoint", "VpcEndpoint"))?;
        Ok(living(cloud, endpoint))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differences.iter().any(|difference| difference.path != "tags") {
            let list = |path| if differs(differences, path) { apart(wanted, living, path) } else { Default::default() };
            let (tables, old_tables) = list("routeTableIDs");
            let (groups, old_groups) = list("securityGroupIDs");
            let (subnets, old_subnets) = list("subnetIDs");
            let word = |path| text(wanted, path).filter(|_| differs(differences, path));
            let call = cloud
                .ec2()
                .modify_vpc_endpoint()
                .vpc_endpoint_id(&living.id)
                .set_add_route_table_ids(some(tables))
                .set_remove_route_table_ids(some(old_tables))
                .set_add_security_group_ids(some(groups))
                .set_remove_security_group_ids(some(old_groups))
                .set_add_subnet_ids(some(subnets))
                .set_remove_subnet_ids(some(old_subnets))
                .set_dns_options(dns_options(wanted).filter(|_| differs(differences, "dnsOptions.dnsRecordIPType")))
                .set_ip_address_type(word("ipAddressType").as_deref().map(IpAddressType::from))
                .set_policy_document(word("policyDocument"))
                .set_private_dns_enabled(wanted.flag("privateDNSEnabled").filter(|_| differs(differences, "privateDNSEnabled")));
            call.send().await.map_err(|error| CloudError::new("ec2 ModifyVpcEndpoint", &error))?;
        }
        if differs(differences, "tags") { tag(cloud, &living.id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let found = cloud.ec2().describe_vpc_endpoints().vpc_endpoint_ids(&living.id).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("ec2 DescribeVpcEndpoints", &error)))?;
        Ok(found.and_then(|found| found.vpc_endpoints().first().map(|endpoint| self::living(cloud, endpoint))))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        const CALL: &str = "ec2 DeleteVpcEndpoints";
        let deleted = cloud.ec2().delete_vpc_endpoints().vpc_endpoint_ids(&living.id).send().await;
        let Some(deleted) = or_absent(deleted.map_err(|error| CloudError::new(CALL, &error)))? else { return Ok(()) };
        // The call succeeds though the deletion does not.
        let errors = deleted.unsuccessful().iter().filter_map(types::UnsuccessfulItem::error);
        let real = errors.map(|error| (error.code().unwrap_or_default(), error.message().unwrap_or_default()));
        match real.into_iter().find(|(code, _)| !code.contains("NotFound")) {
            Some((code, message)) => Err(CloudError { code: code.to_owned(), ..CloudError::invalid(CALL, message) }),
            None => Ok(()),
        }
    }

    fn poll(&self) -> u32 {
        5
    }
}

/// AWS refuses empty lists where a kind of endpoint has no such thing.
fn some(list: Vec<String>) -> Option<Vec<String>> {
    Some(list).filter(|list| !list.is_empty())
}

fn dns_options(wanted: &Wanted) -> Option<DnsOptionsSpecification> {
    let kind = DnsRecordIpType::from(wanted.text("dnsOptions.dnsRecordIPType")?);
    Some(DnsOptionsSpecification::builder().dns_record_ip_type(kind).build())
}

fn living(cloud: &Cloud, endpoint: &types::VpcEndpoint) -> Living {
    let id = endpoint.vpc_endpoint_id().unwrap_or_default();
    let word = endpoint.state().map_or("", |state| state.as_str());
    let error = endpoint.last_error().and_then(|error| error.message()).or(endpoint.failure_reason());
    Living {
        id: id.to_owned(),
        spec: json!({
            "dnsOptions": {"dnsRecordIPType": endpoint.dns_options().and_then(|options| options.dns_record_ip_type()).map(DnsRecordIpType::as_str)},
            "ipAddressType": endpoint.ip_address_type().map(IpAddressType::as_str),
            "policyDocument": endpoint.policy_document(),
            "privateDNSEnabled": endpoint.private_dns_enabled(),
            "routeTableIDs": endpoint.route_table_ids(),
            "securityGroupIDs": endpoint.groups().iter().filter_map(SecurityGroupIdentifier::group_id).collect::<Vec<_>>(),
            "serviceName": endpoint.service_name(),
            "serviceRegion": endpoint.service_region(),
            "subnetIDs": endpoint.subnet_ids(),
            "vpcEndpointType": endpoint.vpc_endpoint_type().map(VpcEndpointType::as_str),
            "vpcID": endpoint.vpc_id(),
        }),
        status: json!({
            "vpcEndpointID": id,
            "ownerID": endpoint.owner_id(),
            "state": word,
            "networkInterfaceIDs": endpoint.network_interface_ids(),
            "dnsEntries": endpoint.dns_entries().iter()
                .map(|entry| json!({"dnsName": entry.dns_name(), "hostedZoneID": entry.hosted_zone_id()})).collect::<Vec<_>>(),
            "ackResourceMetadata": {"arn": arn(cloud, "vpc-endpoint", id)},
        }),
        tags: tags(endpoint.tags()),
        state: state(word, error),
        created: time(endpoint.creation_timestamp()),
    }
}
