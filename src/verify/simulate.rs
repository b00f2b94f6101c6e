//! A start against an API server that holds nothing but Kubernetes' own kinds and the agent's: which layer can be applied in which step.
//!
//! It starts layers as Flux does: by what is declared (`dependsOn`, the parent, `wait`, health checks, sources). The order that objects
//! imply is not declared; here it shows as kinds and namespaces that are there, or are not yet. A layer is applied as a whole: its own
//! definitions and namespaces first, then everything else, where the dry run of one object that fails keeps all of it back
//! (kustomize-controller, `apply`). Kinds that nothing in Git brings count as there: another rule tells them. A layer whose objects are not
//! known is applied like one that holds nothing.
//!
//! It is run twice: `start` before the rules, which go by what lacks in it, and `outcome` after them, where what they found stays behind.

use super::facts::{Facts, Kind, Provider};
use super::objects;
use super::rules;
use crate::layers::LayerId;
use crate::layers::flux::{HealthCheck, is_installed};
use crate::manifest::Resource;
use crate::plan::{Constraint, Edge, is_implied};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Layers that are applied in it.
    pub layers: Vec<LayerId>,
    /// Kinds of custom resources that exist after it.
    pub kinds: usize,
}

/// How it went.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// Why the first layers that never start do not: nothing else holds them back.
    pub(crate) lacks: Vec<Lack<'a>>,
}

/// How it ends.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) steps: Vec<Step>,
    /// Layers that are never applied.
    pub(crate) stopped: Vec<usize>,
    /// Layers that are applied and never ready.
    pub(crate) unready: Vec<usize>,
    /// Layers whose objects nobody knows.
    pub(crate) unread: Vec<usize>,
    /// Of the stopped ones those that no finding explains, each with one that it waits for.
    pub(crate) unexplained: Vec<(usize, Option<usize>)>,
}

/// Something that a layer needs, and that comes too late.
pub(crate) struct Lack<'a> {
    pub(crate) layer: usize,
    /// The step in which it would start, from 1; after the first stop, the step of that.
    pub(crate) step: usize,
    pub(crate) what: Lacking<'a>,
}

pub(crate) enum Lacking<'a> {
    /// A kind: how many objects need it, the first of them, and what would bring it.
    Kind { kind: Kind, objects: usize, first: &'a Resource, by: Provider<'a> },
    /// A namespace: the first object in it, and the layer that declares it.
    Namespace { name: &'a str, first: &'a Resource, by: usize },
    /// It waits for the health of this object, which needs another one of a layer that never starts; none where that other one itself is
    /// waited for.
    Health { object: Option<&'a Resource>, needs: &'a Resource, by: usize },
}

impl Lacking<'_> {
    /// The rule that tells it.
    pub(super) fn rule(&self) -> &'static str {
        match self {
            Self::Kind { .. } => rules::OF_KINDS,
            Self::Namespace { .. } => rules::OF_NAMESPACES,
            Self::Health { .. } => rules::OF_HEALTH,
        }
    }
}

/// What the health of a kind hangs on: group, kind, pointers to kind and name of what it needs, the kind where none is given, and whether
/// that is in no namespace when its kind begins with `Cluster`.
const HEALTH: [(&str, &str, &str, &str, &str); 3] = [
    ("external-secrets.io", "ExternalSecret", "/spec/secretStoreRef/kind", "/spec/secretStoreRef/name", "SecretStore"),
    ("external-secrets.io", "PushSecret", "/spec/secretStoreRefs/0/kind", "/spec/secretStoreRefs/0/name", "SecretStore"),
    ("cert-manager.io", "Certificate", "/spec/issuerRef/kind", "/spec/issuerRef/name", "Issuer"),
];

/// How far a layer comes, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Until {
    Applied,
    Ready,
}

/// What the readiness of a layer waits for beside other layers.
struct Health<'a> {
    /// An object of its own; none where a health check names the other one.
    object: Option<&'a Resource>,
    needs: &'a Resource,
    /// The layers that hold it: one is enough.
    by: Vec<usize>,
}

