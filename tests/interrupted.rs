//! Runs that end too soon (SIGKILL at a random moment, Ctrl-C), an API server that stands still, a webhook and an artifact server that are away:
//! the same command again, or the same run, brings the environment up; nothing is there twice, no layer stays suspended.
//!
//! `BLACKSTART_SEEDS` says how many seeds (3), `BLACKSTART_SEED` at which to begin.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its times")]

mod life;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blackstart::cluster::Preconditions;
use blackstart::manifest::ObjectId;
use blackstart::sandbox::AgentFlags;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use life::{Stage, id, kustomization, pid, signal};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio_rustls::{TlsAcceptor, rustls};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Repeatable numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments() {
    if life::absent() {
        return;
    }
    let first = number("BLACKSTART_SEED", 1);
    for seed in first..first + number("BLACKSTART_SEEDS", 3) {
        let began = Instant::now();
        let mut random = Random(seed);
        let stage = Stage::up(&format!("killed-{seed}")).await;
        let mut told = vec![killed(&stage, "bootstrap", &mut random, 11_000).await];
        told.push(killed(&stage, "bootstrap", &mut random, 9_000).await);
        let ran = stage.run("bootstrap").await;
        // Where both moments came after the end, the environment is up, and a first start is refused.
        let code = i32::from(told.iter().any(|told| told.ends_with("at its end")));
        ran.expect(code);
        is_whole(&stage).await;
        // The same beside a living agent.
        damage(&stage).await;
        told.push(killed(&stage, "recover", &mut random, 6_000).await);
        stage.run("recover").await.expect(0);
        is_whole(&stage).await;
        stage.down().await;
        println!("seed {seed}: {} ({:.1} s)", told.join(", "), began.elapsed().as_secs_f64());
    }
}

/// Starts the command and kills it after a random time; says when that was.
async fn killed(stage: &Stage, verb: &str, random: &mut Random, limit: u64) -> String {
    let after = random.below(limit);
    let mut run = Process::quietly(stage, verb);
    if run.ended_within(Duration::from_millis(after)).await {
        return format!("{verb} at its end");
    }
    run.kill().await;
    format!("{verb} after {after} ms")
}

/// A run in the background that does not outlive its test.
struct Process(Child);

impl Process {
    fn start(mut command: Command) -> Self {
        command.stdout(Stdio::null());
        Self(tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap())
    }

    fn quietly(stage: &Stage, verb: &str) -> Self {
        let mut command = stage.command(verb, &[]);
        command.stderr(Stdio::null());
        Self::start(command)
    }

    fn signal(&self, what: Signal) {
        signal(self.0.id().unwrap(), what);
    }

    async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.0.wait().await.unwrap();
    }

    async fn ended_within(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.0.wait()).await.is_ok()
    }

    async fn code(&mut self, limit: Duration) -> Option<i32> {
        tokio::time::timeout(limit, self.0.wait()).await.unwrap_or_else(|_| panic!("still runs after {limit:?}")).unwrap().code()
    }
}

async fn damage(stage: &Stage) {
    for id in [
        id("v1", "Service", Some("database"), "postgres"),
        id("apps/v1", "Deployment", Some("shop"), "shop-api"),
        id("storage.k8s.io/v1", "StorageClass", None, "durable"),
        id("v1", "Namespace", None, "ingress"),
    ] {
        assert!(stage.cluster.delete(&id, &Preconditions::default()).await.unwrap(), "{id} is not there");
    }
    let operator = id("apps/v1", "Deployment", Some("messaging"), "messaging-operator");
    stage.cluster.merge_patch(&operator, None, &json!({"spec": {"replicas": 0}}), "test").await.unwrap();
}

