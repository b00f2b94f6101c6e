//! CustomResourceDefinitions in charts that stand in Git: they need no stand-in, helm-controller installs them.

use super::Reading;
use crate::manifest::{self, Resource};
use serde_json::Value;
use std::path::Path;

/// Definitions in the `crds` folders of the charts that HelmReleases take from mapped sources.
pub fn definitions(reading: &Reading) -> Vec<Resource> {
    let mut definitions = Vec::new();
    for release in reading.layers.iter().flat_map(|read| &read.objects).filter(|object| object.kind() == "HelmRelease") {
        let Some(reference) = release.value.pointer("/spec/chart/spec/sourceRef") else { continue };
        let text = |key: &str| reference.get(key).and_then(Value::as_str);
        let source = crate::layers::SourceId {
            kind: text("kind").unwrap_or_default().to_owned(),
            namespace: text("namespace").or(release.namespace()).unwrap_or_default().to_owned(),
            name: text("name").unwrap_or_default().to_owned(),
        };
        let Some(tree) = reading.sources.get(&source).and_then(|source| source.tree.as_ref()) else { continue };
        let chart = tree.root.join(release.text("/spec/chart/spec/chart").trim_start_matches("./"));
        collect(&chart.join("crds"), &mut definitions);
    }
    definitions
}

fn collect(folder: &Path, definitions: &mut Vec<Resource>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, definitions);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let found = manifest::yaml::documents(&text).unwrap_or_default().into_iter().map(|found| Resource { value: found.value, origin: None });
            definitions.extend(found.filter(|resource| resource.kind() == "CustomResourceDefinition"));
        }
    }
}
