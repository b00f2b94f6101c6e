//! Variables of a layer that come from an object which a controller makes while the cluster runs.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::secrets_made;
use std::collections::BTreeMap;

pub(crate) const RULE: Rule = Rule {
    id: "value-at-run-time",
    severity: Severity::Differs,
    title: "Variables come from an object that a controller makes",
    why: "In a start from nothing the layer may come before that object: a required one holds the layer back, an optional one leaves its \
          defaults in place, so that the layer first comes up other than before. Its values can also not be planned or verified.",
    fix: "let the layer depend on the one with that object, and give its values in spec.variables or spec.outputs of the environment where they are known",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let of_object = |(_, object): (usize, &crate::manifest::Resource)| {
        let id = object.id().to_string();
        secrets_made(object).into_iter().map(move |secret| (secret, id.clone()))
    };
    let made: BTreeMap<(String, String), String> = facts.objects().flat_map(of_object).collect();
    let mut found = Vec::new();
    for (_, layer, _) in facts.layers() {
        for reference in layer.spec.post_build.iter().flat_map(|post_build| &post_build.substitute_from) {
            let key = (layer.id.namespace.clone(), reference.name.clone());
            let Some(maker) = made.get(&key).filter(|_| reference.kind == "Secret") else { continue };
            let optional = if reference.optional { " (optional)" } else { "" };
            let message =
                format!("layer {}: takes variables from Secret {}/{}{optional}, which {maker} makes at run time", layer.id, key.0, key.1);
            found.push(Finding::new(&RULE, message).of(layer).at(reference.origin.clone()));
        }
    }
    found
}