/// What one layer needs.
#[derive(Default)]
struct Needs<'a> {
    start: Vec<(usize, Until)>,
    ready: Vec<(usize, Until)>,
    kinds: BTreeMap<Kind, (usize, Option<&'a Resource>)>,
    namespaces: BTreeMap<&'a str, &'a Resource>,
    health: Vec<Health<'a>>,
}

/// Whether the repository itself declares an edge, so that Flux waits for it.
pub(super) fn is_declared(edge: &Edge) -> bool {
    !is_implied(edge)
}

/// Where a start stands.
struct State<'a> {
    applied: Vec<bool>,
    ready: Vec<bool>,
    kinds: BTreeSet<Kind>,
    namespaces: BTreeSet<&'a str>,
    /// Layers whose health is not waited for any more, since what was noted of it is told.
    mended: BTreeSet<usize>,
    /// Layers that never come so far.
    kept: BTreeSet<(usize, Until)>,
}

/// Runs it to the end. Where it stops, what is lacking is noted, and it goes on as if that were mended, so that all is told at once.
pub(super) fn start<'a>(facts: &Facts<'a>) -> Start<'a> {
    let needs = needs(facts);
    let mut state = State::new(facts);
    let (mut steps, mut is_stopped, mut lacks) = (0, false, Vec::new());
    loop {
        if let Some(next) = state.step(facts, &needs) {
            steps += usize::from(!is_stopped && !next.is_empty());
            continue;
        }
        is_stopped = true;
        let found = state.lacks(facts, &needs, steps);
        if found.is_empty() {
            return Start { lacks };
        }
        for lack in &found {
            state.mend(lack);
        }
        lacks.extend(found);
    }
}

/// Runs it to where nothing moves any more: layers that are kept from something stay behind; of what lacks in it, what is accepted counts as
/// mended.
pub(super) fn outcome(facts: &Facts<'_>, kept: &[(usize, Until)], is_accepted: &dyn Fn(usize, &Lacking<'_>) -> bool) -> Outcome {
    let needs = needs(facts);
    let all = 0..needs.len();
    let mut state = State::new(facts);
    state.kept = kept.iter().copied().collect();
    // Where reading failed, a problem says why; where nobody here can know, nothing speaks against it.
    let unread: BTreeSet<usize> = all.clone().filter(|&layer| !facts.is_read(layer)).collect();
    state.kept.extend(unread.iter().filter(|layer| !facts.is_unknown(**layer)).map(|&layer| (layer, Until::Applied)));
    let mut steps = Vec::new();
    loop {
        if let Some(next) = state.step(facts, &needs) {
            if !next.is_empty() {
                let layers = next.iter().map(|&layer| facts.layer(layer).id.clone()).collect();
                steps.push(Step { layers, kinds: state.kinds.len() });
            }
            continue;
        }
        let accepted: Vec<Lack<'_>> =
            state.lacks(facts, &needs, steps.len()).into_iter().filter(|lack| is_accepted(lack.layer, &lack.what)).collect();
        if accepted.is_empty() {
            break;
        }
        for lack in &accepted {
            state.mend(lack);
        }
    }
    let stopped: Vec<usize> = all.clone().filter(|&layer| !state.applied[layer]).collect();
    Outcome {
        unready: all.filter(|&layer| state.applied[layer] && !state.ready[layer]).collect(),
        unread: unread.into_iter().filter(|layer| state.applied[*layer]).collect(),
        unexplained: state.unexplained(facts, &needs, &stopped),
        stopped,
        steps,
    }
}

impl<'a> State<'a> {
    fn new(facts: &Facts<'a>) -> Self {
        let skipped: Vec<bool> = (0..facts.subject.reading.layers.len()).map(|layer| !facts.is_applied(layer)).collect();
        Self {
            applied: skipped.clone(),
            ready: skipped,
            kinds: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            mended: BTreeSet::new(),
            kept: BTreeSet::new(),
        }
    }

    fn reached(&self, (layer, until): (usize, Until)) -> bool {
        match until {
            Until::Applied => self.applied[layer],
            Until::Ready => self.ready[layer],
        }
    }

