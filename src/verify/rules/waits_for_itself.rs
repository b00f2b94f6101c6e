//! A layer waits for the health of an object that only a later layer makes healthy.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::simulate::Lacking;

pub(crate) const RULE: Rule = Rule {
    id: "waits-for-itself",
    severity: Severity::Blocks,
    title: "A layer waits for what it unblocks itself",
    why: "An ExternalSecret is healthy when its store is there, a Certificate when its issuer is, a HelmRelease when its source, its values \
          and the releases that it depends on are. Where that, or what a health check names, stands in a layer that waits for this one, both \
          wait for ever.",
    fix: "move what is needed to a layer before this one, or take the object out of what this layer waits for",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for lack in &facts.start.lacks {
        let Lacking::Health { object, needs, by } = &lack.what else { continue };
        let (layer, other) = (facts.layer(lack.layer), facts.layer(*by));
        let Some(object) = object else {
            let message = format!(
                "layer {}: its health check waits for {} of layer {}, and that starts only when this layer is ready",
                layer.id,
                needs.id(),
                other.id
            );
            found.push(Finding::new(&RULE, message).of(layer));
            continue;
        };
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
