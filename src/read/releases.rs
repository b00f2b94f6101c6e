//! Charts of Flux' HelmReleases that stand in Git: what they make, as helm-controller would install them (`internal/reconcile`, `internal/chartutil`).

use super::sources::{Files, Found, Sources};
use super::variables::{Content, Known};
use super::walk::queue;
use super::{ReadError, ReadLayer, Sets, with_sets};
use crate::layers::SourceId;
use crate::layers::argo::{Helm, Source};
use crate::layers::flux::{Layer, SubstituteFrom, is_release, source_ref};
use crate::layers::scope::Scopes;
use crate::manifest::yaml::documents;
use crate::manifest::{ObjectId, Resource, merge};
use crate::problem::{Problem, Severity, Unknown};
use crate::render::argo::Part;
use crate::render::{RenderError, Renderer, join};
use crate::repo::hex;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the charts make, by release.
#[derive(Debug, Default)]
pub(super) struct Releases {
    pub(super) objects: BTreeMap<ObjectId, Vec<Resource>>,
    pub(super) problems: Vec<Problem>,
    pub(super) unknowns: Vec<Unknown>,
}

/// A release whose chart is at hand.
struct Release<'l> {
    layer: &'l Layer,
    object: &'l Resource,
    files: Arc<Files>,
    part: Part,
    /// Values that nobody here knows: an error of the chart may come from that.
    lacks: Vec<String>,
}

/// The source that a HelmRelease takes its chart from, and the chart's path or name there; `objects` may hold the HelmChart that it names.
pub(super) fn chart_of<'o>(release: &Resource, objects: impl IntoIterator<Item = &'o Resource>) -> Option<(SourceId, String)> {
    let path = release.text("/spec/chart/spec/chart");
    if !path.is_empty() {
        return Some((source_ref(release, "/spec/chart/spec/sourceRef")?, path.to_owned()));
    }
    let id = source_ref(release, "/spec/chartRef")?;
    if id.kind != "HelmChart" {
        return Some((id, String::new()));
    }
    let is_it =
        |object: &&Resource| object.kind() == "HelmChart" && object.name() == id.name && object.namespace() == Some(id.namespace.as_str());
    let chart = objects.into_iter().find(is_it)?;
    Some((source_ref(chart, "/spec/sourceRef")?, chart.text("/spec/chart").to_owned()))
}

/// Renders the charts of all releases that this run installs and whose chart is at hand.
pub(super) fn render(
    layers: &[ReadLayer],
    sets: &Sets,
    sources: &mut Sources,
    renderer: &Renderer,
    known: &Known,
) -> Result<Releases, ReadError> {
    let mut found = Vec::new();
    let all = || layers.iter().flat_map(|read| with_sets(&read.objects, sets));
    for read in layers.iter().filter(|read| !read.layer.spec.suspend && read.layer.spec.kube_config.is_none()) {
        for object in with_sets(&read.objects, sets).filter(|object| is_release(object)) {
            let is_set = |pointer: &str| object.value.pointer(pointer).is_some_and(|value| *value != Value::Bool(false));
            let Some((id, path)) = chart_of(object, all()).filter(|_| !is_set("/spec/suspend") && !is_set("/spec/kubeConfig")) else {
                continue;
            };
            let (Found::Files(files), Some(path)) = (sources.find(&id)?, join("", &path)) else { continue };
            if files.root.join(&path).join("Chart.yaml").is_file() {
                let (part, lacks) = part(&read.layer, object, &files, path, known);
                found.push(Release { layer: &read.layer, object, files, part, lacks });
            }
        }
    }
    let mut releases = Releases::default();
    if found.is_empty() {
        return Ok(releases);
    }
    let answers = queue::charts(renderer, found.iter().map(|release| release.part.clone()).collect())?;
    for (release, answer) in found.iter().zip(answers) {
        let node = || release.layer.id.node();
        let id = release.object.id();
        let origin = || release.object.origin.clone();
        let lacking = |needs: String| Unknown { node: node(), needs: format!("{needs} for {id}"), origin: origin() };
        match answer {
            Ok(objects) => {
                releases.unknowns.extend(release.lacks.iter().cloned().map(lacking));
                releases.objects.insert(id, objects.into_iter().map(|object| shown(object, release)).collect());
            }
            Err(RenderError::Lacking { what }) => releases.unknowns.push(lacking(what)),
            Err(RenderError::NoProgram { name }) => releases.unknowns.push(lacking(format!("the program {name} to render the chart"))),
            Err(_) if !release.lacks.is_empty() => releases.unknowns.extend(release.lacks.iter().cloned().map(lacking)),
            Err(error) => {
                // The cluster may have APIs that the chart asks for; so it is no certain stop.
                let place = match &error {
                    RenderError::Helm { place, .. } => place.as_ref().map(|place| release.files.shown(place)),
                    _ => None,
                };
                let mut problem = Problem::blocks("render-failed", format!("{id}: {error}")).at(place.or_else(origin));
                problem.severity = Severity::Risk;
                releases.problems.push(problem.hint(format!("see it alone: helm template {}", release.part.path().unwrap_or_default())));
            }
        }
    }
    let mut scopes = Scopes::default();
    all().chain(releases.objects.values().flatten()).for_each(|object| scopes.declare(object));
    in_namespaces(&mut releases, &scopes, &found);
    Ok(releases)
}

