//! From a repository to all its layers with their objects: drives `repo`, `render` and `layers`, in parallel, and collects every problem.

pub mod charts;
mod checks;
mod commands;
mod components;
mod entry;
mod environment;
mod footprint;
mod infrastructure;
mod instance;
mod open;
mod origins;
mod releases;
mod roots;
pub mod signatures;
mod sources;
#[cfg(test)]
mod tests;
mod variables;
mod walk;
mod written;

pub use components::agent_components;
pub use environment::{SecretValues, Unavailable, environment, environments, held_by_aws, is_for_decryption, local, place, secrets};
pub use footprint::{Footprint, footprint, footprints};
pub use written::written;

use crate::environment::check::Check;
use crate::environment::{Command, Environment};
use crate::layers::argo::is_application;
use crate::layers::flux::{Layer, is_kustomization, is_release};
use crate::layers::operator;
use crate::layers::scope::Scopes;
use crate::layers::{LayerId, SourceId};
use crate::manifest::{ObjectId, Resource};
use crate::problem::{Origin, Problem, Unknown, nearest};
use crate::render::{Renderer, join};
use crate::repo::{Export, PrivateFolder, RepoError, Repository};
use entry::{Declared, Entry, is_inside};
use roots::Applications;
use sources::Sources;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use variables::Known;
use walk::Walk;

/// What to read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Any folder inside the repository.
    pub path: PathBuf,
    /// Folder that the agent starts from, from the root of the repository; found where absent.
    pub entrypoint: Option<String>,
    /// Which files.
    pub revision: Revision,
    /// `--source MATCH=PATH`: `Kind/namespace/name`, a URL or the last part of a URL, and a clone.
    pub sources: Vec<(String, PathBuf)>,
    /// Use the environment's keys to decrypt what is encrypted.
    pub decrypt: bool,
    /// Files with the keys that commits must be signed with, instead of those of `spec.git.verify`: allowed signers of SSH, OpenPGP keys.
    pub allowed_signers: Vec<PathBuf>,
}

/// Which files of PATH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Revision {
    /// As they are on disk.
    #[default]
    WorkingTree,
    /// Of a commit, by any name that Git knows.
    Named(String),
}

/// Why nothing could be read at all. What is wrong inside the input is in [`Reading::problems`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepoError),
    /// The environment.
    #[error("the environment cannot be read")]
    Invalid {
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// A file.
    #[error("{}: cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No entry point.
    #[error("{}: no entry point of Flux or Argo CD was found", path.display())]
    NoEntrypoint {
        /// Where it was looked for.
        path: PathBuf,
        /// Charts whose templates are Applications of Argo CD.
        charts: Vec<String>,
    },
    /// More than one.
    #[error("{}: has several entry points: {}", path.display(), found.join(", "))]
    SeveralEntrypoints {
        /// Where it was looked for.
        path: PathBuf,
        /// Their folders.
        found: Vec<String>,
    },
    /// The one that was asked for is not there.
    #[error("entry point {entrypoint}: no such folder in the repository")]
    MissingEntrypoint {
        /// What was asked for.
        entrypoint: String,
        /// Folders that are called alike, or all entry points.
        near: Vec<String>,
    },
    /// Nothing that Argo CD could start with.
    #[error("{path}: no Application can be read there")]
    NoApplication {
        /// Folder or file.
        path: String,
    },
    /// A value of the environment's secrets.
    #[error("Secret {secret}: its value cannot be had from {what}: {why}")]
    Secret {
        /// `namespace/name`.
        secret: String,
        /// Where it should come from.
        what: String,
        /// Why it did not.
        why: String,
    },
    /// The agent's components.
    #[error("the agent's components in {path} cannot be read: {why}")]
    Components {
        /// Folder or file.
        path: String,
        /// Why.
        why: String,
    },
    /// The reader itself was stopped.
    #[error("reading was stopped")]
    Stopped,
}

impl ReadError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Repository(error) => error.hint(),
            Self::NoEntrypoint { charts, .. } => Some(match charts.first() {
                Some(chart) => {
                    format!("{chart} is a chart of Applications: name it with its values as spec.agent.argocd.root in blackstart.yaml")
                }
                None => "give the folder that the agent starts from: --entrypoint FOLDER".to_owned(),
            }),
            Self::SeveralEntrypoints { found, .. } => {
                let flag = found.first().map_or(String::new(), |first| format!("--entrypoint {first}"));
                Some(format!("choose one: {flag} (or spec.agent in blackstart.yaml)"))
            }
            Self::NoApplication { .. } => Some("its ApplicationSets give none: see what their generators look for".to_owned()),
            Self::MissingEntrypoint { near, .. } if !near.is_empty() => Some(format!("did you mean {}?", near.join(", "))),
            _ => None,
        }
    }
}

