//! Where the agent starts: found by what the repository declares.
//!
//! In this order of trust: a Kustomization that applies the folder it stands in (`flux bootstrap` writes it); a FluxInstance's `sync`, or
//! the same in the values of a flux-instance chart; a folder with `flux-system/gotk-*.yaml`; else a folder whose Kustomizations no other
//! one applies.

use crate::layers::flux::{Layer, layer};
use crate::layers::{LayerId, SourceId};
use crate::manifest::Resource;
use crate::manifest::yaml::{chunks, documents};
use crate::problem::Origin;
use crate::render::{KUSTOMIZATION_FILES, join};
use crate::repo::{Exported, same_url};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One entry point.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Folder from the root, plain.
    pub(crate) path: String,
    /// The layer that the agent starts with.
    pub(crate) layer: Layer,
    /// URL of its source, where it is written.
    pub(crate) url: Option<String>,
    /// How much it may be trusted; lower is better.
    rank: u8,
}

/// What a repository declares about Flux, as it stands in the files (not rendered).
#[derive(Debug, Default)]
pub(crate) struct Declared {
    kustomizations: Vec<(Layer, String)>,
    syncs: Vec<(Resource, Value)>,
    /// Source objects by id; each cluster of a repository may have its own of the same name.
    sources: BTreeMap<SourceId, Vec<Resource>>,
    folders: Vec<String>,
    /// URLs of the repository itself, where it has remotes.
    remotes: Vec<String>,
    files: Option<Exported>,
    /// Files of kustomize's own kustomizations.
    builds: Vec<String>,
}

impl Declared {
    /// Looks through all YAML files. What cannot be parsed (a chart's template) is passed over here.
    pub(crate) fn scan(exported: &Exported, remotes: Vec<String>) -> Self {
        let mut declared = Self { remotes, files: Some(exported.clone()), ..Self::default() };
        for file in exported.files.iter().filter(|file| crate::render::is_yaml(file)) {
            let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
            if KUSTOMIZATION_FILES.contains(&name) {
                declared.builds.push(file.clone());
            }
            if name.starts_with("gotk-")
                && let Some(cluster) = folder.strip_suffix("flux-system").map(|cluster| cluster.trim_end_matches('/'))
            {
                declared.folders.push(cluster.to_owned());
            }
            let Some(text) = exported.text(file) else { continue };
            let telling = ["kustomize.toolkit.fluxcd.io/", "source.toolkit.fluxcd.io/", "fluxcd.controlplane.io/", "sync:"];
            if !telling.iter().any(|word| text.contains(word)) {
                continue;
            }
            for (before, chunk) in chunks(&text) {
                if !telling.iter().any(|word| chunk.contains(word)) {
                    continue;
                }
                for document in documents(chunk).unwrap_or_default() {
                    let origin = Origin { file: file.clone(), line: before + document.line };
                    declared.add(Resource { value: document.value, origin: Some(origin) }, folder);
                }
            }
        }
        declared.folders.dedup();
        declared
    }

    fn add(&mut self, resource: Resource, folder: &str) {
        match (resource.group(), resource.kind()) {
            ("kustomize.toolkit.fluxcd.io", "Kustomization") => {
                if let Ok(layer) = layer(resource, None) {
                    self.kustomizations.push((layer, folder.to_owned()));
                }
            }
            ("source.toolkit.fluxcd.io", kind @ ("GitRepository" | "OCIRepository" | "Bucket")) => {
                let namespace = resource.namespace().unwrap_or("default").to_owned();
                let id = SourceId { kind: kind.to_owned(), namespace, name: resource.name().to_owned() };
                self.sources.entry(id).or_default().push(resource);
            }
            ("fluxcd.controlplane.io", "FluxInstance") => {
                if let Some(sync) = resource.value.pointer("/spec/sync").cloned() {
                    self.syncs.push((resource, sync));
                }
            }
            ("helm.toolkit.fluxcd.io", "HelmRelease") => {
                if let Some(sync) = resource.value.pointer("/spec/values/instance/sync").cloned() {
                    self.syncs.push((resource, sync));
                }
            }
            _ => {}
        }
    }

    /// Whether Flux has something in a folder or below it.
    pub(crate) fn are_in(&self, path: &str) -> bool {
        let syncs = self.syncs.iter().filter_map(|(resource, _)| resource.origin.as_ref());
        let mut files = syncs.chain(self.kustomizations.iter().filter_map(|(layer, _)| layer.declaration.origin.as_ref()));
        files.any(|origin| is_inside(&origin.file, path))
            || self.folders.iter().any(|folder| folder == path)
            || self.all().contains_key(path)
    }

