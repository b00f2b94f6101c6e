//! The quick way for folders of plain manifests: where a kustomization (with all that it leads to) only lists resources, the output
//! of kustomize is their concatenation. Whatever else is found is left to kustomize itself, so that it also words the errors.

use crate::manifest::yaml::documents;
use crate::manifest::{ObjectId, Resource};
use crate::problem::Origin;
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Names that kustomize looks for, in its order.
pub(crate) const KUSTOMIZATION_FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The kustomization file of a folder; none where there is none.
pub(crate) fn kustomization_file(folder: &Path) -> Option<&'static str> {
    KUSTOMIZATION_FILES.into_iter().find(|name| folder.join(name).is_file())
}

/// What kustomize-controller writes into the kustomization of a folder that has none: each YAML file below, and each folder below
/// that has one of its own (fluxcd/pkg `kustomize`, generator). Paths from the folder, in the order of a walk by name.
pub(crate) fn scan(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    walk(folder, "", &mut found)?;
    Ok(found)
}

/// Whether kustomize-controller takes a file for a manifest.
pub(crate) fn is_yaml(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn walk(folder: &Path, inside: &str, found: &mut Vec<String>) -> std::io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = if inside.is_empty() { name.to_owned() } else { format!("{inside}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if kustomization_file(&entry.path()).is_some() {
                found.push(path);
            } else {
                walk(&entry.path(), &path, found)?;
            }
        } else if is_yaml(name) {
            found.push(path);
        }
    }
    Ok(())
}

/// Renders the folder `path` (from `root`, with `/`), or says that kustomize must do it. Origins name files from `root`.
pub(crate) fn build(root: &Path, path: &str) -> Option<Vec<Resource>> {
    let mut build = Build { root, open: Vec::new(), resources: Vec::new() };
    let folder = root.join(path);
    if kustomization_file(&folder).is_some() {
        build.folder(path)?;
    } else {
        for inside in scan(&folder).ok()? {
            build.entry(&join(path, &inside)?)?;
        }
    }
    let mut seen: HashSet<ObjectId> = HashSet::with_capacity(build.resources.len());
    // Two objects of one name are an error of kustomize, which words it.
    let unique = build.resources.iter().all(|resource| {
        let mut id = resource.id();
        id.namespace = id.namespace.filter(|namespace| namespace != "default");
        seen.insert(id)
    });
    build.resources.sort_by_cached_key(order);
    unique.then_some(build.resources)
}

/// kustomize's order of output where `sortOptions` says nothing (its `legacy` order, which kustomize-controller takes too): some kinds
/// first, webhook configurations last, else by group, version, kind, namespace and name.
fn order(resource: &Resource) -> (i32, String, String) {
    const FIRST: [&str; 22] = [
        "Namespace",
        "ResourceQuota",
        "StorageClass",
        "CustomResourceDefinition",
        "ServiceAccount",
        "PodSecurityPolicy",
        "Role",
        "ClusterRole",
        "RoleBinding",
        "ClusterRoleBinding",
        "ConfigMap",
        "Secret",
        "Endpoints",
        "Service",
        "LimitRange",
        "PriorityClass",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Deployment",
        "StatefulSet",
        "CronJob",
        "PodDisruptionBudget",
    ];
    let id = resource.id();
    let place = |index: usize| i32::try_from(index).unwrap_or(i32::MAX);
    let rank = match (FIRST.iter().position(|kind| *kind == id.kind), id.kind.as_str()) {
        (Some(index), _) => place(index) - place(FIRST.len()),
        (None, "MutatingWebhookConfiguration") => 1,
        (None, "ValidatingWebhookConfiguration") => 2,
        (None, _) => 0,
    };
    let group = if id.group().is_empty() { "~G" } else { id.group() };
    (rank, format!("{group}_{}_{}", id.version(), id.kind), format!("{}|{}", id.namespace.as_deref().unwrap_or("~X"), id.name))
}

