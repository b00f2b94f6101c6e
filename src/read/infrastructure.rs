//! The folders that an environment builds before its cluster: rendered as a layer would be, with the environment's variables.

use super::ReadLayer;
use super::origins::Origins;
use super::variables::{Fault, apply};
use crate::environment::{Environment, Infrastructure};
use crate::layers::flux::{Layer, PostBuild, Spec};
use crate::layers::{LayerId, SourceId, infrastructure};
use crate::manifest::Resource;
use crate::problem::{Origin, Problem, Severity, nearest};
use crate::render::{RenderError, Renderer, Request, join};
use std::collections::BTreeMap;
use std::path::Path;

/// Files of PATH as they are read.
pub(crate) struct Tree<'a> {
    pub(crate) root: &'a Path,
    pub(crate) files: &'a [String],
    pub(crate) content: &'a str,
}

/// All cloud resources of the environment's folders, in order, and all that is wrong with them.
pub(crate) fn read(environment: &Environment, tree: &Tree<'_>, renderer: &Renderer, layers: &[ReadLayer]) -> (Vec<Resource>, Vec<Problem>) {
    let (mut resources, mut problems) = (Vec::new(), Vec::new());
    if environment.spec.infrastructure.is_empty() {
        return (resources, problems);
    }
    let origins = Origins::index(tree.root, tree.files);
    let values = super::commands::values(environment);
    for entry in &environment.spec.infrastructure {
        match render(entry, tree, renderer) {
            Ok((path, found)) => {
                let layer = layer(&path);
                for mut resource in found {
                    resource.origin = resource.origin.take().or_else(|| origins.find(&resource, &path)).or_else(|| entry.origin.clone());
                    match apply(&mut resource, &layer, &values) {
                        None => {}
                        Some(Fault::Undefined(names)) => {
                            problems.extend(names.iter().map(|name| undefined(&resource, name, tree, &values)));
                            continue;
                        }
                        Some(Fault::Bad(why)) => {
                            let message = format!("{}: variables cannot be replaced: {why}", resource.id());
                            problems.push(Problem::blocks("substitution-invalid", message).at(resource.origin.clone()));
                            continue;
                        }
                    }
                    problems.extend(super::open::names(&mut resource));
                    let id = resource.id();
                    if infrastructure::service(&resource).is_some() {
                        resources.push(resource);
                    } else if !layers.iter().any(|layer| layer.objects.iter().any(|object| object.id() == id)) {
                        let message = format!("{id}: is no AWS resource, and no layer holds it: nobody makes it");
                        let mut problem = Problem::blocks("cloud-stray", message).at(resource.origin.clone());
                        problem.severity = Severity::Risk;
                        problems.push(problem.hint("put what lives in a cluster into a layer"));
                    }
                }
            }
            Err(problem) => problems.push(*problem),
        }
    }
    (resources, problems)
}

fn render(entry: &Infrastructure, tree: &Tree<'_>, renderer: &Renderer) -> Result<(String, Vec<Resource>), Box<Problem>> {
    let path = join("", &entry.path).filter(|path| tree.root.join(path).is_dir()).ok_or_else(|| {
        let message = format!("spec.infrastructure: {} is no folder of the repository", entry.path);
        let folders = tree.files.iter().filter_map(|file| file.rsplit_once('/').map(|(folder, _)| folder));
        let problem = Problem::blocks("path-missing", message).at(entry.origin.clone());
        match nearest(entry.path.trim_start_matches("./"), folders).first() {
            Some(near) => problem.hint(format!("did you mean {near}?")),
            None => problem.hint("paths start at the root of the repository"),
        }
    })?;
    let spec = Spec { path: path.clone(), ..Spec::default() };
    let request = Request { root: tree.root.to_owned(), content: tree.content.to_owned(), spec, keys: None };
    let output = renderer.render(&request).map_err(|error| match error {
        RenderError::Yaml { path, error, excerpt } => {
            let mut problem = Problem::blocks("yaml-invalid", format!("{path}: is not valid YAML: {}", error.message));
            problem.column = Some(error.column);
            problem.excerpt = excerpt;
            problem.at(Some(Origin { file: path, line: error.line }))
        }
        error => Problem::blocks("render-failed", format!("spec.infrastructure {path}: {error}"))
            .at(entry.origin.clone())
            .hint(format!("see it alone: kustomize build {path}")),
    })?;
    Ok((path, output.resources))
}

/// A folder as the layer that it would be.
fn layer(path: &str) -> Layer {
    let always = PostBuild { substitute_strategy: Some("Always".to_owned()), ..PostBuild::default() };
    Layer {
        id: LayerId::new("infrastructure", path),
        parent: None,
        source: SourceId { kind: "GitRepository".into(), namespace: String::new(), name: String::new() },
        spec: Spec { path: path.to_owned(), post_build: Some(always), ..Spec::default() },
        declaration: Resource { value: serde_json::Value::Null, origin: None },
    }
}

fn undefined(resource: &Resource, name: &str, tree: &Tree<'_>, values: &BTreeMap<String, String>) -> Problem {
    let mut origin = resource.origin.clone();
    if let Some(place) = &mut origin
        && let Ok(text) = std::fs::read_to_string(tree.root.join(&place.file))
        && let Some(line) = super::origins::line_with(&text, place.line, &format!("${{{name}"))
    {
        place.line = line;
    }
    let problem = Problem::blocks("variable-undefined", format!("{}: variable {name} is not defined", resource.id())).at(origin);
    match nearest(name, values.keys().map(String::as_str)).first() {
        Some(near) => problem.hint(format!("did you mean {near}?")),
        None => {
            problem.hint(format!("define {name} in a ConfigMap of spec.variables or in spec.outputs, or give it a default: ${{{name}:=…}}"))
        }
    }
}
