//! Plans of real repositories against orders that were computed independently (`../shared/oracles`). Skipped, with a line that says so,
//! where that folder or kustomize is not at hand.

#![expect(clippy::print_stdout, reason = "says what it skips")]

use blackstart::plan::{Plan, plan};
use blackstart::problem::Severity;
use blackstart::read::{self, ReadOptions, Revision};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files that the archives do not hold although the layer is rendered from them: the archives are YAML only, and hold one folder of the
/// repository. Such a layer must be told as a problem; its objects are those that are known without these files.
const LACKING: [(&str, &str, &str, Known); 6] = [
    ("ack-test-infra-flux", "flux-system/prow-agent-workflows", "prow/agent-workflows", Known::Nothing),
    ("ack-test-infra-flux", "flux-system/prow-jobs", "prow/jobs/kustomization.yaml", Known::Nothing),
    ("ack-test-infra-flux", "flux-system/prow-plugins", "prow/plugins/deployments", Known::Nothing),
    ("ack-test-infra-flux", "flux-system/prometheus-dashboards", "prow/prometheus-dashboards", Known::Nothing),
    ("onedr0p-home-ops", "default/sonarr", "kubernetes/apps/default/sonarr/app/resources/refresh-series.sh", Known::AllBut("")),
    // Its name ends with a hash of the files.
    (
        "d1-fleet.staging",
        "flux-system/monitoring-configs",
        "components/monitoring/configs/base/dashboards/cluster.json",
        Known::AllBut(" ConfigMap monitoring flux-grafana-dashboards-2cf2mc27tf"),
    ),
];

/// What is known of a layer that lacks files.
#[derive(Clone, Copy)]
enum Known {
    Nothing,
    /// All objects but this one.
    AllBut(&'static str),
}

fn shared() -> Option<PathBuf> {
    let given = std::env::var_os("BLACKSTART_SHARED").map(PathBuf::from);
    let shared = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let found = shared.join("oracles").is_dir() && blackstart::render::program::find("kustomize").is_some();
    if !found {
        println!("skipped: ../shared or kustomize is not at hand");
    }
    found.then_some(shared)
}

/// Unpacks an archive and commits it.
fn unpack(shared: &Path, name: &str, into: &Path) -> PathBuf {
    let folder = into.join(name);
    let archive = std::fs::File::open(shared.join(format!("repos/{name}.tar.gz"))).expect("archive");
    tar::Archive::new(flate2::read::GzDecoder::new(archive)).unpack(&folder).expect("unpacked");
    let git = git2::Repository::init(&folder).expect("init");
    let mut index = git.index().expect("index");
    index.add_all(["*"], git2::IndexAddOption::FORCE, None).expect("added");
    index.write().expect("written");
    let tree = git.find_tree(index.write_tree().expect("tree")).expect("tree");
    let who = git2::Signature::now("t", "t@example.com").expect("signature");
    git.commit(Some("HEAD"), &who, &who, "start", &tree, &[]).expect("commit");
    folder
}

struct Case {
    /// Name of the oracle.
    oracle: &'static str,
    repository: &'static str,
    entrypoint: Option<&'static str>,
    environment: Option<&'static str>,
    sources: &'static [&'static str],
}

