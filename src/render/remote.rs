//! Remote bases of kustomizations: `https://github.com/org/repo//path?ref=v1` and the like. Nothing is fetched: a base is taken from a clone
//! that is at hand (`--source`), else the layer lacks it.

use super::native::{join, kustomization_file};
use super::{Bases, RenderError};
use crate::manifest::yaml::documents;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Fields of a kustomization that name folders and files.
const FIELDS: [&str; 4] = ["resources", "bases", "components", "crds"];

/// What remote bases change: kustomizations with the place of the clone in the place of the URL, and the clones that those mean.
#[derive(Debug, Default)]
pub(super) struct Remotes {
    /// Path of each kustomization from the root, and its new text.
    pub(super) files: BTreeMap<String, Value>,
    /// Name in the root of the mirror, and the clone.
    pub(super) clones: BTreeMap<String, PathBuf>,
    /// Folders with kustomizations on the way: a link would lead past what was changed.
    pub(super) folders: BTreeSet<String>,
}

impl Remotes {
    /// Walks the kustomizations from a folder on; `own` stands for that of the folder itself, where it was changed.
    pub(super) fn find(root: &Path, folder: &str, bases: &Bases, own: Option<&Value>) -> Result<Self, RenderError> {
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        found.visit(root, folder, bases, own, &mut seen)?;
        found.folders = seen;
        Ok(found)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn visit(
        &mut self,
        root: &Path,
        folder: &str,
        bases: &Bases,
        own: Option<&Value>,
        seen: &mut BTreeSet<String>,
    ) -> Result<(), RenderError> {
        if !seen.insert(folder.to_owned()) {
            return Ok(());
        }
        let file = kustomization_file(&root.join(folder));
        let read = || {
            let text = fs::read_to_string(root.join(folder).join(file?)).ok()?;
            // What is not YAML is told by whoever renders it.
            documents(&text).ok()?.into_iter().next().map(|document| document.value)
        };
        let Some(mut kustomization) = own.cloned().or_else(read) else { return Ok(()) };
        let mut is_changed = false;
        for field in FIELDS {
            for entry in kustomization.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                let Some(text) = entry.as_str().map(str::to_owned) else { continue };
                let Some((repository, path, reference)) = remote(&text) else {
                    if let Some(next) = join(folder, &text).filter(|next| root.join(next).is_dir()) {
                        self.visit(root, &next, bases, None, seen)?;
                    }
                    continue;
                };
                let lacking = || RenderError::Lacking { what: format!("remote base {text}") };
                let clone = &bases.find(&repository, reference.as_deref())?.ok_or_else(lacking)?;
                let place = join("", &path).filter(|path| clone.join(path).exists());
                let Some(path) = place else {
                    return Err(RenderError::Tool { message: format!("remote base {text}: its clone has no {path}") });
                };
                // A base that leads further is followed, and must have all that it needs in its clone.
                let inner = Self::find(clone, &path, bases, None)?;
                if !inner.is_empty() {
                    return Err(RenderError::Lacking { what: format!("what remote base {text} takes from further repositories") });
                }
                let name = format!(".base-{}", self.clones.len());
                let name = self.clones.iter().find(|(_, known)| *known == clone).map_or(name, |(known, _)| known.clone());
                self.clones.insert(name.clone(), clone.clone());
                let up = "../".repeat(folder.split('/').filter(|part| !part.is_empty()).count());
                *entry = format!("{up}{name}/{path}").into();
                is_changed = true;
            }
        }
        if is_changed {
            // A changed kustomization of the folder itself has this name.
            let name = file.filter(|_| own.is_none()).unwrap_or("kustomization.yaml");
            self.files.insert(join(folder, name).unwrap_or_default(), kustomization);
        }
        Ok(())
    }
}

/// Repository, path and `?ref=` of an entry that is no path of the source (kustomize `api/internal/git/repospec.go`).
pub(super) fn remote(entry: &str) -> Option<(String, String, Option<String>)> {
    let (entry, query) = entry.split_once('?').map_or((entry, None), |(entry, query)| (entry, Some(query)));
    let has_scheme = entry.contains("://") || entry.starts_with("git@") || entry.starts_with("git::");
    let is_known_host = ["github.com/", "gitlab.com/", "bitbucket.org/"].iter().any(|host| entry.starts_with(host));
    let reference = query.and_then(|query| {
        query.split('&').find_map(|part| part.strip_prefix("ref=").or_else(|| part.strip_prefix("version="))).map(str::to_owned)
    });
    if !(has_scheme || is_known_host || reference.is_some()) {
        return None;
    }
    let entry = entry.trim_start_matches("git::");
    let (repository, path, revision) = parted(entry);
    Some((repository, path, reference.or(revision)))
}

/// Repository and path; of raw files the revision between them.
fn parted(entry: &str) -> (String, String, Option<String>) {
    let start = entry.find("://").map_or(0, |at| at + 3);
    if let Some(at) = entry[start..].find("//").map(|at| at + start) {
        return (entry[..at].to_owned(), entry[at + 2..].to_owned(), None);
    }
    if let Some(at) = entry.find(".git/").map(|at| at + 4) {
        return (entry[..at].to_owned(), entry[at + 1..].to_owned(), None);
    }
    // host/organisation/repository/path
    let parts: Vec<&str> = entry[start..].split('/').collect();
    let rest = |from: usize| parts.get(from..).unwrap_or_default().join("/");
    match parts.as_slice() {
        ["raw.githubusercontent.com", organisation, repository, revision, ..] => {
            (format!("https://github.com/{organisation}/{repository}"), rest(4), Some((*revision).to_owned()))
        }
        [_, _, _, ..] => (format!("{}{}", &entry[..start], parts[..3].join("/")), rest(3), None),
        _ => (entry.to_owned(), String::new(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_entries_have_a_repository_and_a_path() {
        let found = |entry: &str| {
            remote(entry)
                .map(|(repository, path, reference)| format!("{repository} {path} {}", reference.unwrap_or_default()).trim_end().to_owned())
        };
        for (entry, wanted) in [
            ("https://github.com/org/repo//deploy/base?ref=v1", "https://github.com/org/repo deploy/base v1"),
            ("github.com/org/repo/deploy?timeout=5s&ref=v1", "github.com/org/repo deploy v1"),
            ("git@github.com:org/repo.git//deploy", "git@github.com:org/repo.git deploy"),
            ("https://example.com/a/b/repo.git/deploy?ref=x", "https://example.com/a/b/repo.git deploy x"),
            ("https://raw.githubusercontent.com/org/repo/v1/crds/a.yaml", "https://github.com/org/repo crds/a.yaml v1"),
        ] {
            assert_eq!(found(entry).as_deref(), Some(wanted));
        }
        for entry in ["../base", "a.yaml", "deploy//x", "./github.com"] {
            assert_eq!(found(entry), None, "{entry}");
        }
    }
}
