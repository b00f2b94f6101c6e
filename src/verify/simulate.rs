//! A start against an API server that holds nothing but Kubernetes' own kinds and the agent's: which layer can be applied in which step.
//!
//! It starts layers as Flux does: by what is declared (`dependsOn`, the parent, `wait`, health checks, sources). The order that objects
//! imply is not declared; here it shows as kinds and namespaces that are there, or are not yet. A layer is applied as a whole: its own
//! definitions and namespaces first, then everything else, where the dry run of one object that fails keeps all of it back
//! (kustomize-controller, `apply`). Kinds that nothing in Git brings count as there: another rule tells them.

use super::facts::{Facts, Kind, Provider};
use crate::layers::LayerId;
use crate::manifest::Resource;
use crate::plan::{Constraint, Edge};
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
    pub(crate) steps: Vec<Step>,
    /// Layers that are never applied.
    pub(crate) stopped: Vec<usize>,
    /// Why the first of them are not: nothing else holds them back.
    pub(crate) lacks: Vec<Lack<'a>>,
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
    /// It waits for the health of this object, which needs another one of a layer that never starts.
    Health { object: &'a Resource, needs: &'a Resource, by: usize },
}

/// What the health of a kind hangs on: group, kind, pointers to kind and name of what it needs, the kind where none is given, and whether
/// that is in no namespace when its kind begins with `Cluster`.
const HEALTH: [(&str, &str, &str, &str, &str); 3] = [
    ("external-secrets.io", "ExternalSecret", "/spec/secretStoreRef/kind", "/spec/secretStoreRef/name", "SecretStore"),
    ("external-secrets.io", "PushSecret", "/spec/secretStoreRefs/0/kind", "/spec/secretStoreRefs/0/name", "SecretStore"),
    ("cert-manager.io", "Certificate", "/spec/issuerRef/kind", "/spec/issuerRef/name", "Issuer"),
];

#[derive(Clone, Copy)]
enum Until {
    Applied,
    Ready,
}

/// What one layer needs.
#[derive(Default)]
struct Needs<'a> {
    start: Vec<(usize, Until)>,
    ready: Vec<(usize, Until)>,
    kinds: BTreeMap<Kind, (usize, Option<&'a Resource>)>,
    namespaces: BTreeMap<&'a str, &'a Resource>,
    health: Vec<(&'a Resource, &'a Resource, usize)>,
}

/// Whether the repository itself declares an edge, so that Flux waits for it.
pub(super) fn is_declared(edge: &Edge) -> bool {
    let declared = ["declared there", "source ", "dependsOn of "];
    edge.constraint != Constraint::AppliedBeforeStart || declared.iter().any(|reason| edge.reason.starts_with(reason))
}

/// Where a start stands.
struct State<'a> {
    applied: Vec<bool>,
    ready: Vec<bool>,
    kinds: BTreeSet<Kind>,
    namespaces: BTreeSet<&'a str>,
    /// Layers that what was noted of them does not hold back any more.
    mended: BTreeSet<usize>,
}

/// Runs it to the end. Where it stops, what is lacking is noted, and it goes on as if that were mended, so that all is told at once; its
/// steps end where it stops first.
pub(super) fn start<'a>(facts: &Facts<'a>) -> Start<'a> {
    let count = facts.subject.reading.layers.len();
    let needs = needs(facts);
    let skipped: Vec<bool> = (0..count).map(|layer| !facts.is_applied(layer)).collect();
    let mut state =
        State { applied: skipped.clone(), ready: skipped, kinds: BTreeSet::new(), namespaces: BTreeSet::new(), mended: BTreeSet::new() };
    let (mut steps, mut stopped, mut lacks) = (Vec::new(), None, Vec::new());
    loop {
        let next = state.step(facts, &needs);
        if let Some(next) = next {
            if stopped.is_none() && !next.is_empty() {
                let layers = next.iter().map(|&layer| facts.layer(layer).id.clone()).collect();
                steps.push(Step { layers, kinds: state.kinds.len() });
            }
            continue;
        }
        stopped.get_or_insert_with(|| (0..count).filter(|&layer| !state.applied[layer]).collect::<Vec<_>>());
        let found = state.lacks(facts, &needs, steps.len());
        // A layer whose objects are not known is told by other rules.
        let unread: Vec<usize> = (0..count).filter(|&layer| !facts.is_read(layer) && !state.mended.contains(&layer)).collect();
        if found.is_empty() && unread.is_empty() {
            break;
        }
        state.mended.extend(unread);
        for lack in &found {
            match &lack.what {
                Lacking::Kind { kind, .. } => {
                    state.kinds.insert(kind.clone());
                }
                Lacking::Namespace { name, .. } => {
                    state.namespaces.insert(name);
                }
                Lacking::Health { .. } => {
                    state.mended.insert(lack.layer);
                }
            }
        }
        lacks.extend(found);
    }
    Start { steps, stopped: stopped.unwrap_or_default(), lacks }
}

