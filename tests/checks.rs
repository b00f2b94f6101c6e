//! `spec.checks`: endpoints are asked until they answer; a rehearsal asks only what is on this machine or in its cluster.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it skips")]

mod at_hand;
mod cluster_server;

use blackstart::cluster::Cluster;
use blackstart::environment::check::{Check, Dns, Endpoint, Http, Job, Record};
use blackstart::environment::{Given, SecretSource};
use blackstart::execute::checks::{Asking, ask};
use blackstart::report::event::Verdict;
use cluster_server::server;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

fn check(name: &str, seconds: u64, endpoint: Endpoint) -> Check {
    Check { name: name.into(), endpoint, timeout: Duration::from_secs(seconds), origin: None }
}

/// Answers 503 to the first two, then what it was asked, headers and all.
async fn web() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap_or_default();
            let status = if count.fetch_add(1, Ordering::SeqCst) < 2 { "503 Not Yet" } else { "200 OK" };
            let body = String::from_utf8_lossy(&request[..length]).into_owned();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, asked)
}

/// Answers every question with a text record.
async fn resolver() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut message = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut message).await {
            let mut answer = message[..length].to_vec();
            answer[2] |= 0x80;
            answer[7] = 1;
            answer.extend([0xC0, 12]);
            answer.extend(&message[length - 4..length]);
            answer.extend([0, 0, 0, 60, 0, 7]);
            answer.extend(b"\x06v=test");
            let _ = socket.send_to(&answer, from).await;
        }
    });
    address
}

