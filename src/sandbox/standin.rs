//! What a rehearsal puts in place of what a sandbox cannot have. Pure: looks at the repository, says which objects and why.
//!
//! Each stand-in is small, named, and listed in the output with its reason.

use crate::health;
use crate::layers::{SourceId, flux};
use crate::manifest::{ObjectId, Resource};
use crate::read::Reading;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One thing put in place of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StandIn {
    /// What: `CustomResourceDefinition certificates.cert-manager.io`.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// A kind whose objects get a status, since its controller does not run here.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusRule {
    /// `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// What is merged into `status`.
    pub status: Value,
}

/// All stand-ins for one repository.
#[derive(Clone, Debug, Default)]
pub struct StandIns {
    /// Objects to write before the run, definitions first.
    pub objects: Vec<Resource>,
    /// Sources that layers are taken from and that nothing in the repository declares; written once their kinds are there.
    pub sources: Vec<Resource>,
    /// Statuses to write during the run.
    pub statuses: Vec<StatusRule>,
    /// For the output.
    pub list: Vec<StandIn>,
}

/// API groups that a plain API server serves.
const BUILT_IN: [&str; 22] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Kinds of the agent's controllers that run in the sandbox, with their real definitions.
const AGENT: [(&str, &str); 8] = [
    ("source.toolkit.fluxcd.io", "GitRepository"),
    ("source.toolkit.fluxcd.io", "OCIRepository"),
    ("source.toolkit.fluxcd.io", "Bucket"),
    ("source.toolkit.fluxcd.io", "HelmRepository"),
    ("source.toolkit.fluxcd.io", "HelmChart"),
    ("source.toolkit.fluxcd.io", "ExternalArtifact"),
    ("kustomize.toolkit.fluxcd.io", "Kustomization"),
    ("helm.toolkit.fluxcd.io", "HelmRelease"),
];

/// Cluster-scoped kinds of widespread operators; the name alone does not tell, and kustomize may put a namespace on them.
const CLUSTER_SCOPED: [&str; 16] = [
    "CiliumBGPAdvertisement",
    "CiliumBGPClusterConfig",
    "CiliumBGPPeerConfig",
    "CiliumClusterwideNetworkPolicy",
    "CiliumL2AnnouncementPolicy",
    "CiliumLoadBalancerIPPool",
    "CiliumNode",
    "DeviceClass",
    "EC2NodeClass",
    "GatewayClass",
    "GlobalNetworkPolicy",
    "IngressClassParams",
    "NodeClass",
    "NodeFeatureRule",
    "NodePool",
    "VolumeSnapshotClass",
];

/// Namespaces that are there without anybody's doing: Kubernetes' own, and the agent's.
const OWN_NAMESPACES: [&str; 5] = ["default", "flux-system", "kube-node-lease", "kube-public", "kube-system"];

/// Looks for everything that the sandbox cannot have. `given`: secrets and variables of the environment;
/// `chart_definitions`: CRDs in charts that stand in Git.
pub fn find(reading: &Reading, given: &[Resource], chart_definitions: &[Resource]) -> StandIns {
    let mut found = StandIns::default();
    let checked = checked(reading);
    definitions(reading, chart_definitions, &checked, &mut found);
    namespaces(reading, given, &mut found);
    sources(reading, &mut found);
    scale_to_zero(reading, &mut found);
    values(reading, given, &mut found);
    service_accounts(reading, &mut found);
    tenants(reading, &mut found);
    statuses(reading, &checked, &mut found);
    for object in checked.into_iter().filter(|object| object.kind() != DEFINITION) {
        let id = object.id();
        let reason = "a health check wants it, and nothing in the repository declares it: it comes with a chart or an operator".into();
        found.list.push(StandIn { object: id.to_string(), reason });
        found.objects.extend(crate::agent::with_namespace(object));
    }
    found
}

fn objects(reading: &Reading) -> impl Iterator<Item = &Resource> {
    reading.layers.iter().filter(|read| read.layer.spec.kube_config.is_none()).flat_map(|read| &read.objects)
}

