//! An object stands in a layer that is applied before its namespace.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::simulate::Lacking;

pub(crate) const RULE: Rule = Rule {
    id: "namespace-too-late",
    severity: Severity::Blocks,
    title: "A namespace is declared only by a layer that comes later",
    why: "No object can be written into a namespace that is not there. Where the layer with the namespace waits for this one, it never comes.",
    fix: "declare the namespace in this layer, or in one that it depends on",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for lack in &facts.start.lacks {
        let Lacking::Namespace { name, first, by } = &lack.what else { continue };
        let (layer, other) = (facts.layer(lack.layer), facts.layer(*by));
        let message = format!(
            "layer {}: the start stops in step {}: {} needs Namespace {name}, which only layer {} declares, and that starts after this layer",
            layer.id,
            lack.step,
            first.id(),
            other.id
        );
        found.push(Finding::new(&RULE, message).of(layer).at(first.origin.clone()));
    }
    found
}