struct Build<'a> {
    root: &'a Path,
    open: Vec<String>,
    resources: Vec<Resource>,
}

impl Build<'_> {
    fn folder(&mut self, path: &str) -> Option<()> {
        let folder = self.root.join(path);
        let mut files = KUSTOMIZATION_FILES.into_iter().filter(|name| folder.join(name).is_file());
        let file = files.next()?;
        if files.next().is_some() || self.open.iter().any(|open| open == path) {
            return None;
        }
        let found = documents(&fs::read_to_string(folder.join(file)).ok()?).ok()?;
        let [document] = found.as_slice() else { return None };
        let map = document.value.as_object()?;
        let plain = map.iter().all(|(key, value)| match key.as_str() {
            "apiVersion" => value == "kustomize.config.k8s.io/v1beta1",
            "kind" => value == "Kustomization",
            "resources" => true,
            _ => false,
        });
        if !plain {
            return None;
        }
        self.open.push(path.to_owned());
        for entry in map.get("resources")?.as_array()? {
            let entry = entry.as_str()?;
            if entry.is_empty() || entry.starts_with('/') || entry.contains("://") || entry.contains('?') || entry.contains('@') {
                return None;
            }
            self.entry(&join(path, entry)?)?;
        }
        self.open.pop();
        Some(())
    }

    fn entry(&mut self, path: &str) -> Option<()> {
        let place = self.root.join(path);
        let metadata = fs::symlink_metadata(&place).ok()?;
        if metadata.is_dir() {
            return self.folder(path);
        }
        if !metadata.is_file() {
            return None;
        }
        let text = fs::read_to_string(place).ok()?;
        if has_folded(&text) {
            return None;
        }
        for document in documents(&text).ok()? {
            self.add(document.value, &Origin { file: path.to_owned(), line: document.line })?;
        }
        Some(())
    }

    fn add(&mut self, mut value: Value, origin: &Origin) -> Option<()> {
        let is_list = value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        if is_list && let Some(items) = value.get_mut("items").map(Value::take) {
            for item in items.as_array()? {
                self.add(item.clone(), origin)?;
            }
            return Some(());
        }
        let mut resource = Resource { value, origin: Some(origin.clone()) };
        let complete = [resource.kind(), resource.api_version(), resource.name()].iter().all(|text| !text.is_empty());
        if !complete || resource.group() == "kustomize.config.k8s.io" || has_null(&resource.value) {
            return None;
        }
        match resource.value.pointer("/metadata/annotations") {
            Some(Value::Object(annotations)) => {
                if annotations.values().any(|value| !value.is_string()) {
                    return None;
                }
                let local = annotations.get("config.kubernetes.io/local-config");
                if local.is_some_and(|value| value == "true") {
                    return Some(());
                }
                // Instructions to kustomize.
                if annotations.keys().any(|key| key.contains("config.kubernetes.io/") || key.contains("kustomize.config.k8s.io/")) {
                    return None;
                }
                if annotations.is_empty() {
                    return None;
                }
            }
            Some(_) => return None,
            None => {}
        }
        resource.origin = Some(origin.clone());
        self.resources.push(resource);
        Some(())
    }
}

/// Whether a text has folded scalars (`>`): kustomize writes and reads them once more on the way, which adds line breaks before indented
/// lines. The agent's objects have those too.
fn has_folded(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.split(" #").next().unwrap_or(line).trim_end();
        line.rsplit(' ')
            .next()
            .is_some_and(|last| last.strip_prefix('>').is_some_and(|rest| rest.chars().all(|c| c == '+' || c == '-' || c.is_ascii_digit())))
    })
}

/// kustomize leaves some nulls out and keeps others.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().any(has_null),
        Value::Array(items) => items.iter().any(has_null),
        _ => false,
    }
}