const DEFINITION: &str = "CustomResourceDefinition";

/// Custom objects, and definitions, that health checks name and that no layer declares.
fn checked(reading: &Reading) -> Vec<Resource> {
    let key = |id: &ObjectId| (id.group().to_owned(), id.kind.clone(), id.name.clone());
    // A repository may give a namespace to what has none: a check without one means any.
    let mut declared: BTreeMap<_, BTreeSet<Option<String>>> = BTreeMap::new();
    for id in objects(reading).map(Resource::id) {
        declared.entry(key(&id)).or_default().insert(id.namespace);
    }
    let mut missing = BTreeMap::new();
    let layers = reading.layers.iter().map(|read| &read.layer).filter(|layer| !layer.spec.wait && layer.spec.kube_config.is_none());
    for check in layers.flat_map(|layer| &layer.spec.health_checks) {
        let mut metadata = json!({"name": check.name, "labels": {"blackstart/stand-in": "true"}});
        if let Some(namespace) = check.namespace.as_ref().filter(|namespace| !namespace.is_empty()) {
            metadata["namespace"] = json!(namespace);
        }
        let value = json!({"apiVersion": check.api_version, "kind": check.kind, "metadata": metadata});
        let object = Resource { value, origin: None };
        let id = object.id();
        let runs = AGENT.contains(&(id.group(), id.kind.as_str())) || BUILT_IN.contains(&id.group());
        let is_declared = declared.get(&key(&id)).is_some_and(|namespaces| id.namespace.is_none() || namespaces.contains(&id.namespace));
        if !is_declared && (!runs || id.kind == DEFINITION) {
            missing.insert((key(&id), id.namespace), object);
        }
    }
    missing.into_values().collect()
}

/// A permissive definition for each kind that nothing in the repository defines.
fn definitions(reading: &Reading, chart_definitions: &[Resource], checked: &[Resource], found: &mut StandIns) {
    let mut defined: BTreeSet<(String, String)> = AGENT.iter().map(|(group, kind)| ((*group).to_owned(), (*kind).to_owned())).collect();
    for object in objects(reading).chain(chart_definitions) {
        if object.kind() == "CustomResourceDefinition" {
            defined.insert((object.text("/spec/group").to_owned(), object.text("/spec/names/kind").to_owned()));
        }
    }
    let mut missing: BTreeMap<(String, String), (BTreeSet<String>, bool)> = BTreeMap::new();
    for object in objects(reading).chain(checked) {
        let id = object.id();
        let key = (id.group().to_owned(), id.kind.clone());
        if BUILT_IN.contains(&id.group()) || defined.contains(&key) {
            continue;
        }
        let entry = missing.entry(key).or_default();
        entry.0.insert(id.version().to_owned());
        entry.1 |= id.namespace.is_some();
    }
    // Names of definitions that health checks want say how a kind is called in the plural.
    let names: BTreeSet<&str> = checked.iter().filter(|object| object.kind() == DEFINITION).map(Resource::name).collect();
    for ((group, kind), (versions, namespaced)) in missing {
        let guess = plural(&kind);
        let same = |name: &&str| name.split_once('.').is_some_and(|(plural, of)| of == group && plural.replace('-', "") == guess);
        let plural = names.iter().copied().find(same).and_then(|name| name.split('.').next()).map_or(guess.clone(), str::to_owned);
        let name = format!("{plural}.{group}");
        // A `Cluster` itself (of EKS, PostgreSQL, Cluster API) is an object of a namespace, a `ClusterIssuer` is not.
        let is_wide = kind.starts_with("Cluster") && kind != "Cluster" && !group.ends_with(".services.k8s.aws");
        let namespaced = namespaced && !CLUSTER_SCOPED.contains(&kind.as_str()) && !is_wide;
        let versions: Vec<Value> = versions
            .iter()
            .enumerate()
            .map(|(position, version)| {
                json!({
                    "name": version, "served": true, "storage": position == 0, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                })
            })
            .collect();
        let mut metadata = json!({"name": name, "labels": {"blackstart/stand-in": "true"}});
        if is_protected(&group) {
            // The server wants to be told that nobody at Kubernetes approved this one.
            metadata["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, stand-in of a rehearsal"});
        }
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata,
            "spec": {
                "group": group, "scope": if namespaced { "Namespaced" } else { "Cluster" }, "versions": versions,
                "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()},
            },
        });
        found.objects.push(Resource { value: definition, origin: None });
        let reason = if group.ends_with("fluxcd.io") {
            "its controller is not part of the sandbox"
        } else {
            "nothing in the repository defines it: it comes with a chart or an operator from elsewhere"
        };
        found.list.push(StandIn { object: format!("CustomResourceDefinition {name}"), reason: reason.into() });
    }
}

