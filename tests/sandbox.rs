//! The sandbox with its real components. Skipped, and said so, where they are not built; `BLACKSTART_TEST_SANDBOX=required` forbids that.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it skips")]

mod at_hand;

use at_hand::absent;
use blackstart::layers::SourceId;
use blackstart::read::SourceTree;
use blackstart::sandbox::watch::{Change, follow};
use blackstart::sandbox::{Options, Sandbox, StandIn, state};
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_blackstart");

fn name(test: &str) -> String {
    format!("test-{test}-{}", std::process::id())
}

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    resource.plural = match kind {
        "GitRepository" | "OCIRepository" | "HelmRepository" => kind.to_lowercase().replace("repository", "repositories"),
        _ => kind.to_lowercase() + "s",
    };
    resource
}

async fn create(sandbox: &Sandbox, object: Value) {
    let resource = resource(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let api: Api<DynamicObject> = match object.pointer("/metadata/namespace").and_then(Value::as_str) {
        Some(namespace) => Api::namespaced_with(sandbox.client(), namespace, &resource),
        None => Api::all_with(sandbox.client(), &resource),
    };
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// Watches until the object is as wanted.
async fn until(sandbox: &Sandbox, api_version: &str, kind: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> DynamicObject {
    let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let follower = tokio::spawn(follow(sandbox.client(), resource(api_version, kind), sender));
    let mut last = Value::Null;
    let found = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Some(Change::Applied(_, object)) = changes.recv().await
                && object.metadata.name.as_deref() == Some(name)
            {
                last = object.data.clone();
                if wanted(&object.data) {
                    return *object;
                }
            }
        }
    })
    .await;
    follower.abort();
    found.unwrap_or_else(|_| panic!("{kind} {name}: not as wanted after 60 s: {last:#}"))
}

/// Flux writes Ready first and the generation that it is about a moment later.
fn ready(object: &Value) -> bool {
    if object.pointer("/status/observedGeneration").is_none_or(|generation| generation == -1) {
        return false;
    }
    object
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .is_some_and(|list| list.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// Sockets of these processes that listen on another address than 127.0.0.1.
fn listeners_off_loopback(pids: &[u32]) -> Vec<String> {
    let inodes: BTreeSet<String> = pids
        .iter()
        .flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten())
        .filter_map(|fd| std::fs::read_link(fd.path()).ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
        .collect();
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"] {
        for line in std::fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields[3] == "0A" || table.contains("udp");
            if listens && inodes.contains(fields[9]) && !fields[1].starts_with("0100007F:") {
                found.push(format!("{table}: {}", fields[1]));
            }
        }
    }
    found
}

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn source(kind: &str, name: &str) -> SourceId {
    SourceId { kind: kind.to_owned(), namespace: "flux-system".to_owned(), name: name.to_owned() }
}

