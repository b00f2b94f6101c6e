//! A stage for whole runs: the example environment as a Git repository, a sandbox with Flux's controllers, the real binary.

#![allow(dead_code, reason = "each test file uses its own part")]

#[path = "../at_hand/mod.rs"]
mod at_hand;
#[path = "../example/mod.rs"]
mod example;

pub(crate) use at_hand::absent;
use blackstart::cluster::Cluster;
use blackstart::layers::SourceId;
use blackstart::manifest::ObjectId;
use blackstart::sandbox::standin::StatusRule;
use blackstart::sandbox::watch::{Change, follow};
use blackstart::sandbox::{Options, Sandbox, local_tree, operator};
pub(crate) use example::git;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_blackstart");
const URL: &str = "https://git.example.com/shop.git";
pub(crate) const KUSTOMIZATION: (&str, &str) = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization");

fn serve(sandbox: &Sandbox, repository: &Path) {
    let source = SourceId { kind: "GitRepository".into(), namespace: "flux-system".into(), name: "flux-system".into() };
    sandbox.set_sources(vec![(source, local_tree(repository).unwrap())]);
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    pub(crate) took: Duration,
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "after {:.1} s:\n{}", self.took.as_secs_f64(), self.text);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.text.contains(word), "`{word}` is not in:\n{}", self.text);
        }
        self
    }
}

/// The example environment and the cluster it is brought up in.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) cluster: Cluster,
    /// Clone that the user works in; what the agent's remote has, is here too.
    pub(crate) repository: PathBuf,
    _folder: tempfile::TempDir,
    operator: tokio::task::JoinHandle<()>,
}

impl Stage {
    pub(crate) async fn up(test: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = example::files(folder.path());
        // These tests are about the cluster; tests/cloud_runs.rs is about what stands below it.
        let environment = repository.join("environments/production.yaml");
        let whole = std::fs::read_to_string(&environment).unwrap();
        let (head, rest) = whole.split_once("  aws:\n").unwrap();
        let (_, agent) = rest.split_once("  agent:\n").unwrap();
        std::fs::write(&environment, format!("{head}  agent:\n{agent}")).unwrap();
        example::committed(&repository);
        let options = Options {
            name: Some(format!("test-{test}-{}", std::process::id())),
            controllers: true,
            audit: true,
            launcher: Some(BINARY.into()),
            ..Options::default()
        };
        let sandbox = Sandbox::up(options).await.unwrap();
        serve(&sandbox, &repository);
        let cluster = Cluster::connect(Some(sandbox.kubeconfig()), None).await.unwrap();
        // The shop's operator does not run here; its stand-in is a user of its own, so that the audit log keeps it apart from runs.
        let other = Cluster::connect(Some(&sandbox.state().private.join("stand-ins.kubeconfig")), None).await.unwrap();
        let status = json!({"phase": "Ready", "conditions": [{"type": "Ready", "status": "True", "reason": "StandIn", "message": ""}]});
        let rule = |kind: &str| StatusRule { api_version: "messaging.example.com/v1".into(), kind: kind.into(), status: status.clone() };
        let operator = tokio::spawn(operator::run(other, vec![rule("Broker"), rule("Queue")]));
        Self { sandbox, cluster, repository, _folder: folder, operator }
    }

    pub(crate) async fn down(self) {
        self.operator.abort();
        self.sandbox.down().await.unwrap();
    }

