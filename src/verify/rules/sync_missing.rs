//! An Application that nothing syncs.

use super::{Finding, Rule};
use crate::layers::argo::{Rollout, Syncs};
use crate::layers::flux::Layer;
use crate::problem::Severity;
use crate::verify::facts::Facts;

pub(crate) const RULE: Rule = Rule {
    id: "sync-missing",
    severity: Severity::Blocks,
    title: "Nothing syncs an Application",
    why: "Without `syncPolicy.automated`, or where no step of its ApplicationSet's progressive sync takes it, an Application is there and applies \
          nothing until a person syncs it. In a living cluster somebody did that long ago.",
    fix: "add spec.syncPolicy.automated: {prune: true}",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    facts.layers().filter_map(|(_, layer, _)| finding(layer)).collect()
}

fn finding(layer: &Layer) -> Option<Finding> {
    // A root that something outside Git makes is that one's to sync.
    let application = layer.spec.application.as_ref().filter(|application| !application.given)?;
    match &application.set {
        // A progressive sync does it in the place of Argo CD (argo-cd, Progressive Syncs).
        Some((_, Some(Rollout::Step(_)))) => None,
        Some((set, Some(Rollout::Nowhere))) => {
            let message = format!("layer {}: no step of the progressive sync of ApplicationSet {set} takes it", layer.id);
            Some(Finding::new(&RULE, message).of(layer).hint("give it a label that a step selects, or add a step for it"))
        }
        _ if application.syncs != Syncs::OnRequest => None,
        _ => Some(Finding::new(&RULE, format!("layer {}: has no spec.syncPolicy.automated", layer.id)).of(layer)),
    }
}
