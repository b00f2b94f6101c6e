//! A health check that names an object which nothing declares.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::is_release;

pub(crate) const RULE: Rule = Rule {
    id: "health-check-missing",
    severity: Severity::Blocks,
    title: "A health check names nothing",
    why: "The layer waits for an object until its timeout, and all that depends on the layer with it. What a chart makes is not seen here, so \
          a namespace into which a HelmRelease installs is left alone.",
    fix: "correct kind, namespace and name in spec.healthChecks, or take the entry out",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (_, layer, _) in facts.layers() {
        for check in &layer.spec.health_checks {
            let namespace = check.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(&layer.id.namespace);
            let group = check.api_version.rsplit_once('/').map_or("", |(group, _)| group);
            let is = |kind: &str, name: &str, own: Option<&str>| {
                kind == check.kind && name == check.name && own.is_none_or(|own| own == namespace)
            };
            let declared =
                facts.objects().any(|(_, object)| is(object.kind(), object.name(), object.namespace()) && object.group() == group)
                    || group.ends_with("toolkit.fluxcd.io")
                        && facts.by_id(&crate::layers::LayerId::new(namespace, check.name.as_str())).is_some();
            let target = |release: &crate::manifest::Resource| match release.text("/spec/targetNamespace") {
                "" => release.namespace() == Some(namespace),
                target => target == namespace,
            };
            // A chart, or an operator, may make what is not the agent's own.
            let could_be_made = !group.ends_with("fluxcd.io")
                && (facts.objects().any(|(_, object)| is_release(object) && target(object)) || !crate::health::is_own_group(group));
            if !declared && !could_be_made {
                let message =
                    format!("layer {}: its health check names {} {namespace}/{}, which nothing declares", layer.id, check.kind, check.name);
                let finding = Finding::new(&RULE, message).of(layer);
                // It may stand in a layer that could not be rendered.
                found.push(if facts.is_complete() { finding } else { finding.severity(Severity::Risk) });
            }
        }
    }
    found
}
