//! Something that keeps state, and no rule of what becomes of it.

use super::{Finding, Rule};
use crate::environment::Restore;
use crate::layers::infrastructure::service;
use crate::manifest::Resource;
use crate::problem::Severity;
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
    let mut found = Vec::new();
    for (position, object) in facts.objects() {
        for (what, kind, name) in claims(object) {
            let namespace = object.namespace().unwrap_or("default");
            if !rules.iter().any(|rule| covers(rule, &kind, namespace, &name, object)) {
                let message = format!("{}: {what}, and nothing says what becomes of it", object.id());
                found.push(Finding::new(&RULE, message).of(facts.layer(position)).about(object));
            }
        }
    }
    let below = facts.subject.reading.infrastructure.iter();
    for object in below.filter(|object| keeps_state(object)) {
        let seen = found.iter().any(|finding: &Finding| finding.object == Some(object.id()));
        if !seen && !rules.iter().any(|rule| covers(rule, object.kind(), object.namespace().unwrap_or("default"), object.name(), object)) {
            let message = format!("{}: keeps data, and nothing says what becomes of it", object.id());
            found.push(Finding::new(&RULE, message).about(object));
        }
    }
    found
}

/// What an object keeps: (in words, kind, name).
fn claims(object: &Resource) -> Vec<(String, String, String)> {
    match (object.group(), object.kind()) {
        // A data source fills it: Git says already where from.
        ("", "PersistentVolumeClaim")
            if ["/spec/dataSource", "/spec/dataSourceRef", "/spec/volumeName"]
                .iter()
                .all(|pointer| object.value.pointer(pointer).is_none()) =>
        {
            vec![("a volume that starts empty".to_owned(), "PersistentVolumeClaim".to_owned(), object.name().to_owned())]
        }
        ("apps", "StatefulSet") => {
            let templates = object.value.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).into_iter().flatten();
            let names = templates.filter_map(|template| template.pointer("/metadata/name")?.as_str());
            names
                .map(|name| {
                    (format!("its volumes {name} start empty"), "PersistentVolumeClaim".to_owned(), format!("{name}-{}-", object.name()))
                })
                .collect()
        }
        ("postgresql.cnpg.io", "Cluster") if object.value.pointer("/spec/bootstrap/recovery").is_none() => {
            vec![("a database that starts empty".to_owned(), "Cluster".to_owned(), object.name().to_owned())]
        }
        _ if keeps_state(object) => vec![("keeps data".to_owned(), object.kind().to_owned(), object.name().to_owned())],
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

/// A name that ends with `-` stands for all claims of a StatefulSet.
fn covers(rule: &Restore, kind: &str, namespace: &str, name: &str, object: &Resource) -> bool {
    let wanted = |key: &str| rule.matching.get(key).and_then(Value::as_str);
    wanted("kind").is_none_or(|wanted| wanted == kind || wanted == object.kind())
        && wanted("namespace").is_none_or(|wanted| wanted == namespace)
        && wanted("name").is_none_or(|wanted| wanted == name || wanted == object.name() || name.ends_with('-') && wanted.starts_with(name))
}
