//! Objects in a namespace that nothing makes.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::problem::count;
use crate::verify::facts::Facts;
use std::collections::BTreeMap;

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
        let Some(namespace) = object.namespace() else { continue };
        if facts.is_given_namespace(namespace) || facts.namespaces.contains_key(namespace) || object.kind() == "Namespace" {
            continue;
        }
        missing.entry(namespace).or_insert((object, layer, 0)).2 += 1;
    }
    let finding = |(namespace, (first, layer, number)): (&str, (&Resource, usize, usize))| {
        let message = format!("{}: nothing makes Namespace {namespace}, which {} in", first.id(), stand(number));
        let finding = Finding::new(&RULE, message).of(facts.layer(layer)).about(first);
        // It may stand in a layer that could not be rendered.
        if facts.is_complete() { finding } else { finding.severity(Severity::Risk) }
    };
    missing.into_iter().map(finding).collect()
}

fn stand(number: usize) -> String {
    if number == 1 { "1 object stands".to_owned() } else { format!("{} stand", count(number, "object")) }
}
