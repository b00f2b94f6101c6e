//! Stand-in of source-controller (and of source-watcher): gives each source object of Flux the artifact that the files at hand make.
//!
//! It writes what the real one writes (`status.artifact`, `observedGeneration`, `lastHandledReconcileAt`, condition Ready) and serves the
//! archives on the loopback. Files come from a map of sources to folders; what is not in the map is a chart or an image that would come from
//! the network: it gets a placeholder, and that is reported. It never fetches anything.
//! Where a real source-controller runs beside it, that one gets what is not in the map: it watches the objects with the label `FETCHED` alone.

mod archive;
mod chart;
mod serve;
mod version;

use super::watch::{Change, api_of, follow_kinds};
use super::{SandboxError, StandIn};
use crate::agent::pin;
use crate::layers::SourceId;
use crate::read::SourceTree;
use crate::repo::{Export, PrivateFolder, Repository};
use jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinSet;

const SOURCES: &str = "source.toolkit.fluxcd.io";
/// Label of the objects that are left to the real source-controller.
pub(super) const FETCHED: &str = "blackstart/fetched";
const EXTENSIONS: &str = "source.extensions.fluxcd.io";

/// The running stand-in.
pub(super) struct Artifacts {
    sources: watch::Sender<BTreeMap<SourceId, SourceTree>>,
    /// Port of the server.
    pub(super) port: u16,
    server: serve::Server,
}

impl Artifacts {
    /// Starts it; it ends with `tasks`. `client` must write as somebody else than the agent.
    /// `real`: a source-controller runs beside it.
    pub(super) async fn start(
        client: &kube::Client,
        real: bool,
        stand_ins: Option<UnboundedSender<StandIn>>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, SandboxError> {
        let server = serve::Server::start(tasks).await?;
        let port = server.port();
        let (sources, receiver) = watch::channel(BTreeMap::new());
        let reconciler = Reconciler {
            real,
            client: client.clone(),
            server: server.clone(),
            sources: BTreeMap::new(),
            known: BTreeMap::new(),
            pending: BTreeSet::new(),
            archives: BTreeMap::new(),
            reported: BTreeSet::new(),
            folder: None,
            stand_ins,
        };
        tasks.spawn(reconciler.run(receiver));
        Ok(Self { sources, port, server })
    }

    /// Whether the server hangs up on everybody; tells how many that has met so far.
    pub(super) fn set_away(&self, is_away: bool) -> usize {
        self.server.set_away(is_away)
    }

    /// Replaces the map; objects whose files have changed get a new artifact.
    pub(super) fn set(&self, sources: Vec<(SourceId, SourceTree)>) {
        self.sources.send_replace(sources.into_iter().collect());
    }
}

type Key = (String, String, String);

/// What an object's status shall say.
enum Outcome {
    /// Ready, with an artifact and further fields of the status.
    Artifact(Arc<Artifact>, Value),
    /// Ready without an artifact, with further fields of the status.
    Ready(Value),
    /// Left to the real source-controller.
    Real,
    /// Not ready, and why.
    Failed(&'static str, String),
}

struct Artifact {
    path: String,
    revision: String,
    digest: String,
    size: usize,
    url: String,
}

struct Reconciler {
    real: bool,
    client: kube::Client,
    server: serve::Server,
    sources: BTreeMap<SourceId, SourceTree>,
    known: BTreeMap<Key, (ApiResource, DynamicObject)>,
    pending: BTreeSet<Key>,
    /// By path without extension and revision: what was packed before.
    archives: BTreeMap<(String, String), Arc<Artifact>>,
    reported: BTreeSet<String>,
    /// Where pinned commits are exported.
    folder: Option<Arc<PrivateFolder>>,
    stand_ins: Option<UnboundedSender<StandIn>>,
}

impl Reconciler {
    async fn run(mut self, mut sources: watch::Receiver<BTreeMap<SourceId, SourceTree>>) {
        let mut changes =
            follow_kinds(self.client.clone(), |group, kind| group == SOURCES || (group == EXTENSIONS && kind == "ArtifactGenerator"));
        loop {
            tokio::select! {
                biased;
                end = sources.changed() => {
                    if end.is_err() {
                        return;
                    }
                    self.sources = sources.borrow_and_update().clone();
                    self.archives.clear();
                    self.again(self.known.keys().cloned().collect()).await;
                }
                change = changes.recv() => match change {
                    Some(Change::Applied(resource, object)) => {
                        let key = key(&object, &resource);
                        let new = self.known.insert(key.clone(), (resource, *object)).is_none();
                        self.again(vec![key]).await;
                        if new && !self.pending.is_empty() {
                            self.again(self.pending.iter().cloned().collect()).await;
                        }
                    }
                    Some(Change::Deleted(resource, object)) => {
                        let key = key(&object, &resource);
                        self.known.remove(&key);
                        self.pending.remove(&key);
                    }
                    None => return,
                },
            }
        }
    }

