//! One task owns the state of a run; apply tasks, watches and clocks send it messages.
//!
//! ```text
//! start ──→ apply tasks ──→ messages ──→ readiness ──→ queue ──→ start
//!                                            └──→ handing ──→ the agent
//! ```

mod handing;
mod readiness;
mod start;

use super::handover::Handover as CloudHandover;
use super::layer::{self, ApplyFailed, Work, Written};
use super::progress::Told;
use super::proof::Baseline;
use super::queue::{Index, Queue, Stage};
use super::{Run, RunError, Shared, follow, is_below};
use crate::agent::handover::Handover;
use crate::agent::{self, Living};
use crate::cluster::watch::Watches;
use crate::cluster::{Applied, Apply, ApplyResult, wait};
use crate::health;
use crate::layers::LayerId;
use crate::manifest::ObjectId;
use crate::plan::Action;
use crate::problem::Origin;
use crate::report::event::{Happening, Outcome};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::Instant;

/// Requests under way at once: 16 keep an API server on a small machine busy, more only queue there.
const REQUESTS: usize = 16;
/// Without `spec.timeout`, `spec.interval` and `--timeout` (kustomize-controller's default interval is required; this is for the agent and secrets).
const PATIENCE: Duration = Duration::from_secs(300);
/// Why a node of the storey below fails that nobody makes any more.
const NOT_MADE: &str = "not made";
/// How long layers that the agent is deleting are waited for.
const LEAVING: Duration = Duration::from_secs(60);
/// How long the controllers of cloud resources are waited for when all else is over: they need about two seconds where they run.
const CONTROLLERS: Duration = Duration::from_secs(30);
/// Handing over costs the cluster work; it begins when nothing was started, applied or made ready for so long, or all is ready.
const QUIET: Duration = Duration::from_millis(500);

/// How a run ended.
#[derive(Debug, Default)]
pub struct Finished {
    /// Every layer is ready and, where an agent runs, confirmed by it.
    pub success: bool,
    /// The user asked to stop.
    pub interrupted: bool,
    /// `(node, error)` of what failed itself.
    pub failures: Vec<(String, String)>,
    /// Nodes that could not start or become ready because of a failure.
    pub blocked: Vec<String>,
    /// Objects that the agent changed although they were as declared.
    pub changed_by_agent: Vec<ObjectId>,
    /// What to do next, in a line.
    pub summary: String,
}

#[derive(Debug)]
enum Job {
    /// Made below the cluster, by somebody else.
    Below,
    /// Nothing to write: the cluster itself, or a layer that is not ours to apply.
    Nothing,
    Skip(String),
    Agent,
    Secret(usize),
    /// A claim's volume: index into the run's claims.
    Claim(usize),
    /// Index into the reading's layers.
    Layer(usize),
}

#[derive(Debug)]
struct Node {
    id: String,
    action: Action,
    job: Job,
    patience: Duration,
    deadline: Option<Instant>,
    expressions: Arc<health::Expressions>,
    /// Objects that its readiness waits for, with what is missing.
    pending: BTreeMap<ObjectId, String>,
    /// Objects that are awaited before the run ends, though the layer does not wait for them.
    settling: BTreeMap<ObjectId, String>,
    awaited: usize,
    /// What was last told of what it waits for.
    waits_for: Vec<(String, String)>,
    wrote: bool,
    finished: bool,
}

#[derive(Debug)]
enum Message {
    Applied(Index, Result<Vec<Written>, ApplyFailed>),
    AgentStarted(Index, Result<Vec<Written>, String>),
    /// A layer of a living agent is about to be suspended.
    Held(usize),
    /// A layer's Kustomization object is written (or was as declared).
    Given(usize, Result<Applied, String>),
    /// The agent has the commit that its sources were moved to, or why it has not.
    Moved(Result<(), String>),
    /// A layer was not ready in time: what is missing, with its last events.
    Late(Index, String),
}

