//! A layer whose objects stay in the old cluster when they leave Git.

use super::{Finding, Rule};
use crate::layers::argo::Syncs;
use crate::layers::flux::Layer;
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
    facts.layers().filter(|(_, layer, _)| layer.declaration.origin.is_some()).filter_map(|(_, layer, _)| finding(layer)).collect()
}

fn finding(layer: &Layer) -> Option<Finding> {
    let found = |field: &str| Finding::new(&RULE, format!("layer {}: {field} is off", layer.id)).of(layer);
    match &layer.spec.application {
        None => (!layer.spec.prune).then(|| found("spec.prune")),
        // Without an automated sync it is the person who syncs that prunes.
        Some(application) => (application.syncs == Syncs::ByItself { prunes: false }).then(|| {
            found("spec.syncPolicy.automated.prune").hint(
                "set spec.syncPolicy.automated.prune: true; objects that must outlive it take the annotation argocd.argoproj.io/sync-options: Prune=false",
            )
        }),
    }
}
