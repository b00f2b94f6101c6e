//! Where Argo CD starts: the root that the environment names, else the Applications and ApplicationSets in Git that no other one applies.

use super::ReadError;
use super::entry::{is_inside, leads};
use super::sources::Sources;
use super::walk::Roots;
use crate::environment::{Environment, Root};
use crate::layers::argo::{self, Home, is_application, is_application_set};
use crate::layers::flux::{Layer, Spec};
use crate::manifest::Resource;
use crate::manifest::yaml::{chunks, documents};
use crate::problem::{Origin, Problem, Unknown};
use crate::render::{KUSTOMIZATION_FILES, RenderError, Renderer, Request, join};
use crate::repo::Exported;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Applications and ApplicationSets as they stand in the files.
#[derive(Debug, Default)]
pub(crate) struct Applications {
    found: Vec<Resource>,
    /// What each of them takes its objects from.
    takes: Vec<Vec<Taken>>,
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
        let takes = found.iter().map(|resource| sources(resource).into_iter().map(|source| source.taken(exported)).collect()).collect();
        Self { found, takes, charts: charts.into_iter().collect() }
    }

    /// Whether some stand in a folder, below it, or in a file.
    pub(crate) fn are_in(&self, path: &str) -> bool {
        self.found.iter().any(|resource| is_inside(file(resource), path))
    }

    /// Folders with roots: Applications that no other one applies.
    pub(crate) fn folders(&self) -> Vec<String> {
        let all: Vec<usize> = (0..self.found.len()).collect();
        let folders: BTreeSet<String> = self.roots(&all, &all).into_iter().map(|root| folder(file(&self.found[root])).to_owned()).collect();
        folders.into_iter().collect()
    }

    /// The roots in a folder, and below it; of one that others apply, those that nothing in it applies. All that stands in a file.
    fn roots_in(&self, path: &str) -> Vec<Resource> {
        let all: Vec<usize> = (0..self.found.len()).collect();
        let inside: Vec<usize> = all.iter().copied().filter(|one| is_inside(file(&self.found[*one]), path)).collect();
        let mut roots = if inside.iter().all(|one| file(&self.found[*one]) == path) { inside.clone() } else { self.roots(&inside, &all) };
        if roots.is_empty() {
            roots = self.roots(&inside, &inside);
        }
        roots.into_iter().map(|root| self.found[root].clone()).collect()
    }

    /// Those of the first that none of the others applies.
    fn roots(&self, among: &[usize], others: &[usize]) -> Vec<usize> {
        let applies = |one: usize, other: usize| self.takes[one].iter().any(|taken| taken.holds(file(&self.found[other])));
        let is_applied = |one: usize| others.iter().any(|&other| other != one && applies(other, one) && !applies(one, other));
        among.iter().copied().filter(|one| !is_applied(*one)).collect()
    }
}

/// What an Application takes its objects from.
#[derive(Debug)]
enum Taken {
    /// Files of a folder; with `true` those below it too.
    Folder(String, bool),
    /// Files below a folder, and none that stand in it.
    Below(String),
    /// What a kustomization leads to.
    Files(BTreeSet<String>),
}

impl Taken {
    fn holds(&self, file: &str) -> bool {
        match self {
            Self::Folder(path, recurse) => folder(file) == path || *recurse && is_inside(file, path),
            Self::Below(path) => is_inside(file, path) && folder(file) != path,
            Self::Files(files) => files.contains(file),
        }
    }
}

/// Files that the kustomization of a folder leads to; none where the folder has none.
fn led_to(files: &Exported, path: &str) -> Option<BTreeSet<String>> {
    let kustomization = |folder: &str| KUSTOMIZATION_FILES.iter().filter_map(|name| join(folder, name)).find(|file| files.has(file));
    kustomization(path)?;
    let (mut found, mut seen, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![path.to_owned()]);
    while let Some(path) = open.pop() {
        if files.has(&path) {
            found.insert(path);
        } else if let Some(file) = kustomization(&path).filter(|_| seen.insert(path.clone())) {
            open.extend(leads(files, &file));
        }
    }
    Some(found)
}

fn file(resource: &Resource) -> &str {
    resource.origin.as_ref().map_or("", |origin| origin.file.as_str())
}

