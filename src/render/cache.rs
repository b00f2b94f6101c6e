//! What kustomize said, kept between runs: `render/` in the user's cache folder, readable by nobody else.

use super::program::cache_folder;
use crate::layers::flux::Spec;
use crate::repo::hex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Entries that were not made anew for this long are removed.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache for one kustomize program; none where no folder can be made.
    pub(crate) fn open(program: &Path) -> Option<Self> {
        // Another build of the program is another file: size and time tell it without running it.
        let metadata = program.metadata().ok()?;
        let id = format!("1\0{}\0{}\0{}", program.display(), metadata.size(), metadata.mtime());
        let parent = cache_folder()?.join("render");
        let folder = parent.join(&hex(&Sha256::digest(id))[..16]);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
        sweep(&folder);
        Some(Self { folder })
    }

    /// Names one build: content of the source and of the clones at hand, folder, and the parts of `spec` that reach kustomize.
    pub(crate) fn key(content: &[&str; 2], path: &str, spec: &Spec, more: &Map<String, Value>) -> String {
        let asked = json!([
            content,
            path,
            spec.target_namespace,
            spec.name_prefix,
            spec.name_suffix,
            spec.patches,
            spec.images,
            spec.components,
            spec.ignore_missing_components,
            more,
        ]);
        hex(&Sha256::digest(asked.to_string()))
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(key)).ok()
    }

    /// Written beside and renamed, so that no reader sees half of it. A cache that cannot be written is none.
    pub(crate) fn put(&self, key: &str, text: &str) {
        if let Ok(mut file) = tempfile::NamedTempFile::new_in(&self.folder)
            && file.write_all(text.as_bytes()).is_ok()
        {
            let _ = file.persist(self.folder.join(key));
        }
    }
}

fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let now = SystemTime::now();
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| now.duration_since(time).ok());
        if age.is_some_and(|age| age > KEPT) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
