//! What does not go on by itself in a living cluster: seen, mended where nobody loses anything by it, else told with the command.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it skips")]

mod cluster_server;

use blackstart::cluster::{Apply, Cluster, Preconditions};
use blackstart::execute::Events;
use blackstart::execute::stuck::{Heal, Stuck, heal, holder, look};
use blackstart::layers::flux::{Layer, Spec};
use blackstart::layers::{LayerId, SourceId};
use blackstart::manifest::{ObjectId, Resource, yaml};
use blackstart::read::{ReadLayer, Reading};
use blackstart::report::event::Happening;
use cluster_server::another;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What Git declares.
const DECLARED: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: leaving}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: api, namespace: shop}
spec: {timeout: 1m}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: held, namespace: shop}
spec: {}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: ours, namespace: shop}
spec: {}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: quiet, namespace: shop}
spec: {suspend: true}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: tired, namespace: shop}
spec: {}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: one, namespace: shop}
---
apiVersion: example.com/v1
kind: Gadget
metadata: {name: one, namespace: shop}
";

fn reading() -> Reading {
    let source = SourceId { kind: "GitRepository".into(), namespace: "flux-system".into(), name: "flux-system".into() };
    let id = LayerId::new("flux-system", "flux-system");
    let declaration = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": "flux-system", "namespace": "flux-system"}});
    let layer =
        Layer { id: id.clone(), parent: None, source, spec: Spec::default(), declaration: Resource { value: declaration, origin: None } };
    let objects = yaml::documents(DECLARED).unwrap().into_iter().map(|one| Resource { value: one.value, origin: None }).collect();
    Reading {
        revision: "0".repeat(40),
        entry: id,
        entrypoint: "clusters/a".into(),
        layers: vec![ReadLayer { layer, rendered: true, objects }],
        charts: BTreeMap::new(),
        sets: BTreeMap::new(),
        infrastructure: Vec::new(),
        commands: Vec::new(),
        checks: Vec::new(),
        sources: BTreeMap::new(),
        problems: Vec::new(),
        unknowns: Vec::new(),
        assumed: Vec::new(),
        signed: None,
        folder: None,
    }
}

fn definition(group: &str, plural: &str, kind: &str, more: &Value) -> Value {
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    let versions = if group == "example.com" { vec![version("v1", true), version("v1beta1", false)] } else { vec![version("v2", true)] };
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "versions": versions,
            "names": {"plural": plural, "singular": plural.trim_end_matches('s'), "kind": kind, "listKind": format!("{kind}List")},
        },
    });
    if let Some(conversion) = more.get("conversion") {
        definition["spec"]["conversion"] = conversion.clone();
    }
    definition
}