/// Namespaces that objects are put into and that nothing in the repository declares.
fn namespaces(reading: &Reading, given: &[Resource], found: &mut StandIns) {
    let declared: BTreeSet<&str> = objects(reading).filter(|object| object.kind() == "Namespace").map(Resource::name).collect();
    // With what the environment gives comes its namespace; the rest is Kubernetes' own, and the agent's.
    let others: BTreeSet<&str> = given.iter().filter_map(Resource::namespace).collect();
    let used: BTreeSet<&str> = objects(reading).filter_map(Resource::namespace).collect();
    for name in used.difference(&declared).filter(|name| !OWN_NAMESPACES.contains(name) && !others.contains(*name)) {
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"blackstart/stand-in": "true"}}});
        found.objects.push(Resource { value: object, origin: None });
        let reason = "objects are put into it, and nothing in the repository declares it".into();
        found.list.push(StandIn { object: format!("Namespace {name}"), reason });
    }
}

/// Sources at hand whose objects `flux bootstrap`, a chart or an operator would make.
fn sources(reading: &Reading, found: &mut StandIns) {
    let declared: BTreeSet<SourceId> = objects(reading)
        .filter(|object| object.group() == "source.toolkit.fluxcd.io")
        .map(|object| SourceId {
            kind: object.kind().to_owned(),
            namespace: object.namespace().unwrap_or_default().to_owned(),
            name: object.name().to_owned(),
        })
        .collect();
    let used: BTreeSet<&SourceId> = reading.layers.iter().map(|read| &read.layer.source).collect();
    for id in used.into_iter().filter(|id| !declared.contains(id)) {
        let at_hand = reading.sources.get(id).is_some_and(|source| source.tree.is_some());
        let spec = match id.kind.as_str() {
            "GitRepository" => json!({"interval": "10m", "url": format!("https://stand-in.invalid/{}", id.name)}),
            "OCIRepository" => json!({"interval": "10m", "url": format!("oci://stand-in.invalid/{}", id.name)}),
            _ => continue,
        };
        if !at_hand {
            continue;
        }
        let object = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": id.kind,
            "metadata": {"name": id.name, "namespace": id.namespace, "labels": {"blackstart/stand-in": "true"}}, "spec": spec,
        });
        found.sources.push(Resource { value: object, origin: None });
        let reason = "layers are taken from it, and nothing in the repository declares it: the agent's installation makes it".into();
        found.list.push(StandIn { object: format!("{} {}/{}", id.kind, id.namespace, id.name), reason });
    }
}

/// The sandbox's API server has the feature gate that these need; a cluster has it only where somebody turned it on.
fn scale_to_zero(reading: &Reading, found: &mut StandIns) {
    let count = objects(reading)
        .filter(|object| object.kind() == "HorizontalPodAutoscaler" && object.value.pointer("/spec/minReplicas") == Some(&json!(0)))
        .count();
    if count > 0 {
        let reason = format!("{count} HorizontalPodAutoscalers with minReplicas 0 need it, and it is off by default: it is on here");
        found.list.push(StandIn { object: "feature gate HPAScaleToZero of kube-apiserver".into(), reason });
    }
}

