//! Where Argo CD starts: the root that the environment names, else the Applications and ApplicationSets in Git that no other one applies.

use super::ReadError;
use super::entry::is_inside;
use super::sources::Sources;
use super::walk::Roots;
use crate::environment::{Environment, Root};
use crate::layers::argo::{self, Home, is_application, is_application_set};
use crate::layers::flux::{Layer, Spec};
use crate::manifest::Resource;
use crate::manifest::yaml::{chunks, documents};
use crate::problem::{Origin, Problem};
use crate::render::{Renderer, Request, join};
use crate::repo::Exported;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Applications and ApplicationSets as they stand in the files.
#[derive(Debug, Default)]
pub(crate) struct Applications {
    found: Vec<Resource>,
    /// Charts whose templates are Applications.
    pub(crate) charts: Vec<String>,
}

impl Applications {
    /// Looks through all YAML files. What cannot be parsed, or has a name that a template gives, is part of a chart.
    pub(crate) fn scan(exported: &Exported) -> Self {
        let (mut found, mut charts) = (Vec::new(), BTreeSet::new());
        for file in exported.files.iter().filter(|file| crate::render::is_yaml(file)) {
            let Some(text) = exported.text(file) else { continue };
            if !text.contains("argoproj.io/") {
                continue;
            }
            if let Some((chart, _)) = file.split_once("/templates/").filter(|_| text.contains("\nkind: Application")) {
                charts.insert(chart.to_owned());
                continue;
            }
            for (before, chunk) in chunks(&text).into_iter().filter(|(_, chunk)| chunk.contains("argoproj.io/")) {
                for document in documents(chunk).unwrap_or_default() {
                    let origin = Origin { file: file.clone(), line: before + document.line };
                    let resource = Resource { value: document.value, origin: Some(origin) };
                    if (is_application(&resource) || is_application_set(&resource))
                        && !resource.name().is_empty()
                        && !resource.name().contains("{{")
                    {
                        found.push(resource);
                    }
                }
            }
        }
        Self { found, charts: charts.into_iter().collect() }
    }

    /// Whether some stand in a folder, below it, or in a file.
    pub(crate) fn are_in(&self, path: &str) -> bool {
        self.found.iter().any(|resource| is_inside(file(resource), path))
    }

    /// Folders with roots: Applications that no other one applies.
    pub(crate) fn folders(&self) -> Vec<String> {
        let folders: BTreeSet<String> =
            self.roots(&self.found.iter().collect::<Vec<_>>()).into_iter().map(|root| folder(file(root)).to_owned()).collect();
        folders.into_iter().collect()
    }

    /// The roots in a folder or file, and below it.
    fn roots_in(&self, path: &str) -> Vec<Resource> {
        let inside: Vec<&Resource> = self.found.iter().filter(|resource| is_inside(file(resource), path)).collect();
        self.roots(&inside).into_iter().cloned().collect()
    }

    fn roots<'r>(&self, among: &[&'r Resource]) -> Vec<&'r Resource> {
        let is_applied =
            |one: &Resource| self.found.iter().any(|other| other.origin != one.origin && applies(other, one) && !applies(one, other));
        among.iter().copied().filter(|one| !is_applied(one)).collect()
    }
}

fn file(resource: &Resource) -> &str {
    resource.origin.as_ref().map_or("", |origin| origin.file.as_str())
}

