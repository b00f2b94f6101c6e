//! A layer depends on one that is applied to another cluster.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::verify::facts::Facts;

pub(crate) const RULE: Rule = Rule {
    id: "dependency-elsewhere",
    severity: Severity::Risk,
    title: "A dependency is in another cluster",
    why: "The layer it depends on has spec.kubeConfig: this start neither applies it nor waits for it, and whether it is ready depends on a \
          cluster that may be gone as well.",
    fix: "bring the other cluster back first, or drop the dependency",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (_, layer, _) in facts.layers() {
        for (dependency, id) in layer.spec.depends_on.iter().zip(layer.depends_on()) {
            let Some(other) = facts.by_id(&id).map(|position| facts.layer(position)) else { continue };
            if other.spec.kube_config.is_some() {
                let message = format!("layer {}: depends on {id}, which is applied to another cluster", layer.id);
                found.push(Finding::new(&RULE, message).of(layer).at(dependency.origin.clone()));
            }
        }
    }
    found
}
