//! What `blackstart plan` says about wrong input: message, place, hint and exit code, from the real program.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const SYNC: &str = "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {url: 'https://example.com/fleet', interval: 1m}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec: {path: ./clusters/a, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}}
";

fn layer(name: &str, more: &str) -> String {
    format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n  name: {name}\n  namespace: flux-system\nspec:\n  path: ./apps/{name}\n  prune: true\n  interval: 1m\n  sourceRef: {{kind: GitRepository, name: flux-system}}\n{more}"
    )
}

fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: default\ndata:\n  key: {value}\n")
}

/// A committed repository with a cluster `clusters/a` and these files.
fn repository(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let sync = ("clusters/a/flux-system/gotk-sync.yaml", SYNC.to_owned());
    for (path, text) in std::iter::once(&sync).chain(files) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("made");
        fs::write(path, text).expect("written");
    }
    let git = git2::Repository::init(folder.path()).expect("init");
    let mut index = git.index().expect("index");
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).expect("added");
    index.write().expect("written");
    let tree = git.find_tree(index.write_tree().expect("tree")).expect("tree");
    let who = git2::Signature::now("t", "t@example.com").expect("signature");
    git.commit(Some("HEAD"), &who, &who, "start", &tree, &[]).expect("commit");
    folder
}

fn plan(path: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_blackstart")).arg("plan").arg(path).args(arguments).output().expect("runs")
}

/// Everything it said, and its exit code.
fn said(path: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let output = plan(path, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code())
}

fn assert_says(path: &Path, arguments: &[&str], wanted: &[&str]) {
    let (text, code) = said(path, arguments);
    for part in wanted {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert_eq!(code, Some(1), "{text}");
}

#[test]
fn a_good_repository_has_no_problems() {
    let folder = repository(&[("clusters/a/one.yaml", layer("one", "")), ("apps/one/a.yaml", config_map("a", "x"))]);
    let (text, code) = said(folder.path(), &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("flux-system/one") && text.contains("No problems."), "{text}");
    let inside = said(&folder.path().join("clusters/a"), &[]);
    assert_eq!(inside.1, Some(0), "any folder inside will do: {}", inside.0);
}

#[test]
fn not_a_git_repository() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_says(folder.path(), &[], &["not a Git repository", "hint:", "git -C"]);
    assert_says(&folder.path().join("gone"), &[], &["gone: cannot be read", "hint:"]);
}

#[test]
fn unknown_revision() {
    let folder = repository(&[]);
    let git = git2::Repository::open(folder.path()).expect("opens");
    let head = git.head().and_then(|head| head.peel_to_commit()).expect("head");
    git.branch("production", &head, false).expect("branch");
    assert_says(folder.path(), &["--revision", "prodution"], &["revision `prodution`: no such commit", "did you mean production?"]);
}

#[test]
fn entry_point_absent_or_ambiguous() {
    let folder = repository(&[("clusters/b/flux-system/gotk-sync.yaml", SYNC.replace("clusters/a", "clusters/b"))]);
    assert_says(folder.path(), &[], &["several entry points: clusters/a, clusters/b", "--entrypoint clusters/a"]);
    assert_says(
        folder.path(),
        &["--entrypoint", "clusters/c"],
        &["entry point clusters/c: no such folder", "did you mean clusters/a, clusters/b?"],
    );
}

#[test]
fn invalid_yaml_shows_file_line_column_and_the_line() {
    let folder =
        repository(&[("clusters/a/one.yaml", layer("one", "")), ("apps/one/a.yaml", "kind: ConfigMap\ndata: {a: [}\n".to_owned())]);
    assert_says(folder.path(), &[], &["apps/one/a.yaml:2:", "is not valid YAML", "2 | data: {a: [}", "^"]);
}

#[test]
fn a_cycle_is_told_with_the_place_of_each_step() {
    let depends = |on: &str| format!("  dependsOn:\n    - name: {on}\n");
    let folder = repository(&[
        ("clusters/a/one.yaml", layer("one", &depends("two"))),
        ("clusters/a/two.yaml", layer("two", &depends("one"))),
        ("apps/one/a.yaml", config_map("a", "x")),
        ("apps/two/b.yaml", config_map("b", "x")),
    ]);
    assert_says(
        folder.path(),
        &[],
        &["layers wait for each other", "(dependsOn at clusters/a/one.yaml:12)", "(dependsOn at clusters/a/two.yaml:12)", "[cycle]"],
    );
}

#[test]
fn a_missing_dependency_has_a_place_and_a_near_name() {
    let folder = repository(&[
        ("clusters/a/one.yaml", layer("database", "")),
        ("clusters/a/two.yaml", layer("two", "  dependsOn:\n    - name: databse\n")),
        ("apps/database/a.yaml", config_map("a", "x")),
        ("apps/two/b.yaml", config_map("b", "x")),
    ]);
    assert_says(
        folder.path(),
        &[],
        &["clusters/a/two.yaml:12 Kustomization flux-system/two: dependsOn flux-system/databse", "did you mean flux-system/database?"],
    );
}

