//! The sandbox: a real Kubernetes control plane and agent as processes on the loopback, made and removed by the tool.
//!
//! ```text
//! components   finds or builds the programs
//! state        what stands on disk of each sandbox, dead ones included
//! process      processes that cannot outlive their owner
//! nodes        what kwok plays
//! credentials  keys, certificates, kubeconfigs of one sandbox
//! control_plane  command lines
//! watch        list and watch on the sandbox's API, for the stand-ins
//! artifacts    stand-in of source-controller
//! disaster     what a cluster loses: its API server for a moment, its etcd for good
//! volumes      stand-in of the EBS CSI driver
//! standin      what else a rehearsal needs stand-ins for (pure)
//! operator     statuses that no controller here writes
//! cloud, edge  AWS: moto, and what an emulator leaves out
//! ```
//!
//! Never: a listener off 127.0.0.1, a key on a disk, a process that outlives its owner, a fixed sleep.
//! Linux only: it relies on pidfd, `/proc` and `PR_SET_PDEATHSIG`.

mod agent;
mod artifacts;
pub mod cloud;
pub mod components;
mod control_plane;
mod credentials;
mod disaster;
pub mod edge;
mod error;
mod nodes;
pub mod operator;
mod process;
pub mod standin;
pub mod state;
mod volumes;
pub mod watch;

pub use agent::AgentFlags;
pub use artifacts::local_tree;
pub use cloud::{CloudOptions, Credentials};
pub use error::SandboxError;
pub use process::become_component;
pub use state::State;

use crate::layers::SourceId;
use crate::read::SourceTree;
use control_plane::Places;
use credentials::Authority;
use edge::Edge;
use jiff::Timestamp;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use process::{Keeper, Running};
use serde_json::Value;
use state::{Component, ProcessId};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What a sandbox shall have.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its name; a random one where absent.
    pub name: Option<String>,
    /// Three nodes in three zones (`topology.kubernetes.io/zone` `<region>a` to `c`) instead of one.
    pub zones: bool,
    /// Region that the nodes' labels name; `eu-west-1` where absent.
    pub region: Option<String>,
    /// Installs Flux's CRDs and starts its controllers too; otherwise `start_agent` does, later.
    pub controllers: bool,
    /// Writes an audit log (metadata of every write) to `logs/audit.jsonl`.
    pub audit: bool,
    /// Has an AWS too: moto behind an edge.
    pub cloud: Option<CloudOptions>,
    /// Where stand-ins are reported.
    pub stand_ins: Option<tokio::sync::mpsc::UnboundedSender<StandIn>>,
    /// The blackstart program, where it is not the running one (tests).
    pub launcher: Option<PathBuf>,
}

/// Something that the sandbox put in place of what it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StandIn {
    /// What: `OCIRepository flux-system/podinfo`.
    pub object: String,
    /// Why, and what stands there instead.
    pub reason: String,
}

/// What every sandbox has instead of the real thing.
const STAND_INS: &[(&str, &str)] = &[
    ("kubelet", "kwok plays the nodes: pods become Ready, no container runs"),
    ("source-controller", "an artifact server of the sandbox serves the files at hand in its place, placeholders for the rest"),
];

/// What a sandbox with an AWS has instead of the real one.
const CLOUD_STAND_INS: &[(&str, &str)] = &[
    ("AWS", "moto keeps what is made in memory; the sandbox's edge adds what it leaves out"),
    ("EKS", "the edge's own; its clusters lead to the sandbox's API server, where administrators by access policy are system:masters"),
];

/// Of whoever names none.
const REGION: &str = "eu-west-1";

/// How long a step of the start may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running sandbox. Dropping it ends it and removes its files; `down` does the same and reports errors.
pub struct Sandbox {
    held: Held,
    client: kube::Client,
    timing: Timing,
    artifacts: artifacts::Artifacts,
    edge: Option<Edge>,
    /// Where volumes live.
    account: tokio::sync::watch::Sender<Option<Arc<volumes::Account>>>,
    /// The stand-ins; they end with the sandbox.
    _tasks: JoinSet<()>,
}

/// How long the start took.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Until etcd and kube-apiserver were ready.
    pub api: Duration,
    /// Until everything was.
    pub ready: Duration,
}