    /// Takes note that something is there after all.
    fn mend(&mut self, lack: &Lack<'a>) {
        match &lack.what {
            Lacking::Kind { kind, .. } => drop(self.kinds.insert(kind.clone())),
            Lacking::Namespace { name, .. } => drop(self.namespaces.insert(name)),
            Lacking::Health { .. } => drop(self.mended.insert(lack.layer)),
        }
    }

    /// Applies every layer that nothing holds back; gives them. None where nothing moves any more.
    fn step(&mut self, facts: &Facts<'a>, needs: &[Needs<'a>]) -> Option<Vec<usize>> {
        let all = 0..needs.len();
        let can = |&layer: &usize| {
            !self.applied[layer]
                && !self.kept.contains(&(layer, Until::Applied))
                && needs[layer].start.iter().all(|&until| self.reached(until))
                && self.lacking(facts, layer, &needs[layer]).is_empty()
        };
        let next: Vec<usize> = all.clone().filter(can).collect();
        for &layer in &next {
            self.applied[layer] = true;
        }
        let mut moved = !next.is_empty();
        // What becomes ready lets others become so.
        loop {
            let settled = |&layer: &usize| {
                self.applied[layer]
                    && !self.ready[layer]
                    && !self.kept.contains(&(layer, Until::Ready))
                    && self.unhealthy(layer, &needs[layer]).is_none()
                    && needs[layer].ready.iter().all(|&until| self.reached(until))
            };
            let settled: Vec<usize> = all.clone().filter(settled).collect();
            if settled.is_empty() {
                break;
            }
            for layer in settled {
                self.ready[layer] = true;
            }
            moved = true;
        }
        let brought = facts.kinds.iter().filter(|(_, by)| by.iter().any(|provider| self.applied[provider.layer]));
        self.kinds.extend(brought.map(|(kind, _)| kind.clone()));
        let made = facts.namespaces.iter().filter(|(_, by)| by.iter().any(|layer| self.applied[*layer]));
        self.namespaces.extend(made.map(|(namespace, _)| *namespace));
        moved.then_some(next)
    }

    /// What each layer that is not ready waits for, and all that is lacking, each with whether nothing else holds its layer back.
    fn held(&self, facts: &Facts<'a>, needs: &[Needs<'a>], steps: usize) -> (Vec<BTreeSet<usize>>, Vec<(Lack<'a>, bool)>) {
        let mut lacks = Vec::new();
        let mut waits: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); needs.len()];
        for (layer, needs) in needs.iter().enumerate().filter(|(layer, _)| !self.ready[*layer]) {
            let (until, step) = if self.applied[layer] { (&needs.ready, steps) } else { (&needs.start, steps + 1) };
            waits[layer].extend(until.iter().filter(|&&until| !self.reached(until)).map(|(other, _)| *other));
            let whats =
                if self.applied[layer] { self.unhealthy(layer, needs).into_iter().collect() } else { self.lacking(facts, layer, needs) };
            // What still comes before it may bring what it lacks.
            let free = self.applied[layer] || needs.start.iter().all(|&until| self.reached(until));
            for what in whats {
                waits[layer].extend(by(facts, needs, &what));
                lacks.push((Lack { layer, step, what }, free));
            }
        }
        (waits, lacks)
    }

    /// What stops the start: of all that is lacking, what comes only from the layer itself or from one that waits for it. The rest follows.
    fn lacks(&self, facts: &Facts<'a>, needs: &[Needs<'a>], steps: usize) -> Vec<Lack<'a>> {
        let (waits, lacks) = self.held(facts, needs, steps);
        let is_stop = |lack: &Lack<'a>| match &lack.what {
            Lacking::Kind { by, .. } => leads(&waits, by.layer, lack.layer),
            Lacking::Namespace { by, .. } => leads(&waits, *by, lack.layer),
            Lacking::Health { .. } => by(facts, &needs[lack.layer], &lack.what).into_iter().all(|by| leads(&waits, by, lack.layer)),
        };
        lacks.into_iter().filter(|(_, free)| *free).map(|(lack, _)| lack).filter(is_stop).collect()
    }

    /// Layers that are stopped although nothing that they wait for is kept back, lacks something, or is in a cycle: all of these are told.
    fn unexplained(&self, facts: &Facts<'a>, needs: &[Needs<'a>], stopped: &[usize]) -> Vec<(usize, Option<usize>)> {
        let (waits, _) = self.held(facts, needs, 0);
        let mut known: BTreeSet<usize> = self.kept.iter().map(|(layer, _)| *layer).collect();
        known.extend(self.lacks(facts, needs, 0).into_iter().map(|lack| lack.layer));
        let cycles = || facts.subject.plan.problems.iter().filter(|problem| problem.rule == "cycle");
        known.extend((0..waits.len()).filter(|&layer| {
            let step = format!(" {} waits for ", facts.layer(layer).id);
            cycles().any(|problem| format!(" {}", problem.message.replace([':', ','], "")).contains(&step))
        }));
        let open: BTreeSet<usize> =
            stopped.iter().copied().filter(|&layer| !known.iter().any(|&cause| leads(&waits, layer, cause))).collect();
        let first = |layer: usize| waits[layer].iter().next().copied();
        let roots: Vec<usize> = open.iter().copied().filter(|&layer| !waits[layer].iter().any(|other| open.contains(other))).collect();
        // Where all of them wait for each other, one stands for the others.
        let shown = if roots.is_empty() { open.into_iter().take(1).collect() } else { roots };
        shown.into_iter().map(|layer| (layer, first(layer))).collect()
    }

    /// The first thing that the health of a layer hangs on and that is not there.
    fn unhealthy(&self, layer: usize, needs: &Needs<'a>) -> Option<Lacking<'a>> {
        let is_late = |health: &&Health<'a>| !health.by.iter().any(|by| self.applied[*by]);
        let late = needs.health.iter().find(is_late).filter(|_| !self.mended.contains(&layer))?;
        Some(Lacking::Health { object: late.object, needs: late.needs, by: late.by.first().copied()? })
    }

    /// Kinds and namespaces of a layer that are not there, although something in Git brings them.
    fn lacking(&self, facts: &Facts<'a>, layer: usize, needs: &Needs<'a>) -> Vec<Lacking<'a>> {
        let mut found = Vec::new();
        for (kind, (objects, first)) in needs.kinds.iter().filter(|(kind, _)| !self.kinds.contains(*kind)) {
            let Some(providers) = facts.kinds.get(kind) else { continue };
            let own = providers.iter().any(|provider| provider.layer == layer && provider.is_definition());
            if let (false, Some(&by), Some(first)) = (own, providers.first(), first) {
                found.push(Lacking::Kind { kind: kind.clone(), objects: *objects, first, by });
            }
        }
        for (&name, first) in needs.namespaces.iter().filter(|(name, _)| !self.namespaces.contains(*name)) {
            if let Some(by) = facts.namespaces.get(name).filter(|by| !by.contains(&layer)) {
                found.push(Lacking::Namespace { name, first, by: by[0] });
            }
        }
        found
    }
}

