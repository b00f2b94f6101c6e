//! The agent's own manifests: what the environment names, else `flux-system` in the entry point's folder.

use super::{ReadError, Reading};
use crate::environment::Environment;
use crate::layers::flux::{Layer, Spec};
use crate::manifest::Resource;
use crate::manifest::yaml::documents;
use crate::problem::Origin;
use crate::render::{Renderer, Request, join};
use std::sync::Arc;

/// Objects of the agent as the repository holds them; none where it holds none (another way of installing is needed then).
pub async fn agent_components(reading: &Reading, environment: &Environment) -> Result<Vec<Resource>, ReadError> {
    let named = environment.spec.agent.components.clone();
    let Some(entry) = reading.layers.iter().find(|read| read.layer.id == reading.entry) else { return Ok(Vec::new()) };
    let Some((root, folder)) = tree(reading, &entry.layer).zip(reading.folder.clone()) else { return Ok(Vec::new()) };
    let path = named.clone().unwrap_or_else(|| format!("{}/flux-system", reading.entrypoint));
    let path = join("", &path).unwrap_or_default();
    let place = root.join(&path);
    let failed = |why: String| ReadError::Components { path: path.clone(), why };
    if place.is_file() {
        let text = std::fs::read_to_string(&place).map_err(|error| failed(error.to_string()))?;
        let found = documents(&text).map_err(|error| failed(error.to_string()))?;
        let origin = |line| Some(Origin { file: path.clone(), line });
        let found = found.into_iter().map(|document| Resource { origin: origin(document.line), value: document.value });
        return Ok(found.filter(is_component).collect());
    }
    if !place.is_dir() {
        return if named.is_some() { Err(failed("no such file or folder in the repository".to_owned())) } else { Ok(Vec::new()) };
    }
    let spec = Spec { path: path.clone(), ..Spec::default() };
    // Not cached: it is rendered once a run, and the content has no id of its own here.
    let request = Request { root, content: format!("{}\0{}", reading.revision, std::process::id()), spec, keys: None };
    let rendered =
        tokio::task::spawn_blocking(move || Renderer::new(Arc::clone(&folder)).render(&request)).await.map_err(|_| ReadError::Stopped)?;
    rendered.map(|rendered| rendered.resources.into_iter().filter(is_component).collect()).map_err(|error| failed(error.to_string()))
}

fn tree(reading: &Reading, layer: &Layer) -> Option<std::path::PathBuf> {
    reading.sources.get(&layer.source)?.tree.as_ref().map(|tree| tree.root.clone())
}

/// Sources and layers beside the components are handed over later; they are no part of the agent.
fn is_component(resource: &Resource) -> bool {
    !resource.group().ends_with(".toolkit.fluxcd.io")
}
