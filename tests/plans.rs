//! The example environments of `plans/` print the plan that is kept beside them, as a list and as a graph, and what a commit changes.
//!
//! `UPDATE_PLANS=1 cargo test --test plans` writes them anew; read the difference before you commit it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail at once, and says what it skips")]

mod example;

use example::{git, shop};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The commit is another one after each change of the example; the rest of the plan is to stay.
fn without_commit(text: &str) -> String {
    let first_line = text.lines().next().unwrap_or_default();
    let commit = first_line.split_whitespace().nth(2).unwrap_or_default().trim_end_matches(':');
    if commit.is_empty() { text.to_owned() } else { text.replace(commit, "COMMIT") }
}

/// What a command prints of it; none where kustomize is not here.
fn prints(repository: &Path, words: &[&str]) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blackstart"));
    let output = command.args(words).arg(repository).env("NO_COLOR", "1").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if printed.contains("kustomize: not found") || complaint.contains("kustomize: not found") {
        println!("skipped: neither kustomize nor kubectl is here; `blackstart sandbox install` builds it");
        return None;
    }
    assert!(output.status.success(), "{printed}{complaint}");
    Some(printed)
}

fn prints_the_plan_that_is_kept(environment: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let Some(printed) = prints(&shop(folder.path()), &["plan", "--environment", environment]) else { return };
    let printed = without_commit(&printed);
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

#[test]
fn the_graph_of_the_shop_has_each_layer_below_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let Some(printed) = prints(&shop(folder.path()), &["plan", "--environment", "production", "-o", "graph"]) else { return };
    let line = |layer: &str| {
        let found = printed.lines().position(|line| line.split(' ').next_back() == Some(layer));
        found.unwrap_or_else(|| panic!("{layer} is not in:\n{printed}"))
    };
    let order = ["flux-system", "namespaces", "credentials", "database", "database-schema", "shop-api", "shop-storefront", "shop-checks"];
    assert!(order.windows(2).all(|pair| line(pair[0]) < line(pair[1])), "{printed}");
    let widest = printed.lines().map(|line| line.chars().count()).max();
    assert!(widest < Some(80), "{printed}");
}

#[test]
fn a_log_tells_the_commit_and_the_object_and_what_going_back_undoes() {
    let folder = tempfile::tempdir().unwrap();
    let repository = shop(folder.path());
    let file = repository.join("apps/shop-checks/cronjob.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("*/10 * * * *", "*/5 * * * *")).unwrap();
    git(&repository, &["commit", "--quiet", "--all", "--message", "Look twice as often"]);
    let log = |range: &str, form: &str| prints(&repository, &["log", range, "--environment", "production", "-o", form]);
    let Some(forward) = log("HEAD~1", "human") else { return };
    assert!(forward.contains("1 commit; objects of 1 of 14 layers change"), "{forward}");
    let lines: Vec<&str> = forward.lines().filter(|line| !line.is_empty()).map(str::trim).collect();
    assert_eq!((lines[1], lines[3]), ("flux-system/shop-checks", "~ CronJob shop/shop-checks"), "{forward}");
    assert!(lines[2].contains("Look twice as often"), "{forward}");
    let back: serde_json::Value = serde_json::from_str(&log("HEAD..HEAD~1", "json").unwrap()).unwrap();
    assert_eq!((back["commits"][0]["undone"].as_bool(), back["layers"].as_array().map(Vec::len)), (Some(true), Some(1)), "{back:#}");
    assert!(log("HEAD..HEAD", "markdown").unwrap().contains("0 commits"));
}