/// Groups that belong to Kubernetes itself.
fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|owner| group == *owner || group.ends_with(&format!(".{owner}")))
}

/// English plural as API conventions form it.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    let consonant_y = lower.ends_with('y') && !lower.ends_with(['a', 'e', 'i', 'o', 'u']) && {
        let before = lower.chars().rev().nth(1);
        before.is_some_and(|letter| !"aeiou".contains(letter))
    };
    if consonant_y {
        format!("{}ies", &lower[..lower.len() - 1])
    } else if lower.ends_with('s') || lower.ends_with('x') || lower.ends_with("ch") || lower.ends_with("sh") {
        format!("{lower}es")
    } else {
        format!("{lower}s")
    }
}

/// ConfigMaps and Secrets with values of HelmReleases that a controller makes elsewhere (helm-controller fails without them).
fn values(reading: &Reading, given: &[Resource], found: &mut StandIns) {
    let declared: BTreeSet<(String, String, String)> = objects(reading)
        .chain(given)
        .map(|object| (object.kind().to_owned(), object.namespace().unwrap_or_default().to_owned(), object.name().to_owned()))
        .collect();
    let mut missing: BTreeMap<(String, String, String), Map<String, Value>> = BTreeMap::new();
    for release in objects(reading).filter(|object| object.kind() == "HelmRelease") {
        for reference in release.value.pointer("/spec/valuesFrom").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| reference.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let key = (text("kind"), release.namespace().unwrap_or_default().to_owned(), text("name"));
            if reference.get("optional").and_then(Value::as_bool) == Some(true) || declared.contains(&key) {
                continue;
            }
            let field = if text("valuesKey").is_empty() { "values.yaml".to_owned() } else { text("valuesKey") };
            let value = if text("targetPath").is_empty() { "{}\n" } else { "stand-in" };
            missing.entry(key).or_default().insert(field, json!(value));
        }
    }
    for ((kind, namespace, name), data) in missing {
        let field = if kind == "Secret" { "stringData" } else { "data" };
        let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": namespace, "name": name, "labels": {"blackstart/stand-in": "true"}}, field: data});
        found.objects.extend(crate::agent::with_namespace(Resource { value: object, origin: None }));
        let reason = "a HelmRelease takes values from it, and what makes it does not run here".into();
        found.list.push(StandIn { object: format!("{kind} {namespace}/{name}"), reason });
    }
}

/// Service accounts that layers are applied as and that the agent's own components make.
fn service_accounts(reading: &Reading, found: &mut StandIns) {
    let declared: BTreeSet<ObjectId> = objects(reading).filter(|object| object.kind() == "ServiceAccount").map(Resource::id).collect();
    let mut missing = BTreeSet::new();
    for read in &reading.layers {
        if let Some(account) = &read.layer.spec.service_account_name {
            let id = ObjectId::new("v1", "ServiceAccount", Some(&read.layer.id.namespace), account);
            if !declared.contains(&id) {
                missing.insert((read.layer.id.namespace.clone(), account.clone()));
            }
        }
    }
    for (namespace, name) in missing {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}});
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("blackstart-stand-in-{namespace}-{name}"), "labels": {"blackstart/stand-in": "true"}},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
        });
        found.objects.extend(crate::agent::with_namespace(Resource { value: account, origin: None }));
        found.objects.push(Resource { value: binding, origin: None });
        let reason = "the agent's own installation makes it, with the rights of an administrator".into();
        found.list.push(StandIn { object: format!("ServiceAccount {namespace}/{name}"), reason });
    }
}

