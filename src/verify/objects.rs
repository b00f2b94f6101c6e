//! Reading single objects: pods in workloads, charts of HelmReleases, images, references to Secrets.

use super::facts::Facts;
use crate::layers::SourceId;
pub(super) use crate::layers::flux::is_release;
use crate::layers::flux::source_ref;
use crate::manifest::Resource;
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

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
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

/// Secrets that a controller makes of an object: (namespace, name).
pub(super) fn makes_secret(object: &Resource) -> Option<(String, String)> {
    let text = |pointer: &str| Some(object.text(pointer)).filter(|text| !text.is_empty());
    let name = match (object.group(), object.kind()) {
        ("external-secrets.io", "ExternalSecret") => text("/spec/target/name").unwrap_or(object.name()),
        ("bitnami.com", "SealedSecret") => text("/spec/template/metadata/name").unwrap_or(object.name()),
        ("cert-manager.io", "Certificate") => text("/spec/secretName")?,
        _ => return None,
    };
    Some((object.namespace().unwrap_or("default").to_owned(), name.to_owned()))
}

/// The first few, and how many more.
pub(super) fn list(words: &[String], most: usize) -> String {
    match words.len().checked_sub(most) {
        Some(more) if more > 0 => format!("{} and {more} more", words[..most].join(", ")),
        _ => words.join(", "),
    }
}
