//! Files of a revision or of the working tree, read once; and views of them with ignore rules applied.

use super::{Commit, Ignore, PrivateFolder, RepoError, Repository};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export {
    /// The files as they are on disk: tracked ones, and untracked ones that are not ignored.
    WorkingTree,
    /// The files of a commit.
    Commit(Commit),
}

/// Files of one content: in memory, and in a private folder as soon as somebody wants them there.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Commit, with `-dirty` where the files differ from it.
    pub revision: String,
    /// Names the content: equal ids mean equal files.
    pub content: String,
    /// All files, with `/`, sorted.
    pub files: Vec<String>,
    /// Keeps the folder.
    pub folder: Arc<PrivateFolder>,
    /// Where they are put.
    place: PathBuf,
    /// Whether they are there.
    written: Arc<Mutex<bool>>,
    held: Arc<Held>,
}

/// Files by path.
type Held = BTreeMap<String, Blob>;

#[derive(Debug)]
struct Blob {
    content: Content,
    executable: bool,
}

#[derive(Debug)]
enum Content {
    Memory(Vec<u8>),
    /// Too large to be kept twice: a file of the private folder.
    File(PathBuf),
}

/// Files up to this size are kept in memory.
const SMALL: usize = 256 << 10;

impl Repository {
    /// Takes the files, for the folder `name` of a private folder. Symbolic links are left out, as source-controller's artifacts leave
    /// them out; so are submodules.
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
        let mut holder = Holder::new(&root);
        for (path, id, executable) in blobs {
            let blob = git.find_blob(id).map_err(failed)?;
            holder.add(path, blob.content().to_vec(), executable)?;
        }
        Ok(holder.finish(root, commit.id.clone(), commit.tree.clone(), folder))
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

        let mut holder = Holder::new(&root);
        let mut digest = Sha256::new();
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
            holder.add(path, content, executable)?;
        }
        let head = self.head();
        let (revision, content) = match (head, changed) {
            (Some(head), false) => (head.id, head.tree),
            (head, _) => (format!("{}-dirty", head.map_or_else(|| "0".repeat(40), |head| head.id)), hex(&digest.finalize())),
        };
        Ok(holder.finish(root, revision, content, folder))
    }
}

/// Takes files together.
struct Holder {
    held: Held,
    large: PathBuf,
}

impl Holder {
    fn new(place: &Path) -> Self {
        let mut large = place.as_os_str().to_owned();
        large.push("-large");
        Self { held: Held::new(), large: large.into() }
    }

    fn add(&mut self, path: String, content: Vec<u8>, executable: bool) -> Result<(), RepoError> {
        let content = if content.len() <= SMALL {
            Content::Memory(content)
        } else {
            let name = self.held.len().to_string();
            Writer::new(&self.large)?.write(&name, &content, executable)?;
            Content::File(self.large.join(name))
        };
        self.held.insert(path, Blob { content, executable });
        Ok(())
    }

    fn finish(self, place: PathBuf, revision: String, content: String, folder: &Arc<PrivateFolder>) -> Exported {
        let files = self.held.keys().cloned().collect();
        let (held, folder) = (Arc::new(self.held), Arc::clone(folder));
        Exported { revision, content, files, folder, place, written: Arc::default(), held }
    }
}