#[expect(clippy::struct_excessive_bools, reason = "five facts of a run that change apart from each other")]
struct Engine {
    queue: Queue,
    nodes: Vec<Node>,
    by_object: HashMap<ObjectId, Vec<Index>>,
    /// HelmReleases that wait for this one (helm-controller looks again only every 30 s).
    releases_after: BTreeMap<ObjectId, Vec<ObjectId>>,
    handover: Handover,
    handover_deadlines: BTreeMap<usize, Instant>,
    handover_messages: BTreeMap<usize, String>,
    node_of_layer: Vec<Option<Index>>,
    layer_of_object: HashMap<ObjectId, usize>,
    living: Arc<BTreeMap<LayerId, Living>>,
    /// Layers of a living agent that we hold suspended, this run or one that died.
    held: BTreeSet<usize>,
    agent_ready: bool,
    /// Whether the agent's sources were looked at for our commit.
    sources_asked: bool,
    /// Sources that were moved: no layer is given to the agent before it has their new commit. None when it has.
    moved: Option<Vec<(ObjectId, String)>>,
    /// How many of them are waited for.
    moving: usize,
    /// Whether anything was written; if not, the agent is left to its own pace.
    wrote: bool,
    quiet_since: Instant,
    baseline: Baseline,
    sender: mpsc::UnboundedSender<Message>,
    shared: Arc<Shared>,
    run: Run,
    /// Where the agent's components are declared.
    components: HashMap<ObjectId, Origin>,
    /// Whether the cluster is a sandbox that is gone afterwards.
    rehearsal: bool,
    finished: Finished,
    stopping: bool,
}

/// Runs all nodes to their end.
pub(super) async fn drive(mut run: Run, living: BTreeMap<LayerId, Living>) -> Result<Finished, RunError> {
    let watches = Watches::new(run.cluster.clone());
    let mut changes = watches.subscribe();
    let shared = Arc::new(Shared {
        requests: Semaphore::new(REQUESTS),
        watches,
        definitions_changed: Notify::new(),
        handover: run.below.clone().and_then(|below| CloudHandover::new(below, run.cluster.clone())),
        pin: run.follow.pin().cloned(),
        events: run.events.clone(),
        stop: run.stop.clone(),
    });
    stand_in(&mut run, &shared).await.map_err(Box::new)?;
    let living = Arc::new(without_leaving(living, &run, &shared).await?);
    let (sender, mut messages) = mpsc::unbounded_channel();
    let mut stop = run.stop.clone();
    let mut below = run.below.as_ref().map(|below| below.progress.subscribe());
    // What was told before counts as news.
    below.iter_mut().for_each(watch::Receiver::mark_changed);
    let mut engine = Engine::new(run, shared, living, sender);
    engine.announce();
    let mut installation = Some(std::mem::take(&mut engine.run.installation));
    loop {
        // A node with nothing to do is over at once, and lets others start.
        while !engine.stopping {
            let nodes = engine.queue.startable();
            if nodes.is_empty() {
                break;
            }
            for node in nodes {
                engine.start(node, &mut installation);
            }
        }
        engine.hand_over();
        if engine.is_over() {
            break;
        }
        let wake = engine.next_deadline();
        tokio::select! {
            Some(message) = messages.recv() => {
                engine.message(message);
                while let Ok(message) = messages.try_recv() {
                    engine.message(message);
                }
            }
            Some(id) = changes.recv() => {
                engine.changed(&id);
                while let Ok(id) = changes.try_recv() {
                    engine.changed(&id);
                }
            }
            () = tokio::time::sleep_until(wake) => engine.expire(),
            () = told(&mut below) => engine.below(),
            Ok(()) = stop.changed() => {
                let count = *stop.borrow_and_update();
                engine.stopping = true;
                engine.finished.interrupted = true;
                if count > 1 {
                    // At once: the next run resumes what stays suspended.
                    engine.held.clear();
                    break;
                }
                engine.shared.send(Happening::Phase { name: "stop".into(), detail: "finishing what runs; Ctrl-C again stops at once".into() });
            }
        }
    }
    engine.release().await;
    engine.settle().await;
    engine.prove().await?;
    Ok(engine.conclude())
}

/// Returns when the storey below has news; never, where there is none.
async fn told(below: &mut Option<watch::Receiver<Told>>) {
    let is_told = match below {
        Some(below) => below.changed().await.is_ok(),
        None => false,
    };
    if !is_told {
        std::future::pending::<()>().await;
    }
}

