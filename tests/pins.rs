//! Going back to an earlier commit and staying there: a sandbox with the real agent, whose branch is ahead of it all the time.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its times")]

mod life;

use blackstart::manifest::ObjectId;
use life::{KUSTOMIZATION, Recorder, Stage, Write, git, id, is_ready, kustomization};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

fn source() -> ObjectId {
    id("source.toolkit.fluxcd.io/v1", "GitRepository", Some("flux-system"), "flux-system")
}

fn job() -> ObjectId {
    id("batch/v1", "CronJob", Some("shop"), "shop-checks")
}

/// Commits another schedule; gives the commit.
fn schedule(stage: &Stage, minute: u32) -> String {
    let path = stage.repository.join("apps/shop-checks/cronjob.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with("schedule:")).unwrap();
    std::fs::write(&path, text.replace(line, &format!("  schedule: \"{minute} * * * *\""))).unwrap();
    stage.commit(&format!("at minute {minute}"));
    git(&stage.repository, &["rev-parse", "HEAD"])
}

async fn minute(stage: &Stage) -> String {
    let schedule = stage.cluster.get(&job()).await.unwrap().unwrap()["spec"]["schedule"].as_str().unwrap().to_owned();
    schedule.split(' ').next().unwrap().to_owned()
}

/// Commits that the agent has tried of a layer, one after the other.
fn commits(versions: &[Value]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for object in versions {
        let commit =
            object["status"]["lastAttemptedRevision"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned();
        if !commit.is_empty() && found.last() != Some(&commit) {
            found.push(commit);
        }
    }
    found
}

/// Every layer is Ready in the agent's words, at this commit.
async fn all_at(stage: &Stage, commit: &str) {
    for object in stage.cluster.list(KUSTOMIZATION.0, KUSTOMIZATION.1, None, None).await.unwrap() {
        if object["metadata"]["name"] == "maintenance" {
            continue;
        }
        assert!(is_ready(&object), "{object:#}");
        let applied = object["status"]["lastAppliedRevision"].as_str().unwrap_or_default();
        assert!(applied.ends_with(commit), "{}: at {applied}, not at {commit}", object["metadata"]["name"]);
    }
}

async fn is_pinned(stage: &Stage, commit: &str) {
    let object = stage.cluster.get(&source()).await.unwrap().unwrap();
    assert_eq!(object["spec"]["ref"], json!({"branch": "main", "commit": commit}));
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let own: Vec<&Value> = entries.iter().filter(|entry| entry["manager"] == "blackstart-pin").map(|entry| &entry["fieldsV1"]).collect();
    assert_eq!(own, [&json!({"f:spec": {"f:ref": {"f:commit": {}}}})]);
}

fn run<'a>(stage: &'a Stage, verb: &'a str, more: &'a [&'a str]) -> impl Future<Output = life::Ran> + 'a {
    life::run(stage.command(verb, more))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_stays_where_it_is_pinned_until_it_is_let_go() {
    if life::absent() {
        return;
    }
    let began = Instant::now();
    let step = |what: &str| println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    let stage = Stage::up("pin").await;
    let good = schedule(&stage, 11);
    run(&stage, "bootstrap", &[]).await.expect(0);
    let bad = schedule(&stage, 22);
    run(&stage, "recover", &[]).await.expect(0);
    all_at(&stage, &bad).await;
    step("up, and at the newer commit");

    // An earlier commit without a pin, and one that the agent would not find.
    run(&stage, "recover", &["--revision", &good]).await.expect(1).says(&["nothing was written", "--pin"]);
    let line = stage.audited().await;
    git(&stage.repository, &["checkout", "--quiet", "--detach"]);
    git(&stage.repository, &["commit", "--quiet", "--allow-empty", "--message=elsewhere"]);
    let elsewhere = git(&stage.repository, &["rev-parse", "HEAD"]);
    git(&stage.repository, &["checkout", "--quiet", "main"]);
    run(&stage, "recover", &["--revision", &elsewhere, "--pin"]).await.expect(1).says(&["in its history", "nothing was written"]);
    assert_eq!(stage.writes_since(line, "blackstart/").await, []);

    let mut recorder = Recorder::start(&stage, &BTreeSet::from([kustomization("x")]));
    let back = run(&stage, "recover", &["--revision", &good, "--pin"]).await.expect(0);
    back.says(&["whatever its branch has", "blackstart recover --unpin", "kubectl -n flux-system patch gitrepository flux-system"]);
    step("back, and pinned");
    is_pinned(&stage, &good).await;
    all_at(&stage, &good).await;
    assert_eq!(minute(&stage).await, "11");
    stage.nothing_is_held().await;

    // The branch goes on, and every layer is asked to look: nothing rolls forward, and the agent's own sync object does not undo the pin.
    let newest = schedule(&stage, 33);
    stage.reconcile_all().await;
    is_pinned(&stage, &good).await;
    all_at(&stage, &good).await;
    assert_eq!(minute(&stage).await, "11");
    let layers = stage.cluster.list(KUSTOMIZATION.0, KUSTOMIZATION.1, None, None).await.unwrap();
    let now: BTreeMap<_, _> =
        layers.into_iter().map(|object| (kustomization(object["metadata"]["name"].as_str().unwrap()), object)).collect();
    for (id, versions) in recorder.versions(&now).await {
        // From the newer to the earlier one, once.
        let told = commits(&versions);
        let went = told.iter().position(|commit| *commit == good);
        assert!(went.is_none_or(|at| told[at..].iter().all(|commit| *commit == good)), "{id}: {told:?}");
    }
    step("every layer asked to look: still there");

    // The same again writes nothing; a run of another commit is refused; looking says where the agent stays.
    let line = stage.audited().await;
    run(&stage, "recover", &["--revision", &good, "--pin"]).await.expect(0);
    let writes = stage.writes_since(line, "blackstart/").await;
    let others: Vec<&Write> = writes.iter().filter(|write| !write.is_lease()).collect();
    assert!(others.is_empty(), "{others:?}");
    let line = stage.audited().await;
    run(&stage, "recover", &[]).await.expect(1).says(&["an earlier run has pinned it at", &good, "nothing was written", "--unpin"]);
    assert_eq!(stage.writes_since(line, "blackstart/").await, []);
    let pinned = format!("GitRepository flux-system/flux-system: pinned at {}", &good[..12]);
    run(&stage, "status", &[]).await.expect(1).says(&[
        &pinned,
        "recover --unpin",
        "kubectl -n flux-system patch gitrepository flux-system",
    ]);
    run(&stage, "prove", &["--revision", &good]).await.expect(0).says(&["pinned at", &good[..12]]);
    run(&stage, "prove", &[]).await.expect(1).says(&["pinned at", &good[..12]]);
    step("refused, and told");

    run(&stage, "recover", &["--unpin"]).await.expect(0);
    let object = stage.cluster.get(&source()).await.unwrap().unwrap();
    assert_eq!(object["spec"]["ref"], json!({"branch": "main"}));
    all_at(&stage, &newest).await;
    assert_eq!(minute(&stage).await, "33");
    stage.nothing_is_held().await;
    step("let go, and at the newest commit");
    stage.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_from_nothing_never_sees_its_source_without_the_pin() {
    if life::absent() {
        return;
    }
    let stage = Stage::up("pin-new").await;
    let good = schedule(&stage, 11);
    let newest = schedule(&stage, 22);
    let mut recorder = Recorder::start(&stage, &BTreeSet::from([source(), kustomization("x")]));
    run(&stage, "bootstrap", &["--revision", &good, "--pin"]).await.expect(0);
    stage.reconcile_all().await;
    is_pinned(&stage, &good).await;
    all_at(&stage, &good).await;
    assert_eq!(minute(&stage).await, "11");
    let layers = stage.cluster.list(KUSTOMIZATION.0, KUSTOMIZATION.1, None, None).await.unwrap();
    let mut now: BTreeMap<_, _> =
        layers.into_iter().map(|object| (kustomization(object["metadata"]["name"].as_str().unwrap()), object)).collect();
    now.insert(source(), stage.cluster.get(&source()).await.unwrap().unwrap());
    let versions = recorder.versions(&now).await;
    assert!(versions[&source()].iter().all(|object| object["spec"]["ref"]["commit"] == *good), "{:#?}", versions[&source()]);
    for (id, versions) in versions.iter().filter(|(id, _)| id.kind == "Kustomization") {
        assert!(!commits(versions).contains(&newest), "{id}: {:?}", commits(versions));
    }
    stage.down().await;
}
