//! The 65 ACK objects of a real repository (one of them in two folders): planned in order, without an unknown field; each variable that is
//! missing is told.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

mod account;

use account::{ACCOUNT, Account, losses};
use blackstart::layers::infrastructure::Declared;
use blackstart::plan::Action;
use blackstart::read::{self, ReadOptions, Revision};
use blackstart::sandbox::edge::Faults;
use blackstart::{aws, plan};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const ENVIRONMENT: &str = "tests/environments/ack-test-infra-cloud.yaml";

fn repository(into: &Path) -> Option<PathBuf> {
    let given = std::env::var_os("BLACKSTART_SHARED").map(PathBuf::from);
    let shared = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let archive = shared.join("repos/ack-test-infra-flux.tar.gz");
    if !archive.is_file() || blackstart::render::program::find("kustomize").is_none() {
        println!("skipped: ../shared or kustomize is not at hand");
        return None;
    }
    let root = into.join("ack");
    tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(archive).unwrap())).unpack(&root).unwrap();
    git2::Repository::init(&root).unwrap();
    Some(root)
}

fn planned(root: &Path, environment: &Path) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blackstart"));
    let output = command.arg("plan").arg(root).args(["-o", "json", "--environment"]).arg(environment).output().unwrap();
    let plan =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output, plan)
}

/// Problems of cloud manifests; those of files that the archive does not hold are not meant here.
fn problems(plan: &Value) -> Vec<&Value> {
    let is_cloud = |problem: &&Value| {
        let rule = problem["rule"].as_str().unwrap();
        rule.starts_with("cloud-") && rule != "cloud-stray" || problem["file"].as_str().is_some_and(|file| file.starts_with("flux/ack/"))
    };
    plan["problems"].as_array().unwrap().iter().filter(is_cloud).filter(|problem| problem["severity"] == "blocks").collect()
}

#[test]
fn all_are_planned_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let Some(root) = repository(folder.path()) else { return };
    let (_, plan) = planned(&root, &Path::new(env!("CARGO_MANIFEST_DIR")).join(ENVIRONMENT));
    assert_eq!(problems(&plan), Vec::<&Value>::new());
    let nodes: Vec<&str> =
        plan["nodes"].as_array().unwrap().iter().filter_map(|node| node["id"].as_str()).filter(|id| id.starts_with("aws/")).collect();
    assert_eq!(nodes.len(), 64, "{nodes:#?}");
    // Each stands in a layer, and in the namespace that the layer gives it.
    let all = plan["nodes"].as_array().unwrap().iter();
    assert!(all.filter(|node| node["id"].as_str().unwrap().starts_with("aws/")).all(|node| node["owner"] == "ack"), "{nodes:#?}");
    assert!(nodes.iter().all(|id| !id.contains("/default/")) && plan.get("leftToControllers").is_none(), "{nodes:#?}");
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &nodes {
        *kinds.entry(node.split('/').nth(2).unwrap()).or_default() += 1;
    }
    let expected =
        [("AccessEntry", 9), ("Addon", 3), ("Bucket", 1), ("Capability", 1), ("Cluster", 2), ("ElasticIPAddress", 1), ("HostedZone", 1)];
    for (kind, count) in expected.into_iter().chain([("Repository", 15), ("Role", 13), ("RouteTable", 2), ("Subnet", 4), ("VPC", 1)]) {
        assert_eq!(kinds.get(kind), Some(&count), "{kind}");
    }
    let has = |from: &str, to: &str| {
        plan["edges"].as_array().unwrap().iter().any(|edge| {
            edge["from"].as_str().unwrap().ends_with(from) && edge["to"].as_str().unwrap().ends_with(to) && edge["file"].is_string()
        })
    };
    for (from, to) in [
        ("VPC/ack-system/build-vpc", "InternetGateway/ack-system/build-igw"),
        ("ElasticIPAddress/ack-system/build-nat-eip", "NATGateway/ack-system/build-natgw"),
        ("Subnet/ack-system/build-subnet-private-a", "Cluster/ack-system/build-cluster"),
        ("Role/ack-system/build-cluster-role", "Cluster/ack-system/build-cluster"),
        ("Cluster/ack-system/build-cluster", "AccessEntry/ack-system/build-node-access"),
    ] {
        assert!(has(from, to), "{from} before {to}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_made_once_and_what_is_lost_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(root) = repository(folder.path()) else { return };
    let Some(account) = Account::open_in(1, "us-west-2").await else { return };
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(ENVIRONMENT)).unwrap();
    let file = folder.path().join("here.yaml");
    std::fs::write(&file, text.replace("111122223333", ACCOUNT)).unwrap();
    let environment = read::environment(&root, file.to_str(), None).unwrap();
    let options = ReadOptions {
        path: root,
        entrypoint: None,
        revision: Revision::WorkingTree,
        sources: Vec::new(),
        decrypt: false,
        allowed_signers: Vec::new(),
    };
    let reading = read::read(&options, &environment).await.unwrap();
    let declared = plan::plan(&reading, &environment, &aws::catalogue()).declared;
    assert_eq!(declared.len(), 64);
    let cluster = "test-infra-cluster";
    by_terraform(&account, cluster).await;
    losses::thirds(&account, &declared, &[&format!("Cluster/ack-system/{cluster}")]).await;
    few_rounds(&account, &declared).await;
}

