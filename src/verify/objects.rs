//! Reading single objects: pods in workloads, charts of HelmReleases, images, references to Secrets.

use super::facts::Facts;
use crate::layers::flux::HealthCheck;
pub(super) use crate::layers::flux::is_release;
use crate::layers::flux::source_ref;
use crate::layers::{LayerId, SourceId};
use crate::manifest::Resource;
pub(super) use crate::plan::secrets_made;
use serde_json::Value;
use std::collections::BTreeSet;

/// The chart of a HelmRelease.
pub(super) struct Chart {
    /// Last part of its path or URL.
    pub(super) name: String,
    /// `spec.chart.spec.version`, where it is given there.
    pub(super) version: Option<String>,
    /// Where it comes from.
    pub(super) source: SourceId,
}

pub(super) fn chart(facts: &Facts<'_>, release: &Resource) -> Option<Chart> {
    let path = release.text("/spec/chart/spec/chart");
    if !path.is_empty() {
        let version = release.value.pointer("/spec/chart/spec/version").and_then(Value::as_str).map(str::to_owned);
        return Some(Chart { name: last(path), version, source: source_ref(release, "/spec/chart/spec/sourceRef")? });
    }
    let source = source_ref(release, "/spec/chartRef")?;
    let declared = facts.subject.reading.sources.get(&source).and_then(|source| source.declaration.as_ref());
    let url = declared.map_or("", |declared| declared.text("/spec/url"));
    Some(Chart { name: if url.is_empty() { source.name.clone() } else { last(url) }, version: None, source })
}

fn last(path: &str) -> String {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned()
}

/// The group that a health check names; Flux takes one that names none for `apps` (kustomize-controller, `ReferenceToObjMetadataSet`).
pub(super) fn checked_group(check: &HealthCheck) -> &str {
    if check.api_version.is_empty() { "apps" } else { check.api_version.rsplit_once('/').map_or("", |(group, _)| group) }
}

/// Whether a health check of a layer names an object.
pub(super) fn is_checked(check: &HealthCheck, layer: &LayerId, object: &Resource) -> bool {
    let namespace = check.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(&layer.namespace);
    object.name() == check.name
        && object.kind() == check.kind
        && object.namespace().is_none_or(|own| own == namespace)
        && object.group() == checked_group(check)
}

/// The namespace that a HelmRelease installs into.
pub(super) fn target(release: &Resource) -> Option<&str> {
    Some(release.text("/spec/targetNamespace")).filter(|target| !target.is_empty()).or(release.namespace())
}

/// Whether it is a definition of Crossplane, which makes definitions of its own.
pub(super) fn is_composite(object: &Resource) -> bool {
    object.kind() == "CompositeResourceDefinition" && object.group() == "apiextensions.crossplane.io"
}

/// An object that a HelmRelease cannot be installed without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Required {
    pub(super) group: &'static str,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Required {
    pub(super) fn is(&self, object: &Resource) -> bool {
        object.name() == self.name
            && object.kind() == self.kind
            && object.group() == self.group
            && object.namespace().unwrap_or("default") == self.namespace
    }
}

/// As in messages.
impl std::fmt::Display for Required {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What a HelmRelease needs: the releases that it depends on, its chart's source, ConfigMaps of values that are not optional. Secrets are
/// another rule's.
pub(super) fn required(release: &Resource) -> Vec<Required> {
    let own = release.namespace().unwrap_or("default");
    let list = |pointer: &str| release.value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &'_ Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for other in list("/spec/dependsOn") {
        let namespace = Some(text(other, "namespace")).filter(|namespace| !namespace.is_empty()).unwrap_or(own.to_owned());
        found.push(Required { group: "helm.toolkit.fluxcd.io", kind: "HelmRelease".to_owned(), namespace, name: text(other, "name") });
    }
    let source = source_ref(release, "/spec/chart/spec/sourceRef").or_else(|| source_ref(release, "/spec/chartRef"));
    found.extend(source.map(|source| Required {
        group: "source.toolkit.fluxcd.io",
        kind: source.kind,
        namespace: source.namespace,
        name: source.name,
    }));
    let values =
        list("/spec/valuesFrom").filter(|from| from.get("optional") != Some(&Value::Bool(true)) && text(from, "kind") == "ConfigMap");
    found.extend(values.map(|from| Required {
        group: "",
        kind: "ConfigMap".to_owned(),
        namespace: own.to_owned(),
        name: text(from, "name"),
    }));
    found
}

/// The pod that a workload makes.
pub(super) fn pod(object: &Resource) -> Option<&Value> {
    let pointer = match (object.group(), object.kind()) {
        ("", "Pod") => "/spec",
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch", "Job") => "/spec/template/spec",
        ("batch", "CronJob") => "/spec/jobTemplate/spec/template/spec",
        _ => return None,
    };
    object.value.pointer(pointer)
}

pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"].into_iter().filter_map(|key| pod.get(key)?.as_array()).flatten()
}

