//! Objects in a namespace that nothing makes.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::problem::count;
use crate::verify::facts::Facts;
use crate::verify::simulate::Until;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const RULE: Rule = Rule {
    id: "namespace-missing",
    severity: Severity::Blocks,
    title: "Nothing makes a namespace",
    why: "No layer declares it, no HelmRelease creates it, and neither Kubernetes nor the agent brings it: nothing can be written into it. \
          In the old cluster somebody made it by hand.",
    fix: "declare the Namespace in a layer that comes first",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut missing = BTreeMap::new();
    for (layer, object) in facts.objects() {
        let Some(namespace) = facts.namespace(object) else { continue };
        if facts.is_given_namespace(namespace) || facts.namespaces.contains_key(namespace) || object.kind() == "Namespace" {
            continue;
        }
        let entry = missing.entry(namespace).or_insert((object, BTreeSet::new(), 0));
        entry.1.insert(layer);
        entry.2 += 1;
    }
    let finding = |(namespace, (first, layers, number)): (&str, (&Resource, BTreeSet<usize>, usize))| {
        let message = format!("{}: nothing makes Namespace {namespace}, which {} in", first.id(), stand(number));
        let layer = layers.first().copied().unwrap_or_default();
        let finding = Finding::new(&RULE, message).of(facts.layer(layer)).about(first).keeps(facts, layers, Until::Applied);
        // It may stand in a layer that could not be rendered.
        if facts.is_complete() && !facts.may_be_made("Namespace") { finding } else { finding.severity(Severity::Risk) }
    };
    missing.into_iter().map(finding).collect()
}

fn stand(number: usize) -> String {
    if number == 1 { "1 object stands".to_owned() } else { format!("{} stand", count(number, "object")) }
}
