//! Reports as they are kept: shown again, compared, read by a browser; and the page for the night.

use crate::account::Account;
use crate::account::environment::Environment;
use crate::cluster_server::server;
use blackstart::cluster::Cluster;
use blackstart::manifest::ObjectId;
use blackstart::plan::Action;
use blackstart::report::event::{self, Commit, Context, Event, Fate, Happening, Outcome, State};
use blackstart::report::{self, Mode, Options, Verbosity};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[path = "../../examples/replay/sample.rs"]
mod sample;

/// The report of a made-up run with cloud resources and data, in a folder.
async fn kept(folder: &Path, seed: u64) -> Value {
    let began: jiff::Timestamp = "2026-11-21T03:00:00Z".parse().unwrap();
    let mut events = sample::events(sample::Shape { layers: 12, fails: false, rehearsal: false, seed }, began);
    let run = events[0].run.clone();
    let at = |seconds: i64| began + jiff::SignedDuration::from_secs(seconds);
    let mut add = |time, happening| events.push(Event { time, run: run.clone(), happening });
    let cluster = || "aws/eks/Cluster/infra/shop".to_owned();
    add(
        at(0),
        Happening::Context(Context {
            verb: "recover".into(),
            user: "ops".into(),
            host: "laptop".into(),
            version: "1.0".into(),
            account: Some("111122223333".into()),
            region: Some("eu-west-1".into()),
            commit: Some(Commit {
                author: "Ada <ada@example.com>".into(),
                time: "2026-11-20T10:00:00Z".into(),
                subject: "More replicas".into(),
                signature: "signed by Ada".into(),
            }),
        }),
    );
    add(at(0), Happening::Started { node: cluster(), action: Action::Create, objects: 0 });
    add(at(600), Happening::Finished { node: cluster(), action: Action::Create, result: Outcome::Ready, error: None });
    for (state, fate, source) in [("PersistentVolumeClaim shop/data", Fate::Restored, Some("snap-0a1")), ("Queue orders", Fate::Lost, None)]
    {
        let detail = (fate == Fate::Lost).then(|| "12 messages".to_owned());
        add(
            at(20),
            Happening::State(State {
                state: state.into(),
                fate,
                source: source.map(str::to_owned),
                as_of: source.map(|_| at(-600)),
                detail,
            }),
        );
    }
    add(at(21), Happening::Retried { node: cluster(), error: "ThrottlingException".into() });
    events.sort_by_key(|event| event.time);
    // The run's own end comes last.
    let end = events.iter().position(|event| matches!(event.happening, Happening::Ended { .. })).map(|place| events.remove(place));
    events.extend(end.map(|event| Event { time: at(601), ..event }));
    let options = Options { mode: Mode::Plain, verbosity: Verbosity::Quiet, report_dir: Some(folder.to_owned()), ..Options::default() };
    let (sink, reporter) = report::start(options).unwrap();
    for event in events {
        sink.send(event).unwrap();
    }
    drop(sink);
    let summary = tokio::time::timeout(Duration::from_secs(20), reporter.finish(None)).await.unwrap();
    assert!(summary.errors.is_empty(), "{:?}", summary.errors);
    serde_json::from_str(&std::fs::read_to_string(folder.join("report.json")).unwrap()).unwrap()
}

fn blackstart(arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_blackstart")).args(arguments).output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr), output.status.code())
}

#[tokio::test]
async fn kept_reports_are_shown_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let json = kept(&one, 7).await;
    kept(&two, 8).await;
    let spent = |part: &str| json["spent"][part].as_f64().unwrap();
    let sum = spent("provider") + spent("waiting") + spent("own");
    assert!((sum - json["readySeconds"].as_f64().unwrap()).abs() < 0.01, "{:#}", json["spent"]);
    assert!((spent("provider") - 600.0).abs() < 0.01, "the cluster alone is on the critical path");
    assert_eq!(json["done"]["statesLost"], 1);
    assert_eq!(json["faults"][0]["error"], "ThrottlingException");
    let (one, two) = (one.display().to_string(), two.display().to_string());
    let (text, code) = blackstart(&["report", &one]);
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "recover by ops on laptop",
        "account 111122223333 eu-west-1",
        "by Ada <ada@example.com>: More replicas (signed by Ada)",
        "provider 10m 00s",
        "lost     Queue orders, 12 messages",
        "restored PersistentVolumeClaim shop/data from snap-0a1 as of 2026-11-21 02:50:00 UTC",
        "ThrottlingException",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let (text, code) = blackstart(&["report", "--compare", &one, &two]);
    assert!(code == Some(0) && text.contains("until ready") && text.contains("before"), "{text}");
    let (text, _) = blackstart(&["report", "--compare", &one, &two, "-o", "json"]);
    let comparison: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (comparison["kind"].as_str(), comparison["figures"][0]["before"].as_f64()),
        (Some("ReportComparison"), json["readySeconds"].as_f64())
    );
    assert_eq!(blackstart(&["report", "--compare", &one]).1, Some(2));
    let (text, code) = blackstart(&["report", "/nowhere"]);
    assert!(code == Some(3) && text.contains("/nowhere: cannot be read as a report") && text.contains("hint"), "{text}");
}

