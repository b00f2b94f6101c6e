//! What Flux's kustomize-controller sends for a resource, and in which stages. Pure.
//!
//! Rules read from kustomize-controller 1.9 (`apply`) and fluxcd/pkg ssa 0.76 (`ApplyAllStaged`, `normalize`, `hasDrifted`).
//! Flux dry-runs each object and compares the outcome with the living one, without metadata (but labels and annotations)
//! and status; what it would send equal to us, it does not write. Hence only what changes the outcome matters here, not
//! the empty fields that its typed round trip adds.

use crate::health::is_own_group;
use crate::layers::LayerId;
use crate::layers::flux::{CommonMetadata, Layer};
use crate::manifest::Resource;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Group of the agent's labels and annotations.
const GROUP: &str = "kustomize.toolkit.fluxcd.io";

/// Kinds in the order in which the agent applies within a stage; others follow, by group and kind.
const FIRST: [&str; 23] = [
    "CustomResourceDefinition",
    "Namespace",
    "ClusterRole",
    "ClusterClass",
    "RuntimeClass",
    "PriorityClass",
    "StorageClass",
    "VolumeSnapshotClass",
    "IngressClass",
    "GatewayClass",
    "ClusterRoleBinding",
    "ResourceQuota",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
    "LimitRange",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];

/// Kinds that can refuse others: after everything else.
const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Stages of a layer, none of them empty: definitions (CRDs, Namespaces, ClusterRoles), classes, the rest, webhook
/// configurations. What of the first two is not ready blocks the next stage; inside a stage the agent's order is kept.
///
/// The agent applies a stage one by one, so webhook configurations come last by order alone; we apply a stage in parallel
/// and so make them a stage of their own.
pub fn stage<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Vec<Vec<&'a Resource>> {
    let mut stages: [Vec<&Resource>; 4] = Default::default();
    for resource in resources {
        let (api_version, kind) = (resource.api_version(), resource.kind());
        let lower = kind.to_lowercase();
        let definition = lower == "customresourcedefinition" && api_version.starts_with("apiextensions.k8s.io/")
            || lower == "namespace" && api_version == "v1"
            || lower == "clusterrole" && api_version.starts_with("rbac.authorization.k8s.io/");
        let stage = if definition {
            0
        } else if kind.ends_with("Class") {
            1
        } else if LAST.contains(&kind) {
            3
        } else {
            2
        };
        stages[stage].push(resource);
    }
    for stage in &mut stages {
        stage.sort_by_cached_key(|resource| {
            let kind = resource.kind();
            (
                rank(kind),
                resource.group().to_owned(),
                kind.to_owned(),
                resource.namespace().unwrap_or_default().to_owned(),
                resource.name().to_owned(),
            )
        });
    }
    stages.into_iter().filter(|stage| !stage.is_empty()).collect()
}

fn rank(kind: &str) -> usize {
    if let Some(place) = FIRST.iter().position(|first| *first == kind) {
        return place;
    }
    LAST.iter().position(|last| *last == kind).map_or(FIRST.len(), |place| FIRST.len() + 1 + place)
}

/// What the agent would send for a resource of this layer.
pub fn prepare(resource: &Resource, layer: &Layer) -> Value {
    prepare_value(resource.value.clone(), &layer.id, layer.spec.common_metadata.as_ref())
}

/// As `prepare`, for a value that is not needed any more.
pub fn prepare_value(mut object: Value, owner: &LayerId, common: Option<&CommonMetadata>) -> Value {
    let labels = entries(&mut object, "labels");
    labels.insert(format!("{GROUP}/name"), Value::String(owner.name.clone()));
    labels.insert(format!("{GROUP}/namespace"), Value::String(owner.namespace.clone()));
    normalize(&mut object);
    if let Some(common) = common {
        for (field, added) in [("labels", &common.labels), ("annotations", &common.annotations)] {
            if !added.is_empty() {
                let present = entries(&mut object, field);
                present.extend(added.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))));
            }
        }
    }
    drop_broken_ca(&mut object);
    object
}

/// metadata.labels or metadata.annotations, made where absent.
fn entries<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    let metadata = map_at(object, "metadata");
    map_in(metadata, field)
}