impl Sandbox {
    /// Removes what dead runs left, then starts a sandbox and waits until it is ready: nodes Ready, the default namespace usable.
    pub async fn up(options: Options) -> Result<Self, SandboxError> {
        let begin = Instant::now();
        state::sweep().await?;
        let programs = Programs::find()?;
        // The running program even after its file was replaced.
        let launcher = options.launcher.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        let stages = components::need("kwok-stages")?;
        let (state, folder) = register(options.name.as_deref())?;
        let keeper = Keeper::new(launcher)?;
        let mut held = Held { state, folder, keeper, stages, options: options.clone(), running: Vec::new(), removed: false };
        held.make_folders()?;
        // Where this fails, the error carries the last words of the log, since the log goes with `held`.
        let edge = held.start_cloud(&options).await?;
        let (client, mut timing) = held.start(&options, programs, begin).await?;
        if let Some(edge) = &edge {
            held.await_cloud(edge).await?;
        }
        let mut tasks = JoinSet::new();
        let stand_in = connect(&held.state.private.join("stand-ins.kubeconfig")).await?;
        volumes::create_class(&stand_in).await?;
        let region = options.region.as_deref().unwrap_or(REGION);
        let account = match &edge {
            Some(edge) => Some(Arc::new(volumes::Account::of(edge, region).await?)),
            None => None,
        };
        let (account, current) = tokio::sync::watch::channel(account);
        volumes::start(&stand_in, current, options.stand_ins.clone(), &mut tasks);
        if let Some(stand_ins) = &options.stand_ins {
            for (object, reason) in STAND_INS.iter().chain(edge.iter().flat_map(|_| CLOUD_STAND_INS)) {
                let _ = stand_ins.send(StandIn { object: (*object).to_owned(), reason: (*reason).to_owned() });
            }
        }
        let artifacts = artifacts::Artifacts::start(
            &stand_in,
            components::provided(agent::SOURCE_CONTROLLER).is_some(),
            options.stand_ins.clone(),
            &mut tasks,
        )
        .await?;
        held.state.artifacts = Some(artifacts.port);
        let mut sandbox = Self { held, client, timing, artifacts, edge, account, _tasks: tasks };
        if options.controllers {
            sandbox.install_agent().await?;
            sandbox.start_agent(&AgentFlags::default()).await?;
        }
        sandbox.held.state.ready = true;
        sandbox.held.state.save(&sandbox.held.folder)?;
        timing.ready = begin.elapsed();
        sandbox.timing = timing;
        Ok(sandbox)
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.held.state.id
    }

    /// Kubeconfig of an administrator, readable by its user alone; gone with the sandbox.
    pub fn kubeconfig(&self) -> &Path {
        &self.held.state.kubeconfig
    }

    /// A client on it.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// What stands in `state.json`.
    pub fn state(&self) -> &State {
        &self.held.state
    }

    /// Folder of the logs; `audit.jsonl` stands here too.
    pub fn logs(&self) -> PathBuf {
        self.held.folder.join("logs")
    }

    /// How long its start took.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Its AWS, where it has one.
    pub fn edge(&self) -> Option<&Edge> {
        self.edge.as_ref()
    }

    /// Replaces the files that stand for the sources; may be called at any time.
    pub fn set_sources(&self, sources: Vec<(SourceId, SourceTree)>) {
        self.artifacts.set(sources);
    }

    /// Takes the artifact server away, or brings it back; tells how many have asked in vain so far.
    pub fn set_artifacts_away(&self, is_away: bool) -> usize {
        self.artifacts.set_away(is_away)
    }

    /// Ends with an error as soon as one of the sandbox's processes ends.
    pub async fn failed(&self) -> SandboxError {
        self.held.any_failed().await
    }

    /// Ends everything and removes every file of it.
    pub async fn down(mut self) -> Result<(), SandboxError> {
        self.held.removed = true;
        state::remove(&self.held.state).await
    }
}

/// Ends a sandbox by name: its owner is asked to, then whatever is left is removed.
pub async fn down(id: &str) -> Result<(), SandboxError> {
    let state = state::list()?.into_iter().find(|state| state.id == id).ok_or_else(|| SandboxError::Unknown { id: id.to_owned() })?;
    if !state.dead() && state.owner != ProcessId::current() {
        state.owner.signal(rustix::process::Signal::TERM);
        if !state.owner.gone(Duration::from_secs(15)).await {
            return Err(SandboxError::Survives { component: "owner".to_owned(), pid: state.owner.pid });
        }
    }
    // Read again: the owner may have started more, or may have removed it all.
    let state = state::list()?.into_iter().find(|state| state.id == id).unwrap_or(state);
    state::remove(&state).await
}

struct Programs {
    etcd: PathBuf,
    api_server: PathBuf,
    controller_manager: PathBuf,
    scheduler: PathBuf,
    kwok: PathBuf,
}

