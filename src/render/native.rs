//! The quick way for folders of plain manifests: where a kustomization (with all that it leads to) only lists resources and names a
//! namespace, the output of kustomize is their concatenation, each with that namespace. Whatever else is found is left to kustomize itself,
//! so that it also words the errors.

use super::patch::Patch;
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
/// `namespace` takes the place of the one that the folder's own kustomization names.
pub(super) fn build(root: &Path, path: &str, namespace: Option<&str>, patches: &[Patch]) -> Option<Vec<Resource>> {
    let mut build = Build { root, open: Vec::new(), resources: Vec::new() };
    let folder = root.join(path);
    if kustomization_file(&folder).is_some() {
        build.folder(path, namespace)?;
    } else {
        for inside in scan(&folder).ok()? {
            build.entry(&join(path, &inside)?)?;
        }
        place(&mut build.resources, namespace)?;
    }
    for patch in patches {
        patch.apply(&mut build.resources)?;
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

/// What kustomize has built without the layer's namespace and patches, with these. None where they reach further than the objects themselves.
pub(super) fn finish(mut resources: Vec<Resource>, namespace: Option<&str>, patches: &[Patch]) -> Option<Vec<Resource>> {
    // Else a name that kustomize has changed may mean another object then.
    let mut namespaces = resources.iter().map(Resource::namespace);
    let first = namespaces.next().flatten();
    if !namespaces.all(|namespace| namespace == first) {
        return None;
    }
    for patch in patches {
        patch.apply(&mut resources)?;
    }
    place(&mut resources, namespace)?;
    Some(resources)
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
    /// `namespace` takes the place of its own.
    fn folder(&mut self, path: &str, namespace: Option<&str>) -> Option<()> {
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
            "namespace" => value.is_string(),
            _ => false,
        });
        if !plain {
            return None;
        }
        let namespace = namespace.or_else(|| map.get("namespace").and_then(Value::as_str)).filter(|namespace| !namespace.is_empty());
        let first = self.resources.len();
        self.open.push(path.to_owned());
        for entry in map.get("resources")?.as_array()? {
            let entry = entry.as_str()?;
            if entry.is_empty() || entry.starts_with('/') || entry.contains("://") || entry.contains('?') || entry.contains('@') {
                return None;
            }
            self.entry(&join(path, entry)?)?;
        }
        self.open.pop();
        place(&mut self.resources[first..], namespace)
    }

    fn entry(&mut self, path: &str) -> Option<()> {
        let place = self.root.join(path);
        let metadata = fs::symlink_metadata(&place).ok()?;
        if metadata.is_dir() {
            return self.folder(path, None);
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

/// Puts resources into a namespace, as kustomize's transformer does (sigs.k8s.io/kustomize/api, `filters/namespace`), which takes every kind
/// that it does not know for a namespaced one.
fn place(resources: &mut [Resource], namespace: Option<&str>) -> Option<()> {
    let Some(namespace) = namespace else { return Some(()) };
    for resource in resources {
        if !is_simply_placed(resource) {
            return None;
        }
        resource.value.get_mut("metadata")?.as_object_mut()?.insert("namespace".to_owned(), namespace.into());
    }
    Some(())
}

/// Whether nothing but `metadata.namespace` changes where a namespace is set: neither a kind that has none, nor one that names a namespace
/// elsewhere (subjects, services of webhooks), nor one that is renamed with it.
fn is_simply_placed(resource: &Resource) -> bool {
    const KNOWN: [&str; 18] = [
        "ConfigMap",
        "CronJob",
        "DaemonSet",
        "Deployment",
        "EndpointSlice",
        "HorizontalPodAutoscaler",
        "Ingress",
        "Job",
        "LimitRange",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "Pod",
        "PodDisruptionBudget",
        "ResourceQuota",
        "Role",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    ];
    is_defined_by_others(resource.group()) || resource.kind() == "Secret" || KNOWN.contains(&resource.kind())
}

/// Whether kustomize knows nothing of a group's kinds.
pub(super) fn is_defined_by_others(group: &str) -> bool {
    // The first two are Kubernetes' own, and yet definitions.
    ["gateway.networking.k8s.io", "snapshot.storage.k8s.io"].contains(&group) || group.contains('.') && !group.ends_with(".k8s.io")
}

/// Whether a text has folded scalars (`>`) with lines that are indented further: kustomize writes and reads them once more on the way, which
/// adds line breaks before such lines. The agent's objects have those too.
pub(super) fn has_folded(text: &str) -> bool {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let code = line.split(" #").next().unwrap_or(line).trim_end();
        let Some(header) = code.rsplit(' ').next().and_then(|last| last.strip_prefix('>')) else { continue };
        if !header.chars().all(|c| c == '+' || c == '-') {
            // How far it is indented is told, unless this is no folded scalar.
            if header.chars().all(|c| c == '+' || c == '-' || c.is_ascii_digit()) {
                return true;
            }
            continue;
        }
        let mut own = None;
        while let Some(next) = lines.peek() {
            let is_blank = next.trim().is_empty();
            if !is_blank && own.is_none() && indent(next) == 0 && indent(line) == 0 && line.contains(':') {
                break;
            }
            if !is_blank && *own.get_or_insert_with(|| indent(next)) > indent(next) {
                break;
            }
            if is_blank || next.contains('\t') || own.is_some_and(|own| indent(next) > own) {
                return true;
            }
            lines.next();
        }
    }
    false
}

/// kustomize leaves some nulls out and keeps others.
pub(super) fn has_null(value: &Value) -> bool {
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
        let found = build(root.path(), "app", None, &[]).expect("plain");
        let names: Vec<_> = found.iter().map(|resource| (resource.name(), resource.origin.as_ref().expect("origin").to_string())).collect();
        assert_eq!(
            names,
            [("a", "app/sub/a.yml:2".to_owned()), ("b", "app/b.yaml:1".to_owned()), ("x", "app/own/deep/x.yaml:1".to_owned())]
        );
    }

    #[test]
    fn whatever_changes_objects_is_left_to_kustomize() {
        for kustomization in
            ["namePrefix: x\nresources: [a.yaml]\n", "resources: [a.yaml, a.yaml]\n", "resources: [https://x/y]\n", "resources: [.]\n"]
        {
            let root = tree(&[("kustomization.yaml", kustomization), ("a.yaml", A)]);
            assert!(build(root.path(), "", None, &[]).is_none(), "{kustomization}");
        }
    }

    #[test]
    fn the_layer_s_namespace_takes_the_place_of_the_kustomization_s_own() {
        let root = tree(&[
            ("kustomization.yaml", "namespace: own\nresources: [a.yaml, sub]\n"),
            ("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: elsewhere}\n"),
            ("sub/kustomization.yaml", "namespace: sub\nresources: [b.yaml]\n"),
            ("sub/b.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: b}\n"),
        ]);
        let namespaces = |target| -> Vec<String> {
            let found = build(root.path(), "", target, &[]).expect("plain");
            found.iter().map(|resource| resource.namespace().unwrap_or("none").to_owned()).collect()
        };
        assert_eq!(namespaces(None), ["own", "own"]);
        assert_eq!(namespaces(Some("target")), ["target", "target"]);
        fs::write(root.path().join("a.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n").expect("written");
        assert!(build(root.path(), "", None, &[]).is_none(), "it would be renamed");
    }

    #[test]
    fn folded_text_is_read_unless_kustomize_would_change_it() {
        for (text, changes) in [
            ("a: >-\n  one\n  two\nb: c\n", false),
            ("a: >-\n  one\n    two\nb: c\n", true),
            ("a: >\n  one\n\n  two\n", true),
            ("a: >2\n  one\n", true),
            ("a: b > c\n", false),
            ("list:\n  - >-\n    one\n    two\n  - x\n", false),
        ] {
            assert_eq!(has_folded(text), changes, "{text}");
        }
    }

    #[test]
    fn lists_are_taken_apart_and_local_configuration_is_dropped() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: b, annotations: {config.kubernetes.io/local-config: 'true'}}\n";
        let root = tree(&[("l.yaml", list)]);
        let found = build(root.path(), "", None, &[]).expect("plain");
        assert_eq!(found.iter().map(Resource::name).collect::<Vec<_>>(), ["a"]);
    }

    /// Each folder of each real repository that both can build: the same objects in the same order.
    #[test]
    #[expect(clippy::print_stdout, reason = "says what it skips")]
    fn on_real_repositories_it_says_what_kustomize_says() {
        use super::super::{Renderer, Request, program};
        use crate::layers::flux::Spec;
        let given = std::env::var_os("BLACKSTART_SHARED").map(std::path::PathBuf::from);
        let repositories = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared")).join("repos");
        let Ok(archives) = fs::read_dir(&repositories) else { return println!("skipped: ../shared is not at hand") };
        if program::find("kustomize").is_none() {
            return println!("skipped: kustomize is not at hand");
        }
        let private = std::sync::Arc::new(crate::repo::PrivateFolder::new().expect("a folder"));
        let renderer = Renderer { cache: None, ..Renderer::new(private) };
        let patch = serde_json::json!({
            "patch": "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: _, annotations: {by: test}}\nspec: {install: {crds: Skip}, values: {list: [a, b], deep: {er: 1}}}\n",
            "target": {"group": "helm.toolkit.fluxcd.io", "kind": "HelmRelease"},
        });
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
                // With a namespace, each kustomize reads the whole OpenAPI first: every fourth folder has to do.
                let ways = [(None, vec![]), (Some("target"), vec![patch.clone()])];
                for (target, patches) in ways.into_iter().take(if compared % 4 == 0 { 2 } else { 1 }) {
                    let simple: Option<Vec<Patch>> = patches.iter().map(Patch::read).collect();
                    let simple = simple.expect("a simple patch");
                    let plain = build(&root, &folder, target, &simple).or_else(|| {
                        let spec = Spec { path: folder.clone(), ..Spec::default() };
                        let own = Request { root: root.clone(), content: String::new(), spec, keys: None };
                        finish(renderer.kustomize(&own, &folder, false, &serde_json::Map::new()).ok()?, target, &simple)
                    });
                    let Some(plain) = plain.filter(|plain| !plain.is_empty()) else { continue };
                    let target_namespace = target.map(str::to_owned);
                    let spec = Spec { path: folder.clone(), target_namespace, patches, ..Spec::default() };
                    let request = Request { root: root.clone(), content: String::new(), spec, keys: None };
                    let built = renderer
                        .kustomize(&request, &folder, target.is_some(), &serde_json::Map::new())
                        .unwrap_or_else(|error| panic!("{folder}: {error}"));
                    let values = |resources: Vec<Resource>| resources.into_iter().map(|resource| resource.value).collect::<Vec<_>>();
                    assert_eq!(values(plain), values(built), "{} {folder} {target:?}", archive.path().display());
                    compared += 1;
                }
            }
        }
        assert!(compared > 60, "only {compared} folders were compared");
    }
}