    /// The command, with git finding the agent's remote on this disk.
    pub(crate) fn command(&self, verb: &str, more: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .arg(verb)
            .arg(&self.repository)
            .args(["--environment", "production", "--kubeconfig"])
            .arg(self.sandbox.kubeconfig())
            .args(more)
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", format!("url.{}.insteadOf", self.repository.display()))
            .env("GIT_CONFIG_VALUE_0", URL)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Commits what stands in the working tree; the agent's remote has it too.
    pub(crate) fn commit(&self, message: &str) {
        git(&self.repository, &["commit", "--quiet", "--all", "--message", message]);
        serve(&self.sandbox, &self.repository);
    }

    pub(crate) async fn run(&self, verb: &str) -> Ran {
        run(self.command(verb, &[])).await
    }

    /// The audit log's length. The server writes a line after it has answered, and after watchers know: a write of our own
    /// is waited for first.
    pub(crate) async fn audited(&self) -> usize {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mark-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mark = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}});
        self.cluster.create(&mark, "test").await.unwrap();
        let written = async {
            loop {
                let audit = self.audit();
                if audit.contains(&name) {
                    return audit.lines().count();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), written).await.expect("the audit log has the mark within 10 s")
    }

    fn audit(&self) -> String {
        std::fs::read_to_string(self.sandbox.logs().join("audit.jsonl")).unwrap()
    }

    /// Writes since a line of the audit log, without dry runs, by the programs whose user agent begins so.
    pub(crate) async fn writes_since(&self, line: usize, agent: &str) -> Vec<Write> {
        self.audited().await;
        let text = self.audit();
        let events = text.lines().skip(line).filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter_map(|event| Write::of(&event, agent)).collect()
    }

    /// Objects that the layers declare, in the words of `plan`; those of two layers apart.
    pub(crate) async fn declared(&self) -> (BTreeSet<ObjectId>, BTreeSet<ObjectId>) {
        let mut command = Command::new(BINARY);
        command.arg("plan").arg(&self.repository).args(["--environment", "production", "--output", "json"]).stderr(Stdio::null());
        let output = tokio::process::Command::from(command).output().await.unwrap();
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (mut once, mut twice) = (BTreeSet::new(), BTreeSet::new());
        let suspended: BTreeSet<&str> = plan["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|node| node["action"] == "Skip")
            .filter_map(|node| node["id"].as_str()?.strip_prefix("layer/"))
            .collect();
        for layer in plan["layers"].as_array().unwrap() {
            if suspended.contains(layer["id"].as_str().unwrap()) {
                continue;
            }
            for object in layer["objects"].as_array().unwrap() {
                let text = |index: usize| object[index].as_str().unwrap_or_default().to_owned();
                let namespace = Some(text(2)).filter(|namespace| !namespace.is_empty());
                let id = ObjectId { api_version: text(0), kind: text(1), namespace, name: text(3) };
                if !once.insert(id.clone()) {
                    twice.insert(id);
                }
            }
        }
        once.retain(|id| !twice.contains(id));
        (once, twice)
    }

    /// Each declared object as it is now.
    pub(crate) async fn snapshot(&self, ids: &BTreeSet<ObjectId>) -> BTreeMap<ObjectId, Value> {
        let mut found = BTreeMap::new();
        for id in ids {
            if let Some(object) = self.cluster.get(id).await.unwrap() {
                found.insert(id.clone(), object);
            }
        }
        found
    }

    /// Fails where a Kustomization is suspended that Git does not suspend, or where a run of ours still owns that field.
    pub(crate) async fn nothing_is_held(&self) {
        for object in self.cluster.list(KUSTOMIZATION.0, KUSTOMIZATION.1, None, None).await.unwrap() {
            let name = object["metadata"]["name"].as_str().unwrap();
            assert!(name == "maintenance" || object["spec"]["suspend"] != true, "{name} is suspended");
            for entry in object["metadata"]["managedFields"].as_array().expect("managedFields") {
                let ours = entry["manager"] == "blackstart" && entry.pointer("/fieldsV1/f:spec").is_some();
                assert!(!ours, "{name}: blackstart still owns {}", entry["fieldsV1"]);
            }
        }
    }

    /// Every layer is Ready in the agent's words, at the commit of the repository.
    pub(crate) async fn all_confirmed(&self) {
        let head = git(&self.repository, &["rev-parse", "HEAD"]);
        let layers = self.cluster.list(KUSTOMIZATION.0, KUSTOMIZATION.1, None, None).await.unwrap();
        assert_eq!(layers.len(), 14);
        for object in layers.iter().filter(|object| object["metadata"]["name"] != "maintenance") {
            assert!(is_ready(object), "{object:#}");
            let applied = object["status"]["lastAppliedRevision"].as_str().unwrap_or_default();
            assert!(applied.ends_with(&head), "{}: at {applied}", object["metadata"]["name"]);
        }
    }

    /// Asks the agent for one more reconciliation of every layer, each after those that it depends on (a layer that finds its
    /// dependency at work looks again only after 30 s), and waits for them all.
    pub(crate) async fn reconcile_all(&self) {
        let mut waiting: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for object in self.cluster.list(KUSTOMIZATION.0, KUSTOMIZATION.1, None, None).await.unwrap() {
            if object["spec"]["suspend"] == true {
                continue;
            }
            let dependencies = object["spec"]["dependsOn"].as_array().into_iter().flatten();
            let dependencies = dependencies.map(|one| one["name"].as_str().unwrap().to_owned()).collect();
            waiting.insert(object["metadata"]["name"].as_str().unwrap().to_owned(), dependencies);
        }
        let (sender, mut changes) = mpsc::unbounded_channel();
        let follower = tokio::spawn(follow(self.sandbox.client(), resource(KUSTOMIZATION.0, KUSTOMIZATION.1), sender));
        let mut open: BTreeSet<String> = waiting.keys().cloned().collect();
        let mut asked: BTreeMap<String, String> = BTreeMap::new();
        let ask = async |name: &str| {
            let at = jiff::Timestamp::now().to_string();
            let patch = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": at}}});
            self.cluster.merge_patch(&kustomization(name), None, &patch, "test").await.unwrap();
            at
        };
        let all = async {
            while !open.is_empty() {
                let free: Vec<String> =
                    waiting.iter().filter(|(_, dependencies)| dependencies.is_disjoint(&open)).map(|(name, _)| name.clone()).collect();
                for name in free {
                    waiting.remove(&name);
                    let at = ask(&name).await;
                    asked.insert(name, at);
                }
                let Some(Change::Applied(_, object)) = changes.recv().await else { continue };
                let name = object.metadata.name.as_deref().unwrap_or_default();
                let Some(at) = asked.get_mut(name) else { continue };
                let handled = object.data.pointer("/status/lastHandledReconcileAt").and_then(Value::as_str) == Some(at);
                if handled && is_ready(&object.data) {
                    open.remove(name);
                } else if handled && object.data["status"]["conditions"][0]["reason"] == "DependencyNotReady" {
                    // It looked at its cache, which is behind.
                    *at = ask(name).await;
                }
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(120), all).await;
        follower.abort();
        assert!(done.is_ok(), "the agent has not reconciled {open:?}");
    }
}

pub(crate) fn kustomization(name: &str) -> ObjectId {
    id(KUSTOMIZATION.0, KUSTOMIZATION.1, Some("flux-system"), name)
}

pub(crate) fn id(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectId {
    ObjectId { api_version: api_version.into(), kind: kind.into(), namespace: namespace.map(str::to_owned), name: name.into() }
}

pub(crate) fn is_ready(object: &Value) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

pub(crate) async fn run(command: Command) -> Ran {
    let began = Instant::now();
    let child = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(180), child).await.expect("ends within 180 s").unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ran { code: output.status.code(), text, took: began.elapsed() }
}

/// A write as the audit log has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Write {
    pub(crate) verb: String,
    /// `deployments shop/shop-api`, with the subresource at the end.
    pub(crate) object: String,
}