/// Reads everything that the entry point leads to.
pub async fn read(options: &ReadOptions, environment: &Environment) -> Result<Reading, ReadError> {
    read_with(options, environment, SecretValues::default()).await
}

/// The same with values of secrets that this machine does not have by itself.
pub async fn read_with(options: &ReadOptions, environment: &Environment, fetched: SecretValues) -> Result<Reading, ReadError> {
    let (options, environment) = (options.clone(), environment.clone());
    tokio::task::spawn_blocking(move || read_all(&options, &environment, fetched)).await.map_err(|_| ReadError::Stopped)?
}

/// As [`read`], in the calling thread (rendering uses all cores).
pub fn read_blocking(options: &ReadOptions, environment: &Environment) -> Result<Reading, ReadError> {
    read_all(options, environment, SecretValues::default())
}

fn read_all(options: &ReadOptions, environment: &Environment, fetched: SecretValues) -> Result<Reading, ReadError> {
    let repository = Repository::open(&options.path)?;
    let folder = Arc::new(PrivateFolder::new()?);
    let mut sources = Sources::new(options, repository, &folder)?;
    let exported = sources.exported();
    let declared = Declared::scan(exported, sources.repository().remotes());
    let revision = exported.revision.clone();
    let start = choose(options, environment, &sources, &declared)?;
    let renderer = Renderer::new(Arc::clone(&folder)).with_bases(sources.clones()?);
    let secrets = if options.decrypt { fetched.and_local(environment) } else { SecretValues::default() };
    let known = Known::new(environment, &secrets);
    let (mut walk, layers, entrypoint);
    let entry_id = match start {
        Start::Flux(entry) => {
            let source = entry.layer.source.clone();
            sources.set_entry(source.clone(), entry.url.clone(), declared.source(&source, &entry.path).cloned());
            let id = entry.layer.id.clone();
            entrypoint = entry.path;
            walk = Walk::new(&mut sources, &renderer, &secrets, known);
            layers = walk.run(entry.layer)?;
            id
        }
        Start::Argo { path, applications } => {
            let roots = roots::roots(environment, &path, &applications, &mut sources, &renderer)?;
            let namespace = roots.home.namespace.clone();
            entrypoint = path;
            walk = Walk::new(&mut sources, &renderer, &secrets, known);
            layers = walk.run_argo(roots)?;
            match layers.first() {
                Some(first) => first.layer.id.clone(),
                None if walk.problems.is_empty() && walk.unknowns.is_empty() => {
                    return Err(ReadError::NoApplication { path: folder_or_root(entrypoint) });
                }
                // A set that asks a cluster, or is wrong, gives no layer; why is told.
                None => LayerId::new(&namespace, ""),
            }
        }
    };
    let (mut problems, mut unknowns) = (std::mem::take(&mut walk.problems), std::mem::take(&mut walk.unknowns));
    let mut assumed = std::mem::take(&mut walk.assumed);
    assumed.dedup();
    let mut sets = std::mem::take(&mut walk.made);
    let mut scopes = Scopes::default();
    layers.iter().flat_map(|read| &read.objects).chain(sets.values().flat_map(ReadSet::objects)).for_each(|object| scopes.declare(object));
    operator::place(sets.values_mut().flat_map(|set| &mut set.steps).flatten(), &scopes);
    let known = walk.into_known();
    let made = releases::render(&layers, &sets, &mut sources, &renderer, &known)?;
    problems.extend(made.problems);
    unknowns.extend(made.unknowns);
    let exported = sources.exported();
    let root = if environment.spec.infrastructure.is_empty() { folder.path() } else { exported.root()? };
    let tree = infrastructure::Tree { root, files: &exported.files, content: &exported.content };
    let (infrastructure, more) = infrastructure::read(environment, &tree, &renderer, &layers);
    problems.extend(more);
    let (commands, more) = commands::read(environment, &tree, sources.repository().root());
    problems.extend(more);
    let (checks, more) = checks::read(environment);
    problems.extend(more);
    let signed = signatures::check(sources.repository(), &revision, options, environment)?.map(|(signed, more)| {
        problems.extend(more);
        signed
    });
    problems.sort_by(|a, b| (&a.origin, a.rule, &a.message).cmp(&(&b.origin, b.rule, &b.message)));
    problems.dedup();
    unknowns.sort();
    unknowns.dedup();
    Ok(Reading {
        revision,
        entry: entry_id.clone(),
        entrypoint,
        layers: in_order(layers, &entry_id),
        charts: made.objects,
        sets,
        infrastructure,
        commands,
        checks,
        sources: sources.finish(),
        problems,
        unknowns,
        assumed,
        signed,
        folder: Some(folder),
    })
}

