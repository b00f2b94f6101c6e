//! What ResourceSets ask of the order: that something is there, or ready, before they are applied; their steps; and what it takes until a set is
//! ready, for the layers that wait for it (flux-operator `internal/controller/resourceset_controller.go`). Pure.

use super::Constraint;
use crate::environment::Environment;
use crate::layers::LayerId;
use crate::layers::flux::{Layer, is_kustomization};
use crate::layers::operator::{Dependency, depends_on, is_resource_set, waits};
use crate::manifest::Resource;
use crate::problem::{Origin, Problem, Severity};
use crate::read::Reading;
use std::collections::{BTreeMap, BTreeSet};

/// An edge between layers.
pub(super) struct Order {
    pub(super) from: LayerId,
    pub(super) to: LayerId,
    pub(super) constraint: Constraint,
    pub(super) reason: String,
    pub(super) origin: Option<Origin>,
}

/// What follows from all sets.
#[derive(Default)]
pub(super) struct Sets {
    pub(super) orders: Vec<Order>,
    pub(super) problems: Vec<Problem>,
    /// Layers that a set gives: who waits for its own objects does not wait for these.
    given: BTreeSet<LayerId>,
}

impl Sets {
    pub(super) fn gives(&self, id: &LayerId) -> bool {
        self.given.contains(id)
    }
}

struct Set<'r> {
    resource: &'r Resource,
    /// The layer that holds it, or the one that holds the set which gives it.
    holder: &'r Layer,
    /// The set that gives it, and in which step.
    by: Option<(usize, usize)>,
    /// How many steps it has.
    steps: usize,
    /// Layers and sets that it gives, with their steps.
    layers: Vec<(usize, LayerId)>,
    sets: Vec<(usize, usize)>,
    gates: Vec<(Gate, Option<Origin>)>,
}

/// What must be before a set is applied.
enum Gate {
    /// A layer: applied, or ready.
    Layer(LayerId, bool),
    /// A set: there, or ready.
    Set(usize, bool),
}

/// Layers that are waited for: whether until they are ready, and where that is written.
type Awaited = BTreeMap<LayerId, (bool, Option<Origin>)>;

pub(super) fn sets(reading: &Reading, environment: &Environment) -> Sets {
    let mut all = collect(reading);
    let mut found = Sets::default();
    for at in 0..all.len() {
        all[at].gates = gates(&all, at, reading, environment, &mut found.problems);
    }
    found.given = all.iter().flat_map(|set| &set.layers).map(|(_, id)| id.clone()).collect();
    found.problems.extend(circles(&all));
    let layers: BTreeMap<&LayerId, &Layer> = reading.layers.iter().map(|read| (&read.layer.id, &read.layer)).collect();
    for (at, set) in all.iter().enumerate() {
        let named = |what: &str| format!("{what} of {}", set.resource.id());
        for (step, child) in &set.layers {
            let mut before = Awaited::new();
            opened(&all, at, None, &mut before, &mut BTreeSet::new());
            let own = stepped(&all, at, *step);
            before.retain(|id, _| !own.contains_key(id));
            for (reason, awaited) in [(named("dependsOn"), before), (named("steps"), own)] {
                for (from, (ready, origin)) in awaited {
                    // The layer that holds the set is applied before anyway.
                    if from != *child && (ready || from != set.holder.id) {
                        let constraint = if ready { Constraint::ReadyBeforeStart } else { Constraint::AppliedBeforeStart };
                        found.orders.push(Order { from, to: child.clone(), constraint, reason: reason.clone(), origin });
                    }
                }
            }
        }
        let mut until = Awaited::new();
        finished(&all, at, None, &mut until, &mut BTreeSet::new());
        for layer in layers.values().filter(|layer| !layer.spec.suspend) {
            let by_wait = layer.spec.wait && set.by.is_none() && layer.id == set.holder.id;
            if !by_wait && !checks(layer, set.resource) {
                continue;
            }
            let reason = if by_wait { "wait" } else { "healthChecks" };
            // What is suspended is not awaited.
            let is_awake = |from: &LayerId| layers.get(from).is_none_or(|layer| !layer.spec.suspend);
            for (from, (ready, origin)) in until.iter().filter(|(from, _)| is_awake(from)) {
                if *from == layer.id {
                    if *ready {
                        let message =
                            format!("layer {} waits for {}, which is ready only after that layer is", layer.id, set.resource.id());
                        found.problems.push(
                            Problem::blocks("cycle", message).at(origin.clone()).hint("take the layer out of what the set waits for"),
                        );
                    }
                    continue;
                }
                let constraint = if *ready { Constraint::ReadyBeforeReady } else { Constraint::AppliedBeforeReady };
                let reason = format!("{reason}: {}", set.resource.id());
                found.orders.push(Order { from: from.clone(), to: layer.id.clone(), constraint, reason, origin: origin.clone() });
            }
        }
    }
    found
}

