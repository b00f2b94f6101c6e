//! The example environments of `plans/` print the plan that is kept beside them.
//!
//! `UPDATE_PLANS=1 cargo test --test plans` writes them anew; read the difference before you commit it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail at once, and says what it skips")]

use std::fs;
use std::path::Path;
use std::process::Command;

fn git(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"];
    assert!(Command::new("git").arg("-C").arg(folder).args(identity).args(arguments).status().unwrap().success());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The commit is another one after each change of the example; the rest of the plan is to stay.
fn without_commit(text: &str) -> String {
    let first_line = text.lines().next().unwrap_or_default();
    let commit = first_line.split_whitespace().nth(2).unwrap_or_default().trim_end_matches(':');
    if commit.is_empty() { text.to_owned() } else { text.replace(commit, "COMMIT") }
}

fn prints_the_plan_that_is_kept(environment: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("shop");
    copy(&root.join("plans/shop"), &repository);
    git(&repository, &["init", "--quiet", "--initial-branch", "main"]);
    git(&repository, &["add", "--all"]);
    git(&repository, &["commit", "--quiet", "--message", "The shop"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_blackstart"));
    command.args(["plan", "--environment", environment]).arg(&repository).env("NO_COLOR", "1");
    let output = command.output().unwrap();
    let printed = without_commit(&String::from_utf8(output.stdout).unwrap());
    let complaint = String::from_utf8_lossy(&output.stderr);
    if printed.contains("kustomize: not found") || complaint.contains("kustomize: not found") {
        println!("skipped: neither kustomize nor kubectl is here; `blackstart sandbox install` builds it");
        return;
    }
    assert!(output.status.success(), "{printed}{complaint}");
    let kept = root.join(format!("plans/shop.{environment}.txt"));
    if std::env::var_os("UPDATE_PLANS").is_some() {
        fs::write(&kept, &printed).unwrap();
    }
    assert_eq!(printed, fs::read_to_string(&kept).unwrap(), "{} differs; see the head of tests/plans.rs", kept.display());
}

#[test]
fn the_shop_in_production_prints_the_plan_that_is_kept() {
    prints_the_plan_that_is_kept("production");
}

#[test]
fn the_shop_in_staging_prints_the_plan_that_is_kept() {
    prints_the_plan_that_is_kept("staging");
}
