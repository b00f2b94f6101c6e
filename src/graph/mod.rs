//! What waits for what, as a graph of moments: each node starts, is applied, is ready, in this order; an edge ties a moment of one node
//! to a moment of another. Pure. A cycle of moments is a deadlock; a cycle of nodes need not be (a parent that waits for its children).

use crate::plan::{Constraint, Edge};
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use std::collections::{HashMap, HashSet, VecDeque};

/// The graph; edges are named by their position in the order they were added.
#[derive(Debug, Default)]
pub struct Graph {
    moments: DiGraph<(), Option<usize>>,
    nodes: HashMap<String, [NodeIndex; 3]>,
    edges: usize,
}

impl Graph {
    fn node(&mut self, id: &str) -> [NodeIndex; 3] {
        if let Some(found) = self.nodes.get(id) {
            return *found;
        }
        let [start, applied, ready] = [(); 3].map(|()| self.moments.add_node(()));
        self.moments.add_edge(start, applied, None);
        self.moments.add_edge(applied, ready, None);
        self.nodes.insert(id.to_owned(), [start, applied, ready]);
        [start, applied, ready]
    }

    fn ends(&mut self, edge: &Edge) -> (NodeIndex, NodeIndex) {
        let ([_, applied, ready], [start, _, to_ready]) = (self.node(&edge.from), self.node(&edge.to));
        match edge.constraint {
            Constraint::ReadyBeforeStart => (ready, start),
            Constraint::AppliedBeforeStart => (applied, start),
            Constraint::ReadyBeforeReady => (ready, to_ready),
            Constraint::AppliedBeforeReady => (applied, to_ready),
        }
    }

    /// Adds an edge; gives its number.
    pub fn add(&mut self, edge: &Edge) -> usize {
        let (from, to) = self.ends(edge);
        self.moments.add_edge(from, to, Some(self.edges));
        self.edges += 1;
        self.edges - 1
    }

    /// Whether an edge would close a cycle.
    pub fn would_close(&mut self, edge: &Edge) -> bool {
        let (from, to) = self.ends(edge);
        petgraph::algo::has_path_connecting(&self.moments, to, from, None)
    }

    /// Whether an edge says nothing new: the others order its two moments already.
    pub fn holds(&mut self, edge: &Edge) -> bool {
        let (from, to) = self.ends(edge);
        petgraph::algo::has_path_connecting(&self.moments, from, to, None)
    }

    /// For each knot of nodes that wait for each other: the numbers of the edges of its shortest cycle, in order.
    pub fn shortest_cycles(&self) -> Vec<Vec<usize>> {
        let knots = tarjan_scc(&self.moments);
        let mut cycles: Vec<Vec<usize>> = knots.iter().filter(|knot| knot.len() > 1).filter_map(|knot| self.shortest_in(knot)).collect();
        cycles.sort();
        cycles
    }

    fn shortest_in(&self, knot: &[NodeIndex]) -> Option<Vec<usize>> {
        let inside: HashSet<NodeIndex> = knot.iter().copied().collect();
        knot.iter().filter_map(|start| self.cycle_from(*start, &inside)).min_by_key(|cycle| (cycle.len(), cycle.clone()))
    }

    /// Fewest edges from a moment back to itself; steps inside a node cost nothing.
    fn cycle_from(&self, start: NodeIndex, inside: &HashSet<NodeIndex>) -> Option<Vec<usize>> {
        let mut best: HashMap<NodeIndex, Vec<usize>> = HashMap::new();
        let mut queue: VecDeque<(NodeIndex, Vec<usize>)> = VecDeque::from([(start, Vec::new())]);
        while let Some((at, way)) = queue.pop_front() {
            for edge in self.moments.edges(at).filter(|edge| inside.contains(&edge.target())) {
                let mut next = way.clone();
                next.extend(*edge.weight());
                if edge.target() == start {
                    return Some(next);
                }
                if best.get(&edge.target()).is_none_or(|known| known.len() > next.len()) {
                    best.insert(edge.target(), next.clone());
                    if edge.weight().is_some() { queue.push_back((edge.target(), next)) } else { queue.push_front((edge.target(), next)) }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str, constraint: Constraint) -> Edge {
        Edge { from: from.to_owned(), to: to.to_owned(), constraint, reason: String::new(), origin: None }
    }

    #[test]
    fn a_parent_that_waits_for_its_children_is_no_cycle() {
        let mut graph = Graph::default();
        graph.add(&edge("parent", "child", Constraint::AppliedBeforeStart));
        graph.add(&edge("child", "parent", Constraint::ReadyBeforeReady));
        assert!(graph.shortest_cycles().is_empty());
    }

    #[test]
    fn a_child_that_depends_on_a_parent_that_waits_for_it_is_one() {
        let mut graph = Graph::default();
        graph.add(&edge("child", "parent", Constraint::ReadyBeforeReady));
        let deadlock = edge("parent", "child", Constraint::ReadyBeforeStart);
        assert!(graph.would_close(&deadlock));
        graph.add(&deadlock);
        assert_eq!(graph.shortest_cycles().len(), 1);
    }

    #[test]
    fn of_several_cycles_through_the_same_nodes_the_shortest_is_told() {
        let mut graph = Graph::default();
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("c", "b"), ("x", "y"), ("y", "x")] {
            graph.add(&edge(from, to, Constraint::ReadyBeforeStart));
        }
        let cycles: Vec<Vec<usize>> = graph
            .shortest_cycles()
            .into_iter()
            .map(|mut cycle| {
                cycle.sort_unstable();
                cycle
            })
            .collect();
        assert_eq!(cycles, [vec![1, 4], vec![5, 6]]);
    }
}
