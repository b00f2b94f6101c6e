//! The pod network comes from a layer, whose controllers need the pod network.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::{chart, is_release, list};
use crate::verify::simulate::is_declared;
use std::collections::BTreeSet;

pub(crate) const RULE: Rule = Rule {
    id: "network-behind-agent",
    severity: Severity::Risk,
    title: "The pod network or DNS is installed by what needs it",
    why: "The agent's own pods, and those of every layer before this one, start only when there is a pod network and DNS. A cluster that \
          comes without them (`cni: none`) never gets to this layer; one that comes with them is fine.",
    fix: "install the network when the cluster is made (a command in spec.infrastructure, an EKS add-on), and let the layer adopt it; then accept this",
    check: Some(check),
};

/// Charts that are a cluster's network or its DNS.
const CHARTS: [&str; 8] = ["cilium", "calico", "tigera-operator", "antrea", "flannel", "kube-ovn", "aws-vpc-cni", "coredns"];

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    // An EKS cluster has both as add-ons before the first pod.
    let eks = facts.environment().spec.cluster.as_ref().is_some_and(|cluster| cluster.eks.is_some());
    for (position, release) in facts.objects().filter(|(_, object)| is_release(object)) {
        let Some(chart) = chart(facts, release).filter(|chart| CHARTS.contains(&chart.name.as_str())) else { continue };
        let layer = facts.layer(position);
        let before = awaited_before(facts, position);
        if !before.is_empty() {
            let message = format!("{}: installs {}, but {} with pods must be ready before it", release.id(), chart.name, list(&before, 3));
            let severity = if eks { Severity::Risk } else { Severity::Blocks };
            found.push(Finding::new(&RULE, message).of(layer).about(release).severity(severity));
        } else if !eks {
            let message = format!("{}: installs {}, which the agent that installs it needs itself", release.id(), chart.name);
            found.push(Finding::new(&RULE, message).of(layer).about(release));
        }
    }
    found
}

/// Layers that must be ready before, wait for their objects, and have pods.
fn awaited_before(facts: &Facts<'_>, layer: usize) -> Vec<String> {
    let mut before: BTreeSet<usize> = BTreeSet::new();
    let mut left = vec![layer];
    while let Some(at) = left.pop() {
        let node = facts.layer(at).id.node();
        let edges = facts.subject.plan.edges.iter().filter(|edge| edge.to == node && !edge.constraint.is_for_ready() && is_declared(edge));
        for from in edges.filter(|edge| edge.reason == "dependsOn").filter_map(|edge| facts.by_node(&edge.from)) {
            if before.insert(from) {
                left.push(from);
            }
        }
    }
    let has_pods = |&at: &usize| {
        let read = &facts.subject.reading.layers[at];
        let waits = read.layer.spec.wait || !read.layer.spec.health_checks.is_empty();
        let pods = |object: &crate::manifest::Resource| {
            // What runs in the node's own network starts without another one.
            let network_chart = chart(facts, object).is_some_and(|chart| CHARTS.contains(&chart.name.as_str()));
            let host = crate::verify::objects::pod(object).map(|pod| pod.get("hostNetwork") == Some(&serde_json::Value::Bool(true)));
            is_release(object) && !network_chart || host == Some(false)
        };
        waits && facts.is_applied(at) && read.objects.iter().any(pods)
    };
    before.iter().filter(|at| has_pods(at)).map(|&at| format!("layer {}", facts.layer(at).id)).collect()
}
