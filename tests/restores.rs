//! Data that is gone, and old clusters that are not: the real program against moto and real API servers says so, and writes nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

mod account;
mod cluster_server;

use account::Account;
use account::environment::{Environment, Said};
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use blackstart::cluster::Cluster;
use blackstart::manifest::ObjectId;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DATABASE: &str = "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: default}
spec:
  replicas: 1
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      nodeSelector: {topology.kubernetes.io/zone: eu-west-1b}
      containers: [{name: db, image: 'db:1'}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: fast
        resources: {requests: {storage: 10Gi}}
";
const TABLE: &str = "apiVersion: dynamodb.services.k8s.aws/v1alpha1
kind: Table
metadata: {name: orders, namespace: infra}
spec:
  tableName: orders
  billingMode: PAY_PER_REQUEST
  attributeDefinitions: [{attributeName: id, attributeType: S}]
  keySchema: [{attributeName: id, keyType: HASH}]
";

fn environment(more: &str) -> Environment {
    let environment = Environment::new(TABLE, more);
    environment.write("apps/one/database.yaml", DATABASE);
    environment.manifests(TABLE);
    environment
}

/// A volume of the claim, tagged as the CSI driver does; gives its ID.
async fn volume(account: &Account, zone: &str, key: Option<&str>) -> String {
    let tags = [("kubernetes.io/created-for/pvc/namespace", "default"), ("kubernetes.io/created-for/pvc/name", "data-db-0")];
    let tags = tags.map(|(key, value)| Tag::builder().key(key).value(value).build());
    let specification = TagSpecification::builder().resource_type(ResourceType::Volume).set_tags(Some(tags.into())).build();
    let call = account.cloud.ec2().create_volume().availability_zone(zone).size(10).tag_specifications(specification);
    let call = call.set_encrypted(key.map(|_| true)).set_kms_key_id(key.map(str::to_owned));
    call.send().await.unwrap().volume_id.unwrap()
}

async fn recover(account: &Account, environment: &Environment) -> Said {
    account.edge.take_calls();
    let said = environment.run(&account.edge.endpoint(), None, &["recover"]).await;
    assert_eq!(account.writes(), [""; 0], "{}", said.err);
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_backup_nothing_is_written_and_all_that_is_lost_is_told_at_once() {
    let Some(account) = Account::open(1).await else { return };
    let said = recover(&account, &environment("")).await;
    said.has(
        &[
            "apps/one/database.yaml:1 PersistentVolumeClaim default/data-db-0: its data is gone, and account 123456789012 (eu-west-1) holds no usable backup of it",
            "infra/all.yaml:1 Table infra/orders: its data is gone",
            "spec.restore: [{match: {kind: Table, namespace: infra, name: orders}, rule: empty}]",
        ],
        1,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_is_allowed_is_none_that_stops() {
    let Some(account) = Account::open(1).await else { return };
    let environment = environment(
        "  restore:\n    - {match: {namespace: infra}, rule: empty}\n    - {match: {kind: PersistentVolumeClaim}, rule: newest}\n",
    );
    // The account is fine now; it is the cluster that does not answer.
    let said = environment.run(&account.edge.endpoint(), None, &["recover"]).await;
    assert!(!said.err.contains("its data is gone"), "{}", said.err);
    assert_eq!(said.code, Some(1), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_living_volumes_and_one_out_of_reach_are_told_with_their_places() {
    let Some(account) = Account::open(1).await else { return };
    let environment = environment("  restore: [{match: {kind: Table}, rule: empty}]\n");
    let first = volume(&account, "eu-west-1a", None).await;
    recover(&account, &environment)
        .await
        .has(&[&format!("its volume {first} lives in eu-west-1a, and its pods may run in eu-west-1b only")], 1);
    let second = volume(&account, "eu-west-1b", None).await;
    recover(&account, &environment).await.has(
        &[
            "more than one living volume is tagged as its own",
            &format!("{first} (10 GiB, eu-west-1a"),
            &format!("{second} (10 GiB, eu-west-1b"),
        ],
        1,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_key_is_about_to_go_is_told_with_the_command_that_saves_it() {
    let Some(account) = Account::open(1).await else { return };
    let environment = environment("  restore: [{match: {kind: Table}, rule: empty}]\n");
    let made = account.cloud.kms().create_key().send().await.unwrap();
    let key = made.key_metadata().unwrap().arn().unwrap().to_owned();
    let id = made.key_metadata().unwrap().key_id().to_owned();
    let volume = volume(&account, "eu-west-1b", Some(&key)).await;
    account.cloud.ec2().create_snapshot().volume_id(&volume).send().await.unwrap();
    let tags = account.cloud.ec2().describe_volumes().volume_ids(&volume).send().await.unwrap().volumes()[0].tags().to_vec();
    let snapshot = account.cloud.ec2().describe_snapshots().owner_ids("self").send().await.unwrap().snapshots()[0].clone();
    if snapshot.kms_key_id().is_none_or(str::is_empty) {
        println!("skipped: moto tells no key of a snapshot");
        return;
    }
    account.cloud.ec2().create_tags().resources(snapshot.snapshot_id().unwrap()).set_tags(Some(tags)).send().await.unwrap();
    account.cloud.ec2().delete_volume().volume_id(&volume).send().await.unwrap();
    account.cloud.kms().schedule_key_deletion().key_id(&id).pending_window_in_days(7).send().await.unwrap();
    recover(&account, &environment)
        .await
        .has(&["which is PendingDeletion", &format!("aws kms cancel-key-deletion --key-id {id} && aws kms enable-key --key-id {id}")], 1);
}

/// What `preflight` tells of the states: verdict and text by name.
async fn backups(account: &Account, environment: &Environment) -> BTreeMap<String, (String, String)> {
    account.edge.take_calls();
    let said = environment.run(&account.edge.endpoint(), None, &["preflight", "-o", "json"]).await;
    assert_eq!(account.writes(), [""; 0], "{}", said.err);
    let all = said.json();
    let checks = all["checks"].as_array().unwrap().iter().filter(|check| check["group"] == "backups");
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    checks
        .map(|check| (text(check, "name"), (text(check, "verdict"), format!("{} {}", text(check, "found"), text(check, "fix")))))
        .collect()
}

#[track_caller]
fn tells(found: &BTreeMap<String, (String, String)>, state: &str, verdict: &str, words: &[&str]) {
    let (told, text) = found.get(state).unwrap_or_else(|| panic!("{state} is not in {found:#?}"));
    assert!(told == verdict && words.iter().all(|word| text.contains(word)), "{state}: {told}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_lists_each_state_with_its_backup_or_that_there_is_none() {
    let Some(account) = Account::open(1).await else { return };
    let (claim, table) = ("PersistentVolumeClaim default/data-db-0", "Table infra/orders");
    let required = environment("");
    let found = backups(&account, &required).await;
    tells(&found, claim, "blocker", &["holds no usable backup of it", "rule: empty"]);
    tells(&found, table, "blocker", &["holds no usable backup of it", "kind: Table"]);

    let volume = volume(&account, "eu-west-1b", None).await;
    let found = backups(&account, &required).await;
    tells(&found, claim, "warning", &[&format!("volume {volume} lives in eu-west-1b; there is no backup of it")]);
    let snapshot = account.cloud.ec2().create_snapshot().volume_id(&volume).send().await.unwrap().snapshot_id.unwrap();
    let found = backups(&account, &required).await;
    tells(&found, claim, "ok", &[&format!("volume {volume} lives"), &format!("its newest backup: snapshot {snapshot} of 20")]);

    // A manifest of the snapshotter is all that tells whose it is, once the volume is gone.
    account.cloud.ec2().delete_volume().volume_id(&volume).send().await.unwrap();
    let allowed = environment("  restore: [{match: {kind: Table}, rule: empty}]\n");
    tells(&backups(&account, &allowed).await, claim, "blocker", &["holds no usable backup"]);
    allowed.write("apps/one/snapshots.yaml", &format!(
        "apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshotContent\nmetadata: {{name: nightly}}\nspec:\n  driver: ebs.csi.aws.com\n  deletionPolicy: Retain\n  source: {{snapshotHandle: {snapshot}}}\n  volumeSnapshotRef: {{namespace: default, name: nightly}}\n---\napiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {{name: nightly, namespace: default}}\nspec: {{source: {{persistentVolumeClaimName: data-db-0}}}}\n"
    ));
    allowed.manifests(TABLE);
    let found = backups(&account, &allowed).await;
    tells(&found, claim, "ok", &[&format!("comes back from snapshot {snapshot} of 20")]);
    tells(&found, table, "ok", &["begins empty, as its rule says"]);
}

/// A definition with just enough in it, and one object of it.
async fn acting(cluster: &Cluster) -> ObjectId {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "kustomizations.kustomize.toolkit.fluxcd.io"},
        "spec": {
            "group": "kustomize.toolkit.fluxcd.io", "scope": "Namespaced",
            "names": {"kind": "Kustomization", "listKind": "KustomizationList", "plural": "kustomizations", "singular": "kustomization"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    cluster.create(&definition, "test").await.unwrap();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flux-system"}});
    cluster.create(&namespace, "test").await.unwrap();
    let object = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"namespace": "flux-system", "name": "one"}, "spec": {"path": "./apps/one"},
    });
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while cluster.create(&object, "test").await.is_err() {
        assert!(std::time::Instant::now() < until, "the definition is not served");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ObjectId {
        api_version: "kustomize.toolkit.fluxcd.io/v1".into(),
        kind: "Kustomization".into(),
        namespace: Some("flux-system".into()),
        name: "one".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_cluster_that_still_acts_stops_the_run_until_it_is_fenced() {
    // Each waits for its server with a runtime of its own.
    let servers = std::thread::spawn(|| (cluster_server::server(), cluster_server::another()));
    let (Some(new), Some(old)) = servers.join().unwrap() else { return };
    let Some(account) = Account::open(1).await else { return };
    let (new, old) = (new.kubeconfig("new", "admin-token", new.port), old.kubeconfig("old", "admin-token", old.port));
    let environment = Environment::new("", &format!("  cluster: {{kubeconfig: {}}}\n", old.display()));
    let cluster = Cluster::connect(Some(&old), None).await.unwrap();
    let object = acting(&cluster).await;
    let (endpoint, new) = (account.edge.endpoint(), new.display().to_string());
    let run = async |more: &[&str]| {
        let mut words = vec!["recover", "--kubeconfig", &new];
        words.extend(more);
        environment.run(&endpoint, None, &words).await
    };
    let suspended = async || cluster.get(&object).await.unwrap().unwrap().pointer("/spec/suspend").cloned();

    run(&[])
        .await
        .has(&["still answers, and acts for this environment with 1 object", "Kustomization flux-system/one", "--fence", "--beside"], 1);
    assert_eq!(suspended().await, None, "nothing was written");
    run(&["--beside"]).await.has(&["both clusters may write", "the cluster has no Flux"], 1);
    assert_eq!(suspended().await, None);
    run(&["--fence"]).await.has(&["fenced", "the cluster has no Flux"], 1);
    assert_eq!(suspended().await, Some(Value::Bool(true)));
    // Once it is quiet, nothing stands against the run.
    let said = run(&[]).await;
    assert!(!said.err.contains("still answers"), "{}", said.err);
}