/// A browser that draws without a screen.
fn chromium() -> Option<PathBuf> {
    let found =
        ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].iter().map(PathBuf::from).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: no Chromium on this machine");
    }
    found
}

/// Text of the element with this id.
fn of_id<'d>(dom: &'d str, id: &str) -> &'d str {
    let after = dom.split_once(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no {id} in {dom}")).1;
    after.split_once('>').unwrap().1.split_once('<').unwrap().0
}

/// As people write seconds.
fn words(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round();
    if tenths < 600.0 {
        format!("{:.1}s", tenths / 10.0)
    } else {
        format!("{}m {:02}s", (tenths / 600.0).floor(), ((tenths / 10.0).floor() % 60.0))
    }
}

#[tokio::test]
async fn a_browser_shows_the_figures_of_the_report() {
    let Some(chromium) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let json = kept(folder.path(), 7).await;
    let output = Command::new("timeout")
        .arg("60")
        .arg(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", folder.path().join("report.html").display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(dom.contains("<svg"), "{}", String::from_utf8_lossy(&output.stderr));
    for part in ["provider", "waiting", "own"] {
        assert_eq!(of_id(&dom, &format!("spent-{part}")), words(json["spent"][part].as_f64().unwrap()), "{part}");
    }
    assert!(dom.contains(&format!("<h1>{}</h1>", json["headline"].as_str().unwrap())));
    assert_eq!(of_id(&dom, "ready"), words(json["readySeconds"].as_f64().unwrap()));
    let (layers, nodes) = (json["layers"].as_array().unwrap(), json["nodes"].as_array().unwrap());
    let awaited = layers.iter().filter(|layer| layer["result"] != "skipped").count();
    assert_eq!(of_id(&dom, "layers"), format!("{awaited} of {awaited}"));
    let bars = dom.matches("<g><title>").count();
    assert_eq!(bars, layers.iter().chain(nodes).filter(|node| !node["start"].is_null()).count());
    for part in ["Queue orders", "12 messages", "More replicas", "recover by ops on laptop"] {
        assert!(dom.contains(part), "{part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_kept_in_a_bucket_even_of_a_run_that_was_refused() {
    let Some(account) = Account::open(1).await else { return };
    account
        .cloud
        .s3()
        .create_bucket()
        .bucket("reports")
        .create_bucket_configuration(
            aws_sdk_s3::types::CreateBucketConfiguration::builder().location_constraint("eu-west-1".into()).build(),
        )
        .send()
        .await
        .unwrap();
    let environment = Environment::new("", "");
    let said = environment.run(&account.edge.endpoint(), None, &["recover", "--report", "s3://reports/blackstart"]).await;
    said.has(&["report: s3://reports/blackstart", "/nonexistent/kubeconfig"], 1);
    let listed = account.cloud.s3().list_objects_v2().bucket("reports").send().await.unwrap();
    let mut names: Vec<&str> = listed.contents().iter().filter_map(|object| object.key()?.rsplit('/').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["report.html", "report.json", "report.md"]);
    let refused = environment.run(&account.edge.endpoint(), None, &["recover", "--report", "s3://"]).await;
    refused.has(&["names no bucket"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_kept_in_the_cluster() {
    let Some(account) = Account::open(1).await else { return };
    let Some(server) = tokio::task::spawn_blocking(server).await.unwrap() else { return };
    let kubeconfig = server.kubeconfig("kept", "admin-token", server.port);
    let environment = Environment::new("", "");
    let place = "configmap://default/last-recovery";
    let said = environment.run(&account.edge.endpoint(), Some(&kubeconfig), &["recover", "--timeout", "2s", "--report", place]).await;
    said.has(&["report: configmap://default/last-recovery"], 1);
    let id =
        ObjectId { api_version: "v1".into(), kind: "ConfigMap".into(), namespace: Some("default".into()), name: "last-recovery".into() };
    let kept = Cluster::connect(Some(&kubeconfig), None).await.unwrap().get(&id).await.unwrap().unwrap();
    let report: Value = serde_json::from_str(kept["data"]["report.json"].as_str().unwrap()).unwrap();
    assert_eq!((report["kind"].as_str(), report["success"].as_bool()), (Some("Report"), Some(false)));
    assert!(kept["data"]["report.html"].as_str().unwrap().starts_with("<!DOCTYPE html>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runbook_of_the_example_names_what_it_takes() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/shop");
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(format!("{}/.", shop.display())).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    git2::Repository::init(folder.path()).unwrap();
    let path = folder.path().display().to_string();
    let (text, code) = blackstart(&["runbook", &path, "--environment", "production"]);
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "# Bringing `production` back",
        "## 1. What you need",
        "111122223333",
        "$ blackstart recover --report report --environment production",
        "eks Cluster shop",
        "everything is ready",
        "## 5. When it does not go on",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let file = folder.path().join("runbook.md");
    assert_eq!(blackstart(&["runbook", &path, "--environment", "production", "--output", &file.display().to_string()]).1, Some(0));
    assert_eq!(std::fs::read_to_string(file).unwrap(), text);
}