/// A path from a folder, made plain; none where it leaves the root.
pub(crate) fn join(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        root
    }

    const A: &str = "# a\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n";
    const B: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n";

    #[test]
    fn a_folder_without_kustomization_is_scanned_as_flux_scans_it() {
        let root = tree(&[
            ("app/b.yaml", B),
            ("app/notes.txt", "x"),
            ("app/sub/a.yml", A),
            ("app/own/kustomization.yaml", "resources: [deep/x.yaml]\n"),
            ("app/own/deep/x.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n"),
        ]);
        assert_eq!(scan(&root.path().join("app")).expect("scanned"), ["b.yaml", "own", "sub/a.yml"]);
        let found = build(root.path(), "app").expect("plain");
        let names: Vec<_> = found.iter().map(|resource| (resource.name(), resource.origin.as_ref().expect("origin").to_string())).collect();
        assert_eq!(
            names,
            [("a", "app/sub/a.yml:2".to_owned()), ("b", "app/b.yaml:1".to_owned()), ("x", "app/own/deep/x.yaml:1".to_owned())]
        );
    }

    #[test]
    fn whatever_changes_objects_is_left_to_kustomize() {
        for kustomization in
            ["namespace: x\nresources: [a.yaml]\n", "resources: [a.yaml, a.yaml]\n", "resources: [https://x/y]\n", "resources: [.]\n"]
        {
            let root = tree(&[("kustomization.yaml", kustomization), ("a.yaml", A)]);
            assert!(build(root.path(), "").is_none(), "{kustomization}");
        }
    }

    #[test]
    fn lists_are_taken_apart_and_local_configuration_is_dropped() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: b, annotations: {config.kubernetes.io/local-config: 'true'}}\n";
        let root = tree(&[("l.yaml", list)]);
        let found = build(root.path(), "").expect("plain");
        assert_eq!(found.iter().map(Resource::name).collect::<Vec<_>>(), ["a"]);
    }

    /// Each folder of each real repository that both can build: the same objects in the same order.
    #[test]
    #[expect(clippy::print_stdout, reason = "says what it skips")]
    fn on_real_repositories_it_says_what_kustomize_says() {
        use super::super::{Renderer, Request, program};
        let given = std::env::var_os("BLACKSTART_SHARED").map(std::path::PathBuf::from);
        let repositories = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared")).join("repos");
        let Ok(archives) = fs::read_dir(&repositories) else { return println!("skipped: ../shared is not at hand") };
        if program::find("kustomize").is_none() {
            return println!("skipped: kustomize is not at hand");
        }
        let private = std::sync::Arc::new(crate::repo::PrivateFolder::new().expect("a folder"));
        let renderer = Renderer { cache: None, ..Renderer::new(private) };
        let mut compared = 0;
        for archive in archives.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "gz")) {
            let root = tempfile::tempdir().expect("a folder");
            let file = fs::File::open(archive.path()).expect("archive");
            tar::Archive::new(flate2::read::GzDecoder::new(file)).unpack(root.path()).expect("unpacked");
            let root = root.path().canonicalize().expect("a path");
            let mut folders = vec![String::new()];
            while let Some(folder) = folders.pop() {
                let inner = fs::read_dir(root.join(&folder)).expect("read").flatten().filter(|entry| entry.path().is_dir());
                folders.extend(inner.filter_map(|entry| join(&folder, entry.file_name().to_str()?)));
                let Some(plain) = build(&root, &folder) else { continue };
                if plain.is_empty() {
                    continue;
                }
                let spec = crate::layers::flux::Spec { path: folder.clone(), ..Default::default() };
                let request = Request { root: root.clone(), content: String::new(), spec, keys: None };
                let built = renderer
                    .kustomize(&request, &folder, false, &serde_json::Map::new())
                    .unwrap_or_else(|error| panic!("{folder}: {error}"));
                let values = |resources: Vec<Resource>| resources.into_iter().map(|resource| resource.value).collect::<Vec<_>>();
                assert_eq!(values(plain), values(built), "{} {folder}", archive.path().display());
                compared += 1;
            }
        }
        assert!(compared > 50, "only {compared} folders were compared");
    }
}
