//! One task owns the state of a run; apply tasks, watches and clocks send it messages.

use super::layer::{self, ApplyFailed, Work, Written};
use super::proof::Baseline;
use super::queue::{Index, Queue, Stage};
use super::{Installation, Run, RunError, Shared};
use crate::agent::handover::Handover;
use crate::agent::{self, Living};
use crate::cluster::watch::Watches;
use crate::cluster::{Applied, Apply, ApplyResult, Cluster, Mode, ssa};
use crate::health::{self, Health};
use crate::layers::LayerId;
use crate::layers::flux::{self, Layer};
use crate::manifest::{ObjectId, Resource};
use crate::plan::Action;
use crate::report::event::{Happening, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;

/// Requests under way at once: 16 keep an API server on a small machine busy, more only queue there.
const REQUESTS: usize = 16;
/// Without `spec.timeout`, `spec.interval` and `--timeout` (kustomize-controller's default interval is required; this is for the agent and secrets).
const PATIENCE: Duration = Duration::from_secs(300);
/// What is ours alone (secrets and variables of the environment).
const OURS: Apply = Apply { manager: "blackstart", force: true, dry_run: false, mode: Mode::Straight };
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
}

#[derive(Debug)]
enum Job {
    /// Nothing to write: the cluster itself, or a layer that is not ours to apply.
    Nothing,
    Skip(String),
    Agent,
    Secret(usize),
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
    wrote: bool,
    finished: bool,
}

#[derive(Debug)]
enum Message {
    Applied(Index, Result<Vec<Written>, ApplyFailed>),
    AgentStarted(Index, Result<Vec<Written>, String>),
    /// A layer's Kustomization object is written (or was as declared).
    Given(usize, Result<Applied, String>),
    /// A layer was not ready in time: what is missing, with its last events.
    Late(Index, String),
}

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
    agent_ready: bool,
    quiet_since: Instant,
    baseline: Baseline,
    sender: mpsc::UnboundedSender<Message>,
    shared: Arc<Shared>,
    run: Run,
    finished: Finished,
    stopping: bool,
}