    async fn again(&mut self, keys: Vec<Key>) {
        for key in keys {
            let Some((resource, object)) = self.known.get(&key).cloned() else { continue };
            let suspended = object.data.pointer("/spec/suspend") == Some(&json!(true));
            if suspended || object.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let outcome =
                self.decide(&resource, &object).await.unwrap_or_else(|error| Outcome::Failed("StorageOperationFailed", error.to_string()));
            if matches!(outcome, Outcome::Failed(..)) {
                self.pending.insert(key.clone());
            } else {
                self.pending.remove(&key);
            }
            let labelled = object.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(FETCHED));
            let real = matches!(outcome, Outcome::Real);
            if real != labelled {
                let label = if real { json!("true") } else { Value::Null };
                let patch = Patch::Merge(json!({"metadata": {"labels": {FETCHED: label}}}));
                let api = api_of(&self.client, &resource, object.metadata.namespace.as_deref());
                let parameters = PatchParams { field_manager: Some("blackstart".to_owned()), ..PatchParams::default() };
                let _ = api.patch(&key.2, &parameters, &patch).await;
            }
            // A write that fails meets a newer state of the object, which comes here by itself.
            let _ = self.write(&resource, &object, outcome).await;
        }
    }

    async fn decide(&mut self, resource: &ApiResource, object: &DynamicObject) -> io::Result<Outcome> {
        let id = SourceId {
            kind: resource.kind.clone(),
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            name: object.metadata.name.clone().unwrap_or_default(),
        };
        let spec = |field: &str| object.data.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        if self.real && self.unmapped(&id, object) {
            return Ok(Outcome::Real);
        }
        match resource.kind.as_str() {
            "HelmRepository" if spec("/spec/type") == "oci" => Ok(Outcome::Ready(json!({}))),
            "HelmRepository" => {
                let index = b"apiVersion: v1\nentries: {}\n".to_vec();
                let revision = digest(&index);
                let artifact = self.publish(&id, "index", "yaml", &revision, index);
                Ok(Outcome::Artifact(artifact, json!({})))
            }
            "HelmChart" => self.helm_chart(&id, object).await,
            "ArtifactGenerator" => self.generator(&id, resource, object).await,
            "OCIRepository" if !self.sources.contains_key(&id) => {
                let url = spec("/spec/url");
                let name = url.trim_end_matches('/').rsplit('/').next().unwrap_or("chart").to_owned();
                let wanted =
                    [spec("/spec/ref/tag"), spec("/spec/ref/semver")].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
                let tag = spec("/spec/ref/tag");
                let version = version::satisfying(&wanted).unwrap_or_else(|| "0.0.1".to_owned());
                let chart = chart::placeholder(&name, &version)?;
                self.report(&id, &format!("{url} cannot be fetched here: a chart {name} {version} with one ConfigMap stands for it"));
                let sum = digest(&chart.bytes);
                let shown = if tag.is_empty() { version } else { tag };
                let revision = format!("{shown}@{sum}");
                Ok(Outcome::Artifact(
                    self.publish(&id, sum.trim_start_matches("sha256:"), "tar.gz", &revision, chart.bytes),
                    json!({"url": url}),
                ))
            }
            _ => match self.sources.get(&id).cloned() {
                Some(tree) => match pinned(object) {
                    Some(commit) if !tree.revision.ends_with(&commit) => match self.at(&tree, &commit).await? {
                        Some(tree) => Ok(Outcome::Artifact(self.tree(&id, tree).await?, json!({}))),
                        None => Ok(Outcome::Failed("GitOperationFailed", format!("commit {commit} is not in the repository of {id}"))),
                    },
                    _ => Ok(Outcome::Artifact(self.tree(&id, tree).await?, json!({}))),
                },
                None => Ok(Outcome::Failed("NoFiles", format!("no files are at hand for {id}; name a folder with --source {id}=PATH"))),
            },
        }
    }

