//! Folders that are put together from others: what `spec.include` and an ArtifactGenerator copy.

use super::super::ReadError;
use super::Files;
use crate::manifest::{write, yaml};
use crate::problem::Origin;
use crate::render::join;
use crate::repo::{PrivateFolder, Writer, glob, hex};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// A folder that is put together from others.
pub(super) struct Stage {
    pub(super) root: PathBuf,
    writer: Writer,
    files: BTreeMap<String, (String, String)>,
    digest: Sha256,
}

impl Stage {
    pub(super) fn new(folder: &Arc<PrivateFolder>) -> Result<Self, ReadError> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let root = folder.path().join(format!("artifact-{}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
        Ok(Self { writer: Writer::new(&root)?, root, files: BTreeMap::new(), digest: Sha256::new() })
    }

    pub(super) fn copy(&mut self, from: &Files, file: &str, to: &str) -> Result<(), ReadError> {
        let to = join("", to).unwrap_or_default();
        self.writer.link(&from.root.join(file), &to)?;
        self.digest.update(format!("{}\0{file}\0{to}\0", from.content));
        let shown = from.shown(&Origin { file: file.to_owned(), line: 1 }).file;
        self.files.insert(to, (String::new(), shown));
        Ok(())
    }

    /// YAML values of the second over those of the first: maps are merged, everything else is replaced.
    fn merge(&mut self, from: &Files, file: &str, to: &str) -> Result<(), ReadError> {
        let to = join("", to).unwrap_or_default();
        if !self.files.contains_key(&to) {
            return self.copy(from, file, &to);
        }
        let load = |path: PathBuf| -> Value {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            yaml::documents(&text).ok().and_then(|found| found.into_iter().next()).map_or(Value::Null, |document| document.value)
        };
        let mut value = load(self.root.join(&to));
        merge(&mut value, load(from.root.join(file)));
        // The file is a link to the export's; it must not be written through.
        let _ = std::fs::remove_file(self.root.join(&to));
        self.writer.write(&to, write(&value).as_bytes(), false)?;
        self.digest.update(format!("{}\0{file}\0{to}\0merge\0", from.content));
        Ok(())
    }

    pub(super) fn finish(self, revision: String, repository: PathBuf, prefix: String) -> Files {
        Files {
            root: self.root,
            content: hex(&self.digest.finalize()),
            revision,
            repository,
            prefix,
            list: self.files.keys().cloned().collect(),
            moved: self.files.into_iter().collect(),
            origins: OnceLock::new(),
        }
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// One copy operation. The outer error is ours, the inner one the repository's.
pub(super) fn copy(operation: &Value, sources: &BTreeMap<String, Arc<Files>>, stage: &mut Stage) -> Result<Result<(), String>, ReadError> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or_default();
    let (from, to) = (text("from"), text("to"));
    let Some((alias, pattern)) = from.strip_prefix('@').and_then(|from| from.split_once('/')) else {
        return Ok(Err(format!("copy from `{from}`: must be @alias/pattern")));
    };
    let Some(files) = sources.get(alias) else { return Ok(Err(format!("copy from `{from}`: no source has this alias"))) };
    let Some(target) = to.strip_prefix("@artifact/") else { return Ok(Err(format!("copy to `{to}`: must begin with @artifact/"))) };
    let excludes: Vec<&str> = operation.get("exclude").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let is_out = |path: &str| excludes.iter().any(|pattern| glob(pattern, path));
    if text("strategy") == "Extract" {
        return Ok(Err(format!("copy from `{from}`: strategy Extract takes a chart from a registry, which is not at hand")));
    }

    let mut pairs: Vec<(&String, String)> = Vec::new();
    if pattern.contains(['*', '?', '[', ']']) {
        let strip = pattern.strip_suffix("/**").map(|folder| format!("{folder}/")).unwrap_or_default();
        for file in &files.list {
            // A folder that matches is copied whole.
            let matched =
                std::iter::once(file.as_str()).chain(file.match_indices('/').map(|(end, _)| &file[..end])).find(|part| glob(pattern, part));
            if matched.is_some_and(|part| !is_out(part)) && !is_out(file) {
                pairs.push((file, format!("{target}/{}", file.strip_prefix(&strip).unwrap_or(file))));
            }
        }
    } else {
        let path = join("", pattern).unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        for file in &files.list {
            if *file == path {
                let is_folder = to.ends_with('/') || stage.root.join(target).is_dir();
                if !is_out(file) {
                    pairs.push((file, if is_folder { format!("{target}/{name}") } else { target.to_owned() }));
                }
            } else if let Some(inside) = file.strip_prefix(&format!("{path}/")) {
                let kept =
                    std::iter::once(inside).chain(inside.match_indices('/').map(|(end, _)| &inside[..end])).all(|part| !is_out(part));
                if kept {
                    pairs.push((file, format!("{target}/{name}/{inside}")));
                }
            }
        }
    }
    if pairs.is_empty() {
        return Ok(Err(format!("copy from `{from}`: nothing matches")));
    }
    for (file, to) in pairs {
        if text("strategy") == "Merge" { stage.merge(files, file, &to)? } else { stage.copy(files, file, &to)? }
    }
    Ok(Ok(()))
}