/// Where each call takes long, seeing all of them takes as long as at most 15 of them: the most calls of which each began after the one before had ended.
async fn few_rounds(account: &Account, declared: &[Declared]) {
    // Long enough that what the machine itself takes does not count.
    let latency = Duration::from_secs(1);
    account.edge.set_faults(Faults { latency, ..Faults::default() });
    account.edge.take_calls();
    let actions = account.actions(declared).await;
    account.edge.set_faults(Faults::default());
    assert!(actions.iter().all(|action| *action == Action::Keep));
    let mut calls = account.edge.take_calls();
    calls.sort_by_key(|call| call.time);
    let mut ended = jiff::Timestamp::MIN;
    let mut rounds = 0;
    let mut operations: BTreeMap<String, usize> = BTreeMap::new();
    for call in &calls {
        if call.time >= ended {
            ended = call.time + latency;
            rounds += 1;
        }
        *operations.entry(format!("{} {}", call.service, call.operation)).or_default() += 1;
    }
    println!("{} resources are seen by {} calls in {rounds} rounds: {operations:#?}", declared.len(), calls.len());
    assert!(rounds <= 15, "{rounds} rounds");
}

/// What that repository's Terraform makes, and its manifest only adopts: the first cluster.
async fn by_terraform(account: &Account, name: &str) {
    let cloud = &account.cloud;
    let policy = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}"#;
    let role = cloud.iam().create_role().role_name("first").assume_role_policy_document(policy).send().await.unwrap();
    let vpc = cloud.ec2().create_vpc().cidr_block("10.99.0.0/16").send().await.unwrap();
    let mut subnets = Vec::new();
    for (zone, network) in [("us-west-2a", "10.99.0.0/24"), ("us-west-2b", "10.99.1.0/24")] {
        let subnet = cloud.ec2().create_subnet().set_vpc_id(vpc.vpc().unwrap().vpc_id.clone()).availability_zone(zone).cidr_block(network);
        subnets.push(subnet.send().await.unwrap().subnet().unwrap().subnet_id().unwrap().to_owned());
    }
    let networks = aws_sdk_eks::types::VpcConfigRequest::builder().set_subnet_ids(Some(subnets)).build();
    let made = cloud.eks().create_cluster().name(name).role_arn(role.role().unwrap().arn()).resources_vpc_config(networks);
    made.version("1.35").send().await.unwrap();
}

#[test]
fn what_git_does_not_know_is_told_for_each_place() {
    let folder = tempfile::tempdir().unwrap();
    let Some(root) = repository(folder.path()) else { return };
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(ENVIRONMENT)).unwrap();
    let without = folder.path().join("without.yaml");
    std::fs::write(&without, text.replace("        STACK_NAME: test-infra\n", "")).unwrap();
    let (output, plan) = planned(&root, &without);
    assert_eq!(output.status.code(), Some(1));
    let places: Vec<(&str, u64)> = problems(&plan)
        .into_iter()
        .filter(|problem| problem["rule"] == "variable-undefined" && problem["message"].as_str().unwrap().contains("STACK_NAME"))
        .map(|problem| (problem["file"].as_str().unwrap(), problem["line"].as_u64().unwrap()))
        .collect();
    assert!(places.len() > 30, "{places:?}");
    for (file, line) in places {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(text.lines().nth(usize::try_from(line).unwrap() - 1).unwrap().contains("${STACK_NAME"), "{file}:{line}");
    }
}
