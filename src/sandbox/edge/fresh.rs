//! Eventual consistency: for a while, what is new is neither listed nor known to the calls that name it.

use super::call::{Answer, Asked};
use super::lock;
use super::moto::texts;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A kind that is not seen at once.
struct Kind {
    service: &'static str,
    create: &'static str,
    /// What names it in answers.
    id: &'static str,
    /// The call that lists it, and the element of one in that list.
    list: &'static str,
    item: &'static str,
    status: u16,
    /// The service's own word for what is not there.
    absent: &'static str,
}

const fn ec2(create: &'static str, id: &'static str, list: &'static str, absent: &'static str) -> Kind {
    Kind { service: "ec2", create, id, list, item: "item", status: 400, absent }
}

const KINDS: &[Kind] = &[
    ec2("AllocateAddress", "allocationId", "DescribeAddresses", "InvalidAllocationID.NotFound"),
    ec2("CreateInternetGateway", "internetGatewayId", "DescribeInternetGateways", "InvalidInternetGatewayID.NotFound"),
    ec2("CreateLaunchTemplate", "launchTemplateId", "DescribeLaunchTemplates", "InvalidLaunchTemplateId.NotFound"),
    ec2("CreateNatGateway", "natGatewayId", "DescribeNatGateways", "NatGatewayNotFound"),
    ec2("CreateRouteTable", "routeTableId", "DescribeRouteTables", "InvalidRouteTableID.NotFound"),
    ec2("CreateSecurityGroup", "groupId", "DescribeSecurityGroups", "InvalidGroup.NotFound"),
    ec2("CreateSubnet", "subnetId", "DescribeSubnets", "InvalidSubnetID.NotFound"),
    ec2("CreateVpc", "vpcId", "DescribeVpcs", "InvalidVpcID.NotFound"),
    ec2("CreateVpcEndpoint", "vpcEndpointId", "DescribeVpcEndpoints", "InvalidVpcEndpointId.NotFound"),
    ec2("RunInstances", "instanceId", "DescribeInstances", "InvalidInstanceID.NotFound"),
    Kind { service: "iam", create: "CreateRole", id: "RoleName", list: "ListRoles", item: "member", status: 404, absent: "NoSuchEntity" },
    Kind { service: "sqs", create: "CreateQueue", id: "QueueUrl", list: "ListQueues", item: "", status: 400, absent: "QueueDoesNotExist" },
];

/// What was made lately.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    window: Mutex<Duration>,
    /// When, by ID, with its kind's position.
    made: Mutex<HashMap<String, (usize, Instant)>>,
}

impl Fresh {
    /// How long what is made is unseen.
    pub(super) fn set_window(&self, window: Duration) {
        *lock(&self.window) = window;
    }

    /// Whether it is not seen yet.
    pub(super) fn is_fresh(&self, service: &str, id: &str) -> bool {
        self.kind(id).is_some_and(|kind| kind.service == service)
    }

    fn kind(&self, id: &str) -> Option<&'static Kind> {
        let window = *lock(&self.window);
        let (kind, made) = *lock(&self.made).get(id)?;
        (made.elapsed() < window).then(|| &KINDS[kind])
    }

    /// Takes the time of what an answer says was made.
    pub(super) fn remember(&self, asked: &Asked, answer: &Answer) {
        if lock(&self.window).is_zero() {
            return;
        }
        let Some(position) = KINDS.iter().position(|kind| kind.service == asked.service && kind.create == asked.operation) else { return };
        if let Some(id) = named(&answer.body, KINDS[position].id) {
            // What is made once more under the same name (a queue) is no newer for it.
            lock(&self.made).entry(id).or_insert((position, Instant::now()));
        }
    }

    /// Refuses a call that names what is not seen yet; a filter finds nothing instead.
    pub(super) fn refusal(&self, asked: &Asked) -> Option<Answer> {
        if lock(&self.window).is_zero()
            || KINDS.iter().any(|kind| kind.service == asked.service && kind.create == asked.operation && kind.service != "ec2")
        {
            return None;
        }
        let queue = named(&asked.body, "QueueUrl").filter(|_| asked.service == "sqs");
        let named = asked.forms().filter(|(key, _)| !key.starts_with("Filter.")).map(|(_, value)| value).chain(queue);
        let (id, kind) = named.filter_map(|id| self.kind(&id).map(|kind| (id, kind))).find(|(_, kind)| kind.service == asked.service)?;
        Some(Answer::refused(&asked.service, kind.status, kind.absent, &format!("{id} does not exist")))
    }

    /// An answer without what is not seen yet.
    pub(super) fn hidden(&self, asked: &Asked, mut answer: Answer) -> Answer {
        let Some(kind) = KINDS.iter().find(|kind| kind.service == asked.service && kind.list == asked.operation) else { return answer };
        if lock(&self.window).is_zero() {
            return answer;
        }
        let is_hidden = |id: &str| self.kind(id).is_some();
        if kind.item.is_empty() {
            let mut value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if let Some(urls) = value["QueueUrls"].as_array_mut() {
                urls.retain(|url| !url.as_str().is_some_and(is_hidden));
            }
            answer.body = value.to_string().into();
        } else {
            let text = String::from_utf8_lossy(&answer.body);
            answer.body = without(&text, kind.item, |item| texts(item, kind.id).first().is_some_and(|id| is_hidden(id))).into();
        }
        answer
    }
}

/// The first value of a name, in XML or JSON.
fn named(body: &[u8], name: &str) -> Option<String> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    value[name].as_str().map(str::to_owned).or_else(|| texts(std::str::from_utf8(body).ok()?, name).first().map(|&id| id.to_owned()))
}

/// XML without some of its outermost elements of a name.
pub(super) fn without(xml: &str, name: &str, is_gone: impl Fn(&str) -> bool) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let (mut out, mut rest) = (String::with_capacity(xml.len()), xml);
    while let Some(start) = rest.find(&open) {
        let (mut depth, mut end) = (0_usize, start);
        loop {
            let next_open = rest[end..].find(&open).map(|at| end + at);
            let Some(next_close) = rest[end..].find(&close).map(|at| end + at) else { return out + rest };
            (depth, end) = if let Some(at) = next_open.filter(|open| *open < next_close) {
                (depth + 1, at + open.len())
            } else {
                (depth - 1, next_close + close.len())
            };
            if depth == 0 {
                break;
            }
        }
        out += &rest[..start];
        if !is_gone(&rest[start..end]) {
            out += &rest[start..end];
        }
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_go_with_all_that_is_inside() {
        let xml = "<set><item><id>a</id><tags><item>x</item></tags></item><item><id>b</id></item></set>";
        let gone = |id: &'static str| without(xml, "item", move |item| texts(item, "id").first() == Some(&id));
        assert_eq!(gone("a"), "<set><item><id>b</id></item></set>");
        assert_eq!(gone("b"), "<set><item><id>a</id><tags><item>x</item></tags></item></set>");
        assert_eq!(gone("c"), xml);
    }
}