    /// Whether the files of this object can only come from the network.
    fn unmapped(&self, id: &SourceId, object: &DynamicObject) -> bool {
        let source =
            |field: &str| object.data.pointer(&format!("/spec/sourceRef/{field}")).and_then(Value::as_str).unwrap_or_default().to_owned();
        match id.kind.as_str() {
            "ArtifactGenerator" | "ExternalArtifact" => false,
            "HelmChart" => {
                !self.sources.contains_key(&SourceId { kind: source("kind"), namespace: id.namespace.clone(), name: source("name") })
            }
            _ => !self.sources.contains_key(id),
        }
    }

    /// The same files at another commit of their repository; none where it has no such commit.
    async fn at(&mut self, tree: &SourceTree, commit: &str) -> io::Result<Option<SourceTree>> {
        let folder = match &self.folder {
            Some(folder) => folder.clone(),
            None => self.folder.insert(Arc::new(PrivateFolder::new().map_err(io::Error::other)?)).clone(),
        };
        let (tree, commit) = (tree.clone(), commit.to_owned());
        blocking(move || {
            let repository = Repository::open(&tree.repository).map_err(io::Error::other)?;
            let Ok(found) = repository.resolve(&commit) else { return Ok(None) };
            let name = format!("commit-{commit}");
            let root = folder.path().join(&name);
            let root = if root.is_dir() {
                root
            } else {
                repository
                    .export(&Export::Commit(found), &folder, &name)
                    .and_then(|files| Ok(files.root()?.to_owned()))
                    .map_err(io::Error::other)?
            };
            let branch = tree.revision.rsplit_once('@').map_or("HEAD", |(branch, _)| branch);
            let root = root.join(&tree.inside);
            Ok(Some(SourceTree { root, revision: format!("{branch}@sha1:{commit}"), ..tree }))
        })
        .await
    }

    /// The artifact of a mapped folder.
    async fn tree(&mut self, id: &SourceId, tree: SourceTree) -> io::Result<Arc<Artifact>> {
        if let Some(artifact) = self.archives.get(&(id.to_string(), tree.revision.clone())) {
            return Ok(artifact.clone());
        }
        let revision = tree.revision.clone();
        let bytes = blocking(move || {
            // An OCI artifact of a chart holds the chart below its name, not bare.
            if tree.root.join("Chart.yaml").is_file() {
                chart::package(&tree.root, None, None).map(|chart| chart.bytes)
            } else {
                archive::folder(&tree.root)
            }
        })
        .await?;
        let name = revision.rsplit([':', '/']).next().unwrap_or("latest").to_owned();
        Ok(self.publish(id, &name, "tar.gz", &revision, bytes))
    }

