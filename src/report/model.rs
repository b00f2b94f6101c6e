//! Events folded into what is known of a run. Pure: no clock, no files, no terminal. All writers read this and nothing else.

use super::event::{self, Check, Context, Event, Happening, Outcome, Verdict};
use crate::plan::Action;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Different faults that are kept.
const MOST_FAULTS: usize = 100;

/// A run, as far as its events tell.
#[derive(Clone, Debug, Default)]
pub struct RunModel {
    /// Id of the run.
    pub run: String,
    /// Name of the environment; empty until planned.
    pub environment: String,
    /// Commit; empty until planned.
    pub revision: String,
    /// Time of the first event: zero of every clock that is shown.
    pub began: Option<Timestamp>,
    /// Time of the last event.
    pub latest: Option<Timestamp>,
    /// How it ended, once it has.
    pub end: Option<End>,
    /// Phases in the order in which they began.
    pub phases: Vec<Phase>,
    /// Nodes in the order of the plan.
    pub nodes: Vec<NodeModel>,
    /// Why they come in this order.
    pub edges: Vec<EdgeModel>,
    /// What was put in place of what cannot run here.
    pub stand_ins: Vec<StandIn>,
    /// Things to mend or to know.
    pub warnings: Vec<Warning>,
    /// What must hold, as it was looked at.
    pub checks: Vec<Check>,
    /// Calls that were tried again.
    pub retries: usize,
    /// What went wrong in them: node and error, with how often.
    pub faults: BTreeMap<(String, String), usize>,
    /// Who runs what, and where.
    pub context: Option<Context>,
    /// What became of each state, in the order in which it was told.
    pub states: Vec<event::State>,
    /// When the plan was told, and how many seconds it should take from then.
    pub expected: Option<(Timestamp, f64)>,
    /// How many seconds each node should take.
    pub usual: HashMap<String, f64>,
    /// Ended by an error that the program itself tells after the report.
    pub given_up: bool,
    index: HashMap<String, usize>,
    incoming: HashMap<usize, Vec<usize>>,
    outgoing: HashMap<usize, Vec<usize>>,
    /// The one namespace of all layers, which need not be shown then.
    namespace: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// When.
    pub time: Timestamp,
    /// Whether everything is ready.
    pub success: bool,
    /// In one line.
    pub summary: String,
}

/// A phase of the tool itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// What it does.
    pub detail: String,
    /// When it began; it ends where the next begins.
    pub began: Timestamp,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started.
    Waiting,
    /// Its objects are being written.
    Applying,
    /// Its objects are written and become ready.
    Settling,
    /// Over.
    Over(Outcome),
}

/// A node.
#[derive(Clone, Debug)]
pub struct NodeModel {
    /// As in the plan.
    pub id: String,
    /// What is done.
    pub action: Action,
    /// Where it stands.
    pub state: State,
    /// How many objects it has.
    pub objects: usize,
    /// How many were created, changed, as declared.
    pub written: Option<(usize, usize, usize)>,
    /// How many are ready, of how many.
    pub ready_objects: Option<(usize, usize)>,
    /// The first object that is not ready, and why.
    pub message: String,
    /// What holds it back now: `(node, reason)`.
    pub waits_for: Vec<(String, String)>,
    /// What held it back at last, before it started.
    pub waited_for: Vec<(String, String)>,
    /// Nodes that it waited for after it had started (its readiness needs theirs).
    pub ready_needs: HashSet<String>,
    /// When its work began.
    pub started: Option<Timestamp>,
    /// When all its objects were written.
    pub applied: Option<Timestamp>,
    /// When its work was over.
    pub finished: Option<Timestamp>,
    /// When the agent reported it ready.
    pub handed_over: Option<Timestamp>,
    /// Objects that the agent changed although they were as declared.
    pub changed_by_agent: Vec<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Calls that were tried again.
    pub retries: usize,
}

/// An edge, by places in [`RunModel::nodes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeModel {
    /// What comes first.
    pub from: usize,
    /// What waits.
    pub to: usize,
    /// Why.
    pub reason: String,
}

/// A stand-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// What.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Node, where there is one.
    pub node: Option<String>,
    /// What.
    pub message: String,
}

