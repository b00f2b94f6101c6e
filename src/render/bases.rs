//! Clones that stand for remote bases of kustomizations.

use super::RenderError;
use crate::repo::{Export, Exported, Repository, hex, is_called};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

/// A clone that is at hand.
#[derive(Debug)]
pub struct Base {
    /// The end of its URL.
    pub name: String,
    /// Where it is.
    pub repository: Repository,
    /// Its files as they are read.
    pub files: Exported,
}

/// All of them, with what was exported of other commits.
#[derive(Debug, Default)]
pub struct Bases {
    clones: Vec<Base>,
    content: String,
    commits: Mutex<BTreeMap<(usize, String), PathBuf>>,
}

impl Bases {
    /// From clones.
    pub fn new(clones: Vec<Base>) -> Self {
        let mut digest = Sha256::new();
        for clone in &clones {
            digest.update(format!("{}\0{}\0", clone.name, clone.files.content));
        }
        let content = if clones.is_empty() { String::new() } else { hex(&digest.finalize()) };
        Self { clones, content, commits: Mutex::default() }
    }

    /// Names what they hold; empty where there is none.
    pub(super) fn content(&self) -> &str {
        &self.content
    }

    /// Files of the clone that a URL means, at `?ref=` where the clone has that, else as they are read. None where no clone is at hand.
    pub(super) fn find(&self, url: &str, reference: Option<&str>) -> Result<Option<PathBuf>, RenderError> {
        let Some(index) = self.clones.iter().position(|clone| is_called(url, &clone.name)) else { return Ok(None) };
        let clone = &self.clones[index];
        let told = |error| RenderError::Tool { message: format!("remote base {url}: {error}") };
        let as_read = || Ok(Some(clone.files.root().map_err(told)?.to_owned()));
        let Some(name) = reference.filter(|name| clone.repository.branch().as_deref() != Some(name)) else { return as_read() };
        let Some(commit) = clone.repository.find(name).filter(|commit| commit.id != clone.files.revision) else { return as_read() };
        let mut commits = self.commits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(root) = commits.get(&(index, commit.id.clone())) {
            return Ok(Some(root.clone()));
        }
        let folder = format!("base-{index}-{}", commits.len());
        let exported = clone.repository.export(&Export::Commit(commit.clone()), &clone.files.folder, &folder).map_err(told)?;
        let root = exported.root().map_err(told)?.to_owned();
        commits.insert((index, commit.id), root.clone());
        Ok(Some(root))
    }
}
