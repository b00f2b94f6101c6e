//! The life of the example environment: first start, handover, a second start, recoveries; all in one sandbox with the real agent.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its times")]

mod life;

use blackstart::agent;
use blackstart::cluster::Preconditions;
use blackstart::layers::LayerId;
use blackstart::manifest::ObjectId;
use life::{Recorder, Stage, Write, id, kustomization, print, signal, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_started_handed_over_and_recovered() {
    if life::absent() {
        return;
    }
    let began = Instant::now();
    let step = |what: &str| println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    let stage = Stage::up("life").await;
    step("sandbox with the agent");
    the_remote_is_asked_first(&stage).await;
    step("remote unreachable, remote behind: refused");
    let (declared, twice) = stage.declared().await;
    println!("declared by two layers, left out: {twice:?}");
    assert!(declared.len() > 50, "{}", declared.len());

    the_agent_changes_nothing(&stage, &declared).await;
    step("bootstrap, and the agent changed nothing, also when asked again");
    stage.nothing_is_held().await;
    a_second_start_is_refused(&stage).await;
    step("second bootstrap: refused");
    a_healthy_environment_is_left_alone(&stage).await;
    step("recover of what is healthy: no write");
    two_runs_do_not_meet(&stage).await;
    step("two runs: the second is refused, the Lease of a dead one is taken");
    what_is_gone_comes_back(&stage, &declared).await;
    step("recover of what was lost and changed");
    stage.down().await;
}

/// `bootstrap` writes nothing while the agent would see another commit than ours.
async fn the_remote_is_asked_first(stage: &Stage) {
    let line = stage.audited().await;
    let mut command = stage.command("bootstrap", &[]);
    command.env("GIT_CONFIG_KEY_0", "url./nowhere/at-all.insteadOf");
    life::run(command).await.expect(1).says(&["GitRepository/flux-system/flux-system", "nothing was written", "hint: "]);

    let remote = tempfile::tempdir().unwrap();
    let place = remote.path().display().to_string();
    life::git(Path::new("/"), &["clone", "--quiet", "--bare", &stage.repository.display().to_string(), &place]);
    life::git(&stage.repository, &["commit", "--quiet", "--allow-empty", "--message=not pushed"]);
    let mut command = stage.command("bootstrap", &[]);
    command.env("GIT_CONFIG_KEY_0", format!("url.{place}.insteadOf"));
    life::run(command).await.expect(1).says(&["refs/heads/main of https://git.example.com/shop.git is at", "nothing was written", "push"]);
    life::git(&stage.repository, &["reset", "--quiet", "--hard", "HEAD~1"]);
    assert_eq!(stage.writes_since(line, "blackstart/").await, []);
}

/// Each object, in every version that the API server ever told, is what the run wrote: during the handover, and after one more
/// reconciliation of every layer.
async fn the_agent_changes_nothing(stage: &Stage, declared: &BTreeSet<ObjectId>) {
    let line = stage.audited().await;
    let mut recorder = Recorder::start(stage, declared);
    let ran = stage.run("bootstrap").await.expect(0);
    println!("bootstrap took {:.1} s", ran.took.as_secs_f64());
    stage.all_confirmed().await;
    stage.reconcile_all().await;
    let now = stage.snapshot(declared).await;
    let missing: Vec<&ObjectId> = declared.iter().filter(|id| !now.contains_key(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let versions = recorder.versions(&now).await;
    let mut changed = Vec::new();
    for id in declared {
        let prints: Vec<Value> = versions[id].iter().map(print).collect();
        if let Some(other) = prints.iter().find(|other| *other != &prints[0]) {
            changed.push(format!("{id}\n  as written {}\n  then {other}", prints[0]));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
    // And it did not even try: what it found as declared, it did not write.
    let by_agent = stage.writes_since(line, "kustomize-controller/").await;
    let tried: Vec<&Write> = by_agent.iter().filter(|write| !is_about_itself(write)).collect();
    assert!(!by_agent.is_empty(), "the audit log does not name the agent");
    assert!(tried.is_empty(), "{tried:?}");
}

/// The agent's own business: status and finalizers of its own objects, events, leases.
fn is_about_itself(write: &Write) -> bool {
    let own = write.object.starts_with("kustomizations ") && (write.verb == "patch" || write.verb == "update");
    own || write.object.starts_with("events ") || write.object.starts_with("leases ")
}

async fn a_second_start_is_refused(stage: &Stage) {
    let line = stage.audited().await;
    stage.run("bootstrap").await.expect(1).says(&["bootstrap refused", "exist already", "nothing was written", "blackstart recover"]);
    assert_eq!(stage.writes_since(line, "blackstart/").await, []);
}

async fn a_healthy_environment_is_left_alone(stage: &Stage) {
    let line = stage.audited().await;
    let ran = stage.run("recover").await.expect(0);
    only_leases(stage, line).await;
    println!("recover of a healthy environment took {:.1} s", ran.took.as_secs_f64());
    // The same while the agent is busy with all its layers.
    let line = stage.audited().await;
    let (ran, ()) = tokio::join!(stage.run("recover"), stage.reconcile_all());
    ran.expect(0);
    only_leases(stage, line).await;
}

async fn only_leases(stage: &Stage, line: usize) {
    let writes = stage.writes_since(line, "blackstart/").await;
    let others: Vec<&Write> = writes.iter().filter(|write| !write.is_lease()).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(writes.iter().any(Write::is_lease), "the audit log does not name the run");
}

async fn two_runs_do_not_meet(stage: &Stage) {
    let lease = id("coordination.k8s.io/v1", "Lease", Some("kube-system"), "blackstart-production");
    let is_held = |lease: Option<&Value>| lease.is_some_and(|lease| lease["spec"]["holderIdentity"].is_string());
    let mut first = stage.command("recover", &[]).spawn().unwrap();
    until(stage, &lease, is_held).await;
    signal(first.id(), Signal::STOP);
    let line = stage.audited().await;
    stage.run("recover").await.expect(1).says(&["environment `production` is being worked on by another run", "hint: "]);
    assert_eq!(stage.writes_since(line, "blackstart/").await, []);
    signal(first.id(), Signal::KILL);
    first.wait().unwrap();
    let ran = stage.run("recover").await.expect(0);
    assert!(ran.took.as_secs() < 20, "it waited for the Lease to expire: {:?}", ran.took);
    assert!(!is_held(stage.cluster.get(&lease).await.unwrap().as_ref()), "the Lease is not given back");
}

/// A layer that fails beside a living agent is resumed all the same; a Job that cannot be changed is made anew, as `spec.force` asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_a_new_commit_leaves_nothing_suspended() {
    if life::absent() {
        return;
    }
    let stage = Stage::up("fault").await;
    stage.run("bootstrap").await.expect(0);
    let edit = |file: &str, from: &str, to: &str| {
        let path = stage.repository.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}: {text}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    };
    let job = id("batch/v1", "Job", Some("shop"), "schema");
    let uid = async || stage.cluster.get(&job).await.unwrap().unwrap()["metadata"]["uid"].clone();
    let first = uid().await;
    edit("apps/database-schema/job.yaml", "ON_ERROR_STOP=1", "ON_ERROR_STOP=on");
    edit("apps/shop-checks/cronjob.yaml", "schedule:", "schedule: not a time #");
    stage.commit("a fault");
    stage.run("recover").await.expect(1).says(&["CronJob", "schedule"]);
    stage.nothing_is_held().await;

    edit("apps/shop-checks/cronjob.yaml", "schedule: not a time #", "schedule:");
    stage.commit("corrected");
    stage.run("recover").await.expect(0);
    stage.nothing_is_held().await;
    stage.all_confirmed().await;
    assert_ne!(first, uid().await, "the Job was not made anew");
    stage.down().await;
}

/// Everything is as it was, apart from times and ids of what was made anew; nothing else was written.
async fn what_is_gone_comes_back(stage: &Stage, declared: &BTreeSet<ObjectId>) {
    let before = stage.snapshot(declared).await;
    let lost =
        BTreeSet::from([id("v1", "Service", Some("database"), "postgres"), id("storage.k8s.io/v1", "StorageClass", None, "durable")]);
    for id in lost.iter().chain([&id("v1", "Namespace", None, "shop"), &kustomization("ingress")]) {
        assert!(stage.cluster.delete(id, &Preconditions::default()).await.unwrap(), "{id} is not there");
    }
    let operator = id("apps/v1", "Deployment", Some("messaging"), "messaging-operator");
    let by_hand = json!({"spec": {"replicas": 0}});
    stage.cluster.merge_patch(&operator, None, &by_hand, "test").await.unwrap();
    // What a run left that died while it held a layer, and what somebody suspended on purpose.
    agent::suspend(&stage.cluster, &LayerId::new("flux-system", "credentials")).await.unwrap();
    stage.cluster.merge_patch(&kustomization("shop-checks"), None, &json!({"spec": {"suspend": true}}), "test").await.unwrap();

    let line = stage.audited().await;
    let mut recorder = Recorder::start(stage, &BTreeSet::from([kustomization("x")]));
    // At once: the namespace and the layer are still going.
    let ran = stage.run("recover").await.expect(0).says(&["shop-checks", "suspended by somebody else"]);
    println!("recover took {:.1} s", ran.took.as_secs_f64());

    let checks = stage.cluster.get(&kustomization("shop-checks")).await.unwrap().unwrap();
    assert_eq!(checks["spec"]["suspend"], true, "a layer that somebody suspended is left so");
    stage.cluster.merge_patch(&kustomization("shop-checks"), None, &json!({"spec": {"suspend": null}}), "test").await.unwrap();
    until(stage, &kustomization("shop-checks"), |object| {
        object.is_some_and(|object| object["status"]["observedGeneration"] == object["metadata"]["generation"] && life::is_ready(object))
    })
    .await;
    stage.nothing_is_held().await;
    stage.all_confirmed().await;

    let after = stage.snapshot(declared).await;
    let is_lost = |id: &ObjectId| {
        let in_place = matches!(id.namespace.as_deref(), Some("shop" | "ingress")) && id.kind != "Kustomization";
        in_place || lost.contains(id) || id.kind == "Namespace" && id.name == "shop" || *id == kustomization("ingress")
    };
    for (id, old) in &before {
        let Some(new) = after.get(id) else { panic!("{id} did not come back") };
        let (mut old_print, mut new_print) = (print(old), print(new));
        if is_lost(id) {
            assert_ne!(old["metadata"]["uid"], new["metadata"]["uid"], "{id} was not lost");
            forget_what_the_server_chooses(&mut old_print, old);
            forget_what_the_server_chooses(&mut new_print, new);
        } else {
            assert_eq!(old["metadata"]["uid"], new["metadata"]["uid"], "{id} was made anew");
            if *id == operator {
                new_print["managed"]["time"] = old_print["managed"]["time"].clone();
            }
        }
        assert_eq!(old_print, new_print, "{id}");
    }

    let writes = stage.writes_since(line, "blackstart/").await;
    let written: BTreeSet<&str> = writes.iter().filter(|write| !write.is_lease()).map(|write| write.object.as_str()).collect();
    let strange: Vec<&&str> = written
        .iter()
        .filter(|object| {
            let known =
                ["services database/postgres", "storageclasses durable", "namespaces shop", "deployments messaging/messaging-operator"];
            let (resource, name) = object.split_once(' ').unwrap();
            !(known.contains(object) || name.starts_with("shop/") || name.starts_with("ingress/") || resource == "kustomizations")
        })
        .collect();
    assert!(strange.is_empty(), "{strange:?}");

    // The layers that were worked on were suspended meanwhile, the others never.
    let now: BTreeMap<_, _> =
        after.iter().filter(|(id, _)| id.kind == "Kustomization").map(|(id, object)| (id.clone(), object.clone())).collect();
    let versions = recorder.versions(&now).await;
    let was_held = |name: &str| {
        versions.get(&kustomization(name)).is_some_and(|versions| {
            versions.iter().any(|object| {
                let entries = object["metadata"]["managedFields"].as_array().unwrap();
                entries.iter().any(|entry| entry["manager"] == "blackstart" && entry.pointer("/fieldsV1/f:spec/f:suspend").is_some())
            })
        })
    };
    for name in ["namespaces", "storage", "credentials", "database", "database-schema", "messaging-operator", "shop-api", "shop-storefront"]
    {
        assert!(was_held(name), "{name} was not suspended");
    }
    for name in ["messaging", "messaging-crds", "flux-system"] {
        assert!(!was_held(name), "{name} was suspended");
    }
}

fn forget_what_the_server_chooses(print: &mut Value, object: &Value) {
    print["managed"]["time"] = Value::Null;
    for field in ["clusterIP", "clusterIPs"] {
        if let Some(spec) = print["object"]["spec"].as_object_mut() {
            spec.remove(field);
        }
    }
    // A Job's selector names its uid.
    let uid = object["metadata"]["uid"].as_str().unwrap();
    *print = serde_json::from_str(&print.to_string().replace(uid, "uid")).unwrap();
}
