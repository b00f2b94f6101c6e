//! What AWS' own add-ons and node groups need of each other, though no manifest says so. Pure.

use super::{Constraint, Edge};
use crate::layers::infrastructure::{Declared, Needs, at};
use serde_json::Value;

/// Add-ons that make a node Ready, or must be on it before its pods: DaemonSets, which a cluster without nodes takes.
/// Source: <https://docs.aws.amazon.com/eks/latest/userguide/workloads-add-ons-available-eks.html>
const FOR_NODES: &[&str] = &["vpc-cni", "kube-proxy", "eks-pod-identity-agent"];

/// A subnet can be used before its table has all its routes; nodes that pull images need them.
pub(super) fn ways_out(declared: &[Declared], needs: &[Needs]) -> Vec<Edge> {
    let before = |to: usize, kind: &'static str| {
        needs.iter().filter(move |need| need.to == to && declared[need.from].schema.kind == kind).map(|need| need.from)
    };
    let groups = (0..declared.len()).filter(|&position| declared[position].schema.kind == "Nodegroup");
    let mut ways = std::collections::BTreeSet::new();
    for group in groups {
        let tables = before(group, "Subnet").flat_map(|subnet| before(subnet, "RouteTable"));
        ways.extend(tables.map(|table| (table, group)));
    }
    let edge = |(table, group): (usize, usize)| Edge {
        from: declared[table].node(),
        to: declared[group].node(),
        constraint: Constraint::ReadyBeforeStart,
        reason: "its nodes' way out".to_owned(),
        origin: declared[group].origin(),
    };
    ways.into_iter().map(edge).collect()
}

/// Edges among members of the same cluster; `cluster_of` gives its name.
pub(super) fn order(declared: &[Declared], cluster_of: impl Fn(&Declared) -> Option<String>) -> Vec<Edge> {
    let members = |kind: &str| -> Vec<(&Declared, String)> {
        let of_kind = declared.iter().filter(|one| one.schema.service == "eks" && one.schema.kind == kind);
        of_kind.filter_map(|one| Some((one, cluster_of(one)?))).collect()
    };
    let (addons, groups) = (members("Addon"), members("Nodegroup"));
    let edge = |from: &Declared, to: &Declared, reason: &str| Edge {
        from: from.node(),
        to: to.node(),
        // Made is enough: both take minutes, and come up side by side.
        constraint: Constraint::AppliedBeforeStart,
        reason: reason.to_owned(),
        origin: to.origin(),
    };
    let mut edges = Vec::new();
    for (addon, cluster) in &addons {
        let is_for_nodes = at(addon.spec(), "name").and_then(Value::as_str).is_some_and(|name| FOR_NODES.contains(&name));
        for (group, _) in groups.iter().filter(|(_, other)| other == cluster) {
            edges.push(if is_for_nodes {
                edge(addon, group, "its nodes need it to be Ready")
            } else {
                edge(group, addon, "nodes for its pods")
            });
        }
    }
    edges
}
