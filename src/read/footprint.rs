//! Which files a layer is made of: what its folder and its kustomizations lead to, and what its objects stand in.

use super::{ReadLayer, Reading};
use crate::layers::LayerId;
use crate::manifest::yaml::documents;
use crate::render::{join, kustomization_file};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Fields of a kustomization whose texts are no paths.
const NO_PATHS: [&str; 14] = [
    "apiVersion",
    "kind",
    "metadata",
    "namespace",
    "namePrefix",
    "nameSuffix",
    "labels",
    "commonLabels",
    "commonAnnotations",
    "images",
    "replicas",
    "buildMetadata",
    "sortOptions",
    "vars",
];

/// Files of a layer in PATH's repository, as paths from its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// One by one.
    pub files: BTreeSet<String>,
    /// Folders with all that they hold; empty for the root.
    pub folders: BTreeSet<String>,
}

impl Footprint {
    /// Whether the file is one of it.
    pub fn holds(&self, file: &str) -> bool {
        let is_inside = |folder: &String| folder.is_empty() || file.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'));
        self.files.contains(file) || self.folders.iter().any(is_inside)
    }

    /// With the files of another one.
    pub fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
        self.folders.extend(other.folders);
    }

    /// Follows the kustomizations from a folder on. A folder without one is read with all that it holds, and so is a chart.
    fn visit(&mut self, root: &Path, folder: &str, seen: &mut BTreeSet<String>) {
        if !seen.insert(folder.to_owned()) {
            return;
        }
        let place = root.join(folder);
        let Some(file) = kustomization_file(&place).filter(|_| !place.join("Chart.yaml").is_file()) else {
            self.folders.insert(folder.to_owned());
            return;
        };
        self.files.extend(join(folder, file));
        let text = std::fs::read_to_string(place.join(file)).unwrap_or_default();
        let Some(found) = documents(&text).ok().and_then(|documents| documents.into_iter().next()) else { return };
        let Some(fields) = found.value.as_object() else { return };
        if fields.contains_key("helmCharts") {
            // kustomize's own default for `helmGlobals.chartHome`.
            self.folders.extend(join(folder, "charts"));
        }
        let mut texts = Vec::new();
        fields.iter().filter(|(key, _)| !NO_PATHS.contains(&key.as_str())).for_each(|(_, value)| collect(value, &mut texts));
        for text in texts {
            // `key=file` of a generator.
            let path = text.split_once('=').map_or(text, |(_, path)| path);
            let Some(path) = join(folder, path).filter(|path| !text.is_empty() && !text.contains('\n') && path != folder) else { continue };
            if root.join(&path).is_dir() {
                self.visit(root, &path, seen);
            } else if root.join(&path).is_file() {
                self.files.insert(path);
            }
        }
    }
}

fn collect<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => fields.values().for_each(|item| collect(item, texts)),
        _ => {}
    }
}

/// Of a folder, and of all that its kustomizations lead to.
pub fn footprint(root: &Path, folder: &str) -> Footprint {
    let mut found = Footprint::default();
    found.visit(root, folder, &mut BTreeSet::new());
    found
}

/// Of each layer. What comes from other repositories is left out.
pub fn footprints(reading: &Reading) -> BTreeMap<LayerId, Footprint> {
    let tree = |read: &ReadLayer| reading.sources.get(&read.layer.source).and_then(|source| source.tree.clone());
    let own = reading.layers.first().and_then(tree).map(|tree| tree.repository);
    let mut found = BTreeMap::new();
    for read in &reading.layers {
        let mut footprint = Footprint::default();
        let mut seen = BTreeSet::new();
        let tree = tree(read).filter(|tree| Some(&tree.repository) == own.as_ref());
        // An ExternalArtifact has the files under other names; what its objects stand in is known all the same.
        if let Some(tree) = tree.filter(|_| read.layer.source.kind != "ExternalArtifact") {
            let sources = read.layer.spec.application.iter().flat_map(|application| &application.sources);
            let paths = sources.filter_map(|source| source.path.as_deref()).chain([read.layer.spec.path.as_str()]);
            let is_argo = read.layer.spec.application.is_some();
            for path in paths.filter(|path| !is_argo || !path.is_empty()).filter_map(|path| join("", path)) {
                footprint.visit(&tree.root, &path, &mut seen);
                for component in read.layer.spec.components.iter().filter_map(|component| join(&path, component)) {
                    footprint.visit(&tree.root, &component, &mut seen);
                }
            }
        }
        let origins = read.objects.iter().filter_map(|object| object.origin.as_ref());
        footprint.files.extend(origins.filter(|origin| !origin.file.contains(':')).map(|origin| origin.file.clone()));
        found.insert(read.layer.id.clone(), footprint);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kustomizations_are_followed_to_every_file_that_they_name() {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in [
            (
                "apps/a/kustomization.yaml",
                "namespace: other\nresources: [a.yaml, ../base]\nconfigMapGenerator: [{name: x, files: [key=conf/a.ini], literals: [b=conf]}]\npatches: [{path: patch.yaml}]\n",
            ),
            ("apps/a/a.yaml", ""),
            ("apps/a/unused.yaml", ""),
            ("apps/a/conf/a.ini", ""),
            ("apps/a/patch.yaml", ""),
            ("apps/base/plain.yaml", ""),
            ("apps/a/other/x.yaml", ""),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let footprint = footprint(folder.path(), "apps/a");
        for file in [
            "apps/a/kustomization.yaml",
            "apps/a/a.yaml",
            "apps/a/conf/a.ini",
            "apps/a/patch.yaml",
            "apps/base/plain.yaml",
            "apps/base/later/new.yaml",
        ] {
            assert!(footprint.holds(file), "{file}: {footprint:?}");
        }
        for file in ["apps/a/unused.yaml", "apps/a/other/x.yaml", "apps/basement/x.yaml", "README.md"] {
            assert!(!footprint.holds(file), "{file}: {footprint:?}");
        }
    }
}
