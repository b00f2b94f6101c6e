//! Whole graphs of cloud resources against moto: faults, kills, losses. The account must hold each resource once, whatever happened.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

mod account;

use account::{Account, ENVIRONMENT, connect, declared, manifests, run};
use blackstart::aws::{self, State};
use blackstart::layers::infrastructure::{Declared, needs};
use blackstart::plan::Action;
use blackstart::sandbox::edge::Faults;
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

fn not_kept(declared: &[Declared], actions: &[Action]) -> Vec<String> {
    let others = declared.iter().zip(actions).filter(|(_, action)| **action != Action::Keep);
    others.map(|(one, action)| format!("{} {action:?}", one.node())).collect()
}

/// Everything is there once: whatever carries our tags is the one that its manifest means.
async fn is_whole(account: &Account, declared: &[Declared]) {
    assert_eq!(not_kept(declared, &account.actions(declared).await), [""; 0]);
    account.edge.take_calls();
    assert!(account.run(declared).await.success);
    assert_eq!(account.writes(), [""; 0], "one more run writes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_cost_time_and_nothing_else() {
    let Some(account) = Account::open(7).await else { return };
    let declared = example();
    account.edge.set_faults(Faults { errors: 0.05, throttled: 0.1, dropped: 0.02, ..Faults::default() });
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
    let declared = example();
    let mut built = account.run(&declared).await;
    assert!(built.success);
    let (needs, _) = needs(&declared, account.cloud.place());
    let seed: u64 = std::env::var("BLACKSTART_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let mut dice = fastrand::Rng::with_seed(seed);
    for draw in 0..10 {
        // A third, none of which anything that stays needs: AWS would not let go of it either.
        let mut lost: Vec<usize> = Vec::new();
        while lost.len() < declared.len() / 3 {
            // Nor would it let go of the way out while public addresses are mapped through it.
            let is_held = |one: usize| {
                declared[one].schema.kind == "InternetGateway"
                    && (0..declared.len()).any(|other| declared[other].schema.kind == "NATGateway" && !lost.contains(&other))
            };
            let may_go = |one: usize| {
                !is_held(one)
                    && !lost.contains(&one)
                    && needs.iter().filter(|need| !need.late && need.from == one).all(|need| lost.contains(&need.to))
            };
            let free: Vec<usize> = (0..declared.len()).filter(|one| may_go(*one)).collect();
            lost.push(free[dice.usize(..free.len())]);
        }
        for position in &lost {
            let kind = aws::kind(declared[*position].schema).unwrap();
            kind.delete(&account.cloud, &built.living[position])
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", declared[*position].node()));
        }
        let actions = account.actions(&declared).await;
        let missing: Vec<usize> = (0..actions.len()).filter(|position| actions[*position] == Action::Create).collect();
        lost.sort_unstable();
        assert_eq!(missing, lost, "draw {draw}");
        let again = account.run(&declared).await;
        assert!(again.success, "draw {draw}");
        for position in (0..declared.len()).filter(|position| !lost.contains(position)) {
            assert_eq!(again.living[&position].id, built.living[&position].id, "{} is another one", declared[position].node());
        }
        built = again;
    }
    is_whole(&account, &declared).await;
}

/// Not a test of its own: the run that the next one kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_for_another_test() {
    let Ok(endpoint) = std::env::var("BLACKSTART_TEST_ENDPOINT") else { return };
    assert!(run(&connect(&endpoint).await, &example()).await.success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments() {
    let seeds: u64 = std::env::var("BLACKSTART_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let declared = example();
    for seed in 1..=seeds {
        let Some(account) = Account::open(seed).await else { return };
        if seed % 2 == 0 {
            account.edge.set_faults(Faults { errors: 0.05, throttled: 0.1, dropped: 0.02, ..Faults::default() });
        }
        let mut dice = fastrand::Rng::with_seed(seed);
        for _ in 0..2 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["a_run_for_another_test", "--exact", "--quiet"])
                .env("BLACKSTART_TEST_ENDPOINT", account.edge.endpoint())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            tokio::time::sleep(Duration::from_millis(dice.u64(100..4000))).await;
            // Killed, unless it was quicker.
            let _ = child.kill();
            child.wait().unwrap();
        }
        account.edge.set_faults(Faults::default());
        assert!(account.run(&declared).await.success, "seed {seed}");
        once(&account, &declared).await;
        is_whole(&account, &declared).await;
    }
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