/// How many nodes stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that the run works on (skipped ones left out).
    pub all: usize,
    /// Ready or unchanged.
    pub ready: usize,
    /// Being applied.
    pub applying: usize,
    /// Becoming ready.
    pub settling: usize,
    /// Not started.
    pub waiting: usize,
    /// Failed themselves.
    pub failed: usize,
    /// Could not start because of another.
    pub blocked: usize,
    /// Neither applied nor awaited.
    pub skipped: usize,
    /// Confirmed by the agent.
    pub handed_over: usize,
}

impl NodeModel {
    fn new(id: &str, action: Action) -> Self {
        Self {
            id: id.to_owned(),
            action,
            state: State::Waiting,
            objects: 0,
            written: None,
            ready_objects: None,
            message: String::new(),
            waits_for: Vec::new(),
            waited_for: Vec::new(),
            ready_needs: HashSet::new(),
            started: None,
            applied: None,
            finished: None,
            handed_over: None,
            changed_by_agent: Vec::new(),
            error: None,
            retries: 0,
        }
    }

    /// Whether it is a layer, not a secret, the agent or the cluster.
    pub fn is_layer(&self) -> bool {
        self.id.starts_with("layer/")
    }

    /// When it became ready, if it did.
    pub fn ready(&self) -> Option<Timestamp> {
        matches!(self.state, State::Over(Outcome::Ready | Outcome::Unchanged)).then_some(self.finished).flatten()
    }

    /// Whether it is neither applied nor awaited.
    pub fn is_skipped(&self) -> bool {
        self.state == State::Over(Outcome::Skipped) || (self.action == Action::Skip && self.state == State::Waiting)
    }
}