/// The layers that bring what is lacking.
fn by(facts: &Facts<'_>, needs: &Needs<'_>, what: &Lacking<'_>) -> Vec<usize> {
    match what {
        Lacking::Kind { kind, .. } => facts.kinds[kind].iter().map(|provider| provider.layer).collect(),
        Lacking::Namespace { by, .. } => vec![*by],
        Lacking::Health { needs: needed, by, .. } => {
            let health = needs.health.iter().find(|health| std::ptr::eq(health.needs, *needed) && health.by.first() == Some(by));
            health.map(|health| health.by.clone()).unwrap_or_default()
        }
    }
}

/// Whether one layer waits for another, however many stand between; each waits for itself.
fn leads(waits: &[BTreeSet<usize>], from: usize, to: usize) -> bool {
    let (mut seen, mut left) = (BTreeSet::from([from]), vec![from]);
    while let Some(at) = left.pop() {
        if at == to {
            return true;
        }
        left.extend(waits[at].iter().filter(|&&next| seen.insert(next)));
    }
    false
}

fn needs<'a>(facts: &Facts<'a>) -> Vec<Needs<'a>> {
    let mut all: Vec<Needs<'a>> = facts.subject.reading.layers.iter().map(|_| Needs::default()).collect();
    for edge in facts.subject.plan.edges.iter().filter(|edge| is_declared(edge)) {
        let (Some(from), Some(to)) = (facts.by_node(&edge.from), facts.by_node(&edge.to)) else { continue };
        let needs = &mut all[to];
        match edge.constraint {
            Constraint::ReadyBeforeStart => needs.start.push((from, Until::Ready)),
            Constraint::AppliedBeforeStart => needs.start.push((from, Until::Applied)),
            Constraint::ReadyBeforeReady => needs.ready.push((from, Until::Ready)),
            Constraint::AppliedBeforeReady => needs.ready.push((from, Until::Applied)),
        }
    }
    for (position, layer, objects) in facts.layers() {
        for object in objects {
            let group = object.group();
            if !facts.is_given(group) {
                let entry = all[position].kinds.entry((group.to_owned(), object.kind().to_owned())).or_default();
                entry.0 += 1;
                entry.1.get_or_insert(object);
            }
            if let Some(namespace) = facts.namespace(object).filter(|namespace| !facts.is_given_namespace(namespace)) {
                all[position].namespaces.entry(namespace).or_insert(object);
            }
        }
        let checked = |object: &Resource| {
            let checks = &layer.spec.health_checks;
            layer.spec.wait || checks.iter().any(|check| check.kind == object.kind() && check.name == object.name())
        };
        for object in objects.iter().filter(|object| checked(object)) {
            let others = hangs_on(facts, object).into_iter().filter(|(_, by)| !by.contains(&position));
            all[position].health.extend(others.map(|(needs, by)| Health { object: Some(object), needs, by }));
        }
        // Layers among them have edges of their own.
        let is_layer = |check: &HealthCheck| check.kind == "Kustomization" && check.api_version.starts_with("kustomize.toolkit");
        for check in layer.spec.health_checks.iter().filter(|check| !layer.spec.wait && !is_layer(check)) {
            let found: Vec<(usize, &Resource)> =
                facts.named(&check.name).filter(|(_, object)| objects::is_checked(check, &layer.id, object)).collect();
            let by: Vec<usize> = found.iter().map(|(by, _)| *by).collect();
            if let (Some((_, needs)), false) = (found.first(), by.contains(&position)) {
                all[position].health.push(Health { object: None, needs, by });
            }
        }
    }
    all
}

