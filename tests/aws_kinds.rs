//! Every kind of cloud resource against moto: made from nothing, found again as declared, changed in place, deleted.
//!
//! tests/aws/NAME.yaml holds manifests (refs between them are resolved). A manifest may carry annotations for the test alone:
//! `test/change: '{"retentionDays": 7}'` (JSON merged into `spec` afterwards: the change must be made in place and be seen).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

use blackstart::aws::observe::observe;
use blackstart::aws::{self, Access, Cloud};
use blackstart::execute::Events;
use blackstart::execute::cloud::{self, Build, Built};
use blackstart::layers::infrastructure::{Declared, needs};
use blackstart::manifest::{Resource, yaml};
use blackstart::plan::{Action, Constraint, Edge};
use blackstart::problem::Origin;
use blackstart::sandbox::cloud::Moto;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

const ENVIRONMENT: &str = "kinds";

fn declared(resources: &[Resource]) -> Vec<Declared> {
    let catalogue = aws::catalogue();
    resources.iter().map(|resource| Declared::read(resource, &catalogue).expect("an ACK manifest").unwrap_or_else(|problems| panic!("{problems:#?}"))).collect()
}

/// One whole run: looks, makes, completes.
async fn run(cloud: &Arc<Cloud>, declared: &[Declared]) -> (Vec<Action>, Built) {
    let (needs, problems) = needs(declared, cloud.place());
    assert_eq!(problems, []);
    let (observation, problems) = observe(cloud, ENVIRONMENT, declared, &needs).await.unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!(problems, []);
    let actions: Vec<Action> = (0..declared.len()).map(|position| cloud::action(observation.found.get(&position))).collect();
    for (position, found) in &observation.found {
        if !found.differences.is_empty() {
            println!("{}: differs: {:?}", declared[*position].node(), found.differences);
        }
    }
    let edges = needs
        .iter()
        .map(|need| Edge {
            from: declared[need.from].node(),
            to: declared[need.to].node(),
            constraint: if need.late { Constraint::AppliedBeforeReady } else { Constraint::ReadyBeforeStart },
            reason: need.reason.clone(),
            origin: None,
        })
        .collect();
    let (sink, mut events) = mpsc::unbounded_channel();
    let (_stop, stop) = watch::channel(0);
    let build = Build {
        cloud: cloud.clone(),
        environment: ENVIRONMENT.into(),
        declared: declared.to_vec(),
        edges,
        observation,
        events: Events::new(sink),
        stop,
    };
    let built = tokio::time::timeout(std::time::Duration::from_secs(120), cloud::build(build)).await.expect("ends within 120 s");
    while let Ok(event) = events.try_recv() {
        let text = serde_json::to_string(&event.happening).unwrap();
        if text.contains("\"error\"") {
            println!("{text}");
        }
    }
    (actions, built)
}

fn merge(value: &mut Value, change: &Value) {
    match (value.as_object_mut(), change.as_object()) {
        (Some(object), Some(changes)) => changes.iter().for_each(|(key, change)| merge(object.entry(key.clone()).or_insert(Value::Null), change)),
        _ => value.clone_from(change),
    }
}

async fn life(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let documents = yaml::documents(&text).expect("YAML");
    let resources: Vec<Resource> = documents
        .into_iter()
        .map(|document| Resource { value: document.value, origin: Some(Origin { file: file.to_owned(), line: document.line }) })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let moto = match Moto::start(folder.path(), "123456789012").await {
        Ok(moto) => moto,
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    };
    let access = Access { account: Some("123456789012".into()), region: Some("eu-west-1".into()), sandbox: Some(moto.endpoint()) };
    let cloud = Arc::new(Cloud::connect(&access).await.unwrap());
    let all = declared(&resources);

    let (actions, built) = run(&cloud, &all).await;
    assert!(actions.iter().all(|action| *action == Action::Create), "{actions:?}");
    assert!(built.success);

    let (actions, built) = run(&cloud, &all).await;
    let kept: Vec<String> = all.iter().zip(&actions).filter(|(_, action)| **action != Action::Keep).map(|(one, action)| format!("{} {action:?}", one.node())).collect();
    assert_eq!(kept, [""; 0], "found again as declared");
    assert!(built.success);

    let mut changed = resources.clone();
    let mut changes = 0;
    for resource in &mut changed {
        let change = resource.value.pointer("/metadata/annotations/test~1change").and_then(Value::as_str).map(str::to_owned);
        if let Some(change) = change {
            merge(&mut resource.value["spec"], &serde_json::from_str(&change).expect("JSON in test/change"));
            changes += 1;
        }
    }
    if changes > 0 {
        let changed = declared(&changed);
        let (actions, built) = run(&cloud, &changed).await;
        assert_eq!(actions.iter().filter(|action| **action == Action::Update).count(), changes, "{actions:?}");
        assert!(built.success);
        let (actions, _) = run(&cloud, &changed).await;
        assert!(actions.iter().all(|action| *action == Action::Keep), "{actions:?}");
    }

    // Backwards: what needs others goes first.
    let mut left: Vec<usize> = (0..all.len()).collect();
    let (needs, _) = needs(&all, cloud.place());
    for _ in 0..all.len() {
        let Some(at) = left.iter().position(|one| !needs.iter().any(|need| !need.late && need.from == *one && left.contains(&need.to))) else { break };
        let position = left.remove(at);
        let kind = aws::kind(all[position].schema).unwrap();
        let living = &built.living[&position];
        kind.delete(&cloud, living).await.unwrap_or_else(|error| panic!("{}: {error}", all[position].node()));
        kind.delete(&cloud, living).await.unwrap_or_else(|error| panic!("{}: deleted twice: {error}", all[position].node()));
    }
    let (actions, _) = run_observation(&cloud, &all).await;
    assert!(actions.iter().all(|action| *action == Action::Create), "{actions:?}");
}

async fn run_observation(cloud: &Arc<Cloud>, declared: &[Declared]) -> (Vec<Action>, ()) {
    let (needs, _) = needs(declared, cloud.place());
    let (observation, _) = observe(cloud, ENVIRONMENT, declared, &needs).await.unwrap_or_else(|errors| panic!("{errors:#?}"));
    ((0..declared.len()).map(|position| cloud::action(observation.found.get(&position))).collect(), ())
}

macro_rules! lives {
    ($($name:ident)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            life(concat!(stringify!($name), ".yaml")).await;
        }
    )* };
}

lives! { sqs }
