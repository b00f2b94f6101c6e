//! States of what moto makes at once: until its time is over, its answers tell the state that AWS tells.

use super::call::{Answer, Asked};
use super::clock::Clock;
use super::lock;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

/// A kind with a passing state. In moto's answers the state follows the ID.
struct Life {
    service: &'static str,
    /// The call that makes it.
    create: &'static str,
    /// In the catalogue.
    kind: &'static str,
    /// What stands before and behind its ID.
    id: [&'static str; 2],
    usable: &'static str,
    passing: &'static str,
}

const LIVES: &[Life] = &[
    Life {
        service: "ec2",
        create: "CreateNatGateway",
        kind: "NATGateway",
        id: ["<natGatewayId>", "</natGatewayId>"],
        usable: "<state>available</state>",
        passing: "<state>pending</state>",
    },
    Life {
        service: "ec2",
        create: "CreateVpcEndpoint",
        kind: "VPCEndpoint",
        id: ["<vpcEndpointId>", "</vpcEndpointId>"],
        usable: "<state>available</state>",
        passing: "<state>pending</state>",
    },
    Life {
        service: "ec2",
        create: "RunInstances",
        kind: "Instance",
        id: ["<instanceId>", "</instanceId>"],
        usable: "<code>16</code><name>running</name>",
        passing: "<code>0</code><name>pending</name>",
    },
    Life {
        service: "rds",
        create: "CreateDBInstance",
        kind: "DBInstance",
        id: ["<DBInstanceIdentifier>", "</DBInstanceIdentifier>"],
        usable: "<DBInstanceStatus>available</DBInstanceStatus>",
        passing: "<DBInstanceStatus>creating</DBInstanceStatus>",
    },
    Life {
        service: "rds",
        create: "CreateDBCluster",
        kind: "DBCluster",
        id: ["<DBClusterIdentifier>", "</DBClusterIdentifier>"],
        usable: "<Status>available</Status>",
        passing: "<Status>creating</Status>",
    },
    Life {
        service: "elasticloadbalancing",
        create: "CreateLoadBalancer",
        kind: "LoadBalancer",
        id: ["<LoadBalancerArn>", "</LoadBalancerArn>"],
        usable: "<Code>active</Code>",
        passing: "<Code>provisioning</Code>",
    },
    Life {
        service: "dynamodb",
        create: "CreateTable",
        kind: "Table",
        id: ["\"TableName\": \"", "\""],
        usable: "\"TableStatus\": \"ACTIVE\"",
        passing: "\"TableStatus\": \"CREATING\"",
    },
];

/// What is being made.
#[derive(Debug, Default)]
pub(super) struct States {
    /// Until when, by service and ID.
    until: Mutex<HashMap<(&'static str, String), Instant>>,
}

impl States {
    /// Takes the time of what an answer says was made.
    pub(super) fn begin(&self, asked: &Asked, answer: &Answer, clock: &Clock) {
        let Some(life) = LIVES.iter().find(|life| life.service == asked.service && life.create == asked.operation) else { return };
        let text = String::from_utf8_lossy(&answer.body);
        let Some(id) = text.split_once(life.id[0]).and_then(|(_, rest)| rest.split_once(life.id[1])).map(|(id, _)| id) else { return };
        // A load balancer's name is a part of its ARN.
        let names: Vec<&str> = std::iter::once(id).chain(id.split('/')).collect();
        let until = Instant::now() + clock.makes(life.service_of_catalogue(), life.kind, &names);
        lock(&self.until).insert((life.service, id.to_owned()), until);
    }

    /// An answer in which nothing is usable before its time.
    pub(super) fn told(&self, asked: &Asked, mut answer: Answer) -> Answer {
        let now = Instant::now();
        let pending: Vec<(&'static str, String)> = {
            let mut until = lock(&self.until);
            until.retain(|_, until| now < *until);
            until.keys().filter(|(service, _)| *service == asked.service).cloned().collect()
        };
        if pending.is_empty() {
            return answer;
        }
        let mut text = String::from_utf8_lossy(&answer.body).into_owned();
        for (_, id) in &pending {
            for life in LIVES.iter().filter(|life| life.service == asked.service) {
                text = life.passing(&text, id);
            }
        }
        answer.body = text.into();
        answer
    }
}

impl Life {
    /// Clients sign for another name than the catalogue's.
    fn service_of_catalogue(&self) -> &'static str {
        if self.service == "elasticloadbalancing" { "elbv2" } else { self.service }
    }

    /// The state behind this ID, and before the next one, is the passing one.
    fn passing(&self, text: &str, id: &str) -> String {
        let [open, close] = self.id;
        let mark = format!("{open}{id}{close}");
        let mut parts = text.split(mark.as_str());
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (own, others) = part.split_at(part.find(open).unwrap_or(part.len()));
            out += &mark;
            out += &own.replacen(self.usable, self.passing, 1);
            out += others;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_state_of_what_is_being_made_is_changed() {
        let item = |id: &str, state: &str| format!("<item><natGatewayId>{id}</natGatewayId><state>{state}</state></item>");
        let text = item("nat-1", "available") + &item("nat-2", "available") + &item("nat-3", "deleted");
        assert_eq!(LIVES[0].passing(&text, "nat-1"), item("nat-1", "pending") + &item("nat-2", "available") + &item("nat-3", "deleted"));
        assert_eq!(LIVES[0].passing(&text, "nat-3"), text);
    }
}