    async fn helm_chart(&mut self, id: &SourceId, object: &DynamicObject) -> io::Result<Outcome> {
        let spec = &object.data["spec"];
        let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, range) = (text("/chart"), text("/version"));
        let source = SourceId { kind: text("/sourceRef/kind"), namespace: id.namespace.clone(), name: text("/sourceRef/name") };
        if !self.known.contains_key(&(source.kind.clone(), source.namespace.clone(), source.name.clone())) {
            return Ok(Outcome::Failed("SourceUnavailable", format!("{source} does not exist")));
        }
        let packed = if let Some(tree) = self.sources.get(&source).cloned() {
            let folder = inside(&tree.root, &name)?;
            let metadata = (text("/reconcileStrategy") == "Revision")
                .then(|| tree.revision.rsplit(':').next().unwrap_or_default().chars().take(12).collect::<String>());
            let lenient = spec["ignoreMissingValuesFiles"] == true;
            let files: Vec<PathBuf> = spec["valuesFiles"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(|file| inside(&tree.root, file))
                .collect::<io::Result<_>>()?;
            let packed = blocking(move || {
                let mut texts = Vec::new();
                for file in files.iter().filter(|file| !lenient || file.is_file()) {
                    texts.push(
                        std::fs::read_to_string(file)
                            .map_err(|error| io::Error::other(format!("values file {}: {error}", file.display())))?,
                    );
                }
                let values = if texts.is_empty() { None } else { Some(chart::merged_values(&texts)?) };
                chart::package(&folder, metadata.as_deref(), values)
            })
            .await;
            match packed {
                Ok(packed) => packed,
                Err(error) => return Ok(Outcome::Failed("ChartPackageError", format!("chart {name} of {source}: {error}"))),
            }
        } else {
            let name = name.trim_end_matches('/').rsplit('/').next().unwrap_or("chart").to_owned();
            let version = version::satisfying(&range).unwrap_or_else(|| "0.0.1".to_owned());
            self.report(
                id,
                &format!("chart {name} of {source} cannot be fetched here: a chart {name} {version} with one ConfigMap stands for it"),
            );
            chart::placeholder(&name, &version)?
        };
        if !packed.missing.is_empty() {
            self.report(
                id,
                &format!("the dependencies {} of chart {} are not in its charts folder: left out", packed.missing.join(", "), packed.name),
            );
        }
        let file = format!("{}-{}", packed.name, packed.version);
        let extra = json!({"observedChartName": packed.name});
        Ok(Outcome::Artifact(self.publish(id, &file, "tgz", &packed.version, packed.bytes), extra))
    }

    /// Makes the ExternalArtifacts that a generator would make; their own change then gives them their status.
    async fn generator(&mut self, id: &SourceId, resource: &ApiResource, object: &DynamicObject) -> io::Result<Outcome> {
        self.report(id, "source-watcher does not run here: its artifacts are made from the files at hand");
        let external = ApiResource {
            group: SOURCES.to_owned(),
            version: "v1".to_owned(),
            api_version: format!("{SOURCES}/v1"),
            kind: "ExternalArtifact".to_owned(),
            plural: "externalartifacts".to_owned(),
        };
        let api = api_of(&self.client, &external, Some(&id.namespace));
        let artifacts = object.data.pointer("/spec/artifacts").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut inventory = Vec::new();
        for name in artifacts.iter().filter_map(|artifact| artifact["name"].as_str()) {
            inventory.push(json!({"name": name, "namespace": id.namespace}));
            if self.known.contains_key(&(external.kind.clone(), id.namespace.clone(), name.to_owned())) {
                continue;
            }
            let made = json!({
                "apiVersion": external.api_version, "kind": external.kind,
                "metadata": {"name": name, "namespace": id.namespace, "labels": {"app.kubernetes.io/managed-by": "source-watcher"}},
                "spec": {"sourceRef": {"apiVersion": resource.api_version, "kind": resource.kind, "name": id.name, "namespace": id.namespace}},
            });
            api.patch(name, &PatchParams::apply("source-watcher").force(), &Patch::Apply(made)).await.map_err(io::Error::other)?;
        }
        Ok(Outcome::Ready(json!({"inventory": inventory})))
    }

    fn publish(&mut self, id: &SourceId, file: &str, extension: &str, revision: &str, bytes: Vec<u8>) -> Arc<Artifact> {
        let digest = digest(&bytes);
        let path = format!("{}/{}/{}/{file}.{extension}", id.kind.to_lowercase(), id.namespace, id.name);
        let size = bytes.len();
        let url = self.server.publish(&path, bytes.into());
        let artifact = Arc::new(Artifact { path, revision: revision.to_owned(), digest, size, url });
        self.archives.insert((id.to_string(), revision.to_owned()), artifact.clone());
        artifact
    }

    fn report(&mut self, id: &SourceId, reason: &str) {
        let object = format!("{} {}/{}", id.kind, id.namespace, id.name);
        if self.reported.insert(format!("{object}: {reason}"))
            && let Some(stand_ins) = &self.stand_ins
        {
            let _ = stand_ins.send(StandIn { object, reason: reason.to_owned() });
        }
    }