impl Programs {
    fn find() -> Result<Self, SandboxError> {
        Ok(Self {
            etcd: components::need("etcd")?,
            api_server: components::need("kube-apiserver")?,
            controller_manager: components::need("kube-controller-manager")?,
            scheduler: components::need("kube-scheduler")?,
            kwok: components::need("kwok")?,
        })
    }
}

/// Takes the name and writes the first state, which names the private folder before that exists.
fn register(name: Option<&str>) -> Result<(State, PathBuf), SandboxError> {
    let id = match name {
        Some(name) if !state::valid_id(name) => return Err(SandboxError::Name { id: name.to_owned() }),
        Some(name) => name.to_owned(),
        None => format!("sandbox-{}", &state::random()?[..6]),
    };
    let private = state::private_folder()?;
    let state = State {
        api_version: "blackstart/v1alpha1".to_owned(),
        kind: "Sandbox".to_owned(),
        id: id.clone(),
        created: Timestamp::now(),
        owner: ProcessId::current(),
        ready: false,
        kubeconfig: private.join("kubeconfig"),
        private,
        artifacts: None,
        cloud: None,
        components: Vec::new(),
    };
    let root = state::root()?;
    let folder = root.join(&id);
    let fresh = root.join(format!("{}{}", state::UNNAMED_PREFIX, state::random()?));
    state::make_private(&fresh)?;
    state.save(&fresh)?;
    if let Err(source) = std::fs::rename(&fresh, &folder) {
        let _ = std::fs::remove_dir_all(&fresh);
        return Err(match state::list()?.into_iter().find(|other| other.id == id) {
            Some(other) => SandboxError::Running { id, pid: other.owner.pid },
            None => SandboxError::Io { what: format!("state folder {}", folder.display()), source },
        });
    }
    Ok((state, folder))
}

/// The processes and files of a sandbox, from its first file on; dropping it ends and removes them.
struct Held {
    state: State,
    folder: PathBuf,
    keeper: Keeper,
    stages: PathBuf,
    options: Options,
    running: Vec<Running>,
    removed: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        for process in &self.running {
            process.kill();
        }
        if self.removed {
            return;
        }
        let state = self.state.clone();
        // A runtime of its own: this may be dropped inside or outside of one.
        let cleaner = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                let _ = runtime.block_on(state::remove(&state));
            }
        });
        let _ = cleaner.join();
    }
}

impl Held {
    fn make_folders(&self) -> Result<(), SandboxError> {
        let private = &self.state.private;
        [private, &self.folder.join("logs"), &private.join("home"), &private.join("tmp")]
            .into_iter()
            .try_for_each(|folder| state::make_private(folder))
    }

    async fn start(&mut self, options: &Options, programs: Programs, begin: Instant) -> Result<(kube::Client, Timing), SandboxError> {
        let private = self.state.private.clone();
        let logs = self.folder.join("logs");
        if options.audit {
            let policy = private.join("audit-policy.json");
            state::write_private(&policy, control_plane::AUDIT_POLICY.as_bytes())
                .map_err(|source| SandboxError::Io { what: policy.display().to_string(), source })?;
        }
        let stages = self.stages.clone();
        let places = Places { private: &private, logs: &logs, stages: &stages };
        // etcd first, so that it starts while the keys are made.
        self.launch(control_plane::etcd(&places, programs.etcd), None).await?;
        let authority = Authority::new(&private)?;
        let mut attempts = 3;
        let client = loop {
            attempts -= 1;
            match self.start_api(&places, &authority, &programs.api_server, options.audit).await {
                // Somebody else took the free port in the meantime.
                Err(SandboxError::Exited { component: "kube-apiserver", last, .. })
                    if attempts > 0 && last.contains("address already in use") =>
                {
                    self.running.retain(|running| running.name != "kube-apiserver");
                    self.state.components.retain(|component| component.name != "kube-apiserver");
                }
                other => break other?,
            }
        };
        let api = begin.elapsed();

        self.launch(control_plane::controller_manager(&places, programs.controller_manager), None).await?;
        self.launch(control_plane::kwok(&places, programs.kwok), None).await?;
        self.launch(control_plane::scheduler(&places, programs.scheduler), None).await?;
        let names = nodes::create(&client, options).await?;
        self.await_nodes(&client, names).await?;
        Ok((client, Timing { api, ready: begin.elapsed() }))
    }

