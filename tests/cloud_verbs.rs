//! `plan --live`, `status`, `adopt` and `destroy`: the real program against moto and, where a cluster is meant, a real API server.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

mod account;
mod cluster_server;

use account::environment::Environment;
use account::{Account, of};
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification, VolumeType};
use blackstart::cluster::{Apply, Cluster};
use blackstart::layers::infrastructure::{TAG_ENVIRONMENT, TAG_RESOURCE};
use blackstart::plan::Action;
use cluster_server::server;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NETWORK: &str = "apiVersion: ec2.services.k8s.aws/v1alpha1
kind: VPC
metadata:
  name: main
  namespace: infra
spec:
  cidrBlocks: [10.0.0.0/16]
---
apiVersion: ec2.services.k8s.aws/v1alpha1
kind: Subnet
metadata:
  name: a
  namespace: infra
spec:
  cidrBlock: 10.0.0.0/24
  vpcRef: {from: {name: main}}
";
const DATA: &str = "apiVersion: sqs.services.k8s.aws/v1alpha1
kind: Queue
metadata: {name: orders, namespace: infra}
spec:
  queueName: orders
  visibilityTimeout: \"60\"
---
apiVersion: s3.services.k8s.aws/v1alpha1
kind: Bucket
metadata: {name: invoices, namespace: infra}
spec: {name: tests-invoices}
---
apiVersion: secretsmanager.services.k8s.aws/v1alpha1
kind: Secret
metadata: {name: token, namespace: infra, annotations: {services.k8s.aws/deletion-policy: retain}}
spec: {name: token}
";