    /// The source object of this id, that of the cluster at `path` where it has one.
    pub(crate) fn source(&self, id: &SourceId, path: &str) -> Option<&Resource> {
        let all = self.sources.get(id)?;
        let here = |source: &&Resource| source.origin.as_ref().is_some_and(|origin| is_inside(folder_of(&origin.file), path));
        all.iter().find(here).or(all.last())
    }

    /// All entry points, the most trusted ones only, by path.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let all = self.all();
        let best = all.values().map(|entry| entry.rank).min().unwrap_or_default();
        // The first three ways are equally good: clusters of one repository may be set up differently.
        all.into_values().filter(|entry| entry.rank == best || entry.rank < 3).collect()
    }

    fn all(&self) -> BTreeMap<String, Entry> {
        let mut found: BTreeMap<String, Entry> = BTreeMap::new();
        let mut add = |entry: Entry| {
            let known = found.get(&entry.path).is_some_and(|known| known.rank <= entry.rank);
            if !known {
                found.insert(entry.path.clone(), entry);
            }
        };
        for (layer, folder) in &self.kustomizations {
            let Some(path) = join("", &layer.spec.path).filter(|_| !self.is_of_another(layer, folder)) else { continue };
            let own_source = self.source(&layer.source, folder).and_then(|source| source.origin.as_ref());
            let declared_here = own_source.is_some_and(|origin| folder_of(&origin.file) == folder);
            // A whole source of another repository holds every folder too.
            if is_inside(folder, &path) && (declared_here || !path.is_empty() && folder.ends_with("flux-system")) {
                let source = self.source(&layer.source, &path);
                let url = source.map(|source| source.text("/spec/url").to_owned()).filter(|url| !url.contains("${"));
                add(Entry { path, layer: layer.clone(), url, rank: 0 });
            }
        }
        for (resource, sync) in &self.syncs {
            let text = |key: &str| sync.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
            let Some(path) = text("path").and_then(|path| join("", path)) else { continue };
            let target = Some(resource.text("/spec/targetNamespace")).filter(|target| !target.is_empty());
            let namespace = target.or(resource.namespace()).unwrap_or("flux-system");
            // The operator names what it makes after the namespace (flux-operator docs, `fluxinstance.md`, "Sync configuration").
            let name = text("name").unwrap_or(namespace);
            let layer = synthetic(&path, (namespace, name), (text("kind").unwrap_or("GitRepository"), name), resource.origin.clone());
            let layer = super::instance::patched(layer, resource);
            add(Entry { path, layer, url: text("url").map(str::to_owned), rank: 1 });
        }
        for path in &self.folders {
            add(default_entry(path, 2));
        }
        if found.is_empty() {
            let applied = self.applied();
            for (_, folder) in &self.kustomizations {
                if !applied.iter().any(|path| is_inside(folder, path)) {
                    found.entry(folder.clone()).or_insert_with(|| default_entry(folder, 3));
                }
            }
            // A folder below another one belongs to it.
            let paths: Vec<String> = found.keys().cloned().collect();
            found.retain(|path, _| !paths.iter().any(|other| other != path && is_inside(path, other)));
        }
        found
    }

    /// Whether a layer that takes its source whole most likely takes it from another repository, or gets its path from a patch: every
    /// folder is inside of the root, so that its path tells nothing.
    fn is_of_another(&self, layer: &Layer, folder: &str) -> bool {
        if join("", &layer.spec.path).is_none_or(|path| !path.is_empty()) || folder.ends_with("flux-system") {
            return false;
        }
        let url = self.source(&layer.source, folder).map_or("", |source| source.text("/spec/url"));
        let is_ours = self.remotes.iter().any(|remote| same_url(remote, url));
        let has_path = layer.declaration.value.pointer("/spec/path").is_some();
        !has_path || layer.source.kind != "GitRepository" || !is_ours && !self.remotes.is_empty() && !url.is_empty()
    }

    /// Folders that layers apply, with those that kustomizations in them lead to.
    fn applied(&self) -> Vec<String> {
        let own = self.kustomizations.iter().filter(|(layer, folder)| !self.is_of_another(layer, folder));
        let mut open: Vec<String> = own.filter_map(|(layer, _)| join("", &layer.spec.path)).collect();
        let mut found = BTreeSet::new();
        let Some(files) = &self.files else { return open };
        while let Some(folder) = open.pop() {
            if !found.insert(folder.clone()) {
                continue;
            }
            for file in self.builds.iter().filter(|file| is_inside(folder_of(file), &folder)) {
                open.extend(leads(files, file).into_iter().filter(|path| files.has_folder(path)));
            }
        }
        found.into_iter().collect()
    }

    /// The entry point at a folder: as declared, else as `flux bootstrap` would name it.
    pub(crate) fn at(&self, path: &str) -> Entry {
        if let Some(entry) = self.all().remove(path) {
            return entry;
        }
        let declared = self
            .kustomizations
            .iter()
            .find(|(layer, folder)| join("", &layer.spec.path).as_deref() == Some(path) && is_inside(folder, path));
        match declared {
            Some((layer, _)) => Entry { path: path.to_owned(), layer: layer.clone(), url: None, rank: 0 },
            None => default_entry(path, 4),
        }
    }
}