/// What Flux' installation adds to Kubernetes' roles admin and edit: whoever is bound to these may write Flux' own kinds.
fn tenants(reading: &Reading, found: &mut StandIns) {
    const NAME: &str = "blackstart-stand-in-flux-edit";
    const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";
    let declared = objects(reading).any(|object| {
        let label = |role: &str| object.value.pointer("/metadata/labels").and_then(|labels| labels.get(format!("{AGGREGATE}{role}")));
        object.kind() == "ClusterRole" && label("admin").is_some() && object.value["rules"].to_string().contains(".toolkit.fluxcd.io")
    });
    if declared || reading.layers.iter().all(|read| read.layer.spec.service_account_name.is_none()) {
        return;
    }
    let groups: Vec<String> =
        ["source", "kustomize", "helm", "notification", "image"].iter().map(|group| format!("{group}.toolkit.fluxcd.io")).collect();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": NAME, "labels": {
            "blackstart/stand-in": "true", format!("{AGGREGATE}admin"): "true", format!("{AGGREGATE}edit"): "true",
        }},
        "rules": [{"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}],
    });
    found.objects.push(Resource { value: role, origin: None });
    let reason = "the agent's own installation gives the roles admin and edit rights on Flux' kinds; layers are applied as tenants".into();
    found.list.push(StandIn { object: format!("ClusterRole {NAME}"), reason });
}

/// Statuses that layers wait for and that no controller here writes.
fn statuses(reading: &Reading, checked: &[Resource], found: &mut StandIns) {
    let mut expressions: BTreeMap<(String, String), Vec<flux::HealthCheckExpr>> = BTreeMap::new();
    for read in &reading.layers {
        for expression in &read.layer.spec.health_check_exprs {
            expressions.entry((expression.api_version.clone(), expression.kind.clone())).or_default().push(expression.clone());
        }
    }
    let mut kinds: BTreeMap<(String, String), usize> = BTreeMap::new();
    for object in objects(reading).chain(checked) {
        let id = object.id();
        let runs = AGENT.contains(&(id.group(), id.kind.as_str())) || BUILT_IN.contains(&id.group());
        if !runs {
            *kinds.entry((id.api_version, id.kind)).or_default() += 1;
        }
    }
    for ((api_version, kind), count) in kinds {
        let asked = expressions.get(&(api_version.clone(), kind.clone())).map(Vec::as_slice).unwrap_or_default();
        let is_ack = api_version.contains(".services.k8s.aws/");
        let is_flux = is_reconciled_by_flux(&api_version, &kind);
        if asked.is_empty() && !is_ack && !is_flux {
            continue;
        }
        let status = wished_status(asked, is_ack);
        let set = if asked.is_empty() { "it is reported ready" } else { "what the health checks ask for is set" };
        found.list.push(StandIn {
            object: format!("status of {count} {kind} ({api_version})"),
            reason: format!("its controller does not run here; {set}"),
        });
        found.statuses.push(StatusRule { api_version, kind, status });
    }
}

/// Kinds of Flux' other controllers that a waiting layer wants to see Ready. (The artifact server has source-watcher's.)
fn is_reconciled_by_flux(api_version: &str, kind: &str) -> bool {
    match api_version.split('/').next().unwrap_or_default() {
        "image.toolkit.fluxcd.io" | "fluxcd.controlplane.io" => true,
        "notification.toolkit.fluxcd.io" => kind == "Receiver",
        _ => false,
    }
}

