//! The limit that the benchmark compares with: how fast could anything put these objects on this API server?
//!
//! A bare loop: 16 connections send server-side applies, one object each, in the order that the layers ask for; a layer is over
//! when the watch shows its Deployment rolled out (the rule of kstatus). No planning, no reading back, no safety.
//!
//! `apply_limit KUBECONFIG OBJECTS.json` (from `scripts/generate-bench --objects`) prints one JSON line.

#![expect(clippy::print_stdout, reason = "the result goes to stdout")]

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::{Semaphore, mpsc};

type Failure = Box<dyn Error + Send + Sync>;

const CONNECTIONS: usize = 16;

#[derive(Deserialize)]
struct Input {
    namespace: Value,
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    name: String,
    depends_on: Vec<String>,
    objects: Vec<Value>,
}

/// What the loop hears of.
enum News {
    Applied(usize),
    RolledOut(String),
}

/// One request to come.
struct Apply {
    layer: usize,
    path: String,
    body: Vec<u8>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let began = Instant::now();
    let mut arguments = std::env::args().skip(1);
    let (Some(kubeconfig), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("usage: apply_limit KUBECONFIG OBJECTS.json".into());
    };
    let input: Input = serde_json::from_slice(&std::fs::read(file)?)?;
    let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    let namespace = input.namespace["metadata"]["name"].as_str().unwrap_or_default().to_owned();

    let client = Client::try_from(config.clone())?;
    apply(&client, &format!("/api/v1/namespaces/{namespace}"), serde_json::to_vec(&input.namespace)?).await?;

    let (tell, mut news) = mpsc::unbounded_channel();
    tokio::spawn(watch(client, namespace, tell.clone()));

    // Workers take from one queue; the semaphore counts what is in it.
    let queue = Arc::new(Mutex::new(VecDeque::new()));
    let filled = Arc::new(Semaphore::new(0));
    for _ in 0..CONNECTIONS {
        let client = Client::try_from(config.clone())?;
        tokio::spawn(work(client, Arc::clone(&queue), Arc::clone(&filled), tell.clone()));
    }

    let index: HashMap<&str, usize> = input.layers.iter().enumerate().map(|(at, layer)| (layer.name.as_str(), at)).collect();
    let mut dependents = vec![Vec::new(); input.layers.len()];
    let mut held_by: Vec<usize> = input.layers.iter().map(|layer| layer.depends_on.len()).collect();
    for (at, layer) in input.layers.iter().enumerate() {
        for name in &layer.depends_on {
            dependents[*index.get(name.as_str()).ok_or("a layer depends on one that is not there")?].push(at);
        }
    }
    let start = |at: usize| -> Result<(), Failure> {
        let requests = input.layers[at].objects.iter().map(|object| request(at, object)).collect::<Result<Vec<_>, _>>()?;
        let count = requests.len();
        queue.lock().map_err(|_| "a worker failed")?.extend(requests);
        filled.add_permits(count);
        Ok(())
    };
    for at in (0..held_by.len()).filter(|at| held_by[*at] == 0) {
        start(at)?;
    }

    // A layer needs all its objects applied and its Deployment rolled out.
    let mut needs: Vec<usize> = input.layers.iter().map(|layer| layer.objects.len() + 1).collect();
    let mut rolled_out = vec![false; needs.len()];
    let mut left = needs.len();
    let mut last_apply = std::time::Duration::ZERO;
    while left > 0 {
        let at = match news.recv().await.ok_or("nobody is left to wait for")?? {
            News::Applied(at) => {
                last_apply = began.elapsed();
                at
            }
            News::RolledOut(name) => match index.get(name.as_str()) {
                Some(&at) if !std::mem::replace(&mut rolled_out[at], true) => at,
                _ => continue,
            },
        };
        needs[at] -= 1;
        if needs[at] == 0 {
            left -= 1;
            for &next in &dependents[at] {
                held_by[next] -= 1;
                if held_by[next] == 0 {
                    start(next)?;
                }
            }
        }
    }
    let objects: usize = input.layers.iter().map(|layer| layer.objects.len()).sum();
    println!(
        "{}",
        serde_json::json!({ "objects": objects, "applied_s": last_apply.as_secs_f64(), "seconds": began.elapsed().as_secs_f64() })
    );
    Ok(())
}

/// The apply of one object.
fn request(layer: usize, object: &Value) -> Result<Apply, Failure> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let root = match text("/kind") {
        "Deployment" => "/apis/apps/v1",
        _ => "/api/v1",
    };
    let path = format!("{root}/namespaces/{}/{}s/{}", text("/metadata/namespace"), text("/kind").to_lowercase(), text("/metadata/name"));
    Ok(Apply { layer, path, body: serde_json::to_vec(object)? })
}

/// One connection's work, until the program ends.
async fn work(
    client: Client,
    queue: Arc<Mutex<VecDeque<Apply>>>,
    filled: Arc<Semaphore>,
    tell: mpsc::UnboundedSender<Result<News, Failure>>,
) {
    while let Ok(permit) = filled.acquire().await {
        permit.forget();
        let next = queue.lock().ok().and_then(|mut queue| queue.pop_front());
        let Some(Apply { layer, path, body }) = next else { continue };
        let result = apply(&client, &path, body).await.map(|()| News::Applied(layer));
        if tell.send(result).is_err() {
            return;
        }
    }
}

async fn apply(client: &Client, path: &str, body: Vec<u8>) -> Result<(), Failure> {
    let request = http::Request::patch(format!("{path}?fieldManager=limit&force=true"))
        .header("content-type", "application/apply-patch+yaml")
        .header("accept", "application/json")
        .body(body)?;
    client.request_text(request).await?;
    Ok(())
}

/// Tells of each Deployment that is rolled out; begins again when the server ends the watch.
async fn watch(client: Client, namespace: String, tell: mpsc::UnboundedSender<Result<News, Failure>>) {
    loop {
        if let Err(error) = watch_once(&client, &namespace, &tell).await {
            let _ = tell.send(Err(error));
            return;
        }
    }
}

async fn watch_once(client: &Client, namespace: &str, tell: &mpsc::UnboundedSender<Result<News, Failure>>) -> Result<(), Failure> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments?watch=true");
    let mut lines = client.request_stream(http::Request::get(path).body(Vec::new())?).await?.lines();
    while let Some(line) = lines.try_next().await? {
        let event: Value = serde_json::from_str(&line)?;
        if is_rolled_out(&event["object"]) {
            let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            tell.send(Ok(News::RolledOut(name)))?;
        }
    }
    Ok(())
}

/// As kstatus judges a Deployment that wants no pods.
fn is_rolled_out(deployment: &Value) -> bool {
    let has = |kind: &str, reason: Option<&str>| {
        deployment["status"]["conditions"].as_array().is_some_and(|conditions| {
            conditions.iter().any(|c| c["type"] == kind && c["status"] == "True" && reason.is_none_or(|reason| c["reason"] == reason))
        })
    };
    deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
        && !deployment["metadata"]["generation"].is_null()
        && has("Available", None)
        && has("Progressing", Some("NewReplicaSetAvailable"))
}