impl Write {
    fn of(event: &Value, agent: &str) -> Option<Self> {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let verb = text("/verb");
        let writes = matches!(verb, "create" | "update" | "patch" | "delete" | "deletecollection");
        // Tests and the stand-in of the shop's operator are the same program as a run.
        let not_a_run = text("/requestURI").contains("fieldManager=test") || text("/user/username") == "blackstart-stand-ins";
        if !writes || not_a_run || !text("/userAgent").starts_with(agent) || text("/requestURI").contains("dryRun=All") {
            return None;
        }
        let (namespace, name) = (text("/objectRef/namespace"), text("/objectRef/name"));
        let place = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        let below = text("/objectRef/subresource");
        let below = if below.is_empty() { String::new() } else { format!(" {below}") };
        Some(Self { verb: verb.to_owned(), object: format!("{} {place}{below}", text("/objectRef/resource")) })
    }

    pub(crate) fn is_lease(&self) -> bool {
        self.object.starts_with("leases kube-system")
    }
}

pub(crate) fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let lower = kind.to_lowercase();
    resource.plural = match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if lower.ends_with('s') => format!("{lower}es"),
        None => format!("{lower}s"),
    };
    resource
}

/// What the agent must leave alone of an object: all but metadata and status, and its own entry of managedFields.
pub(crate) fn print(object: &Value) -> Value {
    let mut rest = object.clone();
    let fields = rest.as_object_mut().unwrap();
    fields.remove("status");
    let metadata = fields.remove("metadata").unwrap_or_default();
    let entry = metadata["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["manager"] == "kustomize-controller" && entry["operation"] == "Apply")
        .cloned();
    // Replicas that Git does not declare are an autoscaler's.
    if let Some(entry) = &entry
        && entry.pointer("/fieldsV1/f:spec/f:replicas").is_none()
        && let Some(spec) = rest.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove("replicas");
    }
    json!({"object": rest, "managed": entry, "labels": metadata["labels"]})
}