fn check(case: &Case) {
    let Some(shared) = shared() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = unpack(&shared, case.repository, folder.path());
    let mut roots = vec![path.clone()];
    let mut sources = Vec::new();
    for name in case.sources {
        let root = unpack(&shared, name, folder.path());
        sources.push(((*name).to_owned(), root.clone()));
        roots.push(root);
    }
    let file = case.environment.map(|name| format!("{}/tests/environments/{name}.yaml", env!("CARGO_MANIFEST_DIR")));
    let environment = read::environment(&path, file.as_deref(), None).expect("environment");
    let entrypoint = case.entrypoint.map(str::to_owned);
    let options = ReadOptions { path, entrypoint, revision: Revision::WorkingTree, sources, decrypt: true, allowed_signers: Vec::new() };
    let reading = read::read_blocking(&options, &environment).expect("read");
    let plan = plan(&reading, &environment, &[]);

    let lacking: BTreeMap<&str, (&str, Known)> =
        LACKING.iter().filter(|(oracle, ..)| *oracle == case.oracle).map(|(_, layer, file, known)| (*layer, (*file, *known))).collect();
    for (layer, (file, _)) in &lacking {
        assert!(!roots.iter().any(|root| root.join(file).exists()), "{file} is there: compare the objects of {layer}");
        assert!(plan.problems.iter().any(|problem| problem.message.contains(&format!("Kustomization {layer}:"))), "{layer} is not told");
    }
    let told: Vec<&str> =
        plan.problems.iter().filter(|problem| problem.severity == Severity::Blocks).map(|problem| problem.message.as_str()).collect();
    assert_eq!(told.len(), lacking.len(), "{told:#?}");
    assert!(plan.problems.iter().all(|problem| problem.origin.is_some()), "a problem has no place: {:#?}", plan.problems);
    let placeless: Vec<String> =
        plan.layers.iter().filter(|layer| layer.parent.is_some() && layer.declared.is_none()).map(|layer| layer.id.to_string()).collect();
    assert!(placeless.is_empty(), "layers without a place: {placeless:?}");

    // The oracles stand `__NAME__` where the value of a variable is not in Git.
    let values = environment.spec.variables.iter().flat_map(|given| &given.data);
    let values: Vec<(String, String)> = values.map(|(name, value)| (format!("__{name}__"), value.clone())).collect();
    let wrong = compare(&plan, &shared.join("oracles"), case.oracle, &lacking, &values);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// As `compare.py` does it.
fn compare(plan: &Plan, oracles: &Path, name: &str, lacking: &BTreeMap<&str, (&str, Known)>, values: &[(String, String)]) -> Vec<String> {
    let load = |file: String| -> Value {
        let text = std::fs::read_to_string(oracles.join(file)).expect("oracle");
        serde_json::from_str(&values.iter().fold(text, |text, (name, value)| text.replace(name, value))).expect("JSON")
    };
    let mut wrong = Vec::new();
    let wanted: BTreeMap<String, Value> = load(format!("{name}.json"))["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .map(|layer| (format!("{}/{}", layer["namespace"].as_str().expect("text"), layer["name"].as_str().expect("text")), layer.clone()))
        .collect();
    let found: BTreeMap<String, _> = plan.layers.iter().map(|layer| (layer.id.to_string(), layer)).collect();
    let (have, want): (BTreeSet<_>, BTreeSet<_>) = (found.keys().collect(), wanted.keys().collect());
    wrong.extend(have.symmetric_difference(&want).map(|layer| format!("layer only on one side: {layer}")));
    for (id, layer) in &found {
        let Some(expected) = wanted.get(id) else { continue };
        let mut after: Vec<String> = layer.depends_on.iter().map(ToString::to_string).collect();
        after.sort();
        let mut expected_after: Vec<String> =
            expected["dependsOn"].as_array().expect("list").iter().map(|id| id.as_str().expect("text").to_owned()).collect();
        expected_after.sort();
        let parent = layer.parent.as_ref().map(ToString::to_string);
        let same = after == expected_after
            && parent.as_deref() == expected["parent"].as_str()
            && expected["wave"].as_u64() == Some(layer.wave.into())
            && expected["level"].as_u64() == Some(layer.level.into());
        if !same {
            wrong
                .push(format!("{id}: after {after:?}, parent {parent:?}, wave {}, level {}; expected {expected}", layer.wave, layer.level));
        }
    }
    for (id, objects) in load(format!("{name}.objects.json")).as_object().expect("map") {
        let but = match lacking.get(id.as_str()) {
            Some((_, Known::Nothing)) => continue,
            Some((_, Known::AllBut(object))) => *object,
            None => "",
        };
        let key = |version: &str, kind: &str, namespace: &str, name: &str| {
            let group = version.rsplit_once('/').map_or("", |(group, _)| group);
            format!("{group} {kind} {namespace} {name}")
        };
        let expected: BTreeSet<String> = objects
            .as_array()
            .expect("list")
            .iter()
            .map(|object| {
                key(
                    object[0].as_str().expect("text"),
                    object[1].as_str().expect("text"),
                    object[2].as_str().unwrap_or(""),
                    object[3].as_str().expect("text"),
                )
            })
            .collect();
        let actual: BTreeSet<String> = found.get(id).map_or_else(BTreeSet::new, |layer| {
            layer
                .objects
                .iter()
                .map(|object| key(&object.api_version, &object.kind, object.namespace.as_deref().unwrap_or(""), &object.name))
                .collect()
        });
        wrong.extend(
            expected
                .symmetric_difference(&actual)
                .filter(|object| *object != but)
                .map(|object| format!("{id}: only on one side: {object}")),
        );
    }
    wrong
}

#[test]
fn flux2_kustomize_helm_example_staging() {
    check(&Case {
        oracle: "flux2-kustomize-helm-example.staging",
        repository: "flux2-kustomize-helm-example",
        entrypoint: Some("clusters/staging"),
        environment: None,
        sources: &[],
    });
}

#[test]
fn flux2_kustomize_helm_example_production() {
    check(&Case {
        oracle: "flux2-kustomize-helm-example.production",
        repository: "flux2-kustomize-helm-example",
        entrypoint: Some("./clusters/production/"),
        environment: None,
        sources: &[],
    });
}

#[test]
fn ack_test_infra_flux() {
    check(&Case {
        oracle: "ack-test-infra-flux",
        repository: "ack-test-infra-flux",
        entrypoint: None,
        environment: Some("ack-test-infra-flux"),
        sources: &[],
    });
}

#[test]
fn onedr0p_home_ops() {
    check(&Case {
        oracle: "onedr0p-home-ops",
        repository: "onedr0p-home-ops",
        entrypoint: None,
        environment: Some("onedr0p-home-ops"),
        sources: &[],
    });
}

#[test]
fn d1_fleet_staging_across_three_repositories() {
    check(&Case {
        oracle: "d1-fleet.staging",
        repository: "d1-fleet",
        entrypoint: None,
        environment: Some("d1-fleet"),
        sources: &["d1-infra", "d1-apps"],
    });
}

/// Its archive holds the chart of Applications alone: each of them lacks its folder.
#[test]
fn ack_test_infra_argo() {
    let Some(shared) = shared() else { return };
    if blackstart::render::program::find("helm").is_none() {
        return println!("skipped: helm is not at hand");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = unpack(&shared, "ack-test-infra-argo", folder.path());
    let file = format!("{}/tests/environments/ack-test-infra-argo.yaml", env!("CARGO_MANIFEST_DIR"));
    let environment = read::environment(&path, Some(&file), None).expect("environment");
    let options = ReadOptions {
        path,
        entrypoint: None,
        revision: Revision::WorkingTree,
        sources: Vec::new(),
        decrypt: true,
        allowed_signers: Vec::new(),
    };
    let reading = read::read_blocking(&options, &environment).expect("read");
    let plan = plan(&reading, &environment, &[]);
    let text = std::fs::read_to_string(shared.join("oracles/ack-test-infra-argo.json")).expect("oracle");
    let oracle: Value = serde_json::from_str(&text).expect("JSON");
    let wanted: BTreeSet<String> = oracle["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .map(|layer| {
            let text = |key: &str| layer[key].as_str().expect("text");
            format!(
                "{}/{} {} < {} wave {} level {}",
                text("namespace"),
                text("name"),
                text("path"),
                text("parent"),
                layer["wave"],
                layer["level"]
            )
        })
        .collect();
    let found: BTreeSet<String> = plan
        .layers
        .iter()
        .map(|layer| {
            let parent = layer.parent.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{} {} < {parent} wave {} level {}", layer.id, layer.path, layer.named_wave, layer.level)
        })
        .collect();
    assert_eq!(found, wanted);
    assert!(plan.layers.iter().all(|layer| layer.depends_on.is_empty() && !layer.remote && layer.declared.is_some()));
    let lacking: Vec<&str> = plan.problems.iter().map(|problem| problem.rule).collect();
    assert_eq!(lacking, vec!["path-missing"; 19]);
    // Waves 0 to 5 hold 2, 1, 5, 3, 4 and 4: each waits for all of the wave before.
    let waits = plan.edges.iter().filter(|edge| edge.reason.starts_with("sync wave")).count();
    assert_eq!(waits, 2 + 5 + 5 * 3 + 3 * 4 + 4 * 4);
}