fn map_at<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    match object {
        Value::Object(map) => map_in(map, field),
        _ => unreachable!("made an object above"),
    }
}

fn map_in<'a>(map: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// What the agent's typed round trip changes for Kubernetes' own kinds, and what it strips from all.
fn normalize(object: &mut Value) {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if is_left_untyped(&api_version, &kind) {
        return;
    }
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    if is_typed(object) {
        drop_nulls(object);
        match (group, kind.as_str()) {
            ("", "Pod") => protocols(object.pointer_mut("/spec")),
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch", "Job") => {
                protocols(object.pointer_mut("/spec/template/spec"));
            }
            ("batch", "CronJob") => protocols(object.pointer_mut("/spec/jobTemplate/spec/template/spec")),
            ("", "Service") => tcp(object.pointer_mut("/spec/ports")),
            ("", "Secret") => encode(object),
            _ => {}
        }
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
    }
    if !is_definition(object)
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("status");
    }
}

/// Roles are left as they are by the agent (fluxcd/kustomize-controller#1041).
fn is_left_untyped(api_version: &str, kind: &str) -> bool {
    api_version == "rbac.authorization.k8s.io/v1" && (kind == "Role" || kind == "ClusterRole")
}

/// Null fields mean absent fields in typed objects.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The protocol is part of a port's key in server-side apply; TCP where absent. Only main containers, as the agent does.
fn protocols(pod: Option<&mut Value>) {
    let containers = pod.and_then(|pod| pod.get_mut("containers")).and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        tcp(container.get_mut("ports"));
    }
}

fn tcp(ports: Option<&mut Value>) {
    for port in ports.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut()
            && port.get("protocol").is_none_or(|protocol| protocol.as_str().is_some_and(str::is_empty))
        {
            port.insert("protocol".to_owned(), Value::String("TCP".to_owned()));
        }
    }
}

/// stringData becomes data, and wins over it.
fn encode(secret: &mut Value) {
    let Some(fields) = secret.as_object_mut() else { return };
    // What is no string is left for the server to refuse, as it does for the agent.
    if fields.get("stringData").and_then(Value::as_object).is_some_and(|plain| plain.values().any(|value| !value.is_string())) {
        return;
    }
    let Some(Value::Object(plain)) = fields.remove("stringData") else { return };
    if plain.is_empty() {
        return;
    }
    let data = map_in(fields, "data");
    for (key, value) in plain {
        if let Value::String(value) = value {
            data.insert(key, Value::String(STANDARD.encode(value)));
        }
    }
}

/// A placeholder of a CA bundle, to be filled by a controller, is refused by Kubernetes 1.31 and newer; the agent leaves it out.
fn drop_broken_ca(object: &mut Value) {
    const FIELD: &str = "/spec/conversion/webhook/clientConfig";
    if !is_definition(object) {
        return;
    }
    let Some(config) = object.pointer_mut(FIELD).and_then(Value::as_object_mut) else { return };
    let Some(bundle) = config.get("caBundle").and_then(Value::as_str).filter(|bundle| !bundle.is_empty()) else { return };
    let whole = STANDARD.decode(bundle).is_ok_and(|pem| {
        let pem = String::from_utf8_lossy(&pem);
        pem.contains("-----BEGIN CERTIFICATE-----") && pem.contains("-----END CERTIFICATE-----")
    });
    if !whole {
        config.remove("caBundle");
    }
}

/// What server-side apply says of a field that the kind does not have.
const UNDECLARED: &str = ": field not declared in schema";

/// Whether the agent knows the type, and so drops fields that it does not have (the kinds of client-go).
pub(super) fn is_typed(object: &Value) -> bool {
    let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    is_own_group(group) && group != "apiextensions.k8s.io" && group != "apiregistration.k8s.io" && !is_left_untyped(api_version, kind)
}

