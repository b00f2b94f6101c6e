//! Who wrote a commit, and who signed it: asked of the user's own `git`, which knows his keys.

use super::Repository;
use std::path::Path;
use std::process::{Command, Stdio};

/// A commit, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Name and address.
    pub author: String,
    /// When it was written, RFC 3339.
    pub time: String,
    /// First line of its message.
    pub subject: String,
    /// Who signed it, and whether that is good.
    pub signature: String,
}

impl Repository {
    /// Of a commit; none where git cannot tell.
    pub fn about(&self, commit: &str) -> Option<About> {
        tell(self.root(), commit)
    }
}

fn tell(root: &Path, commit: &str) -> Option<About> {
    // %G? verifies only what is signed.
    let output = Command::new("git")
        .args(["log", "-1", "--no-show-signature", "--format=%an <%ae>%x00%aI%x00%s%x00%G?%x00%GS", commit])
        .current_dir(root)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut parts = text.trim_end_matches('\n').split('\0');
    let (author, time, subject) = (parts.next()?, parts.next()?, parts.next()?);
    let (state, signer) = (parts.next()?, parts.next().unwrap_or_default());
    let by = if signer.is_empty() { String::new() } else { format!(" by {signer}") };
    // git-log(1), "%G?".
    let signature = match state {
        "G" => format!("signed{by}"),
        "U" => format!("signed{by}, of unknown validity"),
        "X" | "Y" | "R" => format!("signed{by} with a key or signature that is expired or revoked"),
        "B" => "with a bad signature".to_owned(),
        "E" => "signed; the key to check it is not here".to_owned(),
        _ => "not signed".to_owned(),
    };
    Some(About { author: author.to_owned(), time: time.to_owned(), subject: subject.to_owned(), signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_tells_its_author_and_that_nobody_signed_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let git = git2::Repository::init(folder.path()).expect("init");
        let who = git2::Signature::now("Ada", "ada@example.com").expect("signature");
        let tree = git.find_tree(git.index().and_then(|mut index| index.write_tree()).expect("tree")).expect("tree");
        let commit = git.commit(Some("HEAD"), &who, &who, "start\n\nmore", &tree, &[]).expect("commit");
        let about = tell(folder.path(), &commit.to_string()).expect("told");
        assert_eq!((about.author.as_str(), about.subject.as_str()), ("Ada <ada@example.com>", "start"));
        assert_eq!(about.signature, "not signed");
        assert_eq!(tell(folder.path(), "nothing"), None);
    }
}
