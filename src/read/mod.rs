//! From a repository to all its layers with their objects: drives `repo`, `render` and `layers`, in parallel, and collects every problem.

use crate::layers::flux::Layer;
use crate::layers::{LayerId, SourceId};
use crate::manifest::Resource;
use crate::problem::{Problem, Unknown};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// All that one entry point leads to.
#[derive(Debug)]
pub struct Reading {
    /// Commit of PATH: 40 hex digits, with `-dirty` for a changed working tree.
    pub revision: String,
    /// The entry layer.
    pub entry: LayerId,
    /// Every layer, parents before children, otherwise in the order of declaration.
    pub layers: Vec<ReadLayer>,
    /// Every source that a layer, a HelmRelease or an ArtifactGenerator names or that is declared.
    pub sources: BTreeMap<SourceId, Source>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What cannot be known from Git.
    pub unknowns: Vec<Unknown>,
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
