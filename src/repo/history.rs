//! What lies between two commits, and what a file was in one of them.

use super::{RepoError, Repository};
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
        let short = since.get(..12).unwrap_or(since);
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

    /// Text of a file in a commit; none where it is not there, or no text.
    pub fn text_at(&self, commit: &str, file: &Path) -> Option<String> {
        let git = self.git().ok()?;
        let tree = git.find_commit(git2::Oid::from_str(commit).ok()?).ok()?.tree().ok()?;
        let blob = tree.get_path(file).ok()?.to_object(&git).ok()?.into_blob().ok()?;
        String::from_utf8(blob.content().to_vec()).ok()
    }
}
