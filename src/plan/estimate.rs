//! How long a run takes: usual durations as data, what earlier runs measured, and the longest chain through the plan. Pure.

use super::{Constraint, Plan};
use crate::layers::flux::Layer;
use crate::manifest::Resource;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// The cluster is asked, and answers.
pub(super) const CLUSTER: f64 = 1.0;
/// A Secret or ConfigMap is written.
pub(super) const SECRET: f64 = 0.2;
/// Seconds to bind a claim to a volume that is there.
pub(super) const CLAIM: f64 = 0.2;
/// Flux' images are pulled, its controllers elect a leader.
pub(super) const AGENT: f64 = 15.0;
/// All objects of a layer are written.
const LAYER: f64 = 0.5;
/// Usual seconds until an object is healthy, with images pulled: orders of magnitude, from rehearsals and small clusters. What a report
/// has measured counts more.
const OBJECTS: &[(&str, f64)] = &[
    ("CronJob", 0.0),
    ("CustomResourceDefinition", 1.0),
    ("DaemonSet", 20.0),
    ("Deployment", 20.0),
    ("HelmRelease", 40.0),
    ("Ingress", 30.0),
    ("Job", 30.0),
    ("PersistentVolumeClaim", 10.0),
    ("Service", 0.0),
    ("StatefulSet", 45.0),
];

/// Usual seconds of a layer: its slowest object, where it waits for them.
pub(super) fn layer(layer: &Layer, objects: &[Resource]) -> f64 {
    let checks: Vec<&str> = layer.spec.health_checks.iter().map(|check| check.kind.as_str()).collect();
    let awaited = objects.iter().map(Resource::kind).filter(|kind| layer.spec.wait || checks.contains(kind));
    let usual = awaited.filter_map(|kind| OBJECTS.iter().find(|(other, _)| *other == kind)).map(|(_, seconds)| *seconds);
    LAYER + usual.fold(0.0, f64::max)
}

/// One step of the longest chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Node id.
    pub node: String,
    /// Seconds that the chain spends on it: less than its own where the next one starts before it is ready.
    pub seconds: f64,
}

/// How long a plan takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Seconds from the first call until the last node is ready.
    pub seconds: f64,
    /// The chain that decides it, from its beginning.
    pub path: Vec<Step>,
    /// How many nodes' durations an earlier run has measured.
    pub measured: usize,
    /// `(node, seconds)` of all nodes.
    #[serde(skip)]
    pub nodes: Vec<(String, f64)>,
}

/// The longest chain through what there is to do. `measured` gives seconds by node id; `scale` is the time scale of a sandbox for what
/// providers and pods take (1 elsewhere).
pub fn estimate(plan: &Plan, measured: &BTreeMap<String, f64>, scale: f64) -> Estimate {
    let seconds: Vec<f64> = plan
        .nodes
        .iter()
        .map(|node| {
            // Calls take their time in a sandbox too.
            let own = node.seconds.min(LAYER);
            measured.get(&node.id).copied().unwrap_or(own + (node.seconds - own) * scale)
        })
        .collect();
    let index: HashMap<&str, usize> = plan.nodes.iter().enumerate().map(|(position, node)| (node.id.as_str(), position)).collect();
    let mut before = vec![Vec::new(); plan.nodes.len()];
    for edge in &plan.edges {
        if let (Some(&from), Some(&to)) = (index.get(edge.from.as_str()), index.get(edge.to.as_str())) {
            before[to].push((from, edge.constraint));
        }
    }
    let mut chains = Chains { seconds, before, known: HashMap::new() };
    let last =
        (0..plan.nodes.len()).map(|node| (chains.end(node, Mark::Ready).seconds, node)).max_by(|one, other| one.0.total_cmp(&other.0));
    let Some((total, last)) = last else { return Estimate::default() };
    let mut path: Vec<(usize, f64)> = Vec::new();
    let mut next = Some((last, Mark::Ready));
    while let Some((node, mark)) = next {
        let end = chains.end(node, mark);
        let before = end.before.map_or(0.0, |(before, mark)| chains.end(before, mark).seconds);
        match path.last_mut() {
            Some((same, seconds)) if *same == node => *seconds += end.seconds - before,
            _ => path.push((node, end.seconds - before)),
        }
        next = end.before;
    }
    path.reverse();
    let steps = path.into_iter().map(|(node, seconds)| Step { node: plan.nodes[node].id.clone(), seconds });
    let measured = plan.nodes.iter().filter(|node| measured.contains_key(&node.id)).count();
    let nodes = plan.nodes.iter().zip(&chains.seconds).map(|(node, seconds)| (node.id.clone(), *seconds)).collect();
    Estimate { seconds: total, path: steps.filter(|step| step.seconds >= 0.05).collect(), measured, nodes }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mark {
    Start,
    Applied,
    Ready,
}

/// When a mark of a node is reached, and what it waited for.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    seconds: f64,
    before: Option<(usize, Mark)>,
}

