//! The benchmark's graph of cloud resources: 200 of them, with drawn durations, made in the sandbox's AWS; how long that takes against
//! its critical path. Prints one JSON object.
//!
//! What is measured is the tool: moto and the edge take no time of their own but the drawn one, and run on the same machine.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program of the benchmark")]

use blackstart::aws::observe::observe;
use blackstart::aws::{self, Access, Cloud};
use blackstart::execute::Events;
use blackstart::execute::cloud::{Build, build};
use blackstart::execute::progress::Progress;
use blackstart::layers::infrastructure::{Declared, needs};
use blackstart::manifest::{Resource, yaml};
use blackstart::plan::cloud::edges;
use blackstart::plan::estimate::estimate;
use blackstart::plan::{Action, Node, Plan};
use blackstart::sandbox::cloud::Moto;
use blackstart::sandbox::edge::Edge;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

const ACCOUNT: &str = "123456789012";
const SEED: u64 = 7;
/// Clusters, and members of each.
const CLUSTERS: usize = 8;
const GROUPS: usize = 6;
const ADDONS: usize = 12;
const IDENTITIES: usize = 4;

/// Manifests, and how long each takes by name.
fn graph() -> (String, BTreeMap<String, Duration>) {
    let mut dice = fastrand::Rng::with_seed(SEED);
    let mut text = String::new();
    let mut durations = BTreeMap::new();
    let mut add = |group: &str, kind: &str, name: &str, spec: &str| {
        let _ = writeln!(
            text,
            "---\napiVersion: {group}.services.k8s.aws/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: bench}}\nspec: {spec}"
        );
    };
    let from = |name: &str| format!("{{from: {{name: {name}}}}}");
    let policy = r#"'{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}'"#;
    add("ec2", "VPC", "bench", "{cidrBlocks: [10.0.0.0/16]}");
    for (zone, network) in [("a", 0), ("b", 1)] {
        let spec = format!("{{vpcRef: {}, cidrBlock: 10.0.{network}.0/24, availabilityZone: eu-west-1{zone}}}", from("bench"));
        add("ec2", "Subnet", &format!("bench-{zone}"), &spec);
    }
    add("iam", "Role", "bench", &format!("{{name: bench, assumeRolePolicyDocument: {policy}}}"));
    let subnets = format!("[{}, {}]", from("bench-a"), from("bench-b"));
    for cluster in 0..CLUSTERS {
        let name = format!("bench-{cluster}");
        let spec = format!("{{name: {name}, roleRef: {}, resourcesVPCConfig: {{subnetRefs: {subnets}}}}}", from("bench"));
        add("eks", "Cluster", &name, &spec);
        let mut drawn = |name: &str, least: u64, most: u64| {
            durations.insert(name.to_owned(), Duration::from_millis(dice.u64(least * 1000..most * 1000)));
        };
        drawn(&name, 30, 50);
        for group in 0..GROUPS {
            let group = format!("{name}-group-{group}");
            let spec = format!("{{name: {group}, clusterRef: {}, nodeRoleRef: {}, subnetRefs: {subnets}}}", from(&name), from("bench"));
            add("eks", "Nodegroup", &group, &spec);
            drawn(&group, 5, 20);
        }
        for addon in 0..ADDONS {
            let addon = format!("{name}-addon-{addon}");
            add("eks", "Addon", &addon, &format!("{{name: {addon}, clusterRef: {}}}", from(&name)));
            drawn(&addon, 2, 12);
        }
        for identity in 0..IDENTITIES {
            let spec =
                format!("{{clusterRef: {}, namespace: app, serviceAccount: app-{identity}, roleRef: {}}}", from(&name), from("bench"));
            add("eks", "PodIdentityAssociation", &format!("{name}-identity-{identity}"), &spec);
        }
    }
    for queue in 0..12 {
        add("sqs", "Queue", &format!("bench-{queue}"), &format!("{{queueName: bench-{queue}}}"));
    }
    (text, durations)
}

#[tokio::main]
async fn main() {
    let (text, durations) = graph();
    let catalogue = aws::catalogue();
    let read = |document: yaml::Document| Declared::read(&Resource { value: document.value, origin: None }, &catalogue).unwrap().unwrap();
    let declared: Vec<Declared> = yaml::documents(&text).unwrap().into_iter().map(read).collect();

    let logs = tempfile::tempdir().unwrap();
    let moto = Moto::start(logs.path(), ACCOUNT).await.unwrap();
    let edge = Edge::start(&moto.endpoint(), SEED).await.unwrap();
    edge.set_durations(durations.clone());
    // What has no drawn time is there at once.
    let access =
        Access { account: Some(ACCOUNT.into()), region: Some("eu-west-1".into()), sandbox: Some(edge.endpoint()), ..Access::default() };
    let cloud = Arc::new(Cloud::connect(&access).await.unwrap());

    let (needs, problems) = needs(&declared, cloud.place());
    assert_eq!(problems, []);
    let edges = edges(&declared, &needs);
    let node = |one: &Declared| Node {
        id: one.node(),
        action: Action::Create,
        owner: "blackstart",
        seconds: durations.get(one.resource.name()).map_or(0.0, Duration::as_secs_f64),
    };
    let plan = Plan { nodes: declared.iter().map(node).collect(), edges: edges.clone(), ..Plan::default() };
    let critical = estimate(&plan, &BTreeMap::new(), 1.0).seconds;

    let began = Instant::now();
    let (observation, problems) = observe(&cloud, "bench", &declared, &needs).await.unwrap();
    assert_eq!(problems, []);
    let (sink, mut events) = mpsc::unbounded_channel();
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let (_stop, stop) = watch::channel(0);
    let count = declared.len();
    let work = Build {
        cloud: Some(cloud),
        environment: "bench".into(),
        declared,
        commands: Vec::new(),
        base: logs.path().to_owned(),
        edges,
        observation,
        backups: std::collections::HashMap::new(),
        events: Events::new(sink),
        journal: None,
        progress: Progress::default(),
        stop,
    };
    let built = build(work).await;
    let seconds = began.elapsed().as_secs_f64();
    assert!(built.success, "not everything was made");
    let calls = edge.take_calls().len();
    println!(
        "{}",
        json!({"resources": count, "edges": needs.len(), "criticalPath": critical, "seconds": seconds, "ratio": seconds / critical, "calls": calls})
    );
}
