//! Flux Kustomizations as layers: the fields of `kustomize.toolkit.fluxcd.io/v1` that order, render or judge them
//! (kustomize-controller `api/v1/kustomization_types.go`).

use super::argo::Application;
use super::{LayerId, SourceId};
use crate::manifest::Resource;
use crate::problem::{Origin, Problem};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One Flux Kustomization, as its parent renders it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `namespace/name`.
    pub id: LayerId,
    /// The layer whose rendered output holds it; none for the entry layer.
    pub parent: Option<LayerId>,
    /// Where its files come from.
    pub source: SourceId,
    /// What it asks.
    pub spec: Spec,
    /// The object itself, as it is handed to the agent.
    pub declaration: Resource,
}

/// `spec` of a Kustomization.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "as Flux has them")]
pub struct Spec {
    /// Root of the layer inside its source.
    pub path: String,
    /// Source reference.
    pub source_ref: Reference,
    /// Layers that must be Ready before.
    pub depends_on: Vec<Dependency>,
    /// Not applied, not awaited.
    pub suspend: bool,
    /// Objects that leave Git are deleted by the agent.
    pub prune: bool,
    /// Ready means that all its objects are healthy.
    pub wait: bool,
    /// Objects that are deleted and made again where a field is immutable.
    pub force: bool,
    /// Go duration.
    pub interval: Option<String>,
    /// Go duration.
    pub timeout: Option<String>,
    /// Namespace of all its objects.
    pub target_namespace: Option<String>,
    /// Prefix of all names.
    pub name_prefix: Option<String>,
    /// Suffix of all names.
    pub name_suffix: Option<String>,
    /// Labels and annotations of all objects.
    pub common_metadata: Option<CommonMetadata>,
    /// kustomize patches, added to the layer's own.
    pub patches: Vec<Value>,
    /// kustomize images, added to the layer's own.
    pub images: Vec<Value>,
    /// kustomize components, added to the layer's own.
    pub components: Vec<String>,
    /// Missing component folders are left out.
    pub ignore_missing_components: bool,
    /// Variables.
    pub post_build: Option<PostBuild>,
    /// SOPS.
    pub decryption: Option<Decryption>,
    /// Objects that must be healthy.
    pub health_checks: Vec<HealthCheck>,
    /// CEL health of custom resources.
    pub health_check_exprs: Vec<HealthCheckExpr>,
    /// Impersonated when applying.
    pub service_account_name: Option<String>,
    /// Another cluster; such a layer is planned, not applied.
    pub kube_config: Option<Value>,
    /// What becomes of the objects when the Kustomization goes.
    pub deletion_policy: Option<String>,
    /// Where an Argo CD Application declares the layer: what that asks.
    #[serde(skip)]
    pub application: Option<Arc<Application>>,
}

/// `sourceRef`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace; the layer's own where absent.
    pub namespace: Option<String>,
}

/// One entry of `dependsOn`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dependency {
    /// Name.
    pub name: String,
    /// Namespace; the layer's own where absent.
    pub namespace: Option<String>,
    /// CEL over `self` and `dep`.
    pub ready_expr: Option<String>,
    /// Where the entry stands, as far as it can be told.
    #[serde(skip)]
    pub origin: Option<Origin>,
}

/// `commonMetadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CommonMetadata {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// `postBuild`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PostBuild {
    /// Variables given inline; they win over `substitute_from`.
    pub substitute: BTreeMap<String, Value>,
    /// ConfigMaps and Secrets in the layer's namespace; later ones win.
    pub substitute_from: Vec<SubstituteFrom>,
    /// `Always`: substituted although no variable is defined.
    pub substitute_strategy: Option<String>,
}

/// One entry of `postBuild.substituteFrom`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SubstituteFrom {
    /// ConfigMap or Secret.
    pub kind: String,
    /// Name.
    pub name: String,
    /// May be absent.
    pub optional: bool,
    /// Where the entry stands, as far as it can be told.
    #[serde(skip)]
    pub origin: Option<Origin>,
}

/// `decryption`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Decryption {
    /// `sops`.
    pub provider: String,
    /// Secret with the keys.
    pub secret_ref: Option<Reference>,
}

/// One entry of `healthChecks`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheck {
    /// apiVersion.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: Option<String>,
}

/// One entry of `healthCheckExprs`: CEL over the object's fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheckExpr {
    /// apiVersion.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Healthy when true.
    pub current: String,
    /// Still moving when true.
    pub in_progress: Option<String>,
    /// Failed when true.
    pub failed: Option<String>,
}

/// Whether a resource is a Flux Kustomization.
pub fn is_kustomization(resource: &Resource) -> bool {
    resource.kind() == "Kustomization" && resource.group() == "kustomize.toolkit.fluxcd.io"
}

/// Whether a resource is a HelmRelease of Flux.
pub fn is_release(resource: &Resource) -> bool {
    resource.kind() == "HelmRelease" && resource.group() == "helm.toolkit.fluxcd.io"
}

