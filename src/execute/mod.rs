//! The run: does what the plan says, in the order that the queue gives, and hands each layer to the agent.
//!
//! `queue` decides (pure); `engine` drives it: one task that owns all state, to which apply tasks and watches send messages;
//! `layer` writes objects, `handover` those that live in AWS already; `lease` keeps runs apart; `existing` guards a first start. Emits events, never prints.

pub mod adoption;
pub mod checks;
pub mod clearing;
pub mod cloud;
pub mod command;
pub mod destroy;
mod dns;
mod engine;
pub mod existing;
pub mod fence;
pub mod follow;
pub mod handover;
pub mod hold;
pub mod journal;
pub mod keep;
pub mod kubeconfig;
pub mod layer;
pub mod lease;
pub mod preflight;
pub mod progress;
pub mod proof;
pub mod prove;
pub mod queue;
pub mod restore;
pub mod secret;
pub mod stuck;
pub mod survey;
mod web;

use crate::agent::pin::{Pin, Pinned};
use crate::agent::{self, Living, pin};
use crate::aws::Cloud;
use crate::cluster::watch::Watches;
use crate::cluster::{self, Apply, Cluster, ClusterError};
use crate::layers::LayerId;
use crate::manifest::{ObjectId, Resource};
use crate::plan::Plan;
use crate::plan::estimate::Estimate;
use crate::read::Reading;
use crate::report::event::{Event, Fate, Happening, Outcome, Sink};
use follow::Follow;
use futures::future::BoxFuture;
use handover::Handover;
use lease::{Lease, LeaseError};
use progress::Progress;
use restore::Restored;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};

pub use engine::Finished;

/// What is ours alone: secrets and variables of the environment, volumes of claims.
const OURS: Apply = Apply { manager: "blackstart", force: true, dry_run: false, mode: cluster::Mode::Straight };

/// First start or recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuses where the environment exists.
    Bootstrap,
    /// Adopts what survived.
    Recover,
}

/// How the agent comes to be.
#[derive(Default)]
pub struct Installation {
    /// Its components: CRDs, namespace, RBAC, Deployments. May be empty where it already runs.
    pub components: Vec<Resource>,
    /// What starts it beside that: the sandbox's processes.
    pub start: Option<BoxFuture<'static, Result<(), String>>>,
}

impl std::fmt::Debug for Installation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installation").field("components", &self.components.len()).field("start", &self.start.is_some()).finish()
    }
}

/// The storey below the cluster, as the run above it sees it.
#[derive(Clone, Debug)]
pub struct Below {
    /// The account; none where commands make everything.
    pub cloud: Option<Arc<Cloud>>,
    /// What lives there so far.
    pub progress: Progress,
}

/// Whether a node is made below the cluster.
pub fn is_below(node: &str) -> bool {
    node.starts_with("aws/") || node.starts_with("command/")
}

/// All that a run needs.
#[derive(Debug)]
pub struct Run {
    /// First start or recovery.
    pub mode: Mode,
    /// What to do.
    pub plan: Plan,
    /// The objects.
    pub reading: Arc<Reading>,
    /// Secrets and variables as objects, in the order of the environment; made as late as possible by the caller.
    pub secrets: Vec<Resource>,
    /// What a rehearsal puts in place of what it cannot have; written first.
    pub stand_ins: Vec<Resource>,
    /// Where.
    pub cluster: Cluster,
    /// The agent.
    pub installation: Installation,
    /// The storey below, which may still be under way.
    pub below: Option<Below>,
    /// Claims that get the volume that holds their data.
    pub claims: Vec<Restored>,
    /// Which commit the agent follows.
    pub follow: Follow,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// Where events go.
    pub events: Events,
    /// How often the user asked to stop: once finishes what runs, twice stops at once.
    pub stop: watch::Receiver<u8>,
}

