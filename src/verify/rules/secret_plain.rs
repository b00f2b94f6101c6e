//! A Secret whose values stand in Git for everybody to read.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use serde_json::Value;
use std::collections::BTreeSet;

pub(crate) const RULE: Rule = Rule {
    id: "secret-plain",
    severity: Severity::Risk,
    title: "A Secret stands in Git in clear",
    why: "Whoever can read the repository, or any clone of it, has the value; and it stays in its history.",
    fix: "encrypt it with SOPS, or take it from a secret store; then change the value",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (position, object) in facts.objects().filter(|(_, object)| object.kind() == "Secret" && object.group().is_empty()) {
        let is = |written: &&Resource| written.origin == object.origin && written.kind() == "Secret";
        let Some(written) = facts.subject.written.iter().find(is) else { continue };
        let keys = plain(written);
        if keys.is_empty() || !seen.insert((written.origin.clone(), object.name())) {
            continue;
        }
        let message = format!(
            "{}: {} in clear in Git",
            object.id(),
            if keys.len() == 1 { format!("{} stands", keys[0]) } else { format!("{} stand", keys.join(", ")) }
        );
        found.push(Finding::new(&RULE, message).of(facts.layer(position)).about(object));
    }
    found
}

/// Keys with a value of their own: neither encrypted nor put there by a variable.
fn plain(written: &Resource) -> Vec<&str> {
    if written.value.get("sops").is_some() || written.text("/type") == "kubernetes.io/service-account-token" {
        return Vec::new();
    }
    let values = ["data", "stringData"].into_iter().filter_map(|key| written.value.get(key)?.as_object()).flatten();
    let clear =
        |value: &Value| value.as_str().is_none_or(|text| !text.trim().is_empty() && !text.contains("${") && !text.starts_with("ENC["));
    values.filter(|(_, value)| !value.is_null() && clear(value)).map(|(key, _)| key.as_str()).collect()
}
