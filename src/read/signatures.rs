//! Whether the commits that are read are signed by those who may (`spec.git.verify`, `--allowed-signers`). The user's own `git` judges, and with
//! it ssh-keygen and gpg: they know validity times, revocations, certificates. They are shown the allowed keys and no others.

use super::{ReadError, ReadOptions, place};
use crate::environment::{Environment, Verify};
use crate::problem::{Origin, Problem, Severity, count};
use crate::render::program;
use crate::repo::{PrivateFolder, Repository, short};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The rule that a revision breaks whose signatures do not hold.
pub const UNSIGNED: &str = "revision-unsigned";

/// Commits that are told one by one.
const TOLD: usize = 10;

/// What was checked, and held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// How many commits.
    pub commits: usize,
    /// The trusted commit that they follow; without one, only the newest was checked.
    pub since: Option<String>,
    /// A file with allowed keys that stands in the very tree that they are to vouch for.
    pub keys_in_tree: Option<String>,
}

/// A revision that nobody may vouch for is no reason not to look: what blocks a run becomes a risk.
pub fn tolerate(problems: &mut [Problem]) {
    for problem in problems.iter_mut().filter(|problem| problem.rule == UNSIGNED) {
        problem.severity = Severity::Risk;
    }
}

/// Checks the commit that is read, or all since the trusted one. None where nobody asks for signatures.
pub(super) fn check(
    repository: &Repository,
    revision: &str,
    options: &ReadOptions,
    environment: &Environment,
) -> Result<Option<(Signed, Vec<Problem>)>, ReadError> {
    let asked = environment.spec.verify.as_ref();
    if asked.is_none() && options.allowed_signers.is_empty() {
        return Ok(None);
    }
    let origin = asked.and_then(|asked| asked.origin.clone());
    let since = asked.and_then(|asked| asked.since.clone());
    let mut signed = Signed { commits: 0, since, keys_in_tree: None };
    let commit = revision.trim_end_matches("-dirty");
    let ids = match repository.since(commit, signed.since.as_deref())? {
        Ok(ids) => ids,
        Err(why) => {
            let problem = Problem::blocks(UNSIGNED, format!("commit {}: {why}", short(commit))).at(origin);
            return Ok(Some((signed, vec![problem.hint(hint_of_since(&why))])));
        }
    };
    signed.commits = ids.len();
    let keys = match keys(repository, options, asked, environment, &mut signed) {
        Ok(keys) => keys,
        Err(message) => {
            let problem = Problem::blocks(UNSIGNED, message).at(origin).hint("give a file with the keys: --allowed-signers FILE");
            return Ok(Some((signed, vec![problem])));
        }
    };
    let problems = match judge(repository, &ids, &keys) {
        Ok(wanting) => told(wanting, origin.as_ref()),
        Err(why) => vec![Problem::blocks(UNSIGNED, format!("commit {}: its signature cannot be checked: {why}", short(commit))).at(origin)],
    };
    Ok(Some((signed, problems)))
}

fn hint_of_since(why: &str) -> &'static str {
    if why.contains("clone") {
        "git fetch --unshallow, or git fetch --all"
    } else {
        "name another trusted commit as spec.git.verify.since, after looking at what was rewritten"
    }
}

/// Keys that count: lines of allowed signers (ssh-keygen(1), "ALLOWED SIGNERS"), and armoured OpenPGP keys.
#[derive(Debug, Default)]
struct Keys {
    ssh: String,
    openpgp: Vec<String>,
}

impl Keys {
    fn add(&mut self, text: String) {
        if text.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
            self.openpgp.push(text);
        } else {
            self.ssh.push_str(&text);
            self.ssh.push('\n');
        }
    }
}