/// Why a run did not begin or was given up.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another run, or the API server.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A stand-in of a rehearsal could not be written.
    #[error("stand-in {0}")]
    StandIn(#[from] Box<layer::ApplyFailed>),
    /// Nobody to hand over to.
    #[error("agent: the cluster has no Flux, and neither the repository nor the environment brings its components; nothing was written")]
    NoAgent,
    /// The agent stays at another commit.
    #[error("{source_object}: an earlier run has pinned it at {pinned}, and this one is of {ours}; nothing was written")]
    Pinned {
        /// The source.
        source_object: Box<ObjectId>,
        /// Where it stays.
        pinned: String,
        /// What this run would bring up.
        ours: String,
    },
    /// `bootstrap` found the environment.
    #[error("bootstrap refused: {count} declared objects exist already, such as {sample}; nothing was written")]
    Exists {
        /// How many.
        count: usize,
        /// The first few.
        sample: String,
    },
}

impl RunError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => {
                Some("to bring back what is missing and keep what is there, run `blackstart recover` with the same arguments".into())
            }
            Self::Lease(LeaseError::Held { .. }) => Some("wait for it to end; a run that died frees its place by itself after 30 s".into()),
            Self::Pinned { pinned, .. } => {
                Some(format!("to stay there: --revision {pinned} --pin; to let the agent follow Git again: --unpin"))
            }
            Self::NoAgent => {
                Some("name the folder or file with Flux's components (`flux install --export`) as spec.agent.flux.components".into())
            }
            Self::Lease(LeaseError::Lost { .. }) => Some("look at what the other run does; then run the same command again".into()),
            Self::StandIn(_) => None,
            Self::Lease(LeaseError::Cluster(error)) | Self::Cluster(error) => error.hint(),
        }
    }
}

/// Sends events of one run.
#[derive(Clone, Debug)]
pub struct Events {
    sink: Sink,
    run: String,
    told: Arc<Mutex<Told>>,
}

/// What a run has told so far.
#[derive(Debug, Default)]
struct Told {
    /// Of data.
    fates: BTreeMap<String, Fate>,
    /// Nodes that are as declared, or that nobody has to wait for.
    ready: BTreeSet<String>,
}

impl Events {
    /// For a new run; its id is made of the time and the process.
    pub fn new(sink: Sink) -> Self {
        let run = format!("{}-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"), std::process::id());
        Self { sink, run, told: Arc::default() }
    }

    /// To nobody.
    pub fn silent() -> Self {
        Self::new(tokio::sync::mpsc::unbounded_channel().0)
    }

    /// What it has told, for those who ask when its reporter is gone.
    #[must_use]
    pub fn remembered(&self) -> Self {
        Self { told: self.told.clone(), ..Self::silent() }
    }

    /// What this run has told of the data that `state` keeps.
    pub fn fate(&self, state: &str) -> Option<Fate> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).fates.get(state).copied()
    }

    /// Whether this run has told that a node is ready, or that it has nothing to do there.
    pub fn is_ready(&self, node: &str) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).ready.contains(node)
    }

    /// Sends one; a reporter that is gone is no reason to stop a recovery.
    pub fn send(&self, happening: Happening) {
        let told = || self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match &happening {
            Happening::State(state) => drop(told().fates.insert(state.state.clone(), state.fate)),
            Happening::Finished { node, result: Outcome::Ready | Outcome::Unchanged | Outcome::Skipped, .. } => {
                told().ready.insert(node.clone());
            }
            _ => {}
        }
        let _ = self.sink.send(Event { time: jiff::Timestamp::now(), run: self.run.clone(), happening });
    }
}

/// What all tasks of a run share.
#[derive(Debug)]
pub struct Shared {
    /// Requests that may be under way at once.
    pub requests: Semaphore,
    /// The newest state of what is awaited.
    pub watches: Watches,
    /// A custom resource definition was established.
    pub definitions_changed: Notify,
    /// What lives below, for its controllers in the cluster.
    pub handover: Option<Handover>,
    /// Where the agent's sources stay.
    pub pin: Option<Pin>,
    /// Where events go.
    pub events: Events,
    /// How often the user asked to stop.
    pub stop: watch::Receiver<u8>,
}

