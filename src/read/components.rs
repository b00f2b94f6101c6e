//! The agent's own manifests: from the folder or file that the environment names, else from the entry layer itself.

use super::{ReadError, Reading};
use crate::environment::Environment;
use crate::layers::flux::Spec;
use crate::manifest::{self, Resource};
use crate::problem::{Origin, Problem};
use crate::render::{Renderer, Request};
use std::path::Path;

/// Empty where neither names any: then the cluster has to have the agent.
pub async fn agent_components(reading: &Reading, environment: &Environment) -> Result<Vec<Resource>, ReadError> {
    let Some(path) = &environment.agent.components else { return Ok(inside_entry(reading)) };
    let invalid = |message: String| ReadError::Invalid {
        problems: vec![Problem::blocks("agent-components", message).hint("spec.agent.flux.components names a folder or a file of the repository")],
    };
    let entry = reading.layers.first().map(|read| read.layer.source.clone());
    let tree = entry.and_then(|source| reading.sources.get(&source)).and_then(|source| source.tree.clone());
    let Some(tree) = tree else { return Err(invalid("agent components: the entry layer's files are not at hand".to_owned())) };
    let place = tree.root.join(path.trim_start_matches("./"));
    if place.is_file() {
        return file(&place, path);
    }
    let Some(folder) = reading.folder.clone().filter(|_| place.is_dir()) else {
        return Err(invalid(format!("agent components {path}: no such folder or file in the repository")));
    };
    let spec = Spec { path: path.clone(), ..Spec::default() };
    let request = Request { root: tree.root, content: tree.revision, spec, keys: None };
    let shown = path.clone();
    let rendered = tokio::task::spawn_blocking(move || Renderer::new(folder).render(&request)).await.map_err(|_| ReadError::Stopped)?;
    rendered
        .map(|rendered| rendered.resources.into_iter().filter(is_component).collect())
        .map_err(|error| invalid(format!("agent components {shown}: {error}")))
}

fn file(place: &Path, shown: &str) -> Result<Vec<Resource>, ReadError> {
    let text = std::fs::read_to_string(place).map_err(|source| ReadError::File { path: place.to_owned(), source })?;
    let documents = manifest::yaml::documents(&text).map_err(|error| {
        let origin = Origin { file: shown.to_owned(), line: error.line };
        let mut problem = Problem::blocks("yaml-invalid", format!("agent components {shown}: {}", error.message)).at(Some(origin));
        problem.column = Some(error.column);
        ReadError::Invalid { problems: vec![problem] }
    })?;
    let resources = documents.into_iter().map(|document| {
        let origin = Some(Origin { file: shown.to_owned(), line: document.line });
        Resource { value: document.value, origin }
    });
    Ok(resources.filter(is_component).collect())
}

/// A `flux bootstrap` keeps the components in the entry layer; they are recognised by their definitions.
fn inside_entry(reading: &Reading) -> Vec<Resource> {
    let Some(entry) = reading.layers.first() else { return Vec::new() };
    let brings = |kind: &str| {
        entry.objects.iter().any(|object| {
            object.kind() == "CustomResourceDefinition" && object.text("/spec/names/kind") == kind && object.text("/spec/group").ends_with("fluxcd.io")
        })
    };
    if !brings("Kustomization") {
        return Vec::new();
    }
    // Only what the components are made of: other objects of the entry layer come with the layer.
    let is_agent = |object: &&Resource| object.label("app.kubernetes.io/part-of") == Some("flux") || object.kind() == "Namespace";
    entry.objects.iter().filter(is_agent).filter(|object| is_component(object)).cloned().collect()
}

/// Sources and layers are handed over later; they are no part of the agent.
fn is_component(resource: &Resource) -> bool {
    !resource.group().ends_with(".toolkit.fluxcd.io")
}