/// What happens to a node, as a plan tells it.
fn action(plan: &Value, node: &str) -> String {
    let nodes = plan["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|one| one["id"] == node).unwrap_or_else(|| panic!("{node} is not in {nodes:#?}"));
    node["action"].as_str().unwrap().to_owned()
}

async fn plan(environment: &Environment, account: &Account) -> Value {
    let said = environment.run(&account.edge.endpoint(), None, &["plan", "--live", "-o", "json"]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_plan_tells_what_is_made_changed_and_kept() {
    let Some(account) = Account::open(1).await else { return };
    assert!(account.run(&of(NETWORK)).await.success);
    assert!(account.run(&of(&DATA.replace("60", "30"))).await.success);
    account.edge.take_calls();
    let table = "---
apiVersion: dynamodb.services.k8s.aws/v1alpha1
kind: Table
metadata: {name: invoices, namespace: infra}
spec:
  tableName: invoices
  billingMode: PAY_PER_REQUEST
  attributeDefinitions: [{attributeName: id, attributeType: S}]
  keySchema: [{attributeName: id, keyType: HASH}]
";
    let environment = Environment::new(&format!("{NETWORK}---\n{DATA}{table}"), "");
    let seen = plan(&environment, &account).await;
    for (node, expected) in [
        ("aws/ec2/VPC/infra/main", "Keep"),
        ("aws/ec2/Subnet/infra/a", "Keep"),
        ("aws/sqs/Queue/infra/orders", "Update"),
        ("aws/dynamodb/Table/infra/invoices", "Create"),
        ("layer/flux-system/one", "Create"),
        ("agent/flux", "Create"),
    ] {
        assert_eq!(action(&seen, node), expected, "{node}");
    }
    let expected = json!([{
        "node": "aws/sqs/Queue/infra/orders", "path": "visibilityTimeout", "declared": "60", "living": "30", "inPlace": true,
        "file": "infra/all.yaml", "line": 18,
    }]);
    assert_eq!(seen["differences"], expected);
    assert!(seen["live"]["cluster"]["unreachable"].as_str().unwrap().contains("/nonexistent/kubeconfig"), "{}", seen["live"]);
    assert_eq!(seen["live"]["layers"][1], json!({"id": "flux-system/one", "create": 2, "change": 0, "keep": 0}));
    let human = environment.run(&account.edge.endpoint(), None, &["plan", "--live"]).await;
    human.has(
        &[
            "account: 123456789012 eu-west-1, 5 resources found",
            "not reachable",
            "spec.visibilityTimeout is \"60\" in Git and \"30\" in AWS",
            "2 to create",
        ],
        0,
    );
    assert_eq!(account.writes(), [""; 0], "a plan writes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_plan_counts_what_the_cluster_has() {
    let Some(account) = Account::open(1).await else { return };
    let Some(server) = tokio::task::spawn_blocking(server).await.unwrap() else { return };
    let kubeconfig = server.kubeconfig("live", "admin-token", server.port);
    let cluster = Cluster::connect(Some(&kubeconfig), None).await.unwrap();
    let labels = json!({"kustomize.toolkit.fluxcd.io/name": "one", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
    let map = |name: &str, value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", "labels": labels}, "data": {"key": value}});
    let environment = Environment::new(DATA, "");
    let ask = async || {
        let said = environment.run(&account.edge.endpoint(), Some(&kubeconfig), &["plan", "--live", "-o", "json"]).await;
        let plan = said.json();
        (action(&plan, "layer/flux-system/one"), plan["live"]["layers"][1].clone())
    };
    let counts =
        |create: usize, change: usize, keep: usize| json!({"id": "flux-system/one", "create": create, "change": change, "keep": keep});
    assert_eq!(ask().await, ("Create".to_owned(), counts(2, 0, 0)));
    cluster.apply(&map("one", "x"), &Apply::flux()).await.unwrap();
    assert_eq!(ask().await, ("Update".to_owned(), counts(1, 0, 1)));
    cluster.apply(&map("two", "other"), &Apply::flux()).await.unwrap();
    assert_eq!(ask().await, ("Update".to_owned(), counts(0, 1, 1)));
    cluster.apply(&map("two", "x"), &Apply::flux()).await.unwrap();
    assert_eq!(ask().await, ("Keep".to_owned(), counts(0, 0, 2)));
    let status = environment.run(&account.edge.endpoint(), Some(&kubeconfig), &["status"]).await;
    status.has(&["0 of 3 found, 3 missing", "https://127.0.0.1:", "agent", "not installed", "0 of 2 ready"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_lists_what_is_missing_and_what_differs() {
    let Some(account) = Account::open(1).await else { return };
    assert!(account.run(&of(&DATA.replace("60", "30"))).await.success);
    account.edge.take_calls();
    let environment = Environment::new(&format!("{NETWORK}---\n{DATA}"), "");
    let said = environment.run(&account.edge.endpoint(), None, &["status"]).await;
    said.has(
        &[
            "not as declared",
            "123456789012 eu-west-1",
            "3 of 5 found, 2 missing, 1 different",
            "missing ec2 VPC infra/main  infra/all.yaml:1",
            "different sqs Queue infra/orders: spec.visibilityTimeout is \"60\" in Git and \"30\" in AWS  infra/all.yaml:18",
            "not reachable",
        ],
        1,
    );
    let status = environment.run(&account.edge.endpoint(), None, &["status", "-o", "json"]).await.json();
    assert_eq!((&status["kind"], &status["asDeclared"], &status["aws"]["found"]), (&"Status".into(), &false.into(), &3.into()));
    assert_eq!(account.writes(), [""; 0]);
}

/// A VPC that nobody but a person made, with a subnet in it; gives the VPC's ID.
async fn network(account: &Account, name: Option<&str>) -> String {
    let made = account.cloud.ec2().create_vpc().cidr_block("10.0.0.0/16").send().await.unwrap();
    let vpc = made.vpc().unwrap().vpc_id().unwrap().to_owned();
    account.cloud.ec2().create_subnet().vpc_id(&vpc).cidr_block("10.0.0.0/24").send().await.unwrap();
    if let Some(name) = name {
        account.tag(&vpc, &[("Name", name)]).await;
    }
    vpc
}

#[tokio::test(flavor = "multi_thread")]
async fn adopt_asks_first_then_marks_what_it_finds_and_writes_nothing_else() {
    let Some(account) = Account::open(1).await else { return };
    let vpc = network(&account, Some("main")).await;
    account.cloud.sqs().create_queue().queue_name("orders").send().await.unwrap();
    account.edge.take_calls();
    let named = NETWORK.replacen("  cidrBlocks:", "  tags: [{key: Name, value: main}]\n  cidrBlocks:", 1);
    let environment = Environment::new(&format!("{named}---\n{DATA}"), "");
    let said = environment.run(&account.edge.endpoint(), None, &["adopt"]).await;
    said.has(&[&vpc, "by all tags that Git declares", "by vpcID vpc-", "by queueName orders", "missing", "no terminal", "--yes"], 2);
    assert_eq!(account.writes(), [""; 0], "nobody confirmed");
    let said = environment.run(&account.edge.endpoint(), None, &["adopt", "--yes"]).await;
    said.has(&["3 resources marked"], 0);
    assert_eq!(said.out, "", "no tags to propose");
    let mut writes = account.writes();
    writes.sort();
    // The queue lives with another timeout: that is for a run to change.
    assert_eq!(writes, ["ec2 CreateTags", "ec2 CreateTags", "sqs TagQueue"]);
    let found = account.cloud.ec2().describe_vpcs().vpc_ids(&vpc).send().await.unwrap();
    let tags: Vec<(&str, &str)> = found.vpcs()[0].tags().iter().map(|tag| (tag.key().unwrap(), tag.value().unwrap())).collect();
    assert!(tags.contains(&(TAG_ENVIRONMENT, "tests")) && tags.contains(&(TAG_RESOURCE, "infra/main")), "{tags:?}");
    account.edge.take_calls();
    environment.run(&account.edge.endpoint(), None, &["adopt", "--yes"]).await.has(&["marked"], 0);
    assert_eq!(account.writes(), [""; 0], "all are marked already");
}

#[tokio::test(flavor = "multi_thread")]
async fn adopt_believes_the_cluster_and_proposes_the_tags_that_git_should_declare() {
    let Some(account) = Account::open(1).await else { return };
    let Some(server) = tokio::task::spawn_blocking(server).await.unwrap() else { return };
    let kubeconfig = server.kubeconfig("adopt", "admin-token", server.port);
    let vpc = network(&account, Some("shop")).await;
    // One more that is as good, were it not for the cluster's word.
    network(&account, None).await;
    in_cluster(&Cluster::connect(Some(&kubeconfig), None).await.unwrap(), &vpc).await;
    account.edge.take_calls();
    let environment = Environment::new(NETWORK, "");
    let lost = environment.run(&account.edge.endpoint(), None, &["adopt", "--yes"]).await;
    lost.has(&["the cluster was not asked", "missing  ec2 VPC infra/main", "nothing that lives fits"], 0);
    assert_eq!(account.writes(), [""; 0]);
    let said = environment.run(&account.edge.endpoint(), Some(&kubeconfig), &["adopt", "--yes"]).await;
    said.has(
        &[&vpc, "by the status of its object in the cluster", "2 resources marked", "infra/all.yaml:1", "declare the tag Name: shop"],
        0,
    );
    assert_eq!(account.writes(), ["ec2 CreateTags", "ec2 CreateTags"]);
    let mut git = Command::new("git").args(["apply", "-"]).current_dir(environment.path()).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut git.stdin.take().unwrap(), said.out.as_bytes()).unwrap();
    assert!(git.wait().unwrap().success(), "git takes it:\n{}", said.out);
    let seen = plan(&environment, &account).await;
    assert_eq!((action(&seen, "aws/ec2/VPC/infra/main"), action(&seen, "aws/ec2/Subnet/infra/a")), ("Keep".into(), "Keep".into()));
}

/// A custom resource with its definition before it.
async fn define(cluster: &Cluster, plural: &str, object: &Value) {
    let (group, version) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap();
    let kind = object["kind"].as_str().unwrap();
    let version = json!({
        "name": version, "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    });
    let names = json!({"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "versions": [version], "names": names},
    });
    cluster.apply(&definition, &Apply::flux()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while cluster.apply(object, &Apply::flux()).await.is_err() {
        assert!(Instant::now() < deadline, "the definition is not established");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The VPC's object as ACK's controller keeps it.
async fn in_cluster(cluster: &Cluster, vpc: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "infra"}});
    cluster.apply(&namespace, &Apply::flux()).await.unwrap();
    let object = json!({
        "apiVersion": "ec2.services.k8s.aws/v1alpha1", "kind": "VPC", "metadata": {"name": "main", "namespace": "infra"},
        "spec": {"cidrBlocks": ["10.0.0.0/16"]},
    });
    define(cluster, "vpcs", &object).await;
    let id = blackstart::manifest::Resource { value: object, origin: None }.id();
    cluster.merge_patch(&id, Some("status"), &json!({"status": {"vpcID": vpc, "state": "available"}}), "ack").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_wants_the_name_and_tells_what_is_lost() {
    let Some(account) = Account::open(1).await else { return };
    assert!(account.run(&of(DATA)).await.success);
    let bytes = aws_sdk_s3::primitives::ByteStream::from_static(b"paid");
    account.cloud.s3().put_object().bucket("tests-invoices").key("1").body(bytes).send().await.unwrap();
    account.edge.take_calls();
    let environment = Environment::new(DATA, "");
    let listed = [
        "delete",
        "1 sqs Queue",
        "1 s3 Bucket",
        "lost",
        "tests-invoices: 1 object, 4 bytes",
        "keep",
        "Secret infra/token",
        "deletion-policy: retain",
    ];
    let said = environment.run(&account.edge.endpoint(), None, &["destroy"]).await;
    said.has(&listed, 2).has(&["nobody to ask", "--confirm tests"], 2);
    let said = environment.run(&account.edge.endpoint(), None, &["destroy", "--confirm", "production"]).await;
    said.has(&["`production` is not the name of this environment; nothing was deleted"], 2);
    assert_eq!(account.writes(), [""; 0]);
    let report = environment.path().join("report");
    let said =
        environment.run(&account.edge.endpoint(), None, &["destroy", "--confirm", "tests", "--report", report.to_str().unwrap()]).await;
    said.has(&["tests is gone: 2 resources deleted"], 0);
    assert_eq!(account.actions(&of(DATA)).await, [Action::Create, Action::Create, Action::Keep]);
    let written: Value = serde_json::from_str(&std::fs::read_to_string(report.join("report.json")).unwrap()).unwrap();
    assert!(written.to_string().contains("aws/s3/Bucket/infra/invoices"), "{written}");
    account.edge.take_calls();
    let said = environment.run(&account.edge.endpoint(), None, &["destroy", "--confirm", "tests"]).await;
    said.has(&["Nothing of tests is left to delete"], 0);
    assert_eq!(account.writes(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_goes_backwards_and_takes_with_it_what_the_cluster_left() {
    let Some(account) = Account::open(1).await else { return };
    assert!(account.run(&of(NETWORK)).await.success);
    let ec2 = account.cloud.ec2();
    let volume = |tags: &'static [(&str, &str)]| async move {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build()).collect();
        let tags = TagSpecification::builder().resource_type(ResourceType::Volume).set_tags(Some(tags)).build();
        let call = ec2.create_volume().availability_zone("eu-west-1a").size(8).volume_type(VolumeType::Gp3).tag_specifications(tags);
        call.send().await.unwrap().volume_id.unwrap()
    };
    let claimed = volume(&[("kubernetes.io/cluster/shop", "owned"), ("ebs.csi.aws.com/cluster", "true")]).await;
    let other = volume(&[("kubernetes.io/cluster/other", "owned"), ("ebs.csi.aws.com/cluster", "true")]).await;
    let vpc = ec2.describe_vpcs().send().await.unwrap().vpcs.unwrap().into_iter().find(|vpc| vpc.is_default() != Some(true)).unwrap();
    let group = ec2.create_security_group().group_name("k8s-shop").description("of a load balancer").vpc_id(vpc.vpc_id().unwrap());
    let group = group.send().await.unwrap().group_id.unwrap();
    account.tag(&group, &[("elbv2.k8s.aws/cluster", "shop")]).await;
    account.edge.take_calls();
    // The cluster itself is gone already, as after a first destroy.
    let cluster = "---
apiVersion: eks.services.k8s.aws/v1alpha1
kind: Cluster
metadata: {name: shop, namespace: infra}
spec: {name: shop, roleARN: 'arn:aws:iam::123456789012:role/shop', resourcesVPCConfig: {subnetRefs: [{from: {name: a}}]}}
";
    let environment = Environment::new(&format!("{NETWORK}{cluster}"), "  cluster: {eks: {name: shop}}\n");
    let said = environment.run(&account.edge.endpoint(), None, &["destroy", "--confirm", "tests"]).await;
    said.has(&["made by the cluster: 1 security group, 1 volume (8 GiB)", "tests is gone: 2 resources deleted"], 0);
    let calls = account.writes();
    let at = |operation: &str| calls.iter().position(|call| call == operation).unwrap_or_else(|| panic!("{operation} is not in {calls:?}"));
    assert!(at("ec2 DeleteSecurityGroup") < at("ec2 DeleteSubnet") && at("ec2 DeleteSubnet") < at("ec2 DeleteVpc"), "{calls:?}");
    let left: Vec<String> =
        ec2.describe_volumes().send().await.unwrap().volumes.unwrap().into_iter().filter_map(|one| one.volume_id).collect();
    assert!(left.contains(&other) && !left.contains(&claimed), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_leaves_alone_what_is_protected_or_not_ours_and_what_they_need() {
    let Some(account) = Account::open(1).await else { return };
    let vpc = network(&account, Some("main")).await;
    let named = NETWORK.replacen("  cidrBlocks:", "  tags: [{key: Name, value: main}]\n  cidrBlocks:", 1);
    let environment = Environment::new(&named, "");
    account.edge.take_calls();
    let said = environment.run(&account.edge.endpoint(), None, &["destroy", "--confirm", "tests"]).await;
    said.has(&["keep", &vpc, "blackstart neither made nor adopted it", "Nothing of tests is left to delete"], 0);
    let table = "apiVersion: dynamodb.services.k8s.aws/v1alpha1
kind: Table
metadata: {name: orders, namespace: infra}
spec:
  tableName: orders
  billingMode: PAY_PER_REQUEST
  deletionProtectionEnabled: true
  attributeDefinitions: [{attributeName: id, attributeType: S}]
  keySchema: [{attributeName: id, keyType: HASH}]
";
    assert!(account.run(&of(table)).await.success);
    environment.manifests(table);
    account.edge.take_calls();
    let said = environment.run(&account.edge.endpoint(), None, &["destroy", "--confirm", "tests"]).await;
    said.has(&["infra/all.yaml:1 Table infra/orders: orders is protected against deletion by spec.deletionProtectionEnabled", "in Git"], 1);
    assert_eq!(account.writes(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_destroy_goes_on_where_one_failed() {
    let Some(account) = Account::open(1).await else { return };
    assert!(account.run(&of(&format!("{NETWORK}---\n{DATA}"))).await.success);
    account.edge.take_calls();
    let environment = Environment::new(&format!("{NETWORK}---\n{DATA}"), "");
    let wall = account::wall::wall(&account.moto(), "Action=DeleteSubnet", "UnauthorizedOperation").await;
    let said = environment.run(&wall, None, &["destroy", "--confirm", "tests"]).await;
    said.has(
        &[
            "Subnet infra/a (infra/all.yaml:9): cannot delete it: ec2 DeleteSubnet: UnauthorizedOperation",
            "blocks 1: ec2/VPC/infra/main",
            "tests is not gone",
        ],
        1,
    );
    let all = of(&format!("{NETWORK}---\n{DATA}"));
    assert_eq!(account.actions(&all).await, [Action::Keep, Action::Keep, Action::Create, Action::Create, Action::Keep], "the rest is gone");
    let said = environment.run(&account.edge.endpoint(), None, &["destroy", "--confirm", "tests"]).await;
    said.has(&["tests is gone: 2 resources deleted"], 0);
}

/// What kube-controller-manager and the EBS driver do, as far as a deletion asks for it: claims and volumes go when nobody holds them.
async fn controllers(cluster: Cluster) {
    loop {
        for (kind, ends) in [("PersistentVolumeClaim", false), ("PersistentVolume", true)] {
            let claims = cluster.list("v1", "PersistentVolumeClaim", None, None).await.unwrap_or_default();
            for object in cluster.list("v1", kind, None, None).await.unwrap_or_default() {
                let id = blackstart::manifest::Resource { value: object.clone(), origin: None }.id();
                let is_released = ends && object["spec"]["persistentVolumeReclaimPolicy"] == "Delete" && claims.is_empty();
                if is_released {
                    let _ = cluster.delete(&id, &blackstart::cluster::Preconditions::default()).await;
                }
                if object["metadata"]["deletionTimestamp"].is_string() || is_released {
                    let _ = cluster.merge_patch(&id, None, &json!({"metadata": {"finalizers": null}}), "test").await;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_first_lets_the_clusters_controllers_undo_what_they_made() {
    let Some(account) = Account::open(1).await else { return };
    let Some(server) = tokio::task::spawn_blocking(server).await.unwrap() else { return };
    let kubeconfig = server.kubeconfig("clear", "admin-token", server.port);
    let cluster = Cluster::connect(Some(&kubeconfig), None).await.unwrap();
    let namespaced = |api_version: &str, kind: &str, name: &str, spec: Value| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    let volume = |name: &str, policy: &str| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": "ebs.csi.aws.com"}},
            "spec": {"capacity": {"storage": "8Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": policy,
                "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": format!("vol-{name}")}},
        })
    };
    let template = json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let set = json!({"serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template});
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        namespaced("v1", "Service", "front", json!({"type": "LoadBalancer", "ports": [{"port": 80}]})),
        namespaced("v1", "Service", "inner", json!({"ports": [{"port": 80}]})),
        namespaced(
            "v1",
            "PersistentVolumeClaim",
            "data",
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}}),
        ),
        namespaced("apps/v1", "StatefulSet", "db", set),
        volume("data", "Delete"),
        volume("precious", "Retain"),
    ];
    for object in &objects {
        cluster.apply(object, &Apply::flux()).await.unwrap();
    }
    let id = |object: &Value| blackstart::manifest::Resource { value: object.clone(), origin: None }.id();
    let owner = cluster.get(&id(&objects[4])).await.unwrap().unwrap();
    let mut pod = namespaced(
        "v1",
        "Pod",
        "db-0",
        json!({
            "containers": [{"name": "a", "image": "a"}], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        }),
    );
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": owner["metadata"]["uid"], "controller": true}]);
    cluster.apply(&pod, &Apply::flux()).await.unwrap();
    let release = namespaced("helm.toolkit.fluxcd.io/v2", "HelmRelease", "db", json!({"interval": "1m"}));
    define(&cluster, "helmreleases", &release).await;
    assert!(account.run(&of(DATA)).await.success);
    let environment = Environment::new(DATA, &format!("  cluster: {{kubeconfig: {}}}\n", kubeconfig.display()));
    let playing = tokio::spawn(controllers(cluster.clone()));
    let said = environment.run(&account.edge.endpoint(), None, &["destroy", "--confirm", "tests"]).await;
    playing.abort();
    said.has(
        &[
            "in cluster/tests: Service shop/front",
            "in cluster/tests: PersistentVolumeClaim shop/data (8Gi)",
            "keep   vol-precious",
            "tests is gone",
        ],
        0,
    );
    assert!(said.err.find("deleted      cluster/tests") < said.err.find("start        sqs/Queue"), "the cluster first:\n{}", said.err);
    let release = cluster.get(&id(&release)).await.unwrap().unwrap();
    assert_eq!(release["spec"]["suspend"], true, "the agent makes nothing again");
    let mut left = Vec::new();
    for object in &objects {
        left.extend(cluster.get(&id(object)).await.unwrap().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()));
    }
    assert_eq!(left, ["shop", "inner", "precious"], "only what has something in the account goes, and what holds it");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_whole_network_is_left_though_groups_name_each_other() {
    let Some(account) = Account::open(1).await else { return };
    let group = |name: &str, other: &str| {
        let rule = format!("{{ipProtocol: tcp, fromPort: 80, toPort: 80, userIDGroupPairs: [{{groupRef: {{from: {{name: {other}}}}}}}]}}");
        let spec = format!("{{name: {name}, description: {name}, vpcRef: {{from: {{name: main}}}}, ingressRules: [{rule}]}}");
        format!(
            "apiVersion: ec2.services.k8s.aws/v1alpha1\nkind: SecurityGroup\nmetadata: {{name: {name}, namespace: infra}}\nspec: {spec}\n"
        )
    };
    let ways_out = "apiVersion: ec2.services.k8s.aws/v1alpha1
kind: InternetGateway
metadata: {name: out, namespace: infra}
spec: {vpcRef: {from: {name: main}}}
---
apiVersion: ec2.services.k8s.aws/v1alpha1
kind: RouteTable
metadata: {name: public, namespace: infra}
spec:
  vpcRef: {from: {name: main}}
  routes: [{destinationCIDRBlock: 0.0.0.0/0, gatewayRef: {from: {name: out}}}]
";
    let manifests = [NETWORK, ways_out, &group("web", "api"), &group("api", "web")].join("---\n");
    let all = of(&manifests);
    assert!(account.run(&all).await.success);
    account.edge.take_calls();
    let environment = Environment::new(&manifests, "");
    let said = environment.run(&account.edge.endpoint(), None, &["destroy", "--confirm", "tests"]).await;
    said.has(&[&format!("tests is gone: {} resources deleted", all.len())], 0);
    assert_eq!(account.actions(&all).await, vec![Action::Create; all.len()]);
}
