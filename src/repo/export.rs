//! Files of a revision or of the working tree, copied once; and views of them with ignore rules applied.

use super::{Commit, Ignore, PrivateFolder, RepoError, Repository};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export {
    /// The files as they are on disk: tracked ones, and untracked ones that are not ignored.
    WorkingTree,
    /// The files of a commit.
    Commit(Commit),
}

/// Files in a private folder.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Their root.
    pub root: PathBuf,
    /// Commit, with `-dirty` where the files differ from it.
    pub revision: String,
    /// Names the content: equal ids mean equal files.
    pub content: String,
    /// All files, with `/`, sorted.
    pub files: Vec<String>,
    /// Keeps the folder.
    pub folder: Arc<PrivateFolder>,
}

impl Repository {
    /// Copies the files into the folder `name` of a private folder. Symbolic links are left out, as source-controller's artifacts
    /// leave them out; so are submodules.
    pub fn export(&self, what: &Export, folder: &Arc<PrivateFolder>, name: &str) -> Result<Exported, RepoError> {
        let root = folder.path().join(name);
        match what {
            Export::Commit(commit) => self.export_commit(commit, folder, root),
            Export::WorkingTree => self.export_working_tree(folder, root),
        }
    }

    fn export_commit(&self, commit: &Commit, folder: &Arc<PrivateFolder>, root: PathBuf) -> Result<Exported, RepoError> {
        let git = self.git()?;
        let failed = |source| self.failed("reading the commit", source);
        let tree = git2::Oid::from_str(&commit.tree).and_then(|id| git.find_tree(id)).map_err(failed)?;
        let mut blobs = Vec::new();
        tree.walk(git2::TreeWalkMode::PreOrder, |parent, entry| {
            let regular = matches!(entry.filemode(), 0o100_644 | 0o100_755 | 0o100_664);
            if let (true, Ok(name)) = (regular, entry.name()) {
                blobs.push((format!("{parent}{name}"), entry.id(), entry.filemode() == 0o100_755));
            }
            git2::TreeWalkResult::Ok
        })
        .map_err(failed)?;
        let mut writer = Writer::new(&root)?;
        for (path, id, executable) in &blobs {
            let blob = git.find_blob(*id).map_err(failed)?;
            writer.write(path, blob.content(), *executable)?;
        }
        let mut files: Vec<String> = blobs.into_iter().map(|(path, ..)| path).collect();
        files.sort_unstable();
        Ok(Exported { root, revision: commit.id.clone(), content: commit.tree.clone(), files, folder: Arc::clone(folder) })
    }

    fn export_working_tree(&self, folder: &Arc<PrivateFolder>, root: PathBuf) -> Result<Exported, RepoError> {
        let git = self.git()?;
        if git.is_bare() {
            return Err(RepoError::Bare { path: self.root.clone() });
        }
        let mut paths: BTreeSet<String> = BTreeSet::new();
        let index = git.index().map_err(|source| self.failed("reading the index", source))?;
        paths.extend(index.iter().filter_map(|entry| String::from_utf8(entry.path).ok()));
        let mut options = git2::StatusOptions::new();
        options.include_untracked(true).recurse_untracked_dirs(true).include_ignored(false).exclude_submodules(true);
        let statuses = git.statuses(Some(&mut options)).map_err(|source| self.failed("comparing the working tree", source))?;
        paths.extend(statuses.iter().filter_map(|status| status.path().ok().map(str::to_owned)));
        let changed = !statuses.is_empty();

        let mut writer = Writer::new(&root)?;
        let mut digest = Sha256::new();
        let mut files = Vec::new();
        for path in paths {
            let from = self.root.join(&path);
            // What is deleted, a link or a submodule is not part of it.
            let Ok(metadata) = fs::symlink_metadata(&from) else { continue };
            if !metadata.is_file() {
                continue;
            }
            let content = fs::read(&from).map_err(|source| RepoError::Copy { path: from.clone(), source })?;
            let executable = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o100 != 0;
            if changed {
                digest.update(path.as_bytes());
                digest.update([0, u8::from(executable)]);
                digest.update(Sha256::digest(&content));
            }
            writer.write(&path, &content, executable)?;
            files.push(path);
        }
        let head = self.head();
        let (revision, content) = match (head, changed) {
            (Some(head), false) => (head.id, head.tree),
            (head, _) => (format!("{}-dirty", head.map_or_else(|| "0".repeat(40), |head| head.id)), hex(&digest.finalize())),
        };
        Ok(Exported { root, revision, content, files, folder: Arc::clone(folder) })
    }
}

impl Exported {
    /// The files of one folder, `inside` with a `/` at its end.
    pub fn below(&self, inside: &str) -> Self {
        Self {
            root: self.root.join(inside.trim_end_matches('/')),
            revision: self.revision.clone(),
            content: hex(&Sha256::digest(format!("{}\0{inside}", self.content))),
            files: self.files.iter().filter_map(|path| path.strip_prefix(inside)).map(str::to_owned).collect(),
            folder: Arc::clone(&self.folder),
        }
    }