fn id(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectId {
    ObjectId::new(api_version, kind, namespace, name)
}

/// Until a definition says this of itself.
async fn says(cluster: &Cluster, name: &str, kind: &str, status: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = cluster.get(&id("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, name)).await.unwrap().unwrap();
        let conditions = found.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        if conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == status) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is not {kind}={status}: {conditions:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn one<'a>(found: &'a [Stuck], object: &str) -> &'a Stuck {
    let all: Vec<&Stuck> = found.iter().filter(|stuck| stuck.object == object).collect();
    assert_eq!(all.len(), 1, "{object}: {found:#?}");
    all[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stuck_is_mended_or_told_with_the_command() {
    // One of its own: a namespace that nobody clears, and definitions that are not whole.
    let Some(server) = tokio::task::spawn_blocking(another).await.unwrap() else {
        println!("skipped: etcd and kube-apiserver are not at hand");
        return;
    };
    let cluster = Cluster::connect(Some(&server.kubeconfig("stuck", "admin-token", server.port)), None).await.unwrap();
    assert_eq!(look(&cluster, &reading()).await.unwrap(), [], "nothing is there");

    // Definitions: one is whole, one has the names of another, one is converted by a Service that is not there.
    let conversion = json!({"conversion": {"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"service": {"namespace": "shop", "name": "converter", "path": "/"}},
    }}});
    for (group, plural, kind, more) in [
        ("helm.toolkit.fluxcd.io", "helmreleases", "HelmRelease", json!({})),
        ("example.com", "gadgets", "Gadget", conversion),
        ("example.com", "oldwidgets", "Widget", json!({})),
    ] {
        cluster.create(&definition(group, plural, kind, &more), "test").await.unwrap();
        says(&cluster, &format!("{plural}.{group}"), "Established", "True").await;
    }
    cluster.create(&definition("example.com", "widgets", "Widget", &json!({})), "test").await.unwrap();
    says(&cluster, "widgets.example.com", "NamesAccepted", "False").await;

    // A namespace that an object's finalizer holds; the conditions are those of Kubernetes' own controller, which does not run here.
    for name in ["leaving", "shop"] {
        cluster.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}), "test").await.unwrap();
    }
    let held = json!({"apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": "kept", "namespace": "leaving", "finalizers": ["example.com/hold"]}});
    cluster.create(&held, "test").await.unwrap();
    let namespace = id("v1", "Namespace", None, "leaving");
    cluster.delete(&namespace, &Preconditions::default()).await.unwrap();
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let remaining = json!({"type": "NamespaceContentRemaining", "status": "True", "reason": "SomeResourcesRemain", "lastTransitionTime": now,
        "message": "Some resources are remaining: oldwidgets.example.com has 1 resource instances"});
    cluster.merge_patch(&namespace, Some("status"), &json!({"status": {"conditions": [remaining]}}), "test").await.unwrap();

    // Helm releases as helm-controller left them.
    let release = |name: &str, suspend: bool| {
        let spec = if suspend { json!({"suspend": true}) } else { json!({"timeout": "1m"}) };
        json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
    };
    for (name, suspend, manager) in
        [("api", false, "kustomize-controller"), ("held", true, "flux"), ("quiet", true, "flux"), ("tired", false, "kustomize-controller")]
    {
        cluster.create(&release(name, suspend), manager).await.unwrap();
    }
    let ours = id("helm.toolkit.fluxcd.io/v2", "HelmRelease", Some("shop"), "ours");
    cluster.apply(&release("ours", false), &Apply::flux()).await.unwrap();
    cluster.merge_patch(&ours, None, &json!({"spec": {"suspend": true}}), "blackstart").await.unwrap();
    let stalled =
        json!({"type": "Stalled", "status": "True", "reason": "RetriesExceeded", "message": "Failed to upgrade after 1 attempt(s)"});
    let tired = id("helm.toolkit.fluxcd.io/v2", "HelmRelease", Some("shop"), "tired");
    cluster.merge_patch(&tired, Some("status"), &json!({"status": {"conditions": [stalled]}}), "test").await.unwrap();
    let record = |name: &str, status: &str, ago: i64| {
        let time = (jiff::Timestamp::now().as_second() - ago).to_string();
        json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "metadata": {
            "name": format!("sh.helm.release.v1.{name}.v1"), "namespace": "shop",
            "labels": {"owner": "helm", "name": name, "version": "1", "status": status, "modifiedAt": time},
        }})
    };
    for (name, status, ago) in
        [("api", "pending-install", 3600), ("stray", "pending-upgrade", 3600), ("fresh", "pending-install", 5), ("done", "deployed", 3600)]
    {
        cluster.create(&record(name, status, ago), "test").await.unwrap();
    }

    let found = look(&cluster, &reading()).await.unwrap();
    let leaving = one(&found, "Namespace leaving");
    assert!(leaving.found.contains("Some resources are remaining"), "{leaving:?}");
    let command = "kubectl patch oldwidgets.example.com kept -n leaving --type=merge -p '{\"metadata\":{\"finalizers\":null}}'";
    assert!(leaving.fix.as_ref().unwrap().contains(command), "{leaving:?}");
    assert!(holder(&cluster, "leaving").await.unwrap().contains(command));
    assert_eq!(holder(&cluster, "shop").await, None);
    let clash = one(&found, "CustomResourceDefinition widgets.example.com");
    assert!(clash.found.contains("is not established") && clash.fix.as_ref().unwrap().contains("kubectl describe crd"), "{clash:?}");
    let converted = one(&found, "CustomResourceDefinition gadgets.example.com");
    assert!(converted.found.contains("Service shop/converter") && converted.found.contains("is not there"), "{converted:?}");
    let pending = one(&found, "Helm release shop/api");
    let api = id("helm.toolkit.fluxcd.io/v2", "HelmRelease", Some("shop"), "api");
    assert_eq!(pending.heal, Some(Heal::Reset(api.clone())), "{pending:?}");
    let stray = one(&found, "Helm release shop/stray");
    assert!(stray.fix.as_ref().unwrap().ends_with("helm rollback stray -n shop"), "{stray:?}");
    let by_hand = one(&found, "HelmRelease shop/held");
    assert!(by_hand.found.contains("suspended by flux"), "{by_hand:?}");
    assert!(by_hand.fix.as_ref().unwrap().ends_with("flux resume helmrelease held -n shop") && by_hand.heal.is_none(), "{by_hand:?}");
    assert_eq!(one(&found, "HelmRelease shop/ours").heal, Some(Heal::Resume(ours.clone())));
    assert_eq!(one(&found, "HelmRelease shop/tired").heal, Some(Heal::Reset(tired.clone())));
    assert_eq!(found.len(), 8, "{found:#?}");

    let (sink, mut told) = tokio::sync::mpsc::unbounded_channel();
    heal(&cluster, &found, &Events::new(sink)).await;
    let mut messages = Vec::new();
    while let Ok(event) = told.try_recv() {
        if let Happening::Warning { message, .. } = event.happening {
            messages.push(message);
        }
    }
    assert_eq!(messages.len(), found.len(), "{messages:#?}");
    let resumed = cluster.get(&ours).await.unwrap().unwrap();
    assert_eq!(resumed["spec"], json!({"timeout": "1m"}));
    for nudged in [&api, &tired] {
        let object = cluster.get(nudged).await.unwrap().unwrap();
        let at = |key: &str| object.pointer(&format!("/metadata/annotations/reconcile.fluxcd.io~1{key}")).cloned();
        assert!(at("resetAt").is_some() && at("resetAt") == at("requestedAt"), "{object:#}");
    }
    let held = cluster.get(&id("helm.toolkit.fluxcd.io/v2", "HelmRelease", Some("shop"), "held")).await.unwrap().unwrap();
    assert_eq!(held["spec"]["suspend"], true, "what a person has suspended is left alone");
    let left = cluster.list("v1", "Secret", Some("shop"), Some("owner=helm")).await.unwrap();
    assert_eq!(left.len(), 4, "nothing is deleted");
}
