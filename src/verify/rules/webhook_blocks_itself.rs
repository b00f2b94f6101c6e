//! A webhook that must approve the pods of its own backend.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::pod;
use serde_json::Value;

pub(crate) const RULE: Rule = Rule {
    id: "webhook-blocks-itself",
    severity: Severity::Blocks,
    title: "A webhook must approve the pods of its own backend",
    why: "With failurePolicy Fail the API server refuses every pod until the webhook answers, and the webhook answers only when its own pod \
          runs. In a living cluster that pod was there before the webhook.",
    fix: "leave the backend's namespace out with a namespaceSelector, or set failurePolicy: Ignore",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (position, object) in facts.objects() {
        if !matches!(object.kind(), "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") {
            continue;
        }
        let hooks = object.value.get("webhooks").and_then(Value::as_array).into_iter().flatten();
        for hook in hooks.filter(|hook| refuses_pods(hook)) {
            let Some(namespace) = hook.pointer("/clientConfig/service/namespace").and_then(Value::as_str) else { continue };
            let backend = |other: &&Resource| other.namespace() == Some(namespace) && pod(other).is_some();
            let Some((_, backend)) = facts.objects().find(|(_, other)| backend(other)) else { continue };
            let name = hook.get("name").and_then(Value::as_str).unwrap_or_default();
            let message = format!("{}: webhook {name} must approve all pods, those of its backend {} too", object.id(), backend.id());
            found.push(Finding::new(&RULE, message).of(facts.layer(position)).about(object));
            break;
        }
    }
    found
}

/// Whether a webhook must approve the making of any pod.
fn refuses_pods(hook: &Value) -> bool {
    let holds = |rule: &Value, key: &str, wanted: &str| {
        let list = rule.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).any(|text| text == "*" || text == "*/*" || text == wanted)
    };
    let rules = hook.get("rules").and_then(Value::as_array).into_iter().flatten();
    let selects = |key: &str| hook.get(key).and_then(Value::as_object).is_some_and(|selector| !selector.is_empty());
    let conditions = hook.get("matchConditions").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    hook.get("failurePolicy").and_then(Value::as_str) != Some("Ignore")
        && !selects("namespaceSelector")
        && !selects("objectSelector")
        && !conditions
        && rules
            .into_iter()
            .any(|rule| holds(rule, "resources", "pods") && holds(rule, "apiGroups", "") && holds(rule, "operations", "CREATE"))
}
