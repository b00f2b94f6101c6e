//! Git: revisions, and the files of a revision or of the working tree, in a private folder, without checkout.
//! Objects are read with libgit2; nothing here writes to the repository or talks to a remote.

mod about;
pub(crate) mod bundle;
mod export;
mod folder;
mod history;
mod ignore;
pub mod remote;

pub use about::About;
pub use export::{Export, Exported};
pub(crate) use export::{Writer, hex};
pub use folder::PrivateFolder;
pub use history::Change;
pub use ignore::{Ignore, glob};

use crate::problem::nearest;
use std::path::{Path, PathBuf};

/// What can go wrong with a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepoError {
    /// There is no repository at or above the path.
    #[error("{}: not a Git repository, nor is a folder above it", path.display())]
    NotARepository {
        /// What was asked for.
        path: PathBuf,
    },
    /// The path is not there.
    #[error("{}: cannot be read", path.display())]
    Missing {
        /// What was asked for.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has no files on disk.
    #[error("{}: is a bare repository; its working tree was asked for", path.display())]
    Bare {
        /// The repository.
        path: PathBuf,
    },
    /// It is a file, and no bundle that Git could read.
    #[error("{}: cannot be unpacked as a Git bundle: {why}", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No commit goes by this name.
    #[error("revision `{revision}`: no such commit, branch or tag in {}", path.display())]
    UnknownRevision {
        /// What was asked for.
        revision: String,
        /// The repository.
        path: PathBuf,
        /// Branches and tags that are called alike.
        near: Vec<String>,
    },
    /// libgit2 failed.
    #[error("{}: {action} failed", path.display())]
    Git {
        /// The repository.
        path: PathBuf,
        /// What was done.
        action: &'static str,
        /// Why.
        source: git2::Error,
    },
    /// A file could not be copied.
    #[error("{}: cannot be copied into the private folder", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No private folder could be made.
    #[error("{}: no private folder can be made here", path.display())]
    Folder {
        /// Its parent.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl RepoError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotARepository { path } => Some(format!(
                "give a path inside a clone, or make one: git -C {0} init && git -C {0} add -A && git -C {0} commit -m start",
                path.display()
            )),
            Self::Missing { .. } => Some("give the path of a clone of the environment's repository".to_owned()),
            Self::Bundle { .. } => Some("make one that is whole: git bundle create FILE HEAD main".to_owned()),
            Self::Bare { .. } => Some("give --revision HEAD".to_owned()),
            Self::UnknownRevision { near, path, .. } if near.is_empty() => {
                Some(format!("`git -C {} fetch --all --tags` brings what only the remote has", path.display()))
            }
            Self::UnknownRevision { near, .. } => Some(format!("did you mean {}?", near.join(", "))),
            Self::Folder { .. } => Some("set TMPDIR to a folder that can be written".to_owned()),
            Self::Git { .. } | Self::Copy { .. } => None,
        }
    }
}

/// The first twelve digits of a commit's id, as people are told it.
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// 40 hex digits.
    pub id: String,
    /// Id of its tree, 40 hex digits.
    pub tree: String,
}

/// A repository on disk.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Top of the working tree (of the Git folder where it is bare), canonical.
    root: PathBuf,
    /// PATH below it, with `/`; empty for the root itself.
    inside: String,
}

impl Repository {
    /// Finds the repository that holds `path`, which may be any folder inside.
    pub fn open(path: &Path) -> Result<Self, RepoError> {
        let asked = path.canonicalize().map_err(|source| RepoError::Missing { path: path.to_owned(), source })?;
        let git = git2::Repository::discover(&asked).map_err(|_| RepoError::NotARepository { path: path.to_owned() })?;
        let root = git.workdir().unwrap_or_else(|| git.path());
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let folder = if asked.is_dir() { asked.as_path() } else { asked.parent().unwrap_or(&asked) };
        let inside = folder.strip_prefix(&root).map(|inside| inside.to_string_lossy().replace('\\', "/")).unwrap_or_default();
        Ok(Self { root, inside })
    }

    /// Top of the working tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that was asked for, from the root, with `/`; empty for the root.
    pub fn inside(&self) -> &str {
        &self.inside
    }

    fn git(&self) -> Result<git2::Repository, RepoError> {
        git2::Repository::open(&self.root).map_err(|source| self.failed("opening", source))
    }

    fn failed(&self, action: &'static str, source: git2::Error) -> RepoError {
        RepoError::Git { path: self.root.clone(), action, source }
    }

    /// Whether it has no files on disk.
    pub fn is_bare(&self) -> bool {
        self.git().is_ok_and(|git| git.is_bare())
    }

