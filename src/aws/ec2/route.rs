//! Route tables, and what is associated with them.

use super::gateway::expect_internet_gateway;
use super::{arn, filter, tag, tag_specifications, tagged, tags, text};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, refers};
use async_trait::async_trait;
use aws_sdk_ec2::operation::create_route::builders::CreateRouteFluentBuilder as Create;
use aws_sdk_ec2::operation::replace_route::builders::ReplaceRouteFluentBuilder as Replace;
use aws_sdk_ec2::types::{self, ResourceType, RouteOrigin, RouteTableAssociation};
use serde_json::{Value, json};

static ROUTE_TABLE: Schema = Schema {
    service: "ec2",
    kind: "RouteTable",
    identity: Identity::Tags,
    fields: &[field("routes").set(), field("vpcID").fixed()],
    references: &[
        refers("vpcID", "vpcRef", "ec2", "VPC", "vpcID"),
        // The gateway may be associated with this very table.
        refers("routes[].gatewayID", "routes[].gatewayRef", "ec2", "InternetGateway", "internetGatewayID").late(),
        // A gateway takes minutes; the table is there meanwhile for the subnets, and they for the cluster.
        refers("routes[].natGatewayID", "routes[].natGatewayRef", "ec2", "NATGateway", "natGatewayID").late(),
        refers("routes[].transitGatewayID", "routes[].transitGatewayRef", "ec2", "TransitGateway", "transitGatewayID"),
        refers("routes[].vpcEndpointID", "routes[].vpcEndpointRef", "ec2", "VPCEndpoint", "vpcEndpointID"),
        refers(
            "routes[].vpcPeeringConnectionID",
            "routes[].vpcPeeringConnectionRef",
            "ec2",
            "VPCPeeringConnection",
            "vpcPeeringConnectionID",
        ),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 3,
};

/// What tells one route of a table from another.
const DESTINATIONS: [&str; 3] = ["destinationCIDRBlock", "destinationIPv6CIDRBlock", "destinationPrefixListID"];

/// ACK's field, and the SDK's getter and setter.
macro_rules! parts {
    ($($field:literal: $get:ident, $set:ident;)*) => {
        const PARTS: &[&str] = &[$($field,)* "vpcEndpointID"];

        /// A route in the words of the manifest.
        fn told(route: &types::Route) -> Value {
            json!({$($field: route.$get(),)*
                // Routes to endpoints of load balancers are told as routes to a gateway.
                "vpcEndpointID": route.gateway_id().filter(|id| id.starts_with("vpce-")),
            })
        }

        fn create(call: Create, route: &Value) -> Create {
            call$(.$set(part(route, $field)))*.set_vpc_endpoint_id(part(route, "vpcEndpointID"))
        }

        fn replace(call: Replace, route: &Value) -> Replace {
            call$(.$set(part(route, $field)))*.set_vpc_endpoint_id(part(route, "vpcEndpointID"))
        }
    };
}

parts! {
    "carrierGatewayID": carrier_gateway_id, set_carrier_gateway_id;
    "coreNetworkARN": core_network_arn, set_core_network_arn;
    "destinationCIDRBlock": destination_cidr_block, set_destination_cidr_block;
    "destinationIPv6CIDRBlock": destination_ipv6_cidr_block, set_destination_ipv6_cidr_block;
    "destinationPrefixListID": destination_prefix_list_id, set_destination_prefix_list_id;
    "egressOnlyInternetGatewayID": egress_only_internet_gateway_id, set_egress_only_internet_gateway_id;
    "gatewayID": gateway_id, set_gateway_id;
    "instanceID": instance_id, set_instance_id;
    "localGatewayID": local_gateway_id, set_local_gateway_id;
    "natGatewayID": nat_gateway_id, set_nat_gateway_id;
    "networkInterfaceID": network_interface_id, set_network_interface_id;
    "transitGatewayID": transit_gateway_id, set_transit_gateway_id;
    "vpcPeeringConnectionID": vpc_peering_connection_id, set_vpc_peering_connection_id;
}

fn part(route: &Value, field: &str) -> Option<String> {
    route[field].as_str().map(str::to_owned)
}

pub(super) struct RouteTable;

#[async_trait]
impl Kind for RouteTable {
    fn schema(&self) -> &'static Schema {
        &ROUTE_TABLE
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let pages = cloud.ec2().describe_route_tables().set_filters(tagged(wanted)).into_paginator().items().send();
        let tables = pages.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeRouteTables", &error))?;
        Ok(tables.iter().map(|table| living(cloud, table)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud.ec2().create_route_table().set_vpc_id(text(wanted, "vpcID")).client_token(&wanted.token);
        let made = call.tag_specifications(tag_specifications(ResourceType::RouteTable, wanted)).send().await;
        let made = made.map_err(|error| CloudError::new("ec2 CreateRouteTable", &error))?;
        let table = made.route_table().ok_or_else(|| CloudError::malformed("ec2 CreateRouteTable", "RouteTable"))?;
        Ok(living(cloud, table))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "routes") {
            update_routes(cloud, wanted, living).await?;
        }
        if differs(differences, "tags") { tag(cloud, &living.id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        Ok(read(cloud, &living.id).await?.map(|table| self::living(cloud, &table)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let Some(table) = read(cloud, &living.id).await? else { return Ok(()) };
        for association in table.associations().iter().filter(|association| association.main() != Some(true)) {
            disassociate(cloud, association).await?;
        }
        let deleted = cloud.ec2().delete_route_table().route_table_id(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ec2 DeleteRouteTable", &error))).map(drop)
    }
}

async fn read(cloud: &Cloud, id: &str) -> Result<Option<types::RouteTable>, CloudError> {
    let found = cloud.ec2().describe_route_tables().route_table_ids(id).send().await;
    let found = or_absent(found.map_err(|error| CloudError::new("ec2 DescribeRouteTables", &error)))?;
    Ok(found.and_then(|found| found.route_tables.unwrap_or_default().into_iter().next()))
}

fn living(cloud: &Cloud, table: &types::RouteTable) -> Living {
    let id = table.route_table_id().unwrap_or_default();
    let routes: Vec<Value> = table.routes().iter().filter(|route| !is_made_by_aws(route)).map(told).collect();
    Living {
        id: id.to_owned(),
        spec: json!({"routes": routes, "vpcID": table.vpc_id()}),
        status: json!({
            "routeTableID": id,
            "ownerID": table.owner_id(),
            "ackResourceMetadata": {"arn": arn(cloud, "route-table", id)},
        }),
        tags: tags(table.tags()),
        state: State::Ready,
        created: None,
    }
}

/// Local routes, those of gateway endpoints, and propagated ones: ACK does not count them either.
fn is_made_by_aws(route: &types::Route) -> bool {
    let is_of_endpoint = route.destination_prefix_list_id().is_some() && route.gateway_id().is_some_and(|id| id.starts_with("vpce-"));
    is_of_endpoint || route.gateway_id() == Some("local") || route.origin().is_some_and(|origin| *origin != RouteOrigin::CreateRoute)
}

/// Makes, replaces and removes routes, so that the table has those that Git declares and no other, as ACK does.
async fn update_routes(cloud: &Cloud, wanted: &Wanted, living: &Living) -> Result<(), CloudError> {
    let list = |spec| at(spec, "routes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (declared, lives): (&[Value], &[Value]) = (list(&wanted.spec), list(&living.spec));
    let same_way = |one: &Value, other: &Value| DESTINATIONS.into_iter().all(|field| one[field] == other[field]);
    for route in declared.iter().filter(|route| route["gatewayID"] != "local") {
        let fields = route.as_object().into_iter().flatten();
        if let Some((field, _)) = fields.clone().find(|(field, _)| !PARTS.contains(&field.as_str())) {
            return Err(CloudError::invalid("ec2 CreateRoute", format!("spec.routes[].{field} is not honoured by blackstart")));
        }
        let there = lives.iter().find(|there| same_way(there, route));
        if there.is_some_and(|there| fields.clone().all(|(field, value)| there[field] == *value)) {
            continue;
        }
        if part(route, "gatewayID").is_some_and(|id| id.starts_with("igw-")) {
            expect_internet_gateway(cloud, "ec2 CreateRoute", wanted.text("vpcID")).await?;
        }
        if there.is_some() {
            let call = replace(cloud.ec2().replace_route().route_table_id(&living.id), route);
            call.send().await.map_err(|error| CloudError::new("ec2 ReplaceRoute", &error))?;
        } else {
            let call = create(cloud.ec2().create_route().route_table_id(&living.id), route);
            call.send().await.map_err(|error| CloudError::new("ec2 CreateRoute", &error))?;
        }
    }
    for route in lives.iter().filter(|there| !declared.iter().any(|route| same_way(route, there))) {
        let [block, ipv6_block, prefix_list] = DESTINATIONS;
        let call = cloud.ec2().delete_route().route_table_id(&living.id).set_destination_cidr_block(part(route, block));
        let call = call.set_destination_ipv6_cidr_block(part(route, ipv6_block)).set_destination_prefix_list_id(part(route, prefix_list));
        or_absent(call.send().await.map_err(|error| CloudError::new("ec2 DeleteRoute", &error)))?;
    }
    Ok(())
}

/// All route tables, or those of a VPC.
pub(super) async fn tables(cloud: &Cloud, vpc: Option<&str>) -> Result<Vec<types::RouteTable>, CloudError> {
    let filters = vpc.map(|id| vec![filter("vpc-id", [id])]);
    let pages = cloud.ec2().describe_route_tables().set_filters(filters).into_paginator().items().send();
    pages.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeRouteTables", &error))
}

/// Associations of a subnet or gateway.
fn associations<'a>(tables: &'a [types::RouteTable], id: &str) -> impl Iterator<Item = &'a RouteTableAssociation> {
    let all = tables.iter().flat_map(types::RouteTable::associations);
    all.filter(move |association| [association.subnet_id(), association.gateway_id()].contains(&Some(id)))
}

/// The tables that a subnet or gateway is associated with.
pub(super) fn associated<'a>(tables: &'a [types::RouteTable], id: &str) -> Vec<&'a str> {
    associations(tables, id).filter_map(RouteTableAssociation::route_table_id).collect()
}

/// Associates a subnet or gateway with these tables, and with no other, as ACK does.
pub(super) async fn associate(cloud: &Cloud, declared: &[String], id: &str, vpc: Option<&str>) -> Result<(), CloudError> {
    let tables = tables(cloud, vpc).await?;
    let lives = associated(&tables, id);
    let is_declared =
        |association: &&RouteTableAssociation| declared.iter().any(|table| Some(table.as_str()) == association.route_table_id());
    let mut surplus: Vec<_> = associations(&tables, id).filter(|association| !is_declared(association)).collect();
    for table in declared.iter().filter(|table| !lives.contains(&table.as_str())) {
        if let Some(old) = surplus.pop() {
            // In one step: between two, the main table would hold.
            let call = cloud.ec2().replace_route_table_association().route_table_id(table);
            let call = call.set_association_id(old.route_table_association_id.clone());
            call.send().await.map_err(|error| CloudError::new("ec2 ReplaceRouteTableAssociation", &error))?;
        } else {
            let call = cloud.ec2().associate_route_table().route_table_id(table);
            let call = if id.starts_with("subnet-") { call.subnet_id(id) } else { call.gateway_id(id) };
            call.send().await.map_err(|error| CloudError::new("ec2 AssociateRouteTable", &error))?;
        }
    }
    for association in surplus {
        disassociate(cloud, association).await?;
    }
    Ok(())
}

async fn disassociate(cloud: &Cloud, association: &RouteTableAssociation) -> Result<(), CloudError> {
    let call = cloud.ec2().disassociate_route_table().set_association_id(association.route_table_association_id.clone());
    or_absent(call.send().await.map_err(|error| CloudError::new("ec2 DisassociateRouteTable", &error))).map(drop)
}