/// Files and folders that the kustomization in a file takes.
pub(crate) fn leads(files: &Exported, file: &str) -> Vec<String> {
    let text = files.text(file).unwrap_or_default();
    let Some(kustomization) = documents(&text).ok().and_then(|found| found.into_iter().next()) else { return Vec::new() };
    let lists = ["resources", "bases", "components"].into_iter().filter_map(|field| kustomization.value.get(field)?.as_array());
    lists.flatten().filter_map(|entry| join(folder_of(file), entry.as_str()?)).collect()
}

fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Whether a folder is the other one or below it.
pub(crate) fn is_inside(folder: &str, other: &str) -> bool {
    other.is_empty() || folder == other || folder.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
}

fn default_entry(path: &str, rank: u8) -> Entry {
    let layer = synthetic(path, ("flux-system", "flux-system"), ("GitRepository", "flux-system"), None);
    Entry { path: path.to_owned(), layer, url: None, rank }
}

/// The Kustomization that `flux bootstrap` or the operator would make; as they write it.
fn synthetic(path: &str, (namespace, name): (&str, &str), (kind, source): (&str, &str), origin: Option<Origin>) -> Layer {
    let value = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "interval": "10m",
            "path": format!("./{path}"),
            "prune": true,
            "sourceRef": {"kind": kind, "name": source},
        },
    });
    let id = LayerId::new(namespace, name);
    let source = SourceId { kind: kind.to_owned(), namespace: namespace.to_owned(), name: source.to_owned() };
    let spec = serde_json::from_value(value["spec"].clone()).unwrap_or_default();
    Layer { id, parent: None, source, spec, declaration: Resource { value, origin } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(files: &[(&str, &str)]) -> Vec<String> {
        let exported = Exported::of(files);
        let found = Declared::scan(&exported, vec!["https://example.com/fleet.git".to_owned()]).entries();
        found.into_iter().map(|entry| format!("{} {} {}", entry.path, entry.layer.id, entry.layer.source)).collect()
    }

    fn kustomization(name: &str, path: &str, source: &str) -> String {
        format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}, namespace: flux-system}}\nspec:\n  path: {path}\n  sourceRef: {{kind: GitRepository, name: {source}}}\n"
        )
    }

    const SOURCE: &str = "---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: fleet, namespace: flux-system}\nspec: {url: https://example.com/fleet}\n";

    #[test]
    fn a_kustomization_that_applies_its_own_folder_is_the_entry() {
        let sync = kustomization("fleet", "./clusters/a", "fleet") + SOURCE;
        let other = kustomization("apps", "./", "elsewhere");
        let found = entries(&[("clusters/a/flux-system/gotk-sync.yaml", &sync), ("clusters/a/apps.yaml", &other)]);
        assert_eq!(found, ["clusters/a flux-system/fleet GitRepository/flux-system/fleet"]);
    }

    #[test]
    fn a_layer_that_takes_another_source_whole_is_no_entry() {
        let whole = |kind: &str, url: &str| {
            format!(
                "---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: {kind}\nmetadata: {{name: other, namespace: flux-system}}\nspec: {{url: '{url}'}}\n---\n{}",
                kustomization("other", "./", "other").replace("GitRepository", kind)
            )
        };
        let sync = kustomization("fleet", "./clusters/a", "fleet") + SOURCE;
        for other in [whole("OCIRepository", "oci://example.com/x"), whole("GitRepository", "https://example.com/x")] {
            let with = [("clusters/a/flux-system/gotk-sync.yaml", sync.as_str()), ("clusters/a/other.yaml", other.as_str())];
            assert_eq!(entries(&with), ["clusters/a flux-system/fleet GitRepository/flux-system/fleet"]);
            let alone = [("clusters/a/other.yaml", other.as_str())];
            assert_eq!(entries(&alone), ["clusters/a flux-system/flux-system GitRepository/flux-system/flux-system"]);
        }
        let own = whole("GitRepository", "ssh://git@example.com/fleet");
        assert_eq!(entries(&[("clusters/a/own.yaml", own.as_str())]), [" flux-system/other GitRepository/flux-system/other"]);
    }

    #[test]
    fn what_a_cluster_applies_through_a_base_is_no_entry_of_its_own() {
        let tenants = kustomization("tenants", "./tenants/staging", "flux-system");
        let tenant = format!("{SOURCE}---\n{}", kustomization("team", "./", "fleet").replace("  path: ./\n", ""));
        let found = entries(&[
            ("clusters/staging/tenants.yaml", &tenants),
            ("tenants/base/team/sync.yaml", &tenant),
            ("tenants/base/team/kustomization.yaml", "resources: [sync.yaml]\n"),
            ("tenants/staging/kustomization.yaml", "resources: [../base/team]\npatches: [{path: team.yaml}]\n"),
            ("tenants/staging/team.yaml", &kustomization("team", "./staging", "fleet")),
        ]);
        assert_eq!(found, ["clusters/staging flux-system/flux-system GitRepository/flux-system/flux-system"]);
    }

    #[test]
    fn each_cluster_is_an_entry_however_it_is_set_up() {
        let instance = "apiVersion: fluxcd.controlplane.io/v1\nkind: FluxInstance\nmetadata: {name: flux, namespace: flux-system}\nspec:\n  sync: {kind: OCIRepository, url: 'oci://x', path: clusters/b}\n";
        let found = entries(&[("clusters/a/flux-system/gotk-sync.yaml", "# empty\n"), ("clusters/b/flux-system/instance.yaml", instance)]);
        assert_eq!(
            found,
            [
                "clusters/a flux-system/flux-system GitRepository/flux-system/flux-system",
                "clusters/b flux-system/flux-system OCIRepository/flux-system/flux-system"
            ]
        );
    }

    #[test]
    fn without_a_sync_the_folder_that_nobody_applies_is_the_entry() {
        let found = entries(&[
            ("flux/cluster/ks.yaml", &kustomization("apps", "./apps", "flux-system")),
            ("apps/x/ks.yaml", &kustomization("x", "./apps/x/app", "flux-system")),
        ]);
        assert_eq!(found, ["flux/cluster flux-system/flux-system GitRepository/flux-system/flux-system"]);
    }

    #[test]
    fn what_an_instance_makes_is_called_after_its_namespace_and_patched_by_it() {
        let patches = "  kustomize:\n    patches:\n    - target: {kind: Kustom.*, name: gitops}\n      patch: |\n        - {op: add, path: /spec/postBuild, value: {substituteFrom: [{kind: ConfigMap, name: info}]}}\n        - {op: replace, path: /spec/prune, value: false}\n    - target: {kind: OCIRepository}\n      patch: '[{op: add, path: /spec/wait, value: true}]'\n    - patch: |\n        apiVersion: kustomize.toolkit.fluxcd.io/v1\n        kind: Kustomization\n        metadata: {name: gitops}\n        spec: {timeout: 3m, interval: null}\n";
        let instance = format!(
            "apiVersion: fluxcd.controlplane.io/v1\nkind: FluxInstance\nmetadata: {{name: flux, namespace: gitops}}\nspec:\n  sync: {{kind: OCIRepository, url: 'oci://x', path: clusters/b}}\n{patches}"
        );
        let found = Declared::scan(&Exported::of(&[("a.yaml", &instance)]), Vec::new()).entries();
        let layer = &found.first().expect("an entry").layer;
        assert_eq!(
            (layer.id.to_string(), layer.source.to_string()),
            ("gitops/gitops".to_owned(), "OCIRepository/gitops/gitops".to_owned())
        );
        let spec = &layer.spec;
        let from = spec.post_build.as_ref().map(|post_build| post_build.substitute_from[0].name.clone());
        assert_eq!(
            (from.as_deref(), spec.prune, spec.wait, spec.timeout.as_deref(), &spec.interval),
            (Some("info"), false, false, Some("3m"), &None)
        );
    }
}