/// Parents before children, children as their parent declares them: the same each time, whichever layer was rendered first.
fn in_order(layers: Vec<ReadLayer>, entry: &LayerId) -> Vec<ReadLayer> {
    let mut left: BTreeMap<LayerId, ReadLayer> = layers.into_iter().map(|read| (read.layer.id.clone(), read)).collect();
    let mut ordered: Vec<ReadLayer> = left.remove(entry).into_iter().collect();
    // Argo CD may have several roots.
    let roots: Vec<LayerId> = left.values().filter(|read| read.layer.parent.is_none()).map(|read| read.layer.id.clone()).collect();
    ordered.extend(roots.iter().filter_map(|id| left.remove(id)));
    let mut at = 0;
    while at < ordered.len() {
        let parent = ordered[at].layer.id.clone();
        let declared = ordered[at].objects.iter().filter(|object| is_kustomization(object) || is_application(object));
        let mut ids: Vec<LayerId> = declared.map(|object| LayerId::new(object.namespace().unwrap_or("default"), object.name())).collect();
        // What an ApplicationSet gives is no object of its layer.
        ids.extend(left.values().filter(|read| read.layer.parent.as_ref() == Some(&parent)).map(|read| read.layer.id.clone()));
        for id in ids {
            if left.get(&id).is_some_and(|read| read.layer.parent.as_ref() == Some(&parent)) {
                ordered.extend(left.remove(&id));
            }
        }
        at += 1;
    }
    ordered.extend(left.into_values());
    ordered
}

/// Folders of all entry points of a repository: Flux' where it has some, else those of Argo CD.
pub fn entrypoints(path: &Path, revision: &Revision) -> Result<Vec<String>, ReadError> {
    let repository = Repository::open(path)?;
    let folder = Arc::new(PrivateFolder::new()?);
    let what = match revision {
        Revision::WorkingTree => Export::WorkingTree,
        Revision::Named(name) => Export::Commit(repository.resolve(name)?),
    };
    let exported = repository.export(&what, &folder, "path")?;
    let of_flux: Vec<String> =
        Declared::scan(&exported, repository.remotes()).entries().into_iter().map(|entry| folder_or_root(entry.path)).collect();
    if !of_flux.is_empty() {
        return Ok(of_flux);
    }
    Ok(Applications::scan(&exported).folders().into_iter().map(folder_or_root).collect())
}

fn folder_or_root(path: String) -> String {
    if path.is_empty() { ".".to_owned() } else { path }
}

/// Where reading starts.
enum Start {
    Flux(Box<Entry>),
    /// A folder or file with root Applications.
    Argo {
        path: String,
        applications: Applications,
    },
}