/// Whether a start installs a HelmRelease into this cluster: it is neither suspended nor for another one.
pub fn is_installed(release: &Resource) -> bool {
    let at = |pointer: &str| release.value.pointer(pointer).filter(|value| !value.is_null());
    is_release(release) && at("/spec/suspend") != Some(&Value::Bool(true)) && at("/spec/kubeConfig").is_none()
}

/// The source that a field (as a JSON pointer, such as `/spec/chart/spec/sourceRef`) names; in the holder's namespace where it names none.
pub fn source_ref(holder: &Resource, pointer: &str) -> Option<SourceId> {
    let text = |key: &str| Some(holder.text(&format!("{pointer}/{key}"))).filter(|text| !text.is_empty());
    let namespace = text("namespace").or(holder.namespace()).unwrap_or("default").to_owned();
    Some(SourceId { kind: text("kind")?.to_owned(), namespace, name: text("name")?.to_owned() })
}

/// Reads a Kustomization; wrong types of fields are problems with the place of the declaration.
#[expect(clippy::result_large_err, reason = "a problem is made once, and kept")]
pub fn layer(declaration: Resource, parent: Option<LayerId>) -> Result<Layer, Problem> {
    let origin = declaration.origin.clone();
    let id = LayerId::new(declaration.namespace().unwrap_or("default"), declaration.name());
    let mut spec: Spec = serde_json::from_value(without_nulls(declaration.value.get("spec"))).map_err(|error| {
        Problem::blocks("kustomization-invalid", format!("Kustomization {id}: spec cannot be read: {error}")).at(origin)
    })?;
    // The controller joins it to the root of the source, which it never leaves (cyphar/filepath-securejoin).
    if spec.path.split('/').any(|part| part == "..") {
        spec.path = kept_inside(&spec.path);
    }
    let source = SourceId {
        kind: spec.source_ref.kind.clone(),
        namespace: spec.source_ref.namespace.clone().unwrap_or_else(|| id.namespace.clone()),
        name: spec.source_ref.name.clone(),
    };
    Ok(Layer { id, parent, source, spec, declaration })
}

/// A field without a value is no field: the API server drops it.
fn without_nulls(value: Option<&Value>) -> Value {
    match value {
        Some(Value::Object(map)) => Value::Object(
            map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), without_nulls(Some(value)))).collect(),
        ),
        Some(other) => other.clone(),
        None => Value::Object(serde_json::Map::new()),
    }
}

fn kept_inside(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("./{}", parts.join("/"))
}

impl Layer {
    /// Kind of the object that declares it.
    pub fn kind(&self) -> &'static str {
        if self.spec.application.is_some() { "Application" } else { "Kustomization" }
    }

    /// Ids of the layers in `dependsOn`.
    pub fn depends_on(&self) -> Vec<LayerId> {
        self.spec
            .depends_on
            .iter()
            .map(|dependency| LayerId::new(dependency.namespace.as_deref().unwrap_or(&self.id.namespace), &dependency.name))
            .collect()
    }

    /// How long the layer may take to become Ready: `spec.timeout`, else half a minute less than `spec.interval`, and never less than
    /// half a minute (kustomize-controller `api/v1`, `Kustomization.GetTimeout`); none where neither can be read.
    pub fn patience(&self) -> Option<Duration> {
        const LEAST: Duration = Duration::from_secs(30);
        let by_interval = || self.spec.interval.as_deref().and_then(duration).map(|interval| interval.saturating_sub(LEAST));
        self.spec.timeout.as_deref().and_then(duration).or_else(by_interval).map(|patience| patience.max(LEAST))
    }
}

/// A Go duration such as `1h30m`, `90s`, `1.5m`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                "us" | "µs" => 0.000_001,
                "ns" => 0.000_000_001,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(spec: &Value) -> Layer {
        let value = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": spec});
        layer(Resource { value, origin: None }, None).expect("a layer")
    }

    #[test]
    fn fields_without_a_value_are_none() {
        let layer = read(&json!({"dependsOn": null, "postBuild": {"substitute": null, "substituteFrom": null}, "path": null}));
        assert!(layer.spec.depends_on.is_empty() && layer.spec.post_build.is_some());
    }

    #[test]
    fn a_path_stays_in_its_source() {
        for (path, wanted) in [("../apps", "./apps"), ("./a/../../b", "./b"), ("./a/b", "./a/b")] {
            assert_eq!(read(&json!({"path": path})).spec.path, wanted);
        }
    }

    #[test]
    fn a_layer_has_half_a_minute_at_least() {
        let seconds = |spec: Value| read(&spec).patience().map(|patience| patience.as_secs());
        assert_eq!(seconds(json!({"interval": "10m"})), Some(570));
        assert_eq!(seconds(json!({"interval": "40s"})), Some(30));
        assert_eq!(seconds(json!({"interval": "10m", "timeout": "5s"})), Some(30));
        assert_eq!(seconds(json!({"interval": "1m", "timeout": "2m"})), Some(120));
        assert_eq!(seconds(json!({})), None);
    }
}