/// Images that an object names: of its pods, or in the values of a HelmRelease.
pub(super) fn images(object: &Resource) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    if let Some(pod) = pod(object) {
        found.extend(containers(pod).filter_map(|container| container.get("image")?.as_str()).map(str::to_owned));
    } else if is_release(object)
        && let Some(values) = object.value.pointer("/spec/values")
    {
        in_values(values, &mut found);
    }
    found.retain(|image| !image.is_empty() && !image.contains(['$', '{']));
    found
}

/// `{repository, tag}` as charts name images, with `registry` and `digest` where given.
fn in_values(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
            let (repository, tag) = (text("repository"), text("tag"));
            if !repository.is_empty() && !tag.is_empty() && !repository.contains("://") {
                let registry = if text("registry").is_empty() { String::new() } else { format!("{}/", text("registry")) };
                let digest = if text("digest").is_empty() { String::new() } else { format!("@{}", text("digest")) };
                found.insert(format!("{registry}{repository}:{tag}{digest}"));
            }
            // A whole image in one text: it has a registry or a folder, and a tag or a digest.
            let whole = map.iter().filter(|(key, _)| *key == "image" || key.ends_with("Image")).filter_map(|(_, value)| value.as_str());
            found.extend(whole.filter(|text| text.contains('/') && text.contains(':') && !text.contains("://")).map(str::to_owned));
            map.values().for_each(|value| in_values(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| in_values(value, found)),
        _ => {}
    }
}

/// Secrets that an object cannot do without, in its own namespace: of its pods, or of an object of the agent.
pub(super) fn secrets(object: &Resource) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut add = |name: Option<&Value>| found.extend(name.and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned));
    let at = |pointer: &str| object.value.pointer(pointer);
    let list = |pointer: &str| at(pointer).and_then(Value::as_array).into_iter().flatten();
    match object.group() {
        "source.toolkit.fluxcd.io" => {
            for key in ["secretRef", "certSecretRef", "proxySecretRef"] {
                add(at(&format!("/spec/{key}/name")));
            }
            add(at("/spec/verify/secretRef/name"));
        }
        "kustomize.toolkit.fluxcd.io" => {
            add(at("/spec/decryption/secretRef/name"));
            add(at("/spec/kubeConfig/secretRef/name"));
        }
        "helm.toolkit.fluxcd.io" => {
            add(at("/spec/kubeConfig/secretRef/name"));
            // A chart that makes a FluxInstance.
            add(at("/spec/values/instance/sync/pullSecret"));
            for from in list("/spec/valuesFrom").filter(|from| from.get("kind").and_then(Value::as_str) == Some("Secret")) {
                if from.get("optional") != Some(&Value::Bool(true)) {
                    add(from.get("name"));
                }
            }
        }
        "notification.toolkit.fluxcd.io" => add(at("/spec/secretRef/name")),
        "fluxcd.controlplane.io" if object.kind() == "FluxInstance" => add(at("/spec/sync/pullSecret")),
        _ => {
            let Some(pod) = pod(object) else { return found };
            let required = |reference: &&Value| reference.get("optional") != Some(&Value::Bool(true));
            for container in containers(pod) {
                let each = |key: &str| container.get(key).and_then(Value::as_array).into_iter().flatten();
                for from in each("envFrom").filter_map(|from| from.get("secretRef")).filter(required) {
                    add(from.get("name"));
                }
                for key in each("env").filter_map(|env| env.pointer("/valueFrom/secretKeyRef")).filter(required) {
                    add(key.get("name"));
                }
            }
            let volumes = pod.get("volumes").and_then(Value::as_array).into_iter().flatten();
            for secret in volumes.filter_map(|volume| volume.get("secret")).filter(required) {
                add(secret.get("secretName"));
            }
        }
    }
    found
}

/// Secrets (namespace, name) by which a store of External Secrets is opened: the fields that end with `SecretRef` below its provider.
pub(super) fn opens_store(object: &Resource) -> BTreeSet<(String, String)> {
    fn collect(value: &Value, namespace: Option<&str>, found: &mut BTreeSet<(String, String)>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let text = |name: &str| value.get(name).and_then(Value::as_str);
            // A cluster-wide store says the namespace itself.
            if let (true, Some(name), Some(namespace)) = (key.ends_with("SecretRef"), text("name"), text("namespace").or(namespace)) {
                found.insert((namespace.to_owned(), name.to_owned()));
            } else {
                collect(value, namespace, found);
            }
        }
    }
    let mut found = BTreeSet::new();
    if object.group() == "external-secrets.io" && object.kind().ends_with("SecretStore") {
        collect(object.value.pointer("/spec/provider").unwrap_or(&Value::Null), object.namespace(), &mut found);
    }
    found
}

/// The first few, and how many more.
pub(super) fn list(words: &[String], most: usize) -> String {
    match words.len().checked_sub(most) {
        Some(more) if more > 0 => format!("{} and {more} more", words[..most].join(", ")),
        _ => words.join(", "),
    }
}