/// Every version of every object of some kinds, as the API server told them, from the first on.
pub(crate) struct Recorder {
    changes: mpsc::UnboundedReceiver<Change>,
    tasks: JoinSet<()>,
}

impl Recorder {
    pub(crate) fn start(stage: &Stage, ids: &BTreeSet<ObjectId>) -> Self {
        let kinds: BTreeSet<(&str, &str)> = ids.iter().map(|id| (id.api_version.as_str(), id.kind.as_str())).collect();
        let (sender, changes) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for (api_version, kind) in kinds {
            tasks.spawn(follow(stage.sandbox.client(), resource(api_version, kind), sender.clone()));
        }
        Self { changes, tasks }
    }

    /// All versions, once the newest of each object is among them.
    pub(crate) async fn versions(&mut self, now: &BTreeMap<ObjectId, Value>) -> BTreeMap<ObjectId, Vec<Value>> {
        let mut seen: BTreeMap<ObjectId, Vec<Value>> = BTreeMap::new();
        let mut open: BTreeMap<ObjectId, Value> =
            now.iter().map(|(id, object)| (id.clone(), object["metadata"]["resourceVersion"].clone())).collect();
        let all = async {
            while !open.is_empty() {
                let Some(Change::Applied(resource, object)) = self.changes.recv().await else { continue };
                let id = id(
                    &resource.api_version,
                    &resource.kind,
                    object.metadata.namespace.as_deref(),
                    object.metadata.name.as_deref().unwrap(),
                );
                let value = serde_json::to_value(&*object).unwrap();
                if open.get(&id).is_some_and(|version| *version == value["metadata"]["resourceVersion"]) {
                    open.remove(&id);
                }
                seen.entry(id).or_default().push(value);
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(30), all).await;
        assert!(done.is_ok(), "never seen: {:?}", open.keys());
        seen
    }
}

/// Pid of a component.
pub(crate) fn pid(stage: &Stage, component: &str) -> u32 {
    stage.sandbox.state().components.iter().find(|one| one.name == component).unwrap().process.pid
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Waits until an object is as wanted; none is an absent one.
pub(crate) async fn until(stage: &Stage, id: &ObjectId, wanted: impl Fn(Option<&Value>) -> bool) {
    let (sender, mut changes) = mpsc::unbounded_channel();
    let follower = tokio::spawn(follow(stage.sandbox.client(), resource(&id.api_version, &id.kind), sender));
    let all = async {
        // An object that is gone already makes no event.
        let mut object = stage.cluster.get(id).await.unwrap();
        while !wanted(object.as_ref()) {
            match changes.recv().await.unwrap() {
                Change::Applied(_, new) if new.metadata.name.as_deref() == Some(&id.name) && new.metadata.namespace == id.namespace => {
                    object = Some(serde_json::to_value(&*new).unwrap());
                }
                Change::Deleted(_, new) if new.metadata.name.as_deref() == Some(&id.name) && new.metadata.namespace == id.namespace => {
                    object = None;
                }
                _ => {}
            }
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(60), all).await;
    follower.abort();
    assert!(done.is_ok(), "{id}: not as wanted within 60 s");
}
