//! What the program says about an account that is not as it should be: message, place, exit code; and that nothing was written.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

mod account;

use account::environment::Environment;
use account::wall::wall;
use account::{ACCOUNT, Account};
use blackstart::sandbox::edge::Edge;

const VPC: &str = "apiVersion: ec2.services.k8s.aws/v1alpha1
kind: VPC
metadata: {name: main, namespace: infra}
spec:
  cidrBlocks: [10.0.0.0/16]
  tags: [{key: Name, value: main}]
";
const QUEUE: &str = "apiVersion: sqs.services.k8s.aws/v1alpha1
kind: Queue
metadata: {name: orders, namespace: infra}
spec:
  queueName: orders
  visibilityTimeout: \"60\"
";

/// A cluster in the VPC.
const CLUSTER: &str = "apiVersion: ec2.services.k8s.aws/v1alpha1
kind: Subnet
metadata: {name: a, namespace: infra}
spec: {cidrBlock: 10.0.0.0/24, vpcRef: {from: {name: main}}, tags: [{key: Name, value: a}]}
---
apiVersion: eks.services.k8s.aws/v1alpha1
kind: Cluster
metadata: {name: shop, namespace: infra}
spec:
  name: shop
  roleARN: arn:aws:iam::123456789012:role/shop
  resourcesVPCConfig: {subnetRefs: [{from: {name: a}}]}
";
/// A cluster that is not there yet: one that cannot be reached would be refused before the first write.
const LATER: &str = "  cluster: {from: {command: [\"false\"]}, timeout: 1s}\n";

fn no_writes(account: &Account) {
    assert_eq!(account.writes(), [""; 0], "nothing was written");
}