fn folder(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Folders that an Application takes its objects from, and whether those below count too. Of an ApplicationSet: of its generators'
/// patterns what stands before the first `*`.
fn sources(resource: &Resource) -> Vec<(String, bool)> {
    let spec = resource.value.get("spec").cloned().unwrap_or_default();
    let of = |spec: &Value| -> Vec<(String, bool)> {
        let several = spec.get("sources").and_then(Value::as_array).cloned();
        let all = several.unwrap_or_else(|| spec.get("source").cloned().into_iter().collect());
        all.iter()
            .filter_map(|source| {
                let path = source.get("path").and_then(Value::as_str)?;
                let recurse = source.pointer("/directory/recurse") == Some(&Value::Bool(true));
                Some((join("", path)?, recurse))
            })
            .collect()
    };
    if is_application(resource) {
        return of(&spec);
    }
    let mut found = Vec::new();
    let mut open: Vec<&Value> = spec.get("generators").and_then(Value::as_array).into_iter().flatten().collect();
    while let Some(generator) = open.pop() {
        for kind in ["matrix", "merge"] {
            open.extend(generator.pointer(&format!("/{kind}/generators")).and_then(Value::as_array).into_iter().flatten());
        }
        for pattern in generator.pointer("/git/directories").and_then(Value::as_array).into_iter().flatten() {
            let path = pattern.get("path").and_then(Value::as_str).filter(|path| path.contains('*') && pattern.get("exclude").is_none());
            let fixed = path.and_then(|path| path.split_once('*')).map(|(fixed, _)| fixed.trim_end_matches('/').to_owned());
            found.extend(fixed.map(|fixed| (fixed, true)));
        }
    }
    found
}

/// Whether one Application takes the file of another one.
fn applies(one: &Resource, other: &Resource) -> bool {
    let file = file(other);
    sources(one).into_iter().any(|(path, recurse)| {
        // A folder that is rendered may take what stands below it; plain files do not.
        folder(file) == path
            || recurse && is_inside(file, &path) && folder(file) != path
            || file.strip_prefix(&path).is_some_and(|rest| rest.starts_with("/templates/"))
    })
}

/// The roots at a path (a folder or a file), or the one that the environment names.
pub(crate) fn roots(
    environment: &Environment,
    path: &str,
    applications: &Applications,
    sources: &mut Sources,
    renderer: &Renderer,
) -> Result<Roots, ReadError> {
    let argocd = environment.spec.agent.argocd.clone().unwrap_or_default();
    let home = Home {
        namespace: argocd.namespace.clone().unwrap_or_else(|| "argocd".to_owned()),
        servers: argocd.server.into_iter().collect(),
        cluster: environment.spec.cluster.as_ref().and_then(|cluster| cluster.eks.clone()),
    };
    if let Some(root) = &argocd.root {
        let given = given(root, &home, sources)?;
        return Ok(Roots { home, given: Some(given), objects: Vec::new() });
    }
    let mut objects = rendered(path, sources, renderer).unwrap_or_else(|| applications.roots_in(path));
    let mut urls = Vec::new();
    let mut references = Vec::new();
    for object in &mut objects {
        if object.namespace().is_none() {
            object.value["metadata"]["namespace"] = home.namespace.clone().into();
        }
        for (url, reference, path) in repositories(object) {
            // A folder of that name tells that PATH is meant.
            let fixed = path.split("{{").next().unwrap_or_default().trim_end_matches('/');
            let is_folder = join("", fixed).is_some_and(|fixed| sources.exported().has_folder(&fixed));
            if is_folder && !url.contains("{{") {
                urls.push(url);
                references.push(reference);
            }
        }
    }
    sources.set_urls(urls, references);
    Ok(Roots { home, given: None, objects })
}

/// URL, revision and path of all that an object takes from repositories.
fn repositories(object: &Resource) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<&Value> = object.value.get("spec").into_iter().collect();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                let mut lists = ["directories", "files"].into_iter().filter_map(|key| map.get(key)?.as_array()).flatten();
                let first =
                    lists.find_map(|one| one.get("path")?.as_str()).map(|path| path.split('*').next().unwrap_or_default().to_owned());
                let path = map.get("path").and_then(Value::as_str).map(str::to_owned).or(first);
                let revision = if map.contains_key("targetRevision") { text("targetRevision") } else { text("revision") };
                if let (Some(path), true) = (path, map.contains_key("repoURL")) {
                    found.push((text("repoURL"), revision, path));
                }
                open.extend(map.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    found
}

/// The Applications of a folder that is a kustomization; none where it is not, or cannot be rendered with what is at hand.
fn rendered(path: &str, sources: &Sources, renderer: &Renderer) -> Option<Vec<Resource>> {
    let exported = sources.exported();
    let root = exported.root().ok()?;
    crate::render::kustomization_file(&root.join(path))?;
    let spec = Spec { path: path.to_owned(), ..Spec::default() };
    let request = Request { root: root.to_owned(), content: exported.content.clone(), spec, keys: None };
    let origins = super::origins::Origins::index(root, &exported.files);
    let mut found = renderer.render(&request).ok()?.resources;
    found.retain(|object| is_application(object) || is_application_set(object));
    for object in &mut found {
        object.origin = object.origin.take().or_else(|| origins.find(object, path));
    }
    (!found.is_empty()).then_some(found)
}

/// The root that something outside Git makes.
fn given(root: &Root, home: &Home, sources: &mut Sources) -> Result<Layer, ReadError> {
    // Without a URL it is PATH, by a name that no Application has.
    let url = root.repo_url.clone().unwrap_or_else(|| "path".to_owned());
    let mut spec = json!({"source": {"repoURL": url, "path": root.path}, "destination": {"namespace": home.namespace}});
    if let Some(revision) = &root.target_revision {
        spec["source"]["targetRevision"] = revision.clone().into();
    }
    if !root.values.is_null() {
        spec["source"]["helm"] = json!({"valuesObject": root.values});
    }
    let value = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": root.name, "namespace": home.namespace},
        "spec": spec,
    });
    let invalid = |problem: Problem| ReadError::Invalid { problems: vec![problem] };
    let mut layer = argo::layer(Resource { value, origin: root.origin.clone() }, None, home).map_err(invalid)?;
    if !join("", &root.path).is_some_and(|path| sources.exported().has_folder(&path)) {
        let message = format!("spec.agent.argocd.root.path: {} is no folder of the repository", root.path);
        return Err(invalid(
            Problem::blocks("path-missing", message).at(root.origin.clone()).hint("paths start at the root of the repository"),
        ));
    }
    sources.set_urls(vec![url], root.target_revision.clone().into_iter().collect());
    if let Some(application) = layer.spec.application.as_mut().map(Arc::make_mut) {
        application.given = true;
    }
    Ok(layer)
}