fn shown(mut object: Resource, release: &Release<'_>) -> Resource {
    object.origin = object.origin.map(|origin| release.files.shown(&origin));
    object
}

/// Helm puts what names no namespace into the release's.
fn in_namespaces(releases: &mut Releases, scopes: &Scopes, found: &[Release<'_>]) {
    for release in found {
        for object in releases.objects.get_mut(&release.object.id()).into_iter().flatten() {
            if object.namespace().is_none()
                && scopes.is_namespaced(object)
                && let Some(metadata) = object.value.get_mut("metadata").and_then(Value::as_object_mut)
            {
                metadata.insert("namespace".to_owned(), release.part.namespace.clone().into());
            }
        }
    }
}

/// What helm is asked, and the values that are not known.
fn part(layer: &Layer, object: &Resource, files: &Files, path: String, known: &Known) -> (Part, Vec<String>) {
    let own = object.namespace().unwrap_or("default");
    let is_true = |pointer: &str| object.value.pointer(pointer) == Some(&Value::Bool(true));
    let (mut values, mut lacks) = (Value::Object(Map::new()), Vec::new());
    let references = object.value.pointer("/spec/valuesFrom").and_then(Value::as_array);
    for reference in references.into_iter().flatten() {
        if let Err(lack) = take(reference, own, known, &mut values) {
            lacks.push(lack);
        }
    }
    overlay(&mut values, object.value.pointer("/spec/values").cloned().unwrap_or_default());
    let files_of_values: Vec<String> = object
        .value
        .pointer("/spec/chart/spec/valuesFiles")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|file| Some(format!("/{}", join("", file.as_str()?)?)))
        .collect();
    let replaces_values = !files_of_values.is_empty();
    // What a Secret holds may be in the values by now.
    let of_secret = |reference: &Value| reference.get("kind").and_then(Value::as_str) == Some("Secret");
    let by_layer = layer.spec.post_build.iter().flat_map(|post_build| &post_build.substitute_from);
    let is_private = layer.spec.decryption.is_some()
        || by_layer.into_iter().any(|reference| reference.kind == "Secret")
        || references.is_some_and(|references| references.iter().any(of_secret));
    let helm = Helm {
        release_name: Some(release_name(object)),
        value_files: files_of_values,
        ignore_missing_value_files: is_true("/spec/chart/spec/ignoreMissingValuesFiles"),
        values_object: Some(values),
        skip_crds: object.text("/spec/install/crds") == "Skip",
        skip_tests: true,
        skip_schema_validation: is_true("/spec/install/disableSchemaValidation"),
        ..Helm::default()
    };
    let part = Part {
        root: files.root.clone(),
        content: files.content.clone(),
        source: Source { path: Some(path), helm: Some(helm), ..Source::default() },
        lent: BTreeMap::new(),
        name: object.name().to_owned(),
        namespace: Some(object.text("/spec/targetNamespace")).filter(|target| !target.is_empty()).unwrap_or(own).to_owned(),
        project: String::new(),
        revision: String::new(),
        is_private,
        replaces_values,
        post_renderers: object.value.pointer("/spec/postRenderers").and_then(Value::as_array).cloned().unwrap_or_default(),
    };
    (part, lacks)
}