    async fn write(&self, resource: &ApiResource, object: &DynamicObject, outcome: Outcome) -> Result<(), kube::Error> {
        let status = &object.data["status"];
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut fresh = json!({"observedGeneration": object.metadata.generation});
        if let Some(asked) = object.metadata.annotations.as_ref().and_then(|all| all.get("reconcile.fluxcd.io/requestedAt")) {
            fresh["lastHandledReconcileAt"] = json!(asked);
        }
        let (ready, reason, message, extra) = match outcome {
            Outcome::Real => return Ok(()),
            Outcome::Failed(reason, message) => (false, reason, message, json!({})),
            Outcome::Ready(extra) => (true, "Succeeded", "handled by the sandbox's stand-in".to_owned(), extra),
            Outcome::Artifact(artifact, extra) => {
                let same = status.pointer("/artifact/digest") == Some(&json!(artifact.digest))
                    && status.pointer("/artifact/url") == Some(&json!(artifact.url));
                let since = status.pointer("/artifact/lastUpdateTime").filter(|_| same).cloned().unwrap_or_else(|| json!(now));
                fresh["artifact"] = json!({
                    "url": artifact.url, "path": artifact.path, "revision": artifact.revision, "digest": artifact.digest, "size": artifact.size, "lastUpdateTime": since,
                });
                (true, "Succeeded", format!("stored artifact for revision '{}'", artifact.revision), extra)
            }
        };
        let kinds: &[&str] = if ready && fresh.get("artifact").is_some() { &["Ready", "ArtifactInStorage"] } else { &["Ready"] };
        fresh["conditions"] = kinds
            .iter()
            .map(|kind| {
                let truth = if ready { "True" } else { "False" };
                let before = status["conditions"]
                    .as_array()
                    .and_then(|list| list.iter().find(|condition| condition["type"] == **kind && condition["status"] == truth));
                json!({
                    "type": kind, "status": truth, "reason": reason, "message": message, "observedGeneration": object.metadata.generation,
                    "lastTransitionTime": before.map_or_else(|| json!(now), |condition| condition["lastTransitionTime"].clone()),
                })
            })
            .collect();
        if let (Some(fresh), Value::Object(extra)) = (fresh.as_object_mut(), extra) {
            fresh.extend(extra);
        }
        if fresh.as_object().is_some_and(|fresh| fresh.iter().all(|(field, value)| status.get(field) == Some(value))) {
            return Ok(());
        }
        let api = api_of(&self.client, resource, object.metadata.namespace.as_deref());
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let parameters = PatchParams { field_manager: Some("source-controller".to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"status": fresh}));
        match api.patch_status(name, &parameters, &patch).await {
            // A definition that stands in for the real one may have no status of its own.
            Err(kube::Error::Api(answer)) if answer.code == 404 => api.patch(name, &parameters, &patch).await.map(|_| ()),
            other => other.map(|_| ()),
        }
    }
}

/// A folder as a source: its revision is its commit where it is one of Git, else the digest of its files.
pub fn local_tree(folder: &Path) -> io::Result<SourceTree> {
    let root = folder.canonicalize()?;
    let head = git2::Repository::open(&root).ok().and_then(|repository| Some(repository.head().ok()?.peel_to_commit().ok()?.id()));
    let revision = match head {
        Some(commit) => format!("main@sha1:{commit}"),
        None => format!("local@{}", digest(&archive::folder(&root)?)),
    };
    Ok(SourceTree { repository: root.clone(), root, revision, inside: String::new() })
}

/// The commit that a run has pinned the source at. One that Git declares is what the map stands for already.
fn pinned(object: &DynamicObject) -> Option<String> {
    let entries = object.metadata.managed_fields.iter().flatten();
    let is_ours = entries.into_iter().any(|entry| entry.manager.as_deref() == Some(pin::MANAGER));
    object.data.pointer("/spec/ref/commit").and_then(Value::as_str).filter(|_| is_ours).map(str::to_owned)
}

fn key(object: &DynamicObject, resource: &ApiResource) -> Key {
    (resource.kind.clone(), object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default())
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", super::state::hex(&Sha256::digest(bytes)))
}

/// A folder below a root; `..` never leads out of it.
fn inside(root: &Path, path: &str) -> io::Result<PathBuf> {
    let mut folder = root.to_owned();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(io::Error::other(format!("path {path} leads out of its source"))),
            part => folder.push(part),
        }
    }
    Ok(folder)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