/// Removes the fields that the server's message names (`.spec.ports[port=80,protocol="TCP"].prt: field not declared in
/// schema`), and gives their paths.
pub(super) fn prune(object: &mut Value, message: &str) -> Vec<String> {
    let mut dropped = Vec::new();
    let parts: Vec<&str> = message.split(UNDECLARED).collect();
    // What follows the last one names nothing.
    for part in &parts[..parts.len() - 1] {
        let Some(start) = part.rfind(char::is_whitespace).map(|at| at + 1).filter(|at| part[*at..].starts_with('.')) else { continue };
        let path = &part[start..];
        if remove(object, path) {
            dropped.push(path.to_owned());
        }
    }
    dropped
}

/// Removes what stands at a path of structured-merge-diff; where an element of a list is named by its keys, from those that match.
fn remove(value: &mut Value, path: &str) -> bool {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (field, rest) = rest.split_at(end);
        let Some(map) = value.as_object_mut() else { return false };
        return if rest.is_empty() { map.remove(field).is_some() } else { map.get_mut(field).is_some_and(|inner| remove(inner, rest)) };
    }
    let Some((selector, rest)) = path.strip_prefix('[').and_then(|path| path.split_once(']')) else { return false };
    let Some(list) = value.as_array_mut() else { return false };
    if let Ok(index) = selector.parse::<usize>() {
        return list.get_mut(index).is_some_and(|element| remove(element, rest));
    }
    let keys: Vec<(&str, &str)> = selector.split(',').filter_map(|pair| pair.split_once('=')).collect();
    let matches = |element: &Value| {
        keys.iter().all(|(key, wanted)| match element.get(key) {
            Some(Value::String(text)) => wanted.trim_matches('"') == text,
            Some(other) => wanted.parse::<Value>().is_ok_and(|wanted| wanted == *other),
            // A key with a default, such as protocol.
            None => true,
        })
    };
    let mut removed = false;
    for element in list.iter_mut().filter(|element| matches(element)) {
        removed |= remove(element, rest);
    }
    removed
}

/// Whether it is a CustomResourceDefinition.
pub fn is_definition(object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("customresourcedefinition"))
        && object.get("apiVersion").and_then(Value::as_str).is_some_and(|version| version.starts_with("apiextensions.k8s.io/"))
}

/// Whether the agent does not touch it: `reconcile: disabled` or `ssa: Ignore`, on the declared or on the living object.
pub fn is_left_alone(object: &Value) -> bool {
    is_marked(object, "reconcile", "disabled") || is_marked(object, "ssa", "Ignore")
}

/// Whether the agent makes it only where it is absent: `ssa: IfNotPresent`, on the declared object.
pub fn is_only_made_when_absent(object: &Value) -> bool {
    is_marked(object, "ssa", "IfNotPresent")
}

/// Whether the object asks to be made anew where an immutable field differs: `force: Enabled`.
pub fn is_forced(object: &Value) -> bool {
    is_marked(object, "force", "Enabled")
}

/// A label or annotation of the agent with this value, whatever its case.
fn is_marked(object: &Value, key: &str, value: &str) -> bool {
    let Some(metadata) = object.get("metadata") else { return false };
    let key = format!("{GROUP}/{key}");
    ["labels", "annotations"].iter().any(|field| {
        metadata
            .get(field)
            .and_then(|entries| entries.get(&key))
            .and_then(Value::as_str)
            .is_some_and(|found| found.eq_ignore_ascii_case(value))
    })
}

/// Whether the outcome of a dry run differs from the living object in what the agent compares: labels, annotations, and all
/// but metadata and status. Absent and empty are the same.
pub fn has_drifted(living: &Value, outcome: &Value) -> bool {
    let metadata =
        |object: &Value, field: &str| object.get("metadata").and_then(|metadata| metadata.get(field)).cloned().unwrap_or_default();
    if ["labels", "annotations"].iter().any(|field| !same(Some(&metadata(living, field)), Some(&metadata(outcome, field)))) {
        return true;
    }
    let (Some(living), Some(outcome)) = (living.as_object(), outcome.as_object()) else { return living != outcome };
    living
        .keys()
        .chain(outcome.keys().filter(|key| !living.contains_key(*key)))
        .filter(|key| *key != "metadata" && *key != "status")
        .any(|key| !same(living.get(key), outcome.get(key)))
}

