//! A ServiceAccount that the agent should act as, and that nothing makes.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::target;
use crate::verify::simulate::Until;
use serde_json::Value;
use std::collections::BTreeSet;

pub(crate) const RULE: Rule = Rule {
    id: "account-missing",
    severity: Severity::Blocks,
    title: "The agent acts as a ServiceAccount that nothing makes",
    why: "With spec.serviceAccountName the agent may do no more than that account may, and an account that nothing declares may do nothing: \
          the layer is never applied, the release never installed. In the old cluster somebody made it by hand. Where a RoleBinding in Git \
          names it, or a chart in its namespace may make it, nothing is told.",
    fix: "declare the ServiceAccount and its RoleBinding in a layer that comes first, or correct the name",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    if facts.may_be_made("ServiceAccount") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let known = known(facts);
    let is_missing = |namespace: &str, name: &str, user: Option<&Resource>| {
        let is_own = |release: &Resource| user.is_some_and(|user| user.id() == release.id());
        let of_chart =
            |(_, release): (usize, &Resource)| target(release) == Some(namespace) && facts.is_closed(release) && !is_own(release);
        !name.is_empty()
            && !is_given(facts, namespace, name)
            && !known.contains(&(namespace.to_owned(), name.to_owned()))
            && !facts.releases().any(of_chart)
    };
    let severity = |finding: Finding| if facts.is_complete() { finding } else { finding.severity(Severity::Risk) };
    for (position, layer, _) in facts.layers().filter(|(_, layer, _)| layer.spec.application.is_none()) {
        let (namespace, name) = (layer.id.namespace.as_str(), layer.spec.service_account_name.as_deref().unwrap_or_default());
        if is_missing(namespace, name, None) {
            let message = format!("layer {}: is applied as ServiceAccount {namespace}/{name}, which nothing makes", layer.id);
            found.push(severity(Finding::new(&RULE, message).of(layer).keeps(facts, [position], Until::Applied)));
        }
    }
    for (position, release) in facts.releases() {
        let (namespace, name) = (release.namespace().unwrap_or("default"), release.text("/spec/serviceAccountName"));
        if is_missing(namespace, name, Some(release)) {
            let message = format!("{}: is installed as ServiceAccount {namespace}/{name}, which nothing makes", release.id());
            let awaiting = facts.awaiting(position, release);
            let finding = Finding::new(&RULE, message).of(facts.layer(position)).about(release);
            let finding = if awaiting.is_empty() { finding.severity(Severity::Differs) } else { finding };
            found.push(severity(finding.keeps(facts, awaiting, Until::Ready)));
        }
    }
    found
}

/// Whether an account is there without any layer: the default one of each namespace, the agent's own, those of a namespace that only the
/// environment names.
fn is_given(facts: &Facts<'_>, namespace: &str, name: &str) -> bool {
    let of_agent = facts.subject.reading.entry.namespace == namespace;
    let of_environment = facts.is_given_namespace(namespace) && !of_agent && !facts.namespaces.contains_key(namespace);
    name == "default"
        || of_environment && !namespace.starts_with("kube-")
        || of_agent && (name.ends_with("-controller") || name.starts_with("flux-"))
}

/// Accounts that Git declares, and those that a binding names: the API server lets the agent act as any name.
fn known(facts: &Facts<'_>) -> BTreeSet<(String, String)> {
    let mut known = BTreeSet::new();
    for (_, object) in facts.with_charts() {
        let own = object.namespace().unwrap_or("default");
        match (object.group(), object.kind()) {
            ("", "ServiceAccount") => drop(known.insert((own.to_owned(), object.name().to_owned()))),
            ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
                let subjects = object.value.get("subjects").and_then(Value::as_array).into_iter().flatten();
                for subject in subjects.filter(|subject| subject["kind"] == "ServiceAccount") {
                    let text = |key: &str| subject.get(key).and_then(Value::as_str);
                    known.insert((text("namespace").unwrap_or(own).to_owned(), text("name").unwrap_or_default().to_owned()));
                }
            }
            _ => {}
        }
    }
    known
}