/// What a run writes while it keeps others off the account.
fn held(writes: &[&str]) -> Vec<String> {
    ["ssm PutParameter"].iter().chain(writes).chain(&["ssm DeleteParameter"]).map(|call| (*call).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_is_refused_by_every_verb() {
    let Some(account) = Account::open(1).await else { return };
    let environment = Environment::new(QUEUE, LATER);
    environment.settings("{accountID: \"999999999999\", region: eu-west-1}", LATER);
    for arguments in
        [&["recover"][..], &["bootstrap"], &["plan", "--live"], &["status"], &["adopt", "--yes"], &["destroy", "--confirm", "tests"]]
    {
        let said = environment.run(&account.edge.endpoint(), None, arguments).await;
        said.has(
            &[&format!("these credentials belong to account {ACCOUNT}"), "blackstart.yaml allows 999999999999 only", "AWS_PROFILE"],
            1,
        );
    }
    no_writes(&account);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environments_region_counts_and_a_manifest_for_another_is_refused() {
    let Some(account) = Account::open(1).await else { return };
    let environment = Environment::new(QUEUE, LATER);
    // The shell says us-east-1.
    let said = environment.run(&account.edge.endpoint(), None, &["plan", "--live", "-o", "json"]).await;
    assert_eq!(said.json()["live"]["region"], "eu-west-1");
    let elsewhere = QUEUE.replace("namespace: infra}", "namespace: infra, annotations: {services.k8s.aws/region: us-east-1}}");
    let subnet = "---
apiVersion: ec2.services.k8s.aws/v1alpha1
kind: Subnet
metadata: {name: a, namespace: infra}
spec: {vpcID: vpc-1, cidrBlock: 10.0.0.0/24, availabilityZone: us-east-1a}
";
    environment.manifests(&format!("{elsewhere}{subnet}"));
    let said = environment.run(&account.edge.endpoint(), None, &["recover"]).await;
    said.has(
        &[
            "infra/all.yaml:1 Queue infra/orders: services.k8s.aws/region is us-east-1, blackstart.yaml allows eu-west-1 only",
            "infra/all.yaml:8 Subnet infra/a: spec.availabilityZone us-east-1a is not in eu-west-1",
        ],
        1,
    );
    no_writes(&account);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_credentials_are_told_and_end_it() {
    let Some(account) = Account::open(1).await else { return };
    let environment = Environment::new(QUEUE, LATER);
    let wall = wall(&account.edge.endpoint(), "", "ExpiredToken").await;
    let said = environment.run(&wall, None, &["recover"]).await;
    said.has(&["sts GetCallerIdentity: ExpiredToken", "log in again", "aws sso login"], 1);
    no_writes(&account);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_expire_in_the_middle_leave_what_is_made() {
    let Some(account) = Account::open(1).await else { return };
    let environment = Environment::new(&format!("{QUEUE}---\n{VPC}---\n{CLUSTER}"), "  cluster: {eks: {name: shop}}\n");
    let wall = wall(&account.moto(), "Action=CreateVpc", "ExpiredToken").await;
    let edge = Edge::start(&wall, 1).await.unwrap();
    let said = environment.run(&edge.endpoint(), None, &["recover"]).await;
    said.has(
        &[
            "VPC infra/main (infra/all.yaml:8): cannot make it: ec2 CreateVpc: ExpiredToken",
            "log in again",
            "The same command goes on from here",
        ],
        1,
    );
    let made: Vec<_> = edge.take_calls().into_iter().filter(|call| call.writes && call.status == 200).map(|call| call.operation).collect();
    assert_eq!(made, ["PutParameter", "CreateQueue", "DeleteParameter"], "what does not need it is made, and the hold let go of");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_told_with_what_to_do() {
    let Some(account) = Account::open(1).await else { return };
    let environment = Environment::new(VPC, LATER);
    let wall = wall(&account.moto(), "Action=CreateVpc", "VpcLimitExceeded").await;
    let edge = Edge::start(&wall, 1).await.unwrap();
    let said = environment.run(&edge.endpoint(), None, &["recover"]).await;
    said.has(&["VPC infra/main (infra/all.yaml:1)", "VpcLimitExceeded", "Service Quotas"], 1);
    let mut calls = edge.take_calls();
    calls.retain(|call| call.service != "ssm");
    assert_eq!(calls.iter().filter(|call| call.writes).count(), 1, "a limit is not tried again: {calls:?}");
    assert!(calls.iter().all(|call| !call.writes || call.status == 400), "nothing was written: {calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_manifests_are_told_before_the_account_is_asked() {
    let Some(account) = Account::open(1).await else { return };
    let unknown = QUEUE.replace("visibilityTimeout", "visibiltyTimeout");
    let nothing = "---
apiVersion: ec2.services.k8s.aws/v1alpha1
kind: Subnet
metadata: {name: a, namespace: infra}
spec: {vpcRef: {from: {name: man}}, cidrBlock: 10.0.0.0/24}
---
";
    let environment = Environment::new(&format!("{unknown}{nothing}{VPC}"), LATER);
    for arguments in [&["recover"][..], &["adopt", "--yes"], &["destroy", "--confirm", "tests"]] {
        let said = environment.run(&account.edge.endpoint(), None, arguments).await;
        said.has(
            &[
                "infra/all.yaml:1 Queue infra/orders: spec.visibiltyTimeout is not honoured by blackstart",
                "did you mean spec.visibilityTimeout?",
                "infra/all.yaml:8 Subnet infra/a: vpcRef names VPC infra/man, which is not declared",
                "did you mean main?",
                "2 problems; nothing was written",
            ],
            1,
        );
    }
    assert_eq!(account.edge.take_calls().len(), 0, "the account is not even asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_candidates_are_listed_with_what_tells_them_apart() {
    let Some(account) = Account::open(1).await else { return };
    let environment = Environment::new(VPC, LATER);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let made = account.cloud.ec2().create_vpc().cidr_block("10.0.0.0/16").send().await.unwrap();
        let id = made.vpc().unwrap().vpc_id().unwrap().to_owned();
        account.tag(&id, &[("Name", "main")]).await;
        ids.push(id);
    }
    account.edge.take_calls();
    for arguments in [&["recover"][..], &["plan", "--live"], &["adopt", "--yes"], &["destroy", "--confirm", "tests"]] {
        let said = environment.run(&account.edge.endpoint(), None, arguments).await;
        let parts =
            ["infra/all.yaml:1 VPC infra/main: more than one living resource fits", &ids[0], &ids[1], "tags Name=main", "adoption-fields"];
        said.has(&parts, 1);
    }
    no_writes(&account);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_replacement_would_change_is_told_with_both_values() {
    let Some(account) = Account::open(1).await else { return };
    let table = |key: &str| {
        format!(
            "apiVersion: dynamodb.services.k8s.aws/v1alpha1
kind: Table
metadata: {{name: orders, namespace: infra}}
spec:
  tableName: orders
  billingMode: PAY_PER_REQUEST
  attributeDefinitions: [{{attributeName: {key}, attributeType: S}}]
  keySchema: [{{attributeName: {key}, keyType: HASH}}]
"
        )
    };
    let environment = Environment::new(&table("id"), LATER);
    environment.run(&account.edge.endpoint(), None, &["bootstrap"]).await;
    environment.manifests(&table("number"));
    account.edge.take_calls();
    for arguments in [&["recover"][..], &["plan", "--live"]] {
        let said = environment.run(&account.edge.endpoint(), None, arguments).await;
        let parts = [
            "infra/all.yaml:1 Table infra/orders: spec.keySchema is",
            "\"number\"",
            "\"id\"",
            "cannot change it in place",
            "blackstart replaces nothing",
        ];
        said.has(&parts, 1);
    }
    no_writes(&account);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_takes_over_nothing_that_no_annotation_gives_it() {
    let Some(account) = Account::open(1).await else { return };
    account.cloud.sqs().create_queue().queue_name("orders").send().await.unwrap();
    account.edge.take_calls();
    let environment = Environment::new(QUEUE, LATER);
    let said = environment.run(&account.edge.endpoint(), None, &["bootstrap"]).await;
    said.has(&["infra/all.yaml:1 Queue infra/orders", "exists already (queueName orders)", "blackstart recover", "adopt-or-create"], 1);
    no_writes(&account);
    let asking = QUEUE.replace("namespace: infra}", "namespace: infra, annotations: {services.k8s.aws/adoption-policy: adopt-or-create}}");
    environment.manifests(&asking);
    let said = environment.run(&account.edge.endpoint(), None, &["bootstrap"]).await;
    assert!(!said.err.contains("exists already"), "{}", said.err);
    assert_eq!(account.writes(), held(&["sqs SetQueueAttributes"]), "taken over, and made as declared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_marks_what_it_takes_over_once_unless_ack_tends_it() {
    let Some(account) = Account::open(1).await else { return };
    let queues = format!("{QUEUE}---\n{}", QUEUE.replace("orders", "tended"));
    for name in ["orders", "tended"] {
        let timeout = aws_sdk_sqs::types::QueueAttributeName::VisibilityTimeout;
        account.cloud.sqs().create_queue().queue_name(name).attributes(timeout, "60").send().await.unwrap();
    }
    let url = account.cloud.sqs().get_queue_url().queue_name("tended").send().await.unwrap().queue_url.unwrap();
    account.cloud.sqs().tag_queue().queue_url(url).tags("services.k8s.aws/controller-version", "sqs-v1.2.3").send().await.unwrap();
    account.edge.take_calls();
    let environment = Environment::new(&queues, LATER);
    environment.run(&account.edge.endpoint(), None, &["recover"]).await;
    assert_eq!(account.writes(), held(&["sqs TagQueue"]));
    environment.run(&account.edge.endpoint(), None, &["recover"]).await;
    no_writes(&account);
    let said = environment.run(&account.edge.endpoint(), None, &["plan", "--live", "-o", "json"]).await;
    let plan = said.json();
    let action = |name: &str| {
        let id = format!("aws/sqs/Queue/infra/{name}");
        plan["nodes"].as_array().unwrap().iter().find(|node| node["id"] == id.as_str()).unwrap()["action"].clone()
    };
    assert_eq!((action("orders"), action("tended")), ("Keep".into(), "Adopt".into()));
}
