//! A commit that comes while a run waits: taken in where it changes what is waited for, told where it does not.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its times")]

mod life;

use life::{Stage, git, id};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;

/// Longest wait for a word of the run.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a run says, line by line.
struct Said {
    lines: mpsc::UnboundedReceiver<String>,
    all: String,
}

impl Said {
    /// Reads on until a line has this in it.
    async fn until(&mut self, words: &str) {
        let found = async {
            while let Some(line) = self.lines.recv().await {
                self.all.push_str(&line);
                self.all.push('\n');
                if line.contains(words) {
                    return true;
                }
            }
            false
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        assert!(found == Ok(true), "`{words}` is not said:\n{}", self.all);
    }
}

/// Starts a recovery that takes commits in.
fn follow(stage: &Stage) -> (Child, Said) {
    let mut command = stage.command("recover", &["--follow"]);
    command.stdout(Stdio::null());
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
    let (sender, lines) = mpsc::unbounded_channel();
    let mut from = BufReader::new(child.stderr.take().unwrap()).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = from.next_line().await {
            let _ = sender.send(line);
        }
    });
    (child, Said { lines, all: String::new() })
}

/// It ends, with everything ready at the last commit.
async fn ends(stage: &Stage, mut child: Child, said: &Said) {
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("ends within 120 s").unwrap();
    assert!(status.success(), "{status}:\n{}", said.all);
    stage.all_confirmed().await;
}

/// Commits a file with a line of it replaced; gives the commit.
fn change(stage: &Stage, file: &str, from: &str, to: &str) -> String {
    let path = stage.repository.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file}: no `{from}`");
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    stage.commit(&format!("{from} to {to}"));
    git(&stage.repository, &["rev-parse", "--short=12", "HEAD"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_mends_what_failed_is_taken_in() {
    if life::absent() {
        return;
    }
    let began = Instant::now();
    let step = |what: &str| println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    let stage = Stage::up("follow").await;
    let (file, at) = ("apps/shop-checks/cronjob.yaml", "schedule: ");
    // The API server refuses it.
    change(&stage, file, at, "schedule: \"99 * * * *\" # ");
    let (child, mut said) = follow(&stage);
    said.until("Waits for a commit that changes what is not ready").await;
    step("failed");
    assert!(said.all.contains("shop-checks"), "{}", said.all);
    // A page for people changes nothing in the cluster.
    let unrelated = change(&stage, "README.md", "#", "# ");
    said.until(&format!("commit {unrelated} changes nothing that is waited for")).await;
    step("another commit told");
    let broken = change(&stage, file, "kind: CronJob", "kind: [CronJob");
    said.until(&format!("commit {broken} is not taken in: apps/shop-checks/cronjob.yaml:")).await;
    step("a broken commit told");
    let mended = change(&stage, file, "kind: [CronJob", "kind: CronJob");
    said.until(&format!("commit {mended} changes nothing that is waited for")).await;
    let mended = change(&stage, file, "schedule: \"99 * * * *\" # ", at);
    said.until(&format!("commit {mended} changes flux-system/shop-checks: on it goes")).await;
    ends(&stage, child, &said).await;
    step("ready");
    assert!(stage.cluster.get(&id("batch/v1", "CronJob", Some("shop"), "shop-checks")).await.unwrap().is_some());
    stage.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_unblocks_a_run_ends_its_waiting() {
    if life::absent() {
        return;
    }
    let stage = Stage::up("unblock").await;
    // No pod of it is ever ready: kwok plays pods, and this one asks for a node that is not there.
    let path = "apps/shop-storefront/base/deployment.yaml";
    change(&stage, path, "      containers:", "      nodeSelector: {disk: none}\n      containers:");
    let (child, mut said) = follow(&stage);
    said.until("shop-storefront").await;
    let deployment = id("apps/v1", "Deployment", Some("shop"), "shop-storefront");
    let there = async {
        while stage.cluster.get(&deployment).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, there).await.expect("written within 120 s");
    let mended = change(&stage, path, "      nodeSelector: {disk: none}\n", "");
    said.until(&format!("commit {mended} changes flux-system/shop-storefront")).await;
    ends(&stage, child, &said).await;
    stage.down().await;
}
