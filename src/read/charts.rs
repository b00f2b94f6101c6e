//! Charts that stand in Git: what they hold that other layers need.

use super::Reading;
use super::releases::chart_of;
use crate::layers::flux::{is_installed, is_release};
use crate::manifest::yaml::documents;
use crate::manifest::{ObjectId, Resource};
use crate::problem::Origin;
use crate::render::join;
use std::path::{Path, PathBuf};

/// CustomResourceDefinitions of all charts that HelmReleases take from a source whose files are at hand, and of the charts inside them; each once.
pub fn definitions(reading: &Reading) -> Vec<Resource> {
    let mut found: Vec<Resource> = Vec::new();
    for (_, resource) in by_release(reading) {
        if !found.iter().any(|known| known.name() == resource.name()) {
            found.push(resource);
        }
    }
    found
}

/// Those of one HelmRelease: as the chart makes them with the release's values, else those in its `crds` folder; none where the release is
/// not installed here, or leaves that folder out (`install.crds`).
pub fn definitions_of(reading: &Reading, release: &Resource) -> Vec<Resource> {
    let is_definition = |object: &&Resource| object.kind() == "CustomResourceDefinition";
    if !is_installed(release) {
        return Vec::new();
    }
    match reading.charts.get(&release.id()) {
        Some(made) => made.iter().filter(is_definition).cloned().collect(),
        None if release.text("/spec/install/crds") == "Skip" => Vec::new(),
        None => chart(reading, release).map(|(root, chart)| of_chart(&root, &chart, 0)).unwrap_or_default(),
    }
}

/// The same with the HelmRelease that installs each.
pub fn by_release(reading: &Reading) -> Vec<(ObjectId, Resource)> {
    let releases = reading.layers.iter().flat_map(|read| reading.with_sets(read)).filter(|object| is_release(object));
    releases.flat_map(|release| definitions_of(reading, release).into_iter().map(|resource| (release.id(), resource))).collect()
}

/// HelmReleases whose chart is no folder of a source that is at hand, each with that folder.
pub fn absent(reading: &Reading) -> Vec<(ObjectId, String)> {
    let objects = || reading.layers.iter().flat_map(|read| &read.objects);
    let missing = |release: &Resource| {
        let (id, path) = chart_of(release, objects())?;
        // What is packed holds the chart itself; a repository of charts is no folder.
        let root = &reading.sources.get(&id)?.tree.as_ref().filter(|_| ["GitRepository", "Bucket"].contains(&id.kind.as_str()))?.root;
        let found = join("", &path).is_some_and(|path| root.join(&path).join("Chart.yaml").is_file() || root.join(&path).is_file());
        (!found).then(|| (release.id(), format!("{path} in {id}")))
    };
    objects().filter(|object| is_release(object)).filter_map(missing).collect()
}

/// Root of the source and folder of the chart inside it.
fn chart(reading: &Reading, release: &Resource) -> Option<(PathBuf, String)> {
    let (id, path) = chart_of(release, reading.layers.iter().flat_map(|read| reading.with_sets(read)))?;
    let tree = reading.sources.get(&id)?.tree.as_ref()?;
    Some((tree.root.clone(), join("", &path)?))
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