/// The agent's layers. One that is being deleted takes its objects with it: that is waited for, else the run would find them
/// all in order and see them vanish.
async fn without_leaving(
    mut living: BTreeMap<LayerId, Living>,
    run: &Run,
    shared: &Arc<Shared>,
) -> Result<BTreeMap<LayerId, Living>, RunError> {
    let deadline = Instant::now() + LEAVING;
    loop {
        let leaving = living.iter().find(|(_, living)| living.object.pointer("/metadata/deletionTimestamp").is_some());
        let Some((layer, _)) = leaving else { return Ok(living) };
        let id = agent::kustomization_id(layer);
        let patience = deadline.saturating_duration_since(Instant::now());
        shared.send(Happening::Phase { name: "wait".into(), detail: format!("{id}: the agent is deleting it and what it applied") });
        let gone = tokio::select! {
            gone = wait::gone(&shared.watches, &id, patience) => gone,
            () = shared.stopping() => return Ok(living),
        };
        if let Err(error) = gone {
            shared.send(Happening::Warning { node: Some(layer.node()), message: error.to_string() });
            return Ok(living);
        }
        living = agent::living(&run.cluster).await?;
    }
}

/// Writes the stand-ins of a rehearsal before anything else: definitions first, the rest when they are established.
async fn stand_in(run: &mut Run, shared: &Arc<Shared>) -> Result<(), ApplyFailed> {
    let objects = std::mem::take(&mut run.stand_ins);
    if objects.is_empty() {
        return Ok(());
    }
    let work = Work {
        node: "stand-ins".into(),
        cluster: run.cluster.clone(),
        objects,
        how: Apply { manager: "blackstart-stand-in", ..Apply::flux() },
        deadline: Instant::now() + PATIENCE,
        force: false,
    };
    layer::apply(work, shared.clone()).await.map(drop)
}