/// Name of the release in Helm's own records (helm-controller `api/v2`, `HelmRelease.GetReleaseName`, and `internal/release`, `ShortenName`).
fn release_name(object: &Resource) -> String {
    let name = match (object.text("/spec/releaseName"), object.text("/spec/targetNamespace")) {
        ("", "") => object.name().to_owned(),
        ("", target) => format!("{target}-{}", object.name()),
        (given, _) => given.to_owned(),
    };
    match name.get(..40).filter(|_| name.len() > 53) {
        Some(start) => format!("{start}-{}", &hex(&Sha256::digest(&name))[..12]),
        None => name,
    }
}

/// Takes over the values of one reference; in words what is not known of it.
fn take(reference: &Value, namespace: &str, known: &Known, values: &mut Value) -> Result<(), String> {
    let text = |key: &str| reference.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("kind"), text("name"));
    let key = Some(text("valuesKey")).filter(|key| !key.is_empty()).unwrap_or("values.yaml");
    let optional = reference.get("optional") == Some(&Value::Bool(true));
    let wanted = SubstituteFrom { kind: kind.to_owned(), name: name.to_owned(), optional, origin: None };
    let lack = || format!("{key} of {kind} {namespace}/{name}");
    let found = match known.find(namespace, &wanted) {
        Content::Data(data) => data.get(key),
        Content::Absent if optional => return Ok(()),
        Content::Absent | Content::Opaque => return Err(lack()),
    };
    let Some(found) = found else { return if optional { Ok(()) } else { Err(lack()) } };
    let Some(path) = Some(text("targetPath")).filter(|path| !path.is_empty()) else {
        let read = documents(found).map_err(|_| lack())?.into_iter().next().map_or(Value::Null, |document| document.value);
        overlay(values, read);
        return Ok(());
    };
    // Of helm's words for a path (`strvals`) the plain ones.
    if path.contains(['[', '\\', '{', ',', '=']) {
        return Err(format!("{}, at {path},", lack()));
    }
    let scalar =
        documents(found).ok().and_then(|read| Some(read.into_iter().next()?.value)).filter(|value| value.is_boolean() || value.is_i64());
    let value = scalar.unwrap_or_else(|| found.clone().into());
    merge(values, path.rsplit('.').fold(value, |inner, key| Value::Object(Map::from_iter([(key.to_owned(), inner)]))));
    Ok(())
}

/// Values over others; an empty document changes nothing.
fn overlay(values: &mut Value, more: Value) {
    if !more.is_null() {
        merge(values, more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_release_is_called_as_helm_controller_calls_it() {
        let name = |spec: Value| {
            let value = json!({"metadata": {"name": "podinfo", "namespace": "apps"}, "spec": spec});
            release_name(&Resource { value, origin: None })
        };
        assert_eq!(name(json!({})), "podinfo");
        assert_eq!(name(json!({"targetNamespace": "web"})), "web-podinfo");
        assert_eq!(name(json!({"targetNamespace": "web", "releaseName": "p"})), "p");
        let long = name(json!({"releaseName": "a-name-that-is-longer-than-the-53-letters-that-helm-allows"}));
        assert_eq!((long.len(), &long[..41]), (53, "a-name-that-is-longer-than-the-53-letter-"));
    }

    #[test]
    fn values_are_merged_and_later_ones_win() {
        let mut values = json!({"a": {"x": 1, "y": [1]}, "b": 1});
        overlay(&mut values, json!({"a": {"y": [2], "z": null}, "c": {"d": 1}}));
        overlay(&mut values, Value::Null);
        assert_eq!(values, json!({"a": {"x": 1, "y": [2], "z": null}, "b": 1, "c": {"d": 1}}));
    }
}
