//! Sync waves of Argo CD Applications without a health check for Applications.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use serde_json::Value;
use std::collections::BTreeSet;

pub(crate) const RULE: Rule = Rule {
    id: "argo-app-health",
    severity: Severity::Blocks,
    title: "Sync waves order Applications whose health Argo CD does not judge",
    why: "Since version 1.8, Argo CD takes every Application for healthy as soon as it exists. Waves of Applications then start one after the \
          other without waiting: in a living cluster nobody notices, in a start from nothing the later ones fail.",
    fix: "add resource.customizations.health.argoproj.io_Application to argocd-cm (Argo CD's documentation, Health, Application)",
    check: Some(check),
};

const KEY: &str = "resource.customizations.health.argoproj.io_Application";

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let is_app = |object: &Resource| object.kind() == "Application" && object.group() == "argoproj.io";
    let is_later = |(_, object): &(usize, &Resource)| is_app(object) && wave(object) != "0";
    let waves: BTreeSet<&str> = facts.objects().filter(|(_, object)| is_app(object)).map(|(_, object)| wave(object)).collect();
    let Some((layer, first)) = facts.objects().find(is_later).filter(|_| waves.len() > 1) else { return Vec::new() };
    if facts.objects().any(|(_, object)| judges(object)) {
        return Vec::new();
    }
    let message = format!(
        "{}: sync waves {} order Applications, but nothing tells Argo CD how healthy one is",
        first.id(),
        waves.into_iter().collect::<Vec<_>>().join(", ")
    );
    vec![Finding::new(&RULE, message).of(facts.layer(layer)).about(first)]
}

fn wave(object: &Resource) -> &str {
    object.annotation("argocd.argoproj.io/sync-wave").unwrap_or("0")
}

/// Whether an object gives Argo CD that check: its ConfigMap, or the values of its chart.
fn judges(object: &Resource) -> bool {
    let has = |value: Option<&Value>| {
        value.and_then(Value::as_object).is_some_and(|map| map.contains_key(KEY) || map.contains_key("resource.customizations"))
    };
    match object.kind() {
        "ConfigMap" => has(object.value.get("data")),
        "HelmRelease" => has(object.value.pointer("/spec/values/configs/cm")),
        _ => false,
    }
}