/// Everything declared is there and confirmed by the agent, nothing is there twice, nothing is held, the Lease is free and tells
/// of no unfinished start.
async fn is_whole(stage: &Stage) {
    stage.all_confirmed().await;
    stage.nothing_is_held().await;
    let (declared, _) = stage.declared().await;
    let now = stage.snapshot(&declared).await;
    let missing: Vec<&ObjectId> = declared.iter().filter(|id| !now.contains_key(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    nothing_is_there_twice(stage, &declared).await;
    let lease = id("coordination.k8s.io/v1", "Lease", Some("kube-system"), "blackstart-production");
    let lease = stage.cluster.get(&lease).await.unwrap().unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], Value::Null, "{lease:#}");
    assert_eq!(lease.pointer("/metadata/annotations/blackstart~1bootstrap"), None, "{lease:#}");
}

/// In the namespaces of the environment stands no object of a declared kind that carries the agent's labels and is not declared; no
/// controller has a second set of Pods; a StatefulSet has one claim for each replica.
async fn nothing_is_there_twice(stage: &Stage, declared: &BTreeSet<ObjectId>) {
    let kinds: BTreeSet<(&str, &str)> = declared.iter().map(|id| (id.api_version.as_str(), id.kind.as_str())).collect();
    for (api_version, kind) in kinds {
        for object in stage.cluster.list(api_version, kind, None, None).await.unwrap() {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
            let found = id(api_version, kind, text("/metadata/namespace"), text("/metadata/name").unwrap());
            // What a controller makes of an object may inherit its labels: EndpointSlices do.
            let applied =
                text("/metadata/labels/kustomize.toolkit.fluxcd.io~1name").is_some() && object["metadata"]["ownerReferences"].is_null();
            assert!(!applied || declared.contains(&found), "{found} is not declared");
        }
    }
    let mut sets: BTreeMap<String, usize> = BTreeMap::new();
    for set in stage.cluster.list("apps/v1", "ReplicaSet", None, None).await.unwrap() {
        *sets.entry(set["metadata"]["ownerReferences"][0]["uid"].to_string()).or_default() += 1;
    }
    assert!(sets.values().all(|count| *count == 1), "{sets:?}");
    let claims = stage.cluster.list("v1", "PersistentVolumeClaim", None, None).await.unwrap();
    let volumes = stage.cluster.list("v1", "PersistentVolume", None, None).await.unwrap();
    assert_eq!(claims.len(), volumes.len(), "claims and volumes");
    let jobs = stage.cluster.list("batch/v1", "Job", Some("shop"), None).await.unwrap();
    assert_eq!(jobs.iter().filter(|job| job["metadata"]["ownerReferences"].is_null()).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_by_ctrl_c_during_handover_and_beside_a_server_that_stands_still() {
    if life::absent() {
        return;
    }
    let stage = Stage::up("stopped").await;
    // Ctrl-C in the middle: 130, the Lease is free, the same command goes on.
    let mut run = Process::quietly(&stage, "bootstrap");
    life::until(&stage, &id("apps/v1", "StatefulSet", Some("database"), "postgres"), |found| found.is_some()).await;
    run.signal(Signal::INT);
    assert_eq!(run.code(Duration::from_secs(30)).await, Some(130));
    let lease = id("coordination.k8s.io/v1", "Lease", Some("kube-system"), "blackstart-production");
    let held = stage.cluster.get(&lease).await.unwrap().unwrap();
    assert_eq!(held["spec"]["holderIdentity"], Value::Null);
    assert_eq!(held["metadata"]["annotations"]["blackstart/bootstrap"], "unfinished");

    // Killed during the handover: some layers are given, the entry is not.
    let mut run = Process::quietly(&stage, "bootstrap");
    life::until(&stage, &kustomization("storage"), |found| found.is_some()).await;
    run.kill().await;

    // The server stands still for some seconds: the run goes on.
    let mut run = Process::start(stage.command("bootstrap", &["--events", "/dev/stderr"]));
    let mut lines = BufReader::new(run.0.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("it applied nothing").contains("\"type\":\"applied\"") {}
    let rest = tokio::spawn(async move {
        let mut text = String::new();
        while let Ok(Some(line)) = lines.next_line().await {
            text = text + &line + "\n";
        }
        text
    });
    let server = pid(&stage, "kube-apiserver");
    signal(server, Signal::STOP);
    tokio::time::sleep(Duration::from_secs(5)).await;
    signal(server, Signal::CONT);
    let code = run.code(Duration::from_secs(120)).await;
    assert_eq!(code, Some(0), "{}", rest.await.unwrap());
    is_whole(&stage).await;
    stage.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_restarts_three_times_and_an_agent_that_is_killed_need_nobody() {
    if life::absent() {
        return;
    }
    let mut stage = Stage::up("restarts").await;
    let running = tokio::spawn(life::run(stage.command("bootstrap", &[])));
    let mut random = Random(7);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1500 + random.below(2000))).await;
        stage.sandbox.restart_api_server().await.unwrap();
    }
    stage.sandbox.stop_agent().await.unwrap();
    stage.sandbox.start_agent(&AgentFlags::default()).await.unwrap();
    running.await.unwrap().expect(0);
    is_whole(&stage).await;
    stage.down().await;
}

/// An admission webhook that hangs up on everybody until it is told to admit.
struct Webhook {
    port: u16,
    /// Base64 of the PEM that the API server is to trust.
    ca: String,
    is_up: Arc<AtomicBool>,
    /// Questions that were not answered, and those that were.
    met: Arc<[AtomicUsize; 2]>,
}

impl Webhook {
    async fn start() -> Self {
        let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![signed.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let webhook = Self {
            port,
            ca: STANDARD.encode(signed.cert.pem()),
            is_up: Arc::default(),
            met: Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]),
        };
        let (is_up, met) = (webhook.is_up.clone(), webhook.met.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if !is_up.load(Ordering::SeqCst) {
                    met[0].fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let (acceptor, met) = (acceptor.clone(), met.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let admit = |request: Request<Incoming>| {
                        met[1].fetch_add(1, Ordering::SeqCst);
                        admit(request)
                    };
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(admit)).await;
                });
            }
        });
        webhook
    }

    /// What makes the API server ask it of every Deployment.
    fn configuration(&self) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "away"},
            "webhooks": [{
                "name": "away.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 2,
                "clientConfig": {"url": format!("https://127.0.0.1:{}/", self.port), "caBundle": self.ca},
                "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE", "UPDATE"]}],
            }],
        })
    }
}

