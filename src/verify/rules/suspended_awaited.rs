//! A layer waits for something that is suspended in Git.

use super::{Finding, Rule};
use crate::layers::flux::{is_kustomization, is_release};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::simulate::Until;
use serde_json::Value;

pub(crate) const RULE: Rule = Rule {
    id: "suspended-awaited",
    severity: Severity::Blocks,
    title: "A layer waits for something that is suspended",
    why: "A suspended Kustomization in a new cluster is never looked at: its observedGeneration stays -1, which counts as in progress, and \
          whoever waits for it waits for ever (kustomize-controller#1604; so in 1.9). A suspended HelmRelease counts as healthy at once, \
          although nothing of it is installed: what comes after it starts without it. In the old cluster both had been there before they \
          were suspended.",
    fix: "resume it, or move it out of what the layer waits for",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let is_suspended = |object: &crate::manifest::Resource| object.value.pointer("/spec/suspend") == Some(&Value::Bool(true));
    for (position, object) in facts.objects().filter(|(_, object)| is_suspended(object)) {
        let awaiting = facts.awaiting(position, object);
        let Some(first) = awaiting.first().map(|layer| facts.layer(*layer)) else { continue };
        if is_kustomization(object) {
            let message = format!("layer {}: waits for {}, which is suspended and so never becomes ready", first.id, object.id());
            found.push(Finding::new(&RULE, message).of(first).about(object).keeps(facts, awaiting, Until::Ready));
        } else if is_release(object) {
            let message = format!(
                "layer {}: waits for {}, which is suspended: it counts as healthy, and nothing of it is there",
                first.id,
                object.id()
            );
            found.push(Finding::new(&RULE, message).of(first).about(object).severity(Severity::Risk));
        }
    }
    found
}
