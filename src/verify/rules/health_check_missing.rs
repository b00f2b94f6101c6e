//! A health check that names an object which nothing declares.

use super::{Finding, Rule};
use crate::layers::LayerId;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::{checked_group, is_checked, secrets_made, target};
use crate::verify::simulate::Until;
use std::collections::BTreeSet;

pub(crate) const RULE: Rule = Rule {
    id: "health-check-missing",
    severity: Severity::Blocks,
    title: "A health check names nothing",
    why: "The layer waits for an object until its timeout, and all that depends on the layer with it. What a chart makes is not seen here, so \
          a namespace into which a HelmRelease installs is left alone. With spec.wait, Flux does not look at health checks at all.",
    fix: "correct apiVersion, kind, namespace and name in spec.healthChecks, or take the entry out",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let made: BTreeSet<(String, String)> = facts.with_charts().flat_map(|(_, object)| secrets_made(object)).collect();
    for (position, layer, _) in facts.layers().filter(|(_, layer, _)| !layer.spec.wait) {
        for check in &layer.spec.health_checks {
            let namespace = check.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(&layer.id.namespace);
            let group = checked_group(check);
            let is_layer = group.ends_with("toolkit.fluxcd.io") && facts.by_id(&LayerId::new(namespace, check.name.as_str())).is_some();
            let is_secret = group.is_empty() && check.kind == "Secret" && made.contains(&(namespace.to_owned(), check.name.clone()));
            let is_declared = is_layer || is_secret || facts.named(&check.name).any(|(_, object)| is_checked(check, &layer.id, object));
            // A chart, or an operator, may make what is not the agent's own.
            let could_be_made = !group.ends_with("fluxcd.io")
                && (facts.releases().any(|(_, release)| target(release) == Some(namespace)) || !crate::health::is_own_group(group));
            if is_declared || could_be_made {
                continue;
            }
            let other = facts
                .named(&check.name)
                .map(|(_, object)| object)
                .find(|object| object.kind() == check.kind && object.namespace().is_none_or(|own| own == namespace));
            let without = if check.api_version.is_empty() { " without apiVersion, which is read as apps/v1" } else { "" };
            let message = format!(
                "layer {}: its health check names {} {namespace}/{}{without}, which nothing declares",
                layer.id, check.kind, check.name
            );
            let finding = Finding::new(&RULE, message).of(layer).keeps(facts, [position], Until::Ready);
            let finding = match other {
                Some(other) => finding.hint(format!("write apiVersion: {}, as {} has it", other.api_version(), other.id())),
                None => finding,
            };
            // It may stand in a layer that could not be rendered.
            let is_certain = facts.is_complete() && !facts.may_be_made(&check.kind);
            found.push(if is_certain { finding } else { finding.severity(Severity::Risk) });
        }
    }
    found
}
