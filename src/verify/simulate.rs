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
    /// The step in which it would start, from 1.
    pub(crate) step: usize,
    pub(crate) what: Lacking<'a>,
}

pub(crate) enum Lacking<'a> {
    /// A kind: how many objects need it, the first of them, and what would bring it.
    Kind { kind: Kind, objects: usize, first: &'a Resource, by: Provider<'a> },
    /// A namespace: the first object in it, and the layer that declares it.
    Namespace { name: String, first: &'a Resource, by: usize },
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
    edge.constraint != Constraint::AppliedBeforeStart || edge.reason == "declared there" || edge.reason.starts_with("source ")
}

/// Runs it to the end.
pub(super) fn start<'a>(facts: &Facts<'a>) -> Start<'a> {
    let count = facts.subject.reading.layers.len();
    let needs = needs(facts);
    let mut there: BTreeSet<Kind> = BTreeSet::new();
    let mut namespaces: BTreeSet<&str> = BTreeSet::new();
    let skipped = |layer: usize| !facts.is_applied(layer);
    let (mut applied, mut ready): (Vec<bool>, Vec<bool>) = ((0..count).map(skipped).collect(), (0..count).map(skipped).collect());
    let mut steps = Vec::new();
    loop {
        let reached = |until: &(usize, Until), applied: &[bool], ready: &[bool]| match until.1 {
            Until::Applied => applied[until.0],
            Until::Ready => ready[until.0],
        };
        let can = |layer: &usize| {
            let needs = &needs[*layer];
            !applied[*layer]
                && needs.start.iter().all(|until| reached(until, &applied, &ready))
                && lacking(facts, *layer, needs, &there, &namespaces).is_empty()
        };
        let next: Vec<usize> = (0..count).filter(can).collect();
        for &layer in &next {
            applied[layer] = true;
        }
        // What becomes ready lets others become so.
        let mut moved = !next.is_empty();
        loop {
            let settled = |layer: &usize| {
                let needs = &needs[*layer];
                applied[*layer]
                    && !ready[*layer]
                    && needs.ready.iter().all(|until| reached(until, &applied, &ready))
                    && needs.health.iter().all(|(.., by)| applied[*by])
            };
            let settled: Vec<usize> = (0..count).filter(settled).collect();
            if settled.is_empty() {
                break;
            }
            settled.into_iter().for_each(|layer| ready[layer] = true);
            moved = true;
        }
        for (kind, by) in &facts.kinds {
            if by.iter().any(|provider| applied[provider.layer]) {
                there.insert(kind.clone());
            }
        }
        for (namespace, by) in &facts.namespaces {
            if by.iter().any(|layer| applied[*layer]) {
                namespaces.insert(namespace);
            }
        }
        if !moved {
            break;
        }
        if !next.is_empty() {
            steps.push(Step { layers: next.iter().map(|&layer| facts.layer(layer).id.clone()).collect(), kinds: there.len() });
        }
    }
    let mut lacks = Vec::new();
    for layer in 0..count {
        let needs = &needs[layer];
        let free = needs.start.iter().all(|(other, until)| match until {
            Until::Applied => applied[*other],
            Until::Ready => ready[*other],
        });
        if !applied[layer] && free {
            let whats = lacking(facts, layer, needs, &there, &namespaces);
            lacks.extend(whats.into_iter().map(|what| Lack { layer, step: steps.len() + 1, what }));
        } else if applied[layer] && !ready[layer] {
            let late = needs.health.iter().filter(|(.., by)| !applied[*by]).take(1);
            lacks.extend(late.map(|&(object, needs, by)| Lack { layer, step: steps.len(), what: Lacking::Health { object, needs, by } }));
        }
    }
    let stopped = (0..count).filter(|&layer| !applied[layer]).collect();
    Start { steps, stopped, lacks }
}

/// Kinds and namespaces of a layer that are not there, although something in Git brings them.
fn lacking<'a>(
    facts: &Facts<'a>,
    layer: usize,
    needs: &Needs<'a>,
    there: &BTreeSet<Kind>,
    namespaces: &BTreeSet<&str>,
) -> Vec<Lacking<'a>> {
    let mut found = Vec::new();
    for (kind, (objects, first)) in needs.kinds.iter().filter(|(kind, _)| !there.contains(*kind)) {
        let Some(providers) = facts.kinds.get(kind) else { continue };
        let own = providers.iter().any(|provider| provider.layer == layer && provider.is_definition());
        if let (false, Some(&by), Some(first)) = (own, providers.first(), first) {
            found.push(Lacking::Kind { kind: kind.clone(), objects: *objects, first, by });
        }
    }
    for (name, first) in needs.namespaces.iter().filter(|(name, _)| !namespaces.contains(*name)) {
        if let Some(by) = facts.namespaces.get(name).filter(|by| !by.contains(&layer)) {
            found.push(Lacking::Namespace { name: (*name).to_owned(), first, by: by[0] });
        }
    }
    found
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
