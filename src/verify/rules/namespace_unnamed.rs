//! Objects that live in a namespace and name none.

use super::{Finding, Rule};
use crate::problem::{Severity, count};
use crate::verify::facts::Facts;
use crate::verify::simulate::Until;

pub(crate) const RULE: Rule = Rule {
    id: "namespace-unnamed",
    severity: Severity::Blocks,
    title: "An object names no namespace",
    why: "Flux puts nothing into a namespace by itself: its dry run ends with `namespace not specified`, and the whole layer is not applied. \
          Only kinds that are known to live in a namespace count.",
    fix: "name it in metadata.namespace, in the kustomization's `namespace`, or in spec.targetNamespace of the Kustomization",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    // Argo CD takes the destination's.
    for (position, layer, objects) in facts.layers().filter(|(_, layer, _)| layer.spec.application.is_none()) {
        let mut unnamed = objects.iter().filter(|object| object.namespace().is_none() && facts.needs_namespace(object));
        let Some(first) = unnamed.next() else { continue };
        let more = match unnamed.count() {
            0 => String::new(),
            more => format!(", and {} more of the layer", count(more, "object")),
        };
        let message = format!("{} of layer {}: names no namespace{more}", first.id(), layer.id);
        found.push(Finding::new(&RULE, message).of(layer).about(first).keeps(facts, [position], Until::Applied));
    }
    found
}