/// From the command line, else from the files that the environment names. A file inside the repository is read as the trusted commit has it,
/// so that no later commit can add a key for itself.
fn keys(
    repository: &Repository,
    options: &ReadOptions,
    asked: Option<&Verify>,
    environment: &Environment,
    signed: &mut Signed,
) -> Result<Keys, String> {
    let mut keys = Keys::default();
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()));
    for file in &options.allowed_signers {
        keys.add(read(file)?);
    }
    if !options.allowed_signers.is_empty() {
        return Ok(keys);
    }
    let Some(asked) = asked else { return Ok(keys) };
    for file in asked.allowed_signers.iter().chain(&asked.openpgp_keys) {
        let path = place(file, &environment.base);
        let path = path.canonicalize().unwrap_or(path);
        let inside = path.strip_prefix(repository.root()).ok().map(|inside| inside.to_string_lossy().into_owned());
        let inside = inside.filter(|_| !repository.is_bare());
        match (inside, &asked.since) {
            (Some(inside), Some(since)) => {
                let text = repository.text_at(since, Path::new(&inside));
                keys.add(text.ok_or_else(|| format!("{inside}: cannot be read in the trusted commit {}", short(since)))?);
            }
            (inside, _) => {
                keys.add(read(&path)?);
                signed.keys_in_tree = signed.keys_in_tree.take().or(inside);
            }
        }
    }
    // Who can change the environment's file can change whom it trusts, and since when.
    let own = environment.file.as_ref().filter(|_| environment.base.starts_with(repository.root()) && !repository.is_bare());
    signed.keys_in_tree = signed.keys_in_tree.take().or_else(|| own.cloned());
    Ok(keys)
}

/// A commit that is not signed as it must be.
struct Wanting {
    id: String,
    author: String,
    subject: String,
    why: String,
}

fn told(wanting: Vec<Wanting>, origin: Option<&Origin>) -> Vec<Problem> {
    let more = wanting.len().saturating_sub(TOLD);
    let mut problems: Vec<Problem> = wanting
        .into_iter()
        .take(TOLD)
        .map(|one| {
            let message = format!("commit {} (\"{}\" of {}): {}", short(&one.id), one.subject, one.author, one.why);
            let hint = "let an allowed author sign it, or take a revision that is signed: --revision REV";
            Problem::blocks(UNSIGNED, message).at(origin.cloned()).hint(hint)
        })
        .collect();
    if more > 0 {
        problems.push(
            Problem::blocks(UNSIGNED, format!("{} more are not signed by an allowed author", count(more, "commit"))).at(origin.cloned()),
        );
    }
    problems
}

