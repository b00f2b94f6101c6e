//! Handing cloud resources to controllers in the cluster, call by call: a real API server with ACK's kinds, moto as the account.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

mod account;
mod cluster_server;

use account::{Account, declared};
use blackstart::aws::Living;
use blackstart::cluster::watch::Watches;
use blackstart::cluster::{Apply, ApplyResult, Cluster, ssa, wait};
use blackstart::execute::handover::{Handover, HandoverError};
use blackstart::execute::layer::{self, Work};
use blackstart::execute::progress::{Made, Progress};
use blackstart::execute::{Below, Events, Shared};
use blackstart::layers::LayerId;
use blackstart::layers::infrastructure::{Declared, service};
use blackstart::manifest::{Resource, yaml};
use blackstart::problem::Origin;
use cluster_server::{Server, server};
use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, WatchEvent, WatchParams};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::Instant;

const MARK: &str = "/metadata/annotations/services.k8s.aws~1adopted";

macro_rules! real {
    ($server:ident, $account:ident) => {
        let Some($server) = tokio::task::spawn_blocking(server).await.unwrap() else { return };
        let Some($account) = Account::open(1).await else { return };
    };
}

/// A definition as ACK's are, but for the schema.
fn definition(resource: &Resource) -> Value {
    let (group, kind) = (resource.group(), resource.kind());
    let plural = format!("{}s", kind.to_lowercase());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

async fn define(cluster: &Cluster, resources: &[Resource]) {
    let watches = Watches::new(cluster.clone());
    for resource in resources {
        let definition = Resource { value: definition(resource), origin: None };
        cluster.apply(&definition.value, &Apply::flux()).await.unwrap();
        wait::settled(&watches, &definition.id(), Duration::from_secs(30)).await.unwrap();
    }
}

/// As a layer's objects come: with the agent's labels.
fn prepared(text: &str) -> Vec<Resource> {
    let documents = yaml::documents(text).unwrap();
    let prepare = |value| ssa::prepare_value(value, &LayerId::new("flux-system", "cloud"), None);
    let origin = |line| Some(Origin { file: "cloud.yaml".to_owned(), line });
    documents.into_iter().map(|one| Resource { origin: origin(one.line), value: prepare(one.value) }).collect()
}

const NETWORK: &str = "apiVersion: ec2.services.k8s.aws/v1alpha1
kind: VPC
metadata: {name: net, namespace: default}
spec: {cidrBlocks: [10.0.0.0/16], enableDNSSupport: true, tags: [{key: Name, value: net}]}
---
apiVersion: ec2.services.k8s.aws/v1alpha1
kind: Subnet
metadata: {name: a, namespace: default}
spec: {cidrBlock: 10.0.1.0/24, vpcRef: {from: {name: net}}}
---
apiVersion: iam.services.k8s.aws/v1alpha1
kind: Role
metadata: {name: node, namespace: default}
spec:
  name: node
  assumeRolePolicyDocument: '{\"Version\": \"2012-10-17\", \"Statement\": [{\"Effect\": \"Allow\", \"Principal\": {\"Service\": \"ec2.amazonaws.com\"}, \"Action\": \"sts:AssumeRole\"}]}'
---
apiVersion: sqs.services.k8s.aws/v1alpha1
kind: Queue
metadata: {name: orders, namespace: default}
spec: {queueName: orders}
";

/// The resources of a text, made in an account and told as a run tells them.
async fn made(account: &Account, resources: &[Resource]) -> (Progress, Vec<Living>) {
    let declared: Vec<Declared> = declared(resources);
    let built = account.run(&declared).await;
    assert!(built.success);
    let progress = Progress::default();
    let living: Vec<Living> = (0..declared.len()).map(|position| built.living[&position].clone()).collect();
    for (one, living) in declared.iter().zip(&living) {
        tell(&progress, &one.node(), living);
    }
    account.edge.take_calls();
    (progress, living)
}

fn tell(progress: &Progress, node: &str, living: &Living) {
    progress.ready(node.to_owned(), Made { outputs: living.outputs(), living: Some(living.clone()) });
}

fn handover(account: &Account, progress: &Progress, cluster: &Cluster) -> Handover {
    Handover::new(Below { cloud: Some(account.cloud.clone()), progress: progress.clone() }, cluster.clone()).unwrap()
}

async fn admin(server: &Server) -> Cluster {
    Cluster::connect(Some(&server.kubeconfig("handover", "admin-token", server.port)), None).await.unwrap()
}

/// All versions of the objects of a kind, as the server wrote them, from now on.
async fn versions(server: &Server, resource: &Resource) -> (Arc<Mutex<Vec<Value>>>, tokio::task::JoinHandle<()>) {
    let file = server.kubeconfig("watching", "admin-token", server.port);
    let kubeconfig = kube::config::Kubeconfig::read_from(file).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let kind = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(resource.group(), "v1alpha1", resource.kind()),
        &format!("{}s", resource.kind().to_lowercase()),
    );
    let api: Api<DynamicObject> = Api::namespaced_with(client, "default", &kind);
    let since = api.list(&kube::api::ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (sink, name) = (seen.clone(), resource.name().to_owned());
    let task = tokio::spawn(async move {
        let stream = api.watch(&WatchParams::default(), &since).await.unwrap();
        let mut stream = std::pin::pin!(stream);
        while let Some(Ok(event)) = stream.next().await {
            if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event
                && object.metadata.name.as_deref() == Some(&name)
            {
                sink.lock().unwrap().push(serde_json::to_value(object).unwrap());
            }
        }
    });
    (seen, task)
}

/// The versions once there are so many; bounded.
async fn at_least(seen: &Arc<Mutex<Vec<Value>>>, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while seen.lock().unwrap().len() < count && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    seen.lock().unwrap().clone()
}

/// What a manager has applied: the paths of its first two levels.
fn owned(object: &Value, manager: &str) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let mut fields = Vec::new();
    for entry in entries.iter().filter(|entry| entry["manager"] == manager && entry["operation"] == "Apply") {
        for (top, below) in entry["fieldsV1"].as_object().unwrap() {
            fields.extend(below.as_object().unwrap().keys().map(|key| format!("{top}.{key}")));
        }
    }
    fields.sort();
    fields
}

