//! `plan` and `verify` need nothing but the files: no network, no credentials, no HOME, no place in the repository to write to, no
//! working tree, no history. Each says there what it says elsewhere.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail at once, and says what it skips")]

mod example;

use example::{git, shop};
use std::path::Path;
use std::process::Command;

/// Runs a script without network in a mount namespace of its own, where `$1` can be read only.
const ALONE: &str = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@""#;

/// Standard output and exit code; nothing of this process' environment but where programs are.
fn run(prefix: &[&str], words: &[&str], path: &Path) -> (String, Option<i32>) {
    let kustomize = blackstart::render::program::find("kustomize").map(|program| program.parent().unwrap().to_owned());
    let paths = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).chain(kustomize).collect::<Vec<_>>();
    let program = env!("CARGO_BIN_EXE_blackstart");
    let line: Vec<&str> = prefix.iter().copied().chain([program]).chain(words.iter().copied()).collect();
    let output = Command::new(line[0])
        .args(&line[1..])
        .arg(path)
        .env_clear()
        .env("PATH", std::env::join_paths(paths).unwrap())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    (text, output.status.code())
}

const VERBS: [&[&str]; 3] = [
    &["plan", "--environment", "production"],
    &["plan", "--environment", "production", "-o", "json"],
    &["verify", "--environment", "production"],
];

fn has_kustomize() -> bool {
    let found = blackstart::render::program::find("kustomize").is_some();
    if !found {
        println!("skipped: kustomize is not here; `blackstart sandbox install` builds it");
    }
    found
}

#[test]
fn without_network_home_or_a_place_to_write() {
    if !has_kustomize() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let repository = shop(folder.path());
    let place = repository.display().to_string();
    let alone = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", ALONE, "sh", &place];
    let can = Command::new(alone[0]).args(&alone[1..]).args(["touch", &format!("{place}/x")]).output();
    let refused = can.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("Read-only file system"));
    if !refused {
        println!("skipped: this machine lets nobody have namespaces of his own");
        return;
    }
    for words in VERBS {
        let (text, code) = run(&alone, words, &repository);
        assert!(text.contains("production"), "{text}");
        assert_eq!((text, code), run(&[], words, &repository), "{words:?}");
    }
    assert_eq!(git(&repository, &["status", "--porcelain"]), "");
}

#[test]
fn a_bare_and_a_shallow_clone_say_what_the_repository_says() {
    if !has_kustomize() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let repository = shop(folder.path());
    // The example's key lies in its working tree; a bare repository has none.
    let environment = repository.join("environments/production.yaml");
    let text = std::fs::read_to_string(&environment).unwrap();
    std::fs::write(&environment, text.split_once("  secrets:\n").unwrap().0).unwrap();
    git(&repository, &["add", "--all"]);
    git(&repository, &["commit", "--quiet", "--message", "Without its key"]);
    let from = format!("file://{}", repository.display());
    git(folder.path(), &["clone", "--quiet", "--bare", &from, "bare.git"]);
    git(folder.path(), &["clone", "--quiet", "--depth", "1", &from, "shallow"]);
    for words in VERBS {
        let wanted = run(&[], words, &repository);
        assert_eq!(run(&[], words, &folder.path().join("shallow")), wanted, "{words:?}");
        let words: Vec<&str> = words.iter().copied().chain(["--revision", "HEAD"]).collect();
        assert_eq!(run(&[], &words, &folder.path().join("bare.git")), wanted, "{words:?}");
    }
}