/// What an agent's first reconciliation must leave alone, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Everything but metadata and status.
    content: u64,
    /// The agent's own entry in `managedFields`: its fields, and the time of its last change.
    agent: u64,
    /// The entries of everybody else but the agent, status aside.
    others: u64,
}

impl Fingerprint {
    /// Whether the agent wrote something since `before`. Other content alone is not its doing where somebody else has written meanwhile:
    /// a claim gets its volume, an autoscaler sets replicas.
    pub fn is_changed_since(self, before: Self) -> bool {
        self.agent != before.agent || self.content != before.content && self.others == before.others
    }
}

/// The fingerprint of an object, `manager` being the agent's.
pub fn fingerprint(object: &Value, manager: &str) -> Fingerprint {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut content = DefaultHasher::new();
    // serde_json keeps keys in order, so equal values print equally.
    for (key, value) in object.as_object().into_iter().flatten().filter(|(key, _)| *key != "metadata" && *key != "status") {
        (key, value.to_string()).hash(&mut content);
    }
    let (mut agent, mut others) = (DefaultHasher::new(), DefaultHasher::new());
    for entry in object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten() {
        let name = entry["manager"].as_str().unwrap_or_default();
        if entry["operation"] == "Apply" && name == manager {
            entry.to_string().hash(&mut agent);
        } else if entry["subresource"] != "status" && name != manager && !name.starts_with("gotk-") {
            // Flux' controllers write finalizers as `gotk-…`: theirs too.
            entry.to_string().hash(&mut others);
        }
    }
    Fingerprint { content: content.finish(), agent: agent.finish(), others: others.finish() }
}

