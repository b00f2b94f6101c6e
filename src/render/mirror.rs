//! A second view of a source in which some files are others: the folders that lead to them are real, everything else is a symbolic
//! link into the export, which is never changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;

/// Makes the mirror of `root` in `at`: `files` (paths from the root) replace or add, `removed` are left out, and the folders in `real`
/// are real even where nothing changes in them, so that what they refer to is found in the mirror too.
pub(crate) fn make(
    root: &Path,
    at: &Path,
    files: &BTreeMap<String, Vec<u8>>,
    removed: &BTreeSet<String>,
    real: &BTreeSet<String>,
) -> io::Result<()> {
    let mut folders: BTreeSet<&str> = BTreeSet::from([""]);
    let changed = files.keys().chain(removed).filter_map(|path| path.rsplit_once('/').map(|(folder, _)| folder));
    for folder in changed.chain(real.iter().map(String::as_str)) {
        folders.insert(folder);
        folders.extend(folder.match_indices('/').map(|(end, _)| &folder[..end]));
    }
    // Parents sort before their children.
    for folder in &folders {
        fs::create_dir_all(at.join(folder))?;
        for entry in fs::read_dir(root.join(folder))? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            if !(files.contains_key(&path) || removed.contains(&path) || folders.contains(path.as_str())) {
                symlink(entry.path(), at.join(&path))?;
            }
        }
    }
    for (path, content) in files {
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(at.join(path));
        file.and_then(|mut file| io::Write::write_all(&mut file, content))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folders_on_the_way_are_real() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(root.path().join("apps/staging/deep")).expect("made");
        fs::create_dir_all(root.path().join("base")).expect("made");
        fs::write(root.path().join("apps/staging/kustomization.yml"), "old").expect("written");
        fs::write(root.path().join("apps/staging/x.yaml"), "x").expect("written");
        let at = tempfile::tempdir().expect("a folder");
        let files = BTreeMap::from([("apps/staging/kustomization.yaml".to_owned(), b"new".to_vec())]);
        let removed = BTreeSet::from(["apps/staging/kustomization.yml".to_owned()]);
        make(root.path(), at.path(), &files, &removed, &BTreeSet::new()).expect("made");
        assert!(at.path().join("base").is_symlink() && at.path().join("apps/staging/deep").is_symlink());
        assert!(!at.path().join("apps/staging").is_symlink() && !at.path().join("apps/staging/kustomization.yml").exists());
        assert_eq!(fs::read_to_string(at.path().join("apps/staging/kustomization.yaml")).expect("read"), "new");
        assert_eq!(fs::read_to_string(at.path().join("apps/staging/x.yaml")).expect("read"), "x");
        assert_eq!(fs::read_to_string(root.path().join("apps/staging/kustomization.yml")).expect("read"), "old");
    }
}