/// Which entry point: the one asked for, the environment's, or the only one (in or around PATH, where that is a folder inside).
fn choose(options: &ReadOptions, environment: &Environment, sources: &Sources, declared: &Declared) -> Result<Start, ReadError> {
    let exported = sources.exported();
    let inside = sources.repository().inside();
    let asked = options.entrypoint.as_ref().or(environment.spec.agent.entrypoint.as_ref());
    let argocd = environment.spec.agent.argocd.as_ref();
    if let Some(root) = argocd.and_then(|argocd| argocd.root.as_ref()).filter(|_| options.entrypoint.is_none()) {
        return Ok(Start::Argo { path: join("", &root.path).unwrap_or_default(), applications: Applications::default() });
    }
    let entries = if argocd.is_some() { Vec::new() } else { declared.entries() };
    if let Some(asked) = asked {
        // Relative to where one stands is fine too.
        let places = [join("", asked), join(inside, asked)];
        let is_folder = |path: &&String| exported.has_folder(path);
        if let Some(path) = places.iter().flatten().find(is_folder)
            && argocd.is_none()
            && declared.are_in(path)
        {
            return Ok(Start::Flux(Box::new(declared.at(path))));
        }
        let applications = Applications::scan(exported);
        if let Some(path) = places.iter().flatten().find(|path| applications.are_in(path)) {
            return Ok(Start::Argo { path: path.clone(), applications });
        }
        if let Some(path) = places.iter().flatten().find(is_folder).filter(|_| argocd.is_none()) {
            return Ok(Start::Flux(Box::new(declared.at(path))));
        }
        let folders = exported.files.iter().filter_map(|file| file.rsplit_once('/').map(|(folder, _)| folder));
        let mut near = nearest(asked.trim_start_matches("./"), folders);
        near.retain(|near| near != asked);
        if near.is_empty() {
            near = entries.iter().map(|entry| entry.path.clone()).chain(applications.folders()).collect();
        }
        return Err(ReadError::MissingEntrypoint { entrypoint: asked.clone(), near });
    }
    if !entries.is_empty() {
        return only(&options.path, inside, &entries, |entry| &entry.path).map(|entry| Start::Flux(Box::new(entry.clone())));
    }
    let applications = Applications::scan(exported);
    let folders = applications.folders();
    let path = match only(&options.path, inside, &folders, |folder| folder) {
        Err(ReadError::NoEntrypoint { path, .. }) => return Err(ReadError::NoEntrypoint { path, charts: applications.charts }),
        found => found?.clone(),
    };
    Ok(Start::Argo { path, applications })
}

/// The only entry point in or around PATH, where that is a folder inside, else the only one.
fn only<'e, E>(asked: &Path, inside: &str, entries: &'e [E], path: impl Fn(&E) -> &String) -> Result<&'e E, ReadError> {
    let around = |entry: &&E| is_inside(inside, path(entry)) && !path(entry).is_empty();
    let mut found: Vec<&E> = if inside.is_empty() { Vec::new() } else { entries.iter().filter(around).collect() };
    if found.is_empty() {
        found = entries.iter().filter(|entry| is_inside(path(entry), inside)).collect();
    }
    if found.is_empty() {
        found = entries.iter().collect();
    }
    match found.as_slice() {
        [only] => Ok(only),
        [] => Err(ReadError::NoEntrypoint { path: asked.to_owned(), charts: Vec::new() }),
        several => {
            let found = several.iter().map(|entry| folder_or_root(path(entry).clone())).collect();
            Err(ReadError::SeveralEntrypoints { path: asked.to_owned(), found })
        }
    }
}

/// All that one entry point leads to.
#[derive(Debug)]
pub struct Reading {
    /// Commit of PATH: 40 hex digits, with `-dirty` for a changed working tree.
    pub revision: String,
    /// The entry layer.
    pub entry: LayerId,
    /// Folder of the entry layer, from the root of PATH's repository.
    pub entrypoint: String,
    /// Every layer, parents before children, otherwise in the order of declaration.
    pub layers: Vec<ReadLayer>,
    /// What the charts of HelmReleases make, by release, where the chart stands in Git.
    pub charts: BTreeMap<ObjectId, Vec<Resource>>,
    /// What ResourceSets give, by set.
    pub sets: Sets,
    /// Cloud resources of the environment's infrastructure folders.
    pub infrastructure: Vec<Resource>,
    /// Its commands; variables replaced, outputs as marks ([`crate::layers::outputs`]).
    pub commands: Vec<Command>,
    /// Its checks; variables replaced, outputs as marks.
    pub checks: Vec<Check>,
    /// Every source that a layer, a HelmRelease or an ArtifactGenerator names or that is declared.
    pub sources: BTreeMap<SourceId, Source>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What cannot be known from Git.
    pub unknowns: Vec<Unknown>,
    /// Where the files of one commit stand for those of another that this clone lacks: good for a plan, problems of a run.
    pub assumed: Vec<Problem>,
    /// The signatures that were checked; none where nobody asked for it.
    pub signed: Option<signatures::Signed>,
    /// Keeps the files of all sources; they are removed with the last owner.
    pub folder: Option<Arc<PrivateFolder>>,
}

/// What ResourceSets give, by set.
pub type Sets = BTreeMap<ObjectId, ReadSet>;

/// What a ResourceSet gives.
#[derive(Debug, Default)]
pub struct ReadSet {
    /// Objects, by step; a set without steps has one.
    pub steps: Vec<Vec<Resource>>,
    /// Where each entry of its `dependsOn` stands.
    pub dependencies: Vec<Option<Origin>>,
}