/// All sets of layers that are applied here, those that a set gives after it.
fn collect(reading: &Reading) -> Vec<Set<'_>> {
    let parents: BTreeMap<&LayerId, Option<&LayerId>> =
        reading.layers.iter().map(|read| (&read.layer.id, read.layer.parent.as_ref())).collect();
    let mut all: Vec<Set<'_>> = Vec::new();
    let applied = reading.layers.iter().filter(|read| !read.layer.spec.suspend && read.layer.spec.kube_config.is_none());
    for read in applied {
        let own = read.objects.iter().filter(|object| is_resource_set(object)).map(|set| (set, None));
        let mut left: Vec<(&Resource, Option<(usize, usize)>)> = own.rev().collect();
        let mut seen = BTreeSet::new();
        while let Some((resource, by)) = left.pop() {
            let Some(read_set) = reading.sets.get(&resource.id()).filter(|_| seen.insert(resource.id())) else { continue };
            let steps = &read_set.steps;
            let at = all.len();
            let mut layers = Vec::new();
            for (step, object) in steps.iter().enumerate().flat_map(|(step, objects)| objects.iter().map(move |object| (step, object))) {
                if is_resource_set(object) {
                    left.push((object, Some((at, step))));
                } else if is_kustomization(object) {
                    let id = LayerId::new(object.namespace().unwrap_or("default"), object.name());
                    if parents.get(&id).is_some_and(|parent| *parent == Some(&read.layer.id)) {
                        layers.push((step, id));
                    }
                }
            }
            if let Some((outer, step)) = by {
                all[outer].sets.push((step, at));
            }
            all.push(Set { resource, holder: &read.layer, by, steps: steps.len(), layers, sets: Vec::new(), gates: Vec::new() });
        }
    }
    all
}

