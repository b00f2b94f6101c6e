//! Something that keeps state, and no rule of what becomes of it.

use super::{Finding, Rule};
use crate::layers::infrastructure::service;
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::restore::claims::{Volumes, is_filled, of};
use crate::restore::{Keeper, is_for};
use crate::verify::facts::Facts;
use serde_json::Value;

pub(crate) const RULE: Rule = Rule {
    id: "state-without-restore",
    severity: Severity::Differs,
    title: "State has no restore rule",
    why: "A first start makes the volume, table or database empty; a recovery stops where it finds no backup of it. Whether empty is right (a \
          cache) or a loss cannot be told from Git.",
    fix: "add a rule to spec.restore of the environment: required, newest, {at: TIME}, or empty where nothing is lost",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let rules = &facts.environment().spec.restore;
    let is_covered = |object: &Resource, kind: &str, name: &str| {
        let keeper = Keeper { kind, namespace: object.namespace().unwrap_or("default"), name, origin: None };
        rules.iter().any(|rule| is_for(&rule.matching, keeper))
    };
    let volumes = Volumes::of(facts.objects().map(|(_, object)| object));
    let mut found = Vec::new();
    for (position, object) in facts.objects() {
        for (what, kind, names) in kept(object, &volumes) {
            if !names.iter().all(|name| is_covered(object, kind, name)) {
                let message = format!("{}: {what}, and nothing says what becomes of it", object.id());
                found.push(Finding::new(&RULE, message).of(facts.layer(position)).about(object));
            }
        }
    }
    let below = facts.subject.reading.infrastructure.iter();
    for object in below.filter(|object| keeps_state(object)) {
        let seen = found.iter().any(|finding: &Finding| finding.object == Some(object.id()));
        if !seen && !is_covered(object, object.kind(), object.name()) {
            let message = format!("{}: keeps data, and nothing says what becomes of it", object.id());
            found.push(Finding::new(&RULE, message).about(object));
        }
    }
    found
}

/// What an object keeps: in words, kind, and the names of all that a rule must match.
fn kept<'o>(object: &'o Resource, volumes: &Volumes<'_>) -> Vec<(String, &'o str, Vec<String>)> {
    let namespace = object.namespace().unwrap_or("default");
    let is_new = |name: &str, spec: &Value| !is_filled(spec) && !volumes.hold(namespace, name, spec);
    let own = |what: &str| vec![(what.to_owned(), object.kind(), vec![object.name().to_owned()])];
    match (object.group(), object.kind()) {
        ("", "PersistentVolumeClaim") => {
            let is_new = object.value.get("spec").is_none_or(|spec| is_new(object.name(), spec));
            if is_new { own("a volume that starts empty") } else { Vec::new() }
        }
        ("apps", "StatefulSet") => {
            let claims = of(object);
            let templates = object.value.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).into_iter().flatten();
            let titles = templates.filter_map(|template| template.pointer("/metadata/name")?.as_str());
            let kept = titles.map(|title| {
                let start = format!("{title}-{}-", object.name());
                let new = claims.iter().filter(|(name, _, spec)| name.starts_with(&start) && is_new(name, spec));
                (format!("its volumes {title} start empty"), "PersistentVolumeClaim", new.map(|(name, ..)| name.clone()).collect())
            });
            kept.filter(|(.., names): &(String, &str, Vec<String>)| !names.is_empty()).collect()
        }
        ("postgresql.cnpg.io", "Cluster") if object.value.pointer("/spec/bootstrap/recovery").is_none() => {
            own("a database that starts empty")
        }
        _ if keeps_state(object) => own("keeps data"),
        _ => Vec::new(),
    }
}

/// Cloud resources that hold data.
fn keeps_state(object: &Resource) -> bool {
    matches!(
        (service(object), object.kind()),
        (Some("dynamodb"), "Table") | (Some("rds"), "DBInstance" | "DBCluster") | (Some("s3"), "Bucket") | (Some("efs"), "FileSystem")
    )
}
