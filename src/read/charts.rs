//! Charts that stand in Git: what they hold that other layers need.

use super::Reading;
use crate::layers::SourceId;
use crate::manifest::yaml::documents;
use crate::manifest::{ObjectId, Resource};
use crate::problem::Origin;
use crate::render::join;
use std::path::{Path, PathBuf};

/// CustomResourceDefinitions in the `crds` folders of all charts that HelmReleases take from a source whose files are at hand, and of the
/// charts inside them; each once.
pub fn definitions(reading: &Reading) -> Vec<Resource> {
    let mut found: Vec<Resource> = Vec::new();
    for (_, resource) in by_release(reading) {
        if !found.iter().any(|known| known.name() == resource.name()) {
            found.push(resource);
        }
    }
    found
}

/// Those of one HelmRelease.
pub fn definitions_of(reading: &Reading, release: &Resource) -> Vec<Resource> {
    chart(reading, release).map(|(root, chart)| of_chart(&root, &chart, 0)).unwrap_or_default()
}

/// The same with the HelmRelease that installs each.
pub fn by_release(reading: &Reading) -> Vec<(ObjectId, Resource)> {
    let releases = reading.layers.iter().flat_map(|read| &read.objects).filter(|object| object.group() == "helm.toolkit.fluxcd.io");
    let charts =
        releases.filter(|object| object.kind() == "HelmRelease").filter_map(|release| Some((release.id(), chart(reading, release)?)));
    charts.flat_map(|(id, (root, chart))| of_chart(&root, &chart, 0).into_iter().map(move |resource| (id.clone(), resource))).collect()
}

/// Root of the source and folder of the chart inside it.
fn chart(reading: &Reading, release: &Resource) -> Option<(PathBuf, String)> {
    let text = |pointer: &str| release.value.pointer(pointer).and_then(serde_json::Value::as_str);
    let own = release.namespace().unwrap_or("default");
    let (base, path) = match text("/spec/chart/spec/chart") {
        Some(path) => ("/spec/chart/spec/sourceRef", path),
        None => ("/spec/chartRef", ""),
    };
    let id = SourceId {
        kind: text(&format!("{base}/kind"))?.to_owned(),
        namespace: text(&format!("{base}/namespace")).unwrap_or(own).to_owned(),
        name: text(&format!("{base}/name"))?.to_owned(),
    };
    let tree = reading.sources.get(&id)?.tree.as_ref()?;
    Some((tree.root.clone(), join("", path)?))
}

fn of_chart(root: &Path, chart: &str, depth: u32) -> Vec<Resource> {
    let mut found = Vec::new();
    let list = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| join(folder, entry.file_name().to_str()?)).collect();
        names.sort();
        names
    };
    for file in list(&format!("{chart}/crds")) {
        let Ok(text) = std::fs::read_to_string(root.join(&file)) else { continue };
        for document in documents(&text).unwrap_or_default() {
            let resource = Resource { value: document.value, origin: Some(Origin { file: file.clone(), line: document.line }) };
            if resource.kind() == "CustomResourceDefinition" {
                found.push(resource);
            }
        }
    }
    // Charts hold charts a few deep at most; a link that leads back would go on for ever.
    if depth < 4 {
        for inner in list(&format!("{chart}/charts")) {
            found.extend(of_chart(root, &inner, depth + 1));
        }
    }
    found
}
