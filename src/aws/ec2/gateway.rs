//! Internet gateways, NAT gateways, and the addresses of these.

use super::route::{associate, associated, tables};
use super::{arn, filter, once, state, tag, tag_specifications, tagged, tags, text, time};
use crate::aws::error::{Meaning, or_absent};
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, refers};
use async_trait::async_trait;
use aws_sdk_ec2::types::{self, AttachmentStatus, AvailabilityMode, ConnectivityType, DomainType, ResourceType};
use futures::future::try_join;
use serde_json::{Value, json};

static INTERNET_GATEWAY: Schema = Schema {
    service: "ec2",
    kind: "InternetGateway",
    identity: Identity::Key(&["vpc"]),
    fields: &[field("routeTables").set(), field("vpc")],
    references: &[
        refers("vpc", "vpcRef", "ec2", "VPC", "vpcID"),
        // These tables may lead to this very gateway.
        refers("routeTables[]", "routeTableRefs[]", "ec2", "RouteTable", "routeTableID").late(),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 3,
};

static NAT_GATEWAY: Schema = Schema {
    service: "ec2",
    kind: "NATGateway",
    identity: Identity::Key(&["subnetID"]),
    fields: &[
        field("allocationID").fixed(),
        field("availabilityMode").fixed(),
        field("connectivityType").fixed(),
        field("subnetID").fixed(),
        field("vpcID").fixed(),
    ],
    references: &[
        refers("allocationID", "allocationRef", "ec2", "ElasticIPAddress", "allocationID"),
        refers("subnetID", "subnetRef", "ec2", "Subnet", "subnetID"),
        refers("vpcID", "vpcRef", "ec2", "VPC", "vpcID"),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 110,
};

static ELASTIC_IP_ADDRESS: Schema = Schema {
    service: "ec2",
    kind: "ElasticIPAddress",
    identity: Identity::Tags,
    fields: &[
        field("address").fixed(),
        field("customerOwnedIPv4Pool").fixed(),
        field("networkBorderGroup").fixed(),
        field("publicIPv4Pool").fixed(),
    ],
    references: &[],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 2,
};

pub(super) struct InternetGateway;

#[async_trait]
impl Kind for InternetGateway {
    fn schema(&self) -> &'static Schema {
        &INTERNET_GATEWAY
    }

    async fn list(&self, cloud: &Cloud, _: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let gateways = async {
            let pages = cloud.ec2().describe_internet_gateways().into_paginator().items().send();
            pages.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeInternetGateways", &error))
        };
        let (gateways, tables) = try_join(gateways, tables(cloud, None)).await?;
        Ok(gateways.iter().map(|gateway| living_internet(cloud, gateway, &tables)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud.ec2().create_internet_gateway().tag_specifications(tag_specifications(ResourceType::InternetGateway, wanted));
        let made =
            call.customize().config_override(once()).send().await.map_err(|error| CloudError::new("ec2 CreateInternetGateway", &error))?;
        let gateway = made.internet_gateway().ok_or_else(|| CloudError::malformed("ec2 CreateInternetGateway", "InternetGateway"))?;
        Ok(living_internet(cloud, gateway, &[]))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "vpc") {
            // One that is attached elsewhere is refused here: the way out of a living VPC is not cut.
            let call = cloud.ec2().attach_internet_gateway().internet_gateway_id(&living.id).set_vpc_id(text(wanted, "vpc"));
            call.send().await.map_err(|error| CloudError::new("ec2 AttachInternetGateway", &error))?;
        }
        if differs(differences, "routeTables") {
            associate(cloud, &wanted.texts("routeTables"), &living.id, wanted.text("vpc")).await?;
        }
        if differs(differences, "tags") { tag(cloud, &living.id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let gateway = async {
            let found = cloud.ec2().describe_internet_gateways().internet_gateway_ids(&living.id).send().await;
            found.map_err(|error| CloudError::new("ec2 DescribeInternetGateways", &error))
        };
        let Some((found, tables)) = or_absent(try_join(gateway, tables(cloud, attached_to(living))).await)? else { return Ok(None) };
        Ok(found.internet_gateways().first().map(|gateway| living_internet(cloud, gateway, &tables)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        if let Some(vpc) = attached_to(living) {
            associate(cloud, &[], &living.id, Some(vpc)).await?;
            let detached = cloud.ec2().detach_internet_gateway().internet_gateway_id(&living.id).vpc_id(vpc).send().await;
            or_absent(detached.map_err(|error| CloudError::new("ec2 DetachInternetGateway", &error)))?;
        }
        let deleted = cloud.ec2().delete_internet_gateway().internet_gateway_id(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ec2 DeleteInternetGateway", &error))).map(drop)
    }
}

fn attached_to(living: &Living) -> Option<&str> {
    at(&living.spec, "vpc").and_then(Value::as_str)
}

fn living_internet(cloud: &Cloud, gateway: &types::InternetGateway, tables: &[types::RouteTable]) -> Living {
    let id = gateway.internet_gateway_id().unwrap_or_default();
    let is_left = |state: Option<&AttachmentStatus>| matches!(state, Some(AttachmentStatus::Detached | AttachmentStatus::Detaching));
    let attachment = gateway.attachments().iter().find(|attachment| !is_left(attachment.state()));
    Living {
        id: id.to_owned(),
        spec: json!({"routeTables": associated(tables, id), "vpc": attachment.and_then(|attachment| attachment.vpc_id())}),
        status: json!({
            "internetGatewayID": id,
            "ownerID": gateway.owner_id(),
            "ackResourceMetadata": {"arn": arn(cloud, "internet-gateway", id)},
        }),
        tags: tags(gateway.tags()),
        state: State::Ready,
        created: None,
    }
}

pub(super) struct NatGateway;

#[async_trait]
impl Kind for NatGateway {
    fn schema(&self) -> &'static Schema {
        &NAT_GATEWAY
    }

    async fn list(&self, cloud: &Cloud, _: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        // Failed and deleted ones are shown for an hour, and count as gone.
        let call = cloud.ec2().describe_nat_gateways().filter(filter("state", ["pending", "available"]));
        let gateways = call.into_paginator().items().send().try_collect().await;
        let gateways = gateways.map_err(|error| CloudError::new("ec2 DescribeNatGateways", &error))?;
        Ok(gateways.iter().map(|gateway| living_nat(cloud, gateway)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        if wanted.text("connectivityType") != Some("private") {
            expect_internet_gateway(cloud, "ec2 CreateNatGateway", vpc_of(cloud, wanted).await?.as_deref()).await?;
        }
        let call = cloud
            .ec2()
            .create_nat_gateway()
            .set_allocation_id(text(wanted, "allocationID"))
            .set_availability_mode(wanted.text("availabilityMode").map(AvailabilityMode::from))
            .set_connectivity_type(wanted.text("connectivityType").map(ConnectivityType::from))
            .set_subnet_id(text(wanted, "subnetID"))
            .set_vpc_id(text(wanted, "vpcID"))
            .client_token(&wanted.token)
            .tag_specifications(tag_specifications(ResourceType::Natgateway, wanted));
        let made = call.send().await.map_err(|error| CloudError::new("ec2 CreateNatGateway", &error))?;
        let gateway = made.nat_gateway().ok_or_else(|| CloudError::malformed("ec2 CreateNatGateway", "NatGateway"))?;
        Ok(living_nat(cloud, gateway))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "tags") { tag(cloud, &living.id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let found = cloud.ec2().describe_nat_gateways().nat_gateway_ids(&living.id).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("ec2 DescribeNatGateways", &error)))?;
        Ok(found.and_then(|found| found.nat_gateways().first().map(|gateway| living_nat(cloud, gateway))))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.ec2().delete_nat_gateway().nat_gateway_id(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ec2 DeleteNatGateway", &error))).map(drop)
    }

    fn poll(&self) -> u32 {
        5
    }
}

/// The VPC of a gateway that is to be made.
async fn vpc_of(cloud: &Cloud, wanted: &Wanted) -> Result<Option<String>, CloudError> {
    let Some(subnet) = wanted.text("subnetID") else { return Ok(text(wanted, "vpcID")) };
    let found = cloud.ec2().describe_subnets().subnet_ids(subnet).send().await;
    let found = found.map_err(|error| CloudError::new("ec2 DescribeSubnets", &error))?;
    Ok(found.subnets().first().and_then(|subnet| subnet.vpc_id.clone()))
}

/// What needs a way to the internet has to wait until the gateway is attached, which no reference tells: a route is refused
/// before, and a NAT gateway is made, fails some seconds later, and keeps its address for an hour.
pub(super) async fn expect_internet_gateway(cloud: &Cloud, operation: &'static str, vpc: Option<&str>) -> Result<(), CloudError> {
    let call = cloud.ec2().describe_internet_gateways().filters(filter("attachment.vpc-id", vpc));
    let found = call.send().await.map_err(|error| CloudError::new("ec2 DescribeInternetGateways", &error))?;
    if !found.internet_gateways().is_empty() {
        return Ok(());
    }
    Err(CloudError {
        operation,
        code: "Gateway.NotAttached".to_owned(),
        message: format!("no internet gateway is attached to {} yet", vpc.unwrap_or_default()),
        meaning: Meaning::Dependency,
    })
}

fn living_nat(cloud: &Cloud, gateway: &types::NatGateway) -> Living {
    let id = gateway.nat_gateway_id().unwrap_or_default();
    let addresses = gateway.nat_gateway_addresses();
    let address = addresses.iter().find(|address| address.is_primary() == Some(true)).or(addresses.first());
    let word = gateway.state().map_or("", |state| state.as_str());
    let reason = [gateway.failure_code(), gateway.failure_message()].into_iter().flatten().collect::<Vec<_>>().join(": ");
    Living {
        id: id.to_owned(),
        spec: json!({
            "allocationID": address.and_then(|address| address.allocation_id()),
            "availabilityMode": gateway.availability_mode().map(AvailabilityMode::as_str),
            "connectivityType": gateway.connectivity_type().map(ConnectivityType::as_str),
            "subnetID": gateway.subnet_id(),
            "vpcID": gateway.vpc_id(),
        }),
        status: json!({
            "natGatewayID": id,
            "state": word,
            "vpcID": gateway.vpc_id(),
            "natGatewayAddresses": addresses.iter().map(|address| json!({
                "allocationID": address.allocation_id(),
                "networkInterfaceID": address.network_interface_id(),
                "privateIP": address.private_ip(),
                "publicIP": address.public_ip(),
            })).collect::<Vec<_>>(),
            "ackResourceMetadata": {"arn": arn(cloud, "natgateway", id)},
        }),
        tags: tags(gateway.tags()),
        state: state(word, Some(&reason).filter(|reason| !reason.is_empty()).map(String::as_str)),
        created: time(gateway.create_time()),
    }
}

pub(super) struct ElasticIpAddress;

#[async_trait]
impl Kind for ElasticIpAddress {
    fn schema(&self) -> &'static Schema {
        &ELASTIC_IP_ADDRESS
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        // This one tells all in one answer.
        let found = cloud.ec2().describe_addresses().set_filters(tagged(wanted)).send().await;
        let found = found.map_err(|error| CloudError::new("ec2 DescribeAddresses", &error))?;
        Ok(found.addresses().iter().map(|address| living_address(cloud, address)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud
            .ec2()
            .allocate_address()
            .domain(DomainType::Vpc)
            .set_address(text(wanted, "address"))
            .set_customer_owned_ipv4_pool(text(wanted, "customerOwnedIPv4Pool"))
            .set_network_border_group(text(wanted, "networkBorderGroup"))
            .set_public_ipv4_pool(text(wanted, "publicIPv4Pool"))
            .tag_specifications(tag_specifications(ResourceType::ElasticIp, wanted));
        let made = call.customize().config_override(once()).send().await.map_err(|error| CloudError::new("ec2 AllocateAddress", &error))?;
        let id = made.allocation_id().ok_or_else(|| CloudError::malformed("ec2 AllocateAddress", "AllocationId"))?;
        Ok(living_address(cloud, &types::Address::builder().allocation_id(id).set_public_ip(made.public_ip.clone()).build()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "tags") { tag(cloud, &living.id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let found = cloud.ec2().describe_addresses().allocation_ids(&living.id).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("ec2 DescribeAddresses", &error)))?;
        Ok(found.and_then(|found| found.addresses().first().map(|address| living_address(cloud, address))))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let released = cloud.ec2().release_address().allocation_id(&living.id).send().await;
        let released = released.map_err(|error| match CloudError::new("ec2 ReleaseAddress", &error) {
            // What AWS says of an address that a NAT gateway still has; the credentials are good.
            error if error.code == "AuthFailure" => CloudError { meaning: Meaning::Dependency, ..error },
            error => error,
        });
        or_absent(released).map(drop)
    }
}

fn living_address(cloud: &Cloud, address: &types::Address) -> Living {
    let id = address.allocation_id().unwrap_or_default();
    Living {
        id: id.to_owned(),
        spec: json!({
            "address": address.public_ip(),
            "customerOwnedIPv4Pool": address.customer_owned_ipv4_pool(),
            "networkBorderGroup": address.network_border_group(),
            "publicIPv4Pool": address.public_ipv4_pool(),
        }),
        status: json!({
            "allocationID": id,
            "publicIP": address.public_ip(),
            "carrierIP": address.carrier_ip(),
            "customerOwnedIP": address.customer_owned_ip(),
            "ackResourceMetadata": {"arn": arn(cloud, "elastic-ip", id)},
        }),
        tags: tags(address.tags()),
        state: State::Ready,
        created: None,
    }
}
