//! A layer waits for the health of an object that only a later layer makes healthy.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::simulate::Lacking;

pub(crate) const RULE: Rule = Rule {
    id: "waits-for-itself",
    severity: Severity::Blocks,
    title: "A layer waits for what it unblocks itself",
    why: "An ExternalSecret is healthy when its store is there, a Certificate when its issuer is. Where that stands in a layer that waits for \
          this one, both wait for ever.",
    fix: "move the store or the issuer to a layer before this one, or take the object out of what this layer waits for",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for lack in &facts.start.lacks {
        let Lacking::Health { object, needs, by } = &lack.what else { continue };
        let (layer, other) = (facts.layer(lack.layer), facts.layer(*by));
        let message = format!(
            "layer {}: waits for {}, which needs {} of layer {}, and that starts only when this layer is ready",
            layer.id,
            object.id(),
            needs.id(),
            other.id
        );
        found.push(Finding::new(&RULE, message).of(layer).about(object));
    }
    found
}
