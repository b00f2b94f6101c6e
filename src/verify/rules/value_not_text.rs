//! A value that must be text and is a number or a truth value.

use super::{Finding, Rule};
use crate::layers::flux::is_kustomization;
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::{containers, list, pod};
use crate::verify::simulate::Until;
use serde_json::Value;

pub(crate) const RULE: Rule = Rule {
    id: "value-not-text",
    severity: Severity::Blocks,
    title: "A value is no text where the API server takes nothing else",
    why: "Labels, annotations, the data of ConfigMaps and Secrets, environment variables and postBuild.substitute hold text. YAML reads `3`, \
          `true` and an unquoted variable that becomes one of these as something else; the API server refuses the object, and with it the \
          dry run of the whole layer. kustomize drops the quotes around a variable, so quotes in the file do not help there.",
    fix: "quote it; around a variable write ${quote}${NAME}${quote}, with the variable quote: '\"'",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (position, object) in facts.objects() {
        let fields = fields(object);
        if !fields.is_empty() {
            let message = format!("{}: must be text: {}", object.id(), list(&fields, 4));
            found.push(Finding::new(&RULE, message).of(facts.layer(position)).about(object).keeps(facts, [position], Until::Applied));
        }
    }
    found
}

/// Fields that are no text, in words; never their values, which may be secret.
fn fields(object: &Resource) -> Vec<String> {
    let mut found = Vec::new();
    let mut maps = vec!["metadata.labels", "metadata.annotations"];
    match (object.group(), object.kind()) {
        ("", "ConfigMap") => maps.push("data"),
        ("", "Secret") => maps.extend(["data", "stringData"]),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet") | ("batch", "Job") => {
            maps.extend(["spec.template.metadata.labels", "spec.template.metadata.annotations"]);
        }
        _ if is_kustomization(object) => maps.push("spec.postBuild.substitute"),
        _ => {}
    }
    for path in maps {
        let map = object.value.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_object);
        found.extend(map.into_iter().flatten().filter_map(|(key, value)| Some(format!("{path}.{key} ({})", kind(value)?))));
    }
    for container in pod(object).into_iter().flat_map(containers) {
        let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
        for env in container.get("env").and_then(Value::as_array).into_iter().flatten() {
            let variable = env.get("name").and_then(Value::as_str).unwrap_or_default();
            if let Some(kind) = env.get("value").and_then(kind) {
                found.push(format!("{variable} of container {name} ({kind})"));
            }
        }
    }
    found
}

/// What a value is, where it is no text; the API server takes a null for nothing.
fn kind(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(_) | Value::Null => None,
        Value::Number(_) => Some("a number"),
        Value::Bool(_) => Some("true or false"),
        Value::Array(_) => Some("a list"),
        Value::Object(_) => Some("a map"),
    }
}