impl Shared {
    /// Returns when the user has asked to stop; never, where nobody can.
    pub async fn stopping(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|count| *count > 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sends an event.
    pub fn send(&self, happening: Happening) {
        self.events.send(happening);
    }
}

/// Tells the plan, and how long it should take; before anything of it is done.
pub fn announce(plan: &Plan, expected: &Estimate, events: &Events) {
    events.send(Happening::Planned {
        environment: plan.environment.clone(),
        revision: plan.revision.clone(),
        nodes: plan.nodes.iter().map(|node| (node.id.clone(), node.action)).collect(),
        edges: plan.edges.iter().map(|edge| (edge.from.clone(), edge.to.clone(), edge.reason.clone())).collect(),
    });
    events.send(Happening::Expected { seconds: expected.seconds, nodes: expected.nodes.clone() });
}

/// What a run found before its first write.
#[derive(Debug)]
pub struct Look {
    lease: lease::Found,
    agent_is_installed: bool,
    living: BTreeMap<LayerId, Living>,
    /// Declared objects that exist; only a first start asks.
    existing: Vec<ObjectId>,
    /// What does not go on by itself; only a recovery asks.
    stuck: Vec<stuck::Stuck>,
    /// Sources that stay at a commit.
    pinned: Vec<Pinned>,
}

/// Looks at the cluster, all at once; writes nothing. The Lease comes first: what is read after it holds as long as nobody takes it.
pub async fn look(cluster: &Cluster, environment: &str, reading: &Reading, mode: Mode) -> Result<Look, RunError> {
    let lease = lease::look(cluster, environment).await?;
    let applied = reading.layers.iter().filter(|layer| !layer.layer.spec.suspend && layer.layer.spec.kube_config.is_none());
    let existing = async {
        if mode == Mode::Recover || lease.unfinished_bootstrap {
            return Ok(Vec::new());
        }
        existing::declared_objects(cluster, applied.flat_map(|layer| &layer.objects)).await
    };
    let stuck = async { if mode == Mode::Recover { stuck::look(cluster, reading).await } else { Ok(Vec::new()) } };
    let (agent_is_installed, living, existing, stuck, pinned) =
        tokio::try_join!(agent::is_installed(cluster), agent::living(cluster), existing, stuck, pin::all(cluster))?;
    Ok(Look { lease, agent_is_installed, living, existing, stuck, pinned })
}

/// Runs to the end. Problems of single nodes are in the result, not errors.
pub async fn run(run: Run, mut look: Look) -> Result<Finished, RunError> {
    let bootstrap = run.mode == Mode::Bootstrap;
    let environment = run.plan.environment.clone();
    let (lease, living, stuck, pinned) = loop {
        refuse(&run, &look)?;
        let Look { lease, living, stuck, pinned, .. } = look;
        if let Some(lease) = Lease::take(&run.cluster, lease, bootstrap).await? {
            break (lease, living, stuck, pinned);
        }
        // Somebody was quicker: held by them, or what we saw may be old.
        look = self::look(&run.cluster, &environment, &run.reading, run.mode).await?;
    };
    stuck::heal(&run.cluster, &stuck, &run.events).await;
    let drive = async {
        let living = follow::carry_out(&run, &pinned, living).await?;
        engine::drive(run, living).await
    };
    let result = tokio::select! {
        result = drive => result,
        holder = lease.lost() => return Err(LeaseError::Lost { environment, holder }.into()),
    };
    // A recovery that ends well ends an unfinished first start too.
    let over = match &result {
        Ok(finished) if finished.success && (bootstrap || lease.unfinished_bootstrap) => lease.finish_bootstrap().await,
        _ => Ok(()),
    };
    lease.release().await;
    over?;
    result
}

/// What stands against a run, before its first write.
fn refuse(run: &Run, look: &Look) -> Result<(), RunError> {
    let brings_agent = !run.installation.components.is_empty() || run.installation.start.is_some();
    if !brings_agent && !look.agent_is_installed {
        return Err(RunError::NoAgent);
    }
    follow::refuse(run, look)?;
    // A namespace that somebody made for the key or the credentials in it is no environment.
    let for_secrets = |id: &ObjectId| run.secrets.iter().any(|secret| secret.namespace() == Some(&id.name));
    let existing: Vec<&ObjectId> = look.existing.iter().filter(|id| id.kind != "Namespace" || !for_secrets(id)).collect();
    if existing.is_empty() {
        return Ok(());
    }
    let sample: Vec<String> = existing.iter().take(3).map(ToString::to_string).collect();
    Err(RunError::Exists { count: existing.len(), sample: sample.join(", ") })
}