/// Asks git about each commit; gives those whose signature does not hold.
fn judge(repository: &Repository, ids: &[String], keys: &Keys) -> Result<Vec<Wanting>, String> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let git = program::find("git").ok_or("git was not found on PATH")?;
    let folder = PrivateFolder::new().map_err(|error| error.to_string())?;
    let (signers, home) = lay_out(&folder, keys)?;
    let signers = format!("gpg.ssh.allowedSignersFile={}", signers.display());
    let home = home.display().to_string();
    let environment = [("GNUPGHOME", home.as_str()), ("LC_ALL", "C"), ("GIT_NO_REPLACE_OBJECTS", "1")];
    let root = repository.root().display().to_string();
    let run = |more: &[&str], input: Option<&[u8]>| {
        let arguments = ["-C", &root, "-c", &signers, "-c", "log.showSignature=false"];
        program::run(&git, arguments.iter().chain(more), &environment, input).map_err(|error| format!("git: {error}"))
    };
    // %G? verifies only what is signed; none of these holds a line break.
    let format = "--format=%H%x00%G?%x00%GF%x00%GK%x00%an <%ae>%x00%s";
    let input = ids.join("\n") + "\n";
    let output = run(&["log", "--no-walk=unsorted", "--no-color", format, "--stdin"], Some(input.as_bytes()))?;
    if !output.success {
        return Err(output.stderr.lines().last().unwrap_or("git log failed").to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| Some((line.split_once('\0')?.0, line.split('\0').collect::<Vec<_>>())));
    let by_id: BTreeMap<&str, Vec<&str>> = lines.collect();
    let mut wanting = Vec::new();
    for id in ids {
        let parts = by_id.get(id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let part = |index: usize| parts.get(index).copied().unwrap_or_default();
        // git-log(1): G is good and of a key that counts; all else is not.
        if part(1) == "G" {
            continue;
        }
        // A signature that no program could look at reads as none (N).
        let is_in_doubt = part(1) != "N" || missing(&output.stderr).is_some();
        let words = if is_in_doubt && wanting.len() < TOLD { run(&["verify-commit", id], None)?.stderr } else { String::new() };
        let key = if part(2).is_empty() { part(3) } else { part(2) };
        let why = why(part(1), key, &words);
        wanting.push(Wanting { id: id.clone(), author: part(4).to_owned(), subject: part(5).to_owned(), why });
    }
    Ok(wanting)
}

/// The files that git, ssh-keygen and gpg take the keys from: allowed signers, and a keyring of its own.
fn lay_out(folder: &PrivateFolder, keys: &Keys) -> Result<(PathBuf, PathBuf), String> {
    use std::os::unix::fs::DirBuilderExt as _;
    let (signers, home) = (folder.path().join("allowed_signers"), folder.path().join("gnupg"));
    let failed = |error: std::io::Error| format!("{}: {error}", folder.path().display());
    std::fs::write(&signers, &keys.ssh).map_err(failed)?;
    std::fs::DirBuilder::new().mode(0o700).create(&home).map_err(failed)?;
    // Every key in this keyring is one that counts; gpg still asks whether it is expired or revoked.
    std::fs::write(home.join("gpg.conf"), "trust-model always\nno-auto-key-retrieve\n").map_err(failed)?;
    for key in &keys.openpgp {
        let gpg = program::find("gpg").ok_or("gpg is needed for OpenPGP keys and was not found on PATH")?;
        let arguments = ["--batch", "--no-tty", "--no-autostart", "--quiet", "--import"];
        let output = program::run(&gpg, arguments, &[("GNUPGHOME", &home.display().to_string())], Some(key.as_bytes()))
            .map_err(|error| format!("gpg: {error}"))?;
        if !output.success {
            return Err(format!("gpg cannot import the OpenPGP key: {}", output.stderr.lines().last().unwrap_or("no word")));
        }
    }
    Ok((signers, home))
}

/// The program that git could not start.
fn missing(words: &str) -> Option<&str> {
    words.lines().find_map(|line| line.strip_prefix("error: cannot run ")?.split(':').next())
}

/// In words; git-log(1), "%G?".
fn why(state: &str, key: &str, words: &str) -> String {
    if let Some(program) = missing(words) {
        return format!("its signature cannot be checked: {program} is needed and was not found on PATH");
    }
    let key = if key.is_empty() { String::new() } else { format!(" {key}") };
    match state {
        "N" => "is not signed".to_owned(),
        "U" => format!("is signed with key{key}, which is no allowed signer's, or was not at that time"),
        "E" => format!("is signed with key{key}, which is not among the allowed ones"),
        "X" => format!("its signature by key{key} has expired"),
        "Y" => format!("is signed with key{key}, which has expired"),
        "R" => format!("is signed with key{key}, which is revoked"),
        "B" => "has a bad signature: it was made for something else".to_owned(),
        _ => "git says nothing of its signature".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_program_is_told_as_one() {
        assert_eq!(
            why("B", "", "error: cannot run ssh-keygen: No such file or directory\n"),
            "its signature cannot be checked: ssh-keygen is needed and was not found on PATH"
        );
        assert_eq!(
            why("U", "SHA256:x", "Good \"git\" signature"),
            "is signed with key SHA256:x, which is no allowed signer's, or was not at that time"
        );
        assert_eq!(why("", "", ""), "git says nothing of its signature");
    }

    #[test]
    fn keys_are_told_apart_by_their_armour() {
        let mut keys = Keys::default();
        keys.add("ada@example.com ssh-ed25519 AAAA".into());
        keys.add("-----BEGIN PGP PUBLIC KEY BLOCK-----\n…".into());
        assert_eq!((keys.ssh.as_str(), keys.openpgp.len()), ("ada@example.com ssh-ed25519 AAAA\n", 1));
    }

    #[test]
    fn of_many_commits_the_first_are_told_and_the_rest_counted() {
        let one = |id: usize| Wanting { id: id.to_string(), author: String::new(), subject: String::new(), why: "is not signed".into() };
        let problems = told((0..13).map(one).collect(), None);
        assert_eq!(problems.len(), 11);
        assert_eq!(problems[10].message, "3 commits more are not signed by an allowed author");
    }
}
