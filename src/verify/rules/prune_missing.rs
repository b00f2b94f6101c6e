//! A layer whose objects stay in the old cluster when they leave Git.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::verify::facts::Facts;

pub(crate) const RULE: Rule = Rule {
    id: "prune-missing",
    severity: Severity::Differs,
    title: "A layer is not pruned",
    why: "What was taken out of Git still runs in the old cluster, and others may have come to rely on it. A new cluster comes up without it.",
    fix: "set spec.prune: true; objects that must outlive it take the annotation kustomize.toolkit.fluxcd.io/prune: disabled",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    // Where the entry layer is nobody's object, its fields are the tool's own.
    let layers = facts.layers().filter(|(_, layer, _)| !layer.spec.prune && layer.declaration.origin.is_some());
    layers.map(|(_, layer, _)| Finding::new(&RULE, format!("layer {}: spec.prune is off", layer.id)).of(layer)).collect()
}
