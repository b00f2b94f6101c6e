//! Secret values that are drawn anew in each cluster.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::{chart, is_release};
use serde_json::Value;

pub(crate) const RULE: Rule = Rule {
    id: "secret-generated",
    severity: Severity::Differs,
    title: "A password is drawn anew in each cluster",
    why: "What was written down elsewhere with the old value (a database that is restored, a client, a bookmark) does not fit the new one.",
    fix: "give the value in Git (encrypted), in the environment or in a secret store",
    check: Some(check),
};

/// Charts that draw a password, and the values by which one is given instead.
const CHARTS: [(&str, &[&str]); 9] = [
    ("grafana", &["/adminPassword", "/admin/existingSecret"]),
    ("keycloak", &["/auth/adminPassword", "/auth/existingSecret"]),
    ("mariadb", &["/auth/rootPassword", "/auth/existingSecret"]),
    ("minio", &["/rootPassword", "/existingSecret", "/auth/rootPassword", "/auth/existingSecret"]),
    ("mongodb", &["/auth/rootPassword", "/auth/existingSecret"]),
    ("mysql", &["/auth/rootPassword", "/auth/existingSecret"]),
    ("postgresql", &["/auth/postgresPassword", "/auth/existingSecret", "/global/postgresql/auth/existingSecret"]),
    ("rabbitmq", &["/auth/password", "/auth/existingPasswordSecret"]),
    ("redis", &["/auth/password", "/auth/existingSecret", "/global/redis/password"]),
];

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (position, object) in facts.objects() {
        let why = if object.group() == "generators.external-secrets.io" && matches!(object.kind(), "Password" | "UUID" | "SSHKey") {
            "draws a value that nothing else keeps".to_owned()
        } else if let Some(fields) = object
            .annotation("secretgenerator.mittwald.de/autogenerate")
            .or_else(|| object.annotation("secret-generator.v1.mittwald.de/autogenerate"))
        {
            format!("has {fields} drawn by kubernetes-secret-generator")
        } else if is_release(object)
            && let Some(chart) = chart(facts, object)
            && let Some((name, given)) = CHARTS.iter().find(|(name, _)| *name == chart.name)
            && !is_given(object.value.pointer("/spec/values"), given)
            && object.value.pointer("/spec/valuesFrom").is_none()
        {
            format!("chart {name} draws its password, since the values give none")
        } else {
            continue;
        };
        found.push(Finding::new(&RULE, format!("{}: {why}", object.id())).of(facts.layer(position)).about(object));
    }
    found
}

fn is_given(values: Option<&Value>, pointers: &[&str]) -> bool {
    let Some(values) = values else { return false };
    values.pointer("/auth/enabled") == Some(&Value::Bool(false))
        || pointers.iter().any(|pointer| values.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty()))
}
