//! Folders to reproducible tar.gz files: the same files give the same bytes.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// A file of an archive: its path inside, and its bytes.
pub(super) type Entry = (String, Vec<u8>);

/// Packs a folder as source-controller does: regular files only, no owner, no time
/// (source-controller `internal/storage`, fluxcd/pkg `tar`).
pub(super) fn folder(root: &Path) -> io::Result<Vec<u8>> {
    pack(&read(root, "", false)?)
}

/// The regular files below `root`, sorted, each path with `prefix` before it; links are followed where asked.
pub(super) fn read(root: &Path, prefix: &str, follow: bool) -> io::Result<Vec<Entry>> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    let inside = root.canonicalize()?;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let mut kind = std::fs::symlink_metadata(&path)?;
            if kind.is_symlink() {
                // A link that leads out of the folder would let a repository read this machine's files.
                if !follow || !path.canonicalize().is_ok_and(|target| target.starts_with(&inside)) {
                    continue;
                }
                kind = std::fs::metadata(&path)?;
                if kind.is_dir() {
                    continue;
                }
            }
            if kind.is_dir() {
                if path.file_name().is_some_and(|name| name == ".git") {
                    continue;
                }
                folders.push(path);
            } else if kind.is_file() {
                let inner = path.strip_prefix(root).map_err(io::Error::other)?.to_string_lossy().into_owned();
                let mut bytes = Vec::new();
                std::fs::File::open(&path)?.read_to_end(&mut bytes)?;
                files.push((format!("{prefix}{inner}"), bytes));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Packs files in the order given.
pub(super) fn pack(files: &[Entry]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::fast()));
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        builder.append_data(&mut header, path, bytes.as_slice())?;
    }
    builder.into_inner()?.finish()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_bytes_and_links_out_are_left_out() {
        let make = || {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("b")).unwrap();
            std::fs::write(folder.path().join("b/two.yaml"), "2").unwrap();
            std::fs::write(folder.path().join("one.yaml"), "1").unwrap();
            std::os::unix::fs::symlink("/etc/hostname", folder.path().join("out")).unwrap();
            let names: Vec<String> = read(folder.path(), "", true).unwrap().into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["b/two.yaml", "one.yaml"]);
            super::folder(folder.path()).unwrap()
        };
        assert_eq!(make(), make());
    }
}