/// A status that fulfils expressions: every condition type that they name is True, every `status.field == 'value'` holds.
fn wished_status(expressions: &[flux::HealthCheckExpr], is_ack: bool) -> Value {
    let mut types: BTreeSet<String> = BTreeSet::from(["Ready".to_owned()]);
    if is_ack {
        types.insert("ACK.ResourceSynced".to_owned());
    }
    let mut status = json!({});
    for expression in expressions {
        let words = words(&expression.current);
        for window in words.windows(3) {
            let [left, operator, right] = window else { continue };
            if operator != "==" {
                continue;
            }
            let Some(value) = right.strip_prefix('\'') else { continue };
            if left.rsplit_once('.').is_some_and(|(_, field)| field == "type") {
                types.insert(value.to_owned());
            } else if let Some(path) = left.strip_prefix("status.") {
                set(&mut status, path, json!(value));
            } else if let Some(path) = left.strip_prefix("data.") {
                set(&mut status, path, json!(value));
            }
        }
        for window in words.windows(4) {
            let [left, operator, bracket, first] = window else { continue };
            let (Some(path), "in", "[") = (left.strip_prefix("status."), operator.as_str(), bracket.as_str()) else { continue };
            if let Some(value) = first.strip_prefix('\'') {
                set(&mut status, path, json!(value));
            }
        }
        for window in words.windows(3) {
            let [left, operator, right] = window else { continue };
            let (Some(path), "==") = (left.strip_prefix("status."), operator.as_str()) else { continue };
            match right.as_str() {
                "true" | "false" => set(&mut status, path, json!(right == "true")),
                number => {
                    if let Ok(number) = number.parse::<i64>() {
                        set(&mut status, path, json!(number));
                    }
                }
            }
        }
    }
    let conditions: Vec<Value> = types
        .into_iter()
        .map(|kind| json!({"type": kind, "status": "True", "reason": "StandIn", "message": "set by the sandbox"}))
        .collect();
    set(&mut status, "conditions", Value::Array(conditions));
    status
}

/// Words of a CEL expression: names with dots, operators, and strings with a leading `'`.
fn words(expression: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' => {
                let close = rest[1..].find(first).map_or(rest.len(), |position| position + 1);
                words.push(format!("'{}", &rest[1..close]));
                (close + 1).min(rest.len())
            }
            letter if letter.is_alphanumeric() || letter == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
                words.push(rest[..end].to_owned());
                end
            }
            _ => {
                let end = rest
                    .find(|c: char| c.is_alphanumeric() || c.is_whitespace() || matches!(c, '\'' | '"' | '_' | '(' | ')'))
                    .unwrap_or(rest.len());
                let end = end.max(first.len_utf8());
                words.push(rest[..end].to_owned());
                end
            }
        };
        rest = rest[end..].trim_start();
    }
    words
}

fn set(target: &mut Value, path: &str, value: Value) {
    let mut place = target;
    for part in path.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        let Some(map) = place.as_object_mut() else { return };
        place = map.entry(part.to_owned()).or_insert(Value::Null);
    }
    *place = value;
}

/// Whether a status fulfils what a layer asks of the kind.
pub fn fulfils(rule: &StatusRule, expressions: &health::Expressions) -> bool {
    let object =
        json!({"apiVersion": rule.api_version, "kind": rule.kind, "metadata": {"name": "x", "generation": 1}, "status": rule.status});
    expressions.of(&object).is_ready()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(current: &str) -> flux::HealthCheckExpr {
        flux::HealthCheckExpr { current: current.into(), ..flux::HealthCheckExpr::default() }
    }

    #[test]
    fn a_status_holds_what_the_expression_compares_with() {
        let status = wished_status(&[expression("has(status.phase) && status.phase == 'Ready' && status.nodes.ready == 3")], false);
        assert_eq!(status["phase"], "Ready");
        assert_eq!(status["nodes"]["ready"], 3);
    }

    #[test]
    fn the_first_of_a_list_is_taken() {
        assert_eq!(
            wished_status(&[expression("status.ceph.health in ['HEALTH_OK', 'HEALTH_WARN']")], false)["ceph"]["health"],
            "HEALTH_OK"
        );
    }

    #[test]
    fn conditions_that_an_expression_names_are_true() {
        let status = wished_status(&[expression("status.conditions.filter(e, e.type == \"Synced\").all(e, e.status == \"True\")")], false);
        let types: Vec<&str> = status["conditions"].as_array().into_iter().flatten().filter_map(|c| c["type"].as_str()).collect();
        assert_eq!(types, ["Ready", "Synced"]);
    }

    #[test]
    fn plurals_follow_the_conventions() {
        for (kind, expected) in
            [("Gateway", "gateways"), ("NetworkPolicy", "networkpolicies"), ("Ingress", "ingresses"), ("HelmRelease", "helmreleases")]
        {
            assert_eq!(plural(kind), expected);
        }
    }
}