struct Chains {
    seconds: Vec<f64>,
    before: Vec<Vec<(usize, Constraint)>>,
    known: HashMap<(usize, Mark), End>,
}

impl Chains {
    fn end(&mut self, node: usize, mark: Mark) -> End {
        if let Some(known) = self.known.get(&(node, mark)) {
            return *known;
        }
        // The plan has told of a circle; here its way back counts nothing.
        self.known.insert((node, mark), End::default());
        let own = self.seconds[node];
        let end = match mark {
            Mark::Start => {
                self.latest(node, &[(Constraint::ReadyBeforeStart, Mark::Ready), (Constraint::AppliedBeforeStart, Mark::Applied)])
            }
            Mark::Applied => {
                let start = self.end(node, Mark::Start);
                End { seconds: start.seconds + own.min(1.0), before: Some((node, Mark::Start)) }
            }
            Mark::Ready => {
                let start = self.end(node, Mark::Start);
                let alone = End { seconds: start.seconds + own, before: Some((node, Mark::Start)) };
                let held =
                    self.latest(node, &[(Constraint::ReadyBeforeReady, Mark::Ready), (Constraint::AppliedBeforeReady, Mark::Applied)]);
                if held.seconds > alone.seconds { held } else { alone }
            }
        };
        self.known.insert((node, mark), end);
        end
    }

    fn latest(&mut self, node: usize, marks: &[(Constraint, Mark)]) -> End {
        let mut latest = End::default();
        for (from, constraint) in self.before[node].clone() {
            let Some((_, mark)) = marks.iter().find(|(other, _)| *other == constraint) else { continue };
            let end = self.end(from, *mark);
            if latest.before.is_none() || end.seconds > latest.seconds {
                latest = End { seconds: end.seconds, before: Some((from, *mark)) };
            }
        }
        latest
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Edge, Node};
    use super::*;

    fn plan(nodes: &[(&str, f64)], edges: &[(&str, &str, Constraint)]) -> Plan {
        let node =
            |(id, seconds): &(&str, f64)| Node { id: (*id).to_owned(), action: Action::Create, owner: "blackstart", seconds: *seconds };
        let edge = |(from, to, constraint): &(&str, &str, Constraint)| Edge {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            constraint: *constraint,
            reason: String::new(),
            origin: None,
        };
        Plan { nodes: nodes.iter().map(node).collect(), edges: edges.iter().map(edge).collect(), ..Plan::default() }
    }

    fn told(estimate: &Estimate) -> (f64, Vec<&str>) {
        (estimate.seconds, estimate.path.iter().map(|step| step.node.as_str()).collect())
    }

    #[test]
    fn the_longest_chain_decides() {
        let nodes = [("aws/vpc", 3.0), ("aws/cluster", 840.0), ("aws/table", 20.0), ("cluster/shop", 1.0), ("layer/apps", 20.0)];
        let edges = [
            ("aws/vpc", "aws/cluster", Constraint::ReadyBeforeStart),
            ("aws/cluster", "cluster/shop", Constraint::ReadyBeforeStart),
            ("cluster/shop", "layer/apps", Constraint::ReadyBeforeStart),
        ];
        let plan = plan(&nodes, &edges);
        let chain = vec!["aws/vpc", "aws/cluster", "cluster/shop", "layer/apps"];
        assert_eq!(told(&estimate(&plan, &BTreeMap::new(), 1.0)), (864.0, chain.clone()));
        let (scaled, path) = {
            let estimate = estimate(&plan, &BTreeMap::new(), 0.1);
            (estimate.seconds, estimate.path.len())
        };
        assert!((scaled - 88.2).abs() < 0.01 && path == chain.len(), "waiting is scaled, calls are not: {scaled}");
        let measured = BTreeMap::from([("aws/cluster".to_owned(), 600.0)]);
        let estimate = estimate(&plan, &measured, 1.0);
        assert_eq!((estimate.seconds, estimate.measured), (624.0, 1));
    }

    #[test]
    fn what_comes_up_side_by_side_is_not_added() {
        use Constraint::{AppliedBeforeStart, ReadyBeforeReady};
        let nodes = [("layer/parent", 1.0), ("layer/child", 30.0)];
        let edges = [("layer/parent", "layer/child", AppliedBeforeStart), ("layer/child", "layer/parent", ReadyBeforeReady)];
        let estimate = estimate(&plan(&nodes, &edges), &BTreeMap::new(), 1.0);
        assert_eq!(told(&estimate), (31.0, vec!["layer/parent", "layer/child"]));
    }
}
