//! What lies between two commits, and what a file was in one of them.

use super::{RepoError, Repository};
use std::collections::BTreeSet;
use std::path::Path;

impl Repository {
    /// Ids of all commits that `commit` has and `since` has not, newest first; without `since` the commit alone. Otherwise in words why that
    /// cannot be told.
    pub fn since(&self, commit: &str, since: Option<&str>) -> Result<Result<Vec<String>, String>, RepoError> {
        let Some(since) = since else { return Ok(Ok(vec![commit.to_owned()])) };
        let git = self.git()?;
        let failed = |source| self.failed("walking through its history", source);
        if git.is_shallow() {
            // What lies behind its edge would be taken for nothing.
            return Ok(Err("its history is not known here, since this is a shallow clone".to_owned()));
        }
        let newest = git2::Oid::from_str(commit).map_err(failed)?;
        let short = super::short(since);
        let Ok(trusted) = git2::Oid::from_str(since).and_then(|id| git.find_commit(id)).map(|commit| commit.id()) else {
            return Ok(Err(format!("the trusted commit {short} is not in this clone")));
        };
        if newest != trusted && !git.graph_descendant_of(newest, trusted).map_err(failed)? {
            return Ok(Err(format!("does not follow the trusted commit {short}: history was rewritten, or it is of another branch")));
        }
        let mut walk = git.revwalk().map_err(failed)?;
        walk.push(newest).and_then(|()| walk.hide(trusted)).map_err(failed)?;
        walk.map(|id| id.map(|id| id.to_string())).collect::<Result<Vec<_>, _>>().map(Ok).map_err(failed)
    }

    /// Whether a commit is another one or comes before it; none where that other one is not here.
    pub fn is_in_history(&self, commit: &str, of: &str) -> Option<bool> {
        let git = self.git().ok()?;
        let (commit, of) = (git2::Oid::from_str(commit).ok()?, git2::Oid::from_str(of).ok()?);
        git.find_commit(of).ok()?;
        if commit == of { Some(true) } else { git.graph_descendant_of(of, commit).ok() }
    }

    /// Names of what a folder of a commit holds; none where there is no such folder.
    pub fn names_at(&self, commit: &str, folder: &Path) -> Vec<String> {
        let names = || {
            let git = self.git().ok()?;
            let tree = git.find_commit(git2::Oid::from_str(commit).ok()?).ok()?.tree().ok()?;
            let folder = git.find_tree(tree.get_path(folder).ok()?.id()).ok()?;
            Some(folder.iter().filter_map(|entry| entry.name().ok().map(str::to_owned)).collect())
        };
        names().unwrap_or_default()
    }

    /// Text of a file in a commit; none where it is not there, or no text.
    pub fn text_at(&self, commit: &str, file: &Path) -> Option<String> {
        let git = self.git().ok()?;
        let tree = git.find_commit(git2::Oid::from_str(commit).ok()?).ok()?.tree().ok()?;
        let blob = tree.get_path(file).ok()?.to_object(&git).ok()?.into_blob().ok()?;
        String::from_utf8(blob.content().to_vec()).ok()
    }
}

/// A commit and the files that it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// 40 hex digits.
    pub id: String,
    /// Name and address.
    pub author: String,
    /// When it was written, RFC 3339.
    pub time: String,
    /// First line of its message.
    pub subject: String,
    /// Paths from the root, of new, changed and removed files; of a merge those that are as in none of its parents.
    pub files: BTreeSet<String>,
}

impl Repository {
    /// All commits that `to` has and `from` has not, newest first, each with its files.
    pub fn changes(&self, from: &str, to: &str) -> Result<Vec<Change>, RepoError> {
        let git = self.git()?;
        let failed = |source| self.failed("walking through its history", source);
        let id = |text: &str| git2::Oid::from_str(text).map_err(failed);
        let mut walk = git.revwalk().map_err(failed)?;
        walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::TIME).map_err(failed)?;
        walk.push(id(to)?).map_err(failed)?;
        walk.hide(id(from)?).map_err(failed)?;
        let mut changes = Vec::new();
        for id in walk {
            let commit = id.and_then(|id| git.find_commit(id)).map_err(failed)?;
            let author = commit.author();
            let time = jiff::Timestamp::from_second(author.when().seconds()).unwrap_or_default().to_string();
            changes.push(Change {
                id: commit.id().to_string(),
                author: String::from_utf8_lossy(author.name_bytes()).into_owned()
                    + &format!(" <{}>", String::from_utf8_lossy(author.email_bytes())),
                time,
                subject: String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default()).into_owned(),
                files: files(&git, &commit).map_err(failed)?,
            });
        }
        Ok(changes)
    }
}

