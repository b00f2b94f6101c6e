//! From a repository to all its layers with their objects: drives `repo`, `render` and `layers`, in parallel, and collects every problem.

pub mod charts;
mod commands;
mod components;
mod entry;
mod environment;
mod infrastructure;
mod open;
mod origins;
mod sources;
mod variables;
mod walk;
mod written;

pub use components::agent_components;
pub use environment::{SecretValues, Unavailable, environment, held_by_aws, is_for_decryption, local, place, secrets};
pub use written::written;

use crate::environment::{Command, Environment};
use crate::layers::flux::{Layer, is_kustomization};
use crate::layers::{LayerId, SourceId};
use crate::manifest::Resource;
use crate::problem::{Origin, Problem, Unknown, nearest};
use crate::render::{Renderer, join};
use crate::repo::{PrivateFolder, RepoError, Repository};
use entry::{Declared, Entry, is_inside};
use sources::Sources;
use std::collections::BTreeMap;
use std::path::PathBuf;
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
    #[error("{}: no Flux entry point was found", path.display())]
    NoEntrypoint {
        /// Where it was looked for.
        path: PathBuf,
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
            Self::NoEntrypoint { .. } => Some("give the folder that the agent starts from: --entrypoint clusters/NAME".to_owned()),
            Self::SeveralEntrypoints { found, .. } => {
                let flag = found.first().map_or(String::new(), |first| format!("--entrypoint {first}"));
                Some(format!("choose one: {flag} (or spec.agent.flux.entrypoint in blackstart.yaml)"))
            }
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
    let declared = Declared::scan(&exported.root, &exported.files);
    let revision = exported.revision.clone();
    let entry = choose(options, environment, &sources, &declared)?;
    let entry_id = entry.layer.id.clone();
    let source = entry.layer.source.clone();
    sources.set_entry(source.clone(), entry.url.clone(), declared.source(&source, &entry.path).cloned());

    let renderer = Renderer::new(Arc::clone(&folder));
    let secrets = if options.decrypt { fetched.and_local(environment) } else { SecretValues::default() };
    let known = Known::new(environment, &secrets);
    let mut walk = Walk::new(&mut sources, &renderer, &secrets, known);
    let layers = walk.run(entry.layer)?;
    let (mut problems, mut unknowns) = (std::mem::take(&mut walk.problems), std::mem::take(&mut walk.unknowns));
    let exported = sources.exported();
    let tree = infrastructure::Tree { root: &exported.root, files: &exported.files, revision: &revision };
    let (infrastructure, more) = infrastructure::read(environment, &tree, &renderer, &layers);
    problems.extend(more);
    let (commands, more) = commands::read(environment, &tree, sources.repository().root());
    problems.extend(more);
    problems.sort_by(|a, b| (&a.origin, a.rule, &a.message).cmp(&(&b.origin, b.rule, &b.message)));
    problems.dedup();
    unknowns.sort();
    unknowns.dedup();
    Ok(Reading {
        revision,
        entry: entry_id.clone(),
        entrypoint: entry.path,
        layers: in_order(layers, &entry_id),
        infrastructure,
        commands,
        sources: sources.finish(),
        problems,
        unknowns,
        folder: Some(folder),
    })
}

/// Parents before children, children as their parent declares them: the same each time, whichever layer was rendered first.
fn in_order(layers: Vec<ReadLayer>, entry: &LayerId) -> Vec<ReadLayer> {
    let mut left: BTreeMap<LayerId, ReadLayer> = layers.into_iter().map(|read| (read.layer.id.clone(), read)).collect();
    let mut ordered: Vec<ReadLayer> = left.remove(entry).into_iter().collect();
    let mut at = 0;
    while at < ordered.len() {
        let parent = ordered[at].layer.id.clone();
        let declared = ordered[at].objects.iter().filter(|object| is_kustomization(object));
        let ids: Vec<LayerId> = declared.map(|object| LayerId::new(object.namespace().unwrap_or("default"), object.name())).collect();
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

/// Which entry point: the one asked for, the environment's, or the only one (in or around PATH, where that is a folder inside).
fn choose(options: &ReadOptions, environment: &Environment, sources: &Sources, declared: &Declared) -> Result<Entry, ReadError> {
    let entries = declared.entries();
    let inside = sources.repository().inside();
    let asked = options.entrypoint.as_ref().or(environment.spec.agent.entrypoint.as_ref());
    if let Some(asked) = asked {
        let path = join("", asked).filter(|path| sources.exported().root.join(path).is_dir());
        // Relative to where one stands is fine too.
        let path = path.or_else(|| join(inside, asked).filter(|path| sources.exported().root.join(path).is_dir()));
        let Some(path) = path else {
            let folders = sources.exported().files.iter().filter_map(|file| file.rsplit_once('/').map(|(folder, _)| folder));
            let mut near = nearest(asked.trim_start_matches("./"), folders);
            if near.is_empty() {
                near = entries.iter().map(|entry| entry.path.clone()).collect();
            }
            return Err(ReadError::MissingEntrypoint { entrypoint: asked.clone(), near });
        };
        return Ok(declared.at(&path));
    }
    let around = |entry: &&Entry| is_inside(inside, &entry.path) && !entry.path.is_empty();
    let mut found: Vec<&Entry> = if inside.is_empty() { Vec::new() } else { entries.iter().filter(around).collect() };
    if found.is_empty() {
        found = entries.iter().filter(|entry| is_inside(&entry.path, inside)).collect();
    }
    if found.is_empty() {
        found = entries.iter().collect();
    }
    match found.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(ReadError::NoEntrypoint { path: options.path.clone() }),
        several => {
            let found = several.iter().map(|entry| entry.path.clone()).collect();
            Err(ReadError::SeveralEntrypoints { path: options.path.clone(), found })
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
    /// Cloud resources of the environment's infrastructure folders.
    pub infrastructure: Vec<Resource>,
    /// Its commands; variables replaced, outputs as marks ([`crate::layers::outputs`]).
    pub commands: Vec<Command>,
    /// Every source that a layer, a HelmRelease or an ArtifactGenerator names or that is declared.
    pub sources: BTreeMap<SourceId, Source>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What cannot be known from Git.
    pub unknowns: Vec<Unknown>,
    /// Keeps the files of all sources; they are removed with the last owner.
    pub folder: Option<Arc<PrivateFolder>>,
}

impl Reading {
    /// The line at an origin, for messages.
    pub fn excerpt(&self, origin: &Origin) -> Option<String> {
        self.text(&origin.file)?.lines().nth(origin.line.saturating_sub(1) as usize).map(str::to_owned)
    }

    /// The file of an origin.
    pub fn text(&self, file: &str) -> Option<String> {
        let roots = self.sources.values().filter_map(|source| source.tree.as_ref());
        let (name, file) = file.split_once(':').map_or((None, file), |(name, file)| (Some(name), file));
        let named = |tree: &&SourceTree| name.is_none_or(|name| tree.repository.file_name().is_some_and(|last| last == name));
        // A source that is put together from others has the file under another name: the repository itself is the last resort.
        roots
            .clone()
            .filter(named)
            .find_map(|tree| std::fs::read_to_string(tree.root.join(file)).ok())
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
}