fn folder(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A folder that an Application takes its objects from.
struct Source {
    path: String,
    /// What its source asks of plain files, which then are taken even where a kustomization stands.
    directory: Option<Value>,
    /// Its folders are sources of their own, as a set has them.
    is_pattern: bool,
}

impl Source {
    fn taken(self, files: &Exported) -> Taken {
        if self.is_pattern {
            return Taken::Below(self.path);
        }
        if let Some(asked) = self.directory {
            return Taken::Folder(self.path, asked.get("recurse") == Some(&Value::Bool(true)));
        }
        if join(&self.path, "Chart.yaml").is_some_and(|chart| files.has(&chart)) {
            return Taken::Folder(join(&self.path, "templates").unwrap_or_default(), true);
        }
        led_to(files, &self.path).map_or(Taken::Folder(self.path, false), Taken::Files)
    }
}

/// Folders that an Application takes its objects from. Of an ApplicationSet: of its generators' patterns what stands before the first `*`.
fn sources(resource: &Resource) -> Vec<Source> {
    let spec = resource.value.get("spec").cloned().unwrap_or_default();
    let of = |spec: &Value| -> Vec<Source> {
        let several = spec.get("sources").and_then(Value::as_array).cloned();
        let all = several.unwrap_or_else(|| spec.get("source").cloned().into_iter().collect());
        all.iter()
            .filter_map(|source| {
                let path = source.get("path").and_then(Value::as_str)?;
                Some(Source { path: join("", path)?, directory: source.get("directory").cloned(), is_pattern: false })
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
            found.extend(fixed.map(|path| Source { path, directory: None, is_pattern: true }));
        }
    }
    found
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
        return Ok(Roots { home, given: Some(given), objects: Vec::new(), problems: Vec::new(), unknowns: Vec::new() });
    }
    let Rendered { objects, problems, unknowns } = rendered(path, applications, sources, renderer);
    let mut objects = if objects.is_empty() { applications.roots_in(path) } else { objects };
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
    Ok(Roots { home, given: None, objects, problems, unknowns })
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

/// What the kustomization of an entry point gives.
#[derive(Default)]
struct Rendered {
    objects: Vec<Resource>,
    problems: Vec<Problem>,
    unknowns: Vec<Unknown>,
}

/// The Applications of a folder that is a kustomization; nothing where it is none, or leads to no Application.
fn rendered(path: &str, applications: &Applications, sources: &Sources, renderer: &Renderer) -> Rendered {
    let exported = sources.exported();
    let mut told = Rendered::default();
    let (Some(led), Ok(root)) = (led_to(exported, path), exported.root()) else { return told };
    let spec = Spec { path: path.to_owned(), ..Spec::default() };
    let request = Request { root: root.to_owned(), content: exported.content.clone(), spec, keys: None };
    let shown = if path.is_empty() { "." } else { path };
    let node = || format!("entry point {shown}");
    // What is lost here matters where Argo CD starts from it.
    let is_start = applications.found.iter().any(|resource| led.contains(file(resource))) || applications.roots_in(path).is_empty();
    let needs = |needs: String| Unknown { node: node(), needs, origin: None };
    told.objects = match renderer.render(&request) {
        Ok(all) => all.resources,
        Err(RenderError::Lacking { what }) => {
            told.unknowns.push(needs(what));
            Vec::new()
        }
        Err(RenderError::Inflates { file, chart, known }) => {
            told.unknowns.push(needs(format!("chart {chart}, which {file} takes in")));
            known
        }
        Err(error) => {
            told.problems.push(broken(&node(), &error).hint(format!("see it alone: kustomize build {shown}")));
            if let RenderError::Missing { known, .. } = error { known } else { Vec::new() }
        }
    };
    if !is_start {
        (told.problems, told.unknowns) = (Vec::new(), Vec::new());
    }
    told.objects.retain(|object| is_application(object) || is_application_set(object));
    let origins = super::origins::Origins::index(root, &exported.files);
    for object in &mut told.objects {
        object.origin = object.origin.take().or_else(|| origins.find(object, path));
    }
    told
}

fn broken(node: &str, error: &RenderError) -> Problem {
    let (rule, origin) = match error {
        RenderError::Yaml { path, error, .. } => ("yaml-invalid", Some(Origin { file: path.clone(), line: error.line })),
        RenderError::Missing { files, .. } => ("render-failed", files.first().map(|file| file.origin.clone())),
        RenderError::NoManifest { path, line, .. } => ("render-failed", Some(Origin { file: path.clone(), line: *line })),
        RenderError::NoProgram { .. } => ("program-missing", None),
        _ => ("render-failed", None),
    };
    Problem { rule, ..Problem::blocks("render-failed", format!("{node}: {error}")).at(origin) }
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
