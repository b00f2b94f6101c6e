//! A layer needs a definition or a namespace of another one, and nothing says that the other one comes first.

use super::{Finding, Rule};
use crate::graph::Graph;
use crate::plan::{Constraint, Edge};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::list;
use crate::verify::simulate::is_declared;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const RULE: Rule = Rule {
    id: "order-undeclared",
    severity: Severity::Risk,
    title: "An order that the cluster needs is not declared",
    why: "Plain Flux applies both layers at once, fails, and tries again after the layer's retry interval, often several times in a chain. \
          blackstart adds the order by itself where the definition or the namespace is an object of a layer, or of a chart in Git.",
    fix: "add the other layer to dependsOn",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut graph = Graph::default();
    for edge in facts.subject.plan.edges.iter().filter(|edge| is_declared(edge)) {
        graph.add(edge);
    }
    // What stops a start is told by another rule, at the place where it stops.
    let stops: BTreeSet<usize> = facts.start.lacks.iter().map(|lack| lack.layer).collect();
    let mut missing: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
    for (position, _, objects) in facts.layers().filter(|(position, ..)| !stops.contains(position)) {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for object in objects {
            let kind = (object.group().to_owned(), object.kind().to_owned());
            if let Some(providers) = facts.kinds.get(&kind).filter(|_| seen.insert(format!("{} ({})", kind.1, kind.0))) {
                let layers: Vec<usize> = providers.iter().map(|provider| provider.layer).collect();
                note(facts, &mut graph, &mut missing, &layers, position, || kind.1.clone());
            }
            let Some(namespace) = facts.namespace(object).filter(|namespace| !facts.is_given_namespace(namespace)) else { continue };
            if let Some(layers) = facts.namespaces.get(namespace).filter(|_| seen.insert(namespace.to_owned())) {
                note(facts, &mut graph, &mut missing, layers, position, || format!("Namespace {namespace}"));
            }
        }
    }
    let mut layers: BTreeMap<usize, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for ((layer, other), reasons) in missing {
        let (entry, other) = (layers.entry(layer).or_default(), facts.layer(other));
        entry.0.push(format!("{} of layer {}", list(&reasons, 3), other.id));
        entry.1.push(format!("{{name: {}, namespace: {}}}", other.id.name, other.id.namespace));
    }
    let finding = |(layer, (needs, others)): (usize, (Vec<String>, Vec<String>))| {
        let layer = facts.layer(layer);
        let message = format!("layer {}: needs {}, which nothing puts before it", layer.id, needs.join("; "));
        let hint = match layer.spec.application {
            Some(_) => "put it into a later sync wave, or let its sync try again (syncPolicy.retry)".to_owned(),
            None => format!("add to spec.dependsOn: {}", others.join(", ")),
        };
        Finding::new(&RULE, message).of(layer).hint(hint)
    };
    layers.into_iter().map(finding).collect()
}

fn note(
    facts: &Facts<'_>,
    graph: &mut Graph,
    missing: &mut BTreeMap<(usize, usize), Vec<String>>,
    from: &[usize],
    to: usize,
    what: impl Fn() -> String,
) {
    let ordered = |graph: &mut Graph, from: usize| {
        let edge = Edge {
            from: facts.layer(from).id.node(),
            to: facts.layer(to).id.node(),
            constraint: Constraint::AppliedBeforeStart,
            reason: String::new(),
            origin: None,
        };
        from == to || graph.holds(&edge)
    };
    if !from.iter().any(|&from| ordered(graph, from))
        && let Some(&first) = from.first()
    {
        missing.entry((to, first)).or_default().push(what());
    }
}
