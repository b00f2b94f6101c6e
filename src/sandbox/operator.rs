//! Stand-in of the controllers that do not run in a sandbox: writes the statuses that layers wait for.

use super::standin::StatusRule;
use crate::cluster::Cluster;
use crate::cluster::watch::Watches;
use crate::manifest::ObjectId;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MANAGER: &str = "blackstart-stand-in";

/// Runs until it is dropped (aborted): each object of a rule's kind gets the rule's status for each of its generations,
/// each Service of type LoadBalancer an address of the documentation range (RFC 5737).
pub async fn run(cluster: Cluster, rules: Vec<StatusRule>) {
    let watches = Watches::new(cluster.clone());
    let mut changes = watches.subscribe();
    let rules: BTreeMap<(String, String), Value> = rules.into_iter().map(|rule| ((rule.api_version, rule.kind), rule.status)).collect();
    for (api_version, kind) in rules.keys() {
        watches.follow_if(api_version, kind, |_| true);
    }
    watches.follow_if("v1", "Service", |service| service.pointer("/spec/type").and_then(Value::as_str) == Some("LoadBalancer"));
    while let Some(id) = changes.recv().await {
        let Some(object) = watches.get(&id) else { continue };
        let Some(status) = wished(&id, &object, &rules) else { continue };
        // Whoever changed it meanwhile makes another event; whatever else fails shows as a layer that never becomes ready.
        let _ = cluster.merge_patch(&id, Some("status"), &json!({"status": status}), MANAGER).await;
    }
}

fn wished(id: &ObjectId, object: &Value, rules: &BTreeMap<(String, String), Value>) -> Option<Value> {
    if id.kind == "Service" && id.api_version == "v1" {
        let has_address = object.pointer("/status/loadBalancer/ingress").is_some();
        return (!has_address).then(|| json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}));
    }
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(1);
    if object.pointer("/status/observedGeneration").and_then(Value::as_i64) == Some(generation) {
        return None;
    }
    let mut status = rules.get(&(id.api_version.clone(), id.kind.clone()))?.clone();
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    status["observedGeneration"] = json!(generation);
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        condition["lastTransitionTime"] = json!(now);
        condition["observedGeneration"] = json!(generation);
    }
    Some(status)
}
