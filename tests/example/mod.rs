//! The example of `plans/shop` as a repository of its own.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// git, as somebody whose configuration does not count; its output.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").arg("-C").arg(folder).args(identity).args(arguments).output().expect("git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Its files in a folder, not yet committed.
pub(crate) fn files(folder: &Path) -> PathBuf {
    let repository = folder.join("shop");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/shop"), &repository);
    repository
}

/// Commits all that is there as the first commit of `main`.
pub(crate) fn committed(repository: &Path) {
    git(repository, &["init", "--quiet", "--initial-branch", "main"]);
    git(repository, &["add", "--all"]);
    git(repository, &["commit", "--quiet", "--message", "The shop"]);
}

/// The example, committed.
pub(crate) fn shop(folder: &Path) -> PathBuf {
    let repository = files(folder);
    committed(&repository);
    repository
}
