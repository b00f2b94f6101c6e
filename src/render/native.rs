//! The quick way for folders of plain manifests: where a kustomization (with all that it leads to) only lists resources and names a
//! namespace, the output of kustomize is their concatenation, each with that namespace. Whatever else is found is left to kustomize itself,
//! so that it also words the errors.

use super::patch::Patch;
use crate::manifest::yaml::documents;
use crate::manifest::{ObjectId, Resource};
use crate::problem::Origin;
use serde_json::{Map, Value};
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

/// What a layer adds to its folder.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Additions<'a> {
    /// Takes the place of the one that the folder's own kustomization names.
    pub(super) namespace: Option<&'a str>,
    /// Folders, from the layer's own.
    pub(super) components: &'a [&'a String],
    /// Patches.
    pub(super) patches: &'a [Patch],
}

/// Renders the folder `path` (from `root`, with `/`), or says that kustomize must do it. Origins name files from `root`.
pub(super) fn build(root: &Path, path: &str, more: &Additions<'_>) -> Option<Vec<Resource>> {
    let Additions { namespace, components, patches } = *more;
    let mut build = Build { root, open: Vec::new(), resources: Vec::new() };
    let folder = root.join(path);
    if kustomization_file(&folder).is_some() {
        build.folder(path, more)?;
    } else {
        for inside in scan(&folder).ok()? {
            build.entry(&join(path, &inside)?)?;
        }
        for component in components {
            build.component(&join(path, component)?)?;
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
    /// A folder with a kustomization; its namespace is set at the end, for what its components bring too.
    fn folder(&mut self, path: &str, more: &Additions<'_>) -> Option<()> {
        let map = self.kustomization(path, "Kustomization")?;
        let own = map.get("namespace").and_then(Value::as_str);
        let namespace = more.namespace.or(own).filter(|namespace| !namespace.is_empty());
        let first = self.resources.len();
        self.open.push(path.to_owned());
        self.parts(path, &map)?;
        for component in more.components {
            self.component(&join(path, component)?)?;
        }
        self.open.pop();
        place(&mut self.resources[first..], namespace)
    }

    /// A component that only brings resources.
    fn component(&mut self, path: &str) -> Option<()> {
        let map = self.kustomization(path, "Component").filter(|map| !map.contains_key("namespace"))?;
        self.open.push(path.to_owned());
        self.parts(path, &map)?;
        self.open.pop();
        Some(())
    }

    /// Resources first, then components, as kustomize takes them (`internal/target`, `accumulateTarget`).
    fn parts(&mut self, path: &str, map: &Map<String, Value>) -> Option<()> {
        for entry in map.get("resources")?.as_array()? {
            self.entry(&local(path, entry)?)?;
        }
        for entry in map.get("components").map_or(Some(&[][..]), |list| list.as_array().map(Vec::as_slice))? {
            self.component(&local(path, entry)?)?;
        }
        Some(())
    }

    /// The kustomization of a folder, where it only lists resources and components and names a namespace.
    fn kustomization(&self, path: &str, kind: &str) -> Option<Map<String, Value>> {
        let folder = self.root.join(path);
        let mut files = KUSTOMIZATION_FILES.into_iter().filter(|name| folder.join(name).is_file());
        let file = files.next()?;
        if files.next().is_some() || self.open.iter().any(|open| open == path) {
            return None;
        }
        let mut found = documents(&fs::read_to_string(folder.join(file)).ok()?).ok()?;
        let (Some(document), true) = (found.pop(), found.is_empty()) else { return None };
        let Value::Object(map) = document.value else { return None };
        // What a Kustomization does not say of itself, kustomize adds; of a component it has to be said.
        let is_component = kind == "Component";
        let version = if is_component { "kustomize.config.k8s.io/v1alpha1" } else { "kustomize.config.k8s.io/v1beta1" };
        let plain = map.iter().all(|(key, value)| match key.as_str() {
            "apiVersion" => value == version,
            "kind" => value == kind,
            "resources" | "components" => true,
            "namespace" => value.is_string(),
            _ => false,
        });
        (plain && (!is_component || map.contains_key("kind"))).then_some(map)
    }

    fn entry(&mut self, path: &str) -> Option<()> {
        let place = self.root.join(path);
        let metadata = fs::symlink_metadata(&place).ok()?;
        if metadata.is_dir() {
            return self.folder(path, &Additions::default());
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

/// An entry of a kustomization that names something of the same repository.
fn local(folder: &str, entry: &Value) -> Option<String> {
    let entry = entry.as_str()?;
    let is_remote = entry.is_empty() || entry.starts_with('/') || entry.contains("://") || entry.contains('?') || entry.contains('@');
    if is_remote { None } else { join(folder, entry) }
}

/// Puts resources into a namespace, as kustomize's transformer does (sigs.k8s.io/kustomize/api, `filters/namespace`), which takes every kind
/// that it does not know for a namespaced one.
fn place(resources: &mut [Resource], namespace: Option<&str>) -> Option<()> {
    let Some(namespace) = namespace else { return Some(()) };
    for resource in resources {
        if let Said::By(field) = field_of_namespace(resource)? {
            resource.value.get_mut("metadata")?.as_object_mut()?.insert(field.to_owned(), namespace.into());
        }
    }
    Some(())
}

/// How the metadata of an object say its namespace.
enum Said {
    /// By this field.
    By(&'static str),
    /// Not at all.
    Nowhere,
}

/// The field of the metadata that says the namespace, where nothing else changes with it. A Namespace is renamed. None where a namespace is
/// named elsewhere too (service accounts as subjects, services of webhooks).
fn field_of_namespace(resource: &Resource) -> Option<Said> {
    const KNOWN: [&str; 20] = [
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
        "ResourceClaim",
        "ResourceClaimTemplate",
        "ResourceQuota",
        "Role",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    ];
    if is_defined_by_others(resource.group()) {
        return Some(Said::By("namespace"));
    }
    match resource.kind() {
        "Namespace" => Some(Said::By("name")),
        "ClusterRole" => Some(Said::Nowhere),
        "ClusterRoleBinding" => names_no_account(resource).then_some(Said::Nowhere),
        "RoleBinding" => names_no_account(resource).then_some(Said::By("namespace")),
        kind => (kind == "Secret" || KNOWN.contains(&kind)).then_some(Said::By("namespace")),
    }
}

/// Whether no subject of a binding is a service account: those stand in namespaces too.
fn names_no_account(binding: &Resource) -> bool {
    let subjects = binding.value.get("subjects").and_then(Value::as_array);
    subjects.into_iter().flatten().all(|subject| matches!(subject["kind"].as_str(), Some("Group" | "User")))
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
        let found = build(root.path(), "app", &Additions::default()).expect("plain");
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
            assert!(build(root.path(), "", &Additions::default()).is_none(), "{kustomization}");
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
            let found = build(root.path(), "", &Additions { namespace: target, ..Additions::default() }).expect("plain");
            found.iter().map(|resource| resource.namespace().unwrap_or("none").to_owned()).collect()
        };
        assert_eq!(namespaces(None), ["own", "own"]);
        assert_eq!(namespaces(Some("target")), ["target", "target"]);
        let binding = |subject: &str| {
            format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: a}}\nsubjects: [{{kind: {subject}, name: x}}]\n"
            )
        };
        fs::write(root.path().join("a.yaml"), binding("ServiceAccount")).expect("written");
        assert!(build(root.path(), "", &Additions::default()).is_none(), "its subject may move too");
        fs::write(root.path().join("a.yaml"), binding("Group")).expect("written");
        assert_eq!(namespaces(Some("target")), ["none", "target"]);
        fs::write(root.path().join("a.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n").expect("written");
        let found = build(root.path(), "", &Additions::default()).expect("plain");
        assert_eq!((found[0].kind(), found[0].name(), found[0].namespace()), ("Namespace", "own", None));
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
        let found = build(root.path(), "", &Additions::default()).expect("plain");
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
        let (mut compared, mut with_components) = (0, 0);
        for archive in archives.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "gz")) {
            let root = tempfile::tempdir().expect("a folder");
            let file = fs::File::open(archive.path()).expect("archive");
            tar::Archive::new(flate2::read::GzDecoder::new(file)).unpack(root.path()).expect("unpacked");
            let root = root.path().canonicalize().expect("a path");
            let mut folders = vec![String::new()];
            let mut next = 0;
            while let Some(folder) = folders.get(next).cloned() {
                let inner = fs::read_dir(root.join(&folder)).expect("read").flatten().filter(|entry| entry.path().is_dir());
                folders.extend(inner.filter_map(|entry| join(&folder, entry.file_name().to_str()?)));
                next += 1;
            }
            let is_component = |folder: &&String| {
                fs::read_to_string(root.join(folder).join("kustomization.yaml")).is_ok_and(|text| text.contains("kind: Component"))
            };
            let components: Vec<&String> = folders.iter().filter(is_component).collect();
            for (number, folder) in folders.iter().enumerate() {
                let component = components.get(number % components.len().max(1));
                let up = "../".repeat(folder.split('/').filter(|part| !part.is_empty()).count());
                let component: Vec<String> = component.map(|component| format!("{up}{component}")).into_iter().collect();
                // With a namespace, each kustomize reads the whole OpenAPI first: some folders have to do.
                let ways = [
                    (true, None, vec![], vec![]),
                    (number % 4 == 0, Some("target"), vec![patch.clone()], vec![]),
                    (!component.is_empty() && number % 2 == 0, None, vec![], component.clone()),
                    (!component.is_empty() && number % 8 == 1, Some("target"), vec![], component),
                ];
                for (_, target, patches, components) in ways.into_iter().filter(|(is_tried, ..)| *is_tried) {
                    let simple: Option<Vec<Patch>> = patches.iter().map(Patch::read).collect();
                    let simple = simple.expect("a simple patch");
                    let request = |target: Option<&str>, patches: &[Value]| {
                        let target_namespace = target.map(str::to_owned);
                        let spec = Spec {
                            path: folder.clone(),
                            target_namespace,
                            patches: patches.to_vec(),
                            components: components.clone(),
                            ..Spec::default()
                        };
                        Request { root: root.clone(), content: String::new(), spec, keys: None }
                    };
                    let own: Vec<&String> = components.iter().collect();
                    let more = Additions { namespace: target, components: &own, patches: &simple };
                    let none = serde_json::Map::new();
                    let plain = build(&root, folder, &more).or_else(|| {
                        let own = request(None, &[]);
                        finish(renderer.kustomize(&own, folder, !components.is_empty(), &none).ok()?, target, &simple)
                    });
                    let Some(plain) = plain.filter(|plain| !plain.is_empty()) else { continue };
                    let built = renderer
                        .kustomize(&request(target, &patches), folder, target.is_some() || !components.is_empty(), &none)
                        .unwrap_or_else(|error| panic!("{folder}: {error}"));
                    let values = |resources: Vec<Resource>| resources.into_iter().map(|resource| resource.value).collect::<Vec<_>>();
                    assert_eq!(values(plain), values(built), "{} {folder} {target:?} {components:?}", archive.path().display());
                    compared += 1;
                    with_components += usize::from(!components.is_empty());
                }
            }
        }
        assert!(compared > 60 && with_components > 20, "only {compared} folders were compared, {with_components} with components");
    }
}
