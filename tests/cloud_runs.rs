//! Whole graphs of cloud resources against moto: faults, kills, losses. The account must hold each resource once, whatever happened.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

mod account;

use account::losses::{self, is_whole};
use account::{Account, ENVIRONMENT, connect, declared, manifests, run};
use blackstart::aws::{self, State};
use blackstart::layers::infrastructure::{Declared, needs};
use blackstart::sandbox::edge::Faults;
use futures::StreamExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            files(&entry, into);
        } else {
            into.push(entry);
        }
    }
}

/// The cloud resources of the example environment.
fn example() -> Vec<Declared> {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/shop/cloud"), &mut found);
    let resources: Vec<_> = found.iter().flat_map(|file| manifests(file)).collect();
    assert!(resources.len() > 20);
    declared(&resources)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_cost_time_and_nothing_else() {
    let Some(account) = Account::open(7).await else { return };
    let declared = example();
    account.edge.set_faults(Faults::worst());
    let mut built = account.run(&declared).await;
    if !built.success {
        // What failed for good is gone on with by the same command.
        built = account.run(&declared).await;
    }
    account.edge.set_faults(Faults::default());
    assert!(built.success);
    is_whole(&account, &declared).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_is_made_again_and_the_rest_is_kept() {
    let Some(account) = Account::open(1).await else { return };
    // moto does not let a record of the zone's own name be made again, nor an instance with the address of one that is gone.
    losses::thirds(&account, &example(), &["RecordSet/ack-system/certificates", "Instance/ack-system/invoices"]).await;
}

/// Not a test of its own: the run that the next one kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_for_another_test() {
    let Ok(endpoint) = std::env::var("BLACKSTART_TEST_ENDPOINT") else { return };
    let journal = std::env::var_os("BLACKSTART_TEST_JOURNAL").map(PathBuf::from).expect("a folder");
    assert!(run(&connect(&endpoint).await, &example(), &journal).await.success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments() {
    let asked = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = asked("BLACKSTART_FIRST_SEED").unwrap_or(1);
    let declared = example();
    let seeds = first..first + asked("BLACKSTART_SEEDS").unwrap_or(3);
    // A run waits for most of its time, for AWS' limits above all.
    futures::stream::iter(seeds).for_each_concurrent(3, |seed| killed(seed, &declared)).await;
}

/// Two runs are killed, the next one makes the rest. With every second seed calls fail too.
async fn killed(seed: u64, declared: &[Declared]) {
    let Some(account) = Account::open(seed).await else { return };
    if seed.is_multiple_of(2) {
        account.edge.set_faults(Faults::worst());
    }
    let mut dice = fastrand::Rng::with_seed(seed);
    for _ in 0..2 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_run_for_another_test", "--exact", "--quiet"])
            .env("BLACKSTART_TEST_ENDPOINT", account.edge.endpoint())
            .env("BLACKSTART_TEST_JOURNAL", account.journal())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(dice.u64(100..4000))).await;
        // Killed, unless it was quicker.
        let _ = child.kill();
        child.wait().unwrap();
    }
    let mut built = account.run(declared).await;
    if !built.success {
        built = account.run(declared).await;
    }
    account.edge.set_faults(Faults::default());
    assert!(built.success, "seed {seed}");
    once(&account, declared).await;
    is_whole(&account, declared).await;
    println!("seed {seed}: each once");
}

/// No two living resources are marked as the same one.
async fn once(account: &Account, declared: &[Declared]) {
    let (needs, _) = needs(declared, account.cloud.place());
    let wanted: Vec<_> = declared.iter().map(|one| aws::observe::wanted(one, ENVIRONMENT, "", |_, _, _, _| None)).collect();
    assert_eq!(needs.is_empty(), declared.is_empty());
    for kind in aws::kinds() {
        let mine: Vec<_> = wanted.iter().filter(|one| std::ptr::eq(one.declared.schema, kind.schema())).cloned().collect();
        if mine.is_empty() {
            continue;
        }
        let living = kind.list(&account.cloud, &mine).await.unwrap();
        for one in mine {
            let key = one.declared.key();
            let marked = living
                .iter()
                .filter(|other| other.tags.get(blackstart::layers::infrastructure::TAG_RESOURCE) == Some(&key))
                .filter(|other| !matches!(other.state, State::Leaving(_)));
            assert!(marked.count() <= 1, "{} lives more than once", one.declared.node());
        }
    }
}
