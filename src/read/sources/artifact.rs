//! Folders that are put together from others: what `spec.include` and an ArtifactGenerator copy.

use super::super::ReadError;
use super::Files;
use crate::manifest::{merge, write, yaml};
use crate::problem::Origin;
use crate::render::join;
use crate::repo::{PrivateFolder, Writer, glob, hex};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Most bytes that an archive may hold (fluxcd/pkg `tar`, `DefaultMaxUntarSize`).
const UNPACKED: u64 = 100 << 20;

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

    /// The regular files of an archive (source-watcher `internal/builder/extract.go`); in words what is wrong with it.
    fn extract(&mut self, from: &Files, file: &str, to: &str) -> Result<Result<(), String>, ReadError> {
        let shown = from.shown(&Origin { file: file.to_owned(), line: 1 }).file;
        let read = || -> std::io::Result<Vec<(String, Vec<u8>)>> {
            let packed = std::fs::File::open(from.root.join(file))?;
            let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed).take(UNPACKED + 1));
            let mut found = Vec::new();
            let mut size = 0_u64;
            for entry in archive.entries()? {
                let mut entry = entry?;
                size = entry.size().saturating_add(size);
                if size > UNPACKED {
                    return Err(std::io::Error::other(format!("holds more than {} MiB", UNPACKED >> 20)));
                }
                let path = entry.path()?.to_string_lossy().into_owned();
                if entry.header().entry_type().is_file() {
                    let path = join("", &path).filter(|_| !path.starts_with('/'));
                    let path = path.ok_or_else(|| std::io::Error::other("a path in it leads out of it"))?;
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content)?;
                    found.push((path, content));
                }
            }
            Ok(found)
        };
        let found = match read() {
            Ok(found) => found,
            Err(error) => return Ok(Err(format!("{shown}: cannot be unpacked: {error}"))),
        };
        for (path, content) in found {
            let to = join(to, &path).unwrap_or_default();
            // What was there before is a link to the export's.
            let _ = std::fs::remove_file(self.root.join(&to));
            self.writer.write(&to, &content, false)?;
            self.files.insert(to, (String::new(), format!("{shown}/{path}")));
        }
        self.digest.update(format!("{}\0{file}\0{to}\0extract\0", from.content));
        Ok(Ok(()))
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
            assumed: BTreeSet::new(),
            origins: OnceLock::new(),
        }
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
    let is_optional = operation.get("optional") == Some(&Value::Bool(true));
    let is_glob = pattern.contains(['*', '?', '[', ']']);
    let mut pairs: Vec<(&String, String)> = Vec::new();
    if is_glob {
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
    if text("strategy") == "Extract" {
        let is_archive = |file: &str| [".tar.gz", ".tgz"].iter().any(|end| file.to_lowercase().ends_with(end));
        if let Some((file, _)) = pairs.iter().find(|(file, _)| !is_glob && !is_archive(file)) {
            return Ok(Err(format!("copy from `{from}`: strategy Extract wants a .tar.gz or .tgz, not {file}")));
        }
        pairs.retain(|(file, _)| is_archive(file));
        // Each is unpacked into the target itself.
        for (_, to) in &mut pairs {
            target.clone_into(to);
        }
    }
    if pairs.is_empty() && is_optional {
        return Ok(Ok(()));
    }
    if pairs.is_empty() {
        return Ok(Err(format!("copy from `{from}`: nothing matches")));
    }
    for (file, to) in pairs {
        match text("strategy") {
            "Merge" => stage.merge(files, file, &to)?,
            "Extract" => {
                if let Err(why) = stage.extract(files, file, &to)? {
                    return Ok(Err(format!("copy from `{from}`: {why}")));
                }
            }
            _ => stage.copy(files, file, &to)?,
        }
    }
    Ok(Ok(()))
}
