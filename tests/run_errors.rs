//! What `bootstrap` and `recover` say when something is wrong: message, place, hint and exit code, from the real program.
//! What needs an API server shares one sandbox, and is skipped, and said so, where its components are not built.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it skips")]

mod at_hand;

use at_hand::absent;
use blackstart::cluster::{Apply, Cluster};
use blackstart::sandbox::{Options, Sandbox};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_blackstart");

/// A committed repository that is its own remote, with a cluster `clusters/a`.
struct Repo(tempfile::TempDir);

impl Repo {
    fn new(files: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sync = "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {url: 'https://git.example.com/fleet', ref: {branch: main}, interval: 1m}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec: {path: ./clusters/a, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}}
";
        let sync = ("clusters/a/sync.yaml", sync.to_owned());
        for (path, text) in std::iter::once(&sync).chain(files) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut options = git2::RepositoryInitOptions::new();
        let git = git2::Repository::init_opts(folder.path(), options.initial_head("main")).unwrap();
        let mut index = git.index().unwrap();
        index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
        index.write().unwrap();
        let tree = git.find_tree(index.write_tree().unwrap()).unwrap();
        let who = git2::Signature::now("t", "t@example.com").unwrap();
        git.commit(Some("HEAD"), &who, &who, "start", &tree, &[]).unwrap();
        Self(folder)
    }

    /// With one layer `one` that holds this file.
    fn of(more: &str, text: &str) -> Self {
        Self::new(&[("clusters/a/one.yaml", layer("one", more)), ("apps/one/a.yaml", text.to_owned())])
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn layer(name: &str, more: &str) -> String {
    format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n  name: {name}\n  namespace: flux-system\nspec:\n  path: ./apps/{name}\n  prune: true\n  interval: 10m\n  sourceRef: {{kind: GitRepository, name: flux-system}}\n{more}"
    )
}

fn config_map(name: &str) -> String {
    format!("# a comment\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: default\ndata: {{key: x}}\n")
}

/// A Deployment that no node fits.
fn homeless(name: &str, namespace: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{nodeSelector: {{fits: nobody}}, containers: [{{name: main, image: example.com/app:1}}]}}
"
    )
}