/// Plays the Job controller: ends each Job as its image says, once.
fn play(cluster: Cluster) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            for job in cluster.list("batch/v1", "Job", Some("default"), None).await.unwrap_or_default() {
                let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Played", "message": "by the test", "lastTransitionTime": now, "lastProbeTime": now});
                let status = match job.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str) {
                    Some("good:1") => {
                        json!({"startTime": now, "completionTime": now, "succeeded": 1, "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]})
                    }
                    Some("bad:1") => {
                        json!({"startTime": now, "failed": 1, "conditions": [condition("FailureTarget"), condition("Failed")]})
                    }
                    _ => continue,
                };
                let id = blackstart::manifest::Resource { value: job.clone(), origin: None }.id();
                if job.pointer("/status/conditions").is_none() {
                    cluster.merge_patch(&id, Some("status"), &json!({"status": status}), "test").await.unwrap();
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_asked_until_they_answer_or_their_time_is_over() {
    let Some(server) = tokio::task::spawn_blocking(server).await.unwrap() else { return };
    let kubeconfig = server.kubeconfig("checks", "admin-token", server.port);
    let folder = kubeconfig.parent().unwrap();
    let cluster = Cluster::connect(Some(&kubeconfig), None).await.unwrap();
    std::fs::write(folder.join("token"), "s3cret\n").unwrap();
    let ((site, asked), resolver) = (web().await, resolver().await);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let http = |http: Http| Endpoint::Http(http);
    let api = |host: Option<&str>, ca: Option<&str>, insecure: bool| {
        let url = format!("https://127.0.0.1:{}/livez", server.port);
        http(Http { url, contains: Some("ok".into()), host: host.map(Into::into), ca: ca.map(Into::into), insecure, ..Http::default() })
    };
    let headers = [("X-Token".to_owned(), Given::Secret(SecretSource::File("token".into())))];
    let late = Http { url: format!("http://{site}/"), contains: Some("s3cret".into()), headers: headers.into(), ..Http::default() };
    let missing = [("X-Token".to_owned(), Given::Secret(SecretSource::File("nothing".into())))];
    let dns = |value: &str| {
        Endpoint::Dns(Dns { name: "shop.example".into(), record: Record::Txt, values: vec![value.into()], resolver: Some(resolver) })
    };
    let job = |image: &str| Endpoint::Job(Job { namespace: "default".into(), image: image.into(), ..Job::default() });
    let checks = [
        (check("late", 20, http(late)), Ok("answers 200 with `s3cret`")),
        (check("ca", 20, api(Some("localhost"), Some("ca.crt"), false)), Ok("answers 200 with `ok`")),
        (check("insecure", 20, api(None, None, true)), Ok("answers 200")),
        (check("other-host", 1, api(Some("shop.example.com"), Some("ca.crt"), false)), Err("certificate")),
        (check("no-ca", 1, api(None, None, false)), Err("certificate")),
        (check("bad-ca", 20, api(None, Some("token"), false)), Err("holds no certificate")),
        (
            check("gone", 1, http(Http { url: format!("https://127.0.0.1:{}/nothing", server.port), insecure: true, ..Http::default() })),
            Err("answers 403, not 200 to 399"),
        ),
        (
            check("no-secret", 20, http(Http { url: format!("http://{site}/"), headers: missing.into(), ..Http::default() })),
            Err("header X-Token cannot be had"),
        ),
        (check("text", 20, dns("v=test")), Ok("shop.example TXT at 127.0.0.1")),
        (check("other-text", 1, dns("v=2")), Err("is v=test, without v=2; asked")),
        (check("open", 20, Endpoint::Tcp(site.to_string())), Ok("accepts connections")),
        (check("closed", 1, Endpoint::Tcp(closed.to_string())), Err("refused")),
        (check("good", 30, job("good:1")), Ok("has completed")),
        (check("bad", 30, job("bad:1")), Err("has failed: Played by the test")),
        (check("idle", 1, job("idle:1")), Err("has not completed within 1 s")),
        (check("nowhere", 5, Endpoint::Job(Job { namespace: "nowhere".into(), image: "x".into(), ..Job::default() })), Err("nowhere")),
    ];
    let player = play(cluster.clone());
    let (_stop, stopped) = watch::channel(0);
    let asking = Asking { cluster: &cluster, below: None, base: folder, rehearsal: false, stop: stopped };
    let declared: Vec<Check> = checks.iter().map(|(check, _)| check.clone()).collect();
    let began = Instant::now();
    let found = tokio::time::timeout(Duration::from_secs(60), ask(&declared, asking)).await.unwrap();
    for ((check, wanted), found) in checks.iter().zip(&found) {
        let (verdict, words) = match wanted {
            Ok(words) => (Verdict::Held, words),
            Err(words) => (Verdict::Failed, words),
        };
        assert!(found.verdict == verdict && found.detail.contains(words), "{}: {found:?}", check.name);
        assert!(found.detail.starts_with(&check.name) && !found.detail.contains("s3cret\n"), "{found:?}");
    }
    assert!(asked.load(Ordering::SeqCst) > 2, "it was asked again");
    assert!(began.elapsed() < Duration::from_secs(30), "what cannot be mended is not waited for");
    player.abort();
    let left = cluster.list("batch/v1", "Job", None, Some("app.kubernetes.io/managed-by=blackstart")).await.unwrap();
    assert!(left.iter().all(|job| job.pointer("/metadata/deletionTimestamp").is_some()), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_questions_and_removes_the_job() {
    let Some(server) = tokio::task::spawn_blocking(server).await.unwrap() else { return };
    let cluster = Cluster::connect(Some(&server.kubeconfig("stop", "admin-token", server.port)), None).await.unwrap();
    let checks = [
        check("waiting", 600, Endpoint::Tcp("127.0.0.1:1".into())),
        check("stopped", 600, Endpoint::Job(Job { namespace: "default".into(), image: "idle:1".into(), ..Job::default() })),
    ];
    let (stop, stopped) = watch::channel(0);
    let asking = Asking { cluster: &cluster, below: None, base: Path::new(""), rehearsal: false, stop: stopped };
    let is_there = async || {
        let jobs = cluster.list("batch/v1", "Job", Some("default"), Some("blackstart.dev/check=stopped")).await.unwrap();
        jobs.iter().any(|job| job.pointer("/metadata/deletionTimestamp").is_none())
    };
    let end = async {
        while !is_there().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.send_replace(1);
    };
    let both = async { tokio::join!(ask(&checks, asking), end) };
    let (found, ()) = tokio::time::timeout(Duration::from_secs(30), both).await.expect("it ends");
    assert!(found.iter().all(|check| check.verdict == Verdict::Failed && check.detail.contains("interrupted")), "{found:?}");
    assert!(!is_there().await);
}

/// A repository with one layer, and an environment with these checks.
fn repository(folder: &Path, checks: &str) {
    let write = |file: &str, text: &str| {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "clusters/a/sync.yaml",
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: flux-system, namespace: flux-system}\nspec: {url: 'https://git.example.com/fleet', ref: {branch: main}, interval: 1m}\n---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: flux-system, namespace: flux-system}\nspec: {path: ./clusters/a, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}}\n",
    );
    write("clusters/a/one.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: default}\ndata: {a: b}\n");
    write(
        "blackstart.yaml",
        &format!(
            "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {{name: a}}\nspec:\n  agent: {{flux: {{entrypoint: clusters/a}}}}\n  checks:\n{checks}"
        ),
    );
    let git =
        |words: &[&str]| assert!(Command::new("git").arg("-C").arg(folder).args(words).stdout(Stdio::null()).status().unwrap().success());
    git(&["init", "--quiet", "--initial-branch", "main"]);
    git(&["add", "--all"]);
    git(&["-c", "user.name=test", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "fleet"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_asks_what_is_its_own_and_tells_what_it_does_not_ask() {
    if at_hand::absent() {
        return;
    }
    let (site, _) = web().await;
    let folder = tempfile::tempdir().unwrap();
    repository(
        folder.path(),
        &format!(
            "    - {{name: page, http: {{url: 'https://shop.example.com/health'}}}}\n    - {{name: own, http: {{url: 'http://{site}/'}}, timeout: 20s}}\n    - {{name: smoke, job: {{namespace: default, image: 'example.com/smoke:1'}}, timeout: 60s}}\n    - {{name: closed, tcp: '127.0.0.1:1', timeout: 1s}}\n"
        ),
    );
    let report = folder.path().join("report");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_blackstart"));
    command.arg("rehearse").arg(folder.path()).arg("--report").arg(&report).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(180), command.output()).await.expect("ends within 180 s").unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "one check fails:\n{said}");
    let told: Value = serde_json::from_slice(&std::fs::read(report.join("report.json")).unwrap()).unwrap();
    let checks: Vec<(&str, &str, &str)> = told["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| ["name", "verdict", "detail"].map(|key| check[key].as_str().unwrap_or_default()))
        .map(|[name, verdict, detail]| (name, verdict, detail))
        .collect();
    let has = |name: &str, verdict: &str, words: &str| {
        let found = checks.iter().any(|check| check.0 == name && check.1 == verdict && check.2.contains(words));
        assert!(found, "{name} {verdict} {words}: {checks:?}");
    };
    has("http", "held", "own: http://127.0.0.1");
    has("job", "held", "in a rehearsal no container runs");
    has("tcp", "failed", "closed (blackstart.yaml:10): 127.0.0.1:1");
    assert!(!checks.iter().any(|check| check.2.contains("shop.example.com")), "{checks:?}");
    let stand_ins = told["standIns"].to_string();
    assert!(stand_ins.contains("check page") && stand_ins.contains("it would reach what is real"), "{stand_ins}");
    assert!(said.contains("closed (blackstart.yaml:10)"), "{said}");
}