/// Runs all nodes to their end.
pub(super) async fn drive(mut run: Run) -> Result<Finished, RunError> {
    let watches = Watches::new(run.cluster.clone());
    let mut changes = watches.subscribe();
    let shared =
        Arc::new(Shared { requests: Semaphore::new(REQUESTS), watches, definitions_changed: Notify::new(), events: run.events.clone() });
    stand_in(&mut run, &shared).await?;
    let living = Arc::new(agent::living(&run.cluster).await?);
    let (sender, mut messages) = mpsc::unbounded_channel();
    let mut stop = run.stop.clone();
    let installation = std::mem::take(&mut run.installation);
    let mut engine = Engine::new(run, shared, living, sender);
    engine.announce();
    let mut installation = Some(installation);
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
            Ok(()) = stop.changed() => {
                let count = *stop.borrow_and_update();
                engine.stopping = true;
                engine.finished.interrupted = true;
                if count > 1 {
                    break;
                }
                let message = "stopping: finishing what runs; press Ctrl-C again to stop at once".to_owned();
                engine.shared.send(Happening::Warning { node: None, message });
            }
        }
    }
    engine.prove().await?;
    Ok(engine.conclude())
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
                let job = if let Some(&position) = layers.get(&node.id) {
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
                    wrote: false,
                    finished: false,
                }
            })
            .collect();
        let queue = Queue::new(nodes.iter().map(|node| node.id.as_str()), &run.plan.edges);
        let position_of: BTreeMap<&LayerId, usize> =
            run.reading.layers.iter().enumerate().map(|(position, read)| (&read.layer.id, position)).collect();
        let layer_of_object: HashMap<ObjectId, usize> =
            run.reading.layers.iter().enumerate().map(|(position, read)| (read.layer.declaration.id(), position)).collect();
        // By the objects, not by the parent: the agent's own sync may stand in a layer below it.
        let children = run.reading.layers.iter().enumerate().map(|(position, read)| {
            let mut children: Vec<usize> = if read.layer.spec.suspend || read.layer.spec.kube_config.is_some() {
                Vec::new()
            } else {
                read.objects.iter().filter_map(|object| layer_of_object.get(&object.id()).copied()).collect()
            };
            children.retain(|&child| {
                let spec = &run.reading.layers[child].layer.spec;
                child != position && !spec.suspend && spec.kube_config.is_none()
            });
            children
        });
        let handover = Handover::new(run.reading.layers.iter().zip(children).map(|(read, children)| {
            let dependencies = read.layer.depends_on().iter().filter_map(|id| position_of.get(id).copied()).collect();
            (children, dependencies)
        }));
        Self {
            queue,
            nodes,
            by_object: HashMap::new(),
            releases_after: releases_after(&run),
            handover,
            handover_deadlines: BTreeMap::new(),
            handover_messages: BTreeMap::new(),
            node_of_layer,
            layer_of_object,
            living,
            agent_ready: false,
            quiet_since: Instant::now(),
            baseline: Baseline::new(&run.reading),
            sender,
            shared,
            run,
            finished: Finished::default(),
            stopping: false,
        }
    }

    /// Tells the plan, and what waits for what.
    fn announce(&mut self) {
        self.shared.send(Happening::Phase { name: "run".into(), detail: "layers in order, each as soon as it is free".into() });
        let edges = self.run.plan.edges.iter().map(|edge| (edge.from.clone(), edge.to.clone(), edge.reason.clone())).collect();
        self.shared.send(Happening::Planned {
            environment: self.run.plan.environment.clone(),
            revision: self.run.plan.revision.clone(),
            nodes: self.nodes.iter().map(|node| (node.id.clone(), node.action)).collect(),
            edges,
        });
        for node in 0..self.nodes.len() {
            self.tell_waiting(node);
        }
    }

    fn tell_waiting(&self, node: Index) {
        let on: Vec<(String, String)> =
            self.queue.waits_for(node).into_iter().map(|(other, reason)| (self.nodes[other].id.clone(), reason.to_owned())).collect();
        if !on.is_empty() {
            self.shared.send(Happening::Waiting { node: self.nodes[node].id.clone(), on });
        }
    }

    fn start(&mut self, index: Index, installation: &mut Option<Installation>) {
        self.quiet_since = Instant::now();
        let deadline = Instant::now() + self.nodes[index].patience;
        let id = self.nodes[index].id.clone();
        match &self.nodes[index].job {
            Job::Nothing => {
                self.queue.applied(index);
                self.ready(index);
            }
            Job::Skip(reason) => {
                let message = format!("not applied: {reason}");
                self.shared.send(Happening::Warning { node: Some(id), message });
                self.queue.applied(index);
                self.skip(index);
            }
            Job::Secret(position) => {
                let secret = self.run.secrets[*position].clone();
                self.shared.send(Happening::Started { node: id.clone(), action: Action::Apply, objects: 1 });
                let cluster = self.run.cluster.clone();
                let work = Work { node: id, cluster, objects: vec![secret], how: OURS, deadline };
                let (sender, shared) = (self.sender.clone(), self.shared.clone());
                tokio::spawn(async move {
                    let result = apply_with_namespace(work, shared).await;
                    let _ = sender.send(Message::Applied(index, result));
                });
            }
            Job::Agent => {
                let installation = installation.take().unwrap_or_default();
                self.shared.send(Happening::Started { node: id.clone(), action: Action::Apply, objects: installation.components.len() });
                let work = Work {
                    node: id,
                    cluster: self.run.cluster.clone(),
                    objects: self.agent_objects(installation.components),
                    how: Apply::flux(),
                    deadline,
                };
                let (sender, shared) = (self.sender.clone(), self.shared.clone());
                tokio::spawn(async move {
                    let applied = apply_differences(work, shared).await.map_err(|error| error.to_string());
                    let result = match (applied, installation.start) {
                        (Ok(written), Some(start)) => start.await.map(|()| written),
                        (applied, _) => applied,
                    };
                    let _ = sender.send(Message::AgentStarted(index, result));
                });
            }
            Job::Layer(position) => self.start_layer(index, *position, deadline),
        }
    }

    fn start_layer(&mut self, index: Index, position: usize, deadline: Instant) {
        let objects = self.layer_objects(position);
        let id = self.nodes[index].id.clone();
        self.shared.send(Happening::Started { node: id.clone(), action: self.nodes[index].action, objects: objects.len() });
        let layer = &self.run.reading.layers[position].layer;
        let cluster = match &layer.spec.service_account_name {
            // The account may be made by this very layer's parent; the agent impersonates it in the same way.
            Some(account) => self.run.cluster.impersonating(&format!("system:serviceaccount:{}:{account}", layer.id.namespace)),
            None => self.run.cluster.clone(),
        };
        let work = Work { node: id, cluster, objects, how: Apply::flux(), deadline };
        let living = self.living.get(&layer.id).cloned();
        let (sender, shared, cluster) = (self.sender.clone(), self.shared.clone(), self.run.cluster.clone());
        let layer_id = layer.id.clone();
        tokio::spawn(async move {
            let result = match living {
                Some(living) => apply_beside_agent(work, shared, &cluster, &layer_id, &living).await,
                None => layer::apply(work, shared).await,
            };
            let _ = sender.send(Message::Applied(index, result));
        });
    }

    /// The objects of a layer as the agent would write them, without the Kustomizations that are handed over later.
    fn layer_objects(&self, position: usize) -> Vec<Resource> {
        let read = &self.run.reading.layers[position];
        read.objects
            .iter()
            .filter(|object| !self.is_handed_over(object))
            .map(|object| Resource { value: ssa::prepare(object, &read.layer), origin: object.origin.clone() })
            .collect()
    }

    /// The agent's components carry the labels of the entry layer where that layer declares them too.
    fn agent_objects(&self, components: Vec<Resource>) -> Vec<Resource> {
        let Some(entry) = self.run.reading.layers.first() else { return components };
        let declared: BTreeSet<ObjectId> = entry.objects.iter().map(Resource::id).collect();
        components
            .into_iter()
            .filter(|object| !self.is_handed_over(object))
            .map(|object| match declared.contains(&object.id()) {
                true => Resource { value: ssa::prepare(&object, &entry.layer), origin: object.origin },
                false => object,
            })
            .collect()
    }

    /// A Kustomization of this plan that the run itself applies: its object is written last.
    fn is_handed_over(&self, object: &Resource) -> bool {
        flux::is_kustomization(object)
            && self
                .layer_of_object
                .get(&object.id())
                .is_some_and(|&position| self.node_of_layer[position].is_some_and(|node| matches!(self.nodes[node].job, Job::Layer(_))))
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Applied(index, Ok(written)) => self.applied(index, written),
            Message::Applied(index, Err(error)) => self.fail(index, &error.to_string()),
            Message::AgentStarted(index, Ok(written)) => self.applied(index, written),
            Message::AgentStarted(index, Err(error)) => self.fail(index, &error),
            Message::Late(index, error) => {
                if !self.nodes[index].pending.is_empty() {
                    self.fail(index, &error);
                }
            }
            Message::Given(position, Ok(applied)) => {
                let id = self.run.reading.layers[position].layer.declaration.id();
                self.baseline.record(&id, applied.fingerprint);
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

    fn applied(&mut self, index: Index, written: Vec<Written>) {
        self.quiet_since = Instant::now();
        let count = |result| written.iter().filter(|written| written.result == result).count();
        let (created, changed, unchanged) = (count(ApplyResult::Created), count(ApplyResult::Changed), count(ApplyResult::Unchanged));
        let node = &mut self.nodes[index];
        node.wrote = created + changed > 0;
        node.deadline = Some(Instant::now() + node.patience);
        self.shared.send(Happening::Applied { node: node.id.clone(), created, changed, unchanged });
        let blocked = self.queue.applied(index);
        self.tell_dependents(index);
        let (all, checks) = match &self.nodes[index].job {
            Job::Layer(position) => {
                let layer = &self.run.reading.layers[*position].layer;
                // kustomize-controller: `wait` makes it ignore `healthChecks`.
                (layer.spec.wait, if layer.spec.wait { Vec::new() } else { health_checks(layer) })
            }
            _ => (true, Vec::new()),
        };
        let mut wanted = Vec::new();
        // What we write as ourselves is not the agent's to leave alone.
        let is_agents = matches!(self.nodes[index].job, Job::Agent | Job::Layer(_));
        for object in &written {
            if object.object.is_null() {
                continue;
            }
            if is_agents {
                self.baseline.record(&object.id, object.fingerprint);
            }
            let node = &mut self.nodes[index];
            let awaited = all || checks.iter().any(|check| same_object(check, &object.id));
            let settles = !awaited && object.id.kind == "HelmRelease";
            if !awaited && !settles {
                continue;
            }
            node.awaited += usize::from(awaited);
            let message = match node.expressions.of(&object.object) {
                Health::Ready | Health::Assumed => continue,
                Health::InProgress(message) | Health::Failed(message) | Health::Terminating(message) => message,
            };
            if awaited {
                node.pending.insert(object.id.clone(), message)
            } else {
                node.settling.insert(object.id.clone(), message)
            };
            wanted.push(object.id.clone());
        }
        for check in checks {
            if self.is_layer_object(&check) || written.iter().any(|written| same_object(&check, &written.id)) {
                continue;
            }
            let node = &mut self.nodes[index];
            node.awaited += 1;
            node.pending.insert(check.clone(), "not found".into());
            wanted.push(check);
        }
        for id in wanted {
            self.by_object.entry(id.clone()).or_default().push(index);
            self.want(&id);
        }
        for node in blocked {
            self.block(node);
        }
        self.progress(index);
        self.healthy_if_done(index);
    }

    fn is_layer_object(&self, id: &ObjectId) -> bool {
        self.layer_of_object.contains_key(id)
    }

    /// Follows an object; what the store knows of it already counts at once, since no change may follow.
    fn want(&mut self, id: &ObjectId) {
        self.shared.watches.follow(&id.api_version, &id.kind);
        self.shared.watches.want(id);
        self.changed(id);
    }

    fn changed(&mut self, id: &ObjectId) {
        let Some(object) = self.shared.watches.get(id) else { return };
        self.judge(id, &object);
        if id.kind == "CustomResourceDefinition" {
            self.shared.definitions_changed.notify_waiters();
        }
        if let Some(&position) = self.layer_of_object.get(id) {
            self.judge_handover(position, &object);
        }
    }

    fn judge(&mut self, id: &ObjectId, object: &Value) {
        let Some(nodes) = self.by_object.get(id).cloned() else { return };
        for index in nodes {
            let node = &mut self.nodes[index];
            let awaited = node.pending.contains_key(id);
            if !awaited && !node.settling.contains_key(id) {
                continue;
            }
            match node.expressions.of(object) {
                Health::Ready | Health::Assumed => {
                    node.pending.remove(id);
                    node.settling.remove(id);
                    self.nudge_releases_after(id);
                    self.progress(index);
                    self.healthy_if_done(index);
                }
                Health::Failed(message) if awaited => {
                    self.fail(index, &format!("{id}: {message}"));
                }
                Health::InProgress(message) | Health::Failed(message) | Health::Terminating(message) => {
                    let list = if awaited { &mut node.pending } else { &mut node.settling };
                    if list.get(id).is_some_and(|earlier| *earlier != message) {
                        list.insert(id.clone(), message);
                        self.progress(index);
                    }
                }
            }
        }
    }

    fn progress(&self, index: Index) {
        let node = &self.nodes[index];
        if let Some((id, message)) = node.pending.first_key_value() {
            let (ready, of) = (node.awaited - node.pending.len().min(node.awaited), node.awaited);
            self.shared.send(Happening::Progress { node: node.id.clone(), ready, of, message: format!("{id}: {message}") });
        }
    }

    fn healthy_if_done(&mut self, index: Index) {
        if self.nodes[index].pending.is_empty() && self.queue.stage(index) == Stage::Applied {
            self.ready(index);
        }
    }

    /// The node's own checks hold; it and what waited only for it become ready.
    fn ready(&mut self, index: Index) {
        self.quiet_since = Instant::now();
        for node in self.queue.healthy(index) {
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
        if self.queue.stage(index) == Stage::Applied {
            self.tell_waiting(index);
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
        let on: Vec<String> =
            self.queue.waits_for(index).into_iter().map(|(other, reason)| format!("{} ({reason})", self.nodes[other].id)).collect();
        let error = if on.is_empty() { None } else { Some(format!("waits for {}", on.join(", "))) };
        self.finished.blocked.push(self.nodes[index].id.clone());
        self.nodes[index].pending.clear();
        self.finish(index, Outcome::Blocked, error);
        if let Job::Layer(position) = self.nodes[index].job {
            self.handover.give_up(position);
        }
    }

    fn finish(&mut self, index: Index, result: Outcome, error: Option<String>) {
        let node = &mut self.nodes[index];
        node.finished = true;
        self.shared.send(Happening::Finished { node: node.id.clone(), action: node.action, result, error });
    }

    fn tell_dependents(&self, index: Index) {
        for &dependent in self.queue.dependents(index) {
            if self.queue.stage(dependent) == Stage::Waiting {
                self.tell_waiting(dependent);
            }
        }
    }

    fn nudge_releases_after(&self, id: &ObjectId) {
        let Some(waiting) = self.releases_after.get(id) else { return };
        for release in waiting {
            if self.by_object.contains_key(release) {
                let (cluster, release) = (self.run.cluster.clone(), release.clone());
                tokio::spawn(async move { agent::nudge(&cluster, &release).await });
            }
        }
    }

    /// Writes the Kustomization objects whose turn it is.
    fn hand_over(&mut self) {
        let calm = self.queue.is_over() || (!self.queue.is_applying() && self.quiet_since.elapsed() >= QUIET);
        if !self.agent_ready || !calm || self.stopping {
            return;
        }
        for position in self.handover.next() {
            let layer = &self.run.reading.layers[position].layer;
            // Never less than two of the agent's own looks at a dependency (30 s each).
            let limit = self.run.timeout.unwrap_or(Duration::MAX);
            let deadline = Instant::now() + layer.patience().unwrap_or(PATIENCE).min(limit).max(Duration::from_secs(60));
            self.handover_deadlines.insert(position, deadline);
            let object = self.kustomization(position);
            let living = self.living.get(&layer.id).cloned();
            let (cluster, sender, shared) = (self.run.cluster.clone(), self.sender.clone(), self.shared.clone());
            tokio::spawn(async move {
                let permit = shared.requests.acquire().await;
                let result = agent::give(&cluster, &object, living.as_ref()).await.map_err(|error| error.to_string());
                drop(permit);
                let _ = sender.send(Message::Given(position, result));
            });
        }
    }

    /// The layer's own object as the layer that holds it (its parent, itself, or one below it) would write it.
    fn kustomization(&self, position: usize) -> Resource {
        let layers = &self.run.reading.layers;
        let layer = &layers[position].layer;
        let id = layer.declaration.id();
        let parent = layers.iter().find(|read| Some(&read.layer.id) == layer.parent.as_ref());
        // The parent's patches are in the declaration already.
        let (declaration, owner) = match parent {
            Some(parent) => (&layer.declaration, Some(&parent.layer)),
            None => layers
                .iter()
                .find_map(|read| Some((read.objects.iter().find(|object| object.id() == id)?, Some(&read.layer))))
                .unwrap_or((&layer.declaration, None)),
        };
        let value = owner.map_or_else(|| declaration.value.clone(), |owner| ssa::prepare(declaration, owner));
        Resource { value, origin: declaration.origin.clone() }
    }

    fn judge_handover(&mut self, position: usize, object: &Value) {
        if !self.handover.is_awaited(position) {
            return;
        }
        let layer = &self.run.reading.layers[position].layer;
        let id = layer.declaration.id();
        let revision =
            self.run.reading.sources.get(&layer.source).and_then(|source| source.tree.as_ref()).map(|tree| tree.revision.as_str());
        match agent::confirmation(object, &layer.source, revision) {
            agent::Confirmation::Ready => {
                let node = layer.id.node();
                self.shared.send(Happening::HandedOver { node, changed: Vec::new() });
                self.handover_messages.remove(&position);
                for other in self.handover.confirmed(position) {
                    self.nudge_layer(other);
                }
            }
            agent::Confirmation::Waiting(message) => {
                self.handover_messages.insert(position, message);
            }
            agent::Confirmation::DependencyNotReady => {
                // Once: each nudge is a change that leads here again, until the agent has looked.
                let asked = object.pointer("/metadata/annotations").and_then(|all| all.get("reconcile.fluxcd.io/requestedAt"));
                let is_handled = asked == object.pointer("/status/lastHandledReconcileAt");
                if self.handover.dependencies_confirmed(position) && is_handled {
                    let cluster = self.run.cluster.clone();
                    tokio::spawn(async move { agent::nudge(&cluster, &id).await });
                }
            }
        }
    }

    fn nudge_layer(&self, position: usize) {
        let (cluster, id) = (self.run.cluster.clone(), self.run.reading.layers[position].layer.declaration.id());
        tokio::spawn(async move { agent::nudge(&cluster, &id).await });
    }

    fn next_deadline(&self) -> Instant {
        let mut next = Instant::now() + Duration::from_secs(3600);
        for node in &self.nodes {
            if let Some(deadline) = node.deadline {
                if !node.pending.is_empty() || !node.settling.is_empty() {
                    next = next.min(deadline);
                }
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

    fn expire(&mut self) {
        let now = Instant::now();
        for index in 0..self.nodes.len() {
            if self.nodes[index].deadline.is_none_or(|deadline| deadline > now) {
                continue;
            }
            let patience = self.nodes[index].patience.as_secs();
            if let Some((id, message)) = self.nodes[index].pending.first_key_value() {
                let more = match self.nodes[index].pending.len() {
                    1 => String::new(),
                    count => format!(" (and {} more objects)", count - 1),
                };
                let error = format!("{id}: not ready within {patience} s: {message}{more}");
                let (cluster, sender, id) = (self.run.cluster.clone(), self.sender.clone(), id.clone());
                // Failed only when its last events are known too; it cannot expire twice.
                self.nodes[index].deadline = None;
                tokio::spawn(async move {
                    let events = tokio::time::timeout(Duration::from_secs(5), cluster.events_for(&id)).await.unwrap_or_default();
                    let events: Vec<String> = events.into_iter().rev().take(3).map(|event| format!("\nlast event: {event}")).collect();
                    let _ = sender.send(Message::Late(index, format!("{error}{}", events.concat())));
                });
                continue;
            }
            let settling = std::mem::take(&mut self.nodes[index].settling);
            if let Some((id, message)) = settling.first_key_value() {
                let node = self.nodes[index].id.clone();
                let error = format!("{id}: not ready within {patience} s: {message}");
                self.finished.failures.push((node.clone(), error.clone()));
                let action = self.nodes[index].action;
                self.shared.send(Happening::Finished { node, action, result: Outcome::Failed, error: Some(error) });
            }
        }
        let late: Vec<usize> = self
            .handover_deadlines
            .iter()
            .filter(|&(&position, &deadline)| deadline <= now && self.handover.is_awaited(position))
            .map(|(&position, _)| position)
            .collect();
        for position in late {
            // Told once.
            self.handover_deadlines.remove(&position);
            let why = self.handover_messages.get(&position).cloned().unwrap_or_else(|| "the agent has not looked at it".into());
            let _ = self.sender.send(Message::Given(position, Err(format!("the agent does not report it Ready at our revision: {why}"))));
        }
    }

    fn is_over(&self) -> bool {
        if self.stopping {
            return !self.queue.is_applying();
        }
        let settled = self.nodes.iter().all(|node| node.settling.is_empty());
        let handed = !self.agent_ready || self.handover.is_over();
        self.queue.is_over() && settled && handed
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
        let summary = match (self.finished.success, self.finished.failures.first()) {
            (true, _) if self.agent_ready => "every layer is ready and handed over".to_owned(),
            (true, _) => "every layer is ready".to_owned(),
            (false, _) if self.finished.interrupted => "interrupted; the same command goes on from here".to_owned(),
            (false, Some((node, error))) => format!("{node}: {error}"),
            (false, None) => format!("{} nodes could not start", self.finished.blocked.len()),
        };
        self.shared.send(Happening::Ended { success: self.finished.success, summary });
        self.finished
    }
}

/// What a dry run answers where it would change nothing; none where it would, or where it fails
/// (an object whose kind or namespace is gone is a difference too).
async fn look(work: &Work, shared: &Arc<Shared>) -> Option<Vec<Written>> {
    let look = Work {
        node: work.node.clone(),
        cluster: work.cluster.clone(),
        objects: work.objects.clone(),
        how: work.how.if_drifted().dry(),
        deadline: Instant::now(),
    };
    let written = layer::apply(look, shared.clone()).await.ok()?;
    written.iter().all(|written| matches!(written.result, ApplyResult::Unchanged | ApplyResult::Skipped)).then_some(written)
}

/// Writes only where something differs: a recovery of what is healthy makes no write.
async fn apply_differences(work: Work, shared: Arc<Shared>) -> Result<Vec<Written>, ApplyFailed> {
    match look(&work, &shared).await {
        Some(unchanged) => Ok(unchanged),
        None => layer::apply(work, shared).await,
    }
}

/// The same, with the namespace before it where that is not there yet: its layer comes after the secrets.
async fn apply_with_namespace(mut work: Work, shared: Arc<Shared>) -> Result<Vec<Written>, ApplyFailed> {
    if let Some(unchanged) = look(&work, &shared).await {
        return Ok(unchanged);
    }
    let mut objects = Vec::new();
    for object in std::mem::take(&mut work.objects) {
        for resource in agent::with_namespace(object) {
            let is_new = resource.kind() != "Namespace" || matches!(work.cluster.get(&resource.id()).await, Ok(None));
            if is_new {
                objects.push(resource);
            }
        }
    }
    work.objects = objects;
    layer::apply(work, shared).await
}

/// Applies a layer that a living agent also works on: nothing is written where nothing differs;
/// otherwise the agent's layer is suspended first, and resumed at handover.
async fn apply_beside_agent(
    work: Work,
    shared: Arc<Shared>,
    cluster: &Cluster,
    layer: &LayerId,
    living: &Living,
) -> Result<Vec<Written>, ApplyFailed> {
    if let Some(unchanged) = look(&work, &shared).await {
        return Ok(unchanged);
    }
    if !living.suspended {
        agent::suspend(cluster, layer).await.map_err(|error| ApplyFailed {
            object: agent::kustomization_id(layer),
            place: None,
            cause: format!("cannot be suspended: {error}"),
        })?;
    }
    layer::apply(work, shared).await
}

fn health_checks(layer: &Layer) -> Vec<ObjectId> {
    layer
        .spec
        .health_checks
        .iter()
        .map(|check| ObjectId {
            api_version: check.api_version.clone(),
            kind: check.kind.clone(),
            namespace: check.namespace.clone().filter(|namespace| !namespace.is_empty()),
            name: check.name.clone(),
        })
        .collect()
}

/// The same object, whatever version each names.
fn same_object(left: &ObjectId, right: &ObjectId) -> bool {
    left.kind == right.kind && left.name == right.name && left.namespace == right.namespace && left.group() == right.group()
}

fn releases_after(run: &Run) -> BTreeMap<ObjectId, Vec<ObjectId>> {
    let mut after: BTreeMap<ObjectId, Vec<ObjectId>> = BTreeMap::new();
    for object in run.reading.layers.iter().flat_map(|read| &read.objects).filter(|object| object.kind() == "HelmRelease") {
        let id = object.id();
        for dependency in object.value.pointer("/spec/dependsOn").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| dependency.get(key).and_then(Value::as_str).map(str::to_owned);
            let Some(name) = text("name") else { continue };
            let before = ObjectId { name, namespace: text("namespace").or_else(|| id.namespace.clone()), ..id.clone() };
            after.entry(before).or_default().push(id.clone());
        }
    }
    after
}