/// Without what changes with each write.
fn lasting(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| !matches!(key.as_str(), "managedFields" | "resourceVersion" | "annotations"));
    object
}

/// What ACK's controller says when all is as declared.
async fn sync(cluster: &Cluster, resource: &Resource) {
    let conditions = json!([{"type": "ACK.ResourceSynced", "status": "True"}]);
    cluster.merge_patch(&resource.id(), Some("status"), &json!({"status": {"conditions": conditions}}), "controller").await.unwrap();
}

async fn get(cluster: &Cluster, resource: &Resource) -> Value {
    cluster.get(&resource.id()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_arrives_with_its_id_and_belongs_to_agent_and_controller() {
    real!(server, account);
    let cluster = admin(&server).await;
    let resources = prepared(NETWORK);
    define(&cluster, &resources).await;
    let (progress, living) = made(&account, &resources).await;
    let handover = handover(&account, &progress, &cluster);
    let (seen, watching) = versions(&server, &resources[0]).await;
    for resource in &resources {
        let applied = handover.of(resource).unwrap().apply(&cluster, &Apply::flux()).await.unwrap();
        assert_eq!(applied.result, ApplyResult::Created);
    }

    // The first version has it all, before any controller could see less; then the ID; then it is the agent's.
    let versions = at_least(&seen, 4).await;
    assert_eq!(versions.len(), 4, "{versions:#?}");
    assert_eq!(versions[0].pointer(MARK), Some(&json!("true")));
    assert_eq!(versions[0]["metadata"]["finalizers"], json!(["finalizers.ec2.services.k8s.aws/VPC"]));
    assert_eq!(versions[0]["metadata"]["labels"], resources[0].value["metadata"]["labels"]);
    assert_eq!((&versions[0]["spec"], versions[0].get("status")), (&resources[0].value["spec"], None));
    let metadata = json!({
        "ownerAccountID": "123456789012", "region": "eu-west-1", "partition": "aws",
        "arn": format!("arn:aws:ec2:eu-west-1:123456789012:vpc/{}", living[0].id),
    });
    assert_eq!(versions[1]["status"], json!({"vpcID": living[0].id, "ackResourceMetadata": metadata}));
    assert_eq!(owned(&versions[1], "kustomize-controller"), [""; 0]);
    assert!(owned(&versions[2], "kustomize-controller").contains(&"f:spec.f:cidrBlocks".to_owned()));
    assert_eq!(owned(&versions[3], "blackstart"), ["f:metadata.f:annotations", "f:metadata.f:finalizers"]);

    // Each kind has its own ID, a subnet what its controller needs of it beside that.
    let subnet = get(&cluster, &resources[1]).await;
    assert_eq!(subnet["status"]["subnetID"], living[1].id.as_str());
    assert!(subnet["status"]["privateDNSNameOptionsOnLaunch"].is_object(), "{subnet:#}");
    assert_eq!(get(&cluster, &resources[2]).await["status"]["ackResourceMetadata"]["arn"], "arn:aws:iam::123456789012:role/node");
    assert_eq!(get(&cluster, &resources[3]).await["status"]["queueURL"], living[3].id.as_str());
    assert_eq!(account.writes(), [""; 0], "nothing is written to AWS");

    // The agent finds nothing to do, and can take away later what Git no longer declares.
    for resource in &resources {
        assert_eq!(cluster.apply(&resource.value, &Apply::flux().if_drifted()).await.unwrap().result, ApplyResult::Unchanged);
    }

    // Its controller comes: the mark goes, nothing else does.
    let before: Vec<Value> = at_least(&seen, 4).await;
    for resource in &resources {
        sync(&cluster, resource).await;
    }
    assert_eq!(handover.settle(Duration::from_secs(20)).await, []);
    let versions = at_least(&seen, 6).await;
    assert_eq!(versions.len(), 6, "{:#?}", &versions[before.len()..]);
    assert_eq!((versions[4].pointer(MARK), versions[5].pointer(MARK)), (Some(&json!("true")), None));
    assert_eq!(lasting(&versions[4]), lasting(&versions[5]));
    assert_eq!(versions[5]["status"]["vpcID"], living[0].id.as_str());

    let mut less = resources[0].value.clone();
    less["spec"].as_object_mut().unwrap().remove("enableDNSSupport");
    cluster.apply(&less, &Apply::flux().if_drifted()).await.unwrap();
    assert_eq!(get(&cluster, &resources[0]).await["spec"].get("enableDNSSupport"), None);

    // Another run has nothing to hand over, and asks AWS nothing.
    account.edge.take_calls();
    let again = self::handover(&account, &progress, &cluster);
    let applied = again.of(&resources[1]).unwrap().apply(&cluster, &Apply::flux().if_drifted()).await.unwrap();
    assert_eq!((applied.result, again.marked(), account.edge.take_calls().len()), (ApplyResult::Unchanged, 0, 0));
    watching.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_that_died_anywhere_is_completed_by_the_next() {
    real!(server, account);
    let cluster = admin(&server).await;
    let vpc = |steps: u32| {
        NETWORK.split("---").next().unwrap().replace("name: net", &format!("name: died-{steps}")).replace("10.0.", &format!("10.{steps}."))
    };
    for steps in 0..=4 {
        let resources = prepared(&vpc(steps));
        let resource = &resources[0];
        define(&cluster, &resources).await;
        let (progress, living) = made(&account, &resources).await;
        let first = handover(&account, &progress, &cluster);
        let mut handed = first.of(resource).unwrap();
        if steps > 0 {
            handed.look().await.unwrap();
            handed.mark(true).await.unwrap();
        }
        if steps > 1 {
            handed.identify().await.unwrap();
        }
        if steps == 3 {
            // Dead between the two writes of the last step.
            cluster.apply(&resource.value, &Apply::flux()).await.unwrap();
        }
        if steps > 3 {
            handed.finish(&cluster, &Apply::flux()).await.unwrap();
        }

        let next = handover(&account, &progress, &cluster);
        let look = next.of(resource).unwrap().apply(&cluster, &Apply::flux().if_drifted().dry()).await.unwrap();
        let expected = [ApplyResult::Created, ApplyResult::Changed, ApplyResult::Changed, ApplyResult::Changed, ApplyResult::Unchanged];
        assert_eq!(look.result, expected[steps as usize], "after {steps} steps");
        next.of(resource).unwrap().apply(&cluster, &Apply::flux().if_drifted()).await.unwrap();
        let object = get(&cluster, resource).await;
        assert_eq!(object.pointer(MARK), Some(&json!("true")), "after {steps} steps");
        assert_eq!(object["status"]["vpcID"], living[0].id.as_str(), "after {steps} steps");
        assert_eq!(owned(&object, "blackstart"), ["f:metadata.f:annotations", "f:metadata.f:finalizers"], "after {steps} steps");
        assert!(owned(&object, "kustomize-controller").contains(&"f:spec.f:cidrBlocks".to_owned()), "after {steps} steps");

        // Nobody comes: told, and the mark stays for the next run, which removes it when somebody has.
        assert_eq!(next.settle(Duration::from_millis(300)).await, [resource.id()]);
        sync(&cluster, resource).await;
        let last = handover(&account, &progress, &cluster);
        let look = last.of(resource).unwrap().apply(&cluster, &Apply::flux().if_drifted().dry()).await.unwrap();
        assert_eq!(look.result, ApplyResult::Unchanged);
        assert_eq!(last.settle(Duration::from_secs(20)).await, []);
        assert_eq!(get(&cluster, resource).await.pointer(MARK), None, "after {steps} steps");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_or_another_id_is_refused_and_nothing_is_written() {
    real!(server, account);
    let cluster = admin(&server).await;
    let resources = prepared(&NETWORK.replace("name: net,", "name: refused,"));
    let vpc = &resources[..1];
    define(&cluster, vpc).await;
    let (progress, living) = made(&account, vpc).await;
    let handover = handover(&account, &progress, &cluster);
    let node = "aws/ec2/VPC/default/refused";

    let stale = Living { id: "vpc-0123456789abcdef0".into(), status: json!({"vpcID": "vpc-0123456789abcdef0"}), ..living[0].clone() };
    tell(&progress, node, &stale);
    let error = handover.of(&vpc[0]).unwrap().apply(&cluster, &Apply::flux()).await.unwrap_err();
    assert!(matches!(error, HandoverError::Gone(_)), "{error:?}");
    assert_eq!(error.to_string(), "vpc-0123456789abcdef0 does not live in AWS any more; the object was not written");
    assert_eq!(cluster.get(&vpc[0].id()).await.unwrap(), None);

    // An object that stands for another one.
    tell(&progress, node, &living[0]);
    cluster.apply(&vpc[0].value, &Apply::flux()).await.unwrap();
    cluster.merge_patch(&vpc[0].id(), Some("status"), &json!({"status": {"vpcID": "vpc-1"}}), "controller").await.unwrap();
    let before = get(&cluster, &vpc[0]).await;
    let error = handover.of(&vpc[0]).unwrap().apply(&cluster, &Apply::flux()).await.unwrap_err().to_string();
    assert!(error.contains("stands for vpc-1") && error.contains(&living[0].id), "{error}");
    assert_eq!(get(&cluster, &vpc[0]).await, before);

    // One that its controller is about to make a resource for.
    let begun = json!({"metadata": {"finalizers": ["finalizers.ec2.services.k8s.aws/VPC"]}, "status": {"vpcID": null}});
    cluster.merge_patch(&vpc[0].id(), None, &begun, "controller").await.unwrap();
    cluster.merge_patch(&vpc[0].id(), Some("status"), &json!({"status": {"vpcID": null}}), "controller").await.unwrap();
    let error = handover.of(&vpc[0]).unwrap().apply(&cluster, &Apply::flux()).await.unwrap_err();
    assert!(matches!(error, HandoverError::Begun(_)), "{error:?}");
    assert!(error.hint().unwrap().contains("deletion-policy: retain"));

    // Nobody has looked at it yet: it is taken over as it is.
    let unseen = json!({"metadata": {"finalizers": null}});
    cluster.merge_patch(&vpc[0].id(), None, &unseen, "controller").await.unwrap();
    handover.of(&vpc[0]).unwrap().apply(&cluster, &Apply::flux()).await.unwrap();
    let object = get(&cluster, &vpc[0]).await;
    assert_eq!((object.pointer(MARK), &object["status"]["vpcID"]), (Some(&json!("true")), &json!(living[0].id)));
    assert_eq!(object["metadata"]["finalizers"], json!(["finalizers.ec2.services.k8s.aws/VPC"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_waits_for_the_definition_and_says_where_a_stale_id_stands() {
    real!(server, account);
    let cluster = admin(&server).await;
    let text = NETWORK.split("---").nth(3).unwrap();
    // A kind that no other test defines.
    let text =
        text.replace("sqs.services", "sns.services").replace("kind: Queue", "kind: Topic").replace("queueName: orders", "name: orders");
    let resources = prepared(&text);
    let topic = &resources[0];
    assert_eq!(service(topic), Some("sns"));
    let (progress, living) = made(&account, &resources).await;
    let waits = handover(&account, &progress, &cluster);
    let error = waits.of(topic).unwrap().apply(&cluster, &Apply::flux()).await.unwrap_err().to_string();
    assert!(error.contains("this cluster has no kind Topic"), "{error}");
    assert_eq!(account.edge.take_calls().len(), 0, "AWS is asked when the kind is there");

    let (sink, _events) = mpsc::unbounded_channel();
    let (_stop, stop) = watch::channel(0);
    let shared = Arc::new(Shared {
        requests: Semaphore::new(4),
        watches: Watches::new(cluster.clone()),
        definitions_changed: Notify::new(),
        handover: Some(handover(&account, &progress, &cluster)),
        pin: None,
        events: Events::new(sink),
        stop,
    });
    let work = |objects: Vec<Resource>| Work {
        node: "layer/flux-system/cloud".into(),
        cluster: cluster.clone(),
        objects,
        how: Apply::flux(),
        deadline: Instant::now() + Duration::from_secs(30),
        force: false,
    };
    let objects = vec![Resource { value: definition(topic), origin: None }, topic.clone()];
    let written = tokio::time::timeout(Duration::from_secs(60), layer::apply(work(objects), shared.clone())).await.unwrap().unwrap();
    assert_eq!(written.iter().filter(|one| one.result == ApplyResult::Created).count(), 2);
    let object = get(&cluster, topic).await;
    assert_eq!(object["status"]["ackResourceMetadata"]["arn"], living[0].id.as_str());
    assert_eq!(object.pointer(MARK), Some(&json!("true")));

    // Deleted in AWS, and in the cluster: the ID that this run knows is stale.
    cluster.merge_patch(&topic.id(), None, &json!({"metadata": {"finalizers": null}}), "test").await.unwrap();
    cluster.delete(&topic.id(), &blackstart::cluster::Preconditions::default()).await.unwrap();
    let kind = blackstart::aws::kinds().find(|kind| kind.schema().kind == "Topic").unwrap();
    kind.delete(&account.cloud, &living[0]).await.unwrap();
    let error = layer::apply(work(vec![topic.clone()]), shared).await.unwrap_err().to_string();
    assert!(error.starts_with("Topic default/orders (cloud.yaml:") && error.contains("does not live in AWS any more"), "{error}");
    assert!(error.contains("hint: run the same command again"), "{error}");
    assert_eq!(cluster.get(&topic.id()).await.unwrap(), None);
}
