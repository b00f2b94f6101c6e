//! A Git bundle: a repository in one file, as it is kept where no Git server may be left.

use super::{PrivateFolder, RepoError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Unpacks a bundle into a bare repository of a private folder. Its HEAD is the bundle's, else its only branch.
pub(crate) fn unpack(bundle: &Path, folder: &PrivateFolder, name: &str) -> Result<PathBuf, RepoError> {
    let failed = |why: String| RepoError::Bundle { path: bundle.to_owned(), why };
    let to = folder.path().join(name);
    let output = Command::new("git")
        .args(["clone", "--quiet", "--bare"])
        .args([bundle, &to])
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("git cannot be started: {error}")))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(failed(words.lines().next().unwrap_or("git gave no reason").trim_start_matches("fatal: ").to_owned()));
    }
    let git = git2::Repository::open_bare(&to).map_err(|error| failed(error.message().to_owned()))?;
    if git.head().is_ok() {
        return Ok(to);
    }
    let branches: Vec<String> = git
        .branches(None)
        .map_err(|error| failed(error.message().to_owned()))?
        .flatten()
        .filter_map(|(branch, _)| branch.get().name().ok().map(str::to_owned))
        .collect();
    match branches.as_slice() {
        [only] => git.set_head(only).map(|()| to).map_err(|error| failed(error.message().to_owned())),
        [] => Err(failed("it holds no branch".to_owned())),
        several => Err(failed(format!("it has no HEAD and several branches: {}", several.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_a_repository_and_anything_else_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = |arguments: &[&str]| {
            let output = Command::new("git").current_dir(folder.path()).args(arguments).output().expect("git runs");
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(&["init", "--quiet", "--initial-branch", "trunk"]);
        std::fs::write(folder.path().join("a.yaml"), "a: 1\n").expect("written");
        run(&["add", "-A"]);
        run(&["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "start"]);
        // Without HEAD, as `git bundle create FILE BRANCH` writes it.
        run(&["bundle", "create", "--quiet", "fleet.bundle", "trunk"]);
        let private = PrivateFolder::new().expect("a folder");
        let path = unpack(&folder.path().join("fleet.bundle"), &private, "one").expect("unpacked");
        let repository = super::super::Repository::open(&path).expect("opens");
        assert!(repository.head().is_some());
        let error = unpack(&folder.path().join("a.yaml"), &private, "two").expect_err("no bundle");
        assert!(error.to_string().contains("a.yaml") && error.hint().is_some(), "{error}");
    }
}