/// What a set's `dependsOn` means, with a problem for what nothing declares.
fn gates(
    all: &[Set<'_>],
    at: usize,
    reading: &Reading,
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Vec<(Gate, Option<Origin>)> {
    let set = &all[at];
    let places = reading.sets.get(&set.resource.id()).map(|read| read.dependencies.clone()).unwrap_or_default();
    let mut found = Vec::new();
    for (wanted, origin) in depends_on(set.resource).into_iter().zip(places) {
        let is_layer =
            |layer: &Layer| is_kustomization(&layer.declaration) && wanted.is(&layer.declaration) && layer.spec.application.is_none();
        if let Some(read) = reading.layers.iter().find(|read| is_layer(&read.layer)) {
            if wanted.ready && read.layer.spec.suspend {
                let message = format!("{}: dependsOn {wanted}, which is suspended and so never becomes ready", set.resource.id());
                let problem = Problem::blocks("dependency-suspended", message).at(origin.clone());
                problems.push(problem.hint(format!("resume {}, or drop the dependency", read.layer.id)));
            }
            let gate = if wanted.ready {
                Some(Gate::Layer(read.layer.id.clone(), true))
            } else {
                read.layer.parent.clone().map(|parent| Gate::Layer(parent, false))
            };
            found.extend(gate.map(|gate| (gate, origin)));
        } else if let Some(other) = all.iter().position(|other| wanted.is(other.resource)) {
            found.push((Gate::Set(other, wanted.ready), origin));
        } else if let Some(read) = reading.layers.iter().find(|read| reading.with_charts(read).any(|object| wanted.is(object))) {
            // A layer is a measure of an object where it waits for that, and does not hold the set itself.
            let waits = read.layer.spec.wait
                || read.layer.spec.health_checks.iter().any(|check| check.kind == wanted.kind && check.name == wanted.name);
            let waits = waits && !holders(reading, set.holder).contains(&&read.layer.id);
            found.push((Gate::Layer(read.layer.id.clone(), wanted.ready && waits), origin));
        } else if !is_given(&wanted, reading, environment) {
            problems.push(missing(&wanted, set.resource, origin, reading));
        }
    }
    found
}

/// A layer, and those that lead to it.
fn holders<'r>(reading: &'r Reading, layer: &'r Layer) -> BTreeSet<&'r LayerId> {
    let mut found = BTreeSet::from([&layer.id]);
    let mut next = layer.parent.as_ref();
    while let Some(parent) = next.filter(|parent| found.insert(parent)) {
        next = reading.layers.iter().find(|read| read.layer.id == *parent).and_then(|read| read.layer.parent.as_ref());
    }
    found
}

/// Whether something may bring it that is not read: the agent's installation, Kubernetes, the environment, a chart that is not at hand.
fn is_given(wanted: &Dependency, reading: &Reading, environment: &Environment) -> bool {
    let namespace = wanted.namespace.as_deref().unwrap_or_default();
    let entry = &reading.entry.namespace;
    if is_of_flux(wanted) {
        return !["Kustomization", "HelmRelease", "ResourceSet", "ResourceSetInputProvider"].contains(&wanted.kind.as_str())
            && (wanted.group() == "fluxcd.controlplane.io"
                || reading.sources.keys().any(|id| id.kind == wanted.kind && id.name == wanted.name));
    }
    let is = |kind: &str, at: &str, name: &str| wanted.kind == kind && name == wanted.name && at == namespace;
    let spec = &environment.spec;
    let charts = || reading.layers.iter().flat_map(|read| reading.with_sets(read)).filter(|object| crate::layers::flux::is_release(object));
    wanted.name.ends_with(".fluxcd.io")
        || wanted.name.ends_with(".fluxcd.controlplane.io")
        || namespace == entry
        || wanted.kind == "Namespace"
            && (wanted.name == *entry || ["default", "kube-system", "kube-public"].contains(&wanted.name.as_str()))
        || spec.secrets.iter().any(|secret| is("Secret", &secret.namespace, &secret.name))
        || spec.variables.iter().any(|given| is(&given.kind, &given.namespace, &given.name))
        || spec.outputs.iter().any(|given| is(&given.kind, &given.namespace, &given.name))
        || charts().any(|release| !reading.charts.contains_key(&release.id()))
}

fn is_of_flux(wanted: &Dependency) -> bool {
    wanted.group().ends_with("toolkit.fluxcd.io") || wanted.group() == "fluxcd.controlplane.io"
}

fn missing(wanted: &Dependency, set: &Resource, origin: Option<Origin>, reading: &Reading) -> Problem {
    let message = format!("{}: dependsOn {wanted}, which nothing declares", set.id());
    let mut problem = Problem::blocks("dependency-missing", message).at(origin);
    // An operator may make what is not the agent's own, and a layer that was not rendered may hold anything.
    if !is_of_flux(wanted) || reading.layers.iter().any(|read| !read.rendered) {
        problem.severity = Severity::Risk;
    }
    problem.hint("declare it, or drop the dependency")
}

/// Everything that must be before a set is applied; `from` is the place of what asks for it, the set's own entries where there is none.
fn opened(all: &[Set<'_>], at: usize, from: Option<&Origin>, found: &mut Awaited, seen: &mut BTreeSet<usize>) {
    for (gate, own) in &all[at].gates {
        let place = from.or(own.as_ref());
        match gate {
            Gate::Layer(id, ready) => add(found, id, *ready, place),
            Gate::Set(other, ready) => {
                add(found, &all[*other].holder.id, false, place);
                if *ready {
                    finished(all, *other, place, found, seen);
                }
            }
        }
    }
    // Its own object comes from another set, in one of that one's steps.
    if let Some((outer, step)) = all[at].by {
        opened(all, outer, from, found, seen);
        for (id, (ready, place)) in stepped(all, outer, step) {
            add(found, &id, ready, from.or(place.as_ref()));
        }
    }
}

/// What the steps before one must have come to.
fn stepped(all: &[Set<'_>], at: usize, step: usize) -> Awaited {
    let mut found = Awaited::new();
    let place = all[at].resource.origin.as_ref();
    all[at].layers.iter().filter(|(of, _)| *of < step).for_each(|(_, id)| add(&mut found, id, true, place));
    for (_, inner) in all[at].sets.iter().filter(|(of, _)| *of < step) {
        finished(all, *inner, place, &mut found, &mut BTreeSet::from([at]));
    }
    found
}

/// Everything that must be until a set is ready. The last step, and what has no steps, is awaited by `wait` alone.
fn finished(all: &[Set<'_>], at: usize, from: Option<&Origin>, found: &mut Awaited, seen: &mut BTreeSet<usize>) {
    if !seen.insert(at) {
        return;
    }
    let set = &all[at];
    opened(all, at, from, found, seen);
    let counts = |step: usize| step + 1 < set.steps || waits(set.resource);
    let place = from.or(set.resource.origin.as_ref());
    set.layers.iter().filter(|(step, _)| counts(*step)).for_each(|(_, id)| add(found, id, true, place));
    set.sets.iter().filter(|(step, _)| counts(*step)).for_each(|(_, inner)| finished(all, *inner, place, found, seen));
}

fn add(found: &mut Awaited, id: &LayerId, ready: bool, place: Option<&Origin>) {
    let known = found.entry(id.clone()).or_insert_with(|| (ready, place.cloned()));
    if ready && !known.0 {
        *known = (true, place.cloned());
    }
}

/// Sets that wait for each other without any layer between them, which the graph of layers does not show.
fn circles(all: &[Set<'_>]) -> Vec<Problem> {
    let next = |at: usize| all[at].gates.iter().filter_map(|(gate, _)| if let Gate::Set(other, true) = gate { Some(*other) } else { None });
    let mut found = Vec::new();
    let mut told: BTreeSet<usize> = BTreeSet::new();
    for start in 0..all.len() {
        // The way to each set, by the one before it.
        let (mut way, mut left) = (BTreeMap::new(), std::collections::VecDeque::from([start]));
        while let Some(at) = left.pop_front().filter(|_| !told.contains(&start) && !way.contains_key(&start)) {
            for other in next(at) {
                if let std::collections::btree_map::Entry::Vacant(entry) = way.entry(other) {
                    entry.insert(at);
                    left.push_back(other);
                }
            }
        }
        if !way.contains_key(&start) {
            continue;
        }
        let mut steps = vec![start];
        let mut at = way[&start];
        while at != start {
            steps.push(at);
            at = way[&at];
        }
        told.extend(&steps);
        steps.push(start);
        let step = |pair: &[usize]| {
            let on = |(gate, _): &&(Gate, Option<Origin>)| matches!(gate, Gate::Set(other, true) if *other == pair[0]);
            let place = all[pair[1]].gates.iter().find(on).and_then(|(_, origin)| origin.as_ref());
            let place = place.map(|origin| format!(" at {origin}")).unwrap_or_default();
            format!("{} waits for {} (dependsOn{place})", all[pair[1]].resource.id(), all[pair[0]].resource.id())
        };
        let steps: Vec<String> = steps.windows(2).map(step).collect();
        let message = format!("ResourceSets wait for each other: {}", steps.join(", "));
        found.push(Problem::blocks("cycle", message).at(all[start].resource.origin.clone()).hint("remove one of these"));
    }
    found
}

/// Whether a layer's health checks name a set.
fn checks(layer: &Layer, set: &Resource) -> bool {
    layer.spec.health_checks.iter().any(|check| {
        let namespace = check.namespace.as_deref().unwrap_or(&layer.id.namespace);
        check.kind == "ResourceSet" && check.name == set.name() && Some(namespace) == set.namespace()
    })
}
