//! Sync waves of Argo CD Applications that hold nobody back.

use super::{Finding, Rule};
use crate::layers::argo::{Helm, Step, is_application, is_application_set, step};
use crate::manifest::Resource;
use crate::manifest::yaml::documents;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::{chart, is_release};
use serde_json::Value;
use std::collections::BTreeSet;

pub(crate) const RULE: Rule = Rule {
    id: "argo-app-health",
    severity: Severity::Blocks,
    title: "Sync waves order Applications whose health Argo CD does not judge",
    why: "Since version 1.8, Argo CD takes every Application for healthy as soon as it exists, and an ApplicationSet as soon as it has made its \
          Applications. Waves then start one after the other without waiting: in a living cluster nobody notices, in a start from nothing the \
          later ones fail.",
    fix: "add resource.customizations.health.argoproj.io_Application to argocd-cm (Argo CD's documentation, Health, Application)",
    check: Some(check),
};

const KEY: &str = "resource.customizations.health.argoproj.io_Application";

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let is_judged = facts.objects().any(|(_, object)| judges(object)) || helms(facts).any(is_in_values);
    let is_unread = has_unread_argo(facts);
    let mut found = Vec::new();
    for (position, layer, objects) in facts.layers() {
        let applications: Vec<(Step, &Resource)> =
            objects.iter().filter(|object| is_application(object)).filter_map(|object| Some((step(object)?, object))).collect();
        let waves: BTreeSet<i32> = applications.iter().map(|(step, _)| step.wave).collect();
        let later = applications.iter().find(|(step, _)| step.wave != 0).filter(|_| !is_judged && waves.len() > 1);
        if let Some((_, first)) = later {
            let waves: Vec<String> = waves.iter().map(ToString::to_string).collect();
            let message =
                format!("{}: sync waves {} order Applications, but nothing tells Argo CD how healthy one is", first.id(), waves.join(", "));
            found.push(if is_unread {
                let message = format!("{message}, unless the values of Argo CD's chart do, which are not read here");
                Finding::new(&RULE, message).of(layer).about(first).severity(Severity::Risk)
            } else {
                Finding::new(&RULE, message).of(layer).about(first)
            });
        }
        found.extend(sets(facts, position, objects));
    }
    found
}

/// Sets in whose Applications a later wave may trust in vain.
fn sets(facts: &Facts<'_>, position: usize, objects: &[Resource]) -> Option<Finding> {
    let is_carrier = |object: &&Resource| is_application(object) || is_application_set(object);
    let placed: Vec<(Step, &Resource)> = objects.iter().filter(is_carrier).filter_map(|object| Some((step(object)?, object))).collect();
    let (before, set) = placed.iter().find(|(_, object)| is_application_set(object))?;
    let (after, later) = placed.iter().find(|(step, _)| step > before)?;
    let message = format!(
        "{}: its {before} is before {after} of {}, but Argo CD waits only until the set has made its Applications, not until these are healthy",
        set.id(),
        later.id()
    );
    let hint = "what must wait for them has to try again, or to stand in the same set with a progressive sync";
    Some(Finding::new(&RULE, message).of(facts.layer(position)).about(set).severity(Severity::Risk).hint(hint))
}

/// Whether an object gives Argo CD that check: its ConfigMap, or the values of its chart.
fn judges(object: &Resource) -> bool {
    match object.kind() {
        "ConfigMap" => object.value.get("data").is_some_and(holds),
        "HelmRelease" => object.value.pointer("/spec/values").is_some_and(holds),
        _ => false,
    }
}

/// Whether the check is a field of a value, however deep: a chart may be one of another one's.
fn holds(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.contains_key(KEY) || map.contains_key("resource.customizations") || map.values().any(holds),
        Value::Array(items) => items.iter().any(holds),
        _ => false,
    }
}

/// What Applications tell their charts.
fn helms<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a Helm> {
    let applications = facts.layers().filter_map(|(_, layer, _)| layer.spec.application.as_deref());
    applications.flat_map(|application| &application.sources).filter_map(|source| source.helm.as_ref())
}

fn is_in_values(helm: &Helm) -> bool {
    let text = helm.values.as_deref().map(|text| documents(text).unwrap_or_default()).unwrap_or_default();
    helm.values_object.as_ref().is_some_and(holds)
        || text.iter().any(|document| holds(&document.value))
        || helm.parameters.iter().any(|parameter| parameter.name.replace('\\', "").contains(KEY))
}

/// Whether Argo CD's own chart is installed, and what it renders to is not known.
fn has_unread_argo(facts: &Facts<'_>) -> bool {
    let of_release = |object: &Resource| is_release(object) && chart(facts, object).is_some_and(|chart| chart.name == "argo-cd");
    let mut applications = facts.layers().filter_map(|(_, layer, _)| layer.spec.application.as_ref());
    applications.any(|application| application.charts.iter().any(|chart| chart == "argo-cd"))
        || facts.objects().any(|(_, object)| of_release(object))
}