#[test]
fn variables_that_nobody_defines() {
    let substitute = "  postBuild:\n    substitute:\n      REGION: x\n    substituteFrom:\n      - kind: ConfigMap\n        name: vars\n";
    let folder = repository(&[("clusters/a/one.yaml", layer("one", substitute)), ("apps/one/a.yaml", config_map("a", "${REGON}"))]);
    assert_says(
        folder.path(),
        &[],
        &["clusters/a/one.yaml:16 ConfigMap flux-system/vars: layer flux-system/one takes variables from it", "REGON: \"…\""],
    );

    let substitute = "  postBuild:\n    substitute:\n      REGION: x\n";
    let folder = repository(&[("clusters/a/one.yaml", layer("one", substitute)), ("apps/one/a.yaml", config_map("a", "${REGON}"))]);
    assert_says(
        folder.path(),
        &[],
        &["apps/one/a.yaml:7 ConfigMap default/a of layer flux-system/one: variable REGON is not defined", "did you mean REGION?"],
    );
}

#[test]
fn expressions_that_cannot_be_parsed_or_can_never_hold() {
    let checks = "  healthCheckExprs: [{apiVersion: v1, kind: ConfigMap, current: 'data ==='}]\n";
    let labels = "has(dep.metadata.labels) && dep.metadata.labels['tier'] == 'base'";
    let depends = format!("  dependsOn: [{{name: one, readyExpr: \"{labels}\"}}]\n");
    let folder = repository(&[
        ("clusters/a/one.yaml", layer("one", checks)),
        ("clusters/a/two.yaml", layer("two", &depends)),
        ("apps/one/a.yaml", config_map("a", "x")),
        ("apps/two/a.yaml", config_map("b", "x")),
    ]);
    assert_says(
        folder.path(),
        &[],
        &[
            "clusters/a/one.yaml:1",
            "Kustomization flux-system/one: CEL expression `data ===`",
            "clusters/a/two.yaml:",
            "readyExpr of its dependency on flux-system/one is false even when flux-system/one is ready",
            "the layer could never start",
        ],
    );
}

#[test]
fn a_path_that_is_not_there_and_an_undeclared_source() {
    let other = layer("two", "").replace("name: flux-system}", "name: elsewhere}");
    let folder = repository(&[("clusters/a/one.yaml", layer("one", "")), ("clusters/a/two.yaml", other)]);
    assert_says(
        folder.path(),
        &[],
        &[
            "clusters/a/one.yaml:1",
            "spec.path ./apps/one is no folder",
            "nothing declares its source GitRepository/flux-system/elsewhere",
            "--source",
        ],
    );
}

#[test]
fn a_wrong_environment_is_told_at_once() {
    let environment = "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {name: a}\nspec:\n  varables: []\n  secrets: x\n";
    let folder = repository(&[("blackstart.yaml", environment.to_owned())]);
    assert_says(
        folder.path(),
        &[],
        &[
            "blackstart.yaml:5:3 spec.varables: unknown field",
            "did you mean `variables`?",
            "blackstart.yaml:6:12 spec.secrets: must be a list",
        ],
    );
}

fn with_infrastructure(aws: &str, manifests: &str) -> tempfile::TempDir {
    let environment = format!(
        "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {{name: a}}\nspec:\n  {aws}\n  infrastructure: [{{path: infra}}]\n"
    );
    repository(&[
        ("blackstart.yaml", environment),
        ("clusters/a/one.yaml", layer("one", "")),
        ("apps/one/a.yaml", config_map("a", "x")),
        ("infra/all.yaml", manifests.to_owned()),
    ])
}

const ACCOUNT: &str = "aws: {accountID: \"111122223333\", region: eu-west-1}";