impl RunModel {
    /// What these events tell.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut model = Self::default();
        for event in events {
            model.take(event);
        }
        model
    }

    /// Takes the next event in. Events of nodes that no plan named are taken too.
    pub fn take(&mut self, event: &Event) {
        let time = event.time;
        self.began.get_or_insert(time);
        self.latest = Some(self.latest.map_or(time, |latest| latest.max(time)));
        if self.run.is_empty() {
            self.run.clone_from(&event.run);
        }
        match &event.happening {
            Happening::Phase { name, detail } => {
                self.phases.push(Phase { name: name.clone(), detail: detail.clone(), began: time });
            }
            Happening::Context(context) => self.context = Some(context.clone()),
            Happening::State(state) => {
                // The last word on a state counts.
                self.states.retain(|other| other.state != state.state);
                self.states.push(state.clone());
            }
            Happening::Planned { environment, revision, nodes, edges } => {
                self.environment.clone_from(environment);
                self.revision.clone_from(revision);
                for (id, action) in nodes {
                    self.node(id).action = *action;
                }
                for (from, to, reason) in edges {
                    self.edge(from, to, reason);
                }
                self.namespace = self.only_namespace();
            }
            Happening::Expected { seconds, nodes } => {
                self.expected = Some((time, *seconds));
                self.usual = nodes.iter().cloned().collect();
            }
            Happening::Waiting { node, on } => {
                let node = self.node(node);
                node.waits_for.clone_from(on);
                if !on.is_empty() {
                    if node.started.is_none() {
                        node.waited_for.clone_from(on);
                    } else {
                        node.ready_needs.extend(on.iter().map(|(node, _)| node.clone()));
                    }
                }
            }
            Happening::Started { node, action, objects } => {
                let node = self.node(node);
                node.action = *action;
                node.objects = *objects;
                node.state = State::Applying;
                node.started = Some(time);
                node.waits_for.clear();
            }
            Happening::Applied { node, created, changed, unchanged } => {
                let node = self.node(node);
                node.state = State::Settling;
                node.applied = Some(time);
                node.written = Some((*created, *changed, *unchanged));
            }
            Happening::Progress { node, ready, of, message } => {
                let node = self.node(node);
                node.ready_objects = Some((*ready, *of));
                node.message.clone_from(message);
            }
            Happening::Finished { node, action, result, error } => {
                let node = self.node(node);
                node.action = *action;
                node.state = State::Over(*result);
                node.finished = Some(time);
                node.error.clone_from(error);
                node.waits_for.clear();
            }
            Happening::HandedOver { node, changed } => {
                let node = self.node(node);
                node.handed_over = Some(time);
                node.changed_by_agent.clone_from(changed);
            }
            Happening::StandIn { object, reason } => {
                let stand_in = StandIn { object: object.clone(), reason: reason.clone() };
                if !self.stand_ins.contains(&stand_in) {
                    self.stand_ins.push(stand_in);
                }
            }
            Happening::Warning { node, message } => {
                let warning = Warning { node: node.clone(), message: message.clone() };
                if !self.warnings.contains(&warning) {
                    self.warnings.push(warning);
                }
            }
            Happening::Checked(check) => self.checks.push(check.clone()),
            Happening::Retried { node, error } => {
                self.retries += 1;
                // A server that is away for long tells the same in many words.
                if self.faults.len() < MOST_FAULTS || self.faults.contains_key(&(node.clone(), error.clone())) {
                    *self.faults.entry((node.clone(), error.clone())).or_default() += 1;
                }
                self.node(node).retries += 1;
            }
            Happening::Ended { success, summary } => {
                self.end = Some(End { time, success: *success, summary: summary.clone() });
            }
        }
    }

    fn place(&mut self, id: &str) -> usize {
        if let Some(&place) = self.index.get(id) {
            return place;
        }
        let place = self.nodes.len();
        self.nodes.push(NodeModel::new(id, Action::Unknown));
        self.index.insert(id.to_owned(), place);
        place
    }

    fn node(&mut self, id: &str) -> &mut NodeModel {
        let place = self.place(id);
        &mut self.nodes[place]
    }

    fn edge(&mut self, from: &str, to: &str, reason: &str) {
        let (from, to) = (self.place(from), self.place(to));
        let edge = self.edges.len();
        self.incoming.entry(to).or_default().push(edge);
        self.outgoing.entry(from).or_default().push(edge);
        self.edges.push(EdgeModel { from, to, reason: reason.to_owned() });
    }

    fn only_namespace(&self) -> Option<String> {
        let mut namespaces =
            self.nodes.iter().filter_map(|node| node.id.strip_prefix("layer/")?.split_once('/').map(|(namespace, _)| namespace));
        let first = namespaces.next()?;
        namespaces.all(|namespace| namespace == first).then(|| first.to_owned())
    }

    /// Place of a node in [`RunModel::nodes`].
    pub fn find(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// Edges that end at this node.
    pub fn into_node(&self, place: usize) -> impl Iterator<Item = &EdgeModel> {
        self.incoming.get(&place).into_iter().flatten().map(|&edge| &self.edges[edge])
    }

    /// Seconds since the run began.
    pub fn since_began(&self, time: Timestamp) -> f64 {
        self.began.map_or(0.0, |began| time.duration_since(began).as_secs_f64().max(0.0))
    }

    /// What a person calls this node: without `layer/` and `aws/`, and without the namespace where all layers share one.
    pub fn short<'a>(&self, id: &'a str) -> &'a str {
        let Some(layer) = id.strip_prefix("layer/") else { return id.strip_prefix("aws/").unwrap_or(id) };
        match (&self.namespace, layer.split_once('/')) {
            (Some(only), Some((namespace, name))) if only == namespace => name,
            _ => layer,
        }
    }

    /// How many nodes stand where; of layers only, or of the rest where there is no layer.
    pub fn counts(&self) -> Counts {
        let layers_only = self.nodes.iter().any(NodeModel::is_layer);
        let mut counts = Counts::default();
        for node in self.nodes.iter().filter(|node| !layers_only || node.is_layer()) {
            if node.is_skipped() {
                counts.skipped += 1;
                continue;
            }
            counts.all += 1;
            counts.handed_over += usize::from(node.handed_over.is_some());
            *match node.state {
                State::Waiting => &mut counts.waiting,
                State::Applying => &mut counts.applying,
                State::Settling => &mut counts.settling,
                State::Over(Outcome::Failed) => &mut counts.failed,
                State::Over(Outcome::Blocked) => &mut counts.blocked,
                State::Over(_) => &mut counts.ready,
            } += 1;
        }
        counts
    }

    /// Whether this run takes an environment down.
    pub fn is_demolition(&self) -> bool {
        !self.nodes.is_empty() && self.nodes.iter().all(|node| node.action == Action::Delete)
    }

    /// Whether this is a rehearsal: it has a sandbox, or something stands in.
    pub fn is_rehearsal(&self) -> bool {
        !self.stand_ins.is_empty() || self.phases.iter().any(|phase| phase.name == "sandbox")
    }

    /// Whether it ended well.
    pub fn success(&self) -> bool {
        let holds = self.checks.iter().all(|check| check.verdict == Verdict::Held);
        holds && self.end.as_ref().is_some_and(|end| end.success)
    }

    /// Seconds from the beginning until the last node was ready, where all are.
    pub fn ready_seconds(&self) -> Option<f64> {
        let awaited: Vec<_> = self.nodes.iter().filter(|node| !node.is_skipped()).collect();
        let ready: Vec<_> = awaited.iter().filter_map(|node| node.ready()).collect();
        (ready.len() == awaited.len()).then(|| ready.into_iter().max()).flatten().map(|time| self.since_began(time))
    }

    /// Seconds that it should take, and that it took, both from the plan until all was ready.
    pub fn expected_and_measured(&self) -> Option<(f64, f64)> {
        let (planned, expected) = self.expected?;
        Some((expected, self.ready_seconds()? - self.since_began(planned)))
    }

    /// Seconds from the beginning until the agent had confirmed every layer, where it has.
    pub fn handover_seconds(&self) -> Option<f64> {
        let layers: Vec<_> = self.nodes.iter().filter(|node| node.is_layer() && !node.is_skipped()).collect();
        let handed: Vec<_> = layers.iter().filter_map(|node| node.handed_over).collect();
        (handed.len() == layers.len()).then(|| handed.into_iter().max()).flatten().map(|time| self.since_began(time))
    }

    /// Phases with seconds from and to; the last lasts until the last event.
    pub fn phase_times(&self) -> Vec<(&Phase, f64, f64)> {
        let ends = self.phases.iter().skip(1).map(|phase| phase.began).chain(self.latest);
        self.phases.iter().zip(ends).map(|(phase, end)| (phase, self.since_began(phase.began), self.since_began(end))).collect()
    }

    /// What held this node back at last, before it started: the node and the reason.
    /// Told by its own last `waiting` event; where several nodes stood in it, the one whose end came last.
    pub fn waited_last_for(&self, place: usize) -> Option<(&str, &str)> {
        let node = &self.nodes[place];
        let release = |from: &str| self.find(from).and_then(|from| self.release(from, node.started));
        node.waited_for
            .iter()
            // Of several reasons at one time the first is told: what is declared stands before what is implied.
            .rev()
            // One that never let it go held it back more than all that did.
            .max_by_key(|(from, _)| (release(from).is_none(), release(from)))
            .map(|(from, reason)| (from.as_str(), reason.as_str()))
    }

    /// The last moment, not after `before`, at which a node that waits for `from` may have become free.
    pub(crate) fn release(&self, from: usize, before: Option<Timestamp>) -> Option<Timestamp> {
        let node = &self.nodes[from];
        let in_time = |time: &Timestamp| before.is_none_or(|before| *time <= before);
        node.ready().filter(in_time).or(node.applied.filter(in_time))
    }

    /// Failed nodes, root causes only, each with the blocked nodes that lie behind it, in order of time.
    pub fn failures(&self) -> Vec<(usize, Vec<usize>)> {
        let mut failed: Vec<usize> =
            (0..self.nodes.len()).filter(|&place| self.nodes[place].state == State::Over(Outcome::Failed)).collect();
        failed.sort_by_key(|&place| self.nodes[place].finished);
        failed.into_iter().map(|place| (place, self.blocked_by(place))).collect()
    }

    fn blocked_by(&self, root: usize) -> Vec<usize> {
        let mut seen = HashSet::from([root]);
        let mut stack = vec![root];
        let mut blocked = Vec::new();
        while let Some(place) = stack.pop() {
            for &edge in self.outgoing.get(&place).into_iter().flatten() {
                let to = self.edges[edge].to;
                if seen.insert(to) && self.nodes[to].state == State::Over(Outcome::Blocked) {
                    blocked.push(to);
                    stack.push(to);
                }
            }
        }
        blocked.sort_unstable();
        blocked
    }

    /// Stand-ins by reason, the most frequent first.
    pub fn stand_ins_by_reason(&self) -> Vec<(&str, Vec<&str>)> {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for stand_in in &self.stand_ins {
            match groups.iter_mut().find(|(reason, _)| *reason == stand_in.reason) {
                Some((_, objects)) => objects.push(&stand_in.object),
                None => groups.push((&stand_in.reason, vec![&stand_in.object])),
            }
        }
        groups.sort_by_key(|(_, objects)| std::cmp::Reverse(objects.len()));
        groups
    }
}
