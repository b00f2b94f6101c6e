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

const DEPENDENCY: Hold = Hold { call: "", field: "", question: "", filter: "", also: None, holder: "", except: "", code: "DependencyViolation" };

const HOLDS: &[Hold] = &[
    Hold { call: "DeleteVpc", field: "VpcId", question: "DescribeInternetGateways", filter: "attachment.vpc-id", holder: "internetGatewayId", ..DEPENDENCY },
    Hold { call: "DeleteVpc", field: "VpcId", question: "DescribeVpcEndpoints", filter: "vpc-id", holder: "vpcEndpointId", ..DEPENDENCY },
    Hold { call: "DeleteVpc", field: "VpcId", question: "DescribeSecurityGroups", filter: "vpc-id", holder: "groupName", except: "default", ..DEPENDENCY },
    Hold { call: "DeleteSubnet", field: "SubnetId", question: "DescribeNatGateways", filter: "subnet-id", also: Some(("state", "available")), holder: "natGatewayId", ..DEPENDENCY },
    Hold { call: "DeleteSubnet", field: "SubnetId", question: "DescribeInstances", filter: "subnet-id", also: Some(("instance-state-name", "running")), holder: "instanceId", ..DEPENDENCY },
    Hold { call: "DeleteSecurityGroup", field: "GroupId", question: "DescribeSecurityGroups", filter: "ip-permission.group-id", holder: "securityGroupArn", except: "/{id}", ..DEPENDENCY },
    Hold { call: "DeleteSecurityGroup", field: "GroupId", question: "DescribeSecurityGroups", filter: "egress.ip-permission.group-id", holder: "securityGroupArn", except: "/{id}", ..DEPENDENCY },
    Hold { call: "DeleteSecurityGroup", field: "GroupId", question: "DescribeInstances", filter: "instance.group-id", also: Some(("instance-state-name", "running")), holder: "instanceId", ..DEPENDENCY },
    // Public addresses are mapped as long as an interface of the VPC has one.
    Hold { call: "DetachInternetGateway", field: "VpcId", question: "DescribeNatGateways", filter: "vpc-id", also: Some(("state", "available")), holder: "publicIp", ..DEPENDENCY },
    Hold { call: "ReleaseAddress", field: "AllocationId", question: "DescribeAddresses", filter: "allocation-id", holder: "associationId", code: "InvalidIPAddress.InUse", ..DEPENDENCY },
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
            return Ok(Some(held(&id, "a load balancer", DEPENDENCY.code)));
        }
        if let Some(cluster) = eks.in_subnet(&id).await {
            return Ok(Some(held(&id, &format!("EKS cluster {cluster}"), DEPENDENCY.code)));
        }
    }
    Ok(None)
}

fn held(id: &str, holder: &str, code: &str) -> Answer {
    Answer::refused("ec2", 400, code, &format!("{id} has dependencies and cannot be deleted: {holder}"))
}

/// A NAT gateway takes its network interface along and lets go of its address; moto forgets both.
pub(super) async fn let_go(asked: &Asked, moto: &Moto) -> Result<(), String> {
    let Some(id) = asked.form("NatGatewayId").filter(|_| asked.service == "ec2" && asked.operation == "DeleteNatGateway") else { return Ok(()) };
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