    /// Finds a commit by any name that Git knows.
    pub fn resolve(&self, revision: &str) -> Result<Commit, RepoError> {
        let git = self.git()?;
        let commit = git.revparse_single(revision).and_then(|object| object.peel_to_commit()).map_err(|_| RepoError::UnknownRevision {
            revision: revision.to_owned(),
            path: self.root.clone(),
            near: nearest(revision, names(&git).iter().map(String::as_str)),
        })?;
        Ok(Commit { id: commit.id().to_string(), tree: commit.tree_id().to_string() })
    }

    /// The commit of a branch, tag or commit as a source names it: what the remote has comes before what is local.
    pub fn find(&self, name: &str) -> Option<Commit> {
        [format!("refs/remotes/origin/{name}"), format!("refs/tags/{name}"), format!("refs/heads/{name}"), name.to_owned()]
            .iter()
            .find_map(|name| self.resolve(name).ok())
    }

    /// The commit of HEAD; none before the first commit.
    pub fn head(&self) -> Option<Commit> {
        self.resolve("HEAD").ok()
    }

    /// Name of the branch that HEAD is on.
    pub fn branch(&self) -> Option<String> {
        let git = self.git().ok()?;
        let head = git.head().ok()?;
        head.is_branch().then(|| head.shorthand().ok().map(str::to_owned)).flatten()
    }

    /// URLs of all remotes.
    pub fn remotes(&self) -> Vec<String> {
        let Ok(git) = self.git() else { return Vec::new() };
        let Ok(names) = git.remotes() else { return Vec::new() };
        names
            .iter()
            .flatten()
            .flatten()
            .filter_map(|name| git.find_remote(name).ok().and_then(|remote| remote.url().ok().map(str::to_owned)))
            .collect()
    }
}

fn names(git: &git2::Repository) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    if let Ok(branches) = git.branches(None) {
        names.extend(branches.flatten().filter_map(|(branch, _)| branch.name().ok().flatten().map(str::to_owned)));
    }
    if let Ok(tags) = git.tag_names(None) {
        names.extend(tags.iter().flatten().flatten().map(str::to_owned));
    }
    names
}

/// Whether two URLs lead to the same repository: scheme, user, `.git` and a trailing `/` do not count.
pub fn same_url(a: &str, b: &str) -> bool {
    let (a, b) = (plain_url(a), plain_url(b));
    !a.is_empty() && a == b
}

/// Whether a name means a URL: the URL itself, or its last part or parts: `d1-infra`, `org/d1-infra.git`.
pub fn is_called(url: &str, name: &str) -> bool {
    let (url, name) = (plain_url(url), plain_url(name));
    !name.is_empty() && (url == name || url.strip_suffix(&name).is_some_and(|before| before.ends_with('/')))
}

fn plain_url(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let url = url.split_once("://").map_or(url, |(_, rest)| rest);
    let url = url.split_once('@').filter(|(user, _)| !user.contains('/')).map_or(url, |(_, rest)| rest);
    // scp-like `host:org/repo` is `host/org/repo`.
    url.replacen(':', "/", 1).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_one_repository_are_the_same() {
        for other in ["ssh://git@github.com/org/fleet", "git@github.com:org/fleet.git", "https://token@github.com/org/fleet/"] {
            assert!(same_url("https://github.com/org/fleet.git", other), "{other}");
        }
        assert!(!same_url("https://github.com/org/fleet", "https://github.com/org/apps"));
        for name in ["d1-infra", "d1-infra.git", "org/d1-infra", "https://github.com/org/d1-infra"] {
            assert!(is_called("ssh://git@github.com/org/d1-infra.git", name), "{name}");
        }
        assert!(
            !["infra", "x/d1-infra", "", "https://github.com/org"].iter().any(|name| is_called("https://github.com/org/d1-infra", name))
        );
    }

    #[test]
    fn a_folder_outside_git_says_so_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Repository::open(folder.path()).expect_err("no repository");
        assert!(error.to_string().contains("not a Git repository"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("git -C")));
    }

    #[test]
    fn an_unknown_revision_lists_names_that_are_near() {
        let folder = tempfile::tempdir().expect("a folder");
        let git = git2::Repository::init(folder.path()).expect("init");
        let who = git2::Signature::now("t", "t@example.com").expect("signature");
        let tree = git.find_tree(git.index().and_then(|mut index| index.write_tree()).expect("tree")).expect("tree");
        let commit = git.commit(Some("refs/heads/production"), &who, &who, "start", &tree, &[]).expect("commit");
        git.set_head("refs/heads/production").expect("head");
        let repository = Repository::open(folder.path()).expect("opens");
        assert_eq!(repository.resolve("production").expect("known").id, commit.to_string());
        let RepoError::UnknownRevision { near, .. } = repository.resolve("prodution").expect_err("unknown") else { panic!("kind") };
        assert_eq!(near, ["production"]);
    }
}