/// Equality in which an empty list or map equals an absent one.
fn same(left: Option<&Value>, right: Option<&Value>) -> bool {
    fn is_nothing(value: Option<&Value>) -> bool {
        match value {
            None | Some(Value::Null) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            Some(_) => false,
        }
    }
    match (left, right) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))).all(|key| same(left.get(key), right.get(key)))
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(Some(left), Some(right)))
        }
        (left, right) => is_nothing(left) && is_nothing(right) || left == right,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(yaml: &str) -> Resource {
        Resource { value: crate::manifest::yaml::documents(yaml).unwrap().remove(0).value, origin: None }
    }

    fn prepared(yaml: &str) -> Value {
        prepare_value(resource(yaml).value, &LayerId::new("flux-system", "apps"), None)
    }

    #[test]
    fn definitions_come_first_and_webhooks_last() {
        let resources: Vec<Resource> = [
            "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: w}}",
            "{apiVersion: shop.io/v1, kind: Cart, metadata: {name: c}}",
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: b}}",
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}",
            "{apiVersion: v1, kind: Secret, metadata: {name: s}}",
            "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}}",
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}",
            "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: carts.shop.io}}",
        ]
        .map(resource)
        .into();
        let stages = stage(&resources);
        let names: Vec<Vec<&str>> = stages.iter().map(|stage| stage.iter().map(|resource| resource.name()).collect()).collect();
        assert_eq!(names, [vec!["carts.shop.io", "shop"], vec!["fast"], vec!["s", "a", "b", "c"], vec!["w"]]);
    }

    #[test]
    fn the_agents_labels_and_nothing_else_are_added() {
        let object =
            prepared("{apiVersion: shop.io/v1, kind: Cart, metadata: {name: c, creationTimestamp: null}, spec: {a: null}, status: {x: 1}}");
        assert_eq!(
            object,
            json!({"apiVersion": "shop.io/v1", "kind": "Cart", "spec": {"a": null}, "metadata": {"name": "c",
                "labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}})
        );
    }

    #[test]
    fn common_metadata_wins() {
        let common = CommonMetadata {
            labels: [("team".to_owned(), "shop".to_owned())].into(),
            annotations: [("a".to_owned(), "b".to_owned())].into(),
        };
        let value = resource("{apiVersion: v1, kind: ConfigMap, metadata: {name: c, labels: {team: x}}}").value;
        let object = prepare_value(value, &LayerId::new("n", "l"), Some(&common));
        assert_eq!(object["metadata"]["labels"]["team"], "shop");
        assert_eq!(object["metadata"]["annotations"]["a"], "b");
    }

    #[test]
    fn string_data_is_encoded_and_wins_over_data() {
        let object = prepared("{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: eA==, b: eA==}, stringData: {a: yes please}}");
        assert_eq!(object["data"], json!({"a": "eWVzIHBsZWFzZQ==", "b": "eA=="}));
        assert!(object.get("stringData").is_none());
    }

    #[test]
    fn ports_without_a_protocol_are_tcp() {
        let object =
            prepared("{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}, {port: 53, protocol: UDP}]}}");
        assert_eq!(object["spec"]["ports"], json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]));
        let object = prepared(
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {replicas: null, template: {spec: {containers: [{name: a, ports: [{containerPort: 80}]}]}}}}",
        );
        assert_eq!(
            object["spec"],
            json!({"template": {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}}})
        );
    }

    #[test]
    fn a_definition_keeps_its_status_and_loses_a_placeholder_ca() {
        let object = prepared(
            "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: c}, status: {a: 1}, spec: {conversion: {webhook: {clientConfig: {caBundle: Cg==, url: u}}}}}",
        );
        assert_eq!(object["spec"]["conversion"]["webhook"]["clientConfig"], json!({"url": "u"}));
        assert_eq!(object["status"]["a"], 1);
    }

    #[test]
    fn fields_that_a_kind_does_not_have_are_left_out() {
        let mut object = json!({"spec": {"replica": 1, "containers": [{"name": "a", "imag": "x"}, {"name": "b", "imag": "y"}]}});
        let message = "failed to create typed patch object (default/a; apps/v1, Kind=Deployment): errors:\n  .spec.replica: field not declared in schema\n  .spec.containers[name=\"b\"].imag: field not declared in schema";
        assert_eq!(prune(&mut object, message), [".spec.replica", ".spec.containers[name=\"b\"].imag"]);
        assert_eq!(object, json!({"spec": {"containers": [{"name": "a", "imag": "x"}, {"name": "b"}]}}));
    }

    #[test]
    fn marks_are_read_from_labels_and_annotations_in_any_case() {
        let object = json!({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/reconcile": "Disabled"}}});
        assert!(is_left_alone(&object));
        let object = json!({"metadata": {"annotations": {"kustomize.toolkit.fluxcd.io/ssa": "ifnotpresent"}}});
        assert!(is_only_made_when_absent(&object) && !is_left_alone(&object));
    }

    #[test]
    fn drift_is_neither_status_nor_managers_nor_emptiness() {
        let living = json!({"metadata": {"labels": {"a": "b"}, "resourceVersion": "1"}, "spec": {"a": [1]}, "status": {"x": 1}});
        assert!(!has_drifted(&living, &json!({"metadata": {"labels": {"a": "b"}, "annotations": {}}, "spec": {"a": [1], "b": []}})));
        assert!(has_drifted(&living, &json!({"metadata": {"labels": {}}, "spec": {"a": [1]}})));
        assert!(has_drifted(&living, &json!({"metadata": {"labels": {"a": "b"}}, "spec": {"a": [1, 2]}})));
        assert!(has_drifted(&living, &json!({"metadata": {"labels": {"a": "b"}}, "spec": {"a": [1]}, "data": {"x": "y"}})));
    }

    #[test]
    fn what_others_write_is_not_the_agents_change() {
        let claim = |volume: &str, agent: &str, others: &[&str]| {
            let mut entries = vec![json!({"manager": "kustomize-controller", "operation": "Apply", "time": agent})];
            entries.extend(others.iter().map(|name| json!({"manager": name, "operation": "Update"})));
            fingerprint(&json!({"metadata": {"managedFields": entries}, "spec": {"volumeName": volume}}), "kustomize-controller")
        };
        let before = claim("", "1", &[]);
        assert!(!claim("v", "1", &["kube-controller-manager"]).is_changed_since(before));
        assert!(claim("v", "1", &[]).is_changed_since(before));
        assert!(claim("v", "1", &["gotk-kustomize-controller"]).is_changed_since(before));
        assert!(claim("", "2", &["kube-controller-manager"]).is_changed_since(before));
    }
}
