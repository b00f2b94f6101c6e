//! Rehearsals of real repositories (`../shared/repos`), from the command to the proof that the agent changed nothing. Skipped, with a line
//! that says so, where the archives or the sandbox's components are not at hand.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test; says what it skips and what it puts in place")]

use blackstart::sandbox::components;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One sandbox at a time: each of them keeps two cores busy.
static SERIAL: Mutex<()> = Mutex::new(());

/// No rehearsal of these takes half of it, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

const EMPTY: &str = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n";
const CHART: &str = "apiVersion: v2\nname: placeholder\nversion: 0.0.1\n";

/// Files that layers name and that the archives, YAML of a part of each repository, do not hold.
const ABSENT: [(&str, &str, &str); 11] = [
    ("ack-test-infra-flux", "prow/agent-workflows/kustomization.yaml", EMPTY),
    ("ack-test-infra-flux", "prow/jobs/kustomization.yaml", EMPTY),
    ("ack-test-infra-flux", "prow/plugins/deployments/kustomization.yaml", EMPTY),
    ("ack-test-infra-flux", "prow/prometheus-dashboards/kustomization.yaml", EMPTY),
    ("ack-test-infra-flux", "charts/flux2-2.18.4/Chart.yaml", CHART),
    ("ack-test-infra-flux", "prow/config/Chart.yaml", CHART),
    ("ack-test-infra-flux", "prow/data-plane/Chart.yaml", CHART),
    ("onedr0p-home-ops", "kubernetes/apps/default/sonarr/app/resources/refresh-series.sh", "# placeholder\n"),
    ("onedr0p-home-ops", "kubernetes/apps/default/sonarr/app/resources/tag-resolution.sh", "# placeholder\n"),
    ("d1-infra", "components/monitoring/configs/base/dashboards/cluster.json", "{}\n"),
    ("d1-infra", "components/monitoring/configs/base/dashboards/control-plane.json", "{}\n"),
];

/// The archives, where everything is at hand.
fn archives() -> Option<PathBuf> {
    let given = std::env::var_os("BLACKSTART_SHARED").map(PathBuf::from);
    let archives = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared")).join("repos");
    let missing = components::missing().unwrap();
    if !missing.is_empty() {
        assert!(std::env::var("BLACKSTART_TEST_SANDBOX").as_deref() != Ok("required"), "not built: {missing:?}");
        println!("skipped: not built: {missing:?}");
        return None;
    }
    if !archives.is_dir() {
        println!("skipped: ../shared is not at hand");
        return None;
    }
    Some(archives)
}

/// Unpacks an archive, completes it with [`ABSENT`], and commits it.
fn unpack(archives: &Path, name: &str, into: &Path) -> PathBuf {
    let root = into.join(name);
    let archive = std::fs::File::open(archives.join(format!("{name}.tar.gz"))).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(archive)).unpack(&root).unwrap();
    let absent: Vec<_> = ABSENT.iter().filter(|(repository, ..)| *repository == name).collect();
    for (_, file, text) in &absent {
        let path = root.join(file);
        assert!(!path.exists(), "{name} has {file} now: drop its placeholder");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    if !absent.is_empty() {
        println!("{name}: completed with {} placeholder files, since the archive holds YAML only:", absent.len());
        for (_, file, _) in &absent {
            println!("  {file}");
        }
    }
    let git = git2::Repository::init(&root).unwrap();
    let mut index = git.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::FORCE, None).unwrap();
    index.write().unwrap();
    let tree = git.find_tree(index.write_tree().unwrap()).unwrap();
    let who = git2::Signature::now("t", "t@example.com").unwrap();
    git.commit(Some("HEAD"), &who, &who, "start", &tree, &[]).unwrap();
    root
}

/// Runs the rehearsal to its end, or ends it, and looks at its report.
fn rehearse(repository: &str, environment: &str, sources: &[&str]) {
    let Some(archives) = archives() else { return };
    let _turn = SERIAL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let root = unpack(&archives, repository, folder.path());
    let report = folder.path().join("report.json");
    let errors = folder.path().join("errors.txt");
    let mut command = Command::new(env!("CARGO_BIN_EXE_blackstart"));
    command.arg("rehearse").arg(&root).args(["--timeout", "120s", "-o", "json", "--environment"]);
    command.arg(format!("{}/tests/environments/{environment}.yaml", env!("CARGO_MANIFEST_DIR")));
    for source in sources {
        command.arg("--source").arg(format!("{source}={}", unpack(&archives, source, folder.path()).display()));
    }
    command.env("XDG_STATE_HOME", folder.path().join("state"));
    let begin = Instant::now();
    let out = std::fs::File::create(&report).unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(std::fs::File::create(&errors).unwrap()).spawn().unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begin.elapsed() > LIMIT {
            // As Ctrl-C would: the sandbox is taken down with it.
            Command::new("kill").arg(child.id().to_string()).status().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let errors = std::fs::read_to_string(&errors).unwrap();
    let status = status.unwrap_or_else(|| panic!("{environment}: not over after {} s\n{errors}", LIMIT.as_secs()));
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap_or_else(|error| panic!("{error}\n{errors}"));
    assert!(status.success(), "{environment}: {status}\n{errors}");
    assert_eq!(report["success"], true, "{environment}\n{errors}");

    let layers = report["layers"].as_array().unwrap();
    assert!(!layers.is_empty());
    for layer in layers.iter().filter(|layer| layer["result"] != "skipped") {
        // A layer that only declares others, or nothing, has nothing to write.
        let wanted = if layer["objects"] == 0 { "unchanged" } else { "ready" };
        assert_eq!(layer["result"], wanted, "{layer}");
        assert!(layer["handedOver"].is_number(), "not confirmed by the agent: {layer}");
        assert_eq!(layer["changedByAgent"], serde_json::json!([]), "{layer}");
    }
    let changed: Vec<&Value> = report["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|warning| warning["message"].as_str().unwrap().contains("the agent changed it"))
        .collect();
    assert!(changed.is_empty(), "{changed:#?}");

    let stand_ins = report["standIns"].as_array().unwrap();
    assert!(!stand_ins.is_empty() && stand_ins.iter().all(|one| one["reason"].as_str().is_some_and(|reason| !reason.is_empty())));
    assert!(report["headline"].as_str().unwrap().contains("stand-ins"), "{}", report["headline"]);
    println!("{environment}: {} layers, {} stand-ins, {:.1} s", layers.len(), stand_ins.len(), begin.elapsed().as_secs_f32());
}

#[test]
fn flux2_kustomize_helm_example_staging() {
    rehearse("flux2-kustomize-helm-example", "flux2-kustomize-helm-example-staging", &[]);
}

#[test]
fn flux2_kustomize_helm_example_production() {
    rehearse("flux2-kustomize-helm-example", "flux2-kustomize-helm-example-production", &[]);
}

#[test]
fn ack_test_infra_flux() {
    rehearse("ack-test-infra-flux", "ack-test-infra-flux", &[]);
}

#[test]
fn onedr0p_home_ops() {
    rehearse("onedr0p-home-ops", "onedr0p-home-ops", &[]);
}

#[test]
fn d1_fleet_staging_across_three_repositories() {
    rehearse("d1-fleet", "d1-fleet", &["d1-infra", "d1-apps"]);
}