/// What it said on stderr, and its exit code.
fn run(arguments: &[&str], path: &Path, more: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg(path).args(more).env("KUBECONFIG", "/nowhere/kubeconfig");
    // The agent's remote is the repository itself.
    let remote = format!("url.file://{}.insteadOf", path.display());
    command.envs([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", &remote), ("GIT_CONFIG_VALUE_0", "https://git.example.com/fleet")]);
    let output = command.output().unwrap();
    assert!(output.stdout.is_empty(), "nothing but results belongs on stdout: {}", String::from_utf8_lossy(&output.stdout));
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

#[track_caller]
fn assert_says((text, code): &(String, Option<i32>), wanted: &[&str]) {
    for part in wanted {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert_eq!(*code, Some(1), "{text}");
    assert!(!text.contains("interrupted") && !text.contains("panicked"), "{text}");
    // Each error is told once at the end, however often it shows while the run lasts.
    let end = text.split_once("\n\n").map_or(text.as_str(), |(_, end)| end);
    for part in wanted.iter().filter(|part| part.len() > 24) {
        assert!(end.matches(part).count() < 2, "`{part}` is told twice in:\n{end}");
    }
}

fn kubeconfig(folder: &Path, cluster: &Value, user: &Value) -> PathBuf {
    let path = folder.join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    fs::write(&path, config.to_string()).unwrap();
    path
}

#[test]
fn not_a_git_repository() {
    let folder = tempfile::tempdir().unwrap();
    assert_says(&run(&["bootstrap"], folder.path(), &[]), &["error:", "not a Git repository", "hint: give a path inside a clone"]);
}

#[test]
fn unknown_revision() {
    let repo = Repo::of("", &config_map("a"));
    let said = run(&["bootstrap", "--revision", "mian"], repo.path(), &[]);
    assert_says(&said, &["revision `mian`: no such commit, branch or tag", "hint: did you mean main?"]);
}

#[test]
fn only_what_follows_a_repository_of_git_can_be_pinned() {
    for kind in ["OCIRepository", "Bucket"] {
        let sync = format!(
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: {kind}\nmetadata: {{name: flux-system, namespace: flux-system}}\nspec: {{interval: 1m, url: 'oci://registry.example.com/fleet'}}\n---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: flux-system, namespace: flux-system}}\nspec: {{interval: 1m, prune: true, path: ./clusters/a, sourceRef: {{kind: {kind}, name: flux-system}}}}\n"
        );
        let repo = Repo::new(&[
            ("clusters/a/sync.yaml", sync),
            ("clusters/a/one.yaml", layer("one", "").replace("kind: GitRepository", &format!("kind: {kind}"))),
            ("apps/one/a.yaml", config_map("a")),
        ]);
        let wanted = format!("--pin: {kind}/flux-system/flux-system: only a GitRepository can be pinned; nothing was written");
        let said = run(&["recover", "--pin"], repo.path(), &[]);
        assert_says(&said, &[&wanted, "hint: push the commit to the branch that the agent follows"]);
    }
}

#[test]
fn files_of_another_commit_are_good_for_a_plan_only() {
    let source = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: next, namespace: flux-system}\nspec: {interval: 1m, url: 'https://git.example.com/fleet', ref: {tag: v9}}\n---\n";
    let one = layer("one", "").replace("kind: GitRepository, name: flux-system", "kind: GitRepository, name: next");
    let repo = Repo::new(&[("clusters/a/one.yaml", source.to_owned() + &one), ("apps/one/a.yaml", config_map("a"))]);
    let said = run(&["bootstrap"], repo.path(), &[]);
    assert_says(
        &said,
        &["Kustomization flux-system/one: its source GitRepository/flux-system/next has no files here", "has no tag v9 in this clone"],
    );
}

#[test]
fn entry_point_absent_or_ambiguous() {
    let repo = Repo::of("", &config_map("a"));
    let said = run(&["bootstrap", "--entrypoint", "clusters/b"], repo.path(), &[]);
    assert_says(&said, &["entry point clusters/b: no such folder", "hint: did you mean clusters/a?"]);

    let sync = fs::read_to_string(repo.path().join("clusters/a/sync.yaml")).unwrap();
    let two = Repo::new(&[("clusters/b/sync.yaml", sync.replace("clusters/a", "clusters/b"))]);
    assert_says(&run(&["bootstrap"], two.path(), &[]), &["several entry points: clusters/a, clusters/b", "hint: choose one: --entrypoint"]);

    let none = Repo::new(&[]);
    fs::remove_dir_all(none.path().join("clusters")).unwrap();
    fs::write(none.path().join("README.md"), "nothing").unwrap();
    let git = git2::Repository::open(none.path()).unwrap();
    let mut index = git.index().unwrap();
    index.clear().unwrap();
    index.add_path(Path::new("README.md")).unwrap();
    let tree = git.find_tree(index.write_tree().unwrap()).unwrap();
    let who = git2::Signature::now("t", "t@example.com").unwrap();
    let parent = git.head().unwrap().peel_to_commit().unwrap();
    git.commit(Some("HEAD"), &who, &who, "empty", &tree, &[&parent]).unwrap();
    assert_says(
        &run(&["bootstrap"], none.path(), &[]),
        &["no entry point of Flux or Argo CD was found", "hint: give the folder", "--entrypoint"],
    );
}

#[test]
fn all_problems_of_the_input_before_the_first_write() {
    let depends = |on: &str| format!("  dependsOn:\n    - name: {on}\n");
    let environment = "apiVersion: blackstart/v1alpha1
kind: Environment
metadata: {name: a}
spec:
  secrets:
    - {namespace: flux-system, name: token, key: token, from: {file: gone.txt}}
    - {namespace: flux-system, name: other, key: token, from: {env: NOT_SET_ANYWHERE}}
";
    let repo = Repo::new(&[
        ("blackstart.yaml", environment.to_owned()),
        ("clusters/a/one.yaml", layer("one", &depends("two"))),
        ("clusters/a/two.yaml", layer("two", &depends("one"))),
        ("clusters/a/three.yaml", layer("three", &depends("tow"))),
        ("apps/one/a.yaml", config_map("a")),
        ("apps/two/b.yaml", config_map("b")),
        ("apps/three/c.yaml", "kind: ConfigMap\ndata: {a: [}\n".to_owned()),
    ]);
    let said = run(&["bootstrap"], repo.path(), &[]);
    assert_says(
        &said,
        &[
            "blackstart.yaml:6 Secret flux-system/token: its value cannot be had from ",
            "gone.txt: No such file or directory",
            "hint: put the file there",
            "blackstart.yaml:7 Secret flux-system/other: its value cannot be had from environment variable NOT_SET_ANYWHERE: is not set",
            "hint: set the variable for this command",
            "layers wait for each other",
            "(dependsOn at clusters/a/one.yaml:12)",
            "(dependsOn at clusters/a/two.yaml:12)",
            "clusters/a/three.yaml:12 Kustomization flux-system/three: dependsOn flux-system/tow, which no layer declares",
            "hint: did you mean flux-system/two?",
            "apps/three/c.yaml:2:",
            "2 | data: {a: [}",
            "error: 5 problems; nothing was written",
        ],
    );
    assert!(!said.0.contains("connect"), "nobody was asked: {}", said.0);
}

#[test]
fn a_secret_that_the_key_does_not_open() {
    if blackstart::render::program::find("sops").is_none() {
        println!("skipped: sops is not at hand");
        return;
    }
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/shop");
    let mut files = Vec::new();
    collect(&shop, &shop, &mut files);
    files.retain(|(path, _)| path != "age.agekey");
    // Well formed, and somebody else's.
    files.push(("age.agekey".to_owned(), "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n".to_owned()));
    let files: Vec<(&str, String)> = files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    let repo = Repo::new(&files);
    let said = run(&["bootstrap", "--environment", "staging"], repo.path(), &[]);
    assert_says(
        &said,
        &[
            "secrets/staging/postgres-credentials.yaml:1 Secret database/postgres-credentials of layer flux-system/credentials: cannot be decrypted",
            "encrypted for age1",
            "hint: give the private key of one of them as Secret flux-system/sops-age",
            "error: 1 problem; nothing was written",
        ],
    );
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.push((path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn an_api_server_that_is_not_there() {
    let repo = Repo::of("", &config_map("a"));
    let file = kubeconfig(repo.path(), &json!({"server": "https://127.0.0.1:1"}), &json!({"token": "x"}));
    let said = run(&["bootstrap", "--kubeconfig", file.to_str().unwrap()], repo.path(), &[]);
    assert_says(
        &said,
        &["error: API server https://127.0.0.1:1: not reachable: ", "Connection refused", "hint: is the cluster up", "/readyz"],
    );

    let said = run(&["bootstrap", "--kubeconfig", "/nowhere/kubeconfig"], repo.path(), &[]);
    assert_says(&said, &["error: kubeconfig /nowhere/kubeconfig: cannot be used", "hint: name another file with --kubeconfig"]);
}

/// What the cases share: the sandbox, and how its API server is reached.
struct Server {
    sandbox: Sandbox,
    admin: Cluster,
    /// `cluster` of its kubeconfig.
    place: Value,
}

impl Server {
    async fn up() -> Self {
        let options =
            Options { name: Some(format!("test-errors-{}", std::process::id())), launcher: Some(BINARY.into()), ..Options::default() };
        let sandbox = Sandbox::up(options).await.unwrap();
        let config: Value = serde_json::from_str(&fs::read_to_string(sandbox.kubeconfig()).unwrap()).unwrap();
        let admin = Cluster::connect(Some(sandbox.kubeconfig()), None).await.unwrap();
        Self { admin, place: config["clusters"][0]["cluster"].clone(), sandbox }
    }

    async fn write(&self, object: Value) {
        self.admin.apply(&object, &Apply::flux()).await.unwrap();
    }

    /// Runs the program against it as its administrator.
    async fn run(&self, arguments: &[&str], repo: &Repo) -> (String, Option<i32>) {
        self.run_as(arguments, repo, self.sandbox.kubeconfig()).await
    }

    /// The sandbox's own parts live in this process: its threads must not be held up.
    async fn run_as(&self, arguments: &[&str], repo: &Repo, kubeconfig: &Path) -> (String, Option<i32>) {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let (path, kubeconfig) = (repo.path().to_owned(), kubeconfig.to_str().unwrap().to_owned());
        let running = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run(&arguments, &path, &["--kubeconfig", &kubeconfig])
        });
        running.await.unwrap()
    }

    /// A ServiceAccount in `default` with these rules for the whole cluster, as a kubeconfig.
    async fn account(&self, name: &str, rules: Value, folder: &Path) -> PathBuf {
        self.write(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}})).await;
        let rbac = "rbac.authorization.k8s.io/v1";
        self.write(json!({"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})).await;
        self.write(json!({
            "apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
        }))
        .await;
        let request = http::Request::post(format!("/api/v1/namespaces/default/serviceaccounts/{name}/token"))
            .header("content-type", "application/json")
            .body(br#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}"#.to_vec())
            .unwrap();
        let answer: Value = self.sandbox.client().request(request).await.unwrap();
        kubeconfig(folder, &self.place, &json!({"token": answer["status"]["token"]}))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_the_cluster_tells() {
    if absent() {
        return;
    }
    let server = Server::up().await;
    no_agent(&server).await;
    unauthorized(&server).await;
    forbidden_before_the_first_write(&server).await;
    server.sandbox.install_agent().await.unwrap();
    forbidden_in_a_layer(&server).await;
    rejected(&server).await;
    never_ready(&server).await;
    agent_does_not_start(&server).await;
    exists(&server).await;
    server.sandbox.down().await.unwrap();
}

async fn no_agent(server: &Server) {
    let said = server.run(&["bootstrap"], &Repo::of("", &config_map("a"))).await;
    assert_says(
        &said,
        &["error: agent: the cluster has no Flux", "nothing was written", "hint: name the folder or file", "spec.agent.flux.components"],
    );
    let id = blackstart::manifest::ObjectId {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        namespace: Some("default".into()),
        name: "a".into(),
    };
    assert!(server.admin.get(&id).await.unwrap().is_none());
}

async fn unauthorized(server: &Server) {
    let repo = Repo::of("", &config_map("a"));
    let file = kubeconfig(repo.path(), &server.place, &json!({"token": "expired"}));
    let said = server.run_as(&["bootstrap"], &repo, &file).await;
    assert_says(
        &said,
        &[
            "error: API server https://127.0.0.1:",
            "it does not accept these credentials",
            "hint: the token or certificate in the kubeconfig",
        ],
    );
}

async fn forbidden_before_the_first_write(server: &Server) {
    let repo = Repo::of("", &config_map("a"));
    let file = server.account("nobody", json!([]), repo.path()).await;
    let said = server.run_as(&["bootstrap"], &repo, &file).await;
    assert_says(
        &said,
        &[
            "error: Lease kube-system/blackstart-a: get is forbidden for system:serviceaccount:default:nobody: ",
            "cannot get resource \"leases\" in API group \"coordination.k8s.io\"",
            "hint: a run writes every kind that the layers declare, hence needs cluster-admin",
        ],
    );
}

async fn forbidden_in_a_layer(server: &Server) {
    let rules = json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
        {"apiGroups": ["source.toolkit.fluxcd.io"], "resources": ["*"], "verbs": ["*"]},
    ]);
    let repo = Repo::of("", &config_map("a"));
    let file = server.account("reader", rules, repo.path()).await;
    let said = server.run_as(&["recover"], &repo, &file).await;
    assert_says(
        &said,
        &[
            "ConfigMap default/a (apps/one/a.yaml:2): patch is forbidden for system:serviceaccount:default:reader: ",
            "cannot patch resource \"configmaps\"",
            "hint: a run writes every kind that the layers declare, hence needs cluster-admin",
            "The same command goes on from here.",
        ],
    );
}

async fn rejected(server: &Server) {
    let said = server.run(&["recover"], &Repo::of("", &config_map("Not_A_Name"))).await;
    assert_says(
        &said,
        &[
            "failed  one",
            "ConfigMap default/Not_A_Name (apps/one/a.yaml:2): rejected by the API server (422): ",
            "a lowercase RFC 1123 subdomain must consist of",
            "hint: correct apps/one/a.yaml:2, commit and push it, then run the same command again",
            "a is not back: 1 of 2 layers ready, 1 failed",
        ],
    );
}

async fn never_ready(server: &Server) {
    let says = |seconds: &str| {
        [
            "failed  one".to_owned(),
            format!("Deployment default/api (apps/one/a.yaml:1): not ready within {seconds} s: "),
            "last event: FailedScheduling: ".to_owned(),
            "hint: kubectl describe deployment -n default api".to_owned(),
        ]
    };
    // The controller gives each layer half a minute at least.
    let own = Repo::of("  wait: true\n  timeout: 3s\n", &homeless("api", "default"));
    let wanted = says("30");
    assert_says(&server.run(&["recover"], &own).await, &wanted.each_ref().map(String::as_str));

    let given = Repo::of("  wait: true\n  timeout: 1h\n", &homeless("api", "default"));
    let wanted = says("2");
    assert_says(&server.run(&["recover", "--timeout", "2s"], &given).await, &wanted.each_ref().map(String::as_str));
}

async fn agent_does_not_start(server: &Server) {
    let environment =
        "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {name: a}\nspec:\n  agent: {flux: {components: agent.yaml}}\n";
    let repo = Repo::new(&[
        ("blackstart.yaml", environment.to_owned()),
        ("agent.yaml", homeless("kustomize-controller", "flux-system")),
        ("clusters/a/one.yaml", layer("one", "")),
        ("apps/one/a.yaml", config_map("a")),
    ]);
    let said = server.run(&["recover", "--timeout", "2s"], &repo).await;
    assert_says(
        &said,
        &[
            "failed  agent/flux",
            "Deployment flux-system/kustomize-controller (agent.yaml:1): not ready within 2 s: ",
            "last event: FailedScheduling: ",
            "hint: kubectl describe deployment -n flux-system kustomize-controller",
        ],
    );
}

async fn exists(server: &Server) {
    server.write(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "here", "namespace": "default"}})).await;
    let said = server.run(&["bootstrap", "--entrypoint", "clusters/a"], &Repo::of("", &config_map("here"))).await;
    assert_says(
        &said,
        &[
            "error: bootstrap refused: ",
            "objects exist already, such as ",
            "nothing was written",
            "hint: to bring back what is missing",
            "blackstart recover",
        ],
    );
}
