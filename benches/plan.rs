//! Reading and planning alone, without command line and output, against `kustomize build` of each layer, one after the other.
//!
//! `cargo bench --bench plan [-- FOLDER[=ENVIRONMENT]...]`: clones; `plans/shop` where none is given. `scripts/bench plan` measures the released
//! program on real repositories. Everything of a case runs in turn, five times; the median counts. Cold: an empty cache; warm: the same again.

#![expect(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a program that prints what it measured")]

use blackstart::plan::plan;
use blackstart::read::{self, ReadOptions, Revision};
use blackstart::render::program;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
/// Reads one repository, and that is all.
const ONCE: &str = "--read-once";

/// A clone and the environment that it is read with.
struct Case {
    folder: PathBuf,
    environment: Option<String>,
}

fn timed(call: impl FnOnce()) -> Duration {
    let began = Instant::now();
    call();
    began.elapsed()
}

/// The example, committed in a folder of its own.
fn shop(folder: &Path) -> PathBuf {
    let to = folder.join("shop");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/shop");
    assert!(Command::new("cp").arg("-r").args([&from, &to]).status().unwrap().success(), "cp");
    for words in [
        &["init", "--quiet", "--initial-branch", "main"][..],
        &["add", "--all"],
        &[
            "-c",
            "user.name=bench",
            "-c",
            "user.email=bench@example.com",
            "-c",
            "commit.gpgsign=false",
            "commit",
            "--quiet",
            "--message",
            "bench",
        ],
    ] {
        assert!(Command::new("git").arg("-C").arg(&to).args(words).status().unwrap().success(), "git {words:?}");
    }
    to
}

/// The folders that the plan's layers are rendered from.
fn once(case: &Case) -> Vec<String> {
    let environment = read::environment(&case.folder, case.environment.as_deref(), None).unwrap();
    let options = ReadOptions {
        path: case.folder.clone(),
        entrypoint: None,
        revision: Revision::WorkingTree,
        sources: Vec::new(),
        decrypt: false,
        allowed_signers: Vec::new(),
    };
    let reading = read::read_blocking(&options, &environment).unwrap();
    plan(&reading, &environment, &[]).layers.into_iter().map(|layer| layer.path).collect()
}

/// The same in a process of its own, whose caches are in this folder.
fn alone(case: &Case, kustomize: &Path, cache: &Path) {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = kustomize.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&paths));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(ONCE).arg(&case.folder).args(&case.environment);
    command.env("XDG_CACHE_HOME", cache).env("PATH", std::env::join_paths(paths).unwrap());
    assert!(command.status().unwrap().success(), "{}", case.folder.display());
}

/// Each layer by kustomize, where it has a kustomization.
fn one_by_one(kustomize: &Path, folders: &[PathBuf]) {
    for folder in folders {
        let build = ["build", "--load-restrictor", "LoadRestrictionsNone"];
        let _ = Command::new(kustomize).args(build).arg(folder).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn median(mut all: Vec<Duration>) -> f64 {
    all.sort();
    all[all.len() / 2].as_secs_f64()
}

fn main() {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(ONCE) {
        once(&Case { folder: words.next().unwrap().into(), environment: words.next() });
        return;
    }
    let Some(kustomize) = program::find("kustomize") else {
        eprintln!("kustomize: not found; install it with: blackstart sandbox install");
        return;
    };
    let work = tempfile::tempdir().unwrap();
    let given: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let mut cases: Vec<Case> = given
        .iter()
        .map(|word| match word.split_once('=') {
            Some((folder, environment)) => Case { folder: folder.into(), environment: Some(environment.to_owned()) },
            None => Case { folder: word.into(), environment: None },
        })
        .collect();
    if cases.is_empty() {
        cases.push(Case { folder: shop(work.path()), environment: Some("staging".to_owned()) });
    }
    println!("{:<32} {:>6} {:>10} {:>10} {:>6} {:>10} {:>6}", "repository", "layers", "kustomize", "cold", "of it", "warm", "of it");
    for case in &cases {
        let paths = once(case);
        let mut folders: Vec<PathBuf> = paths.iter().map(|path| case.folder.join(path)).collect();
        folders.retain(|folder| ["kustomization.yaml", "kustomization.yml"].iter().any(|file| folder.join(file).is_file()));
        folders.sort();
        folders.dedup();
        let (mut each, mut cold, mut warm) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let cache = tempfile::tempdir().unwrap();
            each.push(timed(|| one_by_one(&kustomize, &folders)));
            cold.push(timed(|| alone(case, &kustomize, cache.path())));
            warm.push(timed(|| alone(case, &kustomize, cache.path())));
        }
        let (each, cold, warm) = (median(each), median(cold), median(warm));
        println!(
            "{:<32} {:>6} {each:>8.3} s {cold:>8.3} s {:>5.2}x {warm:>8.3} s {:>5.2}x",
            case.folder.file_name().unwrap_or_default().to_string_lossy(),
            paths.len(),
            cold / each,
            warm / each,
        );
    }
}
