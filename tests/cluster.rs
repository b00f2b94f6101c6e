//! The `cluster` room against a real API server.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail, and says what it skips")]

mod cluster_server;

use blackstart::cluster::watch::Watches;
use blackstart::cluster::{Apply, ApplyResult, Cluster, ClusterError, Preconditions, ssa, wait};
use blackstart::layers::LayerId;
use blackstart::manifest::ObjectId;
use cluster_server::{Server, server};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

async fn admin(server: &Server) -> Cluster {
    Cluster::connect(Some(&server.kubeconfig("admin", "admin-token", server.port)), None).await.unwrap()
}

fn id(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectId {
    ObjectId { api_version: api_version.to_owned(), kind: kind.to_owned(), namespace: namespace.map(str::to_owned), name: name.to_owned() }
}

fn config_map(name: &str, value: &str) -> Value {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"a": value}});
    ssa::prepare_value(object, &LayerId::new("flux-system", "test"), None)
}

macro_rules! real {
    ($server:ident) => {
        let Some($server) = tokio::task::spawn_blocking(server).await.unwrap() else { return };
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_creates_then_leaves_alone_then_changes() {
    real!(server);
    let cluster = admin(&server).await;
    assert!(cluster.version().starts_with("v1."), "{}", cluster.version());
    let created = cluster.apply(&config_map("apply", "1"), &Apply::flux()).await.unwrap();
    assert_eq!(created.result, ApplyResult::Created);
    // Another process, which has seen nothing yet, after the second of the first apply is over.
    let second = created.object["metadata"]["creationTimestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    while jiff::Timestamp::now().as_second() <= second.as_second() + 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for cluster in [&cluster, &admin(&server).await] {
        let again = cluster.apply(&config_map("apply", "1"), &Apply::flux()).await.unwrap();
        assert_eq!(again.result, ApplyResult::Unchanged);
        assert_eq!(again.object["metadata"]["resourceVersion"], created.object["metadata"]["resourceVersion"]);
    }
    assert_eq!(cluster.apply(&config_map("apply", "2"), &Apply::flux()).await.unwrap().result, ApplyResult::Changed);
    assert_eq!(cluster.apply(&config_map("apply", "2"), &Apply::flux()).await.unwrap().result, ApplyResult::Unchanged);
    assert_eq!(cluster.apply(&config_map("apply", "3"), &Apply::flux().dry()).await.unwrap().object["data"]["a"], "3");
    let living = cluster.get(&id("v1", "ConfigMap", Some("default"), "apply")).await.unwrap().unwrap();
    assert_eq!(living["data"]["a"], "2");
    assert_eq!(living["metadata"]["managedFields"][0]["manager"], "kustomize-controller");
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_first_writes_only_what_differs_in_the_agents_eyes() {
    real!(server);
    let cluster = admin(&server).await;
    let how = Apply::flux().if_drifted();
    assert_eq!(cluster.apply(&config_map("drift", "1"), &how).await.unwrap().result, ApplyResult::Created);
    // Owned by another manager with the same content: an apply would write, the agent would not.
    let other = Apply { manager: "other", ..Apply::flux() };
    cluster.apply(&config_map("drift", "1"), &other).await.unwrap();
    let before = cluster.get(&id("v1", "ConfigMap", Some("default"), "drift")).await.unwrap().unwrap();
    assert_eq!(cluster.apply(&config_map("drift", "1"), &how).await.unwrap().result, ApplyResult::Unchanged);
    let after = cluster.get(&id("v1", "ConfigMap", Some("default"), "drift")).await.unwrap().unwrap();
    assert_eq!(before["metadata"], after["metadata"]);
    assert_eq!(cluster.apply(&config_map("drift", "2"), &how).await.unwrap().result, ApplyResult::Changed);
    // The living object says that it wants to be left alone.
    let mark = json!({"metadata": {"annotations": {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}}});
    cluster.merge_patch(&id("v1", "ConfigMap", Some("default"), "drift"), None, &mark, "test").await.unwrap();
    assert_eq!(cluster.apply(&config_map("drift", "3"), &how).await.unwrap().result, ApplyResult::Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_of_the_declared_object_are_honoured() {
    real!(server);
    let cluster = admin(&server).await;
    let mut object = config_map("marked", "1");
    object["metadata"]["annotations"] = json!({"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"});
    assert_eq!(cluster.apply(&object, &Apply::flux()).await.unwrap().result, ApplyResult::Created);
    object["data"]["a"] = json!("2");
    assert_eq!(cluster.apply(&object, &Apply::flux()).await.unwrap().result, ApplyResult::Skipped);
    object["metadata"]["annotations"] = json!({"kustomize.toolkit.fluxcd.io/ssa": "Ignore"});
    object["metadata"]["name"] = json!("ignored");
    assert_eq!(cluster.apply(&object, &Apply::flux()).await.unwrap().result, ApplyResult::Skipped);
    assert!(cluster.get(&id("v1", "ConfigMap", Some("default"), "ignored")).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_then_its_resource_with_no_pause_between() {
    real!(server);
    let cluster = admin(&server).await;
    let watches = Watches::new(cluster.clone());
    for round in 0..5 {
        let (plural, kind, group) = (format!("carts{round}"), format!("Cart{round}"), "shop.test");
        let cart =
            json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "a", "namespace": "default"}, "spec": {"x": 1}});
        let unknown = cluster.apply(&cart, &Apply::flux()).await.unwrap_err();
        assert!(matches!(unknown, ClusterError::KindUnknown { .. }), "{unknown}");
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
            "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
        cluster.apply(&definition, &Apply::flux()).await.unwrap();
        let of_definition = id("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, &format!("{plural}.{group}"));
        wait::settled(&watches, &of_definition, Duration::from_secs(20)).await.unwrap();
        let started = Instant::now();
        assert_eq!(cluster.apply(&cart, &Apply::flux()).await.unwrap().result, ApplyResult::Created);
        println!("round {round}: resource {:?} after its definition", started.elapsed());
    }
    let (_, other) = (0, Cluster::connect(Some(&server.kubeconfig("admin", "admin-token", server.port)), None).await.unwrap());
    let found = other.resolve("shop.test/v1", "Cart0").await.unwrap().unwrap();
    assert_eq!((found.plural.as_str(), found.namespaced), ("carts0", true));
    assert_eq!(other.resolve("shop.test/v1", "Basket").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_sees_what_was_there_what_changes_and_what_goes() {
    real!(server);
    let cluster = admin(&server).await;
    let of = |name: &str| id("v1", "ConfigMap", Some("default"), name);
    cluster.apply(&config_map("seen", "1"), &Apply::flux()).await.unwrap();
    let watches = Watches::new(cluster.clone());
    let mut changes = watches.subscribe();
    watches.expect(&of("seen"));
    watches.expect(&of("later"));
    watches.follow("v1", "ConfigMap");
    let deadline = Instant::now() + Duration::from_secs(20);
    assert!(watches.synced("v1", "ConfigMap", deadline).await);
    assert!(watches.get(&of("seen")).is_some() && watches.get(&of("later")).is_none());
    assert_eq!(changes.recv().await, Some(of("seen")));

    cluster.apply(&config_map("later", "1"), &Apply::flux()).await.unwrap();
    cluster.apply(&config_map("nobody-asked", "1"), &Apply::flux()).await.unwrap();
    let found = watches.until(&of("later"), deadline, |object| object.map(|object| object["metadata"]["name"].clone())).await.unwrap();
    assert_eq!(found, "later");
    assert!(cluster.delete(&of("later"), &Preconditions::default()).await.unwrap());
    watches.until(&of("later"), deadline, |object| object.is_none().then_some(())).await.unwrap();
    assert!(watches.get(&of("nobody-asked")).is_none());

    // Wanted only after the watch had passed by.
    watches.until(&of("nobody-asked"), deadline, |object| object.map(|_| ())).await.unwrap();
    wait::gone(&watches, &of("later"), Duration::from_secs(5)).await.unwrap();
    let late = wait::gone(&watches, &of("seen"), Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(late.to_string(), "ConfigMap default/seen: not gone after 0s: ready");
    assert!(!cluster.delete(&of("later"), &Preconditions::default()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_watch_the_cluster_watches_namespaces() {
    real!(server);
    let admin = admin(&server).await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "carol", "namespace": "default"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "carol", "namespace": "default"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "carol"},
        "subjects": [{"kind": "ServiceAccount", "name": "carol", "namespace": "default"}]});
    for object in [role, binding] {
        admin.apply(&object, &Apply::flux()).await.unwrap();
    }
    let carol = admin.impersonating("system:serviceaccount:default:carol");
    let of = id("v1", "ConfigMap", Some("default"), "carols");
    // RBAC is read from a cache that lags a little.
    let deadline = Instant::now() + Duration::from_secs(10);
    while carol.apply(&config_map("carols", "1"), &Apply::flux()).await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let watches = Watches::new(carol.clone());
    watches.expect(&of);
    watches.follow("v1", "ConfigMap");
    watches.until(&of, deadline, |object| object.map(|_| ())).await.unwrap();
    carol.delete(&of, &Preconditions::default()).await.unwrap();
    watches.until(&of, deadline, |object| object.is_none().then_some(())).await.unwrap();
    // A namespace that is named after the fall-back: it is watched, and forbidden; said, not lost.
    let elsewhere = id("v1", "ConfigMap", Some("kube-system"), "x");
    watches.expect(&elsewhere);
    assert!(watches.until(&elsewhere, Instant::now() + Duration::from_millis(500), |object| object.map(|_| ())).await.is_err());
    assert!(watches.trouble("v1", "ConfigMap").unwrap().contains("forbidden"), "{:?}", watches.trouble("v1", "ConfigMap"));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_who_may_not_do_what() {
    real!(server);
    let bob = Cluster::connect(Some(&server.kubeconfig("bob", "bob-token", server.port)), None).await.unwrap();
    let forbidden = bob.apply(&config_map("bobs", "1"), &Apply::flux()).await.unwrap_err();
    let text = forbidden.to_string();
    assert!(text.starts_with("ConfigMap default/bobs: patch is forbidden for bob: "), "{text}");

    let nobody = Cluster::connect(Some(&server.kubeconfig("nobody", "wrong", server.port)), None).await.unwrap_err();
    assert!(matches!(nobody, ClusterError::Unauthorized { .. }), "{nobody}");

    let untrusted = Cluster::connect(Some(&server.kubeconfig_without_ca()), None).await.unwrap_err();
    assert!(matches!(untrusted, ClusterError::Unreachable { .. }) && untrusted.to_string().contains("certificate"), "{untrusted}");
    assert!(untrusted.hint().unwrap().contains("certificate-authority"));

    let admin = admin(&server).await;
    let mut homeless = config_map("a", "1");
    homeless["metadata"].as_object_mut().unwrap().remove("namespace");
    assert!(matches!(admin.apply(&homeless, &Apply::flux()).await.unwrap_err(), ClusterError::NamespaceMissing { .. }));
    homeless["metadata"]["namespace"] = json!("nowhere");
    let absent = admin.apply(&homeless, &Apply::flux()).await.unwrap_err();
    assert!(absent.hint().unwrap().contains("declare the Namespace"), "{absent}");

    let mut wrong = config_map("a", "1");
    wrong["data"] = json!({"a": 1});
    assert!(matches!(admin.apply(&wrong, &Apply::flux()).await.unwrap_err(), ClusterError::Rejected { .. }));
    let wrong = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "default"}, "spec": {}});
    let rejected = admin.apply(&wrong, &Apply::flux()).await.unwrap_err();
    assert!(rejected.to_string().starts_with("Deployment default/a: rejected by the API server (422): "), "{rejected}");
    let mut misspelt = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "misspelt", "namespace": "default"},
        "spec": {"porst": [], "ports": [{"port": 80, "nam": "x"}, {"port": 81, "name": "y"}]}});
    misspelt["spec"]["ports"][0]["name"] = json!("x");
    let applied = admin.apply(&ssa::prepare_value(misspelt, &LayerId::new("a", "b"), None), &Apply::flux()).await.unwrap();
    assert_eq!(applied.result, ApplyResult::Created);
    assert_eq!(applied.dropped.len(), 2, "{:?}", applied.dropped);
    assert!(admin.create(&config_map("twice", "1"), "test").await.is_ok());
    assert!(matches!(admin.create(&config_map("twice", "1"), "test").await.unwrap_err(), ClusterError::Exists { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told_soon() {
    real!(server);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let started = Instant::now();
    let error = Cluster::connect(Some(&server.kubeconfig("nowhere", "admin-token", port)), None).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unreachable { .. }) && error.to_string().contains("refused"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(8));
    let error = Cluster::connect(Some(std::path::Path::new("/nowhere/kubeconfig")), None).await.unwrap_err();
    assert!(error.to_string().starts_with("kubeconfig /nowhere/kubeconfig: cannot be used"), "{error}");
    let error = Cluster::connect(Some(&server.kubeconfig("admin", "admin-token", server.port)), Some("other")).await.unwrap_err();
    assert!(error.to_string().contains("(context other)"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_made_again_and_told() {
    real!(server);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let refusing = Arc::new(AtomicUsize::new(0));
    let (left, behind) = (refusing.clone(), server.port);
    let proxy = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                continue;
            }
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    refusing.store(2, Ordering::SeqCst);
    let retries = Arc::new(AtomicUsize::new(0));
    let counted = retries.clone();
    let cluster = Cluster::connect(Some(&server.kubeconfig("proxy", "admin-token", port)), None).await.unwrap().reporting(move |retry| {
        assert_eq!(retry.verb, "patch");
        counted.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(refusing.load(Ordering::SeqCst), 0);
    // The one connection of the pool is taken by a watch; applies need new ones, and the first three of them break.
    refusing.store(3, Ordering::SeqCst);
    let applies = (0..4).map(|number| {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.apply(&config_map(&format!("through-{number}"), "1"), &Apply::flux()).await.unwrap() })
    });
    for apply in applies.collect::<Vec<_>>() {
        apply.await.unwrap();
    }
    assert!(retries.load(Ordering::SeqCst) >= 1);
    proxy.abort();
}

/// `cargo test --test cluster -- --ignored --nocapture thousand`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_thousand_config_maps() {
    real!(server);
    let cluster = admin(&server).await;
    for width in [4, 16, 32] {
        let started = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let workers = (0..width).map(|_| {
            let (cluster, next) = (cluster.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= 1000 {
                        return;
                    }
                    cluster.apply(&config_map(&format!("many-{width}-{number}"), "1"), &Apply::flux()).await.unwrap();
                }
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await.unwrap();
        }
        println!("{width} at once: {:.0}/s", 1000.0 / started.elapsed().as_secs_f64());
    }
}
