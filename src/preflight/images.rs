//! What the layers pull from registries: images of their pods, charts of their releases. References only; nothing is asked here.

use crate::layers::flux::source_ref;
use crate::manifest::{ObjectId, Resource};
use crate::problem::Origin;
use serde_json::Value;
use std::collections::BTreeMap;

/// A place in a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Host, with port where there is one.
    pub registry: String,
    /// `library/nginx`.
    pub repository: String,
    /// Tag or digest.
    pub tag: String,
}

impl Reference {
    /// As containerd reads it (distribution/reference): the first part is a host where it has a dot or a port, or is `localhost`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        let (host, rest) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest.to_owned()),
            Some(_) => ("docker.io", name.to_owned()),
            None => ("docker.io", format!("library/{name}")),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag),
            _ => (rest, "latest"),
        };
        let registry = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:".contains(c));
        let tag = digest.unwrap_or(tag);
        (is_name(&repository) && is_name(tag)).then(|| Self { registry: registry.to_owned(), repository, tag: tag.to_owned() })
    }

    /// Whether only the nodes of an account can pull it.
    pub fn is_ecr(&self) -> bool {
        self.registry.contains(".dkr.ecr.") && self.registry.ends_with(".amazonaws.com")
    }
}

/// Something that is pulled, and by whom first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The object that names it.
    pub by: ObjectId,
    /// Where that stands.
    pub origin: Option<Origin>,
    /// Whether it brings credentials.
    pub secret: bool,
}

impl Pulled {
    fn by(object: &Resource, secret: bool) -> Self {
        Self { by: object.id(), origin: object.origin.clone(), secret }
    }
}

/// Images of all pods, each with the first object that names it. An image that is filled in later (a mark) is left out.
pub fn images<'a>(objects: impl Iterator<Item = &'a Resource>) -> BTreeMap<String, Pulled> {
    let mut found = BTreeMap::new();
    for object in objects {
        let Some(pod) = pod(object) else { continue };
        let secret = pod.get("imagePullSecrets").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
        for key in ["initContainers", "containers"] {
            for container in pod.get(key).and_then(Value::as_array).into_iter().flatten() {
                let Some(image) = container.get("image").and_then(Value::as_str) else { continue };
                if !crate::layers::outputs::is_open(image) && !image.contains("${") {
                    found.entry(image.to_owned()).or_insert_with(|| Pulled::by(object, secret));
                }
            }
        }
    }
    found
}

fn pod(object: &Resource) -> Option<&Value> {
    let path = match object.kind() {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        "DaemonSet" | "Deployment" | "Job" | "ReplicaSet" | "StatefulSet" => "/spec/template/spec",
        _ => return None,
    };
    object.value.pointer(path)
}

/// A chart or an artifact that a source fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chart {
    /// In a registry.
    Oci(Reference),
    /// In the index of a repository.
    Indexed {
        /// URL of the repository.
        url: String,
        /// Its name there.
        chart: String,
        /// Its version, where one is named exactly.
        version: Option<String>,
    },
}

/// Charts of HelmReleases from the HelmRepositories among the objects, and OCIRepositories; each with the object that names it.
pub fn charts(objects: &[&Resource]) -> Vec<(Chart, Pulled)> {
    let repository = |namespace: &str, name: &str| {
        objects.iter().find(|object| {
            object.kind() == "HelmRepository" && object.name() == name && object.namespace().unwrap_or("default") == namespace
        })
    };
    let mut found = Vec::new();
    for object in objects {
        let text = |pointer: &str| object.value.pointer(pointer).and_then(Value::as_str);
        if object.kind() == "OCIRepository" {
            let Some(url) = text("/spec/url") else { continue };
            // A range of versions has to be looked up in the list of tags, which the agent does.
            let tag = text("/spec/ref/digest").or(text("/spec/ref/tag")).or(if object.value.pointer("/spec/ref").is_none() {
                Some("latest")
            } else {
                None
            });
            let reference = tag.and_then(|tag| oci(url, tag));
            found.extend(reference.map(|reference| (Chart::Oci(reference), Pulled::by(object, text("/spec/secretRef/name").is_some()))));
            continue;
        }
        if object.kind() != "HelmRelease" {
            continue;
        }
        let id = source_ref(object, "/spec/chart/spec/sourceRef").filter(|id| id.kind == "HelmRepository");
        let (Some(chart), Some(id)) = (text("/spec/chart/spec/chart"), id) else { continue };
        let Some(source) = repository(&id.namespace, &id.name) else { continue };
        let Some(url) = source.value.pointer("/spec/url").and_then(Value::as_str) else { continue };
        let secret = source.value.pointer("/spec/secretRef").is_some();
        let version = text("/spec/chart/spec/version").filter(|version| is_exact(version));
        let chart = if url.starts_with("oci://") {
            let Some(version) = version else { continue };
            // Helm writes `+` of a version as `_` in a tag.
            let Some(reference) = oci(&format!("{}/{chart}", url.trim_end_matches('/')), &version.replace('+', "_")) else { continue };
            Chart::Oci(reference)
        } else {
            Chart::Indexed { url: url.to_owned(), chart: chart.to_owned(), version: version.map(str::to_owned) }
        };
        found.push((chart, Pulled::by(object, secret)));
    }
    found
}

