//! A Secret that something needs and that neither Git nor the environment brings.

use super::{Finding, Rule};
use crate::layers::LayerId;
use crate::layers::operator::copied_from;
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::{list, opens_store, secrets, secrets_made, target};
use crate::verify::simulate::Until;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const RULE: Rule = Rule {
    id: "secret-missing",
    severity: Severity::Blocks,
    title: "Only the lost cluster held a Secret",
    why: "Something cannot work without it, and nothing in Git makes it: no Secret, no ExternalSecret, SealedSecret or Certificate, no cluster of \
          Cluster API, nothing that Crossplane or ACK connects, nothing in the environment. Somebody wrote it into the old cluster by hand. What a pod needs is told where no chart in its namespace could make it.",
    fix: "name it in spec.secrets of the environment, or put it into Git encrypted",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let spec = &facts.environment().spec;
    let mut known: BTreeSet<(String, String)> = spec.secrets.iter().map(|secret| (secret.namespace.clone(), secret.name.clone())).collect();
    known.extend(spec.variables.iter().filter(|given| given.kind == "Secret").map(|given| (given.namespace.clone(), given.name.clone())));
    known.extend(spec.outputs.iter().filter(|given| given.kind == "Secret").map(|given| (given.namespace.clone(), given.name.clone())));
    // What is made in all namespaces that carry a label.
    let mut everywhere: BTreeSet<&str> = BTreeSet::new();
    for (_, object) in facts.objects() {
        if object.kind() == "Secret" && object.group().is_empty() {
            known.insert((object.namespace().unwrap_or("default").to_owned(), object.name().to_owned()));
        }
        known.extend(secrets_made(object));
        if object.kind() == "ClusterExternalSecret" {
            let name = object.text("/spec/externalSecretSpec/target/name");
            let name = if name.is_empty() { object.text("/spec/externalSecretName") } else { name };
            everywhere.insert(if name.is_empty() { object.name() } else { name });
        }
    }
    // Kyverno copies them to namespaces that it finds, by name or by label.
    let policies: Vec<&Resource> = facts.objects().map(|(_, object)| object).filter(|object| object.group() == "kyverno.io").collect();
    // Charts and operators make Secrets, and some are copied into every namespace.
    let charts: BTreeSet<&str> = facts.releases().filter_map(|(_, release)| target(release)).collect();
    let mut missing: BTreeMap<(String, String), Vec<(usize, &Resource)>> = BTreeMap::new();
    let entry = facts.subject.reading.sources.values().filter_map(|source| source.declaration.as_ref());
    let all = facts.objects().chain(entry.map(|source| (0, source)));
    for (layer, object) in all {
        let namespace = object.namespace().unwrap_or("default");
        let agents = object.group().ends_with("toolkit.fluxcd.io") || object.group() == "fluxcd.controlplane.io";
        let own = secrets(object).into_iter().filter(|_| agents || !charts.contains(namespace)).map(|name| (namespace.to_owned(), name));
        let copied = copied_from(object).filter(|_| object.kind() == "Secret").map(|(at, name)| (at.to_owned(), name.to_owned()));
        for key in own.chain(opens_store(object)).chain(copied) {
            let users = missing.entry(key.clone()).or_default();
            let brought = known.contains(&key) || everywhere.contains(key.1.as_str()) || policies.iter().any(|policy| copies(policy, &key));
            if !brought && !users.iter().any(|(_, user)| user.id() == object.id()) {
                users.push((layer, object));
            }
        }
    }
    for ((namespace, name), users) in missing {
        let Some(&(layer, first)) = users.first() else { continue };
        let who: Vec<String> = users.iter().map(|(_, user)| user.id().to_string()).collect();
        let message = format!("{}: needs Secret {namespace}/{name}, which neither Git nor the environment brings", list(&who, 3));
        let hint = format!("add to spec.secrets of the environment: {{namespace: {namespace}, name: {name}, key: …, from: {{…}}}}");
        let mut finding = Finding::new(&RULE, message).of(facts.layer(layer)).about(first).hint(hint);
        for &(holder, user) in &users {
            finding = match user.group() {
                "source.toolkit.fluxcd.io" => finding.keeps(facts, facts.of_source(user), Until::Applied),
                "kustomize.toolkit.fluxcd.io" => finding.keeps(facts, facts.by_id(&layer_of(user)), Until::Applied),
                "helm.toolkit.fluxcd.io" => finding.keeps(facts, facts.awaiting(holder, user), Until::Ready),
                _ => finding,
            };
        }
        found.push(match first.group() {
            // Alerts that cannot be sent hold nothing back.
            "notification.toolkit.fluxcd.io" => finding.severity(Severity::Differs),
            // It may stand in a layer that could not be rendered.
            _ if !facts.is_complete() => finding.severity(Severity::Risk),
            _ => finding,
        });
    }
    found
}

fn layer_of(kustomization: &Resource) -> LayerId {
    LayerId::new(kustomization.namespace().unwrap_or("default"), kustomization.name())
}

/// Whether a Kyverno policy may make a Secret (namespace, name) as a copy.
fn copies(policy: &Resource, (namespace, name): &(String, String)) -> bool {
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let rules = policy.value.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten();
    rules.filter_map(|rule| rule.get("generate")).any(|generate| {
        let kinds = generate.pointer("/cloneList/kinds").and_then(Value::as_array).into_iter().flatten();
        let by_label =
            kinds.filter_map(Value::as_str).any(|kind| kind == "v1/Secret") && text(generate, "/cloneList/namespace") != *namespace;
        by_label || text(generate, "/kind") == "Secret" && text(generate, "/name") == *name
    })
}