impl Engine {
    fn new(run: Run, shared: Arc<Shared>, living: Arc<BTreeMap<LayerId, Living>>, sender: mpsc::UnboundedSender<Message>) -> Self {
        let layers: BTreeMap<String, usize> =
            run.reading.layers.iter().enumerate().map(|(position, read)| (read.layer.id.node(), position)).collect();
        let secrets: BTreeMap<String, usize> = run
            .secrets
            .iter()
            .enumerate()
            .map(|(position, given)| {
                let kind = if given.kind() == "Secret" { "secret" } else { "variables" };
                (format!("{kind}/{}/{}", given.namespace().unwrap_or("default"), given.name()), position)
            })
            .collect();
        let claims: BTreeMap<String, usize> =
            run.claims.iter().enumerate().map(|(position, restored)| (restored.claim.node(), position)).collect();
        let mut node_of_layer = vec![None; run.reading.layers.len()];
        let none = Arc::new(health::Expressions::default());
        let limit = run.timeout.unwrap_or(Duration::MAX);
        let nodes: Vec<Node> = run
            .plan
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| {
                let mut patience = PATIENCE;
                let mut expressions = none.clone();
                let job = if is_below(&node.id) {
                    Job::Below
                } else if let Some(&position) = layers.get(&node.id) {
                    node_of_layer[position] = Some(index);
                    let layer = &run.reading.layers[position].layer;
                    patience = layer.patience().unwrap_or(PATIENCE);
                    if !layer.spec.health_check_exprs.is_empty() {
                        // The plan has refused what does not compile.
                        expressions = Arc::new(health::Expressions::compile(&layer.spec.health_check_exprs).unwrap_or_default());
                    }
                    match node.action {
                        Action::Skip if layer.spec.suspend => Job::Skip("suspended in Git".into()),
                        Action::Skip => Job::Skip("for another cluster (spec.kubeConfig)".into()),
                        _ => Job::Layer(position),
                    }
                } else if let Some(&position) = secrets.get(&node.id) {
                    Job::Secret(position)
                } else if let Some(&position) = claims.get(&node.id) {
                    Job::Claim(position)
                } else if node.id.starts_with("agent/") {
                    Job::Agent
                } else {
                    Job::Nothing
                };
                Node {
                    id: node.id.clone(),
                    action: node.action,
                    job,
                    patience: patience.min(limit),
                    deadline: None,
                    expressions,
                    pending: BTreeMap::new(),
                    settling: BTreeMap::new(),
                    awaited: 0,
                    waits_for: Vec::new(),
                    wrote: false,
                    finished: false,
                }
            })
            .collect();
        // What is made below keeps its own order.
        let edges = run.plan.edges.iter().filter(|edge| !is_below(&edge.to));
        let queue = Queue::new(nodes.iter().map(|node| node.id.as_str()), edges);
        let position_of: BTreeMap<&LayerId, usize> =
            run.reading.layers.iter().enumerate().map(|(position, read)| (&read.layer.id, position)).collect();
        let mut children = vec![Vec::new(); run.reading.layers.len()];
        for (position, read) in run.reading.layers.iter().enumerate() {
            let ours = !read.layer.spec.suspend && read.layer.spec.kube_config.is_none();
            if let Some(&parent) = read.layer.parent.as_ref().and_then(|parent| position_of.get(parent))
                && ours
                && parent != position
            {
                children[parent].push(position);
            }
        }
        let handover = Handover::new(run.reading.layers.iter().zip(children).map(|(read, children)| {
            let dependencies = read.layer.depends_on().iter().filter_map(|id| position_of.get(id).copied()).collect();
            (children, dependencies)
        }));
        let layer_of_object =
            run.reading.layers.iter().enumerate().map(|(position, read)| (read.layer.declaration.id(), position)).collect();
        let held = run
            .reading
            .layers
            .iter()
            .enumerate()
            .filter(|(_, read)| living.get(&read.layer.id).is_some_and(|living| living.held))
            .map(|(position, _)| position)
            .collect();
        Self {
            held,
            queue,
            nodes,
            by_object: HashMap::new(),
            releases_after: readiness::releases_after(&run),
            handover,
            handover_deadlines: BTreeMap::new(),
            handover_messages: BTreeMap::new(),
            node_of_layer,
            layer_of_object,
            living,
            agent_ready: false,
            sources_asked: false,
            moved: Some(follow::moved(&run)).filter(|moved| !moved.is_empty()),
            moving: 0,
            wrote: false,
            quiet_since: Instant::now(),
            baseline: Baseline::new(&run.reading),
            sender,
            shared,
            components: run.installation.components.iter().filter_map(|object| Some((object.id(), object.origin.clone()?))).collect(),
            rehearsal: run.installation.start.is_some(),
            run,
            finished: Finished::default(),
            stopping: false,
        }
    }

    /// Tells what waits for what.
    fn announce(&mut self) {
        self.shared.send(Happening::Phase { name: "run".into(), detail: "layers in order, each as soon as it is free".into() });
        for node in 0..self.nodes.len() {
            self.tell_waiting(node);
        }
    }

    /// Tells what a node waits for, where that is not what was told last.
    fn tell_waiting(&mut self, node: Index) {
        let on: Vec<(String, String)> =
            self.queue.waits_for(node).into_iter().map(|(other, reason)| (self.nodes[other].id.clone(), reason.to_owned())).collect();
        if !on.is_empty() && on != self.nodes[node].waits_for {
            self.nodes[node].waits_for.clone_from(&on);
            self.shared.send(Happening::Waiting { node: self.nodes[node].id.clone(), on });
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Applied(index, Ok(written)) | Message::AgentStarted(index, Ok(written)) => self.applied(index, &written),
            Message::Applied(index, Err(error)) => self.fail(index, &error.to_string()),
            Message::AgentStarted(index, Err(error)) => self.fail(index, &error),
            Message::Held(position) => {
                self.held.insert(position);
            }
            Message::Moved(result) => {
                self.moving -= 1;
                if let Err(error) = result {
                    self.stay_held(&error);
                } else if self.moving == 0 {
                    self.moved = None;
                }
            }
            Message::Late(index, error) => {
                if !self.nodes[index].pending.is_empty() {
                    self.fail(index, &error);
                }
            }
            Message::Given(position, Ok(applied)) => {
                let layer = &self.run.reading.layers[position].layer;
                let id = layer.declaration.id();
                self.baseline.record(&id, applied.fingerprint);
                self.wrote |= matches!(applied.result, ApplyResult::Created | ApplyResult::Changed);
                let was_ours = self.held.remove(&position);
                if !was_ours && self.living.get(&layer.id).is_some_and(|living| living.suspended) && agent::is_suspended(&applied.object) {
                    let message = format!(
                        "suspended by somebody else in the cluster; left so, the agent does not confirm it; to resume it: flux resume kustomization {} -n {}",
                        layer.id.name, layer.id.namespace
                    );
                    self.shared.send(Happening::Warning { node: Some(layer.id.node()), message });
                    for other in self.handover.confirmed(position) {
                        self.nudge_layer(other);
                    }
                    return;
                }
                self.judge_handover(position, &applied.object);
                if self.handover.is_awaited(position) {
                    self.want(&id);
                }
            }
            Message::Given(position, Err(error)) => {
                self.handover.give_up(position);
                let node = self.run.reading.layers[position].layer.id.node();
                self.finished.failures.push((node.clone(), format!("handover failed: {error}")));
                self.shared.send(Happening::Finished {
                    node,
                    action: Action::Apply,
                    result: Outcome::Failed,
                    error: Some(format!("handover: {error}")),
                });
            }
        }
    }

    /// The node's own checks hold; it and what waited only for it become ready.
    fn ready(&mut self, index: Index) {
        self.quiet_since = Instant::now();
        let ready = self.queue.healthy(index);
        self.are_ready(ready);
        if self.queue.stage(index) == Stage::Applied {
            self.tell_waiting(index);
        }
    }

    /// The objects of a node are written: what waited for them alone is ready.
    fn freed(&mut self, index: Index) {
        let freed = self.queue.freed(index);
        self.are_ready(freed);
    }

    /// Nodes that nothing holds back any more.
    fn are_ready(&mut self, nodes: Vec<Index>) {
        for node in nodes {
            if matches!(self.nodes[node].job, Job::Agent) {
                self.agent_ready = true;
            }
            if let Job::Layer(position) = self.nodes[node].job {
                self.handover.ready(position);
            }
            let result = if self.nodes[node].wrote { Outcome::Ready } else { Outcome::Unchanged };
            self.finish(node, result, None);
            self.tell_dependents(node);
        }
    }

    fn skip(&mut self, index: Index) {
        // Flux never makes a suspended layer ready on an empty cluster: what depends on it cannot start either.
        let suspended = matches!(&self.nodes[index].job, Job::Skip(reason) if reason.starts_with("suspended"));
        self.finish(index, Outcome::Skipped, None);
        if suspended {
            for node in self.queue.failed(index) {
                self.block(node);
            }
        } else {
            self.queue.healthy(index);
            self.freed(index);
        }
    }

    fn fail(&mut self, index: Index, error: &str) {
        if self.nodes[index].finished {
            return;
        }
        let id = self.nodes[index].id.clone();
        self.finished.failures.push((id, error.to_owned()));
        self.nodes[index].pending.clear();
        self.finish(index, Outcome::Failed, Some(error.to_owned()));
        if let Job::Layer(position) = self.nodes[index].job {
            self.handover.give_up(position);
        }
        for node in self.queue.failed(index) {
            self.block(node);
        }
    }

    fn block(&mut self, index: Index) {
        if self.nodes[index].finished {
            return;
        }
        let on: Vec<String> = self
            .queue
            .waits_for(index)
            .into_iter()
            .map(|(other, reason)| format!("{} ({reason})", self.nodes[other].id.trim_start_matches("layer/")))
            .collect();
        let error = if on.is_empty() { None } else { Some(format!("waits for {}", on.join(", "))) };
        self.finished.blocked.push(self.nodes[index].id.clone());
        self.nodes[index].pending.clear();
        self.finish(index, Outcome::Blocked, error);
        if let Job::Layer(position) = self.nodes[index].job {
            self.handover.give_up(position);
        }
    }

    /// What the storey below has told of: nodes that are ready or never will be.
    fn below(&mut self) {
        let Some(below) = &self.run.below else { return };
        let open = self.nodes.iter().enumerate().filter(|(_, node)| matches!(node.job, Job::Below) && !node.finished);
        let news: Vec<(Index, Option<String>)> = {
            let told = below.progress.subscribe();
            let told = told.borrow();
            let of = |(index, node): (Index, &Node)| {
                if told.ready.contains_key(&node.id) {
                    return Some((index, None));
                }
                // Over without it: stopped before its turn.
                let why = told.failed.get(&node.id).cloned().or_else(|| told.over.then(|| NOT_MADE.to_owned()))?;
                Some((index, Some(why)))
            };
            open.filter_map(of).collect()
        };
        for (index, failed) in news {
            match failed {
                None => {
                    self.queue.applied(index);
                    self.ready(index);
                    self.freed(index);
                }
                Some(why) => self.fail(index, &why),
            }
        }
    }

    fn finish(&mut self, index: Index, result: Outcome, error: Option<String>) {
        let node = &mut self.nodes[index];
        node.finished = true;
        if matches!(node.job, Job::Below) {
            // Whoever makes it has told so.
            return;
        }
        self.shared.send(Happening::Finished { node: node.id.clone(), action: node.action, result, error });
    }

    fn tell_dependents(&mut self, index: Index) {
        for dependent in self.queue.dependents(index).to_vec() {
            if self.queue.stage(dependent) == Stage::Waiting {
                self.tell_waiting(dependent);
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let mut next = Instant::now() + Duration::from_secs(3600);
        for node in &self.nodes {
            if let Some(deadline) = node.deadline
                && (!node.pending.is_empty() || !node.settling.is_empty())
            {
                next = next.min(deadline);
            }
        }
        for (&position, &deadline) in &self.handover_deadlines {
            if self.handover.is_awaited(position) {
                next = next.min(deadline);
            }
        }
        if self.agent_ready && !self.queue.is_over() && self.quiet_since.elapsed() < QUIET {
            next = next.min(self.quiet_since + QUIET);
        }
        next
    }

    fn is_over(&self) -> bool {
        if self.stopping {
            return !self.queue.is_applying();
        }
        let settled = self.nodes.iter().all(|node| node.settling.is_empty());
        let handed = !self.agent_ready || self.handover.is_over();
        self.queue.is_over() && settled && handed
    }

    /// A hold ends with its run, also for a layer that failed or was left behind by a stop: the agent knows what to do with it.
    async fn release(&mut self) {
        for position in std::mem::take(&mut self.held) {
            let id = &self.run.reading.layers[position].layer.id;
            let resumed = tokio::time::timeout(Duration::from_secs(10), agent::resume(&self.run.cluster, id)).await;
            if !matches!(resumed, Ok(Ok(()))) {
                let message = format!(
                    "{id} stays suspended: the same command resumes it, or: flux resume kustomization {} -n {}",
                    id.name, id.namespace
                );
                self.shared.send(Happening::Warning { node: Some(id.node()), message });
            }
        }
    }

    /// Waits until the controllers of handed-over cloud resources have taken them, and tells which nobody has.
    async fn settle(&self) {
        let Some(handover) = &self.shared.handover else { return };
        if handover.marked() > 0 {
            let detail = format!("that ACK's controllers take over what lives in AWS ({} left)", handover.marked());
            self.shared.send(Happening::Phase { name: "adopt".into(), detail });
        }
        let left = tokio::select! {
            left = handover.settle(CONTROLLERS) => left,
            // The next run sees to them.
            () = self.shared.stopping() => return,
        };
        if let Some(first) = left.first() {
            let more = if left.len() > 1 { format!(" and {} more", left.len() - 1) } else { String::new() };
            let message = format!(
                "{first}{more}: no ACK controller has reported it in sync within {} s; until one has, and this command has run again, the annotation services.k8s.aws/adopted stays, and what is deleted in AWS is not made again",
                CONTROLLERS.as_secs()
            );
            self.shared.send(Happening::Warning { node: None, message });
        }
    }

    /// Looks whether the agent left alone what we applied.
    async fn prove(&mut self) -> Result<(), RunError> {
        if !self.agent_ready || self.finished.interrupted || !self.finished.failures.is_empty() {
            return Ok(());
        }
        self.shared.send(Happening::Phase { name: "prove".into(), detail: "that the agent changed nothing".into() });
        let twice: Vec<String> = self.baseline.declared_twice().map(ObjectId::to_string).collect();
        if !twice.is_empty() {
            let message = format!("declared by two layers, the agent writes them in turns: {}", twice.join(", "));
            self.shared.send(Happening::Warning { node: None, message });
        }
        self.finished.changed_by_agent = self.baseline.changed(&self.run.cluster).await?;
        for id in &self.finished.changed_by_agent {
            self.shared.send(Happening::Warning { node: None, message: format!("{id}: the agent changed it after the handover") });
        }
        Ok(())
    }

    fn conclude(mut self) -> Finished {
        self.finished.success =
            !self.finished.interrupted && self.finished.failures.is_empty() && self.finished.blocked.is_empty() && self.queue.is_over();
        let summary = match (self.finished.success, self.finished.interrupted, self.rehearsal) {
            (true, ..) if self.agent_ready => "every layer is ready and handed over",
            (true, ..) => "every layer is ready",
            (_, true, true) => "Interrupted.",
            (_, true, false) => "Interrupted. The same command goes on from here.",
            // What failed, or holds others back, is told by its own event.
            (_, _, true) => "",
            (_, _, false) => "The same command goes on from here.",
        };
        if let Some(pin) = self.run.follow.pin().filter(|_| self.finished.success) {
            for pinned in pin.pinned() {
                let message = format!("{pinned}; to follow Git again: blackstart recover --unpin, or {}", pinned.by_hand());
                self.shared.send(Happening::Warning { node: None, message });
            }
        }
        summary.clone_into(&mut self.finished.summary);
        self.finished
    }
}