/// What the health of an object hangs on, each with the layers that hold it.
fn hangs_on<'a>(facts: &Facts<'a>, object: &'a Resource) -> Vec<(&'a Resource, Vec<usize>)> {
    if is_installed(object) {
        return of_release(facts, object);
    }
    let Some((_, _, kind, name, default)) = HEALTH.iter().find(|(group, kind, ..)| object.group() == *group && object.kind() == *kind)
    else {
        return Vec::new();
    };
    let kind = Some(object.text(kind)).filter(|kind| !kind.is_empty()).unwrap_or(default);
    let name = object.text(name);
    let namespace = if kind.starts_with("Cluster") { None } else { object.namespace() };
    let found = facts.named(name).find(|(_, other)| {
        other.kind() == kind && other.group() == object.group() && (namespace.is_none() || other.namespace() == namespace)
    });
    found.map(|(layer, other)| (other, vec![layer])).into_iter().collect()
}

/// The same for a HelmRelease: its chart's source, its values, and the releases that it depends on with all that those need.
fn of_release<'a>(facts: &Facts<'a>, release: &'a Resource) -> Vec<(&'a Resource, Vec<usize>)> {
    let mut found: Vec<(&Resource, Vec<usize>)> = Vec::new();
    let mut left = vec![release];
    while let Some(at) = left.pop() {
        for required in objects::required(at) {
            let holders: Vec<(usize, &Resource)> = facts.named(&required.name).filter(|(_, other)| required.is(other)).collect();
            let Some(&(_, other)) = holders.first() else { continue };
            if !found.iter().any(|(known, _)| std::ptr::eq(*known, other)) {
                found.push((other, holders.iter().map(|(layer, _)| *layer).collect()));
                left.extend(is_installed(other).then_some(other));
            }
        }
    }
    found
}
