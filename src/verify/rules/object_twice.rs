//! An object that two layers declare.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::list;
use std::collections::BTreeMap;

pub(crate) const RULE: Rule = Rule {
    id: "object-twice",
    severity: Severity::Risk,
    title: "Two layers declare the same object",
    why: "Each reconciliation of one layer takes the object over from the other; where their contents differ, it changes to and fro, and which \
          one a start ends with is chance. A layer that is removed takes the object with it.",
    fix: "leave it in one layer, and let the other one depend on that",
    check: Some(check),
};

#[expect(clippy::type_complexity, reason = "a group, used in this function alone")]
fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut objects: BTreeMap<(&str, &str, &str, &str), Vec<(usize, &Resource)>> = BTreeMap::new();
    for (layer, object) in facts.objects() {
        // A root from outside Git that takes itself over holds all that its layer in Git holds.
        if facts.layer(layer).spec.application.as_ref().is_some_and(|application| application.given) {
            continue;
        }
        let key = (object.group(), object.kind(), object.namespace().unwrap_or_default(), object.name());
        objects.entry(key).or_default().push((layer, object));
    }
    let mut found = Vec::new();
    for several in objects.into_values() {
        let mut layers: Vec<usize> = several.iter().map(|(layer, _)| *layer).collect();
        layers.dedup();
        let [first, .., last] = layers.as_slice() else { continue };
        let _ = first;
        let names: Vec<String> = layers.iter().map(|&layer| facts.layer(layer).id.to_string()).collect();
        let object = several[0].1;
        // Reading has told it, with its place.
        let told = format!("{}: ", object.id());
        if facts.subject.plan.problems.iter().any(|problem| problem.rule == "layer-twice" && problem.message.starts_with(&told)) {
            continue;
        }
        let same = several.iter().all(|(_, other)| other.value == object.value);
        let how = if same { "with the same content" } else { "with different contents" };
        let message = format!("{}: declared by layers {}, {how}", object.id(), list(&names, 4));
        let place = several.iter().find(|(layer, _)| layer == last).and_then(|(_, other)| other.origin.clone());
        found.push(Finding::new(&RULE, message).of(facts.layer(*last)).about(object).at(place));
    }
    found
}
