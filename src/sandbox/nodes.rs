//! The nodes of a sandbox, which kwok plays.

use super::{Options, SandboxError, core};
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// Ready, and free for pods.
pub(super) fn is_ready(node: &Value) -> bool {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.is_some_and(|list| list.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"));
    // The node controller takes the taint away a moment after Ready; a pod cannot be placed before.
    ready && node.pointer("/spec/taints").and_then(Value::as_array).is_none_or(Vec::is_empty)
}

/// One node, or one in each of three zones; gives their names.
pub(super) async fn create(client: &kube::Client, options: &Options) -> Result<Vec<String>, SandboxError> {
    let region = options.region.as_deref().unwrap_or(super::REGION);
    let zones: &[&str] = if options.zones { &["a", "b", "c"] } else { &["a"] };
    let nodes = kube::Api::<DynamicObject>::all_with(client.clone(), &core("Node"));
    let mut names = Vec::new();
    for (index, zone) in zones.iter().enumerate() {
        let name = format!("node-{}", index + 1);
        let room = json!({"cpu": "1k", "memory": "1Ti", "pods": "1M", "ephemeral-storage": "100Ti"});
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {
                    "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "kubernetes.io/hostname": name,
                    "node.kubernetes.io/instance-type": "m5.large",
                    "topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": format!("{region}{zone}"),
                },
            },
            // What kwok would give it, and disk, which it does not.
            "status": {"allocatable": room, "capacity": room},
        });
        super::create(&nodes, node).await?;
        names.push(name);
    }
    Ok(names)
}
