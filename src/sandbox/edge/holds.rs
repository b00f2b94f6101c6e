//! What holds a resource back from its deletion: checks that AWS makes and moto leaves out, asked of moto before the call is forwarded.

use super::call::{Answer, Asked};
use super::eks::Eks;
use super::moto::{Moto, texts};

/// One question before a call: whatever is found refuses it.
struct Hold {
    call: &'static str,
    /// Field of the call with the ID of what goes.
    field: &'static str,
    question: &'static str,
    /// Filter of the question.
    filter: &'static str,
    /// Further filter, with its value.
    also: Option<(&'static str, &'static str)>,
    /// Element of the answer that tells who holds it.
    holder: &'static str,
    /// A holder that does not count: the end of its text; `{id}` is the resource itself.
    except: &'static str,
    code: &'static str,
}

const fn hold(call: &'static str, field: &'static str, question: &'static str, filter: &'static str, holder: &'static str) -> Hold {
    Hold { call, field, question, filter, also: None, holder, except: "", code: DEPENDENCY }
}

impl Hold {
    const fn also(self, name: &'static str, value: &'static str) -> Self {
        Self { also: Some((name, value)), ..self }
    }

    const fn except(self, except: &'static str) -> Self {
        Self { except, ..self }
    }
}

const DEPENDENCY: &str = "DependencyViolation";

const HOLDS: &[Hold] = &[
    hold("DeleteVpc", "VpcId", "DescribeInternetGateways", "attachment.vpc-id", "internetGatewayId"),
    hold("DeleteVpc", "VpcId", "DescribeVpcEndpoints", "vpc-id", "vpcEndpointId").also("vpc-endpoint-state", "available"),
    hold("DeleteVpc", "VpcId", "DescribeSecurityGroups", "vpc-id", "groupName").except("default"),
    hold("DeleteSubnet", "SubnetId", "DescribeNatGateways", "subnet-id", "natGatewayId").also("state", "available"),
    hold("DeleteSubnet", "SubnetId", "DescribeInstances", "subnet-id", "instanceId").also("instance-state-name", "running"),
    hold("DeleteSecurityGroup", "GroupId", "DescribeSecurityGroups", "ip-permission.group-id", "securityGroupArn").except("/{id}"),
    hold("DeleteSecurityGroup", "GroupId", "DescribeSecurityGroups", "egress.ip-permission.group-id", "securityGroupArn").except("/{id}"),
    hold("DeleteSecurityGroup", "GroupId", "DescribeInstances", "instance.group-id", "instanceId").also("instance-state-name", "running"),
    // Public addresses are mapped through it as long as a NAT gateway has one.
    hold("DetachInternetGateway", "VpcId", "DescribeNatGateways", "vpc-id", "publicIp").also("state", "available"),
    Hold {
        code: "InvalidIPAddress.InUse",
        ..hold("ReleaseAddress", "AllocationId", "DescribeAddresses", "allocation-id", "associationId")
    },
];

/// The refusal of a call that something stands against.
pub(super) async fn refusal(asked: &Asked, moto: &Moto, eks: &Eks) -> Result<Option<Answer>, String> {
    if asked.service != "ec2" {
        return Ok(None);
    }
    for hold in HOLDS.iter().filter(|hold| hold.call == asked.operation) {
        let Some(id) = asked.form(hold.field) else { continue };
        let mut fields = vec![("Filter.1.Name", hold.filter), ("Filter.1.Value.1", &id)];
        if let Some((name, value)) = hold.also {
            fields.extend([("Filter.2.Name", name), ("Filter.2.Value.1", value)]);
        }
        let found = moto.ask(asked.scope(), "ec2", hold.question, &fields).await?;
        let except = hold.except.replace("{id}", &id);
        let holder = texts(&found, hold.holder).into_iter().find(|one| except.is_empty() || !one.ends_with(&except));
        if let Some(holder) = holder {
            return Ok(Some(held(&id, holder, hold.code)));
        }
    }
    if let ("DeleteSubnet", Some(id)) = (asked.operation.as_str(), asked.form("SubnetId")) {
        let balancers = moto.ask(asked.scope(), "elasticloadbalancing", "DescribeLoadBalancers", &[]).await?;
        if texts(&balancers, "SubnetId").contains(&id.as_str()) {
            return Ok(Some(held(&id, "a load balancer", DEPENDENCY)));
        }
        if let Some(cluster) = eks.in_subnet(&id).await {
            return Ok(Some(held(&id, &format!("EKS cluster {cluster}"), DEPENDENCY)));
        }
    }
    Ok(None)
}

fn held(id: &str, holder: &str, code: &str) -> Answer {
    Answer::refused("ec2", 400, code, &format!("{id} has dependencies and cannot be deleted: {holder}"))
}

/// A NAT gateway takes its network interface along and lets go of its address; moto forgets both.
pub(super) async fn let_go(asked: &Asked, moto: &Moto) -> Result<(), String> {
    let Some(id) = asked.form("NatGatewayId").filter(|_| asked.service == "ec2" && asked.operation == "DeleteNatGateway") else {
        return Ok(());
    };
    let found = moto.ask(asked.scope(), "ec2", "DescribeNatGateways", &[("NatGatewayId.1", &id)]).await?;
    for (element, call, field) in
        [("associationId", "DisassociateAddress", "AssociationId"), ("networkInterfaceId", "DeleteNetworkInterface", "NetworkInterfaceId")]
    {
        for one in texts(&found, element) {
            // Gone already after a repeated call.
            let _ = moto.ask(asked.scope(), "ec2", call, &[(field, one)]).await;
        }
    }
    Ok(())
}
