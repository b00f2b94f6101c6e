//! What was rendered, kept between runs: `render/` in the user's cache folder, readable by nobody else. Never anything that was decrypted.

use super::program::cache_folder;
use crate::layers::flux::Spec;
use crate::manifest::Resource;
use crate::problem::Origin;
use crate::repo::hex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, SystemTime};

/// Entries that were not made anew for this long are removed, and the oldest ones where all of them are larger than this.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
const SIZE: u64 = 256 << 20;

#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    /// A run that makes nothing anew need not look through what is there.
    swept: Once,
}

impl Cache {
    /// The cache for one kustomize program; none where no folder can be made.
    pub(crate) fn open(program: &Path) -> Option<Self> {
        // Another build of the program, or of this one, is another file: size and time tell it without running it.
        let told = |file: &Path| {
            let metadata = file.metadata().ok()?;
            Some(format!("{}\0{}\0{}.{}", file.display(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
        };
        let own = std::env::current_exe().ok().and_then(|own| told(&own)).unwrap_or_default();
        let id = format!("2\0{}\0{own}", told(program)?);
        let folder = cache_folder()?.join("render").join(&hex(&Sha256::digest(id))[..16]);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
        Some(Self { folder, swept: Once::new() })
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

    /// Objects with their places.
    pub(crate) fn objects(&self, key: &str) -> Option<Vec<Resource>> {
        let found: Vec<(Value, Option<(String, u32)>)> = serde_json::from_slice(&fs::read(self.folder.join(key)).ok()?).ok()?;
        let resource =
            |(value, origin): (Value, Option<(String, u32)>)| Resource { value, origin: origin.map(|(file, line)| Origin { file, line }) };
        Some(found.into_iter().map(resource).collect())
    }

    pub(crate) fn put_objects(&self, key: &str, objects: &[Resource]) {
        let entry = |object: &Resource| json!([object.value, object.origin.as_ref().map(|origin| json!([origin.file, origin.line]))]);
        self.put(key, &Value::Array(objects.iter().map(entry).collect()).to_string());
    }

    /// Written beside and renamed, so that no reader sees half of it. A cache that cannot be written is none.
    pub(crate) fn put(&self, key: &str, text: &str) {
        self.swept.call_once(|| self.folder.parent().into_iter().for_each(|all| sweep(all, &self.folder, SIZE)));
        if let Ok(mut file) = tempfile::NamedTempFile::new_in(&self.folder)
            && file.write_all(text.as_bytes()).is_ok()
        {
            let _ = file.persist(self.folder.join(key));
        }
    }
}

/// Removes what is old, and of the rest the oldest until it is small enough.
fn sweep(all: &Path, own: &Path, size: u64) {
    let now = SystemTime::now();
    let inside = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for folder in inside(all) {
        let entries = inside(&folder);
        if entries.is_empty() && folder != own {
            // Only an empty one goes; whoever is about to write there finds no cache once.
            let _ = fs::remove_dir(&folder);
        }
        let told = |file: PathBuf| {
            let metadata = file.symlink_metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), file))
        };
        files.extend(entries.into_iter().filter_map(told));
    }
    files.sort();
    let mut left: u64 = files.iter().map(|(_, size, _)| size).sum();
    for (time, length, file) in files {
        let is_old = now.duration_since(time).is_ok_and(|age| age > KEPT);
        if !is_old && left <= size {
            break;
        }
        let _ = fs::remove_file(file);
        left -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_back_with_their_places() {
        let all = tempfile::tempdir().expect("a folder");
        let folder = all.path().join("own");
        fs::create_dir(&folder).expect("made");
        let cache = Cache { folder, swept: Once::new() };
        let object = |origin| Resource { value: json!({"kind": "X", "a": 0.1, "b": [null, "${Y}"]}), origin };
        let objects = [object(Some(Origin { file: "a.yaml".to_owned(), line: 3 })), object(None)];
        cache.put_objects("key", &objects);
        assert_eq!(cache.objects("key").as_deref(), Some(&objects[..]));
        assert!(cache.objects("other").is_none());
    }

    #[test]
    fn what_is_old_goes_and_so_does_the_oldest_of_too_much() {
        let all = tempfile::tempdir().expect("a folder");
        let put = |path: &str, days: u64| {
            let file = all.path().join(path);
            fs::create_dir_all(file.parent().expect("parent")).expect("made");
            fs::write(&file, [0; 100]).expect("written");
            let time = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
            fs::File::options().append(true).open(&file).and_then(|file| file.set_modified(time)).expect("aged");
        };
        for (path, days) in [("a/new", 0), ("a/week", 7), ("b/month", 31), ("b/day", 1)] {
            put(path, days);
        }
        for folder in ["empty", "own"] {
            fs::create_dir(all.path().join(folder)).expect("made");
        }
        sweep(all.path(), &all.path().join("own"), 250);
        let there = |path: &str| all.path().join(path).exists();
        assert!(there("a/new") && there("b/day") && !there("a/week") && !there("b/month") && !there("empty") && there("own"));
    }
}
