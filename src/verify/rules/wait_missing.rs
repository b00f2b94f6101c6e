//! Layers depend on one that calls itself ready before its workloads are.

use super::{Finding, Rule};
use crate::plan::Constraint;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::{is_release, list};
use std::collections::BTreeMap;

pub(crate) const RULE: Rule = Rule {
    id: "wait-missing",
    severity: Severity::Risk,
    title: "Others depend on a layer that does not wait",
    why: "Without `wait` or health checks a layer is ready as soon as it is written. What depends on it starts while its pods are still \
          being pulled, and in a start from nothing that is always so.",
    fix: "set spec.wait: true, or name what matters in spec.healthChecks",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut dependents: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for edge in facts.subject.plan.edges.iter().filter(|edge| edge.constraint == Constraint::ReadyBeforeStart) {
        if let (Some(from), Some(to)) = (facts.by_node(&edge.from), facts.by_node(&edge.to)) {
            dependents.entry(from).or_default().push(facts.layer(to).id.to_string());
        }
    }
    let mut found = Vec::new();
    for (position, layer, objects) in facts.layers() {
        let Some(dependents) = dependents.get(&position) else { continue };
        // Argo CD waits for the health of all that an Application holds.
        if layer.spec.wait || !layer.spec.health_checks.is_empty() || layer.spec.application.is_some() {
            continue;
        }
        let takes_time = |object: &&crate::manifest::Resource| {
            is_release(object) || matches!(object.kind(), "Deployment" | "StatefulSet" | "DaemonSet" | "Job")
        };
        let Some(first) = objects.iter().find(takes_time) else { continue };
        let who = if dependents.len() == 1 { "depends" } else { "depend" };
        let message = format!("layer {}: {} {who} on it, but it does not wait for {}", layer.id, list(dependents, 3), first.id());
        found.push(Finding::new(&RULE, message).of(layer));
    }
    found
}