impl ReadSet {
    /// Its objects.
    pub fn objects(&self) -> impl Iterator<Item = &Resource> {
        self.steps.iter().flatten()
    }
}

/// Objects, each followed by those that it gives where it is a ResourceSet.
fn with_sets<'r>(objects: &'r [Resource], sets: &'r Sets) -> impl Iterator<Item = &'r Resource> {
    objects.iter().flat_map(|object| std::iter::once(object).chain(given(object, sets)))
}

/// What a ResourceSet gives, and what the sets among that give.
fn given<'r>(object: &'r Resource, sets: &'r Sets) -> Vec<&'r Resource> {
    if sets.is_empty() || !operator::is_resource_set(object) {
        return Vec::new();
    }
    let (mut found, mut left, mut seen) = (Vec::new(), vec![object], BTreeSet::new());
    while let Some(set) = left.pop() {
        // A set may give itself.
        if seen.insert(set.id()) {
            let objects = sets.get(&set.id()).into_iter().flat_map(ReadSet::objects);
            found.extend(objects.inspect(|object| left.extend(operator::is_resource_set(object).then_some(*object))));
        }
    }
    found
}

impl Reading {
    /// What a ResourceSet gives, and what the sets among that give; nothing for any other object.
    pub fn given<'r>(&'r self, object: &'r Resource) -> Vec<&'r Resource> {
        given(object, &self.sets)
    }

    /// Objects of a layer, and those that its ResourceSets give.
    pub fn with_sets<'r>(&'r self, read: &'r ReadLayer) -> impl Iterator<Item = &'r Resource> {
        with_sets(&read.objects, &self.sets)
    }

    /// The same with those that the charts of its releases make.
    pub fn with_charts<'r>(&'r self, read: &'r ReadLayer) -> impl Iterator<Item = &'r Resource> {
        let made = |object: &'r Resource| if is_release(object) { self.charts.get(&object.id()) } else { None };
        self.with_sets(read).flat_map(move |object| std::iter::once(object).chain(made(object).into_iter().flatten()))
    }

    /// The line at an origin, for messages.
    pub fn excerpt(&self, origin: &Origin) -> Option<String> {
        self.text(&origin.file)?.lines().nth(origin.line.saturating_sub(1) as usize).map(str::to_owned)
    }

    /// The file of an origin.
    pub fn text(&self, file: &str) -> Option<String> {
        let roots = self.sources.values().filter_map(|source| source.tree.as_ref());
        let (name, file) = file.split_once(':').map_or((None, file), |(name, file)| (Some(name), file));
        let named = |tree: &&SourceTree| name.is_none_or(|name| tree.repository.file_name().is_some_and(|last| last == name));
        let own = |tree: &SourceTree| file.strip_prefix(tree.inside.as_str()).map(|file| tree.root.join(file));
        // A source that is put together from others has the file under another name: the repository itself is the last resort.
        roots
            .clone()
            .filter(named)
            .find_map(|tree| std::fs::read_to_string(own(tree)?).ok())
            .or_else(|| roots.filter(named).find_map(|tree| std::fs::read_to_string(tree.repository.join(file)).ok()))
    }
}

/// A layer and what it renders to.
#[derive(Debug)]
pub struct ReadLayer {
    /// What is declared.
    pub layer: Layer,
    /// Whether rendering succeeded.
    pub rendered: bool,
    /// The objects, in kustomize's order; substituted; decrypted where the key is known.
    pub objects: Vec<Resource>,
}

impl ReadLayer {
    /// Whether the agent decrypts what no key at hand has opened.
    pub fn is_locked(&self) -> bool {
        self.layer.spec.decryption.is_some() && self.objects.iter().any(crate::render::holds_encrypted)
    }
}

/// A source of files.
#[derive(Clone, Debug)]
pub struct Source {
    /// The object as declared; none where only referenced.
    pub declaration: Option<Resource>,
    /// Its files, where they are at hand.
    pub tree: Option<SourceTree>,
}

/// The files of a source, with ignore rules and includes applied; what source-controller would put into the artifact.
#[derive(Clone, Debug)]
pub struct SourceTree {
    /// Root folder, private to this process.
    pub root: PathBuf,
    /// As Flux writes it: `main@sha1:…`; for an ExternalArtifact, what its generator takes it from.
    pub revision: String,
    /// The repository on disk that it was taken from.
    pub repository: PathBuf,
    /// The folder of that repository that this is, with a `/` at its end; empty for all of it.
    pub inside: String,
}