fn tree(root: &Path, revision: &str) -> SourceTree {
    SourceTree { root: root.to_owned(), revision: revision.to_owned(), repository: root.to_owned(), inside: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_lives_in_a_sandbox() {
    if absent() {
        return;
    }
    let (sender, mut stand_ins) = tokio::sync::mpsc::unbounded_channel();
    let options = Options {
        name: Some(name("lives")),
        zones: true,
        controllers: true,
        audit: true,
        stand_ins: Some(sender),
        launcher: Some(BINARY.into()),
        ..Options::default()
    };
    let sandbox = Sandbox::up(options).await.unwrap();

    let mut pids: Vec<u32> = sandbox.state().components.iter().map(|component| component.process.pid).collect();
    assert_eq!(pids.len(), 7);
    pids.push(std::process::id());
    assert_eq!(listeners_off_loopback(&pids), Vec::<String>::new());

    let pod = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "a"}}, "template": pod}});
    create(&sandbox, deployment).await;
    let stateful = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "default"},
        "spec": {"serviceName": "db", "replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "template": pod,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}}}]}});
    create(&sandbox, stateful).await;

    let orphan = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "orphan", "namespace": "default"},
        "spec": {"storageClassName": "ceph-block", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    create(&sandbox, orphan).await;

    let files = tempfile::tempdir().unwrap();
    write(
        files.path(),
        "deploy/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-git, namespace: default}\ndata: {a: b}\n",
    );
    write(files.path(), "charts/shop/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\n");
    write(files.path(), "charts/shop/templates/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-chart}\n");
    let revision = "main@sha1:0123456789012345678901234567890123456789";
    sandbox.set_sources(vec![
        (source("GitRepository", "app"), tree(files.path(), revision)),
        (source("ExternalArtifact", "part"), tree(&files.path().join("deploy"), "latest@sha256:0123456789abcdef")),
    ]);
    let flux = |kind: &str, name: &str, spec: Value| {
        let version = match kind {
            "Kustomization" => "kustomize.toolkit.fluxcd.io/v1",
            "HelmRelease" => "helm.toolkit.fluxcd.io/v2",
            _ => "source.toolkit.fluxcd.io/v1",
        };
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "flux-system"}, "spec": spec})
    };
    // source-watcher's definitions cannot be had: a permissive one stands for them.
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "artifactgenerators.source.extensions.fluxcd.io"},
        "spec": {"group": "source.extensions.fluxcd.io", "scope": "Namespaced", "names": {"kind": "ArtifactGenerator", "plural": "artifactgenerators"},
            "versions": [{"name": "v1beta1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}}]}});
    create(&sandbox, definition).await;
    until(&sandbox, "apiextensions.k8s.io/v1", "CustomResourceDefinition", "artifactgenerators.source.extensions.fluxcd.io", |object| {
        object
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
    })
    .await;
    for object in [
        flux("GitRepository", "app", json!({"interval": "1h", "url": "https://example.invalid/app.git", "ref": {"branch": "main"}})),
        flux(
            "Kustomization",
            "app",
            json!({"interval": "1h", "prune": true, "wait": true, "path": "./deploy", "sourceRef": {"kind": "GitRepository", "name": "app"}}),
        ),
        json!({"apiVersion": "source.extensions.fluxcd.io/v1beta1", "kind": "ArtifactGenerator", "metadata": {"name": "parts", "namespace": "flux-system"},
            "spec": {"artifacts": [{"name": "part", "copy": [{"from": "@app/deploy/**", "to": "@artifact/"}]}]}}),
        flux(
            "Kustomization",
            "part",
            json!({"interval": "1h", "prune": true, "path": "./", "targetNamespace": "flux-system", "sourceRef": {"kind": "ExternalArtifact", "name": "part"}}),
        ),
        flux(
            "HelmRelease",
            "shop",
            json!({"interval": "1h", "chart": {"spec": {"chart": "./charts/shop", "sourceRef": {"kind": "GitRepository", "name": "app"}}}}),
        ),
        flux("OCIRepository", "podinfo", json!({"interval": "1h", "url": "oci://example.invalid/charts/podinfo", "ref": {"tag": "6.5.1"}})),
        flux(
            "HelmRelease",
            "podinfo",
            json!({"interval": "1h", "chartRef": {"kind": "OCIRepository", "name": "podinfo"}, "values": {"replicas": 2}}),
        ),
        flux("HelmRepository", "remote", json!({"interval": "1h", "url": "https://example.invalid/charts"})),
        flux(
            "HelmRelease",
            "remote",
            json!({"interval": "1h", "chart": {"spec": {"chart": "redis", "version": ">=4.0.0 <5", "sourceRef": {"kind": "HelmRepository", "name": "remote"}}}}),
        ),
    ] {
        create(&sandbox, object).await;
    }

    until(&sandbox, "apps/v1", "Deployment", "web", |object| object.pointer("/status/availableReplicas") == Some(&json!(3))).await;
    until(&sandbox, "apps/v1", "StatefulSet", "db", |object| object.pointer("/status/readyReplicas") == Some(&json!(2))).await;
    let claim =
        until(&sandbox, "v1", "PersistentVolumeClaim", "data-db-1", |object| object.pointer("/status/phase") == Some(&json!("Bound")))
            .await;
    assert_eq!(claim.data.pointer("/spec/storageClassName"), Some(&json!("sandbox-ebs")));
    until(&sandbox, "v1", "PersistentVolumeClaim", "orphan", |object| object.pointer("/status/phase") == Some(&json!("Bound"))).await;
    let repository = until(&sandbox, "source.toolkit.fluxcd.io/v1", "GitRepository", "app", ready).await;
    assert_eq!(repository.data.pointer("/status/artifact/revision"), Some(&json!(revision)));
    let app = until(&sandbox, "kustomize.toolkit.fluxcd.io/v1", "Kustomization", "app", ready).await;
    assert_eq!(app.data.pointer("/status/lastAppliedRevision"), Some(&json!(revision)), "{:#}", app.data);
    until(&sandbox, "kustomize.toolkit.fluxcd.io/v1", "Kustomization", "part", ready).await;
    until(&sandbox, "v1", "ConfigMap", "from-git", |_| true).await;
    for release in ["shop", "podinfo", "remote"] {
        until(&sandbox, "helm.toolkit.fluxcd.io/v2", "HelmRelease", release, ready).await;
    }
    until(&sandbox, "v1", "ConfigMap", "from-chart", |_| true).await;
    until(&sandbox, "v1", "ConfigMap", "podinfo-stand-in", |_| true).await;

    let mut reported: Vec<StandIn> = Vec::new();
    while let Ok(stand_in) = stand_ins.try_recv() {
        reported.push(stand_in);
    }
    let objects: BTreeSet<&str> = reported.iter().map(|stand_in| stand_in.object.as_str()).collect();
    assert_eq!(
        objects,
        BTreeSet::from([
            "PersistentVolumeClaim default/orphan",
            "ebs.csi.aws.com",
            "kubelet",
            "source-controller",
            "ArtifactGenerator flux-system/parts",
            "HelmChart flux-system/flux-system-remote",
            "OCIRepository flux-system/podinfo"
        ])
    );
    assert!(std::fs::read_to_string(sandbox.logs().join("audit.jsonl")).unwrap().contains("\"name\":\"from-git\""));

    let (private, folder) = (sandbox.state().private.clone(), sandbox.state().folder().unwrap());
    sandbox.down().await.unwrap();
    assert!(!private.exists() && !folder.exists());
    assert!(pids[..7].iter().all(|pid| state::ProcessId::of(*pid).is_none()), "a component is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_comes_and_goes_and_drop_leaves_nothing() {
    if absent() {
        return;
    }
    let mut sandbox =
        Sandbox::up(Options { name: Some(name("agent")), launcher: Some(BINARY.into()), ..Options::default() }).await.unwrap();
    let timing = sandbox.timing();
    let ratio = timing.ready.as_secs_f64() / timing.api.as_secs_f64();
    println!(
        "etcd and kube-apiserver: {:.2} s; everything: {:.2} s; {ratio:.2} times",
        timing.api.as_secs_f64(),
        timing.ready.as_secs_f64()
    );
    assert!(ratio <= 2.5, "{timing:?}");
    sandbox.install_agent().await.unwrap();
    for _ in 0..2 {
        sandbox.start_agent(&blackstart::sandbox::AgentFlags::default()).await.unwrap();
        assert_eq!(sandbox.state().components.len(), 7);
        sandbox.stop_agent().await.unwrap();
        assert_eq!(sandbox.state().components.len(), 5);
    }
    let state = sandbox.state().clone();
    drop(sandbox);
    assert!(!state.private.exists() && !state.folder().unwrap().exists());
    assert!(state.components.iter().all(|component| !component.process.alive()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_leaves_nothing_after_the_next_down() {
    if absent() {
        return;
    }
    let id = name("killed");
    let mut owner = Command::new(BINARY).args(["sandbox", "up", "--name", &id]).spawn().unwrap();
    let find = || state::list().unwrap().into_iter().find(|state| state.id == id);
    let deadline = Instant::now() + Duration::from_secs(120);
    let left = loop {
        match find() {
            Some(state) if state.ready => break state,
            _ => assert!(Instant::now() < deadline, "not ready"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    owner.kill().unwrap();
    owner.wait().unwrap();
    for component in &left.components {
        assert!(component.process.gone(Duration::from_secs(10)).await, "{} outlives its owner", component.name);
    }
    let status = Command::new(BINARY).args(["sandbox", "status"]).output().unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains(&format!("sandbox {id}: left by a dead run")));
    assert!(Command::new(BINARY).args(["sandbox", "down"]).status().unwrap().success());
    assert!(find().is_none() && !left.private.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_the_middle_of_the_start_leaves_nothing() {
    if absent() {
        return;
    }
    let id = name("interrupted");
    let mut owner = Command::new(BINARY).args(["sandbox", "up", "--name", &id]).spawn().unwrap();
    let find = || state::list().unwrap().into_iter().find(|state| state.id == id);
    let deadline = Instant::now() + Duration::from_secs(60);
    let left = loop {
        match find() {
            Some(state) if state.components.len() >= 2 => break state,
            _ => assert!(Instant::now() < deadline, "not started"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(!left.ready);
    left.owner.signal(rustix::process::Signal::INT);
    assert!(owner.wait().unwrap().success());
    assert!(find().is_none() && !left.private.exists());
    assert!(left.components.iter().all(|component| !component.process.alive()));
}