async fn admit(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true},
    });
    Ok(Response::builder().header("content-type", "application/json").body(Full::from(answer.to_string())).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_and_an_artifact_server_that_are_away_for_20_seconds_need_nobody() {
    const AWAY: Duration = Duration::from_secs(20);
    if life::absent() {
        return;
    }
    let stage = Stage::up("away").await;
    let webhook = Webhook::start().await;
    stage.cluster.create(&webhook.configuration(), "test").await.unwrap();
    stage.sandbox.set_artifacts_away(true);
    let began = Instant::now();
    let running = tokio::spawn(life::run(stage.command("bootstrap", &[])));
    tokio::time::sleep(AWAY).await;
    assert!(!running.is_finished(), "it did not wait for the webhook: {:?}", running.await);
    webhook.is_up.store(true, Ordering::SeqCst);
    let asked_for_files = stage.sandbox.set_artifacts_away(false);
    let ran = running.await.unwrap().expect(0);
    let [refused, admitted] = [0, 1].map(|which| webhook.met[which].load(Ordering::SeqCst));
    // Both were met while they were away, else this shows nothing.
    assert!(refused > 0 && admitted > 0 && asked_for_files > 0, "{refused}, {admitted}, {asked_for_files}:\n{}", ran.text);
    is_whole(&stage).await;
    println!("{:.1} s, {refused} questions of admission and {asked_for_files} for files in vain", began.elapsed().as_secs_f64());
    stage.down().await;
}