fn oci(url: &str, tag: &str) -> Option<Reference> {
    let rest = url.strip_prefix("oci://")?;
    let separator = if tag.contains(':') { '@' } else { ':' };
    Reference::parse(&format!("{}{separator}{tag}", rest.trim_end_matches('/')))
}

/// Whether a version is one, not a range of them.
fn is_exact(version: &str) -> bool {
    let digits = version.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
    digits.split('.').count() == 3 && digits.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_read_as_a_runtime_reads_them() {
        let parts = |text: &str| Reference::parse(text).map(|one| format!("{} {} {}", one.registry, one.repository, one.tag));
        for (text, expected) in [
            ("nginx", Some("registry-1.docker.io library/nginx latest")),
            ("grafana/grafana:11.1.0", Some("registry-1.docker.io grafana/grafana 11.1.0")),
            ("ghcr.io/fluxcd/flux:v2", Some("ghcr.io fluxcd/flux v2")),
            ("localhost:5000/a/b", Some("localhost:5000 a/b latest")),
            ("registry.k8s.io/pause:3.9@sha256:ab", Some("registry.k8s.io pause sha256:ab")),
            ("a b", None),
        ] {
            assert_eq!(parts(text).as_deref(), expected, "{text}");
        }
        assert!(Reference::parse("111122223333.dkr.ecr.eu-west-1.amazonaws.com/shop:1").is_some_and(|one| one.is_ecr()));
    }

    #[test]
    fn every_pod_counts_once_and_charts_need_their_repository() {
        let resource = |value: Value| Resource { value, origin: None };
        let objects = [
            resource(json!({"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"template": {"spec": {
                "imagePullSecrets": [{"name": "x"}], "initContainers": [{"image": "one:1"}], "containers": [{"image": "two:2"}]}}}})),
            resource(json!({"kind": "CronJob", "metadata": {"name": "b"}, "spec": {"jobTemplate": {"spec": {"template": {"spec": {
                "containers": [{"image": "two:2"}, {"image": "${IMAGE}"}]}}}}}})),
            resource(
                json!({"kind": "HelmRepository", "metadata": {"name": "r", "namespace": "n"}, "spec": {"url": "oci://ghcr.io/charts"}}),
            ),
            resource(json!({"kind": "HelmRelease", "metadata": {"name": "h", "namespace": "n"}, "spec": {"chart": {"spec": {
                "chart": "podinfo", "version": "6.5.0+1", "sourceRef": {"kind": "HelmRepository", "name": "r"}}}}})),
            resource(json!({"kind": "HelmRelease", "metadata": {"name": "i", "namespace": "n"}, "spec": {"chart": {"spec": {
                "chart": "podinfo", "version": "6.x", "sourceRef": {"kind": "HelmRepository", "name": "r"}}}}})),
        ];
        let found = images(objects.iter());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["one:1", "two:2"]);
        assert!(found["two:2"].secret);
        let all: Vec<&Resource> = objects.iter().collect();
        let charts = charts(&all);
        let reference = Reference { registry: "ghcr.io".into(), repository: "charts/podinfo".into(), tag: "6.5.0_1".into() };
        assert_eq!(charts.len(), 1, "a range is looked up by the agent");
        assert_eq!(charts[0].0, Chart::Oci(reference));
    }
}