impl Exported {
    /// These files and no repository.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let folder = Arc::new(PrivateFolder::new().expect("a folder"));
        let place = folder.path().join("path");
        let mut holder = Holder::new(&place);
        for (path, text) in files {
            holder.add((*path).to_owned(), text.as_bytes().to_vec(), false).expect("held");
        }
        holder.finish(place, "0".repeat(40), "0".repeat(40), &folder)
    }

    /// The folder that holds them. They are put there when it is asked for the first time.
    pub fn root(&self) -> Result<&Path, RepoError> {
        let mut written = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !*written {
            let mut writer = Writer::new(&self.place)?;
            for path in &self.files {
                match self.held.get(path) {
                    Some(Blob { content: Content::Memory(content), executable }) => writer.write(path, content, *executable)?,
                    Some(Blob { content: Content::File(from), .. }) => writer.link(from, path)?,
                    None => {}
                }
            }
            *written = true;
        }
        Ok(&self.place)
    }

    /// Text of a file; none where it is not there or no text.
    pub fn text(&self, path: &str) -> Option<Cow<'_, str>> {
        match &self.held.get(path)?.content {
            Content::Memory(content) => std::str::from_utf8(content).ok().map(Cow::Borrowed),
            Content::File(from) => fs::read_to_string(from).ok().map(Cow::Owned),
        }
    }

    /// Whether there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.files.binary_search_by(|file| file.as_str().cmp(path)).is_ok()
    }

    /// Whether a path is a folder with files below it; the root is one.
    pub fn has_folder(&self, path: &str) -> bool {
        let start = self.files.partition_point(|file| file.as_str() < path);
        path.is_empty()
            || self.files[start..].iter().take_while(|file| file.starts_with(path)).any(|file| file[path.len()..].starts_with('/'))
    }

    /// The files of one folder, `inside` with a `/` at its end.
    pub fn below(&self, inside: &str) -> Result<Self, RepoError> {
        let place = self.root()?.join(inside.trim_end_matches('/'));
        let blob = |blob: &Blob| Blob {
            content: match &blob.content {
                Content::Memory(content) => Content::Memory(content.clone()),
                Content::File(from) => Content::File(from.clone()),
            },
            executable: blob.executable,
        };
        let held: Held = self.held.iter().filter_map(|(path, held)| Some((path.strip_prefix(inside)?.to_owned(), blob(held)))).collect();
        Ok(Self {
            revision: self.revision.clone(),
            content: hex(&Sha256::digest(format!("{}\0{inside}", self.content))),
            files: self.files.iter().filter_map(|path| path.strip_prefix(inside)).map(str::to_owned).collect(),
            folder: Arc::clone(&self.folder),
            place,
            written: Arc::new(Mutex::new(true)),
            held: Arc::new(held),
        })
    }

    /// What source-controller puts into the artifact: each `.sourceignore`, then `spec.ignore` decide what is left out; of a sparse
    /// checkout only what begins with one of these paths is there at all. Where nothing is left out, this is the export itself.
    #[must_use]
    pub fn view(&self, ignore: Option<&str>, sparse: &[String], name: &str) -> Self {
        let is_there = |path: &str| sparse.is_empty() || sparse.iter().any(|start| path.starts_with(start.as_str()));
        let mut texts = Vec::new();
        let is_rules = |path: &&String| path.as_str() == ".sourceignore" || path.ends_with("/.sourceignore");
        for path in self.files.iter().filter(is_rules).filter(|path| is_there(path)) {
            let text = self.text(path).unwrap_or_default();
            texts.push((path.rsplit_once('/').map_or("", |(folder, _)| folder), text));
        }
        let given = texts.iter().map(|(folder, text)| (*folder, &**text)).chain(ignore.map(|text| ("", text)));
        let rules = Ignore::of(given);
        let files: Vec<String> = self.files.iter().filter(|path| is_there(path) && !rules.excludes(path)).cloned().collect();
        if files.len() == self.files.len() {
            return self.clone();
        }
        let place = self.folder.path().join(name);
        let asked =
            [&[self.content.as_str(), ignore.unwrap_or_default()], &*sparse.iter().map(String::as_str).collect::<Vec<_>>()].concat();
        let content = hex(&Sha256::digest(asked.join("\0")));
        let (folder, held) = (Arc::clone(&self.folder), Arc::clone(&self.held));
        Self { revision: self.revision.clone(), content, files, folder, place, written: Arc::default(), held }
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
        assert_eq!(fs::read_to_string(dirty.root().expect("root").join("a.yaml")).expect("read"), "a: 2\n");

        let head = repository.resolve("HEAD").expect("head");
        let committed = repository.export(&Export::Commit(head), &private, "commit").expect("export");
        assert_eq!(fs::read_to_string(committed.root().expect("root").join("a.yaml")).expect("read"), "a: 1\n");
    }

    #[test]
    fn a_view_leaves_out_what_the_artifact_leaves_out() {
        let (_folder, repository) = repository();
        let private = Arc::new(PrivateFolder::new().expect("folder"));
        let all = repository.export(&Export::WorkingTree, &private, "all").expect("export");
        let files =
            |ignore, sparse: &[&str], name| all.view(ignore, &sparse.iter().map(ToString::to_string).collect::<Vec<_>>(), name).files;
        assert_eq!(files(None, &[], "view"), ["a.yaml"]);
        assert_eq!(files(Some("docs/"), &[], "more"), ["a.yaml", "logo.png"]);
        assert_eq!(files(Some("docs/"), &["lo"], "sparse"), ["logo.png"]);
    }
}