    /// kube-apiserver on a free port, the kubeconfigs for it, and a client when it is ready.
    async fn start_api(
        &mut self,
        places: &Places<'_>,
        authority: &Authority,
        program: &Path,
        audit: bool,
    ) -> Result<kube::Client, SandboxError> {
        let port = free_port()?;
        let server = format!("https://127.0.0.1:{port}");
        self.launch(control_plane::api_server(places, program.to_owned(), port, audit, self.state.cloud.is_some()), Some(port)).await?;
        for (file, user) in [
            ("kubeconfig", "blackstart"),
            ("kube-controller-manager.kubeconfig", "system:kube-controller-manager"),
            ("kube-scheduler.kubeconfig", "system:kube-scheduler"),
            ("kwok.kubeconfig", "kwok"),
            ("stand-ins.kubeconfig", "blackstart-stand-ins"),
            ("kustomize-controller.kubeconfig", "system:serviceaccount:flux-system:kustomize-controller"),
            ("helm-controller.kubeconfig", "system:serviceaccount:flux-system:helm-controller"),
            ("source-controller.kubeconfig", "system:serviceaccount:flux-system:source-controller"),
        ] {
            authority.kubeconfig(file, user, &server)?;
        }
        let client = connect(&self.state.kubeconfig).await?;
        self.await_api(&client).await?;
        Ok(client)
    }

    async fn launch(&mut self, launch: process::Launch, port: Option<u16>) -> Result<(), SandboxError> {
        let running = self.keeper.start(launch).await?;
        self.state.components.push(Component { name: running.name.to_owned(), process: running.process, port, log: running.log.clone() });
        self.running.push(running);
        self.state.save(&self.folder)
    }

    /// Ends with an error as soon as one component ends.
    async fn any_failed(&self) -> SandboxError {
        let ends: Vec<_> = self.running.iter().map(|running| Box::pin(running.failed())).collect();
        futures::future::select_all(ends).await.0
    }

    fn late(&self, what: &str, component: &str) -> SandboxError {
        let log = self.folder.join("logs").join(format!("{component}.log"));
        SandboxError::TimedOut { what: what.to_owned(), patience: PATIENCE, last: process::last_words(&log), log }
    }

    /// Probes in short intervals: before it listens, there is nothing to wait on.
    async fn await_api(&self, client: &kube::Client) -> Result<(), SandboxError> {
        let probe = async {
            let mut pace = tokio::time::interval(Duration::from_millis(25));
            loop {
                pace.tick().await;
                let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { continue };
                if client.request_text(request).await.is_ok() {
                    return;
                }
            }
        };
        tokio::select! {
            () = probe => Ok(()),
            error = self.any_failed() => Err(error),
            () = tokio::time::sleep(PATIENCE) => Err(self.late("kube-apiserver", "kube-apiserver")),
        }
    }

    async fn await_nodes(&self, client: &kube::Client, names: Vec<String>) -> Result<(), SandboxError> {
        let ready = async {
            let accounts = kube::Api::<DynamicObject>::namespaced_with(client.clone(), "default", &core("ServiceAccount"));
            let nodes = kube::Api::<DynamicObject>::all_with(client.clone(), &core("Node"));
            let mut pace = tokio::time::interval(Duration::from_millis(25));
            loop {
                pace.tick().await;
                let list = nodes.list(&kube::api::ListParams::default()).await.map(|list| list.items).unwrap_or_default();
                let ready = list.iter().filter(|node| nodes::is_ready(&node.data)).count();
                if ready >= names.len() && accounts.get_opt("default").await.is_ok_and(|account| account.is_some()) {
                    return;
                }
            }
        };
        tokio::select! {
            () = ready => Ok(()),
            error = self.any_failed() => Err(error),
            () = tokio::time::sleep(PATIENCE) => Err(self.late("nodes", "kwok")),
        }
    }
}

async fn create(api: &kube::Api<DynamicObject>, value: Value) -> Result<(), SandboxError> {
    let object = format!("{} {}", value["kind"].as_str().unwrap_or_default(), value["metadata"]["name"].as_str().unwrap_or_default());
    let failed = |source| SandboxError::Api { object: object.clone(), verb: "create", source: Box::new(source) };
    let parsed: DynamicObject = serde_json::from_value(value).map_err(|error| failed(kube::Error::SerdeError(error)))?;
    api.create(&PostParams::default(), &parsed).await.map_err(failed)?;
    Ok(())
}

/// A kind of the core group.
pub(crate) fn core(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind))
}

async fn connect(kubeconfig: &Path) -> Result<kube::Client, SandboxError> {
    let config = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await?;
    // kube's own retry may wait for minutes.
    config.default_retry = false;
    kube::Client::try_from(config).map_err(|source| SandboxError::Api {
        object: "kube-apiserver".to_owned(),
        verb: "connect",
        source: Box::new(source),
    })
}

/// A loopback port that is free now.
fn free_port() -> Result<u16, SandboxError> {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| SandboxError::Io { what: "free port on 127.0.0.1".to_owned(), source })
}
