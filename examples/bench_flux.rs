//! The benchmark's other two hands on the cluster: a start of plain Flux, and the clearing up between two measurements.
//!
//! `bench_flux start KUBECONFIG OBJECTS.json SECONDS` applies what `flux bootstrap` would (the GitRepository and the Kustomization of
//! the entry point), waits by a watch until every Kustomization is Ready, and prints one JSON line; `seconds` is null after SECONDS.
//! `bench_flux clear KUBECONFIG OBJECTS.json` removes everything of the run and returns when it is gone.

#![expect(clippy::print_stdout, reason = "the result goes to stdout")]

use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::error::Error;
use std::time::{Duration, Instant};

type Failure = Box<dyn Error + Send + Sync>;

const KUSTOMIZATIONS: &str = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations";
const GIT_REPOSITORIES: &str = "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["start", kubeconfig, file, seconds] => {
            let seconds = seconds.parse()?;
            start(&connect(kubeconfig).await?, &read(file)?, Duration::from_secs(seconds)).await
        }
        ["clear", kubeconfig, file] => clear(&connect(kubeconfig).await?, &read(file)?).await,
        _ => Err("usage: bench_flux start KUBECONFIG OBJECTS.json SECONDS | clear KUBECONFIG OBJECTS.json".into()),
    }
}

async fn connect(kubeconfig: &str) -> Result<Client, Failure> {
    let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn read(file: &str) -> Result<Value, Failure> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

async fn start(client: &Client, input: &Value, patience: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    let layers = input["layers"].as_array().map_or(0, Vec::len);
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "flux-system" } });
    apply(client, "/api/v1/namespaces/flux-system", &namespace).await?;
    for object in input["entry"].as_array().into_iter().flatten() {
        let root = if object["kind"] == "GitRepository" { GIT_REPOSITORIES } else { KUSTOMIZATIONS };
        apply(client, &format!("{root}/flux-system"), object).await?;
    }
    // The entry layer counts too.
    let mut ready = BTreeSet::new();
    let finished = tokio::time::timeout(patience, async {
        while !watch(client, layers + 1, &mut ready).await? {}
        Ok::<_, Failure>(began.elapsed().as_secs_f64())
    });
    let seconds = finished.await.ok().transpose()?;
    println!("{}", json!({ "seconds": seconds, "ready": ready.len(), "of": layers + 1 }));
    Ok(())
}

/// Follows one watch: true when `all` Kustomizations are Ready, false when the server ended it before.
async fn watch(client: &Client, all: usize, ready: &mut BTreeSet<String>) -> Result<bool, Failure> {
    let request = http::Request::get(format!("{KUSTOMIZATIONS}?watch=true")).body(Vec::new())?;
    let mut lines = client.request_stream(request).await?.lines();
    while let Some(line) = lines.try_next().await? {
        let event: Value = serde_json::from_str(&line)?;
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if is_ready(&event["object"]) {
            ready.insert(name);
        } else {
            ready.remove(&name);
        }
        if ready.len() == all {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_ready(kustomization: &Value) -> bool {
    kustomization["status"]["conditions"].as_array().is_some_and(|conditions| {
        conditions
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True" && c["observedGeneration"] == kustomization["metadata"]["generation"])
    })
}

/// Kustomizations are suspended before they go, else the controller would prune their objects one by one.
async fn clear(client: &Client, input: &Value) -> Result<(), Failure> {
    for collection in [KUSTOMIZATIONS, GIT_REPOSITORIES] {
        let list: Value = match client.request(http::Request::get(collection).body(Vec::new())?).await {
            Ok(list) => list,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        let names = list["items"].as_array().into_iter().flatten().filter_map(|item| item["metadata"]["name"].as_str());
        futures::stream::iter(names)
            .map(|name| async move {
                let body = serde_json::to_vec(&json!({ "metadata": { "finalizers": null }, "spec": { "suspend": true } }))?;
                let free = http::Request::patch(format!("{collection}/{name}")).header("content-type", "application/merge-patch+json");
                gone(client.request_text(free.body(body)?).await)?;
                gone(client.request_text(http::Request::delete(format!("{collection}/{name}")).body(Vec::new())?).await)
            })
            .buffer_unordered(16)
            .try_collect::<()>()
            .await?;
    }
    for name in [input["namespace"]["metadata"]["name"].as_str().unwrap_or_default(), "flux-system"] {
        remove_namespace(client, name).await?;
    }
    Ok(())
}

/// Deletes a namespace and waits, by a watch, until it is gone.
async fn remove_namespace(client: &Client, name: &str) -> Result<(), Failure> {
    let path = format!("/api/v1/namespaces/{name}");
    gone(client.request_text(http::Request::delete(&path).body(Vec::new())?).await)?;
    loop {
        let seen: Value = match client.request(http::Request::get(&path).body(Vec::new())?).await {
            Ok(seen) => seen,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let version = seen["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let watch = format!("/api/v1/namespaces?watch=true&fieldSelector=metadata.name={name}&resourceVersion={version}&timeoutSeconds=60");
        let mut lines = client.request_stream(http::Request::get(watch).body(Vec::new())?).await?.lines();
        while let Some(line) = lines.try_next().await? {
            if serde_json::from_str::<Value>(&line)?["type"] == "DELETED" {
                return Ok(());
            }
        }
    }
}

async fn apply(client: &Client, path: &str, object: &Value) -> Result<(), Failure> {
    let request =
        http::Request::patch(format!("{path}?fieldManager=flux&force=true")).header("content-type", "application/apply-patch+yaml");
    client.request_text(request.body(serde_json::to_vec(object)?)?).await?;
    Ok(())
}

/// What is not there needs no removal.
fn gone(result: Result<String, kube::Error>) -> Result<(), Failure> {
    match result {
        Err(error) if !is_absent(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