fn files(git: &git2::Repository, commit: &git2::Commit<'_>) -> Result<BTreeSet<String>, git2::Error> {
    let tree = commit.tree()?;
    let changed = |parent: Option<&git2::Tree<'_>>| -> Result<BTreeSet<String>, git2::Error> {
        let diff = git.diff_tree_to_tree(parent, Some(&tree), None)?;
        let paths = diff.deltas().flat_map(|delta| [delta.old_file().path(), delta.new_file().path()]).flatten();
        Ok(paths.map(|path| path.to_string_lossy().into_owned()).collect())
    };
    let mut found: Option<BTreeSet<String>> = None;
    for parent in commit.parents() {
        let files = changed(Some(&parent.tree()?))?;
        found = Some(found.map_or(files.clone(), |found| found.intersection(&files).cloned().collect()));
    }
    found.map_or_else(|| changed(None), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Commits a set of files on top of some parents.
    fn commit(git: &git2::Repository, message: &str, files: &[(&str, &str)], parents: &[git2::Oid]) -> git2::Oid {
        let mut index = git2::Index::new().expect("index");
        let who = git2::Signature::new("Ada", "ada@example.com", &git2::Time::new(1_800_000_000, 0)).expect("signature");
        let content: BTreeMap<&str, &str> = files.iter().copied().collect();
        for (path, text) in content {
            let id = git.blob(text.as_bytes()).expect("blob");
            let zero = git2::IndexTime::new(0, 0);
            let entry = git2::IndexEntry {
                ctime: zero,
                mtime: zero,
                dev: 0,
                ino: 0,
                mode: 0o100_644,
                uid: 0,
                gid: 0,
                file_size: 0,
                id,
                flags: 0,
                flags_extended: 0,
                path: path.into(),
            };
            index.add(&entry).expect("added");
        }
        let tree = git.find_tree(index.write_tree_to(git).expect("tree")).expect("tree");
        let parents: Vec<git2::Commit<'_>> = parents.iter().map(|id| git.find_commit(*id).expect("parent")).collect();
        git.commit(None, &who, &who, message, &tree, &parents.iter().collect::<Vec<_>>()).expect("commit")
    }

    #[test]
    fn each_commit_tells_its_files_and_a_merge_only_what_is_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let git = git2::Repository::init(folder.path()).expect("init");
        let root = commit(&git, "root", &[("a", "1"), ("b", "1")], &[]);
        let left = commit(&git, "left", &[("a", "2"), ("b", "1")], &[root]);
        let right = commit(&git, "right", &[("a", "1"), ("c/d", "1")], &[root]);
        let merge = commit(&git, "merge\n\nwith a body", &[("a", "2"), ("c/d", "1"), ("own", "1")], &[left, right]);
        let repository = Repository::open(folder.path()).expect("opens");
        let found = repository.changes(&root.to_string(), &merge.to_string()).expect("walked");
        let told = |subject: &str| {
            let change = found.iter().find(|change| change.subject == subject).expect("there");
            assert_eq!((change.author.as_str(), change.time.as_str()), ("Ada <ada@example.com>", "2027-01-15T08:00:00Z"));
            change.files.iter().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!((told("left"), told("right"), told("merge")), ("a".into(), "b c/d".into(), "own".into()));
        assert_eq!((found.len(), found[0].subject.as_str()), (3, "merge"));
        assert_eq!(repository.changes(&merge.to_string(), &root.to_string()).expect("walked"), []);
        assert_eq!(repository.since(&left.to_string(), Some(&left.to_string())).expect("walked"), Ok(Vec::new()), "the trusted one itself");
        assert_eq!(repository.text_at(&right.to_string(), Path::new("c/d")).as_deref(), Some("1"));
        assert_eq!(repository.text_at(&right.to_string(), Path::new("b")), None);
    }
}