impl<'a> State<'a> {
    fn reached(&self, (layer, until): (usize, Until)) -> bool {
        match until {
            Until::Applied => self.applied[layer],
            Until::Ready => self.ready[layer],
        }
    }

    /// Applies every layer that nothing holds back; gives them. None where nothing moves any more.
    fn step(&mut self, facts: &Facts<'a>, needs: &[Needs<'a>]) -> Option<Vec<usize>> {
        let all = 0..needs.len();
        let can = |&layer: &usize| {
            !self.applied[layer]
                && (facts.is_read(layer) || self.mended.contains(&layer))
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
                let healthy = self.mended.contains(&layer) || needs[layer].health.iter().all(|(.., by)| self.applied[*by]);
                self.applied[layer] && !self.ready[layer] && healthy && needs[layer].ready.iter().all(|&until| self.reached(until))
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

    /// What stops the start: of all that is lacking, what comes only from the layer itself or from one that waits for it. The rest follows.
    fn lacks(&self, facts: &Facts<'a>, needs: &[Needs<'a>], steps: usize) -> Vec<Lack<'a>> {
        let mut lacks = Vec::new();
        let mut waits: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); needs.len()];
        for (layer, needs) in needs.iter().enumerate().filter(|(layer, _)| !self.ready[*layer]) {
            let (until, step) = if self.applied[layer] { (&needs.ready, steps) } else { (&needs.start, steps + 1) };
            waits[layer].extend(until.iter().filter(|&&until| !self.reached(until)).map(|(other, _)| *other));
            let whats = if self.applied[layer] { self.unhealthy(layer, needs) } else { self.lacking(facts, layer, needs) };
            // What still comes before it may bring what it lacks.
            let free = self.applied[layer] || needs.start.iter().all(|&until| self.reached(until));
            for what in whats {
                waits[layer].extend(match &what {
                    Lacking::Kind { kind, .. } => facts.kinds[kind].iter().map(|provider| provider.layer).collect(),
                    Lacking::Namespace { by, .. } | Lacking::Health { by, .. } => vec![*by],
                });
                if free {
                    lacks.push(Lack { layer, step, what });
                }
            }
        }
        lacks.retain(|lack| match &lack.what {
            Lacking::Kind { by, .. } => leads(&waits, by.layer, lack.layer),
            Lacking::Namespace { by, .. } | Lacking::Health { by, .. } => leads(&waits, *by, lack.layer),
        });
        lacks
    }

    /// The first object of an applied layer whose health needs what is not there.
    fn unhealthy(&self, layer: usize, needs: &Needs<'a>) -> Vec<Lacking<'a>> {
        let late = needs.health.iter().find(|(.., by)| !self.applied[*by] && !self.mended.contains(&layer));
        late.map(|&(object, needs, by)| Lacking::Health { object, needs, by }).into_iter().collect()
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
            if let Some(namespace) = object.namespace().filter(|namespace| !facts.is_given_namespace(namespace)) {
                all[position].namespaces.entry(namespace).or_insert(object);
            }
        }
        let checked = |object: &Resource| {
            let checks = &layer.spec.health_checks;
            layer.spec.wait || checks.iter().any(|check| check.kind == object.kind() && check.name == object.name())
        };
        for object in objects.iter().filter(|object| checked(object)) {
            all[position].health.extend(hangs_on(facts, object).map(|(needs, by)| (object, needs, by)));
        }
    }
    all
}

/// What the health of an object hangs on, and the layer that holds it.
fn hangs_on<'a>(facts: &Facts<'a>, object: &Resource) -> Option<(&'a Resource, usize)> {
    let (_, _, kind, name, default) = HEALTH.iter().find(|(group, kind, ..)| object.group() == *group && object.kind() == *kind)?;
    let kind = Some(object.text(kind)).filter(|kind| !kind.is_empty()).unwrap_or(default);
    let name = object.text(name);
    let namespace = if kind.starts_with("Cluster") { None } else { object.namespace() };
    let found = facts.objects().find(|(_, other)| {
        other.kind() == kind
            && other.name() == name
            && other.group() == object.group()
            && (namespace.is_none() || other.namespace() == namespace)
    });
    found.map(|(layer, other)| (other, layer))
}