#[test]
fn cloud_manifests_with_unknown_kinds_fields_variables_and_references() {
    let manifests = "\
apiVersion: sqs.services.k8s.aws/v1alpha1
kind: Queue
metadata: {name: orders, namespace: ack}
spec:
  queueName: orders
  visibiltyTimeout: \"30\"
  kmsMasterKeyRef: {from: {name: gone}}
---
apiVersion: sagemaker.services.k8s.aws/v1alpha1
kind: Model
metadata: {name: m, namespace: ack}
spec: {}
---
apiVersion: sqs.services.k8s.aws/v1alpha1
kind: Queue
metadata: {name: dead, namespace: ack}
spec: {queueName: \"${STACK_NAME}-dead\"}
---
apiVersion: sqs.services.k8s.aws/v1alpha1
kind: Queue
metadata: {name: keyed, namespace: ack}
spec: {queueName: keyed, kmsMasterKeyRef: {from: {name: gone}}}
";
    let folder = with_infrastructure(ACCOUNT, manifests);
    assert_says(
        folder.path(),
        &[],
        &[
            "infra/all.yaml:1 Queue ack/orders: spec.visibiltyTimeout is not honoured by blackstart",
            "did you mean spec.visibilityTimeout?",
            "infra/all.yaml:9 Model ack/m: blackstart does not make sagemaker resources of this kind",
            "infra/all.yaml:17 Queue ack/dead: variable STACK_NAME is not defined",
            "infra/all.yaml:19 Queue ack/keyed: kmsMasterKeyRef names Key ack/gone, which is not declared",
            "declare the Key, or give its value in kmsMasterKeyID",
        ],
    );
}

#[test]
fn infrastructure_without_an_account_and_a_folder_that_is_not_there() {
    let manifests = "apiVersion: sqs.services.k8s.aws/v1alpha1\nkind: Queue\nmetadata: {name: a, namespace: ack}\nspec: {queueName: a}\n";
    let folder = with_infrastructure("cluster: {eks: {name: a}}", manifests);
    assert_says(folder.path(), &[], &["infra/all.yaml:1 spec.aws is missing", "accountID"]);
    std::fs::rename(folder.path().join("infra"), folder.path().join("infra2")).expect("a folder");
    assert_says(folder.path(), &[], &["blackstart.yaml:6", "infra is no folder of the repository", "did you mean infra2?"]);
}

#[test]
fn json_is_the_only_thing_on_standard_output() {
    let folder =
        repository(&[("clusters/a/one.yaml", layer("one", "  dependsOn: [{name: gone}]\n")), ("apps/one/a.yaml", config_map("a", "x"))]);
    let output = plan(folder.path(), &["-o", "json"]);
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(plan["apiVersion"], "blackstart/v1alpha1");
    assert_eq!(plan["kind"], "Plan");
    assert_eq!(plan["problems"][0]["file"], "clusters/a/one.yaml");
    assert_eq!(plan["layers"][1]["objects"][0], serde_json::json!(["v1", "ConfigMap", "default", "a"]));
    assert_eq!(output.status.code(), Some(1));
}

fn run(arguments: &[&str], path: &Path) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_blackstart")).args(arguments).arg(path).output().expect("runs");
    (String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr), output.status.code())
}

#[test]
fn verify_ends_with_0_1_or_2_and_tells_what_a_change_adds() {
    let image = |name: &str, image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: default}}\nspec: {{template: {{spec: {{containers: [{{name: a, image: {image}}}]}}}}}}\n"
        )
    };
    let folder = repository(&[("clusters/a/one.yaml", layer("one", "")), ("apps/one/a.yaml", image("a", "nginx:1.2.3"))]);
    let (text, code) = run(&["verify"], folder.path());
    assert!(text.contains("all layers start in 2 steps") && text.contains("Nothing stands against a start from nothing."), "{text}");
    assert_eq!(code, Some(0), "{text}");

    fs::write(folder.path().join("apps/one/b.yaml"), image("b", "redis")).expect("written");
    let (text, code) = run(&["verify", "--baseline", "HEAD"], folder.path());
    assert!(text.contains("apps/one/b.yaml:1 Deployment default/b: redis") && text.contains("[image-mutable]"), "{text}");
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(run(&["verify", "--fail-on", "blocks"], folder.path()).1, Some(0), "a moving tag stops nothing");

    let (text, code) = run(&["plan", "--compare", "HEAD"], folder.path());
    assert!(text.contains("+ Deployment default/b in flux-system/one") && text.contains("1 new object."), "{text}");
    assert_eq!(code, Some(0), "{text}");

    let (text, code) = run(&["verify", "-o", "dot"], folder.path());
    assert!(text.contains("verify has no such form"), "{text}");
    assert_eq!(code, Some(2), "{text}");
    assert_eq!(run(&["verify", "--entrypoint", "clusters/gone"], folder.path()).1, Some(2));
}

#[test]
fn explain_takes_a_name_and_proposes_near_ones() {
    let folder = repository(&[("clusters/a/one.yaml", layer("database", "")), ("apps/database/a.yaml", config_map("a", "x"))]);
    let (text, code) = run(&["explain", "database"], folder.path());
    assert!(text.contains("flux-system/flux-system is applied: declared there clusters/a/one.yaml:1"), "{text}");
    assert_eq!(code, Some(0), "{text}");
    let (text, code) = run(&["explain", "databse"], folder.path());
    assert!(text.contains("layer databse: nothing declares it") && text.contains("did you mean flux-system/database?"), "{text}");
    assert_eq!(code, Some(2), "{text}");
}