    /// What source-controller puts into the artifact: each `.sourceignore`, then `spec.ignore` decide what is left out; of a sparse
    /// checkout only what begins with one of these paths is there at all. Where nothing is left out, this is the export itself.
    pub fn view(&self, ignore: Option<&str>, sparse: &[String], name: &str) -> Result<Self, RepoError> {
        let is_there = |path: &str| sparse.is_empty() || sparse.iter().any(|start| path.starts_with(start.as_str()));
        let mut texts = Vec::new();
        let is_rules = |path: &&String| path.as_str() == ".sourceignore" || path.ends_with("/.sourceignore");
        for path in self.files.iter().filter(is_rules).filter(|path| is_there(path)) {
            let from = self.root.join(path);
            let text = fs::read_to_string(&from).map_err(|source| RepoError::Copy { path: from, source })?;
            texts.push((path.rsplit_once('/').map_or("", |(folder, _)| folder), text));
        }
        let given = texts.iter().map(|(folder, text)| (*folder, text.as_str())).chain(ignore.map(|text| ("", text)));
        let rules = Ignore::of(given);
        let files: Vec<String> = self.files.iter().filter(|path| is_there(path) && !rules.excludes(path)).cloned().collect();
        if files.len() == self.files.len() {
            return Ok(self.clone());
        }
        let root = self.folder.path().join(name);
        let mut writer = Writer::new(&root)?;
        for path in &files {
            writer.link(&self.root.join(path), path)?;
        }
        let asked =
            [&[self.content.as_str(), ignore.unwrap_or_default()], &*sparse.iter().map(String::as_str).collect::<Vec<_>>()].concat();
        let content = hex(&Sha256::digest(asked.join("\0")));
        Ok(Self { root, revision: self.revision.clone(), content, files, folder: Arc::clone(&self.folder) })
    }
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        text
    })
}

/// Writes files below a root and makes each folder once.
pub(crate) struct Writer {
    root: PathBuf,
    made: BTreeSet<PathBuf>,
}

impl Writer {
    pub(crate) fn new(root: &Path) -> Result<Self, RepoError> {
        fs::create_dir_all(root).map_err(|source| RepoError::Folder { path: root.to_owned(), source })?;
        Ok(Self { root: root.to_owned(), made: BTreeSet::new() })
    }

    fn place(&mut self, path: &str) -> Result<PathBuf, RepoError> {
        let to = self.root.join(path);
        if let Some(parent) = to.parent()
            && !self.made.contains(parent)
        {
            fs::create_dir_all(parent).map_err(|source| RepoError::Copy { path: to.clone(), source })?;
            self.made.insert(parent.to_owned());
        }
        Ok(to)
    }

    pub(crate) fn write(&mut self, path: &str, content: &[u8], executable: bool) -> Result<(), RepoError> {
        let to = self.place(path)?;
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(if executable { 0o700 } else { 0o600 })
            .open(&to)
            .and_then(|mut file| file.write_all(content))
            .map_err(|source| RepoError::Copy { path: to, source })
    }

    /// A second name for the same file; a copy where the file system has no links. An older file of that name goes.
    pub(crate) fn link(&mut self, from: &Path, path: &str) -> Result<(), RepoError> {
        let to = self.place(path)?;
        let _ = fs::remove_file(&to);
        fs::hard_link(from, &to).or_else(|_| fs::copy(from, &to).map(|_| ())).map_err(|source| RepoError::Copy { path: to, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> (tempfile::TempDir, Repository) {
        let folder = tempfile::tempdir().expect("a folder");
        let git = git2::Repository::init(folder.path()).expect("init");
        for (path, text) in [("a.yaml", "a: 1\n"), ("logo.png", "x"), (".gitignore", "secret\n")] {
            fs::write(folder.path().join(path), text).expect("written");
        }
        let mut index = git.index().expect("index");
        index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).expect("added");
        index.write().expect("written");
        let tree = git.find_tree(index.write_tree().expect("tree")).expect("tree");
        let who = git2::Signature::now("t", "t@example.com").expect("signature");
        git.commit(Some("HEAD"), &who, &who, "start", &tree, &[]).expect("commit");
        let repository = Repository::open(folder.path()).expect("opens");
        (folder, repository)
    }

    #[test]
    fn the_working_tree_is_what_one_edits_and_a_revision_is_what_was_committed() {
        let (folder, repository) = repository();
        let private = Arc::new(PrivateFolder::new().expect("folder"));
        let clean = repository.export(&Export::WorkingTree, &private, "clean").expect("export");
        assert_eq!(Some(clean.revision), repository.head().map(|head| head.id));

        fs::write(folder.path().join("a.yaml"), "a: 2\n").expect("written");
        fs::write(folder.path().join("new.yaml"), "b: 1\n").expect("written");
        fs::write(folder.path().join("secret"), "x").expect("written");
        let dirty = repository.export(&Export::WorkingTree, &private, "dirty").expect("export");
        assert!(dirty.revision.ends_with("-dirty"));
        assert_eq!(dirty.files, [".gitignore", "a.yaml", "logo.png", "new.yaml"]);
        assert_eq!(fs::read_to_string(dirty.root.join("a.yaml")).expect("read"), "a: 2\n");

        let head = repository.resolve("HEAD").expect("head");
        let committed = repository.export(&Export::Commit(head), &private, "commit").expect("export");
        assert_eq!(fs::read_to_string(committed.root.join("a.yaml")).expect("read"), "a: 1\n");
    }

    #[test]
    fn a_view_leaves_out_what_the_artifact_leaves_out() {
        let (_folder, repository) = repository();
        let private = Arc::new(PrivateFolder::new().expect("folder"));
        let all = repository.export(&Export::WorkingTree, &private, "all").expect("export");
        let files = |ignore, sparse: &[&str], name| {
            all.view(ignore, &sparse.iter().map(ToString::to_string).collect::<Vec<_>>(), name).expect("view").files
        };
        assert_eq!(files(None, &[], "view"), ["a.yaml"]);
        assert_eq!(files(Some("docs/"), &[], "more"), ["a.yaml", "logo.png"]);
        assert_eq!(files(Some("docs/"), &["lo"], "sparse"), ["logo.png"]);
    }
}
